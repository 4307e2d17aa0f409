#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/metrics.hpp"
#include "valence/agent/off_policy.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/offline/logged.hpp"
#include "valence/offline/losses.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy_gradient/surrogate.hpp"

namespace valence {

struct ContinuousCqlOptions {
  double discount = 0.99;   ///< in [0, 1]
  double alpha = 5;         ///< >= 0: how hard drawn actions are pushed down; 0 is SAC without entropy in its targets
  double temperature = 1;   ///< > 0, of the penalty's log-sum-exp
  int samples = 10;         ///< >= 1: actions drawn of each of three laws: uniform, the policy's in s, and in s'
  bool calibrated = false;  ///< Cal-QL: the policy's actions aren't pushed below the logged return of the transition
  double truncated_value = 0;    ///< Cal-QL's alone: what follows a cut-off is worth (see `CqlOptions`)
  double entropy_weight = 0.2;   ///< >= 0, of the policy's entropy in the actor's loss
  double target_rate = 0.005;    ///< in (0, 1]: of the targets' way to the critics, at every update
  int batch = 256;               ///< >= 1
  double max_gradient_norm = 0;  ///< 0: not cut
  Rate step_factor = 1;          ///< of the optimizer's step size, by updates
};

/// Conservative Q-learning for continuous actions (CQL(H), Kumar et al. 2020, arXiv:2006.04779, appendix F): soft
/// actor-critic on a fixed log, both of whose critics are pushed down at drawn actions (each by the log-sum-exp of Q less
/// its log-density, so that the draws stand for an integral) and up at the logged one. `calibrated`: Cal-QL (Nakamoto et
/// al. 2023). The targets hold no entropy, as in the authors' code. Arguments as for `Sac`: the law is on a finite box,
/// `critic` takes the state above the action (brought to [-1, 1]) and has one output, and the agent makes two of it.
///
///     SquashedGaussian law{env.actions(), {.min_log_std = -20, .max_log_std = 2}};
///     ContinuousCql agent{Mlp<float>{{3, 64, 64, law.size()}, relu}, law, Mlp<float>{{3 + 1, 64, 64, 1}, relu},
///                              Adam{3e-4}};
template <Approximator F, ReparameterisedDistribution L, Approximator C, Optimizer O>
class ContinuousCql : public detail::ActorAndCritics<F, L, Parallel<C, C>, O> {
  using Base = detail::ActorAndCritics<F, L, Parallel<C, C>, O>;
  using S = typename F::Scalar;

 public:
  using Action = typename L::Action;

  /// `start` draws the parameters. Throws `Error` for options out of their ranges, for models whose sizes don't fit, and
  /// for a box that isn't finite.
  ContinuousCql(F actor, L law, C critic, const O& optimizer, ContinuousCqlOptions options = {}, Rng start = Rng{})
      : Base(where, std::move(actor), std::move(law), Parallel{critic, critic}, optimizer, 1, start),
        options_(std::move(options)),
        data_(this->state_.size(), this->numbers_),
        draws_(3 * static_cast<std::size_t>((std::max)(options_.samples, 1))) {
    constexpr double largest = (std::numeric_limits<double>::max)();
    detail::check_offline(where, options_);
    check_range(where, "alpha", options_.alpha, 0, largest);
    check_positive(where, "temperature", options_.temperature);
    check_positive(where, "samples", options_.samples);
    check_range(where, "entropy_weight", options_.entropy_weight, 0, largest);
    check_size(where, "the critic's outputs", static_cast<std::size_t>(this->critics_.model().output_size()), 2);
    for (std::size_t d = 0; d < this->numbers_; ++d) {
      const double width = high(d) - low(d);
      if (!(width > 0 && width <= largest))
        fail(where, "the box's dimension {} is [{}, {}]; expected finite bounds, in order", d, low(d), high(d));
      log_uniform_ -= std::log(width);
    }
    bounded_.setConstant(static_cast<Eigen::Index>(draws_), true);
    bounded_.head(options_.samples).setConstant(false);  // the uniform ones
  }

  /// Learns from these transitions from now on; for `calibrated` they must be in the order in which they were played.
  /// Throws `Error`, and changes nothing, for an empty dataset and for a transition that can't be learned from.
  template <Dataset D>
  void load(const D& data) {
    data_.load("ContinuousCql::load", data, 0,
               [&](const auto& state, std::span<S> numbers) { this->actor_.learned().write_input(state, numbers); });
    if (options_.calibrated) data_.find_returns(options_.discount, options_.truncated_value);
  }

