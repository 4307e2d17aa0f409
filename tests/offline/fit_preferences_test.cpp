// Log-linear policies trained on comparisons: the exact tests of RPO, of robust DPO and of the fit itself.
#include "valence/offline/fit_preferences.hpp"

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/preference_bandit.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/preference/composites.hpp"
#include "valence/preference/losses.hpp"
#include "valence/reward/bradley_terry.hpp"

using namespace valence;

namespace {

using namespace valence::test;
using valence::test::close;

using In = std::span<const double>;

PreferenceBandit bandit_of(int seed) {
  Rng rng{seed};
  return coverage_gap_bandit(rng, {.prompts = 6, .answers = 5, .covered = 4, .tested = 2, .untested = 1});
}

/// phi(chosen) - phi(rejected), a column a pair.
Matrix<double> differences(const PreferenceBandit& bandit, const ResponsePairs& pairs) {
  Matrix<double> d(bandit.features().rows(), static_cast<Eigen::Index>(pairs.size()));
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const int first = pairs.prompt[i] * bandit.answers();
    d.col(static_cast<Eigen::Index>(i)) =
        bandit.features().col(first + pairs.chosen[i]) - bandit.features().col(first + pairs.rejected[i]);
  }
  return d;
}

Vector<double> theta_of(const LogLinearPolicy& pi) {
  return Eigen::Map<const Vector<double>>(pi.parameters().data(), static_cast<Eigen::Index>(pi.parameters().size()));
}

}  // namespace

TEST_CASE("a table's RPO loss and gradient on one pair", "[fit][rpo][P14][P15]") {
  // Logits (.2, -.1, .4), uniform reference, 0 preferred to 2. Values of the specification.
  auto pi = LogLinearPolicy::tabular(Matrix<double>::Constant(3, 1, 1.0 / 3));
  ResponsePairs pairs;
  pairs.push_back(0, 0, 2);
  PreferenceObjective objective(pi, rpo({.beta = 0.1, .eta = 0.005}), {.pairs = pairs});
  const std::vector<double> logits{.2, -.1, .4};
  std::vector<double> gradient(3);
  CHECK(objective(logits, gradient) == close(0.708626876315));
  CHECK(gradient[0] == close(-0.05381206064501, 1e-11));
  CHECK(gradient[1] == close(0.001250443883109, 1e-11));
  CHECK(gradient[2] == close(0.0525616167619, 1e-11));
}

TEST_CASE("the objective's gradient matches differences, with weights, lengths, base, reference and ridge", "[fit]") {
  const auto bandit = bandit_of(1);
  Rng rng{2};
  LogLinearPolicy pi{bandit};
  PreferenceData data{.pairs = bandit.sample_pairs(30, rng),
                      .base = bandit.sample_responses(20, bandit.reference(), rng)};
  for (std::size_t i = 0; i < 30; ++i) data.pairs.weight.push_back(rng.uniform());
  for (std::size_t i = 0; i < 30; ++i) data.pairs.p_chosen.push_back(rng.uniform());
  for (std::size_t i = 0; i < 20; ++i) data.base.weight.push_back(rng.uniform());
  data.length = Matrix<double>::Constant(5, 6, 3);
  data.length(1, 2) = 7;
  data.reference = log_softmax(Matrix<double>(bandit.features().topRows(1).reshaped(5, 6)));
  const std::vector<double> theta{.3, -1, .5};
  const auto matches = [&](const auto& loss) {
    PreferenceObjective objective(pi, loss, data, 0.1);
    std::vector<double> gradient(3), unused(3);
    objective(theta, gradient);
    return gradient_matches([&](In at) { return objective(at, unused); }, theta, gradient);
  };
  CHECK(matches(Dpo{.beta = 0.5}));
  CHECK(matches(SoftDpo{.beta = 0.5}));
  CHECK(matches(SigmoidNorm{.beta = 0.5}));
  CHECK(matches(SimPo{}));
  CHECK(matches(vpo({.beta = 0.5, .alpha = 0.3})));
  CHECK(matches(BaseSft{SftReduction::token_mean} + 0.5 * RobustDpo{.beta = 0.5}));
}

