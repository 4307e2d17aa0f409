#pragma once

#include <string_view>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/logistic.hpp"
#include "valence/preference/scores.hpp"

/// Links: what a margin z (mostly beta times the difference of scores) costs. A margin link is called `link(z)`, or
/// `link(z, p_chosen)` where it reads the label's probability, and returns value and derivative. A two-score link is
/// called `link(a, b)` on the scores themselves. Every link goes with every score: `MarginLoss{ForwardKl{},
/// HingeLink{}, 0.1}`.
///
/// Write sp(x) = log(1 + e^x), sigma for the logistic function. With L = log(1 + e^-|z|) one exponential serves all
/// terms: sp(-z) = max(-z, 0) + L and sp(z) = max(z, 0) + L, so the linear parts of large margins are exact.
namespace valence {

// ---------------------------------------------------------------- margin links

/// sp(-z) = -log sigma(z): DPO (Rafailov et al. 2023, arXiv:2305.18290, eq. 7), Bradley-Terry.
struct LogisticLink {
  template <class T>
  ValueAndSlope<T> operator()(T z) const {
    const auto [tail, minus, plus] = detail::logistic_parts(z);
    return {detail::positive_part(-z) + tail, T{} - minus};
  }
};

/// (1 - e) sp(-z) + e sp(z), e in [0, 0.5]: a label that is wrong with probability e (cDPO).
struct LabelSmoothedLink {
  double label_smoothing = 0.1;
  template <class T>
  ValueAndSlope<T> operator()(T z) const {
    using S = scalar_t<T>;
    const auto [tail, minus, plus] = detail::logistic_parts(z);
    const S e = S(label_smoothing), keep = S(1 - label_smoothing);
    return {keep * detail::positive_part(-z) + e * detail::positive_part(z) + tail, e - minus};
  }
  void check(std::string_view where) const { check_range(where, "label_smoothing", label_smoothing, 0, 0.5); }
  static void fields(auto& self, auto&& f) { f("label_smoothing", self.label_smoothing); }
};

/// p sp(-z) + (1 - p) sp(z) with each pair's own p = `p_chosen` (DNO, Rosset et al. 2024, arXiv:2404.03715).
struct SoftLabelLink {
  static constexpr Column needs = Column::p_chosen;
  template <class T>
  ValueAndSlope<T> operator()(T z, T p) const {
    const auto [tail, minus, plus] = detail::logistic_parts(z);
    const T q = scalar_t<T>(1) - p;
    return {p * detail::positive_part(-z) + q * detail::positive_part(z) + tail, q - minus};
  }
};

/// [(1 - e) sp(-z) - e sp(z)] / (1 - 2e), e in [0, 0.5): unbiased for the clean loss when labels flip with probability
/// e (rDPO, Chowdhury et al. 2024, arXiv:2403.00409, eq. 12). Unbounded below for e > 0: -> -e z / (1 - 2e).
struct RobustLink {
  double label_smoothing = 0.1;
  template <class T>
  ValueAndSlope<T> operator()(T z) const {
    using S = scalar_t<T>;
    const auto [tail, minus, plus] = detail::logistic_parts(z);
    const double scale = 1 - 2 * label_smoothing;
    const S keep = S((1 - label_smoothing) / scale), flip = S(label_smoothing / scale);
    return {keep * detail::positive_part(-z) - flip * detail::positive_part(z) + tail, (S(0) - flip) - minus};
  }
  void check(std::string_view where) const {
    if (!(label_smoothing >= 0 && label_smoothing < 0.5))
      fail(where, "label_smoothing is {}; expected a number in [0, 0.5)", label_smoothing);
  }
  static void fields(auto& self, auto&& f) { f("label_smoothing", self.label_smoothing); }
};

/// max(0, 1 - z): SLiC's and RSO's hinge. Slope 0 at the kink.
struct HingeLink {
  template <class T>
  ValueAndSlope<T> operator()(T z) const {
    using S = scalar_t<T>;
    return {detail::positive_part(S(1) - z), elementary::select(z < S(1), splat<T>(-1), T{})};
  }
};

/// e^-z, along its tangent for z below -700 (-80 in float).
struct ExponentialLink {
  template <class T>
  ValueAndSlope<T> operator()(T z) const {
    const ValueAndSlope<T> e = detail::exp_c1(-z);
    return {e.value, -e.slope};
  }
};

/// Reverse KL between the policy's and the smoothed label's distribution over the pair, e in (0, 1)
/// (EXO, Ji et al. 2024, arXiv:2402.00856, eq. 16): sigma(z) [log sigma(z) - log(1 - e)] + sigma(-z) [log sigma(-z) -
/// log e].
struct ExoLink {
  double label_smoothing = 1e-3;
  template <class T>
  ValueAndSlope<T> operator()(T z) const {
    using S = scalar_t<T>;
    const auto [tail, minus, plus] = detail::logistic_parts(z);
    const double keep = elementary::log1p(-label_smoothing), flip = elementary::log(label_smoothing);
    const S log_keep = S(keep), log_flip = S(flip), log_odds = S(keep - flip);
    const T log_plus = -(detail::positive_part(-z) + tail), log_minus = -(detail::positive_part(z) + tail);
    return {detail::rounded(plus * (log_plus - log_keep)) + detail::rounded(minus * (log_minus - log_flip)),
            plus * minus * (z - log_odds)};
  }
  void check(std::string_view where) const {
    if (!(label_smoothing > 0 && label_smoothing < 1))
      fail(where, "label_smoothing is {}; expected a number in (0, 1)", label_smoothing);
  }
  static void fields(auto& self, auto&& f) { f("label_smoothing", self.label_smoothing); }
};

/// sp(-z) sigma(-z/tau) + e^-z sigma(z/tau): DiscoPOP, a blend found by a language model (Lu et al. 2024,
/// arXiv:2406.08414, "LRML"). Not convex: at z = 0 the slope is +0.784 for tau = 0.05.
struct DiscoPopLink {
  double tau = 0.05;
  template <class T>
  ValueAndSlope<T> operator()(T z) const {
    using S = scalar_t<T>;
    const T t = z / S(tau);
    const auto [tail, minus, plus] = detail::logistic_parts(z);
    const auto [t_tail, t_minus, t_plus] = detail::logistic_parts(t);
    const T logistic = detail::positive_part(-z) + tail;
    // e^-z sigma(t) as one exponential: the factors are infinity and 0 at large negative z.
    const ValueAndSlope<T> e = detail::exp_c1((T{} - z) - (detail::positive_part(-t) + t_tail));
    return {detail::rounded(logistic * t_minus) + detail::rounded(e.value),
            (detail::rounded(e.slope * (t_minus / S(tau) - S(1))) - detail::rounded(minus * t_minus)) -
                logistic * (t_plus * t_minus) / S(tau)};
  }
  void check(std::string_view where) const { check_positive(where, "tau", tau); }
  static void fields(auto& self, auto&& f) { f("tau", self.tau); }
};

/// (z - target)^2: IPO's regression of the margin.
struct SquareLink {
  double target = 1;
  template <class T>
  ValueAndSlope<T> operator()(T z) const {
    using S = scalar_t<T>;
    const T error = z - S(target);
    return {error * error, S(2) * error};
  }
  void check(std::string_view where) const { check_finite(where, "target", target); }
  static void fields(auto& self, auto&& f) { f("target", self.target); }
};

/// sigma(-z): the probability of ranking the pair wrongly; bounded, so outliers stop pulling.
struct OneMinusSigmoidLink {
  template <class T>
  ValueAndSlope<T> operator()(T z) const {
    const auto [tail, minus, plus] = detail::logistic_parts(z);
    return {minus, T{} - plus * minus};
  }
};

// ---------------------------------------------------------------- two-score links

/// A two-score link's value and its derivatives with respect to a (chosen) and b (rejected).
template <class T>
struct TwoSlopes {
  T value, d_a, d_b;
};

/// sp(-a) + sp(a)/2 + sp(b)/2: noise-contrastive alignment (Chen et al. 2024, arXiv:2402.05369).
struct NcaLink {
  template <class T>
  TwoSlopes<T> operator()(T a, T b) const {
    using S = scalar_t<T>;
    const auto [a_tail, a_minus, a_plus] = detail::logistic_parts(a);
    const auto [b_tail, b_minus, b_plus] = detail::logistic_parts(b);
    return {detail::positive_part(-a) + a_tail + S(0.5) * (detail::positive_part(a) + a_tail) +
                S(0.5) * (detail::positive_part(b) + b_tail),
            S(0.5) * a_plus - a_minus, S(0.5) * b_plus};
  }
};

/// sp(-(a - delta)) + sp(b - delta): binary classifier optimisation (Jung et al. 2024, arXiv:2404.04656). `delta` is
/// the running mean of rewards (`RewardMoments`), a constant.
struct BcoLink {
  double delta = 0;
  template <class T>
  TwoSlopes<T> operator()(T a, T b) const {
    using S = scalar_t<T>;
    const T x = a - S(delta), y = b - S(delta);
    const auto [x_tail, x_minus, x_plus] = detail::logistic_parts(x);
    const auto [y_tail, y_minus, y_plus] = detail::logistic_parts(y);
    return {detail::positive_part(-x) + x_tail + (detail::positive_part(y) + y_tail), T{} - x_minus, y_plus};
  }
  void check(std::string_view where) const { check_finite(where, "delta", delta); }
  static void fields(auto& self, auto&& f) { f("delta", self.delta); }
};

/// sigma(-a) + sigma(b): anchored preference optimisation that raises the chosen and lowers the rejected
/// (D'Oosterlinck et al. 2024, arXiv:2408.06266).
struct ApoZeroLink {
  template <class T>
  TwoSlopes<T> operator()(T a, T b) const {
    const auto [a_tail, a_minus, a_plus] = detail::logistic_parts(a);
    const auto [b_tail, b_minus, b_plus] = detail::logistic_parts(b);
    return {a_minus + b_plus, T{} - a_plus * a_minus, b_plus * b_minus};
  }
};

/// sigma(a) + sigma(-(a - b)): lowers both, the rejected more. Both terms take the same scores (pitfall P16).
struct ApoDownLink {
  template <class T>
  TwoSlopes<T> operator()(T a, T b) const {
    const auto [a_tail, a_minus, a_plus] = detail::logistic_parts(a);
    const auto [m_tail, m_minus, m_plus] = detail::logistic_parts(a - b);
    const T h = detail::rounded(m_plus * m_minus);
    return {a_plus + m_minus, detail::rounded(a_plus * a_minus) - h, h};
  }
};

/// (a - target)^2 + (b + target)^2: SPPO's regression of each log-ratio (Wu et al. 2024, arXiv:2405.00675).
struct SppoLink {
  double target = 0.5;
  template <class T>
  TwoSlopes<T> operator()(T a, T b) const {
    using S = scalar_t<T>;
    const T x = a - S(target), y = b + S(target);
    return {detail::rounded(x * x) + detail::rounded(y * y), S(2) * x, S(2) * y};
  }
  void check(std::string_view where) const { check_finite(where, "target", target); }
  static void fields(auto& self, auto&& f) { f("target", self.target); }
};

}  // namespace valence