  /// A step of critics and actor on a batch. Throws `Error` before `load`, and where the run diverges.
  void update(Rng& rng) {
    data_.draw(where, options_.batch, options_.discount, rng);
    auto& b = this->batch_;
    b = data_.batch();
    const double factor = options_.step_factor.in(where, "step_factor", this->updates(), 0, 1e9);
    const Eigen::Index n = data_.batch_size(), m = static_cast<Eigen::Index>(draws_), k = m / 3, each = m + 1;

    // Targets: r + discount min Q'(s', a') with a' of the policy.
    const auto next_y = this->actor_.forward(detail::outputs_of(b.next), next_tape_);
    this->draw_actions(next_y, rng);
    const auto next_q = this->target_values_of_drawn(b.next);
    this->targets_.resize(n);
    for (Eigen::Index j = 0; j < n; ++j) this->targets_[j] = data_.bootstrap(j, Base::least(next_q, j));

    // The critics' batch: of each state the logged action, then k uniform ones, k of the policy's, k of that in s'.
    const auto y = this->actor_.forward(detail::outputs_of(b.state), this->actor_tape_);
    all_states_.resize(b.state.rows(), n * each), all_actions_.resize(b.action.rows(), n * each);
    densities_.resize(n * m);
    for (Eigen::Index j = 0; j < n; ++j) {
      for (Eigen::Index i = 0; i < each; ++i) all_states_.col(j * each + i) = b.state.col(j);
      all_actions_.col(j * each) = b.action.col(j);
      for (Eigen::Index i = 0; i < m; ++i) {
        const auto to = detail::column(all_actions_, j * each + 1 + i);
        if (i < k) {
          for (std::size_t d = 0; d < this->numbers_; ++d) to[d] = static_cast<S>(rng.uniform(low(d), high(d)));
          densities_[j * m + i] = static_cast<S>(log_uniform_);
        } else {
          const auto law = detail::column(i < 2 * k ? y : next_y, j);
          rng.fill_normal(std::span<S>(unit_normal_));
          const std::span<const S> noise(unit_normal_);
          this->law_.action(law, noise, to);
          densities_[j * m + i] = this->law_.action_log_prob(law, noise);
        }
      }
    }
    this->join(
        all_states_, [&](Eigen::Index c) { return detail::column(std::as_const(all_actions_), c); }, all_joined_);
    const auto q = this->critics_.forward(detail::outputs_of(all_joined_), all_tape_);
    auto dq = this->dq_.zero(q.rows(), q.cols());
    const ConservativePenalty push{.alpha = options_.alpha, .temperature = options_.temperature};
    const S share = S(1) / static_cast<S>(n);
    double errors = 0, pushed = 0;
    detail::unless_diverged(where, this->updates(), [&] {
      for (Eigen::Index j = 0; j < n; ++j)
        for (Eigen::Index critic = 0; critic < 2; ++critic) {
          const Eigen::Index first = j * each + 1;
          q_row_ = q.row(critic).segment(first, m);
          dq_row_.setZero(m);
          const S logged = q(critic, first - 1);
          const auto td = SquaredError{}(ValueSample<S>{.value = logged, .target = this->targets_[j]});
          S d_logged = share * td.slope;
          pushed += static_cast<double>(push(
              PushedDown<S>{
                  .q = view(std::as_const(q_row_)),
                  .log_density = view(std::as_const(densities_)).subspan(static_cast<std::size_t>(j * m), draws_),
                  .bounded = view(std::as_const(bounded_)),
                  .reference = options_.calibrated ? data_.logged_return(j) : -std::numeric_limits<S>::infinity()},
              logged, share, view(dq_row_), d_logged));
          dq.row(critic).segment(first, m) = dq_row_.transpose();
          dq(critic, first - 1) = d_logged;
          errors += static_cast<double>(td.value);
        }
    });
    critic_loss_ = errors / static_cast<double>(n), penalty_ = pushed / static_cast<double>(n);
    this->critics_.pullback(detail::outputs_of(all_joined_), all_tape_, this->dq_.get());
    this->critics_.step(where, options_.max_gradient_norm, factor);

    // Actor: entropy_weight log pi - min Q at a = g(s, noise), through the action.
    this->draw_actions(y, rng);
    actor_loss_ = this->fit_soft_actor(y, static_cast<S>(options_.entropy_weight), options_.max_gradient_norm, factor);
    polyak_average(std::span<S>(this->target_critics_), this->critics_.theta(), options_.target_rate);
  }

  /// An action of the policy.
  template <class State>
  Action act(const State& state, Rng& rng) {
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

  const ContinuousCqlOptions& options() const { return options_; }
  /// Transitions loaded, and how many of these were looked at.
  std::size_t transitions() const { return data_.size(); }
  std::size_t distinct_transitions() const { return data_.distinct(); }
  /// Of the last update: the critics' squared errors and what pushes them down, apart.
  std::array<Metric, 4> metrics() const {
    return {{{"train/actor_loss", actor_loss_},
             {"train/critic_loss", critic_loss_},
             {"train/penalty", penalty_},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

  template <class Ar>
  void archive(Ar& ar) {
    Base::archive(ar);
    ar(data_, actor_loss_, critic_loss_, penalty_);
  }

 private:
  static constexpr auto where = "ContinuousCql";
  double low(std::size_t d) const { return static_cast<double>(detail::entry(this->law_.actions.low, d)); }
  double high(std::size_t d) const { return static_cast<double>(detail::entry(this->law_.actions.high, d)); }

  ContinuousCqlOptions options_;
  detail::Logged<S, Action> data_;
  std::size_t draws_;
  Flags bounded_ = {};      // of the drawn actions, those of the policy
  double log_uniform_ = 0;  // log-density of the box
  double actor_loss_ = 0, critic_loss_ = 0, penalty_ = 0;
  // scratch
  typename F::Tape next_tape_ = {};
  typename Parallel<C, C>::Tape all_tape_ = {};  // of its own, as are the matrices: sizes that change allocate
  Matrix<S> all_states_ = {}, all_actions_ = {}, all_joined_ = {};
  Vector<S> densities_ = {}, q_row_ = {}, dq_row_ = {};
  std::vector<S> unit_normal_ = std::vector<S>(this->numbers_);
};

}  // namespace valence
