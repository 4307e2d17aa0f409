#include "valence/planning/gain_bias.hpp"

#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "planning/models.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/env/river_swim.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/direct_evaluation.hpp"
#include "valence/planning/relative_value_iteration.hpp"
#include "valence/planning/span_value_iteration.hpp"
#include "valence/planning/successor_representation.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::random_model;
using valence::test::says;

namespace {

using valence::test::close;

/// value.md 35: gain 1.125, bias (0, 1.25), policy (0, 1).
FiniteMdp<double> two_by_two() {
  return FiniteMdp(2, 2,
                   std::vector<ModelEntry>{{0, 0, 0, .9, 1},
                                           {0, 0, 1, .1, 1},
                                           {0, 1, 0, .4, 0},
                                           {0, 1, 1, .6, 0},
                                           {1, 0, 0, .2, .5},
                                           {1, 0, 1, .8, .5},
                                           {1, 1, 0, .7, 2},
                                           {1, 1, 1, .3, 2}});
}

constexpr std::array river_bias{
    0., 2.449000407996734, 5.247858017135861, 8.096695226438186, 10.952672378620969, 13.809669522643816};
constexpr double river_gain = .8571501427988575;

}  // namespace

TEST_CASE("RiverSwim: gain, bias and action values of always swimming right, by the solve and by the iterations") {
  // Numbers: value.md 35, by numpy.
  const auto river = river_swim();
  const std::vector<int> right(6, 1);
  const auto solved = gain_bias(river, std::span<const int>(right));
  const auto iterated = relative_value_iteration(river, {.tolerance = 1e-13});
  const auto full = dense(river);
  SpanSolution spanned;
  span_value_iteration(full.rewards(), full.transition(), spanned, {.tolerance = 1e-12, .max_iterations = 100'000});
  CHECK(iterated.policy == right);
  CHECK(spanned.converged);
  CHECK(solved.gain == close(river_gain, 1e-14));
  CHECK(iterated.gain == close(river_gain, 1e-12));
  CHECK(spanned.gain == close(river_gain, 1e-11));
  const double left[] = {-.8521501427988575, -.8571501427988575, 1.5918502651978765,
                         4.390707874337004,  7.239545083639328,  10.095522235822111};
  const Matrix<double> q = differential_action_values(river, solved.gain, view(solved.bias));
  for (int s = 0; s < 6; ++s) {
    const double expected = river_bias[static_cast<std::size_t>(s)];
    CHECK(solved.bias[s] == close(expected, 1e-13, 1e-13));
    CHECK(iterated.bias[s] == close(expected, 0, 1e-9));
    CHECK(spanned.bias[s] == close(expected, 0, 1e-8));
    CHECK(q(0, s) == close(left[s], 1e-12));
    CHECK(q(1, s) == close(expected, 1e-12, 1e-12));
    CHECK(spanned.values(0, s) == close(left[s], 0, 1e-8));
  }
  const Vector<double> share = stationary_distribution(river, std::span<const int>(right));
  const double shares[] = {5.0999592e-5, 3.56997144e-4, .002498980008, .017492860057, .1224500204, .857150142799};
  for (int s = 0; s < 6; ++s) CHECK(share[s] == close(shares[s], 1e-8));
}

TEST_CASE("Two states: gain, bias, action values; (1 - discount) V comes to the gain") {
  const auto model = two_by_two();
  const auto best = relative_value_iteration(model, {.tolerance = 1e-13});
  CHECK(best.policy == std::vector<int>{0, 1});
  const auto solved = gain_bias(model, std::span<const int>(best.policy));
  CHECK(solved.gain == close(1.125, 1e-14));
  CHECK(solved.bias[0] == 0);
  CHECK(solved.bias[1] == close(1.25, 1e-14));
  const Matrix<double> q = differential_action_values(model, solved.gain, view(solved.bias));
  CHECK(q(0, 0) == close(0, 0, 1e-14));
  CHECK(q(1, 0) == close(-.375, 1e-13));
  CHECK(q(0, 1) == close(.375, 1e-13));
  CHECK(q(1, 1) == close(1.25, 1e-13));
  const auto discounted = direct_policy_evaluation(model, std::span<const int>(best.policy), {.discount = .9999});
  CHECK(1e-4 * discounted.value[0] == close(1.12498437539, 1e-9));
  CHECK(1e-4 * discounted.value[1] == close(1.125109372265, 1e-9));

  // Another reference shifts the bias; a constant reward the gain.
  const auto from_one = gain_bias(model, std::span<const int>(best.policy), 1);
  CHECK(from_one.gain == close(1.125, 1e-14));
  CHECK(from_one.bias[0] == close(-1.25, 1e-14));
  CHECK(from_one.bias[1] == 0);
  std::vector<ModelEntry> raised;
  for (int s = 0; s < 2; ++s)
    for (int a = 0; a < 2; ++a)
      for (const auto& to : model.successors(s, a)) raised.push_back({s, a, to.next, to.probability, to.reward + 3});
  const auto more = gain_bias(FiniteMdp(2, 2, raised), std::span<const int>(best.policy));
  CHECK(more.gain == close(4.125, 1e-14));
  CHECK(more.bias[1] == close(1.25, 1e-13));
}

TEST_CASE("A cycle of two states: the lazy chain settles where the plain one oscillates") {
  const FiniteMdp cycle(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1, 0}, {1, 0, 0, 1, 1}});
  const auto solved = gain_bias(cycle, uniform_policy(cycle));
  CHECK(solved.gain == close(.5, 1e-14));
  CHECK(solved.bias[1] == close(.5, 1e-14));
  const auto full = dense(cycle);
  SpanSolution lazy, plain;
  span_value_iteration(full.rewards(), full.transition(), lazy);
  span_value_iteration(full.rewards(), full.transition(), plain, {.step_size = 1});
  CHECK(lazy.converged);
  CHECK(lazy.gain == close(.5, 1e-6));
  CHECK(lazy.bias[1] == close(.5, 1e-5));
  CHECK_FALSE(plain.converged);
  CHECK(plain.iterations == 4000);
}

