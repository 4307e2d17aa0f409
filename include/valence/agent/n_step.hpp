#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/value_agent.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/value/action_returns.hpp"
#include "valence/value/returns.hpp"
#include "valence/value/steps.hpp"

/// Agents that look n steps ahead (Sutton and Barto 2018, chapter 7). A pair is updated n steps after it was visited,
/// or at the end of its episode, with a target that value/ computes from the steps between and the values of now. A
/// step costs n looks at the model.
namespace valence {

/// `steps` >= 1: n. The others as in `OnlineOptions`.
struct NStepSarsaOptions {
  int steps = 4;
  Rate step_size = 0.1;
  double discount = 0.99;
};

/// `greedy_target`: the policy learned about is the greedy one; otherwise it is the behaviour. The others as in
/// `NStepSarsaOptions`.
struct TreeBackupAgentOptions {
  int steps = 4;
  Rate step_size = 0.1;
  double discount = 0.99;
  bool greedy_target = false;
};

/// `sigma` in [0, 1]: how much of the backup is sampled. The others as in `NStepSarsaOptions`.
struct QSigmaAgentOptions {
  int steps = 4;
  Rate step_size = 0.1;
  double discount = 0.99, sigma = 0.5;
};

namespace detail {

/// The last n transitions of the episode that are still to be learned from.
template <Approximator F, ActionChoice Choice>
class NStepAgent : public ValueAgent<F, Choice> {
  using Base = ValueAgent<F, Choice>;

 public:
  /// Forgets what is left of an episode that didn't go on.
  void begin_episode() {
    Base::begin_episode();
    held_ = 0;
  }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(held_, inputs_, actions_, rewards_);
    check_size("archive", "the window", actions_.size(), window_);
    check_size("archive", "the window's states", inputs_.size(), window_ * this->q_.input_count());
    check_size("archive", "the window's rewards", rewards_.size(), window_);
    check_range("archive", "held", held_, std::size_t{0}, window_);
  }

 protected:
  using S = typename F::Scalar;

  NStepAgent(std::string_view where, F model, Choice choice, int steps, Rate step_size, double discount, Rng& start)
      : Base(where, std::move(model), std::move(choice), std::move(step_size), discount, start) {
    check_positive(where, "steps", steps);
    window_ = static_cast<std::size_t>(steps);
    inputs_.resize(window_ * this->q_.input_count());
    actions_.resize(window_), rewards_.resize(window_);
    next_value_.resize(window_), action_value_.resize(window_), probability_.resize(window_), target_.resize(window_);
    one_.assign(window_, S(1));
    policy_.resize(static_cast<std::size_t>(this->actions()));
    terminated_ = Eigen::Array<bool, Eigen::Dynamic, 1>::Constant(steps, false);
  }

  /// Takes the transition in, and updates the pairs whose time has come. `policy(q, p)`: the probabilities of the
  /// policy learned about, given its values; `last(q)`: the value of the last state, which counts where it didn't
  /// terminate; `backup(steps, result)`: the target.
  template <class State, class Action, class Policy, class Last, class Backup>
  void advance(std::string_view where, const Transition<State, Action>& t, const Policy& policy, const Last& last,
               const Backup& backup) {
    const std::size_t size = this->q_.input_count();
    const int action = this->checked_action(where, t);
    check_finite(where, "the reward", static_cast<S>(t.reward));
    this->q_.write_input(t.state, std::span(inputs_).subspan(held_ * size, size));
    actions_[held_] = action, rewards_[held_] = static_cast<S>(t.reward);
    ++held_;
    const bool done = t.terminated || t.truncated;
    while (held_ == window_ || (done && held_ > 0)) {
      update_oldest(where, t, policy, last, backup);
      std::copy(inputs_.begin() + static_cast<std::ptrdiff_t>(size), inputs_.end(), inputs_.begin());
      std::copy(actions_.begin() + 1, actions_.end(), actions_.begin());
      std::copy(rewards_.begin() + 1, rewards_.end(), rewards_.begin());
      --held_;
    }
    ++this->steps_;
  }

  /// E_pi Q: the mean of q under `policy`.
  template <class Policy>
  S expectation(std::span<const S> q, const Policy& policy) {
    policy(q, std::span(policy_));
    return mean_value(q);
  }

 private:
  template <class State, class Action, class Policy, class Last, class Backup>
  void update_oldest(std::string_view where, const Transition<State, Action>& t, const Policy& policy, const Last& last,
                     const Backup& backup) {
    const std::size_t size = this->q_.input_count(), n = held_;
    next_value_[n - 1] = t.terminated ? S(0) : last(this->next_values(t));
    for (std::size_t k = n; k-- > 0;) {  // backwards, so that the last look is at the oldest state
      const auto q = this->here_.look_again(this->q_, std::span(inputs_).subspan(k * size, size));
      policy(q, std::span(policy_));
      action_value_[k] = q[static_cast<std::size_t>(actions_[k])];
      probability_[k] = policy_[static_cast<std::size_t>(actions_[k])];
      if (k > 0) next_value_[k - 1] = mean_value(q);
      terminated_[static_cast<Eigen::Index>(k)] = k == n - 1 && t.terminated;
    }
    const std::span<S> target = std::span(target_).first(n);
    backup(Steps<S>{.reward = std::span(rewards_).first(n),
                    .next_value = std::span(next_value_).first(n),
                    .terminated = {terminated_.data(), n},
                    .ratio = std::span(one_).first(n),
                    .action_value = std::span(action_value_).first(n),
                    .probability = std::span(probability_).first(n)},
           target);
    this->here_.move(this->q_, actions_[0],
                     static_cast<S>(this->next_step_size(where)) * (target[0] - action_value_[0]));
  }

