// Wrappers, normalisers and vectorised environments.
#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/vector_environment.hpp"
#include "valence/env/wrappers.hpp"
#include "valence/mdp/normalizers.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

/// Its state is its step count: E1's environment. Phase: where the copies start, so that they end out of step.
struct Counter {
  using State = int;
  using Action = int;
  int reset(Rng&) { return n = 0; }
  Step<int> step(int, Rng&) { return {.next = ++n, .reward = 1}; }
  Discrete actions() const { return {1}; }
  template <class A>
  void archive(A& ar) {
    ar(n);
  }
  int n = 0;
};

/// A random walk whose episodes have random lengths; also draws at reset.
struct Drift {
  using State = double;
  using Action = int;
  static constexpr int time_limit = 12;
  double reset(Rng& rng) { return x = rng.uniform(-.5, .5); }
  Step<double> step(int a, Rng& rng) {
    x += .1 * a + .5 * rng.normal();
    return {.next = x, .reward = -std::abs(x), .terminated = std::abs(x) > 2};
  }
  Discrete actions() const { return {2}; }
  Box<double> states() const { return {-4, 4}; }
  template <class A>
  void archive(A& ar) {
    ar(x);
  }
  double x = 0;
};

/// Pushes a point in the plane: actions and states are vectors.
struct Plane {
  using State = Eigen::Vector2d;
  using Action = Eigen::Vector2d;
  State reset(Rng&) { return x = State(1, -2); }
  Step<State> step(const Action& a, Rng&) {
    last = a;
    x += a;
    return {.next = x, .reward = a[0]};
  }
  Box<Action> actions() const { return {Action(-2, 0), Action(2, 10)}; }
  Box<State> states() const { return {State(-5, -10), State(5, 30)}; }
  State x = State::Zero();
  Action last = Action::Zero();
};
static_assert(Environment<TimeLimit<Drift>> && Environment<RescaleAction<Plane>> && Environment<RescaleState<Plane>> &&
              Environment<NormalizeState<Drift>> && Environment<NormalizeReward<Drift>> &&
              Environment<SeededEpisodes<Drift>>);

using Flags = VectorEnvironment<Counter>::Flags;

}  // namespace

TEST_CASE("a time limit truncates and doesn't terminate; reset clears it", "[E11]") {
  Rng rng{1};
  TimeLimit env{Counter{}, 3};
  for (int episode = 0; episode < 2; ++episode) {
    env.reset(rng);
    for (int t = 1; t <= 3; ++t) {
      const auto step = env.step(0, rng);
      CHECK(step.next == t);
      CHECK_FALSE(step.terminated);
      CHECK(step.truncated == (t == 3));
    }
  }
  CHECK(TimeLimit{Drift{}}.limit == 12);
  CHECK(says(message_of([] { TimeLimit(Counter{}, 0); }), "limit", "0"));
  // An episode that terminates in its last step terminated.
  struct Ends : Counter {
    Step<int> step(int, Rng&) { return {.next = 1, .terminated = true}; }
  };
  TimeLimit ends{Ends{}, 1};
  ends.reset(rng);
  const auto step = ends.step(0, rng);
  CHECK(step.terminated);
  CHECK_FALSE(step.truncated);
}

TEST_CASE("actions and states are rescaled number by number") {
  Rng rng{1};
  RescaleAction env{Plane{}};
  env.reset(rng);
  env.step(Eigen::Vector2d(.5, -1), rng);
  CHECK(env.env.last == Eigen::Vector2d(1, 0));
  env.step(Eigen::Vector2d(-1, 1), rng);
  CHECK(env.env.last == Eigen::Vector2d(-2, 10));
  CHECK(env.actions().high == Eigen::Vector2d(1, 1));
  CHECK(says(message_of([&] { env.step(Eigen::Vector2d(0, 1.1), rng); }), "[-1, 1]"));
  CHECK(says(message_of([&] { env.step(Eigen::Vector2d(0, std::nan("")), rng); }), "[-1, 1]"));
  RescaleState scaled{Plane{}};
  CHECK(scaled.reset(rng).isApprox(Eigen::Vector2d(.2, -.6), 1e-15));
  CHECK(scaled.step(Eigen::Vector2d(0, 2), rng).next.isApprox(Eigen::Vector2d(.2, -.5), 1e-15));
  CHECK(scaled.states().low == Eigen::Vector2d(-1, -1));
  struct Unbounded : Plane {
    Box<State> states() const { return {State(-1, 0), State(1, std::numeric_limits<double>::infinity())}; }
  };
  CHECK(says(message_of([] { RescaleState{Unbounded{}}; }), "number 1", "inf"));
}

