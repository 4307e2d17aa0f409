#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// Gymnasium's arguments.
struct TaxiOptions {
  bool is_rainy = false;  ///< a move goes where it is meant to with 0.8, and to either side of it with 0.1 each
  bool fickle_passenger =
      false;  ///< with 0.3 changes the destination, once, when the taxi first moves with them inside
};

/// A taxi on 5 x 5 cells with walls fetches a passenger from one of four places and takes them to another. Each step
/// earns -1, a pick-up or drop-off that isn't possible -10, the delivery 20, and that ends the episode. The passenger
/// may also be put down at one of the other places. Actions: 0 south, 1 north, 2 east, 3 west, 4 pick up, 5 drop off; a
/// move into a wall stays.
///
/// State: ((row * 5 + column) * 5 + passenger) * 4 + destination, with places 0 R (0,0), 1 G (0,4), 2 Y (4,0), 3 B
/// (4,3), and passenger 4 in the taxi; 500 states, of which those with passenger == destination are ends. A fickle
/// passenger's mind is part of the process, so there are 500 states more: state + 500 is the same once the first move
/// with the passenger inside has settled it. `state % 500` is what Gymnasium shows.
///
/// In the rain the three directions are resolved one by one, each against its own walls. (Gymnasium's tables lose the
/// slips where the intended move is blocked to the east or west, and let the walls beside a column block slips along
/// it: its issue 1533.)
///
/// Source: Dietterich (2000), "Hierarchical reinforcement learning with the MAXQ value function decomposition";
/// Gymnasium's Taxi-v3.
class Taxi {
 public:
  using State = int;
  using Action = int;
  enum : int { south, north, east, west, pick_up, drop_off };

  static constexpr int time_limit = 200;
  static constexpr double reward_threshold = 8;
  static constexpr int size = 5;    ///< rows, and columns
  static constexpr int inside = 4;  ///< the passenger's place in the taxi
  static constexpr int encodings = 500;

  /// The map: column c stands at character 2 c + 1, and before and after it a wall '|' or a passage ':'.
  static constexpr std::array<std::string_view, size> map{
      {"|R: | : :G|", "| : | : : |", "| : : : : |", "| | : | : |", "|Y| : |B: |"}};

  /// A state in parts.
  struct Situation {
    int row = 0, column = 0;
    int passenger = 0, destination = 0;
    bool settled = false;  ///< a fickle passenger won't change the destination any more; false without one

    friend bool operator==(const Situation&, const Situation&) = default;
  };

  explicit Taxi(const TaxiOptions& options = {}) : rainy_(options.is_rainy), fickle_(options.fickle_passenger) {}

  /// The taxi anywhere, the passenger at a place, the destination another one: all 300 alike. One output.
  int reset(Rng& rng) {
    const int k = rng.below(300), passenger = k % 12 / 3, other = k % 3;
    const int cell = k / 12;
    return episode_.begin(encode({.row = cell / size,
                                  .column = cell % size,
                                  .passenger = passenger,
                                  .destination = other + (other >= passenger)}));
  }
  /// Throws `Error` for an action that doesn't exist and after the end. One output.
  Step<int> step(int action, Rng& rng) { return episode_.step("Taxi::step", *this, action, rng); }

  Discrete states() const { return {fickle_ ? 2 * encodings : encodings}; }
  Discrete actions() const { return {6}; }
  /// Throws `Error` for a state or an action that doesn't exist.
  OutcomeList<12> outcomes(int state, int action) const {
    detail::check_state("Taxi", state, states().n);
    detail::check_action("Taxi", action, 6);
    OutcomeList<12> list;
    const Situation from = decode(state);
    if (delivered(from)) {
      list.add({.next = state, .probability = 1, .reward = 0, .terminated = true});
    } else if (action == pick_up || action == drop_off) {
      list.add(stand(from, action));
    } else if (!rainy_) {
      drive(list, from, action, 1);
    } else {
      drive(list, from, action, 0.8);
      drive(list, from, action < east ? west : south, 0.1);
      drive(list, from, action < east ? east : north, 0.1);
    }
    return list;
  }
  std::vector<double> initial_distribution() const {
    std::vector<double> p(static_cast<std::size_t>(states().n), 0.0);
    for (int s = 0; s < encodings; ++s) {
      const Situation x = decode(s);
      if (x.passenger != inside && x.passenger != x.destination) p[static_cast<std::size_t>(s)] = 1.0 / 300;
    }
    return p;
  }

