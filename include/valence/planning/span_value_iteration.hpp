#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string_view>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// What `span_value_iteration` found. Keep it: the next run starts from its `bias` and allocates nothing.
struct SpanSolution {
  double gain = 0;             ///< the smallest entry of max_a (r + W bias) - bias, reached where nothing is clipped
  Vector<double> bias = {};    ///< an entry a state: the smallest is 0, none is above the span
  Matrix<double> values = {};  ///< actions x states: r + W bias - gain
  std::size_t iterations = 0;  ///< sweeps
  double change = 0;           ///< the largest of the last sweep, divided by the step size
  bool converged = false;      ///< `change` is at most the tolerance; false where the limit ended it
};

/// `span` > 0 is the largest difference between two entries of the bias, infinity for none; the rest as for
/// `RelativeValueIterationOptions`.
struct SpanValueIterationOptions {
  double span = std::numeric_limits<double>::infinity();
  double tolerance = 1e-6, step_size = 0.5;
  std::size_t max_iterations = 4000;
};

/// Relative value iteration with a bounded span (Bartlett & Tewari 2009; Fruit, Pirotta, Lazaric & Ortner 2018):
///
///     bias <- (1 - step_size) bias + step_size max_a (r + W bias),    less its minimum,    min(bias, span).
///
/// For models that are learned and full: `reward` is actions x states, column s * actions + a of `weights` (states x
/// (states * actions)) is what follows (s, a), as in `DenseMdp`. It need not be a distribution, since a regression's
/// isn't; then, and where the best gain differs between states, the sweeps may not settle, and `converged` is false.
/// Where the bound doesn't bind, the gain is the model's best one. Starts from `solution.bias` where that has an entry
/// a state and is finite, else from 0. Throws `Error` for options out of range, other shapes, rewards that aren't
/// finite, and where a value overflows.
inline void span_value_iteration(const Matrix<double>& reward, const Matrix<double>& weights, SpanSolution& solution,
                                 const SpanValueIterationOptions& options = {}) {
  constexpr auto where = "span_value_iteration";
  if (!(options.span > 0)) fail(where, "span is {}; expected a number greater than 0", options.span);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "step_size", options.step_size);
  check_range(where, "step_size", options.step_size, 0, 1);
  check_positive(where, "max_iterations", options.max_iterations);
  check_positive(where, "states", reward.cols());
  check_positive(where, "actions", reward.rows());
  check_shape(where, "weights", weights.rows(), weights.cols(), reward.cols(), reward.size());
  check_finite(where, "reward", view(reward));
  auto& [gain, bias, values, iterations, change, converged] = solution;
  if (bias.size() != reward.cols() || !bias.allFinite()) bias = Vector<double>::Zero(reward.cols());
  values.resize(reward.rows(), reward.cols());

  const auto back_up = [&] {
    gain = std::numeric_limits<double>::infinity();
    for (std::ptrdiff_t s = 0; s < reward.cols(); ++s) {
      for (std::ptrdiff_t a = 0; a < reward.rows(); ++a)
        values(a, s) = reward(a, s) + weights.col(s * reward.rows() + a).dot(bias);
      gain = (std::min)(gain, values.col(s).maxCoeff() - bias[s]);
    }
    check_finite(where, "the gain", gain);
  };
  converged = false;
  for (iterations = 0; iterations < options.max_iterations && !converged; ++iterations) {
    back_up();
    double lowest = std::numeric_limits<double>::infinity();
    for (std::ptrdiff_t s = 0; s < bias.size(); ++s)
      lowest = (std::min)(lowest, bias[s] + options.step_size * (values.col(s).maxCoeff() - bias[s]));
    change = 0;
    for (std::ptrdiff_t s = 0; s < bias.size(); ++s) {
      const double moved = bias[s] + options.step_size * (values.col(s).maxCoeff() - bias[s]) - lowest;
      const double next = (std::min)(moved, options.span);
      change = (std::max)(change, std::abs(next - bias[s]) / options.step_size);
      bias[s] = next;
    }
    converged = change <= options.tolerance;
  }
  back_up();
  values.array() -= gain;
}

}  // namespace valence
