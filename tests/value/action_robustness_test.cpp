// How firmly a greedy action stands: numbers, gradients by differences, and what is refused.
#include "valence/value/action_robustness.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

double sum(const Numbers& x) {
  double total = 0;
  for (const double v : x) total += v;
  return total;
}

}  // namespace

TEST_CASE("Cross-entropy of the greedy action: published numbers, gradients, invariance") {
  const GreedyCrossEntropy loss;
  const auto value = [&](const Numbers& q) {
    Numbers ignored(q.size());
    return loss(std::span<const double>(q), 1, ignored);
  };
  CHECK(value({0.8, 0.6, -0.8}) == close(0.703407993443, 1e-11));
  CHECK(value({0.25, 1.85, 0.9}) == close(0.46287675672, 1e-10));
  CHECK(value({0, 0, 1.5}) == close(0.368981135401, 1e-11));
  CHECK(value({2, 2, 2}) == close(std::log(3.0)));

  Rng rng{5};
  for (const double temperature : {0.3, 1.0, 4.0}) {
    const GreedyCrossEntropy warm{.temperature = temperature};
    Numbers q(5), dq(5), shifted(5), d_shifted(5), twice(5, 1.0);
    for (double& x : q) x = rng.normal();
    for (std::size_t i = 0; i < 5; ++i) shifted[i] = q[i] + 1000;
    const double at = warm(std::span<const double>(q), 1, dq);
    CHECK(gradient_matches(
        [&](std::span<const double> x) {
          Numbers ignored(5);
          return warm(x, 1, ignored);
        },
        q, dq));
    CHECK(std::abs(sum(dq)) < 1e-15 / temperature);
    CHECK(warm(std::span<const double>(shifted), 1, d_shifted) == close(at, 1e-12));
    for (std::size_t i = 0; i < 5; ++i) CHECK(d_shifted[i] == close(dq[i], 1e-11));
    CHECK(warm(std::span<const double>(q), 3, twice) == at);
    for (std::size_t i = 0; i < 5; ++i) CHECK(twice[i] == close(1 + 3 * dq[i], 1e-14));
    const std::vector<float> q32(q.begin(), q.end());
    std::vector<float> d32(5);
    CHECK(static_cast<double>(warm(std::span<const float>(q32), 1, d32)) == close(at, 1e-5));
  }
}

TEST_CASE("Cross-entropy of the greedy action: a saturated policy keeps its digits, then has no gradient") {
  const GreedyCrossEntropy loss;
  const Numbers sure{60, 0, -5}, certain{2000, 0, 0};
  Numbers dq(3), none(3);
  CHECK(loss(std::span<const double>(sure), 1, dq) == close(std::exp(-60.0) + std::exp(-65.0), 1e-12));
  CHECK(dq[1] == close(std::exp(-60.0), 1e-12));
  CHECK(dq[0] == close(-std::exp(-60.0) - std::exp(-65.0), 1e-12));
  CHECK(loss(std::span<const double>(certain), 1, none) == 0);
  for (const double d : none) CHECK(d == 0);
}

TEST_CASE("Robust margin: the hinge on the best other action") {
  const RobustMargin loss{.margin = 1};
  const auto run = [&](const Numbers& q, int a, double w = 1) {
    Numbers dq(q.size());
    const double value = loss(std::span<const double>(q), a, w, dq);
    dq.insert(dq.begin(), value);
    return dq;
  };
  CHECK(run({2, 1.5, 0}, 0) == Numbers{-0.5, -1, 1, 0});
  CHECK(run({2, 1.5, 1.75}, 0, 0.25) == Numbers{-0.25, -0.25, 0, 0.25});
  CHECK(run({2, 1.5, 0}, 2) == Numbers{2, 1, 0, -1});  // the action is no longer the greedy one
  CHECK(run({2, 0.5, 0}, 0) == Numbers{-1, 0, 0, 0});  // ahead by more than the margin
  CHECK(run({2, 1, 0}, 0) == Numbers{-1, 0, 0, 0});    // by the margin exactly
  CHECK(run({1, 1, 1}, 1) == Numbers{0, 1, -1, 0});    // the first of ties
  const Numbers even{1, 1};
  Numbers dq(2);
  CHECK(RobustMargin{.margin = 0}(std::span<const double>(even), 0, 1, dq) == 0);
  CHECK(dq == Numbers{0, 0});

  const Numbers q{0.3, 0.1, -0.2, 0.25};
  Numbers slope(4);
  loss(std::span<const double>(q), 2, 1, slope);
  CHECK(gradient_matches(
      [&](std::span<const double> x) {
        Numbers ignored(4);
        return loss(x, 2, 1, ignored);
      },
      q, slope));
}

TEST_CASE("Action robustness: bad input is refused before the gradient changes, and nothing allocates") {
  Numbers q{1, 2, 3}, dq(3, 7.0);
  const auto entropy = [&](const GreedyCrossEntropy& loss, const Numbers& values, double w = 1) {
    const auto message = message_of([&] { loss(std::span<const double>(values), w, dq); });
    CHECK(dq == Numbers(3, 7.0));
    return message;
  };
  CHECK(says(entropy({.temperature = 0}, q), "temperature is 0"));
  CHECK(says(entropy({}, {1}), "1 actions; expected at least 2"));
  CHECK(says(entropy({}, {1, poison, 3}), "q[1] is nan"));
  CHECK(says(entropy({}, {1, 2}), "dq has 3 entries; expected 2"));
  CHECK(says(entropy({}, q, poison), "w is nan"));
  const auto hinge = [&](const RobustMargin& loss, const Numbers& values, int a) {
    const auto message = message_of([&] { loss(std::span<const double>(values), a, 1, dq); });
    CHECK(dq == Numbers(3, 7.0));
    return message;
  };
  CHECK(says(hinge({.margin = -1}, q, 0), "margin is -1"));
  CHECK(says(hinge({.margin = poison}, q, 0), "margin is nan"));
  CHECK(says(hinge({}, q, 3), "a is 3"));
  CHECK(says(hinge({}, q, -1), "a is -1"));
  CHECK(says(hinge({}, {1}, 0), "at least 2"));
  CHECK(says(hinge({}, {1, 2, poison}, 0), "q[2] is nan"));
  valence::test::Allocations allocations;
  GreedyCrossEntropy{}(std::span<const double>(q), 1, dq);
  RobustMargin{}(std::span<const double>(q), 1, 1, dq);
  CHECK(allocations.count() == 0);
}
