#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// An episode, or the part of one that was seen: T steps, so T actions and rewards and T + 1 states. Its end is that of
/// its last step: `terminated` or `truncated`, where neither says that more may be appended.
template <class State = int, class Action = int, class R = double>
struct Trajectory {
  std::vector<State> state = {};    ///< s_0 .. s_T: one more than actions; the last is where the last step arrived
  std::vector<Action> action = {};  ///< a_0 .. a_{T-1}
  std::vector<R> reward = {};       ///< r_0 .. r_{T-1}: what a_t earned
  bool terminated = false, truncated = false;

  Trajectory() = default;
  /// Begins at `first`.
  explicit Trajectory(State first) { state.push_back(std::move(first)); }

  /// Steps: T.
  std::size_t size() const { return action.size(); }
  /// The episode is over.
  bool done() const { return terminated || truncated; }
  /// The state from which the next action is taken. Throws `Error` where there is none yet.
  const State& current() const {
    if (state.empty()) fail("Trajectory::current", "the trajectory has no state; expected a first one");
    return state.back();
  }

  /// The action was taken in `current()`, and this is what came of it. Throws `Error` where the trajectory has no first
  /// state or is over, and for a reward that isn't finite.
  template <class Next>
  void append(Action a, const Step<Next, R>& step) {
    constexpr auto where = "Trajectory::append";
    if (state.empty()) fail(where, "the trajectory has no state; expected a first one");
    if (done()) fail(where, "the trajectory is over after {} steps; expected one that goes on", size());
    if constexpr (std::floating_point<R>) check_finite(where, "reward", step.reward);
    action.push_back(std::move(a));
    reward.push_back(step.reward);
    state.push_back(step.next);
    terminated = step.terminated, truncated = step.truncated;
  }

  /// Step t < T as a transition: only the last one can end the episode.
  Transition<State, Action, R> operator[](std::size_t t) const {
    const bool last = t + 1 == size();
    return {state[t], action[t], reward[t], state[t + 1], last && terminated, last && truncated};
  }

  template <class A>
  void archive(A& ar) {
    ar(state, action, reward, terminated, truncated);
  }
};

}  // namespace valence
