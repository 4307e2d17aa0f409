#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "valence/core/lanes.hpp"

/// Matrix kernels of small networks: pointers and run-time sizes, one instantiation a scalar type, no allocation, no
/// BLAS, strict mode. Matrices here are "panels": rows one after the other, each row contiguous and padded to a
/// multiple of the lane count, its padding zero; `ld` is the distance between rows. A row of an activation panel is one
/// sample.
///
/// Everything is one product, C = A B, cut into tiles of `tile_rows` x `tile_packs` registers that stay in registers
/// over the whole inner loop: each step loads one row piece of B, and one number of A for each row. The bias, the
/// activation or the activation's derivative is applied before the tile is stored. Every entry of C is summed in the
/// order of the inner index, whatever tile it falls in, so a sample's outputs do not depend on the batch that it came
/// in.
namespace valence::kernel {

// What a register holds: lanes of a floating-point scalar; other numbers (Dual) go one at a time.
template <class S>
struct PackOf {
  using type = S;
};
template <class S>
  requires std::is_floating_point_v<S>
struct PackOf<S> {
  using type = Lanes<S>;
};
template <>
struct PackOf<long double> {
  using type = long double;
};
template <class S>
using Pack = typename PackOf<S>::type;

/// Numbers in a register.
template <class S>
inline constexpr std::ptrdiff_t pack_size = static_cast<std::ptrdiff_t>(sizeof(Pack<S>) / sizeof(S));

/// `size` rounded up to whole registers.
template <class S>
constexpr std::ptrdiff_t padded(std::ptrdiff_t size) {
  return (size + pack_size<S> - 1) / pack_size<S> * pack_size<S>;
}

template <class S>
Pack<S> get(const S* p) {
  Pack<S> x;
  std::memcpy(static_cast<void*>(&x), static_cast<const void*>(p), sizeof(x));
  return x;
}
template <class S>
void put(S* p, const std::type_identity_t<Pack<S>>& x) {
  std::memcpy(static_cast<void*>(p), static_cast<const void*>(&x), sizeof(x));
}
template <class S>
Pack<S> all_equal(S x) {
  if constexpr (pack_size<S> == 1)
    return x;
  else
    return Pack<S>{} + x;
}

/// Calls f(at) for whole registers and then for the numbers left, 0 <= at.i < size. `at(p)` reads array p at the
/// current place, `at.put(p, x)` writes there; so one body does elementwise work on lanes and on the rest.
template <class S>
struct AtPack {
  std::ptrdiff_t i;
  Pack<S> operator()(const S* p) const { return get<S>(p + i); }
  void put(S* p, const Pack<S>& x) const { kernel::put<S>(p + i, x); }
};
template <class S>
struct AtNumber {
  std::ptrdiff_t i;
  S operator()(const S* p) const { return p[i]; }
  void put(S* p, const S& x) const { p[i] = x; }
};
template <class S, class F>
void each(std::ptrdiff_t size, F f) {
  const std::ptrdiff_t whole = size - size % pack_size<S>;  // so that GCC sees how short the second loop is
  for (std::ptrdiff_t i = 0; i < whole; i += pack_size<S>) f(AtPack<S>{i});
  for (std::ptrdiff_t i = whole; i < size; ++i) f(AtNumber<S>{i});
}
/// The sum of what f(at) returns.
template <class S, class F>
S sum(std::ptrdiff_t size, F f) {
  Pack<S> total{};
  S rest{};
  const std::ptrdiff_t whole = size - size % pack_size<S>;
  for (std::ptrdiff_t i = 0; i < whole; i += pack_size<S>) total += f(AtPack<S>{i});
  for (std::ptrdiff_t i = whole; i < size; ++i) rest += f(AtNumber<S>{i});
  if constexpr (pack_size<S> == 1)
    return total + rest;
  else
    return sum_lanes(total) + rest;
}

// 32 registers (AVX-512) hold 6 x 4 sums, 4 pieces of B and the number of A; 16 registers hold 6 x 2 sums. The six or
// more independent chains a port cover the latency of a fused multiply-add.
template <class S>
inline constexpr int tile_rows = std::is_floating_point_v<S> ? 6 : 1;
template <class S>
inline constexpr int tile_packs = !std::is_floating_point_v<S> ? 1 : (sizeof(Pack<S>) == 64 ? 4 : 2);

/// Where a tile's sums begin ...
enum class Begin { zero, bias, sum };
/// ... and what is stored: the sum, relu of it, or the sum times an activation's derivative, computed from the
/// activation `aux`.
enum class End { plain, relu, relu_slope, tanh_slope };

/// One product C = A B. A(r, k) = a[r * a_row + k * a_step], so A may be read transposed.
template <class S>
struct Product {
  const S* a;
  std::ptrdiff_t a_row, a_step;
  const S* b;
  std::ptrdiff_t ldb;
  S* c;
  std::ptrdiff_t ldc;
  std::ptrdiff_t rows, inner, cols;  ///< cols: padded
  Begin begin = Begin::zero;
  End end = End::plain;
  const S* bias = nullptr;  ///< cols numbers, for Begin::bias
  const S* aux = nullptr;   ///< a panel like C (same ld), for the slopes
};

// Local to this file (see #undef below): GCC unrolls fully at -O3 only unless told to.
#if defined(__clang__)
#define VALENCE_DETAIL_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define VALENCE_DETAIL_UNROLL _Pragma("GCC unroll 8")
#else
#define VALENCE_DETAIL_UNROLL
#endif

template <class S, int Rows, int Packs>
inline void tile(const Product<S>& p, std::ptrdiff_t row, std::ptrdiff_t col) {
  using P = Pack<S>;
  constexpr std::ptrdiff_t w = pack_size<S>;
  S* const c = p.c + row * p.ldc + col;
  P sum[Rows][Packs];
  VALENCE_DETAIL_UNROLL
  for (int r = 0; r < Rows; ++r) {
    VALENCE_DETAIL_UNROLL
    for (int q = 0; q < Packs; ++q) sum[r][q] = P{};
  }
  if (p.begin == Begin::bias) {
    VALENCE_DETAIL_UNROLL
    for (int q = 0; q < Packs; ++q) {
      const P bias = get<S>(p.bias + col + q * w);
      VALENCE_DETAIL_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r][q] = bias;
    }
  } else if (p.begin == Begin::sum) {
    VALENCE_DETAIL_UNROLL
    for (int r = 0; r < Rows; ++r) {
      VALENCE_DETAIL_UNROLL
      for (int q = 0; q < Packs; ++q) sum[r][q] = get<S>(c + r * p.ldc + q * w);
    }
  }
  const S* a = p.a + row * p.a_row;
  const S* b = p.b + col;
  const std::ptrdiff_t a_step = p.a_step, ldb = p.ldb;
  std::ptrdiff_t at[Rows];  // where each row's number of A stands
  VALENCE_DETAIL_UNROLL
  for (int r = 0; r < Rows; ++r) {
    at[r] = r * p.a_row;
#if defined(__GNUC__)
    // Opaque, or Clang walks from row to row with additions in the inner loop, which take the multiply-adds' ports.
    __asm__("" : "+r"(at[r]));
#endif
  }
  for (std::ptrdiff_t k = p.inner; k > 0; --k) {
    P piece[Packs];
    VALENCE_DETAIL_UNROLL
    for (int q = 0; q < Packs; ++q) piece[q] = get<S>(b + q * w);
    VALENCE_DETAIL_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const S factor = a[at[r]];
      VALENCE_DETAIL_UNROLL
      for (int q = 0; q < Packs; ++q) sum[r][q] += factor * piece[q];
    }
    a += a_step;
    b += ldb;
  }
  if (p.end == End::relu) {
    VALENCE_DETAIL_UNROLL
    for (int r = 0; r < Rows; ++r) {
      VALENCE_DETAIL_UNROLL
      for (int q = 0; q < Packs; ++q) sum[r][q] = sum[r][q] < P{} ? P{} : sum[r][q];  // NaN stays
    }
  } else if (p.end == End::relu_slope) {
    const S* aux = p.aux + row * p.ldc + col;
    VALENCE_DETAIL_UNROLL
    for (int r = 0; r < Rows; ++r) {
      VALENCE_DETAIL_UNROLL
      for (int q = 0; q < Packs; ++q) sum[r][q] = get<S>(aux + r * p.ldc + q * w) > P{} ? sum[r][q] : P{};
    }
  } else if (p.end == End::tanh_slope) {
    const S* aux = p.aux + row * p.ldc + col;
    VALENCE_DETAIL_UNROLL
    for (int r = 0; r < Rows; ++r) {
      VALENCE_DETAIL_UNROLL
      for (int q = 0; q < Packs; ++q) {
        const P y = get<S>(aux + r * p.ldc + q * w);
        sum[r][q] -= sum[r][q] * (y * y);
      }
    }
  }
  VALENCE_DETAIL_UNROLL
  for (int r = 0; r < Rows; ++r) {
    VALENCE_DETAIL_UNROLL
    for (int q = 0; q < Packs; ++q) put<S>(c + r * p.ldc + q * w, sum[r][q]);
  }
}

