// Gymnasium's toy-text environments. Expected values are those of its own tables (the base, section 8), or were
// computed by a separate program in Python where Gymnasium's are known to be wrong (E7) or aren't given.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "env/worlds.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/env/blackjack.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/env/cliff_walking.hpp"
#include "valence/env/frozen_lake.hpp"
#include "valence/env/taxi.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/mdp/finite_mdp.hpp"

using namespace valence;
using valence::test::at_start;
using valence::test::message_of;
using valence::test::plays_what_it_lists;
using valence::test::says;
using valence::test::swept_optimum;
using valence::test::swept_soft;

static_assert(Environment<FrozenLake> && EnumerableEnvironment<FrozenLake> && ListsItsFirstStates<FrozenLake>);
static_assert(Environment<CliffWalking> && ListsItsFirstStates<CliffWalking>);
static_assert(Environment<Taxi> && ListsItsFirstStates<Taxi> && SingleReward<Taxi>);
static_assert(Environment<Blackjack> && ListsItsFirstStates<Blackjack>);

namespace {

using valence::test::close;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Equal to a number that is printed with so many digits after the point.
valence::test::Close digits(double value, int places) { return close(value, 0, .51 * std::pow(10, -places)); }

std::vector<int> greedy_of(const FiniteMdp<double>& mdp, const Vector<double>& v, double discount) {
  std::vector<int> policy = greedy_policy(mdp, view(v), {.discount = discount});
  for (int& a : policy) a = a < 0 ? 0 : a;
  return policy;
}

FrozenLake large_lake() { return FrozenLake{{.map = std::string(frozen_lake_8x8)}}; }

template <class E>
void sound(const E& env) {
  Rng rng{3};
  const EnvironmentReport report = check_environment(env, rng);
  for (const auto& problem : report.problems) UNSCOPED_INFO(problem);
  CHECK(report.good());
}

}  // namespace

TEST_CASE("Frozen lake: values and policies of both maps") {
  const FiniteMdp<double> mdp{FrozenLake{}};
  REQUIRE(mdp.states() == 16);
  for (const int s : {5, 7, 11, 12, 15}) CHECK(mdp.terminal(s));
  const Vector<double> v = swept_optimum(mdp, .99);
  CHECK(v[0] == digits(0.542025932000, 12));
  CHECK(v.sum() == digits(6.339819538310, 12));
  CHECK(greedy_of(mdp, v, .99) == std::vector<int>{0, 3, 3, 3, 0, 0, 0, 0, 3, 1, 0, 0, 0, 2, 1, 0});
  CHECK(swept_soft(mdp, 0, .99)[0] == digits(0.012356137325, 12));
  CHECK(swept_optimum(mdp, 1)[0] == close(14. / 17, 1e-11));
  CHECK(swept_optimum(mdp, .95)[0] == digits(0.180471578397, 12));
  CHECK(swept_optimum(FiniteMdp{FrozenLake{{.is_slippery = false}}}, .99)[0] == close(std::pow(.99, 5), 1e-14));

  const FiniteMdp<double> large{large_lake()};
  CHECK(swept_optimum(large, .99)[0] == digits(0.414640361800, 12));
  CHECK(swept_soft(large, 0, .99)[0] == digits(0.001099614810, 12));
  CHECK(swept_optimum(large, 1)[0] == close(1, 1e-9));
  CHECK(swept_optimum(large, .95)[0] == digits(0.048250204081, 12));

  // Options; computed apart.
  const FrozenLake other{{.success_rate = .8, .goal_reward = 2, .hole_reward = -1, .frozen_reward = -.01}};
  CHECK(swept_optimum(FiniteMdp{other}, .99)[0] == digits(1.148967913103, 12));
  const Vector<double> wide = swept_optimum(FiniteMdp{FrozenLake{{.map = "SFH\nSFG", .success_rate = .6}}}, .9);
  CHECK(wide[0] == digits(.580875365124, 12));
  CHECK(wide[1] == digits(.570643143245, 12));
  CHECK(wide[3] == digits(.691855617810, 12));
  CHECK(wide[4] == digits(.856970446078, 12));
}

