#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/cross_entropy.hpp"
#include "valence/distributional/particles.hpp"
#include "valence/distributional/projection.hpp"

/// Distances of laws on finitely many numbers, exact, in time n log n. Between probabilities on a shared support,
/// `divergence(KullbackLeibler{}, p, q)` and its kin of policy/divergences.hpp serve.
namespace valence {

/// The Wasserstein distance (int_0^1 |F^-1 - G^-1|^order)^(1 / order), order >= 1: what moving one law's mass to the
/// other's costs. W(a X + b, a Y + b) = |a| W(X, Y), so the Bellman operator contracts by the discount.
inline double wasserstein(LawView x, LawView y, double order = 1) {
  constexpr auto where = "wasserstein";
  if (!(order >= 1) || !std::isfinite(order)) fail(where, "order is {}; expected a finite number >= 1", order);
  const detail::SortedLaw a(where, x), b(where, y);
  // Distances relative to the largest possible one, whose power can't overflow.
  const double scale =
      (std::max)(std::abs(a.atom(0) - b.atom(b.size() - 1)), std::abs(a.atom(a.size() - 1) - b.atom(0)));
  if (scale == 0) return 0;
  double sum = 0, left_a = a.weight(0), left_b = b.weight(0);
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const double mass = (std::min)(left_a, left_b), distance = std::abs(a.atom(i) - b.atom(j)) / scale;
    sum += mass * (order == 1 ? distance : std::pow(distance, order));
    // At least one of the two is used up; what rounding leaves at the end weighs nothing.
    left_a -= mass, left_b -= mass;
    if (left_a <= 0 && ++i < a.size()) left_a = a.weight(i);
    if (left_b <= 0 && ++j < b.size()) left_b = b.weight(j);
  }
  return scale * (order == 1 ? sum : std::pow(sum, 1 / order));
}

/// The square of the Cramer distance, int (F - G)^2 dx. Its root scales with sqrt(|a|): the Bellman operator contracts in
/// it by sqrt(discount), and the projection of C51 doesn't expand it (Rowland et al. 2018).
inline double cramer_squared(LawView x, LawView y) {
  constexpr auto where = "cramer_squared";
  const detail::SortedLaw a(where, x), b(where, y);
  double sum = 0, difference = 0, at = 0;
  for (std::size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    const bool from_a = j == b.size() || (i < a.size() && a.atom(i) <= b.atom(j));
    const double next = from_a ? a.atom(i) : b.atom(j);
    if (i + j > 0) sum += difference * difference * (next - at);
    at = next;
    difference += from_a ? a.weight(i++) : -b.weight(j++);
  }
  return sum;
}

/// The Cramer distance.
inline double cramer(LawView x, LawView y) { return std::sqrt(cramer_squared(x, y)); }

/// The energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|, which is twice the square of the Cramer distance (Szekely
/// 2002). Elsewhere its root goes by this name.
inline double energy_distance(LawView x, LawView y) { return 2 * cramer_squared(x, y); }

/// The square of the Cramer distance of two laws on one support, h sum_{k < m - 1} (F_k - G_k)^2, and d_p_k += weight
/// times its derivative 2 h sum_{j >= k, j < m - 1} (F_j - G_j). Not a derivative within the simplex: take it through
/// the softmax. Throws `Error` for what aren't probabilities, before d_p is changed.
template <Scalar S>
S cramer_loss(const Support& support, Probabilities<S> p, Probabilities<S> target,
              std::span<std::type_identity_t<S>> d_p, std::type_identity_t<S> weight = 1) {
  constexpr auto where = "cramer_loss";
  support.check(where);
  check_size(where, "p", p.values.size(), support.size());
  check_size(where, "the target", target.values.size(), support.size());
  check_size(where, "d_p", d_p.size(), support.size());
  detail::check_mass(where, "p", p.values);
  detail::check_mass(where, "the target", target.values);
  check_finite(where, "weight", weight);
  const std::size_t m = support.size();
  const double h = support.step();
  double difference = 0, sum = 0, slope = 0;
  for (std::size_t k = 0; k + 1 < m; ++k) {
    difference += static_cast<double>(p.values[k]) - static_cast<double>(target.values[k]);
    sum += difference * difference;
    slope += difference;
  }
  // From the front again: the sum over j >= k is what is left of the whole.
  difference = 0;
  for (std::size_t k = 0; k + 1 < m; ++k) {
    d_p[k] += static_cast<S>(static_cast<double>(weight) * (2 * h * slope));
    difference += static_cast<double>(p.values[k]) - static_cast<double>(target.values[k]);
    slope -= difference;
  }
  return static_cast<S>(h * sum);
}

}  // namespace valence
