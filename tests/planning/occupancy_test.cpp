// Occupancy measures: the goldens of the specification, identities, gradients, and the regularised dual.
#include "valence/planning/occupancy.hpp"

#include <Eigen/Dense>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "planning/models.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/value_iteration.hpp"

using namespace valence;
using namespace valence::test;

namespace {

/// The specification's A9 model; rewards may be replaced.
FiniteMdp<double> a9(std::vector<double> reward = {1, 0, -.5, 2}) {
  return FiniteMdp(2, 2,
                   std::vector<ModelEntry>{{0, 0, 0, .9},
                                           {0, 0, 1, .1},
                                           {0, 1, 0, .2},
                                           {0, 1, 1, .8},
                                           {1, 0, 0, .3},
                                           {1, 0, 1, .7},
                                           {1, 1, 0, .6},
                                           {1, 1, 1, .4}})
      .with_rewards(std::move(reward))
      .with_initial({.5, .5});
}

/// Rows as they are printed, a state each.
Matrix<double> by_state(std::initializer_list<double> x, int actions = 2) {
  Matrix<double> m(actions, static_cast<std::ptrdiff_t>(x.size()) / actions);
  std::copy(x.begin(), x.end(), m.data());
  return m;
}
void check_close(const Matrix<double>& seen, const Matrix<double>& expected, double absolute) {
  REQUIRE((seen.rows() == expected.rows() && seen.cols() == expected.cols()));
  for (std::ptrdiff_t i = 0; i < seen.size(); ++i) CHECK(seen.data()[i] == close(expected.data()[i], 0, absolute));
}

Matrix<double> rewards_of(const FiniteMdp<double>& model) {
  Matrix<double> r = Matrix<double>::Zero(model.actions(), model.states());
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; a < model.actions(); ++a)
      if (model.available(s, a)) r(a, s) = model.reward(s, a);
  return r;
}
double dot(const Matrix<double>& a, const Matrix<double>& b) { return (a.array() * b.array()).sum(); }

FiniteMdp<double> random_start(const RandomModel& shape, Rng& rng) {
  const auto model = random_model(shape, rng);
  std::vector<double> first(static_cast<std::size_t>(model.states()));
  double sum = 0;
  for (double& x : first) sum += x = rng.exponential();
  for (double& x : first) x /= sum;
  return model.with_initial(first);
}
Matrix<double> softmax_policy(const FiniteMdp<double>& model, std::span<const double> logits) {
  Matrix<double> policy = Matrix<double>::Zero(model.actions(), model.states());
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) continue;
    for (int a = 0; a < model.actions(); ++a)
      if (model.available(s, a)) policy(a, s) = std::exp(logits[static_cast<std::size_t>(s * model.actions() + a)]);
    policy.col(s) /= policy.col(s).sum();
  }
  return policy;
}
std::vector<double> random_logits(const FiniteMdp<double>& model, Rng& rng) {
  std::vector<double> logits(static_cast<std::size_t>(model.states() * model.actions()));
  for (double& x : logits) x = rng.normal();
  return logits;
}
/// Value of a stochastic policy by a dense solve of Eigen's.
Eigen::VectorXd policy_value(const FiniteMdp<double>& model, const Matrix<double>& policy, double discount) {
  const int n = model.states();
  Eigen::MatrixXd a = Eigen::MatrixXd::Identity(n, n);
  Eigen::VectorXd b = Eigen::VectorXd::Zero(n);
  for (int s = 0; s < n; ++s)
    for (int k = 0; k < model.actions(); ++k) {
      if (model.terminal(s) || policy(k, s) == 0) continue;
      b[s] += policy(k, s) * model.reward(s, k);
      for (const auto& to : model.successors(s, k)) a(s, to.next) -= discount * policy(k, s) * to.probability;
    }
  return a.partialPivLu().solve(b);
}
double initial_mean(const FiniteMdp<double>& model, const Eigen::VectorXd& v) {
  double sum = 0;
  for (int s = 0; s < model.states(); ++s) sum += model.initial()[static_cast<std::size_t>(s)] * v[s];
  return sum;
}

const Matrix<double> pi = by_state({.7, .3, .4, .6}), uniform = by_state({.5, .5, .5, .5});
const Matrix<double> quarter = Matrix<double>::Constant(2, 2, .25);

}  // namespace

