#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/function/feature_maps.hpp"

namespace valence {

/// Gives each tile that was ever seen its own index, in order of appearance, so that `size` parameters serve a space of
/// which only a part is visited, without collisions (Sutton's IHT). When it is full further tiles share indices, and
/// `collisions()` counts the requests for such. Open addressing on 64-bit keys; archived as two flat vectors.
class TileTable {
 public:
  explicit TileTable(int size) : size_(size) {
    check_positive("TileTable", "size", size);
    std::size_t slots = 16;
    while (slots < 2 * static_cast<std::size_t>(size)) slots *= 2;
    keys_.assign(slots, 0);
    indices_.assign(slots, -1);
  }
  int size() const { return size_; }
  /// Tiles that own an index.
  int used() const { return used_; }
  std::int64_t collisions() const { return collisions_; }
  /// The index of the tile with this key; a new one while there are any.
  int index(std::uint64_t key) {
    const std::size_t mask = keys_.size() - 1;
    for (std::size_t slot = static_cast<std::size_t>(key) & mask;; slot = (slot + 1) & mask) {
      if (indices_[slot] < 0) {
        if (used_ == size_) {
          ++collisions_;
          return static_cast<int>(key % static_cast<std::uint64_t>(size_));
        }
        keys_[slot] = key;
        return indices_[slot] = used_++;
      }
      if (keys_[slot] == key) return indices_[slot];
    }
  }
  template <class A>
  void archive(A& ar) {
    ar(size_, used_, collisions_, keys_, indices_);
  }

 private:
  int size_, used_ = 0;
  std::int64_t collisions_ = 0;
  std::vector<std::uint64_t> keys_;
  std::vector<std::int32_t> indices_;  // int32: files outlive the machine
};

struct TileCodingOptions {
  int tilings = 8;  ///< grids laid over each other; a power of two >= 4 * inputs spreads them evenly
  int tiles = 8;    ///< of one grid along each input, over the box
  int memory = 0;   ///< 0: every tile has its own index. Else tiles are hashed into so many.
  /// If given: tiles get indices from this table, on first sight (`memory` is then its size). It is shared by copies of
  /// the map, and used by `active`, so such a map is not thread-safe.
  std::shared_ptr<TileTable> table = {};
};

/// Tile coding (Sutton and Barto 2018, section 9.5.4): `tilings` grids over the box, grid t shifted along input j by
/// t (1 + 2j) mod tilings fractions of a tile (Miller and Glanz 1996); one feature is 1 in each grid. Tiles are half
/// open; a point on an inner edge belongs to the upper tile.
/// Without hashing inputs are clipped to the box, whose grids need tiles + 1 cells an input. Hashed, the grids go on
/// without end. The hash is a fixed 64-bit mix of the tile's coordinates: the same indices on every machine. NaN and
/// infinities throw.
class TileCoding {
 public:
  TileCoding(std::vector<double> low, std::vector<double> high, TileCodingOptions options = {})
      : box_("TileCoding", std::move(low), std::move(high)), options_(std::move(options)) {
    check_positive("TileCoding", "tilings", options_.tilings);
    check_positive("TileCoding", "tiles", options_.tiles);
    if (options_.memory < 0) fail("TileCoding", "memory is {}; expected 0 or more", options_.memory);
    if (options_.table && options_.memory != 0 && options_.memory != options_.table->size())
      fail("TileCoding", "memory is {} and the table's size {}; expected 0 or the same", options_.memory,
           options_.table->size());
    if (options_.table) {
      size_ = options_.table->size();
    } else if (options_.memory > 0) {
      size_ = options_.memory;
    } else {
      double size = options_.tilings;
      for (int j = 0; j < box_.size(); ++j) size *= options_.tiles + 1;
      if (size > 2e9)
        fail("TileCoding", "{} tilings of {} tiles in {} inputs are {} tiles; expected at most 2e9 without hashing",
             options_.tilings, options_.tiles, box_.size(), size);
      size_ = static_cast<int>(size);
    }
  }

  int input_size() const { return box_.size(); }
  int size() const { return size_; }
  int active_count() const { return options_.tilings; }
  const TileCodingOptions& options() const { return options_; }

  /// The tile of each tiling that holds x.
  template <std::floating_point S>
  void active(std::span<const S> x, std::span<int> indices) const {
    check_size("TileCoding", "x", x.size(), box_.low.size());
    check_size("TileCoding", "indices", indices.size(), static_cast<std::size_t>(options_.tilings));
    check_finite("TileCoding", "x", x);
    const bool exact = options_.memory == 0 && !options_.table;
    for (int t = 0; t < options_.tilings; ++t) {
      std::int64_t cell = t;
      std::uint64_t key = mix(static_cast<std::uint64_t>(t) + 1);
      for (std::size_t j = 0; j < x.size(); ++j) {
        const std::int64_t c = coordinate(x, j, t, exact);
        if (exact)
          cell = cell * (options_.tiles + 1) + c;
        else
          key = mix(key ^ static_cast<std::uint64_t>(c));
      }
      indices[static_cast<std::size_t>(t)] = exact ? static_cast<int>(cell)
                                             : options_.table
                                                 ? options_.table->index(key)
                                                 : static_cast<int>(key % static_cast<std::uint64_t>(size_));
    }
  }
  template <std::floating_point S>
  void operator()(std::span<const S> x, std::span<S> features) const {
    check_size("TileCoding", "features", features.size(), static_cast<std::size_t>(size_));
    std::vector<int> indices(static_cast<std::size_t>(options_.tilings));
    active(x, std::span(indices));
    for (S& f : features) f = S(0);
    for (const int i : indices) features[static_cast<std::size_t>(i)] += S(1);
  }

 private:
  detail::FeatureBox box_;
  TileCodingOptions options_;
  int size_ = 0;

  // The finalizer of splitmix64 (Steele, Lea and Flood 2014) after its golden-ratio step.
  static constexpr std::uint64_t mix(std::uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // In steps of 1 / tilings of a tile all grids are one lattice, so that only integers are shifted.
  template <std::floating_point S>
  std::int64_t coordinate(std::span<const S> x, std::size_t j, int tiling, bool clip) const {
    double u = box_.unit(x, j);
    if (clip) u = (std::min)((std::max)(u, 0.0), 1.0);
    const double steps = std::floor(u * (static_cast<double>(options_.tiles) * options_.tilings));
    if (!(std::abs(steps) < 9e15))
      fail("TileCoding", "x[{}] is {}; expected a number nearer to the box", j, static_cast<double>(x[j]));
    const std::int64_t shift =
        static_cast<std::int64_t>(tiling) * (1 + 2 * static_cast<std::int64_t>(j)) % options_.tilings;
    const std::int64_t shifted = static_cast<std::int64_t>(steps) + shift;
    const std::int64_t n = options_.tilings;
    return shifted >= 0 ? shifted / n : -((-shifted + n - 1) / n);
  }
};

}  // namespace valence
