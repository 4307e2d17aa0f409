// Grid worlds drawn as text. Values: the book's where a book has them, else from a separate program in Python.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "env/worlds.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/env/grid_text.hpp"
#include "valence/env/grid_world.hpp"
#include "valence/mdp/finite_mdp.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::plays_what_it_lists;
using valence::test::says;
using valence::test::swept_optimum;

static_assert(Environment<GridWorld> && ListsItsFirstStates<GridWorld> && SingleReward<GridWorld>);

namespace {

using valence::test::close;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

GridWorld four_by_three() {
  return GridWorld{R"(
...G
.#.X
S...
)",
                   {.step_reward = -0.04, .sideways_slip = 0.2, .legend = {{'X', -1, true}}}};
}
GridWorld mixed() {
  return GridWorld{
      "S.3\n#.G\n..X",
      {.step_reward = -.1, .sideways_slip = .1, .random_slip = .2, .can_stay = true, .legend = {{'X', -5, true}}}};
}

}  // namespace

TEST_CASE("The 4 x 3 world has the values of Russell and Norvig's figure") {
  const GridWorld world = four_by_three();
  const FiniteMdp<double> mdp{world};
  REQUIRE(mdp.states() == 11);
  const Vector<double> v = swept_optimum(mdp, 1);
  // Russell and Norvig (2010), figure 17.3, three digits; further digits computed apart.
  const double expected[] = {
      0.811558219178, 0.867808219178, 0.917808219178, 0, 0.761558219178, 0.660273972603, 0, 0.705308219178,
      0.655308219178, 0.611415525114, 0.387924911213};
  for (int s = 0; s < 11; ++s) CHECK(v[s] == close(expected[s], 0, 1e-12));
  CHECK(mdp.terminal(3));
  CHECK(mdp.terminal(6));
  CHECK(mdp.initial()[7] == 1);
  const std::vector<int> policy = greedy_policy(mdp, view(v), {.discount = 1});
  CHECK(policy == std::vector<int>{1, 1, 1, -1, 0, 0, -1, 0, 3, 3, 3});
}

TEST_CASE("Digits, a legend, both slips and staying") {
  const GridWorld world = mixed();
  CHECK(world.actions().n == 5);
  const Vector<double> v = swept_optimum(FiniteMdp{world}, .9);
  const double expected[] = {
      16.699379289086, 19.356943746906, 19.749127760980, 15.038081299980, 0, 9.455186906257, 11.025034790079, 0};
  REQUIRE(v.size() == 8);
  for (int s = 0; s < 8; ++s) CHECK(v[s] == close(expected[s], 0, 1e-12));

  // A meaning that the legend gives wins over the one known.
  const GridWorld other{"SG5.", {.legend = {{'G', .25, false}, {'5', -2, true}, {'.', 7, false}}}};
  const auto right = [&](int s) { return *other.outcomes(s, GridWorld::right).begin(); };
  CHECK((right(0).reward == .25 && !right(0).terminated));
  CHECK((right(1).reward == -2 && right(1).terminated));
  CHECK(!other.terminal(3));
}

TEST_CASE("Moves against coordinates; walls and edges stay", "[E8]") {
  const GridWorld world{"S..\n.#.\n..G\n"};
  CHECK(world.states().n == 8);
  CHECK(world.actions().n == 4);
  const auto to = [&](int row, int column, int action) {
    const auto list = world.outcomes(world.state_at(row, column), action);
    CHECK(list.size() == 1);
    return world.position((*list.begin()).next);
  };
  using P = GridWorld::Position;
  CHECK(to(1, 2, GridWorld::up) == P{0, 2});
  CHECK(to(0, 1, GridWorld::right) == P{0, 2});
  CHECK(to(0, 0, GridWorld::down) == P{1, 0});
  CHECK(to(0, 1, GridWorld::left) == P{0, 0});
  CHECK(to(0, 1, GridWorld::down) == P{0, 1});   // the wall
  CHECK(to(1, 0, GridWorld::right) == P{1, 0});  // the wall
  CHECK(to(0, 2, GridWorld::right) == P{0, 2});  // the edge: not the next row
  CHECK(to(1, 0, GridWorld::left) == P{1, 0});
  CHECK(to(0, 0, GridWorld::up) == P{0, 0});
  CHECK(to(2, 1, GridWorld::down) == P{2, 1});
  CHECK(world.state_at(1, 1) == -1);
  for (int s = 0; s < 8; ++s) CHECK(world.state_at(world.position(s).row, world.position(s).column) == s);
  CHECK(says(message_of([&] { world.state_at(3, 0); }), "row is 3"));
  CHECK(says(message_of([&] { world.position(8); }), "8", "[0, 7]"));
  // Sides of the move meant, one by one, and resolved against walls.
  const GridWorld slips{"S..\n.#.\n..G\n", {.sideways_slip = .3}};
  const auto list = slips.outcomes(1, GridWorld::left);  // from (0, 1): aside are the wall and the edge
  REQUIRE(list.size() == 3);
  CHECK(list[0].probability == close(.7, 1e-15));
  CHECK((list[0].next == 0 && list[1].next == 1 && list[2].next == 1));
  CHECK(list[1].probability == close(.15, 1e-15));
}

