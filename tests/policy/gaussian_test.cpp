// Gaussian laws, plain and squashed: the specification's numbers, derivatives, quadrature, bounds and extremes.
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "support/goodness.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/gaussian.hpp"
#include "valence/policy/squashed_gaussian.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::gradient_matches;
using valence::test::kolmogorov_smirnov_test;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;
using Span = std::span<const double>;

namespace {

using valence::test::close;

static_assert(ReparameterisedDistribution<DiagonalGaussian<>> && ReparameterisedDistribution<DiagonalGaussian<double>>);
static_assert(HasEntropy<DiagonalGaussian<>> && HasKl<DiagonalGaussian<>>);
static_assert(ReparameterisedDistribution<SquashedGaussian<double>>);
static_assert(ReparameterisedDistribution<SquashedGaussian<Vector<float>>>);
static_assert(ReparameterisedDistribution<SquashedGaussian<std::array<double, 2>>>);
static_assert(!HasEntropy<SquashedGaussian<double>> && !HasKl<SquashedGaussian<double>>);

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

// A1 of the base.
const Numbers golden_y{0.3, -0.7, -0.5, 0.2}, golden_a{0.1, 0.4}, golden_noise{0.25, -0.6};
const DiagonalGaussian plane{2};
const DiagonalGaussian<double> line{};

using Pair = std::array<double, 2>;
const SquashedGaussian square{Box{Pair{-2, -2}, Pair{2, 2}}};
const SquashedGaussian skewed{Box{Pair{-1, 0}, Pair{3, 0.5}}};
const SquashedGaussian unit{Box{-1.0, 1.0}};

Span row(const Numbers& y) { return y; }

void same(const Numbers& seen, const Numbers& expected, double tolerance = 1e-13) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}
template <class P, class V>
Numbers score(const P& law, const Numbers& y, const V& a) {
  Numbers dy(y.size());
  law.log_prob(row(y), a, 1, dy);
  return dy;
}
/// The rows of d action / dy, and d log_prob / dy along the path.
template <class P, class V>
Numbers action_gradient(const P& law, const Numbers& y, const V& noise, const V& da, double d_log_prob = 0) {
  Numbers dy(y.size());
  law.pullback_action(row(y), noise, da, d_log_prob, dy);
  return dy;
}

}  // namespace

TEST_CASE("gaussian: the specification's numbers") {
  CHECK(plane.size() == 4);
  CHECK(plane.log_prob(row(golden_y), golden_a) == close(-1.99778633083009, 1e-13));
  same(score(plane, golden_y, golden_a),
       {-0.543656365691809, 0.737352050639203, -0.891268726861638, -0.188912744296876});
  CHECK(plane.entropy(row(golden_y)) == close(2.53787706640935, 1e-13));
  CHECK(plane.kl(row(golden_y), row({0, -0.5, 0, 0})) == close(0.294852069406356, 1e-13));
  CHECK(line.chi_square(row({0.3, -0.5}), row({0, 0})) == close(0.363701811821477, 1e-12));
  const auto mode = plane.mode(row(golden_y));
  CHECK((mode[0] == 0.3 && mode[1] == -0.7));
  CHECK(plane.variance(row(golden_y), 0) == close(std::exp(-1.0), 1e-14));
  // Behaviour cloning in the offline file: -log_prob and its gradient.
  const Numbers y{0.2, -0.4, -0.5, 0.1};
  Numbers dy(4);
  CHECK(-plane.log_prob(row(y), Numbers{0.5, 0.3}, -1, dy) == close(1.760788783194107, 1e-13));
  CHECK(dy[0] == close(-0.815484548538, 1e-11));
  CHECK(dy[1] == close(-0.573111527155, 1e-11));
}

