// What the distributions look like: chi-square and Kolmogorov-Smirnov tests, moments, independence. Seeds were fixed
// before the first run. A correct generator fails a check with probability 1e-6; there are about 150 checks.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/random.hpp"

using valence::AliasTable;
using valence::Reservoir;
using valence::Rng;
using namespace valence::test;

namespace {

constexpr double threshold = 1e-6;
constexpr std::size_t many = 1 << 20, some = 1 << 17;

template <class F>
std::vector<double> draws(std::size_t n, F draw) {
  std::vector<double> out(n);
  for (double& x : out) x = static_cast<double>(draw());
  return out;
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

/// Chi-square over `cells` cells of equal probability, by the distribution function.
template <class Cdf>
double equal_cells_test(const std::vector<double>& samples, std::size_t cells, Cdf cdf) {
  std::vector<double> counts(cells), p(cells, 1 / static_cast<double>(cells));
  for (const double x : samples)
    ++counts[(std::min)(cells - 1, static_cast<std::size_t>(cdf(x) * static_cast<double>(cells)))];
  return chi_square_test(counts, p);
}

/// Chi-square of integers 0, 1, ... against probabilities (the rest of the mass is one cell more).
template <class F>
double integers_test(std::size_t n, std::vector<double> probabilities, F draw) {
  std::vector<double> counts(probabilities.size() + 1);
  for (std::size_t i = 0; i < n; ++i) ++counts[(std::min)(static_cast<std::size_t>(draw()), probabilities.size())];
  const double rest = 1 - std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
  probabilities.push_back((std::max)(rest, 0.0));
  if (rest < 1e-12) {  // nothing is left but rounding: nothing may fall there
    CHECK(counts.back() == 0);
    counts.pop_back();
    probabilities.pop_back();
  }
  return chi_square_test(counts, probabilities);
}

/// Two-sided p-value of the mean of samples with this expectation and variance.
double mean_test(const std::vector<double>& samples, double mean, double variance) {
  double sum = 0;
  for (const double x : samples) sum += x - mean;
  return normal_p(sum / std::sqrt(variance * static_cast<double>(samples.size())));
}

}  // namespace

TEST_CASE("The tests of goodness themselves: p-values against SciPy") {
  CHECK(chi_square_p(10, 10) == close(0.44049328506521257, 1e-12));
  CHECK(chi_square_p(1200, 1000) == close(1.2255942330622893e-05, 1e-10));
  CHECK(chi_square_p(30, 3) == close(1.3800570312932553e-06, 1e-12));
  CHECK(gamma_upper(0.3, 2) == close(0.022025980827146997, 1e-12));
  CHECK(beta_lower(2, 3, 0.4) == close(0.5248, 1e-12));
  CHECK(beta_lower(0.5, 0.7, 0.9) == close(0.8837889567707928, 1e-12));
  CHECK(kolmogorov_p(0.0136, 10'000) == close(0.04903580807632146, 0.01));
  CHECK(normal_p(4.891638475698591) == close(1e-6, 1e-11));
  // They see what is wrong by a little: a uniform squeezed by 1 %, a coin of 0.505.
  Rng rng{1};
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return 0.99 * rng.uniform(); }), [](double x) { return x; }) <
        threshold);
  CHECK(integers_test(some, {0.5, 0.5}, [&] { return rng.uniform() < 0.51 ? 1 : 0; }) < threshold);
}

