#include "valence/agent/dqn.hpp"

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/evaluate.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/hl_gauss.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/distributional/rescaled_value.hpp"
#include "valence/distributional/two_hot.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/dueling.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/noisy.hpp"
#include "valence/function/optimizers.hpp"

using namespace valence;

namespace {

using valence::test::close;

Linear<OneHot> table(int states, int outputs) { return {OneHot{states}, outputs}; }

/// Right walks from 0 to 4, whose arrival earns 1 and ends; left goes back. The best return from 0 is discount^3.
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
static_assert(Environment<Walk>);

/// The same with vectors for states.
struct Line : Walk {
  using State = Vector<float>;
  Vector<float> reset(Rng& r) { return at(Walk::reset(r)); }
  Step<Vector<float>> step(int a, Rng& r) {
    const auto s = Walk::step(a, r);
    return {.next = at(s.next), .reward = s.reward, .terminated = s.terminated};
  }
  static Vector<float> at(int i) { return Vector<float>{{static_cast<float>(i)}}; }
};

/// Learns from its first transition on, one step an entry, with plain gradient descent.
DqnOptions at_once(DqnOptions options = {}) {
  options.batch = 1, options.warm_up = 1, options.train_every = 1, options.epsilon = 0, options.max_gradient_norm = 0;
  return options;
}
using T = Transition<int, int>;

}  // namespace

TEST_CASE("DQN: one transition moves its action value towards the target, no other", "[dqn]") {
  Rng rng{1};
  const auto moved = [&](const T& t, DqnOptions options) {
    Dqn agent{table(3, 2), ScalarHead{}, Sgd{.step_size = 0.5}, at_once(std::move(options))};
    // The target network still has the values it started with, zeros: set both by a copy through learning.
    std::vector<double> q{1, 2, 3, 5, -1, 4};
    std::copy(q.begin(), q.end(), agent.parameters().begin());
    agent.learn(t, rng);
    std::vector<double> change(6);
    for (std::size_t i = 0; i < 6; ++i) change[i] = agent.parameters()[i] - q[i];
    return change;
  };
  // target network: zeros, so the target is the reward.
  auto change = moved({0, 1, 0.5, 1, false, false}, {});
  CHECK(change[1] == close(0.5 * (0.5 - 2)));
  change[1] = 0;
  CHECK(change == std::vector<double>(6, 0.0));
  CHECK(moved({2, 0, 7, 1, true, false}, {})[4] == close(0.5 * (7 + 1)));
}

TEST_CASE("DQN: truncation bootstraps, termination doesn't, and double chooses by the online network",
          "[dqn][R6][double]") {
  Rng rng{2};
  const auto target_of = [&](bool terminated, bool truncated, bool double_q) {
    Dqn agent{table(2, 2), ScalarHead{}, Sgd{.step_size = 1},
              at_once({.discount = 0.5, .double_q = double_q, .target_every = 2})};
    const std::vector<double> first{0, 0, 10, 20};  // state 1: action 1 is better in the target network
    std::copy(first.begin(), first.end(), agent.parameters().begin());
    agent.learn(T{0, 0, 0, 1, true, false}, rng);  // one transition of reward 0: nothing changes
    agent.learn(T{0, 0, 0, 1, true, false}, rng);  // and now the target network is a copy
    REQUIRE(agent.target_parameters()[3] == 20);
    agent.parameters()[2] = 100;  // online: action 0 is better
    agent.parameters()[0] = 0;
    // The batch is drawn from all three; play the one of interest until it was the one that was drawn.
    Dqn copy = agent;
    double moved = 0;
    for (int k = 0; k < 100 && moved == 0; ++k) {
      copy = agent;
      copy.learn(T{0, 1, 1, 1, terminated, truncated}, rng);
      moved = copy.parameters()[1];
    }
    return moved;
  };
  CHECK(target_of(true, false, false) == close(1.0));
  CHECK(target_of(false, true, false) == close(1 + 0.5 * 20));
  CHECK(target_of(false, false, false) == close(1 + 0.5 * 20));
  CHECK(target_of(false, false, true) == close(1 + 0.5 * 10));
}

