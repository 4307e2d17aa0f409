#pragma once

#include <cmath>
#include <numbers>
#include <string_view>

#include "valence/core/error.hpp"

/// What the environments of classic control share.
namespace valence {

/// The same angle in [-pi, pi). (C's fmod keeps the sign of its argument, so it would not do for negative angles.)
inline double wrap_angle(double angle) {
  constexpr double pi = std::numbers::pi;
  double wrapped = angle - 2 * pi * std::floor((angle + pi) / (2 * pi));
  if (wrapped >= pi) wrapped -= 2 * pi;  // rounding
  return wrapped < -pi ? -pi : wrapped;
}

namespace detail {

/// An episode that has not begun, or is over, must be reset before it is stepped.
inline void check_running(std::string_view where, bool over) {
  if (over) [[unlikely]]
    fail(where, "the episode is over, or has not begun; call reset first");
}

/// An action that is a number.
inline void check_force(std::string_view where, double action) {
  if (!std::isfinite(action)) [[unlikely]]
    fail(where, "action is {}; expected a finite number", action);
}

}  // namespace detail
}  // namespace valence
