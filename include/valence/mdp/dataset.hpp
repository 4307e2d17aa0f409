#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/mdp/trajectory.hpp"

/// Recorded transitions: what a dataset is (concepts), one in columns, and how to collect it from an environment.
namespace valence {

/// Random access to transitions by value: whatever has `size()` and gives records with `state`, `action`, `reward`,
/// `next`, `terminated`, `truncated`. Columns inside, so a record is made where it is asked for.
template <class D>
concept Dataset = requires(const D data, std::size_t i) {
  { data.size() } -> std::convertible_to<std::size_t>;
  data[i].state;
  data[i].action;
  data[i].reward;
  data[i].next;
  { data[i].terminated } -> std::convertible_to<bool>;
  { data[i].truncated } -> std::convertible_to<bool>;
};

/// A dataset that knows where episodes begin and end: transitions `episode(k).begin` to `episode(k).end - 1`.
template <class D>
concept EpisodicDataset = Dataset<D> && requires(const D data, std::size_t k) {
  { data.episodes() } -> std::convertible_to<std::size_t>;
  { data.episode(k).begin } -> std::convertible_to<std::size_t>;
  { data.episode(k).end } -> std::convertible_to<std::size_t>;
};

/// A dataset that recorded how likely its actions were: `log_prob` is log mu(a | s) of the policy that acted.
template <class D>
concept LoggedDataset = Dataset<D> && requires(const D data, std::size_t i) {
  { data[i].log_prob } -> std::convertible_to<double>;
};

/// A transition and log mu(a | s) of the policy that acted; NaN where that wasn't recorded.
template <class State, class Action, class R = double>
struct LoggedTransition : Transition<State, Action, R> {
  double log_prob = std::numeric_limits<double>::quiet_NaN();
};

/// Transitions `begin` to `end - 1`.
struct EpisodeRange {
  std::size_t begin, end;
  std::size_t size() const { return end - begin; }
};

namespace detail {

/// A growing array of `bool` in contiguous memory, which `std::vector<bool>` hasn't.
class FlagColumn {
 public:
  FlagColumn() = default;
  FlagColumn(const FlagColumn& other) { assign(other.view()); }
  FlagColumn(FlagColumn&& other) noexcept
      : data_(std::move(other.data_)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  FlagColumn& operator=(FlagColumn other) noexcept {
    data_.swap(other.data_);
    std::swap(size_, other.size_), std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~FlagColumn() = default;

  void reserve(std::size_t capacity) {
    if (capacity <= capacity_) return;
    auto larger = std::make_unique<bool[]>(capacity);
    std::copy_n(data_.get(), size_, larger.get());
    data_ = std::move(larger);
    capacity_ = capacity;
  }
  void push_back(bool flag) {
    if (size_ == capacity_) reserve((std::max)(std::size_t{16}, 2 * capacity_));
    data_[size_++] = flag;
  }
  std::span<const bool> view() const { return {data_.get(), size_}; }
  bool& operator[](std::size_t i) { return data_[i]; }
  bool operator[](std::size_t i) const { return data_[i]; }

  template <class A>
  void archive(A& ar) {
    std::vector<bool> flags(data_.get(), data_.get() + size_);
    ar(flags);
    size_ = 0;
    for (const bool flag : flags) push_back(flag);
  }

 private:
  void assign(std::span<const bool> flags) {
    reserve(flags.size());
    std::copy(flags.begin(), flags.end(), data_.get());
    size_ = flags.size();
  }
  std::unique_ptr<bool[]> data_;
  std::size_t size_ = 0, capacity_ = 0;
};

}  // namespace detail

/// Transitions in columns, in the order in which they were added. An episode ends where a transition terminated or was
/// truncated; behind the last end an unfinished one may follow. Satisfies `EpisodicDataset` and `LoggedDataset`.
///
///     TransitionDataset<int, int> data;
///     data.add({.state = 0, .action = 1, .reward = 0.5, .next = 2, .terminated = false, .truncated = false});
///     gae(Steps<double>{.reward = data.rewards(), .terminated = data.terminated(), .truncated = data.truncated(), ...}
template <class State = int, class Action = int, class R = double>
class TransitionDataset {
 public:
  using Record = LoggedTransition<State, Action, R>;

