#pragma once

#include <utility>

#include "valence/agent/value_agent.hpp"
#include "valence/core/random.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"

namespace valence {

/// Q-learning (Watkins 1989; Sutton and Barto 2018, equation 6.8): Q(s, a) moves towards r + discount max Q(s', .), so
/// it learns about the greedy policy whatever the behaviour does. Over a table, or by semi-gradient over any other
/// model with an output an action.
///
///     QLearning agent{Tabular{10, 2}, EpsilonGreedy{0.1}, {.step_size = 0.5, .discount = 0.99}};
///     QLearning agent{Linear{TileCoding{{-1.2, -0.07}, {0.6, 0.07}}, 3}, EpsilonGreedy{0.1}, {.step_size = 0.5 / 8}};
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class QLearning : public detail::ValueAgent<F, Choice> {
  using Base = detail::ValueAgent<F, Choice>;

 public:
  /// `start` draws the parameters of models that begin at random; tables and linear models draw nothing.
  explicit QLearning(F model, Choice choice = {}, OnlineOptions options = {}, Rng start = Rng{})
      : Base("QLearning", std::move(model), std::move(choice), std::move(options.step_size), options.discount, start) {}

  /// Throws `Error`, and changes nothing, for a reward or a value that isn't finite, and a state or an action that
  /// doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    const auto next = this->next_values(t);
    const auto best = t.terminated ? typename F::Scalar(0) : detail::largest_value("QLearning", next).value;
    this->learn_target("QLearning", t, this->bootstrap(t, best));
  }
};

}  // namespace valence
