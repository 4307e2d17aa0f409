// Batches of environments against the single ones that they stand for.
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/env/batch.hpp"
#include "valence/env/batch_cart_pole.hpp"
#include "valence/env/batch_pendulum.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

constexpr double pi = 3.14159265358979323846;

/// Distance of two angles on the circle.
double apart(double a, double b) { return std::abs(std::remainder(a - b, 2 * pi)); }

}  // namespace

TEST_CASE("sine and cosine polynomials are as good as they say") {
  for (double x = -pi / 2; x <= pi / 2; x += .001) {
    CHECK(std::abs(detail::sine_near_zero(x) - std::sin(x)) < 7e-10);
    CHECK(std::abs(detail::cosine_near_zero(x) - std::cos(x)) < 7e-9);
    const auto f = static_cast<float>(x);
    CHECK(std::abs(detail::sine_near_zero(f) - std::sin(f)) < 2e-7F);
    CHECK(std::abs(detail::cosine_near_zero(f) - std::cos(f)) < 2e-7F);
  }
  for (double x = -.25; x <= .25; x += .001) {
    CHECK(std::abs(detail::sine_near_zero(x) - std::sin(x)) < 1e-15);
    CHECK(std::abs(detail::cosine_near_zero(x) - std::cos(x)) < 1e-15);
  }
}

TEST_CASE("a batch of CartPoles plays what single ones play: 10^4 steps, flags and resets included", "[E3]") {
  const int n = 13;  // no whole number of registers
  const std::int64_t limit = 25;
  BatchCartPole<double> lanes(n, {}, limit);
  std::vector<TimeLimit<CartPole>> single(n, TimeLimit{CartPole{}, limit});
  std::vector<Rng> rng;
  const Rng seeds{3};
  lanes.reset(seeds);
  for (int i = 0; i < n; ++i) {
    rng.push_back(seeds.split(static_cast<std::uint64_t>(i)));
    single[static_cast<std::size_t>(i)].reset(rng[static_cast<std::size_t>(i)]);
  }
  Rng random{4};
  int terminations = 0, truncations = 0;
  Matrix<double> seen;
  for (int t = 0; t < 10'000 / n; ++t) {
    std::vector<int> actions;
    // Some copies balance, so that their time runs out; the others fall.
    for (std::size_t i = 0; i < single.size(); ++i)
      actions.push_back(i % 2 ? random.below(2) : single[i].env.state[2] + single[i].env.state[3] > 0);
    lanes.step(actions);
    lanes.observe(seen);
    for (std::size_t i = 0; i < single.size(); ++i) {
      const auto step = single[i].step(actions[i], rng[i]);
      REQUIRE(lanes.terminated()[i] == step.terminated);
      REQUIRE(lanes.truncated()[i] == step.truncated);
      CHECK(lanes.reward()[i] == step.reward);
      terminations += step.terminated, truncations += step.truncated;
      if (step.done()) {
        const auto last = lanes.last_state(static_cast<int>(i));
        for (std::size_t k = 0; k < 4; ++k) CHECK(std::abs(last[k] - step.next[static_cast<Eigen::Index>(k)]) < 1e-6);
        single[i].reset(rng[i]);
      }
      const Eigen::Vector4d& state = single[i].env.state;
      CHECK((seen.col(static_cast<Eigen::Index>(i)) - state).cwiseAbs().maxCoeff() < 1e-6);
      CHECK(lanes.angle()[i] == seen(2, static_cast<Eigen::Index>(i)));
    }
  }
  CHECK(terminations > 100);
  CHECK(truncations > 100);
}

TEST_CASE("a batch of Pendulums plays what single ones play") {
  const int n = 11;
  BatchPendulum<double> lanes(n, {}, 60);
  std::vector<TimeLimit<Pendulum>> single(n, TimeLimit{Pendulum{}, 60});
  std::vector<Rng> rng;
  const Rng seeds{5};
  lanes.reset(seeds);
  for (int i = 0; i < n; ++i) {
    rng.push_back(seeds.split(static_cast<std::uint64_t>(i)));
    single[static_cast<std::size_t>(i)].reset(rng[static_cast<std::size_t>(i)]);
  }
  Rng random{6};
  int truncations = 0;
  for (int t = 0; t < 500; ++t) {
    std::vector<double> actions;
    for (int i = 0; i < n; ++i) actions.push_back(random.uniform(-3., 3.));
    lanes.step(actions);
    for (std::size_t i = 0; i < single.size(); ++i) {
      const auto step = single[i].step(actions[i], rng[i]);
      CHECK(std::abs(lanes.reward()[i] - step.reward) < 1e-5);
      REQUIRE(lanes.truncated()[i] == step.truncated);
      CHECK_FALSE(lanes.terminated()[i]);
      if (step.truncated) {
        ++truncations;
        const auto last = lanes.last_state(static_cast<int>(i));
        for (std::size_t k = 0; k < 3; ++k) CHECK(std::abs(last[k] - step.next[static_cast<Eigen::Index>(k)]) < 1e-6);
        single[i].reset(rng[i]);
      }
      CHECK(apart(lanes.angle()[i], single[i].env.angle) < 1e-6);
      CHECK(std::abs(lanes.speed()[i] - single[i].env.speed) < 1e-6);
      CHECK(std::abs(lanes.cosine()[i] - std::cos(single[i].env.angle)) < 1e-6);
      CHECK(std::abs(lanes.sine()[i] - std::sin(single[i].env.angle)) < 1e-6);
    }
  }
  CHECK(truncations == n * (500 / 60));
}

