// The five environments of classic control against Gymnasium's trajectories, and the faults that others shipped.
#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/env/acrobot.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/env/dynamics.hpp"
#include "valence/env/mountain_car.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

static_assert(SingleReward<CartPole> && SingleReward<MountainCar> && SingleReward<MountainCarContinuous> &&
              SingleReward<Acrobot> && SingleReward<Pendulum>);

constexpr double pi = std::numbers::pi;

template <class V>
void near_to(const V& seen, std::initializer_list<double> expected, double tolerance = 6e-13) {
  REQUIRE(static_cast<std::size_t>(seen.size()) == expected.size());
  Eigen::Index i = 0;
  for (const double x : expected) {
    CAPTURE(i);
    CHECK(std::abs(seen[i++] - x) <= tolerance);  // twelve decimals are given
  }
}

CartPole cart_pole(double x, double v, double angle, double turning) {
  CartPole env;
  env.state = {x, v, angle, turning};
  env.over = false;
  return env;
}
template <class Car>
Car car(double position, double speed) {
  Car env;
  env.state = {position, speed};
  env.over = false;
  return env;
}

}  // namespace

TEST_CASE("CartPole follows Gymnasium's trajectory") {
  Rng rng{1};
  CartPole env = cart_pole(.01, -.02, .03, .04);
  const int actions[] = {1, 1, 0, 1, 0, 0, 1, 0, 1, 1};
  for (int t = 0; t < 10; ++t) {
    const auto step = env.step(actions[t], rng);
    CHECK(step.reward == 1);
    CHECK_FALSE((step.terminated || step.truncated));
    if (t == 0) near_to(step.next, {.0096, .174679195748, .0308, -.243068717960});
    if (t == 1) near_to(step.next, {.013093583915, .369347976058, .025938625641, -.525879628050});
    if (t == 9) near_to(step.next, {.040883446549, .368855081490, -.009434975267, -.514753477633});
  }
  env = cart_pole(0, 0, 0, 0);
  for (int t = 1; t <= 9; ++t) {
    const auto step = env.step(1, rng);
    CHECK(step.reward == 1);
    CHECK(step.terminated == (t == 9));
    if (t == 9) near_to(step.next, {.140650972033, 1.760381125768, -.215186049885, -2.777886494013});
  }
}

TEST_CASE("CartPole's two integrators", "[E2]") {
  Rng rng{1};
  CartPole env = cart_pole(0, 1, .05, .5);
  near_to(env.step(1, rng).next, {.02, 1.19438273, .06, .223484166}, 5e-9);
  env = cart_pole(0, 1, .05, .5);
  env.constants.integrator = Integrator::semi_implicit_euler;
  near_to(env.step(1, rng).next, {.0238876547, 1.19438273, .0544696833, .223484166}, 5e-9);
}

TEST_CASE("CartPole pays 1 for the step that falls too", "[E3]") {
  Rng rng{1};
  CartPole env = cart_pole(2.39, 1.5, 0, 0);
  const auto step = env.step(1, rng);
  CHECK(step.next[0] == close(2.42));
  CHECK(step.terminated);
  CHECK(step.reward == 1);
}

TEST_CASE("MountainCar follows Gymnasium's trajectory to the goal") {
  Rng rng{1};
  auto env = car<MountainCar>(-.5, 0);
  for (int t = 1; t <= 124; ++t) {
    const auto step = env.step(env.state[1] >= 0 ? 2 : 0, rng);
    CHECK(step.reward == -1);
    CHECK(step.terminated == (t == 124));
    if (t == 1) near_to(step.next, {-.499176843004, .000823156996});
    if (t == 2) near_to(step.next, {-.497536686679, .001640156325});
    if (t == 10) near_to(step.next, {-.457689584897, .007254692063});
    if (t == 124) near_to(step.next, {.534949982566, .048190977929}, 1e-11);
  }
}

TEST_CASE("the goal is reached at or beyond it; the left wall stops the car", "[E6]") {
  Rng rng{1};
  auto env = car<MountainCar>(.499, .07);
  CHECK(env.step(2, rng).terminated);
  auto slow = car<MountainCar>(.49, -.001);
  CHECK_FALSE(slow.step(0, rng).terminated);  // downhill
  auto wall = car<MountainCar>(-1.19, -.07);
  near_to(wall.step(0, rng).next, {-1.2, 0});
  auto continuous = car<MountainCarContinuous>(.449, .07);
  const auto step = continuous.step(1, rng);
  CHECK(step.terminated);
  CHECK(step.reward == close(99.9));
  auto forced = car<MountainCarContinuous>(-.5, 0);
  CHECK(forced.step(3, rng).reward == close(-.9));  // the cost is that of the action asked for
  near_to(forced.state, {-.498676843004, .001323156996});
}

