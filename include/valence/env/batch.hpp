#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

/// What batches of an environment share: many copies whose state lies in one array a variable, so that one instruction
/// steps several of them.
namespace valence::detail {

/// sin x and cos x for |x| <= pi / 2, of a number or of lanes: Taylor's polynomials, whose errors there are below 7e-10
/// and 6e-9, and below 1e-15 for |x| <= 0.25.
template <class T>
[[gnu::always_inline]] inline T sine_near_zero(T x) {
  using S = scalar_t<T>;
  const T z = x * x;
  return x + x * z *
                 (S(-1.0 / 6) +
                  z * (S(1.0 / 120) + z * (S(-1.0 / 5040) + z * (S(1.0 / 362880) +
                                                                 z * (S(-1.0 / 39916800) + z * S(1.0 / 6227020800))))));
}
template <class T>
[[gnu::always_inline]] inline T cosine_near_zero(T x) {
  using S = scalar_t<T>;
  const T z = x * x;
  return S(1) + z * (S(-0.5) +
                     z * (S(1.0 / 24) + z * (S(-1.0 / 720) +
                                             z * (S(1.0 / 40320) + z * (S(-1.0 / 3628800) + z * S(1.0 / 479001600))))));
}

/// The bookkeeping of a batch: generators, flags, and when the time of each copy is up. Copies reset in the step that
/// ends their episode.
class BatchEpisodes {
 public:
  BatchEpisodes(std::string_view where, int copies, std::int64_t limit) : limit_(limit) {
    check_positive(where, "copies", copies);
    check_positive(where, "time_limit", limit);
    const auto n = static_cast<std::size_t>(copies);
    terminated_ = std::make_unique<bool[]>(n), truncated_ = std::make_unique<bool[]>(n);
    start_.assign(n, 0);
  }

  std::size_t size() const { return start_.size(); }
  std::span<const bool> terminated() const { return {terminated_.get(), size()}; }
  std::span<const bool> truncated() const { return {truncated_.get(), size()}; }
  const std::vector<std::uint32_t>& ended() const { return ended_; }
  Rng& rng(std::size_t i) { return rng_[i]; }

  void begin(const Rng& rng) {
    rng_.clear();
    for (std::size_t i = 0; i < size(); ++i) rng_.push_back(rng.split(i));
    std::fill(start_.begin(), start_.end(), 0);
    steps_ = 0, next_ = limit_;
    clear();
    ended_.reserve(size());
  }
  void check_begun(std::string_view where) const {
    if (rng_.empty()) fail(where, "the environments have not begun; expected reset(rng) first");
  }
  /// Before a step: forgets how the last one ended.
  void clear() {
    for (const std::uint32_t i : ended_) terminated_[i] = truncated_[i] = false;
    ended_.clear();
    ++steps_;
  }
  void terminate(std::size_t i) {
    terminated_[i] = true;
    ended_.push_back(static_cast<std::uint32_t>(i));
  }
  /// After the terminations of a step: cuts off the episodes whose time is up. Looks at the copies only in those steps
  /// in which some may be.
  void truncate() {
    const std::int64_t now = steps_ - 1;
    if (now >= next_) {
      next_ = (std::numeric_limits<std::int64_t>::max)();
      for (std::size_t i = 0; i < size(); ++i) {
        if (now - start_[i] >= limit_ && !terminated_[i]) {
          truncated_[i] = true;
          ended_.push_back(static_cast<std::uint32_t>(i));
        }
        if (now - start_[i] < limit_) next_ = (std::min)(next_, start_[i] + limit_);
      }
      next_ = (std::min)(next_, now + limit_);
    }
    for (const std::uint32_t i : ended_) start_[i] = now;
  }

  /// All but the views; `steps_` counts from 1 at `begin`.
  template <class A>
  void archive(A& ar) {
    const std::size_t n = size();
    std::vector<std::uint8_t> flags(2 * n);
    for (std::size_t i = 0; i < n; ++i) flags[2 * i] = terminated_[i], flags[2 * i + 1] = truncated_[i];
    bool begun = !rng_.empty();
    ar(start_, ended_, steps_, next_, flags, begun);
    check_size("archive", "the batch's start", start_.size(), n);
    check_size("archive", "the batch's flags", flags.size(), 2 * n);
    if (ended_.size() > n)
      fail("archive", "{} copies of {} have ended; expected no more than there are", ended_.size(), n);
    for (const std::uint32_t i : ended_)
      if (i >= n) fail("archive", "copy {} has ended; expected one below {}", i, n);
    if (begun && rng_.empty()) rng_.assign(n, Rng{0});
    if (!begun) rng_.clear();
    for (Rng& r : rng_) ar(r);
    for (std::size_t i = 0; i < n; ++i) terminated_[i] = flags[2 * i] != 0, truncated_[i] = flags[2 * i + 1] != 0;
    ended_.reserve(n);
  }

  /// A column of the batch, of a size that loading may not change.
  template <class A, class Column>
  static void archive_column(A& ar, Column& column) {
    const std::size_t n = column.size();
    ar(column);
    check_size("archive", "a column of the batch", column.size(), n);
  }

  BatchEpisodes(const BatchEpisodes& other)
      : limit_(other.limit_),
        steps_(other.steps_),
        next_(other.next_),
        rng_(other.rng_),
        start_(other.start_),
        ended_(other.ended_),
        terminated_(std::make_unique<bool[]>(other.size())),
        truncated_(std::make_unique<bool[]>(other.size())) {
    std::copy_n(other.terminated_.get(), size(), terminated_.get());
    std::copy_n(other.truncated_.get(), size(), truncated_.get());
  }
  BatchEpisodes& operator=(const BatchEpisodes& other) {
    BatchEpisodes copy(other);
    return *this = std::move(copy);
  }
  BatchEpisodes(BatchEpisodes&&) = default;
  BatchEpisodes& operator=(BatchEpisodes&&) = default;
  ~BatchEpisodes() = default;

 private:
  std::int64_t limit_, steps_ = 0, next_ = 0;
  std::vector<Rng> rng_ = {};
  std::vector<std::int64_t> start_ = {};
  std::vector<std::uint32_t> ended_ = {};  // copies whose episode the last step ended
  std::unique_ptr<bool[]> terminated_, truncated_;
};

/// Rounded up to whole registers: arrays are that long, so that kernels need no remainder.
template <class S>
std::size_t padded_size(std::size_t n) {
  constexpr std::size_t lanes = lane_count<Lanes<S>>;
  return (n + lanes - 1) / lanes * lanes;
}

}  // namespace valence::detail
