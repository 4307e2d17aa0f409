#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/finite_mdp.hpp"

/// Models of a few states that papers and tests share. `ModelEnvironment{chain(10)}` plays one.
namespace valence {

/// Two states, two actions, everything asymmetric: P(. | 0, 0) = (.7, .3), P(. | 0, 1) = (.2, .8), P(. | 1, 0) = (.5,
/// .5), P(. | 1, 1) = (.9, .1); rewards 1, 0, .5, 2; begins in (.6, .4). At a discount of .9 the optimal value is
/// (12.28813559322, 13.135593220339), by actions 0 and 1.
inline FiniteMdp<double> two_state_model() {
  const double initial[] = {.6, .4};
  return FiniteMdp(2, 2,
                   std::vector<ModelEntry>{{0, 0, 0, .7, 1},
                                           {0, 0, 1, .3, 1},
                                           {0, 1, 0, .2, 0},
                                           {0, 1, 1, .8, 0},
                                           {1, 0, 0, .5, .5},
                                           {1, 0, 1, .5, .5},
                                           {1, 1, 0, .9, 2},
                                           {1, 1, 1, .1, 2}},
                   {}, initial);
}

/// The defaults are those of Sutton and Barto's five states; `{.left_reward = -1}` with 19 states and `{.reach = 100,
/// .left_reward = -1}` with 1000 are their other ones.
struct RandomWalkOptions {
  int reach = 1;                             ///< the longest jump
  double left_reward = 0, right_reward = 1;  ///< on arriving at an end
};

/// A walk without choices over `states` >= 1 cells: a jump to the left or to the right, 1 to `reach` cells far, all 2
/// reach alike; jumps past an end arrive there. States in order of place: 0 is the left end, 1 .. states the cells,
/// states + 1 the right end; both ends are terminal. Begins in the middle (the right one of two). One action. Source:
/// Sutton and Barto (2018), examples 6.2 and 9.1. With the defaults the value of cell k is k / (states + 1) at a
/// discount of 1.
inline FiniteMdp<double> random_walk(int states = 5, const RandomWalkOptions& options = {}) {
  constexpr auto where = "random_walk";
  check_range(where, "states", states, 1, 100'000'000);
  check_range(where, "reach", options.reach, 1, states);
  const int right = states + 1, terminal[] = {0, right};
  std::vector<ModelEntry> entries;
  entries.reserve(static_cast<std::size_t>(states) * 2 * static_cast<std::size_t>(options.reach));
  for (int s = 1; s <= states; ++s)
    for (int jump = -options.reach; jump <= options.reach; ++jump) {
      if (jump == 0) continue;
      const int next = std::clamp(s + jump, 0, right);
      entries.push_back({s, 0, next, 0.5 / options.reach,
                         next == 0       ? options.left_reward
                         : next == right ? options.right_reward
                                         : 0});
    }
  std::vector<double> initial(static_cast<std::size_t>(states) + 2, 0.0);
  initial[static_cast<std::size_t>(states / 2 + 1)] = 1;
  return FiniteMdp(states + 2, 1, entries, terminal, initial);
}

struct ChainOptions {
  double step_reward = 0;  ///< of a step that doesn't arrive at an end
  double goal_reward = 1;  ///< on arriving at the right end
  double left_reward = 0;  ///< on arriving at the left end, if `left_ends`
  bool left_ends = false;  ///< state 0 is terminal too; otherwise a step to the left stays there
  double slip = 0;         ///< probability that a step goes the other way, in [0, 1]
  int start = -1;          ///< where episodes begin; -1: in the first state that isn't terminal
};

/// States 0 .. states - 1 in a row; the last is the goal and terminal. Actions: 0 left, 1 right. Throws `Error` for
/// fewer than 2 states (3 if `left_ends`), and for a start at an end.
inline FiniteMdp<double> chain(int states, const ChainOptions& options = {}) {
  constexpr auto where = "chain";
  const int first = options.left_ends ? 1 : 0, goal = states - 1;
  check_range(where, "states", states, first + 2, 100'000'000);
  check_range(where, "slip", options.slip, 0, 1);
  if (options.start != -1) check_range(where, "start", options.start, first, goal - 1);
  std::vector<ModelEntry> entries;
  entries.reserve(static_cast<std::size_t>(states) * 4);
  for (int s = first; s < goal; ++s)
    for (int a = 0; a < 2; ++a)
      for (int direction = 0; direction < 2; ++direction) {
        const int next = direction == 1 ? s + 1 : (std::max)(s - 1, 0);
        const double reward = next == goal                     ? options.goal_reward
                              : next == 0 && options.left_ends ? options.left_reward
                                                               : options.step_reward;
        entries.push_back({s, a, next, direction == a ? 1 - options.slip : options.slip, reward});
      }
  std::vector<int> terminal{goal};
  if (options.left_ends) terminal.push_back(0);
  std::vector<double> initial(static_cast<std::size_t>(states), 0.0);
  initial[static_cast<std::size_t>(options.start == -1 ? first : options.start)] = 1;
  return FiniteMdp(states, 2, entries, terminal, initial);
}

/// Baird's star, on which temporal differences with linear features diverge off policy. Action 0 ("dashed") leads to
/// one of the states 0 .. 5, action 1 ("solid") to state 6; no rewards, no end, begins anywhere. The behaviour takes
/// action 0 with 6/7 and so visits all alike, the target policy takes action 1; discount .99. Source: Baird (1995);
/// Sutton and Barto (2018), figure 11.1.
inline FiniteMdp<double> baird_star() {
  std::vector<ModelEntry> entries;
  for (int s = 0; s < 7; ++s) {
    for (int next = 0; next < 6; ++next) entries.push_back({s, 0, next, 1.0 / 6});
    entries.push_back({s, 1, 6, 1.0});
  }
  return FiniteMdp(7, 2, entries, {}, std::vector<double>(7, 1.0 / 7));
}
/// The star's features, 8 x 7, a state a column: 2 e_s + e_7 for the points, e_6 + 2 e_7 for the centre.
inline Matrix<double> baird_star_features() {
  Matrix<double> features = Matrix<double>::Zero(8, 7);
  for (int s = 0; s < 7; ++s) {
    features(s, s) = s < 6 ? 2 : 1;
    features(7, s) = s < 6 ? 1 : 2;
  }
  return features;
}
/// The weights with which the literature starts: 1, but 10 at the centre's own.
inline Vector<double> baird_star_weights() {
  Vector<double> weights = Vector<double>::Ones(8);
  weights[6] = 10;
  return weights;
}

/// Two states with values w and 2 w: action 0 leads to state 0, action 1 to state 1; no rewards, no end, begins in
/// either. Off policy, always action 1 where both are taken alike, temporal differences diverge for discounts above 5/6
/// and emphatic ones don't. Source: Tsitsiklis and Van Roy (1997); Sutton, Mahmood and White (2016), section 3.
inline FiniteMdp<double> w_to_2w() {
  const double initial[] = {.5, .5};
  return FiniteMdp(2, 2, std::vector<ModelEntry>{{0, 0, 0, 1.0}, {0, 1, 1, 1.0}, {1, 0, 0, 1.0}, {1, 1, 1, 1.0}}, {},
                   initial);
}
/// Its features, 1 x 2: 1 and 2.
inline Matrix<double> w_to_2w_features() {
  Matrix<double> features(1, 2);
  features << 1, 2;
  return features;
}

}  // namespace valence
