// Quantile Q-learning over a table, with a stock and without.
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/agent.hpp"
#include "valence/agent/quantile_agent.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/env/model_environment.hpp"
#include "valence/env/stock_augmented.hpp"
#include "valence/function/schedules.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/distributional_iteration.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

/// The fixed lottery of the specification, played twice: rounds 0 and 1, then the end. +1; +6 or -2; +4 or -3.
FiniteMdp<double> two_rounds() {
  std::vector<ModelEntry> entries;
  for (int round = 0; round < 2; ++round) {
    entries.push_back({round, 0, round + 1, 1, 1});
    entries.push_back({round, 1, round + 1, .5, 6}), entries.push_back({round, 1, round + 1, .5, -2});
    entries.push_back({round, 2, round + 1, .6, 4}), entries.push_back({round, 2, round + 1, .4, -3});
  }
  return FiniteMdp(3, 3, entries, std::vector<int>{2}, std::vector<double>{1, 0, 0});
}

using StockStep = Transition<StockState<int>, int>;
static_assert(Agent<QuantileAgent<>, int, int>);
static_assert(Agent<QuantileAgent<ExpectedUtility<NegativePart>>, StockState<int>, int>);

}  // namespace

TEST_CASE("QuantileAgent: one update by hand") {
  // Two quantiles at 1/4 and 3/4, pinball loss; the next state's best action for -|c + theta| is 1.
  QuantileAgent agent{Tabular{2, 2, 1.0},
                      QuantileReturn{.quantiles = 2, .kappa = 0},
                      ExpectedUtility<MinusDistance>{},
                      EpsilonGreedy{0},
                      {.step_size = .5, .discount = .5, .stock = StockGrid::integers(-4, 4)}};
  Rng rng{1};
  const StockState<int> here{0, -2}, there{1, 2};
  // Terminated: the target is the reward 3, above both quantiles, so they rise by 1/2 tau.
  agent.learn(StockStep{there, 0, 3, {0, 0}, true, false}, rng);
  CHECK(agent.quantiles(there, 0)[0] == close(1.125));
  CHECK(agent.quantiles(there, 0)[1] == close(1.375));
  const auto values = agent.values(there);
  CHECK(values[0] == close(-3.25));  // 2 + 1.25
  CHECK(values[1] == close(-3.0));
  CHECK(agent.greedy(there) == 1);
  // r + g theta(s', c', 1) = -1 + 0.5: below both quantiles, which are 1: down by 1/2 (1 - tau).
  agent.learn(StockStep{here, 1, -1, there, false, false}, rng);
  CHECK(agent.quantiles(here, 1)[0] == close(1 - .375));
  CHECK(agent.quantiles(here, 1)[1] == close(1 - .125));
  CHECK(agent.quantiles(here, 0)[0] == 1);
  CHECK(agent.quantiles(StockState<int>{0, -1}, 1)[0] == 1);  // another stock
  CHECK(agent.steps() == 2);
  // Truncated: the next state counts.
  agent.learn(StockStep{here, 1, 10, there, false, true}, rng);
  CHECK(agent.quantiles(here, 1)[0] == close(1 - .375 + .125));
}

