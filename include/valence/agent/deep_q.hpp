#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/action_mask.hpp"
#include "valence/agent/metrics.hpp"
#include "valence/agent/network.hpp"
#include "valence/agent/off_policy.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/mdp/prioritized_replay.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/rate.hpp"

namespace valence {

/// The switches of DQN, and its numbers; where not otherwise said the defaults are stable-baselines3's.
struct DqnOptions {
  double discount = 0.99;  ///< in [0, 1]
  bool double_q =
      false;       ///< the online network chooses the next action, the target's judges it (van Hasselt et al. 2016)
  int n_step = 1;  ///< transitions of a target, >= 1 (Hessel et al. 2018)
  std::optional<PriorityOptions> priorities = {};  ///< draws by priority (Schaul et al. 2016); empty: uniformly
  Rate beta = 0.4;                                 ///< of the importance weights, by updates; with priorities only
  Rate epsilon = LinearSchedule{1, 0.05, 10'000};  ///< of epsilon-greedy, by choices
  std::size_t replay = 100'000;                    ///< transitions remembered, >= 1
  int batch = 32;                                  ///< >= 1
  std::int64_t warm_up = 1000;                     ///< transitions before the first update, >= 1
  int train_every = 4, updates = 1;    ///< `updates` >= 1 gradient steps after every `train_every` >= 1 transitions
  std::int64_t target_every = 10'000;  ///< transitions between moves of the target network, >= 1
  double target_rate = 1;              ///< in (0, 1]: how far it moves; 1 copies
  double max_gradient_norm = 10;       ///< 0: not cut
  Rate step_factor = 1;                ///< of the optimizer's step size, by updates
  PossibleActions possible = {};
};

namespace detail {

/// What `Dqn` and `Iqn` share: a network and its target, a memory with or without priorities, epsilon-greedy.
template <Approximator F, Optimizer O>
class DeepQ {
 public:
  using Scalar = typename F::Scalar;

  /// What was seen of an episode that didn't end counts as one that was cut off.
  void begin_episode() { memory_.end_episode(); }

  const F& model() const { return net_.model(); }
  const DqnOptions& options() const { return options_; }
  /// theta of the network, and of the target network.
  std::span<const Scalar> parameters() const { return net_.theta(); }
  std::span<Scalar> parameters() { return net_.theta(); }
  std::span<const Scalar> target_parameters() const { return target_; }
  const Replay<Scalar>& memory() const { return memory_; }
  int actions() const { return actions_; }
  /// Transitions learned from, and steps of the optimizer.
  std::int64_t steps() const { return steps_; }
  std::int64_t updates() const { return net_.updates(); }
  /// Of the last update.
  std::array<Metric, 3> metrics() const {
    return {{{"train/loss", loss_},
             {"train/n_updates", static_cast<double>(updates())},
             {"rollout/exploration_rate", options_.epsilon(choices_)}}};
  }

  template <class A>
  void archive(A& ar) {
    ar(net_, target_, memory_, steps_, choices_, loss_);
    if (priorities_) ar(*priorities_);
    check_size(where_, "the archive's memory", memory_.capacity(), options_.replay);
    check_size(where_, "a remembered state", memory_.state_size(), state_.size());
    if (priorities_) check_size(where_, "the priorities", priorities_->size(), memory_.size());
    check_size(where_, "the target network", target_.size(), net_.theta().size());
  }

 protected:
  using S = Scalar;

  /// `inputs`: numbers of a state.
  DeepQ(std::string_view where, F&& network, int actions, std::size_t inputs, const O& optimizer, DqnOptions&& options,
        Rng& start)
      : where_(where),
        net_(std::move(network), optimizer, start),
        options_(checked(where, std::move(options))),
        actions_(actions),
        target_(net_.theta().begin(), net_.theta().end()),
        memory_(inputs, {.capacity = options_.replay}),
        mask_(options_.possible, actions_),
        state_(inputs),
        next_(inputs),
        values_(static_cast<std::size_t>(actions_)) {
    if (options_.priorities) priorities_.emplace(options_.replay, *options_.priorities);
  }

