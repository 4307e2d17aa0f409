#pragma once

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

/// Spans of features. A feature is a function of n states; features are a matrix of k x n, a state a column, as a
/// model's outputs are, and what they span is the linear combinations of its rows.
namespace valence {

namespace detail {

/// An orthonormal basis of the columns' span, by Gram and Schmidt, twice. A column that depends on those before it, to
/// `tolerance` of its own length, adds nothing.
template <class S>
Matrix<S> orthonormal_columns(Matrix<S> a, S tolerance) {
  std::ptrdiff_t rank = 0;
  for (std::ptrdiff_t j = 0; j < a.cols() && rank < a.rows(); ++j) {
    Vector<S> v = a.col(j);
    const S before = v.norm();
    for (int pass = 0; pass < 2; ++pass)
      for (std::ptrdiff_t k = 0; k < rank; ++k) v -= a.col(k).dot(v) * a.col(k);
    const S after = v.norm();
    if (after > tolerance * before) a.col(rank++) = v / after;
  }
  return a.leftCols(rank);
}

template <class S>
Matrix<S> basis_of(std::string_view where, std::string_view argument, const Matrix<S>& features) {
  check_finite(where, argument, view(features));
  const Matrix<S> basis =
      orthonormal_columns<S>(features.transpose(), std::is_same_v<S, float> ? S(1e-4F) : static_cast<S>(1e-10));
  if (basis.cols() == 0) fail(where, "{} is {} x {} and spans nothing", argument, features.rows(), features.cols());
  return basis;
}

}  // namespace detail

/// How far two spans of features are from each other, in [0, 1]: sqrt(mean (1 - cos^2)) over the principal angles
/// between them (Golub & Van Loan 2013, section 6.4.3); 0 where one contains the other, 1 where they are orthogonal. As
/// many angles as the smaller span has dimensions. Right to rounding also near 0. Throws `Error` where the numbers of
/// states differ, for numbers that aren't finite, and for features that are all 0.
template <Scalar S>
S subspace_distance(const Matrix<S>& a, const Matrix<S>& b) {
  constexpr auto where = "subspace_distance";
  check_shape(where, "b", b.rows(), b.cols(), b.rows(), a.cols());
  Matrix<S> larger = detail::basis_of(where, "a", a), smaller = detail::basis_of(where, "b", b);
  if (larger.cols() < smaller.cols()) larger.swap(smaller);
  const Matrix<S> rest = smaller - larger * (larger.transpose() * smaller);
  return rest.norm() / std::sqrt(static_cast<S>(smaller.cols()));
}

/// The combination of the features, and of a constant where `intercept` is true, that is nearest to `values` in least
/// squares: an entry a state. Features may depend on each other. Throws `Error` where the numbers of states differ, for
/// numbers that aren't finite, and for features that are all 0.
template <Scalar S>
Vector<S> project(const Matrix<S>& features, std::span<const std::type_identity_t<S>> values, bool intercept = true) {
  constexpr auto where = "project";
  check_size(where, "values", values.size(), static_cast<std::size_t>(features.cols()));
  check_finite(where, "values", values);
  Matrix<S> all = features;
  if (intercept) {
    all.conservativeResize(features.rows() + 1, Eigen::NoChange);
    all.row(features.rows()).setOnes();
  }
  const Matrix<S> basis = detail::basis_of(where, "features", all);
  return basis * (basis.transpose() * Eigen::Map<const Vector<S>>(values.data(), features.cols()));
}

}  // namespace valence
