#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/value/feature_transition.hpp"

/// Gradient TD with linear features: stochastic gradient descent on the mean square projected Bellman error, so that it
/// converges off policy, where TD may diverge. One-step updates in place; each costs O(k) and allocates nothing.
namespace valence {

/// The defaults are those with which both methods solve Baird's star. Step sizes are finite and >= 0, `discount` and
/// `lambda` in [0, 1].
struct GradientTdOptions {
  double step_size = 0.005;            ///< alpha, of theta
  double correction_step_size = 0.05;  ///< beta, of the correction: usually the larger
  double discount = 0.99;
  double lambda = 0;  ///< above 0 a trace is needed
};

/// What an update changes; views of k entries each. Start `correction` and `trace` at 0.
template <Scalar S = double>
struct GradientTdWeights {
  std::span<S> theta;       ///< V(s) = theta' phi(s)
  std::span<S> correction;  ///< w, the estimate of E[phi phi']^-1 E[delta e]; h in some papers
  std::span<S> trace = {};  ///< e; may be empty where lambda is 0. Back to 0 where an episode ends
};

namespace detail {

/// Both methods differ in one term: what the correction's estimate is used for.
enum class GradientTd { gtd2, tdc };

template <GradientTd method, class S>
S gradient_td_update(std::string_view where, const FeatureTransition<S>& t, const GradientTdWeights<S>& w,
                     const GradientTdOptions& options) {
  check_transition(where, t, w.theta.size());
  check_size(where, "correction", w.correction.size(), w.theta.size());
  check_range(where, "discount", options.discount, 0, 1);
  check_range(where, "lambda", options.lambda, 0, 1);
  check_range(where, "step_size", options.step_size, 0, (std::numeric_limits<double>::max)());
  check_range(where, "correction_step_size", options.correction_step_size, 0, (std::numeric_limits<double>::max)());
  if (options.lambda > 0 || !w.trace.empty()) check_size(where, "trace", w.trace.size(), w.theta.size());

  const S discount = static_cast<S>(options.discount), lambda = static_cast<S>(options.lambda);
  const auto eligibility = [&](std::size_t i) {
    return t.ratio * ((w.trace.empty() ? S(0) : discount * lambda * w.trace[i]) + t.features[i]);
  };
  const S delta = checked_td_error<S>(where, t, w.theta, discount);
  S traced = 0, here = 0;  // e'w and phi'w
  for (std::size_t i = 0; i < w.theta.size(); ++i) {
    traced += eligibility(i) * w.correction[i];
    here += t.features[i] * w.correction[i];
  }
  check_finite(where, "the trace's product with the correction", traced);
  check_finite(where, "the features' product with the correction", here);

  // Where the episode was cut, the rest of phi' e'w, which would have come in by the next trace, comes in here.
  const S ahead = t.terminated ? S(0) : discount * (t.truncated ? S(1) : S(1) - lambda) * traced;
  const S alpha = static_cast<S>(options.step_size), beta = static_cast<S>(options.correction_step_size);
  for (std::size_t i = 0; i < w.theta.size(); ++i) {
    const S e = eligibility(i), phi = t.features[i];
    const S first = method == GradientTd::gtd2 ? here * phi : delta * e;
    w.theta[i] += alpha * (t.terminated ? first : first - ahead * t.next_features[i]);
    w.correction[i] += beta * (delta * e - here * phi);
    if (!w.trace.empty()) w.trace[i] = t.terminated || t.truncated ? S(0) : e;
  }
  return delta;
}

}  // namespace detail

/// GTD2(lambda) (Sutton et al. 2009 and Sutton & Barto 2018, section 11.7, with lambda 0; Maei 2011, chapter 6; White &
/// White 2016). With e = ratio (discount lambda e + phi) and the TD error delta,
///
///     theta += alpha (phi phi'w - discount (1 - lambda) phi_next e'w),    w += beta (delta e - phi phi'w),
///
/// both from the weights before the update. The ratio enters by e alone, which has the expectation of multiplying
/// every term and less variance. Gives back delta. Throws `Error` for sizes that differ, options out of range and
/// numbers that aren't finite, before anything is changed.
template <Scalar S>
S gtd2_update(const FeatureTransition<S>& transition, const std::type_identity_t<GradientTdWeights<S>>& weights,
              const GradientTdOptions& options = {}) {
  return detail::gradient_td_update<detail::GradientTd::gtd2, S>("gtd2_update", transition, weights, options);
}

/// TDC, also called GTD(lambda) (Sutton et al. 2009 with lambda 0; Maei 2011, chapter 6): TD(lambda) with a gradient
/// correction,
///
///     theta += alpha (delta e - discount (1 - lambda) phi_next e'w),    w += beta (delta e - phi phi'w).
///
/// As `gtd2_update` in all else; with w = 0 the step of theta is that of TD(lambda).
template <Scalar S>
S tdc_update(const FeatureTransition<S>& transition, const std::type_identity_t<GradientTdWeights<S>>& weights,
             const GradientTdOptions& options = {}) {
  return detail::gradient_td_update<detail::GradientTd::tdc, S>("tdc_update", transition, weights, options);
}

}  // namespace valence
