#include "valence/agent/iqn.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/dueling.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"

using namespace valence;

namespace {

using valence::test::close;
using T = Transition<int, int>;

template <class S = double>
ImplicitQuantileNetwork<Mlp<S>, Mlp<S>> net(int states, int actions, int width = 16) {
  return {Mlp<S>{{states, width}, relu, {.output = relu}}, Mlp<S>{{width, width, actions}, relu}, {.cosines = 16}};
}
/// Learns from its first transition on, one entry a step, with plain gradient descent.
DqnOptions at_once(DqnOptions options = {}) {
  options.batch = 1, options.warm_up = 1, options.train_every = 1, options.epsilon = 0, options.max_gradient_norm = 0;
  return options;
}

/// One choice: action 0 earns 0.9, action 1 earns 0 or 2, each half of the time.
struct Gamble {
  using State = int;
  using Action = int;
  int reset(Rng&) { return 0; }
  Step<int> step(int a, Rng& rng) {
    return {.next = 0, .reward = a == 0 ? 0.9 : rng.uniform() < 0.5 ? 0.0 : 2.0, .terminated = true};
  }
  Discrete actions() const { return {2}; }
  Discrete states() const { return {2}; }
  template <class A>
  void archive(A&) {}
};

/// Right walks from 0 to 4, whose arrival earns 1 and ends; left goes back.
struct Walk {
  using State = int;
  using Action = int;
  int x = 0;
  int reset(Rng&) { return x = 0; }
  Step<int> step(int a, Rng&) {
    x = a == 1 ? x + 1 : (std::max)(0, x - 1);
    return {.next = x, .reward = x == 4 ? 1.0 : 0.0, .terminated = x == 4};
  }
  Discrete actions() const { return {2}; }
  Discrete states() const { return {5}; }
  template <class A>
  void archive(A& ar) {
    ar(x);
  }
};

}  // namespace

TEST_CASE("IQN: one update by hand", "[iqn]") {
  // One input x = 1, one feature, one cosine (a constant, so fractions move nothing): z = h relu(w) relu(e) + c. Two
  // quantiles predicted, both z; three targets, all r where the episode ends.
  const ImplicitQuantileNetwork small{Mlp<double>{{1, 1}, relu}, Mlp<double>{{1, 1}, relu}, {.cosines = 1}};
  Iqn agent{small, ImplicitQuantiles{.predictions = 2, .targets = 3, .choices = 2}, Sgd{.step_size = 1}, at_once()};
  REQUIRE(agent.parameters().size() == 6);
  const std::vector<double> theta{2, 0, 1.5, 0, 0.5, 0.25};  // weight and bias of trunk, embedding, head
  std::copy(theta.begin(), theta.end(), agent.parameters().begin());
  const double z = 0.5 * 2 * 1.5 + 0.25, reward = z + 0.5;  // within kappa
  Rng rng{1}, same = rng;
  Vector<double> one{{1.0}};
  agent.learn(Transition<Vector<double>, int>{one, 0, reward, one, true, false}, rng);
  // The update drew a batch, then 2 + 3 fractions of the next state, then the predictions' taus. dL/dz_i = -tau_i u.
  Replay<double> memory{1, {.capacity = 10}};
  ReplayBatch<double> batch;
  memory.add(
      {.state = view(one), .action = 0, .reward = reward, .next = view(one), .terminated = true, .truncated = false});
  memory.sample(1, batch, same, {.steps = 1, .discount = 0.99});
  for (int k = 0; k < 5; ++k) same.uniform();
  const double slope = -(same.uniform() + same.uniform()) * 0.5;
  CHECK(agent.parameters()[5] == close(0.25 - slope));           // c
  CHECK(agent.parameters()[4] == close(0.5 - slope * 3));        // h
  CHECK(agent.parameters()[2] == close(1.5 - slope * 0.5 * 2));  // e's weight on cos 0 = 1
  CHECK(agent.parameters()[0] == close(2 - slope * 0.5 * 1.5));  // w
  CHECK(agent.metrics()[0].value == close(-slope * 0.5 / 2));    // sum_i tau_i u^2 / 2
}

