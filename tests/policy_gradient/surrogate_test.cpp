// Losses of log-probabilities, values and logits: the spec's numbers (policy_gradient.md A4, A5, A8; baseline.md 5),
// and the faults that others shipped.
#include "valence/policy_gradient/surrogate.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/elementary.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/value/gae.hpp"
#include "valence/value/returns.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
const Numbers z{0.5, -1, 2, 0};  // A1's logits

std::span<const double> in(const Numbers& x) { return x; }

void same(std::span<const double> seen, const Numbers& expected, double tolerance = 1e-12) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}

PolicySample<double> ratio(double r, double advantage) {
  return {.log_prob = std::log(r), .advantage = advantage, .old_log_prob = 0};
}

// A5's five samples.
const Numbers now{-0.9, -1.2, -0.3, -2, -1}, then(5, -1.0), gain{1, -2, 0.5, -1, 0};
PolicyColumns<double> five() { return {.log_prob = now, .advantage = gain, .old_log_prob = then}; }

template <class L>
void check_slopes(const L& loss, const Numbers& log_prob, const Numbers& advantage, const Numbers& old,
                  const Numbers& ref) {
  const auto columns = [&](std::span<const double> x) {
    return PolicyColumns<double>{.log_prob = x, .advantage = advantage, .old_log_prob = old, .ref_log_prob = ref};
  };
  Numbers gradient(log_prob.size());
  mean_loss(loss, columns(log_prob), gradient, {.factor = 1.7});
  CHECK(gradient_matches([&](std::span<const double> x) { return mean_loss(loss, columns(x), {}, {.factor = 1.7}); },
                         log_prob, gradient));
}

}  // namespace

static_assert(SampleLoss<PolicyGradient, PolicySample> && SampleLoss<ImportanceWeighted, PolicySample>);
static_assert(SampleLoss<PpoClip, PolicySample> && SampleLoss<GrpoLoss, PolicySample>);
static_assert(SampleLoss<SquaredError, ValueSample> && SampleLoss<ClippedValue, ValueSample>);

TEST_CASE("A4: an actor-critic step, and its parts put together by hand") {
  const ActorCritic loss{.entropy_coefficient = 0.01, .value_coefficient = 0.5};
  Numbers dz(4);
  const auto r = loss(in(z), 2, 1.5, 0.25, 0.25, 1, dz);
  CHECK(r.value == close(0.504741561832046));
  CHECK(r.entropy == close(0.878281175268733));
  same(dz, {0.236139548885281, 0.0521595484590195, -0.431044465842983, 0.142745368498683}, 1e-14);

  // With a value: c_v (v - R)^2 / 2 more; everything doubles with w and is added to what is there.
  Numbers twice(4, 1.0);
  const auto with_value = loss(in(z), 2, 1.5, 1.25, -0.75, 2, twice);
  CHECK(with_value.value == close(0.504741561832046 + 0.5 * 4 / 2));
  CHECK(with_value.d_value == 2 * 0.5 * 2);
  for (std::size_t i = 0; i < 4; ++i) CHECK(twice[i] == close(1 + 2 * dz[i]));

  const Softmax law{4};
  Numbers by_hand(4);
  const double l = law.log_prob(in(z), 2), h = law.entropy(in(z), -0.01, by_hand);
  const auto one = PolicyGradient{}(PolicySample<double>{.log_prob = l, .advantage = 1.5});
  law.log_prob(in(z), 2, one.slope, by_hand);
  CHECK(one.value - 0.01 * h == close(r.value));
  same(by_hand, dz, 1e-15);

  CHECK(gradient_matches(
      [&](std::span<const double> x) {
        Numbers unused(4);
        return ActorCritic{.entropy_coefficient = 0.3}(x, 1, -0.7, 0.2, 0.9, 1, unused).value;
      },
      z,
      [&] {
        Numbers d(4);
        ActorCritic{.entropy_coefficient = 0.3}(in(z), 1, -0.7, 0.2, 0.9, 1, d);
        return d;
      }()));
}

