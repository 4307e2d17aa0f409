#pragma once

#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"

namespace valence {

/// The integers 0, ..., n - 1.
struct Discrete {
  int n;  ///< >= 1

  bool contains(int i) const { return i >= 0 && i < n; }
  /// Uniform. Throws `Error` where n < 1.
  int sample(Rng& rng) const {
    if (n < 1) fail("Discrete::sample", "n is {}; expected at least 1", n);
    return rng.below(n);
  }
};

/// All points between two corners, both included: numbers, or vectors of one size (with `size()` and `[]`), coordinate
/// by coordinate.
template <class V>
struct Box {
  V low, high;

  /// False for a point of another size, and for one with a NaN.
  bool contains(const V& x) const {
    if constexpr (std::is_arithmetic_v<V>) {
      return x >= low && x <= high;
    } else {
      if (x.size() != low.size()) return false;
      for (decltype(x.size()) i = 0; i < x.size(); ++i)
        if (!(x[i] >= low[i] && x[i] <= high[i])) return false;
      return true;
    }
  }
  /// Uniform. Throws `Error` for bounds that are not finite or not in order.
  V sample(Rng& rng) const {
    if constexpr (std::is_arithmetic_v<V>) {
      return rng.uniform<V>(low, high);
    } else {
      V x = low;
      if (high.size() != low.size()) fail("Box::sample", "high has {} entries; expected {}", high.size(), low.size());
      for (decltype(x.size()) i = 0; i < x.size(); ++i)
        x[i] = rng.uniform<std::remove_cvref_t<decltype(x[i])>>(low[i], high[i]);
      return x;
    }
  }
};
// clang 16 does not deduce the arguments of aggregates by itself.
template <class V>
Box(V, V) -> Box<V>;

}  // namespace valence
