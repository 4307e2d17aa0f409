#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/network.hpp"
#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy_gradient/soft_actor.hpp"

/// What the agents share that learn continuous control from remembered transitions: DDPG, TD3, SAC.
namespace valence::detail {

/// What their options have in common.
template <class Options>
Options checked_off_policy(std::string_view where, Options options) {
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "replay", options.replay);
  check_positive(where, "batch", options.batch);
  check_positive(where, "warm_up", options.warm_up);
  check_positive(where, "train_every", options.train_every);
  check_positive(where, "updates", options.updates);
  check_positive(where, "n_step", options.n_step);
  if (!(options.target_rate > 0 && options.target_rate <= 1))
    fail(where, "target_rate is {}; expected a number in (0, 1]", options.target_rate);
  check_range(where, "max_gradient_norm", options.max_gradient_norm, 0, (std::numeric_limits<double>::max)());
  return options;
}

/// Encodes a transition's states, by way of `state` and `next`, and adds it to a memory. `action` as the memory takes it.
/// Throws `Error`, and remembers nothing, for numbers that aren't finite.
template <class M, class F, class S, class T>
void remember(M& memory, const Learned<F>& learned, const T& t, typename M::Action action, std::span<S> state,
              std::span<S> next) {
  learned.write_input(t.state, state);
  learned.write_input(t.next, next);
  memory.add({.state = state,
              .action = action,
              .reward = static_cast<S>(t.reward),
              .next = next,
              .terminated = t.terminated,
              .truncated = t.truncated});
}

/// alpha of soft actor-critic: its logarithm, which an optimizer moves so that the entropy meets its target.
template <class S, Optimizer O>
class Temperature {
 public:
  /// `start` > 0.
  Temperature(std::string_view where, double start, const O& optimizer)
      : log_((check_positive(where, "temperature", start), static_cast<S>(std::log(start)))),
        state_(optimizer.template start<S>(1)) {}

  double operator()() const { return std::exp(static_cast<double>(log_)); }
  /// A step down `TemperatureLoss`.
  void step(double target_entropy, std::span<const S> log_prob, double factor) {
    const S slope = TemperatureLoss{target_entropy}(log_, log_prob).slope;
    state_.step(std::span<S>(&log_, 1), std::span<const S>(&slope, 1), factor);
  }

  template <class A>
  void archive(A& ar) {
    ar(log_, state_);
  }

 private:
  S log_;
  decltype(std::declval<const O&>().template start<S>(std::size_t{})) state_;
};

/// An actor whose law is on a box, critics Q(s, a), one an output, and a memory. Critics are given the state above the
/// action, the action brought to [-1, 1] by its box (as it is in dimensions without bounds): so the same step sizes serve
/// torques of 2 and of 2000.
template <Approximator F, Reparameterised L, Approximator C, Optimizer O>
  requires InputDifferentiable<C>
class ActorAndCritics {
 public:
  using Scalar = typename F::Scalar;
  using Action = typename L::Action;

  const F& model() const { return actor_.model(); }
  const C& critic_model() const { return critics_.model(); }
  const L& law() const { return law_; }
  /// theta of the actor, and of the critics.
  std::span<const Scalar> parameters() const { return actor_.theta(); }
  std::span<Scalar> parameters() { return actor_.theta(); }
  std::span<const Scalar> critic_parameters() const { return critics_.theta(); }
  std::span<const Scalar> target_critic_parameters() const { return target_critics_; }
  const Replay<Scalar, Scalar>& memory() const { return memory_; }
  /// Transitions learned from, and steps of the critics' optimizer.
  std::int64_t steps() const { return steps_; }
  std::int64_t updates() const { return critics_.updates(); }
  /// What was seen of an episode that didn't end counts as one that was cut off.
  void begin_episode() { memory_.end_episode(); }

  template <class A>
  void archive(A& ar) {
    ar(actor_, critics_, target_critics_, memory_, steps_);
    check_size(where_, "a remembered state", memory_.state_size(), state_.size());
    check_size(where_, "a remembered action", memory_.action_size(), numbers_);
    check_size(where_, "the target critics", target_critics_.size(), critics_.theta().size());
  }

 protected:
  using S = Scalar;

  ActorAndCritics(std::string_view where, F actor, L law, C critics, const O& optimizer, std::size_t capacity,
                  Rng& start)
      : where_(where),
        actor_(std::move(actor), optimizer, start),
        law_(std::move(law)),
        critics_(std::move(critics), optimizer, start),
        target_critics_(critics_.theta().begin(), critics_.theta().end()),
        numbers_(dimensions_of(law_.actions.low)),
        memory_(actor_.learned().input_count(), numbers_, {.capacity = capacity}),
        state_(actor_.learned().input_count()),
        next_(actor_.learned().input_count()),
        action_(numbers_),
        center_(numbers_, S(0)),
        scale_(numbers_, S(1)) {
    check_size(where, "the actor's outputs", static_cast<std::size_t>(actor_.model().output_size()),
               static_cast<std::size_t>(law_.size()));
    if constexpr (requires { critics_.model().input_size(); })
      check_size(where, "the critic's inputs", static_cast<std::size_t>(critics_.model().input_size()),
                 state_.size() + numbers_);
    for (std::size_t d = 0; d < numbers_; ++d) {
      const double low = static_cast<double>(entry(law_.actions.low, d)),
                   high = static_cast<double>(entry(law_.actions.high, d));
      if (!std::isfinite(low) || !std::isfinite(high)) continue;
      center_[d] = static_cast<S>(low / 2 + high / 2), scale_[d] = static_cast<S>(high / 2 - low / 2);
    }
  }