TEST_CASE("MountainCarContinuous follows Gymnasium's trajectory, in double and with a state in float") {
  Rng rng{1};
  for (const bool rounded : {false, true}) {
    auto env = car<MountainCarContinuous>(-.5, 0);
    env.float_state = rounded;
    double total = 0;
    for (int t = 1; t <= 106; ++t) {
      const auto step = env.step(env.state[1] >= 0 ? 1 : -1, rng);
      total += step.reward;
      CHECK(step.terminated == (t == 106));
      if (!rounded && t == 1) near_to(step.next, {-.498676843004, .001323156996});
      if (!rounded && t == 2) near_to(step.next, {-.496040426412, .002636416592});
      if (!rounded && t == 10) near_to(step.next, {-.431979918223, .011666026417});
      if (t == 106 && !rounded) near_to(step.next, {.502086724247, .064047677262}, 1e-11);
      if (t == 106 && rounded) near_to(step.next, {.502086758614, .064047686756});
    }
    CHECK(total == close(89.4));
  }
}

TEST_CASE("Acrobot follows Gymnasium's trajectory") {
  Rng rng{1};
  Acrobot env;
  env.angles = {.1, -.05, .02, .03};
  env.over = false;
  const int actions[] = {2, 2, 0, 1, 2, 0, 0, 2, 1, 2};
  for (int t = 0; t < 10; ++t) {
    const auto step = env.step(actions[t], rng);
    CHECK(step.reward == -1);
    CHECK_FALSE(step.terminated);
    if (t == 0) near_to(env.angles, {.077571655793, .004515209388, -.237733919006, .501754807936});
    if (t == 1) near_to(env.angles, {.010080984822, .140688916500, -.418768118703, .825010356612});
    if (t == 9) near_to(env.angles, {.080885586430, -.319084838391, -.227802004798, .488039832999});
    CHECK(step.next[0] == std::cos(env.angles[0]));
    CHECK(step.next[3] == std::sin(env.angles[1]));
    CHECK(step.next[5] == env.angles[3]);
  }
  env.angles = {3, .1, 0, 0};  // nearly upright: above the line after the step too
  const auto step = env.step(1, rng);
  CHECK(step.terminated);
  CHECK(step.reward == 0);
}

TEST_CASE("Pendulum follows Gymnasium's trajectory") {
  Rng rng{1};
  Pendulum env;
  env.angle = 3, env.speed = .5, env.begun = true;
  const double actions[] = {2, -2, 1, .5, 0, -1, 3, 2, -.5, 0};
  double total = 0;
  for (int t = 0; t < 10; ++t) {
    const auto step = env.step(actions[t], rng);
    total += step.reward;
    CHECK_FALSE((step.terminated || step.truncated));
    CHECK(step.next[0] == std::cos(env.angle));
    CHECK(step.next[2] == env.speed);
    if (t == 0) {
      near_to(Eigen::Vector2d(env.angle, env.speed), {3.045292000302, .905840006045});
      CHECK(step.reward == close(-9.029));
    }
    if (t == 1) {
      near_to(Eigen::Vector2d(env.angle, env.speed), {3.079189695975, .677953913448});
      CHECK(step.reward == close(-9.359857978760));
    }
    if (t == 9) {
      near_to(Eigen::Vector2d(env.angle, env.speed), {3.438396660993, .698503428301});
      CHECK(step.reward == close(-8.372438584571));
    }
  }
  CHECK(total == close(-92.268212468867));
}

TEST_CASE("Pendulum: the speed is cut before it moves the angle", "[E4]") {
  Rng rng{1};
  Pendulum env;
  env.angle = pi / 2, env.speed = 7.9, env.begun = true;
  const auto step = env.step(2, rng);
  CHECK(env.speed == 8);
  CHECK(env.angle == close(1.97079633, 1e-8));
  CHECK(step.reward == close(-8.7124011, 1e-8));
}

