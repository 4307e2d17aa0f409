#include "valence/reward/vpo_oracle.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"

using valence::AnswerComparisons;
using valence::Matrix;
using valence::ValueIncentive;
using valence::Vector;
using valence::VpoOracle;

namespace {

using namespace valence::test;
using valence::test::close;

using In = std::span<const double>;

/// The specification's three answers.
AnswerComparisons three() {
  return {.wins = Matrix<double>{{0, 2, 1}, {1, 0, 3}, {0, 1, 0}},
          .reference = Vector<double>{{.5, .3, .2}},
          .calibration = Vector<double>{{.2, .5, .3}}};
}

}  // namespace

TEST_CASE("the value of a calibrated reward is a log-likelihood ratio", "[vpo]") {
  // J*(r) = -beta E_cal[log pi_r - log pi_ref]. Values of the specification.
  const VpoOracle oracle{.beta = 0.5};
  const auto data = three();
  const std::vector<double> raw{.3, -.2, .6}, calibrated{.16, -.34, .46};
  std::vector<double> pi(3);
  oracle.policy(data, calibrated, pi);
  CHECK(pi[0] == close(0.5129322571226));
  CHECK(pi[1] == close(0.1132183392654));
  CHECK(pi[2] == close(0.3738494036119));
  CHECK(oracle.calibrated_value(data, calibrated) == close(0.1472321571818));
  CHECK(oracle.calibrated_value(data, raw) == close(0.1472321571818, 1e-11));
  double ratio = 0;
  for (std::size_t y = 0; y < 3; ++y) {
    const auto i = static_cast<Eigen::Index>(y);
    ratio -= 0.5 * data.calibration[i] * (std::log(pi[y]) - std::log(data.reference[i]));
  }
  CHECK(ratio == close(0.1472321571818));
}

TEST_CASE("the gradient of the value is pi_r - pi_cal, and the objective's matches differences", "[vpo]") {
  const auto data = three();
  const std::vector<double> r{.3, -.2, .6};
  for (const ValueIncentive incentive : {ValueIncentive::optimism, ValueIncentive::pessimism}) {
    const VpoOracle oracle{.beta = 0.5, .alpha = 0.7, .incentive = incentive};
    std::vector<double> gradient(3), unused(3), pi(3);
    oracle.objective(data, r, gradient);
    CHECK(gradient_matches([&](In at) { return oracle.objective(data, at, unused); }, r, gradient));
    oracle.policy(data, r, pi);
    std::vector<double> slope(3);
    for (std::size_t y = 0; y < 3; ++y) slope[y] = pi[y] - data.calibration[static_cast<Eigen::Index>(y)];
    CHECK(gradient_matches([&](In at) { return oracle.calibrated_value(data, at); }, r, slope));
  }
  // At pi_r = pi_ref = pi_cal there is no slope: descent alone does not start to explore.
  auto own = data;
  own.calibration = {};
  const VpoOracle optimist{.beta = 0.5, .alpha = 0.7}, passive{.beta = 0.5, .alpha = 0};
  std::vector<double> zero(3), with(3), without(3);
  optimist.objective(own, zero, with);
  passive.objective(own, zero, without);
  for (std::size_t y = 0; y < 3; ++y) CHECK(with[y] == close(without[y], 1e-15));
}

TEST_CASE("the oracle finds what a grid finds", "[vpo]") {
  // Two answers and one pair: the objective over (r_0, r_1) by a grid, then a finer one around its best point.
  for (const double alpha : {0.0, 0.5, 3.0})
    for (const ValueIncentive incentive : {ValueIncentive::optimism, ValueIncentive::pessimism}) {
      const VpoOracle oracle{
          .beta = 0.5, .alpha = alpha, .incentive = incentive, .alternations = 40, .solver = {.tolerance = 1e-10}};
      const AnswerComparisons data{.wins = Matrix<double>{{0, 1}, {0, 0}}, .reference = Vector<double>{{.8, .2}}};
      double middle[] = {0, 0}, width = 16, best = std::numeric_limits<double>::infinity();
      std::vector<double> gradient(2);
      for (int level = 0; level < 12; ++level) {
        const double from[] = {middle[0] - width / 2, middle[1] - width / 2};
        for (int i = 0; i <= 80; ++i)
          for (int j = 0; j <= 80; ++j) {
            const std::vector<double> r{from[0] + width * i / 80, from[1] + width * j / 80};
            const double value = oracle.objective(data, r, gradient);
            if (value < best) best = value, middle[0] = r[0], middle[1] = r[1];
          }
        width /= 4;
      }
      std::vector<double> reward(2, 0.0);
      CHECK(oracle.fit(data, reward) == close(best, 0, 1e-9));
      CHECK(reward[0] == close(middle[0], 0, 1e-4));
      CHECK(reward[1] == close(middle[1], 0, 1e-4));
    }
}

TEST_CASE("optimism raises the promised value, pessimism lowers it, and neither unlearns the data", "[vpo]") {
  auto data = three();
  data.wins *= 100;
  const auto value = [&](double alpha, ValueIncentive incentive) {
    const VpoOracle oracle{.beta = 0.5, .alpha = alpha, .incentive = incentive};
    std::vector<double> reward(3, 0.0);
    oracle.fit(data, reward);
    CHECK(reward[0] > reward[1]);
    return oracle.calibrated_value(data, reward);
  };
  const double plain = value(0, ValueIncentive::optimism);
  CHECK(value(20, ValueIncentive::optimism) > plain + 1e-3);
  CHECK(value(20, ValueIncentive::pessimism) < plain - 1e-3);
  CHECK(value(0, ValueIncentive::pessimism) == plain);
}

TEST_CASE("more alternations never end higher", "[vpo]") {
  const auto data = three();
  double before = std::numeric_limits<double>::infinity();
  for (const int alternations : {1, 2, 4, 16}) {
    std::vector<double> reward(3, 0.0);
    const double end = VpoOracle{.beta = 0.2, .alpha = 2, .alternations = alternations}.fit(data, reward);
    CHECK(end <= before + 1e-9);
    before = end;
  }
}

TEST_CASE("the oracle refuses bad input before anything changes", "[vpo]") {
  std::vector<double> reward{1, 2, 3};
  const auto message = [&](const VpoOracle& oracle, const AnswerComparisons& data) {
    return message_of([&] { oracle.fit(data, reward); });
  };
  const auto good = three();
  CHECK(says(message({.beta = 0}, good), "beta is 0"));
  CHECK(says(message({.alpha = -1}, good), "alpha is -1"));
  CHECK(says(message({.ridge = 0}, good), "ridge is 0"));
  CHECK(says(message({.alternations = 0}, good), "alternations is 0"));
  auto bad = three();
  bad.wins(1, 2) = -1;
  CHECK(says(message({}, bad), "wins[7] is -1"));
  bad = three();
  bad.calibration[0] = 0.5;
  CHECK(says(message({}, bad), "calibration sums to 1.3"));
  bad = three();
  bad.reference = Vector<double>{{.7, .3, 0}};
  CHECK(says(message({}, bad), "calibration[2] is 0.3, where the reference never answers"));
  bad = three();
  bad.wins = Matrix<double>::Zero(2, 2);
  CHECK(says(message({}, bad), "wins is 2 x 2"));
  CHECK(reward == std::vector<double>{1, 2, 3});
  std::vector<double> many(10'001, 0.0);
  CHECK(says(message_of([&] { VpoOracle{}.fit(good, many); }), "the number of answers is 10001"));
}
