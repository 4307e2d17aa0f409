#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/action_mask.hpp"
#include "valence/agent/metrics.hpp"
#include "valence/agent/network.hpp"
#include "valence/agent/off_policy.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/scalar_head.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/prioritized_replay.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"
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

/// Deep Q-networks (Mnih et al. 2015), with every later part a switch. The **head** says what the network's outputs mean,
/// and that alone makes DQN, C51, QR-DQN or classification of them:
///
///     auto head = ScalarHead{};                                       // or {.huber = 1}
///     auto head = HlGauss{.bins = 51, .min = 0, .max = 100};
///     auto head = CategoricalReturn{.atoms = 51, .min = 0, .max = 100};
///     auto head = QuantileReturn{.quantiles = 50};
///     Dqn agent{Mlp<float>{{4, 64, 64, head.size(2)}, relu}, head, Adam{.step_size = 1e-3}, {.double_q = true}};
///
/// The **network** says the rest: `Dueling{...}` for Wang et al. 2016, `Noisy{...}` for Fortunato et al. 2018, whose
/// noise is drawn anew for every action and update (set `epsilon` to 0). Rainbow (Hessel et al. 2018) is all at once:
///
///     Noisy net{Dueling{Mlp<float>{{4, 64, 64, 51 * 3}, relu, {.initialization = Initialization::fan_in}}, 2, 51}};
///     Dqn agent{net, CategoricalReturn{...}, Adam{6e-5},
///               {.double_q = true, .n_step = 3, .priorities = PriorityOptions{.alpha = 0.5}, .epsilon = 0.0}};
///
/// Priorities are |TD error| for `ScalarHead`, and the loss for other heads (Hessel et al. 2018).
template <Approximator F, ReturnDistribution H = ScalarHead, Optimizer O = Adam>
class Dqn {
 public:
  using Scalar = typename F::Scalar;

  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and for a network whose outputs aren't
  /// a whole number of actions.
  Dqn(F network, H head, const O& optimizer, DqnOptions options = {}, Rng start = Rng{})
      : net_(std::move(network), optimizer, start),
        head_(std::move(head)),
        options_(checked(std::move(options))),
        actions_(detail::check_actions("Dqn", static_cast<std::size_t>(net_.model().output_size()), head_.size(1))),
        target_(net_.theta().begin(), net_.theta().end()),
        memory_(net_.learned().input_count(), {.capacity = options_.replay}),
        mask_(options_.possible, actions_),
        state_(net_.learned().input_count()),
        next_(net_.learned().input_count()),
        values_(static_cast<std::size_t>(actions_)) {
    if (options_.priorities) priorities_.emplace(options_.replay, *options_.priorities);
  }

  /// epsilon-greedy; a network with noise draws it.
  template <class State>
  int act(const State& state, Rng& rng) {
    if constexpr (noisy) net_.model().draw_noise(act_tape_, rng);
    const double epsilon = options_.epsilon.in("Dqn", "epsilon", choices_++, 0, 1);
    if (rng.uniform() < epsilon) {
      net_.learned().write_input(state, std::span<S>(state_));
      return any_possible(mask_(std::span<const S>(state_)), rng);
    }
    return best(state);
  }
  /// The first of the best actions, without noise.
  template <class State>
  int greedy(const State& state) {
    if constexpr (noisy) net_.model().quiet(act_tape_);
    return best(state);
  }
  template <class State>
  int greedy(const State& state, Rng&) {
    return greedy(state);
  }
  /// The expected return of each action: valid until the agent is used again.
  template <class State>
  std::span<const Scalar> values(const State& state) {
    if constexpr (noisy) net_.model().quiet(act_tape_);
    action_values(head_, outputs(state), std::span<S>(values_));
    return values_;
  }

