// Planning on random sparse models (Garnet: 4 actions, 5 successors). First the sweep of value iteration with the
// greedy action recorded, ns per (state, action, successor), beside its limit: reading the model's arrays once, then
// gathering the value vector in the model's order, each as fast as this machine does it alone
// (`limit:stream_and_gather`), and beside a plain loop (`peer:plain_loop`). Then whole solutions to one certified
// tolerance at discount 0.999, beside plain sweeps that stop by the norm's bound (`peer:plain_sweeps`). Then CVaR of
// the discounted return on 101,000 states with stocks x 51 atoms, to certified tolerances, and a sweep of the laws
// beside one that moves each successor's law by itself (`peer:plain_loop`). With OpenMP, sweeps on two threads beside
// one.

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/lanes.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/distributional/projection.hpp"
#include "valence/env/garnet.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/distributional_iteration.hpp"
#include "valence/planning/policy_iteration.hpp"
#include "valence/planning/return_laws.hpp"
#include "valence/planning/stock_augmentation.hpp"
#include "valence/planning/value_iteration.hpp"

namespace {

using namespace valence;

constexpr int actions = 4, successors = 5;
constexpr double discount = 0.99;
constexpr double far_discount = 0.999, tolerance = 1e-6;  // of whole solutions

/// One model a size and scalar, made when it is first asked for.
template <class S>
const FiniteMdp<S>& model_of(int states) {
  static std::map<int, FiniteMdp<S>> models;
  const auto found = models.find(states);
  if (found != models.end()) return found->second;
  Rng rng{1};
  if constexpr (std::is_same_v<S, double>)
    return models.emplace(states, garnet(states, actions, successors, rng)).first->second;
  else
    return models.emplace(states, model_of<double>(states).template as<S>()).first->second;
}

template <class S>
struct Work {
  const FiniteMdp<S>& model;
  std::vector<S> value, out;
  std::vector<int> policy;
  explicit Work(int states)
      : model(model_of<S>(states)), value(static_cast<std::size_t>(states), S(0)), out(value), policy(value.size()) {}
};

template <class S>
[[gnu::noinline]] void plain_sweep(Work<S>& w) {
  const ModelColumns<S>& c = w.model.columns();
  const S g = S(discount);
  std::size_t k = 0, row = 0;
  for (std::size_t s = 0; s < w.value.size(); ++s) {
    S best = -std::numeric_limits<S>::infinity();
    int action = -1;
    for (int a = 0; a < c.actions; ++a, ++row) {
      S sum = 0;
      for (; k < c.row_begin[row + 1]; ++k) sum += c.probability[k] * w.value[static_cast<std::size_t>(c.next[k])];
      const S q = c.reward[row] + g * sum;
      if (q > best) best = q, action = a;
    }
    w.out[s] = best;
    w.policy[s] = action;
  }
}

/// Sums an array, four registers at a time.
template <class T>
[[gnu::noinline]] T total(const T* x, std::size_t n) {
  constexpr std::size_t lanes = 8;
  T sum[4][lanes] = {};
  std::size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes)
    for (std::size_t k = 0; k < 4; ++k)
      for (std::size_t j = 0; j < lanes; ++j) sum[k][j] = static_cast<T>(sum[k][j] + x[i + k * lanes + j]);
  T rest = 0;
  for (std::size_t k = 0; k < 4; ++k)
    for (std::size_t j = 0; j < lanes; ++j) rest = static_cast<T>(rest + sum[k][j]);
  return rest;
}

template <class S>
[[gnu::noinline]] S gather(const std::vector<std::int32_t>& next, const S* v) {
  S sum[4] = {};
  for (std::size_t i = 0; i + 4 <= next.size(); i += 4)
    for (std::size_t k = 0; k < 4; ++k) sum[k] += v[next[i + k]];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <class S>
void stream_and_gather(Work<S>& w) {
  const ModelColumns<S>& c = w.model.columns();
  benchmark::DoNotOptimize(total(c.probability.data(), c.probability.size()));
  benchmark::DoNotOptimize(total(reinterpret_cast<const std::uint32_t*>(c.next.data()), c.next.size()));
  benchmark::DoNotOptimize(total(c.reward.data(), c.reward.size()));
  benchmark::DoNotOptimize(gather(c.next, w.value.data()));
}

template <class S>
void sweep(Work<S>& w, int threads) {
  detail::optimality_sweep(w.model, w.value.data(), S(discount), w.out.data(), w.policy.data(), threads);
}

template <class S, class Pass>
void add(const std::string& name, int states, Pass pass, bool wall = false) {
  auto* const made = benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    Work<S> work(states);
    for (auto _ : state) {
      pass(work);
      std::swap(work.value, work.out);
      benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * states * actions * successors);
    state.counters["bytes_per_raw_byte"] =
        static_cast<double>(work.model.memory()) /
        (states * static_cast<double>(actions) * (successors * (sizeof(S) + 4.) + sizeof(S)));
  });
  if (wall) made->UseRealTime();
}

template <class S>
void add_sweeps(const std::string& type) {
  for (const int states : {10'000, 100'000, 1'000'000}) {
    const std::string name = fmt::format("sweep/{}/{}_states", type, states);
    add<S>(name + "/limit:stream_and_gather", states, stream_and_gather<S>);
    add<S>(name + "/peer:plain_loop", states, plain_sweep<S>);
    add<S>(name, states, [](Work<S>& w) { sweep(w, 1); });
  }
  if (parallel_enabled) {
    const std::string name = fmt::format("two_threads/{}/1000000_states", type);
    add<S>(
        name + "/peer:one_thread", 1'000'000, [](Work<S>& w) { sweep(w, 1); }, true);
    add<S>(
        name, 1'000'000, [](Work<S>& w) { sweep(w, 2); }, true);
  }
}

