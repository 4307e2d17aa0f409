#pragma once

#include <concepts>

#include "valence/core/random.hpp"

/// What an environment is. No base class and no registration: a struct with these members is one. Each requirement is a
/// concept of its own whose name is a sentence, because that name is what compilers print.
namespace valence {

template <class E>
concept NamesItsStateAndAction = requires {
  typename E::State;
  typename E::Action;
} && std::copyable<typename E::State> && std::copyable<typename E::Action>;

template <class E>
concept ResetGivesTheFirstState = requires(E env, Rng& rng) {
  { env.reset(rng) } -> std::convertible_to<typename E::State>;
};

template <class E>
concept StepGivesAStep = requires(E env, const typename E::Action& action, Rng& rng) {
  { env.step(action, rng).next } -> std::convertible_to<typename E::State>;
  env.step(action, rng).reward;
  { env.step(action, rng).terminated } -> std::convertible_to<bool>;
  { env.step(action, rng).truncated } -> std::convertible_to<bool>;
};

template <class E>
concept DescribesItsActions = requires(const E env) { env.actions(); };

/// A Markov decision process that can be played. `reset` starts an episode and `step` goes on with it; random numbers
/// come in, so an environment holds no generator. Copyable: a copy is a snapshot (planning, vectorised environments,
/// checkpoints).
template <class E>
concept Environment = std::copyable<E> && NamesItsStateAndAction<E> && ResetGivesTheFirstState<E> &&
                      StepGivesAStep<E> && DescribesItsActions<E>;

/// Rewards are single numbers (not one an objective or a player).
template <class E>
concept SingleReward = Environment<E> && requires(E env, const typename E::Action& action, Rng& rng) {
  { env.step(action, rng).reward } -> std::convertible_to<double>;
};

/// Says in words what an environment lacks, at compile time. The first line of every trainer, whose signature is
/// unconstrained: so this is the first error that a user reads, and not "no matching function".
template <class E>
consteval void explain_environment() {
  static_assert(std::copyable<E>, "valence: an environment can be copied: a copy is a snapshot of the episode");
  static_assert(NamesItsStateAndAction<E>,
                "valence: an environment needs `using State = ...; using Action = ...;`, both copyable");
  if constexpr (NamesItsStateAndAction<E>) {
    static_assert(ResetGivesTheFirstState<E>, "valence: an environment needs `State reset(valence::Rng&)`");
    static_assert(StepGivesAStep<E>,
                  "valence: an environment needs `valence::Step<State> step(Action, valence::Rng&)`");
    static_assert(DescribesItsActions<E>, "valence: an environment needs `valence::Discrete actions() const` (or Box)");
  }
}

}  // namespace valence
