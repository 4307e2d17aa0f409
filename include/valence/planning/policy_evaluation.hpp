#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/solution.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

namespace detail {

/// The process of a policy given as `mix(s, take)`, which calls take(action, weight) for what it does in s.
template <class M, class Mix>
FiniteMdp<typename M::Scalar> mixed_process(const M& model, Mix&& mix) {
  using S = typename M::Scalar;
  const auto n = static_cast<std::size_t>(model.states());
  ModelColumns<S> c{.states = model.states(), .actions = 1};
  c.row_begin.reserve(n + 1), c.reward.reserve(n), c.terminal.reserve(n);
  c.row_begin.push_back(0);
  bool ends = false;
  std::vector<std::pair<int, double>> row;
  for (int s = 0; s < model.states(); ++s) {
    row.clear();
    double reward = 0;
    if (!model.terminal(s))
      mix(s, [&](int a, double weight) {
        reward += weight * static_cast<double>(model.reward(s, a));
        for (const auto& to : model.successors(s, a))
          row.emplace_back(to.next, weight * static_cast<double>(to.probability));
      });
    // By state, then by probability: what is added up in which order depends on the numbers alone.
    if (!std::is_sorted(row.begin(), row.end())) std::sort(row.begin(), row.end());
    for (std::size_t k = 0; k < row.size();) {
      const int next = row[k].first;
      double probability = 0;
      for (; k < row.size() && row[k].first == next; ++k) probability += row[k].second;
      if (static_cast<S>(probability) == S(0)) continue;
      c.next.push_back(next);
      c.probability.push_back(static_cast<S>(probability));
    }
    c.row_begin.push_back(static_cast<std::uint32_t>(c.next.size()));
    c.reward.push_back(static_cast<S>(reward));
    c.terminal.push_back(model.terminal(s) ? 1 : 0);
    ends = ends || model.terminal(s);
  }
  if (!ends) c.terminal.clear();
  const std::span<const S> first = model.initial();
  c.initial.assign(first.begin(), first.end());
  return FiniteMdp<S>(std::move(c));
}

/// Unchecked.
template <class M>
FiniteMdp<typename M::Scalar> process_of(const M& model, std::span<const int> policy) {
  return mixed_process(model, [&](int s, auto&& take) { take(policy[static_cast<std::size_t>(s)], 1.0); });
}

/// Unchecked. Columns are normalised.
template <class M>
FiniteMdp<typename M::Scalar> process_of(const M& model, const Matrix<typename M::Scalar>& policy) {
  return mixed_process(model, [&](int s, auto&& take) {
    double sum = 0;
    for (int a = 0; a < model.actions(); ++a) sum += static_cast<double>(policy(a, s));
    for (int a = 0; a < model.actions(); ++a)
      if (policy(a, s) > 0) take(a, static_cast<double>(policy(a, s)) / sum);
  });
}

/// Where a process earns nothing any more: terminal states, and sets of states without reward that it never leaves.
/// Throws, with a state's name, unless it comes there from everywhere: only then is its total reward defined.
template <class S>
StateSet check_proper(std::string_view where, const FiniteMdp<S>& process) {
  const TransitionGraph graph = transition_graph(process);
  const Predecessors into = predecessors(graph);
  const RowSet all(graph.rows(), 1);
  StateSet ended(static_cast<std::size_t>(process.states()));
  for (int s = 0; s < process.states(); ++s)
    ended[static_cast<std::size_t>(s)] = !process.terminal(s) && process.reward(s, 0) != S(0);
  grow_by_some(into, all, ended);
  complement(ended);
  StateSet proper = ended;
  grow_by_some(into, all, proper);
  if (const int s = first_missing(proper); s >= 0)
    fail(where, "policy never reaches a terminal state from state {}; expected it to, or a discount below 1", s);
  return ended;
}

/// The same of a policy, deterministic or not, which must fit the model.
template <class M, class P>
StateSet check_proper(std::string_view where, const M& model, const P& policy) {
  return check_proper(where, process_of(model, policy));
}

/// w >= 1 + P w wherever the process hasn't ended, and 0 where it has: bounds on the expected number of steps from
/// above, and so on what an error of 1 in each of them adds up to. Sweeps n <- 1 + P n from 0 raise n by at most d, the
/// chance of still being on the way; once d < 1/2, w = n / (1 - d) will do. Empty where `max_iterations` came first.
template <class S>
Vector<S> bound_steps(const FiniteMdp<S>& process, const StateSet& ended, std::size_t max_iterations, int threads,
                      const Progress& progress) {
  std::vector<S> ones(ended.size());
  for (std::size_t s = 0; s < ended.size(); ++s) ones[s] = ended[s] ? S(0) : S(1);
  const FiniteMdp<S> counting = process.with_rewards(std::move(ones));
  Vector<S> n = Vector<S>::Zero(process.states()), other(process.states());
  for (std::size_t k = 1; k <= max_iterations; ++k) {
    const Change change = optimality_sweep(counting, n.data(), S(1), other.data(), nullptr, threads);
    if (change.highest < 0.5) return n / static_cast<S>(1 - change.highest);
    n.swap(other);
    if (!progress({.step = k,
                   .total = max_iterations,
                   .task = "expected steps",
                   .metric = "still on the way",
                   .value = change.highest}))
      break;
  }
  return {};
}

}  // namespace detail

