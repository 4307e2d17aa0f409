#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "valence/env/grid_world.hpp"
#include "valence/env/time_limit.hpp"

namespace valence {

/// `uniform_start`: episodes begin in any cell but the goal, each alike (for a log), and not in the corner.
/// `random_slip` in [0, 1]: with this probability an action drawn uniformly takes the place of the one meant. `horizon`
/// >= 1 steps.
struct MazeOfflineOptions {
  bool uniform_start = false;
  double random_slip = 0.1;
  std::int64_t horizon = 45;
};

/// The maze that learners from a log are compared on: 11 x 11, one long way from S to G and several dead ends, -1 a step,
/// the episode ends at G. A log of it holds whole ways from nowhere near S: they must be put together. Usual discount:
/// 0.98. States are numbered alike for both kinds of start.
///
///     auto log = collect_mixture(maze_offline({.uniform_start = true}), {}, rng, Behaviour{good, 8}, Behaviour{poor, 18});
///     auto success = evaluate(policy, maze_offline(), {.episodes = 100}, rng);
inline TimeLimit<GridWorld> maze_offline(const MazeOfflineOptions& options = {}) {
  constexpr std::string_view map =
      "###########\n"
      "#S..#.....#\n"
      "#.#.#.###.#\n"
      "#.#...#...#\n"
      "#.#####.#.#\n"
      "#.....#.#.#\n"
      "###.#.#.#.#\n"
      "#...#...#.#\n"
      "#.#######.#\n"
      "#........G#\n"
      "###########\n";
  std::string drawn(map);
  if (options.uniform_start)
    for (char& c : drawn)
      if (c == '.') c = 'S';
  return {GridWorld{drawn, {.step_reward = -1, .random_slip = options.random_slip, .legend = {{'G', 0, true}}}},
          options.horizon};
}

}  // namespace valence
