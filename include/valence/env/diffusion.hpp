#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/sampled_paths.hpp"

namespace valence {

/// A stochastic differential equation dX = b(t, X) dt + sigma(t, X) dW. In one dimension `drift` and `volatility` are
/// functions `double(double t, double x)`; in any, `void(double t, std::span<const double> x, std::span<double> out)`.
/// `drift` fills an entry a coordinate. `volatility` fills dimension x noises numbers, column by column, or, with
/// `noises` 0, an entry a coordinate: a diagonal sigma, an independent noise each.
///
///     Sde pull{{1.0}, [](double, double x) { return -x; }, [](double, double) { return 0.3; }};   // from X = 1
template <class Drift, class Volatility>
struct Sde {
  std::vector<double> start;  ///< X at time 0, an entry a coordinate
  Drift drift;
  Volatility volatility;
  int noises = 0;
};
template <class Drift, class Volatility>
Sde(std::vector<double>, Drift, Volatility) -> Sde<Drift, Volatility>;
template <class Drift, class Volatility>
Sde(std::vector<double>, Drift, Volatility, int) -> Sde<Drift, Volatility>;

/// `volatility` >= 0; every coordinate has the same constants and a noise of its own.
struct BrownianOptions {
  double start = 0, drift = 0, volatility = 1;
};
/// dX = speed (mean - X) dt + volatility dW.
struct OrnsteinUhlenbeckDiffusion {
  double start = 0, speed = 1, mean = 0, volatility = 1;
};
/// dX = growth X dt + volatility X dW.
struct GeometricOptions {
  double start = 1, growth = 0, volatility = 0.2;
};

namespace detail {

/// Independent coordinates with b(x) and sigma(x) of each.
template <class Drift, class Volatility>
auto coordinatewise(std::string_view where, int dimension, double start, Drift drift, Volatility volatility) {
  check_positive(where, "dimension", dimension);
  check_finite(where, "start", start);
  const auto each = [](auto f) {
    return [f](double, std::span<const double> x, std::span<double> out) {
      for (std::size_t i = 0; i < x.size(); ++i) out[i] = f(x[i]);
    };
  };
  return Sde{std::vector<double>(static_cast<std::size_t>(dimension), start), each(drift), each(volatility)};
}
inline void check_volatility(std::string_view where, double volatility) {
  if (!(volatility >= 0) || !std::isfinite(volatility))
    fail(where, "volatility is {}; expected a finite number, 0 or more", volatility);
}

}  // namespace detail

/// Brownian motion with drift. Throws `Error` for dimension < 1 and constants that aren't finite.
inline auto brownian(int dimension = 1, const BrownianOptions& options = {}) {
  check_finite("brownian", "drift", options.drift);
  detail::check_volatility("brownian", options.volatility);
  return detail::coordinatewise(
      "brownian", dimension, options.start, [b = options.drift](double) { return b; },
      [s = options.volatility](double) { return s; });
}
/// The Ornstein-Uhlenbeck process: pulled back to its mean. Errors as for `brownian`.
inline auto ornstein_uhlenbeck(int dimension = 1, const OrnsteinUhlenbeckDiffusion& options = {}) {
  check_finite("ornstein_uhlenbeck", "speed", options.speed);
  check_finite("ornstein_uhlenbeck", "mean", options.mean);
  detail::check_volatility("ornstein_uhlenbeck", options.volatility);
  return detail::coordinatewise(
      "ornstein_uhlenbeck", dimension, options.start,
      [k = options.speed, m = options.mean](double x) { return k * (m - x); },
      [s = options.volatility](double) { return s; });
}
/// Geometric Brownian motion. Errors as for `brownian`.
inline auto geometric_brownian(int dimension = 1, const GeometricOptions& options = {}) {
  check_finite("geometric_brownian", "growth", options.growth);
  detail::check_volatility("geometric_brownian", options.volatility);
  return detail::coordinatewise(
      "geometric_brownian", dimension, options.start, [g = options.growth](double x) { return g * x; },
      [s = options.volatility](double x) { return s * x; });
}

/// `dt` > 0, `horizon` a multiple of it (to 1e-9) and at least one.
struct DiffusionOptions {
  double horizon = 1, dt = 0.01;
};

/// Simulates a stochastic differential equation by the Euler-Maruyama scheme (Kloeden & Platen 1992, section 9.1):
/// X_{i+1} = X_i + b(t_i, X_i) dt + sigma(t_i, X_i) sqrt(dt) Z_i with Z standard normal. Exact on the grid for constant
/// b and sigma.
///
///     Diffusion process{brownian(1), {.horizon = 1.0, .dt = 0.01}};
///     SampledPaths paths = process.simulate(2000, rng);
template <class Drift, class Volatility>
class Diffusion {
 public:
  /// Throws `Error` for options out of range, an empty or infinite start, and noises < 0.
  explicit Diffusion(Sde<Drift, Volatility> sde, const DiffusionOptions& options = {})
      : sde_(std::move(sde)), dt_(options.dt) {
    constexpr auto where = "Diffusion";
    check_positive(where, "dt", options.dt);
    check_positive(where, "horizon", options.horizon);
    if (sde_.start.empty()) fail(where, "start is empty; expected a number a coordinate");
    check_finite(where, "start", std::span<const double>(sde_.start));
    check_range(where, "noises", sde_.noises, 0, 1'000'000);
    if (scalar<Drift>() || scalar<Volatility>()) {
      check_size(where, "start", sde_.start.size(), 1);
      check_range(where, "noises", sde_.noises, 0, 1);
    }
    const double steps = std::round(options.horizon / options.dt);
    if (!(steps >= 1 && steps < 1e9) || std::abs(steps * options.dt - options.horizon) > 1e-9 * options.horizon)
      fail(where, "horizon is {} and dt is {}; expected a horizon that is a multiple of dt", options.horizon,
           options.dt);
    steps_ = static_cast<std::ptrdiff_t>(steps);
    drift_.resize(sde_.start.size());
    volatility_.resize(sde_.start.size() * (diagonal() ? 1 : static_cast<std::size_t>(sde_.noises)));
    noise_.resize(diagonal() ? sde_.start.size() : static_cast<std::size_t>(sde_.noises));
  }

