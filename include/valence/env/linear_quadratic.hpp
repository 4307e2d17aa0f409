#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

struct LinearQuadraticOptions {
  double noise = 0;              ///< standard deviation of each coordinate's disturbance, >= 0
  double initial_deviation = 1;  ///< of each coordinate of the first state, about 0; >= 0
  double action_bound = 10;      ///< random actions are drawn from [-bound, bound]; the dynamics take any
};

/// The linear-quadratic regulator: x' = A x + B u + noise, reward -(x' Q x + u' R u) of the state and action it is paid
/// for, no end. The one continuous problem whose optimum is known (`solve_linear_quadratic`), so the yardstick of
/// methods for continuous actions. Source: Bertsekas (2005), "Dynamic programming and optimal control", section 4.1.
class LinearQuadratic {
 public:
  using State = Vector<double>;   ///< x: an entry a row of A
  using Action = Vector<double>;  ///< u: an entry a column of B

  /// `a`: n x n; `b`: n x m; `q`: n x n, symmetric, positive semidefinite; `r`: m x m, symmetric, positive definite.
  /// Throws `Error` for other shapes, numbers that aren't finite, and costs that aren't so.
  LinearQuadratic(Matrix<double> a, Matrix<double> b, Matrix<double> q, Matrix<double> r,
                  const LinearQuadraticOptions& options = {})
      : a_(std::move(a)), b_(std::move(b)), q_(std::move(q)), r_(std::move(r)), options_(options) {
    constexpr auto where = "LinearQuadratic";
    check_positive(where, "the number of rows of a", a_.rows());
    check_positive(where, "the number of columns of b", b_.cols());
    check_shape(where, "a", a_.rows(), a_.cols(), a_.rows(), a_.rows());
    check_shape(where, "b", b_.rows(), b_.cols(), a_.rows(), b_.cols());
    check_shape(where, "q", q_.rows(), q_.cols(), a_.rows(), a_.rows());
    check_shape(where, "r", r_.rows(), r_.cols(), b_.cols(), b_.cols());
    check_finite(where, "a", view(std::as_const(a_)));
    check_finite(where, "b", view(std::as_const(b_)));
    check_cost(where, "q", q_, false);
    check_cost(where, "r", r_, true);
    constexpr double largest = (std::numeric_limits<double>::max)();
    check_range(where, "noise", options.noise, 0, largest);
    check_range(where, "initial_deviation", options.initial_deviation, 0, largest);
    check_positive(where, "action_bound", options.action_bound);
    x_ = State::Zero(a_.rows());
  }
  /// A mass on a line that is pushed: position and speed, steps of `dt`, cost position^2 + speed^2 + force^2.
  static LinearQuadratic double_integrator(double dt = 0.1, const LinearQuadraticOptions& options = {}) {
    Matrix<double> a(2, 2), b(2, 1);
    a << 1, dt, 0, 1;
    b << dt * dt / 2, dt;
    return {std::move(a), std::move(b), Matrix<double>::Identity(2, 2), Matrix<double>::Identity(1, 1), options};
  }

  /// One output a coordinate.
  const State& reset(Rng& rng) {
    rng.fill_normal(view(x_));
    x_ *= options_.initial_deviation;
    begun_ = true;
    return x_;
  }
  /// Throws `Error` before the first reset, for an action of another size or that isn't finite, and where an unstable
  /// system has left the range of numbers. One output a coordinate if there is noise.
  Step<State> step(const Action& u, Rng& rng) {
    constexpr auto where = "LinearQuadratic::step";
    if (!begun_) fail(where, "there is no episode; call reset first");
    check_size(where, "action", static_cast<std::size_t>(u.size()), static_cast<std::size_t>(b_.cols()));
    check_finite(where, "action", view(u));
    const double reward = -(x_.dot(q_.lazyProduct(x_)) + u.dot(r_.lazyProduct(u)));
    State next = a_.lazyProduct(x_) + b_.lazyProduct(u);
    if (options_.noise > 0)
      for (double& x : view(next)) x += options_.noise * rng.normal();
    check_finite(where, "the next state", view(std::as_const(next)));
    check_finite(where, "the reward", reward);
    x_ = next;
    return {.next = std::move(next), .reward = reward};
  }

  Box<Action> actions() const {
    return {Action::Constant(b_.cols(), -options_.action_bound), Action::Constant(b_.cols(), options_.action_bound)};
  }
  /// All of space.
  Box<State> states() const {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    return {State::Constant(a_.rows(), -infinity), State::Constant(a_.rows(), infinity)};
  }

