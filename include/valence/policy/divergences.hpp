#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"

/// Divergences between distributions over finitely many actions, exact and from samples. The first argument is always
/// the distribution whose expectation is taken, D(p || q) = E_q f(p / q): KL(p, q) = E_p log(p / q) (pitfall P20).
namespace valence {

/// An f-divergence D(p || q) = sum q f(p / q), by its convex f on x >= 0 with f(1) = 0, the derivative, the convex
/// conjugate f*(y) = max over x >= 0 of x y - f(x), and its first two derivatives (the first is the x that attains it).
/// Where f is linear at infinity, f* is infinite beyond its slope there. Where `normalized`, `occupancy_dual` uses that
/// p sums to 1.
template <class D>
concept FDivergence = requires(const D d, double x) {
  { d.value(x) } -> std::same_as<double>;
  { d.derivative(x) } -> std::same_as<double>;
  { d.conjugate(x) } -> std::same_as<double>;
  { d.conjugate_derivative(x) } -> std::same_as<double>;
  { d.conjugate_curvature(x) } -> std::same_as<double>;
  { D::normalized } -> std::convertible_to<bool>;
};

/// One action's part q f(p / q) of an f-divergence, and its derivative with respect to log p, p f'(p / q). By Euler's
/// identity (the part is homogeneous in p and q) the derivative with respect to log q is `value - d_log_p`.
template <class S>
struct DivergenceTerm {
  S value, d_log_p;
};

/// An f-divergence that can also be had from log-probabilities, where p / q may overflow: `term(log_p, log_q)`. At most
/// one of the two is -infinity.
template <class D>
concept LogDivergence = requires(const D d) {
  { d.term(0.0F, 0.0F) } -> std::same_as<DivergenceTerm<float>>;
  { d.term(0.0, 0.0) } -> std::same_as<DivergenceTerm<double>>;
};

/// f(x) = (x - 1)^2, D = sum (p - q)^2 / q; f*(y) = y + y^2 / 4 for y >= -2 and -1 below.
struct ChiSquare {
  static constexpr bool normalized = false;
  double value(double x) const { return (x - 1) * (x - 1); }
  double derivative(double x) const { return 2 * (x - 1); }
  double conjugate(double y) const { return y >= -2 ? y + y * y / 4 : -1; }
  double conjugate_derivative(double y) const { return (std::max)(0.0, 1 + y / 2); }
  double conjugate_curvature(double y) const { return y >= -2 ? 0.5 : 0.0; }
  template <Scalar S>
  DivergenceTerm<S> term(S log_p, S log_q) const {
    const S r = log_p - log_q, p = elementary::exp(log_p), q = elementary::exp(log_q);
    if (r > 1) {  // p^2 / q as one exponential: q may be too small to divide by
      const S square = elementary::exp(log_p + r);
      return {square - 2 * p + q, 2 * (square - p)};
    }
    const S x = elementary::expm1(r);
    return {q * x * x, 2 * p * x};
  }
};

/// f(x) = x log x, D = sum p log(p / q); f*(y) = exp(y - 1).
struct KullbackLeibler {
  static constexpr bool normalized = true;
  double value(double x) const { return xlogy(x, x); }
  double derivative(double x) const { return elementary::log(x) + 1; }
  double conjugate(double y) const { return elementary::exp(y - 1); }
  double conjugate_derivative(double y) const { return elementary::exp(y - 1); }
  double conjugate_curvature(double y) const { return elementary::exp(y - 1); }
  template <Scalar S>
  DivergenceTerm<S> term(S log_p, S log_q) const {
    const S p = elementary::exp(log_p);
    if (p == 0) return {0, 0};
    const S value = p * (log_p - log_q);
    return {value, value + p};
  }
};

/// f(x) = -log x, D = sum q log(q / p) = KL(q || p): the same numbers as `KullbackLeibler` with its arguments swapped,
/// but still a divergence of p, of whose logits gradients are taken first. f*(y) = -1 - log(-y) for y < 0.
struct ReverseKullbackLeibler {
  static constexpr bool normalized = false;
  double value(double x) const { return -elementary::log(x); }
  double derivative(double x) const { return -1 / x; }
  double conjugate(double y) const { return y < 0 ? -1 - elementary::log(-y) : infinity; }
  double conjugate_derivative(double y) const { return y < 0 ? -1 / y : infinity; }
  double conjugate_curvature(double y) const { return y < 0 ? 1 / (y * y) : infinity; }
  template <Scalar S>
  DivergenceTerm<S> term(S log_p, S log_q) const {
    const S q = elementary::exp(log_q);
    if (q == 0) return {0, 0};
    return {q * (log_q - log_p), -q};
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();
};

/// f(x) = |x - 1| / 2, D = sum |p - q| / 2, in [0, 1]: the largest difference of the probabilities of an event. f*(y) =
/// max(y, -1/2) for y <= 1/2. The derivative at the kink, p = q, is taken as 0.
struct TotalVariation {
  static constexpr bool normalized = false;
  double value(double x) const { return elementary::abs(x - 1) / 2; }
  double derivative(double x) const { return x > 1 ? 0.5 : x < 1 ? -0.5 : 0.0; }
  double conjugate(double y) const { return y <= 0.5 ? (std::max)(y, -0.5) : infinity; }
  double conjugate_derivative(double y) const { return y > 0.5 ? infinity : y > -0.5 ? 1.0 : 0.0; }
  double conjugate_curvature(double y) const { return y <= 0.5 ? 0.0 : infinity; }
  template <Scalar S>
  DivergenceTerm<S> term(S log_p, S log_q) const {
    const S r = log_p - log_q, p = elementary::exp(log_p);
    if (r > 0) return {p * -elementary::expm1(-r) / 2, p / 2};
    return {elementary::exp(log_q) * -elementary::expm1(r) / 2, r < 0 ? -p / 2 : S(0)};
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();
};

/// D = (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, in [0, log 2]; symmetric. f(x) = (x log x - (1 + x) log((1 +
/// x) / 2)) / 2; f*(y) = -log(2 - exp(2 y)) / 2 for y < log(2) / 2. (Lin 1991.)
struct JensenShannon {
  static constexpr bool normalized = false;
  double value(double x) const { return (xlogy(x, x) - (1 + x) * elementary::log((1 + x) / 2)) / 2; }
  double derivative(double x) const { return (log_2 + elementary::log(x / (1 + x))) / 2; }
  double conjugate(double y) const {
    return y < log_2 / 2 ? -elementary::log(1 - elementary::expm1(2 * y)) / 2 : infinity;
  }
  double conjugate_derivative(double y) const {
    return y < log_2 / 2 ? elementary::exp(2 * y) / (1 - elementary::expm1(2 * y)) : infinity;
  }
  double conjugate_curvature(double y) const {
    const double x = conjugate_derivative(y);
    return 2 * x * (1 + x);
  }
  template <Scalar S>
  DivergenceTerm<S> term(S log_p, S log_q) const {
    const S r = log_p - log_q, p = elementary::exp(log_p), q = elementary::exp(log_q);
    const S of_p = p == 0 ? S(0) : p * (S(log_2) + log_sigmoid(r));  // p log(p / m)
    const S of_q = q == 0 ? S(0) : q * (S(log_2) + log_sigmoid(-r));
    return {(of_p + of_q) / 2, of_p / 2};
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity(), log_2 = 0.69314718055994530942;
};

/// f(x) = (1 - sqrt(x))^2 / 2, D = sum (sqrt(p) - sqrt(q))^2 / 2 = 1 - sum sqrt(p q), in [0, 1]; symmetric. f*(y) = y /
/// (1 - 2 y) for y < 1/2.
struct SquaredHellinger {
  static constexpr bool normalized = false;
  double value(double x) const {
    const double root = elementary::sqrt(x);
    return (1 - root) * (1 - root) / 2;
  }
  double derivative(double x) const { return (1 - 1 / elementary::sqrt(x)) / 2; }
  double conjugate(double y) const { return y < 0.5 ? y / (1 - 2 * y) : infinity; }
  double conjugate_derivative(double y) const { return y < 0.5 ? 1 / ((1 - 2 * y) * (1 - 2 * y)) : infinity; }
  double conjugate_curvature(double y) const {
    return y < 0.5 ? 4 / ((1 - 2 * y) * (1 - 2 * y) * (1 - 2 * y)) : infinity;
  }
  template <Scalar S>
  DivergenceTerm<S> term(S log_p, S log_q) const {
    const S r = log_p - log_q;
    const S x = elementary::expm1(-elementary::abs(r) / 2);  // (smaller - larger) / larger, of the roots
    const S larger = elementary::exp((std::max)(log_p, log_q));
    const S d = r > 0 ? -larger * x / 2 : elementary::exp((log_p + log_q) / 2) * x / 2;
    return {larger * x * x / 2, d};
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();
};

/// Which actions are possible, an entry each; empty: all of them. What is masked isn't read.
using ActionMask = std::span<const bool>;

namespace detail {

/// The log-probabilities of a softmax, without memory: log p_i = (z_i - top) - log_sum. A logit of -infinity is a
/// masked action. Throws `Error` for a logit that is NaN or +infinity, and where nothing is possible.
template <class S>
class LogSoftmax {
 public:
  static constexpr S impossible = -std::numeric_limits<S>::infinity();

