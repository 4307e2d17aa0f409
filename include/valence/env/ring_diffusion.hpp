#pragma once

#include <cmath>
#include <numbers>
#include <span>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// Points on a plane for small diffusion models: `modes` Gaussians on a circle, the first at angle 0, and a taste for
/// the first of them that a model is to be tuned to, known only by comparisons: the reward of a point is minus its
/// distance to (radius, 0). It stands for a text-to-image model and its judges.
struct RingDiffusion {
  int modes = 4;            ///< >= 1
  double radius = 2;        ///< > 0
  double deviation = 0.25;  ///< >= 0: standard deviation of each coordinate about its mode

  static constexpr int dimensions = 2;

  /// 2 x n points; modes are alike likely. Three outputs a point. Throws `Error` for bad fields or n < 1.
  Matrix<double> sample(int n, Rng& rng) const {
    check_positive("RingDiffusion", "modes", modes);
    check_positive("RingDiffusion", "radius", radius);
    if (!(deviation >= 0) || !std::isfinite(deviation))
      fail("RingDiffusion", "deviation is {}; expected a finite number, 0 or more", deviation);
    check_positive("RingDiffusion::sample", "n", n);
    Matrix<double> x(dimensions, n);
    for (Eigen::Index j = 0; j < n; ++j) {
      const double angle = 2 * std::numbers::pi * rng.below(modes) / modes;
      x(0, j) = radius * std::cos(angle) + deviation * rng.normal();
      x(1, j) = radius * std::sin(angle) + deviation * rng.normal();
    }
    return x;
  }

  /// -|x - (radius, 0)| of each of the points `x`, 2 x n.
  Vector<double> rewards(const Matrix<double>& x) const {
    check_shape("RingDiffusion::rewards", "x", x.rows(), x.cols(), dimensions, x.cols());
    Vector<double> r(x.cols());
    for (Eigen::Index j = 0; j < x.cols(); ++j) r[j] = -std::hypot(x(0, j) - radius, x(1, j));
    return r;
  }
};

}  // namespace valence
