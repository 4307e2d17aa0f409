#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/evaluate.hpp"
#include "valence/preference/links.hpp"

/// Losses that couple a batch: means over all tokens, sorting, a batch's KL, and losses of single responses. Each is a
/// `BatchLoss` and says in `needs` which parts it reads.
namespace valence {

// ---------------------------------------------------------------- supervised terms

/// -sum_i w_i log pi(chosen_i) / sum_i n_i: what TRL's `sft` term and CPO's and ORPO's NLL compute. A long response
/// counts more than in `Sft` or `TokenMeanSft`.
struct BatchTokenMeanSft {
  static constexpr std::string_view name = "BatchTokenMeanSft";
  static constexpr Column needs = Column::pairs | Column::chosen_length;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    double tokens = 0, sum = 0;
    for (const S n : in.pairs.chosen_length) tokens += static_cast<double>(n);
    const double scale = factor / tokens;
    const bool weighted = !in.pairs.weight.empty();
    for (std::size_t i = 0; i < in.pairs.chosen.size(); ++i) {
      const double w = weighted ? static_cast<double>(in.pairs.weight[i]) : 1.0;
      sum -= w * static_cast<double>(in.pairs.chosen[i]);
      if (!out.chosen.empty()) out.chosen[i] -= static_cast<S>(scale * w);
    }
    return factor * (sum / tokens);
  }
};

/// The three means of a negative log-likelihood. They differ when lengths do.
enum class SftReduction {
  sequence_mean,    ///< mean of -q
  token_mean,       ///< mean of -q/n
  batch_token_mean  ///< -sum of q / sum of n
};

/// Supervised fine-tuning on the samples of `base`, which may be others than the pairs' (demonstrations, gold answers,
/// the reference's own). The token means need `base.length`.
struct BaseSft {
  SftReduction reduction = SftReduction::sequence_mean;

  static constexpr std::string_view name = "BaseSft";
  static constexpr Column needs = Column::base;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    const std::size_t n = in.base.log_prob.size();
    double total = static_cast<double>(n), sum = 0;
    if (reduction == SftReduction::batch_token_mean) {
      total = 0;
      for (const S length : in.base.length) total += static_cast<double>(length);
    }
    for (std::size_t i = 0; i < n; ++i) {
      double w = in.base.weight.empty() ? 1.0 : static_cast<double>(in.base.weight[i]);
      if (reduction == SftReduction::token_mean) w /= static_cast<double>(in.base.length[i]);
      sum -= w * static_cast<double>(in.base.log_prob[i]);
      if (!out.base.empty()) out.base[i] -= static_cast<S>(factor * w / total);
    }
    return factor * (sum / total);
  }
  template <class S>
  void check(const PreferenceBatch<S>& in) const {
    if (reduction == SftReduction::sequence_mean) return;
    const detail::Where where{this, [](const void*) { return std::string(name); }};
    detail::check_lengths(where, "base.length", in.base.length, in.base.log_prob.size(), true);
  }
  static void fields(auto& self, auto&& f) { f("reduction", self.reduction); }
};

/// Mean of log pi over the samples of `base`: the bonus of XPO (arXiv:2405.21046) and VPO (arXiv:2405.19320), whose
/// sign the composition gives. It is -`BaseSft`.
struct LogProbMean {
  static constexpr std::string_view name = "LogProbMean";
  static constexpr Column needs = Column::base;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    return BaseSft{}.accumulate(in, out, -factor);
  }
};

// ---------------------------------------------------------------- sorted margins

namespace detail {

/// A number and where it came from. Comparing both makes an unstable sort stable, without a buffer.
template <class S>
using Ranked = std::pair<S, std::uint32_t>;

/// Memory for sorting, kept from call to call by each thread: in steady state nothing is allocated.
template <class S>
struct SortWorkspace {
  std::vector<Ranked<S>> a, b;
};
template <class S>
SortWorkspace<S>& sort_workspace() {
  thread_local SortWorkspace<S> workspace;
  return workspace;
}

template <class S>
void sort_differences(std::span<const S> x, std::span<const S> y, std::vector<Ranked<S>>& out) {
  out.resize(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = {x[i] - y[i], static_cast<std::uint32_t>(i)};
  std::sort(out.begin(), out.end());
}

}  // namespace detail

/// Alignment by optimal transport (Melnyk et al. 2024, arXiv:2406.05882): the policy's margins, sorted, are held
/// against the reference's margins, sorted; the gradient goes back through the policy's order. Of equal margins the
/// earlier pair comes first. One pair: `Cdpo`. TRL: `aot` (called `aot_pair` up to v0.24).
struct Aot {
  double beta = 0.1;
  double label_smoothing = 0;

