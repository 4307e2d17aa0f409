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

/// The exploration that minimises EXP3's bound when the best arm's rewards sum to at most `gain`: min(1, sqrt(K ln K /
/// ((e - 1) gain))) (Auer et al. 2002, corollary 3.2; `gain` may be the number of steps). Throws unless arms >= 1 and
/// gain is finite and > 0.
inline double exp3_exploration(int arms, double gain) {
  check_positive("exp3_exploration", "arms", arms);
  check_positive("exp3_exploration", "gain", gain);
  const double k = arms;
  return (std::min)(1.0, std::sqrt(k * std::log(k) / (std::expm1(1.0) * gain)));
}

/// What `Exp3` is told.
struct Exp3Options {
  double exploration = 0.1;  ///< share of uniform choices, in (0, 1]; see `exp3_exploration`. The paper's gamma
};

/// EXP3, for rewards in [0, 1] that an adversary may have chosen (Auer, Cesa-Bianchi, Freund and Schapire 2002, figure
/// 1): p_a = (1 - gamma) w_a / sum w + gamma / K; after a reward r of arm a, w_a *= exp(gamma (r / p_a) / K). The
/// weights are kept as logarithms, so they don't overflow in long runs.
class Exp3 {
 public:
  /// Throws if `arms` < 1 or exploration is outside of (0, 1].
  explicit Exp3(int arms, Exp3Options options = {}) : exploration_(options.exploration) {
    check_positive("Exp3", "arms", arms);
    if (!(options.exploration > 0 && options.exploration <= 1))
      fail("Exp3", "exploration is {}; expected a number in (0, 1]", options.exploration);
    log_weights_.resize(static_cast<std::size_t>(arms));
    probabilities_.assign(log_weights_.size(), 1.0 / arms);
  }

  int arms() const { return static_cast<int>(log_weights_.size()); }
  /// ln w, an entry an arm; 0 at the start.
  std::span<const double> log_weights() const { return log_weights_; }
  /// Of the next choice, an entry an arm; each at least exploration / arms.
  std::span<const double> probabilities() const { return probabilities_; }

  /// One output.
  int choose(Rng& rng) const { return static_cast<int>(rng.categorical(std::span<const double>(probabilities_))); }
  /// For the arm that `choose` gave last: the reward is divided by the probability that it had. Throws, and changes
  /// nothing, if there is no such arm or the reward is outside of [0, 1].
  void update(int arm, double reward) {
    detail::check_arm("Exp3::update", arm, arms());
    detail::check_reward("Exp3::update", reward, 0, 1);
    const double k = arms();
    const auto a = static_cast<std::size_t>(arm);
    log_weights_[a] += exploration_ * (reward / probabilities_[a]) / k;
    softmax(std::span<const double>(log_weights_), std::span<double>(probabilities_));
    for (double& p : probabilities_) p = (1 - exploration_) * p + exploration_ / k;
  }

  template <class A>
  void archive(A& ar) {
    ar(log_weights_, probabilities_);
  }

 private:
  double exploration_;
  std::vector<double> log_weights_ = {}, probabilities_ = {};
};

}  // namespace valence