/// What a model becomes where a policy acts: a Markov reward process, as a model with one action. Its probabilities are
/// sum_a policy(a | s) P(. | s, a), its rewards sum_a policy(a | s) r(s, a). Every question about a policy is one about
/// this process. `policy` has an action a state, those of terminal states not read. Throws `Error` for an action that
/// isn't available.
template <FiniteModel M>
FiniteMdp<typename M::Scalar> policy_process(const M& model, std::span<const int> policy) {
  detail::check_policy("policy_process", model, policy);
  return detail::process_of(model, policy);
}

/// The same for a stochastic policy: actions x states, column s a distribution over the actions available in s (to
/// within 1e-6; it is normalised). Columns of terminal states are not read.
template <FiniteModel M>
FiniteMdp<typename M::Scalar> policy_process(const M& model, const Matrix<typename M::Scalar>& policy) {
  detail::check_policy("policy_process", model, policy);
  return detail::process_of(model, policy);
}

/// `discount` in [0, 1]; `tolerance` > 0 is the largest error of a value that is asked for, `max_iterations` >= 1 the
/// number of sweeps at most, `threads` as for `parallel_for`.
struct PolicyEvaluationOptions {
  double discount = 0.99, tolerance = 1e-6;
  std::size_t max_iterations = 1'000'000;
  int threads = 0;
};

namespace detail {

inline void check_options(std::string_view where, const PolicyEvaluationOptions& options) {
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
}

template <class S>
Solution<S> evaluate_process(std::string_view where, const FiniteMdp<S>& process,
                             const PolicyEvaluationOptions& options, const Progress& progress) {
  const Stopwatch watch;
  const bool discounted = options.discount < 1;
  const S discount = static_cast<S>(options.discount);
  // An error of 1 in each step to come adds up to so much at most.
  double ahead = options.discount / (1 - options.discount);
  if (!discounted) {
    const auto ended = check_proper(where, process);
    const Vector<S> steps = bound_steps(process, ended, options.max_iterations, options.threads, progress);
    ahead = steps.size() == 0 ? std::numeric_limits<double>::infinity()
                              : (std::max)(0.0, static_cast<double>(steps.maxCoeff()) - 1);
  }
  Solution<S> result;
  result.value = Vector<S>::Zero(process.states());
  Vector<S> other(process.states());
  Stall stalled;
  Change change;
  for (bool go_on = true; go_on && result.iterations < options.max_iterations;) {
    change = optimality_sweep(process, result.value.data(), discount, other.data(), nullptr, options.threads);
    result.value.swap(other);
    ++result.iterations;
    result.residual = change.residual();
    if (!std::isfinite(result.residual))
      fail(where, "a value overflowed in sweep {}; expected smaller rewards or a smaller discount", result.iterations);
    const double error = discounted ? (change.highest - change.lowest) / 2 : result.residual;
    if (std::isfinite(ahead)) result.bound = ahead * error;
    result.converged = result.bound <= options.tolerance;
    go_on = !result.converged && !stalled(error) && (std::isfinite(ahead) || result.residual > 0);
    go_on = progress({.step = result.iterations,
                      .total = options.max_iterations,
                      .task = "policy evaluation",
                      .metric = "residual",
                      .value = result.residual}) &&
            go_on;
  }
  if (discounted) {
    const S shift = static_cast<S>(ahead * ((change.lowest + change.highest) / 2));
    for (int s = 0; s < process.states(); ++s)
      if (!process.terminal(s)) result.value[s] += shift;
  }
  result.seconds = watch.seconds();
  return result;
}

}  // namespace detail

/// The value of a deterministic policy by sweeps v <- r + discount P v from 0 (Puterman 1994, sections 5.2 and 6.6).
/// `policy` has an action a state, those of terminal states not read. `iterations` counts sweeps, `residual` is the
/// last one's largest change, and no value is further than `bound` from the exact one (in exact arithmetic).
///
/// Below discount 1 the bound is MacQueen's, discount / (1 - discount) times half the span of the last change, and the
/// result is moved to the middle of it. With discount 1 every state must come to a terminal one, or to a set without
/// rewards that is never left, or it throws `Error` with the name of one that doesn't; sweeps that count steps come
/// first there, and the bound is their count times the largest change (the weighted norm of Bertsekas and Tsitsiklis
/// 1991).
///
/// Stops early, with `converged` false, at `max_iterations`, where rounding keeps residuals from falling, and where
/// `progress` returns false. Throws `Error` for options out of range and for a policy that doesn't fit.
template <FiniteModel M>
Solution<typename M::Scalar> policy_evaluation(const M& model, std::span<const int> policy,
                                               const PolicyEvaluationOptions& options = {}, Progress progress = {}) {
  constexpr auto where = "policy_evaluation";
  detail::check_options(where, options);
  detail::check_policy(where, model, policy);
  auto result = detail::evaluate_process(where, detail::process_of(model, policy), options, progress);
  result.policy.assign(policy.begin(), policy.end());
  for (int s = 0; s < model.states(); ++s)
    if (model.terminal(s)) result.policy[static_cast<std::size_t>(s)] = -1;
  return result;
}

/// The same for a stochastic policy: actions x states, column s a distribution over the actions available in s (to
/// within 1e-6; it is normalised). Columns of terminal states are not read. The result's `policy` is empty.
template <FiniteModel M>
Solution<typename M::Scalar> policy_evaluation(const M& model, const Matrix<typename M::Scalar>& policy,
                                               const PolicyEvaluationOptions& options = {}, Progress progress = {}) {
  constexpr auto where = "policy_evaluation";
  detail::check_options(where, options);
  detail::check_policy(where, model, policy);
  return detail::evaluate_process(where, detail::process_of(model, policy), options, progress);
}

}  // namespace valence
