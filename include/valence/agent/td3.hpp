#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/agent/metrics.hpp"
#include "valence/agent/off_policy.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/deterministic.hpp"
#include "valence/policy/exploration_noise.hpp"
#include "valence/policy/rate.hpp"

namespace valence {

/// What DDPG and TD3 have in common. The defaults are stable-baselines3's.
struct DdpgOptions {
  double discount = 0.99;            ///< in [0, 1]
  std::size_t replay = 1'000'000;    ///< transitions remembered, >= 1
  int batch = 256;                   ///< >= 1
  std::int64_t warm_up = 100;        ///< transitions of uniform actions before the first update, >= 1
  int train_every = 1, updates = 1;  ///< `updates` >= 1 gradient steps after every `train_every` >= 1 transitions
  int n_step = 1;                    ///< transitions of a target, >= 1
  double target_rate = 0.005;        ///< in (0, 1]: of the targets' way to the networks, where they move
  double max_gradient_norm = 0;      ///< 0: not cut
  Rate step_factor = 1;              ///< of the optimizer's step size, by updates
};

/// The defaults are those of Fujimoto et al. 2018 and of stable-baselines3. Deviations are in units of half the box's
/// width.
struct Td3Options {
  double discount = 0.99;
  double target_noise = 0.2, target_noise_bound = 0.5;  ///< smoothing of the target's action, >= 0
  int policy_delay = 2;                                 ///< critics' steps to one of the actor and of the targets, >= 1
  std::size_t replay = 1'000'000;
  int batch = 256;
  std::int64_t warm_up = 100;
  int train_every = 1, updates = 1;
  int n_step = 1;
  double target_rate = 0.005;
  double max_gradient_norm = 0;
  Rate step_factor = 1;
};

namespace detail {

/// DDPG and TD3: they differ in how many critics there are, in the noise of the target's action and in how often the
/// actor moves.
template <Approximator F, class A, Approximator C, Optimizer O, class Noise>
class DeterministicActorCritic : public ActorAndCritics<F, Deterministic<A>, C, O> {
  using Base = ActorAndCritics<F, Deterministic<A>, C, O>;
  using S = typename F::Scalar;

 public:
  using Action = A;

  /// The actor's action and noise, in the box; before the first update any action in it.
  template <class State>
  A act(const State& state, Rng& rng) {
    if (this->steps_ < options_.warm_up) return this->any_action(rng);
    A action = this->law_.action(this->actor_outputs(state));
    noise_.add(action, rng);
    return this->law_.clip(action);
  }
  template <class State>
  A greedy(const State& state) {
    return this->law_.action(this->actor_outputs(state));
  }
  template <class State>
  A greedy(const State& state, Rng&) {
    return greedy(state);
  }
  /// What was seen of an episode that didn't end counts as one that was cut off; the noise starts anew.
  void begin_episode() {
    Base::begin_episode();
    if constexpr (requires { noise_.reset(); }) noise_.reset();
  }

  /// Remembers the transition and, where it is time, learns.
  template <class State, class T>
  void learn(const Transition<State, T>& t, Rng& rng) {
    this->learn_by(t, options_, [&] { update(rng); });
  }

  /// One gradient step of the critics on a batch of what is remembered, and where it is time of the actor. `learn` does
  /// this by itself.
  void update(Rng& rng) {
    this->draw_batch(options_, rng);
    const auto& b = this->batch_;
    const double factor = options_.step_factor.in(this->where_, "step_factor", this->updates(), 0, 1e9);
    const Eigen::Index n = static_cast<Eigen::Index>(b.size());

    // Critics: r + discount min Q'(s', clip(pi'(s') + smoothing)).
    this->choose_actions(this->actor_.forward_with(target_actor_, outputs_of(b.next), target_actor_tape_));
    if (options_.target_noise > 0) this->smooth_drawn(options_.target_noise, options_.target_noise_bound, rng);
    const auto next_q = this->target_values_of_drawn(b.next);
    this->targets_.resize(n);
    for (Eigen::Index j = 0; j < n; ++j) this->targets_[j] = b.target(j, Base::least(next_q, j));
    critic_loss_ = this->fit_critics(options_.max_gradient_norm, factor);
    if (this->updates() % options_.policy_delay != 0) return;

    // Actor: up the first critic, through the action.
    const auto y = this->actor_.forward(outputs_of(b.state), this->actor_tape_);
    this->choose_actions(y);
    this->join_drawn(b.state);
    const auto& critic = first_critic(this->critics_.model());
    const auto theta = std::as_const(this->critics_).theta().first(critic.parameter_count());
    const auto q = critic.forward(theta, outputs_of(this->joined_), first_critic_tape_);
    this->dq_.resize(1, n).setConstant(S(-1) / static_cast<S>(n));
    critic.pullback_input(theta, this->joined_, first_critic_tape_, this->dq_.get(), this->d_joined_);
    auto dy = this->dy_.zero(y.rows(), n);
    double sum = 0;
    for (Eigen::Index j = 0; j < n; ++j) {
      this->law_.pullback_action(column(y, j), this->action_gradient(j), column(dy, j));
      sum += static_cast<double>(q(0, j));
    }
    actor_loss_ = -sum / static_cast<double>(n);
    this->actor_.pullback(outputs_of(b.state), this->actor_tape_, this->dy_.get());
    this->actor_.step(this->where_, options_.max_gradient_norm, factor);
    polyak_average(std::span<S>(target_actor_), this->actor_.theta(), options_.target_rate);
    polyak_average(std::span<S>(this->target_critics_), this->critics_.theta(), options_.target_rate);
  }

