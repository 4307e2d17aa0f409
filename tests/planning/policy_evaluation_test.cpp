// Policy evaluation, by sweeps and by a direct solve: certified bounds below discount 1 and at it, proper policies.
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "planning/models.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/direct_evaluation.hpp"
#include "valence/planning/policy_evaluation.hpp"

using namespace valence;
using valence::test::m1;
using valence::test::message_of;
using valence::test::random_model;
using valence::test::says;
using valence::test::solved_value;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

/// M1's policy, actions x states.
Matrix<double> m1_policy() {
  Matrix<double> policy(2, 2);
  policy << .8, .1, .2, .9;
  return policy;
}

/// A policy with an action for each state, -7 in terminal ones, where it must not be read.
template <class M>
std::vector<int> random_policy(const M& model, Rng& rng) {
  std::vector<int> policy(static_cast<std::size_t>(model.states()), -7);
  for (int s = 0; s < model.states(); ++s)
    while (!model.terminal(s)) {
      policy[static_cast<std::size_t>(s)] = rng.below(model.actions());
      if (model.available(s, policy[static_cast<std::size_t>(s)])) break;
    }
  return policy;
}

/// A distribution over the available actions of each state; NaN in terminal ones.
template <class M>
Matrix<double> random_mixture(const M& model, Rng& rng) {
  Matrix<double> policy = Matrix<double>::Constant(model.actions(), model.states(), poison);
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) continue;
    for (int a = 0; a < model.actions(); ++a) policy(a, s) = model.available(s, a) ? rng.exponential() : 0;
    policy.col(s) /= policy.col(s).sum();
  }
  return policy;
}

/// The value of a stochastic policy by a dense solve, from the table of the model.
template <class M>
Eigen::VectorXd solved_mixture(const M& model, const Matrix<double>& policy, double discount) {
  const int n = model.states();
  Eigen::MatrixXd a = Eigen::MatrixXd::Identity(n, n);
  Eigen::VectorXd b = Eigen::VectorXd::Zero(n);
  for (int s = 0; s < n; ++s)
    for (int act = 0; !model.terminal(s) && act < model.actions(); ++act)
      if (model.available(s, act)) {
        b[s] += policy(act, s) * model.reward(s, act);
        for (const auto& to : model.successors(s, act)) a(s, to.next) -= discount * policy(act, s) * to.probability;
      }
  return a.partialPivLu().solve(b);
}

/// Every action ends the episode with probability `leak`, else leads to random states.
FiniteMdp<double> leaking(int states, int actions, double leak, Rng& rng) {
  std::vector<ModelEntry> entries;
  for (int s = 0; s + 1 < states; ++s)
    for (int a = 0; a < actions; ++a) {
      const double r = rng.normal(), p = rng.uniform(.1, .9) * (1 - leak);
      entries.push_back({s, a, states - 1, leak, r});
      entries.push_back({s, a, rng.below(states - 1), p, r});
      entries.push_back({s, a, rng.below(states - 1), 1 - leak - p, r});
    }
  return FiniteMdp(states, actions, entries, std::vector<int>{states - 1});
}

double error_of(const Vector<double>& v, const Eigen::VectorXd& exact) { return (v - exact).cwiseAbs().maxCoeff(); }

}  // namespace

TEST_CASE("M1: the value of a stochastic policy, by sweeps and solved") {
  const auto swept = policy_evaluation(m1(), m1_policy(), {.discount = .9, .tolerance = 1e-12});
  const auto solved = direct_policy_evaluation(m1(), m1_policy(), {.discount = .9});
  CHECK(swept.converged);
  CHECK(solved.converged);
  for (const auto& v : {swept.value, solved.value}) {
    CHECK(v[0] == close(11.063209076175, 1e-12));
    CHECK(v[1] == close(11.914100486224, 1e-12));
  }
  CHECK(swept.policy.empty());
  const std::vector<int> first{0, 0};
  const auto value = policy_evaluation(m1(), first, {.discount = .9, .tolerance = 1e-12});
  CHECK(value.value[0] == close(8.353658536585, 1e-12));
  CHECK(value.value[1] == close(7.743902439024, 1e-12));
  CHECK(value.policy == first);
}

