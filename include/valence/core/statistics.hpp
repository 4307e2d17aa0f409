#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"

/// Statistics of samples: moments, quantiles, ranks, and intervals for what was measured. All take `double` values in a
/// span (of any contiguous container) and throw `Error` on an empty sample, on NaN or infinite values and on levels
/// outside of their range.
namespace valence {

/// A closed interval.
struct Interval {
  double low = 0, high = 0;
};

namespace detail {

inline void check_sample(std::string_view where, std::span<const double> values, std::size_t at_least = 1) {
  if (values.size() < at_least) fail(where, "values has {} entries; expected at least {}", values.size(), at_least);
  check_finite(where, "values", values);
}

inline void check_level(std::string_view where, double level) {
  if (!(level > 0 && level < 1)) fail(where, "level is {}; expected a number between 0 and 1, like 0.95", level);
}

}  // namespace detail

/// Mean and variance of a stream in one pass and O(1) memory, without cancellation (Welford 1962), and of two streams
/// from their parts (Chan, Golub and LeVeque 1979), so shares of a sample may be unequal.
class RunningMoments {
 public:
  /// Takes in one value, which must be finite.
  void add(double x) {
    check_finite("RunningMoments::add", "x", x);
    ++count_;
    const double delta = x - mean_;
    mean_ += delta / static_cast<double>(count_);
    squares_ += delta * (x - mean_);
  }

  void add(std::span<const double> values) {
    check_finite("RunningMoments::add", "values", values);
    for (const double x : values) add(x);
  }

  /// As if all that `other` has seen had been added.
  void merge(const RunningMoments& other) {
    if (other.count_ == 0) return;
    const auto n = static_cast<double>(count_), m = static_cast<double>(other.count_);
    const double delta = other.mean_ - mean_;
    squares_ += other.squares_ + delta * delta * (n * m / (n + m));
    mean_ += delta * (m / (n + m));
    count_ += other.count_;
  }

  std::uint64_t count() const { return count_; }

  /// Throws before the first value.
  double mean() const {
    need("mean", 1);
    return mean_;
  }

  /// Divided by count - 1: unbiased. Throws before the second value.
  double variance() const {
    need("variance", 2);
    return squares_ / static_cast<double>(count_ - 1);
  }

  /// Divided by count. Throws before the first value.
  double population_variance() const {
    need("population_variance", 1);
    return squares_ / static_cast<double>(count_);
  }

  double standard_deviation() const { return std::sqrt(variance()); }

  /// Of the mean: standard_deviation / sqrt(count).
  double standard_error() const { return std::sqrt(variance() / static_cast<double>(count_)); }

  template <class A>
  void archive(A& ar) {
    ar(count_, mean_, squares_);
  }

 private:
  void need(std::string_view what, std::uint64_t least) const {
    if (count_ < least) fail("RunningMoments", "{} after {} values; expected at least {}", what, count_, least);
  }

