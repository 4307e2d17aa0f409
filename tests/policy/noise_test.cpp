// Deterministic policies, and the noise that makes them explore.
#include <algorithm>
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
#include "valence/core/archive.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/policy/deterministic.hpp"
#include "valence/policy/exploration_noise.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::gradient_matches;
using valence::test::kolmogorov_smirnov_test;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;
using Span = std::span<const double>;
using Pair = std::array<double, 2>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

static_assert(Reparameterised<Deterministic<double>> && !ActionDistribution<Deterministic<double>>);

Span row(const Numbers& y) { return y; }

struct Moments {
  double mean = 0, variance = 0, correlation = 0;  ///< of neighbours
};
/// Of independent processes after `steps` steps, with their next step: no autocorrelation in the estimates.
Moments after(const OrnsteinUhlenbeckOptions& options, int steps, int seed, int count = 20'000) {
  OrnsteinUhlenbeckNoise noise{count, options};
  Numbers zero(static_cast<std::size_t>(count));
  Rng rng{seed};
  for (int t = 0; t < steps; ++t) noise.add(zero, rng);
  const Numbers first = noise.value();
  noise.add(zero, rng);
  Moments m;
  double square = 0, cross = 0, next = 0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    m.mean += first[i] / count, next += noise.value()[i] / count;
    square += first[i] * first[i] / count, cross += first[i] * noise.value()[i] / count;
  }
  m.variance = square - m.mean * m.mean;
  m.correlation = (cross - m.mean * next) / m.variance;
  return m;
}

}  // namespace

TEST_CASE("deterministic: center + scale tanh(y), and y itself where there are no bounds") {
  const Deterministic law{Box{Pair{-1, -infinity}, Pair{3, infinity}}};
  CHECK(law.size() == 2);
  const Pair a = law.action(row({0.4, 7}));
  CHECK(a[0] == close(1 + 2 * std::tanh(0.4), 1e-14));
  CHECK(a[1] == 7);
  CHECK(law.action(row({40, 0}))[0] == 3);
  const Numbers y{0.4, 7}, da{0.7, -0.3};
  Numbers dy{1, 2};
  law.pullback_action(row(y), da, dy);
  dy[0] -= 1, dy[1] -= 2;
  CHECK(gradient_matches(
      [&](Span x) {
        const Pair at = law.action(x);
        return da[0] * at[0] + da[1] * at[1];
      },
      y, dy));
  Numbers same(2);
  Rng rng{1};
  law.pullback_action(row(y), law.draw_noise(rng), da, same);
  CHECK(same[0] == close(dy[0], 1e-14));
  CHECK(rng.position() == 0);
  // Where tanh rounds to 1 the slope is 4 exp(-2 y), not 0.
  Numbers far_out(2);
  law.pullback_action(row({30, 0}), Pair{1, 0}, far_out);
  CHECK(far_out[0] == close(8 * std::exp(-60), 1e-13));
}

TEST_CASE("deterministic: clips to the closed box, and refuses what isn't a number") {
  const Deterministic law{Box{Pair{-1, -infinity}, Pair{3, infinity}}};
  CHECK(law.clip(Pair{5, 1e9}) == Pair{3, 1e9});
  CHECK(law.clip(Pair{-5, -2}) == Pair{-1, -2});
  CHECK(says(message_of([&] { law.clip(Pair{0, poison}); }), "a[1] is nan"));
  Numbers dy(2, 7.0);
  CHECK(says(message_of([&] { law.action(row({poison, 0})); }), "y[0] is nan"));
  CHECK(says(message_of([&] { law.pullback_action(row({0, 0}), Pair{0, poison}, dy); }), "da[1]"));
  CHECK(says(message_of([&] { law.action(row({0})); }), "y has 1"));
  CHECK(says(message_of([&] { Deterministic{Box{0.0, infinity}}.action(row({0})); }), "bounds of action[0]"));
  CHECK(says(message_of([&] { Deterministic{Box{1.0, 0.0}}.action(row({0})); }), "bounds of action[0]"));
  CHECK(dy == Numbers(2, 7.0));
}