TEST_CASE("both kinds of evaluation agree with a dense solve, for both kinds of policy", "[L1]") {
  Rng rng{21};
  for (int k = 0; k < 60; ++k) {
    const auto model = random_model({.states = 3 + k % 17,
                                     .actions = 1 + k % 4,
                                     .branching = 1 + k % 5,
                                     .terminal = k % 3,
                                     .missing = k % 2 * .4,
                                     .reward = k % 7 == 0 ? 100. : 1.},
                                    rng);
    const double discount = k % 4 == 0 ? 0. : k % 4 == 1 ? .5 : k % 4 == 2 ? .9 : .99;
    CAPTURE(k, discount);
    const std::vector<int> policy = random_policy(model, rng);
    const Matrix<double> mixture = random_mixture(model, rng);
    const auto check = [&](const auto& given, const Eigen::VectorXd& exact) {
      const auto swept = policy_evaluation(model, given, {.discount = discount, .tolerance = 1e-11});
      const auto solved = direct_policy_evaluation(model, given, {.discount = discount});
      REQUIRE(swept.converged);
      REQUIRE(solved.converged);
      const double size = 1 + exact.cwiseAbs().maxCoeff();
      CHECK(error_of(swept.value, exact) <= 1e-11 + 1e-13 * size);
      CHECK(error_of(solved.value, exact) <= 1e-13 * size);
      for (int s = 0; s < model.states(); ++s)
        if (model.terminal(s)) CHECK((swept.value[s] == 0 && solved.value[s] == 0));
    };
    check(std::span<const int>(policy), solved_value(model, policy, discount));
    check(mixture, solved_mixture(model, mixture, discount));
  }
}

TEST_CASE("a stochastic policy that is sure of itself is the deterministic one, and a dense model the sparse one") {
  Rng rng{22};
  const auto model = random_model({.states = 12, .actions = 3}, rng);
  const std::vector<int> policy = random_policy(model, rng);
  Matrix<double> sure = Matrix<double>::Zero(3, 12);
  for (int s = 0; s < 12; ++s) sure(policy[static_cast<std::size_t>(s)], s) = 1;
  const PolicyEvaluationOptions options{.discount = .95, .tolerance = 1e-10};
  const auto value = policy_evaluation(model, policy, options).value;
  CHECK(policy_evaluation(model, sure, options).value == value);
  CHECK(error_of(policy_evaluation(dense(model), policy, options).value, value) < 1e-12);
  CHECK(
      (policy_evaluation(model.as<float>(), policy, {.discount = .95, .tolerance = 1e-4}).value.cast<double>() - value)
          .cwiseAbs()
          .maxCoeff() < 2e-4);
  CHECK((direct_policy_evaluation(model.as<float>(), policy, {.discount = .95}).value.cast<double>() - value)
            .cwiseAbs()
            .maxCoeff() < 1e-4);
}

TEST_CASE("the process of a policy: probabilities of equal successors add up, rewards are expected ones") {
  const auto process = policy_process(m1(), m1_policy());
  REQUIRE(process.actions() == 1);
  const double p[2][2] = {{.8 * .7 + .2 * .2, .8 * .3 + .2 * .8}, {.1 * .5 + .9 * .9, .1 * .5 + .9 * .1}};
  const double r[2] = {.8 * 1, .1 * .5 + .9 * 2};
  for (int s = 0; s < 2; ++s) {
    CHECK(process.reward(s, 0) == close(r[s], 1e-15));
    int k = 0;
    for (const auto& to : process.successors(s, 0)) {
      CHECK(to.next == k);
      CHECK(to.probability == close(p[s][k++], 1e-15));
    }
    CHECK(k == 2);
  }
}

TEST_CASE("the bound holds at every sweep, below discount 1 and at it", "[L5]") {
  Rng rng{23};
  for (int k = 0; k < 30; ++k) {
    const auto model =
        k % 2 ? leaking(9, 2, k % 4 == 1 ? .3 : .02, rng) : random_model({.states = 9, .terminal = k % 4 / 2}, rng);
    const double discount = k % 2 ? 1 : .95;
    const std::vector<int> policy = random_policy(model, rng);
    const auto exact = solved_value(model, policy, discount);
    for (const std::size_t sweeps : {1u, 2u, 5u, 20u, 100u, 400u}) {
      const auto solution =
          policy_evaluation(model, policy, {.discount = discount, .tolerance = 1e-14, .max_iterations = sweeps});
      CAPTURE(k, sweeps, solution.bound);
      CHECK(error_of(solution.value, exact) <= solution.bound + 1e-12);
      CHECK(solution.iterations <= sweeps);
      if (solution.iterations == sweeps) CHECK(solution.converged == (solution.bound <= 1e-14));
    }
  }
}

