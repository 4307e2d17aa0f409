#include "valence/distributional/implicit_quantile_network.hpp"

#include <cmath>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/function/dueling.hpp"
#include "valence/function/mlp.hpp"

using namespace valence;

namespace {

using valence::test::close;
using valence::test::pullback_matches;

using Net = ImplicitQuantileNetwork<Mlp<double>, Mlp<double>>;
static_assert(Approximator<Net>);

Net small_net(int fractions, int cosines = 5) {
  return {Mlp<double>{{2, 4}, Activation::tanh, {.output = Activation::tanh}},
          Mlp<double>{{4, 6, 3}, Activation::tanh},
          {.fractions = fractions, .cosines = cosines}};
}
std::vector<double> start(const auto& net, std::uint64_t seed) {
  std::vector<double> theta(net.parameter_count());
  Rng rng{seed};
  net.initialize(theta, rng);
  return theta;
}
Matrix<double> batch_of(int states, int fractions, int samples, std::uint64_t seed) {
  Rng rng{seed};
  Matrix<double> x(states + fractions, samples);
  for (double& v : x.topRows(states).reshaped()) v = rng.normal();
  for (double& v : x.bottomRows(fractions).reshaped()) v = rng.uniform();
  return x;
}

}  // namespace

TEST_CASE("IQN network: equation 4 by hand", "[iqn]") {
  // One input, one feature, one cosine pair, one action: z = w_h (w_t x + b_t) relu(w_0 + w_1 cos(pi tau) + b) + b_h.
  const Net net{Mlp<double>{{1, 1}, relu}, Mlp<double>{{1, 1}, relu}, {.fractions = 2, .cosines = 2}};
  REQUIRE(net.parameter_count() == 2 + 3 + 2);
  CHECK(net.input_size() == 3);
  CHECK(net.output_size() == 2);
  const std::vector<double> theta{2, 0.5, /* embedding */ 0.25, 0.75, 0.1, /* head */ 3, -1};
  Matrix<double> x(3, 1);
  x << 1.5, 0.25, 0.9;
  Net::Tape tape;
  const auto y = net.forward(theta, x, tape);
  const double pi = 3.14159265358979323846, feature = 2 * 1.5 + 0.5;
  CHECK(y(0, 0) == close(3 * feature * (0.25 + 0.75 * std::cos(pi * 0.25) + 0.1) - 1));
  CHECK(y(1, 0) == close(-1.0));  // 0.35 + 0.75 cos(0.9 pi) < 0: relu cuts it
  CHECK(0.35 + 0.75 * std::cos(pi * 0.9) < 0);
}

TEST_CASE("IQN network: the pullback agrees with differences", "[iqn][gradient]") {
  const Net net = small_net(3);
  auto theta = start(net, 1);
  const auto x = batch_of(2, 3, 4, 2);
  Matrix<double> dy(net.output_size(), 4);
  Rng rng{3};
  rng.fill_normal(view(dy));
  Net::Tape tape;
  net.forward(theta, x, tape);
  std::vector<double> gradient(theta.size(), 0.0);
  net.pullback(theta, x, tape, {dy.data(), dy.rows(), dy.cols()}, gradient);
  const auto f = [&](std::span<const double> t) {
    Net::Tape other;
    const auto y = net.forward(t, x, other);
    return std::vector<double>(y.data(), y.data() + y.size());
  };
  CHECK(pullback_matches(f, theta, std::span<const double>(dy.data(), std::size_t(dy.size())), gradient));
  // It adds: a second one doubles it.
  const auto once = gradient;
  net.pullback(theta, x, tape, {dy.data(), dy.rows(), dy.cols()}, gradient);
  for (std::size_t i = 0; i < once.size(); ++i) CHECK(gradient[i] == close(2 * once[i], 1e-12, 1e-13));
}

