// Howard's and modified policy iteration.
#include <cmath>
#include <limits>
#include <vector>

#include "planning/models.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/policy_iteration.hpp"
#include "valence/planning/value_iteration.hpp"

using namespace valence;
using valence::test::m1;
using valence::test::message_of;
using valence::test::random_model;
using valence::test::says;
using valence::test::solved_optimum;
using valence::test::solved_value;

namespace {

using valence::test::close;

double error_of(const Vector<double>& v, const Eigen::VectorXd& exact) { return (v - exact).cwiseAbs().maxCoeff(); }

/// Stay for 1 a step, or go right; the last state earns 20 for ever. From "stay everywhere" it takes one improvement
/// for each state to hear of it.
FiniteMdp<double> hearsay() {
  std::vector<ModelEntry> entries;
  for (int s = 0; s < 3; ++s) entries.push_back({s, 0, s, 1, 1}), entries.push_back({s, 1, s + 1, 1, 0});
  entries.push_back({3, 0, 3, 1, 20});
  return FiniteMdp(4, 2, entries);
}

/// Steps of cost 1 towards the last cell, which slip back with probability 0.3.
FiniteMdp<double> slippery(int cells) {
  std::vector<ModelEntry> entries;
  for (int s = 0; s + 1 < cells; ++s)
    for (int a = 0; a < 2; ++a) {
      const int to = a ? s + 1 : std::max(0, s - 1), slip = a ? std::max(0, s - 1) : s + 1;
      entries.push_back({s, a, to, .7, -1}), entries.push_back({s, a, slip, .3, -1});
    }
  return FiniteMdp(cells, 2, entries, std::vector<int>{cells - 1});
}

}  // namespace

TEST_CASE("M1: policy iteration from (0, 0)") {
  const std::vector<int> start{0, 0};
  const auto once = policy_iteration(m1(), start, {.discount = .9, .max_iterations = 1});
  CHECK_FALSE(once.converged);
  CHECK(once.value[0] == close(8.353658536585, 1e-12));
  CHECK(once.value[1] == close(7.743902439024, 1e-12));
  CHECK(once.policy == start);
  const auto solution = policy_iteration(m1(), start, {.discount = .9});
  CHECK(solution.converged);
  CHECK(solution.iterations == 2);
  CHECK(solution.value[0] == close(12.28813559322, 1e-12));
  CHECK(solution.value[1] == close(13.135593220339, 1e-12));
  CHECK(solution.policy == std::vector<int>{0, 1});
  CHECK(solution.bound <= 1e-9);
}

TEST_CASE("exactly three improvements, each value is the policy's and none decreases", "[L7]") {
  const auto model = hearsay();
  const std::vector<int> start(4, 0);
  const std::vector<int> policies[] = {{0, 0, 0, 0}, {0, 0, 1, 0}, {0, 1, 1, 0}, {1, 1, 1, 0}};
  Vector<double> before = Vector<double>::Constant(4, -1e9);
  for (std::size_t k = 1; k <= 4; ++k) {
    const auto solution = policy_iteration(model, start, {.discount = .9, .max_iterations = k});
    CHECK(solution.policy == policies[k - 1]);
    CHECK(error_of(solution.value, solved_value(model, policies[k - 1], .9)) < 1e-11);
    CHECK((solution.value - before).minCoeff() >= -1e-11);
    CHECK(solution.converged == (k == 4));
    before = solution.value;
  }
  CHECK(policy_iteration(model, start, {.discount = .9}).iterations == 4);
}

TEST_CASE("policy iteration on random models: optimal, monotone, bounded", "[L1]") {
  Rng rng{31};
  for (int k = 0; k < 60; ++k) {
    const auto model = random_model({.states = 3 + k % 15,
                                     .actions = 1 + k % 5,
                                     .branching = 1 + k % 4,
                                     .terminal = k % 3,
                                     .missing = k % 2 * .4,
                                     .reward = k % 7 == 0 ? 100. : 1.},
                                    rng);
    const double discount = k % 3 == 0 ? .5 : k % 3 == 1 ? .9 : .999;
    const auto exact = solved_optimum(model, discount);
    const auto solution = policy_iteration(model, {.discount = discount, .tolerance = 1e-6});
    CAPTURE(k);
    REQUIRE(solution.converged);
    CHECK(error_of(solution.value, exact) <= solution.bound + 1e-10);
    CHECK(error_of(solved_value(model, solution.policy, discount), exact) <= 1e-9);
    Vector<double> before;
    for (std::size_t limit = 1; limit <= solution.iterations; ++limit) {
      const auto now = policy_iteration(model, {.discount = discount, .max_iterations = limit}).value;
      if (limit > 1) CHECK((now - before).minCoeff() >= -1e-12 * (1 + now.cwiseAbs().maxCoeff()));
      before = now;
    }
  }
}

