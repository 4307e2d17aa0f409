#include "valence/mdp/replay.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/mdp/replay_windows.hpp"

using namespace valence;
using test::message_of, test::says;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

static_assert(Dataset<Replay<float>> && Dataset<Replay<double, double>>);

using Memory = Replay<double>;
using Batch = ReplayBatch<double>;

struct End {
  bool terminated = false, truncated = false;
};
constexpr End goes_on{}, terminated{.terminated = true}, truncated{.truncated = true};

std::uint64_t add(Memory& memory, double state, double next, double reward, End end = {}, int action = 0) {
  return memory.add({.state = {&state, 1},
                     .action = action,
                     .reward = reward,
                     .next = {&next, 1},
                     .terminated = end.terminated,
                     .truncated = end.truncated});
}

/// Transition t of a walk: (t, a = t, r = 10 t, t + 1).
std::uint64_t walk(Memory& memory, int t, End end = {}) { return add(memory, t, t + 1, 10 * t, end, t); }

/// The target of entry j where every state is worth `value`.
double target(const Batch& batch, Eigen::Index j, double value) {
  return batch.reward[j] + (batch.terminated[j] ? 0 : batch.discount[j] * value);
}

/// What was added, transition by transition, kept for ever; next states, windows and the rest by looking through it.
struct History {
  struct Item {
    double state, next, reward;
    End end;
  };
  std::size_t environments;
  std::vector<Item> items = {};

  /// Where the transition after `id` continues its episode.
  bool goes_on_after(std::uint64_t id) const {
    const Item& item = items[id];
    const std::uint64_t next = id + environments;
    return !item.end.terminated && !item.end.truncated && next < items.size() && items[next].state == item.next;
  }
};

}  // namespace

TEST_CASE("The newest transitions are held, in order, each with its own reward and next state", "[R15]") {
  Memory memory(1, {.capacity = 4});
  CHECK(memory.empty());
  for (int t = 0; t < 11; ++t) {
    CHECK(walk(memory, t, t == 8 ? terminated : goes_on) == static_cast<std::uint64_t>(t));
    REQUIRE(memory.size() == static_cast<std::size_t>(std::min(t + 1, 4)));
    for (std::size_t i = 0; i < memory.size(); ++i) {
      const auto record = memory[i];
      const double expected = static_cast<double>(memory.oldest() + i);
      REQUIRE(record.state[0] == expected);
      REQUIRE(record.action == static_cast<int>(expected));
      REQUIRE(record.reward == 10 * expected);
      REQUIRE(record.next[0] == expected + 1);
      REQUIRE(record.terminated == (expected == 8));
      REQUIRE_FALSE(record.truncated);
    }
  }
  CHECK(memory.oldest() == 7);
  CHECK(memory.added() == 11);
  Rng rng{1};
  Batch batch;
  memory.sample(1000, batch, rng, {.discount = 0.9});  // more than are held: with replacement
  std::vector<double> counts(4, 0.0);
  for (Eigen::Index j = 0; j < 1000; ++j) {
    const double s = batch.state(0, j);
    REQUIRE(s == static_cast<double>(batch.id[static_cast<std::size_t>(j)]));
    REQUIRE(batch.action(0, j) == static_cast<int>(s));
    REQUIRE(batch.reward[j] == 10 * s);
    REQUIRE(batch.next(0, j) == s + 1);
    REQUIRE(batch.terminated[j] == (s == 8));
    REQUIRE(batch.discount[j] == 0.9);
    REQUIRE(batch.weight[j] == 1);
    ++counts[static_cast<std::size_t>(s - 7)];
  }
  CHECK(test::chi_square_test(counts, std::vector<double>(4, 0.25)) > 1e-6);
}