  /// Remembers the transition and, where it is time, learns. Throws `Error`, and remembers nothing, for numbers that
  /// aren't finite and an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng& rng) {
    const int action = static_cast<int>(t.action);
    if (action < 0 || action >= actions_)
      fail("Dqn", "the transition's action is {}; expected one in [0, {}]", action, actions_ - 1);
    detail::remember(memory_, net_.learned(), t, action, std::span<S>(state_), std::span<S>(next_));
    if (priorities_) priorities_->add();
    ++steps_;
    if (steps_ >= options_.warm_up && steps_ % options_.train_every == 0)
      for (int k = 0; k < options_.updates; ++k) update(rng);
    if (steps_ % options_.target_every == 0) polyak_average(std::span<S>(target_), net_.theta(), options_.target_rate);
  }
  /// What was seen of an episode that didn't end counts as one that was cut off.
  void begin_episode() { memory_.end_episode(); }

  /// One gradient step on a batch of what is remembered. `learn` does this by itself.
  void update(Rng& rng) {
    const auto k = static_cast<std::size_t>(options_.batch);
    const ReplaySteps steps{.steps = static_cast<std::size_t>(options_.n_step), .discount = options_.discount};
    if (priorities_) {
      priorities_->set_beta(options_.beta.in("Dqn", "beta", net_.updates(), 0, 1));
      batch_.resize(memory_.state_size(), 1, k);
      priorities_->sample(std::span<std::uint64_t>(batch_.id), view(batch_.weight), rng);
      memory_.gather_drawn(batch_, steps);
    } else {
      memory_.sample(k, batch_, rng, steps);
    }
    find_targets(rng);
    if constexpr (noisy) net_.model().draw_noise(tape_, rng);
    const auto x = detail::outputs_of(batch_.state);
    const auto y = net_.forward(x, tape_);
    auto dy = dy_.zero(y.rows(), y.cols());
    losses_.resize(k);
    loss_ = static_cast<double>(loss_columns(head_, y, std::span<const int>(batch_.action.data(), k), target_law_.get(),
                                             dy, view(std::as_const(batch_.weight)), std::span<S>(losses_)));
    detail::check_divergence("Dqn", "the loss", loss_, updates());
    if (priorities_) write_priorities(y);
    net_.pullback(x, tape_, dy_.get());
    net_.step("Dqn", options_.max_gradient_norm, options_.step_factor.in("Dqn", "step_factor", updates(), 0, 1e9));
  }

  const F& model() const { return net_.model(); }
  const H& head() const { return head_; }
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
    check_size("Dqn::archive", "the memory", memory_.capacity(), options_.replay);
    check_size("Dqn::archive", "a remembered state", memory_.state_size(), net_.learned().input_count());
    if (priorities_) check_size("Dqn::archive", "the priorities", priorities_->size(), memory_.size());
    check_size("Dqn::archive", "the target network", target_.size(), net_.theta().size());
  }

 private:
  using S = Scalar;
  using Tape = typename F::Tape;
  static constexpr bool noisy = requires(const F& f, Tape& tape, Rng& rng) {
    f.draw_noise(tape, rng);
    f.quiet(tape);
  };

  static DqnOptions checked(DqnOptions options) {
    constexpr auto where = "Dqn";
    options = detail::checked_off_policy(where, std::move(options));
    check_positive(where, "target_every", options.target_every);
    return options;
  }

  template <class State>
  std::span<const S> outputs(const State& state) {
    net_.learned().write_input(state, std::span<S>(state_));
    const auto y = net_.forward({state_.data(), static_cast<Eigen::Index>(state_.size()), 1}, act_tape_);
    return detail::column(y, 0);
  }
  template <class State>
  int best(const State& state) {
    const auto y = outputs(state);
    return static_cast<int>(greedy_action(head_, y, mask_(std::span<const S>(state_))));
  }
  int any_possible(ActionMask mask, Rng& rng) const {
    if (mask.empty()) return rng.below(actions_);
    int count = 0;
    for (const bool possible : mask) count += possible ? 1 : 0;
    int which = rng.below(count), action = 0;
    while (!mask[static_cast<std::size_t>(action)] || which-- > 0) ++action;
    return action;
  }

  // target_law_ = r + discount^m Z(s', best action of s'), a column an entry of the batch.
  void find_targets(Rng& rng) {
    const auto x = detail::outputs_of(batch_.next);
    if constexpr (noisy) {
      net_.model().draw_noise(target_tape_, rng);
      if (options_.double_q) net_.model().draw_noise(tape_, rng);
    }
    const auto judge = net_.forward_with(target_, x, target_tape_);
    const auto chooser = options_.double_q ? net_.forward(x, tape_) : judge;
    auto law = target_law_.resize(head_.size(1), x.cols());
    for (Eigen::Index j = 0; j < x.cols(); ++j) {
      const bool goes_on = !batch_.terminated[j];  // otherwise the next state isn't looked at, not even for its mask
      bootstrap_greedy(head_, detail::column(chooser, j), detail::column(judge, j), batch_.reward[j],
                       goes_on ? batch_.discount[j] : S(0), detail::column(law, j),
                       goes_on ? mask_(detail::column(x, j)) : ActionMask{});
    }
  }
  void write_priorities(const Outputs<S>& y) {
    if constexpr (std::same_as<H, ScalarHead>)
      for (Eigen::Index j = 0; j < y.cols(); ++j)
        losses_[static_cast<std::size_t>(j)] = y(batch_.action(0, j), j) - target_law_.get()(0, j);
    priorities_->update(std::span<const std::uint64_t>(batch_.id), std::span<const S>(losses_));
  }

  detail::Network<F, O> net_;
  H head_;
  DqnOptions options_;
  int actions_;
  std::vector<S> target_;
  Replay<S> memory_;
  std::optional<Priorities> priorities_ = {};
  detail::MaskOf mask_;
  std::int64_t steps_ = 0, choices_ = 0;
  double loss_ = 0;
  // scratch
  std::vector<S> state_, next_, values_, losses_ = {};
  Tape act_tape_ = {}, tape_ = {}, target_tape_ = {};
  ReplayBatch<S> batch_ = {};
  detail::BatchBuffer<S> target_law_ = {}, dy_ = {};
};

}  // namespace valence
