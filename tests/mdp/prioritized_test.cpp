#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/prioritized_replay.hpp"

using namespace valence;
using test::message_of, test::says;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

using Ids = std::vector<std::uint64_t>;

/// Priorities p (the epsilon is taken off before it is added).
Priorities priorities_of(const std::vector<double>& p, PriorityOptions options) {
  options.epsilon = 1e-3;
  Priorities out(p.size(), options);
  Ids id(p.size());
  std::vector<double> td_error(p.size());
  for (std::size_t i = 0; i < p.size(); ++i) id[i] = out.add(), td_error[i] = p[i] - 1e-3;
  out.update(std::span<const std::uint64_t>(id), std::span<const double>(td_error));
  return out;
}

std::vector<double> weights_of(const Priorities& priorities, const Ids& id) {
  std::vector<double> weight(id.size());
  priorities.weights(std::span<const std::uint64_t>(id), std::span<double>(weight));
  return weight;
}

std::size_t update(Priorities& priorities, const Ids& id, const std::vector<double>& td_error) {
  return priorities.update(std::span<const std::uint64_t>(id), std::span<const double>(td_error));
}

using Memory = PrioritizedReplay<double>;

/// Transition t of a walk: (t, a = t, r = 10 t, t + 1).
std::uint64_t add(Memory& memory, int t, bool terminated = false) {
  const double state = t, next = t + 1;
  return memory.add({.state = {&state, 1},
                     .action = t,
                     .reward = 10.0 * t,
                     .next = {&next, 1},
                     .terminated = terminated,
                     .truncated = false});
}

}  // namespace

TEST_CASE("Probabilities and weights are those of the paper's formulas", "[R5]") {
  // From shared/systems/baseline.md, section 4.
  const Priorities a = priorities_of({.5, 1, 2, .1}, {.alpha = 0.6, .beta = 0.4});
  const std::array<double, 4> p{.192535622485, .291829432644, .442330705654, .073304239217},
      w{.679590343089, .575439937337, .487251069486, 1};
  const auto weights = weights_of(a, {0, 1, 2, 3});
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(a.probability(i) == close(p[i], 0, 1e-12));
    CHECK(weights[i] == close(w[i], 0, 1e-12));
  }

  const Priorities by_memory = priorities_of({1, 2, 3, 4}, {.alpha = 1, .beta = 0.5});
  const auto all = weights_of(by_memory, {0, 1, 2, 3}), some = weights_of(by_memory, {2, 3});
  CHECK(all[0] == 1);
  CHECK(all[1] == close(0.70710678118654752));
  CHECK(all[2] == close(0.57735026918962576));
  CHECK(all[3] == close(0.5));
  CHECK(some[0] == all[2]);
  CHECK(some[1] == all[3]);
  const auto by_batch =
      weights_of(priorities_of({1, 2, 3, 4}, {.alpha = 1, .beta = 0.5, .scale = WeightScale::batch}), {2, 3});
  CHECK(by_batch[0] == 1);
  CHECK(by_batch[1] == close(0.86602540378443865));
}

TEST_CASE("Weights are finite where priorities are far below the smallest float") {
  for (const auto scale : {WeightScale::memory, WeightScale::batch}) {
    Priorities priorities(3, {.alpha = 1, .beta = 1, .epsilon = 1e-200, .scale = scale});
    for (int i = 0; i < 3; ++i) priorities.add();
    update(priorities, {0, 1, 2}, {1e-150, 3e-150, 1e-190});
    const Ids id{1, 0, 1};
    std::vector<float> weight(3);
    priorities.weights(std::span<const std::uint64_t>(id), std::span<float>(weight));
    CHECK(weight[1] == (scale == WeightScale::batch ? 1.0F : static_cast<float>(1e-40)));
    CHECK(weight[0] == (scale == WeightScale::batch ? static_cast<float>(1 / 3.0) : static_cast<float>(1e-40 / 3)));
  }
}

TEST_CASE("Draws are stratified", "[R4]") {
  const Priorities priorities = priorities_of(std::vector<double>(64, 1.0), {});
  Rng rng{1};
  Ids id(64);
  std::vector<double> weight(64);
  for (int round = 0; round < 100; ++round) {
    priorities.sample(std::span<std::uint64_t>(id), std::span<double>(weight), rng);
    REQUIRE(std::set<std::uint64_t>(id.begin(), id.end()).size() == 64);
    for (const double w : weight) REQUIRE(w == 1);
  }
  const Priorities independent = priorities_of(std::vector<double>(64, 1.0), {.stratified = false});
  independent.sample(std::span<std::uint64_t>(id), std::span<double>(weight), rng);
  CHECK(std::set<std::uint64_t>(id.begin(), id.end()).size() < 64);
}

