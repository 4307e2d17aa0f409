#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/value/one_step.hpp"

/// Targets for the average reward of a task that goes on for ever (Sutton & Barto 2018, section 10.3): values are
/// differential, the sum of what rewards exceed their average, known up to a constant. There is no discount and nothing
/// terminates: a transition that was truncated is one like any other, and an episodic task has to lead from its end to
/// its start. All throw `Error` for numbers that aren't finite and rows that are empty.
namespace valence {

/// r - average + v(s'): for state values, and for Sarsa with the value of the next pair (equations 10.10 and 10.11).
template <Scalar S>
S differential_target(S reward, std::type_identity_t<S> next_value, std::type_identity_t<S> average_reward) {
  constexpr auto where = "differential_target";
  check_finite(where, "reward", reward);
  check_finite(where, "the next state's value", next_value);
  check_finite(where, "average_reward", average_reward);
  return reward - average_reward + next_value;
}

/// r - average + max_a Q(s', a): differential Q-learning (Wan, Naik & Sutton 2021), and R-learning's target (Schwartz
/// 1993).
template <Scalar S>
S differential_q_target(S reward, std::span<const std::type_identity_t<S>> next_q,
                        std::type_identity_t<S> average_reward) {
  return differential_target(reward, next_q[greedy_action(next_q)], average_reward);
}

/// `step_size` >= 0, finite. For differential learning the product eta alpha.
struct AverageRewardOptions {
  double step_size = 0.01;
};

/// average + step_size delta, with the TD error delta = target - Q(s, a), also off policy (Wan, Naik & Sutton
/// 2021; Sutton & Barto 2018, section 10.3).
template <Scalar S>
S differential_average(S average_reward, std::type_identity_t<S> td_error, const AverageRewardOptions& options = {}) {
  constexpr auto where = "differential_average";
  check_finite(where, "average_reward", average_reward);
  check_finite(where, "td_error", td_error);
  check_range(where, "step_size", options.step_size, 0, (std::numeric_limits<double>::max)());
  return average_reward + static_cast<S>(options.step_size) * td_error;
}

/// R-learning's average (Schwartz 1993; Singh 1994): where the action taken is a greedy one, average + step_size
/// (r + max Q(s', .) - max Q(s, .) - average), else unchanged. `q` is Q(s, .), after the update of Q(s, a).
template <Scalar S>
S r_learning_average(S average_reward, std::type_identity_t<S> reward, std::span<const std::type_identity_t<S>> q,
                     std::size_t action, std::span<const std::type_identity_t<S>> next_q,
                     const AverageRewardOptions& options = {}) {
  constexpr auto where = "r_learning_average";
  if (action >= q.size()) fail(where, "the action is {}; expected less than {}", action, q.size());
  const S best = q[greedy_action(q)];
  const S error = differential_q_target(reward, next_q, average_reward) - best;
  return q[action] == best ? differential_average(average_reward, error, options) : average_reward;
}

}  // namespace valence
