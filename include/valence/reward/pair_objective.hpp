#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/concepts.hpp"
#include "valence/preference/evaluate.hpp"

/// Any model with one output a sample, trained on pairs by any preference loss. The samples of a batch are candidates
/// (answers, items, segments); pairs are indices into them, so a candidate that stands in many pairs is computed once.
///
/// The outputs are used in one of two ways:
/// - as scores (`candidates` = 0): a reward model. Losses: `BradleyTerry`, `Thurstone`, any reference-free margin loss.
/// - as logits of a policy (`candidates` = m > 0): the batch consists of sets of m candidates, one set a prompt,
/// samples
///   k m, ..., k m + m - 1 of prompt k, and the loss reads log pi(y | x) = log_softmax of the set. Losses: all of the
/// algebra.
namespace valence {

/// Which samples of a batch were compared. One entry a pair.
template <class S>
struct IndexPairs {
  std::span<const int> chosen, rejected;  ///< samples, in [0, batch); for a policy both in one set
  std::span<const S> p_chosen = {};       ///< probability that `chosen` is the better one, in [0, 1]; empty: 1
  std::span<const S> weight = {};         ///< >= 0; empty: 1
  std::span<const S> chosen_length = {}, rejected_length = {};  ///< scored tokens, >= 1; empty: not known
};

/// Single samples of a batch: those of a baseline, calibration or demonstration distribution, which losses read as
/// `base`. One entry a response.
template <class S>
struct IndexSamples {
  std::span<const int> sample = {};  ///< in [0, batch)
  std::span<const S> weight = {};    ///< >= 0; empty: 1
  std::span<const S> length = {};    ///< scored tokens, >= 1; empty: not known
};

namespace detail {

/// The samples `columns` of a batch, in a workspace. Models with other batches add an overload in their own namespace.
template <class S>
void gather(const Matrix<S>& x, std::span<const int> columns, Matrix<S>& out) {
  out.resize(x.rows(), static_cast<Eigen::Index>(columns.size()));
  for (std::size_t i = 0; i < columns.size(); ++i) out.col(static_cast<Eigen::Index>(i)) = x.col(columns[i]);
}
template <class T>
void gather(const std::span<const T>& x, std::span<const int> columns, std::vector<T>& out) {
  out.resize(columns.size());
  for (std::size_t i = 0; i < columns.size(); ++i) out[i] = x[static_cast<std::size_t>(columns[i])];
}
template <class T>
void gather(const std::vector<T>& x, std::span<const int> columns, std::vector<T>& out) {
  gather(std::span<const T>(x), columns, out);
}
template <class Batch>
struct GatheredBatch {
  using type = Batch;
};
template <class T>
struct GatheredBatch<std::span<const T>> {
  using type = std::vector<T>;
};

}  // namespace detail

/// The mean loss over pairs as a function of the model's parameters, with its gradient. Holds the scratch: in steady
/// state it allocates nothing. `S` is the model's scalar.
template <Approximator F, Loss L>
class PairObjective {
 public:
  using Scalar = typename F::Scalar;
  using Batch = typename F::Batch;

  /// `candidates`: 0 for scores, or the size of each prompt's set (>= 2). Throws `Error` for a model whose output is
  /// not one number, or another number of candidates.
  PairObjective(F model, L loss, int candidates = 0)
      : model_(std::move(model)), loss_(std::move(loss)), candidates_(candidates) {
    if (model_.output_size() != 1)
      fail(where, "the model has {} outputs; expected 1, the score of a sample",
           static_cast<int>(model_.output_size()));
    if (candidates < 0 || candidates == 1)
      fail(where, "candidates is {}; expected 0 (scores) or the size of a set, at least 2", candidates);
  }

