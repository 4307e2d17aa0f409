// Deep agents end to end on Pendulum, in the configurations of RLtools' own examples: float, one thread, strict mode, no
// BLAS. A run is one iteration; times are per step of the environment, everything included: acting, the environment,
// memory, updates. The limit is the same number of multiply-adds as the matrix products need, at the processor's peak;
// `of_peak` is the share of a peak taken immediately before and after. `return` is the mean return of 100 episodes of the
// greedy policy afterwards, not timed. `allocations` counts calls of malloc a step over the last tenth of the run.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "peak.hpp"
#include "support/allocations.hpp"
#include "valence/agent/evaluate.hpp"
#include "valence/agent/ppo.hpp"
#include "valence/agent/sac.hpp"
#include "valence/agent/td3.hpp"
#include "valence/agent/train.hpp"
#include "valence/agent/train_lanes.hpp"
#include "valence/core/random.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/vector_environment.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/constant.hpp"
#include "valence/function/mlp.hpp"
#include "valence/policy/exploration_noise.hpp"
#include "valence/policy/gaussian.hpp"
#include "valence/policy/squashed_gaussian.hpp"

namespace {

using namespace valence;

const TimeLimit pendulum{Pendulum{}};

Mlp<float> net(int in, int out, double output_gain = 1) {
  return {{in, 64, 64, out}, relu, {.output_gain = output_gain}};
}

/// Operations of the matrix products of one sample through 64-64: forward, and those of a pullback to the parameters.
double forward_flops(int in, int out) { return 2.0 * (in * 64 + 64 * 64 + 64 * out); }
double backward_flops(int in, int out) { return 2 * forward_flops(in, out) - 2.0 * in * 64; }

struct Work {
  std::int64_t steps;
  double flops_a_step;
};

// 4 environments x 1024 steps, 2 epochs, batches of 256.
const Work ppo_work{307'200,
                    (forward_flops(3, 1) + forward_flops(3, 1)) + 2 * 2 * (forward_flops(3, 1) + backward_flops(3, 1))};
// Batch 100: targets, fit of both critics; actor at s' and s, critics at its action and back to it, the actor's pullback.
const Work sac_work{10'000, 100 * (2 * forward_flops(4, 1) + 2 * (forward_flops(4, 1) + backward_flops(4, 1)) +
                                   2 * forward_flops(3, 2) + 4 * forward_flops(4, 1) + backward_flops(3, 2))};
// The same without an entropy; at every second update the actor, up the first critic.
const Work td3_work{
    10'000, 100 * (forward_flops(3, 1) + 2 * forward_flops(4, 1) + 2 * (forward_flops(4, 1) + backward_flops(4, 1)) +
                   0.5 * (forward_flops(3, 1) + 2 * forward_flops(4, 1) + backward_flops(3, 1)))};

template <class Agent, class E>
void play(benchmark::State& state, const Work& work, Agent agent, E env) {
  Run run{std::move(agent), std::move(env), Rng{7}};
  std::vector<double> peaks;
  measure_peak(peaks);
  std::size_t allocated = 0;
  const std::int64_t rest = work.steps / 10;
  const double start = now();
  for (auto _ : state) {
    run.advance(work.steps - rest);
    const test::Allocations allocations;
    run.advance(rest);
    allocated = allocations.count();
  }
  const double seconds = now() - start;
  measure_peak(peaks);
  std::nth_element(peaks.begin(), peaks.begin() + 5, peaks.end());
  Rng rng{8};
  const double flops = work.flops_a_step * static_cast<double>(work.steps);
  state.SetItemsProcessed(work.steps);
  state.counters["of_peak"] = flops / seconds / peaks[5];
  state.counters["return"] = evaluate(run.agent, pendulum, {.episodes = 100}, rng).mean;
  state.counters["allocations"] = static_cast<double>(allocated) / static_cast<double>(rest);
}

void limit(benchmark::State& state, const Work& work) {
  const auto steps = static_cast<std::int64_t>(work.flops_a_step * static_cast<double>(work.steps) / flops_a_step);
  for (auto _ : state) multiply_add(steps);
  state.SetItemsProcessed(work.steps);
}

void ppo(benchmark::State& state) {
  play(state, ppo_work,
       Ppo{Parallel{Parallel{net(3, 1, 0.01), Constant<float>{1, 0.6931472F}}, net(3, 1)},
           DiagonalGaussian<double>{},
           Adam{.step_size = 1e-3, .epsilon = 1e-5},
           {.horizon = 1024, .lanes = 4, .epochs = 2, .batch = 256, .discount = 0.9}},
       VectorEnvironment{pendulum, 4, {.autoreset = Autoreset::same_step}});
}
void sac(benchmark::State& state) {
  play(state, sac_work,
       Sac{net(3, 2),
           SquashedGaussian{pendulum.actions(), {.min_log_std = -20, .max_log_std = 2}},
           net(4, 1),
           Adam{.step_size = 1e-3},
           {.replay = 10'000, .batch = 100}},
       pendulum);
}
void td3(benchmark::State& state) {
  play(state, td3_work,
       Td3{net(3, 1),
           pendulum.actions(),
           net(4, 1),
           Adam{.step_size = 1e-3},
           GaussianNoise{.standard_deviation = 0.2},
           {.replay = 10'000, .batch = 100}},
       pendulum);
}

BENCHMARK(ppo)->Name("ppo/pendulum")->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(limit, ppo, ppo_work)->Name("ppo/pendulum/limit:fma")->Iterations(1);
BENCHMARK(sac)->Name("sac/pendulum")->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(limit, sac, sac_work)->Name("sac/pendulum/limit:fma")->Iterations(1);
BENCHMARK(td3)->Name("td3/pendulum")->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(limit, td3, td3_work)->Name("td3/pendulum/limit:fma")->Iterations(1);

}  // namespace

BENCHMARK_MAIN();
