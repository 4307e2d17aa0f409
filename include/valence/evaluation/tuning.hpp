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

#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/piecewise.hpp"
#include "valence/core/types.hpp"

/// Tuning one hyper-parameter on tasks (Balcan, Nguyen & Sharma 2025, "Sample complexity of data-driven tuning of model
/// hyperparameters in neural networks with structured parameter-dependent dual function"). The *dual* of a task is its
/// utility as a function of the hyper-parameter; where that has few pieces, the best parameter of some tasks is good
/// for others. Duals come from `discount_dual` (planning/discount_sweep.hpp), `activation_sweep`, or anywhere else.
namespace valence {

/// What `tune` found.
template <class P>
struct TuningResult {
  double low = 0, high = 0;  ///< the hyper-parameters that maximise the mean of the duals: a piece, or a point
  double value = 0;          ///< the mean there
  std::size_t pieces = 0;    ///< of the mean: what `uniform_gap_bound` asks for
  Piecewise<P> mean;         ///< of the duals

  /// One of the best, in the middle.
  double best() const { return low + (high - low) / 2; }
};
template <class P>
TuningResult(double, double, double, std::size_t, Piecewise<P>) -> TuningResult<P>;

/// Empirical risk minimisation, exactly: the hyper-parameter with the largest mean utility, from the mean of the duals
/// on all of their pieces. O(B log B) for B pieces in total. Throws `Error` for no dual and for domains that differ.
///
///     auto best = tune(duals);                      // of std::vector<PiecewiseConstant>
template <class P>
TuningResult<P> tune(std::span<const Piecewise<P>> duals) {
  if (duals.empty()) fail("tune", "there is no task; expected at least one dual");
  Piecewise<P> mean = sum(duals);
  mean *= 1 / static_cast<double>(duals.size());
  const PiecewiseMaximum best = mean.argmax();
  const std::size_t pieces = mean.size();
  return {best.low, best.high, best.value, pieces, std::move(mean)};
}
template <class P>
TuningResult<P> tune(const std::vector<Piecewise<P>>& duals) {
  return tune(std::span<const Piecewise<P>>(duals));
}

/// Utilities lie in [0, range]; `pieces` of the mean of the duals of `tasks` tasks; `delta` in (0, 1).
struct GapBoundOptions {
  double range = 1;
  std::size_t pieces = 1, tasks = 1;
  double delta = 0.05;
};

/// The empirical Rademacher complexity of the duals is at most this: range sqrt(2 ln(pieces) / tasks), by Massart's
/// lemma for the one vector of utilities that each piece of the mean has. Throws `Error` for options out of range.
inline double massart_bound(const GapBoundOptions& options) {
  constexpr auto where = "massart_bound";
  check_positive(where, "range", options.range);
  check_positive(where, "pieces", options.pieces);
  check_positive(where, "tasks", options.tasks);
  return options.range *
         std::sqrt(2 * std::log(static_cast<double>(options.pieces)) / static_cast<double>(options.tasks));
}

/// With probability 1 - delta over the tasks, no hyper-parameter's mean utility on them differs from its expectation by
/// more than 2 massart_bound + 3 range sqrt(ln(2 / delta) / (2 tasks)). It depends on the data through the pieces, and
/// is loose: often ten times what happens. Throws `Error` for options out of range.
inline double uniform_gap_bound(const GapBoundOptions& options) {
  const double complexity = massart_bound(options);
  if (!(options.delta > 0 && options.delta < 1))
    fail("uniform_gap_bound", "delta is {}; expected a number between 0 and 1", options.delta);
  return 2 * complexity +
         3 * options.range * std::sqrt(std::log(2 / options.delta) / (2 * static_cast<double>(options.tasks)));
}

/// The accuracy of the scores f_a = a first + (1 - a) second as a function of a in [0, 1]: a network with one hidden
/// layer of fixed weights and the activation a sigma_1 + (1 - a) sigma_2 (`InterpolatedActivation`) scores so. An
/// example is right where its label, +1 or -1, times f_a is > 0; that changes at a = second / (second - first) alone.
/// Spans of an entry an example. Throws `Error` for no example, sizes that differ, other labels, and numbers that
/// aren't finite.
inline PiecewiseConstant activation_sweep(std::span<const double> first, std::span<const double> second,
                                          std::span<const int> labels) {
  constexpr auto where = "activation_sweep";
  if (first.empty()) fail(where, "there is no example; expected at least one");
  check_size(where, "second", second.size(), first.size());
  check_size(where, "labels", labels.size(), first.size());
  check_finite(where, "first", first);
  check_finite(where, "second", second);
  std::vector<PiecewiseConstant> right;
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (labels[i] != 1 && labels[i] != -1) fail(where, "labels[{}] is {}; expected 1 or -1", i, labels[i]);
    // The signs inside of (0, 1), next to its ends.
    const double above = labels[i] * (first[i] != 0 ? first[i] : second[i]);
    const double below = labels[i] * (second[i] != 0 ? second[i] : first[i]);
    // second / (second - first), without overflow; between 0 and 1, which rounding may reach.
    const double change = above * below < 0 ? 1 / (1 - first[i] / second[i]) : 1;
    right.push_back(change > 0 && change < 1
                        ? PiecewiseConstant{{0, change}, {below > 0 ? 1.0 : 0.0, above > 0 ? 1.0 : 0.0}, 1}
                        : PiecewiseConstant{{0}, {(change > 0 ? below : above) > 0 ? 1.0 : 0.0}, 1});
  }
  return 1 / static_cast<double>(first.size()) * sum(right);
}

