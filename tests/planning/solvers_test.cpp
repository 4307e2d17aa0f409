// Prioritized sweeping, the linear program, soft value iteration, and finite horizons.
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "planning/models.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/finite_horizon.hpp"
#include "valence/planning/linear_programming.hpp"
#include "valence/planning/prioritized_sweeping.hpp"
#include "valence/planning/soft_value_iteration.hpp"
#include "valence/planning/value_iteration.hpp"

using namespace valence;
using valence::test::m1;
using valence::test::message_of;
using valence::test::random_model;
using valence::test::says;
using valence::test::solved_optimum;

namespace {

using valence::test::close;

constexpr double infinity = std::numeric_limits<double>::infinity();

double error_of(const Vector<double>& v, const Eigen::VectorXd& exact) { return (v - exact).cwiseAbs().maxCoeff(); }

/// Left and right, and 1 for reaching the right end, where it is over.
FiniteMdp<double> chain(int states) {
  std::vector<ModelEntry> entries;
  for (int s = 0; s + 1 < states; ++s)
    for (int a = 0; a < 2; ++a) {
      const int to = a ? s + 1 : std::max(0, s - 1);
      entries.push_back({s, a, to, 1, to == states - 1 ? 1. : 0.});
    }
  return FiniteMdp(states, 2, entries, std::vector<int>{states - 1});
}

/// The MDP of the occupancy measures (policy_gradient.md, A9).
FiniteMdp<double> a9() {
  return FiniteMdp(2, 2,
                   std::vector<ModelEntry>{{0, 0, 0, .9, 1},
                                           {0, 0, 1, .1, 1},
                                           {0, 1, 0, .2, 0},
                                           {0, 1, 1, .8, 0},
                                           {1, 0, 0, .3, -.5},
                                           {1, 0, 1, .7, -.5},
                                           {1, 1, 0, .6, 2},
                                           {1, 1, 1, .4, 2}});
}

FiniteMdp<double> some_model(int k, Rng& rng) {
  return random_model({.states = 3 + k % 11,
                       .actions = 1 + k % 4,
                       .branching = 1 + k % 5,
                       .terminal = k % 3,
                       .missing = k % 2 * .4,
                       .reward = k % 7 == 0 ? 100. : 1.},
                      rng);
}

}  // namespace

TEST_CASE("prioritized sweeping: far fewer backups than value iteration where one state is rewarded") {
  const auto model = chain(50);
  const auto solution = prioritized_sweeping(model, {.discount = .9, .tolerance = 1e-8});
  CHECK(solution.converged);
  for (int s = 0; s < 49; ++s) CHECK(solution.value[s] == close(std::pow(.9, 48 - s), 1e-9, 1e-8));
  CHECK(solution.value[49] == 0);
  // Sweeps from 0 need one for each state that is to hear of the reward.
  const auto sweeps = value_iteration(model, {.discount = .9, .tolerance = 1e-8, .bounds = Bounds::norm});
  CHECK(error_of(solution.value, sweeps.value) < 1e-8);
  CHECK(solution.iterations * 5 < sweeps.iterations * 50);
  CHECK(solution.policy[0] == 1);
}

TEST_CASE("prioritized sweeping: the certified tolerance holds on 100 random models", "[L5]") {
  Rng rng{41};
  for (int k = 0; k < 100; ++k) {
    const auto model = some_model(k, rng);
    const double discount = k % 3 == 0 ? .5 : k % 3 == 1 ? .9 : .99, tolerance = k % 2 ? 1e-3 : 1e-8;
    const auto solution = prioritized_sweeping(model, {.discount = discount, .tolerance = tolerance});
    CAPTURE(k);
    REQUIRE(solution.converged);
    CHECK(solution.bound <= tolerance);
    const double rounding = 1e-14 * solution.value.cwiseAbs().maxCoeff() / (1 - discount);  // of both solutions
    CHECK(error_of(solution.value, solved_optimum(model, discount)) <= solution.bound + rounding);
    CHECK(solution.policy == greedy_policy(model, view(solution.value), {.discount = discount}));
  }
}

