// Quantile and expectile regression, implicit quantiles, and the faults that others shipped (pitfalls D4, D6, D7).
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/expectile.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/distributional/implicit_quantile.hpp"
#include "valence/distributional/quantile.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
constexpr double infinite = std::numeric_limits<double>::infinity();

void same(const Numbers& seen, const Numbers& expected, double tolerance = 1e-12) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i, seen[i], expected[i]);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}
struct Result {
  double loss;
  Numbers gradient;
};
Result quantile(const Numbers& theta, const Numbers& fractions, const Numbers& y, double kappa) {
  Result r{0, Numbers(theta.size())};
  r.loss = quantile_huber(std::span<const double>(theta), fractions, y, r.gradient, 1, {.kappa = kappa});
  return r;
}
Numbers midpoints(std::size_t n) {
  Numbers tau(n);
  for (std::size_t i = 0; i < n; ++i) tau[i] = (static_cast<double>(i) + 0.5) / static_cast<double>(n);
  return tau;
}
/// As the equations have it, pair by pair.
Result by_hand(const Numbers& theta, const Numbers& tau, const Numbers& y, double kappa) {
  Result r{0, Numbers(theta.size())};
  for (std::size_t i = 0; i < theta.size(); ++i)
    for (const double target : y) {
      const double u = target - theta[i], size = std::abs(u), w = std::abs(tau[i] - (u < 0 ? 1 : 0));
      const double count = static_cast<double>(y.size());
      r.loss += w * (size <= kappa ? u * u / 2 : kappa * (size - kappa / 2)) / kappa / count;
      r.gradient[i] -= w * std::fmax(-kappa, std::fmin(kappa, u)) / kappa / count;
    }
  return r;
}

}  // namespace

TEST_CASE("Quantile Huber: fractions belong to predictions", "[D4]") {
  CHECK(quantile({0, 2}, {0.25, 0.75}, {1, 4}, 1).loss == close(1.125));
  CHECK(quantile({0, 2}, {0.25, 0.75}, {1, 4, -1}, 1).loss == close(1.08333333333333333));
  CHECK(quantile({0, 2}, {0.75, 0.25}, {1, 4}, 1).loss != close(1.125, 1e-3));
}

TEST_CASE("Quantile Huber: divided by kappa, so the pinball loss is its limit", "[D6]") {
  CHECK(quantile({0, 2}, {0.25, 0.75}, {1, 4}, 2).loss == close(0.8125));
  const Numbers theta{0.3, 2.1, -1}, tau{0.2, 0.5, 0.9}, y{1.7, 4, -0.5, 0.1};
  const Result pinball = quantile(theta, tau, y, 0), nearly = quantile(theta, tau, y, 1e-9);
  CHECK(nearly.loss == close(pinball.loss, 1e-8));
  same(nearly.gradient, pinball.gradient, 1e-12);
  double expected = 0;
  for (std::size_t i = 0; i < 3; ++i)
    for (const double t : y) expected += (t < theta[i] ? 1 - tau[i] : tau[i]) * std::abs(t - theta[i]) / 4;
  CHECK(pinball.loss == close(expected));
  CHECK(QuantileReturn{}.kappa == 1);
}

TEST_CASE("Quantile Huber: a mean over targets, a sum over predictions", "[D7]") {
  const Numbers theta{0.3, 2.1}, tau{0.25, 0.75}, y{1.7, 4, -0.5};
  const Result one = quantile(theta, tau, y, 1);
  const Result targets = quantile(theta, tau, {1.7, 4, -0.5, 1.7, 4, -0.5}, 1);
  CHECK(targets.loss == close(one.loss));
  same(targets.gradient, one.gradient);
  const Result predictions = quantile({0.3, 2.1, 0.3, 2.1}, {0.25, 0.75, 0.25, 0.75}, y, 1);
  CHECK(predictions.loss == close(2 * one.loss));
  same(predictions.gradient, {one.gradient[0], one.gradient[1], one.gradient[0], one.gradient[1]});
}

TEST_CASE("Quantile Huber: published numbers") {
  const Result a = quantile({-1, 0, 2}, midpoints(3), {-0.5, 1.5}, 1);
  CHECK(a.loss == close(0.6354166666666666));
  same(a.gradient, {-0.125, -0.125, 0.125});
  const Result b = quantile({-1, 0, 2}, midpoints(3), {-0.5, 1.5}, 0);
  CHECK(b.loss == close(1.0));
  same(b.gradient, {-1.0 / 6, 0, 1.0 / 6});
  const QuantileReturn head{.quantiles = 3};
  const Numbers theta{-0.5, 0.2, 1}, y{0, 0.6, 2};
  Numbers dy(3);
  CHECK(head.loss(std::span<const double>(theta), y, dy) == close(0.555833333333333333));
  same(dy, {-0.138888888888889, -0.2, -0.2});
  // A slope of 0 where a target is hit.
  CHECK(quantile({1}, {0.3}, {1}, 0).gradient[0] == 0);
}

