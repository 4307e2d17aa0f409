// The orchard, whose agents' contributions the specification of multi-agent explanation states.
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/env/orchard.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/mdp/concepts.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

static_assert(Environment<Orchard> && SingleReward<Orchard>);

namespace {

/// The return of 50 steps; agents outside of `team` (a bit each) stay where they are.
double play(unsigned team, Rng& rng, std::array<double, 5>* personal = nullptr) {
  Orchard env;
  env.reset(rng);
  double sum = 0;
  for (int t = 0; t < Orchard::time_limit; ++t) {
    Orchard::Action joint = Orchard::scripted(env.state());
    for (unsigned i = 0; i < 5; ++i)
      if (!(team >> i & 1)) joint[i] = Orchard::stay;
    sum += env.step(joint, rng).reward;
    if (personal)
      for (std::size_t i = 0; i < 5; ++i) (*personal)[i] += env.taken()[i];
  }
  return sum;
}

}  // namespace

TEST_CASE("Orchard: values of teams, Shapley values and personal rewards are the specified ones") {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const Rng root{seed};
    std::array<double, 32> value{};
    std::array<double, 5> personal{};
    RunningMoments all;
    for (unsigned team = 0; team < 32; ++team) {
      Rng rng = root.split(team);
      const int episodes = team == 31 ? 1000 : 400;
      for (int k = 0; k < episodes; ++k) {
        const double r = play(team, rng, team == 31 ? &personal : nullptr);
        value[team] += r / episodes;
        if (team == 31) all.add(r);
      }
    }
    CHECK(value[0] == 0);
    // The specified figures come from 1000 episodes too: both sides have that error.
    CHECK(std::abs(value[31] - 20.02) < 4.5 * std::sqrt(2.) * all.standard_error());
    const double expected[] = {11.66, 4.24, 2.88, 1.26, -.03}, own[] = {0, 14.39, 4.16, 1.54, 0};
    for (unsigned i = 0; i < 5; ++i) {
      double shapley = 0;
      const double weights[] = {1. / 5, 1. / 20, 1. / 30, 1. / 20, 1. / 5};
      for (unsigned team = 0; team < 32; ++team)
        if (!(team >> i & 1)) shapley += weights[std::popcount(team)] * (value[team | 1u << i] - value[team]);
      CAPTURE(seed, i, shapley, personal[i] / 1000);
      CHECK(std::abs(shapley - expected[i]) < .4);
      CHECK(std::abs(personal[i] / 1000 - own[i]) < .6);
    }
    CHECK(personal[0] == 0);
  }
}

TEST_CASE("Orchard: the door is open while the plate is stood on as the step begins") {
  Rng rng{4};
  Orchard env{{.speeds = {1, 1, 1, 1, 1}, .regrowth = 0}};
  env.reset(rng);
  using Joint = Orchard::Action;
  constexpr int R = Orchard::right, L = Orchard::left, U = Orchard::up, S = Orchard::stay;
  const auto where = [&](std::size_t i) { return env.state().where[i]; };
  env.step(Joint{L, R, S, S, S}, rng);
  env.step(Joint{U, R, S, S, S}, rng);
  CHECK(where(1) == Orchard::Cell{2, 2});  // shut
  env.step(Joint{U, R, S, S, S}, rng);
  CHECK(where(0) == Orchard::plate);
  CHECK(where(1) == Orchard::Cell{2, 2});  // it was still shut when the step began
  env.step(Joint{Orchard::down, R, S, S, S}, rng);
  CHECK(where(1) == Orchard::door);  // it was open when the step began
  env.step(Joint{S, U, R, S, S}, rng);
  CHECK(where(1) == Orchard::door);  // the wall
  env.step(Joint{S, R, R, S, S}, rng);
  CHECK(where(1) == Orchard::Cell{2, 4});  // the door can always be left
  CHECK(where(2) == Orchard::Cell{2, 2});
  env.step(Joint{S, L, S, S, S}, rng);
  CHECK(where(1) == Orchard::Cell{2, 4});
  // The first of those on a cell takes its apple, which doesn't come back on the left.
  env.step(Joint{S, S, U, R, R}, rng);
  env.step(Joint{S, S, U, U, U}, rng);
  CHECK(env.taken() == std::array<int, 5>{0, 0, 1, 0, 0});
  const auto step = env.step(Joint{S, S, S, U, U}, rng);
  CHECK(step.reward == 0);
  CHECK(!step.next.apple({0, 2}));
  CHECK(step.next.apple({4, 2}));
}

TEST_CASE("Orchard: in order, and refuses what doesn't exist", "[E10] [E11]") {
  Rng rng{6};
  const EnvironmentReport report = check_environment(TimeLimit{Orchard{}}, rng);
  for (const auto& problem : report.problems) UNSCOPED_INFO(problem);
  CHECK(report.good());
  Orchard env;
  CHECK(says(message_of([&] { env.step({}, rng); }), "Orchard::step", "reset"));
  const std::uint64_t before = rng.position();
  int apples = 0;
  for (const bool apple : env.reset(rng).apples) apples += apple;
  CHECK(apples == 8);
  CHECK(rng.position() - before == 6);
  env.step({}, rng);
  CHECK(rng.position() - before == 26);
  CHECK(says(message_of([&] { env.step({0, 0, 5, 0, 0}, rng); }), "action[2] is 5"));
  CHECK(says(message_of([&] { Orchard{{.speeds = {1, 2, 1, 1, 1}}}; }), "speeds[1] is 2"));
  CHECK(says(message_of([&] { Orchard::scripted(5, env.state()); }), "agent is 5"));
  valence::test::Allocations allocations;
  for (int k = 0; k < 100; ++k) env.step(Orchard::scripted(env.state()), rng);
  CHECK(allocations.count() == 0);
}
