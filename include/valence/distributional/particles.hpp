#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"

namespace valence {

/// A law on finitely many numbers, seen and not owned: atom i has probability `weights[i]`; with no weights all atoms
/// have the same. Atoms may be in any order and may repeat. What takes one throws `Error` for no atoms, atoms that aren't
/// finite, and weights that are negative, of another number, or don't sum to 1 within 1e-9.
struct LawView {
  std::span<const double> atoms, weights = {};

  std::size_t size() const { return atoms.size(); }
  double weight(std::size_t i) const { return weights.empty() ? 1 / static_cast<double>(atoms.size()) : weights[i]; }

  /// Throws `Error` unless this is a law.
  void check(std::string_view where) const {
    if (atoms.empty()) fail(where, "the law has no atoms; expected at least one");
    check_finite(where, "atoms", atoms);
    if (weights.empty()) return;
    check_size(where, "weights", weights.size(), atoms.size());
    check_probabilities(where, "weights", weights, 1e-9);
  }
};

namespace detail {

/// A checked law in the order of its atoms, of which the view given keeps the numbers. Up to 512 atoms nothing allocates.
class SortedLaw {
 public:
  SortedLaw(std::string_view where, LawView law) : law_(law) {
    law.check(where);
    if (std::is_sorted(law.atoms.begin(), law.atoms.end())) return;
    order_ = {few_.data(), law.size()};
    if (law.size() > few_.size()) {
      many_.resize(law.size());
      order_ = many_;
    }
    std::iota(order_.begin(), order_.end(), 0U);
    // Ties by number: then the order is one, whatever the library's sort does.
    std::sort(order_.begin(), order_.end(), [&](std::uint32_t a, std::uint32_t b) {
      return law.atoms[a] < law.atoms[b] || (law.atoms[a] == law.atoms[b] && a < b);
    });
  }
  SortedLaw(const SortedLaw&) = delete;
  SortedLaw& operator=(const SortedLaw&) = delete;

  std::size_t size() const { return law_.size(); }
  /// The number in the view of the i-th atom from below.
  std::size_t at(std::size_t i) const { return order_.empty() ? i : order_[i]; }
  double atom(std::size_t i) const { return law_.atoms[at(i)]; }
  double weight(std::size_t i) const { return law_.weight(at(i)); }

 private:
  LawView law_;
  std::array<std::uint32_t, 512> few_;
  std::vector<std::uint32_t> many_;
  std::span<std::uint32_t> order_;
};

/// Sums of weights miss a level by their rounding: what is below it by less counts as having reached it.
inline constexpr double level_tolerance = 1e-12;

/// The first place in the order where the distribution function reaches `level`, going on from place i with `below` the
/// mass before it.
inline std::size_t reach_level(const SortedLaw& law, double level, std::size_t i, double& below) {
  while (i + 1 < law.size() && below + law.weight(i) < level - level_tolerance) below += law.weight(i++);
  return i;
}

}  // namespace detail

/// A law on finitely many numbers that owns them: samples of the return with weights, and what distributional dynamic
/// programming computes with, exactly (Avila Pires et al. 2025; Rowland et al. 2023). `weights` has an entry an atom.
struct Particles {
  std::vector<double> atoms, weights;

  operator LawView() const { return {atoms, weights}; }

  template <class A>
  void archive(A& ar) {
    ar(atoms, weights);
  }
};

/// The same law in its one form: atoms in increasing order, none twice, none without mass, weights that sum to 1.
inline Particles tidy(LawView law) {
  const detail::SortedLaw sorted("tidy", law);
  Particles result;
  double sum = 0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (sorted.weight(i) == 0) continue;
    sum += sorted.weight(i);
    if (!result.atoms.empty() && result.atoms.back() == sorted.atom(i)) {
      result.weights.back() += sorted.weight(i);
    } else {
      result.atoms.push_back(sorted.atom(i));
      result.weights.push_back(sorted.weight(i));
    }
  }
  for (double& w : result.weights) w /= sum;
  return result;
}

/// The law of shift + scale X.
inline Particles shift_scale(LawView law, double shift, double scale) {
  law.check("shift_scale");
  check_finite("shift_scale", "shift", shift);
  check_finite("shift_scale", "scale", scale);
  Particles result;
  for (std::size_t i = 0; i < law.size(); ++i) {
    result.atoms.push_back(shift + scale * law.atoms[i]);
    result.weights.push_back(law.weight(i));
  }
  check_finite("shift_scale", "the result's atoms", std::span<const double>(result.atoms));
  return result;
}

/// The law that is parts[k] with probability weights[k], tidied.
inline Particles mixture(std::span<const double> weights, std::span<const Particles> parts) {
  constexpr auto where = "mixture";
  check_size(where, "weights", weights.size(), parts.size());
  check_probabilities(where, "weights", weights, 1e-9);
  Particles all;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    const LawView part = parts[k];
    part.check(where);
    for (std::size_t i = 0; i < part.size(); ++i) {
      all.atoms.push_back(part.atoms[i]);
      all.weights.push_back(weights[k] * part.weight(i));
    }
  }
  // Each sum is 1 within 1e-9, their product within twice that.
  const double sum = std::accumulate(all.weights.begin(), all.weights.end(), 0.0);
  for (double& w : all.weights) w /= sum;
  return tidy(all);
}

/// A law on at most n atoms: the mass in n equal slices from below, each slice at its mean. The mean is kept, the
/// variance isn't larger, and among laws on n atoms of equal weight none is nearer in the 2-Wasserstein distance. A law
/// that has no more atoms than n comes back tidied and otherwise as it is.
inline Particles compress(LawView law, std::size_t n) {
  if (n == 0) fail("compress", "n is 0; expected at least 1");
  Particles from = tidy(law);
  if (from.atoms.size() <= n) return from;
  Particles result;
  const double slice = 1 / static_cast<double>(n);
  std::size_t i = 0;
  double left = from.weights[0];
  for (std::size_t k = 0; k < n; ++k) {
    double need = slice, sum = 0;
    const std::size_t first = i;
    while (i + 1 < from.atoms.size() && left <= need) {
      sum += left * from.atoms[i];
      need -= left;
      left = from.weights[++i];
    }
    sum += need * from.atoms[i];
    left -= need;
    result.atoms.push_back(std::clamp(sum / slice, from.atoms[first], from.atoms[i]));
    result.weights.push_back(slice);
  }
  return tidy(result);
}

}  // namespace valence
