#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "valence/core/lanes.hpp"

/// The elementary functions, one body each for a scalar and for lanes (see core/lanes.hpp): strict arithmetic, no
/// table, no branch, no call, so a kernel written over them runs at the speed of the vector unit without `-ffast-math`.
///
/// Conventions
/// - `T` is `float`, `double`, lanes of them, or `long double` (which goes to the standard library). Float stays float.
/// - Accuracy in units in the last place (ulp), largest error seen against 80-bit arithmetic
/// (tests/core/elementary_test.cpp
///   measures it): exp, log, log1p, expm1, tanh, erf < 1.5; erfc < 7.
/// - IEEE limits: NaN gives NaN, exp(710) = inf, exp(-746) = 0 with gradual underflow between, log(0) = -inf, log(-1) =
/// NaN.
///   Subnormal arguments and results are right. errno is never touched.
/// - The value at an element does not depend on its neighbours, its lane, or the width of the lanes: scalar and lanes
/// are equal
///   to the bit. Compilers that contract `a * b + c` into a fused multiply-add may do so in both alike: wherever two
///   products meet in one sum, `detail::rounded` says which one is rounded. So bits may differ between targets, not
///   within a program.
namespace valence {

namespace detail {

template <class T>
struct IsLane : std::bool_constant<std::is_floating_point_v<T>> {};
#if VALENCE_VECTOR_EXTENSIONS
template <>
struct IsLane<LanesOf<float, 16>::type> : std::true_type {};
template <>
struct IsLane<LanesOf<float, 32>::type> : std::true_type {};
template <>
struct IsLane<LanesOf<float, 64>::type> : std::true_type {};
template <>
struct IsLane<LanesOf<double, 16>::type> : std::true_type {};
template <>
struct IsLane<LanesOf<double, 32>::type> : std::true_type {};
template <>
struct IsLane<LanesOf<double, 64>::type> : std::true_type {};
#endif

/// The value `x`, rounded to its type before anything else uses it. GCC contracts products and sums across statements
/// and function bounds; Clang only inside one expression, so a call is enough there. An empty asm costs no instruction
/// (the builtin is for scalars only: GCC 12 takes lanes apart for it).
template <class T>
[[gnu::always_inline]] inline T rounded(T x) {
#if defined(__GNUC__) && !defined(__clang__)
  if constexpr (std::is_arithmetic_v<T>) {
#if __GNUC__ >= 12
    return __builtin_assoc_barrier(x);
#endif
  } else {
#if defined(__AVX512F__)
    __asm__("" : "+v"(x));
#elif defined(__SSE2__)
    __asm__("" : "+x"(x));
#elif defined(__aarch64__)
    __asm__("" : "+w"(x));
#endif
  }
#endif
  return x;
}

/// The layout of an IEEE number, and the constants of argument reduction by ln 2. `ln2_high` has so many trailing zeros
/// that its product with any exponent is exact (Cody and Waite).
template <class S>
struct Ieee;
template <>
struct Ieee<double> {
  using Bits = std::uint64_t;
  static constexpr int mantissa_bits = 52;
  static constexpr Bits bias = 1023;
  static constexpr Bits mantissa = 0x000fffffffffffffu;
  static constexpr Bits sign = 0x8000000000000000u;
  static constexpr Bits one = 0x3ff0000000000000u;
  static constexpr Bits sqrt_half = 0x3fe6a09e667f3bcdu;
  static constexpr Bits half_mantissa = 0xfffffffff8000000u;  // keeps so many bits that their square is exact
  static constexpr double two_mantissa = 0x1p52;
  static constexpr double round_magic = 0x1.8p52;  // adding it rounds to an integer, which is then in the low bits
  static constexpr double ln2_high = 0x1.62e42fefa3000p-1;
  static constexpr double ln2_low = 2.8235290563031577e-13;
  static constexpr double exp_low = -746, exp_normal = -707, exp_high = 710;
  static constexpr double tiny = 0x1p-54;  // below it 1 + x rounds to 1
  static constexpr double normal_scale = 0x1p54, normal_exponent = 54;
};
template <>
struct Ieee<float> {
  using Bits = std::uint32_t;
  static constexpr int mantissa_bits = 23;
  static constexpr Bits bias = 127;
  static constexpr Bits mantissa = 0x007fffffu;
  static constexpr Bits sign = 0x80000000u;
  static constexpr Bits one = 0x3f800000u;
  static constexpr Bits sqrt_half = 0x3f3504f3u;
  static constexpr Bits half_mantissa = 0xfffff000u;
  static constexpr float two_mantissa = 0x1p23f;
  static constexpr float round_magic = 0x1.8p23f;
  static constexpr float ln2_high = 0.693145751953125f;
  static constexpr float ln2_low = 1.42860682e-6f;
  static constexpr float exp_low = -105, exp_normal = -86, exp_high = 89;
  static constexpr float tiny = 0x1p-25f;
  static constexpr float normal_scale = 0x1p25f, normal_exponent = 25;
};

/// c0 + c1 x + c2 x^2 + ... by Horner's rule.
template <class T>
[[gnu::always_inline]] inline T polynomial(T, std::type_identity_t<scalar_t<T>> c) {
  return splat<T>(c);
}
template <class T, class... Cs>
[[gnu::always_inline]] inline T polynomial(T x, std::type_identity_t<scalar_t<T>> c, Cs... cs) {
  return polynomial(x, cs...) * x + c;
}

}  // namespace detail

/// What the elementary functions take: a floating-point number or lanes of float or double.
template <class T>
concept Lane = detail::IsLane<T>::value;

namespace elementary {

/// `mask ? a : b`, number by number; `mask` is what a comparison of two `T` gives. Both sides are evaluated.
template <class M, class T>
[[gnu::always_inline]] inline T select(M mask, T a, T b) {
  if constexpr (!std::is_same_v<M, bool>) {
    return mask ? a : b;
  } else if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
    // Without a branch, as in lanes: what stands before and after stays one basic block, contracted alike.
    using B = typename detail::Ieee<T>::Bits;
    const B m = B(0) - static_cast<B>(mask);
    return bits_as<T>((bits_as<B>(a) & m) | (bits_as<B>(b) & ~m));
  } else {
    return mask ? a : b;
  }
}

/// Is it NaN? A mask.
template <Lane T>
[[gnu::always_inline]] inline auto is_nan(T x) {
  return x != x;
}

/// The larger of the two; NaN if either is NaN, in either place (unlike `a > b ? a : b`). Zeros of either sign are
/// equal.
template <Lane T>
[[gnu::always_inline]] inline T(max)(T a, T b) {
  return elementary::select(a != a, a, elementary::select(a > b, a, b));
}

/// The smaller of the two; NaN if either is NaN.
template <Lane T>
[[gnu::always_inline]] inline T(min)(T a, T b) {
  return elementary::select(a != a, a, elementary::select(a < b, a, b));
}

/// `x` held in [low, high], `low <= high`; NaN if any is NaN.
template <Lane T>
[[gnu::always_inline]] inline T clamp(T x, T low, T high) {
  return (elementary::min)((elementary::max)(x, low), high);
}

/// |x|: the sign bit cleared, also of NaN.
template <Lane T>
[[gnu::always_inline]] inline T abs(T x) {
  if constexpr (std::is_same_v<T, long double>)
    return std::fabs(x);
  else
    return bits_as<T>(bits_as<uint_t<T>>(x) & ~detail::Ieee<scalar_t<T>>::sign);
}

/// The magnitude of `x` with the sign of `sign`.
template <Lane T>
[[gnu::always_inline]] inline T copysign(T x, T sign) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::copysign(x, sign);
  } else {
    constexpr auto bit = detail::Ieee<scalar_t<T>>::sign;
    return bits_as<T>((bits_as<uint_t<T>>(x) & ~bit) | (bits_as<uint_t<T>>(sign) & bit));
  }
}

