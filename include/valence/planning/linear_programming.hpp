#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/solution.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// `discount` in [0, 1); `tolerance` > 0 is what `bound` is compared with, `max_iterations` >= 1 the number of pivots
/// at most.
struct LinearProgrammingOptions {
  double discount = 0.99, tolerance = 1e-8;
  std::size_t max_iterations = 1'000'000;
};

/// Both sides of the linear program of a model, at its optimum where `converged`.
template <Scalar S>
struct LinearProgramSolution : Solution<S> {
  /// The dual variables, actions x states: the discounted number of times that `policy` takes a in s, when states are
  /// drawn from the initial distribution first. They are 0 off the policy, and sum to 1 / (1 - discount) where no state
  /// is terminal.
  Matrix<S> occupancy = {};
  /// The reduced costs, actions x states: r(s, a) + discount P v - v(s), at most 0 at the optimum and 0 on the policy.
  /// -infinity for actions that are not available, 0 in terminal states.
  Matrix<S> reduced_cost = {};
  double objective = 0;  ///< sum_s initial(s) v(s), which equals sum_sa occupancy(a, s) r(s, a)
};

namespace detail {

/// The inverse of the basis I - discount P of a policy, dense. Rows of terminal states, and rows not yet set, are those
/// of the identity. All bases on the way are diagonally dominant, so no pivoting is needed.
class PolicyBasis {
 public:
  explicit PolicyBasis(std::ptrdiff_t states)
      : inverse_(states, states), change_(states), row_(states), column_(states) {
    reset();
  }
  void reset() { inverse_.setIdentity(); }

  /// Row s becomes that of action a instead of `old` (-1: that of the identity), in O(states^2) (Sherman and Morrison
  /// 1950).
  template <class M>
  void replace(const M& model, double discount, int s, int old, int a) {
    change_.setZero();
    if (old < 0) change_[s] -= 1;
    if (old >= 0)
      for (const auto& to : model.successors(s, old))
        change_[to.next] += discount * static_cast<double>(to.probability);
    for (const auto& to : model.successors(s, a)) change_[to.next] -= discount * static_cast<double>(to.probability);
    if (old < 0) change_[s] += 1;
    row_.setZero();
    for (std::ptrdiff_t t = 0; t < change_.size(); ++t)
      if (change_[t] != 0) row_ += change_[t] * inverse_.row(t).transpose();
    column_ = inverse_.col(s) / (1 + row_[s]);
    for (std::ptrdiff_t t = 0; t < row_.size(); ++t) inverse_.col(t) -= row_[t] * column_;
  }
  /// v with (I - discount P) v = r.
  void solve(const Vector<double>& r, Vector<double>& v) const {
    v.setZero();
    for (std::ptrdiff_t t = 0; t < r.size(); ++t) v += r[t] * inverse_.col(t);
  }
  /// x with (I - discount P)^T x = d.
  void solve_transposed(const Vector<double>& d, Vector<double>& x) const {
    for (std::ptrdiff_t t = 0; t < d.size(); ++t) x[t] = inverse_.col(t).dot(d);
  }

 private:
  Matrix<double> inverse_;
  Vector<double> change_, row_, column_;
};

}  // namespace detail

