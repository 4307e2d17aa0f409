// A2C (Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning", algorithm S3, its workers in step) on
// one page, top to bottom: eight carts are played side by side, and after every few moves the policy takes one step.
// Compare ppo.cpp, which takes many. `A2c` in valence/agent/a2c.hpp is the same as an agent.
//
//   agent_a2c [--seed S] [--steps N] [--quick]

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "valence/agent/evaluate.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/vector_environment.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy_gradient/surrogate.hpp"
#include "valence/value/gae.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 300'000;  // of all lanes
  int lanes = 8, horizon = 16;
  double discount = 0.99, lambda = 0.95;
  double step_size = 5e-3;  // falls to 0
  double value_weight = 0.5, entropy_weight = 0.01, max_gradient_norm = 0.5;
  double threshold = 400;
  bool quick = false;
};

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--quick") options.quick = true, options.steps = 5'000;
    if (flag == "--seed" && i + 1 < argc) options.seed = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--steps" && i + 1 < argc) options.steps = std::strtoll(argv[i + 1], nullptr, 10);
  }
  vl::Rng rng = vl::Rng{options.seed}.split(0), env_rng = vl::Rng{options.seed}.split(1);
  const vl::TimeLimit env{vl::CartPole{}};
  vl::VectorEnvironment lanes{env, options.lanes, {.autoreset = vl::Autoreset::same_step}};
  lanes.reset(env_rng);

  // Actor and critic stand side by side in one vector of parameters: outputs 0 and 1 are the logits of the law, output
  // 2 is V(s). A small last layer makes the first policy uniform.
  using Net = vl::Parallel<vl::Mlp<float>, vl::Mlp<float>>;
  constexpr auto tanh = vl::Activation::tanh;
  const Net net{{{4, 64, 64, 2}, tanh, {.output_gain = 0.01}}, {{4, 64, 64, 1}, tanh}};
  const vl::Softmax law{.actions = 2};
  std::vector<float> theta(net.parameter_count()), gradient(theta.size());
  net.initialize(theta, rng);
  auto optimizer =
      vl::RmsProp{.step_size = options.step_size, .decay = 0.99, .epsilon = 1e-5}.start<float>(theta.size());
  Net::Tape tape;  // what a forward keeps for its pullback
  const auto logits = [](auto&& y, Eigen::Index j) { return std::span(y.col(j).data(), 2); };

  // The rollout: an entry (lane, row) a transition, and in `state` and `arrived` a column row * lanes + lane.
  const Eigen::Index side = options.lanes, rows = options.horizon, n = side * rows;
  vl::Matrix<float> state(4, n), arrived(4, n), reward(side, rows), value(side, rows);
  vl::Matrix<float> next_value(side, rows), advantage(side, rows), target(side, rows), dy;
  vl::Matrix<int> action(side, rows);
  Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> terminated(side, rows), truncated(side, rows);

  for (std::int64_t t = 0; t < options.steps; t += n) {
    const double left = 1 - static_cast<double>(t) / static_cast<double>(options.steps);

    // Act in all lanes at once.
    for (Eigen::Index row = 0; row < rows; ++row) {
      Eigen::Index i = row * side;
      for (const auto& s : lanes.states()) state.col(i++) = s.cast<float>();
      const auto y = net.forward(theta, {&state(0, row * side), 4, side}, tape);
      for (Eigen::Index k = 0; k < side; ++k) {
        action(k, row) = law.sample(logits(y, k), rng);
        value(k, row) = y(2, k);
      }
      lanes.step(std::span(&action(0, row), lanes.states().size()));
      for (int k = 0; k < lanes.size(); ++k) {
        const auto step = lanes.transition(k);  // its `next` is where the action led, never the next episode's start
        reward(k, row) = static_cast<float>(step.reward);
        terminated(k, row) = step.terminated, truncated(k, row) = step.truncated;
        arrived.col(row * side + k) = step.next.cast<float>();
      }
    }

    // Advantages and the critic's targets (Schulman et al. 2016, equation 16): lambda between one step and all of them.
    next_value.reshaped() = net.forward(theta, arrived, tape).row(2).transpose();
    vl::gae(vl::Steps<float>{.reward = vl::view(reward),
                             .value = vl::view(value),
                             .next_value = vl::view(next_value),
                             .terminated = vl::view(terminated),
                             .truncated = vl::view(truncated),
                             .environments = lanes.states().size()},
            {.advantage = vl::view(advantage), .target = vl::view(target)},
            {.discount = options.discount, .lambda = options.lambda});

    // Learn: one step down the mean of -A log pi(a | s) - entropy weight * H(pi) + value weight * (V(s) - target)^2 /
    // 2.
    const vl::ActorCritic loss{options.entropy_weight, options.value_weight};
    const auto y = net.forward(theta, state, tape);
    dy.setZero(3, n);
    for (Eigen::Index i = 0; i < n; ++i)
      dy(2, i) =
          loss(logits(y, i), action(i), advantage(i), y(2, i), target(i), 1 / static_cast<float>(n), logits(dy, i))
              .d_value;
    std::ranges::fill(gradient, 0.0F);
    net.pullback(theta, state, tape, {dy.data(), 3, n}, gradient);
    vl::clip_global_norm(std::span(gradient), options.max_gradient_norm);
    optimizer.step(theta, gradient, left);
  }

  const auto policy = [&](const auto& s, vl::Rng&) {
    return law.mode(logits(net.forward(theta, vl::Matrix<float>(s.template cast<float>()), tape), 0));
  };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
