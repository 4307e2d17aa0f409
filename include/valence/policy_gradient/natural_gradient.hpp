#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/products.hpp"
#include "valence/policy/concepts.hpp"

/// Natural gradients and trust regions (Kakade 2001; Schulman et al. 2015): steps measured by how far they move the
/// policy, not its parameters. Three layers, each usable alone: a product with the Fisher matrix, a solve and a line
/// search that know only such products, and `trpo_step`, which puts them together for a model and a law.
namespace valence {

/// A law with a closed form of its Fisher matrix: `fisher_product(y, v, w, fv)` does fv += w F(y) v.
template <class P>
concept HasFisher = ActionDistribution<P> && requires(const P law, std::span<const float> y, std::span<float> fy,
                                                      std::span<const double> z, std::span<double> fz) {
  law.fisher_product(y, y, 1.0F, fy);
  law.fisher_product(z, z, 1.0, fz);
};

/// What the functions below take for `masks` where every action is possible. Otherwise it is callable: `masks(j)` is
/// the `ActionMask` of column j, read before the next call, for laws whose members take one (`Softmax`).
struct NoMasks {};

namespace detail {

/// call(mask of column j), or call() where there are no masks.
template <class Masks, class Call>
decltype(auto) masked([[maybe_unused]] const Masks& masks, [[maybe_unused]] Eigen::Index j, Call&& call) {
  if constexpr (std::same_as<Masks, NoMasks>)
    return call();
  else
    return call(masks(j));
}
/// `log_prob_columns` and `pullback_log_prob_columns`, with masks.
template <class Law, class S, class Actions, class Masks>
void log_probs(const Law& law, const Outputs<S>& y, const Actions& actions, std::span<S> out, const Masks& masks) {
  check_batch("log_probs", law.size(), y, actions);
  for (Eigen::Index j = 0; j < y.cols(); ++j)
    out[static_cast<std::size_t>(j)] =
        masked(masks, j, [&](auto... mask) { return law.log_prob(column(y, j), column(actions, j), mask...); });
}
template <class Law, class S, class Actions, class Masks>
void pullback_log_probs(const Law& law, const Outputs<S>& y, const Actions& actions, std::span<const S> w,
                        OutputsGradient<S> dy, const Masks& masks) {
  check_batch("pullback_log_probs", law.size(), y, actions);
  for (Eigen::Index j = 0; j < y.cols(); ++j)
    if (const S wj = w[static_cast<std::size_t>(j)]; wj != 0)
      masked(masks, j,
             [&](auto... mask) { law.log_prob(column(y, j), column(actions, j), wj, column(dy, j), mask...); });
}

}  // namespace detail

/// Scratch of `fisher_vector_product`; keep it to allocate nothing.
template <Scalar S>
struct FisherWorkspace {
  Matrix<S> tangents;
  Vector<S> column;
};

/// out += (1 / n) sum_j J_j' F(y_j) J_j v over the n columns of a batch, where F is the Fisher matrix of the law at the
/// outputs y = forward(theta, x, tape) and J the Jacobian of the outputs: the Fisher matrix of the policy, exactly, by
/// one pushforward and one pullback, without second derivatives. Equals the Hessian of the mean KL(old || new) at new =
/// old. `v`, `out`: an entry a parameter. `masks`: see `NoMasks`. Throws `Error` for sizes that disagree.
template <Linearisable F, HasFisher Law, class Masks = NoMasks>
void fisher_vector_product(const F& model, const Law& law, std::span<const typename F::Scalar> theta,
                           const typename F::Batch& x, typename F::Tape& tape, const Outputs<typename F::Scalar>& y,
                           std::span<const typename F::Scalar> v, std::span<typename F::Scalar> out,
                           FisherWorkspace<typename F::Scalar>& workspace, const Masks& masks = {}) {
  using S = typename F::Scalar;
  if (y.cols() == 0) fail("fisher_vector_product", "y has no columns; expected at least one sample");
  gauss_newton_product(
      model, theta, x, tape, y, v, out,
      [&](const Outputs<S>& outputs, Matrix<S>& u) {
        const S w = S(1) / static_cast<S>(u.cols());
        for (Eigen::Index j = 0; j < u.cols(); ++j) {
          workspace.column.setZero(u.rows());
          const std::span<const S> tangent(u.data() + j * u.rows(), static_cast<std::size_t>(u.rows()));
          detail::masked(masks, j, [&](auto... mask) {
            law.fisher_product(detail::column(outputs, j), tangent, w, view(workspace.column), mask...);
          });
          u.col(j) = workspace.column;
        }
      },
      workspace.tangents);
}

/// How a trust-region step is taken. `max_kl` as in the paper; its damping and line search are those of common codes.
struct TrustRegionOptions {
  double max_kl = 0.01;             ///< > 0: the largest mean KL(old || new), nats
  double damping = 0.1;             ///< >= 0: added to the Fisher matrix's diagonal
  std::size_t cg_iterations = 10;   ///< >= 1: products with it, at most
  double cg_tolerance = 1e-10;      ///< >= 0, of the residual relative to the gradient
  double backtracking = 0.8;        ///< in (0, 1): the step shrinks by this
  std::size_t max_backtracks = 10;  ///< so often at most: 11 steps are tried
};

namespace detail {

inline void check_trust_region(const TrustRegionOptions& o) {
  constexpr auto where = "TrustRegionOptions";
  check_positive(where, "max_kl", o.max_kl);
  check_range(where, "damping", o.damping, 0, (std::numeric_limits<double>::max)());
  check_positive(where, "cg_iterations", o.cg_iterations);
  if (!(o.backtracking > 0 && o.backtracking < 1))
    fail(where, "backtracking is {}; expected a number between 0 and 1", o.backtracking);
}

}  // namespace detail

/// x = (F + damping)^-1 g by conjugate gradients from 0, `fisher(v, out)` writing F v: the natural gradient. Without
/// damping, and where F is singular but g in its range, the solution of least norm. Reads `damping`, `cg_iterations`
/// and `cg_tolerance`; stopping at `cg_iterations` is no error, the result says so. Errors as `conjugate_gradient`.
template <Scalar S, class Fisher>
  requires std::invocable<Fisher&, std::span<const S>, std::span<S>>
ConjugateGradientResult natural_gradient(Fisher&& fisher, std::span<const S> gradient, std::span<S> direction,
                                         const TrustRegionOptions& options, ConjugateGradientWorkspace<S>& workspace) {
  detail::check_trust_region(options);
  check_size("natural_gradient", "direction", direction.size(), gradient.size());
  std::fill(direction.begin(), direction.end(), S(0));
  const S damping = static_cast<S>(options.damping);
  const auto damped = [&](std::span<const S> v, std::span<S> out) {
    fisher(v, out);
    for (std::size_t i = 0; i < v.size(); ++i) out[i] += damping * v[i];
  };
  return conjugate_gradient<S>(damped, gradient, direction,
                               {.tolerance = options.cg_tolerance, .max_iterations = options.cg_iterations}, workspace);
}

/// What a candidate is worth: `gain`, the surrogate there less the surrogate at the start, and `kl`, the mean KL(old ||
/// new).
struct TrustRegionPoint {
  double gain = 0, kl = 0;
};

/// What a trust-region step did.
struct TrustRegionResult {
  bool moved = false;           ///< theta has changed
  bool stationary = false;      ///< the gradient is exactly 0, so there is nowhere to go (pitfall G2); not a failure
  std::size_t backtracks = 0;   ///< how often the step was shrunk
  double scale = 0;             ///< of the natural gradient, in the step that was taken
  TrustRegionPoint point = {};  ///< of the step that was taken
  ConjugateGradientResult solve = {};
};

/// Scratch of `trust_region_step`; keep it to allocate nothing.
template <Scalar S>
struct TrustRegionWorkspace {
  Vector<S> direction, candidate;
  ConjugateGradientWorkspace<S> solve;
};

/// One step uphill (Schulman et al. 2015, appendix C): along the natural gradient x, as long as the quadratic model of
/// the divergence allows, sqrt(2 max_kl / g'x) x, then shrunk until the surrogate has really risen and the divergence
/// really is at most `max_kl`. Theta changes only if such a step is found; a gain or a divergence that is NaN counts as
/// refused.
///
/// `gradient`: of the surrogate at theta, uphill. `fisher(v, out)` writes F v at theta. `evaluate(candidate)` gives a
/// `TrustRegionPoint` for other parameters. Throws `Error` for bad options, sizes that disagree and a gradient that
/// isn't finite; and what the callables throw, theta unchanged.
template <Scalar S, class Fisher, class Evaluate>
  requires std::invocable<Fisher&, std::span<const S>, std::span<S>> &&
           std::convertible_to<std::invoke_result_t<Evaluate&, std::span<const S>>, TrustRegionPoint>
TrustRegionResult trust_region_step(std::span<S> theta, std::span<const S> gradient, Fisher&& fisher,
                                    Evaluate&& evaluate, const TrustRegionOptions& options,
                                    TrustRegionWorkspace<S>& workspace) {
  constexpr auto where = "trust_region_step";
  detail::check_trust_region(options);
  check_size(where, "gradient", gradient.size(), theta.size());
  check_finite(where, "theta", theta);
  check_finite(where, "gradient", gradient);
  TrustRegionResult result;
  result.stationary = std::all_of(gradient.begin(), gradient.end(), [](S g) { return g == S(0); });
  if (result.stationary) return result;
  const auto n = static_cast<Eigen::Index>(theta.size());
  auto& [direction, candidate, solve] = workspace;
  direction.resize(n);
  candidate.resize(n);
  result.solve = natural_gradient<S>(fisher, gradient, view(direction), options, solve);
  // x'(F + damping) x, also where conjugate gradients stopped early: their residual is orthogonal to x.
  const double length = static_cast<double>(Eigen::Map<const Vector<S>>(gradient.data(), n).dot(direction));
  if (!(length > 0)) return result;  // F v = 0 along the gradient, without damping: no step has a known size
  double scale = std::sqrt(2 * options.max_kl / length);
  for (;; scale *= options.backtracking, ++result.backtracks) {
    candidate = Eigen::Map<const Vector<S>>(theta.data(), n) + static_cast<S>(scale) * direction;
    const TrustRegionPoint point = evaluate(view(std::as_const(candidate)));
    if (std::isfinite(point.gain) && point.gain > 0 && point.kl <= options.max_kl) {
      std::copy(candidate.data(), candidate.data() + n, theta.begin());
      result.moved = true, result.scale = scale, result.point = point;
      return result;
    }
    if (result.backtracks == options.max_backtracks) return result;
  }
}

/// Scratch of `trpo_step`; keep it to allocate nothing.
template <Linearisable F>
struct TrpoWorkspace {
  typename F::Tape tape, candidate_tape;
  Matrix<typename F::Scalar> old_outputs, dy;
  Vector<typename F::Scalar> log_prob, old_log_prob, weight, gradient;
  FisherWorkspace<typename F::Scalar> fisher;
  TrustRegionWorkspace<typename F::Scalar> region;
};

/// One step of trust-region policy optimisation (Schulman et al. 2015, equations 14 and 15): raises the mean over the
/// batch of pi_new(a) / pi_old(a) A, where pi_old is the law at `theta` now, with mean KL(old || new) <= max_kl.
/// `actions`: an entry (or a column) a column of x; `advantage`: an entry each, usually whitened; `masks`: see
/// `NoMasks`. Throws `Error`, theta unchanged, for sizes that disagree, advantages that aren't finite, and what model
/// and law refuse.
template <Linearisable F, HasFisher Law, class Actions, class Masks = NoMasks>
  requires HasKl<Law>
TrustRegionResult trpo_step(const F& model, const Law& law, std::span<typename F::Scalar> theta,
                            const typename F::Batch& x, const Actions& actions,
                            std::span<const typename F::Scalar> advantage, const TrustRegionOptions& options,
                            TrpoWorkspace<F>& workspace, const Masks& masks = {}) {
  using S = typename F::Scalar;
  constexpr auto where = "trpo_step";
  auto& w = workspace;
  const Outputs<S> y = model.forward(theta, x, w.tape);
  const Eigen::Index n = y.cols();
  if (n == 0) fail(where, "the batch is empty; expected at least one sample");
  check_size(where, "advantage", advantage.size(), static_cast<std::size_t>(n));
  check_finite(where, "advantage", advantage);
  w.old_outputs = y;
  w.log_prob.resize(n), w.old_log_prob.resize(n), w.weight.resize(n);
  detail::log_probs(law, y, actions, view(w.old_log_prob), masks);
  w.weight = Eigen::Map<const Vector<S>>(advantage.data(), n) / static_cast<S>(n);
  w.dy.setZero(y.rows(), n);
  detail::pullback_log_probs(law, y, actions, view(std::as_const(w.weight)),
                             OutputsGradient<S>(w.dy.data(), y.rows(), n), masks);
  w.gradient.setZero(static_cast<Eigen::Index>(theta.size()));
  model.pullback(theta, x, w.tape, Outputs<S>(w.dy.data(), y.rows(), n), view(w.gradient));

  const auto fisher = [&](std::span<const S> v, std::span<S> out) {
    std::fill(out.begin(), out.end(), S(0));
    fisher_vector_product(model, law, std::span<const S>(theta), x, w.tape, y, v, out, w.fisher, masks);
  };
  const Outputs<S> old(w.old_outputs.data(), y.rows(), n);
  const auto evaluate = [&](std::span<const S> candidate) {
    const Outputs<S> now = model.forward(candidate, x, w.candidate_tape);
    detail::log_probs(law, now, actions, view(w.log_prob), masks);
    TrustRegionPoint point;
    for (Eigen::Index j = 0; j < n; ++j) {  // the ratio less 1: a small gain isn't lost to rounding
      if (const S a = advantage[static_cast<std::size_t>(j)]; a != S(0))
        point.gain += static_cast<double>(a) *
                      elementary::expm1(static_cast<double>(w.log_prob[j]) - static_cast<double>(w.old_log_prob[j]));
      point.kl += static_cast<double>(detail::masked(
          masks, j, [&](auto... mask) { return law.kl(detail::column(old, j), detail::column(now, j), mask...); }));
    }
    return TrustRegionPoint{point.gain / static_cast<double>(n), point.kl / static_cast<double>(n)};
  };
  return trust_region_step<S>(theta, view(std::as_const(w.gradient)), fisher, evaluate, options, w.region);
}
template <Linearisable F, HasFisher Law, class Actions>
  requires HasKl<Law>
TrustRegionResult trpo_step(const F& model, const Law& law, std::span<typename F::Scalar> theta,
                            const typename F::Batch& x, const Actions& actions,
                            std::span<const typename F::Scalar> advantage, const TrustRegionOptions& options = {}) {
  TrpoWorkspace<F> workspace;
  return trpo_step(model, law, theta, x, actions, advantage, options, workspace);
}

/// out_i = pi_i exp(step_size q_i) / sum: the natural gradient of a table of softmax logits, in closed form, which is
/// mirror descent with the KL divergence (Kakade 2001; Agarwal et al. 2021, lemma 15). `pi`: probabilities; `q`:
/// action values or advantages (a constant in them changes nothing), not read where pi_i is 0; step_size >= 0. Large
/// values do no harm. `out` may be pi or q. Throws `Error` before anything is changed.
template <Scalar S>
void mirror_step(std::span<const S> pi, std::span<const std::type_identity_t<S>> q, double step_size,
                 std::span<std::type_identity_t<S>> out) {
  constexpr auto where = "mirror_step";
  check_probabilities(where, "pi", pi);
  check_size(where, "q", q.size(), pi.size());
  check_size(where, "out", out.size(), pi.size());
  check_range(where, "step_size", step_size, 0, (std::numeric_limits<double>::max)());
  const S eta = static_cast<S>(step_size);
  S top = -std::numeric_limits<S>::infinity();
  for (std::size_t i = 0; i < pi.size(); ++i) {
    if (pi[i] == S(0)) continue;
    if (!std::isfinite(eta * q[i]))
      fail(where, "q[{}] is {}, times step_size {}; expected a finite number", i, q[i], eta);
    top = (std::max)(top, eta * q[i]);
  }
  S sum = 0;
  for (std::size_t i = 0; i < pi.size(); ++i) {
    out[i] = pi[i] == S(0) ? S(0) : pi[i] * elementary::exp(eta * q[i] - top);
    sum += out[i];
  }
  for (std::size_t i = 0; i < pi.size(); ++i) out[i] /= sum;
}

}  // namespace valence
