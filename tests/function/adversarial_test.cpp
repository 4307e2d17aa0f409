#include "valence/function/adversarial.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/function/mlp.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double slope[] = {1, -2, 0.5};

/// |slope' (x - centre)|^2 and its gradient: what an adversary of a linear value climbs.
struct LinearChange {
  Matrix<double> centre;
  double change(const Matrix<double>& x, Eigen::Index j) const {
    double sum = 0;
    for (Eigen::Index i = 0; i < 3; ++i) sum += slope[i] * (x(i, j) - centre(i, j));
    return sum;
  }
  void operator()(const Matrix<double>& x, Matrix<double>& gradient) const {
    for (Eigen::Index j = 0; j < x.cols(); ++j)
      for (Eigen::Index i = 0; i < 3; ++i) gradient(i, j) = 2 * change(x, j) * slope[i];
  }
};

Matrix<double> some_inputs(Eigen::Index n, Rng& rng) {
  Matrix<double> x(3, n);
  rng.fill_normal(view(x));
  return x;
}

}  // namespace

TEST_CASE("adversarial: a step of twice the radius reaches a linear function's maximum in the infinity ball") {
  // 0.1 (1 + 2 + 0.5) = 0.35, from any start.
  Rng rng{7};
  const LinearChange f{some_inputs(50, rng)};
  const auto y = adversarial_perturb(f.centre, f, {.radius = 0.1, .step_size = 0.2}, rng);
  for (Eigen::Index j = 0; j < y.cols(); ++j) CHECK(std::abs(f.change(y, j)) == close(0.35, 1e-12));
  // One of the default length, the radius, need not: some start so far on the other side that they stop short.
  const auto shorter = adversarial_perturb(f.centre, f, {.radius = 0.1}, rng);
  double least = 1;
  for (Eigen::Index j = 0; j < y.cols(); ++j) least = (std::min)(least, std::abs(f.change(shorter, j)));
  CHECK(least < 0.35 - 1e-6);
}

TEST_CASE("adversarial: steps reach the maximum in the Euclidean ball") {
  // 0.1 |(1, -2, 0.5)| = 0.229128784747792.
  Rng rng{8};
  const LinearChange f{some_inputs(20, rng)};
  const auto y = adversarial_perturb(f.centre, f, {.radius = 0.1, .ball = Ball::euclidean, .steps = 200}, rng);
  for (Eigen::Index j = 0; j < y.cols(); ++j) {
    CHECK(std::abs(f.change(y, j)) == close(0.229128784747792, 1e-12));
    CHECK((y.col(j) - f.centre.col(j)).norm() <= 0.1 + 1e-15);
  }
}