TEST_CASE("IQN: terminated transitions end, truncated ones bootstrap, double chooses by the online network",
          "[iqn][R6][double]") {
  // The head's biases alone say the values: its weights are 0.
  const auto set = [](auto& agent, double a, double b) {
    for (double& x : agent.parameters()) x = 0;
    const std::size_t n = agent.parameters().size();
    agent.parameters()[n - 2] = a, agent.parameters()[n - 1] = b;
  };
  const auto target_of = [&](bool terminated, bool truncated, bool double_q) {
    const ImplicitQuantileNetwork small{Mlp<double>{{1, 1}, relu}, Mlp<double>{{1, 2}, relu}};
    Iqn agent{small, ImplicitQuantiles{.kappa = 1e9}, Sgd{.step_size = 0},
              at_once({.discount = 0.5, .double_q = double_q, .target_every = 1})};
    Rng rng{2};
    const Vector<double> s{{1.0}};
    set(agent, 10, 20);
    agent.learn(Transition<Vector<double>, int>{s, 0, 1, s, terminated, truncated}, rng);  // the target is a copy
    set(agent, 100, 0);                                                                    // online prefers action 0
    agent.update(rng);
    return agent.metrics()[0].value;
  };
  // Same generator, same fractions, so losses are in the ratio of the squares of target - 100.
  const auto square = [](double y) { return (100 - y) * (100 - y); };
  const double end = target_of(true, false, false);
  CHECK(target_of(false, true, false) / end == close(square(1 + 0.5 * 20) / square(1)));
  CHECK(target_of(false, false, false) / end == close(square(1 + 0.5 * 20) / square(1)));
  CHECK(target_of(false, false, true) / end == close(square(1 + 0.5 * 10) / square(1)));
}

TEST_CASE("IQN learns the walk, with every switch, from every seed", "[iqn][learning]") {
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    const auto learns = [&](const char* name, auto network, DqnOptions options = {}) {
      INFO(name << ", seed " << seed);
      options.discount = 0.9, options.batch = 16, options.warm_up = 64, options.train_every = 1;
      options.target_every = 50, options.epsilon = LinearSchedule{1, 0.2, 1000};
      options.step_factor = LinearSchedule{1, 0, 2000};
      Rng rng{seed};
      Iqn agent{network, ImplicitQuantiles{.choices = 8}, Adam{.step_size = 5e-3}, options, Rng{seed}};
      train(agent, Walk{}, {.steps = 2000, .max_episode_steps = 50}, rng);
      for (int s = 0; s < 4; ++s) CHECK(agent.greedy(s) == 1);
      CHECK(double(agent.values(3)[1]) == close(1.0, 0.0, 0.1));
      CHECK(double(agent.values(0)[1]) == close(0.729, 0.0, 0.12));
    };
    learns("plain", net<float>(5, 2));
    if (seed > 0) continue;
    learns("double, 3-step, prioritized", net<float>(5, 2),
           {.double_q = true, .n_step = 3, .priorities = PriorityOptions{}});
    learns("dueling", ImplicitQuantileNetwork{Mlp<float>{{5, 16}, relu, {.output = relu}},
                                              Dueling{Mlp<float>{{16, 16, 3}, relu}, 2}});
  }
}

TEST_CASE("IQN: the distortion is the attitude to risk", "[iqn][learning]") {
  for (std::uint64_t seed = 0; seed < 2; ++seed) {
    const auto choice = [&](std::function<double(double)> distortion) {
      DqnOptions options;
      options.batch = 16, options.warm_up = 64, options.train_every = 1, options.epsilon = 1.0;
      options.step_factor = LinearSchedule{1, 0, 1500};
      Rng rng{seed};
      Iqn agent{net<float>(2, 2, 8), ImplicitQuantiles{.choices = 16, .distortion = std::move(distortion)},
                Adam{.step_size = 1e-2}, options, Rng{seed}};
      train(agent, Gamble{}, {.steps = 1500}, rng);
      return std::pair(agent.greedy(0), double(agent.values(0)[1]));
    };
    const auto [neutral, mean] = choice(Neutral{});
    CHECK(neutral == 1);  // 1 on average, more than 0.9
    CHECK(mean == close(1.0, 0.0, 0.1));
    const auto [averse, worst] = choice(CvarDistortion{0.25});
    CHECK(averse == 0);  // the worst quarter of the gamble is 0
    CHECK(worst < 0.3);
    CHECK(choice(WangDistortion{-0.75}).first == 0);
    CHECK(choice(WangDistortion{0.75}).first == 1);
  }
}

