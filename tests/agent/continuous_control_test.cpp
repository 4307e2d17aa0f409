#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/evaluate.hpp"
#include "valence/agent/sac.hpp"
#include "valence/agent/td3.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/mlp.hpp"
#include "valence/policy/exploration_noise.hpp"
#include "valence/policy/squashed_gaussian.hpp"

using namespace valence;

namespace {

using valence::test::close;

/// One state; the reward is -(a - goal)^2, an episode one step.
struct Aim {
  using State = Vector<double>;
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
static_assert(Environment<Aim>);

using Net = Mlp<double>;
const Box<double> torque{-2, 2};

auto sac(SacOptions options, Rng start = Rng{0}, int inputs = 1, int width = 32) {
  return Sac{Net{{inputs, width, 2}, relu},
             SquashedGaussian{torque, {-20, 2}},
             Net{{inputs + 1, width, 1}, relu},
             Adam{.step_size = 1e-3},
             options,
             start};
}
auto td3(Td3Options options, Rng start = Rng{0}, int inputs = 1, int width = 32) {
  return Td3{Net{{inputs, width, 1}, relu},
             torque,
             Net{{inputs + 1, width, 1}, relu},
             Adam{.step_size = 1e-3},
             GaussianNoise{.standard_deviation = 0.4},
             options,
             start};
}
auto ddpg(DdpgOptions options, Rng start = Rng{0}, int inputs = 1, int width = 32) {
  return Ddpg{Net{{inputs, width, 1}, relu},
              torque,
              Net{{inputs + 1, width, 1}, relu},
              Adam{.step_size = 1e-3},
              OrnsteinUhlenbeckNoise{1},
              options,
              start};
}

}  // namespace

TEST_CASE("SAC, TD3 and DDPG find the best action from every seed", "[learning]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto finds = [&](const char* name, auto agent) {
      INFO(name << ", seed " << seed);
      Rng rng{seed};
      train(agent, Aim{}, {.steps = 3000}, rng);
      const double a = agent.greedy(Vector<double>::Ones(1));
      CHECK((a - 0.8) * (a - 0.8) < 0.05);  // a uniform action loses 1.97 in the mean
    };
    finds("SAC", sac({.batch = 32, .warm_up = 500}, Rng{seed}));
    finds("TD3", td3({.batch = 32, .warm_up = 500}, Rng{seed}));
    finds("DDPG", ddpg({.batch = 32, .warm_up = 500}, Rng{seed}));
  }
}

TEST_CASE("SAC: the temperature moves towards the target entropy", "[G19][sac]") {
  const auto temperature_after = [](double target) {
    Rng rng{1};
    auto agent = sac({.temperature = 0.5, .target_entropy = target, .batch = 32});
    train(agent, Aim{}, {.steps = 300}, rng);
    return agent.temperature();
  };
  CHECK(temperature_after(50) > 0.5);   // more than any law in the box has: alpha rises
  CHECK(temperature_after(-50) < 0.5);  // less than it has: falls
  Rng rng{2};
  auto fixed = sac({.temperature = 0.3, .learn_temperature = false, .batch = 32});
  train(fixed, Aim{}, {.steps = 300}, rng);
  CHECK(fixed.temperature() == close(0.3, 1e-12));
}

TEST_CASE("actor and critics are trained by their own losses alone", "[G26]") {
  // With the step size of one of them 0 it stays bit for bit: two agents with a shared optimizer can't show that, so the
  // critics' gradient after an actor step is looked at: an update with a policy that is delayed for ever moves no actor.
  Rng rng{3};
  auto agent = td3({.policy_delay = 1'000'000, .batch = 16, .warm_up = 20});
  const std::vector<double> before(agent.parameters().begin(), agent.parameters().end());
  const std::vector<double> critics(agent.critic_parameters().begin(), agent.critic_parameters().end());
  train(agent, Aim{}, {.steps = 100}, rng);
  CHECK(std::vector<double>(agent.parameters().begin(), agent.parameters().end()) == before);
  CHECK(std::vector<double>(agent.critic_parameters().begin(), agent.critic_parameters().end()) != critics);
  CHECK(agent.updates() == 81);
}

