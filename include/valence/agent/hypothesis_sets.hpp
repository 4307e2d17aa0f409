#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/lin_ucb.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/gain_bias.hpp"
#include "valence/planning/relative_value_iteration.hpp"
#include "valence/planning/span_value_iteration.hpp"

/// What `loop` (agent/loop.hpp) chooses its hypotheses from. States and actions are indices from 0.
namespace valence {

/// A set of hypotheses about a task that goes on for ever, and what was seen of it. `plan` chooses the one with the
/// largest gain among those that fit the data, `act` is its greedy action, `observe` takes a step in, and `outdated`
/// says whether the hypothesis chosen has come to fit so badly that it is time to plan again.
template <class H>
concept HypothesisSet = requires(H h, const H& c, int state, int action, double reward) {
  h.plan();
  h.observe(state, action, reward, state);
  { c.act(state) } -> std::convertible_to<int>;
  { c.gain() } -> std::convertible_to<double>;
  { c.outdated() } -> std::convertible_to<bool>;
};

/// What a model g is measured by at a step (s, a, r, s') (He, Zhong & Yang 2024): r_g(s, a) + (P_g V_f)(s, a) - r -
/// V_f(s'), with the bias V_f of
/// - `value`: each hypothesis f. With g = f that is the Bellman error of f's action values, Q_f(s, a) - r - V_f(s') +
///   J_f; it is compared with the backups of V_f by all models, among which the true one is if its model is in the
///   class.
/// - `model`: the hypothesis executed at that step.
enum class Discrepancy { value, model };

/// `beta` > 0, infinity allowed: a hypothesis whose squared discrepancies exceed the least ones by more is excluded.
/// It grows with span^2 log(hypotheses / delta). `trigger` >= 1: planned again at an excess of trigger beta (a choice;
/// any number above 1 keeps the number of plans logarithmic in the steps).
struct FiniteClassOptions {
  double beta = 10, trigger = 4;
  Discrepancy discrepancy = Discrepancy::model;
};

namespace detail {

inline void check_beta(std::string_view where, double beta, double trigger) {
  if (!(beta > 0)) fail(where, "beta is {}; expected a number greater than 0", beta);
  if (!(trigger >= 1)) fail(where, "trigger is {}; expected at least 1", trigger);
}

inline void check_step(std::string_view where, int states, int actions, int state, int action, double reward,
                       int next) {
  check_range(where, "state", state, 0, states - 1);
  check_range(where, "action", action, 0, actions - 1);
  check_finite(where, "reward", reward);
  check_range(where, "next", next, 0, states - 1);
}

/// The first of the best actions of a state.
inline int best_action(const Matrix<double>& values, int state) {
  return static_cast<int>(
      argmax(std::span<const double>(values.col(state).data(), static_cast<std::size_t>(values.rows()))));
}

}  // namespace detail

/// Finitely many models, enumerated: the confidence set is exact. A step costs one number a model (a number a pair of
/// models for `Discrepancy::value`).
class FiniteClass {
 public:
  /// All `candidates` have the same states and actions, none is terminal, and each has one best gain. Throws `Error`
  /// otherwise, naming the candidate, for an empty class and for options out of range.
  explicit FiniteClass(std::vector<FiniteMdp<double>> candidates, const FiniteClassOptions& options = {})
      : models_(std::move(candidates)), options_(options) {
    constexpr auto where = "FiniteClass";
    detail::check_beta(where, options.beta, options.trigger);
    check_positive(where, "candidates", models_.size());
    for (std::size_t k = 0; k < models_.size(); ++k) {
      const FiniteMdp<double>& model = models_[k];
      if (model.states() != models_[0].states() || model.actions() != models_[0].actions())
        fail(where, "candidate {} has {} states and {} actions; expected {} and {}", k, model.states(), model.actions(),
             models_[0].states(), models_[0].actions());
      const auto solution = relative_value_iteration(model);
      if (!solution.converged)
        fail(where, "the best gain of candidate {} differs between states by {:.3g}; expected one gain", k,
             2 * solution.bound);
      const GainBias<double> exact = gain_bias(model, std::span<const int>(solution.policy));
      gains_.push_back(exact.gain);
      biases_.push_back(exact.bias);
      values_.push_back(differential_action_values(model, exact.gain, view(exact.bias)));
    }
    const auto n = static_cast<std::ptrdiff_t>(models_.size());
    losses_ = Matrix<double>::Zero(n, options.discrepancy == Discrepancy::value ? n : 1);
    predictions_.resize(static_cast<std::size_t>(losses_.size()));
    if (options.discrepancy == Discrepancy::value)
      for (std::size_t f = 0; f < size(); ++f) predict(f, biases_[f]);
  }

  std::size_t size() const { return models_.size(); }
  /// The hypothesis executed.
  std::size_t chosen() const { return chosen_; }
  double gain() const { return gains_[chosen_]; }
  int act(int state) const { return detail::best_action(values_[chosen_], state); }

