#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/prompt_bandit.hpp"
#include "valence/reward/vpo_oracle.hpp"

namespace valence {

/// Where the answer comes from that the policy's own is compared with.
enum class SecondAnswer {
  calibration,  ///< the calibration law: pairs go on telling something when the policy has settled
  policy        ///< the policy too, as in the paper; a policy that always answers alike then learns nothing more
};

struct OnlinePreferenceOptions {
  SecondAnswer second = SecondAnswer::calibration;
  Matrix<double> calibration = {};  ///< answers x prompts, a probability vector in each column; empty: the reference
};

/// Online learning from comparisons (Cen et al. 2024, arXiv:2405.19320, algorithm 1): draw a prompt, answer it twice,
/// let the judge say which is better, estimate the reward anew, play its best policy. A reward is a number for each
/// answer, estimated by `VpoOracle` for each prompt; alpha = 0 is the passive learner. Which law gives the second
/// answer is a choice: see `SecondAnswer`.
///
///     OnlinePreferenceTrainer online{bandit, VpoOracle{.beta = 0.1, .alpha = 1}};
///     std::vector<double> regret = online.run(150, rng);
class OnlinePreferenceTrainer {
 public:
  /// Throws `Error` for a calibration law of another shape.
  OnlinePreferenceTrainer(PromptBandit bandit, VpoOracle oracle, const OnlinePreferenceOptions& options = {})
      : bandit_(std::move(bandit)),
        oracle_(oracle),
        second_(options.second),
        rewards_(Matrix<double>::Zero(bandit_.answers(), bandit_.prompts())),
        policy_(bandit_.reference()) {
    const Matrix<double>& law = options.calibration.size() > 0 ? options.calibration : bandit_.reference();
    check_shape("OnlinePreferenceTrainer", "calibration", law.rows(), law.cols(), bandit_.answers(), bandit_.prompts());
    for (int x = 0; x < bandit_.prompts(); ++x)
      seen_.push_back({.wins = Matrix<double>::Zero(bandit_.answers(), bandit_.answers()),
                       .reference = bandit_.reference().col(x),
                       .calibration = law.col(x)});
    // With nothing seen an optimist already has a favourite.
    for (int x = 0; x < bandit_.prompts(); ++x) learn(x);
  }

  /// `pairs` comparisons, and the regret of the policy that each was collected with: J of the best policy minus its
  /// own, mean over prompts. Goes on from where the last run stopped.
  std::vector<double> run(std::int64_t pairs, Rng& rng) {
    check_positive("OnlinePreferenceTrainer::run", "pairs", pairs);
    const double best = bandit_.best_objective(oracle_.beta);
    std::vector<double> regret;
    for (std::int64_t t = 0; t < pairs; ++t) {
      regret.push_back(best - bandit_.objective(policy_, oracle_.beta));
      const int x = rng.below(bandit_.prompts());
      AnswerComparisons& seen = seen_[static_cast<std::size_t>(x)];
      const auto own = static_cast<std::size_t>(bandit_.answers());
      const std::span<const double> pi(policy_.data() + static_cast<std::size_t>(x) * own, own);
      const auto a = static_cast<int>(rng.categorical(pi));
      const auto b = static_cast<int>(
          rng.categorical(second_ == SecondAnswer::policy ? pi : view(std::as_const(seen.calibration))));
      const bool first_wins = rng.bernoulli(bandit_.preference(x, a, b));
      if (a == b) continue;  // an answer against itself tells nothing
      seen.wins(first_wins ? a : b, first_wins ? b : a) += 1;
      learn(x);
    }
    return regret;
  }

  /// Answers x prompts: the rewards as estimated, and the policy that is best for them.
  const Matrix<double>& rewards() const { return rewards_; }
  const Matrix<double>& policy() const { return policy_; }

 private:
  void learn(int prompt) {
    const AnswerComparisons& seen = seen_[static_cast<std::size_t>(prompt)];
    const auto n = static_cast<std::size_t>(bandit_.answers()), begin = static_cast<std::size_t>(prompt) * n;
    const std::span<double> reward(rewards_.data() + begin, n);
    oracle_.fit(seen, reward);
    oracle_.policy(seen, reward, {policy_.data() + begin, n});
  }

  PromptBandit bandit_;
  VpoOracle oracle_;
  SecondAnswer second_;
  std::vector<AnswerComparisons> seen_;
  Matrix<double> rewards_, policy_;
};

}  // namespace valence
