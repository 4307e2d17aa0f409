// SAC (Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications", arXiv:1812.05905) on one page, top to
// bottom: it swings a pendulum up with a policy that is as random as it may be. `Sac` in valence/agent/sac.hpp is the
// same as an agent; td3.cpp has a policy without randomness.
//
//   agent_sac [--seed S] [--steps N] [--quick]

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
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
#include "valence/function/composites.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/policy/squashed_gaussian.hpp"
#include "valence/policy_gradient/soft_actor.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 15'000, warm_up = 1000;  // of the environment; before the first update actions are uniform
  double discount = 0.98, step_size = 1e-3, target_rate = 0.01;
  double target_entropy = -1;  // nats: minus the action's dimensions (appendix D)
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

  // The actor's two outputs are mean and log-deviation of u, the action is 2 tanh(u), and both its density and its
  // derivative are the law's business. Two critics Q(s, a) are one model with two outputs; they are given (s; a / 2).
  const vl::SquashedGaussian law{env.actions(), {.min_log_std = -20, .max_log_std = 2}};
  const vl::Adam adam{.step_size = options.step_size};
  const vl::Mlp<float> critic{{4, 64, 64, 1}, vl::relu};
  Learner actor{vl::Mlp<float>{{3, 64, 64, law.size()}, vl::relu}, adam, rng};
  Learner critics{vl::Parallel{critic, critic}, adam, rng};
  std::vector<float> target = critics.theta;  // the target critics follow slowly
  decltype(critics.tape) target_tape;
  float log_alpha = std::log(0.2F);  // the temperature: what a nat of entropy is worth
  auto alpha_optimizer = adam.start<float>(1);
  const auto column = [](auto&& y, Eigen::Index j) {
    return std::span(y.col(j).data(), static_cast<std::size_t>(y.rows()));
  };

  vl::Replay<float, float> memory{3, 1};
  vl::ReplayBatch<float, float> batch;
  vl::Matrix<float> x, dx, dq, dy;
  vl::Vector<float> log_prob, y_target;
  vl::Vector<double> noise;
  // a = g(s, noise), its log-density, and the critics' input x = (s; a / 2), for each column of s.
  const auto draw_actions = [&](const vl::Matrix<float>& s) {
    const auto y = actor.forward(s);
    x.resize(4, s.cols()), noise.resize(s.cols()), log_prob.resize(s.cols());
    rng.fill_normal(vl::view(noise));
    x.topRows(3) = s;
    for (Eigen::Index j = 0; j < s.cols(); ++j) {
      x(3, j) = static_cast<float>(law.action(column(y, j), noise[j]) / 2);
      log_prob[j] = law.action_log_prob(column(y, j), noise[j]);
    }
    return y;
  };

  double episode_return = 0, recent_return = -1500;
  vl::Matrix<float> state = env.reset(env_rng).cast<float>(), next;
  for (std::int64_t t = 0; t < options.steps; ++t) {
    const double action =
        t < options.warm_up ? env.actions().sample(rng) : law.sample(column(actor.forward(state), 0), rng);
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
    }
    if ((t + 1) % 2500 == 0) fmt::print("step {:6}: return {:.0f}\n", t + 1, recent_return);
    if (t + 1 < options.warm_up) continue;

    memory.sample(options.batch, batch, rng, {.discount = options.discount});
    const Eigen::Index n = batch.reward.size();
    const float share = 1 / static_cast<float>(n), alpha = std::exp(log_alpha);
    const vl::SoftOptions soft{.temperature = static_cast<double>(alpha), .discount = options.discount};

    // Critics: each towards r + discount (min_i Q'_i(s', a') - alpha log pi(a' | s')), a' fresh (equations 3, 5 and 6).
    draw_actions(batch.next);
    const auto next_q = critics.net.forward(target, x, target_tape);
    y_target.resize(n);
    for (Eigen::Index j = 0; j < n; ++j)
      y_target[j] = vl::sac_target(batch.reward[j], column(next_q, j), log_prob[j], batch.terminated[j], soft);
    x.topRows(3) = batch.state, x.row(3) = batch.action / 2;
    dq = share * (critics.forward(x).rowwise() - y_target.transpose());
    critics.descend(x, dq);

    // Actor: down the mean of alpha log pi(a | s) - min_i Q_i(s, a), through the action (equations 7 to 10). The
    // critics give dQ / da, and stay as they are.
    const auto y = draw_actions(batch.state);
    const auto q = critics.forward(x);
    dq.setZero();
    for (Eigen::Index j = 0; j < n; ++j) dq(q(0, j) <= q(1, j) ? 0 : 1, j) = -share;
    critics.net.pullback_input(critics.theta, x, critics.tape, {dq.data(), 2, n}, dx);
    dy.setZero(y.rows(), n);
    for (Eigen::Index j = 0; j < n; ++j)
      law.pullback_action(column(y, j), noise[j], dx(3, j) / 2, alpha * share, column(dy, j));
    actor.descend(batch.state, dy);

    // Temperature: up where the policy's entropy is below its target, down where it is above (equation 18).
    const float slope = vl::TemperatureLoss{options.target_entropy}(log_alpha, vl::view(log_prob)).slope;
    alpha_optimizer.step({&log_alpha, 1}, {&slope, 1});
    vl::polyak_average(std::span(target), std::span(critics.theta), options.target_rate);
  }

  const auto policy = [&](const auto& s, vl::Rng&) {
    return law.mode(column(actor.forward(s.template cast<float>()), 0));
  };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
