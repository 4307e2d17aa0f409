#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
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

namespace valence {

/// The defaults are those of the paper's locomotion tasks.
struct IqlOptions {
  double discount = 0.99;        ///< in [0, 1]
  double tau = 0.7;              ///< the expectile, in (0, 1): 1/2 values the log's policy, -> 1 its best actions
  double beta = 3;               ///< >= 0: weights are exp(beta advantage), in 1 / units of the return ...
  double max_weight = 100;       ///< ... cut here; > 0
  double target_rate = 0.005;    ///< in (0, 1]: of the target critics' way to the critics, at every update
  int batch = 256;               ///< >= 1
  double max_gradient_norm = 0;  ///< 0: not cut
  Rate step_factor = 1;          ///< of the optimizer's step size, by updates
};

/// Implicit Q-learning (Kostrikov, Nair and Levine 2022, arXiv:2110.06169, algorithm 1). A state is worth an expectile of
/// its logged actions' values, so no action is ever valued that wasn't logged, and yet values pass from one episode to
/// another; the policy is then fitted to the logged actions, weighted by their advantage. Two critics, of which the
/// smaller counts. Discrete actions: `critic` has an output an action; continuous ones: it takes the state above the
/// action and has one output. The agent makes two of it.
///
///     Iql agent{Tabular{states, 4}, Softmax{4}, Tabular{states, 4}, Tabular{states, 1}, Adam{0.05}, {.tau = 0.9}};
///     train_offline(agent, data, {.updates = 5000}, rng);
///
/// Each network is moved by its own loss alone (pitfall G26): what enters another's is a number.
template <Approximator F, ActionDistribution L, Approximator C, Approximator V, Optimizer O>
class Iql {
 public:
  using Scalar = typename F::Scalar;
  using Action = typename L::Action;

  /// `policy` gives the law's outputs for a state, `value` one number. `start` draws the parameters. Throws `Error` for
  /// options out of their ranges, and for models whose sizes don't fit.
  Iql(F policy, L law, C critic, V value, const O& optimizer, IqlOptions options = {}, Rng start = Rng{})
      : policy_(where, std::move(policy), std::move(law), optimizer, start),
        critics_(where, std::move(critic), optimizer, policy_.net().learned().input_count(), policy_.action_size(),
                 policy_.law().size(), start),
        value_(where, std::move(value), optimizer, policy_.net().learned().input_count(), start),
        options_(std::move(options)),
        data_(policy_.data()) {
    detail::check_offline(where, options_);
    if (!(options_.tau > 0 && options_.tau < 1))
      fail(where, "tau is {}; expected a number between 0 and 1", options_.tau);
    check_range(where, "beta", options_.beta, 0, (std::numeric_limits<double>::max)());
    check_positive(where, "max_weight", options_.max_weight);
  }

  /// Learns from these transitions from now on. Throws `Error`, and changes nothing, for an empty dataset and for a
  /// transition that can't be learned from.
  /// Under `SquashedGaussian` an action at a bound has density 0: `clamp` logged ones first (pitfall G18).
  template <Dataset D>
  void load(const D& data) {
    policy_.load("Iql::load", data, data_);
  }
  /// A step of value, critics and policy on a batch. Throws `Error` before `load`, and where the run diverges.
  void update(Rng& rng) {
    data_.draw(where, options_.batch, options_.discount, rng);
    const double factor = options_.step_factor.in(where, "step_factor", updates(), 0, 1e9),
                 norm = options_.max_gradient_norm;

    // V(s): the expectile of min Q'(s, a) over the log's actions (equation 5).
    critics_.least_of_targets(data_, logged_q_);
    value_loss_ = value_.fit(
        where, ExpectileLoss{options_.tau}, data_.states(), [&](Eigen::Index j) { return logged_q_[j]; }, advantage_,
        norm, factor);
    // Q(s, a): towards r + discount V(s') (equation 6).
    const auto next_v = value_(data_.next_states());
    critic_loss_ = critics_.fit(
        where, data_, [&](Eigen::Index j) { return data_.bootstrap(j, next_v(0, j)); }, norm, factor);
    critics_.move_targets(options_.target_rate);
    // The policy: the log's actions, weighted by exp(beta (Q' - V)) (equation 7).
    weight_.resize(advantage_.size());
    ExponentialWeights{.beta = options_.beta, .max_weight = options_.max_weight}(view(std::as_const(advantage_)),
                                                                                 view(weight_));
    policy_loss_ = policy_.fit(where, WeightedRegression{}, data_, view(std::as_const(weight_)), norm, factor);
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
  const IqlOptions& options() const { return options_; }
  /// theta of the policy, of both critics, of their targets, and of the value.
  std::span<const Scalar> parameters() const { return policy_.net().theta(); }
  std::span<Scalar> parameters() { return policy_.net().theta(); }
  std::span<const Scalar> critic_parameters() const { return critics_.net().theta(); }
  std::span<Scalar> critic_parameters() { return critics_.net().theta(); }
  std::span<const Scalar> target_critic_parameters() const { return critics_.target(); }
  std::span<const Scalar> value_parameters() const { return value_.net().theta(); }
  /// Steps so far, transitions loaded, and how many of these were looked at.
  std::int64_t updates() const { return policy_.net().updates(); }
  std::size_t transitions() const { return data_.size(); }
  std::size_t distinct_transitions() const { return data_.distinct(); }
  /// Of the last update.
  std::array<Metric, 4> metrics() const {
    return {{{"train/policy_loss", policy_loss_},
             {"train/critic_loss", critic_loss_},
             {"train/value_loss", value_loss_},
             {"train/n_updates", static_cast<double>(updates())}}};
  }

  template <class A>
  void archive(A& ar) {
    ar(policy_, critics_, value_, data_, policy_loss_, critic_loss_, value_loss_);
  }

 private:
  static constexpr auto where = "Iql";
  detail::LoggedPolicy<F, L, O> policy_;
  detail::LoggedCritics<C, Action, O> critics_;
  detail::LoggedValues<V, O> value_;
  IqlOptions options_;
  detail::Logged<Scalar, Action> data_;
  double policy_loss_ = 0, critic_loss_ = 0, value_loss_ = 0;
  Vector<Scalar> logged_q_ = {}, advantage_ = {}, weight_ = {};  // scratch
};

}  // namespace valence
