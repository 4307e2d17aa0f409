// Statistics of laws, particles and distances.
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/distances.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/distributional/particles.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/policy/divergences.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

static_assert(ReturnFunctional<Mean> && ReturnFunctional<Variance> && ReturnFunctional<ValueAtRisk> &&
              ReturnFunctional<Cvar> && ReturnFunctional<EntropicRisk> && ReturnFunctional<Expectile> &&
              ReturnFunctional<ExpectedUtility<NegativePart>>);

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

// X and Y of the specification, X out of order and with an atom cut in two.
const Numbers x_atoms{2, -1, 5, 0, 2}, x_weights{0.1, 0.2, 0.1, 0.4, 0.2};
const Numbers y_atoms{-2, 1, 3}, y_weights{0.25, 0.5, 0.25};
const LawView X{x_atoms, x_weights}, Y{y_atoms, y_weights};

void same(const Numbers& seen, const Numbers& expected, double tolerance = 1e-12) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i, seen[i], expected[i]);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}
Particles random_particles(std::size_t n, Rng& rng) {
  Particles law{Numbers(n), Numbers(n)};
  double sum = 0;
  for (double& x : law.atoms) x = 2 * rng.normal();
  for (double& w : law.weights) sum += w = rng.uniform();
  for (double& w : law.weights) w /= sum;
  return law;
}

}  // namespace

TEST_CASE("Functionals: published numbers") {
  CHECK(Mean{}(X) == close(0.9));
  CHECK(Variance{}(X) == close(3.09));
  const Numbers levels{0.1, 0.2, 0.5, 0.9, 0.95, 1}, quantiles{-1, -1, 0, 2, 5, 5};
  for (std::size_t i = 0; i < levels.size(); ++i) CHECK(ValueAtRisk{.level = levels[i]}(X) == quantiles[i]);
  CHECK(Cvar{.level = 0.1}(X) == close(-1.0));
  CHECK(Cvar{.level = 0.25}(X) == close(-0.8));
  CHECK(Cvar{.level = 0.5}(X) == close(-0.4));
  CHECK(Cvar{.level = 1}(X) == close(0.9));
  CHECK(EntropicRisk{.beta = -1}(X) == close(0.015183949558306375));
  CHECK(EntropicRisk{.beta = -0.1}(X) == close(0.7547115801281892));
  CHECK(EntropicRisk{.beta = 0.5}(X) == close(1.876135818142083));
  CHECK(Expectile{.level = 0.1}(X) == close(-0.2692307692307693));
  CHECK(Expectile{.level = 0.5}(X) == close(0.9));
  CHECK(Expectile{.level = 0.9}(X) == close(2.7222222222222228));
  CHECK(ExpectedUtility{[](double x) { return -std::exp(-0.5 * x); }}(X) == close(-0.8483165863538482));
  // CVaR by its other formula: the maximum over c, which an atom attains.
  double most = -1e9;
  for (const double c : x_atoms) {
    const ExpectedUtility shortfall{[c](double x) { return std::fmin(x - c, 0.0); }};
    most = std::fmax(most, c + shortfall(X) / 0.25);
  }
  CHECK(most == close(-0.8));
  // max(c) over the stock: min(x, 0) of the law shifted by -c.
  CHECK(ExpectedUtility<NegativePart>{}(X) == close(-0.2));
  CHECK(ExpectedUtility{MinusDistance{.target = 1}}(X) == close(-(0.3 + 0.4 + 0.4 + 0.4)));
  CHECK(ExpectedUtility{AtLeast{.target = 2}}(X) == close(0.4));
}

TEST_CASE("Functionals: crossed quantiles are sorted", "[D10]") {
  const Numbers crossed{3, 1, 2, 4};
  CHECK(Cvar{.level = 0.5}({crossed}) == 1.5);
  CHECK(Mean{}({crossed}) == 2.5);
  CHECK(ValueAtRisk{.level = 0.5}({crossed}) == 2);
  // The same through a head.
  const QuantileReturn head{.quantiles = 4};
  const Numbers two{3, 1, 2, 4, 2, 2.2, 2.1, 1.9};
  Particles work;
  Numbers values(2);
  action_values(head, std::span<const double>(two), Cvar{.level = 0.5}, work, values);
  same(values, {1.5, 1.95});
  action_values(head, std::span<const double>(two), values);
  same(values, {2.5, 2.05});
  valence::test::Allocations allocations;
  action_values(head, std::span<const double>(two), Cvar{.level = 0.5}, work, values);
  CHECK(allocations.count() == 0);
}

