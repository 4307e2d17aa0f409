#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/prefetch.hpp"

namespace valence {

namespace detail {

/// Arrays that begin where a cache line does, so that eight doubles are one line and not parts of two.
template <class T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};

  CacheLineAllocator() = default;
  template <class U>
  CacheLineAllocator(const CacheLineAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), line)); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, line); }
  template <class U>
  bool operator==(const CacheLineAllocator<U>&) const {
    return true;
  }
};

}  // namespace detail

/// Weights that change, and draws in proportion to them: both in O(log n), also for many at once, with the sum, the
/// largest and the smallest positive weight in O(1).
///
/// **No drift.** Whatever changes, the sums above it are computed anew from what is below them, in one fixed order, and
/// never corrected by a difference. So the tree is a function of its weights: after 10^8 changes it is to the bit the
/// tree that one would build from them, and a weight of 0 is never found (pitfalls R1, R2).
///
/// **Layout.** Eight weights are a block, one cache line; above the blocks stands a binary tree. Many draws go down
/// together, level by level, and many changes go up together, so that their cache misses overlap. 16 bytes a weight
/// where n / 8 is a power of two, and at most 24.
class SumTree {
 public:
  /// `size` >= 1 weights, all 0.
  explicit SumTree(std::size_t size) : size_(size) {
    check_range("SumTree", "size", size, 1, std::size_t{1} << 34);
    const std::size_t blocks = std::bit_ceil((size + block - 1) / block);
    weight_.resize((size + block - 1) / block * block, 0.0);
    node_.resize(2 * blocks);
  }

  std::size_t size() const { return size_; }
  /// Weight i < size(); not checked.
  double operator[](std::size_t i) const { return weight_[i]; }
  /// The sum of all weights.
  double total() const { return node_[1].sum; }
  /// 0 where all weights are.
  double largest() const { return node_[1].largest; }
  /// The smallest weight above 0; infinity where there is none.
  double smallest_positive() const { return node_[1].smallest; }

  /// weight[i] = `weight`, finite and >= 0. Throws `Error` for another one and for i >= size(), unchanged.
  void set(std::size_t i, double weight) { set(std::span(&i, 1), std::span<const double>(&weight, 1)); }
  /// weight[index[k]] = weight[k] for every k in turn: of an index that is there twice the last one counts. Throws
  /// `Error` before anything is changed.
  void set(std::span<const std::size_t> index, std::span<const double> weight) {
    constexpr auto where = "SumTree::set";
    check_size(where, "weight", weight.size(), index.size());
    for (std::size_t k = 0; k < index.size(); ++k) {
      if (index[k] >= size_) fail(where, "index[{}] is {}; expected less than {}", k, index[k], size_);
      if (!(weight[k] >= 0 && weight[k] <= most_weight))
        fail(where, "weight[{}] is {}; expected a number in [0, {}]", k, weight[k], most_weight);
    }
    for (std::size_t first = 0; first < index.size(); first += chunk) {
      const std::size_t n = (std::min)(chunk, index.size() - first);
      set_chunk(index.subspan(first, n), weight.data() + first);
    }
  }

  /// The first i with weight[0] + ... + weight[i] > `mass`, to rounding; for mass >= total() the last positive weight.
  /// Never one of weight 0. Throws `Error` for a mass that is negative or NaN and where all weights are 0.
  std::size_t find(double mass) const {
    std::size_t found = 0;
    find(std::span<const double>(&mass, 1), std::span(&found, 1));
    return found;
  }
  /// `find` for each of `mass`; `found` has as many entries.
  void find(std::span<const double> mass, std::span<std::size_t> found) const {
    constexpr auto where = "SumTree::find";
    check_size(where, "found", found.size(), mass.size());
    if (!(total() > 0)) fail(where, "all {} weights are 0; expected one to be more", size_);
    for (std::size_t k = 0; k < mass.size(); ++k)
      if (!(mass[k] >= 0)) fail(where, "mass[{}] is {}; expected a number >= 0", k, mass[k]);
    for (std::size_t first = 0; first < mass.size(); first += chunk) {
      const std::size_t n = (std::min)(chunk, mass.size() - first);
      find_chunk(mass.data() + first, found.subspan(first, n));
    }
  }

  template <class A>
  void archive(A& ar) {
    ar(size_, weight_);
    rebuild();
  }

 private:
  struct alignas(32) Node {                                                           // two siblings are a cache line
    double sum = 0, smallest = std::numeric_limits<double>::infinity(), largest = 0;  // smallest above 0
  };
  static constexpr std::size_t block = 8, chunk = 256;
  // So that no sum overflows, whatever the size.
  static constexpr double most_weight = 1e290;

