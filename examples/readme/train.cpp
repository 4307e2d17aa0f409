#include <fmt/core.h>

#include <algorithm>
#include <valence/agent.hpp>
#include <valence/function.hpp>

namespace vl = valence;

struct Corridor {
  using State = int;
  using Action = int;
  int reset(vl::Rng&) { return x = 0; }
  vl::Step<int> step(int action, vl::Rng&) {
    x = std::max(0, x + (action == 1 ? 1 : -1));
    return {.next = x, .reward = x == 9 ? 1.0 : -0.01, .terminated = x == 9};
  }
  vl::Discrete actions() const { return {2}; }
  int x = 0;
};

int main() {
  // [train]
  vl::Rng rng{7};
  auto agent = vl::QLearning{vl::Tabular{10, 2}, vl::EpsilonGreedy{0.1}, {.step_size = 0.5, .discount = 0.99}};
  const auto log = vl::train(agent, Corridor{}, {.steps = 10'000}, rng);
  const auto result = vl::evaluate(agent, Corridor{}, {.episodes = 100}, rng);
  fmt::print("{} episodes; the greedy policy earns {:.2f}\n", log.episodes.size(), result.mean);
  // [/train]
  return result.mean > 0.9 ? 0 : 1;
}
