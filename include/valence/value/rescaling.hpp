#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// A scale on which large values move little, so that one network can learn returns of any size without clipping
/// rewards (Pohlen et al. 2018, "Observe and Look Further", proposition A.2):
///
///     h(x)    = sign(x) (sqrt(|x| + 1) - 1) + epsilon x
///     h^-1(y) = sign(y) (((sqrt(1 + 4 epsilon (|y| + 1 + epsilon)) - 1) / (2 epsilon))^2 - 1)
///
/// h is odd, strictly increasing, with slope 1/2 + epsilon at 0 and a Lipschitz inverse. Targets of Q-learning become
/// h(r + discount h^-1(Q(s', a'))): see `RescaledValue`. Near 0 both are computed without cancellation.
struct ValueRescaling {
  double epsilon = 1e-3;  ///< > 0; the paper's is 1e-2, R2D2's (Kapturowski et al. 2019) and MuZero's 1e-3

  /// h(x).
  template <Scalar S>
  S operator()(S x) const {
    check();
    const double size = std::abs(static_cast<double>(x));
    // sqrt(1 + x) - 1 = x / (sqrt(1 + x) + 1)
    return static_cast<S>(std::copysign(size / (std::sqrt(size + 1) + 1) + epsilon * size, static_cast<double>(x)));
  }
  /// h^-1(y).
  template <Scalar S>
  S inverse(S y) const {
    check();
    const double size = std::abs(static_cast<double>(y));
    // With t = sqrt(|x| + 1) >= 1, |y| = t - 1 + epsilon (t^2 - 1): the root u = t - 1 of epsilon u^2 + (1 + 2 epsilon)
    // u = |y|, and |x| = u (u + 2).
    const double b = 1 + 2 * epsilon, u = 2 * size / (b + std::sqrt(b * b + 4 * epsilon * size));
    return static_cast<S>(std::copysign(u * (u + 2), static_cast<double>(y)));
  }

 private:
  void check() const { check_range("ValueRescaling", "epsilon", epsilon, (std::numeric_limits<double>::min)(), 1e6); }
};

}  // namespace valence