TEST_CASE("A9: occupancy, value, gradient, divergences") {
  const auto model = a9();
  const Matrix<double> mu = occupancy(model, pi, {.discount = .9});
  check_close(mu, by_state({0.416029593094944, 0.178298397040690, 0.162268803945746, 0.243403205918619}), 1e-14);
  CHECK(mu.col(0).sum() == close(0.594327990135635, 1e-14));
  CHECK(dot(mu, rewards_of(model)) / .1 == close(8.21701602959309, 1e-13));
  check_close(occupancy_gradient(model, pi, rewards_of(model), {.discount = .9}) / .1,
              by_state({0.957227152546446, -0.957227152546444, -2.33679082772179, 2.33679082772179}), 1e-13);
  check_close(occupancy(model, pi, {.discount = 1, .horizon = 3}),
              by_state({0.393831666666667, 0.168785, 0.174953333333333, 0.26243}), 1e-14);
  CHECK(divergence(ChiSquare{}, mu, quarter) == close(0.161788904413878, 1e-13));
  CHECK(divergence(KullbackLeibler{}, mu, quarter) == close(0.0749740640176612, 1e-12));
  CHECK((mu - quarter).cwiseAbs().sum() / 2 == close(0.166029593094945, 1e-13));
  // The action divergence under d: that of mu from d times the base policy.
  Matrix<double> same_states = uniform;
  for (int s = 0; s < 2; ++s) same_states.col(s) *= mu.col(s).sum();
  CHECK(divergence(KullbackLeibler{}, mu, same_states) == close(0.0570714320562412, 1e-12));
  check_close(policy_from_occupancy(model, mu), pi, 1e-15);
}

TEST_CASE("A9: the performance difference is the advantage under the other's occupancy") {
  const auto model = a9();
  const double discount = .9;
  const Eigen::VectorXd v = policy_value(model, uniform, discount);
  Matrix<double> advantage = action_values(model, std::span<const double>(v.data(), 2), {.discount = discount});
  for (int s = 0; s < 2; ++s) advantage.col(s).array() -= v[s];
  const double left = initial_mean(model, policy_value(model, pi, discount)) - initial_mean(model, v);
  CHECK(left == close(1.96701602959309, 1e-13));
  CHECK(dot(occupancy(model, pi, {.discount = discount}), advantage) / (1 - discount) == close(left, 1e-13));
}

TEST_CASE("A9: the regularised dual, with a coordinate that is exactly 0") {
  const auto model = a9();
  const auto solve = [&](const auto& d, double lambda) {
    const OccupancyDual solution = occupancy_dual(model, quarter, d, lambda, {.discount = .9});
    CHECK(solution.converged);
    CHECK(solution.stationarity < 1e-12);
    CHECK(solution.primal == close(solution.dual, 1e-12));
    CHECK(solution.mu.sum() == close(1, 1e-12));
    CHECK(solution.primal ==
          close(dot(solution.mu, rewards_of(model)) - lambda * divergence(d, solution.mu, quarter), 1e-13));
    return solution;
  };
  const auto chi2 = solve(ChiSquare{}, 2);
  check_close(chi2.mu, by_state({0.280681150047037, 0.250777575258702, 0.163130585606773, 0.305410689087488}), 1e-12);
  CHECK(chi2.dual == close(0.717468617709313, 1e-12));
  const auto chi_half = solve(ChiSquare{}, .5);
  check_close(chi_half.mu, by_state({0.341728430596531, 0.250395768870979, 0, 0.407875800532489}), 1e-12);
  CHECK(chi_half.mu(0, 1) == 0);
  CHECK(chi_half.dual == close(0.965801971648557, 1e-12));
  const auto kl = solve(KullbackLeibler{}, 2);
  check_close(kl.mu, by_state({0.299112768808390, 0.251149167148738, 0.111425227583672, 0.338312836459200}), 1e-12);
  CHECK(kl.dual == close(0.785825590762689, 1e-12));
  const auto kl_half = solve(KullbackLeibler{}, .5);
  check_close(kl_half.mu, by_state({0.353707070767884, 0.242898101089084, 0.00537933651218678, 0.398015491630845}),
              1e-12);
  CHECK(kl_half.dual == close(1.00695957454306, 1e-12));
}

