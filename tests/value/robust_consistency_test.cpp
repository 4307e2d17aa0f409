#include "valence/value/robust_consistency.hpp"

#include <array>
#include <cmath>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/function/mlp.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;
using Net = Mlp<double>;

struct Example {
  Net net{{3, 9, 2}, Activation::tanh};
  std::vector<double> theta = std::vector<double>(net.parameter_count());
  Matrix<double> x = Matrix<double>(3, 4);
  Net::Tape tape;
  Example() {
    Rng rng{1};
    net.initialize(std::span(theta), rng);
    rng.fill_normal(view(x));
  }
  /// Value and gradient of the regulariser alone.
  double run(const AdversarialOptions& adversary, double weight, std::span<const double> at, std::vector<double>& g) {
    Rng rng{2};
    RobustRegulariser<Net> robust{{.weight = weight}, adversary};
    const auto y = net.forward(at, x, tape);
    Matrix<double> dy = Matrix<double>::Zero(2, 4);
    g.assign(theta.size(), 0.0);
    const double loss = robust(net, at, x, y, dy, std::span(g), rng);
    net.pullback(at, x, tape, Outputs<double>(dy.data(), 2, 4), std::span(g));
    return loss;
  }
};

}  // namespace

TEST_CASE("robust consistency: value and both gradients") {
  const std::array<double, 2> y{1, -2}, z{1.5, -3};
  std::array<double, 2> dy{10, 10}, dz{20, 20};
  CHECK(RobustConsistency{.weight = 0.4}(std::span<const double>(y), z, 0.5, dy, dz) == close(0.4 * 1.25));
  CHECK(dz[0] == close(20 + 0.5 * 2 * 0.4 * 0.5));
  CHECK(dz[1] == close(20 - 0.5 * 2 * 0.4 * 1));
  CHECK(dy[0] == close(10 - 0.5 * 2 * 0.4 * 0.5));
  CHECK(dy[1] == close(10 + 0.5 * 2 * 0.4 * 1));
  std::array<double, 2> a{}, b{};
  const RobustConsistency loss{.weight = 0.7};
  loss(std::span<const double>(y), z, 1.0, a, b);
  const auto at = [&](std::span<const double> first, std::span<const double> second) {
    std::array<double, 2> p{}, q{};
    return loss(first, second, 1.0, p, q);
  };
  CHECK(gradient_matches([&](std::span<const double> v) { return at(v, z); }, y, a));
  CHECK(gradient_matches([&](std::span<const double> v) { return at(y, v); }, z, b));
}

TEST_CASE("robust regulariser: its gradient against finite differences, the perturbation held fixed") {
  // Without steps the perturbation depends on the generator alone.
  Example e;
  std::vector<double> g, ignored;
  const AdversarialOptions noise{.radius = 0.3, .steps = 0};
  e.run(noise, 0.7, e.theta, g);
  CHECK(gradient_matches([&](std::span<const double> at) { return e.run(noise, 0.7, at, ignored); }, e.theta, g));
}

TEST_CASE("robust regulariser: the adversary finds more than noise, and a linear value's maximum exactly") {
  Example e;
  std::vector<double> g;
  const double noise = e.run({.radius = 0.1, .steps = 0}, 1, e.theta, g);
  const double one = e.run({.radius = 0.1}, 1, e.theta, g);
  CHECK(one > 1.5 * noise);
  CHECK(e.run({.radius = 0.1, .steps = 10, .step_size = 0.05}, 1, e.theta, g) >= one);
  // Q = (1, -2, 0.5) s: the largest change in the infinity ball is 0.35, in the Euclidean one 0.229128784747792.
  const Net linear{{3, 1}, relu};
  const std::vector<double> theta{1, -2, 0.5, 0};
  Net::Tape tape;
  const auto y = linear.forward(std::span<const double>(theta), e.x, tape);
  const auto largest = [&](const AdversarialOptions& adversary) {
    Matrix<double> dy = Matrix<double>::Zero(1, 4);
    std::vector<double> gradient(4);
    Rng rng{3};
    RobustRegulariser<Net> robust{{.weight = 1}, adversary};
    return std::sqrt(robust(linear, theta, e.x, y, dy, std::span(gradient), rng));
  };
  CHECK(largest({.radius = 0.1, .step_size = 0.2}) == close(0.35, 1e-12));
  CHECK(largest({.radius = 0.1, .ball = Ball::euclidean, .steps = 200}) == close(0.229128784747792, 1e-12));
}

TEST_CASE("robust regulariser: weight 0 computes and draws nothing") {
  Example e;
  std::vector<double> g(e.theta.size());
  Rng rng{4};
  const Rng before = rng;
  RobustRegulariser<Net> robust{{.weight = 0}, {}};
  const auto y = e.net.forward(std::span<const double>(e.theta), e.x, e.tape);
  Matrix<double> dy = Matrix<double>::Zero(2, 4);
  CHECK(robust(e.net, e.theta, e.x, y, dy, std::span(g), rng) == 0);
  CHECK(rng == before);
  CHECK(dy.isZero(0));
  CHECK(g == std::vector<double>(e.theta.size()));
}

TEST_CASE("robust regulariser: no allocation once warm") {
  Example e;
  std::vector<double> g(e.theta.size());
  Rng rng{5};
  RobustRegulariser<Net> robust{{}, {.steps = 2}};
  const auto y = e.net.forward(std::span<const double>(e.theta), e.x, e.tape);
  Matrix<double> dy = Matrix<double>::Zero(2, 4);
  robust(e.net, e.theta, e.x, y, dy, std::span(g), rng);
  const Allocations allocations;
  robust(e.net, e.theta, e.x, y, dy, std::span(g), rng);
  CHECK(allocations.count() == 0);
}

TEST_CASE("robust consistency: bad input is refused") {
  std::array<double, 2> dy{}, dz{};
  const auto message = [&](double weight, std::vector<double> y, std::vector<double> z) {
    return message_of([&] { RobustConsistency{weight}(std::span<const double>(y), z, 1.0, dy, dz); });
  };
  CHECK(says(message(-0.1, {1, 2}, {1, 2}), "weight is -0.1"));
  CHECK(says(message(1, {}, {}), "y is empty"));
  CHECK(says(message(1, {1, 2}, {1}), "perturbed has 1"));
  CHECK(says(message(1, {1, 2}, {1, std::nan("")}), "perturbed[1] is nan"));
  CHECK(says(message_of([] { RobustRegulariser<Net>{{.weight = -1}, {}}; }), "weight is -1"));
  Example e;
  std::vector<double> g;
  CHECK(says(message_of([&] { e.run({.radius = -1}, 1, e.theta, g); }), "radius is -1"));
}
