#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/direct_evaluation.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/policy_evaluation.hpp"
#include "valence/planning/solution.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// `discount` in [0, 1]; `tolerance` > 0 is what `bound` is compared with, `max_iterations` >= 1 the number of policies
/// evaluated at most. `threads` (of the improvement) as for `parallel_for`.
struct PolicyIterationOptions {
  double discount = 0.99, tolerance = 1e-9;
  std::size_t max_iterations = 1000;
  int threads = 0;
};

/// `discount` in [0, 1]; `tolerance` > 0 is the largest error of a value that is asked for, `backups` >= 1 the sweeps
/// of an iteration, the one that improves the policy included; `max_iterations` >= 1 the number of improvements at
/// most. `threads` as for `parallel_for`.
struct ModifiedPolicyIterationOptions {
  double discount = 0.99, tolerance = 1e-6;
  std::size_t backups = 20, max_iterations = 100'000;
  int threads = 0;
};

namespace detail {

/// A policy whose total reward is finite, of a model that is episodic: stays, where it can do so for nothing; elsewhere
/// takes an action that may lead nearer to the end.
template <class M>
std::vector<int> ending_policy(const M& model) {
  const TransitionGraph graph = transition_graph(model);
  const Predecessors into = predecessors(graph);
  RowSet free(graph.rows());
  std::vector<std::uint32_t> chosen(static_cast<std::size_t>(graph.states));
  StateSet over(chosen.size());  // first: where nothing is free
  for (int s = 0; s < graph.states; ++s) {
    bool any = graph.end(s);
    for (std::size_t i = graph.first_row(s); i < graph.last_row(s); ++i) {
      free[i] = model.reward(s, pair_of(model, graph, i).action) == 0;
      any = any || free[i];
    }
    over[static_cast<std::size_t>(s)] = !any;
  }
  grow_by_all(graph, into, free, over);  // ... or where what is free may lead there
  complement(over);
  for (int s = 0; s < graph.states; ++s)
    for (std::size_t i = graph.last_row(s); i-- > graph.first_row(s);)
      if (free[i]) chosen[static_cast<std::size_t>(s)] = static_cast<std::uint32_t>(i);
  grow_by_some(into, RowSet(graph.rows(), 1), over, &chosen);
  std::vector<int> policy(over.size(), -1);
  for (std::size_t s = 0; s < over.size(); ++s)
    if (!graph.end(static_cast<int>(s))) policy[s] = pair_of(model, graph, chosen[s]).action;
  return policy;
}

/// Howard's improvement: where some action's value exceeds that of the present one by more than `margin`, the best
/// action, else the present one.
template <class M>
Change improve_policy(const M& model, const typename M::Scalar* v, typename M::Scalar discount,
                      typename M::Scalar margin, const int* policy, int* improved, int threads) {
  return sweep_states(model.states(), threads, [&](int first, int last) {
    double lowest = std::numeric_limits<double>::infinity(), highest = -lowest;
    for (int s = first; s < last; ++s) {
      double change = 0;
      improved[s] = -1;
      if (!model.terminal(s)) {
        const Choice<M> best = best_choice(model, s, v, discount);
        improved[s] = best.value > action_value(model, s, policy[s], v, discount) + margin ? best.action : policy[s];
        change = static_cast<double>(best.value) - static_cast<double>(v[s]);
      }
      lowest = (std::min)(lowest, change), highest = (std::max)(highest, change);
    }
    return Change{lowest, highest};
  });
}

}  // namespace detail

