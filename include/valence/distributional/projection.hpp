#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/cross_entropy.hpp"
#include "valence/distributional/lane_sums.hpp"
#include "valence/distributional/particles.hpp"
#include "valence/policy/concepts.hpp"

namespace valence {

/// Atoms at equal distances, the first at `min`, the last at `max`: z_k = min + k (max - min) / (atoms - 1).
struct Support {
  int atoms = 51;              ///< >= 2
  double min = -10, max = 10;  ///< min < max, finite

  std::size_t size() const { return static_cast<std::size_t>(atoms); }
  /// The distance of two neighbours.
  double step() const { return (max - min) / (atoms - 1); }
  /// Where atom k lies; exact at both ends.
  double atom(int k) const { return std::lerp(min, max, static_cast<double>(k) / (atoms - 1)); }
  /// Where y lies, counted in atoms, held in [0, atoms - 1]. Written so that an end lands on its atom exactly, whatever
  /// the rounding of `step` is (pitfall D3).
  double position(double y) const {
    return std::clamp((y - min) / (max - min) * (atoms - 1), 0.0, static_cast<double>(atoms - 1));
  }
  /// What lies at a position, `position`'s inverse.
  double at(double position) const { return min + (max - min) * (position / (atoms - 1)); }

  /// Throws `Error` unless this is a support.
  void check(std::string_view where) const {
    if (atoms < 2) fail(where, "{} atoms; expected at least 2", atoms);
    if (!(min < max) || !std::isfinite(max - min))
      fail(where, "the support is [{}, {}]; expected finite numbers, the first one smaller", min, max);
  }
};

namespace detail {

template <class S>
void check_discount(std::string_view where, S r, S g) {
  check_finite(where, "the reward", r);
  check_range(where, "the discount", g, 0, 1);
}

/// Throws unless p is a probability vector, fast where it is one.
template <class S>
void check_mass(std::string_view where, std::string_view argument, std::span<const S> p) {
  using T = Lanes<S>;
  T sum{}, least{};
  S rest = 0, least_rest = 0;
  for_lanes<S>(p.size(), [&]<class U>(std::size_t i) {
    const U q = load<U>(p.data() + i);
    if constexpr (std::is_same_v<U, T>)
      sum += q, least = lesser(q, least);
    else
      rest += q, least_rest = lesser(q, least_rest);
  });
  const double total = static_cast<double>(sum_lanes(sum) + rest);
  if (!all(least >= T{}) || least_rest < S(0) || !(std::abs(total - 1) <= mass_tolerance<S>)) {
    check_probabilities(where, argument, p, mass_tolerance<S>);
    fail(where, "{} sums to {}; expected 1", argument, total);
  }
}

/// Mass 1 at position b in [0, atoms - 1], split between its neighbours.
template <class S>
void split_mass(double b, std::span<S> out) {
  for (S& x : out) x = 0;
  const auto low = (std::min)(static_cast<std::size_t>(b), out.size() - 2);
  const double high = b - static_cast<double>(low);
  out[low] = static_cast<S>(1 - high);
  out[low + 1] = static_cast<S>(high);
}

/// out = the mass `probability<T>(j)` of atom j moved to r + g z_j, held in the support, and split between the two
/// neighbours. First the arithmetic of a block in lanes, then the scatter, atom after atom into one of four copies of
/// the result: neighbours often meet in an atom, and would wait for each other's sum.
template <class S, class F>
void shift_mass(const Support& support, S r, S g, const F& probability, std::span<S> out) {
  using Index = int_t<S>;
  constexpr std::size_t block = 64, copies = 4, most = 128;
  constexpr S magic = Ieee<S>::round_magic;
  const std::size_t m = support.size();
  // Position of atom j: b = shift + g j. Exactly j where r = 0 and g = 1.
  const auto shift = static_cast<S>(((static_cast<double>(r) - support.min) + static_cast<double>(g) * support.min) /
                                    (support.max - support.min) * (support.atoms - 1));
  const S last = static_cast<S>(m - 1), last_low = magic + static_cast<S>(m - 2);
  alignas(64) S sums[copies][most], low[block], high[block];
  alignas(64) Index at[block];
  S* copy[copies];
  for (std::size_t c = 0; c < copies; ++c) {
    copy[c] = m <= most ? sums[c] : out.data();
    for (std::size_t k = 0; k < m; ++k) copy[c][k] = 0;
  }
  for (std::size_t begin = 0; begin < m; begin += block) {
    const std::size_t n = (std::min)(block, m - begin);
    for_lanes_twice<S>(n, [&]<class T>(std::size_t i) {
      const T q = rounded(probability.template operator()<T>(begin + i));
      const T b = lesser(greater(indices_from<T>(begin + i) * g + shift, T{}), splat<T>(last));
      // The atom below b; where b is an atom that one or the one before it, and then all goes to the upper one.
      const T t = lesser((b - S(0.5)) + magic, splat<T>(last_low));
      const T upper = rounded(q * (b - (t - magic)));
      store<T>(high + i, upper);
      store<T>(low + i, q - upper);
      store<int_t<T>>(at + i, bits_as<int_t<T>>(t) - bits_as<Index>(magic));
    });
    const auto add = [&](std::size_t c, std::size_t i) {
      S* const to = copy[c] + at[i];
      to[0] += low[i];
      to[1] += high[i];
    };
    std::size_t i = 0;
    for (; i + copies <= n; i += copies)
      for (std::size_t c = 0; c < copies; ++c) add(c, i + c);
    for (std::size_t c = 0; i < n; ++i, ++c) add(c, i);
  }
  if (m <= most)
    for_lanes_twice<S>(m, [&]<class T>(std::size_t k) {
      store<T>(out.data() + k,
               (load<T>(sums[0] + k) + load<T>(sums[1] + k)) + (load<T>(sums[2] + k) + load<T>(sums[3] + k)));
    });
}

}  // namespace detail

/// The law of a number y on the support: mass 1 split between the two neighbours, so that the mean is y (two-hot). y
/// beyond an end goes to that end. `out`: probabilities, an entry an atom. Throws `Error` for y that isn't finite.
template <Scalar S>
void project_value(const Support& support, S y, std::span<std::type_identity_t<S>> out) {
  constexpr auto where = "project_value";
  support.check(where);
  check_finite(where, "y", y);
  check_size(where, "out", out.size(), support.size());
  detail::split_mass<S>(support.position(static_cast<double>(y)), out);
}

/// The law of r + g Z on the support, where P(Z = z_k) = p_k: the projection of C51 (Bellemare, Dabney and Munos 2017,
/// equation 7), which is the nearest law in Cramer distance (Rowland et al. 2018) and keeps the mean while nothing is
/// held back at an end. Mass is 1 as p's is, to rounding; an atom that lands on an atom gives it everything (pitfalls
/// D1, D2). Where g is 0 the future doesn't count, and p isn't read: it may be NaN or empty.
///
/// p and out: an entry an atom, which don't overlap; r finite; g in [0, 1], in n-step targets discount^n. Throws `Error`
/// before anything is written. Nothing allocates.
template <Scalar S>
void project_bellman(const Support& support, Probabilities<S> p, std::type_identity_t<S> r, std::type_identity_t<S> g,
                     std::span<std::type_identity_t<S>> out) {
  constexpr auto where = "project_bellman";
  if (g == 0) return project_value(support, r, out);
  support.check(where);
  detail::check_discount<S>(where, r, g);
  check_size(where, "p", p.values.size(), support.size());
  check_size(where, "out", out.size(), support.size());
  detail::check_mass(where, "p", p.values);
  const S* const q = p.values.data();
  detail::shift_mass<S>(
      support, r, g, [q]<class T>(std::size_t j) { return load<T>(q + j); }, out);
}

/// The same for each column of a batch: column j of `out` is the law of r[j] + g[j] Z_j, with Z_j's probabilities in
/// column j of p.
template <Scalar S>
void project_bellman_columns(const Support& support, const Outputs<S>& p, std::span<const std::type_identity_t<S>> r,
                             std::span<const std::type_identity_t<S>> g, OutputsGradient<S> out) {
  constexpr auto where = "project_bellman_columns";
  check_shape(where, "p", p.rows(), p.cols(), support.atoms, out.cols());
  check_shape(where, "out", out.rows(), out.cols(), support.atoms, p.cols());
  check_size(where, "r", r.size(), static_cast<std::size_t>(p.cols()));
  check_size(where, "g", g.size(), static_cast<std::size_t>(p.cols()));
  for (Eigen::Index j = 0; j < p.cols(); ++j)
    project_bellman(support, Probabilities<S>{detail::column(p, j)}, r[static_cast<std::size_t>(j)],
                    g[static_cast<std::size_t>(j)], detail::column(out, j));
}

/// A law on the support nearest in Cramer distance: each atom held in the support and split between its neighbours, as
/// `project_value` does. Keeps the mean of what lies inside. `out`: an entry an atom of the support.
inline void project_law(const Support& support, LawView law, std::span<double> out) {
  constexpr auto where = "project_law";
  support.check(where);
  law.check(where);
  check_size(where, "out", out.size(), support.size());
  for (double& x : out) x = 0;
  for (std::size_t i = 0; i < law.size(); ++i) {
    const double b = support.position(law.atoms[i]), w = law.weight(i);
    const auto low = (std::min)(static_cast<std::size_t>(b), support.size() - 2);
    const double high = w * (b - static_cast<double>(low));
    out[low] += w - high;
    out[low + 1] += high;
  }
}

/// out_i = F^-1((2 i + 1) / 2N), N = out.size(): the atoms of the law of N equal weights nearest in the 1-Wasserstein
/// distance (Dabney et al. 2018, lemma 2), in increasing order. Time n log n + N.
inline void project_quantiles(LawView law, std::span<double> out) {
  constexpr auto where = "project_quantiles";
  if (out.empty()) fail(where, "out is empty; expected an entry a quantile");
  const detail::SortedLaw sorted(where, law);
  std::size_t at = 0;
  double below = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double level = (2 * static_cast<double>(i) + 1) / (2 * static_cast<double>(out.size()));
    at = detail::reach_level(sorted, level, at, below);
    out[i] = sorted.atom(at);
  }
}

}  // namespace valence
