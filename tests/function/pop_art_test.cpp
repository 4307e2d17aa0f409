#include "valence/function/pop_art.hpp"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"

using namespace valence;

namespace {

using valence::test::close;

std::vector<double> start(const auto& net, std::uint64_t seed) {
  std::vector<double> theta(net.parameter_count());
  Rng rng{seed};
  net.initialize(theta, rng);
  for (double& x : theta) x += 0.1 * rng.normal();
  return theta;
}

}  // namespace

TEST_CASE("PopArt: what the outputs stand for is unchanged by an update, whatever the targets", "[popart]") {
  const Mlp<double> net{{3, 8, 4}, relu};
  auto theta = start(net, 1);
  PopArt scale{{.rate = 0.3}};
  const LastLayer layer = last_layer(net, 4);
  Rng rng{2};
  Matrix<double> x(3, 7);
  rng.fill_normal(view(x));
  Mlp<double>::Tape tape;
  const Matrix<double> before = net.forward(theta, x, tape);
  for (int k = 0; k < 50; ++k) {
    const double size = std::pow(10.0, rng.uniform() * 8 - 4);
    std::vector<double> targets(5);
    for (double& t : targets) t = size * rng.normal() + size;
    scale.update(std::span<const double>(targets), layer, std::span<double>(theta));
  }
  CHECK(scale.updates() == 50);
  const auto after = net.forward(theta, x, tape);
  for (Eigen::Index i = 0; i < before.size(); ++i)
    CHECK(scale.value(after.data()[i]) == close(before.data()[i], 1e-10, 1e-10));
  // One update alone keeps them to rounding.
  PopArt once;
  auto fresh = start(net, 3);
  const Matrix<double> y = net.forward(fresh, x, tape);
  const std::vector<double> targets{-3, 12, 40};
  once.update(std::span<const double>(targets), layer, std::span<double>(fresh));
  const auto z = net.forward(fresh, x, tape);
  for (Eigen::Index i = 0; i < y.size(); ++i) CHECK(once.value(z.data()[i]) == close(y.data()[i], 1e-12, 1e-12));
}

TEST_CASE("PopArt: statistics by hand", "[popart]") {
  std::vector<double> theta{2, 0.5};  // one weight, one bias
  const Mlp<double> net{{1, 1}, relu};
  const LastLayer layer = last_layer(net, 1);
  PopArt scale{{.rate = 0.5}};
  CHECK(scale.value(7.0) == 7);
  const std::vector<double> first{1, 3}, second{10};
  scale.update(std::span<const double>(first), layer, std::span<double>(theta));
  // The first update counts fully: mean 2, second moment 5, deviation 1.
  CHECK(scale.mean() == close(2.0));
  CHECK(scale.deviation() == close(1.0));
  CHECK(theta[0] == close(2.0));
  CHECK(theta[1] == close(-1.5));
  scale.update(std::span<const double>(second), layer, std::span<double>(theta));
  // Weights 1/4 and 1/2, that is 1/3 and 2/3: mean 22/3, second moment 205/3, variance 131/9.
  CHECK(scale.mean() == close(22.0 / 3));
  const double deviation = std::sqrt(131.0 / 9);
  CHECK(scale.deviation() == close(deviation));
  CHECK(theta[0] == close(2 / deviation));
  CHECK(theta[1] == close((0.5 - 22.0 / 3) / deviation));
  CHECK(scale.normalized(scale.value(-0.7)) == close(-0.7));
}

TEST_CASE("PopArt: the deviation stays within its bounds", "[popart]") {
  std::vector<double> theta{1, 0};
  const LastLayer layer = last_layer(Mlp<double>{{1, 1}, relu}, 1);
  PopArt narrow, wide{{.max_deviation = 10}};
  const std::vector<double> same{5, 5}, apart{-1e9, 1e9};
  narrow.update(std::span<const double>(same), layer, std::span<double>(theta));
  CHECK(narrow.deviation() == 1e-4);
  wide.update(std::span<const double>(apart), layer, std::span<double>(theta));
  CHECK(wide.deviation() == 10);
}

