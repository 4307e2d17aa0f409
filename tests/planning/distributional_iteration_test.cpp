// Stocks, laws of returns, and planning for statistics of them.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "planning/models.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/distances.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/distributional/particles.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/distributional_iteration.hpp"
#include "valence/planning/finite_horizon.hpp"
#include "valence/planning/policy_evaluation.hpp"
#include "valence/planning/return_laws.hpp"
#include "valence/planning/stock_augmentation.hpp"
#include "valence/planning/value_iteration.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::random_model;
using valence::test::says;

namespace {

using valence::test::close;
constexpr double poison = std::numeric_limits<double>::quiet_NaN();

/// The specification's fixed lottery: one state; +1, or (+6, -2) at 1/2, or (+4, -3) at (0.6, 0.4).
FiniteMdp<double> lottery() {
  return FiniteMdp(1, 3,
                   std::vector<ModelEntry>{
                       {0, 0, 0, 1, 1}, {0, 1, 0, .5, 6}, {0, 1, 0, .5, -2}, {0, 2, 0, .6, 4}, {0, 2, 0, .4, -3}});
}

/// Every action has `outcomes` outcomes with integer rewards in [-3, 6].
FiniteMdp<double> random_integers(int states, int actions, int outcomes, Rng& rng) {
  return FiniteMdp(states, actions, [&](int, int) {
    std::vector<Outcome<int>> list;
    double sum = 0;
    for (int i = 0; i < outcomes; ++i) {
      list.push_back({.next = rng.below(states), .probability = rng.exponential(), .reward = rng.below(10) - 3.0});
      sum += list.back().probability;
    }
    for (auto& o : list) o.probability /= sum;
    return list;
  });
}

/// The laws of all policies that decide by the whole history, `rounds` from a state on: exponentially many.
std::vector<Particles> laws_of_all_policies(const FiniteMdp<double>& mdp, int s, int rounds, double discount) {
  if (rounds == 0 || mdp.terminal(s)) return {{{0.0}, {1.0}}};
  std::vector<Particles> all;
  for (int a = 0; a < mdp.actions(); ++a) {
    std::vector<std::pair<std::vector<double>, std::vector<Particles>>> partial{{{}, {}}};
    for (const auto& to : mdp.successors(s, a)) {
      std::vector<std::pair<std::vector<double>, std::vector<Particles>>> longer;
      for (const auto& rest : laws_of_all_policies(mdp, to.next, rounds - 1, discount))
        for (auto policy : partial) {
          policy.first.push_back(to.probability);
          policy.second.push_back(shift_scale(rest, to.reward, discount));
          longer.push_back(std::move(policy));
        }
      partial = std::move(longer);
    }
    for (const auto& policy : partial) all.push_back(mixture(policy.first, policy.second));
  }
  return all;
}

/// The law of the return where the solution's actions are taken and the stock is kept, without any grid.
Particles law_played(const FiniteMdp<double>& mdp, const StockSolution& solution, int s, double stock, int rounds,
                     std::size_t step = 0) {
  if (rounds == 0 || mdp.terminal(s)) return {{0.0}, {1.0}};
  std::vector<double> weights;
  std::vector<Particles> parts;
  for (const auto& to : mdp.successors(s, solution.action(s, stock, step))) {
    weights.push_back(to.probability);
    const auto rest = law_played(mdp, solution, to.next, (stock + to.reward) / solution.discount, rounds - 1, step + 1);
    parts.push_back(shift_scale(rest, to.reward, solution.discount));
  }
  return mixture(weights, parts);
}

double largest_distance(const ReturnLaws& a, const ReturnLaws& b) {
  double most = 0;
  for (int s = 0; s < static_cast<int>(a.probability.cols()); ++s)
    most = std::max(most, wasserstein(a.law(s), b.law(s)));
  return most;
}

/// Concave, and homogeneous: a loss counts three times.
struct LossAverse {
  double operator()(double x) const { return x < 0 ? 3 * x : x; }
  bool positively_homogeneous() const { return true; }
};

}  // namespace

