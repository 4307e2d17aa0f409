#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/mdp/step.hpp"

/// A stock beside the state: the rewards so far, in the units of the present. From c_0 it goes on as
/// c_{t+1} = (c_t + r_{t+1}) / discount, so that c_0 + G_0 = discount^t (c_t + G_t): whoever sees state and stock can
/// aim at a statistic of the whole return (Avila Pires et al. 2025, "Optimizing Return Distributions with
/// Distributional Dynamic Programming").
namespace valence {

/// The stocks that are told apart: `points` numbers at equal distances from `min` to `max`. A stock between two counts
/// as their mixture that has its mean; one beyond an end is refused, or counts as that end with `clamp`.
struct StockGrid {
  int points = 101;
  double min = -10, max = 10;
  bool clamp = false;

  /// first, first + 1, ..., last.
  static StockGrid integers(int first, int last) {
    if (last < first) fail("StockGrid::integers", "they run from {} to {}; expected them in order", first, last);
    return {.points = last - first + 1, .min = static_cast<double>(first), .max = static_cast<double>(last)};
  }
  /// From where a solver has to look: from minus the largest to minus the smallest return. Below and above, a utility
  /// that is positively homogeneous is a line for every return, so what is best there is best at the end: clamping is
  /// exact. With a horizon: all integers between, whatever `points` is.
  static StockGrid covering(int points = 101) {
    constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
    return {.points = points, .min = unknown, .max = unknown, .clamp = true};
  }
  /// No stock: one point, 0, for all.
  static StockGrid none() { return {.points = 1, .min = 0, .max = 0, .clamp = true}; }

  bool is_none() const { return points == 1 && min == 0 && max == 0 && clamp; }
  bool is_covering() const { return std::isnan(min) && std::isnan(max); }
  double step() const { return points > 1 ? (max - min) / (points - 1) : 1; }
  /// The j-th point, j in [0, points).
  double stock(int j) const { return j + 1 == points ? max : min + j * step(); }
  /// Where c lies, counted in points, held in [0, points - 1].
  double position(double c) const { return std::clamp((c - min) / step(), 0.0, static_cast<double>(points - 1)); }
  /// The point next to c, held in the grid.
  int nearest(double c) const { return static_cast<int>(std::lround(position(c))); }
  /// Does c lie between the ends? (Rounding aside.)
  bool contains(double c) const {
    const double slack = 1e-9 * step();
    return c >= min - slack && c <= max + slack;
  }

  /// Throws `Error` unless this is `none()`, or at least two finite points in order.
  void check(std::string_view where) const {
    if (is_none()) return;
    if (points < 2) fail(where, "the stock grid has {} points; expected at least 2, or StockGrid::none()", points);
    if (!(min < max) || !std::isfinite(max - min))
      fail(where, "the stock grid is [{}, {}]; expected finite numbers, the first one smaller", min, max);
  }
};

namespace detail {

/// The numbers of augmented states and of the atoms over them that are still made: 2^27 doubles are 1 GB.
inline constexpr double most_atoms = 134'217'728;

/// states x points as an int, where it is one and its laws fit.
inline int augmented_states(std::string_view where, int states, int points, double numbers_each) {
  const double n = static_cast<double>(states) * points;
  if (n * numbers_each > most_atoms || n > (std::numeric_limits<int>::max)())
    fail(where, "{} states x {} stocks x {} numbers are more than {}; expected a coarser grid or a shorter horizon",
         states, points, numbers_each, most_atoms);
  return states * points;
}

struct RewardRange {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
};
/// Of all rewards that may come, and 0 where there is a terminal state.
template <class M>
RewardRange reward_range(const M& model) {
  RewardRange range;
  const auto take = [&](double r) { range.low = (std::min)(range.low, r), range.high = (std::max)(range.high, r); };
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) take(0);
    for (int a = 0; a < model.actions(); ++a)
      if (model.available(s, a))
        for (const auto& to : model.successors(s, a)) take(static_cast<double>(to.reward));
  }
  return range;
}

}  // namespace detail

/// The model of states and stocks together: state s with the j-th stock of the grid has index s * grid.points + j, and
/// goes to s' and (stock + r) / discount, mixed from the two points around it. A transition earns
/// `reward(stock, r, s')`: r, for the returns of the model itself under policies that see the stock; or whatever makes
/// another solver of planning/ maximise what one wants.
///
/// With a `policy`, an action an augmented state, the result has one action: that. Terminal states keep their returns
/// of 0 at every stock. Throws `Error` for a discount outside (0, 1], a grid that isn't one or that covers by itself
/// (which needs a solver), a stock that leaves a grid without `clamp`, and more than 2^27 augmented states.
template <FiniteModel M, class Reward>
FiniteMdp<double> stock_augmented(const M& model, const StockGrid& grid, double discount, Reward&& reward,
                                  std::span<const int> policy = {}) {
  constexpr auto where = "stock_augmented";
  grid.check(where);
  if (!(discount > 0 && discount <= 1)) fail(where, "discount is {}; expected a number in (0, 1]", discount);
  const int points = grid.points, n = detail::augmented_states(where, model.states(), points, 1);
  if (!policy.empty()) check_size(where, "policy", policy.size(), static_cast<std::size_t>(n));
  std::vector<Outcome<int>> outcomes;
  const auto row = [&](int x, int a) {
    outcomes.clear();
    const int s = x / points;
    const double c = grid.stock(x % points);
    if (!policy.empty()) a = policy[static_cast<std::size_t>(x)];
    if (!model.terminal(s) && model.available(s, a))
      for (const auto& to : model.successors(s, a)) {
        const double r = static_cast<double>(to.reward), p = static_cast<double>(to.probability);
        const double next = (c + r) / discount, position = grid.position(next);
        if (!grid.clamp && !grid.contains(next))
          fail(where, "stock {} and reward {} lead to stock {}; expected one in [{}, {}], or a grid with clamp", c, r,
               next, grid.min, grid.max);
        const int low = static_cast<int>(position);
        const double high = position - low, earned = reward(c, r, static_cast<int>(to.next));
        outcomes.push_back({.next = to.next * points + low, .probability = p * (1 - high), .reward = earned});
        if (high > 0)
          outcomes.push_back({.next = to.next * points + low + 1, .probability = p * high, .reward = earned});
      }
    return std::span<const Outcome<int>>(outcomes);
  };
  return FiniteMdp<double>(n, policy.empty() ? model.actions() : 1, row);
}

}  // namespace valence
