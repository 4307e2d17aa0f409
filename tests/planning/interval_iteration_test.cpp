// Interval iteration and stochastic shortest paths: the bounds hold against long double solutions, rounding included,
// with and without a discount; which models discount 1 refuses; and the faults that others shipped.
#include "valence/planning/interval_iteration.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "planning/exact.hpp"
#include "planning/models.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/shortest_path.hpp"

using namespace valence;
using namespace valence::test;

namespace {

std::vector<int> first_actions(const FiniteMdp<double>& model) {
  std::vector<int> policy(static_cast<std::size_t>(model.states()), -1);
  for (int s = 0; s < model.states(); ++s)
    for (int a = model.actions() - 1; a >= 0; --a)
      if (model.available(s, a)) policy[static_cast<std::size_t>(s)] = a;
  return policy;
}

/// lower <= exact <= upper, and the policy is worth at least lower, up to the rounding of long double.
void check_bounds(const FiniteMdp<double>& model, const IntervalSolution<double>& solution, const LongVector& exact,
                  long double discount) {
  const LongVector attained = long_value(model, solution.policy, discount);
  for (int s = 0; s < model.states(); ++s) {
    CAPTURE(s, solution.lower[s], solution.upper[s]);
    const long double rounding = 1e-18L * (std::abs(exact[s]) + 1);
    CHECK(static_cast<long double>(solution.lower[s]) <= exact[s] + rounding);
    CHECK(static_cast<long double>(solution.upper[s]) >= exact[s] - rounding);
    CHECK(attained[s] >= static_cast<long double>(solution.lower[s]) - rounding);
    CHECK(std::abs(solution.value[s] - solution.lower[s]) <= solution.bound);
    CHECK(std::abs(solution.value[s] - solution.upper[s]) <= solution.bound);
  }
}

/// FrozenLake, slippery: left, down, right, up, and to either side with 1/3 each.
FiniteMdp<double> frozen_lake(const std::string& map, int columns) {
  const int n = static_cast<int>(map.size()), rows = n / columns;
  const auto outcomes = [&](int s, int a) {
    std::vector<Outcome<int>> list;
    if (map[static_cast<std::size_t>(s)] == 'H' || map[static_cast<std::size_t>(s)] == 'G') return list;
    for (const int side : {3, 0, 1}) {
      const int move = (a + side) % 4, y = s / columns, x = s % columns;
      const int ny = std::clamp(y + (move == 1) - (move == 3), 0, rows - 1);
      const int nx = std::clamp(x + (move == 2) - (move == 0), 0, columns - 1);
      const int next = ny * columns + nx;
      list.push_back(
          {.next = next, .probability = 1. / 3, .reward = map[static_cast<std::size_t>(next)] == 'G' ? 1. : 0.});
    }
    return list;
  };
  return FiniteMdp(n, 4, outcomes);
}
const std::string lake4 = "SFFFFHFHFFFHHFFG";
const std::string lake8 = "SFFFFFFFFFFFFFFFFFFHFFFFFFFFFHFFFFFHFFFFFHHFFFHFFHFFHFHFFFFHFFFG";

std::string refusal(int states, int actions, const std::vector<ModelEntry>& entries, const std::vector<int>& terminal) {
  const FiniteMdp model(states, actions, entries, terminal);
  const std::string message = message_of([&] { check_episodic("test", model); });
  // Whoever takes discount 1 refuses alike.
  CHECK(message.substr(message.find(':')) == [&] {
    const std::string other = message_of([&] { interval_iteration(model, {.discount = 1}); });
    return other.substr(other.find(':'));
  }());
  return message;
}

}  // namespace

TEST_CASE("M1: the fixed point is between the bounds, to the last digits") {
  const auto solution = interval_iteration(m1(), {.discount = .9, .tolerance = 1e-12});
  REQUIRE(solution.converged);
  CHECK(solution.value[0] == close(725. / 59, 1e-13));  // 12.28813559322
  CHECK(solution.value[1] == close(775. / 59, 1e-13));  // 13.135593220339
  CHECK((solution.lower[0] < 725. / 59 && solution.upper[0] > 725. / 59));
  CHECK((solution.lower[1] < 775. / 59 && solution.upper[1] > 775. / 59));
  CHECK(solution.policy == std::vector<int>{0, 1});
}