/// Penalties searched by `RidgeDual::minimise`: 0 <= low < high. `grid` >= 2 points, the first at `low`, the others
/// evenly spaced in the logarithm up to `high`, from `low` on, or from high / 1e9 where that is larger.
struct RidgeDualOptions {
  double low = 0, high = 1e3;
  int grid = 200;
};

/// A penalty and its loss.
struct RidgeMinimum {
  double penalty = 0, loss = 0;
};

/// The validation loss of ridge regression as a function of its penalty: the mean of (y' - x' w)^2 over validation
/// pairs, w = (X'X + penalty I)^-1 X'y. Smooth and rational, but not in pieces, so it is minimised over the stationary
/// points that a grid brackets: a dip between two grid points whose slopes have the same signs is missed.
class RidgeDual {
 public:
  /// `x`, `x_validation`: samples x features; targets an entry a sample. Throws `Error` for shapes that don't fit, no
  /// samples or features, and numbers that aren't finite.
  RidgeDual(const Matrix<double>& x, const Vector<double>& y, Matrix<double> x_validation, Vector<double> y_validation)
      : x_(std::move(x_validation)), y_(std::move(y_validation)) {
    constexpr auto where = "RidgeDual";
    check_positive(where, "the number of features", x.cols());
    check_positive(where, "the number of samples", x.rows());
    check_positive(where, "the number of validation samples", x_.rows());
    check_size(where, "y", view(y).size(), static_cast<std::size_t>(x.rows()));
    check_shape(where, "x_validation", x_.rows(), x_.cols(), x_.rows(), x.cols());
    check_size(where, "y_validation", view(y_).size(), static_cast<std::size_t>(x_.rows()));
    check_finite(where, "x", view(x));
    check_finite(where, "y", view(y));
    check_finite(where, "x_validation", view(x_));
    check_finite(where, "y_validation", view(y_));
    gram_ = x.transpose() * x;
    moment_ = x.transpose() * y;
  }

  /// The loss at a penalty >= 0. Throws `Error` at 0 where the features depend on each other.
  double operator()(double penalty) const {
    return (x_ * solve(penalty, moment_) - y_).squaredNorm() / static_cast<double>(y_.size());
  }
  /// Its derivative: dw = -(X'X + penalty I)^-1 w.
  double slope(double penalty) const {
    const Vector<double> w = solve(penalty, moment_);
    return -2 * (x_ * w - y_).dot(x_ * solve(penalty, w)) / static_cast<double>(y_.size());
  }
  /// The penalty of least loss: an end of the range, or a stationary point by bisection of its bracket.
  RidgeMinimum minimise(const RidgeDualOptions& options = {}) const {
    constexpr auto where = "RidgeDual::minimise";
    check_range(where, "low", options.low, 0, (std::numeric_limits<double>::max)());
    check_finite(where, "high", options.high);
    if (!(options.low < options.high))
      fail(where, "the range is [{}, {}]; expected low < high", options.low, options.high);
    check_range(where, "grid", options.grid, 2, 1'000'000'000);
    RidgeMinimum best{options.low, (*this)(options.low)};
    const auto consider = [&](double penalty) {
      if (const double loss = (*this)(penalty); loss < best.loss) best = {penalty, loss};
    };
    const double start = std::log((std::max)(options.low, options.high * 1e-9)), end = std::log(options.high);
    double a = options.low, slope_a = slope(a);
    for (int i = 1; i < options.grid; ++i) {
      const double b = i + 1 == options.grid ? options.high : std::exp(start + (end - start) * i / (options.grid - 1));
      const double slope_b = slope(b);
      if (slope_a < 0 && slope_b >= 0) {
        double low = a, high = b;
        for (double middle = low + (high - low) / 2; low < middle && middle < high; middle = low + (high - low) / 2)
          (slope(middle) < 0 ? low : high) = middle;
        consider(high);
      }
      a = b, slope_a = slope_b;
    }
    consider(options.high);
    return best;
  }

 private:
  Vector<double> solve(double penalty, const Vector<double>& b) const {
    check_range("RidgeDual", "penalty", penalty, 0, (std::numeric_limits<double>::max)());
    Matrix<double> a = gram_;
    a.diagonal().array() += penalty;
    Vector<double> w(b.size());
    Cholesky(std::move(a), "RidgeDual").solve(view(b), view(w));
    return w;
  }

  Matrix<double> gram_, x_;
  Vector<double> moment_, y_;
};

}  // namespace valence