TEST_CASE("double DQN is DQN where both networks are equal, and every other switch off is DQN",
          "[dqn][double][rainbow]") {
  const auto play = [](DqnOptions options) {
    options.epsilon = 0.3, options.batch = 8, options.warm_up = 20, options.train_every = 1, options.target_every = 1;
    Dqn agent{Mlp<float>{{1, 16, 2}, relu}, ScalarHead{}, Adam{1e-2}, options, Rng{3}};
    Rng rng{3};
    train(agent, Line{}, {.steps = 300}, rng);
    return std::vector<float>(agent.parameters().begin(), agent.parameters().end());
  };
  const auto plain = play({});
  CHECK(play({.double_q = true}) == plain);
  CHECK(play({.n_step = 1}) == plain);
  CHECK(play({.possible = [](std::span<const double>, std::span<bool>) {}}) == plain);
  CHECK(play({.n_step = 2}) != plain);
  // Uniform priorities draw other entries, but with the same law; weights are 1.
  CHECK(play({.priorities = PriorityOptions{.alpha = 0}}) != plain);
}

TEST_CASE("DQN: the n-step target is cut where an episode ends", "[dqn][V10]") {
  Rng rng{4};
  Dqn agent{table(4, 2), ScalarHead{}, Sgd{.step_size = 1}, at_once({.discount = 0.5, .n_step = 3})};
  // Reward 1 at each of three steps, then the end: from the first the target is 1 + 1/2 + 1/4.
  std::vector<double> best(4, 0.0);
  for (int round = 0; round < 200; ++round) {
    agent.learn(T{0, 0, 1, 1, false, false}, rng);
    agent.learn(T{1, 0, 1, 2, false, false}, rng);
    agent.learn(T{2, 0, 1, 3, true, false}, rng);
    for (int s = 0; s < 3; ++s) best[std::size_t(s)] = agent.parameters()[std::size_t(2 * s)];
  }
  CHECK(best[2] == close(1.0));
  CHECK((std::abs(best[1] - 1.5) < 1e-12 || std::abs(best[1] - 1) < 1e-12));  // as far as was known when it was drawn
  CHECK((best[0] == close(1.75) || best[0] == close(1.5) || best[0] == close(1.0)));
}

TEST_CASE("DQN: priorities are TD errors, without weight, and the loss for other heads", "[dqn][R8]") {
  Rng rng{5};
  // Far apart rewards: entries of priority ratio 9 : 1 are drawn so.
  DqnOptions options = at_once({.priorities = PriorityOptions{.alpha = 1, .beta = 1, .epsilon = 1e-12}, .beta = 1.0});
  options.batch = 64;
  Dqn agent{table(2, 1), ScalarHead{}, Sgd{.step_size = 0}, options};
  agent.learn(T{0, 0, 9, 0, true, false}, rng);
  agent.learn(T{1, 0, 1, 0, true, false}, rng);
  for (int k = 0; k < 10; ++k) agent.update(rng);
  CHECK(agent.metrics()[0].value > 0);
  // P(0) = 0.9, P(1) = 0.1; weights (N P)^-1 / max: 1/9 and 1. The weighted loss's mean is then about
  // 0.9 / 9 * 81 / 2 + 0.1 * 1 / 2 = 4.1, exact in expectation; stratified draws hold it within a draw.
  CHECK(agent.metrics()[0].value == close(4.1, 0.0, 0.8));
}

TEST_CASE("DQN: a rescaled target is h of the return, and far rewards are learned", "[dqn][rescaling]") {
  Rng rng{14};
  const RescaledValue head{ScalarHead{}, ValueRescaling{.epsilon = 0.01}};
  Dqn agent{table(2, 1), head, Sgd{.step_size = 1}, at_once({.discount = 0.5, .target_every = 1})};
  agent.parameters()[0] = 0, agent.parameters()[1] = head.scale(300.0);
  agent.learn(T{1, 0, 300, 1, true, false}, rng);  // the state is worth 300 already; the target network copies it
  CHECK(agent.values(1)[0] == close(300.0, 1e-10));
  double moved = 0;
  for (int k = 0; k < 60 && moved == 0; ++k) {
    agent.learn(T{0, 0, 50, 1, false, false}, rng);
    moved = agent.parameters()[0];
  }
  CHECK(moved == close(head.scale(50 + 0.5 * 300), 1e-10));
  CHECK(agent.values(0)[0] == close(200.0, 1e-10));
}