  /// Is it time for an action that isn't the best?
  bool explores(Rng& rng) { return rng.uniform() < options_.epsilon.in(where_, "epsilon", choices_++, 0, 1); }
  /// Any possible action, each alike.
  template <class State>
  int any_action(const State& state, Rng& rng) {
    net_.learned().write_input(state, std::span<S>(state_));
    const ActionMask mask = mask_(std::span<const S>(state_));
    if (mask.empty()) return rng.below(actions_);
    int count = 0;
    for (const bool possible : mask) count += possible ? 1 : 0;
    int which = rng.below(count), action = 0;
    while (!mask[static_cast<std::size_t>(action)] || which-- > 0) ++action;
    return action;
  }

  /// Remembers the transition, updates where it is time, moves the target network where it is.
  template <class State, class Action, class Update>
  void learn_by(const Transition<State, Action>& t, Update&& update) {
    const int action = static_cast<int>(t.action);
    if (action < 0 || action >= actions_)
      fail(where_, "the transition's action is {}; expected one in [0, {}]", action, actions_ - 1);
    remember(memory_, net_.learned(), t, action, std::span<S>(state_), std::span<S>(next_));
    if (priorities_) priorities_->add();
    ++steps_;
    if (steps_ >= options_.warm_up && steps_ % options_.train_every == 0)
      for (int k = 0; k < options_.updates; ++k) update();
    if (steps_ % options_.target_every == 0) polyak_average(std::span<S>(target_), net_.theta(), options_.target_rate);
  }
  /// A batch of the memory into `batch_`.
  void draw_batch(Rng& rng) {
    const auto k = static_cast<std::size_t>(options_.batch);
    const ReplaySteps steps{.steps = static_cast<std::size_t>(options_.n_step), .discount = options_.discount};
    if (priorities_) {
      priorities_->set_beta(options_.beta.in(where_, "beta", net_.updates(), 0, 1));
      batch_.resize(memory_.state_size(), 1, k);
      priorities_->sample(std::span<std::uint64_t>(batch_.id), view(batch_.weight), rng);
      memory_.gather_drawn(batch_, steps);
    } else {
      memory_.sample(k, batch_, rng, steps);
    }
    losses_.resize(k);
  }
  /// The discount of what follows an entry of the batch, and the mask of where it leads. Where it terminated these are
  /// 0 and none: that state isn't looked at, not even for its mask.
  S next_discount(Eigen::Index j) const { return batch_.terminated[j] ? S(0) : batch_.discount[j]; }
  ActionMask next_mask(Eigen::Index j) {
    return batch_.terminated[j] ? ActionMask{} : mask_(column(outputs_of(batch_.next), j));
  }
  /// A step down what the pullback of dy adds. `losses_` are the entries' new priorities.
  void descend(const Outputs<S>& x, typename F::Tape& tape, const Outputs<S>& dy) {
    check_divergence(where_, "the loss", loss_, updates());
    if (priorities_) priorities_->update(std::span<const std::uint64_t>(batch_.id), std::span<const S>(losses_));
    net_.pullback(x, tape, dy);
    net_.step(where_, options_.max_gradient_norm, options_.step_factor.in(where_, "step_factor", updates(), 0, 1e9));
  }

  std::string_view where_;
  Network<F, O> net_;
  DqnOptions options_;
  int actions_;
  std::vector<S> target_;
  Replay<S> memory_;
  std::optional<Priorities> priorities_ = {};
  MaskOf mask_;
  std::int64_t steps_ = 0, choices_ = 0;
  double loss_ = 0;
  // scratch
  std::vector<S> state_, next_, values_, losses_ = {};
  typename F::Tape act_tape_ = {}, tape_ = {}, target_tape_ = {};
  ReplayBatch<S> batch_ = {};
  BatchBuffer<S> target_law_ = {}, dy_ = {};

 private:
  static DqnOptions checked(std::string_view where, DqnOptions&& options) {
    options = checked_off_policy(where, std::move(options));
    check_positive(where, "target_every", options.target_every);
    return std::move(options);
  }
};

}  // namespace detail

}  // namespace valence
