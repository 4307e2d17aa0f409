// Pair sources of RSO, and the programs of the two systems in small: fine-tuning by an f-divergence, RSO's pairs.
#include "valence/offline/pair_sources.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/preference_bandit.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/offline/fit_preferences.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/f_sft.hpp"
#include "valence/preference/losses.hpp"

using namespace valence;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

using namespace valence::test;
using valence::test::close;

/// Three prompts with five answers each; the SFT policy is not uniform.
Matrix<double> five_rewards() {
  Rng rng{1};
  Matrix<double> r(5, 3);
  rng.fill_normal(view(r));
  return r;
}
Matrix<double> five_law() {
  Rng rng{2};
  Matrix<double> z(5, 3);
  rng.fill_normal(view(z));
  return softmax(z);
}
bool same(const ResponsePairs& a, const ResponsePairs& b) {
  return a.prompt == b.prompt && a.chosen == b.chosen && a.rejected == b.rejected;
}

}  // namespace

TEST_CASE("rso_pairs: as many as asked for, of different answers, the same from the same seed") {
  const Matrix<double> reward = five_rewards(), sft = five_law();
  for (const int accepted : {2, 4}) {
    Rng rng{3}, again{3};
    const RsoOptions options{.candidates = 8, .accepted = accepted};
    const auto pairs = rso_pairs(reward, sft, 501, rng, options);
    CHECK(pairs.size() == 501);
    CHECK(pairs.prompt.size() == 501);
    for (std::size_t i = 0; i < pairs.size(); ++i) CHECK(pairs.chosen[i] != pairs.rejected[i]);
    CHECK(same(pairs, rso_pairs(reward, sft, 501, again, options)));
    CHECK(std::set<int>(pairs.prompt.begin(), pairs.prompt.end()).size() == 3);
  }
  Rng rng{3};
  CHECK(rso_pairs(reward, sft, 0, rng, {.candidates = 8, .accepted = 2}).size() == 0);
}

TEST_CASE("rso_pairs with a tiny beta compares the best two candidates, with labels of Bradley and Terry") {
  Matrix<double> reward(4, 1);
  reward << 1, -2, 0.4, 0;
  const Matrix<double> sft = Matrix<double>::Constant(4, 1, 0.25);
  Rng rng{4};
  constexpr std::size_t n = 40'000;
  const auto pairs = rso_pairs(reward, sft, n, rng, {.candidates = 60, .accepted = 2, .beta = 1e-6});
  double wins = 0, best_two = 0;
  for (std::size_t i = 0; i < n; ++i) {
    wins += pairs.chosen[i] == 0 ? 1 : 0;
    best_two += pairs.chosen[i] + pairs.rejected[i] == 2 && pairs.chosen[i] * pairs.rejected[i] == 0 ? 1 : 0;
  }
  CHECK(best_two == n);  // the chance that 60 draws miss one of them is 6e-8 a pair
  const double p = sigmoid(0.6), deviation = std::sqrt(p * (1 - p) / n);
  CHECK(std::abs(wins / n - p) < 4 * deviation);
}

TEST_CASE("rso_pairs with a large beta compares answers of the SFT policy") {
  // Without replacement and without duplicates the first two different draws: first ~ sft, second ~ sft of the others.
  const Matrix<double> sft = five_law().leftCols(1), reward = five_rewards().leftCols(1);
  Rng rng{5};
  constexpr int n = 50'000;
  const auto pairs = rso_pairs(reward, sft, n, rng, {.candidates = 2, .accepted = 2, .beta = 1e9});
  double chi_square = 0;
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < i; ++j) {
      const double expected = n * (sft(i, 0) * sft(j, 0) / (1 - sft(i, 0)) + sft(j, 0) * sft(i, 0) / (1 - sft(j, 0)));
      double count = 0;
      for (std::size_t k = 0; k < pairs.size(); ++k)
        count += std::pair(std::max(pairs.chosen[k], pairs.rejected[k]),
                           std::min(pairs.chosen[k], pairs.rejected[k])) == std::pair(i, j)
                     ? 1
                     : 0;
      chi_square += (count - expected) * (count - expected) / expected;
    }
  CHECK(gamma_upper(4.5, chi_square / 2) > 0.0027);
}

TEST_CASE("rso_pairs draws on until there are enough different answers") {
  Matrix<double> sft(3, 1), reward = Matrix<double>::Zero(3, 1);
  sft << 0.98, 0.02, 0;
  Rng rng{6};
  const auto pairs = rso_pairs(reward, sft, 200, rng, {.candidates = 2, .accepted = 2});
  for (std::size_t i = 0; i < pairs.size(); ++i) CHECK(pairs.chosen[i] + pairs.rejected[i] == 1);
}

