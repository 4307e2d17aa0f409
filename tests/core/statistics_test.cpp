#include "valence/core/statistics.hpp"

#include <array>
#include <limits>

#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using namespace valence::test;

namespace {

const double nan_value = std::numeric_limits<double>::quiet_NaN();

std::vector<double> normals(std::size_t n, std::uint64_t seed) {
  Rng rng{seed};
  std::vector<double> v(n);
  for (double& x : v) x = 3 + 2 * rng.normal();
  return v;
}

}  // namespace

TEST_CASE("variance does not cancel", "[statistics][N8]") {
  const std::vector<double> v{1e8 + 1, 1e8 + 2, 1e8 + 3};
  CHECK(population_variance(v) == close(2.0 / 3));
  CHECK(variance(v) == close(1.0));
  CHECK(mean(v) == 1e8 + 2);
  RunningMoments moments;
  for (const double x : v) moments.add(x);
  CHECK(moments.population_variance() == close(2.0 / 3));
  CHECK(moments.standard_error() == close(std::sqrt(1.0 / 3)));
}

TEST_CASE("merged moments are those of all values, with unequal shares", "[statistics][T6]") {
  const auto v = normals(1000, 1);
  RunningMoments all;
  all.add(v);
  for (const std::size_t cut : {0u, 1u, 10u, 500u, 999u, 1000u}) {
    RunningMoments a, b;
    a.add(std::span(v).first(cut));
    b.add(std::span(v).subspan(cut));
    a.merge(b);
    CHECK(a.count() == 1000);
    CHECK(a.mean() == close(all.mean(), 1e-14));
    CHECK(a.variance() == close(all.variance(), 1e-13));
  }
  RunningMoments ones, five;
  for (int i = 0; i < 3; ++i) ones.add(1);
  five.add(5);
  ones.merge(five);
  CHECK(ones.mean() == 2);

  RunningMoments loaded;
  from_bytes(to_bytes(all), loaded);
  loaded.add(4.0);
  all.add(4.0);
  CHECK(same_state(all, loaded));
}

TEST_CASE("the mean survives large values and recovers small ones", "[statistics]") {
  CHECK(mean(std::vector<double>{1e308, 1e308, 1e308}) == close(1e308, 1e-15));
  CHECK(mean(std::vector<double>{1e308, -1e308}) == 0);
  // 0.1 added 10^5 times: a plain sum is off by 2e-12 of its value
  CHECK(mean(std::vector<double>(100000, 0.1)) == close(0.1, 2.3e-16));
}

TEST_CASE("Student's t: quantiles to 1e-10", "[statistics]") {
  struct Row {
    double p, degrees, t;
  };
  // mpmath: bisection on betainc with 40 digits
  const Row rows[] = {
      {0.975, 1, 12.706204736174693},       {0.975, 2, 4.3026527297494618},      {0.975, 4, 2.7764451051977935},
      {0.975, 9, 2.262157162798205},        {0.975, 30, 2.0422724563012379},     {0.995, 7, 3.4994832973504933},
      {0.9, 3.5, 1.5765766051364053},       {0.6, 5, 0.26718086570414507},       {0.51, 12, 0.025596390148618858},
      {1e-10, 3, -2225.7692846830932},      {1e-300, 50, -6675289.0629439365},   {0.025, 1000, -1.9623390808264085},
      {0.999, 99999, 3.0903138102422978},   {1e-6, 999999, -4.7534523483077204}, {0.2500001, 10, -0.69981172701376964},
      {0.500001, 8, 2.5859905141312639e-6}, {0.975, 2000000, 1.9599651706763746}};
  for (const Row& row : rows) {
    CAPTURE(row.p, row.degrees);
    CHECK(student_t_quantile(row.p, row.degrees) == close(row.t, 2e-11));
    CHECK(student_t_cdf(row.t, row.degrees) == close(row.p, 1e-10));
  }
  CHECK(student_t_quantile(0.5, 3) == 0);
  CHECK(student_t_quantile(0.975, std::numeric_limits<double>::infinity()) == close(1.959963984540054, 1e-14));
  // one and two degrees of freedom have closed forms
  for (const double p : {1e-12, 0.001, 0.2, 0.249, 0.26, 0.4, 0.7, 0.99}) {
    CAPTURE(p);
    CHECK(student_t_quantile(p, 1) == close(-1 / std::tan(3.14159265358979323846 * p), 2e-11));
    CHECK(student_t_quantile(p, 2) == close((2 * p - 1) / std::sqrt(2 * p * (1 - p)), 2e-11));
  }
  CHECK(student_t_cdf(std::numeric_limits<double>::infinity(), 3) == 1);
  CHECK(student_t_cdf(-1e200, 3) == close(0, 0, 1e-300));
}

TEST_CASE("intervals of the mean", "[statistics]") {
  const std::vector<double> v{4, 5, 6, 7, 8};
  const Interval i = mean_interval(v);
  const double half = 2.7764451051977935 * std::sqrt(2.5 / 5);
  CHECK(i.low == close(6 - half, 1e-11));
  CHECK(i.high == close(6 + half, 1e-11));
  CHECK(mean_interval(v, 0.99).high > i.high);

  // Coverage over 2000 samples of 5: 95%, standard deviation 0.0049; five of those: false alarm 6e-7.
  Rng rng{11};
  int covered = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    std::array<double, 5> x{};
    for (double& e : x) e = rng.normal();
    const Interval c = mean_interval(x);
    covered += c.low <= 0 && 0 <= c.high;
  }
  CHECK(std::abs(covered / 2000.0 - 0.95) < 0.0244);
}