/// The largest integer not above `x`. floor(-0.0) = -0.0.
template <Lane T>
[[gnu::always_inline]] inline T floor(T x) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::floor(x);
  } else {
    using F = detail::Ieee<scalar_t<T>>;
    const T a = elementary::abs(x);
    const T nearest = elementary::copysign((a + F::two_mantissa) - F::two_mantissa, x);
    const T below = elementary::select(nearest > x, nearest - scalar_t<T>(1), nearest);
    return elementary::select(a < F::two_mantissa, below, x);  // larger numbers are integers; NaN stays
  }
}

/// The square root, correctly rounded. NaN for x < 0.
template <Lane T>
[[gnu::always_inline]] inline T sqrt(T x) {
  if constexpr (lane_count<T> == 1) {
    return std::sqrt(x);
#if defined(__SSE2__) && VALENCE_VECTOR_EXTENSIONS
  } else if constexpr (sizeof(T) == 16) {  // a loop would test every element for errno
    if constexpr (std::is_same_v<scalar_t<T>, float>)
      return __builtin_ia32_sqrtps(x);
    else
      return __builtin_ia32_sqrtpd(x);
#if defined(__AVX__)
  } else if constexpr (sizeof(T) == 32) {
    if constexpr (std::is_same_v<scalar_t<T>, float>)
      return __builtin_ia32_sqrtps256(x);
    else
      return __builtin_ia32_sqrtpd256(x);
#if defined(__AVX512F__)
  } else if constexpr (sizeof(T) == 64) {
#if defined(__clang__)
    if constexpr (std::is_same_v<scalar_t<T>, float>)
      return __builtin_ia32_sqrtps512(x, 4);  // 4: the current rounding mode
    else
      return __builtin_ia32_sqrtpd512(x, 4);
#else
    if constexpr (std::is_same_v<scalar_t<T>, float>)
      return __builtin_ia32_sqrtps512_mask(x, x, static_cast<short>(-1), 4);
    else
      return __builtin_ia32_sqrtpd512_mask(x, x, static_cast<char>(-1), 4);
#endif
#else
  } else if constexpr (sizeof(T) == 64) {
    struct Halves {
      typename detail::LanesOf<scalar_t<T>, 32>::type low, high;
    };
    Halves h = bits_as<Halves>(x);
    h.low = elementary::sqrt(h.low);
    h.high = elementary::sqrt(h.high);
    return bits_as<T>(h);
#endif
#endif
#endif
  } else {
    for (std::size_t i = 0; i < lane_count<T>; ++i) x[i] = std::sqrt(x[i]);
    return x;
  }
}

}  // namespace elementary