TEST_CASE("DPO of a log-linear policy is logistic regression on feature differences", "[fit]") {
  const auto bandit = bandit_of(3);
  Rng rng{4};
  const auto pairs = bandit.sample_pairs(400, rng, {.scale = 0.7});
  LogLinearPolicy pi{bandit};
  const auto result = fit(pi, Dpo{.beta = 0.4}, {.pairs = pairs}, Lbfgs{.tolerance = 1e-11});
  CHECK(result.converged);
  const auto newton = fit_linear_reward(differences(bandit, pairs));  // the oracle: beta theta
  for (Eigen::Index i = 0; i < 3; ++i) CHECK(0.4 * theta_of(pi)[i] == close(newton.weight[i], 1e-8));

  // With a ridge of r on theta: l2 on w = beta theta, and a sum in place of a mean.
  LogLinearPolicy shrunk{bandit};
  fit(shrunk, Dpo{.beta = 0.4}, {.pairs = pairs}, Lbfgs{.tolerance = 1e-11}, {.ridge = 0.02});
  const auto penalised = fit_linear_reward(differences(bandit, pairs), {}, {}, {.l2 = 0.02 * 400 / (0.4 * 0.4)});
  for (Eigen::Index i = 0; i < 3; ++i) CHECK(0.4 * theta_of(shrunk)[i] == close(penalised.weight[i], 1e-8));
}

TEST_CASE("RPO of a log-linear policy is convex, with the Hessian of the paper's parts", "[fit][rpo]") {
  const auto bandit = bandit_of(5);
  Rng rng{6};
  const auto pairs = bandit.sample_pairs(50, rng);
  LogLinearPolicy pi{bandit};
  const double beta = 0.5, eta = 0.2;
  PreferenceObjective objective(pi, rpo({.beta = beta, .eta = eta}), {.pairs = pairs});
  const std::vector<double> theta{.3, -1, .5};
  std::copy(theta.begin(), theta.end(), pi.parameters().begin());
  const auto p = pi.probabilities();
  const Matrix<double> d = differences(bandit, pairs);
  Matrix<double> hessian = Matrix<double>::Zero(3, 3);  // beta^2 mean s (1 - s) D D' + eta mean Cov_pi(phi)
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto column = d.col(static_cast<Eigen::Index>(i));
    const double s = sigmoid(beta * column.dot(theta_of(pi)));
    const auto phi = bandit.features().middleCols(pairs.prompt[i] * 5, 5);
    const Vector<double> q = p.col(pairs.prompt[i]), mean = phi * q;
    hessian += beta * beta * s * (1 - s) * column * column.transpose();
    hessian += eta * (phi * q.asDiagonal() * phi.transpose() - mean * mean.transpose());
  }
  hessian /= static_cast<double>(pairs.size());
  for (Eigen::Index i = 0; i < 3; ++i) {
    const std::vector<double> row{hessian(i, 0), hessian(i, 1), hessian(i, 2)};
    const auto slope = [&](In at) {
      std::vector<double> gradient(3);
      objective(at, gradient);
      return gradient[static_cast<std::size_t>(i)];
    };
    CHECK(gradient_matches(slope, theta, row));
  }
}

TEST_CASE("where features don't tell the pairs apart, RPO's minimum is SFT's", "[fit][rpo]") {
  // Both answers of each pair have the same features; answers 2 of a prompt differ.
  Matrix<double> features(1, 6);
  features << 1, 1, -1, 2, 2, 0;
  ResponsePairs pairs;
  for (const int winner : {0, 1, 0}) pairs.push_back(0, winner, 1 - winner);
  pairs.push_back(1, 0, 1);
  const Matrix<double> uniform = Matrix<double>::Constant(3, 2, 1.0 / 3);
  LogLinearPolicy rpo_policy{features, uniform}, sft_policy{features, uniform};
  // Neither has a finite minimum without a ridge (answer 2 was never chosen); the same one brings both to a stop.
  fit(rpo_policy, rpo({.beta = 0.1, .eta = 0.5}), {.pairs = pairs}, Lbfgs{.tolerance = 1e-12}, {.ridge = 0.01});
  fit(sft_policy, 0.5 * Sft{}, {.pairs = pairs}, Lbfgs{.tolerance = 1e-12}, {.ridge = 0.01});
  CHECK(theta_of(rpo_policy)[0] == close(theta_of(sft_policy)[0], 1e-9));
  CHECK(theta_of(rpo_policy)[0] > 0.5);
}

TEST_CASE("with a large eta RPO tends to the policy of SFT", "[fit][rpo]") {
  const auto bandit = bandit_of(7);
  Rng rng{8};
  const auto pairs = bandit.sample_pairs(300, rng);
  LogLinearPolicy sft{bandit};
  fit(sft, Sft{}, {.pairs = pairs}, Lbfgs{.tolerance = 1e-11});
  double last = 1e9;
  for (const double eta : {1.0, 10.0, 100.0, 1000.0}) {
    LogLinearPolicy pi{bandit};
    fit(pi, rpo({.beta = 0.5, .eta = eta}), {.pairs = pairs}, Lbfgs{.tolerance = 1e-9});
    const double distance = (theta_of(pi) - theta_of(sft)).norm();
    CHECK(distance < last / 5);
    last = distance;
  }
}

