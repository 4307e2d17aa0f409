#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "valence/core/config.hpp"

/// Philox4x32-10: a bijection of 128-bit counters chosen by a 64-bit key, ten rounds of two 32-bit multiplications.
/// Source: Salmon, Moraes, Dror, Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
namespace valence {

/// One Philox4x32-10 block: 128 random bits for (counter, key), the words in the order of the paper and of Random123.
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9;  // Weyl sequences: the golden ratio and sqrt(3) - 1
    key[1] += 0xBB67AE85;
  }
  return counter;
}

namespace detail {

/// What makes a stream: the Philox key, and the upper half of its counters. The lower half counts blocks.
struct StreamIdentity {
  std::uint64_t key, upper;
  friend constexpr bool operator==(const StreamIdentity&, const StreamIdentity&) = default;
};

/// The 128 bits of block `lower` of a stream, as two 64-bit outputs (low word first).
constexpr std::array<std::uint64_t, 2> philox_block(const StreamIdentity& stream, std::uint64_t lower) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  const auto w =
      philox4x32({low(lower), high(lower), low(stream.upper), high(stream.upper)}, {low(stream.key), high(stream.key)});
  return {w[0] | std::uint64_t{w[1]} << 32, w[2] | std::uint64_t{w[3]} << 32};
}

/// The kernels below make outputs in groups, so that every width of register fills whole vectors.
inline constexpr std::size_t philox_group_blocks = 16;
inline constexpr std::size_t philox_group_outputs = 2 * philox_group_blocks;

inline void philox_groups_scalar(const StreamIdentity& stream, std::uint64_t first_block, std::size_t groups,
                                 std::uint64_t* out) {
  for (std::size_t i = 0; i < groups * philox_group_blocks; ++i) {
    const auto block = philox_block(stream, first_block + i);
    out[2 * i] = block[0];
    out[2 * i + 1] = block[1];
  }
}

// GCC multiplies 64-bit lanes that hold 32-bit numbers in one instruction only through x86's built-in functions; Clang
// finds the instruction by itself. Elsewhere the scalar code is as good.
#if VALENCE_VECTOR_EXTENSIONS && defined(__SSE2__) && defined(__x86_64__)
#define VALENCE_DETAIL_PHILOX_VECTORS 1
#elif VALENCE_VECTOR_EXTENSIONS && defined(__clang__) && defined(__aarch64__)
#define VALENCE_DETAIL_PHILOX_VECTORS 1
#else
#define VALENCE_DETAIL_PHILOX_VECTORS 0
#endif

#if VALENCE_DETAIL_PHILOX_VECTORS

#if defined(__clang__)
#define VALENCE_DETAIL_PHILOX_UNROLL _Pragma("clang loop unroll(full)")
#define VALENCE_DETAIL_PHILOX_MULTIPLY(BITS, x, y) (((x)&0xFFFFFFFFu) * (y))
#else
#define VALENCE_DETAIL_PHILOX_UNROLL _Pragma("GCC unroll 10")
#define VALENCE_DETAIL_PHILOX_MULTIPLY(BITS, x, y) VALENCE_DETAIL_PHILOX_MULTIPLY_##BITS(x, y)
#define VALENCE_DETAIL_PHILOX_MULTIPLY_128(x, y) (Lane) __builtin_ia32_pmuludq128((Half)(x), (Half)(y))
#define VALENCE_DETAIL_PHILOX_MULTIPLY_256(x, y) (Lane) __builtin_ia32_pmuludq256((Half)(x), (Half)(y))
#define VALENCE_DETAIL_PHILOX_MULTIPLY_512(x, y) \
  (Lane) __builtin_ia32_pmuludq512_mask((Half)(x), (Half)(y), (Signed)(x), static_cast<unsigned char>(0xFF))
#endif

