#include "valence/policy/ddpm.hpp"

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear_per_step.hpp"
#include "valence/function/mlp.hpp"
#include "valence/policy/gaussian.hpp"

using valence::Ddpm;
using valence::DiffusionSchedule;
using valence::Identity;
using valence::LinearPerStep;
using valence::LogDensity;
using valence::Matrix;
using valence::Rng;
using namespace valence::test;  // close, message_of, says

namespace {

using Predictor = LinearPerStep<Identity>;
using Model = Ddpm<Predictor>;

Model small_model(LogDensity density = LogDensity::sum) {
  return {Predictor{Identity{.inputs = 2, .bias = true}, 2, 3}, DiffusionSchedule::linear(3, 0.1, 0.5), density};
}
Matrix<double> normal_matrix(int rows, int cols, std::uint64_t seed) {
  Rng rng{seed};
  Matrix<double> x(rows, cols);
  rng.fill_normal(valence::view(x));
  return x;
}
std::vector<double> normals(std::size_t n, std::uint64_t seed) {
  Rng rng{seed};
  std::vector<double> v(n);
  rng.fill_normal(v);
  return v;
}

}  // namespace

TEST_CASE("A diffusion schedule has the DDPM's products and deviations") {
  const auto s = DiffusionSchedule::linear(10, 0.02, 0.5);
  REQUIRE(s.steps() == 10);
  CHECK(s.beta(1) == 0.02);
  CHECK(s.beta(10) == close(0.5, 1e-15));
  double product = 1;
  for (int t = 1; t <= 10; ++t) {
    const double before = product;
    product *= 1 - (0.02 + 0.48 * (t - 1) / 9);
    CHECK(s.alpha_bar(t) == close(product, 1e-14));
    if (t > 1) CHECK(s.deviation(t) == close(std::sqrt(s.beta(t) * (1 - before) / (1 - product)), 1e-13));
  }
  CHECK(s.deviation(1) == 0.05);
  CHECK(DiffusionSchedule::linear(1, 0.3, 0.9).beta(1) == 0.3);
}

TEST_CASE("A denoising step's log-density is the Gaussian's") {
  // A predictor of 0 leaves mu = x / sqrt(alpha): mu = (.1, -.2), y = (.3, .1), s = .4 as in the golden numbers.
  const double beta = 0.19;
  const std::vector<double> betas = {beta};
  const Predictor zero{Identity{2}, 2, 1};
  const std::vector<double> theta(zero.parameter_count(), 0.0);
  Matrix<double> x(2, 1), y(2, 1);
  x << 0.1 * std::sqrt(1 - beta), -0.2 * std::sqrt(1 - beta);
  y << 0.3, 0.1;
  std::vector<double> out(1);
  Model::Tape tape;
  Ddpm{zero, DiffusionSchedule{betas, 0.4}}.log_prob(theta, 1, x, y, tape, out);
  CHECK(out[0] == close(-0.411545602661, 1e-11));
  Ddpm{zero, DiffusionSchedule{betas, 0.4}, LogDensity::mean}.log_prob(theta, 1, x, y, tape, out);
  CHECK(out[0] == close(-0.2057728013305, 1e-11));

  SECTION("at every step it agrees with DiagonalGaussian about the paper's mean") {
    const Model model = small_model();
    const auto parameters = normals(model.parameter_count(), 1);
    const auto from = normal_matrix(2, 4, 2), to = normal_matrix(2, 4, 3);
    std::vector<double> log_prob(4);
    for (int t = 1; t <= 3; ++t) {
      model.log_prob(parameters, t, from, to, tape, log_prob);
      Matrix<double> input(3, 4);
      input << from, Matrix<double>::Constant(1, 4, t);
      Predictor::Tape inner;
      const auto eps = model.predictor().forward(parameters, input, inner);
      const auto& s = model.schedule();
      for (int j = 0; j < 4; ++j) {
        valence::Vector<double> law(4), action = to.col(j);
        law.head(2) = (from.col(j) - s.beta(t) / std::sqrt(1 - s.alpha_bar(t)) * eps.col(j)) / std::sqrt(s.alpha(t));
        law.tail(2).setConstant(std::log(s.deviation(t)));
        CHECK(log_prob[std::size_t(j)] ==
              close(valence::DiagonalGaussian{2}.log_prob(std::span<const double>(law.data(), 4), action), 1e-11));
      }
    }
  }
}

