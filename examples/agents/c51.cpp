// C51 (Bellemare, Dabney and Munos 2017, "A Distributional Perspective on Reinforcement Learning") on one page: the
// network learns the whole law of the return, a probability for each of 51 atoms, and acts on its mean. Compare
// dqn.cpp: only target and loss differ, and they are the head's. `Dqn` with `CategoricalReturn` is the same as an
// agent.
//
//   agent_c51 [--seed S] [--steps N] [--quick]

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
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/mdp/replay.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 50'000;  // of the environment
  double discount = 0.99;
  int atoms = 51;
  double most = 100;       // of the returns that the atoms cover
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

  // The head says what outputs mean: an action's are 51 logits, whose softmax is the law of its return on as many atoms
  // between 0 and 100 (a discounted return of rewards 1 is below 1 / (1 - discount)).
  const vl::CategoricalReturn head{.atoms = options.atoms, .min = 0, .max = options.most};
  const vl::Mlp<float> net{{4, 64, 64, head.size(2)}, vl::relu, {.initialization = vl::Initialization::fan_in}};
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
    const auto y = net.forward(theta, x, tape);
    return static_cast<int>(vl::greedy_action(head, std::span(y.data(), static_cast<std::size_t>(y.size()))));
  };

  vl::Replay<float> memory{4, {.capacity = options.replay}};
  vl::ReplayBatch<float> batch;
  vl::Matrix<float> law, dy;
  vl::Vector<float> discounts;
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

    // Learn: a step down the mean cross-entropy to the law of r + discount Z'(s', a*), projected onto the atoms, where
    // a* is best in the mean (algorithm 1); where the episode terminated it is the law that is surely r.
    if (t + 1 < options.warm_up || t % options.train_every != 0) continue;
    memory.sample(options.batch, batch, rng, {.steps = options.n_step, .discount = options.discount});
    const auto next_y = net.forward(target, batch.next, target_tape);
    discounts = batch.terminated.select(0.0F, batch.discount.array());
    law.resize(head.size(1), next_y.cols());
    vl::bootstrap_greedy_columns(head, next_y, next_y, vl::view(batch.reward), vl::view(discounts),
                                 {law.data(), law.rows(), law.cols()});
    const auto y = net.forward(theta, batch.state, tape);
    dy.setZero(y.rows(), y.cols());
    vl::loss_columns(head, y, vl::view(batch.action), {law.data(), law.rows(), law.cols()},
                     {dy.data(), dy.rows(), dy.cols()});
    std::ranges::fill(gradient, 0.0F);
    net.pullback(theta, batch.state, tape, {dy.data(), dy.rows(), dy.cols()}, gradient);
    vl::clip_global_norm(std::span(gradient), 10);
    optimizer.step(theta, gradient, annealed(t));
    if (t % options.target_every == 0) target = theta;
  }

  const auto policy = [&](const auto& s, vl::Rng&) { return greedy(s.template cast<float>()); };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
