#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/policy_evaluation.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// The best reward a step, and the solution of gain + bias = max_a (r + P bias).
template <Scalar S>
struct AverageRewardSolution {
  double gain = 0;      ///< reward a step in the long run
  Vector<S> bias = {};  ///< an entry a state: what starting there is worth beyond the reference state, which has 0
  std::vector<int> policy = {};                            ///< an action a state: what the last sweep chose
  std::size_t iterations = 0;                              ///< sweeps
  double residual = 0;                                     ///< largest |T bias - bias - gain| that the last sweep saw
  double bound = std::numeric_limits<double>::infinity();  ///< |gain - the best gain| is at most this from every state
  double seconds = 0;                                      ///< wall clock
  bool converged = false;  ///< `bound` is at most the tolerance asked for; false where the limit ended it
};

/// `tolerance` > 0 is the largest error of the gain that is asked for, `max_iterations` >= 1 the number of sweeps at
/// most. `reference` is the state whose bias is 0. `step_size` in (0, 1]: below 1 the process is slowed down by staying
/// where it is now and then, which changes neither gain nor bias and makes every chain aperiodic (Puterman 1994,
/// section
/// 8.5.4). `threads` as for `parallel_for`.
struct RelativeValueIterationOptions {
  double tolerance = 1e-8, step_size = 0.9;
  std::size_t max_iterations = 1'000'000;
  int reference = 0, threads = 0;
};

/// Relative value iteration for the average reward (White 1963; Puterman 1994, section 8.5.5): h <- h + step_size (T h
/// -
/// h), with T h = max_a (r + P h), less its entry of the reference state. At each sweep the best gain from any state,
/// and that of the policy found if it has one recurrent class, lie between the smallest and the largest entry of T h -
/// h (theorem 8.5.5): the gain is the middle of the two, `bound` half the distance.
///
/// It converges where the best gain is the same from all states (every policy has one recurrent class, or all states
/// can reach each other). Where it isn't, the distance stays: it ends once sweeps no longer lessen it, with `converged`
/// false and gains that differ by about 2 `bound`. So it does, with `step_size` 1, where chains are periodic.
///
/// Stops early too, with `converged` false, at `max_iterations` and where `progress` returns false. Throws `Error` for
/// options out of range and for a model with a terminal state, after which there are no more steps to count.
template <FiniteModel M>
AverageRewardSolution<typename M::Scalar> relative_value_iteration(const M& model,
                                                                   const RelativeValueIterationOptions& options = {},
                                                                   Progress progress = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "relative_value_iteration";
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "step_size", options.step_size);
  check_range(where, "step_size", options.step_size, 0, 1);
  check_positive(where, "max_iterations", options.max_iterations);
  check_range(where, "reference", options.reference, 0, model.states() - 1);
  for (int s = 0; s < model.states(); ++s)
    if (model.terminal(s)) fail(where, "state {} is terminal; expected a process that goes on for ever", s);

  const detail::Stopwatch watch;
  AverageRewardSolution<S> result;
  result.bias = Vector<S>::Zero(model.states());
  result.policy.assign(static_cast<std::size_t>(model.states()), -1);
  Vector<S> other(model.states());
  detail::Stall stalled;
  for (bool go_on = true; go_on && result.iterations < options.max_iterations;) {
    const Change change =
        detail::optimality_sweep(model, result.bias.data(), S(1), other.data(), result.policy.data(), options.threads);
    ++result.iterations;
    if (!std::isfinite(change.residual()))
      fail(where, "a value overflowed in sweep {}; expected smaller rewards", result.iterations);
    result.gain = change.lowest + (change.highest - change.lowest) / 2;
    result.bound = result.residual = (change.highest - change.lowest) / 2;
    result.converged = result.bound <= options.tolerance;
    result.bias += static_cast<S>(options.step_size) * (other - result.bias);
    result.bias.array() -= S(result.bias[options.reference]);
    go_on = !result.converged && !stalled(result.bound);
    go_on = progress({.step = result.iterations,
                      .total = options.max_iterations,
                      .task = "relative value iteration",
                      .metric = "half span",
                      .value = result.bound}) &&
            go_on;
  }
  result.seconds = watch.seconds();
  return result;
}

