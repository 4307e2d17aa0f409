#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/distributional/quantile.hpp"

namespace valence {

/// Expectile regression (Newey and Powell 1987; Rowland et al. 2019, "Statistics and Samples in Distributional
/// Reinforcement Learning", definition 3.3): theta_i is to become the expectile of the returns y at level tau_i,
///
///     sum_i mean_j |tau_i - 1{u_ij < 0}| u_ij^2,   u_ij = y_j - theta_i,
///
/// and d_theta_i += weight times -2 mean_j |tau_i - 1{u < 0}| u. One expectile at 1/2 is regression to the mean; one
/// above it is what implicit Q-learning takes for a maximum. Levels belong to predictions, the mean is over targets, the
/// sum over predictions; errors as of `quantile_huber`.
template <Scalar S>
S expectile_loss(std::span<const S> theta, std::span<const std::type_identity_t<S>> levels,
                 std::span<const std::type_identity_t<S>> y, std::span<std::type_identity_t<S>> d_theta,
                 std::type_identity_t<S> weight = 1) {
  constexpr auto where = "expectile_loss";
  check_size(where, "levels", levels.size(), theta.size());
  check_range(where, "levels", levels, 0, 1);
  detail::check_pairs<S>(where, theta, y, d_theta, weight);
  return detail::quantile_pairs<S>(
      theta, [levels](std::size_t i) { return levels[i]; }, y, d_theta, weight, S(1),
      []<class T>(T u) {
        return ValueAndSlope<T>{u * u, u * scalar_t<T>(2)};
      });
}

/// `tolerance` is of the largest |condition| relative to the expectiles' range; `iterations` bounds the steps.
struct ImputationOptions {
  double tolerance = 1e-10;
  int iterations = 500;
};

/// What `impute_expectiles` has reached.
struct Imputation {
  double residual = 0;  ///< the largest |condition|, in the expectiles' unit
  int iterations = 0;
  bool converged = false;  ///< the residual is at most what was asked for
};

/// Atoms of equal weight whose expectiles at `levels` are `expectiles`, by least squares on the conditions
///
///     mean_i |tau_k - 1{x_i < e_k}| (x_i - e_k) = 0   for each k
///
/// (Rowland et al. 2019, section 3.2, equation 8): what a Bellman target of expectiles has to be made of, for expectiles
/// as such can't be shifted into those of a mixture. Levenberg-Marquardt steps; the conditions have kinks, so a solution
/// may be missed: then, as where no such law exists, the nearest one found comes back, with `converged` false (its
/// residual is typically below a thousandth of the expectiles' range). Levels are in (0, 1) and increase, as the
/// expectiles do (ties allowed); `atoms`, of any number >= 1, come out in increasing order.
inline Imputation impute_expectiles(std::span<const double> expectiles, std::span<const double> levels,
                                    std::span<double> atoms, const ImputationOptions& options = {}) {
  constexpr auto where = "impute_expectiles";
  if (expectiles.empty()) fail(where, "expectiles is empty; expected at least one");
  if (atoms.empty()) fail(where, "atoms is empty; expected at least one");
  check_size(where, "levels", levels.size(), expectiles.size());
  check_finite(where, "expectiles", expectiles);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "iterations", options.iterations);
  for (std::size_t k = 0; k < levels.size(); ++k) {
    if (!(levels[k] > 0 && levels[k] < 1))
      fail(where, "levels[{}] is {}; expected a number between 0 and 1", k, levels[k]);
    if (k > 0 && !(levels[k] > levels[k - 1]))
      fail(where, "levels[{}] is {}, after {}; expected an increase", k, levels[k], levels[k - 1]);
    if (k > 0 && expectiles[k] < expectiles[k - 1])
      fail(where, "expectiles[{}] is {}, after {}; expected no decrease", k, expectiles[k], expectiles[k - 1]);
  }
  const auto rows = static_cast<Eigen::Index>(expectiles.size()), columns = static_cast<Eigen::Index>(atoms.size());
  const double low = expectiles.front(), high = expectiles.back();
  const double range = high > low ? high - low : 1, share = 1 / static_cast<double>(atoms.size());
  // The conditions at x in units of the range, (tau - 1/2) |u| + u / 2 with |u| rounded off to sqrt(u^2 + width^2), and
  // their derivatives. With kinks, steps get stuck at them; so the width goes down to 0, each solution the next's start.
  Vector<double> residual(rows), trial_residual(rows);
  Matrix<double> jacobian(rows, columns);
  const auto conditions = [&](const Vector<double>& x, double width, Vector<double>& out, bool derivatives) {
    for (Eigen::Index k = 0; k < rows; ++k) {
      const double e = expectiles[static_cast<std::size_t>(k)], skew = levels[static_cast<std::size_t>(k)] - 0.5;
      out[k] = 0;
      for (Eigen::Index i = 0; i < columns; ++i) {
        const double u = (x[i] - e) / range, size = std::sqrt(u * u + width * width);
        out[k] += share * (skew * size + u / 2);
        if (derivatives) jacobian(k, i) = share * (skew * (size > 0 ? u / size : 0) + 0.5) / range;
      }
    }
  };
  Vector<double> x(columns), trial(columns), gradient(columns);
  for (Eigen::Index i = 0; i < columns; ++i)
    x[i] = (low + high) / 2 + 1.5 * (high - low) * ((static_cast<double>(i) + 0.5) * share - 0.5);
  Imputation result;
  for (double width = 1;; width = width > 1e-6 ? 0.3 * width : 0) {
    conditions(x, width, residual, true);
    const double aim = width > 0 ? (std::max)(0.01 * width, options.tolerance) : options.tolerance;
    for (double damping = 1e-3; result.iterations < options.iterations && residual.cwiseAbs().maxCoeff() > aim;) {
      ++result.iterations;
      Matrix<double> normal = jacobian.transpose() * jacobian;
      gradient.noalias() = jacobian.transpose() * residual;
      normal.diagonal().array() += damping * normal.diagonal().maxCoeff();
      Cholesky<double>(normal, where).solve(view(std::as_const(gradient)), view(trial));
      trial = x - trial;
      conditions(trial, width, trial_residual, false);
      const double before = residual.squaredNorm(), after = trial_residual.squaredNorm();
      if (after < before) {
        x = trial;
        conditions(x, width, residual, true);
        damping = (std::max)(damping / 10, 1e-10);
        if (after > 0.99999 * before) break;  // as near as it gets
      } else if (damping < 1e6) {
        damping *= 10;
      } else {
        break;
      }
    }
    if (width == 0) break;
  }
  result.residual = residual.cwiseAbs().maxCoeff() * range;
  result.converged = result.residual <= options.tolerance * range;
  std::copy(x.data(), x.data() + columns, atoms.begin());
  std::sort(atoms.begin(), atoms.end());
  return result;
}

}  // namespace valence
