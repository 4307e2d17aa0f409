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

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// Limited-memory BFGS (Nocedal & Wright 2006, algorithms 7.4 and 7.5): what `minimize` does with a smooth function of
/// which all data are at hand. With a `box` its steps are projected, and what is held at a bound is left out of the
/// quasi-Newton direction (Bertsekas 1982, "Projected Newton methods").
struct Lbfgs {
  std::size_t memory = 10;                               ///< pairs of steps and gradient changes kept, >= 1
  double tolerance = 1e-8;                               ///< on the largest entry of the projected gradient; >= 0
  std::size_t max_iterations = 2000;                     ///< >= 1
  double box = std::numeric_limits<double>::infinity();  ///< every |x_i| is kept at most this; > 0
};

/// Where `minimize` ended.
struct Minimum {
  double value = 0;             ///< of the objective
  double gradient = 0;          ///< largest entry, absolute, of its gradient, that of entries held at the box left out
  std::size_t iterations = 0;   ///< steps taken
  std::size_t evaluations = 0;  ///< of the objective
  std::size_t at_bound = 0;     ///< entries of x on the box: a minimum that lies outside, or at infinity
  bool converged = false;       ///< gradient <= tolerance; otherwise no step, or no allowed step, made progress
};

namespace detail {

/// The state of one minimisation: the point, the memory of steps, and the line along which it looks.
template <class F>
class LbfgsRun {
 public:
  LbfgsRun(F& objective, std::span<double> x, const Lbfgs& options)
      : objective_(objective), options_(options), x_(x.data(), static_cast<Eigen::Index>(x.size())) {
    const auto n = x_.size();
    for (Vector<double>* v : {&gradient_, &direction_, &trial_, &trial_gradient_, &free_}) v->setZero(n);
    step_.setZero(n, static_cast<Eigen::Index>(options.memory));
    change_ = step_;
    weight_.resize(options.memory);
  }

  Minimum run() {
    value_ = at(x_, gradient_);
    if (!std::isfinite(value_) || !gradient_.allFinite())
      fail("minimize", "the objective is {} at the start, or its gradient isn't finite; expected finite numbers",
           value_);
    for (;;) {
      hold();
      result_.value = value_;
      result_.gradient = free_.cwiseProduct(gradient_).cwiseAbs().maxCoeff();
      result_.converged = result_.gradient <= options_.tolerance;
      if (result_.converged || result_.iterations == options_.max_iterations) break;
      point();
      if (!advance()) {
        if (kept_ == 0) break;
        kept_ = 0;  // the memory may be what misleads: once more, straight down
        continue;
      }
      ++result_.iterations;
    }
    result_.at_bound = static_cast<std::size_t>((x_.array().abs() >= options_.box).count());
    return result_;
  }

 private:
  double at(const Eigen::Ref<const Vector<double>>& x, Vector<double>& gradient) {
    ++result_.evaluations;
    return objective_(std::span<const double>(x.data(), static_cast<std::size_t>(x.size())), view(gradient));
  }

  /// free_ is 0 for an entry on the box that the gradient pushes outwards, 1 for the others.
  void hold() {
    for (Eigen::Index i = 0; i < x_.size(); ++i) {
      const bool held = (x_[i] >= options_.box && gradient_[i] < 0) || (x_[i] <= -options_.box && gradient_[i] > 0);
      free_[i] = held ? 0 : 1;
    }
  }

  /// The two loops, in the free entries alone.
  void point() {
    direction_ = -free_.cwiseProduct(gradient_);
    double scale = 0;
    for (std::size_t back = 0; back < kept_; ++back) {
      const auto k = column(back);
      const double curvature = step_.col(k).cwiseProduct(free_).dot(change_.col(k));
      const double size = change_.col(k).cwiseProduct(free_).squaredNorm();
      const bool good = curvature > std::numeric_limits<double>::epsilon() * size;
      weight_[back] = {good ? 1 / curvature : 0, 0};
      if (!good) continue;
      if (scale == 0) scale = curvature / size;
      weight_[back].second = step_.col(k).dot(direction_) / curvature;
      direction_ -= weight_[back].second * change_.col(k).cwiseProduct(free_);
    }
    direction_ *= scale > 0 ? scale : 1 / (std::max)(1.0, direction_.norm());
    for (std::size_t back = kept_; back-- > 0;) {
      const auto k = column(back);
      if (weight_[back].first == 0) continue;
      const double b = weight_[back].first * change_.col(k).dot(direction_);
      direction_ += (weight_[back].second - b) * step_.col(k).cwiseProduct(free_);
    }
    if (!(direction_.dot(gradient_) < 0)) direction_ = -free_.cwiseProduct(gradient_), kept_ = 0;
  }

