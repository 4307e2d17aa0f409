#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// Reading back pictures.
namespace valence::test {

inline std::size_t count(std::string_view text, std::string_view what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

/// Are the tags closed in order, is every ampersand an entity, are attributes quoted?
inline bool well_formed(std::string_view text) {
  std::vector<std::string> open;
  std::size_t roots = 0;
  while (!text.empty()) {
    if (text[0] == '&') {
      bool known = false;
      for (const std::string_view entity : {"&amp;", "&lt;", "&gt;", "&quot;"})
        known = known || text.starts_with(entity);
      if (!known) return false;
    }
    if (text[0] != '<') {
      if (open.empty() && text[0] != '\n') return false;
      text.remove_prefix(1);
      continue;
    }
    const std::size_t end = text.find('>');
    if (end == std::string_view::npos) return false;
    std::string_view tag = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
    if (tag.find('<') != std::string_view::npos || count(tag, "\"") % 2 != 0) return false;
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return false;
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      if (open.empty()) ++roots;
      open.emplace_back(tag.substr(0, tag.find(' ')));
    }
  }
  return open.empty() && roots == 1;
}

}  // namespace valence::test
