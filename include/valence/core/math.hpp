#pragma once

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/types.hpp"

/// The stable functions that losses, policies and distributions share. Each is one body for a number and for lanes (the
/// `Lane` overload), and the same body runs over Eigen arrays, matrices and expressions of them (entry by entry; a
/// plain array of the same shape comes back) and over spans (`apply_lanes`). All of them agree to the bit.
///
/// Conventions
/// - NaN in means NaN out, at that entry only; reductions (`log_sum_exp`, `softmax`, `log_softmax`, `argmax`) see all
/// entries,
///   so a NaN anywhere is their result everywhere (`argmax`: its index).
/// - An argument outside of the domain gives NaN; nothing here throws on values, because kernels run it on lanes.
/// Boundaries
///   check. Infinite arguments give the limit.
/// - Largest error seen, in ulp, float and double: softplus, log_sigmoid, logit < 2; sigmoid, log1mexp < 2.5;
/// normal_pdf < 3;
///   erfc, log_cosh, normal_cdf, normal_log_cdf < 8.
/// - Each docstring gives the derivative, as losses use it.
namespace valence {

namespace detail {

/// An Eigen array, matrix, vector, map or expression of them.
template <class A>
concept DenseArray = requires { typename A::PlainObject; } && std::is_base_of_v<Eigen::DenseBase<A>, A>;

/// `f` on the first `count` < lane_count numbers from `in`. The rest of the lanes hold zeros, which harm nobody.
template <class T, class F>
void apply_tail(const scalar_t<T>* in, scalar_t<T>* out, std::size_t count, F& f) {
  T x{};
  std::memcpy(&x, in, count * sizeof(scalar_t<T>));
  const T y = f(x);
  std::memcpy(out, &y, count * sizeof(scalar_t<T>));
}

template <class S, class F>
void apply_lanes(const S* in, S* out, std::size_t n, F&& f) {
  using T = Lanes<S>;
  constexpr std::size_t width = lane_count<T>;
  std::size_t i = 0;
  for (; i + width <= n; i += width) store<T>(out + i, f(load<T>(in + i)));
  if constexpr (width > 1)
    if (i < n) apply_tail<T>(in + i, out + i, n - i, f);
}

/// A plain copy of `x` with `f` applied to each entry.
template <class A, class F>
typename A::PlainObject mapped(const A& x, F&& f) {
  typename A::PlainObject y = x;
  apply_lanes(y.data(), y.data(), static_cast<std::size_t>(y.size()), f);
  return y;
}

}  // namespace detail

/// out[i] = f(in[i]), several numbers at a time: `f` is called on `Lanes<S>`. `out` may be `in`; other overlaps are not
/// allowed. Throws if the sizes differ.
///
///     apply_lanes<double>(x, y, [](auto v) { return softplus(v) * 2.0; });
template <Scalar S, class F>
void apply_lanes(std::span<const S> in, std::span<S> out, F&& f) {
  check_size("apply_lanes", "out", out.size(), in.size());
  detail::apply_lanes(in.data(), out.data(), in.size(), f);
}

/// A function's value and its derivative with respect to its argument.
template <class T>
struct ValueAndSlope {
  T value, slope;
};

/// log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)). Derivative: `sigmoid(x)`. softplus(-inf) = 0, softplus(inf) = inf.
template <Lane T>
[[gnu::always_inline]] inline T softplus(T x) {
  return (elementary::max)(x, T{}) + detail::log1p_unit(elementary::exp(-elementary::abs(x)));
}
template <detail::DenseArray A>
auto softplus(const A& x) {
  return detail::mapped(x, [](auto v) { return valence::softplus(v); });
}

/// softplus and its derivative, the logistic function, from one exponential and one division.
template <Lane T>
[[gnu::always_inline]] inline ValueAndSlope<T> softplus_and_slope(T x) {
  const T e = elementary::exp(-elementary::abs(x));
  const T numerator = elementary::select(x < T{}, e, splat<T>(1));
  return {(elementary::max)(x, T{}) + detail::log1p_unit(e), numerator / (e + scalar_t<T>(1))};
}

/// log(1 / (1 + exp(-x))) = -softplus(-x). Derivative: `sigmoid(-x)`.
template <Lane T>
[[gnu::always_inline]] inline T log_sigmoid(T x) {
  return -valence::softplus(-x);
}
template <detail::DenseArray A>
auto log_sigmoid(const A& x) {
  return detail::mapped(x, [](auto v) { return valence::log_sigmoid(v); });
}

/// The logistic function 1 / (1 + exp(-x)), with full relative accuracy in both tails. Derivative: `sigmoid(x)
/// sigmoid(-x)`.
template <Lane T>
[[gnu::always_inline]] inline T sigmoid(T x) {
  const T e = elementary::exp(-elementary::abs(x));
  return elementary::select(x < T{}, e, splat<T>(1)) / (e + scalar_t<T>(1));
}
template <detail::DenseArray A>
auto sigmoid(const A& x) {
  return detail::mapped(x, [](auto v) { return valence::sigmoid(v); });
}

/// log(p / (1 - p)) for p in [0, 1], with full relative accuracy at 1/2 and at 0. Derivative: 1 / (p (1 - p)).
/// logit(0) = -inf, logit(1) = inf, NaN outside.
template <Lane T>
[[gnu::always_inline]] inline T logit(T p) {
  using S = scalar_t<T>;
  const T smaller = (elementary::min)(p, S(1) - p), m = elementary::abs(smaller);  // abs: logit(-0.0) is -inf, too
  // log1p((1 - 2 m) / m), where the quotient of a very small m would overflow: scale it, and 1 + q = q there.
  const auto deep = m < (std::numeric_limits<S>::min)() * S(0x1p24);
  const T scaled = m * elementary::select(deep, splat<T>(S(0x1p60)), splat<T>(1));
  const T q = (S(1) - (m + m)) / scaled;
  const T size = elementary::log1p(q) + elementary::select(deep, splat<T>(S(60 * 0.69314718055994530942L)), T{});
  const T y = elementary::select(smaller < S(0), splat<T>(std::numeric_limits<S>::quiet_NaN()), size);
  return elementary::select(p < S(0.5), -y, y);
}
template <detail::DenseArray A>
auto logit(const A& p) {
  return detail::mapped(p, [](auto v) { return valence::logit(v); });
}

/// log(1 - exp(x)) for x <= 0: the log-probability of the complement. Derivative: -1 / expm1(-x).
/// log1mexp(0) = -inf (a boundary that can't use it must refuse 0), log1mexp(-inf) = 0, NaN for x > 0.
/// Mächler, "Accurately computing log(1 - exp(-|a|))" (2012): log(-expm1(x)) above -log 2, log1p(-exp(x)) below.
template <Lane T>
[[gnu::always_inline]] inline T log1mexp(T x) {
  using S = scalar_t<T>;
  return elementary::select(x > S(-0.69314718055994530942L), elementary::log(-elementary::expm1(x)),
                            elementary::log1p(-elementary::exp(x)));
}
template <detail::DenseArray A>
auto log1mexp(const A& x) {
  return detail::mapped(x, [](auto v) { return valence::log1mexp(v); });
}

/// log(exp(a) + exp(b)). Derivatives: `sigmoid(a - b)` and `sigmoid(b - a)`. Of two minus infinities: -inf.
template <Lane T>
[[gnu::always_inline]] inline T log_add_exp(T a, T b) {
  const T distance = elementary::select(a == b, T{}, elementary::abs(a - b));  // inf - inf is 0 here
  return (elementary::max)(a, b) + detail::log1p_unit(elementary::exp(-distance));
}

/// log(cosh(x)), with full relative accuracy at 0, where it is x^2 / 2. Derivative: tanh(x). log_cosh(+-inf) = inf.
template <Lane T>
[[gnu::always_inline]] inline T log_cosh(T x) {
  using S = scalar_t<T>;
  const T a = elementary::abs(x);
  const T m = elementary::expm1(-a), e = m + S(1);
  // cosh(a) - 1 = m^2 / (2 (1 + m)) with m = expm1(-a); away from 0, log(cosh(a)) = a - log 2 + log1p(exp(-2 a)).
  const auto near_zero = a < S(1);
  const T argument = elementary::select(near_zero, (m * m) / (e + e), e * e);
  return detail::rounded(detail::log1p_unit(argument)) +
         elementary::select(near_zero, T{}, a - S(0.69314718055994530942L));
}
template <detail::DenseArray A>
auto log_cosh(const A& x) {
  return detail::mapped(x, [](auto v) { return valence::log_cosh(v); });
}

/// Huber's loss (1964): x^2 / 2 for |x| <= delta, delta (|x| - delta / 2) beyond; delta > 0. Derivative:
/// `huber_derivative`.
template <Lane T>
[[gnu::always_inline]] inline T huber(T x, std::type_identity_t<scalar_t<T>> delta = 1) {
  const T a = elementary::abs(x);
  const T held = (elementary::min)(a, splat<T>(delta));
  return held * (a - held * scalar_t<T>(0.5));
}
template <detail::DenseArray A>
auto huber(const A& x, std::type_identity_t<typename A::Scalar> delta = 1) {
  check_positive("huber", "delta", delta);
  return detail::mapped(x, [delta](auto v) { return valence::huber(v, delta); });
}

/// x held in [-delta, delta].
template <Lane T>
[[gnu::always_inline]] inline T huber_derivative(T x, std::type_identity_t<scalar_t<T>> delta = 1) {
  return elementary::clamp(x, splat<T>(-delta), splat<T>(delta));
}
template <detail::DenseArray A>
auto huber_derivative(const A& x, std::type_identity_t<typename A::Scalar> delta = 1) {
  check_positive("huber_derivative", "delta", delta);
  return detail::mapped(x, [delta](auto v) { return valence::huber_derivative(v, delta); });
}

/// x log(y), and 0 where x is 0 (unless y is NaN): the term of an entropy. Derivatives: log(y) and x / y.
template <Lane T>
[[gnu::always_inline]] inline T xlogy(T x, T y) {
  const T product = x * elementary::log(y);
  return elementary::select(x == T{}, elementary::select(y == y, T{}, y), product);
}
template <detail::DenseArray A, detail::DenseArray B>
auto xlogy(const A& x, const B& y) {
  check_shape("xlogy", "y", y.rows(), y.cols(), x.rows(), x.cols());
  using S = typename A::Scalar;
  using T = Lanes<S>;
  typename A::PlainObject a = x;
  const typename B::PlainObject b = y;
  static_assert(bool(A::PlainObject::IsRowMajor) == bool(B::PlainObject::IsRowMajor), "xlogy: storage orders differ");
  const auto n = static_cast<std::size_t>(a.size());
  constexpr std::size_t width = lane_count<T>;
  std::size_t i = 0;
  for (; i + width <= n; i += width)
    store<T>(a.data() + i, valence::xlogy(load<T>(a.data() + i), load<T>(b.data() + i)));
  if constexpr (width > 1) {
    if (i < n) {
      T rest{};
      std::memcpy(&rest, b.data() + i, (n - i) * sizeof(S));
      auto f = [rest](T v) { return valence::xlogy(v, rest); };
      detail::apply_tail<T>(a.data() + i, a.data() + i, n - i, f);
    }
  }
  return a;
}

/// The error function and its complement (see core/elementary.hpp). Derivatives: +-2 / sqrt(pi) exp(-x^2).
template <Lane T>
[[gnu::always_inline]] inline T erf(T x) {
  return elementary::erf(x);
}
template <detail::DenseArray A>
auto erf(const A& x) {
  return detail::mapped(x, [](auto v) { return elementary::erf(v); });
}
template <Lane T>
[[gnu::always_inline]] inline T erfc(T x) {
  return elementary::erfc(x);
}
template <detail::DenseArray A>
auto erfc(const A& x) {
  return detail::mapped(x, [](auto v) { return elementary::erfc(v); });
}

/// The standard normal density exp(-x^2 / 2) / sqrt(2 pi). Derivative: -x normal_pdf(x).
template <Lane T>
[[gnu::always_inline]] inline T normal_pdf(T x) {
  using S = scalar_t<T>;
  if constexpr (std::is_same_v<T, long double>) {
    return elementary::exp(-x * x / 2) * 0.398942280401432677939946L;
  } else {
    const T held = (elementary::min)(elementary::abs(x), splat<T>(60));
    return detail::exp_minus_square(held, S(0.5)) * S(0.39894228040143267794);
  }
}
template <detail::DenseArray A>
auto normal_pdf(const A& x) {
  return detail::mapped(x, [](auto v) { return valence::normal_pdf(v); });
}

/// log(normal_pdf(x)) = -x^2 / 2 - log(2 pi) / 2. Derivative: -x.
template <Lane T>
[[gnu::always_inline]] inline T normal_log_pdf(T x) {
  return (x * scalar_t<T>(-0.5)) * x - scalar_t<T>(0.91893853320467274178L);
}
template <detail::DenseArray A>
auto normal_log_pdf(const A& x) {
  return detail::mapped(x, [](auto v) { return valence::normal_log_pdf(v); });
}

namespace detail {

/// The normal probability above x >= 0.707, as a factor exp(-x^2 / 2) and the rest, which never underflows.
template <class T>
[[gnu::always_inline]] inline T normal_tail_scaled(T x) {
  using S = scalar_t<T>;
  if constexpr (std::is_same_v<T, long double>) {
    // erfc underflows long after double does; its asymptotic series serves beyond.
    const T z = x * 0.707106781186547524400844L;
    if (z < 50) return std::erfc(z) * std::exp(z * z) / 2;
    const T w = 1 / (2 * z * z);
    return (1 - w * (1 - 3 * w * (1 - 5 * w * (1 - 7 * w)))) / (z * 3.54490770181103205459633L);
  } else {
    return erfcx_kernel(x * S(0.70710678118654752440)) * S(0.5);
  }
}

}  // namespace detail

/// The standard normal distribution function, with full relative accuracy in the lower tail. Derivative:
/// `normal_pdf(x)`.
template <Lane T>
[[gnu::always_inline]] inline T normal_cdf(T x) {
  using S = scalar_t<T>;
  if constexpr (std::is_same_v<T, long double>) {
    return std::erfc(x * -0.707106781186547524400844L) / 2;
  } else {
    const T a = elementary::abs(x);
    const T held = (elementary::min)(a, splat<T>(60));
    const T tail = detail::rounded(detail::normal_tail_scaled(held) * detail::exp_minus_square(held, S(0.5)));
    const T near_zero = detail::rounded(detail::erf_kernel(x * S(0.70710678118654752440))) * S(0.5) + S(0.5);
    return elementary::select(a < S(0.7072), near_zero, elementary::select(x < S(0), tail, S(1) - tail));
  }
}
template <detail::DenseArray A>
auto normal_cdf(const A& x) {
  return detail::mapped(x, [](auto v) { return valence::normal_cdf(v); });
}

/// log(normal_cdf(x)), finite wherever -x^2 / 2 is. Derivative: exp(normal_log_pdf(x) - normal_log_cdf(x)).
template <Lane T>
[[gnu::always_inline]] inline T normal_log_cdf(T x) {
  using S = scalar_t<T>;
  const auto lower = x < S(-0.7072);
  if constexpr (std::is_same_v<T, long double>) {
    return lower ? std::log(detail::normal_tail_scaled(-x)) - x * x / 2 : std::log1p(-valence::normal_cdf(-x));
  } else {
    const T above = -valence::normal_cdf(-x);  // minus the probability above x
    const T u = above + S(1);
    const T complement = above - (u - S(1));
    const T scaled = detail::normal_tail_scaled(elementary::abs(x));
    const T y = detail::log_of_sum(elementary::select(lower, scaled, u), elementary::select(lower, T{}, complement));
    return detail::rounded(y) + elementary::select(lower, detail::rounded((x * S(-0.5)) * x), T{});
  }
}
template <detail::DenseArray A>
auto normal_log_cdf(const A& x) {
  return detail::mapped(x, [](auto v) { return valence::normal_log_cdf(v); });
}

/// The x with normal_cdf(x) = p, for p in [0, 1]; NaN outside. normal_quantile(0) = -inf, (1) = inf. Relative error
/// about 1e-15 in double. Derivative: 1 / normal_pdf(normal_quantile(p)). Wichura, "Algorithm AS 241: The percentage
/// points of the normal distribution", Applied Statistics 37 (1988), PPND16.
template <Lane T>
[[gnu::always_inline]] inline T normal_quantile(T p) {
  using S = scalar_t<T>;
  const T q = p - S(0.5);
  const T z = S(0.180625) - detail::rounded(q * q);
  const T central =
      q *
      detail::polynomial(z, S(3.3871328727963666080e0), S(1.3314166789178437745e+2), S(1.9715909503065514427e+3),
                         S(1.3731693765509461125e+4), S(4.5921953931549871457e+4), S(6.7265770927008700853e+4),
                         S(3.3430575583588128105e+4), S(2.5090809287301226727e+3)) /
      detail::polynomial(z, S(1), S(4.2313330701600911252e+1), S(6.8718700749205790830e+2), S(5.3941960214247511077e+3),
                         S(2.1213794301586595867e+4), S(3.9307895800092710610e+4), S(2.8729085735721942674e+4),
                         S(5.2264952788528545610e+3));
  const T smaller = elementary::select(q < S(0), p, S(1) - p);
  const T r = elementary::sqrt(-elementary::log(smaller));
  const T m = r - S(1.6), f = r - S(5);
  const T middle =
      detail::polynomial(m, S(1.42343711074968357734e0), S(4.63033784615654529590e0), S(5.76949722146069140550e0),
                         S(3.64784832476320460504e0), S(1.27045825245236838258e0), S(2.41780725177450611770e-1),
                         S(2.27238449892691845833e-2), S(7.74545014278341407640e-4)) /
      detail::polynomial(m, S(1), S(2.05319162663775882187e0), S(1.67638483018380384940e0),
                         S(6.89767334985100004550e-1), S(1.48103976427480074590e-1), S(1.51986665636164571966e-2),
                         S(5.47593808499534494600e-4), S(1.05075007164441684324e-9));
  const T distant =
      detail::polynomial(f, S(6.65790464350110377720e0), S(5.46378491116411436990e0), S(1.78482653991729133580e0),
                         S(2.96560571828504891230e-1), S(2.65321895265761230930e-2), S(1.24266094738807843860e-3),
                         S(2.71155556874348757815e-5), S(2.01033439929228813265e-7)) /
      detail::polynomial(f, S(1), S(5.99832206555887937690e-1), S(1.36929880922735805310e-1),
                         S(1.48753612908506148525e-2), S(7.86869131145613259100e-4), S(1.84631831751005468180e-5),
                         S(1.42151175831644588870e-7), S(2.04426310338993978564e-15));
  const T tail = elementary::select(r < S(5), middle, distant);
  const T limit = elementary::select(smaller == S(0), splat<T>(std::numeric_limits<S>::infinity()), tail);
  return elementary::select(elementary::abs(q) <= S(0.425), central, elementary::copysign(limit, q));
}
template <detail::DenseArray A>
auto normal_quantile(const A& p) {
  return detail::mapped(p, [](auto v) { return valence::normal_quantile(v); });
}

namespace detail {

/// Reductions keep this many partial results, whatever the width of the lanes is, and combine them in one order: the
/// same bits with and without lanes.
template <class S>
inline constexpr std::size_t slot_count = sizeof(S) == 4 ? 16 : 8;

template <class S>
struct Slots {
  using T = Lanes<S>;
  static constexpr std::size_t width = lane_count<T>, registers = slot_count<S> / width;
  alignas(64) T values[registers];  // whatever T is: no macro changes the layout

