#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <numeric>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random/exact.hpp"
#include "valence/core/random/philox.hpp"
#include "valence/core/random/ziggurat.hpp"

// What is rarely run stays out of line, so that what is always run is small enough to be inlined. It matters beyond the
// call: Clang clears a register before it converts an integer into it only if it sees the loop around it, and without
// that a draw waits for what the caller did with the one before.
#if defined(__GNUC__)
#define VALENCE_DETAIL_OUT_OF_LINE __attribute__((noinline))
#else
#define VALENCE_DETAIL_OUT_OF_LINE
#endif

namespace valence {

namespace detail {

/// Exact 64 x 64 -> 128 bit product.
struct Wide {
  std::uint64_t high, low;
};
inline Wide multiply_wide(std::uint64_t a, std::uint64_t b) {
#if defined(__SIZEOF_INT128__)
  __extension__ typedef unsigned __int128 U128;
  const U128 product = static_cast<U128>(a) * b;
  return {static_cast<std::uint64_t>(product >> 64), static_cast<std::uint64_t>(product)};
#else
  const std::uint64_t al = a & 0xFFFFFFFF, ah = a >> 32, bl = b & 0xFFFFFFFF, bh = b >> 32;
  const std::uint64_t ll = al * bl, lh = al * bh, hl = ah * bl;
  const std::uint64_t middle = (ll >> 32) + (lh & 0xFFFFFFFF) + (hl & 0xFFFFFFFF);
  return {ah * bh + (lh >> 32) + (hl >> 32) + (middle >> 32), middle << 32 | (ll & 0xFFFFFFFF)};
#endif
}

/// The sum of `weights`, which must not be empty, have a negative, infinite or NaN entry, or be all zero.
template <class S>
double total_weight(std::string_view where, std::span<const S> weights) {
  double total = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!(weights[i] >= 0 && weights[i] <= (std::numeric_limits<S>::max)())) [[unlikely]]
      fail(where, "weights[{}] is {}; expected a finite number >= 0", i, weights[i]);
    total += static_cast<double>(weights[i]);
  }
  if (weights.empty()) fail(where, "weights is empty; expected at least one");
  if (total == 0) fail(where, "weights are all 0; expected at least one greater than 0");
  check_finite(where, "the sum of weights", total);
  return total;
}

/// The first index whose running sum is above u * total, for u in [0, 1). Never one of weight 0: the sum doesn't grow
/// there; and where rounding lets u * total reach the sum, the last index with a weight (pitfall N3).
template <class S>
std::size_t inverse_cdf(std::span<const S> weights, double total, double u) {
  const double target = times(u, total);
  double sum = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0) last = i;
    sum += static_cast<double>(weights[i]);
    if (target < sum) return i;
  }
  return last;
}

/// More random bits for one draw that its own output was not enough for: a stream of its own, made from the draw's
/// position.
class SideStream {
 public:
  explicit SideStream(const StreamIdentity& identity) : identity_(identity) {}
  std::uint64_t operator()() {
    if (count_ % 2 == 0) outputs_ = philox_block(identity_, count_ / 2);
    return outputs_[count_++ % 2];
  }

 private:
  StreamIdentity identity_;
  std::uint64_t count_ = 0;
  std::array<std::uint64_t, 2> outputs_{};
};

/// The ziggurat for the 64 bits `x` in the rare case (1 %) that they alone do not decide; continues with `more` until
/// it does. Bits 0-7 choose the layer, bit 8 the sign, bits 11-63 the place: no bit is used twice.
inline double normal_undecided(std::uint64_t x, const StreamIdentity& side) {
  SideStream more(side);
  const Ziggurat& table = normal_ziggurat;
  for (;; x = more()) {
    const std::size_t i = x & 255;
    double magnitude = static_cast<double>(static_cast<std::int64_t>(x >> 11)) * table.layer[i].scale;
    bool inside = x >> 11 < table.layer[i].inside;
    if (!inside && i == 0) {  // the tail beyond r: Marsaglia (1964)
      double excess, y;
      do {
        excess = -exact_log(open_unit<double>(more())) / table.tail;
        y = -exact_log(open_unit<double>(more()));
      } while (y + y < times(excess, excess));
      magnitude = table.tail + excess;
      inside = true;
    } else if (!inside) {
      const double height = table.density[i] + times(table.density[i + 1] - table.density[i], unit<double>(more()));
      inside = height < exact_exp(times(magnitude, magnitude) * -0.5);
    }
    if (inside) return (x & 256) != 0 ? -magnitude : magnitude;
  }
}