TEST_CASE("ties never flip the policy, not even ties in all but rounding", "[L7]") {
  Rng rng{32};
  for (int k = 0; k < 20; ++k) {
    // Action 1 is action 0 with its successors added up in other pieces: equal but for the last bits.
    std::vector<ModelEntry> entries;
    for (int s = 0; s < 20; ++s) {
      const double p[3] = {.1, .2, .7};
      const double r = rng.uniform(-1, 1);
      for (int j = 0; j < 3; ++j) {
        const int to = rng.below(20);
        entries.push_back({s, 0, to, p[j], r});
        for (int piece = 0; piece < 3; ++piece) entries.push_back({s, 1, to, p[j] / 3, r});
      }
    }
    const FiniteMdp model(20, 2, entries);
    std::vector<int> start(20);
    for (int& a : start) a = rng.below(2);
    const auto solution = policy_iteration(model, start, {.discount = .99, .tolerance = 1e-8});
    CHECK(solution.converged);
    CHECK(solution.iterations == 1);
    CHECK(solution.policy == start);
    CHECK(policy_iteration(model.as<float>(), start, {.discount = .99, .tolerance = .1}).policy == start);
  }
}

TEST_CASE("M1: modified policy iteration with three backups, the first counted") {
  // What follows from the golden iterates (3.1744, 4.0268) and (5.6451302992, 6.4925591024): the change of the
  // improvement made from each, and its values up to the shift to the middle of the bounds.
  const double iterates[2][2] = {{3.1744, 4.0268}, {5.6451302992, 6.4925591024}};
  for (std::size_t k = 0; k < 2; ++k) {
    Vector<double> v(2), next(2);
    v << iterates[k][0], iterates[k][1];
    const Change change = bellman_optimality(m1(), view(v), view(next), {}, {.discount = .9});
    const auto solution =
        modified_policy_iteration(m1(), {.discount = .9, .tolerance = 1e-12, .backups = 3, .max_iterations = k + 2});
    CHECK(solution.iterations == k + 2);
    CHECK(solution.residual == close(change.residual(), 1e-9));
    CHECK(solution.bound == close(4.5 * (change.highest - change.lowest), 1e-6));
    for (int s = 0; s < 2; ++s)
      CHECK(solution.value[s] == close(next[s] + 4.5 * (change.highest + change.lowest), 1e-9));
  }
}

TEST_CASE("one backup is value iteration, enough of them are policy iteration") {
  Rng rng{33};
  for (int k = 0; k < 10; ++k) {
    const auto model = random_model({.states = 20, .branching = 3, .terminal = k % 2}, rng);
    for (const std::size_t limit : {1u, 2u, 5u, 1000u}) {
      const auto modified =
          modified_policy_iteration(model, {.discount = .95, .tolerance = 1e-9, .backups = 1, .max_iterations = limit});
      const auto plain = value_iteration(model, {.discount = .95, .tolerance = 1e-9, .max_iterations = limit});
      CHECK(modified.value == plain.value);
      CHECK(modified.policy == plain.policy);
      CHECK(modified.iterations == plain.iterations);
      CHECK(modified.bound == plain.bound);
    }
    // The policies that it evaluates are Howard's: it takes as many, and one more to see that the last is the best.
    const auto howard = policy_iteration(model, {.discount = .95});
    const auto many = modified_policy_iteration(
        model, {.discount = .95, .tolerance = 1e-9, .backups = (std::numeric_limits<std::size_t>::max)()});
    CHECK(many.converged);
    CHECK(many.policy == howard.policy);
    CHECK(many.iterations <= howard.iterations + 1);
    CHECK(error_of(many.value, howard.value) < 1e-9);
  }
}

