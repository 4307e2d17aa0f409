#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/bandit.hpp"
#include "valence/agent/thompson.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"

/// Best-arm identification: what is earned on the way does not count, only which arm is named in the end.
namespace valence {

/// What `TopTwoThompson` is told.
struct TopTwoOptions {
  double top_probability = 0.5;  ///< of playing the leader and not its challenger; in (0, 1]. The paper's beta
  int max_resamples = 1000;      ///< draws for a challenger before the runner-up of the last draw takes its place; >= 1
};

/// Top-two Thompson sampling (Russo 2016, section 3.3): the leader is the best arm of a draw of means; with probability
/// `top_probability` it is played, and otherwise the first other arm that leads in further draws. When the beliefs are
/// sure of the leader, that takes ever longer, so it is bounded; `exhausted()` counts how often the bound was hit.
template <RewardPosterior Posterior = BetaPosterior>
class TopTwoThompson {
 public:
  /// Throws if `arms` < 2, the prior is none, or an option is out of range.
  explicit TopTwoThompson(int arms, Posterior prior = {}, TopTwoOptions options = {})
      : options_(options), posteriors_(detail::beliefs(arms, prior)), draws_(posteriors_.size()) {
    if (arms < 2) fail("TopTwoThompson", "arms is {}; expected at least 2", arms);
    if (!(options.top_probability > 0 && options.top_probability <= 1))
      fail("TopTwoThompson", "top_probability is {}; expected a number in (0, 1]", options.top_probability);
    check_positive("TopTwoThompson", "max_resamples", options.max_resamples);
  }

  int arms() const { return static_cast<int>(posteriors_.size()); }
  /// An entry an arm.
  std::span<const Posterior> posteriors() const { return posteriors_; }
  /// The arm with the largest expected mean, the first one of ties: what to name in the end.
  int best() const {
    int best = 0;
    for (int a = 1; a < arms(); ++a)
      if (belief(a).mean() > belief(best).mean()) best = a;
    return best;
  }
  /// How many choices ended at `max_resamples`.
  std::uint64_t exhausted() const { return exhausted_; }

  int choose(Rng& rng) {
    const int leader = draw(rng);
    if (rng.bernoulli(options_.top_probability)) return leader;
    for (int i = 0; i < options_.max_resamples; ++i)
      if (const int challenger = draw(rng); challenger != leader) return challenger;
    ++exhausted_;
    draws_[static_cast<std::size_t>(leader)] = -std::numeric_limits<double>::infinity();
    return detail::random_argmax(draws_, rng);
  }
  /// Throws, and changes nothing, if there is no such arm or the belief refuses the reward.
  void update(int arm, double reward) {
    detail::check_arm("TopTwoThompson::update", arm, arms());
    posteriors_[static_cast<std::size_t>(arm)].update(reward);
  }

  template <class A>
  void archive(A& ar) {
    ar(posteriors_, exhausted_);
  }

 private:
  const Posterior& belief(int arm) const { return posteriors_[static_cast<std::size_t>(arm)]; }
  int draw(Rng& rng) {
    for (std::size_t a = 0; a < draws_.size(); ++a) draws_[a] = posteriors_[a].sample(rng);
    return detail::random_argmax(draws_, rng);
  }

