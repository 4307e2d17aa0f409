#pragma once

#include <cstddef>
#include <span>
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

/// Agents for tasks that go on for ever and are judged by their average reward a step. Values are differential, known
/// up to a constant. A transition that terminated throws `Error`: an episodic task has to lead from its end to its
/// start. One that was truncated is a step like any other.
namespace valence {

/// `average_step_size` >= 0, finite, moves the average; `average` is where it begins. `step_size` as in
/// `OnlineOptions`.
struct AverageRewardAgentOptions {
  Rate step_size = 0.1;
  double average_step_size = 0.01, average = 0;
};

namespace detail {

template <Approximator F, ActionChoice Choice>
class AverageRewardAgent : public ValueAgent<F, Choice> {
  using Base = ValueAgent<F, Choice>;

 public:
  using S = typename F::Scalar;

  /// The estimated reward a step.
  S average_reward() const { return average_; }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(average_);
  }

 protected:
  AverageRewardAgent(std::string_view where, F model, Choice choice, AverageRewardAgentOptions options, Rng& start)
      : Base(where, std::move(model), std::move(choice), std::move(options.step_size), 1, start),
        average_(static_cast<S>(options.average)),
        average_options_{options.average_step_size} {
    check_finite(where, "average", average_);
    static_cast<void>(differential_average(S(0), S(0), average_options_));
  }
  template <class State, class Action>
  void check_goes_on(std::string_view where, const Transition<State, Action>& t) const {
    if (t.terminated)
      fail(where, "the transition terminated; expected a task that goes on for ever (lead from its end to its start)");
  }

  S average_;
  AverageRewardOptions average_options_;
};

}  // namespace detail

/// R-learning (Schwartz 1993): Q(s, a) moves towards r - average + max Q(s', .), and where the action taken is a greedy
/// one, the average towards r + max Q(s', .) - max Q(s, .).
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class RLearning : public detail::AverageRewardAgent<F, Choice> {
  using Base = detail::AverageRewardAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random.
  explicit RLearning(F model, Choice choice = {}, AverageRewardAgentOptions options = {}, Rng start = Rng{})
      : Base("RLearning", std::move(model), std::move(choice), std::move(options), start) {}

  /// Throws `Error` for a transition that terminated, a reward or a value that isn't finite, and a state or an action
  /// that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    this->check_goes_on("RLearning", t);
    const S reward = static_cast<S>(t.reward);
    const auto action = static_cast<std::size_t>(this->checked_action("RLearning", t));
    this->learn_target("RLearning", t, differential_q_target(reward, this->next_values(t), this->average_));
    const auto next = this->next_values(t);  // again: where s' is s, it has moved
    this->average_ = r_learning_average(this->average_, reward, this->here_.look(this->q_, t.state), action, next,
                                        this->average_options_);
  }
};

/// Differential Q-learning (Wan, Naik and Sutton 2021): Q as in R-learning, and the average moves with every TD error,
/// also off policy, which needs no test for greedy actions and converges for tables.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class DifferentialQLearning : public detail::AverageRewardAgent<F, Choice> {
  using Base = detail::AverageRewardAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random.
  explicit DifferentialQLearning(F model, Choice choice = {}, AverageRewardAgentOptions options = {}, Rng start = Rng{})
      : Base("DifferentialQLearning", std::move(model), std::move(choice), std::move(options), start) {}

  /// Throws `Error`, and changes nothing, for a transition that terminated, a reward or a value that isn't finite, and
  /// a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    constexpr auto where = "DifferentialQLearning";
    this->check_goes_on(where, t);
    const S target = differential_q_target(static_cast<S>(t.reward), this->next_values(t), this->average_);
    const S error = this->learn_target(where, t, target);
    this->average_ = differential_average(this->average_, error, this->average_options_);
  }
};

}  // namespace valence
