#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/solution.hpp"

namespace valence {

/// In which order a sweep updates the states, and from what.
enum class Sweep {
  jacobi,        ///< all from the old values; over threads, with the same result for any number of them
  gauss_seidel,  ///< in place, in the order of the states or of `order`: what comes later sees what came before
  asynchronous   ///< in place, in a new random order each sweep (fair: every state once)
};

/// How far the values are from the fixed point, given what a sweep changed.
enum class Bounds {
  span,  ///< MacQueen's: discount / (1 - discount) x [lowest, highest change]; the result is moved to their middle
  norm   ///< discount / (1 - discount) x largest change; the result is the last sweep's
};

/// `discount` in [0, 1]; `tolerance` > 0 is the largest error of a value that is asked for, `max_iterations` >= 1 the
/// number of sweeps at most. `bounds` is read by Jacobi sweeps; the in-place ones have the norm's alone. `order` (used
/// by `gauss_seidel`): every state once, empty for 0, 1, ...; it is viewed during the call. `seed` draws the
/// asynchronous orders. `threads` as for `parallel_for`.
struct ValueIterationOptions {
  double discount = 0.99, tolerance = 1e-6;
  std::size_t max_iterations = 1'000'000;
  Sweep sweep = Sweep::jacobi;
  Bounds bounds = Bounds::span;
  std::span<const int> order = {};
  std::uint64_t seed = 0;
  int threads = 0;
};

namespace detail {

/// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Rounding keeps residuals from falling for ever. After so many sweeps without a new least one there is none to come.
class Stall {
 public:
  bool operator()(double residual) {
    since_ = residual < least_ ? 0 : since_ + 1;
    least_ = (std::min)(least_, residual);
    return since_ >= 1000;
  }

 private:
  double least_ = std::numeric_limits<double>::infinity();
  int since_ = 0;
};

/// What rounding may add to one backup of a value: (n + 3) units in the last place of |r| + discount |v|, n successors
/// (Higham 2002, lemma 3.1), with the largest of each. An epsilon is two units, which leaves room for what comes after.
template <class M>
class Rounding {
 public:
  explicit Rounding(const M& model) {
    using S = typename M::Scalar;
    for (int s = 0; s < model.states(); ++s)
      for (int a = 0; a < model.actions(); ++a) {
        if (!model.available(s, a)) continue;
        reward_ = (std::max)(reward_, static_cast<double>(std::abs(model.reward(s, a))));
        if constexpr (requires { model.successors(s, a).size(); })
          terms_ = (std::max)(terms_, static_cast<double>(model.successors(s, a).size()));
        else
          terms_ = static_cast<double>(model.states());
      }
    unit_ = static_cast<double>(std::numeric_limits<S>::epsilon());
  }
  double operator()(const Vector<typename M::Scalar>& v, double discount) const {
    return (terms_ + 3) * unit_ * (reward_ + discount * static_cast<double>(v.cwiseAbs().maxCoeff()));
  }

 private:
  double reward_ = 0, terms_ = 0, unit_ = 0;
};

inline void check_order(std::string_view where, std::span<const int> order, int states) {
  if (order.empty()) return;
  check_size(where, "order", order.size(), static_cast<std::size_t>(states));
  std::vector<bool> seen(order.size(), false);
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (order[i] < 0 || order[i] >= states)
      fail(where, "order[{}] is {}; expected a state in [0, {}]", i, order[i], states - 1);
    if (seen[static_cast<std::size_t>(order[i])])
      fail(where, "order[{}] is {} again; expected each state once", i, order[i]);
    seen[static_cast<std::size_t>(order[i])] = true;
  }
}

/// One in-place sweep in the given order; unchecked.
template <class M>
Change ordered_sweep(const M& model, std::span<const int> order, typename M::Scalar discount, typename M::Scalar* v,
                     int* policy) {
  Change change;
  for (const int s : order) change = change + optimality_range(model, v, discount, v, policy, s, s + 1);
  return change;
}

}  // namespace detail

/// One sweep of Gauss-Seidel value iteration, in place: `v(s) = max_a r(s, a) + discount sum_s' P(s' | s, a) v(s')` for
/// s = 0, 1, ... `policy`, if not empty, gets the maximising actions. Errors as for `bellman_optimality`.
template <FiniteModel M>
Change gauss_seidel_sweep(const M& model, std::span<typename M::Scalar> v, std::span<int> policy = {},
                          const BellmanOptions& options = {}) {
  constexpr auto where = "gauss_seidel_sweep";
  check_range(where, "discount", options.discount, 0, 1);
  detail::check_value(where, model, std::span<const typename M::Scalar>(v));
  if (!policy.empty()) check_size(where, "policy", policy.size(), v.size());
  return detail::optimality_range(model, v.data(), static_cast<typename M::Scalar>(options.discount), v.data(),
                                  policy.empty() ? nullptr : policy.data(), 0, model.states());
}

