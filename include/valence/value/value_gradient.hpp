#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/spectral.hpp"
#include "valence/value/one_step.hpp"

namespace valence {

/// Scratch of `value_gradient`; keep it to allocate nothing.
template <InputDifferentiable F>
struct ValueGradientWorkspace {
  typename F::Tape tape = {};
  Matrix<typename F::Scalar> dy = {};
};

/// dV/dx of each sample, V being a critic's only output, or the largest one of a network of action values (the first of
/// equal ones): the pullback of that output to the input. `x`: inputs x batch; `gradient` becomes the same shape. Throws
/// `Error` for outputs that aren't finite.
template <InputDifferentiable F>
void value_gradient(const F& f, std::span<const std::type_identity_t<typename F::Scalar>> theta,
                    const Matrix<typename F::Scalar>& x, Matrix<typename F::Scalar>& gradient,
                    ValueGradientWorkspace<F>& workspace) {
  using S = typename F::Scalar;
  const Outputs<S> y = f.forward(theta, x, workspace.tape);
  workspace.dy.setZero(y.rows(), y.cols());
  for (Eigen::Index j = 0; j < y.cols(); ++j) {
    const std::span<const S> outputs(y.data() + j * y.rows(), static_cast<std::size_t>(y.rows()));
    workspace.dy(static_cast<Eigen::Index>(greedy_action(outputs)), j) = S(1);
  }
  f.pullback_input(theta, x, workspace.tape, detail::outputs_of(workspace.dy), gradient);
}
template <InputDifferentiable F>
Matrix<typename F::Scalar> value_gradient(const F& f, std::span<const std::type_identity_t<typename F::Scalar>> theta,
                                          const Matrix<typename F::Scalar>& x) {
  ValueGradientWorkspace<F> workspace;
  Matrix<typename F::Scalar> gradient;
  value_gradient(f, theta, x, gradient, workspace);
  return gradient;
}

/// How fast a value changes with the state. The true Lipschitz constant lies between the largest of `gradient_norms`
/// and `bound`.
struct LipschitzEstimate {
  double bound = 0;                         ///< `lipschitz_bound` of the network
  std::vector<double> gradient_norms = {};  ///< |dV/dx| of each sample, Euclidean

  /// The largest of them, a bound from below.
  double largest() const { return *std::max_element(gradient_norms.begin(), gradient_norms.end()); }
};

/// The estimate at samples `x`, inputs x samples, for the V of `value_gradient`. It bounds the error that a learned model
/// puts into a backup: |E_P^ V - E_P V| <= Lip(V) W1(P^, P) (Kantorovich and Rubinstein; Asadi, Misra and Littman 2018,
/// theorem 2). Throws `Error` without samples and as `lipschitz_bound` does.
template <InputDifferentiable F>
LipschitzEstimate lipschitz_estimate(const F& f, std::span<const std::type_identity_t<typename F::Scalar>> theta,
                                     const Matrix<typename F::Scalar>& x) {
  if (x.cols() == 0) fail("lipschitz_estimate", "x has no columns; expected at least one sample");
  LipschitzEstimate estimate{.bound = lipschitz_bound(f, theta)};
  const auto gradient = value_gradient(f, theta, x);
  for (Eigen::Index j = 0; j < x.cols(); ++j)
    estimate.gradient_norms.push_back(static_cast<double>(gradient.col(j).norm()));
  return estimate;
}

}  // namespace valence
