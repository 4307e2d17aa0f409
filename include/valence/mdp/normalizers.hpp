#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/statistics.hpp"

/// Observations and rewards brought to a common scale by running statistics (as in OpenAI Baselines' and
/// stable-baselines3's `VecNormalize`). Plain parts: environments wrap them (env/wrappers.hpp), agents may own one.
namespace valence {

/// Deviations below `floor` > 0 count as `floor`; results are cut to +-`clip` > 0.
struct NormalizerOptions {
  double floor = 1e-4, clip = 10;
};

/// Each of `size` numbers less its running mean, over its running standard deviation (of the population, and at least
/// `floor`), cut to +-`clip`. `frozen` (at evaluation): `observe` takes in nothing.
class Normalizer {
 public:
  explicit Normalizer(std::size_t size, const NormalizerOptions& options = {}) : options_(options), moments_(size) {
    check_positive("Normalizer", "size", size);
    check_positive("Normalizer", "floor", options.floor);
    check_positive("Normalizer", "clip", options.clip);
  }

  bool frozen = false;

  /// Takes in one sample of `size()` finite numbers; throws `Error` for anything else, before anything is changed.
  template <std::floating_point S>
  void observe(std::span<const S> x) {
    check_size("Normalizer::observe", "x", x.size(), moments_.size());
    check_finite("Normalizer::observe", "x", x);
    if (frozen) return;
    for (std::size_t i = 0; i < x.size(); ++i) moments_[i].add(static_cast<double>(x[i]));
  }
  /// As if all that `other` has seen had been observed here.
  void merge(const Normalizer& other) {
    check_size("Normalizer::merge", "other", other.moments_.size(), moments_.size());
    for (std::size_t i = 0; i < moments_.size(); ++i) moments_[i].merge(other.moments_[i]);
  }
  /// In place. Before the first observation numbers are only cut.
  template <std::floating_point S>
  void apply(std::span<S> x) const {
    check_size("Normalizer::apply", "x", x.size(), moments_.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double y =
          moments_[i].count() == 0 ? static_cast<double>(x[i]) : (static_cast<double>(x[i]) - mean(i)) / deviation(i);
      x[i] = static_cast<S>(std::clamp(y, -options_.clip, options_.clip));
    }
  }

  std::size_t size() const { return moments_.size(); }
  const NormalizerOptions& options() const { return options_; }
  /// Samples observed.
  std::uint64_t count() const { return moments_[0].count(); }
  /// Throws `Error` before the first observation.
  double mean(std::size_t i) const { return moments_[i].mean(); }
  /// The population's standard deviation, or the floor where that is larger.
  double deviation(std::size_t i) const {
    return (std::max)(std::sqrt(moments_[i].population_variance()), options_.floor);
  }

  template <class A>
  void archive(A& ar) {
    ar(options_.floor, options_.clip, frozen, moments_);
  }

 private:
  NormalizerOptions options_;
  std::vector<RunningMoments> moments_;
};

/// `discount` in [0, 1] of the return whose variance is the scale; `epsilon` > 0 is added to that variance, results are
/// cut to +-`clip` > 0.
struct RewardNormalizerOptions {
  double discount = 0.99, epsilon = 1e-8, clip = 10;
};

/// Rewards over the running standard deviation of the discounted return: `G = discount G + r`, then
/// `r / sqrt(var(G) + epsilon)`, cut to +-`clip` (stable-baselines3's `VecNormalize`). Rewards are not shifted, which
/// would change what is best. G starts anew with each episode. `lanes` environments share the statistics.
class RewardNormalizer {
 public:
  explicit RewardNormalizer(std::size_t lanes = 1, const RewardNormalizerOptions& options = {})
      : options_(options), return_(lanes, 0.0) {
    check_positive("RewardNormalizer", "lanes", lanes);
    check_range("RewardNormalizer", "discount", options.discount, 0, 1);
    check_positive("RewardNormalizer", "epsilon", options.epsilon);
    check_positive("RewardNormalizer", "clip", options.clip);
  }

  bool frozen = false;

  /// The reward of one transition of `lane`, scaled; `done`: its episode ended with it. Throws `Error` for a reward
  /// that isn't finite, before anything is changed.
  double operator()(double reward, bool done, std::size_t lane = 0) {
    check_finite("RewardNormalizer", "reward", reward);
    if (lane >= return_.size()) fail("RewardNormalizer", "lane is {}; expected less than {}", lane, return_.size());
    if (!frozen) {
      return_[lane] = options_.discount * return_[lane] + reward;
      moments_.add(return_[lane]);
      if (done) return_[lane] = 0;
    }
    const double variance = moments_.count() == 0 ? 1 : moments_.population_variance();
    return std::clamp(reward / std::sqrt(variance + options_.epsilon), -options_.clip, options_.clip);
  }
  /// An episode was broken off by a reset.
  void reset(std::size_t lane = 0) { return_[lane] = 0; }
  const RunningMoments& moments() const { return moments_; }

  template <class A>
  void archive(A& ar) {
    ar(options_.discount, options_.epsilon, options_.clip, frozen, moments_, return_);
  }

 private:
  RewardNormalizerOptions options_;
  RunningMoments moments_;
  std::vector<double> return_;
};

}  // namespace valence
