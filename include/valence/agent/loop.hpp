#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/hypothesis_sets.hpp"
#include "valence/agent/lin_ucb.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// What happened in a run of `loop`.
struct LoopRun {
  Vector<double> rewards = {};            ///< an entry a step
  std::vector<std::size_t> planned = {};  ///< before which steps it planned; the first is 0
  std::vector<double> gains = {};         ///< the gain that each plan hoped for

  /// Hypotheses executed, counting the first.
  std::size_t switches() const { return planned.size(); }
};

/// Local-fitted Optimization with OPtimism (LOOP; He, Zhong & Yang 2024, algorithm 1): optimism for the average reward
/// of a task that goes on for ever, without episodes. Acts greedily for the hypothesis with the largest gain among
/// those that fit what was seen, and plans again only when that one's own misfit has grown past a threshold, so that
/// there are few switches.
///
///     TabularOptimism hypotheses{{.states = 6, .actions = 2, .beta = 1, .span = 10}};
///     LoopRun run = loop(hypotheses, ModelEnvironment{river_swim()}, 20'000, rng);
///
/// `env` has integer states and actions. Throws `Error` for no steps and for an environment that terminates; one that
/// truncates is reset, and nothing is learned of the step between.
template <HypothesisSet H, class E>
LoopRun loop(H& hypotheses, E env, std::size_t steps, Rng& rng) {
  check_positive("loop", "steps", steps);
  LoopRun run{.rewards = Vector<double>::Zero(static_cast<std::ptrdiff_t>(steps))};
  int state = env.reset(rng);
  for (std::size_t t = 0; t < steps; ++t) {
    if (t == 0 || hypotheses.outdated()) {
      hypotheses.plan();
      run.planned.push_back(t);
      run.gains.push_back(hypotheses.gain());
    }
    const int action = hypotheses.act(state);
    const auto step = env.step(action, rng);
    if (step.terminated) fail("loop", "step {} terminated; expected a task that goes on for ever", t);
    hypotheses.observe(state, action, step.reward, step.next);
    run.rewards[static_cast<std::ptrdiff_t>(t)] = step.reward;
    state = step.truncated ? env.reset(rng) : step.next;
  }
  return run;
}

/// The regret after each step: t gain - sum of the first t rewards, with the best gain; an entry a step. Throws `Error`
/// for numbers that aren't finite.
inline Vector<double> average_reward_regret(double gain, std::span<const double> rewards) {
  check_finite("average_reward_regret", "gain", gain);
  check_finite("average_reward_regret", "rewards", rewards);
  Vector<double> regret(static_cast<std::ptrdiff_t>(rewards.size()));
  double sum = 0;
  for (std::size_t t = 0; t < rewards.size(); ++t) regret[static_cast<std::ptrdiff_t>(t)] = sum += gain - rewards[t];
  return regret;
}

/// The elliptical potential of vectors phi, one a column: sum log(1 + phi' Lambda^-1 phi), Lambda = ridge + sum phi
/// phi' over the columns before, which is log det of the last Lambda - log det of the first. How long a linear class
/// can go on being surprised: the diagnostic of its complexity. Throws `Error` for an empty matrix, numbers that aren't
/// finite and a ridge that isn't positive.
inline double elliptical_potential(const Matrix<double>& phi, double ridge = 1) {
  check_positive("elliptical_potential", "vectors", phi.cols());
  OnlineRidge regression(static_cast<int>(phi.rows()), ridge);
  double potential = 0;
  for (std::ptrdiff_t j = 0; j < phi.cols(); ++j) {
    const std::span<const double> column(phi.data() + j * phi.rows(), static_cast<std::size_t>(phi.rows()));
    const double width = regression.uncertainty(column);
    regression.update(column, 0);
    potential += std::log1p(width * width);
  }
  return potential;
}

}  // namespace valence