TEST_CASE("quantiles are those of type 7", "[statistics]") {
  const std::vector<double> v{7, 15, 36, 39, 40, 41};
  // numpy.quantile(v, ...)
  CHECK(quantiles(v, std::vector<double>{0, 0.1, 0.25, 0.5, 0.75, 0.9, 1}) ==
        std::vector<double>{7, 11, 20.25, 37.5, 39.75, 40.5, 41});
  CHECK(quantile(std::vector<double>{3, 1, 2}, 0.25) == 1.5);
  CHECK(median(std::vector<double>{3, 1, 2, 10}) == 2.5);
  CHECK(quantile(std::vector<double>{5}, 0.3) == 5);
  CHECK(quantile(std::vector<double>{-1e308, 1e308}, 0.5) == 0);
}

TEST_CASE("ranks share ties; Spearman's correlation uses them", "[statistics]") {
  CHECK(ranks(std::vector<double>{10, 20, 10, 5, 20, 20}) == std::vector<double>{2.5, 5, 2.5, 1, 5, 5});
  const std::vector<double> x{1, 2, 3, 4, 5, 6, 7}, y{2, 1, 4, 3, 7, 5, 6};
  CHECK(spearman(x, y) == close(1 - 6.0 * 10 / (7 * 48), 1e-14));  // sum of d^2 = 10
  std::vector<double> cubed = x;
  for (double& e : cubed) e = e * e * e;
  CHECK(spearman(x, cubed) == close(1, 1e-15));
  // with ties (1, 2.5, 2.5, 4) and (1, 2, 4, 3): 3 / sqrt(4.5 * 5), by hand
  CHECK(spearman(std::vector<double>{1, 2, 2, 3}, std::vector<double>{1, 2, 4, 3}) ==
        close(3 / std::sqrt(4.5 * 5), 1e-14));
  CHECK(says(message_of([&] { spearman(x, std::vector<double>(7, 1.0)); }), "constant"));
  CHECK(says(message_of([&] { spearman(x, std::vector<double>(6, 1.0)); }), "6", "7"));
}

TEST_CASE("the interquartile mean leaves out a quarter at each end", "[statistics]") {
  CHECK(interquartile_mean(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 1000}) == 4.5);
  CHECK(interquartile_mean(std::vector<double>{1, 100, 3}) == close(104.0 / 3));
  CHECK(interquartile_mean(std::vector<double>{0, 2, 4, 6, 100}) == 4);
}

TEST_CASE("bootstrap intervals", "[statistics]") {
  const auto v = normals(400, 5);
  Rng rng{3}, same{3};
  const Interval i = bootstrap_interval(
      v, [](std::span<const double> x) { return mean(x); }, rng);
  const Interval again = bootstrap_interval(v, mean, same);
  CHECK(i.low == again.low);
  CHECK(i.high == again.high);
  // close to Student's: each end is a quantile of 2000 normals with sd 0.1, so within 5 standard errors, 5 * 0.1 * 0.06
  const Interval t = mean_interval(v);
  CHECK(std::abs(i.low - t.low) < 0.03);
  CHECK(std::abs(i.high - t.high) < 0.03);
  const Interval narrow = bootstrap_interval(v, median, rng, {.level = 0.5, .resamples = 500});
  CHECK(narrow.low < narrow.high);
  CHECK(narrow.high - narrow.low < 0.5);

  // two columns at once
  std::vector<double> w = v;
  for (double& x : w) x = 2 * x;
  const auto ratios = bootstrap(
      v.size(),
      [&](std::span<const std::size_t> index) {
        double a = 0, b = 0;
        for (const std::size_t k : index) a += w[k], b += v[k];
        return a / b;
      },
      rng, 50);
  CHECK(ratios.size() == 50);
  for (const double r : ratios) CHECK(r == close(2, 1e-12));
}

TEST_CASE("statistics refuse what they can't measure", "[statistics]") {
  const std::vector<double> none, bad{1, nan_value, 3}, good{1, 2, 3};
  Rng rng{1};
  CHECK_THROWS_AS(mean(none), Error);
  CHECK(says(message_of([&] { mean(bad); }), "mean", "values[1]", "nan"));
  CHECK_THROWS_AS(variance(std::vector<double>{1}), Error);
  CHECK_THROWS_AS(quantile(none, 0.5), Error);
  CHECK_THROWS_AS(quantile(good, 1.5), Error);
  CHECK_THROWS_AS(quantile(good, nan_value), Error);
  CHECK(says(message_of([&] { quantiles(good, std::vector<double>{0.5, -1}); }), "levels[1]", "-1"));
  CHECK_THROWS_AS(ranks(bad), Error);
  CHECK_THROWS_AS(interquartile_mean(none), Error);
  CHECK(says(message_of([&] { mean_interval(good, 95); }), "level", "95", "0.95"));
  CHECK_THROWS_AS(mean_interval(std::vector<double>{1}), Error);
  CHECK_THROWS_AS(student_t_quantile(0, 3), Error);
  CHECK_THROWS_AS(student_t_quantile(0.5, nan_value), Error);
  CHECK_THROWS_AS(student_t_cdf(nan_value, 3), Error);
  CHECK_THROWS_AS(bootstrap_interval(none, mean, rng), Error);
  CHECK_THROWS_AS(bootstrap_interval(good, mean, rng, {.resamples = 0}), Error);
  CHECK(says(message_of([&] {
               bootstrap_interval(
                   good, [](std::span<const double>) { return nan_value; }, rng);
             }),
             "resample 0", "nan"));
  RunningMoments moments;
  CHECK_THROWS_AS(moments.mean(), Error);
  CHECK_THROWS_AS(moments.add(nan_value), Error);
  CHECK(moments.count() == 0);
  const RunningMoments before = moments;
  CHECK_THROWS_AS(moments.add(bad), Error);
  CHECK(same_state(moments, before));
}
