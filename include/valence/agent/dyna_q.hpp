#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "valence/agent/value_agent.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/policy/rate.hpp"
#include "valence/value/one_step.hpp"

namespace valence {

/// `planning_steps` >= 0: updates from the model a step. `bonus` >= 0, finite: kappa of Dyna-Q+; 0 is Dyna-Q. The
/// others as in `OnlineOptions`.
struct DynaQOptions {
  int planning_steps = 10;
  Rate step_size = 0.1;
  double discount = 0.99, bonus = 0;
};

/// Dyna-Q (Sutton 1990; Sutton and Barto 2018, section 8.2): Q-learning, which remembers what each pair led to when it
/// was last tried, and learns from memories as well, of pairs drawn uniformly. A memory is one outcome, so the world is
/// taken to be deterministic. Without planning steps it is `QLearning`, to the bit.
///
/// With a `bonus` Dyna-Q+ (section 8.3): a memory earns bonus x sqrt(steps since the pair was tried) more, and actions
/// that were never tried in a state that was visited are remembered as staying there for nothing. So it finds out when
/// the world has changed.
///
///     DynaQ agent{Tabular{54, 4}, EpsilonGreedy{0.1}, {.planning_steps = 50}};
template <std::floating_point S = double, ActionChoice Choice = EpsilonGreedy>
class DynaQ : public detail::ValueAgent<Tabular<S>, Choice> {
  using Base = detail::ValueAgent<Tabular<S>, Choice>;

 public:
  explicit DynaQ(Tabular<S> table, Choice choice = {}, DynaQOptions options = {}, Rng start = Rng{})
      : Base("DynaQ", std::move(table), std::move(choice), std::move(options.step_size), options.discount, start),
        planning_steps_(options.planning_steps),
        bonus_(options.bonus),
        memory_(this->q_.theta.size()) {
    check_range("DynaQ", "planning_steps", planning_steps_, 0, (std::numeric_limits<int>::max)());
    check_range("DynaQ", "bonus", bonus_, 0, (std::numeric_limits<double>::max)());
    remembered_.reserve(memory_.size());
  }

  /// One output of the generator a planning step. Throws `Error`, and changes nothing, for a reward or a value that
  /// isn't finite, and a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng& rng) {
    if (!t.terminated) static_cast<void>(this->next_.look(this->q_, t.next));
    const Transition<int, int> seen{static_cast<int>(t.state),
                                    static_cast<int>(t.action),
                                    t.reward,
                                    t.terminated ? 0 : static_cast<int>(t.next),
                                    t.terminated,
                                    t.truncated};
    improve(seen);
    ++this->steps_;
    if (planning_steps_ == 0) return;
    remember(seen);
    for (int k = 0; k < planning_steps_; ++k) {
      const auto pair = static_cast<std::size_t>(remembered_[rng.below(remembered_.size())]);
      const Memory& m = memory_[pair];
      const double waiting = static_cast<double>(this->steps_ - m.tried);
      improve({static_cast<int>(pair) / this->actions(), static_cast<int>(pair) % this->actions(),
               m.reward + bonus_ * std::sqrt(waiting), m.next, m.terminated, false});
    }
  }
  /// Pairs that are remembered.
  std::size_t remembered() const { return remembered_.size(); }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(memory_, remembered_);
    check_size("archive", "the model", memory_.size(), this->q_.theta.size());
  }

 private:
  struct Memory {
    int next = -1;  // -1: none
    double reward = 0;
    bool terminated = false;
    std::int64_t tried = 0;  // after so many steps
    template <class A>
    void archive(A& ar) {
      ar(next, reward, terminated, tried);
    }
  };

  void improve(const Transition<int, int>& t) {
    const auto next = this->next_values(t);
    this->move_to_target("DynaQ", this->q_, t,
                         q_learning_target(static_cast<S>(t.reward), next, t.terminated, {this->discount_}));
  }
  void remember(const Transition<int, int>& t) {
    const int first = t.state * this->actions();
    if (bonus_ > 0)
      for (int a = 0; a < this->actions(); ++a)
        if (memory_[static_cast<std::size_t>(first + a)].next < 0) store(first + a, {t.state, 0, false, 0});
    store(first + t.action, {t.next, t.reward, t.terminated, this->steps_});
  }
  void store(int pair, const Memory& m) {
    Memory& old = memory_[static_cast<std::size_t>(pair)];
    if (old.next < 0) remembered_.push_back(pair);
    old = m;
  }

  int planning_steps_;
  double bonus_;
  std::vector<Memory> memory_;        // a pair
  std::vector<int> remembered_ = {};  // pairs, in the order of their first visit
};

}  // namespace valence