TEST_CASE("Quantile Huber: any number of predictions and targets agrees with the pairs") {
  Rng rng{31};
  for (const std::size_t n : {1U, 2U, 3U, 7U, 8U, 9U, 15U, 16U, 17U, 31U, 33U, 70U, 200U})
    for (const std::size_t m : {1U, 5U, 16U, 203U}) {
      CAPTURE(n, m);
      Numbers theta(n), tau(n), y(m);
      for (double& x : theta) x = 3 * rng.normal();
      for (double& x : tau) x = rng.uniform();
      for (double& x : y) x = 3 * rng.normal();
      const double kappa = rng.uniform(0.1, 2);
      const Result ours = quantile(theta, tau, y, kappa), hand = by_hand(theta, tau, y, kappa);
      CHECK(ours.loss == close(hand.loss, 1e-12));
      same(ours.gradient, hand.gradient, 1e-12);
      const std::vector<float> tf(theta.begin(), theta.end()), ff(tau.begin(), tau.end()), yf(y.begin(), y.end());
      std::vector<float> gf(n);
      CHECK(static_cast<double>(quantile_huber(std::span<const float>(tf), ff, yf, gf, 1, {.kappa = kappa})) ==
            close(hand.loss, 1e-4));
      for (std::size_t i = 0; i < n; ++i) CHECK(static_cast<double>(gf[i]) == close(hand.gradient[i], 1e-4, 1e-5));
    }
}

TEST_CASE("Quantile Huber: the gradient is the loss's, is weighted, is added, and allocates nothing") {
  const Numbers theta{0.31, 2.12, -1.4}, tau{0.2, 0.5, 0.9}, y{1.7, 4, -0.5, 0.1};
  for (const double kappa : {0.0, 0.4, 1.0}) {
    const Result r = quantile(theta, tau, y, kappa);
    const auto loss = [&](std::span<const double> at) {
      return quantile(Numbers(at.begin(), at.end()), tau, y, kappa).loss;
    };
    CHECK(gradient_matches(loss, theta, r.gradient, {.relative = 1e-8, .absolute = 1e-9, .step = 1e-5}));
    Numbers d{1, 2, 3};
    valence::test::Allocations allocations;
    const double value = quantile_huber(std::span<const double>(theta), tau, y, d, -0.5, {.kappa = kappa});
    CHECK(allocations.count() == 0);
    CHECK(value == r.loss);
    for (std::size_t i = 0; i < 3; ++i) CHECK(d[i] == close(double(i) + 1 - 0.5 * r.gradient[i]));
  }
}

TEST_CASE("Quantile Huber: bad input is refused before the gradient changes") {
  const auto refused = [](const Numbers& theta, const Numbers& tau, const Numbers& y, double kappa = 1) {
    Numbers d(theta.size(), 7.0);
    const auto message =
        message_of([&] { quantile_huber(std::span<const double>(theta), tau, y, d, 1, {.kappa = kappa}); });
    CHECK(d == Numbers(theta.size(), 7.0));
    return message;
  };
  CHECK(says(refused({1, 2}, {0.5}, {1}), "fractions has 1 entries; expected 2"));
  CHECK(says(refused({1, 2}, {0.5, 1.5}, {1}), "fractions[1] is 1.5"));
  CHECK(says(refused({1, poison}, {0.5, 0.7}, {1}), "theta[1] is nan"));
  CHECK(says(refused({1, 2}, {0.5, 0.7}, {1, 2, -infinite}), "target[2] is -inf"));
  CHECK(says(refused({1, 2}, {0.5, 0.7}, {}), "empty"));
  CHECK(says(refused({}, {}, {1}), "empty"));
  CHECK(says(refused({1}, {0.5}, {1}, -1), "kappa is -1"));
  CHECK(says(refused({1}, {0.5}, {1}, poison), "kappa is nan"));
}

TEST_CASE("Quantile regression finds the quantiles of samples") {
  Rng rng{32};
  Numbers theta(5), y(64);
  const Numbers tau = midpoints(5);
  for (int step = 0; step < 4000; ++step) {
    for (double& x : y) x = rng.normal();
    Numbers d(5);
    quantile_huber(std::span<const double>(theta), tau, y, d, 1, {.kappa = 0});
    const double size = 2.0 / (1 + step / 40.0);
    for (std::size_t i = 0; i < 5; ++i) theta[i] -= size * d[i];
  }
  for (std::size_t i = 0; i < 5; ++i) CHECK(std::abs(theta[i] - normal_quantile(tau[i])) < 0.03);
}

