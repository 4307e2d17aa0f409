// REINFORCE (Williams 1992; with a baseline: Sutton and Barto 2018, section 13.4) on one page, top to bottom: it plays
// a few episodes, and makes what was done before much reward more likely. a2c.cpp doesn't wait for the episodes' ends.
// `Reinforce` in valence/agent/reinforce.hpp is the same as an agent.
//
//   agent_reinforce [--seed S] [--steps N] [--quick]

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
#include "valence/function/composites.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/value/gae.hpp"
#include "valence/value/returns.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 100'000;  // of the environment
  int episodes = 5;              // between steps of the policy
  double discount = 0.99;
  double step_size = 5e-3;  // falls to 0
  double value_weight = 0.5, max_gradient_norm = 0.5;
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
  vl::TimeLimit env{vl::CartPole{}};

  // Policy and baseline stand side by side in one vector of parameters: outputs 0 and 1 are the logits of the law,
  // output 2 is V(s). A small last layer makes the first policy uniform.
  using Net = vl::Parallel<vl::Mlp<float>, vl::Mlp<float>>;
  constexpr auto tanh = vl::Activation::tanh;
  const Net net{{{4, 64, 64, 2}, tanh, {.output_gain = 0.01}}, {{4, 64, 64, 1}, tanh}};
  const vl::Softmax law{.actions = 2};
  std::vector<float> theta(net.parameter_count()), gradient(theta.size());
  net.initialize(theta, rng);
  auto optimizer = vl::Adam{.step_size = options.step_size}.start<float>(theta.size());
  Net::Tape tape;  // what a forward keeps for its pullback
  const auto logits = [](auto&& y, Eigen::Index j) { return std::span(y.col(j).data(), 2); };

  // Whole episodes, a column a transition. `arrived` is where it led: also where an episode ended.
  const Eigen::Index most = options.episodes * env.limit;
  vl::Matrix<float> state(4, most), arrived(4, most), dy;
  vl::Vector<float> reward(most), next_value(most), returns(most), advantage(most);
  vl::Vector<int> action(most);
  Eigen::Array<bool, Eigen::Dynamic, 1> terminated(most), truncated(most);

  for (std::int64_t t = 0; t < options.steps;) {
    Eigen::Index n = 0;
    for (int episode = 0; episode < options.episodes; ++episode) {
      state.col(n) = env.reset(env_rng).cast<float>();
      for (bool over = false; !over; ++n) {
        action[n] = law.sample(logits(net.forward(theta, {&state(0, n), 4, 1}, tape), 0), rng);
        const auto step = env.step(action[n], env_rng);
        reward[n] = static_cast<float>(step.reward);
        terminated[n] = step.terminated, truncated[n] = step.truncated;
        arrived.col(n) = step.next.cast<float>();
        over = step.done();
        if (!over) state.col(n + 1) = arrived.col(n);
      }
    }
    const double left = 1 - static_cast<double>(t) / static_cast<double>(options.steps);
    if ((t + n) / 10'000 > t / 10'000)
      fmt::print("step {:6}: return {:.0f}\n", t + n, static_cast<double>(n) / options.episodes);
    t += n;

    // G_t = r_t + discount G_{t+1} to the end of each episode (3.9). One that was cut off by the time limit would have
    // gone on: there the baseline's V(s') stands for what is missing.
    const auto count = static_cast<std::size_t>(n);
    next_value.head(n) = net.forward(theta, {arrived.data(), 4, n}, tape).row(2).transpose();
    vl::discounted_returns(vl::Steps<float>{.reward = vl::view(reward).first(count),
                                            .next_value = vl::view(next_value).first(count),
                                            .terminated = vl::view(terminated).first(count),
                                            .truncated = vl::view(truncated).first(count)},
                           vl::view(returns).first(count), {.discount = options.discount});

    // One step down the mean of -(G - V(s)) log pi(a | s) + value weight * (V(s) - G)^2 / 2 (13.11, without
    // discount^t).
    const vl::Outputs<float> x(state.data(), 4, n);
    const auto y = net.forward(theta, x, tape);
    advantage.head(n) = returns.head(n) - y.row(2).transpose();
    vl::whiten(vl::view(advantage).first(count));
    dy.setZero(3, n);
    for (Eigen::Index i = 0; i < n; ++i) {
      law.log_prob(logits(y, i), action[i], -advantage[i] / static_cast<float>(n), logits(dy, i));
      dy(2, i) = static_cast<float>(options.value_weight) * (y(2, i) - returns[i]) / static_cast<float>(n);
    }
    std::ranges::fill(gradient, 0.0F);
    net.pullback(theta, x, tape, {dy.data(), 3, n}, gradient);
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
