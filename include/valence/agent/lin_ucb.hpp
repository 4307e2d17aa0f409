#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/bandit.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// Ridge regression one observation at a time: minimises sum (y - theta . x)^2 + penalty |theta|^2 over what it has
/// seen. It keeps the inverse of A = penalty I + sum x x' by rank-one updates (Sherman and Morrison 1950), so an
/// observation costs O(features^2) and allocates nothing.
class OnlineRidge {
 public:
  /// Throws if `features` < 1 or `penalty` is not finite and > 0.
  explicit OnlineRidge(int features, double penalty = 1) {
    check_positive("OnlineRidge", "features", features);
    check_positive("OnlineRidge", "penalty", penalty);
    coefficients_ = Vector<double>::Zero(features);
    gain_ = Vector<double>::Zero(features);
    inverse_ = Matrix<double>::Identity(features, features) / penalty;
  }

  int features() const { return static_cast<int>(coefficients_.size()); }
  /// theta = A^-1 sum x y, an entry a feature.
  std::span<const double> coefficients() const { return view(coefficients_); }
  /// A^-1, features x features, symmetric.
  const Matrix<double>& inverse() const { return inverse_; }

  /// theta . x. Throws if x has another size, as do the functions below.
  double predict(std::span<const double> x) const {
    check_size("OnlineRidge::predict", "x", x.size(), static_cast<std::size_t>(features()));
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += coefficients_[static_cast<Eigen::Index>(i)] * x[i];
    return sum;
  }
  /// sqrt(x' A^-1 x): the standard deviation of theta . x where rewards have unit variance and theta a normal prior of
  /// precision `penalty`.
  double uncertainty(std::span<const double> x) const {
    check_size("OnlineRidge::uncertainty", "x", x.size(), static_cast<std::size_t>(features()));
    double sum = 0;
    for (std::size_t j = 0; j < x.size(); ++j)
      for (std::size_t i = 0; i < x.size(); ++i)
        sum += x[i] * inverse_(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) * x[j];
    return std::sqrt((std::max)(sum, 0.0));
  }

  /// Takes in one observation. Throws, and changes nothing, if a number is not finite or too large for x' A^-1 x to be.
  void update(std::span<const double> x, double y) {
    constexpr std::string_view where = "OnlineRidge::update";
    check_size(where, "x", x.size(), static_cast<std::size_t>(features()));
    check_finite(where, "x", x);
    check_finite(where, "y", y);
    const Eigen::Map<const Vector<double>> column(x.data(), coefficients_.size());
    gain_.noalias() = inverse_.lazyProduct(column);
    const double scale = 1 + column.dot(gain_), error = y - column.dot(coefficients_);
    check_finite(where, "1 + x' A^-1 x", scale);
    check_finite(where, "y - theta . x", error);
    coefficients_ += gain_ * (error / scale);
    for (Eigen::Index j = 0; j < gain_.size(); ++j)
      for (Eigen::Index i = 0; i <= j; ++i) {
        inverse_(i, j) -= gain_[i] * gain_[j] / scale;
        inverse_(j, i) = inverse_(i, j);  // symmetric to the bit, or rounding would grow
      }
  }

  template <class A>
  void archive(A& ar) {
    ar(coefficients_, inverse_);
  }

 private:
  Vector<double> coefficients_, gain_;
  Matrix<double> inverse_;
};

/// What `LinUcb` is told.
struct LinUcbOptions {
  double alpha = 1;    ///< width of the bound, >= 0; the paper's is 1 + sqrt(ln(2 / delta) / 2)
  double penalty = 1;  ///< of each arm's ridge regression, > 0; 1 in the paper
};

/// LinUCB with disjoint linear models (Li et al. 2010, algorithm 1): pulls the arm with the largest theta_a . x + alpha
/// sqrt(x' A_a^-1 x), ties at random.
///
///     LinUcb agent{arms, features, {.alpha = 0.5}};
///     int arm = agent.choose(x, rng);
///     agent.update(x, arm, reward);
class LinUcb {
 public:
  /// Throws for sizes < 1 and options out of range.
  LinUcb(int arms, int features, LinUcbOptions options = {}) : alpha_(options.alpha) {
    check_positive("LinUcb", "arms", arms);
    check_range("LinUcb", "alpha", options.alpha, 0, (std::numeric_limits<double>::max)());
    models_.assign(static_cast<std::size_t>(arms), OnlineRidge(features, options.penalty));
    scores_.resize(static_cast<std::size_t>(arms));
  }

  int arms() const { return static_cast<int>(models_.size()); }
  int features() const { return models_[0].features(); }
  /// An entry an arm.
  std::span<const OnlineRidge> models() const { return models_; }
  /// The index of one arm. Throws if there is no such arm or x has another size.
  double index(std::span<const double> x, int arm) const {
    detail::check_arm("LinUcb::index", arm, arms());
    const OnlineRidge& model = models_[static_cast<std::size_t>(arm)];
    return model.predict(x) + alpha_ * model.uncertainty(x);
  }

  /// `x`: an entry a feature, finite. One output.
  int choose(std::span<const double> x, Rng& rng) {
    check_finite("LinUcb::choose", "x", x);
    for (int a = 0; a < arms(); ++a) scores_[static_cast<std::size_t>(a)] = index(x, a);
    check_finite("LinUcb::choose", "index", std::span<const double>(scores_));
    return detail::random_argmax(scores_, rng);
  }
  /// Throws, and changes nothing, if there is no such arm, x has another size or a number is not finite.
  void update(std::span<const double> x, int arm, double reward) {
    detail::check_arm("LinUcb::update", arm, arms());
    models_[static_cast<std::size_t>(arm)].update(x, reward);
  }

  template <class A>
  void archive(A& ar) {
    for (OnlineRidge& model : models_) ar(model);
  }

 private:
  double alpha_;
  std::vector<OnlineRidge> models_ = {};
  std::vector<double> scores_ = {};
};

}  // namespace valence
