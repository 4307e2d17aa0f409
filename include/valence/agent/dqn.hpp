#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "valence/agent/deep_q.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/scalar_head.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// Deep Q-networks (Mnih et al. 2015), with every later part a switch. The **head** says what the network's outputs
/// mean, and that alone makes DQN, C51, QR-DQN or classification of them:
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
/// `RescaledValue{...}` round a head learns large returns on a scale of their own (Pohlen et al. 2018).
///
/// Priorities are |TD error| for `ScalarHead` (on the scale it learns on), and the loss for other heads (Hessel et al.
/// 2018).
template <Approximator F, ReturnDistribution H = ScalarHead, Optimizer O = Adam>
class Dqn : public detail::DeepQ<F, O> {
  using Base = detail::DeepQ<F, O>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and for a network whose outputs
  /// aren't a whole number of actions.
  Dqn(F network, H head, const O& optimizer, DqnOptions options = {}, Rng start = Rng{})
      : Base("Dqn", std::move(network),
             detail::check_actions("Dqn", static_cast<std::size_t>(network.output_size()), head.size(1)),
             static_cast<std::size_t>(network.input_size()), optimizer, std::move(options), start),
        head_(std::move(head)) {}

  /// epsilon-greedy; a network with noise draws it.
  template <class State>
  int act(const State& state, Rng& rng) {
    if constexpr (noisy) this->net_.model().draw_noise(this->act_tape_, rng);
    return this->explores(rng) ? this->any_action(state, rng) : best(state);
  }
  /// The first of the best actions, without noise.
  template <class State>
  int greedy(const State& state) {
    if constexpr (noisy) this->net_.model().quiet(this->act_tape_);
    return best(state);
  }
  template <class State>
  int greedy(const State& state, Rng&) {
    return greedy(state);
  }
  /// The expected return of each action: valid until the agent is used again.
  template <class State>
  std::span<const S> values(const State& state) {
    if constexpr (noisy) this->net_.model().quiet(this->act_tape_);
    action_values(head_, outputs(state), std::span<S>(this->values_));
    return this->values_;
  }

  /// Remembers the transition and, where it is time, learns. Throws `Error`, and remembers nothing, for numbers that
  /// aren't finite and an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng& rng) {
    this->learn_by(t, [&] { update(rng); });
  }

  /// One gradient step on a batch of what is remembered. `learn` does this by itself.
  void update(Rng& rng) {
    this->draw_batch(rng);
    find_targets(rng);
    auto& b = this->batch_;
    if constexpr (noisy) this->net_.model().draw_noise(this->tape_, rng);
    const auto x = detail::outputs_of(b.state);
    const auto y = this->net_.forward(x, this->tape_);
    auto dy = this->dy_.zero(y.rows(), y.cols());
    this->loss_ = static_cast<double>(loss_columns(head_, y, std::span<const int>(b.action.data(), b.size()),
                                                   this->target_law_.get(), dy, view(std::as_const(b.weight)),
                                                   std::span<S>(this->losses_)));
    if constexpr (detail::is_regression<H>)  // priorities are the TD error
      for (Eigen::Index j = 0; j < y.cols(); ++j)
        this->losses_[static_cast<std::size_t>(j)] = y(b.action(0, j), j) - this->target_law_.get()(0, j);
    this->descend(x, this->tape_, this->dy_.get());
  }

  const H& head() const { return head_; }

 private:
  using Tape = typename F::Tape;
  static constexpr bool noisy = requires(const F& f, Tape& tape, Rng& rng) {
    f.draw_noise(tape, rng);
    f.quiet(tape);
  };

  template <class State>
  std::span<const S> outputs(const State& state) {
    auto& x = this->state_;
    this->net_.learned().write_input(state, std::span<S>(x));
    return detail::column(this->net_.forward({x.data(), static_cast<Eigen::Index>(x.size()), 1}, this->act_tape_), 0);
  }
  template <class State>
  int best(const State& state) {
    const auto y = outputs(state);
    return static_cast<int>(greedy_action(head_, y, this->mask_(std::span<const S>(this->state_))));
  }

  // target_law_ = r + discount^m Z(s', best action of s'), a column an entry of the batch.
  void find_targets(Rng& rng) {
    auto& net = this->net_;
    const auto x = detail::outputs_of(this->batch_.next);
    if constexpr (noisy) {
      net.model().draw_noise(this->target_tape_, rng);
      if (this->options_.double_q) net.model().draw_noise(this->tape_, rng);
    }
    const auto judge = net.forward_with(this->target_, x, this->target_tape_);
    const auto chooser = this->options_.double_q ? net.forward(x, this->tape_) : judge;
    auto law = this->target_law_.resize(head_.size(1), x.cols());
    for (Eigen::Index j = 0; j < x.cols(); ++j)
      bootstrap_greedy(head_, detail::column(chooser, j), detail::column(judge, j), this->batch_.reward[j],
                       this->next_discount(j), detail::column(law, j), this->next_mask(j));
  }

  H head_;
};

}  // namespace valence
