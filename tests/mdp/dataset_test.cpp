#include "valence/mdp/dataset.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/trajectory.hpp"
#include "valence/value/gae.hpp"

using namespace valence;
using test::message_of, test::says;

namespace {

using Data = TransitionDataset<int, int>;
static_assert(Dataset<Data> && EpisodicDataset<Data> && LoggedDataset<Data>);
static_assert(!EpisodicDataset<std::vector<Transition<int, int>>> && Dataset<std::vector<Transition<int, int>>>);
static_assert(!Dataset<std::vector<int>>);

/// Counts its steps; ends after `length` of them, by termination or by a limit of its own.
struct Counter {
  using State = int;
  using Action = int;
  int length = 4;
  bool by_limit = false;
  int x = 0;
  int reset(Rng&) { return x = 0; }
  Step<int> step(int action, Rng&) {
    ++x;
    const bool end = x == length;
    return {.next = x, .reward = 0.5 * action, .terminated = end && !by_limit, .truncated = end && by_limit};
  }
  Discrete actions() const { return {2}; }
};

struct Coin {  // with its probabilities
  double p;
  int sample(int, Rng& rng) const { return rng.bernoulli(p) ? 1 : 0; }
  double log_prob(int, int action) const { return std::log(action == 1 ? p : 1 - p); }
};

std::vector<bool> flags(std::span<const bool> f) { return {f.begin(), f.end()}; }

}  // namespace

TEST_CASE("A dataset gives back what was added, flags apart") {
  Data data;
  CHECK(data.empty());
  CHECK(data.episodes() == 0);
  const std::vector<Transition<int, int>> added{
      {0, 1, 0.5, 3, false, false}, {3, 0, -1, 2, false, true}, {7, 1, 2, 1, true, false}, {1, 0, 4, 5, false, false}};
  for (const auto& t : added) data.add(t);
  REQUIRE(data.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const auto t = data[i];
    CHECK(t.state == added[i].state);
    CHECK(t.action == added[i].action);
    CHECK(t.reward == added[i].reward);
    CHECK(t.next == added[i].next);
    CHECK(t.terminated == added[i].terminated);
    CHECK(t.truncated == added[i].truncated);
    CHECK(std::isnan(t.log_prob));
  }
  CHECK(flags(data.terminated()) == std::vector<bool>{false, false, true, false});
  CHECK(flags(data.truncated()) == std::vector<bool>{false, true, false, false});
  REQUIRE(data.episodes() == 3);
  CHECK(data.episode(0).end == 2);
  CHECK(data.episode(1).begin == 2);
  CHECK(data.episode(1).end == 3);
  CHECK(data.episode(2).size() == 1);  // unfinished
  data.end_episode();
  CHECK(data.episodes() == 3);
  CHECK(data[3].truncated);
  CHECK_FALSE(data[3].terminated);
  data.end_episode();  // nothing is open
  CHECK(data.episodes() == 3);
}

TEST_CASE("Bad transitions are refused, and nothing is added") {
  Data data;
  const double not_a_number = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(message_of([&] { data.add({0, 0, not_a_number, 1, false, false}); }), "reward is nan"));
  data.add({0, 0, 1, 1, false, false}, -0.5);
  CHECK(says(message_of([&] { data.add({0, 0, 1, 1, false, false}); }), "transition 1 has no log_prob"));
  CHECK(says(message_of([&] { data.add({0, 0, 1, 1, false, false}, -not_a_number); }), "log_prob is"));
  CHECK(says(message_of([&] { data.add({0, 0, not_a_number, 1, false, false}, -1); }), "reward is nan"));
  CHECK(says(message_of([&] {
               Trajectory<int, int> t(0);
               t.append(1, Step<int>{.next = 1});
               data.add(t);
             }),
             "the trajectory has no log_prob"));
  CHECK(data.size() == 1);
  CHECK(data.log_probs().size() == 1);
  CHECK(data.states().size() == 1);
  Data other;
  other.add({0, 0, 1, 1, false, false});
  CHECK(says(message_of([&] { other.add({0, 0, 1, 1, false, false}, -1); }), "transition 1 has a log_prob"));
}

TEST_CASE("Trajectories have one state more than steps, and become episodes and come back") {
  Trajectory<int, int> t(5);
  t.append(1, Step<int>{.next = 6, .reward = 0.25});
  t.append(0, Step<int>{.next = 8, .reward = -2, .terminated = true});
  CHECK(t.size() == 2);
  CHECK(t.state.size() == 3);
  CHECK(t.current() == 8);
  CHECK_FALSE(t[0].terminated);
  CHECK(t[1].terminated);
  CHECK(t[1].next == 8);
  CHECK(says(message_of([&] { t.append(0, Step<int>{.next = 9}); }), "over after 2 steps"));
  CHECK(says(message_of([] { Trajectory<int, int>().append(0, Step<int>{.next = 9}); }), "no state"));
  CHECK(says(message_of([] { Trajectory<int, int>().current(); }), "no state"));

  Trajectory<int, int> open(1);
  open.append(1, Step<int>{.next = 2, .reward = 3});
  Data data;
  data.add({9, 9, 9, 9, false, false});  // an unfinished episode before is cut off
  data.add(t);
  data.add(open);  // ends without a flag: what follows wasn't seen
  REQUIRE(data.episodes() == 3);
  CHECK(data[0].truncated);
  CHECK(data[2].terminated);
  CHECK_FALSE(data[2].truncated);
  CHECK(data[3].truncated);
  const auto back = data.trajectory(1);
  CHECK(back.state == t.state);
  CHECK(back.action == t.action);
  CHECK(back.reward == t.reward);
  CHECK(back.terminated);
  CHECK_FALSE(back.truncated);
  CHECK(says(message_of([&] { data.trajectory(3); }), "episode is 3; expected fewer than 3"));
  data.add({1, 0, 0, 2, false, false});
  data.add({3, 0, 0, 4, false, false});
  CHECK(says(message_of([&] { data.trajectory(3); }), "transition 5 begins in another state"));
  open.reward.clear();
  CHECK(says(message_of([&] { data.add(open); }), "reward has 0 entries; expected 1"));
}