TEST_CASE("prioritized sweeping: the queue is a queue") {
  Rng rng{42};
  const int n = 37;
  detail::StateQueue<double> queue(n);
  std::vector<double> priority(n, 0.);
  for (int k = 0; k < 5000; ++k) {
    const int s = rng.below(n);
    const double p = rng.below(10) / 4.;  // many are equal
    if (rng.bernoulli(.5))
      queue.set(s, p), priority[static_cast<std::size_t>(s)] = p;
    else
      queue.add(s, p), priority[static_cast<std::size_t>(s)] += p;
    const auto best = std::max_element(priority.begin(), priority.end());
    CHECK(queue.top() == best - priority.begin());
    CHECK(queue.top_priority() == *best);
  }
}

TEST_CASE("prioritized sweeping: discount 1, limits, progress, dense models", "[L2]") {
  const auto total = prioritized_sweeping(chain(20), {.discount = 1, .tolerance = 1e-9});
  CHECK(total.converged);
  for (int s = 0; s < 19; ++s) CHECK(total.value[s] == 1);
  Rng rng{43};
  const auto model = random_model({.states = 30}, rng);
  CHECK(error_of(prioritized_sweeping(dense(model), {.discount = .9}).value, solved_optimum(model, .9)) < 1e-6);
  const auto limited = prioritized_sweeping(model, {.discount = .99, .max_backups = 100});
  CHECK_FALSE(limited.converged);
  CHECK(limited.iterations == 130);
  CHECK(limited.bound < infinity);
  std::size_t calls = 0;
  const auto stopped =
      prioritized_sweeping(model, {.discount = .99}, [&](const ProgressEvent&) { return ++calls < 3; });
  CHECK_FALSE(stopped.converged);
  CHECK(calls == 3);
  CHECK(stopped.iterations <= 4 * 30 + 1);
  CHECK(says(message_of([&] { prioritized_sweeping(model, {.discount = 1}); }), "state"));
  CHECK(says(message_of([&] { prioritized_sweeping(model, {.max_backups = 0}); }), "max_backups"));
}

TEST_CASE("the linear program of M1: both sides") {
  const FiniteMdp model = m1().with_initial({.6, .4});
  const auto solution = linear_programming(model, {.discount = .9});
  CHECK(solution.converged);
  CHECK(solution.value[0] == close(12.28813559322, 1e-12));
  CHECK(solution.value[1] == close(13.135593220339, 1e-12));
  CHECK(solution.policy == std::vector<int>{0, 1});
  CHECK(solution.occupancy.sum() == close(10, 1e-13));
  CHECK(solution.objective == close(.6 * 12.2881355932203 + .4 * 13.1355932203390, 1e-12));
  // Reduced costs: Q* - V*.
  CHECK(solution.reduced_cost(1, 0) == close(11.669491525424 - 12.28813559322, 1e-10));
  CHECK(solution.reduced_cost(0, 1) == close(11.940677966102 - 13.135593220339, 1e-10));
}

TEST_CASE("the linear program on random models: optimal, feasible, complementary") {
  Rng rng{44};
  std::size_t pivots = 0;
  for (int k = 0; k < 60; ++k) {
    auto model = some_model(k, rng);
    const double discount = k % 3 == 0 ? .5 : k % 3 == 1 ? .9 : .99;
    std::vector<double> initial(static_cast<std::size_t>(model.states()), 1. / model.states());
    if (k % 2) {
      for (double& p : initial) p = rng.exponential();
      const double sum = std::accumulate(initial.begin(), initial.end(), 0.);
      for (double& p : initial) p /= sum;
      model = model.with_initial(initial);
    }
    const auto solution = linear_programming(model, {.discount = discount, .tolerance = 1e-9});
    CAPTURE(k);
    REQUIRE(solution.converged);
    pivots += solution.iterations;
    CHECK(error_of(solution.value, solved_optimum(model, discount)) < 1e-9);
    const Matrix<double>&x = solution.occupancy, &c = solution.reduced_cost;
    const double size = 1 + solution.value.cwiseAbs().maxCoeff();
    Vector<double> flow = Vector<double>::Zero(model.states());
    double primal = 0, reward = 0;
    bool ends = false;
    for (int s = 0; s < model.states(); ++s) {
      primal += initial[static_cast<std::size_t>(s)] * solution.value[s];
      ends = ends || model.terminal(s);
      for (int a = 0; a < model.actions(); ++a) {
        if (model.terminal(s)) {
          CHECK((x(a, s) == 0 && c(a, s) == 0));
        } else if (!model.available(s, a)) {
          CHECK((x(a, s) == 0 && c(a, s) == -infinity));
        } else {
          CHECK(x(a, s) >= 0);
          CHECK(c(a, s) <= 1e-12 * size);                      // primal feasible
          CHECK(std::abs(x(a, s) * c(a, s)) <= 1e-11 * size);  // complementary
          CHECK((x(a, s) > 0) == (a == solution.policy[static_cast<std::size_t>(s)]));
          reward += x(a, s) * model.reward(s, a);
          flow[s] += x(a, s);
          for (const auto& to : model.successors(s, a)) flow[to.next] -= discount * to.probability * x(a, s);
        }
      }
    }
    for (int s = 0; s < model.states(); ++s)
      if (!model.terminal(s)) CHECK(flow[s] == close(initial[static_cast<std::size_t>(s)], 1e-10));  // dual feasible
    CHECK(reward == close(primal, 1e-10, 1e-10));                                                    // no gap
    CHECK(solution.objective == close(primal, 1e-12, 1e-12));
    if (!ends) CHECK(x.sum() == close(1 / (1 - discount), 1e-11));
  }
  CHECK(pivots > 30);  // it had to work
}