TEST_CASE("pseudo-rewards: the gradient of any utility of the occupancy") {
  // The specification's correlated proxies: sqrt(chi2) and its derivative.
  const auto model = a9();
  const Matrix<double> mu = occupancy(model, pi, {.discount = .9});
  const double root = std::sqrt(divergence(ChiSquare{}, mu, quarter));
  CHECK(root == close(0.402229914866955, 1e-13));
  check_close(pseudo_reward(ChiSquare{}, mu, quarter) / (2 * root),
              by_state({1.65109144753554, -0.713040977899681, -0.872448247249566, -0.0656022223863016}), 1e-13);

  Rng rng{31};
  for (int k = 0; k < 12; ++k) {
    const auto other = random_start({.states = 5, .actions = 3, .branching = 3, .terminal = k % 2, .missing = .3}, rng);
    const auto logits = random_logits(other, rng);
    const Matrix<double> base = occupancy(other, softmax_policy(other, random_logits(other, rng)), {.discount = .8});
    const auto check = [&](auto&& utility, auto&& derivative) {
      const auto f = [&](std::span<const double> x) {
        return utility(occupancy(other, softmax_policy(other, x), {.discount = .8}));
      };
      const Matrix<double> policy = softmax_policy(other, logits);
      const Matrix<double> gradient =
          occupancy_gradient(other, policy, derivative(occupancy(other, policy, {.discount = .8})), {.discount = .8});
      CHECK(gradient_matches(f, logits, std::span<const double>(gradient.data(), logits.size())));
    };
    check([&](const Matrix<double>& m) { return divergence(ChiSquare{}, m, base); },
          [&](const Matrix<double>& m) { return pseudo_reward(ChiSquare{}, m, base); });
    check([&](const Matrix<double>& m) { return divergence(KullbackLeibler{}, m, base); },
          [&](const Matrix<double>& m) { return pseudo_reward(KullbackLeibler{}, m, base); });
    check([&](const Matrix<double>& m) { return dot(m, rewards_of(other)); },
          [&](const Matrix<double>&) { return rewards_of(other); });
    check([](const Matrix<double>& m) { return m.array().cube().sum(); },
          [](const Matrix<double>& m) { return Matrix<double>(3 * m.array().square()); });
  }
}

TEST_CASE("identities on random models, terminal states and missing actions among them") {
  Rng rng{32};
  for (int k = 0; k < 60; ++k) {
    const auto model = random_start(
        {.states = 2 + k % 9, .actions = 1 + k % 4, .branching = 1 + k % 5, .terminal = k % 3 == 0, .missing = .3},
        rng);
    const double discount = k % 2 ? .95 : .5;
    const Matrix<double> policy = softmax_policy(model, random_logits(model, rng));
    const Matrix<double> mu = occupancy(model, policy, {.discount = discount});
    CHECK(dot(mu, rewards_of(model)) ==
          close((1 - discount) * initial_mean(model, policy_value(model, policy, discount)), 1e-11, 1e-13));
    if (k % 3)
      CHECK(mu.sum() == close(1, 1e-13));
    else
      CHECK(mu.sum() < 1);
    for (int t = 0; t < model.states(); ++t) {
      if (model.terminal(t)) {
        CHECK(mu.col(t).sum() == 0);
        continue;
      }
      double flow = (1 - discount) * model.initial()[static_cast<std::size_t>(t)];
      for (int s = 0; s < model.states(); ++s)
        for (int a = 0; a < model.actions(); ++a)
          for (const auto& to : model.successors(s, a))
            if (to.next == t) flow += discount * mu(a, s) * to.probability;
      CHECK(mu.col(t).sum() == close(flow, 1e-12, 1e-14));
    }
    if (k % 3) check_close(policy_from_occupancy(model, mu), policy, 1e-12);
    // A long horizon is no horizon; one step is the first state.
    check_close(occupancy(model, policy, {.discount = discount, .horizon = 800}), mu, 1e-13);
    const Matrix<double> once = occupancy(model, policy, {.discount = discount, .horizon = 1});
    for (int s = 0; s < model.states(); ++s)
      if (!model.terminal(s)) CHECK(once.col(s).sum() == close(model.initial()[static_cast<std::size_t>(s)], 1e-13));
  }
}