/// Howard's policy iteration (Howard 1960; Puterman 1994, section 6.4): solve (I - discount P) v = r for the policy, as
/// `direct_policy_evaluation` does, then take in every state the best action; until none is better. Values never
/// decrease. An action replaces another only where it is better by more than the error of the solution, so ties never
/// flip the policy and no policy comes twice.
///
/// `start` is the first policy, an action a state, those of terminal states not read. With discount 1 it must be proper
/// as for `policy_evaluation`, and the model episodic (`check_episodic`). `iterations` counts evaluations, `value` is
/// that of `policy`, `residual` the largest |T v - v|. `bound` is residual / (1 - discount), rounding added. It is
/// infinite with discount 1, where `converged` says that no action is better; the value is then the optimal one if
/// `start` earns at least 0 wherever one may stay for nothing, as the default start does.
///
/// Stops early, with `converged` false, at `max_iterations` and where `progress` returns false. Throws `Error` for
/// options out of range and for a policy that doesn't fit. For models of more than some thousand states without local
/// structure see `modified_policy_iteration`.
template <FiniteModel M>
Solution<typename M::Scalar> policy_iteration(const M& model, std::span<const int> start,
                                              const PolicyIterationOptions& options, Progress progress = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "policy_iteration";
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
  detail::check_policy(where, model, start);
  if (options.discount == 1) check_episodic(where, model);

  const detail::Stopwatch watch;
  std::vector<int> improved(start.begin(), start.end());
  for (int s = 0; s < model.states(); ++s)
    if (model.terminal(s)) improved[static_cast<std::size_t>(s)] = -1;
  const detail::Rounding<M> rounding_of(model);
  Solution<S> result;
  for (std::size_t k = 1;; ++k) {
    result.policy = improved;
    const auto solved =
        detail::solve_process(where, detail::process_of(model, std::span<const int>(result.policy)), options.discount);
    result.value = solved.value;
    result.iterations = k;
    const double rounding = 16 * static_cast<double>(std::numeric_limits<S>::epsilon()) *
                            static_cast<double>(result.value.cwiseAbs().maxCoeff());
    result.residual = detail::improve_policy(model, result.value.data(), static_cast<S>(options.discount),
                                             static_cast<S>(2 * solved.bound + rounding), result.policy.data(),
                                             improved.data(), options.threads)
                          .residual();
    if (options.discount < 1)
      result.bound = (result.residual + rounding_of(result.value, options.discount)) / (1 - options.discount);
    const bool stable = improved == result.policy;
    result.converged = options.discount < 1 ? stable && result.bound <= options.tolerance : stable;
    const bool go_on = progress({.step = k,
                                 .total = options.max_iterations,
                                 .task = "policy iteration",
                                 .metric = "residual",
                                 .value = result.residual});
    if (stable || !go_on || k == options.max_iterations) break;
  }
  result.seconds = watch.seconds();
  return result;
}

/// From the policy that maximises the next reward; with discount 1 from one that ends.
template <FiniteModel M>
Solution<typename M::Scalar> policy_iteration(const M& model, const PolicyIterationOptions& options = {},
                                              Progress progress = {}) {
  check_range("policy_iteration", "discount", options.discount, 0, 1);
  if (options.discount == 1) check_episodic("policy_iteration", model);
  const Vector<typename M::Scalar> zero = Vector<typename M::Scalar>::Zero(model.states());
  const std::vector<int> start = options.discount == 1 ? detail::ending_policy(model)
                                                       : greedy_policy(model, view(zero), {.threads = options.threads});
  return policy_iteration(model, std::span<const int>(start), options, progress);
}

