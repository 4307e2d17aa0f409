#include "valence/mdp/estimate.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/statistics.hpp"
#include "valence/mdp/dataset.hpp"

using namespace valence;
using test::message_of, test::says;
using Row = std::vector<double>;

namespace {

Row row(const FiniteMdp<double>& mdp, int s, int a) {
  Row out(static_cast<std::size_t>(mdp.states()), 0.0);
  for (const auto& to : mdp.successors(s, a)) out[static_cast<std::size_t>(to.next)] = to.probability;
  return out;
}

/// State 0 goes to 1 and 2; 1 terminates in 2, which is never played on; action 1 was tried in 0 only.
TransitionCounts small_counts() {
  TransitionDataset<int, int> data;
  data.add({0, 0, 1, 1, false, false});
  data.add({1, 0, 10, 2, true, false});
  data.add({0, 0, 2, 0, false, false});
  data.add({0, 0, 6, 1, false, true});  // cut off: counts like any other
  data.add({0, 1, -1, 0, false, false});
  data.add({0, 0, 3, 1, false, false});
  data.add({1, 0, 20, 2, true, false});
  TransitionCounts counts{3, 2};
  counts.add(data);
  return counts;
}

}  // namespace

TEST_CASE("Counts are what was added") {
  const TransitionCounts counts = small_counts();
  CHECK(counts.visits(0, 0) == 4);
  CHECK(counts.visits(1, 1) == 0);
  CHECK(counts.mean_reward(0, 0) == 3);
  CHECK(counts.mean_reward(1, 0) == 15);
  CHECK(std::isnan(counts.mean_reward(1, 1)));
  REQUIRE(counts.successors(0, 0).size() == 2);
  CHECK(counts.successors(0, 0)[1].went_on == 3);
  CHECK(counts.successors(1, 0)[0].ended == 2);
  CHECK(counts.first()[0] == 3);  // three episodes, all begin in 0
  TransitionCounts loaded;
  from_bytes(to_bytes(counts), loaded);
  CHECK(same_state(loaded, counts));
}

TEST_CASE("Bad transitions are refused by name, and nothing is counted") {
  TransitionCounts counts{3, 2};
  CHECK(says(message_of([] { TransitionCounts(0, 1); }), "states is 0"));
  CHECK(says(message_of([] { TransitionCounts(1, -1); }), "actions is -1"));
  CHECK(says(message_of([&] { counts.add(3, 0, 0, 0, false); }), "state is 3; expected one in [0, 2]"));
  CHECK(says(message_of([&] { counts.add(0, 2, 0, 0, false); }), "action is 2 (state 0)"));
  CHECK(says(message_of([&] { counts.add(0, 0, 0, -1, false); }), "next is -1"));
  CHECK(says(message_of([&] { counts.add(0, 0, std::nan(""), 0, false); }), "reward is nan"));
  CHECK(says(message_of([&] { counts.add_first(3); }), "state is 3"));
  CHECK(same_state(counts, TransitionCounts{3, 2}));
  CHECK(says(message_of([] { maximum_likelihood(TransitionCounts{}); }), "counts.states() is 0"));
}

TEST_CASE("The most likely model has the data's frequencies, and its ends") {
  const FiniteMdp<double> model = maximum_likelihood(small_counts(), {.unvisited = Unvisited::unavailable});
  CHECK(model.states() == 3);
  CHECK(row(model, 0, 0) == Row{0.25, 0.75, 0});
  CHECK(row(model, 0, 1) == Row{1, 0, 0});
  CHECK(row(model, 1, 0) == Row{0, 0, 1});
  CHECK_FALSE(model.available(1, 1));
  CHECK(model.terminal(2));  // only ever an end
  CHECK(model.reward(0, 0) == 3);
  CHECK(model.reward(1, 0) == 15);
  CHECK(Row(model.initial().begin(), model.initial().end()) == Row{1, 0, 0});

  // Once 2 was played on from, its ends are a state of their own.
  TransitionCounts counts = small_counts();
  counts.add(2, 0, 0, 0, false);
  const FiniteMdp<double> more = maximum_likelihood(counts, {.unvisited = Unvisited::unavailable});
  CHECK(more.states() == 4);
  CHECK_FALSE(more.terminal(2));
  CHECK(more.terminal(3));
  CHECK(row(more, 1, 0) == Row{0, 0, 0, 1});
  counts.add(1, 0, 0, 2, false);  // and where both happen, both are there
  CHECK(row(maximum_likelihood(counts, {.unvisited = Unvisited::unavailable}), 1, 0) == Row{0, 0, 1.0 / 3, 2.0 / 3});
}

