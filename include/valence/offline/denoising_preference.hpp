#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/policy/ddpm.hpp"
#include "valence/preference/algebra.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/concepts.hpp"
#include "valence/preference/evaluate.hpp"
#include "valence/preference/segment_pairs.hpp"

/// Diffusion models tuned to preferences, by any preference loss: the loss as a function of the noise predictor's
/// parameters, with its gradient. Two ways to give a sample a log-probability: `SegmentObjective` takes the steps that
/// made it, `DenoisingPairObjective` needs only the sample.
namespace valence {

/// A preference loss on the steps of two runs of the chain, judged once by their final samples (D3PO, Yang et al. 2023,
/// arXiv:2311.13231). All steps of all pairs are one batch, as the authors' code accumulates them before the optimizer
/// moves, so the order in which they are visited doesn't matter.
///
///     SegmentObjective objective{ddpm, clip_ratio(0.1, Dpo{.beta = 0.1})};
///     objective(theta, first, second, preference, gradient);
template <Approximator F, Loss L>
class SegmentObjective {
 public:
  using Scalar = typename F::Scalar;
  using Runs = DenoisingRuns<Scalar>;

  SegmentObjective(Ddpm<F> ddpm, L loss) : ddpm_(std::move(ddpm)), loss_(std::move(loss)) {}

  /// The mean over pairs and steps, with its gradient in `gradient` (overwritten). `preference[i]`: 1 where run i of
  /// `first` is preferred to run i of `second`, -1 the other way round, 0 a tie, which has no gradient. `reference`:
  /// the parameters of pi_ref; empty: the policy that made the runs, whose log-probabilities they hold. Throws `Error`
  /// for runs of different number or length, another preference, and whatever the loss refuses.
  double operator()(std::span<const Scalar> theta, const Runs& first, const Runs& second,
                    std::span<const int> preference, std::span<Scalar> gradient,
                    std::span<const Scalar> reference = {}) {
    constexpr std::string_view where = "SegmentObjective";
    check_size(where, "gradient", gradient.size(), ddpm_.parameter_count());
    for (const Runs* runs : {&first, &second})
      check_shape(where, "runs", runs->count(), runs->steps(), static_cast<std::ptrdiff_t>(preference.size()),
                  ddpm_.steps());
    take(theta, reference, first, first_);
    take(theta, reference, second, second_);
    const double value =
        pairs_(loss_, preference, {first_.log_prob, second_.log_prob, first_.reference, second_.reference},
               std::span<Scalar>(first_.d), std::span<Scalar>(second_.d));
    for (Scalar& g : gradient) g = Scalar(0);
    for (Side* side : {&first_, &second_})
      for (int t = 1; t <= ddpm_.steps(); ++t)
        ddpm_.pullback_log_prob(theta, side->tapes[static_cast<std::size_t>(t - 1)],
                                step<const Scalar>(side->d, t, preference.size()), gradient);
    return value;
  }

 private:
  struct Side {
    std::vector<typename Ddpm<F>::Tape> tapes;   // one a step
    std::vector<Scalar> log_prob, reference, d;  // step after step
  };

  template <class T, class Column>
  static std::span<T> step(Column& column, int t, std::size_t count) {
    return std::span<T>(column).subspan(static_cast<std::size_t>(t - 1) * count, count);
  }
  void take(std::span<const Scalar> theta, std::span<const Scalar> reference, const Runs& runs, Side& side) {
    side.tapes.resize(static_cast<std::size_t>(ddpm_.steps()));
    const Scalar* const ran = runs.log_prob.data();
    side.reference.assign(ran, ran + runs.log_prob.size());
    side.log_prob.resize(side.reference.size());
    side.d.resize(side.reference.size());
    if (!reference.empty()) log_probs(reference, runs, side, side.reference);
    log_probs(theta, runs, side, side.log_prob);  // last: the tapes are read by the pullback
  }
  void log_probs(std::span<const Scalar> theta, const Runs& runs, Side& side, std::vector<Scalar>& out) {
    for (int t = 1; t <= ddpm_.steps(); ++t)
      ddpm_.log_prob(theta, t, runs.states[static_cast<std::size_t>(t)], runs.states[static_cast<std::size_t>(t - 1)],
                     side.tapes[static_cast<std::size_t>(t - 1)],
                     step<Scalar>(out, t, static_cast<std::size_t>(runs.count())));
  }

