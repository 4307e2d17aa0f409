#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
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

/// `discount` in [0, 1]; weights >= 0.
struct ReinforceOptions {
  int episodes = 1;  ///< between updates, >= 1
  double discount = 0.99;
  double entropy_weight = 0, value_weight = 0.5;
  double max_gradient_norm = 0;  ///< 0: not cut
  bool whiten = false;           ///< returns (less the values, where there are any), over the update's transitions
  Rate step_factor = 1;          ///< of the optimizer's step size, by updates
  PossibleActions possible = {};
};

/// REINFORCE (Williams 1992; Sutton and Barto 2018, sections 13.3 and 13.4): after every `episodes` one step down the mean
/// over their transitions of -G_t log pi(a_t | s_t), G_t the discounted return from t. As everybody does and the policy
/// gradient theorem doesn't, the factor discount^t of the t-th term is left out. A model with one output more than the
/// law has a value as baseline, -(G_t - V(s_t)) log pi, and learns it; an episode that was cut off is then worth V(s_T)
/// at its end, and 0 without.
///
///     Reinforce agent{Mlp<float>{{4, 64, 2}, relu}, Softmax{.actions = 2}, Adam{1e-3}, {.whiten = true}};
template <Approximator F, ActionDistribution L, Optimizer O>
class Reinforce : public detail::OnPolicyAgent<F, L, O> {
  using Base = detail::OnPolicyAgent<F, L, O>;

 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and a model whose outputs don't fit.
  Reinforce(F model, L law, const O& optimizer, ReinforceOptions options = {}, Rng start = Rng{})
      : Base("Reinforce", std::move(model), std::move(law), optimizer, options.possible, 1, 256, start, false),
        options_(std::move(options)) {
    constexpr auto where = "Reinforce";
    check_positive(where, "episodes", options_.episodes);
    detail::check_actor_options(where, options_);
  }

  /// Takes in a transition of what `act` did; learns where it ended the last of `episodes`.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    this->record(t, (std::numeric_limits<int>::max)());
    if ((t.terminated || t.truncated) && ++episodes_ == options_.episodes) update();
  }
  /// What was seen of an episode that didn't end counts as one that was cut off.
  void begin_episode() {
    const auto& rollout = this->rollout_;
    const bool open =
        rollout.row > 0 && !rollout.terminated[rollout.size() - 1] && !rollout.truncated[rollout.size() - 1];
    Base::begin_episode();
    if (open && ++episodes_ == options_.episodes) update();
  }

  /// Of the last update.
  std::array<Metric, 4> metrics() const {
    return {{{"train/policy_loss", statistics_.policy_loss},
             {"train/value_loss", statistics_.value_loss},
             {"train/entropy_loss", -statistics_.entropy},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(episodes_, statistics_);
  }

 private:
  void update() {
    this->rollout_.find_advantages(options_.discount, 1);
    statistics_ = {};
    const double factor = options_.step_factor.in("Reinforce", "step_factor", this->updates(), 0, 1e9);
    this->descend(this->all_columns(), PolicyGradient{}, SquaredError{},
                  {.entropy = options_.entropy_weight,
                   .value = options_.value_weight,
                   .max_gradient_norm = options_.max_gradient_norm,
                   .whiten = options_.whiten},
                  factor, statistics_);
    this->rollout_.row = 0;
    episodes_ = 0;
  }

  ReinforceOptions options_;
  int episodes_ = 0;
  detail::UpdateStatistics statistics_ = {};
};

}  // namespace valence
