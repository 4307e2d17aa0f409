// Soft actor-critic with discrete actions: its fixed point is soft value iteration's.
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/action_mask.hpp"
#include "valence/agent/agent.hpp"
#include "valence/agent/discrete_sac.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/model_environment.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/soft_value_iteration.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

/// Three states and an end, three actions, no chance and no symmetry; in state 1 action 2 isn't available.
FiniteMdp<double> small_model() {
  const int end[] = {3};
  const double initial[] = {.5, .2, .3, 0};
  return FiniteMdp(4, 3,
                   std::vector<ModelEntry>{{0, 0, 1, 1, 1},
                                           {0, 1, 2, 1, -.5},
                                           {0, 2, 0, 1, .2},
                                           {1, 0, 2, 1, .3},
                                           {1, 1, 3, 1, 2},
                                           {2, 0, 0, 1, 0},
                                           {2, 1, 2, 1, .7},
                                           {2, 2, 3, 1, -1}},
                   end, initial);
}
const PossibleActions possible_in_model = [](std::span<const double> state, std::span<bool> possible) {
  if (state[0] == 1) possible[2] = false;
};

Linear<OneHot> table(int states, int actions) { return {OneHot{states}, actions}; }

template <class S>
std::vector<S> copy_of(std::span<const S> x) {
  return {x.begin(), x.end()};
}

/// One transition of the model for each state and action, with what terminates told as such.
template <class Agent>
void show_everything(Agent& agent, const FiniteMdp<double>& model, Rng& rng) {
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; a < model.actions(); ++a)
      for (const auto& next : model.successors(s, a))
        agent.learn(Transition<int, int>{s, a, next.reward, next.next, model.terminal(next.next), false}, rng);
}

/// Terminates after one step, rewards equal to the action's number.
struct Counting {
  using State = int;
  using Action = int;
  int arms = 3;
  int reset(Rng&) { return 0; }
  Step<int> step(int a, Rng&) { return {.next = 0, .reward = 0.1 * a, .terminated = true}; }
  Discrete actions() const { return {arms}; }
};

/// Plays 400 steps; and 157, saved and loaded into another run, which was played before, and 243 more.
template <class A, class E>
void resumes(const A& agent, const E& env) {
  Run whole{agent, env, Rng{3}, 40};
  whole.advance(400);
  Run half{agent, env, Rng{3}, 40};
  half.advance(157);
  const auto saved = to_bytes(half);
  Run other{agent, env, Rng{99}, 40};
  other.advance(33);
  from_bytes(saved, other);
  CHECK(same_state(half, other));
  other.advance(243);
  CHECK(same_state(whole, other));
  half.advance(242);
  CHECK(!same_state(whole, half));
}

}  // namespace

