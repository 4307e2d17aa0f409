#include "valence/reward/bradley_terry.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"

using valence::BradleyTerryFit;
using valence::fit_bradley_terry;
using valence::fit_linear_reward;
using valence::Matchup;
using valence::Matrix;
using valence::MleStatus;
using valence::Ties;
using valence::Vector;
using namespace valence::test;  // close, message_of, says

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// Eastern Division of the American League, 1987: games between the row's team at home and the visitor, home wins first.
// Source: A. Agresti, Categorical Data Analysis (2002), tables 10.10 and 10.11; also in R's BradleyTerry2.
enum Team { milwaukee, detroit, toronto, new_york, boston, cleveland, baltimore };
std::vector<Matchup> baseball() {
  return {{milwaukee, detroit, 4, 3},   {milwaukee, toronto, 4, 2},   {milwaukee, new_york, 4, 3},
          {milwaukee, boston, 6, 1},    {milwaukee, cleveland, 4, 2}, {milwaukee, baltimore, 6, 0},
          {detroit, milwaukee, 3, 3},   {detroit, toronto, 4, 2},     {detroit, new_york, 4, 3},
          {detroit, boston, 6, 0},      {detroit, cleveland, 6, 1},   {detroit, baltimore, 4, 3},
          {toronto, milwaukee, 2, 5},   {toronto, detroit, 4, 3},     {toronto, new_york, 2, 4},
          {toronto, boston, 4, 3},      {toronto, cleveland, 4, 2},   {toronto, baltimore, 6, 0},
          {new_york, milwaukee, 3, 3},  {new_york, detroit, 5, 1},    {new_york, toronto, 2, 5},
          {new_york, boston, 4, 3},     {new_york, cleveland, 4, 2},  {new_york, baltimore, 6, 1},
          {boston, milwaukee, 5, 1},    {boston, detroit, 2, 5},      {boston, toronto, 3, 3},
          {boston, new_york, 4, 2},     {boston, cleveland, 5, 2},    {boston, baltimore, 6, 0},
          {cleveland, milwaukee, 2, 5}, {cleveland, detroit, 3, 3},   {cleveland, toronto, 3, 4},
          {cleveland, new_york, 4, 3},  {cleveland, boston, 4, 2},    {cleveland, baltimore, 2, 4},
          {baltimore, milwaukee, 2, 5}, {baltimore, detroit, 1, 5},   {baltimore, toronto, 1, 6},
          {baltimore, new_york, 2, 4},  {baltimore, boston, 1, 6},    {baltimore, cleveland, 3, 4}};
}

// Four items, all outcomes; the fits of the tie models below were computed with 30 digits by mpmath.
std::vector<Matchup> with_ties() {
  return {{0, 1, 5, 2, 3}, {0, 2, 4, 1, 2}, {1, 2, 3, 3, 4}, {1, 3, 6, 2, 1}, {2, 3, 2, 1, 5}, {3, 0, 1, 4, 2}};
}

std::vector<double> copy(const Vector<double>& v) { return {v.data(), v.data() + v.size()}; }

}  // namespace

