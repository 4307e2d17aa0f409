#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"

/// Samples of the policy pi*(y) proportional to pi(y) exp(r(y) / beta), the optimum of E r - beta KL(. || pi), from
/// samples of pi and their rewards r: an answer is accepted with probability exp((r(y) - bound) / beta) (Liu et al. 2024,
/// "Statistical Rejection Sampling Improves Preference Optimization", arXiv:2309.06657).
namespace valence {

/// Rejection sampling from a stream, under a bound on the rewards that is known beforehand. Exact: accepted samples are
/// independent and of pi*.
///
///     RejectionSampler sampler{2.0, 0.5};
///     int answer = sampler.sample([&] { return policy.sample(x, rng); }, [&](int y) { return reward(x, y); }, rng);
class RejectionSampler {
 public:
  /// `bound`: at least as large as every reward; the closer, the more is accepted. `beta` > 0. `max_proposals` >= 1: so
  /// many for one sample, before `sample` gives up. Throws `Error` otherwise.
  RejectionSampler(double bound, double beta, std::int64_t max_proposals = 1'000'000)
      : bound_(bound), beta_(beta), max_proposals_(max_proposals) {
    check_finite(where, "bound", bound);
    check_positive(where, "beta", beta);
    check_positive(where, "max_proposals", max_proposals);
  }

  double bound() const { return bound_; }
  double beta() const { return beta_; }
  /// The probability with which a sample of this reward is accepted, in [0, 1]. Throws `Error` for a reward that isn't
  /// finite, and for one above the bound: what has been accepted under it is then biased.
  double acceptance(double reward) const {
    check_finite(where, "reward", reward);
    if (reward > bound_) fail(where, "reward is {}; expected at most the bound, {}", reward, bound_);
    return elementary::exp((reward - bound_) / beta_);
  }
  /// Whether a sample of this reward is accepted. One output.
  bool accept(double reward, Rng& rng) const {
    const double p = acceptance(reward);
    return rng.uniform() < p;
  }
  /// The first accepted of `propose()`, `propose()`, ..., with `reward(y)` for each. Throws `Error` after
  /// `max_proposals` without one.
  template <class Propose, class Reward>
  auto sample(Propose&& propose, Reward&& reward, Rng& rng) const {
    for (std::int64_t i = 0; i < max_proposals_; ++i) {
      auto y = propose();
      if (accept(reward(y), rng)) return y;
    }
    fail(where, "none of {} proposals was accepted; expected a bound nearer to the rewards, or a larger beta",
         max_proposals_);
  }

 private:
  static constexpr std::string_view where = "RejectionSampler";
  double bound_, beta_;
  std::int64_t max_proposals_;
};

/// `number` of the candidates, without replacement, by their rewards (algorithm 1): passes over the candidates that are
/// left accept each with probability exp((r - bound) / beta), where the bound is the largest reward among those left at
/// the beginning of the pass. Returns indices into `rewards`, in the order of acceptance, all different.
///
/// The best candidate is accepted in the first pass, unless `number` others come before it. beta to 0 gives the
/// candidates of the largest rewards (of equal ones the first), beta to infinity the first `number` of them, `number` =
/// candidates a permutation. The bound is the candidates' own and moves, so that this only approximates samples of pi*;
/// `RejectionSampler` is exact. One output a candidate that is looked at. Allocates the result and a list of the
/// candidates left. Throws `Error` for `number` outside of [1, candidates], beta <= 0 and rewards that aren't finite.
inline std::vector<int> rejection_sample(std::span<const double> rewards, int number, double beta, Rng& rng) {
  constexpr std::string_view where = "rejection_sample";
  check_finite(where, "rewards", rewards);
  check_positive(where, "beta", beta);
  check_positive(where, "number", number);
  if (static_cast<std::size_t>(number) > rewards.size())
    fail(where, "number is {} of {} candidates; expected at most all of them", number, rewards.size());
  std::vector<int> left(rewards.size()), accepted;
  for (std::size_t i = 0; i < left.size(); ++i) left[i] = static_cast<int>(i);
  accepted.reserve(static_cast<std::size_t>(number));
  const auto reward = [&](int i) { return rewards[static_cast<std::size_t>(i)]; };
  while (accepted.size() < static_cast<std::size_t>(number)) {
    const auto best = std::max_element(left.begin(), left.end(), [&](int a, int b) { return reward(a) < reward(b); });
    const double bound = reward(*best);
    std::size_t kept = 0;
    for (const int i : left) {
      const bool full = accepted.size() == static_cast<std::size_t>(number);
      if (!full && rng.uniform() < elementary::exp((reward(i) - bound) / beta))
        accepted.push_back(i);
      else
        left[kept++] = i;
    }
    left.resize(kept);
  }
  return accepted;
}

}  // namespace valence
