#pragma once

#include <vector>

#include "valence/core/error.hpp"
#include "valence/mdp/finite_mdp.hpp"

namespace valence {

/// Probabilities of swimming right: `up` to advance, `stay` not to, the rest to be swept back; in the first state there
/// is nowhere to be swept back to and in the last nowhere to advance to, so there the swimmer stays instead. Rewards:
/// `left_reward` for swimming left in the first state, `right_reward` for swimming right in the last.
struct RiverSwimOptions {
  double up = .35, stay = .6;
  double left_reward = .005, right_reward = 1;
};

/// RiverSwim (Strehl and Littman 2008; with these numbers e.g. Ouyang et al. 2017): `states` >= 2 in a row, begins in
/// the first, never ends. Action 0 swims left with the current, surely; action 1 swims right, against it. The large
/// reward lies where undirected exploration hardly comes. With six states the best gain is 0.8571501427988575, by
/// always swimming right. Throws `Error` for fewer states, and for probabilities outside of [0, 1] or with a sum above
/// 1.
///
///     ModelEnvironment river{river_swim()};
inline FiniteMdp<double> river_swim(int states = 6, const RiverSwimOptions& options = {}) {
  constexpr auto where = "river_swim";
  check_range(where, "states", states, 2, 100'000'000);
  check_range(where, "up", options.up, 0, 1);
  check_range(where, "stay", options.stay, 0, 1);
  check_range(where, "up + stay", options.up + options.stay, 0, 1);
  const double back = 1 - options.up - options.stay;
  const int last = states - 1;
  std::vector<ModelEntry> entries;
  for (int s = 0; s < states; ++s) {
    const double reward = s == last ? options.right_reward : 0;
    entries.push_back({s, 0, s > 0 ? s - 1 : s, 1, s == 0 ? options.left_reward : 0});
    entries.push_back({s, 1, s < last ? s + 1 : s, options.up, reward});
    entries.push_back({s, 1, s, options.stay, reward});
    entries.push_back({s, 1, s > 0 ? s - 1 : s, back, reward});
  }
  std::vector<double> initial(static_cast<std::size_t>(states), 0.0);
  initial[0] = 1;
  return FiniteMdp(states, 2, entries, {}, initial);
}

}  // namespace valence
