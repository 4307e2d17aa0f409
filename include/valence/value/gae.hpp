#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/types.hpp"
#include "valence/value/check.hpp"
#include "valence/value/steps.hpp"
#include "valence/value/sweep.hpp"

/// Advantages of the policy that acted, and the value targets that go with them.
namespace valence {

/// Where advantages and value targets go, an entry a transition each; an empty one isn't wanted. Each may be one of the
/// input columns, entry for entry (not `value` with T + 1 rows), and not the other output.
template <Scalar S>
struct AdvantageOutput {
  std::span<S> advantage = {}, target = {};
};

/// `discount`, `lambda` in [0, 1].
struct GaeOptions {
  double discount = 0.99, lambda = 0.95;
};

namespace detail {

/// x is the advantage.
template <class S>
struct GaeKernel {
  StepColumns<S> in;
  template <class T, class End>
  [[gnu::always_inline]] Affine<T> step(std::size_t i, const End& end) const {
    const T discount = in.template discount_at<T>(i), next = end.bootstrap(load<T>(in.next_value + i));
    return {load<T>(in.reward + i) + discount * next - load<T>(in.value + i),
            discount * end.carry(in.template lambda_at<T>(i), T{})};
  }
  template <class T, class End>
  [[gnu::always_inline]] Results<T> results(std::size_t i, const End&, T x, T) const {
    return {x, x + load<T>(in.value + i)};
  }
};

template <class S>
SweepOutput<S> check_advantages(std::string_view where, const AdvantageOutput<S>& out, const Steps<S>& steps) {
  if (out.advantage.empty() && out.target.empty()) fail(where, "neither advantage nor target is given; expected one");
  return {check_output(where, "advantage", out.advantage, steps, false),
          check_output(where, "target", out.target, steps, false, out.advantage)};
}

}  // namespace detail

/// Generalised advantage estimation (Schulman et al. 2016, equations 11, 12 and 16), with its value targets:
///
///   delta_t = r_t + discount_t V(s'_t) - V(s_t)        (V(s'_t) is 0 where t terminated)
///   A_t     = delta_t + discount_t lambda_t A_{t+1}    (A_{t+1} is 0 where the episode or the data end at t)
///   target  = A_t + V(s_t), the lambda-return
///
/// lambda = 0 is the TD error, 1 the discounted return less the value. Reads `value`, and `next_value` or T + 1 rows of
/// values. Allocates nothing. Bad input throws `Error` before anything is changed (missing columns, lengths, NaN,
/// infinity, ranges, overlapping memory); results that overflow throw after the fact.
///
///   gae(steps, {.advantage = a, .target = g}, {.discount = 0.99, .lambda = 0.95});
template <Scalar S>
void gae(const Steps<S>& steps, const std::type_identity_t<AdvantageOutput<S>>& out, const GaeOptions& options = {}) {
  const auto in = detail::check_steps("gae", steps, {.value = true}, options.discount, options.lambda);
  detail::sweep("gae", in, detail::GaeKernel<S>{in}, detail::check_advantages("gae", out, steps));
}

/// `epsilon` > 0 is added to the standard deviation.
struct WhitenOptions {
  double epsilon = 1e-8;
};

/// In place: `x = (x - mean) / (standard deviation + epsilon)`, with the population's standard deviation (divided by
/// n), as advantages are before a policy step. Equal numbers become 0. Sums are kept in double. Throws `Error` before
/// anything is changed where `values` is empty or holds a number that isn't finite.
template <class S, std::size_t extent>
  requires Scalar<S>
void whiten(std::span<S, extent> values, const WhitenOptions& options = {}) {
  constexpr auto where = "whiten";
  check_positive(where, "epsilon", options.epsilon);
  if (values.empty()) fail(where, "values is empty; expected at least one number");
  check_finite(where, "values", values);
  const double n = static_cast<double>(values.size());
  const double origin = static_cast<double>(values[0]);  // differences lose nothing to a large common offset
  double sum = 0, squares = 0;
  for (const S x : values) sum += static_cast<double>(x) - origin;
  const double mean = origin + sum / n;
  for (const S x : values) squares += (static_cast<double>(x) - mean) * (static_cast<double>(x) - mean);
  const double scale = std::sqrt(squares / n) + options.epsilon;
  if (!std::isfinite(scale)) fail(where, "the variance overflows; expected smaller numbers");
  for (S& x : values) x = static_cast<S>((static_cast<double>(x) - mean) / scale);
}

}  // namespace valence
