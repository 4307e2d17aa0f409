#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/metrics.hpp"
#include "valence/agent/off_policy.hpp"
#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/gaussian.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy/squashed_gaussian.hpp"
#include "valence/policy_gradient/soft_actor.hpp"

namespace valence {

/// `samples`, `epsilon` and the dual's step size are those of DeepMind's Acme; the bounds of the M-step are choices, of
/// the size that common codes have.
struct MpoOptions {
  double discount = 0.99;           ///< in [0, 1]
  int samples = 20;                 ///< actions drawn in each state of a batch, >= 1
  double epsilon = 0.1;             ///< nats, > 0: how far the improved action law is from the policy (E-step)
  double epsilon_mean = 0.01;       ///< nats, > 0: how far the policy's mean may then move (M-step)
  double epsilon_deviation = 1e-4;  ///< nats, > 0: and its standard deviation
  double temperature = 1, mean_penalty = 1, deviation_penalty = 1;  ///< > 0: where the multipliers start
  double dual_step_size = 1e-2;      ///< > 0: Adam's, for the logarithms of the multipliers
  std::size_t replay = 1'000'000;    ///< transitions remembered, >= 1
  int batch = 256;                   ///< >= 1
  std::int64_t warm_up = 1000;       ///< transitions of uniform actions before the first update, >= 1
  int train_every = 1, updates = 1;  ///< `updates` >= 1 gradient steps after every `train_every` >= 1 transitions
  int n_step = 1;                    ///< transitions of a target, >= 1
  double target_rate = 0.005;        ///< in (0, 1]: of both targets' way to actor and critic, at every update
  double max_gradient_norm = 0;      ///< 0: not cut
  Rate step_factor = 1;              ///< of the optimizer's step size, by updates
};

/// Maximum a posteriori policy optimisation (Abdolmaleki et al. 2018, arXiv:1806.06920), with a Gaussian policy on a
/// box. In each state of a batch actions a_i are drawn of the target policy, and
///
///     E-step:  w_i = softmax(Q(s, a_i) / eta), with eta at the minimum of `MpoTemperature`,
///     M-step:  down  -sum_i w_i log pi(a_i | s) + alpha (KL(target policy || pi) - epsilon), up in alpha.
///
/// The M-step is done for the mean and for the deviation apart, each as if the other were the target policy's, with an
/// alpha and a bound of its own (Abdolmaleki et al. 2018b, arXiv:1812.02256). The critic regresses on r + discount
/// Q'(s', a'), a' of the target policy (a choice: the paper uses Retrace); where it has several outputs, the least
/// counts.
///
///     SquashedGaussian law{env.actions()};
///     Mpo agent{Mlp<float>{{3, 64, 64, law.size()}, relu}, law, Mlp<float>{{3 + 1, 64, 64, 1}, relu}, Adam{1e-3}};
///
/// All of it is done on the Gaussian before it is squashed: the Jacobian of tanh is the same for both policies.
template <Approximator F, class A, Approximator C, Optimizer O>
class Mpo : public detail::ActorAndCritics<F, SquashedGaussian<A>, C, O> {
  using Base = detail::ActorAndCritics<F, SquashedGaussian<A>, C, O>;
  using S = typename F::Scalar;