  /// The law's outputs for one state.
  template <class State>
  std::span<const S> actor_outputs(const State& state) {
    actor_.learned().write_input(state, std::span<S>(state_));
    return column(actor_.forward({state_.data(), static_cast<Eigen::Index>(state_.size()), 1}, act_tape_), 0);
  }
  /// Anywhere in the box, each alike: what is done before the first update.
  Action any_action(Rng& rng) const { return law_.actions.sample(rng); }

  /// Throws `Error`, and remembers nothing, for numbers that aren't finite.
  template <class State, class A>
  void remember(const Transition<State, A>& t) {
    check_size(where_, "the action", dimensions_of(t.action), numbers_);
    for (std::size_t d = 0; d < numbers_; ++d) action_[d] = static_cast<S>(entry(t.action, d));
    detail::remember(memory_, actor_.learned(), t, std::span<const S>(action_), std::span<S>(state_),
                     std::span<S>(next_));
    ++steps_;
  }

  /// Remembers the transition and, where it is time by the agent's options, updates.
  template <class T, class Options, class Update>
  void learn_by(const T& t, const Options& options, Update&& update) {
    remember(t);
    if (steps_ >= options.warm_up && steps_ % options.train_every == 0)
      for (int k = 0; k < options.updates; ++k) update();
  }
  /// Draws the batch of an update.
  template <class Options>
  void draw_batch(const Options& options, Rng& rng) {
    memory_.sample(static_cast<std::size_t>(options.batch), batch_, rng,
                   {.steps = static_cast<std::size_t>(options.n_step), .discount = options.discount});
  }

  /// The critics' input: states above `action(j)`, the numbers of each column's action.
  template <class ActionOf>
  void join(const Matrix<S>& states, ActionOf&& action, Matrix<S>& x) const {
    const Eigen::Index inputs = states.rows(), n = static_cast<Eigen::Index>(numbers_);
    x.resize(inputs + n, states.cols());
    for (Eigen::Index j = 0; j < states.cols(); ++j) {
      x.col(j).head(inputs) = states.col(j);
      const auto a = action(j);
      for (Eigen::Index d = 0; d < n; ++d) {
        const auto k = static_cast<std::size_t>(d);
        x(inputs + d, j) = (a[k] - center_[k]) / scale_[k];
      }
    }
  }
  /// What the critics, or their targets, say of the actions in `drawn_`.
  Outputs<S> values_of_drawn(const Matrix<S>& states) {
    join_drawn(states);
    return critics_.forward(outputs_of(joined_), critic_tape_);
  }
  Outputs<S> target_values_of_drawn(const Matrix<S>& states) {
    join_drawn(states);
    return critics_.forward_with(target_critics_, outputs_of(joined_), target_tape_);
  }
  void join_drawn(const Matrix<S>& states) {
    join(
        states, [&](Eigen::Index j) { return column(std::as_const(drawn_), j); }, joined_);
  }
  std::span<const S> noise_of(Eigen::Index j) const { return column(noise_, j); }