  std::uint64_t count_ = 0;
  double mean_ = 0, squares_ = 0;  // sum of squared deviations from the mean
};

/// The arithmetic mean.
inline double mean(std::span<const double> values) {
  detail::check_sample("mean", values);
  const auto n = static_cast<double>(values.size());
  double center = 0;
  for (const double x : values) center += x;
  center /= n;
  if (!std::isfinite(center)) {  // the sum overflows, the mean does not
    center = 0;
    for (const double x : values) center += x / n;
    return center;
  }
  double rest = 0;  // a second pass takes back what rounding lost
  for (const double x : values) rest += x - center;
  return std::isfinite(rest) ? center + rest / n : center;
}

/// The unbiased variance, divided by n - 1; at least two values.
inline double variance(std::span<const double> values) {
  detail::check_sample("variance", values, 2);
  RunningMoments moments;
  moments.add(values);
  return moments.variance();
}

/// The variance of the values as a whole population, divided by n.
inline double population_variance(std::span<const double> values) {
  detail::check_sample("population_variance", values);
  RunningMoments moments;
  moments.add(values);
  return moments.population_variance();
}

/// The square root of `variance`.
inline double standard_deviation(std::span<const double> values) { return std::sqrt(variance(values)); }

namespace detail {

/// log(Gamma(a + 1/2) / Gamma(a)), a > 0. The difference of two log-gammas cancels, and `lgamma` writes a global; the
/// series of the ratio in 1 / a (from DLMF 5.11.8), after a shift to a >= 16, does neither.
inline double log_gamma_half_ratio(double a) {
  double product = 1;
  for (; a < 16; a += 1) product *= a / (a + 0.5);
  const double r = 1 / (a * a);
  const double series = (-1.0 / 8 + r * (1.0 / 192 + r * (-1.0 / 640 + r * (17.0 / 14336 + r * (-31.0 / 18432))))) / a;
  return 0.5 * std::log(a) + series + std::log(product);
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method; x < (a + 1) / (a + b + 2).
inline double beta_fraction(double x, double a, double b) {
  const double tiny = 1e-300;
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  d = 1 / (std::abs(d) < tiny ? tiny : d);
  double f = d;
  for (int m = 1; m < 100000; ++m) {
    const double k = m;
    const double even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k));
    d = 1 + even * d;
    c = 1 + even / c;
    d = 1 / (std::abs(d) < tiny ? tiny : d);
    if (std::abs(c) < tiny) c = tiny;
    f *= d * c;
    const double odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1));
    d = 1 + odd * d;
    c = 1 + odd / c;
    d = 1 / (std::abs(d) < tiny ? tiny : d);
    if (std::abs(c) < tiny) c = tiny;
    const double factor = d * c;
    f *= factor;
    if (std::abs(factor - 1) < 1e-16) break;
  }
  return f;
}

/// log of Student's density at t.
inline double student_log_pdf(double t, double degrees) {
  return log_gamma_half_ratio(degrees / 2) - 0.5 * std::log(degrees * 3.14159265358979323846) -
         (degrees + 1) / 2 * std::log1p(t * t / degrees);
}

/// Student's probability of (t, inf) and of (0, t), t > 0, each with its own relative accuracy.
struct StudentParts {
  double tail, center;
};
inline StudentParts student_parts(double t, double degrees) {
  const double a = degrees / 2, b = 0.5;
  const double x = degrees / (degrees + t * t), y = t * t / (degrees + t * t);
  // x^a y^b / B(a, b), with B(a, 1/2) = sqrt(pi) Gamma(a) / Gamma(a + 1/2).
  const double front =
      std::exp(-a * std::log1p(t * t / degrees) + log_gamma_half_ratio(a)) * std::sqrt(y / 3.14159265358979323846);
  if (x < (a + 1) / (a + b + 2)) {
    const double tail = 0.5 * front * beta_fraction(x, a, b) / a;
    return {tail, 0.5 - tail};
  }
  const double center = 0.5 * front * beta_fraction(y, b, a) / b;
  return {0.5 - center, center};
}

}  // namespace detail

/// P(T <= t) of Student's t distribution with `degrees` > 0 degrees of freedom (any real number), by the incomplete
/// beta function: relative error about 1e-13 in the lower tail.
inline double student_t_cdf(double t, double degrees) {
  check_positive("student_t_cdf", "degrees", degrees);
  if (std::isnan(t)) fail("student_t_cdf", "t is nan; expected a number");
  if (t == 0) return 0.5;
  if (std::isinf(t * t / degrees)) return t < 0 ? 0 : 1;
  const detail::StudentParts parts = detail::student_parts(std::abs(t), degrees);
  return t < 0 ? parts.tail : 0.5 + parts.center;
}

