#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
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

/// Gymnasium's two maps.
inline constexpr std::string_view frozen_lake_4x4 = "SFFF\nFHFH\nFFFH\nHFFG";
inline constexpr std::string_view frozen_lake_8x8 =
    "SFFFFFFF\nFFFFFFFF\nFFFHFFFF\nFFFFFHFF\nFFFHFFFF\nFHHFFFHF\nFHFFHFHF\nFFFHFFFG";

/// Gymnasium's arguments.
struct FrozenLakeOptions {
  std::string map = std::string(frozen_lake_4x4);  ///< rows of S start, F frozen, H hole, G goal; at least one S
  bool is_slippery = true;        ///< false: every move goes where it is meant to, whatever `success_rate` says
  double success_rate = 1.0 / 3;  ///< on slippery ice: of the move meant; each of the two sideways has half of the rest
  double goal_reward = 1;         ///< for entering a goal
  double hole_reward = 0;         ///< for entering a hole
  double frozen_reward = 0;       ///< for entering, or staying on, any other cell
};

/// A walk over a frozen lake to the goal; the ice is slippery and the holes end the episode. State: row * columns +
/// column. Actions: 0 left, 1 down, 2 right, 3 up; a move off the map stays. Source: Gymnasium's FrozenLake-v1.
///
///     FrozenLake lake;                                                             // 4x4, slippery
///     FrozenLake large{{.map = std::string(frozen_lake_8x8), .is_slippery = false}};
class FrozenLake {
 public:
  using State = int;   ///< the cell
  using Action = int;  ///< 0 left, 1 down, 2 right, 3 up
  enum : int { left, down, right, up };

  static constexpr int time_limit = 100;            ///< of the 4x4 map
  static constexpr double reward_threshold = 0.70;  ///< of the 4x4 map
  static constexpr int time_limit_8x8 = 200;        ///< `TimeLimit{large, FrozenLake::time_limit_8x8}`
  static constexpr double reward_threshold_8x8 = 0.85;

  /// Throws `Error` for a map that isn't a rectangle of S, F, H, G (named by line and column) or has no S, a success
  /// rate outside [0, 1] and rewards that aren't finite.
  explicit FrozenLake(const FrozenLakeOptions& options = {}) {
    constexpr auto where = "FrozenLake";
    check_range(where, "success_rate", options.success_rate, 0, 1);
    check_finite(where, "goal_reward", options.goal_reward);
    check_finite(where, "hole_reward", options.hole_reward);
    check_finite(where, "frozen_reward", options.frozen_reward);
    Lake lake{.map = read_grid(where, options.map),
              .starts = {},
              .success = options.is_slippery ? options.success_rate : 1,
              .goal = options.goal_reward,
              .hole = options.hole_reward,
              .frozen = options.frozen_reward};
    for (int cell = 0; cell < lake.map.size(); ++cell) {
      const char c = lake.map.cells[static_cast<std::size_t>(cell)];
      if (c == 'S') lake.starts.push_back(cell);
      if (c != 'S' && c != 'F' && c != 'H' && c != 'G')
        fail(where, "{} is '{}'; expected S, F, H or G", detail::place_of(lake.map, cell), c);
    }
    if (lake.starts.empty()) fail(where, "the map has no S; expected at least one cell to start from");
    lake_ = std::make_shared<const Lake>(std::move(lake));
  }

  /// A start drawn from the cells S. One output.
  int reset(Rng& rng) { return episode_.begin(lake_->starts[rng.below(lake_->starts.size())]); }
  /// Throws `Error` for an action that doesn't exist and after the end. One output.
  Step<int> step(int action, Rng& rng) { return episode_.step("FrozenLake::step", *this, action, rng); }

