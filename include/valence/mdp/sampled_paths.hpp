#pragma once

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

namespace valence {

namespace detail {

/// f(t, x) of a state of `x.size()` coordinates: a function of two numbers where there is one coordinate, else of a
/// number and a span.
template <class F>
double at_state(const F& f, double t, std::span<const double> x) {
  if constexpr (std::invocable<const F&, double, double>)
    return static_cast<double>(f(t, x[0]));
  else
    return static_cast<double>(f(t, x));
}

}  // namespace detail

/// Paths of a process in continuous time, seen at t_i = i dt for i = 0 .. steps: what martingale methods learn the
/// value J(t, x) from. `Diffusion` simulates them; recorded ones may be filled in by hand. What depends on nodes lies
/// path by path: node i of path k is entry k (steps + 1) + i.
///
///     SampledPaths paths = process.simulate(2000, rng);
///     paths.pay([](double, double x) { return -x * x; }, [](double, double x) { return 10 * x; });
struct SampledPaths {
  double dt = 0;  ///< time between nodes, > 0
  std::ptrdiff_t count = 0, steps = 0;
  Matrix<double> nodes = {};      ///< (1 + dimension) x nodes: (t, x), the input of a model of J
  Matrix<double> reward = {};     ///< steps x count: r(t_i, x_i), earned per unit of time
  Vector<double> terminal = {};   ///< count: h(x), what the end of each path is worth
  Matrix<double> base = {};       ///< (steps + 1) x count: a known part of J, added to the model's; empty: none
  bool infinite_horizon = false;  ///< the paths are cut off and the process goes on; `terminal` is empty

  std::ptrdiff_t dimension() const { return nodes.rows() - 1; }
  double time(std::ptrdiff_t path, std::ptrdiff_t node) const { return nodes(0, path * (steps + 1) + node); }
  std::span<const double> state(std::ptrdiff_t path, std::ptrdiff_t node) const {
    return {nodes.data() + (path * (steps + 1) + node) * nodes.rows() + 1, static_cast<std::size_t>(dimension())};
  }

  /// f(t, x) at every node: (steps + 1) x count. x is a `double` or, in any dimension, a `std::span<const double>`,
  /// whichever f names.
  template <class F>
  Matrix<double> evaluate(const F& f) const {
    Matrix<double> result(steps + 1, count);
    for (std::ptrdiff_t k = 0; k < count; ++k)
      for (std::ptrdiff_t i = 0; i <= steps; ++i) result(i, k) = detail::at_state(f, time(k, i), state(k, i));
    return result;
  }

  /// Sets `reward` to running(t, x) and `terminal` to end(t, x), functions as for `evaluate`. Allocates nothing where
  /// the sizes are there already.
  template <class Running, class End>
  void pay(const Running& running, const End& end) {
    reward.resize(steps, count);
    terminal.resize(count);
    for (std::ptrdiff_t k = 0; k < count; ++k) {
      for (std::ptrdiff_t i = 0; i < steps; ++i) reward(i, k) = detail::at_state(running, time(k, i), state(k, i));
      terminal[k] = detail::at_state(end, time(k, steps), state(k, steps));
    }
  }

  /// Throws `Error` for dt <= 0, fewer than two nodes or no path, sizes that don't fit, terminal values that are
  /// missing on a finite horizon (or given on an infinite one), and numbers that aren't finite.
  void check(std::string_view where) const {
    check_positive(where, "dt", dt);
    check_positive(where, "the number of paths", count);
    if (steps < 1) fail(where, "paths have {} nodes; expected at least 2", steps + 1);
    if (nodes.rows() < 2)
      fail(where, "nodes have {} rows; expected the time and at least one coordinate", nodes.rows());
    check_shape(where, "nodes", nodes.rows(), nodes.cols(), nodes.rows(), count * (steps + 1));
    check_shape(where, "reward", reward.rows(), reward.cols(), steps, count);
    if (infinite_horizon && terminal.size() > 0)
      fail(where, "terminal has {} entries; expected none on an infinite horizon", terminal.size());
    if (!infinite_horizon && terminal.size() == 0)
      fail(where, "terminal is empty; expected the value at the end of each path, or infinite_horizon");
    if (!infinite_horizon) check_size(where, "terminal", view(terminal).size(), static_cast<std::size_t>(count));
    if (base.size() > 0) check_shape(where, "base", base.rows(), base.cols(), steps + 1, count);
    check_finite(where, "nodes", view(nodes));
    check_finite(where, "reward", view(reward));
    check_finite(where, "terminal", view(terminal));
    check_finite(where, "base", view(base));
  }
};

}  // namespace valence