TEST_CASE("rewards go through a function") {
  Rng rng{1};
  TransformReward env{Plane{}, [](double r) { return std::clamp(r, -1., 1.); }};
  env.reset(rng);
  CHECK(env.step(Eigen::Vector2d(2, 0), rng).reward == 1);
  CHECK(env.step(Eigen::Vector2d(.25, 0), rng).reward == .25);
}

TEST_CASE("running statistics: any split of the samples gives the same", "[R17]") {
  const auto all = [](const Normalizer& n) { return std::pair(n.mean(0), n.deviation(0) * n.deviation(0)); };
  Normalizer one(1), left(1), right(1);
  for (const double x : {1., 2., 4., 7.}) one.observe(std::span<const double>(&x, 1));
  for (const double x : {1., 2.}) left.observe(std::span<const double>(&x, 1));
  for (const double x : {4., 7.}) right.observe(std::span<const double>(&x, 1));
  left.merge(right);
  for (const auto& n : {one, left}) {
    CHECK(all(n).first == close(3.5));
    CHECK(all(n).second == close(5.25));
    CHECK(n.count() == 4);
  }
  double x = 1e6;
  one.apply(std::span<double>(&x, 1));
  CHECK(x == 10);  // cut
  double y = 3.5 + std::sqrt(5.25);
  one.apply(std::span<double>(&y, 1));
  CHECK(y == close(1.0));
  one.frozen = true;  // evaluation
  one.observe(std::span<const double>(&x, 1));
  CHECK(one.count() == 4);
  const double bad = std::nan("");
  CHECK(says(message_of([&] { one.observe(std::span<const double>(&bad, 1)); }), "x[0]", "nan"));
}

TEST_CASE("the floor is the deviation's, not the variance's", "[R18]") {
  Normalizer n(1, {.floor = 1e-4});
  for (int i = 0; i < 5; ++i) {
    const double x = 3;
    n.observe(std::span<const double>(&x, 1));
  }
  CHECK(n.deviation(0) == close(1e-4));
}

TEST_CASE("rewards over the deviation of their discounted return, which starts anew with an episode") {
  RewardNormalizer n(1, {.discount = .9, .clip = 10});
  CHECK(n(1, false) == 10);  // one return has no variance: finite, and cut
  const double second = 1 / std::sqrt(population_variance(std::vector<double>{1, 1.9}) + 1e-8);
  CHECK(n(1, true) == close(second));
  const double third = 2 / std::sqrt(population_variance(std::vector<double>{1, 1.9, 2}) + 1e-8);
  CHECK(n(2, false) == close(third));
  RewardNormalizer constant;
  for (int i = 0; i < 100; ++i) CHECK(std::isfinite(constant(0, i % 7 == 0)));
  n.frozen = true;
  const auto count = n.moments().count();
  n(5, false);
  CHECK(n.moments().count() == count);
  CHECK(says(message_of([&] { n(std::nan(""), false); }), "reward"));
}

TEST_CASE("normalising wrappers save what they have seen") {
  Rng rng{4};
  NormalizeReward env{NormalizeState{TimeLimit{Drift{}}}};
  env.reset(rng);
  for (int t = 0; t < 40; ++t)
    if (env.step(t % 2, rng).done()) env.reset(rng);
  NormalizeReward restored{NormalizeState{TimeLimit{Drift{}}}};
  from_bytes(to_bytes(env), restored);
  Rng a{5}, b{5};
  for (int t = 0; t < 10; ++t) {
    const auto x = env.step(0, a), y = restored.step(0, b);
    CHECK(x.next == y.next);
    CHECK(x.reward == y.reward);
  }
}