TEST_CASE("many states: powers instead of elimination, the same numbers") {
  Rng rng{33};
  const auto model = random_start({.states = 700, .actions = 2, .branching = 3, .terminal = 1}, rng);
  const Matrix<double> policy = softmax_policy(model, random_logits(model, rng));
  const Matrix<double> mu = occupancy(model, policy, {.discount = .97});
  const Eigen::VectorXd v = policy_value(model, policy, .97);
  CHECK(dot(mu, rewards_of(model)) == close(.03 * initial_mean(model, v), 1e-11, 1e-13));
  const Matrix<double> gradient = occupancy_gradient(model, policy, rewards_of(model), {.discount = .97});
  const Matrix<double> q = action_values(model, std::span<const double>(v.data(), 700), {.discount = .97});
  for (int s = 0; s < 699; ++s)
    for (int a = 0; a < 2; ++a) CHECK(gradient(a, s) == close(mu(a, s) * (q(a, s) - v[s]), 1e-10, 1e-14));
  CHECK(says(message_of([&] { occupancy(model, policy, {.discount = 1 - 1e-9}); }), "occupancy", "700 states"));
}

TEST_CASE("where nobody goes the policy is uniform over what is available") {
  const FiniteMdp model(3, 3, std::vector<ModelEntry>{{0, 0, 0, 1}, {0, 1, 0, 1}, {1, 0, 1, 1}, {1, 2, 0, 1}},
                        std::vector<int>{2});
  Matrix<double> mu = Matrix<double>::Zero(3, 3);
  mu(0, 0) = 1e-320, mu(1, 0) = 3e-320;
  check_close(policy_from_occupancy(model, mu), by_state({.25, .75, 0, .5, 0, .5, 0, 0, 0}, 3), 1e-3);
}

TEST_CASE("the dual on random models: flow, certificates, and no occupancy is better") {
  Rng rng{34};
  for (int k = 0; k < 40; ++k) {
    const auto model = random_start({.states = 2 + k % 12, .actions = 2 + k % 3, .branching = 3, .missing = .2}, rng);
    const double discount = k % 2 ? .95 : .7, lambda = k % 4 < 2 ? .3 : 5;
    const Matrix<double> base =
        occupancy(model, softmax_policy(model, random_logits(model, rng)), {.discount = discount});
    const auto check = [&](const auto& d) {
      const OccupancyDual solution = occupancy_dual(model, base, d, lambda, {.discount = discount});
      CAPTURE(k, solution.iterations);
      REQUIRE(solution.converged);
      CHECK(solution.primal == close(solution.dual, 1e-9, 1e-9));
      CHECK(solution.mu.minCoeff() >= 0);
      // It is the occupancy of its own policy.
      check_close(occupancy(model, policy_from_occupancy(model, solution.mu), {.discount = discount}), solution.mu,
                  1e-9);
      for (int j = 0; j < 20; ++j) {
        const Matrix<double> mu =
            occupancy(model, softmax_policy(model, random_logits(model, rng)), {.discount = discount});
        CHECK(dot(mu, rewards_of(model)) - lambda * divergence(d, mu, base) <= solution.dual + 1e-12);
      }
      CHECK(dot(solution.mu, rewards_of(model)) >= dot(base, rewards_of(model)) - 1e-12);
    };
    check(ChiSquare{});
    check(KullbackLeibler{});
  }
}

TEST_CASE("much regularisation gives the base, little of it the optimum") {
  Rng rng{35};
  const auto model = random_start({.states = 6, .actions = 3, .branching = 3}, rng);
  const Matrix<double> base = occupancy(model, softmax_policy(model, random_logits(model, rng)), {.discount = .9});
  const auto best = value_iteration(model, {.discount = .9, .tolerance = 1e-12});
  const double optimum = .1 * initial_mean(model, best.value);
  Matrix<double> greedy = Matrix<double>::Zero(3, 6);
  for (int s = 0; s < 6; ++s) greedy(best.policy[static_cast<std::size_t>(s)], s) = 1;
  const Matrix<double> best_mu = occupancy(model, greedy, {.discount = .9});
  const auto check = [&](const auto& d) {
    check_close(occupancy_dual(model, base, d, 1e8, {.discount = .9}).mu, base, 1e-7);
    const OccupancyDual near_optimum = occupancy_dual(model, base, d, 1e-4, {.discount = .9, .max_iterations = 2000});
    CHECK(near_optimum.converged);
    const double reached = dot(near_optimum.mu, rewards_of(model));
    CHECK(reached <= optimum + 1e-9);
    CHECK(reached >= optimum - 1e-4 * (divergence(d, best_mu, base) - divergence(d, near_optimum.mu, base)) - 1e-9);
  };
  check(ChiSquare{});
  check(KullbackLeibler{});
}

