// The average reward: relative value iteration and stationary distributions.
#include <cmath>
#include <limits>
#include <vector>

#include "planning/models.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/relative_value_iteration.hpp"

using namespace valence;
using valence::test::m1;
using valence::test::message_of;
using valence::test::random_model;
using valence::test::says;

namespace {

using valence::test::close;

/// The gain of every deterministic policy of a small model, from its stationary distribution by a dense solve.
template <class M>
double solved_gain(const M& model, const std::vector<int>& policy) {
  const int n = model.states();
  Eigen::MatrixXd a = Eigen::MatrixXd::Zero(n + 1, n);
  Eigen::VectorXd b = Eigen::VectorXd::Zero(n + 1), r(n);
  for (int s = 0; s < n; ++s) {
    const int act = policy[static_cast<std::size_t>(s)];
    r[s] = model.reward(s, act);
    a(s, s) -= 1;
    for (const auto& to : model.successors(s, act)) a(to.next, s) += to.probability;
  }
  a.row(n).setOnes();
  b[n] = 1;
  return r.dot(a.colPivHouseholderQr().solve(b));
}

/// Every action may lead to any state: one recurrent class, aperiodic.
FiniteMdp<double> mixing(int states, int actions, Rng& rng) {
  std::vector<ModelEntry> entries;
  for (int s = 0; s < states; ++s)
    for (int a = 0; a < actions; ++a) {
      std::vector<double> p(static_cast<std::size_t>(states));
      double sum = 0;
      for (double& x : p) sum += x = .01 + std::pow(rng.uniform(), 4);
      const double r = rng.uniform(-1, 1);
      for (int to = 0; to < states; ++to) entries.push_back({s, a, to, p[static_cast<std::size_t>(to)] / sum, r});
    }
  return FiniteMdp(states, actions, entries);
}

/// There and back, 3 a step at 1 and none at 0; or wait at 0 for 1.
FiniteMdp<double> pendulum() {
  return FiniteMdp(2, 2, std::vector<ModelEntry>{{0, 0, 1, 1, 0}, {0, 1, 0, 1, 1}, {1, 0, 0, 1, 3}});
}

}  // namespace

TEST_CASE("M1: gain, bias, policy, stationary distribution") {
  for (const double step_size : {1., .9, .3}) {
    const auto solution = relative_value_iteration(m1(), {.tolerance = 1e-13, .step_size = step_size});
    CHECK(solution.converged);
    CHECK(solution.gain == close(1.25, 1e-12));
    CHECK(solution.bias[0] == 0);
    CHECK(solution.bias[1] == close(.833333333333333, 1e-11));
    CHECK(solution.policy == std::vector<int>{0, 1});
    CHECK(solution.bound <= 1e-13);
  }
  const auto moved = relative_value_iteration(m1(), {.tolerance = 1e-13, .reference = 1});
  CHECK(moved.bias[1] == 0);
  CHECK(moved.bias[0] == close(-.833333333333333, 1e-11));
  const auto x = stationary_distribution(m1(), std::vector<int>{0, 1});
  CHECK(x[0] == close(.75, 1e-15));
  CHECK(x[1] == close(.25, 1e-15));
  Matrix<double> policy(2, 2);
  policy << .8, .1, .2, .9;
  const auto mixed = stationary_distribution(m1(), policy);
  CHECK(mixed[0] == close(0.68253968254, 1e-10));
  CHECK(mixed[1] == close(0.31746031746, 1e-10));
}

TEST_CASE("the gain is the best of all policies, and the bias solves its equation") {
  Rng rng{51};
  for (int k = 0; k < 20; ++k) {
    const auto model = mixing(4, 3, rng);
    double best = -1e9;
    for (int code = 0; code < 81; ++code)
      best = std::max(best, solved_gain(model, {code % 3, code / 3 % 3, code / 9 % 3, code / 27}));
    const auto solution = relative_value_iteration(model, {.tolerance = 1e-11});
    REQUIRE(solution.converged);
    CHECK(solution.gain == close(best, 0, 1e-11));
    CHECK(solved_gain(model, solution.policy) == close(best, 0, 1e-10));
    for (int s = 0; s < 4; ++s) {
      double value = -1e9;
      for (int a = 0; a < 3; ++a)
        value = std::max(value, model.reward(s, a) + model.expectation(s, a, solution.bias.data()));
      CHECK(value - solution.bias[s] == close(best, 0, 1e-10));
    }
    // The certificate holds at every sweep.
    for (const std::size_t sweeps : {1u, 2u, 4u, 9u}) {
      const auto early = relative_value_iteration(model, {.tolerance = 1e-14, .max_iterations = sweeps});
      CHECK(std::abs(early.gain - best) <= early.bound + 1e-14);
      CHECK_FALSE(early.converged);
    }
    CHECK(relative_value_iteration(dense(model), {.tolerance = 1e-11}).gain == close(best, 0, 1e-11));
    CHECK(relative_value_iteration(model.as<float>(), {.tolerance = 1e-5}).gain == close(best, 0, 2e-5));
  }
}

