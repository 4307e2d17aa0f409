#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/mdp/sum_tree.hpp"

/// Proportional prioritized experience replay: Schaul, Quan, Antonoglou, Silver (2016).
namespace valence {

/// What the largest importance weight is 1 in: all that is held, or the batch that was drawn.
enum class WeightScale { memory, batch };

/// `alpha` in [0, 1]: 0 draws uniformly, 1 in proportion. `beta` in [0, 1]: 1 corrects all of the bias; the paper
/// raises it from 0.4 to 1 (see `set_beta`). `epsilon` > 0 is added to |TD error|, before the exponent. `initial` > 0
/// is the priority of an entry that is added when no other is held, TD error and epsilon in one. `stratified`: the j-th
/// of k draws comes from the j-th k-th part of the mass (the paper's algorithm), else draws are independent.
struct PriorityOptions {
  double alpha = 0.6, beta = 0.4, epsilon = 1e-6, initial = 1;
  WeightScale scale = WeightScale::memory;
  bool stratified = true;
};

/// The priorities of the entries of a ring, by their ids (see `Replay`): entry i is drawn with probability
/// P(i) = p_i^alpha / sum_j p_j^alpha, p_i = |TD error| + epsilon, equation (1). It holds no transitions, so it goes
/// with any memory that counts what it adds. Draws are with replacement. O(log capacity) each.
class Priorities {
 public:
  /// For `capacity` >= 1 entries.
  explicit Priorities(std::size_t capacity, const PriorityOptions& options = {}) : options_(options), tree_(capacity) {
    constexpr auto where = "Priorities";
    check_range(where, "alpha", options.alpha, 0, 1);
    check_range(where, "beta", options.beta, 0, 1);
    check_range(where, "epsilon", options.epsilon, 1e-290, most);
    check_range(where, "initial", options.initial, 1e-290, most);
  }

  /// One more entry, over the oldest one where all `capacity()` are held; gives its id. Its priority is the largest one
  /// held, so that it is soon seen; the one that it replaces doesn't count (pitfall R6).
  std::uint64_t add() {
    if (tree_[head_] == tree_.largest()) tree_.set(head_, 0);
    const double largest = tree_.largest();
    tree_.set(head_, largest > 0 ? largest : raised(options_.initial));
    head_ = head_ + 1 == capacity() ? 0 : head_ + 1;
    return added_++;
  }

  /// Draws `id.size()` >= 1 entries and their importance weights (see `weights`), one random output each. Throws
  /// `Error` where nothing is held.
  template <Scalar S>
  void sample(std::span<std::uint64_t> id, std::span<S> weight, Rng& rng) const {
    constexpr auto where = "Priorities::sample";
    check_positive(where, "the number of draws", id.size());
    check_size(where, "weight", weight.size(), id.size());
    if (added_ == 0) fail(where, "the memory is empty; expected at least one transition");
    const double k = static_cast<double>(id.size()), total = tree_.total();
    std::array<double, chunk> mass;
    std::array<std::size_t, chunk> slot;
    for (std::size_t first = 0; first < id.size(); first += chunk) {
      const std::size_t n = (std::min)(chunk, id.size() - first);
      rng.fill_uniform(std::span(mass.data(), n));
      for (std::size_t j = 0; j < n; ++j)
        mass[j] = total * (options_.stratified ? (static_cast<double>(first + j) + mass[j]) / k : mass[j]);
      tree_.find(std::span<const double>(mass.data(), n), std::span(slot.data(), n));
      for (std::size_t j = 0; j < n; ++j) id[first + j] = newest_in(slot[j]);
    }
    to_weights(std::span<const std::uint64_t>(id), weight);
  }

  /// The importance weights (N P(i))^-beta of the entries `id`, divided by the largest one that there is in the memory
  /// or in the batch. In (0, 1]. Throws `Error` for an id that isn't held.
  template <Scalar S>
  void weights(std::span<const std::uint64_t> id, std::span<S> weight) const {
    constexpr auto where = "Priorities::weights";
    check_size(where, "weight", weight.size(), id.size());
    for (std::size_t j = 0; j < id.size(); ++j) check_held(where, id[j]);
    to_weights(id, weight);
  }

  /// The entries `id` have these TD errors now: the errors themselves, not weighted and not a loss of them (pitfall
  /// R8). Entries that were overwritten since they were drawn are left out; gives their number (R9). Of an id that is
  /// there twice the last one counts. Throws `Error` before anything is changed: for another number of TD errors, for
  /// one that isn't finite or is above 1e290, and for an id that was never given.
  template <Scalar S>
  std::size_t update(std::span<const std::uint64_t> id, std::span<const S> td_error) {
    constexpr auto where = "Priorities::update";
    check_size(where, "td_error", td_error.size(), id.size());
    for (std::size_t j = 0; j < id.size(); ++j) {
      if (id[j] >= added_) fail(where, "id[{}] is {}; expected less than {}", j, id[j], added_);
      if (!(std::abs(static_cast<double>(td_error[j])) <= most))
        fail(where, "td_error[{}] is {}; expected a finite number, at most {} in size", j, td_error[j], most);
    }
    std::array<std::size_t, chunk> slot;
    std::array<double, chunk> priority;
    std::size_t stale = 0;
    for (std::size_t first = 0; first < id.size(); first += chunk) {
      const std::size_t n = (std::min)(chunk, id.size() - first);
      std::size_t held = 0;
      for (std::size_t j = first; j < first + n; ++j) {
        if (id[j] < oldest()) continue;
        slot[held] = slot_of(id[j]);
        priority[held++] = raised(std::abs(static_cast<double>(td_error[j])) + options_.epsilon);
      }
      stale += n - held;
      tree_.set(std::span<const std::size_t>(slot.data(), held), std::span<const double>(priority.data(), held));
    }
    stale_ += stale;
    return stale;
  }