  /// A step that lowers the value enough and ends where it is flatter (weak Wolfe conditions), by doubling and halving
  /// (Lewis & Overton 2013, algorithm 2.6). Near the minimum the values differ by rounding alone: there slopes decide
  /// (Hager & Zhang 2005, equation 4.1).
  bool advance() {
    constexpr double decrease = 1e-4, flatter = 0.9;
    constexpr int tries = 60;
    const double slope = direction_.dot(gradient_);
    const double rounding = 8 * std::numeric_limits<double>::epsilon() * (std::max)(std::abs(value_), 1e-300);
    double low = 0, high = std::numeric_limits<double>::infinity(), t = 1;
    for (int i = 0; i < tries; ++i) {
      trial_ = (x_ + t * direction_).cwiseMax(-options_.box).cwiseMin(options_.box);
      const double value = at(trial_, trial_gradient_);
      const bool finite = std::isfinite(value) && trial_gradient_.allFinite();
      double end_slope = 0;
      for (Eigen::Index k = 0; finite && k < trial_.size(); ++k)
        if (std::abs(trial_[k]) < options_.box) end_slope += trial_gradient_[k] * direction_[k];
      const bool lower = finite && value <= value_ + decrease * gradient_.dot(trial_ - x_);
      const bool level = finite && value <= value_ + rounding && end_slope <= (2 * decrease - 1) * slope;
      if (!lower && !level) {
        high = t;
      } else if (end_slope < flatter * slope && i + 1 < tries) {
        low = t;
      } else {
        remember(value);
        return true;
      }
      t = std::isfinite(high) ? (low + high) / 2 : 2 * low;
      if (!(t > low && t < high)) return false;
    }
    return false;
  }

  void remember(double value) {
    newest_ = (newest_ + 1) % options_.memory;
    kept_ = (std::min)(kept_ + 1, options_.memory);
    step_.col(static_cast<Eigen::Index>(newest_)) = trial_ - x_;
    change_.col(static_cast<Eigen::Index>(newest_)) = trial_gradient_ - gradient_;
    x_ = trial_;
    gradient_.swap(trial_gradient_);
    value_ = value;
  }
  Eigen::Index column(std::size_t back) const {
    return static_cast<Eigen::Index>((newest_ + options_.memory - back) % options_.memory);
  }

  F& objective_;
  const Lbfgs& options_;
  Eigen::Map<Vector<double>> x_;
  Vector<double> gradient_, direction_, trial_, trial_gradient_, free_;
  Matrix<double> step_, change_;
  std::vector<std::pair<double, double>> weight_;  // 1 / y's (0: left out) and its coefficient, newest first
  std::size_t newest_ = 0, kept_ = 0;
  double value_ = 0;
  Minimum result_ = {};
};

}  // namespace detail

/// Minimises `objective(x, gradient) -> value` from x, in place. `x`: spans of n >= 1 finite numbers; the objective
/// overwrites all of `gradient`. It must be smooth, or at least differentiable almost everywhere (hinge losses: it then
/// ends at a kink with `converged` false); it may be infinite where it isn't defined, but not at the start. No step
/// raises it by more than rounding.
///
///     Vector<double> x = ...;
///     const Minimum m = minimize([&](std::span<const double> x, std::span<double> g) { ...; return value; }, view(x));
///
/// Throws `Error` for bad options, for an x that isn't finite or lies outside of the box, and for a start where the
/// objective isn't finite. Allocates at the start only.
template <class F>
  requires std::invocable<F&, std::span<const double>, std::span<double>>
Minimum minimize(F&& objective, std::span<double> x, const Lbfgs& options = {}) {
  constexpr std::string_view where = "minimize";
  check_positive(where, "memory", options.memory);
  check_positive(where, "max_iterations", options.max_iterations);
  check_range(where, "tolerance", options.tolerance, 0, (std::numeric_limits<double>::max)());
  if (!(options.box > 0)) fail(where, "box is {}; expected a number greater than 0", options.box);
  if (x.empty()) fail(where, "x is empty; expected at least one number");
  check_finite(where, "x", std::span<const double>(x));
  check_range(where, "x", std::span<const double>(x), -options.box, options.box);
  return detail::LbfgsRun<F>(objective, x, options).run();
}

}  // namespace valence
