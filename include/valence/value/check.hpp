#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>

#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/types.hpp"
#include "valence/value/steps.hpp"

/// Everything that can be wrong with a call of a target, found before anything is changed.
namespace valence::detail {

/// The columns of checked `Steps`: pointers, null where a column isn't there or isn't read.
template <class S>
struct StepColumns {
  std::size_t rows = 0, environments = 1;
  const S *reward = nullptr, *value = nullptr, *next_value = nullptr;
  const bool *terminated = nullptr, *truncated = nullptr;
  const S *discount = nullptr, *lambda = nullptr;
  S discount_option = 1, lambda_option = 1;
  const S *ratio = nullptr, *action_value = nullptr, *probability = nullptr, *sigma = nullptr;

  template <class T>
  [[gnu::always_inline]] T discount_at(std::size_t i) const {
    return discount ? load<T>(discount + i) : splat<T>(discount_option);
  }
  template <class T>
  [[gnu::always_inline]] T lambda_at(std::size_t i) const {
    return lambda ? load<T>(lambda + i) : splat<T>(lambda_option);
  }
};

/// What a target reads besides rewards, flags and discounts.
struct StepNeeds {
  bool value = false, next_value = true, lambda = true, ratio = false, action_value = false, probability = false,
       sigma = false;
};

template <class S>
inline constexpr S largest_finite = (std::numeric_limits<S>::max)();

/// Are all entries finite? x - x is 0, or NaN. In lanes and with four sums, for it reads all that a target reads.
template <class S>
bool all_finite(const S* x, std::size_t count) {
  using T = Lanes<S>;
  constexpr std::size_t lanes = lane_count<T>;
  T sum[4] = {};
  std::size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes)
    for (std::size_t k = 0; k < 4; ++k) {
      const T y = load<T>(x + i + k * lanes);
      sum[k] = sum[k] + (y - y);
    }
  S rest = 0;
  for (; i < count; ++i) rest += x[i] - x[i];
  return rest == S(0) && all((sum[0] + sum[1]) + (sum[2] + sum[3]) == T{});
}

/// Is every entry in [low, high]? NaN isn't.
template <class S>
bool all_within(const S* x, std::size_t count, S low, S high) {
  using T = Lanes<S>;
  constexpr std::size_t lanes = lane_count<T>;
  std::size_t i = 0;
  auto good = T{} <= T{};
  for (; i + lanes <= count; i += lanes) {
    const T y = load<T>(x + i);
    good = good & ((y >= low) & (y <= high));
  }
  bool rest = true;
  for (; i < count; ++i) rest = rest && x[i] >= low && x[i] <= high;
  return rest && all(good);
}

/// `count` entries, each in [low, high] (the largest numbers stand for "finite"), except where `ignored` is set.
template <class S>
void check_entries(std::string_view where, std::string_view name, const S* x, std::size_t count, S low, S high,
                   const bool* ignored = nullptr) {
  if (low == -largest_finite<S> ? all_finite(x, count) : all_within(x, count, low, high)) return;
  for (std::size_t i = 0; i < count; ++i) {
    if ((ignored && ignored[i]) || (x[i] >= low && x[i] <= high)) continue;
    if (low == -largest_finite<S>) fail(where, "{}[{}] is {}; expected a finite number", name, i, x[i]);
    if (high == largest_finite<S>)
      fail(where, "{}[{}] is {}; expected a finite number, at least {}", name, i, x[i], low);
    fail(where, "{}[{}] is {}; expected a number in [{}, {}]", name, i, x[i], low, high);
  }
}

/// A column with an entry a transition, checked. An empty one is an error where the target reads it.
template <class S>
const S* check_column(std::string_view where, std::string_view name, std::span<const S> x, std::size_t count,
                      bool needed, S low, S high, const bool* ignored = nullptr) {
  if (x.empty() && !needed) return nullptr;
  if (x.empty()) fail(where, "{} is missing; expected {} entries", name, count);
  check_size(where, name, x.size(), count);
  check_entries(where, name, x.data(), count, low, high, ignored);
  return x.data();
}

inline const bool* check_flags(std::string_view where, std::string_view name, std::span<const bool> x,
                               std::size_t count) {
  if (x.empty()) return nullptr;
  check_size(where, name, x.size(), count);
  // A column in which nothing is set costs a target nothing.
  return std::memchr(x.data(), 1, count) ? x.data() : nullptr;
}

