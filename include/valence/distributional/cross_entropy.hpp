#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/lane_sums.hpp"

namespace valence {

/// Numbers that are the logits z of a law softmax(z): any finite numbers. A type of its own, so that probabilities
/// don't take their place (pitfall D8).
template <Scalar S>
struct Logits {
  std::span<const S> values;
};
template <class V>
Logits(const V&) -> Logits<std::remove_cvref_t<decltype(std::declval<const V&>()[0])>>;

/// Numbers in [0, 1] that sum to 1.
template <Scalar S>
struct Probabilities {
  std::span<const S> values;
};
template <class V>
Probabilities(const V&) -> Probabilities<std::remove_cvref_t<decltype(std::declval<const V&>()[0])>>;

namespace detail {

/// What sums of probabilities may differ from 1 by: their own rounding, and that of whoever made them.
template <class S>
inline constexpr double mass_tolerance = sizeof(S) == 4 ? 1e-5 : 1e-6;

/// exp(z - top) / sum are the probabilities. Throws where an entry is NaN or +infinity, or all are -infinity.
template <class S>
struct SoftmaxScale {
  S top, sum;

  template <class T>
  [[gnu::always_inline]] T probability(T z) const {
    return elementary::exp(z - top) / sum;
  }
};

template <class S>
S finite_top(std::string_view where, std::span<const S> z) {
  if (z.empty()) fail(where, "y is empty; expected a logit an atom");
  const S top = largest(z);
  if (!std::isfinite(top)) {
    check_finite(where, "y", z);
    fail(where, "y has no finite entry");
  }
  return top;
}

template <class S>
SoftmaxScale<S> softmax_scale(std::string_view where, std::span<const S> z) {
  const S top = finite_top(where, z);
  return {top, sum_exp(z, top)};
}

/// sum_i i softmax(z)_i: where the mean lies, counted in atoms.
template <class S>
S softmax_mean_index(std::string_view where, std::span<const S> z) {
  const S top = finite_top(where, z);
  const auto sums = lane_sums<S, 2>(z.size(), [&]<class T>(std::size_t i) {
    const T e = elementary::exp(load<T>(z.data() + i) - top);
    return std::array<T, 2>{e, e * indices_from<T>(i)};
  });
  return sums[1] / sums[0];
}

}  // namespace detail

/// -sum_i p_i log softmax(z)_i, in nats, >= the entropy of p; and dz += weight (softmax(z) - p), which sums to 0. The
/// weight scales the gradient only. Shared by C51 (Bellemare et al. 2017, algorithm 1), HL-Gauss and two-hot
/// (Farebrother et al. 2024, equation 4). Logits of +-1e3 are no problem. Throws `Error` for sizes that differ, logits
/// that aren't finite, and a target that isn't a probability vector (to within 1e-6, in `float` 1e-5), before dz is
/// changed. Nothing allocates.
///
///     const double loss = cross_entropy(Logits{z}, Probabilities{p}, std::span(dz));
template <Scalar S>
S cross_entropy(Logits<S> logits, Probabilities<S> target, std::span<std::type_identity_t<S>> dz,
                std::type_identity_t<S> weight = 1) {
  constexpr auto where = "cross_entropy";
  const std::span<const S> z = logits.values, p = target.values;
  check_size(where, "the target", p.size(), z.size());
  check_size(where, "dz", dz.size(), z.size());
  const auto scale = detail::softmax_scale(where, z);
  const auto sums = detail::lane_sums<S, 3>(z.size(), [&]<class T>(std::size_t i) {
    const T q = load<T>(p.data() + i);
    return std::array<T, 3>{q * (scale.top - load<T>(z.data() + i)), q, elementary::abs(q)};
  });
  // Sums in one order: they agree to the bit, unless an entry is negative.
  if (sums[1] != sums[2] || !(std::abs(static_cast<double>(sums[1]) - 1) <= detail::mass_tolerance<S>)) {
    check_probabilities(where, "the target", p, detail::mass_tolerance<S>);
    fail(where, "the target sums to {}; expected 1", sums[1]);
  }
  const S value = sums[0] + elementary::log(scale.sum);
  if (!std::isfinite(value)) {
    check_finite(where, "y", z);
    fail(where, "the loss is {}: logits are too far apart", value);
  }
  check_finite(where, "weight", weight);
  detail::for_lanes<S>(z.size(), [&]<class T>(std::size_t i) {
    const T error = scale.probability(load<T>(z.data() + i)) - load<T>(p.data() + i);
    store<T>(dz.data() + i, load<T>(dz.data() + i) + error * weight);
  });
  return value;
}

}  // namespace valence
