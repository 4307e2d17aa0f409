#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

/// How much a logged action counts in `WeightedRegression`, by its advantage. Weights are >= 0 and are values: nothing
/// is differentiated through them. Advantages must be finite; `weights` may be `advantages`. No allocation.
namespace valence {

namespace detail {

/// weights[i] = weight(advantages[i]), checked before anything is written.
template <class S, class Weight>
void fill_weights(std::string_view where, std::span<const S> advantages, std::span<S> weights, Weight&& weight) {
  check_size(where, "weights", weights.size(), advantages.size());
  check_finite(where, "advantages", advantages);
  for (std::size_t i = 0; i < advantages.size(); ++i)
    if (!std::isfinite(weight(advantages[i])))
      fail(where, "the weight of advantages[{}], {}, overflows; expected a smaller one, or a finite max_weight", i,
           advantages[i]);
  for (std::size_t i = 0; i < advantages.size(); ++i) weights[i] = weight(advantages[i]);
}

}  // namespace detail

/// min(exp(beta A), max_weight): AWR (Peng et al. 2019, section 5.2, beta = 1 / its temperature, cap 20), AWAC and IQL
/// (Kostrikov et al. 2022, equation 7, whose defaults these are). beta = 0 is behaviour cloning.
struct ExponentialWeights {
  double beta = 3;          ///< finite, >= 0: 1 / temperature
  double max_weight = 100;  ///< > 0; infinity: no cap, and what overflows throws

  static constexpr std::string_view name = "ExponentialWeights";
  template <Scalar S>
  void operator()(std::span<const S> advantages, std::span<std::type_identity_t<S>> weights) const {
    check_range(name, "beta", beta, 0, (std::numeric_limits<double>::max)());
    if (!(max_weight > 0)) fail(name, "max_weight is {}; expected a number greater than 0", max_weight);
    const S b = static_cast<S>(beta), most = static_cast<S>(max_weight);
    detail::fill_weights<S>(name, advantages, weights, [&](S a) { return (std::min)(elementary::exp(b * a), most); });
  }
};

/// 1 where A > threshold, else 0 (also at equality): filtered cloning, CRR's binary form (Wang et al. 2020, equation
/// 3).
struct BinaryWeights {
  double threshold = 0;  ///< finite

  static constexpr std::string_view name = "BinaryWeights";
  template <Scalar S>
  void operator()(std::span<const S> advantages, std::span<std::type_identity_t<S>> weights) const {
    check_finite(name, "threshold", threshold);
    const S least = static_cast<S>(threshold);
    detail::fill_weights<S>(name, advantages, weights, [&](S a) { return a > least ? S(1) : S(0); });
  }
};

/// exp(beta A_i) / sum_j exp(beta A_j): weights of a batch that sum to 1, so a constant in the advantages changes
/// nothing and nothing overflows. Use them with `MeanOptions{.count = 1}`: their sum is the mean.
struct SelfNormalizedWeights {
  double beta = 3;  ///< finite, >= 0

  static constexpr std::string_view name = "SelfNormalizedWeights";
  template <Scalar S>
  void operator()(std::span<const S> advantages, std::span<std::type_identity_t<S>> weights) const {
    check_range(name, "beta", beta, 0, (std::numeric_limits<double>::max)());
    if (advantages.empty()) fail(name, "advantages is empty; expected at least one");
    check_size(name, "weights", weights.size(), advantages.size());
    check_finite(name, "advantages", advantages);
    const S top = *std::max_element(advantages.begin(), advantages.end());
    const double low = static_cast<double>(*std::min_element(advantages.begin(), advantages.end()));
    if (!std::isfinite(beta * (static_cast<double>(top) - low)))
      fail(name, "beta {} times the advantages' range, {} to {}, overflows", beta, low, top);
    const auto weight = [&](S a) {
      return elementary::exp(beta * (static_cast<double>(a) - static_cast<double>(top)));
    };
    double sum = 0;
    for (const S a : advantages) sum += weight(a);
    for (std::size_t i = 0; i < advantages.size(); ++i) weights[i] = static_cast<S>(weight(advantages[i]) / sum);
  }
};

}  // namespace valence
