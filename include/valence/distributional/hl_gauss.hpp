#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/cross_entropy.hpp"
#include "valence/distributional/lane_sums.hpp"
#include "valence/distributional/projection.hpp"

namespace valence {

/// The expected return by classification with smoothed labels: HL-Gauss (Imani and White 2018; Farebrother et al. 2024,
/// "Stop Regressing", section 3.1). [min, max] is cut into `bins` of width w; the target of a return v is a normal law
/// with mean v and standard deviation sigma = sigma_ratio w, integrated over each bin and divided by what lies in
/// [min, max]:
///
///     p_i = (Phi((e_{i+1} - v) / sigma) - Phi((e_i - v) / sigma)) / (Phi((max - v) / sigma) - Phi((min - v) / sigma)),
///
/// with the bins' edges e_i = min + i w. A model's outputs are a logit a bin, its value is the mean of the bins' centres,
/// the loss is the cross-entropy. v beyond an end counts as that end. A target decodes to v within 2e-6 where both ends
/// are ten bins away or more; near an end, where the law is cut, it decodes to less (pitfall D9: no mass is lost).
struct HlGauss {
  int bins = 51;               ///< >= 2
  double min = -10, max = 10;  ///< the outer edges of the first and the last bin, min < max
  double sigma_ratio = 0.75;   ///< sigma in bins, > 0; 0.75 spreads a target over about six bins

  /// The width of a bin.
  double width() const { return (max - min) / bins; }
  /// The bins' centres.
  Support support() const { return {.atoms = bins, .min = min + width() / 2, .max = max - width() / 2}; }

  /// Outputs: a logit for each bin of each action.
  int size(int actions) const { return bins * actions; }

  /// sum_i softmax(y)_i z_i, z the centres.
  template <Scalar S>
  S value(std::span<const S> y) const {
    constexpr auto where = "HlGauss::value";
    check(where, y);
    return static_cast<S>(support().at(static_cast<double>(detail::softmax_mean_index(where, y))));
  }

  /// The probabilities above; their sum is 1 to rounding. A bin that is more than 9 sigma from v (in `float` 6) has
  /// less than 1e-18 (1e-9), which is taken as 0.
  template <Scalar S>
  void encode(S v, std::span<std::type_identity_t<S>> out) const {
    constexpr auto where = "HlGauss::encode";
    check(where);
    check_finite(where, "the return", v);
    check_size(where, "out", out.size(), static_cast<std::size_t>(bins));
    // Counted in bins from min; edge i of bin i lies at i.
    const double position = std::clamp((static_cast<double>(v) - min) / (max - min) * bins, 0.0, bins * 1.0);
    const double reach = (sizeof(S) == 4 ? 6 : 9) * sigma_ratio;
    const auto first = static_cast<std::size_t>((std::max)(0.0, std::floor(position - reach)));
    const auto last = static_cast<std::size_t>((std::min)(bins * 1.0, std::ceil(position + reach)));
    encode_window<S>(position, first, last, out);
  }

  /// `encode(r + g value(y))`.
  template <Scalar S>
  void bootstrap(std::span<const S> y, std::type_identity_t<S> r, std::type_identity_t<S> g,
                 std::span<std::type_identity_t<S>> out) const {
    detail::check_discount<S>("HlGauss::bootstrap", r, g);
    encode(g == 0 ? r : r + g * value(y), out);
  }

  /// `cross_entropy` of logits y and a target of probabilities.
  template <Scalar S>
  S loss(std::span<const S> y, std::span<const std::type_identity_t<S>> target, std::span<std::type_identity_t<S>> dy,
         std::type_identity_t<S> weight = 1) const {
    check("HlGauss::loss", y);
    return cross_entropy(Logits<S>{y}, Probabilities<S>{target}, dy, weight);
  }

  /// The centres and softmax(y). The law that was trained to have the right mean: its spread isn't the return's.
  template <Scalar S>
  void law(std::span<const S> y, std::span<double> atoms, std::span<double> weights) const {
    constexpr auto where = "HlGauss::law";
    check(where, y);
    detail::write_atoms(where, support(), atoms);
    detail::softmax_weights(where, y, weights);
  }

 private:
  void check(std::string_view where) const {
    support().check(where);
    check_positive(where, "sigma_ratio", sigma_ratio);
  }
  template <class S>
  void check(std::string_view where, std::span<const S> y) const {
    check(where);
    check_size(where, "y", y.size(), static_cast<std::size_t>(bins));
  }

  /// Bins first ... last - 1, from tails at their edges: each mass is a difference of two small numbers on one side of
  /// v, so that it keeps its digits, and 1 minus two tails for the bin in which v lies.
  template <class S>
  void encode_window(double position, std::size_t first, std::size_t last, std::span<S> out) const {
    // Edge i is at (i - position) / sigma; whole bins are taken off in double first.
    const S offset = static_cast<S>(static_cast<double>(first) - position), scale = static_cast<S>(1 / sigma_ratio);
    const std::size_t n = last - first;
    S* const p = out.data() + first;
    for (std::size_t i = 0; i < first; ++i) out[i] = 0;
    for (std::size_t i = last; i < out.size(); ++i) out[i] = 0;
    const auto place = [&]<class T>(std::size_t i) { return (detail::indices_from<T>(i) + offset) * scale; };
    const auto tail = [&]<class T>(std::size_t i) {
      return normal_cdf(-elementary::abs(place.template operator()<T>(i)));
    };
    detail::for_lanes_twice<S>(n, [&]<class T>(std::size_t i) { store<T>(p + i, tail.template operator()<T>(i)); });
    const S end_tail = tail.template operator()<S>(n);
    // In place: the mass of bin i needs the tails of edges i and i + 1, and is written over the first.
    const auto mass = [&]<class T>(std::size_t i, T low_tail, T high_tail) {
      const T low = place.template operator()<T>(i), high = place.template operator()<T>(i + 1);
      const T one_side = elementary::select(low < S(0), high_tail - low_tail, low_tail - high_tail);
      const auto holds_v = elementary::select(low < S(0), high, T{} - S(1)) > S(0);
      const T q = elementary::select(holds_v, (S(1) - low_tail) - high_tail, one_side);
      return elementary::select(q > S(0), q, T{});
    };
    const S before_last = detail::lane_sums<S, 1>(n - 1, [&]<class T>(std::size_t i) {
      const T q = mass.template operator()<T>(i, load<T>(p + i), load<T>(p + i + 1));
      store<T>(p + i, q);
      return std::array<T, 1>{q};
    })[0];
    p[n - 1] = mass.template operator()<S>(n - 1, p[n - 1], end_tail);
    const S sum = before_last + p[n - 1];
    detail::for_lanes<S>(n, [&]<class T>(std::size_t i) { store<T>(p + i, load<T>(p + i) / sum); });
  }
};

}  // namespace valence
