#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

/// Perturbations of a model's inputs that raise some quantity of its outputs as far as a small ball allows. They know
/// the quantity's gradient with respect to the inputs and nothing else, so any `InputDifferentiable` model will do.
namespace valence {

/// Which perturbations are small: those with max_i |d_i| <= radius, or those with |d|_2 <= radius.
enum class Ball { infinity, euclidean };

/// `radius` of the ball, in units of the inputs, >= 0 (0: nothing is perturbed). `steps` >= 0 of length `step_size`;
/// 0 stands for the radius. `random_start`: from a point that is uniform in the ball, else from its centre, where a
/// quantity that is least at the unperturbed input has no gradient. One step from the centre is the fast gradient sign
/// method; steps of twice the radius reach the maximum of a linear function from any start in the infinity ball.
struct AdversarialOptions {
  double radius = 0.1;
  Ball ball = Ball::infinity;
  int steps = 1;
  double step_size = 0;
  bool random_start = true;
};

/// The closest point of the ball: entries cut to [-radius, radius], or the vector shortened to that norm. What lies in
/// the ball stays as it is, to the bit. `radius` >= 0, finite.
template <Scalar S>
void project_to_ball(std::span<S> d, Ball ball, double radius) {
  constexpr auto where = "project_to_ball";
  check_range(where, "radius", radius, 0, (std::numeric_limits<double>::max)());
  check_finite(where, "d", std::span<const S>(d));
  if (ball == Ball::infinity) {
    const S bound = static_cast<S>(radius);
    for (S& x : d) x = std::clamp(x, -bound, bound);
    return;
  }
  double square = 0;
  for (const S x : d) square += static_cast<double>(x) * static_cast<double>(x);
  if (const double norm = std::sqrt(square); norm > radius)
    for (S& x : d) x = static_cast<S>(static_cast<double>(x) * (radius / norm));
}

/// d += the step of length `step_size` that raises a quantity with this gradient most: step_size * sign(gradient) in
/// the infinity ball (Goodfellow, Shlens and Szegedy 2015, section 4), step_size * gradient / |gradient| in the
/// Euclidean one. A zero gradient moves nothing. Throws `Error` for sizes that differ and a gradient that isn't finite.
template <Scalar S>
void ascend_in_ball(std::span<const std::type_identity_t<S>> gradient, std::span<S> d, Ball ball, double step_size) {
  constexpr auto where = "ascend_in_ball";
  check_size(where, "gradient", gradient.size(), d.size());
  check_finite(where, "gradient", gradient);
  check_finite(where, "step_size", step_size);
  if (ball == Ball::infinity) {
    const S step = static_cast<S>(step_size);
    for (std::size_t i = 0; i < d.size(); ++i) d[i] += gradient[i] > 0 ? step : gradient[i] < 0 ? -step : S(0);
    return;
  }
  double most = 0, square = 0;  // scaled, so that the squares of a tiny gradient don't vanish
  for (const S g : gradient) most = (std::max)(most, std::abs(static_cast<double>(g)));
  if (most == 0) return;
  for (const S g : gradient) square += (static_cast<double>(g) / most) * (static_cast<double>(g) / most);
  const double scale = step_size / std::sqrt(square);
  for (std::size_t i = 0; i < d.size(); ++i) d[i] += static_cast<S>(static_cast<double>(gradient[i]) / most * scale);
}

/// Fills `d` with a point that is uniform in the ball. `radius` >= 0, finite. At least one output of the generator an
/// entry.
template <Scalar S>
void fill_from_ball(std::span<S> d, Ball ball, double radius, Rng& rng) {
  check_range("fill_from_ball", "radius", radius, 0, (std::numeric_limits<double>::max)());
  if (ball == Ball::infinity) {
    for (S& x : d) x = static_cast<S>(radius * (2 * rng.uniform() - 1));
    return;
  }
  double square = 0;
  for (S& x : d) {
    const double z = rng.normal();
    x = static_cast<S>(z), square += z * z;
  }
  if (square == 0) return;
  const double scale = radius * std::pow(rng.uniform(), 1 / static_cast<double>(d.size())) / std::sqrt(square);
  for (S& x : d) x = static_cast<S>(static_cast<double>(x) * scale);
}

/// Scratch of `adversarial_perturb`; keep it to allocate nothing.
template <Scalar S>
struct AdversarialWorkspace {
  Matrix<S> perturbed = {};     ///< the result
  Matrix<S> perturbation = {};  ///< perturbed - x before rounding: columns in the ball
  Matrix<S> gradient = {};
};

/// x + d with d in the ball, each column by itself, moved by `steps` projected steps up the gradient (projected gradient
/// ascent: Madry et al. 2018, equation 4). `x`: inputs x batch, finite. `gradient(perturbed, out)` writes the gradient
/// of the quantity with respect to the inputs at `perturbed` into `out`; both are matrices of x's shape. For a model it
/// is a forward and a `pullback_input`:
///
///     adversarial_perturb(x, [&](const Matrix<float>& at, Matrix<float>& out) {
///       net.forward(theta, at, tape);
///       net.pullback_input(theta, at, tape, dy, out);
///     }, {.radius = 0.1}, rng, workspace);
///
/// Returns `workspace.perturbed`. Draws from `rng` only for a random start. Throws `Error` for options out of range,
/// and for inputs or gradients that aren't finite or of another shape.
template <Scalar S, class Gradient>
  requires std::invocable<Gradient&, const Matrix<S>&, Matrix<S>&>
const Matrix<S>& adversarial_perturb(const Matrix<S>& x, Gradient&& gradient, const AdversarialOptions& options,
                                     Rng& rng, AdversarialWorkspace<S>& workspace) {
  constexpr auto where = "adversarial_perturb";
  constexpr double largest = (std::numeric_limits<double>::max)();
  check_range(where, "radius", options.radius, 0, largest);
  check_range(where, "step_size", options.step_size, 0, largest);
  check_range(where, "steps", options.steps, 0, (std::numeric_limits<int>::max)());
  check_finite(where, "x", view(x));
  const double step_size = options.step_size > 0 ? options.step_size : options.radius;
  auto& [perturbed, d, g] = workspace;
  d.resize(x.rows(), x.cols());
  const auto column = [&](Matrix<S>& m, Eigen::Index j) {
    return std::span<S>(m.data() + j * m.rows(), static_cast<std::size_t>(m.rows()));
  };
  d.setZero();
  if (options.random_start)
    for (Eigen::Index j = 0; j < x.cols(); ++j) fill_from_ball(column(d, j), options.ball, options.radius, rng);
  perturbed = x + d;
  for (int k = 0; k < options.steps && options.radius > 0; ++k) {
    g.resize(x.rows(), x.cols());
    gradient(static_cast<const Matrix<S>&>(perturbed), g);
    check_shape(where, "the gradient", g.rows(), g.cols(), x.rows(), x.cols());
    for (Eigen::Index j = 0; j < x.cols(); ++j) {
      ascend_in_ball<S>(column(g, j), column(d, j), options.ball, step_size);
      project_to_ball(column(d, j), options.ball, options.radius);
    }
    perturbed = x + d;
  }
  return perturbed;
}
/// The same where allocating doesn't matter.
template <Scalar S, class Gradient>
  requires std::invocable<Gradient&, const Matrix<S>&, Matrix<S>&>
Matrix<S> adversarial_perturb(const Matrix<S>& x, Gradient&& gradient, const AdversarialOptions& options, Rng& rng) {
  AdversarialWorkspace<S> workspace;
  return adversarial_perturb(x, gradient, options, rng, workspace);
}

}  // namespace valence
