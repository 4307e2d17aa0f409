#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/policy/concepts.hpp"

/// Noise that is added to the actions of a deterministic policy, so that it explores. `add(action, rng)` works in place
/// on a number or anything with `size()` and `[]`, allocates nothing, and doesn't know the box: clip afterwards
/// (`Deterministic::clip`).
namespace valence {

/// Independent Gaussian noise, in units of the action. With a `bound` each draw is held in [-bound, bound]: TD3's
/// smoothing of the target action is {.standard_deviation = 0.2, .bound = 0.5} times the action's scale (Fujimoto et al.
/// 2018, equation 14).
struct GaussianNoise {
  double standard_deviation = 0.1;  ///< >= 0
  double bound = std::numeric_limits<double>::infinity();

  /// One output of the generator a dimension. Throws `Error` for a deviation that isn't a finite number of at least 0,
  /// a bound below 0, and actions that aren't finite.
  template <class V>
  void add(V&& action, Rng& rng) const {
    constexpr auto where = "GaussianNoise::add";
    check_range(where, "standard_deviation", standard_deviation, 0, (std::numeric_limits<double>::max)());
    check_range(where, "bound", bound, 0, std::numeric_limits<double>::infinity());
    const std::size_t dimensions = detail::dimensions_of(action);
    detail::check_entries(where, "action", action, dimensions);
    for (std::size_t i = 0; i < dimensions; ++i) {
      const double noise = elementary::clamp(standard_deviation * rng.normal(), -bound, bound);
      detail::set_entry(action, i, static_cast<double>(detail::entry(action, i)) + noise);
    }
  }
};

/// How an Ornstein-Uhlenbeck process moves: dx = rate (mean - x) dt + volatility dW. The defaults are DDPG's
/// (Lillicrap et al. 2016, section 7), with a time step of 1.
struct OrnsteinUhlenbeckOptions {
  double rate = 0.15;       ///< theta >= 0, a time; 0: a Brownian motion
  double volatility = 0.2;  ///< sigma >= 0
  double time_step = 1;     ///< > 0, between two actions
  double mean = 0;
};

/// Noise that wanders from action to action, for systems with inertia: an Ornstein-Uhlenbeck process in each dimension,
/// started in its mean. Its steps are exact for any time step (Gillespie 1996), not Euler's:
///
///     x' = mean + (x - mean) exp(-rate dt) + volatility sqrt((1 - exp(-2 rate dt)) / (2 rate)) normal
///
/// so its stationary variance is volatility^2 / (2 rate) and the correlation of two actions t apart exp(-rate t).
class OrnsteinUhlenbeckNoise {
 public:
  /// Throws `Error` for options out of their ranges, and dimensions < 1.
  explicit OrnsteinUhlenbeckNoise(int dimensions, const OrnsteinUhlenbeckOptions& options = {}) {
    constexpr auto where = "OrnsteinUhlenbeckNoise";
    constexpr double largest = (std::numeric_limits<double>::max)();
    check_positive(where, "dimensions", dimensions);
    check_range(where, "rate", options.rate, 0, largest);
    check_range(where, "volatility", options.volatility, 0, largest);
    check_positive(where, "time_step", options.time_step);
    check_finite(where, "mean", options.mean);
    const double decay = options.rate * options.time_step;
    mean_ = options.mean;
    kept_ = elementary::exp(-decay);
    // (1 - exp(-2 decay)) / (2 decay) is 1 in the limit of no decay.
    const double share = decay > 0 ? -elementary::expm1(-2 * decay) / (2 * decay) : 1;
    spread_ = options.volatility * elementary::sqrt(share) * elementary::sqrt(options.time_step);
    check_finite(where, "the standard deviation of a step", spread_);
    value_.assign(static_cast<std::size_t>(dimensions), mean_);
  }

  /// Moves a step and adds where it is. One output of the generator a dimension. Throws `Error`, and doesn't move, for
  /// an action of another size or one that isn't finite.
  template <class V>
  void add(V&& action, Rng& rng) {
    detail::check_entries("OrnsteinUhlenbeckNoise::add", "action", action, value_.size());
    for (std::size_t i = 0; i < value_.size(); ++i) {
      value_[i] = mean_ + (value_[i] - mean_) * kept_ + spread_ * rng.normal();
      detail::set_entry(action, i, static_cast<double>(detail::entry(action, i)) + value_[i]);
    }
  }
  /// Back to the mean: at the start of an episode.
  void reset() {
    for (double& x : value_) x = mean_;
  }
  /// Where it is, an entry a dimension.
  const std::vector<double>& value() const { return value_; }

  template <class A>
  void archive(A& ar) {
    ar(mean_, kept_, spread_, value_);
  }

 private:
  double mean_ = 0, kept_ = 1, spread_ = 0;  ///< of a step: the factor of x - mean, and of a standard normal
  std::vector<double> value_ = {};
};

}  // namespace valence
