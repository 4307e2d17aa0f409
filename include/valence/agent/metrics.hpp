#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>

/// What an agent tells about its learning.
namespace valence {

/// A number with a name: "train/loss" and the like, the names of stable-baselines3's loggers.
struct Metric {
  std::string_view name;
  double value;
};

/// An agent that tells such numbers, of its last update.
template <class A>
concept TellsMetrics = requires(const A agent) {
  { std::span<const Metric>(agent.metrics()) };
};

/// What `train` hands to callbacks that take it, at the end of every episode and of the training: the agent's metrics
/// after `step` steps. `metrics` is valid during the call.
struct LearningEvent {
  std::int64_t step = 0;
  std::span<const Metric> metrics = {};
};

/// A callback of them.
template <class C>
concept LearningCallback = std::invocable<C&, const LearningEvent&>;

}  // namespace valence