TEST_CASE("QuantileAgent: with a stock it comes near the best policy, without one it learns means") {
  const auto mdp = two_rounds();
  const auto best = distributional_value_iteration(mdp, ExpectedUtility<MinusDistance>{}, {.horizon = 2});
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    Rng rng{seed};
    // Ten quantiles: no fraction is so near to 0.4 that its loss is flat between the outcomes.
    QuantileAgent agent{Tabular{3, 3},
                        QuantileReturn{.quantiles = 16, .kappa = 0},
                        ExpectedUtility<MinusDistance>{},
                        EpsilonGreedy{.5},
                        {.step_size = LinearSchedule{.begin = 1, .end = .05, .steps = 20'000},
                         .discount = 1,
                         .stock = StockGrid::integers(-11, 7)}};
    const StockAugmented env{ModelEnvironment{mdp}, {.initial = {-5}}};
    train(agent, env, {.episodes = 10'000}, rng);
    // What the policy found earns, exactly.
    double distance = 0;
    const int a = agent.greedy(StockState<int>{0, -5});
    for (const auto& first : mdp.successors(0, a)) {
      const double c = -5 + first.reward;
      for (const auto& second : mdp.successors(1, agent.greedy(StockState<int>{1, c})))
        distance += first.probability * second.probability * std::abs(c + second.reward);
    }
    CAPTURE(seed, distance, best.value_at(0, -5));
    CHECK(distance >= -best.value_at(0, -5) - 1e-12);
    CHECK(distance <= -best.value_at(0, -5) + .25);

    QuantileAgent plain{Tabular{3, 3},
                        QuantileReturn{.quantiles = 16},
                        Mean{},
                        EpsilonGreedy{.5},
                        {.step_size = LinearSchedule{.begin = 1, .end = .05, .steps = 20'000}, .discount = 1}};
    train(plain, ModelEnvironment{mdp}, {.episodes = 10'000}, rng);
    CHECK(plain.greedy(0) == 1);
    CHECK(plain.values(0)[1] == close(4, 0, .7));
  }
}

TEST_CASE("QuantileAgent: saved, resumed, without allocation") {
  const StockAugmented env{ModelEnvironment{two_rounds()}, {.initial = {-5, 0}}};
  const auto made = [] {
    return QuantileAgent{Tabular{3, 3},
                         QuantileReturn{.quantiles = 8},
                         ExpectedUtility<NegativePart>{},
                         EpsilonGreedy{.2},
                         {.discount = 1, .stock = StockGrid::integers(-11, 12)}};
  };
  auto agent = made();
  Rng rng{4};
  train(agent, env, {.episodes = 100}, rng);
  auto resumed = made();
  from_bytes(to_bytes(agent), resumed);
  Rng one{5}, two{5};
  train(agent, env, {.episodes = 100}, one);
  train(resumed, env, {.episodes = 100}, two);
  CHECK(state_hash(agent) == state_hash(resumed));

  const StockState<int> here{0, -5}, there{1, 1};
  valence::test::Allocations allocations;
  for (int i = 0; i < 10; ++i) {
    agent.learn(StockStep{here, agent.act(here, rng), 6, there, false, false}, rng);
    agent.learn(StockStep{there, agent.act(there, rng), -2, {2, -1}, true, false}, rng);
  }
  CHECK(allocations.count() == 0);
}

TEST_CASE("QuantileAgent: bad input is refused before anything changes") {
  const auto refused = [](const QuantileAgentOptions& options, Tabular<double> table = {3, 3},
                          QuantileReturn head = {}) {
    return message_of([&] { QuantileAgent(table, head, Mean{}, EpsilonGreedy{}, options); });
  };
  CHECK(says(refused({.discount = 0}), "discount is 0"));
  CHECK(says(refused({.discount = 2}), "discount is 2"));
  CHECK(says(refused({.step_size = -1.}), "step_size is -1"));
  CHECK(says(refused({.stock = StockGrid::covering()}), "stock grid"));
  CHECK(says(refused({}, {0, 3}), "states is 0"));
  CHECK(says(refused({}, {3, 3}, {.quantiles = 0}), "quantiles is 0"));
  CHECK(says(refused({.stock = StockGrid::integers(0, 1'000'000'000)}), "coarser"));

  QuantileAgent agent{Tabular{3, 3},
                      QuantileReturn{.quantiles = 4},
                      ExpectedUtility<NegativePart>{},
                      EpsilonGreedy{},
                      {.discount = 1, .stock = StockGrid::integers(-3, 3)}};
  Rng rng{6};
  const auto before = state_hash(agent);
  const auto learn = [&](const StockStep& t) { return message_of([&] { agent.learn(t, rng); }); };
  CHECK(says(learn({{0, 0}, 0, std::nan(""), {1, 0}, false, false}), "reward is nan"));
  CHECK(says(learn({{0, 0}, 3, 1, {1, 0}, false, false}), "action is 3"));
  CHECK(says(learn({{3, 0}, 0, 1, {1, 0}, false, false}), "state is 3"));
  CHECK(says(learn({{0, 4}, 0, 1, {1, 0}, false, false}), "stock is 4"));
  CHECK(says(learn({{0, 0}, 0, 1, {1, -4}, false, false}), "stock is -4"));
  CHECK(says(learn({{0, 0}, 0, 1, {1, std::nan("")}, false, false}), "stock is nan"));
  CHECK(says(message_of([&] { agent.greedy(0); }), "no stock"));
  CHECK(state_hash(agent) == before);
}
