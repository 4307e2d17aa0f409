#pragma once

#include "valence/core/elementary.hpp"
#include "valence/core/lanes.hpp"

namespace valence::detail {

/// max(x, 0), for finite x.
template <class T> T positive_part(T x) { return elementary::select(x > T{}, x, T{}); }

/// What the logistic function is made of at z, from one exponential e = exp(-|z|).
template <class T> struct LogisticParts {
  T tail;   ///< log(1 + e): sp(z) = max(z, 0) + tail
  T minus;  ///< sigma(-z)
  T plus;   ///< sigma(z)
};

template <class T> LogisticParts<T> logistic_parts(T z) {
  using S = scalar_t<T>;
  const T e = elementary::exp(-elementary::abs(z));
  const T large = S(1) / (S(1) + e), small = e * large;
  const auto positive = z > T{};
  return {elementary::log1p(e), elementary::select(positive, small, large), elementary::select(positive, large, small)};
}

}  // namespace valence::detail