  static constexpr std::string_view name = "Aot";
  static constexpr Column needs = Column::pairs | Column::reference | Column::unweighted;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    auto& [policy, reference] = detail::sort_workspace<S>();
    detail::sort_differences(in.pairs.chosen, in.pairs.rejected, policy);
    detail::sort_differences(in.pairs.ref_chosen, in.pairs.ref_rejected, reference);
    const double n = static_cast<double>(policy.size());
    double sum = 0;
    for (std::size_t k = 0; k < policy.size(); ++k) {
      const ValueAndSlope<S> l = LabelSmoothedLink{label_smoothing}(S(beta) * (policy[k].first - reference[k].first));
      const S d = S(factor * beta / n) * l.slope;
      sum += static_cast<double>(l.value);
      if (!out.chosen.empty()) out.chosen[policy[k].second] += d;
      if (!out.rejected.empty()) out.rejected[policy[k].second] -= d;
    }
    return factor * (sum / n);
  }
  void check() const {
    check_positive(name, "beta", beta);
    LabelSmoothedLink{label_smoothing}.check(name);
  }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("label_smoothing", self.label_smoothing);
  }
};

/// The same for unpaired data: the chosen's log-ratios, sorted, against the rejected's, sorted. TRL: `aot_unpaired`
/// (called `aot` up to v0.24).
struct AotUnpaired {
  double beta = 0.1;
  double label_smoothing = 0;

  static constexpr std::string_view name = "AotUnpaired";
  static constexpr Column needs = Column::pairs | Column::reference | Column::unweighted;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    auto& [chosen, rejected] = detail::sort_workspace<S>();
    detail::sort_differences(in.pairs.chosen, in.pairs.ref_chosen, chosen);
    detail::sort_differences(in.pairs.rejected, in.pairs.ref_rejected, rejected);
    const double n = static_cast<double>(chosen.size());
    double sum = 0;
    for (std::size_t k = 0; k < chosen.size(); ++k) {
      const ValueAndSlope<S> l = LabelSmoothedLink{label_smoothing}(S(beta) * (chosen[k].first - rejected[k].first));
      const S d = S(factor * beta / n) * l.slope;
      sum += static_cast<double>(l.value);
      if (!out.chosen.empty()) out.chosen[chosen[k].second] += d;
      if (!out.rejected.empty()) out.rejected[rejected[k].second] -= d;
    }
    return factor * (sum / n);
  }
  void check() const {
    check_positive(name, "beta", beta);
    LabelSmoothedLink{label_smoothing}.check(name);
  }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("label_smoothing", self.label_smoothing);
  }
};

// ---------------------------------------------------------------- single responses

namespace detail {

/// lambda link(s (beta u - shift)), s = +1 for a desirable response and -1 for another. It reads a response as the
/// chosen of a pair, and its label as `p_chosen`, so that the driver of pairs runs it.
template <class Link>
struct SingleTerm {
  Link link;
  double beta, shift, desirable_weight, undesirable_weight;

  static constexpr Column needs = Column::reference | Column::p_chosen;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    using S = scalar_t<T>;
    const auto desirable = p.p_chosen > splat<T>(S(0.5));
    const T sign = elementary::select(desirable, splat<T>(1), splat<T>(-1));
    const T lambda = elementary::select(desirable, splat<T>(S(desirable_weight)), splat<T>(S(undesirable_weight)));
    const ValueAndSlope<T> l = link(sign * (S(beta) * (p.chosen - p.ref_chosen) - S(shift)));
    return {lambda * l.value, lambda * sign * S(beta) * l.slope, T{}};
  }
};

template <class Link, class S>
double accumulate_single(const SingleTerm<Link>& term, const SingleBatch<S>& in, std::span<S> out, double factor) {
  const std::size_t n = in.log_prob.size();
  const S scale = static_cast<S>(factor / static_cast<double>(n));
  constexpr std::size_t block = 512;  // labels become numbers a block at a time
  S labels[block];
  double sum = 0;
  for (std::size_t begin = 0; begin < n; begin += block) {
    const std::size_t count = (std::min)(block, n - begin);
    for (std::size_t i = 0; i < count; ++i) labels[i] = in.desirable[begin + i] ? S(1) : S(0);
    PairPointers<S> at{};
    at.chosen = at.rejected = in.log_prob.data() + begin;
    at.ref_chosen = at.ref_rejected = in.ref_log_prob.data() + begin;
    at.p_chosen = labels;
    if (!in.weight.empty()) at.weight = in.weight.data() + begin;
    if (!out.empty()) at.d_chosen = out.data() + begin;
    sum += run_pairs(term, at, count, scale, true);
  }
  return factor * (sum / static_cast<double>(n));
}

