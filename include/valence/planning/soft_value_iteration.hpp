#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/solution.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// The fixed point of the soft Bellman operator.
template <Scalar S>
struct SoftSolution : Solution<S> {
  /// The best stochastic policy, actions x states: softmax of Q / temperature (+ log prior) in each column; 0 in the
  /// columns of terminal states. `policy` has its most likely actions.
  Matrix<S> distribution = {};
};

/// `discount` in [0, 1); `temperature` > 0; `tolerance` > 0 is the largest error of a value that is asked for,
/// `max_iterations` >= 1 the number of sweeps at most. `threads` as for `parallel_for`.
struct SoftValueIterationOptions {
  double discount = 0.99, temperature = 1, tolerance = 1e-6;
  std::size_t max_iterations = 1'000'000;
  int threads = 0;
};

namespace detail {

/// out(s) = temperature log sum_a prior(a | s) exp(Q(s, a) / temperature) for all states; column s of `logits`
/// (scratch) gets the logits of that sum, less their largest Q. `prior` is of logarithms, or empty for ones.
template <class M>
Change soft_sweep(const M& model, const Matrix<typename M::Scalar>& log_prior, const typename M::Scalar* v,
                  typename M::Scalar discount, typename M::Scalar temperature, typename M::Scalar* out,
                  Matrix<typename M::Scalar>& logits, int threads) {
  using S = typename M::Scalar;
  constexpr S infinity = std::numeric_limits<S>::infinity();
  const auto actions = static_cast<std::size_t>(model.actions());
  return sweep_states(model.states(), threads, [&](int first, int last) {
    double lowest = std::numeric_limits<double>::infinity(), highest = -lowest;
    for (int s = first; s < last; ++s) {
      out[s] = S(0);
      if (!model.terminal(s)) {
        S* const column = logits.data() + static_cast<std::size_t>(s) * actions;
        S top = -infinity;
        for (int a = 0; a < model.actions(); ++a) {
          const bool possible = model.available(s, a) && (log_prior.size() == 0 || log_prior(a, s) > -infinity);
          column[a] = possible ? action_value(model, s, a, v, discount) : -infinity;
          top = (std::max)(top, column[a]);
        }
        for (int a = 0; a < model.actions(); ++a) {
          column[a] = (column[a] - top) / temperature;
          if (log_prior.size() != 0) column[a] += log_prior(a, s);
        }
        out[s] = top + temperature * valence::log_sum_exp(std::span<const S>(column, actions));
      }
      const double change = static_cast<double>(out[s]) - static_cast<double>(v[s]);
      // Not min and max, which would pass a NaN over.
      lowest = change >= lowest ? lowest : change, highest = change <= highest ? highest : change;
    }
    return Change{lowest, highest};
  });
}

}  // namespace detail

/// Soft value iteration: the best policy and value where an action's improbability under the prior is paid for, V(s) =
/// max_pi sum_a pi(a) (Q(s, a) - temperature log(pi(a) / prior(a | s))) = temperature log sum_a prior(a | s) exp(Q(s,
/// a) / temperature), with Q = r + discount P V (Todorov 2006; Fox, Pakman and Tishby 2016, equation 12). `prior` is
/// actions x states, a distribution over the available actions in each column; columns of terminal states are not read,
/// and actions of prior 0 never taken. `iterations` counts sweeps, `residual` is the last one's largest change.
///
/// No value is further than `bound` from the exact one, in exact arithmetic: the operator is monotone and shifts with v
/// as Bellman's does, so MacQueen's bounds hold; the result is moved to their middle. The distribution is that of the
/// values returned. Stops early, with `converged` false, at `max_iterations`, where rounding keeps residuals from
/// falling, and where `progress` returns false. Throws `Error` for options out of range and a prior that doesn't fit.
template <FiniteModel M>
SoftSolution<typename M::Scalar> soft_value_iteration(const M& model, const Matrix<typename M::Scalar>& prior,
                                                      const SoftValueIterationOptions& options,
                                                      Progress progress = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "soft_value_iteration";
  check_range(where, "discount", options.discount, 0, 1);
  if (options.discount == 1) fail(where, "discount is 1; expected less");
  check_positive(where, "temperature", options.temperature);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
  if (prior.size() != 0) detail::check_policy(where, model, prior);

  const detail::Stopwatch watch;
  const S discount = static_cast<S>(options.discount), temperature = static_cast<S>(options.temperature);
  const double ahead = options.discount / (1 - options.discount);
  SoftSolution<S> result;
  result.value = Vector<S>::Zero(model.states());
  result.distribution = Matrix<S>::Zero(model.actions(), model.states());
  Vector<S> other(model.states());
  Matrix<S> log_prior(prior.rows(), prior.cols());
  for (std::ptrdiff_t i = 0; i < prior.size(); ++i) log_prior.data()[i] = elementary::log(prior.data()[i]);
  const auto sweep = [&] {
    return detail::soft_sweep(model, log_prior, result.value.data(), discount, temperature, other.data(),
                              result.distribution, options.threads);
  };
  detail::Stall stalled;
  Change change;
  for (bool go_on = true; go_on && result.iterations < options.max_iterations;) {
    change = sweep();
    result.value.swap(other);
    ++result.iterations;
    result.residual = change.residual();
    if (!std::isfinite(result.residual))
      fail(where, "a value overflowed in sweep {}; expected smaller rewards or a smaller discount", result.iterations);
    result.bound = ahead * ((change.highest - change.lowest) / 2);
    result.converged = result.bound <= options.tolerance;
    go_on = !result.converged && !stalled(result.bound);
    go_on = progress({.step = result.iterations,
                      .total = options.max_iterations,
                      .task = "soft value iteration",
                      .metric = "residual",
                      .value = result.residual}) &&
            go_on;
  }
  const S shift = static_cast<S>(ahead * ((change.lowest + change.highest) / 2));
  for (int s = 0; s < model.states(); ++s)
    if (!model.terminal(s)) result.value[s] += shift;
  sweep();
  result.policy.assign(static_cast<std::size_t>(model.states()), -1);
  const auto actions = static_cast<std::size_t>(model.actions());
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) continue;
    const std::span<S> column(result.distribution.data() + static_cast<std::size_t>(s) * actions, actions);
    valence::softmax(column, column);
    result.policy[static_cast<std::size_t>(s)] = static_cast<int>(valence::argmax(column));
  }
  result.seconds = watch.seconds();
  return result;
}

/// With the entropy of the policy as its bonus (a prior of 1 for every available action): maximum-entropy reinforcement
/// learning, whose fixed point tabular soft actor-critic has (Haarnoja et al. 2017, equations 3 to 5).
template <FiniteModel M>
SoftSolution<typename M::Scalar> soft_value_iteration(const M& model, const SoftValueIterationOptions& options = {},
                                                      Progress progress = {}) {
  return soft_value_iteration(model, Matrix<typename M::Scalar>(), options, progress);
}

}  // namespace valence