TEST_CASE("Stocks: a fixed lottery's best CVaR, against risk-neutral and stock-free control") {
  const FiniteMdp<double> mdp = lottery();
  const auto tail = distributional_value_iteration(mdp, ExpectedUtility<NegativePart>{}, {.horizon = 3});
  const auto neutral = distributional_value_iteration(mdp, Mean{}, {.horizon = 3});
  CHECK(tail.converged);
  CHECK(tail.iterations == 3);
  const std::vector<double> levels{.1, .25, .4, .5, .75, 1}, best{3, 3, 3, 3, 3.7333333333333334, 6},
      risk_neutral{-6, -2, -.5, 0, 3.333333333333333, 6};
  for (std::size_t i = 0; i < levels.size(); ++i) {
    CAPTURE(levels[i]);
    const StockStart start = cvar_stock(tail, 0, levels[i]);
    CHECK(start.value == close(best[i], 1e-13));
    CHECK(Cvar{levels[i]}(tail.law(0, start.stock)) == close(best[i], 1e-13));
    CHECK(Cvar{levels[i]}(neutral.law(0, 0)) == close(risk_neutral[i], 1e-13, 1e-13));
    const auto greedy =
        distributional_value_iteration(mdp, Cvar{levels[i]}, {.horizon = 3, .stock = StockGrid::none()});
    if (levels[i] <= .75) CHECK(Cvar{levels[i]}(greedy.law(0, 0)) == close(3.0, 1e-13));
    CHECK(greedy.start(0).value == close(Cvar{levels[i]}(greedy.law(0, 0))));
    // The same by the name of the statistic.
    const auto named = distributional_value_iteration(mdp, Cvar{levels[i]}, {.horizon = 3});
    CHECK(named.start(0).stock == start.stock);
    CHECK(named.start(0).value == start.value);
  }
  CHECK(cvar_stock(tail, 0, .5).stock == -3);
  CHECK(cvar_stock(tail, 0, .75).stock == -8);
  CHECK(Mean{}(tail.law(0, -8)) == close(4.8));
  CHECK(tail.value_at(0, -8) == close(-3.2));
  const Particles law = tail.law(0, -8);
  REQUIRE(law.atoms == std::vector<double>{-6, 1, 2, 8});
  const std::vector<double> weights{.125, .1, .125, .65};
  for (std::size_t i = 0; i < 4; ++i) CHECK(law.weights[i] == close(weights[i]));

  const auto target = distributional_value_iteration(mdp, ExpectedUtility{MinusDistance{}}, {.horizon = 3});
  const std::vector<double> stocks{-3, -5, -8, -18}, distance{0, 2, 3.2, 12};
  for (std::size_t i = 0; i < 4; ++i) CHECK(target.value_at(0, stocks[i]) == close(-distance[i], 1e-13, 1e-13));
}

TEST_CASE("Stocks: as good as the best of all policies that see the whole history") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng{seed};
    const auto mdp = random_integers(3, 2, 3, rng);
    const auto laws = laws_of_all_policies(mdp, 0, 2, 1);
    const auto best = [&](const auto& statistic) {
      double most = -1e9;
      for (const auto& law : laws) most = std::max(most, statistic(law));
      return most;
    };
    for (const double level : {.1, .3, .7}) {
      const auto tail = distributional_value_iteration(mdp, Cvar{level}, {.horizon = 2});
      const auto [stock, value] = tail.start(0);
      CHECK(value == close(best(Cvar{level}), 1e-13, 1e-13));
      CHECK(Cvar{level}(tail.law(0, stock)) == close(value, 1e-13, 1e-13));
      CHECK(wasserstein(tail.law(0, stock), law_played(mdp, tail, 0, stock, 2)) < 1e-12);
      const auto again = distributional_policy_iteration(mdp, Cvar{level}, {.horizon = 2});
      CHECK(again.converged);
      CHECK(again.iterations <= 3);
      CHECK(again.start(0).value == close(value, 1e-13, 1e-13));
    }
    const auto check = [&](const auto& statistic) {
      const auto solution = distributional_value_iteration(mdp, statistic, {.horizon = 2});
      CHECK(solution.start(0).value == close(best(statistic), 1e-12, 1e-12));
      CHECK(statistic(solution.law(0, 0)) == close(best(statistic), 1e-12, 1e-12));
      CHECK(distributional_policy_iteration(mdp, statistic, {.horizon = 2}).start(0).value ==
            close(best(statistic), 1e-12, 1e-12));
    };
    check(Mean{});
    check(EntropicRisk{-.7});
    check(EntropicRisk{.4});
    check(ExpectedUtility{MinusDistance{.target = 8}});
    check(ExpectedUtility{AtLeast{.target = 3}});
    check(ExpectedUtility{ExponentialUtility{-.3}});
    check(ExpectedUtility{[](double x) { return x < 2 ? x : 2 + std::sqrt(x - 2); }});
  }
}

