#pragma once

#include <cstddef>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/lanes.hpp"

/// The logistic function and the logarithm that goes with it, in one go: the heart of most preference losses.
namespace valence::detail {

/// max(x, 0), for finite x.
template <class T>
[[gnu::always_inline]] inline T positive_part(T x) {
  return elementary::select(x > T{}, x, T{});
}

/// exp(-a) for a >= 0; 0 from where it would be subnormal (a > 87.3 in float, 708.3 in double). What `elementary::exp`
/// spends on overflow and gradual underflow is saved.
template <class T>
[[gnu::always_inline]] inline T exp_of_minus(T a) {
  using S = scalar_t<T>;
  using F = Ieee<S>;
  using U = uint_t<T>;
  constexpr S deepest = std::is_same_v<S, float> ? S(87.33) : S(708.39);
  const T shifted = F::round_magic - a * S(1.4426950408889634074);
  const T n = shifted - F::round_magic;
  const T r = (T{} - a) - n * F::ln2_high - n * F::ln2_low;
  // (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2, Chebyshev interpolation: relative error of the whole 1e-8 and 2e-17
  T q;
  if constexpr (std::is_same_v<S, float>)
    q = polynomial(r, 0.5f, 0.1666657699f, 0.041666554617f, 0.0083631790527f, 0.0013926183588f);
  else
    q = polynomial(r, 0.50000000000000010221, 0.16666666666666667453, 0.041666666666624127873, 0.0083333333333300618325,
                   0.0013888888917213716901, 0.00019841269863053616878, 0.000024801521295954375131,
                   2.7557268459997064772e-6, 2.7620088445409748161e-7, 2.5100385495510319078e-8);
  const T p = ((r * r) * q + r) + S(1);
  const T scale = bits_as<T>(U((bits_as<U>(shifted) + typename F::Bits(F::bias)) << F::mantissa_bits));
  return elementary::select(a > splat<T>(deepest), T{}, p * scale);
}

/// What the logistic function is made of at z, from one exponential e = exp(-|z|) and one division.
template <class T>
struct LogisticParts {
  T tail;   ///< log(1 + e): log(1 + exp(z)) = max(z, 0) + tail
  T minus;  ///< sigma(-z)
  T plus;   ///< sigma(z)
};

/// Relative error at most 5e-16 in double and 3e-7 in float, of tiny results too. z finite.
template <class T>
[[gnu::always_inline]] inline LogisticParts<T> logistic_parts(T z) {
  using S = scalar_t<T>;
  if constexpr (std::is_same_v<S, long double>) {
    const T e = elementary::exp(-elementary::abs(z)), greater = 1 / (1 + e), lesser = e * greater;
    return {elementary::log1p(e), z > 0 ? lesser : greater, z > 0 ? greater : lesser};
  } else {
    const T e = exp_of_minus(elementary::abs(rounded(z)));
    const T one = e + S(1), two = e + S(2);
    const T inverse = S(1) / (one * two);
    const T greater = rounded(two * inverse), lesser = rounded(e * greater);  // 1 / (1 + e), e / (1 + e)
    // log(1 + e) = 2 artanh(s) = e - s (e - w p(w)) with s = e / (2 + e) and w = s^2 <= 1/9.
    const T s = e * rounded(one * inverse);
    const T w = rounded(s * s);
    T p;
    if constexpr (std::is_same_v<S, float>)
      p = polynomial(w, 0.66666640337f, 0.40007560645f, 0.28236619797f, 0.26851498068f);
    else
      p = polynomial(w, 0.66666666666666968552, 0.39999999999560128534, 0.28571428676661017932, 0.22222212557928412213,
                     0.18182261108458869363, 0.15373274875690587356, 0.13502342478239341655, 0.10322669237101653938,
                     0.16870700733931076488);
    const T tail = rounded(e - s * (e - w * p));
    const auto positive = z > T{};
    return {tail, elementary::select(positive, lesser, greater), elementary::select(positive, greater, lesser)};
  }
}

}  // namespace valence::detail