TEST_CASE("Agresti's baseball table gives the published abilities") {
  double games[7][7] = {}, wins[7] = {};
  for (const Matchup& m : baseball()) {
    games[m.first][m.second] += m.wins + m.losses;
    games[m.second][m.first] += m.wins + m.losses;
    wins[m.first] += m.wins;
    wins[m.second] += m.losses;
  }
  for (int i = 0; i < 7; ++i)
    for (int j = 0; j < 7; ++j) CHECK(games[i][j] == (i == j ? 0 : 13));
  const double season[] = {50, 47, 44, 43, 40, 31, 18};
  for (int i = 0; i < 7; ++i) CHECK(wins[i] == season[i]);

  SECTION("without home advantage: table 10.11, column 3") {
    const BradleyTerryFit fit = fit_bradley_terry(baseball(), 7);
    CHECK(fit.converged);
    CHECK(fit.gradient_norm < 1e-10);
    CHECK(fit.iterations <= 8);
    const Vector<double> ability = fit.relative_to(baltimore);
    const double published[] = {1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0};
    for (int i = 0; i < 7; ++i) CHECK(ability[i] == close(published[i], 0, 0.005));
    // The same by an independent implementation (numpy, one team pinned).
    const double exact[] = {1.58135587666139, 1.43640843181244, 1.29448512391181,
                            1.24761784514139, 1.10769770537865, 0.683852769159162};
    const double error[] = {0.343255981595, 0.339568506379, 0.336669401423,
                            0.335860922526, 0.333878206989, 0.331876672711};
    for (int i = 0; i < 6; ++i) {
      CHECK(ability[i] == close(exact[i], 1e-12));
      CHECK(fit.standard_error(i, baltimore) == close(error[i], 1e-10));
    }
    CHECK(fit.objective == close(172.248175994716, 1e-13));
    CHECK(fit.weight.sum() == close(0, 0, 1e-12));
    CHECK(fit.standard_error(boston, boston) == 0);
  }
  SECTION("with home advantage: 0.302, table 10.11, column 5") {
    const BradleyTerryFit fit = fit_bradley_terry(baseball(), 7, {.order_effect = true});
    CHECK(fit.converged);
    CHECK(fit.gradient_norm < 1e-10);
    CHECK(fit.order_effect == close(0.302, 0, 0.0005));
    CHECK(fit.order_effect == close(0.302260655528941, 1e-11));
    const Vector<double> ability = fit.relative_to(baltimore);
    const double exact[] = {1.61955499358736, 1.47535721359486, 1.32711039808028,
                            1.28134040328414, 1.1438026533056,  0.704694456907468};
    for (int i = 0; i < 6; ++i) CHECK(ability[i] == close(exact[i], 1e-12));
    const double published[] = {0.220, 0.190, 0.164, 0.157, 0.137, 0.088, 0.044};
    const double total = ability.array().exp().sum();
    for (int i = 0; i < 7; ++i) CHECK(std::exp(ability[i]) / total == close(published[i], 0, 0.0005));
    CHECK(std::sqrt(fit.covariance(7, 7)) == close(0.130943707456, 1e-10));
    CHECK(fit.win_probability(milwaukee, detroit) + fit.win_probability(detroit, milwaukee) > 1.1);
  }
}

TEST_CASE("Two items have a closed form") {
  const BradleyTerryFit fit = fit_bradley_terry(std::vector<Matchup>{{0, 1, 7, 3}}, 2);
  CHECK(fit.weight[0] - fit.weight[1] == close(std::log(7.0 / 3), 1e-12));
  CHECK(fit.weight[0] == close(-fit.weight[1], 1e-12));
  CHECK(fit.win_probability(0, 1) == close(0.7, 1e-12));
  CHECK(fit.standard_error(0, 1) == close(std::sqrt(1.0 / 7 + 1.0 / 3), 1e-10));
  CHECK(fit.objective == close(-7 * std::log(0.7) - 3 * std::log(0.3), 1e-13));

  const auto tied = [](Ties ties) {
    return fit_bradley_terry(std::vector<Matchup>{{0, 1, 6, 2, 4}}, 2, {.ties = ties});
  };
  CHECK(tied(Ties::half).win_probability(0, 1) == close(8.0 / 12, 1e-12));
  CHECK(tied(Ties::drop).win_probability(0, 1) == close(6.0 / 8, 1e-12));
  for (const Ties ties : {Ties::davidson, Ties::rao_kupper}) {  // three outcomes, two parameters: the shares exactly
    const auto p = tied(ties).outcome(0, 1);
    CHECK(p.win == close(0.5, 1e-11));
    CHECK(p.tie == close(4.0 / 12, 1e-11));
    CHECK(p.loss == close(2.0 / 12, 1e-11));
  }
  CHECK(tied(Ties::davidson).tie_parameter == close(4 / std::sqrt(12.0), 1e-11));

  // A tree of comparisons falls apart into its edges.
  const BradleyTerryFit tree = fit_bradley_terry(std::vector<Matchup>{{0, 1, 3, 1}, {1, 2, 5, 2}}, 3);
  CHECK(tree.weight[0] - tree.weight[1] == close(1.09861228866811, 1e-12));
  CHECK(tree.weight[1] - tree.weight[2] == close(0.916290731874155, 1e-12));

  const BradleyTerryFit even = fit_bradley_terry(std::vector<Matchup>{{0, 1, 0, 0, 4}, {1, 2, 0, 0, 2}}, 3);
  for (int i = 0; i < 3; ++i) CHECK(even.weight[i] == 0);
  CHECK(even.iterations == 0);
  CHECK(even.converged);
}

