#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/value/check.hpp"
#include "valence/value/steps.hpp"

/// The one loop behind all targets that look ahead. Each of them is a recursion backward in time,
///
///   x_t = a_t + b_t x_{t+1},
///
/// where a and b depend on transition t alone, and b is 0 where nothing after t may be looked at. A kernel says how:
///
///   Affine<T> step<T>(i, end)                   a and b of the transition in entry i
///   Results<T> results<T>(i, end, x, later)     what is stored: x is x_t, later is x_{t+1}
///
/// `T` is a number or lanes of them: entries from i on. `end` says where episodes end there, and is the only place that
/// knows: `end.bootstrap(y)` is 0 where the transition terminated, `end.carry(y, z)` is z where the next transition may
/// not be looked at, y elsewhere. What isn't taken may be NaN.
///
/// Several environments run in lanes, row by row. In one sequence a, b and the results are computed in lanes of time,
/// block by block, and only the recursion goes one by one, in another order of rounding: the last bits of a sequence
/// alone may differ from those of the same sequence among others, whose bits depend neither on their number nor on
/// their lane.
namespace valence::detail {

template <class T>
struct Affine {
  T a, b;
};
template <class T>
struct Results {
  T first, second;
};

/// Where results go; null where they aren't wanted.
template <class S>
struct SweepOutput {
  S *first = nullptr, *second = nullptr;
};

/// Nowhere in the lanes does an episode end.
struct GoesOn {
  template <class T>
  [[gnu::always_inline]] T bootstrap(T y) const {
    return y;
  }
  template <class T>
  [[gnu::always_inline]] T carry(T y, T) const {
    return y;
  }
};

/// In some lanes it does.
template <class T>
struct Ends {
  using Mask = decltype(T{} < T{});
  Mask terminated, cut;

  [[gnu::always_inline]] T bootstrap(T y) const { return elementary::select(terminated, T{}, y); }
  [[gnu::always_inline]] T carry(T y, T z) const { return elementary::select(cut, z, y); }
};

/// The smaller of a checked number and a bar: neither is NaN, so one instruction does it.
template <class T>
[[gnu::always_inline]] inline T cut_at(T x, scalar_t<T> bar) {
  if constexpr (lane_count<T> == 1)
    return x < bar ? x : bar;
  else
    return x < splat<T>(bar) ? x : splat<T>(bar);
}

/// Is one of the `count` flags set?
template <std::size_t count>
[[gnu::always_inline]] inline bool any_flag(const bool* flags) {
  if constexpr (count == 1) {
    return *flags;
  } else if constexpr (count > 8) {
    return any_flag<8>(flags) || any_flag<count - 8>(flags + 8);
  } else {
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, flags, count);
    return bytes != 0;
  }
}

/// Does an episode end in one of the `count` entries from i on?
template <std::size_t count, class S>
[[gnu::always_inline]] inline bool any_end(const StepColumns<S>& in, std::size_t i) {
  return (in.terminated && any_flag<count>(in.terminated + i)) || (in.truncated && any_flag<count>(in.truncated + i));
}

/// The flags of the entries from i on, as masks. `last`: the data end after them.
template <class T, class S>
Ends<T> ends_at(const StepColumns<S>& in, std::size_t i, bool last) {
  Ends<T> result{};
  if constexpr (lane_count<T> == 1) {
    result.terminated = in.terminated && in.terminated[i];
    result.cut = last || result.terminated || (in.truncated && in.truncated[i]);
  } else {
    for (std::size_t k = 0; k < lane_count<T>; ++k) {
      const bool terminated = in.terminated && in.terminated[i + k];
      result.terminated[k] = terminated ? -1 : 0;
      result.cut[k] = last || terminated || (in.truncated && in.truncated[i + k]) ? -1 : 0;
    }
  }
  return result;
}

/// Stores results; `watch` stays 0 as long as they are finite, and is NaN afterwards.
template <class T, class S>
[[gnu::always_inline]] inline void give(const SweepOutput<S>& out, std::size_t i, const Results<T>& results, T& watch) {
  if (out.first) {
    store<T>(out.first + i, results.first);
    watch = watch + (results.first - results.first);
  }
  if (out.second) {
    store<T>(out.second + i, results.second);
    watch = watch + (results.second - results.second);
  }
}