TEST_CASE("Functionals: gradients with respect to the atoms") {
  Rng rng{41};
  const auto check = [&](const auto& functional) {
    for (int trial = 0; trial < 5; ++trial) {
      const Particles law = random_particles(6, rng);
      Numbers gradient(6, 0.0);
      functional.pullback(law, 1, gradient);
      const auto value = [&](std::span<const double> at) { return functional({at, law.weights}); };
      CHECK(gradient_matches(value, law.atoms, gradient, {.relative = 1e-7, .absolute = 1e-9, .step = 1e-5}));
      Numbers added(6, 1.0);
      functional.pullback(law, -2, added);
      for (std::size_t i = 0; i < 6; ++i) CHECK(added[i] == close(1 - 2 * gradient[i], 1e-12));
    }
  };
  check(Mean{});
  check(Variance{});
  check(ValueAtRisk{.level = 0.4});
  check(Cvar{.level = 0.3});
  check(Cvar{.level = 1});
  check(EntropicRisk{.beta = -0.8});
  check(EntropicRisk{.beta = 3});
  check(EntropicRisk{.beta = 0});
  check(EntropicRisk{.beta = 1e-3});
  check(Expectile{.level = 0.2});
  check(ExpectedUtility{MinusDistance{.target = 0.3}});
}

TEST_CASE("Functionals: laws they obey") {
  Rng rng{42};
  for (int trial = 0; trial < 50; ++trial) {
    const Particles law = random_particles(7, rng);
    const double shift = 3 * rng.normal(), scale = rng.uniform(0.1, 4), level = rng.uniform(0.05, 0.95);
    const Particles moved = shift_scale(law, shift, 1), scaled = shift_scale(law, 0, scale);
    CHECK(Cvar{level}(moved) == close(Cvar{level}(law) + shift, 1e-10, 1e-10));
    CHECK(Expectile{level}(moved) == close(Expectile{level}(law) + shift, 1e-10, 1e-10));
    CHECK(EntropicRisk{-0.7}(moved) == close(EntropicRisk{-0.7}(law) + shift, 1e-10, 1e-10));
    CHECK(Cvar{level}(scaled) == close(scale * Cvar{level}(law), 1e-10, 1e-10));
    CHECK(Expectile{level}(scaled) == close(scale * Expectile{level}(law), 1e-10, 1e-10));
    if (std::abs(scale - 1) > 0.1) CHECK(std::abs(EntropicRisk{-0.7}(scaled)-scale * EntropicRisk{-0.7}(law)) > 1e-3);
    // In between the least and the mean, and growing with the level.
    CHECK(Cvar{level / 2}(law) <= Cvar{level}(law));
    CHECK(Cvar{level}(law) <= Mean{}(law) + 1e-12);
    CHECK(ValueAtRisk{level}(law) >= Cvar{level}(law)-1e-12);
  }
}

TEST_CASE("Functionals: entropic risk is exact at large and at tiny beta") {
  const Numbers far_apart{-3000, 1, 2};
  CHECK(EntropicRisk{.beta = -1}({far_apart}) == close(-3000 + std::log(3.0)));
  CHECK(EntropicRisk{.beta = 1}({far_apart}) == close(2 + std::log((1 + std::exp(-1.0)) / 3)));
  // mean + beta variance / 2 to second order.
  for (const double beta : {1e-6, -1e-9, 1e-12})
    CHECK(EntropicRisk{.beta = beta}(X) == close(0.9 + beta * 3.09 / 2, 1e-11));
  CHECK(EntropicRisk{.beta = 0}(X) == close(0.9));
  // An atom without mass doesn't count, wherever it is.
  const Numbers atoms{0, 1, 1e4}, weights{0.5, 0.5, 0};
  CHECK(EntropicRisk{.beta = 1}({atoms, weights}) == close(std::log((1 + std::exp(1.0)) / 2)));
}

