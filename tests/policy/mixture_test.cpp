// Mixtures: the specification's numbers, derivatives, and what they are in special cases.
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "support/goodness.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/policy/gaussian_mixture.hpp"
#include "valence/policy/squashed_gaussian.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::gradient_matches;
using valence::test::kolmogorov_smirnov_test;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;
using Span = std::span<const double>;

namespace {

using valence::test::close;

static_assert(ActionDistribution<GaussianMixture<>> && !HasEntropy<GaussianMixture<>>);
static_assert(ActionDistribution<Mixture<SquashedGaussian<double>>> && !Reparameterised<GaussianMixture<>>);

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

// A1 of the base: logits, then mean and log-std of each component.
const Numbers golden_y{0.2, -0.3, 1, -1, -0.3, 0.5, 0.1, 2, -0.7};
const GaussianMixture<double> three{{}, 3};

Span row(const Numbers& y) { return y; }

void same(const Numbers& seen, const Numbers& expected, double tolerance = 1e-13) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}
template <class P, class V>
Numbers score(const P& law, const Numbers& y, const V& a) {
  Numbers dy(y.size());
  law.log_prob(row(y), a, 1, dy);
  return dy;
}

}  // namespace

TEST_CASE("mixture: the specification's numbers") {
  CHECK(three.size() == 9);
  Numbers w(3);
  three.weights(row(golden_y), w);
  same(w, {0.260955458942349, 0.158277486667916, 0.580767054389734});
  CHECK(three.log_prob(row(golden_y), 0.8) == close(-2.43520149364781, 1e-13));
  Numbers dy(9);
  double da = 0;
  CHECK(three.log_prob(row(golden_y), 0.8, 1, dy, da) == close(-2.43520149364781, 1e-13));
  same(dy, {-0.177126355706727, 0.470495206905255, -0.293368851198528, 0.274943853045908, 0.411069832247012,
            0.154438662277210, -0.582441094890008, -1.39854862086264, 1.39086014184396});
  CHECK(da == close(0.969166105539522, 1e-13));
  CHECK(three.mean(row(golden_y), 0) == close(0.979717393171077, 1e-13));
  CHECK(three.variance(row(golden_y), 0) == close(2.14349822119682, 1e-13));
  const auto bounds = three.entropy_bounds(row(golden_y));
  CHECK(bounds.lower == close(0.949942706115945, 1e-13));
  CHECK(bounds.upper == close(1.90787334755415, 1e-13));
  CHECK(three.mode(row(golden_y)) == 2);
}

TEST_CASE("mixture: quadrature gives mass 1, the entropy, the moments and a score of mean 0") {
  const double h = 0.005;
  double mass = 0, entropy = 0, mean = 0, square = 0;
  Numbers scores(9);
  for (int k = -4000; k <= 4000; ++k) {
    const double a = 0.5 + h * k, lp = three.log_prob(row(golden_y), a), p = h * std::exp(lp);
    mass += p, entropy -= p * lp, mean += p * a, square += p * a * a;
    const Numbers s = score(three, golden_y, a);
    for (std::size_t i = 0; i < 9; ++i) scores[i] += p * s[i];
  }
  CHECK(mass == close(1, 1e-11));
  CHECK(entropy == close(1.5478925587, 1e-9));
  CHECK(mean == close(three.mean(row(golden_y), 0), 1e-11));
  CHECK(square - mean * mean == close(three.variance(row(golden_y), 0), 1e-11));
  same(scores, Numbers(9), 1e-11);
}

TEST_CASE("mixture: derivatives are those of the values, also of squashed components in two dimensions") {
  CHECK(gradient_matches([](Span y) { return three.log_prob(y, 0.8); }, golden_y, score(three, golden_y, 0.8)));
  using Pair = std::array<double, 2>;
  const Mixture law{SquashedGaussian{Box{Pair{-1, 0}, Pair{3, 0.5}}}, 2};
  const Numbers y{0.4, -0.6, 0.3, -0.7, -0.5, 0.2, -0.4, 0.1, 0.3, -0.2}, a{0.7, 0.1};
  CHECK(gradient_matches([&](Span x) { return law.log_prob(x, a); }, y, score(law, y, a)));
  Numbers dy(10), da(2);
  law.log_prob(row(y), a, 1, dy, da);
  CHECK(gradient_matches([&](Span x) { return law.log_prob(row(y), x); }, a, da, {.scale = 0.1}));
}

TEST_CASE("mixture: one component is that component; equal components are one; components permute") {
  const DiagonalGaussian<double> one{};
  const Mixture single{one, 1};
  const Numbers y{17, 0.3, -0.2}, part{0.3, -0.2};
  CHECK(single.log_prob(row(y), 1.1) == close(one.log_prob(row(part), 1.1), 1e-15));
  Numbers expected(2);
  one.log_prob(row(part), 1.1, 1, expected);
  same(score(single, y, 1.1), {0, expected[0], expected[1]}, 1e-15);
  const Numbers equal{0.2, -0.3, 1, 0.3, -0.2, 0.3, -0.2, 0.3, -0.2};
  CHECK(three.log_prob(row(equal), 1.1) == close(one.log_prob(row(part), 1.1), 1e-14));
  const Numbers permuted{1, 0.2, -0.3, 2, -0.7, -1, -0.3, 0.5, 0.1};
  CHECK(three.log_prob(row(permuted), 0.8) == close(three.log_prob(row(golden_y), 0.8), 1e-14));
  Numbers moved = golden_y;
  for (std::size_t k = 0; k < 3; ++k) moved[k] += 600;
  CHECK(three.log_prob(row(moved), 0.8) == close(three.log_prob(row(golden_y), 0.8), 1e-12));
}