template <class Solve>
void add_solution(const std::string& name, int states, Solve solve) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 const FiniteMdp<double>& model = model_of<double>(states);
                                 for (auto _ : state) {
                                   const auto solution = solve(model);
                                   if (!solution.converged) state.SkipWithError("the tolerance was not reached");
                                   state.counters["iterations"] = static_cast<double>(solution.iterations);
                                 }
                               })
      ->Unit(benchmark::kMillisecond)
      ->Iterations(1);
}

void add_solutions() {
  // The plain sweeps take 20,000 of them, so here the model is the small one.
  constexpr int states = 10'000;
  const auto plain = [](const auto& m) {
    return value_iteration(m, {.discount = far_discount, .tolerance = tolerance, .bounds = Bounds::norm, .threads = 1});
  };
  add_solution("solve/value_iteration/peer:plain_sweeps", states, plain);
  add_solution("solve/value_iteration", states, [](const auto& m) {
    return value_iteration(m, {.discount = far_discount, .tolerance = tolerance, .threads = 1});
  });
  add_solution("solve/modified_policy_iteration/peer:plain_sweeps", states, plain);
  add_solution("solve/modified_policy_iteration", states, [](const auto& m) {
    return modified_policy_iteration(m, {.discount = far_discount, .tolerance = tolerance, .threads = 1});
  });
  add_solution("solve/gauss_seidel/peer:plain_sweeps", states, plain);
  add_solution("solve/gauss_seidel", states, [](const auto& m) {
    return value_iteration(
        m, {.discount = far_discount, .tolerance = tolerance, .sweep = Sweep::gauss_seidel, .threads = 1});
  });
}

/// The laws of 1000 states x 101 stocks, under the first action.
struct LawWork {
  FiniteMdp<double> model;
  Support support{.atoms = 51, .min = -400, .max = 400};
  Matrix<double> laws, out;
  std::vector<double> mixed = std::vector<double>(51), moved = mixed;
  explicit LawWork(const FiniteMdp<double>& base)
      : model(stock_augmented(base, {.points = 101, .min = -400, .max = 400, .clamp = true}, discount,
                              [](double, double r, int) { return r; })),
        laws(Matrix<double>::Constant(51, model.states(), 1. / 51)),
        out(laws) {}
};
/// As it is written in books: each successor's law is moved and split, atom by atom.
[[gnu::noinline]] void plain_laws(LawWork& w) {
  const double step = w.support.step();
  for (int s = 0; s < w.model.states(); ++s) {
    double* const out = w.out.col(s).data();
    std::fill(out, out + 51, 0.0);
    for (const auto& to : w.model.successors(s, 0))
      for (int k = 0; k < 51; ++k) {
        const double z = std::clamp(to.reward + discount * w.support.atom(k), w.support.min, w.support.max);
        const double b = (z - w.support.min) / step;
        const int low = (std::min)(static_cast<int>(b), 49);
        const double mass = to.probability * w.laws(k, to.next);
        out[low] += mass * (low + 1 - b);
        out[low + 1] += mass * (b - low);
      }
  }
}
void sweep_laws(LawWork& w) {
  for (int s = 0; s < w.model.states(); ++s)
    detail::backup_law(w.model, s, 0, w.support, discount, w.laws, w.mixed, w.moved, w.out.col(s).data());
}

void add_laws() {
  using Pass = void (*)(LawWork&);
  const std::pair<const char*, Pass> passes[]{{"laws/sweep/peer:plain_loop", plain_laws}, {"laws/sweep", sweep_laws}};
  for (const auto& [name, pass] : passes)
    benchmark::RegisterBenchmark(name, [pass = pass](benchmark::State& state) {
      LawWork work(model_of<double>(1000));
      for (auto _ : state) {
        pass(work);
        benchmark::ClobberMemory();
      }
      state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(work.model.states()) * 51);
    })->Unit(benchmark::kMillisecond);
  const auto solve = [](int threads, bool improve) {
    return [=](benchmark::State& state) {
      const FiniteMdp<double>& model = model_of<double>(1000);
      const DistributionalIterationOptions options{
          .discount = discount, .tolerance = 1e-2, .law_tolerance = .1, .threads = threads};
      for (auto _ : state) {
        const auto solution = improve ? distributional_policy_iteration(model, Cvar{.1}, options)
                                      : distributional_value_iteration(model, Cvar{.1}, options);
        if (!solution.converged) state.SkipWithError("the tolerance was not reached");
        state.counters["bound"] = solution.bound;
        state.counters["law_bound"] = solution.law_bound;
      }
    };
  };
  for (const bool improve : {false, true}) {
    const std::string name = improve ? "cvar/policy_iteration" : "cvar/value_iteration";
    const int threads = parallel_enabled ? 2 : 1;
    const auto add = [&](const std::string& full, int n) {
      benchmark::RegisterBenchmark(full.c_str(), solve(n, improve))
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime()
          ->Iterations(1);
    };
    if (parallel_enabled) add(name + "/peer:one_thread", 1);
    add(name, threads);
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  add_sweeps<double>("double");
  add_sweeps<float>("float");
  add_solutions();
  add_laws();
  benchmark::RunSpecifiedBenchmarks();
}