TEST_CASE("Discrete soft actor-critic's fixed point is that of soft value iteration", "[G21]") {
  const double alpha = 1.5, discount = 0.8;
  const auto model = small_model();
  const auto soft = soft_value_iteration(model, {.discount = discount, .temperature = alpha, .tolerance = 1e-12});
  // Every transition is remembered once; targets move at once, there is no chance, so nothing keeps the steps from 0.
  DiscreteSac agent{table(4, 3),
                    table(4, 3),
                    Sgd{.step_size = 2},
                    {.discount = discount,
                     .temperature = alpha,
                     .learn_temperature = false,
                     .replay = 64,
                     .batch = 16,
                     .warm_up = 64,
                     .target_rate = 0.5,
                     .possible = possible_in_model}};
  Rng rng{5};
  show_everything(agent, model, rng);
  CHECK(agent.memory().size() == 8);
  CHECK(agent.updates() == 0);
  for (int k = 0; k < 20'000; ++k) agent.update(rng);
  CHECK(agent.temperature() == close(alpha, 1e-15));

  const auto q = agent.critic_parameters(), z = std::as_const(agent).parameters();
  for (int s = 0; s < 3; ++s)
    for (int a = 0; a < 3; ++a) {
      CAPTURE(s, a);
      const auto i = static_cast<std::size_t>(3 * s + a);
      if (!model.available(s, a)) {
        CHECK(q[i] == 0);  // never looked at
        CHECK(z[i] == 0);
        continue;
      }
      const double expected = model.reward(s, a) + discount * model.expectation(s, a, soft.value.data());
      CHECK(q[i] == close(expected, 1e-8));
      CHECK(q[12 + i] == close(expected, 1e-8));
      double sum = 0;
      for (int b = 0; b < 3; ++b)
        if (model.available(s, b)) sum += std::exp(z[static_cast<std::size_t>(3 * s + b)]);
      CHECK(std::exp(z[i]) / sum == close(soft.distribution(a, s), 1e-7));
    }
  // The end is worth nothing, and isn't learned about.
  for (std::size_t a = 0; a < 3; ++a) CHECK(q[9 + a] == 0);
}

TEST_CASE("One update by hand: the expectation over actions, and who is differentiated", "[G21][G26]") {
  // pi = (0.7, 0.3) and Q = (1, 2) at state 1, alpha 0.1: worth 1.36108643 (pitfall G21); the second critic is larger.
  DiscreteSac agent{table(2, 2),
                    table(2, 2),
                    Sgd{.step_size = 1},
                    {.discount = 0.5,
                     .temperature = 0.1,
                     .learn_temperature = false,
                     .replay = 1,
                     .batch = 1,
                     .warm_up = 10,
                     .target_rate = 1}};
  // Writes through the parameters are for the actor alone, so the critics are brought there by their archive.
  const auto set = [](auto& from, std::span<const double> actor, std::span<const double> critics) {
    auto copy = from;
    std::copy(actor.begin(), actor.end(), copy.parameters().begin());
    std::copy(critics.begin(), critics.end(), const_cast<double*>(copy.critic_parameters().data()));
    std::copy(critics.begin(), critics.end(), const_cast<double*>(copy.target_critic_parameters().data()));
    return copy;
  };
  const std::vector<double> actor = {0, 0, std::log(.7), std::log(.3)};
  const std::vector<double> critics = {.3, -.2, 1, 2, .4, .1, 1.5, 2.25};
  Rng rng{1};
  auto learner = set(agent, actor, critics);
  learner.learn(Transition<int, int>{0, 1, 0.25, 1, false, false}, rng);
  learner.update(rng);
  const double target = 0.25 + 0.5 * 1.36108643;
  const auto q = learner.critic_parameters();
  CHECK(q[1] == close(target, 1e-8));  // a whole step each, of the halved square
  CHECK(q[5] == close(target, 1e-8));
  for (const std::size_t i : std::vector<std::size_t>{0, 2, 3, 4, 6, 7}) CHECK(q[i] == critics[i]);
  // The actor, after the critics: min Q(0, .) = (.3, target), pi = (.5, .5), f = alpha log pi - min Q.
  const double f[2] = {0.1 * std::log(.5) - .3, 0.1 * std::log(.5) - q[1]}, mean = (f[0] + f[1]) / 2;
  const auto z = std::as_const(learner).parameters();
  CHECK(z[0] == close(-.5 * (f[0] - mean), 1e-12));
  CHECK(z[1] == close(-.5 * (f[1] - mean), 1e-12));
  CHECK(z[2] == actor[2]);
  CHECK(z[3] == actor[3]);
  CHECK(copy_of(learner.target_critic_parameters()) == copy_of(learner.critic_parameters()));
  CHECK(learner.metrics()[3].value == close(std::log(2.), 1e-12));

  // Where it terminated nothing of the next state counts.
  auto ending = set(agent, actor, critics);
  ending.learn(Transition<int, int>{0, 1, 0.25, 1, true, false}, rng);
  ending.update(rng);
  CHECK(ending.critic_parameters()[1] == close(0.25, 1e-12));
  // A truncated one counts.
  auto cut = set(agent, actor, critics);
  cut.learn(Transition<int, int>{0, 1, 0.25, 1, false, true}, rng);
  cut.update(rng);
  CHECK(cut.critic_parameters()[1] == close(target, 1e-8));

  // Critics at their targets don't move, whatever the actor does: its loss is nobody else's.
  const std::vector<double> exact = {.3, .25, 1, 2, .4, .25, 1.5, 2.25};
  auto still = set(agent, actor, exact);
  still.learn(Transition<int, int>{0, 1, 0.25, 1, true, false}, rng);
  still.update(rng);
  CHECK(copy_of(still.critic_parameters()) == exact);
  CHECK(std::as_const(still).parameters()[0] != 0);
}

TEST_CASE("The temperature holds the entropy at its target", "[G19]") {
  const auto agent_of = [](std::vector<double> logits, PossibleActions possible = {}) {
    DiscreteSac agent{table(1, 3),
                      table(1, 3),
                      Sgd{.step_size = 1e-3},
                      {.temperature = 0.5, .replay = 4, .batch = 4, .warm_up = 10, .possible = std::move(possible)}};
    std::copy(logits.begin(), logits.end(), agent.parameters().begin());
    Rng rng{1};
    agent.learn(Transition<int, int>{0, 0, 0, 0, true, false}, rng);
    agent.update(rng);
    return agent;
  };
  const auto entropy = [](double a, double b, double c) {
    return -a * std::log(a) - b * std::log(b) - c * std::log(c);
  };
  const double target = agent_of({0, 0, 0}).target_entropy(3);
  CHECK(target == close(0.98 * std::log(3.), 1e-14));
  CHECK(agent_of({0, 0, 0}).target_entropy(2) == close(0.98 * std::log(2.), 1e-14));
  CHECK(agent_of({0, 0, 0}).target_entropy(1) == 0);
  // Below the target it rises, above it falls, by step size times alpha times what is missing.
  const double missing = target - entropy(.8, .1, .1);
  CHECK(std::log(agent_of({std::log(.8), std::log(.1), std::log(.1)}).temperature() / 0.5) ==
        close(1e-3 * 0.5 * missing, 1e-9));
  CHECK(missing > 0);
  CHECK(agent_of({0, 0, 0}).temperature() < 0.5);
  // With two actions possible the target is of two: here it is exceeded, though it is below log 3.
  const PossibleActions two = [](std::span<const double>, std::span<bool> p) { p[1] = false; };
  CHECK(std::log(agent_of({0, 7, 0}, two).temperature() / 0.5) == close(1e-3 * 0.5 * (0.98 - 1) * std::log(2.), 1e-9));
  // With one, there is nothing to aim at.
  const PossibleActions one = [](std::span<const double>, std::span<bool> p) { p[1] = p[2] = false; };
  CHECK(agent_of({0, 7, 0}, one).temperature() == 0.5);

  // In the long run: alpha settles where the entropy is the target.
  Rng rng{4};
  DiscreteSac agent{table(1, 3),
                    table(1, 3),
                    Adam{.step_size = 0.01},
                    {.entropy_fraction = 0.6, .replay = 1000, .batch = 32, .warm_up = 32, .target_rate = 0.05}};
  train(agent, Counting{}, {.steps = 4000}, rng);
  CHECK(agent.metrics()[3].value == close(0.6 * std::log(3.), 0.01));
  CHECK(agent.temperature() > 0.01);
  CHECK(agent.temperature() < 1);
}

TEST_CASE("Masked actions are never taken by discrete soft actor-critic", "[G23]") {
  Rng rng{8};
  DiscreteSac agent{table(4, 3),
                    table(4, 3),
                    Adam{.step_size = 0.01},
                    {.replay = 500, .batch = 16, .warm_up = 50, .possible = possible_in_model}};
  agent.parameters()[5] = 100;                // state 1, action 2
  const ModelEnvironment env{small_model()};  // throws where an action isn't available
  const auto log = train(agent, env, {.steps = 2000, .max_episode_steps = 30}, rng);
  CHECK(log.steps == 2000);
  CHECK(agent.parameters()[5] == 100);
  for (int i = 0; i < 500; ++i) CHECK(agent.act(1, rng) != 2);
  CHECK(agent.greedy(1) != 2);
  // Also before it learns.
  DiscreteSac young{table(4, 3), table(4, 3), Adam{}, {.replay = 8, .possible = possible_in_model}};
  int counts[3] = {0, 0, 0};
  for (int i = 0; i < 900; ++i) ++counts[young.act(1, rng)];
  CHECK(counts[2] == 0);
  CHECK(counts[0] > 360);
  CHECK(counts[1] > 360);
  // A state in which nothing is possible is an error and not a hang.
  const PossibleActions none = [](std::span<const double>, std::span<bool> p) { std::fill(p.begin(), p.end(), false); };
  DiscreteSac stuck{table(4, 3), table(4, 3), Adam{}, {.replay = 8, .possible = none}};
  CHECK(says(message_of([&] { stuck.act(0, rng); }), "no action is possible"));
}

TEST_CASE("Discrete soft actor-critic refuses what it can't use") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto made = [](DiscreteSacOptions o) {
    return message_of([&] { DiscreteSac(table(4, 3), table(4, 3), Adam{}, o); });
  };
  CHECK(says(made({.discount = 1.5}), "DiscreteSac", "discount is 1.5"));
  CHECK(says(made({.temperature = 0}), "temperature is 0"));
  CHECK(says(made({.entropy_fraction = 1}), "fraction is 1"));
  CHECK(says(made({.entropy_fraction = -0.5}), "fraction is -0.5"));
  CHECK(says(made({.batch = 0}), "batch is 0"));
  CHECK(says(made({.target_rate = 0}), "target_rate is 0"));
  CHECK(says(made({.n_step = 0}), "n_step is 0"));
  CHECK(says(message_of([] { DiscreteSac(table(4, 3), table(4, 2), Adam{}, {.replay = 8}); }), "critic", "2", "3"));
  CHECK(says(message_of([] { DiscreteSac(table(4, 1), table(4, 1), Adam{}, {.replay = 8}); }), "actions is 1"));
  Rng rng{1};
  DiscreteSac agent{table(4, 3), table(4, 3), Adam{}, {.replay = 8, .warm_up = 1}};
  const auto before = copy_of(std::as_const(agent).parameters());
  CHECK(says(message_of([&] { agent.learn(Transition<int, int>{0, 3, 0, 1, false, false}, rng); }), "action is 3"));
  CHECK(says(message_of([&] { agent.learn(Transition<int, int>{0, 0, nan, 1, false, false}, rng); }), "reward"));
  CHECK(agent.memory().empty());
  CHECK(agent.steps() == 0);
  CHECK(copy_of(std::as_const(agent).parameters()) == before);
  CHECK(says(message_of([&] { agent.target_entropy(0); }), "possible is 0"));
}