/// As above for the exponential distribution; the place is an odd number, so the result is never 0.
inline double exponential_undecided(std::uint64_t x, const StreamIdentity& side) {
  SideStream more(side);
  const Ziggurat& table = exponential_ziggurat;
  double beyond = 0;  // the distribution has no memory: beyond r it starts again
  for (;; x = more()) {
    const std::size_t i = x & 255;
    const double magnitude = times(static_cast<double>(static_cast<std::int64_t>(x >> 11 | 1)), table.layer[i].scale);
    if ((x >> 11 | 1) < table.layer[i].inside) return beyond + magnitude;
    if (i == 0) {
      beyond += table.tail;
      continue;
    }
    const double height = table.density[i] + times(table.density[i + 1] - table.density[i], unit<double>(more()));
    if (height < exact_exp(-magnitude)) return beyond + magnitude;
  }
}

}  // namespace detail

/// The library's generator of random numbers: Philox4x32-10 (Salmon et al. 2011), counter-based and splittable. Same
/// seed, same bits: on every compiler, standard library, width of register and number of threads, for the raw outputs
/// and for every distribution. Satisfies `std::uniform_random_bit_generator`. Not for cryptography.
///
/// **A stream** is a sequence of 2^63 outputs of 64 bits; `position()` counts the outputs used. Output 2 b and 2 b + 1
/// are the low and the high half of Philox block (counter b, key). A stream's identity is 128 bits: the key and the
/// upper half of the counter (0 for `Rng{seed}`).
///
/// **Consumption.** Each of `operator()`, `uniform`, `open_uniform`, `below`, `integer`, `bernoulli`, `normal`,
/// `exponential`, `gumbel`, `geometric`, `categorical` and a draw from an `AliasTable` uses exactly one output, for
/// every type and every value of the parameters. Where a method must reject and try again, the further bits come from a
/// side stream made from the draw's position. So draw n depends on the seed and n alone: `discard(n)` skips n normals
/// as well as n raw outputs, and two programs that draw different distributions stay in step. `fill_xxx(out)` gives the
/// bits that `out.size()` scalar draws would give and leaves the generator where they would. `gamma`, `beta`,
/// `dirichlet`, `poisson`, `binomial` are compositions and use as many outputs as they need; `categorical_logits` uses
/// one for each logit, `shuffle` and `permutation` of n use max(n - 1, 0), `sample(n, k)` uses k.
///
/// **Splitting.** `split(i)` gives child i of a stream; it depends on the parent's identity alone, not on its position,
/// and does not advance it. Children split again. Children of one parent never collide; among k streams of one tree,
/// the probability that any two have the same identity is about k^2 / 2^129 (2^40 streams: 10^-15).
///
/// `float` results are made from the same output as `double` ones: `uniform<float>()` is `uniform()` rounded down to 24
/// bits. One generator is not to be used by two threads at once; give each its own `split(i)`. 288 bytes, copyable,
/// compared by state.
class Rng {
 public:
  using result_type = std::uint64_t;
  static constexpr result_type(min)() { return 0; }
  static constexpr result_type(max)() { return ~result_type{0}; }

  /// The stream with this seed, at position 0. Every seed is as good as any other; a negative one counts modulo 2^64.
  template <std::integral Seed>
  explicit constexpr Rng(Seed seed) : Rng(detail::StreamIdentity{static_cast<std::uint64_t>(seed), 0}) {}
  constexpr Rng() : Rng(0) {}

  /// The next 64 random bits.
  result_type operator()() {
    if (position_ / detail::philox_group_outputs != held_group_) hold_group();
    return held_[position_++ % detail::philox_group_outputs];
  }

  /// How many outputs were used. Below 2^63.
  std::uint64_t position() const { return position_ & position_mask; }
  /// Goes to output `position`, forwards or backwards, in O(1); modulo 2^63.
  void seek(std::uint64_t position) { position_ = position & position_mask; }
  /// Skips `n` outputs in O(1).
  void discard(std::uint64_t n) { seek(position_ + n); }