TEST_CASE("A4: a baseline that knows the action biases, another doesn't") {
  const Numbers r{1, 0, 2, -1}, exact{-0.0764563824684431, -0.0524135182733022, 0.367446189219766, -0.238576288478021};
  const Softmax law{4};
  Numbers p(4);
  law.probabilities(in(z), p);
  double value = 0;
  for (std::size_t a = 0; a < 4; ++a) value += p[a] * r[a];
  CHECK(value == close(1.48254298109723));
  const auto expected_gradient = [&](auto&& advantage) {  // by enumeration, uphill
    Numbers d(4);
    for (int a = 0; a < 4; ++a) {
      const auto i = static_cast<std::size_t>(a);
      const double slope =
          PolicyGradient{}(PolicySample<double>{.log_prob = std::log(p[i]), .advantage = advantage(i)}).slope;
      law.log_prob(in(z), a, -p[i] * slope, d);
    }
    return d;
  };
  same(expected_gradient([&](std::size_t a) { return r[a]; }), exact, 1e-14);
  same(expected_gradient([&](std::size_t a) { return r[a] - value; }), exact, 1e-14);
  same(expected_gradient([&](std::size_t a) { return r[a] + 7.5; }), exact, 1e-14);
  const Numbers biased = expected_gradient([&](std::size_t a) { return r[a] - 0.5 * r[a]; });
  CHECK(biased[2] == close(exact[2] / 2));
}

TEST_CASE("A2C with exact advantages is the policy-gradient theorem") {
  // A9's two states: d(s), pi(a|s), Q and the gradient of J from there.
  const Numbers pi{0.7, 0.3, 0.4, 0.6}, q{8.26214549938348, 7.49519112207152, 6.96189889025894, 9.36202219482121};
  const Numbers v{8.03205918618989, 8.40197287299630}, d{0.594327990135635, 0.405672009864365};
  Numbers gradient(4);
  for (std::size_t s = 0; s < 2; ++s) {
    const Numbers logits{std::log(pi[2 * s]), std::log(pi[2 * s + 1])};
    for (std::size_t a = 0; a < 2; ++a)
      ActorCritic{.entropy_coefficient = 0}(std::span(logits), static_cast<int>(a), q[2 * s + a] - v[s], v[s], v[s],
                                            -d[s] * pi[2 * s + a] / (1 - 0.9), std::span(gradient).subspan(2 * s, 2));
  }
  same(gradient, {0.957227152546446, -0.957227152546444, -2.33679082772179, 2.33679082772179}, 1e-11);
}

TEST_CASE("A5: PPO's clip, its gradient and its diagnostics") {
  const PpoClip loss{.epsilon = 0.2};
  const Numbers expected{-1.10517091807565, 1.63746150615596, -0.6, 0.8, 0};
  for (std::size_t i = 0; i < 5; ++i) CHECK(loss(five()[i]).value == close(expected[i], 1e-14));
  Numbers d(5);
  CHECK(mean_loss(loss, five(), d) == close(0.146458117616063));
  same(d, {-0.221034183615130, 0.327492301231193, 0, 0, 0});
  const RatioDiagnostics moved = ratio_diagnostics(in(now), then);
  CHECK(moved.clip_fraction == close(0.4));
  CHECK(moved.kl == close(0.141106763959109));

  // baseline.md: r = (.7, 1.3, 1.05, .9), A = (1, 1, -1, -1); d/dr = slope / r.
  const Numbers r{0.7, 1.3, 1.05, 0.9}, a{1, 1, -1, -1}, objective{0.7, 1.2, -1.05, -0.9}, slope{1, 0, -1, -1};
  for (std::size_t i = 0; i < 4; ++i) {
    const auto one = loss(ratio(r[i], a[i]));
    CHECK(-one.value == close(objective[i]));
    CHECK(-one.slope / r[i] == close(slope[i], 1e-12, 1e-15));
  }
}