  /// Actions of a stochastic law for a batch's outputs into `drawn_`, their noise and log-densities beside them.
  void draw_actions(const Outputs<S>& y, Rng& rng) {
    const auto numbers = static_cast<Eigen::Index>(numbers_);
    drawn_.resize(numbers, y.cols()), noise_.resize(numbers, y.cols()), log_prob_.resize(y.cols());
    rng.fill_normal(view(noise_));
    for (Eigen::Index j = 0; j < y.cols(); ++j) {
      law_.action(column(y, j), noise_of(j), column(drawn_, j));
      log_prob_[j] = law_.action_log_prob(column(y, j), noise_of(j));
    }
  }
  /// The actions of a deterministic law for a batch's outputs, into `drawn_`.
  void choose_actions(const Outputs<S>& y) {
    drawn_.resize(static_cast<Eigen::Index>(numbers_), y.cols());
    for (Eigen::Index j = 0; j < y.cols(); ++j) law_.action(column(y, j), typename L::Noise{}, column(drawn_, j));
  }
  /// Moves `drawn_` by clipped noise, in units of half the box's width, and back into the box (Fujimoto et al. 2018,
  /// equation 14).
  void smooth_drawn(double deviation, double bound, Rng& rng) {
    noise_.resize(drawn_.rows(), drawn_.cols());
    rng.fill_normal(view(noise_));
    const S spread = static_cast<S>(deviation), most = static_cast<S>(bound);
    for (Eigen::Index j = 0; j < drawn_.cols(); ++j)
      for (Eigen::Index d = 0; d < drawn_.rows(); ++d) {
        const auto k = static_cast<std::size_t>(d);
        const S step = scale_[k] * elementary::clamp(spread * noise_(d, j), -most, most);
        drawn_(d, j) = elementary::clamp(drawn_(d, j) + step, static_cast<S>(entry(law_.actions.low, k)),
                                         static_cast<S>(entry(law_.actions.high, k)));
      }
  }
  /// A step of the actor, whose outputs y gave `drawn_` by `draw_actions`: down the mean of weight log pi - min Q at these
  /// actions, through the action (Haarnoja et al. 2018, arXiv:1812.05905, equation 9). Returns the mean.
  double fit_soft_actor(const Outputs<S>& y, S weight, double max_norm, double factor) {
    const auto q = values_of_drawn(batch_.state);
    const S share = S(1) / static_cast<S>(y.cols());
    pull_to_actions(ascend_least(q, share));
    auto dy = dy_.zero(y.rows(), y.cols());
    double loss = 0;
    for (Eigen::Index j = 0; j < y.cols(); ++j) {
      law_.pullback_action(column(y, j), noise_of(j), action_gradient(j), weight * share, column(dy, j));
      loss += static_cast<double>(weight * log_prob_[j] - least(q, j));
    }
    loss = check_divergence(where_, "the actor's loss", loss / static_cast<double>(y.cols()), updates());
    actor_.pullback(outputs_of(batch_.state), actor_tape_, dy_.get());
    actor_.step(where_, max_norm, factor);
    return loss;
  }

  /// A step of the critics, each towards `targets_`: the mean over the batch of the sum over critics of their squared
  /// errors, halved. Returns it.
  double fit_critics(double max_norm, double factor) {
    join(
        batch_.state, [&](Eigen::Index j) { return column(batch_.action, j); }, joined_);
    const auto q = critics_.forward(outputs_of(joined_), critic_tape_);
    auto dq = dq_.resize(q.rows(), q.cols());
    const S share = S(1) / static_cast<S>(q.cols());
    double loss = 0;
    for (Eigen::Index j = 0; j < q.cols(); ++j)
      for (Eigen::Index i = 0; i < q.rows(); ++i) {
        const S error = q(i, j) - targets_[j];
        loss += static_cast<double>(error) * static_cast<double>(error);
        dq(i, j) = share * error;
      }
    loss /= 2 * static_cast<double>(q.cols());
    check_divergence(where_, "the critics' loss", loss, updates());
    critics_.pullback(outputs_of(joined_), critic_tape_, dq_.get());
    critics_.step(where_, max_norm, factor);
    return loss;
  }
  /// d(sum of dq * critics) / d action, in units of the environment's actions, for the batch in `joined_`: column j is
  /// `da(j)`. The critics' own parameters get no gradient (pitfall G26).
  void pull_to_actions(const Outputs<S>& dq) { critics_.pullback_input(joined_, critic_tape_, dq, d_joined_); }
  std::span<const S> action_gradient(Eigen::Index j) {
    for (std::size_t d = 0; d < numbers_; ++d)
      action_[d] = d_joined_(batch_.state.rows() + static_cast<Eigen::Index>(d), j) / scale_[d];
    return action_;
  }

  static S least(const Outputs<S>& q, Eigen::Index j) {
    S least = q(0, j);
    for (Eigen::Index i = 1; i < q.rows(); ++i) least = (std::min)(least, q(i, j));
    return least;
  }
  /// -weight at the first of the least critics of each column, 0 elsewhere.
  Outputs<S> ascend_least(const Outputs<S>& q, S weight) {
    auto dq = dq_.zero(q.rows(), q.cols());
    for (Eigen::Index j = 0; j < q.cols(); ++j) {
      Eigen::Index first = 0;
      for (Eigen::Index i = 1; i < q.rows(); ++i)
        if (q(i, j) < q(first, j)) first = i;
      dq(first, j) = -weight;
    }
    return dq_.get();
  }

  std::string_view where_;
  Network<F, O> actor_;
  L law_;
  Network<C, O> critics_;
  std::vector<S> target_critics_;
  std::size_t numbers_;
  Replay<S, S> memory_;
  std::int64_t steps_ = 0;
  // scratch
  std::vector<S> state_, next_, action_, center_, scale_;
  typename F::Tape act_tape_ = {}, actor_tape_ = {};
  typename C::Tape critic_tape_ = {}, target_tape_ = {};
  ReplayBatch<S, S> batch_ = {};
  Matrix<S> joined_ = {}, d_joined_ = {}, drawn_ = {}, noise_ = {};
  BatchBuffer<S> dq_ = {}, dy_ = {};
  Vector<S> targets_ = {}, log_prob_ = {};
};

}  // namespace valence::detail
