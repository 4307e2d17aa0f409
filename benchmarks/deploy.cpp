// A saved policy at batch 1, ns per action: 4-64-64-2 in float, and the continuous 17-256-256-6, through the public
// interface, checks included, next to the training network's own forward (`peer:mlp_forward`) and to the loops that one
// would write by hand (`peer:by_hand`), in one run. `allocations` counts calls of malloc an action, and must be 0.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "valence/core/random.hpp"
#include "valence/function/mlp.hpp"
#include "valence/policy/saved_policy.hpp"

namespace {

using namespace valence;

struct Setting {
  Mlp<float> net;
  std::vector<float> theta, observations;
  std::size_t inputs, outputs, next = 0;

  explicit Setting(std::vector<int> sizes)
      : net(std::move(sizes), relu),
        theta(net.parameter_count()),
        inputs(static_cast<std::size_t>(net.input_size())),
        outputs(static_cast<std::size_t>(net.output_size())) {
    Rng rng{1};
    net.initialize(theta, rng);
    observations.resize(64 * inputs);
    for (float& x : observations) x = rng.normal<float>();
  }
  std::span<const float> observation() {
    next = (next + 1) % 64;
    return std::span<const float>(observations).subspan(next * inputs, inputs);
  }
};

/// Times `act(observation)`, and counts its allocations.
template <class F>
void run(benchmark::State& state, Setting& setting, F&& act) {
  act(setting.observation());
  const test::Allocations allocations;
  for (auto _ : state) benchmark::DoNotOptimize(act(setting.observation()));
  state.counters["allocations"] = static_cast<double>(allocations.count()) / static_cast<double>(state.iterations());
}

void by_hand(benchmark::State& state, std::vector<int> sizes) {
  Setting setting(sizes);
  std::vector<float> a(512), b(512);
  run(state, setting, [&](std::span<const float> x) {
    std::copy(x.begin(), x.end(), a.begin());
    const float* p = setting.theta.data();
    for (std::size_t k = 0; k + 1 < sizes.size(); ++k) {
      const auto in = static_cast<std::size_t>(sizes[k]), out = static_cast<std::size_t>(sizes[k + 1]);
      const float* bias = p + in * out;
      for (std::size_t o = 0; o < out; ++o) b[o] = bias[o];
      for (std::size_t i = 0; i < in; ++i)
        for (std::size_t o = 0; o < out; ++o) b[o] += a[i] * p[i * out + o];
      if (k + 2 < sizes.size())
        for (std::size_t o = 0; o < out; ++o) b[o] = b[o] < 0 ? 0 : b[o];
      p = bias + out;
      std::swap(a, b);
    }
    return a[0];
  });
}

void mlp_forward(benchmark::State& state, std::vector<int> sizes) {
  Setting setting(std::move(sizes));
  Mlp<float>::Tape tape;
  run(state, setting, [&](std::span<const float> x) {
    return setting.net.forward(setting.theta, Outputs<float>(x.data(), setting.net.input_size(), 1), tape)(0, 0);
  });
}

void discrete(benchmark::State& state, std::vector<int> sizes) {
  Setting setting(std::move(sizes));
  SavedPolicy<float> policy(setting.net, setting.theta, GreedyValues{.actions = setting.net.output_size()});
  run(state, setting, [&](std::span<const float> x) { return policy.act(x); });
}

void continuous(benchmark::State& state, std::vector<int> sizes) {
  Setting setting(std::move(sizes));
  const auto d = setting.net.output_size();
  SavedPolicy<float> policy(
      setting.net, setting.theta,
      Deterministic<Vector<double>>{{Vector<double>::Constant(d, -2), Vector<double>::Constant(d, 2)}});
  std::vector<float> action(setting.outputs);
  run(state, setting, [&](std::span<const float> x) {
    policy.act(x, action);
    return action[0];
  });
}

const std::vector<int> shallow{4, 64, 64, 2}, wide{17, 256, 256, 6};
BENCHMARK_CAPTURE(discrete, x, shallow)->Name("deploy/act/4-64-64-2");
BENCHMARK_CAPTURE(mlp_forward, x, shallow)->Name("deploy/act/4-64-64-2/peer:mlp_forward");
BENCHMARK_CAPTURE(by_hand, x, shallow)->Name("deploy/act/4-64-64-2/peer:by_hand");
BENCHMARK_CAPTURE(continuous, x, wide)->Name("deploy/act/17-256-256-6");
BENCHMARK_CAPTURE(mlp_forward, x, wide)->Name("deploy/act/17-256-256-6/peer:mlp_forward");
BENCHMARK_CAPTURE(by_hand, x, wide)->Name("deploy/act/17-256-256-6/peer:by_hand");

}  // namespace

BENCHMARK_MAIN();
