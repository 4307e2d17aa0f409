#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include "valence/agent/value_agent.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/policy/rate.hpp"
#include "valence/value/average_reward.hpp"

namespace valence {

/// `step_size` as in `OnlineOptions`; the value of the pair (`reference_state`, `reference_action`) is the estimated
/// reward a step.
struct RviQLearningOptions {
  Rate step_size = 0.1;
  int reference_state = 0, reference_action = 0;
};

/// RVI Q-learning (Abounadi, Bertsekas & Borkar 2001): Q(s, a) moves towards r - Q(reference) + max Q(s', .). The value
/// of one pair that is visited for ever serves as the average reward, so there is no second step size; it converges for
/// tables. For states that are integers.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class RviQLearning : public detail::ValueAgent<F, Choice> {
  using Base = detail::ValueAgent<F, Choice>;
  using S = typename F::Scalar;
  static constexpr std::string_view where = "RviQLearning";

 public:
  /// `start` draws the parameters of models that begin at random. Throws `Error` for a step size out of range and a
  /// reference that doesn't exist.
  explicit RviQLearning(F model, Choice choice = {}, RviQLearningOptions options = {}, Rng start = Rng{})
      : Base(where, std::move(model), std::move(choice), options.step_size, 1, start),
        state_(options.reference_state),
        action_(options.reference_action),
        reference_(this->q_) {
    check_range(where, "reference_action", action_, 0, this->actions() - 1);
    static_cast<void>(average_reward());
  }

  /// Q of the reference: the estimated reward a step.
  S average_reward() { return reference_.look(this->q_, state_)[static_cast<std::size_t>(action_)]; }

  /// Throws `Error`, and changes nothing, for a transition that terminated, a reward or a value that isn't finite, and
  /// a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    if (t.terminated) fail(where, "the transition terminated; expected a task that goes on for ever");
    this->learn_target(where, t,
                       differential_q_target(static_cast<S>(t.reward), this->next_values(t), average_reward()));
  }

 private:
  int state_, action_;
  detail::StateValues<F> reference_;  // scratch
};

}  // namespace valence
