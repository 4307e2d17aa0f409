// Environments, policies and values as text: exact output.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/env/text.hpp"
#include "valence/env/time_limit.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

/// A user's own grid: two cells, beside which its picture is found.
namespace user {
struct Corridor {
  int x = 1;
};
GridPicture grid_picture(const Corridor& corridor) {
  return {.map = {1, 2, "ab"}, .state = {0, 1}, .states = 2, .player = corridor.x, .actions = "<>"};
}
struct Torn {};
GridPicture grid_picture(const Torn&) { return {.map = {1, 2, "ab"}, .state = {0}, .states = 1, .actions = "<>"}; }
}  // namespace user

GridWorld world() { return GridWorld{"S.G\n.#X", {.legend = {{'X', -1, true}}}}; }

}  // namespace

TEST_CASE("The player on the map") {
  Rng rng{1};
  FrozenLake lake;
  lake.reset(rng);
  CHECK(render(lake) == "@FFF\nFHFH\nFFFH\nHFFG\n");
  lake.set_state(9);
  CHECK(render(lake) == "SFFF\nFHFH\nF@FH\nHFFG\n");
  CHECK(render(FrozenLake{{.map = "SFH\nFHG"}}, {.color = true}) ==
        "\x1b[7mS\x1b[0mF\x1b[34mH\x1b[0m\nF\x1b[34mH\x1b[0m\x1b[32mG\x1b[0m\n");

  CliffWalking cliff;
  cliff.set_state(25);
  CHECK(render(cliff) == "oooooooooooo\noooooooooooo\no@oooooooooo\nSCCCCCCCCCCG\n");

  GridWorld grid = world();
  grid.set_state(grid.state_at(1, 0));
  CHECK(render(grid) == "S.G\n@#X\n");
  CHECK(render(TimeLimit{grid, 5}) == "S.G\n@#X\n");
  CHECK(render(grid, {.color = true}) == "S.\x1b[32mG\x1b[0m\n\x1b[7m.\x1b[0m#\x1b[32mX\x1b[0m\n");
  CHECK(render(user::Corridor{}) == "a@\n");
  CHECK(says(message_of([] { render(user::Torn{}); }), "render", "state has 1 entries", "2"));
}

TEST_CASE("The taxi with its walls") {
  Taxi taxi;
  taxi.set_state(328);  // row 3, column 1, passenger at Y, to R
  CHECK(render(taxi) ==
        "+---------+\n"
        "|R: | : :G|\n"
        "| : | : : |\n"
        "| : : : : |\n"
        "| |@: | : |\n"
        "|Y| : |B: |\n"
        "+---------+\n"
        "passenger at Y, destination R\n");
  taxi.set_state(Taxi::encode({.row = 0, .column = 0, .passenger = Taxi::inside, .destination = 3}));
  CHECK(render(taxi, {.color = true}) ==
        "+---------+\n"
        "|\x1b[7mR\x1b[0m: | : :G|\n"
        "| : | : : |\n"
        "| : : : : |\n"
        "| | : | : |\n"
        "|Y| : |\x1b[35mB\x1b[0m: |\n"
        "+---------+\n"
        "passenger inside, destination B\n");
}

TEST_CASE("Blackjack in a line") {
  Blackjack game;
  game.set_state(Blackjack::encode({.sum = 16, .dealer = 10}));
  CHECK(render(game) == "player 16, dealer shows 10\n");
  game.set_state(Blackjack::encode({.sum = 18, .dealer = 1, .usable_ace = true}));
  CHECK(render(game) == "player 18 (an ace counts 11), dealer shows 1\n");
  game.set_state(Blackjack::encode({.sum = 21, .dealer = 5, .usable_ace = true, .natural = true}));
  CHECK(render(game) == "player 21 (natural), dealer shows 5\n");
  game.set_state(Blackjack::over);
  CHECK(render(game) == "the hand is over\n");
}