TEST_CASE("sample_pairs: each source has its answers and its judge") {
  const Matrix<double> sft = five_law(), model = five_rewards();
  Matrix<double> logs = Matrix<double>::Zero(5, 3);
  logs.topRows(2).setConstant(0.5);
  const PreferenceBandit bandit{1000 * Matrix<double>(-model), {}, {}, logs};  // people judge the other way round
  const PreferenceBandit ranker{model};
  const auto right = [&](const ResponsePairs& pairs) {  // of the pairs, how many are as the model judges
    double sum = 0;
    for (std::size_t i = 0; i < pairs.size(); ++i)
      sum += model(pairs.chosen[i], pairs.prompt[i]) > model(pairs.rejected[i], pairs.prompt[i]) ? 1 : 0;
    return sum / static_cast<double>(pairs.size());
  };
  Rng a{7}, b{7};
  const auto direct = sample_pairs(PairSource::direct, bandit, ranker, sft, 300, a);
  CHECK(same(direct, bandit.sample_pairs(300, b)));
  CHECK(right(direct) < 0.05);
  for (std::size_t i = 0; i < direct.size(); ++i) CHECK((direct.chosen[i] < 2 && direct.rejected[i] < 2));
  CHECK(right(sample_pairs(PairSource::sft_sample_rank, bandit, ranker, sft, 300, a)) > 0.6);
  const RsoOptions options{.candidates = 20, .accepted = 2};
  Rng c{8}, d{8};
  CHECK(same(sample_pairs(PairSource::rso_sample_rank, bandit, ranker, sft, 300, c, options),
             rso_pairs(model, sft, 300, d, options)));
}

TEST_CASE("rso_pairs refuses bad input") {
  const Matrix<double> reward = five_rewards(), sft = five_law();
  Rng rng{1};
  const auto message = [&rng](const Matrix<double>& r, const Matrix<double>& law, const RsoOptions& o) {
    return message_of([&] { rso_pairs(r, law, 10, rng, o); });
  };
  CHECK(says(message(reward, sft, {.candidates = 4, .accepted = 6}), "rso_pairs", "accepted"));
  CHECK(says(message(reward, sft, {.accepted = 3}), "accepted is 3", "even"));
  CHECK(says(message(reward, sft, {.accepted = 0}), "accepted"));
  CHECK(says(message(reward, sft, {.accepted = 2, .beta = 0}), "beta"));
  CHECK(says(message(reward, sft.topRows(4), {.accepted = 2}), "sft"));
  CHECK(says(message(reward, 2 * sft, {.accepted = 2}), "sft"));
  CHECK(says(message(reward, sft, {}), "sft gives 5 answers to prompt 0", "at least 8"));
  CHECK(says(message({}, {}, {}), "reward is empty"));
  Matrix<double> bad = reward;
  bad(2, 1) = not_a_number;
  CHECK(says(message(bad, sft, {.accepted = 2}), "reward", "nan"));
  Matrix<double> rare = Matrix<double>::Zero(5, 3);
  rare.row(0).setConstant(1 - 1e-15), rare.row(1).setConstant(1e-15);
  CHECK(says(message(reward, rare, {.candidates = 2, .accepted = 2}), "2000 draws", "1 different answers"));
}

TEST_CASE("RSO as in its documentation: pairs, and both losses") {
  Rng rng{9};
  const auto bandit = misspecified_bandit(rng);
  const auto pairs = rso_pairs(bandit.rewards(), bandit.reference(), 1000, rng, {.candidates = 32, .accepted = 2});
  for (const bool hinge : {false, true}) {
    LogLinearPolicy pi{bandit};
    if (hinge)
      fit(pi, HingeDpo{.beta = 0.5}, {.pairs = pairs}, Lbfgs{.max_iterations = 50}, {.ridge = 1e-4});
    else
      fit(pi, Dpo{.beta = 0.5}, {.pairs = pairs});
    CHECK(bandit.value(pi.probabilities()) > bandit.value(bandit.reference()) + 0.1);
  }
}

TEST_CASE("Fine-tuning by an f-divergence, then DPO from there") {
  Rng rng{10};
  const auto bandit = demonstration_bandit(rng);
  const auto demonstrations = bandit.sample_responses(60, bandit.best_policy(2), rng);
  const auto pairs = bandit.sample_pairs(400, rng, {.scale = 2});
  LogLinearPolicy pi{bandit}, optimal{bandit}, sft{bandit}, base{bandit};
  fit(sft, BaseSft{}, {.base = demonstrations}, Adam{.step_size = 0.1}, {.steps = 200});
  const FSft loss{.divergence = SftDivergence::pearson};
  fit(pi, loss, {.base = demonstrations}, Adam{.step_size = 0.1}, {.steps = 200});
  fit(optimal,
      FSft{.divergence = SftDivergence::pearson, .baseline = SftBaseline::optimal, .prompt = demonstrations.prompt},
      {.base = demonstrations}, Adam{.step_size = 0.1}, {.steps = 200});
  // The reference holds both back: nearer to the base policy than plain SFT.
  const auto distance = [&](const LogLinearPolicy& p) { return (p.log_probs() - base.log_probs()).norm(); };
  CHECK(distance(pi) < distance(sft));
  CHECK(distance(optimal) < distance(sft));
  const auto reference = pi.log_probs();
  const double before = bandit.value(pi.probabilities());
  fit(pi, Dpo{.beta = 0.1}, {.pairs = pairs, .reference = reference}, Adam{.step_size = 0.02}, {.steps = 60});
  CHECK(bandit.value(pi.probabilities()) > before);
}