TEST_CASE("Stocks: a linear utility is ordinary planning, an exponential one doesn't look at the stock") {
  Rng rng{7};
  const auto mdp = random_integers(4, 3, 3, rng);
  constexpr std::size_t horizon = 5;
  const auto plain = finite_horizon(mdp, horizon);
  const auto linear = distributional_value_iteration(mdp, ExpectedUtility<RiskNeutral>{},
                                                     {.horizon = horizon, .stock = StockGrid::integers(-20, 20)});
  const auto averse = distributional_value_iteration(mdp, ExpectedUtility{ExponentialUtility{-.2}},
                                                     {.horizon = horizon, .stock = StockGrid::integers(-20, 20)});
  const auto entropic = distributional_value_iteration(mdp, EntropicRisk{-.2}, {.horizon = horizon});
  for (int s = 0; s < 4; ++s)
    for (int c = -20; c <= 20; ++c) {
      CHECK(linear.value_at(s, c) == close(c + plain.value(s, 0), 1e-12, 1e-12));
      for (std::size_t t = 0; t < horizon; ++t) CHECK(averse.action(s, c, t) == entropic.action(s, 0, t));
      CHECK(-std::log(-averse.value_at(s, c)) / .2 == close(c + entropic.value_at(s, 0), 1e-11, 1e-11));
    }
}

TEST_CASE(
    "Stocks: laws and a plain recursion on expected utilities agree; iteration ends after as many sweeps as steps") {
  Rng rng{8};
  const auto mdp = random_integers(3, 3, 3, rng);
  const auto solution = distributional_value_iteration(mdp, ExpectedUtility<MinusDistance>{},
                                                       {.horizon = 4, .stock = StockGrid::integers(-12, 0)});
  const std::function<double(int, double, int)> utility = [&](int s, double c, int rest) {
    if (rest == 0) return -std::abs(c);
    double most = -1e9;
    for (int a = 0; a < 3; ++a) {
      double sum = 0;
      for (const auto& to : mdp.successors(s, a)) sum += to.probability * utility(to.next, c + to.reward, rest - 1);
      most = std::max(most, sum);
    }
    return most;
  };
  for (const double c : {-12., -8., -1.}) {
    CHECK(solution.value_at(1, c) == close(utility(1, c, 4), 1e-13, 1e-13));
    CHECK(ExpectedUtility<MinusDistance>{}(shift_scale(solution.law(1, c), c, 1)) ==
          close(utility(1, c, 4), 1e-13, 1e-13));
    CHECK(solution.law(1, c, 0).atoms.size() > 1);
  }
  // Distributional value iteration as the paper writes it, on particles, from laws that are anything: states are the
  // lottery's round and its stock.
  constexpr int rounds = 3;
  const auto game = lottery();
  std::map<std::pair<int, int>, Particles> eta;
  const auto law_at = [&](int round, int c) -> const Particles& {
    auto& law = eta[{round, c}];
    if (law.atoms.empty()) law = round == rounds ? Particles{{0.0}, {1.0}} : Particles{{rng.normal(), 3}, {.5, .5}};
    return law;
  };
  for (int sweep = 0; sweep < rounds; ++sweep) {
    std::map<std::pair<int, int>, Particles> next;
    for (int round = 0; round < rounds; ++round)
      for (int c = -30; c <= 30; ++c) {
        double most = -1e9;
        for (int a = 0; a < 3; ++a) {
          std::vector<double> weights;
          std::vector<Particles> parts;
          for (const auto& to : game.successors(0, a)) {
            weights.push_back(to.probability);
            parts.push_back(shift_scale(law_at(round + 1, c + static_cast<int>(to.reward)), to.reward, 1));
          }
          const Particles law = mixture(weights, parts);
          const double value = ExpectedUtility<NegativePart>{}(shift_scale(law, c, 1));
          if (value > most) most = value, next[{round, c}] = law;
        }
      }
    eta = std::move(next);
  }
  const auto tail = distributional_value_iteration(game, Cvar{.75}, {.horizon = rounds});
  // Equally good actions may have other laws, of the same utility.
  for (int c = -18; c <= 9; ++c)
    CHECK(ExpectedUtility<NegativePart>{}(shift_scale(eta[{0, c}], c, 1)) == close(tail.value_at(0, c), 1e-13, 1e-13));
}