/// The entries from i on, one environment a lane.
template <class T, class S, class Kernel, class End>
[[gnu::always_inline]] inline void sweep_lanes(const Kernel& kernel, const SweepOutput<S>& out, std::size_t i,
                                               const End& end, bool write, T& x, T& watch) {
  const T later = x;
  const Affine<T> step = kernel.template step<T>(i, end);
  x = step.a + step.b * later;
  if (write) give(out, i, kernel.template results<T>(i, end, x, later), watch);
}

/// One row of lanes of environments. (A fold, for a loop might keep x and watch in memory.)
template <class T, class S, class Kernel, std::size_t groups, std::size_t... k>
[[gnu::always_inline]] inline void sweep_groups(std::index_sequence<k...>, const StepColumns<S>& in,
                                                const Kernel& kernel, const SweepOutput<S>& out, std::size_t i,
                                                bool last, bool write, T (&x)[groups], T (&watch)[groups]) {
  constexpr std::size_t lanes = lane_count<T>;
  if (!last && !any_end<groups * lanes>(in, i))
    (sweep_lanes(kernel, out, i + k * lanes, GoesOn{}, write, x[k], watch[k]), ...);
  else
    (sweep_lanes(kernel, out, i + k * lanes, ends_at<T>(in, i + k * lanes, last), write, x[k], watch[k]), ...);
}
template <class T, std::size_t groups, class S, class Kernel>
[[gnu::always_inline]] inline void sweep_row(const StepColumns<S>& in, const Kernel& kernel, const SweepOutput<S>& out,
                                             std::size_t i, bool last, bool write, T (&x)[groups], T (&watch)[groups]) {
  sweep_groups<T>(std::make_index_sequence<groups>{}, in, kernel, out, i, last, write, x, watch);
}

/// All rows of the environments from `first` on, `groups` times the lanes of T of them. With a window each transition
/// is computed from at most `window` transitions, itself included. Returns whether all results are finite.
template <class T, std::size_t groups, class S, class Kernel>
[[gnu::noinline]] bool sweep_environments(StepColumns<S> in, Kernel kernel, SweepOutput<S> out, std::size_t first,
                                          std::size_t window) {
  const std::size_t stride = in.environments;
  T x[groups] = {}, watch[groups] = {};
  if (window >= in.rows) {
    std::size_t i = (in.rows - 1) * stride + first;
    sweep_row<T>(in, kernel, out, i, true, true, x, watch);
    for (std::size_t t = in.rows - 1; t > 0; --t) {
      i -= stride;
      sweep_row<T>(in, kernel, out, i, false, true, x, watch);
    }
  } else {  // forward, so that nothing is written over before the windows that begin earlier have read it
    for (std::size_t t = 0; t < in.rows; ++t) {
      const std::size_t end = in.rows - t < window ? in.rows : t + window;
      for (std::size_t k = end; k > t; --k)
        sweep_row<T>(in, kernel, out, (k - 1) * stride + first, k == end, k == t + 1, x, watch);
    }
  }
  bool finite = true;
  for (const T& w : watch) finite = finite && all(w == T{});
  return finite;
}

/// x[k] = a[k] + b[k] x[k + 1] for k = count - 1 .. 0; x[count] is given. Four steps at a time as functions of x[k +
/// 4], so that the chain of dependent operations has a quarter of the length. Where b is 0, x is a, to the bit.
template <class S>
[[gnu::always_inline]] inline void recur(const S* a, const S* b, S* x, std::size_t count) {
  S later = x[count];
  std::size_t k = count;
  for (; k >= 4; k -= 4) {
    const S b2 = b[k - 2] * b[k - 1], a2 = a[k - 2] + b[k - 2] * a[k - 1];
    const S b1 = b[k - 3] * b2, a1 = a[k - 3] + b[k - 3] * a2;
    const S b0 = b[k - 4] * b1, a0 = a[k - 4] + b[k - 4] * a1;
    x[k - 1] = a[k - 1] + b[k - 1] * later;
    x[k - 2] = a2 + b2 * later;
    x[k - 3] = a1 + b1 * later;
    x[k - 4] = later = a0 + b0 * later;
  }
  for (; k > 0; --k) x[k - 1] = later = a[k - 1] + b[k - 1] * later;
}

/// A block of one sequence: `count` transitions from `begin` on.
template <class S, class Kernel>
struct SequenceBlock {
  static constexpr std::size_t size = 256, tile = 32;
  using T = Lanes<S>;

