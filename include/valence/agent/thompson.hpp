#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "valence/agent/bandit.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"

/// Thompson sampling: conjugate beliefs about the mean reward of an arm, and the agents that draw from them.
namespace valence {

/// What is believed of the mean reward of one arm. `update(reward)` conditions on one reward, `sample(rng)` draws a
/// mean from the belief, `mean()` is its expectation, and `check()` throws if it is no belief.
template <class P>
concept RewardPosterior = std::copyable<P> && requires(P belief, const P& known, double reward, Rng& rng) {
  belief.update(reward);
  { known.sample(rng) } -> std::convertible_to<double>;
  { known.mean() } -> std::convertible_to<double>;
  known.check();
};

/// Of rewards 0 and 1: the probability of 1 is Beta(alpha, beta), and after S ones and F zeros Beta(alpha + S, beta +
/// F). Rewards in between are refused, because there is no posterior then; `rng.bernoulli(reward)` makes them binary
/// without changing their mean (Agrawal and Goyal 2012, algorithm 2).
struct BetaPosterior {
  double alpha = 1, beta = 1;  ///< finite, > 0

  void check() const {
    check_positive("BetaPosterior", "alpha", alpha);
    check_positive("BetaPosterior", "beta", beta);
  }
  void update(double reward) {
    if (!(reward == 0 || reward == 1)) fail("BetaPosterior::update", "reward is {}; expected 0 or 1", reward);
    alpha += reward;
    beta += 1 - reward;
  }
  double sample(Rng& rng) const { return rng.beta(alpha, beta); }
  double mean() const { return alpha / (alpha + beta); }

  template <class A>
  void archive(A& ar) {
    ar(alpha, beta);
  }
};

/// Of normal rewards with known variance: their mean is normal. Precisions add, and the means are averaged by them
/// (Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution", equations 20 to 24).
struct NormalPosterior {
  double center = 0;          ///< the expectation of the mean, finite
  double variance = 1;        ///< of the belief about the mean; finite, > 0
  double noise_variance = 1;  ///< of a reward about the mean, known; finite, > 0

  void check() const {
    check_finite("NormalPosterior", "center", center);
    check_positive("NormalPosterior", "variance", variance);
    check_positive("NormalPosterior", "noise_variance", noise_variance);
  }
  void update(double reward) {
    check_finite("NormalPosterior::update", "reward", reward);
    const double gain = variance / (variance + noise_variance);
    center = (1 - gain) * center + gain * reward;
    variance = noise_variance * gain;
  }
  double sample(Rng& rng) const { return center + std::sqrt(variance) * rng.normal(); }
  double mean() const { return center; }

  template <class A>
  void archive(A& ar) {
    ar(center, variance, noise_variance);
  }
};

/// Of normal rewards with unknown mean and variance: normal-gamma. Given the precision tau ~ Gamma(shape, rate), the
/// mean is normal about `center` with precision `count` tau; so alone it has Student's t distribution with 2 shape
/// degrees of freedom, scale sqrt(rate / (shape count)). Source: Murphy 2007, equations 85 to 89 and 95.
struct NormalGammaPosterior {
  double center = 0;  ///< finite
  double count = 1;   ///< of observations that `center` is worth; finite, > 0
  double shape = 1;   ///< finite, > 0; `mean()` exists above 1/2
  double rate = 1;    ///< finite, > 0

  void check() const {
    check_finite("NormalGammaPosterior", "center", center);
    check_positive("NormalGammaPosterior", "count", count);
    check_positive("NormalGammaPosterior", "shape", shape);
    check_positive("NormalGammaPosterior", "rate", rate);
  }
  /// Throws, and changes nothing, unless the reward is finite and so is the square of its distance from the centre.
  void update(double reward) {
    const double distance = reward - center;
    const double spread = count / (count + 1) * distance * distance;
    if (!std::isfinite(spread))
      fail("NormalGammaPosterior::update", "reward is {}, at {} from the centre; expected finite numbers", reward,
           distance);
    rate += spread / 2;
    shape += 0.5;
    count += 1;
    center += distance / count;
  }
  double sample(Rng& rng) const {
    const double precision = rng.gamma(shape, 1 / rate);
    return center + rng.normal() / std::sqrt(count * precision);
  }
  double mean() const { return center; }
  /// The degrees of freedom and the scale of the mean's t distribution.
  double degrees() const { return 2 * shape; }
  double scale() const { return std::sqrt(rate / (shape * count)); }

  template <class A>
  void archive(A& ar) {
    ar(center, count, shape, rate);
  }
};

namespace detail {

/// An arm's beliefs, all from one prior.
template <RewardPosterior P>
std::vector<P> beliefs(int arms, const P& prior) {
  check_positive("Thompson", "arms", arms);
  prior.check();
  return std::vector<P>(static_cast<std::size_t>(arms), prior);
}

}  // namespace detail

/// Thompson sampling (Thompson 1933; Chapelle and Li 2011, algorithm 1): draws a mean for each arm from what is
/// believed of it, and pulls the arm of the largest.
///
///     Thompson agent{10, BetaPosterior{}};
template <RewardPosterior Posterior = BetaPosterior>
class Thompson {
 public:
  /// Throws if `arms` < 1 or the prior is none.
  explicit Thompson(int arms, Posterior prior = {})
      : posteriors_(detail::beliefs(arms, prior)), draws_(posteriors_.size()) {}

  int arms() const { return static_cast<int>(posteriors_.size()); }
  /// An entry an arm.
  std::span<const Posterior> posteriors() const { return posteriors_; }

  int choose(Rng& rng) {
    for (std::size_t a = 0; a < draws_.size(); ++a) draws_[a] = posteriors_[a].sample(rng);
    return detail::random_argmax(draws_, rng);
  }
  /// Throws, and changes nothing, if there is no such arm or the belief refuses the reward.
  void update(int arm, double reward) {
    detail::check_arm("Thompson::update", arm, arms());
    posteriors_[static_cast<std::size_t>(arm)].update(reward);
  }

  template <class A>
  void archive(A& ar) {
    ar(posteriors_);
  }

 private:
  std::vector<Posterior> posteriors_;
  std::vector<double> draws_;
};

}  // namespace valence
