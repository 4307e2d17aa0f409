// The graph of a model (components, end components, sure and impossible goals) against enumeration, and certified
// probabilities of reaching a goal.
#include "valence/planning/reachability.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "planning/exact.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/graph.hpp"

using namespace valence;
using namespace valence::test;

namespace {

/// Sets of states with rows inside that connect them all, by trying all sets; the maximal ones.
std::set<std::uint32_t> enumerated_end_components(const TransitionGraph& graph) {
  std::vector<std::uint32_t> found;
  const auto n = static_cast<std::uint32_t>(graph.states);
  for (std::uint32_t set = 1; set < 1u << n; ++set) {
    const auto inside = [&](std::size_t row) {
      for (const int t : graph.successors(row))
        if (!(set >> t & 1)) return false;
      return true;
    };
    std::vector<std::uint32_t> reach(n, 0);
    bool good = true;
    for (std::uint32_t s = 0; s < n; ++s) {
      if (!(set >> s & 1)) continue;
      bool any = false;
      for (std::size_t i = graph.first_row(static_cast<int>(s)); i < graph.last_row(static_cast<int>(s)); ++i)
        if (inside(i)) {
          any = true;
          for (const int t : graph.successors(i)) reach[s] |= 1u << t;
        }
      good = good && any;
    }
    for (std::uint32_t round = 0; round < n; ++round)
      for (std::uint32_t s = 0; s < n; ++s)
        for (std::uint32_t t = 0; t < n; ++t)
          if (reach[s] >> t & 1) reach[s] |= reach[t];
    for (std::uint32_t s = 0; s < n; ++s) good = good && (!(set >> s & 1) || (reach[s] & set) == set);
    if (good) found.push_back(set);
  }
  std::set<std::uint32_t> maximal;
  for (const std::uint32_t x : found) {
    bool largest = true;
    for (const std::uint32_t y : found) largest = largest && !(x != y && (x & y) == x);
    if (largest) maximal.insert(x);
  }
  return maximal;
}

std::vector<std::uint8_t> reached_from(const TransitionGraph& graph, int from) {
  std::vector<std::uint8_t> seen(static_cast<std::size_t>(graph.states), 0);
  std::vector<int> stack{from};
  seen[static_cast<std::size_t>(from)] = 1;
  while (!stack.empty()) {
    const int s = stack.back();
    stack.pop_back();
    for (std::size_t i = graph.first_row(s); i < graph.last_row(s); ++i)
      for (const int t : graph.successors(i))
        if (!seen[static_cast<std::size_t>(t)]) seen[static_cast<std::size_t>(t)] = 1, stack.push_back(t);
  }
  return seen;
}

}  // namespace

TEST_CASE("strongly connected components are who reaches each other, numbered from the ends") {
  Rng rng{1};
  for (int k = 0; k < 200; ++k) {
    const auto graph =
        transition_graph(sparse_model({.states = 1 + k % 9, .actions = 1 + k % 2, .terminal = k % 2}, rng));
    const Components found = strongly_connected_components(graph);
    std::set<int> numbers(found.of.begin(), found.of.end());
    CHECK(static_cast<int>(numbers.size()) == found.count);
    for (int s = 0; s < graph.states; ++s) {
      const auto from = reached_from(graph, s);
      for (int t = 0; t < graph.states; ++t) {
        const bool together = from[static_cast<std::size_t>(t)] && reached_from(graph, t)[static_cast<std::size_t>(s)];
        CHECK((found.of[static_cast<std::size_t>(s)] == found.of[static_cast<std::size_t>(t)]) == together);
        if (from[static_cast<std::size_t>(t)])
          CHECK(found.of[static_cast<std::size_t>(t)] <= found.of[static_cast<std::size_t>(s)]);
      }
    }
  }
}

