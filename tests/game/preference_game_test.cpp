#include "valence/game/preference_game.hpp"

#include <Eigen/Core>
#include <cmath>
#include <limits>

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

static_assert(PairJudge<PreferenceGame>);
static_assert(PairJudge<PreferenceBandit>);
static_assert(!PairJudge<int>);

/// The game and the policy of the specification's numbers.
PreferenceGame cycle() {
  return PreferenceGame{(Matrix<double>(3, 3) << .5, .8, .1, .2, .5, .7, .9, .3, .5).finished()};
}
Matrix<double> column(double a, double b, double c) { return Vector<double>{{a, b, c}}; }

Matrix<double> uniform(int answers) { return Matrix<double>::Constant(answers, 1, 1.0 / answers); }

}  // namespace

TEST_CASE("win rates, the update and the exploitability of a small game", "[preference_game][dno]") {
  const PreferenceGame game = cycle();
  const Matrix<double> pi = column(.5, .3, .2);
  const Matrix<double> r = win_rates(game, pi);
  CHECK(r(0) == close(.51));
  CHECK(r(1) == close(.39));
  CHECK(r(2) == close(.64));
  const Matrix<double> next = soft_policy_update(game, pi, .5);
  CHECK(next(0) == close(0.5023235600896, 1e-12));
  CHECK(next(1) == close(0.237085024582, 1e-12));
  CHECK(next(2) == close(0.2605914153285, 1e-12));
  CHECK(win_rate(game, next, pi) == close(0.5154266810429, 1e-12));
  CHECK(win_rate(game, pi, next) == close(1 - 0.5154266810429, 1e-12));
  CHECK(win_rate(game, pi, pi) == close(.5));
  CHECK(exploitability(game, pi) == close(.14));
}

TEST_CASE("nothing beats the equilibrium, and the update leaves it where it is", "[preference_game][dno]") {
  const PreferenceGame game = cycle();
  const Matrix<double> nash = column(2, 4, 3) / 9;
  for (int i = 0; i < 3; ++i) CHECK(win_rates(game, nash)(i) == close(.5));
  CHECK(exploitability(game, nash) == close(0, 0, 1e-15));
  for (const double eta : {.1, 1.0, 10.0}) {
    const Matrix<double> next = soft_policy_update(game, nash, eta);
    for (int i = 0; i < 3; ++i) CHECK(next(i) == close(nash(i), 1e-14));
  }
  // The same matrix turned round has the same equilibrium: rows that are columns would go unseen, so a game without:
  const PreferenceGame lopsided{(Matrix<double>(2, 2) << .5, .9, .1, .5).finished()};
  CHECK(exploitability(lopsided, Vector<double>{{1, 0}}) == close(0, 0, 1e-15));
  CHECK(exploitability(lopsided, Vector<double>{{0, 1}}) == close(.4));
  CHECK(win_rates(lopsided, Vector<double>{{0, 1}})(0) == .9);
}

TEST_CASE("no exact step loses to the policy before", "[preference_game][dno]") {
  for (int seed = 0; seed < 20; ++seed) {
    Rng rng{seed};
    const auto game = PreferenceGame::random(8, rng);
    Matrix<double> pi = uniform(8);
    for (int t = 0; t < 100; ++t) {
      const Matrix<double> next = soft_policy_update(game, pi, 1);
      REQUIRE(win_rate(game, next, pi) >= .5 - 1e-12);
      pi = next;
    }
  }
}

TEST_CASE("the average of exact steps approaches an equilibrium at the rate of Hedge", "[preference_game][dno][L16]") {
  for (int seed = 0; seed < 5; ++seed) {
    Rng rng{seed};
    const auto game = PreferenceGame::random(6, rng);
    Matrix<double> pi = uniform(6), sum = Matrix<double>::Zero(6, 1);
    const double steps = 2000, eta = std::sqrt(steps / std::log(6.0) / 8);
    for (int t = 0; t < static_cast<int>(steps); ++t) {
      sum += pi;
      pi = soft_policy_update(game, pi, eta);
    }
    // Regret of Hedge with rewards in [0, 1] at this step size (Cesa-Bianchi & Lugosi 2006, theorem 2.2).
    CHECK(exploitability(game, sum / steps) <= std::sqrt(std::log(6.0) / (2 * steps)));
    CHECK(exploitability(game, sum / steps) < exploitability(game, uniform(6)) / 4);
  }
}

TEST_CASE("where a reward is behind the judge, the limit gives its best answer", "[preference_game][dno]") {
  Rng rng{3};
  Matrix<double> rewards(6, 2);
  rng.fill_normal(view(rewards));
  const PreferenceBandit bandit{rewards};
  Matrix<double> pi = bandit.reference();
  for (int t = 0; t < 400; ++t) pi = soft_policy_update(bandit, pi, .2);
  for (int x = 0; x < 2; ++x) {
    Eigen::Index best = 0;
    rewards.col(x).maxCoeff(&best);
    CHECK(pi(best, x) > .999);
  }
  CHECK(exploitability(bandit, pi) < 1e-3);
  // The same judge as a matrix, and the mean over prompts.
  double mean = 0;
  for (int x = 0; x < 2; ++x) {
    Matrix<double> p(6, 6);
    for (int i = 0; i < 6; ++i)
      for (int j = 0; j < 6; ++j) p(i, j) = bandit.preference(x, i, j);
    mean += exploitability(PreferenceGame{p}, uniform(6)) / 2;
  }
  CHECK(exploitability(bandit, bandit.reference()) == close(mean));
  CHECK(win_rate(bandit, pi, bandit.reference()) == close(bandit.win_rate(pi, bandit.reference())));
}

