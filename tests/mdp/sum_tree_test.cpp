#include "valence/mdp/sum_tree.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using test::message_of, test::says;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

SumTree tree_of(const std::vector<double>& weights) {
  SumTree tree(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) tree.set(i, weights[i]);
  return tree;
}

constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("A draw equal to the sum on the left belongs to the right", "[R1]") {
  const SumTree tree = tree_of({10, 5, 2});
  std::array<int, 3> counts{};
  for (int mass = 0; mass < 17; ++mass) ++counts[tree.find(mass)];
  CHECK(counts == std::array<int, 3>{10, 5, 2});
  CHECK(tree.find(std::nextafter(10.0, 0.0)) == 0);
  CHECK(tree.find(17) == 2);
  CHECK(tree.find(infinity) == 2);

  // The same across the boundaries of blocks, and with zeros on both sides of them.
  std::vector<double> spread(40, 0.0);
  spread[7] = 10, spread[9] = 5, spread[32] = 2;
  const SumTree wide = tree_of(spread);
  std::vector<int> found(40, 0);
  for (int mass = 0; mass < 17; ++mass) ++found[wide.find(mass)];
  CHECK(found[7] == 10);
  CHECK(found[9] == 5);
  CHECK(found[32] == 2);
  CHECK(wide.find(1e300) == 32);
}

TEST_CASE("An entry of weight 0 is never found", "[R1]") {
  const SumTree tree = tree_of({0, 3, 0, 1, 0});
  Rng rng{1};
  std::array<double, 5> counts{};
  for (int i = 0; i < 1'000'000; ++i) ++counts[tree.find(rng.uniform() * tree.total())];
  CHECK(counts[0] + counts[2] + counts[4] == 0);
  const std::array<double, 2> seen{counts[1], counts[3]}, expected{0.75, 0.25};
  CHECK(test::chi_square_test(seen, expected) > 1e-6);
}

