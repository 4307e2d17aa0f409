// Agents that remember the world or count its transitions, and those that learn the average reward.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/average_reward.hpp"
#include "valence/agent/dyna_q.hpp"
#include "valence/agent/prioritized_sweeping_agent.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/random.hpp"
#include "valence/env/model_environment.hpp"
#include "valence/env/small_models.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/estimate.hpp"
#include "valence/planning/value_iteration.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Move = Transition<int, int>;

namespace {

using valence::test::close;

/// A ring of six states with a short cut, rewards that differ everywhere and one end: deterministic, asymmetric.
int ring_next(int s, int a) { return a == 0 ? (s + 1) % 6 : (2 * s + 1) % 6; }
double ring_reward(int s, int a) { return 0.3 * s - 0.7 * a + (s == 4 ? 1.1 : 0); }
bool ring_ends(int s, int a) { return s == 3 && a == 1; }

Move ring_move(int s, int a) { return {s, a, ring_reward(s, a), ring_next(s, a), ring_ends(s, a), false}; }

/// Its optimal action values, by sweeps.
std::vector<double> ring_optimum(double discount) {
  std::vector<double> q(12, 0.0);
  for (int sweep = 0; sweep < 2000; ++sweep)
    for (int s = 0; s < 6; ++s)
      for (int a = 0; a < 2; ++a) {
        const auto next = static_cast<std::size_t>(2 * ring_next(s, a));
        q[static_cast<std::size_t>(2 * s + a)] =
            ring_reward(s, a) + (ring_ends(s, a) ? 0 : discount * std::max(q[next], q[next + 1]));
      }
  return q;
}

}  // namespace

TEST_CASE("Dyna-Q: after one sweep of all pairs, planning alone finds the optimal values") {
  DynaQ agent{Tabular{6, 2}, Greedy{}, {.planning_steps = 4000, .step_size = 1, .discount = 0.9}};
  Rng rng{1};
  for (int s = 0; s < 6; ++s)
    for (int a = 0; a < 2; ++a) agent.learn(ring_move(s, a), rng);
  const auto expected = ring_optimum(0.9);
  CHECK(agent.remembered() == 12);
  CHECK(agent.steps() == 12);
  for (std::size_t k = 0; k < 12; ++k) CHECK(agent.parameters()[k] == close(expected[k], 1e-10, 1e-10));
}

TEST_CASE("Dyna-Q remembers what a pair led to last, and counts planning as no step") {
  DynaQ agent{Tabular{2, 1}, Greedy{}, {.planning_steps = 1, .step_size = 0.5, .discount = 0}};
  Rng rng{1};
  agent.learn(Move{0, 0, 1.0, 1, false, false}, rng);  // twice towards 1
  CHECK(agent.parameters()[0] == 0.75);
  agent.learn(Move{0, 0, 0.0, 1, false, false}, rng);  // twice towards 0
  CHECK(agent.parameters()[0] == 0.1875);
  CHECK(rng.position() == 2);
  CHECK(agent.steps() == 2);
}

TEST_CASE("Dyna-Q+: what wasn't tried for long earns more, by kappa sqrt(steps)") {
  DynaQ agent{Tabular{1, 2}, FirstGreedy{}, {.planning_steps = 400, .step_size = 1, .discount = 0, .bonus = 0.5}};
  Rng rng{1};
  for (int k = 1; k <= 9; ++k) {
    agent.learn(Move{0, 0, 1.0, 0, false, false}, rng);
    // Action 0 was tried just now; action 1 never: since the beginning, k steps ago, for nothing.
    CHECK(agent.parameters()[0] == 1);
    CHECK(agent.parameters()[1] == close(0.5 * std::sqrt(k)));
  }
  CHECK(agent.remembered() == 2);
  CHECK(agent.greedy(0) == 1);
}