TEST_CASE("Frozen lake: what happens twice is listed twice and adds up", "[E9]") {
  const FrozenLake lake;
  const auto corner = lake.outcomes(0, FrozenLake::left);
  REQUIRE(corner.size() == 3);
  double stays = 0;
  for (const auto& o : corner) {
    CHECK(o.probability == close(1. / 3, 1e-15));
    stays += o.next == 0 ? o.probability : 0;
    CHECK((o.next == 0 || o.next == 4));
  }
  CHECK(stays == close(2. / 3, 1e-15));
  const FiniteMdp<double> mdp{lake};
  REQUIRE(mdp.successors(0, FrozenLake::left).size() == 2);
  CHECK((*mdp.successors(0, FrozenLake::left).begin()).probability == close(2. / 3, 1e-15));
  // The move table against coordinates, on ice that isn't slippery.
  const FrozenLake dry{{.is_slippery = false}};
  CHECK((*dry.outcomes(6, FrozenLake::left).begin()).next == 5);
  CHECK((*dry.outcomes(6, FrozenLake::down).begin()).next == 10);
  CHECK((*dry.outcomes(6, FrozenLake::right).begin()).next == 7);
  CHECK((*dry.outcomes(6, FrozenLake::up).begin()).next == 2);
}

TEST_CASE("Frozen lake: maps") {
  CHECK(says(message_of([] { FrozenLake{{.map = "SFF\nFXF\nFFG"}}; }), "FrozenLake", "line 2, column 2", "'X'"));
  CHECK(says(message_of([] { FrozenLake{{.map = "SFF\nFF\nFFG"}}; }), "line 2", "2 characters", "expected 3"));
  CHECK(says(message_of([] { FrozenLake{{.map = "FFG"}}; }), "no S"));
  CHECK(says(message_of([] { FrozenLake{{.map = ""}}; }), "empty"));
  CHECK(says(message_of([] { FrozenLake{{.success_rate = 1.5}}; }), "success_rate", "1.5"));
  CHECK(says(message_of([] { FrozenLake{{.goal_reward = not_a_number}}; }), "goal_reward", "nan"));

  Rng rng{5};
  for (int k = 0; k < 20; ++k) {
    const std::string map = random_frozen_lake(6, rng, .6);
    const FrozenLake lake{{.map = map, .is_slippery = false}};
    CHECK(lake.map().at(0, 0) == 'S');
    CHECK(lake.map().at(5, 5) == 'G');
    CHECK(swept_optimum(FiniteMdp{lake}, .99)[0] > .6);  // there is a path
  }
  CHECK(says(message_of([&] { random_frozen_lake(20, rng, 0); }), "10000", "path"));
  CHECK(says(message_of([&] { random_frozen_lake(1, rng); }), "size"));
  CHECK(random_frozen_lake(2, rng, 1) == "SF\nFG\n");
  const Vector<double> two = swept_optimum(FiniteMdp{FrozenLake{{.map = "S\nS\nG\n", .is_slippery = false}}}, .5);
  CHECK(two[0] == close(.5));
  CHECK(FrozenLake{{.map = "S\nS\nG\n"}}.initial_distribution() == std::vector<double>{.5, .5, 0});
}

TEST_CASE("Cliff walking: values of the optimal and the exploring policies") {
  const FiniteMdp<double> mdp{CliffWalking{}};
  REQUIRE(mdp.states() == 48);
  CHECK(mdp.terminal(47));
  CHECK(!mdp.terminal(46));
  const Vector<double> v = swept_optimum(mdp, 1);
  CHECK(v[36] == close(-13, 1e-14));
  CHECK(swept_optimum(mdp, .99)[36] == digits(-12.247897700103, 12));
  CHECK(swept_soft(mdp, .9, 1)[36] == digits(-20.707677399, 9));
  const std::vector<int> greedy = greedy_of(mdp, v, 1);
  CHECK(swept_soft(mdp, .9, 1, greedy)[36] == digits(-45.803322245, 9));
  CHECK(swept_optimum(FiniteMdp{CliffWalking{{.is_slippery = true}}}, .99)[36] == digits(-46.3526721817, 10));
}