TEST_CASE("discount 1: the certified tolerance holds, and the direct solve's bound too") {
  Rng rng{24};
  for (int k = 0; k < 30; ++k) {
    const auto model = leaking(4 + k, 3, k % 3 == 0 ? .5 : k % 3 == 1 ? .05 : .001, rng);
    const std::vector<int> policy = random_policy(model, rng);
    const auto exact = solved_value(model, policy, 1);
    const auto swept = policy_evaluation(model, policy, {.discount = 1, .tolerance = 1e-7});
    const auto solved = direct_policy_evaluation(model, policy, {.discount = 1});
    REQUIRE(swept.converged);
    REQUIRE(solved.converged);
    CHECK(error_of(swept.value, exact) <= 1e-7);
    CHECK(error_of(solved.value, exact) <= 1e-9);
    CHECK(solved.bound <= 1e-9);
    CHECK(solved.bound >= 0);
  }
}

TEST_CASE("RW5: the random walk with discount 1") {
  std::vector<ModelEntry> entries;
  for (int s = 1; s <= 5; ++s)
    entries.push_back({s, 0, s - 1, .5}), entries.push_back({s, 0, s + 1, .5, s == 5 ? 1. : 0.});
  const FiniteMdp walk(7, 1, entries, std::vector<int>{0, 6});
  const std::vector<int> policy(7, 0);
  const auto swept = policy_evaluation(walk, policy, {.discount = 1, .tolerance = 1e-11});
  const auto solved = direct_policy_evaluation(walk, policy, {.discount = 1});
  CHECK(swept.converged);
  for (int s = 1; s <= 5; ++s) {
    CHECK(swept.value[s] == close(s / 6., 1e-10));
    CHECK(solved.value[s] == close(s / 6., 1e-14));
  }
  CHECK(swept.policy == std::vector<int>{-1, 0, 0, 0, 0, 0, -1});
}

TEST_CASE("an improper policy at discount 1 is refused, with the name of a state", "[L6]") {
  const FiniteMdp cycle(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1, -1}, {1, 0, 0, 1, -1}});
  const std::vector<int> both{0, 0};
  for (const auto& message : {message_of([&] { policy_evaluation(cycle, both, {.discount = 1}); }),
                              message_of([&] { direct_policy_evaluation(cycle, both, {.discount = 1}); })})
    CHECK(says(message, "policy never reaches a terminal state from state 0"));
  CHECK(policy_evaluation(cycle, both, {.discount = .5}).value[0] == close(-2, 1e-6));

  // States 0 to 2 end, 3 and 4 lead to each other; action 1 of 4 would end.
  const FiniteMdp model(6, 2,
                        std::vector<ModelEntry>{{0, 0, 5, 1, 1},
                                                {1, 0, 0, .5, 2},
                                                {1, 0, 1, .5, 2},
                                                {2, 0, 1, 1, 3},
                                                {3, 0, 4, 1, -1},
                                                {4, 0, 3, 1, -1},
                                                {4, 1, 5, 1, -1}},
                        std::vector<int>{5});
  CHECK(says(message_of([&] {
               policy_evaluation(model, std::vector<int>{0, 0, 0, 0, 0, 9}, {.discount = 1});
             }),
             "from state 3"));
  const auto value =
      policy_evaluation(model, std::vector<int>{0, 0, 0, 0, 1, 9}, {.discount = 1, .tolerance = 1e-9}).value;
  const double expected[] = {1, 5, 8, -2, -1, 0};
  for (int s = 0; s < 6; ++s) CHECK(value[s] == close(expected[s], 1e-9));
  // A mixture that sometimes ends, ends.
  Matrix<double> mixture = Matrix<double>::Zero(2, 6);
  mixture.row(0).setOnes();
  mixture.col(4) << .75, .25;
  mixture.col(5).setConstant(poison);
  const auto mixed = policy_evaluation(model, mixture, {.discount = 1, .tolerance = 1e-9});
  CHECK(mixed.converged);
  CHECK(mixed.value[4] == close(-7, 1e-8));  // w = -1 + 3/4 (w - 1)
}

TEST_CASE("discount 1: to stay for nothing is to end", "[L6]") {
  // 0 -> 1 or 2; 1 and 2 go round without reward, no state is terminal.
  const FiniteMdp model(
      3, 1,
      std::vector<ModelEntry>{{0, 0, 0, .5, -3}, {0, 0, 1, .25, -3}, {0, 0, 2, .25, -3}, {1, 0, 2, 1}, {2, 0, 1, 1}});
  const std::vector<int> policy(3, 0);
  const auto swept = policy_evaluation(model, policy, {.discount = 1, .tolerance = 1e-10});
  const auto solved = direct_policy_evaluation(model, policy, {.discount = 1});
  CHECK(swept.converged);
  CHECK(solved.converged);
  for (const auto& v : {swept.value, solved.value}) {
    CHECK(v[0] == close(-6, 1e-10));
    CHECK(v[1] == 0);
    CHECK(v[2] == 0);
  }
}

