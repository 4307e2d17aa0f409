// Value targets, ns per transition (CPU time): GAE with value targets and V-trace through the public interface, checks
// of the input included, next to the loop that one would write by hand (`peer:`), and to a loop that reads and writes
// the same arrays without a recursion (`limit:stream`), in one run. One sequence, and 16 or 64 environments; in memory
// and in cache.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/value/gae.hpp"
#include "valence/value/vtrace.hpp"

namespace {

/// `rows` times `environments` transitions with T + 1 rows of values; an episode ends every 200 steps or so.
template <class S>
struct Data {
  std::size_t rows, environments, count;
  std::vector<S> reward, value, ratio, advantage, target;
  std::unique_ptr<bool[]> done;

  Data(std::size_t rows_, std::size_t environments_)
      : rows(rows_),
        environments(environments_),
        count(rows * environments),
        reward(count),
        value(count + environments),
        ratio(count),
        advantage(count),
        target(count),
        done(new bool[count]) {
    valence::Rng rng{1};
    for (S& x : reward) x = static_cast<S>(rng.normal());
    for (S& x : value) x = static_cast<S>(rng.normal());
    for (S& x : ratio) x = static_cast<S>(rng.uniform(0, 2));
    for (std::size_t i = 0; i < count; ++i) done[i] = rng.uniform() < 0.005;
  }
  valence::Steps<S> steps() const {
    return {.reward = reward,
            .value = value,
            .terminated = {done.get(), count},
            .ratio = ratio,
            .environments = environments};
  }
};

constexpr double discount = 0.99, lambda = 0.95;

template <class S>
void gae(Data<S>& d) {
  valence::gae(d.steps(), {.advantage = d.advantage, .target = d.target}, {.discount = discount, .lambda = lambda});
}

/// By hand, one environment after the other (for one environment: the plain backward loop).
template <class S>
[[gnu::noinline]] void gae_by_hand(Data<S>& d) {
  const S *r = d.reward.data(), *v = d.value.data();
  const bool* done = d.done.get();
  S *adv = d.advantage.data(), *ret = d.target.data();
  const S g = S(discount), l = S(lambda);
  const std::size_t stride = d.environments;
  for (std::size_t e = 0; e < stride; ++e) {
    S a = 0;
    for (std::size_t t = d.rows; t-- > 0;) {
      const std::size_t i = t * stride + e;
      const S keep = done[i] ? S(0) : S(1);
      const S delta = r[i] + g * v[i + stride] * keep - v[i];
      a = delta + g * l * keep * a;
      adv[i] = a;
      ret[i] = a + v[i];
    }
  }
}

/// By hand, row by row, as with arrays (CleanRL's form in C++): the compiler may put environments in lanes itself.
template <class S>
[[gnu::noinline]] void gae_rows_by_hand(Data<S>& d) {
  const S *r = d.reward.data(), *v = d.value.data();
  const bool* done = d.done.get();
  S *adv = d.advantage.data(), *ret = d.target.data();
  const S g = S(discount), l = S(lambda);
  const std::size_t stride = d.environments;
  std::vector<S> a(stride, S(0));
  for (std::size_t t = d.rows; t-- > 0;) {
    for (std::size_t e = 0; e < stride; ++e) {
      const std::size_t i = t * stride + e;
      const S keep = done[i] ? S(0) : S(1);
      const S delta = r[i] + g * v[i + stride] * keep - v[i];
      a[e] = delta + g * l * keep * a[e];
      adv[i] = a[e];
      ret[i] = a[e] + v[i];
    }
  }
}

/// The same arrays, read and written once, in lanes, and nothing carried from one transition to the next.
template <class S>
[[gnu::noinline]] void gae_stream(Data<S>& d) {
  const S* __restrict r = d.reward.data(), * __restrict v = d.value.data();
  const bool* __restrict done = d.done.get();
  S* __restrict adv = d.advantage.data(), * __restrict ret = d.target.data();
  const S g = S(discount);
  const std::size_t stride = d.environments;
  for (std::size_t i = 0; i < d.count; ++i) {
    const S keep = done[i] ? S(0) : S(1);
    adv[i] = r[i] + g * v[i + stride] * keep - v[i];
    ret[i] = r[i] + v[i];
  }
}

template <class S>
void vtrace(Data<S>& d) {
  valence::vtrace(d.steps(), {.advantage = d.advantage, .target = d.target}, {.discount = discount, .lambda = lambda});
}

template <class S>
[[gnu::noinline]] void vtrace_by_hand(Data<S>& d) {
  const S *r = d.reward.data(), *v = d.value.data(), *ratio = d.ratio.data();
  const bool* done = d.done.get();
  S *adv = d.advantage.data(), *vs = d.target.data();
  const S g = S(discount), l = S(lambda);
  const std::size_t stride = d.environments;
  for (std::size_t e = 0; e < stride; ++e) {
    S later = 0;
    for (std::size_t t = d.rows; t-- > 0;) {
      const std::size_t i = t * stride + e;
      const S keep = done[i] ? S(0) : S(1);
      const S rho = std::min(ratio[i], S(1));
      const S delta = rho * (r[i] + g * keep * v[i + stride] - v[i]);
      adv[i] = rho * (r[i] + g * keep * (v[i + stride] + later) - v[i]);
      later = delta + g * keep * l * rho * later;
      vs[i] = v[i] + later;
    }
  }
}

template <class S, class Pass>
void add(const std::string& name, std::size_t rows, std::size_t environments, Pass pass) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    Data<S> data(rows, environments);
    pass(data);
    for (auto _ : state) {
      pass(data);
      benchmark::DoNotOptimize(data.advantage.data());
      benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(data.count));
  });
}

template <class S>
void add_all(const std::string& type) {
  const auto shape = [&](const std::string& shape_name, std::size_t rows, std::size_t environments) {
    const auto gae_name = "gae/" + type + "/" + shape_name, vtrace_name = "vtrace/" + type + "/" + shape_name;
    add<S>(gae_name + "/peer:plain_loop", rows, environments, gae_by_hand<S>);
    if (environments > 1) add<S>(gae_name + "/peer:row_by_row", rows, environments, gae_rows_by_hand<S>);
    add<S>(gae_name + "/limit:stream", rows, environments, gae_stream<S>);
    add<S>(gae_name, rows, environments, gae<S>);
    add<S>(vtrace_name + "/peer:plain_loop", rows, environments, vtrace_by_hand<S>);
    add<S>(vtrace_name, rows, environments, vtrace<S>);
  };
  shape("one_sequence_2^20", std::size_t(1) << 20, 1);
  shape("one_sequence_2048", 2048, 1);
  shape("16_environments_2^16", std::size_t(1) << 16, 16);
  shape("16_environments_128", 128, 16);
  shape("64_environments_128", 128, 64);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  add_all<float>("float");
  add_all<double>("double");
  benchmark::RunSpecifiedBenchmarks();
}
