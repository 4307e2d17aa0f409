#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/agent/agent.hpp"
#include "valence/agent/metrics.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/step.hpp"

/// The loop between an agent and an environment: act, step, learn. `train` runs it; `Run` is the same loop as an
/// object, which can be saved in the middle of an episode.
namespace valence {

/// An episode that ended, or the part so far of the one that is played.
struct Episode {
  double total_reward = 0;  ///< the return, not discounted
  std::int64_t length = 0;  ///< steps
  bool terminated = false, truncated = false;
  std::int64_t end = 0;  ///< the run's steps when it ended, those of other lanes included

  template <class A>
  void archive(A& ar) {
    ar(total_reward, length, terminated, truncated, end);
  }
};

/// What was played.
struct TrainingLog {
  std::vector<Episode> episodes = {};  ///< those that ended, in order
  std::int64_t steps = 0;              ///< of these and of the unfinished one
  bool stopped = false;                ///< a callback ended the run before its limits

  /// The mean of the returns of the last `last` episodes, or of all if there are fewer; NaN where none has ended.
  double mean_return(std::size_t last = 100) const {
    const std::size_t count = (std::min)(last, episodes.size());
    double sum = 0;
    for (std::size_t k = episodes.size() - count; k < episodes.size(); ++k) sum += episodes[k].total_reward;
    return sum / static_cast<double>(count);
  }

  template <class A>
  void archive(A& ar) {
    ar(episodes, steps, stopped);
  }
};

/// When training ends: after so many steps or episodes, whichever comes first; 0 for no limit, and one must be set. The
/// environment's episodes are cut off after `max_episode_steps` >= 1, so that one which never ends can't hold the loop
/// up:
/// the learner sees the last transition as truncated.
struct TrainOptions {
  std::int64_t steps = 0, episodes = 0, max_episode_steps = 100'000;
};

/// Called at the end of every episode. Returns nothing, or whether to go on.
template <class C>
concept EpisodeCallback =
    std::invocable<C&, const Episode&> && (std::is_void_v<std::invoke_result_t<C&, const Episode&>> ||
                                           std::convertible_to<std::invoke_result_t<C&, const Episode&>, bool>);

/// A callback that ends training as soon as the last `window` >= 1 episodes earned `mean_return` on average.
struct StopWhenSolved {
  double mean_return;
  std::size_t window = 100;
  std::vector<double> recent = {};  ///< returns of these, the oldest at `oldest`
  std::size_t oldest = 0;

  bool operator()(const Episode& episode) {
    check_positive("StopWhenSolved", "window", window);
    if (recent.size() < window)
      recent.push_back(episode.total_reward);
    else
      recent[oldest] = episode.total_reward, oldest = (oldest + 1) % window;
    double sum = 0;
    for (const double r : recent) sum += r;
    return recent.size() < window || sum / static_cast<double>(window) < mean_return;
  }
};

namespace detail {

/// Where a loop stands.
template <class State>
struct EpisodeLoop {
  std::optional<State> state = {};  // nothing: the next step begins an episode
  Episode episode = {};
  TrainingLog log = {};

