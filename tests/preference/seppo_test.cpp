#include "valence/preference/seppo.hpp"

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/preference/evaluate.hpp"
#include "valence/preference/losses.hpp"

using valence::Anchor;
using valence::Dpo;
using valence::evaluate;
using valence::PairLogProbs;
using valence::Seppo;
using namespace valence::test;  // close, message_of, says

static_assert(valence::BatchLoss<Seppo>);
static_assert(valence::Loss<Seppo>);

namespace {

using Columns = PairLogProbs<std::vector<double>>;
Columns pair_of(double u, double v) { return {{u}, {v}, {0.0}, {0.0}}; }
Columns random_pairs(std::size_t n, double shift) {
  valence::Rng rng{2};
  Columns c{std::vector<double>(n), std::vector<double>(n), std::vector<double>(n), std::vector<double>(n)};
  for (std::vector<double>* column : {&c.chosen, &c.rejected, &c.ref_chosen, &c.ref_rejected}) rng.fill_normal(*column);
  for (double& q : c.chosen) q += shift;
  return c;
}

}  // namespace

TEST_CASE("Seppo's golden numbers: log-ratios are minus the differences of errors") {
  // D_w = -.2, D_r = .3, kappa = 2: the model explains the winner better, so the reference sample is a loser.
  const auto loser = evaluate(Seppo{.beta = 2}, pair_of(0.2, -0.3));
  CHECK(loser.value == close(0.3132616875182, 1e-12));
  CHECK(-loser.d_chosen[0] == close(0.53788284274, 1e-11));
  CHECK(-loser.d_rejected[0] == close(-0.53788284274, 1e-11));
  // The same numbers with s = -1.
  const auto winner = Seppo::WithSign{.beta = 2, .anchor = Anchor::batch, .sign = -1}(
      valence::Pair<double>{.chosen = 0.2, .rejected = -0.3, .ref_chosen = 0, .ref_rejected = 0});
  CHECK(winner.value == close(0.7981388693816, 1e-12));
  CHECK(-winner.d_chosen == close(1.099667994625, 1e-11));
  CHECK(-winner.d_rejected == close(1.099667994625, 1e-11));
}

TEST_CASE("Seppo's anchors: a pair's own winner, an indicator, the batch") {
  const auto worse = pair_of(-0.2, 0.5);
  const double z = 0.7 * (-0.2 + 0.5);
  const auto sample = evaluate(Seppo{.beta = 0.7}, worse);
  CHECK(sample.value == close(std::log1p(std::exp(-z)), 1e-12));
  CHECK(sample.d_rejected[0] == sample.d_chosen[0]);  // learned from
  const auto indicator = evaluate(Seppo{.beta = 0.7, .anchor = Anchor::indicator}, worse);
  CHECK(indicator.value == close(std::log1p(std::exp(0.7 * 0.2)), 1e-12));
  CHECK(indicator.d_rejected[0] == 0);

  const Columns both{{0.3, -0.1}, {0.4, 0.2}, {0, 0}, {0, 0}};
  const Seppo batch{.beta = 0.7, .anchor = Anchor::batch};
  const auto together = evaluate(batch, both);  // the mean is positive: both are losers
  const auto as_dpo = evaluate(Dpo{.beta = 0.7}, both);
  CHECK(together.value == as_dpo.value);
  auto weighted = both;
  weighted.weight = {1, 5};  // now it is negative
  CHECK(evaluate(batch, weighted).d_rejected[0] < 0);
  CHECK(evaluate(batch, pair_of(0, 1)).value == evaluate(Dpo{.beta = 0.7}, pair_of(0, 1)).value);  // a tie: a loser
}

TEST_CASE("With every sign at +1 Seppo is Dpo to the bit, and at the reference it is log 2") {
  const auto better = random_pairs(37, 20);
  for (const Anchor anchor : {Anchor::sample, Anchor::indicator, Anchor::batch}) {
    const auto ours = evaluate(Seppo{.beta = 0.3, .anchor = anchor}, better), dpo = evaluate(Dpo{.beta = 0.3}, better);
    CHECK(ours.value == dpo.value);
    CHECK(ours.d_chosen == dpo.d_chosen);
    CHECK(ours.d_rejected == dpo.d_rejected);
  }
  CHECK(evaluate(Seppo{}, pair_of(0, 0)).value == close(std::log(2.0), 1e-15));
}

TEST_CASE("Seppo's gradient is exact, its signs constant") {
  for (const Anchor anchor : {Anchor::sample, Anchor::indicator, Anchor::batch}) {
    const auto pairs = random_pairs(11, 0.1);
    const Seppo loss{.beta = 0.8, .anchor = anchor};
    const auto result = evaluate(loss, pairs);
    CHECK(gradient_matches(
        [&](std::span<const double> at) {
          auto moved = pairs;
          moved.chosen.assign(at.begin(), at.end());
          return evaluate(loss, moved).value;
        },
        pairs.chosen, result.d_chosen));
    CHECK(gradient_matches(
        [&](std::span<const double> at) {
          auto moved = pairs;
          moved.rejected.assign(at.begin(), at.end());
          return evaluate(loss, moved).value;
        },
        pairs.rejected, result.d_rejected));
  }
}

TEST_CASE("For small kappa Seppo's gradient is that of the errors, with their signs") {
  const auto pairs = random_pairs(6, 0);
  const double kappa = 1e-7;
  const auto result = evaluate(Seppo{.beta = kappa}, pairs);
  for (std::size_t i = 0; i < 6; ++i) {
    const double s = pairs.chosen[i] >= pairs.ref_chosen[i] ? 1 : -1;
    CHECK(result.d_chosen[i] / kappa * 12 == close(-1.0, 1e-5));  // sigma(0) / 6
    CHECK(result.d_rejected[i] / kappa * 12 == close(s, 1e-5));
  }
}

TEST_CASE("Seppo refuses a kappa of 0 and a missing reference, and adds to other losses") {
  CHECK(says(message_of([&] { evaluate(Seppo{.beta = 0}, pair_of(0, 0)); }), "Seppo", "beta is 0"));
  CHECK(says(message_of([&] { evaluate(Seppo{}, Columns{{0.1}, {0.2}}); }), "Seppo", "ref_chosen is missing"));
  const auto pairs = random_pairs(5, 0);
  const valence::PreferenceBatch<double> batch{.pairs = pairs.view()};
  CHECK(evaluate(Seppo{} + 0.5 * valence::Sft{}, batch).value ==
        close(evaluate(Seppo{}, batch).value + 0.5 * evaluate(valence::Sft{}, batch).value, 1e-14));
}
