// Implicit quantile networks (Dabney et al. 2018b) on one page: the fraction tau is an input of the network, which says
// the return's quantile there. Compare qr_dqn.cpp, whose fractions are fixed. `Iqn` is the same as an agent.
//
//   agent_iqn [--seed S] [--steps N] [--cvar LEVEL] [--quick]
//
// With --cvar it acts on the mean of the worst share LEVEL of the return, not on the mean of all of it.

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
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/implicit_quantile_network.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/mdp/replay.hpp"

namespace vl = valence;

struct Options {
  std::uint64_t seed = 0;
  std::int64_t steps = 100'000;  // of the environment
  double discount = 0.99, cvar = 1;
  int fractions = 8;  // of a state: N, N' and K of the paper, which draws 32 to choose an action
  std::size_t n_step = 3, replay = 50'000, batch = 64;
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
    if (flag == "--cvar" && i + 1 < argc) options.cvar = std::strtod(argv[i + 1], nullptr);
  }
  vl::Rng rng = vl::Rng{options.seed}.split(0), env_rng = vl::Rng{options.seed}.split(1);
  vl::TimeLimit env{vl::CartPole{}};

  // Z_tau(s, .) = head(trunk(s) * embedding(tau)), equation 4. An action's outputs are its quantiles at the fractions.
  const vl::MlpOptions start{.initialization = vl::Initialization::fan_in};
  const vl::ImplicitQuantileNetwork net{
      vl::Mlp<float>{{4, 64}, vl::relu, {.output = vl::relu, .initialization = start.initialization}},
      vl::Mlp<float>{{64, 64, 2}, vl::relu, start},
      {.fractions = options.fractions}};
  const vl::QuantileReturn samples{.quantiles = options.fractions};
  const vl::CvarDistortion attitude{options.cvar};
  std::vector<float> theta(net.parameter_count()), gradient(theta.size());
  net.initialize(theta, rng);
  std::vector<float> target = theta;
  auto optimizer = vl::Adam{.step_size = options.step_size}.start<float>(theta.size());
  const vl::LinearSchedule annealed{.begin = 1, .end = 0, .steps = options.steps};
  const vl::LinearSchedule epsilon{
      .begin = 1,
      .end = options.epsilon,
      .steps = static_cast<std::int64_t>(options.decay * static_cast<double>(options.steps))};
  decltype(net)::Tape tape, target_tape, choice_tape;  // what a forward keeps for its pullback

  // A batch of states above fractions that are drawn anew for each: the network's input.
  const auto ask = [&](const vl::Matrix<float>& states, const auto& distortion, vl::Rng& draws) {
    vl::Matrix<float> x(net.input_size(), states.cols());
    x.topRows(states.rows()) = states;
    for (auto column : x.colwise())
      vl::sample_fractions(draws, std::span(column.data(), std::size_t(x.rows())).last(std::size_t(options.fractions)),
                           distortion);
    return x;
  };
  const auto greedy = [&](const vl::Matrix<float>& x, vl::Rng& draws) {
    const auto y = net.forward(theta, ask(x, attitude, draws), choice_tape);
    return static_cast<int>(vl::greedy_action(samples, std::span(y.data(), static_cast<std::size_t>(y.size()))));
  };

  vl::Replay<float> memory{4, {.capacity = options.replay}};
  vl::ReplayBatch<float> batch;
  vl::Matrix<float> law, dy;
  vl::Vector<float> discounts;
  double episode_return = 0, recent_return = 0;
  vl::Matrix<float> state = env.reset(env_rng).cast<float>(), next;
  for (std::int64_t t = 0; t < options.steps; ++t) {
    // Act: any action with probability epsilon, otherwise the best one in the eyes of the distortion.
    const int action = rng.uniform() < epsilon(t) ? rng.below(2) : greedy(state, rng);
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

    // Learn (algorithm 1): targets are samples r + discount Z_tau'(s', a*) of the target network, a* its best action on
    // distorted fractions; all r where the episode terminated.
    if (t + 1 < options.warm_up || t % options.train_every != 0) continue;
    memory.sample(options.batch, batch, rng, {.steps = options.n_step, .discount = options.discount});
    const auto chooser = net.forward(target, ask(batch.next, attitude, rng), choice_tape);
    const auto judge = net.forward(target, ask(batch.next, vl::Neutral{}, rng), target_tape);
    discounts = batch.terminated.select(0.0F, batch.discount.array());
    law.resize(options.fractions, judge.cols());
    vl::bootstrap_greedy_columns(samples, chooser, judge, vl::view(batch.reward), vl::view(discounts),
                                 {law.data(), law.rows(), law.cols()});
    // A step down the mean quantile Huber loss at the drawn fractions (equation 3).
    const vl::Matrix<float> x = ask(batch.state, vl::Neutral{}, rng);
    const auto y = net.forward(theta, x, tape);
    dy.setZero(y.rows(), y.cols());
    const auto n = static_cast<std::size_t>(options.fractions);
    for (Eigen::Index j = 0; j < y.cols(); ++j) {
      const Eigen::Index first = batch.action(0, j) * options.fractions;
      vl::implicit_quantile_loss<float>(std::span(y.col(j).data() + first, n), std::span(&x(4, j), n),
                                        std::span(&law(0, j), n), std::span(&dy(first, j), n),
                                        1 / static_cast<float>(y.cols()));
    }
    std::ranges::fill(gradient, 0.0F);
    net.pullback(theta, x, tape, {dy.data(), dy.rows(), dy.cols()}, gradient);
    vl::clip_global_norm(std::span(gradient), 10);
    optimizer.step(theta, gradient, annealed(t));
    if (t % options.target_every == 0) target = theta;
  }

  const auto policy = [&](const auto& s, vl::Rng& draws) { return greedy(s.template cast<float>(), draws); };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
