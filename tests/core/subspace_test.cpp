#include "valence/core/subspace.hpp"

#include <cmath>
#include <limits>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

Matrix<double> normal_matrix(int rows, int columns, Rng& rng) {
  Matrix<double> a(rows, columns);
  for (double& x : view(a)) x = rng.normal();
  return a;
}

}  // namespace

TEST_CASE("Subspace distance: the same span, orthogonal ones, known angles, one inside the other") {
  Rng rng{1};
  const Matrix<double> a = normal_matrix(3, 10, rng);
  CHECK(subspace_distance(a, Matrix<double>(normal_matrix(3, 3, rng) * a)) == close(0, 0, 1e-13));
  Matrix<double> complement = Matrix<double>::Zero(2, 6), first = Matrix<double>::Zero(4, 6);
  complement(0, 4) = complement(1, 5) = 1;
  for (int i = 0; i < 4; ++i) first(i, i) = 2;
  CHECK(subspace_distance(first, complement) == close(1, 1e-14));

  // Angles .3 and 1 in two planes.
  Matrix<double> flat = Matrix<double>::Zero(2, 4), turned = Matrix<double>::Zero(2, 4);
  flat(0, 0) = flat(1, 2) = 1;
  turned(0, 0) = std::cos(.3), turned(0, 1) = std::sin(.3);
  turned(1, 2) = std::cos(1), turned(1, 3) = std::sin(1);
  const double expected = std::sqrt((std::pow(std::sin(.3), 2) + std::pow(std::sin(1), 2)) / 2);
  CHECK(subspace_distance(flat, turned) == close(expected, 1e-14));
  CHECK(subspace_distance(turned, flat) == close(expected, 1e-14));
  // A tiny angle isn't lost in 1 - cos^2.
  turned(0, 0) = std::cos(1e-9), turned(0, 1) = std::sin(1e-9), turned(1, 2) = 1, turned(1, 3) = 0;
  CHECK(subspace_distance(flat, turned) == close(1e-9 / std::sqrt(2.0), 1e-6));

  CHECK(subspace_distance(a, Matrix<double>(a.topRows(2))) == close(0, 0, 1e-13));
  CHECK(subspace_distance(Matrix<double>(a.topRows(2)), a) == close(0, 0, 1e-13));
}

TEST_CASE("Subspace distance of random spans is about sqrt(1 - k / n)") {
  Rng rng{2};
  double sum = 0;
  for (int trial = 0; trial < 20; ++trial) {
    const Matrix<double> a = normal_matrix(32, 104, rng);
    sum += subspace_distance(a, normal_matrix(32, 104, rng)) / 20;
  }
  CHECK(sum == close(std::sqrt(1 - 32.0 / 104), 5e-3));
}

TEST_CASE("Projection: residual orthogonal to the features and to a constant; dependent features") {
  Rng rng{3};
  const Matrix<double> phi = normal_matrix(4, 12, rng);
  const Vector<double> v = normal_matrix(12, 1, rng);
  const Vector<double> with = project(phi, view(v)), without = project(phi, view(v), false);
  CHECK((phi * (v - with)).cwiseAbs().maxCoeff() < 1e-13);
  CHECK(std::abs((v - with).sum()) < 1e-13);
  CHECK((phi * (v - without)).cwiseAbs().maxCoeff() < 1e-13);
  CHECK(std::abs((v - without).sum()) > 1e-3);
  CHECK((project(phi, view(with)) - with).cwiseAbs().maxCoeff() < 1e-13);

  Matrix<double> twice(8, 12);
  twice << phi, 3 * phi;
  CHECK((project(twice, view(v)) - with).cwiseAbs().maxCoeff() < 1e-13);
  // As many features as states: everything; more don't hurt.
  CHECK((project(normal_matrix(15, 12, rng), view(v)) - v).cwiseAbs().maxCoeff() < 1e-11);
  const Matrix<float> narrow = phi.cast<float>();
  const Vector<float> w = v.cast<float>();
  CHECK((project(narrow, view(w)).cast<double>() - with).cwiseAbs().maxCoeff() < 1e-5);
}

TEST_CASE("Subspaces: bad input") {
  const Matrix<double> a = Matrix<double>::Ones(2, 5), zero = Matrix<double>::Zero(2, 5);
  CHECK(says(message_of([&] { subspace_distance(a, Matrix<double>(Matrix<double>::Ones(2, 4))); }), "b is 2 x 4",
             "2 x 5"));
  CHECK(says(message_of([&] { subspace_distance(a, zero); }), "b is 2 x 5 and spans nothing"));
  Matrix<double> nan = a;
  nan(1, 1) = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(message_of([&] { subspace_distance(nan, a); }), "a[3] is nan"));
  const Vector<double> four = Vector<double>::Ones(4);
  CHECK(says(message_of([&] { project(a, view(four)); }), "values has 4 entries; expected 5"));
  const Vector<double> five = Vector<double>::Ones(5);
  CHECK(says(message_of([&] { project(zero, view(five), false); }), "spans nothing"));
}
