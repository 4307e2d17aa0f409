// The projection of C51 and the faults that others shipped (pitfalls D1, D2, D3).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/distances.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/distributional/projection.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
constexpr double infinite = std::numeric_limits<double>::infinity();

template <class S>
void same(const std::vector<S>& seen, const Numbers& expected, double tolerance = 1e-12) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i, seen[i], expected[i]);
    CHECK(static_cast<double>(seen[i]) == close(expected[i], tolerance, tolerance));
  }
}

template <class S>
std::vector<S> projected(const Support& support, const std::vector<S>& p, S r, S g) {
  std::vector<S> out(support.size(), std::numeric_limits<S>::quiet_NaN());
  project_bellman(support, Probabilities<S>{p}, r, g, out);
  return out;
}

double mass(const Numbers& p) {
  double sum = 0;
  for (const double x : p) sum += x;
  return sum;
}
double mean(const Support& z, const Numbers& p) {
  double sum = 0;
  for (int k = 0; k < z.atoms; ++k) sum += p[std::size_t(k)] * z.atom(k);
  return sum;
}

/// Every pair of atoms, as array code does it: out_k = sum_j p_j max(0, 1 - |held(r + g z_j) - z_k| / h).
Numbers all_pairs(const Support& z, const Numbers& p, double r, double g) {
  Numbers out(z.size());
  const double h = (z.max - z.min) / (z.atoms - 1);
  for (int k = 0; k < z.atoms; ++k)
    for (int j = 0; j < z.atoms; ++j) {
      const double at = std::clamp(r + g * z.atom(j), z.min, z.max);
      out[std::size_t(k)] += p[std::size_t(j)] * std::max(0.0, 1 - std::abs(at - z.atom(k)) / h);
    }
  return out;
}

Numbers random_law(std::size_t n, Rng& rng) {
  Numbers p(n);
  for (double& x : p) x = rng.uniform() < 0.3 ? 0 : rng.uniform();
  p[rng.below(n)] += 0.1;
  const double sum = mass(p);
  for (double& x : p) x /= sum;
  return p;
}

}  // namespace

TEST_CASE("C51: an atom that lands on an atom, or at a clamped end, keeps its mass", "[D1]") {
  const Support z{.atoms = 3, .min = -1, .max = 1};
  const Numbers p{0.2, 0.5, 0.3};
  CHECK(projected(z, p, 0.0, 1.0) == p);
  CHECK(projected(z, p, 5.0, 1.0) == Numbers{0, 0, 1});
  CHECK(projected(z, p, -5.0, 1.0) == Numbers{1, 0, 0});
  CHECK(projected(z, p, 0.0, 0.0) == Numbers{0, 1, 0});
  same(projected(z, p, 0.5, 1.0), {0.1, 0.35, 0.55});
  same(projected(z, p, 0.25, 0.5), {0.05, 0.6, 0.35});
  same(projected(z, p, 1.0, 1.0), {0, 0.2, 0.8});
  same(projected(z, p, -1.0, 1.0), {0.7, 0.3, 0});
  const std::vector<float> f{0.2F, 0.5F, 0.3F};
  CHECK(projected(z, f, 0.0F, 1.0F) == f);
  same(projected(z, f, 0.25F, 0.5F), {0.05, 0.6, 0.35}, 1e-7);
}

TEST_CASE("C51: published numbers") {
  const Support z{.atoms = 5, .min = -1, .max = 1};
  const Numbers p{0.1, 0.2, 0.4, 0.2, 0.1};
  const Numbers q = projected(z, p, 0.3, 0.9);
  same(q, {0.02, 0.14, 0.30, 0.34, 0.20});
  CHECK(mean(z, q) == close(0.28));
  Numbers out(5);
  project_value(z, 0.3, out);
  same(out, {0, 0, 0.4, 0.6, 0});
  project_value(z, 7.0, out);
  CHECK(out == Numbers{0, 0, 0, 0, 1});
  project_value(z, -7.0, out);
  CHECK(out == Numbers{1, 0, 0, 0, 0});
}

