#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/prefetch.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/step.hpp"

/// The memory that off-policy learners train from: a ring of the last transitions, in columns.
namespace valence {

/// `capacity` >= 1 transitions are kept, the newest ones. `environments` in [1, capacity]: so many are played side by
/// side, and their transitions come in turns (0, 1, .., environments - 1, 0, ..).
struct ReplayOptions {
  std::size_t capacity = 1'000'000, environments = 1;
};

/// How many transitions an entry of a batch spans: up to `steps` >= 1 of one episode, discounted by `discount` in
/// [0, 1] each (3: Rainbow's n-step returns, Hessel et al. 2018).
struct ReplaySteps {
  std::size_t steps = 1;
  double discount = 0.99;
};

/// A column of flags: contiguous `bool`.
using Flags = Eigen::Array<bool, Eigen::Dynamic, 1>;

/// What a replay memory gives to a learner: k entries, one a column, in buffers that are the caller's and are kept from
/// one batch to the next. Entry j spans m = steps[j] >= 1 transitions, of which the last one says how it ended:
///
///   target = reward[j] + (terminated[j] ? 0 : discount[j] V(next.col(j))).
template <Scalar S = float, class A = int>
struct ReplayBatch {
  Matrix<S> state = {};     ///< state_size x k: where the first transition begins
  Matrix<A> action = {};    ///< action_size x k: what was done there
  Vector<S> reward = {};    ///< k: r_0 + discount r_1 + ... + discount^{m-1} r_{m-1}
  Matrix<S> next = {};      ///< state_size x k: where the last transition arrived, also at the end of an episode
  Vector<S> discount = {};  ///< k: discount^m, the terminated ones' too: mask by `terminated`
  Flags terminated = {};    ///< k: the last transition terminated
  Flags truncated = {};     ///< k: the last transition was truncated
  Vector<int> steps = {};   ///< k: m, transitions spanned
  Vector<S> weight = {};    ///< k: importance weights in (0, 1]; 1 where the draw was uniform
  std::vector<std::uint64_t> id = {};  ///< k: names of the first transitions (see `Replay`)