/// Modified policy iteration (Puterman and Shin 1978; Puterman 1994, section 6.5): an improving sweep v <- max_a (r +
/// discount P v), then `backups` - 1 sweeps v <- r + discount P v of the policy found, which are cheaper by the number
/// of actions. With 1 backup it is value iteration; with as many as it takes (the sweeps of a policy end once they
/// can't change the bound) policy iteration. `iterations` counts improvements, `residual` is the largest change of the
/// last.
///
/// Below discount 1 the bound is MacQueen's, discount / (1 - discount) times half the span of the last improvement's
/// change, the result is moved to the middle of it, and no value is further than `bound`, which counts rounding, from
/// the optimal one. With discount 1 the model must be episodic (`check_episodic`); the iteration starts below the value
/// of a policy that ends, from where it can only rise to the optimal one, and ends when no value changes by more than
/// `tolerance`, which proves nothing: `bound` is infinite.
///
/// Stops early, with `converged` false, at `max_iterations`, where rounding keeps residuals from falling, and where
/// `progress` returns false. Throws `Error` for options out of range.
template <FiniteModel M>
Solution<typename M::Scalar> modified_policy_iteration(const M& model,
                                                       const ModifiedPolicyIterationOptions& options = {},
                                                       Progress progress = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "modified_policy_iteration";
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "backups", options.backups);
  check_positive(where, "max_iterations", options.max_iterations);
  const bool discounted = options.discount < 1;
  if (!discounted) check_episodic(where, model);

  const detail::Stopwatch watch;
  const std::ptrdiff_t n = model.states();
  const S discount = static_cast<S>(options.discount);
  const double ahead = options.discount / (1 - options.discount);
  const auto error_of = [&](const Change& c) {
    return discounted ? ahead * ((c.highest - c.lowest) / 2) : c.residual();
  };
  Solution<S> result;
  result.value = Vector<S>::Zero(n);
  result.policy.assign(static_cast<std::size_t>(n), -1);
  if (!discounted) {
    // v = -w max(-r) has T v >= v where w >= 1 + P w, so that iterates rise (Puterman 1994, theorem 6.5.2).
    result.policy = detail::ending_policy(model);
    const auto process = detail::process_of(model, std::span<const int>(result.policy));
    const Vector<S> steps = detail::bound_steps(process, detail::check_proper(where, process), options.max_iterations,
                                                options.threads, progress);
    if (steps.size() == 0) {
      result.seconds = watch.seconds();
      return result;
    }
    S cost = 0;
    for (int s = 0; s < model.states(); ++s)
      if (!model.terminal(s)) cost = (std::max)(cost, -process.reward(s, 0));
    result.value = -cost * steps;
  }
  Vector<S> other(n);
  const auto report = [&] {
    return progress({.step = result.iterations,
                     .total = options.max_iterations,
                     .task = "modified policy iteration",
                     .metric = "residual",
                     .value = result.residual});
  };
  const detail::Rounding<M> rounding(model);
  const auto rounded = [&] {
    return discounted ? rounding(result.value, options.discount) / (1 - options.discount) : 0.0;
  };
  // What the backups sweep over: the rows of the policy side by side, made anew where the policy has changed.
  std::vector<int> backed_up;
  std::optional<FiniteMdp<S>> process;
  detail::Stall stalled;
  Change change;
  for (bool stop = false;;) {
    change = detail::optimality_sweep(model, result.value.data(), discount, other.data(), result.policy.data(),
                                      options.threads);
    result.value.swap(other);
    ++result.iterations;
    result.residual = change.residual();
    if (!std::isfinite(result.residual))
      fail(where, "a value overflowed in iteration {}; expected smaller rewards or a smaller discount",
           result.iterations);
    const double error = error_of(change);
    if (discounted) result.bound = error;
    result.converged = error <= options.tolerance && error + rounded() <= options.tolerance;
    stop = !report() || stop || result.converged || stalled(error) || result.iterations >= options.max_iterations;
    if (stop) break;  // right after an improvement, which the bound is of
    if (options.backups > 1 && (!process || backed_up != result.policy)) {
      process = detail::process_of(model, std::span<const int>(result.policy));
      backed_up = result.policy;
    }
    detail::Stall idle;
    for (std::size_t k = 1; !stop && k < options.backups; ++k) {
      const double rest = error_of(
          detail::optimality_sweep(*process, result.value.data(), discount, other.data(), nullptr, options.threads));
      result.value.swap(other);
      if (rest <= options.tolerance / 10 || idle(rest)) break;
      stop = !report();
    }
  }
  result.bound += rounded();
  if (discounted) {
    const S shift = static_cast<S>(ahead * ((change.lowest + change.highest) / 2));
    for (int s = 0; s < model.states(); ++s)
      if (!model.terminal(s)) result.value[s] += shift;
  }
  result.seconds = watch.seconds();
  return result;
}

}  // namespace valence
