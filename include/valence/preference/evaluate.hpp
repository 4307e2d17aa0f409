#pragma once

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/preference/algebra.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/check.hpp"
#include "valence/preference/concepts.hpp"

/// The driver: runs a loss over the user's columns, checked once, in one pass of lanes, without allocation.
///
///   value = factor * sum_i w_i l_i / n      gradient += factor * w_i dl_i / n
///
/// The mean divides by the number of pairs n, not by the sum of weights (as TRL's pair weighting does). Sums are kept
/// in double; losses and gradients are computed in the columns' own type.
namespace valence {

namespace detail {

/// The columns of a block of pairs; null where a column is not there or not wanted.
template <class S>
struct PairPointers {
  const S *chosen, *rejected, *ref_chosen, *ref_rejected, *chosen_length, *rejected_length, *p_chosen;
  const S *weight, *more_weight;
  S *d_chosen, *d_rejected, *values;
};

/// `count` pairs, a multiple of the lanes' number. Returns the sum of weighted values. `out = keep * out + scale *
/// gradient` where keep is 0 (whatever is there is not used: it may be NaN) or 1.
///
/// No branch in the loop: a column that is not there is one block of ones, read again and again (`& 0`), and a gradient
/// that is not wanted goes to one block that nobody reads. A branch on each would be compiled into dozens of copies of
/// the loop.
template <class L, class S>
[[gnu::noinline]] double run_lanes(const L& the_loss, const PairPointers<S>& columns, std::size_t count, S scale,
                                   bool keep) {
  using T = Lanes<S>;
  constexpr std::size_t lanes = lane_count<T>;
  constexpr std::size_t block = 32 * lanes;  // so many float values are added as floats before they go to double
  // Copies that nobody else can see: stores to the gradients can't change them, so they stay in registers.
  const L loss = the_loss;
  PairPointers<S> at = columns;
  S ones[lanes], unwanted[lanes];
  store<T>(ones, splat<T>(1));
  constexpr std::size_t all = ~std::size_t(0);
  const auto input = [&ones](const S*& column) {
    const bool there = column != nullptr;
    if (!there) column = ones;
    return there ? all : 0;
  };
  const auto output = [&unwanted](S*& column) {
    const bool there = column != nullptr;
    if (!there) column = unwanted;
    return there ? all : 0;
  };
  const std::size_t weight = input(at.weight), more_weight = input(at.more_weight);
  const std::size_t d_chosen = output(at.d_chosen), d_rejected = output(at.d_rejected), values = output(at.values);
  const auto kept = splat<T>(keep ? S(1) : S(0)) > T{};
  const auto give = [kept](S* out, T gradient) {
    store<T>(out, elementary::select(kept, load<T>(out), T{}) + gradient);
  };
  store<T>(unwanted, T{});
  double total = 0;
  for (std::size_t begin = 0; begin < count; begin += block) {
    const std::size_t end = begin + block < count ? begin + block : count;
    T sum{};
    for (std::size_t i = begin; i < end; i += lanes) {
      Pair<T> pair{load<T>(at.chosen + i), load<T>(at.rejected + i)};
      if constexpr (has(L::needs, Column::reference)) {
        pair.ref_chosen = load<T>(at.ref_chosen + i);
        pair.ref_rejected = load<T>(at.ref_rejected + i);
      }
      if constexpr (has(L::needs, Column::chosen_length)) pair.chosen_length = load<T>(at.chosen_length + i);
      if constexpr (has(L::needs, Column::rejected_length)) pair.rejected_length = load<T>(at.rejected_length + i);
      if constexpr (has(L::needs, Column::p_chosen)) pair.p_chosen = load<T>(at.p_chosen + i);
      const PairLoss<T> result = loss(pair);
      const T w = load<T>(at.weight + (i & weight)) * load<T>(at.more_weight + (i & more_weight));
      const T factor = splat<T>(scale) * w;
      sum = sum + result.value * w;
      store<T>(at.values + (i & values), result.value);
      give(at.d_chosen + (i & d_chosen), factor * result.d_chosen);
      give(at.d_rejected + (i & d_rejected), factor * result.d_rejected);
    }
    total += static_cast<double>(sum_lanes(sum));
  }
  return total;
}

/// All pairs: whole lanes straight from the columns, the rest through a padded copy. So each pair goes through the same
/// code.
template <class L, class S>
double run_pairs(const L& loss, PairPointers<S> at, std::size_t n, S scale, bool keep) {
  constexpr std::size_t lanes = lane_count<Lanes<S>>;
  if (!at.weight) {
    at.weight = at.more_weight;
    at.more_weight = nullptr;
  }
  const std::size_t whole = n - n % lanes, rest = n % lanes;
  double total = run_lanes(loss, at, whole, scale, keep);
  if (rest == 0) return total;

  S in[9][lanes], out[3][lanes];
  PairPointers<S> tail = at;
  const auto pad = [&](std::size_t row, const S*& column) {
    if (!column) return;
    for (std::size_t i = 0; i < lanes; ++i) in[row][i] = column[whole + (i < rest ? i : rest - 1)];
    column = in[row];
  };
  pad(0, tail.chosen), pad(1, tail.rejected), pad(2, tail.ref_chosen), pad(3, tail.ref_rejected);
  pad(4, tail.chosen_length), pad(5, tail.rejected_length), pad(6, tail.p_chosen), pad(7, tail.more_weight);
  for (std::size_t i = 0; i < lanes; ++i) in[8][i] = i < rest ? (at.weight ? at.weight[whole + i] : S(1)) : S(0);
  tail.weight = in[8];
  const auto redirect = [&](std::size_t row, S*& column) {
    if (column) column = out[row];
  };
  redirect(0, tail.d_chosen), redirect(1, tail.d_rejected), redirect(2, tail.values);
  total += run_lanes(loss, tail, lanes, scale, false);
  const auto give = [&](std::size_t row, S* column, bool add) {
    if (!column) return;
    for (std::size_t i = 0; i < rest; ++i) column[whole + i] = add ? column[whole + i] + out[row][i] : out[row][i];
  };
  give(0, at.d_chosen, keep), give(1, at.d_rejected, keep), give(2, at.values, false);
  return total;
}

template <class S>
PairPointers<S> pointers(const PairBatch<S>& in) {
  const auto or_null = [](std::span<const S> column) { return column.empty() ? nullptr : column.data(); };
  return {in.chosen.data(),
          in.rejected.data(),
          or_null(in.ref_chosen),
          or_null(in.ref_rejected),
          or_null(in.chosen_length),
          or_null(in.rejected_length),
          or_null(in.p_chosen),
          or_null(in.weight),
          nullptr,
          nullptr,
          nullptr,
          nullptr};
}

/// The weighted mean of a loss over pairs, times factor. `more_weight` may be empty.
template <class L, class S>
double accumulate_pairs(const L& loss, const PairBatch<S>& in, std::span<const S> more_weight,
                        const PreferenceGradient<S>& out, double factor, bool keep = true) {
  const auto n = in.chosen.size();
  PairPointers<S> at = pointers(in);
  if (!more_weight.empty()) at.more_weight = more_weight.data();
  if (!out.chosen.empty()) at.d_chosen = out.chosen.data();
  if (!out.rejected.empty()) at.d_rejected = out.rejected.data();
  const double mean = run_pairs(loss, at, n, static_cast<S>(factor / static_cast<double>(n)), keep);
  return factor * (mean / static_cast<double>(n));
}

/// Calls f(loss, factor) with the multiples taken off `loss`: c * loss has exactly c times the value of loss, not the
/// sum of c times each rounded item (pitfall P4).
template <class L, class F>
double with_factor(const L& loss, double factor, F&& f) {
  return f(loss, factor);
}
template <class L, class F>
double with_factor(const Scaled<L>& loss, double factor, F&& f) {
  return with_factor(loss.loss, factor * loss.factor, f);
}

template <class L, class S>
double accumulate_unchecked(const L& loss, const PreferenceBatch<S>& in, const PreferenceGradient<S>& out,
                            double factor) {
  return with_factor(loss, factor, [&]<class M>(const M& l, double c) {
    if constexpr (PointwiseLoss<M>)
      return accumulate_pairs(l, in.pairs, std::span<const S>{}, out, c);
    else
      return l.accumulate(in, out, c);
  });
}

/// Everything that can be wrong with a call, before anything is changed.
template <class L, class S>
void check_call(const L& loss, const PreferenceBatch<S>& in, const PreferenceGradient<S>& out) {
  check_loss(loss);
  const Where where{&loss, [](const void* l) { return loss_name(*static_cast<const L*>(l)); }};
  check_batch(where, batch_needs<L>(), in);
  check_data(loss, in);
  check_gradient(where, in, out);
}

/// Finite numbers went in; a value that is not finite is an overflow, and is never passed on in silence (pitfall P21).
template <class L>
double finite_value(const L& loss, double value) {
  if (!std::isfinite(value))
    fail(loss_name(loss), "its value is {}: the numbers overflow the columns' type; the gradient is not usable", value);
  return value;
}

}  // namespace detail

template <PointwiseLoss L, Scalar S>
double Weighted<L, S>::accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
  return detail::accumulate_pairs(loss, in.pairs, weights, out, factor);
}

