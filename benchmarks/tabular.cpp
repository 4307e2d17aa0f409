// Tabular agents, ns per step (CPU time): act, the environment's step, learn. Q-learning on a 10 x 10 grid through
// `Run`, next to the loop that one would write by hand with the same generator and the same random ties
// (`peer:plain_loop`); and what the other agents cost on that grid.

#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <vector>

#include "valence/agent/dyna_q.hpp"
#include "valence/agent/lambda.hpp"
#include "valence/agent/n_step.hpp"
#include "valence/agent/q_learning.hpp"
#include "valence/agent/sarsa.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/random.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace {

/// From one corner to the opposite one; -1 a step; a fifth of the moves goes anywhere.
struct Grid {
  using State = int;
  using Action = int;
  static constexpr int side = 10;
  int cell = 0;

  int reset(valence::Rng&) { return cell = 0; }
  valence::Step<int> step(int action, valence::Rng& rng) {
    if (rng.uniform() < 0.2) action = rng.below(4);
    const int row = cell / side, column = cell % side;
    if (action == 0 && row > 0) cell -= side;
    if (action == 1 && column < side - 1) cell += 1;
    if (action == 2 && row < side - 1) cell += side;
    if (action == 3 && column > 0) cell -= 1;
    return {.next = cell, .reward = -1, .terminated = cell == side * side - 1};
  }
  valence::Discrete states() const { return {side * side}; }
  valence::Discrete actions() const { return {4}; }
};

constexpr std::int64_t chunk = 10'000;
constexpr double epsilon = 0.1, step_size = 0.1, discount = 0.99;

template <class Agent>
void play(benchmark::State& state, Agent agent) {
  valence::Run run{std::move(agent), Grid{}, valence::Rng{1}};
  run.advance(100'000);
  for (auto _ : state) run.advance(chunk);
  state.SetItemsProcessed(state.iterations() * chunk);
}

/// By hand. The environment and the agent draw from streams of their own, as in `Run`.
struct Loop {
  std::array<double, 4 * Grid::side * Grid::side> q{};
  valence::Rng env_rng = valence::Rng{1}.split(0), rng = valence::Rng{1}.split(1);
  Grid grid = {};
  std::vector<double> returns = {};
  double total = 0;
  int state = 0;

  [[gnu::noinline]] void advance(std::int64_t steps) {
    for (std::int64_t k = 0; k < steps; ++k) {
      double* const now = &q[static_cast<std::size_t>(4 * state)];
      int action = 0;
      if (rng.uniform() < epsilon) {
        action = rng.below(4);
      } else {
        int ties = 1;
        for (int a = 1; a < 4; ++a) {
          if (now[a] > now[action])
            action = a, ties = 1;
          else if (now[a] == now[action])
            ++ties;
        }
        int skip = rng.below(ties);
        const double best = now[action];
        while (skip > 0)
          if (now[++action] == best) --skip;
      }
      const auto step = grid.step(action, env_rng);
      double target = step.reward;
      if (!step.terminated) {
        const double* const next = &q[static_cast<std::size_t>(4 * step.next)];
        double best = next[0];
        for (int a = 1; a < 4; ++a) best = next[a] > best ? next[a] : best;
        target += discount * best;
      }
      now[action] += step_size * (target - now[action]);
      total += step.reward;
      state = step.next;
      if (step.terminated) {
        returns.push_back(total);
        total = 0;
        state = grid.reset(env_rng);
      }
    }
  }
};

void plain_loop(benchmark::State& state) {
  Loop loop;
  loop.advance(100'000);
  for (auto _ : state) {
    loop.advance(chunk);
    benchmark::DoNotOptimize(loop.q.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * chunk);
}

const bool registered = [] {
  using namespace valence;
  const Tabular<double> table{Grid::side * Grid::side, 4};
  const EpsilonGreedy choice{epsilon};
  const OnlineOptions options{.step_size = step_size, .discount = discount};
  benchmark::RegisterBenchmark("q_learning/grid10", [=](benchmark::State& s) {
    play(s, QLearning{table, choice, options});
  });
  benchmark::RegisterBenchmark("q_learning/grid10/peer:plain_loop", plain_loop);
  benchmark::RegisterBenchmark("sarsa/grid10", [=](benchmark::State& s) { play(s, Sarsa{table, choice, options}); });
  benchmark::RegisterBenchmark("expected_sarsa/grid10", [=](benchmark::State& s) {
    play(s, ExpectedSarsa{table, choice, options});
  });
  benchmark::RegisterBenchmark("q_lambda/grid10", [=](benchmark::State& s) {
    play(s, QLambda{table, choice, {.step_size = step_size, .discount = discount, .lambda = 0.8}});
  });
  benchmark::RegisterBenchmark("tree_backup_4/grid10", [=](benchmark::State& s) {
    play(s, TreeBackup{table, choice, {.steps = 4, .step_size = step_size, .discount = discount}});
  });
  benchmark::RegisterBenchmark("dyna_q_10/grid10", [=](benchmark::State& s) {
    play(s, DynaQ{table, choice, {.planning_steps = 10, .step_size = step_size, .discount = discount}});
  });
  return true;
}();

}  // namespace

BENCHMARK_MAIN();
