#include "valence/agent/online_preference.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/preference_bandit.hpp"

using namespace valence;

namespace {

using valence::test::close;
using valence::test::message_of;
using valence::test::says;

PromptBandit two_prompts() {
  return PromptBandit{Matrix<double>{{3, -2}, {0, 3}, {-1, 0}}, Matrix<double>{{.2, .5}, {.7, .4}, {.1, .1}}};
}

}  // namespace

TEST_CASE("the passive learner begins at the reference, and its regret is exact", "[online_preference]") {
  const auto bandit = two_prompts();
  OnlinePreferenceTrainer online{bandit, VpoOracle{.beta = 0.5, .alpha = 0}};
  CHECK((online.policy() - bandit.reference()).cwiseAbs().maxCoeff() == close(0.0, 0, 1e-14));
  Rng rng{1};
  const auto regret = online.run(1, rng);
  CHECK(rng.position() == 4);  // prompt, two answers, label
  CHECK(regret[0] == close(bandit.best_objective(0.5) - bandit.objective(bandit.reference(), 0.5)));
  // One comparison moved the rewards of the two answers apart, of one prompt alone, or compared an answer with itself.
  CHECK(online.rewards().sum() == close(0.0, 0, 1e-6));
  CHECK((online.rewards().array() != 0).count() <= 2);
}

TEST_CASE("online learning from comparisons finds the better answers", "[online_preference]") {
  const auto bandit = two_prompts();
  for (const SecondAnswer second : {SecondAnswer::calibration, SecondAnswer::policy})
    for (int seed = 0; seed < 5; ++seed) {
      Rng rng{seed};
      OnlinePreferenceTrainer online{bandit, VpoOracle{.beta = 1, .alpha = 0, .ridge = 0.1}, {.second = second}};
      const auto regret = online.run(400, rng);
      CHECK(regret.back() < regret.front() / 4);
      CHECK(regret.back() >= 0);
      CHECK(online.policy()(0, 0) > 0.6);
      CHECK(online.policy()(1, 1) > 0.6);
    }
}

TEST_CASE("an optimist meets the rare answer that a passive learner misses", "[online_preference]") {
  double passive = 0, optimist = 0;
  for (int seed = 0; seed < 6; ++seed) {
    Rng world{seed};
    const auto bandit = rare_arm_bandit(world);
    for (const double alpha : {0.0, 1.0}) {
      Rng rng{100 + seed};
      OnlinePreferenceTrainer online{bandit, VpoOracle{.beta = 0.1, .alpha = alpha}};
      online.run(100, rng);
      (alpha == 0 ? passive : optimist) += online.policy()(9, 0) > 0.5 ? 1 : 0;
    }
  }
  CHECK(optimist > passive);
}

TEST_CASE("two runs in a row are one", "[online_preference]") {
  Rng a{5}, b{5};
  OnlinePreferenceTrainer whole{two_prompts(), VpoOracle{}}, parts{two_prompts(), VpoOracle{}};
  const auto all = whole.run(30, a);
  auto some = parts.run(12, b);
  const auto rest = parts.run(18, b);
  some.insert(some.end(), rest.begin(), rest.end());
  CHECK(some == all);
  CHECK(whole.rewards() == parts.rewards());
}

TEST_CASE("the online trainer refuses bad input", "[online_preference]") {
  const auto bandit = two_prompts();
  CHECK(says(message_of([&] { OnlinePreferenceTrainer(bandit, {}, {.calibration = Matrix<double>::Ones(1, 2)}); }),
             "calibration is 1 x 2"));
  CHECK(says(message_of([&] { OnlinePreferenceTrainer(bandit, {}, {.calibration = Matrix<double>::Ones(3, 2)}); }),
             "calibration sums to 3"));
  CHECK(says(message_of([&] { OnlinePreferenceTrainer(bandit, {.beta = -1}); }), "beta is -1"));
  OnlinePreferenceTrainer online{bandit, VpoOracle{}};
  Rng rng{1};
  CHECK(says(message_of([&] { online.run(0, rng); }), "pairs is 0"));
}