namespace detail {

/// x = n ln 2 + r + c, |r| <= ln 2 / 2, and exp(r) = 1 + r + r^2 q. `scale * rescale = 2^n`, in two factors so that
/// 2^1024 and subnormal results come out with one rounding.
template <class T>
struct ExpParts {
  T r, q, scale, rescale, correction;
};

template <class T>
[[gnu::always_inline]] inline ExpParts<T> exp_parts(T x) {
  using S = scalar_t<T>;
  using F = Ieee<S>;
  using U = uint_t<T>;
  const auto deep = x < F::exp_normal;
  x = elementary::select(x < F::exp_low, splat<T>(F::exp_low), x);
  x = elementary::select(x > F::exp_high, splat<T>(F::exp_high), x);
  const T shifted = x * S(1.4426950408889634074) + F::round_magic;
  const T n = shifted - F::round_magic;
  const T r_high = x - n * F::ln2_high;
  const T r = r_high - n * F::ln2_low;
  const T correction = (r_high - r) - n * F::ln2_low;
  T q;  // (exp(r) - 1 - r) / r^2, Chebyshev interpolation
  if constexpr (std::is_same_v<S, float>)
    q = polynomial(r, 0.50000000135f, 0.16666666682f, 0.041666464602f, 0.0083333108896f, 0.0013933685863f,
                   0.00019891030654f);
  else
    q = polynomial(r, 0.5, 0.1666666666666667101, 0.04166666666666666977, 0.008333333333326112053,
                   0.001388888888888373183, 0.0001984126987490125923, 0.00002480158732560532278,
                   2.755725529796964439e-6, 2.755727357010213967e-7, 2.510525953844849342e-8, 2.091471734171637595e-9);
  using B = typename F::Bits;
  const U exponent =
      bits_as<U>(shifted) + elementary::select(deep, splat<U>(B(F::bias - 1 + 64)), splat<U>(B(F::bias - 1)));
  return {r, q, bits_as<T>(exponent << F::mantissa_bits),
          elementary::select(deep, splat<T>(S(0x1p-63)), splat<T>(S(2))), correction};
}

/// log((1 + f) 2^k) + c for 1 + f in [sqrt(1/2), sqrt(2)) and small c: with s = f / (2 + f),
/// log(1 + f) = 2 artanh(s) = f - s (f - R(s^2)).
template <class T>
[[gnu::always_inline]] inline T log_kernel(T f, T k, T c) {
  using S = scalar_t<T>;
  const T s = f / (f + S(2));
  const T z = rounded(s * s);
  T p;
  if constexpr (std::is_same_v<S, float>)
    p = polynomial(z, 0.66666685603f, 0.39988550989f, 0.29590317357f);
  else
    p = polynomial(z, 0.6666666666666669907, 0.3999999999989322176, 0.285714286288109956, 0.2222221067423851525,
                   0.1818292251351594163, 0.1533061730674330489, 0.1463003136412286047);
  const T low = k * Ieee<S>::ln2_low + c;
  return k * Ieee<S>::ln2_high + (f - (s * (f - z * p) - low));
}

/// u = 2^exponent (1 + f), u positive and normal; `biased` is the exponent with the bias, as an integer.
template <class T>
struct LogParts {
  T f, exponent;
  uint_t<T> biased;
};
template <class T>
[[gnu::always_inline]] inline LogParts<T> log_parts(T u) {
  using S = scalar_t<T>;
  using F = Ieee<S>;
  using U = uint_t<T>;
  using B = typename F::Bits;
  const U bits = bits_as<U>(u) + B(F::one - F::sqrt_half);
  const U biased = bits >> F::mantissa_bits;
  const T f = bits_as<T>(U((bits & F::mantissa) + F::sqrt_half)) - S(1);
  // An integer in the low bits of 2^mantissa_bits is a number: there is no instruction for it on lanes before AVX-512.
  constexpr B magic = (F::bias + B(F::mantissa_bits)) << F::mantissa_bits;
  const T exponent = bits_as<T>(U(biased | magic)) - (F::two_mantissa + S(F::bias));
  return {f, exponent, biased};
}

/// log(u + c), c being the rounding error of u: u >= tiny, c at most half an ulp of u.
template <class T>
[[gnu::always_inline]] inline T log_of_sum(T u, T c) {
  using S = scalar_t<T>;
  using F = Ieee<S>;
  using U = uint_t<T>;
  const LogParts<T> parts = log_parts(u);
  const T down = bits_as<T>(U((U{} + typename F::Bits(2 * F::bias)) - parts.biased) << F::mantissa_bits);  // 2^-k
  const T scaled = rounded(c * elementary::select(u < S(0x1p60), down, T{}));
  // c / m, m = 1 + f, to first order: c is tiny, so 1 - f is enough.
  return log_kernel(parts.f, parts.exponent, scaled - scaled * parts.f);
}

/// log(1 + x) for x in [0, 1] (or NaN): the hot half of softplus, without the cases that log1p has to look at.
template <class T>
[[gnu::always_inline]] inline T log1p_unit(T x) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::log1p(x);
  } else {
    const T u = x + scalar_t<T>(1);
    return log_of_sum(u, x - (u - scalar_t<T>(1)));
  }
}