TEST_CASE("Policies as arrows") {
  const std::vector<int> best{0, 3, 3, 3, 0, -1, 0, -1, 3, 1, 0, -1, -1, 2, 1, -1};
  CHECK(render_policy(FrozenLake{}, best) ==
        "\u2190\u2191\u2191\u2191\n"
        "\u2190H\u2190H\n"
        "\u2191\u2193\u2190H\n"
        "H\u2192\u2193G\n");
  CHECK(render_policy(FrozenLake{}, best, {.ascii = true}) == "<^^^\n<H<H\n^v<H\nH>vG\n");
  // The same number is another direction elsewhere.
  CHECK(render_policy(world(), std::vector<int>{0, 1, -1, 2, 3}, {.ascii = true}) == "^>G\nv#<\n");
  const GridWorld staying{"S.\n", {.can_stay = true}};
  CHECK(render_policy(staying, std::vector<int>{4, 1}, {.ascii = true}) == "o>\n");
  CHECK(render_policy(user::Corridor{}, std::vector<int>{1, 0}, {.ascii = true}) == "><\n");
  CHECK(render_policy(FrozenLake{{.map = "SH"}}, std::vector<int>{2, -1}, {.color = true}) ==
        "\u2192\x1b[34mH\x1b[0m\n");

  std::vector<int> drive(500, Taxi::north);
  Taxi taxi;
  taxi.set_state(328);
  drive[328] = Taxi::west;
  drive[static_cast<std::size_t>(Taxi::encode({.row = 4, .column = 0, .passenger = 2, .destination = 0}))] =
      Taxi::pick_up;
  drive[static_cast<std::size_t>(Taxi::encode({.row = 4, .column = 1, .passenger = 2, .destination = 1}))] = Taxi::east;
  CHECK(render_policy(taxi, drive, {.ascii = true}) ==
        "+---------+\n"
        "|^:^|^:^:^|\n"
        "|^:^|^:^:^|\n"
        "|^:^:^:^:^|\n"
        "|^|<:^|^:^|\n"
        "|P|^:^|^:^|\n"
        "+---------+\n"
        "passenger at Y, destination R\n");

  CHECK(says(message_of([&] { render_policy(FrozenLake{}, drive); }), "policy", "500", "16"));
  CHECK(says(message_of([] { render_policy(world(), std::vector<int>{0, 4, 0, 0, 0}); }), "policy[1] is 4", "[0, 3]"));
  CHECK(says(message_of([] { render_policy(world(), std::vector<int>{0, 0, 0, 0, -2}); }), "policy[4] is -2"));
}

TEST_CASE("Values in columns") {
  const std::vector<double> v{.5, -12.25, 0, 3, .125};
  CHECK(render_values(world(), v) == "  0.50 -12.25   0.00\n  3.00      #   0.12\n");
  CHECK(render_values(world(), v, {.precision = 0}) == "  0 -12   0\n  3   #   0\n");
  const std::vector<float> single{.5f, -12.25f, 0, 3, .125f};
  CHECK(render_values(world(), single, {.precision = 1}) == "  0.5 -12.2   0.0\n  3.0     #   0.1\n");
  // From the worst to the best; what is no number has no colour.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(render_values(GridWorld{"S..."}, std::vector<double>{-1, 3, nan, 1}, {.color = true, .precision = 0}) ==
        " \x1b[38;5;196m-1\x1b[0m   \x1b[38;5;46m3\x1b[0m nan   \x1b[38;5;226m1\x1b[0m\n");
  CHECK(render_values(GridWorld{"S."}, std::vector<double>{1, 1}, {.color = true, .precision = 0}) ==
        "\x1b[38;5;46m1\x1b[0m \x1b[38;5;46m1\x1b[0m\n");
  const double huge = std::numeric_limits<double>::max();
  CHECK(
      says(render_values(GridWorld{"S."}, std::vector<double>{-huge, huge}, {.color = true}), "38;5;196m", "38;5;46m"));

  std::vector<double> values(500, 0.0);
  Taxi taxi;
  taxi.set_state(Taxi::encode({.row = 0, .column = 0, .passenger = 1, .destination = 2}));
  values[static_cast<std::size_t>(Taxi::encode({.row = 0, .column = 4, .passenger = 1, .destination = 2}))] = -10;
  values[static_cast<std::size_t>(Taxi::encode({.row = 3, .column = 1, .passenger = 1, .destination = 2}))] = 7;
  values[static_cast<std::size_t>(Taxi::encode({.row = 3, .column = 1, .passenger = 1, .destination = 0}))] = 9;
  CHECK(render_values(taxi, values, {.precision = 0}) ==
        "+-------------------+\n"
        "|  0:  0|  0:  0:-10|\n"
        "|  0:  0|  0:  0:  0|\n"
        "|  0:  0:  0:  0:  0|\n"
        "|  0|  7:  0|  0:  0|\n"
        "|  0|  0:  0|  0:  0|\n"
        "+-------------------+\n"
        "passenger at G, destination Y\n");

  CHECK(says(message_of([&] { render_values(taxi, v); }), "values", "5", "500"));
  CHECK(says(message_of([&] { render_values(world(), v, {.precision = 18}); }), "precision", "18"));
}
