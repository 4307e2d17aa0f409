// Broken environments, each of which is to be named in words.
#include <Eigen/Core>
#include <limits>
#include <memory>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

using namespace valence;
using valence::test::says;

namespace {

/// A walk on ten cells that is in order; the broken ones differ from it in one place.
struct Walk {
  using State = int;
  using Action = int;
  int reset(Rng&) { return x = 3, t = 0, x; }
  Step<int> step(int a, Rng& rng) {
    if (a < 0 || a > 1) fail("Walk", "action is {}", a);
    x += a == 1 && rng.uniform() < .8 ? 1 : -1;
    ++t;
    return {.next = x, .reward = 1, .terminated = x == 0 || x == 9};
  }
  Discrete actions() const { return {2}; }
  Discrete states() const { return {10}; }
  template <class A>
  void archive(A& ar) {
    ar(x, t);
  }
  int x = 3, t = 0;
};

/// A point in a box.
struct Point {
  using State = Eigen::Vector2d;
  using Action = double;
  State reset(Rng& rng) {
    x = State(rng.uniform(-.5, .5), 0);
    n = 0;
    return x;
  }
  Step<State> step(double a, Rng&) {
    x[1] = .5 * x[1] + .1 * a, x[0] = std::clamp(x[0] + x[1], -1., 1.);
    return {.next = x, .reward = -x.squaredNorm(), .truncated = ++n == 50};
  }
  Box<double> actions() const { return {-1, 1}; }
  Box<State> states() const { return {State(-1, -1), State(1, 1)}; }
  State x = State::Zero();
  int n = 0;
};

template <class E>
EnvironmentReport report_of(const E& env) {
  Rng rng{1};
  return check_environment(env, rng);
}
template <class E, class... Words>
bool named(const E& env, const Words&... words) {
  const auto report = report_of(env);
  std::string all;
  for (const auto& p : report.problems) all += p + "\n";
  return report.problems.size() == 1 && says(all, words...);
}

struct LeavesItsStates : Walk {
  Discrete states() const { return {9}; }
};
struct BeginsOutside : Walk {
  int reset(Rng&) { return t = 0, x = 3, -1; }
};
struct NotANumber : Point {
  Step<State> step(double a, Rng& rng) {
    auto s = Point::step(a, rng);
    if (n == 10) s.next[1] = std::numeric_limits<double>::quiet_NaN();
    return s;
  }
};
struct InfiniteReward : Walk {
  Step<int> step(int a, Rng& rng) {
    auto s = Walk::step(a, rng);
    if (s.terminated) s.reward = std::numeric_limits<double>::infinity();
    return s;
  }
};
struct OwnGenerator : Walk {
  Step<int> step(int a, Rng&) { return Walk::step(a, *own); }
  std::shared_ptr<Rng> own = std::make_shared<Rng>(5);
};
struct SharesItsState : Walk {
  int reset(Rng& rng) { return *shared = Walk::reset(rng); }
  Step<int> step(int a, Rng& rng) {
    x = *shared;
    auto s = Walk::step(a, rng);
    *shared = x;
    return s;
  }
  template <class A>
  void archive(A& ar) {
    ar(x, t, *shared);
  }
  std::shared_ptr<int> shared = std::make_shared<int>(3);
};
struct ResetForgetsTheClock : Walk {
  int reset(Rng&) { return x = 3; }
  Step<int> step(int a, Rng& rng) {
    auto s = Walk::step(a, rng);
    s.truncated = !s.terminated && t % 7 == 0;
    return s;
  }
};
struct BothFlags : Walk {
  Step<int> step(int a, Rng& rng) {
    auto s = Walk::step(a, rng);
    s.truncated = s.terminated;
    return s;
  }
};
struct NoActions : Walk {
  Discrete actions() const { return {0}; }
};
struct BoxUpsideDown : Point {
  Box<double> actions() const { return {1, -1}; }
};
struct RefusesAnAction : Walk {
  Discrete actions() const { return {3}; }
};
struct RefusesABound : Point {
  Step<State> step(double a, Rng& rng) {
    if (a >= 1) fail("RefusesABound", "action is {}; expected less than 1", a);
    return Point::step(a, rng);
  }
};
struct AnotherSize : Walk {
  using State = Eigen::VectorXd;
  State reset(Rng& rng) {
    Walk::reset(rng);
    return State::Zero(3);
  }
  Step<State> step(int a, Rng& rng) {
    const auto s = Walk::step(a, rng);
    return {.next = State::Zero(s.terminated ? 2 : 3), .reward = 1, .terminated = s.terminated};
  }
  Box<State> states() const { return {State::Constant(3, -1), State::Constant(3, 1)}; }
};
struct ForgetsAField : Walk {
  template <class A>
  void archive(A& ar) {
    ar(t);
  }
};
struct Listed : Walk {
  std::vector<Outcome<int>> outcomes(int s, int a) const {
    const double p = a == 1 ? .8 : 0;
    return {{std::min(s + 1, 9), p, 1, s + 1 == 9}, {std::max(s - 1, 0), 1 - p, 1, s - 1 == 0}};
  }
};
struct SumsToLess : Listed {
  std::vector<Outcome<int>> outcomes(int s, int a) const {
    auto all = Listed::outcomes(s, a);
    if (s == 4) all[1].probability *= .5;
    return all;
  }
};
struct ListsOtherRewards : Listed {
  std::vector<Outcome<int>> outcomes(int s, int a) const {
    auto all = Listed::outcomes(s, a);
    for (auto& o : all) o.reward = 2;
    return all;
  }
};
struct NeverEnds : Walk {
  Step<int> step(int, Rng&) { return {.next = x}; }
};

}  // namespace

