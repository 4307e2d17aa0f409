#include <Eigen/Core>
#include <cmath>
#include <memory>
#include <sstream>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"

using namespace valence::test;

namespace {
// An optimizer may remove an allocation that nobody sees.
const void* volatile seen;
void keep(const void* p) { seen = p; }
}  // namespace

TEST_CASE("The finite-difference checker accepts a right gradient and names the worst wrong coordinate") {
  const auto f = [](std::span<const double> x) { return std::sin(x[0]) * std::exp(x[1]) + x[2] * x[2] * x[2]; };
  const std::vector<double> x{0.3, -0.7, 20};
  std::vector<double> g{std::cos(0.3) * std::exp(-0.7), std::sin(0.3) * std::exp(-0.7), 1200};
  CHECK(gradient_matches(f, x, g));
  const auto numeric = numeric_gradient(f, x);
  for (std::size_t i = 0; i < 2; ++i) CHECK(numeric[i] == close(g[i], 1e-8));  // f is 8000: its rounding / h is 1e-9
  g[1] *= 1 + 1e-5;
  const auto match = gradient_matches(f, x, g, {.relative = 1e-7, .absolute = 1e-7});
  CHECK(!match);
  CHECK(match.worst == 1);
  std::ostringstream said;
  said << match;
  CHECK(says(said.str(), "worst coordinate 1"));
  g[1] = std::nan("");
  CHECK(!gradient_matches(f, x, g));
  CHECK(!gradient_matches(f, x, std::vector<double>(2)));
}

TEST_CASE("The finite-difference checker's products are those of the Jacobian") {
  const auto f = [](std::span<const double> x) { return std::vector<double>{x[0] * x[1], std::exp(x[0])}; };
  const std::vector<double> x{0.5, 2}, v{1, -3}, dy{2, 0.25};
  CHECK(pushforward_matches(f, x, v, std::vector<double>{2 * 1 - 0.5 * 3, std::exp(0.5)}));
  CHECK(pullback_matches(f, x, dy, std::vector<double>{2 * 2 + 0.25 * std::exp(0.5), 2 * 0.5}));
  CHECK(!pushforward_matches(f, x, v, std::vector<double>{0.5, std::exp(0.5) + 1e-6}));
  CHECK(!pullback_matches(f, x, dy, std::vector<double>{4 + 0.25 * std::exp(0.5), 1 + 1e-6}));
}

TEST_CASE("Allocations are counted, whoever makes them") {
  if (!Allocations::available()) return;
  {
    Allocations allocations;
    CHECK(allocations.count() == 0);
    std::vector<std::unique_ptr<int>> escapes(1);
    escapes[0] = std::make_unique<int>(3);
    keep(escapes.data());
    CHECK(allocations.count() == 2);
  }
  {
    Allocations allocations;
    Eigen::VectorXf v(100);
    v.setZero();
    keep(v.data());
    CHECK(allocations.count() == 1);
  }
  Allocations allocations;
  void* p = std::malloc(10);
  keep(p);
  std::free(p);
  CHECK(allocations.count() == 1);
}
