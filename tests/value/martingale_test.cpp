#include "valence/value/martingale.hpp"

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/env/diffusion.hpp"
#include "valence/function/feature_function.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/sampled_paths.hpp"

namespace {

using namespace valence;
using valence::test::Allocations;
using valence::test::close;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;

// Every path of n steps of +-sqrt(dt), dt = 1 / n: averages over them are exact expectations of a walk whose increments
// have the mean and variance of Brownian ones.
SampledPaths binomial_tree(int n) {
  SampledPaths paths;
  paths.dt = 1.0 / n, paths.count = std::ptrdiff_t{1} << n, paths.steps = n;
  paths.nodes.resize(2, paths.count * (n + 1));
  for (std::ptrdiff_t k = 0; k < paths.count; ++k)
    for (std::ptrdiff_t i = 0, up = 0; i <= n; ++i) {
      paths.nodes(0, k * (n + 1) + i) = static_cast<double>(i) / n;
      paths.nodes(1, k * (n + 1) + i) = static_cast<double>(up) * std::sqrt(1.0 / n);
      up += (k >> i & 1) != 0 ? 1 : -1;
    }
  return paths;
}

const auto nothing = [](double, double) { return 0.0; };
const auto square = [](double, double x) { return x * x; };

// (A) r = 0, h = x^2; J = x^2 + (1 - t) (a + b x^2), the value is (1, 0).
const FeatureFunction features_a{2, 2, [](auto x, auto phi) {
                                   phi[0] = 1 - x[0];
                                   phi[1] = (1 - x[0]) * x[1] * x[1];
                                 }};
SampledPaths case_a(SampledPaths paths) {
  paths.pay(nothing, square);
  paths.base = paths.evaluate(square);
  return paths;
}
// (B) r = x^2, h = 0; J = (1 - t) (a + b x^2 + c (1 - t)); the value of the grid is (-dt / 2, 1, 1/2).
const FeatureFunction features_b{2, 3, [](auto x, auto phi) {
                                   phi[0] = 1 - x[0];
                                   phi[1] = (1 - x[0]) * x[1] * x[1];
                                   phi[2] = (1 - x[0]) * (1 - x[0]);
                                 }};
SampledPaths case_b(SampledPaths paths) {
  paths.pay(square, nothing);
  return paths;
}
const FeatureFunction single_feature{2, 1, [](auto x, auto phi) { phi[0] = 1 - x[0]; }};

// A tree, or a path by hand, of 4 steps with dt = 1/4.
SampledPaths one_path() {
  SampledPaths paths;
  paths.dt = 0.25, paths.count = 1, paths.steps = 4;
  paths.nodes.resize(2, 5);
  paths.nodes << 0, .25, .5, .75, 1, 0, .5, .2, -.4, .1;
  return paths;
}

template <class Rule>
std::vector<double> output_gradient(const Rule& rule, const SampledPaths& paths, const std::vector<double>& values) {
  std::vector<double> gradient(values.size());
  rule(paths, values, gradient);
  return gradient;
}

std::vector<double> some_values(const SampledPaths& paths, int seed) {
  Rng rng{seed};
  std::vector<double> values(static_cast<std::size_t>(paths.count * (paths.steps + 1)));
  for (double& v : values) v = rng.normal();
  return values;
}

SampledPaths some_paths(std::ptrdiff_t count, double dt, int seed) {
  Rng rng{seed};
  SampledPaths paths = Diffusion{brownian(), {.horizon = 1, .dt = dt}}.simulate(count, rng);
  paths.pay([](double t, double x) { return std::sin(x) + t; }, [](double, double x) { return 1 + x * x; });
  return paths;
}

}  // namespace

TEST_CASE("martingale methods find the value of a binomial tree exactly, squared TD errors don't") {
  const Linear model{features_a, 1};
  for (const int n : {2, 4, 8, 12}) {
    CAPTURE(n);
    const SampledPaths paths = case_a(binomial_tree(n));
    for (const auto& theta : {clstd(model, paths), clstd(model, paths, {.lambda = 0.5}),
                              linear_path_solution(MartingaleLoss{}, model, paths)}) {
      CHECK(theta[0] == close(1, 1e-11));
      CHECK(theta[1] == close(0, 0, 1e-11));
    }
    // The minimiser in closed form.
    const Vector<double> biased = linear_path_solution(MeanSquareTdError{}, model, paths);
    CHECK(biased[0] == close(1, 1e-11));
    CHECK(biased[1] == close(-2.0 * n * (n - 2) / (n * n - 1), 1e-11, 1e-11));
  }
}

