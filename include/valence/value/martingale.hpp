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

#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/linear.hpp"
#include "valence/mdp/sampled_paths.hpp"

/// Policy evaluation in continuous time by martingales (Jia & Zhou 2022, "Policy evaluation and temporal-difference
/// learning in continuous time and space: a martingale approach"). J(t, x) is the value of a process with running
/// reward r and terminal value h if and only if M_t = J(t, X_t) + (integral of r up to t) is a martingale. On a grid
///
///     dM_i = J_{i+1} - J_i + (r_i - beta J_i) dt,    J_n = h(X_T),
///
/// with the discount rate beta >= 0 per unit of time. A *path rule* says how J is to change: it is called on the values
/// J at the nodes of the paths and gives a descent direction with respect to them, averaged over paths:
///
///     double operator()(const SampledPaths& paths, std::span<const double> values, std::span<double> gradient) const;
///
/// Values and gradient have an entry a node, path by path. The value at the last node is not read, and its gradient is
/// 0, where `paths.terminal` imposes it; on an infinite horizon it is the model's, and beta must be greater than 0.
/// `MartingaleLoss` and `Ctd` find the value; `MeanSquareTdError` doesn't and is there to be compared with. Train any
/// model by them with `PathGradient`, a linear one in one solve with `linear_path_solution`, which for `Ctd` is CLSTD.
/// All throw `Error` for what `SampledPaths::check` refuses, sizes that differ, and hyper-parameters out of range.
namespace valence {

/// What `PathGradient` and `linear_path_solution` take.
template <class R>
concept PathRule =
    requires(const R rule, const SampledPaths& paths, std::span<const double> values, std::span<double> gradient) {
      { rule(paths, values, gradient) } -> std::convertible_to<double>;
    };

namespace detail {

inline void check_path_values(std::string_view where, const SampledPaths& paths, double discount_rate,
                              std::span<const double> values, std::size_t gradient) {
  paths.check(where);
  check_range(where, "discount_rate", discount_rate, 0, (std::numeric_limits<double>::max)());
  if (paths.infinite_horizon && discount_rate == 0)
    fail(where, "discount_rate is 0; expected more than 0 on an infinite horizon");
  const auto nodes = static_cast<std::size_t>(paths.count * (paths.steps + 1));
  check_size(where, "values", values.size(), nodes);
  check_size(where, "gradient", gradient, nodes);
}

/// One path's part of values or gradients.
template <class T>
T* path_of(const SampledPaths& paths, std::span<T> nodes, std::ptrdiff_t k) {
  return nodes.data() + k * (paths.steps + 1);
}

/// dM_i of path k, whose values are J.
inline double increment(const SampledPaths& paths, const double* J, std::ptrdiff_t k, std::ptrdiff_t i, double beta) {
  const bool imposed = i + 1 == paths.steps && !paths.infinite_horizon;
  return (imposed ? paths.terminal[k] : J[i + 1]) - J[i] + (paths.reward(i, k) - beta * J[i]) * paths.dt;
}

inline void check_lambda(std::string_view where, double lambda) { check_range(where, "lambda", lambda, 0, 1); }

}  // namespace detail

/// dM_i of every path: `values` has an entry a node, `result` steps x count. Their mean is 0, given X_{t_i}, if J is
/// the value (up to an error of order dt^2 where r or the drift vary). `discount_rate` >= 0 per unit of time.
inline void martingale_increments(const SampledPaths& paths, std::span<const double> values, std::span<double> result,
                                  double discount_rate = 0) {
  constexpr auto where = "martingale_increments";
  detail::check_path_values(where, paths, discount_rate, values, values.size());
  check_size(where, "result", result.size(), static_cast<std::size_t>(paths.count * paths.steps));
  for (std::ptrdiff_t k = 0; k < paths.count; ++k)
    for (std::ptrdiff_t i = 0; i < paths.steps; ++i)
      result[static_cast<std::size_t>(k * paths.steps + i)] =
          detail::increment(paths, detail::path_of(paths, values, k), k, i, discount_rate);
}

/// The martingale loss 1/2 E sum_{i<n} (M_n - M_i)^2 dt (Jia & Zhou 2022, section 3.1), whose minimum is the best
/// approximation of the value in mean square: gradient Monte Carlo. With a discount rate J and r are discounted to time
/// 0 first. Its gradient is dL/dJ_i = -e^{-beta t_i} (M_n - M_i) dt. Needs terminal values.
struct MartingaleLoss {
  double discount_rate = 0;  ///< beta >= 0, per unit of time

