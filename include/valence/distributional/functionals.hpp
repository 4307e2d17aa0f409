#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/particles.hpp"

/// Statistics of a law, as values: `Cvar{.level = 0.1}(law)`. A law is a `LawView`: particles, a head's atoms and
/// probabilities, quantiles; it needs no order (pitfall D10: crossed quantiles are sorted). Each also has
/// `pullback(law, w, d_atoms)`: d_atoms_i += w times the derivative with respect to atom i, the weights being fixed (an
/// entry an atom, in the law's own order). Laws of up to 512 atoms allocate nothing.
namespace valence {

/// A statistic of a law, to be evaluated or maximised.
template <class F>
concept ReturnFunctional = std::copyable<F> && requires(const F f, LawView law) {
  { f(law) } -> std::same_as<double>;
};

/// E X.
struct Mean {
  double operator()(LawView law) const {
    law.check("Mean");
    double sum = 0;
    for (std::size_t i = 0; i < law.size(); ++i) sum += law.weight(i) * law.atoms[i];
    return sum;
  }
  void pullback(LawView law, double w, std::span<double> d_atoms) const {
    law.check("Mean::pullback");
    check_size("Mean::pullback", "d_atoms", d_atoms.size(), law.size());
    for (std::size_t i = 0; i < law.size(); ++i) d_atoms[i] += w * law.weight(i);
  }
};

/// E (X - E X)^2.
struct Variance {
  double operator()(LawView law) const {
    const double mean = Mean{}(law);
    double sum = 0;
    for (std::size_t i = 0; i < law.size(); ++i) sum += law.weight(i) * ((law.atoms[i] - mean) * (law.atoms[i] - mean));
    return sum;
  }
  void pullback(LawView law, double w, std::span<double> d_atoms) const {
    const double mean = Mean{}(law);
    check_size("Variance::pullback", "d_atoms", d_atoms.size(), law.size());
    for (std::size_t i = 0; i < law.size(); ++i) d_atoms[i] += w * (2 * law.weight(i) * (law.atoms[i] - mean));
  }
};

namespace detail {

inline void check_open_level(std::string_view where, double level, bool with_one) {
  if (!(level > 0 && (with_one ? level <= 1 : level < 1)))
    fail(where, "level is {}; expected a number above 0 and {} 1", level, with_one ? "at most" : "below");
}

}  // namespace detail

/// The quantile min {x : P(X <= x) >= level}, level in (0, 1]: an atom, never a number between two. (The sample
/// quantile of core/statistics.hpp interpolates.) Where a sum of weights misses the level by less than 1e-12 it counts
/// as reached.
struct ValueAtRisk {
  double level = 0.1;

  double operator()(LawView law) const {
    const detail::SortedLaw sorted("ValueAtRisk", law);
    return sorted.atom(find(sorted));
  }
  /// All on the atom that is the quantile; where several are equal, on one of them.
  void pullback(LawView law, double w, std::span<double> d_atoms) const {
    const detail::SortedLaw sorted("ValueAtRisk::pullback", law);
    check_size("ValueAtRisk::pullback", "d_atoms", d_atoms.size(), law.size());
    d_atoms[sorted.at(find(sorted))] += w;
  }

 private:
  std::size_t find(const detail::SortedLaw& sorted) const {
    detail::check_open_level("ValueAtRisk", level, true);
    double below = 0;
    return detail::reach_level(sorted, level, 0, below);
  }
};

/// The mean of the worst share `level` of outcomes, (1 / level) times the integral of the quantile function from 0 to
/// level; equal to max_c c + E min(X - c, 0) / level (Rockafellar and Uryasev 2000). Level in (0, 1]; at 1 the mean.
struct Cvar {
  double level = 0.1;

  double operator()(LawView law) const {
    double sum = 0;
    each_share("Cvar", law, [&](std::size_t i, double share) { sum += share * law.atoms[i]; });
    return sum;
  }
  void pullback(LawView law, double w, std::span<double> d_atoms) const {
    law.check("Cvar::pullback");
    check_size("Cvar::pullback", "d_atoms", d_atoms.size(), law.size());
    each_share("Cvar::pullback", law, [&](std::size_t i, double share) { d_atoms[i] += w * share; });
  }