TEST_CASE("Collected transitions keep their own successors across resets", "[E1]") {
  Rng rng{3};
  const auto one = [](int, Rng&) { return 1; };
  for (const bool by_limit : {false, true}) {
    const auto data = collect(Counter{.by_limit = by_limit}, one, {.episodes = 3}, rng);
    CHECK(data.size() == 12);
    CHECK(data.episodes() == 3);
    for (std::size_t i = 0; i < data.size(); ++i) {
      const auto t = data[i];
      CHECK(t.next == t.state + 1);  // never the first state of the next episode
      CHECK(t.state == static_cast<int>(i % 4));
      CHECK(t.terminated == (i % 4 == 3 && !by_limit));
      CHECK(t.truncated == (i % 4 == 3 && by_limit));
      CHECK(t.reward == 0.5);
    }
    CHECK_FALSE(data.has_log_probs());
  }
}

TEST_CASE("Collecting ends after steps or episodes, and cuts off what never ends", "[E10]") {
  Rng rng{4};
  const auto steps = collect(Counter{}, Coin{0.25}, {.steps = 10}, rng);
  CHECK(steps.size() == 10);
  CHECK(steps.episodes() == 3);
  CHECK(steps[9].truncated);
  CHECK_FALSE(steps[9].terminated);
  CHECK(steps[7].terminated);
  CHECK(steps.has_log_probs());
  for (std::size_t i = 0; i < 10; ++i) CHECK(steps[i].log_prob == Coin{0.25}.log_prob(0, steps[i].action));
  CHECK(collect(Counter{}, Coin{0.5}, {.episodes = 2, .steps = 100}, rng).size() == 8);
  CHECK(collect(Counter{}, Coin{0.5}, {.episodes = 9, .steps = 6}, rng).size() == 6);
  const auto endless = collect(Counter{.length = -1}, Coin{0.5}, {.episodes = 2, .max_episode_steps = 7}, rng);
  CHECK(endless.size() == 14);
  CHECK(endless.episodes() == 2);
  CHECK(endless[6].truncated);
  CHECK(says(message_of([&] { collect(Counter{}, Coin{0.5}, {}, rng); }), "episodes and steps are 0"));
  CHECK(says(message_of([&] { collect(Counter{}, Coin{0.5}, {.steps = 1, .max_episode_steps = 0}, rng); }),
             "max_episode_steps is 0"));
  // The same seed gives the same data.
  Rng a{8}, b{8};
  CHECK(same_state(collect(Counter{}, Coin{0.5}, {.steps = 50}, a), collect(Counter{}, Coin{0.5}, {.steps = 50}, b)));
}

TEST_CASE("A dataset can be saved, loaded, copied and moved") {
  Rng rng{5};
  const Data data = collect(Counter{}, Coin{0.5}, {.steps = 103}, rng);
  Data loaded;
  from_bytes(to_bytes(data), loaded);
  CHECK(same_state(data, loaded));
  CHECK(loaded.episodes() == 26);
  CHECK(loaded.episode(3).begin == 12);
  Data copy = data;
  copy.add({0, 1, 2, 3, true, false}, -1);
  CHECK(data.size() == 103);
  CHECK(copy.size() == 104);
  CHECK_FALSE(same_state(data, copy));
  const Data moved = std::move(copy);
  CHECK(moved.terminated()[103]);
  CHECK(moved.size() == 104);
  copy = data;
  CHECK(same_state(data, copy));
  Trajectory<int, int> t(1), u;
  t.append(0, Step<int>{.next = 2, .reward = 1, .truncated = true});
  from_bytes(to_bytes(t), u);
  CHECK(same_state(t, u));
  CHECK(u.truncated);
}

TEST_CASE("The columns are what the targets read") {
  Data data;
  const double rewards[] = {1, -1, 0.5, 2};  // E4 of the specification
  const int states[] = {0, 1, 0, 2, 3};
  for (int t = 0; t < 4; ++t) data.add({states[t], 0, rewards[t], states[t + 1], t == 3, false});
  const double value[] = {0.2, -0.1, 0.2, 0.4},
               next_value[] = {-0.1, 0.2, 0.4, std::numeric_limits<double>::quiet_NaN()};
  double advantage[4];
  gae(Steps<double>{.reward = data.rewards(),
                    .value = value,
                    .next_value = next_value,
                    .terminated = data.terminated(),
                    .truncated = data.truncated()},
      {.advantage = advantage}, {.discount = 0.9, .lambda = 0.8});
  const double expected[] = {1.1309408, 0.58464, 1.812, 1.6};
  for (int t = 0; t < 4; ++t) CHECK(advantage[t] == test::close(expected[t], 1e-12));
}

TEST_CASE("States may be vectors, rewards too") {
  TransitionDataset<Vector<double>, Vector<float>, Eigen::Vector2d> data;
  const Vector<double> s = Vector<double>::Constant(3, 1.5), next = Vector<double>::Constant(3, 2.5);
  data.add({s, Vector<float>::Ones(1), Eigen::Vector2d{1, 2}, next, false, true});
  CHECK(data[0].next == next);
  CHECK(data[0].reward[1] == 2);
  CHECK(data.states()[0] == s);
  CHECK(data.trajectory(0).state.back() == next);
}
