// The linear-quadratic regulator and its exact solution.
#include <cmath>
#include <initializer_list>
#include <limits>
#include <utility>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/env/linear_quadratic.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/mdp/concepts.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

static_assert(Environment<LinearQuadratic> && SingleReward<LinearQuadratic>);

namespace {

using valence::test::close;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

Matrix<double> rows(std::initializer_list<std::initializer_list<double>> numbers) {
  Matrix<double> m(static_cast<Eigen::Index>(numbers.size()), static_cast<Eigen::Index>(numbers.begin()->size()));
  Eigen::Index i = 0;
  for (const auto& row : numbers) {
    Eigen::Index j = 0;
    for (const double x : row) m(i, j++) = x;
    ++i;
  }
  return m;
}
void same(const Matrix<double>& seen, const Matrix<double>& expected, double absolute) {
  REQUIRE(seen.rows() == expected.rows());
  REQUIRE(seen.cols() == expected.cols());
  for (Eigen::Index j = 0; j < seen.cols(); ++j)
    for (Eigen::Index i = 0; i < seen.rows(); ++i) CHECK(seen(i, j) == close(expected(i, j), 0, absolute));
}
LinearQuadratic coupled(const LinearQuadraticOptions& options = {}) {
  return {rows({{1.1, .2}, {-.3, .8}}), rows({{1, .5}, {.2, -.4}}), rows({{1, .3}, {.3, .5}}),
          rows({{.7, .1}, {.1, .4}}), options};
}

}  // namespace

TEST_CASE("Linear-quadratic: the Riccati equation and the cost of a policy") {
  // Expected: plain iteration of the equation in forty decimal digits, apart.
  const auto mass = solve_linear_quadratic(LinearQuadratic::double_integrator(.1, {.noise = .3}));
  REQUIRE(mass.converged);
  CHECK(mass.iterations < 15);  // quadratic; plain iteration takes 400
  same(mass.gain, rows({{0.842656321224565, 1.546324002929700}}), 1e-13);
  same(mass.cost, rows({{16.421179982040066, 9.197622211347657}, {9.197622211347657, 16.923121139864385}}), 1e-12);
  CHECK(mass.offset == close(297.097722996168670, 1e-13));

  const auto best = solve_linear_quadratic(coupled({.noise = .3}), {.discount = .95});
  REQUIRE(best.converged);
  same(best.gain, rows({{0.514953061074746, 0.411587755808106}, {0.479550174234651, -0.395915301500858}}), 1e-14);
  same(best.cost, rows({{1.489932843735345, 0.322245902550727}, {0.322245902550727, 0.916734267388654}}), 1e-14);
  CHECK(best.offset == close(4.115400760022039, 1e-13));
  const auto undiscounted = solve_linear_quadratic(coupled(), {.discount = 1});
  REQUIRE(undiscounted.converged);
  same(undiscounted.gain, rows({{0.520626337494274, 0.424136013489551}, {0.497134993542501, -0.422187316616896}}),
       1e-14);
  same(undiscounted.cost, rows({{1.501161419061225, 0.316192578803262}, {0.316192578803262, 0.936710633122417}}),
       1e-14);
  CHECK(undiscounted.offset == 0);

  const Matrix<double> gain = rows({{.4, -.1}, {.2, .3}});
  const auto other = evaluate_linear_quadratic(coupled(), gain, {.discount = .95});
  REQUIRE(other.converged);
  same(other.cost, rows({{2.363962726483494, -0.494889997466597}, {-0.494889997466597, 2.833159004591377}}), 1e-14);
  const auto again = evaluate_linear_quadratic(coupled({.noise = .3}), best.gain, {.discount = .95});
  same(again.cost, best.cost, 1e-14);
  CHECK(again.offset == close(best.offset, 1e-13));

  // No policy can hold what it can't push; without a push the first coordinate doubles.
  const LinearQuadratic lost{rows({{2, 0}, {0, 1}}), rows({{0}, {1}}), rows({{1, 0}, {0, 1}}), rows({{1}})};
  CHECK(!solve_linear_quadratic(lost).converged);
  CHECK(solve_linear_quadratic(lost, {.discount = .2}).converged);
  CHECK(!evaluate_linear_quadratic(coupled(), rows({{-3, 0}, {0, 0}})).converged);
}