TEST_CASE("modified policy iteration: the certified tolerance holds on 100 random models", "[L5]") {
  Rng rng{34};
  for (int k = 0; k < 100; ++k) {
    const auto model = random_model({.states = 3 + k % 11,
                                     .actions = 1 + k % 4,
                                     .branching = 1 + k % 5,
                                     .terminal = k % 3,
                                     .missing = k % 2 * .4,
                                     .reward = k % 7 == 0 ? 100. : 1.},
                                    rng);
    const double discount = k % 3 == 0 ? .5 : k % 3 == 1 ? .9 : .99, tolerance = k % 2 ? 1e-3 : 1e-8;
    const auto exact = solved_optimum(model, discount);
    for (const std::size_t backups : {2u, 7u, 50u}) {
      const auto solution =
          modified_policy_iteration(model, {.discount = discount, .tolerance = tolerance, .backups = backups});
      CAPTURE(k, backups);
      REQUIRE(solution.converged);
      CHECK(solution.bound <= tolerance);
      CHECK(error_of(solution.value, exact) <= solution.bound + 1e-11);
      for (const std::size_t limit : {1u, 2u, 4u}) {
        const auto early = modified_policy_iteration(
            model, {.discount = discount, .tolerance = 1e-14, .backups = backups, .max_iterations = limit});
        CHECK(error_of(early.value, exact) <= early.bound + 1e-11);
      }
    }
  }
}

TEST_CASE("discount 1: both find the shortest way", "[L2]") {
  const auto model = slippery(10);
  const std::vector<int> right{1, 1, 1, 1, 1, 1, 1, 1, 1, -1};
  const auto exact = solved_value(model, right, 1);
  const auto howard = policy_iteration(model, {.discount = 1});
  CHECK(howard.converged);
  CHECK(howard.policy == right);
  CHECK(error_of(howard.value, exact) < 1e-11);
  for (const std::size_t backups : {1u, 3u, 1000u}) {
    const auto modified = modified_policy_iteration(model, {.discount = 1, .tolerance = 1e-12, .backups = backups});
    CHECK(modified.converged);
    CHECK(std::isinf(modified.bound));
    CHECK(modified.policy == right);
    CHECK(error_of(modified.value, exact) < 1e-9);
  }
}

TEST_CASE("discount 1: staying for nothing counts as an end, and a way out is taken where it pays", "[L6]") {
  // 0 and 1 go to each other for nothing. From 0 one may leave for -1; from 1 to 2 for -2, and 2 ends with 5.
  const FiniteMdp model(
      4, 3,
      std::vector<ModelEntry>{{0, 0, 3, 1, -1}, {0, 1, 1, 1, 0}, {1, 0, 0, 1, 0}, {1, 2, 2, 1, -2}, {2, 0, 3, 1, 5}},
      std::vector<int>{3});
  const FiniteMdp poor(
      4, 3,
      std::vector<ModelEntry>{{0, 0, 3, 1, -1}, {0, 1, 1, 1, 0}, {1, 0, 0, 1, 0}, {1, 2, 2, 1, -2}, {2, 0, 3, 1, 1}},
      std::vector<int>{3});
  const double rich_value[] = {3, 3, 5, 0}, poor_value[] = {0, 0, 1, 0};
  for (const auto& [m, value] : {std::pair{&model, rich_value}, std::pair{&poor, poor_value}}) {
    const auto howard = policy_iteration(*m, {.discount = 1});
    const auto modified = modified_policy_iteration(*m, {.discount = 1, .tolerance = 1e-10});
    CHECK(howard.converged);
    CHECK(modified.converged);
    for (int s = 0; s < 4; ++s) {
      CHECK(howard.value[s] == close(value[s], 1e-12, 1e-12));
      CHECK(modified.value[s] == close(value[s], 1e-9, 1e-9));
    }
  }
  CHECK(policy_iteration(model, {.discount = 1}).policy == std::vector<int>{1, 2, 0, -1});
}

TEST_CASE("discount 1 without an end, and with reward for ever, is refused", "[L6]") {
  const FiniteMdp cycle(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1, -1}, {1, 0, 0, 1, -1}});
  const FiniteMdp mint(2, 2, std::vector<ModelEntry>{{0, 0, 0, 1, 1}, {0, 1, 1, 1, 0}}, std::vector<int>{1});
  for (const auto* model : {&cycle, &mint}) {
    CHECK(says(message_of([&] { policy_iteration(*model, {.discount = 1}); }), "state 0"));
    CHECK(says(message_of([&] { modified_policy_iteration(*model, {.discount = 1}); }), "state 0"));
  }
  // The model is episodic, the start isn't proper.
  const auto model = slippery(5);
  const FiniteMdp stuck(2, 2, std::vector<ModelEntry>{{0, 0, 0, 1, -1}, {0, 1, 1, 1, -5}}, std::vector<int>{1});
  CHECK(says(message_of([&] {
               policy_iteration(stuck, std::vector<int>{0, -1}, {.discount = 1});
             }),
             "never reaches a terminal state from state 0"));
  CHECK(policy_iteration(stuck, {.discount = 1}).value[0] == -5);
}

