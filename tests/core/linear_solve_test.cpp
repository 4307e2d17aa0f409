// Linear solvers against exact solutions, known inverses and matrices that have none.
#include "valence/core/linear_solve.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

Matrix<double> matrix(std::ptrdiff_t n, const Numbers& rows) {
  Matrix<double> a(n, n);
  for (std::ptrdiff_t i = 0; i < n; ++i)
    for (std::ptrdiff_t j = 0; j < n; ++j) a(i, j) = rows[static_cast<std::size_t>(i * n + j)];
  return a;
}
Matrix<double> random_matrix(std::ptrdiff_t n, Rng& rng) {
  Matrix<double> a(n, n);
  for (std::ptrdiff_t j = 0; j < n; ++j)
    for (std::ptrdiff_t i = 0; i < n; ++i) a(i, j) = rng.normal();
  return a;
}
Vector<double> random_vector(std::ptrdiff_t n, Rng& rng) {
  Vector<double> v(n);
  for (double& x : v) x = rng.normal();
  return v;
}
double error(const Vector<double>& seen, const Vector<double>& expected) {
  return (seen - expected).cwiseAbs().maxCoeff();
}

}  // namespace

TEST_CASE("Lu: a system by hand that needs a row exchange at every step") {
  // Both pivots are 0 without exchanges; x = (1, -2, 3).
  const Lu lu{matrix(3, {0, 2, 1, 1, 1, 1, 2, 2, -3})};
  const Numbers b{-1, 2, -11};
  Numbers x(3);
  lu.solve(b, x);
  CHECK(x[0] == close(1.0, 1e-15));
  CHECK(x[1] == close(-2.0, 1e-15));
  CHECK(x[2] == close(3.0, 1e-15));
  Numbers same = b;  // in place
  lu.solve(same, same);
  CHECK(same == x);
}

TEST_CASE("Lu: the Hilbert matrix, whose inverse is known in integers") {
  // Column 0 of the inverse of the 5 x 5 Hilbert matrix (Choi 1983).
  Matrix<double> hilbert(5, 5);
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 5; ++j) hilbert(i, j) = 1.0 / (i + j + 1);
  const Numbers b{1, 0, 0, 0, 0}, expected{25, -300, 1050, -1400, 630};
  Numbers by_lu(5), by_cholesky(5);
  Lu{hilbert}.solve(b, by_lu);
  Cholesky{hilbert}.solve(b, by_cholesky);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(by_lu[i] == close(expected[i], 1e-10));
    CHECK(by_cholesky[i] == close(expected[i], 1e-10));
  }
}

TEST_CASE("Lu and Cholesky: what was multiplied is found again, for sizes that differ") {
  Rng rng{3};
  for (const std::ptrdiff_t n : {1, 2, 3, 7, 40}) {
    CAPTURE(n);
    const Matrix<double> a = random_matrix(n, rng);
    const Vector<double> x = random_vector(n, rng);
    const Vector<double> b = a * x;
    Vector<double> found(n);
    Lu{a}.solve(view(b), view(found));
    CHECK(error(found, x) < 1e-10);
    Matrix<double> spd = a * a.transpose() + Matrix<double>::Identity(n, n);
    const Vector<double> c = spd * x;
    for (std::ptrdiff_t j = 1; j < n; ++j)
      for (std::ptrdiff_t i = 0; i < j; ++i) spd(i, j) = std::numeric_limits<double>::quiet_NaN();  // not read
    Cholesky{spd}.solve(view(c), view(found));
    CHECK(error(found, x) < 1e-10);
  }
}