TEST_CASE("gaussian: derivatives are those of the values") {
  const Numbers y{0.3, -0.7, -0.5, 0.2}, other{-0.2, 0.1, 0.1, 0.3};
  CHECK(gradient_matches([&](Span x) { return plane.log_prob(x, golden_a); }, y, score(plane, y, golden_a)));
  Numbers dy(4), da{1, 2}, d_other(4);
  plane.log_prob(row(y), golden_a, 1, dy, da);
  da[0] -= 1, da[1] -= 2;  // it was added
  CHECK(gradient_matches([&](Span a) { return plane.log_prob(row(y), a); }, golden_a, da));
  dy.assign(4, 0);
  plane.entropy(row(y), 1, dy);
  CHECK(gradient_matches([&](Span x) { return plane.entropy(x); }, y, dy));
  dy.assign(4, 0);
  CHECK(plane.kl(row(y), row(other), 1, dy, d_other) == plane.kl(row(y), row(other)));
  CHECK(gradient_matches([&](Span x) { return plane.kl(x, other); }, y, dy));
  CHECK(gradient_matches([&](Span x) { return plane.kl(row(y), x); }, other, d_other));
  Numbers only(4);
  plane.kl(row(y), row(other), 1, {}, only);
  CHECK(only == d_other);
  dy.assign(4, 0);
  plane.chi_square(row(y), row(other), 1, dy);
  CHECK(gradient_matches([&](Span x) { return plane.chi_square(x, other); }, y, dy));
}

TEST_CASE("gaussian: the path's derivatives") {
  const Numbers dQ{0.7, -1.3};
  const auto value = [&](Span y) {
    Numbers a(2);
    plane.action(y, golden_noise, a);
    return dQ[0] * a[0] + dQ[1] * a[1] + 0.4 * plane.action_log_prob(y, golden_noise);
  };
  CHECK(gradient_matches(value, golden_y, action_gradient(plane, golden_y, golden_noise, dQ, 0.4)));
  Numbers a(2), dy(4);
  plane.action(row(golden_y), golden_noise, a);
  CHECK(plane.log_prob(row(golden_y), a) == close(plane.action_log_prob(row(golden_y), golden_noise), 1e-14));
  plane.pullback_action(row(golden_y), golden_noise, dQ, dy);
  CHECK(dy == action_gradient(plane, golden_y, golden_noise, dQ));
}

TEST_CASE("gaussian: the score has mean 0, and its square the Fisher information; the density integrates to 1") {
  const Numbers y{0.4, -0.3};
  double mass = 0;
  Numbers mean(2), square_of(2), fisher(2);
  const double h = 0.01;
  for (int k = -1200; k <= 1200; ++k) {
    const double a = 0.4 + h * k, p = h * std::exp(line.log_prob(row(y), a));
    const Numbers s = score(line, y, a);
    mass += p;
    for (std::size_t i = 0; i < 2; ++i) mean[i] += p * s[i], square_of[i] += p * s[i] * s[i];
  }
  line.fisher_product(row(y), row({1, 1}), 1, fisher);
  CHECK(mass == close(1, 1e-12));
  same(mean, {0, 0}, 1e-12);
  same(square_of, fisher, 1e-12);
}

TEST_CASE("gaussian: log-stds of +-20") {
  // KL by 30 digits (mpmath).
  CHECK(line.kl(row({1e-9, -20}), row({-2e-9, -19.5})) == close(0.57361002249369302, 1e-12));
  CHECK(line.kl(row({1e9, 20}), row({-2e8, 19.75})) == close(5.1174940941914886, 1e-12));
  CHECK(line.chi_square(row({1e9, 20}), row({-2e8, 19.75})) == close(3877027268305.6541, 1e-11));
  CHECK(line.log_prob(row({1, -20}), 1 + 1e-9) == close(normal_log_pdf((1 + 1e-9 - 1) * std::exp(20.0)) + 20, 1e-13));
  CHECK(std::isfinite(line.log_prob(row({0, -20}), 1e6)));
  CHECK(line.entropy(row({0, -20})) == close(-20 + 1.4189385332046727, 1e-14));
  const std::vector<float> y{0, -20};
  std::vector<float> dy(2);
  line.log_prob(std::span<const float>(y), 1.0F, 1.0F, dy);
  CHECK(std::isfinite(dy[0]));
  CHECK(line.kl(row({0, 0}), row({1e-12, 1e-12})) >= 0);
  CHECK(line.chi_square(row({0, 0.4}), row({0, 0})) == infinity);  // variance 2.2 against 1
  CHECK(says(message_of([] {
               Numbers grad(2);
               line.chi_square(row({0, 0.4}), row({0, 0}), 1, grad);
             }),
             "no gradient"));
}

