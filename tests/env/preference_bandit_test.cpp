#include "valence/env/preference_bandit.hpp"

#include <cmath>
#include <cstddef>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

using valence::Matrix;
using valence::PairSampling;
using valence::PreferenceBandit;
using valence::Vector;

namespace {

using valence::test::close;
using valence::test::message_of;
using valence::test::says;

PreferenceBandit two_prompts() {
  return PreferenceBandit{Matrix<double>{{1, -2}, {.25, .5}, {-.5, 3}},
                          {},
                          Matrix<double>{{.2, .5}, {.7, .4}, {.1, .1}},
                          Matrix<double>{{.5, .25}, {.5, .25}, {0, .5}}};
}

/// sum p log(p / q), mean over prompts.
double kl(const Matrix<double>& p, const Matrix<double>& q) {
  return (p.array() * (p.array() / q.array()).log()).sum() / static_cast<double>(p.cols());
}

}  // namespace

TEST_CASE("a whole policy's value, win rate and distance from the best one are exact", "[preference_bandit]") {
  const auto bandit = two_prompts();
  const Matrix<double> pi{{.3, .1}, {.3, .2}, {.4, .7}};
  CHECK(bandit.value(pi) == close((.3 * 1 + .3 * .25 - .4 * .5 - .1 * 2 + .2 * .5 + .7 * 3) / 2));
  const double beta = 0.5;
  const auto best = bandit.best_policy(beta);
  CHECK(bandit.objective(pi, beta) == close(bandit.value(pi) - beta * kl(pi, bandit.reference())));
  CHECK(bandit.objective(best, beta) == close(bandit.best_objective(beta)));
  // J(pi*) - J(pi) = beta KL(pi || pi*), per prompt and so in the mean.
  CHECK(bandit.best_objective(beta) - bandit.objective(pi, beta) == close(beta * kl(pi, best), 1e-11));

  CHECK(bandit.preference(1, 2, 0) == close(1 / (1 + std::exp(-5.0))));
  CHECK(bandit.win_rate(pi, pi) == close(0.5));
  CHECK(bandit.win_rate(pi, best) + bandit.win_rate(best, pi) == close(1.0));
  const Matrix<double> first{{1, 1}, {0, 0}, {0, 0}}, last{{0, 0}, {0, 0}, {1, 1}};
  CHECK(bandit.win_rate(last, first) == close((1 / (1 + std::exp(1.5)) + 1 / (1 + std::exp(-5.0))) / 2));
  CHECK(says(message_of([&] { bandit.value(Matrix<double>{{1}, {0}, {0}}); }), "policy is 3 x 1"));
  CHECK(says(message_of([&] { bandit.win_rate(pi, 2 * pi); }), "policy"));
}

TEST_CASE("sampled pairs have the probabilities that population_pairs states", "[preference_bandit]") {
  const auto bandit = two_prompts();
  const std::size_t n = 60'000;
  for (const PairSampling& options :
       {PairSampling{}, PairSampling{.distinct = false}, PairSampling{.flip = 0.3}, PairSampling{.scale = 2}}) {
    const auto exact = bandit.population_pairs(options);
    valence::Rng rng{11};
    const auto pairs = bandit.sample_pairs(n, rng, options);
    CHECK(rng.position() == 5 * n);
    REQUIRE(pairs.size() == n);
    std::map<std::tuple<int, int, int>, double> count;
    for (std::size_t i = 0; i < n; ++i) count[{pairs.prompt[i], pairs.chosen[i], pairs.rejected[i]}] += 1;
    double total = 0, chi_square = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      const double p = exact.weight[i] / static_cast<double>(exact.size()), expected = p * static_cast<double>(n);
      const double seen = count[{exact.prompt[i], exact.chosen[i], exact.rejected[i]}];
      total += p;
      chi_square += (seen - expected) * (seen - expected) / expected;
      if (options.distinct) CHECK(exact.chosen[i] != exact.rejected[i]);
    }
    CHECK(total == close(1.0));
    CHECK(count.size() == exact.size());  // nothing else was drawn: answer 2 to prompt 0 is never logged
    CHECK(chi_square < static_cast<double>(exact.size()) + 5 * std::sqrt(2.0 * static_cast<double>(exact.size())));
  }
  // By hand: prompt 0 logs answers 0 and 1 alone, so it gives (0, 1) with probability sigmoid(0.75) / 2.
  const auto exact = bandit.population_pairs();
  CHECK(exact.weight[0] / static_cast<double>(exact.size()) == close(valence::sigmoid(0.75) / 2));
  const auto flipped = bandit.population_pairs({.flip = 0.3});
  const double p = valence::sigmoid(0.75);
  CHECK(flipped.weight[0] / static_cast<double>(flipped.size()) == close((0.7 * p + 0.3 * (1 - p)) / 2));
}

