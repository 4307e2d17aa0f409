#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>

#include "support/catch.hpp"

namespace valence::test {

/// `CHECK(value == close(expected, 1e-12))`: equal, or within a relative tolerance of the expected value (never of the
/// measured one), or within the absolute one. Infinities must match; a NaN is close to nothing.
struct Close {
  double expected, relative, absolute;

  friend bool operator==(double value, const Close& c) {
    if (value == c.expected) return true;
    return std::abs(value - c.expected) <= std::max(c.relative * std::abs(c.expected), c.absolute);
  }
  friend std::ostream& operator<<(std::ostream& out, const Close& c) {
    return out << fmt::format("{:.17g} (within {:g} relative, {:g} absolute)", c.expected, c.relative, c.absolute);
  }
};

inline Close close(double expected, double relative = 1e-12, double absolute = 0) {
  return {expected, relative, absolute};
}

/// `close(4)` must not become POSIX's `close(int)`, which shuts a file: with this overload it is ambiguous, or this.
inline Close close(int expected) { return close(static_cast<double>(expected)); }

/// The message of the `valence::Error` (or other exception) that `f` throws; "nothing thrown" otherwise.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const std::exception& e) { return e.what(); }
  return "nothing thrown";
}

/// `CHECK(says(message_of([&] { ... }), "chosen[3]", "nan"))`: every fragment is in the message.
template <class... Fragments>
bool says(const std::string& message, const Fragments&... fragments) {
  const bool good = ((message.find(fragments) != std::string::npos) && ...);
  if (!good) UNSCOPED_INFO("message: " << message);
  return good;
}

}  // namespace valence::test
