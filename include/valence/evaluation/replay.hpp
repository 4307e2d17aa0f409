#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "valence/agent/bandit.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/evaluation/bandit_feedback.hpp"

namespace valence {

/// What `replay` saw.
struct ReplayResult {
  RunningMoments reward = {};        ///< of the rounds that were kept; `mean()` is the agent's mean reward a round
  std::uint64_t rounds = 0;          ///< of the log that were looked at
  std::vector<double> rewards = {};  ///< of the rounds that were kept, in order: how the agent learnt
};

/// Plays a learning agent on a log instead of the world (Li, Chu, Langford and Wang 2011, algorithm 2): in each round
/// the agent chooses; where it chooses what was logged, it is paid what was logged and learns, and all other rounds are
/// as if they had never been. If the logging policy was uniform and rounds are independent, the kept rounds are
/// distributed as if the agent had played, so their mean is unbiased for its reward; about rounds / actions are kept.
/// An agent with contexts is given the log's. Positions are not told apart.
///
/// Throws `Error`, with the row, for a log that is not in order or whose propensities are not all 1 / actions (to a
/// millionth, relative), and where no round was kept. The agent has learnt from the rounds before a later error of its
/// own.
template <class Agent>
ReplayResult replay(Agent& agent, const LoggedBandit& log, Rng& rng) {
  constexpr bool contextual = ContextualBanditAgent<Agent>;
  static_assert(contextual || BanditAgent<Agent>,
                "valence: an agent for bandits needs choose(rng) and update(arm, reward), or, with contexts, "
                "choose(std::span<const double> x, rng) and update(x, arm, reward)");
  check_log("replay", log);
  const double uniform = 1.0 / log.actions;
  for (std::size_t i = 0; i < log.size(); ++i)
    if (!(std::abs(log.propensity[i] - uniform) <= 1e-6 * uniform))
      fail("replay", "propensity[{}] is {}; expected 1 / {} = {}: replay needs a uniform logging policy", i,
           log.propensity[i], log.actions, uniform);
  ReplayResult out;
  for (std::size_t i = 0; i < log.size(); ++i) {
    ++out.rounds;
    if constexpr (contextual) {
      const std::span<const double> x = log.situation(i).context;
      if (agent.choose(x, rng) != log.action[i]) continue;
      agent.update(x, log.action[i], log.reward[i]);
    } else {
      if (agent.choose(rng) != log.action[i]) continue;
      agent.update(log.action[i], log.reward[i]);
    }
    out.reward.add(log.reward[i]);
    out.rewards.push_back(log.reward[i]);
  }
  if (out.rewards.empty()) fail("replay", "the agent chose none of the {} logged actions", log.size());
  return out;
}

}  // namespace valence
