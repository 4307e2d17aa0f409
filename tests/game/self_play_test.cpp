#include "valence/game/self_play.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/preference_bandit.hpp"
#include "valence/preference/losses.hpp"

using namespace valence;

namespace {

using valence::test::close;
using valence::test::message_of;
using valence::test::says;

PreferenceGame cycle() {
  return PreferenceGame{(Matrix<double>(3, 3) << .5, .8, .1, .2, .5, .7, .9, .3, .5).finished()};
}
Matrix<double> column(double a, double b, double c) { return Vector<double>{{a, b, c}}; }
LogLinearPolicy uniform(int answers) {
  return LogLinearPolicy::tabular(Matrix<double>::Constant(answers, 1, 1.0 / answers));
}

/// All that `SoftPairs` draws, with its probability and without sampling noise.
struct ExactPairs {
  template <PairJudge J>
  ResponsePairs operator()(const J& judge, const Matrix<double>& policy, Rng&) const {
    ResponsePairs pairs = population_pairs(policy, policy);
    const Matrix<double> r = win_rates(judge, policy);
    for (std::size_t k = 0; k < pairs.size(); ++k)
      pairs.p_chosen.push_back(sigmoid(r(pairs.chosen[k], pairs.prompt[k]) - r(pairs.rejected[k], pairs.prompt[k])));
    return pairs;
  }
};

struct NoPairs {
  template <PairJudge J>
  ResponsePairs operator()(const J&, const Matrix<double>&, Rng&) const {
    return {};
  }
};

}  // namespace

TEST_CASE("the loss of one pair of a small game", "[self_play][dno]") {
  // Values of the specification: u = .3 is the margin times eta.
  const Matrix<double> r = win_rates(cycle(), column(.5, .3, .2));
  const double p = sigmoid(r(0) - r(1));
  CHECK(p == close(0.5299640517646));
  const auto loss = SoftDpo{.beta = .5}(Pair<double>{.chosen = .6, .rejected = 0, .p_chosen = p});
  CHECK(loss.value == close(0.6953660289392));
  CHECK(loss.d_chosen == close(.5 * 0.04447846504709));
  CHECK(loss.d_rejected == close(-.5 * 0.04447846504709));
}

TEST_CASE("minimising the expected loss is the ideal update", "[self_play][dno]") {
  // eta weights the sums of the log-ratios; the optimum is pi_t exp(r / eta).
  for (const double eta : {.5, 1.0, 3.0}) {
    Rng rng{1};
    const Matrix<double> pi = column(.5, .3, .2);
    SelfPlay dno{cycle(),
                 SoftDpo{.beta = eta},
                 ExactPairs{},
                 LogLinearPolicy::tabular(pi),
                 {.ridge = 0, .solver = {.tolerance = 1e-12}}};
    Matrix<double> expected = pi;
    for (int t = 0; t < 5; ++t) {  // the reference moves, so the recursion is the exact one
      dno.step(rng);
      expected = soft_policy_update(cycle(), expected, eta);
      for (int y = 0; y < 3; ++y) CHECK(dno.policy().probabilities()(y) == close(expected(y), 1e-8));
    }
  }
}

TEST_CASE("self-play over several prompts, by features", "[self_play][dno]") {
  Rng rng{2};
  const auto bandit = linear_bandit(std::vector<double>{1, -1, .5}, rng, {.features = 3});
  LogLinearPolicy pi{bandit};
  SelfPlay dno{bandit, SoftDpo{.beta = 1}, ExactPairs{}, pi, {.ridge = 0}};
  dno.run(40, rng);
  CHECK(win_rate(bandit, dno.policy().probabilities(), bandit.reference()) > .6);
  CHECK(exploitability(bandit, dno.policy().probabilities()) < .5 * exploitability(bandit, bandit.reference()));
}

TEST_CASE("sampled self-play finds the mixed equilibrium of a cycle", "[self_play][dno][L16]") {
  // The composition of the specification.
  Rng rng{7};
  const PreferenceGame game = cycle();
  SelfPlay dno{game, SoftDpo{.beta = 1}, SoftPairs{.pairs = 400, .opponents = 8},
               LogLinearPolicy::tabular(column(.8, .1, .1))};
  const Matrix<double> mixture = dno.run(60, rng);
  CHECK(exploitability(game, column(.8, .1, .1)) > .2);
  CHECK(exploitability(game, mixture) < .06);
  CHECK(dno.iterations() == 60);
  CHECK(mixture.sum() == close(1.0));
}

