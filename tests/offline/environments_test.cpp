// The worlds and logs that offline learners share: offline.md 00.
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/evaluate.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/env/lq_point_mass.hpp"
#include "valence/env/maze_offline.hpp"
#include "valence/env/mixed_bandit.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/offline/collect_mixture.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/value_iteration.hpp"
#include "valence/policy/action_choice.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

constexpr double discount = 0.98;

struct SoftExpert {
  const Matrix<double>* q;
  double temperature;
  int sample(int state, Rng& rng) const {
    return Boltzmann{temperature}.choose(
        std::span<const double>(q->data() + state * q->rows(), static_cast<std::size_t>(q->rows())), rng);
  }
};

/// A uniform policy that tells its log-probabilities.
struct Uniform {
  int actions;
  int sample(int, Rng& rng) const { return rng.below(actions); }
  double log_prob(int, int) const { return -std::log(actions); }
};

}  // namespace

TEST_CASE("MazeOffline is the spec's maze: moves, slips, costs, starts and horizon", "[offline][env]") {
  auto env = maze_offline();
  const GridWorld& grid = env.env;
  CHECK(env.limit == 45);
  CHECK(grid.map().rows == 11);
  CHECK(grid.map().columns == 11);
  CHECK(env.states().n == 51);
  const int start = grid.state_at(1, 1), goal = grid.state_at(9, 9);
  CHECK(grid.terminal(goal));
  Rng rng{1};
  for (int k = 0; k < 20; ++k) CHECK(env.reset(rng) == start);

  // A uniform action takes the place of the one meant in a tenth of the steps, the one meant among them.
  double down = 0, sum = 0;
  for (const auto& o : grid.outcomes(start, GridWorld::down)) {
    CHECK(o.reward == -1);
    sum += o.probability;
    if (o.next == grid.state_at(2, 1)) down += o.probability;
  }
  CHECK(sum == close(1.0));
  CHECK(down == close(0.9 + 0.1 / 4));

  // Entering the goal costs a step like any other and ends the episode.
  for (const auto& o : grid.outcomes(grid.state_at(9, 8), GridWorld::right)) {
    CHECK(o.reward == -1);
    CHECK(o.terminated == (o.next == goal));
  }

  // Without slips the best way from S takes 20 steps, counted on the map.
  const FiniteMdp still{maze_offline({.random_slip = 0}).env};
  const auto exact = value_iteration(still, {.discount = discount, .tolerance = 1e-10});
  CHECK(exact.value[start] == close(-(1 - std::pow(discount, 20)) / (1 - discount), 1e-10));

  // Walking into a wall until the clock runs out: truncated, not terminated.
  env.reset(rng);
  Step<int> last{};
  for (int t = 0; t < 45; ++t) {
    CHECK_FALSE(last.truncated);
    last = env.step(GridWorld::up, rng);
    CHECK_FALSE(last.terminated);
  }
  CHECK(last.truncated);
  for (const auto& problem : check_environment(maze_offline(), rng).problems) FAIL_CHECK(problem);
}

TEST_CASE("MazeOffline's logs begin in any cell but the goal, states numbered as in the evaluated maze",
          "[offline][env]") {
  auto log = maze_offline({.uniform_start = true});
  const auto eval = maze_offline();
  const int states = eval.states().n, goal = eval.env.state_at(9, 9);
  REQUIRE(log.states().n == states);
  for (int s = 0; s < states; ++s) CHECK(log.env.position(s) == eval.env.position(s));
  const auto p = log.env.initial_distribution();
  for (int s = 0; s < states; ++s) CHECK(p[static_cast<std::size_t>(s)] == close(s == goal ? 0 : 1.0 / (states - 1)));
}

TEST_CASE("A log of the spec's mixture: 26 episodes, about 44 % of them reach the goal", "[offline][R19]") {
  const auto env = maze_offline({.uniform_start = true});
  const FiniteMdp model{env.env};
  const auto solution = value_iteration(model, {.discount = discount});
  const auto q = action_values(model, view(std::as_const(solution.value)), {.discount = discount});
  double reached = 0;
  constexpr int logs = 40;
  for (int k = 0; k < logs; ++k) {
    Rng rng = Rng{2}.split(k);
    const auto log = collect_mixture(env, {}, rng, Behaviour{SoftExpert{&q, 0.5}, 8}, Behaviour{SoftExpert{&q, 4}, 10},
                                     Behaviour{[](int, Rng& r) { return r.below(4); }, 8});
    REQUIRE(log.episodes() == 26);
    CHECK_FALSE(log.has_log_probs());
    for (std::size_t e = 0; e < 26; ++e) {
      const auto range = log.episode(e);
      CHECK(range.size() <= 45);
      const auto last = log[range.end - 1];
      CHECK(last.terminated != last.truncated);
      reached += last.terminated ? 1 : 0;
    }
  }
  // 1040 episodes: a standard error of 0.015.
  CHECK(reached / (logs * 26) == close(0.44, 0, 0.06));
}