template <class S, int Packs>
inline void column(const Product<S>& p, std::ptrdiff_t col) {
  constexpr int most = tile_rows<S>;
  std::ptrdiff_t row = 0;
  for (; row + most <= p.rows; row += most) tile<S, most, Packs>(p, row, col);
  if constexpr (most > 4)
    if (row + 4 <= p.rows) tile<S, 4, Packs>(p, row, col), row += 4;
  if constexpr (most > 2)
    if (row + 2 <= p.rows) tile<S, 2, Packs>(p, row, col), row += 2;
  if constexpr (most > 1)
    if (row < p.rows) tile<S, 1, Packs>(p, row, col);
}

/// C = A B, with beginnings and ends as said.
template <class S>
void multiply(const Product<S>& p) {
  constexpr std::ptrdiff_t w = pack_size<S>;
  std::ptrdiff_t col = 0;
  if constexpr (tile_packs<S> >= 4)
    for (; col + 4 * w <= p.cols; col += 4 * w) column<S, 4>(p, col);
  if constexpr (tile_packs<S> >= 2)
    for (; col + 2 * w <= p.cols; col += 2 * w) column<S, 2>(p, col);
  for (; col < p.cols; col += w) column<S, 1>(p, col);
}

#undef VALENCE_DETAIL_UNROLL

