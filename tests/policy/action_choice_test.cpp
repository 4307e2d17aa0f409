// Choices of actions: their laws, what they draw, and that choosing and telling probabilities agree.
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/policy/rate.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::chi_square_test;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

std::span<const double> row(const Numbers& q) { return q; }

Numbers probabilities(const auto& choice, const Numbers& q) {
  Numbers p(q.size(), -1);
  choice.probabilities(row(q), std::span<double>(p));
  return p;
}

/// How likely the draws are, if `probabilities` is right.
double agreement(auto choice, const Numbers& q, Rng rng, int draws = 30'000) {
  const Numbers p = probabilities(choice, q);
  Numbers counts(q.size(), 0.0);
  for (int k = 0; k < draws; ++k) ++counts[static_cast<std::size_t>(choice.choose(row(q), rng))];
  return chi_square_test(counts, p);
}

}  // namespace

TEST_CASE("greedy choices share ties alike; the first-index choice has its own name", "[V22]") {
  const Numbers q{1, 1, 0, 1};
  for (const int seed : {1, 2, 3}) {
    Rng rng{seed};
    int count[4] = {};
    for (int k = 0; k < 30'000; ++k) ++count[Greedy{}.choose(row(q), rng)];
    for (const int a : {0, 1, 3}) CHECK(std::abs(count[a] - 10'000) <= 400);
    CHECK(count[2] == 0);
    CHECK(FirstGreedy{}.choose(row(q), rng) == 0);
    CHECK(FirstGreedy{}.choose(row({-2, 5, 5}), rng) == 1);
  }
  CHECK(probabilities(Greedy{}, q) == Numbers{1.0 / 3, 1.0 / 3, 0, 1.0 / 3});
  CHECK(probabilities(FirstGreedy{}, q) == Numbers{1, 0, 0, 0});
  CHECK(probabilities(Greedy{}, {-3, -1, -2}) == Numbers{0, 1, 0});
}

TEST_CASE("probabilities: numbers by hand") {
  const Numbers p = probabilities(EpsilonGreedy{0.1}, {1, 3, 3, 0, 2});
  for (const std::size_t a : {0U, 3U, 4U}) CHECK(p[a] == close(0.02));
  for (const std::size_t a : {1U, 2U}) CHECK(p[a] == close(0.02 + 0.45));
  CHECK(probabilities(EpsilonGreedy{1}, {1, 3}) == Numbers{0.5, 0.5});
  CHECK(probabilities(EpsilonGreedy{0}, {1, 3}) == Numbers{0, 1});
  // exp(-2), exp(0), exp(-1), normalised
  const Numbers b = probabilities(Boltzmann{0.5}, {1, 2, 1.5});
  const double total = std::exp(-2) + 1 + std::exp(-1);
  CHECK(b[0] == close(std::exp(-2) / total, 1e-14));
  CHECK(b[1] == close(1 / total, 1e-14));
  CHECK(b[2] == close(std::exp(-1) / total, 1e-14));
  CHECK(probabilities(Boltzmann{1}, {800, -800, 800}) == Numbers{0.5, 0, 0.5});
  CHECK(probabilities(Boltzmann{1e-300}, {1, 2, 1.5}) == Numbers{0, 1, 0});
}

TEST_CASE("choices are drawn with the probabilities they tell", "[V22]") {
  Numbers smallest;
  const std::vector<Numbers> rows{{1, 3, 3, 0, 2}, {0, 0, 0, 0}, {-1, 2}, {4}, {0.3, 0.2, -0.1}};
  for (std::size_t k = 0; k < rows.size(); ++k) {
    const Rng rng = Rng{11}.split(k);
    smallest.push_back(agreement(Greedy{}, rows[k], rng.split(0)));
    smallest.push_back(agreement(EpsilonGreedy{0.3}, rows[k], rng.split(1)));
    smallest.push_back(agreement(EpsilonGreedy{1}, rows[k], rng.split(2)));
    smallest.push_back(agreement(Boltzmann{0.7}, rows[k], rng.split(3)));
  }
  for (const double p : smallest) CHECK(p > 1e-4 / static_cast<double>(smallest.size()));
}

TEST_CASE("how much is drawn doesn't depend on the values") {
  for (const Numbers& q : {Numbers{1, 1, 0, 1}, Numbers{0, 1, 2}, Numbers{7}}) {
    Rng rng{5};
    EpsilonGreedy e{0.5};
    for (int k = 1; k <= 50; ++k) {
      e.choose(row(q), rng);
      CHECK(rng.position() == static_cast<std::uint64_t>(2 * k));
    }
    Greedy{}.choose(row(q), rng);
    Boltzmann{}.choose(row(q), rng);
    FirstGreedy{}.choose(row(q), rng);
    CHECK(rng.position() == 102);
  }
}

TEST_CASE("a schedule counts choices, and the count is archived", "[F4]") {
  EpsilonGreedy e{LinearSchedule{.begin = 1, .end = 0, .steps = 4}};
  Rng rng{1};
  for (const double rate : {1.0, 0.75, 0.5, 0.25, 0.0, 0.0}) {
    CHECK(probabilities(e, {0, 1})[0] == close(rate / 2, 0, 1e-15));
    e.choose(row({0, 1}), rng);
  }
  CHECK(e.choices == 6);
  EpsilonGreedy again{LinearSchedule{.begin = 1, .end = 0, .steps = 4}};
  from_bytes(to_bytes(e), again);
  CHECK(again.choices == 6);
  CHECK(probabilities(again, {0, 1})[0] == 0);

  Boltzmann b{.temperature = LinearSchedule{.begin = 2, .end = 1, .steps = 1}};
  const double before = probabilities(b, {0, 1})[0];
  b.choose(row({0, 1}), rng);
  CHECK(before == close(1 / (1 + std::exp(0.5)), 1e-14));
  CHECK(probabilities(b, {0, 1})[0] == close(1 / (1 + std::exp(1.0)), 1e-14));

  const Rate constant = 0.25, schedule = CosineSchedule{.begin = 2, .end = 0, .steps = 10};
  CHECK(constant(1'000'000) == 0.25);
  CHECK(schedule(5) == close(1, 1e-15));
  const Rate copy = schedule;  // shares it
  CHECK(copy(0) == 2);
}

TEST_CASE("what isn't finite, empty or out of range throws and names it") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  Rng rng{1};
  for (const double bad : {nan, inf, -inf})
    for (std::size_t at = 0; at < 5; ++at) {
      Numbers five{1, 2, 3, 2, 1}, four{1, 2, 3, 2};
      five[at] = bad;
      if (at < 4) four[at] = bad;
      const Numbers& q = at < 4 ? four : five;
      for (const Numbers& bad_row : {five, q}) {
        const std::string name = "q[" + std::to_string(at) + "]";
        CHECK(says(message_of([&] { Greedy{}.choose(row(bad_row), rng); }), "Greedy", name));
        CHECK(says(message_of([&] { FirstGreedy{}.choose(row(bad_row), rng); }), name));
        CHECK(says(message_of([&] { EpsilonGreedy{0}.choose(row(bad_row), rng); }), "EpsilonGreedy", name));
        CHECK(says(message_of([&] { Boltzmann{}.choose(row(bad_row), rng); }), "Boltzmann", name));
        CHECK(says(message_of([&] { probabilities(EpsilonGreedy{0.1}, bad_row); }), name));
      }
    }
  // Values whose sum overflows are finite all the same.
  CHECK(Greedy{}.choose(row({1e308, 1.5e308, 1.2e308, 1e308, 1e308}), rng) == 1);
  CHECK(Greedy{}.choose(row({-1e308, -1.5e308, -1.2e308, -1e307}), rng) == 3);

  CHECK(says(message_of([&] { Greedy{}.choose(row({}), rng); }), "empty"));
  CHECK(says(message_of([&] { EpsilonGreedy{}.choose(row({}), rng); }), "empty"));
  CHECK(says(message_of([&] { Boltzmann{}.choose(row({}), rng); }), "empty"));
  for (const double epsilon : {-0.1, 1.5, nan})
    CHECK(says(message_of([&] { EpsilonGreedy{epsilon}.choose(row({1, 2}), rng); }), "epsilon", "[0, 1]"));
  for (const double temperature : {0.0, -1.0, nan, inf})
    CHECK(says(message_of([&] { Boltzmann{temperature}.choose(row({1, 2}), rng); }), "temperature"));
  Numbers two(2);
  CHECK(says(message_of([&] { Greedy{}.probabilities(row({1, 2, 3}), std::span<double>(two)); }), "p has 2", "3"));
}

TEST_CASE("choices take floats, and allocate nothing") {
  const std::vector<float> q{1, 3, 2};
  std::vector<float> p(3);
  Rng rng{3};
  EpsilonGreedy e{LinearSchedule{0.5, 0.1, 100}};
  Boltzmann b{2.0};
  int sum = 0;
  const Allocations allocations;
  for (int k = 0; k < 200; ++k) {
    sum += e.choose(std::span<const float>(q), rng) + b.choose(std::span<const float>(q), rng);
    e.probabilities(std::span<const float>(q), std::span<float>(p));
    b.probabilities(std::span<const float>(q), std::span<float>(p));
  }
  CHECK(allocations.count() == 0);
  CHECK(sum > 0);
  CHECK(static_cast<double>(p[0] + p[1] + p[2]) == close(1, 1e-6));
}
