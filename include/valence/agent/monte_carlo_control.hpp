#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/value_agent.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/policy/rate.hpp"
#include "valence/value/monte_carlo.hpp"
#include "valence/value/returns.hpp"
#include "valence/value/steps.hpp"

namespace valence {

/// `step_size`: as in `OnlineOptions`; without one a table's values are the averages of their returns. `visits`: which
/// of a pair in an episode count; `first` is for tables. `discount` in [0, 1].
struct MonteCarloControlOptions {
  std::optional<Rate> step_size = {};
  double discount = 0.99;
  Visits visits = Visits::every;
};

/// On-policy Monte Carlo control (Sutton and Barto 2018, section 5.4): at the end of an episode Q of each pair in it
/// moves towards the return that followed. An episode that was truncated goes on with the behaviour's mean of the
/// values of the state it was in. It remembers an episode, so memory grows with the longest one.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class MonteCarloControl : public detail::ValueAgent<F, Choice> {
  using Base = detail::ValueAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random. Throws `Error` where averages or first visits are
  /// asked of a model that isn't a table.
  explicit MonteCarloControl(F model, Choice choice = {}, MonteCarloControlOptions options = {}, Rng start = Rng{})
      : Base("MonteCarloControl", std::move(model), std::move(choice), options.step_size.value_or(Rate(0)),
             options.discount, start),
        averages_(!options.step_size),
        visits_(options.visits) {
    if (!detail::is_table<F> && averages_)
      fail("MonteCarloControl", "there is no step_size; expected one, as the model is not a table");
    if (!detail::is_table<F> && visits_ == Visits::first)
      fail("MonteCarloControl", "visits is first; expected every, as the model is not a table");
    if (detail::is_table<F>) count_.assign(this->q_.theta.size(), 0), seen_.assign(count_.size(), 0);
    policy_.resize(static_cast<std::size_t>(this->actions()));
  }

  /// Remembers the transition; where it ends the episode, learns from all of it. Throws `Error` for a reward that isn't
  /// finite, and a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    constexpr auto where = "MonteCarloControl";
    const std::size_t size = this->q_.input_count();
    const int action = this->checked_action(where, t);
    check_finite(where, "the reward", static_cast<S>(t.reward));
    input_.resize(size);
    this->q_.write_input(t.state, std::span(input_));
    inputs_.insert(inputs_.end(), input_.begin(), input_.end());
    actions_.push_back(action);
    rewards_.push_back(static_cast<S>(t.reward));
    if (!t.terminated && !t.truncated) return;

    S last = 0;
    if (!t.terminated) {
      const auto q = this->next_values(t);
      this->choice_.probabilities(q, std::span<S>(policy_));
      for (std::size_t a = 0; a < q.size(); ++a) last += policy_[a] * q[a];
    }
    // The data end where the episode does, and `next_value` of the last step says how it goes on: 0 if it terminated.
    next_value_.assign(actions_.size(), S(0));
    next_value_.back() = last;
    returns_.resize(actions_.size());
    discounted_returns(Steps<S>{.reward = rewards_, .next_value = next_value_}, std::span<S>(returns_),
                       {.discount = this->discount_});
    ++episode_;
    for (std::size_t k = 0; k < actions_.size(); ++k) update(std::span(inputs_).subspan(k * size, size), k);
    begin_episode();
  }
  /// Forgets an episode that didn't end.
  void begin_episode() {
    Base::begin_episode();
    inputs_.clear(), actions_.clear(), rewards_.clear();
  }
  /// Episodes learned from.
  std::int64_t episodes() const { return episode_; }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(episode_, count_, seen_, inputs_, actions_, rewards_);
    check_size("archive", "the counts", count_.size(), detail::is_table<F> ? this->q_.theta.size() : 0);
  }

 private:
  void update(std::span<const detail::InputNumber<F>> input, std::size_t k) {
    const auto q = this->here_.look_again(this->q_, input);
    S step = static_cast<S>(this->next_step_size("MonteCarloControl"));
    if constexpr (detail::is_table<F>) {
      const std::size_t pair = static_cast<std::size_t>(input[0]) * q.size() + static_cast<std::size_t>(actions_[k]);
      if (visits_ == Visits::first && std::exchange(seen_[pair], episode_) == episode_) return;
      ++count_[pair];
      if (averages_) step = S(1) / static_cast<S>(count_[pair]);
    }
    this->here_.move(this->q_, actions_[k], step * (returns_[k] - q[static_cast<std::size_t>(actions_[k])]));
    ++this->steps_;
  }

  bool averages_;
  Visits visits_;
  std::int64_t episode_ = 0;
  std::vector<std::int64_t> count_ = {}, seen_ = {};  // a pair of a table: returns, and the last episode with one
  std::vector<detail::InputNumber<F>> inputs_ = {};   // of this episode, as are:
  std::vector<int> actions_ = {};
  std::vector<S> rewards_ = {};
  std::vector<detail::InputNumber<F>> input_ = {};  // scratch
  std::vector<S> next_value_ = {}, returns_ = {}, policy_ = {};
};

}  // namespace valence
