#include "valence/env/ring_diffusion.hpp"

#include <cmath>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"

using valence::Matrix;
using valence::RingDiffusion;
using valence::Rng;
using namespace valence::test;  // close, message_of, says

TEST_CASE("RingDiffusion's points lie about four modes alike") {
  Rng rng{4};
  const int n = 20000;
  const Matrix<double> x = RingDiffusion{}.sample(n, rng);
  REQUIRE(x.rows() == 2);
  int counts[4] = {};
  double square = 0;
  for (int j = 0; j < n; ++j) {
    const int mode = std::abs(x(0, j)) > std::abs(x(1, j)) ? (x(0, j) > 0 ? 0 : 2) : (x(1, j) > 0 ? 1 : 3);
    const double at[4][2] = {{2, 0}, {0, 2}, {-2, 0}, {0, -2}};
    ++counts[mode];
    square += std::pow(x(0, j) - at[mode][0], 2) + std::pow(x(1, j) - at[mode][1], 2);
  }
  for (const int count : counts) CHECK(std::abs(count - n / 4) < 250);  // four standard deviations
  CHECK(square / (2 * n) == close(0.0625, 0.03));
}

TEST_CASE("RingDiffusion's reward is minus the distance to the first mode") {
  Matrix<double> x(2, 3);
  x << 2, -2, 5, 0, 0, 4;
  const auto r = RingDiffusion{}.rewards(x);
  CHECK(r[0] == 0);
  CHECK(r[1] == -4);
  CHECK(r[2] == -5);
}

TEST_CASE("RingDiffusion refuses bad fields") {
  Rng rng{4};
  CHECK(says(message_of([&] { RingDiffusion{.modes = 0}.sample(1, rng); }), "modes"));
  CHECK(says(message_of([&] { RingDiffusion{.radius = -1}.sample(1, rng); }), "radius"));
  CHECK(says(message_of([&] { RingDiffusion{.deviation = -1}.sample(1, rng); }), "deviation"));
  CHECK(says(message_of([&] { RingDiffusion{}.sample(0, rng); }), "n is 0"));
  CHECK(says(message_of([&] { RingDiffusion{}.rewards(Matrix<double>::Zero(3, 2)); }), "x is 3 x 2"));
}