TEST_CASE("periodic chains: the default step converges, the full one says that it doesn't") {
  const auto slowed = relative_value_iteration(pendulum(), {.tolerance = 1e-12});
  CHECK(slowed.converged);
  CHECK(slowed.gain == close(1.5, 1e-12));
  CHECK(slowed.bias[1] == close(1.5, 1e-11));
  CHECK(slowed.policy == std::vector<int>{0, 0});
  const auto full = relative_value_iteration(pendulum(), {.step_size = 1});
  CHECK_FALSE(full.converged);
  CHECK(full.iterations < 10'000);
  CHECK(std::abs(full.gain - 1.5) <= full.bound);
}

TEST_CASE("two classes with gains of their own: reported, not hung") {
  const FiniteMdp model(3, 2,
                        std::vector<ModelEntry>{{0, 0, 0, 1, 1}, {1, 0, 1, 1, 4}, {2, 0, 0, 1, 0}, {2, 1, 1, 1, 0}});
  const auto solution = relative_value_iteration(model);
  CHECK_FALSE(solution.converged);
  CHECK(solution.iterations < 10'000);
  CHECK(solution.bound == close(1.5, 1e-9));
  CHECK(solution.gain == close(2.5, 1e-9));
  CHECK(says(message_of([&] {
               stationary_distribution(model, std::vector<int>{0, 0, 0});
             }),
             "two recurrent classes", "state 0", "state 1"));
}

TEST_CASE("transient states, equal rewards, limits, progress", "[L4]") {
  // 2 falls into 0 and 1.
  const FiniteMdp model(
      3, 1,
      std::vector<ModelEntry>{{2, 0, 0, .5, 9}, {2, 0, 2, .5, 9}, {0, 0, 1, 1, 1}, {1, 0, 0, .5, 2}, {1, 0, 1, .5, 2}});
  const std::vector<int> policy(3, 0);
  const auto x = stationary_distribution(model, policy);
  CHECK(x[0] == close(1. / 3, 1e-15));
  CHECK(x[1] == close(2. / 3, 1e-15));
  CHECK(x[2] == 0);
  const auto solution = relative_value_iteration(model, {.tolerance = 1e-12});
  CHECK(solution.gain == close(5. / 3, 1e-12));
  CHECK(solution.bias[2] == close(2 * (9 - 5. / 3), 1e-10));
  const FiniteMdp equal(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1, 7}, {1, 0, 0, 1, 7}});
  const auto once = relative_value_iteration(equal, {.step_size = 1});
  CHECK(once.iterations == 1);
  CHECK(once.gain == 7);
  CHECK(once.bound == 0);
  Rng rng{52};
  const auto slow = mixing(6, 2, rng);
  std::size_t calls = 0;
  const auto stopped =
      relative_value_iteration(slow, {.tolerance = 1e-14}, [&](const ProgressEvent&) { return ++calls < 3; });
  CHECK(stopped.iterations == 3);
  CHECK_FALSE(stopped.converged);
}

TEST_CASE("stationary distributions: the fixed point, to rounding, however slow the chain") {
  Rng rng{53};
  for (int k = 0; k < 20; ++k) {
    const auto model = mixing(3 + 5 * k, 1, rng);
    const std::vector<int> policy(static_cast<std::size_t>(model.states()), 0);
    const auto x = stationary_distribution(model, policy);
    CHECK(x.sum() == close(1, 1e-14));
    CHECK(x.minCoeff() > 0);
    Vector<double> next = Vector<double>::Zero(x.size());
    for (int s = 0; s < model.states(); ++s)
      for (const auto& to : model.successors(s, 0)) next[to.next] += to.probability * x[s];
    for (int s = 0; s < model.states(); ++s) CHECK(next[s] == close(x[s], 1e-13));
  }
  // Leaves 0 once in 1e12 steps and 1 once in 3e12: entries are right to the last digits all the same.
  const double e = 1e-12;
  const FiniteMdp slow(2, 1,
                       std::vector<ModelEntry>{{0, 0, 1, 3 * e}, {0, 0, 0, 1 - 3 * e}, {1, 0, 0, e}, {1, 0, 1, 1 - e}});
  const auto x = stationary_distribution(slow, std::vector<int>{0, 0});
  CHECK(x[0] == close(.25, 1e-15));
  CHECK(x[1] == close(.75, 1e-15));
}

TEST_CASE("models that end, and options out of range, are refused") {
  const FiniteMdp ends(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1, 1}}, std::vector<int>{1});
  CHECK(says(message_of([&] { relative_value_iteration(ends); }), "state 1 is terminal"));
  CHECK(says(message_of([&] { stationary_distribution(ends, std::vector<int>{0, 0}); }), "state 1 is terminal"));
  CHECK(says(message_of([&] { relative_value_iteration(m1(), {.step_size = 0}); }), "step_size"));
  CHECK(says(message_of([&] { relative_value_iteration(m1(), {.step_size = 1.5}); }), "step_size"));
  CHECK(says(message_of([&] { relative_value_iteration(m1(), {.reference = 2}); }), "reference", "2"));
  CHECK(says(message_of([&] { relative_value_iteration(m1(), {.tolerance = std::nan("")}); }), "tolerance"));
  CHECK(says(message_of([&] { stationary_distribution(m1(), std::vector<int>{0, 2}); }), "policy[1] is 2"));
}
