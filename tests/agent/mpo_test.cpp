#include "valence/agent/mpo.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"

using namespace valence;

namespace {

using valence::test::close;
using Net = Mlp<double>;
using Numbers = Vector<double>;

/// One state; the reward is -(a - goal)^2, an episode one step.
struct Aim {
  using State = Numbers;
  using Action = double;
  double goal = 0.8;
  State reset(Rng&) { return State::Ones(1); }
  Step<State> step(double a, Rng&) {
    return {.next = State::Ones(1), .reward = -(a - goal) * (a - goal), .terminated = true};
  }
  Box<double> actions() const { return {-2, 2}; }
  template <class A>
  void archive(A&) {}
};

template <Optimizer O = Adam>
auto mpo(MpoOptions options, Rng start = Rng{0}, int inputs = 1, int width = 16, O optimizer = {.step_size = 3e-3}) {
  return Mpo{Net{{inputs, width, 2}, relu},
             SquashedGaussian{Box<double>{-2, 2}, {-20, 2}},
             Net{{inputs + 1, width, 1}, relu},
             optimizer,
             options,
             start};
}

}  // namespace

TEST_CASE("MPO: an actor's step by hand", "[mpo]") {
  // Actor: constants in the biases. Critic: 0, so all weights are 1 / N; the actor then moves by the score alone.
  const SquashedGaussian law{Box<double>{-1, 1}};
  MpoOptions options{.samples = 3, .mean_penalty = 0.5, .deviation_penalty = 2, .batch = 1, .warm_up = 1};
  options.target_rate = 1e-9;  // the target policy stays
  Mpo agent{Net{{1, 2}, relu}, law, Net{{2, 1}, relu}, Sgd{.step_size = 0.1}, options};
  for (double& x : agent.parameters()) x = 0;
  // The target policy is what the actor started as: read its outputs at the state 0, where only biases count (0 here).
  const Numbers zero = Numbers::Zero(1);
  Rng rng{1}, same = rng;
  agent.learn(Transition<Numbers, double>{zero, 0.25, 0.0, zero, true, false}, rng);
  // Draws: the batch, a' of the next state, then three actions. u_i = noise_i; the score of the mean is noise_i, of the
  // log-deviation noise_i^2 - 1; both divergences are 0, with slope 0, at the target policy. The critic at state 0 is
  // w a + b with its start's weights, so its values weigh the actions.
  Replay<double, double> memory{1, 1, {.capacity = 4}};
  const std::vector<double> state{0}, action{0.25};
  memory.add({.state = state, .action = action, .reward = 0, .next = state, .terminated = true, .truncated = false});
  ReplayBatch<double, double> batch;
  memory.sample(1, batch, same, {.steps = 1, .discount = 0.99});
  same.normal();
  std::vector<double> noise(3), weight(3);
  same.fill_normal(std::span<double>(noise));
  const double slope = agent.target_critic_parameters()[1];  // W is 1 x 2: of the state, of the action
  double sum = 0, mean = 0, deviation = 0;
  for (std::size_t i = 0; i < 3; ++i) sum += weight[i] = std::exp(slope * std::tanh(noise[i]));
  for (std::size_t i = 0; i < 3; ++i) {
    mean += weight[i] / sum * noise[i];
    deviation += weight[i] / sum * (noise[i] * noise[i] - 1);
  }
  CHECK(agent.parameters()[2] == close(0.1 * mean, 1e-6, 1e-9));
  CHECK(agent.parameters()[3] == close(0.1 * deviation, 1e-6, 1e-9));
  CHECK(agent.parameters()[0] == 0);  // the state is 0
  CHECK(agent.metrics()[3].value == 0);
}

TEST_CASE("MPO finds the best action from every seed", "[mpo][learning]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    INFO("seed " << seed);
    Rng rng{seed};
    auto agent = mpo({.samples = 8, .epsilon_mean = 0.05, .batch = 16, .warm_up = 300, .target_rate = 0.05}, Rng{seed});
    train(agent, Aim{}, {.steps = 4000}, rng);
    const double a = agent.greedy(Numbers::Ones(1));
    CHECK((a - 0.8) * (a - 0.8) < 0.05);  // a uniform action loses 1.97 in the mean
  }
}