TEST_CASE("Gradients of a diffusion model's log-densities and errors are exact") {
  for (const LogDensity density : {LogDensity::sum, LogDensity::mean}) {
    const Model model = small_model(density);
    const auto theta = normals(model.parameter_count(), 4), d = normals(5, 5);
    const auto x = normal_matrix(2, 5, 6), y = normal_matrix(2, 5, 7);
    Model::Tape tape;
    std::vector<double> out(5), gradient(theta.size());
    model.log_prob(theta, 2, x, y, tape, out);
    model.pullback_log_prob(theta, tape, d, gradient);
    CHECK(pullback_matches(
        [&](std::span<const double> at) {
          Model::Tape fresh;
          std::vector<double> value(5);
          model.log_prob(at, 2, x, y, fresh, value);
          return value;
        },
        theta, d, gradient));
    for (std::size_t i = 0; i < 6; ++i) CHECK(gradient[i] == 0);  // W_1: not the visited step
    for (std::size_t i = 12; i < 18; ++i) CHECK(gradient[i] == 0);
  }
  const Model model = small_model();
  const auto theta = normals(model.parameter_count(), 4), d = normals(5, 5);
  const auto x = normal_matrix(2, 5, 6), noise = normal_matrix(2, 5, 7);
  const std::vector<int> t = {1, 3, 2, 3, 1};
  Model::Tape tape;
  std::vector<double> out(5), gradient(theta.size());
  model.denoising_errors(theta, x, t, noise, tape, out);
  model.pullback_denoising_errors(theta, tape, d, gradient);
  CHECK(pullback_matches(
      [&](std::span<const double> at) {
        Model::Tape fresh;
        std::vector<double> value(5);
        model.denoising_errors(at, x, t, noise, fresh, value);
        return value;
      },
      theta, d, gradient));
  SECTION("a predictor of 0 has the error |e|^2") {
    const std::vector<double> zeros(theta.size(), 0.0);
    model.denoising_errors(zeros, x, t, noise, tape, out);
    for (int j = 0; j < 5; ++j) CHECK(out[std::size_t(j)] == close(noise.col(j).squaredNorm(), 1e-15));
  }
}

TEST_CASE("Runs of the chain hold the log-probabilities of their steps, which add up to the chain's") {
  const Model model = small_model();
  const auto theta = normals(model.parameter_count(), 9);
  Rng rng{10};
  Model::Tape tape;
  Model::Runs runs;
  const auto start = normal_matrix(2, 6, 11);
  model.roll_out(theta, start, rng, tape, runs);
  REQUIRE(runs.count() == 6);
  REQUIRE(runs.steps() == 3);
  CHECK(runs.states[3] == start);
  std::vector<double> out(6), chain(6);
  for (int t = 3; t >= 1; --t) {
    model.log_prob(theta, t, runs.states[std::size_t(t)], runs.states[std::size_t(t - 1)], tape, out);
    for (int j = 0; j < 6; ++j) {
      CHECK(out[std::size_t(j)] == close(runs.log_prob(j, t - 1), 0, 1e-11));
      chain[std::size_t(j)] += out[std::size_t(j)];
    }
  }
  for (int j = 0; j < 6; ++j) CHECK(chain[std::size_t(j)] == close(runs.log_prob.row(j).sum(), 0, 1e-11));
  SECTION("the same stream gives the same runs, without allocation in steady state") {
    Rng again{10};
    Model::Runs others;
    model.roll_out(theta, start, again, tape, others);
    CHECK(others.samples() == runs.samples());
    const Allocations allocations;
    model.roll_out(theta, start, again, tape, others);
    model.log_prob(theta, 2, runs.states[2], runs.states[1], tape, out);
    CHECK(allocations.count() == 0);
  }
}