TEST_CASE("Entries are drawn in proportion, stratified or not", "[R3]") {
  for (const bool stratified : {true, false}) {
    for (const std::size_t n : {1U, 2U, 3U, 5U, 8U, 37U}) {
      CAPTURE(stratified, n);
      std::vector<double> p(n);
      for (std::size_t i = 0; i < n; ++i) p[i] = 0.1 + static_cast<double>(i % 7);
      const Priorities priorities = priorities_of(p, {.alpha = 0.7, .stratified = stratified});
      Rng rng{n};
      std::vector<double> counts(n, 0.0), probabilities(n), weight(300);
      Ids id(300);  // more than are held, and more than one chunk
      for (int round = 0; round < 200; ++round) {
        priorities.sample(std::span<std::uint64_t>(id), std::span<double>(weight), rng);
        for (const std::uint64_t i : id) ++counts[static_cast<std::size_t>(i)];
      }
      double total = 0;
      for (const double x : p) total += std::pow(x, 0.7);
      for (std::size_t i = 0; i < n; ++i) probabilities[i] = std::pow(p[i], 0.7) / total;
      CHECK(test::chi_square_test(counts, probabilities) > 1e-6);
      CHECK(weights_of(priorities, id) == weight);
    }
  }
}

TEST_CASE("A new entry gets the largest priority that is held now", "[R6]") {
  Priorities priorities(3, {.alpha = 1, .epsilon = 1e-6, .initial = 2.5});
  CHECK(priorities.priority(priorities.add()) == 2.5);
  update(priorities, {0}, {0.7 - 1e-6});
  CHECK(priorities.priority(priorities.add()) == close(0.7));  // no rounding to integers
  update(priorities, {0, 1}, {100, 0.2});
  CHECK(priorities.priority(priorities.add()) == close(100 + 1e-6));
  update(priorities, {2}, {0.3});
  CHECK(priorities.priority(priorities.add()) == close(0.3 + 1e-6));  // over the entry with 100, which doesn't count
  CHECK(priorities.oldest() == 1);
  CHECK(priorities.priority(priorities.add()) == close(0.3 + 1e-6));

  Priorities single(1, {.initial = 1});
  single.add();
  update(single, {0}, {50});
  CHECK(single.priority(single.add()) == 1);
}

TEST_CASE("The constant is added before the exponent", "[R7]") {
  Priorities priorities(2, {.alpha = 0.5, .epsilon = 0.01});
  priorities.add(), priorities.add();
  update(priorities, {0, 1}, {0, -0.8});
  CHECK(priorities.priority(0) == close(0.1));
  CHECK(priorities.priority(1) == close(0.9));  // |TD error|
}

TEST_CASE("Importance weights do not enter the priorities, alpha 0 is uniform", "[R8]") {
  Priorities priorities = priorities_of({1, 2, 3}, {.alpha = 0.6, .beta = 1});
  const double before = priorities.priority(2);
  const auto full = weights_of(priorities, {0, 1, 2});
  priorities.set_beta(0);
  CHECK(weights_of(priorities, {0, 1, 2}) == std::vector<double>{1, 1, 1});
  CHECK(full[2] < full[1]);
  update(priorities, {2}, {3 - 1e-3});
  CHECK(priorities.priority(2) == before);
  const Priorities uniform = priorities_of({1, 2, 5}, {.alpha = 0, .beta = 1});
  CHECK(uniform.probability(2) == close(1.0 / 3));
}

TEST_CASE("An update of what was overwritten is refused and counted", "[R9]") {
  Memory memory(1, {.capacity = 4});
  for (int t = 0; t < 4; ++t) add(memory, t);
  Rng rng{3};
  ReplayBatch<double> batch;
  memory.sample(8, batch, rng);
  const Ids drawn = batch.id;
  REQUIRE(std::count(drawn.begin(), drawn.end(), 0) == 2);  // equal priorities, two strata each
  const std::uint64_t id = add(memory, 4);                  // over entry 0
  const double fresh = memory.priorities().priority(id);
  CHECK(memory.update(drawn, std::vector<double>(8, 123.0)) == 2);
  CHECK(memory.priorities().stale() == 2);
  CHECK(memory.priorities().priority(id) == fresh);
  CHECK(memory.priorities().priority(1) == close(std::pow(123 + 1e-6, 0.6)));
  CHECK(memory.update(Ids{0}, std::vector<double>{1}) == 1);
  CHECK(memory.priorities().stale() == 3);
  CHECK(says(message_of([&] { memory.priorities().priority(0); }), "id is 0; expected one in [1, 5)"));
}