// The same body for each width of register, as text, because a function template would be lowered to the narrowest one
// before it is inlined into a function with another target. Every lane is a block; a counter word lives in the lower
// half of a 64-bit lane, and what its upper half holds is never looked at until the outputs are put together.
#define VALENCE_DETAIL_PHILOX_GROUPS(BITS, TARGET, FIRST, SECOND)                                                      \
  TARGET inline void philox_groups_##BITS(const StreamIdentity& stream, std::uint64_t first_block, std::size_t groups, \
                                          std::uint64_t* out) {                                                        \
    typedef std::uint64_t Lane __attribute__((vector_size(BITS / 8)));                                                 \
    typedef int Half __attribute__((vector_size(BITS / 8)));                                                           \
    typedef long long Signed __attribute__((vector_size(BITS / 8)));                                                   \
    (void)sizeof(Half);                                                                                                \
    (void)sizeof(Signed);                                                                                              \
    constexpr std::size_t width = BITS / 64, together = 2;                                                             \
    std::uint64_t key0[10], key1[10];                                                                                  \
    for (std::uint32_t r = 0; r < 10; ++r) {                                                                           \
      key0[r] = static_cast<std::uint32_t>(static_cast<std::uint32_t>(stream.key) + r * 0x9E3779B9u);                  \
      key1[r] = static_cast<std::uint32_t>(static_cast<std::uint32_t>(stream.key >> 32) + r * 0xBB67AE85u);            \
    }                                                                                                                  \
    Lane number = {};                                                                                                  \
    for (std::size_t i = 0; i < width; ++i) number[i] = i;                                                             \
    const Lane m0 = number * 0 + 0xD2511F53u, m1 = number * 0 + 0xCD9E8D57u;                                           \
    for (std::size_t i = 0; i < groups * philox_group_blocks; i += width * together) {                                 \
      Lane a[together], b[together], c[together], d[together];                                                         \
      for (std::size_t j = 0; j < together; ++j) {                                                                     \
        const std::uint64_t block = first_block + i + j * width;                                                       \
        a[j] = number + block; /* no carry out of the lower word: first_block is a multiple of 16 */                   \
        b[j] = number * 0 + (block >> 32);                                                                             \
        c[j] = number * 0 + stream.upper;                                                                              \
        d[j] = number * 0 + (stream.upper >> 32);                                                                      \
      }                                                                                                                \
      VALENCE_DETAIL_PHILOX_UNROLL for (int r = 0; r < 10; ++r) for (std::size_t j = 0; j < together; ++j) {           \
        const Lane p0 = VALENCE_DETAIL_PHILOX_MULTIPLY(BITS, a[j], m0);                                                \
        const Lane p1 = VALENCE_DETAIL_PHILOX_MULTIPLY(BITS, c[j], m1);                                                \
        a[j] = (p1 >> 32) ^ b[j] ^ key0[r];                                                                            \
        b[j] = p1;                                                                                                     \
        c[j] = (p0 >> 32) ^ d[j] ^ key1[r];                                                                            \
        d[j] = p0;                                                                                                     \
      }                                                                                                                \
      for (std::size_t j = 0; j < together; ++j) {                                                                     \
        const Lane even = (a[j] & 0xFFFFFFFFu) | (b[j] << 32), odd = (c[j] & 0xFFFFFFFFu) | (d[j] << 32);              \
        const Lane first = __builtin_shufflevector(even, odd, VALENCE_DETAIL_UNPACK FIRST);                            \
        const Lane second = __builtin_shufflevector(even, odd, VALENCE_DETAIL_UNPACK SECOND);                          \
        std::memcpy(out + 2 * (i + j * width), &first, sizeof first);                                                  \
        std::memcpy(out + 2 * (i + j * width) + width, &second, sizeof second);                                        \
      }                                                                                                                \
    }                                                                                                                  \
  }
#define VALENCE_DETAIL_UNPACK(...) __VA_ARGS__

// Wider registers than the build's target has are used where the machine that runs it has them: the numbers are
// integers, the same in every width.
#if defined(__x86_64__) && defined(__linux__) && !defined(__AVX512F__)
#define VALENCE_DETAIL_PHILOX_DISPATCH 1
#else
#define VALENCE_DETAIL_PHILOX_DISPATCH 0
#endif

VALENCE_DETAIL_PHILOX_GROUPS(128, , (0, 2), (1, 3))
#if VALENCE_DETAIL_PHILOX_DISPATCH && !defined(__AVX2__)
VALENCE_DETAIL_PHILOX_GROUPS(256, __attribute__((target("avx2"))), (0, 4, 1, 5), (2, 6, 3, 7))
#elif defined(__AVX2__)
VALENCE_DETAIL_PHILOX_GROUPS(256, , (0, 4, 1, 5), (2, 6, 3, 7))
#endif
#if VALENCE_DETAIL_PHILOX_DISPATCH
VALENCE_DETAIL_PHILOX_GROUPS(512, __attribute__((target("avx512f"))), (0, 8, 1, 9, 2, 10, 3, 11),
                             (4, 12, 5, 13, 6, 14, 7, 15))
#elif defined(__AVX512F__) && defined(__clang__)  // -march=native may tell it to prefer half the width
VALENCE_DETAIL_PHILOX_GROUPS(512, __attribute__((__min_vector_width__(512))), (0, 8, 1, 9, 2, 10, 3, 11),
                             (4, 12, 5, 13, 6, 14, 7, 15))
#elif defined(__AVX512F__)
VALENCE_DETAIL_PHILOX_GROUPS(512, , (0, 8, 1, 9, 2, 10, 3, 11), (4, 12, 5, 13, 6, 14, 7, 15))
#endif

#endif

/// Outputs 32 g .. 32 (g + groups) - 1 of a stream, in order, where `first_block` = 16 g. Two 64-bit outputs a block.
inline void philox_groups(const StreamIdentity& stream, std::uint64_t first_block, std::size_t groups,
                          std::uint64_t* out) {
#if !VALENCE_DETAIL_PHILOX_VECTORS
  philox_groups_scalar(stream, first_block, groups, out);
#elif VALENCE_DETAIL_PHILOX_DISPATCH
  if (__builtin_cpu_supports("avx512f")) return philox_groups_512(stream, first_block, groups, out);
  if (__builtin_cpu_supports("avx2")) return philox_groups_256(stream, first_block, groups, out);
  philox_groups_128(stream, first_block, groups, out);
#elif defined(__AVX512F__)
  philox_groups_512(stream, first_block, groups, out);
#elif defined(__AVX2__)
  philox_groups_256(stream, first_block, groups, out);
#else
  philox_groups_128(stream, first_block, groups, out);
#endif
}

#undef VALENCE_DETAIL_PHILOX_VECTORS
#undef VALENCE_DETAIL_PHILOX_DISPATCH
#undef VALENCE_DETAIL_PHILOX_MULTIPLY
#undef VALENCE_DETAIL_PHILOX_MULTIPLY_128
#undef VALENCE_DETAIL_PHILOX_MULTIPLY_256
#undef VALENCE_DETAIL_PHILOX_MULTIPLY_512
#undef VALENCE_DETAIL_PHILOX_GROUPS
#undef VALENCE_DETAIL_PHILOX_UNROLL
#undef VALENCE_DETAIL_UNPACK

}  // namespace detail

}  // namespace valence
