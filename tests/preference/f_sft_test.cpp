#include "valence/preference/f_sft.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/preference/evaluate.hpp"
#include "valence/preference/losses.hpp"

using valence::BaseSft;
using valence::demonstration_value;
using valence::Dpo;
using valence::evaluate;
using valence::FSft;
using valence::PreferenceBatch;
using valence::SftBaseline;
using valence::SftDivergence;
using namespace valence::test;  // close, message_of, says

static_assert(valence::BatchLoss<FSft>);
static_assert(valence::Loss<FSft>);

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

using enum SftDivergence;
constexpr SftDivergence all[] = {total_variation, pearson, squared_hellinger, jensen_shannon, kl, reverse_kl, minor};

struct Demonstrations {
  std::vector<double> log_prob, ref_log_prob, weight = {};
  PreferenceBatch<double> batch() const {
    return {.base = {.log_prob = log_prob, .ref_log_prob = ref_log_prob, .weight = weight}};
  }
};
Demonstrations with_log_ratios(std::vector<double> u) {
  std::vector<double> log_prob(u.size());
  for (std::size_t i = 0; i < u.size(); ++i) log_prob[i] = u[i] - 3;
  return {log_prob, std::vector<double>(u.size(), -3.0)};
}
Demonstrations random_demonstrations(std::size_t n) {
  valence::Rng rng{5};
  Demonstrations d{std::vector<double>(n), std::vector<double>(n), std::vector<double>(n)};
  rng.fill_normal(d.log_prob), rng.fill_normal(d.ref_log_prob);
  for (double& w : d.weight) w = rng.uniform(0.0, 2.0);
  return d;
}
double value_of(const FSft& loss, const Demonstrations& d) { return evaluate(loss, d.batch()).value; }
bool gradient_is_exact(const FSft& loss, const Demonstrations& d) {
  const auto result = evaluate(loss, d.batch());
  const auto f = [&](std::span<const double> x) {
    return value_of(loss, {{x.begin(), x.end()}, d.ref_log_prob, d.weight});
  };
  const std::span<const double> analytic(result.d_base.data(), d.log_prob.size());
  // A small step: one log-ratio is -0.567, where the curvature near the pole of Jensen-Shannon is large.
  return static_cast<bool>(gradient_matches(f, std::span<const double>(d.log_prob), analytic, {.step = 2e-4}));
}

}  // namespace

TEST_CASE("The value of a demonstration: golden numbers of the conjugate table") {
  const double u[] = {-0.4, 0, 0.5, 1.5, 4};  // the numbers are the closed forms in float64
  const auto check = [&u](SftDivergence f, std::vector<double> value, std::vector<double> slope = {}) {
    CAPTURE(static_cast<int>(f));
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(demonstration_value(f, u[i]).value == close(value[i], 1e-12, 1e-15));
      if (!slope.empty()) CHECK(demonstration_value(f, u[i]).slope == close(slope[i], 1e-12));
    }
  };
  check(total_variation, {-0.4, 0, 0.5, 1.5, 4}, {1, 1, 1, 1, 1});
  check(pearson, {-0.44, 0, 0.4375, 0.9375, 0}, {1.2, 1, 0.75, 0.25, -1});
  check(squared_hellinger, {-0.6666666666667, 0, 0.3333333333333, 0.6, 0.8},
        {2.777777777778, 1, 0.4444444444444, 0.16, 0.04});
  check(jensen_shannon, {-0.6769288075479, 0, 0.3317965657512, 0.5748532993607, 0.6839471705069},
        {2.935649746686, 1, 0.4352665983936, 0.1255748480525, 0.009242460226342});
  check(kl, {-0.4918246976413, 0, 0.3934693402874, 0.7768698398516, 0.9816843611113});
  check(reverse_kl, {-0.510825623766, 0, 0.4054651081082, 0.9162907318742, 1.609437912434});
  for (const double x : u) CHECK(demonstration_value(minor, x).value == close(-std::log1p(std::exp(-x)), 1e-14));
}