TEST_CASE("Tie models are fitted with their parameter") {
  struct Case {
    Ties ties;
    double l2;
    bool order;
    std::vector<double> ability;
    double order_effect, parameter, objective;
  };
  const std::vector<Case> cases = {
      {Ties::davidson,
       0,
       false,
       {0.98877623258330068, 0.10408899406465952, -0.22490042208933894, -0.86796480455862126},
       0,
       1.1310046822285753,
       52.163396793893732},
      {Ties::davidson,
       0.5,
       true,
       {0.82135232266594525, 0.060131888313313624, -0.1633811344467722, -0.71810307653248668},
       0.14424922864370102,
       1.106682094613918,
       52.494217863265945},
      {Ties::rao_kupper,
       0,
       false,
       {0.73120043487418569, 0.096367505340682344, -0.1861863524864271, -0.64138158772844093},
       0,
       0.78752536490422639,
       52.079302613045893},
      {Ties::rao_kupper,
       0.5,
       true,
       {0.65238193159113242, 0.068907185175038504, -0.15354668138516649, -0.56774243538100444},
       0.092283215511765457,
       0.78183450507297454,
       52.261605065119627}};
  for (const Case& c : cases) {
    CAPTURE(int(c.ties), c.l2);
    const BradleyTerryFit fit =
        fit_bradley_terry(with_ties(), 4, {.l2 = c.l2, .ties = c.ties, .order_effect = c.order});
    CHECK(fit.converged);
    CHECK(fit.gradient_norm < 1e-10);
    for (int i = 0; i < 4; ++i) CHECK(fit.weight[i] == close(c.ability[std::size_t(i)], 1e-11, 1e-12));
    CHECK(fit.order_effect == close(c.order_effect, 1e-11));
    CHECK(fit.tie_parameter == close(c.parameter, 1e-11));
    CHECK(fit.objective == close(c.objective, 1e-13));
    CHECK(fit.covariance.rows() == 4 + (c.order ? 1 : 0) + 1);
  }
  // Without ties both are Bradley-Terry.
  for (const Ties ties : {Ties::davidson, Ties::rao_kupper}) {
    const BradleyTerryFit fit = fit_bradley_terry(baseball(), 7, {.ties = ties});
    CHECK(fit.tie_parameter == 0);
    CHECK(fit.relative_to(baltimore)[milwaukee] == close(1.58135587666139, 1e-12));
    CHECK(fit.outcome(0, 1).tie == 0);
  }
}