TEST_CASE("with a discount the bounds contain the long double optimum, rounding included", "[L5]") {
  Rng rng{21};
  for (int k = 0; k < 300; ++k) {
    const double scale = k % 5 == 0 ? 1e6 : k % 5 == 1 ? 1e-6 : 1;
    const auto model = random_model({.states = 3 + k % 11,
                                     .actions = 1 + k % 4,
                                     .branching = 1 + k % 7,
                                     .terminal = k % 3,
                                     .missing = k % 2 * .4,
                                     .reward = scale},
                                    rng);
    const double discount = std::array{0., .5, .9, .99, .9999}[static_cast<std::size_t>(k / 3 % 5)];
    const LongVector exact = long_optimum(model, first_actions(model), static_cast<long double>(discount));
    // Down to where rounding stops it, a real tolerance, and cut short.
    for (const auto& [tolerance, limit] :
         {std::pair{1e-300, std::size_t{1'000'000}}, {1e-4 * scale, 1'000'000}, {1e-300, 7}}) {
      CAPTURE(k, discount, tolerance, limit);
      const auto solution =
          interval_iteration(model, {.discount = discount, .tolerance = tolerance, .max_iterations = limit});
      check_bounds(model, solution, exact, static_cast<long double>(discount));
      CHECK(solution.converged == (solution.bound <= tolerance));
      if (limit == 7)
        CHECK(solution.iterations <= 7);
      else
        CHECK(solution.bound <= (std::max)(tolerance, 3e-14 * scale / (1 - discount) / (1 - discount)));
    }
  }
}

TEST_CASE("without a discount too, where every action may end the episode", "[L2][L5]") {
  Rng rng{22};
  for (int k = 0; k < 200; ++k) {
    const double scale = k % 4 == 0 ? 1e5 : 1;
    const auto model = sparse_model(
        {.states = 3 + k % 9, .actions = 1 + k % 3, .terminal = 1 + k % 2, .exits = true, .reward = scale}, rng);
    const LongVector exact = long_optimum(model, first_actions(model), 1);
    for (const double tolerance : {1e-300, 1e-5 * scale}) {
      CAPTURE(k, tolerance);
      const auto solution = interval_iteration(model, {.discount = 1, .tolerance = tolerance});
      check_bounds(model, solution, exact, 1);
      CHECK(solution.bound <= (std::max)(tolerance, 1e-9 * scale));
      const auto path = shortest_path(model, {.tolerance = tolerance});
      check_bounds(model, path, exact, 1);
    }
  }
}

TEST_CASE("improper policies, costs everywhere: the best of all proper policies", "[L2]") {
  Rng rng{23};
  int used = 0, improper = 0;
  for (int k = 0; k < 300; ++k) {
    const auto drawn = sparse_model({.states = 4 + k % 4, .actions = 2 + k % 2}, rng);
    std::vector<double> costs(static_cast<std::size_t>(drawn.states() * drawn.actions()));
    for (double& c : costs) c = k % 2 ? -rng.uniform() - 1e-3 : -std::floor(rng.uniform(0, 3));  // some for free
    const auto model = drawn.with_rewards(costs);
    const auto graph = transition_graph(model);
    const StateSet goal = detail::ends_of(graph);
    if (detail::first_missing(probability_one(graph, predecessors(graph), goal, Extreme::largest)) >= 0) {
      CHECK(says(message_of([&] { shortest_path(model); }), "no policy reaches a terminal state", "state"));
      continue;
    }
    ++used;
    LongVector best = LongVector::Constant(model.states(), -std::numeric_limits<long double>::infinity());
    for_policies(model, [&](const std::vector<int>& policy) {
      if (detail::first_missing(proper_states(model, policy)) < 0)
        best = best.cwiseMax(long_value(model, policy, 1));
      else
        ++improper;
    });
    CAPTURE(k);
    const auto path = shortest_path(model, {.tolerance = 1e-9});
    CHECK(path.converged);
    CHECK(detail::first_missing(proper_states(model, path.policy)) == -1);
    const LongVector attained = long_value(model, path.policy, 1);
    for (int s = 0; s < model.states(); ++s) {
      const long double rounding = 1e-15L * (1 + std::abs(best[s]));
      CHECK(static_cast<long double>(path.lower[s]) <= best[s] + rounding);
      CHECK(static_cast<long double>(path.upper[s]) >= best[s] - rounding);
      CHECK(attained[s] >= static_cast<long double>(path.lower[s]) - rounding);
    }
  }
  CHECK((used > 50 && improper > 100));
}

