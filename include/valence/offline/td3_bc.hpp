#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/metrics.hpp"
#include "valence/agent/off_policy.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/offline/logged.hpp"
#include "valence/offline/losses.hpp"
#include "valence/policy/deterministic.hpp"
#include "valence/policy/rate.hpp"

namespace valence {

/// The paper's defaults. Deviations are in units of half the box's width.
struct Td3BcOptions {
  double discount = 0.99;  ///< in [0, 1]
  double alpha = 2.5;      ///< >= 0: how much the critic counts against the log; 0 is behaviour cloning
  double epsilon = 0;      ///< >= 0, added to mean |Q|: 0 refuses a batch whose values are all 0
  double target_noise = 0.2, target_noise_bound = 0.5;  ///< smoothing of the target's action, >= 0
  int policy_delay = 2;                                 ///< critics' steps to one of the actor and of the targets, >= 1
  double target_rate = 0.005;    ///< in (0, 1]: of the targets' way to the networks, where they move
  int batch = 256;               ///< >= 1
  double max_gradient_norm = 0;  ///< 0: not cut
  Rate step_factor = 1;          ///< of the optimizer's step size, by updates
};

/// TD3+BC (Fujimoto and Gu 2021, arXiv:2106.06860, equation 3): TD3 on a fixed log, whose actor climbs the critic and
/// stays near the logged actions. Distances are between actions that the box brings to [-1, 1]. `critic` takes the state
/// above the action (so brought) and has one output; the agent makes two of it. The paper standardises states: see
/// `Standardizer`.
///
///     Td3Bc agent{Mlp<float>{{3, 64, 64, 1}, relu}, env.actions(), Mlp<float>{{3 + 1, 64, 64, 1}, relu}, Adam{3e-4}};
///     train_offline(agent, data, {.updates = 20'000}, rng);
///
/// A step of the actor leaves the critics as they are, to the bit, and the reverse (pitfall G26).
template <Approximator F, class A, Approximator C, Optimizer O>
class Td3Bc : public detail::ActorAndCritics<F, Deterministic<A>, Parallel<C, C>, O> {
  using Base = detail::ActorAndCritics<F, Deterministic<A>, Parallel<C, C>, O>;
  using S = typename F::Scalar;

 public:
  using Action = A;

  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and for models whose sizes don't fit.
  Td3Bc(F actor, const Box<A>& actions, C critic, const O& optimizer, Td3BcOptions options = {}, Rng start = Rng{})
      : Base(where, std::move(actor), Deterministic<A>{actions}, Parallel{critic, critic}, optimizer, 1, start),
        options_(std::move(options)),
        target_actor_(this->actor_.theta().begin(), this->actor_.theta().end()) {
    constexpr double largest = (std::numeric_limits<double>::max)();
    detail::check_offline(where, options_);
    check_range(where, "alpha", options_.alpha, 0, largest);
    check_range(where, "epsilon", options_.epsilon, 0, largest);
    check_positive(where, "policy_delay", options_.policy_delay);
    check_range(where, "target_noise", options_.target_noise, 0, largest);
    check_range(where, "target_noise_bound", options_.target_noise_bound, 0, largest);
    check_size(where, "the critic's outputs", static_cast<std::size_t>(this->critics_.model().output_size()), 2);
  }

  /// Learns from these transitions from now on. Throws `Error`, and changes nothing, for an empty dataset and for a
  /// transition that can't be learned from.
  template <Dataset D>
  void load(const D& data) {
    constexpr auto at = "Td3Bc::load";
    if (data.size() == 0) fail(at, "the dataset is empty; expected at least one transition");
    Replay<S, S> memory(this->state_.size(), this->numbers_, {.capacity = data.size()});
    std::swap(memory, this->memory_);
    const std::int64_t before = std::exchange(this->steps_, 0);
    for (std::size_t i = 0; i < data.size(); ++i) {
      const auto t = data[i];
      try {
        this->remember(Transition<std::remove_cvref_t<decltype(t.state)>, std::remove_cvref_t<decltype(t.action)>>{
            t.state, t.action, static_cast<double>(t.reward), t.next, t.terminated, t.truncated});
      } catch (const Error& e) {
        std::swap(memory, this->memory_);
        this->steps_ = before;
        fail(at, "transition {} of the dataset: {}", i, e.what());
      }
    }
    seen_.reset(data.size());
  }