TEST_CASE("maximal end components are those that trying all sets of states finds") {
  Rng rng{2};
  int found_any = 0, found_none = 0, several = 0;
  for (int k = 0; k < 600; ++k) {
    const auto graph =
        transition_graph(sparse_model({.states = 2 + k % 7, .actions = 1 + k % 3, .terminal = k % 3 == 0}, rng));
    const EndComponents found = maximal_end_components(graph);
    std::vector<std::uint32_t> sets(static_cast<std::size_t>(found.count), 0);
    for (int s = 0; s < graph.states; ++s)
      if (const int c = found.of[static_cast<std::size_t>(s)]; c >= 0) sets[static_cast<std::size_t>(c)] |= 1u << s;
    CHECK(std::set<std::uint32_t>(sets.begin(), sets.end()) == enumerated_end_components(graph));
    const Predecessors into = predecessors(graph);
    for (std::size_t i = 0; i < graph.rows(); ++i) {
      bool stays = found.of[static_cast<std::size_t>(into.source[i])] >= 0;
      for (const int t : graph.successors(i))
        stays = stays && found.of[static_cast<std::size_t>(t)] == found.of[static_cast<std::size_t>(into.source[i])];
      CHECK(static_cast<bool>(found.inside[i]) == stays);
    }
    found_any += found.count > 0, found_none += found.count == 0, several += found.count > 1;
  }
  CHECK((found_any > 50 && found_none > 5 && several > 20));
}

TEST_CASE("probabilities of reaching a goal, and the policies that attain them, against all policies") {
  Rng rng{3};
  int zeros[2] = {}, ones[2] = {}, between[2] = {};
  for (int k = 0; k < 300; ++k) {
    const auto model = sparse_model({.states = 3 + k % 5, .actions = 2 + k % 2, .terminal = k % 3}, rng);
    const int n = model.states();
    std::vector<int> goal{rng.below(n)};
    if (k % 2) goal.push_back(n - 1);
    const StateSet target = state_set("test", n, goal);
    LongVector best = LongVector::Zero(n), worst = LongVector::Ones(n);
    for_policies(model, [&](const std::vector<int>& policy) {
      const LongVector p = reach_probability(chain_of(model, policy, target), target);
      best = best.cwiseMax(p), worst = worst.cwiseMin(p);
    });
    for (const Extreme extreme : {Extreme::largest, Extreme::smallest}) {
      const LongVector& exact = extreme == Extreme::largest ? best : worst;
      const auto solution = reachability(model, goal, {.extreme = extreme, .tolerance = 1e-10});
      REQUIRE(solution.converged);
      CHECK(solution.bound <= 1e-10);
      const auto graph = transition_graph(model);  // with the rows of the goal: they don't matter
      const Predecessors into = predecessors(graph);
      const StateSet zero = probability_zero(graph, into, target, extreme),
                     one = probability_one(graph, into, target, extreme);
      std::vector<int> policy = solution.policy;
      for (int s = 0; s < n; ++s)
        if (target[static_cast<std::size_t>(s)]) {
          CHECK(policy[static_cast<std::size_t>(s)] == -1);
          policy[static_cast<std::size_t>(s)] = 0;
        } else {
          CHECK((policy[static_cast<std::size_t>(s)] == -1) == model.terminal(s));
          if (!model.terminal(s)) REQUIRE(model.available(s, policy[static_cast<std::size_t>(s)]));
        }
      const LongVector attained = reach_probability(chain_of(model, policy, target), target);
      for (int s = 0; s < n; ++s) {
        CAPTURE(k, s, extreme == Extreme::largest);
        const auto i = static_cast<std::size_t>(s);
        CHECK(static_cast<bool>(zero[i]) == (exact[s] == 0));
        CHECK(static_cast<bool>(one[i]) == (std::abs(exact[s] - 1) < 1e-13L));
        if (zero[i]) CHECK((solution.lower[s] == 0 && solution.upper[s] == 0));
        if (one[i]) CHECK((solution.lower[s] == 1 && solution.upper[s] == 1));
        CHECK(static_cast<long double>(solution.lower[s]) <= exact[s] + 1e-15L);
        // Enumeration may end above 1.
        CHECK(static_cast<long double>(solution.upper[s]) >= (std::min)(exact[s], 1.0L) - 1e-15L);
        if (extreme == Extreme::largest)
          CHECK(attained[s] >= static_cast<long double>(solution.lower[s]) - 1e-15L);
        else
          CHECK(attained[s] <= static_cast<long double>(solution.upper[s]) + 1e-15L);
        const auto e = static_cast<std::size_t>(extreme == Extreme::largest);
        zeros[e] += zero[i], ones[e] += one[i], between[e] += !zero[i] && !one[i];
      }
    }
  }
  for (int e = 0; e < 2; ++e) CHECK((zeros[e] > 50 && ones[e] > 50 && between[e] > 50));
}

