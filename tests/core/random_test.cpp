// The generator itself: known answers, golden bits, positions, splitting, blocks, errors. What the distributions look
// like is tested in random_distributions_test.cpp.

#include "valence/core/random.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "core/random_golden.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"

using valence::AliasTable;
using valence::philox4x32;
using valence::Reservoir;
using valence::Rng;
using valence::test::message_of;
using valence::test::says;

namespace {

static_assert(std::uniform_random_bit_generator<Rng>);
static_assert(std::is_copy_constructible_v<Rng> && std::is_trivially_copyable_v<Rng>);
static_assert(!std::is_convertible_v<int, Rng>);

template <class T>
std::uint64_t bits_of(T x) {
  if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<std::uint64_t>(x);
  else if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<std::uint32_t>(x);
  else
    return static_cast<std::uint64_t>(x);
}

using Draws = std::vector<std::uint64_t>;

/// One row of the golden table: a name, and the bits of `n` draws from a fresh generator.
struct Distribution {
  const char* name;
  Draws (*draw)(Rng, std::size_t n);
};

template <class F>
Draws repeat(std::size_t n, F draw) {
  Draws out(n);
  for (auto& x : out) x = bits_of(draw());
  return out;
}

const std::array<double, 5> weights = {0.5, 0, 2.25, 0.125, 1};
const std::array<double, 5> logits = {0.5, -1e300, 2.25, 0.125, -1};

const std::vector<Distribution>& distributions() {
#define DRAW(expression) [](Rng rng, std::size_t n) { return repeat(n, [&] { return expression; }); }
  static const std::vector<Distribution> all = {
      {"outputs", DRAW(rng())},
      {"outputs of split(0)",
       [](Rng rng, std::size_t n) { return repeat(n, [child = rng.split(0)]() mutable { return child(); }); }},
      {"outputs of split(5).split(2^64 - 1)",
       [](Rng rng, std::size_t n) {
         return repeat(n, [child = rng.split(5).split(-1)]() mutable { return child(); });
       }},
      {"uniform", DRAW(rng.uniform())},
      {"uniform<float>", DRAW(rng.uniform<float>())},
      {"open_uniform", DRAW(rng.open_uniform())},
      {"open_uniform<float>", DRAW(rng.open_uniform<float>())},
      {"uniform(-1.7, 3.1)", DRAW(rng.uniform(-1.7, 3.1))},
      {"uniform<float>(-1.7, 3.1)", DRAW(rng.uniform<float>(-1.7f, 3.1f))},
      {"below(10)", DRAW(rng.below(10))},
      {"below(3 * 2^62)", DRAW(rng.below(std::uint64_t{3} << 62))},
      {"integer(-5, 5)", DRAW(rng.integer(-5, 5))},
      {"bernoulli(0.3)", DRAW(rng.bernoulli(0.3))},
      {"normal", DRAW(rng.normal())},
      {"normal<float>", DRAW(rng.normal<float>())},
      {"normal(1.1, 2.3)", DRAW(rng.normal(1.1, 2.3))},
      {"normal<float>(1.1, 2.3)", DRAW(rng.normal<float>(1.1f, 2.3f))},
      {"exponential", DRAW(rng.exponential())},
      {"exponential<float>", DRAW(rng.exponential<float>())},
      {"exponential(3)", DRAW(rng.exponential(3))},
      {"gumbel", DRAW(rng.gumbel())},
      {"geometric(0.2)", DRAW(rng.geometric(0.2))},
      {"gamma(2.5, 1.3)", DRAW(rng.gamma(2.5, 1.3))},
      {"gamma(0.3)", DRAW(rng.gamma(0.3))},
      {"beta(2, 3)", DRAW(rng.beta(2, 3))},
      {"beta(0.5, 0.7)", DRAW(rng.beta(0.5, 0.7))},
      {"dirichlet(0.1, 1, 4)",
       [](Rng rng, std::size_t n) {
         const std::array<double, 3> alpha = {0.1, 1, 4};
         std::array<double, 3> p{};
         std::size_t i = 3;
         return repeat(n, [&] {
           if (i == 3) {
             rng.dirichlet(alpha, p);
             i = 0;
           }
           return p[i++];
         });
       }},
      {"poisson(4)", DRAW(rng.poisson(4))},
      {"poisson(123.4)", DRAW(rng.poisson(123.4))},
      {"binomial(20, 0.3)", DRAW(rng.binomial(20, 0.3))},
      {"binomial(1000, 0.6)", DRAW(rng.binomial(1000, 0.6))},
      {"categorical", DRAW(rng.categorical(weights))},
      {"categorical_logits", DRAW(rng.categorical_logits(logits))},
      {"alias table",
       [](Rng rng, std::size_t n) { return repeat(n, [&, table = AliasTable(weights)] { return table(rng); }); }},
      {"shuffle",
       [](Rng rng, std::size_t n) {
         Draws items(n);
         std::iota(items.begin(), items.end(), 0u);
         rng.shuffle(items);
         return items;
       }},
      {"permutation",
       [](Rng rng, std::size_t n) {
         const auto order = rng.permutation(n);
         return Draws(order.begin(), order.end());
       }},
      {"sample(n of 1000000)",
       [](Rng rng, std::size_t n) {
         const auto chosen = rng.sample(1'000'000, n);
         return Draws(chosen.begin(), chosen.end());
       }},
      {"reservoir",
       [](Rng rng, std::size_t n) {
         Reservoir<std::uint64_t> reservoir(n);
         for (std::uint64_t i = 0; i < 5 * n; ++i) reservoir.add(i, rng);
         return Draws(reservoir.items().begin(), reservoir.items().end());
       }},
  };
#undef DRAW
  return all;
}

std::uint64_t digest(const Draws& draws) {  // FNV-1a over 64-bit words
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::uint64_t x : draws) hash = (hash ^ x) * 0x100000001b3;
  return hash;
}

