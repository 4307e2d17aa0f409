#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/agent/train.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/dataset.hpp"

namespace valence {

/// `episodes` >= 2, each cut off after `max_episode_steps` >= 1; `discount` in [0, 1] of the returns; `level` in (0, 1)
/// of the interval.
struct EvaluateOptions {
  std::int64_t episodes = 100, max_episode_steps = 100'000;
  double discount = 1, level = 0.95;
};

/// What a policy earns.
struct Evaluation {
  double mean = 0;                     ///< of the episodes' discounted returns
  Interval interval = {};              ///< that covers their expectation (Student's, so it takes them for normal)
  std::vector<double> returns = {};    ///< discounted, an entry an episode
  std::vector<Episode> episodes = {};  ///< their lengths, and how each ended
  std::int64_t truncated = 0;          ///< how many were cut off: what they would have earned later is missing
};

namespace detail {

template <class P, class State>
concept ActsGreedily = requires(P& agent, const State& s, Rng& rng) { agent.greedy(s, rng); };

/// An agent's greedy action, ties at random; or what a policy does.
template <class Action, class P, class State>
Action policy_action(P& policy, const State& state, Rng& rng) {
  if constexpr (ActsGreedily<P, State>)
    return static_cast<Action>(policy.greedy(state, rng));
  else if constexpr (SamplesActions<P, State>)
    return static_cast<Action>(policy.sample(state, rng));
  else
    return static_cast<Action>(policy(state, rng));
}

}  // namespace detail

/// Plays episodes in a copy of `env` without learning. `policy` is an agent, whose greedy actions are taken; or has
/// `sample(state, rng)`, or is a function `(state, rng) -> action`. Streams are split as in `train`.
///
///     auto [mean, interval, returns, episodes, truncated] = evaluate(agent, Corridor{}, {.episodes = 200}, rng);
template <class P, class E>
Evaluation evaluate(P&& policy, E env, const EvaluateOptions& options, Rng& rng) {
  explain_environment<E>();
  static_assert(SingleReward<E>, "valence: evaluate needs rewards that are single numbers");
  using State = typename E::State;
  using Action = typename E::Action;
  using Bare = std::remove_cvref_t<P>;
  static_assert(detail::ActsGreedily<Bare, State> || detail::SamplesActions<Bare, State> ||
                    detail::IsCalledForActions<Bare, State>,
                "valence: evaluate takes an agent with `greedy(state, rng)`, a policy with `sample(state, rng)`, or a "
                "function `(state, rng) -> action`");
  constexpr auto where = "evaluate";
  check_range(where, "episodes", options.episodes, std::int64_t{2}, (std::numeric_limits<std::int64_t>::max)());
  check_positive(where, "max_episode_steps", options.max_episode_steps);
  check_range(where, "discount", options.discount, 0, 1);
  const Rng streams = rng.split(rng());
  Rng env_rng = streams.split(0), policy_rng = streams.split(1);

  Evaluation result;
  RunningMoments moments;
  for (std::int64_t k = 0; k < options.episodes; ++k) {
    Episode episode;
    double weight = 1, discounted = 0;
    State state = env.reset(env_rng);
    while (!episode.terminated && !episode.truncated) {
      const Action action = detail::policy_action<Action>(policy, std::as_const(state), policy_rng);
      auto step = env.step(action, env_rng);
      const auto reward = static_cast<double>(step.reward);
      if (!std::isfinite(reward)) fail(where, "the reward of a step is {}; expected a finite number", reward);
      episode.total_reward += reward;
      discounted += weight * reward;
      weight *= options.discount;
      ++episode.length;
      episode.terminated = step.terminated;
      episode.truncated = step.truncated || (episode.length == options.max_episode_steps && !episode.terminated);
      state = std::move(step.next);
    }
    moments.add(discounted);
    result.returns.push_back(discounted);
    result.episodes.push_back(episode);
    if (!episode.terminated) ++result.truncated;
  }
  result.mean = moments.mean();
  result.interval = mean_interval(moments, options.level);
  return result;
}

}  // namespace valence