TEST_CASE("mixture: extremes stay finite, and a component that is off isn't read", "[G22]") {
  const Numbers apart{700, -700, 0, -1, -20, 0.5, 20, 2, -20};
  for (const double a : {-1.0, 0.5, 2.0, 1e6}) {
    CHECK(std::isfinite(three.log_prob(row(apart), a)));
    for (const double x : score(three, apart, a)) CHECK(std::isfinite(x));
  }
  // At a = 2 the third component's density beats the first's zero; -700 of weight counts.
  const DiagonalGaussian<double> one{};
  CHECK(three.log_prob(row(apart), 2) == close(-700 + one.log_prob(row({2, -20}), 2), 1e-13));
  const Numbers off{0.4, -infinity, 0.9, -1, -0.3, poison, poison, 2, -0.7};
  const Numbers rest{0.4, 0.9, -1, -0.3, 2, -0.7};
  const GaussianMixture<double> two{{}, 2};
  CHECK(three.log_prob(row(off), 0.8) == two.log_prob(row(rest), 0.8));
  CHECK(three.variance(row(off), 0) == close(two.variance(row(rest), 0), 1e-15));
  CHECK(three.entropy_bounds(row(off)).upper == two.entropy_bounds(row(rest)).upper);
  const Numbers s = score(three, off, 0.8), t = score(two, rest, 0.8);
  CHECK(s == Numbers{t[0], 0, t[1], t[2], t[3], 0, 0, t[4], t[5]});
  Rng rng{4};
  for (int k = 0; k < 1000; ++k) CHECK(three.sample_component(row(off), rng) != 1);
}

TEST_CASE("mixture: draws follow the law") {
  for (const int seed : {1, 2, 3}) {
    Rng rng{seed};
    Numbers draws;
    for (int k = 0; k < 20'000; ++k) draws.push_back(three.sample(row(golden_y), rng));
    Numbers w(3);
    three.weights(row(golden_y), w);
    CHECK(kolmogorov_smirnov_test(draws, [&](double a) {
            return w[0] * normal_cdf((a + 1) * std::exp(0.3)) + w[1] * normal_cdf((a - 0.5) * std::exp(-0.1)) +
                   w[2] * normal_cdf((a - 2) * std::exp(0.7));
          }) > 1e-6);
  }
}

TEST_CASE("mixture: one action of every component, by its part of the outputs") {
  const Mixture law{SquashedGaussian{Box{-1.0, 1.0}}, 3};
  Numbers dy(9);
  for (std::size_t k = 0; k < 3; ++k) {
    const double mean = golden_y[3 + 2 * k], log_std = golden_y[4 + 2 * k];
    CHECK(law.component.action(law.part(row(golden_y), k), 0.3) ==
          close(std::tanh(mean + 0.3 * std::exp(log_std)), 1e-14));
  }
  law.component.pullback_action(law.part(row(golden_y), 1), 0.3, 1.0, law.part(std::span(dy), 1));
  CHECK((dy[5] != 0 && dy[6] != 0));
  dy[5] = dy[6] = 0;
  CHECK(dy == Numbers(9));
}

TEST_CASE("mixture: bad input, and no allocation") {
  Numbers dy(9, 7.0);
  CHECK(says(message_of([&] { three.log_prob(row({0, 0}), 0.8, 1, dy); }), "y has 2", "expected 9"));
  CHECK(says(message_of([&] { three.log_prob(row({poison, 0, 0, 0, 0, 0, 0, 0, 0}), 0.8, 1, dy); }), "y[0] is nan"));
  CHECK(says(message_of([&] { three.log_prob(row({0, 0, 0, 0, 0, poison, 0, 0, 0}), 0.8, 1, dy); }), "nan"));
  CHECK(says(message_of([&] { three.log_prob(row(golden_y), poison, 1, dy); }), "a[0] is nan"));
  CHECK(says(message_of([&] { GaussianMixture<double>{{}, 0}.mode(row({})); }), "components is 0"));
  CHECK(says(message_of([&] { three.mode(row({-infinity, -infinity, -infinity, 0, 0, 0, 0, 0, 0})); }), "no possible"));
  CHECK(dy == Numbers(9, 7.0));
  const std::vector<float> y(golden_y.begin(), golden_y.end());
  std::vector<float> d(9);
  Rng rng{1};
  Allocations allocations;
  const float a = static_cast<float>(three.sample(std::span<const float>(y), rng));
  three.log_prob(std::span<const float>(y), a, 1, d);
  const float at = three.log_prob(std::span<const float>(y), 0.8F);
  CHECK(allocations.count() == 0);
  CHECK(static_cast<double>(at) == close(-2.43520149364781, 1e-6));
}