  Ddpm<F> ddpm_;
  L loss_;
  Side first_, second_;
  SegmentPairs<Scalar> pairs_;
};

/// A preference loss on pairs of samples, minus the denoising error standing for a log-probability (Diffusion-DPO,
/// Wallace et al. 2023, arXiv:2311.12908, equation 14): `Dpo` with true losers is Diffusion-DPO, with samples of the
/// reference SPIN-Diffusion, `Seppo` SePPO, `Sft` the denoising loss on the winners. A pair's two samples share step
/// and noise, which are drawn anew at each call.
template <Approximator F, Loss L>
class DenoisingPairObjective {
 public:
  using Scalar = typename F::Scalar;

  DenoisingPairObjective(Ddpm<F> ddpm, L loss) : ddpm_(std::move(ddpm)), loss_(std::move(loss)) {}

  /// The loss on pairs (chosen_j, rejected_j), both dimensions x n, with its gradient in `gradient` (overwritten).
  /// `reference`: the parameters of pi_ref; not read by losses without a reference (`Sft`). n uniform draws of steps
  /// and n x dimensions normals. Throws `Error` for shapes that don't fit, samples that aren't finite, and whatever the
  /// loss refuses.
  double operator()(std::span<const Scalar> theta, std::span<const Scalar> reference, const Matrix<Scalar>& chosen,
                    const Matrix<Scalar>& rejected, std::span<Scalar> gradient, Rng& rng) {
    constexpr std::string_view where = "DenoisingPairObjective";
    check_size(where, "gradient", gradient.size(), ddpm_.parameter_count());
    check_shape(where, "chosen", chosen.rows(), chosen.cols(), ddpm_.dimensions(), chosen.cols());
    check_shape(where, "rejected", rejected.rows(), rejected.cols(), chosen.rows(), chosen.cols());
    check_finite(where, "chosen", view(chosen));
    check_finite(where, "rejected", view(rejected));
    const auto n = static_cast<std::size_t>(chosen.cols());
    t_.resize(n);
    noise_.resize(chosen.rows(), chosen.cols());
    for (int& t : t_) t = 1 + rng.below(ddpm_.steps());
    rng.fill_normal(view(noise_));
    if constexpr (has(detail::batch_needs<L>(), Column::reference)) {
      log_probs(reference, chosen, chosen_, chosen_.reference);
      log_probs(reference, rejected, rejected_, rejected_.reference);
    }
    log_probs(theta, chosen, chosen_, chosen_.log_prob);
    log_probs(theta, rejected, rejected_, rejected_.log_prob);
    chosen_.d.resize(n);
    rejected_.d.resize(n);
    const PairBatch<Scalar> pairs{.chosen = chosen_.log_prob,
                                  .rejected = rejected_.log_prob,
                                  .ref_chosen = chosen_.reference,
                                  .ref_rejected = rejected_.reference};
    const double value = evaluate(loss_, pairs, {.chosen = chosen_.d, .rejected = rejected_.d});
    for (Scalar& g : gradient) g = Scalar(0);
    for (Side* side : {&chosen_, &rejected_}) {
      for (Scalar& d : side->d) d = -d;
      ddpm_.pullback_denoising_errors(theta, side->tape, side->d, gradient);
    }
    return value;
  }

 private:
  struct Side {
    typename Ddpm<F>::Tape tape;
    std::vector<Scalar> log_prob, reference, d;
  };

  void log_probs(std::span<const Scalar> theta, const Matrix<Scalar>& x0, Side& side, std::vector<Scalar>& out) {
    out.resize(t_.size());
    ddpm_.denoising_errors(theta, x0, t_, noise_, side.tape, out);
    for (Scalar& q : out) q = -q;
  }

  Ddpm<F> ddpm_;
  L loss_;
  std::vector<int> t_;
  Matrix<Scalar> noise_;
  Side chosen_, rejected_;
};

}  // namespace valence