TEST_CASE("Uniform numbers are uniform, in their high and their low bits, alone and in pairs") {
  const auto cdf = [](double x) { return std::clamp(x, 0.0, 1.0); };
  for (const std::uint64_t seed : {0u, 1u, 2u}) {
    Rng rng{seed};
    std::vector<double> x(many);
    rng.fill_uniform(x);
    CHECK(kolmogorov_smirnov_test(x, cdf) > threshold);
    CHECK(equal_cells_test(x, 1'000, cdf) > threshold);
    CHECK(mean_test(x, 0.5, 1.0 / 12) > threshold);
    std::vector<double> pairs(64 * 64), low(1'024), lagged(64 * 64);
    for (std::size_t i = 0; i + 2 < x.size(); i += 2) {
      const auto cell = [](double u) { return static_cast<std::size_t>(u * 64); };
      ++pairs[cell(x[i]) * 64 + cell(x[i + 1])];
      ++lagged[cell(x[i]) * 64 + cell(x[(i + 33) % many])];
    }
    for (std::size_t i = 0; i < some; ++i) ++low[rng() & 1'023];
    CHECK(chi_square_test(pairs, std::vector<double>(64 * 64, 1.0 / 4'096)) > threshold);
    CHECK(chi_square_test(lagged, std::vector<double>(64 * 64, 1.0 / 4'096)) > threshold);
    CHECK(chi_square_test(low, std::vector<double>(1'024, 1.0 / 1'024)) > threshold);
  }
  Rng rng{3};
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return rng.uniform<float>(); }), cdf) > threshold);
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return rng.open_uniform(); }), cdf) > threshold);
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return rng.open_uniform<float>(); }), cdf) > threshold);
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return rng.uniform(-3, 5); }), [](double x) { return (x + 3) / 8; }) >
        threshold);
  std::array<int, 64> ones{};  // each bit of the output
  for (std::size_t i = 0; i < some; ++i)
    for (std::uint64_t x = rng(); x != 0; x &= x - 1) ++ones[static_cast<std::size_t>(std::countr_zero(x))];
  for (const int count : ones)
    REQUIRE(normal_p((count - 0.5 * static_cast<double>(some)) / std::sqrt(0.25 * static_cast<double>(some))) >
            threshold);
}

TEST_CASE("Integers are uniform") {
  Rng rng{10};
  for (const std::uint64_t n : {2u, 3u, 10u, 1'000u, 1'024u}) {
    CAPTURE(n);
    const std::vector<double> p(static_cast<std::size_t>(n), 1 / static_cast<double>(n));
    CHECK(integers_test(some, p, [&] { return rng.below(n); }) > threshold);
    CHECK(integers_test(some, p, [&] { return rng.integer(-7, static_cast<std::int64_t>(n) - 8) + 7; }) > threshold);
  }
  // The worst bounds: nearly half of the outputs must be rejected. Both the value's top and its parity must be fair.
  const std::uint64_t bound = (std::uint64_t{1} << 63) + 1;
  CHECK(integers_test(some, std::vector<double>(128, 1.0 / 128), [&] { return rng.below(bound) >> 56; }) > threshold);
  CHECK(integers_test(some, {0.5, 0.5}, [&] { return rng.below(bound) & 1; }) > threshold);
  CHECK(integers_test(some, {0.7, 0.3}, [&] { return rng.bernoulli(0.3); }) > threshold);
  CHECK(integers_test(some, {0.999, 0.001}, [&] { return rng.bernoulli(0.001); }) > threshold);
}

TEST_CASE("Ziggurat tables: layers of equal area under the right curve") {
  const auto check = [](const valence::detail::Ziggurat& table, auto density, double tail_area) {
    const double r = table.tail, area = r * density(r) + tail_area;
    const auto x = [&](std::size_t i) { return i == 256 ? 0.0 : table.layer[i].scale * 0x1p53; };
    CHECK(x(1) == r);
    CHECK(x(0) == close(area / density(r), 1e-14));
    CHECK(table.density[256] == 1);
    for (std::size_t i = 0; i < 256; ++i) {
      REQUIRE(x(i + 1) < x(i));
      REQUIRE(table.density[i] == close(density(x(i)), 1e-14));
      const double inside = std::floor(0x1p53 * (x(i + 1) / x(i)));
      REQUIRE(std::abs(static_cast<double>(table.layer[i].inside) - inside) <= 4);
      // The difference of the densities loses digits to cancellation.
      if (i > 0) REQUIRE(x(i) * (density(x(i + 1)) - density(x(i))) == close(area, 1e-11));
    }
  };
  const auto& normal = valence::detail::normal_ziggurat;
  check(
      normal, [](double x) { return std::exp(-x * x / 2); },
      std::sqrt(std::acos(0.0)) * std::erfc(normal.tail / std::sqrt(2.0)));
  const auto& exponential = valence::detail::exponential_ziggurat;
  check(
      exponential, [](double x) { return std::exp(-x); }, std::exp(-exponential.tail));
}