  const StepColumns<S>& in;
  const Kernel& kernel;
  const SweepOutput<S>& out;
  S *a, *b, *x;  ///< the recursion's coefficients, and its values: one more
  T& watch;
  S& watch_one;

  /// What both passes do with the transitions from begin + k on: coefficients first, then results.
  template <bool results, class U, class End>
  [[gnu::always_inline]] void lanes_at(std::size_t begin, std::size_t k, const End& end) const {
    if constexpr (!results) {
      const Affine<U> step = kernel.template step<U>(begin + k, end);
      store<U>(a + k, step.a), store<U>(b + k, step.b);
    } else {
      const auto given = kernel.template results<U>(begin + k, end, load<U>(x + k), load<U>(x + k + 1));
      if constexpr (lane_count<U> == lane_count<T>)
        give(out, begin + k, given, watch);
      else
        give(out, begin + k, given, watch_one);
    }
  }

  /// Backward in here too, as the hardware that fetches ahead likes it: one by one down to whole lanes (the last
  /// transition of all is alone: the data end there), then a tile of lanes at a time where no episode ends in it.
  template <bool results>
  [[gnu::always_inline]] void pass(std::size_t begin, std::size_t count) const {
    constexpr std::size_t lanes = lane_count<T>;
    const bool last = begin + count == in.rows;
    const std::size_t whole = (last ? count - 1 : count) / lanes * lanes;
    std::size_t k = count;
    while (k > whole) {
      --k;
      lanes_at<results, S>(begin, k, ends_at<S>(in, begin + k, last && k + 1 == count));
    }
    while (k > 0) {
      if (k >= tile && !any_end<tile>(in, begin + k - tile))
        for (std::size_t j = 0; j < tile; j += lanes) lanes_at<results, T>(begin, k -= lanes, GoesOn{});
      else if (k -= lanes; any_end<lanes>(in, begin + k))
        lanes_at<results, T>(begin, k, ends_at<T>(in, begin + k, false));
      else
        lanes_at<results, T>(begin, k, GoesOn{});
    }
  }
};

/// One sequence. Returns whether all results are finite.
template <class S, class Kernel>
[[gnu::noinline]] bool sweep_sequence(StepColumns<S> in, Kernel kernel, SweepOutput<S> out) {
  using Block = SequenceBlock<S, Kernel>;
  alignas(64) S a[Block::size], b[Block::size], x[Block::size + 1];
  Lanes<S> watch{};
  S watch_one = 0;
  const Block block{in, kernel, out, a, b, x, watch, watch_one};
  x[0] = 0;
  for (std::size_t rows = in.rows; rows > 0;) {
    const std::size_t begin = (rows - 1) / Block::size * Block::size, count = rows - begin;
    block.template pass<false>(begin, count);
    x[count] = x[0];
    recur(a, b, x, count);
    block.template pass<true>(begin, count);
    rows = begin;
  }
  return watch_one == S(0) && all(watch == Lanes<S>{});
}

/// Runs a kernel over checked columns. Throws where numbers overflow, after the fact.
template <class S, class Kernel>
void sweep(std::string_view where, const StepColumns<S>& in, const Kernel& kernel, const SweepOutput<S>& out,
           std::size_t window = all_steps) {
  using T = Lanes<S>;
  constexpr std::size_t lanes = lane_count<T>;
  // A cache line of a row at a time: as much as 16 registers hold. Two of the widest lanes: two chains of operations.
  constexpr std::size_t groups = lanes == 1 ? 1 : sizeof(T) < 64 ? 64 / sizeof(T) : 2;
  const std::size_t environments = in.environments;
  bool finite = true;
  if (environments == 1 && window >= in.rows) {
    finite = sweep_sequence(in, kernel, out);
  } else {
    std::size_t e = 0;
    if constexpr (groups > 1)
      for (; e + groups * lanes <= environments; e += groups * lanes)
        finite = sweep_environments<T, groups>(in, kernel, out, e, window) && finite;
    if constexpr (lanes > 1)
      for (; e + lanes <= environments; e += lanes)
        finite = sweep_environments<T, 1>(in, kernel, out, e, window) && finite;
    for (; e < environments; ++e) finite = sweep_environments<S, 1>(in, kernel, out, e, window) && finite;
  }
  if (!finite)
    fail(where, "a result is not finite: the numbers overflow the columns' type; the results are not usable");
}

}  // namespace valence::detail
