// Replay memories, ns per entry (CPU time). Prioritized: a batch of 256 is drawn, its importance weights computed, and new
// TD errors written back, in a memory of 2^20 entries; next to a plain binary tree of sums and minima over all entries
// that goes down and up level by level, with the same generator, weights and powers (`peer:plain_batched_tree`). Uniform:
// batches of 256 transitions gathered into matrices, next to the same loop by hand over columns that hold next states too
// (`peer:plain_columns`); and what it costs to add.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/mdp/prioritized_replay.hpp"
#include "valence/mdp/replay.hpp"

namespace {

constexpr std::size_t entries = std::size_t{1} << 20, batch_size = 256;
constexpr double alpha = 0.6, beta = 0.4, epsilon = 1e-6;

/// By hand: node i has the children 2 i and 2 i + 1, sum and minimum side by side.
class PlainTree {
 public:
  explicit PlainTree(std::size_t n) : leaves_(n), nodes_(2 * n) {}

  void sample(std::span<std::uint64_t> index, std::span<float> weight, valence::Rng& rng) const {
    const std::size_t k = index.size();
    double mass[batch_size];
    rng.fill_uniform(std::span(mass, k));
    for (std::size_t j = 0; j < k; ++j) {
      mass[j] = nodes_[1].sum * (static_cast<double>(j) + mass[j]) / static_cast<double>(k);
      index[j] = 1;
    }
    for (std::size_t level = leaves_; level > 1; level /= 2)
      for (std::size_t j = 0; j < k; ++j) {
        const double left = nodes_[2 * index[j]].sum;
        const bool right = mass[j] >= left;
        mass[j] -= right ? left : 0;
        index[j] = 2 * index[j] + (right ? 1 : 0);
      }
    for (std::size_t j = 0; j < k; ++j) {
      weight[j] = static_cast<float>(std::pow(nodes_[1].least / nodes_[index[j]].sum, beta));
      index[j] -= leaves_;
    }
  }
  void update(std::span<const std::uint64_t> index, std::span<const float> td_error) {
    const std::size_t k = index.size();
    std::size_t node[batch_size];
    for (std::size_t j = 0; j < k; ++j) {
      const double p = std::pow(std::abs(static_cast<double>(td_error[j])) + epsilon, alpha);
      node[j] = leaves_ + index[j];
      nodes_[node[j]] = {p, p};
    }
    for (std::size_t level = leaves_; level > 1; level /= 2)
      for (std::size_t j = 0; j < k; ++j) {
        node[j] /= 2;
        const Node &a = nodes_[2 * node[j]], &b = nodes_[2 * node[j] + 1];
        nodes_[node[j]] = {a.sum + b.sum, std::min(a.least, b.least)};
      }
  }

 private:
  struct Node {
    double sum = 0, least = std::numeric_limits<double>::infinity();
  };
  std::size_t leaves_;
  std::vector<Node> nodes_;
};

/// Both memories, filled with the same priorities, step by step through the same loop.
template <class Memory>
void prioritized(benchmark::State& state, Memory& memory) {
  valence::Rng rng{1};
  std::vector<std::uint64_t> index(batch_size);
  std::vector<float> weight(batch_size), td_error(batch_size);
  for (std::size_t i = 0; i < entries; i += batch_size) {
    for (std::size_t j = 0; j < batch_size; ++j) index[j] = i + j, td_error[j] = static_cast<float>(rng.exponential());
    memory.update(std::span<const std::uint64_t>(index), std::span<const float>(td_error));
  }
  for (auto _ : state) {
    memory.sample(std::span<std::uint64_t>(index), std::span<float>(weight), rng);
    for (std::size_t j = 0; j < batch_size; ++j) td_error[j] = 2.0F * weight[j];
    memory.update(std::span<const std::uint64_t>(index), std::span<const float>(td_error));
  }
  benchmark::DoNotOptimize(weight.data());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(batch_size));
}

