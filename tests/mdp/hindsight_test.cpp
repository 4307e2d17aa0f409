#include "valence/mdp/hindsight.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using test::message_of, test::says;

namespace {

/// A state is (place, velocity, goal); the goal reached in it is ten times its place.
struct Line {
  void achieved(std::span<const double> state, std::span<double> goal) const { goal[0] = 10 * state[0]; }
  double reward(std::span<const double> achieved, std::span<const double> goal) const {
    return achieved[0] == goal[0] ? 0 : -1;
  }
};
struct EndingLine : Line {
  bool terminated(std::span<const double> achieved, std::span<const double> goal) const {
    return achieved[0] == goal[0];
  }
};
static_assert(GoalSpace<Line, double> && GoalSpace<EndingLine, double> && !GoalSpace<int, double>);

using Memory = HindsightReplay<double>;
using Batch = ReplayBatch<double>;

constexpr double wanted = -7, recorded = 3;  // the goal and the reward that are added

/// From `place` to the next place.
std::uint64_t move(Memory& memory, int place, bool terminated = false, bool truncated = false) {
  const std::array<double, 3> state{1.0 * place, 0.5, wanted}, next{place + 1.0, 0.5, wanted};
  return memory.add({.state = state,
                     .action = place,
                     .reward = recorded,
                     .next = next,
                     .terminated = terminated,
                     .truncated = truncated});
}

/// An episode of `length` steps from `place`.
void episode(Memory& memory, int place, int length) {
  for (int t = 0; t < length; ++t) move(memory, place + t, false, t + 1 == length);
}

/// How often each place was the goal of the relabelled entries that begin at each place.
using Goals = std::map<int, std::map<int, double>>;
Goals goals_of(Memory& memory, Rng& rng, std::size_t k = 20'000) {
  Batch batch;
  const std::size_t relabelled = memory.sample(k, batch, rng, Line{});
  Goals out;
  std::size_t seen = 0;
  for (Eigen::Index j = 0; j < static_cast<Eigen::Index>(k); ++j) {
    const double goal = batch.state(2, j), place = batch.state(0, j);
    REQUIRE(batch.next(2, j) == goal);
    REQUIRE(batch.state(1, j) == 0.5);
    REQUIRE(batch.next(0, j) == place + 1);
    REQUIRE(batch.action(0, j) == place);
    if (goal == wanted) {
      REQUIRE(batch.reward[j] == recorded);
      continue;
    }
    REQUIRE(batch.reward[j] == (goal == 10 * (place + 1) ? 0 : -1));
    ++seen;
    ++out[static_cast<int>(place)][static_cast<int>(goal / 10)];
  }
  REQUIRE(seen == relabelled);
  return out;
}

std::set<int> keys(const std::map<int, double>& counts) {
  std::set<int> out;
  for (const auto& [goal, count] : counts) out.insert(goal);
  return out;
}
double uniform_p(const std::map<int, double>& counts) {
  std::vector<double> c;
  for (const auto& [goal, count] : counts) c.push_back(count);
  return test::chi_square_test(c, std::vector<double>(c.size(), 1 / static_cast<double>(c.size())));
}

}  // namespace

TEST_CASE("Each strategy reaches the goals it should, the last one too, each as often", "[R10]") {
  for (const auto strategy : {GoalStrategy::final, GoalStrategy::future, GoalStrategy::episode}) {
    Memory memory(3, 1, {.capacity = 100}, {.strategy = strategy, .share = 1});
    episode(memory, 0, 3);    // s0 .. s3
    episode(memory, 50, 12);  // another one
    Rng rng{1};
    Goals goals = goals_of(memory, rng);
    using Set = std::set<int>;
    const bool final = strategy == GoalStrategy::final, all = strategy == GoalStrategy::episode;
    CHECK(keys(goals[0]) == (final ? Set{3} : Set{1, 2, 3}));
    CHECK(keys(goals[1]) == (final ? Set{3} : all ? Set{1, 2, 3} : Set{2, 3}));
    CHECK(keys(goals[2]) == (all ? Set{1, 2, 3} : Set{3}));
    CHECK(keys(goals[59]) == (final ? Set{62} : all ? keys(goals[50]) : Set{60, 61, 62}));
    CHECK(goals[50].size() == (final ? 1 : 12));
    for (const auto& [place, counts] : goals) CHECK(uniform_p(counts) > 1e-6);
  }
}

