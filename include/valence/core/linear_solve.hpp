#pragma once

#include <Eigen/Core>
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
#include "valence/core/types.hpp"

/// Linear systems: `Lu` for square matrices, `Cholesky` for symmetric positive definite ones, `conjugate_gradient` for
/// those that are only known by their products. Dense factors of up to a few thousand unknowns, column by column, one
/// thread; they keep Eigen's decompositions, which are slow to compile, out of the headers.
namespace valence {

struct LuOptions {
  /// A pivot of at most this, after rows and columns are scaled to have largest entries about 1, means that the matrix
  /// is singular. In [0, 1); 0 stands for 4 n epsilon, the size of rounding alone.
  double tolerance = 0;
};

/// P R A C = L U with partial pivoting, of a square matrix (Golub & Van Loan 2013, section 3.4). R and C are powers of
/// two, so scaling rounds nothing and what counts as singular doesn't depend on units. Factored once, solved often:
///
///     const Lu lu{a};              // throws for a singular matrix, and says which column
///     lu.solve(b, x);              // a x = b; x may be b; allocates nothing
template <Scalar S = double>
class Lu {
 public:
  /// `a`: n x n, n >= 1, finite. Throws `Error` for another shape, for numbers that aren't finite, and where a row or a
  /// column depends linearly on others; `where` begins the message.
  explicit Lu(Matrix<S> a, const LuOptions& options = {}, std::string_view where = "Lu") : lu_(std::move(a)) {
    check_positive(where, "the number of rows", lu_.rows());
    check_shape(where, "the matrix", lu_.rows(), lu_.cols(), lu_.rows(), lu_.rows());
    check_range(where, "tolerance", options.tolerance, 0, 1);
    for (std::ptrdiff_t j = 0; j < lu_.cols(); ++j)
      for (std::ptrdiff_t i = 0; i < lu_.rows(); ++i)
        if (!std::isfinite(lu_(i, j)))
          fail(where, "the matrix's entry ({}, {}) is {}; expected a finite number", i, j, lu_(i, j));
    scale(where);
    factor(where, options.tolerance > 0
                      ? options.tolerance
                      : 4 * static_cast<double>(size()) * static_cast<double>(std::numeric_limits<S>::epsilon()));
  }

  /// Rows, columns.
  std::ptrdiff_t size() const { return lu_.rows(); }

  /// A x = b. `b` and `x`: n entries; they may be the same. Throws `Error` for other sizes and numbers that aren't
  /// finite.
  void solve(std::span<const S> b, std::span<S> x) const {
    const auto n = static_cast<std::size_t>(size());
    check_size("Lu::solve", "b", b.size(), n);
    check_size("Lu::solve", "x", x.size(), n);
    check_finite("Lu::solve", "b", b);
    for (std::size_t i = 0; i < n; ++i) x[i] = std::ldexp(b[i], row_exponent_[i]);
    for (std::size_t k = 0; k < n; ++k) std::swap(x[k], x[static_cast<std::size_t>(pivot_[k])]);
    Eigen::Map<Vector<S>> y(x.data(), size());
    for (std::ptrdiff_t k = 0; k < size(); ++k) {
      const std::ptrdiff_t below = size() - k - 1;
      y.tail(below) -= y[k] * lu_.col(k).tail(below);
    }
    for (std::ptrdiff_t k = size() - 1; k >= 0; --k) {
      y[k] /= lu_(k, k);
      y.head(k) -= y[k] * lu_.col(k).head(k);
    }
    for (std::size_t i = 0; i < n; ++i) x[i] = std::ldexp(x[i], column_exponent_[i]);
  }

 private:
  Matrix<S> lu_;
  std::vector<std::ptrdiff_t> pivot_;
  std::vector<int> row_exponent_, column_exponent_;

