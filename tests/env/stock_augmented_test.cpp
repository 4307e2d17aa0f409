// The wrapper that shows the stock beside the state.
#include <limits>
#include <set>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/env/stock_augmented.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/mdp/concepts.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

/// Earns 1, -2, 0.5 and is over.
struct Script {
  using State = int;
  using Action = int;
  int reset(Rng&) { return n = 0; }
  Step<int> step(int, Rng&) {
    const double rewards[]{1, -2, .5};
    const double r = rewards[n++];
    return {.next = n, .reward = r, .terminated = n == 3};
  }
  Discrete actions() const { return {1}; }
  template <class A>
  void archive(A& ar) {
    ar(n);
  }
  int n = 0;
};

static_assert(Environment<StockAugmented<Script>>);
static_assert(!EnumerableEnvironment<StockAugmented<Script>>);

}  // namespace

TEST_CASE("StockAugmented: the recursion, and what it keeps") {
  StockAugmented env{Script{}, {.initial = {.5}, .discount = .9}};
  Rng rng{1};
  const auto first = env.reset(rng);
  CHECK(first.state == 0);
  CHECK(first.stock == .5);
  const std::vector<double> stocks{1.6666666666666665, -0.3703703703703705, 0.14403292181069943};
  double discounted = .5, power = 1;
  for (int t = 0; t < 3; ++t) {
    const auto step = env.step(0, rng);
    CHECK(step.next.state == t + 1);
    CHECK(step.next.stock == close(stocks[static_cast<std::size_t>(t)], 1e-15));
    CHECK(step.terminated == (t == 2));
    discounted += power * step.reward, power *= .9;
    if (step.terminated) CHECK(discounted == close(power * step.next.stock, 1e-14));
  }
  CHECK(discounted == close(.105, 1e-14));
  CHECK(env.reset(rng).stock == .5);  // anew
  StockAugmented limited{TimeLimit{Script{}, 2}};
  limited.reset(rng);
  CHECK_FALSE(limited.step(0, rng).truncated);
  CHECK(limited.step(0, rng).truncated);
  CHECK(limited.stock == -1);
}

TEST_CASE("StockAugmented: stocks to begin with are drawn, a copy and an archive are snapshots") {
  StockAugmented env{Script{}, {.initial = {-2, 0, 7}}};
  Rng rng{2};
  std::set<double> seen;
  for (int i = 0; i < 60; ++i) seen.insert(env.reset(rng).stock);
  CHECK(seen == std::set<double>{-2, 0, 7});
  env.step(0, rng);
  auto copy = env;
  StockAugmented restored{Script{}};
  const auto bytes = to_bytes(env);
  from_bytes(bytes, restored);
  const double next = env.step(0, rng).next.stock;
  CHECK(copy.step(0, rng).next.stock == next);
  CHECK(restored.step(0, rng).next.stock == next);

  std::vector<double> column(4);
  encode(StockState<int>{1, -2.5}, std::span<double>(column));
  CHECK(column == std::vector<double>{0, 1, 0, -2.5});
}

TEST_CASE("StockAugmented: bad input is refused") {
  const auto refused = [](const StockAugmentedOptions& options) {
    return message_of([&] { StockAugmented(Script{}, options); });
  };
  CHECK(says(refused({.initial = {}}), "initial is empty"));
  CHECK(says(refused({.initial = {0, std::numeric_limits<double>::infinity()}}), "initial[1] is inf"));
  CHECK(says(refused({.discount = 0}), "discount is 0"));
  CHECK(says(refused({.discount = 1.5}), "discount is 1.5"));
  CHECK(says(refused({.discount = std::numeric_limits<double>::quiet_NaN()}), "discount is nan"));
}
