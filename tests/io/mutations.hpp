#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace valence::test {

/// Calls `use` with `count` damaged copies of the seeds, the same ones on every run: bits flipped, bytes set to what
/// parsers care about, pieces cut out, doubled or taken from another seed. It is what a fuzzer does, blind, with any
/// compiler.
template <class F>
void mutate(const std::vector<std::string>& seeds, std::size_t count, F&& use) {
  std::uint64_t state = 0x5EED;
  const auto below = [&](std::size_t n) {  // splitmix64
    state += 0x9E3779B97F4A7C15U;
    std::uint64_t x = state;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return static_cast<std::size_t>((x ^ (x >> 31)) % (n == 0 ? 1 : n));
  };
  const std::string special("\0\"\\,{}[]:\n\r \xFF\xEF-0e.", 19);
  for (std::size_t i = 0; i < count; ++i) {
    std::string text = seeds[below(seeds.size())];
    for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
      const std::size_t at = below(text.size() + 1), length = below((std::min)(text.size() - at, std::size_t{40}) + 1);
      switch (below(6)) {
        case 0:
          if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
          break;
        case 1:
          if (at < text.size()) text[at] = special[below(special.size())];
          break;
        case 2:
          text.erase(at, length);
          break;
        case 3:
          text.insert(at, text.substr(below(text.size() + 1), length));
          break;
        case 4:
          text.insert(at, 1, special[below(special.size())]);
          break;
        default: {
          const std::string& other = seeds[below(seeds.size())];
          text.replace(at, length, other.substr(below(other.size() + 1), below(40)));
        }
      }
    }
    use(text);
  }
}

}  // namespace valence::test