TEST_CASE("The share says how many entries are relabelled") {
  for (const double share : {0.0, 0.8, 1.0}) {
    Memory memory(3, 1, {.capacity = 100}, {.share = share});
    episode(memory, 0, 20);
    Rng rng{2};
    Batch batch;
    const auto n = static_cast<double>(memory.sample(10'000, batch, rng, Line{}));
    CHECK(std::abs(n - 10'000 * share) <= (share == 0.8 ? 5 * std::sqrt(10'000 * 0.8 * 0.2) : 0.0));
  }
  CHECK(HindsightOptions{}.share == 0.8);
}

TEST_CASE("Goals do not cross the wrap of the ring", "[R11]") {
  Memory memory(3, 1, {.capacity = 15}, {.strategy = GoalStrategy::episode, .share = 1});
  Rng rng{3};
  Batch batch;
  CHECK(says(message_of([&] { memory.sample(1, batch, rng, Line{}); }), "the memory is empty"));
  for (int t = 0; t < 9; ++t) move(memory, t);
  CHECK(says(message_of([&] { memory.sample(1, batch, rng, Line{}); }), "no episode is over yet, of 9 transitions"));
  move(memory, 9, false, true);
  for (int t = 0; t < 12; ++t) {  // an unfinished second one goes over the first
    move(memory, 100 + t);
    const int gone = std::max(0, 11 + t - 15);
    for (const auto& [place, counts] : goals_of(memory, rng, 500)) {
      REQUIRE(place >= gone);
      REQUIRE(place <= 9);
      for (const auto& [goal, count] : counts) REQUIRE((goal > gone && goal <= 10));
    }
  }
  move(memory, 112), move(memory, 113);
  CHECK(keys(goals_of(memory, rng, 100)[9]) == std::set<int>{10});  // all that is left of the first
  move(memory, 114);
  CHECK(memory.size() == 15);
  CHECK(says(message_of([&] { memory.sample(1, batch, rng, Line{}); }), "no episode is over yet, of 15 transitions"));
  const auto before = to_bytes(memory);
  CHECK(says(message_of([&] { move(memory, 115); }), "HindsightReplay::add", "longer than the memory",
             "at most 15 transitions"));
  CHECK(to_bytes(memory) == before);
  memory.end_episode();
  Goals goals = goals_of(memory, rng);
  CHECK(goals.size() == 15);
  CHECK(goals[100].size() == 15);
  move(memory, 7, true);  // one step
  goals = goals_of(memory, rng);
  CHECK(keys(goals[7]) == std::set<int>{8});
  CHECK(goals[101].size() == 14);
  CHECK(goals.count(100) == 0);
}

TEST_CASE("An episode of one step relabels to its own goal, with the reward computed anew", "[R11]") {
  for (const auto strategy : {GoalStrategy::final, GoalStrategy::future, GoalStrategy::episode}) {
    Memory memory(3, 1, {.capacity = 1}, {.strategy = strategy, .share = 1});
    move(memory, 4, true);
    Rng rng{4};
    Batch batch;
    CHECK(memory.sample(3, batch, rng, Line{}) == 3);
    CHECK(batch.state(2, 2) == 50);
    CHECK(batch.reward[2] == 0);
    CHECK(batch.terminated[2]);
  }
}

TEST_CASE("Where episodes end at their goal, relabelled ones do; else the flags are kept") {
  Memory memory(3, 1, {.capacity = 10}, {.strategy = GoalStrategy::future, .share = 1});
  for (int t = 0; t < 5; ++t) move(memory, t, t == 4);
  Rng rng{5};
  Batch batch;
  memory.sample(500, batch, rng, EndingLine{});
  int ends = 0;
  for (Eigen::Index j = 0; j < 500; ++j) {
    REQUIRE(batch.terminated[j] == (batch.state(2, j) == 10 * batch.next(0, j)));
    ends += batch.terminated[j] ? 1 : 0;
  }
  CHECK(ends > 100);
  memory.sample(500, batch, rng, Line{});
  for (Eigen::Index j = 0; j < 500; ++j) REQUIRE(batch.terminated[j] == (batch.state(0, j) == 4));
}

TEST_CASE("Episodes of several environments do not mix, their actions are vectors") {
  HindsightReplay<float, float> memory(2, 1, 2, {.capacity = 31, .environments = 3},
                                       {.strategy = GoalStrategy::episode, .share = 1});
  struct Place {
    void achieved(std::span<const float> state, std::span<float> goal) const { goal[0] = state[0]; }
    float reward(std::span<const float> a, std::span<const float> g) const { return g[0] - a[0]; }
  };
  std::array<float, 3> at{0, 1000, 2000};
  Rng rng{6};
  ReplayBatch<float, float> batch;
  for (int t = 0; t < 300; ++t) {
    float& x = at[static_cast<std::size_t>(t % 3)];
    const std::array<float, 2> state{x, -1}, next{x + 1, -1}, action{x, 2 * x};
    const bool done = t / 3 % 4 == t % 3;
    memory.add({state, action, -5.0F, next, false, done});
    x += done ? 10.0F : 1.0F;  // each episode within one decade or two: gaps show where it began
    if (t < 30) continue;
    memory.sample(20, batch, rng, Place{});
    for (Eigen::Index j = 0; j < 20; ++j) {
      const float goal = batch.state(1, j), place = batch.state(0, j);
      REQUIRE(std::abs(goal - place) <= 4);  // four steps an episode
      REQUIRE(batch.reward[j] == goal - (place + 1));
      REQUIRE(batch.action(1, j) == 2 * place);
    }
  }
}

TEST_CASE("Bad goals and options are refused", "[R19]") {
  Memory memory(3, 1, {.capacity = 4}, {.share = 1});
  move(memory, 0, true);
  Rng rng{7};
  Batch batch;
  struct Silent : Line {
    void achieved(std::span<const double>, std::span<double>) const {}
  };
  struct Infinite : Line {
    double reward(std::span<const double>, std::span<const double>) const {
      return std::numeric_limits<double>::infinity();
    }
  };
  CHECK(says(message_of([&] { memory.sample(1, batch, rng, Silent{}); }), "the goal achieved[0] is nan"));
  CHECK(says(message_of([&] { memory.sample(1, batch, rng, Infinite{}); }), "the reward is inf"));
  CHECK(says(message_of([&] { memory.sample(0, batch, rng, Line{}); }), "k is 0"));
  CHECK(says(message_of([] { Memory(3, 4); }), "goal_size is 4; expected a number in [1, 3]"));
  CHECK(says(message_of([] { Memory(3, 0); }), "goal_size is 0"));
  CHECK(says(message_of([] { Memory(3, 1, {}, {.share = 1.1}); }), "share is 1.1"));
  CHECK(says(message_of([] { Memory(3, 1, {}, {.discount = -1}); }), "discount is -1"));
}

TEST_CASE("A hindsight memory comes back from its bytes, and sampling allocates nothing", "[F6]") {
  Memory memory(3, 1, {.capacity = 40}), loaded(3, 2, {.capacity = 1});
  for (int e = 0; e < 9; ++e) episode(memory, 100 * e, 5 + e % 3);
  move(memory, 5000), move(memory, 5001);
  from_bytes(to_bytes(memory), loaded);
  CHECK(loaded.goal_size() == 1);
  CHECK(same_state(memory, loaded));
  Rng rng{8}, same{8};
  Batch a, b;
  memory.sample(16, a, rng, Line{});
  loaded.sample(16, b, same, Line{});
  const test::Allocations allocations;
  for (int round = 0; round < 200; ++round) {
    if (memory.sample(16, a, rng, Line{}) != loaded.sample(16, b, same, Line{})) FAIL("round " << round);
    if (a.id != b.id || a.state != b.state || a.reward != b.reward) FAIL("round " << round);
  }
  CHECK(allocations.count() == 0);
}