/// Mean of x - y, in double.
template <class S>
double mean_difference(std::span<const S> x, std::span<const S> y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x[i]) - static_cast<double>(y[i]);
  return sum / static_cast<double>(x.size());
}

inline double positive_or_zero(double x) { return x > 0 ? x : 0; }

}  // namespace detail

/// One batch's estimate of KL(policy, reference) from mismatched responses: the mean of log pi - log pi_ref (nats),
/// which may be negative. Average the estimates of several batches (a plain mean, not the last one: pitfall P8) and
/// give the mean to `KtoAt`.
template <class S>
double kl_estimate(const SingleBatch<S>& mismatched) {
  const detail::Where where{nullptr, [](const void*) { return std::string("kl_estimate"); }};
  detail::check_batch(where, Column::kl, PreferenceBatch<S>{.kl = mismatched});
  return detail::mean_difference(mismatched.log_prob, mismatched.ref_log_prob);
}

/// `Kto` with the KL reference point given as a number: for estimates averaged over batches or workers. Negative
/// estimates are held at 0, as in the paper.
struct KtoAt {
  double kl;  ///< nats; no default, it must be estimated
  double beta = 0.1;
  double desirable_weight = 1, undesirable_weight = 1;

  static constexpr std::string_view name = "KtoAt";
  static constexpr Column needs = Column::unpaired;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    const detail::SingleTerm<OneMinusSigmoidLink> term{
        {}, beta, beta * detail::positive_or_zero(kl), desirable_weight, undesirable_weight};
    return detail::accumulate_single(term, in.unpaired, out.unpaired, factor);
  }
  void check() const {
    check_finite(name, "kl", kl);
    check_positive(name, "beta", beta);
    check_finite(name, "desirable_weight", desirable_weight);
    check_finite(name, "undesirable_weight", undesirable_weight);
  }
  static void fields(auto& self, auto&& f) {
    f("kl", self.kl);
    f("beta", self.beta);
    f("desirable_weight", self.desirable_weight);
    f("undesirable_weight", self.undesirable_weight);
  }
};

/// Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306, eqs. 7-8) of single responses:
/// lambda_D sigma(-beta (u - z0)) for desirable, lambda_U sigma(-beta (z0 - u)) for undesirable ones, mean over both
/// groups. z0 = max(0, mean of log pi - log pi_ref over `kl`) comes from mismatched responses (`mismatched_pairing`),
/// never from the matched ones, and is a constant (pitfall P9). Without `kl` it throws (P6); a batch of one group only
/// is fine. TRL: KTO's `kto`.
struct Kto {
  double beta = 0.1;
  double desirable_weight = 1, undesirable_weight = 1;

  static constexpr std::string_view name = "Kto";
  static constexpr Column needs = Column::unpaired | Column::kl;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    const double kl = detail::mean_difference(in.kl.log_prob, in.kl.ref_log_prob);
    return KtoAt{kl, beta, desirable_weight, undesirable_weight}.accumulate(in, out, factor);
  }
  void check() const {
    check_positive(name, "beta", beta);
    check_finite(name, "desirable_weight", desirable_weight);
    check_finite(name, "undesirable_weight", undesirable_weight);
  }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("desirable_weight", self.desirable_weight);
    f("undesirable_weight", self.undesirable_weight);
  }
};

/// sigma(-beta u) for desirable and sigma(beta u) for undesirable responses: `Kto` with its reference point at 0. TRL:
/// KTO's `apo_zero_unpaired`.
struct ApoZeroUnpaired {
  double beta = 0.1;

  static constexpr std::string_view name = "ApoZeroUnpaired";
  static constexpr Column needs = Column::unpaired;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    return KtoAt{0, beta}.accumulate(in, out, factor);
  }
  void check() const { check_positive(name, "beta", beta); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};

/// KTO on pairs as TRL had it up to v0.8: the chosen is measured against z0 = max(0, mean u_rejected), the rejected
/// against max(0, mean u_chosen), both of the same batch (which pitfall P9 is about: prefer `Kto`); mean over 2n terms.
struct KtoPair {
  double beta = 0.1;

