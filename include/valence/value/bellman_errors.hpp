#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"

namespace valence {

/// Errors of a linear value, weighted by states (Sutton & Barto 2018, section 11.4).
struct BellmanErrors {
  double bellman = 0;    ///< mean square Bellman error: sum_s d(s) delta(s)^2 (11.19)
  double projected = 0;  ///< mean square projected Bellman error: the same of the projection of delta on the features
  bool converged =
      false;  ///< the projection was found to 1e-10; features that nearly depend on each other may prevent it
};

/// `discount` in [0, 1].
struct BellmanErrorOptions {
  double discount = 0.99;
};

/// The errors of v(s) = theta' phi(s) in a model that is known, for diagnosis and tests. `policy`: actions x states,
/// column s is pi(. | s), not read in terminal states; `features`: k x states, column s is phi(s), read as 0 in
/// terminal states; `weights`: d, a probability a state. The features may depend on each other: the projection exists
/// all the same. Throws `Error` for shapes that differ and numbers that are out of range or not finite.
template <FiniteModel M>
BellmanErrors bellman_errors(const M& model, const Matrix<double>& policy, const Matrix<double>& features,
                             std::span<const double> weights, std::span<const double> theta,
                             const BellmanErrorOptions& options = {}) {
  constexpr auto where = "bellman_errors";
  const std::ptrdiff_t states = model.states();
  check_range(where, "discount", options.discount, 0, 1);
  check_shape(where, "policy", policy.rows(), policy.cols(), model.actions(), states);
  check_shape(where, "features", features.rows(), features.cols(), features.rows(), states);
  check_size(where, "weights", weights.size(), static_cast<std::size_t>(states));
  check_probabilities(where, "weights", weights);
  check_size(where, "theta", theta.size(), static_cast<std::size_t>(features.rows()));

  const Eigen::Map<const Vector<double>> weight(theta.data(), features.rows());
  Vector<double> value = Vector<double>::Zero(states), delta = value;
  for (int s = 0; s < model.states(); ++s)
    if (!model.terminal(s)) value[s] = weight.dot(features.col(s));
  BellmanErrors result;
  Vector<double> gradient = Vector<double>::Zero(features.rows());  // E[delta phi]
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) continue;
    check_probabilities(where, "a state's policy",
                        std::span<const double>(policy.col(s).data(), static_cast<std::size_t>(policy.rows())));
    for (int a = 0; a < model.actions(); ++a) {
      if (policy(a, s) == 0) continue;
      if (!model.available(s, a)) fail(where, "the policy takes action {} in state {}, where it isn't available", a, s);
      double q = static_cast<double>(model.reward(s, a));
      for (const auto& to : model.successors(s, a))
        q += options.discount * static_cast<double>(to.probability) * value[to.next];
      delta[s] += policy(a, s) * (q - value[s]);
    }
    check_finite(where, "the Bellman error of a state", delta[s]);
    const double d = weights[static_cast<std::size_t>(s)];
    result.bellman += d * delta[s] * delta[s];
    gradient += d * delta[s] * features.col(s);
  }
  // |projection of delta|^2 = g' C^+ g with C = E[phi phi'], g = E[delta phi], which lies in the range of C.
  Vector<double> x = Vector<double>::Zero(features.rows());
  result.converged = conjugate_gradient(
                         [&](std::span<const double> v, std::span<double> out) {
                           const Eigen::Map<const Vector<double>> in(v.data(), features.rows());
                           Eigen::Map<Vector<double>> product(out.data(), features.rows());
                           product.setZero();
                           for (int s = 0; s < model.states(); ++s)
                             if (!model.terminal(s))
                               product +=
                                   weights[static_cast<std::size_t>(s)] * features.col(s).dot(in) * features.col(s);
                         },
                         view(std::as_const(gradient)), view(x), {.tolerance = 1e-10})
                         .converged;
  result.projected = (std::max)(0.0, gradient.dot(x));
  return result;
}

}  // namespace valence
