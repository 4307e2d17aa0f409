#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/agent/agent.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/vector_environment.hpp"
#include "valence/mdp/step.hpp"

/// `train` and `Run` for environments that are played side by side, by agents that act and learn for all lanes at once:
/// A2C, PPO.
namespace valence {

/// Has `act(states, actions, rng)` and `learn(transitions, rng)` over spans with an entry a lane.
template <class A, class State, class Action>
concept LaneAgent = requires(A agent, std::span<const State> states, std::span<Action> actions,
                             std::span<const Transition<State, Action>> transitions, Rng& rng) {
  agent.act(states, actions, rng);
  agent.learn(transitions, rng);
};

namespace detail {

/// Where a loop over lanes stands. The environments' generators are with the environments.
struct LaneLoop {
  bool begun = false;
  std::vector<Episode> episode = {};  // being played, a lane each
  TrainingLog log = {};

  template <class A>
  void archive(A& ar) {
    ar(begun, episode, log);
  }
};

template <class A, class E, class... Callbacks>
void run_lanes(LaneLoop& loop, A& agent, VectorEnvironment<E>& lanes, const TrainOptions& limits, Rng& env_rng,
               Rng& agent_rng, Callbacks&... callbacks) {
  using State = typename E::State;
  using Action = typename E::Action;
  explain_environment<E>();
  static_assert(
      LaneAgent<A, State, Action>,
      "valence: an agent for lanes needs `act(states, actions, rng)` and `learn(transitions, rng)` over spans");
  explain_callbacks<Callbacks...>();
  check_training(agent, lanes.environment(0), limits);
  if (lanes.autoreset() != Autoreset::same_step)
    fail("train", "the environments reset in another step; expected a VectorEnvironment with Autoreset::same_step");
  const auto n = static_cast<std::size_t>(lanes.size());
  TrainingLog& log = loop.log;
  log.stopped = false;
  if (!loop.begun) {
    lanes.reset(Rng(env_rng.split(0)));
    loop.episode.assign(n, Episode{});
    loop.begun = true;
    if constexpr (requires { agent.begin_episode(); }) agent.begin_episode();
  }
  std::vector<Action> actions(n);
  std::vector<Transition<State, Action>> transitions(n);
  std::vector<Episode> ended;
  Eigen::Array<bool, Eigen::Dynamic, 1> cut = Eigen::Array<bool, Eigen::Dynamic, 1>::Constant(lanes.size(), false);
  std::int64_t steps = 0, episodes = 0, reported = 0;
  bool over = false;
  while (!over) {
    agent.act(std::span<const State>(lanes.states()), std::span<Action>(actions), agent_rng);
    lanes.step(actions);
    bool any_cut = false;
    ended.clear();
    for (std::size_t k = 0; k < n; ++k) {
      auto& t = transitions[k] = lanes.transition(static_cast<int>(k));
      if (!std::isfinite(t.reward))
        fail("train", "the reward of step {} in lane {} is {}; expected a finite number", log.steps, k, t.reward);
      Episode& episode = loop.episode[k];
      ++episode.length, episode.total_reward += t.reward;
      const bool limit = episode.length >= limits.max_episode_steps && !t.terminated && !t.truncated;
      cut[static_cast<Eigen::Index>(k)] = limit, any_cut = any_cut || limit;
      if (limit) t.truncated = true;
      if (!t.terminated && !t.truncated) continue;
      episode.terminated = t.terminated, episode.truncated = t.truncated;
      ended.push_back(episode);
      episode = {};
    }
    agent.learn(std::span<const Transition<State, Action>>(transitions), agent_rng);
    if (any_cut) lanes.reset(std::span<const bool>(cut.data(), n));
    log.steps += static_cast<std::int64_t>(n), steps += static_cast<std::int64_t>(n);
    bool go_on = true;
    for (Episode& episode : ended) {
      episode.end = log.steps;
      log.episodes.push_back(episode), ++episodes;
      if constexpr (sizeof...(Callbacks) > 0) {
        tell_learning(agent, log.steps, callbacks...);
        ((go_on = tell_episode(callbacks, episode) && go_on), ...);
      }
    }
    over = (limits.steps > 0 && steps >= limits.steps) || (limits.episodes > 0 && episodes >= limits.episodes);
    if constexpr (sizeof...(Callbacks) > 0) {
      if (over && ended.empty()) tell_learning(agent, log.steps, callbacks...);
      if (over || steps - reported >= steps_a_report) {
        const ProgressEvent event = training_event(limits, steps, episodes, log);
        ((go_on = tell_progress(callbacks, event) && go_on), ...);
        reported = steps;
      }
    }
    if (!go_on) log.stopped = !over, over = true;
  }
}

}  // namespace detail

/// A run over lanes: see `Run`. Steps are counted over all lanes, so a limit that their number doesn't divide is passed
/// by less than a step of each.
template <class AgentType, class E>
class Run<AgentType, VectorEnvironment<E>> {
 public:
  AgentType agent;
  VectorEnvironment<E> environment;