 private:
  template <class F>
  void each_share(std::string_view where, LawView law, F f) const {
    detail::check_open_level(where, level, true);
    const detail::SortedLaw sorted(where, law);
    double left = level;
    for (std::size_t i = 0; i < sorted.size() && left > 0; ++i) {
      // The last atom takes what rounding left over.
      const double taken = i + 1 == sorted.size() ? left : (std::min)(sorted.weight(i), left);
      f(sorted.at(i), taken / level);
      left -= taken;
    }
  }
};

/// The entropic risk measure (1 / beta) log E exp(beta X): averse to risk for beta < 0, seeking it for beta > 0, the
/// mean at 0. Exact also where the exponentials overflow, and next to 0.
struct EntropicRisk {
  double beta = -1;

  double operator()(LawView law) const {
    check_finite("EntropicRisk", "beta", beta);
    const double mean = Mean{}(law);
    if (beta == 0) return mean;
    const double top = largest_exponent(law, mean);
    double sum = 0, near_one = 0, size = 0;
    for (std::size_t i = 0; i < law.size(); ++i) {
      if (law.weight(i) == 0) continue;  // such an atom may be anywhere
      const double x = beta * (law.atoms[i] - mean);
      size = (std::max)(size, std::abs(x));
      sum += law.weight(i) * elementary::exp(x - top);
      near_one += law.weight(i) * elementary::expm1((std::min)(x, 1.0));
    }
    // Around the mean: where all exponents are small, log E exp = log(1 + E (exp - 1)) keeps the digits.
    return mean + (size <= 1 ? elementary::log1p(near_one) : elementary::log(sum) + top) / beta;
  }
  void pullback(LawView law, double w, std::span<double> d_atoms) const {
    check_finite("EntropicRisk::pullback", "beta", beta);
    const double mean = Mean{}(law);
    check_size("EntropicRisk::pullback", "d_atoms", d_atoms.size(), law.size());
    const double top = largest_exponent(law, mean);
    const auto part = [&](std::size_t i) {
      const double w_i = law.weight(i);
      return w_i == 0 ? 0 : w_i * elementary::exp(beta * (law.atoms[i] - mean) - top);
    };
    double sum = 0;
    for (std::size_t i = 0; i < law.size(); ++i) sum += part(i);
    for (std::size_t i = 0; i < law.size(); ++i) d_atoms[i] += w * (part(i) / sum);
  }

 private:
  /// Of the atoms that have mass.
  double largest_exponent(LawView law, double mean) const {
    double top = -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < law.size(); ++i)
      if (law.weight(i) > 0) top = (std::max)(top, beta * (law.atoms[i] - mean));
    return top;
  }
};

/// E u(X) of any function of a number. Its `pullback` needs u.derivative(x), too.
template <class U>
struct ExpectedUtility {
  U utility = {};

  double operator()(LawView law) const {
    law.check("ExpectedUtility");
    double sum = 0;
    for (std::size_t i = 0; i < law.size(); ++i) {
      const double w = law.weight(i);
      if (w > 0) sum += w * static_cast<double>(utility(law.atoms[i]));
    }
    check_finite("ExpectedUtility", "the expectation", sum);
    return sum;
  }
  void pullback(LawView law, double w, std::span<double> d_atoms) const
    requires requires(const U u, double x) { u.derivative(x); }
  {
    law.check("ExpectedUtility::pullback");
    check_size("ExpectedUtility::pullback", "d_atoms", d_atoms.size(), law.size());
    for (std::size_t i = 0; i < law.size(); ++i)
      d_atoms[i] += w * (law.weight(i) * static_cast<double>(utility.derivative(law.atoms[i])));
  }
};
template <class U>
ExpectedUtility(U) -> ExpectedUtility<U>;

/// The e at which level E max(X - e, 0) = (1 - level) E max(e - X, 0), level in (0, 1); at 1/2 the mean. (Newey and
/// Powell 1987.) Exact: the equation is linear between two atoms.
struct Expectile {
  double level = 0.5;

  double operator()(LawView law) const {
    const detail::SortedLaw sorted("Expectile", law);
    return solve(sorted);
  }
  void pullback(LawView law, double w, std::span<double> d_atoms) const {
    const detail::SortedLaw sorted("Expectile::pullback", law);
    check_size("Expectile::pullback", "d_atoms", d_atoms.size(), law.size());
    const double e = solve(sorted);
    const auto share = [&](std::size_t i) { return law.weight(i) * (law.atoms[i] > e ? level : 1 - level); };
    double sum = 0;
    for (std::size_t i = 0; i < law.size(); ++i) sum += share(i);
    for (std::size_t i = 0; i < law.size(); ++i) d_atoms[i] += w * (share(i) / sum);
  }