TEST_CASE("in float a step is right to rounding") {
  const int n = 37;
  BatchCartPole<float> carts(n);
  BatchPendulum<float> pendulums(n);
  carts.reset(Rng{1}), pendulums.reset(Rng{1});
  Rng random{2}, unused{3};
  for (int t = 0; t < 60; ++t) {
    std::vector<int> actions;
    std::vector<float> torques;
    for (int i = 0; i < n; ++i) actions.push_back(random.below(2)), torques.push_back(random.uniform<float>(-2, 2));
    std::vector<CartPole> cart(n);
    std::vector<Pendulum> pendulum(n);
    for (std::size_t i = 0; i < cart.size(); ++i) {
      cart[i].state = {static_cast<double>(carts.position()[i]), static_cast<double>(carts.speed()[i]),
                       static_cast<double>(carts.angle()[i]), static_cast<double>(carts.angular_speed()[i])};
      cart[i].over = false;
      pendulum[i].angle = static_cast<double>(pendulums.angle()[i]);
      pendulum[i].speed = static_cast<double>(pendulums.speed()[i]), pendulum[i].begun = true;
    }
    carts.step(actions), pendulums.step(torques);
    for (std::size_t i = 0; i < cart.size(); ++i) {
      const auto step = cart[i].step(actions[i], unused);
      const auto last = carts.last_state(static_cast<int>(i));
      const double seen = static_cast<double>(carts.terminated()[i] ? last[3] : carts.angular_speed()[i]);
      CHECK(std::abs(seen - step.next[3]) < 2e-6);
      pendulum[i].step(static_cast<double>(torques[i]), unused);
      CHECK(apart(static_cast<double>(pendulums.angle()[i]), pendulum[i].angle) < 2e-6);
    }
  }
}

TEST_CASE("a batch is saved in the middle of episodes, and copies are snapshots") {
  BatchCartPole<float> lanes(5, {}, 7), restored(5, {}, 7);
  BatchPendulum<double> swings(3, {}, 7), again(3, {}, 7);
  lanes.reset(Rng{8}), swings.reset(Rng{8});
  const std::vector<int> actions{0, 1, 0, 1, 1};
  const std::vector<double> torques{1, -1, .5};
  for (int t = 0; t < 11; ++t) lanes.step(actions), swings.step(torques);
  from_bytes(to_bytes(lanes), restored), from_bytes(to_bytes(swings), again);
  BatchCartPole<float> copy = lanes;
  for (int t = 0; t < 30; ++t) {
    lanes.step(actions), restored.step(actions), copy.step(actions);
    swings.step(torques), again.step(torques);
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(lanes.angle()[i] == restored.angle()[i]);
      CHECK(lanes.angle()[i] == copy.angle()[i]);
      CHECK(lanes.truncated()[i] == restored.truncated()[i]);
    }
    for (std::size_t i = 0; i < 3; ++i) CHECK(swings.angle()[i] == again.angle()[i]);
  }
}

TEST_CASE("a checkpoint of another size, or a damaged one, is refused and changes nothing", "[F10]") {
  BatchCartPole<float> three(3), forty(40);
  BatchPendulum<double> two(2), many(30);
  three.reset(Rng{1}), forty.reset(Rng{1}), two.reset(Rng{1}), many.reset(Rng{1});
  const auto before = to_bytes(three);
  CHECK(says(message_of([&] { from_bytes(to_bytes(forty), three); }), "column of the batch", "expected"));
  CHECK(says(message_of([&] { from_bytes(to_bytes(many), two); }), "column of the batch", "expected"));
  CHECK(to_bytes(three) == before);
  auto damaged = before;
  for (std::size_t i = 0; i < damaged.size(); ++i) {
    const std::byte kept = damaged[i];
    damaged[i] ^= std::byte{0x55};
    BatchCartPole<float> lanes(3);
    if (message_of([&] { from_bytes(damaged, lanes); }) == "nothing thrown")
      for (int t = 0; t < 3; ++t) lanes.step(std::vector<int>{0, 1, 1});  // whatever it plays, it stays in its memory
    damaged[i] = kept;
  }
}

TEST_CASE("a step of a batch allocates nothing") {
  BatchCartPole<float> lanes(64, {}, 10);
  BatchPendulum<float> swings(64, {}, 10);
  lanes.reset(Rng{1}), swings.reset(Rng{1});
  std::vector<int> actions(64, 1);
  std::vector<float> torques(64, 1);
  const test::Allocations allocations;
  for (int t = 0; t < 50; ++t) lanes.step(actions), swings.step(torques);
  CHECK(allocations.count() == 0);
}

TEST_CASE("batches refuse what they can't do, and change nothing") {
  BatchCartPole<double> lanes(3);
  CHECK(says(message_of([&] { lanes.step(std::vector<int>{0, 1, 0}); }), "reset(rng)"));
  lanes.reset(Rng{1});
  const double before = lanes.angle()[0];
  CHECK(says(message_of([&] { lanes.step(std::vector<int>{0, 1, 2}); }), "actions[2] is 2"));
  CHECK(says(message_of([&] { lanes.step(std::vector<int>{0, -1, 0}); }), "actions[1] is -1"));
  CHECK(says(message_of([&] { lanes.step(std::vector<int>{0}); }), "actions has 1"));
  CHECK(lanes.angle()[0] == before);
  BatchPendulum<double> swings(2);
  swings.reset(Rng{1});
  CHECK(says(message_of([&] { swings.step(std::vector<double>{0, std::nan("")}); }), "actions[1] is nan"));
  CHECK(says(message_of([] { BatchCartPole<float>(0); }), "copies"));
  CHECK(says(message_of([] { BatchPendulum<float>(2, {}, 0); }), "time_limit"));
  CHECK(says(message_of([] { BatchCartPole<float>(2, {.angle_limit = 2}); }), "angle_limit"));
}
