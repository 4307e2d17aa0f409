#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/lanes.hpp"
#include "valence/core/types.hpp"

/// The data of preference learning: columns of log-probabilities, one entry a response, from whatever model the user
/// has. Everything here is a view of the user's memory, except `PairLogProbs`.
namespace valence {

/// What a loss reads of one preference pair. `T` is a scalar or lanes. Log-probabilities are of whole responses (sums
/// over tokens, nats); the reference's are constants, as are lengths and labels: no gradient flows into them.
template <class T>
struct Pair {
  T chosen, rejected;                                            ///< log pi(chosen), log pi(rejected) under the policy
  T ref_chosen = {}, ref_rejected = {};                          ///< the same under the reference policy
  T chosen_length = splat<T>(1), rejected_length = splat<T>(1);  ///< scored tokens, >= 1
  T p_chosen = splat<T>(1);  ///< probability that "chosen" is the better one, in [0, 1]
};

/// What a loss gives for one pair: its value and its derivatives with respect to the policy's two log-probabilities.
template <class T>
struct PairLoss {
  T value, d_chosen, d_rejected;
};

/// What a loss reads, as a bit mask `L::needs`. The driver checks once that it is there and valid, before anything is
/// computed; columns that a loss does not read may hold anything. A loss of pairs always reads `chosen` and `rejected`.
enum class Column : unsigned {
  none = 0,
  reference = 1,        ///< `pairs.ref_chosen`, `pairs.ref_rejected`
  chosen_length = 2,    ///< `pairs.chosen_length`
  rejected_length = 4,  ///< `pairs.rejected_length`
  lengths = 6,          ///< both
  p_chosen = 8,         ///< `pairs.p_chosen`
  at_most_one = 16,     ///< the pairs' probabilities are at most 1 (log-prob <= 1e-9): discrete outcomes, not densities
  less_than_one = 32,   ///< ... and less than 1 (log-prob < 0): odds are taken
  pairs = 64,           ///< `pairs.chosen`, `pairs.rejected`: implied for losses of one pair
  unweighted = 128,     ///< pairs carry no weights: the terms of the loss mix pairs
  unpaired = 256,       ///< `unpaired.log_prob`, `unpaired.ref_log_prob`, `unpaired.desirable`
  kl = 512,             ///< `kl.log_prob`, `kl.ref_log_prob`
  base = 1024,          ///< `base.log_prob`
  base_length = 2048,   ///< `base.length`
};
constexpr Column operator|(Column a, Column b) { return Column(unsigned(a) | unsigned(b)); }
/// Does `set` hold `element` (of a combination: any of it)?
constexpr bool has(Column set, Column element) { return (unsigned(set) & unsigned(element)) != 0; }

/// Views of the columns of a batch of pairs; an absent column is empty, all others have one entry a pair.
/// `weight` (>= 0) multiplies a pair's value and gradient; the mean still divides by the number of pairs.
template <class S>
struct PairBatch {
  std::span<const S> chosen, rejected, ref_chosen = {}, ref_rejected = {};
  std::span<const S> chosen_length = {}, rejected_length = {}, p_chosen = {}, weight = {};
};

/// Views of the columns of a batch of single responses.
template <class S>
struct SingleBatch {
  std::span<const S> log_prob, ref_log_prob = {}, length = {}, weight = {};
  std::span<const bool> desirable = {};
};

/// A batch that a loss of a whole batch reads; which parts, its `needs` says.
template <class S>
struct PreferenceBatch {
  PairBatch<S> pairs = {};
  SingleBatch<S> unpaired = {};  ///< responses labelled desirable or not (KTO, BCO)
  SingleBatch<S> base = {};      ///< samples of a baseline, calibration or demonstration distribution
  SingleBatch<S> kl = {};        ///< mismatched responses that estimate KL(policy, reference) (KTO); any number of them
};

/// Where gradients go: with respect to the policy's log-probabilities, one entry each. An empty span is not wanted.
template <class S>
struct PreferenceGradient {
  std::span<S> chosen = {}, rejected = {}, unpaired = {}, base = {};
};

namespace detail {

template <class C>
using ElementOf = std::remove_cvref_t<decltype(*std::declval<const C&>().data())>;

template <class C>
std::span<const ElementOf<C>> as_span(const C& column) {
  return {column.data(), static_cast<std::size_t>(column.size())};
}

/// A new column for results: of the user's own type where that owns its numbers, an Eigen array otherwise.
template <class C>
struct OwnedColumn {
  using type = Eigen::Array<ElementOf<C>, Eigen::Dynamic, 1>;
};
template <class C>
  requires std::is_base_of_v<Eigen::PlainObjectBase<C>, C>
struct OwnedColumn<C> {
  using type = C;
};
template <class S>
struct OwnedColumn<std::vector<S>> {
  using type = std::vector<S>;
};

}  // namespace detail

/// The user's arrays as they are, by name: `PairLogProbs<Eigen::ArrayXd> batch{chosen, rejected, ref_chosen,
/// ref_rejected};` `C` is any contiguous column: an Eigen array or vector, `std::vector<double>`, or, to refer instead
/// of copy, `std::span<const double>`. Without the template argument it is deduced from the first column.
template <class C>
struct PairLogProbs {
  C chosen, rejected, ref_chosen = {}, ref_rejected = {}, chosen_length = {}, rejected_length = {}, p_chosen = {},
                      weight = {};

  using Scalar = detail::ElementOf<C>;

  /// Views of the columns, valid as long as this object (for spans: the memory they refer to).
  PairBatch<Scalar> view() const {
    using detail::as_span;
    return {as_span(chosen),        as_span(rejected),        as_span(ref_chosen), as_span(ref_rejected),
            as_span(chosen_length), as_span(rejected_length), as_span(p_chosen),   as_span(weight)};
  }
};
// clang 16 does not deduce the arguments of aggregates by itself.
template <class C, class... More>
PairLogProbs(C, More...) -> PairLogProbs<C>;

}  // namespace valence