/// erfc(x) exp(x^2) for x >= 1/2: a polynomial in t = 1 / (x + 5/2), scaled to [-1, 1]. erfcx(inf) = 0.
template <class T>
[[gnu::always_inline]] inline T erfcx_kernel(T x) {
  using S = scalar_t<T>;
  const T t = S(1) / (x + S(2.5));
  const T u = t * S(6) - S(1);
  if constexpr (std::is_same_v<S, float>)
    return t * polynomial(u, 0.9317619337f, 0.5558868404f, 0.2592691173f, 0.08707519999f, 0.01606596076f,
                          -0.001410618751f, -0.001599055039f, -0.0001293856498f, 0.0001444109661f, 1.869082674e-5f,
                          -1.206103261e-5f);
  else
    return t * polynomial(u, 0.931761933653365786, 0.555886868343723932, 0.259269099241470109, 0.0870746373692240135,
                          0.0160663258563289751, -0.00140742196116667191, -0.00160114367154236594,
                          -0.000136907263345263123, 0.000149394988743324447, 0.0000266878834198156822,
                          -0.0000175313687786233695, -3.46175263393780155e-6, 2.60633347507372343e-6,
                          3.27869036263012098e-7, -4.42078341850680851e-7, 4.30208256516180362e-9,
                          7.51672323425008794e-8, -1.42174342710083112e-8, -1.12236635600425412e-8,
                          4.82082072159607882e-9, 1.23584207466347976e-9, -9.77841824528756192e-10,
                          -7.08643290582266195e-11, 9.96253277510816534e-11);
}