  std::ptrdiff_t dimension() const { return static_cast<std::ptrdiff_t>(sde_.start.size()); }
  std::ptrdiff_t steps() const { return steps_; }
  double dt() const { return dt_; }

  /// `count` >= 1 paths from `start`; they pay nothing yet: rewards and terminal values are 0. Uses steps x noises
  /// outputs a path, in order. Throws `Error` where a path leaves the finite numbers.
  SampledPaths simulate(std::ptrdiff_t count, Rng& rng) {
    SampledPaths paths;
    simulate(count, rng, paths);
    return paths;
  }
  /// The same into paths that are there already; allocates nothing where the sizes fit.
  void simulate(std::ptrdiff_t count, Rng& rng, SampledPaths& paths) {
    simulate(count, rng, paths,
             [&](Rng&, std::span<double> x) { std::copy(sde_.start.begin(), sde_.start.end(), x.begin()); });
  }
  /// The same from random starts: `begin(rng, x)` fills a span of X_0, an entry a coordinate.
  template <class Begin>
    requires std::invocable<const Begin&, Rng&, std::span<double>>
  void simulate(std::ptrdiff_t count, Rng& rng, SampledPaths& paths, const Begin& begin) {
    check_positive("Diffusion::simulate", "count", count);
    paths.dt = dt_, paths.count = count, paths.steps = steps_;
    paths.nodes.resize(1 + dimension(), count * (steps_ + 1));
    paths.reward.setZero(steps_, count);
    paths.terminal.setZero(count);
    paths.base.resize(0, 0);
    paths.infinite_horizon = false;
    const auto n = sde_.start.size();
    for (std::ptrdiff_t k = 0; k < count; ++k) {
      double* node = paths.nodes.data() + k * (steps_ + 1) * paths.nodes.rows();
      node[0] = 0;
      begin(rng, std::span<double>(node + 1, n));
      for (std::ptrdiff_t i = 0; i < steps_; ++i) {
        double* const next = node + paths.nodes.rows();
        next[0] = dt_ * static_cast<double>(i + 1);
        step(node[0], std::span<const double>(node + 1, n), std::span<double>(next + 1, n), rng);
        node = next;
      }
    }
  }

 private:
  template <class F>
  static constexpr bool scalar() {
    return std::invocable<const F&, double, double>;
  }
  bool diagonal() const { return sde_.noises == 0; }
  template <class F>
  static void fill(const F& f, double t, std::span<const double> x, std::span<double> out) {
    if constexpr (scalar<F>())
      out[0] = static_cast<double>(f(t, x[0]));
    else
      f(t, x, out);
  }
  void step(double t, std::span<const double> x, std::span<double> next, Rng& rng) {
    fill(sde_.drift, t, x, std::span<double>(drift_));
    fill(sde_.volatility, t, x, std::span<double>(volatility_));
    for (double& z : noise_) z = rng.normal() * std::sqrt(dt_);
    for (std::size_t i = 0; i < x.size(); ++i) {
      double change = drift_[i] * dt_;
      if (diagonal())
        change += volatility_[i] * noise_[i];
      else
        for (std::size_t j = 0; j < noise_.size(); ++j) change += volatility_[j * x.size() + i] * noise_[j];
      next[i] = x[i] + change;
      if (!std::isfinite(next[i]))
        fail("Diffusion::simulate", "coordinate {} is {} after time {}; expected a finite number", i, next[i], t);
    }
  }

  Sde<Drift, Volatility> sde_;
  double dt_;
  std::ptrdiff_t steps_ = 0;
  std::vector<double> drift_, volatility_, noise_;
};

}  // namespace valence