  /// By how much the squared discrepancies of hypothesis f exceed the least ones: L(f, f) - min_g L(f, g).
  double excess(std::size_t f) const {
    const std::ptrdiff_t column = options_.discrepancy == Discrepancy::model ? 0 : static_cast<std::ptrdiff_t>(f);
    return losses_(static_cast<std::ptrdiff_t>(f), column) - losses_.col(column).minCoeff();
  }
  bool outdated() const { return excess(chosen_) >= options_.trigger * options_.beta; }

  /// Chooses the first of those with the largest gain and an excess of at most beta.
  void plan() {
    double best = -std::numeric_limits<double>::infinity();
    for (std::size_t f = 0; f < size(); ++f)
      if (excess(f) <= options_.beta && gains_[f] > best) best = gains_[f], chosen_ = f;
    if (options_.discrepancy == Discrepancy::model) predict(0, biases_[chosen_]);
  }

  /// Throws `Error` for indices out of range and a reward that isn't finite.
  void observe(int state, int action, double reward, int next) {
    detail::check_step("FiniteClass", models_[0].states(), models_[0].actions(), state, action, reward, next);
    for (std::size_t f = 0; f < static_cast<std::size_t>(losses_.cols()); ++f) {
      const double seen = reward + biases_[options_.discrepancy == Discrepancy::model ? chosen_ : f][next];
      for (std::size_t g = 0; g < size(); ++g) {
        const double discrepancy = predictions_[f * size() + g](action, state) - seen;
        losses_(static_cast<std::ptrdiff_t>(g), static_cast<std::ptrdiff_t>(f)) += discrepancy * discrepancy;
      }
    }
  }

 private:
  /// r_g + P_g bias of all models g, for a column of the losses.
  void predict(std::size_t column, const Vector<double>& bias) {
    for (std::size_t g = 0; g < size(); ++g)
      predictions_[column * size() + g] = action_values(models_[g], view(bias), {.discount = 1});
  }

  std::vector<FiniteMdp<double>> models_;
  FiniteClassOptions options_;
  std::vector<double> gains_ = {};
  std::vector<Vector<double>> biases_ = {};
  std::vector<Matrix<double>> values_ = {}, predictions_ = {};  // Q_g; r_g + P_g V_f, those of a column together
  Matrix<double> losses_ = {};                                  // row g; column f, or one for the hypothesis executed
  std::size_t chosen_ = 0;
};

/// Rewards lie in [0, `max_reward`]. `beta` > 0 is the width of the bonus squared, `span` > 0 the largest difference of
/// biases that is believed in, `trigger` as for `FiniteClassOptions`.
struct TabularOptimismOptions {
  int states = 0, actions = 0;
  double beta = 1, span = 10;
  double max_reward = 1, trigger = 4;
};

/// All tables: the model estimated from counts with a bonus, min(sqrt(beta / n), max_reward + span) on a pair seen n
/// times; one never seen leads back to its own state, with the bonus of n = 1. Reward and bonus are at most max_reward
/// + span. Planned by `span_value_iteration`; again once n (Q - (r + P V - J))^2 >= trigger beta of some pair, by the
/// estimates r and P of now. This box contains the confidence set of the paper, whose optimum is not tractable: the
/// relaxation is this library's.
class TabularOptimism {
 public:
  /// Throws `Error` for options out of range.
  explicit TabularOptimism(const TabularOptimismOptions& options) : options_(options) {
    constexpr auto where = "TabularOptimism";
    check_positive(where, "states", options.states);
    check_positive(where, "actions", options.actions);
    detail::check_beta(where, options.beta, options.trigger);
    check_positive(where, "span", options.span);
    check_positive(where, "max_reward", options.max_reward);
    count_ = reward_ = Matrix<double>::Zero(options.actions, options.states);
    optimistic_ = reward_;
    next_ = Matrix<double>::Zero(options.states, reward_.size());
    weights_ = next_;
  }

  double gain() const { return solution_.gain; }
  int act(int state) const { return detail::best_action(solution_.values, state); }
  bool outdated() const { return outdated_; }
  /// How often each pair was seen: actions x states.
  const Matrix<double>& counts() const { return count_; }
  const SpanSolution& solution() const { return solution_; }

  void plan() {
    const double largest = options_.max_reward + options_.span;
    for (std::ptrdiff_t s = 0; s < count_.cols(); ++s)
      for (std::ptrdiff_t a = 0; a < count_.rows(); ++a) {
        const double n = (std::max)(count_(a, s), 1.0);
        const double bonus = (std::min)(std::sqrt(options_.beta / n), largest);
        optimistic_(a, s) = (std::min)(reward_(a, s) / n + bonus, largest);
        auto row = weights_.col(s * count_.rows() + a);
        row = next_.col(s * count_.rows() + a) / n;
        if (count_(a, s) == 0) row[s] = 1;
      }
    span_value_iteration(optimistic_, weights_, solution_, {.span = options_.span});
    outdated_ = false;
  }