/// The linear program of a model (d'Epenoux 1963; Puterman 1994, section 6.9): minimise sum_s initial(s) v(s) such that
/// v(s) >= r(s, a) + discount sum_s' P(s' | s, a) v(s') for all pairs; and its dual, maximise sum_sa x(s, a) r(s, a)
/// over the occupancies x. Solved by the simplex method on the dual with Dantzig's rule, whose bases are policies: each
/// pivot switches the one action of largest reduced cost (the first of equals). It takes at most O(states x actions /
/// (1 - discount) x log(states / (1 - discount))) pivots (Ye 2011, theorem 1).
///
/// Initial is the model's own distribution, or the uniform one where it has none. `iterations` counts pivots,
/// `residual` is the largest |T v - v|, `bound` = residual / (1 - discount). The inverse of the basis is dense:
/// states^2 doubles of memory, and O(states^2) work a pivot, O(states^3) to begin and to end. Everything is computed in
/// double.
///
/// Stops early, with `converged` false, at `max_iterations` and where `progress` returns false. Throws `Error` for
/// options out of range.
template <FiniteModel M>
LinearProgramSolution<typename M::Scalar> linear_programming(const M& model,
                                                             const LinearProgrammingOptions& options = {},
                                                             Progress progress = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "linear_programming";
  check_range(where, "discount", options.discount, 0, 1);
  if (options.discount == 1) fail(where, "discount is 1; expected less (shortest_path solves what ends)");
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);

  const detail::Stopwatch watch;
  const std::ptrdiff_t n = model.states();
  const double g = options.discount;
  LinearProgramSolution<S> result;
  std::vector<int>& policy = result.policy;
  policy.assign(static_cast<std::size_t>(n), -1);
  Vector<double> initial = Vector<double>::Constant(n, 1 / static_cast<double>(n)), r = Vector<double>::Zero(n), v(n),
                 x(n);
  for (std::size_t s = 0; s < model.initial().size(); ++s)
    initial[static_cast<std::ptrdiff_t>(s)] = static_cast<double>(model.initial()[s]);

  detail::PolicyBasis basis(n);
  const auto at = [&policy](int s) -> int& { return policy[static_cast<std::size_t>(s)]; };
  const auto refactor = [&] {
    basis.reset();
    for (int s = 0; s < model.states(); ++s)
      if (!model.terminal(s)) basis.replace(model, g, s, -1, at(s));
  };
  const auto reduced = [&](int s, int a) {
    double q = 0;
    for (const auto& to : model.successors(s, a)) q += static_cast<double>(to.probability) * v[to.next];
    return static_cast<double>(model.reward(s, a)) + g * q - v[s];
  };
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; !model.terminal(s) && a < model.actions(); ++a)
      if (model.available(s, a) && (at(s) < 0 || model.reward(s, a) > model.reward(s, at(s)))) at(s) = a;
  for (int s = 0; s < model.states(); ++s)
    if (!model.terminal(s)) r[s] = static_cast<double>(model.reward(s, at(s)));
  refactor();

  std::size_t fresh = 0;  // pivots when the basis was last computed from nothing
  for (bool stop = false;;) {
    basis.solve(r, v);
    if (!v.allFinite()) fail(where, "a value overflowed; expected smaller rewards or a smaller discount");
    double largest = 0, error = 0;
    int state = -1, action = -1;
    for (int s = 0; s < model.states(); ++s)
      for (int a = 0; !model.terminal(s) && a < model.actions(); ++a) {
        if (!model.available(s, a)) continue;
        const double gain = reduced(s, a);
        if (a == at(s))
          error = (std::max)(error, std::abs(gain));
        else if (gain > largest)
          largest = gain, state = s, action = a;
      }
    result.residual = (std::max)(error, largest);
    result.bound = result.residual / (1 - g);
    // On the policy gains are 0; what rounding makes of them is what others can't be told from.
    const double rounding = 2 * error / (1 - g) + 16 * std::numeric_limits<double>::epsilon() * v.cwiseAbs().maxCoeff();
    const bool optimal = result.bound <= options.tolerance || largest <= rounding;
    stop = !progress({.step = result.iterations,
                      .total = options.max_iterations,
                      .task = "linear programming",
                      .metric = "reduced cost",
                      .value = largest}) ||
           stop || result.iterations >= options.max_iterations;
    const bool done = optimal || stop;
    if (done && fresh == result.iterations) break;
    if (!done) {
      basis.replace(model, g, state, at(state), action);
      at(state) = action;
      r[state] = static_cast<double>(model.reward(state, action));
      ++result.iterations;
    }
    if (done || result.iterations - fresh >= static_cast<std::size_t>(n)) refactor(), fresh = result.iterations;
  }
  result.converged = result.bound <= options.tolerance;
  basis.solve_transposed(initial, x);
  result.value = v.cast<S>();
  result.occupancy = Matrix<S>::Zero(model.actions(), n);
  result.reduced_cost = Matrix<S>::Zero(model.actions(), n);
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) continue;
    result.occupancy(at(s), s) = static_cast<S>(x[s]);
    for (int a = 0; a < model.actions(); ++a)
      result.reduced_cost(a, s) =
          model.available(s, a) ? static_cast<S>(reduced(s, a)) : -std::numeric_limits<S>::infinity();
  }
  result.objective = initial.dot(v);
  result.seconds = watch.seconds();
  return result;
}

}  // namespace valence
