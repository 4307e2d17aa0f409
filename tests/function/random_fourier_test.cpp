#include "valence/function/random_fourier.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/concepts.hpp"

using valence::RandomFourier;
using valence::Rng;
using namespace valence::test;  // close, message_of, says

static_assert(valence::FeatureMap<RandomFourier>);
static_assert(valence::DifferentiableFeatureMap<RandomFourier>);

TEST_CASE("Random Fourier features are 1, x and scaled cosines of random waves") {
  Rng rng{3};
  const RandomFourier map{2, rng, {.waves = 19, .frequency = 1.2}};
  REQUIRE(map.size() == 22);
  REQUIRE(map.input_size() == 2);
  const std::vector<double> x = {0.7, -1.9};
  std::vector<double> phi(22);
  map(std::span<const double>(x), std::span<double>(phi));
  CHECK(phi[0] == 1);
  CHECK(phi[1] == 0.7);
  CHECK(phi[2] == -1.9);
  for (int k = 0; k < 19; ++k) {
    const double angle = map.waves()(0, k) * x[0] + map.waves()(1, k) * x[1] + map.phases()[k];
    CHECK(phi[std::size_t(3 + k)] == close(std::sqrt(2.0 / 19) * std::cos(angle), 0, 1e-15));
  }
  SECTION("without the affine part they are the cosines alone") {
    Rng again{3};
    const RandomFourier bare{2, again, {.waves = 19, .frequency = 1.2, .affine = false}};
    std::vector<double> waves(19);
    bare(std::span<const double>(x), std::span<double>(waves));
    CHECK(std::equal(waves.begin(), waves.end(), phi.begin() + 3));
  }
  SECTION("in float they are the same, rounded") {
    const std::vector<float> x32 = {0.75f, -1.875f};
    const std::vector<double> x64 = {0.75, -1.875};
    std::vector<float> narrow(22);
    map(std::span<const float>(x32), std::span<float>(narrow));
    map(std::span<const double>(x64), std::span<double>(phi));
    for (std::size_t i = 0; i < 22; ++i) CHECK(narrow[i] == static_cast<float>(phi[i]));
  }
}

TEST_CASE("The cosine in lanes is exact to rounding, and huge angles are taken by the standard library") {
  for (const double x : {0.0, 1.0, -1.0, 1.5707963267948966, 3.141592653589793, -22.0, 355.0, 4711.25, -99999.5, 1e5})
    CHECK(valence::detail::cos_of(x) == close(std::cos(x), 0, 5e-16));
  Rng rng{1};
  double worst = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = rng.uniform(-1e5, 1e5);
    worst = std::max(worst, std::abs(valence::detail::cos_of(x) - std::cos(x)));
  }
  CHECK(worst < 5e-16);
  const RandomFourier map{1, rng, {.waves = 3, .frequency = 1e9, .affine = false}};
  const std::vector<double> x = {12.0};
  std::vector<double> phi(3);
  map(std::span<const double>(x), std::span<double>(phi));
  for (int k = 0; k < 3; ++k)
    CHECK(phi[std::size_t(k)] ==
          close(std::sqrt(2.0 / 3) * std::cos(map.waves()(0, k) * 12.0 + map.phases()[k]), 0, 1e-15));
}

TEST_CASE("Random Fourier features approach the Gaussian kernel, and differentiate") {
  Rng rng{8};
  const RandomFourier map{2, rng, {.waves = 20000, .frequency = 0.8, .affine = false}};
  const std::vector<double> x = {0.3, 1.1}, y = {-0.5, 0.4};
  std::vector<double> a(20000), b(20000);
  map(std::span<const double>(x), std::span<double>(a));
  map(std::span<const double>(y), std::span<double>(b));
  double dot = 0;
  for (std::size_t i = 0; i < a.size(); ++i) dot += a[i] * b[i];
  const double square = 0.8 * 0.8 + 0.7 * 0.7;
  CHECK(dot == close(std::exp(-0.64 * square / 2), 0, 0.03));  // four standard errors of 20000 waves

  const RandomFourier few{2, rng, {.waves = 7}};
  std::vector<double> dphi(10), dx(2);
  for (double& d : dphi) d = rng.normal();
  few.pullback(std::span<const double>(x), std::span<const double>(dphi), std::span<double>(dx));
  CHECK(pullback_matches(
      [&](std::span<const double> at) {
        std::vector<double> phi(10);
        few(at, std::span<double>(phi));
        return phi;
      },
      x, dphi, dx));
}

TEST_CASE("Random Fourier features refuse bad sizes") {
  Rng rng{1};
  CHECK(says(message_of([&] { RandomFourier(0, rng); }), "RandomFourier", "inputs"));
  CHECK(says(message_of([&] { RandomFourier(2, rng, {.waves = 0}); }), "waves"));
  CHECK(says(message_of([&] { RandomFourier(2, rng, {.frequency = 0}); }), "frequency"));
  const RandomFourier map{2, rng};
  std::vector<double> x(3), phi(51);
  CHECK(says(message_of([&] { map(std::span<const double>(x), std::span<double>(phi)); }), "x has 3", "2"));
}
