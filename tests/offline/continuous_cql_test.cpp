// Conservative Q-learning for continuous actions: offline.md 00.
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/offline/continuous_cql.hpp"
#include "valence/offline/train_offline.hpp"
#include "valence/policy/squashed_gaussian.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

/// One step on [-2, 2], whose reward -(a - 1)^2 has its best action at 1; the log holds actions about -1 alone.
TransitionDataset<Vector<double>, double> narrow(std::size_t count, Rng& rng) {
  TransitionDataset<Vector<double>, double> data;
  for (std::size_t i = 0; i < count; ++i) {
    const double a = -1 + 0.2 * (2 * rng.uniform() - 1);
    data.add({Vector<double>::Ones(1), a, -(a - 1) * (a - 1), Vector<double>::Ones(1), true, false});
  }
  return data;
}
const SquashedGaussian law{Box{-2.0, 2.0}, {.min_log_std = -5, .max_log_std = 1}};

auto make(ContinuousCqlOptions options) {
  return ContinuousCql{Mlp<double>{{1, 8, 2}, relu}, law,     Mlp<double>{{2, 32, 1}, relu},
                       Adam{.step_size = 3e-3},      options, Rng{3}};
}
double q(const auto& agent, double a) {
  Matrix<double> x(2, 1);
  x << 1, a / 2;
  typename Parallel<Mlp<double>, Mlp<double>>::Tape tape;
  return agent.critic_model().forward(agent.critic_parameters(), x, tape)(0, 0);
}

}  // namespace

TEST_CASE("Continuous CQL: values fall away from the log, and the policy stays near it", "[offline][cql][V23]") {
  for (const int seed : {0, 1}) {
    CAPTURE(seed);
    Rng rng = Rng{1}.split(seed);
    const auto data = narrow(200, rng);
    auto agent = make({.alpha = 1, .samples = 5, .entropy_weight = 0.01, .batch = 32});
    train_offline(agent, data, {.updates = 1500}, rng);
    CHECK(q(agent, 1.5) < q(agent, -1));
    CHECK(q(agent, 0.5) < q(agent, -1));
    CHECK(agent.greedy(Vector<double>(Vector<double>::Ones(1))) == close(-1, 0, 0.5));
    // Without the penalty it goes where the critic was never told anything.
    auto naive = make({.alpha = 0, .samples = 1, .entropy_weight = 0.01, .batch = 32});
    train_offline(naive, data, {.updates = 1500}, rng);
    CHECK(naive.greedy(Vector<double>(Vector<double>::Ones(1))) > 0);
  }
}

TEST_CASE("Cal-QL: a reference below everything changes nothing, one above lets the policy's actions be",
          "[offline][cql]") {
  TransitionDataset<Vector<double>, double> data;
  data.add({Vector<double>::Ones(1), -1.0, 0.5, Vector<double>::Ones(1), false, true});
  data.add({Vector<double>::Ones(1), 0.5, 0.25, Vector<double>::Ones(1), false, true});
  const auto train = [&](bool calibrated, double tail) {
    auto agent = make({.samples = 3, .calibrated = calibrated, .truncated_value = tail, .batch = 4});
    Rng rng{2};
    train_offline(agent, data, {.updates = 5}, rng);
    return std::vector<double>(agent.critic_parameters().begin(), agent.critic_parameters().end());
  };
  CHECK(train(true, -1e9) == train(false, 0));
  CHECK(train(true, 1e3) != train(false, 0));
}

TEST_CASE("Continuous CQL: allocations, archives, empty memory, options", "[offline][cql][R19]") {
  Rng rng{5};
  const auto data = narrow(20, rng);
  auto agent = make({.samples = 2, .calibrated = true, .batch = 8});
  CHECK(says(message_of([&] { agent.update(rng); }), "ContinuousCql", "no data"));
  auto log = train_offline(agent, data, {.updates = 100}, rng);
  CHECK(log.distinct_transitions == 20);
  {
    const Allocations allocations;
    for (int k = 0; k < 5; ++k) agent.update(rng);
    CHECK(allocations.count() == 0);
  }
  auto other = make({.samples = 2, .calibrated = true, .batch = 8});
  from_bytes(to_bytes(agent), other);
  Rng a{2}, b{2};
  for (int k = 0; k < 5; ++k) agent.update(a), other.update(b);
  CHECK(to_bytes(agent) == to_bytes(other));
  CHECK(says(message_of([] { make({.alpha = -1}); }), "alpha"));
  CHECK(says(message_of([] { make({.temperature = 0}); }), "temperature"));
  CHECK(says(message_of([] { make({.samples = 0}); }), "samples"));
}
