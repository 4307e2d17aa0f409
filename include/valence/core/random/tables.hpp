#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/random/rng.hpp"

namespace valence {

/// Draws from a fixed categorical distribution in O(1): index `i` with probability weights[i] / sum. Building is O(n).
/// A draw uses one output of the generator: its product with n gives the cell, the product's lower half decides between
/// the cell's two indices. Probabilities are exact to about n / 2^64 + 2^-53 (relative to 1 / n). An index of weight 0
/// is never drawn. Source: Walker (1977); building by Vose (1991), "A linear algorithm for generating random numbers
/// with a given distribution".
class AliasTable {
 public:
  /// Throws if the weights are empty, all zero, or one is negative, infinite or NaN.
  explicit AliasTable(std::span<const double> weights) { build(weights); }
  explicit AliasTable(std::span<const float> weights) { build(weights); }

  std::size_t size() const { return cells_.size(); }

  /// One draw. One output.
  std::size_t operator()(Rng& rng) const { return pick(rng()); }

  /// `out[i] = (*this)(rng)`.
  void fill(Rng& rng, std::span<std::size_t> out) const {
    std::uint64_t bits[256];
    while (!out.empty()) {
      const std::size_t now = (std::min)(out.size(), std::size(bits));
      rng.fill(std::span(bits, now));
      for (std::size_t i = 0; i < now; ++i) out[i] = pick(bits[i]);
      out = out.subspan(now);
    }
  }

  /// Exact equality of the tables.
  friend bool operator==(const AliasTable& a, const AliasTable& b) { return a.cells_ == b.cells_; }

 private:
  struct Cell {
    std::uint64_t threshold;  // of 2^64: below it the first index (the cell's own), else the second (the alias)
    std::size_t index[2];
    friend bool operator==(const Cell&, const Cell&) = default;
  };

  std::size_t pick(std::uint64_t x) const {
    const auto [place, fraction] = detail::multiply_wide(x, cells_.size());
    const Cell& cell = cells_[static_cast<std::size_t>(place)];
    // The comparison is as random as can be, so a branch on it would be mispredicted; the memory behind both answers is
    // the cell's own.
    return cell.index[fraction >= cell.threshold];
  }

  template <class S>
  void build(std::span<const S> weights) {
    const double total = detail::total_weight("AliasTable", weights);
    const std::size_t n = weights.size();
    cells_.resize(n);
    std::vector<double> share(n);  // n times the probability: 1 fills a cell
    std::vector<std::size_t> light, heavy;
    std::size_t heaviest = 0;
    for (std::size_t i = 0; i < n; ++i) {
      share[i] = detail::times(static_cast<double>(weights[i]) / total, static_cast<double>(n));
      (share[i] < 1 ? light : heavy).push_back(i);
      if (weights[i] > weights[heaviest]) heaviest = i;
    }
    while (!light.empty() && !heavy.empty()) {
      const std::size_t s = light.back(), l = heavy.back();
      light.pop_back();
      cells_[s] = {static_cast<std::uint64_t>(share[s] * 0x1p64), {s, l}};
      share[l] = (share[l] + share[s]) - 1;
      if (share[l] < 1) {
        heavy.pop_back();
        light.push_back(l);
      }
    }
    // What is left is 1 but for rounding: cells of their own. An index of weight 0 can't be among them, unless rounding
    // of very many weights adds up to a whole cell; it is not drawn even then.
    constexpr std::uint64_t all = (std::numeric_limits<std::uint64_t>::max)();
    for (const auto* rest : {&light, &heavy})
      for (const std::size_t i : *rest) cells_[i] = weights[i] > 0 ? Cell{all, {i, i}} : Cell{0, {i, heaviest}};
  }

  std::vector<Cell> cells_;
};

/// A uniform sample of `capacity` items from a stream of unknown length, in one pass: after every item, each of those
/// seen is held with the same probability. Source: algorithm R of A. Waterman (Knuth, TAOCP 2, section 3.4.2; Vitter
/// 1985).
template <class T>
class Reservoir {
 public:
  /// Throws if `capacity` is 0.
  explicit Reservoir(std::size_t capacity) : capacity_(capacity) {
    if (capacity == 0) fail("Reservoir", "capacity is 0; expected at least 1");
  }

  /// Offers the next item of the stream. Uses one output for each item after the first `capacity`, none before.
  void add(T item, Rng& rng) {
    if (items_.size() < capacity_) {
      items_.push_back(std::move(item));
      ++seen_;
      return;
    }
    const std::uint64_t place = rng.below(seen_ + 1);
    ++seen_;
    if (place < capacity_) items_[static_cast<std::size_t>(place)] = std::move(item);
  }

  /// The sample so far: min(seen, capacity) items, in no meaningful order.
  std::span<const T> items() const { return items_; }
  /// How many items were offered.
  std::uint64_t seen() const { return seen_; }
  std::size_t capacity() const { return capacity_; }

  template <class A>
  void archive(A& ar) {
    ar(capacity_, seen_, items_);
  }

 private:
  std::size_t capacity_;
  std::uint64_t seen_ = 0;
  std::vector<T> items_;
};

}  // namespace valence