TEST_CASE("the mixture is of those that played, and goes on", "[self_play][L16]") {
  Rng rng{1};
  SelfPlay dno{cycle(), SoftDpo{.beta = 1}, ExactPairs{}, LogLinearPolicy::tabular(column(.5, .3, .2)), {.ridge = 0}};
  CHECK(dno.run(1, rng).isApprox(column(.5, .3, .2), 1e-14));
  const Matrix<double> second = dno.policy().probabilities();
  CHECK(dno.run(1, rng).isApprox((column(.5, .3, .2) + second) / 2, 1e-14));
  CHECK(dno.mixture().isApprox((column(.5, .3, .2) + second) / 2, 1e-14));
}

TEST_CASE("the ridge pulls to where the iteration began", "[self_play]") {
  Rng rng{1};
  const auto step = [&](double ridge) {
    SelfPlay dno{cycle(), SoftDpo{.beta = 1}, ExactPairs{}, uniform(3), {.ridge = ridge}};
    dno.run(3, rng);
    return dno.policy().probabilities();
  };
  const Matrix<double> start = column(1, 1, 1) / 3;
  CHECK((step(1e9) - start).norm() < 1e-9);
  CHECK((step(1) - start).norm() < .5 * (step(0) - start).norm());
  CHECK((step(1) - start).norm() > .05 * (step(0) - start).norm());
  // Were it to pull to theta = 0, the policy could not leave the start by more the longer it runs.
  Rng same{1};
  const PreferenceGame lopsided{(Matrix<double>(2, 2) << .5, .9, .1, .5).finished()};
  SelfPlay dno{lopsided, SoftDpo{.beta = 1}, ExactPairs{}, uniform(2), {.ridge = .3}};
  dno.run(200, same);
  CHECK(dno.policy().probabilities()(0) > .99);
}

TEST_CASE("soft pairs are the policy's own answers with unbiased margins", "[self_play][dno]") {
  Rng rng{4};
  const PreferenceGame game = cycle();
  const Matrix<double> pi = column(.5, .3, .2), r = win_rates(game, pi);
  const auto pairs = SoftPairs{.pairs = 20000, .opponents = 3}(game, pi, rng);
  REQUIRE(pairs.size() == 20000);
  REQUIRE(pairs.p_chosen.size() == 20000);
  Vector<double> chosen = Vector<double>::Zero(3);
  double margin = 0, count = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    chosen[pairs.chosen[i]] += 1.0 / 20000;
    if (pairs.chosen[i] == pairs.rejected[i]) CHECK(pairs.p_chosen[i] == .5);
    if (pairs.chosen[i] != 0 || pairs.rejected[i] != 1) continue;
    margin += std::log(pairs.p_chosen[i] / (1 - pairs.p_chosen[i]));
    ++count;
  }
  for (int y = 0; y < 3; ++y) CHECK(chosen[y] == close(pi(y), 0, .015));
  CHECK(count / 20000 == close(.15, 0, .011));
  CHECK(margin / count == close(r(0) - r(1), 0, .025));
}

TEST_CASE("judged pairs are decided as often as the judge says", "[self_play]") {
  Rng rng{4};
  const PreferenceGame game{(Matrix<double>(2, 2) << .5, .9, .1, .5).finished()};
  const auto pairs = JudgedPairs{.pairs = 20000}(game, Vector<double>{{.5, .5}}, rng);
  double wins = 0, count = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i)
    if (pairs.chosen[i] != pairs.rejected[i]) ++count, wins += pairs.chosen[i] == 0 ? 1 : 0;
  CHECK(count / 20000 == close(.5, 0, .015));
  CHECK(wins / count == close(.9, 0, .013));
  CHECK(pairs.p_chosen.empty());
}

TEST_CASE("ranked pairs keep large margins alone, the better answer chosen", "[self_play][dno]") {
  Rng rng{5};
  const PreferenceGame game{(Matrix<double>(3, 3) << .5, .9, .6, .1, .5, .55, .4, .45, .5).finished()};
  // A certain policy against a teacher: one pair a group, ranked by the judge alone.
  const RankedPairs taught{.groups = 10, .responses = 1, .margin = .7, .teacher = column(1, 0, 0)};
  const auto pairs = taught(game, column(0, 1, 0), rng);
  REQUIRE(pairs.size() == 10);
  for (std::size_t i = 0; i < 10; ++i) {
    CHECK(pairs.chosen[i] == 0);
    CHECK(pairs.rejected[i] == 1);
  }
  CHECK(RankedPairs{.groups = 10, .responses = 1, .margin = .81, .teacher = column(1, 0, 0)}(game, column(0, 1, 0), rng)
            .size() == 0);
  // The group 0, 0, 2 has the ranks (.5 + .6) / 2, the same, and (.4 + .4) / 2.
  const auto count = [&](double margin) {
    return RankedPairs{.groups = 1, .responses = 2, .margin = margin, .teacher = column(0, 0, 1)}(game, column(1, 0, 0),
                                                                                                  rng)
        .size();
  };
  CHECK(count(.14) == 2);
  CHECK(count(.16) == 0);
  CHECK(count(0) == 2);
}

