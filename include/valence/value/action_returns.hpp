#pragma once

#include <cstddef>
#include <span>
#include <type_traits>

#include "valence/core/elementary.hpp"  // rounded
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/types.hpp"
#include "valence/value/check.hpp"
#include "valence/value/steps.hpp"
#include "valence/value/sweep.hpp"

/// Targets for action values, from another policy's experience. They are one recursion,
///
///   G_t = r_t + discount_t (E_pi Q(s'_t, .) + c_{t+1} (G_{t+1} - Q(s_{t+1}, a_{t+1}))),
///
/// and differ in the trace c, which belongs to the action that transition t + 1 took. Where the episode was cut off at
/// t, the data end, or `steps` transitions are used up, the trace is 0; where it terminated, G_t is r_t.
///
/// They read `action_value`, Q of the action taken, and E_pi Q of the states that follow, as `next_value` or as `value`
/// with T + 1 rows; `lambda[t]` belongs to a_t. `result` has an entry a transition; allocation, errors and memory are
/// as for `lambda_returns`.
namespace valence {

namespace detail {

/// x is c_t (G_t - Q(s_t, a_t)); `trace` gives c_t without lambda.
template <class S, class Trace>
struct ActionReturnKernel {
  StepColumns<S> in;
  Trace trace;
  template <class T, class End>
  [[gnu::always_inline]] Affine<T> step(std::size_t i, const End& end) const {
    const T c = rounded(in.template lambda_at<T>(i) * trace.template at<T>(in, i));
    const T error = target<T>(i, end, T{}) - load<T>(in.action_value + i);
    return {rounded(c * error), c * end.carry(in.template discount_at<T>(i), T{})};
  }
  template <class T, class End>
  [[gnu::always_inline]] Results<T> results(std::size_t i, const End& end, T, T later) const {
    return {target<T>(i, end, end.carry(later, T{})), T{}};
  }
  /// r_t + gamma_t (E_pi Q(s'_t, .) + correction)
  template <class T, class End>
  [[gnu::always_inline]] T target(std::size_t i, const End& end, T correction) const {
    const T next = end.bootstrap(load<T>(in.next_value + i)) + correction;
    return load<T>(in.reward + i) + in.template discount_at<T>(i) * next;
  }
};

template <class S, class Trace>
void action_returns(std::string_view where, const Steps<S>& steps, std::span<S> result, const StepNeeds& needs,
                    const Trace& trace, double discount, double lambda, std::size_t window) {
  check_positive(where, "steps", window);
  const auto in = check_steps(where, steps, needs, discount, lambda);
  S* const out = check_output(where, "result", result, steps);
  sweep(where, in, ActionReturnKernel<S, Trace>{in, trace}, {.first = out}, window);
}

struct RetraceTrace {
  template <class T, class S>
  [[gnu::always_inline]] T at(const StepColumns<S>& in, std::size_t i) const {
    return cut_at(load<T>(in.ratio + i), S(1));
  }
};

struct TreeTrace {
  template <class T, class S>
  [[gnu::always_inline]] T at(const StepColumns<S>& in, std::size_t i) const {
    return load<T>(in.probability + i);
  }
};

template <class S>
struct SigmaTrace {
  S sigma_option;
  template <class T>
  [[gnu::always_inline]] T at(const StepColumns<S>& in, std::size_t i) const {
    const T sigma = in.sigma ? load<T>(in.sigma + i) : splat<T>(sigma_option);
    return rounded(sigma * load<T>(in.ratio + i)) + (S(1) - sigma) * load<T>(in.probability + i);
  }
};

}  // namespace detail

/// `discount`, `lambda` in [0, 1]; `steps` >= 1: how many rewards are summed at most.
struct RetraceOptions {
  double discount = 0.99, lambda = 1;
  std::size_t steps = all_steps;
};

/// Retrace(lambda) (Munos et al. 2016, equations 3 and 4): `c_t = lambda_t min(1, ratio_t)`. Also reads `ratio`.
template <Scalar S>
void retrace(const Steps<S>& steps, std::span<std::type_identity_t<S>> result, const RetraceOptions& options = {}) {
  detail::action_returns("retrace", steps, result, {.ratio = true, .action_value = true}, detail::RetraceTrace{},
                         options.discount, options.lambda, options.steps);
}

/// `discount`, `lambda` in [0, 1]; `steps` >= 1: how many rewards are summed at most.
struct TreeBackupOptions {
  double discount = 0.99, lambda = 1;
  std::size_t steps = all_steps;
};

/// Tree backup (Precup et al. 2000; Sutton & Barto 2018, 7.16): `c_t = lambda_t pi(a_t | s_t)`. Needs no behaviour
/// policy. Also reads `probability`. One step is expected Sarsa; and Q-learning, where pi is greedy.
template <Scalar S>
void tree_backup(const Steps<S>& steps, std::span<std::type_identity_t<S>> result,
                 const TreeBackupOptions& options = {}) {
  detail::action_returns("tree_backup", steps, result, {.action_value = true, .probability = true}, detail::TreeTrace{},
                         options.discount, options.lambda, options.steps);
}

/// `discount`, `lambda`, `sigma` in [0, 1] (the column `sigma` replaces the number); `steps` >= 1: how many rewards are
/// summed at most.
struct QSigmaOptions {
  double discount = 0.99, lambda = 1, sigma = 0.5;
  std::size_t steps = all_steps;
};

/// Q(sigma) (De Asis et al. 2018; Sutton & Barto 2018, 7.17): `c_t = lambda_t (sigma_t ratio_t + (1 - sigma_t) pi(a_t |
/// s_t))`. sigma = 0 is tree backup, 1 is Sarsa with importance ratios, which aren't cut. Also reads `ratio`,
/// `probability`.
template <Scalar S>
void q_sigma(const Steps<S>& steps, std::span<std::type_identity_t<S>> result, const QSigmaOptions& options = {}) {
  check_range("q_sigma", "sigma", options.sigma, 0, 1);
  detail::action_returns(
      "q_sigma", steps, result, {.ratio = true, .action_value = true, .probability = true, .sigma = true},
      detail::SigmaTrace<S>{static_cast<S>(options.sigma)}, options.discount, options.lambda, options.steps);
}

/// pi(a | s) / mu(a | s) of the action taken: one entry of each, and no other, is looked at. Throws `Error` where the
/// behaviour policy can't have taken it (probability 0) or an entry is no probability.
template <Scalar S>
S importance_ratio(std::span<const S> policy, std::span<const std::type_identity_t<S>> behaviour, std::size_t action) {
  constexpr auto where = "importance_ratio";
  check_size(where, "behaviour", behaviour.size(), policy.size());
  if (action >= policy.size()) fail(where, "action is {}; expected less than {}", action, policy.size());
  const S p = policy[action], m = behaviour[action];
  if (!(p >= S(0) && p <= S(1))) fail(where, "policy[{}] is {}; expected a probability", action, p);
  if (!(m > S(0) && m <= S(1)))
    fail(where, "behaviour[{}] is {}; expected a probability greater than 0, as the action was taken", action, m);
  return p / m;
}

}  // namespace valence
