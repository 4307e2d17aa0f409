// Rainbow (Hessel et al. 2018, "Rainbow: Combining Improvements in Deep Reinforcement Learning") on one page, top to
// bottom: C51 (read c51.cpp first) with five more parts, each marked below. `Dqn` with all its switches on is the same
// as an agent.
//
//   agent_rainbow [--seed S] [--steps N] [--quick]

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
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/dueling.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/noisy.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/mdp/prioritized_replay.hpp"
#include "valence/mdp/replay.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 100'000;  // of the environment
  double discount = 0.99;
  int atoms = 51;
  double most = 100;                        // of the returns that the atoms cover
  std::size_t replay = 50'000, batch = 64;  // transitions remembered, and learned from at once
  std::size_t n_step = 3;                   // rewards in a target
  vl::PriorityOptions priorities = {.alpha = 0.5};
  double beta = 0.4;  // of the importance weights: rises to 1
  std::int64_t warm_up = 1000, train_every = 2, target_every = 500;
  double step_size = 2e-3;  // falls to 0, so that the last policy isn't an accident
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

  // Distributional: 51 logits an action, whose softmax is the law of its return on as many atoms (Bellemare et al.
  // 2017).
  const vl::CategoricalReturn head{.atoms = options.atoms, .min = 0, .max = options.most};
  // Dueling: the law's logits are a part of the state's and a part of the action's (Wang et al. 2016, equation 9).
  // Noisy: weights are drawn, from Gaussians that are learned, and so it explores without an epsilon (Fortunato et al.
  // 2018, equation 9). The noise is in the tape: draw another, and the same parameters are another network.
  using Net = vl::Noisy<vl::Dueling<vl::Mlp<float>>>;
  const vl::Mlp<float> layers{{4, 64, 64, head.size(1 + 2)}, vl::relu, {.initialization = vl::Initialization::fan_in}};
  const Net net{vl::Dueling{layers, 2, head.size(1)}};
  std::vector<float> theta(net.parameter_count()), gradient(theta.size());
  net.initialize(theta, rng);
  std::vector<float> target = theta;
  auto optimizer = vl::Adam{.step_size = options.step_size}.start<float>(theta.size());
  const vl::LinearSchedule annealed{.begin = 1, .end = 0, .steps = options.steps};
  const vl::LinearSchedule beta{.begin = options.beta, .end = 1, .steps = options.steps};
  Net::Tape tape, target_tape, act_tape;  // what a forward keeps for its pullback, and its noise
  const auto greedy = [&](const vl::Matrix<float>& x) {
    const auto y = net.forward(theta, x, act_tape);
    return static_cast<int>(vl::greedy_action(head, std::span(y.data(), static_cast<std::size_t>(y.size()))));
  };

  vl::PrioritizedReplay<float> memory{4, {.capacity = options.replay}, options.priorities};
  vl::ReplayBatch<float> batch;
  vl::Matrix<float> law, dy;
  vl::Vector<float> discounts, losses;
  double episode_return = 0, recent_return = 0;
  vl::Matrix<float> state = env.reset(env_rng).cast<float>(), next;
  for (std::int64_t t = 0; t < options.steps; ++t) {
    net.draw_noise(act_tape, rng);
    const int action = greedy(state);
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

    if (t + 1 < options.warm_up || t % options.train_every != 0) continue;
    // Prioritised: what was surprising is drawn more often, and weighs less (Schaul et al. 2016, equation 1).
    // Multi-step: a column spans up to n transitions, and says by how much their end is discounted.
    memory.set_beta(beta(t));
    memory.sample(options.batch, batch, rng, {.steps = options.n_step, .discount = options.discount});
    // Double: the network that learns chooses the next action, the target network judges it (van Hasselt et al. 2016).
    net.draw_noise(tape, rng), net.draw_noise(target_tape, rng);
    const auto next_y = net.forward(target, batch.next, target_tape);
    discounts = batch.terminated.select(0.0F, batch.discount.array());
    law.resize(head.size(1), next_y.cols());
    vl::bootstrap_greedy_columns(head, net.forward(theta, batch.next, tape), next_y, vl::view(batch.reward),
                                 vl::view(discounts), {law.data(), law.rows(), law.cols()});
    const auto y = net.forward(theta, batch.state, tape);
    dy.setZero(y.rows(), y.cols());
    losses.resize(y.cols());
    vl::loss_columns(head, y, vl::view(batch.action), {law.data(), law.rows(), law.cols()},
                     {dy.data(), dy.rows(), dy.cols()}, vl::view(batch.weight), vl::view(losses));
    memory.update(batch.id, vl::view(losses));  // a law's surprise is its loss
    std::ranges::fill(gradient, 0.0F);
    net.pullback(theta, batch.state, tape, {dy.data(), dy.rows(), dy.cols()}, gradient);
    vl::clip_global_norm(std::span(gradient), 10);
    optimizer.step(theta, gradient, annealed(t));
    if (t % options.target_every == 0) target = theta;
  }

  net.quiet(act_tape);  // the means of the weights alone
  const auto policy = [&](const auto& s, vl::Rng&) { return greedy(s.template cast<float>()); };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
