#pragma once

#include <concepts>
#include <cstddef>
#include <span>

#include "valence/core/error.hpp"

namespace valence {

/// A feature map from a function: `f(x, phi)` fills a span of `features` numbers from a span of `inputs`, for `float`
/// and for `double`.
///
///     FeatureFunction map{2, 2, [](auto x, auto phi) { phi[0] = 1 - x[0], phi[1] = (1 - x[0]) * x[1] * x[1]; }};
///     Linear value{map, 1};
template <class F>
struct FeatureFunction {
  int inputs, features;
  F f;

  int input_size() const { return inputs; }
  int size() const { return features; }
  /// Throws `Error` for other sizes than promised.
  template <std::floating_point S>
  void operator()(std::span<const S> x, std::span<S> phi) const {
    check_size("FeatureFunction", "x", x.size(), static_cast<std::size_t>(inputs));
    check_size("FeatureFunction", "phi", phi.size(), static_cast<std::size_t>(features));
    f(x, phi);
  }
};
template <class F>
FeatureFunction(int, int, F) -> FeatureFunction<F>;

}  // namespace valence