TEST_CASE("PPO: which of the two products counts, for both signs", "[G7]") {
  const PpoClip loss{.epsilon = 0.2};
  const double r[6] = {0.5, 1, 1.5, 0.5, 1, 1.5}, a[6] = {1, 1, 1, -1, -1, -1};
  const double expected[6] = {-0.5, -1, -1.2, 0.8, 1, 1.5};
  int flat = 0;
  for (int i = 0; i < 6; ++i) {
    const auto one = loss(ratio(r[i], a[i]));
    CHECK(one.value == close(expected[i], 1e-15));
    CHECK((one.slope == 0) == (i == 2 || i == 3));
    flat += one.slope == 0;
  }
  CHECK(flat == 2);

  // Ties are unclipped. The ratio 1 + epsilon to the bit, both ways round.
  const double l = std::log(1.25);
  for (const double sign : {1.0, -1.0}) {
    const double high = elementary::exp(l), low = elementary::exp(-l);
    const double e = sign > 0 ? high - 1 : 1 - low;
    const auto tie =
        PpoClip{.epsilon = e}(PolicySample<double>{.log_prob = sign * l, .advantage = sign, .old_log_prob = 0});
    CHECK(std::abs(tie.slope) == close(sign > 0 ? high : low, 1e-15));
  }
}

TEST_CASE("PPO: the dual clip bounds the loss of a bad action") {
  const PpoClip loss{.epsilon = 0.2, .dual_clip = 3};
  CHECK(loss(ratio(5, -1)).value == 3);
  CHECK(loss(ratio(5, -1)).slope == 0);
  CHECK(loss(ratio(2.5, -2)).value == close(5.0));
  CHECK(loss(ratio(2.5, -2)).slope == close(5.0));
  CHECK(loss(ratio(5, 1)).value == close(-1.2));  // good actions: as ever
  CHECK(PpoClip{}(ratio(5, -1)).value == close(5.0));
  CHECK(says(message_of([] { PpoClip{.dual_clip = 1}(ratio(1, 1)); }), "PpoClip", "dual_clip is 1"));
  CHECK(says(message_of([] { PpoClip{.epsilon = 0}(ratio(1, 1)); }), "PpoClip", "epsilon is 0"));
}

TEST_CASE("A5: PPO's KL form, and where the policies agree it is A2C") {
  const Numbers uniform(4, 0.3);
  Numbers dz(4);
  const auto r = PpoKl{.beta = 0.3}(in(z), uniform, 2, 1.5, 1, dz);
  CHECK(r.ratio == close(2.84039969154470));
  CHECK(r.kl == close(0.581055221269931));
  CHECK(r.value == close(-4.08628297093607));
  same(dz, {0.647602868904350, 0.0862344938623425, -1.09711815755349, 0.363280794786797}, 1e-13);

  const auto value = [&](std::span<const double> x) {
    Numbers unused(4);
    return PpoKl{.beta = 0.7}(x, uniform, 0, -0.4, 1, unused).value;
  };
  Numbers analytic(4);
  PpoKl{.beta = 0.7}(in(z), uniform, 0, -0.4, 1, analytic);
  CHECK(gradient_matches(value, z, analytic));

  Numbers here(4), a2c(4);
  CHECK(PpoKl{.beta = 0.3}(in(z), z, 2, 1.5, 1, here).ratio == 1);
  ActorCritic{.entropy_coefficient = 0}(in(z), 2, 1.5, 0, 0, 1, a2c);
  same(here, a2c, 1e-15);

  // A masked action's logit isn't read and gets no gradient.
  const Numbers hidden{0.5, poison, 2, 0}, old{0.1, poison, 0.2, -0.3};
  const bool mask[4] = {true, false, true, true};
  Numbers d{0, 5, 0, 0};
  const auto masked = PpoKl{}(in(hidden), old, 2, 1, 1, d, mask);
  CHECK(std::isfinite(masked.value));
  CHECK(d[1] == 5);
  CHECK_THROWS_AS(PpoKl{}(in(hidden), old, 1, 1, 1, d, mask), Error);
  CHECK(d[0] != 0);
}

TEST_CASE("The adaptive penalty doubles, halves, and stays in bounds") {
  const AdaptiveKl rule{.target = 0.01};
  CHECK(rule(0.3, 0.0151) == 0.6);
  CHECK(rule(0.3, 0.015) == 0.3);
  CHECK(rule(0.3, 0.0066) == 0.15);
  CHECK(rule(0.3, 0.0067) == 0.3);
  CHECK(rule(1e8, 1) == 1e8);
  CHECK(rule(1e-8, 0) == 1e-8);
  CHECK_THROWS_AS(rule(0.3, poison), Error);
  CHECK_THROWS_AS(rule(0, 0.1), Error);
}

