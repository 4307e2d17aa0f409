#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/replay.hpp"

/// Pieces of episodes from a replay memory: windows of consecutive transitions, and stacks of the last states.
namespace valence {

/// `length` >= 1 transitions a window; `discount` in [0, 1] is what `ReplayBatch::discount` says.
struct WindowOptions {
  std::size_t length = 8;
  double discount = 0.99;
};

/// Draws windows of consecutive transitions of one episode, uniformly among all that the memory holds: none
/// reaches across the end of an episode or from the newest transition to the oldest (pitfall R12). Episodes that are
/// shorter have none.
///
///     ReplayWindows windows{{.length = 8}};
///     windows.sample(replay, 32, batch, rng);
///     gae(Steps<float>{.reward = view(batch.reward), ..., .environments = 32}, ...)   // batch is time x windows
class ReplayWindows {
 public:
  explicit ReplayWindows(const WindowOptions& options = {}) : options_(options) {
    check_positive("ReplayWindows", "length", options.length);
    check_range("ReplayWindows", "discount", options.discount, 0, 1);
  }

  const WindowOptions& options() const { return options_; }

  /// How many windows there are. O(episodes).
  template <Scalar S, class A>
  std::uint64_t count(const Replay<S, A>& memory) {
    list(memory);
    return pieces_.empty() ? 0 : pieces_.back().windows_before_end;
  }

  /// Fills `batch` with `k` >= 1 windows, with replacement. Transition t of window w is in column t k + w: time x
  /// windows, as `Steps` (value/steps.hpp) reads `environments`. Each column is one transition (`steps` is 1) with the
  /// flags that it was added with: only the last of a window may be an end. k random outputs, O(episodes + k length).
  /// Throws `Error` where the memory holds no window.
  template <Scalar S, class A>
  void sample(const Replay<S, A>& memory, std::size_t k, ReplayBatch<S, A>& batch, Rng& rng) {
    constexpr auto where = "ReplayWindows::sample";
    check_positive(where, "k", k);
    if (memory.empty()) fail(where, "the memory is empty; expected at least one transition");
    const std::size_t length = options_.length;
    const std::uint64_t windows = count(memory);
    if (windows == 0) fail(where, "no episode held has {} transitions; expected one of at least as many", length);
    batch.resize(memory.state_size(), memory.action_size(), k * length);
    for (std::size_t w = 0; w < k; ++w) {
      const std::uint64_t drawn = rng.below(windows);
      const auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), drawn,
                                          [](std::uint64_t i, const Piece& p) { return i < p.windows_before_end; });
      const std::uint64_t skipped = piece == pieces_.begin() ? 0 : (piece - 1)->windows_before_end;
      const std::uint64_t first = piece->first + (drawn - skipped) * memory.environments();
      for (std::size_t t = 0; t < length; ++t) batch.id[t * k + w] = first + t * memory.environments();
    }
    batch.weight.setOnes();
    memory.gather_drawn(batch, {.steps = 1, .discount = options_.discount});
  }

 private:
  struct Piece {  // of an episode with windows: its first transition, and all windows up to its end
    std::uint64_t first, windows_before_end;
  };

  template <Scalar S, class A>
  void list(const Replay<S, A>& memory) {
    pieces_.clear();  // keeps its room
    std::uint64_t windows = 0;
    memory.for_each_episode([&](std::uint64_t first, std::uint64_t last) {
      const std::uint64_t n = (last - first) / memory.environments() + 1;
      if (n >= options_.length) pieces_.push_back({first, windows += n - options_.length + 1});
    });
  }

  WindowOptions options_;
  std::vector<Piece> pieces_;  // of the memory at hand, made anew with each batch
};

/// `depth` >= 1 states a stack. With `next` it ends with the state that the transition arrived in, else with the one
/// that it began in.
struct StackOptions {
  std::size_t depth = 4;
  bool next = false;
};

/// Stacks of the last states (Mnih et al. 2015): column j of `stack` gets `depth` states one below the other, oldest
/// first, up to that of transition `id[j]`. What would be before the first state of the episode, however the episode
/// before it ended (pitfall R13), is 0; so is what was overwritten. Throws `Error` for an id that isn't held.
template <Scalar S, class A>
void stack_states(const Replay<S, A>& memory, std::span<const std::uint64_t> id, Matrix<S>& stack,
                  const StackOptions& options = {}) {
  constexpr auto where = "stack_states";
  check_positive(where, "depth", options.depth);
  for (std::size_t j = 0; j < id.size(); ++j)
    if (!memory.contains(id[j]))
      fail(where, "id[{}] is {}; expected one in [{}, {})", j, id[j], memory.oldest(), memory.added());
  const std::size_t size = memory.state_size(), rows = size * options.depth;
  stack.setZero(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(id.size()));
  for (std::size_t j = 0; j < id.size(); ++j) {
    std::size_t end = (j + 1) * rows;  // the column is filled from its end
    const auto put = [&](std::span<const S> state) {
      end -= size;
      std::copy(state.begin(), state.end(), stack.data() + end);
    };
    std::size_t left = options.depth;
    if (options.next) put(memory.at(id[j]).next), --left;
    const std::uint64_t held = (id[j] - memory.episode_first(id[j])) / memory.environments() + 1;
    for (std::uint64_t back = 0; back < held && left > 0; ++back, --left)
      put(memory.at(id[j] - back * memory.environments()).state);
  }
}

}  // namespace valence
