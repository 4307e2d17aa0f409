// Small networks in float: forward, and forward + pullback + Adam through the public interface, in strict mode and
// without BLAS. The limit is the processor's peak of fused multiply-adds (products and sums where it has none),
// measured by a loop of independent ones in the same run: `.../limit:fma` does the same number of operations, and
// `of_peak` is the share of a peak taken immediately before and after. `allocations` counts calls of malloc a step, and
// must be 0. Counted as operations are those of the matrix products alone: 2 m n k each; activations, biases and Adam
// come on top.

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "peak.hpp"
#include "support/allocations.hpp"
#include "valence/core/random.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"

namespace {

using namespace valence;

struct Case {
  std::vector<int> sizes;
  Activation hidden;
  bool update;
  int batch;

  std::string name() const {
    std::string s = update ? "mlp/update/" : "mlp/forward/";
    for (std::size_t i = 0; i < sizes.size(); ++i) s += fmt::format("{}{}", i ? "-" : "", sizes[i]);
    return fmt::format("{}/{}/", s, valence::name(hidden));
  }
  /// Of one sample. Backward: the gradients of all weights, and the inputs' of all layers but the first.
  double flops() const {
    double forward = 0, first = 2.0 * sizes[0] * sizes[1];
    for (std::size_t k = 0; k + 1 < sizes.size(); ++k) forward += 2.0 * sizes[k] * sizes[k + 1];
    return update ? 3 * forward - first : forward;
  }
};

void ours(benchmark::State& state, const Case& c) {
  Rng rng{1};
  const Mlp<float> net{c.sizes, c.hidden};
  Mlp<float>::Tape tape;
  Vector<float> theta(static_cast<Eigen::Index>(net.parameter_count())), gradient = Vector<float>::Zero(theta.size());
  net.initialize(view(theta), rng);
  Matrix<float> x(c.sizes.front(), c.batch), target(c.sizes.back(), c.batch), dy(c.sizes.back(), c.batch);
  rng.fill_normal(view(x));
  rng.fill_uniform(view(target));
  float noise = 0.5f;  // so that no batch is learned by heart: gradients that vanish are not what training meets
  auto adam = Adam{.step_size = 1e-4}.start<float>(net.parameter_count());
  const auto step = [&] {
    const auto y = net.forward(view(theta), x, tape);
    benchmark::DoNotOptimize(y.data());
    if (!c.update) return;
    const float scale = 2 / static_cast<float>(c.batch);
    for (Eigen::Index i = 0; i < dy.size(); ++i) dy.data()[i] = scale * (y.data()[i] - target.data()[i] + noise);
    noise = -noise;
    std::fill(gradient.data(), gradient.data() + gradient.size(), 0.0f);
    net.pullback(view(theta), x, tape, Outputs<float>(dy.data(), dy.rows(), dy.cols()), view(gradient));
    adam.step(view(theta), view(gradient));
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
  const auto steps = static_cast<double>(state.iterations());
  state.SetItemsProcessed(state.iterations() * c.batch);
  state.counters["of_peak"] = c.flops() * c.batch * steps / seconds / peaks[5];
  state.counters["gflops"] = c.flops() * c.batch * steps / seconds * 1e-9;
  state.counters["allocations"] = counted / steps;
}

void limit(benchmark::State& state, const Case& c) {
  const auto steps = static_cast<std::int64_t>(c.flops() * c.batch / flops_a_step) + 1;
  for (auto _ : state) multiply_add(steps);
  state.SetItemsProcessed(state.iterations() * c.batch);
}

}  // namespace

int main(int argc, char** argv) {
  for (const bool update : {false, true})
    for (const auto& sizes : {std::vector<int>{3, 64, 64, 1}, std::vector<int>{4, 64, 64, 2}})
      for (const Activation hidden : {relu, Activation::tanh})
        for (const int batch : {1, 32, 256, 1024}) {
          const Case c{sizes, hidden, update, batch};
          const std::string n = std::to_string(batch);
          benchmark::RegisterBenchmark((c.name() + n).c_str(), [c](benchmark::State& s) { ours(s, c); });
          benchmark::RegisterBenchmark((c.name() + "limit:fma/" + n).c_str(),
                                       [c](benchmark::State& s) { limit(s, c); });
        }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
