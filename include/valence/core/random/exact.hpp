#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "valence/core/config.hpp"

/// Arithmetic whose bits do not depend on the compiler. C++ lets a compiler contract a * b + c into one fused operation
/// with one rounding, and with -march=native they do. Everything else in IEEE arithmetic is fixed. So here each product
/// that a sum could swallow goes through `times`, and there is no call of a library function that is not correctly
/// rounded.
namespace valence::detail {

/// Returns `x`, and the compiler can't know it: what comes after is not fused with what came before.
template <std::floating_point S>
S barrier(S x) {
#if defined(__GNUC__) && defined(__SSE2__)
  __asm__("" : "+x"(x));
  return x;
#elif defined(__GNUC__) && defined(__aarch64__)
  __asm__("" : "+w"(x));
  return x;
#else
  volatile S opaque = x;
  return opaque;
#endif
}

/// a * b, rounded, whatever is done with it.
template <std::floating_point S>
S times(S a, S b) {
  return barrier(a * b);
}

/// [0, 1): the upper 53 (double) or 24 (float) of 64 random bits, scaled. The largest value is 1 - 2^-53 (1 - 2^-24): a
/// conversion of more bits would round up to 1 (pitfall N3). Every step is exact.
template <std::floating_point S>
constexpr S unit(std::uint64_t bits) {
  if constexpr (sizeof(S) == 4)
    return static_cast<S>(static_cast<std::int32_t>(bits >> 40)) * S(0x1p-24);
  else
    return static_cast<S>(static_cast<std::int64_t>(bits >> 11)) * S(0x1p-53);
}

/// (0, 1): odd multiples of 2^-53 (2^-24), so neither end is reached and the mean is exactly 1/2.
template <std::floating_point S>
constexpr S open_unit(std::uint64_t bits) {
  if constexpr (sizeof(S) == 4)
    return static_cast<S>(static_cast<std::int32_t>(bits >> 40 | 1)) * S(0x1p-24);
  else
    return static_cast<S>(static_cast<std::int64_t>(bits >> 11 | 1)) * S(0x1p-53);
}

/// `out[i] = unit<S>(bits[i])`; `count` is a multiple of 32 (fixed-length inner loops are what -O2 vectorises).
#define VALENCE_DETAIL_UNITS(NAME, TARGET)                                                       \
  template <std::floating_point S>                                                               \
  TARGET void NAME(const std::uint64_t* __restrict bits, S* __restrict out, std::size_t count) { \
    for (std::size_t i = 0; i < count; i += 32)                                                  \
      for (std::size_t j = 0; j < 32; ++j) out[i + j] = unit<S>(bits[i + j]);                    \
  }
VALENCE_DETAIL_UNITS(units_for_target, )
// Only AVX-512 converts 64-bit integers in vectors; every step is exact, so the bits are the same.
#if VALENCE_VECTOR_EXTENSIONS && defined(__x86_64__) && defined(__linux__) && !defined(__AVX512DQ__)
VALENCE_DETAIL_UNITS(units_avx512, __attribute__((target("avx512f,avx512dq"))))
template <std::floating_point S>
void units(const std::uint64_t* bits, S* out, std::size_t count) {
  if (__builtin_cpu_supports("avx512dq")) return units_avx512(bits, out, count);
  units_for_target(bits, out, count);
}
#else
template <std::floating_point S>
void units(const std::uint64_t* bits, S* out, std::size_t count) {
  units_for_target(bits, out, count);
}
#endif
#undef VALENCE_DETAIL_UNITS

// ln 2 in two parts, the first with 21 zero bits at its end, so that k * ln2_high is exact for every exponent k.
inline constexpr double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;

/// Natural logarithm of x >= 0 to about 1 ulp; log(0) = -inf, log(inf) = inf.
/// x = 2^k m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1) / (m + 1), by its Taylor series.
inline double exact_log(double x) {
  if (!(x > 0)) return x == 0 ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  if (x > (std::numeric_limits<double>::max)()) return x;
  int k = 0;
  if (x < (std::numeric_limits<double>::min)()) {
    x *= 0x1p54;
    k = -54;
  }
  const auto bits = std::bit_cast<std::uint64_t>(x);
  // Adding the distance from sqrt(1/2)'s mantissa to 1 carries into the exponent exactly when m >= sqrt(2).
  const auto shifted = bits + (0x3FF0000000000000 - 0x3FE6A09E667F3BCD);
  k += static_cast<int>(shifted >> 52) - 1023;
  const double m = std::bit_cast<double>((shifted & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD);
  const double f = m - 1;
  const double s = f / (2 + f);
  const double z = times(s, s);
  double sum = 1.0 / 23;  // 1/3 + z/5 + ... + z^10/23
  constexpr double odd[] = {1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
                            1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3};
  for (const double coefficient : odd) sum = times(sum, z) + coefficient;
  // 2 s = f - s f, so log m = f - s (f - 2 z sum): the large part is exact, the correction is small.
  const double correction = times(s, f - times(2 * z, sum));
  return times(static_cast<double>(k), ln2_high) + (f - (correction - times(static_cast<double>(k), ln2_low)));
}

/// e^x to about 1 ulp; 0 below -745.2, infinity above 709.8, NaN for NaN.
inline double exact_exp(double x) {
  if (!(x < 709.79)) return x >= 709.79 ? std::numeric_limits<double>::infinity() : x;
  if (x < -745.2) return 0;
  const double k = std::floor(times(x, 0x1.71547652b82fep+0) + 0.5);
  const double high = x - times(k, ln2_high), low = times(k, ln2_low);
  const double r = high - low;
  double sum = 1.0 / 6227020800.0;  // e^r = 1 + r + r^2 (1/2! + r/3! + ... + r^11/13!)
  constexpr double inverse_factorial[] = {
      1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      0.5};
  for (const double coefficient : inverse_factorial) sum = times(sum, r) + coefficient;
  const double rest = (high - r) - low;  // what the rounding of r lost
  const double y = 1 + (r + (times(times(r, r), sum) + rest));
  // In two steps: 2^k itself may be out of range where the result is not.
  const auto scale = [](int e) { return std::bit_cast<double>(static_cast<std::uint64_t>(e + 1023) << 52); };
  const int e = static_cast<int>(k);
  return y * scale(e / 2) * scale(e - e / 2);
}

/// log(1 + x) for x > -1 to a few ulp; log1p(-1) = -inf. W. Kahan's correction of the rounding of 1 + x.
inline double exact_log1p(double x) {
  const double u = 1 + x;
  if (u == 1) return x;
  if (u > (std::numeric_limits<double>::max)() || !(u > 0)) return exact_log(u);
  return times(exact_log(u), x / (u - 1));
}

}  // namespace valence::detail
