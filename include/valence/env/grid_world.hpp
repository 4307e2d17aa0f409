#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/env/grid_text.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// What a character of the map means.
struct GridCell {
  char symbol;
  double reward = 0;      ///< of each step that ends in such a cell, on top of the step's own
  bool terminal = false;  ///< the episode ends there
};

/// Slips: with `sideways_slip` the move goes to one of the two sides, each half of the time (Russell and Norvig's
/// grid); with `random_slip` it is replaced by an action drawn uniformly from all of them (the one meant too). Both are
/// in [0, 1], as is their sum.
struct GridWorldOptions {
  double step_reward = 0;  ///< of every step
  double sideways_slip = 0, random_slip = 0;
  bool can_stay = false;              ///< a fifth action, which stays
  std::vector<GridCell> legend = {};  ///< more characters than the class knows, or others for some of them
};

/// A map that was drawn as text. '#' is a wall, 'S' a cell to start from, '.' or ' ' a free one, 'G' a goal (reward 1,
/// the episode ends), a digit d a cell with reward d; `legend` adds characters or gives them another meaning. Moves
/// into a wall or off the map stay, and earn what their cell does again. Actions: 0 up, 1 right, 2 down, 3 left, and 4
/// stay if `can_stay`. State: the cells that aren't walls, in reading order; `state_at` and `position` translate.
///
///     GridWorld world{R"(
///     ...G
///     .#.X
///     S...
///     )", {.step_reward = -0.04, .sideways_slip = 0.2, .legend = {{'X', -1, true}}}};
class GridWorld {
 public:
  using State = int;
  using Action = int;  ///< 0 up, 1 right, 2 down, 3 left, 4 stay
  enum : int { up, right, down, left, stay };

  /// A cell of the map; rows and columns count from 0.
  struct Position {
    int row, column;
    friend bool operator==(const Position&, const Position&) = default;
  };

  /// Throws `Error` for a map that isn't a rectangle or has a character that means nothing (named by line and column,
  /// from 1), has no cell to start from; and for options out of their ranges.
  explicit GridWorld(std::string_view map, const GridWorldOptions& options = {}) {
    constexpr auto where = "GridWorld";
    check_finite(where, "step_reward", options.step_reward);
    check_range(where, "sideways_slip", options.sideways_slip, 0, 1);
    check_range(where, "random_slip", options.random_slip, 0, 1);
    check_range(where, "sideways_slip + random_slip", options.sideways_slip + options.random_slip, 0, 1);
    for (const GridCell& cell : options.legend) {
      if (!std::isfinite(cell.reward))
        fail(where, "the legend gives '{}' the reward {}; expected a finite number", cell.symbol, cell.reward);
      if (cell.symbol == '#' || cell.symbol == 'S')
        fail(where, "the legend gives '{}' a meaning; expected another character: walls and starts keep theirs",
             cell.symbol);
    }
    World w;
    w.map = read_grid(where, map);
    w.actions = options.can_stay ? 5 : 4;
    w.sideways = options.sideways_slip;
    w.random = options.random_slip;
    w.state_of.assign(w.map.cells.size(), -1);
    for (int cell = 0; cell < w.map.size(); ++cell) {
      const char c = w.map.cells[static_cast<std::size_t>(cell)];
      if (c == '#') continue;
      GridCell meaning{c};
      if (!find(options.legend, meaning))
        fail(where,
             "{} is '{}', which means nothing; expected '#', 'S', '.', ' ', 'G', a digit, or a character of the legend",
             detail::place_of(w.map, cell), c);
      const auto state = static_cast<int>(w.cell_of.size());
      w.state_of[static_cast<std::size_t>(cell)] = state;
      w.cell_of.push_back(cell);
      w.reward.push_back(options.step_reward + meaning.reward);
      w.terminal.push_back(meaning.terminal);
      if (c == 'S') w.starts.push_back(state);
    }
    if (w.starts.empty()) fail(where, "the map has no 'S'; expected at least one cell to start from");
    for (const int cell : w.cell_of)
      for (const detail::Move move : detail::compass) {
        const int next = w.state_of[static_cast<std::size_t>(detail::moved(cell, move, w.map.rows, w.map.columns))];
        w.neighbour.push_back(next < 0 ? w.state_of[static_cast<std::size_t>(cell)] : next);
      }
    world_ = std::make_shared<const World>(std::move(w));
  }

