#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

/// Fixed features phi(x) of an input, for `Linear` (and for whoever wants them alone). Each is a value with
/// `input_size()`, `size()` and `map(x, features)`; those that can be differentiated have `pullback(x, dphi, dx)`, dx =
/// (d phi / d x)' dphi; sparse binary ones (`OneHot`, `TileCoding`) have `active(x, indices)`. Constructors check their
/// arguments; a call checks sizes. Inputs outside of a map's box are not clipped, except by tile coding, which must:
/// see there.
namespace valence {

namespace detail {

/// A box: lower and upper bounds of each input; every interval finite and not empty.
struct FeatureBox {
  std::vector<double> low, high;
  FeatureBox(std::string_view where, std::vector<double> lower, std::vector<double> upper)
      : low(std::move(lower)), high(std::move(upper)) {
    if (low.empty()) fail(where, "low is empty; expected a bound for each input");
    check_size(where, "high", high.size(), low.size());
    for (std::size_t i = 0; i < low.size(); ++i)
      if (!std::isfinite(low[i]) || !std::isfinite(high[i]) || !(low[i] < high[i]) || !std::isfinite(high[i] - low[i]))
        fail(where, "low[{}] is {} and high[{}] is {}; expected finite numbers, low < high", i, low[i], i, high[i]);
  }
  int size() const { return static_cast<int>(low.size()); }
  /// Where x_i lies in its interval: 0 at low, 1 at high.
  template <class S>
  double unit(std::span<const S> x, std::size_t i) const {
    return (static_cast<double>(x[i]) - low[i]) / (high[i] - low[i]);
  }
};

/// All exponent or frequency vectors of `inputs` entries in 0..order with sum at most `total`, last input fastest; the
/// constant first.
inline std::vector<int> lattice(std::string_view where, int inputs, int order, int total) {
  if (inputs <= 0) fail(where, "inputs is {}; expected a number greater than 0", inputs);
  if (order < 0) fail(where, "order is {}; expected 0 or more", order);
  // How many there are, before any memory is asked for: vectors of so many entries by their sum.
  const int most = (std::min)(static_cast<double>(total), static_cast<double>(inputs) * order) < 1e6
                       ? (std::min)(total, inputs * order)
                       : 1'000'000;
  std::vector<double> by_sum(static_cast<std::size_t>(most) + 1, 0.0), next(by_sum.size());
  by_sum[0] = 1;
  double count = 1;
  for (int j = 0; j < inputs; ++j) {
    double window = 0;
    count = 0;
    for (std::size_t k = 0; k < by_sum.size(); ++k) {
      window += by_sum[k] - (k > static_cast<std::size_t>(order) ? by_sum[k - static_cast<std::size_t>(order) - 1] : 0);
      next[k] = window;
      count += window;
    }
    by_sum.swap(next);
    if (count > 1e7) fail(where, "order {} in {} inputs gives more than 1e7 features", order, inputs);
  }
  const auto d = static_cast<std::size_t>(inputs);
  std::vector<int> all, c(d, 0);
  all.reserve(static_cast<std::size_t>(count) * d);
  int sum = 0;
  for (;;) {
    all.insert(all.end(), c.begin(), c.end());
    std::size_t i = d;
    while (i > 0) {
      --i;
      if (c[i] < order && sum < total) {
        ++c[i], ++sum;
        break;
      }
      sum -= c[i];
      c[i] = 0;
      if (i == 0) return all;
    }
  }
}

}  // namespace detail

/// phi(x) = x. With `bias` a last feature that is 1.
struct Identity {
  int inputs;
  bool bias = false;

  int input_size() const { return inputs; }
  int size() const { return inputs + (bias ? 1 : 0); }
  template <std::floating_point S>
  void operator()(std::span<const S> x, std::span<S> features) const {
    check(x.size(), features.size());
    for (std::size_t i = 0; i < x.size(); ++i) features[i] = x[i];
    if (bias) features[x.size()] = S(1);
  }
  template <std::floating_point S>
  void pullback(std::span<const S> x, std::span<const S> dphi, std::span<S> dx) const {
    check(x.size(), dphi.size());
    for (std::size_t i = 0; i < x.size(); ++i) dx[i] = dphi[i];
  }

