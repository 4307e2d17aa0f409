#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
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
#include "valence/mdp/replay.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy_gradient/soft_actor.hpp"

namespace valence {

/// The defaults are those of `SacOptions`; batch and target entropy are the paper's.
struct DiscreteSacOptions {
  double discount = 0.99;  ///< in [0, 1]
  double temperature = 1;  ///< alpha > 0: where it starts, or, where it isn't learned, stays
  bool learn_temperature = true;
  /// In (0, 1): the entropy aimed at, as a share of the largest, the log of the number of possible actions. The paper's
  /// is nearly uniform play: where episodes are long, alpha can then grow without end (on CartPole to 3e4 in 50,000
  /// steps).
  double entropy_fraction = 0.98;
  std::size_t replay = 1'000'000;    ///< transitions remembered, >= 1
  int batch = 64;                    ///< >= 1
  std::int64_t warm_up = 100;        ///< transitions of uniform actions before the first update, >= 1
  int train_every = 1, updates = 1;  ///< `updates` >= 1 gradient steps after every `train_every` >= 1 transitions
  int n_step = 1;                    ///< transitions of a target, >= 1
  double target_rate = 0.005;        ///< in (0, 1]: of the targets' way to the critics, at every update
  double max_gradient_norm = 0;      ///< 0: not cut
  Rate step_factor = 1;              ///< of the optimizer's step size, by updates
  PossibleActions possible = {};
};

/// Soft actor-critic with discrete actions (Christodoulou 2019, arXiv:1910.07207, algorithm 1): two critics with an
/// output an action, of which the smaller counts, an actor whose outputs are logits, and expectations over actions that
/// are sums, not samples. Its fixed point at a temperature alpha is that of `soft_value_iteration`; alpha itself is
/// moved so that the policy's entropy, averaged over the batch, is at its target. `critic` has the actor's inputs and
/// outputs; the agent makes two of it.
///
///     Mlp<float> net{{4, 64, 64, 2}, Activation::relu};
///     DiscreteSac agent{net, net, Adam{.step_size = 1e-3}, {.entropy_fraction = 0.3, .target_rate = 0.05}};
///     train(agent, TimeLimit{CartPole{}}, {.steps = 50'000}, rng);
template <Approximator F, Approximator C, Optimizer O>
class DiscreteSac {
 public:
  using Scalar = typename F::Scalar;
  using Action = int;

  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and for models whose sizes don't
  /// fit.
  DiscreteSac(F actor, C critic, const O& optimizer, DiscreteSacOptions options = {}, Rng start = Rng{})
      : options_(detail::checked_off_policy("DiscreteSac", std::move(options))),
        actor_(std::move(actor), optimizer, start),
        critics_(Parallel{critic, critic}, optimizer, start),
        target_critics_(critics_.theta().begin(), critics_.theta().end()),
        law_{.actions = actor_.model().output_size()},
        mask_(options_.possible, law_.actions),
        memory_(actor_.learned().input_count(), {.capacity = options_.replay}),
        temperature_("DiscreteSac", options_.temperature, optimizer),
        state_(actor_.learned().input_count()),
        next_(actor_.learned().input_count()),
        zeros_(static_cast<std::size_t>(law_.actions), S(0)),
        target_entropies_(target_entropies(law_.actions, options_.entropy_fraction)) {
    check_size("DiscreteSac", "the critic's outputs", static_cast<std::size_t>(critic.output_size()), zeros_.size());
    check_size("DiscreteSac", "the critic's inputs", critics_.learned().input_count(), state_.size());
  }

  /// An action of the policy; before the first update any that is possible, each alike.
  template <class State>
  int act(const State& state, Rng& rng) {
    const auto z = logits(state);
    return law_.sample(steps_ >= options_.warm_up ? z : std::span<const S>(zeros_), rng, mask());
  }
  /// The most likely action.
  template <class State>
  int greedy(const State& state) {
    const auto z = logits(state);
    return law_.mode(z, mask());
  }
  template <class State>
  int greedy(const State& state, Rng&) {
    return greedy(state);
  }