TEST_CASE("prioritized sweeping solves the model that it counted") {
  PrioritizedSweepingAgent agent{
      Tabular{2, 2}, EpsilonGreedy{0.5}, {.backups = 50, .discount = 0.9, .threshold = 1e-9}};
  Rng rng{4};
  train(agent, ModelEnvironment{two_state_model()}, {.steps = 20'000}, rng);
  const auto model = maximum_likelihood(agent.counts());
  const auto solution = value_iteration(model, {.discount = 0.9, .tolerance = 1e-10});
  for (int s = 0; s < 2; ++s) {
    const auto q = agent.values(s);
    CHECK(std::max(q[0], q[1]) == close(solution.value[s], 0, 1e-6));
    CHECK(agent.greedy(s) == s);
  }
  CHECK(agent.values(0)[0] == close(12.28813559322, 0.05));
}

TEST_CASE("prioritized sweeping: the goal's worth runs back along the whole chain at once") {
  constexpr int length = 50;
  PrioritizedSweepingAgent agent{Tabular{length, 1}, Greedy{}, {.backups = length, .discount = 0.9, .threshold = 1e-9}};
  Rng rng{1};
  for (int s = 0; s + 1 < length; ++s) agent.learn(Move{s, 0, 0.0, s + 1, false, false}, rng);
  CHECK(agent.values(0)[0] == 0);
  agent.learn(Move{length - 1, 0, 1.0, 12345, true, false}, rng);  // where it ended is no state of the table
  CHECK(agent.values(length - 1)[0] == 1);
  CHECK(agent.values(0)[0] == close(std::pow(0.9, length - 1), 1e-12));
  CHECK(says(message_of([&] {
               agent.learn(Move{0, 0, std::numeric_limits<double>::quiet_NaN(), 1, false, false}, rng);
             }),
             "reward is nan"));
  CHECK(says(message_of([&] { agent.learn(Move{0, 1, 0.0, 1, false, false}, rng); }), "action is 1"));
}

TEST_CASE("R-learning and differential Q-learning: one step by hand") {
  // Q(0, .) = (1, 2), Q(1, .) = (3, 5), average .5, r = 4: target 4 - .5 + 5 = 8.5.
  const AverageRewardAgentOptions options{.step_size = 0.1, .average_step_size = 0.2, .average = 0.5};
  const auto learned = [&](auto agent, int action) {
    const double theta[] = {1, 2, 3, 5};
    std::copy_n(theta, 4, agent.parameters().begin());
    Rng rng{1};
    agent.learn(Move{0, action, 4.0, 1, false, false}, rng);
    return std::vector<double>{agent.parameters()[static_cast<std::size_t>(action)], agent.average_reward()};
  };
  const Tabular<double> table{2, 2};
  const auto d = learned(DifferentialQLearning{table, Greedy{}, options}, 0);
  CHECK(d[0] == close(1 + 0.1 * 7.5));
  CHECK(d[1] == close(0.5 + 0.2 * 7.5));
  const auto r = learned(RLearning{table, Greedy{}, options}, 1);  // greedy: 2.65 is now the largest
  CHECK(r[0] == close(2.65));
  CHECK(r[1] == close(0.5 + 0.2 * (4 + 5 - 2.65 - 0.5)));
  const auto kept = learned(RLearning{table, Greedy{}, options}, 0);  // not greedy: 1.75 < 2
  CHECK(kept[0] == close(1.75));
  CHECK(kept[1] == 0.5);
}

TEST_CASE("the average reward of the two-state model is 1.25") {
  const auto gain = [](auto agent, Rng rng) {
    train(agent, ModelEnvironment{two_state_model()}, {.steps = 150'000}, rng);
    CHECK(agent.greedy(0) == 0);
    CHECK(agent.greedy(1) == 1);
    return static_cast<double>(agent.average_reward());
  };
  const AverageRewardAgentOptions options{.step_size = LinearSchedule{.begin = 0.1, .end = 0.001, .steps = 150'000},
                                          .average_step_size = 0.001};
  double r = 0, d = 0;
  for (int seed = 0; seed < 4; ++seed) {
    r += gain(RLearning{Tabular{2, 2}, EpsilonGreedy{0.1}, options}, Rng{6}.split(seed)) / 4;
    d += gain(DifferentialQLearning{Tabular{2, 2}, EpsilonGreedy{0.1}, options}, Rng{6}.split(seed)) / 4;
  }
  // Standard error of one average: sqrt(step / 2) x the reward's deviation (.75), about .017; of four, .009.
  CHECK(r == close(1.25, 0, 0.04));
  CHECK(d == close(1.25, 0, 0.04));
}

TEST_CASE("a task judged by its average reward has no end") {
  RLearning agent{Tabular{2, 2}, Greedy{}, {}};
  DifferentialQLearning other{Tabular{2, 2}, Greedy{}, {}};
  Rng rng{1};
  const Move end{0, 0, 1.0, 1, true, false};
  CHECK(says(message_of([&] { agent.learn(end, rng); }), "terminated"));
  CHECK(says(message_of([&] { other.learn(end, rng); }), "terminated"));
  CHECK(says(message_of([] { RLearning{Tabular{2, 2}, Greedy{}, {.average_step_size = -1}}; }), "step_size is -1"));
  CHECK(agent.parameters()[0] == 0);
}
