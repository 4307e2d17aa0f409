#pragma once

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#if defined(_WIN32)
#include <locale.h>
#elif defined(__APPLE__) || defined(__FreeBSD__)
#include <xlocale.h>
#else
#include <locale.h>
#endif

#include "valence/core/config.hpp"

/// Numbers as text, the same in every locale: the decimal sign is a dot, there is no grouping, and neither `setlocale`
/// nor `std::locale::global` has any say. What `format_number` writes, `parse_number` reads back to the same bits.

namespace valence {

/// The numbers that can be written and read as text: float, double and the integers; not characters, not bool.
template <class S>
concept TextNumber =
    std::same_as<S, float> || std::same_as<S, double> ||
    (std::integral<S> && !std::same_as<S, bool> && !std::same_as<S, char> && !std::same_as<S, wchar_t> &&
     !std::same_as<S, char8_t> && !std::same_as<S, char16_t> && !std::same_as<S, char32_t>);

namespace detail {

/// `strtod` in the "C" locale whatever the global one is: the road for standard libraries without `std::from_chars` of
/// floating point (libc++ before 20), and for numbers so small that `from_chars` refuses to round them.
/// `text` must be of the form that `parse_number` has checked.
template <std::floating_point S>
S parse_in_c_locale(std::string_view text) {
  const std::string copy(text);  // strtod needs the terminating zero
#if defined(_WIN32)
  static const _locale_t c_locale = _create_locale(LC_ALL, "C");
  if constexpr (std::same_as<S, float>)
    return _strtof_l(copy.c_str(), nullptr, c_locale);
  else
    return _strtod_l(copy.c_str(), nullptr, c_locale);
#else
  static const locale_t c_locale = newlocale(LC_ALL_MASK, "C", locale_t{});
  if constexpr (std::same_as<S, float>)
    return strtof_l(copy.c_str(), nullptr, c_locale);
  else
    return strtod_l(copy.c_str(), nullptr, c_locale);
#endif
}

/// Whether `text` is [-]digits[.digits][e[+-]digits] with at least one digit before the exponent.
inline bool is_decimal(std::string_view text) {
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t first = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    return i - first;
  };
  if (i < text.size() && text[i] == '-') ++i;
  std::size_t count = digits();
  if (i < text.size() && text[i] == '.') {
    ++i;
    count += digits();
  }
  if (count == 0) return false;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

inline bool equal_ignoring_case(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != lower[i]) return false;
  }
  return true;
}

template <std::floating_point S>
std::optional<S> parse_floating(std::string_view text) {
  std::string_view digits = text;
  const bool negative = !digits.empty() && digits.front() == '-';
  if (negative) digits.remove_prefix(1);
  if (equal_ignoring_case(digits, "nan"))
    return negative ? -std::numeric_limits<S>::quiet_NaN() : std::numeric_limits<S>::quiet_NaN();
  if (equal_ignoring_case(digits, "inf") || equal_ignoring_case(digits, "infinity"))
    return negative ? -std::numeric_limits<S>::infinity() : std::numeric_limits<S>::infinity();
  if (!is_decimal(text)) return std::nullopt;
  S value{};
#if defined(__cpp_lib_to_chars)
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc{}) return value;
#endif
  value = parse_in_c_locale<S>(text);
  if (!std::isfinite(value)) return std::nullopt;  // too large for S: never a quiet infinity
  return value;
}

}  // namespace detail

/// `text` as a number, all of it: blanks around it and one leading '+' are allowed, anything else that is left over is
/// not (no hexadecimal, no grouping, no decimal comma). Floating point is rounded to nearest; what is too small for `S`
/// becomes the nearest subnormal or zero; "nan", "inf" and "infinity" are read in any case, with a sign. Nothing when
/// `text` is no number or too large for `S`.
template <TextNumber S>
std::optional<S> parse_number(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
    if (!text.empty() && text.front() == '-') return std::nullopt;
  }
  if constexpr (std::integral<S>) {
    S value{};
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || last != end || text.empty()) return std::nullopt;
    return value;
  } else {
    return detail::parse_floating<S>(text);
  }
}

/// Appends the shortest text that `parse_number` (and every correct reader) rounds back to exactly `value`:
/// "0.1", "1e-05", "-0", "nan", "-inf".
template <TextNumber S>
void append_number(std::string& out, S value) {
  // fmt ignores the locale unless asked with 'L'. (Not format_to: its symbol in Debian's fmt 9, built by g++, has
  // another name to clang.)
  out += fmt::format("{}", value);
}

/// The same as a string of its own.
template <TextNumber S>
std::string format_number(S value) {
  std::string out;
  append_number(out, value);
  return out;
}

}  // namespace valence