TEST_CASE("the update is exact far from equilibrium and for certain policies", "[preference_game]") {
  const PreferenceGame game = cycle();
  const Matrix<double> sharp = soft_policy_update(game, column(.5, .3, .2), 1e-4);  // exp(1300) overflows
  CHECK(sharp(2) == close(1.0));
  CHECK(sharp(0) == 0);
  const Matrix<double> sure = column(0, 1, 0);
  CHECK(soft_policy_update(game, sure, 1) == sure);
}

TEST_CASE("random games have rewards and cycles as asked", "[preference_game]") {
  Rng rng{5};
  const auto game = PreferenceGame::random(7, rng);
  CHECK(game.answers() == 7);
  CHECK(game.prompts() == 1);
  CHECK(game.preferences().diagonal() == Vector<double>::Constant(7, .5));
  CHECK((game.preferences() + game.preferences().transpose()).isConstant(1, 1e-15));
  const auto logit = [](const PreferenceGame& g, int i, int j) {
    return std::log(g.preference(0, i, j) / g.preference(0, j, i));
  };
  const auto fair = PreferenceGame::random(4, rng, {.skill = 0, .cycle = 0});
  CHECK(fair.preferences() == Matrix<double>::Constant(4, 4, .5));
  // Without cycles the log-odds are differences of a reward.
  const auto transitive = PreferenceGame::random(4, rng, {.skill = 1, .cycle = 0});
  CHECK(logit(transitive, 0, 1) + logit(transitive, 1, 2) == close(logit(transitive, 0, 2), 1e-12, 1e-14));
  // Variance of a pair's log-odds: 2 skill^2 + 2 cycle^2.
  double sum = 0;
  const int games = 4000;
  for (int k = 0; k < games; ++k) {
    const auto pair = PreferenceGame::random(2, rng, {.skill = .5, .cycle = 2});
    sum += std::pow(logit(pair, 0, 1), 2);
  }
  CHECK(sum / games == close(8.5, .1));  // four standard errors
}

TEST_CASE("a matrix that isn't one of preferences is refused", "[preference_game][bad_input]") {
  const auto refused = [](Matrix<double> p) { return message_of([&] { PreferenceGame{p}; }); };
  const auto changed = [](int i, int j, double value) {
    Matrix<double> p = cycle().preferences();
    p(i, j) = value;
    return p;
  };
  CHECK(says(refused(Matrix<double>{}), "PreferenceGame", "empty"));
  CHECK(says(refused(Matrix<double>::Constant(2, 3, .5)), "2 x 3", "2 x 2"));
  CHECK(says(refused(changed(0, 1, .8 + 1e-11)), "preferences(0, 1)", "expected a sum of 1"));
  CHECK(says(refused(changed(1, 1, .4)), "preferences(1, 1)", "0.4"));
  CHECK(says(refused(changed(0, 1, 1.2)), "1.2", "[0, 1]"));
  CHECK(says(refused(changed(0, 1, -.2)), "-0.2"));
  CHECK(says(refused(changed(2, 0, std::numeric_limits<double>::quiet_NaN())), "nan"));
  CHECK_NOTHROW(PreferenceGame{changed(0, 1, .8 + 1e-13)});
  CHECK_NOTHROW(PreferenceGame{(Matrix<double>(2, 2) << .5, 1, 0, .5).finished()});

  const PreferenceGame game = cycle();
  CHECK(says(message_of([&] { game.preference(1, 0, 0); }), "prompt is 1"));
  CHECK(says(message_of([&] { game.preference(0, 3, 0); }), "i is 3"));
  CHECK(says(message_of([&] { game.preference(0, 0, -1); }), "j is -1"));
  CHECK(says(message_of([&] { win_rates(game, uniform(4)); }), "win_rates", "4 x 1", "3 x 1"));
  CHECK(says(message_of([&] { exploitability(game, column(.5, .5, .5)); }), "sums to 1.5"));
  CHECK(says(message_of([&] { win_rate(game, column(1, 1, -1), uniform(3)); }), "win_rate", "[2] is -1"));
  for (const double eta : {0.0, -1.0, std::numeric_limits<double>::infinity()})
    CHECK(says(message_of([&] { soft_policy_update(game, uniform(3), eta); }), "eta"));
  Rng rng{1};
  CHECK(says(message_of([&] { PreferenceGame::random(0, rng); }), "answers is 0"));
  CHECK(says(message_of([&] { PreferenceGame::random(2, rng, {.skill = -1}); }), "-1"));
}