TEST_CASE("MPO: multipliers hold the bounds", "[mpo][G25]") {
  const auto after = [](MpoOptions options) {
    options.samples = 8, options.batch = 16, options.warm_up = 50;
    auto agent = mpo(options);
    Rng rng{2};
    train(agent, Aim{}, {.steps = 400}, rng);
    return agent;
  };
  // A policy that moves further than it may is held back by a penalty that grows, one that doesn't is let go.
  CHECK(after({.epsilon_mean = 1e-8}).mean_penalty() > 1);
  CHECK(after({.epsilon_mean = 10}).mean_penalty() < 1);
  CHECK(after({.epsilon_deviation = 1e-9}).deviation_penalty() > 1);
  CHECK(after({.epsilon_deviation = 10}).deviation_penalty() < 1);
  // Weights that may be far from uniform need a lower temperature than ones that may not.
  CHECK(after({.epsilon = 1.5}).temperature() < after({.epsilon = 1e-4}).temperature());
}

TEST_CASE("MPO: saved anywhere, resumed to the bit, and nothing allocates", "[mpo][F2][F3][F4][resume][allocation]") {
  const auto agent = mpo({.samples = 4, .replay = 200, .batch = 8, .warm_up = 40, .n_step = 2}, Rng{3}, 3);
  const TimeLimit env{Pendulum{}, 30};
  Run whole{agent, env, Rng{8}}, first{agent, env, Rng{8}}, second{agent, env, Rng{9}};
  whole.advance(300);
  first.advance(187);
  from_bytes(to_bytes(first), second);
  second.advance(300 - 187);
  CHECK(to_bytes(second) == to_bytes(whole));
  whole.advance(200);
  const auto episodes = whole.log().episodes.size();
  test::Allocations allocations;
  whole.advance(40);
  if (test::Allocations::available()) CHECK(allocations.count() <= (whole.log().episodes.size() > episodes ? 1 : 0));
}

TEST_CASE("MPO: bad input is refused before anything changes, and a run that diverges says so", "[mpo][errors]") {
  CHECK_THROWS_AS(mpo({.samples = 0}), Error);
  CHECK_THROWS_AS(mpo({.epsilon = 0}), Error);
  CHECK_THROWS_AS(mpo({.epsilon_mean = -1}), Error);
  CHECK_THROWS_AS(mpo({.epsilon_deviation = 0}), Error);
  CHECK_THROWS_AS(mpo({.temperature = 0}), Error);
  CHECK_THROWS_AS(mpo({.dual_step_size = 0}), Error);
  CHECK_THROWS_AS(mpo({.discount = 2}), Error);
  CHECK_THROWS_AS((Mpo{Net{{1, 3}, relu}, SquashedGaussian{Box<double>{-1, 1}}, Net{{2, 1}, relu}, Adam{}}), Error);
  auto agent = mpo({});
  Rng rng{4};
  const Numbers one = Numbers::Ones(1);
  CHECK_THROWS_AS(agent.update(rng), Error);
  CHECK_THROWS_AS(agent.learn(Transition<Numbers, double>{one, std::nan(""), 0, one, false, false}, rng), Error);
  CHECK_THROWS_AS(agent.learn(Transition<Numbers, double>{one, 0, std::nan(""), one, false, false}, rng), Error);
  CHECK(agent.memory().size() == 0);
  auto wild = mpo({.samples = 2, .batch = 2, .warm_up = 1}, Rng{0}, 1, 4, Sgd{.step_size = 1e200});
  std::string message;
  try {
    for (int k = 0; k < 100; ++k) wild.learn(Transition<Numbers, double>{one, 0.5, 1e150, one, true, false}, rng);
  } catch (const Error& e) { message = e.what(); }
  INFO(message);
  CHECK(message.size() > 20);
}
