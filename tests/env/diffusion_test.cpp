#include "valence/env/diffusion.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/mdp/sampled_paths.hpp"

namespace {

using namespace valence;
using valence::test::Allocations;
using valence::test::close;
using valence::test::message_of;
using valence::test::says;

RunningMoments ends(const SampledPaths& paths, std::ptrdiff_t node) {
  RunningMoments moments;
  for (std::ptrdiff_t k = 0; k < paths.count; ++k) moments.add(paths.state(k, node)[0]);
  return moments;
}

// Within `errors` standard errors of a mean (normal tails: 5 of them are 6e-7).
bool mean_is(const RunningMoments& m, double expected, double errors = 5) {
  return std::abs(m.mean() - expected) <= errors * m.standard_error();
}
// The variance of n normal values has a standard deviation of about variance * sqrt(2 / n).
bool variance_is(const RunningMoments& m, double expected, double errors = 5) {
  return std::abs(m.variance() - expected) <= errors * expected * std::sqrt(2.0 / static_cast<double>(m.count()));
}

}  // namespace

TEST_CASE("an Euler step by hand, from the same normal numbers") {
  Rng rng{3}, again{3};
  Diffusion process{
      Sde{{2.0}, [](double t, double x) { return 1 + t - x; }, [](double t, double x) { return t + 0.1 * x; }},
      {.horizon = 0.75, .dt = 0.25}};
  const SampledPaths paths = process.simulate(2, rng);
  REQUIRE(paths.count == 2);
  REQUIRE(paths.steps == 3);
  REQUIRE(paths.dimension() == 1);
  for (std::ptrdiff_t k = 0; k < 2; ++k) {
    double x = 2;
    for (std::ptrdiff_t i = 0; i <= 3; ++i) {
      const double t = 0.25 * static_cast<double>(i);
      CHECK(paths.time(k, i) == t);
      CHECK(paths.state(k, i)[0] == close(x, 1e-14));
      if (i < 3) x += (1 + t - x) * 0.25 + (t + 0.1 * x) * std::sqrt(0.25) * again.normal();
    }
  }
  CHECK(rng.position() == 6);
}

TEST_CASE("several dimensions: a full matrix of volatilities, and fewer noises than coordinates") {
  Rng rng{4}, again{4};
  Diffusion process{
      Sde{{1.0, -1.0, 0.0},
          [](double t, std::span<const double> x, std::span<double> out) { out[0] = x[1], out[1] = -x[0], out[2] = t; },
          [](double, std::span<const double>, std::span<double> out) {
            REQUIRE(out.size() == 6);
            for (std::size_t i = 0; i < 6; ++i) out[i] = static_cast<double>(i);  // columns 012, 345
          },
          2},
      {.horizon = 0.1, .dt = 0.1}};
  const SampledPaths paths = process.simulate(1, rng);
  const double root = std::sqrt(0.1), a = again.normal() * root, b = again.normal() * root;
  CHECK(paths.state(0, 1)[0] == close(1 - 0.1 + 0 * a + 3 * b, 1e-13));
  CHECK(paths.state(0, 1)[1] == close(-1 - 0.1 + 1 * a + 4 * b, 1e-13));
  CHECK(paths.state(0, 1)[2] == close(2 * a + 5 * b, 1e-13));
}