 public:
  using Action = A;

  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and for models whose sizes don't
  /// fit.
  Mpo(F actor, SquashedGaussian<A> law, C critic, const O& optimizer, MpoOptions options = {}, Rng start = Rng{})
      : Base("Mpo", std::move(actor), std::move(law), std::move(critic), optimizer, options.replay, start),
        options_(detail::checked_off_policy("Mpo", std::move(options))),
        gaussian_{static_cast<int>(this->numbers_), this->law_.options},
        target_actor_(this->actor_.theta().begin(), this->actor_.theta().end()),
        multipliers_(Adam{.step_size = options_.dual_step_size}.template start<double>(3)) {
    constexpr auto where = "Mpo";
    check_positive(where, "samples", options_.samples);
    check_positive(where, "epsilon", options_.epsilon);
    check_positive(where, "epsilon_mean", options_.epsilon_mean);
    check_positive(where, "epsilon_deviation", options_.epsilon_deviation);
    check_positive(where, "dual_step_size", options_.dual_step_size);
    const std::array<double, 3> begin{options_.temperature, options_.mean_penalty, options_.deviation_penalty};
    for (std::size_t k = 0; k < 3; ++k) {
      check_positive(where, "a multiplier's start", begin[k]);
      log_[k] = std::log(begin[k]);
    }
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
  template <class State, class V>
  void learn(const Transition<State, V>& t, Rng& rng) {
    this->learn_by(t, options_, [&] { update(rng); });
  }

  /// One gradient step of critic, multipliers and actor on a batch of what is remembered. `learn` does this by itself.
  void update(Rng& rng) {
    this->draw_batch(options_, rng);
    const auto& b = this->batch_;
    const double factor = options_.step_factor.in("Mpo", "step_factor", this->updates(), 0, 1e9);
    const auto n = static_cast<Eigen::Index>(b.size());

    this->draw_actions(this->actor_.forward_with(target_actor_, detail::outputs_of(b.next), old_tape_), rng);
    const auto next_q = this->target_values_of_drawn(b.next);
    this->targets_.resize(n);
    for (Eigen::Index j = 0; j < n; ++j) this->targets_[j] = b.target(j, Base::least(next_q, j));
    critic_loss_ = this->fit_critics(options_.max_gradient_norm, factor);

    const auto old = this->actor_.forward_with(target_actor_, detail::outputs_of(b.state), old_tape_);
    improve(old, rng);
    fit_actor(old, factor);
    multipliers_.step(std::span<double>(log_), std::span<const double>(slope_), 1);
    polyak_average(std::span<S>(target_actor_), this->actor_.theta(), options_.target_rate);
    polyak_average(std::span<S>(this->target_critics_), this->critics_.theta(), options_.target_rate);
  }

  std::span<const S> target_parameters() const { return target_actor_; }
  /// eta, and the alphas of mean and deviation, now.
  double temperature() const { return std::exp(log_[0]); }
  double mean_penalty() const { return std::exp(log_[1]); }
  double deviation_penalty() const { return std::exp(log_[2]); }
  /// Of the last update; the divergences are those of mean and deviation.
  std::array<Metric, 6> metrics() const {
    return {{{"train/actor_loss", actor_loss_},
             {"train/critic_loss", critic_loss_},
             {"train/temperature", temperature()},
             {"train/kl_mean", kl_[0]},
             {"train/kl_deviation", kl_[1]},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

  template <class Ar>
  void archive(Ar& ar) {
    Base::archive(ar);
    check_size("Mpo::archive", "the memory", this->memory_.capacity(), options_.replay);
    ar(target_actor_, log_, multipliers_, actor_loss_, critic_loss_, kl_);
    check_size("Mpo::archive", "the target actor", target_actor_.size(), this->actor_.theta().size());
  }

 private:
  // E-step: draws actions of the target policy in every state, before squashing in `raw_`, and weighs them.
  void improve(const Outputs<S>& old, Rng& rng) {
    const auto& states = this->batch_.state;
    const Eigen::Index each = options_.samples, columns = states.cols() * each;
    const auto numbers = static_cast<Eigen::Index>(this->numbers_);
    noises_.resize(numbers, columns), raw_.resize(numbers, columns), actions_.resize(numbers, columns);
    states_.resize(states.rows(), columns), weight_.resize(columns);
    rng.fill_normal(view(noises_));
    for (Eigen::Index c = 0; c < columns; ++c) {
      const auto y = detail::column(old, c / each);
      const auto noise = detail::column(std::as_const(noises_), c);
      gaussian_.action(y, noise, detail::column(raw_, c));
      this->law_.action(y, noise, detail::column(actions_, c));
      states_.col(c) = states.col(c / each);
    }
    this->join(
        states_, [&](Eigen::Index c) { return detail::column(std::as_const(actions_), c); }, inputs_);
    const auto q = this->critics_.forward_with(this->target_critics_, detail::outputs_of(inputs_), values_tape_);
    for (Eigen::Index c = 0; c < columns; ++c) weight_[c] = Base::least(q, c);

    const S eta = static_cast<S>(temperature());
    double slope = 0;
    for (Eigen::Index j = 0; j < states.cols(); ++j) {
      auto w = weight_.segment(j * each, each);
      const std::span<const S> values(w.data(), static_cast<std::size_t>(each));
      slope += static_cast<double>(MpoTemperature{options_.epsilon}(eta, values).slope);
      const S top = w.maxCoeff();
      for (S& x : w) x = elementary::exp((x - top) / eta);
      w /= w.sum();
    }
    slope_[0] = static_cast<double>(eta) * slope / static_cast<double>(states.cols());  // by log eta
  }

  // M-step. The policy of one part has its means (or log-deviations) and the target policy's other half.
  void fit_actor(const Outputs<S>& old, double factor) {
    const auto x = detail::outputs_of(this->batch_.state);
    const auto y = this->actor_.forward(x, this->actor_tape_);
    auto dy = this->dy_.zero(y.rows(), y.cols());
    const Eigen::Index each = options_.samples, half = static_cast<Eigen::Index>(this->numbers_);
    const S share = S(1) / static_cast<S>(y.cols());
    const std::array<double, 2> bound{options_.epsilon_mean, options_.epsilon_deviation};
    mixed_.resize(y.rows());
    double loss = 0;
    for (std::size_t part = 0; part < 2; ++part) {
      const Eigen::Index begin = part == 0 ? 0 : half;
      const double alpha = std::exp(log_[1 + part]);
      double kl = 0;
      for (Eigen::Index j = 0; j < y.cols(); ++j) {
        mixed_ = old.col(j);
        mixed_.segment(begin, half) = y.col(j).segment(begin, half);
        d_mixed_.setZero(y.rows());
        const auto law = view(std::as_const(mixed_));
        for (Eigen::Index c = j * each; c < (j + 1) * each; ++c)
          loss -= static_cast<double>(weight_[c]) *
                  static_cast<double>(gaussian_.log_prob(law, detail::column(std::as_const(raw_), c),
                                                         -weight_[c] * share, view(d_mixed_)));
        kl += static_cast<double>(
            gaussian_.kl(detail::column(old, j), law, static_cast<S>(alpha) * share, std::span<S>{}, view(d_mixed_)));
        dy.col(j).segment(begin, half) = d_mixed_.segment(begin, half);
      }
      kl_[part] = kl * static_cast<double>(share);
      slope_[1 + part] = alpha * (bound[part] - kl_[part]);  // by log alpha, downhill: alpha grows beyond the bound
    }
    actor_loss_ =
        detail::check_divergence("Mpo", "the actor's loss", loss * static_cast<double>(share), this->updates());
    this->actor_.pullback(x, this->actor_tape_, this->dy_.get());
    this->actor_.step("Mpo", options_.max_gradient_norm, factor);
  }

  MpoOptions options_;
  DiagonalGaussian<Vector<double>> gaussian_;
  std::vector<S> target_actor_;
  std::array<double, 3> log_ = {};  // eta, alpha of the mean, alpha of the deviation
  decltype(std::declval<const Adam&>().template start<double>(std::size_t{})) multipliers_;
  double actor_loss_ = 0, critic_loss_ = 0;
  std::array<double, 2> kl_ = {};
  // scratch
  std::array<double, 3> slope_ = {};
  typename F::Tape old_tape_ = {};
  typename C::Tape values_tape_ = {};
  Matrix<S> noises_ = {}, raw_ = {}, actions_ = {}, states_ = {}, inputs_ = {};
  Vector<S> weight_ = {}, mixed_ = {}, d_mixed_ = {};
};

}  // namespace valence