  /// The exponent of the power of two that brings `largest` into [1/2, 1).
  static int scaling_exponent(S largest) {
    int exponent = 0;
    std::frexp(largest, &exponent);
    return -exponent;
  }
  void scale(std::string_view where) {
    for (std::ptrdiff_t i = 0; i < size(); ++i) {
      const S largest = lu_.row(i).cwiseAbs().maxCoeff();
      if (largest == S(0)) fail(where, "the matrix is singular: row {} is 0", i);
      const int e = scaling_exponent(largest);
      row_exponent_.push_back(e);
      for (std::ptrdiff_t j = 0; j < size(); ++j) lu_(i, j) = std::ldexp(lu_(i, j), e);
    }
    for (std::ptrdiff_t j = 0; j < size(); ++j) {
      const S largest = lu_.col(j).cwiseAbs().maxCoeff();
      if (largest == S(0)) fail(where, "the matrix is singular: column {} is 0", j);
      const int e = scaling_exponent(largest);
      column_exponent_.push_back(e);
      for (std::ptrdiff_t i = 0; i < size(); ++i) lu_(i, j) = std::ldexp(lu_(i, j), e);
    }
  }
  void factor(std::string_view where, double tolerance) {
    const std::ptrdiff_t n = size();
    pivot_.resize(static_cast<std::size_t>(n));
    for (std::ptrdiff_t k = 0; k < n; ++k) {
      std::ptrdiff_t p = 0;
      const S largest = lu_.col(k).tail(n - k).cwiseAbs().maxCoeff(&p);
      if (!(static_cast<double>(largest) > tolerance))
        fail(where,
             "the matrix is singular: column {} depends on those before it (pivot {:.3g}, expected more than {:.3g})",
             k, largest, tolerance);
      pivot_[static_cast<std::size_t>(k)] = p + k;
      if (p != 0) lu_.row(k).swap(lu_.row(k + p));
      const std::ptrdiff_t below = n - k - 1;
      lu_.col(k).tail(below) /= lu_(k, k);
      for (std::ptrdiff_t j = k + 1; j < n; ++j)
        if (const S u = lu_(k, j); u != S(0)) lu_.col(j).tail(below) -= u * lu_.col(k).tail(below);
    }
  }
};

/// A = L L' of a symmetric positive definite matrix, of which only the lower triangle is read (Golub & Van Loan 2013,
/// section 4.2).
template <Scalar S = double>
class Cholesky {
 public:
  /// `a`: n x n, n >= 1, its lower triangle finite. Throws `Error` for another shape, for numbers that aren't finite,
  /// and for a matrix that isn't positive definite (to rounding); `where` begins the message.
  explicit Cholesky(Matrix<S> a, std::string_view where = "Cholesky") : l_(std::move(a)) {
    const std::ptrdiff_t n = l_.rows();
    check_positive(where, "the number of rows", n);
    check_shape(where, "the matrix", l_.rows(), l_.cols(), n, n);
    for (std::ptrdiff_t j = 0; j < n; ++j)
      for (std::ptrdiff_t i = j; i < n; ++i)
        if (!std::isfinite(l_(i, j)))
          fail(where, "the matrix's entry ({}, {}) is {}; expected a finite number", i, j, l_(i, j));
    const double rounding = 4 * static_cast<double>(n) * static_cast<double>(std::numeric_limits<S>::epsilon());
    const Vector<S> diagonal = l_.diagonal();
    for (std::ptrdiff_t k = 0; k < n; ++k) {
      if (!(static_cast<double>(l_(k, k)) > rounding * std::abs(static_cast<double>(diagonal[k]))))
        fail(where, "the matrix is not positive definite: pivot {} is {:.3g}, of a diagonal entry {:.3g}", k, l_(k, k),
             diagonal[k]);
      const std::ptrdiff_t below = n - k - 1;
      l_(k, k) = std::sqrt(l_(k, k));
      l_.col(k).tail(below) /= l_(k, k);
      for (std::ptrdiff_t j = k + 1; j < n; ++j)
        if (const S u = l_(j, k); u != S(0)) l_.col(j).tail(n - j) -= u * l_.col(k).tail(n - j);
    }
  }

  /// Rows, columns.
  std::ptrdiff_t size() const { return l_.rows(); }

  /// A x = b. `b` and `x`: n entries; they may be the same. Throws `Error` for other sizes and numbers that aren't
  /// finite.
  void solve(std::span<const S> b, std::span<S> x) const {
    check_size("Cholesky::solve", "b", b.size(), static_cast<std::size_t>(size()));
    check_size("Cholesky::solve", "x", x.size(), b.size());
    check_finite("Cholesky::solve", "b", b);
    if (x.data() != b.data()) std::copy(b.begin(), b.end(), x.begin());
    Eigen::Map<Vector<S>> y(x.data(), size());
    for (std::ptrdiff_t k = 0; k < size(); ++k) {
      const std::ptrdiff_t below = size() - k - 1;
      y[k] /= l_(k, k);
      y.tail(below) -= y[k] * l_.col(k).tail(below);
    }
    for (std::ptrdiff_t k = size() - 1; k >= 0; --k) {
      S sum = y[k];
      for (std::ptrdiff_t i = k + 1; i < size(); ++i) sum -= l_(i, k) * y[i];
      y[k] = sum / l_(k, k);
    }
  }

