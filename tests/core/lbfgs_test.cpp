#include "valence/core/lbfgs.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/types.hpp"

using valence::Lbfgs;
using valence::minimize;
using valence::Minimum;

namespace {

using valence::test::close;
using valence::test::message_of;
using valence::test::says;

using In = std::span<const double>;
using Out = std::span<double>;

/// sum_i c_i (x_i - m_i)^2 / 2 with c_i from 1 to 1e4.
struct Bowl {
  std::vector<double> middle;
  double operator()(In x, Out g) const {
    double value = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double c = std::pow(1e4, static_cast<double>(i) / static_cast<double>(x.size() - 1));
      g[i] = c * (x[i] - middle[i]);
      value += g[i] * (x[i] - middle[i]) / 2;
    }
    return value;
  }
};

double rosenbrock(In x, Out g) {
  const double a = 1 - x[0], b = x[1] - x[0] * x[0];
  g[0] = -2 * a - 400 * x[0] * b;
  g[1] = 200 * b;
  return a * a + 100 * b * b;
}

}  // namespace

TEST_CASE("L-BFGS finds the minimum of a badly scaled bowl and of Rosenbrock's valley", "[lbfgs]") {
  Bowl bowl{{3, -1, 4, -1, 5, -9, 2, 6}};
  std::vector<double> x(8, 0.0);
  const Minimum m = minimize(bowl, x);
  CHECK(m.converged);
  CHECK(m.gradient <= 1e-8);
  CHECK(m.at_bound == 0);
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(x[i] == close(bowl.middle[i], 1e-8));

  std::vector<double> y{-1.2, 1};
  const Minimum r = minimize(rosenbrock, y);
  CHECK(r.converged);
  CHECK(r.iterations < 60);
  CHECK(y[0] == close(1, 1e-7));
  CHECK(y[1] == close(1, 1e-7));
}

TEST_CASE("a step of L-BFGS never raises the value", "[lbfgs]") {
  std::vector<double> y{-1.2, 1};
  double before = std::numeric_limits<double>::infinity();
  for (std::size_t n = 1; n < 30; ++n) {
    y = {-1.2, 1};
    const Minimum m = minimize(rosenbrock, y, {.max_iterations = n});
    CHECK(m.iterations <= n);
    CHECK(m.value <= before);
    before = m.value;
  }
}

TEST_CASE("the box holds what would leave it, and the rest is minimised under it", "[lbfgs]") {
  Bowl bowl{{3, -1, 4, -1, 5, -9, 2, 6}};
  std::vector<double> x(8, 0.5);
  const Minimum m = minimize(bowl, x, {.box = 2.5});
  CHECK(m.converged);
  CHECK(m.at_bound == 5);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double inside = std::fmax(-2.5, std::fmin(2.5, bowl.middle[i]));
    CHECK(x[i] == close(inside, 1e-8));
  }
  // f = (x + 2 y - 4)^2 + (x - y - 1)^2 / 100 is least at (2, 1). Clipping that to |x| <= 1.5 would leave y at 1; under
  // the bound it is 10.01 / 8.02.
  const auto coupled = [](In p, Out g) {
    const double a = p[0] + 2 * p[1] - 4, b = p[0] - p[1] - 1;
    g[0] = 2 * a + b / 50;
    g[1] = 4 * a - b / 50;
    return a * a + b * b / 100;
  };
  std::vector<double> p{0, 0};
  const Minimum c = minimize(coupled, p, {.box = 1.5});
  CHECK(c.converged);
  CHECK(c.at_bound == 1);
  CHECK(p[0] == 1.5);
  CHECK(p[1] == close(10.01 / 8.02, 1e-9));
}

TEST_CASE("a function without a minimum runs to the box and says so", "[lbfgs]") {
  const auto slide = [](In x, Out g) {
    g[0] = -1, g[1] = 2 * x[1];
    return -x[0] + x[1] * x[1];
  };
  std::vector<double> x{0, 1};
  const Minimum m = minimize(slide, x, {.box = 50});
  CHECK(m.at_bound == 1);
  CHECK(x[0] == 50);
  CHECK(x[1] == close(0, 0, 1e-8));
  CHECK(m.converged);
}

TEST_CASE("a function with kinks is minimised to its kink", "[lbfgs]") {
  const auto kinked = [](In x, Out g) {
    g[0] = x[0] > 1 ? 1 : -1, g[1] = x[1] > x[0] ? 3 : -3;
    if (x[1] > x[0]) {
      g[0] -= 3;
    } else {
      g[0] += 3;
    }
    return std::abs(x[0] - 1) + 3 * std::abs(x[1] - x[0]);
  };
  std::vector<double> x{-3, 7};
  const Minimum m = minimize(kinked, x);
  CHECK_FALSE(m.converged);
  CHECK(m.value < 1e-6);
}

TEST_CASE("where the objective isn't defined, a step is shortened", "[lbfgs]") {
  const auto barrier = [](In x, Out g) {  // x - log x: infinite for x <= 0
    g[0] = 1 - 1 / x[0];
    return x[0] > 0 ? x[0] - std::log(x[0]) : std::numeric_limits<double>::infinity();
  };
  std::vector<double> x{1e-3};
  CHECK(minimize(barrier, x).converged);
  CHECK(x[0] == close(1, 1e-7));
}

TEST_CASE("L-BFGS allocates at its start alone", "[lbfgs]") {
  const auto allocated = [](std::size_t iterations) {
    std::vector<double> y{-1.2, 1};
    const valence::test::Allocations allocations;
    minimize(rosenbrock, y, {.max_iterations = iterations});
    return allocations.count();
  };
  CHECK(allocated(1) == allocated(30));
}

TEST_CASE("minimize refuses bad input before anything changes", "[lbfgs]") {
  std::vector<double> x{1, 2};
  const auto message = [&](const Lbfgs& options) { return message_of([&] { minimize(rosenbrock, x, options); }); };
  CHECK(says(message({.memory = 0}), "memory is 0"));
  CHECK(says(message({.tolerance = -1}), "tolerance is -1"));
  CHECK(says(message({.max_iterations = 0}), "max_iterations is 0"));
  CHECK(says(message({.box = 0}), "box is 0"));
  CHECK(says(message({.box = std::nan("")}), "box is nan"));
  CHECK(says(message({.box = 1.5}), "x[1] is 2"));
  CHECK(x == std::vector<double>{1, 2});
  std::vector<double> bad{1, std::nan("")}, none;
  CHECK(says(message_of([&] { minimize(rosenbrock, bad); }), "x[1] is nan"));
  CHECK(says(message_of([&] { minimize(rosenbrock, none); }), "x is empty"));
  const auto infinite = [](In, Out g) {
    g[0] = g[1] = 0;
    return std::numeric_limits<double>::infinity();
  };
  CHECK(says(message_of([&] { minimize(infinite, x); }), "at the start"));
}
