#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/value_agent.hpp"
#include "valence/core/random.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/value/one_step.hpp"

namespace valence {

/// Sarsa (Rummery and Niranjan 1994; Sutton and Barto 2018, equation 6.7): Q(s, a) moves towards r + discount Q(s',
/// a'), with the action a' that is taken next. `learn` chooses a', from the values before they move, and the next `act`
/// returns it.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class Sarsa : public detail::ValueAgent<F, Choice> {
  using Base = detail::ValueAgent<F, Choice>;

 public:
  /// `start` draws the parameters of models that begin at random.
  explicit Sarsa(F model, Choice choice = {}, OnlineOptions options = {}, Rng start = Rng{})
      : Base("Sarsa", std::move(model), std::move(choice), std::move(options.step_size), options.discount, start) {}

  /// Throws `Error` for a reward or a value that isn't finite, and a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng& rng) {
    using S = typename F::Scalar;
    this->checked_action("Sarsa", t);
    const auto next = this->next_values(t);
    const int action = t.terminated ? -1 : this->choice_.choose(next, rng);
    this->learn_target("Sarsa", t,
                       sarsa_target(static_cast<S>(t.reward), next, static_cast<std::size_t>(action), t.terminated,
                                    {this->discount_}));
    this->chosen_ = t.truncated ? -1 : action;
  }
};

/// Expected Sarsa (van Seijen et al. 2009; Sutton and Barto 2018, equation 6.9): the target takes the mean of Q(s', .)
/// under the behaviour in place of one action's, so it varies less than Sarsa's.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class ExpectedSarsa : public detail::ValueAgent<F, Choice> {
  using Base = detail::ValueAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random.
  explicit ExpectedSarsa(F model, Choice choice = {}, OnlineOptions options = {}, Rng start = Rng{})
      : Base("ExpectedSarsa", std::move(model), std::move(choice), std::move(options.step_size), options.discount,
             start),
        policy_(static_cast<std::size_t>(this->actions())) {}

  /// Throws `Error`, and changes nothing, for a reward or a value that isn't finite, and a state or an action that
  /// doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    const auto next = this->next_values(t);
    if (!t.terminated) this->choice_.probabilities(next, std::span<S>(policy_));
    this->learn_target("ExpectedSarsa", t,
                       expected_sarsa_target(static_cast<S>(t.reward), next, std::span<const S>(policy_), t.terminated,
                                             {this->discount_}));
  }

 private:
  std::vector<S> policy_;  // scratch
};

}  // namespace valence
