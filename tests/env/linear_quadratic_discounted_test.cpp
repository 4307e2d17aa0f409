// Golden numbers of the discounted Riccati equation, as the value-gradient weighted model's program solves it.
#include <cstddef>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/env/linear_quadratic.hpp"

using namespace valence;

namespace {

using valence::test::close;

LinearQuadratic pushed_mass() {
  Matrix<double> a(2, 2), b(2, 1), q(2, 2);
  a << 1, 0.1, 0, 0.95;
  b << 0, 0.1;
  q << 1, 0, 0, 0;
  return {a, b, q, Matrix<double>::Constant(1, 1, 0.05)};
}

}  // namespace

TEST_CASE("linear-quadratic: cost x0^2 + 0.05 u^2 at discount 0.98") {
  // By iterating the Riccati equation in NumPy.
  const auto solution = solve_linear_quadratic(pushed_mass(), {.discount = 0.98});
  REQUIRE(solution.converged);
  CHECK(solution.cost(0, 0) == close(7.297566455238116, 1e-9));
  CHECK(solution.cost(0, 1) == close(2.3736813671755037, 1e-9));
  CHECK(solution.cost(1, 1) == close(1.3632534435382697, 1e-9));
  CHECK(solution.gain(0, 0) == close(3.6714204671407193, 1e-9));
  CHECK(solution.gain(0, 1) == close(2.3702848570900974, 1e-9));
}

TEST_CASE("linear-quadratic: k doublings are a horizon of 2^k steps") {
  const auto system = pushed_mass();
  Matrix<double> p = system.q();
  std::size_t steps = 1;
  for (std::size_t doublings = 0; doublings <= 6; ++doublings) {
    for (; steps < (std::size_t{1} << doublings); ++steps) {
      const Matrix<double> bp = 0.98 * system.b().transpose() * p;
      const Matrix<double> gain = (bp * system.a()) / (0.05 + (bp * system.b())(0, 0));
      p = system.q() + 0.98 * system.a().transpose() * p * system.a() -
          0.98 * system.a().transpose() * p * system.b() * gain;
    }
    const auto solution = solve_linear_quadratic(system, {.discount = 0.98, .max_iterations = doublings});
    CHECK((solution.cost - p).cwiseAbs().maxCoeff() <= 1e-12);
  }
}
