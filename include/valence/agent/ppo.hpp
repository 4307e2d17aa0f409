#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
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
struct PpoOptions {
  int horizon = 2048;  ///< steps of each lane between updates, >= 1
  int lanes = 1;       ///< environments that are played side by side, >= 1
  int epochs = 10;     ///< passes over the rollout, >= 1
  int batch = 64;      ///< transitions a step, >= 1; the last of an epoch takes what is left
  double discount = 0.99, lambda = 0.95;
  Rate clip = 0.2;                                             ///< of the ratio, > 0, by updates; infinity: not clipped
  double dual_clip = std::numeric_limits<double>::infinity();  ///< see `PpoClip`; > 1
  double value_clip = std::numeric_limits<double>::infinity();  ///< see `ClippedValue`; > 0
  double kl_penalty = 0;   ///< weight of KL(old || new); needs a law whose divergence has a closed form
  double adaptive_kl = 0;  ///< > 0: `kl_penalty` is steered towards this divergence, see `AdaptiveKl`
  double target_kl = std::numeric_limits<double>::infinity();  ///< no step from a policy that has moved further
  double entropy_weight = 0, value_weight = 0.5;
  double max_gradient_norm = 0.5;  ///< 0: not cut
  bool whiten = true;              ///< advantages, over each batch
  Rate step_factor = 1;            ///< of the optimizer's step size, by updates
  PossibleActions possible = {};
};

/// Proximal policy optimisation (Schulman et al. 2017, algorithm 1): after every `horizon` steps, `epochs` passes over
/// them in shuffled batches, each a step down the mean of
///
///     PpoClip + value_weight ClippedValue - entropy_weight H + kl_penalty KL(old || new)
///
/// with advantages by GAE. `clip` infinite and `kl_penalty` above 0 is the paper's penalty form. The model is that of
/// `A2c`.
///
///     Softmax law{.actions = 2};
///     Ppo agent{Parallel{Mlp<float>{{4, 64, 64, 2}, Activation::tanh}, Mlp<float>{{4, 64, 64, 1}, Activation::tanh}},
///               law, Adam{.step_size = 3e-4}, {.epochs = 10}};
///     train(agent, TimeLimit{CartPole{}}, {.steps = 100'000}, rng);
template <Approximator F, ActionDistribution L, Optimizer O>
class Ppo : public detail::OnPolicyAgent<F, L, O> {
  using Base = detail::OnPolicyAgent<F, L, O>;

 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and a model whose outputs don't fit.
  Ppo(F model, L law, const O& optimizer, PpoOptions options = {}, Rng start = Rng{})
      : Base("Ppo", std::move(model), std::move(law), optimizer, options.possible, options.lanes, options.horizon,
             start),
        options_(std::move(options)),
        kl_penalty_(options_.kl_penalty) {
    constexpr auto where = "Ppo";
    detail::check_actor_options(where, options_);
    check_positive(where, "epochs", options_.epochs);
    check_positive(where, "batch", options_.batch);
    clip_at(0);
    if (!(options_.value_clip > 0)) fail(where, "value_clip is {}; expected a number above 0", options_.value_clip);
    check_range(where, "kl_penalty", options_.kl_penalty, 0, (std::numeric_limits<double>::max)());
    check_range(where, "adaptive_kl", options_.adaptive_kl, 0, (std::numeric_limits<double>::max)());
    if (!(options_.target_kl >= 0)) fail(where, "target_kl is {}; expected at least 0", options_.target_kl);
    if (!(options_.dual_clip > 1)) fail(where, "dual_clip is {}; expected more than 1", options_.dual_clip);
    if (!HasKl<L> && options_.kl_penalty > 0)
      fail(where, "kl_penalty is {}, and the law's divergence has no closed form; expected 0", options_.kl_penalty);
    if (options_.adaptive_kl > 0 && !(options_.kl_penalty > 0))
      fail(where, "adaptive_kl is {} and kl_penalty 0; expected a penalty to steer", options_.adaptive_kl);
    if (!this->has_value()) fail(where, "the model has the law's outputs alone; expected one more, for the value");
  }

  /// Takes in a transition of what `act` did; learns after every `horizon`.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng& rng) {
    if (this->record(t, options_.horizon)) update(rng);
  }
  /// One a lane.
  template <class State, class Action>
  void learn(std::span<const Transition<State, Action>> transitions, Rng& rng) {
    if (this->record(transitions, options_.horizon)) update(rng);
  }

  /// The weight of the divergence now, where it is adaptive.
  double kl_penalty() const { return kl_penalty_; }
  /// Of the last update.
  std::array<Metric, 7> metrics() const {
    const auto& s = statistics_;
    return {{{"train/policy_gradient_loss", s.mean(s.policy_loss)},
             {"train/value_loss", s.mean(s.value_loss)},
             {"train/entropy_loss", -s.mean(s.entropy)},
             {"train/approx_kl", s.mean(s.kl)},
             {"train/clip_fraction", s.mean(s.clip_fraction)},
             {"train/explained_variance", explained_},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(kl_penalty_, statistics_, explained_);
  }

 private:
  double clip_at(std::int64_t update) const {
    constexpr double least = std::numeric_limits<double>::denorm_min(), most = std::numeric_limits<double>::infinity();
    return options_.clip.in("Ppo", "clip", update, least, most);
  }

  void update(Rng& rng) {
    auto& rollout = this->rollout_;
    rollout.find_advantages(options_.discount, options_.lambda);
    explained_ = detail::explained_variance(rollout.value, rollout.target, rollout.size());
    const auto all = this->all_columns();
    const std::size_t n = all.size(), batch = static_cast<std::size_t>(options_.batch);
    statistics_ = {};
    detail::StepWeights weights{.entropy = options_.entropy_weight,
                                .value = options_.value_weight,
                                .max_gradient_norm = options_.max_gradient_norm,
                                .kl_penalty = kl_penalty_,
                                .target_kl = options_.target_kl,
                                .whiten = options_.whiten};
    const bool clips_values = options_.value_clip < std::numeric_limits<double>::infinity();
    bool goes_on = true;
    double moved = 0;  // over the last epoch
    for (int epoch = 0; epoch < options_.epochs && goes_on; ++epoch) {
      const detail::UpdateStatistics before = statistics_;
      rng.shuffle(all);
      for (std::size_t begin = 0; begin < n && goes_on; begin += batch) {
        const auto columns = std::span<const std::size_t>(all).subspan(begin, (std::min)(batch, n - begin));
        const double factor = options_.step_factor.in("Ppo", "step_factor", this->updates(), 0, 1e9);
        weights.clip = clip_at(this->updates());
        const PpoClip clip{.epsilon = weights.clip, .dual_clip = options_.dual_clip};
        goes_on = clips_values
                      ? this->descend(columns, clip, ClippedValue{options_.value_clip}, weights, factor, statistics_)
                      : this->descend(columns, clip, SquaredError{}, weights, factor, statistics_);
      }
      moved = (statistics_.kl - before.kl) / static_cast<double>(statistics_.batches - before.batches);
    }
    if (options_.adaptive_kl > 0) kl_penalty_ = AdaptiveKl{.target = options_.adaptive_kl}(kl_penalty_, moved);
    rollout.row = 0;
  }

  PpoOptions options_;
  double kl_penalty_;
  detail::UpdateStatistics statistics_ = {};
  double explained_ = 0;
};

}  // namespace valence
