// Preference losses: value and both gradients of 2^20 pairs through the driver (its checks included), one thread, in
// float and in double. Beside each runs, in the same repetition, the streaming limit: the same columns read and the
// same gradients written, with one addition each. Counters: `ns_pair`, the processor time of one pair; `of_limit`, the
// limit's time over the loss's (1 is as fast as memory allows); `allocations`, calls of malloc in one evaluation.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "support/allocations.hpp"
#include "valence/core/random.hpp"
#include "valence/preference.hpp"

namespace {

using namespace valence;

constexpr std::size_t pairs = std::size_t(1) << 20;

double seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

template <class S>
struct Columns {
  std::vector<S> chosen, rejected, ref_chosen, ref_rejected, chosen_length, rejected_length, p_chosen;
  std::vector<S> d_chosen, d_rejected;
  Columns() {
    Rng rng{1};
    for (std::vector<S>* c : {&chosen, &rejected, &ref_chosen, &ref_rejected, &chosen_length, &rejected_length,
                              &p_chosen, &d_chosen, &d_rejected})
      c->resize(pairs);
    for (std::size_t i = 0; i < pairs; ++i) {
      chosen[i] = S(-50 * rng.uniform() - 1), rejected[i] = S(-50 * rng.uniform() - 1);
      ref_chosen[i] = chosen[i] + S(rng.uniform()), ref_rejected[i] = rejected[i] + S(rng.uniform());
      chosen_length[i] = S(1 + rng.below(60)), rejected_length[i] = S(1 + rng.below(60)),
      p_chosen[i] = S(rng.uniform());
    }
  }
  PairBatch<S> view() const {
    return {chosen, rejected, ref_chosen, ref_rejected, chosen_length, rejected_length, p_chosen};
  }
};
template <class S>
Columns<S>& columns() {
  static Columns<S> all;
  return all;
}

/// What no loss can beat: its columns in, its gradients out.
template <class S>
void stream(Columns<S>& c, Column needs) {
  const S *q = c.chosen.data(), *l = c.rejected.data(), *rq = c.ref_chosen.data(), *rl = c.ref_rejected.data();
  const S *nq = c.chosen_length.data(), *nl = c.rejected_length.data(), *p = c.p_chosen.data();
  S *dq = c.d_chosen.data(), *dl = c.d_rejected.data();
  const auto loop = [=](auto&& term) {
    for (std::size_t i = 0; i < pairs; ++i) {
      const S z = (q[i] - l[i]) - term(i);
      dq[i] = z;
      dl[i] = -z;
    }
  };
  const bool lengths = has(needs, Column::lengths);
  if (has(needs, Column::p_chosen))
    loop([=](std::size_t i) { return (rq[i] - rl[i]) + p[i]; });
  else if (has(needs, Column::reference) && lengths)
    loop([=](std::size_t i) { return (rq[i] - rl[i]) + (nq[i] - nl[i]); });
  else if (has(needs, Column::reference))
    loop([=](std::size_t i) { return rq[i] - rl[i]; });
  else if (lengths)
    loop([=](std::size_t i) { return nq[i] - nl[i]; });
  else
    loop([](std::size_t) { return S(0); });
  benchmark::ClobberMemory();
}

template <class S, class L>
void run(benchmark::State& state, const L& loss) {
  Columns<S>& c = columns<S>();
  const PreferenceBatch<S> in{.pairs = c.view()};
  const PreferenceGradient<S> out{.chosen = c.d_chosen, .rejected = c.d_rejected};
  const auto once = [&] {
    benchmark::DoNotOptimize(evaluate(loss, in, out));
    benchmark::ClobberMemory();
  };
  once();
  test::Allocations allocations;
  once();
  const std::size_t calls = allocations.count();
  // Interleaved, and the medians compared: a noisy spell hits both alike.
  std::vector<double> times, limits;
  for (auto _ : state) {
    double t = seconds();
    once();
    times.push_back(seconds() - t);
    t = seconds();
    stream(c, L::needs);
    limits.push_back(seconds() - t);
    state.SetIterationTime(times.back());
  }
  const auto median = [](std::vector<double>& v) {
    std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
    return v[v.size() / 2];
  };
  const double time = median(times), limit = median(limits);
  state.counters["ns_pair"] = time * 1e9 / static_cast<double>(pairs);
  state.counters["limit_ns"] = limit * 1e9 / static_cast<double>(pairs);
  state.counters["of_limit"] = limit / time;
  state.counters["allocations"] = static_cast<double>(calls);
}

template <class L>
void add(const std::string& name, const L& loss) {
  benchmark::RegisterBenchmark((name + "/float").c_str(), [=](benchmark::State& s) {
    run<float>(s, loss);
  })->UseManualTime();
  benchmark::RegisterBenchmark((name + "/double").c_str(), [=](benchmark::State& s) {
    run<double>(s, loss);
  })->UseManualTime();
}

}  // namespace

int main(int argc, char** argv) {
  add("dpo", Dpo{});
  add("rpo", rpo());
  add("rpo_minimax", rpo_minimax());
  add("cdpo", Cdpo{});
  add("rdpo", RobustDpo{});
  add("soft_dpo", SoftDpo{});
  add("hinge", HingeDpo{});
  add("exponential", ExponentialDpo{});
  add("ipo", Ipo{});
  add("ipo_averaged", IpoAveraged{});
  add("sigmoid_norm", SigmoidNorm{});
  add("exo", ExoPair{});
  add("discopop", DiscoPop{});
  add("nca", NcaPair{});
  add("bco_pair", BcoPair{});
  add("sppo", Sppo{});
  add("apo_zero", ApoZero{});
  add("apo_down", ApoDown{});
  add("simpo", SimPo{});
  add("alphapo", AlphaPo{});
  add("odds_ratio", OddsRatio{});
  add("dpo_positive", DpoPositive{});
  add("slic", SlicCalibration{});
  add("sft", Sft{});
  add("token_mean_sft", TokenMeanSft{});
  add("dpo_forward_kl", with_score(Dpo{}, ForwardKl{}));
  add("dpo_js", with_score(Dpo{}, JsDivergence{}));
  add("dpo_alpha", with_score(Dpo{}, AlphaDivergence{}));
  add("dpo_log_prob", with_score(Dpo{}, LogProb{}));
  add("batch_token_mean_sft", BatchTokenMeanSft{});
  add("kto_pair", KtoPair{});
  add("aot", Aot{});
  add("aot_unpaired", AotUnpaired{});
  add("cpo", cpo());
  add("orpo", orpo());
  add("mpo", mpo());
  add("iterative_rpo", iterative_rpo());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
