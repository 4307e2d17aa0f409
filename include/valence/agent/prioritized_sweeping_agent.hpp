#pragma once

#include <algorithm>
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
#include "valence/mdp/estimate.hpp"
#include "valence/mdp/step.hpp"
#include "valence/planning/prioritized_sweeping.hpp"
#include "valence/policy/action_choice.hpp"

namespace valence {

/// `backups` >= 1: of states, a step; the state just left is the first. States whose value is off by less than
/// `threshold` >= 0, finite, as far as is known, wait. `discount` in [0, 1].
struct PrioritizedSweepingAgentOptions {
  int backups = 10;
  double discount = 0.99, threshold = 1e-4;
};

/// Prioritized sweeping while acting (Moore and Atkeson 1993): counts what each pair led to, and after every step backs
/// up the states whose values that changes most, in the model of maximum likelihood. The world may be random. Actions
/// that were never tried in a state keep the table's `initial` value: start it high to have them tried.
template <std::floating_point S = double, ActionChoice Choice = EpsilonGreedy>
class PrioritizedSweepingAgent : public detail::ValueAgent<Tabular<S>, Choice> {
  using Base = detail::ValueAgent<Tabular<S>, Choice>;

 public:
  explicit PrioritizedSweepingAgent(Tabular<S> table, Choice choice = {}, PrioritizedSweepingAgentOptions options = {},
                                    Rng start = Rng{})
      : Base("PrioritizedSweepingAgent", table, std::move(choice), 1, options.discount, start),
        backups_(options.backups),
        threshold_(options.threshold),
        counts_(table.states, table.outputs),
        priority_(static_cast<std::size_t>(table.states), 0.0),
        queue_(table.states),
        leading_here_(priority_.size()) {
    check_positive("PrioritizedSweepingAgent", "backups", backups_);
    check_range("PrioritizedSweepingAgent", "threshold", threshold_, 0, (std::numeric_limits<double>::max)());
  }

  /// Throws `Error`, and changes nothing, for a reward that isn't finite, and a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    const int state = static_cast<int>(t.state), action = static_cast<int>(t.action);
    // A state that terminated is never looked at: its index may be anything, and counts as an end of the pair's own.
    const int next = t.terminated ? state : static_cast<int>(t.next);
    counts_.add(state, action, t.reward, next, t.terminated);
    if (!t.terminated) lead(state, action, next);
    ++this->steps_;
    set_priority(state, (std::numeric_limits<double>::max)());
    for (int k = 0; k < backups_ && queue_.top_priority() > threshold_; ++k) back_up(queue_.top());
  }
  const TransitionCounts& counts() const { return counts_; }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(counts_, priority_);
    check_size("archive", "the states counted", static_cast<std::size_t>(counts_.states()), leading_here_.size());
    check_size("archive", "the actions counted", static_cast<std::size_t>(counts_.actions()),
               static_cast<std::size_t>(this->actions()));
    check_size("archive", "the priorities", priority_.size(), leading_here_.size());
    // The rest follows from these: equal priorities go by state, whatever came first.
    for (auto& pairs : leading_here_) pairs.clear();
    for (int s = 0; s < counts_.states(); ++s) {
      queue_.set(s, priority_[static_cast<std::size_t>(s)]);
      for (int a = 0; a < counts_.actions(); ++a)
        for (const auto& count : counts_.successors(s, a))
          if (count.went_on > 0) lead(s, a, count.next);
    }
  }

 private:
  struct Pair {
    int state, action;
  };

  void lead(int state, int action, int next) {
    auto& pairs = leading_here_[static_cast<std::size_t>(next)];
    const bool known =
        std::any_of(pairs.begin(), pairs.end(), [=](const Pair& p) { return p.state == state && p.action == action; });
    if (!known) pairs.push_back({state, action});
  }
  void set_priority(int state, double priority) {
    priority_[static_cast<std::size_t>(state)] = priority;
    queue_.set(state, priority);
  }
  S largest(int state) const {
    const auto width = static_cast<std::ptrdiff_t>(this->actions());
    const auto row = this->q_.theta.begin() + state * width;
    return *std::max_element(row, row + width);
  }
  /// Q(s, a) = r + discount sum_s' P(s' | s, a) max Q(s', .) for the actions that were tried, in the counted model.
  void back_up(int s) {
    set_priority(s, 0);
    const S before = largest(s);
    for (int a = 0; a < this->actions(); ++a) {
      if (counts_.visits(s, a) == 0) continue;
      double later = 0;
      for (const auto& count : counts_.successors(s, a))
        if (count.went_on > 0) later += count.went_on * static_cast<double>(largest(count.next));
      this->q_.theta[static_cast<std::size_t>(s * this->actions() + a)] = static_cast<S>(
          counts_.mean_reward(s, a) + this->discount_ * later / static_cast<double>(counts_.visits(s, a)));
    }
    const double change = std::abs(static_cast<double>(largest(s)) - static_cast<double>(before));
    for (const Pair& p : leading_here_[static_cast<std::size_t>(s)]) {
      const auto successors = counts_.successors(p.state, p.action);
      const auto count = std::lower_bound(successors.begin(), successors.end(), s,
                                          [](const TransitionCounts::Count& c, int to) { return c.next < to; });
      const double priority =
          this->discount_ * change * count->went_on / static_cast<double>(counts_.visits(p.state, p.action));
      if (priority > priority_[static_cast<std::size_t>(p.state)]) set_priority(p.state, priority);
    }
  }

  int backups_;
  double threshold_;
  TransitionCounts counts_;
  std::vector<double> priority_;                 // a state
  detail::StateQueue<double> queue_;             // the same, by size
  std::vector<std::vector<Pair>> leading_here_;  // a state: pairs that led to it, going on
};

}  // namespace valence
