#pragma once

#include <string>

#include "valence/core/error.hpp"
#include "valence/env/grid_world.hpp"

namespace valence {

/// Four rooms (after Sutton, Precup and Singh 1999): a square of `side` x `side` cells, cut into four by a row and a
/// column of walls through the middle, each half of which has one door, in its middle. `side` is odd and at least 5.
/// Without rewards and without an end: all cells are starts ('S'). With side 11 there are 104 states. Throws `Error`
/// for another side.
inline GridWorld four_rooms(int side = 11, const GridWorldOptions& options = {}) {
  check_range("four_rooms", "side", side, 5, 9999);
  if (side % 2 == 0) fail("four_rooms", "side is {}; expected an odd number, so that the walls have a middle", side);
  const int middle = side / 2, door = middle / 2;
  const auto is_door = [&](int along) { return along == door || along == side - 1 - door; };
  std::string map;
  for (int row = 0; row < side; ++row, map += '\n')
    for (int column = 0; column < side; ++column) {
      const bool wall = row == middle ? !is_door(column) : column == middle && !is_door(row);
      map += wall ? '#' : 'S';
    }
  return GridWorld(map, options);
}

}  // namespace valence
