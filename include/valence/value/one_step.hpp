#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

/// Targets of one transition: `reward + discount * (what the next state is worth)`, and the reward alone where it
/// terminated: then nothing of the next state is read, which may be NaN or empty. A transition that was truncated is
/// not `terminated`. (Sutton & Barto 2018, chapter 6.) `next_q` has an entry an action, Q(s', .), where s' is the state
/// that the transition arrived in. All throw `Error` for numbers that aren't finite, a discount outside [0, 1], and
/// rows that are empty or of different lengths.
namespace valence {

/// `discount` in [0, 1].
struct OneStepOptions {
  double discount = 0.99;
};

/// V(s') -> r + discount V(s') (6.2).
template <Scalar S>
S td_target(S reward, std::type_identity_t<S> next_value, bool terminated, const OneStepOptions& options = {}) {
  constexpr auto where = "td_target";
  check_finite(where, "reward", reward);
  check_range(where, "discount", options.discount, 0, 1);
  if (terminated) return reward;
  check_finite(where, "the next state's value", next_value);
  return reward + static_cast<S>(options.discount) * next_value;
}

/// The first of the largest entries. Throws `Error` where there is none, or a NaN.
template <class S, std::size_t extent>
std::size_t greedy_action(std::span<S, extent> q) {
  if (q.empty()) fail("greedy_action", "q is empty; expected an entry an action");
  check_finite("greedy_action", "q", q);
  std::size_t best = 0;
  for (std::size_t a = 1; a < q.size(); ++a)
    if (q[a] > q[best]) best = a;
  return best;
}

namespace detail {

/// q[action], or anything where the transition terminated and it isn't read.
template <class S>
S chosen_value(std::string_view where, std::span<const S> q, std::size_t action, bool terminated) {
  if (terminated) return S(0);
  if (action >= q.size()) fail(where, "the next action is {}; expected less than {}", action, q.size());
  return q[action];
}

}  // namespace detail

/// Sarsa (6.7): r + discount Q(s', a'), with the next action that was taken.
template <Scalar S>
S sarsa_target(S reward, std::span<const std::type_identity_t<S>> next_q, std::size_t next_action, bool terminated,
               const OneStepOptions& options = {}) {
  return td_target(reward, detail::chosen_value<S>("sarsa_target", next_q, next_action, terminated), terminated,
                   options);
}

/// Expected Sarsa (6.9): r + discount sum_a pi(a | s') Q(s', a).
template <Scalar S>
S expected_sarsa_target(S reward, std::span<const std::type_identity_t<S>> next_q,
                        std::span<const std::type_identity_t<S>> next_policy, bool terminated,
                        const OneStepOptions& options = {}) {
  constexpr auto where = "expected_sarsa_target";
  S expected = 0;
  if (!terminated) {
    check_size(where, "next_policy", next_policy.size(), next_q.size());
    check_probabilities(where, "next_policy", next_policy);
    for (std::size_t a = 0; a < next_q.size(); ++a) expected += next_policy[a] * next_q[a];
  }
  return td_target(reward, expected, terminated, options);
}

/// Q-learning (6.8): r + discount max_a Q(s', a).
template <Scalar S>
S q_learning_target(S reward, std::span<const std::type_identity_t<S>> next_q, bool terminated,
                    const OneStepOptions& options = {}) {
  return td_target(reward, terminated ? S(0) : next_q[greedy_action(next_q)], terminated, options);
}

/// Double Q-learning (van Hasselt 2010; van Hasselt et al. 2016, equation 4): r + discount Q_value(s', argmax_a
/// Q_choice(s', a)). One estimate chooses the action (the online network), the other says what it's worth (the target
/// network). Ties go to the first.
template <Scalar S>
S double_q_target(S reward, std::span<const std::type_identity_t<S>> next_q_choice,
                  std::span<const std::type_identity_t<S>> next_q_value, bool terminated,
                  const OneStepOptions& options = {}) {
  S next = 0;
  if (!terminated) {
    check_size("double_q_target", "next_q_value", next_q_value.size(), next_q_choice.size());
    next = next_q_value[greedy_action(next_q_choice)];
  }
  return td_target(reward, next, terminated, options);
}

}  // namespace valence