  std::size_t size() const { return id.size(); }
  /// The target above, `next_value` being V(next.col(j)), which isn't read where the last transition terminated.
  S target(Eigen::Index j, S next_value) const {
    return terminated[j] ? reward[j] : reward[j] + discount[j] * next_value;
  }
  /// Makes room; allocates where a size is new.
  void resize(std::size_t state_size, std::size_t action_size, std::size_t k) {
    const auto rows = static_cast<Eigen::Index>(state_size), cols = static_cast<Eigen::Index>(k);
    state.resize(rows, cols), next.resize(rows, cols);
    action.resize(static_cast<Eigen::Index>(action_size), cols);
    reward.resize(cols), discount.resize(cols), weight.resize(cols), steps.resize(cols);
    terminated.resize(cols), truncated.resize(cols);
    id.resize(k);
  }
};

namespace detail {

/// A queue of the ends of one environment's episodes, oldest first: which transition it was, and the state that it
/// arrived in. It grows as needed and never shrinks.
template <Scalar S>
class EpisodeEnds {
 public:
  std::size_t size() const { return count_; }
  std::uint64_t id(std::size_t k) const { return id_[place(k)]; }
  std::span<const S> state(std::size_t k, std::size_t state_size) const {
    return {state_.data() + place(k) * state_size, state_size};
  }
  /// The first end at or after transition `id`; size() where there is none.
  std::size_t at_or_after(std::uint64_t id) const {
    std::size_t low = 0, high = count_;
    while (low < high) {
      const std::size_t middle = low + (high - low) / 2;
      if (id_[place(middle)] < id)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  void push(std::uint64_t id, std::span<const S> state) {
    if (count_ == id_.size()) grow(state.size());
    const std::size_t at = place(count_);
    id_[at] = id;
    std::copy(state.begin(), state.end(), state_.data() + at * state.size());
    ++count_;
  }
  void pop() {
    first_ = first_ + 1 == id_.size() ? 0 : first_ + 1;
    --count_;
  }

  std::size_t bytes() const { return id_.capacity() * sizeof(std::uint64_t) + state_.capacity() * sizeof(S); }
  void check(std::string_view where, std::size_t state_size) const {
    check_size(where, "the ends' states", state_.size(), id_.size() * state_size);
    if (count_ > id_.size() || (first_ != 0 && first_ >= id_.size()))
      fail(where, "{} ends begin at {}; expected places below {}", count_, first_, id_.size());
  }

  template <class A>
  void archive(A& ar) {
    ar(first_, count_, id_, state_);
  }

 private:
  std::size_t place(std::size_t k) const {
    const std::size_t at = first_ + k;
    return at < id_.size() ? at : at - id_.size();
  }
  void grow(std::size_t state_size) {
    const std::size_t larger = count_ < 16 ? 16 : count_ + count_ / 2;
    std::vector<std::uint64_t> id(larger);
    std::vector<S> state(larger * state_size);
    for (std::size_t k = 0; k < count_; ++k) {
      id[k] = id_[place(k)];
      const auto from = this->state(k, state_size);
      std::copy(from.begin(), from.end(), state.data() + k * state_size);
    }
    id_ = std::move(id), state_ = std::move(state), first_ = 0;
  }

  std::size_t first_ = 0, count_ = 0;
  std::vector<std::uint64_t> id_;
  std::vector<S> state_;  // state_size numbers an end
};

}  // namespace detail

/// The last `capacity` transitions, in columns: encoded states of `state_size` numbers (mdp/encode.hpp), discrete
/// actions (`A` is an integer) or vectors of `action_size` numbers, rewards, and how each one ended. Satisfies
/// `Dataset`, the oldest transition first.
///
///     Replay<float> replay{4, {.capacity = 100'000}};
///     replay.add({.state = s, .action = a, .reward = r, .next = s2, .terminated = t, .truncated = cut});
///     ReplayBatch<float> batch;
///     replay.sample(256, batch, rng, {.steps = 3, .discount = 0.99});
///
/// **Names.** The n-th transition ever added has id n (from 0) and keeps it; the memory holds the ids from `oldest()`
/// to `added() - 1`. So an id of something that was overwritten is known to be one.
///
/// **Memory.** A state is stored once: where a transition arrived is where the next one of its environment begins. Only
/// where an episode ends the state it ended in is stored apart. An environment whose next transition begins somewhere
/// else although its episode wasn't over (a reset that nobody mentioned, transitions in any order) is noticed: the
/// earlier one keeps its own next state and its flags, and nothing reaches across. (Where the first state of an
/// unmentioned new episode happens to equal the last state of the old one, nothing can be noticed: `end_episode`.)
///
/// **Draws** are uniform and with replacement, so a batch may be larger than the memory; from an empty one they throw.
template <Scalar S = float, class A = int>
  requires std::integral<A> || std::floating_point<A>
class Replay {
 public:
  /// What `action` is in a record: an integer, or a view of `action_size` numbers.
  using Action = std::conditional_t<std::integral<A>, A, std::span<const A>>;
  /// A transition as it is added and read: views of encoded states.
  using Record = Transition<std::span<const S>, Action, S>;
  using Batch = ReplayBatch<S, A>;

  /// Discrete actions. `state_size` >= 1.
  explicit Replay(std::size_t state_size, const ReplayOptions& options = {})
    requires std::integral<A>
      : Replay(state_size, 1, options, 0) {}
  /// Actions are vectors of `action_size` >= 1 numbers.
  Replay(std::size_t state_size, std::size_t action_size, const ReplayOptions& options = {})
    requires std::floating_point<A>
      : Replay(state_size, action_size, options, 0) {}