 private:
  void check(std::size_t inputs_seen, std::size_t features_seen) const {
    if (inputs <= 0) fail("Identity", "inputs is {}; expected a number greater than 0", inputs);
    check_size("Identity", "x", inputs_seen, static_cast<std::size_t>(inputs));
    check_size("Identity", "features", features_seen, static_cast<std::size_t>(size()));
  }
};

/// phi(i) = e_i: the input is one number, a whole index in 0..states-1 (else Error). Sparse, so `Linear{OneHot{n}, k}`
/// is a table.
struct OneHot {
  int states;

  int input_size() const { return 1; }
  int size() const { return states; }
  int active_count() const { return 1; }
  template <std::floating_point S>
  void active(std::span<const S> x, std::span<int> indices) const {
    check_size("OneHot", "x", x.size(), 1);
    check_size("OneHot", "indices", indices.size(), 1);
    const double i = static_cast<double>(x[0]);
    if (!(i >= 0 && i < states) || i != std::floor(i))
      fail("OneHot", "x[0] is {}; expected a whole number in [0, {}]", i, states - 1);
    indices[0] = static_cast<int>(i);
  }
  template <std::floating_point S>
  void operator()(std::span<const S> x, std::span<S> features) const {
    check_size("OneHot", "features", features.size(), static_cast<std::size_t>(states));
    int index = 0;
    active(x, std::span(&index, 1));
    for (S& f : features) f = S(0);
    features[static_cast<std::size_t>(index)] = S(1);
  }
};

/// phi_c(x) = prod_j x_j^c_j for every vector c of exponents in 0..order (Sutton and Barto 2018, equation 9.17): (order
/// + 1)^inputs features, the constant first, the last input's exponent fastest. With `total` >= 0 only those whose
/// exponents sum to at most `total`. Scale the inputs to about [-1, 1] first: high powers explode.
class Polynomial {
 public:
  Polynomial(int inputs, int order, int total = -1)
      : inputs_(inputs),
        exponents_(
            detail::lattice("Polynomial", inputs, order, total < 0 ? (std::numeric_limits<int>::max)() : total)) {}

  int input_size() const { return inputs_; }
  int size() const { return static_cast<int>(exponents_.size()) / inputs_; }
  /// The exponents of feature i.
  std::span<const int> exponents(int i) const {
    return std::span(exponents_)
        .subspan(static_cast<std::size_t>(i) * static_cast<std::size_t>(inputs_), static_cast<std::size_t>(inputs_));
  }
  template <std::floating_point S>
  void operator()(std::span<const S> x, std::span<S> features) const {
    check(x.size(), features.size());
    for (int i = 0; i < size(); ++i) features[static_cast<std::size_t>(i)] = monomial(x, exponents(i), -1);
  }
  template <std::floating_point S>
  void pullback(std::span<const S> x, std::span<const S> dphi, std::span<S> dx) const {
    check(x.size(), dphi.size());
    for (S& d : dx) d = S(0);
    for (int i = 0; i < size(); ++i)
      for (int j = 0; j < inputs_; ++j)
        if (const int c = exponents(i)[static_cast<std::size_t>(j)]; c > 0)
          dx[static_cast<std::size_t>(j)] += dphi[static_cast<std::size_t>(i)] * S(c) * monomial(x, exponents(i), j);
  }

 private:
  int inputs_;
  std::vector<int> exponents_;