TEST_CASE("A KL penalty pulls towards the old policy", "[G10]") {
  const Numbers old{0.2, 0.1, -0.4, 0.9};
  const Softmax law{4};
  Numbers theta = z, dz(4);
  const double before = PpoKl{.beta = 1}(in(theta), old, 1, 0, 1, dz).kl;
  for (std::size_t i = 0; i < 4; ++i) theta[i] -= 0.1 * dz[i];
  CHECK(law.kl(in(old), theta) < before - 1e-3);
}

TEST_CASE("A8: one GRPO sample") {
  const PolicySample<double> x{.log_prob = -0.9, .advantage = 0.5, .old_log_prob = -1, .ref_log_prob = -1.3};
  const auto one = GrpoLoss{.epsilon = 0.2, .beta = 0.04}(x);
  CHECK(one.value == close(-0.549772657196398));
  CHECK(one.slope == close(-0.539398260879249));
  CHECK(GrpoLoss{.beta = 0}(x).value == PpoClip{}(x).value);
  CHECK(GrpoLoss{.beta = 0.4}(x).value > one.value);
}

TEST_CASE("Slopes are derivatives, away from the kinks") {
  // Each branch once: ratios inside and outside of the clip, both signs, and past the dual clip.
  const Numbers old{-1, -1.3, -0.2, -2, -0.7, -3}, a{1, -2, 0.5, -1, -0.4, -0.8};
  const Numbers l{-0.9, -1.6, 0.4, -1.95, -0.6, -1.5}, ref{-0.8, -1, -2, -1.1, -0.5, -2.5};
  check_slopes(PolicyGradient{}, l, a, old, ref);
  check_slopes(ImportanceWeighted{}, l, a, old, ref);
  check_slopes(PpoClip{}, l, a, old, ref);
  check_slopes(PpoClip{.epsilon = 0.1, .dual_clip = 2}, l, a, old, ref);
  check_slopes(GrpoLoss{.epsilon = 0.3, .beta = 0.7}, l, a, old, ref);
  check_slopes(GrpoLoss{.beta = 0.7, .dual_clip = 4}, l, a, old, ref);

  const Numbers v{0.5, 1.5, -0.3, 2.1, 0.1}, target{1, 1, 0.4, 0, 3}, was{0.4, 0.9, 0.6, 1.2, -0.8};
  const auto check_value = [&](const auto& loss) {
    const auto columns = [&](std::span<const double> x) {
      return ValueColumns<double>{.value = x, .target = target, .old_value = was};
    };
    Numbers d(5);
    mean_loss(loss, columns(v), d);
    CHECK(gradient_matches([&](std::span<const double> x) { return mean_loss(loss, columns(x)); }, v, d));
  };
  check_value(SquaredError{});
  check_value(ClippedValue{});
  check_value(ClippedValue{.epsilon = 0.5});
}

TEST_CASE("Where policies agree PPO's first gradient is A2C's; the ratio enters once", "[G24]") {
  const Numbers l{-0.9, -1.2, -0.3}, a{1, -2, 0.5};
  Numbers ppo(3), a2c(3), weighted(3);
  mean_loss(PpoClip{}, PolicyColumns<double>{.log_prob = l, .advantage = a, .old_log_prob = l}, ppo);
  mean_loss(PolicyGradient{}, PolicyColumns<double>{.log_prob = l, .advantage = a}, a2c);
  same(ppo, a2c, 1e-15);
  const Numbers old{-0.9, -1.2 - std::log(2.0), -0.3};
  mean_loss(PpoClip{}, PolicyColumns<double>{.log_prob = l, .advantage = a, .old_log_prob = old}, weighted);
  CHECK(weighted[0] == close(a2c[0]));
  CHECK(weighted[1] == close(2 * a2c[1], 1e-14));
}

