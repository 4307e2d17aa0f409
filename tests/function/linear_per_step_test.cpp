#include "valence/function/linear_per_step.hpp"

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/feature_maps.hpp"

using valence::Identity;
using valence::LinearPerStep;
using valence::Matrix;
using valence::Outputs;
using valence::Rng;
using namespace valence::test;  // close, message_of, says

static_assert(valence::Approximator<LinearPerStep<Identity>>);
static_assert(valence::Approximator<LinearPerStep<Identity, float>>);

namespace {

using Model = LinearPerStep<Identity>;

Matrix<double> inputs() {  // x above, time below
  Matrix<double> x(3, 4);
  x << 1, 2, -1, 0.5,  //
      3, -2, 0.25, 4,  //
      1, 3, 3, 1;
  return x;
}
std::vector<double> normals(std::size_t n, std::uint64_t seed) {
  Rng rng{seed};
  std::vector<double> v(n);
  rng.fill_normal(v);
  return v;
}

}  // namespace

TEST_CASE("A linear model per step uses the weights of each sample's time") {
  const Model model{Identity{2}, 2, 3};
  REQUIRE(model.parameter_count() == 12);
  REQUIRE(model.input_size() == 3);
  std::vector<double> theta(12);
  for (std::size_t i = 0; i < 12; ++i) theta[i] = double(i + 1);  // W_1 = [1 3; 2 4], W_2, W_3 = [9 11; 10 12]
  Model::Tape tape;
  const auto y = model.forward(theta, inputs(), tape);
  CHECK(y(0, 0) == 1 * 1 + 3 * 3);
  CHECK(y(1, 0) == 2 * 1 + 4 * 3);
  CHECK(y(0, 1) == 9 * 2 - 11 * 2);
  CHECK(y(1, 1) == 10 * 2 - 12 * 2);
  const auto blocks = model.parameters("eps.");
  REQUIRE(blocks.size() == 3);
  CHECK(blocks[2].name == "eps.step3.weight");
  CHECK(blocks[2].offset == 8);
  CHECK(blocks[2].shape == std::vector<std::size_t>{2, 2});
}

TEST_CASE("The pullback of a linear model per step is exact and leaves other times alone") {
  const Model model{Identity{2}, 2, 3};
  const auto x = inputs();
  const auto theta = normals(12, 1), dy = normals(8, 2);
  std::vector<double> gradient(12);
  Model::Tape tape;
  model.forward(theta, x, tape);
  model.pullback(theta, x, tape, Outputs<double>(dy.data(), 2, 4), gradient);
  CHECK(pullback_matches(
      [&](std::span<const double> at) {
        Model::Tape fresh;
        const auto y = model.forward(at, x, fresh);
        return std::vector<double>(y.data(), y.data() + y.size());
      },
      theta, dy, gradient));
  for (std::size_t i = 4; i < 8; ++i) CHECK(gradient[i] == 0);  // nobody was at time 2

  const Allocations allocations;
  model.forward(theta, x, tape);
  model.pullback(theta, x, tape, Outputs<double>(dy.data(), 2, 4), gradient);
  CHECK(allocations.count() == 0);
}

TEST_CASE("The least-squares fit of a linear model per step has a gradient of zero") {
  const Model model{Identity{.inputs = 2, .bias = true}, 2, 3};
  Rng rng{5};
  Matrix<double> x(3, 40), y(2, 40);
  rng.fill_normal(valence::view(x));
  rng.fill_normal(valence::view(y));
  for (int j = 0; j < 40; ++j) x(2, j) = j % 2 == 0 ? 1 : 3;
  std::vector<double> theta(model.parameter_count(), 7.0);
  const double ridge = 0.3;
  model.fit(theta, x, y, ridge);
  for (std::size_t i = 6; i < 12; ++i) CHECK(theta[i] == 7);  // no sample at time 2
  Model::Tape tape;
  const Matrix<double> residual = Matrix<double>(model.forward(theta, x, tape)) - y;
  std::vector<double> gradient(theta.size());
  model.pullback(theta, x, tape, Outputs<double>(residual.data(), 2, 40), gradient);
  for (std::size_t i = 0; i < theta.size(); ++i)
    if (i < 6 || i >= 12) CHECK(gradient[i] + ridge * theta[i] == close(0.0, 0, 1e-12));
}

TEST_CASE("A linear model per step refuses bad times and sizes") {
  const Model model{Identity{2}, 2, 3};
  std::vector<double> theta(12);
  Model::Tape tape;
  for (const double time : {0.0, 4.0, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    auto x = inputs();
    x(2, 1) = time;
    CHECK(says(message_of([&] { model.forward(theta, x, tape); }), "time of sample 1", "[1, 3]"));
  }
  CHECK(says(message_of([&] { Model(Identity{2}, 0, 3); }), "outputs"));
  CHECK(says(message_of([&] { Model(Identity{2}, 2, 0); }), "steps"));
  const auto x = inputs();
  const Matrix<double> y = Matrix<double>::Ones(2, 4);
  CHECK(says(message_of([&] { model.fit(theta, x, y, -1); }), "ridge"));
  CHECK(says(message_of([&] { model.fit(std::span(theta).first(3), x, y, 1); }), "theta has 3"));
  Matrix<double> twice(3, 2);
  twice << 1, 2, 1, 2, 1, 1;
  CHECK(says(message_of([&] { model.fit(theta, twice, Matrix<double>::Ones(2, 2), 0); }), "LinearPerStep::fit",
             "positive definite"));
}