 private:
  Matrix<S> l_;  // the strict upper triangle is whatever the caller's was
};

/// Where conjugate gradients stop.
struct ConjugateGradientOptions {
  double tolerance = 1e-10;        ///< of |b - A x| relative to |b|; >= 0
  std::size_t max_iterations = 0;  ///< products with A; 0 stands for twice the number of unknowns
};

/// What conjugate gradients did.
struct ConjugateGradientResult {
  std::size_t iterations = 0;  ///< products with A, the one with a start that isn't 0 not counted
  double residual = 0;         ///< |b - A x| relative to |b|, by the recursion
  bool converged = false;      ///< the residual is at most the tolerance
  bool indefinite = false;     ///< stopped at a direction p with p'Ap <= 0: A isn't positive definite there
};

/// Scratch of `conjugate_gradient`; keep it to allocate nothing.
template <Scalar S>
struct ConjugateGradientWorkspace {
  Vector<S> residual, direction, product;
};

/// A x = b with A symmetric positive definite, or semidefinite and b in its range (Hestenes & Stiefel 1952; Nocedal &
/// Wright 2006, algorithm 5.2). `apply(v, out)` writes A v: spans of n entries. `x` is where it starts and what it
/// gives back; zeros are a good start, and with them a semidefinite A gives the solution of least norm. Throws `Error`
/// for sizes that differ, for numbers in b and x that aren't finite, and where a product isn't finite; x is then the
/// last iterate.
template <Scalar S, class Apply>
  requires std::invocable<Apply&, std::span<const S>, std::span<S>>
ConjugateGradientResult conjugate_gradient(Apply&& apply, std::span<const S> b, std::span<S> x,
                                           const ConjugateGradientOptions& options,
                                           ConjugateGradientWorkspace<S>& workspace) {
  constexpr auto where = "conjugate_gradient";
  check_size(where, "x", x.size(), b.size());
  check_finite(where, "b", b);
  check_finite(where, "x", std::span<const S>(x));
  check_range(where, "tolerance", options.tolerance, 0, (std::numeric_limits<double>::max)());
  const auto n = static_cast<std::ptrdiff_t>(b.size());
  const std::size_t limit = options.max_iterations > 0 ? options.max_iterations : 2 * b.size();
  auto& [r, p, q] = workspace;
  r = Eigen::Map<const Vector<S>>(b.data(), n);
  q.resize(n);
  Eigen::Map<Vector<S>> solution(x.data(), n);
  const double scale = static_cast<double>(r.norm());
  ConjugateGradientResult result;
  if (scale == 0) {
    solution.setZero();
    result.converged = true;
    return result;
  }
  if (!std::isfinite(scale)) fail(where, "|b| is {}; expected a finite number", scale);
  if ((solution.array() != S(0)).any()) {
    apply(std::span<const S>(x), view(q));
    r -= q;
  }
  p = r;
  for (S square = r.squaredNorm();;) {
    result.residual = std::sqrt(static_cast<double>(square)) / scale;
    if (!std::isfinite(result.residual))
      fail(where, "the residual of iteration {} is {}; expected a finite number", result.iterations, result.residual);
    result.converged = result.residual <= options.tolerance;
    if (result.converged || result.iterations == limit) return result;
    apply(view(std::as_const(p)), view(q));
    ++result.iterations;
    const S curvature = p.dot(q);
    if (!std::isfinite(curvature))
      fail(where, "p'Ap is {} in iteration {}; expected a finite number", curvature, result.iterations);
    if (!(curvature > S(0))) {
      result.indefinite = true;
      return result;
    }
    const S step = square / curvature;
    solution += step * p;
    r -= step * q;
    const S next = r.squaredNorm();
    p = r + (next / square) * p;
    square = next;
  }
}
template <Scalar S, class Apply>
  requires std::invocable<Apply&, std::span<const S>, std::span<S>>
ConjugateGradientResult conjugate_gradient(Apply&& apply, std::span<const S> b, std::span<S> x,
                                           const ConjugateGradientOptions& options = {}) {
  ConjugateGradientWorkspace<S> workspace;
  return conjugate_gradient(apply, b, x, options, workspace);
}

}  // namespace valence
