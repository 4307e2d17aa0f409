#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

/// Goodness-of-fit tests with p-values, for the tests of random numbers: exact enough at 1e-6, where they decide.
namespace valence::test {

/// P(Gamma(a) > x), the upper regularised incomplete gamma function: series below the mean, continued fraction above
/// it.
inline double gamma_upper(double a, double x) {
  if (x <= 0) return 1;
  const double front = std::exp(-x + a * std::log(x) - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (double n = a + 1; term > sum * 1e-16; ++n) {
      term *= x / n;
      sum += term;
    }
    return 1 - front * sum;
  }
  double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;  // modified Lentz
  for (int i = 1; i < 10'000; ++i) {
    const double an = -i * (i - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return front * h;
}

/// P(Beta(a, b) <= x), by its continued fraction.
inline double beta_lower(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - beta_lower(b, a, 1 - x);
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x)) / a;
  double c = 1, d = 1 / (1 - (a + b) * x / (a + 1)), h = d;
  for (int i = 1; i < 10'000; ++i) {
    const double m = i;
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / (1 + even * d);
    c = 1 + even / c;
    h *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + odd * d);
    c = 1 + odd / c;
    h *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return front * h;
}

/// P(a chi-square with `degrees` degrees of freedom > statistic).
inline double chi_square_p(double statistic, double degrees) { return gamma_upper(degrees / 2, statistic / 2); }

/// P-value of counts against expected probabilities (which sum to 1). Cells that expect fewer than 10 are pooled in
/// order.
inline double chi_square_test(std::span<const double> counts, std::span<const double> probabilities) {
  double total = 0;
  for (const double c : counts) total += c;
  double statistic = 0, cells = 0, seen = 0, expected = 0, left = 1;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    seen += counts[i];
    expected += probabilities[i] * total;
    left -= probabilities[i];
    if ((expected >= 10 && left * total >= 10) || i + 1 == counts.size()) {
      if (expected > 0) {
        statistic += (seen - expected) * (seen - expected) / expected;
        ++cells;
      } else if (seen > 0) {
        return 0;  // the impossible happened
      }
      seen = expected = 0;
    }
  }
  return cells > 1 ? chi_square_p(statistic, cells - 1) : 1;
}

/// P(D_n > d) for the Kolmogorov-Smirnov distance of n samples: the limit law with Stephens' correction (1970).
inline double kolmogorov_p(double d, double n) {
  const double root = std::sqrt(n), t = (root + 0.12 + 0.11 / root) * d;
  if (t < 0.2) return 1;
  double p = 0;
  for (int k = 1; k <= 100; ++k) p += (k % 2 == 1 ? 2 : -2) * std::exp(-2 * t * t * k * k);
  return std::clamp(p, 0.0, 1.0);
}

/// P-value of samples against a continuous distribution function.
template <class Cdf>
double kolmogorov_smirnov_test(std::vector<double> samples, Cdf cdf) {
  std::sort(samples.begin(), samples.end());
  const auto n = static_cast<double>(samples.size());
  double distance = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double f = cdf(samples[i]), below = static_cast<double>(i) / n, above = static_cast<double>(i + 1) / n;
    if (!(f >= 0 && f <= 1)) return 0;
    distance = (std::max)({distance, above - f, f - below});
  }
  return kolmogorov_p(distance, n);
}

/// Two-sided p-value of a standard normal.
inline double normal_p(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }

}  // namespace valence::test