#if VALENCE_VECTOR_EXTENSIONS
// Four rows of four numbers, transposed in registers of 16 bytes.
template <class S>
void transpose4(const S* a, std::ptrdiff_t lda, S* b, std::ptrdiff_t ldb) {
  if constexpr (std::is_same_v<S, float>) {
    using V = detail::LanesOf<float, 16>::type;
    const V r0 = load<V>(a), r1 = load<V>(a + lda), r2 = load<V>(a + 2 * lda), r3 = load<V>(a + 3 * lda);
    const V low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
    const V low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5), high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    store(b, __builtin_shufflevector(low01, low23, 0, 1, 4, 5));
    store(b + ldb, __builtin_shufflevector(low01, low23, 2, 3, 6, 7));
    store(b + 2 * ldb, __builtin_shufflevector(high01, high23, 0, 1, 4, 5));
    store(b + 3 * ldb, __builtin_shufflevector(high01, high23, 2, 3, 6, 7));
  } else {
    for (std::ptrdiff_t r = 0; r < 4; ++r)
      for (std::ptrdiff_t c = 0; c < 4; ++c) b[c * ldb + r] = a[r * lda + c];
  }
}
#else
template <class S>
void transpose4(const S* a, std::ptrdiff_t lda, S* b, std::ptrdiff_t ldb) {
  for (std::ptrdiff_t r = 0; r < 4; ++r)
    for (std::ptrdiff_t c = 0; c < 4; ++c) b[c * ldb + r] = a[r * lda + c];
}
#endif

