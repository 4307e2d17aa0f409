#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/policy/divergences.hpp"

namespace valence {

/// Which actions are possible, as a function of the state as the agent sees it: its numbers, encoded. An option of every
/// agent with discrete actions, so that a mask is a parameter and not another agent:
///
///     .possible = [](std::span<const double> state, std::span<bool> possible) { possible[1] = state[0] > 0; }
///
/// `possible` has an entry an action, all true before the call. Agents ask it whenever they look at a state, the next
/// states of remembered transitions included: it must depend on the state alone. Empty: everything is possible.
class PossibleActions {
 public:
  PossibleActions() = default;
  template <std::invocable<std::span<const double>, std::span<bool>> Rule>
    requires(!std::same_as<std::remove_cvref_t<Rule>, PossibleActions>)
  PossibleActions(Rule&& rule)  // NOLINT(google-explicit-constructor): `.possible = [](...) {...}`
      : rule_(std::forward<Rule>(rule)) {}

  explicit operator bool() const { return static_cast<bool>(rule_); }
  void operator()(std::span<const double> state, std::span<bool> possible) const { rule_(state, possible); }

 private:
  std::function<void(std::span<const double>, std::span<bool>)> rule_ = {};
};

namespace detail {

/// A rule and the memory for its answers.
class MaskOf {
 public:
  MaskOf(PossibleActions rule, int actions) : rule_(std::move(rule)) {
    if (rule_) mask_.setConstant(actions, true);
  }
  /// Empty where there is no rule; valid until the next call. Throws `Error` where nothing is possible.
  template <class S>
  ActionMask operator()(std::span<const S> state) {
    if (!rule_) return {};
    state_.assign(state.begin(), state.end());
    mask_.setConstant(true);
    rule_(state_, view(mask_));
    if (!mask_.any()) fail("PossibleActions", "no action is possible in a state; expected at least one");
    return view(std::as_const(mask_));
  }
  explicit operator bool() const { return static_cast<bool>(rule_); }

 private:
  PossibleActions rule_;
  Eigen::Array<bool, Eigen::Dynamic, 1> mask_ = {};
  std::vector<double> state_ = {};
};

// ---- laws, with the mask where they know one

template <class Law>
concept takes_mask = std::integral<typename Law::Action> &&
                     requires(const Law law, std::span<const double> y, ActionMask mask) { law.mode(y, mask); };
template <class Law, class S>
auto sample_possible(const Law& law, std::span<const S> y, Rng& rng, [[maybe_unused]] ActionMask mask) {
  if constexpr (takes_mask<Law>)
    return law.sample(y, rng, mask);
  else
    return law.sample(y, rng);
}
template <class Law, class S>
auto likeliest(const Law& law, std::span<const S> y, [[maybe_unused]] ActionMask mask) {
  if constexpr (takes_mask<Law>)
    return law.mode(y, mask);
  else
    return law.mode(y);
}
template <class Law, class S, class V>
S log_prob_of(const Law& law, std::span<const S> y, const V& a, [[maybe_unused]] ActionMask mask) {
  if constexpr (takes_mask<Law>)
    return law.log_prob(y, a, mask);
  else
    return law.log_prob(y, a);
}
template <class Law, class S, class V>
S log_prob_of(const Law& law, std::span<const S> y, const V& a, S w, std::span<S> dy,
              [[maybe_unused]] ActionMask mask) {
  if constexpr (takes_mask<Law>)
    return law.log_prob(y, a, w, dy, mask);
  else
    return law.log_prob(y, a, w, dy);
}
/// Entropy and its gradient; where the law has none in closed form, minus the log-probability of the action taken, an
/// estimate.
template <class Law, class S, class V>
S entropy_of(const Law& law, std::span<const S> y, const V& a, S w, std::span<S> dy, [[maybe_unused]] ActionMask mask) {
  if constexpr (takes_mask<Law>)
    return law.entropy(y, w, dy, mask);
  else if constexpr (requires { law.entropy(y, w, dy); })
    return law.entropy(y, w, dy);
  else
    return -law.log_prob(y, a, -w, dy);
}

}  // namespace detail

}  // namespace valence
