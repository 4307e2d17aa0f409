#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/replay.hpp"

/// Hindsight experience replay: Andrychowicz et al. (2017).
namespace valence {

/// What the goals of an environment are, over encoded states: `achieved(state, goal)` fills in the goal that is reached
/// in a state, `reward(achieved, goal)` is what a step earns that arrived where `achieved` is reached while `goal` was
/// wanted. Where episodes end at their goal, `bool terminated(achieved, goal)` says so; without it the recorded flags
/// are kept.
template <class G, class S>
concept GoalSpace = requires(const G& goals, std::span<const S> state, std::span<const S> goal, std::span<S> out) {
  goals.achieved(state, out);
  { goals.reward(goal, goal) } -> std::convertible_to<double>;
};

/// Where the goal of a relabelled transition comes from: what was reached at the end of its episode, or at one of the
/// transitions from itself on to the end, or at any of its episode; each as likely as the other (section 4.5).
enum class GoalStrategy { final, future, episode };

/// `share` in [0, 1] of the entries are relabelled (0.8: four relabelled ones for each recorded one, the paper's k =
/// 4); `discount` in [0, 1].
struct HindsightOptions {
  GoalStrategy strategy = GoalStrategy::future;
  double share = 0.8, discount = 0.99;
};

/// A `Replay` of states whose last `goal_size` numbers are the goal that was wanted, and which gives some of its
/// transitions with another goal, one that was reached later in the same episode, and the reward that it would have
/// earned.
///
/// Only transitions of finished episodes are drawn. A goal comes from the same episode, as far as that is held: never
/// from another one, nor from what was overwritten (pitfalls R10, R11).
template <Scalar S = float, class A = int>
class HindsightReplay {
 public:
  using Memory = Replay<S, A>;
  using Record = typename Memory::Record;
  using Batch = typename Memory::Batch;

  /// Discrete actions. `goal_size` in [1, state_size].
  HindsightReplay(std::size_t state_size, std::size_t goal_size, const ReplayOptions& memory = {},
                  const HindsightOptions& options = {})
    requires std::integral<A>
      : HindsightReplay(Memory(state_size, memory), goal_size, options) {}
  /// Actions are vectors of `action_size` numbers.
  HindsightReplay(std::size_t state_size, std::size_t goal_size, std::size_t action_size,
                  const ReplayOptions& memory = {}, const HindsightOptions& options = {})
    requires std::floating_point<A>
      : HindsightReplay(Memory(state_size, action_size, memory), goal_size, options) {}

  /// See `Replay::add`. Throws `Error`, unchanged, where an episode is longer than the memory.
  std::uint64_t add(const Record& t) {
    constexpr auto where = "HindsightReplay::add";
    if (memory_.continues(t.state)) {
      const std::uint64_t first = memory_.episode_first(memory_.added() - memory_.environments());
      if (memory_.added() - first >= memory_.capacity())
        fail(where, "the episode from id {} is longer than the memory; expected at most {} transitions{}", first,
             memory_.capacity(), memory_.environments() == 1 ? "" : " of all environments");
    }
    return memory_.add(t);
  }
  void end_episode(std::size_t environment = 0) { memory_.end_episode(environment); }

  /// Fills `batch` with `k` >= 1 transitions of finished episodes, drawn uniformly, with replacement, and relabels some;
  /// gives their number. Throws `Error` where no episode is over yet, and where `goals` gives numbers that aren't
  /// finite.
  template <GoalSpace<S> G>
  std::size_t sample(std::size_t k, Batch& batch, Rng& rng, const G& goals) {
    constexpr auto where = "HindsightReplay::sample";
    check_positive(where, "k", k);
    if (memory_.empty()) fail(where, "the memory is empty; expected at least one transition");
    std::uint64_t finished = 0;
    for (std::size_t e = 0; e < memory_.environments(); ++e) finished += memory_.finished_transitions(e);
    if (finished == 0) fail(where, "no episode is over yet, of {} transitions; expected one", memory_.size());

    batch.resize(memory_.state_size(), memory_.action_size(), k);
    for (std::uint64_t& id : batch.id) {
      std::uint64_t nth = rng.below(finished);
      std::size_t e = 0;
      for (; nth >= memory_.finished_transitions(e); ++e) nth -= memory_.finished_transitions(e);
      id = memory_.nth_of(e, nth);
    }
    batch.weight.setOnes();
    memory_.gather_drawn(batch, {.steps = 1, .discount = options_.discount});
    std::size_t relabelled = 0;
    for (std::size_t j = 0; j < k; ++j) {
      if (!(rng.uniform() < options_.share)) continue;
      relabel(batch, j, goal_source(batch.id[j], rng), goals);
      ++relabelled;
    }
    return relabelled;
  }

  const Memory& memory() const { return memory_; }
  std::size_t goal_size() const { return goal_.size(); }
  const HindsightOptions& options() const { return options_; }
  std::size_t size() const { return memory_.size(); }

  template <class Ar>
  void archive(Ar& ar) {
    std::size_t goal_size = goal_.size();  // the workspaces' numbers are no state
    ar(options_.strategy, options_.share, options_.discount, memory_, goal_size);
    check_range("HindsightReplay::archive", "goal_size", goal_size, 1, memory_.state_size());
    goal_.resize(goal_size), achieved_.resize(goal_size);
  }

 private:
  HindsightReplay(Memory memory, std::size_t goal_size, const HindsightOptions& options)
      : options_(options), memory_(std::move(memory)), goal_(goal_size), achieved_(goal_size) {
    constexpr auto where = "HindsightReplay";
    check_range(where, "goal_size", goal_size, 1, memory_.state_size());
    check_range(where, "share", options.share, 0, 1);
    check_range(where, "discount", options.discount, 0, 1);
  }

  /// The transition whose arrival gives the goal.
  std::uint64_t goal_source(std::uint64_t id, Rng& rng) const {
    const std::uint64_t last = memory_.episode_last(id);
    if (options_.strategy == GoalStrategy::final) return last;
    const std::uint64_t first = options_.strategy == GoalStrategy::future ? id : memory_.episode_first(id);
    return first + rng.below((last - first) / memory_.environments() + 1) * memory_.environments();
  }

  template <class G>
  void reached(std::uint64_t id, std::vector<S>& goal, const G& goals) const {
    std::fill(goal.begin(), goal.end(), std::numeric_limits<S>::quiet_NaN());  // what isn't filled in is found
    goals.achieved(memory_.at(id).next, std::span<S>(goal));
    check_finite("HindsightReplay::sample", "the goal achieved", std::span<const S>(goal));
  }

  template <class G>
  void relabel(Batch& batch, std::size_t j, std::uint64_t source, const G& goals) {
    reached(source, goal_, goals);
    reached(batch.id[j], achieved_, goals);
    const std::span<const S> goal = goal_, achieved = achieved_;
    const auto reward = static_cast<S>(goals.reward(achieved, goal));
    check_finite("HindsightReplay::sample", "the reward", reward);
    const auto at = static_cast<Eigen::Index>(j), place = batch.state.rows() - static_cast<Eigen::Index>(goal.size());
    std::copy(goal.begin(), goal.end(), &batch.state(place, at));
    std::copy(goal.begin(), goal.end(), &batch.next(place, at));
    batch.reward[at] = reward;
    if constexpr (requires {
                    { goals.terminated(achieved, goal) } -> std::convertible_to<bool>;
                  })
      batch.terminated[at] = goals.terminated(achieved, goal);
  }

  HindsightOptions options_;
  Memory memory_;
  std::vector<S> goal_, achieved_;  // workspaces
};

}  // namespace valence
