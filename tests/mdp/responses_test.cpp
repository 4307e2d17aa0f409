#include "valence/mdp/responses.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

using valence::flip_labels;
using valence::Matrix;
using valence::population_pairs;
using valence::ResponsePairs;

namespace {

using valence::test::close;
using valence::test::message_of;
using valence::test::says;

}  // namespace

TEST_CASE("pairs give their answers", "[responses]") {
  ResponsePairs pairs;
  pairs.push_back(3, 1, 0);
  pairs.push_back(5, 2, 4);
  pairs.weight = {0.5, 2};
  CHECK(pairs.size() == 2);
  const auto chosen = pairs.chosen_responses();
  CHECK(chosen.prompt == std::vector<int>{3, 5});
  CHECK(chosen.answer == std::vector<int>{1, 2});
  CHECK(chosen.weight == pairs.weight);
  const auto all = pairs.all_responses();
  CHECK(all.prompt == std::vector<int>{3, 3, 5, 5});
  CHECK(all.answer == std::vector<int>{1, 0, 2, 4});
  CHECK(all.weight == std::vector<double>{0.5, 0.5, 2, 2});
  pairs.weight.clear();
  CHECK(pairs.all_responses().weight.empty());
}

TEST_CASE("labels are turned round at their rate", "[responses]") {
  ResponsePairs pairs;
  for (int i = 0; i < 20'000; ++i) pairs.push_back(0, 1, 2);
  valence::Rng rng{7};
  const auto flipped = flip_labels(pairs, 0.3, rng);
  CHECK(rng.position() == pairs.size());
  const auto turned = static_cast<double>(std::count(flipped.chosen.begin(), flipped.chosen.end(), 2));
  CHECK(turned == close(6000, 0, 4 * 64.8));  // four standard deviations of the binomial law
  for (std::size_t i = 0; i < flipped.size(); ++i) CHECK(flipped.chosen[i] + flipped.rejected[i] == 3);
  CHECK(flip_labels(pairs, 0, rng).chosen == pairs.chosen);
  CHECK(flip_labels(pairs, 1, rng).chosen == pairs.rejected);
  CHECK(says(message_of([&] { flip_labels(pairs, 1.5, rng); }), "rate is 1.5"));
}

TEST_CASE("population pairs carry the probability of each pair", "[responses]") {
  const Matrix<double> chosen{{0.5, 1}, {0.5, 0}}, rejected{{0.25, 0.1}, {0.75, 0.9}};
  const auto pairs = population_pairs(chosen, rejected);
  REQUIRE(pairs.size() == 8);
  const double n = 8;
  CHECK(std::accumulate(pairs.weight.begin(), pairs.weight.end(), 0.0) == close(n));
  for (std::size_t i = 0; i < pairs.size(); ++i)
    CHECK(pairs.weight[i] / n ==
          close(chosen(pairs.chosen[i], pairs.prompt[i]) * rejected(pairs.rejected[i], pairs.prompt[i]) / 2, 1e-15));
  CHECK(says(message_of([&] { population_pairs(chosen, Matrix<double>{{1, 1}}); }), "rejected is 1 x 2"));
  CHECK(says(message_of([&] { population_pairs(chosen, Matrix<double>{{1, 1}, {1, 0}}); }), "rejected sums to 2"));
}