  double operator()(const SampledPaths& paths, std::span<const double> values, std::span<double> gradient) const {
    constexpr auto where = "MartingaleLoss";
    detail::check_path_values(where, paths, discount_rate, values, gradient.size());
    if (paths.infinite_horizon) fail(where, "the horizon is infinite; expected paths with terminal values");
    double loss = 0;
    for (std::ptrdiff_t k = 0; k < paths.count; ++k) {
      const double* const J = detail::path_of(paths, values, k);
      double* const dJ = detail::path_of(paths, gradient, k);
      const auto discount = [&](std::ptrdiff_t i) {
        return std::exp(-discount_rate * paths.dt * static_cast<double>(i));
      };
      dJ[paths.steps] = 0;
      double outcome = discount(paths.steps) * paths.terminal[k];  // what is still to come, discounted to time 0
      for (std::ptrdiff_t i = paths.steps; i-- > 0;) {
        outcome += discount(i) * paths.reward(i, k) * paths.dt;
        const double rest = outcome - discount(i) * J[i];  // M_n - M_i
        loss += rest * rest * paths.dt / 2;
        dJ[i] = -discount(i) * rest * paths.dt / static_cast<double>(paths.count);
      }
    }
    return loss / static_cast<double>(paths.count);
  }
};

/// The mean-square TD error 1/2 E sum_i dM_i^2 / dt, that is 1/2 E of the integral of (dM/dt)^2. A baseline only: as dt
/// shrinks it becomes the quadratic variation of M over dt, whose minimum is not the value (Jia & Zhou 2022, section
/// 3.3). It grows like 1 / dt, so step sizes of gradient descent have to shrink with dt.
struct MeanSquareTdError {
  double discount_rate = 0;  ///< beta >= 0, per unit of time

  double operator()(const SampledPaths& paths, std::span<const double> values, std::span<double> gradient) const {
    detail::check_path_values("MeanSquareTdError", paths, discount_rate, values, gradient.size());
    double loss = 0;
    const double scale = 1 / (paths.dt * static_cast<double>(paths.count));
    for (std::ptrdiff_t k = 0; k < paths.count; ++k) {
      const double* const J = detail::path_of(paths, values, k);
      double* const dJ = detail::path_of(paths, gradient, k);
      double before = 0;
      for (std::ptrdiff_t i = 0; i < paths.steps; ++i) {
        const double dM = detail::increment(paths, J, k, i, discount_rate);
        loss += dM * dM * scale / 2;
        dJ[i] = (before - dM * (1 + discount_rate * paths.dt)) * scale;
        before = dM;
      }
      dJ[paths.steps] = paths.infinite_horizon ? before * scale : 0;
    }
    return loss;
  }
};

/// TD(lambda) in continuous time, offline: solves E sum_i xi_i dM_i = 0 (Jia & Zhou 2022, section 4.2). The test
/// functions are the gradients of J: xi_i = g_i with lambda 0, else xi_i = sum_{j<=i} lambda^{(i-j) dt} g_j dt, which
/// forgets by lambda per unit of *time*. Descending what it gives is theta += step_size E sum_i xi_i dM_i. It is a
/// semi-gradient: lambda 1 alone has a loss, `MartingaleLoss` without discounting, path by path. Returns the mean of
/// sum_i dM_i = M_n - M_0, for diagnosis: near 0 at the value.
struct Ctd {
  double lambda = 0;         ///< in [0, 1]
  double discount_rate = 0;  ///< beta >= 0, per unit of time

