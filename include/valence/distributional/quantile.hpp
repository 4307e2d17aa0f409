#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/lane_sums.hpp"
#include "valence/distributional/projection.hpp"

namespace valence {

/// `kappa`, where Huber's loss turns from square to line, >= 0; at 0 the loss is the pinball loss.
struct QuantileHuberOptions {
  double kappa = 1;
};

namespace detail {

/// The i-th of n fractions in the middle of their shares, (2 i + 1) / 2n.
template <class S>
S midpoint(std::size_t i, std::size_t n) {
  return static_cast<S>((2 * static_cast<double>(i) + 1) / (2 * static_cast<double>(n)));
}

/// sum_j w_j f(u_j) over the targets, with u = target - prediction and w = u < 0 ? 1 - fraction : fraction, where
/// term(u) gives f's value and slope; the same for the slopes. Predictions stand in lanes and targets come one by one,
/// so nothing is summed across lanes.
template <std::size_t registers, class T, class F>
[[gnu::always_inline]] inline void pair_sums(const scalar_t<T>* predictions, const scalar_t<T>* fractions,
                                             std::span<const scalar_t<T>> targets, scalar_t<T>* loss,
                                             scalar_t<T>* slope, F term) {
  constexpr std::size_t width = lane_count<T>;
  T prediction[registers], above[registers], below[registers], losses[registers] = {}, slopes[registers] = {};
  for (std::size_t k = 0; k < registers; ++k) {
    prediction[k] = load<T>(predictions + k * width);
    above[k] = load<T>(fractions + k * width);
    below[k] = scalar_t<T>(1) - above[k];
  }
  for (const scalar_t<T> target : targets)
    for (std::size_t k = 0; k < registers; ++k) {
      const T u = target - prediction[k];
      const T w = elementary::select(u < T{}, below[k], above[k]);
      const ValueAndSlope<T> f = term(u);
      losses[k] += w * f.value;
      slopes[k] += w * f.slope;
    }
  for (std::size_t k = 0; k < registers; ++k) {
    store<T>(loss + k * width, losses[k]);
    store<T>(slope + k * width, slopes[k]);
  }
}

/// sum_i mean_j |tau_i - 1{u < 0}| f(u), u = y_j - theta_i, and d_theta_i -= weight mean_j |tau_i - 1{u < 0}| f'(u).
/// `fraction(i)` is tau_i; `unit` divides both f and f'.
template <class S, class Fraction, class F>
S quantile_pairs(std::span<const S> theta, const Fraction& fraction, std::span<const S> y, std::span<S> d_theta,
                 S weight, S unit, F term) {
  using T = Lanes<S>;
  constexpr std::size_t width = lane_count<T>, block = 2 * width;
  alignas(64) S prediction[block], fractions[block], loss[block], slope[block];
  const S share = S(1) / (static_cast<S>(y.size()) * unit);
  double total = 0;
  for (std::size_t begin = 0; begin < theta.size(); begin += block) {
    const std::size_t n = (std::min)(block, theta.size() - begin);
    for (std::size_t i = 0; i < block; ++i) {  // the last block is filled up with copies that nobody reads
      const std::size_t from = begin + (i < n ? i : 0);
      prediction[i] = theta[from];
      fractions[i] = fraction(from);
    }
    if (n > width)
      pair_sums<2, T>(prediction, fractions, y, loss, slope, term);
    else
      pair_sums<1, T>(prediction, fractions, y, loss, slope, term);
    for (std::size_t i = 0; i < n; ++i) {
      total += static_cast<double>(loss[i]);
      d_theta[begin + i] -= weight * (slope[i] * share);
    }
  }
  return static_cast<S>(total * static_cast<double>(share));
}

template <class S>
void check_pairs(std::string_view where, std::span<const S> theta, std::span<const S> y, std::span<S> d_theta,
                 S weight) {
  if (theta.empty()) fail(where, "theta is empty; expected at least one prediction");
  if (y.empty()) fail(where, "the target is empty; expected at least one sample of the return");
  check_size(where, "d_theta", d_theta.size(), theta.size());
  check_finite_lanes(where, "theta", theta);
  check_finite_lanes(where, "the target", y);
  check_finite(where, "weight", weight);
}

template <class S, class Fraction>
S quantile_huber(std::span<const S> theta, const Fraction& fraction, std::span<const S> y, std::span<S> d_theta,
                 S weight, double kappa) {
  if (kappa == 0)
    return quantile_pairs<S>(theta, fraction, y, d_theta, weight, S(1), []<class T>(T u) {
      const T sign = elementary::select(u < T{}, splat<T>(-1), elementary::select(u > T{}, splat<T>(1), T{}));
      return ValueAndSlope<T>{u * sign, sign};
    });
  const S k = static_cast<S>(kappa);
  return quantile_pairs<S>(theta, fraction, y, d_theta, weight, k, [k]<class T>(T u) {
    // On both sides Huber's loss is c (u - c / 2), with c = u held in [-k, k].
    const T c = detail::lesser(detail::greater(u, splat<T>(-k)), splat<T>(k));
    return ValueAndSlope<T>{c * (u - c * scalar_t<T>(0.5)), c};
  });
}

}  // namespace detail

/// Quantile regression with Huber's loss (Dabney et al. 2018, "Distributional RL with Quantile Regression", equations 9
/// and 10; implicit quantiles: Dabney et al. 2018b, equation 3): theta_i is to become the quantile of the returns y at
/// the fraction tau_i,
///
///     sum_i mean_j |tau_i - 1{u_ij < 0}| H(u_ij) / kappa,   u_ij = y_j - theta_i,   H(u) = u^2 / 2 up to |u| = kappa,
///                                                                                  kappa (|u| - kappa / 2) beyond.
///
/// - The fraction belongs to the prediction, never to the target (pitfall D4); their numbers may differ.
/// - H is divided by kappa, as the papers' equations have it, so kappa -> 0 gives the pinball loss, which is what kappa
/// = 0
///   computes (D6).
/// - A mean over targets and a sum over predictions: doubling the targets changes nothing, doubling the predictions
/// doubles
///   the loss, and each prediction's own gradient stays as it is (D7).
///
/// d_theta_i += weight times the derivative, -mean_j |tau_i - 1{u < 0}| (u held in [-kappa, kappa]) / kappa; the pinball
/// loss has slope 0 where u = 0. Returns the loss without the weight. Time is theta times y. Throws `Error` for
/// fractions outside [0, 1], sizes that disagree and numbers that aren't finite, before d_theta is changed. Nothing
/// allocates.
template <Scalar S>
S quantile_huber(std::span<const S> theta, std::span<const std::type_identity_t<S>> fractions,
                 std::span<const std::type_identity_t<S>> y, std::span<std::type_identity_t<S>> d_theta,
                 std::type_identity_t<S> weight = 1, const QuantileHuberOptions& options = {}) {
  constexpr auto where = "quantile_huber";
  check_range(where, "kappa", options.kappa, 0, (std::numeric_limits<double>::max)());
  check_size(where, "fractions", fractions.size(), theta.size());
  check_range(where, "fractions", fractions, 0, 1);
  detail::check_pairs<S>(where, theta, y, d_theta, weight);
  return detail::quantile_huber<S>(
      theta, [fractions](std::size_t i) { return fractions[i]; }, y, d_theta, weight, options.kappa);
}

/// The head of QR-DQN: the return's law as N numbers of equal probability, the quantiles at (2 i + 1) / 2N, which needs
/// no bounds on the return. Its target is r + g theta', N samples; its loss `quantile_huber`, summed over the N
/// predictions (pitfall D7: with more quantiles the gradient of a shared trunk grows; the papers leave it so). The
/// outputs need not be in order, and where they cross they are still a law: all statistics sort them (D10).
struct QuantileReturn {
  int quantiles = 200;  ///< >= 1
  double kappa = 1;     ///< see `QuantileHuberOptions`

