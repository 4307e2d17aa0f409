#pragma once

#include <Eigen/Core>
#include <cmath>
#include <cstddef>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// Features brought to mean 0 and standard deviation 1, by the statistics of one batch (the training split) and for all
/// others. A feature that is constant there is only shifted.
///
/// For pairs, fit it on chosen and rejected samples in one batch. Scaled apart, each side gets mean 0 by itself, which
/// moves the label's effect into the scaling: the labels of the held-out pairs leak, and accuracy is too good.
class Standardizer {
 public:
  /// `x`: features x samples. Throws `Error` without samples and for a number that is not finite.
  explicit Standardizer(const Eigen::Ref<const Matrix<double>>& x) : mean_(x.rows()), scale_(x.rows()) {
    if (x.rows() == 0 || x.cols() == 0)
      fail("Standardizer", "x is {} x {}; expected at least one feature and one sample", x.rows(), x.cols());
    for (Eigen::Index j = 0; j < x.cols(); ++j)
      for (Eigen::Index i = 0; i < x.rows(); ++i)
        if (!std::isfinite(x(i, j))) fail("Standardizer", "x({}, {}) is {}; expected a finite number", i, j, x(i, j));
    mean_ = x.rowwise().mean();
    for (Eigen::Index i = 0; i < x.rows(); ++i) {
      const double deviation = std::sqrt((x.row(i).array() - mean_[i]).square().mean());
      // The mean of equal numbers is rounded: their deviation is not quite 0.
      scale_[i] = deviation > 1e-12 * std::abs(mean_[i]) && deviation > 0 ? 1 / deviation : 1.0;
    }
  }

  const Vector<double>& mean() const { return mean_; }
  /// What the shifted features are multiplied with: 1 / standard deviation (dividing by n), 1 for constant features.
  const Vector<double>& scale() const { return scale_; }

  /// Features x samples, scaled. Throws `Error` for another number of features.
  Matrix<double> operator()(const Eigen::Ref<const Matrix<double>>& x) const {
    check_size("Standardizer", "x's features", static_cast<std::size_t>(x.rows()),
               static_cast<std::size_t>(mean_.size()));
    return scale_.asDiagonal() * (x.colwise() - mean_);
  }

 private:
  Vector<double> mean_, scale_;
};

}  // namespace valence