TEST_CASE("IQN network: outputs are action after action, and don't depend on the other fractions", "[iqn]") {
  const Net three = small_net(3);
  const Net one = three.with_fractions(1);
  REQUIRE(one.parameter_count() == three.parameter_count());
  const auto theta = start(three, 4);
  const auto x = batch_of(2, 3, 5, 5);
  Net::Tape tape, single;
  const auto y = three.forward(theta, x, tape);
  for (int j = 0; j < 5; ++j)
    for (int k = 0; k < 3; ++k) {
      Matrix<double> alone(3, 1);
      alone << x(0, j), x(1, j), x(2 + k, j);
      const auto z = one.forward(theta, alone, single);
      for (int a = 0; a < 3; ++a) CHECK(y(a * 3 + k, j) == z(a, 0));
    }
}

TEST_CASE("IQN's loss at the midpoints is QR-DQN's", "[iqn][D4]") {
  const Net net = small_net(4);
  const auto theta = start(net, 6);
  auto x = batch_of(2, 4, 1, 7);
  x.bottomRows(4) << 0.125, 0.375, 0.625, 0.875;
  Net::Tape tape;
  const auto y = net.forward(theta, x, tape);
  const std::span<const double> z(y.data(), 4);
  const std::vector<double> target{-1, 0.3, 2};
  std::vector<double> d(4, 0.0), e(4, 0.0);
  const std::vector<double> tau{0.125, 0.375, 0.625, 0.875};
  CHECK(implicit_quantile_loss<double>(z, tau, target, d) == QuantileReturn{.quantiles = 4}.loss<double>(z, target, e));
  CHECK(d == e);
}

TEST_CASE("IQN network: a head may be dueling, and parts keep their names", "[iqn]") {
  const ImplicitQuantileNetwork net{
      Mlp<double>{{2, 4}, relu, {.output = relu}}, Dueling{Mlp<double>{{4, 3}, relu}, 2}, {.fractions = 2}};
  CHECK(net.actions() == 2);
  const auto blocks = net.parameters("q.");
  REQUIRE(blocks.size() == 6);
  CHECK(blocks[0].name == "q.trunk.0.weight");
  CHECK(blocks[2].name == "q.embedding.0.weight");
  CHECK(blocks[2].offset == 12);
  CHECK(blocks[4].name == "q.head.0.weight");
  CHECK(blocks[4].offset == 12 + 64 * 4 + 4);
}

TEST_CASE("IQN network: bad input is refused, and nothing allocates once it has seen a batch", "[iqn][errors]") {
  CHECK_THROWS_AS((Net{Mlp<double>{{2, 4}, relu}, Mlp<double>{{5, 3}, relu}}), Error);
  CHECK_THROWS_AS(small_net(0), Error);
  CHECK_THROWS_AS(small_net(2, 0), Error);
  const Net net = small_net(3);
  auto theta = start(net, 12);
  auto x = batch_of(2, 3, 4, 13);
  Net::Tape tape;
  std::vector<double> gradient(theta.size(), 0.0);
  Matrix<double> dy = Matrix<double>::Ones(net.output_size(), 4);
  const Outputs<double> d(dy.data(), dy.rows(), dy.cols());
  CHECK_THROWS_AS(net.pullback(theta, x, tape, d, gradient), Error);  // no forward yet
  net.forward(theta, x, tape);
  net.pullback(theta, x, tape, d, gradient);
  {
    test::Allocations allocations;
    net.forward(theta, x, tape);
    net.pullback(theta, x, tape, d, gradient);
    if (test::Allocations::available()) CHECK(allocations.count() == 0);
  }
  CHECK_THROWS_AS(net.forward(std::span<const double>(theta).first(3), x, tape), Error);
  CHECK_THROWS_AS(net.forward(theta, Matrix<double>(x.topRows(4)), tape), Error);
  x(3, 1) = 1.5;
  CHECK_THROWS_AS(net.forward(theta, x, tape), Error);
  CHECK_THROWS_AS(net.pullback(theta, x, tape, d, gradient), Error);  // the failed forward left nothing
}