TEST_CASE("pairs of another law, and answers of a law", "[preference_bandit]") {
  const auto bandit = two_prompts();
  valence::Rng rng{3};
  const Matrix<double> law{{0, .5}, {.5, .5}, {.5, 0}};
  const auto pairs = bandit.sample_pairs(500, law, rng);
  for (std::size_t i = 0; i < pairs.size(); ++i)
    for (const int answer : {pairs.chosen[i], pairs.rejected[i]}) CHECK(law(answer, pairs.prompt[i]) > 0);
  const auto answers = bandit.sample_responses(4000, law, rng);
  double second = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    CHECK(law(answers.answer[i], answers.prompt[i]) > 0);
    second += answers.answer[i] == 1 ? 1 : 0;
  }
  CHECK(second / 4000 == close(0.5, 0, 4 * 0.0079));
}

TEST_CASE("a preference bandit refuses bad input", "[preference_bandit]") {
  const Matrix<double> rewards{{1, 2}, {3, 4}};
  CHECK(says(message_of([&] {
               PreferenceBandit{rewards, Matrix<double>::Zero(2, 3)};
             }),
             "features is 2 x 3", "expected 2 x 4"));
  CHECK(says(message_of([&] {
               PreferenceBandit{rewards, Matrix<double>::Constant(2, 4, std::nan(""))};
             }),
             "features[0] is nan"));
  CHECK(says(message_of([&] { PreferenceBandit{rewards, {}, {}, Matrix<double>{{1, 1}, {1, 0}}}; }), "sums to 2"));
  const PreferenceBandit bandit{rewards};
  valence::Rng rng{1};
  const auto message = [&](const PairSampling& o) { return message_of([&] { bandit.sample_pairs(1, rng, o); }); };
  CHECK(says(message({.flip = -0.1}), "flip is -0.1"));
  CHECK(says(message({.scale = -1}), "scale is -1"));
  const Matrix<double> one{{1, .5}, {0, .5}};
  CHECK(says(message_of([&] { bandit.sample_pairs(1, one, rng); }), "answers to prompt 0", "one answer alone"));
  CHECK_NOTHROW(bandit.sample_pairs(1, one, rng, {.distinct = false}));
  CHECK(rng.position() == 5);
}