TEST_CASE("Lu: what is singular does not depend on units") {
  const Matrix<double> good = matrix(2, {1, 2, 3, 5}), bad = matrix(3, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  for (const double unit : {1e-150, 1e-9, 1.0, 1e150}) {
    CAPTURE(unit);
    Matrix<double> a = good;
    a.row(1) *= unit;
    a.col(1) *= unit;
    const Numbers b{5, 13 * unit};
    Numbers x(2);
    Lu{a}.solve(b, x);  // x = (1, 2 / unit)
    CHECK(x[0] == close(1.0, 1e-14));
    CHECK(x[1] == close(2 / unit, 1e-14));
    CHECK(says(message_of([&] { Lu{Matrix<double>(unit * bad)}; }), "Lu", "singular", "column 2"));
  }
  // Nearly singular: a question of the tolerance.
  const Matrix<double> nearly = matrix(2, {1, 1, 1, 1 + 1e-10});
  CHECK_NOTHROW(Lu{nearly});
  CHECK(says(message_of([&] { Lu(nearly, {.tolerance = 1e-8}, "Here"); }), "Here: ", "singular", "column 1"));
}

TEST_CASE("Linear solvers refuse what they cannot solve") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(message_of([] { Lu{matrix(2, {0, 0, 1, 2})}; }), "singular", "row 0"));
  CHECK(says(message_of([] { Lu{matrix(2, {0, 1, 0, 2})}; }), "singular", "column 0"));
  CHECK(says(message_of([] { Lu{matrix(2, {1, 0, nan, 2})}; }), "(1, 0)", "nan"));
  CHECK(says(message_of([] { Lu{Matrix<double>(2, 3)}; }), "2 x 3", "2 x 2"));
  CHECK(says(message_of([] { Lu{Matrix<double>(0, 0)}; }), "rows"));
  CHECK(says(message_of([] { Cholesky{matrix(2, {1, 2, 2, 4})}; }), "not positive definite", "pivot 1"));
  CHECK(says(message_of([] { Cholesky{matrix(2, {-1, 0, 0, 4})}; }), "not positive definite", "pivot 0"));
  CHECK(says(message_of([] { Cholesky{matrix(2, {1, 0, nan, 4})}; }), "(1, 0)", "nan"));
  const Lu lu{matrix(2, {1, 2, 3, 5})};
  Numbers x(2), three(3);
  CHECK_THROWS_AS(lu.solve(three, x), Error);
  CHECK_THROWS_AS(lu.solve(x, three), Error);
  CHECK(says(message_of([&] { lu.solve(Numbers{1, nan}, x); }), "b[1]"));
}

TEST_CASE("Solving allocates nothing, in float too") {
  Rng rng{4};
  const std::ptrdiff_t n = 30;
  Matrix<float> a = random_matrix(n, rng).cast<float>();
  const Matrix<float> spd = a * a.transpose() + 10 * Matrix<float>::Identity(n, n);
  const Lu<float> lu{a};
  const Cholesky<float> cholesky{spd};
  Vector<float> x = Vector<float>::Ones(n), b = Vector<float>::Ones(n);
  ConjugateGradientWorkspace<float> workspace;
  const auto apply = [&](std::span<const float> v, std::span<float> out) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      out[static_cast<std::size_t>(i)] = 0;
      for (std::ptrdiff_t j = 0; j < n; ++j)
        out[static_cast<std::size_t>(i)] += spd(i, j) * v[static_cast<std::size_t>(j)];
    }
  };
  const std::span<const float> right = view(std::as_const(b));
  conjugate_gradient(apply, right, view(x), {.tolerance = 1e-4}, workspace);
  test::Allocations allocations;
  lu.solve(right, view(x));
  cholesky.solve(right, view(x));
  const auto result = conjugate_gradient(apply, right, view(x), {.tolerance = 1e-4}, workspace);
  CHECK(allocations.count() == 0);
  CHECK(result.converged);
}