TEST_CASE("Normal numbers are normal, to the tails") {
  for (const std::uint64_t seed : {0u, 1u}) {
    std::vector<double> x(2 * many);
    Rng{seed}.fill_normal(x);
    CHECK(kolmogorov_smirnov_test(x, normal_cdf) > threshold);
    CHECK(equal_cells_test(x, 2'000, normal_cdf) > threshold);
    CHECK(mean_test(x, 0, 1) > threshold);
    std::vector<double> square(x), cube(x), fourth(x);
    for (double& z : square) z = z * z;
    for (double& z : cube) z = z * z * z;
    for (double& z : fourth) z = z * z * z * z;
    CHECK(mean_test(square, 1, 2) > threshold);
    CHECK(mean_test(cube, 0, 15) > threshold);
    CHECK(mean_test(fourth, 3, 96) > threshold);
    // The tail beyond r has code of its own.
    const double r = valence::detail::normal_ziggurat.tail, beyond = 1 - normal_cdf(r);
    std::vector<double> tail;
    double left = 0;
    for (const double z : x)
      if (std::abs(z) > r) {
        tail.push_back(std::abs(z));
        left += z < 0;
      }
    const auto n = static_cast<double>(tail.size()), expected = 2 * beyond * static_cast<double>(x.size());
    CHECK(normal_p((n - expected) / std::sqrt(expected)) > threshold);
    CHECK(normal_p((left - n / 2) / std::sqrt(n / 4)) > threshold);
    CHECK(kolmogorov_smirnov_test(tail, [&](double z) { return 1 - normal_cdf(-z) / normal_cdf(-r); }) > threshold);
    CHECK(*std::max_element(tail.begin(), tail.end()) > 4.5);
  }
  Rng rng{2};
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return rng.normal<float>(); }), normal_cdf) > threshold);
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return rng.normal(-2, 0.25); }),
                                [](double x) { return normal_cdf((x + 2) * 4); }) > threshold);
}

TEST_CASE("Exponential, Gumbel and geometric numbers follow their laws, to the tails") {
  const auto cdf = [](double x) { return -std::expm1(-x); };
  std::vector<double> x(4 * many);
  Rng rng{20};
  rng.fill_exponential(x);
  CHECK(kolmogorov_smirnov_test(x, cdf) > threshold);
  CHECK(equal_cells_test(x, 2'000, cdf) > threshold);
  CHECK(mean_test(x, 1, 1) > threshold);
  const double r = valence::detail::exponential_ziggurat.tail;
  std::vector<double> tail;
  for (const double z : x)
    if (z > r) tail.push_back(z - r);
  const double expected = std::exp(-r) * static_cast<double>(x.size());
  CHECK(normal_p((static_cast<double>(tail.size()) - expected) / std::sqrt(expected)) > threshold);
  CHECK(kolmogorov_smirnov_test(tail, cdf) > threshold);
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return rng.exponential<float>(); }), cdf) > threshold);
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return rng.exponential(4) * 4; }), cdf) > threshold);
  CHECK(kolmogorov_smirnov_test(draws(some, [&] { return rng.gumbel(); }),
                                [](double z) { return std::exp(-std::exp(-z)); }) > threshold);
  for (const double p : {0.9, 0.5, 0.03}) {
    std::vector<double> mass(static_cast<std::size_t>(12 / p));
    for (std::size_t k = 0; k < mass.size(); ++k) mass[k] = p * std::pow(1 - p, static_cast<double>(k));
    CHECK(integers_test(some, mass, [&] { return rng.geometric(p); }) > threshold);
  }
  CHECK(mean_test(draws(some, [&] { return 1e-9 * static_cast<double>(rng.geometric(1e-9)); }), 1, 1) > threshold);
}