TEST_CASE("gaussian: a log-std beyond its bounds counts as the bound and has no gradient") {
  const DiagonalGaussian<double> held{.options = {.min_log_std = -1, .max_log_std = 0.5}};
  for (const double out : {-3.0, 2.0}) {
    const double bound = out < 0 ? -1 : 0.5;
    const Numbers y{0.2, out}, at{0.2, bound};
    CHECK(held.log_prob(row(y), 0.9) == line.log_prob(row(at), 0.9));
    CHECK(held.action_log_prob(row(y), 0.9) == line.action_log_prob(row(at), 0.9));
    CHECK(score(held, y, 0.9)[0] == score(line, at, 0.9)[0]);
    CHECK(score(held, y, 0.9)[1] == 0);
    CHECK(action_gradient(held, y, 0.7, 1.0, 1.0)[1] == 0);
    Numbers dy(2), d_other(2);
    held.entropy(row(y), 1, dy);
    held.kl(row(y), row(y), 1, dy, d_other);
    CHECK((dy[1] == 0 && d_other[1] == 0));
  }
  CHECK(score(held, {0.2, 0.1}, 0.9) == score(line, {0.2, 0.1}, 0.9));
}

TEST_CASE("squashed gaussian: the specification's numbers", "[G16][G17]") {
  Numbers a(2);
  square.action(row(golden_y), golden_noise, a);
  same(a, {0.846480265682701, -1.78449493584526});
  CHECK(square.action_log_prob(row(golden_y), golden_noise) == close(-1.34787541801058, 1e-13));
  CHECK(square.log_prob(row(golden_y), a) == close(-1.34787541801058, 1e-13));
  same(action_gradient(square, golden_y, golden_noise, {0, 0}, 1),
       {0.846480265682701, -1.78449493584526, -0.871645941505437, 0.307752221938552});
  same(action_gradient(square, golden_y, golden_noise, {1, 1}),
       {1.64173557990487, 0.407788911971314, 0.248940741088351, -0.298844701097338});
  CHECK(unit.log_prob(row({0, 0}), std::tanh(0.5)) == close(-0.803709519288118, 1e-13));
  CHECK(SquashedGaussian{Box{-2.0, 2.0}}.log_prob(row({0, 0}), 2 * std::tanh(0.5)) ==
        close(-0.803709519288118 - std::log(2), 1e-13));
  CHECK(unit.action_log_prob(row({0, 0}), 10) == close(-32.305232890202256, 1e-14));
  CHECK(unit.action_log_prob(row({0, 0}), 20) == close(-162.30523289432456, 1e-14));
  // The log-Jacobian at u = +-30 alone: less than the Gaussian's log-density at the same noise.
  const SquashedGaussian both{Box{Pair{-1, -1}, Pair{1, 1}}};
  CHECK(plane.action_log_prob(row({0, 0, 0, 0}), Pair{30, -30}) -
            both.action_log_prob(row({0, 0, 0, 0}), Pair{30, -30}) ==
        close(-117.227411277760, 1e-13));
  // The table of baselines, and the same on (-1, 3): by 30 digits (mpmath).
  CHECK(unit.action(row({0.3, -0.5}), 0.7) == close(0.619732988093716, 1e-13));
  CHECK(unit.action_log_prob(row({0.3, -0.5}), 0.7) == close(-0.179318236597494, 1e-12));
  const SquashedGaussian moved{Box{-1.0, 3.0}};
  CHECK(moved.action(row({0.3, -0.5}), 0.7) == close(2.2394659761874317, 1e-14));
  CHECK(moved.action_log_prob(row({0.3, -0.5}), 0.7) == close(-0.87246541715743947, 1e-13));
}

