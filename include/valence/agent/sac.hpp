#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/metrics.hpp"
#include "valence/agent/off_policy.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy_gradient/soft_actor.hpp"

namespace valence {

/// The defaults are stable-baselines3's.
struct SacOptions {
  double discount = 0.99;  ///< in [0, 1]
  double temperature = 1;  ///< alpha > 0: where it starts, or, where it isn't learned, stays
  bool learn_temperature = true;
  std::optional<double> target_entropy = {};  ///< nats; empty: minus the action's dimensions
  std::size_t replay = 1'000'000;             ///< transitions remembered, >= 1
  int batch = 256;                            ///< >= 1
  std::int64_t warm_up = 100;                 ///< transitions of uniform actions before the first update, >= 1
  int train_every = 1, updates = 1;  ///< `updates` >= 1 gradient steps after every `train_every` >= 1 transitions
  int n_step = 1;                    ///< transitions of a target, >= 1
  double target_rate = 0.005;        ///< in (0, 1]: of the targets' way to the critics, at every update
  double max_gradient_norm = 0;      ///< 0: not cut
  Rate step_factor = 1;              ///< of the optimizer's step size, by updates
};

/// Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905, algorithm 1): two critics, of which the smaller counts, a
/// reparameterised actor that maximises Q + alpha H, and a temperature alpha that holds the policy's entropy at its
/// target. `critic` takes the state above the action and has one output; the agent makes two of it.
///
///     SquashedGaussian law{env.actions(), {.min_log_std = -20, .max_log_std = 2}};
///     Sac agent{Mlp<float>{{3, 64, 64, law.size()}, relu}, law, Mlp<float>{{3 + 1, 64, 64, 1}, relu}, Adam{3e-4}};
///     train(agent, TimeLimit{Pendulum{}}, {.steps = 20'000}, rng);
template <Approximator F, ReparameterisedDistribution L, Approximator C, Optimizer O>
class Sac : public detail::ActorAndCritics<F, L, Parallel<C, C>, O> {
  using Base = detail::ActorAndCritics<F, L, Parallel<C, C>, O>;
  using S = typename F::Scalar;

 public:
  using Action = typename L::Action;

  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and for models whose sizes don't fit.
  Sac(F actor, L law, C critic, const O& optimizer, SacOptions options = {}, Rng start = Rng{})
      : Base("Sac", std::move(actor), std::move(law), Parallel{critic, critic}, optimizer, options.replay, start),
        options_(detail::checked_off_policy("Sac", std::move(options))),
        temperature_("Sac", options_.temperature, optimizer),
        target_entropy_(options_.target_entropy.value_or(continuous_target_entropy(static_cast<int>(this->numbers_)))) {
    check_finite("Sac", "target_entropy", target_entropy_);
    check_size("Sac", "the critic's outputs", static_cast<std::size_t>(this->critics_.model().output_size()), 2);
  }

  /// An action of the policy; before the first update any in the box.
  template <class State>
  Action act(const State& state, Rng& rng) {
    if (this->steps_ < options_.warm_up) return this->any_action(rng);
    return this->law_.sample(this->actor_outputs(state), rng);
  }
  /// The law's mode.
  template <class State>
  Action greedy(const State& state) {
    return this->law_.mode(this->actor_outputs(state));
  }
  template <class State>
  Action greedy(const State& state, Rng&) {
    return greedy(state);
  }

  /// Remembers the transition and, where it is time, learns.
  template <class State, class A>
  void learn(const Transition<State, A>& t, Rng& rng) {
    this->learn_by(t, options_, [&] { update(rng); });
  }

  /// One gradient step of critics, actor and temperature on a batch of what is remembered. `learn` does this by itself.
  void update(Rng& rng) {
    this->draw_batch(options_, rng);
    const auto& b = this->batch_;
    const double factor = options_.step_factor.in("Sac", "step_factor", this->updates(), 0, 1e9);
    const S alpha = static_cast<S>(temperature());
    const Eigen::Index n = static_cast<Eigen::Index>(b.size());
    const auto look = [&](const Matrix<S>& states) {
      return this->actor_.forward(detail::outputs_of(states), this->actor_tape_);
    };

    // Critics: r + discount (min Q(s', a') - alpha log pi(a' | s')), with a' of the policy as it is now.
    this->draw_actions(look(b.next), rng);
    const auto next_q = this->target_values_of_drawn(b.next);
    this->targets_.resize(n);
    for (Eigen::Index j = 0; j < n; ++j)
      this->targets_[j] = b.target(j, Base::least(next_q, j) - alpha * this->log_prob_[j]);
    critic_loss_ = this->fit_critics(options_.max_gradient_norm, factor);

    // Actor: alpha log pi - min Q at a = g(s, noise).
    const auto y = look(b.state);
    this->draw_actions(y, rng);
    actor_loss_ = this->fit_soft_actor(y, alpha, options_.max_gradient_norm, factor);
    double log_prob = 0;
    for (const S l : this->log_prob_) log_prob += static_cast<double>(l);
    entropy_ = -log_prob / static_cast<double>(n);

    if (options_.learn_temperature) temperature_.step(target_entropy_, view(std::as_const(this->log_prob_)), factor);
    polyak_average(std::span<S>(this->target_critics_), this->critics_.theta(), options_.target_rate);
  }

  /// alpha now.
  double temperature() const { return temperature_(); }
  /// Of the last update.
  std::array<Metric, 5> metrics() const {
    return {{{"train/actor_loss", actor_loss_},
             {"train/critic_loss", critic_loss_},
             {"train/ent_coef", temperature()},
             {"train/entropy", entropy_},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    check_size("Sac::archive", "the memory", this->memory_.capacity(), options_.replay);
    ar(temperature_, actor_loss_, critic_loss_, entropy_);
  }

 private:
  SacOptions options_;
  detail::Temperature<S, O> temperature_;
  double target_entropy_;
  double actor_loss_ = 0, critic_loss_ = 0, entropy_ = 0;
};

}  // namespace valence