TEST_CASE("seeded episodes are the same whatever generator is passed and whoever draws from it", "[T2]") {
  Rng mine{1}, other{99};
  SeededEpisodes a{Drift{}, 7}, b{Drift{}, 7}, later{Drift{}, 7, 1}, different{Drift{}, 8};
  const double first = a.reset(mine);
  other.normal();
  CHECK(b.reset(other) == first);
  CHECK(different.reset(mine) != first);
  for (int t = 0; t < 5; ++t) {
    other.uniform();
    CHECK(a.step(1, mine).next == b.step(1, other).next);
  }
  CHECK(a.reset(mine) == later.reset(other));  // episode 1 doesn't depend on how long episode 0 was
}

TEST_CASE("n copies are n single runs bit for bit, in every mode and for any number of threads", "[T3][T5]") {
  const TimeLimit world{Drift{}};
  const int n = 5, steps = 60;
  const Rng seeds{17};
  for (const auto mode : {Autoreset::next_step, Autoreset::same_step, Autoreset::disabled})
    for (const int threads : {1, 2, 3, 7}) {
      VectorEnvironment lanes(world, n, {.autoreset = mode, .threads = threads});
      lanes.reset(seeds);
      std::vector<TimeLimit<Drift>> single(static_cast<std::size_t>(n), world);
      std::vector<Rng> rng;
      std::vector<double> state;
      std::vector<bool> over(static_cast<std::size_t>(n), false);
      for (std::size_t i = 0; i < single.size(); ++i) {
        rng.push_back(seeds.split(i));
        state.push_back(single[i].reset(rng[i]));
      }
      CHECK(lanes.states() == state);
      for (int t = 0; t < steps; ++t) {
        std::vector<int> actions;
        for (int i = 0; i < n; ++i) actions.push_back((t + i) % 2);
        if (mode == Autoreset::disabled) {
          bool mask[n];
          for (int i = 0; i < n; ++i) mask[i] = over[static_cast<std::size_t>(i)];
          lanes.reset(std::span<const bool>(mask));
          for (std::size_t i = 0; i < single.size(); ++i)
            if (over[i]) state[i] = single[i].reset(rng[i]), over[i] = false;
        }
        lanes.step(actions);
        for (std::size_t i = 0; i < single.size(); ++i) {
          const int k = static_cast<int>(i);
          if (over[i]) {  // next_step: this step only resets
            state[i] = single[i].reset(rng[i]);
            over[i] = false;
            CHECK_FALSE(lanes.moved(k));
            CHECK(lanes.reward()[k] == 0);
            CHECK_FALSE((lanes.terminated()[k] || lanes.truncated()[k]));
          } else {
            const auto step = single[i].step(actions[i], rng[i]);
            const auto seen = lanes.transition(k);
            CHECK(seen.state == state[i]);
            CHECK(seen.next == step.next);
            CHECK(seen.reward == step.reward);
            CHECK(seen.terminated == step.terminated);
            CHECK(seen.truncated == step.truncated);
            state[i] = step.next;
            if (step.done()) {
              if (mode == Autoreset::same_step)
                state[i] = single[i].reset(rng[i]);
              else
                over[i] = true;
            }
          }
        }
        CHECK(lanes.states() == state);
      }
    }
}

