#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/preference/batch.hpp"

/// What may be wrong with a batch. Plain functions of the scalar type and a mask: compiled once, not once a loss. A
/// scan over a good column costs its reading; which entry is bad is found out only when one is.
namespace valence::detail {

/// The name of the loss, asked for only when something is wrong.
struct Where {
  const void* loss;
  std::string (*name)(const void*);
  std::string operator()() const { return name(loss); }
};

/// Does `good`, which gives a mask, hold for every entry? In lanes, without a branch.
template <class S, class F>
bool all_good(std::span<const S> x, F good) {
  using T = Lanes<S>;
  constexpr std::size_t lanes = lane_count<T>;
  T bad[4] = {};
  std::size_t i = 0;
  for (; i + 4 * lanes <= x.size(); i += 4 * lanes)
    for (std::size_t k = 0; k < 4; ++k)
      bad[k] = bad[k] + elementary::select(good(load<T>(x.data() + i + k * lanes)), T{}, splat<T>(1));
  S count = sum_lanes((bad[0] + bad[1]) + (bad[2] + bad[3]));
  for (; i < x.size(); ++i) count += good(x[i]) ? S(0) : S(1);
  return count == S(0);
}

template <class S>
bool all_finite(std::span<const S> x) {
  return all_good(x, [](auto v) { return v - v == decltype(v){}; });  // inf - inf and NaN - NaN are NaN
}

template <class S>
void check_column(const Where& where, std::string_view column, std::span<const S> x, std::size_t size, bool needed) {
  if (x.empty() && needed) fail(where(), "{} is missing (or empty); the loss reads it", column);
  if (x.empty()) return;
  if (x.size() != size) check_size(where(), column, x.size(), size);
  if (needed && !all_finite(x)) check_finite(where(), column, x);
}

template <class S>
void check_weights(const Where& where, std::string_view column, std::span<const S> x, std::size_t size) {
  check_column(where, column, x, size, !x.empty());
  if (all_good(x, [](auto w) { return w >= S(0); })) return;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (x[i] < S(0)) fail(where(), "{}[{}] is {}; expected a weight of at least 0", column, i, x[i]);
}

template <class S>
void check_lengths(const Where& where, std::string_view column, std::span<const S> x, std::size_t size, bool needed) {
  check_column(where, column, x, size, needed);
  const auto good = [](auto n) { return (n >= S(1)) & (elementary::floor(n) == n); };
  if (!needed || all_good(x, good)) return;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!good(x[i])) fail(where(), "{}[{}] is {}; expected a whole number of tokens, at least 1", column, i, x[i]);
}

template <class S>
void check_labels(const Where& where, std::string_view column, std::span<const S> x) {
  const auto good = [](auto p) { return (p >= S(0)) & (p <= S(1)); };
  if (all_good(x, good)) return;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!good(x[i])) fail(where(), "{}[{}] is {}; expected a probability in [0, 1]", column, i, x[i]);
}

/// Log-probabilities of discrete outcomes: at most `limit` or, if `strict`, below 0.
template <class S>
void check_below(const Where& where, std::string_view column, std::span<const S> x, bool strict) {
  const S limit = S(1e-9);  // rounding of a sum of log-probabilities of certain tokens
  if (strict ? all_good(x, [](auto q) { return q < S(0); }) : all_good(x, [=](auto q) { return q <= limit; })) return;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (strict ? !(x[i] < S(0)) : !(x[i] <= limit))
      fail(where(), "{}[{}] is {}; expected the log-probability of a discrete outcome, {}", column, i, x[i],
           strict ? "below 0 (certainty has infinite odds)" : "at most 0");
}

template <class S>
void check_pairs(const Where& where, Column needs, const PairBatch<S>& in) {
  const std::size_t n = in.chosen.size();
  if (n == 0) fail(where(), "chosen is empty; expected at least one pair");
  check_column(where, "chosen", in.chosen, n, true);
  check_column(where, "rejected", in.rejected, n, true);
  const bool reference = has(needs, Column::reference);
  check_column(where, "ref_chosen", in.ref_chosen, n, reference);
  check_column(where, "ref_rejected", in.ref_rejected, n, reference);
  check_lengths(where, "chosen_length", in.chosen_length, n, has(needs, Column::chosen_length));
  check_lengths(where, "rejected_length", in.rejected_length, n, has(needs, Column::rejected_length));
  check_column(where, "p_chosen", in.p_chosen, n, has(needs, Column::p_chosen));
  if (has(needs, Column::p_chosen)) check_labels(where, "p_chosen", in.p_chosen);
  if (has(needs, Column::at_most_one | Column::less_than_one)) {
    check_below(where, "chosen", in.chosen, has(needs, Column::less_than_one));
    check_below(where, "rejected", in.rejected, has(needs, Column::less_than_one));
  }
  check_weights(where, "weight", in.weight, n);
  if (has(needs, Column::unweighted) && !in.weight.empty())
    fail(where(), "weight is given, but the terms of this loss mix pairs: leave the column out");
}

template <class S>
void check_batch(const Where& where, Column needs, const PreferenceBatch<S>& in) {
  constexpr Column of_pairs = Column::pairs | Column::reference | Column::lengths | Column::p_chosen |
                              Column::at_most_one | Column::less_than_one | Column::unweighted;
  if (has(needs, of_pairs)) check_pairs(where, needs, in.pairs);
  if (has(needs, Column::unpaired)) {
    const std::size_t n = in.unpaired.log_prob.size();
    if (n == 0) fail(where(), "unpaired.log_prob is empty; expected at least one response");
    check_column(where, "unpaired.log_prob", in.unpaired.log_prob, n, true);
    check_column(where, "unpaired.ref_log_prob", in.unpaired.ref_log_prob, n, true);
    if (in.unpaired.desirable.size() != n) check_size(where(), "unpaired.desirable", in.unpaired.desirable.size(), n);
    check_weights(where, "unpaired.weight", in.unpaired.weight, n);
  }
  if (has(needs, Column::kl)) {
    const std::size_t n = in.kl.log_prob.size();
    if (n == 0)
      fail(where(),
           "kl.log_prob is empty; expected at least one mismatched response to estimate the KL reference point");
    check_column(where, "kl.log_prob", in.kl.log_prob, n, true);
    check_column(where, "kl.ref_log_prob", in.kl.ref_log_prob, n, true);
    if (!in.kl.weight.empty()) fail(where(), "kl.weight is given, but the KL estimate is a plain mean: leave it out");
  }
  if (has(needs, Column::base)) {
    const std::size_t n = in.base.log_prob.size();
    if (n == 0) fail(where(), "base.log_prob is empty; expected at least one sample of the base distribution");
    check_column(where, "base.log_prob", in.base.log_prob, n, true);
    check_weights(where, "base.weight", in.base.weight, n);
    if (has(needs, Column::base_length)) check_lengths(where, "base.length", in.base.length, n, true);
  }
}

template <class S>
void check_gradient(const Where& where, const PreferenceBatch<S>& in, const PreferenceGradient<S>& out) {
  const auto check = [&](std::string_view name, std::span<S> x, std::size_t n) {
    if (!x.empty() && x.size() != n) check_size(where(), name, x.size(), n);
  };
  check("gradient.chosen", out.chosen, in.pairs.chosen.size());
  check("gradient.rejected", out.rejected, in.pairs.chosen.size());
  check("gradient.unpaired", out.unpaired, in.unpaired.log_prob.size());
  check("gradient.base", out.base, in.base.log_prob.size());
}

}  // namespace valence::detail