TEST_CASE("Gaussian noise: its law, and that it is added") {
  for (const int seed : {1, 2, 3}) {
    Rng rng{seed};
    Numbers draws(20'000, 5.0);
    GaussianNoise{.standard_deviation = 0.3}.add(draws, rng);
    CHECK(rng.position() == 20'000);
    CHECK(kolmogorov_smirnov_test(draws, [](double x) { return normal_cdf((x - 5) / 0.3); }) > 1e-6);
  }
  Rng rng{1};
  Numbers draws(20'000);
  GaussianNoise{.standard_deviation = 0.2, .bound = 0.25}.add(draws, rng);
  double largest = 0, at_bound = 0;
  for (const double x : draws) largest = std::max(largest, std::abs(x)), at_bound += std::abs(x) == 0.25 ? 1 : 0;
  CHECK(largest == 0.25);
  CHECK(at_bound / 20'000 == close(2 * normal_cdf(-1.25), 0, 0.015));
  double number = 1.5;
  GaussianNoise{.standard_deviation = 0}.add(number, rng);
  CHECK(number == 1.5);
}

TEST_CASE("Ornstein-Uhlenbeck noise: stationary variance volatility^2 / (2 rate), whatever the step") {
  for (const double step : {0.01, 1.0, 10.0}) {
    for (const int seed : {1, 2}) {
      const OrnsteinUhlenbeckOptions options{.rate = 0.5, .volatility = 0.3, .time_step = step, .mean = 0.7};
      const Moments m = after(options, step < 1 ? 2000 : 40, seed, step < 1 ? 2000 : 20'000);
      const double n = step < 1 ? 2000 : 20'000, variance = 0.09;
      CAPTURE(step, seed, m.mean, m.variance, m.correlation);
      CHECK(std::abs(m.mean - 0.7) < 5 * std::sqrt(variance / n));
      CHECK(std::abs(m.variance / variance - 1) < 5 * std::sqrt(2 / n));
      CHECK(std::abs(m.correlation - std::exp(-0.5 * step)) < 5 / std::sqrt(n));
    }
  }
  // From the mean: volatility^2 (1 - exp(-2 rate t)) / (2 rate) after a time t; volatility^2 t without a rate.
  const Moments early = after({.rate = 0.5, .volatility = 0.3, .time_step = 0.5}, 1, 3);
  CHECK(std::abs(early.variance / (0.09 * (1 - std::exp(-0.5))) - 1) < 5 * std::sqrt(2 / 20'000.0));
  const Moments brownian = after({.rate = 0, .volatility = 0.3, .time_step = 0.5}, 4, 3);
  CHECK(std::abs(brownian.variance / (0.09 * 2) - 1) < 5 * std::sqrt(2 / 20'000.0));
}

TEST_CASE("Ornstein-Uhlenbeck noise: the step to the last bit, added, reset, and archived") {
  const OrnsteinUhlenbeckOptions options{.rate = 0.4, .volatility = 0.3, .time_step = 0.5, .mean = 2};
  OrnsteinUhlenbeckNoise noise{2, options};
  Rng rng{9}, again{9};
  Pair a{10, 20};
  noise.add(a, rng);
  const double kept = std::exp(-0.2), spread = 0.3 * std::sqrt((1 - std::exp(-0.4)) / 0.8);
  double x0 = 2 + spread * again.normal(), x1 = 2 + spread * again.normal();
  CHECK(noise.value()[0] == close(x0, 1e-14));
  CHECK(a[0] == close(10 + x0, 1e-14));
  CHECK(a[1] == close(20 + x1, 1e-14));
  noise.add(a, rng);
  x0 = 2 + (x0 - 2) * kept + spread * again.normal();
  CHECK(noise.value()[0] == close(x0, 1e-14));
  CHECK(rng.position() == 4);

  OrnsteinUhlenbeckNoise copy = noise, loaded{5};  // a copy, and what was saved, go on as the original does
  from_bytes(to_bytes(noise), loaded);
  Rng other = rng, third = rng;
  Pair b{0, 0}, c{0, 0}, d{0, 0};
  noise.add(b, rng);
  copy.add(c, other);
  loaded.add(d, third);
  CHECK(b == c);
  CHECK(b == d);
  noise.reset();
  CHECK(noise.value() == Numbers{2, 2});

  Allocations allocations;
  noise.add(b, rng);
  GaussianNoise{}.add(b, rng);
  CHECK(allocations.count() == 0);
}

TEST_CASE("exploration noise: bad input names what is wrong and moves nothing") {
  Rng rng{1};
  Numbers a{1, poison};
  CHECK(says(message_of([&] { GaussianNoise{}.add(a, rng); }), "action[1] is nan"));
  CHECK(says(message_of([&] { GaussianNoise{.standard_deviation = -1}.add(a, rng); }), "standard_deviation is -1"));
  CHECK(says(message_of([&] { GaussianNoise{.bound = poison}.add(a, rng); }), "bound is nan"));
  OrnsteinUhlenbeckNoise noise{2};
  CHECK(says(message_of([&] { noise.add(a, rng); }), "action[1] is nan"));
  Numbers three(3);
  CHECK(says(message_of([&] { noise.add(three, rng); }), "action has 3", "expected 2"));
  CHECK(noise.value() == Numbers{0, 0});
  CHECK(rng.position() == 0);
  CHECK(says(message_of([] { OrnsteinUhlenbeckNoise{0}; }), "dimensions is 0"));
  CHECK(says(message_of([] { OrnsteinUhlenbeckNoise{1, {.rate = -1}}; }), "rate is -1"));
  CHECK(says(message_of([] { OrnsteinUhlenbeckNoise{1, {.volatility = poison}}; }), "volatility is nan"));
  CHECK(says(message_of([] { OrnsteinUhlenbeckNoise{1, {.time_step = 0}}; }), "time_step is 0"));
  CHECK(says(message_of([] { OrnsteinUhlenbeckNoise{1, {.mean = infinity}}; }), "mean is inf"));
}
