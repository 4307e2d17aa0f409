// The README's deep agents: a DQN whose head is one line, and what it leaves behind.
#include <fmt/core.h>

#include <valence/io.hpp>
#include <valence/valence.hpp>

namespace vl = valence;

int main() {
  const vl::TimeLimit env{vl::CartPole{}};
  vl::Rng rng{7};
  // [deep]
  const auto head = vl::QuantileReturn{.quantiles = 20};  // or ScalarHead{}, CategoricalReturn{...}, HlGauss{...}
  vl::Dqn agent{vl::Mlp<float>{{4, 64, 64, head.size(2)}, vl::relu},
                head,
                vl::Adam{.step_size = 1e-3},
                {.double_q = true, .n_step = 3, .priorities = vl::PriorityOptions{}, .target_every = 250}};
  vl::train(agent, env, {.steps = 20'000}, rng, vl::CsvLog{"build/readme/progress.csv"}, vl::StopWhenSolved{195});

  auto policy = vl::saved_policy(agent);  // the weights alone: acts from one small header, without a heap
  vl::save_policy("build/readme/policy.safetensors", policy);
  vl::save_policy_source("build/readme/policy.hpp", policy);  // or as plain C++, for a robot without exceptions
  // [/deep]
  fmt::print("the greedy policy balances for {:.0f} steps\n", vl::evaluate(agent, env, {.episodes = 20}, rng).mean);
}
