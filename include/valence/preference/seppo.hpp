#pragma once

#include <cstddef>
#include <string_view>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/preference/algebra.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/links.hpp"
#include "valence/preference/scores.hpp"

namespace valence {

/// What decides whether the reference sample of a pair stands for a loser (sign +1: pushed away) or for a winner (sign
/// -1: learned from).
enum class Anchor {
  sample,     ///< the pair's own winner: the paper's rule
  indicator,  ///< likewise, but where it would be a winner the reference sample is left out (sign 0)
  batch       ///< the mean over the batch's winners, one sign for all
};

/// -log sigma(beta (u_chosen - s u_rejected)): semi-policy preference optimisation (Zhang et al. 2024,
/// arXiv:2410.05255, section 3.3), for data of winners alone. `rejected` is a sample of an earlier checkpoint, the
/// reference, in the place of a loser, and the anchor decides from the winner what it is worth: s = +1, a loser, where
/// the policy explains the winner at least as well as the reference does (u_chosen >= 0; ties are a choice), and -1, a
/// winner, otherwise. s is a constant: no gradient flows through it.
///
/// In the paper the policy is a diffusion model and log-probabilities are minus denoising errors (`Ddpm`), times kappa
/// = beta T omega(t), so `beta` here is that kappa. With s always +1 it is `Dpo` to the bit: Diffusion-DPO on true
/// losers, SPIN-Diffusion on reference samples. With `batch`, pairs count in the anchor by their weights.
struct Seppo {
  double beta = 0.1;
  Anchor anchor = Anchor::sample;

  static constexpr std::string_view name = "Seppo";
  static constexpr Column needs = Column::pairs | Column::reference;

  /// The loss of a pair whose sign is fixed, or the pair's own (0: `sample`'s, `indicator`'s).
  struct WithSign {
    double beta;
    Anchor anchor;
    double sign;

    static constexpr Column needs = Column::reference;
    template <class T>
    PairLoss<T> operator()(const Pair<T>& p) const {
      using S = scalar_t<T>;
      const T u = p.chosen - p.ref_chosen, v = p.rejected - p.ref_rejected;
      const T otherwise = splat<T>(anchor == Anchor::indicator ? S(0) : S(-1));
      const T s = anchor == Anchor::batch ? splat<T>(S(sign)) : elementary::select(u >= T{}, splat<T>(1), otherwise);
      const ValueAndSlope<T> l = LogisticLink{}(S(beta) * (detail::rounded(u) - detail::rounded(s * v)));
      const T d = S(beta) * l.slope;
      return {l.value, d, -(d * s)};
    }
  };
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    double sum = 0;
    if (anchor == Anchor::batch)
      for (std::size_t i = 0; i < in.pairs.chosen.size(); ++i)
        sum += (in.pairs.weight.empty() ? 1.0 : static_cast<double>(in.pairs.weight[i])) *
               static_cast<double>(in.pairs.chosen[i] - in.pairs.ref_chosen[i]);
    return detail::accumulate_unchecked(WithSign{beta, anchor, sum >= 0 ? 1.0 : -1.0}, in, out, factor);
  }
  void check() const { check_positive(name, "beta", beta); }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("anchor", self.anchor);
  }
};

}  // namespace valence