TEST_CASE("DQN: impossible actions are neither taken nor bootstrapped from", "[dqn][mask]") {
  const PossibleActions rule = [](std::span<const double> s, std::span<bool> p) { p[1] = s[0] == 0; };
  Rng rng{6};
  for (const bool double_q : {false, true}) {
    Dqn agent{table(2, 2), ScalarHead{}, Sgd{.step_size = 1},
              at_once({.discount = 1, .double_q = double_q, .target_every = 1, .possible = rule})};
    const std::vector<double> q{0, 0, 3, 100};  // in state 1 action 1 looks best, and is impossible
    std::copy(q.begin(), q.end(), agent.parameters().begin());
    agent.learn(T{0, 0, 0, 1, true, false}, rng);  // copies
    CHECK(agent.greedy(1) == 0);
    double moved = 0;
    for (int k = 0; k < 60 && moved == 0; ++k) {
      agent.learn(T{0, 1, 1, 1, false, false}, rng);
      moved = agent.parameters()[1];
    }
    CHECK(moved == close(4.0));
  }
  DqnOptions exploring = at_once({.possible = rule});
  exploring.epsilon = 1.0;
  Dqn agent{table(2, 2), ScalarHead{}, Sgd{}, exploring};
  std::set<int> taken, free;
  for (int k = 0; k < 200; ++k) taken.insert(agent.act(1, rng)), free.insert(agent.act(0, rng));
  CHECK(taken == std::set<int>{0});
  CHECK(free == std::set<int>{0, 1});
}

TEST_CASE("one line changes the head: every one learns the walk, from every seed", "[dqn][learning]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto learns = [&](const char* name, auto network, auto head, DqnOptions more = {}) {
      INFO(name << ", seed " << seed);
      DqnOptions options = more;
      options.discount = 0.9, options.batch = 32, options.warm_up = 64, options.train_every = 1,
      options.target_every = 50;
      options.epsilon = LinearSchedule{1, 0.2, 1500};
      Rng rng{seed};
      Dqn agent{std::move(network), head, Adam{.step_size = 0.02}, options, Rng{seed}};
      train(agent, Walk{}, {.steps = 3000, .max_episode_steps = 50}, rng);
      for (int s = 0; s < 4; ++s) CHECK(agent.greedy(s) == 1);
      CHECK(double(agent.values(3)[1]) == close(1.0, 0.0, 0.1));
      CHECK(double(agent.values(0)[1]) == close(0.729, 0.0, 0.12));
    };
    learns("scalar", table(5, 2), ScalarHead{});
    const CategoricalReturn c51{.atoms = 21, .min = 0, .max = 1};
    learns("C51", table(5, c51.size(2)), c51);
    const QuantileReturn qr{.quantiles = 8};
    learns("QR", table(5, qr.size(2)), qr);
    const HlGauss hl{.bins = 21, .min = -0.2, .max = 1.2};
    learns("HL-Gauss", table(5, hl.size(2)), hl);
    const TwoHot two{.atoms = 21, .min = 0, .max = 1};
    learns("two-hot", table(5, two.size(2)), two);
    learns("rescaled", table(5, 2), RescaledValue{ScalarHead{}});
    learns("rescaled two-hot", table(5, two.size(2)), RescaledValue{two});
    learns("dueling", Dueling{table(5, 3), 2}, ScalarHead{});
    learns("n-step, double, prioritized", table(5, 2), ScalarHead{},
           {.double_q = true, .n_step = 3, .priorities = PriorityOptions{}});
  }
}

TEST_CASE("noisy networks explore by themselves, and are quiet when asked for the greedy action", "[dqn][noisy]") {
  Rng rng{7};
  DqnOptions options = at_once();
  Dqn agent{Noisy{table(1, 2)}, ScalarHead{}, Sgd{.step_size = 0}, options};
  std::set<int> taken;
  for (int k = 0; k < 100; ++k) taken.insert(agent.act(0, rng));
  CHECK(taken == std::set<int>{0, 1});
  for (int k = 0; k < 20; ++k) {
    agent.act(0, rng);
    CHECK(agent.greedy(0) == 0);
    CHECK(agent.values(0)[1] == 0);
  }
}

TEST_CASE("DQN and Rainbow: saved anywhere, resumed to the bit", "[F2][F3][F4][resume]") {
  const auto resumes = [](auto agent) {
    const TimeLimit env{CartPole{}, 50};
    Run whole{agent, env, Rng{8}}, first{agent, env, Rng{8}}, second{agent, env, Rng{9}};
    whole.advance(700);
    first.advance(433);  // within an episode, between moves of the target, before the knee of the schedule
    auto bytes = to_bytes(first);
    from_bytes(bytes, second);
    CHECK(second.agent.target_parameters()[3] == first.agent.target_parameters()[3]);
    second.advance(700 - 433);
    CHECK(to_bytes(second) == to_bytes(whole));
  };
  DqnOptions options{.epsilon = LinearSchedule{1, 0.1, 500},
                     .replay = 300,
                     .batch = 16,
                     .warm_up = 50,
                     .target_every = 64,
                     .step_factor = LinearSchedule{1, 0.1, 120}};
  resumes(Dqn{Mlp<float>{{4, 16, 2}, relu}, ScalarHead{.huber = 1}, Adam{}, options});
  options.double_q = true, options.n_step = 3, options.priorities = PriorityOptions{}, options.epsilon = 0.0;
  options.beta = LinearSchedule{0.4, 1, 150};
  const CategoricalReturn head{.atoms = 11, .min = 0, .max = 20};
  resumes(Dqn{Noisy{Dueling{Mlp<float>{{4, 16, 33}, relu}, 2, 11}}, head, Adam{}, options});
}