TEST_CASE("Derivatives of the objective match differences") {
  const std::vector<Matchup> rows = with_ties();
  for (const Ties ties : {Ties::drop, Ties::davidson, Ties::rao_kupper}) {
    CAPTURE(int(ties));
    const valence::BradleyTerryOptions options{.l2 = 0.3, .ties = ties, .order_effect = true};
    valence::detail::OutcomeCounts counts = valence::detail::counts_of(rows);
    if (ties == Ties::drop) counts.ties.setZero();
    valence::detail::BradleyTerryObjective<valence::detail::ItemDesign> objective({rows, 4}, counts, options);
    Vector<double> theta(objective.size());
    for (Eigen::Index i = 0; i < theta.size(); ++i) theta[i] = 0.7 - 0.31 * double(i);
    if (objective.has_tie_parameter()) theta[objective.tie_index()] = 0.6;
    Vector<double> gradient(theta.size());
    Matrix<double> hessian(theta.size(), theta.size());
    const double value = objective(theta, &gradient, &hessian);
    CHECK(value == close(objective(theta, nullptr, nullptr), 1e-15));
    const auto at = [&](std::span<const double> x) {
      return Vector<double>(Eigen::Map<const Vector<double>>(x.data(), theta.size()));
    };
    CHECK(valence::test::gradient_matches([&](std::span<const double> x) { return objective(at(x), nullptr, nullptr); },
                                          copy(theta), copy(gradient)));
    for (Eigen::Index j = 0; j < theta.size(); ++j) {  // rows of the Hessian: it fills the lower triangle
      const Vector<double> row = hessian.selfadjointView<Eigen::Lower>() * Vector<double>::Unit(theta.size(), j);
      CHECK(valence::test::gradient_matches(
          [&](std::span<const double> x) {
            Vector<double> g(theta.size());
            objective(at(x), &g, nullptr);
            return g[j];
          },
          copy(theta), copy(row)));
    }
  }
}

TEST_CASE("A linear reward model by Newton") {
  Matrix<double> x(3, 6);     // the golden case of the shared specification
  x << 1, -.5, 0, 1, .3, -1,  //
      0, 1, -1, 1, -.7, .4,   //
      .5, 0, 1, -1, .2, .8;
  const std::vector<double> y = {1, 0, 1, 1, .5, 0};
  const BradleyTerryFit fit = fit_linear_reward(x, y, {}, {.l2 = 0.1});
  CHECK(fit.converged);
  CHECK(fit.gradient_norm < 1e-10);
  CHECK(fit.iterations <= 8);
  const double weight[] = {2.622829991625144, -0.646750098389128, 0.322164909177929};
  const double variance[] = {2.987788653653871, 2.589106904855655, 3.732798189026066};
  for (int i = 0; i < 3; ++i) {
    CHECK(fit.weight[i] == close(weight[i], 1e-12));
    CHECK(fit.covariance(i, i) == close(variance[i], 1e-10));
    CHECK(fit.standard_error(i) == close(std::sqrt(variance[i]), 1e-10));
  }
  CHECK(fit.objective == close(2.02096991965706, 1e-13));
  CHECK(fit.outcome(0.7).win == close(1 / (1 + std::exp(-0.7)), 1e-14));

  SECTION("one-hot differences give the abilities, ties and order effect included") {
    for (const Ties ties : {Ties::half, Ties::drop, Ties::davidson, Ties::rao_kupper}) {
      std::vector<double> outcome, weights;
      std::vector<Matchup> rows = with_ties();
      Matrix<double> difference = Matrix<double>::Zero(4, Eigen::Index(3 * rows.size()));
      for (const Matchup& m : rows)
        for (const auto& [label, count] : {std::pair{1.0, m.wins}, std::pair{0.0, m.losses}, std::pair{0.5, m.ties}}) {
          const auto column = Eigen::Index(outcome.size());
          difference(m.first, column) = 1;
          difference(m.second, column) = -1;
          outcome.push_back(label);
          weights.push_back(count);
        }
      const valence::BradleyTerryOptions options{.l2 = 0.2, .ties = ties, .order_effect = true};
      const BradleyTerryFit items = fit_bradley_terry(rows, 4, options);
      const BradleyTerryFit features = fit_linear_reward(difference, outcome, weights, options);
      for (int i = 0; i < 4; ++i) CHECK(features.weight[i] == close(items.weight[i], 1e-10, 1e-11));
      CHECK(features.order_effect == close(items.order_effect, 1e-10));
      CHECK(features.tie_parameter == close(items.tie_parameter, 1e-10));
      CHECK(features.objective == close(items.objective, 1e-12));
    }
  }
  SECTION("weights are counts, and a soft label is a win and a loss") {
    const std::vector<double> c = {2, 1, 1, 3, 1, 1}, soft = {1, 0, 1, 1, .3, 0};
    Matrix<double> repeated(3, 10);
    repeated << x, x.col(0), x.col(3), x.col(3), x.col(4);
    const std::vector<double> labels = {1, 0, 1, 1, 1, 0, 1, 1, 1, 0}, share = {1, 1, 1, 1, .3, 1, 1, 1, 1, .7};
    const BradleyTerryFit a = fit_linear_reward(x, soft, c, {.l2 = 0.1});
    const BradleyTerryFit b = fit_linear_reward(repeated, labels, share, {.l2 = 0.1});
    for (int i = 0; i < 3; ++i) CHECK(a.weight[i] == close(b.weight[i], 1e-11));
  }
}

