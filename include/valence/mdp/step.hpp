#pragma once

#include "valence/core/config.hpp"

namespace valence {

/// What an environment's `step` gives back. `terminated`: the episode is over and what follows is worth 0. `truncated`:
/// it was cut off (a time limit) and would have gone on, so a learner still counts the value of `next`. `R` is
/// `double`, or a vector for several objectives or players.
template <class State, class R = double>
struct Step {
  State next;
  R reward = {};
  bool terminated = false, truncated = false;

  /// The episode is over, for either reason: time to reset.
  bool done() const { return terminated || truncated; }
};

/// One step as a learner sees it. `next` is the state that followed, also where the episode ended there: never the
/// first state of the next one.
template <class State, class Action, class R = double>
struct Transition {
  State state;
  Action action;
  R reward;
  State next;
  bool terminated, truncated;
};

/// One way in which an action may turn out: what an enumerable environment lists instead of drawing from it.
template <class State, class R = double>
struct Outcome {
  State next;
  double probability = 1;  ///< of this outcome, given state and action; in [0, 1]
  R reward = {};
  bool terminated = false;  ///< the episode is over: `next` is worth 0, whatever it is worth elsewhere
};

}  // namespace valence