TEST_CASE("Cliff walking: moves against coordinates; the cliff puts back and doesn't end", "[E8]") {
  const CliffWalking env;
  const auto next = [&](int s, int a) { return (*env.outcomes(s, a).begin()).next; };
  CHECK(next(17, CliffWalking::up) == 5);
  CHECK(next(17, CliffWalking::right) == 18);
  CHECK(next(17, CliffWalking::down) == 29);
  CHECK(next(17, CliffWalking::left) == 16);
  CHECK(next(23, CliffWalking::right) == 23);  // no way round to the next row
  CHECK(next(24, CliffWalking::left) == 24);
  const auto falls = *env.outcomes(36, CliffWalking::right).begin();
  CHECK((falls.next == 36 && falls.reward == -100 && !falls.terminated));
  const auto arrives = *env.outcomes(35, CliffWalking::down).begin();
  CHECK((arrives.next == 47 && arrives.reward == -1 && arrives.terminated));
}

TEST_CASE("Taxi: values") {
  const FiniteMdp<double> mdp{Taxi{}};
  REQUIRE(mdp.states() == 500);
  const int start = Taxi::encode({.row = 3, .column = 1, .passenger = 2, .destination = 0});
  REQUIRE(start == 328);
  const auto extremes = [&](const Vector<double>& v, double low, double high) {
    double least = 1e9, most = -1e9;
    for (int s = 0; s < 500; ++s)
      if (mdp.initial()[static_cast<std::size_t>(s)] > 0)
        least = (std::min)(least, v[s]), most = (std::max)(most, v[s]);
    CHECK(least == digits(low, 9));
    CHECK(most == digits(high, 9));
  };
  const Vector<double> v = swept_optimum(mdp, 1);
  CHECK(v[start] == close(11, 1e-14));
  CHECK(at_start(mdp, v) == close(7.93, 1e-13));
  extremes(v, 3, 15);
  const Vector<double> discounted = swept_optimum(mdp, .99);
  CHECK(at_start(mdp, discounted) == digits(6.327464314919, 12));
  extremes(discounted, 1.153183206, 14.118805988);

  // Rain and fickle passengers: computed apart, from the rules and not from Gymnasium's tables.
  const auto value = [](const TaxiOptions& options) {
    const FiniteMdp<double> model{Taxi{options}};
    return at_start(model, swept_optimum(model, .99));
  };
  CHECK(value({.is_rainy = true}) == digits(2.247629323605, 12));
  CHECK(value({.fickle_passenger = true}) == digits(6.818137528855, 12));
  CHECK(value({.is_rainy = true, .fickle_passenger = true}) == digits(2.901802364219, 12));
}

TEST_CASE("Taxi: the passenger never begins where they want to go; moves against coordinates", "[E8]") {
  const Taxi taxi;
  const std::vector<double> initial = taxi.initial_distribution();
  int starts = 0;
  for (int s = 0; s < 500; ++s) {
    const Taxi::Situation x = Taxi::decode(s);
    CHECK(Taxi::encode(x) == s);
    CHECK(taxi.terminal(s) == (x.passenger == x.destination));
    if (initial[static_cast<std::size_t>(s)] > 0) {
      ++starts;
      CHECK(x.passenger != x.destination);
      CHECK(x.passenger != Taxi::inside);
    }
  }
  CHECK(starts == 300);
  const auto moved = [&](int row, int column, int action) {
    const int s = Taxi::encode({.row = row, .column = column, .passenger = 1, .destination = 2});
    const Taxi::Situation to = Taxi::decode((*taxi.outcomes(s, action).begin()).next);
    return std::vector<int>{to.row, to.column};
  };
  CHECK(moved(2, 2, Taxi::south) == std::vector<int>{3, 2});
  CHECK(moved(2, 2, Taxi::north) == std::vector<int>{1, 2});
  CHECK(moved(2, 2, Taxi::east) == std::vector<int>{2, 3});
  CHECK(moved(2, 2, Taxi::west) == std::vector<int>{2, 1});
  CHECK(moved(0, 1, Taxi::east) == std::vector<int>{0, 1});  // a wall
  CHECK(moved(0, 2, Taxi::west) == std::vector<int>{0, 2});
  CHECK(moved(4, 0, Taxi::east) == std::vector<int>{4, 0});
  CHECK(moved(0, 4, Taxi::east) == std::vector<int>{0, 4});
  CHECK(moved(4, 3, Taxi::north) == std::vector<int>{3, 3});
}