void prioritized_valence(benchmark::State& state) {
  valence::Priorities memory(entries, {.alpha = alpha, .beta = beta, .epsilon = epsilon});
  for (std::size_t i = 0; i < entries; ++i) memory.add();
  prioritized(state, memory);
}
BENCHMARK(prioritized_valence)->Name("replay/prioritized");
void prioritized_plain(benchmark::State& state) {
  PlainTree memory(entries);
  prioritized(state, memory);
}
BENCHMARK(prioritized_plain)->Name("replay/prioritized/peer:plain_batched_tree");

constexpr std::size_t state_size = 17;  // HalfCheetah's
constexpr std::size_t transitions = 1'000'000;

template <class Memory>
void fill(Memory& memory, std::size_t count) {
  std::vector<float> state(state_size), next(state_size);
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t i = 0; i < state_size; ++i) next[i] = static_cast<float>(t + i);
    memory.add({.state = state,
                .action = static_cast<int>(t % 6),
                .reward = 1,
                .next = next,
                .terminated = false,
                .truncated = t % 1000 == 999});
    state = next;
  }
}

void uniform_valence(benchmark::State& state) {
  valence::Replay<float> memory(state_size, {.capacity = transitions});
  fill(memory, transitions + transitions / 2);
  valence::ReplayBatch<float> batch;
  valence::Rng rng{1};
  const valence::ReplaySteps options{.steps = static_cast<std::size_t>(state.range(0))};
  for (auto _ : state) {
    memory.sample(batch_size, batch, rng, options);
    benchmark::DoNotOptimize(batch.next.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(batch_size));
  // A transition's own numbers: one state, an action, a reward, a byte of flags.
  state.counters["memory_over_raw"] =
      static_cast<double>(memory.bytes()) / static_cast<double>(transitions * (4 * state_size + 4 + 4 + 1));
}
BENCHMARK(uniform_valence)->Name("replay/uniform")->Arg(1)->Arg(3);

/// By hand, one step: every column apart, next states stored a second time.
void uniform_plain(benchmark::State& state) {
  std::vector<float> states(transitions * state_size, 1.0F), nexts(transitions * state_size, 2.0F),
      rewards(transitions);
  std::vector<int> actions(transitions);
  std::vector<std::uint8_t> terminated(transitions), truncated(transitions);
  valence::ReplayBatch<float> batch;
  batch.resize(state_size, 1, batch_size);
  valence::Rng rng{1};
  for (auto _ : state) {
    rng.fill_below(std::span<std::uint64_t>(batch.id), transitions);
    for (std::size_t j = 0; j < batch_size; ++j) {
      const std::size_t i = batch.id[j];
      const auto at = static_cast<Eigen::Index>(j);
      std::copy_n(&states[i * state_size], state_size, batch.state.data() + j * state_size);
      std::copy_n(&nexts[i * state_size], state_size, batch.next.data() + j * state_size);
      batch.action(0, at) = actions[i];
      batch.reward[at] = rewards[i];
      batch.terminated[at] = terminated[i] != 0;
      batch.truncated[at] = truncated[i] != 0;
    }
    benchmark::DoNotOptimize(batch.next.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(batch_size));
}
BENCHMARK(uniform_plain)->Name("replay/uniform/peer:plain_columns")->Arg(1);

void add_uniform(benchmark::State& state) {
  valence::Replay<float> memory(state_size, {.capacity = transitions});
  for (auto _ : state) fill(memory, 10'000);
  state.SetItemsProcessed(state.iterations() * 10'000);
}
BENCHMARK(add_uniform)->Name("replay/add");
void add_prioritized(benchmark::State& state) {
  valence::PrioritizedReplay<float> memory(state_size, {.capacity = transitions});
  for (auto _ : state) fill(memory, 10'000);
  state.SetItemsProcessed(state.iterations() * 10'000);
}
BENCHMARK(add_prioritized)->Name("replay/add_prioritized");

}  // namespace

BENCHMARK_MAIN();
