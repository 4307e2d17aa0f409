#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// Values and actions for each step of a finite number of them.
template <Scalar S>
struct FiniteHorizonSolution {
  Matrix<S> value = {};     ///< states x (horizon + 1): entry (s, t) is the value of being in s before step t
  Matrix<int> policy = {};  ///< states x horizon: entry (s, t) is the best action of step t in s; -1 in terminal states
  std::size_t iterations = 0;  ///< steps computed, from the last one backwards
  double seconds = 0;          ///< wall clock
  bool converged = false;      ///< all steps were; otherwise the first columns are NaN and -1
};

/// `discount` in [0, 1] of each step. `threads` as for `parallel_for`.
struct FiniteHorizonOptions {
  double discount = 1;
  int threads = 0;
};

namespace detail {

/// `model_at(t)` is the model of step t.
template <class M, class ModelAt>
FiniteHorizonSolution<typename M::Scalar> recurse_backwards(std::size_t horizon, ModelAt&& model_at,
                                                            std::span<const typename M::Scalar> final_value,
                                                            const FiniteHorizonOptions& options,
                                                            const Progress& progress) {
  using S = typename M::Scalar;
  constexpr auto where = "finite_horizon";
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "horizon", horizon);
  const M& last = model_at(horizon - 1);
  for (std::size_t t = 0; t < horizon; ++t) {
    const M& model = model_at(t);
    if (model.states() != last.states() || model.actions() != last.actions())
      fail(where, "the model of step {} has {} states and {} actions; expected {} and {}, as the last one", t,
           model.states(), model.actions(), last.states(), last.actions());
  }
  if (!final_value.empty()) check_value(where, last, final_value);

  const Stopwatch watch;
  const auto steps = static_cast<std::ptrdiff_t>(horizon);
  const std::ptrdiff_t n = last.states();
  FiniteHorizonSolution<S> result;
  result.value = Matrix<S>::Constant(n, steps + 1, std::numeric_limits<S>::quiet_NaN());
  result.policy = Matrix<int>::Constant(n, steps, -1);
  result.value.col(steps).setZero();
  std::copy(final_value.begin(), final_value.end(), result.value.col(steps).data());
  for (int s = 0; s < last.states(); ++s)
    if (last.terminal(s)) result.value(s, steps) = S(0);
  bool go_on = true;
  for (std::ptrdiff_t t = steps - 1; go_on && t >= 0; --t) {
    const M& model = model_at(static_cast<std::size_t>(t));
    const Change change = optimality_sweep(model, result.value.col(t + 1).data(), static_cast<S>(options.discount),
                                           result.value.col(t).data(), result.policy.col(t).data(), options.threads);
    if (!std::isfinite(change.residual())) fail(where, "a value overflowed at step {}; expected smaller rewards", t);
    ++result.iterations;
    go_on = progress({.step = result.iterations, .total = horizon, .task = "finite horizon"});
  }
  result.converged = result.iterations == horizon;
  result.seconds = watch.seconds();
  return result;
}

}  // namespace detail

/// Backward induction over `horizon` >= 1 steps (Bellman 1957; Puterman 1994, section 4.5): v_t(s) = max_a r(s, a) +
/// discount sum_s' P(s' | s, a) v_{t+1}(s'), from v_horizon = `final_value`, an entry a state, or 0 where it is empty.
/// A terminal state is worth 0 at every step. Exact to rounding. The first of equally good actions is taken.
///
/// Stops early, with `converged` false, where `progress` returns false. Throws `Error` for a horizon of 0, options out
/// of range and values that aren't finite.
template <FiniteModel M>
FiniteHorizonSolution<typename M::Scalar> finite_horizon(const M& model, std::size_t horizon,
                                                         std::span<const typename M::Scalar> final_value,
                                                         const FiniteHorizonOptions& options, Progress progress = {}) {
  return detail::recurse_backwards<M>(
      horizon, [&](std::size_t) -> const M& { return model; }, final_value, options, progress);
}
template <FiniteModel M>
FiniteHorizonSolution<typename M::Scalar> finite_horizon(const M& model, std::size_t horizon,
                                                         const FiniteHorizonOptions& options = {},
                                                         Progress progress = {}) {
  return finite_horizon(model, horizon, std::span<const typename M::Scalar>{}, options, progress);
}

/// Where rewards and transitions change with time: step t happens in models[t], and there are as many steps as models.
/// They have the same numbers of states and actions; a state that is terminal in one of them ends the
/// episode if it is entered before that step.
template <FiniteModel M>
FiniteHorizonSolution<typename M::Scalar> finite_horizon(const std::vector<M>& models,
                                                         std::span<const typename M::Scalar> final_value,
                                                         const FiniteHorizonOptions& options, Progress progress = {}) {
  return detail::recurse_backwards<M>(
      models.size(), [&](std::size_t t) -> const M& { return models[t]; }, final_value, options, progress);
}
template <FiniteModel M>
FiniteHorizonSolution<typename M::Scalar> finite_horizon(const std::vector<M>& models,
                                                         const FiniteHorizonOptions& options = {},
                                                         Progress progress = {}) {
  return finite_horizon(models, std::span<const typename M::Scalar>{}, options, progress);
}

}  // namespace valence