constexpr std::uint64_t seeds[] = {0, 1, std::uint64_t{1} << 63};
constexpr std::size_t long_run = 20'000;  // long enough for the rare branches: wedges, tails, rejections

}  // namespace

TEST_CASE("Philox4x32-10 gives the published answers") {
  using Words = std::array<std::uint32_t, 4>;
  // Random123, kat_vectors, lines "philox4x32 10".
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  static_assert(philox4x32({0, 0, 0, 0}, {0, 0})[0] == 0x6627e8d5);
}

TEST_CASE("The generator's outputs are Philox blocks, low word first") {
  Rng rng{0};
  CHECK(rng() == 0xe169c58d6627e8d5);
  CHECK(rng() == 0x9b00dbd8bc57ac4c);
  const std::uint64_t seed = 0x299f31d0a4093822;
  Rng other{seed};
  for (std::uint32_t block = 0; block < 100; ++block) {
    const auto w = philox4x32({block, 0, 0, 0}, {0xa4093822, 0x299f31d0});
    REQUIRE(other() == (w[0] | std::uint64_t{w[1]} << 32));
    REQUIRE(other() == (w[2] | std::uint64_t{w[3]} << 32));
  }
}

TEST_CASE("Every width of register gives the same outputs") {
  // Across the carry from the lower to the upper word of the block number, and with both halves of everything in use.
  for (const std::uint64_t first : {std::uint64_t{0}, (std::uint64_t{1} << 32) - 16, (std::uint64_t{1} << 62) - 32}) {
    const valence::detail::StreamIdentity stream{0x0123456789abcdef, 0xfedcba9876543210};
    Draws one(96), all(96);
    valence::detail::philox_groups_scalar(stream, first, 3, one.data());
    valence::detail::philox_groups(stream, first, 3, all.data());
    CHECK(all == one);
#if VALENCE_VECTOR_EXTENSIONS && defined(__x86_64__)
    valence::detail::philox_groups_128(stream, first, 3, all.data());
    CHECK(all == one);
#if defined(__linux__)
    if (__builtin_cpu_supports("avx2")) {
      valence::detail::philox_groups_256(stream, first, 3, all.data());
      CHECK(all == one);
    }
#endif
#endif
  }
}

TEST_CASE("Golden bits: the first eight outputs of every distribution", "[N1]") {
  REQUIRE(valence::test::golden_first.size() == 3 * distributions().size());
  std::size_t row = 0;
  for (const auto& distribution : distributions())
    for (const std::uint64_t seed : seeds) {
      const auto& golden = valence::test::golden_first[row++];
      CAPTURE(distribution.name, seed);
      CHECK(std::string(golden.name) == distribution.name);
      CHECK(distribution.draw(Rng{seed}, 8) == Draws(golden.bits.begin(), golden.bits.end()));
    }
}

