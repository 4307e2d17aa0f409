// DQN (Mnih et al. 2015, "Human-level control through deep reinforcement learning") on one page, top to bottom: it
// learns to balance a pole on a cart. `Dqn` in valence/agent/dqn.hpp is the same loop with every later part a switch.
//
//   agent_dqn [--seed S] [--steps N] [--quick]

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
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/mdp/replay.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 50'000;  // of the environment
  double discount = 0.99;
  std::size_t n_step = 3;  // rewards in a target: the paper's is 1, three of them find the way to far values sooner
  std::size_t replay = 50'000, batch = 64;  // transitions remembered, and learned from at once
  std::int64_t warm_up = 1000, train_every = 2, target_every = 500;
  double step_size = 2e-3;             // falls to 0, so that the last policy isn't an accident
  double epsilon = 0.05, decay = 0.2;  // of the exploration: where it ends, and after which share of the steps
  double threshold = 400;
  bool quick = false;
};

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--quick") options.quick = true, options.steps = 2'000;
    if (flag == "--seed" && i + 1 < argc) options.seed = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--steps" && i + 1 < argc) options.steps = std::strtoll(argv[i + 1], nullptr, 10);
  }
  vl::Rng rng = vl::Rng{options.seed}.split(0), env_rng = vl::Rng{options.seed}.split(1);
  vl::TimeLimit env{vl::CartPole{}};

  // The network gives Q(s, .), a value an action. It is an architecture without numbers: the one that learns and the
  // target network, which lags behind, are two vectors of parameters.
  const vl::Mlp<float> net{{4, 64, 64, 2}, vl::relu, {.initialization = vl::Initialization::fan_in}};
  std::vector<float> theta(net.parameter_count()), gradient(theta.size());
  net.initialize(theta, rng);
  std::vector<float> target = theta;
  auto optimizer = vl::Adam{.step_size = options.step_size}.start<float>(theta.size());
  const vl::LinearSchedule annealed{.begin = 1, .end = 0, .steps = options.steps};
  const vl::LinearSchedule epsilon{
      .begin = 1,
      .end = options.epsilon,
      .steps = static_cast<std::int64_t>(options.decay * static_cast<double>(options.steps))};
  vl::Mlp<float>::Tape tape, target_tape;  // what a forward keeps for its pullback
  const auto greedy = [&](const vl::Matrix<float>& x) {
    int action = 0;
    net.forward(theta, x, tape).col(0).maxCoeff(&action);
    return action;
  };

  vl::Replay<float> memory{4, {.capacity = options.replay}};
  vl::ReplayBatch<float> batch;
  vl::Matrix<float> dq;
  double episode_return = 0, recent_return = 0;
  vl::Matrix<float> state = env.reset(env_rng).cast<float>(), next;
  for (std::int64_t t = 0; t < options.steps; ++t) {
    // Act: any action with probability epsilon, otherwise the best one.
    const int action = rng.uniform() < epsilon(t) ? rng.below(2) : greedy(state);
    const auto step = env.step(action, env_rng);
    next = step.next.cast<float>();
    memory.add({.state = vl::view(state),
                .action = action,
                .reward = static_cast<float>(step.reward),
                .next = vl::view(next),
                .terminated = step.terminated,
                .truncated = step.truncated});
    episode_return += step.reward;
    state = next;
    if (step.done()) {
      recent_return += 0.1 * (episode_return - recent_return), episode_return = 0;
      state = env.reset(env_rng).cast<float>();
    }
    if ((t + 1) % 5000 == 0) fmt::print("step {:6}: return {:.0f}\n", t + 1, recent_return);

    // Learn: a step down the mean Huber loss of y - Q(s, a), with y = r + discount max_a' Q'(s', a') by the target
    // network, and y = r where the episode terminated (algorithm 1; a truncated one would have gone on). With n steps r
    // is the discounted sum of n rewards, s' the state after them, and the discount to the power of n: the memory does
    // that.
    if (t + 1 < options.warm_up || t % options.train_every != 0) continue;
    memory.sample(options.batch, batch, rng, {.steps = options.n_step, .discount = options.discount});
    const auto next_q = net.forward(target, batch.next, target_tape);
    const auto q = net.forward(theta, batch.state, tape);
    dq.setZero(q.rows(), q.cols());
    for (Eigen::Index j = 0; j < q.cols(); ++j) {
      const float future = batch.terminated[j] ? 0 : batch.discount[j] * next_q.col(j).maxCoeff();
      const float error = q(batch.action(0, j), j) - (batch.reward[j] + future);
      dq(batch.action(0, j), j) = std::clamp(error, -1.0F, 1.0F) / static_cast<float>(q.cols());
    }
    std::ranges::fill(gradient, 0.0F);
    net.pullback(theta, batch.state, tape, {dq.data(), dq.rows(), dq.cols()}, gradient);
    vl::clip_global_norm(std::span(gradient), 10);
    optimizer.step(theta, gradient, annealed(t));
    if (t % options.target_every == 0) target = theta;
  }

  const auto policy = [&](const auto& s, vl::Rng&) { return greedy(s.template cast<float>()); };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