  TopTwoOptions options_;
  std::vector<Posterior> posteriors_;
  std::vector<double> draws_;
  std::uint64_t exhausted_ = 0;
};

/// The schedule of successive rejects: how many pulls each arm that is still in has had by the end of each of the K - 1
/// phases, n_k = ceil((budget - K) / (log_bar(K) (K + 1 - k))) with log_bar(K) = 1/2 + sum_{i=2..K} 1/i (Audibert,
/// Bubeck and Munos 2010, figure 3). An arm goes at the end of each phase, so n_1 + ... + n_{K-1} + n_{K-1} pulls are
/// made, at most `budget`. Throws unless K = `arms` >= 2 and budget > arms.
inline std::vector<std::uint64_t> successive_rejects_schedule(int arms, std::uint64_t budget) {
  if (arms < 2) fail("successive_rejects_schedule", "arms is {}; expected at least 2", arms);
  if (budget <= static_cast<std::uint64_t>(arms))
    fail("successive_rejects_schedule", "budget is {}; expected more pulls than there are arms ({})", budget, arms);
  double log_bar = 0.5;
  for (int i = 2; i <= arms; ++i) log_bar += 1.0 / i;
  std::vector<std::uint64_t> pulls;
  for (int k = 1; k < arms; ++k)
    pulls.push_back(static_cast<std::uint64_t>(
        std::ceil(static_cast<double>(budget - static_cast<std::uint64_t>(arms)) / (log_bar * (arms + 1 - k)))));
  return pulls;
}

/// Successive rejects (Audibert, Bubeck and Munos 2010): phases in which all arms that are still in are pulled equally
/// often; the one of the lowest mean goes at the end of each, ties at random. Rounding leaves some pulls of the budget
/// over, at most as many as there are arms; they go to the last two arms in turn, so that the phases sum to the budget.
///
///     SuccessiveRejects agent{10, 2000};
///     while (!agent.done()) { int arm = agent.choose(rng); agent.update(arm, bandit.pull(arm, rng)); }
///     agent.best();
class SuccessiveRejects {
 public:
  /// Throws unless `arms` >= 2 and `budget` > arms.
  SuccessiveRejects(int arms, std::uint64_t budget) : statistics_((std::max)(arms, 1)), budget_(budget) {
    const std::vector<std::uint64_t> schedule = successive_rejects_schedule(arms, budget);
    std::uint64_t before = 0, end = 0;
    int left = arms;
    for (const std::uint64_t pulls : schedule) {
      end += (pulls - before) * static_cast<std::uint64_t>(left--);
      before = pulls;
      phase_ends_.push_back(end);
    }
    phase_ends_.back() = budget;
    for (int a = 0; a < arms; ++a) active_.push_back(a);
  }

  int arms() const { return statistics_.arms(); }
  const ArmStatistics& statistics() const { return statistics_; }
  /// How many pulls have been made by the end of each phase: arms - 1 numbers, the last of which is the budget.
  std::span<const std::uint64_t> phase_ends() const { return phase_ends_; }
  /// The arms that are still in.
  std::span<const int> active() const { return active_; }
  /// Is the budget spent?
  bool done() const { return statistics_.total() >= budget_; }
  /// Of the arms that are still in, the one of the largest mean so far, the first one of ties.
  int best() const {
    return *std::max_element(active_.begin(), active_.end(), [this](int a, int b) { return mean(a) < mean(b); });
  }

  /// The next arm of the phase: of those still in, one with the fewest pulls. After the budget is spent, `best()`. One
  /// output for each arm that goes.
  int choose(Rng& rng) {
    if (done()) return best();
    while (phase_ends_[rejected()] <= statistics_.total()) reject(rng);
    return *std::min_element(active_.begin(), active_.end(), [this](int a, int b) { return pulls(a) < pulls(b); });
  }
  /// Throws, and changes nothing, if there is no such arm or the reward is not finite.
  void update(int arm, double reward) { statistics_.add(arm, reward); }

  template <class A>
  void archive(A& ar) {
    ar(statistics_, active_, phase_ends_, budget_);
  }

 private:
  std::size_t rejected() const { return static_cast<std::size_t>(arms()) - active_.size(); }
  double mean(int arm) const { return statistics_.means()[static_cast<std::size_t>(arm)]; }
  std::uint64_t pulls(int arm) const { return statistics_.pulls()[static_cast<std::size_t>(arm)]; }
  void reject(Rng& rng) {
    double worst = mean(active_[0]);
    for (const int a : active_) worst = (std::min)(worst, mean(a));
    const auto is_worst = [&](int a) { return mean(a) == worst; };
    auto skip = rng.below(std::count_if(active_.begin(), active_.end(), is_worst));
    active_.erase(std::find_if(active_.begin(), active_.end(), [&](int a) { return is_worst(a) && skip-- == 0; }));
  }

  ArmStatistics statistics_;
  std::vector<int> active_ = {};
  std::vector<std::uint64_t> phase_ends_ = {};
  std::uint64_t budget_;
};

}  // namespace valence