TEST_CASE("Stocks: the specification's example") {
  const auto mdp = lottery();
  const auto sol = distributional_value_iteration(mdp, ExpectedUtility<NegativePart>{},
                                                  {.horizon = 3, .stock = StockGrid::integers(-18, 9)});
  const auto best = cvar_stock(sol, 0, .25);
  CHECK(Cvar{.25}(sol.law(0, best.stock)) == close(best.value));
  // Episodes that end: what is over keeps its stock.
  const FiniteMdp<double> ends(
      3, 2, std::vector<ModelEntry>{{0, 0, 1, .5, 4}, {0, 0, 2, .5, -1}, {0, 1, 2, 1, 1}, {1, 0, 2, 1, -2}},
      std::vector<int>{2});
  const auto solved = distributional_value_iteration(ends, Cvar{.5}, {.horizon = 4});
  CHECK(solved.start(0).value == close(1.0));
  CHECK(solved.start(2).value == 0);
  CHECK(solved.action(2, 0) == -1);
  CHECK(solved.law(0, -1, 2).atoms == std::vector<double>{1});
}

TEST_CASE("Laws of a policy: known laws, means, and the bounds of the projected operator") {
  // R is 0 or 1 with discount 1/2: the return is uniform on [0, 2].
  const FiniteMdp<double> coin(1, 1, std::vector<ModelEntry>{{0, 0, 0, .5, 0}, {0, 0, 0, .5, 1}});
  const std::vector<int> only{0};
  Particles uniform;
  for (int i = 0; i < 4000; ++i) uniform.atoms.push_back((i + .5) / 2000);
  uniform.weights.assign(4000, 1. / 4000);
  double coarser = 1;
  for (const int atoms : {5, 11, 21, 51, 101}) {
    const auto laws = distributional_policy_evaluation(coin, only, {.discount = .5, .atoms = atoms, .tolerance = 1e-9});
    CHECK(laws.converged);
    CHECK(laws.projection_bound == close(2. / (atoms - 1)));
    const double distance = wasserstein(laws.law(0), uniform);
    CHECK(distance <= laws.projection_bound);
    CHECK(distance < coarser);
    coarser = distance;
    CHECK(Mean{}(laws.law(0)) == close(1.0, 1e-9));
  }
  CHECK(coarser < .01);

  Rng rng{9};
  const auto mdp = random_model({.states = 9, .actions = 2, .branching = 3, .terminal = 1}, rng);
  const std::vector<int> policy(9, 1);
  const auto value = policy_evaluation(mdp, std::span<const int>(policy), {.discount = .9, .tolerance = 1e-11});
  const auto exact = distributional_policy_evaluation(mdp, policy, {.discount = .9, .tolerance = 1e-10});
  REQUIRE(exact.converged);
  for (int s = 0; s < 9; ++s) CHECK(Mean{}(exact.law(s)) == close(value.value[s], 1e-9, 1e-9));
  CHECK(largest_distance(
            distributional_policy_evaluation(
                mdp, policy, {.discount = .9, .atoms = 801, .min_return = -10, .max_return = 10, .tolerance = 1e-8}),
            exact) <= 2 * exact.projection_bound);
  for (const double tolerance : {1., .1, .01, 1e-4}) {
    const auto rough = distributional_policy_evaluation(mdp, policy, {.discount = .9, .tolerance = tolerance});
    CHECK(rough.converged);
    CHECK(rough.bound <= tolerance);
    CHECK(largest_distance(rough, exact) <= rough.bound + exact.bound);
  }
  const auto stopped =
      distributional_policy_evaluation(mdp, policy, {.discount = .9, .tolerance = 1e-9, .max_iterations = 3});
  CHECK_FALSE(stopped.converged);
  CHECK(stopped.iterations == 3);
  CHECK(largest_distance(stopped, exact) <= stopped.bound + exact.bound);
  int sweeps = 0;
  const auto asked = distributional_policy_evaluation(mdp, policy, {.discount = .9, .tolerance = 1e-9},
                                                      [&](const ProgressEvent&) { return ++sweeps < 5; });
  CHECK(asked.iterations == 5);
  // A support that is too narrow holds its laws; one atom more or less than whole registers.
  const auto narrow =
      distributional_policy_evaluation(mdp, policy, {.discount = .9, .atoms = 7, .min_return = -.5, .max_return = .5});
  for (int s = 0; s < 9; ++s)
    for (const double atom : narrow.law(s).atoms) CHECK(std::abs(atom) <= .5);
}