TEST_CASE("adversarial: uniform noise in the infinity ball changes a linear function by 0.0175 in mean square") {
  // radius^2 / 3 (1 + 4 + 0.25).
  Rng rng{9};
  const LinearChange f{Matrix<double>::Zero(3, 200'000)};
  const auto y = adversarial_perturb(f.centre, f, {.radius = 0.1, .steps = 0}, rng);
  double sum = 0;
  for (Eigen::Index j = 0; j < y.cols(); ++j) sum += f.change(y, j) * f.change(y, j);
  CHECK(sum / 200'000 == close(0.0175, 0.01));  // 4 standard errors
  CHECK(y.cwiseAbs().maxCoeff() <= 0.1);
}

TEST_CASE("adversarial: the start in the Euclidean ball is uniform") {
  Rng rng{10};
  std::vector<double> d(2);
  int inside = 0;
  for (int i = 0; i < 20'000; ++i) {
    fill_from_ball(std::span(d), Ball::euclidean, 2, rng);
    const double norm = std::hypot(d[0], d[1]);
    REQUIRE(norm <= 2 + 1e-12);
    inside += norm < 1;  // a quarter of the area
  }
  CHECK(std::abs(inside - 5000) < 4 * 61.3);
}

TEST_CASE("adversarial: one step from the centre is the fast gradient sign method") {
  Rng rng{11};
  Matrix<float> x(3, 2);
  x << 1, 2, 3, 4, 5, 6;
  const auto gradient = [](const Matrix<float>&, Matrix<float>& out) { out << 0.3f, -7, 0, 1e-20f, -1e-3f, 5; };
  const Rng before = rng;
  const auto y = adversarial_perturb(x, gradient, {.radius = 0.25, .random_start = false}, rng);
  Matrix<float> expected(3, 2);
  expected << 1.25f, 1.75f, 3, 4.25f, 4.75f, 6.25f;
  CHECK(y == expected);
  CHECK(rng == before);
}

TEST_CASE("adversarial: nothing moves for radius 0, a zero gradient, or no steps from the centre") {
  Rng rng{12};
  const LinearChange f{some_inputs(4, rng)};
  CHECK(adversarial_perturb(f.centre, f, {.radius = 0, .steps = 3}, rng) == f.centre);
  CHECK(adversarial_perturb(f.centre, f, {.steps = 0, .random_start = false}, rng) == f.centre);
  for (const Ball ball : {Ball::infinity, Ball::euclidean})  // the change is least at the centre: no gradient there
    CHECK(adversarial_perturb(f.centre, f, {.ball = ball, .steps = 3, .random_start = false}, rng) == f.centre);
}

TEST_CASE("adversarial: what lies in the ball is projected to itself, what lies outside to its border") {
  std::vector<double> d{0.3, -0.4, 0};
  auto in = d;
  project_to_ball(std::span(in), Ball::euclidean, 0.5);
  CHECK(in == d);
  project_to_ball(std::span(in), Ball::euclidean, 0.25);
  CHECK(in[0] == close(0.15));
  CHECK(in[1] == close(-0.2));
  project_to_ball(std::span(d), Ball::infinity, 0.35);
  CHECK(d == std::vector<double>{0.3, -0.35, 0});
  std::vector<double> moved{0, 0};
  ascend_in_ball<double>(std::vector<double>{3e-200, -4e-200}, std::span(moved), Ball::euclidean, 5);
  CHECK(moved[0] == close(3.0));
  CHECK(moved[1] == close(-4.0));
}

TEST_CASE("adversarial: it works on any network, climbs, and allocates nothing once warm") {
  Rng rng{13};
  const Mlp<float> net{{3, 16, 16, 2}, relu};
  Vector<float> theta(static_cast<Eigen::Index>(net.parameter_count()));
  net.initialize(view(theta), rng);
  Mlp<float>::Tape tape;
  Matrix<float> x(3, 40), dy = Matrix<float>::Ones(2, 40);
  rng.fill_normal(view(x));
  AdversarialWorkspace<float> workspace;
  const auto gradient = [&](const Matrix<float>& at, Matrix<float>& out) {
    net.forward(view(std::as_const(theta)), at, tape);
    net.pullback_input(view(std::as_const(theta)), at, tape, Outputs<float>(dy.data(), 2, 40), out);
  };
  const AdversarialOptions options{.radius = 0.05, .steps = 5, .step_size = 0.02};
  const float before = net.forward(view(std::as_const(theta)), x, tape).sum();
  const Matrix<float>& y = adversarial_perturb(x, gradient, options, rng, workspace);
  CHECK(net.forward(view(std::as_const(theta)), y, tape).sum() > before + 1);
  CHECK((y - x).cwiseAbs().maxCoeff() <= 0.05f + 1e-6f);
  const Allocations allocations;
  adversarial_perturb(x, gradient, options, rng, workspace);
  CHECK(allocations.count() == 0);
}

TEST_CASE("adversarial: bad input is refused") {
  Rng rng{14};
  const Matrix<double> x = Matrix<double>::Ones(2, 2);
  const auto flat = [](const Matrix<double>&, Matrix<double>& out) { out.setZero(); };
  const auto message = [&](const AdversarialOptions& options) {
    return message_of([&] { adversarial_perturb(x, flat, options, rng); });
  };
  CHECK(says(message({.radius = -0.1}), "radius", "-0.1"));
  CHECK(says(message({.radius = std::nan("")}), "radius", "nan"));
  CHECK(says(message({.radius = infinity}), "radius", "inf"));
  CHECK(says(message({.steps = -1}), "steps", "-1"));
  CHECK(says(message({.step_size = -2}), "step_size", "-2"));
  CHECK(says(message_of([&] {
               adversarial_perturb(
                   x, [](const auto&, auto& out) { out.setConstant(infinity); }, {}, rng);
             }),
             "gradient[0]", "inf"));
  CHECK(says(message_of([&] {
               adversarial_perturb(
                   x, [](const auto&, auto& out) { out.setZero(3, 2); }, {}, rng);
             }),
             "the gradient is 3 x 2"));
  const Matrix<double> bad = Matrix<double>::Constant(1, 1, std::nan(""));
  CHECK(says(message_of([&] { adversarial_perturb(bad, flat, {}, rng); }), "x[0] is nan"));
}