TEST_CASE("Taxi: picking up and dropping off") {
  const Taxi taxi;
  const auto outcome = [&](const Taxi::Situation& s, int a) { return *taxi.outcomes(Taxi::encode(s), a).begin(); };
  const Taxi::Situation at_g{.row = 0, .column = 4, .passenger = 1, .destination = 3};
  const auto up = outcome(at_g, Taxi::pick_up);
  CHECK((up.reward == -1 && Taxi::decode(up.next).passenger == Taxi::inside && !up.terminated));
  CHECK(outcome({.row = 0, .column = 0, .passenger = 1, .destination = 3}, Taxi::pick_up).reward == -10);
  CHECK(outcome(at_g, Taxi::drop_off).reward == -10);
  const Taxi::Situation riding{.row = 4, .column = 0, .passenger = Taxi::inside, .destination = 3};
  const auto elsewhere = outcome(riding, Taxi::drop_off);
  CHECK((elsewhere.reward == -1 && Taxi::decode(elsewhere.next).passenger == 2 && !elsewhere.terminated));
  CHECK(outcome(riding, Taxi::pick_up).reward == -10);
  const auto there = outcome({.row = 4, .column = 3, .passenger = Taxi::inside, .destination = 3}, Taxi::drop_off);
  CHECK((there.reward == 20 && there.terminated && Taxi::decode(there.next).passenger == 3));
  CHECK(outcome({.row = 2, .column = 2, .passenger = Taxi::inside, .destination = 3}, Taxi::drop_off).reward == -10);

  using Mask = std::array<bool, 6>;
  CHECK(taxi.action_mask(Taxi::encode(at_g)) == Mask{true, false, false, true, true, false});
  CHECK(taxi.action_mask(Taxi::encode(riding)) == Mask{false, true, false, false, false, true});
  // Gymnasium's rule: an action that is masked out changes nothing.
  for (int s = 0; s < 500; ++s)
    if (!taxi.terminal(s))
      for (int a = 0; a < 6; ++a)
        CHECK(taxi.action_mask(s)[static_cast<std::size_t>(a)] == ((*taxi.outcomes(s, a).begin()).next != s));
}

TEST_CASE("Taxi in the rain: each direction is resolved by itself", "[E7]") {
  for (const bool fickle : {false, true}) {
    const Taxi taxi{{.is_rainy = true, .fickle_passenger = fickle}};
    const Taxi dry{{.fickle_passenger = fickle}};
    constexpr int sides[4][2] = {
        {Taxi::west, Taxi::east}, {Taxi::west, Taxi::east}, {Taxi::south, Taxi::north}, {Taxi::south, Taxi::north}};
    for (int s = 0; s < taxi.states().n; ++s) {
      if (taxi.terminal(s)) continue;
      for (int a = 0; a < 6; ++a) {
        std::vector<double> p(1000, 0.0);
        double sum = 0;
        for (const auto& o : taxi.outcomes(s, a)) {
          p[static_cast<std::size_t>(o.next)] += o.probability;
          sum += o.probability;
        }
        const auto take = [&](int direction, double share) {
          for (const auto& o : dry.outcomes(s, direction)) p[static_cast<std::size_t>(o.next)] -= share * o.probability;
        };
        take(a, a < 4 ? .8 : 1);
        if (a < 4) take(sides[a][0], .1), take(sides[a][1], .1);
        double left = std::abs(sum - 1);
        for (const double x : p) left = (std::max)(left, std::abs(x));
        CHECK(left < 1e-15);
      }
    }
  }
  const Taxi taxi{{.is_rainy = true}};
  const int s = Taxi::encode({.row = 4, .column = 3, .passenger = 0, .destination = 1});
  CHECK(Taxi::decode((*taxi.outcomes(s, Taxi::north).begin()).next).row == 3);
  CHECK((*taxi.outcomes(s, Taxi::north).begin()).probability == .8);
}