TEST_CASE("Laws of a policy: one sweep contracts, by the discount and by its root") {
  Rng rng{10};
  const auto mdp = random_model({.states = 6, .actions = 1, .branching = 4}, rng);
  const Support support{.atoms = 13, .min = -2, .max = 3};
  const std::size_t m = support.size();
  std::vector<double> atoms(m), mixed(m), moved(m);
  for (int k = 0; k < support.atoms; ++k) atoms[static_cast<std::size_t>(k)] = support.atom(k);
  for (int trial = 0; trial < 50; ++trial) {
    const double discount = rng.uniform(.3, .99);
    Matrix<double> before[2], after[2];
    for (int i = 0; i < 2; ++i) {
      before[i] = Matrix<double>(support.atoms, 6), after[i] = before[i];
      for (int s = 0; s < 6; ++s) {
        for (int k = 0; k < support.atoms; ++k) before[i](k, s) = rng.exponential();
        before[i].col(s) /= before[i].col(s).sum();
      }
      for (int s = 0; s < 6; ++s)
        detail::backup_law(mdp, s, 0, support, discount, before[i], mixed, moved, after[i].col(s).data());
    }
    const auto largest = [&](const Matrix<double>(&laws)[2], const auto& distance) {
      double most = 0;
      for (int s = 0; s < 6; ++s) {
        const LawView a{atoms, {laws[0].col(s).data(), m}}, b{atoms, {laws[1].col(s).data(), m}};
        most = std::max(most, distance(a, b));
      }
      return most;
    };
    const auto w = [](LawView a, LawView b) { return wasserstein(a, b); };
    CHECK(largest(after, w) <= discount * largest(before, w) * (1 + 1e-12));
    CHECK(largest(after, cramer) <= std::sqrt(discount) * largest(before, cramer) * (1 + 1e-12));
    for (int s = 0; s < 6; ++s) {
      CHECK(after[0].col(s).sum() == close(1.0, 1e-13));
      const double ours = detail::support_distance(support, before[0].col(s).data(), before[1].col(s).data());
      CHECK(ours ==
            close(wasserstein({atoms, {before[0].col(s).data(), m}}, {atoms, {before[1].col(s).data(), m}}), 1e-12));
    }
  }
}

TEST_CASE("Discounted stocks: the mean is ordinary planning") {
  Rng rng{11};
  const auto mdp = random_model({.states = 12, .actions = 3, .branching = 3, .terminal = 1}, rng);
  const auto plain = value_iteration(mdp, {.discount = .9, .tolerance = 1e-9});
  const auto mean =
      distributional_value_iteration(mdp, Mean{}, {.discount = .9, .tolerance = 1e-8, .law_tolerance = 1e-4});
  CHECK(mean.converged);
  CHECK(mean.bound <= 1e-8);
  CHECK(mean.law_bound <= 1e-4);
  const auto linear =
      distributional_value_iteration(mdp, ExpectedUtility<RiskNeutral>{}, {.discount = .9, .tolerance = 1e-8});
  const auto improved =
      distributional_policy_iteration(mdp, ExpectedUtility<RiskNeutral>{}, {.discount = .9, .tolerance = 1e-8});
  for (int s = 0; s < 12; ++s) {
    CHECK(mean.value_at(s, 0) == close(plain.value[s], 0, 1e-7));
    CHECK(Mean{}(mean.law(s, 0)) == close(plain.value[s], 0, 1e-3));
    for (int j = 0; j < linear.grid.points; ++j) {
      CHECK(linear.value(j, s) == close(linear.grid.stock(j) + plain.value[s], 0, 1e-7));
      CHECK(improved.value(j, s) == close(linear.value(j, s), 0, 1e-7));
    }
  }
}

