#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <span>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/parallel.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// What a vector of environments does with a lane whose episode is over: Gymnasium's three modes (gymnasium.vector
/// `AutoresetMode`).
enum class Autoreset {
  /// The next `step` ignores the lane's action, resets it, and gives the first state with reward 0.
  next_step,
  /// The step that ends an episode also resets: `states()` has the new one's first state, `arrived()` the old one's last.
  same_step,
  /// The lane waits; stepping it is an error until `reset(mask)` has reset it.
  disabled
};

/// `threads` as for `parallel_for`, which never changes a result.
struct VectorOptions {
  Autoreset autoreset = Autoreset::next_step;
  int threads = 1;
};

/// n copies of an environment that step together. Copy i draws from `rng.split(i)` alone, so n copies are n single runs
/// bit for bit, for any number of threads, and a copy more changes no other.
///
///     VectorEnvironment lanes{TimeLimit{CartPole{}}, 8, {.autoreset = Autoreset::same_step}};
///     lanes.reset(rng);
///     lanes.step(actions);
///     for (int i = 0; i < lanes.size(); ++i) if (lanes.moved(i)) learn(lanes.transition(i));
///
/// `transition(i)` is right in every mode: its `next` is the state that the action led to, never the next episode's
/// first, and a step that only reset a lane is none (`moved(i)` is false).
template <SingleReward E>
class VectorEnvironment {
 public:
  using State = typename E::State;
  using Action = typename E::Action;
  using Flags = Eigen::Array<bool, Eigen::Dynamic, 1>;

  /// `copies` >= 1.
  VectorEnvironment(const E& env, int copies, const VectorOptions& options = {}) : options_(options) {
    check_positive("VectorEnvironment", "copies", copies);
    lanes_.assign(static_cast<std::size_t>(copies), Lane{env, Rng{0}});
    reward_ = Vector<double>::Zero(copies);
    terminated_ = truncated_ = Flags::Constant(copies, false);
    moved_ = over_ = terminated_;
  }

  int size() const { return static_cast<int>(lanes_.size()); }
  Autoreset autoreset() const { return options_.autoreset; }

  /// Resets every lane, lane i with generator `rng.split(i)`, which it keeps.
  void reset(const Rng& rng) {
    std::vector<State> first;
    first.reserve(lanes_.size());
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      lanes_[i].rng = rng.split(i);
      first.push_back(lanes_[i].env.reset(lanes_[i].rng));
    }
    state_ = std::move(first);
    before_ = arrived_ = state_;
    action_.clear();
    reward_.setZero();
    terminated_.setConstant(false), truncated_.setConstant(false), moved_.setConstant(false), over_.setConstant(false);
  }
  /// Resets the lanes whose entry is true; the others stay where they are.
  void reset(std::span<const bool> mask) {
    check_size("VectorEnvironment::reset", "mask", mask.size(), lanes_.size());
    need_reset("VectorEnvironment::reset");
    for (std::size_t i = 0; i < lanes_.size(); ++i)
      if (mask[i]) start(i), moved_[static_cast<std::ptrdiff_t>(i)] = false;
  }

  /// One step of every lane. Throws `Error` before anything is changed for another number of actions than lanes, before
  /// the first reset, and (mode `disabled`) for a lane whose episode is over.
  void step(std::span<const Action> actions) {
    constexpr auto where = "VectorEnvironment::step";
    need_reset(where);
    check_size(where, "actions", actions.size(), lanes_.size());
    if (options_.autoreset == Autoreset::disabled)
      for (int i = 0; i < size(); ++i)
        if (over_[i]) fail(where, "the episode of lane {} is over; expected reset(mask) first", i);
    action_.assign(actions.begin(), actions.end());
    before_ = state_;
    parallel_for(lanes_.size(), [&](std::size_t i) { step_lane(i); }, {.threads = options_.threads});
  }

  /// What each agent sees now and acts on next.
  const std::vector<State>& states() const { return state_; }
  /// Where the last step led each lane, the last state of an episode that it ended included (Gymnasium's `final_obs`).
  const std::vector<State>& arrived() const { return arrived_; }
  const Vector<double>& reward() const { return reward_; }
  const Flags& terminated() const { return terminated_; }
  const Flags& truncated() const { return truncated_; }
  /// Did the last step act in lane i? False where it only reset it (and after a reset).
  bool moved(int i) const { return moved_[i]; }
  /// The last step of lane i as a learner sees it; throws `Error` unless `moved(i)`.
  Transition<State, Action> transition(int i) const {
    if (i < 0 || i >= size()) fail("VectorEnvironment::transition", "lane is {}; expected one below {}", i, size());
    if (!moved_[i]) fail("VectorEnvironment::transition", "lane {} was reset; expected a lane that moved", i);
    const auto k = static_cast<std::size_t>(i);
    return {before_[k], action_[k], reward_[i], arrived_[k], terminated_[i], truncated_[i]};
  }
  const E& environment(int i) const { return lanes_[static_cast<std::size_t>(i)].env; }

  template <class A>
  void archive(A& ar)
    requires requires(E e, A& a) { e.archive(a); }
  {
    for (Lane& lane : lanes_) ar(lane.env, lane.rng);
    ar(options_.autoreset, state_, before_, arrived_, action_, reward_, terminated_, truncated_, moved_, over_);
  }

 private:
  struct Lane {
    E env;
    Rng rng;
  };

  void need_reset(const char* where) const {
    if (state_.empty()) fail(where, "the environments have not begun; expected reset(rng) first");
  }
  void start(std::size_t i) {
    state_[i] = lanes_[i].env.reset(lanes_[i].rng);
    over_[static_cast<std::ptrdiff_t>(i)] = false;
  }
  void step_lane(std::size_t k) {
    const auto i = static_cast<std::ptrdiff_t>(k);
    if (over_[i]) {  // mode next_step
      start(k);
      arrived_[k] = state_[k];
      reward_[i] = 0;
      terminated_[i] = truncated_[i] = moved_[i] = false;
      return;
    }
    auto result = lanes_[k].env.step(action_[k], lanes_[k].rng);
    reward_[i] = static_cast<double>(result.reward);
    terminated_[i] = result.terminated, truncated_[i] = result.truncated, moved_[i] = true;
    arrived_[k] = result.next;
    if (!result.done()) {
      state_[k] = result.next;
    } else if (options_.autoreset == Autoreset::same_step) {
      start(k);
    } else {
      state_[k] = result.next;
      over_[i] = true;
    }
  }

  VectorOptions options_;
  std::vector<Lane> lanes_;
  std::vector<State> state_, before_, arrived_;
  std::vector<Action> action_;
  Vector<double> reward_;
  Flags terminated_, truncated_, moved_, over_;
};
template <SingleReward E>
VectorEnvironment(const E&, int) -> VectorEnvironment<E>;
template <SingleReward E>
VectorEnvironment(const E&, int, const VectorOptions&) -> VectorEnvironment<E>;

}  // namespace valence