namespace detail {

template <class S>
Vector<S> stationary_of(std::string_view where, const FiniteMdp<S>& process) {
  for (int s = 0; s < process.states(); ++s)
    if (process.terminal(s)) fail(where, "state {} is terminal; expected a process that goes on for ever", s);
  const TransitionGraph graph = transition_graph(process);
  const Components components = strongly_connected_components(graph);
  std::vector<std::uint8_t> left(static_cast<std::size_t>(components.count), 0);
  const auto component = [&](int s) { return static_cast<std::size_t>(components.of[static_cast<std::size_t>(s)]); };
  for (int s = 0; s < process.states(); ++s)
    for (const auto& to : process.successors(s, 0))
      if (component(to.next) != component(s)) left[component(s)] = 1;
  std::vector<int> members, place(static_cast<std::size_t>(process.states()), -1);
  for (int s = 0; s < process.states(); ++s) {
    if (left[component(s)]) continue;
    if (!members.empty() && component(s) != component(members.front()))
      fail(where, "the policy has two recurrent classes, that of state {} and that of state {}; expected one",
           members.front(), s);
    place[static_cast<std::size_t>(s)] = static_cast<int>(members.size());
    members.push_back(s);
  }
  // Grassmann, Taksar and Heyman: a state is left out, and its probabilities go to those that remain. No differences,
  // so each entry is right to nearly all digits.
  const auto k = static_cast<std::ptrdiff_t>(members.size());
  Matrix<double> p = Matrix<double>::Zero(k, k);
  for (std::ptrdiff_t i = 0; i < k; ++i)
    for (const auto& to : process.successors(members[static_cast<std::size_t>(i)], 0))
      p(i, place[static_cast<std::size_t>(to.next)]) += static_cast<double>(to.probability);
  for (std::ptrdiff_t m = k - 1; m > 0; --m) {
    p.col(m).head(m) /= p.row(m).head(m).sum();
    for (std::ptrdiff_t j = 0; j < m; ++j) p.col(j).head(m) += p(m, j) * p.col(m).head(m);
  }
  Vector<double> x(k);
  x[0] = 1;
  for (std::ptrdiff_t m = 1; m < k; ++m) x[m] = p.col(m).head(m).dot(x.head(m));
  x /= x.sum();
  Vector<S> result = Vector<S>::Zero(process.states());
  for (std::ptrdiff_t i = 0; i < k; ++i) result[members[static_cast<std::size_t>(i)]] = static_cast<S>(x[i]);
  return result;
}

}  // namespace detail

/// The share of its steps that the process of a policy spends in each state in the long run: x = x P, an entry a state,
/// with sum 1. By state reduction (Grassmann, Taksar and Heyman 1985), exact to rounding however slowly the process
/// mixes; k^3 / 3 steps and k^2 doubles for k recurrent states. Throws `Error` where there is a terminal state, and
/// where the policy has more than one recurrent class, so that the shares depend on the start.
template <FiniteModel M>
Vector<typename M::Scalar> stationary_distribution(const M& model, std::span<const int> policy) {
  detail::check_policy("stationary_distribution", model, policy);
  return detail::stationary_of("stationary_distribution", detail::process_of(model, policy));
}

/// The same for a stochastic policy, actions x states.
template <FiniteModel M>
Vector<typename M::Scalar> stationary_distribution(const M& model, const Matrix<typename M::Scalar>& policy) {
  detail::check_policy("stationary_distribution", model, policy);
  return detail::stationary_of("stationary_distribution", detail::process_of(model, policy));
}

}  // namespace valence