TEST_CASE("squashed gaussian: SAC's actor loss and its gradient") {
  const double alpha = 0.2;  // A7: Q = -(a - 1/2)^2, loss alpha log pi - Q
  const Numbers y{0.1, -1};
  const double a = unit.action(row(y), 0.3), q = -(a - 0.5) * (a - 0.5), dQ = -2 * (a - 0.5);
  CHECK(alpha * unit.action_log_prob(row(y), 0.3) - q == close(0.101663036966460, 1e-13));
  same(action_gradient(unit, y, 0.3, -dQ, alpha), {-0.477285797923771, -0.252675089785779});
}

TEST_CASE("squashed gaussian: derivatives are those of the values") {
  for (const auto& law : {square, skewed}) {
    Numbers a(2);
    law.action(row(golden_y), golden_noise, a);
    CHECK(gradient_matches([&](Span y) { return law.log_prob(y, a); }, golden_y, score(law, golden_y, a)));
    Numbers dy(4), da(2);
    law.log_prob(row(golden_y), a, 1, dy, da);
    CHECK(gradient_matches([&](Span x) { return law.log_prob(row(golden_y), x); }, a, da, {.scale = 0.1}));
    const Numbers dQ{0.7, -1.3};
    const auto value = [&](Span y) {
      Numbers at(2);
      law.action(y, golden_noise, at);
      return dQ[0] * at[0] + dQ[1] * at[1] + 0.4 * law.action_log_prob(y, golden_noise);
    };
    CHECK(gradient_matches(value, golden_y, action_gradient(law, golden_y, golden_noise, dQ, 0.4)));
    CHECK(law.log_prob(row(golden_y), a) == close(law.action_log_prob(row(golden_y), golden_noise), 1e-12));
  }
}

TEST_CASE("squashed gaussian: the density integrates to 1", "[G16][G17]") {
  for (const double mean : {0.0, 2.0, 5.0, -5.0}) {
    for (const auto& law : {unit, SquashedGaussian{Box{-1.0, 3.0}}, SquashedGaussian{Box{0.0, 0.5}}}) {
      const double low = law.actions.low, width = law.actions.high - low, h = 0.01;
      double mass = 0, weighted = 0;
      for (int k = -1700; k <= 1700; ++k) {  // a by a substitution of the test's own: the logistic function of t
        const double t = 2 * h * k, a = low + width * sigmoid(t), slope = width * sigmoid(t) * sigmoid(-t);
        if (!(a > low && a < law.actions.high)) continue;
        const double p = 2 * h * slope * std::exp(law.log_prob(row({mean, 0}), a));
        mass += p, weighted += p * score(law, {mean, 0}, a)[0];
      }
      CHECK(mass == close(1, 1e-8));
      CHECK(weighted == close(0, 0, 1e-7));
    }
  }
}

