#pragma once

#include <fmt/core.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "valence/core/error.hpp"

namespace valence {

/// A map that was drawn as text: a character a cell, in reading order.
struct GridText {
  int rows = 0, columns = 0;
  std::string cells = {};  ///< rows * columns
  int first_line = 1;      ///< of the text that was read: row r stood in line first_line + r

  int size() const { return rows * columns; }
  /// The character of a cell; not checked.
  char at(int row, int column) const { return cells[static_cast<std::size_t>(row * columns + column)]; }
};

/// Reads a map: a line a row, all of one length. Line ends may be "\n" or "\r\n"; empty lines before the first row and
/// after the last are skipped, so a raw string literal may begin on a line of its own. Throws `Error`, which begins
/// with `where`, for a map without rows and for a line of another length (lines count from 1, as in an editor).
inline GridText read_grid(std::string_view where, std::string_view text) {
  GridText grid;
  int number = 0, blank = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    ++number;
    if (line.empty()) {
      if (grid.rows > 0 && blank == 0) blank = number;
      continue;
    }
    if (blank > 0) fail(where, "line {} of the map is empty; expected a row of {} characters", blank, grid.columns);
    if (line.size() > 1'000'000 || grid.rows == 1'000'000)
      fail(where, "line {} of the map is beyond a million cells in one direction", number);
    if (grid.rows == 0) {
      grid.first_line = number;
      grid.columns = static_cast<int>(line.size());
    }
    if (static_cast<int>(line.size()) != grid.columns)
      fail(where, "line {} of the map has {} characters; expected {}, as in line {}", number, line.size(), grid.columns,
           grid.first_line);
    grid.cells += line;
    ++grid.rows;
  }
  if (grid.rows == 0) fail(where, "the map is empty; expected at least one row");
  if (grid.cells.size() > 100'000'000) fail(where, "the map has {} cells; expected at most 1e8", grid.cells.size());
  return grid;
}

namespace detail {

/// A displacement on a grid; rows grow downwards.
struct Move {
  int row, column;
};

/// Clockwise from up.
inline constexpr std::array<Move, 4> compass{{{-1, 0}, {0, 1}, {1, 0}, {0, -1}}};

/// The cell that a move leads to; moves that would leave the grid stay.
inline int moved(int cell, Move move, int rows, int columns) {
  const int row = cell / columns + move.row, column = cell % columns + move.column;
  return row < 0 || row >= rows || column < 0 || column >= columns ? cell : row * columns + column;
}

/// Where a cell stood in the text, as error messages say it.
inline std::string place_of(const GridText& grid, int cell) {
  return fmt::format("line {}, column {} of the map", grid.first_line + cell / grid.columns, cell % grid.columns + 1);
}

}  // namespace detail

}  // namespace valence