  void check(std::size_t inputs, std::size_t features) const {
    check_size("Polynomial", "x", inputs, static_cast<std::size_t>(inputs_));
    check_size("Polynomial", "features", features, static_cast<std::size_t>(size()));
  }
  // The product of powers; the exponent of input `lowered` is one less.
  template <std::floating_point S>
  static S monomial(std::span<const S> x, std::span<const int> exponents, int lowered) {
    S product = S(1);
    for (std::size_t j = 0; j < x.size(); ++j)
      for (int e = exponents[j] - (static_cast<int>(j) == lowered ? 1 : 0); e > 0; --e) product *= x[j];
    return product;
  }
};

/// phi_c(x) = cos(pi c . u), u = (x - low) / (high - low), for every vector c of frequencies in 0..order: (order +
/// 1)^inputs features, the constant first (Konidaris, Osentoski and Thomas 2011, equation 5). `step_scale(i)` = 1 /
/// |c_i| (1 for the constant) is the factor of the step size that the paper gives feature i (section 4.2):
/// `Linear::precondition` applies it.
class Fourier {
 public:
  Fourier(std::vector<double> low, std::vector<double> high, int order)
      : box_("Fourier", std::move(low), std::move(high)),
        frequencies_(detail::lattice("Fourier", box_.size(), order, (std::numeric_limits<int>::max)())) {}

  int input_size() const { return box_.size(); }
  int size() const { return static_cast<int>(frequencies_.size()) / box_.size(); }
  std::span<const int> frequencies(int i) const {
    return std::span(frequencies_).subspan(static_cast<std::size_t>(i) * box_.low.size(), box_.low.size());
  }
  double step_scale(int i) const {
    double square = 0;
    for (const int c : frequencies(i)) square += static_cast<double>(c) * c;
    return square > 0 ? 1 / std::sqrt(square) : 1;
  }
  template <std::floating_point S>
  void operator()(std::span<const S> x, std::span<S> features) const {
    check(x.size(), features.size());
    for (int i = 0; i < size(); ++i)
      features[static_cast<std::size_t>(i)] = static_cast<S>(std::cos(angle(x, frequencies(i))));
  }
  template <std::floating_point S>
  void pullback(std::span<const S> x, std::span<const S> dphi, std::span<S> dx) const {
    check(x.size(), dphi.size());
    for (S& d : dx) d = S(0);
    for (int i = 0; i < size(); ++i) {
      const auto c = frequencies(i);
      const double slope =
          -std::sin(angle(x, c)) * std::numbers::pi * static_cast<double>(dphi[static_cast<std::size_t>(i)]);
      for (std::size_t j = 0; j < x.size(); ++j) dx[j] += static_cast<S>(slope * c[j] / (box_.high[j] - box_.low[j]));
    }
  }

 private:
  detail::FeatureBox box_;
  std::vector<int> frequencies_;

  void check(std::size_t inputs, std::size_t features) const {
    check_size("Fourier", "x", inputs, box_.low.size());
    check_size("Fourier", "features", features, static_cast<std::size_t>(size()));
  }
  template <std::floating_point S>
  double angle(std::span<const S> x, std::span<const int> c) const {
    double dot = 0;
    for (std::size_t j = 0; j < x.size(); ++j) dot += c[j] * box_.unit(x, j);
    return std::numbers::pi * dot;
  }
};

/// Radial basis functions: phi_i(x) = exp(-1/2 sum_j ((x_j - c_ij) / width_j)^2), and if `normalised` divided by their
/// sum, also where all of them underflow (the nearest center wins there). Sutton and Barto 2018, section 9.5.5.
class Rbf {
 public:
  /// `centers`: inputs x features, one center a column; `widths`: one for each input, positive.
  Rbf(Matrix<double> centers, std::vector<double> widths, bool normalised = false)
      : centers_(std::move(centers)), widths_(std::move(widths)), normalised_(normalised) {
    if (centers_.size() == 0)
      fail("Rbf", "centers is {} x {}; expected inputs x features", centers_.rows(), centers_.cols());
    check_size("Rbf", "widths", widths_.size(), static_cast<std::size_t>(centers_.rows()));
    check_finite("Rbf", "centers", view(std::as_const(centers_)));
    for (std::size_t j = 0; j < widths_.size(); ++j)
      if (!(widths_[j] > 0) || !std::isfinite(widths_[j]))
        fail("Rbf", "widths[{}] is {}; expected a number greater than 0", j, widths_[j]);
  }
  /// Centers on a grid of `per_input` points along each input, ends included; widths are the spacing times `overlap`.
  static Rbf grid(std::vector<double> low, std::vector<double> high, int per_input, bool normalised = false,
                  double overlap = 1) {
    const detail::FeatureBox box("Rbf::grid", std::move(low), std::move(high));
    if (per_input < 2) fail("Rbf::grid", "per_input is {}; expected 2 or more", per_input);
    check_positive("Rbf::grid", "overlap", overlap);
    const auto cells = detail::lattice("Rbf::grid", box.size(), per_input - 1, (std::numeric_limits<int>::max)());
    Matrix<double> centers(box.size(), static_cast<Eigen::Index>(cells.size()) / box.size());
    std::vector<double> widths(box.low.size());
    for (std::size_t j = 0; j < box.low.size(); ++j) {
      const double spacing = (box.high[j] - box.low[j]) / (per_input - 1);
      widths[j] = overlap * spacing;
      for (Eigen::Index i = 0; i < centers.cols(); ++i)
        centers(static_cast<Eigen::Index>(j), i) =
            box.low[j] + spacing * cells[static_cast<std::size_t>(i) * box.low.size() + j];
    }
    return Rbf(std::move(centers), std::move(widths), normalised);
  }