TEST_CASE("Pairs that were never tried are as was asked") {
  const TransitionCounts counts = small_counts();
  CHECK(says(message_of([&] { maximum_likelihood(counts); }), "action 1 was never taken in state 1"));
  const auto loop = maximum_likelihood(counts, {.unvisited = Unvisited::self_loop, .unvisited_reward = -7});
  CHECK(row(loop, 1, 1) == Row{0, 1, 0});
  CHECK(loop.reward(1, 1) == -7);
  const auto uniform = maximum_likelihood(counts, {.unvisited = Unvisited::uniform});
  CHECK(row(uniform, 1, 1) == Row{1.0 / 3, 1.0 / 3, 1.0 / 3});
  TransitionCounts hole{2, 1};
  hole.add(0, 0, 1, 1, false);  // and nobody knows how it goes on from 1
  CHECK(says(message_of([&] { maximum_likelihood(hole, {.unvisited = Unvisited::unavailable}); }),
             "no action was ever taken in state 1"));
  CHECK(maximum_likelihood(hole, {.unvisited = Unvisited::self_loop}).initial().empty());
  CHECK(says(message_of([&] { maximum_likelihood(hole, {.unvisited_reward = std::nan("")}); }), "unvisited_reward"));
}

TEST_CASE("Frequencies come near the truth at the usual rate") {
  const double truth[] = {0.1, 0.2, 0.3, 0.4};
  for (const std::uint64_t seed : {1U, 2U, 3U, 4U, 5U}) {
    Rng rng{seed};
    TransitionCounts counts{4, 1};
    std::vector<std::uint64_t> seen(4, 0);
    for (int i = 0; i < 20'000; ++i) counts.add(0, 0, 1, static_cast<int>(rng.categorical(truth)), false);
    const auto model = maximum_likelihood(counts, {.unvisited = Unvisited::self_loop});
    for (int k = 0; k < 4; ++k) {
      const double p = truth[k],
                   z = (row(model, 0, 0)[static_cast<std::size_t>(k)] - p) / std::sqrt(p * (1 - p) / 20'000);
      CHECK(test::normal_p(z) > 1e-6);
    }
  }
}

TEST_CASE("The posterior's mean adds the prior's counts") {
  const DirichletPosterior posterior(small_counts(), {.concentration = 0.5, .unvisited_reward = 4});
  const FiniteMdp<double> mean = posterior.mean();
  CHECK(mean.states() == 3);
  CHECK(mean.terminal(2));
  // (0.5 + count) / (3 * 0.5 + visits)
  const Row expected{1.5 / 5.5, 3.5 / 5.5, 0.5 / 5.5};
  for (std::size_t k = 0; k < 3; ++k) CHECK(row(mean, 0, 0)[k] == test::close(expected[k], 1e-14));
  CHECK(row(mean, 1, 0)[2] == test::close(2.5 / 3.5, 1e-14));
  CHECK(row(mean, 1, 1)[0] == test::close(1.0 / 3, 1e-14));
  CHECK(mean.reward(0, 0) == 3);
  CHECK(mean.reward(1, 1) == 4);
  // A prior that weighs nothing leaves the frequencies.
  const FiniteMdp<double> plain = DirichletPosterior(small_counts(), {.concentration = 1e-12}).mean();
  CHECK(row(plain, 0, 0)[1] == test::close(0.75, 1e-10));
  // The additional end is a successor like any other.
  TransitionCounts counts = small_counts();
  counts.add(2, 0, 0, 0, false);
  const FiniteMdp<double> more = DirichletPosterior(counts).mean();
  CHECK(more.states() == 4);
  CHECK(row(more, 1, 0)[3] == test::close(3.0 / 6, 1e-14));
  CHECK(says(message_of([&] { DirichletPosterior(counts, {.concentration = 0}); }), "concentration is 0"));
  CHECK(says(message_of([] { DirichletPosterior(TransitionCounts{}); }), "counts.states() is 0"));
}

TEST_CASE("Samples of the posterior have the Dirichlet's moments, and are drawn anew") {
  const DirichletPosterior posterior(small_counts());
  for (const std::uint64_t seed : {11U, 12U, 13U}) {
    Rng rng{seed};
    const int n = 4000;
    RunningMoments p, q;
    for (int i = 0; i < n; ++i) {
      const FiniteMdp<double> model = posterior.sample(rng);
      p.add(row(model, 0, 0)[1]);
      q.add(row(model, 1, 1)[0]);
    }
    // Dirichlet(2, 4, 1): mean 4/7, variance 4 * 3 / (49 * 8). Dirichlet(1, 1, 1): 1/3, 2 / (9 * 4).
    const double variance = 12.0 / 392;
    CHECK(test::normal_p((p.mean() - 4.0 / 7) / std::sqrt(variance / n)) > 1e-6);
    CHECK(p.population_variance() == test::close(variance, 0.15));
    CHECK(test::normal_p((q.mean() - 1.0 / 3) / std::sqrt(1.0 / 18 / n)) > 1e-6);
  }
  Rng a{7}, b{7};
  const FiniteMdp<double> first = posterior.sample(a);
  CHECK(first.columns().probability == posterior.sample(b).columns().probability);
  CHECK(first.columns().probability != posterior.sample(a).columns().probability);
  // Tiny concentrations underflow to rows of one successor, and never to NaN.
  const DirichletPosterior tiny(small_counts(), {.concentration = 1e-300});
  for (int i = 0; i < 20; ++i) CHECK(tiny.sample(a).successors(1, 1).size() == 1);
}
