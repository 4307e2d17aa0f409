#include "valence/planning/discount_sweep.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/policy_iteration.hpp"

namespace {

using namespace valence;
using valence::test::close;
using valence::test::message_of;
using valence::test::says;

// The specification's model of three states and two actions.
DenseMdp<double> three_states() {
  Matrix<double> p(3, 6), r(2, 3);
  p.col(0) << .7, .2, .1;
  p.col(1) << .1, .1, .8;
  p.col(2) << .3, .4, .3;
  p.col(3) << 0, .9, .1;
  p.col(4) << .5, 0, .5;
  p.col(5) << .2, .6, .2;
  r << 1, .2, .1, .6, .5, 0;
  return {p, r};
}

DenseMdp<double> random_model(int states, int actions, Rng& rng) {
  Matrix<double> p(states, states * actions), r(actions, states);
  const std::vector<double> alpha(static_cast<std::size_t>(states), 0.3);
  for (std::ptrdiff_t j = 0; j < p.cols(); ++j)
    rng.dirichlet(alpha, std::span<double>(p.col(j).data(), static_cast<std::size_t>(states)));
  for (std::ptrdiff_t i = 0; i < r.size(); ++i) r.data()[i] = rng.uniform();
  return {p, r};
}

// How far from optimal a policy is at a discount: the largest advantage, in units of 1.
template <class M>
double violation(const M& model, std::span<const int> policy, double discount) {
  const detail::DiscountedPolicy<M> process(model, policy);
  const Vector<double> v = process.value(discount);
  double largest = 0;
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; !model.terminal(s) && a < model.actions(); ++a)
      if (model.available(s, a)) largest = std::max(largest, process.advantage(s, a, discount, v));
  return largest;
}

}  // namespace

TEST_CASE("a delayed reward is worth waiting for from a discount of 1/3 on") {
  // State 0: 1 now and the end, or nothing now and 3 a step later. State 2 absorbs.
  const FiniteMdp<double> model(3, 2,
                                std::vector<ModelEntry>{{0, 0, 2, 1.0, 1.0},
                                                        {0, 1, 1, 1.0, 0.0},
                                                        {1, 0, 2, 1.0, 3.0},
                                                        {1, 1, 2, 1.0, 3.0},
                                                        {2, 0, 2, 1.0, 0.0},
                                                        {2, 1, 2, 1.0, 0.0}});
  const DiscountSweep sweep = discount_sweep(model);
  REQUIRE(sweep.starts.size() == 2);
  CHECK(sweep.starts[0] == 0);
  CHECK(sweep.starts[1] == close(1.0 / 3, 1e-15));
  CHECK(sweep.policies[0][0] == 0);
  CHECK(sweep.policies[1][0] == 1);
  CHECK(sweep.policy(0.2)[0] == 0);
  CHECK(sweep.policy(0.9)[0] == 1);
  CHECK(sweep.ties == 4);  // both actions of states 1 and 2, in two pieces
}

TEST_CASE("the same with terminal states and actions that aren't available") {
  const FiniteMdp<double> model(3, 2,
                                std::vector<ModelEntry>{{0, 0, 2, 1.0, 1.0}, {0, 1, 1, 1.0, 0.0}, {1, 1, 2, 1.0, 3.0}},
                                std::vector<int>{2});
  const DiscountSweep sweep = discount_sweep(model);
  REQUIRE(sweep.starts.size() == 2);
  CHECK(sweep.starts[1] == close(1.0 / 3, 1e-15));
  CHECK(sweep.policies[0] == std::vector<int>{0, 1, -1});
  CHECK(sweep.policies[1] == std::vector<int>{1, 1, -1});
  CHECK(sweep.ties == 0);
}

TEST_CASE("a breakpoint of three states") {
  const auto model = three_states();
  const DiscountSweep sweep = discount_sweep(model, {.low = 0, .high = 0.999});
  REQUIRE(sweep.starts.size() == 2);
  CHECK(sweep.policies[0] == std::vector<int>{0, 1, 0});
  CHECK(sweep.policies[1] == std::vector<int>{0, 0, 0});
  CHECK(sweep.starts[1] == close(0.8127540722926917, 1e-14));
  const detail::DiscountedPolicy<DenseMdp<double>> process(model, sweep.policies[0]);
  const Vector<double> v = process.value(sweep.starts[1]);
  CHECK(v[0] == close(3.8760759944975, 1e-12));
  CHECK(v[1] == close(2.71617735409217, 1e-12));
  CHECK(v[2] == close(2.82190611974854, 1e-12));
  CHECK(process.advantage(1, 0, sweep.starts[1], v) == close(0, 0, 1e-14));
  // The slope of V by differences.
  const double h = 1e-5;
  const Vector<double> slope = process.slope(0.5, process.value(0.5));
  const Vector<double> numeric = (process.value(0.5 + h) - process.value(0.5 - h)) / (2 * h);
  for (std::ptrdiff_t s = 0; s < 3; ++s) CHECK(slope[s] == close(numeric[s], 1e-8));
}

