#pragma once

#include <array>
#include <cstddef>
#include <cstdlib>
#include <span>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// The defaults are those of the agents whose contributions are known: see `Orchard::scripted`.
struct OrchardOptions {
  std::array<double, 5> speeds = {1, 1, .6, .3, 1};  ///< an agent: probability that its move is executed, in [0, 1]
  double regrowth = 0.02;  ///< of an apple, in each cell on the right that has none, at the end of a step; in [0, 1]
};

/// Five agents gather apples together: who contributes what? 5 rows x 7 columns; column 3 is a wall with a door in row
/// 2, which can be entered only while some agent stands on the plate in the upper left corner (as the step begins). Two
/// apples on the left, at rows 0 and 4 of column 2, don't grow again; on the right, six of 15 cells have one at first
/// and all can grow more. All begin at row 2, column 1, and may share cells. The reward is the team's: 1 an apple; of
/// several agents on its cell the first takes it. Moves into walls stay. No end of its own: `TimeLimit` cuts after 50
/// steps. A yardstick for Shapley values of agents (after Heuillet, Couthouis and Diaz-Rodriguez 2022).
///
/// A step uses 20 outputs of the generator whatever the agents do, so episodes of different teams can share their luck.
class Orchard {
 public:
  static constexpr int agents = 5, rows = 5, columns = 7, time_limit = 50;
  enum : int { right, left, down, up, stay };

  struct Cell {
    int row, column;
    friend bool operator==(const Cell&, const Cell&) = default;
    template <class A>
    void archive(A& ar) {
      ar(row, column);
    }
  };
  struct State {
    std::array<Cell, agents> where = {};          ///< an agent
    std::array<bool, rows* columns> apples = {};  ///< a cell, in reading order
    bool apple(Cell c) const { return apples[static_cast<std::size_t>(c.row * columns + c.column)]; }
    friend bool operator==(const State&, const State&) = default;
    template <class A>
    void archive(A& ar) {
      ar(where, apples);
    }
  };
  using Action = std::array<int, agents>;  ///< an agent: 0 right, 1 left, 2 down, 3 up, 4 stay
  /// All joint actions.
  struct Actions {
    bool contains(const Action& joint) const {
      for (const int a : joint)
        if (a < right || a > stay) return false;
      return true;
    }
    /// Uniform. An output an agent.
    Action sample(Rng& rng) const {
      Action joint{};
      for (int& a : joint) a = rng.below(5);
      return joint;
    }
  };

  static constexpr Cell plate{0, 0}, door{2, 3}, start{2, 1};

  /// Throws `Error` for probabilities outside [0, 1].
  explicit Orchard(const OrchardOptions& options = {}) : options_(options) {
    check_range("Orchard", "speeds", std::span<const double>(options.speeds), 0, 1);
    check_range("Orchard", "regrowth", options.regrowth, 0, 1);
  }

  /// Six outputs.
  const State& reset(Rng& rng) {
    state_ = {};
    state_.where.fill(start);
    state_.apples[2] = state_.apples[4 * columns + 2] = true;
    std::array<int, orchard_cells> cells{};
    for (int i = 0; i < orchard_cells; ++i) cells[static_cast<std::size_t>(i)] = i;
    for (int i = 0; i < 6; ++i) {  // the first steps of a shuffle
      const auto j = static_cast<std::size_t>(i + rng.below(orchard_cells - i));
      apple_on_the_right(cells[j]) = true;
      cells[j] = cells[static_cast<std::size_t>(i)];
    }
    taken_ = {};
    begun_ = true;
    return state_;
  }
  /// Throws `Error` before the first reset, and for an action that doesn't exist.
  Step<State> step(const Action& joint, Rng& rng) {
    constexpr auto where = "Orchard::step";
    if (!begun_) fail(where, "there is no episode; call reset first");
    for (std::size_t i = 0; i < joint.size(); ++i)
      if (joint[i] < right || joint[i] > stay) fail(where, "action[{}] is {}; expected one in [0, 4]", i, joint[i]);
    const bool open = door_open(state_);
    for (std::size_t i = 0; i < joint.size(); ++i)
      if (rng.bernoulli(options_.speeds[i])) state_.where[i] = moved(state_.where[i], joint[i], open);
    double reward = 0;
    for (std::size_t i = 0; i < joint.size(); ++i) {
      const Cell c = state_.where[i];
      bool& apple = state_.apples[static_cast<std::size_t>(c.row * columns + c.column)];
      taken_[i] = apple ? 1 : 0;
      reward += taken_[i];
      apple = false;
    }
    for (int i = 0; i < orchard_cells; ++i) {
      const bool grows = rng.bernoulli(options_.regrowth);
      bool& apple = apple_on_the_right(i);
      apple = apple || grows;
    }
    return {.next = state_, .reward = reward};
  }
  Actions actions() const { return {}; }

  const State& state() const { return state_; }
  /// Apples that each agent took in the last step: rewards of their own, which don't show who opened the door.
  const std::array<int, agents>& taken() const { return taken_; }
  static bool door_open(const State& state) {
    for (const Cell& c : state.where)
      if (c == plate) return true;
    return false;
  }

  /// What the agents do whose contributions are known: 0 opens the door (goes to the plate and stays), 1, 2 and 3
  /// collect (the nearest apple on their side; once there is none on the left, through the door), 4 loiters (paces
  /// between rows 2 and 3 of column 1). Ways go along the row first. Of apples equally near the one in the smallest
  /// row, then column. Throws `Error` for an agent that doesn't exist.
  static int scripted(int agent, const State& state) {
    check_range("Orchard::scripted", "agent", agent, 0, agents - 1);
    const Cell here = state.where[static_cast<std::size_t>(agent)];
    if (agent == 0) return towards(here, plate);
    if (agent == 4) return here.row == start.row ? down : up;
    const int first = here.column < door.column ? 0 : door.column, last = first == 0 ? door.column : columns;
    int nearest = rows + columns;
    Cell goal = first > 0 ? here : here == Cell{door.row, door.column - 1} ? door : Cell{door.row, door.column - 1};
    for (int row = 0; row < rows; ++row)
      for (int column = first; column < last; ++column) {
        const int distance = std::abs(row - here.row) + std::abs(column - here.column);
        if (state.apple({row, column}) && distance < nearest) nearest = distance, goal = {row, column};
      }
    return towards(here, goal);
  }
  static Action scripted(const State& state) {
    Action joint{};
    for (int i = 0; i < agents; ++i) joint[static_cast<std::size_t>(i)] = scripted(i, state);
    return joint;
  }

  template <class A>
  void archive(A& ar) {
    ar(options_.speeds, options_.regrowth, state_, taken_, begun_);
  }

 private:
  static constexpr int orchard_cells = 15;

  bool& apple_on_the_right(int i) {
    return state_.apples[static_cast<std::size_t>(i / 3 * columns + door.column + 1 + i % 3)];
  }
  static int towards(Cell here, Cell goal) {
    if (goal.column != here.column) return goal.column > here.column ? right : left;
    if (goal.row != here.row) return goal.row > here.row ? down : up;
    return stay;
  }
  static Cell moved(Cell c, int action, bool open) {
    const Cell next{c.row + (action == down) - (action == up), c.column + (action == right) - (action == left)};
    if (next.row < 0 || next.row >= rows || next.column < 0 || next.column >= columns) return c;
    if (next.column == door.column && next != c && !(next == door && open)) return c;
    return next;
  }

  OrchardOptions options_;
  State state_;
  std::array<int, agents> taken_{};
  bool begun_ = false;
};

}  // namespace valence
