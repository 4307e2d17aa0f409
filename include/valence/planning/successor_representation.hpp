#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>

#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/symmetric_eigen.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/policy_evaluation.hpp"

/// What a policy's process says about states alone, without rewards: where it leads, and which functions of the state
/// change slowly along it. Policies as for `policy_process`.
namespace valence {

/// Equal chances for all actions that are available: actions x states, columns of terminal states 0.
template <FiniteModel M>
Matrix<typename M::Scalar> uniform_policy(const M& model) {
  using S = typename M::Scalar;
  Matrix<S> policy = Matrix<S>::Zero(model.actions(), model.states());
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) continue;
    for (int a = 0; a < model.actions(); ++a) policy(a, s) = model.available(s, a) ? S(1) : S(0);
    policy.col(s) /= policy.col(s).sum();
  }
  return policy;
}

namespace detail {

/// P of a process, states x states; rows of terminal states are 0.
template <class S>
Matrix<S> transition_matrix(const FiniteMdp<S>& process) {
  Matrix<S> p = Matrix<S>::Zero(process.states(), process.states());
  for (int s = 0; s < process.states(); ++s)
    for (const auto& to : process.successors(s, 0)) p(s, to.next) += to.probability;
  return p;
}

}  // namespace detail

/// The successor representation (Dayan 1993), (I - discount P)^-1 of a policy's process: entry (s, s') is the expected
/// discounted number of visits of s' from s, the start counted; states x states. Rows sum to 1 / (1 - discount) where
/// nothing is terminal; a terminal state is visited once, and values are its product with rewards of states. A dense
/// solve, O(states^3). `discount` in [0, 1). Throws `Error` for another discount and a policy that doesn't fit.
template <FiniteModel M, class Policy>
Matrix<typename M::Scalar> successor_representation(const M& model, const Policy& policy, double discount) {
  using S = typename M::Scalar;
  constexpr auto where = "successor_representation";
  check_range(where, "discount", discount, 0, 1);
  if (discount == 1) fail(where, "discount is 1; expected a number below it");
  const std::ptrdiff_t n = model.states();
  const Lu<S> lu(Matrix<S>(Matrix<S>::Identity(n, n) -
                           static_cast<S>(discount) * detail::transition_matrix(policy_process(model, policy))),
                 {}, where);
  Matrix<S> result = Matrix<S>::Identity(n, n);
  for (std::ptrdiff_t j = 0; j < n; ++j) {
    const std::span<S> column(result.data() + j * n, static_cast<std::size_t>(n));
    lu.solve(column, column);
  }
  return result;
}

/// Orthonormal functions of the states, those that matter most first.
template <Scalar S>
struct StateFunctions {
  Vector<S> values = {};     ///< an entry a function, decreasing: eigenvalues, or singular values
  Matrix<S> functions = {};  ///< count x states, a function a row
};

namespace detail {

/// The `count` largest eigenvalues, the largest first.
template <class S>
StateFunctions<S> leading(const SymmetricEigen<S>& eigen, int count) {
  return {eigen.values.tail(count).reverse(), eigen.vectors.rightCols(count).rowwise().reverse().transpose()};
}

}  // namespace detail

/// Proto-value functions (Mahadevan & Maggioni 2007): the eigenvectors of the policy's P with the `count` largest
/// eigenvalues (`values`), which are those of its Laplacian I - P with the smallest. For a symmetric P, as that of a
/// random walk on an undirected graph, they are the leading singular vectors of the successor representation, with
/// values 1 / (1 - discount lambda). Throws `Error` for a count outside of [1, states], a policy that doesn't fit, and
/// where P isn't symmetric (to 1e-9): the `singular_functions` of the successor representation take their place there.
template <FiniteModel M, class Policy>
StateFunctions<typename M::Scalar> proto_value_functions(const M& model, const Policy& policy, int count) {
  using S = typename M::Scalar;
  constexpr auto where = "proto_value_functions";
  check_range(where, "count", count, 1, model.states());
  const Matrix<S> p = detail::transition_matrix(policy_process(model, policy));
  for (std::ptrdiff_t j = 0; j < p.cols(); ++j)
    for (std::ptrdiff_t i = 0; i < j; ++i)
      if (!(std::abs(p(i, j) - p(j, i)) <= S(1e-9)))
        fail(where,
             "the policy leads from state {0} to {1} with probability {2} and back with {3}; expected a symmetric "
             "process (for others: singular_functions of the successor representation)",
             i, j, p(i, j), p(j, i));
  return detail::leading(symmetric_eigen(p, where), count);
}

/// The left singular vectors of a matrix, states x anything, with the `count` largest singular values (`values`): of a
/// successor representation, or of one times the cumulants of tasks, which is what the best features of those tasks
/// span (Eckart & Young 1936). By the eigenvectors of A A': a value is right to rounding of the largest one squared,
/// divided by it. Throws `Error` for a count outside of [1, states] and numbers that aren't finite.
template <Scalar S>
StateFunctions<S> singular_functions(const Matrix<S>& a, int count) {
  constexpr auto where = "singular_functions";
  check_range(where, "count", count, 1, static_cast<int>(a.rows()));
  check_finite(where, "the matrix", view(a));
  StateFunctions<S> result = detail::leading(symmetric_eigen(Matrix<S>(a * a.transpose()), where), count);
  result.values = result.values.cwiseMax(S(0)).cwiseSqrt();
  return result;
}

}  // namespace valence