TEST_CASE("Discounted stocks: CVaR and loss aversion against all policies that see the history") {
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    Rng rng{seed};
    // Three rounds, then the end: states 0 to 5 by round, 6 terminal.
    const FiniteMdp<double> mdp(7, 2, [&](int s, int) {
      std::vector<Outcome<int>> list;
      if (s == 6) return list;
      const double p = rng.uniform(.2, .8);
      for (int i = 0; i < 2; ++i)
        list.push_back({.next = s >= 4 ? 6 : 2 * (s / 2 + 1) + rng.below(2),
                        .probability = i == 0 ? p : 1 - p,
                        .reward = rng.uniform(-2, 3)});
      return list;
    });
    const auto laws = laws_of_all_policies(mdp, 0, 3, .9);
    const auto check = [&](const auto& statistic, int points) {
      double most = -1e9;
      for (const auto& law : laws) most = std::max(most, statistic(law));
      const DistributionalIterationOptions options{.discount = .9,
                                                   .stock = {.points = points, .min = -9, .max = 9, .clamp = true},
                                                   .atoms = 101,
                                                   .min_return = -8,
                                                   .max_return = 10,
                                                   .tolerance = 1e-7};
      const auto solution = distributional_value_iteration(mdp, statistic, options);
      const auto [stock, value] = solution.start(0);
      const double played = statistic(law_played(mdp, solution, 0, stock, 3));
      CAPTURE(seed, points, most, value, played, stock);
      CHECK(played <= most + 1e-12);
      CHECK(played >= most - .02);
      CHECK(value == close(most, 0, .05));
      CHECK(statistic(solution.law(0, stock)) == close(played, 0, .1));
      const auto again = distributional_policy_iteration(mdp, statistic, options);
      CHECK(again.start(0).value == close(value, 0, 1e-6));
      CHECK(again.converged);
    };
    check(Cvar{.3}, 601);
    check(Cvar{.7}, 601);
    check(ExpectedUtility<LossAverse>{}, 601);
  }
}

TEST_CASE("Discounted stocks: the grid that covers by itself, and one step of the recursion by hand") {
  // A safe 1 for ever, or 3 and -2 at 1/2: returns in [-20, 30].
  const FiniteMdp<double> mdp(1, 2, std::vector<ModelEntry>{{0, 0, 0, 1, 1}, {0, 1, 0, .5, 3.2}, {0, 1, 0, .5, -1}});
  const auto tail = distributional_value_iteration(
      mdp, Cvar{.2}, {.discount = .9, .stock = StockGrid::covering(401), .law_tolerance = .05});
  CHECK(tail.grid.min <= -32);
  CHECK(tail.grid.min >= -32 - tail.grid.step());
  CHECK(tail.grid.max >= 10);
  CHECK(std::abs(tail.grid.stock(tail.grid.nearest(0))) < 1e-12);
  const auto [stock, value] = tail.start(0);
  // Not below the safe return by more than a step of the grid, nor above the best mean.
  CHECK(value >= 10 - tail.grid.step());
  CHECK(value <= 11 + 1e-3);
  // Beyond the grid nothing changes.
  CHECK(tail.action(0, -1000) == tail.action(0, tail.grid.min));
  CHECK(tail.action(0, -1000) == 1);  // all is lost below 0, so the mean decides
  // Where it stands, U(c) = max_a discount E U((c + R) / discount) on the points.
  const auto u = [&](double c) {
    if (c <= tail.grid.min) return tail.value(0, 0) + c - tail.grid.min;
    if (c >= tail.grid.max) return tail.value(400, 0);
    const double at = tail.grid.position(c);
    const int j = static_cast<int>(at);
    return tail.value(j, 0) + (at - j) * (tail.value(j + 1, 0) - tail.value(j, 0));
  };
  for (const int j : {0, 57, 200, 301, 400}) {
    const double c = tail.grid.stock(j), safe = .9 * u((c + 1) / .9),
                 bold = .45 * (u((c + 3.2) / .9) + u((c - 1) / .9));
    CHECK(tail.value(j, 0) == close(std::max(safe, bold), 0, 2 * tail.bound));
  }
  // The laws are what is earned, and no further from the values than the bounds say.
  CHECK(tail.stock_bound == close(tail.grid.step() / 2 * .9 / std::sqrt(1 - .81)));
  for (int j = 0; j <= 400; j += 25) {
    const double c = tail.grid.stock(j), earned = ExpectedUtility<NegativePart>{}(shift_scale(tail.law(0, c), c, 1));
    CHECK(std::abs(earned - tail.value(j, 0)) <=
          tail.stock_bound + tail.bound + tail.law_bound + tail.projection_bound);
    CHECK(tail.value(j, 0) <= earned + tail.projection_bound + tail.law_bound);
  }
}