  explicit Slots(S x) {
    for (T& v : values) v = splat<T>(x);
  }

  /// values = f(values, x) over all of x; the last slots are filled with `padding`.
  template <class F>
  void accumulate(std::span<const S> x, S padding, F f) {
    std::size_t i = 0;
    for (; i + slot_count<S> <= x.size(); i += slot_count<S>)
      for (std::size_t j = 0; j < registers; ++j) values[j] = f(values[j], load<T>(x.data() + i + j * width));
    if (i < x.size()) {
      S rest[slot_count<S>];
      for (S& r : rest) r = padding;
      std::memcpy(rest, x.data() + i, (x.size() - i) * sizeof(S));
      for (std::size_t j = 0; j < registers; ++j) values[j] = f(values[j], load<T>(rest + j * width));
    }
  }

  template <class F>
  S combine(F f) const {
    S v[slot_count<S>];
    std::memcpy(v, values, sizeof(v));
    for (std::size_t half = slot_count<S> / 2; half > 0; half /= 2)
      for (std::size_t i = 0; i < half; ++i) v[i] = f(v[i], v[i + half]);
    return v[0];
  }
};

/// The largest entry; NaN if one is; -inf of nothing.
template <class S>
S largest(std::span<const S> x) {
  constexpr S low = -std::numeric_limits<S>::infinity();
  Slots<S> slots(low);
  slots.accumulate(x, low, [](auto a, auto b) { return (elementary::max)(a, b); });
  return slots.combine([](S a, S b) { return (elementary::max)(a, b); });
}

/// x - top, where an infinity equal to `top` is at distance 0.
template <class T>
[[gnu::always_inline]] inline T below_top(T x, scalar_t<T> top) {
  return elementary::select(x == top, T{}, x - top);
}

/// The sum of exp(x - top).
template <class S>
S sum_exp(std::span<const S> x, S top) {
  Slots<S> slots(S(0));
  // No padding of x serves here (-inf is at distance 0 where top is -inf), so pad the exponentials.
  const std::size_t whole = x.size() / slot_count<S> * slot_count<S>;
  slots.accumulate(x.first(whole), S(0), [top](auto sum, auto v) { return sum + elementary::exp(below_top(v, top)); });
  if (whole < x.size()) {
    S rest[slot_count<S>] = {};
    apply_lanes(x.data() + whole, rest, x.size() - whole, [top](auto v) { return elementary::exp(below_top(v, top)); });
    slots.accumulate(std::span<const S>(rest), S(0), [](auto sum, auto v) { return sum + v; });
  }
  return slots.combine([](S a, S b) { return a + b; });
}

template <class S>
S log_sum_exp(std::span<const S> x) {
  const S top = largest(x);
  return top + elementary::log(sum_exp(x, top));
}

template <class S>
void softmax(std::span<const S> x, std::span<S> out) {
  const S top = largest(x);
  // All -inf: every action is masked, and no distribution is left.
  const S shift = top == -std::numeric_limits<S>::infinity() ? std::numeric_limits<S>::quiet_NaN() : top;
  const S sum = sum_exp(x, shift);
  apply_lanes(x.data(), out.data(), x.size(),
              [shift, sum](auto v) { return elementary::exp(below_top(v, shift)) / sum; });
}

template <class S>
void log_softmax(std::span<const S> x, std::span<S> out) {
  const S top = largest(x);
  const S shift = top == -std::numeric_limits<S>::infinity() ? std::numeric_limits<S>::quiet_NaN() : top;
  const S log_sum = elementary::log(sum_exp(x, shift));
  apply_lanes(x.data(), out.data(), x.size(), [shift, log_sum](auto v) { return below_top(v, shift) - log_sum; });
}

/// `f(span, span)` on a plain copy of `x`: on all of a vector, on each column of a matrix (one sample a column).
template <class A, class F>
typename A::PlainObject mapped_columns(const A& x, F f) {
  using Plain = typename A::PlainObject;
  using S = typename A::Scalar;
  Plain y = x;
  if constexpr (A::IsVectorAtCompileTime) {
    const std::span<S> all(y.data(), static_cast<std::size_t>(y.size()));
    f(std::span<const S>(all), all);
  } else if constexpr (!Plain::IsRowMajor) {
    for (Eigen::Index j = 0; j < y.cols(); ++j) {
      const std::span<S> column(y.data() + j * y.rows(), static_cast<std::size_t>(y.rows()));
      f(std::span<const S>(column), column);
    }
  } else {
    Vector<S> column(y.rows());
    for (Eigen::Index j = 0; j < y.cols(); ++j) {
      for (Eigen::Index i = 0; i < y.rows(); ++i) column(i) = y(i, j);
      f(std::span<const S>(view(std::as_const(column))), view(column));
      for (Eigen::Index i = 0; i < y.rows(); ++i) y(i, j) = column(i);
    }
  }
  return y;
}

}  // namespace detail

/// log(sum of exp(x_i)), shifted by the largest entry. Of nothing, or of nothing but -inf: -inf; with a +inf: inf; with
/// a NaN: NaN. Gradient: `softmax(x)`. Bit-equal with and without lanes.
template <Scalar S>
S log_sum_exp(std::span<const S> x) {
  return detail::log_sum_exp(x);
}
template <Scalar S>
S log_sum_exp(std::span<S> x) {
  return detail::log_sum_exp(std::span<const S>(x));
}
/// Of all entries of a vector.
template <detail::DenseArray A>
typename A::Scalar log_sum_exp(const A& x) {
  static_assert(A::IsVectorAtCompileTime, "valence: log_sum_exp takes a vector; call it on each column of a matrix");
  const typename A::PlainObject plain = x;
  return detail::log_sum_exp(view(plain));
}

/// out_i = exp(x_i) / sum of exp(x_j). Entries of -inf get 0 (a masked action); entries of +inf share everything. All
/// NaN if an entry is NaN or all are -inf. `out` may be `x`; throws if the sizes differ. Pullback: out_i (d_i - sum_j
/// out_j d_j).
template <Scalar S>
void softmax(std::span<const S> x, std::span<std::type_identity_t<S>> out) {
  check_size("softmax", "out", out.size(), x.size());
  detail::softmax(x, out);
}
template <Scalar S>
void softmax(std::span<S> x, std::span<std::type_identity_t<S>> out) {
  valence::softmax(std::span<const S>(x), out);
}
/// Of a vector, or of each column of a matrix.
template <detail::DenseArray A>
auto softmax(const A& x) {
  using S = typename A::Scalar;
  return detail::mapped_columns(x, [](std::span<const S> in, std::span<S> out) { detail::softmax(in, out); });
}

/// out_i = x_i - log_sum_exp(x), with the conventions of `softmax`. Pullback: d_i - softmax_i sum_j d_j.
template <Scalar S>
void log_softmax(std::span<const S> x, std::span<std::type_identity_t<S>> out) {
  check_size("log_softmax", "out", out.size(), x.size());
  detail::log_softmax(x, out);
}
template <Scalar S>
void log_softmax(std::span<S> x, std::span<std::type_identity_t<S>> out) {
  valence::log_softmax(std::span<const S>(x), out);
}
template <detail::DenseArray A>
auto log_softmax(const A& x) {
  using S = typename A::Scalar;
  return detail::mapped_columns(x, [](std::span<const S> in, std::span<S> out) { detail::log_softmax(in, out); });
}

/// The index of the largest entry, the first one of ties. A NaN counts as largest, so that it is not passed over: the
/// index of the first NaN. Throws if `x` is empty.
template <Scalar S>
std::size_t argmax(std::span<const S> x) {
  if (x.empty()) fail("argmax", "x is empty; expected at least one entry");
  std::size_t best = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] != x[i]) return i;
    if (x[i] > x[best]) best = i;
  }
  return best;
}
template <Scalar S>
std::size_t argmax(std::span<S> x) {
  return valence::argmax(std::span<const S>(x));
}
template <detail::DenseArray A>
std::size_t argmax(const A& x) {
  static_assert(A::IsVectorAtCompileTime, "valence: argmax takes a vector; call it on each column of a matrix");
  const typename A::PlainObject plain = x;
  return valence::argmax(view(plain));
}

}  // namespace valence