TEST_CASE("Bad input to prioritized replay throws and changes nothing", "[R19]") {
  Memory memory(1, {.capacity = 4});
  Rng rng{4};
  ReplayBatch<double> batch;
  CHECK(says(message_of([&] { memory.sample(2, batch, rng); }), "PrioritizedReplay::sample: the memory is empty"));
  CHECK(batch.size() == 0);
  for (int t = 0; t < 3; ++t) add(memory, t);
  const auto before = to_bytes(memory);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(message_of([&] { memory.sample(0, batch, rng); }), "k is 0"));
  CHECK(says(message_of([&] { memory.update(Ids{0, 1}, std::vector<double>{5, nan}); }), "td_error[1] is nan"));
  CHECK(says(message_of([&] { memory.update(Ids{0, 1}, std::vector<double>{5, 1 / 0.0}); }), "td_error[1] is inf"));
  CHECK(says(message_of([&] { memory.update(Ids{0, 3}, std::vector<double>{5, 1}); }), "id[1] is 3; expected less"));
  CHECK(says(message_of([&] {
               memory.update(Ids{0, 1}, std::vector<double>{5});
             }),
             "td_error has 1 entries; expected 2"));
  const double state = nan;
  CHECK(says(message_of([&] {
               memory.add({.state = {&state, 1},
                           .action = 0,
                           .reward = 0,
                           .next = {&state, 1},
                           .terminated = false,
                           .truncated = false});
             }),
             "state[0] is nan"));
  CHECK(says(message_of([&] { memory.set_beta(1.5); }), "beta is 1.5"));
  CHECK(to_bytes(memory) == before);
  CHECK(says(message_of([] { Priorities(4, {.alpha = 2}); }), "alpha is 2"));
  CHECK(says(message_of([] { Priorities(4, {.epsilon = 0}); }), "epsilon is 0"));
  CHECK(says(message_of([] { Priorities(0); }), "size is 0"));
}

TEST_CASE("Drawn entries carry the transitions of their ids, over n steps and the wrap of the ring", "[R15][V11]") {
  Memory memory(1, {.capacity = 10});
  for (int t = 0; t < 27; ++t) add(memory, t, t % 4 == 3);
  Rng rng{5};
  ReplayBatch<double> batch;
  memory.sample(500, batch, rng, {.steps = 3, .discount = 0.5});
  for (std::size_t j = 0; j < batch.size(); ++j) {
    const auto at = static_cast<Eigen::Index>(j);
    const int t = static_cast<int>(batch.id[j]);
    REQUIRE(t >= 17);
    const int m = std::min({3, 4 - t % 4, 27 - t});
    REQUIRE(batch.state(0, at) == t);
    REQUIRE(batch.action(0, at) == t);
    REQUIRE(batch.steps[at] == m);
    REQUIRE(batch.next(0, at) == t + m);
    REQUIRE(batch.discount[at] == std::ldexp(1.0, -m));
    REQUIRE(batch.terminated[at] == ((t + m - 1) % 4 == 3));
  }
}

TEST_CASE("A prioritized memory comes back from its bytes and goes on alike", "[F6]") {
  PrioritizedReplay<float> memory(1, {.capacity = 50}, {.alpha = 0.7}), other(1, {.capacity = 3});
  Rng rng{6};
  ReplayBatch<float> batch;
  const auto step = [](PrioritizedReplay<float>& m, ReplayBatch<float>& b, Rng& r, int t) {
    const float state = static_cast<float>(t), next = static_cast<float>(t + 1);
    m.add({.state = {&state, 1},
           .action = t,
           .reward = 1,
           .next = {&next, 1},
           .terminated = false,
           .truncated = t % 7 == 6});
    m.sample(5, b, r, {.steps = 2});
    m.update(b.id, std::vector<float>{1, 2, 0.5F, 4, static_cast<float>(t)});
  };
  for (int t = 0; t < 120; ++t) step(memory, batch, rng, t);
  from_bytes(to_bytes(memory), other);
  CHECK(same_state(memory, other));
  Rng rng_other = rng;
  ReplayBatch<float> batch_other;
  for (int t = 120; t < 400; ++t) {
    step(memory, batch, rng, t);
    step(other, batch_other, rng_other, t);
    REQUIRE(batch.id == batch_other.id);
    REQUIRE(batch.weight == batch_other.weight);
    REQUIRE(batch.next == batch_other.next);
  }
  CHECK(same_state(memory, other));
}

TEST_CASE("Prioritized steps allocate nothing") {
  Memory memory(1, {.capacity = 100});
  Rng rng{7};
  ReplayBatch<double> batch;
  const std::vector<double> td_error(300, 0.5);
  const auto round = [&](int from) {
    for (int t = from; t < from + 250; ++t) add(memory, t, t % 9 == 0);
    memory.sample(300, batch, rng, {.steps = 3});
    memory.update(batch.id, td_error);
  };
  round(0);
  const test::Allocations allocations;
  for (int i = 1; i < 5; ++i) round(250 * i);
  CHECK(allocations.count() == 0);
}