  template <class A>
  void archive(A& ar) {
    ar(state, episode, log);
  }
};

/// One step. Did it end the episode?
template <class A, class E, class State>
bool step_once(EpisodeLoop<State>& loop, A& agent, E& env, std::int64_t max_episode_steps, Rng& env_rng,
               Rng& agent_rng) {
  using Action = typename E::Action;
  if (!loop.state) {
    loop.state.emplace(env.reset(env_rng));
    loop.episode = {};
    if constexpr (requires { agent.begin_episode(); }) agent.begin_episode();
  }
  Action action = agent.act(std::as_const(*loop.state), agent_rng);
  auto step = env.step(std::as_const(action), env_rng);
  Transition<State, Action> t{std::move(*loop.state),
                              std::move(action),
                              static_cast<double>(step.reward),
                              std::move(step.next),
                              static_cast<bool>(step.terminated),
                              static_cast<bool>(step.truncated)};
  if (!std::isfinite(t.reward)) [[unlikely]]
    fail("train", "the reward of step {} is {}; expected a finite number", loop.log.steps, t.reward);
  ++loop.log.steps;
  ++loop.episode.length;
  loop.episode.total_reward += t.reward;
  if (loop.episode.length >= max_episode_steps && !t.terminated) t.truncated = true;
  agent.learn(std::as_const(t), agent_rng);
  if (!t.terminated && !t.truncated) {
    loop.state.emplace(std::move(t.next));
    return false;
  }
  loop.state.reset();
  loop.episode.terminated = t.terminated, loop.episode.truncated = t.truncated;
  loop.episode.end = loop.log.steps;
  loop.log.episodes.push_back(loop.episode);
  return true;
}

/// Calls a callback if it is one of this kind. Shall the loop go on?
template <class C>
bool tell_episode(C& callback, const Episode& episode) {
  if constexpr (EpisodeCallback<C>) {
    if constexpr (std::is_void_v<std::invoke_result_t<C&, const Episode&>>)
      callback(episode);
    else
      return static_cast<bool>(callback(episode));
  }
  return true;
}
template <class C>
bool tell_progress(C& callback, const ProgressEvent& event) {
  if constexpr (ProgressCallback<C>) return Progress(callback)(event);
  return true;
}
template <class A, class... Callbacks>
void tell_learning([[maybe_unused]] const A& agent, [[maybe_unused]] std::int64_t step, Callbacks&... callbacks) {
  if constexpr (TellsMetrics<A> && (... || LearningCallback<Callbacks>)) {
    const auto metrics = agent.metrics();
    const LearningEvent event{step, metrics};
    const auto tell = [&](auto& callback) {
      if constexpr (LearningCallback<std::remove_reference_t<decltype(callback)>>) callback(event);
    };
    (tell(callbacks), ...);
  }
}

template <class... Callbacks>
consteval void explain_callbacks() {
  static_assert((... && (EpisodeCallback<Callbacks> || ProgressCallback<Callbacks> || LearningCallback<Callbacks>)),
                "valence: a callback takes a `const valence::Episode&`, a `const valence::ProgressEvent&` or a `const "
                "valence::LearningEvent&`, and the first two return nothing or whether to go on");
}

/// Checks limits, and that agent and environment know as many actions.
template <class A, class E>
void check_training([[maybe_unused]] const A& agent, [[maybe_unused]] const E& env, const TrainOptions& limits) {
  constexpr auto where = "train";
  if (limits.steps < 0) fail(where, "steps is {}; expected 0 or more", limits.steps);
  if (limits.episodes < 0) fail(where, "episodes is {}; expected 0 or more", limits.episodes);
  if (limits.steps == 0 && limits.episodes == 0) fail(where, "steps and episodes are 0; expected one to be more");
  check_positive(where, "max_episode_steps", limits.max_episode_steps);
  if constexpr (requires {
                  { agent.actions() } -> std::convertible_to<int>;
                  { env.actions().n } -> std::convertible_to<int>;
                })
    if (agent.actions() != env.actions().n)
      fail(where, "the agent knows {} actions; expected the environment's {}", int{agent.actions()},
           int{env.actions().n});
}

inline ProgressEvent training_event(const TrainOptions& limits, std::int64_t steps, std::int64_t episodes,
                                    const TrainingLog& log) {
  const bool by_steps = limits.steps > 0;
  return {.step = static_cast<std::uint64_t>(by_steps ? steps : episodes),
          .total = static_cast<std::uint64_t>(by_steps ? limits.steps : limits.episodes),
          .task = "train",
          .metric = log.episodes.empty() ? "" : "return",
          .value = log.episodes.empty() ? 0 : log.episodes.back().total_reward};
}

inline constexpr std::int64_t steps_a_report = 1024;

/// Goes on until a limit is reached (0 for none) or a callback returns false.
template <class A, class E, class State, class... Callbacks>
void run_loop(EpisodeLoop<State>& loop, A& agent, E& env, const TrainOptions& limits, Rng& env_rng, Rng& agent_rng,
              Callbacks&... callbacks) {
  explain_callbacks<Callbacks...>();
  check_training(agent, env, limits);
  TrainingLog& log = loop.log;
  log.stopped = false;
  std::int64_t steps = 0, episodes = 0;
  bool over = false;
  while (!over) {
    const bool ended = step_once(loop, agent, env, limits.max_episode_steps, env_rng, agent_rng);
    ++steps;
    if (ended) ++episodes;
    over = steps == limits.steps || (ended && episodes == limits.episodes);
    if constexpr (sizeof...(Callbacks) > 0) {
      bool go_on = true;
      if (ended || over) tell_learning(agent, log.steps, callbacks...);
      if (ended) ((go_on = tell_episode(callbacks, log.episodes.back()) && go_on), ...);
      if (over || steps % steps_a_report == 0) {
        const ProgressEvent event = training_event(limits, steps, episodes, log);
        ((go_on = tell_progress(callbacks, event) && go_on), ...);
      }
      if (!go_on) log.stopped = !over, over = true;
    }
  }
}

}  // namespace detail

/// A training run as an object: agent, environment, generators and where the episode stands. `archive` lists all of it,
/// so a run that was saved, even in the middle of an episode, goes on to the bit as if it had not been.
///
///     Run run{QLearning{Tabular{10, 2}, EpsilonGreedy{0.1}}, Corridor{}, rng};
///     run.advance(10'000);
///     auto saved = to_bytes(run);
///
/// The environment draws from one stream and the agent from another, both split from the generator given: how much one
/// draws doesn't change what the other sees.
template <class AgentType, class E>
class Run {
  using State = typename E::State;

