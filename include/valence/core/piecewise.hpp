#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"

/// Functions of one number in pieces: constants or polynomials between breakpoints. They add, scale, and give their
/// largest value exactly, so the mean of many is maximised without a grid.
namespace valence {

/// c_0 + c_1 x + c_2 x^2 + ...; without coefficients it is 0.
struct PolynomialPiece {
  std::vector<double> coefficients = {};

  double operator()(double x) const {
    double sum = 0;
    for (std::size_t k = coefficients.size(); k-- > 0;) sum = sum * x + coefficients[k];
    return sum;
  }
  PolynomialPiece derivative() const {
    PolynomialPiece result;
    for (std::size_t k = 1; k < coefficients.size(); ++k)
      result.coefficients.push_back(static_cast<double>(k) * coefficients[k]);
    return result;
  }
  PolynomialPiece& operator+=(const PolynomialPiece& other) {
    if (coefficients.size() < other.coefficients.size()) coefficients.resize(other.coefficients.size(), 0.0);
    for (std::size_t k = 0; k < other.coefficients.size(); ++k) coefficients[k] += other.coefficients[k];
    return *this;
  }
  PolynomialPiece& operator*=(double factor) {
    for (double& c : coefficients) c *= factor;
    return *this;
  }
};

/// The x in [low, high], in increasing order, where p changes its sign or is 0 at an end or at a stationary point:
/// bisection between the stationary points, which are found in the same way. Empty for the polynomial 0. Throws
/// `Error` for an interval that is reversed or not finite, and for coefficients that aren't finite.
inline std::vector<double> real_roots(const PolynomialPiece& p, double low, double high) {
  check_finite("real_roots", "low", low);
  check_finite("real_roots", "high", high);
  check_finite("real_roots", "the coefficients", std::span<const double>(p.coefficients));
  if (!(low <= high)) fail("real_roots", "low is {} and high is {}; expected low <= high", low, high);
  std::size_t size = p.coefficients.size();
  while (size > 0 && p.coefficients[size - 1] == 0) --size;
  if (size < 2) return {};
  std::vector<double> ends = real_roots(p.derivative(), low, high), roots;
  ends.insert(ends.begin(), low);
  ends.push_back(high);
  const auto add = [&](double x) {
    if (roots.empty() || x > roots.back()) roots.push_back(x);
  };
  for (std::size_t i = 0; i + 1 < ends.size(); ++i) {  // monotone in between
    double a = ends[i], b = ends[i + 1];
    const double left = p(a), right = p(b);
    if (left == 0) add(a);
    if (left * right < 0) {
      for (double middle = a + (b - a) / 2; a < middle && middle < b; middle = a + (b - a) / 2)
        ((p(middle) < 0) == (left < 0) ? a : b) = middle;
      add(std::abs(p(a)) < std::abs(p(b)) ? a : b);
    }
    if (right == 0) add(b);
  }
  return roots;
}

/// Where a function is largest: on all of [low, high] (the ends may be one point), to `value`.
struct PiecewiseMaximum {
  double low = 0, high = 0, value = 0;
};

namespace detail {

// What a piece has to know: its value, its largest value on [low, high], and whether it is finite.
inline double piece_value(double piece, double) { return piece; }
inline double piece_value(const PolynomialPiece& piece, double x) { return piece(x); }
inline PiecewiseMaximum piece_maximum(double piece, double low, double high) { return {low, high, piece}; }
inline PiecewiseMaximum piece_maximum(const PolynomialPiece& piece, double low, double high) {
  const PolynomialPiece slope = piece.derivative();
  if (std::all_of(slope.coefficients.begin(), slope.coefficients.end(), [](double c) { return c == 0; }))
    return {low, high, piece(low)};
  std::vector<double> candidates = real_roots(slope, low, high);
  candidates.push_back(low);
  candidates.push_back(high);
  std::sort(candidates.begin(), candidates.end());
  PiecewiseMaximum best{low, low, piece(low)};
  for (const double x : candidates)
    if (const double value = piece(x); value > best.value) best = {x, x, value};
  return best;
}
inline bool piece_finite(double piece) { return std::isfinite(piece); }
inline bool piece_finite(const PolynomialPiece& piece) {
  return std::all_of(piece.coefficients.begin(), piece.coefficients.end(), [](double c) { return std::isfinite(c); });
}

}  // namespace detail

/// A function on [low, high] in pieces: piece i holds on [starts[i], starts[i + 1]), the last one up to `high` and
/// there too. `P` is `double` (`PiecewiseConstant`) or `PolynomialPiece` in x itself (`PiecewisePolynomial`).
///
///     PiecewiseConstant f{{0, 0.2, 0.6}, {1, 3, 0}, 1.0};      // 1 on [0, 0.2), 3 on [0.2, 0.6), 0 on [0.6, 1]
///     (2 * f + g).argmax()                                     // exact
template <class P>
class Piecewise {
 public:
  /// `starts` in increasing order, the first of them `low`; of equal ones the last counts. A piece for each. Throws
  /// `Error` for sizes that differ or are 0, starts that decrease, and numbers that aren't finite.
  Piecewise(std::vector<double> starts, std::vector<P> pieces, double high) : high_(high) {
    constexpr auto where = "Piecewise";
    if (starts.empty()) fail(where, "starts is empty; expected a start for each piece");
    check_size(where, "pieces", pieces.size(), starts.size());
    check_finite(where, "starts", std::span<const double>(starts));
    check_finite(where, "high", high);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      if (!detail::piece_finite(pieces[i])) fail(where, "pieces[{}] isn't finite; expected finite numbers", i);
      if (i > 0 && starts[i] < starts[i - 1])
        fail(where, "starts[{}] is {}, after {}; expected increasing numbers", i, starts[i], starts[i - 1]);
    }
    if (!(starts.front() < high) || starts.back() > high)
      fail(where, "the pieces begin at {} to {} and end at {}; expected low < high, and no start beyond it",
           starts.front(), starts.back(), high);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      if (i + 1 < starts.size() && starts[i + 1] == starts[i]) continue;
      starts_.push_back(starts[i]);
      pieces_.push_back(std::move(pieces[i]));
    }
  }

  double low() const { return starts_.front(); }
  double high() const { return high_; }
  /// How many pieces.
  std::size_t size() const { return pieces_.size(); }
  std::span<const double> starts() const { return starts_; }
  std::span<const P> pieces() const { return pieces_; }
  /// Where piece i ends.
  double end(std::size_t i) const { return i + 1 < starts_.size() ? starts_[i + 1] : high_; }

  /// The value at x. Throws `Error` outside of [low, high].
  double operator()(double x) const {
    check_range("Piecewise", "x", x, low(), high_);
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), x);
    return detail::piece_value(pieces_[static_cast<std::size_t>(after - starts_.begin()) - 1], x);
  }

  /// The largest value, and where it is: a piece, or a point of one, the first of equals. Where a piece rises towards a
  /// jump that is the limit there, which the next piece need not attain.
  PiecewiseMaximum argmax() const {
    PiecewiseMaximum best{low(), low(), -std::numeric_limits<double>::infinity()};
    for (std::size_t i = 0; i < size(); ++i)
      if (const auto found = detail::piece_maximum(pieces_[i], starts_[i], end(i)); found.value > best.value)
        best = found;
    return best;
  }

  Piecewise& operator*=(double factor) {
    check_finite("Piecewise", "factor", factor);
    for (P& piece : pieces_) piece *= factor;
    return *this;
  }
  friend Piecewise operator*(double factor, Piecewise f) { return f *= factor; }

 private:
  std::vector<double> starts_;
  std::vector<P> pieces_;
  double high_;
};

