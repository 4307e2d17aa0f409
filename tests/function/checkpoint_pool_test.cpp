#include "valence/function/checkpoint_pool.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"

using valence::Checkpoint;
using valence::CheckpointPool;
using valence::Rng;
using namespace valence::test;  // close, message_of, says

namespace {

CheckpointPool<double> filled(Checkpoint select, std::int64_t updates) {
  CheckpointPool<double> pool{{.every = 10, .select = select}};
  for (std::int64_t update = 0; update < updates; ++update) {
    const std::vector<double> theta = {static_cast<double>(update), 1.0};
    CHECK(pool.offer(update, theta) == (update % 10 == 0));
  }
  return pool;
}

}  // namespace

TEST_CASE("A checkpoint pool saves at its interval and selects as asked") {
  Rng rng{1};
  const auto first = filled(Checkpoint::first, 35), last = filled(Checkpoint::last, 35);
  REQUIRE(first.size() == 4);
  CHECK(first.select(rng)[0] == 0);
  CHECK(last.select(rng)[0] == 30);
  CHECK(first[2][0] == 20);
  CHECK(rng.position() == 0);
  const auto random = filled(Checkpoint::random, 35);
  std::vector<int> counts(4);
  for (int i = 0; i < 4000; ++i) ++counts[static_cast<std::size_t>(random.select(rng)[0] / 10)];
  for (const int count : counts) CHECK(std::abs(count - 1000) < 120);  // four standard deviations
}

TEST_CASE("With one checkpoint all selections agree") {
  Rng rng{1};
  for (const Checkpoint select : {Checkpoint::first, Checkpoint::last, Checkpoint::random})
    CHECK(filled(select, 10).select(rng)[0] == 0);
}

TEST_CASE("A checkpoint pool refuses what has diverged, and an empty pool selects nothing") {
  Rng rng{1};
  CheckpointPool<double> pool{{.every = 1}};
  CHECK(says(message_of([&] { pool.select(rng); }), "empty"));
  const std::vector<double> good = {1, 2}, longer = {1, 2, 3};
  std::vector<double> bad = {1, std::numeric_limits<double>::quiet_NaN()};
  pool.offer(0, good);
  CHECK(says(message_of([&] { pool.offer(1, bad); }), "theta[1]", "nan"));
  CHECK(says(message_of([&] { pool.offer(1, longer); }), "3 entries", "2"));
  CHECK(says(message_of([&] { pool.offer(1, std::span<const double>{}); }), "theta is empty"));
  CHECK(says(message_of([&] { pool.offer(-1, good); }), "update"));
  CHECK(pool.size() == 1);
  CHECK(says(message_of([&] { pool[1]; }), "index is 1"));
  CHECK(says(message_of([&] { CheckpointPool<double>({.every = 0}); }), "every"));
}