TEST_CASE("The value of a demonstration: slopes, tangents below the poles, extremes, concavity") {
  for (const SftDivergence f : all) {
    CAPTURE(static_cast<int>(f));
    const auto at_zero = demonstration_value(f, 0);
    CHECK(at_zero.value == (f == minor ? close(-std::log(2.0), 1e-15) : close(0.0)));
    CHECK(at_zero.slope == close(f == minor ? 0.5 : 1.0, 1e-15));
    for (const double r : {-3.0, -1.2, -0.8, -0.5, -0.1, 0.3, 2.0, 7.0}) {
      const auto value = [f](std::span<const double> x) { return demonstration_value(f, x[0]).value; };
      const double x[] = {r}, slope[] = {demonstration_value(f, r).slope};
      CHECK(gradient_matches(value, std::span<const double>(x), std::span<const double>(slope), {.step = 1e-4}));
    }
    double before = infinity;
    for (const double r : {-1e3, -800.0, -50.0, -1.0, -0.9, -0.7, -0.6, 0.0, 1.0, 50.0, 800.0, 1e3}) {
      const auto phi = demonstration_value(f, r);
      CHECK(std::isfinite(phi.value));
      CHECK(std::isfinite(phi.slope));
      CHECK(phi.slope <= before);
      before = phi.slope;
    }
  }
  // Once continuously differentiable where the tangent begins.
  for (const auto& [f, floor] : {std::pair{squared_hellinger, -0.9}, std::pair{jensen_shannon, -0.6},
                                 std::pair{reverse_kl, -0.9}, std::pair{kl, -700.0}}) {
    const auto at = demonstration_value(f, floor), below = demonstration_value(f, floor - 0.5);
    CHECK(below.slope == at.slope);
    CHECK(below.value == close(at.value - 0.5 * at.slope, 1e-14));
  }
  // Pearson is a square with target 2, like IPO's.
  for (const double r : {-2.0, 0.3, 2.0, 5.0})
    CHECK(demonstration_value(pearson, r).value == close(1 - (r / 2 - 1) * (r / 2 - 1), 1e-14));
}

TEST_CASE("FSft with the total variation is supervised fine-tuning, to the gradient's bit") {
  const auto d = random_demonstrations(23);
  const auto sft = evaluate(BaseSft{}, d.batch()), tv = evaluate(FSft{}, d.batch());
  CHECK((sft.d_base == tv.d_base).all());
  double reference = 0;
  for (std::size_t i = 0; i < 23; ++i) reference += d.weight[i] * d.ref_log_prob[i] / 23;
  CHECK(tv.value == close(sft.value + reference, 1e-12));
  CHECK((evaluate(FSft{.beta = 0.25}, d.batch()).d_base == 0.25 * sft.d_base).all());
}

TEST_CASE("At the reference every divergence has the gradient of supervised fine-tuning") {
  auto d = random_demonstrations(9);
  d.log_prob = d.ref_log_prob;
  const auto sft = evaluate(FSft{.beta = 0.7}, d.batch());
  for (const SftDivergence f : all) {
    CAPTURE(static_cast<int>(f));
    const auto loss = evaluate(FSft{.divergence = f, .beta = 0.7}, d.batch());
    CHECK((loss.d_base == (f == minor ? 0.5 : 1.0) * sft.d_base).all());
  }
}

TEST_CASE("FSft's gradient is exact for every divergence, beta and weight") {
  const auto d = random_demonstrations(11);
  for (const SftDivergence f : all) {
    CAPTURE(static_cast<int>(f));
    CHECK(gradient_is_exact({.divergence = f}, d));
    CHECK(gradient_is_exact({.divergence = f, .beta = 0.3}, d));
  }
  const std::vector<int> prompt{4, 0, 4, -1, 0, 4, 7, 7, 0, 4, 3};
  CHECK(gradient_is_exact({.divergence = pearson, .baseline = SftBaseline::optimal}, d));
  CHECK(gradient_is_exact({.divergence = pearson, .beta = 2, .baseline = SftBaseline::optimal, .prompt = prompt}, d));
}