template <PointwiseLoss L, Scalar S>
void Weighted<L, S>::check(const PreferenceBatch<S>& in) const {
  const detail::Where where{this, [](const void* l) { return static_cast<const Weighted*>(l)->describe(); }};
  if (weights.size() != in.pairs.chosen.size()) check_size(where(), "weights", weights.size(), in.pairs.chosen.size());
  detail::check_weights(where, "weights", weights, weights.size());
}

/// Adds factor * gradient of `loss` on the batch to `out` and returns factor * value. Allocates nothing (losses that
/// sort keep a workspace a thread). An empty span in `out` is a gradient that is not wanted; the others have one entry
/// an item. Throws `Error`, which names the loss, the column and the entry, before anything was changed: bad
/// hyper-parameters, an empty batch, a needed column that is missing, lengths that differ, NaN or infinity, weights <
/// 0, token counts below 1 or not whole, labels outside [0, 1]. (A value that overflows throws too, after the fact.)
template <Loss L, Scalar S>
double accumulate(const L& loss, const PreferenceBatch<S>& in, std::type_identity_t<PreferenceGradient<S>> out,
                  double factor = 1) {
  check_finite("accumulate", "factor", factor);
  detail::check_call(loss, in, out);
  return detail::finite_value(loss, detail::accumulate_unchecked(loss, in, out, factor));
}
template <Loss L, Scalar S>
double accumulate(const L& loss, const PairBatch<S>& in, std::type_identity_t<PreferenceGradient<S>> out,
                  double factor = 1) {
  return accumulate(loss, PreferenceBatch<S>{.pairs = in}, out, factor);
}

