#pragma once

#include <cstddef>
#include <span>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"

namespace valence {

/// Scratch of `input_gradients`; keep it to allocate nothing.
template <InputDifferentiable F>
struct InputGradientWorkspace {
  typename F::Tape tape = {};
  Matrix<typename F::Scalar> dy = {};  ///< outputs x batch: the loss's gradient with respect to the outputs
};

/// dx.col(j) = the gradient, with respect to the input x.col(j), of a loss of the model's outputs there: the direction
/// in which the input would have to move to raise the loss most. `loss(y, weight, dy)` adds weight times its gradient to
/// dy; y, dy: an entry an output. `dx`: inputs x batch, overwritten, and resized if need be; not x itself. Returns the
/// outputs at x, outputs x batch: `workspace.tape` holds that forward, so a pullback may follow. Throws what the model
/// and the loss throw, before dx is changed.
///
///     const auto q = input_gradients(net, theta, x, GreedyCrossEntropy{}, workspace, dx);
template <InputDifferentiable F, class Loss>
  requires requires(const Loss loss, std::span<const typename F::Scalar> y, std::span<typename F::Scalar> dy) {
    loss(y, typename F::Scalar(1), dy);
  }
Outputs<typename F::Scalar> input_gradients(const F& model, std::span<const typename F::Scalar> theta,
                                            const typename F::Batch& x, const Loss& loss,
                                            InputGradientWorkspace<F>& workspace, typename F::Batch& dx) {
  using S = typename F::Scalar;
  const Outputs<S> y = model.forward(theta, x, workspace.tape);
  Matrix<S>& dy = workspace.dy;
  dy.resize(y.rows(), y.cols());
  dy.setZero();
  const auto outputs = static_cast<std::size_t>(y.rows());
  for (Eigen::Index j = 0; j < y.cols(); ++j)
    loss(std::span<const S>(y.data() + j * y.rows(), outputs), S(1), std::span<S>(dy.data() + j * dy.rows(), outputs));
  model.pullback_input(theta, x, workspace.tape, Outputs<S>(dy.data(), dy.rows(), dy.cols()), dx);
  return y;
}

}  // namespace valence
