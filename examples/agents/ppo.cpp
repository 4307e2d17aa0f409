// PPO (Schulman et al. 2017, "Proximal Policy Optimization Algorithms") on one page, top to bottom: eight carts are
// played side by side for a while, then the policy learns from that for some epochs, no further than a clipped ratio
// lets it go. `Ppo` in valence/agent/ppo.hpp is the same as an agent; ppo_continuous.cpp has a Gaussian law.
//
//   agent_ppo [--seed S] [--steps N] [--quick]

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <numeric>
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

struct Options {  // rl-baselines3-zoo's for CartPole
  std::uint64_t seed = 0;
  std::int64_t steps = 100'000;  // of all lanes
  int lanes = 8, horizon = 32, epochs = 20, batch = 256;
  double discount = 0.98, lambda = 0.8;
  double clip = 0.2, step_size = 1e-3;  // both fall to 0
  double value_weight = 0.5, entropy_weight = 0, max_gradient_norm = 0.5;
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
  auto optimizer = vl::Adam{.step_size = options.step_size, .epsilon = 1e-5}.start<float>(theta.size());
  Net::Tape tape;  // what a forward keeps for its pullback
  const auto logits = [](auto&& y, Eigen::Index j) { return std::span(y.col(j).data(), 2); };

  // The rollout: an entry (lane, row) a transition, and in `state` and `arrived` a column row * lanes + lane.
  const Eigen::Index side = options.lanes, rows = options.horizon, n = side * rows;
  vl::Matrix<float> state(4, n), arrived(4, n), log_prob(side, rows), reward(side, rows), value(side, rows);
  vl::Matrix<float> next_value(side, rows), advantage(side, rows), target(side, rows), x, dy;
  vl::Matrix<int> action(side, rows);
  Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> terminated(side, rows), truncated(side, rows);
  vl::Vector<Eigen::Index> order(n);
  std::iota(order.begin(), order.end(), 0);

  for (std::int64_t t = 0; t < options.steps; t += n) {
    const double left = 1 - static_cast<double>(t) / static_cast<double>(options.steps);

    // Act in all lanes at once, and write down what the policy thought of it.
    for (Eigen::Index row = 0; row < rows; ++row) {
      Eigen::Index i = row * side;
      for (const auto& s : lanes.states()) state.col(i++) = s.cast<float>();
      const auto y = net.forward(theta, {&state(0, row * side), 4, side}, tape);
      for (Eigen::Index k = 0; k < side; ++k) {
        action(k, row) = law.sample(logits(y, k), rng);
        log_prob(k, row) = law.log_prob(logits(y, k), action(k, row));
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
    vl::whiten(vl::view(advantage));

    // Learn: several passes over the rollout, each step down the mean of equation 9's terms over a batch.
    for (int epoch = 0; epoch < options.epochs; ++epoch) {
      rng.shuffle(vl::view(order));
      for (Eigen::Index begin = 0; begin < n; begin += options.batch) {
        const Eigen::Index m = (std::min)(n - begin, Eigen::Index{options.batch});
        const float share = 1 / static_cast<float>(m);
        x.resize(4, m), dy.setZero(3, m);
        for (Eigen::Index j = 0; j < m; ++j) x.col(j) = state.col(order[begin + j]);
        const auto y = net.forward(theta, x, tape);
        for (Eigen::Index j = 0; j < m; ++j) {
          const Eigen::Index i = order[begin + j];
          // -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A), rho the ratio of the new probability to the old (7).
          const auto loss = vl::PpoClip{.epsilon = options.clip * left}(
              vl::PolicySample<float>{law.log_prob(logits(y, j), action(i)), advantage(i), log_prob(i)});
          law.log_prob(logits(y, j), action(i), share * loss.slope, logits(dy, j));
          law.entropy(logits(y, j), -share * static_cast<float>(options.entropy_weight), logits(dy, j));
          dy(2, j) = share * static_cast<float>(options.value_weight) * (y(2, j) - target(i));
        }
        std::ranges::fill(gradient, 0.0F);
        net.pullback(theta, x, tape, {dy.data(), 3, m}, gradient);
        vl::clip_global_norm(std::span(gradient), options.max_gradient_norm);
        optimizer.step(theta, gradient, left);
      }
    }
  }

  const auto policy = [&](const auto& s, vl::Rng&) {
    return law.mode(logits(net.forward(theta, vl::Matrix<float>(s.template cast<float>()), tape), 0));
  };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