TEST_CASE("martingale methods have a mesh error of dt / 2 in the running reward") {
  const Linear model{features_b, 1};
  for (const int n : {4, 8, 12}) {
    CAPTURE(n);
    const SampledPaths paths = case_b(binomial_tree(n));
    for (const auto& theta :
         {clstd(model, paths), clstd(model, paths, {.lambda = 0.5}), clstd(model, paths, {.lambda = 1}),
          linear_path_solution(MartingaleLoss{}, model, paths)}) {
      CHECK(theta[0] == close(-0.5 / n, 1e-10));
      CHECK(theta[1] == close(1, 1e-10));
      CHECK(theta[2] == close(0.5, 1e-10));
    }
  }
  const auto biased = [&](int n) { return linear_path_solution(MeanSquareTdError{}, model, case_b(binomial_tree(n))); };
  const Vector<double> four = biased(4), eight = biased(8);
  CHECK(four[0] == close(0.475, 1e-11));
  CHECK(four[1] == close(0.4, 1e-11));
  CHECK(four[2] == close(-0.1, 1e-11));
  CHECK(eight[0] == close(.7152777777778, 1e-11));
  CHECK(eight[1] == close(.2222222222222, 1e-11));
  CHECK(eight[2] == close(-.2777777777778, 1e-11));
}

TEST_CASE("what the methods converge to when no theta is the value") {
  const Linear model{single_feature, 1};
  const SampledPaths paths = case_b(binomial_tree(8));
  const double projection = 0.5404411764706;  // of J in mean square
  CHECK(linear_path_solution(MartingaleLoss{}, model, paths)[0] == close(projection, 1e-11));
  CHECK(clstd(model, paths, {.lambda = 1})[0] == close(projection, 1e-11));
  CHECK(clstd(model, paths)[0] == close(0.2916666666667, 1e-11));
  CHECK(linear_path_solution(MeanSquareTdError{}, model, paths)[0] == close(0.4375, 1e-11));
}

TEST_CASE("the martingale loss of a binomial tree") {
  const SampledPaths paths = case_a(binomial_tree(8));
  PathGradient gradient_of{Linear{features_a, 1}};
  Vector<double> gradient = Vector<double>::Zero(2);
  const auto loss = [&](double a, double b) {
    const std::vector<double> theta{a, b};
    return gradient_of(MartingaleLoss{}, paths, theta, view(gradient));
  };
  CHECK(loss(1, 0) == close(0.65625, 1e-14));
  CHECK(loss(0, 0) == close(0.85546875, 1e-14));
  CHECK(loss(1, -2) == close(0.815185546875, 1e-14));
}

TEST_CASE("a path by hand") {
  const SampledPaths paths = case_a(one_path());
  PathGradient gradient_of{Linear{features_a, 1}};
  const std::vector<double> theta{.3, -.7};
  const auto values = gradient_of.values(paths, theta);
  const std::vector<double> expected{.3, .34375, .176, .207, .01};
  REQUIRE(values.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(values[i] == close(expected[i], 1e-14));

  Vector<double> gradient = Vector<double>::Zero(2);
  CHECK(gradient_of(MartingaleLoss{}, paths, theta, view(gradient)) == close(0.0327317578125, 1e-13));
  gradient.setZero();
  CHECK(gradient_of(Ctd{}, paths, theta, view(gradient)) == close(.01 - .3, 1e-13));  // M_n - M_0
  CHECK(-gradient[0] == close(-0.1158125, 1e-13));
  CHECK(-gradient[1] == close(-0.038713125, 1e-13));
  CHECK(gradient_of(MeanSquareTdError{}, paths, theta, view(gradient)) == close(0.069824125 / 2 / .25, 1e-13));

  std::vector<double> dM(4);
  martingale_increments(paths, gradient_of.values(paths, theta), dM);
  double variation = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(dM[i] == close(expected[i + 1] - expected[i], 1e-13));
    variation += dM[i] * dM[i];
  }
  CHECK(variation == close(0.069824125, 1e-13));
  // With a discount rate of 2: beta J dt less.
  martingale_increments(paths, gradient_of.values(paths, theta), dM, 2);
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(dM[i] == close(expected[i + 1] - expected[i] - 2 * expected[i] * .25, 1e-13));
}

TEST_CASE("with lambda 1 the orthogonality conditions are the martingale loss's gradient, path by path") {
  for (const int seed : {1, 2, 3}) {
    const SampledPaths paths = some_paths(1, 0.1, seed);
    const auto values = some_values(paths, 10 + seed);
    const auto of_loss = output_gradient(MartingaleLoss{}, paths, values);
    const auto of_td = output_gradient(Ctd{.lambda = 1}, paths, values);
    for (std::size_t i = 0; i < of_loss.size(); ++i) CHECK(of_td[i] == close(of_loss[i], 1e-12, 1e-13));
  }
}