TEST_CASE("Golden bits: a digest of a long run of every distribution", "[N1]") {
  REQUIRE(valence::test::golden_digests.size() == distributions().size());
  for (std::size_t i = 0; i < distributions().size(); ++i) {
    CAPTURE(distributions()[i].name);
    CHECK(digest(distributions()[i].draw(Rng{2'026}, long_run)) == valence::test::golden_digests[i]);
  }
}

TEST_CASE("Prints the golden table", "[.golden]") {
  for (const auto& distribution : distributions())
    for (const std::uint64_t seed : seeds) {
      std::printf("    {\"%s\", {", distribution.name);
      for (const std::uint64_t x : distribution.draw(Rng{seed}, 8))
        std::printf("0x%llx, ", static_cast<unsigned long long>(x));
      std::printf("}},\n");
    }
  for (const auto& distribution : distributions())
    std::printf("    0x%llx,\n", static_cast<unsigned long long>(digest(distribution.draw(Rng{2'026}, long_run))));
}

TEST_CASE("A generator can be told where it is and sent anywhere") {
  Rng rng{42};
  Draws outputs(1'000);
  for (auto& x : outputs) x = rng();
  CHECK(rng.position() == 1'000);
  for (const std::size_t start : {999u, 0u, 1u, 31u, 32u, 33u, 500u}) {
    rng.seek(start);
    CHECK(rng() == outputs[start]);
    CHECK(rng.position() == start + 1);
  }
  rng.seek(10);
  rng.discard(0);
  CHECK(rng() == outputs[10]);
  rng.discard(88);
  CHECK(rng() == outputs[99]);
  rng.discard((std::uint64_t{1} << 63) - 100);  // once around
  CHECK(rng.position() == 0);
  CHECK(rng() == outputs[0]);
  rng.seek((std::uint64_t{1} << 63) - 1);
  rng();
  CHECK(rng.position() == 0);
  CHECK(rng() == outputs[0]);
}

TEST_CASE("Generators compare by stream and position") {
  Rng a{1}, b{1};
  CHECK(a == b);
  a();
  CHECK(a != b);
  b.discard(1);
  CHECK(a == b);
  CHECK(a() == b());
  CHECK(Rng{1} != Rng{2});
  CHECK(Rng{1} != Rng{1}.split(0));
  CHECK(Rng{} == Rng{0});
  CHECK(Rng{-1} == Rng{~std::uint64_t{0}});
}

TEST_CASE("A saved generator resumes at the exact output, in the middle of a block") {
  for (const int before : {0, 1, 7, 31, 32, 63}) {
    Rng rng = Rng{9}.split(3);
    for (int i = 0; i < before; ++i) rng.normal();
    const auto saved = valence::to_bytes(rng);
    CHECK(saved.size() == 24);
    Rng other{12345};
    other();
    valence::from_bytes(saved, other);
    CHECK(other == rng);
    CHECK(valence::state_hash(other) == valence::state_hash(rng));
    for (int i = 0; i < 100; ++i) REQUIRE(other() == rng());
    CHECK(other.split(1) == rng.split(1));
  }
  Rng around{1};
  around.seek((std::uint64_t{1} << 63) - 1);
  around();
  CHECK(valence::to_bytes(around) == valence::to_bytes(Rng{1}));
}

TEST_CASE("A saved reservoir goes on where it was") {
  Rng rng{4};
  Reservoir<int> reservoir(5), other(1);
  for (int i = 0; i < 50; ++i) reservoir.add(i, rng);
  valence::from_bytes(valence::to_bytes(reservoir), other);
  Rng same = rng;
  for (int i = 50; i < 100; ++i) {
    reservoir.add(i, rng);
    other.add(i, same);
  }
  CHECK(valence::to_bytes(other) == valence::to_bytes(reservoir));
}

TEST_CASE("Splitting neither advances the parent nor depends on its position") {
  Rng parent{7};
  const Rng child = parent.split(3);
  CHECK(parent.position() == 0);
  CHECK(child.position() == 0);
  parent.discard(1'001);
  CHECK(parent.split(3) == child);
  CHECK(parent.split(std::uint8_t{3}) == child);
}

TEST_CASE("Streams of a tree all differ") {
  std::set<std::uint64_t> first;
  const Rng root{0};
  std::size_t streams = 0;
  for (int i = 0; i < 200; ++i) {
    Rng child = root.split(i);
    first.insert(child());
    ++streams;
    for (int j = 0; j < 50; ++j, ++streams) {
      Rng grandchild = root.split(i).split(j);
      first.insert(grandchild());
    }
  }
  for (int seed = 0; seed < 1'000; ++seed, ++streams) {
    Rng rng{seed};
    first.insert(rng());
  }
  CHECK(first.size() == streams);
}

TEST_CASE("Every scalar draw uses one output, whatever it has to reject") {
  struct Draw {
    const char* name;
    void (*run)(Rng&);
  };
  const Draw draws[] = {
      {"uniform", [](Rng& r) { r.uniform(); }},
      {"uniform<float>", [](Rng& r) { r.uniform<float>(); }},
      {"uniform(a, b)", [](Rng& r) { r.uniform(-1, 1); }},
      {"open_uniform", [](Rng& r) { r.open_uniform(); }},
      {"below", [](Rng& r) { r.below((std::uint64_t{1} << 63) + 1); }},
      {"integer", [](Rng& r) { r.integer(-5, std::int64_t{1} << 62); }},
      {"bernoulli", [](Rng& r) { r.bernoulli(0.5); }},
      {"normal", [](Rng& r) { r.normal(); }},
      {"normal(m, s)", [](Rng& r) { r.normal(1, 2); }},
      {"exponential", [](Rng& r) { r.exponential(); }},
      {"exponential(rate)", [](Rng& r) { r.exponential(2); }},
      {"gumbel", [](Rng& r) { r.gumbel(); }},
      {"geometric", [](Rng& r) { r.geometric(0.1); }},
      {"categorical", [](Rng& r) { r.categorical(weights); }},
      {"alias table", [](Rng& r) { AliasTable{weights}(r); }},
  };
  for (const auto& draw : draws) {
    CAPTURE(draw.name);
    Rng rng{5};
    for (int i = 0; i < 2'000; ++i) draw.run(rng);
    CHECK(rng.position() == 2'000);
  }
  Rng rng{5};
  rng.categorical_logits(logits);
  CHECK(rng.position() == 5);
  rng.permutation(10);
  CHECK(rng.position() == 14);
  rng.sample(10, 4);
  rng.sample(1'000, 4);
  CHECK(rng.position() == 22);
  rng.permutation(0);
  rng.permutation(1);
  rng.sample(0, 0);
  CHECK(rng.position() == 22);
}

TEST_CASE("Draw n depends on the seed and n alone") {
  std::vector<double> normals(5'000);
  Rng{11}.fill_normal(normals);
  Rng rng{11};
  for (std::size_t n = 4'999; n < 5'000; n -= 7) {
    rng.seek(n);
    REQUIRE(rng.normal() == normals[n]);
  }
}

namespace {

/// Fills of many sizes, from many positions, between scalar draws, against the same draws one by one.
template <class T, class Fill, class One>
void check_fill(const char* name, Fill fill, One one) {
  CAPTURE(name);
  Rng rng{77}, reference{77};
  Rng sizes{3};
  std::vector<T> block, single;
  for (int round = 0; round < 120; ++round) {
    const std::size_t size = round % 5 == 0 ? sizes.below(std::size_t{2'000}) : sizes.below(std::size_t{70});
    block.assign(size + 1, T(99));
    single.assign(size + 1, T(99));
    fill(rng, std::span(block).first(size));
    for (std::size_t i = 0; i < size; ++i) single[i] = one(reference);
    bool same = true;
    for (std::size_t i = 0; i <= size; ++i) same = same && bits_of(block[i]) == bits_of(single[i]);
    REQUIRE(same);  // and the element after the last is untouched
    REQUIRE(rng.position() == reference.position());
    for (std::size_t i = sizes.below(std::size_t{3}); i > 0; --i) REQUIRE(rng() == reference());
  }
}

}  // namespace

TEST_CASE("Blocks give the bits of the same number of scalar draws") {
  check_fill<std::uint64_t>(
      "fill", [](Rng& r, auto out) { r.fill(out); }, [](Rng& r) { return r(); });
  check_fill<double>(
      "uniform", [](Rng& r, auto out) { r.fill_uniform(out); }, [](Rng& r) { return r.uniform(); });
  check_fill<float>(
      "uniform", [](Rng& r, auto out) { r.fill_uniform(out); }, [](Rng& r) { return r.uniform<float>(); });
  check_fill<double>(
      "uniform(a, b)", [](Rng& r, auto out) { r.fill_uniform(out, -1.7, 3.1); },
      [](Rng& r) { return r.uniform(-1.7, 3.1); });
  check_fill<float>(
      "uniform(a, b)", [](Rng& r, auto out) { r.fill_uniform(out, -1.7f, 3.1f); },
      [](Rng& r) { return r.uniform<float>(-1.7f, 3.1f); });
  check_fill<double>(
      "normal", [](Rng& r, auto out) { r.fill_normal(out); }, [](Rng& r) { return r.normal(); });
  check_fill<float>(
      "normal", [](Rng& r, auto out) { r.fill_normal(out); }, [](Rng& r) { return r.normal<float>(); });
  check_fill<double>(
      "normal(m, s)", [](Rng& r, auto out) { r.fill_normal(out, 1.1, 2.3); },
      [](Rng& r) { return r.normal(1.1, 2.3); });
  check_fill<float>(
      "normal(m, s)", [](Rng& r, auto out) { r.fill_normal(out, 1.1f, 2.3f); },
      [](Rng& r) { return r.normal<float>(1.1f, 2.3f); });
  check_fill<double>(
      "exponential", [](Rng& r, auto out) { r.fill_exponential(out); }, [](Rng& r) { return r.exponential(); });
  check_fill<float>(
      "exponential", [](Rng& r, auto out) { r.fill_exponential(out); }, [](Rng& r) { return r.exponential<float>(); });
  // Bounds just above a power of two reject about half of the outputs.
  check_fill<std::uint64_t>(
      "below", [](Rng& r, auto out) { r.fill_below(out, (std::uint64_t{1} << 63) + 5); },
      [](Rng& r) { return r.below((std::uint64_t{1} << 63) + 5); });
  check_fill<std::int64_t>(
      "below", [](Rng& r, auto out) { r.fill_below(out, 1'000); }, [](Rng& r) { return r.below(std::int64_t{1'000}); });
  check_fill<std::uint32_t>(
      "below", [](Rng& r, auto out) { r.fill_below(out, 7u); }, [](Rng& r) { return r.below(7u); });
  check_fill<std::int32_t>(
      "below", [](Rng& r, auto out) { r.fill_below(out, 7); }, [](Rng& r) { return r.below(7); });
  const AliasTable table(weights);
  check_fill<std::size_t>(
      "alias table", [&](Rng& r, auto out) { table.fill(r, out); }, [&](Rng& r) { return table(r); });
}

TEST_CASE("A uniform never rounds up to 1, nor to its upper end", "[N3]") {
  using valence::detail::open_unit;
  using valence::detail::unit;
  const std::uint64_t largest = ~std::uint64_t{0};
  CHECK(unit<float>(std::uint64_t{0xFFFFFFFF} << 32) == 0.99999994f);
  CHECK(unit<float>(largest) == 0.99999994f);
  CHECK(unit<double>(largest) == 1 - 0x1p-53);
  CHECK(unit<float>(0) == 0);
  CHECK(unit<double>(0) == 0);
  CHECK(open_unit<float>(0) == 0x1p-24f);
  CHECK(open_unit<double>(0) == 0x1p-53);
  CHECK(open_unit<float>(largest) == 0.99999994f);
  CHECK(open_unit<double>(largest) == 1 - 0x1p-53);
  // 1 + (nextafter(1) - 1) u rounds to the upper end for half of all u.
  Rng rng{0};
  const double high = std::nextafter(1.0, 2.0);
  const float high_float = std::nextafter(1.0f, 2.0f);
  std::vector<double> block(200);
  rng.fill_uniform(block, 1, high);
  for (int i = 0; i < 200; ++i) {
    REQUIRE(rng.uniform(1, high) == 1);
    REQUIRE(rng.uniform<float>(1, high_float) == 1);
    REQUIRE(block[static_cast<std::size_t>(i)] == 1);
  }
}

TEST_CASE("Inverse-CDF sampling never picks an index of probability zero", "[N3]") {
  using valence::detail::inverse_cdf;
  const double largest = 1 - 0x1p-53;
  const std::array<double, 3> half = {0.5, 0.5, 0};
  CHECK(inverse_cdf(std::span<const double>(half), 1.0, largest) == 1);
  CHECK(inverse_cdf(std::span<const double>(half), 1.0, 0.5) == 1);
  CHECK(inverse_cdf(std::span<const double>(half), 1.0, 0.0) == 0);
  const std::array<double, 4> middle = {0, 3, 0, 0};
  CHECK(inverse_cdf(std::span<const double>(middle), 3.0, 0.0) == 1);
  CHECK(inverse_cdf(std::span<const double>(middle), 3.0, largest) == 1);
  // A total that is too large, as rounding may make it: the last index with a weight, not the end.
  CHECK(inverse_cdf(std::span<const double>(half), 1.0 + 0x1p-50, largest) == 1);
  // Denormal weights: u * total can round up to the total.
  const std::array<double, 3> tiny = {5e-324, 5e-324, 0};
  CHECK(inverse_cdf(std::span<const double>(tiny), 1e-323, largest) == 1);
  Rng rng{1};
  for (const std::array<double, 3>& w : {half, tiny}) {
    const AliasTable table(w);
    for (int i = 0; i < 1'000; ++i) {
      REQUIRE(rng.categorical(w) < 2);
      REQUIRE(table(rng) < 2);
    }
  }
}

TEST_CASE("Integers below a bound have no bias", "[N2]") {
  const std::uint64_t third = std::uint64_t{1} << 62;
  Rng rng{0};
  std::array<int, 3> counts{};
  for (int i = 0; i < 1'000'000; ++i) ++counts[static_cast<std::size_t>(rng.below(3 * third) / third)];
  for (const int count : counts) CHECK(std::abs(count - 333'333) <= 1'500);
  for (int i = 0; i < 100; ++i) {
    REQUIRE(rng.below(1) == 0);
    REQUIRE(rng.integer(-3, -3) == -3);
    REQUIRE(rng.below(~std::uint64_t{0}) < ~std::uint64_t{0});
  }
  CHECK(says(message_of([&] { rng.below(0); }), "Rng::below", "n is 0", "at least 1"));
  CHECK(says(message_of([&] { rng.below(-4); }), "n is -4"));
  static_assert(std::is_same_v<decltype(rng.below(std::int16_t{3})), std::int16_t>);
  // The whole range has 2^64 values: a bound that a 64-bit count can't hold.
  std::uint64_t some = 0, every = ~std::uint64_t{0};
  for (int i = 0; i < 200; ++i) {
    const auto x = static_cast<std::uint64_t>(
        rng.integer((std::numeric_limits<std::int64_t>::min)(), (std::numeric_limits<std::int64_t>::max)()));
    some |= x;
    every &= x;
  }
  CHECK(some == ~std::uint64_t{0});
  CHECK(every == 0);
}

TEST_CASE("Bad arguments of the generator are refused and nothing is drawn") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  Rng rng{3};
  std::vector<double> out(3);
  std::vector<std::int32_t> whole(3);
  CHECK(says(message_of([&] { rng.uniform(1, 1); }), "Rng::uniform", "low is 1", "high is 1"));
  CHECK(says(message_of([&] { rng.uniform(nan, 1); }), "low is nan"));
  CHECK(says(message_of([&] { rng.uniform(-1e308, 1e308); }), "finite difference"));
  CHECK(says(message_of([&] { rng.fill_uniform(out, 2, 1); }), "Rng::fill_uniform", "low < high"));
  CHECK(says(message_of([&] { rng.fill_below(whole, 0); }), "Rng::fill_below", "n is 0"));
  CHECK(says(message_of([&] { rng.fill_below(whole, -1); }), "n is -1"));
  CHECK(says(message_of([&] { rng.integer(2, 1); }), "Rng::integer", "low is 2", "high is 1"));
  CHECK(says(message_of([&] { rng.bernoulli(1.5); }), "Rng::bernoulli", "p is 1.5", "[0, 1]"));
  CHECK(says(message_of([&] { rng.bernoulli(nan); }), "p is nan"));
  CHECK(says(message_of([&] { rng.normal(inf, 1); }), "Rng::normal", "mean is inf"));
  CHECK(says(message_of([&] { rng.normal(0, -1); }), "standard_deviation is -1"));
  CHECK(says(message_of([&] { rng.fill_normal(out, 0, nan); }), "Rng::fill_normal", "standard_deviation is nan"));
  CHECK(says(message_of([&] { rng.exponential(0); }), "Rng::exponential", "rate is 0"));
  CHECK(says(message_of([&] { rng.geometric(0); }), "Rng::geometric", "p is 0", "(0, 1]"));
  CHECK(says(message_of([&] { rng.gamma(0); }), "Rng::gamma", "shape is 0"));
  CHECK(says(message_of([&] { rng.gamma(1, -1); }), "scale is -1"));
  CHECK(says(message_of([&] { rng.beta(nan, 1); }), "Rng::beta", "a is nan"));
  CHECK(says(message_of([&] { rng.beta(1, inf); }), "b is inf"));
  CHECK(says(message_of([&] { rng.poisson(-1); }), "Rng::poisson", "mean is -1"));
  CHECK(says(message_of([&] { rng.poisson(1e16); }), "mean is 1e+16"));
  CHECK(says(message_of([&] { rng.binomial(5, -0.1); }), "Rng::binomial", "p is -0.1"));
  CHECK(says(message_of([&] { rng.sample(3, 4); }), "Rng::sample", "k is 4", "n = 3"));
  const std::vector<double> none, zeros(3, 0.0), negative{1, -2, 3}, not_a_number{1, nan}, infinite{inf},
      huge{1e308, 1e308};
  for (const auto& make : {+[](Rng& r, const std::vector<double>& w) { r.categorical(w); },
                           +[](Rng&, const std::vector<double>& w) { (void)AliasTable(w); }}) {
    CHECK(says(message_of([&] { make(rng, none); }), "weights is empty"));
    CHECK(says(message_of([&] { make(rng, zeros); }), "weights are all 0"));
    CHECK(says(message_of([&] { make(rng, negative); }), "weights[1] is -2"));
    CHECK(says(message_of([&] { make(rng, not_a_number); }), "weights[1] is nan"));
    CHECK(says(message_of([&] { make(rng, infinite); }), "weights[0] is inf"));
    CHECK(says(message_of([&] { make(rng, huge); }), "sum of weights is inf"));
  }
  CHECK(says(message_of([&] { rng.categorical_logits(none); }), "logits is empty"));
  CHECK(says(message_of([&] { rng.categorical_logits(not_a_number); }), "logits[1] is nan"));
  CHECK(says(message_of([&] { rng.categorical_logits(infinite); }), "logits[0] is inf"));
  CHECK(
      says(message_of([&] { rng.categorical_logits(std::vector<float>(2, -std::numeric_limits<float>::infinity())); }),
           "all -inf"));
  CHECK(says(message_of([&] { rng.dirichlet(none, {}); }), "Rng::dirichlet", "alpha is empty"));
  CHECK(says(message_of([&] { rng.dirichlet(zeros, out); }), "alpha[0] is 0"));
  CHECK(says(message_of([&] { rng.dirichlet(not_a_number, out); }), "out has 3 entries; expected 2"));
  CHECK(says(message_of([] { Reservoir<int>{0}; }), "Reservoir", "capacity is 0"));
  CHECK(rng == Rng{3});
  CHECK(out == std::vector<double>(3));
}

TEST_CASE("Certain and impossible parameters") {
  Rng rng{8};
  for (int i = 0; i < 200; ++i) {
    REQUIRE_FALSE(rng.bernoulli(0));
    REQUIRE(rng.bernoulli(1));
    REQUIRE(rng.geometric(1) == 0);
    REQUIRE(rng.binomial(0, 0.5) == 0);
    REQUIRE(rng.binomial(1'000, 0) == 0);
    REQUIRE(rng.binomial(1'000, 1) == 1'000);
    REQUIRE(rng.poisson(0) == 0);
    REQUIRE(rng.normal(2.5, 0) == 2.5);
    REQUIRE(rng.categorical(std::array<float, 1>{3}) == 0);
    REQUIRE(rng.categorical_logits(std::array<double, 3>{-1e308, 700, -1e308}) == 1);
    REQUIRE(rng.exponential() > 0);
    REQUIRE(std::isfinite(rng.gumbel()));
  }
  CHECK(rng.geometric(5e-324) == ~std::uint64_t{0});
  CHECK(rng.binomial(~std::uint64_t{0}, 0.5) > std::uint64_t{1} << 62);
}

TEST_CASE("Sampling without replacement: all different, the same numbers from the dense and the sparse way") {
  Rng rng{21};
  for (const std::size_t n : {1u, 7u, 100u, 5'000u})
    for (std::size_t k = 0; k <= n; k = 2 * k + 1) {
      const auto chosen = rng.sample(n, k);
      const std::set<std::size_t> different(chosen.begin(), chosen.end());
      REQUIRE(chosen.size() == k);
      REQUIRE(different.size() == k);
      REQUIRE((k == 0 || *different.rbegin() < n));
    }
  // 100 of 900 is drawn densely, 100 of 800 sparsely; Fisher-Yates written out must agree with both.
  for (const std::size_t n : {799u, 800u, 900u, 100'000u}) {
    Rng one{n}, other{n};
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = 0; i < 100; ++i) std::swap(order[i], order[i + other.below(n - i)]);
    order.resize(100);
    CHECK(one.sample(n, 100) == order);
    CHECK(one == other);
  }
}

TEST_CASE("A reservoir holds what came, until it is full") {
  Rng rng{4};
  Reservoir<std::string> reservoir(3);
  CHECK(reservoir.items().empty());
  reservoir.add("a", rng);
  reservoir.add("b", rng);
  CHECK(reservoir.items().size() == 2);
  CHECK(reservoir.items()[1] == "b");
  CHECK(rng == Rng{4});
  for (const char* item : {"c", "d", "e"}) reservoir.add(item, rng);
  CHECK(reservoir.items().size() == 3);
  CHECK(reservoir.seen() == 5);
  CHECK(reservoir.capacity() == 3);
  CHECK(rng.position() == 2);
}

TEST_CASE("The generator's own exp and log are right to about an ulp") {
  using namespace valence::detail;
  const double inf = std::numeric_limits<double>::infinity();
  Rng rng{6};
  double worst_log = 0, worst_exp = 0, worst_log1p = 0;
  const auto error = [](double value, double expected) {
    return std::abs(value - expected) / std::abs(expected) * 0x1p52;
  };
  for (int i = 0; i < 100'000; ++i) {
    const double x = rng.uniform(-708, 709), near_one = rng.uniform(0.5, 2), wide = std::exp(x),
                 minus = rng.uniform(-1, 3);
    worst_exp = (std::max)(worst_exp, error(exact_exp(x), std::exp(x)));
    worst_log =
        (std::max)({worst_log, error(exact_log(near_one), std::log(near_one)), error(exact_log(wide), std::log(wide))});
    worst_log1p = (std::max)(worst_log1p, error(exact_log1p(minus), std::log1p(minus)));
  }
  CHECK(worst_exp < 2);
  CHECK(worst_log < 2);
  CHECK(worst_log1p < 4);
  CHECK(exact_log(1) == 0);
  CHECK(exact_log(0) == -inf);
  CHECK(exact_log(inf) == inf);
  CHECK(std::isnan(exact_log(-1)));
  CHECK(std::isnan(exact_log(std::numeric_limits<double>::quiet_NaN())));
  CHECK(exact_log(5e-324) == valence::test::close(-744.4400719213812));
  CHECK(exact_exp(0) == 1);
  CHECK(exact_exp(-inf) == 0);
  CHECK(exact_exp(-746) == 0);
  CHECK(exact_exp(-745) == 5e-324);
  CHECK(exact_exp(710) == inf);
  CHECK(exact_exp(inf) == inf);
  CHECK(std::isnan(exact_exp(std::numeric_limits<double>::quiet_NaN())));
  CHECK(exact_log1p(-1) == -inf);
  CHECK(exact_log1p(1e-20) == 1e-20);
}