TEST_CASE("environments in order have no problems") {
  for (const auto& report : {report_of(Walk{}), report_of(Point{}), report_of(Listed{})}) {
    for (const auto& p : report.problems) UNSCOPED_INFO(p);
    CHECK(report.good());
    CHECK(report.notes.empty());
  }
}

TEST_CASE("each broken environment is named, and nothing else is said of it") {
  CHECK(named(LeavesItsStates{}, "step gives the state 9", "not in states()"));
  CHECK(named(BeginsOutside{}, "reset gives the state -1", "not in states()"));
  CHECK(named(NotANumber{}, "step gives the state", "nan"));
  CHECK(named(InfiniteReward{}, "reward inf"));
  CHECK(named(SharesItsState{}, "snapshot"));
  CHECK(named(ResetForgetsTheClock{}, "reset", "clear everything"));
  CHECK(named(BothFlags{}, "terminated and truncated at once"));
  CHECK(named(NoActions{}, "actions() is Discrete{0}"));
  CHECK(named(BoxUpsideDown{}, "actions()", "low is 1 and high is -1"));
  CHECK(named(RefusesAnAction{}, "step throws for legal input", "action is 2"));
  CHECK(named(RefusesABound{}, "bound of actions()", "less than 1"));
  CHECK(named(ForgetsAField{}, "archive"));
  CHECK(named(SumsToLess{}, "outcomes(4, 0)", "sum to 0.5"));
  CHECK(named(ListsOtherRewards{}, "does not list"));
  const auto sizes = report_of(AnotherSize{});
  REQUIRE(!sizes.good());
  CHECK(says(sizes.problems[0], "2 numbers", "3"));
  const auto own = report_of(OwnGenerator{});
  REQUIRE(!own.good());
  CHECK(says(own.problems[0], "same seed", "generator"));
}

TEST_CASE("an episode without end is a note, not a problem", "[E10]") {
  const auto report = report_of(NeverEnds{});
  CHECK(report.good());
  REQUIRE(report.notes.size() == 1);
  CHECK(says(report.notes[0], "TimeLimit"));
}

TEST_CASE("the environment that is checked stays as it was") {
  Walk walk;
  Rng rng{3};
  walk.reset(rng);
  walk.step(1, rng);
  const auto before = to_bytes(walk);
  check_environment(walk, rng, {.episodes = 2, .steps = 10});
  CHECK(to_bytes(walk) == before);
}
