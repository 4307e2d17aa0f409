#include "valence/agent/loop.hpp"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/hypothesis_sets.hpp"
#include "valence/agent/rvi_q_learning.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/env/model_environment.hpp"
#include "valence/env/river_swim.hpp"
#include "valence/env/small_models.hpp"
#include "valence/function/tabular.hpp"
#include "valence/planning/relative_value_iteration.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

static_assert(HypothesisSet<FiniteClass> && HypothesisSet<TabularOptimism> && HypothesisSet<LinearOptimism>);

namespace {

using valence::test::close;

constexpr double infinity = std::numeric_limits<double>::infinity();

ModelEnvironment<FiniteMdp<double>> river() { return ModelEnvironment{river_swim()}; }

}  // namespace

TEST_CASE("The use of the specification: tables on RiverSwim") {
  Rng rng{1};
  const auto best = relative_value_iteration(river_swim());
  TabularOptimism hypotheses{{.states = 6, .actions = 2, .beta = 1.0, .span = 10}};
  const LoopRun run = loop(hypotheses, river(), 20'000, rng);
  const double regret = best.gain * 20'000 - run.rewards.sum();
  CHECK(average_reward_regret(best.gain, view(run.rewards))[19'999] == close(regret, 1e-9, 1e-8));
  CHECK(regret < .03 * best.gain * 20'000);
  CHECK(run.switches() < 60);
  CHECK(run.planned.front() == 0);
  CHECK(run.gains.size() == run.switches());
  CHECK(hypotheses.counts().sum() == 20'000);
  CHECK(hypotheses.gain() == run.gains.back());
  for (int s = 1; s < 6; ++s) CHECK(hypotheses.act(s) == 1);
}

TEST_CASE("A finite class of the truth alone: one switch, and the optimal policy's rewards") {
  for (const auto discrepancy : {Discrepancy::model, Discrepancy::value}) {
    FiniteClass truth({river_swim()}, {.discrepancy = discrepancy});
    Rng rng{2}, again{2};
    const LoopRun run = loop(truth, river(), 2000, rng);
    CHECK(run.switches() == 1);
    CHECK(run.gains[0] == close(.8571501427988575, 1e-12));
    auto env = river();
    env.reset(again);
    for (int t = 0; t < 2000; ++t) CHECK(run.rewards[t] == env.step(1, again).reward);
  }
}

TEST_CASE("An infinite beta excludes nothing and plans once; a finite one finds the truth") {
  std::vector<FiniteMdp<double>> rivers{river_swim(6, {.up = .6, .stay = .38}), river_swim(),
                                        river_swim(6, {.up = .2})};
  FiniteClass credulous(rivers, {.beta = infinity});
  Rng rng{3};
  CHECK(loop(credulous, river(), 5000, rng).switches() == 1);
  CHECK(credulous.chosen() == 0);
  for (const auto discrepancy : {Discrepancy::model, Discrepancy::value}) {
    FiniteClass checking(rivers, {.beta = 10, .discrepancy = discrepancy});
    Rng fresh{4};
    const LoopRun run = loop(checking, river(), 5000, fresh);
    CHECK(checking.chosen() == 1);
    CHECK(run.switches() == 2);
    CHECK(checking.excess(0) > 40);
    CHECK(checking.excess(1) < 10);
  }
}

TEST_CASE("The discrepancies of one step, by hand") {
  // Two candidates with the same rewards; the step is right from 2 to 3.
  const std::vector<FiniteMdp<double>> rivers{river_swim(6, {.up = .6, .stay = .38}), river_swim()};
  const auto v = relative_value_iteration(rivers[0], {.tolerance = 1e-13}),
             w = relative_value_iteration(rivers[1], {.tolerance = 1e-13});
  FiniteClass by_model(rivers, {.beta = infinity}),
      by_value(rivers, {.beta = infinity, .discrepancy = Discrepancy::value});
  for (FiniteClass* set : {&by_model, &by_value}) {
    set->plan();
    set->observe(2, 1, 0, 3);
  }
  const double first = rivers[0].expectation(2, 1, v.bias.data()) - v.bias[3];
  const double second = rivers[1].expectation(2, 1, v.bias.data()) - v.bias[3];
  CHECK(by_model.excess(0) == close((std::max)(0., first * first - second * second), 0, 1e-9));
  CHECK(by_model.excess(1) == close((std::max)(0., second * second - first * first), 0, 1e-9));
  // By value, f = 0 is measured with its own bias, and f = 1 with its own.
  const double third = rivers[0].expectation(2, 1, w.bias.data()) - w.bias[3];
  const double fourth = rivers[1].expectation(2, 1, w.bias.data()) - w.bias[3];
  CHECK(by_value.excess(0) == close((std::max)(0., first * first - second * second), 0, 1e-9));
  CHECK(by_value.excess(1) == close((std::max)(0., fourth * fourth - third * third), 0, 1e-9));
  // That is the Bellman error of the action values: Q - r - V(s') + J.
  const Matrix<double> q = differential_action_values(rivers[0], v.gain, view(v.bias));
  CHECK(q(1, 2) - v.bias[3] + v.gain == close(first, 1e-12));
}

TEST_CASE("The excess of a linear hypothesis is its distance to the regression in the norm of the data") {
  Rng rng{5};
  constexpr int d = 4, n = 60;
  Matrix<double> phi(d, n);
  Vector<double> y(n), w(d);
  for (double& x : view(phi)) x = rng.normal();
  for (double& x : view(y)) x = rng.normal();
  for (double& x : view(w)) x = rng.normal();
  const Matrix<double> lambda = phi * phi.transpose();
  Vector<double> fitted = phi * y;
  Cholesky(lambda).solve(view(std::as_const(fitted)), view(fitted));
  const auto loss = [&](const Vector<double>& weights) { return (phi.transpose() * weights - y).squaredNorm(); };
  CHECK(loss(w) - loss(fitted) == close((w - fitted).dot(lambda * (w - fitted)), 1e-12));
}

TEST_CASE("The elliptical potential is the growth of log det; scales and ridge") {
  Rng rng{6};
  Matrix<double> phi(3, 40);
  for (double& x : view(phi)) x = rng.normal();
  const auto log_det = [](const Matrix<double>& a) {  // of 3 x 3, by cofactors
    return std::log(a(0, 0) * (a(1, 1) * a(2, 2) - a(1, 2) * a(2, 1)) -
                    a(0, 1) * (a(1, 0) * a(2, 2) - a(1, 2) * a(2, 0)) +
                    a(0, 2) * (a(1, 0) * a(2, 1) - a(1, 1) * a(2, 0)));
  };
  const Matrix<double> unit = Matrix<double>::Identity(3, 3);
  for (const double ridge : {.5, 1., 7.})
    CHECK(elliptical_potential(phi, ridge) ==
          close(log_det(ridge * unit + phi * phi.transpose()) - log_det(ridge * unit), 1e-12));
  CHECK(elliptical_potential(Matrix<double>::Zero(3, 5)) == 0);
  CHECK(elliptical_potential(Matrix<double>::Ones(1, 7)) == close(std::log(8), 1e-13));
  CHECK(says(message_of([] { elliptical_potential(Matrix<double>(2, 0)); }), "vectors is 0"));
  CHECK(says(message_of([&] { elliptical_potential(phi, 0); }), "penalty is 0"));
}

TEST_CASE("Tables: what is planned on before and after some steps; the trigger") {
  TabularOptimism tables{{.states = 1, .actions = 2, .beta = 1, .span = 3}};
  tables.plan();
  // Unseen pairs lead back with reward 1: gain 1, and nothing is better than anything else.
  CHECK(tables.gain() == close(1, 1e-9));
  CHECK(tables.solution().bias.maxCoeff() == close(0, 0, 1e-9));
  CHECK_FALSE(tables.outdated());
  // Three steps of reward 1 to where it came from: Q = 1 + V - J = 0 against (1 + V) - J = 0.
  for (int k = 0; k < 3; ++k) tables.observe(0, 1, 1, 0);
  CHECK_FALSE(tables.outdated());
  tables.plan();
  CHECK(tables.gain() == close(1 + 1 / std::sqrt(3.0), 1e-6));
  CHECK(tables.act(0) == 1);
  // Rewards 0 from now on: n (Q - r^ + J)^2 = (3 + k) (3 / 3 + 3^-.5 - 3 / (3 + k))^2 passes 4 at k = 2.
  tables.observe(0, 1, 0, 0);
  CHECK_FALSE(tables.outdated());
  tables.observe(0, 1, 0, 0);
  CHECK(tables.outdated());
  tables.plan();
  CHECK_FALSE(tables.outdated());
  // The bonus is at most max_reward + span, and so is what it is added to.
  TabularOptimism wide{{.states = 2, .actions = 1, .beta = 1e6, .span = 3, .max_reward = 2}};
  wide.observe(0, 0, 2, 0);
  wide.plan();
  CHECK(wide.gain() == close(5, 1e-6));
}

TEST_CASE("Linear models on one-hot features are tables with a ridge; the determinant's trigger") {
  LinearOptimism linear{Matrix<double>::Identity(4, 4), 2, {.beta = 1, .span = 3, .ridge = 1}};
  linear.plan();
  CHECK(linear.gain() == close(1, 1e-9));  // bonus 1, no reward, nothing follows
  CHECK_FALSE(linear.outdated());
  linear.observe(0, 1, 1, 0);  // det: 1 to 2
  CHECK(linear.outdated());
  linear.plan();
  CHECK_FALSE(linear.outdated());
  // Reward 1/2 + bonus sqrt(1/2), and half of the bias of state 0.
  CHECK(linear.solution().values(1, 0) ==
        close(.5 + std::sqrt(.5) + .5 * linear.solution().bias[0] - linear.gain(), 0, 1e-6));
  linear.observe(0, 1, 1, 0);  // 2 to 3
  CHECK_FALSE(linear.outdated());
  linear.observe(0, 1, 1, 0);  // 3 to 4
  CHECK(linear.outdated());

  Rng rng{7};
  LinearOptimism river_model{Matrix<double>::Identity(12, 12), 2};
  const LoopRun run = loop(river_model, river(), 10'000, rng);
  CHECK(run.rewards.sum() > .8 * 10'000);
  CHECK(static_cast<double>(run.switches()) < 1 + 12 * std::log2(1 + 10'000 / 12.0));
}

TEST_CASE("A step of LOOP allocates nothing between plans") {
  TabularOptimism tables{{.states = 6, .actions = 2}};
  FiniteClass finite({river_swim(), river_swim(6, {.up = .3})});
  LinearOptimism linear{Matrix<double>::Identity(12, 12), 2};
  tables.plan(), finite.plan(), linear.plan();
  test::Allocations allocations;
  for (int k = 0; k < 10; ++k) {
    tables.observe(0, tables.act(0), 0, 1);
    finite.observe(0, finite.act(0), 0, 1);
    linear.observe(0, linear.act(0), 0, 1);
  }
  tables.plan();
  CHECK(allocations.count() == 0);
}

TEST_CASE("Regret: by hand") {
  const double rewards[] = {0, 1, 1, 0};
  const Vector<double> regret = average_reward_regret(.5, rewards);
  const double expected[] = {.5, 0, -.5, 0};
  for (int t = 0; t < 4; ++t) CHECK(regret[t] == expected[t]);
  CHECK(says(message_of([&] { average_reward_regret(infinity, rewards); }), "gain is inf"));
}

TEST_CASE("RVI Q-learning: one step by hand; two states, off policy; what it refuses") {
  Rng rng{8};
  RviQLearning agent{Tabular{2, 2}, EpsilonGreedy{1.}, {.step_size = .5, .reference_action = 1}};
  const Transition<int, int> first{0, 1, 2., 1, false, false}, second{1, 0, 1., 0, false, true};
  agent.learn(first, rng);
  CHECK(agent.values(0)[1] == 1);  // .5 (2 - 0 + 0)
  CHECK(agent.average_reward() == 1);
  agent.learn(second, rng);
  CHECK(agent.values(1)[0] == .5);  // .5 (1 - 1 + max(0, 1)): truncated is a step like any other

  // value.md 35: gain 1.125, bias (0, 1.25), Q((0, 0), .) = gain in RVI's normalisation.
  const FiniteMdp model(2, 2,
                        std::vector<ModelEntry>{{0, 0, 0, .9, 1},
                                                {0, 0, 1, .1, 1},
                                                {0, 1, 0, .4, 0},
                                                {0, 1, 1, .6, 0},
                                                {1, 0, 0, .2, .5},
                                                {1, 0, 1, .8, .5},
                                                {1, 1, 0, .7, 2},
                                                {1, 1, 1, .3, 2}},
                        {}, std::vector<double>{1, 0});
  RviQLearning learner{Tabular{2, 2},
                       EpsilonGreedy{1.},
                       {.step_size = Rate{[](std::int64_t t) { return 50.0 / (500.0 + static_cast<double>(t)); }}}};
  ModelEnvironment env{model};
  int state = env.reset(rng);
  for (int t = 0; t < 200'000; ++t) {
    const int action = learner.act(state, rng);
    const auto step = env.step(action, rng);
    learner.learn(Transition<int, int>{state, action, step.reward, step.next, false, false}, rng);
    state = step.next;
  }
  CHECK(learner.average_reward() == close(1.125, 0, .05));
  CHECK(learner.greedy(0) == 0);
  CHECK(learner.greedy(1) == 1);
  CHECK(learner.values(1)[1] - learner.values(0)[0] == close(1.25, 0, .1));

  const Transition<int, int> ends{0, 1, 2., 1, true, false}, nowhere{0, 2, 2., 1, false, false},
      infinite{0, 1, infinity, 1, false, false};
  CHECK(says(message_of([&] { agent.learn(ends, rng); }), "RviQLearning", "terminated"));
  CHECK(says(message_of([&] { agent.learn(nowhere, rng); }), "action is 2"));
  CHECK(says(message_of([&] { agent.learn(infinite, rng); }), "inf"));
  CHECK(agent.values(0)[1] == 1);
  CHECK(says(message_of([] {
               RviQLearning(Tabular{2, 2}, EpsilonGreedy{.1}, {.reference_action = 2});
             }),
             "reference_action is 2"));
  CHECK(message_of([] { RviQLearning(Tabular{2, 2}, EpsilonGreedy{.1}, {.reference_state = 2}); }) != "nothing thrown");
}

TEST_CASE("LOOP: bad input") {
  CHECK(says(message_of([] { FiniteClass({}); }), "FiniteClass: candidates is 0"));
  CHECK(says(message_of([] { FiniteClass({river_swim(), river_swim(5)}); }), "candidate 1 has 5 states"));
  CHECK(says(message_of([] { FiniteClass({river_swim()}, {.beta = 0}); }), "beta is 0"));
  CHECK(says(message_of([] { FiniteClass({river_swim()}, {.beta = std::nan("")}); }), "beta is nan"));
  CHECK(says(message_of([] { FiniteClass({river_swim()}, {.trigger = .5}); }), "trigger is 0.5"));
  const FiniteMdp apart(2, 1, std::vector<ModelEntry>{{0, 0, 0, 1, 1}, {1, 0, 1, 1, 2}});
  CHECK(says(message_of([&] { FiniteClass({apart}); }), "candidate 0", "differs between states by 1"));
  CHECK(says(message_of([] { TabularOptimism({.states = 0, .actions = 2}); }), "states is 0"));
  CHECK(says(message_of([] { TabularOptimism({.states = 2, .actions = 2, .span = 0}); }), "span is 0"));
  CHECK(says(message_of([] { TabularOptimism({.states = 2, .actions = 2, .beta = -1}); }), "beta is -1"));
  TabularOptimism tables{{.states = 2, .actions = 2}};
  CHECK(says(message_of([&] { tables.observe(2, 0, 0, 0); }), "state is 2"));
  CHECK(says(message_of([&] { tables.observe(0, -1, 0, 0); }), "action is -1"));
  CHECK(says(message_of([&] { tables.observe(0, 0, 1.5, 0); }), "reward is 1.5", "[0, 1]"));
  CHECK(tables.counts().sum() == 0);
  const Matrix<double> three = Matrix<double>::Ones(2, 3);
  CHECK(says(message_of([&] { LinearOptimism(three, 2); }), "features has 3 columns", "multiple of 2"));
  CHECK(says(message_of([&] { LinearOptimism(three, 3, {.ridge = 0}); }), "penalty is 0"));
  Rng rng{9};
  CHECK(says(message_of([&] { loop(tables, river(), 0, rng); }), "steps is 0"));
  TabularOptimism walker{{.states = 7, .actions = 1}};
  CHECK(
      says(message_of([&] { loop(walker, ModelEnvironment{random_walk()}, 1000, rng); }), "loop: step", "terminated"));
}
