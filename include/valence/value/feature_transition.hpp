#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// One transition as methods that are linear in features read it. For state values phi is of the state, for action
/// values of the pair (s, a) and the next pair: the action taken there (Sarsa), or the target policy's, or the mean of
/// the pairs' features under it.
template <Scalar S = double>
struct FeatureTransition {
  std::span<const S> features;            ///< phi(s): an entry a feature, finite
  S reward = 0;                           ///< of this transition, finite
  std::span<const S> next_features = {};  ///< phi(s') of the state arrived in; not read where the transition terminated
  bool terminated = false;                ///< nothing follows: phi(s') counts as 0
  bool truncated = false;                 ///< the episode was cut off: phi(s') counts, traces end here
  S ratio = 1;                            ///< pi(a | s) / mu(a | s) >= 0 of the action taken; 1 on policy
};

namespace detail {

/// Sizes, reward and ratio; the features' numbers are found out by what is computed from them.
template <class S>
void check_transition(std::string_view where, const FeatureTransition<S>& t, std::size_t features) {
  check_size(where, "features", t.features.size(), features);
  if (!t.terminated) check_size(where, "next_features", t.next_features.size(), features);
  check_finite(where, "reward", t.reward);
  check_finite(where, "ratio", t.ratio);
  if (t.ratio < 0) fail(where, "ratio is {}; expected 0 or more", t.ratio);
}

template <class S>
S inner_product(std::span<const S> a, std::span<const S> b) {
  S sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// delta, of a transition that was checked. Finite, so features and theta are.
template <class S>
S checked_td_error(std::string_view where, const FeatureTransition<S>& t, std::span<const S> theta, S discount) {
  const S value = inner_product(t.features, theta);
  const S next = t.terminated ? S(0) : inner_product(t.next_features, theta);
  const S delta = t.reward + discount * next - value;
  check_finite(where, "the TD error", delta);
  return delta;
}

}  // namespace detail

/// delta = r + discount theta' phi(s') - theta' phi(s), without the middle term where the transition terminated (Sutton
/// & Barto 2018, equation 11.3). Throws `Error` for sizes that differ, a discount outside [0, 1] and a result that
/// isn't finite.
template <Scalar S>
S linear_td_error(const FeatureTransition<S>& transition, std::span<const std::type_identity_t<S>> theta,
                  double discount) {
  constexpr auto where = "linear_td_error";
  check_range(where, "discount", discount, 0, 1);
  detail::check_transition(where, transition, theta.size());
  return detail::checked_td_error(where, transition, theta, static_cast<S>(discount));
}

}  // namespace valence
