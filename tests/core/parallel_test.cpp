// Built twice: as it is (serial), and with VALENCE_OPENMP and the compiler's OpenMP flag. Everything holds either way.
#include "valence/core/parallel.hpp"

#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>

#include "support/close.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using namespace valence::test;

#if defined(VALENCE_OPENMP) && defined(_OPENMP)
static_assert(parallel_enabled);
#else
static_assert(!parallel_enabled);
#endif

TEST_CASE("parallel_for visits every index once", "[parallel][T8]") {
  for (const std::size_t n : {0u, 1u, 7u, 64u, 1000u})
    for (const std::size_t chunk : {1u, 3u, 64u, 5000u})
      for (const int threads : {0, 1, 2, 7}) {
        std::vector<int> visits(n, 0);
        parallel_for(n, [&](std::size_t i) { visits[i] += static_cast<int>(i) + 1; },
                     {.threads = threads, .chunk = chunk});
        std::vector<int> expected(n);
        std::iota(expected.begin(), expected.end(), 1);
        CHECK(visits == expected);
      }
}

TEST_CASE("results are bit-equal for any number of threads", "[parallel][T1][T3][T4][T5]") {
  const std::size_t n = 10007;
  std::vector<double> x(n);
  const auto sum = [&](int threads) {
    const Rng rng{9};
    parallel_for(n, [&](std::size_t i) { x[i] = rng.split(i).normal(); }, {.threads = threads, .chunk = 16});
    return parallel_reduce(n, 0.1,
                           [&](std::size_t first, std::size_t last) {
                             double s = 0;
                             for (std::size_t i = first; i < last; ++i) s += x[i];
                             return s;
                           },
                           std::plus<>(), {.threads = threads, .chunk = 100});
  };
  const double one = sum(1);
  for (const int threads : {1, 2, 3, 7, 16})
    for (int run = 0; run < 20; ++run) REQUIRE(sum(threads) == one);

  // in order, and what it should be: 101 chunks
  double expected = 0.1;
  for (std::size_t first = 0; first < n; first += 100) {
    double s = 0;
    for (std::size_t i = first; i < std::min(first + 100, n); ++i) s += x[i];
    expected += s;
  }
  CHECK(one == expected);

  // order of combination shows in a string; and bool parts don't share bytes
  const auto word = parallel_reduce(
      10, std::string(">"),
      [](std::size_t a, std::size_t b) { return std::to_string(a) + "-" + std::to_string(b) + " "; },
      [](std::string a, const std::string& b) { return a + b; }, {.chunk = 4});
  CHECK(word == ">0-4 4-8 8-10 ");
  CHECK(parallel_reduce(1000, true, [](std::size_t a, std::size_t) { return a != 2000; }, std::logical_and<>(),
                        {.chunk = 1}));
  CHECK(parallel_reduce(0, 5, [](std::size_t, std::size_t) { return 1; }, std::plus<>(), {.chunk = 1}) == 5);
}

TEST_CASE("the exception with the lowest index comes out, and the loop can be used again", "[parallel][T9]") {
  for (int run = 0; run < 50; ++run) {
    std::vector<int> done(8, 0);
    const auto message = message_of([&] {
      parallel_for(8,
                   [&](std::size_t i) {
                     if (i == 2 || i == 5) throw std::runtime_error("task " + std::to_string(i));
                     done[i] = 1;
                   },
                   {.threads = 4});
    });
    REQUIRE(message == "task 2");
    REQUIRE(done[0] + done[1] == 2);
  }
  int count = 0;
  parallel_for(3, [&](std::size_t) { ++count; }, {.threads = 1});
  CHECK(count == 3);
}

TEST_CASE("a loop inside a loop works", "[parallel]") {
  std::vector<std::vector<int>> table(5, std::vector<int>(6));
  parallel_for(5, [&](std::size_t i) {
    parallel_for(6, [&, i](std::size_t j) { table[i][j] = static_cast<int>(10 * i + j); });
  });
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t j = 0; j < 6; ++j) CHECK(table[i][j] == static_cast<int>(10 * i + j));
}

TEST_CASE("options that make no sense are refused", "[parallel]") {
  const auto nothing = [](std::size_t) {};
  CHECK(says(message_of([&] { parallel_for(3, nothing, {.chunk = 0}); }), "chunk", "0"));
  CHECK(says(message_of([&] { parallel_for(3, nothing, {.threads = -1}); }), "threads", "-1"));
}