  S mean_value(std::span<const S> q) const {
    S sum = 0;
    for (std::size_t a = 0; a < q.size(); ++a) sum += policy_[a] * q[a];
    return sum;
  }

  std::size_t window_ = 1, held_ = 0;
  std::vector<InputNumber<F>> inputs_ = {};  // the oldest first, as are:
  std::vector<int> actions_ = {};
  std::vector<S> rewards_ = {};
  std::vector<S> next_value_ = {}, action_value_ = {}, probability_ = {}, target_ = {}, one_ = {},
                 policy_ = {};  // scratch
  Eigen::Array<bool, Eigen::Dynamic, 1> terminated_;
};

}  // namespace detail

/// n-step Sarsa (Sutton and Barto 2018, equations 7.4 and 7.5): the next n rewards and Q(s, a) of the pair after them.
/// One step is `Sarsa`; at least as many as an episode has is Monte Carlo. `learn` chooses the next action, as
/// `Sarsa`'s does.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class NStepSarsa : public detail::NStepAgent<F, Choice> {
  using Base = detail::NStepAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random.
  explicit NStepSarsa(F model, Choice choice = {}, NStepSarsaOptions options = {}, Rng start = Rng{})
      : Base("NStepSarsa", std::move(model), std::move(choice), options.steps, std::move(options.step_size),
             options.discount, start) {}

  /// Throws `Error` for a reward or a value that isn't finite, and a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng& rng) {
    this->checked_action("NStepSarsa", t);
    const int action = t.terminated ? -1 : this->choice_.choose(this->next_values(t), rng);
    this->advance(
        "NStepSarsa", t, [](std::span<const S>, std::span<S>) {},
        [action](std::span<const S> q) { return q[static_cast<std::size_t>(action)]; },
        [this](const Steps<S>& steps, std::span<S> result) {
          discounted_returns(steps, result, {.discount = this->discount_});
        });
    this->chosen_ = t.truncated ? -1 : action;
  }
};

/// n-step tree backup (Precup et al. 2000; Sutton and Barto 2018, section 7.5): off policy without importance ratios,
/// because the branches not taken count with their estimated values. With `greedy_target` one step is Q-learning,
/// without it expected Sarsa.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class TreeBackup : public detail::NStepAgent<F, Choice> {
  using Base = detail::NStepAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random.
  explicit TreeBackup(F model, Choice choice = {}, TreeBackupAgentOptions options = {}, Rng start = Rng{})
      : Base("TreeBackup", std::move(model), std::move(choice), options.steps, std::move(options.step_size),
             options.discount, start),
        greedy_(options.greedy_target) {}

  /// Throws `Error` for a reward or a value that isn't finite, and a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    const auto policy = [this](std::span<const S> q, std::span<S> p) {
      if (greedy_)
        Greedy{}.probabilities(q, p);
      else
        this->choice_.probabilities(q, p);
    };
    const auto last = [&](std::span<const S> q) { return this->expectation(q, policy); };
    this->advance("TreeBackup", t, policy, last, [this](const Steps<S>& steps, std::span<S> result) {
      tree_backup(steps, result, {.discount = this->discount_});
    });
  }

 private:
  bool greedy_;
};

/// n-step Q(sigma) on policy (De Asis et al. 2018; Sutton and Barto 2018, section 7.6): between sampling the next
/// action (sigma = 1) and taking the mean over all (0, which is `TreeBackup`). The state after the last reward always
/// counts by its mean, so one step is expected Sarsa for every sigma.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class QSigma : public detail::NStepAgent<F, Choice> {
  using Base = detail::NStepAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random.
  explicit QSigma(F model, Choice choice = {}, QSigmaAgentOptions options = {}, Rng start = Rng{})
      : Base("QSigma", std::move(model), std::move(choice), options.steps, std::move(options.step_size),
             options.discount, start),
        sigma_(options.sigma) {
    check_range("QSigma", "sigma", sigma_, 0, 1);
  }

  /// Throws `Error` for a reward or a value that isn't finite, and a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    const auto policy = [this](std::span<const S> q, std::span<S> p) { this->choice_.probabilities(q, p); };
    const auto last = [&](std::span<const S> q) { return this->expectation(q, policy); };
    this->advance("QSigma", t, policy, last, [this](const Steps<S>& steps, std::span<S> result) {
      q_sigma(steps, result, {.discount = this->discount_, .sigma = sigma_});
    });
  }

 private:
  double sigma_;
};

}  // namespace valence