  /// A start drawn from the cells S. One output.
  int reset(Rng& rng) { return episode_.begin(world_->starts[rng.below(world_->starts.size())]); }
  /// Throws `Error` for an action that doesn't exist and after the end. One output.
  Step<int> step(int action, Rng& rng) { return episode_.step("GridWorld::step", *this, action, rng); }

  Discrete states() const { return {static_cast<int>(world_->cell_of.size())}; }
  Discrete actions() const { return {world_->actions}; }
  /// The action meant, the two sides, and what random slips draw, one by one. Throws `Error` for a state or an action
  /// that doesn't exist.
  OutcomeList<8> outcomes(int state, int action) const {
    detail::check_state("GridWorld", state, states().n);
    detail::check_action("GridWorld", action, world_->actions);
    OutcomeList<8> list;
    if (terminal(state)) {
      list.add({.next = state, .probability = 1, .reward = 0, .terminated = true});
      return list;
    }
    const double sideways = world_->sideways, random = world_->random;
    list.add(entering(state, action, 1 - sideways - random));
    if (sideways > 0)
      for (const int turn : {3, 1})
        list.add(entering(state, action == stay ? stay : (action + turn) % 4, sideways / 2));
    if (random > 0)
      for (int a = 0; a < world_->actions; ++a) list.add(entering(state, a, random / world_->actions));
    return list;
  }
  /// Uniform over the cells S.
  std::vector<double> initial_distribution() const {
    std::vector<double> p(world_->cell_of.size(), 0.0);
    for (const int s : world_->starts)
      p[static_cast<std::size_t>(s)] = 1.0 / static_cast<double>(world_->starts.size());
    return p;
  }

  /// Where the player stands.
  int state() const { return episode_.state; }
  /// Puts the player elsewhere; the episode goes on from there. Throws `Error` for a state that doesn't exist.
  void set_state(int state) {
    detail::check_state("GridWorld::set_state", state, states().n);
    episode_ = {state, terminal(state)};
  }
  /// The episode ends there. `state` is one of `states()`.
  bool terminal(int state) const { return world_->terminal[static_cast<std::size_t>(state)] != 0; }

  const GridText& map() const { return world_->map; }
  /// The state of a cell, -1 for a wall. Throws `Error` outside of the map.
  int state_at(int row, int column) const {
    check_range("GridWorld::state_at", "row", row, 0, world_->map.rows - 1);
    check_range("GridWorld::state_at", "column", column, 0, world_->map.columns - 1);
    return world_->state_of[static_cast<std::size_t>(row * world_->map.columns + column)];
  }
  /// The cell of a state. Throws `Error` for a state that doesn't exist.
  Position position(int state) const {
    detail::check_state("GridWorld::position", state, states().n);
    const int cell = world_->cell_of[static_cast<std::size_t>(state)];
    return {cell / world_->map.columns, cell % world_->map.columns};
  }

  /// The episode. The map is no state: restore into an environment that was made from the same one.
  template <class A>
  void archive(A& ar) {
    ar(episode_);
  }

 private:
  struct World {  // never changes, so copies share it
    GridText map;
    int actions = 4;
    double sideways = 0, random = 0;
    std::vector<int> state_of;            // a cell
    std::vector<int> cell_of, neighbour;  // a state; four of them
    std::vector<double> reward;           // a state
    std::vector<std::uint8_t> terminal;   // a state
    std::vector<int> starts;
  };

  /// What the symbol of `cell` means, into `cell`; false where it means nothing.
  static bool find(const std::vector<GridCell>& legend, GridCell& cell) {
    for (const GridCell& known : legend)
      if (known.symbol == cell.symbol) return cell = known, true;
    const char c = cell.symbol;
    if (c == 'G') cell.reward = 1, cell.terminal = true;
    if (c >= '0' && c <= '9') cell.reward = c - '0';
    return c == 'G' || c == 'S' || c == '.' || c == ' ' || (c >= '0' && c <= '9');
  }

  Outcome<int> entering(int state, int action, double probability) const {
    const auto s = static_cast<std::size_t>(state);
    const int next = action == stay ? state : world_->neighbour[4 * s + static_cast<std::size_t>(action)];
    return {.next = next,
            .probability = probability,
            .reward = world_->reward[static_cast<std::size_t>(next)],
            .terminated = terminal(next)};
  }

  std::shared_ptr<const World> world_;
  FiniteEpisode episode_;
};

}  // namespace valence
