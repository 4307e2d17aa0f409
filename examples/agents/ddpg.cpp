// DDPG (Lillicrap et al. 2016, "Continuous control with deep reinforcement learning", algorithm 1) on one page, top to
// bottom: it swings a pendulum up with a policy without randomness, which follows the slope of a critic. td3.cpp is its
// successor. `Ddpg` in valence/agent/td3.hpp is the same as an agent.
//
//   agent_ddpg [--seed S] [--steps N] [--quick]

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/evaluate.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/policy/deterministic.hpp"
#include "valence/policy/exploration_noise.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 15'000, warm_up = 1000;  // of the environment; before the first update actions are uniform
  double discount = 0.98, step_size = 1e-3, target_rate = 0.01;
  vl::OrnsteinUhlenbeckOptions exploration = {.rate = 0.15, .volatility = 0.4};  // in units of the torque, in [-2, 2]
  std::size_t batch = 64;
  double threshold = -250;
  bool quick = false;
};

/// An architecture, its parameters, and what their optimizer remembers.
template <class Net>
struct Learner {
  Net net;
  std::vector<float> theta, gradient;
  vl::AdamState<float> optimizer;
  typename Net::Tape tape = {};  // what a forward keeps for its pullback

  Learner(Net architecture, const vl::Adam& adam, vl::Rng& rng)
      : net(std::move(architecture)),
        theta(net.parameter_count()),
        gradient(theta.size()),
        optimizer(adam.start<float>(theta.size())) {
    net.initialize(theta, rng);
  }
  vl::Outputs<float> forward(const vl::Matrix<float>& x) { return net.forward(theta, x, tape); }
  void descend(const vl::Matrix<float>& x, const vl::Matrix<float>& dy) {
    std::ranges::fill(gradient, 0.0F);
    net.pullback(theta, x, tape, {dy.data(), dy.rows(), dy.cols()}, gradient);
    optimizer.step(theta, gradient);
  }
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
  vl::TimeLimit env{vl::Pendulum{}};

  // The actor's output is y, the action 2 tanh(y). The critic Q(s, a) is given (s; a / 2).
  const vl::Deterministic law{env.actions()};
  vl::OrnsteinUhlenbeckNoise exploration{1, options.exploration};  // it wanders, as a hand does (section 3)
  const vl::Adam adam{.step_size = options.step_size};
  Learner actor{vl::Mlp<float>{{3, 64, 64, 1}, vl::relu}, adam, rng};
  Learner critic{vl::Mlp<float>{{4, 64, 64, 1}, vl::relu}, adam, rng};
  std::vector<float> target_critic = critic.theta, target_actor = actor.theta;  // they follow slowly
  decltype(critic.tape) target_critic_tape;
  decltype(actor.tape) target_actor_tape;
  const auto column = [](auto&& y, Eigen::Index j) {
    return std::span(y.col(j).data(), static_cast<std::size_t>(y.rows()));
  };

  vl::Replay<float, float> memory{3, 1};
  vl::ReplayBatch<float, float> batch;
  vl::Matrix<float> x, dx, dq, dy;
  vl::Vector<float> y_target;

  double episode_return = 0, recent_return = -1500;
  vl::Matrix<float> state = env.reset(env_rng).cast<float>(), next;
  for (std::int64_t t = 0; t < options.steps; ++t) {
    double action = env.actions().sample(rng);
    if (t >= options.warm_up) {
      action = law.action(column(actor.forward(state), 0));
      exploration.add(action, rng);
      action = law.clip(action);
    }
    const auto step = env.step(action, env_rng);
    next = step.next.cast<float>();
    const float stored = static_cast<float>(action);
    memory.add({.state = vl::view(state),
                .action = {&stored, 1},
                .reward = static_cast<float>(step.reward),
                .next = vl::view(next),
                .terminated = step.terminated,
                .truncated = step.truncated});
    episode_return += step.reward;
    state = next;
    if (step.done()) {
      recent_return += 0.2 * (episode_return - recent_return), episode_return = 0;
      state = env.reset(env_rng).cast<float>();
      exploration.reset();
    }
    if ((t + 1) % 2500 == 0) fmt::print("step {:6}: return {:.0f}\n", t + 1, recent_return);
    if (t + 1 < options.warm_up) continue;

    memory.sample(options.batch, batch, rng, {.discount = options.discount});
    const Eigen::Index n = batch.reward.size();
    const float share = 1 / static_cast<float>(n);

    // Critic: towards r + discount Q'(s', pi'(s')), both of the target networks.
    const auto next_y = actor.net.forward(target_actor, batch.next, target_actor_tape);
    x.resize(4, n), x.topRows(3) = batch.next;
    for (Eigen::Index j = 0; j < n; ++j) x(3, j) = static_cast<float>(law.action(column(next_y, j)) / 2);
    const auto next_q = critic.net.forward(target_critic, x, target_critic_tape);
    y_target = batch.reward;
    for (Eigen::Index j = 0; j < n; ++j)
      if (!batch.terminated[j]) y_target[j] += batch.discount[j] * next_q(0, j);
    x.topRows(3) = batch.state, x.row(3) = batch.action / 2;
    dq = share * (critic.forward(x).rowwise() - y_target.transpose());
    critic.descend(x, dq);

    // Actor: up the critic, dQ / da da / dtheta (equation 6). The critic stays as it is.
    const auto y = actor.forward(batch.state);
    for (Eigen::Index j = 0; j < n; ++j) x(3, j) = static_cast<float>(law.action(column(y, j)) / 2);
    critic.forward(x);
    dq.setConstant(-share);
    critic.net.pullback_input(critic.theta, x, critic.tape, {dq.data(), 1, n}, dx);
    dy.setZero(1, n);
    for (Eigen::Index j = 0; j < n; ++j) law.pullback_action(column(y, j), dx(3, j) / 2, column(dy, j));
    actor.descend(batch.state, dy);
    vl::polyak_average(std::span(target_actor), std::span(actor.theta), options.target_rate);
    vl::polyak_average(std::span(target_critic), std::span(critic.theta), options.target_rate);
  }

  const auto policy = [&](const auto& s, vl::Rng&) {
    return law.action(column(actor.forward(s.template cast<float>()), 0));
  };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