using PiecewiseConstant = Piecewise<double>;
using PiecewisePolynomial = Piecewise<PolynomialPiece>;

/// The sum of functions on the same interval, with a piece wherever one of them begins one. B pieces of N functions
/// cost O(B log B) sums of two: the functions' present pieces are leaves of a tree of sums, so nothing is ever
/// subtracted and no rounding builds up. Throws `Error` for no function and for intervals that differ.
template <class P>
Piecewise<P> sum(std::span<const Piecewise<P>> functions) {
  constexpr auto where = "sum of piecewise functions";
  if (functions.empty()) fail(where, "there is no function; expected at least one");
  struct Begin {
    double at;
    std::size_t function, piece;
  };
  std::vector<Begin> begins;
  for (std::size_t k = 0; k < functions.size(); ++k) {
    const auto& f = functions[k];
    if (f.low() != functions[0].low() || f.high() != functions[0].high())
      fail(where, "function {} is on [{}, {}]; expected [{}, {}] as the first", k, f.low(), f.high(),
           functions[0].low(), functions[0].high());
    for (std::size_t i = 0; i < f.size(); ++i) begins.push_back({f.starts()[i], k, i});
  }
  std::stable_sort(begins.begin(), begins.end(), [](const Begin& a, const Begin& b) { return a.at < b.at; });
  const std::size_t n = functions.size();
  std::vector<P> tree(2 * n);  // node i is the sum of nodes 2 i and 2 i + 1; the leaves are n .. 2 n - 1
  std::vector<double> starts;
  std::vector<P> pieces;
  for (std::size_t i = 0; i < begins.size(); ++i) {
    std::size_t node = n + begins[i].function;
    tree[node] = functions[begins[i].function].pieces()[begins[i].piece];
    for (node /= 2; node > 0; node /= 2) {
      tree[node] = tree[2 * node];
      tree[node] += tree[2 * node + 1];
    }
    if (i + 1 < begins.size() && begins[i + 1].at == begins[i].at) continue;
    starts.push_back(begins[i].at);
    pieces.push_back(tree[1]);
  }
  return {std::move(starts), std::move(pieces), functions[0].high()};
}
template <class P>
Piecewise<P> sum(const std::vector<Piecewise<P>>& functions) {
  return sum(std::span<const Piecewise<P>>(functions));
}
template <class P>
Piecewise<P> operator+(const Piecewise<P>& a, const Piecewise<P>& b) {
  const std::vector<Piecewise<P>> both{a, b};
  return sum(both);
}

}  // namespace valence