  std::span<const S> target_parameters() const { return target_actor_; }
  /// Of the last update.
  std::array<Metric, 3> metrics() const {
    return {{{"train/actor_loss", actor_loss_},
             {"train/critic_loss", critic_loss_},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

  template <class Ar>
  void archive(Ar& ar) {
    Base::archive(ar);
    check_size(this->where_, "the memory", this->memory_.capacity(), options_.replay);
    ar(target_actor_, actor_loss_, critic_loss_);
    if constexpr (Archivable<Noise>) ar(noise_);
    check_size(this->where_, "the target actor", target_actor_.size(), this->actor_.theta().size());
  }

 protected:
  DeterministicActorCritic(std::string_view where, F actor, const Box<A>& actions, C critics, const O& optimizer,
                           Noise noise, Td3Options options, Rng& start)
      : Base(where, std::move(actor), Deterministic<A>{actions}, std::move(critics), optimizer, options.replay, start),
        options_(checked_off_policy(where, std::move(options))),
        noise_(std::move(noise)),
        target_actor_(this->actor_.theta().begin(), this->actor_.theta().end()) {
    constexpr double largest = (std::numeric_limits<double>::max)();
    check_positive(where, "policy_delay", options_.policy_delay);
    check_range(where, "target_noise", options_.target_noise, 0, largest);
    check_range(where, "target_noise_bound", options_.target_noise_bound, 0, largest);
  }

 private:
  // Where there are two critics the actor climbs the first.
  static const auto& first_critic(const C& critics) {
    if constexpr (requires { critics.first(); })
      return critics.first();
    else
      return critics;
  }
  using FirstCritic = std::remove_cvref_t<decltype(first_critic(std::declval<const C&>()))>;

  Td3Options options_;
  Noise noise_;
  std::vector<S> target_actor_;
  typename F::Tape target_actor_tape_ = {};
  typename FirstCritic::Tape first_critic_tape_ = {};
  double actor_loss_ = 0, critic_loss_ = 0;
};

}  // namespace detail

/// Twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, algorithm 1): two critics of which the smaller
/// counts, a smoothed target action, and an actor that moves every `policy_delay` steps of the critics. `critic` takes
/// the state above the action and has one output; the agent makes two of it. `noise` is added to the actions tried, in
/// units of the action: `GaussianNoise`, `OrnsteinUhlenbeckNoise`, or whatever has `add(action, rng)`.
///
///     Td3 agent{Mlp<float>{{3, 64, 64, 1}, relu}, env.actions(), Mlp<float>{{3 + 1, 64, 64, 1}, relu}, Adam{1e-3},
///               GaussianNoise{.standard_deviation = 0.2}};
template <Approximator F, class A, Approximator C, Optimizer O, class Noise>
class Td3 : public detail::DeterministicActorCritic<F, A, Parallel<C, C>, O, Noise> {
 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and for models whose sizes don't fit.
  Td3(F actor, const Box<A>& actions, C critic, const O& optimizer, Noise noise, Td3Options options = {},
      Rng start = Rng{})
      : detail::DeterministicActorCritic<F, A, Parallel<C, C>, O, Noise>("Td3", std::move(actor), actions,
                                                                         Parallel{critic, critic}, optimizer,
                                                                         std::move(noise), std::move(options), start) {}
};

/// Deep deterministic policy gradient (Lillicrap et al. 2016, algorithm 1). The arguments are those of `Td3`.
///
///     Ddpg agent{Mlp<float>{{3, 64, 64, 1}, relu}, env.actions(), Mlp<float>{{3 + 1, 64, 64, 1}, relu}, Adam{1e-3},
///                OrnsteinUhlenbeckNoise{1}};
template <Approximator F, class A, Approximator C, Optimizer O, class Noise>
class Ddpg : public detail::DeterministicActorCritic<F, A, C, O, Noise> {
 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and for models whose sizes don't fit.
  Ddpg(F actor, const Box<A>& actions, C critic, const O& optimizer, Noise noise, DdpgOptions options = {},
       Rng start = Rng{})
      : detail::DeterministicActorCritic<F, A, C, O, Noise>("Ddpg", std::move(actor), actions, std::move(critic),
                                                            optimizer, std::move(noise), as_td3(std::move(options)),
                                                            start) {}

 private:
  static Td3Options as_td3(DdpgOptions o) {
    return {.discount = o.discount,
            .target_noise = 0,
            .policy_delay = 1,
            .replay = o.replay,
            .batch = o.batch,
            .warm_up = o.warm_up,
            .train_every = o.train_every,
            .updates = o.updates,
            .n_step = o.n_step,
            .target_rate = o.target_rate,
            .max_gradient_norm = o.max_gradient_norm,
            .step_factor = std::move(o.step_factor)};
  }
};

}  // namespace valence