  /// Child `i`: an independent stream at position 0 (see the class's description). O(1), about 30 ns.
  template <std::integral Index>
  Rng split(Index i) const {
    return child(static_cast<std::uint64_t>(i));
  }

  /// Same stream and same position: everything drawn from now on is equal.
  friend bool operator==(const Rng& a, const Rng& b) {
    return a.identity_ == b.identity_ && a.position() == b.position();
  }

  /// The whole state in three numbers of 64 bits. What was loaded goes on at the exact output.
  template <class A>
  void archive(A& ar) {
    position_ &= position_mask;
    ar(identity_.key, identity_.upper, position_);
    position_ &= position_mask;
    held_group_ = no_group;
  }

  /// Uniform on [0, 1): multiples of 2^-53 (float: 2^-24), never 1. One output.
  template <std::floating_point S = double>
  S uniform() {
    return detail::unit<S>((*this)());
  }

  /// Uniform on (0, 1): odd multiples of 2^-53 (float: 2^-24), never 0 or 1; for logarithms. One output.
  template <std::floating_point S = double>
  S open_uniform() {
    return detail::open_unit<S>((*this)());
  }

  /// Uniform on [low, high): low + (high - low) u, and never `high` after rounding. One output.
  /// Throws unless low < high, both are finite and so is their difference.
  template <std::floating_point S = double>
  S uniform(std::type_identity_t<S> low, std::type_identity_t<S> high) {
    check_interval("Rng::uniform", low, high);
    return scale_to(low, high, detail::unit<S>((*this)()));
  }

  /// Unbiased on 0, 1, ..., n - 1, for every n >= 1 of any integer type; the result has the type of `n`. One output.
  /// Throws for n <= 0. Source: Lemire (2019), "Fast random integer generation in an interval".
  template <std::integral T>
  T below(T n) {
    check_bound("Rng::below", n);
    const std::uint64_t x = (*this)();
    return static_cast<T>(lemire(x, static_cast<std::uint64_t>(n), position_ - 1));
  }