  /// Outputs: N an action.
  int size(int actions) const { return quantiles * actions; }

  /// The mean of the N.
  template <Scalar S>
  S value(std::span<const S> y) const {
    constexpr auto where = "QuantileReturn::value";
    check_outputs(where, y);
    return detail::lane_sums<S, 1>(y.size(),
                                   [&]<class T>(std::size_t i) { return std::array<T, 1>{load<T>(y.data() + i)}; })[0] /
           static_cast<S>(quantiles);
  }

  /// All N are v.
  template <Scalar S>
  void encode(S v, std::span<std::type_identity_t<S>> out) const {
    constexpr auto where = "QuantileReturn::encode";
    check_options(where);
    check_finite(where, "the return", v);
    check_size(where, "out", out.size(), static_cast<std::size_t>(quantiles));
    for (S& x : out) x = v;
  }

  /// r + g theta.
  template <Scalar S>
  void bootstrap(std::span<const S> y, std::type_identity_t<S> r, std::type_identity_t<S> g,
                 std::span<std::type_identity_t<S>> out) const {
    constexpr auto where = "QuantileReturn::bootstrap";
    if (g == 0) return encode(r, out);
    check_outputs(where, y);
    detail::check_discount<S>(where, r, g);
    check_size(where, "out", out.size(), y.size());
    detail::for_lanes<S>(y.size(),
                         [&]<class T>(std::size_t i) { store<T>(out.data() + i, load<T>(y.data() + i) * g + r); });
  }

  /// `quantile_huber` at the midpoints; the target may be samples of any number.
  template <Scalar S>
  S loss(std::span<const S> y, std::span<const std::type_identity_t<S>> target, std::span<std::type_identity_t<S>> dy,
         std::type_identity_t<S> weight = 1) const {
    constexpr auto where = "QuantileReturn::loss";
    check_options(where);
    check_size(where, "y", y.size(), static_cast<std::size_t>(quantiles));
    detail::check_pairs<S>(where, y, target, dy, weight);
    return detail::quantile_huber<S>(
        y, [n = y.size()](std::size_t i) { return detail::midpoint<S>(i, n); }, target, dy, weight, kappa);
  }

  /// The outputs, with equal weights.
  template <Scalar S>
  void law(std::span<const S> y, std::span<double> atoms, std::span<double> weights) const {
    constexpr auto where = "QuantileReturn::law";
    check_outputs(where, y);
    check_size(where, "atoms", atoms.size(), y.size());
    check_size(where, "weights", weights.size(), y.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
      atoms[i] = static_cast<double>(y[i]);
      weights[i] = 1 / static_cast<double>(quantiles);
    }
  }

 private:
  void check_options(std::string_view where) const {
    if (quantiles < 1) fail(where, "{} quantiles; expected at least 1", quantiles);
    check_range(where, "kappa", kappa, 0, (std::numeric_limits<double>::max)());
  }
  template <class S>
  void check_outputs(std::string_view where, std::span<const S> y) const {
    check_options(where);
    check_size(where, "y", y.size(), static_cast<std::size_t>(quantiles));
    detail::check_finite_lanes(where, "y", y);
  }
};

}  // namespace valence