  /// Appends a transition, over the oldest one where the memory is full; gives its id. Throws `Error`, unchanged, for
  /// sizes that don't fit and numbers that aren't finite.
  std::uint64_t add(const Record& t) {
    constexpr auto where = "Replay::add";
    check_size(where, "state", t.state.size(), state_size_);
    check_size(where, "next", t.next.size(), state_size_);
    check_finite(where, "state", t.state);
    check_finite(where, "next", t.next);
    check_finite(where, "reward", t.reward);
    if constexpr (std::floating_point<A>) {
      check_size(where, "action", t.action.size(), action_size_);
      check_finite(where, "action", t.action);
    }
    const std::size_t lane = environment(added_);
    if (is_open(lane) && !continues(t.state)) close(lane, cut);
    const std::size_t slot = head_;
    const bool done = t.terminated || t.truncated;
    if (done) ends_[lane].push(added_, t.next);
    if (added_ >= capacity_ && flags_[slot] != 0) ends_[environment(added_ - capacity_)].pop();
    std::copy(t.state.begin(), t.state.end(), state_.data() + slot * state_size_);
    if (!done) std::copy(t.next.begin(), t.next.end(), arrived_.data() + lane * state_size_);
    if constexpr (std::integral<A>)
      action_[slot] = t.action;
    else
      std::copy(t.action.begin(), t.action.end(), action_.data() + slot * action_size_);
    reward_[slot] = t.reward;
    flags_[slot] = static_cast<std::uint8_t>((t.terminated ? terminated : 0) | (t.truncated ? truncated : 0));
    head_ = head_ + 1 == capacity_ ? 0 : head_ + 1;
    return added_++;
  }
  /// The newest transition of an environment becomes the last of its episode, truncated, where it isn't an end yet.
  void end_episode(std::size_t lane = 0) {
    if (lane >= environments_)
      fail("Replay::end_episode", "environment is {}; expected less than {}", lane, environments_);
    if (is_open(lane)) close(lane, truncated);
  }
  /// Would a transition from `state`, added now, go on with its environment's episode?
  bool continues(std::span<const S> state) const {
    const std::size_t lane = environment(added_);
    return is_open(lane) && std::equal(state.begin(), state.end(), arrived_.begin() + offset(lane * state_size_),
                                       arrived_.begin() + offset((lane + 1) * state_size_));
  }

  /// Transitions held.
  std::size_t size() const { return static_cast<std::size_t>(added_ - oldest()); }
  bool empty() const { return added_ == 0; }
  /// Transitions ever added: one more than the newest id.
  std::uint64_t added() const { return added_; }
  /// The oldest id held; equal to `added()` where there is none.
  std::uint64_t oldest() const { return added_ > capacity_ ? added_ - capacity_ : 0; }
  bool contains(std::uint64_t id) const { return id >= oldest() && id < added_; }
  std::size_t capacity() const { return capacity_; }
  std::size_t state_size() const { return state_size_; }
  std::size_t action_size() const { return action_size_; }
  std::size_t environments() const { return environments_; }
  /// Which environment transition `id` is of.
  std::size_t environment(std::uint64_t id) const {
    return environments_ == 1 ? 0 : static_cast<std::size_t>(id % environments_);  // a division is as dear as a miss
  }
  /// Allocated for transitions, bytes.
  std::size_t bytes() const {
    std::size_t sum = (state_.capacity() + arrived_.capacity() + reward_.capacity()) * sizeof(S) +
                      action_.capacity() * sizeof(A) + flags_.capacity();
    for (const auto& ends : ends_) sum += ends.bytes();
    return sum;
  }

  /// The i-th oldest transition, i < size(); not checked. Its views are valid until something is added.
  Record operator[](std::size_t i) const { return record(oldest() + i); }
  /// Transition `id`. Throws `Error` where the memory doesn't hold it.
  Record at(std::uint64_t id) const {
    check_id("Replay::at", "id", id);
    return record(id);
  }