TEST_CASE("Taxi with a fickle passenger: only the first move with them inside may change the destination") {
  const Taxi taxi{{.fickle_passenger = true}};
  const Taxi::Situation fresh{.row = 0, .column = 0, .passenger = Taxi::inside, .destination = 2};
  const auto first = taxi.outcomes(Taxi::encode(fresh), Taxi::south);
  REQUIRE(first.size() == 4);
  for (const auto& o : first) {
    const Taxi::Situation to = Taxi::decode(o.next);
    CHECK((to.row == 1 && to.settled));
    CHECK(o.probability == close(to.destination == 2 ? .7 : .1, 1e-15));
  }
  const auto blocked = taxi.outcomes(Taxi::encode(fresh), Taxi::north);  // no move
  CHECK((blocked.size() == 1 && Taxi::decode((*blocked.begin()).next) == fresh));
  Taxi::Situation settled = fresh;
  settled.settled = true;
  CHECK(taxi.outcomes(Taxi::encode(settled), Taxi::south).size() == 1);
  Taxi::Situation waiting = fresh;
  waiting.passenger = 1;
  CHECK(taxi.outcomes(Taxi::encode(waiting), Taxi::south).size() == 1);
  CHECK(Taxi{}.outcomes(Taxi::encode(fresh), Taxi::south).size() == 1);
}

TEST_CASE("Blackjack: values and optimal play") {
  const FiniteMdp<double> mdp{Blackjack{}};
  REQUIRE(mdp.states() == 291);
  CHECK(mdp.terminal(Blackjack::over));
  const Vector<double> v = swept_optimum(mdp, 1);
  CHECK(at_start(mdp, v) == digits(-0.043113105413, 12));
  const FiniteMdp<double> plain{Blackjack{{.sab = false}}};
  CHECK(at_start(plain, swept_optimum(plain, 1)) == digits(-0.046555977067, 12));
  const auto hard = [&](int sum, int dealer) { return v[Blackjack::encode({.sum = sum, .dealer = dealer})]; };
  CHECK(hard(16, 1) == digits(-.642049659, 9));
  CHECK(hard(16, 6) == digits(-.153699016, 9));
  CHECK(hard(16, 10) == digits(-.569307160, 9));
  CHECK(hard(20, 1) == digits(.146094839, 9));
  CHECK(hard(20, 6) == digits(.703958570, 9));
  CHECK(hard(20, 10) == digits(.434957754, 9));
  const std::vector<int> policy = greedy_policy(mdp, view(v), {.discount = 1});
  for (int sum = 12; sum <= 21; ++sum)
    for (const int dealer : {1, 6, 10}) {
      CAPTURE(sum, dealer);
      const int action = policy[static_cast<std::size_t>(Blackjack::encode({.sum = sum, .dealer = dealer}))];
      CHECK(action == (dealer != 6 && sum <= 16 ? Blackjack::hit : Blackjack::stick));
    }
}

TEST_CASE("Blackjack: what a natural earns") {
  const auto stick = [](const BlackjackOptions& options, const Blackjack::Hand& hand) {
    std::vector<double> list;
    for (const auto& o : Blackjack{options}.outcomes(Blackjack::encode(hand), Blackjack::stick))
      list.insert(list.end(), {o.reward, o.probability});
    return list;
  };
  const Blackjack::Hand natural{.sum = 21, .dealer = 10, .usable_ace = true, .natural = true};
  Blackjack::Hand three_cards = natural;
  three_cards.natural = false;
  // The dealer shows 10: a natural with probability 1/13. Of 21 with more cards he has p; both draw with 21 otherwise.
  const auto sab = stick({}, natural), plain = stick({.sab = false}, natural);
  const auto extra = stick({.sab = false, .natural = true}, natural);
  CHECK((sab[0] == 1 && sab[2] == 0 && sab[4] == -1));
  CHECK(sab[1] == close(12. / 13, 1e-14));
  CHECK(sab[3] == close(1. / 13, 1e-14));
  CHECK(plain[1] < sab[1]);
  CHECK(extra[0] == 1.5);
  CHECK(extra[1] == plain[1]);
  CHECK(stick({.sab = true, .natural = true}, natural)[0] == 1);
  CHECK(stick({}, three_cards) == plain);
  CHECK(stick({.sab = false, .natural = true}, three_cards) == plain);
  for (int s = 0; s < Blackjack::over; ++s) CHECK(Blackjack::encode(Blackjack::decode(s)) == s);
  CHECK(says(message_of([] { Blackjack::encode({.sum = 3, .dealer = 1}); }), "sum is 3"));
  CHECK(says(message_of([] { Blackjack::encode({.sum = 12, .dealer = 11}); }), "dealer is 11"));
  CHECK(says(message_of([] { Blackjack::decode(Blackjack::over); }), "290"));
  // Aces: 11 where they fit; a soft hand that goes over counts them 1.
  const Blackjack game;
  const auto reaches = [&](const Blackjack::Hand& from, const Blackjack::Hand& to) {
    double p = 0;
    for (const auto& o : game.outcomes(Blackjack::encode(from), Blackjack::hit))
      if (o.next == Blackjack::encode(to)) p += o.probability;
    return p;
  };
  CHECK(reaches({.sum = 9, .dealer = 2}, {.sum = 20, .dealer = 2, .usable_ace = true}) == close(1. / 13, 1e-15));
  CHECK(reaches({.sum = 11, .dealer = 2}, {.sum = 12, .dealer = 2}) == close(1. / 13, 1e-15));
  CHECK(reaches({.sum = 18, .dealer = 2, .usable_ace = true}, {.sum = 18, .dealer = 2}) == close(4. / 13, 1e-15));
}