TEST_CASE("FrozenLake without a discount: free moves, and bounds from both sides", "[L3]") {
  const auto small_lake = interval_iteration(frozen_lake(lake4, 4), {.discount = 1, .tolerance = 1e-12});
  REQUIRE(small_lake.converged);
  CHECK(small_lake.value[0] == close(14. / 17, 1e-11));
  const auto discounted = interval_iteration(frozen_lake(lake4, 4), {.discount = .99, .tolerance = 1e-12});
  CHECK(discounted.value[0] == close(0.542025932000, 1e-11));
  CHECK(discounted.value.sum() == close(6.339819538310, 1e-11));
  CHECK(interval_iteration(frozen_lake(lake8, 8), {.discount = .99, .tolerance = 1e-12}).value[0] ==
        close(0.414640361800, 1e-11));
  const auto large = interval_iteration(frozen_lake(lake8, 8), {.discount = 1, .tolerance = 1e-9});
  CHECK(large.converged);
  CHECK(large.value[0] == close(1, 1e-8));
  const LongVector attained = long_value(frozen_lake(lake8, 8), large.policy, 1);
  CHECK(attained[0] >= static_cast<long double>(large.lower[0]) - 1e-15L);
}

TEST_CASE("discount 1 on a corridor ends, with exact values", "[L2]") {
  std::vector<ModelEntry> entries;
  for (int s = 0; s < 300; ++s)
    for (int a = 0; a < 2; ++a) entries.push_back({s, a, std::max(0, s + (a ? 1 : -1)), 1, -1});
  const auto solution =
      interval_iteration(FiniteMdp(301, 2, entries, std::vector<int>{300}), {.discount = 1, .tolerance = 1e-9});
  REQUIRE(solution.converged);
  for (int s = 0; s < 301; ++s) {
    CHECK(solution.value[s] == close(s - 300, 0, 1e-9));
    CHECK((solution.lower[s] <= s - 300 && solution.upper[s] >= s - 300));
    CHECK(solution.policy[static_cast<std::size_t>(s)] == (s < 300 ? 1 : -1));
  }
}

TEST_CASE("sparse rewards: nothing stops after a first sweep without change", "[L3]") {
  const FiniteMdp model(
      4, 1, std::vector<ModelEntry>{{0, 0, 1, .8}, {0, 0, 0, .2}, {1, 0, 2, .8}, {1, 0, 1, .2}, {2, 0, 3, 1, 1}},
      std::vector<int>{3});
  const auto solution = interval_iteration(model, {.discount = .9, .tolerance = 1e-12});
  CHECK(solution.value[0] == close(0.770969661, 1e-9));
  CHECK(solution.value[1] == close(0.87804878, 1e-8));
  CHECK(solution.value[2] == close(1, 1e-12));
  CHECK((solution.lower[3] == 0 && solution.upper[3] == 0));
  CHECK(interval_iteration(model, {.discount = 1, .tolerance = 1e-12}).value[0] == close(1, 1e-12));
}

TEST_CASE("equal rewards everywhere: no division by a span of 0", "[L4]") {
  for (const double reward : {0., 1.}) {
    std::vector<ModelEntry> entries;
    for (int s = 0; s < 3; ++s)
      for (int a = 0; a < 2; ++a) entries.push_back({s, a, (s + a) % 3, 1, reward});
    const auto solution = interval_iteration(FiniteMdp(3, 2, entries), {.discount = .9, .tolerance = 1e-10});
    CHECK(solution.converged);
    for (int s = 0; s < 3; ++s) CHECK(solution.value[s] == close(10 * reward, 1e-12, 1e-300));
    if (reward == 0) {
      const auto nothing = interval_iteration(FiniteMdp(3, 2, entries), {.discount = 1, .tolerance = 1e-10});
      CHECK((nothing.converged && nothing.bound == 0 && nothing.value[1] == 0));
    }
  }
}

TEST_CASE("waiting for nothing: an end of its own, but no way to the goal", "[L2]") {
  // State 0 may wait for ever; going costs 1. State 1 may wait too, or be paid 2 on the way out.
  const FiniteMdp model(3, 2,
                        std::vector<ModelEntry>{{0, 0, 0, 1, 0}, {0, 1, 2, 1, -1}, {1, 0, 1, 1, 0}, {1, 1, 2, 1, 2}},
                        std::vector<int>{2});
  CHECK(check_episodic("test", model).count == 2);
  const auto total = interval_iteration(model, {.discount = 1, .tolerance = 1e-12});
  CHECK((total.value[0] == 0 && total.bound <= 1e-12));
  CHECK(total.value[1] == close(2, 1e-12));
  CHECK(total.policy == std::vector<int>{0, 1, -1});
  const auto path = shortest_path(model, {.tolerance = 1e-12});
  CHECK(path.value[0] == close(-1, 1e-12));
  CHECK(path.policy == std::vector<int>{1, 1, -1});
  // Two states that wait together leave where it is best; the other one goes there.
  const FiniteMdp pair(3, 2,
                       std::vector<ModelEntry>{{0, 0, 1, 1, 0}, {0, 1, 2, 1, 1}, {1, 0, 0, 1, 0}, {1, 1, 2, 1, 3}},
                       std::vector<int>{2});
  const auto both = interval_iteration(pair, {.discount = 1, .tolerance = 1e-12});
  CHECK(both.value[0] == close(3, 1e-12));
  CHECK(both.policy == std::vector<int>{0, 1, -1});
}