  double operator()(const SampledPaths& paths, std::span<const double> values, std::span<double> gradient) const {
    detail::check_path_values("Ctd", paths, discount_rate, values, gradient.size());
    detail::check_lambda("Ctd", lambda);
    const double decay = lambda > 0 ? std::pow(lambda, paths.dt) : 0, weight = lambda > 0 ? paths.dt : 1;
    double drift = 0;
    for (std::ptrdiff_t k = 0; k < paths.count; ++k) {
      const double* const J = detail::path_of(paths, values, k);
      double* const dJ = detail::path_of(paths, gradient, k);
      // sum_i xi_i dM_i = sum_j g_j ahead_j, where ahead_j = weight dM_j + decay ahead_{j+1}.
      double ahead = 0;
      dJ[paths.steps] = 0;
      for (std::ptrdiff_t i = paths.steps; i-- > 0;) {
        const double dM = detail::increment(paths, J, k, i, discount_rate);
        ahead = weight * dM + decay * ahead;
        dJ[i] = -ahead / static_cast<double>(paths.count);
        drift += dM;
      }
    }
    return drift / static_cast<double>(paths.count);
  }
};

/// A model of J over paths: its values at the nodes, `paths.base` added, and the pullback of a path rule. The model
/// takes (t, x), 1 + dimension numbers, and gives one. Keep it: it allocates nothing once it has seen the largest
/// paths.
///
///     PathGradient descent{value};                                  // any model: Linear, Mlp<float>, ...
///     Vector<double> gradient = Vector<double>::Zero(theta.size());
///     descent(Ctd{.lambda = 0.5}, paths, view(theta), view(gradient));
///     optimizer.step(view(theta), view(gradient));
template <Approximator Model>
class PathGradient {
 public:
  using S = typename Model::Scalar;

  /// Throws `Error` for a model of more than one output.
  explicit PathGradient(Model model) : model_(std::move(model)) {
    if (model_.output_size() != 1) fail("PathGradient", "the model has {} outputs; expected 1", model_.output_size());
  }

  /// J at the nodes of the paths, the model's even where a terminal value is imposed; valid until the next call.
  std::span<const double> values(const SampledPaths& paths, std::span<const S> theta) {
    paths.check("PathGradient");
    const auto y = model_.forward(theta, input(paths), tape_);
    values_.resize(y.cols());
    for (std::ptrdiff_t i = 0; i < y.cols(); ++i) values_[i] = static_cast<double>(y(0, i));
    if (paths.base.size() > 0) values_ += Eigen::Map<const Vector<double>>(paths.base.data(), paths.base.size());
    return view(std::as_const(values_));
  }

  /// gradient += J_theta' (the rule's gradient); returns the rule's value.
  template <PathRule Rule>
  double operator()(const Rule& rule, const SampledPaths& paths, std::span<const S> theta, std::span<S> gradient) {
    values(paths, theta);
    direction_.resize(values_.size());
    const double value = rule(paths, view(std::as_const(values_)), view(direction_));
    pull(paths, theta, gradient);
    return value;
  }

  /// gradient += J_theta' direction, for an entry a node and the theta of the last call.
  void pullback(const SampledPaths& paths, std::span<const S> theta, std::span<const double> direction,
                std::span<S> gradient) {
    check_size("PathGradient::pullback", "direction", direction.size(), view(values_).size());
    direction_ = Eigen::Map<const Vector<double>>(direction.data(), values_.size());
    pull(paths, theta, gradient);
  }

  /// J_theta v at the nodes, of the theta of the last call; a view into the tape.
  Outputs<S> pushforward(const SampledPaths& paths, std::span<const S> theta, std::span<const S> v)
    requires Linearisable<Model>
  {
    return model_.pushforward(theta, input(paths), tape_, v);
  }

  const Model& model() const { return model_; }

 private:
  const typename Model::Batch& input(const SampledPaths& paths) {
    if constexpr (std::same_as<S, double>) {
      return paths.nodes;
    } else {
      input_ = paths.nodes.cast<S>();
      return input_;
    }
  }
  void pull(const SampledPaths& paths, std::span<const S> theta, std::span<S> gradient) {
    output_gradient_ = direction_.template cast<S>();
    model_.pullback(theta, input(paths), tape_, Outputs<S>(output_gradient_.data(), 1, output_gradient_.size()),
                    gradient);
  }