  std::size_t leaves() const { return node_.size() / 2; }  // blocks' nodes stand at leaves() + b

  const double* block_of(std::size_t node) const { return weight_.data() + (node - leaves()) * block; }

  void sum_block(std::size_t b) {
    const double* const w = weight_.data() + b * block;
    Node node;
    node.sum = ((w[0] + w[1]) + (w[2] + w[3])) + ((w[4] + w[5]) + (w[6] + w[7]));
    for (std::size_t i = 0; i < block; ++i) {
      const double positive = w[i] > 0 ? w[i] : std::numeric_limits<double>::infinity();
      node.smallest = (std::min)(node.smallest, positive);
      node.largest = (std::max)(node.largest, w[i]);
    }
    node_[leaves() + b] = node;
  }
  void sum_children(std::size_t parent) {
    const Node &a = node_[2 * parent], &b = node_[2 * parent + 1];
    node_[parent] = {a.sum + b.sum, (std::min)(a.smallest, b.smallest), (std::max)(a.largest, b.largest)};
  }

  void set_chunk(std::span<const std::size_t> index, const double* weight) {
    std::array<std::size_t, chunk> node;
    for (std::size_t k = 0; k < index.size(); ++k) weight_[index[k]] = weight[k];
    std::size_t count = 0;
    for (const std::size_t i : index) {
      const std::size_t b = i / block;
      if (count != 0 && node[count - 1] == b + leaves()) continue;  // draws come sorted, so neighbours share parents
      sum_block(b);
      node[count++] = b + leaves();
    }
    for (std::size_t level = leaves(); level > 1; level /= 2) {
      std::size_t kept = 0;
      for (std::size_t k = 0; k < count; ++k) {
        const std::size_t parent = node[k] / 2;
        if (kept != 0 && node[kept - 1] == parent) continue;
        sum_children(parent);
        node[kept++] = parent;
      }
      count = kept;
    }
  }

  void find_chunk(const double* mass, std::span<std::size_t> found) const {
    std::array<double, chunk> left;  // of the mass
    const std::size_t n = found.size();
    for (std::size_t k = 0; k < n; ++k) left[k] = mass[k], found[k] = 1;
    for (std::size_t level = leaves(); level > 1; level /= 2) {
      for (std::size_t k = 0; k < n; ++k) {
        const std::size_t child = 2 * found[k];
        const double first = node_[child].sum, second = node_[child + 1].sum;
        // A draw equal to the left sum belongs to the right (R1), and never to a side that is empty (R2). Without a
        // branch: nobody could predict it, and behind a wrong one the misses of the draws don't overlap.
        const auto right = static_cast<unsigned>(left[k] >= first) & static_cast<unsigned>(second > 0);
        left[k] -= first * static_cast<double>(static_cast<int>(right));
        found[k] = child + right;
        detail::prefetch(level > 2 ? static_cast<const void*>(&node_[2 * found[k]]) : block_of(found[k]));
      }
    }
    for (std::size_t k = 0; k < n; ++k) {
      const double* const w = block_of(found[k]);
      double sum = 0;
      std::size_t at = 0;  // how many running sums the mass has reached
      for (std::size_t i = 0; i < block; ++i) sum += w[i], at += left[k] >= sum ? 1U : 0U;
      if (at == block)  // by rounding
        for (at = block - 1; !(w[at] > 0);) --at;
      found[k] = (found[k] - leaves()) * block + at;
    }
  }

  void rebuild() {
    constexpr auto where = "SumTree::archive";
    check_range(where, "size", size_, 1, std::size_t{1} << 34);
    check_size(where, "weight", weight_.size(), (size_ + block - 1) / block * block);
    check_range(where, "weight", std::span<const double>(weight_), 0, most_weight);
    const std::size_t blocks = std::bit_ceil(weight_.size() / block);
    node_.assign(2 * blocks, Node{});
    for (std::size_t b = 0; b < weight_.size() / block; ++b) sum_block(b);
    for (std::size_t node = blocks; --node > 0;) sum_children(node);
  }

  std::size_t size_;
  std::vector<double, detail::CacheLineAllocator<double>> weight_;  // padded with zeros to whole blocks
  // 1 is the root, 2 i and 2 i + 1 are the children of i, from leaves() on stand the blocks.
  std::vector<Node, detail::CacheLineAllocator<Node>> node_;
};

}  // namespace valence
