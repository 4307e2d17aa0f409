#include <cmath>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/a2c.hpp"
#include "valence/agent/evaluate.hpp"
#include "valence/agent/ppo.hpp"
#include "valence/agent/reinforce.hpp"
#include "valence/agent/train.hpp"
#include "valence/agent/train_lanes.hpp"
#include "valence/agent/trpo.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/vector_environment.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/constant.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/gaussian.hpp"

using namespace valence;

namespace {

using valence::test::close;

/// Two actions in one state; the second earns 1. An episode is one step.
struct Arms {
  using State = int;
  using Action = int;
  int reset(Rng&) { return 0; }
  Step<int> step(int a, Rng&) { return {.next = 0, .reward = a == 1 ? 1.0 : 0.0, .terminated = true}; }
  Discrete actions() const { return {2}; }
  template <class A>
  void archive(A&) {}
};
static_assert(Environment<Arms>);

/// Three states in a row, the last one terminal where `ends`; never truncated by itself.
Transition<int, int> transition(int state, int action, double reward, int next, bool terminated = false,
                                bool truncated = false) {
  return {state, action, reward, next, terminated, truncated};
}

/// Logits and values of `states` states in one table: the law's outputs, then the value.
Linear<OneHot> table(int states, int outputs) { return {OneHot{states}, outputs}; }

/// What one step of plain gradient descent does to the parameters of a copy of the agent: minus its gradient.
template <class Agent>
std::vector<double> parameters_of(const Agent& agent) {
  return {agent.parameters().begin(), agent.parameters().end()};
}

Parallel<Mlp<float>, Mlp<float>> small_cart_pole_nets(int width = 16) {
  return {Mlp<float>{{4, width, 2}, Activation::tanh, {.output_gain = 0.01}},
          Mlp<float>{{4, width, 1}, Activation::tanh}};
}

}  // namespace

TEST_CASE("A2C: one step is the policy gradient with GAE and the value's regression", "[a2c]") {
  // Two transitions in different states; table outputs (logit, logit, value).
  A2c agent{table(3, 3), Softmax{2}, Sgd{.step_size = 1}, {.horizon = 2, .discount = 0.9, .max_gradient_norm = 0}};
  Rng rng{1};
  const std::vector<double> theta{0.3, -0.2, 0.5, 0.1, 0.4, -0.7, 0, 0, 2.0};
  std::copy(theta.begin(), theta.end(), agent.parameters().begin());
  const int a0 = agent.act(0, rng);
  agent.learn(transition(0, a0, 1.5, 1), rng);
  const int a1 = agent.act(1, rng);
  CHECK(parameters_of(agent) == theta);
  agent.learn(transition(1, a1, -0.5, 2, false, true), rng);  // cut off: V(2) = 2 counts

  const double target1 = -0.5 + 0.9 * 2.0, target0 = 1.5 + 0.9 * target1;  // lambda = 1
  const double advantage0 = target0 - 0.5, advantage1 = target1 + 0.7;
  const auto expected = [&](int state, int action, double advantage, double target) {
    const double* z = theta.data() + 3 * state;
    const double p1 = 1 / (1 + std::exp(z[0] - z[1]));
    const std::vector<double> p{1 - p1, p1};
    std::vector<double> next(z, z + 3);
    for (int i = 0; i < 2; ++i) next[std::size_t(i)] += advantage * ((i == action ? 1 : 0) - p[std::size_t(i)]) / 2;
    next[2] -= 0.5 * (z[2] - target) / 2;
    return next;
  };
  const auto moved = parameters_of(agent);
  const auto first = expected(0, a0, advantage0, target0), second = expected(1, a1, advantage1, target1);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(moved[i] == close(first[i], 1e-12));
    CHECK(moved[3 + i] == close(second[i], 1e-12));
    CHECK(moved[6 + i] == theta[6 + i]);
  }
}