  Model model_;
  typename Model::Tape tape_;
  typename Model::Batch input_;
  Vector<double> values_, direction_;
  Vector<S> output_gradient_;
};

namespace detail {

/// How many columns of a square matrix are independent, to `tolerance` of its entries after the rows and columns are
/// scaled: elimination with complete pivoting.
inline std::ptrdiff_t rank_of(Matrix<double> a, double tolerance) {
  for (std::ptrdiff_t i = 0; i < a.rows(); ++i)
    if (const double largest = a.row(i).cwiseAbs().maxCoeff(); largest > 0) a.row(i) /= largest;
  for (std::ptrdiff_t j = 0; j < a.cols(); ++j)
    if (const double largest = a.col(j).cwiseAbs().maxCoeff(); largest > 0) a.col(j) /= largest;
  for (std::ptrdiff_t k = 0; k < a.rows(); ++k) {
    const std::ptrdiff_t rest = a.rows() - k - 1;
    std::ptrdiff_t row = 0, column = 0;
    if (!(a.bottomRightCorner(rest + 1, rest + 1).cwiseAbs().maxCoeff(&row, &column) > tolerance)) return k;
    a.row(k).swap(a.row(k + row));
    a.col(k).swap(a.col(k + column));
    for (std::ptrdiff_t i = k + 1; i < a.rows(); ++i) a.row(i).tail(rest) -= a(i, k) / a(k, k) * a.row(k).tail(rest);
  }
  return a.rows();
}

}  // namespace detail

/// The theta at which a rule's gradient is 0 for a linear model J = base + theta' phi(t, x), in one solve: the minimum
/// of `MartingaleLoss` or `MeanSquareTdError`, or for `Ctd` the root of its orthogonality conditions. The rule must be
/// affine in J, as all three are. One pass over the paths a feature. Throws `Error` where the solution isn't unique,
/// with the rank of the system: features that depend on each other on these nodes, or too few paths.
///
///     Vector<double> theta = linear_path_solution(MartingaleLoss{}, Linear{map, 1}, paths);
template <PathRule Rule, FeatureMap Map>
Vector<double> linear_path_solution(const Rule& rule, const Linear<Map, double>& model, const SampledPaths& paths,
                                    std::string_view where = "linear_path_solution") {
  paths.check(where);
  const auto k = static_cast<std::ptrdiff_t>(model.parameter_count());
  PathGradient<Linear<Map, double>> gradient_of(model);
  Vector<double> theta = Vector<double>::Zero(k), constant = theta, column = theta;
  gradient_of(rule, paths, view(std::as_const(theta)), view(constant));
  Matrix<double> a(k, k);
  for (std::ptrdiff_t j = 0; j < k; ++j) {
    theta.setZero();
    theta[j] = 1;
    column.setZero();
    gradient_of(rule, paths, view(std::as_const(theta)), view(column));
    a.col(j) = column - constant;
  }
  constexpr double tolerance = 1e-12;
  if (a.allFinite())
    if (const std::ptrdiff_t rank = detail::rank_of(a, tolerance); rank < k)
      fail(where, "the system of {} features has rank {}; expected features that are independent on the paths' nodes",
           k, rank);
  constant = -constant;
  Lu(std::move(a), {}, where).solve(view(std::as_const(constant)), view(theta));
  return theta;
}

/// CLSTD(lambda) (Jia & Zhou 2022, section 4.2): the root of the conditions of `Ctd` for a linear model, without a step
/// size. Errors as for `linear_path_solution`.
///
///     Vector<double> theta = clstd(Linear{map, 1}, paths, {.lambda = 0.5});
template <FeatureMap Map>
Vector<double> clstd(const Linear<Map, double>& model, const SampledPaths& paths, const Ctd& options = {}) {
  return linear_path_solution(options, model, paths, "clstd");
}

/// Step sizes > 0; `lambda` and `discount_rate` as for `Ctd`.
struct CgtdOptions {
  double step_size = 0.05;            ///< of theta
  double correction_step_size = 0.5;  ///< of w: usually the larger
  double lambda = 0;
  double discount_rate = 0;
};

/// Gradient TD in continuous time, in the form of GTD2 (Jia & Zhou 2022, section 4.2; Sutton et al. 2009): descends
/// 1/2 u' A u with u = E sum_i xi_i dM_i and A = (E sum_i xi_i xi_i' dt)^-1, whose minimum for a linear model is that
/// of `clstd`. w estimates A u:
///
///     w     += correction_step_size E[sum_i xi_i dM_i - xi_i xi_i' w dt]
///     theta -= step_size E[sum_i (d dM_i / d theta) xi_i' w]
///
/// For models that aren't linear the change of xi with theta is left out; that, and the weighting A, is a choice.
/// Converges where `Ctd` may diverge. Any model with a `pushforward`; keeps its memory.
template <Linearisable Model>
class Cgtd {
 public:
  using S = typename Model::Scalar;

