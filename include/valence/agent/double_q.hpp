#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/value_agent.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/value/one_step.hpp"

namespace valence {

/// Double Q-learning (van Hasselt 2010; Sutton and Barto 2018, section 6.7): two estimates; a coin says which of them
/// moves, that one chooses the action in s', and the other says what it is worth. So noise that makes an action look
/// good doesn't also make it valuable. It acts on their mean.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class DoubleQ : public detail::ValueAgent<F, Choice> {
  using Base = detail::ValueAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random, anew for each estimate.
  explicit DoubleQ(F model, Choice choice = {}, OnlineOptions options = {}, Rng start = Rng{})
      : Base("DoubleQ", model, std::move(choice), std::move(options.step_size), options.discount, start),
        other_(std::move(model), start),
        other_values_(other_),
        mean_(static_cast<std::size_t>(this->actions())) {}

  template <class State>
  int act(const State& state, Rng& rng) {
    return this->choice_.choose(values(state), rng);
  }
  /// The mean of both estimates, an entry an action: valid until the agent is used again.
  template <class State>
  std::span<const S> values(const State& state) {
    const auto a = this->here_.look(this->q_, state), b = other_values_.look(other_, state);
    for (std::size_t i = 0; i < mean_.size(); ++i) mean_[i] = (a[i] + b[i]) / S(2);
    return mean_;
  }
  template <class State>
  int greedy(const State& state) {
    const auto q = values(state);
    return static_cast<int>(detail::largest_value("greedy", q).first);
  }
  template <class State>
  int greedy(const State& state, Rng& rng) {
    return Greedy{}.choose(values(state), rng);
  }
  /// theta of the other estimate.
  std::span<const S> other_parameters() const { return other_.theta; }
  std::span<S> other_parameters() { return other_.theta; }

  /// One output of the generator, the coin. Throws `Error` for a reward or a value that isn't finite, and a state or an
  /// action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng& rng) {
    this->checked_action("DoubleQ", t);
    const bool swapped = rng.uniform() < 0.5;
    detail::Learned<F>& moves = swapped ? other_ : this->q_;
    const detail::Learned<F>& judges = swapped ? this->q_ : other_;
    std::span<const S> choice = {}, value = {};
    if (!t.terminated) choice = this->next_.look(moves, t.next), value = other_values_.look(judges, t.next);
    const S target = double_q_target(static_cast<S>(t.reward), choice, value, t.terminated, {this->discount_});
    this->move_to_target("DoubleQ", moves, t, target);
    ++this->steps_;
  }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(other_);
  }

 private:
  detail::Learned<F> other_;
  detail::StateValues<F> other_values_;  // scratch, as is:
  std::vector<S> mean_;
};

}  // namespace valence