TEST_CASE("Sums do not drift", "[R2]") {
  constexpr std::size_t n = 100'000, batch = 500;
  SumTree tree(n);
  std::vector<double> weights(n, 0.0);
  Rng rng{2};
  std::vector<std::size_t> index(batch);
  std::vector<double> weight(batch);
  for (int round = 0; round < 20'000; ++round) {  // 10^7 changes over twenty orders of magnitude, many of them to 0
    for (std::size_t k = 0; k < batch; ++k) {
      const std::uint64_t bits = rng();
      index[k] = static_cast<std::size_t>(bits % n);
      weight[k] = (bits >> 60) == 0 ? 0
                                    : std::ldexp(1.0 + static_cast<double>(bits >> 40) * 0x1p-24,
                                                 static_cast<int>(bits >> 32 & 63) - 32);
      weights[index[k]] = weight[k];
    }
    tree.set(index, weight);
  }
  long double sum = 0;
  double largest = 0, smallest = infinity;
  for (std::size_t i = 0; i < n; ++i) {
    sum += static_cast<long double>(weights[i]);
    largest = std::max(largest, weights[i]);
    if (weights[i] > 0) smallest = std::min(smallest, weights[i]);
    if (tree[i] != weights[i]) FAIL("weight " << i);
  }
  CHECK(tree.total() == close(static_cast<double>(sum), 1e-12));
  CHECK(tree.largest() == largest);
  CHECK(tree.smallest_positive() == smallest);
  CHECK(tree.total() == tree_of(weights).total());  // to the bit: no history
  CHECK(weights[tree.find(0)] > 0);
  CHECK(weights[tree.find(std::nextafter(tree.total(), 0.0))] > 0);
  CHECK(weights[tree.find(tree.total())] > 0);

  // All but one are taken away again: what is left is exact, not a difference of large numbers.
  for (std::size_t i = 0; i < n; ++i) tree.set(i, i == 77'777 ? 1e-9 : 0.0);
  CHECK(tree.total() == 1e-9);
  CHECK(tree.find(0) == 77'777);
  CHECK(tree.find(5e-10) == 77'777);
  CHECK(tree.largest() == 1e-9);
}

TEST_CASE("Every entry is drawn, whatever the size", "[R3]") {
  for (const std::size_t n : {1U, 2U, 3U, 4U, 5U, 8U, 9U, 64U, 65U, 100U}) {
    CAPTURE(n);
    const SumTree tree = tree_of(std::vector<double>(n, 0.3));
    Rng rng{n};
    std::vector<double> counts(n, 0.0);
    for (std::size_t i = 0; i < 1000 * n; ++i) ++counts[tree.find(rng.uniform() * tree.total())];
    for (const double count : counts) CHECK(count > 0);
    CHECK(test::chi_square_test(counts, std::vector<double>(n, 1 / static_cast<double>(n))) > 1e-6);
  }
}

TEST_CASE("Found is the entry in whose part of the running sum the mass lies") {
  for (const std::size_t n : {1U, 7U, 8U, 9U, 63U, 130U, 1000U}) {
    CAPTURE(n);
    Rng rng{n};
    std::vector<double> weights(n);
    for (double& w : weights) w = rng.bernoulli(0.3) ? 0 : static_cast<double>(rng.below(1000));  // sums are exact
    weights[n / 2] = 5;
    const SumTree tree = tree_of(weights);
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    CHECK(tree.total() == total);
    std::vector<double> mass(700);
    for (double& m : mass) m = rng.uniform() * total;
    std::vector<std::size_t> found(mass.size());
    tree.find(mass, found);
    for (std::size_t k = 0; k < mass.size(); ++k) {
      std::size_t expected = 0;
      for (double sum = weights[0]; !(mass[k] < sum); sum += weights[expected]) ++expected;
      REQUIRE(found[k] == expected);
      REQUIRE(tree.find(mass[k]) == expected);
    }
  }
}

TEST_CASE("Changes in one call are those one by one, also of an index that is there twice") {
  Rng rng{5};
  SumTree at_once(777), one_by_one(777);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::size_t> index(600);
    std::vector<double> weight(600);
    for (std::size_t k = 0; k < index.size(); ++k) index[k] = rng.below(777U), weight[k] = rng.exponential();
    index[10] = index[11] = index[599];
    at_once.set(index, weight);
    for (std::size_t k = 0; k < index.size(); ++k) one_by_one.set(index[k], weight[k]);
    REQUIRE(at_once[index[599]] == weight[599]);
    REQUIRE(at_once.total() == one_by_one.total());
    REQUIRE(at_once.largest() == one_by_one.largest());
    REQUIRE(at_once.smallest_positive() == one_by_one.smallest_positive());
    REQUIRE(same_state(at_once, one_by_one));
  }
}

TEST_CASE("A sum tree refuses what is no weight, unchanged") {
  SumTree tree = tree_of({1, 2, 3});
  const auto before = to_bytes(tree);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::array<std::size_t, 2> index{0, 3}, good{0, 1};
  const std::array<double, 2> weight{5, 6};
  for (const double bad : {-1.0, nan, infinity, 1e300}) {
    const std::array<double, 2> weights{7, bad};
    CHECK(says(message_of([&] { tree.set(good, weights); }), "SumTree::set: weight[1] is", "expected a number in [0"));
  }
  CHECK(says(message_of([&] { tree.set(index, weight); }), "index[1] is 3; expected less than 3"));
  CHECK(says(message_of([&] { tree.set(good, std::span(weight).first(1)); }), "weight has 1 entries; expected 2"));
  CHECK(says(message_of([&] { tree.find(nan); }), "mass[0] is nan"));
  CHECK(says(message_of([&] { tree.find(-0.5); }), "mass[0] is -0.5"));
  CHECK(to_bytes(tree) == before);
  CHECK(says(message_of([] { SumTree(5).find(0); }), "all 5 weights are 0"));
  CHECK(says(message_of([] { SumTree(0); }), "size is 0"));
  CHECK(SumTree(5).total() == 0);
  CHECK(SumTree(5).smallest_positive() == infinity);
}

TEST_CASE("A sum tree comes back from its bytes, and copies are independent") {
  Rng rng{6};
  SumTree tree(100);
  for (std::size_t i = 0; i < 100; ++i) tree.set(i, rng.exponential());
  SumTree loaded(3);
  from_bytes(to_bytes(tree), loaded);
  CHECK(loaded.size() == 100);
  CHECK(loaded.total() == tree.total());
  for (double mass = 0; mass < tree.total(); mass += 0.37) REQUIRE(loaded.find(mass) == tree.find(mass));
  SumTree copy = tree;
  copy.set(0, 1e6);
  CHECK(tree.total() == loaded.total());
  auto bytes = to_bytes(tree);
  bytes[0] = std::byte{99};  // the size no longer fits the weights... which are padded to 104
  CHECK_NOTHROW(from_bytes(bytes, loaded));
  bytes[0] = std::byte{9};
  CHECK(says(message_of([&] { from_bytes(bytes, loaded); }), "weight has 104 entries; expected 16"));
}

TEST_CASE("Draws and changes allocate nothing") {
  SumTree tree(5000);
  std::vector<std::size_t> index(1000);
  std::vector<double> weight(1000, 2.0), mass(1000, 3.0);
  for (std::size_t k = 0; k < index.size(); ++k) index[k] = 5 * k;
  const test::Allocations allocations;
  tree.set(index, weight);
  tree.find(mass, index);
  CHECK(allocations.count() == 0);
}