TEST_CASE("angles are wrapped to -pi or more and less than pi, negative ones too; the inertia is m l^2", "[E5]") {
  CHECK(wrap_angle(-3 * pi / 2) == close(pi / 2));
  CHECK(wrap_angle(5 * pi / 2) == close(pi / 2));
  CHECK(wrap_angle(pi) == -pi);
  CHECK(wrap_angle(-pi) == -pi);
  for (double angle = -1000; angle <= 1000; angle += .37) {
    const double wrapped = wrap_angle(angle);
    CHECK((wrapped >= -pi && wrapped < pi));
    CHECK(std::abs(std::sin(wrapped) - std::sin(angle)) < 1e-12);
  }
  for (const double edge : {pi, -pi, 3 * pi, -3 * pi, 1e9 * pi})
    for (const double x : {edge, std::nextafter(edge, 0.0), std::nextafter(edge, 2 * edge)})
      CHECK((wrap_angle(x) >= -pi && wrap_angle(x) < pi));
  Rng rng{1};
  Pendulum env;
  env.constants.mass = 2, env.constants.length = .5;
  env.begun = true;
  env.step(1, rng);
  CHECK(env.speed == close(3 / .5 * .05));  // torque / (m l^2 / 3), m l^2 = 0.5
}

TEST_CASE("stepping before a reset or after the end throws, and a reset clears it", "[E11]") {
  Rng rng{1};
  CHECK(says(message_of([&] { CartPole{}.step(0, rng); }), "reset"));
  CHECK(says(message_of([&] { MountainCar{}.step(0, rng); }), "reset"));
  CHECK(says(message_of([&] { MountainCarContinuous{}.step(0, rng); }), "reset"));
  CHECK(says(message_of([&] { Acrobot{}.step(0, rng); }), "reset"));
  CHECK(says(message_of([&] { Pendulum{}.step(0, rng); }), "reset"));
  CartPole env = cart_pole(2.39, 1.5, 0, 0);
  env.step(1, rng);
  const auto after = env.state;
  CHECK(says(message_of([&] { env.step(1, rng); }), "over", "reset"));
  CHECK(env.state == after);
  env.reset(rng);
  CHECK_FALSE(env.step(1, rng).terminated);
}

TEST_CASE("actions that don't exist are named, and change nothing") {
  Rng rng{1};
  CartPole env = cart_pole(0, 0, 0, 0);
  CHECK(says(message_of([&] { env.step(2, rng); }), "action is 2", "[0, 1]"));
  CHECK(says(message_of([&] { env.step(-1, rng); }), "action is -1"));
  CHECK(env.state == Eigen::Vector4d::Zero());
  auto valley = car<MountainCar>(-.5, 0);
  CHECK(says(message_of([&] { valley.step(3, rng); }), "action is 3"));
  Acrobot arm;
  arm.reset(rng);
  CHECK(says(message_of([&] { arm.step(3, rng); }), "action is 3"));
  Pendulum pendulum;
  pendulum.reset(rng);
  const double before = pendulum.angle;
  CHECK(says(message_of([&] { pendulum.step(std::nan(""), rng); }), "action is nan"));
  CHECK(pendulum.angle == before);
  auto forced = car<MountainCarContinuous>(-.5, 0);
  CHECK(says(message_of([&] { forced.step(std::numeric_limits<double>::infinity(), rng); }), "action is inf"));
}

TEST_CASE("the five are in order by the checker, and begin where Gymnasium's do") {
  Rng rng{3};
  const auto good = [&](const auto& env) {
    const auto report = check_environment(env, rng);
    for (const auto& p : report.problems) UNSCOPED_INFO(p);
    return report.good();
  };
  CHECK(good(TimeLimit{CartPole{}}));
  CHECK(good(TimeLimit{MountainCar{}}));
  CHECK(good(TimeLimit{MountainCarContinuous{}}));
  CHECK(good(TimeLimit{Acrobot{}}));
  CHECK(good(TimeLimit{Pendulum{}}));
  for (int k = 0; k < 200; ++k) {
    CHECK(CartPole{}.reset(rng).cwiseAbs().maxCoeff() <= .05);
    const auto x = MountainCar{}.reset(rng);
    CHECK((x[0] >= -.6 && x[0] < -.4 && x[1] == 0));
    Acrobot arm;
    arm.reset(rng);
    CHECK(arm.angles.cwiseAbs().maxCoeff() <= .1);
    Pendulum pendulum;
    pendulum.reset(rng);
    CHECK((std::abs(pendulum.angle) <= pi && std::abs(pendulum.speed) <= 1));
  }
}