TEST_CASE("the robust link in numbers, unbiased under flips", "[robust_dpo][P5]") {
  const double z[] = {-2, -.5, 0, 1, 3};
  const double value[] = {3.626928011043, 1.34907698418, 0.6931471805599, -0.4367383124818, -2.201412648426};
  const double slope[] = {-1.630797077978, -1.372459331202, -1.25, -1.01894142137, -0.7974258731776};
  for (std::size_t i = 0; i < 5; ++i) {
    const RobustLink link{0.3};
    CHECK(link(z[i]).value == close(value[i], 1e-12));
    CHECK(link(z[i]).slope == close(slope[i], 1e-12));
    CHECK(0.7 * link(z[i]).value + 0.3 * link(-z[i]).value == close(softplus(-z[i]), 0, 1e-15));
    CHECK(link(z[i]).value == close(softplus(-z[i]) - 0.3 * z[i] / 0.4, 1e-14));
    CHECK(LabelSmoothedLink{0.3}(z[i]).value == close(softplus(-z[i]) + 0.3 * z[i], 1e-14));
  }
}

TEST_CASE("from the population of flipped labels robust DPO finds theta*, DPO and cDPO don't", "[fit][robust_dpo]") {
  const double beta = 0.5;
  const std::vector<double> weights{1, -.5, .25, .75};
  Rng rng{9};
  const auto bandit = linear_bandit(weights, rng, {.prompts = 8, .answers = 5, .features = 4});
  const auto pairs = bandit.population_pairs({.flip = 0.3});
  const auto error = [&](const auto& loss) {
    LogLinearPolicy pi{bandit};
    fit(pi, loss, {.pairs = pairs}, Lbfgs{.tolerance = 1e-10});
    Vector<double> best(4);
    for (std::size_t i = 0; i < 4; ++i) best[static_cast<Eigen::Index>(i)] = weights[i] / beta;
    return (theta_of(pi) - best).norm();
  };
  CHECK(error(RobustDpo{.beta = beta, .label_smoothing = 0.3}) < 1e-6);
  CHECK(error(Dpo{.beta = beta}) > 0.5);
  CHECK(error(Cdpo{.beta = beta, .label_smoothing = 0.3}) > 0.5);
  // Without flips it is DPO that finds it, and robust DPO at rate 0 is DPO.
  const auto clean = bandit.population_pairs();
  LogLinearPolicy a{bandit}, b{bandit};
  fit(a, Dpo{.beta = beta}, {.pairs = clean});
  fit(b, RobustDpo{.beta = beta, .label_smoothing = 0}, {.pairs = clean});
  CHECK(theta_of(a) == theta_of(b));
  CHECK(theta_of(a)[0] == close(2.0, 1e-5));
}

TEST_CASE("an unbounded loss ends on the box, and the result says so", "[fit][robust_dpo]") {
  const auto bandit = bandit_of(10);
  ResponsePairs one;  // a single pair: robust DPO falls without limit
  one.push_back(0, 0, 1);
  LogLinearPolicy pi{bandit};
  const auto result =
      fit(pi, RobustDpo{.beta = 0.5, .label_smoothing = 0.3}, {.pairs = one}, Lbfgs{.box = 50}, {.ridge = 1e-5});
  CHECK(result.at_bound == 3);
  CHECK(theta_of(pi).cwiseAbs().minCoeff() == 50);
}

TEST_CASE("a fit by steps of an optimizer goes where L-BFGS goes", "[fit]") {
  const auto bandit = bandit_of(11);
  Rng rng{12};
  const auto pairs = bandit.sample_pairs(100, rng);
  const auto loss = rpo({.beta = 0.5, .eta = 0.1});
  LogLinearPolicy newton_like{bandit}, by_steps{bandit};
  const auto best = fit(newton_like, loss, {.pairs = pairs});
  const auto result = fit(by_steps, loss, {.pairs = pairs}, Adam{.step_size = 0.05}, {.steps = 2000});
  CHECK(result.iterations == 2000);
  CHECK(result.value == close(best.value, 1e-9));
  CHECK((theta_of(newton_like) - theta_of(by_steps)).norm() < 1e-4);
  // A first step of Adam moves each parameter by the step size.
  LogLinearPolicy one{bandit};
  fit(one, loss, {.pairs = pairs}, Adam{.step_size = 0.05, .epsilon = 0}, {.steps = 1});
  for (const double t : one.parameters()) CHECK(std::abs(t) == close(0.05));
}