  /// p_i^alpha. Throws `Error` for an id that isn't held.
  double priority(std::uint64_t id) const {
    check_held("Priorities::priority", id);
    return tree_[slot_of(id)];
  }
  /// P(i), equation (1).
  double probability(std::uint64_t id) const { return priority(id) / tree_.total(); }

  std::size_t capacity() const { return tree_.size(); }
  /// Entries held, the oldest id of them, and how many were ever added.
  std::size_t size() const { return static_cast<std::size_t>(added_ - oldest()); }
  std::uint64_t oldest() const { return added_ > capacity() ? added_ - capacity() : 0; }
  std::uint64_t added() const { return added_; }
  /// Updates that came too late, in all.
  std::uint64_t stale() const { return stale_; }
  const PriorityOptions& options() const { return options_; }
  /// In [0, 1].
  void set_beta(double beta) {
    check_range("Priorities::set_beta", "beta", beta, 0, 1);
    options_.beta = beta;
  }

  template <class A>
  void archive(A& ar) {
    ar(options_.alpha, options_.beta, options_.epsilon, options_.initial, options_.scale, options_.stratified);
    ar(added_, stale_, tree_);
    check_positive("Priorities::archive", "capacity", capacity());
    head_ = static_cast<std::size_t>(added_ % capacity());
  }

 private:
  static constexpr std::size_t chunk = 256;
  static constexpr double most = 1e290;

  // Slots count round the ring from `head_`, where the next entry goes: no division. `id` must be held.
  std::size_t slot_of(std::uint64_t id) const {
    const auto back = static_cast<std::size_t>(added_ - id);
    return head_ >= back ? head_ - back : head_ + capacity() - back;
  }
  std::uint64_t newest_in(std::size_t slot) const {
    return added_ - (slot < head_ ? head_ - slot : head_ + capacity() - slot);
  }
  double raised(double priority) const { return std::pow(priority, options_.alpha); }
  void check_held(std::string_view where, std::uint64_t id) const {
    if (id < oldest() || id >= added_) fail(where, "id is {}; expected one in [{}, {})", id, oldest(), added_);
  }

  // N and the total cancel: w_i / max w = (p_i^alpha / min p^alpha)^-beta.
  template <Scalar S>
  void to_weights(std::span<const std::uint64_t> id, std::span<S> weight) const {
    double least = tree_.smallest_positive();
    if (options_.scale == WeightScale::batch) {
      least = tree_.largest();
      for (const std::uint64_t i : id) least = (std::min)(least, tree_[slot_of(i)]);
    }
    for (std::size_t j = 0; j < id.size(); ++j)
      weight[j] = static_cast<S>(std::pow(least / tree_[slot_of(id[j])], options_.beta));
  }

  PriorityOptions options_;
  std::uint64_t added_ = 0, stale_ = 0;
  std::size_t head_ = 0;
  SumTree tree_;  // p^alpha of the entry in each slot
};

/// A `Replay` that draws by priority.
///
///     PrioritizedReplay<float> replay{4, {.capacity = 100'000}, {.alpha = 0.6}};
///     replay.add({...});
///     replay.sample(256, batch, rng, {.steps = 3, .discount = 0.99});   // batch.weight: importance weights
///     replay.update(batch.id, td_errors);
template <Scalar S = float, class A = int>
class PrioritizedReplay {
 public:
  using Memory = Replay<S, A>;
  using Record = typename Memory::Record;
  using Batch = typename Memory::Batch;

  /// Discrete actions.
  explicit PrioritizedReplay(std::size_t state_size, const ReplayOptions& memory = {},
                             const PriorityOptions& options = {})
    requires std::integral<A>
      : memory_(state_size, memory), priorities_(memory.capacity, options) {}
  /// Actions are vectors of `action_size` numbers.
  PrioritizedReplay(std::size_t state_size, std::size_t action_size, const ReplayOptions& memory = {},
                    const PriorityOptions& options = {})
    requires std::floating_point<A>
      : memory_(state_size, action_size, memory), priorities_(memory.capacity, options) {}

  /// See `Replay::add` and `Priorities::add`.
  std::uint64_t add(const Record& t) {
    memory_.add(t);
    return priorities_.add();
  }
  void end_episode(std::size_t environment = 0) { memory_.end_episode(environment); }

  /// See `Priorities::sample` and `Replay::gather`.
  void sample(std::size_t k, Batch& batch, Rng& rng, const ReplaySteps& options = {}) const {
    check_positive("PrioritizedReplay::sample", "k", k);
    if (memory_.empty()) fail("PrioritizedReplay::sample", "the memory is empty; expected at least one transition");
    batch.resize(memory_.state_size(), memory_.action_size(), k);
    priorities_.sample(std::span<std::uint64_t>(batch.id), view(batch.weight), rng);
    memory_.gather_drawn(batch, options);
  }
  /// See `Priorities::update`.
  std::size_t update(std::span<const std::uint64_t> id, std::span<const std::type_identity_t<S>> td_error) {
    return priorities_.update(id, td_error);
  }

  const Memory& memory() const { return memory_; }
  const Priorities& priorities() const { return priorities_; }
  void set_beta(double beta) { priorities_.set_beta(beta); }
  std::size_t size() const { return memory_.size(); }

  template <class Ar>
  void archive(Ar& ar) {
    ar(memory_, priorities_);
    if (memory_.added() != priorities_.added() || memory_.capacity() != priorities_.capacity())
      fail("PrioritizedReplay::archive", "{} transitions and {} priorities; expected as many", memory_.added(),
           priorities_.added());
  }

 private:
  Memory memory_;
  Priorities priorities_;
};

}  // namespace valence
