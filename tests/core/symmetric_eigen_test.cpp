// Eigenvalues and eigenvectors against closed forms, and against the equations that they solve.
#include "valence/core/symmetric_eigen.hpp"

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

template <class S>
Matrix<S> random_symmetric(std::ptrdiff_t n, Rng& rng) {
  Matrix<S> a(n, n);
  for (std::ptrdiff_t j = 0; j < n; ++j)
    for (std::ptrdiff_t i = j; i < n; ++i) a(i, j) = a(j, i) = static_cast<S>(rng.normal());
  return a;
}
/// The largest error of A V = V diag(values) and of V' V = 1, relative to A's largest entry.
template <class S>
double defect(const Matrix<S>& a, const SymmetricEigen<S>& e) {
  const Matrix<S> equation = a * e.vectors - e.vectors * e.values.asDiagonal();
  const Matrix<S> orthonormal = e.vectors.transpose() * e.vectors - Matrix<S>::Identity(a.rows(), a.rows());
  return static_cast<double>(
      (std::max)(equation.cwiseAbs().maxCoeff() / a.cwiseAbs().maxCoeff(), orthonormal.cwiseAbs().maxCoeff()));
}

}  // namespace

TEST_CASE("Symmetric eigenvalues: closed forms") {
  Matrix<double> two(2, 2);
  two << 2, 1, 1, 2;
  const auto [values, vectors] = symmetric_eigen(two);
  CHECK(values[0] == close(1.0));
  CHECK(values[1] == close(3.0));
  CHECK(vectors(0, 1) == close(std::sqrt(0.5)));
  CHECK(vectors(1, 1) == close(std::sqrt(0.5)));
  CHECK(vectors(0, 0) == close(-vectors(1, 0)));

  // The second difference on a path: 2 - 2 cos(pi k / (n + 1)).
  const int n = 40;
  Matrix<double> path = Matrix<double>::Zero(n, n);
  for (int i = 0; i < n; ++i) {
    path(i, i) = 2;
    if (i > 0) path(i, i - 1) = -1;  // the lower triangle is all that is read
  }
  const auto spectrum = symmetric_eigen(path);
  for (int k = 0; k < n; ++k) {
    CAPTURE(k);
    CHECK(spectrum.values[k] == close(2 - 2 * std::cos(std::numbers::pi * (k + 1) / (n + 1)), 1e-11));
  }
  // One row; a multiple of the identity; zeros; a diagonal comes out in order.
  CHECK(symmetric_eigen(Matrix<double>(Matrix<double>::Constant(1, 1, -3))).values[0] == -3);
  CHECK(symmetric_eigen(Matrix<double>(7 * Matrix<double>::Identity(3, 3))).values == Vector<double>::Constant(3, 7));
  CHECK(symmetric_eigen(Matrix<double>(Matrix<double>::Zero(3, 3))).values == Vector<double>::Zero(3));
  Matrix<double> diagonal = Matrix<double>::Zero(3, 3);
  diagonal.diagonal() << 5, -1, 2;
  const auto sorted = symmetric_eigen(diagonal);
  CHECK(sorted.values == (Vector<double>(3) << -1, 2, 5).finished());
  CHECK(sorted.vectors.col(0) == (Vector<double>(3) << 0, 1, 0).finished());
}

TEST_CASE("Symmetric eigenvalues: they solve their equation, whatever the size and the scale") {
  Rng rng{1};
  for (const std::ptrdiff_t n : {2, 3, 5, 16, 61}) {
    CAPTURE(n);
    const Matrix<double> a = random_symmetric<double>(n, rng);
    const auto e = symmetric_eigen(a);
    CHECK(defect(a, e) < 1e-13);
    CHECK(e.values.sum() == close(a.trace(), 1e-12, 1e-12));
    for (std::ptrdiff_t k = 0; k < n; ++k) {
      if (k > 0) CHECK(e.values[k - 1] <= e.values[k]);
      CHECK(e.vectors.col(k).maxCoeff() == close(e.vectors.col(k).cwiseAbs().maxCoeff(), 0));
    }
    // Powers of two change no digit, where squares would overflow or vanish.
    for (const double scale : {std::ldexp(1.0, 600), std::ldexp(1.0, -600)}) {
      const auto scaled = symmetric_eigen(Matrix<double>(a * scale));
      CHECK((scaled.vectors.array() == e.vectors.array()).all());
      CHECK(scaled.values[n - 1] == e.values[n - 1] * scale);
    }
    const Matrix<float> f = random_symmetric<float>(n, rng);
    CHECK(defect(f, symmetric_eigen(f)) < 1e-5);
  }
}

TEST_CASE("Symmetric eigenvalues: few directions in a large space") {
  Rng rng{2};
  Matrix<double> v(30, 3);
  for (double& x : v.reshaped()) x = rng.normal();
  const auto large = symmetric_eigen(Matrix<double>(v * v.transpose()));
  const auto small_side = symmetric_eigen(Matrix<double>(v.transpose() * v));
  for (int k = 0; k < 3; ++k) CHECK(large.values[27 + k] == close(small_side.values[k], 1e-12));
  for (int k = 0; k < 27; ++k) CHECK(std::abs(large.values[k]) < 1e-13 * large.values[29]);
}

TEST_CASE("Symmetric eigenvalues: what is no symmetric matrix of numbers is refused") {
  CHECK(says(message_of([] { symmetric_eigen(Matrix<double>(Matrix<double>::Zero(2, 3))); }), "2 x 3; expected 2 x 2"));
  CHECK(says(message_of([] { symmetric_eigen(Matrix<double>(0, 0)); }), "rows is 0"));
  Matrix<double> bad = Matrix<double>::Zero(2, 2);
  bad(1, 0) = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(message_of([&] { symmetric_eigen(bad, "mine"); }), "mine: ", "entry (1, 0) is nan"));
}