  LogSoftmax(std::string_view where, std::string_view argument, std::span<const S> z, ActionMask mask)
      : z_(z), mask_(mask) {
    if (!mask.empty()) check_size(where, "mask", mask.size(), z.size());
    top_ = impossible;
    for (std::size_t i = 0; i < z.size(); ++i) {
      if (!allowed(i)) continue;
      if (!(z[i] <= (std::numeric_limits<S>::max)())) [[unlikely]]
        fail(where, "{}[{}] is {}; expected a number below infinity", argument, i, z[i]);
      top_ = (std::max)(top_, z[i]);
    }
    if (top_ == impossible) [[unlikely]]
      fail(where, "{} has no possible action among {}; expected one that is not masked and not -inf", argument,
           z.size());
    S sum = 0;
    for (std::size_t i = 0; i < z.size(); ++i)
      if (allowed(i)) sum += elementary::exp(z[i] - top_);
    sum_ = sum;
    log_sum_ = elementary::log(sum);
  }

  std::size_t size() const { return z_.size(); }
  bool allowed(std::size_t i) const { return mask_.empty() || mask_[i]; }
  S log_prob(std::size_t i) const { return allowed(i) ? (z_[i] - top_) - log_sum_ : impossible; }
  S prob(std::size_t i) const { return allowed(i) ? elementary::exp((z_[i] - top_) - log_sum_) : S(0); }
  /// The first index whose running sum is above u times the sum, u in [0, 1); never one of probability 0.
  std::size_t at(double u) const {
    const S target = static_cast<S>(u * static_cast<double>(sum_));
    S running = 0;
    std::size_t last = 0;
    for (std::size_t i = 0; i < size(); ++i) {
      const S e = allowed(i) ? elementary::exp(z_[i] - top_) : S(0);
      if (e > 0) last = i;
      running += e;
      if (target < running) return i;
    }
    return last;  // where rounding lets the target reach the sum
  }
  /// The most likely, the first of ties.
  std::size_t mode() const {
    std::size_t i = 0;
    while (!allowed(i) || z_[i] != top_) ++i;
    return i;
  }

