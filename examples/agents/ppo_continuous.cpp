// PPO with continuous actions (Schulman et al. 2017, "Proximal Policy Optimization Algorithms") on one page: the torque
// that swings a pendulum up is drawn from a Gaussian law. Compare ppo.cpp: only model and law differ, and the entropy
// has no weight. `Ppo` in valence/agent/ppo.hpp is the same as an agent.
//
//   agent_ppo_continuous [--seed S] [--steps N] [--quick]

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
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/vector_environment.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/constant.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/policy/gaussian.hpp"
#include "valence/policy_gradient/surrogate.hpp"
#include "valence/value/gae.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 300'000;  // of all lanes
  int lanes = 8, horizon = 128, epochs = 10, batch = 128;
  double discount = 0.9, lambda = 0.95;  // rewards matter for half a second: what is far away is learned step by step
  double reward_scale = 0.1;             // so that the critic's errors don't drown the actor's gradient
  double clip = 0.2, step_size = 1e-3;   // both fall to 0
  double value_weight = 0.5, max_gradient_norm = 0.5;
  double threshold = -250;
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
  const vl::TimeLimit env{vl::Pendulum{}};
  vl::VectorEnvironment lanes{env, options.lanes, {.autoreset = vl::Autoreset::same_step}};
  lanes.reset(env_rng);

  // Actor and critic stand side by side in one vector of parameters: output 0 is the mean of the torque, output 1 the
  // logarithm of its standard deviation, which is learned but doesn't depend on the state, output 2 is V(s).
  using Actor = vl::Parallel<vl::Mlp<float>, vl::Constant<float>>;
  using Net = vl::Parallel<Actor, vl::Mlp<float>>;
  constexpr auto tanh = vl::Activation::tanh;
  const Net net{Actor{{{3, 64, 64, 1}, tanh, {.output_gain = 0.01}}, vl::Constant<float>{1}}, {{3, 64, 64, 1}, tanh}};
  const vl::DiagonalGaussian<double> law{1};
  std::vector<float> theta(net.parameter_count()), gradient(theta.size());
  net.initialize(theta, rng);
  auto optimizer = vl::Adam{.step_size = options.step_size, .epsilon = 1e-5}.start<float>(theta.size());
  Net::Tape tape;  // what a forward keeps for its pullback
  const auto law_outputs = [](auto&& y, Eigen::Index j) { return std::span(y.col(j).data(), 2); };

  // The rollout: an entry (lane, row) a transition, and in `state` and `arrived` a column row * lanes + lane.
  const Eigen::Index side = options.lanes, rows = options.horizon, n = side * rows;
  vl::Matrix<float> state(3, n), arrived(3, n), log_prob(side, rows), reward(side, rows), value(side, rows);
  vl::Matrix<float> next_value(side, rows), advantage(side, rows), target(side, rows), x, dy;
  vl::Matrix<double> action(side, rows);
  Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> terminated(side, rows), truncated(side, rows);
  vl::Vector<Eigen::Index> order(n);
  std::iota(order.begin(), order.end(), 0);

  for (std::int64_t t = 0; t < options.steps; t += n) {
    const double left = 1 - static_cast<double>(t) / static_cast<double>(options.steps);

    // Act in all lanes at once, and write down what the policy thought of it.
    for (Eigen::Index row = 0; row < rows; ++row) {
      Eigen::Index i = row * side;
      for (const auto& s : lanes.states()) state.col(i++) = s.cast<float>();
      const auto y = net.forward(theta, {&state(0, row * side), 3, side}, tape);
      for (Eigen::Index k = 0; k < side; ++k) {
        action(k, row) = law.sample(law_outputs(y, k), rng);
        log_prob(k, row) = law.log_prob(law_outputs(y, k), action(k, row));
        value(k, row) = y(2, k);
      }
      lanes.step(std::span(&action(0, row), lanes.states().size()));
      for (int k = 0; k < lanes.size(); ++k) {
        const auto step = lanes.transition(k);  // its `next` is where the action led, never the next episode's start
        reward(k, row) = static_cast<float>(options.reward_scale * step.reward);
        terminated(k, row) = step.terminated, truncated(k, row) = step.truncated;
        arrived.col(row * side + k) = step.next.cast<float>();
      }
    }
    if (t / 10'000 < (t + n) / 10'000)
      fmt::print("step {:6}: return {:.0f}\n", t + n, 200 * static_cast<double>(reward.mean()) / options.reward_scale);

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
        x.resize(3, m), dy.setZero(3, m);
        for (Eigen::Index j = 0; j < m; ++j) x.col(j) = state.col(order[begin + j]);
        const auto y = net.forward(theta, x, tape);
        for (Eigen::Index j = 0; j < m; ++j) {
          const Eigen::Index i = order[begin + j];
          // -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A), rho the ratio of the new probability to the old (7); an
          // action beyond the torque's limits counts as drawn, although the pendulum cuts it.
          const auto loss = vl::PpoClip{.epsilon = options.clip * left}(
              vl::PolicySample<float>{law.log_prob(law_outputs(y, j), action(i)), advantage(i), log_prob(i)});
          law.log_prob(law_outputs(y, j), action(i), share * loss.slope, law_outputs(dy, j));
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
    return law.mode(law_outputs(net.forward(theta, vl::Matrix<float>(s.template cast<float>()), tape), 0));
  };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
