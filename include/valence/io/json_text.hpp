#pragma once

#include <fmt/core.h>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

#include "valence/core/error.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/text.hpp"

namespace valence::detail {

/// Appends `text` as a JSON string: UTF-8 as it is; quotes, backslashes and control characters escaped, the short way
/// where there is one. This is the spelling of serde_json, so that our safetensors headers equal Python's byte for
/// byte.
inline void append_json_string(std::string& out, std::string_view text) {
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos)
    fail("write JSON", "{} is not UTF-8", shown(text.substr(bad, 8)));
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        else
          out += c;
    }
  }
  out += '"';
}

/// Appends a number as JSON, shortest that reads back to the same bits. JSON has no NaN and no infinity: an `Error`.
template <std::floating_point S>
void append_json_number(std::string& out, std::string_view argument, S value) {
  check_finite("write JSON", argument, value);
  append_number(out, value);
}

}  // namespace valence::detail
