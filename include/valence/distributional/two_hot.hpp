#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/cross_entropy.hpp"
#include "valence/distributional/projection.hpp"

namespace valence {

/// The expected return by classification: logits over atoms, and the target r + g E Z, one number, split between its two
/// neighbours so that the mean is exact; values beyond an end count as that end. The loss is the cross-entropy.
/// (Schrittwieser et al. 2020, appendix F; two-hot in Farebrother et al. 2024, section 3.1.) Between this and
/// `CategoricalReturn` only the target differs: there the next state's law is moved, here its mean.
struct TwoHot {
  int atoms = 51;              ///< >= 2
  double min = -10, max = 10;  ///< the first and the last atom, min < max

  /// Where the atoms lie.
  Support support() const { return {.atoms = atoms, .min = min, .max = max}; }

  /// Outputs: a logit for each atom of each action.
  int size(int actions) const { return atoms * actions; }

  /// sum_k softmax(y)_k z_k.
  template <Scalar S>
  S value(std::span<const S> y) const {
    return categorical().value(y);
  }

  /// Mass 1 - f and f on the atoms below and above v, f being how far it is from the lower one: its mean is v.
  template <Scalar S>
  void encode(S v, std::span<std::type_identity_t<S>> out) const {
    project_value(support(), v, out);
  }

  /// `encode(r + g value(y))`.
  template <Scalar S>
  void bootstrap(std::span<const S> y, std::type_identity_t<S> r, std::type_identity_t<S> g,
                 std::span<std::type_identity_t<S>> out) const {
    detail::check_discount<S>("TwoHot::bootstrap", r, g);
    encode(g == 0 ? r : r + g * value(y), out);
  }

  /// `cross_entropy` of logits y and a target of probabilities.
  template <Scalar S>
  S loss(std::span<const S> y, std::span<const std::type_identity_t<S>> target, std::span<std::type_identity_t<S>> dy,
         std::type_identity_t<S> weight = 1) const {
    return categorical().loss(y, target, dy, weight);
  }

  /// The atoms and softmax(y). The law that was trained to have the right mean: its spread isn't the return's.
  template <Scalar S>
  void law(std::span<const S> y, std::span<double> atoms_out, std::span<double> weights) const {
    categorical().law(y, atoms_out, weights);
  }

 private:
  CategoricalReturn categorical() const { return {.atoms = atoms, .min = min, .max = max}; }
};

}  // namespace valence