TEST_CASE("They play what they list, and are in order") {
  Rng rng{11};
  CHECK(plays_what_it_lists(FrozenLake{{.success_rate = .7}}, rng) > 1e-6);
  CHECK(plays_what_it_lists(FrozenLake{{.map = "SFH\nSFG"}}, rng) > 1e-6);
  CHECK(plays_what_it_lists(CliffWalking{{.is_slippery = true}}, rng, 2000) > 1e-6);
  CHECK(plays_what_it_lists(Taxi{}, rng, 200, 5) > 1e-6);
  CHECK(plays_what_it_lists(Taxi{{.is_rainy = true, .fickle_passenger = true}}, rng, 1000, 5) > 1e-6);
  CHECK(plays_what_it_lists(Blackjack{}, rng, 2000) > 1e-6);
  CHECK(plays_what_it_lists(Blackjack{{.sab = false, .natural = true}}, rng, 1000) > 1e-6);
  sound(FrozenLake{});
  sound(large_lake());
  sound(CliffWalking{});
  sound(CliffWalking{{.is_slippery = true}});
  sound(Taxi{});
  sound(Taxi{{.is_rainy = true, .fickle_passenger = true}});
  sound(Blackjack{});
  sound(TimeLimit{Taxi{}});
}

TEST_CASE("Steps before the first reset and after the end throw; limits follow each other in full", "[E10] [E11]") {
  Rng rng{1};
  Blackjack game;
  CHECK(says(message_of([&] { game.step(0, rng); }), "Blackjack::step", "reset"));
  game.reset(rng);
  CHECK(says(message_of([&] { game.step(2, rng); }), "action is 2", "[0, 1]"));
  CHECK(game.step(Blackjack::stick, rng).terminated);
  CHECK(says(message_of([&] { game.step(0, rng); }), "over"));
  game.reset(rng);
  CHECK_NOTHROW(game.step(0, rng));
  FrozenLake lake;
  lake.reset(rng);
  CHECK(says(message_of([&] { lake.step(-1, rng); }), "action is -1"));
  lake.set_state(5);  // a hole
  CHECK(says(message_of([&] { lake.step(0, rng); }), "over"));
  CHECK(says(message_of([&] { lake.set_state(16); }), "16", "[0, 15]"));
  CHECK(says(message_of([&] { Taxi{}.outcomes(500, 0); }), "500"));

  TimeLimit limited{CliffWalking{}, 10};
  for (int episode = 0; episode < 2; ++episode) {
    limited.reset(rng);
    for (int t = 1; t <= 10; ++t) {
      const auto step = limited.step(CliffWalking::up, rng);
      CHECK(step.truncated == (t == 10));
      CHECK(!step.terminated);
    }
  }
  CHECK(TimeLimit{Taxi{}}.limit == 200);
  CHECK(TimeLimit{FrozenLake{}}.limit == 100);
}

TEST_CASE("A step allocates nothing") {
  Rng rng{2};
  Taxi taxi{{.is_rainy = true, .fickle_passenger = true}};
  Blackjack game;
  FrozenLake lake;
  valence::test::Allocations allocations;
  for (int k = 0; k < 100; ++k) {
    taxi.reset(rng), game.reset(rng), lake.reset(rng);
    taxi.step(k % 6, rng), game.step(k % 2, rng), lake.step(k % 4, rng);
    const FrozenLake copy = lake;
  }
  CHECK(allocations.count() == 0);
}