TEST_CASE("IQN: impossible actions are neither taken nor bootstrapped from", "[iqn][mask]") {
  DqnOptions options = at_once({.possible = [](std::span<const double>, std::span<bool> p) { p[1] = false; }});
  const ImplicitQuantileNetwork small{Mlp<double>{{1, 1}, relu}, Mlp<double>{{1, 2}, relu}};
  Rng rng{3};
  const Vector<double> s{{1.0}};
  for (const bool exploring : {false, true}) {
    options.epsilon = exploring ? 1.0 : 0.0;
    options.target_every = 1;
    Iqn agent{small, ImplicitQuantiles{}, Sgd{.step_size = 0}, options};
    for (double& x : agent.parameters()) x = 0;
    agent.parameters()[agent.parameters().size() - 1] = 100;  // the impossible one looks best
    for (int k = 0; k < 50; ++k) CHECK(agent.act(s, rng) == 0);
    CHECK(agent.greedy(s) == 0);
    agent.learn(Transition<Vector<double>, int>{s, 0, 0, s, false, false}, rng);
    agent.update(rng);
    CHECK(agent.metrics()[0].value == 0);  // 0 = 0 + 0.99 * 0, not 99
  }
}

TEST_CASE("IQN: saved anywhere, resumed to the bit", "[F2][F3][F4][resume][iqn]") {
  const DqnOptions options{.double_q = true,
                           .n_step = 2,
                           .priorities = PriorityOptions{},
                           .epsilon = LinearSchedule{1, 0.1, 300},
                           .replay = 200,
                           .batch = 8,
                           .warm_up = 50,
                           .train_every = 1,
                           .target_every = 64};
  const Iqn agent{net<float>(4, 2), ImplicitQuantiles{.choices = 5, .distortion = CvarDistortion{0.5}}, Adam{},
                  options};
  const TimeLimit env{CartPole{}, 50};
  Run whole{agent, env, Rng{8}}, first{agent, env, Rng{8}}, second{agent, env, Rng{9}};
  whole.advance(400);
  first.advance(253);
  from_bytes(to_bytes(first), second);
  second.advance(400 - 253);
  CHECK(to_bytes(second) == to_bytes(whole));
}

TEST_CASE("IQN allocates nothing once it runs", "[iqn][allocation]") {
  const auto nothing = [](const DqnOptions& options) {
    const Iqn agent{net<float>(4, 2), ImplicitQuantiles{.choices = 5}, Adam{}, options};
    Run run{agent, TimeLimit{CartPole{}, 20}, Rng{10}};
    run.advance(500);
    const auto episodes = run.log().episodes.size();
    test::Allocations allocations;
    run.advance(40);
    if (test::Allocations::available()) CHECK(allocations.count() <= (run.log().episodes.size() > episodes ? 1 : 0));
  };
  DqnOptions options{.replay = 256, .batch = 16, .warm_up = 50, .train_every = 1};
  nothing(options);
  options.double_q = true, options.n_step = 3, options.priorities = PriorityOptions{};
  nothing(options);
}

TEST_CASE("IQN: bad input is refused before anything changes, and a run that diverges says so", "[iqn][errors]") {
  const auto with = [](ImplicitQuantiles q, DqnOptions options = {}) {
    Iqn{net(2, 2), std::move(q), Adam{}, std::move(options)};
  };
  with({});
  CHECK_THROWS_AS(with({.predictions = 0}), Error);
  CHECK_THROWS_AS(with({.targets = 0}), Error);
  CHECK_THROWS_AS(with({.choices = 0}), Error);
  CHECK_THROWS_AS(with({.kappa = -1}), Error);
  CHECK_THROWS_AS(with({.distortion = nullptr}), Error);
  CHECK_THROWS_AS(with({.distortion = [](double tau) { return 2 * tau; }}), Error);
  CHECK_THROWS_AS(with({}, {.discount = 2}), Error);
  Rng rng{11};
  Iqn agent{net(2, 2), ImplicitQuantiles{}, Adam{}};
  CHECK_THROWS_AS(agent.update(rng), Error);  // nothing is remembered
  CHECK_THROWS_AS(agent.learn(T{0, 2, 0, 1, false, false}, rng), Error);
  CHECK_THROWS_AS(agent.learn(T{0, 0, std::nan(""), 1, false, false}, rng), Error);
  CHECK_THROWS_AS(agent.learn(T{5, 0, 0, 1, false, false}, rng), Error);
  CHECK(agent.memory().size() == 0);
  CHECK(agent.steps() == 0);
  Iqn wild{net(2, 2), ImplicitQuantiles{}, Sgd{.step_size = 1e200}, at_once()};
  std::string message;
  try {
    for (int k = 0; k < 100; ++k) wild.learn(T{0, 0, 1e150, 0, true, false}, rng);
  } catch (const Error& e) { message = e.what(); }
  INFO(message);
  CHECK(message.size() > 20);
}