TEST_CASE("Fits do not depend on how the data are written down") {
  const BradleyTerryFit fit = fit_bradley_terry(baseball(), 7, {.l2 = 1});
  std::vector<Matchup> turned = baseball();
  for (Matchup& m : turned) {  // other side first, other order, and each row in two halves
    std::swap(m.first, m.second);
    std::swap(m.wins, m.losses);
  }
  std::reverse(turned.begin(), turned.end());
  const std::size_t n = turned.size();
  for (std::size_t k = 0; k < n; ++k) {
    turned[k].wins /= 2;
    turned[k].losses /= 2;
    turned.push_back(turned[k]);
  }
  const BradleyTerryFit same = fit_bradley_terry(turned, 7, {.l2 = 1});
  for (int i = 0; i < 7; ++i) CHECK(same.weight[i] == close(fit.weight[i], 1e-11));

  std::vector<Matchup> renamed = baseball();
  for (Matchup& m : renamed) m.first = 6 - m.first, m.second = 6 - m.second;
  const BradleyTerryFit mirrored = fit_bradley_terry(renamed, 7, {.l2 = 1});
  for (int i = 0; i < 7; ++i) CHECK(mirrored.weight[6 - i] == close(fit.weight[i], 1e-11));

  std::vector<Matchup> reversed = baseball();
  for (Matchup& m : reversed) std::swap(m.wins, m.losses);
  const BradleyTerryFit losers = fit_bradley_terry(reversed, 7, {.l2 = 1});
  for (int i = 0; i < 7; ++i) CHECK(losers.weight[i] == close(-fit.weight[i], 1e-11));

  // The penalty pulls towards 0, and an item without comparisons stays there.
  CHECK(fit.weight.norm() < fit_bradley_terry(baseball(), 7).weight.norm());
  const BradleyTerryFit extra = fit_bradley_terry(baseball(), 8, {.l2 = 1});
  CHECK(extra.weight[7] == 0);
  CHECK(extra.standard_error(7) == close(std::sqrt(1 - 1.0 / 8), 1e-12));  // the prior's, against the mean of eight
  CHECK((extra.covariance * Vector<double>::Ones(8)).isZero(1e-12));
}

TEST_CASE("The gradient certificate holds on random data of any size") {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    valence::Rng rng{seed};
    const int items = 30;
    std::vector<Matchup> rows;
    std::vector<double> truth(items);
    for (double& t : truth) t = 2 * rng.normal();
    for (int k = 0; k < 4000; ++k) {
      const int i = int(rng.below(items)), j = (i + 1 + int(rng.below(items - 1))) % items;
      const bool win = rng.uniform() < 1 / (1 + std::exp(truth[std::size_t(j)] - truth[std::size_t(i)]));
      rows.push_back({i, j, win ? 1.0 : 0.0, win ? 0.0 : 1.0});
    }
    for (const double l2 : {1e-6, 1.0, 1e4}) {
      const BradleyTerryFit fit = fit_bradley_terry(rows, items, {.l2 = l2});
      CHECK(fit.converged);
      CHECK(fit.gradient_norm < 1e-10);
      // Recomputed here from the definition.
      Vector<double> g = l2 * fit.weight;
      for (const Matchup& m : rows) {
        const double p = 1 / (1 + std::exp(fit.weight[m.second] - fit.weight[m.first]));
        g[m.first] += p - m.wins;
        g[m.second] -= p - m.wins;
      }
      CHECK(g.cwiseAbs().maxCoeff() < 2e-10);
    }
  }
}