TEST_CASE("Stocks: probabilities that sum to 1 but for rounding stay probabilities") {
  // Outcomes of one reward, whose sums of probabilities round to either side of 1.
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng{seed};
    const double p = rng.uniform(.1, .5), q = rng.uniform(.1, .4);
    const FiniteMdp<double> mdp(
        3, 1,
        std::vector<ModelEntry>{
            {0, 0, 0, p, 1}, {0, 0, 1, q, 1}, {0, 0, 2, 1 - p - q, 1}, {1, 0, 0, 1, 1}, {2, 0, 1, 1, 1}});
    const auto exact = distributional_value_iteration(mdp, ExpectedUtility<NegativePart>{}, {.horizon = 4});
    CHECK(exact.law(0, 0).atoms == std::vector<double>{4});
    const auto laws = distributional_policy_evaluation(mdp, std::vector<int>(3, 0),
                                                       {.discount = .5, .atoms = 3, .min_return = 0, .max_return = 4});
    CHECK(laws.probability.maxCoeff() <= 1);
    CHECK(laws.law(0).weights.size() >= 1);
  }
}

TEST_CASE("Stocks: grids") {
  const StockGrid grid = StockGrid::integers(-3, 4);
  CHECK(grid.points == 8);
  CHECK(grid.step() == 1);
  for (int j = 0; j < 8; ++j) {
    CHECK(grid.stock(j) == j - 3);
    CHECK(grid.position(j - 3) == j);
    CHECK(grid.nearest(j - 3 + .4) == j);
  }
  CHECK(grid.position(-100) == 0);
  CHECK(grid.position(100) == 7);
  CHECK(StockGrid::none().is_none());
  CHECK_FALSE(StockGrid::integers(0, 0).is_none());
  CHECK(StockGrid::covering(31).is_covering());
  // Mixed between its neighbours, mean kept: 2 (0.5) and 3 (0.5) of (1.25 + 1) / 0.9 = 2.5.
  const FiniteMdp<double> one(1, 1, std::vector<ModelEntry>{{0, 0, 0, 1, 1}});
  const auto model = stock_augmented(one, {.points = 4, .min = 1.25, .max = 5, .clamp = true}, .9,
                                     [](double c, double r, int) { return c * r; });
  CHECK(model.states() == 4);
  CHECK(model.reward(0, 0) == 1.25);
  std::vector<double> points{1.25, 2.5, 3.75, 5};
  CHECK(model.expectation(0, 0, points.data()) == close(2.5));
  CHECK(model.expectation(1, 0, points.data()) == close(3.5 / .9));
  CHECK(model.expectation(3, 0, points.data()) == 5);
}