  Discrete states() const { return {lake_->map.size()}; }
  Discrete actions() const { return {4}; }
  /// The move meant and the two sideways, one by one: several may stay where they are. Throws `Error` for a state or an
  /// action that doesn't exist.
  OutcomeList<3> outcomes(int state, int action) const {
    detail::check_state("FrozenLake", state, lake_->map.size());
    detail::check_action("FrozenLake", action, 4);
    OutcomeList<3> list;
    if (terminal(state)) {
      list.add({.next = state, .probability = 1, .reward = 0, .terminated = true});
    } else if (lake_->success == 1) {
      list.add(entering(state, action, 1));
    } else {
      const double aside = (1 - lake_->success) / 2;
      list.add(entering(state, (action + 3) % 4, aside));
      list.add(entering(state, action, lake_->success));
      list.add(entering(state, (action + 1) % 4, aside));
    }
    return list;
  }
  /// Uniform over the cells S.
  std::vector<double> initial_distribution() const {
    std::vector<double> p(static_cast<std::size_t>(lake_->map.size()), 0.0);
    for (const int s : lake_->starts) p[static_cast<std::size_t>(s)] = 1.0 / static_cast<double>(lake_->starts.size());
    return p;
  }

  /// Where the player stands.
  int state() const { return episode_.state; }
  /// Puts the player elsewhere; the episode goes on from there. Throws `Error` for a state that doesn't exist.
  void set_state(int state) {
    detail::check_state("FrozenLake::set_state", state, lake_->map.size());
    episode_ = {state, terminal(state)};
  }
  /// The episode ends in holes and goals. `state` is one of `states()`.
  bool terminal(int state) const {
    const char c = lake_->map.cells[static_cast<std::size_t>(state)];
    return c == 'H' || c == 'G';
  }
  const GridText& map() const { return lake_->map; }

  /// The episode. The map is no state: restore into an environment that was made from the same one.
  template <class A>
  void archive(A& ar) {
    ar(episode_);
  }

 private:
  struct Lake {  // never changes, so copies share it
    GridText map;
    std::vector<int> starts;
    double success, goal, hole, frozen;
  };

  Outcome<int> entering(int state, int direction, double probability) const {
    constexpr std::array<detail::Move, 4> moves{{{0, -1}, {1, 0}, {0, 1}, {-1, 0}}};
    const GridText& map = lake_->map;
    const int next = detail::moved(state, moves[static_cast<std::size_t>(direction)], map.rows, map.columns);
    const char c = map.cells[static_cast<std::size_t>(next)];
    return {.next = next,
            .probability = probability,
            .reward = c == 'G'   ? lake_->goal
                      : c == 'H' ? lake_->hole
                                 : lake_->frozen,
            .terminated = terminal(next)};
  }

  std::shared_ptr<const Lake> lake_;
  FiniteEpisode episode_;
};

/// A random map of `size` x `size` >= 2 cells: S in the first, G in the last, any other is frozen with this
/// probability, else a hole; drawn again until a path leads from S to G, as Gymnasium's `generate_random_map` does.
/// Throws `Error` where none of 10,000 maps has one: the probability is too low for the size. size^2 - 2 outputs a map.
inline std::string random_frozen_lake(int size, Rng& rng, double frozen_probability = 0.8) {
  constexpr auto where = "random_frozen_lake";
  check_range(where, "size", size, 2, 10'000);
  check_range(where, "frozen_probability", frozen_probability, 0, 1);
  const int cells = size * size;
  std::string board(static_cast<std::size_t>(cells), 'F');
  std::vector<int> open;
  std::vector<bool> seen;
  for (int attempt = 0; attempt < 10'000; ++attempt) {
    for (char& c : board) c = 'F';
    for (std::size_t i = 1; i + 1 < board.size(); ++i) board[i] = rng.bernoulli(frozen_probability) ? 'F' : 'H';
    open.assign(1, 0);
    seen.assign(board.size(), false);
    seen[0] = true;
    while (!open.empty()) {
      const int cell = open.back();
      open.pop_back();
      for (const detail::Move move : detail::compass) {
        const int next = detail::moved(cell, move, size, size);
        if (seen[static_cast<std::size_t>(next)] || board[static_cast<std::size_t>(next)] == 'H') continue;
        seen[static_cast<std::size_t>(next)] = true;
        open.push_back(next);
      }
    }
    if (!seen.back()) continue;
    board.front() = 'S', board.back() = 'G';
    std::string text;
    for (int row = 0; row < size; ++row)
      text += board.substr(static_cast<std::size_t>(row * size), static_cast<std::size_t>(size)) + "\n";
    return text;
  }
  fail(where, "none of 10000 maps of {} x {} with frozen_probability {} has a path; expected a larger one", size, size,
       frozen_probability);
}

}  // namespace valence