TEST_CASE("Data without a finite maximum are refused in words, and fitted with a penalty") {
  const std::vector<Matchup> apart = {{0, 1, 2, 1}, {2, 3, 1, 2}};
  CHECK(says(message_of([&] { fit_bradley_terry(apart, 4); }), "items 0 and 2", "not linked", "l2"));
  CHECK(valence::mle_status(apart, 4) == MleStatus::not_identified);
  CHECK(fit_bradley_terry(apart, 4, {.l2 = 0.1}).converged);

  const std::vector<Matchup> champion = {{0, 1, 2, 1}, {1, 2, 1, 1}, {3, 0, 2, 0}, {3, 2, 1, 0}};  // 3 never lost
  CHECK(says(message_of([&] { fit_bradley_terry(champion, 4); }), "separable", "item 3", "l2"));
  CHECK(valence::mle_status(champion, 4) == MleStatus::separable);
  CHECK(fit_bradley_terry(champion, 4, {.l2 = 0.1}).converged);
  std::vector<Matchup> tied = champion;
  tied[2].ties = 1;  // half a loss is enough
  CHECK(valence::mle_status(tied, 4) == MleStatus::unique);
  CHECK(valence::mle_status(tied, 4, Ties::drop) == MleStatus::separable);
  CHECK(fit_bradley_terry(tied, 4).converged);

  // A circle of home wins: the graph is strongly connected, the order effect is infinite.
  const std::vector<Matchup> circle = {{0, 1, 1, 0}, {1, 2, 1, 0}, {2, 0, 1, 0}};
  CHECK(fit_bradley_terry(circle, 3).converged);
  CHECK(says(message_of([&] { fit_bradley_terry(circle, 3, {.order_effect = true}); }), "separable", "order effect"));
  // Linked through ties only: half-wins have a maximum, a tie model explains these three without limit.
  const std::vector<Matchup> through_ties = {{0, 1, 1, 0, 0}, {1, 2, 0, 0, 1}, {2, 0, 0, 0, 1}};
  CHECK(fit_bradley_terry(through_ties, 3).converged);
  for (const Ties ties : {Ties::davidson, Ties::rao_kupper})
    CHECK(says(message_of([&] { fit_bradley_terry(through_ties, 3, {.ties = ties}); }), "separable"));

  Matrix<double> x(2, 3);
  x << 1, 2, .5,  //
      -1, .3, .2;
  CHECK(says(message_of([&] { fit_linear_reward(x); }), "separable", "l2"));
  CHECK(valence::mle_status(x) == MleStatus::separable);
  CHECK(fit_linear_reward(x, {}, {}, {.l2 = 1e-3}).converged);
  Matrix<double> half(2, 4);  // separated by the first feature, except for pairs that don't differ in it
  half << 1, 2, 0, 0,         //
      .5, -1, 1, -1;
  CHECK(valence::mle_status(half) == MleStatus::separable);
  half(0, 3) = -0.1;  // overlap by a little
  half(1, 3) = -0.5;
  CHECK(valence::mle_status(half) == MleStatus::unique);
  CHECK(fit_linear_reward(half).gradient_norm < 1e-10);
  Matrix<double> twins(2, 3);
  twins << 1, -1, 2,  //
      2, -2, 4;
  CHECK(says(message_of([&] { fit_linear_reward(twins); }), "linearly dependent", "l2"));
  CHECK(valence::mle_status(twins) == MleStatus::not_identified);
  twins.row(1).setZero();
  CHECK(says(message_of([&] { fit_linear_reward(twins); }), "feature 1", "same on both sides"));
}

