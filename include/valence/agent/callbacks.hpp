#pragma once

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "valence/agent/evaluate.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"

namespace valence {

/// `every` >= 1 steps there is an evaluation of `episodes` >= 2 episodes, each cut off after `max_episode_steps`. The
/// training ends where the mean return reaches `stop_at`, or after `patience` >= 1 evaluations in a row without a better
/// one.
struct EvaluationOptions {
  std::int64_t every = 10'000, episodes = 20, max_episode_steps = 100'000;
  double stop_at = std::numeric_limits<double>::infinity();
  std::int64_t patience = (std::numeric_limits<std::int64_t>::max)();
};

/// A callback for `train` that plays the agent's greedy policy in an environment of its own now and then, keeps a copy of
/// the agent that did best, and can end the training. It comes at the first end of an episode after `every` steps, so that
/// the agent is between episodes, and draws from a generator of its own: training is the same with it and without.
///
///     EvaluateEvery evaluation{agent, TimeLimit{CartPole{}}, rng.split(7), {.every = 5'000, .stop_at = 475}};
///     train(agent, env, {.steps = 200'000}, rng, evaluation);
///     evaluation.best();   // the agent at its best, evaluation.history() what was measured
template <class AgentType, class E>
class EvaluateEvery {
 public:
  /// What one evaluation found.
  struct Point {
    std::int64_t step;
    double mean;
    Interval interval;
  };

  /// `agent` is looked at during the training: it must outlive this.
  EvaluateEvery(const AgentType& agent, E environment, const Rng& rng, const EvaluationOptions& options = {})
      : agent_(&agent), best_(agent), environment_(std::move(environment)), rng_(rng), options_(options) {
    check_positive("EvaluateEvery", "every", options.every);
    check_positive("EvaluateEvery", "patience", options.patience);
  }

  bool operator()(const Episode& episode) {
    steps_ += episode.length;
    if (steps_ < due_ + options_.every) return true;
    due_ = steps_;
    AgentType copy = *agent_;  // greedy actions may use the agent's scratch
    const Evaluation result = evaluate(
        copy, environment_, {.episodes = options_.episodes, .max_episode_steps = options_.max_episode_steps}, rng_);
    history_.push_back({steps_, result.mean, result.interval});
    if (history_.size() == 1 || result.mean > best_mean_) {
      best_mean_ = result.mean, since_best_ = 0;
      best_ = std::move(copy);
    } else {
      ++since_best_;
    }
    return result.mean < options_.stop_at && since_best_ < options_.patience;
  }

  const std::vector<Point>& history() const { return history_; }
  /// The agent as it was at its best evaluation; before the first, as it came. Its mean there is of the evaluation that
  /// chose it, so it flatters: evaluate it anew.
  const AgentType& best() const { return best_; }
  double best_mean() const { return best_mean_; }

 private:
  const AgentType* agent_;
  AgentType best_;
  E environment_;
  Rng rng_;
  EvaluationOptions options_;
  std::int64_t steps_ = 0, due_ = 0, since_best_ = 0;
  double best_mean_ = -std::numeric_limits<double>::infinity();
  std::vector<Point> history_ = {};
};

}  // namespace valence