TEST_CASE("squashed gaussian: at u = +-30 nothing is infinite", "[G17][G18]") {
  for (const double mean : {30.0, -30.0}) {
    const Numbers y{mean, -3};
    const double a = unit.action(row(y), 0.1);
    CHECK(std::abs(a) < 1);
    CHECK(std::isfinite(unit.log_prob(row(y), a)));
    CHECK(unit.action_log_prob(row(y), 0.1) ==
          close(normal_log_pdf(0.1) + 3 + 2 * (std::abs(mean + 0.1 * std::exp(-3)) - std::log(2)), 1e-14));
    const Numbers dy = action_gradient(unit, y, 0.1, 1.0, 0.5);
    CHECK(dy[0] == close(std::copysign(1, mean), 1e-14));
    for (const double x : dy) CHECK(std::isfinite(x));
    CHECK(action_gradient(unit, y, 0.1, 1.0)[0] > 0);  // 4 exp(-60), not 1 - 1
  }
  // Beside a bound at 0 the action keeps its digits, and comes back whole.
  const SquashedGaussian half{Box{0.0, 1.0}};
  const double tiny = half.action(row({-30, 0}), 0.0);
  CHECK(tiny == close(std::exp(-60) / (1 + std::exp(-60)), 1e-14));
  CHECK(half.log_prob(row({-30, 0}), tiny) == close(half.action_log_prob(row({-30, 0}), 0.0), 1e-13));
}

TEST_CASE("squashed gaussian: an action at the bound is refused with its index, or clamped when asked", "[G18]") {
  for (const double at : {2.0, -2.0, 2.5, poison}) {
    const auto message = message_of([&] { square.log_prob(row(golden_y), Numbers{0, at}); });
    CHECK(says(message, "SquashedGaussian::log_prob", "a[1]", "inside (-2, 2)", "clamp"));
  }
  const Pair clamped = square.clamp(Pair{2, -0.5});
  CHECK(clamped[0] == close(2 - 2e-6, 1e-15));
  CHECK(clamped[1] == -0.5);
  CHECK(std::isfinite(square.log_prob(row(golden_y), clamped)));
  CHECK(skewed.clamp(Pair{-7, 1}, 0.1)[0] == close(-0.8, 1e-14));
  CHECK(skewed.clamp(Pair{-7, 1}, 1e-300)[1] < 0.5);
  CHECK(says(message_of([&] { square.clamp(Pair{0, poison}); }), "a[1] is nan"));
  CHECK(says(message_of([&] { square.clamp(Pair{0, 0}, 0); }), "margin is 0"));
}

