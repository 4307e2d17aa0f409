#pragma once

#include <cstddef>
#include <span>
#include <type_traits>

#include "valence/core/lanes.hpp"
#include "valence/core/types.hpp"
#include "valence/value/check.hpp"
#include "valence/value/steps.hpp"
#include "valence/value/sweep.hpp"

/// Returns of the policy that acted: Monte Carlo, n-step, lambda. (Sutton & Barto 2018.)
///
/// In all of them `result` has an entry a transition, may be one of the input columns (entry for entry; not `value`
/// with T + 1 rows), nothing is allocated, and bad input throws `Error` before anything is changed: columns that are
/// missing or of another length, numbers that aren't finite, discounts or lambdas outside [0, 1], results that overlap
/// an input otherwise. Results that overflow throw too, after the fact.
namespace valence {

namespace detail {

/// x is G_t = r_t + gamma_t G_{t+1}; where the data or the episode was cut off, V(s'_t) stands for G_{t+1}.
template <class S>
struct ReturnKernel {
  StepColumns<S> in;
  template <class T, class End>
  [[gnu::always_inline]] Affine<T> step(std::size_t i, const End& end) const {
    const T reward = load<T>(in.reward + i), discount = in.template discount_at<T>(i);
    if constexpr (std::is_same_v<End, GoesOn>) {
      return {reward, discount};
    } else {
      const T next = end.bootstrap(in.next_value ? load<T>(in.next_value + i) : T{});
      return {end.carry(reward, reward + discount * next), end.carry(discount, T{})};
    }
  }
  template <class T, class End>
  [[gnu::always_inline]] Results<T> results(std::size_t, const End&, T x, T) const {
    return {x, T{}};
  }
};

/// x is G_t = r_t + gamma_t ((1 - lambda_t) V(s'_t) + lambda_t G_{t+1}).
template <class S>
struct LambdaReturnKernel {
  StepColumns<S> in;
  template <class T, class End>
  [[gnu::always_inline]] Affine<T> step(std::size_t i, const End& end) const {
    const T discount = in.template discount_at<T>(i), lambda = end.carry(in.template lambda_at<T>(i), T{});
    const T next = end.bootstrap(load<T>(in.next_value + i));
    return {load<T>(in.reward + i) + discount * (scalar_t<T>(1) - lambda) * next, discount * lambda};
  }
  template <class T, class End>
  [[gnu::always_inline]] Results<T> results(std::size_t, const End&, T x, T) const {
    return {x, T{}};
  }
};

}  // namespace detail

/// `discount` in [0, 1].
struct ReturnOptions {
  double discount = 0.99;
};

/// The discounted return from each transition to the end of its episode (5.3): `G_t = r_t + discount_t G_{t+1}`, where
/// an episode that was cut off goes on with the value of the state it was in. Reads `next_value`, or `value` with T + 1
/// rows; without values what follows the last transition counts for nothing, and a truncation throws.
template <Scalar S>
void discounted_returns(const Steps<S>& steps, std::span<std::type_identity_t<S>> result,
                        const ReturnOptions& options = {}) {
  constexpr auto where = "discounted_returns";
  const auto in = detail::check_steps(where, steps, {.next_value = false, .lambda = false}, options.discount);
  S* const out = detail::check_output(where, "result", result, steps);
  detail::sweep(where, in, detail::ReturnKernel<S>{in}, {.first = out});
}

/// `steps` >= 1: how many rewards are summed (3: Rainbow's); `discount` in [0, 1].
struct NStepOptions {
  std::size_t steps = 3;
  double discount = 0.99;
};

/// The n-step return (7.1): the next n rewards, and the value of the state after them,
///
///   G_t = r_t + g_t r_{t+1} + ... + g_t ... g_{t+m-2} r_{t+m-1} + g_t ... g_{t+m-1} V(s'_{t+m-1}),
///
/// where m <= n steps are taken before the episode or the data end: the discount is to the power of the steps taken.
/// One step is the TD target; n >= T is `discounted_returns`, to the bit. Reads `next_value`, or `value` with T + 1
/// rows.
template <Scalar S>
void n_step_returns(const Steps<S>& steps, std::span<std::type_identity_t<S>> result,
                    const NStepOptions& options = {}) {
  constexpr auto where = "n_step_returns";
  check_positive(where, "steps", options.steps);
  const auto in = detail::check_steps(where, steps, {.lambda = false}, options.discount);
  S* const out = detail::check_output(where, "result", result, steps);
  detail::sweep(where, in, detail::ReturnKernel<S>{in}, {.first = out}, options.steps);
}

/// `discount`, `lambda` in [0, 1].
struct LambdaReturnOptions {
  double discount = 0.99, lambda = 0.9;
};

/// The lambda-return (12.18): `G_t = r_t + discount_t ((1 - lambda_t) V(s'_t) + lambda_t G_{t+1})`; V(s'_t) stands for
/// G_{t+1} where the episode was cut off. lambda = 0 is the TD target, 1 the discounted return. `lambda[t]` belongs to
/// the state that transition t arrived in. Reads `next_value`, or `value` with T + 1 rows.
template <Scalar S>
void lambda_returns(const Steps<S>& steps, std::span<std::type_identity_t<S>> result,
                    const LambdaReturnOptions& options = {}) {
  constexpr auto where = "lambda_returns";
  const auto in = detail::check_steps(where, steps, {}, options.discount, options.lambda);
  S* const out = detail::check_output(where, "result", result, steps);
  detail::sweep(where, in, detail::LambdaReturnKernel<S>{in}, {.first = out});
}

}  // namespace valence