TEST_CASE("An n-step entry is discounted by the steps that it took", "[V10]") {
  for (const auto& [second, expected, m] :
       {std::tuple{goes_on, 6.355, 3}, std::tuple{truncated, 5.95, 2}, std::tuple{terminated, 1.9, 2}}) {
    Memory memory(1, {.capacity = 10});
    add(memory, 0, 1, 1);
    add(memory, 1, 2, 1, second);
    add(memory, 2, 3, 1);
    add(memory, 3, 4, 1000);
    Batch batch;
    memory.gather(std::array<std::uint64_t, 1>{0}, batch, {.steps = 3, .discount = 0.9});
    CHECK(target(batch, 0, 5) == close(expected));
    CHECK(batch.steps[0] == m);
    CHECK(batch.discount[0] == close(m == 3 ? 0.729 : 0.81));
    CHECK(batch.next(0, 0) == m);
    CHECK(batch.terminated[0] == second.terminated);
    CHECK(batch.truncated[0] == second.truncated);
    memory.gather(std::array<std::uint64_t, 1>{2}, batch, {.steps = 3, .discount = 0.9});
    CHECK(target(batch, 0, 5) == close(1 + 900 + 0.81 * 5));  // cut at the newest transition
    CHECK(batch.steps[0] == 2);
    CHECK_FALSE(batch.truncated[0]);
  }
}

TEST_CASE("N-step windows stay in their episodes and out of old entries", "[V11]") {
  // By hand: episodes of 3 and 7 steps, rewards 1, 10, 100, ...
  const std::array<double, 10> expected{111, 110, 100, 111e3, 111e4, 111e5, 111e6, 111e7, 110e7, 100e7};
  for (const std::size_t capacity : {10U, 13U, 16U}) {
    for (const int before : {0, 7}) {  // entries of another episode, which the ring has gone past in part
      CAPTURE(capacity, before);
      Memory memory(1, {.capacity = capacity});
      for (int i = 0; i < before; ++i) add(memory, -50 - i, -51 - i, 1e100, i + 1 == before ? truncated : goes_on);
      double reward = 1;
      for (int t = 0; t < 10; ++t, reward *= 10) add(memory, t, t + 1, reward, t == 2 || t == 9 ? terminated : goes_on);
      Batch batch;
      for (std::size_t t = 0; t < 10; ++t) {
        memory.gather(std::array<std::uint64_t, 1>{t + static_cast<std::uint64_t>(before)}, batch,
                      {.steps = 3, .discount = 1});
        CHECK(target(batch, 0, 0) == expected[t]);
        CHECK(batch.terminated[0] == (t <= 2 || t >= 7));
      }
    }
  }
}

TEST_CASE("Windows are consecutive at the write head", "[R12]") {
  Memory memory(1, {.capacity = 16});
  Rng rng{2};
  Batch batch;
  for (int t = 0; t < 40; ++t) walk(memory, t);
  for (std::size_t length = 1; length <= 8; ++length) {
    ReplayWindows windows{{.length = length}};
    CHECK(windows.count(memory) == 17 - length);
    windows.sample(memory, 400, batch, rng);
    std::vector<double> counts(17 - length, 0.0);
    for (std::size_t w = 0; w < 400; ++w) {
      ++counts[static_cast<std::size_t>(batch.id[w] - 24)];
      for (std::size_t t = 0; t < length; ++t)
        REQUIRE(batch.state(0, static_cast<Eigen::Index>(t * 400 + w)) == static_cast<double>(batch.id[w] + t));
    }
    for (const double count : counts) CHECK(count > 0);
    CHECK(test::chi_square_test(counts, std::vector<double>(counts.size(), 1 / static_cast<double>(counts.size()))) >
          1e-6);
  }
  CHECK(says(message_of([&] { ReplayWindows{{.length = 17}}.sample(memory, 1, batch, rng); }),
             "no episode held has 17 transitions"));
}

TEST_CASE("Windows carry the flags of their transitions, and an episode of 8 steps is 8 transitions", "[R14][R16]") {
  Memory memory(1, {.capacity = 100});
  for (int t = 0; t < 8; ++t) walk(memory, t, t == 7 ? terminated : goes_on);
  CHECK(memory.size() == 8);
  int ends = 0;
  for (std::size_t i = 0; i < memory.size(); ++i) ends += memory[i].terminated ? 1 : 0;
  CHECK(ends == 1);
  for (int t = 8; t < 13; ++t) walk(memory, t, t == 12 ? truncated : goes_on);
  for (int t = 13; t < 15; ++t) walk(memory, t);  // unfinished, and too short

  ReplayWindows windows{{.length = 3, .discount = 0.5}};
  CHECK(windows.count(memory) == 6 + 3);
  Rng rng{3};
  Batch batch;
  windows.sample(memory, 900, batch, rng);
  int terminals = 0;
  for (Eigen::Index j = 0; j < 2700; ++j) {
    const auto t = static_cast<int>(batch.state(0, j));
    REQUIRE(batch.terminated[j] == (t == 7));
    REQUIRE(batch.truncated[j] == (t == 12));
    REQUIRE(batch.next(0, j) == t + 1);
    REQUIRE(batch.discount[j] == 0.5);
    if (j < 1800) REQUIRE_FALSE((batch.terminated[j] || batch.truncated[j]));
    terminals += batch.terminated[j] ? 1 : 0;
  }
  CHECK(terminals > 50);  // a ninth of 900 is expected
  CHECK(terminals < 160);
}