  /// Which actions would change anything, by Gymnasium's rule: moves that no wall blocks, a pick-up where the passenger
  /// stands, a drop-off at any of the four places with the passenger inside.
  std::array<bool, 6> action_mask(int state) const {
    detail::check_state("Taxi::action_mask", state, states().n);
    const Situation s = decode(state);
    std::array<bool, 6> mask{};
    for (int a = south; a <= west; ++a) mask[static_cast<std::size_t>(a)] = passable(s, a);
    const int place = place_at(s.row, s.column);
    mask[pick_up] = s.passenger != inside && s.passenger == place;
    mask[drop_off] = s.passenger == inside && place >= 0;
    return mask;
  }

  /// The state's number. The parts are not checked.
  static constexpr int encode(const Situation& s) {
    return ((s.row * size + s.column) * 5 + s.passenger) * 4 + s.destination + (s.settled ? encodings : 0);
  }
  /// The parts of a state of `states()`.
  static constexpr Situation decode(int state) {
    const int s = state % encodings;
    return {.row = s / 100,
            .column = s / 20 % 5,
            .passenger = s / 4 % 5,
            .destination = s % 4,
            .settled = state >= encodings};
  }
  /// The place at a cell, 0 R, 1 G, 2 Y, 3 B; -1 where there is none.
  static constexpr int place_at(int row, int column) {
    for (std::size_t k = 0; k < 4; ++k)
      if (place_row[k] == row && place_column[k] == column) return static_cast<int>(k);
    return -1;
  }

  int state() const { return episode_.state; }
  /// Sets the scene; the episode goes on from there. Throws `Error` for a state that doesn't exist.
  void set_state(int state) {
    detail::check_state("Taxi::set_state", state, states().n);
    episode_ = {state, terminal(state)};
  }
  /// The passenger is where they wanted to go.
  bool terminal(int state) const { return delivered(decode(state)); }

  template <class A>
  void archive(A& ar) {
    ar(rainy_, fickle_, episode_);
  }

 private:
  static constexpr std::array<int, 4> place_row{0, 0, 4, 4}, place_column{0, 4, 0, 3};

  static constexpr bool delivered(const Situation& s) { return s.passenger == s.destination; }

  static constexpr bool passable(const Situation& s, int direction) {
    const auto row = static_cast<std::size_t>(s.row), character = static_cast<std::size_t>(2 * s.column + 1);
    switch (direction) {
      case south:
        return s.row < size - 1;
      case north:
        return s.row > 0;
      case east:
        return map[row][character + 1] == ':';
      default:
        return map[row][character - 1] == ':';
    }
  }

  /// Pick-up and drop-off, which no rain disturbs.
  static Outcome<int> stand(Situation s, int action) {
    const int place = place_at(s.row, s.column);
    const bool possible =
        action == pick_up ? s.passenger != inside && s.passenger == place : s.passenger == inside && place >= 0;
    if (!possible) return {.next = encode(s), .probability = 1, .reward = -10};
    s.passenger = action == pick_up ? inside : place;
    return {.next = encode(s), .probability = 1, .reward = delivered(s) ? 20.0 : -1.0, .terminated = delivered(s)};
  }

  /// One direction, with what the passenger makes of it.
  void drive(OutcomeList<12>& list, Situation s, int direction, double probability) const {
    const bool moves = passable(s, direction);
    if (moves) {
      s.row += direction == south ? 1 : direction == north ? -1 : 0;
      s.column += direction == east ? 1 : direction == west ? -1 : 0;
    }
    if (!fickle_ || !moves || s.passenger != inside || s.settled) {
      list.add({.next = encode(s), .probability = probability, .reward = -1});
      return;
    }
    s.settled = true;
    list.add({.next = encode(s), .probability = 0.7 * probability, .reward = -1});
    const int meant = s.destination;
    for (s.destination = 0; s.destination < 4; ++s.destination)
      if (s.destination != meant) list.add({.next = encode(s), .probability = 0.1 * probability, .reward = -1});
  }

  bool rainy_, fickle_;
  FiniteEpisode episode_;
};

}  // namespace valence