TEST_CASE("PPO: a first epoch over everything in one batch is A2C's step", "[ppo]") {
  Rng a_rng{5}, b_rng{5};
  A2c a{table(4, 3),
        Softmax{2},
        Sgd{.step_size = 0.5},
        {.horizon = 6, .lambda = 0.8, .max_gradient_norm = 0, .whiten = true}};
  Ppo b{table(4, 3),
        Softmax{2},
        Sgd{.step_size = 0.5},
        {.horizon = 6, .epochs = 1, .batch = 6, .lambda = 0.8, .max_gradient_norm = 0}};
  for (int t = 0; t < 6; ++t) {
    const int state = t % 4;
    const int x = a.act(state, a_rng), y = b.act(state, b_rng);
    REQUIRE(x == y);
    const auto tr = transition(state, x, 0.3 * t - x, (t + 1) % 4, t == 2, t == 4);
    a.learn(tr, a_rng);
    b.learn(tr, b_rng);
  }
  const auto p = parameters_of(a), q = parameters_of(b);
  for (std::size_t i = 0; i < p.size(); ++i) CHECK(p[i] == close(q[i], 1e-12, 1e-14));
  CHECK(a.updates() == 1);
  CHECK(b.updates() == 1);
}

TEST_CASE("PPO: with target KL 0 the parameters don't move and no update is counted", "[G9][ppo]") {
  Rng rng{2};
  Ppo agent{small_cart_pole_nets(), Softmax{2}, Adam{}, {.horizon = 64, .target_kl = 0}};
  const std::vector<float> before(agent.parameters().begin(), agent.parameters().end());
  train(agent, TimeLimit{CartPole{}}, {.steps = 256}, rng);
  CHECK(std::vector<float>(agent.parameters().begin(), agent.parameters().end()) == before);
  CHECK(agent.updates() == 0);
  // A little divergence is allowed: some steps are taken, but not all of 4 rollouts x 10 epochs.
  Ppo little{small_cart_pole_nets(), Softmax{2}, Adam{.step_size = 1e-2}, {.horizon = 64, .target_kl = 1e-4}};
  train(little, TimeLimit{CartPole{}}, {.steps = 256}, rng);
  CHECK(little.updates() >= 4);
  CHECK(little.updates() < 40);
}

TEST_CASE("PPO: mini-batches of one sample and equal advantages leave finite parameters", "[G1][ppo]") {
  Rng rng{3};
  Ppo agent{table(4, 3), Softmax{2}, Adam{.step_size = 0.1}, {.horizon = 4, .epochs = 3, .batch = 3}};
  for (int t = 0; t < 12; ++t) {
    const int a = agent.act(t % 4, rng);
    agent.learn(transition(t % 4, a, 1.0, (t + 1) % 4), rng);
  }
  for (const double x : agent.parameters()) CHECK(std::isfinite(x));
  CHECK(agent.updates() == 3 * 3 * 2);
}

TEST_CASE("PPO's penalty lowers the divergence from the policy that acted", "[G10][ppo]") {
  // Without advantages (rewards and values 0) the penalty alone acts; the second epoch, after a kick, must come back.
  Rng rng{4};
  Ppo agent{table(1, 3),
            Softmax{2},
            Sgd{.step_size = 0.5},
            {.horizon = 8,
             .epochs = 50,
             .batch = 8,
             .clip = std::numeric_limits<double>::infinity(),
             .kl_penalty = 1,
             .max_gradient_norm = 0,
             .whiten = false}};
  for (int t = 0; t < 8; ++t) {
    agent.learn(transition(0, agent.act(0, rng), 0.0, 0, true), rng);
    if (t == 6) agent.parameters()[0] += 1;  // the policy is elsewhere than where it acted
  }
  // The penalty has pulled the kicked policy back to the mean of those that acted: seven times 1/2, once sigmoid(1).
  const double mean = (7 * 0.5 + 1 / (1 + std::exp(-1.0))) / 8;
  CHECK(agent.parameters()[0] - agent.parameters()[1] == close(std::log(mean / (1 - mean)), 1e-3));
}