/// Checks `in` for a target called `where` and gives its columns.
template <class S>
StepColumns<S> check_steps(std::string_view where, const Steps<S>& in, const StepNeeds& needs, double discount,
                           double lambda = 1) {
  const std::size_t count = in.reward.size(), environments = in.environments;
  if (environments == 0) fail(where, "environments is 0; expected at least 1");
  if (count == 0) fail(where, "reward is empty; expected at least one transition");
  if (count % environments != 0)
    fail(where, "reward has {} entries; expected a multiple of {} environments", count, environments);
  StepColumns<S> out;
  out.rows = count / environments, out.environments = environments;
  const S any = largest_finite<S>;

  out.reward = check_column(where, "reward", in.reward, count, true, -any, any);
  out.terminated = check_flags(where, "terminated", in.terminated, count);
  out.truncated = check_flags(where, "truncated", in.truncated, count);

  const bool next_rows = !in.value.empty() && in.next_value.empty();  // the form with T + 1 rows of values
  if (next_rows && in.value.size() != count + environments)
    fail(where,
         "value has {} entries and next_value none; expected {} (one row more than rewards: the last states), or "
         "next_value with {}",
         in.value.size(), count + environments, count);
  if (next_rows) {
    if (out.truncated)
      for (std::size_t i = 0; i < count - environments; ++i)
        if (out.truncated[i] && !(out.terminated && out.terminated[i]))
          fail(where, "truncated[{}] is set, but the next row of value belongs to the next episode; give next_value",
               i);
    if (!all_finite(in.value.data(), in.value.size())) {
      check_entries(where, "value", in.value.data(), count, -any, any);
      check_entries(where, "value (from its second row on)", in.value.data() + environments, count, -any, any,
                    out.terminated);
    }
    out.value = in.value.data(), out.next_value = in.value.data() + environments;
  } else {
    if (!in.value.empty() && in.value.size() != count && !in.next_value.empty())
      fail(where, "value has {} entries; expected {}, as next_value is there", in.value.size(), count);
    out.value = check_column(where, "value", in.value, count, needs.value, -any, any);
    out.next_value =
        check_column(where, "next_value", in.next_value, count, needs.next_value, -any, any, out.terminated);
  }
  if (!out.next_value && out.truncated)
    fail(where,
         "truncated[{}] is set, but there are no values to count for what would have followed; give next_value "
         "(zeros, if it is to count for nothing)",
         static_cast<const bool*>(std::memchr(out.truncated, 1, count)) - out.truncated);

  check_range(where, "discount", discount, 0, 1);
  check_range(where, "lambda", lambda, 0, 1);
  out.discount_option = static_cast<S>(discount), out.lambda_option = static_cast<S>(lambda);
  out.discount = check_column(where, "discount", in.discount, count, false, S(0), S(1));
  if (needs.lambda) out.lambda = check_column(where, "lambda", in.lambda, count, false, S(0), S(1));
  if (needs.ratio) out.ratio = check_column(where, "ratio", in.ratio, count, true, S(0), any);
  if (needs.action_value)
    out.action_value = check_column(where, "action_value", in.action_value, count, true, -any, any);
  if (needs.probability) out.probability = check_column(where, "probability", in.probability, count, true, S(0), S(1));
  if (needs.sigma) out.sigma = check_column(where, "sigma", in.sigma, count, false, S(0), S(1));
  return out;
}

/// Do two stretches of memory share a byte?
inline bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
  const auto x = reinterpret_cast<std::uintptr_t>(a), y = reinterpret_cast<std::uintptr_t>(b);
  return a_bytes > 0 && b_bytes > 0 && x < y + b_bytes && y < x + a_bytes;
}

/// An output: an entry a transition, or empty where it isn't wanted. It may be one of the inputs, entry for entry,
/// because a target reads all of transition t before it writes t, and never reads a column of t again. It may not
/// overlap otherwise: a column that is shifted against it, values with T + 1 rows (the next row is read), flags,
/// another output.
template <class S>
S* check_output(std::string_view where, std::string_view name, std::span<S> out, const Steps<S>& in, bool needed = true,
                std::span<S> other = {}) {
  if (out.empty() && !needed) return nullptr;
  check_size(where, name, out.size(), in.reward.size());
  const auto apart = [&](std::string_view column, const void* data, std::size_t bytes, bool may_be_same) {
    if (may_be_same && data == out.data() && bytes == out.size_bytes()) return;
    if (overlap(out.data(), out.size_bytes(), data, bytes))
      fail(where, "{} overlaps {} in memory; expected {}", name, column,
           may_be_same ? "the same column entry for entry, or memory of its own" : "memory of its own");
  };
  const auto column = [&](std::string_view column_name, std::span<const S> x) {
    apart(column_name, x.data(), x.size_bytes(), true);
  };
  column("reward", in.reward), column("value", in.value), column("next_value", in.next_value);
  column("discount", in.discount), column("lambda", in.lambda), column("ratio", in.ratio);
  column("action_value", in.action_value), column("probability", in.probability), column("sigma", in.sigma);
  apart("terminated", in.terminated.data(), in.terminated.size_bytes(), false);
  apart("truncated", in.truncated.data(), in.truncated.size_bytes(), false);
  apart("another output", other.data(), other.size_bytes(), false);
  return out.data();
}

}  // namespace valence::detail
