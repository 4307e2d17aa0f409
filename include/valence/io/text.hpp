#pragma once

#include <fmt/core.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "valence/core/config.hpp"

namespace valence {

/// The offset of the first byte of `text` that is not well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates,
/// nothing above U+10FFFF), or `std::string_view::npos` when all of it is.
inline std::size_t find_invalid_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  std::size_t i = 0;
  while (i < text.size()) {
    const unsigned lead = byte(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    std::size_t length = 0;
    unsigned low = 0x80, high = 0xBF;  // the range of the second byte: what excludes overlong forms and surrogates
    if (lead >= 0xC2 && lead <= 0xDF) {
      length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      length = 3;
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      length = 4;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    } else {
      return i;
    }
    if (text.size() - i < length || byte(i + 1) < low || byte(i + 1) > high) return i;
    for (std::size_t k = 2; k < length; ++k)
      if (byte(i + k) < 0x80 || byte(i + k) > 0xBF) return i;
    i += length;
  }
  return std::string_view::npos;
}

/// `text` as an error message shows it: in quotes, control characters and bytes that are not UTF-8 as \xNN, and cut (at
/// a character's boundary) after about `limit` bytes. So a message stays one readable line whatever the file held.
inline std::string shown(std::string_view text, std::size_t limit = 60) {
  std::string out = "'";
  const bool cut = text.size() > limit;
  std::size_t end = cut ? limit : text.size();
  if (cut)  // do not split a character: step back over at most three continuation bytes
    for (int k = 0; k < 3 && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U; ++k) --end;
  text = text.substr(0, end);
  while (!text.empty()) {
    const std::size_t bad = find_invalid_utf8(text);
    for (const char c : text.substr(0, bad)) {
      const auto code = static_cast<unsigned char>(c);
      if (code < 0x20 || code == 0x7F)
        out += fmt::format("\\x{:02x}", code);
      else
        out += c;
    }
    if (bad == std::string_view::npos) break;
    out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[bad]));
    text.remove_prefix(bad + 1);
  }
  out += cut ? "...'" : "'";
  return out;
}

}  // namespace valence