  std::size_t size() const { return reward_.size(); }
  bool empty() const { return reward_.empty(); }
  /// Transition i < size(); not checked.
  Record operator[](std::size_t i) const {
    return {{state_[i], action_[i], reward_[i], next_[i], terminated_[i], truncated_[i]},
            has_log_probs() ? log_prob_[i] : std::numeric_limits<double>::quiet_NaN()};
  }

  /// Appends a transition. Throws `Error` for a reward that isn't finite, and where the ones before have
  /// log-probabilities.
  void add(const Transition<State, Action, R>& t) {
    constexpr auto where = "TransitionDataset::add";
    if (has_log_probs()) fail(where, "transition {} has no log_prob; expected one, as those before have", size());
    check(where, t.reward);
    push(t);
  }
  /// Appends a transition and log mu(a | s) of the policy that acted, a finite number.
  void add(const Transition<State, Action, R>& t, double log_prob) {
    constexpr auto where = "TransitionDataset::add";
    if (!empty() && !has_log_probs())
      fail(where, "transition {} has a log_prob; expected none, as those before have none", size());
    check_finite(where, "log_prob", log_prob);
    check(where, t.reward);
    log_prob_.push_back(log_prob);
    push(t);
  }
  /// Appends the steps of a trajectory as an episode; one that isn't over counts as truncated after its last step.
  void add(const Trajectory<State, Action, R>& trajectory) {
    constexpr auto where = "TransitionDataset::add";
    const std::size_t n = trajectory.size();
    check_size(where, "reward", trajectory.reward.size(), n);
    if (n != 0) check_size(where, "state", trajectory.state.size(), n + 1);
    if (n != 0 && has_log_probs())
      fail(where, "the trajectory has no log_prob; expected one a step, as the transitions before have");
    for (std::size_t t = 0; t < n; ++t) check(where, trajectory.reward[t]);
    end_episode();
    for (std::size_t t = 0; t < n; ++t) push(trajectory[t]);
    end_episode();
  }
  /// Where the last transition isn't an end, it becomes one: truncated, as what follows wasn't seen.
  void end_episode() {
    if (empty() || terminated_[size() - 1] || truncated_[size() - 1]) return;
    truncated_[size() - 1] = true;
    ends_.push_back(size());
  }
  /// Makes room for so many transitions in all.
  void reserve(std::size_t transitions) {
    state_.reserve(transitions), action_.reserve(transitions), reward_.reserve(transitions), next_.reserve(transitions);
    terminated_.reserve(transitions), truncated_.reserve(transitions);
  }

  /// Episodes, an unfinished one at the end included.
  std::size_t episodes() const { return ends_.size() + (last_end() < size() ? 1U : 0U); }
  /// Episode k < episodes(); not checked.
  EpisodeRange episode(std::size_t k) const {
    return {k == 0 ? 0 : ends_[k - 1], k < ends_.size() ? ends_[k] : size()};
  }
  /// Episode k as a trajectory of its own. Throws `Error` where a transition doesn't begin where the one before ended
  /// (transitions that were drawn one by one are no episode).
  Trajectory<State, Action, R> trajectory(std::size_t k) const
    requires std::equality_comparable<State>
  {
    constexpr auto where = "TransitionDataset::trajectory";
    if (k >= episodes()) fail(where, "episode is {}; expected fewer than {}", k, episodes());
    const EpisodeRange range = episode(k);
    Trajectory<State, Action, R> out(state_[range.begin]);
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (!(out.current() == state_[i]))
        fail(where, "transition {} begins in another state than the one before it ended in; expected an episode", i);
      out.append(action_[i], Step<State, R>{next_[i], reward_[i], terminated_[i], truncated_[i]});
    }
    return out;
  }

  /// The columns, an entry a transition. Valid until something is added.
  std::span<const State> states() const { return state_; }
  std::span<const Action> actions() const { return action_; }
  std::span<const R> rewards() const { return reward_; }
  /// Where each transition itself arrived, also at the end of an episode.
  std::span<const State> next_states() const { return next_; }
  std::span<const bool> terminated() const { return terminated_.view(); }
  std::span<const bool> truncated() const { return truncated_.view(); }
  /// log mu(a | s); empty where it wasn't recorded.
  std::span<const double> log_probs() const { return log_prob_; }
  bool has_log_probs() const { return !log_prob_.empty(); }

