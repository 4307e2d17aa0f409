#include "valence/agent/fitted_q.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/residual.hpp"
#include "valence/function/spectral.hpp"
#include "valence/value/robust_consistency.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

/// A corridor of places 0 ... 3, one-hot; action 1 goes right and ends at 3 with reward 1, action 0 stays.
struct Corridor {
  Matrix<double> states = Matrix<double>::Identity(4, 4).leftCols(3);
  std::vector<ActionOutcomes<double>> models = std::vector<ActionOutcomes<double>>(1);
  Corridor() {
    models[0] = {.next_states = Matrix<double>::Zero(4, 6), .rewards = Vector<double>::Zero(6)};
    models[0].terminated.resize(6);
    for (Eigen::Index j = 0; j < 3; ++j) models[0].next_states(j, 2 * j) = models[0].next_states(j + 1, 2 * j + 1) = 1;
    models[0].rewards[5] = 1, models[0].terminated[5] = true;
  }
};
const Linear<Identity> table{Identity{4}, 2};

}  // namespace

TEST_CASE("fitted q: one update by hand") {
  // One state s = 2, one action, Q = theta s = 0: the target is the reward, and the gradient 2 (Q - r) s.
  const Linear<Identity> f{Identity{1}, 1};
  FittedQ learner{f, Sgd{.step_size = 0.1}, {.discount = 0.5, .updates = 1, .batch = 3}};
  const Matrix<double> state = Matrix<double>::Constant(1, 1, 2);
  const std::vector<ActionOutcomes<double>> models{
      {.next_states = Matrix<double>::Constant(1, 1, 4), .rewards = Vector<double>::Constant(1, 7)}};
  Rng rng{1};
  CHECK(learner.iterate(state, models, rng) == close(49.0));
  CHECK(learner.theta()[0] == close(0.1 * 2 * 7 * 2));
  // Then the target is 7 + 0.5 * 2.8 * 4 = 12.6, against 5.6.
  CHECK(learner.iterate(state, models, rng) == close(49.0));
  CHECK(learner.theta()[0] == close(2.8 + 0.1 * 2 * 7 * 2));
}

TEST_CASE("fitted q: the corridor's optimal values, and the way to its end") {
  const Corridor c;
  FittedQ learner{table, Sgd{.step_size = 0.5}, {.discount = 0.9, .updates = 200, .batch = 6}};
  Rng rng{2};
  for (int k = 0; k < 12; ++k) learner.iterate(c.states, c.models, rng);
  const Matrix<double> q = learner.values(c.states);
  for (Eigen::Index j = 0; j < 3; ++j) {
    CHECK(q(1, j) == close(std::pow(0.9, 2 - j), 0, 1e-6));
    CHECK(q(0, j) == close(std::pow(0.9, 3 - j), 0, 1e-6));
    CHECK(learner.greedy(std::span<const double>(c.states.col(j).data(), 4)) == 1);
  }
}

TEST_CASE("fitted q: where an outcome ends, its next state is not worth anything") {
  Corridor c;
  c.models[0].terminated.clear();  // now place 3 may be worth something: 0, because nothing follows
  c.models[0].terminated.resize(6, true);
  FittedQ learner{table, Sgd{.step_size = 0.5}, {.discount = 0.9, .updates = 200, .batch = 6}};
  Rng rng{3};
  for (int k = 0; k < 5; ++k) learner.iterate(c.states, c.models, rng);
  const Matrix<double> q = learner.values(c.states);
  CHECK(q(1, 2) == close(1.0, 0, 1e-6));
  CHECK(q(1, 1) == close(0.0, 0, 1e-6));
}

TEST_CASE("fitted q: with several models each target draws one") {
  // Rewards 0 and 1, no future: a value near one of them in every iteration, and over iterations both.
  const Linear<Identity> f{Identity{1}, 1};
  const Matrix<double> state = Matrix<double>::Ones(1, 1);
  std::vector<ActionOutcomes<double>> models(2);
  for (int m = 0; m < 2; ++m)
    models[static_cast<std::size_t>(m)] = {.next_states = state, .rewards = Vector<double>::Constant(1, m)};
  FittedQ learner{f, Sgd{.step_size = 0.5}, {.discount = 0, .updates = 1, .batch = 1}};  // moves all the way
  Rng rng{4};
  int ones = 0;
  for (int k = 0; k < 400; ++k) {
    learner.iterate(state, models, rng);
    REQUIRE((learner.theta()[0] == 0 || learner.theta()[0] == 1));
    ones += learner.theta()[0] == 1;
  }
  CHECK(std::abs(ones - 200) < 40);
}