TEST_CASE("traces forget by lambda per unit of time") {
  // The definition, with forward traces: sum_i xi_i dM_i, xi_i = sum_{j<=i} lambda^{(i-j) dt} g_j dt, g_j = e_j.
  const SampledPaths paths = some_paths(2, 0.25, 5);
  const auto values = some_values(paths, 6);
  for (const double lambda : {0.3, 0.9}) {
    for (const double rate : {0.0, 0.7}) {
      const auto given = output_gradient(Ctd{.lambda = lambda, .discount_rate = rate}, paths, values);
      std::vector<double> dM(8), expected(10, 0.0);
      martingale_increments(paths, values, dM, rate);
      for (std::size_t k = 0; k < 2; ++k)
        for (std::size_t i = 0; i < 4; ++i)
          for (std::size_t j = 0; j <= i; ++j)
            expected[k * 5 + j] -=
                std::pow(lambda, static_cast<double>(i - j) * 0.25) * 0.25 * dM[k * 4 + i] / 2;  // mean of 2 paths
      for (std::size_t i = 0; i < 10; ++i) CHECK(given[i] == close(expected[i], 1e-13, 1e-15));
    }
  }
}

TEST_CASE("gradients of the losses on paths with respect to the values") {
  SampledPaths paths = some_paths(3, 0.2, 7);
  const auto values = some_values(paths, 8);
  const auto check = [&](const auto& rule) {
    std::vector<double> scratch(values.size());
    const auto loss = [&](std::span<const double> v) { return rule(paths, v, std::span<double>(scratch)); };
    CHECK(gradient_matches(loss, values, output_gradient(rule, paths, values)));
  };
  check(MartingaleLoss{});
  check(MartingaleLoss{.discount_rate = 0.8});
  check(MeanSquareTdError{});
  check(MeanSquareTdError{.discount_rate = 0.8});
  paths.infinite_horizon = true;  // the last value is then the model's
  paths.terminal.resize(0);
  check(MeanSquareTdError{.discount_rate = 0.8});
}

TEST_CASE("a discount rate changes the value that is found") {
  // dJ/dt = beta J, J = e^{-beta (1 - t)}: constant h = 1, no noise needed. On the grid J_i (1 + beta dt) = J_{i+1}.
  const double beta = 1.3;
  const FeatureFunction table{2, 4, [](auto x, auto phi) {
                                for (std::size_t j = 0; j < 4; ++j) phi[j] = std::lround(4 * x[0]) == long(j) ? 1 : 0;
                              }};
  SampledPaths paths = one_path();
  paths.pay(nothing, [](double, double) { return 1.0; });
  const Linear model{table, 1};
  const Vector<double> td = clstd(model, paths, {.discount_rate = beta});
  const Vector<double> mc = linear_path_solution(MartingaleLoss{.discount_rate = beta}, model, paths);
  for (std::ptrdiff_t j = 0; j < 4; ++j) {
    CHECK(td[j] == close(std::pow(1 + beta * 0.25, static_cast<double>(j - 4)), 1e-13));
    CHECK(mc[j] == close(std::exp(-beta * (1 - 0.25 * static_cast<double>(j))), 1e-13));
  }
}