TEST_CASE("Stacks of states do not reach into the episode before, however it ended", "[R13]") {
  Memory memory(1, {.capacity = 4});
  add(memory, 1, 7, 0, truncated);
  add(memory, 2, 3, 0, terminated);
  Matrix<double> stack;
  const std::array<std::uint64_t, 2> id{0, 1};
  stack_states(memory, std::span<const std::uint64_t>(id), stack, {.depth = 2});
  CHECK(stack == (Matrix<double>(2, 2) << 0, 0, 1, 2).finished());
  stack_states(memory, std::span<const std::uint64_t>(id), stack, {.depth = 2, .next = true});
  CHECK(stack == (Matrix<double>(2, 2) << 1, 2, 7, 3).finished());
  for (int t = 10; t < 15; ++t) walk(memory, t);  // ids 2 .. 6; 3 .. 6 are held
  const std::array<std::uint64_t, 2> late{6, 4};
  stack_states(memory, std::span<const std::uint64_t>(late), stack, {.depth = 3});
  CHECK(stack == (Matrix<double>(3, 2) << 12, 0, 13, 11, 14, 12).finished());
  CHECK(says(message_of([&] { stack_states(memory, std::span<const std::uint64_t>(id), stack); }), "id[0] is 0"));
}

TEST_CASE("A reset that nobody mentioned is noticed, and one that can't be is said") {
  Memory memory(1, {.capacity = 10});
  add(memory, 0, 1, 1);
  add(memory, 5, 6, 10);  // begins elsewhere
  add(memory, 6, 7, 100);
  memory.end_episode();
  memory.end_episode();  // is one
  add(memory, 7, 8, 1000);
  CHECK(memory[0].next[0] == 1);
  CHECK_FALSE(memory[0].truncated);  // as it was added
  CHECK(memory[2].truncated);
  CHECK(memory[2].next[0] == 7);
  Batch batch;
  memory.gather(std::array<std::uint64_t, 4>{0, 1, 2, 3}, batch, {.steps = 4, .discount = 1});
  CHECK(batch.reward == (Vector<double>(4) << 1, 110, 100, 1000).finished());
  CHECK(batch.next == (Matrix<double>(1, 4) << 1, 7, 7, 8).finished());
  CHECK(batch.steps == (Vector<int>(4) << 1, 2, 1, 1).finished());
  CHECK(memory.episode_first(2) == 1);
  CHECK(memory.episode_last(1) == 2);
  CHECK(memory.finished(0));
  CHECK_FALSE(memory.finished(3));
  CHECK(says(message_of([&] { memory.end_episode(1); }), "environment is 1; expected less than 1"));
}