/// Overwrites `out` with the gradient (what was there is not read) and returns the value. Otherwise as `accumulate`.
template <Loss L, Scalar S>
double evaluate(const L& loss, const PreferenceBatch<S>& in, std::type_identity_t<PreferenceGradient<S>> out) {
  detail::check_call(loss, in, out);
  const auto clear = [](std::span<S> span) {
    for (S& x : span) x = S(0);
  };
  clear(out.unpaired), clear(out.base);
  if constexpr (PointwiseLoss<L>)
    return detail::finite_value(loss, detail::with_factor(loss, 1.0, [&](const auto& l, double c) {
                                  return detail::accumulate_pairs(l, in.pairs, std::span<const S>{}, out, c, false);
                                }));
  clear(out.chosen), clear(out.rejected);
  return detail::finite_value(loss, detail::accumulate_unchecked(loss, in, out, 1.0));
}
template <Loss L, Scalar S>
double evaluate(const L& loss, const PairBatch<S>& in, std::type_identity_t<PreferenceGradient<S>> out) {
  return evaluate(loss, PreferenceBatch<S>{.pairs = in}, out);
}

/// What `evaluate` gives for pairs: `auto [value, d_chosen, d_rejected] = evaluate(loss, batch);`
template <class C>
struct PairEvaluation {
  double value;            ///< weighted mean over the pairs
  C d_chosen, d_rejected;  ///< derivatives of `value` with respect to the policy's log-probabilities, one entry a pair
};