TEST_CASE("Functionals: one atom, ties, and more atoms than the buffer holds") {
  const Numbers one{-2.5};
  for (const double level : {0.1, 0.5, 0.9}) {
    CHECK(Cvar{level}({one}) == -2.5);
    CHECK(ValueAtRisk{level}({one}) == -2.5);
    CHECK(Expectile{level}({one}) == -2.5);
  }
  CHECK(EntropicRisk{-3}({one}) == -2.5);
  const Numbers tied{1, 1, 1, 1};
  CHECK(Expectile{0.3}({tied}) == close(1.0));
  CHECK(Cvar{0.3}({tied}) == close(1.0));
  Numbers many(2001);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<double>((i * 7919) % many.size());
  CHECK(Cvar{.level = 1}({many}) == close(1000.0));
  CHECK(ValueAtRisk{.level = 0.5}({many}) == 1000);
  CHECK(Cvar{.level = 200.0 / 2001}({many}) == close(99.5, 1e-9));
}

TEST_CASE("Laws that aren't, and levels out of range, are refused") {
  const Numbers a{1, 2}, nothing{};
  const auto refused = [](const Numbers& atoms, const Numbers& weights) {
    return message_of([&] { Cvar{}({atoms, weights}); });
  };
  CHECK(says(refused({}, {}), "Cvar", "no atoms"));
  CHECK(says(refused({1, poison}, {0.5, 0.5}), "atoms[1] is nan"));
  CHECK(says(refused({1, 2}, {1.5, -0.5}), "weights[0] is 1.5"));
  CHECK(says(refused({1, 2}, {0.5, 0.6}), "weights sums to 1.1"));
  CHECK(says(refused({1, 2}, {1}), "1 entries; expected 2"));
  CHECK(says(message_of([&] { Cvar{.level = 0}({a}); }), "level is 0"));
  CHECK(says(message_of([&] { Cvar{.level = 1.1}({a}); }), "level is 1.1"));
  CHECK(says(message_of([&] { Cvar{.level = poison}({a}); }), "level is nan"));
  CHECK(says(message_of([&] { ValueAtRisk{.level = -1}({a}); }), "level is -1"));
  CHECK(says(message_of([&] { Expectile{.level = 1}({a}); }), "level is 1"));
  CHECK(says(message_of([&] { EntropicRisk{.beta = poison}({a}); }), "beta is nan"));
  CHECK(says(message_of([&] { wasserstein(X, Y, 0.5); }), "order is 0.5"));
  CHECK(says(message_of([&] { compress(X, 0); }), "n is 0"));
}

TEST_CASE("Particles: tidy, shift, mixture, compress") {
  const Particles x = tidy(X);
  CHECK(x.atoms == Numbers{-1, 0, 2, 5});
  same(x.weights, {0.2, 0.4, 0.3, 0.1});
  const Particles moved = shift_scale(x, 1, -2);
  CHECK(moved.atoms == Numbers{3, 1, -3, -9});
  CHECK(tidy(moved).atoms == Numbers{-9, -3, 1, 3});

  const std::vector<Particles> parts{x, {{2, 7}, {0.5, 0.5}}};
  const Particles mixed = mixture(Numbers{0.25, 0.75}, parts);
  CHECK(mixed.atoms == Numbers{-1, 0, 2, 5, 7});
  same(mixed.weights, {0.05, 0.1, 0.075 + 0.375, 0.025, 0.375});
  CHECK(says(message_of([&] { mixture(Numbers{0.5, 0.6}, parts); }), "sums to 1.1"));

  // Slices of a half: (-1: .2, 0: .3) and (0: .1, 2: .3, 5: .1).
  const Particles two = compress(X, 2);
  same(two.atoms, {-0.4, 2.2});
  same(two.weights, {0.5, 0.5});
  CHECK(compress(X, 4).atoms == x.atoms);
  Rng rng{43};
  for (int trial = 0; trial < 50; ++trial) {
    const Particles law = random_particles(40, rng);
    for (const std::size_t n : {1U, 3U, 8U, 39U}) {
      const Particles less = compress(law, n);
      CHECK(less.atoms.size() <= n);
      CHECK(Mean{}(less) == close(Mean{}(law), 1e-10, 1e-12));
      // Slices in order at their means: what the variance loses is the squared distance.
      const double distance = wasserstein(less, law, 2);
      CHECK(distance * distance == close(Variance{}(law)-Variance{}(less), 1e-9, 1e-12));
    }
  }
}

