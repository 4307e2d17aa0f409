#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "valence/core/types.hpp"

/// Lanes: several numbers that one instruction works on. A kernel that is to be fast without `-ffast-math` is written
/// once as a template over `T`, where `T` is a scalar or a vector of them: + - * /, comparisons and `?:` mean the same
/// on both. Constants are written `scalar_t<T>(0.5)`: a bare `0.5` would promote a float kernel to double.
namespace valence {

namespace detail {

// Wider vectors than the target has registers for are emulated slowly and change the calling convention (-Wpsabi).
#if !VALENCE_VECTOR_EXTENSIONS
inline constexpr std::size_t lane_bytes = 0;
#elif defined(__AVX512F__)
inline constexpr std::size_t lane_bytes = 64;
#elif defined(__AVX__)
inline constexpr std::size_t lane_bytes = 32;
#else
inline constexpr std::size_t lane_bytes = 16;
#endif

template <class T>
struct ScalarOf;
template <class T>
  requires std::is_arithmetic_v<T>
struct ScalarOf<T> {
  using type = T;
};

template <class S, std::size_t Bytes>
struct LanesOf {  // no vector types: one lane
  using type = S;
};

#if VALENCE_VECTOR_EXTENSIONS
template <class T>
  requires(!std::is_arithmetic_v<T>)
struct ScalarOf<T> {
  using type = std::remove_cvref_t<decltype(std::declval<T&>()[0])>;
};
// Spelled out: GCC ignores a vector_size that depends on a template parameter in some contexts.
#define VALENCE_DETAIL_LANES(S, BYTES)                  \
  template <>                                           \
  struct LanesOf<S, BYTES> {                            \
    typedef S type __attribute__((vector_size(BYTES))); \
  };
#define VALENCE_DETAIL_LANES_ALL(BYTES)      \
  VALENCE_DETAIL_LANES(float, BYTES)         \
  VALENCE_DETAIL_LANES(double, BYTES)        \
  VALENCE_DETAIL_LANES(std::int32_t, BYTES)  \
  VALENCE_DETAIL_LANES(std::int64_t, BYTES)  \
  VALENCE_DETAIL_LANES(std::uint32_t, BYTES) \
  VALENCE_DETAIL_LANES(std::uint64_t, BYTES)
VALENCE_DETAIL_LANES_ALL(16)
VALENCE_DETAIL_LANES_ALL(32)
VALENCE_DETAIL_LANES_ALL(64)
#undef VALENCE_DETAIL_LANES_ALL
#undef VALENCE_DETAIL_LANES
#endif

}  // namespace detail

/// The scalar inside `T`: itself for a scalar, the element type for lanes.
template <class T>
using scalar_t = typename detail::ScalarOf<std::remove_cvref_t<T>>::type;

/// The widest vector of `S` that the target's registers hold; `S` itself where the compiler has no vector types.
template <class S>
using Lanes = typename detail::LanesOf<S, detail::lane_bytes>::type;

/// How many scalars `T` holds: 1 for a scalar.
template <class T>
inline constexpr std::size_t lane_count = sizeof(T) / sizeof(scalar_t<T>);

/// Signed and unsigned integers of the same size and number as `T`'s numbers.
template <class T>
using int_t =
    std::conditional_t<lane_count<T> == 1, std::conditional_t<sizeof(scalar_t<T>) == 4, std::int32_t, std::int64_t>,
                       typename detail::LanesOf<
                           std::conditional_t<sizeof(scalar_t<T>) == 4, std::int32_t, std::int64_t>, sizeof(T)>::type>;
template <class T>
using uint_t = std::conditional_t<
    lane_count<T> == 1, std::conditional_t<sizeof(scalar_t<T>) == 4, std::uint32_t, std::uint64_t>,
    typename detail::LanesOf<std::conditional_t<sizeof(scalar_t<T>) == 4, std::uint32_t, std::uint64_t>,
                             sizeof(T)>::type>;

/// All lanes equal to `x`.
template <class T>
constexpr T splat(std::type_identity_t<scalar_t<T>> x) {
  if constexpr (lane_count<T> == 1)
    return x;
  else
    return T{} + x;
}

/// Reads `lane_count<T>` scalars from memory of any alignment.
template <class T>
T load(const scalar_t<T>* p) {
  T x;
  std::memcpy(&x, p, sizeof(T));
  return x;
}

/// Writes `lane_count<T>` scalars to memory of any alignment.
template <class T>
void store(scalar_t<T>* p, T x) {
  std::memcpy(p, &x, sizeof(T));
}

/// The same bits seen as another type of the same size.
template <class To, class From>
To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To y;
  std::memcpy(&y, &x, sizeof(To));
  return y;
}

/// Is a comparison's result (`bool`, several joined by | or & (`int`), or integer lanes) true in every lane / in some
/// lane?
template <class M>
bool all(M mask) {
  if constexpr (std::is_arithmetic_v<M>) {
    return mask != M(0);
  } else {
    bool result = true;
    for (std::size_t i = 0; i < lane_count<M>; ++i) result = result && mask[i] != 0;
    return result;
  }
}
template <class M>
bool any(M mask) {
  if constexpr (std::is_arithmetic_v<M>) {
    return mask != M(0);
  } else {
    std::uint64_t words[sizeof(M) / sizeof(std::uint64_t)], some = 0;  // few of them, where lanes would be many
    std::memcpy(words, &mask, sizeof(M));
    for (const std::uint64_t word : words) some |= word;
    return some != 0;
  }
}

/// Sum over lanes, in lane order halves (the same bits for a given width).
template <class T>
scalar_t<T> sum_lanes(T x) {
  if constexpr (lane_count<T> == 1) {
    return x;
  } else {
    scalar_t<T> v[lane_count<T>];
    store(v, x);
    for (std::size_t half = lane_count<T> / 2; half > 0; half /= 2)
      for (std::size_t i = 0; i < half; ++i) v[i] += v[i + half];
    return v[0];
  }
}

}  // namespace valence
