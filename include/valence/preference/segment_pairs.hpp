#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/concepts.hpp"
#include "valence/preference/evaluate.hpp"

namespace valence {

/// Which of two outcomes is preferred by all criteria: 1 (the first is nowhere worse and somewhere better), -1 (the
/// second is), 0 (neither). `first`, `second`: one number a criterion, larger is better, finite.
template <Scalar S>
int pareto_preference(std::span<const S> first, std::span<const S> second) {
  check_size("pareto_preference", "second", second.size(), first.size());
  check_finite("pareto_preference", "first", first);
  check_finite("pareto_preference", "second", second);
  bool better = false, worse = false;
  for (std::size_t k = 0; k < first.size(); ++k) {
    better = better || first[k] > second[k];
    worse = worse || first[k] < second[k];
  }
  return better == worse ? 0 : better ? 1 : -1;
}

/// The log-probabilities of the transitions of n pairs of segments of one length T: n T numbers a column, transition t
/// of pair i at t n + i. The reference's are constants.
template <Scalar S>
struct SegmentLogProbs {
  std::span<const S> first, second, ref_first, ref_second;
};

/// One judgement of two whole segments, taken to hold for each pair of their transitions: step-wise preference learning
/// without a reward model (D3PO, Yang et al. 2023, arXiv:2311.13231, equation 10). Holds the scratch: in steady state
/// it allocates nothing.
template <Scalar S>
class SegmentPairs {
 public:
  /// The mean of `loss` over the n T pairs of transitions, with its gradient with respect to `first` and `second`
  /// (overwritten). `preference[i]`: 1 where the first segment of pair i is preferred, -1 the second, 0 a tie, which
  /// has weight 0: no value and no gradient, though it counts in the mean. Throws `Error` for another preference, for
  /// sizes that don't fit, and for whatever the loss refuses, before anything is changed.
  template <Loss L>
  double operator()(const L& loss, std::span<const int> preference, const SegmentLogProbs<S>& in, std::span<S> d_first,
                    std::span<S> d_second) {
    constexpr std::string_view where = "SegmentPairs";
    const std::size_t n = preference.size(), size = in.first.size();
    if (n == 0 || size == 0 || size % n != 0)
      fail(where, "first has {} entries of {} pairs; expected the same number of transitions of each", size, n);
    check_size(where, "second", in.second.size(), size);
    check_size(where, "ref_first", in.ref_first.size(), size);
    check_size(where, "ref_second", in.ref_second.size(), size);
    check_size(where, "d_first", d_first.size(), size);
    check_size(where, "d_second", d_second.size(), size);
    for (std::size_t i = 0; i < n; ++i)
      if (preference[i] < -1 || preference[i] > 1)
        fail(where, "preference[{}] is {}; expected 1, -1, or 0 for a tie", i, preference[i]);
    for (std::vector<S>* column :
         {&chosen_, &rejected_, &ref_chosen_, &ref_rejected_, &weight_, &d_chosen_, &d_rejected_})
      column->resize(size);
    for (std::size_t k = 0; k < size; ++k) {
      const bool swapped = preference[k % n] < 0;
      chosen_[k] = swapped ? in.second[k] : in.first[k];
      rejected_[k] = swapped ? in.first[k] : in.second[k];
      ref_chosen_[k] = swapped ? in.ref_second[k] : in.ref_first[k];
      ref_rejected_[k] = swapped ? in.ref_first[k] : in.ref_second[k];
      weight_[k] = preference[k % n] == 0 ? S(0) : S(1);
    }
    const PairBatch<S> pairs{.chosen = chosen_,
                             .rejected = rejected_,
                             .ref_chosen = ref_chosen_,
                             .ref_rejected = ref_rejected_,
                             .weight = weight_};
    const double value = evaluate(loss, pairs, {.chosen = d_chosen_, .rejected = d_rejected_});
    for (std::size_t k = 0; k < size; ++k) {
      const bool swapped = preference[k % n] < 0;
      d_first[k] = swapped ? d_rejected_[k] : d_chosen_[k];
      d_second[k] = swapped ? d_chosen_[k] : d_rejected_[k];
    }
    return value;
  }

 private:
  std::vector<S> chosen_, rejected_, ref_chosen_, ref_rejected_, weight_, d_chosen_, d_rejected_;
};

}  // namespace valence
