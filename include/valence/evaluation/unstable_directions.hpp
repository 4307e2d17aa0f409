#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/statistics.hpp"
#include "valence/core/symmetric_eigen.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/input_gradient.hpp"
#include "valence/value/action_robustness.hpp"

/// Where a trained policy's decisions are fragile: the input directions that its greedy actions are most sensitive to,
/// what they have in common over many states, and how they move in time (Korkmaz 2024, "Understanding and Diagnosing
/// Deep Reinforcement Learning", arXiv:2406.16979). For any model of action values that is `InputDifferentiable`.
///
///     const auto clean = unstable_directions(q, theta, states), other = unstable_directions(q, robust_theta, states);
///     fmt::print("{:.3f}\n", feature_correlation_quotient(other, clean));   // 1: the same direction; 0: orthogonal
///     fmt::print("{:.3f}\n", direction_series(q, theta, episode).norm_deviation());
namespace valence {

struct DirectionOptions {
  double temperature = 1;  ///< T > 0 of the softmax over action values
  bool normalise = false;  ///< each state's direction at length 1, so that states near a boundary don't weigh more
};

/// v(s), an input an entry, of each state: the gradient of `GreedyCrossEntropy` with respect to the state. Inputs x
/// states. A direction that is exactly 0 (a policy that is certain to the last bit) stays 0. `states`: inputs x states,
/// one a column, at least one, finite. Throws `Error` for these, for action values that aren't finite, fewer than two
/// actions and a temperature that isn't positive.
template <InputDifferentiable F>
Matrix<double> direction_per_state(const F& q, std::span<const typename F::Scalar> theta,
                                   const typename F::Batch& states, const DirectionOptions& options = {}) {
  constexpr auto where = "direction_per_state";
  if (states.cols() == 0) fail(where, "states is empty; expected at least one state");
  check_finite(where, "states", view(states));
  InputGradientWorkspace<F> workspace;
  typename F::Batch gradients;
  input_gradients(q, theta, states, GreedyCrossEntropy{options.temperature}, workspace, gradients);
  Matrix<double> directions = gradients.template cast<double>();
  if (options.normalise)
    for (Eigen::Index j = 0; j < directions.cols(); ++j) directions.col(j).stableNormalize();
  return directions;
}

/// The directions of a set of states and what they have in common: L(S) = sum_s v(s) v(s)', its largest eigenvalue and
/// that one's eigenvector G, the principal unstable direction. Of raw gradients states near a decision boundary weigh
/// more, of normalised ones all the same; that raw ones are the default is a choice of ours.
class UnstableDirections {
 public:
  /// `per_state`: inputs x states, finite, at least one state. Throws `Error` for these, and where all directions are 0
  /// (or too short to square): the policy is saturated at every state, and a higher temperature would tell more.
  explicit UnstableDirections(Matrix<double> per_state) : per_state_(std::move(per_state)) {
    constexpr auto where = "UnstableDirections";
    const Matrix<double>& v = per_state_;
    if (v.size() == 0) fail(where, "there are no directions; expected at least one state and one input");
    check_finite(where, "per_state", view(v));
    // Of V V' and V' V the smaller: their largest eigenvalues are the same, and V takes the second's eigenvector to
    // the first's.
    const bool wide = v.rows() <= v.cols();
    const SymmetricEigen<double> eigen =
        symmetric_eigen(wide ? Matrix<double>(v * v.transpose()) : Matrix<double>(v.transpose() * v), where);
    const Eigen::Index last = eigen.values.size() - 1;
    eigenvalue_ = eigen.values[last];
    if (!(eigenvalue_ > 0))
      fail(where, "all {} directions are 0: the policy is saturated; expected a higher temperature or other states",
           v.cols());
    direction_ = eigen.vectors.col(last);
    if (!wide) direction_ = (v * direction_).normalized();
    Eigen::Index top = 0;
    direction_.cwiseAbs().maxCoeff(&top);
    if (direction_[top] < 0) direction_ = -direction_;
  }

