#pragma once

#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/logistic.hpp"

/// Scores: what a response's log-probability under the policy (q), under the reference (r) and its length (n tokens)
/// are worth. A score is called `score(q, r, n)` and returns its value and its derivative with respect to q. The margin
/// of a pair is the chosen's score minus the rejected's. u = q - r below.
namespace valence {

namespace detail {

/// Beyond this exponent an exponential goes on along its tangent: 700 in double (e^709 is the last that is finite), 80
/// in float (e^88), which leaves room for the tangent's growth and for sums.
template <class S>
inline constexpr S exp_cap = std::is_same_v<S, float> ? S(80) : S(700);

/// e^x, continued by its tangent beyond `exp_cap`: once continuously differentiable, monotone, finite.
template <class T>
ValueAndSlope<T> exp_c1(T x) {
  using S = scalar_t<T>;
  const T cap = splat<T>(exp_cap<S>);
  const T e = elementary::exp((elementary::min)(x, cap));
  return {e * (S(1) + positive_part(x - cap)), e};
}

}  // namespace detail

/// u = log pi - log pi_ref: the implicit reward of DPO over beta. TRL: `f_divergence_type="reverse_kl"`.
struct LogRatio {
  static constexpr Column needs = Column::reference;
  template <class T>
  ValueAndSlope<T> operator()(T q, T r, T) const {
    return {q - r, splat<T>(1)};
  }
};

/// q: reference-free. TRL's CPO.
struct LogProb {
  static constexpr Column needs = Column::none;
  template <class T>
  ValueAndSlope<T> operator()(T q, T, T) const {
    return {q, splat<T>(1)};
  }
};

/// q / n: reference-free, mean over tokens (SimPO).
struct MeanLogProb {
  static constexpr Column needs = Column::lengths;
  template <class T>
  ValueAndSlope<T> operator()(T q, T, T n) const {
    const T inverse = scalar_t<T>(1) / n;
    return {q * inverse, inverse};
  }
};

/// u / n: mean over tokens of the log-ratio. TRL: `ipo`, `sigmoid_norm`.
struct MeanLogRatio {
  static constexpr Column needs = Column::reference | Column::lengths;
  template <class T>
  ValueAndSlope<T> operator()(T q, T r, T n) const {
    const T inverse = scalar_t<T>(1) / n;
    return {(q - r) * inverse, inverse};
  }
};

/// -exp(-u): f-DPO with the forward KL (Wang et al. 2023, arXiv:2309.16240, table 1).
struct ForwardKl {
  static constexpr Column needs = Column::reference;
  template <class T>
  ValueAndSlope<T> operator()(T q, T r, T) const {
    const ValueAndSlope<T> e = detail::exp_c1(r - q);
    return {-e.value, e.slope};
  }
};

/// log sigmoid(u): f-DPO with the Jensen-Shannon divergence, up to a constant that margins do not see.
struct JsDivergence {
  static constexpr Column needs = Column::reference;
  template <class T>
  ValueAndSlope<T> operator()(T q, T r, T) const {
    const T u = q - r;
    const auto [tail, minus, plus] = detail::logistic_parts(u);
    return {-(detail::positive_part(-u) + tail), minus};
  }
};

/// (exp((alpha - 1) u)) / (alpha - 1): f-DPO with the alpha-divergence; alpha = 1 (to within 1e-6) is `LogRatio`, alpha
/// = 0 `ForwardKl`. The exponent stops at 80 with slope 0 beyond, as TRL's does in float32.
struct AlphaDivergence {
  double alpha = 0.5;
  static constexpr Column needs = Column::reference;
  template <class T>
  ValueAndSlope<T> operator()(T q, T r, T) const {
    using S = scalar_t<T>;
    const T u = q - r;
    const double a = alpha - 1;
    if (a < 1e-6 && a > -1e-6) return {u, splat<T>(1)};
    const T x = S(a) * u;
    const T cap = splat<T>(80);
    const T e = elementary::exp((elementary::min)(x, cap));
    return {e / S(a), elementary::select(x > cap, T{}, e)};
  }
  void check(std::string_view where) const { check_finite(where, "alpha", alpha); }
  static void fields(auto& self, auto&& f) { f("alpha", self.alpha); }
};

/// (1 - exp(-alpha q/n)) / alpha: AlphaPO's reward shape (Gupta et al. 2025, arXiv:2501.03884); alpha = 0 is
/// `MeanLogProb`.
struct AlphaMeanLogProb {
  double alpha = 0.25;
  static constexpr Column needs = Column::lengths | Column::at_most_one;
  template <class T>
  ValueAndSlope<T> operator()(T q, T, T n) const {
    using S = scalar_t<T>;
    const T inverse = S(1) / n, m = detail::rounded(q * inverse);
    if (alpha == 0) return {m, inverse};
    const T x = S(-alpha) * m;
    const ValueAndSlope<T> e = detail::exp_c1(x);
    // expm1 where 1 - e^x cancels; it would overflow before the tangent of exp_c1 takes over.
    const T near_one = elementary::expm1((elementary::min)(x, splat<T>(1)));
    const T grown = elementary::select(x < S(1), near_one, e.value - S(1));
    return {-(grown / S(alpha)), e.slope * inverse};
  }
  void check(std::string_view where) const { check_finite(where, "alpha", alpha); }
  static void fields(auto& self, auto&& f) { f("alpha", self.alpha); }
};

/// log-odds of the mean log-probability m = q/n: m - log(1 - e^m) (ORPO, Hong et al. 2024, arXiv:2403.07691, eq. 4).
///
/// Certainty has infinite odds: the driver refuses a log-probability of 0 or more (pitfall P10). Called directly, m is
/// held at -1e-12, where the log-odds are 27.6, with slope 0 beyond.
struct LogOdds {
  static constexpr Column needs = Column::lengths | Column::less_than_one;
  template <class T>
  ValueAndSlope<T> operator()(T q, T, T n) const {
    using S = scalar_t<T>;
    const T most = splat<T>(S(-1e-12));
    const T mean = q / n;
    const T m = (elementary::min)(mean, most);
    return {m - log1mexp(m), elementary::select(mean > most, T{}, S(-1) / (elementary::expm1(m) * n))};
  }
};

}  // namespace valence
