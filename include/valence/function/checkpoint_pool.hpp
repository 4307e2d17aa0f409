#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// Which of the saved parameters is taken.
enum class Checkpoint { first, last, random };

struct CheckpointPoolOptions {
  std::int64_t every = 25;                 ///< updates from one saved checkpoint to the next, >= 1
  Checkpoint select = Checkpoint::random;  ///< random: each of the saved ones alike likely
};

/// Earlier parameters of a model, kept as it trains, to choose a reference policy, an opponent or a generator of
/// samples from (SePPO, Zhang et al. 2024, arXiv:2410.05255, section 3.2; fictitious self-play). Memory grows with each
/// one that is saved.
///
///     CheckpointPool<double> pool{{.every = 25, .select = Checkpoint::first}};
///     for (std::int64_t update = 0; update < 600; ++update) {
///       pool.offer(update, theta);                  // saves at 0, 25, 50, ...
///       const auto reference = pool.select(rng);    // a view of the saved parameters, valid until the next offer
///       ...
template <Scalar S>
class CheckpointPool {
 public:
  /// Throws `Error` for every < 1.
  explicit CheckpointPool(const CheckpointPoolOptions& options = {}) : options_(options) {
    check_positive("CheckpointPool", "every", options.every);
  }

  /// Saves a copy where `update` >= 0 is a multiple of `every`; says whether it did. Throws `Error`, and saves nothing,
  /// for parameters that aren't finite (a diverged model) or of another number than the first ones.
  bool offer(std::int64_t update, std::span<const S> theta) {
    constexpr std::string_view where = "CheckpointPool::offer";
    if (update < 0) fail(where, "update is {}; expected 0 or more", update);
    if (update % options_.every != 0) return false;
    if (theta.empty()) fail(where, "theta is empty; expected parameters");
    if (!saved_.empty()) check_size(where, "theta", theta.size(), saved_.front().size());
    check_finite(where, "theta", theta);
    saved_.emplace_back(theta.begin(), theta.end());
    return true;
  }

  std::size_t size() const { return saved_.size(); }
  /// The i-th saved parameters, 0 the oldest.
  std::span<const S> operator[](std::size_t i) const {
    if (i >= size()) fail("CheckpointPool", "index is {}; expected less than the {} checkpoints", i, size());
    return saved_[i];
  }
  /// One of them, as the options say. One output of `rng` for `random`, none otherwise. Throws `Error` if none is
  /// saved.
  std::span<const S> select(Rng& rng) const {
    if (saved_.empty()) fail("CheckpointPool::select", "the pool is empty; offer it parameters first");
    switch (options_.select) {
      case Checkpoint::first:
        return saved_.front();
      case Checkpoint::last:
        return saved_.back();
      case Checkpoint::random:
        break;
    }
    return saved_[rng.below(saved_.size())];
  }

  template <class A>
  void archive(A& ar) {
    ar(saved_);
  }

 private:
  CheckpointPoolOptions options_;
  std::vector<std::vector<S>> saved_ = {};
};

}  // namespace valence
