// Stock-augmented distributional dynamic programming (Avila Pires et al. 2025, arXiv:2501.13028).
//
// A stock, the rewards so far, stands beside the state; then greedy control of the law of stock + return reaches
// objectives beyond the mean. First a gambler who plays six rounds of a safe +1 and two random lotteries, for CVaR:
// against the mean's best policy and against distributional control that is greedy for CVaR but sees no stock. All are
// exact, so the stock can't lose; where CVaR looks at the worst tenth alone, always playing safe is as good. Then
// random models in which the return is to be 8 (homeostasis), with the tabular quantile agent that learns the same from
// play. Expected: the stock wins at middling levels, and it halves the distance to 8.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "valence/agent/quantile_agent.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/env/model_environment.hpp"
#include "valence/env/stock_augmented.hpp"
#include "valence/function/schedules.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/distributional_iteration.hpp"

namespace vl = valence;

namespace {

constexpr double levels[] = {.1, .25, .5};
constexpr int rounds = 4;     // of homeostasis
constexpr double target = 8;  // its return

/// A safe +1, or one of two lotteries that win 4 to 9 with a probability in [0.35, 0.6] and else lose 1 to 4.
vl::FiniteMdp<double> gambler(vl::Rng& rng) {
  std::vector<vl::ModelEntry> entries{{0, 0, 0, 1, 1}};
  for (int a = 1; a <= 2; ++a) {
    const double p = rng.uniform(.35, .6);
    entries.push_back({0, a, 0, p, 4. + rng.below(6)});
    entries.push_back({0, a, 0, 1 - p, -1. - rng.below(4)});
  }
  return vl::FiniteMdp(1, 3, entries);
}

/// Three states, three actions, three outcomes with rewards from -3 to 6, played for some rounds: the state of round t
/// is 3 t + s, and what comes after the last is over.
vl::FiniteMdp<double> random_game(vl::Rng& rng) {
  std::vector<vl::ModelEntry> entries;
  std::vector<double> initial(3 * rounds + 1, 0);
  initial[0] = 1;
  for (int s = 0; s < 3; ++s)
    for (int a = 0; a < 3; ++a) {
      double p[3], sum = 0;
      for (double& x : p) sum += x = rng.exponential();  // Dirichlet(1) when divided by the sum
      for (const double x : p) {
        const double reward = rng.below(10) - 3;
        const int next = rng.below(3);
        for (int t = 0; t < rounds; ++t)
          entries.push_back({3 * t + s, a, t + 1 < rounds ? 3 * (t + 1) + next : 3 * rounds, x / sum, reward});
      }
    }
  return vl::FiniteMdp(3 * rounds + 1, 3, entries, std::vector<int>{3 * rounds}, initial);
}

void cvar(paper::Seed& seed) {
  vl::Rng rng = seed.rng.split(0);
  const auto mdp = gambler(rng);
  const auto neutral = distributional_value_iteration(mdp, vl::Mean{}, {.horizon = 6});
  const auto tail = distributional_value_iteration(mdp, vl::ExpectedUtility<vl::NegativePart>{}, {.horizon = 6});
  for (const double level : levels) {
    const auto heading = fmt::format("CVaR at {}/", level);
    const auto free =
        distributional_value_iteration(mdp, vl::Cvar{level}, {.horizon = 6, .stock = vl::StockGrid::none()});
    seed.measure(heading + "stock-augmented", vl::Cvar{level}(tail.law(0, cvar_stock(tail, 0, level).stock)));
    seed.measure(heading + "no stock, greedy for CVaR", vl::Cvar{level}(free.law(0, 0)));
    seed.measure(heading + "no stock, best mean", vl::Cvar{level}(neutral.law(0, 0)));
  }
}

void homeostasis(paper::Seed& seed) {
  vl::Rng rng = seed.rng.split(1);
  const auto mdp = random_game(rng);
  const auto distance = [&](const vl::Particles& law) { return -vl::ExpectedUtility{vl::MinusDistance{target}}(law); };
  const auto stock = vl::StockGrid::integers(-8, -8);
  const vl::ExpectedUtility<vl::MinusDistance> to_zero;
  const auto dp = distributional_value_iteration(mdp, to_zero, {.horizon = rounds, .stock = stock});
  const auto free = distributional_value_iteration(mdp, vl::ExpectedUtility{vl::MinusDistance{target}},
                                                   {.horizon = rounds, .stock = vl::StockGrid::none()});
  const auto mean = distributional_value_iteration(mdp, vl::Mean{}, {.horizon = rounds});

  const int episodes = 15'000;
  vl::QuantileAgent agent{vl::Tabular{mdp.states(), 3},
                          vl::QuantileReturn{.quantiles = 16, .kappa = 0},
                          to_zero,
                          vl::EpsilonGreedy{.3},
                          {.step_size = vl::LinearSchedule{.begin = .5, .end = .05, .steps = episodes * rounds},
                           .discount = 1,
                           .stock = vl::StockGrid::integers(-8 - 3 * rounds, -8 + 6 * rounds)}};
  vl::Rng play = seed.rng.split(2);
  train(agent, vl::StockAugmented{vl::ModelEnvironment{mdp}, {.initial = {-target}}}, {.episodes = episodes}, play);
  // What the agent's greedy policy earns, exactly.
  const std::function<double(int, double)> played = [&](int s, double c) {
    if (mdp.terminal(s)) return std::abs(c);
    double sum = 0;
    for (const auto& to : mdp.successors(s, agent.greedy(vl::StockState<int>{s, c})))
      sum += to.probability * played(to.next, c + to.reward);
    return sum;
  };
  seed.measure("E|G - 8|/stock-augmented", distance(dp.law(0, -target)));
  seed.measure("E|G - 8|/stock, quantile agent", played(0, -target));
  seed.measure("E|G - 8|/no stock, greedy for it", distance(free.law(0, 0)));
  seed.measure("E|G - 8|/no stock, best mean", distance(mean.law(0, 0)));
}

void study(paper::Study& study) {
  study.each_seed([](paper::Seed& seed) {
    cvar(seed);
    homeostasis(seed);
  });
  const auto in = [](double level, const char* method) { return fmt::format("CVaR at {}/{}", level, method); };
  const auto stock = [&](double level) { return in(level, "stock-augmented"); };
  study.require("E|G - 8| with a stock / greedy without",
                study.mean("E|G - 8|/stock-augmented") / study.mean("E|G - 8|/no stock, greedy for it"),
                paper::at_most(.75));
  study.require("E|G - 8| of the quantile agent, above the optimum",
                study.mean("E|G - 8|/stock, quantile agent") - study.mean("E|G - 8|/stock-augmented"),
                paper::at_most(.5));
  double least = 1;
  for (const double level : levels)
    for (const char* method : {"no stock, greedy for CVaR", "no stock, best mean"})
      for (const double gain : study.difference(stock(level), in(level, method))) least = std::min(least, gain);
  study.require("least gain of the stock in CVaR, any level, baseline and seed", least, paper::at_least(-1e-9));
  const auto gains = study.difference(stock(.5), in(.5, "no stock, greedy for CVaR"));
  const auto above = std::count_if(gains.begin(), gains.end(), [](double gain) { return gain > 1e-9; });
  study.require("share of seeds where the stock gains in CVaR at 0.5",
                static_cast<double>(above) / static_cast<double>(gains.size()), paper::at_least(.4));
  study.require("mean gain in CVaR at 0.25 over the best mean",
                study.mean(stock(.25)) - study.mean(in(.25, "no stock, best mean")), paper::at_least(2));
  study.note(
      fmt::format("At level 0.1 the stock gains {:.2g} over greedy control without one: playing safe is all that is "
                  "left there, and a stock isn't needed.",
                  study.mean(stock(.1)) - study.mean(in(.1, "no stock, greedy for CVaR"))));
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run({.id = "stock_augmented_dp",
                     .header = "valence/planning/distributional_iteration.hpp",
                     .claim = "a stock beside the state reaches statistics of the return that greedy control misses",
                     .seeds = 60,
                     .quick_seeds = 20},
                    count, arguments, study);
}
