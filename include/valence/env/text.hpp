#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/env/blackjack.hpp"
#include "valence/env/cliff_walking.hpp"
#include "valence/env/frozen_lake.hpp"
#include "valence/env/grid_text.hpp"
#include "valence/env/grid_world.hpp"
#include "valence/env/taxi.hpp"
#include "valence/env/wrapper.hpp"

/// Environments that live on a grid, their policies and their values, as text:
///
///     fmt::print("{}", render(lake));                              // where the player is: @
///     fmt::print("{}", render_policy(lake, solution.policy));      // arrows
///     fmt::print("{}", render_values(lake, view(solution.value), {.precision = 3}));
///
/// Any environment can be drawn for which a function `grid_picture(env)` is found beside it.
namespace valence {

struct TextOptions {
  bool color = false;  ///< with ANSI escape sequences: the player's cell in reverse, values from red (worst) to green
  bool ascii = false;  ///< arrows as < v > ^
  int precision = 2;   ///< digits after the point, in [0, 17]
};

/// A grid, and what is known about its cells. Cells are numbered in reading order.
struct GridPicture {
  GridText map = {};            ///< what each cell looks like
  std::vector<int> state = {};  ///< a cell: its state, -1 where there is none (a wall)
  int states = 0;               ///< of the environment
  int player = -1;              ///< the player's cell; -1: nowhere
  std::string actions = {};     ///< an action: '^', '>', 'v', '<' for moves, any other character for itself
  std::string gaps = {};        ///< empty, or rows * (columns - 1) characters between neighbours: what divides them
  bool frame = false;           ///< drawn around the grid
  std::vector<int> marks = {};  ///< empty, or an ANSI colour (31..37) a cell, 0 for none
  std::string caption = {};     ///< a line below, without its end
};

namespace detail {

/// What most grids have: every cell is a state.
inline GridPicture plain_picture(GridText map, int player, std::string_view actions) {
  GridPicture picture{.map = std::move(map), .player = player, .actions = std::string(actions)};
  picture.states = picture.map.size();
  for (int s = 0; s < picture.states; ++s) picture.state.push_back(s);
  return picture;
}

}  // namespace detail

inline GridPicture grid_picture(const FrozenLake& lake) {
  GridPicture picture = detail::plain_picture(lake.map(), lake.state(), "<v>^");
  for (const char c : picture.map.cells) picture.marks.push_back(c == 'H' ? 34 : c == 'G' ? 32 : 0);
  return picture;
}

/// Cells are 'o', the cliff 'C', start 'S' and goal 'G'.
inline GridPicture grid_picture(const CliffWalking& cliff) {
  GridText map{CliffWalking::rows, CliffWalking::columns, {}};
  std::vector<int> marks;
  for (int s = 0; s < map.size(); ++s) {
    const bool falls = CliffWalking::cliff(s);
    map.cells += falls ? 'C' : s == CliffWalking::start ? 'S' : s == CliffWalking::goal ? 'G' : 'o';
    marks.push_back(falls ? 31 : s == CliffWalking::goal ? 32 : 0);
  }
  GridPicture picture = detail::plain_picture(std::move(map), cliff.state(), "^>v<");
  picture.marks = std::move(marks);
  return picture;
}

inline GridPicture grid_picture(const GridWorld& world) {
  GridPicture picture{.map = world.map(), .states = world.states().n, .actions = "^>v<o"};
  picture.actions.resize(static_cast<std::size_t>(world.actions().n));
  for (int cell = 0; cell < picture.map.size(); ++cell) {
    const int s = world.state_at(cell / picture.map.columns, cell % picture.map.columns);
    if (s == world.state()) picture.player = cell;
    picture.state.push_back(s);
    picture.marks.push_back(s >= 0 && world.terminal(s) ? 32 : 0);
  }
  return picture;
}

/// The taxi anywhere, with passenger and destination as they are now: `set_state` chooses which of these 20 slices of a
/// policy or a value is drawn. The passenger's place is marked blue, the destination magenta.
inline GridPicture grid_picture(const Taxi& taxi) {
  constexpr std::string_view places = "RGYB";
  const Taxi::Situation now = Taxi::decode(taxi.state());
  GridPicture picture{.map = {Taxi::size, Taxi::size, {}},
                      .states = taxi.states().n,
                      .player = now.row * Taxi::size + now.column,
                      .actions = "v^><PD",
                      .frame = true};
  for (int row = 0; row < Taxi::size; ++row)
    for (int column = 0; column < Taxi::size; ++column) {
      const std::string_view line = Taxi::map[static_cast<std::size_t>(row)];
      picture.map.cells += line[static_cast<std::size_t>(2 * column + 1)];
      if (column > 0) picture.gaps += line[static_cast<std::size_t>(2 * column)];
      Taxi::Situation here = now;
      here.row = row, here.column = column;
      picture.state.push_back(Taxi::encode(here));
      const int place = Taxi::place_at(row, column);
      picture.marks.push_back(place < 0 ? 0 : place == now.destination ? 35 : place == now.passenger ? 34 : 0);
    }
  const auto name = [&](int place) { return places[static_cast<std::size_t>(place)]; };
  picture.caption = now.passenger == Taxi::inside
                        ? fmt::format("passenger inside, destination {}", name(now.destination))
                        : fmt::format("passenger at {}, destination {}", name(now.passenger), name(now.destination));
  return picture;
}

/// A wrapper looks like what it wraps.
template <class E>
auto grid_picture(const Wrapper<E>& wrapper) -> decltype(grid_picture(wrapper.env)) {
  return grid_picture(wrapper.env);
}

namespace detail {

/// The environment's picture, whose parts must fit together: it may be a user's.
template <class E>
GridPicture checked_picture(std::string_view where, const E& env) {
  GridPicture picture = grid_picture(env);
  const auto cells = static_cast<std::size_t>(picture.map.size());
  check_positive(where, "the picture's number of columns", picture.map.columns);
  check_size(where, "the picture's map", picture.map.cells.size(), cells);
  check_size(where, "the picture's state", picture.state.size(), cells);
  if (!picture.marks.empty()) check_size(where, "the picture's marks", picture.marks.size(), cells);
  if (!picture.gaps.empty())
    check_size(where, "the picture's gaps", picture.gaps.size(), cells - static_cast<std::size_t>(picture.map.rows));
  check_range(where, "the picture's state", std::span<const int>(picture.state), -1, picture.states - 1);
  return picture;
}

inline std::string colored(std::string_view code, std::string_view text) {
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

/// What a cell shows, and in which colour ("" for none).
struct CellText {
  std::string text = {}, color = {};
};

/// Rows of cells, all of the same width, in their frame. `wide`: cells that nothing else divides stand a space apart.
template <class Cell>
std::string draw_grid(const GridPicture& picture, std::size_t width, bool wide, const TextOptions& options,
                      Cell&& cell_text) {
  const GridText& map = picture.map;
  const std::size_t columns = static_cast<std::size_t>(map.columns);
  const std::string border = picture.frame ? "+" + std::string(columns * (width + 1) - 1, '-') + "+\n" : "";
  std::string out = border;
  for (int row = 0; row < map.rows; ++row) {
    if (picture.frame) out += '|';
    for (int column = 0; column < map.columns; ++column) {
      const int cell = row * map.columns + column;
      if (column > 0 && !picture.gaps.empty())
        out += picture.gaps[static_cast<std::size_t>(row * (map.columns - 1) + column - 1)];
      else if (column > 0 && wide)
        out += ' ';
      const CellText shown = cell_text(cell);
      const std::size_t length = shown.text.size() > 1 && shown.text[0] == '\xe2' ? 1 : shown.text.size();  // an arrow
      if (length < width) out.append(width - length, ' ');
      out += options.color && !shown.color.empty() ? colored(shown.color, shown.text) : shown.text;
    }
    if (picture.frame) out += '|';
    out += '\n';
  }
  return out + border + (picture.caption.empty() ? "" : picture.caption + "\n");
}

inline std::string action_text(char action, bool ascii) {
  if (!ascii) switch (action) {
      case '<':
        return "\xe2\x86\x90";  // U+2190
      case '^':
        return "\xe2\x86\x91";
      case '>':
        return "\xe2\x86\x92";
      case 'v':
        return "\xe2\x86\x93";
      default:
        break;
    }
  return std::string(1, action);
}

inline std::string mark_of(const GridPicture& picture, int cell) {
  if (picture.marks.empty()) return "";
  const int mark = picture.marks[static_cast<std::size_t>(cell)];
  return mark == 0 ? "" : std::to_string(mark);
}

template <class S>
std::string render_numbers(const GridPicture& picture, std::span<const S> values, const TextOptions& options) {
  constexpr auto where = "render_values";
  check_size(where, "values", values.size(), static_cast<std::size_t>(picture.states));
  check_range(where, "precision", options.precision, 0, 17);
  std::vector<std::string> texts;
  std::size_t width = 1;
  S low = std::numeric_limits<S>::infinity(), high = -low;
  for (int cell = 0; cell < picture.map.size(); ++cell) {
    const int s = picture.state[static_cast<std::size_t>(cell)];
    if (s < 0) {
      texts.emplace_back(1, picture.map.cells[static_cast<std::size_t>(cell)]);
      continue;
    }
    const S value = values[static_cast<std::size_t>(s)];
    texts.push_back(fmt::format("{:.{}f}", value, options.precision));
    width = (std::max)(width, texts.back().size());
    if (std::isfinite(value)) low = (std::min)(low, value), high = (std::max)(high, value);
  }
  return draw_grid(picture, width, true, options, [&](int cell) {
    // From red over yellow to green, of the 256 colours.
    constexpr int scale[] = {196, 202, 208, 214, 220, 226, 190, 154, 118, 82, 46};
    CellText shown{texts[static_cast<std::size_t>(cell)], {}};
    const int s = picture.state[static_cast<std::size_t>(cell)];
    if (s >= 0 && std::isfinite(values[static_cast<std::size_t>(s)])) {
      // Halves, so that the difference of two large numbers stays finite.
      const S above = values[static_cast<std::size_t>(s)] / 2 - low / 2, range = high / 2 - low / 2;
      const S share = range > 0 ? above / range : S(1);
      shown.color = fmt::format("38;5;{}", scale[static_cast<std::size_t>(share * S(10) + S(0.5))]);
    }
    return shown;
  });
}

}  // namespace detail

/// The grid with the player as '@'; in colour, the player's cell in reverse. A line a row. `env`: see `grid_picture`.
template <class E>
std::string render(const E& env, const TextOptions& options = {}) {
  const GridPicture picture = detail::checked_picture("render", env);
  return detail::draw_grid(picture, 1, false, options, [&](int cell) {
    detail::CellText shown{std::string(1, picture.map.cells[static_cast<std::size_t>(cell)]),
                           detail::mark_of(picture, cell)};
    if (cell == picture.player) {
      if (!options.color || shown.text == " ") shown.text = "@";
      shown.color = "7";
    }
    return shown;
  });
}

/// One line: what the player sees.
inline std::string render(const Blackjack& game, const TextOptions& = {}) {
  if (game.state() == Blackjack::over) return "the hand is over\n";
  const Blackjack::Hand hand = Blackjack::decode(game.state());
  return fmt::format("player {}{}, dealer shows {}\n", hand.sum,
                     hand.natural      ? " (natural)"
                     : hand.usable_ace ? " (an ace counts 11)"
                                       : "",
                     hand.dealer);
}

/// The action in each cell, as an arrow where it is a move; cells without an action (-1, walls) show what the map does.
/// `policy`: an action a state, -1 for none. Throws `Error` for another size and for actions that don't exist.
template <class E>
std::string render_policy(const E& env, std::span<const int> policy, const TextOptions& options = {}) {
  constexpr auto where = "render_policy";
  const GridPicture picture = detail::checked_picture(where, env);
  check_size(where, "policy", policy.size(), static_cast<std::size_t>(picture.states));
  for (std::size_t s = 0; s < policy.size(); ++s)
    if (policy[s] < -1 || policy[s] >= static_cast<int>(picture.actions.size()))
      fail(where, "policy[{}] is {}; expected an action in [0, {}], or -1 for none", s, policy[s],
           picture.actions.size() - 1);
  return detail::draw_grid(picture, 1, false, options, [&](int cell) {
    const int s = picture.state[static_cast<std::size_t>(cell)];
    const int action = s < 0 ? -1 : policy[static_cast<std::size_t>(s)];
    detail::CellText shown{action < 0
                               ? std::string(1, picture.map.cells[static_cast<std::size_t>(cell)])
                               : detail::action_text(picture.actions[static_cast<std::size_t>(action)], options.ascii),
                           detail::mark_of(picture, cell)};
    return shown;
  });
}

/// The value of each cell, in columns; walls show what the map does. `values`: an entry a state. Throws `Error` for
/// another size, and a precision outside [0, 17].
template <class E>
std::string render_values(const E& env, std::span<const double> values, const TextOptions& options = {}) {
  return detail::render_numbers(detail::checked_picture("render_values", env), values, options);
}
template <class E>
std::string render_values(const E& env, std::span<const float> values, const TextOptions& options = {}) {
  return detail::render_numbers(detail::checked_picture("render_values", env), values, options);
}

}  // namespace valence