TEST_CASE("Any order of episodes, environments and sizes agrees with a memory that forgets nothing", "[V11][R12]") {
  Rng rng{4};
  Batch batch;
  for (int game = 0; game < 150; ++game) {
    const std::size_t environments = 1 + rng.below(4U), capacity = environments + rng.below(20U);
    const std::uint32_t shortest = rng.below(6U);  // 0: mostly one-step episodes
    CAPTURE(game, environments, capacity);
    Memory memory(1, {.capacity = capacity, .environments = environments});
    History history{environments};
    std::vector<double> at(environments, 0.0);
    double fresh = 1;
    for (int t = 0; t < 120; ++t) {
      const std::size_t e = history.items.size() % environments;
      const std::uint32_t dice = rng.below(3 + 3 * shortest);
      const End end{.terminated = dice == 0, .truncated = dice == 1 || (dice == 0 && rng.bernoulli(0.2))};
      const bool broken = dice == 2;
      const double next = fresh++;
      history.items.push_back({at[e], next, rng.normal(), end});
      add(memory, at[e], next, history.items.back().reward, end);
      at[e] = end.terminated || end.truncated || broken ? fresh++ : next;

      const std::uint64_t id = memory.oldest() + rng.below(memory.size());
      const std::size_t n = 1 + rng.below(5U);
      std::uint64_t last = id, first = id;
      double expected = history.items[id].reward, discount = 0.5;
      std::size_t m = 1;
      for (; m < n && history.goes_on_after(last); ++m, discount /= 2)
        last += environments, expected += discount * history.items[last].reward;
      memory.gather(std::array<std::uint64_t, 1>{id}, batch, {.steps = n, .discount = 0.5});
      REQUIRE(batch.state(0, 0) == history.items[id].state);
      REQUIRE(batch.reward[0] == close(expected, 1e-12, 1e-12));
      REQUIRE(batch.discount[0] == discount);
      REQUIRE(batch.steps[0] == static_cast<int>(m));
      REQUIRE(batch.next(0, 0) == history.items[last].next);
      REQUIRE(batch.terminated[0] == history.items[last].end.terminated);
      REQUIRE(batch.truncated[0] == history.items[last].end.truncated);
      while (history.goes_on_after(last)) last += environments;
      REQUIRE(memory.episode_last(id) == last);
      while (first >= environments && first - environments >= memory.oldest() &&
             history.goes_on_after(first - environments))
        first -= environments;
      REQUIRE(memory.episode_first(id) == first);

      std::uint64_t windows = 0;
      for (std::uint64_t begin = memory.oldest(); begin < memory.added(); ++begin) {
        std::uint64_t end_of_window = begin;
        std::size_t k = 1;
        for (; k < n && history.goes_on_after(end_of_window); ++k) end_of_window += environments;
        windows += k == n ? 1 : 0;
      }
      REQUIRE(ReplayWindows{{.length = n}}.count(memory) == windows);
    }
  }
}

TEST_CASE("Bad transitions are refused by index and bad calls by name, unchanged", "[R19]") {
  Replay<float, float> memory(2, 3, {.capacity = 4});
  ReplayBatch<float, float> batch;
  Rng rng{5};
  CHECK(says(message_of([&] { memory.sample(1, batch, rng); }), "Replay::sample: the memory is empty"));
  ReplayWindows windows{{.length = 1}};
  CHECK(says(message_of([&] { windows.sample(memory, 1, batch, rng); }), "the memory is empty"));
  const std::vector<float> two{1, 2}, three{1, 2, 3};
  using Record = Replay<float, float>::Record;
  const Record good{two, three, 1, two, false, false};
  memory.add(good);
  const auto before = to_bytes(memory);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const std::vector<float> bad_state{1, bad}, bad_action{1, 2, bad};
    CHECK(says(message_of([&] { memory.add({bad_state, three, 1, two, false, false}); }), "Replay::add: state[1] is"));
    CHECK(says(message_of([&] { memory.add({two, three, 1, bad_state, false, true}); }), "next[1] is"));
    CHECK(says(message_of([&] { memory.add({two, bad_action, 1, two, false, false}); }), "action[2] is"));
    CHECK(says(message_of([&] { memory.add({two, three, bad, two, true, false}); }), "reward is"));
  }
  CHECK(says(message_of([&] { memory.add({three, three, 1, two, false, false}); }), "state has 3 entries; expected 2"));
  CHECK(says(message_of([&] { memory.add({two, three, 1, three, false, false}); }), "next has 3 entries; expected 2"));
  CHECK(says(message_of([&] { memory.add({two, two, 1, two, false, false}); }), "action has 2 entries; expected 3"));
  CHECK(says(message_of([&] { memory.sample(0, batch, rng); }), "k is 0"));
  CHECK(says(message_of([&] { memory.sample(1, batch, rng, {.steps = 0}); }), "steps is 0"));
  CHECK(says(message_of([&] { memory.sample(1, batch, rng, {.discount = 1.5}); }), "discount is 1.5"));
  CHECK(says(message_of([&] {
               memory.gather(std::array<std::uint64_t, 2>{0, 1}, batch);
             }),
             "id[1] is 1; expected one in [0, 1)"));
  CHECK(says(message_of([&] { memory.at(1); }), "id is 1"));
  CHECK(to_bytes(memory) == before);
  CHECK(batch.size() == 0);
  memory.sample(3, batch, rng);
  CHECK(batch.action.col(2) == Eigen::Vector3f(1, 2, 3));
  CHECK(says(message_of([] { Memory(0); }), "state_size is 0"));
  CHECK(says(message_of([] { Memory(1, {.capacity = 0}); }), "capacity is 0"));
  CHECK(says(message_of([] { Memory(1, {.capacity = 3, .environments = 4}); }), "environments is 4"));
  CHECK(says(message_of([] { Replay<double, double>(1, 0); }), "action_size is 0"));

  Replay<float> large(1);
  const float state = 0, most = (std::numeric_limits<float>::max)();
  for (int i = 0; i < 2; ++i) large.add({{&state, 1}, 0, most, {&state, 1}, false, false});
  ReplayBatch<float> overflowing;
  CHECK(says(message_of([&] { large.gather(std::array<std::uint64_t, 1>{0}, overflowing, {.steps = 2}); }),
             "the rewards of 2 steps from id 0 sum to"));
}