  /// Remembers the transition and, where it is time, learns. Throws `Error`, and remembers nothing, for numbers that
  /// aren't finite and an action that doesn't exist.
  template <class State, class V>
  void learn(const Transition<State, V>& t, Rng& rng) {
    const int action = static_cast<int>(t.action);
    if (action < 0 || action >= law_.actions)
      fail("DiscreteSac", "the transition's action is {}; expected one in [0, {}]", action, law_.actions - 1);
    detail::remember(memory_, actor_.learned(), t, action, std::span<S>(state_), std::span<S>(next_));
    ++steps_;
    if (steps_ >= options_.warm_up && steps_ % options_.train_every == 0)
      for (int k = 0; k < options_.updates; ++k) update(rng);
  }
  /// What was seen of an episode that didn't end counts as one that was cut off.
  void begin_episode() { memory_.end_episode(); }

  /// One gradient step of critics, actor and temperature on a batch of what is remembered. `learn` does this by itself.
  void update(Rng& rng) {
    memory_.sample(static_cast<std::size_t>(options_.batch), batch_, rng,
                   {.steps = static_cast<std::size_t>(options_.n_step), .discount = options_.discount});
    const double factor = options_.step_factor.in("DiscreteSac", "step_factor", updates(), 0, 1e9);
    const double alpha = temperature();
    fit_critics(alpha, factor);
    fit_actor(alpha, factor);
    if (options_.learn_temperature) temperature_.step(0, std::span<const S>(excess_), factor);
    polyak_average(std::span<S>(target_critics_), critics_.theta(), options_.target_rate);
  }

  const F& model() const { return actor_.model(); }
  const C& critic_model() const { return critics_.model().first(); }
  const Softmax& law() const { return law_; }
  /// theta of the actor, and of the critics: the first's, then the second's.
  std::span<const Scalar> parameters() const { return actor_.theta(); }
  std::span<Scalar> parameters() { return actor_.theta(); }
  std::span<const Scalar> critic_parameters() const { return critics_.theta(); }
  std::span<const Scalar> target_critic_parameters() const { return target_critics_; }
  const Replay<Scalar>& memory() const { return memory_; }
  int actions() const { return law_.actions; }
  /// Transitions learned from, and steps of the critics' optimizer.
  std::int64_t steps() const { return steps_; }
  std::int64_t updates() const { return critics_.updates(); }
  /// alpha now.
  double temperature() const { return temperature_(); }
  /// The entropy aimed at where so many actions are possible, nats: of one, 0. `possible` in [1, actions()].
  double target_entropy(int possible) const {
    check_range("DiscreteSac::target_entropy", "possible", possible, 1, law_.actions);
    return target_entropies_[static_cast<std::size_t>(possible)];
  }
  /// Of the last update.
  std::array<Metric, 5> metrics() const {
    return {{{"train/actor_loss", actor_loss_},
             {"train/critic_loss", critic_loss_},
             {"train/ent_coef", temperature()},
             {"train/entropy", entropy_},
             {"train/n_updates", static_cast<double>(updates())}}};
  }

  template <class A>
  void archive(A& ar) {
    ar(actor_, critics_, target_critics_, memory_, temperature_, steps_);
    ar(actor_loss_, critic_loss_, entropy_);
    check_size("DiscreteSac::archive", "the target critics", target_critics_.size(), critics_.theta().size());
  }

 private:
  using S = Scalar;
  using Critics = Parallel<C, C>;

  static std::vector<double> target_entropies(int actions, double fraction) {
    std::vector<double> targets(static_cast<std::size_t>(actions) + 1, 0.0);
    targets.back() = discrete_target_entropy(actions, fraction);
    for (int n = 2; n < actions; ++n) targets[static_cast<std::size_t>(n)] = discrete_target_entropy(n, fraction);
    return targets;
  }
  template <class State>
  std::span<const S> logits(const State& state) {
    actor_.learned().write_input(state, std::span<S>(state_));
    return detail::column(actor_.forward({state_.data(), static_cast<Eigen::Index>(state_.size()), 1}, act_tape_), 0);
  }
  /// What is possible in `state_`.
  ActionMask mask() { return mask_(std::span<const S>(state_)); }
  /// One critic's values of a state, an entry an action.
  std::span<const S> critic(const Outputs<S>& q, Eigen::Index j, std::size_t which) const {
    return detail::column(q, j).subspan(which * zeros_.size(), zeros_.size());
  }