TEST_CASE("what discount 1 refuses, and the state that it names", "[L6]") {
  // A cycle that pays at every step and has no way out.
  CHECK(says(refusal(2, 1, {{0, 0, 1, 1, -1}, {1, 0, 0, 1, -1}}, {}), "state 0", "no policy reaches a terminal state"));
  // Not from everywhere: state 1 may get stuck in 2 with probability 1/2.
  CHECK(
      says(refusal(4, 1, {{0, 0, 3, 1, -1}, {1, 0, 2, .5, -1}, {1, 0, 3, .5, -1}, {2, 0, 2, 1, -1}}, {3}), "state 1"));
  // An absorbing loop with positive reward, alone and beside a way out.
  CHECK(says(refusal(3, 1, {{0, 0, 2, 1, 0}, {1, 0, 1, 1, 0.25}}, {2}), "state 1", "gained for ever", "earns 0.25"));
  CHECK(says(refusal(3, 2, {{0, 0, 1, 1, -1}, {1, 1, 1, 1, 1e-6}, {1, 0, 2, 1, 5}}, {2}), "state 1", "action 1",
             "gained for ever"));
  // A cycle of gains and losses: ahead by 1; and even, which can't be told from slightly ahead.
  CHECK(says(refusal(3, 2, {{0, 0, 1, 1, 3}, {1, 0, 0, 1, -2}, {1, 1, 2, 1, 0}}, {2}), "state 0", "earns 3",
             "gained for ever"));
  CHECK(
      says(refusal(3, 2, {{0, 0, 1, 1, 2}, {1, 0, 0, 1, -2}, {1, 1, 2, 1, 0}}, {2}), "state 0", "earns 2", "average"));
  // A free detour (2 <-> 3 in either direction) doesn't hide the gain of the cycle through it.
  CHECK(says(
      refusal(5, 2,
              {{0, 0, 2, 1, 3}, {2, 0, 3, 1, 0}, {3, 0, 2, 1, 0}, {3, 1, 0, 1, -2}, {0, 1, 4, 1, 0}, {1, 0, 4, 1, 0}},
              {4}),
      "state 0", "gained"));
}

TEST_CASE("a cycle that earns less than it pays is accepted, with free detours too", "[L6]") {
  // 0 -> 1 earns 2, 1 -> 0 costs 3, 1 -> end costs 10; 1 and 2 can be exchanged for nothing.
  const FiniteMdp model(
      4, 3,
      std::vector<ModelEntry>{{0, 0, 1, 1, 2}, {1, 0, 0, 1, -3}, {1, 1, 3, 1, -10}, {1, 2, 2, 1, 0}, {2, 0, 1, 1, 0}},
      std::vector<int>{3});
  CHECK(check_episodic("test", model).count == 1);
  const auto total = interval_iteration(model, {.discount = 1, .tolerance = 1e-10});
  REQUIRE(total.converged);
  CHECK(total.value[0] == close(2, 1e-9));  // get the 2, then wait for ever
  CHECK(total.value[1] == close(0, 0, 1e-9));
  const auto path = shortest_path(model, {.tolerance = 1e-10});
  CHECK(path.value[0] == close(-8, 1e-9));
  CHECK(path.value[2] == close(-10, 1e-9));
  CHECK(path.policy == std::vector<int>{0, 1, 0, -1});
}

TEST_CASE("goals of one's own: unreachable ones are named, terminal states are no goals by themselves") {
  // 0 - 1 - 2 - 3 in a row, either way, -1 each; 3 is terminal.
  std::vector<ModelEntry> entries;
  for (int s = 0; s < 3; ++s)
    for (int a = 0; a < 2; ++a) entries.push_back({s, a, std::max(0, s + (a ? 1 : -1)), 1, -1});
  const FiniteMdp model(4, 2, entries, std::vector<int>{3});
  const std::vector<int> zero{0}, both{0, 3}, outside{4};
  CHECK(says(message_of([&] { shortest_path(model, zero); }), "shortest_path", "state 3", "the goal"));
  const auto path = shortest_path(model, both, {.tolerance = 1e-12});
  const double steps[] = {0, -1, -1, 0};
  for (int s = 0; s < 4; ++s) CHECK(path.value[s] == close(steps[s], 0, 1e-12));
  CHECK(path.policy == std::vector<int>{-1, 0, 1, -1});
  CHECK(says(message_of([&] { shortest_path(model, outside); }), "goal[0] is 4"));
  CHECK(says(message_of([&] { shortest_path(model, zero, {.tolerance = -1}); }), "tolerance"));
}