TEST_CASE("fitted q: switched-off regularisers give the plain run to the bit, others hold the value down") {
  using Net = Mlp<float>;
  const Net net{{2, 16, 3}, relu};
  Rng data{5};
  Matrix<float> states(2, 20);
  data.fill_normal(view(states));
  std::vector<ActionOutcomes<float>> models(1);
  models[0] = {.next_states = Matrix<float>(2, 60), .rewards = Vector<float>(60)};
  data.fill_normal(view(models[0].next_states));
  data.fill_normal(view(models[0].rewards));
  const auto run = [&](const auto& optimizer, auto regulariser) {
    FittedQ learner{net, optimizer, {.discount = 0.9, .updates = 30, .batch = 8}, Rng{6}};
    Rng rng{7};
    for (int k = 0; k < 5; ++k) learner.iterate(states, models, rng, regulariser);
    return std::vector<float>(learner.theta().begin(), learner.theta().end());
  };
  const Adam adam{.step_size = 3e-3};
  const auto plain = run(adam, NoRegulariser{});
  CHECK(run(adam, RobustRegulariser<Net>{{.weight = 0}, {}}) == plain);
  CHECK(run(SpectralProjection{adam, net, {.max_sigma = 1e6}}, NoRegulariser{}) == plain);
  const double bound = lipschitz_bound(net, plain);
  CHECK(lipschitz_bound(net, run(adam, RobustRegulariser<Net>{{.weight = 5}, {.radius = 0.3}})) < bound);
  CHECK(lipschitz_bound(net, run(SpectralProjection{adam, net, {.max_sigma = 0.5}}, NoRegulariser{})) < 0.26);
}

TEST_CASE("fitted q: a saved learner goes on to the bit, and iterations allocate nothing") {
  const Corridor c;
  const Mlp<double> net{{4, 8, 2}, relu};
  const FittedQOptions options{.updates = 10, .batch = 4};
  FittedQ learner{net, Adam{}, options, Rng{8}}, copy{net, Adam{}, options, Rng{9}};
  Rng rng{10};
  learner.iterate(c.states, c.models, rng);
  from_bytes(to_bytes(learner), copy);
  Rng same = rng;
  const Allocations allocations;
  learner.iterate(c.states, c.models, rng);
  CHECK(allocations.count() == 0);
  copy.iterate(c.states, c.models, same);
  CHECK(same_state(learner, copy));
  CHECK(learner.updates() == 20);
}

TEST_CASE("fitted q: bad input is refused before anything changes") {
  const auto made = [](const FittedQOptions& options) { return message_of([&] { FittedQ{table, Adam{}, options}; }); };
  CHECK(says(made({.discount = 1.1}), "discount is 1.1"));
  CHECK(says(made({.updates = 0}), "updates is 0"));
  CHECK(says(made({.batch = 0}), "batch is 0"));
  CHECK(says(made({.max_gradient_norm = -1}), "max_gradient_norm"));
  const Corridor good;
  FittedQ learner{table, Adam{}};
  Rng rng{11};
  const Rng before = rng;
  const auto message = [&](const Matrix<double>& states, const std::vector<ActionOutcomes<double>>& models) {
    return message_of([&] { learner.iterate(states, models, rng); });
  };
  CHECK(says(message(Matrix<double>(4, 0), good.models), "states has no columns"));
  CHECK(says(message(good.states, {}), "models is empty"));
  CHECK(says(message(good.states.leftCols(2), good.models), "next_states is 4 x 6; expected 4 x 4"));
  auto bad = good.models;
  bad[0].rewards[3] = std::numeric_limits<double>::infinity();
  CHECK(says(message(good.states, bad), "rewards[3] is inf"));
  bad = good.models;
  bad[0].terminated.pop_back();
  CHECK(says(message(good.states, bad), "terminated has 5"));
  CHECK(rng == before);
  CHECK(learner.updates() == 0);
  CHECK(says(message_of([&] { learner.greedy(std::vector<double>{1, 2}); }), "x is 2 x 1"));
}