TEST_CASE("DQN allocates nothing once it runs", "[allocation]") {
  const auto nothing = [](auto agent) {
    Run run{agent, TimeLimit{CartPole{}, 20}, Rng{10}};
    run.advance(500);
    const auto episodes = run.log().episodes.size();
    test::Allocations allocations;
    run.advance(40);
    if (test::Allocations::available()) CHECK(allocations.count() <= (run.log().episodes.size() > episodes ? 1 : 0));
  };
  DqnOptions options{.replay = 256, .batch = 16, .warm_up = 50, .train_every = 1};
  nothing(Dqn{Mlp<float>{{4, 16, 2}, relu}, ScalarHead{}, Adam{}, options});
  options.double_q = true, options.n_step = 3, options.priorities = PriorityOptions{}, options.epsilon = 0.0;
  const CategoricalReturn head{.atoms = 11, .min = 0, .max = 20};
  nothing(Dqn{Noisy{Dueling{Mlp<float>{{4, 16, 33}, relu}, 2, 11}}, head, Adam{}, options});
}

TEST_CASE("DQN: bad input is refused before anything changes", "[errors]") {
  CHECK_THROWS_AS((Dqn{table(2, 3), CategoricalReturn{.atoms = 2, .min = 0, .max = 1}, Adam{}}), Error);
  CHECK_THROWS_AS((Dqn{table(2, 2), ScalarHead{}, Adam{}, {.discount = -0.1}}), Error);
  CHECK_THROWS_AS((Dqn{table(2, 2), ScalarHead{}, Adam{}, {.replay = 0}}), Error);
  CHECK_THROWS_AS((Dqn{table(2, 2), ScalarHead{}, Adam{}, {.target_rate = 0}}), Error);
  Rng rng{11};
  Dqn agent{table(2, 2), ScalarHead{}, Adam{}};
  CHECK_THROWS_AS(agent.update(rng), Error);  // nothing is remembered
  CHECK_THROWS_AS(agent.learn(T{0, 2, 0, 1, false, false}, rng), Error);
  CHECK_THROWS_AS(agent.learn(T{0, 0, std::numeric_limits<double>::infinity(), 1, false, false}, rng), Error);
  CHECK_THROWS_AS(agent.learn(T{0, 0, std::nan(""), 1, false, false}, rng), Error);
  CHECK_THROWS_AS(agent.learn(T{5, 0, 0, 1, false, false}, rng), Error);
  CHECK(agent.memory().size() == 0);
  CHECK(agent.steps() == 0);
  Dqn three{table(5, 3), ScalarHead{}, Adam{}};
  CHECK_THROWS_AS(train(three, Walk{}, {.steps = 1}, rng), Error);  // another number of actions
}

TEST_CASE("DQN: a checkpoint of an agent that remembers another number of transitions is refused", "[F8][errors]") {
  Rng rng{13};
  DqnOptions small = at_once();
  small.replay = 7;
  DqnOptions large = at_once();
  large.replay = 9;
  Dqn a{table(2, 2), ScalarHead{}, Sgd{}, small}, b{table(2, 2), ScalarHead{}, Sgd{}, large};
  a.learn(T{0, 0, 1, 1, false, false}, rng);
  const auto bytes = to_bytes(a);
  CHECK_THROWS_AS(from_bytes(bytes, b), Error);
}

TEST_CASE("DQN: a run that diverges says so", "[errors]") {
  Rng rng{12};
  Dqn agent{table(1, 1), ScalarHead{}, Sgd{.step_size = 1e200}, at_once()};
  std::string message;
  try {
    for (int k = 0; k < 100; ++k) agent.learn(T{0, 0, 1e150, 0, true, false}, rng);
  } catch (const Error& e) { message = e.what(); }
  INFO(message);
  CHECK(message.size() > 20);
}