/// Value iteration (Bellman 1957; Puterman 1994, sections 6.3 and 6.6) from `start`, or from 0 where it is empty.
/// `iterations` counts sweeps, `residual` is the last one's largest change, `policy` its maximising actions.
///
/// With a discount below 1 the result is certified: no value is further than `bound`, which counts rounding, from the
/// optimal one, and `converged` says that the bound is at most `tolerance`. The span's bounds are never wider than the
/// norm's and often hundreds of sweeps ahead of them. With discount 1 the model must be episodic (`check_episodic`,
/// which names the state that is in the way), the sweeps end when none changes a value by more than `tolerance`, which
/// proves nothing: `bound` is infinite; `interval_iteration` has bounds there too.
///
/// Stops early, with `converged` false, at `max_iterations`, where rounding keeps residuals from falling, and where
/// `progress` returns false.
template <FiniteModel M>
Solution<typename M::Scalar> value_iteration(const M& model, std::span<const typename M::Scalar> start,
                                             const ValueIterationOptions& options, Progress progress = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "value_iteration";
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
  if (!start.empty()) detail::check_value(where, model, start);
  detail::check_order(where, options.order, model.states());
  if (options.discount == 1) check_episodic(where, model);

  const detail::Stopwatch watch;
  const std::ptrdiff_t n = model.states();
  const S discount = static_cast<S>(options.discount);
  const bool jacobi = options.sweep == Sweep::jacobi, spans = jacobi && options.bounds == Bounds::span;
  Solution<S> result;
  result.value = Vector<S>::Zero(n);
  result.policy.assign(static_cast<std::size_t>(n), -1);
  std::copy(start.begin(), start.end(), result.value.data());
  for (int s = 0; s < model.states(); ++s)
    if (model.terminal(s)) result.value[s] = S(0);

  Vector<S> other(jacobi ? n : 0);
  std::vector<int> order(options.order.begin(), options.order.end());
  Rng rng{options.seed};
  if (options.sweep == Sweep::asynchronous) {
    order.resize(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
  }
  const detail::Rounding<M> rounding(model);
  const double ahead = options.discount / (1 - options.discount);  // infinite, and not used, where the discount is 1
  const auto rounded = [&] {
    return options.discount < 1 ? rounding(result.value, options.discount) / (1 - options.discount) : 0.0;
  };
  detail::Stall stalled;
  Change change;
  for (bool go_on = true; go_on && result.iterations < options.max_iterations;) {
    if (jacobi) {
      change = detail::optimality_sweep(model, result.value.data(), discount, other.data(), result.policy.data(),
                                        options.threads);
      result.value.swap(other);
    } else {
      if (options.sweep == Sweep::asynchronous) rng.shuffle(order);
      change = order.empty() ? detail::optimality_range(model, result.value.data(), discount, result.value.data(),
                                                        result.policy.data(), 0, model.states())
                             : detail::ordered_sweep(model, order, discount, result.value.data(), result.policy.data());
    }
    ++result.iterations;
    result.residual = change.residual();
    if (!std::isfinite(result.residual))
      fail(where, "a value overflowed in sweep {}; expected smaller rewards or a smaller discount", result.iterations);
    const double changed = options.discount == 1 ? result.residual
                           : spans               ? ahead * (change.highest - change.lowest) / 2
                                                 : ahead * result.residual;
    // Rounding is looked at once the rest is good enough.
    result.converged = changed <= options.tolerance && changed + rounded() <= options.tolerance;
    if (options.discount < 1) result.bound = changed;
    go_on = !result.converged && !stalled(changed);
    go_on = progress({.step = result.iterations,
                      .total = options.max_iterations,
                      .task = "value iteration",
                      .metric = "residual",
                      .value = result.residual}) &&
            go_on;
  }
  result.bound += rounded();
  if (spans && options.discount < 1) {
    const S shift = static_cast<S>(options.discount / (1 - options.discount) * ((change.lowest + change.highest) / 2));
    for (int s = 0; s < model.states(); ++s)
      if (!model.terminal(s)) result.value[s] += shift;
  }
  result.seconds = watch.seconds();
  return result;
}

template <FiniteModel M>
Solution<typename M::Scalar> value_iteration(const M& model, const ValueIterationOptions& options = {},
                                             Progress progress = {}) {
  return value_iteration(model, std::span<const typename M::Scalar>{}, options, progress);
}

}  // namespace valence