TEST_CASE("a reference of one's own: DPO from a fine-tuned policy", "[fit][P23]") {
  const auto bandit = bandit_of(13);
  Rng rng{14};
  const auto pairs = bandit.sample_pairs(100, rng);
  LogLinearPolicy pi{bandit};
  fit(pi, BaseSft{}, {.base = pairs.chosen_responses()}, Adam{.step_size = 0.1}, {.steps = 20});
  const auto reference = pi.log_probs();
  PreferenceObjective objective(pi, Dpo{.beta = 0.1}, {.pairs = pairs, .reference = reference});
  std::vector<double> gradient(3);
  CHECK(objective(pi.parameters(), gradient) == close(std::log(2.0)));  // the policy is the reference
  PreferenceObjective other(pi, Dpo{.beta = 0.1}, {.pairs = pairs});
  CHECK(other(pi.parameters(), gradient) != close(std::log(2.0), 1e-3));
}

TEST_CASE("the hinge on log-ratios is fitted too", "[fit]") {
  const auto bandit = bandit_of(15);
  Rng rng{16};
  const auto pairs = bandit.sample_pairs(200, rng);
  LogLinearPolicy pi{bandit};
  const auto result = fit(pi, HingeDpo{.beta = 0.5}, {.pairs = pairs}, Lbfgs{}, {.ridge = 1e-3});
  // No worse than anything nearby.
  PreferenceObjective objective(pi, HingeDpo{.beta = 0.5}, {.pairs = pairs}, 1e-3);
  std::vector<double> gradient(3);
  for (int i = 0; i < 200; ++i) {
    std::vector<double> near_by(pi.parameters().begin(), pi.parameters().end());
    for (double& t : near_by) t += 0.01 * rng.normal();
    CHECK(objective(near_by, gradient) > result.value - 1e-9);
  }
}

TEST_CASE("the fit refuses bad input", "[fit]") {
  const auto bandit = bandit_of(17);
  LogLinearPolicy pi{bandit};
  const auto message = [&](const PreferenceData& data, const PreferenceFitOptions& options = {}) {
    return message_of([&] { fit(pi, Dpo{}, data, Lbfgs{}, options); });
  };
  ResponsePairs good, wrong_prompt, wrong_answer, uneven;
  good.push_back(0, 0, 1);
  wrong_prompt.push_back(6, 0, 1);
  wrong_answer.push_back(0, 0, 5);
  uneven = good;
  uneven.prompt.push_back(1);
  CHECK(says(message({}), "chosen is empty"));
  CHECK(says(message({.pairs = wrong_prompt}), "prompt[0] is 6"));
  CHECK(says(message({.pairs = wrong_answer}), "rejected[0] is 5"));
  CHECK(says(message({.pairs = uneven}), "chosen has 1 entries; expected 2"));
  CHECK(says(message({.pairs = good, .reference = Matrix<double>::Zero(5, 5)}), "reference is 5 x 5"));
  CHECK(says(message({.pairs = good, .length = Matrix<double>::Ones(1, 6)}), "length is 1 x 6"));
  CHECK(says(message({.pairs = good}, {.ridge = -1}), "ridge is -1"));
  CHECK(says(message_of([&] { fit(pi, SimPo{}, {.pairs = good}); }), "length"));
  CHECK(says(message_of([&] { fit(pi, Dpo{}, {.pairs = good}, Adam{}, {.steps = 0}); }), "steps is 0"));
  CHECK(says(message_of([&] { fit(pi, RobustDpo{.label_smoothing = 0.5}, {.pairs = good}); }), "0.5"));
  CHECK(says(message_of([&] { fit(pi, vpo(), {.pairs = good}); }), "base.log_prob is empty"));
  for (const double t : pi.parameters()) CHECK(t == 0);
}

TEST_CASE("an evaluation of the objective allocates nothing in steady state", "[fit]") {
  const auto bandit = bandit_of(18);
  Rng rng{19};
  const auto pairs = bandit.sample_pairs(40, rng);
  LogLinearPolicy pi{bandit};
  PreferenceObjective objective(pi, vpo(), {.pairs = pairs, .base = pairs.all_responses()});
  std::vector<double> gradient(3);
  objective(pi.parameters(), gradient);
  const Allocations allocations;
  objective(pi.parameters(), gradient);
  CHECK(allocations.count() == 0);
}