  static constexpr std::string_view name = "KtoPair";
  static constexpr Column needs = Column::pairs | Column::reference;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    const auto& p = in.pairs;
    const Terms terms{beta, detail::positive_or_zero(detail::mean_difference(p.rejected, p.ref_rejected)),
                      detail::positive_or_zero(detail::mean_difference(p.chosen, p.ref_chosen))};
    return detail::accumulate_pairs(terms, p, std::span<const S>{}, out, factor);
  }
  void check() const { check_positive(name, "beta", beta); }
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }

 private:
  struct Terms {
    double beta, chosen_zero, rejected_zero;
    static constexpr Column needs = Column::reference;
    template <class T>
    PairLoss<T> operator()(const Pair<T>& p) const {
      using S = scalar_t<T>;
      const OneMinusSigmoidLink link;
      const ValueAndSlope<T> chosen = link(S(beta) * (p.chosen - p.ref_chosen - S(chosen_zero)));
      const ValueAndSlope<T> rejected = link(S(beta) * (S(rejected_zero) - (p.rejected - p.ref_rejected)));
      return {S(0.5) * (chosen.value + rejected.value), S(0.5 * beta) * chosen.slope,
              -(S(0.5 * beta) * rejected.slope)};
    }
  };
};

/// Binary classifier optimisation of single responses (Jung et al. 2024, arXiv:2404.04656): sp(-(beta u - delta)) for
/// desirable, sp(beta u - delta) for undesirable ones. `delta` is the running mean of rewards, updated with this batch
/// BEFORE the loss: `moments.add(...)`, then `Bco{.beta = .., .delta = moments.mean}` (`RewardMoments`). The
/// density-ratio weights of the undesirable (`bco_density_weight`) go into `unpaired.weight`. TRL: BCO.
struct Bco {
  double beta = 0.1;
  double delta = 0;

  static constexpr std::string_view name = "Bco";
  static constexpr Column needs = Column::unpaired;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    const detail::SingleTerm<LogisticLink> term{{}, beta, delta, 1, 1};
    return detail::accumulate_single(term, in.unpaired, out.unpaired, factor);
  }
  void check() const {
    check_positive(name, "beta", beta);
    check_finite(name, "delta", delta);
  }
  static void fields(auto& self, auto&& f) {
    f("beta", self.beta);
    f("delta", self.delta);
  }
};

/// Running mean and variance of implicit rewards beta (log pi - log pi_ref), for BCO's `delta`. It starts as TRL's
/// does, with next to no weight on mean 0 and variance 1.
struct RewardMoments {
  double mean = 0, variance = 1, count = 1e-24;  ///< `variance` divides by the count

  /// Adds a batch of rewards (Chan, Golub and LeVeque's update). Throws for an empty batch and numbers that are not
  /// finite.
  template <class S>
  void add(double beta, std::span<const S> log_prob, std::span<const S> ref_log_prob) {
    check_positive("RewardMoments", "beta", beta);
    if (log_prob.empty()) fail("RewardMoments", "log_prob is empty; expected at least one response");
    check_size("RewardMoments", "ref_log_prob", ref_log_prob.size(), log_prob.size());
    check_finite("RewardMoments", "log_prob", log_prob);
    check_finite("RewardMoments", "ref_log_prob", ref_log_prob);
    const double n = static_cast<double>(log_prob.size());
    const double batch_mean = beta * detail::mean_difference(log_prob, ref_log_prob);
    double squares = 0;
    for (std::size_t i = 0; i < log_prob.size(); ++i) {
      const double e = beta * (static_cast<double>(log_prob[i]) - static_cast<double>(ref_log_prob[i])) - batch_mean;
      squares += e * e;
    }
    const double total = count + n, gap = batch_mean - mean;
    variance = (variance * count + squares + gap * gap * count * n / total) / total;
    mean += gap * n / total;
    count = total;
  }
  template <class S>
  void add(double beta, const SingleBatch<S>& batch) {
    add(beta, batch.log_prob, batch.ref_log_prob);
  }
  /// Unbiased (divides by count - 1); 0 for a single response.
  double standard_deviation() const { return count > 1.5 ? std::sqrt(variance * count / (count - 1)) : 0; }
  void archive(auto& ar) { ar(mean, variance, count); }
};

/// BCO's weight of an undesirable response whose prompt a classifier takes to come from the desirable ones with
/// probability p in [0, 1]: p/(1 - p), held within [0.5, 10] as in the paper.
inline double bco_density_weight(double p) {
  check_range("bco_density_weight", "p", p, 0, 1);
  const double ratio = p / (1 - p + 1e-8);
  return ratio < 0.5 ? 0.5 : ratio > 10 ? 10 : ratio;
}

}  // namespace valence
