// Environment stepping, ns per step (CPU time) with a random action and automatic reset: the single environment through
// its interface, and a batch of 1024 in arrays, each beside the plain loop that one would write for it
// (`peer:plain_loop`:
// one struct, libm, reset when it ends; the same generator).

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/env/acrobot.hpp"
#include "valence/env/batch_cart_pole.hpp"
#include "valence/env/batch_pendulum.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/mountain_car.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/vector_environment.hpp"

namespace {

using namespace valence;

constexpr int copies = 1024;

/// Actions drawn beforehand, so that what is measured is the environment.
std::vector<int> coins(int n) {
  Rng rng{1};
  std::vector<int> actions(1 << 14);
  for (int& a : actions) a = rng.below(n);
  return actions;
}
template <class S>
std::vector<S> torques() {
  Rng rng{1};
  std::vector<S> actions(1 << 14);
  for (S& a : actions) a = rng.uniform<S>(-2, 2);
  return actions;
}

template <class E, class Action>
void single(benchmark::State& state, const E& bare, const std::vector<Action>& actions) {
  TimeLimit<E> env{bare};
  Rng rng{2};
  env.reset(rng);
  std::size_t k = 0;
  double total = 0;
  for (auto _ : state) {
    const auto step = env.step(actions[k++ & (actions.size() - 1)], rng);
    total += step.reward + step.next[0];
    if (step.done()) env.reset(rng);
  }
  benchmark::DoNotOptimize(total);
  state.SetItemsProcessed(state.iterations());
}

template <class S>
struct PlainCartPole {
  S x, v, a, w;
  int t;
  void reset(Rng& rng) {
    x = static_cast<S>(rng.uniform(-.05, .05)), v = static_cast<S>(rng.uniform(-.05, .05));
    a = static_cast<S>(rng.uniform(-.05, .05)), w = static_cast<S>(rng.uniform(-.05, .05)), t = 0;
  }
  bool step(int action) {
    const S force = action ? S(10) : S(-10), c = std::cos(a), s = std::sin(a);
    const S push = (force + S(.05) * w * w * s) / S(1.1);
    const S angular = (S(9.8) * s - c * push) / (S(.5) * (S(4) / S(3) - S(.1) * c * c / S(1.1)));
    const S linear = push - S(.05) * angular * c / S(1.1);
    x += S(.02) * v, v += S(.02) * linear, a += S(.02) * w, w += S(.02) * angular;
    return x > S(2.4) || x < S(-2.4) || a > S(.20943951) || a < S(-.20943951) || ++t >= 500;
  }
};

template <class S>
void plain_cart_pole(benchmark::State& state) {
  const auto actions = coins(2);
  PlainCartPole<S> env{};
  Rng rng{2};
  env.reset(rng);
  std::size_t k = 0;
  S total = 0;
  for (auto _ : state) {
    if (env.step(actions[k++ & (actions.size() - 1)])) env.reset(rng);
    total += env.x;
  }
  benchmark::DoNotOptimize(total);
  state.SetItemsProcessed(state.iterations());
}

template <class S>
struct PlainPendulum {
  S a, w;
  int t;
  void reset(Rng& rng) {
    constexpr double pi = 3.14159265358979323846;
    a = static_cast<S>(rng.uniform(-pi, pi)), w = static_cast<S>(rng.uniform(-1., 1.)), t = 0;
  }
  S step(S u) {
    constexpr S pi = S(3.14159265358979323846);
    u = std::clamp(u, S(-2), S(2));
    const S wrapped = a - 2 * pi * std::floor((a + pi) / (2 * pi));
    const S cost = wrapped * wrapped + S(.1) * w * w + S(.001) * u * u;
    w = std::clamp(w + (S(15) * std::sin(a) + S(3) * u) * S(.05), S(-8), S(8));
    a += w * S(.05);
    ++t;
    return -cost;
  }
};

template <class S>
void plain_pendulum(benchmark::State& state) {
  const auto actions = torques<S>();
  PlainPendulum<S> env{};
  Rng rng{2};
  env.reset(rng);
  std::size_t k = 0;
  S total = 0;
  for (auto _ : state) {
    total += env.step(actions[k++ & (actions.size() - 1)]);
    total += std::cos(env.a) + std::sin(env.a) + env.w;  // what the agent sees
    if (env.t >= 200) env.reset(rng);
  }
  benchmark::DoNotOptimize(total);
  state.SetItemsProcessed(state.iterations());
}

template <class Batch, class Action>
void batch(benchmark::State& state, const std::vector<Action>& actions) {
  Batch lanes(copies);
  lanes.reset(Rng{2});
  std::size_t k = 0;
  for (auto _ : state) {
    lanes.step(std::span<const Action>(actions).subspan(k, copies));
    k = (k + copies) & (actions.size() - 1);
    benchmark::DoNotOptimize(lanes.speed().data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * copies);
}

void any_vector(benchmark::State& state) {
  VectorEnvironment lanes(TimeLimit{CartPole{}}, copies, {.autoreset = Autoreset::same_step});
  lanes.reset(Rng{2});
  const auto actions = coins(2);
  for (auto _ : state) lanes.step(std::span<const int>(actions).subspan(0, copies));
  state.SetItemsProcessed(state.iterations() * copies);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  using State = benchmark::State;
  benchmark::RegisterBenchmark("cart_pole/single/peer:plain_loop", plain_cart_pole<double>);
  benchmark::RegisterBenchmark("cart_pole/single", [](State& s) { single(s, CartPole{}, coins(2)); });
  benchmark::RegisterBenchmark("cart_pole/vector_of_1024", any_vector);
  benchmark::RegisterBenchmark("cart_pole/batch_float/peer:plain_loop", plain_cart_pole<float>);
  benchmark::RegisterBenchmark("cart_pole/batch_float", [](State& s) { batch<BatchCartPole<float>>(s, coins(2)); });
  benchmark::RegisterBenchmark("cart_pole/batch_double/peer:plain_loop", plain_cart_pole<double>);
  benchmark::RegisterBenchmark("cart_pole/batch_double", [](State& s) { batch<BatchCartPole<double>>(s, coins(2)); });
  benchmark::RegisterBenchmark("pendulum/single/peer:plain_loop", plain_pendulum<double>);
  benchmark::RegisterBenchmark("pendulum/single", [](State& s) { single(s, Pendulum{}, torques<double>()); });
  benchmark::RegisterBenchmark("pendulum/batch_float/peer:plain_loop", plain_pendulum<float>);
  benchmark::RegisterBenchmark("pendulum/batch_float",
                               [](State& s) { batch<BatchPendulum<float>>(s, torques<float>()); });
  benchmark::RegisterBenchmark("pendulum/batch_double/peer:plain_loop", plain_pendulum<double>);
  benchmark::RegisterBenchmark("pendulum/batch_double",
                               [](State& s) { batch<BatchPendulum<double>>(s, torques<double>()); });
  benchmark::RegisterBenchmark("mountain_car/single", [](State& s) { single(s, MountainCar{}, coins(3)); });
  benchmark::RegisterBenchmark("acrobot/single", [](State& s) { single(s, Acrobot{}, coins(3)); });
  benchmark::RunSpecifiedBenchmarks();
}