TEST_CASE("a chain on which value iteration stops early: both bounds are honest", "[L2][L5]") {
  // Haddad & Monmege 2018: back to the middle with probability 1/2 each step. From 0 the changes are 2^-14 and less.
  const int half = 14, n = 2 * half + 1;
  std::vector<ModelEntry> entries;
  for (int s = 1; s < 2 * half; ++s) {
    entries.push_back({s, 0, half, 0.5});
    entries.push_back({s, 0, s == half ? half + 1 : s > half ? s + 1 : s - 1, s == half ? 0.25 : 0.5});
    if (s == half) entries.push_back({s, 0, half - 1, 0.25});
  }
  const FiniteMdp model(n, 1, entries, std::vector<int>{0, n - 1});
  const std::vector<int> goal{n - 1};
  const auto solution = reachability(model, goal, {.tolerance = 1e-6});
  REQUIRE(solution.converged);
  CHECK(solution.value[half] == close(0.5, 2e-6));
  CHECK(solution.iterations > 100'000);
  const auto cut = reachability(model, goal, {.tolerance = 1e-6, .max_iterations = 200});
  CHECK_FALSE(cut.converged);
  CHECK(cut.iterations == 200);
  CHECK((cut.lower[half] < 0.02 && cut.upper[half] > 0.98 && cut.bound > 0.4));
}

TEST_CASE("going round between two states doesn't keep the upper bound at 1") {
  // 0 <-> 1 for ever, or leave: from 1 with 0.3 to the goal and 0.7 to a trap; from 0 with 0.2.
  const FiniteMdp model(
      4, 2,
      std::vector<ModelEntry>{{0, 0, 1, 1}, {0, 1, 2, .2}, {0, 1, 3, .8}, {1, 0, 0, 1}, {1, 1, 2, .3}, {1, 1, 3, .7}},
      std::vector<int>{2, 3});
  const std::vector<int> goal{2};
  const auto solution = reachability(model, goal, {.tolerance = 1e-14});
  REQUIRE(solution.converged);
  CHECK(solution.value[0] == close(0.3, 1e-13));
  CHECK(solution.policy == std::vector<int>{0, 1, -1, -1});
  const auto avoided = reachability(model, goal, {.extreme = Extreme::smallest});
  CHECK((avoided.value[0] == 0 && avoided.value[1] == 0 && avoided.bound == 0));
  CHECK(avoided.policy == std::vector<int>{0, 0, -1, -1});
}

TEST_CASE("a row of 1e6 states, and a ring of them: no recursion, no quadratic time") {
  const int n = 1'000'000;
  for (const bool ring : {false, true}) {
    ModelColumns<double> c{.states = n, .actions = 1};
    for (int s = 0; s < n; ++s) {
      c.row_begin.push_back(static_cast<std::uint32_t>(c.next.size()));
      if (s < n - 1 || ring) c.next.push_back((s + 1) % n), c.probability.push_back(1);
    }
    c.row_begin.push_back(static_cast<std::uint32_t>(c.next.size()));
    c.reward.assign(static_cast<std::size_t>(n), 0);
    if (!ring) c.terminal.assign(static_cast<std::size_t>(n), 0), c.terminal.back() = 1;
    const FiniteMdp<double> model(std::move(c));
    const auto graph = transition_graph(model);
    CHECK(strongly_connected_components(graph).count == (ring ? 1 : n));
    CHECK(maximal_end_components(graph).count == (ring ? 1 : 0));
    const auto into = predecessors(graph);
    const StateSet goal = state_set("test", n, std::vector<int>{n - 1});
    for (const Extreme extreme : {Extreme::largest, Extreme::smallest}) {
      const StateSet one = probability_one(graph, into, goal, extreme);
      CHECK(detail::first_missing(one) == -1);
    }
  }
}

TEST_CASE("the graphs of policies, and which are proper", "[L6]") {
  // Action 0 goes on to the terminal state 3, action 1 goes round 0 -> 1 -> 2 -> 0.
  const FiniteMdp model(
      4, 2,
      std::vector<ModelEntry>{
          {0, 0, 1, 1}, {0, 1, 1, 1}, {1, 0, 2, .5}, {1, 0, 1, .5}, {1, 1, 2, 1}, {2, 0, 3, 1}, {2, 1, 0, 1}},
      std::vector<int>{3});
  const std::vector<int> good{0, 0, 0, -1}, round{0, 0, 1, -1};
  CHECK(proper_states(model, good) == StateSet{1, 1, 1, 1});
  CHECK(proper_states(model, round) == StateSet{0, 0, 0, 1});
  CHECK_NOTHROW(check_proper_policy("test", model, good));
  CHECK(says(message_of([&] { check_proper_policy("test", model, round); }), "never reaches a terminal state",
             "state 0"));
  Matrix<double> mixed = Matrix<double>::Constant(2, 4, .5);
  mixed.col(3).setConstant(std::numeric_limits<double>::quiet_NaN());  // terminal: not read
  CHECK(proper_states(model, mixed) == StateSet{1, 1, 1, 1});
  mixed(0, 2) = 0, mixed(1, 2) = 1;
  CHECK(proper_states(model, mixed) == StateSet{0, 0, 0, 1});
  const std::vector<int> missing{0, 0, 2, -1};
  CHECK(says(message_of([&] { proper_states(model, missing); }), "policy[2]"));
}

TEST_CASE("dense models, floats and duplicate entries give the same probabilities") {
  Rng rng{4};
  const auto model = sparse_model({.states = 8, .actions = 3, .terminal = 2, .missing = 0}, rng);
  const std::vector<int> goal{7};
  const auto compressed = reachability(model, goal, {.tolerance = 1e-12});
  const auto full = reachability(dense(model), goal, {.tolerance = 1e-12});
  const auto single = reachability(model.as<float>(), goal, {.tolerance = 1e-6});
  for (int s = 0; s < 8; ++s) {
    CHECK(compressed.value[s] == close(full.value[s], 0, 2e-12));
    CHECK(static_cast<double>(single.value[s]) == close(full.value[s], 0, 1e-5));
    CHECK((single.lower[s] <= static_cast<double>(single.value[s]) &&
           static_cast<double>(single.value[s]) <= single.upper[s] + 1e-7));
  }
}

TEST_CASE("bad goals and options are named") {
  Rng rng{5};
  const auto model = sparse_model({}, rng);
  const std::vector<int> none, outside{0, 6}, negative{-1}, good{5};
  CHECK(says(message_of([&] { reachability(model, none); }), "goal is empty"));
  CHECK(says(message_of([&] { reachability(model, outside); }), "goal[1] is 6", "[0, 5]"));
  CHECK(says(message_of([&] { reachability(model, negative); }), "goal[0] is -1"));
  CHECK(says(message_of([&] { reachability(model, good, {.tolerance = 0}); }), "tolerance"));
  CHECK(says(message_of([&] { reachability(model, good, {.max_iterations = 0}); }), "max_iterations"));
}