TEST_CASE("A memory with an unfinished episode and a wrapped ring comes back from its bytes", "[F6]") {
  Replay<double> memory(1, {.capacity = 50, .environments = 3}), loaded(2, {.capacity = 1});
  Rng rng{6};
  const auto play = [&](Replay<double>& m, int from, int to) {
    for (int t = from; t < to; ++t)
      add(m, t / 3 + 1000 * (t % 3), t / 3 + 1 + 1000 * (t % 3), t,
          {.terminated = t % 17 == 0, .truncated = t % 13 == 0});
  };
  play(memory, 0, 130);
  from_bytes(to_bytes(memory), loaded);
  CHECK(same_state(memory, loaded));
  Rng same = rng;
  Batch a, b;
  for (int round = 0; round < 1000; ++round) {
    if (round % 10 == 5) play(memory, 130 + round, 137 + round), play(loaded, 130 + round, 137 + round);
    memory.sample(4, a, rng, {.steps = 3});
    loaded.sample(4, b, same, {.steps = 3});
    REQUIRE(a.id == b.id);
    REQUIRE(a.state == b.state);
    REQUIRE(a.next == b.next);
    REQUIRE(a.reward == b.reward);
    REQUIRE(a.steps == b.steps);
    REQUIRE((a.terminated == b.terminated).all());
    const std::uint64_t id = a.id[0];
    REQUIRE(memory.episode_first(id) == loaded.episode_first(id));
    REQUIRE(memory.episode_last(id) == loaded.episode_last(id));
  }
  CHECK(same_state(memory, loaded));
  auto bytes = to_bytes(memory);
  bytes[0] = std::byte{49};  // another capacity than the columns'
  CHECK(says(message_of([&] { from_bytes(bytes, loaded); }), "reward has 50 entries; expected 49"));
  CHECK(same_state(memory, loaded));
}

TEST_CASE("In steady state nothing is allocated, and a state is stored once") {
  constexpr std::size_t capacity = 100'000, size = 4;
  Replay<float> memory(size, {.capacity = capacity});
  std::vector<float> state(size), next(size);
  const auto play = [&](std::uint32_t from, std::uint32_t to) {
    for (std::uint32_t t = from; t < to; ++t) {
      std::fill(state.begin(), state.end(), static_cast<float>(t));
      std::fill(next.begin(), next.end(), static_cast<float>(t + 1));
      memory.add(
          {.state = state, .action = 1, .reward = 1, .next = next, .terminated = t % 200 == 0, .truncated = false});
    }
  };
  play(0, 150'000);
  const double raw = capacity * (size * sizeof(float) + sizeof(int) + sizeof(float) + 1);  // without next states
  CHECK(static_cast<double>(memory.bytes()) < 1.02 * raw);
  ReplayBatch<float> batch;
  ReplayWindows windows{{.length = 8}};
  Rng rng{7};
  memory.sample(256, batch, rng);
  windows.sample(memory, 32, batch, rng);
  const test::Allocations allocations;
  play(150'000, 300'000);
  for (int i = 0; i < 10; ++i) {
    memory.sample(256, batch, rng, {.steps = 3});
    windows.sample(memory, 32, batch, rng);
  }
  CHECK(allocations.count() == 0);
}
