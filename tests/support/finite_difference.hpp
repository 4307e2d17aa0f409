#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <ostream>
#include <span>
#include <string>
#include <vector>

/// The one checker of gradients: every analytic derivative in the repository is compared with differences by what is
/// here.
///
///     auto f = [&](std::span<const double> x) { return loss(x); };
///     CHECK(gradient_matches(f, x, analytic));                   // a scalar function: every coordinate of its
///     gradient CHECK(pullback_matches(h, x, dy, analytic));               // a vector function: J' dy
///     CHECK(pushforward_matches(h, x, v, analytic));             // a vector function: J v
///
/// Derivatives are five-point central differences, (f(x-2h) - 8 f(x-h) + 8 f(x+h) - f(x+2h)) / 12h, whose error is
/// O(h^4): with the default step of 1e-3 times max(|x_i|, `scale`) a smooth function of order one gives about 1e-12, so
/// the default tolerances can be tight enough to see a wrong term. The points must keep 2h away from kinks; where a
/// function changes on a scale much smaller or larger than its argument, set `step`.
namespace valence::test {

struct DifferenceOptions {
  double relative = 1e-8;   ///< of the larger of the two derivatives
  double absolute = 1e-10;  ///< of one derivative; rounding of f is about 1e-16 |f| / h
  double step = 1e-3;       ///< h relative to max(|x_i|, scale)
  double scale = 1;         ///< smallest size that a coordinate is taken to have
};

/// The result of a comparison: true when all coordinates agree; printed, it names the worst one.
struct DerivativeMatch {
  bool good = true;
  std::string complaint = {};                    ///< when sizes differ
  std::size_t worst = 0;                         ///< coordinate with the largest error relative to its tolerance
  double analytic = 0, numeric = 0, excess = 0;  ///< there; `excess` is error / tolerance
  explicit operator bool() const { return good; }
  friend std::ostream& operator<<(std::ostream& out, const DerivativeMatch& m) {
    if (!m.complaint.empty()) return out << m.complaint;
    return out << fmt::format(
               "worst coordinate {}: analytic {:.17g}, numeric {:.17g}, error {:.3g} = {:.3g} x tolerance", m.worst,
               m.analytic, m.numeric, std::abs(m.analytic - m.numeric), m.excess);
  }
};

/// Compares two lists of derivatives coordinate by coordinate. NaN and infinity match nothing, not even themselves.
inline DerivativeMatch compare_derivatives(std::span<const double> analytic, std::span<const double> numeric,
                                           const DifferenceOptions& options = {}) {
  DerivativeMatch m;
  if (analytic.size() != numeric.size() || analytic.empty()) {
    m.good = false;
    m.complaint = fmt::format("{} analytic derivatives, {} numeric ones", analytic.size(), numeric.size());
    return m;
  }
  m.excess = -1;
  for (std::size_t i = 0; i < analytic.size(); ++i) {
    const double a = analytic[i], n = numeric[i];
    const double tolerance = options.absolute + options.relative * std::max(std::abs(a), std::abs(n));
    const double excess =
        std::isfinite(a) && std::isfinite(n) ? std::abs(a - n) / tolerance : std::numeric_limits<double>::infinity();
    if (excess > m.excess) m.worst = i, m.analytic = a, m.numeric = n, m.excess = excess;
  }
  m.good = m.excess <= 1;
  return m;
}

/// Gradient of `f(std::span<const double>) -> double` at x, by differences.
template <class F>
std::vector<double> numeric_gradient(F&& f, std::span<const double> at, const DifferenceOptions& options = {}) {
  std::vector<double> x(at.begin(), at.end()), gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double center = x[i], h = options.step * std::max(std::abs(center), options.scale);
    const auto value = [&](double steps) {
      x[i] = center + steps * h;
      return static_cast<double>(f(std::span<const double>(x)));
    };
    // The steps really taken: center + h is rounded.
    const double outer = (center + 2 * h) - (center - 2 * h), inner = (center + h) - (center - h);
    gradient[i] = 4.0 / 3 * (value(1) - value(-1)) / inner - 1.0 / 3 * (value(2) - value(-2)) / outer;
    x[i] = center;
  }
  return gradient;
}

/// J v of `f(std::span<const double>) -> std::vector<double>` at x, by differences along v.
template <class F>
std::vector<double> numeric_pushforward(F&& f, std::span<const double> at, std::span<const double> v,
                                        const DifferenceOptions& options = {}) {
  std::vector<double> x(at.size());
  double size = options.scale, length = 0;
  for (const double xi : at) size = std::max(size, std::abs(xi));
  for (const double vi : v) length = std::max(length, std::abs(vi));
  const double h = options.step * size / (length > 0 ? length : 1);
  const auto value = [&](double steps) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = at[i] + steps * h * v[i];
    return std::vector<double>(f(std::span<const double>(x)));
  };
  const auto a = value(-2), b = value(-1), c = value(1), d = value(2);
  std::vector<double> result(a.size());
  for (std::size_t j = 0; j < a.size(); ++j) result[j] = (8 * (c[j] - b[j]) - (d[j] - a[j])) / (12 * h);
  return result;
}

/// Is `analytic` the gradient of the scalar function `f` at `x`?
template <class F>
DerivativeMatch gradient_matches(F&& f, std::span<const double> x, std::span<const double> analytic,
                                 const DifferenceOptions& options = {}) {
  return compare_derivatives(analytic, numeric_gradient(f, x, options), options);
}

/// Is `analytic` the directional derivative J v of `f(std::span<const double>) -> std::vector<double>`?
template <class F>
DerivativeMatch pushforward_matches(F&& f, std::span<const double> x, std::span<const double> v,
                                    std::span<const double> analytic, const DifferenceOptions& options = {}) {
  return compare_derivatives(analytic, numeric_pushforward(f, x, v, options), options);
}

/// Is `analytic` the vector-Jacobian product J' dy of `f(std::span<const double>) -> std::vector<double>`?
template <class F>
DerivativeMatch pullback_matches(F&& f, std::span<const double> x, std::span<const double> dy,
                                 std::span<const double> analytic, const DifferenceOptions& options = {}) {
  const auto scalar = [&](std::span<const double> at) {
    const std::vector<double> y = f(at);
    double sum = 0;
    for (std::size_t j = 0; j < dy.size(); ++j) sum += dy[j] * y[j];
    return sum;
  };
  return gradient_matches(scalar, x, analytic, options);
}

}  // namespace valence::test