TEST_CASE("Bad input to the fits names the entry") {
  const auto message = [](std::vector<Matchup> rows, int items, valence::BradleyTerryOptions options = {}) {
    return message_of([&] { fit_bradley_terry(rows, items, options); });
  };
  CHECK(says(message({}, 3), "matchups is empty"));
  CHECK(says(message({{0, 1, 1, 1}}, 1), "items is 1"));
  CHECK(says(message({{0, 1, 1, 1}, {0, 3, 1, 1}}, 3), "matchups[1].second is 3", "[0, 2]"));
  CHECK(says(message({{-1, 1, 1, 1}}, 3), "matchups[0].first is -1"));
  CHECK(says(message({{2, 2, 1, 1}}, 3), "matchups[0]", "item 2 with itself"));
  CHECK(says(message({{0, 1, -1, 1}}, 2), "matchups[0].wins is -1"));
  CHECK(says(message({{0, 1, 1, not_a_number}}, 2), "matchups[0].losses is nan"));
  CHECK(says(message({{0, 1, 1, 1, HUGE_VAL}}, 2), "matchups[0].ties is inf"));
  CHECK(says(message({{0, 1, 0, 0}}, 2, {.l2 = 1}), "weight 0"));
  CHECK(says(message({{0, 1, 0, 0, 2}}, 2, {.l2 = 1, .ties = Ties::drop}), "tie", "drop"));
  CHECK(says(message({{0, 1, 0, 0, 2}}, 2, {.ties = Ties::davidson}), "every comparison is a tie"));
  CHECK(says(message({{0, 1, 1, 1}}, 2, {.l2 = -1}), "l2 is -1"));
  CHECK(says(message({{0, 1, 1, 1}}, 2, {.l2 = not_a_number}), "l2 is nan"));
  CHECK(says(message({{0, 1, 1, 1}}, 2, {.max_iterations = 0}), "max_iterations is 0"));
  CHECK(says(message({{0, 1, 1, 1}}, 2, {.tolerance = 0}), "tolerance is 0"));

  Matrix<double> x(2, 3);
  x << 1, -2, .5,  //
      -1, .3, .2;
  const auto features = [&](std::vector<double> y, std::vector<double> w = {}) {
    return message_of([&] { fit_linear_reward(x, y, w, {.l2 = 1}); });
  };
  CHECK(says(features({1, 0}), "outcome has 2 entries", "3"));
  CHECK(says(features({1, 0, 1}, {1}), "weight has 1 entries", "3"));
  CHECK(says(features({1, 2, 1}), "outcome[1] is 2", "[0, 1]"));
  CHECK(says(features({1, 0, not_a_number}), "outcome[2] is nan"));
  CHECK(says(features({1, 0, 1}, {1, -1, 1}), "weight[1] is -1"));
  x(1, 2) = not_a_number;
  CHECK(says(features({1, 0, 1}), "difference(1, 2) is nan"));
  CHECK(says(message_of([&] { fit_linear_reward(Matrix<double>(2, 0)); }), "2 x 0"));

  const BradleyTerryFit fit = fit_bradley_terry(std::vector<Matchup>{{0, 1, 1, 2}}, 2);
  CHECK(says(message_of([&] { fit.outcome(0, 2); }), "item is 2"));
  CHECK(says(message_of([&] { fit.standard_error(-1); }), "item is -1"));
  CHECK(says(message_of([&] { fit.relative_to(5); }), "item is 5"));
  CHECK(says(message_of([&] { fit.outcome(not_a_number); }), "difference is nan"));
}

TEST_CASE("An iteration limit shows in the result") {
  const BradleyTerryFit fit = fit_bradley_terry(baseball(), 7, {.max_iterations = 1});
  CHECK_FALSE(fit.converged);
  CHECK(fit.iterations == 1);
  CHECK(fit.gradient_norm > 1e-3);
}