TEST_CASE("PopArt: some rows alone, of a composite's last layer", "[popart]") {
  // A critic beside an actor: the critic's output is the last.
  const Parallel both{Mlp<double>{{2, 4, 3}, relu}, Mlp<double>{{2, 4, 1}, relu}};
  const Mlp<double> shared{{2, 4, 3 + 1}, relu};
  const auto check = [](const auto& net) {
    auto theta = start(net, 4);
    PopArt scale;
    Rng rng{5};
    Matrix<double> x(2, 3);
    rng.fill_normal(view(x));
    typename std::remove_cvref_t<decltype(net)>::Tape tape;
    const Matrix<double> before = net.forward(theta, x, tape);
    const std::vector<double> targets{100, 300};
    scale.update(std::span<const double>(targets), last_layer(net, 1), std::span<double>(theta));
    const Matrix<double> after = net.forward(theta, x, tape);
    for (int j = 0; j < 3; ++j) {
      for (int i = 0; i < 3; ++i) CHECK(after(i, j) == before(i, j));
      CHECK(after(3, j) != before(3, j));
      CHECK(scale.value(after(3, j)) == close(before(3, j), 1e-12, 1e-11));
    }
  };
  check(both);
  check(shared);
}

TEST_CASE("PopArt: regression at a scale that moves by a thousand is learned where it isn't without", "[popart]") {
  // The target is c x, and c becomes 1000 times larger half way (van Hasselt et al. 2016, section 3, in small).
  const auto error = [](bool rescales) {
    const Mlp<double> net{{1, 1}, relu};
    auto theta = start(net, 6);
    std::vector<double> gradient(2);
    PopArt scale{{.rate = 0.05}};
    Mlp<double>::Tape tape;
    Matrix<double> x(1, 1), dy(1, 1);
    Rng rng{7};
    double sum = 0;
    for (int t = 0; t < 2000; ++t) {
      const double c = t < 1000 ? 1 : 1000;
      x(0, 0) = rng.normal();
      const double target = c * x(0, 0);
      if (rescales) scale.update(std::span<const double>(&target, 1), last_layer(net, 1), std::span<double>(theta));
      const double y = net.forward(theta, x, tape)(0, 0);
      if (t >= 1900) sum += std::abs(scale.value(y) - target) / c;
      dy(0, 0) = y - scale.normalized(target);
      std::fill(gradient.begin(), gradient.end(), 0.0);
      net.pullback(theta, x, tape, {dy.data(), 1, 1}, gradient);
      const double norm = std::hypot(gradient[0], gradient[1]);  // clipped, as deep agents do
      for (std::size_t i = 0; i < 2; ++i) theta[i] -= 0.05 * gradient[i] / (std::max)(1.0, norm);
    }
    return sum / 100;
  };
  CHECK(error(true) < 0.05);
  CHECK(error(false) > 0.5);
}

TEST_CASE("PopArt: archived, without allocation, and bad input is refused before anything changes",
          "[popart][resume][allocation][errors]") {
  const Mlp<double> net{{1, 1}, relu};
  const LastLayer layer = last_layer(net, 1);
  std::vector<double> theta{1, 0};
  PopArt scale;
  const std::vector<double> targets{1, 2};
  {
    test::Allocations allocations;
    scale.update(std::span<const double>(targets), layer, std::span<double>(theta));
    if (test::Allocations::available()) CHECK(allocations.count() == 0);
  }
  PopArt other;
  from_bytes(to_bytes(scale), other);
  CHECK(other.mean() == scale.mean());
  CHECK(other.deviation() == scale.deviation());

  const auto before = to_bytes(scale);
  const auto kept = theta;
  const std::vector<double> bad{1, std::numeric_limits<double>::infinity()}, none;
  CHECK_THROWS_AS(scale.update(std::span<const double>(bad), layer, std::span<double>(theta)), Error);
  CHECK_THROWS_AS(scale.update(std::span<const double>(none), layer, std::span<double>(theta)), Error);
  CHECK_THROWS_AS(scale.update(std::span<const double>(targets), layer, std::span<double>(theta).first(1)), Error);
  CHECK(to_bytes(scale) == before);
  CHECK(theta == kept);
  CHECK_THROWS_AS(PopArt({.rate = 0}), Error);
  CHECK_THROWS_AS(PopArt({.rate = 1.5}), Error);
  CHECK_THROWS_AS(PopArt({.min_deviation = 0}), Error);
  CHECK_THROWS_AS(PopArt({.min_deviation = 1, .max_deviation = 0.5}), Error);
  CHECK_THROWS_AS(last_layer(net, 2), Error);
  CHECK_THROWS_AS(last_layer(net, 0), Error);
}
