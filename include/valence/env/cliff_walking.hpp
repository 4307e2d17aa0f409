#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/env/grid_text.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// Gymnasium's argument.
struct CliffWalkingOptions {
  bool is_slippery = false;  ///< true: the move meant and the two at right angles to it have probability 1/3 each
};

/// From the lower left corner of 4 x 12 cells to the lower right one, along a cliff. Each step earns -1; stepping into
/// the cliff -100, and it puts back to the start without ending the episode. State: row * 12 + column; start 36, cliff
/// 37..46 (never stood on), goal 47. Actions: 0 up, 1 right, 2 down, 3 left. No time limit. Source: Sutton and Barto
/// (2018), example 6.6; Gymnasium's CliffWalking-v1.
class CliffWalking {
 public:
  using State = int;   ///< the cell
  using Action = int;  ///< 0 up, 1 right, 2 down, 3 left
  enum : int { up, right, down, left };

  static constexpr int rows = 4, columns = 12;
  static constexpr int start = 36, goal = 47;

  explicit CliffWalking(const CliffWalkingOptions& options = {}) : slippery_(options.is_slippery) {}

  /// The start. No output.
  int reset(Rng&) { return episode_.begin(start); }
  /// Throws `Error` for an action that doesn't exist and after the end. One output.
  Step<int> step(int action, Rng& rng) { return episode_.step("CliffWalking::step", *this, action, rng); }

  Discrete states() const { return {rows * columns}; }
  Discrete actions() const { return {4}; }
  /// From the cells of the cliff too, as if one stood there. Throws `Error` for a state or an action that doesn't
  /// exist.
  OutcomeList<3> outcomes(int state, int action) const {
    detail::check_state("CliffWalking", state, rows * columns);
    detail::check_action("CliffWalking", action, 4);
    OutcomeList<3> list;
    if (state == goal) {
      list.add({.next = goal, .probability = 1, .reward = 0, .terminated = true});
    } else if (!slippery_) {
      list.add(entering(state, action, 1));
    } else {
      for (const int turn : {3, 0, 1}) list.add(entering(state, (action + turn) % 4, 1.0 / 3));
    }
    return list;
  }
  std::vector<double> initial_distribution() const {
    std::vector<double> p(rows * columns, 0.0);
    p[start] = 1;
    return p;
  }

  /// Where the player stands.
  int state() const { return episode_.state; }
  /// Puts the player elsewhere; the episode goes on from there. Throws `Error` for a state that doesn't exist.
  void set_state(int state) {
    detail::check_state("CliffWalking::set_state", state, rows * columns);
    episode_ = {state, terminal(state)};
  }
  bool terminal(int state) const { return state == goal; }
  static constexpr bool cliff(int state) { return state > start && state < goal; }

  template <class A>
  void archive(A& ar) {
    ar(slippery_, episode_);
  }

 private:
  static Outcome<int> entering(int state, int direction, double probability) {
    const int next = detail::moved(state, detail::compass[static_cast<std::size_t>(direction)], rows, columns);
    if (cliff(next)) return {.next = start, .probability = probability, .reward = -100};
    return {.next = next, .probability = probability, .reward = -1, .terminated = next == goal};
  }

  bool slippery_;
  FiniteEpisode episode_;
};

}  // namespace valence
