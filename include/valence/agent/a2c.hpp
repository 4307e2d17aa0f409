#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "valence/agent/metrics.hpp"
#include "valence/agent/on_policy.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy_gradient/surrogate.hpp"

namespace valence {

/// The defaults are stable-baselines3's. `discount` and `lambda` in [0, 1]; weights >= 0.
struct A2cOptions {
  int horizon = 5;  ///< steps of each lane between updates, >= 1
  int lanes = 1;    ///< environments that are played side by side, >= 1
  double discount = 0.99, lambda = 1;
  double entropy_weight = 0, value_weight = 0.5;
  double max_gradient_norm = 0.5;  ///< 0: not cut
  bool whiten = false;             ///< advantages, over the rollout
  Rate step_factor = 1;            ///< of the optimizer's step size, by updates
  PossibleActions possible = {};
};

/// Advantage actor-critic (Mnih et al. 2016, algorithm S3, without asynchronous workers): after every `horizon` steps one
/// step down the mean of
///
///     -A log pi(a | s) + value_weight (V(s) - target)^2 / 2 - entropy_weight H(pi(. | s))
///
/// with advantages A and targets by GAE (Schulman et al. 2016). The model gives the law's outputs and below them the
/// value: `Parallel{actor, critic}` for two networks, `Chain{trunk, Parallel{...}}` or one `Mlp` for shared layers.
///
///     Softmax law{.actions = 2};
///     A2c agent{Parallel{Mlp<float>{{4, 64, 64, 2}, relu}, Mlp<float>{{4, 64, 64, 1}, relu}}, law, RmsProp{7e-4}};
///     train(agent, TimeLimit{CartPole{}}, {.steps = 100'000}, rng);
template <Approximator F, ActionDistribution L, Optimizer O>
class A2c : public detail::OnPolicyAgent<F, L, O> {
  using Base = detail::OnPolicyAgent<F, L, O>;

 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and a model whose outputs don't fit.
  A2c(F model, L law, const O& optimizer, A2cOptions options = {}, Rng start = Rng{})
      : Base("A2c", std::move(model), std::move(law), optimizer, options.possible, options.lanes, options.horizon,
             start),
        options_(std::move(options)) {
    detail::check_actor_options("A2c", options_);
    if (!this->has_value()) fail("A2c", "the model has the law's outputs alone; expected one more, for the value");
  }

  /// Takes in a transition of what `act` did; learns after every `horizon`.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    if (this->record(t, options_.horizon)) update();
  }
  /// One a lane.
  template <class State, class Action>
  void learn(std::span<const Transition<State, Action>> transitions, Rng&) {
    if (this->record(transitions, options_.horizon)) update();
  }

  /// Of the last update.
  std::array<Metric, 5> metrics() const {
    return {{{"train/policy_loss", statistics_.policy_loss},
             {"train/value_loss", statistics_.value_loss},
             {"train/entropy_loss", -statistics_.entropy},
             {"train/explained_variance", explained_},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(statistics_, explained_);
  }

 private:
  void update() {
    auto& rollout = this->rollout_;
    rollout.find_advantages(options_.discount, options_.lambda);
    explained_ = detail::explained_variance(rollout.value, rollout.target, rollout.size());
    statistics_ = {};
    const double factor = options_.step_factor.in("A2c", "step_factor", this->updates(), 0, 1e9);
    this->descend(this->all_columns(), PolicyGradient{}, SquaredError{},
                  {.entropy = options_.entropy_weight,
                   .value = options_.value_weight,
                   .max_gradient_norm = options_.max_gradient_norm,
                   .whiten = options_.whiten},
                  factor, statistics_);
    rollout.row = 0;
  }

  A2cOptions options_;
  detail::UpdateStatistics statistics_ = {};
  double explained_ = 0;
};

}  // namespace valence