 private:
  std::span<const S> z_;
  ActionMask mask_;
  S top_, sum_ = 0, log_sum_ = 0;
};

/// f(i, log p_i, log q_i) of every action that one of the two can take.
template <class P, class Q, class F>
void for_log_probs(std::size_t n, const P& log_p, const Q& log_q, F&& f) {
  for (std::size_t i = 0; i < n; ++i) {
    const auto lp = log_p(i), lq = log_q(i);
    if ((std::max)(lp, lq) > -std::numeric_limits<decltype(lp)>::infinity()) f(i, lp, lq);
  }
}

template <class D, class S, class P, class Q>
DivergenceTerm<S> sum_of_terms(const D& d, std::size_t n, const P& log_p, const Q& log_q) {
  DivergenceTerm<S> sum{0, 0};
  for_log_probs(n, log_p, log_q, [&](std::size_t, S lp, S lq) {
    const auto term = d.term(lp, lq);
    sum.value += term.value, sum.d_log_p += term.d_log_p;
  });
  return sum;
}

/// The log of the second moment of p / q under q, sum p^2 / q.
template <class S, class P, class Q>
S log_second_moment(std::size_t n, const P& log_p, const Q& log_q) {
  constexpr S infinity = std::numeric_limits<S>::infinity();
  S top = -infinity;
  const auto exponent = [](S lp, S lq) { return lp == -infinity ? -infinity : 2 * lp - lq; };
  for_log_probs(n, log_p, log_q, [&](std::size_t, S lp, S lq) { top = (std::max)(top, exponent(lp, lq)); });
  if (!(top < infinity)) return top;
  S sum = 0;
  for_log_probs(n, log_p, log_q, [&](std::size_t, S lp, S lq) { sum += elementary::exp(exponent(lp, lq) - top); });
  return top + elementary::log(sum);
}

template <class S>
void check_divergence_gradient(std::string_view where, S value, std::size_t n, std::span<S> dp, std::span<S> dq) {
  if (!dp.empty()) check_size(where, "the gradient of the first logits", dp.size(), n);
  if (!dq.empty()) check_size(where, "the gradient of the second logits", dq.size(), n);
  if (!std::isfinite(value))
    fail(where, "the divergence is {}, so it has no gradient; expected logits that make the same actions possible",
         value);
}

}  // namespace detail

/// D(p || q) of two probability vectors of one size, >= 0. Infinite where p > 0 = q and f grows faster than x (KL,
/// chi-square), or where p = 0 < q and f(0) is infinite (reverse KL). Throws `Error` for vectors that aren't
/// probabilities (to within 1e-6). No allocation.
template <LogDivergence D, Scalar S>
S divergence(const D& d, std::span<const S> p, std::span<const std::type_identity_t<S>> q) {
  check_size("divergence", "q", q.size(), p.size());
  check_probabilities("divergence", "p", p);
  check_probabilities("divergence", "q", q);
  const auto log_of = [](auto x) { return [x](std::size_t i) { return elementary::log(x[i]); }; };
  return detail::sum_of_terms<D, S>(d, p.size(), log_of(p), log_of(q)).value;
}

/// D(p || q) of p = softmax(z_p) and q = softmax(z_q). Where `mask` isn't empty, actions whose entry is false have
/// probability 0 in both and their logits aren't read; so have logits of -infinity. Exact at logits of +-700: nothing
/// is divided by a probability. No allocation.
template <LogDivergence D, Scalar S>
S logit_divergence(const D& d, std::span<const S> z_p, std::span<const std::type_identity_t<S>> z_q,
                   ActionMask mask = {}) {
  check_size("logit_divergence", "z_q", z_q.size(), z_p.size());
  const detail::LogSoftmax<S> p("logit_divergence", "z_p", z_p, mask), q("logit_divergence", "z_q", z_q, mask);
  return detail::sum_of_terms<D, S>(
             d, p.size(), [&](std::size_t i) { return p.log_prob(i); }, [&](std::size_t i) { return q.log_prob(i); })
      .value;
}

/// The same, and dz_p += w dD / dz_p, dz_q += w dD / dz_q, each where its span isn't empty:
///
///     dD / dz_p = p (f'(p / q) - sum p f'(p / q)),    dD / dz_q = q (g - sum q g),  g = f(p / q) - p / q f'(p / q).
///
/// Throws `Error` where D is infinite, before anything is changed.
template <LogDivergence D, Scalar S>
S logit_divergence(const D& d, std::span<const S> z_p, std::span<const std::type_identity_t<S>> z_q,
                   std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dz_p,
                   std::span<std::type_identity_t<S>> dz_q = {}, ActionMask mask = {}) {
  constexpr auto where = "logit_divergence";
  check_size(where, "z_q", z_q.size(), z_p.size());
  const detail::LogSoftmax<S> p(where, "z_p", z_p, mask), q(where, "z_q", z_q, mask);
  const auto log_p = [&](std::size_t i) { return p.log_prob(i); };
  const auto log_q = [&](std::size_t i) { return q.log_prob(i); };
  const auto sum = detail::sum_of_terms<D, S>(d, p.size(), log_p, log_q);
  detail::check_divergence_gradient<S>(where, sum.value, p.size(), dz_p, dz_q);
  detail::for_log_probs(p.size(), log_p, log_q, [&](std::size_t i, S lp, S lq) {
    const auto term = d.term(lp, lq);
    if (!dz_p.empty()) dz_p[i] += w * (term.d_log_p - p.prob(i) * sum.d_log_p);
    if (!dz_q.empty()) dz_q[i] += w * ((term.value - term.d_log_p) - q.prob(i) * (sum.value - sum.d_log_p));
  });
  return sum.value;
}

/// Renyi's divergence of order 2, log sum p^2 / q = log(1 + chi2(p || q)), of two probability vectors. (Not an
/// f-divergence, but a function of one.) Errors as `divergence`; infinite as chi-square is.
template <Scalar S>
S renyi_2(std::span<const S> p, std::span<const std::type_identity_t<S>> q) {
  check_size("renyi_2", "q", q.size(), p.size());
  check_probabilities("renyi_2", "p", p);
  check_probabilities("renyi_2", "q", q);
  const auto log_of = [](auto x) { return [x](std::size_t i) { return elementary::log(x[i]); }; };
  return detail::log_second_moment<S>(p.size(), log_of(p), log_of(q));
}

/// The same of softmaxes, finite also where chi-square overflows; and its gradients, as `logit_divergence`: with v =
/// (p^2 / q) / sum (p^2 / q), dz_p += 2 w (v - p) and dz_q += w (q - v).
template <Scalar S>
S logit_renyi_2(std::span<const S> z_p, std::span<const std::type_identity_t<S>> z_q, std::type_identity_t<S> w = 0,
                std::span<std::type_identity_t<S>> dz_p = {}, std::span<std::type_identity_t<S>> dz_q = {},
                ActionMask mask = {}) {
  constexpr auto where = "logit_renyi_2";
  check_size(where, "z_q", z_q.size(), z_p.size());
  const detail::LogSoftmax<S> p(where, "z_p", z_p, mask), q(where, "z_q", z_q, mask);
  const auto log_p = [&](std::size_t i) { return p.log_prob(i); };
  const auto log_q = [&](std::size_t i) { return q.log_prob(i); };
  const S value = detail::log_second_moment<S>(p.size(), log_p, log_q);
  if (dz_p.empty() && dz_q.empty()) return value;
  detail::check_divergence_gradient<S>(where, value, p.size(), dz_p, dz_q);
  detail::for_log_probs(p.size(), log_p, log_q, [&](std::size_t i, S lp, S lq) {
    const S v = lp == detail::LogSoftmax<S>::impossible ? S(0) : elementary::exp(2 * lp - lq - value);
    if (!dz_p.empty()) dz_p[i] += 2 * w * (v - p.prob(i));
    if (!dz_q.empty()) dz_q[i] += w * (q.prob(i) - v);
  });
  return value;
}

/// Estimators of KL(p || q) from one x ~ p, by its log-ratio l = log q(x) - log p(x) (Schulman 2020, "Approximating KL
/// divergence"), with their derivative with respect to log p(x).
///
/// As **values**: k1 and k3 are unbiased, k2 is not; k2 and k3 are never negative, k1 may be, also as the mean of a
/// batch, so no test that stops on a large divergence may use it (pitfall G8). k3 needn't have the smaller variance.
///
/// As **losses**, differentiated through log p(x) of a sample that is held fixed, they mean something else, and this is
/// the usual trap: the expected gradient of k1 is 0; that of k2 is the gradient of KL(p || q); that of k3 is the
/// gradient of the *other* direction, KL(q || p). To penalise KL(p || q) use k2, or the closed forms of the laws.
///
/// Throw `Error` where l isn't finite, and k3 where exp(l) overflows (pitfall G11): l > 709, in `float` l > 88.

/// -l; slope 1.
template <Scalar S>
ValueAndSlope<S> kl_k1(S log_ratio) {
  check_finite("kl_k1", "log_ratio", log_ratio);
  return {-log_ratio, 1};
}
/// l^2 / 2; slope -l.
template <Scalar S>
ValueAndSlope<S> kl_k2(S log_ratio) {
  check_finite("kl_k2", "log_ratio", log_ratio);
  return {log_ratio * log_ratio / 2, -log_ratio};
}
/// exp(l) - 1 - l; slope 1 - exp(l).
template <Scalar S>
ValueAndSlope<S> kl_k3(S log_ratio) {
  check_finite("kl_k3", "log_ratio", log_ratio);
  const S e = elementary::expm1(log_ratio);
  if (!std::isfinite(e))
    fail("kl_k3", "log_ratio is {}, whose exponential overflows; expected a smaller one", log_ratio);
  return {e - log_ratio, -e};
}

}  // namespace valence