TEST_CASE("equal rewards, one state, dense and float models", "[L4]") {
  for (const double reward : {0., 1.}) {
    std::vector<ModelEntry> entries;
    for (int s = 0; s < 3; ++s)
      for (int a = 0; a < 2; ++a) entries.push_back({s, a, (s + a) % 3, 1, reward});
    const auto howard = policy_iteration(FiniteMdp(3, 2, entries), {.discount = .9});
    const auto modified = modified_policy_iteration(FiniteMdp(3, 2, entries), {.discount = .9});
    CHECK((howard.converged && modified.converged));
    CHECK(modified.iterations == 1);
    for (int s = 0; s < 3; ++s) {
      CHECK(howard.value[s] == close(reward * 10, 1e-12));
      CHECK(modified.value[s] == close(reward * 10, 1e-12));
    }
  }
  Rng rng{35};
  const auto model = random_model({.states = 15}, rng);
  const auto exact = solved_optimum(model, .9);
  CHECK(error_of(policy_iteration(dense(model), {.discount = .9}).value, exact) < 1e-12);
  CHECK(error_of(modified_policy_iteration(dense(model), {.discount = .9}).value, exact) < 1e-6);
  const auto single = modified_policy_iteration(model.as<float>(), {.discount = .9, .tolerance = 1e-4});
  CHECK(single.converged);
  CHECK(error_of(single.value.cast<double>(), exact) < 2e-4);
}

TEST_CASE("limits and progress end both, and say so") {
  Rng rng{36};
  const auto model = random_model({.states = 60, .actions = 5, .branching = 2}, rng);
  std::size_t calls = 0;
  const auto stop_at_two = [&](const ProgressEvent&) { return ++calls < 2; };
  const std::vector<int> start(60, 0);
  CHECK(policy_iteration(model, start, {.discount = .99}).iterations > 2);
  const auto howard = policy_iteration(model, start, {.discount = .99}, stop_at_two);
  CHECK_FALSE(howard.converged);
  CHECK(howard.iterations == 2);
  const auto exact = solved_optimum(model, .99);
  for (const std::size_t stop : {2u, 5u, 30u}) {  // in the middle of backups too, and the bound still holds
    calls = 0;
    const auto modified = modified_policy_iteration(model, {.discount = .99, .tolerance = 1e-13, .backups = 10},
                                                    [&](const ProgressEvent&) { return ++calls < stop; });
    CHECK_FALSE(modified.converged);
    CHECK(calls <= stop + 1);
    CHECK(error_of(modified.value, exact) <= modified.bound + 1e-11);
  }
  // Below what float can tell apart: ends all the same.
  const auto hopeless = modified_policy_iteration(
      model.as<float>(), {.discount = .999, .tolerance = 1e-30, .backups = (std::numeric_limits<std::size_t>::max)()});
  CHECK(hopeless.iterations < 10'000);
  CHECK(error_of(hopeless.value.cast<double>(), solved_optimum(model, .999)) < .05);
}

TEST_CASE("options and policies that don't fit are named") {
  const auto model = m1();
  CHECK(says(message_of([&] { policy_iteration(model, {.discount = 2}); }), "discount", "2"));
  CHECK(says(message_of([&] { policy_iteration(model, {.max_iterations = 0}); }), "max_iterations"));
  CHECK(says(message_of([&] { policy_iteration(model, std::vector<int>{0, 2}, {}); }), "policy[1] is 2"));
  CHECK(says(message_of([&] { modified_policy_iteration(model, {.backups = 0}); }), "backups"));
  CHECK(says(message_of([&] { modified_policy_iteration(model, {.tolerance = -1}); }), "tolerance"));
  const FiniteMdp missing(2, 2, std::vector<ModelEntry>{{0, 1, 1, 1, -5}, {1, 0, 0, 1, -1}});
  CHECK(policy_iteration(missing, {.discount = .5}).policy == std::vector<int>{1, 0});
  CHECK(modified_policy_iteration(missing, {.discount = .5}).policy == std::vector<int>{1, 0});
  const FiniteMdp huge(1, 1, std::vector<ModelEntry>{{0, 0, 0, 1, 1e308}});
  CHECK(says(message_of([&] { policy_iteration(huge); }), "overflow"));
}