  /// Unbiased on low, low + 1, ..., high, both ends included. One output. Throws if low > high.
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    if (low > high) fail("Rng::integer", "low is {} and high is {}; expected low <= high", low, high);
    const std::uint64_t n = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) + 1;
    const std::uint64_t x = (*this)();
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + (n == 0 ? x : lemire(x, n, position_ - 1)));
  }

  /// True with probability `p` (to 2^-53): never for 0, always for 1. One output. Throws unless 0 <= p <= 1.
  bool bernoulli(double p) {
    if (!(p >= 0 && p <= 1)) [[unlikely]]
      check_range("Rng::bernoulli", "p", p, 0, 1);
    return uniform() < p;
  }

  /// Standard normal, by the ziggurat of Marsaglia and Tsang (2000) with 256 layers and exact tail. One output.
  /// `normal<float>()` is `normal()` rounded.
  template <std::floating_point S = double>
  S normal() {
    const std::uint64_t x = (*this)();
    return static_cast<S>(normal_from(x, position_ - 1));
  }

  /// Normal with this mean and standard deviation. One output. Throws unless both are finite and the deviation is >= 0.
  template <std::floating_point S = double>
  S normal(std::type_identity_t<S> mean, std::type_identity_t<S> standard_deviation) {
    check_normal("Rng::normal", mean, standard_deviation);
    return mean + detail::times(standard_deviation, normal<S>());
  }

  /// Exponential with mean 1, on (0, inf), by the ziggurat. One output.
  template <std::floating_point S = double>
  S exponential() {
    const std::uint64_t x = (*this)();
    return static_cast<S>(exponential_from(x, position_ - 1));
  }

  /// Exponential with this rate, so the mean is 1 / rate. One output. Throws unless the rate is finite and > 0.
  template <std::floating_point S = double>
  S exponential(std::type_identity_t<S> rate) {
    check_positive("Rng::exponential", "rate", rate);
    return exponential<S>() / rate;
  }

  /// Standard Gumbel: -log of an exponential. One output.
  double gumbel() { return -detail::exact_log(exponential()); }

  /// Failures before the first success, each trial of probability `p`: mean (1 - p) / p. One output. At most 2^64 - 1
  /// (it matters for p below about 1e-18). Throws unless 0 < p <= 1. Source: the integer part of an exponential
  /// (Devroye 1986, section X.2).
  std::uint64_t geometric(double p) {
    if (!(p > 0 && p <= 1)) [[unlikely]]
      fail("Rng::geometric", "p is {}; expected a number in (0, 1]", p);
    return waiting_time(-detail::exact_log1p(-p));
  }

  /// Index `i` with probability weights[i] / sum, by a running sum; never one of weight 0. One output. For many draws
  /// from the same weights see `AliasTable`. Throws if the weights are empty, all zero, or one is negative, infinite or
  /// NaN.
  std::size_t categorical(std::span<const double> weights) { return categorical_of(weights); }
  std::size_t categorical(std::span<const float> weights) { return categorical_of(weights); }

  /// Index `i` with probability softmax(logits)[i], by the Gumbel-max trick: nothing can overflow, and -inf is never
  /// chosen. One output for each logit. Throws if the logits are empty, all -inf, or one is NaN or +inf.
  std::size_t categorical_logits(std::span<const double> logits) { return categorical_logits_of(logits); }
  std::size_t categorical_logits(std::span<const float> logits) { return categorical_logits_of(logits); }

  /// Gamma with this shape and scale: mean shape * scale. For a very small shape most of the mass is below the smallest
  /// double: then the result is 0. Throws unless both are finite and > 0.
  /// Source: Marsaglia, Tsang (2000), "A simple method for generating gamma variables", with its section 6 for shape
  /// < 1.
  double gamma(double shape, double scale = 1) {
    check_positive("Rng::gamma", "shape", shape);
    check_positive("Rng::gamma", "scale", scale);
    if (shape >= 1) return detail::times(gamma_from_one(shape), scale);
    const double larger = gamma_from_one(shape + 1);
    return detail::times(larger * detail::exact_exp(-exponential() / shape), scale);
  }

  /// Beta on [0, 1], as a ratio of gammas, through their logarithms where a shape is below 1. Throws unless both shapes
  /// are finite and > 0.
  double beta(double a, double b) {
    check_positive("Rng::beta", "a", a);
    check_positive("Rng::beta", "b", b);
    if (a >= 1 && b >= 1) return beta_from_one(a, b);
    const double log_x = log_gamma_draw(a), log_y = log_gamma_draw(b);
    if (!std::isfinite(log_x) && !std::isfinite(log_y)) {  // both underflowed even as logarithms: the limit is a coin
      const double zero_or_one[] = {b, a};
      return static_cast<double>(categorical(zero_or_one));
    }
    return 1 / (1 + detail::exact_exp(log_y - log_x));
  }

  /// A probability vector with parameters `alpha` into `out` (same size, not overlapping). Finite for every alpha > 0,
  /// however small. Throws if alpha is empty, the sizes differ, or an entry is not finite and > 0.
  void dirichlet(std::span<const double> alpha, std::span<double> out);

  /// Poisson with this mean, in O(log mean). Throws unless 0 <= mean <= 1e15.
  /// Source: Ahrens, Dieter (1974), "Computer methods for sampling from gamma, beta, Poisson and binomial
  /// distributions".
  std::uint64_t poisson(double mean);

  /// Successes among `n` trials of probability `p`, in O(log n). Throws unless 0 <= p <= 1.
  /// Source: Ahrens, Dieter (1974), as above.
  std::uint64_t binomial(std::uint64_t n, double p);

  /// `k` different numbers out of 0 ... n - 1, every ordered choice equally likely: the first `k` steps of a
  /// Fisher-Yates shuffle, in O(k) time and memory. Uses `k` outputs. Throws if k > n.
  std::vector<std::size_t> sample(std::size_t n, std::size_t k);

  /// `out[i] = (*this)()`.
  void fill(std::span<std::uint64_t> out) {
    fill_each(out.data(), out.size(), [](std::uint64_t x, std::uint64_t) { return x; });
  }
  /// `out[i] = uniform()`.
  void fill_uniform(std::span<double> out) { fill_unit(out); }
  void fill_uniform(std::span<float> out) { fill_unit(out); }
  /// `out[i] = uniform(low, high)`.
  void fill_uniform(std::span<double> out, double low, double high) { fill_interval(out, low, high); }
  void fill_uniform(std::span<float> out, float low, float high) { fill_interval(out, low, high); }
  /// `out[i] = normal()`.
  void fill_normal(std::span<double> out) { fill_standard_normal(out); }
  void fill_normal(std::span<float> out) { fill_standard_normal(out); }
  /// `out[i] = normal(mean, standard_deviation)`.
  void fill_normal(std::span<double> out, double mean, double standard_deviation) {
    fill_scaled_normal(out, mean, standard_deviation);
  }
  void fill_normal(std::span<float> out, float mean, float standard_deviation) {
    fill_scaled_normal(out, mean, standard_deviation);
  }
  /// `out[i] = exponential()`.
  void fill_exponential(std::span<double> out) { fill_standard_exponential(out); }
  void fill_exponential(std::span<float> out) { fill_standard_exponential(out); }
  /// `out[i] = below(n)`. Throws for n <= 0.
  void fill_below(std::span<std::uint64_t> out, std::uint64_t n) { fill_integers(out, n); }
  void fill_below(std::span<std::int64_t> out, std::int64_t n) { fill_integers(out, n); }
  void fill_below(std::span<std::uint32_t> out, std::uint32_t n) { fill_integers(out, n); }
  void fill_below(std::span<std::int32_t> out, std::int32_t n) { fill_integers(out, n); }

  /// Puts the elements in an order that is uniform over all of them (Fisher-Yates). Uses max(size - 1, 0) outputs.
  template <class T, std::size_t Extent>
  void shuffle(std::span<T, Extent> items) {
    using std::swap;
    std::uint64_t bits[64];
    for (std::size_t i = items.size(); i > 1;) {
      const std::size_t now = (std::min)(i - 1, std::size(bits));
      const std::uint64_t start = position();
      fill(std::span(bits, now));
      for (std::size_t k = 0; k < now; ++k, --i)
        swap(items[i - 1], items[static_cast<std::size_t>(lemire(bits[k], i, start + k))]);
    }
  }
  template <class T>
  void shuffle(std::vector<T>& items) {
    shuffle(std::span<T>(items));
  }

  /// The numbers 0 ... n - 1 in uniformly random order.
  std::vector<std::size_t> permutation(std::size_t n) {
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    shuffle(order);
    return order;
  }

 private:
  static constexpr std::uint64_t position_mask = (std::uint64_t{1} << 63) - 1;
  static constexpr std::uint64_t no_group = ~std::uint64_t{0};
  static constexpr std::size_t chunk = 8 * detail::philox_group_outputs;

  explicit constexpr Rng(const detail::StreamIdentity& identity) : identity_(identity) {}

  Rng child(std::uint64_t i) const {
    // The children's identities are the outputs of a stream that nobody draws from: its own identity comes from a block
    // in the half of the counters that positions do not reach.
    const auto splitter = detail::philox_block(identity_, ~std::uint64_t{0});
    const auto identity = detail::philox_block({splitter[0], splitter[1]}, i);
    return Rng(detail::StreamIdentity{identity[0], identity[1]});
  }

  VALENCE_DETAIL_OUT_OF_LINE void hold_group() {
    position_ &= position_mask;
    held_group_ = position_ / detail::philox_group_outputs;
    detail::philox_groups(identity_, held_group_ * detail::philox_group_blocks, 1, held_.data());
  }

  /// Where the draw at `position` finds further random bits: its counter is in the half that positions do not reach.
  detail::StreamIdentity side(std::uint64_t position) const {
    const auto block = detail::philox_block(identity_, ~position_mask | position);
    return {block[0], block[1]};
  }

  std::uint64_t lemire(std::uint64_t x, std::uint64_t n, std::uint64_t position) const {
    const detail::Wide product = detail::multiply_wide(x, n);
    if (product.low < n) [[unlikely]]
      return lemire_undecided(product, n, position);
    return product.high;
  }
  VALENCE_DETAIL_OUT_OF_LINE std::uint64_t lemire_undecided(detail::Wide product, std::uint64_t n,
                                                            std::uint64_t position) const {
    const std::uint64_t surplus = (0 - n) % n;  // 2^64 mod n: so many low words would come up once too often
    if (product.low < surplus) {
      detail::SideStream more(side(position));
      do product = detail::multiply_wide(more(), n);
      while (product.low < surplus);
    }
    return product.high;
  }
  VALENCE_DETAIL_OUT_OF_LINE double normal_undecided(std::uint64_t x, std::uint64_t position) const {
    return detail::normal_undecided(x, side(position));
  }
  VALENCE_DETAIL_OUT_OF_LINE double exponential_undecided(std::uint64_t x, std::uint64_t position) const {
    return detail::exponential_undecided(x, side(position));
  }

  double normal_from(std::uint64_t x, std::uint64_t position) const {
    const detail::ZigguratLayer& layer = detail::normal_ziggurat.layer[x & 255];
    if (x >> 11 >= layer.inside) [[unlikely]]
      return normal_undecided(x, position);
    const double magnitude = detail::times(static_cast<double>(static_cast<std::int64_t>(x >> 11)), layer.scale);
    return std::bit_cast<double>(std::bit_cast<std::uint64_t>(magnitude) | (x & 256) << 55);
  }

  double exponential_from(std::uint64_t x, std::uint64_t position) const {
    const detail::ZigguratLayer& layer = detail::exponential_ziggurat.layer[x & 255];
    if ((x >> 11 | 1) >= layer.inside) [[unlikely]]
      return exponential_undecided(x, position);
    return detail::times(static_cast<double>(static_cast<std::int64_t>(x >> 11 | 1)), layer.scale);
  }

  /// Failures before a success where a trial fails with probability e^-rate: floor(E / rate).
  std::uint64_t waiting_time(double rate) {
    const double trials = exponential() / rate;
    return trials < 0x1p64 ? static_cast<std::uint64_t>(trials) : ~std::uint64_t{0};
  }

  template <class S>
  std::size_t categorical_of(std::span<const S> weights) {
    const double total = detail::total_weight("Rng::categorical", weights);
    return detail::inverse_cdf(weights, total, uniform());
  }
  template <class S>
  std::size_t categorical_logits_of(std::span<const S> logits);
  double gamma_from_one(double shape);
  double log_gamma_draw(double shape);
  double beta_from_one(double a, double b) {
    const double x = gamma_from_one(a), y = gamma_from_one(b);
    return x / (x + y);
  }

  template <class S>
  static S scale_to(S low, S high, S u) {
    const S value = low + detail::times(high - low, u);
    return value < high ? value : std::nextafter(high, low);
  }

  /// `out[i] = from(output i, its position)`: whole groups through a buffer, the ends through the group that the
  /// generator holds.
  template <class T, class From>
  void fill_each(T* out, std::size_t count, From from) {
    fill_groups(out, count, from, [from](const std::uint64_t* outputs, T* to, std::size_t now, std::uint64_t position) {
      for (std::size_t i = 0; i < now; ++i) to[i] = from(outputs[i], position + i);
    });
  }
  template <class T, class From, class FromGroups>
  void fill_groups(T* out, std::size_t count, From from, FromGroups from_groups) {
    constexpr std::size_t group = detail::philox_group_outputs;
    while (count > 0 && (position_ % group != 0 || count < group)) {
      const std::uint64_t x = (*this)();
      *out++ = from(x, position_ - 1);
      --count;
    }
    alignas(64) std::uint64_t outputs[chunk];
    while (count >= group) {
      position_ &= position_mask;
      const std::size_t now = (std::min)(count, chunk) / group * group;
      detail::philox_groups(identity_, position_ / 2, now / group, outputs);
      from_groups(outputs, out, now, position_);
      position_ += now;
      out += now;
      count -= now;
    }
    for (; count > 0; --count) {
      const std::uint64_t x = (*this)();
      *out++ = from(x, position_ - 1);
    }
  }

  template <class S>
  void fill_unit(std::span<S> out) {
    fill_groups(
        out.data(), out.size(), [](std::uint64_t x, std::uint64_t) { return detail::unit<S>(x); },
        [](const std::uint64_t* outputs, S* to, std::size_t now, std::uint64_t) { detail::units(outputs, to, now); });
  }
  template <class S>
  void fill_interval(std::span<S> out, S low, S high) {
    check_interval("Rng::fill_uniform", low, high);
    fill_each(out.data(), out.size(),
              [=](std::uint64_t x, std::uint64_t) { return scale_to(low, high, detail::unit<S>(x)); });
  }
  template <class S>
  void fill_standard_normal(std::span<S> out) {
    fill_each(out.data(), out.size(),
              [this](std::uint64_t x, std::uint64_t position) { return static_cast<S>(normal_from(x, position)); });
  }
  template <class S>
  void fill_scaled_normal(std::span<S> out, S mean, S standard_deviation) {
    check_normal("Rng::fill_normal", mean, standard_deviation);
    fill_each(out.data(), out.size(), [=, this](std::uint64_t x, std::uint64_t position) {
      return mean + detail::times(standard_deviation, static_cast<S>(normal_from(x, position)));
    });
  }
  template <class S>
  void fill_standard_exponential(std::span<S> out) {
    fill_each(out.data(), out.size(), [this](std::uint64_t x, std::uint64_t position) {
      return static_cast<S>(exponential_from(x, position));
    });
  }
  template <class T>
  void fill_integers(std::span<T> out, T n) {
    check_bound("Rng::fill_below", n);
    fill_each(out.data(), out.size(), [this, bound = static_cast<std::uint64_t>(n)](std::uint64_t x, std::uint64_t at) {
      return static_cast<T>(lemire(x, bound, at));
    });
  }

  template <class T>
  static void check_bound(std::string_view where, T n) {
    if (!(n > 0)) [[unlikely]]
      fail(where, "n is {}; expected at least 1", n);
  }
  template <class S>
  static void check_interval(std::string_view where, S low, S high) {
    if (!(low < high) || !std::isfinite(high - low)) [[unlikely]]
      fail(where, "low is {} and high is {}; expected finite numbers with low < high and a finite difference", low,
           high);
  }
  template <class S>
  static void check_normal(std::string_view where, S mean, S standard_deviation) {
    check_finite(where, "mean", mean);
    if (!(standard_deviation >= 0) || !std::isfinite(standard_deviation)) [[unlikely]]
      fail(where, "standard_deviation is {}; expected a finite number >= 0", standard_deviation);
  }

  detail::StreamIdentity identity_;
  std::uint64_t position_ = 0;
  std::uint64_t held_group_ = no_group;  // which group of outputs `held_` has; not state, it follows from the rest
  std::array<std::uint64_t, detail::philox_group_outputs> held_{};
};