TEST_CASE("PPO: an adaptive penalty follows the divergence", "[ppo]") {
  Rng rng{6};
  Ppo eager{small_cart_pole_nets(),
            Softmax{2},
            Adam{.step_size = 1e-2},
            {.horizon = 128, .clip = std::numeric_limits<double>::infinity(), .kl_penalty = 0.01, .adaptive_kl = 1e-5}};
  train(eager, TimeLimit{CartPole{}}, {.steps = 512}, rng);
  CHECK(eager.kl_penalty() == close(0.16));  // doubled four times
  CHECK_THROWS_AS((Ppo{table(1, 3), Softmax{2}, Adam{}, {.adaptive_kl = 0.01}}), Error);
}

TEST_CASE("REINFORCE: the expected step is the gradient of the expected return", "[reinforce]") {
  // One state, two arms, no baseline: E[r grad log pi] = p1 p0 (e_1 - e_0) for rewards (0, 1).
  const std::vector<double> logits{0.4, -0.3};
  const double p1 = 1 / (1 + std::exp(0.7));
  double sum = 0;
  Rng rng{9};
  const int draws = 20'000;
  for (int k = 0; k < draws; ++k) {
    Reinforce agent{table(1, 2), Softmax{2}, Sgd{.step_size = 1}};
    std::copy(logits.begin(), logits.end(), agent.parameters().begin());
    agent.begin_episode();
    const int a = agent.act(0, rng);
    agent.learn(transition(0, a, a, 0, true), rng);
    sum += agent.parameters()[1] - logits[1];
  }
  CHECK(sum / draws == close(p1 * (1 - p1), 0.0, 4 * 0.5 / std::sqrt(double(draws))));
}

TEST_CASE("REINFORCE: returns of whole episodes, several between updates; one that is broken off counts as cut",
          "[reinforce]") {
  Reinforce agent{table(3, 3), Softmax{2}, Sgd{.step_size = 1}, {.episodes = 2, .discount = 0.5, .value_weight = 1}};
  Rng rng{10};
  agent.parameters()[5] = 4;  // V(1)
  agent.begin_episode();
  const int a0 = agent.act(0, rng);
  agent.learn(transition(0, a0, 1, 1), rng);
  CHECK(agent.updates() == 0);
  agent.begin_episode();  // broken off in state 1, worth 4
  const int a1 = agent.act(2, rng);
  agent.learn(transition(2, a1, 3, 0, true), rng);
  CHECK(agent.updates() == 1);
  CHECK(agent.parameters()[2] == close((1 + 0.5 * 4) / 2));  // half of (target - 0), two transitions
  CHECK(agent.parameters()[8] == close(1.5));
}

TEST_CASE("an episode that is begun anew is cut off in A2C and PPO, too", "[a2c]") {
  A2c agent{table(3, 3),
            Softmax{2},
            Sgd{.step_size = 1},
            {.horizon = 2, .discount = 0.5, .value_weight = 1, .max_gradient_norm = 0}};
  Rng rng{11};
  agent.parameters()[5] = 4;
  agent.learn(transition(0, agent.act(0, rng), 1, 1), rng);
  agent.begin_episode();
  agent.learn(transition(2, agent.act(2, rng), 100, 0, true), rng);
  CHECK(agent.parameters()[2] == close((1 + 0.5 * 4) / 2));  // nothing of the 100 that another episode earned
}