TEST_CASE("Discrete soft actor-critic allocates nothing once it runs") {
  Rng rng{3};
  DiscreteSac agent{Mlp<float>{{4, 16, 2}, Activation::relu},
                    Mlp<float>{{4, 16, 2}, Activation::relu},
                    Adam{},
                    {.replay = 100, .batch = 16, .warm_up = 20, .n_step = 2}};
  CartPole env;
  auto state = env.reset(rng);
  const auto play = [&](int steps) {
    for (int i = 0; i < steps; ++i) {
      const int a = agent.act(state, rng);
      const auto step = env.step(a, rng);
      agent.learn(Transition<CartPole::State, int>{state, a, step.reward, step.next, step.terminated, false}, rng);
      state = step.terminated ? env.reset(rng) : step.next;
    }
  };
  play(300);
  const Allocations allocations;
  play(300);
  CHECK(allocations.count() == 0);
  CHECK(agent.updates() == 581);
}

TEST_CASE("A saved discrete soft actor-critic goes on to the bit") {
  using Net = Mlp<float>;
  static_assert(Agent<DiscreteSac<Net, Net, Adam>, CartPole::State, int>);
  resumes(DiscreteSac{Net{{4, 8, 2}, Activation::relu},
                      Net{{4, 8, 2}, Activation::relu},
                      Adam{},
                      {.replay = 100, .batch = 8, .warm_up = 30, .train_every = 2, .n_step = 2}},
          TimeLimit{CartPole{}});
}