// --- What is too long for the class. ---

template <class S>
std::size_t Rng::categorical_logits_of(std::span<const S> logits) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  bool possible = false;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(static_cast<double>(logits[i]) < infinity)) [[unlikely]]
      fail("Rng::categorical_logits", "logits[{}] is {}; expected a number below infinity", i, logits[i]);
    possible = possible || static_cast<double>(logits[i]) > -infinity;
  }
  if (logits.empty()) fail("Rng::categorical_logits", "logits is empty; expected at least one");
  if (!possible) fail("Rng::categorical_logits", "logits are all -inf; expected at least one finite");
  std::size_t best = 0;
  double largest = -infinity;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double perturbed = static_cast<double>(logits[i]) + gumbel();
    if (perturbed > largest) {
      largest = perturbed;
      best = i;
    }
  }
  return best;
}

/// Gamma with shape >= 1 and scale 1. With x normal, t = c x and v = (1 + t)^3, d v has the density up to a factor of
/// nearly
/// 1. The test log u < x^2 / 2 + d (1 - v + log v) is written so that for a large d little is lost to cancellation.
inline double Rng::gamma_from_one(double shape) {
  using detail::times;
  const double d = shape - 1.0 / 3, c = 1 / (3 * std::sqrt(d));
  for (;;) {
    const double x = normal(), t = times(c, x), root = 1 + t;
    if (root <= 0) continue;
    const double v = times(times(root, root), root), square = times(x, x), u = open_uniform();
    if (u < 1 - times(0.0331, times(square, square)) ||
        detail::exact_log(u) <
            times(0.5, square) + times(d, times(3.0, detail::exact_log1p(t) - t) - times(times(t, t), 3 + t)))
      return times(d, v);
  }
}