TEST_CASE("Distances: published numbers") {
  CHECK(wasserstein(X, Y) == close(1.15));
  CHECK(wasserstein(X, Y, 2) == close(1.2041594578792294));
  CHECK(cramer_squared(X, Y) == close(0.2525));
  CHECK(energy_distance(X, Y) == close(0.505));
  double energy = 0;  // by its definition
  for (std::size_t i = 0; i < X.size(); ++i) {
    for (std::size_t j = 0; j < Y.size(); ++j)
      energy += 2 * X.weight(i) * Y.weight(j) * std::abs(x_atoms[i] - y_atoms[j]);
    for (std::size_t j = 0; j < X.size(); ++j) energy -= X.weight(i) * X.weight(j) * std::abs(x_atoms[i] - x_atoms[j]);
  }
  for (std::size_t i = 0; i < Y.size(); ++i)
    for (std::size_t j = 0; j < Y.size(); ++j) energy -= Y.weight(i) * Y.weight(j) * std::abs(y_atoms[i] - y_atoms[j]);
  CHECK(energy == close(0.505));
  const Numbers one{1}, four{4};
  CHECK(wasserstein({one}, {four}) == 3);
  CHECK(wasserstein({one}, {four}, 7) == close(3.0));
  CHECK(cramer_squared({one}, {four}) == 3);
  CHECK(cramer({one}, {four}) == close(std::sqrt(3.0)));
}

TEST_CASE("Distances: symmetric, 0 to themselves, and homogeneous") {
  Rng rng{44};
  for (int trial = 0; trial < 50; ++trial) {
    const Particles a = random_particles(5, rng), b = random_particles(8, rng), c = random_particles(3, rng);
    const double scale = -rng.uniform(0.1, 5), shift = rng.normal();
    for (const double order : {1.0, 2.0, 3.5}) {
      CHECK(wasserstein(a, b, order) == close(wasserstein(b, a, order), 1e-10));
      CHECK(wasserstein(a, a, order) < 1e-7);
      CHECK(wasserstein(shift_scale(a, shift, scale), shift_scale(b, shift, scale), order) ==
            close(-scale * wasserstein(a, b, order), 1e-9));
      CHECK(wasserstein(a, c, order) <= wasserstein(a, b, order) + wasserstein(b, c, order) + 1e-9);
    }
    CHECK(wasserstein(a, b, 1) <= wasserstein(a, b, 2) + 1e-12);
    CHECK(cramer_squared(a, b) == close(cramer_squared(b, a), 1e-10));
    CHECK(cramer_squared(a, a) == 0);
    CHECK(cramer(shift_scale(a, shift, scale), shift_scale(b, shift, scale)) ==
          close(std::sqrt(-scale) * cramer(a, b), 1e-9));
    CHECK(std::abs(Mean{}(a)-Mean{}(b)) <= wasserstein(a, b) + 1e-12);
  }
}

TEST_CASE("Cramer loss on a shared support; Kullback-Leibler there is the policy's divergence") {
  const Support z{.atoms = 4, .min = 0, .max = 1.5};
  const Numbers p{0.1, 0.2, 0.4, 0.3}, q(4, 0.25);
  Numbers d(4);
  CHECK(cramer_loss(z, Probabilities<double>{p}, Probabilities<double>{q}, d) == close(0.0325));
  same(d, {-0.4, -0.25, -0.05, 0});
  Numbers atoms(4);
  for (int k = 0; k < 4; ++k) atoms[std::size_t(k)] = z.atom(k);
  CHECK(cramer_squared({atoms, p}, {atoms, q}) == close(0.0325));
  cramer_loss(z, Probabilities<double>{p}, Probabilities<double>{q}, d, -1);
  same(d, {0, 0, 0, 0}, 1e-15);
  const std::vector<float> pf(p.begin(), p.end()), qf(q.begin(), q.end());
  std::vector<float> df(4);
  CHECK(static_cast<double>(cramer_loss(z, Probabilities<float>{pf}, Probabilities<float>{qf}, df)) ==
        close(0.0325, 1e-6));
  const Numbers not_one{0.1, 0.2, 0.4, 0.4};
  CHECK(says(message_of([&] { cramer_loss(z, Probabilities<double>{p}, Probabilities<double>{not_one}, d); }),
             "target sums to 1.1"));
  double kl = 0;
  for (std::size_t k = 0; k < 4; ++k) kl += p[k] * std::log(p[k] / q[k]);
  CHECK(divergence(KullbackLeibler{}, std::span<const double>(p), q) == close(kl));
}
