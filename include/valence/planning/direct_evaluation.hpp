#pragma once

#include <Eigen/SparseLU>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/policy_evaluation.hpp"
#include "valence/planning/solution.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// `discount` in [0, 1]; `tolerance` > 0 is what `bound` is compared with.
struct DirectEvaluationOptions {
  double discount = 0.99, tolerance = 1e-9;
};

namespace detail {

/// (I - discount P) v = r of a process by a sparse LU decomposition in double, refined once. `bound` also counts the
/// rounding of v to S.
template <class S>
Solution<S> solve_process(std::string_view where, const FiniteMdp<S>& process, double discount) {
  const std::ptrdiff_t n = process.states();
  StateSet ended(static_cast<std::size_t>(n), 0);
  if (discount == 1) ended = check_proper(where, process);
  std::vector<Eigen::Triplet<double, int>> entries;
  entries.reserve(process.transitions() + static_cast<std::size_t>(n));
  Vector<double> r = Vector<double>::Zero(n);
  for (int s = 0; s < process.states(); ++s) {
    entries.emplace_back(s, s, 1.0);
    if (process.terminal(s) || ended[static_cast<std::size_t>(s)]) continue;
    r[s] = static_cast<double>(process.reward(s, 0));
    for (const auto& to : process.successors(s, 0))
      entries.emplace_back(s, to.next, -discount * static_cast<double>(to.probability));
  }
  Eigen::SparseMatrix<double> a(n, n);
  a.setFromTriplets(entries.begin(), entries.end());
  Eigen::SparseLU<Eigen::SparseMatrix<double>> lu(a);
  if (lu.info() != Eigen::Success) fail(where, "the linear system of the policy is singular to working precision");
  Vector<double> v = lu.solve(r), rest = r - a * v;
  v += lu.solve(rest);
  rest = r - a * v;

  Solution<S> result;
  result.iterations = 1;
  result.residual = rest.cwiseAbs().maxCoeff();
  double ahead = 1 / (1 - discount);
  if (discount == 1) {  // the expected number of steps
    Vector<double> ones(n);
    for (std::ptrdiff_t s = 0; s < n; ++s) ones[s] = ended[static_cast<std::size_t>(s)] ? 0.0 : 1.0;
    ahead = Vector<double>(lu.solve(ones)).cwiseAbs().maxCoeff();
  }
  if (!v.allFinite()) fail(where, "a value overflowed; expected smaller rewards or a smaller discount");
  result.value = v.cast<S>();
  result.bound = ahead * result.residual + (v - result.value.template cast<double>()).cwiseAbs().maxCoeff();
  return result;
}

template <class M, class P>
Solution<typename M::Scalar> direct_evaluation_of(const M& model, const P& policy,
                                                  const DirectEvaluationOptions& options) {
  constexpr auto where = "direct_policy_evaluation";
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "tolerance", options.tolerance);
  check_policy(where, model, policy);
  const Stopwatch watch;
  auto result = solve_process(where, process_of(model, policy), options.discount);
  result.converged = result.bound <= options.tolerance;
  result.seconds = watch.seconds();
  return result;
}

}  // namespace detail

/// The value of a deterministic policy by solving (I - discount P) v = r with a sparse LU decomposition (Eigen's, in
/// double whatever the model's numbers are) and one step of iterative refinement. Exact to rounding however close the
/// discount is to 1, with which the policy must be proper as for `policy_evaluation`. Fast where the transitions are
/// local (chains, grids); on random graphs the factors fill up, so beyond some thousand states `policy_evaluation` is
/// the one to use. `residual` is the largest |r + discount P v - v|, `bound` is residual / (1 - discount), or times the
/// expected number of steps at discount 1. Errors as for `policy_evaluation`.
template <FiniteModel M>
Solution<typename M::Scalar> direct_policy_evaluation(const M& model, std::span<const int> policy,
                                                      const DirectEvaluationOptions& options = {}) {
  auto result = detail::direct_evaluation_of(model, policy, options);
  result.policy.assign(policy.begin(), policy.end());
  for (int s = 0; s < model.states(); ++s)
    if (model.terminal(s)) result.policy[static_cast<std::size_t>(s)] = -1;
  return result;
}

/// The same for a stochastic policy, actions x states. The result's `policy` is empty.
template <FiniteModel M>
Solution<typename M::Scalar> direct_policy_evaluation(const M& model, const Matrix<typename M::Scalar>& policy,
                                                      const DirectEvaluationOptions& options = {}) {
  return detail::direct_evaluation_of(model, policy, options);
}

}  // namespace valence