/// The logarithm of a gamma draw with scale 1, where the draw itself may underflow.
inline double Rng::log_gamma_draw(double shape) {
  if (shape >= 1) return detail::exact_log(gamma_from_one(shape));
  const double log_larger = detail::exact_log(gamma_from_one(shape + 1));
  return log_larger - exponential() / shape;
}

inline void Rng::dirichlet(std::span<const double> alpha, std::span<double> out) {
  if (alpha.empty()) fail("Rng::dirichlet", "alpha is empty; expected at least one entry");
  check_size("Rng::dirichlet", "out", out.size(), alpha.size());
  for (std::size_t i = 0; i < alpha.size(); ++i)
    if (!(alpha[i] > 0) || !std::isfinite(alpha[i]))
      fail("Rng::dirichlet", "alpha[{}] is {}; expected a finite number greater than 0", i, alpha[i]);
  double largest = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < alpha.size(); ++i) {
    out[i] = log_gamma_draw(alpha[i]);
    largest = (std::max)(largest, out[i]);
  }
  if (!std::isfinite(largest)) {  // all underflowed, even as logarithms: the limit of tiny alphas is a single 1
    for (double& x : out) x = 0;
    out[categorical(alpha)] = 1;
    return;
  }
  double sum = 0;
  for (double& x : out) {
    x = detail::exact_exp(x - largest);
    sum += x;
  }
  for (double& x : out) x /= sum;
}