TEST_CASE("a limit that was reached is reported, with bounds that still hold", "[L5]") {
  std::vector<ModelEntry> entries;
  for (int s = 0; s < 50; ++s) entries.push_back({s, 0, s + 1, .1, -1}), entries.push_back({s, 0, s, .9, -1});
  const FiniteMdp model(51, 1, entries, std::vector<int>{50});
  const auto cut = interval_iteration(model, {.discount = 1, .max_iterations = 5});
  CHECK_FALSE(cut.converged);
  CHECK(cut.iterations == 5);
  CHECK(std::isinf(cut.bound));
  CHECK((std::isinf(cut.lower[0]) && std::isinf(cut.upper[0])));
  CHECK(std::isfinite(cut.value[0]));
  std::size_t calls = 0;
  const auto stopped = interval_iteration(model, {.discount = 1, .tolerance = 1e-9}, [&](const ProgressEvent& e) {
    CHECK(e.step == ++calls);
    return e.step < 3;
  });
  CHECK((stopped.iterations == 3 && !stopped.converged));
  const auto done = interval_iteration(model, {.discount = 1, .tolerance = 1e-9});
  CHECK(done.value[0] == close(-500, 1e-11));
}

TEST_CASE("models in float and dense ones: bounds of what they say, computed in double", "[L5]") {
  Rng rng{24};
  const auto model = random_model({.states = 12, .terminal = 1}, rng);
  const auto single = interval_iteration(model.as<float>(), {.discount = .9, .tolerance = 1e-5});
  CHECK(single.converged);
  // The same numbers in double, rows divided by their sums, which are not 1 to within 1e-9.
  const auto stored = model.as<float>();
  std::vector<ModelEntry> entries;
  for (int s = 0; s < 11; ++s)
    for (int a = 0; a < 3; ++a) {
      double mass = 0;
      for (const auto& to : stored.successors(s, a)) mass += static_cast<double>(to.probability);
      for (const auto& to : stored.successors(s, a))
        entries.push_back(
            {s, a, to.next, static_cast<double>(to.probability) / mass, static_cast<double>(stored.reward(s, a))});
    }
  const auto same =
      interval_iteration(FiniteMdp(12, 3, entries, std::vector<int>{11}), {.discount = .9, .tolerance = 1e-13});
  for (int s = 0; s < 12; ++s) {
    CHECK((single.lower[s] <= same.upper[s] && same.lower[s] <= single.upper[s]));
    CHECK(std::abs(static_cast<double>(single.value[s]) - same.value[s]) <= single.bound + same.bound);
  }
  // Asked for more than a float can say, the value can't be it, and the bound says so; the bounds are as tight as ever.
  const auto tight = interval_iteration(model.as<float>(), {.discount = .9, .tolerance = 1e-12});
  CHECK_FALSE(tight.converged);
  CHECK((tight.upper - tight.lower).maxCoeff() <= 2e-12);
  const auto square = random_model({.states = 9, .missing = 0}, rng);
  const auto full = interval_iteration(dense(square), {.discount = .9, .tolerance = 1e-11});
  const auto compressed = interval_iteration(square, {.discount = .9, .tolerance = 1e-11});
  CHECK((full.converged && compressed.converged));
  CHECK((full.value - compressed.value).cwiseAbs().maxCoeff() <= 2e-11);
}

TEST_CASE("bad options are named") {
  CHECK(says(message_of([] { interval_iteration(m1(), {.discount = 1.1}); }), "discount", "1.1"));
  CHECK(says(message_of([] { interval_iteration(m1(), {.discount = std::nan("")}); }), "discount", "nan"));
  CHECK(says(message_of([] { interval_iteration(m1(), {.tolerance = 0}); }), "tolerance"));
  CHECK(says(message_of([] { interval_iteration(m1(), {.max_iterations = 0}); }), "max_iterations"));
  CHECK(says(message_of([] { interval_iteration(m1(), {.discount = 1}); }), "interval_iteration", "state 1"));
}