  /// The last transition of the episode that holds transition `id`, or the newest of one that isn't over. O(log
  /// episodes). Throws `Error` where the memory doesn't hold `id`.
  std::uint64_t episode_last(std::uint64_t id) const {
    check_id("Replay::episode_last", "id", id);
    const auto& ends = ends_[environment(id)];
    const std::size_t k = ends.at_or_after(id);
    return k < ends.size() ? ends.id(k) : newest_of(environment(id));
  }
  /// The first transition of the episode that holds transition `id`, of those that weren't overwritten.
  std::uint64_t episode_first(std::uint64_t id) const {
    check_id("Replay::episode_first", "id", id);
    const auto& ends = ends_[environment(id)];
    const std::size_t k = ends.at_or_after(id);
    return k == 0 ? oldest_of(environment(id)) : ends.id(k - 1) + environments_;
  }
  /// Is the episode of transition `id` over?
  bool finished(std::uint64_t id) const { return is_end(slot_of(episode_last(id))); }
  /// Transitions of one environment's finished episodes: they are its oldest ones.
  std::uint64_t finished_transitions(std::size_t lane) const {
    const auto& ends = ends_[lane];
    return ends.size() == 0 ? 0 : (ends.id(ends.size() - 1) - oldest_of(lane)) / environments_ + 1;
  }
  /// The i-th oldest transition of one environment; not checked.
  std::uint64_t nth_of(std::size_t lane, std::uint64_t i) const { return oldest_of(lane) + i * environments_; }

  /// Calls `f(first, last)` with the ids of every episode held, environment by environment, an unfinished one included;
  /// their transitions are `environments()` apart.
  template <class F>
  void for_each_episode(F&& f) const {
    for (std::size_t lane = 0; lane < environments_ && lane < added_; ++lane) {
      std::uint64_t first = oldest_of(lane);
      for (std::size_t k = 0; k < ends_[lane].size(); ++k) {
        f(first, ends_[lane].id(k));
        first = ends_[lane].id(k) + environments_;
      }
      if (first < added_) f(first, newest_of(lane));
    }
  }

  /// Fills `batch` with `k` >= 1 entries that begin at transitions drawn uniformly, with replacement. An entry ends
  /// after `options.steps` transitions, where its episode ends or was cut off, or at the newest transition, whichever
  /// comes first (pitfalls V10, V11, R12). k random outputs. Throws `Error` where the memory is empty.
  void sample(std::size_t k, Batch& batch, Rng& rng, const ReplaySteps& options = {}) const {
    constexpr auto where = "Replay::sample";
    check_positive(where, "k", k);
    if (empty()) fail(where, "the memory is empty; expected at least one transition");
    check_steps(where, options);
    batch.resize(state_size_, action_size_, k);
    rng.fill_below(std::span<std::uint64_t>(batch.id), size());
    for (std::uint64_t& id : batch.id) id += oldest();
    batch.weight.setOnes();
    gather_checked(batch, options);
  }
  /// Fills `batch` with the entries that begin at the transitions `id`, in that order. Throws `Error` where the memory
  /// doesn't hold one of them.
  void gather(std::span<const std::uint64_t> id, Batch& batch, const ReplaySteps& options = {}) const {
    constexpr auto where = "Replay::gather";
    for (std::size_t j = 0; j < id.size(); ++j)
      if (!contains(id[j])) fail(where, "id[{}] is {}; expected one in [{}, {})", j, id[j], oldest(), added_);
    check_steps(where, options);
    batch.resize(state_size_, action_size_, id.size());
    std::copy(id.begin(), id.end(), batch.id.begin());
    batch.weight.setOnes();
    gather_checked(batch, options);
  }
  /// `gather` for `batch.id` as it stands, `batch.weight` kept: for samplers of your own. Call `batch.resize` first.
  void gather_drawn(Batch& batch, const ReplaySteps& options = {}) const {
    constexpr auto where = "Replay::gather_drawn";
    for (std::size_t j = 0; j < batch.size(); ++j)
      if (!contains(batch.id[j]))
        fail(where, "id[{}] is {}; expected one in [{}, {})", j, batch.id[j], oldest(), added_);
    check_shape(where, "state", batch.state.rows(), batch.state.cols(), offset(state_size_), offset(batch.size()));
    check_shape(where, "action", batch.action.rows(), batch.action.cols(), offset(action_size_), offset(batch.size()));
    check_steps(where, options);
    gather_checked(batch, options);
  }