/// Value and gradients of `loss` on the user's arrays. The results are arrays of the user's type.
template <Loss L, class C>
auto evaluate(const L& loss, const PairLogProbs<C>& batch) {
  using S = typename PairLogProbs<C>::Scalar;
  using Result = typename detail::OwnedColumn<C>::type;
  const PairBatch<S> in = batch.view();
  PairEvaluation<Result> result{};
  const auto n = static_cast<decltype(result.d_chosen.size())>(in.chosen.size());
  result.d_chosen.resize(n);
  result.d_rejected.resize(n);
  result.value = evaluate(
      loss, in,
      {.chosen = {result.d_chosen.data(), in.chosen.size()}, .rejected = {result.d_rejected.data(), in.chosen.size()}});
  return result;
}
template <Loss L, Scalar S>
auto evaluate(const L& loss, const PairBatch<S>& in) {
  PairLogProbs<std::span<const S>> columns{in.chosen,        in.rejected,        in.ref_chosen, in.ref_rejected,
                                           in.chosen_length, in.rejected_length, in.p_chosen,   in.weight};
  return evaluate(loss, columns);
}

/// What `evaluate` gives for a batch of several parts; the gradient of a part that is not there is empty.
template <Scalar S>
struct BatchEvaluation {
  double value;
  Eigen::Array<S, Eigen::Dynamic, 1> d_chosen, d_rejected, d_unpaired, d_base;
};
template <Loss L, Scalar S>
BatchEvaluation<S> evaluate(const L& loss, const PreferenceBatch<S>& in) {
  BatchEvaluation<S> result{};
  const auto make = [](auto& column, std::span<const S> like) {
    column.resize(static_cast<Eigen::Index>(like.size()));
    return std::span<S>(column.data(), like.size());
  };
  PreferenceGradient<S> out{make(result.d_chosen, in.pairs.chosen), make(result.d_rejected, in.pairs.chosen),
                            make(result.d_unpaired, in.unpaired.log_prob), make(result.d_base, in.base.log_prob)};
  result.value = evaluate(loss, in, out);
  return result;
}

/// The loss of each pair, unweighted, before the mean: `values` gets one entry a pair.
template <PointwiseLoss L, Scalar S>
void pair_values(const L& loss, const PairBatch<S>& in, std::span<std::type_identity_t<S>> values) {
  detail::check_call(loss, PreferenceBatch<S>{.pairs = in}, PreferenceGradient<S>{});
  check_size(loss_name(loss), "values", values.size(), in.chosen.size());
  detail::PairPointers<S> at = detail::pointers(in);
  at.values = values.data();
  detail::run_pairs(loss, at, in.chosen.size(), S(0), true);
}
template <PointwiseLoss L, class C>
auto pair_values(const L& loss, const PairLogProbs<C>& batch) {
  using S = typename PairLogProbs<C>::Scalar;
  typename detail::OwnedColumn<C>::type values;
  const PairBatch<S> in = batch.view();
  values.resize(static_cast<decltype(values.size())>(in.chosen.size()));
  pair_values(loss, in, std::span<S>{values.data(), in.chosen.size()});
  return values;
}

}  // namespace valence