TEST_CASE("Gamma and beta numbers follow their laws, for small and large shapes") {
  Rng rng{30};
  for (const double shape : {0.05, 0.3, 0.999, 1.0, 1.5, 4.0, 60.0}) {
    CAPTURE(shape);
    const auto x = draws(some, [&] { return rng.gamma(shape, 2); });
    CHECK(kolmogorov_smirnov_test(x, [&](double z) { return 1 - gamma_upper(shape, z / 2); }) > threshold);
    CHECK(mean_test(x, 2 * shape, 4 * shape) > threshold);
  }
  // Large shapes, where the acceptance test would cancel if it were written as in the paper.
  for (const double shape : {1e9, 1e12, 1e15})
    CHECK(kolmogorov_smirnov_test(draws(some, [&] { return (rng.gamma(shape) - shape) / std::sqrt(shape); }),
                                  normal_cdf) > threshold);
  for (const auto& [a, b] : {std::pair{2.0, 3.0}, {0.5, 0.5}, {0.1, 2.0}, {1.0, 1.0}, {30.0, 0.2}, {70.0, 90.0}}) {
    CAPTURE(a, b);
    const auto x = draws(some, [&] { return rng.beta(a, b); });
    // Where much of the mass rounds to 1, look at where it is not.
    if (b > 0.4) CHECK(kolmogorov_smirnov_test(x, [&](double z) { return beta_lower(a, b, z); }) > threshold);
    CHECK(mean_test(x, a / (a + b), a * b / ((a + b) * (a + b) * (a + b + 1))) > threshold);
    CHECK(*std::min_element(x.begin(), x.end()) >= 0);
    CHECK(*std::max_element(x.begin(), x.end()) <= 1);
  }
  // Shapes whose gammas underflow: the limit is a coin with P(1) = a / (a + b).
  CHECK(integers_test(some, {0.75, 0.25}, [&] { return rng.beta(1e-320, 3e-320); }) > threshold);
  CHECK(integers_test(some, {0.75, 0.25}, [&] { return std::round(rng.beta(1e-12, 3e-12)); }) > threshold);
}

TEST_CASE("Dirichlet vectors are probability vectors with beta margins, even for tiny alphas") {
  Rng rng{40};
  const auto check = [&](const std::vector<double>& alpha, std::size_t n) {
    const double total = std::accumulate(alpha.begin(), alpha.end(), 0.0);
    std::vector<double> p(alpha.size());
    std::vector<std::vector<double>> margins(alpha.size());
    for (std::size_t i = 0; i < n; ++i) {
      rng.dirichlet(alpha, p);
      double sum = 0;
      for (std::size_t j = 0; j < p.size(); ++j) {
        sum += p[j];
        margins[j].push_back(p[j]);
        REQUIRE((p[j] >= 0 && p[j] <= 1));
      }
      REQUIRE(std::abs(sum - 1) < 1e-14);
    }
    for (std::size_t j = 0; j < p.size(); ++j) {
      const double a = alpha[j], b = total - alpha[j];
      CAPTURE(j, a, b);
      if (a + b > 0.5 && b > 0)
        CHECK(kolmogorov_smirnov_test(margins[j], [&](double x) { return beta_lower(a, b, x); }) > threshold);
      if (b > 0) CHECK(mean_test(margins[j], a / (a + b), a / (a + b) * (b / (a + b)) / (a + b + 1)) > threshold);
    }
  };
  check({0.5, 1, 4}, some);
  check({0.3, 0.3, 0.3, 0.3}, some);
  check({1e-3, 1e-3, 2e-3}, some);
  check({1e-300, 3e-300}, some);
  check({1e-320, 3e-320}, some);  // denormal
  check({2}, 10);
}

TEST_CASE("Poisson and binomial counts follow their laws, on every path of the algorithms") {
  Rng rng{50};
  for (const double mean : {0.2, 3.0, 9.9, 10.5, 40.0, 500.0}) {
    CAPTURE(mean);
    std::vector<double> mass(static_cast<std::size_t>(mean + 12 * std::sqrt(mean) + 12));
    for (std::size_t k = 0; k < mass.size(); ++k) {
      const auto x = static_cast<double>(k);
      mass[k] = std::exp(x * std::log(mean) - mean - std::lgamma(x + 1));
    }
    CHECK(integers_test(some, mass, [&] { return rng.poisson(mean); }) > threshold);
  }
  CHECK(mean_test(draws(some, [&] { return rng.poisson(1e12); }), 1e12, 1e12) > threshold);
  const std::pair<std::uint64_t, double> cases[] = {{1, 0.5},  {5, 0.5},     {16, 0.9},   {20, 0.3},     {100, 0.02},
                                                    {50, 0.5}, {1'000, 0.6}, {300, 0.97}, {4'000, 0.004}};
  for (const auto& [n, p] : cases) {
    CAPTURE(n, p);
    std::vector<double> mass(static_cast<std::size_t>(n) + 1);
    const auto trials = static_cast<double>(n);
    for (std::size_t k = 0; k < mass.size(); ++k) {
      const auto x = static_cast<double>(k);
      mass[k] = std::exp(std::lgamma(trials + 1) - std::lgamma(x + 1) - std::lgamma(trials - x + 1) + x * std::log(p) +
                         (trials - x) * std::log1p(-p));
    }
    const double sum = std::accumulate(mass.begin(), mass.end(), 0.0);
    for (double& m : mass) m /= sum;  // lgamma's rounding
    CHECK(integers_test(some, mass, [&, n = n, p = p] { return rng.binomial(n, p); }) > threshold);
  }
  const double n = 1e12, p = 0.3;
  CHECK(mean_test(draws(some, [&] { return rng.binomial(1'000'000'000'000, p); }), n * p, n * p * (1 - p)) > threshold);
}

