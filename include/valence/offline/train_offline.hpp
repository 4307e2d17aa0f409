#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "valence/agent/metrics.hpp"
#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/dataset.hpp"

namespace valence {

/// Learns from a fixed log: `load(dataset)` takes it in, `update(rng)` makes a step on a batch of it.
template <class A>
concept OfflineAgent = requires(A agent, const A& known, Rng& rng) {
  agent.update(rng);
  { known.updates() } -> std::convertible_to<std::int64_t>;
  { known.transitions() } -> std::convertible_to<std::size_t>;
  { known.distinct_transitions() } -> std::convertible_to<std::size_t>;
  { *known.metrics().begin() } -> std::convertible_to<Metric>;
};

/// `updates` >= 1 steps; callbacks are told every `report_every` >= 1 of them, and after the last.
struct TrainOfflineOptions {
  std::int64_t updates = 20'000, report_every = 1000;
};

/// What was done.
struct OfflineLog {
  std::int64_t updates = 0;              ///< steps of this call
  std::size_t transitions = 0;           ///< in the agent's memory
  std::size_t distinct_transitions = 0;  ///< of these, how many were looked at since they were loaded
  std::vector<Metric> metrics = {};      ///< the agent's, of the last update; the names are literals
  bool stopped = false;                  ///< a callback ended the run before its limit

  /// The metric of that name. Throws `Error` where there is none.
  double metric(std::string_view name) const {
    for (const Metric& m : metrics)
      if (m.name == name) return m.value;
    fail("OfflineLog::metric", "there is no metric '{}'; expected one of the agent's {}", name, metrics.size());
  }
};

/// Goes on learning from what `agent` has loaded: `train_offline(agent, dataset, ...)` loads first. Throws `Error` where
/// nothing was loaded (pitfall R19), and where the run diverges: the message says which quantity, and at which update.
template <OfflineAgent A, class... Callbacks>
OfflineLog train_offline(A& agent, const TrainOfflineOptions& options, Rng& rng, Callbacks&&... callbacks) {
  static_assert((... && ProgressCallback<Callbacks>),
                "valence: a callback takes a `const valence::ProgressEvent&`, and returns nothing or whether to go on");
  constexpr auto where = "train_offline";
  check_positive(where, "updates", options.updates);
  check_positive(where, "report_every", options.report_every);
  if (agent.transitions() == 0) fail(where, "the agent has no data; expected it to have loaded a dataset");
  OfflineLog log;
  while (log.updates < options.updates && !log.stopped) {
    agent.update(rng);
    ++log.updates;
    if (log.updates % options.report_every != 0 && log.updates != options.updates) continue;
    const auto metrics = agent.metrics();
    [[maybe_unused]] const ProgressEvent event{.step = static_cast<std::uint64_t>(log.updates),
                                               .total = static_cast<std::uint64_t>(options.updates),
                                               .task = where,
                                               .metric = metrics.begin()->name,
                                               .value = metrics.begin()->value};
    bool go_on = true;
    ((go_on = Progress(callbacks)(event) && go_on), ...);
    log.stopped = !go_on && log.updates < options.updates;
  }
  for (const Metric& m : agent.metrics()) log.metrics.push_back(m);
  log.transitions = agent.transitions();
  log.distinct_transitions = agent.distinct_transitions();
  return log;
}

/// Learns from a dataset: `agent.load(data)`, then `options.updates` steps.
///
///     auto log = train_offline(agent, data, {.updates = 20'000}, rng, ProgressBar{});
///     auto result = evaluate(agent, env, {.episodes = 100}, rng);
template <OfflineAgent A, Dataset D, class... Callbacks>
OfflineLog train_offline(A& agent, const D& data, const TrainOfflineOptions& options, Rng& rng,
                         Callbacks&&... callbacks) {
  agent.load(data);
  return train_offline(agent, options, rng, callbacks...);
}

}  // namespace valence