TEST_CASE("Conjugate gradients: the direct solution, in at most n steps where eigenvalues are few") {
  Rng rng{5};
  const std::ptrdiff_t n = 12;
  const Matrix<double> root = random_matrix(n, rng), a = root * root.transpose() + Matrix<double>::Identity(n, n);
  const Vector<double> b = random_vector(n, rng);
  Vector<double> direct(n), x = Vector<double>::Zero(n);
  Cholesky{a}.solve(view(b), view(direct));
  std::size_t products = 0;
  const auto apply = [&](std::span<const double> v, std::span<double> out) {
    ++products;
    Eigen::Map<Vector<double>>(out.data(), n) = a * Eigen::Map<const Vector<double>>(v.data(), n);
  };
  const auto result = conjugate_gradient(apply, view(std::as_const(b)), view(x), {.tolerance = 1e-13});
  CHECK(result.converged);
  CHECK(result.iterations == products);
  CHECK(error(x, direct) < 1e-11);
  CHECK((b - a * x).norm() / b.norm() < 1e-12);

  // From the solution: no step. From another start: the same solution.
  CHECK(conjugate_gradient(apply, view(std::as_const(b)), view(x), {.tolerance = 1e-10}).iterations == 0);
  x = random_vector(n, rng);
  CHECK(conjugate_gradient(apply, view(std::as_const(b)), view(x), {.tolerance = 1e-13}).converged);
  CHECK(error(x, direct) < 1e-11);

  // Three different eigenvalues: three steps.
  const auto diagonal = [&](std::span<const double> v, std::span<double> out) {
    for (std::size_t i = 0; i < v.size(); ++i) out[i] = (i % 3 == 0 ? 1.0 : i % 3 == 1 ? 2.5 : 7.0) * v[i];
  };
  x.setZero();
  CHECK(conjugate_gradient(diagonal, view(std::as_const(b)), view(x), {.tolerance = 1e-12}).iterations == 3);
}

TEST_CASE("Conjugate gradients: semidefinite, indefinite, cut short, zero and wrong") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  // (1, 1; 1, 1) / 2 has the range of (1, 1): the solution of least norm.
  const auto half = [](std::span<const double> v, std::span<double> out) { out[0] = out[1] = (v[0] + v[1]) / 2; };
  Numbers x(2);
  auto result = conjugate_gradient(half, std::span<const double>(Numbers{3, 3}), std::span(x));
  CHECK(result.converged);
  CHECK(x[0] == close(3.0, 1e-14));
  CHECK(x[1] == close(3.0, 1e-14));
  // b has a part that A can't reach.
  x = {0, 0};
  result = conjugate_gradient(half, std::span<const double>(Numbers{1, -1}), std::span(x));
  CHECK(!result.converged);
  CHECK(result.indefinite);
  CHECK(x == Numbers{0, 0});

  const auto stretch = [](std::span<const double> v, std::span<double> out) {
    for (std::size_t i = 0; i < v.size(); ++i) out[i] = static_cast<double>(i + 1) * v[i];
  };
  x.assign(5, 0);
  const Numbers b{1, 2, 3, 4, 5.5};
  result = conjugate_gradient(stretch, std::span<const double>(b), std::span(x), {.tolerance = 0, .max_iterations = 2});
  CHECK(result.iterations == 2);
  CHECK(!result.converged);
  double square = 0, scale = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    square += std::pow(b[i] - static_cast<double>(i + 1) * x[i], 2);
    scale += b[i] * b[i];
  }
  CHECK(result.residual == close(std::sqrt(square / scale), 1e-10));

  x.assign(5, 7);
  result = conjugate_gradient(stretch, std::span<const double>(Numbers(5, 0.0)), std::span(x));
  CHECK(result.converged);
  CHECK(x == Numbers(5, 0.0));

  CHECK(says(message_of([&] {
               conjugate_gradient(stretch, std::span<const double>(Numbers{1, nan, 2, 3, 4}), std::span(x));
             }),
             "b[1]"));
  const auto broken = [&](std::span<const double>, std::span<double> out) { std::ranges::fill(out, nan); };
  x.assign(5, 0);
  CHECK(says(message_of([&] { conjugate_gradient(broken, std::span<const double>(b), std::span(x)); }), "p'Ap is"));
}