TEST_CASE("TRPO: equal advantages take no step, and steps stay in the trust region", "[G2][trpo]") {
  Rng rng{12};
  Trpo agent{Parallel{table(2, 2), table(2, 1)}, Softmax{2}, Sgd{.step_size = 0.1}, {.horizon = 4, .batch = 4}};
  for (int t = 0; t < 4; ++t) agent.learn(transition(0, agent.act(0, rng), 2.0, 1, true), rng);
  for (std::size_t i = 0; i < 4; ++i) CHECK(agent.parameters()[i] == 0);
  Trpo real{small_cart_pole_nets(), Softmax{2}, Adam{.step_size = 1e-3}, {.horizon = 256}};
  train(real, TimeLimit{CartPole{}}, {.steps = 256}, rng);
  const auto metrics = real.metrics();
  CHECK(metrics[0].value > 0);
  CHECK(metrics[0].value <= 0.01);
  CHECK(metrics[1].value > 0);
  CHECK(metrics[3].value == 1);
}

TEST_CASE("NPG: the step is (F + damping)^-1 g", "[trpo]") {
  // One state, softmax of two: F = p0 p1 [[1, -1], [-1, 1]], g along (-1, 1): F g = 2 p0 p1 g.
  Rng rng{13};
  Trpo agent{Parallel{table(1, 2), table(1, 1)},
             Softmax{2},
             Sgd{.step_size = 0},
             {.horizon = 2, .region = {.damping = 0.1}, .natural_step = 0.3, .whiten = false}};
  agent.parameters()[0] = 0.2;
  double gradient = 0;
  const double p1 = 1 / (1 + std::exp(0.2));
  for (int t = 0; t < 2; ++t) {
    const int a = agent.act(0, rng);
    gradient += 0.5 * (1.0 + a) * ((a == 1 ? 1 : 0) - p1);
    agent.learn(transition(0, a, 1.0 + a, 0, true), rng);
  }
  CHECK(agent.parameters()[1] == close(0.3 * gradient / (2 * p1 * (1 - p1) + 0.1), 1e-9));
}

TEST_CASE("masked actions are never taken, by any agent of this file", "[G23][mask]") {
  const PossibleActions only_first = [](std::span<const double> state, std::span<bool> possible) {
    possible[1] = state[0] > 1e9;
  };
  Rng rng{14};
  const auto takes_first_alone = [&](auto agent) {
    std::set<int> taken;
    for (int t = 0; t < 200; ++t) {
      const int a = agent.act(Vector<double>{{0.1 * t}}, rng);
      taken.insert(a);
      agent.learn(Transition<Vector<double>, int>{Vector<double>{{0.1 * t}}, a, 1.0 * t,
                                                  Vector<double>{{0.1 * t + 0.1}}, t % 10 == 9, false},
                  rng);
      taken.insert(agent.greedy(Vector<double>{{0.1 * t}}));
    }
    CHECK(taken == std::set<int>{0});
    for (const double x : agent.parameters()) CHECK(std::isfinite(x));
  };
  const Mlp<double> net{{1, 8, 3}, Activation::tanh};
  takes_first_alone(A2c{net, Softmax{2}, Adam{1e-2}, {.entropy_weight = 0.01, .possible = only_first}});
  takes_first_alone(
      Ppo{net, Softmax{2}, Adam{1e-2}, {.horizon = 20, .batch = 10, .entropy_weight = 0.01, .possible = only_first}});
  takes_first_alone(Reinforce{net, Softmax{2}, Adam{1e-2}, {.entropy_weight = 0.01, .possible = only_first}});
  const Parallel apart{Mlp<double>{{1, 8, 2}, Activation::tanh}, Mlp<double>{{1, 8, 1}, Activation::tanh}};
  takes_first_alone(Trpo{apart, Softmax{2}, Adam{1e-2}, {.horizon = 20, .batch = 10, .possible = only_first}});
  takes_first_alone(
      Trpo{apart, Softmax{2}, Adam{1e-2}, {.horizon = 20, .natural_step = 0.1, .batch = 10, .possible = only_first}});
  A2c none{
      net, Softmax{2}, Adam{}, {.possible = [](std::span<const double>, std::span<bool> p) { p[0] = p[1] = false; }}};
  CHECK_THROWS_AS(none.act(Vector<double>{{0.0}}, rng), Error);
}

