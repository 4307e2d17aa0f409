#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "valence/agent/metrics.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/offline/advantage_weights.hpp"
#include "valence/offline/logged.hpp"
#include "valence/offline/losses.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy_gradient/surrogate.hpp"

namespace valence {

struct AwrOptions {
  double discount = 0.99;      ///< in [0, 1]
  double temperature = 1;      ///< > 0, in units of the return: weights are exp(advantage / temperature) ...
  double max_weight = 20;      ///< ... cut here; > 0
  double truncated_value = 0;  ///< what follows a transition that was cut off is worth (see `CqlOptions`)
  int batch = 256;             ///< >= 1
  double max_gradient_norm = 0;
  Rate step_factor = 1;
};

/// Advantage-weighted regression (Peng et al. 2019, arXiv:1910.00177, algorithm 1) on a fixed log: a value is fitted to
/// the logged returns, and the policy to the logged actions, each weighted by the exponential of how much better than
/// that value its return was. No action is valued that wasn't logged, and nothing is bootstrapped: it improves on the
/// log's policy by one step and can't put pieces of different episodes together.
///
///     Awr agent{Tabular{states, 4}, Softmax{4}, Tabular{states, 1}, Adam{0.05}, {.temperature = 2}};
template <Approximator F, ActionDistribution L, Approximator V, Optimizer O>
class Awr {
 public:
  using Scalar = typename F::Scalar;
  using Action = typename L::Action;

  /// `policy` gives the law's outputs for a state, `value` one number. `start` draws the parameters. Throws `Error` for
  /// options out of their ranges, and for models whose sizes don't fit.
  Awr(F policy, L law, V value, const O& optimizer, AwrOptions options = {}, Rng start = Rng{})
      : policy_(where, std::move(policy), std::move(law), optimizer, start),
        value_(where, std::move(value), optimizer, policy_.net().learned().input_count(), start),
        options_(std::move(options)),
        data_(policy_.data()) {
    detail::check_offline(where, options_);
    check_positive(where, "temperature", options_.temperature);
    check_positive(where, "max_weight", options_.max_weight);
  }

  /// Learns from these transitions from now on, in the order in which they were played. Throws `Error`, and changes
  /// nothing, for an empty dataset and for a transition that can't be learned from.
  /// Under `SquashedGaussian` an action at a bound has density 0: `clamp` logged ones first (pitfall G18).
  template <Dataset D>
  void load(const D& data) {
    policy_.load("Awr::load", data, data_);
    data_.find_returns(options_.discount, options_.truncated_value);
  }
  /// A step of value and policy on a batch. Throws `Error` before `load`, and where the run diverges.
  void update(Rng& rng) {
    data_.draw(where, options_.batch, options_.discount, rng);
    const double factor = options_.step_factor.in(where, "step_factor", updates(), 0, 1e9);
    value_loss_ = value_.fit(
        where, SquaredError{}, data_.states(), [&](Eigen::Index j) { return data_.logged_return(j); }, advantage_,
        options_.max_gradient_norm, factor);
    weight_.resize(advantage_.size());
    ExponentialWeights{.beta = 1 / options_.temperature, .max_weight = options_.max_weight}(
        view(std::as_const(advantage_)), view(weight_));
    policy_loss_ = policy_.fit(where, WeightedRegression{}, data_, view(std::as_const(weight_)),
                               options_.max_gradient_norm, factor);
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
  const AwrOptions& options() const { return options_; }
  /// theta of the policy, and of the value.
  std::span<const Scalar> parameters() const { return policy_.net().theta(); }
  std::span<Scalar> parameters() { return policy_.net().theta(); }
  std::span<const Scalar> value_parameters() const { return value_.net().theta(); }
  /// Steps so far, transitions loaded, and how many of these were looked at.
  std::int64_t updates() const { return policy_.net().updates(); }
  std::size_t transitions() const { return data_.size(); }
  std::size_t distinct_transitions() const { return data_.distinct(); }
  /// Of the last update.
  std::array<Metric, 3> metrics() const {
    return {{{"train/policy_loss", policy_loss_},
             {"train/value_loss", value_loss_},
             {"train/n_updates", static_cast<double>(updates())}}};
  }

  template <class A>
  void archive(A& ar) {
    ar(policy_, value_, data_, policy_loss_, value_loss_);
  }

 private:
  static constexpr auto where = "Awr";
  detail::LoggedPolicy<F, L, O> policy_;
  detail::LoggedValues<V, O> value_;
  AwrOptions options_;
  detail::Logged<Scalar, Action> data_;
  double policy_loss_ = 0, value_loss_ = 0;
  Vector<Scalar> advantage_ = {}, weight_ = {};  // scratch
};

}  // namespace valence