TEST_CASE("C51: mass is 1, no entry is negative, the mean is kept where nothing is clipped", "[D1][D2]") {
  Rng rng{11};
  double worst = 0, least = 0, off = 0, apart = 0;
  for (int n = 0; n < 100'000; ++n) {
    const int atoms = 2 + static_cast<int>(rng.below(60));
    const Support z{.atoms = atoms, .min = -2.5, .max = -2.5 + 0.25 * (atoms - 1)};
    const Numbers p = random_law(z.size(), rng);
    // A third lands on atoms exactly: steps of 1/4 are exact numbers.
    const bool exact = n % 3 == 0;
    const double g = exact ? 1 : rng.uniform(0.01, 1);
    const double r = exact ? 0.25 * static_cast<double>(rng.below(9)) - 1 : rng.uniform(-1, 1);
    const Numbers q = projected(z, p, r, g);
    worst = std::max(worst, std::abs(mass(q) - 1));
    for (const double x : q) least = std::min(least, x);
    const double low = r + g * z.min, high = r + g * z.max;
    if (low >= z.min && high <= z.max) off = std::max(off, std::abs(mean(z, q) - (r + g * mean(z, p))));
    if (n % 10 == 0) {
      const Numbers other = all_pairs(z, p, r, g);
      for (std::size_t k = 0; k < q.size(); ++k) apart = std::max(apart, std::abs(other[k] - q[k]));
    }
  }
  CHECK(worst < 1e-12);
  CHECK(least == 0);
  CHECK(off < 1e-12);
  CHECK(apart < 1e-12);
}

TEST_CASE("C51: many atoms, beyond the buffers of the fast path") {
  Rng rng{12};
  for (const int atoms : {63, 64, 65, 127, 128, 129, 130, 1001}) {
    CAPTURE(atoms);
    const Support z{.atoms = atoms, .min = -3, .max = 4};
    const Numbers p = random_law(z.size(), rng);
    for (const double g : {1.0, 0.97, 0.4}) {
      const Numbers q = projected(z, p, 0.123, g), other = all_pairs(z, p, 0.123, g);
      double apart = 0;
      for (std::size_t k = 0; k < q.size(); ++k) apart = std::max(apart, std::abs(other[k] - q[k]));
      CHECK(apart < 1e-11);  // rounding of positions, which grows with their number
      CHECK(mass(q) == close(1, 1e-12));
    }
  }
}

TEST_CASE("C51: the end of the support is its last atom, whatever the step rounds to", "[D3]") {
  const auto check_end = [](auto one, int atoms, double low, double high) {
    using S = decltype(one);
    const Support z{.atoms = atoms, .min = low, .max = high};
    std::vector<S> p(z.size(), S(0)), first(z.size(), S(0)), last(z.size(), S(0));
    p[0] = 1, first[0] = 1, last.back() = 1;
    bool good = projected<S>(z, p, S(high), S(0)) == last && projected<S>(z, p, S(low), S(0)) == first;
    // Through the kernel as well: the first atom moved onto the last one, all of it and with a smaller discount.
    const auto moved = projected<S>(z, p, S(high) - S(low), S(1));
    good = good && std::abs(static_cast<double>(moved.back()) - 1) < (sizeof(S) == 4 ? 1e-4 : 1e-12);
    p[0] = 0, p.back() = 1;
    good = good && projected<S>(z, p, S(0), S(1)) == last;
    return good && projected<S>(z, p, S(3 * (high - low)), S(0.5)) == last;
  };
  constexpr auto single = static_cast<double>(0.1F);
  CHECK(check_end(1.0, 30, -100, 100));
  CHECK(check_end(1.0, 50, -0.5, 0.5));
  CHECK(check_end(1.0F, 12, -single, single));
  CHECK(check_end(1.0F, 23, -single, single));
  const std::array<double, 12> ends{0.1, 0.3, 0.5, 0.7, 1, 3, 7, 10, 33, 100, 150, 1000};
  for (const double end : ends)
    for (int atoms = 3; atoms <= 202; ++atoms) {
      CAPTURE(end, atoms);
      CHECK(check_end(1.0, atoms, -end, end));
      CHECK(check_end(1.0F, atoms, static_cast<double>(static_cast<float>(-end / 3)),
                      static_cast<double>(static_cast<float>(end))));
    }
}

TEST_CASE("C51: batches are columns, and allocate nothing", "[D5]") {
  const Support z{.atoms = 5, .min = -1, .max = 2};
  Rng rng{13};
  Matrix<double> p(5, 3), out = Matrix<double>::Constant(5, 3, poison);
  for (int j = 0; j < 3; ++j) {
    const Numbers law = random_law(5, rng);
    for (int k = 0; k < 5; ++k) p(k, j) = law[std::size_t(k)];
  }
  p.col(1).setConstant(poison);  // terminal
  const Numbers r{0.3, -0.7, 0.1}, g{0.9, 0, 1};
  {
    valence::test::Allocations allocations;
    project_bellman_columns(z, Outputs<double>(p.data(), 5, 3), r, g, OutputsGradient<double>(out.data(), 5, 3));
    CHECK(allocations.count() == 0);
  }
  for (const int j : {0, 2}) {
    const Numbers law(p.col(j).data(), p.col(j).data() + 5);
    CHECK(Numbers(out.col(j).data(), out.col(j).data() + 5) == projected(z, law, r[std::size_t(j)], g[std::size_t(j)]));
  }
  Numbers dirac(5);
  project_value(z, -0.7, dirac);
  CHECK(Numbers(out.col(1).data(), out.col(1).data() + 5) == dirac);
}

