#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/cross_entropy.hpp"
#include "valence/distributional/projection.hpp"

namespace valence {

namespace detail {

/// out = softmax(y), as weights in double.
template <class S>
void softmax_weights(std::string_view where, std::span<const S> y, std::span<double> out) {
  check_size(where, "weights", out.size(), y.size());
  const SoftmaxScale<S> scale = softmax_scale(where, y);
  double sum = 0;
  for (std::size_t k = 0; k < y.size(); ++k) sum += out[k] = static_cast<double>(scale.probability(y[k]));
  for (double& w : out) w /= sum;  // to double's rounding, whatever S is
}

inline void write_atoms(std::string_view where, const Support& support, std::span<double> atoms) {
  check_size(where, "atoms", atoms.size(), support.size());
  for (int k = 0; k < support.atoms; ++k) atoms[static_cast<std::size_t>(k)] = support.atom(k);
}

}  // namespace detail

/// The head of C51 (Bellemare, Dabney and Munos 2017, "A Distributional Perspective on Reinforcement Learning"): the law
/// of the return on fixed atoms, from a logit an atom. Its target is the law of r + g Z, projected onto the atoms
/// (`project_bellman`), its loss the cross-entropy. Returns beyond an end count as that end.
struct CategoricalReturn {
  int atoms = 51;              ///< >= 2
  double min = -10, max = 10;  ///< the first and the last atom, min < max

  /// Where the atoms lie.
  Support support() const { return {.atoms = atoms, .min = min, .max = max}; }

  /// Outputs: a logit for each atom of each action.
  int size(int actions) const { return atoms * actions; }

  /// sum_k softmax(y)_k z_k.
  template <Scalar S>
  S value(std::span<const S> y) const {
    constexpr auto where = "CategoricalReturn::value";
    check(where, y);
    return static_cast<S>(support().at(static_cast<double>(detail::softmax_mean_index(where, y))));
  }

  /// All mass at v, split between its neighbours: two-hot.
  template <Scalar S>
  void encode(S v, std::span<std::type_identity_t<S>> out) const {
    project_value(support(), v, out);
  }

  /// The probabilities of the projected law of r + g Z.
  template <Scalar S>
  void bootstrap(std::span<const S> y, std::type_identity_t<S> r, std::type_identity_t<S> g,
                 std::span<std::type_identity_t<S>> out) const {
    constexpr auto where = "CategoricalReturn::bootstrap";
    if (g == 0) return encode(r, out);
    check(where, y);
    detail::check_discount<S>(where, r, g);
    check_size(where, "out", out.size(), y.size());
    const auto scale = detail::softmax_scale(where, y);
    const S* const z = y.data();
    detail::shift_mass<S>(
        support(), r, g, [z, scale]<class T>(std::size_t j) { return scale.probability(load<T>(z + j)); }, out);
  }

  /// `cross_entropy` of logits y and a target of probabilities.
  template <Scalar S>
  S loss(std::span<const S> y, std::span<const std::type_identity_t<S>> target, std::span<std::type_identity_t<S>> dy,
         std::type_identity_t<S> weight = 1) const {
    check("CategoricalReturn::loss", y);
    return cross_entropy(Logits<S>{y}, Probabilities<S>{target}, dy, weight);
  }

  /// The atoms and softmax(y).
  template <Scalar S>
  void law(std::span<const S> y, std::span<double> atoms_out, std::span<double> weights) const {
    constexpr auto where = "CategoricalReturn::law";
    check(where, y);
    detail::write_atoms(where, support(), atoms_out);
    detail::softmax_weights(where, y, weights);
  }

 private:
  template <class S>
  void check(std::string_view where, std::span<const S> y) const {
    support().check(where);
    check_size(where, "y", y.size(), support().size());
  }
};

}  // namespace valence
