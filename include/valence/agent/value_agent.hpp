#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "valence/agent/state_values.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/policy/rate.hpp"
#include "valence/value/one_step.hpp"

namespace valence {

/// What agents that learn step by step are told. `step_size` >= 0, finite: a number, or a schedule of the transitions
/// learned from. For tile coding it is meant for all tilings together: divide it by their number. `discount` in [0, 1].
struct OnlineOptions {
  Rate step_size = 0.1;
  double discount = 0.99;
};

namespace detail {

inline double checked_discount(std::string_view where, double discount) {
  check_range(where, "discount", discount, 0, 1);
  return discount;
}

/// What the agents share that choose by the action values of one model: they differ in `learn` alone.
template <Approximator F, ActionChoice Choice>
class ValueAgent {
 public:
  using Scalar = typename F::Scalar;

  /// How many actions it knows: the model's outputs.
  int actions() const { return q_.model.output_size(); }
  /// An action of the behaviour, which explores. Where `learn` has chosen it already, as Sarsa's does, that one.
  template <class State>
  int act(const State& state, Rng& rng) {
    if (chosen_ >= 0) return std::exchange(chosen_, -1);
    return choice_.choose(values(state), rng);
  }
  /// Q(state, .), an entry an action: valid until the agent is used again.
  template <class State>
  std::span<const Scalar> values(const State& state) {
    return here_.look(q_, state);
  }
  /// The first of the best actions.
  template <class State>
  int greedy(const State& state) {
    const auto q = values(state);
    return static_cast<int>(largest_value("greedy", q).first);
  }
  /// One of the best actions, ties alike.
  template <class State>
  int greedy(const State& state, Rng& rng) {
    return Greedy{}.choose(values(state), rng);
  }

  const F& model() const { return q_.model; }
  /// theta of the model.
  std::span<const Scalar> parameters() const { return q_.theta; }
  std::span<Scalar> parameters() { return q_.theta; }
  const Choice& choice() const { return choice_; }
  /// Transitions learned from.
  std::int64_t steps() const { return steps_; }
  /// Forgets an action that was chosen for an episode that didn't go on.
  void begin_episode() { chosen_ = -1; }

  template <class A>
  void archive(A& ar) {
    ar(q_, steps_, chosen_);
    if constexpr (Archivable<Choice>) ar(choice_);
  }

 protected:
  using S = Scalar;

  ValueAgent(std::string_view where, F model, Choice choice, Rate step_size, double discount, Rng& start)
      : q_(std::move(model), start),
        choice_(std::move(choice)),
        step_size_(std::move(step_size)),
        discount_(checked_discount(where, discount)),
        here_(q_),
        next_(q_) {
    static_cast<void>(next_step_size(where));
  }

  double next_step_size(std::string_view where) const {
    return step_size_.in(where, "step_size", steps_, 0, (std::numeric_limits<double>::max)());
  }
  template <class State, class Action>
  int checked_action(std::string_view where, const Transition<State, Action>& t) const {
    const int action = static_cast<int>(t.action);
    if (static_cast<unsigned>(action) >= static_cast<unsigned>(actions())) [[unlikely]]  // negative: large
      fail(where, "the transition's action is {}; expected one in [0, {}]", action, actions() - 1);
    return action;
  }
  /// Q(s', .); nothing where the transition terminated, and then s' isn't looked at.
  template <class State, class Action>
  std::span<const S> next_values(const Transition<State, Action>& t) {
    if (t.terminated) return {};
    return next_.look(q_, t.next);
  }
  /// `td_target`, whose checks are only made where the result isn't finite, to say why.
  template <class State, class Action>
  S bootstrap(const Transition<State, Action>& t, S next_value) const {
    const S reward = static_cast<S>(t.reward);
    const S target = t.terminated ? reward : reward + static_cast<S>(discount_) * next_value;
    if (!(target - target == 0)) [[unlikely]]
      check_finite("learn", "the target", td_target(reward, next_value, t.terminated, {discount_}));
    return target;
  }
  /// Q(s, a) <- Q(s, a) + step_size (target - Q(s, a)) in `estimate`; returns target - Q(s, a).
  template <class State, class Action>
  S move_to_target(std::string_view where, Learned<F>& estimate, const Transition<State, Action>& t, S target) {
    const int action = checked_action(where, t);
    const S step = static_cast<S>(next_step_size(where));
    const S error = target - here_.look(estimate, t.state)[static_cast<std::size_t>(action)];
    here_.move(estimate, action, step * error);
    return error;
  }
  /// The same in `q_`, as a step of learning, which is counted.
  template <class State, class Action>
  S learn_target(std::string_view where, const Transition<State, Action>& t, S target) {
    const S error = move_to_target(where, q_, t, target);
    ++steps_;
    return error;
  }

  Learned<F> q_;
  Choice choice_;
  Rate step_size_;
  double discount_;
  std::int64_t steps_ = 0;
  int chosen_ = -1;             // what `act` will do, where `learn` had to know
  StateValues<F> here_, next_;  // scratch
};

}  // namespace detail

}  // namespace valence