  template <class A>
  void archive(A& ar) {
    ar(state_, action_, reward_, next_, terminated_, truncated_, log_prob_, ends_);
  }

 private:
  std::size_t last_end() const { return ends_.empty() ? 0 : ends_.back(); }
  static void check(const char* where, const R& reward) {
    if constexpr (std::floating_point<R>) check_finite(where, "reward", reward);
  }
  void push(const Transition<State, Action, R>& t) {
    state_.push_back(t.state), action_.push_back(t.action), reward_.push_back(t.reward), next_.push_back(t.next);
    terminated_.push_back(t.terminated), truncated_.push_back(t.truncated);
    if (t.terminated || t.truncated) ends_.push_back(size());
  }

  std::vector<State> state_, next_;
  std::vector<Action> action_;
  std::vector<R> reward_;
  detail::FlagColumn terminated_, truncated_;
  std::vector<double> log_prob_;   // empty, or one a transition
  std::vector<std::size_t> ends_;  // one past the last transition of each finished episode
};

/// When `collect` ends: after so many episodes or steps, whichever comes first; 0 for no limit, and one must be set.
/// Episodes are cut off after `max_episode_steps` >= 1.
struct CollectOptions {
  std::size_t episodes = 0, steps = 0, max_episode_steps = 100'000;
};

namespace detail {

template <class Policy, class State>
concept SamplesActions = requires(const Policy& policy, const State& s, Rng& rng) { policy.sample(s, rng); };
template <class Policy, class State>
concept IsCalledForActions = requires(const Policy& policy, const State& s, Rng& rng) { policy(s, rng); };
template <class Policy, class State, class Action>
concept TellsLogProbs = requires(const Policy& policy, const State& s, const Action& a) {
  { policy.log_prob(s, a) } -> std::convertible_to<double>;
};

}  // namespace detail

/// Plays episodes in a copy of `env` and records them. `policy` is a function `(state, rng) -> action`, or has
/// `sample(state, rng)`; where it has `log_prob(state, action)` too, that is recorded. The last episode may be cut off
/// by `options.steps`, others by `options.max_episode_steps`: their last transition is truncated.
template <class E, class Policy>
auto collect(E env, const Policy& policy, const CollectOptions& options, Rng& rng) {
  explain_environment<E>();
  using State = typename E::State;
  using Action = typename E::Action;
  using R = std::remove_cvref_t<decltype(env.step(std::declval<const Action&>(), rng).reward)>;
  static_assert(detail::SamplesActions<Policy, State> || detail::IsCalledForActions<Policy, State>,
                "valence: a policy is a function `(state, rng) -> action`, or has `sample(state, rng)`");
  constexpr auto where = "collect";
  if (options.episodes == 0 && options.steps == 0) fail(where, "episodes and steps are 0; expected one to be more");
  check_positive(where, "max_episode_steps", options.max_episode_steps);

  TransitionDataset<State, Action, R> data;
  data.reserve(options.steps);
  const std::size_t most = options.steps == 0 ? (std::numeric_limits<std::size_t>::max)() : options.steps;
  for (std::size_t episode = 0; (options.episodes == 0 || episode < options.episodes) && data.size() < most;
       ++episode) {
    State state = env.reset(rng);
    const std::size_t end = (std::min)(most - data.size(), options.max_episode_steps);
    for (std::size_t t = 0; t < end; ++t) {
      Action action = [&]() -> Action {
        if constexpr (detail::SamplesActions<Policy, State>)
          return policy.sample(state, rng);
        else
          return policy(state, rng);
      }();
      const auto step = env.step(action, rng);
      const Transition<State, Action, R> transition{state,     action,          step.reward,
                                                    step.next, step.terminated, step.truncated};
      if constexpr (detail::TellsLogProbs<Policy, State, Action>)
        data.add(transition, static_cast<double>(policy.log_prob(state, action)));
      else
        data.add(transition);
      if (step.terminated || step.truncated) break;
      state = step.next;
    }
    data.end_episode();
  }
  return data;
}

}  // namespace valence
