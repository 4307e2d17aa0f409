// The solvers over threads: the same bits for any number of them (pitfall T3). This file is also built with OpenMP, in
// the program test_openmp; without it the counts are accepted and everything runs in one thread.
#include <cstddef>
#include <vector>

#include "support/catch.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/parallel.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/finite_horizon.hpp"
#include "valence/planning/interval_iteration.hpp"
#include "valence/planning/policy_evaluation.hpp"
#include "valence/planning/policy_iteration.hpp"
#include "valence/planning/soft_value_iteration.hpp"
#include "valence/planning/value_iteration.hpp"

using namespace valence;

namespace {

constexpr int team[] = {2, 3, 7, 16};

/// Large enough for several chunks of a sweep, and with rewards whose sums round.
FiniteMdp<double> large_model() {
  Rng rng{4};
  const int states = 3 * static_cast<int>(detail::sweep_chunk) + 17;
  return FiniteMdp(states, 2, [&](int, int) {
    std::vector<Outcome<int>> outcomes;
    const double r = rng.normal();
    for (const double p : {.5, .3, .2}) outcomes.push_back({rng.below(states), p, r});
    return outcomes;
  });
}

std::vector<std::byte> bits(const Vector<double>& v) { return to_bytes(v); }

/// `solve(threads)` gives a value, which must not depend on them, nor on the run.
template <class Solve>
void same_bits(const Solve& solve) {
  const auto expected = bits(solve(1));
  for (const int threads : team)
    for (int run = 0; run < 3; ++run) CHECK(bits(solve(threads)) == expected);
}

}  // namespace

TEST_CASE("solutions have the same bits for any number of threads", "[T3]") {
  const auto model = large_model();
  const std::vector<int> policy(static_cast<std::size_t>(model.states()), 1);
  same_bits([&](int threads) {
    return value_iteration(model, {.discount = .9, .tolerance = 1e-3, .threads = threads}).value;
  });
  same_bits([&](int threads) {
    return modified_policy_iteration(model, {.discount = .9, .tolerance = 1e-3, .threads = threads}).value;
  });
  same_bits([&](int threads) {
    return policy_evaluation(model, policy, {.discount = .9, .tolerance = 1e-3, .threads = threads}).value;
  });
  same_bits([&](int threads) {
    return soft_value_iteration(model, {.discount = .9, .temperature = .5, .tolerance = 1e-3, .threads = threads})
        .value;
  });
  same_bits([&](int threads) {
    return interval_iteration(model, {.discount = .9, .tolerance = 1e-3, .threads = threads}).value;
  });
}

TEST_CASE("residuals, policies and iterations too", "[T3]") {
  const auto model = large_model();
  const auto one = value_iteration(model, {.discount = .9, .tolerance = 1e-3, .threads = 1});
  for (const int threads : team) {
    const auto many = value_iteration(model, {.discount = .9, .tolerance = 1e-3, .threads = threads});
    CHECK(many.policy == one.policy);
    CHECK(many.iterations == one.iterations);
    CHECK(many.residual == one.residual);
    CHECK(many.bound == one.bound);
  }
}
