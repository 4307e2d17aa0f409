#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/model_rollouts.hpp"
#include "valence/agent/network.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/value/one_step.hpp"

namespace valence {

/// What an iteration of `FittedQ` does.
struct FittedQOptions {
  double discount = 0.95;        ///< in [0, 1]
  int updates = 60;              ///< >= 1: steps of the optimizer an iteration
  int batch = 64;                ///< >= 1: states a step, drawn with replacement
  double max_gradient_norm = 0;  ///< 0: not cut
};

/// No regulariser; what one is called with.
struct NoRegulariser {
  template <class... Arguments>
  double operator()(Arguments&&...) const {
    return 0;
  }
};

/// Fitted Q iteration (Ernst, Geurts and Wehenkel 2005, figure 1) on a model that answers for all actions of a state, a
/// learned one for instance (`imagine_outcomes`). An iteration fixes the targets r + discount max_a' Q(s', a') of every
/// state and action by the values that it starts with, and then regresses Q on them.
///
///     FittedQ learner{Mlp<float>{{4, 64, 64, 5}, relu}, Adam{.step_size = 1e-3}, {.discount = 0.95}, rng.split(0)};
///     for (int k = 0; k < 40; ++k) learner.iterate(states, outcomes, rng);
///     int action = learner.greedy(state);
///
/// The optimizer is an argument, so `SpectralProjection` holds the values Lipschitz; a regulariser is one of `iterate`.
template <Approximator F, Optimizer O>
class FittedQ {
 public:
  using Scalar = typename F::Scalar;

  /// `q`: coordinates of a state -> an output an action. `start` draws its parameters. Throws `Error` for options out of
  /// their ranges.
  FittedQ(F q, const O& optimizer, const FittedQOptions& options = {}, Rng start = Rng{})
      : net_(std::move(q), optimizer, start), options_(options) {
    check_range(name, "discount", options.discount, 0, 1);
    check_positive(name, "updates", options.updates);
    check_positive(name, "batch", options.batch);
    check_range(name, "max_gradient_norm", options.max_gradient_norm, 0, (std::numeric_limits<double>::max)());
  }

  /// One iteration over `states`, coordinates x states. `models`: what follows, according to one model or to several, of
  /// which each target draws one (with one, nothing is drawn for it). The loss is the squared error's mean over batch and
  /// actions; `regulariser(f, theta, x, y, dy, gradient, rng)`, `RobustRegulariser` for one, adds its own to dy and
  /// gradient. Returns the mean loss of the updates, without the regulariser. Throws `Error`, and changes nothing, for
  /// no states, for no models and for shapes that disagree; and where the run diverges.
  template <class Regulariser = NoRegulariser>
  double iterate(const Matrix<Scalar>& states, std::span<const ActionOutcomes<Scalar>> models, Rng& rng,
                 Regulariser&& regulariser = Regulariser{}) {
    check(states, models);
    find_targets(states, models, rng);
    const auto count = static_cast<std::uint64_t>(states.cols());
    x_.resize(states.rows(), options_.batch);
    dy_.resize(actions(), options_.batch);
    const S share = S(1) / static_cast<S>(dy_.size());
    double total = 0;
    for (int update = 0; update < options_.updates; ++update) {
      drawn_.clear();
      for (int k = 0; k < options_.batch; ++k) {
        drawn_.push_back(static_cast<Eigen::Index>(rng.below(count)));
        x_.col(k) = states.col(drawn_.back());
      }
      const Outputs<S> y = net_.forward(detail::outputs_of(x_), tape_);
      double sum = 0;
      for (Eigen::Index k = 0; k < dy_.cols(); ++k)
        for (Eigen::Index a = 0; a < dy_.rows(); ++a) {
          const S e = y(a, k) - targets_[drawn_[static_cast<std::size_t>(k)] * dy_.rows() + a];
          sum += static_cast<double>(e * e);
          dy_(a, k) = 2 * share * e;
        }
      total += detail::check_divergence(name, "the loss", sum * static_cast<double>(share), updates());
      regulariser(net_.model(), std::as_const(net_).theta(), x_, y, dy_, net_.gradient(), rng);
      net_.pullback(detail::outputs_of(x_), tape_, detail::outputs_of(dy_));
      net_.step(name, options_.max_gradient_norm);
    }
    return total / options_.updates;
  }

  int actions() const { return net_.model().output_size(); }
  /// Action values of states, coordinates x states; a view that the next call ends.
  Outputs<Scalar> values(const Matrix<Scalar>& states) { return net_.forward(detail::outputs_of(states), tape_); }
  /// The first of the best actions. Throws `Error` for another number of coordinates.
  int greedy(std::span<const Scalar> state) {
    const Outputs<S> y = net_.forward(Outputs<S>(state.data(), static_cast<Eigen::Index>(state.size()), 1), tape_);
    return static_cast<int>(greedy_action(std::span<const S>(y.data(), static_cast<std::size_t>(y.size()))));
  }
  const F& model() const { return net_.model(); }
  std::span<const Scalar> theta() const { return net_.theta(); }
  /// Steps of the optimizer so far.
  std::int64_t updates() const { return net_.updates(); }

  template <class A>
  void archive(A& ar) {
    ar(net_);
  }

 private:
  using S = Scalar;
  static constexpr std::string_view name = "FittedQ";

  void check(const Matrix<S>& states, std::span<const ActionOutcomes<S>> models) const {
    constexpr auto where = "FittedQ::iterate";
    if (states.cols() == 0) fail(where, "states has no columns; expected at least one state");
    if (models.empty()) fail(where, "models is empty; expected what at least one model says");
    check_finite(where, "states", view(states));
    const Eigen::Index outcomes = states.cols() * actions();
    for (const auto& m : models) {
      check_shape(where, "next_states", m.next_states.rows(), m.next_states.cols(), states.rows(), outcomes);
      check_shape(where, "rewards", m.rewards.size(), 1, outcomes, 1);
      if (!m.terminated.empty())
        check_size(where, "terminated", m.terminated.size(), static_cast<std::size_t>(outcomes));
      check_finite(where, "rewards", view(m.rewards));
    }
  }
  void find_targets(const Matrix<S>& states, std::span<const ActionOutcomes<S>> models, Rng& rng) {
    const Eigen::Index outcomes = states.cols() * actions();
    next_.resize(states.rows(), outcomes);
    model_.resize(static_cast<std::size_t>(outcomes));
    targets_.resize(outcomes);
    for (Eigen::Index k = 0; k < outcomes; ++k) {
      const std::size_t m = models.size() > 1 ? rng.below(models.size()) : 0;
      model_[static_cast<std::size_t>(k)] = m;
      next_.col(k) = models[m].next_states.col(k);
    }
    const Outputs<S> q = net_.forward(detail::outputs_of(next_), tape_);
    for (Eigen::Index k = 0; k < outcomes; ++k) {
      const auto& m = models[model_[static_cast<std::size_t>(k)]];
      const bool terminated = !m.terminated.empty() && m.terminated[static_cast<std::size_t>(k)];
      targets_[k] = td_target<S>(m.rewards[k], terminated ? S(0) : q.col(k).maxCoeff(), terminated,
                                 {.discount = options_.discount});
    }
  }

  detail::Network<F, O> net_;
  FittedQOptions options_;
  typename F::Tape tape_ = {};
  Matrix<S> x_ = {}, dy_ = {}, next_ = {};  // scratch, like what follows
  Vector<S> targets_ = {};
  std::vector<Eigen::Index> drawn_ = {};
  std::vector<std::size_t> model_ = {};
};

}  // namespace valence