 private:
  double solve(const detail::SortedLaw& law) const {
    detail::check_open_level("Expectile", level, false);
    // Distances from the least atom, so that a large offset costs no digits.
    const double base = law.atom(0);
    double mass_above = 0, sum_above = 0, mass_below = 0, sum_below = 0;
    for (std::size_t i = 0; i < law.size(); ++i) {
      mass_above += law.weight(i);
      sum_above += law.weight(i) * (law.atom(i) - base);
    }
    for (std::size_t i = 0; i < law.size(); ++i) {  // atoms 0 ... i lie below
      const double w = law.weight(i), x = law.atom(i) - base;
      mass_above -= w, sum_above -= w * x, mass_below += w, sum_below += w * x;
      const double upper = i + 1 < law.size() ? law.atom(i + 1) - base : x;
      const double mass = level * mass_above + (1 - level) * mass_below;
      if (mass <= 0) continue;
      const double e = (level * sum_above + (1 - level) * sum_below) / mass;
      if (e <= upper || i + 1 == law.size()) return base + (std::min)((std::max)(e, x), upper);
    }
    return base;
  }
};

/// Utilities for `ExpectedUtility`; any function of a number is one. A type that has f(a x) = a f(x) for all a > 0 says
/// so in `positively_homogeneous()`: what discounted planning with a stock asks for
/// (planning/distributional_iteration.hpp).
///
/// x itself: the mean.
struct RiskNeutral {
  double operator()(double x) const { return x; }
  double derivative(double) const { return 1; }
  bool positively_homogeneous() const { return true; }
};
/// min(x, 0), whose maximisation over stocks is CVaR.
struct NegativePart {
  double operator()(double x) const { return (std::min)(x, 0.0); }
  double derivative(double x) const { return x < 0 ? 1 : 0; }
  bool positively_homogeneous() const { return true; }
};
/// -|x - target|, which asks for a return.
struct MinusDistance {
  double target = 0;
  double operator()(double x) const { return -std::abs(x - target); }
  double derivative(double x) const { return x < target ? 1 : x > target ? -1 : 0; }
  bool positively_homogeneous() const { return target == 0; }
};
/// 1 where x >= target, which asks for at least that.
struct AtLeast {
  double target = 0;
  double operator()(double x) const { return x >= target ? 1 : 0; }
};
/// exp(beta x) with the sign of beta: averse to risk for beta < 0. Its expectation orders laws as `EntropicRisk` does,
/// which doesn't overflow.
struct ExponentialUtility {
  double beta = -1;
  double operator()(double x) const { return std::copysign(elementary::exp(beta * x), beta); }
  double derivative(double x) const { return std::abs(beta) * elementary::exp(beta * x); }
};

/// Does the utility say that it is positively homogeneous?
template <class U>
bool is_positively_homogeneous(const U& utility) {
  if constexpr (requires { bool{utility.positively_homogeneous()}; })
    return utility.positively_homogeneous();
  else
    return false;
}

/// The law that a head's outputs of one action describe, written to `law`, whose memory is used again.
template <GivesLaw H, Scalar S>
void read_law(const H& head, std::span<const S> y, Particles& law) {
  const auto n = static_cast<std::size_t>(head.size(1));
  law.atoms.resize(n);
  law.weights.resize(n);
  head.law(y, std::span<double>(law.atoms), std::span<double>(law.weights));
}

/// A statistic of each action's return, from all outputs of one sample: what an agent that minds risk maximises instead
/// of `action_values(head, y, out)`. `work` is scratch.
template <GivesLaw H, Scalar S, ReturnFunctional F>
void action_values(const H& head, std::span<const S> y, const F& functional, Particles& work,
                   std::span<std::type_identity_t<S>> out) {
  const int size = head.size(1);
  check_size("action_values", "out", out.size(),
             static_cast<std::size_t>(detail::check_actions("action_values", y.size(), size)));
  for (std::size_t a = 0; a < out.size(); ++a) {
    read_law(head, detail::action_outputs(y, size, a), work);
    out[a] = static_cast<S>(functional(work));
  }
}

}  // namespace valence
