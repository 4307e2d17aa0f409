#pragma once

#include <fmt/core.h>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "valence/core/config.hpp"

namespace valence {

/// The one exception that valence throws for bad input at a public boundary. Its message says where (the function or
/// type), what was wrong (the argument, and the index of the offending entry), what was seen and what was expected:
/// `Dpo: chosen[3] is nan; expected a finite number`. Whatever throws it has changed nothing.
class Error : public std::invalid_argument {
 public:
  explicit Error(const std::string& message) : std::invalid_argument(message) {}
};

/// Throws `Error("<where>: <formatted message>")`. Where exceptions are switched off (-fno-exceptions) it writes the
/// message to standard error and aborts.
template <class... Args>
[[noreturn]] void fail(std::string_view where, fmt::format_string<Args...> format, Args&&... args) {
  const std::string message = fmt::format("{}: {}", where, fmt::format(format, std::forward<Args>(args)...));
#if defined(__cpp_exceptions)
  throw Error(message);
#else
  std::fprintf(stderr, "valence: %s\n", message.c_str());
  std::abort();
#endif
}

/// The check helpers below share one shape: `check_xxx(where, argument, value, ...)`, where `where` names the function
/// or type whose boundary it is and `argument` the parameter; they return when all is well and throw `Error` otherwise.

/// `value` must be finite.
template <std::floating_point S>
void check_finite(std::string_view where, std::string_view argument, S value) {
  if (!std::isfinite(value)) fail(where, "{} is {}; expected a finite number", argument, value);
}

/// Every entry of `values` must be finite.
template <class S, std::size_t Extent>
void check_finite(std::string_view where, std::string_view argument, std::span<S, Extent> values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i])) fail(where, "{}[{}] is {}; expected a finite number", argument, i, values[i]);
}

/// `value` must lie in the closed interval [low, high]. NaN is outside of every interval.
template <class S>
  requires std::integral<S> || std::floating_point<S>
void check_range(std::string_view where, std::string_view argument, S value, std::type_identity_t<S> low,
                 std::type_identity_t<S> high) {
  if (!(value >= low && value <= high))
    fail(where, "{} is {}; expected a number in [{}, {}]", argument, value, low, high);
}

/// Every entry of `values` must lie in the closed interval [low, high].
template <class S, std::size_t Extent>
void check_range(std::string_view where, std::string_view argument, std::span<S, Extent> values,
                 std::type_identity_t<std::remove_const_t<S>> low, std::type_identity_t<std::remove_const_t<S>> high) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!(values[i] >= low && values[i] <= high))
      fail(where, "{}[{}] is {}; expected a number in [{}, {}]", argument, i, values[i], low, high);
}

/// `value` must be finite and greater than zero.
template <class S>
  requires std::integral<S> || std::floating_point<S>
void check_positive(std::string_view where, std::string_view argument, S value) {
  bool good = value > S(0);
  if constexpr (std::floating_point<S>) good = good && std::isfinite(value);
  if (!good) fail(where, "{} is {}; expected a finite number greater than 0", argument, value);
}

/// Two sizes must agree: `check_size("Adam::step", "gradient", gradient.size(), theta.size())`.
inline void check_size(std::string_view where, std::string_view argument, std::size_t seen, std::size_t expected) {
  if (seen != expected) fail(where, "{} has {} entries; expected {}", argument, seen, expected);
}

/// A matrix must have the given shape.
inline void check_shape(std::string_view where, std::string_view argument, std::ptrdiff_t rows, std::ptrdiff_t cols,
                        std::ptrdiff_t expected_rows, std::ptrdiff_t expected_cols) {
  if (rows != expected_rows || cols != expected_cols)
    fail(where, "{} is {} x {}; expected {} x {}", argument, rows, cols, expected_rows, expected_cols);
}

/// `p` must be a probability vector: not empty, every entry in [0, 1], the sum 1 to within `tolerance` (absolute).
template <class S, std::size_t Extent>
void check_probabilities(std::string_view where, std::string_view argument, std::span<S, Extent> p,
                         double tolerance = 1e-6) {
  if (p.empty()) fail(where, "{} is empty; expected a probability vector", argument);
  check_range(where, argument, p, 0, 1);
  double sum = 0;
  for (const auto x : p) sum += static_cast<double>(x);
  if (!(std::abs(sum - 1) <= tolerance)) fail(where, "{} sums to {}; expected 1 (within {})", argument, sum, tolerance);
}

}  // namespace valence