TEST_CASE("Implicit quantiles: at the midpoints the loss is QR-DQN's; features are cosines") {
  const Numbers theta{-0.5, 0.2, 1}, y{0, 0.6, 2};
  Numbers d(3), e(3);
  CHECK(implicit_quantile_loss(std::span<const double>(theta), midpoints(3), y, d) ==
        close(QuantileReturn{.quantiles = 3}.loss(std::span<const double>(theta), y, e), 1e-15));
  same(d, e, 1e-15);
  Numbers features(64);
  for (const double tau : {0.0, 0.1, 0.5, 0.987, 1.0}) {
    cosine_features(tau, features);
    CHECK(features[0] == 1);
    for (std::size_t i = 0; i < 64; ++i)
      CHECK(std::abs(features[i] - std::cos(3.14159265358979323846 * static_cast<double>(i) * tau)) < 1e-13);
  }
  Matrix<float> columns(4, 3);
  const std::vector<float> taus{0.1F, 0.5F, 0.9F};
  cosine_features_columns(std::span<const float>(taus), OutputsGradient<float>(columns.data(), 4, 3));
  CHECK(columns(2, 1) == Approx(-1));
  CHECK(columns(1, 2) == Approx(std::cos(0.9 * 3.14159265358979323846)));
  CHECK(says(message_of([&] { cosine_features(1.5, features); }), "tau is 1.5"));
}

TEST_CASE("Implicit quantiles: distortions of sampled fractions") {
  Rng rng{33};
  Numbers tau(20000);
  const auto mean_of = [&](auto distortion) {
    sample_fractions(rng, std::span(tau), distortion);
    double sum = 0;
    for (const double t : tau) {
      REQUIRE((t >= 0 && t <= 1));
      sum += t;
    }
    return sum / static_cast<double>(tau.size());
  };
  // Standard deviations of these means are at most 0.0021.
  CHECK(std::abs(mean_of(Neutral{}) - 0.5) < 0.012);
  CHECK(std::abs(mean_of(CvarDistortion{.level = 0.25}) - 0.125) < 0.004);
  CHECK(std::abs(mean_of(WangDistortion{.eta = -0.75}) - normal_cdf(-0.75 / std::sqrt(2.0))) < 0.012);
  CHECK(std::abs(mean_of(PowerDistortion{.eta = -2}) - 0.25) < 0.012);
  CHECK(std::abs(mean_of(PowerDistortion{.eta = 2}) - 0.75) < 0.012);
  CHECK(says(message_of([&] { sample_fractions(rng, std::span(tau), CvarDistortion{.level = 3}); }), "distorted"));
}

TEST_CASE("Expectile loss: published numbers and the gradient") {
  const Numbers theta{-0.5, 0.5, 1}, tau{0.25, 0.5, 0.75}, y{0, 2};
  Numbers d(3);
  CHECK(expectile_loss(std::span<const double>(theta), tau, y, d) == close(1.9375));
  same(d, {-0.75, -0.5, -0.5});
  const auto loss = [&](std::span<const double> at) {
    Numbers ignored(3);
    return expectile_loss(at, tau, y, ignored);
  };
  CHECK(gradient_matches(loss, theta, d, {.step = 1e-4}));
  // Its minimum is the expectile.
  const Numbers at{Expectile{.level = 0.9}({y})}, level{0.9};
  Numbers zero(1);
  expectile_loss(std::span<const double>(at), level, y, zero);
  CHECK(std::abs(zero[0]) < 1e-15);
  CHECK(says(message_of([&] { expectile_loss(std::span<const double>(theta), {level}, y, d); }), "levels has 1"));
}

TEST_CASE("Imputation: atoms that have the expectiles") {
  int solved = 0;
  for (const std::size_t n : {1U, 2U, 5U, 9U}) {
    CAPTURE(n);
    Rng rng{34};
    for (int trial = 0; trial < 10; ++trial) {
      Numbers from(n), levels = midpoints(n), expectiles(n), atoms(n);
      for (double& x : from) x = 2 * rng.normal() + 1;
      for (std::size_t k = 0; k < n; ++k) expectiles[k] = Expectile{.level = levels[k]}({from});
      const Imputation result = impute_expectiles(expectiles, levels, atoms);
      if (n <= 2) CHECK(result.converged);
      CHECK(result.residual <= 0.01 * (expectiles.back() - expectiles.front()));
      CHECK(result.converged == (result.residual <= 1e-10 * (n > 1 ? expectiles.back() - expectiles.front() : 1)));
      if (!result.converged) continue;
      ++solved;
      for (std::size_t k = 0; k < n; ++k)
        CHECK(Expectile{.level = levels[k]}({atoms}) == close(expectiles[k], 1e-7, 1e-7));
    }
  }
  CHECK(solved >= 36);  // of 40: kinks may hold it up
  // Expectiles that don't move far apart as their levels do belong to no law of one atom.
  Numbers one(1);
  const Imputation impossible = impute_expectiles(Numbers{0, 1}, Numbers{0.25, 0.75}, one);
  CHECK(!impossible.converged);
  CHECK(impossible.residual > 0.01);
  CHECK(says(message_of([&] { impute_expectiles(Numbers{1, 0}, Numbers{0.25, 0.75}, one); }), "expectiles[1] is 0"));
  CHECK(says(message_of([&] { impute_expectiles(Numbers{0, 1}, Numbers{0.75, 0.25}, one); }), "levels[1]"));
}