TEST_CASE("model rollouts: columns of states and actions") {
  Matrix<double> states(2, 2);
  states << 1, 2, 3, 4;
  const Matrix<double> x = state_action_columns<double>(states, std::array{2, 0}, 3);
  Matrix<double> expected(5, 2);
  expected << 1, 2, 3, 4, 0, 1, 0, 0, 1, 0;
  CHECK(x == expected);
  CHECK(says(message_of([&] { state_action_columns<double>(states, std::array{3, 0}, 3); }), "taken[0] is 3"));
  CHECK(says(message_of([&] { state_action_columns<double>(states, std::array{-1, 0}, 3); }), "taken[0] is -1"));
  CHECK(says(message_of([&] { state_action_columns<double>(states, std::array{1}, 3); }), "taken has 1"));
}

TEST_CASE("model rollouts: outcomes and states of models that are known") {
  // s' = s + weight of the action, of two members whose weights differ in sign. theta: outputs x (s, a0, a1).
  const Residual dynamics{Linear{Identity{3}, 1}};
  ModelEnsemble ensemble{dynamics};
  ensemble.members = {{0, 1, 10}, {0, -1, -10}};
  Matrix<double> states(1, 2);
  states << 5, 7;
  const auto outcomes =
      imagine_outcomes(ensemble, states, 2, [](auto s, int a, auto next) { return 100 * s[0] + 1000 * a + next[0]; });
  REQUIRE(outcomes.size() == 2);
  for (int m = 0; m < 2; ++m) {
    const double sign = m == 0 ? 1 : -1;
    for (Eigen::Index k = 0; k < 4; ++k) {
      const double s = states(0, k / 2), next = s + sign * (k % 2 == 0 ? 1 : 10);
      const auto& o = outcomes[static_cast<std::size_t>(m)];
      CHECK(o.next_states(0, k) == next);
      CHECK(o.rewards[k] == 100 * s + 1000 * static_cast<double>(k % 2) + next);
    }
  }
  Rng rng{12};
  const auto imagined = imagine_states(ensemble, states, 2, {.count = 200, .length = 4, .bound = 12}, rng);
  REQUIRE(imagined.cols() == 200);
  CHECK(Matrix<double>(imagined.leftCols(2)) == states);
  CHECK(imagined.cwiseAbs().maxCoeff() == 12);  // cut there
  for (Eigen::Index k = 2; k < 200; k += 4) {   // a rollout begins a step away from a start
    const double s = std::abs(imagined(0, k));
    CHECK((s == 4 || s == 6 || s == 8 || s == 5 || s == 3 || s == 12));
  }
}

TEST_CASE("model rollouts: bad input is refused") {
  ModelEnsemble ensemble{Residual{Linear{Identity{3}, 1}}};
  const Matrix<double> states = Matrix<double>::Ones(1, 2);
  Rng rng{13};
  const auto outcomes = [&](int actions, auto reward) {
    return message_of([&] { imagine_outcomes(ensemble, states, actions, reward); });
  };
  const auto nothing = [](auto, int, auto) { return 0.0; };
  CHECK(says(outcomes(2, nothing), "number of models is 0"));
  ensemble.members = {{0, 1, 1}};
  CHECK(says(outcomes(3, nothing), "1 x 3; expected 1 x 4"));
  CHECK(says(outcomes(0, nothing), "actions is 0"));
  CHECK(says(outcomes(2, [](auto, int, auto) { return std::nan(""); }), "rewards[0] is nan"));
  const auto imagine = [&](const Matrix<double>& starts, const ImagineOptions& options) {
    return message_of([&] { imagine_states(ensemble, starts, 2, options, rng); });
  };
  CHECK(says(imagine(Matrix<double>(1, 0), {}), "number of starts is 0"));
  CHECK(says(imagine(states, {.count = 1}), "count is 1; expected at least 2"));
  CHECK(says(imagine(states, {.length = 0}), "length is 0"));
  CHECK(says(imagine(states, {.bound = 0}), "bound is 0"));
  ensemble.members[0][1] = std::numeric_limits<double>::infinity();
  CHECK(says(imagine(states, {.count = 100}), "expected a finite number"));
}
