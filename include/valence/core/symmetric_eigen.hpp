#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// A = V diag(values) V' of a symmetric matrix.
template <Scalar S = double>
struct SymmetricEigen {
  Vector<S> values;   ///< n eigenvalues, in increasing order
  Matrix<S> vectors;  ///< n x n, orthonormal columns, one an eigenvalue; the largest entry of each is positive
};
template <class S>
SymmetricEigen(Vector<S>, Matrix<S>) -> SymmetricEigen<S>;

/// All eigenvalues and eigenvectors of a symmetric matrix of up to a few hundred rows, by cyclic Jacobi rotations
/// (Golub & Van Loan 2013, section 8.5.3): some ten times n^3 multiplications. Only the lower triangle is read.
/// Errors are a few roundings of the largest eigenvalue. Throws `Error` for a matrix that is empty or not square, and
/// for numbers that aren't finite; `where` begins the message. The leading eigenvectors of V V' with V tall and thin
/// are V times those of V' V.
///
///     const auto [values, vectors] = symmetric_eigen(a);   // A v_0 = values[0] v_0, v_0 = vectors.col(0)
template <Scalar S>
SymmetricEigen<S> symmetric_eigen(const Matrix<S>& matrix, std::string_view where = "symmetric_eigen") {
  const std::ptrdiff_t n = matrix.rows();
  check_positive(where, "the number of rows", n);
  check_shape(where, "the matrix", n, matrix.cols(), n, n);
  S largest = 0;
  for (std::ptrdiff_t j = 0; j < n; ++j)
    for (std::ptrdiff_t i = j; i < n; ++i) {
      if (!std::isfinite(matrix(i, j)))
        fail(where, "the matrix's entry ({}, {}) is {}; expected a finite number", i, j, matrix(i, j));
      largest = (std::max)(largest, std::abs(matrix(i, j)));
    }
  // By a power of two, which rounds nothing, to entries below 1: their squares neither overflow nor vanish.
  int exponent = 0;
  std::frexp(largest, &exponent);
  Matrix<S> a = Matrix<S>::Zero(n, n);
  for (std::ptrdiff_t j = 0; j < n; ++j)
    for (std::ptrdiff_t i = j; i < n; ++i) a(j, i) = a(i, j) = std::ldexp(matrix(i, j), -exponent);

  Matrix<S> v = Matrix<S>::Identity(n, n);
  const S negligible = std::numeric_limits<S>::epsilon() * a.norm() / static_cast<S>(2 * n);
  const auto rotate = [n](Matrix<S>& m, std::ptrdiff_t p, std::ptrdiff_t q, S c, S s) {
    for (std::ptrdiff_t k = 0; k < n; ++k) {
      const S x = m(k, p), y = m(k, q);
      m(k, p) = c * x - s * y;
      m(k, q) = s * x + c * y;
    }
  };
  bool rotated = largest > S(0);
  for (int sweep = 0; rotated; ++sweep) {
    if (sweep == 60) fail(where, "no convergence after {} sweeps", sweep);
    rotated = false;
    for (std::ptrdiff_t p = 0; p + 1 < n; ++p)
      for (std::ptrdiff_t q = p + 1; q < n; ++q) {
        const S off = a(q, p);
        if (std::abs(off) <= negligible) continue;
        rotated = true;
        // The smaller of the two angles that make the entry 0; hypot, because tau may be huge.
        const S tau = (a(q, q) - a(p, p)) / (2 * off);
        const S t = std::copysign(S(1), tau) / (std::abs(tau) + std::hypot(S(1), tau));
        const S c = 1 / std::hypot(S(1), t), s = c * t, low = a(p, p) - t * off, high = a(q, q) + t * off;
        rotate(a, p, q, c, s);
        a.row(p) = a.col(p).transpose();
        a.row(q) = a.col(q).transpose();
        a(p, p) = low, a(q, q) = high, a(p, q) = a(q, p) = 0;
        rotate(v, p, q, c, s);
      }
  }

  std::vector<std::ptrdiff_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::ptrdiff_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::ptrdiff_t i, std::ptrdiff_t j) { return a(i, i) < a(j, j); });
  SymmetricEigen<S> result{Vector<S>::Zero(n), Matrix<S>::Zero(n, n)};
  for (std::ptrdiff_t k = 0; k < n; ++k) {
    const std::ptrdiff_t from = order[static_cast<std::size_t>(k)];
    std::ptrdiff_t top = 0;
    v.col(from).cwiseAbs().maxCoeff(&top);
    result.values[k] = std::ldexp(a(from, from), exponent);
    result.vectors.col(k) = v.col(from) * (v(top, from) < 0 ? S(-1) : S(1));
  }
  return result;
}

}  // namespace valence