TEST_CASE("squashed gaussian: every float sample has a log-density", "[G18]") {
  const SquashedGaussian law{Box{-0.1F, 0.3F}};
  const std::vector<float> y{4, 1};
  Rng rng{17};
  int finite = 0, near_bound = 0;
  for (int k = 0; k < 10'000'000; ++k) {
    const float a = law.sample(std::span<const float>(y), rng);
    near_bound += a > 0.2999999F ? 1 : 0;
    finite += std::isfinite(law.log_prob(std::span<const float>(y), a)) ? 1 : 0;
  }
  CHECK(finite == 10'000'000);
  CHECK(near_bound > 100'000);
}

TEST_CASE("gaussian laws: draws follow the law, and one seed gives one sequence") {
  for (const int seed : {1, 2, 3}) {
    Rng rng{seed}, again{seed}, noise{seed};
    Numbers plain, squashed;
    const Numbers y{0.4, -0.3};
    for (int k = 0; k < 20'000; ++k) {
      plain.push_back(line.sample(row(y), rng));
      squashed.push_back(unit.sample(row(y), again));
      CHECK(squashed.back() == unit.action(row(y), unit.draw_noise(noise)));
    }
    const auto cdf = [&](double u) { return normal_cdf((u - 0.4) * std::exp(0.3)); };
    CHECK(kolmogorov_smirnov_test(plain, cdf) > 1e-6);
    CHECK(kolmogorov_smirnov_test(squashed, [&](double a) { return cdf(std::atanh(a)); }) > 1e-6);
  }
}

TEST_CASE("gaussian laws: actions of any shape, in place and without allocation") {
  const SquashedGaussian wide{
      Box{Vector<double>(Vector<double>::Constant(2, -2)), Vector<double>(Vector<double>::Constant(2, 2))}};
  Vector<double> a(2), noise(2);
  const Vector<double> da = Vector<double>::Ones(2);
  Numbers dy(4), out(2), w{1, 2}, grad(8), batch(golden_y);
  batch.insert(batch.end(), {-0.3, 1, 0.1, -1});
  const Outputs<double> y(batch.data(), 4, 2);
  Matrix<double> actions(2, 2);
  Rng rng{3}, again{3};
  const double expected = square.log_prob(row(golden_y), square.sample(row(golden_y), again));
  Allocations allocations;
  sample_columns(wide, y, rng, OutputsGradient<double>(actions.data(), 2, 2));
  log_prob_columns(wide, y, Outputs<double>(actions.data(), 2, 2), out);
  pullback_log_prob_columns(wide, y, Outputs<double>(actions.data(), 2, 2), w,
                            OutputsGradient<double>(grad.data(), 4, 2));
  wide.draw_noise(rng, noise);
  wide.action(row(golden_y), noise, a);
  wide.pullback_action(row(golden_y), noise, da, 0.2, dy);
  plane.sample(row(golden_y), rng, a);
  plane.kl(row(golden_y), row(golden_y), 1, dy);
  CHECK(allocations.count() == 0);
  CHECK(out[0] == expected);
  const Numbers by_column = score(wide, {-0.3, 1, 0.1, -1}, Numbers{actions(0, 1), actions(1, 1)});
  for (std::size_t i = 0; i < 4; ++i) CHECK(grad[4 + i] == 2 * by_column[i]);
}

TEST_CASE("gaussian laws: bad input names what is wrong and changes nothing") {
  Numbers dy(4, 7.0);
  CHECK(says(message_of([&] { plane.log_prob(row({0, poison, 0, 0}), golden_a, 1, dy); }), "y[1] is nan"));
  CHECK(says(message_of([&] { plane.log_prob(row(golden_y), Numbers{0, infinity}, 1, dy); }), "a[1] is inf"));
  CHECK(says(message_of([&] { plane.log_prob(row(golden_y), Numbers{0}, 1, dy); }), "a has 1", "expected 2"));
  CHECK(says(message_of([&] { plane.log_prob(row({0, 0, 0}), golden_a, 1, dy); }), "y has 3", "expected 4"));
  CHECK(says(message_of([&] { plane.log_prob(row({0, 0, -1e4, 0}), golden_a, 1, dy); }), "log-standard-deviations"));
  CHECK(says(message_of([&] { plane.kl(row(golden_y), row({0, 0, -1e4, 0}), 1, dy); }), "second law"));
  CHECK(says(message_of([&] { plane.pullback_action(row({0, 0, poison, 0}), golden_noise, golden_a, dy); }), "y[2]"));
  CHECK(says(message_of([&] {
               square.pullback_action(row(golden_y), golden_noise, Numbers{0, poison}, 1, dy);
             }),
             "da[1]"));
  CHECK(says(message_of([&] { square.log_prob(row({0, 0, 0, poison}), golden_a, 1, dy); }), "y[3] is nan"));
  CHECK(says(message_of([&] { square.action(row({infinity, 0, 0, 0}), Pair{}); }), "y[0] is inf"));
  CHECK(says(message_of([&] { SquashedGaussian{Box{1.0, 1.0}}.log_prob(row({0, 0}), 1.0); }), "bounds of action[0]"));
  CHECK(says(message_of([&] { SquashedGaussian{Box{-infinity, 1.0}}.mode(row({0, 0})); }), "bounds", "-inf"));
  CHECK(says(message_of([&] { DiagonalGaussian{0}.entropy(row({})); }), "dimensions is 0"));
  const DiagonalGaussian<double> crossed{.options = {.min_log_std = 1, .max_log_std = 0}};
  CHECK(says(message_of([&] { crossed.entropy(row({0, 0})); }), "min_log_std is 1"));
  CHECK(dy == Numbers(4, 7.0));
}
