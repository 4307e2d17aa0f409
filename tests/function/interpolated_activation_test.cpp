#include "valence/function/interpolated_activation.hpp"

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/feature_function.hpp"
#include "valence/function/linear.hpp"

namespace {

using namespace valence;
using valence::test::Allocations;
using valence::test::close;
using valence::test::message_of;
using valence::test::pullback_matches;
using valence::test::pushforward_matches;
using valence::test::says;

using Net = InterpolatedActivation<double>;
static_assert(InputDifferentiable<Net>);
static_assert(Linearisable<Net>);
static_assert(Approximator<InterpolatedActivation<float>>);

std::vector<double> listed(const Outputs<double>& y) { return {y.data(), y.data() + y.size()}; }

}  // namespace

TEST_CASE("an interpolated activation is what it says, written out") {
  const double weight = 0.3;
  const Net net{{1, 2, 1}, Activation::tanh, relu, weight};
  // W1 = (1.5, -2), b1 = (0.1, 0.4), W2 = (0.7, -1.2), b2 = 0.05.
  const std::vector<double> theta{1.5, -2, 0.1, 0.4, 0.7, -1.2, 0.05};
  REQUIRE(net.parameter_count() == theta.size());
  const auto sigma = [&](double z) { return weight * std::tanh(z) + (1 - weight) * std::fmax(z, 0); };
  Matrix<double> x(1, 3);
  x << -0.8, 0.3, 2;
  Net::Tape tape;
  const auto y = net.forward(theta, x, tape);
  for (std::ptrdiff_t j = 0; j < 3; ++j)
    CHECK(y(0, j) == close(0.7 * sigma(1.5 * x(0, j) + 0.1) - 1.2 * sigma(-2 * x(0, j) + 0.4) + 0.05, 1e-14));
}

TEST_CASE("derivatives of a network with an interpolated activation") {
  const bool layer_norm = GENERATE(false, true);
  const Net net{{2, 8, 3}, Activation::tanh, Activation::gelu, 0.6, {.layer_norm = layer_norm}};
  Rng rng{2};
  Vector<double> theta(static_cast<std::ptrdiff_t>(net.parameter_count())), v = theta;
  net.initialize(view(theta), rng);
  Matrix<double> x(2, 4), dy(3, 4), dx;
  for (std::ptrdiff_t i = 0; i < x.size(); ++i) x.data()[i] = rng.normal();
  for (std::ptrdiff_t i = 0; i < dy.size(); ++i) dy.data()[i] = rng.normal();
  for (double& p : v) p = rng.normal();
  Net::Tape tape, other;
  const auto of_theta = [&](std::span<const double> at) { return listed(net.forward(at, x, other)); };
  const auto of_x = [&](std::span<const double> at) {
    const Matrix<double> input = Eigen::Map<const Matrix<double>>(at.data(), 2, 4);
    return listed(net.forward(view(std::as_const(theta)), input, other));
  };
  net.forward(view(std::as_const(theta)), x, tape);
  const auto direction = listed(net.pushforward(view(std::as_const(theta)), x, tape, view(std::as_const(v))));
  CHECK(pushforward_matches(of_theta, view(std::as_const(theta)), view(std::as_const(v)), direction));
  Vector<double> gradient = Vector<double>::Zero(theta.size());
  const Outputs<double> out(dy.data(), 3, 4);
  net.pullback(view(std::as_const(theta)), x, tape, out, view(gradient));
  CHECK(pullback_matches(of_theta, view(std::as_const(theta)), view(std::as_const(dy)), view(std::as_const(gradient))));
  net.pullback_input(view(std::as_const(theta)), x, tape, out, dx);
  CHECK(pullback_matches(of_x, view(std::as_const(x)), view(std::as_const(dy)), view(std::as_const(dx))));
  const Allocations allocations;
  net.forward(view(std::as_const(theta)), x, tape);
  net.pullback(view(std::as_const(theta)), x, tape, out, view(gradient));
  CHECK(allocations.count() == 0);
}

TEST_CASE("what an interpolated activation refuses") {
  CHECK(says(message_of([] { Net({2, 3, 3, 1}, relu, gelu, 0.5); }), "sizes has 4 entries; expected 3"));
  CHECK(says(message_of([] { Net({2, 3, 1}, relu, gelu, 1.5); }), "weight is 1.5"));
  CHECK(says(message_of([] {
               Net({2, 3, 1}, relu, gelu, 0.5, {.output = Activation::tanh});
             }),
             "output activation is tanh"));
}

TEST_CASE("features from a function") {
  const FeatureFunction map{2, 3, [](auto x, auto phi) { phi[0] = 1, phi[1] = x[0] * x[1], phi[2] = x[1]; }};
  static_assert(FeatureMap<std::remove_const_t<decltype(map)>>);
  const std::vector<double> x{2, 3};
  std::vector<double> phi(3);
  map(std::span<const double>(x), std::span<double>(phi));
  CHECK(phi == std::vector<double>{1, 6, 3});
  const Linear<std::remove_const_t<decltype(map)>, float> model{map, 2};
  CHECK(model.parameter_count() == 6);
  CHECK(model.input_size() == 2);
  CHECK(says(message_of([&] { map(std::span<const double>(x), std::span<double>(phi.data(), 2)); }),
             "phi has 2 entries; expected 3"));
}
