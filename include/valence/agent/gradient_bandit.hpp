#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "valence/agent/bandit.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"

namespace valence {

/// What `GradientBandit` is told.
struct GradientBanditOptions {
  double step_size = 0.1;  ///< > 0
  bool baseline = true;    ///< subtract the mean of all rewards so far, the current one included; otherwise nothing
};

/// Gradient ascent on the preferences H of a softmax policy (Sutton and Barto 2018, section 2.8, equation 2.12): after
/// a reward r of arm a, H_b += step_size (r - baseline) (1{b = a} - p_b) for every arm b.
class GradientBandit {
 public:
  /// Throws if `arms` < 1 or the step size is not finite and > 0.
  explicit GradientBandit(int arms, GradientBanditOptions options = {}) : options_(options) {
    check_positive("GradientBandit", "arms", arms);
    check_positive("GradientBandit", "step_size", options.step_size);
    preferences_.resize(static_cast<std::size_t>(arms));
    probabilities_.assign(preferences_.size(), 1.0 / arms);
  }

  int arms() const { return static_cast<int>(preferences_.size()); }
  /// H, an entry an arm; 0 at the start, and they always sum to 0.
  std::span<const double> preferences() const { return preferences_; }
  /// softmax(H): of the next choice, an entry an arm.
  std::span<const double> probabilities() const { return probabilities_; }
  /// The mean of all rewards so far.
  double mean_reward() const { return mean_reward_; }

  /// One output.
  int choose(Rng& rng) const { return static_cast<int>(rng.categorical(std::span<const double>(probabilities_))); }
  /// Throws, and changes nothing, if there is no such arm or the reward is not finite or too large.
  void update(int arm, double reward) {
    detail::check_arm("GradientBandit::update", arm, arms());
    check_finite("GradientBandit::update", "reward", reward);
    const auto n = static_cast<double>(count_ + 1);
    const double mean = mean_reward_ + (reward / n - mean_reward_ / n);
    const double step = options_.step_size * (options_.baseline ? reward - mean : reward);
    double largest = 0;
    for (const double h : preferences_) largest = (std::max)(largest, std::abs(h));
    check_finite("GradientBandit::update", "a preference after the step", largest + std::abs(step));
    ++count_;
    mean_reward_ = mean;
    for (std::size_t b = 0; b < preferences_.size(); ++b) preferences_[b] -= step * probabilities_[b];
    preferences_[static_cast<std::size_t>(arm)] += step;
    softmax(std::span<const double>(preferences_), std::span<double>(probabilities_));
  }

  template <class A>
  void archive(A& ar) {
    ar(preferences_, probabilities_, mean_reward_, count_);
  }

 private:
  GradientBanditOptions options_;
  std::vector<double> preferences_ = {}, probabilities_ = {};
  double mean_reward_ = 0;
  std::uint64_t count_ = 0;
};

}  // namespace valence