TEST_CASE("TRPO: a masked action is as if it weren't there", "[G23][mask][trpo]") {
  // Three arms, the last one masked, against two arms: the same logits, the same draws, the same steps.
  const auto logits_after = [](int arms, PossibleActions possible, double natural_step) {
    Trpo agent{Parallel{table(1, arms), table(1, 1)},
               Softmax{arms},
               Sgd{.step_size = 0.1},
               {.horizon = 8, .natural_step = natural_step, .possible = std::move(possible)}};
    for (double& x : agent.parameters()) x = 0;
    if (arms == 3) agent.parameters()[2] = 50;  // were it read, it would swamp the others
    Rng rng{16};
    for (int t = 0; t < 64; ++t) {
      const int a = agent.act(0, rng);
      agent.learn(transition(0, a, a == 1 ? 1.0 : 0.0, 0, true), rng);
    }
    return std::vector<double>{agent.parameters()[0], agent.parameters()[1]};
  };
  for (const double natural_step : {0.0, 0.2}) {
    const auto two = logits_after(2, {}, natural_step);
    const auto three = logits_after(
        3, [](std::span<const double>, std::span<bool> p) { p[2] = false; }, natural_step);
    CHECK(two[1] > two[0]);
    for (std::size_t i = 0; i < 2; ++i) CHECK(three[i] == close(two[i], 1e-10, 1e-12));
  }
}

TEST_CASE("PPO: the clip may follow a schedule", "[ppo]") {
  const auto play = [](Rate clip) {
    Ppo agent{table(1, 3), Softmax{2}, Adam{.step_size = 0.1}, {.horizon = 32, .batch = 16, .clip = clip}};
    Rng rng{17};
    train(agent, Arms{}, {.steps = 128}, rng);
    return std::pair(parameters_of(agent), agent.metrics()[4].value);
  };
  const auto [constant, share] = play(0.2);
  CHECK(play(LinearSchedule{0.2, 0.2, 10}).first == constant);
  const auto [falling, clipped] = play(LinearSchedule{0.2, 1e-3, 20});
  CHECK(falling != constant);
  CHECK(clipped > share);
  // A schedule that reaches 0 is refused when it does.
  CHECK_THROWS_AS(play(LinearSchedule{0.2, 0, 20}), Error);
  CHECK_THROWS_AS(play(0.0), Error);
}

TEST_CASE("on-policy agents learn the better arm from every seed", "[learning]") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto earns = [&](auto agent, std::int64_t steps) {
      Rng rng{seed};
      train(agent, Arms{}, {.steps = steps}, rng);
      CHECK(evaluate([&](int s, Rng& r) { return agent.act(s, r); }, Arms{}, {.episodes = 200}, rng).mean > 0.9);
    };
    earns(A2c{table(1, 3), Softmax{2}, Sgd{.step_size = 0.5}, {}, Rng{seed}}, 2000);
    earns(Ppo{table(1, 3), Softmax{2}, Adam{.step_size = 0.02}, {.horizon = 32, .batch = 16}, Rng{seed}}, 1000);
    earns(Reinforce{table(1, 2), Softmax{2}, Sgd{.step_size = 0.3}, {}, Rng{seed}}, 1000);
    earns(Trpo{Parallel{table(1, 2), table(1, 1)}, Softmax{2}, Sgd{.step_size = 0.1}, {.horizon = 32}, Rng{seed}},
          3000);
  }
}