TEST_CASE("on a grid of 400 discounts the policy of the piece is optimal") {
  Rng rng{1};
  std::size_t pieces = 0;
  for (int round = 0; round < 20; ++round) {
    const auto model = random_model(6, 3, rng);
    const DiscountSweep sweep = discount_sweep(model);
    pieces += sweep.starts.size();
    CHECK(sweep.ties == 0);
    CHECK(std::is_sorted(sweep.starts.begin(), sweep.starts.end()));
    double worst = 0;
    for (int i = 0; i < 400; ++i) {
      const double discount = 0.999 * i / 399;
      worst = std::max(worst, violation(model, sweep.policy(discount), discount));
    }
    CHECK(worst <= 1e-8);
    // No breakpoint is superfluous: just above it the old policy isn't optimal.
    for (std::size_t k = 1; k < sweep.starts.size(); ++k) {
      const double end = k + 1 < sweep.starts.size() ? sweep.starts[k + 1] : sweep.high;
      CHECK(violation(model, sweep.policies[k - 1], (sweep.starts[k] + end) / 2) > 1e-9);
    }
  }
  CHECK(pieces > 30);
}

TEST_CASE("larger models, and a part of the range") {
  Rng rng{2};
  const auto model = random_model(20, 2, rng);
  const DiscountSweep whole = discount_sweep(model), part = discount_sweep(model, {.low = 0.6, .high = 0.95});
  CHECK(part.starts.front() == 0.6);
  CHECK(part.high == 0.95);
  for (const double discount : {0.6, 0.7, 0.8, 0.9, 0.949}) {
    CHECK(violation(model, whole.policy(discount), discount) <= 1e-9);
    CHECK(violation(model, part.policy(discount), discount) <= 1e-9);
  }
  for (std::size_t k = 1; k < part.starts.size(); ++k) {
    const auto at = std::min_element(whole.starts.begin(), whole.starts.end(), [&](double a, double b) {
      return std::abs(a - part.starts[k]) < std::abs(b - part.starts[k]);
    });
    CHECK(*at == close(part.starts[k], 1e-9));
  }
}

TEST_CASE("a tie at discount 0 is decided by what follows") {
  // Both actions of state 0 earn nothing now; the second leads to the state that pays.
  const FiniteMdp<double> model(
      3, 2,
      std::vector<ModelEntry>{{0, 0, 1, 1.0, 0.0}, {0, 1, 2, 1.0, 0.0}, {1, 0, 1, 1.0, 0.0}, {2, 0, 2, 1.0, 1.0}});
  const DiscountSweep sweep = discount_sweep(model);
  REQUIRE(sweep.starts.size() == 1);
  CHECK(sweep.policies[0][0] == 1);
}

TEST_CASE("two actions that switch at one discount make one breakpoint") {
  // Two copies of the delayed reward.
  const FiniteMdp<double> model(
      4, 2,
      std::vector<ModelEntry>{
          {0, 0, 3, 1.0, 1.0}, {0, 1, 2, 1.0, 0.0}, {1, 0, 3, 1.0, 1.0}, {1, 1, 2, 1.0, 0.0}, {2, 0, 3, 1.0, 3.0}},
      std::vector<int>{3});
  const DiscountSweep sweep = discount_sweep(model);
  REQUIRE(sweep.starts.size() == 2);
  CHECK(sweep.policies[0] == std::vector<int>{0, 0, 0, -1});
  CHECK(sweep.policies[1] == std::vector<int>{1, 1, 0, -1});
}

TEST_CASE("the utility of planning with a discount") {
  Rng rng{3};
  const auto truth = random_model(5, 2, rng), estimated = random_model(5, 2, rng);
  const PiecewiseConstant dual = discount_dual(estimated, truth, {.evaluation_discount = 0.9});
  const PiecewiseConstant relative = discount_dual(estimated, truth, {.evaluation_discount = 0.9, .relative = true});
  const double optimum = policy_iteration(truth, {.discount = 0.9}).value.mean();
  CHECK(dual.low() == 0);
  CHECK(dual.high() == 0.999);
  for (const double discount : {0.05, 0.5, 0.9, 0.99}) {
    const auto policy = policy_iteration(estimated, {.discount = discount}).policy;
    const double value = direct_policy_evaluation(truth, policy, {.discount = 0.9}).value.mean();
    CHECK(dual(discount) == close(value, 1e-12));
    CHECK(relative(discount) == close(value / optimum, 1e-12));
  }
  // Planning in the true model with the discount that counts is optimal.
  CHECK(discount_dual(truth, truth, {.evaluation_discount = 0.9, .relative = true})(0.9) == close(1, 1e-12));
  // From the model's first states where it has some.
  Vector<double> initial = Vector<double>::Zero(5);
  initial[2] = 1;
  const DenseMdp<double> begins(truth.transition(), truth.rewards(), {}, initial);
  const auto policy = policy_iteration(estimated, {.discount = 0.5}).policy;
  CHECK(discount_dual(estimated, begins, {.evaluation_discount = 0.9})(0.5) ==
        close(direct_policy_evaluation(truth, policy, {.discount = 0.9}).value[2], 1e-12));
}

TEST_CASE("what a discount sweep refuses") {
  const auto model = three_states();
  const auto refused = [&](const DiscountSweepOptions& options) {
    return message_of([&] { discount_sweep(model, options); });
  };
  CHECK(says(refused({.low = -0.1}), "low is -0.1"));
  CHECK(says(refused({.high = 1}), "low < high < 1"));
  CHECK(says(refused({.low = 0.5, .high = 0.5}), "low < high < 1"));
  CHECK(says(refused({.high = std::nan("")}), "high is nan"));
  CHECK(says(refused({.max_switches = 1}), "more than 1 switches"));
  CHECK(says(message_of([&] { discount_sweep(model).policy(0.9995); }), "discount is 0.9995"));
  CHECK(says(message_of([&] { discount_dual(model, model, {.evaluation_discount = 1}); }), "evaluation_discount is 1"));
  Rng rng{4};
  CHECK(says(message_of([&] { discount_dual(model, random_model(4, 2, rng)); }), "estimated model has 3"));
}
