#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/policy_evaluation.hpp"

namespace valence {

/// A policy's reward a step in the long run, and what starting in a state is worth beyond the reference state, whose
/// bias is 0: gain + bias = r + P bias.
template <Scalar S>
struct GainBias {
  S gain = 0;
  Vector<S> bias = {};  ///< an entry a state
};

/// Gain and bias of a policy, given as for `policy_process`, by one dense solve (Puterman 1994, section 8.2.3):
/// O(states ^3), exact to rounding however slowly the process mixes. Throws `Error` for a reference that is no state,
/// for a policy that doesn't fit, for a model with a terminal state, and where the policy has more than one recurrent
/// class, so that the gain depends on the start.
template <FiniteModel M, class Policy>
GainBias<typename M::Scalar> gain_bias(const M& model, const Policy& policy, int reference = 0) {
  using S = typename M::Scalar;
  constexpr auto where = "gain_bias";
  check_range(where, "reference", reference, 0, model.states() - 1);
  const FiniteMdp<S> process = policy_process(model, policy);
  const std::ptrdiff_t n = process.states();
  // (I - P) bias + gain = r; the reference's bias is known, and its column holds the gain's ones.
  Matrix<S> a = Matrix<S>::Identity(n, n);
  Vector<S> x(n);
  for (int s = 0; s < process.states(); ++s) {
    if (process.terminal(s)) fail(where, "state {} is terminal; expected a process that goes on for ever", s);
    for (const auto& to : process.successors(s, 0)) a(s, to.next) -= to.probability;
    x[s] = process.reward(s, 0);
  }
  a.col(reference).setOnes();
  Lu<S>(std::move(a), {}, "gain_bias: the policy has more than one recurrent class")
      .solve(view(std::as_const(x)), view(x));
  GainBias<S> result{x[reference], x};
  result.bias[reference] = S(0);
  return result;
}

/// Q(s, a) = r(s, a) - gain + sum_s' P(s' | s, a) bias(s'), actions x states: what an action is worth beyond the
/// average (Puterman 1994, section 8.4). Actions that aren't available get -infinity. Throws `Error` for a bias of
/// another size and numbers that aren't finite.
template <FiniteModel M>
Matrix<typename M::Scalar> differential_action_values(const M& model, double gain,
                                                      std::span<const typename M::Scalar> bias) {
  check_finite("differential_action_values", "gain", gain);
  Matrix<typename M::Scalar> q = action_values(model, bias, {.discount = 1});
  q.array() -= static_cast<typename M::Scalar>(gain);
  return q;
}

}  // namespace valence