  template <class Ar>
  void archive(Ar& ar) {
    ar(capacity_, state_size_, action_size_, environments_, added_);
    ar(state_, action_, reward_, flags_, arrived_, ends_);
    constexpr auto where = "Replay::archive";
    check_positive(where, "capacity", capacity_);
    check_size(where, "reward", reward_.size(), capacity_);
    check_size(where, "flags", flags_.size(), capacity_);
    check_size(where, "state", state_.size(), capacity_ * state_size_);
    check_size(where, "action", action_.size(), capacity_ * action_size_);
    check_size(where, "arrived", arrived_.size(), environments_ * state_size_);
    check_size(where, "ends", ends_.size(), environments_);
    for (const auto& ends : ends_) ends.check(where, state_size_);
    head_ = static_cast<std::size_t>(added_ % capacity_);
  }

 private:
  // How a transition ended; 0: its episode goes on. `cut`: another one began without a word.
  static constexpr std::size_t chunk = 64, line = 64 / sizeof(S), most_asked_for = 8 * line;
  static constexpr std::uint8_t terminated = 1, truncated = 2, cut = 4;

  Replay(std::size_t state_size, std::size_t action_size, const ReplayOptions& options, int)
      : capacity_(options.capacity),
        state_size_(state_size),
        action_size_(action_size),
        environments_(options.environments) {
    constexpr auto where = "Replay";
    check_positive(where, "state_size", state_size);
    check_positive(where, "action_size", action_size);
    check_positive(where, "capacity", options.capacity);
    check_range(where, "environments", options.environments, 1, options.capacity);
    state_.resize(capacity_ * state_size_), action_.resize(capacity_ * action_size_);
    reward_.resize(capacity_), flags_.resize(capacity_);
    arrived_.resize(environments_ * state_size_), ends_.resize(environments_);
  }

  static std::ptrdiff_t offset(std::size_t i) { return static_cast<std::ptrdiff_t>(i); }
  /// Slots count round the ring from `head_`, where the next transition goes: no division. `id` must be held.
  std::size_t slot_of(std::uint64_t id) const {
    const auto back = static_cast<std::size_t>(added_ - id);
    return head_ >= back ? head_ - back : head_ + capacity_ - back;
  }
  bool is_end(std::size_t slot) const { return flags_[slot] != 0; }
  /// The environment's oldest and newest id; it must have one.
  std::uint64_t oldest_of(std::size_t lane) const {
    const std::uint64_t first = oldest();
    return first + (lane + environments_ - environment(first)) % environments_;
  }
  std::uint64_t newest_of(std::size_t lane) const { return added_ - 1 - (added_ - 1 - lane) % environments_; }
  bool is_open(std::size_t lane) const { return added_ > lane && !is_end(slot_of(newest_of(lane))); }
  void close(std::size_t lane, std::uint8_t flag) {
    const std::uint64_t last = newest_of(lane);
    ends_[lane].push(last, std::span<const S>(arrived_).subspan(lane * state_size_, state_size_));
    flags_[slot_of(last)] = flag;
  }

  std::span<const S> state_at(std::size_t slot) const { return {state_.data() + slot * state_size_, state_size_}; }
  std::span<const S> next_of(std::uint64_t id, std::size_t slot) const {
    const std::size_t lane = environment(id);
    if (is_end(slot)) return ends_[lane].state(ends_[lane].at_or_after(id), state_size_);
    if (id + environments_ < added_) return state_at(after(slot));
    return {arrived_.data() + lane * state_size_, state_size_};
  }
  /// The slot of the same environment's next transition.
  std::size_t after(std::size_t slot) const {
    const std::size_t next = slot + environments_;
    return next < capacity_ ? next : next - capacity_;
  }
  Record record(std::uint64_t id) const {
    const std::size_t slot = slot_of(id);
    Action action{};
    if constexpr (std::integral<A>)
      action = action_[slot];
    else
      action = {action_.data() + slot * action_size_, action_size_};
    return {state_at(slot),
            action,
            reward_[slot],
            next_of(id, slot),
            (flags_[slot] & terminated) != 0,
            (flags_[slot] & truncated) != 0};
  }

