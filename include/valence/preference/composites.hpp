#pragma once

#include <string_view>

#include "valence/core/error.hpp"
#include "valence/preference/algebra.hpp"
#include "valence/preference/batch_losses.hpp"
#include "valence/preference/losses.hpp"

/// Losses of papers that are sums of others. Each is one line; its options are an aggregate: `rpo({.beta = 0.1})`.
namespace valence {

struct RpoOptions {
  double beta = 0.01;
  double eta = 0.005;  ///< coefficient of the SFT term, >= 0
  static constexpr std::string_view name = "rpo";
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("eta", self.eta);
  }
};

namespace detail {
/// Coefficients of terms that regularise have a sign that the paper fixes; a signed one is written with the algebra.
inline double coefficient(std::string_view where, std::string_view argument, double value) {
  check_finite(where, argument, value);
  if (value < 0) fail(where, "{} is {}; expected a number of at least 0", argument, value);
  return value;
}
}  // namespace detail

/// Regularised preference optimisation (Liu et al. 2024, arXiv:2405.16436): DPO plus eta times the negative
/// log-likelihood of the chosen. The coefficient stands on the SFT term itself, never on DPO's (pitfall P15), and the
/// SFT term is the mean over sequences, as in the authors' main code; TRL's `["sigmoid", "sft"]` is `Dpo{..} + 0.005 *
/// BatchTokenMeanSft{}`.
inline auto rpo(RpoOptions o = {}) { return Dpo{.beta = o.beta} + detail::coefficient("rpo", "eta", o.eta) * Sft{}; }

/// RPO as the minimax problem gives it and the authors' code has it: eta beta on the SFT term.
inline auto rpo_minimax(RpoOptions o = {}) {
  return Dpo{.beta = o.beta} + o.beta * detail::coefficient("rpo_minimax", "eta", o.eta) * Sft{};
}

struct CpoOptions {
  double beta = 0.1;
  double alpha = 1;  ///< coefficient of the negative log-likelihood, >= 0
  static constexpr std::string_view name = "cpo";
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("alpha", self.alpha);
  }
};

/// Contrastive preference optimisation (Xu et al. 2024, arXiv:2401.08417): DPO without a reference plus the negative
/// log- likelihood of the chosen, mean over the batch's tokens. TRL: CPO's `sigmoid` with `cpo_alpha`. Without the
/// second term: `with_score(Dpo{}, LogProb{})`; with other links: `with_score(HingeDpo{}, LogProb{}) + alpha *
/// BatchTokenMeanSft{}`.
inline auto cpo(CpoOptions o = {}) {
  return with_score(Dpo{.beta = o.beta}, LogProb{}) +
         detail::coefficient("cpo", "alpha", o.alpha) * BatchTokenMeanSft{};
}

struct OrpoOptions {
  double lambda = 0.1;  ///< coefficient of the odds ratio term, >= 0; TRL calls it beta
  static constexpr std::string_view name = "orpo";
  static void fields(auto& self, auto&& f) { f("lambda", self.lambda); }
};

/// Odds ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691, eq. 6): SFT on the chosen, mean over the
/// batch's tokens, plus lambda times the odds ratio term. Log-probabilities below 0 only.
inline auto orpo(OrpoOptions o = {}) {
  return BatchTokenMeanSft{} + detail::coefficient("orpo", "lambda", o.lambda) * OddsRatio{};
}

struct MixedPreferenceOptions {
  double beta = 0.1;
  double preference = 0.8, quality = 0.2, generation = 1;  ///< coefficients, >= 0
  static constexpr std::string_view name = "mpo";
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("preference", self.preference);
    f("quality", self.quality);
    f("generation", self.generation);
  }
};