TEST_CASE("The clipped value loss takes the larger square", "[G6]") {
  const ClippedValue loss{.epsilon = 0.2};
  const auto at = [&](double v, double old, double target) {
    return loss(ValueSample<double>{.value = v, .target = target, .old_value = old});
  };
  CHECK(at(0.5, 0.4, 1).value == close(0.125));
  CHECK(at(1.5, 0.9, 1).value == close(0.125));
  CHECK(at(1, 0, 0).value == 0.5);  // the pitfall's 1 and 2, with our factor 1/2
  CHECK(at(1, 0, 0).slope == 1);
  CHECK(at(1, 0, 2).value == close(3.24 / 2));
  CHECK(at(1, 0, 2).slope == 0);
  CHECK(at(-1, 0, 0).value == 0.5);
  CHECK(at(-1, 0, 0).slope == -1);
  CHECK(at(-1, 0, -2).value == close(3.24 / 2));
  CHECK(at(0.2, 0, 3).slope == close(-2.8));  // at the bound of the clip: unclipped
}

TEST_CASE("Ratios of exp(+-700) and beyond: finite, or an error that says where", "[G11]") {
  const auto ppo = [](const PpoClip& loss, double l, double a) {
    return loss(PolicySample<double>{.log_prob = l, .advantage = a, .old_log_prob = 0});
  };
  const PpoClip plain, dual{.dual_clip = 3};
  for (const double l : {-1e4, -700.0, 700.0, 1e4}) {
    CAPTURE(l);
    CHECK(ppo(plain, l, 0).value == 0);
    CHECK(ppo(plain, l, 1).value == close(l > 0 ? -1.2 : 0.0, 1e-15, 1e-300));
    CHECK(ppo(dual, l, -1).value == close(l > 0 ? 3.0 : 0.8));
    CHECK(ppo(dual, l, -1).slope == 0);
  }
  CHECK(ppo(plain, 700, -1).value == close(std::exp(700.0), 1e-13));
  CHECK(says(message_of([&] { ppo(plain, 1e4, -1); }), "PpoClip", "inf"));
  CHECK(PpoClip{}(PolicySample<float>{.log_prob = 100, .advantage = 2, .old_log_prob = 0}).value == -2.4F);
  CHECK(ImportanceWeighted{}(PolicySample<double>{.log_prob = 1e4, .advantage = 0}).slope == 0);

  const std::vector<float> l{-1, 100}, a{1, -1}, old{-1, 0}, good{-2, -1};
  std::vector<float> d{7, 7};
  const PolicyColumns<float> columns{.log_prob = l, .advantage = a, .old_log_prob = old, .ref_log_prob = good};
  CHECK(says(message_of([&] { mean_loss(PpoClip{}, columns, d); }), "PpoClip", "sample 1", "inf"));
  CHECK(says(message_of([&] { mean_loss(ImportanceWeighted{}, columns, d); }), "sample 1"));
  CHECK((d[0] == 7 && d[1] == 7));
  const PolicyColumns<float> far_ref{.log_prob = old, .advantage = a, .old_log_prob = old, .ref_log_prob = l};
  CHECK(says(message_of([&] { mean_loss(GrpoLoss{}, far_ref, d); }), "GrpoLoss", "sample 1"));
  // Diagnostics are in double whatever the columns are: this one is finite, 1e4 isn't.
  CHECK(std::isfinite(ratio_diagnostics(std::span(l), old).kl));
  const std::vector<float> further{-1, 1e4F};
  CHECK(says(message_of([&] { ratio_diagnostics(std::span(further), old); }), "sample 1", "overflows"));
}

TEST_CASE("The measured divergence is never negative and estimates KL(old, new)", "[G8]") {
  const Numbers zero{0}, up{0.5}, down{-0.5};
  CHECK(ratio_diagnostics(in(up), zero).kl == close(0.148721271, 1e-8));
  CHECK(ratio_diagnostics(in(down), zero).kl == close(0.10653066, 1e-7));
  const Numbers before{0.3, -0.2, 1.1}, after{0.9, 0.1, -0.4};
  const Softmax law{3};
  Numbers p(3);
  law.probabilities(in(before), p);
  double kl = 0;
  for (int a = 0; a < 3; ++a) {
    const Numbers l_old{law.log_prob(in(before), a)}, l_new{law.log_prob(in(after), a)};
    kl += p[static_cast<std::size_t>(a)] * ratio_diagnostics(in(l_new), l_old).kl;
  }
  CHECK(kl == close(law.kl(in(before), after)));
}