TEST_CASE("Maps that can't be read are named by line, row and column") {
  const auto error = [](const std::string& map, const GridWorldOptions& options = {}) {
    return message_of([&] { GridWorld{map, options}; });
  };
  CHECK(says(error("S..\n..\n..G"), "GridWorld", "line 2", "2 characters", "expected 3", "line 1"));
  CHECK(says(error("\n\nS..\n..G\n...."), "line 5", "4 characters", "line 3"));
  CHECK(says(error("S..\n\n..G"), "line 2", "empty"));
  CHECK(says(error("\n\nS.\n.?\n"), "line 4, column 2", "'?'", "legend"));
  CHECK(says(error("...\n..G"), "no 'S'"));
  CHECK(says(error(""), "empty"));
  CHECK(says(error("\n\n"), "empty"));
  CHECK(says(error("SG", {.sideways_slip = .6, .random_slip = .6}), "sideways_slip + random_slip", "1.2"));
  CHECK(says(error("SG", {.random_slip = -.1}), "random_slip"));
  CHECK(says(error("SG", {.step_reward = not_a_number}), "step_reward"));
  CHECK(says(error("SG", {.legend = {{'x', std::numeric_limits<double>::infinity()}}}), "'x'", "inf"));
  CHECK(says(error("SG", {.legend = {{'#', 1}}}), "'#'"));
  const GridText windows = read_grid("test", "\r\nab\r\ncd\r\n\r\n");
  CHECK((windows.rows == 2 && windows.columns == 2 && windows.cells == "abcd" && windows.at(1, 0) == 'c'));
}

TEST_CASE("Grid worlds play what they list, and are in order", "[E11]") {
  Rng rng{21};
  CHECK(plays_what_it_lists(four_by_three(), rng) > 1e-6);
  CHECK(plays_what_it_lists(mixed(), rng) > 1e-6);
  CHECK(plays_what_it_lists(GridWorld{"SS.\nS.G"}, rng) > 1e-6);
  for (const GridWorld& world : {four_by_three(), mixed()}) {
    const EnvironmentReport report = check_environment(world, rng);
    for (const auto& problem : report.problems) UNSCOPED_INFO(problem);
    CHECK(report.good());
  }
  GridWorld world = four_by_three();
  CHECK(says(message_of([&] { world.step(0, rng); }), "GridWorld::step", "reset"));
  world.reset(rng);
  CHECK(says(message_of([&] { world.step(GridWorld::stay, rng); }), "action is 4", "[0, 3]"));
  world.set_state(3);
  CHECK(says(message_of([&] { world.step(0, rng); }), "over"));
  GridWorld restored = four_by_three();
  world.set_state(5);
  from_bytes(to_bytes(world), restored);
  CHECK(restored.state() == 5);
  CHECK_NOTHROW(restored.step(0, rng));
  CHECK(world.state() == 5);

  valence::test::Allocations allocations;
  for (int k = 0; k < 100; ++k) {
    GridWorld copy = world;
    copy.reset(rng);
    copy.step(k % 4, rng);
  }
  CHECK(allocations.count() == 0);
}

TEST_CASE("A goal behind walls, a free cell that nothing leads to: the model is in order all the same") {
  const FiniteMdp<double> mdp{GridWorld{"S.#G\n..#.\n"}};
  REQUIRE(mdp.states() == 6);
  CHECK(mdp.terminal(2));
  CHECK(swept_optimum(mdp, .9)[0] == 0);
  CHECK(swept_optimum(mdp, .9)[5] == 1);
}