TEST_CASE("The three ways to draw a category agree with the weights") {
  Rng rng{60};
  std::vector<std::vector<double>> cases = {
      {1}, {0.5, 0.5, 0}, {0, 0, 3, 0}, {5, 1, 0, 2, 1e-5, 4}, {1e-310, 3e-310}, {1e307, 3e307}};
  std::vector<double> large(1'000);
  for (double& w : large) w = rng.bernoulli(0.2) ? 0 : rng.exponential();
  cases.push_back(large);
  for (const auto& weights : cases) {
    CAPTURE(weights.size());
    double total = 0;
    for (const double w : weights) total += w;
    std::vector<double> p(weights), logits(weights);
    std::vector<float> logits_float;
    for (double& w : p) w /= total;
    for (double& w : logits) w = std::log(w);
    const AliasTable table(weights);
    CHECK(table.size() == weights.size());
    const std::size_t n = weights.size() > 100 ? some / 4 : some;
    std::vector<std::size_t> drawn(n);
    table.fill(rng, drawn);
    std::size_t i = 0;
    CHECK(integers_test(n, p, [&] { return drawn[i++]; }) > threshold);
    CHECK(integers_test(n, p, [&] { return rng.categorical(weights); }) > threshold);
    if (weights.size() < 100) CHECK(integers_test(n, p, [&] { return rng.categorical_logits(logits); }) > threshold);
    for (std::size_t k = 0; k < n; ++k) REQUIRE(weights[drawn[k]] > 0);
  }
  const std::vector<float> weights_float = {1, 2, 5}, logits_float = {0, 1, -1};
  const AliasTable table(weights_float);
  const double sum = 1 + std::exp(1.0) + std::exp(-1.0);
  CHECK(integers_test(some, {0.125, 0.25, 0.625}, [&] { return rng.categorical(weights_float); }) > threshold);
  CHECK(integers_test(some, {0.125, 0.25, 0.625}, [&] { return table(rng); }) > threshold);
  CHECK(integers_test(some, {1 / sum, std::exp(1.0) / sum, std::exp(-1.0) / sum},
                      [&] { return rng.categorical_logits(logits_float); }) > threshold);
}

namespace {

/// Chi-square of how often each of `cells` equally likely outcomes (any ordered key) came up.
template <class F>
double outcomes_test(std::size_t n, std::size_t cells, F draw) {
  std::map<std::vector<std::size_t>, double> seen;
  for (std::size_t i = 0; i < n; ++i) ++seen[draw()];
  if (seen.size() > cells) return 0;
  std::vector<double> counts(cells);
  std::size_t i = 0;
  for (const auto& [key, count] : seen) counts[i++] = count;
  return chi_square_test(counts, std::vector<double>(cells, 1 / static_cast<double>(cells)));
}

}  // namespace

TEST_CASE("Every permutation, every sample, every reservoir is equally likely") {
  Rng rng{70};
  CHECK(outcomes_test(some, 120, [&] { return rng.permutation(5); }) > threshold);
  CHECK(outcomes_test(some, 336, [&] { return rng.sample(8, 3); }) > threshold);          // dense
  CHECK(outcomes_test(2 * some, 9'900, [&] { return rng.sample(100, 2); }) > threshold);  // sparse
  CHECK(outcomes_test(some, 120, [&] {
          Reservoir<std::size_t> reservoir(3);
          for (std::size_t i = 0; i < 10; ++i) reservoir.add(i, rng);
          std::vector<std::size_t> held(reservoir.items().begin(), reservoir.items().end());
          std::sort(held.begin(), held.end());
          return held;
        }) > threshold);
  std::vector<double> where(20 * 20);  // where does each of 20 go?
  for (std::size_t i = 0; i < some / 8; ++i) {
    const auto order = rng.permutation(20);
    for (std::size_t j = 0; j < 20; ++j) ++where[j * 20 + order[j]];
  }
  double statistic = 0;
  const double expected = static_cast<double>(some / 8) / 20;
  for (const double count : where) statistic += (count - expected) * (count - expected) / expected;
  CHECK(chi_square_p(statistic * 19 / 20, 19 * 19) > threshold);  // rows and columns are tied
}

TEST_CASE("Streams from split are uncorrelated with each other, with their parent and with themselves") {
  constexpr std::size_t streams = 64, length = 4'096;
  for (const std::uint64_t seed : {0u, 1u}) {
    const Rng root{seed};
    std::vector<std::vector<double>> x(streams + 3, std::vector<double>(length));
    for (std::size_t i = 0; i < streams; ++i) root.split(i).fill_normal(x[i]);
    Rng(root).fill_normal(x[streams]);
    root.split(0).split(0).fill_normal(x[streams + 1]);
    Rng{seed + 1}.fill_normal(x[streams + 2]);
    double sum = 0, squares = 0, count = 0, worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      for (std::size_t j = 0; j < i; ++j) {
        double r = 0;
        for (std::size_t k = 0; k < length; ++k) r += x[i][k] * x[j][k];
        const double z = r / std::sqrt(static_cast<double>(length));
        sum += z;
        squares += z * z;
        worst = (std::max)(worst, std::abs(z));
        ++count;
      }
    // Sums of products of normals have mean 0 and variance 1; their squares have variance 2 + 6 / length.
    CHECK(normal_p(sum / std::sqrt(count)) > threshold);
    CHECK(normal_p((squares - count) / std::sqrt(count * (2 + 6.0 / length))) > threshold);
    CHECK(normal_p(worst) > threshold / count);
    for (std::size_t lag = 1; lag <= 40; ++lag) {
      double r = 0, n = 0;
      for (std::size_t i = 0; i < streams; ++i)
        for (std::size_t k = 0; k + lag < length; ++k, ++n) r += x[i][k] * x[i][k + lag];
      REQUIRE(normal_p(r / std::sqrt(n)) > threshold);
    }
  }
}

TEST_CASE("First outputs across children and across seeds are as random as a stream") {
  const Rng root{9};
  for (const bool seeds : {false, true}) {
    std::uint64_t i = 0;
    const auto first = [&] {
      Rng rng = seeds ? Rng{i++} : root.split(i++);
      return rng();
    };
    std::vector<double> u(some);
    std::vector<double> low(256);
    double changed = 0;
    std::uint64_t previous = 0;
    for (double& x : u) {
      const std::uint64_t bits = first();
      x = valence::detail::unit<double>(bits);
      ++low[bits & 255];
      changed += std::popcount(bits ^ previous);
      previous = bits;
    }
    CHECK(kolmogorov_smirnov_test(u, [](double x) { return x; }) > threshold);
    CHECK(chi_square_test(low, std::vector<double>(256, 1.0 / 256)) > threshold);
    const auto n = static_cast<double>(some);
    CHECK(normal_p((changed - 32 * n) / std::sqrt(16 * n)) > threshold);
    double r = 0;
    for (std::size_t k = 1; k < u.size(); ++k) r += (u[k] - 0.5) * (u[k - 1] - 0.5) * 12;
    CHECK(normal_p(r / std::sqrt(n)) > threshold);
  }
}

TEST_CASE("Rejected draws stay independent of their neighbours") {
  // The side streams of neighbouring positions, and the outputs that called for them.
  Rng rng{13};
  const std::uint64_t bound = (std::uint64_t{1} << 63) + 1;
  std::vector<double> pairs(32 * 32);
  std::uint64_t previous = rng.below(bound);
  for (std::size_t i = 0; i < many; ++i) {
    const std::uint64_t x = rng.below(bound);
    ++pairs[static_cast<std::size_t>((previous >> 58) % 32 * 32 + (x >> 58) % 32)];
    previous = x;
  }
  CHECK(chi_square_test(pairs, std::vector<double>(32 * 32, 1.0 / 1'024)) > threshold);
}