/// x^2 = high + low, exactly.
template <class T>
struct Square {
  T high, low;
};
template <class T>
[[gnu::always_inline]] inline Square<T> exact_square(T x) {
  using U = uint_t<T>;
  const T high = rounded(x * x);
  const T a = bits_as<T>(U(bits_as<U>(x) & Ieee<scalar_t<T>>::half_mantissa)), b = x - a;
  const T ab = rounded(a * b * scalar_t<T>(2));
  return {high, ((a * a - high) + ab) + b * b};
}

}  // namespace detail

namespace elementary {

/// exp(x).
template <Lane T>
[[gnu::always_inline]] inline T exp(T x) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::exp(x);
  } else {
    const auto parts = detail::exp_parts(detail::rounded(x));
    const T p = ((parts.r * parts.r) * parts.q + parts.r) + scalar_t<T>(1);
    return detail::rounded((p * parts.scale) * parts.rescale);
  }
}

/// exp(x) - 1, without cancellation near 0.
template <Lane T>
[[gnu::always_inline]] inline T expm1(T x) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::expm1(x);
  } else {
    using S = scalar_t<T>;
    x = detail::rounded(x);
    const auto e = detail::exp_parts(x);
    const T z = (e.r * e.r) * e.q + e.correction;
    // (2^n (1 + r + z) - 1), halved so that 2^1024 fits. Deep arguments have another scale and are -1 anyway.
    const T y = ((e.scale * e.r + (e.scale - S(0.5))) + e.scale * z) * S(2);
    const T large = elementary::select(x < S(-50), splat<T>(S(-1)), y);
    return detail::rounded(elementary::select(elementary::abs(x) < detail::Ieee<S>::tiny, x, large));
  }
}

/// The natural logarithm. log(0) = -inf, NaN for x < 0.
template <Lane T>
[[gnu::always_inline]] inline T log(T x) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::log(x);
  } else {
    using S = scalar_t<T>;
    using F = detail::Ieee<S>;
    constexpr S inf = std::numeric_limits<S>::infinity();
    x = detail::rounded(x);
    const auto subnormal = x < (std::numeric_limits<S>::min)();
    const auto parts = detail::log_parts(elementary::select(subnormal, x * F::normal_scale, x));
    const T k = parts.exponent - elementary::select(subnormal, splat<T>(F::normal_exponent), T{});
    T y = detail::log_kernel(parts.f, k, T{});
    y = elementary::select(x < inf, y, x);  // inf and NaN
    y = elementary::select(x < S(0), splat<T>(std::numeric_limits<S>::quiet_NaN()), y);
    return detail::rounded(elementary::select(x == S(0), splat<T>(-inf), y));
  }
}

/// log(1 + x), without cancellation near 0. log1p(-1) = -inf, NaN for x < -1.
template <Lane T>
[[gnu::always_inline]] inline T log1p(T x) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::log1p(x);
  } else {
    using S = scalar_t<T>;
    constexpr S inf = std::numeric_limits<S>::infinity();
    x = detail::rounded(x);
    const T u = x + S(1), b = u - S(1);
    const T c = (S(1) - (u - b)) + (x - b);  // u + c = 1 + x exactly (Knuth)
    T y = detail::log_of_sum(u, c);
    y = elementary::select(elementary::abs(x) < detail::Ieee<S>::tiny, x, y);  // and keeps the sign of zero
    y = elementary::select(x < inf, y, x);
    y = elementary::select(x < S(-1), splat<T>(std::numeric_limits<S>::quiet_NaN()), y);
    return detail::rounded(elementary::select(x == S(-1), splat<T>(-inf), y));
  }
}