  /// A step of the critics on a batch, and where it is time of the actor. Throws `Error` before `load`, and where the run
  /// diverges.
  void update(Rng& rng) {
    if (this->memory_.empty()) fail(where, "there is no data; call load first");
    auto& b = this->batch_;
    this->memory_.sample(static_cast<std::size_t>(options_.batch), b, rng, {.steps = 1, .discount = options_.discount});
    seen_.mark(b.id);
    const double factor = options_.step_factor.in(where, "step_factor", this->updates(), 0, 1e9);
    const Eigen::Index n = static_cast<Eigen::Index>(b.size());

    // Critics: r + discount min Q'(s', clip(pi'(s') + smoothing)).
    this->choose_actions(this->actor_.forward_with(target_actor_, detail::outputs_of(b.next), target_actor_tape_));
    if (options_.target_noise > 0) this->smooth_drawn(options_.target_noise, options_.target_noise_bound, rng);
    const auto next_q = this->target_values_of_drawn(b.next);
    this->targets_.resize(n);
    for (Eigen::Index j = 0; j < n; ++j) this->targets_[j] = b.target(j, Base::least(next_q, j));
    critic_loss_ = this->fit_critics(options_.max_gradient_norm, factor);
    if (this->updates() % options_.policy_delay != 0) return;

    // Actor: up the first critic, scaled by the size of its values, and towards the logged action.
    const auto y = this->actor_.forward(detail::outputs_of(b.state), this->actor_tape_);
    this->choose_actions(y);
    const auto q = this->values_of_drawn(b.state);
    auto dq = this->dq_.zero(q.rows(), n);
    dq.row(0).setOnes();
    this->pull_to_actions(this->dq_.get());
    first_q_ = q.row(0);
    for (const S value : first_q_)
      detail::check_divergence(where, "an action's value", static_cast<double>(value), this->updates());
    const Td3BcLoss loss{.alpha = options_.alpha, .epsilon = options_.epsilon};
    const S lambda = options_.alpha > 0 ? loss.lambda(view(std::as_const(first_q_))) : S(0);
    const S share = S(1) / static_cast<S>(n);
    auto dy = this->dy_.zero(y.rows(), n);
    double sum = 0;
    for (Eigen::Index j = 0; j < n; ++j) {
      const auto slope = this->action_gradient(j);  // in units of the environment's actions
      for (std::size_t d = 0; d < this->numbers_; ++d) {
        const auto k = static_cast<Eigen::Index>(d);
        unit_slope_[d] = slope[d] * this->scale_[d];
        unit_[d] = (this->drawn_(k, j) - this->center_[d]) / this->scale_[d];
        unit_logged_[d] = (b.action(k, j) - this->center_[d]) / this->scale_[d];
        pull_[d] = 0;
      }
      sum += static_cast<double>(loss(std::span<const S>(unit_), std::span<const S>(unit_logged_), first_q_[j],
                                      std::span<const S>(unit_slope_), lambda, share, std::span<S>(pull_)));
      for (std::size_t d = 0; d < this->numbers_; ++d) pull_[d] /= this->scale_[d];
      this->law_.pullback_action(detail::column(y, j), pull_, detail::column(dy, j));
    }
    actor_loss_ = detail::check_divergence(where, "the actor's loss", sum / static_cast<double>(n), this->updates());
    this->actor_.pullback(detail::outputs_of(b.state), this->actor_tape_, this->dy_.get());
    this->actor_.step(where, options_.max_gradient_norm, factor);
    polyak_average(std::span<S>(target_actor_), this->actor_.theta(), options_.target_rate);
    polyak_average(std::span<S>(this->target_critics_), this->critics_.theta(), options_.target_rate);
  }

  /// The actor's action, without noise.
  template <class State>
  A greedy(const State& state) {
    return this->law_.action(this->actor_outputs(state));
  }
  template <class State>
  A greedy(const State& state, Rng&) {
    return greedy(state);
  }
  template <class State>
  A act(const State& state, Rng&) {
    return greedy(state);
  }

  const Td3BcOptions& options() const { return options_; }
  std::span<const S> target_parameters() const { return target_actor_; }
  /// Transitions loaded, and how many of these were looked at.
  std::size_t transitions() const { return this->memory_.size(); }
  std::size_t distinct_transitions() const { return seen_.distinct(); }
  /// Of the last update.
  std::array<Metric, 3> metrics() const {
    return {{{"train/actor_loss", actor_loss_},
             {"train/critic_loss", critic_loss_},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

  template <class Ar>
  void archive(Ar& ar) {
    Base::archive(ar);
    ar(target_actor_, seen_, actor_loss_, critic_loss_);
    check_size("Td3Bc::archive", "the target actor", target_actor_.size(), this->actor_.theta().size());
  }

 private:
  static constexpr auto where = "Td3Bc";

  Td3BcOptions options_;
  std::vector<S> target_actor_;
  detail::SeenTransitions seen_ = {};
  double actor_loss_ = 0, critic_loss_ = 0;
  // scratch
  typename F::Tape target_actor_tape_ = {};
  Vector<S> first_q_ = {};
  std::vector<S> unit_ = std::vector<S>(this->numbers_), unit_logged_ = unit_, unit_slope_ = unit_, pull_ = unit_;
};

}  // namespace valence