TEST_CASE("the linear program: limits, ties and a few hundred states") {
  Rng rng{45};
  const auto model = random_model({.states = 300, .actions = 4, .branching = 3}, rng);
  const auto solution = linear_programming(model, {.discount = .95});
  CHECK(solution.converged);
  CHECK(solution.iterations > 50);
  CHECK(error_of(solution.value, value_iteration(model, {.discount = .95, .tolerance = 1e-11}).value) < 1e-9);
  const auto limited = linear_programming(model, {.discount = .95, .max_iterations = 5});
  CHECK_FALSE(limited.converged);
  CHECK(limited.iterations == 5);
  CHECK(error_of(limited.value, solution.value) <= limited.bound);
  std::size_t calls = 0;
  const auto stopped = linear_programming(model, {.discount = .95}, [&](const ProgressEvent&) { return ++calls != 3; });
  CHECK_FALSE(stopped.converged);
  CHECK(stopped.iterations == 2);
  std::vector<ModelEntry> equal;
  for (int s = 0; s < 5; ++s)
    for (int a = 0; a < 3; ++a) equal.push_back({s, a, (s + 1) % 5, 1, 1});
  CHECK(linear_programming(FiniteMdp(5, 3, equal), {.discount = .99}).iterations == 0);
  const auto hopeless = linear_programming(model, {.discount = .9999, .tolerance = 1e-300});
  CHECK_FALSE(hopeless.converged);
  CHECK(hopeless.iterations < 10'000);
  CHECK(error_of(linear_programming(dense(m1()), {.discount = .9}).value, solved_optimum(m1(), .9)) < 1e-12);
  CHECK(says(message_of([&] { linear_programming(model, {.discount = 1}); }), "discount is 1"));
  CHECK(says(message_of([&] { linear_programming(model, {.tolerance = 0}); }), "tolerance"));
}

TEST_CASE("M1: soft value iteration") {
  const auto soft = soft_value_iteration(m1(), {.discount = .9, .temperature = .5, .tolerance = 1e-12});
  CHECK(soft.converged);
  CHECK(soft.value[0] == close(13.315331499444, 1e-12));
  CHECK(soft.value[1] == close(14.095916936938, 1e-12));
  // The fixed point, and the policy that goes with it.
  const Matrix<double> q = action_values(m1(), view(soft.value), {.discount = .9});
  for (int s = 0; s < 2; ++s) {
    double sum = 0;
    for (int a = 0; a < 2; ++a) {
      sum += std::exp(q(a, s) / .5);
      CHECK(soft.distribution(a, s) == close(std::exp((q(a, s) - soft.value[s]) / .5), 1e-10));
    }
    CHECK(.5 * std::log(sum) == close(soft.value[s], 1e-12));
    CHECK(soft.distribution.col(s).sum() == close(1, 1e-15));
  }
  CHECK(soft.policy == std::vector<int>{0, 1});
}

TEST_CASE("soft value iteration with a prior: golden policy, and the prior's weight") {
  const Matrix<double> uniform = Matrix<double>::Constant(2, 2, .5);
  const auto soft = soft_value_iteration(a9(), uniform, {.discount = .9, .temperature = .5, .tolerance = 1e-12});
  CHECK(soft.distribution(0, 0) == close(0.652847862928246, 1e-11));
  CHECK(soft.distribution(1, 0) == close(0.347152137071754, 1e-11));
  CHECK(soft.distribution(0, 1) == close(0.0119673372383735, 1e-11));
  CHECK(soft.distribution(1, 1) == close(0.988032662761626, 1e-11));
  // Against entropy as the bonus, a uniform prior takes temperature log 2 from each step.
  const auto entropy = soft_value_iteration(a9(), {.discount = .9, .temperature = .5, .tolerance = 1e-12});
  for (int s = 0; s < 2; ++s) CHECK(entropy.value[s] - soft.value[s] == close(.5 * std::log(2.) / .1, 1e-11));
  // A prior that is sure leaves nothing to choose; at a high temperature every policy is the prior.
  Matrix<double> sure(2, 2);
  sure << 0, 1, 1, 0;
  const auto forced = soft_value_iteration(a9(), sure, {.discount = .9, .temperature = .5, .tolerance = 1e-10});
  CHECK(forced.distribution == sure);
  CHECK(error_of(forced.value, test::solved_value(a9(), {1, 0}, .9)) < 1e-10);
  Matrix<double> prior(2, 2);
  prior << .3, .6, .7, .4;
  const auto hot = soft_value_iteration(a9(), prior, {.discount = .9, .temperature = 1e9, .tolerance = 1e-3});
  CHECK((hot.distribution - prior).cwiseAbs().maxCoeff() < 1e-8);
}

TEST_CASE("cold soft value iteration is value iteration, and never overflows") {
  Rng rng{46};
  for (int k = 0; k < 20; ++k) {
    const auto model = some_model(k, rng);
    const auto exact = solved_optimum(model, .9);
    for (const double temperature : {1e-2, 1e-6, 1e-300}) {
      const auto soft = soft_value_iteration(model, {.discount = .9, .temperature = temperature, .tolerance = 1e-9});
      CAPTURE(k, temperature);
      REQUIRE(soft.converged);
      const double most = temperature * std::log(4.) / .1;  // entropy bonuses, discounted
      CHECK((soft.value - exact).minCoeff() >= -2e-9);
      CHECK((soft.value - exact).maxCoeff() <= most + 2e-9);
      for (int s = 0; s < model.states(); ++s) {
        CHECK(soft.distribution.col(s).sum() == close(model.terminal(s) ? 0 : 1, 1e-14));
        for (int a = 0; a < model.actions(); ++a)
          if (!model.available(s, a)) CHECK(soft.distribution(a, s) == 0);
      }
    }
    const auto greedy = soft_value_iteration(model, {.discount = .9, .temperature = 1e-9, .tolerance = 1e-9});
    CHECK(error_of(test::solved_value(model, greedy.policy, .9), exact) < 1e-7);
  }
}

TEST_CASE("soft value iteration: the bound holds at every sweep", "[L5]") {
  Rng rng{47};
  for (int k = 0; k < 20; ++k) {
    const auto model = some_model(k, rng);
    const auto exact = soft_value_iteration(model, {.discount = .95, .temperature = .3, .tolerance = 1e-13});
    for (const std::size_t sweeps : {1u, 2u, 5u, 20u}) {
      const auto early = soft_value_iteration(
          model, {.discount = .95, .temperature = .3, .tolerance = 1e-14, .max_iterations = sweeps});
      CHECK(error_of(early.value, exact.value) <= early.bound + 1e-11);
      CHECK(early.iterations <= sweeps);
    }
  }
  std::size_t calls = 0;
  const auto stopped =
      soft_value_iteration(a9(), {.tolerance = 1e-12}, [&](const ProgressEvent&) { return ++calls < 2; });
  CHECK_FALSE(stopped.converged);
  CHECK(stopped.iterations == 2);
  CHECK(says(message_of([&] { soft_value_iteration(a9(), {.discount = 1}); }), "discount is 1"));
  CHECK(says(message_of([&] { soft_value_iteration(a9(), {.temperature = 0}); }), "temperature"));
  Matrix<double> wrong(2, 2);
  wrong << .5, .5, .5, .4;
  CHECK(says(message_of([&] { soft_value_iteration(a9(), wrong, {}); }), "state 1", "0.9"));
}

TEST_CASE("finite horizon: M1's sweeps are its steps, counted from the end") {
  const auto solution = finite_horizon(m1(), 3, {.discount = .9});
  CHECK(solution.converged);
  CHECK(solution.iterations == 3);
  const double value[2][4] = {{3.1744, 2.17, 1, 0}, {4.0268, 2.99, 2, 0}};
  for (int t = 0; t < 4; ++t)
    for (int s = 0; s < 2; ++s) CHECK(solution.value(s, t) == close(value[s][t], 1e-14));
  for (int t = 0; t < 3; ++t) CHECK((solution.policy(0, t) == 0 && solution.policy(1, t) == 1));
}

TEST_CASE("finite horizon: the best action depends on the time that is left") {
  // 0: 1 now (action 0), or on the way to 2, which pays 5 from 1 (action 1).
  const FiniteMdp model(3, 2, std::vector<ModelEntry>{{0, 0, 0, 1, 1}, {0, 1, 1, 1, 0}, {1, 0, 2, 1, 5}},
                        std::vector<int>{2});
  const auto solution = finite_horizon(model, 3);
  const double value[2][4] = {{6, 5, 1, 0}, {5, 5, 5, 0}};
  const int action[3] = {0, 1, 0};
  for (int t = 0; t < 4; ++t) {
    for (int s = 0; s < 2; ++s) CHECK(solution.value(s, t) == value[s][t]);
    CHECK(solution.value(2, t) == 0);
  }
  for (int t = 0; t < 3; ++t)
    CHECK((solution.policy(0, t) == action[t] && solution.policy(1, t) == 0 && solution.policy(2, t) == -1));
  // What is left at the end counts; a terminal state's entry doesn't.
  Vector<double> final_value(3);
  final_value << 10, -1, 1000;
  const auto ended = finite_horizon(model, 2, view(std::as_const(final_value)), {.discount = .5});
  CHECK(ended.value(0, 1) == 1 + .5 * 10);
  CHECK(ended.value(1, 1) == 5);
  CHECK(ended.value(0, 0) == 1 + .5 * 6);
  CHECK(ended.value(2, 2) == 0);
}

TEST_CASE("finite horizon: rewards that change with time") {
  const auto model = m1();
  const std::vector<FiniteMdp<double>> models{model, model.with_rewards({0, 7, 0, 0}),
                                              model.with_rewards({3, 0, 0, 1})};
  const auto solution = finite_horizon(models, {.discount = .9});
  const double last[2] = {3, 1};
  CHECK((solution.value(0, 2) == last[0] && solution.value(1, 2) == last[1]));
  const double middle[2] = {7 + .9 * (.2 * 3 + .8 * 1), .9 * (.9 * 3 + .1 * 1)};
  const double first[2] = {1 + .9 * (.7 * middle[0] + .3 * middle[1]), 2 + .9 * (.9 * middle[0] + .1 * middle[1])};
  for (int s = 0; s < 2; ++s) {
    CHECK(solution.value(s, 1) == close(middle[s], 1e-14));
    CHECK(solution.value(s, 0) == close(first[s], 1e-14));
  }
  CHECK(solution.policy(0, 1) == 1);
  CHECK(solution.policy(0, 2) == 0);
  CHECK(solution.policy(1, 1) == 1);
}

TEST_CASE("finite horizon: long ones reach the fixed point, stopped ones say so, bad ones are refused") {
  Rng rng{48};
  const auto model = random_model({.states = 9, .terminal = 2, .missing = .3}, rng);
  const auto solution = finite_horizon(model, 400, {.discount = .9});
  CHECK(error_of(solution.value.col(0), solved_optimum(model, .9)) < 1e-12);
  const auto stopped = finite_horizon(model, 10, {}, [](const ProgressEvent& e) { return e.step < 4; });
  CHECK_FALSE(stopped.converged);
  CHECK(stopped.iterations == 4);
  CHECK(std::isnan(stopped.value(0, 5)));
  CHECK(stopped.policy(0, 5) == -1);
  CHECK(stopped.value(0, 6) == finite_horizon(model, 10).value(0, 6));
  CHECK(finite_horizon(dense(m1()), 3, {.discount = .9}).value(0, 0) == close(3.1744, 1e-14));
  CHECK(says(message_of([&] { finite_horizon(model, 0); }), "horizon"));
  CHECK(says(message_of([&] { finite_horizon(model, 3, {.discount = 1.5}); }), "discount"));
  Vector<double> poisoned = Vector<double>::Zero(9);
  poisoned[3] = std::nan("");
  CHECK(says(message_of([&] { finite_horizon(model, 3, view(std::as_const(poisoned)), {}); }), "v[3]"));
  CHECK(says(message_of([&] { finite_horizon(std::vector<FiniteMdp<double>>{m1(), model}); }), "step 0", "2 states"));
}