  /// Throws `Error` for pairs that don't fit the batch of the last forward: lengths that differ, an index out of range,
  /// a pair across two sets.
  void check(const IndexPairs<Scalar>& pairs) const {
    const bool sets = candidates_ > 0 && static_cast<std::size_t>(candidates_) < scores_.size();
    check_size(where, "rejected", pairs.rejected.size(), pairs.chosen.size());
    for (std::size_t k = 0; k < pairs.chosen.size(); ++k) {
      const int a = pairs.chosen[k], b = pairs.rejected[k];
      check_sample("chosen", k, a);
      check_sample("rejected", k, b);
      if (sets && a / candidates_ != b / candidates_)
        fail(where, "chosen[{}] is {} and rejected[{}] is {}: they are in different sets of {} candidates", k, a, k, b,
             candidates_);
    }
  }

  const F& model() const { return model_; }
  std::size_t samples() const { return scores_.size(); }  ///< of the last forward
  int candidates() const { return candidates_; }

  /// The scores of a batch, or its log-probabilities: one number a sample, valid until the next call.
  std::span<const Scalar> scores(std::span<const Scalar> theta, const Batch& x) {
    const Outputs<Scalar> y = model_.forward(theta, x, tape_);
    const auto n = static_cast<std::size_t>(y.cols());
    scores_.resize(n);
    if (candidates_ == 0) {
      for (std::size_t i = 0; i < n; ++i) scores_[i] = y.data()[i];
    } else {
      const auto m = static_cast<std::size_t>(candidates_);
      if (n % m != 0) fail(where, "the batch has {} samples; expected a multiple of the {} candidates of a set", n, m);
      for (std::size_t begin = 0; begin < n; begin += m)
        log_softmax(std::span<const Scalar>(y.data() + begin, m), std::span<Scalar>(scores_).subspan(begin, m));
    }
    return scores_;
  }