  Run(AgentType learner, VectorEnvironment<E> lanes, const Rng& rng,
      std::int64_t max_episode_steps = TrainOptions{}.max_episode_steps)
      : agent(std::move(learner)),
        environment(std::move(lanes)),
        env_rng_(rng.split(0)),
        agent_rng_(rng.split(1)),
        max_episode_steps_(max_episode_steps) {
    check_positive("Run", "max_episode_steps", max_episode_steps);
  }

  /// Plays so many steps more, fewer where a callback ends it. Callbacks as for `train`.
  template <class... Callbacks>
  void advance(std::int64_t steps, Callbacks&&... callbacks) {
    if (steps != 0)
      detail::run_lanes(loop_, agent, environment, {.steps = steps, .max_episode_steps = max_episode_steps_}, env_rng_,
                        agent_rng_, callbacks...);
  }
  /// Plays until so many episodes more have ended.
  template <class... Callbacks>
  void advance_episodes(std::int64_t episodes, Callbacks&&... callbacks) {
    if (episodes != 0)
      detail::run_lanes(loop_, agent, environment, {.episodes = episodes, .max_episode_steps = max_episode_steps_},
                        env_rng_, agent_rng_, callbacks...);
  }

  const TrainingLog& log() const { return loop_.log; }
  std::int64_t steps() const { return loop_.log.steps; }

  template <class A>
  void archive(A& ar)
    requires Archivable<AgentType> && Archivable<VectorEnvironment<E>>
  {
    ar(agent, environment, env_rng_, agent_rng_, max_episode_steps_, loop_);
  }

 private:
  Rng env_rng_, agent_rng_;
  std::int64_t max_episode_steps_;
  detail::LaneLoop loop_ = {};
};

/// `train` over lanes: `limits.steps` and the log count the steps of all of them, episodes stand in the order in which
/// they ended (those of one step by lane).
///
///     VectorEnvironment lanes{TimeLimit{CartPole{}}, 8, {.autoreset = Autoreset::same_step}};
///     auto log = train(agent, lanes, {.steps = 100'000}, rng);     // agent has {.lanes = 8}
///
/// Throws `Error` for lanes in another autoreset mode, and what `train` throws.
template <class AgentType, class E, class... Callbacks>
TrainingLog train(AgentType& agent, VectorEnvironment<E> lanes, const TrainOptions& options, Rng& rng,
                  Callbacks&&... callbacks) {
  detail::LaneLoop loop;
  const Rng streams = rng.split(rng());
  Rng env_rng = streams.split(0), agent_rng = streams.split(1);
  detail::run_lanes(loop, agent, lanes, options, env_rng, agent_rng, callbacks...);
  return std::move(loop.log);
}

}  // namespace valence
