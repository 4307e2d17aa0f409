#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <ctime>
#include <vector>

#include "valence/core/lanes.hpp"

/// The processor's peak of single-precision multiply-adds, measured by a loop of independent ones: the limit of whatever
/// is matrix products.
namespace valence {

/// Processor time of this thread, seconds.
inline double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// `steps` steps of independent multiply-adds in the widest registers: 12 chains, more than latency times ports asks
/// for.
inline constexpr int chains = 12;
inline constexpr double flops_a_step = 2.0 * chains * static_cast<double>(lane_count<Lanes<float>>);
inline void multiply_add(std::int64_t steps) {
  using V = Lanes<float>;
  V sum[chains], factor = splat<V>(0.999f), term = splat<V>(1e-3f);
  for (int i = 0; i < chains; ++i) sum[i] = splat<V>(static_cast<float>(i));
  benchmark::DoNotOptimize(factor);
  benchmark::DoNotOptimize(term);
  for (std::int64_t k = 0; k < steps; ++k) {
#if defined(__clang__)
#pragma clang loop unroll(full)
#elif defined(__GNUC__)
#pragma GCC unroll 12
#endif
    for (int i = 0; i < chains; ++i) sum[i] = sum[i] * factor + term;
  }
  V total{};
  for (int i = 0; i < chains; ++i) total += sum[i];
  benchmark::DoNotOptimize(total);
}
/// Operations a second, five times: ours is a mean over many steps, so the median of these is its like.
inline void measure_peak(std::vector<double>& peaks) {
  for (int r = 0; r < 5; ++r) {
    constexpr std::int64_t steps = 200'000;
    const double start = now();
    multiply_add(steps);
    peaks.push_back(flops_a_step * static_cast<double>(steps) / (now() - start));
  }
}

}  // namespace valence
