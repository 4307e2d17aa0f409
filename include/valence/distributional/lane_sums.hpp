#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"

/// Loops over lanes, as the heads' kernels need them: the body is a template over `T`, lanes or one number, that reads
/// `lane_count<T>` entries from `i` on.
namespace valence::detail {

/// f<T>(i) over 0 ... n - 1: whole lanes, then numbers.
template <class S, class F>
[[gnu::always_inline]] inline void for_lanes(std::size_t n, F&& f) {
  using T = Lanes<S>;
  constexpr std::size_t width = lane_count<T>;
  std::size_t i = 0;
  for (; i + width <= n; i += width) f.template operator()<T>(i);
  if constexpr (width > 1)
    for (; i < n; ++i) f.template operator()<S>(i);
}

/// The same for a body that may see an entry twice (it writes, and reads nothing of that): the last lanes overlap the
/// ones before, so that no entry is left over.
template <class S, class F>
[[gnu::always_inline]] inline void for_lanes_twice(std::size_t n, F&& f) {
  using T = Lanes<S>;
  constexpr std::size_t width = lane_count<T>;
  if (n < width) return for_lanes<S>(n, f);
  std::size_t i = 0;
  for (; i + width <= n; i += width) f.template operator()<T>(i);
  if (i < n) f.template operator()<T>(n - width);
}

/// The sums over 0 ... n - 1 of the `K` numbers that f<T>(i) gives, as a `std::array<T, K>`; the same bits whatever the
/// width of the lanes is (see `Slots`).
template <class S, std::size_t K, class F>
[[gnu::always_inline]] inline std::array<S, K> lane_sums(std::size_t n, F&& f) {
  using T = Lanes<S>;
  constexpr std::size_t width = lane_count<T>, slots = slot_count<S>;
  alignas(64) S sums[K][slots];
  T registers[K][slots / width] = {};
  std::size_t i = 0;
  for (; i + slots <= n; i += slots)
    for (std::size_t j = 0; j < slots / width; ++j) {
      const std::array<T, K> x = f.template operator()<T>(i + j * width);
      for (std::size_t k = 0; k < K; ++k) registers[k][j] += x[k];
    }
  for (std::size_t j = 0; i + width <= n; i += width, ++j) {
    const std::array<T, K> x = f.template operator()<T>(i);
    for (std::size_t k = 0; k < K; ++k) registers[k][j] += x[k];
  }
  for (std::size_t k = 0; k < K; ++k)
    for (std::size_t j = 0; j < slots / width; ++j) store<T>(sums[k] + j * width, registers[k][j]);
  if constexpr (width > 1)
    for (; i < n; ++i) {
      const std::array<S, K> x = f.template operator()<S>(i);
      for (std::size_t k = 0; k < K; ++k) sums[k][i % slots] += x[k];
    }
  std::array<S, K> result;
  for (std::size_t k = 0; k < K; ++k) {
    for (std::size_t half = slots / 2; half > 0; half /= 2)
      for (std::size_t j = 0; j < half; ++j) sums[k][j] += sums[k][j + half];
    result[k] = sums[k][0];
  }
  return result;
}

/// `check_finite` of many numbers, in lanes: x - x is 0 for a finite number, and NaN for another.
template <class S>
void check_finite_lanes(std::string_view where, std::string_view argument, std::span<const S> x) {
  const S watch = lane_sums<S, 1>(x.size(), [&]<class T>(std::size_t i) {
    const T v = load<T>(x.data() + i);
    return std::array<T, 1>{v - v};
  })[0];
  if (watch != S(0)) check_finite(where, argument, x);
}

/// `a < b ? a : b` and `a > b ? a : b` in one instruction where there is one; b where one is NaN. GCC makes two of the
/// comparison in lanes.
template <class T>
[[gnu::always_inline]] inline T lesser(T a, T b) {
#if defined(__GNUC__) && !defined(__clang__) && defined(__SSE2__) && VALENCE_VECTOR_EXTENSIONS
  constexpr bool single = std::is_same_v<scalar_t<T>, float>;
  if constexpr (lane_count<T> > 1 && sizeof(T) == 16) {
    if constexpr (single)
      return __builtin_ia32_minps(a, b);
    else
      return __builtin_ia32_minpd(a, b);
  }
#if defined(__AVX__)
  if constexpr (lane_count<T> > 1 && sizeof(T) == 32) {
    if constexpr (single)
      return __builtin_ia32_minps256(a, b);
    else
      return __builtin_ia32_minpd256(a, b);
  }
#endif
#if defined(__AVX512F__)
  if constexpr (lane_count<T> > 1 && sizeof(T) == 64) {
    if constexpr (single)
      return __builtin_ia32_minps512_mask(a, b, a, static_cast<short>(-1), 4);
    else
      return __builtin_ia32_minpd512_mask(a, b, a, static_cast<char>(-1), 4);
  }
#endif
#endif
  return elementary::select(a < b, a, b);
}
template <class T>
[[gnu::always_inline]] inline T greater(T a, T b) {
#if defined(__GNUC__) && !defined(__clang__) && defined(__SSE2__) && VALENCE_VECTOR_EXTENSIONS
  constexpr bool single = std::is_same_v<scalar_t<T>, float>;
  if constexpr (lane_count<T> > 1 && sizeof(T) == 16) {
    if constexpr (single)
      return __builtin_ia32_maxps(a, b);
    else
      return __builtin_ia32_maxpd(a, b);
  }
#if defined(__AVX__)
  if constexpr (lane_count<T> > 1 && sizeof(T) == 32) {
    if constexpr (single)
      return __builtin_ia32_maxps256(a, b);
    else
      return __builtin_ia32_maxpd256(a, b);
  }
#endif
#if defined(__AVX512F__)
  if constexpr (lane_count<T> > 1 && sizeof(T) == 64) {
    if constexpr (single)
      return __builtin_ia32_maxps512_mask(a, b, a, static_cast<short>(-1), 4);
    else
      return __builtin_ia32_maxpd512_mask(a, b, a, static_cast<char>(-1), 4);
  }
#endif
#endif
  return elementary::select(a > b, a, b);
}

/// The numbers i, i + 1, ... in the lanes of `T`.
template <class T>
[[gnu::always_inline]] inline T indices_from(std::size_t i) {
  using S = scalar_t<T>;
  if constexpr (lane_count<T> == 1) {
    return static_cast<S>(i);
  } else {
    T x;
    for (std::size_t k = 0; k < lane_count<T>; ++k) x[k] = static_cast<S>(k);
    return x + static_cast<S>(i);
  }
}

}  // namespace valence::detail