/// b[c * ldb + r] = a[r * lda + c]: rows x cols, transposed. Writes nothing beyond.
template <class S>
void transpose(const S* a, std::ptrdiff_t lda, std::ptrdiff_t rows, std::ptrdiff_t cols, S* b, std::ptrdiff_t ldb) {
  const std::ptrdiff_t rows4 = rows / 4 * 4, cols4 = cols / 4 * 4;
  for (std::ptrdiff_t r = 0; r < rows4; r += 4) {
    for (std::ptrdiff_t c = 0; c < cols4; c += 4) transpose4(a + r * lda + c, lda, b + c * ldb + r, ldb);
    for (std::ptrdiff_t c = cols4; c < cols; ++c)
      for (std::ptrdiff_t k = r; k < r + 4; ++k) b[c * ldb + k] = a[k * lda + c];
  }
  for (std::ptrdiff_t r = rows4; r < rows; ++r)
    for (std::ptrdiff_t c = 0; c < cols; ++c) b[c * ldb + r] = a[r * lda + c];
}

/// sum[0..cols) += the rows of a panel; cols padded.
template <class S>
void add_rows(const S* a, std::ptrdiff_t lda, std::ptrdiff_t rows, std::ptrdiff_t cols, S* sum) {
  using P = Pack<S>;
  constexpr std::ptrdiff_t w = pack_size<S>;
  std::ptrdiff_t col = 0;
  for (; col + 4 * w <= cols; col += 4 * w) {
    P s0 = get<S>(sum + col), s1 = get<S>(sum + col + w), s2 = get<S>(sum + col + 2 * w),
      s3 = get<S>(sum + col + 3 * w);
    P t0{}, t1{}, t2{}, t3{};  // odd rows apart: an addition waits for the one before it
    std::ptrdiff_t r = 0;
    for (; r + 2 <= rows; r += 2) {
      const S* p = a + r * lda + col;
      s0 += get<S>(p), s1 += get<S>(p + w), s2 += get<S>(p + 2 * w), s3 += get<S>(p + 3 * w);
      p += lda;
      t0 += get<S>(p), t1 += get<S>(p + w), t2 += get<S>(p + 2 * w), t3 += get<S>(p + 3 * w);
    }
    if (r < rows) {
      const S* p = a + r * lda + col;
      s0 += get<S>(p), s1 += get<S>(p + w), s2 += get<S>(p + 2 * w), s3 += get<S>(p + 3 * w);
    }
    s0 += t0, s1 += t1, s2 += t2, s3 += t3;
    put<S>(sum + col, s0), put<S>(sum + col + w, s1), put<S>(sum + col + 2 * w, s2), put<S>(sum + col + 3 * w, s3);
  }
  for (; col < cols; col += w) {
    P s = get<S>(sum + col);
    for (std::ptrdiff_t r = 0; r < rows; ++r) s += get<S>(a + r * lda + col);
    put<S>(sum + col, s);
  }
}

/// sum[0..cols) += the rows of a narrow matrix without padding, of cols <= `most_narrow` numbers each.
inline constexpr std::ptrdiff_t most_narrow = 8;
template <class S>
void add_narrow_rows(const S* a, std::ptrdiff_t rows, std::ptrdiff_t cols, S* sum) {
  S part[4][most_narrow] = {};  // four chains: an addition waits for the one before it
  std::ptrdiff_t r = 0;
  for (; r + 4 <= rows; r += 4)
    for (std::ptrdiff_t k = 0; k < 4; ++k)
      for (std::ptrdiff_t c = 0; c < cols; ++c) part[k][c] += a[(r + k) * cols + c];
  for (; r < rows; ++r)
    for (std::ptrdiff_t c = 0; c < cols; ++c) part[0][c] += a[r * cols + c];
  for (std::ptrdiff_t c = 0; c < cols; ++c) sum[c] += (part[0][c] + part[1][c]) + (part[2][c] + part[3][c]);
}

