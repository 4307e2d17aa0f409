#pragma once

#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// The return as one number, its mean: regression, which every other head is compared with. The loss is e^2 / 2 with e =
/// y - target, or Huber's, which is linear where |e| is above `huber` (Mnih et al. 2015 clip the error at 1).
struct ScalarHead {
  double huber = std::numeric_limits<double>::infinity();  ///< > 0

  /// Outputs: one an action.
  int size(int actions) const { return actions; }

  /// The output itself.
  template <Scalar S>
  S value(std::span<const S> y) const {
    check("ScalarHead::value", y);
    return y[0];
  }

  /// out = v.
  template <Scalar S>
  void encode(S v, std::span<std::type_identity_t<S>> out) const {
    check_size("ScalarHead::encode", "out", out.size(), 1);
    check_finite("ScalarHead::encode", "the return", v);
    out[0] = v;
  }

  /// out = r + g y; where g is 0, r.
  template <Scalar S>
  void bootstrap(std::span<const S> y, std::type_identity_t<S> r, std::type_identity_t<S> g,
                 std::span<std::type_identity_t<S>> out) const {
    check_range("ScalarHead::bootstrap", "the discount", g, 0, 1);
    encode(g == 0 ? r : r + g * value(y), out);
  }

  /// e^2 / 2, or huber (|e| - huber / 2) beyond; dy += weight times e held in [-huber, huber].
  template <Scalar S>
  S loss(std::span<const S> y, std::span<const std::type_identity_t<S>> target, std::span<std::type_identity_t<S>> dy,
         std::type_identity_t<S> weight = 1) const {
    constexpr auto where = "ScalarHead::loss";
    if (!(huber > 0)) fail(where, "huber is {}; expected a number greater than 0", huber);
    check(where, y);
    check_size(where, "the target", target.size(), 1);
    check_finite(where, "the target", target);
    check_size(where, "dy", dy.size(), 1);
    check_finite(where, "weight", weight);
    const S e = y[0] - target[0], k = static_cast<S>(huber);
    const S clipped = e > k ? k : e < -k ? -k : e;
    dy[0] += weight * clipped;
    return clipped * (e - clipped / S(2));
  }

  /// One atom, which has all the mass.
  template <Scalar S>
  void law(std::span<const S> y, std::span<double> atoms, std::span<double> weights) const {
    check_size("ScalarHead::law", "atoms", atoms.size(), 1);
    check_size("ScalarHead::law", "weights", weights.size(), 1);
    atoms[0] = static_cast<double>(value(y));
    weights[0] = 1;
  }

 private:
  template <class S>
  void check(std::string_view where, std::span<const S> y) const {
    check_size(where, "y", y.size(), 1);
    check_finite(where, "y", y);
  }
};

namespace detail {

/// Is a head's only output the number that it learns, and its loss one of output - target?
template <class H>
inline constexpr bool is_regression = std::is_same_v<H, ScalarHead>;

}  // namespace detail

}  // namespace valence