/// The t with student_t_cdf(t) = p, for p strictly between 0 and 1 and degrees >= 1: relative error below 1e-11.
/// Newton's method on the logarithm of the tail (or of the central) probability in log t, where that is concave and
/// nearly straight, inside a bracket. Above 10^6 degrees of freedom the expansion in 1 / degrees around the normal
/// quantile (Abramowitz and Stegun 26.7.5) is exact to the last digits.
inline double student_t_quantile(double p, double degrees) {
  if (!(p > 0 && p < 1)) fail("student_t_quantile", "p is {}; expected a number between 0 and 1", p);
  if (!(degrees >= 1)) fail("student_t_quantile", "degrees is {}; expected at least 1", degrees);
  if (p == 0.5) return 0;
  const double tail = p < 0.5 ? p : 1 - p, center = std::abs(0.5 - p);
  const double z = -normal_quantile(tail);
  double t = 0;
  if (degrees > 1e6) {
    const double z2 = z * z;
    const double g1 = (z2 + 1) * z / 4, g2 = ((5 * z2 + 16) * z2 + 3) * z / 96;
    const double g3 = (((3 * z2 + 19) * z2 + 17) * z2 - 15) * z / 384;
    t = std::isinf(degrees) ? z : z + (g1 + (g2 + g3 / degrees) / degrees) / degrees;
  } else {
    const bool in_tail = tail < 0.25;
    const double target = std::log(in_tail ? tail : center);
    double low = -745, high = 708.0 / 2;  // of log t; the square of t must not overflow
    double u = std::clamp(std::log(z), low, high);
    for (int i = 0; i < 200; ++i) {
      const double at = std::exp(u);
      const detail::StudentParts parts = detail::student_parts(at, degrees);
      const double probability = in_tail ? parts.tail : parts.center;
      const double excess = std::log(probability) - target;
      const bool too_low = in_tail ? excess > 0 : excess < 0;
      (too_low ? low : high) = u;
      const double slope = (in_tail ? -1 : 1) * std::exp(detail::student_log_pdf(at, degrees) + u) / probability;
      double next = u - excess / slope;
      if (!(next >= low && next <= high)) next = low + (high - low) / 2;
      const double step = std::abs(next - u);
      u = next;
      if (step < 1e-14 * (std::max)(1.0, std::abs(u)) || !(low < high)) break;
    }
    t = std::exp(u);
  }
  return p < 0.5 ? -t : t;
}

/// The interval that covers the mean of a normal distribution with probability `level` (Student 1908):
/// mean +- t sd / sqrt(n) with n - 1 degrees of freedom. At least two values.
inline Interval mean_interval(const RunningMoments& moments, double level = 0.95) {
  detail::check_level("mean_interval", level);
  if (moments.count() < 2) fail("mean_interval", "moments has seen {} values; expected at least 2", moments.count());
  const double half =
      moments.standard_error() * -student_t_quantile((1 - level) / 2, static_cast<double>(moments.count() - 1));
  return {moments.mean() - half, moments.mean() + half};
}
inline Interval mean_interval(std::span<const double> values, double level = 0.95) {
  detail::check_sample("mean_interval", values, 2);
  RunningMoments moments;
  moments.add(values);
  return mean_interval(moments, level);
}

namespace detail {

inline double sorted_quantile(std::span<const double> sorted, double q) {
  const double h = static_cast<double>(sorted.size() - 1) * q;
  const auto below = (std::min)(static_cast<std::size_t>(h), sorted.size() - 1);
  const std::size_t above = (std::min)(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], h - static_cast<double>(below));
}

}  // namespace detail

/// The quantiles of a sample at each of `levels` in [0, 1]: type 7 of Hyndman and Fan (1996), linear between order
/// statistics at (n - 1) q, the default of R and NumPy. Sorts a copy.
inline std::vector<double> quantiles(std::span<const double> values, std::span<const double> levels) {
  detail::check_sample("quantiles", values);
  check_range("quantiles", "levels", levels, 0, 1);
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> result;
  result.reserve(levels.size());
  for (const double q : levels) result.push_back(detail::sorted_quantile(sorted, q));
  return result;
}

/// One quantile, type 7.
inline double quantile(std::span<const double> values, double level) {
  detail::check_sample("quantile", values);
  check_range("quantile", "level", level, 0, 1);
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  return detail::sorted_quantile(sorted, level);
}

inline double median(std::span<const double> values) { return quantile(values, 0.5); }

/// The mean of the middle half: a quarter of the values (rounded down) is left out at each end. Aggregates scores over
/// runs and tasks (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice").
inline double interquartile_mean(std::span<const double> values) {
  detail::check_sample("interquartile_mean", values);
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const std::size_t cut = sorted.size() / 4;
  return mean(std::span<const double>(sorted).subspan(cut, sorted.size() - 2 * cut));
}