TEST_CASE("TD3: targets are the smaller critic's, at termination the reward alone", "[td3]") {
  // A critic that is constant c_i in output (zero weights, biases c_i): the target is r + discount min c.
  Rng rng{4};
  const auto target = [&](bool terminated) {
    Td3 agent{Net{{1, 1}, relu},     torque,          Net{{2, 1}, relu},
              Sgd{.step_size = 0.5}, GaussianNoise{}, {.discount = 0.5, .batch = 1, .warm_up = 1}};
    const std::vector<double> theta{0, 0, 3, 0, 0, 7};  // weights and bias of each critic
    // The targets hold what the critics started with: make them equal by the archive.
    auto bytes = to_bytes(agent);
    from_bytes(bytes, agent);
    const double start = (std::min)(agent.target_critic_parameters()[2], agent.target_critic_parameters()[5]);
    static_cast<void>(start);
    agent.learn(Transition<Vector<double>, double>{Vector<double>::Zero(1), 0.0, 2.0, Vector<double>::Zero(1),
                                                   terminated, !terminated},
                rng);
    // The state and the action are 0, so only biases move: half of the way to the target, from bias 0.
    return std::array<double, 2>{agent.critic_parameters()[2], agent.critic_parameters()[5]};
  };
  // Networks of one layer start with biases 0, so Q(0, 0) = 0 in both critics and both targets, whatever the weights, but
  // the smoothed next action isn't 0: at termination it must not matter.
  const auto end = target(true);
  CHECK(end[0] == close(1.0));
  CHECK(end[1] == close(1.0));
  const auto cut = target(false);
  CHECK(cut[0] == cut[1]);
  CHECK(cut[0] < 1.0);  // the smaller of two values around 0 is below 0 on either side
}

TEST_CASE("actions stay in the box, whatever the noise", "[box]") {
  Rng rng{5};
  Td3 agent{Net{{1, 1}, relu}, torque, Net{{2, 1}, relu}, Sgd{}, GaussianNoise{.standard_deviation = 50},
            {.warm_up = 1}};
  auto soft = sac({.warm_up = 1});
  const Vector<double> s = Vector<double>::Ones(1);
  for (int k = 0; k < 500; ++k) {
    CHECK(torque.contains(agent.act(s, rng)));
    CHECK(torque.contains(soft.act(s, rng)));
  }
}

TEST_CASE("continuous control: saved anywhere, resumed to the bit", "[resume][F3]") {
  const auto resumes = [](auto agent) {
    const TimeLimit env{Pendulum{}, 50};
    Run whole{agent, env, Rng{6}}, first{agent, env, Rng{6}}, second{agent, env, Rng{7}};
    whole.advance(330);
    first.advance(177);
    auto bytes = to_bytes(first);
    from_bytes(bytes, second);
    second.advance(330 - 177);
    CHECK(to_bytes(second) == to_bytes(whole));
  };
  resumes(sac({.replay = 200, .batch = 16, .step_factor = LinearSchedule{1, 0, 300}}, Rng{0}, 3));
  resumes(td3({.replay = 200, .batch = 16, .n_step = 3}, Rng{0}, 3));
  resumes(ddpg({.replay = 200, .batch = 16}, Rng{0}, 3));
}

TEST_CASE("continuous control allocates nothing once it runs", "[allocation]") {
  const auto nothing = [](auto agent) {
    Run run{agent, TimeLimit{Pendulum{}, 50}, Rng{8}};
    run.advance(301);
    test::Allocations allocations;
    run.advance(40);
    if (test::Allocations::available()) CHECK(allocations.count() == 0);
  };
  nothing(sac({.replay = 200, .batch = 16}, Rng{0}, 3));
  nothing(td3({.replay = 200, .batch = 16}, Rng{0}, 3));
  nothing(ddpg({.replay = 200, .batch = 16}, Rng{0}, 3));
}

TEST_CASE("continuous control: bad input", "[errors]") {
  CHECK_THROWS_AS(sac({.discount = 2}), Error);
  CHECK_THROWS_AS(sac({.temperature = 0}), Error);
  CHECK_THROWS_AS(sac({.batch = 0}), Error);
  CHECK_THROWS_AS(td3({.policy_delay = 0}), Error);
  CHECK_THROWS_AS(td3({.target_rate = 1.5}), Error);
  CHECK_THROWS_AS((Sac{Net{{1, 3}, relu}, SquashedGaussian{torque}, Net{{2, 1}, relu}, Adam{}}), Error);
  CHECK_THROWS_AS((Sac{Net{{1, 2}, relu}, SquashedGaussian{torque}, Net{{1, 1}, relu}, Adam{}}), Error);
  CHECK_THROWS_AS((Sac{Net{{1, 2}, relu}, SquashedGaussian{torque}, Net{{2, 2}, relu}, Adam{}}), Error);
  Rng rng{9};
  auto agent = sac({});
  using T = Transition<Vector<double>, double>;
  const Vector<double> s = Vector<double>::Ones(1);
  CHECK_THROWS_AS(agent.learn(T{s, std::nan(""), 0, s, false, false}, rng), Error);
  CHECK_THROWS_AS(agent.learn(T{s, 0, std::nan(""), s, false, false}, rng), Error);
  CHECK_THROWS_AS(
      agent.learn(T{Vector<double>::Constant(1, std::numeric_limits<double>::infinity()), 0, 0, s, false, false}, rng),
      Error);
  CHECK_THROWS_AS(agent.learn(T{Vector<double>::Ones(2), 0, 0, s, false, false}, rng), Error);
  CHECK_THROWS_AS(agent.update(rng), Error);
  CHECK(agent.steps() == 0);
}
