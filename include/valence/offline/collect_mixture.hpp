#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/dataset.hpp"

namespace valence {

/// A policy (as `collect` takes it) and how many >= 1 episodes it plays.
template <class Policy>
struct Behaviour {
  Policy policy;
  std::size_t episodes;
};
template <class Policy>
Behaviour(Policy, std::size_t) -> Behaviour<Policy>;
template <class Policy>
Behaviour(Policy, int) -> Behaviour<Policy>;

/// `max_episode_steps` >= 1: episodes are cut off there, and their last transition is truncated.
struct CollectMixtureOptions {
  std::size_t max_episode_steps = 100'000;
};

/// A log of several policies, as offline learners meet them: each plays its episodes in a copy of `env`, one after
/// another. log_prob is recorded where all policies tell it, and is the one of the policy that acted, not of the
/// mixture.
///
///     auto log = collect_mixture(env, {.max_episode_steps = 45}, rng, Behaviour{good, 8}, Behaviour{poor, 10});
template <class E, class... Policies>
auto collect_mixture(const E& env, const CollectMixtureOptions& options, Rng& rng,
                     const Behaviour<Policies>&... parts) {
  static_assert(sizeof...(parts) > 0, "valence: collect_mixture needs at least one Behaviour{policy, episodes}");
  constexpr auto where = "collect_mixture";
  using State = typename E::State;
  using Action = typename E::Action;
  constexpr bool with_log_probs = (... && detail::TellsLogProbs<Policies, State, Action>);
  std::size_t part = 0;
  ((parts.episodes > 0 ? void(++part) : fail(where, "part {} has 0 episodes; expected at least 1", part)), ...);

  const auto play = [&](const auto& b) {
    return collect(env, b.policy, {.episodes = b.episodes, .max_episode_steps = options.max_episode_steps}, rng);
  };
  using Log = std::common_type_t<decltype(play(parts))...>;
  Log all;
  const auto append = [&](const Log& log) {
    for (std::size_t i = 0; i < log.size(); ++i) {
      const auto t = log[i];
      if constexpr (with_log_probs)
        all.add(t, t.log_prob);
      else
        all.add(t);
    }
  };
  (append(play(parts)), ...);
  return all;
}

}  // namespace valence