TEST_CASE("the practical variant improves on its start", "[self_play][dno]") {
  Rng rng{6};
  const auto game = PreferenceGame::random(6, rng, {.skill = 1, .cycle = 0});
  SelfPlay practical{game, Dpo{.beta = .5}, RankedPairs{.groups = 40, .margin = .05}, uniform(6)};
  practical.run(10, rng);
  const Matrix<double> start = Matrix<double>::Constant(6, 1, 1.0 / 6);
  CHECK(win_rate(game, practical.policy().probabilities(), start) > .6);
  CHECK(exploitability(game, practical.policy().probabilities()) < .5 * exploitability(game, start));
}

TEST_CASE("an iteration without pairs leaves the policy where it is", "[self_play]") {
  Rng rng{1};
  SelfPlay play{cycle(), SoftDpo{.beta = 1}, NoPairs{}, uniform(3)};
  CHECK(play.run(3, rng).isApprox(column(1, 1, 1) / 3));
  CHECK(play.iterations() == 3);
}

TEST_CASE("a saved self-play goes on to the bit", "[self_play][archive]") {
  SelfPlay play{cycle(), SoftDpo{.beta = 1}, SoftPairs{.pairs = 50}, uniform(3)};
  Rng rng{9};
  play.run(3, rng);
  const auto bytes = to_bytes(play);
  SelfPlay other{cycle(), SoftDpo{.beta = 1}, SoftPairs{.pairs = 50}, uniform(3)};
  from_bytes(bytes, other);
  Rng again = rng;
  CHECK(play.run(4, rng) == other.run(4, again));
  CHECK(play.policy().probabilities() == other.policy().probabilities());
}

TEST_CASE("bad input of self-play", "[self_play][bad_input]") {
  Rng rng{1};
  const PreferenceGame game = cycle();
  const Matrix<double> pi = column(.5, .3, .2);
  CHECK(says(message_of([&] { SoftPairs{.pairs = 0}(game, pi, rng); }), "SoftPairs", "pairs is 0"));
  CHECK(says(message_of([&] { SoftPairs{.opponents = 0}(game, pi, rng); }), "opponents is 0"));
  CHECK(says(message_of([&] { SoftPairs{}(game, column(1, 1, 1), rng); }), "sums to 3"));
  CHECK(says(message_of([&] { JudgedPairs{.pairs = 0}(game, pi, rng); }), "JudgedPairs", "pairs is 0"));
  CHECK(says(message_of([&] { JudgedPairs{}(game, Vector<double>{{1, 0}}, rng); }), "2 x 1"));
  CHECK(says(message_of([&] { RankedPairs{.groups = 0}(game, pi, rng); }), "RankedPairs", "groups is 0"));
  CHECK(says(message_of([&] { RankedPairs{.responses = 1}(game, pi, rng); }), "responses is 1"));
  CHECK(says(message_of([&] { RankedPairs{.margin = 1}(game, pi, rng); }), "margin is 1"));
  CHECK(says(message_of([&] { RankedPairs{.teacher = Vector<double>{{1, 0}}}(game, pi, rng); }), "2 x 1"));

  const auto made = [&](LogLinearPolicy policy, double ridge) {
    return message_of([&] { SelfPlay{game, SoftDpo{.beta = 1}, SoftPairs{}, policy, {.ridge = ridge}}; });
  };
  CHECK(says(made(uniform(4), 0), "SelfPlay", "4 x 1", "3 x 1"));
  CHECK(says(made(uniform(3), -1), "ridge is -1"));
  CHECK(says(made(uniform(3), std::numeric_limits<double>::quiet_NaN()), "ridge is nan"));
  SelfPlay play{game, SoftDpo{.beta = 0}, SoftPairs{}, uniform(3)};
  CHECK(says(message_of([&] { play.mixture(); }), "no iteration"));
  CHECK(says(message_of([&] { play.run(0, rng); }), "iterations is 0"));
  CHECK(says(message_of([&] { play.run(1, rng); }), "beta is 0"));
  CHECK(play.iterations() == 0);
}