TEST_CASE("the bandit of a coverage gap is as its options say", "[preference_bandit]") {
  valence::Rng rng{5};
  const auto bandit = valence::coverage_gap_bandit(rng, {.prompts = 400});
  CHECK(bandit.prompts() == 400);
  CHECK(bandit.answers() == 24);
  CHECK(bandit.features().rows() == 12);
  const auto& phi = bandit.features();
  double covered = 0, seen = 0, other = 0;
  for (int x = 0; x < 400; ++x) {
    for (int k = 0; k < 8; ++k) covered += phi.col(x * 24 + k).tail(8).squaredNorm() / (400 * 8 * 8);
    for (int k = 0; k < 24; ++k) (k < 8 ? seen : other) += bandit.reward(x, k) / (400 * (k < 8 ? 8 : 16));
  }
  CHECK(covered == close(0.15 * 0.15, 0.05));
  CHECK(seen == close(0, 0, 0.15));  // standard error 0.027
  CHECK(other == close(-1.5, 0, 0.15));
  CHECK(bandit.behaviour()(7, 0) == 0.125);
  CHECK(bandit.behaviour()(8, 0) == 0);
  CHECK(bandit.reference()(0, 0) == close(1.0 / 24));
  // Rewards are linear in the features with weights of norm 1.5 each: the best fit leaves nothing.
  const Vector<double> r = Eigen::Map<const Vector<double>>(bandit.rewards(0).data(), 400 * 24);
  const Matrix<double> gram = phi * phi.transpose();
  Vector<double> w = Vector<double>::Zero(12), residual = phi * r;
  for (int i = 0; i < 500; ++i) {  // Richardson's iteration
    w += (residual - gram * w) / gram.trace();
  }
  CHECK(w.head(4).norm() == close(1.5, 1e-6));
  CHECK(w.tail(8).norm() == close(1.5, 0.2));
  CHECK(says(message_of([&] { valence::coverage_gap_bandit(rng, {.covered = 25}); }), "covered is 25"));
}

TEST_CASE("the other bandits are as their options say", "[preference_bandit]") {
  valence::Rng rng{6};
  const std::vector<double> w{1, -2};
  const auto linear = valence::linear_bandit(w, rng, {.prompts = 3, .answers = 4, .features = 2});
  for (int x = 0; x < 3; ++x)
    for (int k = 0; k < 4; ++k)
      CHECK(linear.reward(x, k) == close(linear.features()(0, x * 4 + k) - 2 * linear.features()(1, x * 4 + k)));
  CHECK(says(message_of([&] { valence::linear_bandit(w, rng); }), "weights has 2 entries; expected 8"));

  const auto rare = valence::rare_arm_bandit(rng);
  CHECK(rare.answers() == 10);
  CHECK(rare.reward(0, 9) == 2.5);
  CHECK(rare.reference()(3, 0) == close(0.2475));
  CHECK(rare.reference()(9, 0) == close(0.01 / 6));
  CHECK(rare.features().size() == 0);

  const auto misspecified = valence::misspecified_bandit(rng);
  const Eigen::Map<const Vector<double>> r(misspecified.rewards(0).data(), 30 * 64);
  CHECK(r.mean() == close(0, 0, 1e-12));
  CHECK(r.squaredNorm() / (30 * 64) == close(1.0));

  const auto demonstrations = valence::demonstration_bandit(rng);
  CHECK(demonstrations.features().squaredNorm() / (30 * 20) == close(1, 0.02));
  CHECK(demonstrations.reference() == demonstrations.behaviour());
  // log base - 0.3 r is standard normal up to a constant of the prompt.
  double variance = 0;
  for (int x = 0; x < 30; ++x) {
    Vector<double> own = demonstrations.reference().col(x).array().log();
    for (int k = 0; k < 20; ++k) own[k] -= 0.3 * demonstrations.reward(x, k);
    variance += (own.array() - own.mean()).square().sum() / 19 / 30;
  }
  CHECK(variance == close(1, 0.25));  // standard error 0.06
}

TEST_CASE("a preference bandit is archived with its features", "[preference_bandit]") {
  valence::Rng rng{8};
  auto a = valence::demonstration_bandit(rng, {.prompts = 2, .answers = 3, .features = 4});
  auto b = valence::demonstration_bandit(rng, {.prompts = 2, .answers = 3, .features = 4});
  CHECK(a.features() != b.features());
  valence::from_bytes(valence::to_bytes(a), b);
  CHECK(a.features() == b.features());
  CHECK(a.behaviour() == b.behaviour());
  CHECK(a.reward(1, 2) == b.reward(1, 2));
}