/// The hyperbolic tangent.
template <Lane T>
[[gnu::always_inline]] inline T tanh(T x) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::tanh(x);
  } else {
    using S = scalar_t<T>;
    const T a = elementary::abs(detail::rounded(x));
    const T z = detail::rounded(a * a);
    T p;  // (tanh(a) / a - 1) / a^2 on a <= 5/8
    if constexpr (std::is_same_v<S, float>)
      p = detail::polynomial(z, -0.33333333172f, 0.13333303531f, -0.053959253379f, 0.021768868215f, -0.0083437803705f,
                             0.0022925576991f);
    else
      p = detail::polynomial(z, -0.3333333333333333294, 0.1333333333333304103, -0.05396825396789636385,
                             0.02186948851898142877, -0.00886323510265348432, 0.003592121743695985626,
                             -0.001455775353209629581, 0.0005896603606552671371, -0.0002375896885211701225,
                             0.00009256923588512032486, -0.00003119892666773487463, 6.484104982405478879e-6);
    const T near_zero = (a * z) * p + a;
    const T distant = S(1) - S(2) / (elementary::exp(a + a) + S(1));
    return elementary::copysign(elementary::select(a < S(0.625), near_zero, distant), x);
  }
}

}  // namespace elementary

namespace detail {

/// erf(x) for |x| <= 1.
template <class T>
[[gnu::always_inline]] inline T erf_kernel(T x) {
  const T z = rounded(x * x);
  T p;  // erf(x) / x - 1
  if constexpr (std::is_same_v<scalar_t<T>, float>)
    p = polynomial(z, 0.12837916585f, -0.37612626667f, 0.11283594715f, -0.026854212011f, 0.0051890874234f,
                   -0.00080168642872f, 7.8758750627e-5f);
  else
    p = polynomial(z, 0.1283791670955125738, -0.3761263890318374806, 0.1128379167095487867, -0.02686617064507679325,
                   0.005223977624818014467, -0.0008548326980833789905, 0.0001205533111164271092,
                   -0.00001492559526683118157, 1.646100048412136803e-6, -1.635031270105469501e-7,
                   1.465977527404743581e-8, -1.137284885679167367e-9, 5.957176147748911404e-11);
  return x * p + x;
}

/// exp(-factor x^2), factor a power of 2, with the square in twice the precision; x finite.
template <class T>
[[gnu::always_inline]] inline T exp_minus_square(T x, scalar_t<T> factor) {
  const Square<T> square = exact_square(x);
  const T e = elementary::exp(square.high * -factor);
  return e - e * (square.low * factor);
}

}  // namespace detail

namespace elementary {

/// The error function 2 / sqrt(pi) * integral from 0 to x of exp(-t^2) dt.
template <Lane T>
[[gnu::always_inline]] inline T erf(T x) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::erf(x);
  } else {
    using S = scalar_t<T>;
    x = detail::rounded(x);
    const T a = elementary::abs(x);
    const T held = elementary::select(a > S(40), splat<T>(S(40)), a);
    const T tail = S(1) - detail::rounded(detail::erfcx_kernel(held) * detail::exp_minus_square(held, S(1)));
    return elementary::select(a < S(1), detail::erf_kernel(x), elementary::copysign(tail, x));
  }
}

/// 1 - erf(x), with full relative accuracy in the upper tail.
template <Lane T>
[[gnu::always_inline]] inline T erfc(T x) {
  if constexpr (std::is_same_v<T, long double>) {
    return std::erfc(x);
  } else {
    using S = scalar_t<T>;
    x = detail::rounded(x);
    const T a = elementary::abs(x);
    const T held = elementary::select(a > S(40), splat<T>(S(40)), a);
    const T tail = detail::rounded(detail::erfcx_kernel(held) * detail::exp_minus_square(held, S(1)));
    const T y = elementary::select(x < S(0), S(2) - tail, tail);
    return detail::rounded(elementary::select(a < S(0.5), S(1) - detail::erf_kernel(x), y));
  }
}

}  // namespace elementary
}  // namespace valence