  /// Towards r + discount sum_a pi(a | s') (min_i Q_i(s', a) - alpha log pi(a | s')), the Q_i of the targets.
  void fit_critics(double alpha, double factor) {
    const auto n = static_cast<Eigen::Index>(batch_.size());
    const auto next = detail::outputs_of(batch_.next), x = detail::outputs_of(batch_.state);
    const auto z = actor_.forward(next, actor_tape_);
    const auto next_q = critics_.forward_with(target_critics_, next, target_tape_);
    const auto q = critics_.forward(x, critic_tape_);
    auto dq = dq_.zero(q.rows(), n);
    const S share = S(1) / static_cast<S>(n);
    double loss = 0;
    for (Eigen::Index j = 0; j < n; ++j) {
      S target = batch_.reward[j];
      if (!batch_.terminated[j])
        target += batch_.discount[j] * soft_value(detail::column(z, j), critic(next_q, j, 0), critic(next_q, j, 1),
                                                  alpha, mask_(detail::column(next, j)));
      for (const int row : {batch_.action(0, j), law_.actions + batch_.action(0, j)}) {
        const S error = q(row, j) - target;
        loss += static_cast<double>(error) * static_cast<double>(error);
        dq(row, j) = share * error;
      }
    }
    critic_loss_ =
        detail::check_divergence("DiscreteSac", "the critics' loss", loss / (2 * static_cast<double>(n)), updates());
    critics_.pullback(x, critic_tape_, dq_.get());
    critics_.step("DiscreteSac", options_.max_gradient_norm, factor);
  }

  /// Down sum_a pi(a | s) (alpha log pi(a | s) - min_i Q_i(s, a)); the critics are values here (pitfall G26).
  void fit_actor(double alpha, double factor) {
    const auto n = static_cast<Eigen::Index>(batch_.size());
    const auto x = detail::outputs_of(batch_.state);
    const auto z = actor_.forward(x, actor_tape_);
    const auto q = critics_.forward(x, critic_tape_);
    auto dz = dz_.zero(z.rows(), n);
    const S share = S(1) / static_cast<S>(n);
    excess_.resize(batch_.size());
    double loss = 0, entropy = 0;
    for (Eigen::Index j = 0; j < n; ++j) {
      const auto mask = mask_(detail::column(x, j));
      const auto actor = DiscreteSacActor{alpha}(detail::column(z, j), critic(q, j, 0), critic(q, j, 1), share,
                                                 detail::column(dz, j), mask);
      const auto possible = mask.empty() ? std::ptrdiff_t{law_.actions} : std::count(mask.begin(), mask.end(), true);
      // How far the target is above the entropy: what TemperatureLoss, which takes one target, gets as a
      // log-probability.
      excess_[static_cast<std::size_t>(j)] =
          static_cast<S>(target_entropies_[static_cast<std::size_t>(possible)]) - actor.entropy;
      loss += static_cast<double>(actor.value);
      entropy += static_cast<double>(actor.entropy);
    }
    actor_loss_ = loss / static_cast<double>(n), entropy_ = entropy / static_cast<double>(n);
    actor_.pullback(x, actor_tape_, dz_.get());
    actor_.step("DiscreteSac", options_.max_gradient_norm, factor);
  }

  DiscreteSacOptions options_;
  detail::Network<F, O> actor_;
  detail::Network<Critics, O> critics_;
  std::vector<S> target_critics_;
  Softmax law_;
  detail::MaskOf mask_;
  Replay<S> memory_;
  detail::Temperature<S, O> temperature_;
  std::int64_t steps_ = 0;
  double actor_loss_ = 0, critic_loss_ = 0, entropy_ = 0;
  // scratch
  std::vector<S> state_, next_, zeros_, excess_ = {};
  std::vector<double> target_entropies_;  // by how many actions are possible
  typename F::Tape act_tape_ = {}, actor_tape_ = {};
  typename Critics::Tape critic_tape_ = {}, target_tape_ = {};
  ReplayBatch<S> batch_ = {};
  detail::BatchBuffer<S> dq_ = {}, dz_ = {};
};

}  // namespace valence