  /// v(s), a column a state.
  const Matrix<double>& per_state() const { return per_state_; }
  /// G: an entry an input, length 1, its largest entry positive.
  const Vector<double>& direction() const { return direction_; }
  /// lambda_max(L) = sum_s (G' v(s))^2.
  double eigenvalue() const { return eigenvalue_; }
  /// L, inputs x inputs.
  Matrix<double> matrix() const { return per_state_ * per_state_.transpose(); }
  /// u' L u = sum_s (u' v(s))^2. `u`: an entry an input.
  double along(const Vector<double>& u) const {
    check_size("UnstableDirections::along", "u", static_cast<std::size_t>(u.size()),
               static_cast<std::size_t>(direction_.size()));
    return (per_state_.transpose() * u).squaredNorm();
  }

 private:
  Matrix<double> per_state_;
  Vector<double> direction_;
  double eigenvalue_ = 0;
};

/// `direction_per_state` and what these have in common; same arguments and errors.
template <InputDifferentiable F>
UnstableDirections unstable_directions(const F& q, std::span<const typename F::Scalar> theta,
                                       const typename F::Batch& states, const DirectionOptions& options = {}) {
  return UnstableDirections(direction_per_state(q, theta, states, options));
}

/// G' L G / lambda_max(L), G the principal direction of `of` and L the matrix of `on`: in [0, 1], 1 where G is a top
/// eigenvector of L, 0 where it is orthogonal to all of its directions. Not symmetric. The form is a choice of ours: it
/// has the properties that the paper's quotient is said to have. The two may have different numbers of states; throws
/// `Error` for different numbers of inputs.
inline double feature_correlation_quotient(const UnstableDirections& of, const UnstableDirections& on) {
  check_size("feature_correlation_quotient", "the direction", static_cast<std::size_t>(of.direction().size()),
             static_cast<std::size_t>(on.direction().size()));
  return (std::min)(on.along(of.direction()) / on.eigenvalue(), 1.0);
}

/// How directions move along the states of an episode.
struct DirectionSeries {
  std::vector<double> norms;    ///< |v(s_t)|, one a state
  std::vector<double> turning;  ///< 1 - cos(v(s_t), v(s_{t+1})) in [0, 2], one fewer; 1 next to a direction that is 0

  double norm_mean() const { return mean(norms); }
  /// Standard deviation over time, of the sample: how much sensitivity oscillates.
  double norm_deviation() const { return standard_deviation(norms); }
  /// The same relative to the mean; throws `Error` where all norms are 0.
  double norm_variation() const {
    const double scale = norm_mean();
    check_positive("DirectionSeries", "the mean norm", scale);
    return norm_deviation() / scale;
  }
  /// mean | |v(s_{t+1})| - |v(s_t)| |.
  double norm_step() const {
    double sum = 0;
    for (std::size_t t = 1; t < norms.size(); ++t) sum += std::abs(norms[t] - norms[t - 1]);
    return sum / static_cast<double>(norms.size() - 1);
  }
  double turning_mean() const { return mean(turning); }
};

/// `per_state`: inputs x states in the order of time, at least two, finite (else Error).
inline DirectionSeries direction_series(const Matrix<double>& per_state) {
  constexpr auto where = "direction_series";
  if (per_state.cols() < 2) fail(where, "there are {} states; expected at least 2", per_state.cols());
  check_finite(where, "per_state", view(per_state));
  DirectionSeries series;
  for (Eigen::Index t = 0; t < per_state.cols(); ++t) series.norms.push_back(per_state.col(t).stableNorm());
  for (Eigen::Index t = 0; t + 1 < per_state.cols(); ++t)
    series.turning.push_back(
        std::clamp(1 - per_state.col(t).stableNormalized().dot(per_state.col(t + 1).stableNormalized()), 0.0, 2.0));
  return series;
}

/// The same of a model's directions at `states`; `options.normalise` would make every norm 1.
template <InputDifferentiable F>
DirectionSeries direction_series(const F& q, std::span<const typename F::Scalar> theta, const typename F::Batch& states,
                                 const DirectionOptions& options = {}) {
  return direction_series(direction_per_state(q, theta, states, options));
}

}  // namespace valence
