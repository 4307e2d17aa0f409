#pragma once

#include "valence/core/types.hpp"
#include "valence/env/linear_quadratic.hpp"

namespace valence {

/// The linear-quadratic problem in one dimension that learners from a log are compared on: x' = x + 0.1 u, reward -(x^2 +
/// 0.1 u^2). Usual discount: 0.95, for which u = -K x is best with K = 2.489903735835068 and V(x) = -3.489903735835068
/// x^2. Q is quadratic in (x, u), so with quadratic features an algorithm's error is its own and not the model's. Logs
/// are of u = -k x + noise with k = 0.3, 1 and 2.49.
inline LinearQuadratic lq_point_mass(const LinearQuadraticOptions& options = {}) {
  const auto number = [](double x) { return Matrix<double>::Constant(1, 1, x); };
  return {number(1), number(0.1), number(1), number(0.1), options};
}

}  // namespace valence
