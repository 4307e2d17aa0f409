#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "valence/core/dual.hpp"
#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"

/// Products with second-order matrices of a model, which are never formed. For natural gradients, trust regions,
/// influence functions.
namespace valence {

/// out += J' H J v: the Gauss-Newton product (Schraudolph 2002) of the loss whose Hessian in the outputs is H. After a
/// forward of `x` in `tape`. `curvature(y, u)` multiplies u (outputs x batch, in place) by H at the outputs y; for the
/// Fisher matrix of a policy it is the Fisher matrix of the action's law. Without `curvature` H is the identity: J' J
/// v.
template <Linearisable F, class Curvature>
void gauss_newton_product(const F& f, std::span<const typename F::Scalar> theta, const typename F::Batch& x,
                          typename F::Tape& tape, const Outputs<typename F::Scalar>& y,
                          std::span<const typename F::Scalar> v, std::span<typename F::Scalar> out,
                          Curvature&& curvature, Matrix<typename F::Scalar>& workspace) {
  check_size("gauss_newton_product", "v", v.size(), f.parameter_count());
  check_size("gauss_newton_product", "out", out.size(), f.parameter_count());
  workspace = f.pushforward(theta, x, tape, v);
  curvature(y, workspace);
  f.pullback(theta, x, tape, Outputs<typename F::Scalar>(workspace.data(), workspace.rows(), workspace.cols()), out);
}
template <Linearisable F>
void gauss_newton_product(const F& f, std::span<const typename F::Scalar> theta, const typename F::Batch& x,
                          typename F::Tape& tape, std::span<const typename F::Scalar> v,
                          std::span<typename F::Scalar> out, Matrix<typename F::Scalar>& workspace) {
  gauss_newton_product(
      f, theta, x, tape, Outputs<typename F::Scalar>(nullptr, 0, 0), v, out, [](const auto&, auto&) {}, workspace);
}

/// What an exact Hessian product needs; keep it to reuse its memory.
template <class F>
struct HessianWorkspace {
  using Number = Dual<typename F::Scalar>;
  using Over = std::remove_cvref_t<decltype(std::declval<const F&>().template rebind<Number>())>;
  Vector<Number> theta, gradient;
  Matrix<Number> x, dy;
  typename Over::Tape tape;
};

/// out += H v, exactly (no differences; Pearlmutter 1994), where H is the Hessian in theta of L(f(theta, x)).
/// `loss_gradient(y, dy)` writes dL/dy (outputs x batch) from the outputs y; it is called with matrices of `Dual<S>`,
/// so write it as a generic lambda:
///
///     hessian_vector_product(net, theta, x, v, out, [&](const auto& y, auto& dy) { dy = y; });      // L = |y|^2 / 2
///
/// The gradient is computed on duals theta + v e: its tangent is H v. Scalar arithmetic, several times slower than a
/// pullback. The second derivative of relu is 0.
template <Approximator F, class LossGradient>
void hessian_vector_product(const F& f, std::span<const typename F::Scalar> theta, const typename F::Batch& x,
                            std::span<const typename F::Scalar> v, std::span<typename F::Scalar> out,
                            LossGradient&& loss_gradient, HessianWorkspace<F>& workspace) {
  using Number = typename HessianWorkspace<F>::Number;
  check_size("hessian_vector_product", "theta", theta.size(), f.parameter_count());
  check_size("hessian_vector_product", "v", v.size(), f.parameter_count());
  check_size("hessian_vector_product", "out", out.size(), f.parameter_count());
  auto& [t, g, xd, dy, tape] = workspace;
  const auto over = f.template rebind<Number>();
  t.resize(static_cast<Eigen::Index>(theta.size()));
  for (std::size_t i = 0; i < theta.size(); ++i) t[static_cast<Eigen::Index>(i)] = Number(theta[i], v[i]);
  g.resize(t.size());
  for (Eigen::Index i = 0; i < g.size(); ++i) g[i] = Number();
  xd.resize(x.rows(), x.cols());
  for (Eigen::Index i = 0; i < x.size(); ++i) xd.data()[i] = Number(x.data()[i]);
  const auto y = over.forward(view(std::as_const(t)), xd, tape);
  dy.resize(y.rows(), y.cols());
  loss_gradient(y, dy);
  check_shape("hessian_vector_product", "dy", dy.rows(), dy.cols(), y.rows(), y.cols());
  over.pullback(view(std::as_const(t)), xd, tape, Outputs<Number>(dy.data(), dy.rows(), dy.cols()), view(g));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] += g[static_cast<Eigen::Index>(i)].tangent;
}
template <Approximator F, class LossGradient>
void hessian_vector_product(const F& f, std::span<const typename F::Scalar> theta, const typename F::Batch& x,
                            std::span<const typename F::Scalar> v, std::span<typename F::Scalar> out,
                            LossGradient&& loss_gradient) {
  HessianWorkspace<F> workspace;
  hessian_vector_product(f, theta, x, v, out, loss_gradient, workspace);
}

}  // namespace valence
