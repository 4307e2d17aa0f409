#include "valence/mdp/concepts.hpp"

#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/mdp/encode.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

using valence::Box;
using valence::Discrete;
using valence::Environment;
using valence::Rng;
using valence::Step;
using valence::Vector;
using valence::test::message_of;
using valence::test::says;

namespace {

struct Corridor {  // the environment of DESIGN
  using State = int;
  using Action = int;
  int reset(Rng&) { return x = 0; }
  Step<int> step(int a, Rng&) {
    x += a ? 1 : -1;
    return {.next = x, .reward = x == 9 ? 1.0 : -0.01, .terminated = x == 9};
  }
  Discrete actions() const { return {2}; }
  int x = 0;
};
static_assert(Environment<Corridor> && valence::SingleReward<Corridor>);
static_assert((valence::explain_environment<Corridor>(), true));

// One fault each, and the sentence that names it.
struct NoAction {
  using State = int;
};
static_assert(!valence::NamesItsStateAndAction<NoAction> && !Environment<NoAction>);
struct NoReset : Corridor {
  void reset(Rng&) {}
};
static_assert(!valence::ResetGivesTheFirstState<NoReset> && valence::StepGivesAStep<NoReset> && !Environment<NoReset>);
struct ResetWithoutRng : Corridor {
  int reset() { return 0; }
};
static_assert(!valence::ResetGivesTheFirstState<ResetWithoutRng>);
struct StepGivesAPair : Corridor {
  int step(int, Rng&) { return 0; }
};
static_assert(!valence::StepGivesAStep<StepGivesAPair> && valence::ResetGivesTheFirstState<StepGivesAPair> &&
              !Environment<StepGivesAPair>);
struct NoActions {
  using State = int;
  using Action = int;
  int reset(Rng&) { return 0; }
  Step<int> step(int, Rng&) { return {0}; }
};
static_assert(!valence::DescribesItsActions<NoActions> && valence::StepGivesAStep<NoActions> &&
              !Environment<NoActions>);
struct NotCopyable : Corridor {
  NotCopyable(const NotCopyable&) = delete;
};
static_assert(!Environment<NotCopyable>);

struct TwoObjectives {
  using State = int;
  using Action = int;
  int reset(Rng&) { return 0; }
  Step<int, Eigen::Vector2d> step(int, Rng&) { return {.next = 0, .reward = {1, 2}}; }
  Discrete actions() const { return {1}; }
};
static_assert(Environment<TwoObjectives> && !valence::SingleReward<TwoObjectives>);

}  // namespace

namespace user {
struct Pose {
  double x, y;
};
template <class S>
void encode(const Pose& p, std::span<S> column) {
  column[0] = static_cast<S>(p.x);
  column[1] = static_cast<S>(p.y);
}
struct Opaque {};
}  // namespace user
static_assert(valence::Encodable<int, float> && valence::Encodable<Vector<double>, float> &&
              valence::Encodable<user::Pose, double>);
static_assert(!valence::Encodable<user::Opaque, double>);

TEST_CASE("A corridor can be walked, and a copy is a snapshot") {
  Rng rng{1};
  Corridor env;
  CHECK(env.reset(rng) == 0);
  for (int i = 0; i < 8; ++i) CHECK_FALSE(env.step(1, rng).done());
  Corridor copy = env;
  const auto last = env.step(1, rng);
  CHECK(last.terminated);
  CHECK(last.done());
  CHECK(last.reward == 1);
  CHECK(copy.step(0, rng).next == 7);
  CHECK(Step<int>{.next = 0, .truncated = true}.done());
}

TEST_CASE("Spaces contain what they sample, and nothing else") {
  Rng rng{2};
  const Discrete three{3};
  std::vector<int> seen(3);
  for (int i = 0; i < 100; ++i) ++seen[std::size_t(three.sample(rng))];
  for (const int n : seen) CHECK(n > 0);
  CHECK(three.contains(2));
  CHECK_FALSE(three.contains(3));
  CHECK_FALSE(three.contains(-1));
  CHECK(says(message_of([&] { Discrete{0}.sample(rng); }), "n is 0"));

  const Box interval{-1.0, 2.0};
  const Box square{Eigen::Vector2d{0, 1}, Eigen::Vector2d{1, 5}};
  for (int i = 0; i < 100; ++i) {
    CHECK(interval.contains(interval.sample(rng)));
    CHECK(square.contains(square.sample(rng)));
  }
  CHECK(interval.contains(2));
  CHECK_FALSE(interval.contains(2.001));
  CHECK_FALSE(interval.contains(std::numeric_limits<double>::quiet_NaN()));
  CHECK_FALSE(square.contains(Eigen::Vector2d{0.5, 0.5}));
  const Box<Vector<double>> box{Vector<double>::Zero(3), Vector<double>::Ones(3)};
  CHECK_FALSE(box.contains(Vector<double>::Zero(2)));
  CHECK(box.contains(Vector<double>::Ones(3)));
  const Box<Vector<double>> uneven{Vector<double>::Zero(3), Vector<double>::Ones(2)};
  CHECK(says(message_of([&] { uneven.sample(rng); }), "high has 2 entries", "3"));
}

TEST_CASE("States become columns") {
  std::vector<float> column(3, 7.0f);
  valence::encode(1, std::span<float>(column));
  CHECK(column == std::vector<float>{0, 1, 0});
  valence::encode(Eigen::Vector3d{0.5, -1, 2}, std::span<float>(column));
  CHECK(column == std::vector<float>{0.5f, -1, 2});
  std::vector<double> two(2);
  encode(user::Pose{3, 4}, std::span<double>(two));
  CHECK(two == std::vector<double>{3, 4});
}