TEST_CASE("C51: bad input is refused before anything is written") {
  const Support z{.atoms = 3, .min = -1, .max = 1};
  const auto refused = [&](const Support& support, const Numbers& p, double r, double g) {
    Numbers out(3, 7.0);
    const auto message = message_of([&] { project_bellman(support, Probabilities<double>{p}, r, g, out); });
    CHECK(out == Numbers(3, 7.0));
    return message;
  };
  const Numbers p{0.2, 0.5, 0.3};
  CHECK(says(refused(z, {0.2, 0.5, 0.4}, 0, 1), "p sums to 1.1"));
  CHECK(says(refused(z, {-0.2, 0.9, 0.3}, 0, 1), "p[0] is -0.2"));
  CHECK(says(refused(z, {0.7, 0.5, -0.2}, 0, 1), "p[2] is -0.2"));
  CHECK(says(refused(z, {0.2, poison, 0.3}, 0, 1), "p[1] is nan"));
  CHECK(says(refused(z, p, poison, 1), "reward is nan"));
  CHECK(says(refused(z, p, poison, 0), "nan"));
  CHECK(says(refused(z, p, 0, 1.1), "discount is 1.1"));
  CHECK(says(refused(z, p, 0, -0.1), "discount is -0.1"));
  CHECK(says(refused(z, p, 0, poison), "discount is nan"));
  CHECK(says(refused(z, {0.5, 0.5}, 0, 1), "p has 2 entries; expected 3"));
  CHECK(says(refused({.atoms = 1, .min = -1, .max = 1}, p, 0, 1), "1 atoms"));
  CHECK(says(refused({.atoms = 3, .min = 1, .max = 1}, p, 0, 1), "[1, 1]"));
  CHECK(says(refused({.atoms = 3, .min = 0, .max = infinite}, p, 0, 1), "inf"));
}

TEST_CASE("Laws projected onto supports and quantiles") {
  const Numbers x{-1, 0, 2, 5}, px{0.2, 0.4, 0.3, 0.1};
  Numbers out(5);
  project_law({.atoms = 5, .min = -2, .max = 4}, {x, px}, out);
  same(out, {0.0666666666666667, 0.4, 0.2333333333333333, 0.2, 0.1}, 1e-14);
  // Twice is once.
  const Support z{.atoms = 5, .min = -2, .max = 4};
  Numbers atoms(5), again(5);
  for (int k = 0; k < 5; ++k) atoms[std::size_t(k)] = z.atom(k);
  project_law(z, {atoms, out}, again);
  same(again, out, 1e-15);

  Numbers quantiles(4);
  project_quantiles({x, px}, quantiles);
  CHECK(quantiles == Numbers{-1, 0, 2, 2});
  const Numbers eight{3, 1, 0, 2, 7, 5, 6, 4};
  project_quantiles({eight}, quantiles);
  CHECK(quantiles == Numbers{0, 2, 4, 6});
  Numbers twice(4);
  project_quantiles({quantiles}, twice);
  CHECK(twice == quantiles);
}

TEST_CASE("The categorical projection does not expand the Cramer distance, and the Bellman operator contracts") {
  Rng rng{14};
  const Support z{.atoms = 7, .min = -2, .max = 2};
  Numbers atoms(7);
  for (int k = 0; k < 7; ++k) atoms[std::size_t(k)] = z.atom(k);
  for (int n = 0; n < 200; ++n) {
    Numbers x(5), y(4);
    for (double& v : x) v = rng.uniform(-3, 3);
    for (double& v : y) v = rng.uniform(-3, 3);
    const Numbers px = random_law(5, rng), py = random_law(4, rng);
    Numbers qx(7), qy(7);
    project_law(z, {x, px}, qx);
    project_law(z, {y, py}, qy);
    CHECK(cramer({atoms, qx}, {atoms, qy}) <= cramer({x, px}, {y, py}) * (1 + 1e-9) + 1e-9);
    const double g = rng.uniform(0.1, 1), r = rng.uniform(-1, 1);
    CHECK(cramer(shift_scale({x, px}, r, g), shift_scale({y, py}, r, g)) ==
          close(std::sqrt(g) * cramer({x, px}, {y, py}), 1e-9, 1e-12));
    CHECK(wasserstein(shift_scale({x, px}, r, g), shift_scale({y, py}, r, g), 2) ==
          close(g * wasserstein({x, px}, {y, py}, 2), 1e-9, 1e-12));
  }
}
