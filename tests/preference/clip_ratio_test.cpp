#include "valence/preference/clip_ratio.hpp"

#include <Eigen/Core>
#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/preference/evaluate.hpp"
#include "valence/preference/losses.hpp"

using valence::clip_ratio;
using valence::Dpo;
using valence::evaluate;
using valence::Pair;
using valence::PairLogProbs;
using namespace valence::test;  // close, message_of, says

static_assert(valence::PointwiseLoss<valence::ClipRatio<Dpo>>);

TEST_CASE("clip_ratio holds the ratios of policy and reference, with no gradient outside") {
  const Pair<double> outside{.chosen = -1, .rejected = -2, .ref_chosen = -1.25, .ref_rejected = -1.6};
  CHECK(Dpo{.beta = 0.1}(outside).value == close(0.6611752126141, 1e-12));
  const auto clipped = clip_ratio(0.1, Dpo{.beta = 0.1})(outside);
  CHECK(clipped.value == close(0.6831639808523, 1e-12));  // of log 1.1 and log 0.9
  CHECK(clipped.d_chosen == 0);
  CHECK(clipped.d_rejected == 0);

  const Pair<double> half{.chosen = -1, .rejected = -2, .ref_chosen = -1.05, .ref_rejected = -1.6};
  const auto one_side = clip_ratio(0.1, Dpo{.beta = 0.1})(half);
  const double z = 0.1 * (0.05 - std::log(0.9));
  CHECK(one_side.value == close(std::log1p(std::exp(-z)), 1e-12));
  CHECK(one_side.d_chosen == close(-0.1 / (1 + std::exp(z)), 1e-12));
  CHECK(one_side.d_rejected == 0);
}

TEST_CASE("Inside of the bounds clip_ratio is the loss itself, to the bit") {
  const Pair<double> inside{.chosen = -1.03, .rejected = -2.2, .ref_chosen = -1, .ref_rejected = -2.3};
  const auto plain = Dpo{.beta = 0.7}(inside);
  const auto clipped = clip_ratio(0.2, Dpo{.beta = 0.7})(inside);
  CHECK(clipped.value == plain.value);
  CHECK(clipped.d_chosen == plain.d_chosen);
  CHECK(clipped.d_rejected == plain.d_rejected);
}

TEST_CASE("clip_ratio wraps any loss of a pair and sums of them, over columns, and names itself in errors") {
  const PairLogProbs<Eigen::ArrayXd> batch{Eigen::ArrayXd::LinSpaced(9, -2, 2), Eigen::ArrayXd::LinSpaced(9, 1, -1),
                                           Eigen::ArrayXd::Zero(9), Eigen::ArrayXd::Zero(9)};
  const auto loss = clip_ratio(0.5, Dpo{} + 0.005 * valence::Sft{});
  const auto [value, d_chosen, d_rejected] = evaluate(loss, batch);
  CHECK(d_chosen[0] == 0);  // -2 is below log 0.5
  CHECK(d_chosen[8] == 0);
  CHECK(d_chosen[4] < 0);
  double sum = 0;
  for (int i = 0; i < 9; ++i)
    sum += loss(Pair<double>{.chosen = batch.chosen[i], .rejected = batch.rejected[i]}).value / 9;
  CHECK(value == close(sum, 1e-13));
  CHECK(says(message_of([&] { evaluate(clip_ratio(1.0, Dpo{}), batch); }), "ClipRatio", "epsilon is 1"));
  CHECK(says(message_of([&] { evaluate(clip_ratio(0.0, Dpo{}), batch); }), "epsilon is 0"));
  CHECK(says(message_of([&] { evaluate(clip_ratio(0.1, Dpo{.beta = 0}), batch); }), "beta"));
  auto broken = batch;
  broken.ref_chosen[3] = std::nan("");
  CHECK(says(message_of([&] { evaluate(clip_ratio(0.1, Dpo{}), broken); }), "clip_ratio(0.1, Dpo)", "ref_chosen[3]"));
}
