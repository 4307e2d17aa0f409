#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/env/bandits.hpp"

/// What a learner of bandits is, what most of them remember, and the loop that plays one against a bandit and counts
/// its regret.
namespace valence {

/// Chooses an arm and is told what it paid. `update` may be called for arms that others chose.
template <class A>
concept BanditAgent = std::copyable<A> && requires(A agent, int arm, double reward, Rng& rng) {
  { agent.choose(rng) } -> std::convertible_to<int>;
  agent.update(arm, reward);
};

/// The same for bandits with contexts: a vector that is seen before the choice.
template <class A>
concept ContextualBanditAgent =
    std::copyable<A> && requires(A agent, std::span<const double> x, int arm, double reward, Rng& rng) {
      { agent.choose(x, rng) } -> std::convertible_to<int>;
      agent.update(x, arm, reward);
    };

namespace detail {

/// The index of the largest value; of those that tie, each with the same probability (pitfall V22). One output, whether
/// there are ties or not. The values are not empty and have no NaN.
inline int random_argmax(std::span<const double> values, Rng& rng) {
  double best = values[0];
  int ties = 0;
  for (const double v : values) {
    if (v > best) best = v, ties = 0;
    if (v == best) ++ties;
  }
  int skip = rng.below(ties), index = 0;
  while (values[static_cast<std::size_t>(index)] != best || skip-- > 0) ++index;
  return index;
}

/// A reward that a learner may believe.
inline void check_reward(std::string_view where, double reward, double low, double high) {
  if (!(reward >= low && reward <= high)) fail(where, "reward is {}; expected a number in [{}, {}]", reward, low, high);
}

}  // namespace detail

/// How often each arm was pulled and what it paid on average.
class ArmStatistics {
 public:
  /// Throws if `arms` < 1.
  explicit ArmStatistics(int arms) {
    check_positive("ArmStatistics", "arms", arms);
    pulls_.resize(static_cast<std::size_t>(arms));
    means_.resize(static_cast<std::size_t>(arms));
  }

  int arms() const { return static_cast<int>(pulls_.size()); }
  /// Of all arms together.
  std::uint64_t total() const { return total_; }
  /// An entry an arm.
  std::span<const std::uint64_t> pulls() const { return pulls_; }
  /// An entry an arm; 0 where it was never pulled.
  std::span<const double> means() const { return means_; }

  /// Takes in one reward. Throws, and changes nothing, if there is no such arm or the reward is not finite.
  void add(int arm, double reward) {
    detail::check_arm("ArmStatistics::add", arm, arms());
    check_finite("ArmStatistics::add", "reward", reward);
    const auto a = static_cast<std::size_t>(arm);
    const auto n = static_cast<double>(++pulls_[a]);
    means_[a] += reward / n - means_[a] / n;  // (reward - mean) / n may overflow
    ++total_;
  }

  template <class A>
  void archive(A& ar) {
    ar(pulls_, means_, total_);
  }

 private:
  std::vector<std::uint64_t> pulls_;
  std::vector<double> means_;
  std::uint64_t total_ = 0;
};

/// What `run_bandit` is told.
struct BanditRunOptions {
  std::uint64_t steps = 1000;  ///< pulls
};

/// What `run_bandit` saw.
struct BanditRun {
  /// Cumulative pseudo-regret: after each step, the sum so far of the best mean minus the mean of the arm that was
  /// pulled. Never decreases. With contexts, both are of the step's context.
  std::vector<double> regret = {};
  std::vector<std::uint64_t> pulls = {};  ///< an entry an arm
  double reward = 0;                      ///< the sum of what was paid
};

/// Plays `agent`, which goes on learning, against a copy of `bandit`. If the agent takes contexts, the bandit draws one
/// before every choice. `progress` is told of every 1000th step and may stop: the result is then shorter. Throws if the
/// agent's number of arms differs from the bandit's, or it chooses an arm that is not there.
///
///     BanditRun run = run_bandit(agent, BernoulliBandit{{0.2, 0.5}}, {.steps = 10'000}, rng);
template <class Agent, class B>
BanditRun run_bandit(Agent& agent, B bandit, const BanditRunOptions& options, Rng& rng, Progress progress = {}) {
  constexpr bool contextual = ContextualBanditAgent<Agent>;
  static_assert(Bandit<B>,
                "valence: a bandit needs arms(), pull(arm, rng), mean(arm) and best_mean(), and can be copied");
  static_assert(contextual || BanditAgent<Agent>,
                "valence: an agent for bandits needs choose(rng) and update(arm, reward), or, with contexts, "
                "choose(std::span<const double> x, rng) and update(x, arm, reward)");
  static_assert(!contextual || ContextualBandit<B>,
                "valence: this agent takes contexts; the bandit needs reset(rng) and context()");
  const int arms = bandit.arms();
  if constexpr (requires {
                  { agent.arms() } -> std::convertible_to<int>;
                })
    if (agent.arms() != arms) fail("run_bandit", "the agent has {} arms; expected {}", int{agent.arms()}, arms);
  BanditRun run;
  run.pulls.resize(static_cast<std::size_t>(arms));
  run.regret.reserve(static_cast<std::size_t>(options.steps));
  double regret = 0;
  for (std::uint64_t t = 1; t <= options.steps; ++t) {
    const int arm = [&]() -> int {
      if constexpr (contextual) {
        bandit.reset(rng);
        return agent.choose(bandit.context(), rng);
      } else {
        return agent.choose(rng);
      }
    }();
    detail::check_arm("run_bandit", arm, arms);
    const double reward = bandit.pull(arm, rng);
    if constexpr (contextual)
      agent.update(bandit.context(), arm, reward);
    else
      agent.update(arm, reward);
    regret += bandit.best_mean() - bandit.mean(arm);
    run.regret.push_back(regret);
    ++run.pulls[static_cast<std::size_t>(arm)];
    run.reward += reward;
    if (t % 1000 == 0 &&
        !progress({.step = t, .total = options.steps, .task = "bandit", .metric = "regret", .value = regret}))
      break;
  }
  return run;
}

}  // namespace valence