  int input_size() const { return static_cast<int>(centers_.rows()); }
  int size() const { return static_cast<int>(centers_.cols()); }
  const Matrix<double>& centers() const { return centers_; }

  template <std::floating_point S>
  void operator()(std::span<const S> x, std::span<S> features) const {
    check(x.size(), features.size());
    const double top = normalised_ ? highest(x) : 0;
    double sum = 0;
    for (std::size_t i = 0; i < features.size(); ++i) {
      const double weight = std::exp(exponent(x, i) - top);
      sum += weight;
      features[i] = static_cast<S>(weight);
    }
    if (normalised_)
      for (S& f : features) f = static_cast<S>(static_cast<double>(f) / sum);
  }
  template <std::floating_point S>
  void pullback(std::span<const S> x, std::span<const S> dphi, std::span<S> dx) const {
    check(x.size(), dphi.size());
    // d phi_i / dx_j = phi_i (a_ij - mean of a_kj under phi), a_ij = -(x_j - c_ij) / width_j^2; without the mean if not
    // normalised.
    const double top = normalised_ ? highest(x) : 0;
    double sum = 0, weighted = 0;
    for (std::size_t i = 0; i < dphi.size(); ++i) {
      const double weight = std::exp(exponent(x, i) - top);
      sum += weight, weighted += weight * static_cast<double>(dphi[i]);
    }
    const double scale = normalised_ ? 1 / sum : 1, mean = normalised_ ? weighted / sum : 0;
    for (std::size_t j = 0; j < x.size(); ++j) {
      double total = 0;
      for (std::size_t i = 0; i < dphi.size(); ++i)
        total -= std::exp(exponent(x, i) - top) * scale * (static_cast<double>(dphi[i]) - mean) * offset(x, i, j) /
                 widths_[j];
      dx[j] = static_cast<S>(total);
    }
  }

 private:
  Matrix<double> centers_;
  std::vector<double> widths_;
  bool normalised_;

  void check(std::size_t inputs, std::size_t features) const {
    check_size("Rbf", "x", inputs, widths_.size());
    check_size("Rbf", "features", features, static_cast<std::size_t>(size()));
  }
  template <std::floating_point S>
  double offset(std::span<const S> x, std::size_t i, std::size_t j) const {
    return (static_cast<double>(x[j]) - centers_(static_cast<Eigen::Index>(j), static_cast<Eigen::Index>(i))) /
           widths_[j];
  }
  template <std::floating_point S>
  double exponent(std::span<const S> x, std::size_t i) const {
    double square = 0;
    for (std::size_t j = 0; j < x.size(); ++j) square += offset(x, i, j) * offset(x, i, j);
    return -square / 2;
  }
  template <std::floating_point S>
  double highest(std::span<const S> x) const {
    double top = exponent(x, 0);
    for (std::size_t i = 1; i < static_cast<std::size_t>(size()); ++i) top = (std::max)(top, exponent(x, i));
    return top;
  }
};

}  // namespace valence