TEST_CASE("lanes: PPO on one lane is PPO, eight lanes learn, cut episodes are cut", "[lanes]") {
  const auto nets = small_cart_pole_nets();
  const PpoOptions options{.horizon = 64, .epochs = 2};
  Ppo many{nets, Softmax{2}, Adam{}, {.horizon = 16, .lanes = 8, .epochs = 2, .batch = 32}};
  Rng rng{15};
  VectorEnvironment lanes{TimeLimit{CartPole{}}, 8, {.autoreset = Autoreset::same_step}};
  const auto log = train(many, lanes, {.steps = 2048}, rng);
  CHECK(log.steps == 2048);
  CHECK(many.steps() == 2048);
  CHECK(many.updates() == 16 * 2 * 4);
  std::int64_t length = 0;
  for (const Episode& e : log.episodes) length += e.length;
  CHECK(length <= 2048);
  CHECK(length > 1000);
  // A limit of three steps: all episodes are of three, truncated, and none leaks into the next.
  Ppo cut{nets, Softmax{2}, Adam{}, {.horizon = 16, .lanes = 2, .batch = 32}};
  const auto short_log = train(cut, VectorEnvironment{CartPole{}, 2, {.autoreset = Autoreset::same_step}},
                               {.episodes = 10, .max_episode_steps = 3}, rng);
  for (const Episode& e : short_log.episodes) CHECK((e.length == 3 && e.truncated && !e.terminated));
  for (std::size_t k = 0; k < 10; ++k)  // both lanes end at once, after three steps of each
    CHECK(short_log.episodes[k].end == static_cast<std::int64_t>(6 * (k / 2 + 1)));
  // Wrong modes and numbers of lanes.
  CHECK_THROWS_AS(train(many, VectorEnvironment{CartPole{}, 8}, {.steps = 8}, rng), Error);
  CHECK_THROWS_AS(train(many, VectorEnvironment{CartPole{}, 7, {.autoreset = Autoreset::same_step}}, {.steps = 8}, rng),
                  Error);
  Ppo one{nets, Softmax{2}, Adam{}, options};
  CHECK_THROWS_AS(many.act(Eigen::Vector4d::Zero().eval(), rng), Error);
}

TEST_CASE("on-policy agents: saved anywhere, resumed to the bit", "[resume]") {
  const auto resumes = [](auto agent, auto env, std::int64_t before, std::int64_t after) {
    Run whole{agent, env, Rng{16}};
    Run first{agent, env, Rng{16}};
    whole.advance(before + after);
    first.advance(before);
    auto bytes = to_bytes(first);
    Run second{agent, env, Rng{99}};
    from_bytes(bytes, second);
    second.advance(after);
    CHECK(to_bytes(second) == to_bytes(whole));
  };
  const auto nets = small_cart_pole_nets(8);
  const TimeLimit env{CartPole{}};
  resumes(Ppo{nets, Softmax{2}, Adam{}, {.horizon = 50, .batch = 20, .kl_penalty = 0.1, .adaptive_kl = 0.01}}, env, 130,
          170);
  resumes(A2c{nets, Softmax{2}, RmsProp{}, {}}, env, 33, 100);
  resumes(Reinforce{nets, Softmax{2}, Adam{}, {.episodes = 3}}, env, 77, 300);
  resumes(Trpo{nets, Softmax{2}, Adam{}, {.horizon = 64}}, env, 100, 100);
  resumes(Ppo{nets, Softmax{2}, Adam{}, {.horizon = 20, .lanes = 3}},
          VectorEnvironment{env, 3, {.autoreset = Autoreset::same_step}}, 99, 150);
  const Parallel gaussian{Parallel{Mlp<float>{{3, 8, 1}, relu}, Constant<float>{1}}, Mlp<float>{{3, 8, 1}, relu}};
  resumes(Ppo{gaussian, DiagonalGaussian<double>{}, Adam{}, {.horizon = 50, .batch = 25}}, TimeLimit{Pendulum{}}, 130,
          170);
}

