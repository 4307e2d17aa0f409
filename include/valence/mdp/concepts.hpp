#pragma once

#include <concepts>
#include <iterator>
#include <span>

#include "valence/core/random.hpp"
#include "valence/mdp/spaces.hpp"

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

/// Counts its states and lists what may happen, so that it can be planned in exactly: `states()` and `actions()` are
/// `Discrete`, states and actions integers below them, and `outcomes(state, action)` gives a range of `Outcome<int>`
/// whose probabilities sum to 1 (the same successor may occur several times). `reset` and `step` must draw from the
/// same distributions. `FiniteMdp{env}` is its model.
template <class E>
concept EnumerableEnvironment = requires(const E env, int state, int action) {
  { env.states() } -> std::convertible_to<Discrete>;
  { env.actions() } -> std::convertible_to<Discrete>;
  { std::begin(env.outcomes(state, action))->next } -> std::convertible_to<int>;
  { std::begin(env.outcomes(state, action))->probability } -> std::convertible_to<double>;
  { std::begin(env.outcomes(state, action))->reward } -> std::convertible_to<double>;
  { std::begin(env.outcomes(state, action))->terminated } -> std::convertible_to<bool>;
};

/// An enumerable environment that also lists where episodes begin: `initial_distribution()` gives a probability a
/// state.
template <class E>
concept ListsItsFirstStates = EnumerableEnvironment<E> && requires(const E env) {
  { *std::begin(env.initial_distribution()) } -> std::convertible_to<double>;
};

/// A finite Markov decision process that is known: what the solvers of planning/ take. States are 0 .. states() - 1,
/// actions 0 .. actions() - 1, of which some may not be available in a state. A terminal state has no available actions
/// and is worth 0; every other state has at least one. `reward(s, a)` is the expected one, `expectation(s, a, v)` is
/// sum_s' P(s' | s, a) v[s'] with v an entry a state, summed in one fixed order, and `successors(s, a)` a range of
/// elements with `next`, `probability` and `reward`. `initial()` is the distribution of the first state, empty where
/// none was given. Unavailable actions have no successors, and asking for more of them is not checked.
template <class M>
concept FiniteModel = requires(const M model, int s, int a, const typename M::Scalar* v) {
  { model.states() } -> std::convertible_to<int>;
  { model.actions() } -> std::convertible_to<int>;
  { model.terminal(s) } -> std::convertible_to<bool>;
  { model.available(s, a) } -> std::convertible_to<bool>;
  { model.reward(s, a) } -> std::convertible_to<typename M::Scalar>;
  { model.expectation(s, a, v) } -> std::convertible_to<typename M::Scalar>;
  { (*std::begin(model.successors(s, a))).next } -> std::convertible_to<int>;
  { (*std::begin(model.successors(s, a))).probability } -> std::convertible_to<typename M::Scalar>;
  { (*std::begin(model.successors(s, a))).reward } -> std::convertible_to<typename M::Scalar>;
  { model.initial() } -> std::convertible_to<std::span<const typename M::Scalar>>;
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