TEST_CASE("Linear-quadratic: what is played is worth what was solved") {
  const LinearQuadratic quiet = coupled();
  const auto best = solve_linear_quadratic(quiet, {.discount = .95});
  Rng rng{5};
  Vector<double> x(2), u(2);
  x << 1.5, -.7;
  for (int k = 0; k < 20; ++k) {  // V(x) = max_u r + discount V(x')
    LinearQuadratic env = quiet;
    env.set_state(x);
    u = -best.gain * x;
    if (k > 0) u[k % 2] += .1 * k;
    const auto step = env.step(u, rng);
    CHECK((!step.terminated && !step.truncated));
    const double q = step.reward + .95 * best.value(step.next);
    if (k == 0)
      CHECK(q == close(best.value(x), 1e-13));
    else
      CHECK(q < best.value(x));
  }
  // With noise, over several seeds: 400 episodes of 200 steps each (.95^200 is 4e-5).
  const auto noisy = solve_linear_quadratic(coupled({.noise = .3}), {.discount = .95});
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    Rng stream{seed};
    LinearQuadratic env = coupled({.noise = .3});
    RunningMoments returns;
    for (int episode = 0; episode < 400; ++episode) {
      env.reset(stream);
      env.set_state(x);
      double sum = 0, weight = 1;
      for (int t = 0; t < 200; ++t, weight *= .95) {
        u = -noisy.gain * env.state();
        sum += weight * env.step(u, stream).reward;
      }
      returns.add(sum);
    }
    CHECK(std::abs(returns.mean() - noisy.value(x)) < 4.5 * returns.standard_error());
  }
  for (const LinearQuadratic& env : {coupled({.noise = .1}), LinearQuadratic::double_integrator()}) {
    const EnvironmentReport report = check_environment(TimeLimit{env, 100}, rng);
    for (const auto& problem : report.problems) UNSCOPED_INFO(problem);
    CHECK(report.good());
  }
}

TEST_CASE("Linear-quadratic: bad input") {
  const Matrix<double> one = rows({{1}}), two = Matrix<double>::Identity(2, 2), b = rows({{1}, {0}});
  const auto error = [&](const Matrix<double>& a, const Matrix<double>& c, const Matrix<double>& q,
                         const Matrix<double>& r, const LinearQuadraticOptions& options = {}) {
    return message_of([&] { LinearQuadratic(a, c, q, r, options); });
  };
  CHECK(says(error(b, b, two, one), "a is 2 x 1", "2 x 2"));
  CHECK(says(error(two, one, two, one), "b is 1 x 1", "2 x 1"));
  CHECK(says(error(two, b, one, one), "q is 1 x 1"));
  CHECK(says(error(two, b, two, two), "r is 2 x 2"));
  CHECK(says(error(two, b, rows({{1, .5}, {.4, 1}}), one), "q(0, 1) is 0.5", "symmetric"));
  CHECK(says(error(two, b, rows({{1, 2}, {2, 1}}), one), "positive definite"));
  CHECK(says(error(two, b, two, rows({{0}})), "positive definite"));
  CHECK(says(error(rows({{not_a_number}}), one, one, one), "a[0]", "nan"));
  CHECK(says(error(one, one, one, one, {.noise = -1}), "noise is -1"));
  CHECK_NOTHROW(LinearQuadratic(two, b, rows({{1, 1}, {1, 1}}), one));  // semidefinite is enough
  CHECK_NOTHROW(LinearQuadratic(two, b, rows({{0, 0}, {0, 0}}), one));

  Rng rng{1};
  LinearQuadratic env = LinearQuadratic::double_integrator();
  CHECK(says(message_of([&] { env.step(Vector<double>::Zero(1), rng); }), "reset"));
  env.reset(rng);
  CHECK(says(message_of([&] { env.step(Vector<double>::Zero(2), rng); }), "action has 2 entries", "1"));
  CHECK(says(message_of([&] { env.step(Vector<double>::Constant(1, not_a_number), rng); }), "action[0] is nan"));
  CHECK(says(message_of([&] { solve_linear_quadratic(env, {.discount = 1.5}); }), "discount"));
  const auto noisy = LinearQuadratic::double_integrator(.1, {.noise = 1});
  CHECK(says(message_of([&] { solve_linear_quadratic(noisy, {.discount = 1}); }), "noise"));
  LinearQuadratic explodes{rows({{1e100}}), one, one, one};
  explodes.reset(rng);
  CHECK(says(message_of([&] {
               for (int t = 0; t < 5; ++t) explodes.step(Vector<double>::Ones(1), rng);
             }),
             "inf"));
}