/// Mixed preference optimisation (Wang et al. 2024, arXiv:2411.10442): DPO, BCO and SFT.
inline auto mpo(MixedPreferenceOptions o = {}) {
  return detail::coefficient("mpo", "preference", o.preference) * Dpo{.beta = o.beta} +
         detail::coefficient("mpo", "quality", o.quality) * BcoPair{.beta = o.beta} +
         detail::coefficient("mpo", "generation", o.generation) * BatchTokenMeanSft{};
}

struct IterativeRpoOptions {
  double beta = 0.1;
  double alpha = 1;  ///< coefficient of the negative log-likelihood, >= 0
  static constexpr std::string_view name = "iterative_rpo";
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("alpha", self.alpha);
  }
};

/// Iterative reasoning preference optimisation (Pang et al. 2024, arXiv:2404.19733, eq. 1): DPO plus alpha times the
/// negative log-likelihood of the chosen over its length. TRL up to v0.24: `rpo_alpha`.
inline auto iterative_rpo(IterativeRpoOptions o = {}) {
  return Dpo{.beta = o.beta} + detail::coefficient("iterative_rpo", "alpha", o.alpha) * TokenMeanSft{};
}

struct XpoOptions {
  double beta = 0.1;
  double alpha = 1e-5;  ///< coefficient of the optimism, >= 0
  static constexpr std::string_view name = "xpo";
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("alpha", self.alpha);
  }
};

/// Exploratory preference optimisation (Xie et al. 2024, arXiv:2405.21046, algorithm 1): DPO plus alpha times the mean
/// of log pi over the samples of the reference in `base`, which it pushes down.
inline auto xpo(XpoOptions o = {}) {
  return Dpo{.beta = o.beta} + detail::coefficient("xpo", "alpha", o.alpha) * LogProbMean{};
}

/// The sign with which the value of a reward enters its estimate.
enum class ValueIncentive {
  pessimism,  ///< offline: of rewards that fit the data alike, the one that promises least
  optimism    ///< online: the one that promises most, so that it is tried
};

struct VpoOptions {
  double beta = 0.1;
  double alpha = 0.01;  ///< >= 0, next to the mean loss over pairs (times the number of pairs: next to their sum)
  ValueIncentive incentive = ValueIncentive::pessimism;
  static constexpr std::string_view name = "vpo";
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("alpha", self.alpha);
  }
};

/// Value-incentivised preference optimisation (Cen et al. 2024, arXiv:2405.19320): the reward's maximum likelihood plus
/// or minus alpha times the value J*(r) = beta log E_ref exp(r / beta) of its best policy. With the reward's free shift
/// fixed by E_cal r = 0, J* = -beta E_cal[log pi - log pi_ref], so the policy's loss is DPO plus alpha beta times the
/// mean of log pi over calibration samples, `base`, with a sign: pessimism pulls them up, optimism pushes them down.
/// With the chosen answers as `base`, pessimism is `rpo_minimax` with eta = alpha.
///
/// At pi = pi_ref = the calibration law the optimistic term has no gradient, and its objective has many local minima:
/// descent alone does not start to explore (`VpoOracle` searches). alpha = 0.01 is a choice, the paper's differ.
inline auto vpo(VpoOptions o = {}) {
  const double sign = o.incentive == ValueIncentive::optimism ? 1 : -1;
  return Dpo{.beta = o.beta} + sign * o.beta * detail::coefficient("vpo", "alpha", o.alpha) * LogProbMean{};
}

struct SlicOptions {
  double delta = 1;   ///< target margin, nats
  double lambda = 0;  ///< coefficient of the regulariser, >= 0; needs `base` even at 0
  static constexpr std::string_view name = "slic";
  static void fields(auto& self, auto&& f) {
    f("delta", self.delta);
    f("lambda", self.lambda);
  }
};

/// SLiC-HF (Zhao et al. 2023, arXiv:2305.10425): the calibration term plus lambda times SFT on the samples of `base`.
inline auto slic(SlicOptions o = {}) {
  return SlicCalibration{.delta = o.delta} + detail::coefficient("slic", "lambda", o.lambda) * BaseSft{};
}

}  // namespace valence