  const State& state() const { return x_; }
  /// The episode goes on from there. Throws `Error` for another size and numbers that aren't finite.
  void set_state(const State& x) {
    check_size("LinearQuadratic::set_state", "state", static_cast<std::size_t>(x.size()),
               static_cast<std::size_t>(a_.rows()));
    check_finite("LinearQuadratic::set_state", "state", view(x));
    x_ = x;
    begun_ = true;
  }
  const Matrix<double>& a() const { return a_; }
  const Matrix<double>& b() const { return b_; }
  const Matrix<double>& q() const { return q_; }
  const Matrix<double>& r() const { return r_; }
  const LinearQuadraticOptions& options() const { return options_; }

  template <class A>
  void archive(A& ar) {
    ar(a_, b_, q_, r_, options_.noise, options_.initial_deviation, options_.action_bound, x_, begun_);
  }

 private:
  static void check_cost(std::string_view where, std::string_view name, const Matrix<double>& cost, bool definite) {
    check_finite(where, name, view(cost));
    const double size = cost.cwiseAbs().maxCoeff();
    for (Eigen::Index j = 0; j < cost.cols(); ++j)
      for (Eigen::Index i = 0; i < j; ++i)
        if (!(std::abs(cost(i, j) - cost(j, i)) <= 1e-12 * size))
          fail(where, "{}({}, {}) is {} and {}({}, {}) is {}; expected a symmetric matrix", name, i, j, cost(i, j),
               name, j, i, cost(j, i));
    if (!definite && size == 0) return;
    Matrix<double> shifted = cost;  // a semidefinite one becomes definite by more than rounding
    if (!definite) shifted.diagonal().array() += 1e-10 * size;
    const Cholesky factor{std::move(shifted), where};
  }

  Matrix<double> a_, b_, q_, r_;
  LinearQuadraticOptions options_;
  State x_ = {};
  bool begun_ = false;
};

/// `discount` in (0, 1]; 1 only without noise, which would cost without end. `tolerance` > 0 is of the largest residual
/// of the matrix equation, relative to the largest entry of the cost. Each iteration doubles the horizon, so 60 are as
/// good as any number.
struct LinearQuadraticSolverOptions {
  double discount = 0.99;
  double tolerance = 1e-10;
  std::size_t max_iterations = 60;
};

/// What a linear policy is worth: u = -gain x earns -(x' cost x + offset) from x on.
struct LinearQuadraticSolution {
  Matrix<double> gain = {};    ///< m x n
  Matrix<double> cost = {};    ///< n x n, symmetric, positive semidefinite
  double offset = 0;           ///< what the noise costs: discount noise^2 trace(cost) / (1 - discount)
  std::size_t iterations = 0;  ///< doublings
  double residual = 0;         ///< largest error of the matrix equation, relative to the largest entry of the cost
  bool converged = false;      ///< `residual` is at most the tolerance; false: no policy (or not this one) is stable

  /// The value of a state: -(x' cost x + offset).
  double value(const Vector<double>& x) const { return -(x.dot(cost.lazyProduct(x)) + offset); }
};

namespace detail {

/// Column by column: factor x = b.
template <class Factor>
Matrix<double> solve_columns(const Factor& factor, Matrix<double> b) {
  const auto rows = static_cast<std::size_t>(b.rows());
  for (Eigen::Index j = 0; j < b.cols(); ++j) {
    const std::span<double> column(b.col(j).data(), rows);
    factor.solve(std::span<const double>(column), column);
  }
  return b;
}

// Templates only so that a file that includes this and solves nothing doesn't compile Eigen's products (6 s of them).
template <std::same_as<LinearQuadratic> System>
void check_solver(std::string_view where, const System& system, const LinearQuadraticSolverOptions& options) {
  check_positive(where, "discount", options.discount);
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "tolerance", options.tolerance);
  if (options.discount == 1 && system.options().noise > 0)
    fail(where, "discount is 1 and noise is {}; expected a discount below 1, or no noise", system.options().noise);
}

/// P = Q + K' R K + discount (A - B K)' P (A - B K): the right side.
template <std::same_as<LinearQuadratic> System>
Matrix<double> policy_cost_once(const System& s, const Matrix<double>& gain, const Matrix<double>& p, double discount) {
  const Matrix<double> closed = s.a() - s.b() * gain;
  return s.q() + gain.transpose() * s.r() * gain + discount * (closed.transpose() * p * closed);
}

