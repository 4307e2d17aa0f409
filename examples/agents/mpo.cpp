// MPO (Abdolmaleki et al. 2018, "Maximum a Posteriori Policy Optimisation", arXiv:1806.06920) on one page, top to bottom:
// actions that the critic likes weigh more, and the policy is fitted to them by maximum likelihood, without a derivative
// of the critic. `Mpo` in valence/agent/mpo.hpp is the same as an agent; sac.cpp goes through the critic instead.
//
//   agent_mpo [--seed S] [--steps N] [--quick]

#include <fmt/core.h>

#include <algorithm>
#include <array>
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
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/policy/gaussian.hpp"
#include "valence/policy/squashed_gaussian.hpp"
#include "valence/policy_gradient/soft_actor.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 15'000, warm_up = 1000;  // of the environment; before the first update actions are uniform
  double discount = 0.98, step_size = 1e-3, target_rate = 0.01;
  int samples = 16;                         // actions weighed in a state
  double epsilon = 0.1;                     // nats: how far their weights may be from equal
  std::array<double, 2> bound{0.05, 1e-3};  // nats: how far the policy's mean and its deviation may move
  double dual_step_size = 1e-2;
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

  // The actor's two outputs are mean and log-deviation of u, and the action is 2 tanh(u). The policy is fitted to the u,
  // whose law is Gaussian. The critic Q(s, a) is given (s; a / 2).
  const vl::SquashedGaussian law{env.actions(), {.min_log_std = -20, .max_log_std = 2}};
  const vl::DiagonalGaussian<double> gaussian{.options = law.options};
  const vl::Adam adam{.step_size = options.step_size};
  Learner actor{vl::Mlp<float>{{3, 64, 64, law.size()}, vl::relu}, adam, rng};
  Learner critic{vl::Mlp<float>{{4, 64, 64, 1}, vl::relu}, adam, rng};
  std::vector<float> old_policy = actor.theta, target = critic.theta;  // both follow slowly
  decltype(actor.tape) old_tape;
  decltype(critic.tape) target_tape;
  std::array<double, 3> log_multiplier{}, slope{};  // log eta, and log alpha of mean and deviation
  auto dual = vl::Adam{.step_size = options.dual_step_size}.start<double>(3);
  const auto column = [](auto&& y, Eigen::Index j) {
    return std::span(y.col(j).data(), static_cast<std::size_t>(y.rows()));
  };

  vl::Replay<float, float> memory{3, 1};
  vl::ReplayBatch<float, float> batch;
  vl::Matrix<float> x, dq, dy;
  vl::Vector<float> weight, y_target;
  vl::Vector<double> u;
  // `each` actions of the old policy in each state, u before squashing, and what the target critic says of them.
  const auto draw_and_value = [&](const vl::Outputs<float>& old, const vl::Matrix<float>& s, int each) {
    x.resize(4, s.cols() * each), u.resize(x.cols());
    for (Eigen::Index c = 0; c < x.cols(); ++c) {
      const double noise = rng.normal();
      u[c] = gaussian.action(column(old, c / each), noise);
      x.col(c).head(3) = s.col(c / each);
      x(3, c) = static_cast<float>(law.action(column(old, c / each), noise) / 2);
    }
    return critic.net.forward(target, x, target_tape);
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
    const float share = 1 / static_cast<float>(n);

    // Critic: towards r + discount Q'(s', a'), a' of the old policy.
    const auto next_q = draw_and_value(actor.net.forward(old_policy, batch.next, old_tape), batch.next, 1);
    y_target = batch.reward;
    for (Eigen::Index j = 0; j < n; ++j)
      if (!batch.terminated[j]) y_target[j] += batch.discount[j] * next_q(0, j);
    x.resize(4, n), x.topRows(3) = batch.state, x.row(3) = batch.action / 2;
    dq = share * (critic.forward(x).rowwise() - y_target.transpose());
    critic.descend(x, dq);

    // E-step: the weights softmax(Q(s, a_i) / eta) of a state's actions, with eta a step down the dual (section 4.1).
    const auto old = actor.net.forward(old_policy, batch.state, old_tape);
    weight = draw_and_value(old, batch.state, options.samples).transpose();
    const float eta = static_cast<float>(std::exp(log_multiplier[0]));
    slope[0] = 0;
    for (Eigen::Index j = 0; j < n; ++j) {
      auto w = weight.segment(j * options.samples, options.samples);
      const std::span<const float> q(w.data(), static_cast<std::size_t>(w.size()));
      slope[0] += static_cast<double>(share * eta * vl::MpoTemperature{options.epsilon}(eta, q).slope);
      w = ((w.array() - w.maxCoeff()) / eta).exp();
      w /= w.sum();
    }

    // M-step: down -sum_i w_i log pi(a_i | s) + alpha KL(old || pi), for the mean (part 0) and the log-deviation (part 1)
    // apart: each in a law whose other number is the old policy's. alpha grows where the divergence is above its bound.
    const auto y = actor.forward(batch.state);
    dy.setZero(2, n);
    for (Eigen::Index part = 0; part < 2; ++part) {
      const auto k = static_cast<std::size_t>(part);
      const double alpha = std::exp(log_multiplier[1 + k]);
      double kl = 0;
      for (Eigen::Index j = 0; j < n; ++j) {
        std::array<float, 2> mixed{old(0, j), old(1, j)}, d{};
        mixed[k] = y(part, j);
        const std::span<const float> outputs(mixed);
        for (Eigen::Index c = j * options.samples; c < (j + 1) * options.samples; ++c)
          gaussian.log_prob(outputs, u[c], -share * weight[c], std::span(d));
        kl += static_cast<double>(
            share * gaussian.kl(column(old, j), outputs, share * static_cast<float>(alpha), {}, std::span(d)));
        dy(part, j) = d[k];
      }
      slope[1 + k] = alpha * (options.bound[k] - kl);
    }
    actor.descend(batch.state, dy);
    dual.step(log_multiplier, slope);
    vl::polyak_average(std::span(old_policy), std::span(actor.theta), options.target_rate);
    vl::polyak_average(std::span(target), std::span(critic.theta), options.target_rate);
  }

  const auto policy = [&](const auto& s, vl::Rng&) {
    return law.mode(column(actor.forward(s.template cast<float>()), 0));
  };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