  void check_id(std::string_view where, std::string_view name, std::uint64_t id) const {
    if (!contains(id)) fail(where, "{} is {}; expected one in [{}, {})", name, id, oldest(), added_);
  }
  static void check_steps(std::string_view where, const ReplaySteps& options) {
    check_range(where, "steps", options.steps, 1, static_cast<std::size_t>((std::numeric_limits<int>::max)()));
    check_range(where, "discount", options.discount, 0, 1);
  }

  /// Asks for a state before it is read.
  static void ask_for(const S* state, std::size_t size) {
    const std::size_t most = (std::min)(size, most_asked_for);
    for (std::size_t i = 0; i < most; i += line) detail::prefetch(state + i);
    detail::prefetch(state + most - 1);
  }
  /// In two passes over a chunk of entries, so that the cache misses of one don't wait for those of the other: first the
  /// walks, which read little, then the states.
  void gather_checked(Batch& batch, const ReplaySteps& options) const {
    std::array<const S*, chunk> arrived;
    for (std::size_t first = 0; first < batch.size(); first += chunk) {
      const std::size_t end = (std::min)(first + chunk, batch.size());
      for (std::size_t j = first; j < end; ++j) arrived[j - first] = walk(batch, j, options);
      for (std::size_t j = first; j < end; ++j) {
        const std::size_t slot = slot_of(batch.id[j]);
        std::copy_n(state_.data() + slot * state_size_, state_size_, batch.state.data() + j * state_size_);
        std::copy_n(action_.data() + slot * action_size_, action_size_, batch.action.data() + j * action_size_);
        std::copy_n(arrived[j - first], state_size_, batch.next.data() + j * state_size_);
      }
    }
  }
  /// All of entry j but states and action; gives the state that it arrives in.
  const S* walk(Batch& batch, std::size_t j, const ReplaySteps& options) const {
    std::uint64_t id = batch.id[j];
    std::size_t slot = slot_of(id);
    ask_for(state_.data() + slot * state_size_, state_size_);
    detail::prefetch(action_.data() + slot * action_size_);
    double reward = 0, discount = 1;
    std::size_t taken = 0;
    for (;;) {
      reward += discount * static_cast<double>(reward_[slot]);
      discount *= options.discount;
      if (++taken == options.steps || is_end(slot) || id + environments_ >= added_) break;
      id += environments_, slot = after(slot);
    }
    const S* const next = next_of(id, slot).data();
    ask_for(next, state_size_);
    const auto at = static_cast<Eigen::Index>(j);
    batch.reward[at] = static_cast<S>(reward);
    if (!std::isfinite(batch.reward[at]))
      fail("Replay", "the rewards of {} steps from id {} sum to {}; expected a finite number", taken, batch.id[j],
           reward);
    batch.discount[at] = static_cast<S>(discount);
    batch.steps[at] = static_cast<int>(taken);
    batch.terminated[at] = (flags_[slot] & terminated) != 0;
    batch.truncated[at] = (flags_[slot] & truncated) != 0;
    return next;
  }

  std::size_t capacity_, state_size_, action_size_, environments_;
  std::uint64_t added_ = 0;
  std::size_t head_ = 0;  // added_ % capacity_
  std::vector<S> state_;  // a state a slot; transition id is in slot id % capacity
  std::vector<A> action_;
  std::vector<S> reward_;
  std::vector<std::uint8_t> flags_;
  std::vector<S> arrived_;                    // where each environment's newest transition arrived, while it is open
  std::vector<detail::EpisodeEnds<S>> ends_;  // of each environment
};

}  // namespace valence
