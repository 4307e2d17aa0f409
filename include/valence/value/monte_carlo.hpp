#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/value/returns.hpp"
#include "valence/value/steps.hpp"

/// Monte Carlo estimates from whole episodes: averages of the returns that followed a state, or a pair of state and
/// action, on policy and off (Sutton and Barto 2018, sections 5.1 to 5.5). Keys say what was visited: the state's
/// index, or state x actions + action. One environment; several episodes may follow each other.
namespace valence {

/// Which visits of a key in an episode count.
enum class Visits { first, every };

/// What becomes of the importance ratios.
enum class Importance {
  ordinary,  ///< sum of ratio x return, over the number of visits (5.5): no bias on first visits, and any variance
  weighted   ///< over the sum of ratios (5.6): within the range of the returns; its bias vanishes with the visits
};

/// `discount` in [0, 1]. `of_actions`: the keys are pairs, so the ratio of the visit's own action doesn't count: it was
/// given (exercise 5.6).
struct MonteCarloOptions {
  double discount = 1;
  Visits visits = Visits::first;
  Importance importance = Importance::weighted;
  bool of_actions = false;
};

/// The product of `ratio` from each transition to the end of its episode (5.3), or of what follows it if `of_actions`.
/// A result that overflows throws `Error`.
template <Scalar S>
void importance_products(const Steps<S>& steps, std::span<std::type_identity_t<S>> result, bool of_actions = false) {
  constexpr auto where = "importance_products";
  const std::size_t count = steps.ratio.size();
  if (steps.environments != 1) fail(where, "environments is {}; expected 1", steps.environments);
  check_size(where, "result", result.size(), count);
  if (!steps.terminated.empty()) check_size(where, "terminated", steps.terminated.size(), count);
  if (!steps.truncated.empty()) check_size(where, "truncated", steps.truncated.size(), count);
  check_range(where, "ratio", steps.ratio, S(0), (std::numeric_limits<S>::max)());
  S product = 1;
  for (std::size_t t = count; t-- > 0;) {
    if ((!steps.terminated.empty() && steps.terminated[t]) || (!steps.truncated.empty() && steps.truncated[t]))
      product = 1;
    const S later = product;
    product *= steps.ratio[t];
    if (!(product <= (std::numeric_limits<S>::max)()))
      fail(where, "the product from transition {} on is {}; expected a finite number", t, product);
    result[t] = of_actions ? later : product;
  }
}

/// Which transitions are the first visit of their key in their episode. `keys` in [0, key_count); `result` has an entry
/// a transition.
template <Scalar S>
void first_visits(const Steps<S>& steps, std::span<const int> keys, std::size_t key_count, std::span<bool> result) {
  constexpr auto where = "first_visits";
  if (steps.environments != 1) fail(where, "environments is {}; expected 1", steps.environments);
  check_size(where, "result", result.size(), keys.size());
  if (!steps.terminated.empty()) check_size(where, "terminated", steps.terminated.size(), keys.size());
  if (!steps.truncated.empty()) check_size(where, "truncated", steps.truncated.size(), keys.size());
  for (std::size_t t = 0; t < keys.size(); ++t)
    if (keys[t] < 0 || static_cast<std::size_t>(keys[t]) >= key_count)
      fail(where, "keys[{}] is {}; expected one in [0, {})", t, keys[t], key_count);
  std::vector<std::size_t> seen(key_count, 0);  // in which episode last, from 1
  std::size_t episode = 1;
  for (std::size_t t = 0; t < keys.size(); ++t) {
    std::size_t& last = seen[static_cast<std::size_t>(keys[t])];
    result[t] = last != episode;
    last = episode;
    if ((!steps.terminated.empty() && steps.terminated[t]) || (!steps.truncated.empty() && steps.truncated[t]))
      ++episode;
  }
}

/// The average return of each key: `value[key]`, left alone where the key wasn't visited, or all its weights are 0.
/// `keys` has an entry a transition, the key of where it began. With `ratio` the returns are those of the policy that
/// the ratios are of, in place of the one that acted. The last transition must end its episode; one that was truncated
/// goes on with `next_value`, and its ratios with 1.
///
/// Throws `Error` for what `discounted_returns` and `importance_products` refuse, keys out of range, and an unfinished
/// last episode.
template <Scalar S>
void monte_carlo_values(const Steps<S>& steps, std::span<const int> keys, std::span<std::type_identity_t<S>> value,
                        const MonteCarloOptions& options = {}) {
  constexpr auto where = "monte_carlo_values";
  const std::size_t count = steps.reward.size();
  check_size(where, "keys", keys.size(), count);
  if (count == 0) fail(where, "reward is empty; expected at least one transition");
  const bool over = (steps.terminated.size() == count && steps.terminated[count - 1]) ||
                    (steps.truncated.size() == count && steps.truncated[count - 1]);
  if (!over) fail(where, "the last transition ends no episode; expected whole episodes");

  std::vector<S> returns(count), ratios(count, S(1));
  Vector<S> sum = Vector<S>::Zero(static_cast<Eigen::Index>(value.size())), weight = sum;
  Eigen::Array<bool, Eigen::Dynamic, 1> counts =
      Eigen::Array<bool, Eigen::Dynamic, 1>::Constant(static_cast<Eigen::Index>(count), true);
  discounted_returns(steps, std::span(returns), {.discount = options.discount});
  if (!steps.ratio.empty()) {
    check_size(where, "ratio", steps.ratio.size(), count);
    importance_products(steps, std::span(ratios), options.of_actions);
  }
  const std::span<bool> first = view(counts);
  first_visits(steps, keys, value.size(), first);
  for (std::size_t t = 0; t < count; ++t) {
    if (options.visits == Visits::first && !first[t]) continue;
    const Eigen::Index key = keys[t];
    sum[key] += ratios[t] * returns[t];
    weight[key] += options.importance == Importance::ordinary ? S(1) : ratios[t];
  }
  for (std::size_t k = 0; k < value.size(); ++k) {
    const auto key = static_cast<Eigen::Index>(k);
    if (weight[key] > S(0)) {
      value[k] = sum[key] / weight[key];
      check_finite(where, "an estimate", value[k]);
    }
  }
}

}  // namespace valence
