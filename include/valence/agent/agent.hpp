#pragma once

#include <concepts>

#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/step.hpp"

/// What an agent is. The state is a parameter of the members, not of the type: agents remember encoded states, so
/// `QLearning{Tabular{10, 2}, EpsilonGreedy{0.1}}` needs no environment.
namespace valence {

template <class A, class State, class Action>
concept ActsOnStates = requires(A agent, const State& state, Rng& rng) {
  { agent.act(state, rng) } -> std::convertible_to<Action>;
};

template <class A, class State, class Action>
concept LearnsFromTransitions =
    requires(A agent, const Transition<State, Action>& transition, Rng& rng) { agent.learn(transition, rng); };

template <class A>
concept ArchivesItself = requires(A agent, AnyArchive& ar) { agent.archive(ar); };

/// Acts, and learns from what came of it: `act(state, rng)`, then `learn(transition, rng)` with the transition that the
/// action began. It learns nothing from `next` where the transition terminated, and counts its value where it was
/// truncated. Where it has `begin_episode()`, that is called after every reset: what it remembers of an episode is then
/// forgotten, finished or not. `archive` lists all that it learned.
template <class A, class State, class Action>
concept Agent = ActsOnStates<A, State, Action> && LearnsFromTransitions<A, State, Action> && ArchivesItself<A>;

/// Says in words what an agent lacks, at compile time.
template <class A, class State, class Action>
consteval void explain_agent() {
  static_assert(ActsOnStates<A, State, Action>,
                "valence: an agent needs `Action act(const State&, valence::Rng&)` for the environment's states");
  static_assert(LearnsFromTransitions<A, State, Action>,
                "valence: an agent needs `void learn(const valence::Transition<State, Action>&, valence::Rng&)`");
}

}  // namespace valence
