#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"

namespace valence {

/// A text as numbers, without a vocabulary: each run of 1 to `longest` words is hashed to one of `size` features and
/// adds +1 or
/// -1 to it (the hash says which, so that collisions cancel in the mean); a feature x is then sign(x) log(1 + |x|).
/// Words are runs of letters, digits and apostrophes, in lower case; bytes outside of ASCII count as letters.
/// The hash is fixed (FNV-1a, 64 bits, mixed), so the features of a text are the same everywhere and for ever.
/// Source: K. Weinberger et al., "Feature hashing for large scale multitask learning" (2009).
struct HashedNgrams {
  int size = 256;   ///< number of features, >= 1
  int longest = 1;  ///< words in the longest run, >= 1

  /// Fills `features` (`size` entries; else `Error`). A text without words gives zeros.
  template <std::floating_point S>
  void operator()(std::string_view text, std::span<S> features) const {
    if (size < 1) fail("HashedNgrams", "size is {}; expected at least 1", size);
    if (longest < 1) fail("HashedNgrams", "longest is {}; expected at least 1", longest);
    check_size("HashedNgrams", "features", features.size(), static_cast<std::size_t>(size));
    for (S& x : features) x = S(0);
    std::vector<std::uint64_t> words;  // hashes
    std::uint64_t word = seed;
    bool inside = false;
    const auto end_word = [&] {
      if (inside) words.push_back(word);
      word = seed;
      inside = false;
    };
    for (const char raw : text) {
      auto c = static_cast<unsigned char>(raw);
      if (c >= 'A' && c <= 'Z') c = static_cast<unsigned char>(c - 'A' + 'a');
      if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '\'' || c >= 0x80) {
        word = (word ^ c) * prime;
        inside = true;
      } else {
        end_word();
      }
    }
    end_word();
    for (std::size_t begin = 0; begin < words.size(); ++begin) {
      std::uint64_t run = seed;
      for (std::size_t n = 0; n < static_cast<std::size_t>(longest) && begin + n < words.size(); ++n) {
        run = mixed((run ^ words[begin + n]) * prime);
        const auto place = static_cast<std::size_t>(run % static_cast<std::uint64_t>(size));
        features[place] += (run >> 63) != 0 ? S(1) : S(-1);
      }
    }
    for (S& x : features) x = x < 0 ? -std::log1p(-x) : std::log1p(x);
  }

 private:
  static constexpr std::uint64_t seed = 14695981039346656037u, prime = 1099511628211u;

  static constexpr std::uint64_t mixed(std::uint64_t h) {  // the finaliser of MurmurHash3
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 33);
  }
};

}  // namespace valence