TEST_CASE("no rewards, and equal ones: a span of 0 after one sweep", "[L4]") {
  for (const double reward : {0., 1.}) {
    const FiniteMdp model(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1, reward}, {1, 0, 0, 1, reward}});
    const auto solution = policy_evaluation(model, std::vector<int>{0, 0}, {.discount = .99});
    CHECK(solution.iterations == 1);
    CHECK(solution.bound == 0);
    CHECK(solution.value[1] == close(reward * 100, 1e-12));
  }
}

TEST_CASE("sparse rewards: a first sweep that changes one state doesn't end the evaluation", "[L3]") {
  const FiniteMdp corridor(
      4, 1, std::vector<ModelEntry>{{0, 0, 1, .8}, {0, 0, 0, .2}, {1, 0, 2, .8}, {1, 0, 1, .2}, {2, 0, 3, 1, 1}},
      std::vector<int>{3});
  const auto solution = policy_evaluation(corridor, std::vector<int>(4, 0), {.discount = .9, .tolerance = 1e-12});
  CHECK(solution.value[0] == close(.72 / .82 * (.72 / .82), 1e-11));
  CHECK(solution.value[1] == close(.72 / .82, 1e-11));
  CHECK(solution.value[2] == close(1, 1e-11));
}

TEST_CASE("limits are reported, and progress may stop it") {
  Rng rng{25};
  const auto slow = leaking(30, 2, 1e-6, rng);
  const std::vector<int> policy = random_policy(slow, rng);
  // A million steps on average: 50 sweeps say nothing about the error, and claim nothing.
  const auto limited = policy_evaluation(slow, policy, {.discount = 1, .max_iterations = 50});
  CHECK_FALSE(limited.converged);
  CHECK(std::isinf(limited.bound));
  CHECK(limited.iterations == 50);
  std::size_t calls = 0;
  const auto stopped =
      policy_evaluation(slow, policy, {.discount = .999, .tolerance = 1e-13}, [&](const ProgressEvent& e) {
        CHECK(e.step == ++calls);
        CHECK(e.task == "policy evaluation");
        return e.step < 3;
      });
  CHECK(stopped.iterations == 3);
  CHECK_FALSE(stopped.converged);
  CHECK(stopped.seconds >= 0);
}

TEST_CASE("policies and options that don't fit are named") {
  const FiniteMdp model(3, 2, std::vector<ModelEntry>{{0, 0, 1, 1}, {1, 1, 2, 1, 5}}, std::vector<int>{2});
  const auto said = [&](const auto& policy, const PolicyEvaluationOptions& options = {}) {
    return message_of([&] { policy_evaluation(model, policy, options); });
  };
  CHECK(says(said(std::vector<int>{0, 0, 0}), "policy[1] is 0", "state 1"));
  CHECK(says(said(std::vector<int>{0, 1}), "policy has 2"));
  CHECK(says(said(std::vector<int>{2, 1, 0}), "policy[0] is 2"));
  Matrix<double> mixture(2, 3);
  mixture << 1, .5, poison, 0, .5, poison;
  CHECK(says(said(mixture), "policy(0, 1)", "not available in state 1"));
  mixture << 1, 0, poison, 0, .9, poison;
  CHECK(says(said(mixture), "state 1 sums to 0.9"));
  mixture << 1, 0, poison, poison, 1, poison;
  CHECK(says(said(mixture), "policy(1, 0) is nan"));
  mixture << 1, 0, poison, 0, 1, poison;
  CHECK(says(said(mixture), "nothing thrown"));
  const std::vector<int> good{0, 1, -1};
  CHECK(says(said(good, {.discount = 1.1}), "discount", "1.1"));
  CHECK(says(said(good, {.tolerance = poison}), "tolerance", "nan"));
  CHECK(says(said(good, {.max_iterations = 0}), "max_iterations"));
  CHECK(says(message_of([&] { direct_policy_evaluation(model, good, {.discount = -1}); }), "discount", "-1"));
  const FiniteMdp huge(1, 1, std::vector<ModelEntry>{{0, 0, 0, 1, 1e308}});
  CHECK(says(message_of([&] { direct_policy_evaluation(huge, std::vector<int>{0}); }), "overflow"));
}
