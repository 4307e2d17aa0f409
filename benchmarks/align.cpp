// A training step of examples/align.cpp in float: log-probabilities of the replies of 16 pairs under an
// NgramLanguageModel of the example's size, a preference loss, the pullback through softmax, network and embeddings,
// and Adam. The limit is the processor's peak of multiply-adds, as in mlp.cpp: `.../limit:fma` does the same number of
// operations, `of_peak` is the share of a peak taken immediately before and after, `allocations` must be 0. Counted as
// operations are those of the matrix products alone, 2 m n k each: forward, gradients of the weights, and of all
// layers' inputs, since the embeddings learn too. Times are per token; the number at the end is tokens in a reply.

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "peak.hpp"
#include "support/allocations.hpp"
#include "valence/core/random.hpp"
#include "valence/function/ngram_language_model.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/sequence_log_prob.hpp"
#include "valence/preference/losses.hpp"
#include "valence/reward/pair_objective.hpp"

namespace {

using namespace valence;
using Model = NgramLanguageModel<float>;

constexpr int pairs = 16;

/// Operations of one token's products.
double flops(const Model& model) {
  const auto& o = model.options();
  double sum = 0, before = static_cast<double>(o.context) * o.embedding;
  for (const int units : o.hidden) sum += before * units, before = units;
  return 3 * 2 * (sum + before * model.vocabulary());
}

void ours(benchmark::State& state, int length) {
  Rng rng{1};
  const Model model{1024};
  TokenWindows x(model.options().context);
  std::vector<std::int32_t> prompt(20), reply(static_cast<std::size_t>(length));
  for (int i = 0; i < 2 * pairs; ++i) {
    for (auto* part : {&prompt, &reply})
      for (std::int32_t& token : *part) token = rng.below(std::int32_t{1024});
    x.add(prompt, reply);
  }
  std::vector<float> theta(model.parameter_count()), gradient(theta.size());
  model.initialize(theta, rng);
  PairObjective objective{SequenceLogProb{model}, Dpo{.beta = 0.1}};
  std::vector<int> places(2 * pairs);
  std::iota(places.begin(), places.end(), 0);
  const IndexPairs<float> compared{.chosen = std::span(places).first(pairs),
                                   .rejected = std::span(places).subspan(pairs)};
  const auto begin = objective.scores(theta, x);
  const std::vector<float> reference(begin.begin(), begin.end());
  auto adam = Adam{.step_size = 1e-5}.start<float>(theta.size());
  const auto step = [&] {
    benchmark::DoNotOptimize(objective(theta, x, compared, gradient, reference));
    clip_global_norm(std::span<float>(gradient), 1.0);
    adam.step(theta, gradient);
  };
  step();
  std::vector<double> peaks;
  measure_peak(peaks);
  const test::Allocations allocations;
  const double start = now();
  for (auto _ : state) step();
  const double seconds = now() - start;
  const auto counted = static_cast<double>(allocations.count());
  measure_peak(peaks);
  std::nth_element(peaks.begin(), peaks.begin() + 5, peaks.end());
  const double tokens = static_cast<double>(state.iterations()) * 2.0 * pairs * length;
  state.SetItemsProcessed(static_cast<std::int64_t>(tokens));
  state.counters["of_peak"] = flops(model) * tokens / seconds / peaks[5];
  state.counters["gflops"] = flops(model) * tokens / seconds * 1e-9;
  state.counters["allocations"] = counted / static_cast<double>(state.iterations());
}

void limit(benchmark::State& state, int length) {
  const double tokens = 2.0 * pairs * length;
  const auto steps = static_cast<std::int64_t>(flops(Model{1024}) * tokens / flops_a_step) + 1;
  for (auto _ : state) multiply_add(steps);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(tokens));
}

}  // namespace

int main(int argc, char** argv) {
  for (const int length : {16, 64}) {
    const std::string n = std::to_string(length);
    benchmark::RegisterBenchmark(("align/step/dpo/" + n).c_str(), [=](benchmark::State& s) { ours(s, length); });
    benchmark::RegisterBenchmark(("align/step/dpo/limit:fma/" + n).c_str(),
                                 [=](benchmark::State& s) { limit(s, length); });
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
