#pragma once

#include <cmath>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"

/// Comparisons that may end in a tie. Both models take the score difference `d = score(first) - score(second)` and one
/// tie parameter, and become Bradley-Terry where that parameter is 0.
namespace valence {

/// How a comparison ended, seen from the first of its two.
enum class PairOutcome { win, tie, loss };

/// P(win), P(tie), P(loss); they sum to 1.
struct OutcomeProbabilities {
  double win, tie, loss;
};

/// -log P(outcome), its derivatives with respect to the score difference and to the tie parameter.
struct OutcomeLoss {
  double value, d_difference, d_parameter;
};

namespace detail {

/// `OutcomeLoss` with second derivatives, for Newton's method.
struct OutcomeCurvature {
  double value, d, t, dd, dt, tt;
};

}  // namespace detail

/// Ties as a band of indifference: P(win) = sigmoid(d - threshold), P(loss) = sigmoid(-d - threshold), the rest is the
/// tie. Source: P. V. Rao and L. L. Kupper, "Ties in paired-comparison experiments" (JASA 1967), eq. 2.3, threshold =
/// log theta.
struct RaoKupper {
  double threshold = 0;  ///< in units of the score, >= 0; 0: no ties

  /// `difference`: finite.
  OutcomeProbabilities probabilities(double difference) const {
    check(difference);
    const double win = sigmoid(difference - threshold), loss = sigmoid(-difference - threshold);
    // 1 - win - loss would cancel; this product is the same number.
    return {win, std::expm1(2 * threshold) * win * loss, loss};
  }

  /// Loss of one observed outcome; `d_parameter` is the derivative with respect to `threshold`. A tie at threshold 0 is
  /// impossible and throws `Error`.
  OutcomeLoss loss(double difference, PairOutcome outcome) const {
    check(difference);
    if (outcome == PairOutcome::tie && threshold == 0)
      fail("RaoKupper", "a tie has probability 0 where threshold is 0; expected a threshold greater than 0");
    const detail::OutcomeCurvature c = curvature(difference, threshold, outcome);
    return {c.value, c.d, c.t};
  }

  /// Unchecked: the loss in (difference, threshold), where it is convex, with second derivatives.
  static detail::OutcomeCurvature curvature(double d, double threshold, PairOutcome outcome) {
    const double win = sigmoid(d - threshold), loss = sigmoid(-d - threshold);
    const double not_win = sigmoid(threshold - d), not_loss = sigmoid(d + threshold);
    const double w = win * not_win, l = loss * not_loss;
    const detail::OutcomeCurvature win_loss{softplus(threshold - d), -not_win, not_win, w, -w, w};
    const detail::OutcomeCurvature loss_loss{softplus(threshold + d), not_loss, not_loss, l, l, l};
    if (outcome == PairOutcome::win) return win_loss;
    if (outcome == PairOutcome::loss) return loss_loss;
    // P(tie) = (e^{2 threshold} - 1) P(win) P(loss), so -log P(tie) is the sum of both losses and a term in the
    // threshold.
    const double gap = -std::expm1(-2 * threshold);  // 1 - e^{-2 threshold}
    return {win_loss.value + loss_loss.value - 2 * threshold - std::log(gap),
            win_loss.d + loss_loss.d,
            win_loss.t + loss_loss.t - 2 / gap,
            w + l,
            l - w,
            w + l + 4 * (1 - gap) / (gap * gap)};
  }

 private:
  void check(double difference) const {
    check_finite("RaoKupper", "difference", difference);
    if (!(threshold >= 0 && std::isfinite(threshold)))
      fail("RaoKupper", "threshold is {}; expected a finite number of at least 0", threshold);
  }
};

/// Ties in proportion to the geometric mean of both strengths: with Z = e^{d/2} + e^{-d/2} + nu, P(win) = e^{d/2} / Z,
/// P(tie) = nu / Z, P(loss) = e^{-d/2} / Z. Source: R. R. Davidson, "On extending the Bradley-Terry model to
/// accommodate ties" (JASA 1970), eq. 2.4.
struct Davidson {
  double nu = 0;  ///< >= 0; 0: no ties. Between equals, P(tie) = nu / (2 + nu)

  /// `difference`: finite.
  OutcomeProbabilities probabilities(double difference) const {
    check(difference);
    // Divided by the larger exponential: no overflow for any finite difference.
    const double a = std::abs(difference), small_one = std::exp(-a), tie = nu * std::exp(-a / 2);
    const double z = 1 + small_one + tie, high = 1 / z, low = small_one / z;
    return {difference >= 0 ? high : low, tie / z, difference >= 0 ? low : high};
  }

  /// Loss of one observed outcome; `d_parameter` is the derivative with respect to `nu`. A tie at nu = 0 is impossible
  /// and throws `Error`.
  OutcomeLoss loss(double difference, PairOutcome outcome) const {
    check(difference);
    if (outcome == PairOutcome::tie && nu == 0)
      fail("Davidson", "a tie has probability 0 where nu is 0; expected nu greater than 0");
    const detail::OutcomeCurvature c = curvature(difference, std::log(nu), outcome);
    // P(tie) / nu = 1 / Z, written so that it is right for nu = 0 as well.
    const double one_over_z = std::exp(-log_normaliser(difference, std::log(nu)));
    return {c.value, c.d, one_over_z - (outcome == PairOutcome::tie ? 1 / nu : 0)};
  }

  /// Unchecked: the loss in (difference, log nu), where it is convex (a multinomial logit), with second derivatives.
  static detail::OutcomeCurvature curvature(double d, double log_nu, PairOutcome outcome) {
    const double log_z = log_normaliser(d, log_nu);
    const double win = std::exp(d / 2 - log_z), tie = std::exp(log_nu - log_z), loss = std::exp(-d / 2 - log_z);
    const double mean = (win - loss) / 2;
    const double seen_d = outcome == PairOutcome::win ? 0.5 : outcome == PairOutcome::loss ? -0.5 : 0.0;
    const double seen_t = outcome == PairOutcome::tie ? 1.0 : 0.0;
    const double score = outcome == PairOutcome::tie ? log_nu : seen_d * d;
    return {log_z - score, mean - seen_d, tie - seen_t, (win + loss) / 4 - mean * mean, -mean * tie, tie * (1 - tie)};
  }

 private:
  static double log_normaliser(double d, double log_nu) {
    const double a = std::abs(d) / 2, top = log_nu > a ? log_nu : a;
    return top + std::log(std::exp(a - top) + std::exp(-a - top) + std::exp(log_nu - top));
  }
  void check(double difference) const {
    check_finite("Davidson", "difference", difference);
    if (!(nu >= 0 && std::isfinite(nu))) fail("Davidson", "nu is {}; expected a finite number of at least 0", nu);
  }
};

}  // namespace valence
