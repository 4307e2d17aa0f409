// Elementary and stable functions over a block that stays in L1, in nanoseconds an element, against a plain loop over
// the standard library in the same run: counter `vs_std` = time of std / time of ours (above 1: ours is faster).
//
//     ./bench_math --benchmark_filter=softplus

#include "valence/core/math.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "valence/core/random.hpp"

namespace {

using namespace valence;

constexpr std::size_t block = 2048;

template <class S>
std::vector<S> arguments(double low, double high) {
  Rng rng{1};
  std::vector<S> x(block);
  for (S& v : x) v = static_cast<S>(low + (high - low) * rng.uniform());
  return x;
}

/// Seconds of the fastest of some runs of `f`, each short: a rival's time beside the benchmark's own.
template <class F>
double fastest(F&& f) {
  double best = 1e9;
  for (int i = 0; i < 100; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    benchmark::ClobberMemory();
    best = (std::min)(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

/// `ours(x, y)` and `rival(x, y)` fill y from x.
template <class S, class Ours, class Rival>
void compare(benchmark::State& state, double low, double high, Ours ours, Rival rival) {
  const std::vector<S> x = arguments<S>(low, high);
  std::vector<S> y(block);
  const std::span<const S> in(x);
  const std::span<S> out(y);
  // Somebody else may see both arrays: so every pass reads and writes them.
  const S* seen = in.data();
  S* written = out.data();
  benchmark::DoNotOptimize(seen);
  benchmark::DoNotOptimize(written);
  const double rival_time = fastest([&] { rival(in, out); });
  const double our_time = fastest([&] { ours(in, out); });
  for (auto _ : state) {
    ours(in, out);
    benchmark::ClobberMemory();
  }
  const auto elements = static_cast<double>(block);
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(block));
  state.counters["ns"] = 1e9 * our_time / elements;
  state.counters["std_ns"] = 1e9 * rival_time / elements;
  state.counters["vs_std"] = rival_time / our_time;
}

/// Registers `name<float>` and `name<double>`: a function of one number, ours over lanes, the rival's in a plain loop.
template <class Ours, class Rival>
void add(const std::string& name, double low, double high, Ours ours, Rival rival) {
  const auto one = [=]<class S>(S) {
    return [=](benchmark::State& state) {
      compare<S>(
          state, low, high, [ours](std::span<const S> in, std::span<S> out) { apply_lanes(in, out, ours); },
          [rival](std::span<const S> in, std::span<S> out) {
            for (std::size_t i = 0; i < in.size(); ++i) out[i] = rival(in[i]);
          });
    };
  };
  benchmark::RegisterBenchmark((name + "<float>").c_str(), one(0.0f));
  benchmark::RegisterBenchmark((name + "<double>").c_str(), one(0.0));
}

/// log-softmax of rows of 32, as a policy over 32 actions computes it.
template <class S>
void log_softmax_rows(benchmark::State& state) {
  constexpr std::size_t width = 32;
  compare<S>(
      state, -5, 5,
      [](std::span<const S> in, std::span<S> out) {
        for (std::size_t i = 0; i < in.size(); i += width) log_softmax(in.subspan(i, width), out.subspan(i, width));
      },
      [](std::span<const S> in, std::span<S> out) {
        for (std::size_t i = 0; i < in.size(); i += width) {
          S top = in[i], sum = 0;
          for (std::size_t j = i; j < i + width; ++j) top = (std::max)(top, in[j]);
          for (std::size_t j = i; j < i + width; ++j) sum += std::exp(in[j] - top);
          const S log_sum = top + std::log(sum);
          for (std::size_t j = i; j < i + width; ++j) out[j] = in[j] - log_sum;
        }
      });
}

}  // namespace

int main(int argc, char** argv) {
  add(
      "exp", -10, 10, [](auto x) { return elementary::exp(x); }, [](auto x) { return std::exp(x); });
  add(
      "log", 0, 10, [](auto x) { return elementary::log(x); }, [](auto x) { return std::log(x); });
  add(
      "log1p", 0, 1, [](auto x) { return elementary::log1p(x); }, [](auto x) { return std::log1p(x); });
  add(
      "expm1", -5, 5, [](auto x) { return elementary::expm1(x); }, [](auto x) { return std::expm1(x); });
  add(
      "tanh", -3, 3, [](auto x) { return elementary::tanh(x); }, [](auto x) { return std::tanh(x); });
  add(
      "erfc", -3, 3, [](auto x) { return elementary::erfc(x); }, [](auto x) { return std::erfc(x); });
  add(
      "softplus", -10, 10, [](auto x) { return softplus(x); },
      [](auto x) { return (std::max)(x, decltype(x)(0)) + std::log1p(std::exp(-std::abs(x))); });
  add(
      "sigmoid", -10, 10, [](auto x) { return sigmoid(x); },
      [](auto x) { return decltype(x)(1) / (decltype(x)(1) + std::exp(-x)); });
  add(
      "softplus_and_slope", -10, 10,  // what a logistic loss needs: both are computed, the sum is kept
      [](auto x) {
        const auto both = softplus_and_slope(x);
        return both.value + both.slope;
      },
      [](auto x) {
        const auto e = std::exp(-std::abs(x));
        return (std::max)(x, decltype(x)(0)) + std::log1p(e) + (x < 0 ? e : decltype(x)(1)) / (decltype(x)(1) + e);
      });
  add(
      "normal_cdf", -3, 3, [](auto x) { return normal_cdf(x); },
      [](auto x) { return std::erfc(x * decltype(x)(-0.70710678118654752)) / 2; });
  benchmark::RegisterBenchmark("log_softmax_32<float>", log_softmax_rows<float>);
  benchmark::RegisterBenchmark("log_softmax_32<double>", log_softmax_rows<double>);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
