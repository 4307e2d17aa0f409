#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

class Rng;

/// A table: for each of `states` states its own `outputs` numbers. theta is outputs x states, column-major: a state's
/// numbers lie together. A batch is the indices of the visited states (out of range throws). Local, so a TD step on
/// theta itself costs O(outputs):
///
///     Tabular q{10, 2};                                     // action values of 10 states
///     auto y = q.forward(theta, std::span(&state, 1), tape);
///     q.pullback(theta, std::span(&state, 1), tape, dy, theta);   // theta(:, state) += dy
///
/// `initial` is where every entry begins (optimistic starts: Sutton and Barto 2018, section 2.6).
template <std::floating_point S = double>
struct Tabular {
  using Scalar = S;
  using Batch = std::span<const int>;
  /// Holds the outputs of the last forward. One a thread.
  struct Tape {
    Vector<S> outputs, tangents;
  };
  static constexpr bool local = true;

  int states, outputs;
  S initial = 0;

  std::size_t parameter_count() const { return static_cast<std::size_t>(states) * static_cast<std::size_t>(outputs); }
  int output_size() const { return outputs; }
  /// One tensor, "weight", of shape {outputs, states}.
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    return {{std::string(prefix) + "weight", 0, {static_cast<std::size_t>(outputs), static_cast<std::size_t>(states)}}};
  }

  /// Sets every entry to `initial`; draws nothing.
  void initialize(std::span<S> theta, Rng&) const {
    check_sizes("Tabular::initialize", theta.size());
    std::fill(theta.begin(), theta.end(), initial);
  }

  /// Columns of theta: outputs x batch, a view into the tape.
  Outputs<S> forward(std::span<const S> theta, const Batch& x, Tape& tape) const {
    check_sizes("Tabular::forward", theta.size());
    check_states("Tabular::forward", x);
    return gather(theta.data(), x, tape.outputs);
  }

  /// gradient(:, x_j) += dy(:, j). theta is not read: gradient may be theta.
  void pullback(std::span<const S>, const Batch& x, Tape&, const Outputs<S>& dy, std::span<S> gradient) const {
    check_sizes("Tabular::pullback", gradient.size());
    check_shape("Tabular::pullback", "dy", dy.rows(), dy.cols(), outputs, static_cast<std::ptrdiff_t>(x.size()));
    check_states("Tabular::pullback", x);
    for (std::size_t j = 0; j < x.size(); ++j) {
      S* const to = gradient.data() + static_cast<std::ptrdiff_t>(x[j]) * outputs;
      const S* const from = dy.data() + static_cast<std::ptrdiff_t>(j) * outputs;
      for (int o = 0; o < outputs; ++o) to[o] += from[o];
    }
  }

  /// J v: the columns of v.
  Outputs<S> pushforward(std::span<const S>, const Batch& x, Tape& tape, std::span<const S> v) const {
    check_sizes("Tabular::pushforward", v.size());
    check_states("Tabular::pushforward", x);
    return gather(v.data(), x, tape.tangents);
  }

 private:
  void check_sizes(std::string_view where, std::size_t seen) const {
    if (states <= 0 || outputs <= 0)
      fail(where, "{} states, {} outputs; expected both greater than 0", states, outputs);
    check_size(where, "theta (or gradient)", seen, parameter_count());
  }
  void check_states(std::string_view where, const Batch& x) const {
    for (std::size_t j = 0; j < x.size(); ++j)
      if (x[j] < 0 || x[j] >= states) fail(where, "x[{}] is {}; expected a state in [0, {}]", j, x[j], states - 1);
  }
  Outputs<S> gather(const S* theta, const Batch& x, Vector<S>& y) const {
    const auto n = static_cast<std::ptrdiff_t>(x.size());
    if (y.size() < n * outputs) y = Vector<S>::Zero(n * outputs);
    for (std::size_t j = 0; j < x.size(); ++j)
      std::copy_n(theta + static_cast<std::ptrdiff_t>(x[j]) * outputs, outputs,
                  y.data() + static_cast<std::ptrdiff_t>(j) * outputs);
    return {y.data(), outputs, n};
  }
};
Tabular(int, int) -> Tabular<double>;
template <std::floating_point S>
Tabular(int, int, S) -> Tabular<S>;

}  // namespace valence
