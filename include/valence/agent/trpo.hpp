#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include "valence/agent/metrics.hpp"
#include "valence/agent/on_policy.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy_gradient/natural_gradient.hpp"
#include "valence/value/gae.hpp"

namespace valence {

/// The defaults are stable-baselines3-contrib's. `discount` and `lambda` in [0, 1].
struct TrpoOptions {
  int horizon = 2048;  ///< steps of each lane between updates, >= 1
  int lanes = 1;       ///< environments that are played side by side, >= 1
  double discount = 0.99, lambda = 0.95;
  TrustRegionOptions region = {.cg_iterations = 15};
  double natural_step = 0;  ///< > 0: no trust region, a step of this size along the natural gradient (NPG, Kakade 2001)
  int critic_epochs = 10;   ///< passes of the critic over the rollout, >= 1
  int batch = 128;          ///< transitions a step of the critic, >= 1
  bool whiten = true;       ///< advantages, over the rollout
  Rate step_factor = 1;     ///< of the critic's step size, by updates
  PossibleActions possible = {};
};

/// Trust-region policy optimisation (Schulman et al. 2015): after every `horizon` steps one step of the actor along the
/// natural gradient, as long as the mean KL(old || new) allows and the surrogate rises, with advantages by GAE; the critic
/// is fitted to their targets by `optimizer`. Actor and critic share nothing, so the model is a `Parallel` of the two. The
/// law needs a closed form of its Fisher matrix and its divergence: `Softmax`, `DiagonalGaussian`.
///
///     Softmax law{.actions = 2};
///     Trpo agent{Parallel{Mlp<float>{{4, 64, 64, 2}, Activation::tanh}, Mlp<float>{{4, 64, 64, 1}, Activation::tanh}},
///                law, Adam{.step_size = 1e-3}};
template <Linearisable A, Approximator C, HasFisher L, Optimizer O>
  requires HasKl<L>
class Trpo : public detail::OnPolicyAgent<Parallel<A, C>, L, O> {
  using Base = detail::OnPolicyAgent<Parallel<A, C>, L, O>;
  using S = typename A::Scalar;

 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and models whose outputs don't fit.
  Trpo(Parallel<A, C> model, L law, const O& optimizer, TrpoOptions options = {}, Rng start = Rng{})
      : Base("Trpo", std::move(model), std::move(law), optimizer, options.possible, options.lanes, options.horizon,
             start),
        options_(std::move(options)) {
    constexpr auto where = "Trpo";
    check_range(where, "discount", options_.discount, 0, 1);
    check_range(where, "lambda", options_.lambda, 0, 1);
    check_positive(where, "critic_epochs", options_.critic_epochs);
    check_positive(where, "batch", options_.batch);
    check_range(where, "natural_step", options_.natural_step, 0, (std::numeric_limits<double>::max)());
    detail::check_trust_region(options_.region);
    if (actor().output_size() != this->law_.size() || !this->has_value())
      fail(where, "the actor has {} outputs and the critic {}; expected {} and 1", actor().output_size(),
           this->net_.model().second().output_size(), this->law_.size());
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

  /// Of the last update.
  std::array<Metric, 5> metrics() const {
    return {{{"train/kl_divergence_loss", kl_},
             {"train/policy_objective", gain_},
             {"train/value_loss", value_loss_},
             {"train/is_line_search_success", moved_ ? 1.0 : 0.0},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

  template <class Ar>
  void archive(Ar& ar) {
    Base::archive(ar);
    ar(kl_, gain_, value_loss_, moved_);
  }

 private:
  const A& actor() const { return this->net_.model().first(); }

  void update(Rng& rng) {
    auto& rollout = this->rollout_;
    rollout.find_advantages(options_.discount, options_.lambda);
    const auto n = static_cast<std::size_t>(rollout.size());
    const auto advantage = view(rollout.advantage).first(n);
    if (options_.whiten) whiten(advantage);
    if constexpr (detail::takes_mask<L>) {
      const auto masks = [&](Eigen::Index j) { return this->mask_(std::span<const S>(rollout.state_at(j))); };
      this->mask_ ? move_actor(advantage, masks) : move_actor(advantage, NoMasks{});
    } else {
      move_actor(advantage, NoMasks{});
    }
    fit_critic(n, rng);
    rollout.row = 0;
  }
  template <class Masks>
  void move_actor(std::span<const S> advantage, const Masks& masks) {
    const auto theta = this->net_.theta().first(actor().parameter_count());
    if (options_.natural_step > 0) return natural_step(theta, advantage, masks);
    const auto result =
        trpo_step(actor(), this->law_, theta, this->rollout_.state, this->rollout_.action.first(advantage.size()),
                  advantage, options_.region, workspace_, masks);
    moved_ = result.moved, kl_ = result.point.kl, gain_ = result.point.gain;
  }

  // theta += natural_step (F + damping)^-1 g, g the gradient of the mean of log pi(a) A.
  template <class Masks>
  void natural_step(std::span<S> theta, std::span<const S> advantage, const Masks& masks) {
    const auto& rollout = this->rollout_;
    auto& w = workspace_;
    const auto y = actor().forward(theta, rollout.state, w.tape);
    w.weight = Eigen::Map<const Vector<S>>(advantage.data(), y.cols()) / static_cast<S>(y.cols());
    w.dy.setZero(y.rows(), y.cols());
    detail::pullback_log_probs(this->law_, y, rollout.action.first(advantage.size()), view(std::as_const(w.weight)),
                               OutputsGradient<S>(w.dy.data(), y.rows(), y.cols()), masks);
    w.gradient.setZero(static_cast<Eigen::Index>(theta.size()));
    actor().pullback(theta, rollout.state, w.tape, detail::outputs_of(w.dy), view(w.gradient));
    check_finite("Trpo", "the policy's gradient", view(std::as_const(w.gradient)));
    w.region.direction.resize(w.gradient.size());
    const auto fisher = [&](std::span<const S> v, std::span<S> out) {
      std::fill(out.begin(), out.end(), S(0));
      fisher_vector_product(actor(), this->law_, std::span<const S>(theta), rollout.state, w.tape, y, v, out, w.fisher,
                            masks);
    };
    natural_gradient<S>(fisher, view(std::as_const(w.gradient)), view(w.region.direction), options_.region,
                        w.region.solve);
    gain_ = static_cast<double>(w.gradient.dot(w.region.direction)) * options_.natural_step;
    Eigen::Map<Vector<S>>(theta.data(), w.gradient.size()) +=
        static_cast<S>(options_.natural_step) * w.region.direction;
    kl_ = gain_ * options_.natural_step / 2, moved_ = true;  // to second order
  }

  void fit_critic(std::size_t n, Rng& rng) {
    const auto& rollout = this->rollout_;
    const C& critic = this->net_.model().second();
    const std::size_t begin = actor().parameter_count(), batch = static_cast<std::size_t>(options_.batch);
    const auto all = this->all_columns();
    double sum = 0;
    for (int epoch = 0; epoch < options_.critic_epochs; ++epoch) {
      rng.shuffle(all);
      for (std::size_t first = 0; first < n; first += batch) {
        const auto k = static_cast<Eigen::Index>((std::min)(batch, n - first));
        auto x = this->x_.resize(rollout.state.rows(), k);
        for (Eigen::Index j = 0; j < k; ++j)
          x.col(j) = rollout.state.col(static_cast<Eigen::Index>(all[first + static_cast<std::size_t>(j)]));
        critic_input_ = this->x_.get();
        const auto v = critic.forward(this->net_.theta().subspan(begin), critic_input_, critic_tape_);
        auto dv = this->dy_.resize(1, k);
        for (Eigen::Index j = 0; j < k; ++j) {
          const S error = v(0, j) - rollout.target[static_cast<Eigen::Index>(all[first + static_cast<std::size_t>(j)])];
          dv(0, j) = error / static_cast<S>(k);
          sum += static_cast<double>(error) * static_cast<double>(error) / 2;
        }
        critic.pullback(this->net_.theta().subspan(begin), critic_input_, critic_tape_, this->dy_.get(),
                        this->net_.gradient().subspan(begin));
        this->net_.step("Trpo", 0, options_.step_factor.in("Trpo", "step_factor", this->updates(), 0, 1e9));
      }
    }
    value_loss_ = sum / (static_cast<double>(options_.critic_epochs) * static_cast<double>(n));
  }

  TrpoOptions options_;
  TrpoWorkspace<A> workspace_ = {};
  typename C::Tape critic_tape_ = {};
  Matrix<S> critic_input_ = {};
  double kl_ = 0, gain_ = 0, value_loss_ = 0;
  bool moved_ = false;
};

}  // namespace valence
