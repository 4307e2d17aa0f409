#pragma once

#include <string_view>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/margin_loss.hpp"

/// The field's losses of one pair, under its names, with the papers' defaults. q is the policy's log-probability, r the
/// reference's, u = q - r, n the length. Each is a score and a link (`generic()`); `with_score` changes the score of
/// those whose definition leaves it open.
namespace valence {

/// -log sigma(beta (u_chosen - u_rejected)): direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290,
/// eq. 7). `beta` > 0 is the strength of the pull to the reference. TRL: `sigmoid`.
struct Dpo {
  double beta = 0.1;

  static constexpr std::string_view name = "Dpo";
  constexpr auto generic() const { return MarginLoss{LogRatio{}, LogisticLink{}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// DPO with labels that are wrong with probability `label_smoothing` in [0, 0.5] (conservative DPO, Mitchell 2023).
/// TRL: `sigmoid` with `label_smoothing`.
struct Cdpo {
  double beta = 0.1;
  double label_smoothing = 0.1;

  static constexpr std::string_view name = "Cdpo";
  constexpr auto generic() const { return MarginLoss{LogRatio{}, LabelSmoothedLink{label_smoothing}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("label_smoothing", self.label_smoothing);
  }
};

/// rDPO: unbiased for the clean DPO loss when labels flip with probability `label_smoothing` in [0, 0.5)
/// (Chowdhury et al. 2024, arXiv:2403.00409, eq. 12). Unbounded below: see `RobustLink`. TRL: `robust`.
struct RobustDpo {
  double beta = 0.1;
  double label_smoothing = 0.1;

  static constexpr std::string_view name = "RobustDpo";
  constexpr auto generic() const { return MarginLoss{LogRatio{}, RobustLink{label_smoothing}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("label_smoothing", self.label_smoothing);
  }
};

/// DPO with a probability instead of a label for each pair, column `p_chosen` (DNO, Rosset et al. 2024,
/// arXiv:2404.03715). The column must be there: without it this would be `Dpo`.
struct SoftDpo {
  double beta = 0.1;

  static constexpr std::string_view name = "SoftDpo";
  constexpr auto generic() const { return MarginLoss{LogRatio{}, SoftLabelLink{}, beta}; }
  static constexpr Column needs = Column::reference | Column::p_chosen;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// max(0, 1 - beta margin): RSO's hinge-norm (Liu et al. 2023, arXiv:2309.06657, eq. 8). TRL: `hinge`.
struct HingeDpo {
  double beta = 0.1;

  static constexpr std::string_view name = "HingeDpo";
  constexpr auto generic() const { return MarginLoss{LogRatio{}, HingeLink{}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// exp(-beta margin): AdaBoost's loss on DPO's margin (GPO, Tang et al. 2024, arXiv:2402.05749).
struct ExponentialDpo {
  double beta = 0.1;

  static constexpr std::string_view name = "ExponentialDpo";
  constexpr auto generic() const { return MarginLoss{LogRatio{}, ExponentialLink{}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// (u_chosen - u_rejected - 1/(2 beta))^2 on SUMS over tokens, as the paper writes it (Azar et al. 2023,
/// arXiv:2310.12036, eq. 17). It needs no lengths and reads none. TRL's `ipo` divides by the lengths: that is
/// `IpoAveraged` (pitfall P1). There is no label smoothing in it, so there is no such member (pitfall P5).
struct Ipo {
  double beta = 0.1;

  static constexpr std::string_view name = "Ipo";
  constexpr auto generic() const { return MarginLoss{LogRatio{}, SquareLink{1 / (2 * beta)}, 1.0}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const {
    check_positive(name, "beta", beta);
    generic().check(name);
  }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// (u_chosen/n_chosen - u_rejected/n_rejected - 1/(2 beta))^2 on MEANS over tokens: IPO as TRL has computed it since
/// 2024. TRL: `ipo`. The formula on sums is `Ipo`.
struct IpoAveraged {
  double beta = 0.1;

  static constexpr std::string_view name = "IpoAveraged";
  constexpr auto parts() const { return MarginLoss{MeanLogRatio{}, SquareLink{1 / (2 * beta)}, 1.0}; }
  static constexpr Column needs = Column::reference | Column::lengths;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return parts()(p);
  }
  void check() const {
    check_positive(name, "beta", beta);
    parts().check(name);
  }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// -log sigma(beta (u_chosen/n_chosen - u_rejected/n_rejected)): DPO on means over tokens. TRL: `sigmoid_norm` (not
/// RSO's "sigmoid-norm", which is `Dpo`).
struct SigmoidNorm {
  double beta = 0.1;

  static constexpr std::string_view name = "SigmoidNorm";
  constexpr auto parts() const { return MarginLoss{MeanLogRatio{}, LogisticLink{}, beta}; }
  static constexpr Column needs = Column::reference | Column::lengths;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return parts()(p);
  }
  void check() const { parts().check(name); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// Reverse-KL preference optimisation on pairs (Ji et al. 2024, arXiv:2402.00856, eq. 16); `label_smoothing` in (0, 1).
/// TRL: `exo_pair`.
struct ExoPair {
  double beta = 0.1;
  double label_smoothing = 1e-3;

  static constexpr std::string_view name = "ExoPair";
  constexpr auto generic() const { return MarginLoss{LogRatio{}, ExoLink{label_smoothing}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("label_smoothing", self.label_smoothing);
  }
};

/// The loss that a language model discovered, `tau` > 0 (Lu et al. 2024, arXiv:2406.08414). TRL: `discopop`.
struct DiscoPop {
  double beta = 0.05;
  double tau = 0.05;

  static constexpr std::string_view name = "DiscoPop";
  constexpr auto generic() const { return MarginLoss{LogRatio{}, DiscoPopLink{tau}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("tau", self.tau);
  }
};

/// Noise-contrastive alignment for pairs (Chen et al. 2024, arXiv:2402.05369). TRL: `nca_pair`.
struct NcaPair {
  double beta = 0.01;

  static constexpr std::string_view name = "NcaPair";
  constexpr auto generic() const { return TwoScoreLoss{LogRatio{}, NcaLink{}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// Binary classifier optimisation for pairs (Jung et al. 2024, arXiv:2404.04656); `delta` is the running mean of
/// rewards (`RewardMoments`), a constant. TRL: `bco_pair` (delta = 0 since v0.25).
struct BcoPair {
  double beta = 0.1;
  double delta = 0;

  static constexpr std::string_view name = "BcoPair";
  constexpr auto generic() const { return TwoScoreLoss{LogRatio{}, BcoLink{delta}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const { generic().check(name); }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("delta", self.delta);
  }
};

/// (u_chosen - m)^2 + (u_rejected + m)^2, m = (win_probability - 1/2)/beta: self-play preference optimisation (Wu et
/// al. 2024, arXiv:2405.00675). `win_probability` in [0, 1]: of the chosen against the rejected; 1 is TRL's
/// `sppo_hard`.
struct Sppo {
  double beta = 0.1;
  double win_probability = 1;

  static constexpr std::string_view name = "Sppo";
  constexpr auto generic() const { return TwoScoreLoss{LogRatio{}, SppoLink{(win_probability - 0.5) / beta}, 1.0}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return generic()(p);
  }
  void check() const {
    check_positive(name, "beta", beta);
    check_range(name, "win_probability", win_probability, 0, 1);
    generic().check(name);
  }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("win_probability", self.win_probability);
  }
};

/// Anchored preference optimisation that raises the chosen and lowers the rejected (D'Oosterlinck et al. 2024,
/// arXiv:2408.06266). Always on the log-ratio, as in TRL: no other score can be chosen (pitfall P16). TRL: `apo_zero`.
struct ApoZero {
  double beta = 0.1;

  static constexpr std::string_view name = "ApoZero";
  constexpr auto parts() const { return TwoScoreLoss{LogRatio{}, ApoZeroLink{}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return parts()(p);
  }
  void check() const { parts().check(name); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// Anchored preference optimisation that lowers both, the rejected more (D'Oosterlinck et al. 2024, arXiv:2408.06266):
/// for data worse than the policy. Always on the log-ratio (pitfall P16). TRL: `apo_down`.
struct ApoDown {
  double beta = 0.1;

  static constexpr std::string_view name = "ApoDown";
  constexpr auto parts() const { return TwoScoreLoss{LogRatio{}, ApoDownLink{}, beta}; }
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return parts()(p);
  }
  void check() const { parts().check(name); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// -log sigma(beta (q_chosen/n_chosen - q_rejected/n_rejected) - gamma): reference-free, on mean log-probabilities,
/// with a target margin (Meng et al. 2024, arXiv:2405.14734, eq. 6). TRL: CPO's `simpo` (there beta = 0.1);
/// `label_smoothing` in [0, 0.5].
struct SimPo {
  double beta = 2;
  double gamma = 0.5;
  double label_smoothing = 0;

  static constexpr std::string_view name = "SimPo";
  constexpr auto parts() const { return MarginLoss{MeanLogProb{}, LabelSmoothedLink{label_smoothing}, beta, gamma}; }
  static constexpr Column needs = Column::lengths;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return parts()(p);
  }
  void check() const { parts().check(name); }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("gamma", self.gamma);
    f("label_smoothing", self.label_smoothing);
  }
};

/// SimPO on the reward (1 - exp(-alpha q/n))/alpha (Gupta et al. 2025, arXiv:2501.03884); alpha = 0 is SimPO. TRL:
/// CPO's `alphapo`. Log-probabilities must be of discrete outcomes (<= 0).
struct AlphaPo {
  double beta = 2;
  double gamma = 0.5;
  double alpha = 0.25;
  double label_smoothing = 0;

  static constexpr std::string_view name = "AlphaPo";
  constexpr auto parts() const {
    return MarginLoss{AlphaMeanLogProb{alpha}, LabelSmoothedLink{label_smoothing}, beta, gamma};
  }
  static constexpr Column needs = Column::lengths | Column::at_most_one;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return parts()(p);
  }
  void check() const { parts().check(name); }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("gamma", self.gamma);
    f("alpha", self.alpha);
    f("label_smoothing", self.label_smoothing);
  }
};

/// -log sigma(log-odds of the chosen - log-odds of the rejected) on mean log-probabilities: ORPO's second term (Hong et
/// al. 2024, arXiv:2403.07691, eq. 7), without its weight lambda; `orpo` is the whole. It has no hyper-parameter.
struct OddsRatio {
  static constexpr std::string_view name = "OddsRatio";
  constexpr auto parts() const { return MarginLoss{LogOdds{}, LogisticLink{}, 1.0}; }
  static constexpr Column needs = Column::lengths | Column::less_than_one;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return parts()(p);
  }
  void check() const { parts().check(name); }
  static void fields(auto&, auto&&) {}
};

/// Slic's calibration term max(0, delta - q_chosen + q_rejected), `delta` the target margin in nats (Zhao et al. 2023,
/// arXiv:2305.10425, eq. 1); reference-free. `slic` adds the regulariser.
struct SlicCalibration {
  double delta = 1;

  static constexpr std::string_view name = "SlicCalibration";
  static constexpr Column needs = Column::none;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    const T gap = scalar_t<T>(delta) - p.chosen + p.rejected;
    const T on = elementary::select(gap > T{}, splat<T>(1), T{});
    return {detail::positive_part(gap), T{} - on, on};
  }
  void check() const { check_finite(name, "delta", delta); }
  static void fields(auto& self, auto&& f) { f("delta", self.delta); }
};

/// -log sigma(beta (u_chosen - u_rejected - lambda max(0, -u_chosen))): DPO-Positive, which stops the chosen response
/// from losing probability (Pal et al. 2024, arXiv:2402.13228, eq. 3). The penalty stands inside the log-sigmoid
/// (pitfall P17); slope 0 of the penalty at its kink.
struct DpoPositive {
  double beta = 0.3;
  double lambda = 50;

  static constexpr std::string_view name = "DpoPositive";
  static constexpr Column needs = Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    using S = scalar_t<T>;
    const T chosen = p.chosen - p.ref_chosen, rejected = p.rejected - p.ref_rejected;
    const T z = S(beta) * ((chosen - rejected) - S(lambda) * detail::positive_part(-chosen));
    const ValueAndSlope<T> l = LogisticLink{}(z);
    const T d = S(beta) * l.slope;
    return {l.value, d * elementary::select(chosen < T{}, splat<T>(S(1 + lambda)), splat<T>(1)), -d};
  }
  void check() const {
    check_positive(name, "beta", beta);
    if (!(lambda >= 0 && lambda <= 1e300)) fail(name, "lambda is {}; expected a finite number of at least 0", lambda);
  }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("lambda", self.lambda);
  }
};

/// -log pi(chosen), summed over tokens: supervised fine-tuning on the chosen responses, mean over sequences. The other
/// two means, which differ: `TokenMeanSft` and `BatchTokenMeanSft`. On other responses than the chosen: `BaseSft`.
struct Sft {
  static constexpr std::string_view name = "Sft";
  static constexpr Column needs = Column::none;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    return {-p.chosen, splat<T>(-1), T{}};
  }
};

/// -log pi(chosen)/n: the mean over a response's tokens, then the mean over responses.
struct TokenMeanSft {
  static constexpr std::string_view name = "TokenMeanSft";
  static constexpr Column needs = Column::chosen_length;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    const T inverse = scalar_t<T>(1) / p.chosen_length;
    return {-(p.chosen * inverse), -inverse, T{}};
  }
};

}  // namespace valence