/// The gain that is best against the cost `p` of what follows.
template <std::same_as<LinearQuadratic> System>
Matrix<double> best_gain(const System& s, const Matrix<double>& p, double discount) {
  const Matrix<double> bp = discount * (s.b().transpose() * p);
  return solve_columns(Cholesky{Matrix<double>(s.r() + bp * s.b())}, bp * s.a());
}

/// Fills in what follows from gain and cost.
template <std::same_as<LinearQuadratic> System>
void finish(LinearQuadraticSolution& solution, const System& system, const LinearQuadraticSolverOptions& options) {
  const Matrix<double> again = policy_cost_once(system, solution.gain, solution.cost, options.discount);
  const double size = solution.cost.cwiseAbs().maxCoeff(), noise = system.options().noise;
  solution.residual = size > 0 ? (again - solution.cost).cwiseAbs().maxCoeff() / size : again.cwiseAbs().maxCoeff();
  solution.converged = solution.residual <= options.tolerance;  // false for NaN
  if (noise > 0) solution.offset = options.discount * noise * noise * solution.cost.trace() / (1 - options.discount);
}

}  // namespace detail

/// The optimal policy, by the discrete algebraic Riccati equation P = Q + discount A'PA - discount^2 A'PB (R + discount
/// B'PB)^-1 B'PA, which the structure-preserving doubling algorithm solves (Chu, Fan, Lin and Wang 2004): quadratic
/// convergence. Where no policy is stable, `converged` is false.
template <std::same_as<LinearQuadratic> System>
LinearQuadraticSolution solve_linear_quadratic(const System& system, const LinearQuadraticSolverOptions& options = {}) {
  constexpr auto where = "solve_linear_quadratic";
  detail::check_solver(where, system, options);
  const Eigen::Index n = system.a().rows();
  // The discount is taken into A and B: x scaled by discount^(t/2).
  Matrix<double> a = std::sqrt(options.discount) * system.a();
  Matrix<double> g = options.discount *
                     (system.b() * detail::solve_columns(Cholesky{system.r()}, Matrix<double>(system.b().transpose())));
  LinearQuadraticSolution solution{.cost = system.q()};
  Matrix<double>& h = solution.cost;
  for (; solution.iterations < options.max_iterations; ++solution.iterations) {
    const Lu w{Matrix<double>(Matrix<double>::Identity(n, n) + g * h)};
    const Matrix<double> wa = detail::solve_columns(w, a), wg = detail::solve_columns(w, g);
    const Matrix<double> change = a.transpose() * h * wa;
    const Matrix<double> next_g = g + a * wg * a.transpose(), next_a = a * wa, next_h = h + change;
    if (!next_h.allFinite() || !next_g.allFinite() || !next_a.allFinite()) break;
    g = (next_g + next_g.transpose()) / 2, a = next_a, h = (next_h + next_h.transpose()) / 2;
    if (change.cwiseAbs().maxCoeff() <= std::numeric_limits<double>::epsilon() * h.cwiseAbs().maxCoeff()) break;
  }
  solution.gain = detail::best_gain(system, h, options.discount);
  detail::finish(solution, system, options);
  return solution;
}

/// What the policy u = -gain x costs, by Smith's doubling of P = sum_t discount^t ((A - B K)')^t (Q + K' R K) (A - B
/// K)^t (Smith 1968). Where the policy isn't stable, `converged` is false. `gain`: m x n, finite.
template <std::same_as<LinearQuadratic> System>
LinearQuadraticSolution evaluate_linear_quadratic(const System& system, const Matrix<double>& gain,
                                                  const LinearQuadraticSolverOptions& options = {}) {
  constexpr auto where = "evaluate_linear_quadratic";
  detail::check_solver(where, system, options);
  check_shape(where, "gain", gain.rows(), gain.cols(), system.b().cols(), system.a().rows());
  check_finite(where, "gain", view(gain));
  LinearQuadraticSolution solution{.gain = gain, .cost = system.q() + gain.transpose() * system.r() * gain};
  Matrix<double>& p = solution.cost;
  Matrix<double> power = std::sqrt(options.discount) * (system.a() - system.b() * gain);
  for (; solution.iterations < options.max_iterations; ++solution.iterations) {
    const Matrix<double> change = power.transpose() * p * power, square = power * power;
    if (!change.allFinite() || !square.allFinite()) break;
    p += change, power = square;
    if (change.cwiseAbs().maxCoeff() <= std::numeric_limits<double>::epsilon() * p.cwiseAbs().maxCoeff()) break;
  }
  detail::finish(solution, system, options);
  return solution;
}

}  // namespace valence