TEST_CASE("The stop is asked before the step", "[G9]") {
  Numbers theta = z;
  const Softmax law{4};
  const Numbers old{law.log_prob(in(z), 2)}, a{1.5};
  const auto epochs = [&](double target_kl) {
    int updates = 0;
    for (; updates < 20; ++updates) {
      const Numbers l{law.log_prob(in(theta), 2)};
      if (!ratio_diagnostics(in(l), old).within(target_kl)) break;
      Numbers slope(1), dz(4);
      mean_loss(PpoClip{}, PolicyColumns<double>{.log_prob = l, .advantage = a, .old_log_prob = old}, slope);
      law.log_prob(in(theta), 2, slope[0], dz);
      for (std::size_t i = 0; i < 4; ++i) theta[i] -= 0.3 * dz[i];
    }
    return updates;
  };
  CHECK(epochs(0) == 0);
  CHECK(theta == z);
  const int some = epochs(0.005);
  CHECK((some > 0 && some < 20));
}

TEST_CASE("Masked positions aren't penalised, nor read", "[G12][G13]") {
  const bool mask[4] = {true, false, false, true};
  const Numbers nothing(4, 0.0), kl{1, poison, poison, 1};
  Numbers reward(4), g(4);
  penalize_rewards(in(nothing), kl, 1, reward, mask);
  discounted_returns(Steps<double>{.reward = reward}, g, {.discount = 0.9});
  CHECK(g[0] == close(-1.729));
  CHECK(says(message_of([&] { penalize_rewards(in(nothing), kl, 1, reward); }), "kl[1]", "nan"));

  // A mask selects: what it hides may be NaN, and its gradient is left alone.
  const Numbers l{-1, poison}, a{2, poison}, old{-1, poison};
  const bool first[2] = {true, false};
  Numbers d{0, 3};
  CHECK(mean_loss(PpoClip{}, PolicyColumns<double>{.log_prob = l, .advantage = a, .old_log_prob = old}, d,
                  {.mask = first}) == -2);
  CHECK((d[0] == -2 && d[1] == 3));
}

TEST_CASE("A mean divides by what it sums", "[G14][G15]") {
  Numbers ones(30, -1.0), one_each(30, 1.0);
  bool mask[30];
  for (std::size_t i = 0; i < 30; ++i) mask[i] = i % 6 != 2;
  const PolicyColumns<double> columns{.log_prob = ones, .advantage = one_each};
  CHECK(mean_loss(PolicyGradient{}, columns, {}, {.mask = mask}) == 1);
  for (bool& m : mask) m = false;
  CHECK(says(message_of([&] { mean_loss(PolicyGradient{}, columns, {}, {.mask = mask}); }), "mask", "none of 30"));
  CHECK(mean_loss(PolicyGradient{}, columns, {}, {.mask = mask, .count = 30}) == 0);

  // One entry of 2 and nine of 1, split 1 + 9.
  Numbers a(10, 1.0), l(10, -1.0), whole(10), parts(10);
  a[0] = 2;
  const auto slice = [&](std::size_t from, std::size_t count) {
    return PolicyColumns<double>{.log_prob = std::span(l).subspan(from, count),
                                 .advantage = std::span(a).subspan(from, count)};
  };
  const double full = mean_loss(PolicyGradient{}, slice(0, 10), whole);
  const double sum = mean_loss(PolicyGradient{}, slice(0, 1), std::span(parts).first(1), {.count = 10}) +
                     mean_loss(PolicyGradient{}, slice(1, 9), std::span(parts).subspan(1), {.count = 10});
  CHECK(full == close(1.1));
  CHECK(sum == close(1.1));
  same(parts, whole, 1e-16);
}