TEST_CASE("Stocks: bad input is refused") {
  const auto mdp = lottery();
  const auto refused = [&](const auto& statistic, const DistributionalIterationOptions& options) {
    const auto message =
        message_of([&] { static_cast<void>(distributional_value_iteration(mdp, statistic, options)); });
    const auto again = message_of([&] { static_cast<void>(distributional_policy_iteration(mdp, statistic, options)); });
    CHECK(message.substr(message.find(": ")) == again.substr(again.find(": ")));
    return message;
  };
  const ExpectedUtility<NegativePart> shortfall;
  CHECK(says(refused(shortfall, {}), "discount is 1 and horizon 0"));
  CHECK(says(refused(shortfall, {.discount = 0, .horizon = 3}), "discount is 0"));
  CHECK(says(refused(shortfall, {.discount = 1.1}), "discount is 1.1"));
  CHECK(says(refused(shortfall, {.discount = poison}), "discount is nan"));
  CHECK(says(refused(shortfall, {.discount = .9, .horizon = 3}), "expected discount 1"));
  CHECK(says(refused(Cvar{0}, {.horizon = 3}), "level is 0"));
  CHECK(says(refused(Cvar{1.5}, {.discount = .9}), "level is 1.5"));
  CHECK(says(refused(shortfall, {.horizon = 3, .stock = {.points = 5, .min = 0, .max = 1}}), "integers"));
  CHECK(says(refused(shortfall, {.horizon = 3, .stock = {.points = 0, .min = 0, .max = -1}}), "integers"));
  CHECK(says(refused(shortfall, {.discount = .9, .stock = {.points = 1, .min = 0, .max = 1}}), "1 points"));
  CHECK(says(refused(shortfall, {.discount = .9, .stock = {.points = 5, .min = 2, .max = 1}}), "[2, 1]"));
  CHECK(says(refused(shortfall, {.discount = .9, .stock = {.points = 5, .min = -1, .max = 1}}), "lead to stock",
             "clamp"));
  CHECK(says(refused(shortfall, {.discount = .9, .stock = StockGrid::none()}), "need not converge"));
  CHECK(says(refused(ExpectedUtility{MinusDistance{.target = 1}}, {.discount = .9}), "positively homogeneous"));
  CHECK(says(refused(ExpectedUtility{AtLeast{}}, {.discount = .9}), "positively homogeneous"));
  CHECK(says(refused(ExpectedUtility{[](double x) { return x; }}, {.discount = .9}), "positively homogeneous"));
  CHECK(says(refused(EntropicRisk{}, {.discount = .9}), "no stationary best policy"));
  CHECK(says(refused(Variance{}, {.horizon = 3}), "mixture"));
  CHECK(says(refused(shortfall, {.discount = .9, .tolerance = 0}), "tolerance is 0"));
  CHECK(says(refused(shortfall, {.discount = .9, .law_tolerance = poison}), "law_tolerance is nan"));
  CHECK(says(refused(shortfall, {.discount = .9, .max_iterations = 0}), "max_iterations"));
  CHECK(says(refused(shortfall, {.discount = .9, .atoms = 1}), "1 atoms"));
  CHECK(says(refused(shortfall, {.discount = .9, .min_return = 3, .max_return = 2}), "[3, 2]"));
  CHECK(says(refused(shortfall, {.horizon = 100'000}), "expected at most"));
  CHECK(says(refused(shortfall, {.discount = .9, .stock = StockGrid::covering(2'000'000'000)}), "coarser"));
  const FiniteMdp<double> halves(1, 1, std::vector<ModelEntry>{{0, 0, 0, 1, .5}});
  CHECK(says(message_of([&] { static_cast<void>(distributional_value_iteration(halves, shortfall, {.horizon = 3})); }),
             "reward 0.5 of state 0, action 0 isn't an integer"));

  const auto solution = distributional_value_iteration(mdp, shortfall, {.horizon = 3});
  CHECK(says(message_of([&] { cvar_stock(solution, 0, 0); }), "level is 0"));
  CHECK(says(message_of([&] { cvar_stock(solution, 1, .5); }), "state is 1"));
  CHECK(says(message_of([&] { solution.law(0, .5); }), "stock is 0.5"));
  CHECK(says(message_of([&] { solution.law(0, 10); }), "stock is 10 at step 0"));
  CHECK(says(message_of([&] { solution.action(0, poison); }), "stock is nan"));
  CHECK(says(message_of([&] { solution.action(0, 0, 3); }), "step is 3"));
  CHECK(solution.action(0, 10, 1) >= 0);
  const auto mean = distributional_value_iteration(mdp, Mean{}, {.horizon = 3});
  CHECK(says(message_of([&] { cvar_stock(mean, 0, .5); }), "no stock"));

  const std::vector<int> policy{0}, wrong{3};
  const auto evaluate = [&](const std::vector<int>& p, const DistributionalEvaluationOptions& options) {
    return message_of([&] { static_cast<void>(distributional_policy_evaluation(mdp, p, options)); });
  };
  CHECK(says(evaluate(policy, {.discount = 1}), "discount is 1"));
  CHECK(says(evaluate(policy, {.tolerance = 0}), "tolerance"));
  CHECK(says(evaluate(policy, {.atoms = 1}), "atoms"));
  CHECK(says(evaluate(wrong, {}), "3"));
}