TEST_CASE("collect_mixture plays each policy its episodes, in order, and keeps log-probabilities that all tell",
          "[offline]") {
  const auto env = maze_offline();
  Rng rng{3};
  const auto up = [](int, Rng&) { return 0; };
  const auto down = [](int, Rng&) { return 2; };
  const auto log = collect_mixture(env, {.max_episode_steps = 7}, rng, Behaviour{up, 2}, Behaviour{down, 3});
  REQUIRE(log.episodes() == 5);
  REQUIRE(log.size() == 35);
  for (std::size_t i = 0; i < log.size(); ++i) {
    CHECK(log[i].action == (i < 14 ? 0 : 2));
    CHECK(log[i].truncated == (i % 7 == 6));
  }
  const auto told = collect_mixture(env, {}, rng, Behaviour{Uniform{4}, 1}, Behaviour{Uniform{2}, 1});
  REQUIRE(told.has_log_probs());
  CHECK(told[0].log_prob == close(-std::log(4)));
  CHECK(told[told.size() - 1].log_prob == close(-std::log(2)));
  const auto mixed = collect_mixture(env, {}, rng, Behaviour{Uniform{4}, 1}, Behaviour{up, 1});
  CHECK_FALSE(mixed.has_log_probs());

  CHECK(says(message_of([&] { collect_mixture(env, {}, rng, Behaviour{up, 1}, Behaviour{down, 0}); }), "part 1", "0"));
  CHECK(says(message_of([&] {
               collect_mixture(env, {.max_episode_steps = 0}, rng, Behaviour{up, 1});
             }),
             "max_episode_steps"));
}

TEST_CASE("LqPointMass: Riccati's solution, the behaviour's value and one improvement, to the spec's digits",
          "[offline][env]") {
  const auto system = lq_point_mass();
  const auto best = solve_linear_quadratic(system, {.discount = 0.95});
  REQUIRE(best.converged);
  const double p = best.cost(0, 0);
  CHECK(p == close(3.489903735835068, 1e-12));
  CHECK(best.gain(0, 0) == close(2.489903735835068, 1e-12));
  // Q = -(Hxx x^2 + 2 Hxu x u + Huu u^2).
  CHECK(1 + 0.95 * p == close(4.315408549043, 1e-12));
  CHECK(0.95 * 0.1 * p == close(0.331540854904, 1e-11));
  CHECK(0.1 + 0.95 * 0.01 * p == close(0.133154085490, 1e-11));
  const auto behaviour = evaluate_linear_quadratic(system, Matrix<double>::Constant(1, 1, 0.3), {.discount = 0.95});
  const double pm = behaviour.cost(0, 0);
  CHECK(pm == close(9.505864619153, 1e-12));
  CHECK(0.95 * 0.1 * pm / (0.1 + 0.95 * 0.01 * pm) == close(4.745297029703, 1e-12));

  auto env = system;
  Rng rng{1};
  env.reset(rng);
  env.set_state(Vector<double>::Constant(1, 2));
  const auto step = env.step(Vector<double>::Constant(1, -3), rng);
  CHECK(step.next[0] == close(1.7));
  CHECK(step.reward == close(-(4 + 0.9)));
}

TEST_CASE("MixedBandit: logs follow the mixture, and the best arm may be missing from them", "[offline][env]") {
  const MixedBandit bandit({0.1, 0.9, 0.5, 0.3}, {{3, {0.5, 0, 0.5, 0}}, {1, {0, 0, 0.2, 0.8}}}, 0.5);
  const std::vector<double> mu{0.375, 0, 0.425, 0.2};
  for (std::size_t a = 0; a < 4; ++a) CHECK(bandit.behaviour().probabilities[a] == close(mu[a]));
  CHECK(bandit.best_mean() == 0.9);
  CHECK(bandit.best_logged_mean() == 0.5);
  CHECK_FALSE(bandit.logged(1));
  CHECK(bandit.logged(3));

  Rng rng{4};
  const auto log = collect(bandit, bandit.behaviour(), {.episodes = 20'000}, rng);
  std::vector<double> count(4, 0.0), reward(4, 0.0);
  for (std::size_t i = 0; i < log.size(); ++i) {
    const auto t = log[i];
    const auto a = static_cast<std::size_t>(t.action);
    count[a] += 1, reward[a] += t.reward;
    CHECK(t.terminated);
    CHECK(t.log_prob == close(std::log(mu[a])));
  }
  CHECK(count[1] == 0);
  for (const std::size_t a : {0U, 2U, 3U}) {
    CHECK(count[a] / 20'000 == close(mu[a], 0, 0.02));
    CHECK(reward[a] / count[a] == close(bandit.mean(static_cast<int>(a)), 0, 0.05));
  }
  for (const auto& problem : check_environment(bandit, rng).problems) FAIL_CHECK(problem);

  CHECK(says(message_of([] { MixedBandit({1, 2}, {}); }), "parts"));
  CHECK(says(message_of([] { MixedBandit({1, 2}, {{0, {0.5, 0.5}}}); }), "weight"));
  CHECK(says(message_of([] { MixedBandit({1, 2}, {{1, {0.5, 0.4}}}); }), "probabilities"));
  CHECK(says(message_of([] { MixedBandit({1, 2}, {{1, {1}}}); }), "probabilities"));
}