TEST_CASE("the moments of Brownian motion, Ornstein-Uhlenbeck and geometric Brownian motion") {
  const std::ptrdiff_t count = 40'000;
  Rng rng{5};
  SECTION("Brownian") {
    Diffusion process{brownian(1, {.start = 1, .drift = 0.5, .volatility = 2}), {.horizon = 2, .dt = 0.1}};
    const SampledPaths paths = process.simulate(count, rng);
    CHECK(mean_is(ends(paths, 20), 2));
    CHECK(variance_is(ends(paths, 20), 8));
    CHECK(variance_is(ends(paths, 10), 4));
  }
  SECTION("Ornstein-Uhlenbeck") {
    // Euler's recursion X' = X + k dt (m - X) + s dW is linear, so its moments are exact sums.
    const double keep = 1 - 1.5 * 0.1;
    Diffusion process{ornstein_uhlenbeck(1, {.start = 3, .speed = 1.5, .mean = 1, .volatility = 0.4}),
                      {.horizon = 1, .dt = 0.1}};
    const SampledPaths paths = process.simulate(count, rng);
    CHECK(mean_is(ends(paths, 10), 1 + 2 * std::pow(keep, 10)));
    CHECK(variance_is(ends(paths, 10), 0.016 * (1 - std::pow(keep, 20)) / (1 - keep * keep)));
  }
  SECTION("geometric") {
    Diffusion process{geometric_brownian(1, {.start = 2, .growth = 0.3, .volatility = 0.2}), {.horizon = 1, .dt = 0.1}};
    const RunningMoments end = ends(process.simulate(count, rng), 10);
    const double second = 4 * std::pow(1.03 * 1.03 + 0.04 * 0.1, 10);
    CHECK(mean_is(end, 2 * std::pow(1.03, 10)));
    CHECK(end.variance() == close(second - 4 * std::pow(1.03, 20), 0.05));
  }
}

TEST_CASE("coordinates have noises of their own") {
  Rng rng{6};
  const SampledPaths paths = Diffusion{brownian(2), {.horizon = 1, .dt = 0.5}}.simulate(20'000, rng);
  REQUIRE(paths.dimension() == 2);
  RunningMoments product;
  for (std::ptrdiff_t k = 0; k < paths.count; ++k) product.add(paths.state(k, 2)[0] * paths.state(k, 2)[1]);
  CHECK(mean_is(product, 0));
}

TEST_CASE("paths in place: random starts, no allocation") {
  Rng rng{7};
  Diffusion process{brownian(), {.horizon = 1, .dt = 0.1}};
  SampledPaths paths;
  process.simulate(5, rng, paths, [](Rng& own, std::span<double> x) { x[0] = 10 + own.uniform(); });
  for (std::ptrdiff_t k = 0; k < 5; ++k) CHECK((paths.state(k, 0)[0] >= 10 && paths.state(k, 0)[0] < 11));
  CHECK(paths.state(0, 0)[0] != paths.state(1, 0)[0]);
  const Allocations allocations;
  process.simulate(5, rng, paths);
  CHECK(allocations.count() == 0);
  CHECK(paths.state(3, 0)[0] == 0);
}

TEST_CASE("what a diffusion refuses") {
  const auto refused = [](const DiffusionOptions& options) {
    return message_of([&] { Diffusion{brownian(), options}; });
  };
  CHECK(says(refused({.dt = 0}), "dt is 0"));
  CHECK(says(refused({.dt = -1}), "dt is -1"));
  CHECK(says(refused({.horizon = 0}), "horizon is 0"));
  CHECK(says(refused({.horizon = 1, .dt = 0.3}), "horizon is 1", "multiple of dt"));
  CHECK(says(refused({.horizon = 0.1, .dt = 1}), "multiple of dt"));
  CHECK(refused({.horizon = 0.3, .dt = 0.1}) == "nothing thrown");
  CHECK(says(message_of([] { brownian(0); }), "dimension is 0"));
  CHECK(says(message_of([] { brownian(1, {.volatility = -1}); }), "volatility is -1"));
  CHECK(says(message_of([] { ornstein_uhlenbeck(1, {.speed = std::nan("")}); }), "speed is nan"));
  const auto zero = [](double, double) { return 0.0; };
  CHECK(says(message_of([&] { Diffusion{Sde{{}, zero, zero}}; }), "start"));
  CHECK(says(message_of([&] { Diffusion{Sde{{0, 0}, zero, zero}}; }), "start has 2 entries; expected 1"));
  Rng rng{8};
  Diffusion exploding{Sde{{1.0}, [](double, double x) { return x * 1e200; }, [](double, double) { return 0.0; }}};
  CHECK(says(message_of([&] { exploding.simulate(1, rng); }), "coordinate 0 is inf", "after time"));
  Diffusion fine{brownian()};
  CHECK(says(message_of([&] { fine.simulate(0, rng); }), "count is 0"));
}