TEST_CASE("automatic reset: every transition has next = state + 1, none goes from 4 to 0, the last state is kept",
          "[E1]") {
  for (const auto mode : {Autoreset::next_step, Autoreset::same_step}) {
    VectorEnvironment lanes(TimeLimit{Counter{}, 4}, 3, {.autoreset = mode});
    lanes.reset(Rng{1});
    bool shift[3] = {false, true, false};
    const std::vector<int> actions(3, 0);
    lanes.step(actions);
    lanes.reset(std::span<const bool>(shift));  // out of phase
    int ends = 0;
    for (int t = 0; t < 30; ++t) {
      lanes.step(actions);
      for (int i = 0; i < 3; ++i) {
        if (!lanes.moved(i)) {
          CHECK(mode == Autoreset::next_step);
          CHECK(lanes.states()[static_cast<std::size_t>(i)] == 0);
          CHECK(says(message_of([&] { static_cast<void>(lanes.transition(i)); }), "lane", "reset"));
          continue;
        }
        const auto seen = lanes.transition(i);
        CHECK(seen.next == seen.state + 1);
        CHECK_FALSE(seen.terminated);
        if (seen.truncated) {
          ++ends;
          CHECK(seen.next == 4);
          CHECK(lanes.arrived()[static_cast<std::size_t>(i)] == 4);
          CHECK(lanes.states()[static_cast<std::size_t>(i)] == (mode == Autoreset::same_step ? 0 : 4));
        }
      }
    }
    CHECK(ends >= 15);
  }
}

TEST_CASE("64 environments from one seed: all begin differently; the seed repeats them, another doesn't", "[T1]") {
  const auto first = [](std::uint64_t seed) {
    VectorEnvironment lanes(Drift{}, 64);
    lanes.reset(Rng{seed});
    return lanes.states();
  };
  const auto a = first(1), again = first(1), other = first(2);
  CHECK(a == again);
  std::set<double> all(a.begin(), a.end());
  CHECK(all.size() == 64);
  all.insert(other.begin(), other.end());
  CHECK(all.size() == 128);
}

TEST_CASE("a copy more changes no other copy", "[T2]") {
  VectorEnvironment few(TimeLimit{Drift{}}, 2), many(TimeLimit{Drift{}}, 3);
  few.reset(Rng{5}), many.reset(Rng{5});
  for (int t = 0; t < 50; ++t) {
    few.step(std::vector<int>{0, 1}), many.step(std::vector<int>{0, 1, 1});
    CHECK(few.states()[0] == many.states()[0]);
    CHECK(few.states()[1] == many.states()[1]);
  }
}

TEST_CASE("a vector of environments refuses what it can't do, and changes nothing", "[T9]") {
  VectorEnvironment lanes(TimeLimit{Counter{}, 2}, 2, {.autoreset = Autoreset::disabled});
  const std::vector<int> actions(2, 0);
  CHECK(says(message_of([&] { lanes.step(actions); }), "reset(rng)"));
  lanes.reset(Rng{1});
  CHECK(says(message_of([&] { lanes.step(std::vector<int>(3, 0)); }), "actions has 3", "2"));
  lanes.step(actions), lanes.step(actions);
  CHECK(says(message_of([&] { lanes.step(actions); }), "lane 0", "reset(mask)"));
  CHECK(lanes.states() == std::vector<int>{2, 2});
  CHECK(says(message_of([&] { lanes.reset(std::span<const bool>{}); }), "mask"));
  CHECK(says(message_of([] { VectorEnvironment(Counter{}, 0); }), "copies"));
  // Of several lanes that throw, the first one's words come out.
  struct Throws : Counter {
    Step<int> step(int a, Rng&) {
      if (a > 0) fail("Throws", "action {}", a);
      return {.next = 1};
    }
  };
  VectorEnvironment some(Throws{}, 4);
  some.reset(Rng{1});
  CHECK(says(message_of([&] { some.step(std::vector<int>{0, 0, 3, 4}); }), "action 3"));
  some.step(std::vector<int>(4, 0));
  CHECK(some.moved(3));
}

TEST_CASE("a vector of environments saves itself in the middle of episodes") {
  VectorEnvironment lanes(TimeLimit{Drift{}}, 4), restored(TimeLimit{Drift{}}, 4);
  lanes.reset(Rng{3});
  const std::vector<int> actions{0, 1, 0, 1};
  for (int t = 0; t < 17; ++t) lanes.step(actions);
  from_bytes(to_bytes(lanes), restored);
  for (int t = 0; t < 40; ++t) {
    lanes.step(actions), restored.step(actions);
    CHECK(lanes.states() == restored.states());
  }
}