TEST_CASE("an infinite horizon: the linear-quadratic value of an Ornstein-Uhlenbeck process") {
  // r = x^2, dX = -k X dt + s dW, J = a + b x^2: beta b = 1 - 2 k b, beta a = b s^2. With Euler steps the conditions
  // differ from that by O(dt).
  const double k = 0.5, s = 0.6, beta = 1;
  Rng rng{11};
  Diffusion process{ornstein_uhlenbeck(1, {.start = 0, .speed = k, .volatility = s}), {.horizon = 2, .dt = 0.01}};
  SampledPaths paths;
  process.simulate(20'000, rng, paths, [](Rng& own, std::span<double> x) { x[0] = own.normal(); });
  paths.pay(square, nothing);
  paths.terminal.resize(0);
  paths.infinite_horizon = true;
  const Linear model{FeatureFunction{2, 2, [](auto x, auto phi) { phi[0] = 1, phi[1] = x[1] * x[1]; }}, 1};
  const Vector<double> theta = clstd(model, paths, {.discount_rate = beta});
  CHECK(theta[1] == close(1 / (beta + 2 * k), 0, 0.02));
  CHECK(theta[0] == close(s * s / beta / (beta + 2 * k), 0, 0.02));
}

TEST_CASE("CGTD finds what CLSTD finds") {
  const Linear model{features_a, 1};
  const SampledPaths paths = case_a(binomial_tree(4));
  for (const double lambda : {0.0, 0.5}) {
    CAPTURE(lambda);
    Cgtd learner{model, {.step_size = 0.5, .correction_step_size = 2, .lambda = lambda}};
    std::vector<double> theta{0, 0};
    for (int k = 0; k < 20'000; ++k) learner.update(theta, paths);
    CHECK(theta[0] == close(1, 1e-9));
    CHECK(theta[1] == close(0, 0, 1e-9));
  }
}

TEST_CASE("one update of CGTD is what its equations say") {
  const SampledPaths paths = some_paths(2, 0.25, 21);
  const Linear model{features_b, 1};
  const double lambda = 0.4, beta = 0.6;
  const auto n = paths.steps;
  Cgtd learner{model, {.step_size = 0.3, .correction_step_size = 0.7, .lambda = lambda, .discount_rate = beta}};
  std::vector<double> theta{.2, -.1, .4};
  Vector<double> w = Vector<double>::Zero(3);
  for (int round = 0; round < 3; ++round) {
    PathGradient values{model};
    std::vector<double> dM(static_cast<std::size_t>(2 * n));
    martingale_increments(paths, values.values(paths, theta), dM, beta);
    Vector<double> dw = Vector<double>::Zero(3), dtheta = dw;
    for (std::ptrdiff_t k = 0; k < 2; ++k) {
      const auto phi = [&](std::ptrdiff_t i) {
        Vector<double> f(3);
        const std::vector<double> x{paths.time(k, i), paths.state(k, i)[0]};
        if (i == n)
          f.setZero();
        else
          features_b(std::span<const double>(x), view(f));
        return f;
      };
      Vector<double> xi = Vector<double>::Zero(3);
      for (std::ptrdiff_t i = 0; i < n; ++i) {
        xi = std::pow(lambda, paths.dt) * xi + paths.dt * phi(i);
        dw += (xi * dM[static_cast<std::size_t>(k * n + i)] - xi * xi.dot(w) * paths.dt) / 2;
        dtheta += (phi(i + 1) - (1 + beta * paths.dt) * phi(i)) * xi.dot(w) / 2;
      }
    }
    std::vector<double> expected(3);
    for (std::size_t j = 0; j < 3; ++j) expected[j] = theta[j] - 0.3 * dtheta[static_cast<std::ptrdiff_t>(j)];
    w += 0.7 * dw;
    learner.update(theta, paths);
    for (std::size_t j = 0; j < 3; ++j) {
      CHECK(theta[j] == close(expected[j], 1e-12));
      CHECK(learner.correction()[j] == close(w[static_cast<std::ptrdiff_t>(j)], 1e-12));
    }
  }
}

TEST_CASE("path rules train a network") {
  const SampledPaths paths = some_paths(20, 0.1, 31);
  const Mlp<double> net{{2, 5, 1}, Activation::tanh};
  Rng rng{32};
  Vector<double> theta(static_cast<std::ptrdiff_t>(net.parameter_count()));
  net.initialize(view(theta), rng);
  PathGradient gradient_of{net};
  Vector<double> gradient = Vector<double>::Zero(theta.size()), scratch = gradient;
  gradient_of(MartingaleLoss{}, paths, view(std::as_const(theta)), view(gradient));
  const auto loss = [&](std::span<const double> at) { return gradient_of(MartingaleLoss{}, paths, at, view(scratch)); };
  CHECK(gradient_matches(loss, view(std::as_const(theta)), view(std::as_const(gradient))));
}

TEST_CASE("a float network learns the value of an Ornstein-Uhlenbeck process in two dimensions by CTD") {
  // h = x_0 + x_1: J = e^{-(1 - t)} (x_0 + x_1).
  Rng rng{41};
  Diffusion process{ornstein_uhlenbeck(2, {.volatility = 0.5}), {.horizon = 1, .dt = 0.1}};
  const Mlp<float> net{{3, 16, 1}, Activation::tanh};
  Vector<float> theta(static_cast<std::ptrdiff_t>(net.parameter_count())), gradient = theta;
  net.initialize(view(theta), rng);
  PathGradient gradient_of{net};
  auto adam = Adam{.step_size = 5e-3}.start<float>(net.parameter_count());
  SampledPaths paths;
  const auto sample = [&] {
    process.simulate(64, rng, paths, [](Rng& own, std::span<double> x) {
      for (double& v : x) v = own.normal();
    });
    paths.pay([](double, std::span<const double>) { return 0.0; },
              [](double, std::span<const double> x) { return x[0] + x[1]; });
  };
  const auto error = [&] {
    const auto J = gradient_of.values(paths, view(std::as_const(theta)));
    double sum = 0;
    for (std::ptrdiff_t k = 0; k < paths.count; ++k)
      for (std::ptrdiff_t i = 0; i < paths.steps; ++i) {
        const auto x = paths.state(k, i);
        const double d = J[static_cast<std::size_t>(k * 11 + i)] - std::exp(paths.time(k, i) - 1) * (x[0] + x[1]);
        sum += d * d;
      }
    return std::sqrt(sum / static_cast<double>(paths.count * paths.steps));
  };
  sample();
  const double before = error();
  for (int k = 0; k < 2000; ++k) {
    sample();
    gradient.setZero();
    gradient_of(Ctd{.lambda = 0.5}, paths, view(std::as_const(theta)), view(gradient));
    adam.step(view(theta), view(std::as_const(gradient)));
  }
  CHECK(before > 0.5);
  CHECK(error() < 0.12);
}

TEST_CASE("training on paths allocates nothing in steady state") {
  Rng rng{51};
  Diffusion process{brownian(), {.horizon = 1, .dt = 0.1}};
  const Linear model{features_a, 1};
  PathGradient gradient_of{model};
  Cgtd learner{model};
  std::vector<double> theta{0, 0}, gradient{0, 0};
  SampledPaths paths;
  const auto update = [&] {
    process.simulate(4, rng, paths);
    paths.pay(nothing, square);
    gradient_of(Ctd{.lambda = 0.5}, paths, theta, gradient);
    gradient_of(MartingaleLoss{}, paths, theta, gradient);
    learner.update(theta, paths);
  };
  update();
  const Allocations allocations;
  update();
  CHECK(allocations.count() == 0);
}

TEST_CASE("what martingale methods refuse") {
  const Linear model{features_a, 1};
  const SampledPaths good = case_a(binomial_tree(3));
  const auto refused = [&](SampledPaths paths) { return message_of([&] { clstd(model, paths); }); };
  SampledPaths bad = good;
  bad.dt = 0;
  CHECK(says(refused(bad), "clstd", "dt is 0"));
  bad = good;
  bad.steps = 0;
  CHECK(says(refused(bad), "1 nodes; expected at least 2"));
  bad = good;
  bad.terminal.resize(0);
  CHECK(says(refused(bad), "terminal is empty", "infinite_horizon"));
  bad = good;
  bad.infinite_horizon = true;
  CHECK(says(refused(bad), "terminal has 8 entries"));
  bad.terminal.resize(0);
  CHECK(says(refused(bad), "discount_rate is 0", "infinite horizon"));
  CHECK(says(message_of([&] { linear_path_solution(MartingaleLoss{.discount_rate = 1}, model, bad); }),
             "horizon is infinite"));
  bad = good;
  bad.nodes(1, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(refused(bad), "nodes[5] is nan"));
  bad = good;
  bad.reward.resize(2, 8);
  CHECK(says(refused(bad), "reward is 2 x 8; expected 3 x 8"));
  bad = good;
  bad.base.resize(3, 8);
  CHECK(says(refused(bad), "base is 3 x 8; expected 4 x 8"));
  CHECK(says(message_of([&] { clstd(model, good, {.lambda = 1.5}); }), "lambda is 1.5"));
  CHECK(says(message_of([&] { clstd(model, good, {.lambda = -0.1}); }), "lambda is -0.1"));
  CHECK(says(message_of([&] { clstd(model, good, {.discount_rate = -1}); }), "discount_rate is -1"));
  std::vector<double> few(3), all(32);
  CHECK(says(message_of([&] { Ctd{}(good, few, all); }), "values has 3 entries; expected 32"));
  CHECK(says(message_of([&] { MartingaleLoss{}(good, all, few); }), "gradient has 3 entries; expected 32"));
  CHECK(says(message_of([&] { martingale_increments(good, all, few); }), "result has 3 entries; expected 24"));
  CHECK(says(message_of([&] { PathGradient{Linear{features_a, 2}}; }), "2 outputs; expected 1"));
  CHECK(says(message_of([&] { Cgtd{model, {.step_size = 0}}; }), "step_size is 0"));
  // Three features, but two steps tell only two of them apart: 1 - t is 1 and 1/2, x^2 is 0 and 1/2.
  CHECK(says(message_of([&] { clstd(Linear{features_b, 1}, case_b(binomial_tree(2))); }), "3 features has rank 2"));
}