inline std::uint64_t Rng::poisson(double mean) {
  check_range("Rng::poisson", "mean", mean, 0, 1e15);
  std::uint64_t count = 0;
  while (mean > 10) {  // when does the m-th event of the process come?
    const double m = std::floor(detail::times(mean, 0.875));
    const double time = gamma_from_one(m);
    if (time > mean) return count + binomial(static_cast<std::uint64_t>(m) - 1, mean / time);
    count += static_cast<std::uint64_t>(m);
    mean -= time;
  }
  for (double time = exponential(); time <= mean; time += exponential()) ++count;
  return count;
}

inline std::uint64_t Rng::binomial(std::uint64_t n, double p) {
  check_range("Rng::binomial", "p", p, 0, 1);
  std::uint64_t count = 0;
  // The a-th smallest of n uniforms is beta(a, n + 1 - a): where it falls decides about half of the trials at once.
  while (n > 16 && static_cast<double>(n) * (std::min)(p, 1 - p) > 10) {
    const std::uint64_t a = n / 2 + 1, b = n - n / 2;
    const double y = beta_from_one(static_cast<double>(a), static_cast<double>(b));
    if (y <= p) {
      count += a;
      n = b - 1;
      p = (p - y) / (1 - y);
    } else {
      n = a - 1;
      p = p / y;
    }
  }
  const bool rare = p <= 0.5;  // count the rarer outcome by its waiting times
  const double q = rare ? p : 1 - p;
  std::uint64_t rarer = 0;
  if (q > 0) {
    const double rate = -detail::exact_log1p(-q);
    for (std::uint64_t left = n, wait = waiting_time(rate); wait < left; wait = waiting_time(rate)) {
      ++rarer;
      left -= wait + 1;
    }
  }
  return count + (rare ? rarer : n - rarer);
}