#if VALENCE_VECTOR_EXTENSIONS
// Halves of segments: `a` and `b` consist of segments of 2 * Half lanes; the sum of the two halves of each, a's first.
template <int Half, class P, std::size_t... Lane>
P fold(const P& a, const P& b, std::index_sequence<Lane...>) {
  constexpr int w = static_cast<int>(lane_count<P>);
  constexpr auto source = [](int lane) {
    return (lane < w / 2 ? 0 : w) + lane % (w / 2) / Half * 2 * Half + lane % Half;
  };
  return __builtin_shufflevector(a, b, source(static_cast<int>(Lane))...) +
         __builtin_shufflevector(a, b, (source(static_cast<int>(Lane)) + Half)...);
}
#endif

/// c[r * cols + o] = bias[o] + sum over k of a[r * lda + k] * b[o * ldb + k], with k along the lanes: for layers with
/// fewer outputs than half a register. `inner` is padded; a and b have zeros there. Lanes are summed by halves, four
/// samples at a time.
template <class S>
void multiply_narrow(const S* a, std::ptrdiff_t lda, const S* b, std::ptrdiff_t ldb, const S* bias, S* c,
                     std::ptrdiff_t rows, std::ptrdiff_t inner, std::ptrdiff_t cols) {
#if VALENCE_VECTOR_EXTENSIONS
  using P = Pack<S>;
  constexpr std::ptrdiff_t w = pack_size<S>;
  if constexpr (w >= 4) {
    constexpr auto lanes = std::make_index_sequence<static_cast<std::size_t>(w)>{};
    for (std::ptrdiff_t r = 0; r < rows; r += 4) {
      const std::ptrdiff_t n = (std::min)(rows - r, std::ptrdiff_t{4});
      const S* a0 = a + r * lda;
      const S* a1 = a0 + (n > 1 ? lda : 0);
      const S* a2 = a0 + (n > 2 ? 2 * lda : 0);
      const S* a3 = a0 + (n > 3 ? 3 * lda : 0);
      for (std::ptrdiff_t o = 0; o < cols; ++o) {
        const S* weights = b + o * ldb;
        P s0{}, s1{}, s2{}, s3{};
        for (std::ptrdiff_t k = 0; k < inner; k += w) {
          const P piece = get<S>(weights + k);
          s0 += get<S>(a0 + k) * piece, s1 += get<S>(a1 + k) * piece;
          s2 += get<S>(a2 + k) * piece, s3 += get<S>(a3 + k) * piece;
        }
        P s = fold<static_cast<int>(w / 4)>(fold<static_cast<int>(w / 2)>(s0, s1, lanes),
                                            fold<static_cast<int>(w / 2)>(s2, s3, lanes), lanes);
        if constexpr (w >= 16) s = fold<2>(s, s, lanes);
        if constexpr (w >= 8) s = fold<1>(s, s, lanes);
        // The four sums stand at the front now.
        S sums[static_cast<std::size_t>(w)];
        put<S>(sums, s);
        for (std::ptrdiff_t i = 0; i < n; ++i) c[(r + i) * cols + o] = bias[o] + sums[i];
      }
    }
    return;
  }
#endif
  for (std::ptrdiff_t r = 0; r < rows; ++r)
    for (std::ptrdiff_t o = 0; o < cols; ++o) {
      S sum{};
      for (std::ptrdiff_t k = 0; k < inner; ++k) sum += a[r * lda + k] * b[o * ldb + k];
      c[r * cols + o] = bias[o] + sum;
    }
}

}  // namespace valence::kernel
