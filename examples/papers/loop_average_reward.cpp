// LOOP: optimism for the average reward, without episodes. Among the hypotheses that fit what was seen it acts for the
// one with the largest gain, and plans again only when that one no longer fits. Its regret stays below a small multiple
// of sqrt(T) with few switches, where undirected exploration may not find the reward at all.
//
// RiverSwim of six states, 20 000 steps: a finite class of 73 dynamics (the river's among them), tables with a bonus,
// and linear models with a bonus, whose features are those tables' (they must find the same); against RVI Q-learning
// with epsilon-greedy actions. Regret is measured against the best gain, and so carries the noise of the rewards
// themselves.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "valence/agent/hypothesis_sets.hpp"
#include "valence/agent/loop.hpp"
#include "valence/agent/rvi_q_learning.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/model_environment.hpp"
#include "valence/env/river_swim.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/relative_value_iteration.hpp"

using namespace valence;

namespace {

constexpr int states = 6, pairs = 2 * states;
constexpr std::size_t steps = 20'000;

/// Rivers of other currents, in equal steps, and the one that is swum in.
std::vector<FiniteMdp<double>> rivers() {
  std::vector<FiniteMdp<double>> all;
  for (int i = 0; i < 12; ++i)
    for (int j = 0; j < 9; ++j)
      if (const double up = .05 + .05 * i, stay = .1 + .1 * j; up + stay <= .97 + 1e-9)
        all.push_back(river_swim(states, {.up = up, .stay = stay}));
  all.push_back(river_swim(states));
  return all;
}

/// The rewards of an agent that explores with epsilon-greedy actions.
Vector<double> undirected(double epsilon, Rng rng) {
  RviQLearning agent{Tabular{states, 2}, EpsilonGreedy{epsilon}, {.step_size = .1}};
  ModelEnvironment river{river_swim(states)};
  Vector<double> rewards(static_cast<std::ptrdiff_t>(steps));
  int state = river.reset(rng);
  for (double& reward : view(rewards)) {
    const int action = agent.act(state, rng);
    const auto step = river.step(action, rng);
    agent.learn(Transition<int, int>{state, action, step.reward, step.next, false, false}, rng);
    state = step.next;
    reward = step.reward;
  }
  return rewards;
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run(
      {.id = "loop_average_reward",
       .header = "valence/agent/loop.hpp",
       .claim = "optimism over fitting hypotheses: little regret in the average reward, with few switches",
       .seeds = 30,
       .quick_seeds = 20},
      count, arguments, [](paper::Study& study) {
        const double gain = relative_value_iteration(river_swim(states)).gain;
        const FiniteClass candidates(rivers(), {.beta = 10});
        study.each_seed([&](paper::Seed& seed) {
          std::vector<std::pair<std::string, Vector<double>>> all;
          std::vector<std::pair<std::string, double>> switches;
          const auto run = [&](const std::string& name, auto hypotheses, Rng rng) {
            const LoopRun result = loop(hypotheses, ModelEnvironment{river_swim(states)}, steps, rng);
            all.emplace_back(name, result.rewards);
            switches.emplace_back(name, static_cast<double>(result.switches()));
          };
          run("LOOP, 73 rivers", candidates, seed.rng.split(0));
          run("LOOP, tables", TabularOptimism{{.states = states, .actions = 2, .beta = 1, .span = 10}},
              seed.rng.split(1));
          run("LOOP, linear", LinearOptimism{Matrix<double>::Identity(pairs, pairs), 2, {.beta = 1, .span = 10}},
              seed.rng.split(2));
          for (const double epsilon : {.1, .3})
            all.emplace_back(fmt::format("RVI Q-learning, epsilon {}", epsilon),
                             undirected(epsilon, seed.rng.split(epsilon < .2 ? 3 : 4)));

          std::vector<double> x;
          for (std::size_t t = 99; t < steps; t += 100) x.push_back(static_cast<double>(t + 1));
          for (const auto& [name, rewards] : all) {
            const Vector<double> regret = average_reward_regret(gain, view(rewards));
            std::vector<double> y;
            for (const double t : x) y.push_back(regret[static_cast<std::ptrdiff_t>(t) - 1]);
            seed.trace(name, x, y);
            seed.measure("regret of 10 000 steps/" + name, regret[steps / 2 - 1]);
          }
          for (const auto& [name, rewards] : all)
            seed.measure("regret of 20 000 steps/" + name, average_reward_regret(gain, view(rewards))[steps - 1]);
          for (const auto& [name, n] : switches) seed.measure("switches/" + name, n);
        });
        double regret = 0, growth = 0, undirected_regret = gain * steps;
        for (const std::string name : {"LOOP, 73 rivers", "LOOP, tables", "LOOP, linear"}) {
          const double all = study.mean("regret of 20 000 steps/" + name);
          regret = (std::max)(regret, all);
          growth = (std::max)(growth, all - study.mean("regret of 10 000 steps/" + name));
        }
        for (const std::string name : {"epsilon 0.1", "epsilon 0.3"})
          undirected_regret =
              (std::min)(undirected_regret, study.mean("regret of 20 000 steps/RVI Q-learning, " + name));
        const double best = gain * steps;
        study.require("largest regret of LOOP / best reward", regret / best, paper::at_most(.03));
        study.require("smallest regret of epsilon-greedy / best reward", undirected_regret / best, paper::at_least(.5));
        study.require("LOOP's regret a step in the last half", growth / (steps / 2.0), paper::at_most(.02));
        study.require("most switches, 73 rivers and tables",
                      (std::max)(study.maximum("switches/LOOP, 73 rivers"), study.maximum("switches/LOOP, tables")),
                      paper::at_most(60));
        study.require("most switches, linear", study.maximum("switches/LOOP, linear"),
                      paper::at_most(1 + pairs * std::log2(1 + static_cast<double>(steps) / pairs)));
        study.note(
            "The linear set plans again when a determinant has doubled: the bound on its switches is d log2(1 + T / "
            "d).");
        study.note("Regret contains the rewards' own noise: an optimal policy's is 0 in the mean, and often negative.");
      });
}