TEST_CASE("Gain and bias solve the policy's equation on random models; a stochastic policy; a transient state") {
  Rng rng{5};
  for (int trial = 0; trial < 10; ++trial) {
    const auto model = random_model({.states = 12, .actions = 3}, rng);
    const Matrix<double> policy = uniform_policy(model);
    const auto [gain, bias] = gain_bias(model, policy, 4);
    const Matrix<double> q = differential_action_values(model, gain, view(bias));
    CHECK(bias[4] == 0);
    for (int s = 0; s < 12; ++s) CHECK(policy.col(s).dot(q.col(s)) == close(bias[s], 1e-10, 1e-10));
    const Vector<double> share = stationary_distribution(model, policy);
    double earned = 0;
    for (int s = 0; s < 12; ++s)
      for (int a = 0; a < 3; ++a) earned += share[s] * policy(a, s) * model.reward(s, a);
    CHECK(gain == close(earned, 1e-11, 1e-13));
  }
  const FiniteMdp transient(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1, 5}, {1, 0, 1, 1, 2}});
  const auto solved = gain_bias(transient, uniform_policy(transient), 1);
  CHECK(solved.gain == close(2, 1e-14));
  CHECK(solved.bias[0] == close(3, 1e-14));
}

TEST_CASE("A bounded span holds the bias down, and the gain is that of the bounded problem") {
  const auto full = dense(river_swim());
  SpanSolution bounded;
  for (const double span : {5., 1., .1}) {
    span_value_iteration(full.rewards(), full.transition(), bounded,
                         {.span = span, .tolerance = 1e-11, .max_iterations = 100'000});
    CHECK(bounded.converged);
    CHECK(bounded.bias.minCoeff() == 0);
    CHECK(bounded.bias.maxCoeff() == span);
    CHECK(bounded.gain < river_gain);
    // The fixed point: clip(max_a (r + P bias) - gain).
    for (int s = 0; s < 6; ++s)
      CHECK(bounded.bias[s] == close((std::min)(bounded.values.col(s).maxCoeff(), span), 0, 1e-9));
  }
  // A span that doesn't bind changes nothing, and another start finds the same.
  span_value_iteration(full.rewards(), full.transition(), bounded,
                       {.span = 14, .tolerance = 1e-11, .max_iterations = 100'000});
  CHECK(bounded.gain == close(river_gain, 1e-10));
  const std::size_t before = bounded.iterations;
  test::Allocations allocations;
  span_value_iteration(full.rewards(), full.transition(), bounded,
                       {.span = 14, .tolerance = 1e-11, .max_iterations = 100'000});
  CHECK(allocations.count() == 0);
  CHECK(bounded.iterations < before / 10);
}

TEST_CASE("Gain, bias, span: bad input") {
  const auto river = river_swim();
  const std::vector<int> right(6, 1), few(5, 1), wrong(6, 2);
  CHECK(says(message_of([&] { gain_bias(river, std::span<const int>(few)); }), "policy has 5 entries"));
  CHECK(says(message_of([&] { gain_bias(river, std::span<const int>(wrong)); }), "policy[0] is 2"));
  CHECK(says(message_of([&] { gain_bias(river, std::span<const int>(right), 6); }), "reference is 6"));
  const FiniteMdp apart(2, 1, std::vector<ModelEntry>{{0, 0, 0, 1, 1}, {1, 0, 1, 1, 2}});
  CHECK(
      says(message_of([&] { gain_bias(apart, uniform_policy(apart)); }), "gain_bias", "more than one recurrent class"));
  const int terminal[] = {1};
  const FiniteMdp ends(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1, 1}}, terminal);
  CHECK(says(message_of([&] { gain_bias(ends, uniform_policy(ends)); }), "state 1 is terminal"));

  const auto full = dense(river);
  const auto message = [&](const SpanValueIterationOptions& options) {
    SpanSolution solution;
    return message_of([&] { span_value_iteration(full.rewards(), full.transition(), solution, options); });
  };
  CHECK(says(message({.span = 0}), "span is 0"));
  CHECK(says(message({.span = std::numeric_limits<double>::quiet_NaN()}), "span is nan"));
  CHECK(says(message({.tolerance = 0}), "tolerance is 0"));
  CHECK(says(message({.step_size = 1.5}), "step_size is 1.5"));
  CHECK(says(message({.max_iterations = 0}), "max_iterations is 0"));
  SpanSolution solution;
  const Matrix<double> narrow = full.transition().leftCols(11);
  CHECK(
      says(message_of([&] { span_value_iteration(full.rewards(), narrow, solution); }), "weights is 6 x 11", "6 x 12"));
  Matrix<double> infinite = full.rewards();
  infinite(1, 0) = std::numeric_limits<double>::infinity();
  CHECK(says(message_of([&] { span_value_iteration(infinite, full.transition(), solution); }), "reward[1] is inf"));
  CHECK(solution.bias.size() == 0);

  CHECK(says(message_of([] { river_swim(1); }), "river_swim: states is 1"));
  CHECK(says(message_of([] { river_swim(6, {.up = .5, .stay = .6}); }), "up + stay is 1.1"));
}