  /// Throws `Error` for options out of range and for a model of more than one output.
  explicit Cgtd(Model model, const CgtdOptions& options = {}) : options_(options), values_(std::move(model)) {
    check_positive("Cgtd", "step_size", options.step_size);
    check_positive("Cgtd", "correction_step_size", options.correction_step_size);
    check_range("Cgtd", "discount_rate", options.discount_rate, 0, (std::numeric_limits<double>::max)());
    detail::check_lambda("Cgtd", options.lambda);
    const auto k = static_cast<std::ptrdiff_t>(values_.model().parameter_count());
    correction_ = Vector<S>::Zero(k);
    first_ = second_ = correction_;
  }

  /// One step on the mean over the paths. `factor` >= 0 multiplies both step sizes, and comes from a schedule. Returns
  /// what `Ctd` returns.
  double update(std::span<S> theta, const SampledPaths& paths, double factor = 1) {
    check_range("Cgtd::update", "factor", factor, 0, (std::numeric_limits<double>::max)());
    const Ctd ctd{.lambda = options_.lambda, .discount_rate = options_.discount_rate};
    first_.setZero();
    const double drift = values_(ctd, paths, std::span<const S>(theta), view(first_));  // -E sum xi dM
    const auto along = values_.pushforward(paths, theta, view(std::as_const(correction_)));
    const double scale = 1 / static_cast<double>(paths.count), beta = options_.discount_rate;
    const double decay = options_.lambda > 0 ? std::pow(options_.lambda, paths.dt) : 0;
    const double weight = options_.lambda > 0 ? paths.dt : 1;
    const std::ptrdiff_t n = paths.steps;
    traced_.resize(n);
    change_.resize(along.cols());
    square_.resize(along.cols());
    for (std::ptrdiff_t k = 0; k < paths.count; ++k) {
      double* const change = change_.data() + k * (n + 1);
      double* const square = square_.data() + k * (n + 1);
      double trace = 0;  // xi_i' w
      for (std::ptrdiff_t i = 0; i < n; ++i) {
        const double before = trace;
        trace = decay * trace + weight * static_cast<double>(along(0, k * (n + 1) + i));
        traced_[i] = trace;
        change[i] = scale * ((i > 0 ? before : 0) - (1 + beta * paths.dt) * trace);
      }
      change[n] = paths.infinite_horizon ? scale * trace : 0;
      square[n] = 0;
      double ahead = 0;  // sum_i xi_i (xi_i' w) dt, as a factor of each g
      for (std::ptrdiff_t i = n; i-- > 0;) {
        ahead = weight * traced_[i] * paths.dt + decay * ahead;
        square[i] = scale * ahead;
      }
    }
    values_.pullback(paths, theta, view(std::as_const(square_)), view(first_));
    second_.setZero();
    values_.pullback(paths, theta, view(std::as_const(change_)), view(second_));
    correction_ -= static_cast<S>(options_.correction_step_size * factor) * first_;
    Eigen::Map<Vector<S>>(theta.data(), second_.size()) -= static_cast<S>(options_.step_size * factor) * second_;
    return drift;
  }

  /// w, an entry a parameter.
  std::span<const S> correction() const { return view(correction_); }

  template <class A>
  void archive(A& ar) {
    ar(correction_);
  }

 private:
  CgtdOptions options_;
  PathGradient<Model> values_;
  Vector<S> correction_, first_, second_;
  Vector<double> traced_, change_, square_;
};
template <class Model>
Cgtd(Model) -> Cgtd<Model>;
template <class Model>
Cgtd(Model, CgtdOptions) -> Cgtd<Model>;

}  // namespace valence