TEST_CASE("one state: the occupancy's penalty is the action's") {
  // A bandit: mu is the policy, and the optimum for the Kullback-Leibler divergence base exp(r / lambda) / Z.
  const FiniteMdp<double> bandit =
      FiniteMdp(1, 4, std::vector<ModelEntry>{{0, 0, 0, 1, 1}, {0, 1, 0, 1, .8}, {0, 2, 0, 1, .3}, {0, 3, 0, 1, -.5}})
          .with_initial({1});
  const OccupancyDual solution =
      occupancy_dual(bandit, by_state({.1, .2, .3, .4}, 4), KullbackLeibler{}, .5, {.discount = .9});
  check_close(solution.mu, by_state({0.304917162088248, 0.408784172256102, 0.225574939273958, 0.0607237263816907}, 4),
              1e-12);
  CHECK(solution.dual == close(0.442565022990611, 1e-12));
}

TEST_CASE("the conjugates are the suprema they should be") {
  const auto check = [](const auto& d) {
    for (const double y : {-3., -2., -.7, 0., .4, 2.}) {
      double best = -std::numeric_limits<double>::infinity();
      for (int i = 0; i <= 400'000; ++i) best = std::max(best, 1e-4 * i * y - d.value(1e-4 * i));
      CHECK(d.conjugate(y) == close(best, 1e-6, 1e-8));
      const double x = d.conjugate_derivative(y);
      CHECK(x * y - d.value(x) == close(d.conjugate(y), 1e-12, 1e-15));
    }
    for (const double y : {-1.3, .2, 1.7}) {
      const double point[] = {y}, slope[] = {d.conjugate_derivative(y)}, curvature[] = {d.conjugate_curvature(y)};
      CHECK(gradient_matches([&](auto x) { return d.conjugate(x[0]); }, point, slope));
      CHECK(gradient_matches([&](auto x) { return d.conjugate_derivative(x[0]); }, point, curvature));
    }
    const double point[] = {1.3}, slope[] = {d.derivative(1.3)};
    CHECK(gradient_matches([&](auto x) { return d.value(x[0]); }, point, slope));
  };
  check(ChiSquare{});
  check(KullbackLeibler{});
  CHECK(KullbackLeibler{}.value(0) == 0);
}

TEST_CASE("bad input is named") {
  const auto model = a9();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(message_of([&] { occupancy(model, pi, {.discount = 1}); }), "discount is 1", "horizon"));
  CHECK(says(message_of([&] { occupancy(model, by_state({.7, .2, .4, .6})); }), "state 0", "sums to"));
  CHECK(says(message_of([&] { occupancy(m1(), pi); }), "initial"));
  CHECK(says(message_of([&] { policy_from_occupancy(model, by_state({.5, .1, -.1, .5})); }), "mu(0, 1)", "-0.1"));
  CHECK(says(message_of([&] { occupancy_gradient(model, pi, by_state({1, nan, 1, 1})); }), "pseudo_reward(1, 0)"));
  CHECK(says(message_of([&] { occupancy_gradient(model, pi, pi, {.discount = .9, .horizon = 3}); }), "horizon"));
  CHECK(says(message_of([&] {
               divergence(ChiSquare{}, quarter, by_state({.5, .5, 0, 0}));
             }),
             "base(0, 1)", "action 0 in state 1"));
  CHECK(says(message_of([&] { occupancy_dual(model, quarter, ChiSquare{}, 0); }), "lambda"));
  CHECK(says(message_of([&] { occupancy_dual(model, quarter, ChiSquare{}, 1, {.discount = 1}); }), "discount"));
  CHECK(says(message_of([&] {
               occupancy_dual(model, by_state({.5, .5, .5, .5}), ChiSquare{}, 1);
             }),
             "base", "sums to 2"));
  CHECK(says(message_of([&] { occupancy_dual(model, by_state({1.5, -.5, 0, 0}), ChiSquare{}, 1); }), "base(1, 0)"));
  const FiniteMdp ends =
      FiniteMdp(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1}}, std::vector<int>{1}).with_initial({1, 0});
  CHECK(says(message_of([&] { occupancy_dual(ends, by_state({1, 0}, 1), ChiSquare{}, 1); }), "state 1 is terminal"));
  // A base from which no flow can be made: reported, not hung.
  const OccupancyDual none = occupancy_dual(model, by_state({1, 0, 0, 0}), ChiSquare{}, 1, {.discount = .9});
  CHECK_FALSE(none.converged);
}
