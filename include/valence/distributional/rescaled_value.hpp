#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/hl_gauss.hpp"
#include "valence/distributional/scalar_head.hpp"
#include "valence/distributional/two_hot.hpp"
#include "valence/value/rescaling.hpp"

namespace valence {

/// A head whose target is one number, the expected return.
template <class H>
concept ExpectedReturn =
    ReturnDistribution<H> && (std::same_as<H, ScalarHead> || std::same_as<H, TwoHot> || std::same_as<H, HlGauss>);

/// A head on another scale of returns: it learns h of them, and its target of Q-learning is
///
///     h(r + g h^-1(value(y)))
///
/// (Pohlen et al. 2018, equation 2; with `TwoHot` that of MuZero, Schrittwieser et al. 2020, appendix F). It is a head
/// like any other, so every agent that takes one takes this:
///
///     Dqn agent{net, RescaledValue{ScalarHead{}}, Adam{}, {.n_step = 5}};
///     Dqn agent{net, RescaledValue{TwoHot{.atoms = 601, .min = -300, .max = 300}}, Adam{}};   // bins are on h's scale
///
/// Values are those of returns: h^-1 of the inner head's value, which for `TwoHot` and `HlGauss` isn't the mean of the
/// h^-1 of their atoms. Inner heads that learn the return's whole law aren't taken, because h of a law isn't one of
/// theirs.
template <ExpectedReturn H>
struct RescaledValue {
  H head = {};
  ValueRescaling scale = {};

  /// The inner head's.
  int size(int actions) const { return head.size(actions); }
  /// h^-1(value of the inner head).
  template <Scalar S>
  S value(std::span<const S> y) const {
    return scale.inverse(head.value(y));
  }
  /// h(v), as the inner head has it.
  template <Scalar S>
  void encode(S v, std::span<std::type_identity_t<S>> out) const {
    check_finite("RescaledValue::encode", "the return", v);
    head.encode(scale(v), out);
  }
  /// h(r + g h^-1(value)); where g is 0, h(r).
  template <Scalar S>
  void bootstrap(std::span<const S> y, std::type_identity_t<S> r, std::type_identity_t<S> g,
                 std::span<std::type_identity_t<S>> out) const {
    check_range("RescaledValue::bootstrap", "the discount", g, 0, 1);
    encode(g == 0 ? r : r + g * value(y), out);
  }
  /// The inner head's, on the scale of h.
  template <Scalar S>
  S loss(std::span<const S> y, std::span<const std::type_identity_t<S>> target, std::span<std::type_identity_t<S>> dy,
         std::type_identity_t<S> weight = 1) const {
    return head.loss(y, target, dy, weight);
  }
};
template <class H>
RescaledValue(H) -> RescaledValue<H>;
template <class H>
RescaledValue(H, ValueRescaling) -> RescaledValue<H>;

namespace detail {
template <class H>
inline constexpr bool is_regression<RescaledValue<H>> = is_regression<H>;
}  // namespace detail

}  // namespace valence