TEST_CASE("A fitted diffusion model's samples have the mean and spread that its chain implies") {
  // For x0 ~ N(m, v) the best predictor is affine: eps(x, t) = sqrt(1 - abar) (x - sqrt(abar) m) / (abar v + 1 - abar).
  // So the chain is a Gaussian recursion, whose mean and variance are followed here beside the samples.
  const int steps = 10;
  const Ddpm model{Predictor{Identity{.inputs = 2, .bias = true}, 2, steps},
                   DiffusionSchedule::linear(steps, 0.02, 0.5)};
  const auto& s = model.schedule();
  Rng rng{12};
  Matrix<double> x0 = normal_matrix(2, 8000, 13);
  for (int j = 0; j < 8000; ++j) x0.col(j) = 0.5 * x0.col(j) + Eigen::Vector2d(1, -2);
  const auto theta = valence::fit_denoiser(model, x0, {.ridge = 1e-6}, rng);
  const Matrix<double> x = model.sample(theta, 8000, rng);

  double mean = 0, variance = 1;  // of a coordinate whose m is 1
  for (int t = steps; t >= 1; --t) {
    const double pull = s.beta(t) / (s.alpha_bar(t) * 0.25 + 1 - s.alpha_bar(t));
    mean = (mean - pull * (mean - std::sqrt(s.alpha_bar(t)))) / std::sqrt(s.alpha(t));
    variance = std::pow(1 - pull, 2) / s.alpha(t) * variance + std::pow(s.deviation(t), 2);
  }
  const Eigen::Vector2d found = x.rowwise().mean();
  CHECK(found[0] == close(mean, 0, 0.03));
  CHECK(found[1] == close(-2 * mean, 0, 0.03));
  CHECK(std::sqrt((x.colwise() - found).squaredNorm() / 16000) == close(std::sqrt(variance), 0.03));
}

TEST_CASE("A diffusion model takes a network that sees the time as one more input") {
  const Ddpm model{valence::Mlp<double>{{3, 8, 2}, valence::relu}, DiffusionSchedule::linear(4, 0.05, 0.4)};
  std::vector<double> theta(model.parameter_count());
  Rng rng{1};
  model.predictor().initialize(theta, rng);
  CHECK(model.sample(theta, 7, rng).cols() == 7);
}

TEST_CASE("Diffusion models refuse bad input") {
  CHECK(says(message_of([&] { DiffusionSchedule{std::vector<double>{}}; }), "betas is empty"));
  CHECK(says(message_of([&] { DiffusionSchedule{std::vector<double>{0.1, 1.0}}; }), "betas[1] is 1"));
  CHECK(says(message_of([&] { DiffusionSchedule{std::vector<double>{0.0}}; }), "betas[0] is 0"));
  CHECK(says(message_of([&] { DiffusionSchedule{std::vector<double>{0.1}, 0.0}; }), "last_deviation"));
  CHECK(says(message_of([&] { DiffusionSchedule::linear(0, 0.1, 0.2); }), "steps"));
  CHECK(says(message_of([&] { DiffusionSchedule::linear(2, 0.1, 0.2).beta(3); }), "t is 3", "[1, 2]"));
  CHECK(says(message_of([&] {
               Model(Predictor{Identity{3}, 2, 3}, DiffusionSchedule::linear(3, 0.1, 0.5));
             }),
             "4 inputs", "expected 3"));
  const Model model = small_model();
  const std::vector<double> theta(model.parameter_count());
  const auto x = normal_matrix(2, 5, 6), shorter = normal_matrix(2, 4, 6);
  Model::Tape tape;
  std::vector<double> out(5), gradient(theta.size());
  CHECK(says(message_of([&] { model.log_prob(theta, 1, x, shorter, tape, out); }), "next is 2 x 4"));
  CHECK(says(message_of([&] { model.log_prob(theta, 4, x, x, tape, out); }), "t is 4"));
  CHECK(says(message_of([&] { model.pullback_log_prob(theta, tape, out, gradient); }), "no log_prob"));
  const std::vector<int> t = {1, 2, 3, 0, 1};
  CHECK(says(message_of([&] { model.denoising_errors(theta, x, t, x, tape, out); }), "t is 0"));
  Rng rng{1};
  CHECK(says(message_of([&] { model.sample(theta, 0, rng); }), "n is 0"));
  const std::vector<double> diverged(theta.size(), 1e308);
  CHECK(says(message_of([&] { model.sample(diverged, 3, rng); }), "the samples"));
}
