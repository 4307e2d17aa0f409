#include "valence/value/rescaling.hpp"

#include <cmath>
#include <limits>

#include "support/catch.hpp"
#include "support/close.hpp"

using namespace valence;

namespace {

using valence::test::close;

}  // namespace

TEST_CASE("value rescaling: h and its inverse by their equations", "[rescaling]") {
  const ValueRescaling h{.epsilon = 0.01};
  for (const double x : {0.3, 1.0, 2.0, 7.5, 40.0, 300.0}) {
    const double y = std::sqrt(x + 1) - 1 + 0.01 * x;
    CHECK(h(x) == close(y, 1e-13));
    CHECK(h(-x) == close(-y, 1e-13));
    const double root = (std::sqrt(1 + 4 * 0.01 * (y + 1 + 0.01)) - 1) / (2 * 0.01);
    CHECK(h.inverse(y) == close(root * root - 1, 1e-11));
  }
  CHECK(h(3.0) == close(1.03, 1e-14));  // sqrt 4 - 1 + 0.03
  CHECK(h(0.0) == 0.0);
  CHECK(h.inverse(0.0) == 0.0);
}

TEST_CASE("value rescaling: the inverse is the inverse, at any size and in both precisions", "[rescaling]") {
  for (const double epsilon : {1e-3, 1e-2, 1.0}) {
    const ValueRescaling h{.epsilon = epsilon};
    for (const double x : {1e-300, 1e-12, 1e-3, 0.5, 1.0, 99.0, 1e6, 1e12}) {
      CHECK(h.inverse(h(x)) == close(x, 1e-12));
      CHECK(h.inverse(h(-x)) == close(-x, 1e-12));
      CHECK(h(h.inverse(x)) == close(x, 1e-12));
    }
    for (const float x : {-1e3F, -0.1F, 1e-6F, 5.0F}) CHECK(double(h.inverse(h(x))) == close(double(x), 1e-6));
    // The slope at 0 is 1/2 + epsilon, without cancellation.
    CHECK(h(1e-12) / 1e-12 == close(0.5 + epsilon, 1e-11));
    for (double x = -20; x < 20; x += 0.37) CHECK(h(x) < h(x + 0.37));
  }
}

TEST_CASE("value rescaling: bad options are refused", "[rescaling][errors]") {
  CHECK_THROWS_AS(ValueRescaling{.epsilon = 0}(1.0), Error);
  CHECK_THROWS_AS(ValueRescaling{.epsilon = -1}.inverse(1.0), Error);
  CHECK_THROWS_AS(ValueRescaling{.epsilon = std::numeric_limits<double>::quiet_NaN()}(1.0), Error);
}