/// The rank of each value, from 1; equal values share the average of their ranks.
inline std::vector<double> ranks(std::span<const double> values) {
  detail::check_sample("ranks", values);
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> result(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last + 1 < order.size() && values[order[last + 1]] == values[order[first]]) ++last;
    const double shared = 0.5 * static_cast<double>(first + last) + 1;
    for (; first <= last; ++first) result[order[first]] = shared;
  }
  return result;
}

/// Pearson's correlation, in [-1, 1]. At least two pairs; throws if either sample is constant.
inline double pearson(std::span<const double> x, std::span<const double> y) {
  check_size("pearson", "y", y.size(), x.size());
  detail::check_sample("pearson", x, 2);
  detail::check_sample("pearson", y, 2);
  const double mean_x = mean(x), mean_y = mean(y);
  double xx = 0, yy = 0, xy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double a = x[i] - mean_x, b = y[i] - mean_y;
    xx += a * a;
    yy += b * b;
    xy += a * b;
  }
  if (!(xx > 0 && yy > 0)) fail("pearson", "{} is constant; its correlation is not defined", xx > 0 ? "y" : "x");
  return std::clamp(xy / (std::sqrt(xx) * std::sqrt(yy)), -1.0, 1.0);
}

/// Spearman's rank correlation: Pearson's of the ranks, ties sharing average ranks.
inline double spearman(std::span<const double> x, std::span<const double> y) {
  check_size("spearman", "y", y.size(), x.size());
  detail::check_sample("spearman", x, 2);
  detail::check_sample("spearman", y, 2);
  return pearson(ranks(x), ranks(y));
}

struct BootstrapOptions {
  double level = 0.95;           ///< coverage of the interval, in (0, 1)
  std::size_t resamples = 2000;  ///< at least 1
};

/// `statistic` of each of `resamples` samples of n indices drawn with replacement from 0..n-1. For statistics of
/// several columns at once, or of groups: `statistic(std::span<const std::size_t>) -> double`. `rng.below(n)` draws the
/// indices. Throws if n is 0 or the statistic gives a NaN or an infinity.
template <class Generator, class Statistic>
std::vector<double> bootstrap(std::size_t n, Statistic&& statistic, Generator& rng, std::size_t resamples = 2000) {
  if (n == 0) fail("bootstrap", "n is 0; expected at least one value");
  if (resamples == 0) fail("bootstrap", "resamples is 0; expected at least 1");
  std::vector<std::size_t> index(n);
  std::vector<double> result;
  result.reserve(resamples);
  for (std::size_t b = 0; b < resamples; ++b) {
    for (std::size_t& i : index) i = static_cast<std::size_t>(rng.below(static_cast<std::uint64_t>(n)));
    const double value = static_cast<double>(statistic(std::span<const std::size_t>(index)));
    if (!std::isfinite(value))
      fail("bootstrap", "the statistic of resample {} is {}; expected a finite number", b, value);
    result.push_back(value);
  }
  return result;
}

/// The percentile interval (Efron 1979) of `statistic(std::span<const double>) -> double`: the quantiles at (1 - level)
/// / 2 and (1 + level) / 2 of the statistic over resamples of `values`.
///
///     Interval i = bootstrap_interval(scores, interquartile_mean, rng, {.level = 0.9});
template <class Generator, class Statistic>
Interval bootstrap_interval(std::span<const double> values, Statistic&& statistic, Generator& rng,
                            const BootstrapOptions& options = {}) {
  detail::check_sample("bootstrap_interval", values);
  detail::check_level("bootstrap_interval", options.level);
  std::vector<double> resample(values.size());
  const auto replicates = bootstrap(
      values.size(),
      [&](std::span<const std::size_t> index) {
        for (std::size_t i = 0; i < index.size(); ++i) resample[i] = values[index[i]];
        return statistic(std::span<const double>(resample));
      },
      rng, options.resamples);
  const double levels[] = {(1 - options.level) / 2, (1 + options.level) / 2};
  const auto q = quantiles(replicates, levels);
  return {q[0], q[1]};
}

}  // namespace valence
