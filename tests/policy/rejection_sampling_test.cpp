#include "valence/policy/rejection_sampling.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/random.hpp"

using valence::rejection_sample;
using valence::RejectionSampler;
using valence::Rng;
using namespace valence::test;  // close, message_of, says

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

const std::vector<double> rewards{0, 1, 2, -1};
using Indices = std::vector<int>;

}  // namespace

TEST_CASE("RejectionSampler's probabilities: golden numbers") {
  const RejectionSampler sampler{2, 0.5};
  const double expected[] = {0.01831563888873, 0.1353352832366, 1, 0.002478752176666};  // exp((r - 2) / 0.5)
  double mean = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(sampler.acceptance(rewards[i]) == close(expected[i], 1e-12));
    mean += sampler.acceptance(rewards[i]) / 4;
  }
  CHECK(mean == close(0.2890324185755, 1e-12));
}

TEST_CASE("RejectionSampler draws from the optimal policy") {
  const RejectionSampler sampler{2, 0.5};
  const double target[] = {0.01584220117851, 0.1170589132385, 0.8649548767994, 0.002144008783585};
  Rng rng{3};
  constexpr int draws = 200'000;
  double count[4] = {}, proposals = 0;
  for (int i = 0; i < draws; ++i) {
    const int y = sampler.sample([&] { return ++proposals, rng.below(4); },
                                 [](int a) { return rewards[static_cast<std::size_t>(a)]; }, rng);
    ++count[y];
  }
  double variation = 0, chi_square = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const double expected = draws * target[i];
    variation += std::abs(count[i] - expected) / (2 * draws);
    chi_square += (count[i] - expected) * (count[i] - expected) / expected;
  }
  CHECK(variation < 0.005);
  CHECK(gamma_upper(1.5, chi_square / 2) > 0.0027);  // 3 sigma
  CHECK(draws / proposals == close(0.2890324185755, 0.01));
}

TEST_CASE("RejectionSampler accepts everything at the bound") {
  Rng rng{4};
  const RejectionSampler sampler{-3, 1e-6};
  for (int i = 0; i < 100; ++i) CHECK(sampler.accept(-3, rng));
  CHECK(!sampler.accept(-3.1, rng));
}

TEST_CASE("RejectionSampler refuses bad input, and rewards above its bound") {
  CHECK(says(message_of([] { RejectionSampler(0, 0); }), "RejectionSampler", "beta"));
  CHECK(says(message_of([] { RejectionSampler(infinity, 1); }), "bound"));
  CHECK(says(message_of([] { RejectionSampler(0, 1, 0); }), "max_proposals"));
  Rng rng{1};
  const RejectionSampler sampler{1, 1, 50};
  CHECK(says(message_of([&] { sampler.accept(1.5, rng); }), "reward is 1.5", "at most the bound, 1"));
  CHECK(says(message_of([&] { sampler.accept(not_a_number, rng); }), "reward", "nan"));
  const auto never = [] { return 0; };
  CHECK(says(message_of([&] {
               sampler.sample(
                   never, [](int) { return -1e6; }, rng);
             }),
             "none of 50 proposals"));
}

TEST_CASE("rejection_sample: everything in order where rewards are equal, the best ones where beta is tiny") {
  Rng rng{2};
  CHECK(rejection_sample(std::vector<double>(6, 0.3), 4, 0.5, rng) == Indices{0, 1, 2, 3});
  const std::vector<double> r{0.1, 0.5, -2, 0.5, 0.7, 0.1};
  CHECK(rejection_sample(r, 3, 1e-6, rng) == Indices{4, 1, 3});
  CHECK(rejection_sample(r, 4, 1e-6, rng) == Indices{4, 1, 3, 0});  // of the ties the first
  CHECK(rejection_sample(r, 4, 1e12, rng) == Indices{0, 1, 2, 3});
}

TEST_CASE("rejection_sample: different indices, the best in the first pass, a permutation of all") {
  Rng rng{7};
  std::vector<double> r(12);
  for (int repeat = 0; repeat < 200; ++repeat) {
    rng.fill_normal(r);
    const int best = static_cast<int>(std::max_element(r.begin(), r.end()) - r.begin());
    const Indices some = rejection_sample(r, 5, 0.5, rng);
    Indices sorted = some;
    std::sort(sorted.begin(), sorted.end());
    CHECK(some.size() == 5);
    CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
    // Only five that came before it in its pass keep the best one out.
    const bool has_best = std::find(some.begin(), some.end(), best) != some.end();
    CHECK((has_best || (best > some.back() && std::is_sorted(some.begin(), some.end()))));
    Indices everything = rejection_sample(r, 12, 0.5, rng);
    std::sort(everything.begin(), everything.end());
    Indices expected(12);
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(everything == expected);
  }
}

TEST_CASE("rejection_sample: the law of the first accepted, by enumeration of its passes") {
  // The first pass accepts the best of the four for sure, so the first accepted is the first of the scan that is: the
  // candidates before the best one come with their own probabilities.
  const double a = 0.01831563888873, b = 0.1353352832366;
  const double law[] = {a, (1 - a) * b, (1 - a) * (1 - b), 0};
  Rng rng{11};
  constexpr int draws = 100'000;
  double count[4] = {};
  for (int i = 0; i < draws; ++i) ++count[rejection_sample(rewards, 1, 0.5, rng)[0]];
  CHECK(count[3] == 0);
  double chi_square = 0;
  for (std::size_t i = 0; i < 3; ++i)
    chi_square += (count[i] - draws * law[i]) * (count[i] - draws * law[i]) / (draws * law[i]);
  CHECK(gamma_upper(1, chi_square / 2) > 0.0027);
}

TEST_CASE("rejection_sample moves its bound to what is left") {
  // The best is accepted for sure; of the two that are left -30 is the bound, and then accepted for sure.
  Rng rng{5};
  const std::vector<double> r{-40, 2, -30};
  for (int i = 0; i < 20; ++i) CHECK(rejection_sample(r, 2, 0.5, rng) == Indices{1, 2});
}

TEST_CASE("rejection_sample refuses bad input") {
  Rng rng{1};
  const auto message = [&rng](std::vector<double> r, int number, double beta) {
    return message_of([&] { rejection_sample(r, number, beta, rng); });
  };
  CHECK(says(message(rewards, 5, 0.5), "rejection_sample", "number is 5 of 4"));
  CHECK(says(message(rewards, 0, 0.5), "number"));
  CHECK(says(message(rewards, -1, 0.5), "number"));
  CHECK(says(message({}, 1, 0.5), "number is 1 of 0"));
  CHECK(says(message(rewards, 2, 0), "beta"));
  CHECK(says(message({0, not_a_number}, 1, 0.5), "rewards[1]", "nan"));
}