TEST_CASE("FSft's optimal baseline: the mean of u less a quarter of its variance, of each prompt") {
  const FSft loss{.divergence = pearson, .baseline = SftBaseline::optimal};
  const auto u = with_log_ratios({0.2, -0.3, 1, 0.5});
  CHECK(value_of(loss, u) == close(-0.294375, 1e-13));  // V = -0.35

  // Two prompts in any order are two batches; the mean divides by all demonstrations.
  const std::vector<int> prompt{9, 2, 9, 9, 2, 9};
  FSft two = loss;
  two.prompt = prompt;
  const auto mixed = with_log_ratios({0.2, 0.4, -0.3, 1, -0.8, 0.5});
  const double other = value_of(loss, with_log_ratios({0.4, -0.8}));
  CHECK(other == close(-(-0.2 - 0.36 / 4), 1e-13));
  CHECK(value_of(two, mixed) == close((4 * -0.294375 + 2 * other) / 6, 1e-13));

  // A demonstration alone has no variance: plain SFT. V is the best constant: a zero baseline is no better.
  const std::vector<int> alone{0, 1, 2, 3};
  FSft each = loss;
  each.prompt = alone;
  CHECK((evaluate(each, u.batch()).d_base == evaluate(FSft{}, u.batch()).d_base).all());
  CHECK(value_of(each, u) == close(value_of({}, u), 1e-13));
  CHECK(value_of(loss, u) < value_of({.divergence = pearson}, u));

  // Weights count in the mean; a prompt of weight 0 adds nothing.
  auto weighted = mixed;
  weighted.weight = {1, 0, 1, 1, 0, 1};
  CHECK(value_of(two, weighted) == close(4 * -0.294375 / 6, 1e-13));
}

TEST_CASE("FSft joins the algebra, and sums of losses read the same demonstrations") {
  const auto d = random_demonstrations(6);
  const std::vector<double> chosen{-1}, rejected{-2}, ref_chosen{-1.5}, ref_rejected{-1.2};
  auto batch = d.batch();
  batch.pairs = {chosen, rejected, ref_chosen, ref_rejected};
  const FSft hellinger{.divergence = squared_hellinger};
  const auto sum = evaluate(Dpo{.beta = 0.1} + 0.5 * hellinger, batch);
  CHECK(sum.value == close(evaluate(Dpo{.beta = 0.1}, batch).value + 0.5 * evaluate(hellinger, batch).value, 1e-13));
  CHECK((sum.d_base - 0.5 * evaluate(hellinger, batch).d_base).abs().maxCoeff() < 1e-16);
}

TEST_CASE("FSft allocates nothing in steady state") {
  const auto d = random_demonstrations(40);
  const std::vector<int> prompt(40, 3);
  std::vector<double> gradient(40);
  const FSft loss{.divergence = pearson, .baseline = SftBaseline::optimal, .prompt = prompt};
  evaluate(loss, d.batch(), {.base = gradient});
  const Allocations allocations;
  evaluate(loss, d.batch(), {.base = gradient});
  evaluate(FSft{.divergence = jensen_shannon}, d.batch(), {.base = gradient});
  CHECK(allocations.count() == 0);
}

TEST_CASE("FSft refuses bad input") {
  const auto d = random_demonstrations(3);
  const auto message = [&d](const FSft& loss, auto... change) {
    auto bad = d;
    (change(bad), ...);
    return message_of([&] { value_of(loss, bad); });
  };
  CHECK(says(message({.beta = 0}), "FSft", "beta"));
  CHECK(says(message({.beta = not_a_number}), "beta"));
  CHECK(says(message({}, [](auto& b) { b.ref_log_prob.clear(); }), "FSft", "base.ref_log_prob is missing"));
  CHECK(says(message({}, [](auto& b) { b.ref_log_prob.pop_back(); }), "base.ref_log_prob"));
  CHECK(says(message({}, [](auto& b) { b.ref_log_prob[1] = not_a_number; }), "base.ref_log_prob[1]", "nan"));
  CHECK(says(message({}, [](auto& b) { b.log_prob[2] = not_a_number; }), "base.log_prob[2]"));
  CHECK(says(message({}, [](auto& b) { b.weight[0] = -1; }), "base.weight[0]"));
  CHECK(says(message({.baseline = SftBaseline::optimal}), "baseline is optimal"));
  const std::vector<int> two{0, 1};
  CHECK(says(message({.divergence = pearson, .baseline = SftBaseline::optimal, .prompt = two}), "prompt", "2"));
  CHECK(message({.prompt = two}) == "nothing thrown");  // not read
}
