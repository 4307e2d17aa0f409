#pragma once

#include <utility>

#include "valence/core/random.hpp"
#include "valence/mdp/concepts.hpp"

namespace valence {

/// What wrappers share: the environment inside, and everything about it that they leave as it is. A wrapper derives
/// from it and says again what it changes. `inner().env` reaches the environment itself.
template <Environment E>
struct Wrapper {
  using State = typename E::State;
  using Action = typename E::Action;

  E env;

  State reset(Rng& rng) { return env.reset(rng); }
  auto step(const Action& action, Rng& rng) { return env.step(action, rng); }
  auto actions() const { return env.actions(); }
  auto states() const
    requires requires(const E e) { e.states(); }
  {
    return env.states();
  }
  auto outcomes(int state, int action) const
    requires EnumerableEnvironment<E>
  {
    return env.outcomes(state, action);
  }
  auto initial_distribution() const
    requires ListsItsFirstStates<E>
  {
    return env.initial_distribution();
  }

  template <class A>
  void archive(A& ar)
    requires requires(E e, A& a) { e.archive(a); }
  {
    ar(env);
  }
};

}  // namespace valence