  /// Throws `Error` for indices out of range and a reward outside of [0, max_reward].
  void observe(int state, int action, double reward, int next) {
    constexpr auto where = "TabularOptimism";
    detail::check_step(where, options_.states, options_.actions, state, action, reward, next);
    check_range(where, "reward", reward, 0, options_.max_reward);
    const std::ptrdiff_t pair = static_cast<std::ptrdiff_t>(state) * count_.rows() + action;
    const double n = ++count_(action, state);
    reward_(action, state) += reward;
    next_(next, pair) += 1;
    if (solution_.bias.size() == 0) return;  // nothing is planned yet
    const double backup = (reward_(action, state) + next_.col(pair).dot(solution_.bias)) / n - solution_.gain;
    const double discrepancy = solution_.values(action, state) - backup;
    outdated_ = outdated_ || n * discrepancy * discrepancy >= options_.trigger * options_.beta;
  }

 private:
  TabularOptimismOptions options_;
  Matrix<double> count_, reward_, next_;  // seen; sums of rewards; how often which state followed a pair, a column each
  Matrix<double> optimistic_, weights_;   // what is planned on
  SpanSolution solution_ = {};
  bool outdated_ = false;
};

/// As for `TabularOptimism`; `ridge` > 0 is the regression's penalty.
struct LinearOptimismOptions {
  double beta = 1, span = 10, ridge = 1;
  double max_reward = 1;
};

/// Models that are linear in features phi(s, a): reward and expectations are ridge regressions on the features, with a
/// bonus min(sqrt(beta) |phi| in the norm of Lambda^-1, max_reward + span), Lambda = ridge + sum phi phi'. Planned by
/// `span_value_iteration`; again once the determinant of Lambda has doubled (Abbasi-Yadkori, Pal & Szepesvari 2011). As
/// with tables, the box that the bonus spans is this library's relaxation of the paper's confidence set.
class LinearOptimism {
 public:
  /// `features`: d x (states * actions), column s * actions + a is phi(s, a). Throws `Error` for a shape that isn't,
  /// numbers that aren't finite, and options out of range.
  LinearOptimism(Matrix<double> features, int actions, const LinearOptimismOptions& options = {})
      : options_(options),
        features_(std::move(features)),
        actions_(actions),
        regression_(check(features_, actions, options), options.ridge) {
    const std::ptrdiff_t states = features_.cols() / actions;
    optimistic_ = Matrix<double>::Zero(actions, states);
    next_ = Matrix<double>::Zero(states, features_.rows());
  }

  double gain() const { return solution_.gain; }
  int act(int state) const { return detail::best_action(solution_.values, state); }
  bool outdated() const { return potential_ >= std::log(2.0); }
  const SpanSolution& solution() const { return solution_; }

  void plan() {
    const double largest = options_.max_reward + options_.span;
    for (std::ptrdiff_t s = 0; s < optimistic_.cols(); ++s)
      for (std::ptrdiff_t a = 0; a < actions_; ++a) {
        const std::span<const double> phi = column(s, a);
        const double bonus = (std::min)(std::sqrt(options_.beta) * regression_.uncertainty(phi), largest);
        optimistic_(a, s) = (std::min)(regression_.predict(phi) + bonus, largest);
      }
    span_value_iteration(optimistic_, next_ * (regression_.inverse() * features_), solution_, {.span = options_.span});
    potential_ = 0;
  }

  /// Throws `Error` for indices out of range and a reward outside of [0, max_reward].
  void observe(int state, int action, double reward, int next) {
    constexpr auto where = "LinearOptimism";
    detail::check_step(where, static_cast<int>(optimistic_.cols()), actions_, state, action, reward, next);
    check_range(where, "reward", reward, 0, options_.max_reward);
    const std::span<const double> phi = column(state, action);
    const double width = regression_.uncertainty(phi);
    potential_ += std::log1p(width * width);  // of log det Lambda
    regression_.update(phi, reward);
    next_.row(next) += features_.col(static_cast<std::ptrdiff_t>(state) * actions_ + action).transpose();
  }

 private:
  static int check(const Matrix<double>& features, int actions, const LinearOptimismOptions& options) {
    constexpr auto where = "LinearOptimism";
    check_positive(where, "actions", actions);
    check_positive(where, "features", features.rows());
    check_positive(where, "pairs", features.cols());
    if (features.cols() % actions != 0)
      fail(where, "features has {} columns; expected a multiple of {} actions", features.cols(), actions);
    check_finite(where, "features", view(features));
    detail::check_beta(where, options.beta, 1);
    check_positive(where, "span", options.span);
    check_positive(where, "max_reward", options.max_reward);
    return static_cast<int>(features.rows());
  }
  std::span<const double> column(std::ptrdiff_t s, std::ptrdiff_t a) const {
    return {features_.data() + (s * actions_ + a) * features_.rows(), static_cast<std::size_t>(features_.rows())};
  }

  LinearOptimismOptions options_;
  Matrix<double> features_;
  int actions_;
  OnlineRidge regression_;
  Matrix<double> next_;        // states x features: sum of phi' over the steps that led to a state
  Matrix<double> optimistic_;  // what is planned on
  SpanSolution solution_ = {};
  double potential_ = 0;
};

}  // namespace valence
