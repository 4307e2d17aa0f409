#include "valence/preference/segment_pairs.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/preference/clip_ratio.hpp"
#include "valence/preference/losses.hpp"

using valence::Dpo;
using valence::pareto_preference;
using valence::SegmentLogProbs;
using valence::SegmentPairs;
using namespace valence::test;  // close, message_of, says

namespace {

// Two pairs of segments of three transitions.
const std::vector<double> first = {-1, -2, -0.5, -1.5, -0.25, -3}, second = {-2, -1, -0.75, -1.25, -2, -0.125};
const std::vector<double> ref_first = {-1.5, -2, -1, -1, -1, -2}, ref_second = {-1.75, -1.5, -1, -1, -1, -1};
SegmentLogProbs<double> columns() { return {first, second, ref_first, ref_second}; }

}  // namespace

TEST_CASE("A judgement of two segments holds for each pair of their transitions") {
  SegmentPairs<double> segments;
  std::vector<double> d_first(6), d_second(6);
  const Dpo loss{.beta = 0.5};
  const std::vector<int> preference = {1, -1};
  const double value = segments(loss, preference, columns(), d_first, d_second);
  double expected = 0;
  for (std::size_t k = 0; k < 6; ++k) {
    const double sign = k % 2 == 0 ? 1 : -1;
    const double margin = (first[k] - ref_first[k]) - (second[k] - ref_second[k]);
    expected += std::log1p(std::exp(-0.5 * sign * margin)) / 6;
    const double d = -0.5 * sign / (1 + std::exp(0.5 * sign * margin)) / 6;
    CHECK(d_first[k] == close(d, 1e-12));
    CHECK(d_second[k] == close(-d, 1e-12));
  }
  CHECK(value == close(expected, 1e-13));
  CHECK(gradient_matches(
      [&](std::span<const double> at) {
        std::vector<double> a(6), b(6);
        return segments(loss, preference, {at, second, ref_first, ref_second}, std::span<double>(a),
                        std::span<double>(b));
      },
      first, d_first));
  const Allocations allocations;
  segments(loss, preference, columns(), d_first, d_second);
  CHECK(allocations.count() == 0);
}

TEST_CASE("At the reference the loss is log 2, and a swapped preference negates the gradient") {
  SegmentPairs<double> segments;
  std::vector<double> d_first(6), d_second(6), swapped(6), other(6);
  const SegmentLogProbs<double> same{first, second, first, second};
  CHECK(segments(Dpo{}, std::vector<int>{1, 1}, same, d_first, d_second) == close(std::log(2.0), 1e-15));
  segments(Dpo{}, std::vector<int>{-1, -1}, same, swapped, other);
  for (std::size_t k = 0; k < 6; ++k) CHECK(swapped[k] == -d_first[k]);
  SECTION("so with one constant answer and sides that are drawn alike, the expected gradient is 0") {
    for (std::size_t k = 0; k < 6; ++k) CHECK(d_first[k] + d_second[k] == 0);
  }
}

TEST_CASE("A tie has no gradient, and segments of one transition are pairs of a bandit") {
  SegmentPairs<double> segments;
  std::vector<double> d_first(6), d_second(6);
  const double with_tie = segments(Dpo{}, std::vector<int>{1, 0}, columns(), d_first, d_second);
  for (std::size_t k = 1; k < 6; k += 2) CHECK((d_first[k] == 0 && d_second[k] == 0));
  CHECK(d_first[0] < 0);
  CHECK(with_tie < segments(Dpo{}, std::vector<int>{1, 1}, columns(), d_first, d_second));

  const std::vector<int> all(6, 1);
  const double bandit = segments(Dpo{}, all, columns(), d_first, d_second);
  const auto [value, d_chosen, d_rejected] =
      valence::evaluate(Dpo{}, valence::PairLogProbs<std::vector<double>>{first, second, ref_first, ref_second});
  CHECK(bandit == value);
  CHECK(d_first == d_chosen);
  CHECK(d_second == d_rejected);
}

TEST_CASE("Segments that don't fit and preferences that don't exist are refused") {
  SegmentPairs<double> segments;
  std::vector<double> d_first(6), d_second(6), shorter(5);
  const std::vector<int> two = {1, 1}, four = {1, 1, 1, 1}, bad = {1, 2}, none;
  CHECK(says(message_of([&] { segments(Dpo{}, bad, columns(), d_first, d_second); }), "preference[1] is 2"));
  CHECK(says(message_of([&] { segments(Dpo{}, four, columns(), d_first, d_second); }), "6 entries of 4 pairs"));
  CHECK(says(message_of([&] { segments(Dpo{}, none, columns(), d_first, d_second); }), "0 pairs"));
  CHECK(says(message_of([&] {
               segments(Dpo{}, two, {first, shorter, ref_first, ref_second}, d_first, d_second);
             }),
             "second has 5"));
  std::vector<double> infinite = first;
  infinite[2] = -std::numeric_limits<double>::infinity();
  CHECK(says(message_of([&] {
               segments(Dpo{}, two, {infinite, second, ref_first, ref_second}, d_first, d_second);
             }),
             "Dpo", "inf"));
}

TEST_CASE("Pareto dominance prefers what is nowhere worse and somewhere better") {
  const std::vector<double> a = {30, 10, 6}, b = {20, 8, 5}, c = {40, 4, 4};
  const auto prefer = [](const std::vector<double>& x, const std::vector<double>& y) {
    return pareto_preference(std::span<const double>(x), std::span<const double>(y));
  };
  CHECK(prefer(a, b) == 1);
  CHECK(prefer(b, a) == -1);
  CHECK(prefer(a, c) == 0);
  CHECK(prefer(a, a) == 0);
  CHECK(prefer({1, 2}, {1, 1}) == 1);
  CHECK(says(message_of([&] { prefer(a, {1, 2}); }), "second"));
  CHECK(says(message_of([&] { prefer({std::nan("")}, {1}); }), "first[0]"));
}