TEST_CASE("a checkpoint from another horizon is refused", "[F8][errors]") {
  Run longer{A2c{small_cart_pole_nets(8), Softmax{2}, Adam{}, {.horizon = 20}}, TimeLimit{CartPole{}}, Rng{1}};
  longer.advance(15);
  Run shorter{A2c{small_cart_pole_nets(8), Softmax{2}, Adam{}, {.horizon = 10}}, TimeLimit{CartPole{}}, Rng{1}};
  const auto bytes = to_bytes(longer);
  CHECK_THROWS_AS(from_bytes(bytes, shorter), Error);
}

TEST_CASE("on-policy agents allocate nothing once they run", "[allocation]") {
  const auto nothing = [](const char* name, auto agent, auto env) {
    INFO(name);
    Run run{agent, env, Rng{17}, 8};  // episodes of at most 8 steps: REINFORCE's batches don't grow
    run.advance(600);
    const auto episodes = run.log().episodes.size();
    test::Allocations allocations;
    run.advance(64);
    // The log itself grows, by doubling.
    if (test::Allocations::available()) CHECK(allocations.count() <= (run.log().episodes.size() > episodes ? 1 : 0));
  };
  const auto nets = small_cart_pole_nets(8);
  const TimeLimit env{CartPole{}};
  nothing("Ppo", Ppo{nets, Softmax{2}, Adam{}, {.horizon = 32, .batch = 16}}, env);
  nothing("A2c", A2c{nets, Softmax{2}, RmsProp{}, {}}, env);
  nothing("Reinforce", Reinforce{nets, Softmax{2}, Adam{}, {}}, env);
  nothing("Trpo", Trpo{nets, Softmax{2}, Adam{}, {.horizon = 32, .batch = 32}}, env);
}

TEST_CASE("on-policy agents: bad input", "[errors]") {
  const Mlp<float> net{{4, 8, 3}, relu};
  CHECK_THROWS_AS((A2c{net, Softmax{2}, Adam{}, {.horizon = 0}}), Error);
  CHECK_THROWS_AS((A2c{net, Softmax{2}, Adam{}, {.discount = 1.1}}), Error);
  CHECK_THROWS_AS((A2c{net, Softmax{4}, Adam{}}), Error);
  CHECK_THROWS_AS((A2c{Mlp<float>{{4, 8, 2}, relu}, Softmax{2}, Adam{}}), Error);  // no value
  CHECK_THROWS_AS((Ppo{net, Softmax{2}, Adam{}, {.epochs = 0}}), Error);
  CHECK_THROWS_AS((Ppo{net, Softmax{2}, Adam{}, {.clip = 0}}), Error);
  CHECK_THROWS_AS((Ppo{net, Softmax{2}, Adam{}, {.dual_clip = 1}}), Error);
  CHECK_THROWS_AS((Reinforce{net, Softmax{2}, Adam{}, {.episodes = 0}}), Error);
  Ppo agent{net, Softmax{2}, Adam{}, {.horizon = 4}};
  Rng rng{18};
  const Eigen::Vector4d s = Eigen::Vector4d::Zero();
  using T = Transition<Eigen::Vector4d, int>;
  CHECK_THROWS_AS(agent.learn(T{s, 0, 1.0, s, false, false}, rng), Error);  // nothing was done
  const int a = agent.act(s, rng);
  CHECK_THROWS_AS(agent.learn(T{s, a, std::nan(""), s, false, false}, rng), Error);
  CHECK(agent.steps() == 0);
  CHECK_THROWS_AS(agent.act(Vector<double>{{1.0, 2.0}}, rng), Error);
}

TEST_CASE("a run that diverges says which quantity and at which update", "[errors]") {
  Rng rng{19};
  Ppo agent{small_cart_pole_nets(), Softmax{2}, Adam{.step_size = 1e300}, {.horizon = 16, .batch = 16}};
  try {
    train(agent, TimeLimit{CartPole{}}, {.steps = 1000}, rng);
    CHECK(false);
  } catch (const Error& e) { CHECK(std::string(e.what()).size() > 20); }
}