inline std::vector<std::size_t> Rng::sample(std::size_t n, std::size_t k) {
  if (k > n) fail("Rng::sample", "k is {}; expected at most n = {}", k, n);
  std::vector<std::size_t> chosen(k);
  const auto draw = [&](std::size_t i) {
    const std::uint64_t x = (*this)();
    return i + static_cast<std::size_t>(lemire(x, n - i, position_ - 1));
  };
  if (n / 8 < k) {
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = 0; i < k; ++i) {
      std::swap(order[i], order[draw(i)]);
      chosen[i] = order[i];
    }
    return chosen;
  }
  // The same shuffle, of which only the places that were written exist: an open hash table from a place to what is
  // there.
  struct Place {
    std::size_t place, value;
  };
  const auto bits = static_cast<int>(std::bit_width(k)) + 1;
  const std::size_t mask = (std::size_t{1} << bits) - 1, none = (std::numeric_limits<std::size_t>::max)();
  std::vector<Place> table(mask + 1, Place{none, 0});
  const auto find = [&](std::size_t place) -> Place& {
    auto h = static_cast<std::size_t>((std::uint64_t{place} * 0x9E3779B97F4A7C15) >> (64 - bits));
    while (table[h].place != none && table[h].place != place) h = (h + 1) & mask;
    return table[h];
  };
  for (std::size_t i = 0; i < k; ++i) {
    const std::size_t j = draw(i);
    const Place& at_i = find(i);
    const std::size_t here = at_i.place == none ? i : at_i.value;
    Place& at_j = find(j);
    chosen[i] = at_j.place == none ? j : at_j.value;
    at_j = {j, here};
  }
  return chosen;
}

}  // namespace valence

#undef VALENCE_DETAIL_OUT_OF_LINE