  /// The loss, with its gradient in `gradient` (overwritten). `reference`: log pi_ref of each sample; empty: the
  /// uniform policy for sets of candidates, and no reference for scores. `base`: for losses that read single responses
  /// besides the pairs, or instead of them. `kl`: mismatched responses, through which no gradient goes (for `Kto`). A
  /// loss of single responses that are desirable or not reads the chosen ones as desirable and the rejected ones as
  /// not. Throws `Error` for an index out of range, a pair across two sets, and whatever the loss refuses.
  double operator()(std::span<const Scalar> theta, const Batch& x, const IndexPairs<Scalar>& pairs,
                    std::span<Scalar> gradient, std::span<const Scalar> reference = {},
                    const IndexSamples<Scalar>& base = {}, const IndexSamples<Scalar>& kl = {}) {
    check_size(where, "gradient", gradient.size(), model_.parameter_count());
    scores(theta, x);
    const std::size_t samples = scores_.size(), n = pairs.chosen.size();
    if (!reference.empty()) check_size(where, "reference", reference.size(), samples);
    const bool uniform = reference.empty() && candidates_ > 0, has_reference = uniform || !reference.empty();
    const Scalar shift = candidates_ > 0 ? -std::log(static_cast<Scalar>(candidates_)) : Scalar(0);
    check(pairs);
    // The pairs' responses, the chosen ones first: halves for losses of pairs, whole for losses of single responses.
    for (std::vector<Scalar>* column : {&judged_, &ref_judged_, &d_judged_}) column->resize(2 * n);
    for (std::size_t k = 0; k < 2 * n; ++k) {
      const auto i = static_cast<std::size_t>(k < n ? pairs.chosen[k] : pairs.rejected[k - n]);
      judged_[k] = scores_[i];
      ref_judged_[k] = reference.empty() ? shift : reference[i];
    }
    const auto half = [n](auto& column, bool second) { return std::span(column).subspan(second ? n : 0, n); };
    PairBatch<Scalar> batch{.chosen = half(judged_, false),
                            .rejected = half(judged_, true),
                            .chosen_length = pairs.chosen_length,
                            .rejected_length = pairs.rejected_length,
                            .p_chosen = pairs.p_chosen,
                            .weight = pairs.weight};
    if (pairs.p_chosen.empty()) {
      ones_.assign(n, Scalar(1));
      batch.p_chosen = ones_;
    }
    SingleBatch<Scalar> judged{.log_prob = judged_};
    if (static_cast<std::size_t>(desirable_.size()) != 2 * n) {
      desirable_.resize(static_cast<Eigen::Index>(2 * n));
      for (std::size_t k = 0; k < 2 * n; ++k) desirable_[static_cast<Eigen::Index>(k)] = k < n;
    }
    judged.desirable = {desirable_.data(), 2 * n};
    if (!pairs.weight.empty()) {
      check_size(where, "weight", pairs.weight.size(), n);
      weight_.resize(2 * n);
      for (std::size_t k = 0; k < 2 * n; ++k) weight_[k] = pairs.weight[k % n];
      judged.weight = weight_;
    }
    if (has_reference) {
      batch.ref_chosen = half(ref_judged_, false);
      batch.ref_rejected = half(ref_judged_, true);
      judged.ref_log_prob = ref_judged_;
    }
    const auto single = [&](std::string_view side, const IndexSamples<Scalar>& from, std::vector<Scalar>& log_prob,
                            std::vector<Scalar>& ref_log_prob) {
      log_prob.resize(from.sample.size());
      ref_log_prob.resize(from.sample.size());
      for (std::size_t k = 0; k < from.sample.size(); ++k) {
        check_sample(side, k, from.sample[k]);
        const auto i = static_cast<std::size_t>(from.sample[k]);
        log_prob[k] = scores_[i];
        ref_log_prob[k] = reference.empty() ? shift : reference[i];
      }
      SingleBatch<Scalar> out{.log_prob = log_prob, .length = from.length, .weight = from.weight};
      if (has_reference) out.ref_log_prob = ref_log_prob;
      return out;
    };
    const PreferenceBatch<Scalar> all{.pairs = batch,
                                      .unpaired = judged,
                                      .base = single("base", base, base_, ref_base_),
                                      .kl = single("kl", kl, kl_, ref_kl_)};
    const std::size_t singles = base.sample.size();
    d_base_.resize(singles);
    // A response's derivative as one of a pair and as a single one add up in one place.
    const double value = evaluate(
        loss_, all,
        {.chosen = half(d_judged_, false), .rejected = half(d_judged_, true), .unpaired = d_judged_, .base = d_base_});
    d_scores_.assign(samples, Scalar(0));
    for (std::size_t k = 0; k < singles; ++k) d_scores_[static_cast<std::size_t>(base.sample[k])] += d_base_[k];
    for (std::size_t k = 0; k < 2 * n; ++k)
      d_scores_[static_cast<std::size_t>(k < n ? pairs.chosen[k] : pairs.rejected[k - n])] += d_judged_[k];
    if (candidates_ > 0) {  // through the log-softmax of each set: d logit = d log pi - pi sum(d log pi)
      const auto m = static_cast<std::size_t>(candidates_);
      for (std::size_t begin = 0; begin < samples; begin += m) {
        Scalar total = 0;
        for (std::size_t i = begin; i < begin + m; ++i) total += d_scores_[i];
        for (std::size_t i = begin; i < begin + m; ++i) d_scores_[i] -= elementary::exp(scores_[i]) * total;
      }
    }
    for (Scalar& g : gradient) g = Scalar(0);
    model_.pullback(theta, x, tape_, Outputs<Scalar>(d_scores_.data(), 1, static_cast<Eigen::Index>(samples)),
                    gradient);
    return value;
  }

 private:
  static constexpr std::string_view where = "PairObjective";

  void check_sample(std::string_view side, std::size_t k, int i) const {
    if (i < 0 || static_cast<std::size_t>(i) >= scores_.size())
      fail(where, "{}[{}] is {}; expected a sample in [0, {}]", side, k, i,
           static_cast<std::ptrdiff_t>(scores_.size()) - 1);
  }

  F model_;
  L loss_;
  int candidates_;
  typename F::Tape tape_;
  std::vector<Scalar> scores_, d_scores_, judged_, ref_judged_, d_judged_, weight_, ones_, base_, ref_base_, d_base_,
      kl_, ref_kl_;
  Eigen::Array<bool, Eigen::Dynamic, 1> desirable_ = {};  // not std::vector<bool>: losses read a span
};

}  // namespace valence
