#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "valence/agent/metrics.hpp"
#include "valence/core/random.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/offline/logged.hpp"
#include "valence/offline/losses.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/rate.hpp"

namespace valence {

struct BcOptions {
  int batch = 256;               ///< >= 1
  double max_gradient_norm = 0;  ///< 0: not cut
  Rate step_factor = 1;          ///< of the optimizer's step size, by updates
};

/// Behaviour cloning: the policy is fitted to the log's actions, good or bad (Pomerleau 1989). The yardstick of all that
/// learns from a log.
///
///     BehaviourCloning agent{Tabular{states, 4}, Softmax{4}, Adam{0.05}};
///     train_offline(agent, data, {.updates = 5000}, rng);
template <Approximator F, ActionDistribution L, Optimizer O>
class BehaviourCloning {
 public:
  using Scalar = typename F::Scalar;
  using Action = typename L::Action;

  /// `policy` gives the law's outputs for a state. `start` draws the parameters. Throws `Error` for options out of their
  /// ranges, and for a model whose size doesn't fit the law.
  BehaviourCloning(F policy, L law, const O& optimizer, BcOptions options = {}, Rng start = Rng{})
      : policy_("BehaviourCloning", std::move(policy), std::move(law), optimizer, start),
        options_(std::move(options)),
        data_(policy_.data()) {
    detail::check_offline("BehaviourCloning", options_);
  }

  /// Learns from these transitions from now on. Throws `Error`, and changes nothing, for an empty dataset and for a
  /// transition that can't be learned from.
  /// Under `SquashedGaussian` an action at a bound has density 0: `clamp` logged ones first (pitfall G18).
  template <Dataset D>
  void load(const D& data) {
    policy_.load("BehaviourCloning::load", data, data_);
  }
  /// A step on a batch. Throws `Error` before `load`, and where the run diverges, before the step.
  void update(Rng& rng) {
    data_.draw("BehaviourCloning", options_.batch, 1, rng);
    loss_ = policy_.fit("BehaviourCloning", BehaviourCloningLoss{}, data_, {}, options_.max_gradient_norm,
                        options_.step_factor.in("BehaviourCloning", "step_factor", updates(), 0, 1e9));
  }

  /// An action of the policy.
  template <class State>
  Action act(const State& state, Rng& rng) {
    return policy_.act(state, rng);
  }
  /// Its most likely action.
  template <class State>
  Action greedy(const State& state) {
    return policy_.greedy(state);
  }
  template <class State>
  Action greedy(const State& state, Rng&) {
    return greedy(state);
  }

  const auto& model() const { return detail::as_given(policy_.net().model()); }
  const L& law() const { return policy_.law(); }
  const BcOptions& options() const { return options_; }
  std::span<const Scalar> parameters() const { return policy_.net().theta(); }
  std::span<Scalar> parameters() { return policy_.net().theta(); }
  /// Steps so far, transitions loaded, and how many of these were looked at.
  std::int64_t updates() const { return policy_.net().updates(); }
  std::size_t transitions() const { return data_.size(); }
  std::size_t distinct_transitions() const { return data_.distinct(); }
  /// Of the last update.
  std::array<Metric, 2> metrics() const {
    return {{{"train/policy_loss", loss_}, {"train/n_updates", static_cast<double>(updates())}}};
  }

  template <class A>
  void archive(A& ar) {
    ar(policy_, data_, loss_);
  }

 private:
  detail::LoggedPolicy<F, L, O> policy_;
  BcOptions options_;
  detail::Logged<Scalar, Action> data_;
  double loss_ = 0;
};

}  // namespace valence