 public:
  AgentType agent;
  E environment;

  /// `max_episode_steps`: as in `TrainOptions`.
  Run(AgentType learner, E env, const Rng& rng, std::int64_t max_episode_steps = TrainOptions{}.max_episode_steps)
      : agent(std::move(learner)),
        environment(std::move(env)),
        env_rng_(rng.split(0)),
        agent_rng_(rng.split(1)),
        max_episode_steps_(max_episode_steps) {
    explain_environment<E>();
    explain_agent<AgentType, State, typename E::Action>();
    check_positive("Run", "max_episode_steps", max_episode_steps);
  }

  /// Plays so many steps more, fewer where a callback ends it. Callbacks as for `train`.
  template <class... Callbacks>
  void advance(std::int64_t steps, Callbacks&&... callbacks) {
    if (steps != 0) go({.steps = steps, .max_episode_steps = max_episode_steps_}, callbacks...);
  }
  /// Plays until so many episodes more have ended.
  template <class... Callbacks>
  void advance_episodes(std::int64_t episodes, Callbacks&&... callbacks) {
    if (episodes != 0) go({.episodes = episodes, .max_episode_steps = max_episode_steps_}, callbacks...);
  }

  const TrainingLog& log() const { return loop_.log; }
  std::int64_t steps() const { return loop_.log.steps; }
  /// The episode that is being played: not over.
  const Episode& episode() const { return loop_.episode; }

  template <class A>
  void archive(A& ar)
    requires Archivable<AgentType> && Archivable<E> && Archivable<State>
  {
    ar(agent, environment, env_rng_, agent_rng_, max_episode_steps_, loop_);
  }

 private:
  template <class... Callbacks>
  void go(const TrainOptions& limits, Callbacks&... callbacks) {
    detail::run_loop(loop_, agent, environment, limits, env_rng_, agent_rng_, callbacks...);
  }

  Rng env_rng_, agent_rng_;
  std::int64_t max_episode_steps_;
  detail::EpisodeLoop<State> loop_ = {};
};

/// Lets `agent` act and learn in a copy of `env`, and tells what was played.
///
///     auto log = train(agent, Corridor{}, {.steps = 10'000}, rng);
///     auto log = train(agent, env, {.episodes = 500}, rng, ProgressBar{}, StopWhenSolved{195});
///
/// Callbacks take a `const Episode&`, when one ends, or a `const ProgressEvent&`, every 1024 steps and at the end; they
/// return nothing or whether to go on. One that takes a `const LearningEvent&` is told the agent's `metrics()` just
/// before an episode's callbacks. A callback that takes several of these gets them all. The environment and the agent
/// draw from streams of their own; `rng` gives the one output that these are split by, so that a second call plays
/// something else. Rewards that aren't finite throw `Error`, as do limits out of range and an agent with another number
/// of actions than the environment.
template <class AgentType, class E, class... Callbacks>
TrainingLog train(AgentType& agent, E env, const TrainOptions& options, Rng& rng, Callbacks&&... callbacks) {
  explain_environment<E>();
  static_assert(SingleReward<E>, "valence: train needs rewards that are single numbers");
  explain_agent<AgentType, typename E::State, typename E::Action>();
  detail::EpisodeLoop<typename E::State> loop;
  const Rng streams = rng.split(rng());
  Rng env_rng = streams.split(0), agent_rng = streams.split(1);
  detail::run_loop(loop, agent, env, options, env_rng, agent_rng, callbacks...);
  return std::move(loop.log);
}

}  // namespace valence