TEST_CASE("A PPO epoch whose last mini-batch is one sample stays finite", "[G1]") {
  Numbers five{5}, twos{2, 2, 2}, three{1, 2, 3};
  whiten(std::span(five)), whiten(std::span(twos)), whiten(std::span(three));
  CHECK(five[0] == 0);
  same(twos, {0, 0, 0});
  CHECK(three[0] + three[1] + three[2] == close(0.0, 0, 1e-15));
  CHECK(three[2] == close(std::sqrt(1.5), 1e-7));

  const Softmax law{4};
  Numbers theta = z, reward{1, 0.5, -2, 3}, old(4);
  const int action[4] = {2, 0, 3, 1};
  for (std::size_t i = 0; i < 4; ++i) old[i] = law.log_prob(in(theta), action[i]);
  for (const auto& [from, count] : {std::pair{std::size_t(0), std::size_t(3)}, {std::size_t(3), std::size_t(1)}}) {
    Numbers a(reward.begin() + static_cast<std::ptrdiff_t>(from),
              reward.begin() + static_cast<std::ptrdiff_t>(from + count));
    whiten(std::span(a));
    Numbers l(count), d(count), dz(4);
    for (std::size_t i = 0; i < count; ++i) l[i] = law.log_prob(in(theta), action[from + i]);
    mean_loss(PpoClip{},
              PolicyColumns<double>{.log_prob = l, .advantage = a, .old_log_prob = in(old).subspan(from, count)}, d);
    for (std::size_t i = 0; i < count; ++i) law.log_prob(in(theta), action[from + i], d[i], dz);
    for (std::size_t i = 0; i < 4; ++i) theta[i] -= 0.1 * dz[i];
  }
  for (const double t : theta) CHECK(std::isfinite(t));
  CHECK(theta[2] != z[2]);
}

TEST_CASE("Bad columns are refused by name and index before anything changes") {
  const Numbers good{-1, -2, -3}, bad{-1, -2, poison}, two{-1, -2};
  Numbers d{1, 2, 3};
  const auto message = [&](const PolicyColumns<double>& c, std::span<double> gradient, const auto& loss) {
    return message_of([&] { mean_loss(loss, c, gradient); });
  };
  CHECK(says(message({bad, good, good}, d, PpoClip{}), "PpoClip", "log_prob[2]", "nan"));
  CHECK(says(message({good, bad, good}, d, PpoClip{}), "advantage[2]"));
  CHECK(says(message({good, good, bad}, d, PpoClip{}), "old_log_prob[2]"));
  CHECK(says(message({good, good, good, bad}, d, GrpoLoss{}), "GrpoLoss", "ref_log_prob[2]"));
  CHECK(says(message({good, good, {}}, d, PpoClip{}), "old_log_prob has 0"));
  CHECK(says(message({good, two, good}, d, PpoClip{}), "advantage has 2"));
  CHECK(says(message({good, good, good}, std::span(d).first(2), PpoClip{}), "gradient has 2"));
  CHECK(says(message({}, {}, PolicyGradient{}), "empty"));
  CHECK(says(message_of([&] {
               mean_loss(PolicyGradient{}, PolicyColumns<double>{good, good}, d, {.factor = poison});
             }),
             "factor"));
  CHECK(message({good, good, bad, bad}, d, PolicyGradient{}) == "nothing thrown");  // it reads neither
  same(d, {1 + 1.0 / 3, 2 + 2.0 / 3, 3 + 1}, 1e-15);                                // -A / 3 of the last call alone
  CHECK(says(message_of([] { ActorCritic{}(std::span<const double>(z), 4, 1, 0, 0, 1, std::span<double>()); }),
             "action is 4"));
}

TEST_CASE("Losses of columns allocate nothing, and float agrees with double") {
  std::vector<float> l{-0.9F, -1.2F, -0.3F, -2, -1}, old(5, -1.0F), a{1, -2, 0.5F, -1, 0}, d(5);
  const test::Allocations allocations;
  const double value =
      mean_loss(PpoClip{}, PolicyColumns<float>{.log_prob = l, .advantage = a, .old_log_prob = old}, d);
  const RatioDiagnostics moved = ratio_diagnostics(std::span<const float>(l), old);
  CHECK(allocations.count() == 0);
  CHECK(value == close(0.146458117616063, 1e-6));
  CHECK(static_cast<double>(d[1]) == close(0.327492301231193, 1e-6));
  CHECK(moved.kl == close(0.141106763959109, 1e-6));
}
