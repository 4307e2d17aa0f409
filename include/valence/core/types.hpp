#pragma once

#include <Eigen/Core>
#include <concepts>
#include <cstddef>
#include <span>

#include "valence/core/config.hpp"

namespace valence {

/// The numbers that everything is computed in: `float`, `double`, `long double`.
template <class T>
concept Scalar = std::floating_point<T>;

template <class S>
using Vector = Eigen::Matrix<S, Eigen::Dynamic, 1>;

/// Column-major, whatever EIGEN_DEFAULT_TO_ROW_MAJOR says. A batch has one sample a column (features x samples), so a
/// sample is contiguous.
template <class S>
using Matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic>;

/// What a model's `forward` gives: a view of outputs x batch, one sample a column, contiguous.
template <class S>
using Outputs = Eigen::Map<const Matrix<S>>;

/// Spans of contiguous Eigen vectors and arrays: Eigen 3.4's do not convert to `std::span` by themselves, because their
/// iterators are not `std::contiguous_iterator`. Interfaces speak spans, never `MatrixBase<Derived>`: one instantiation
/// per scalar, not one per expression. The span is valid as long as the viewed object is not resized or destroyed.
template <class Derived>
std::span<const typename Derived::Scalar> view(const Eigen::PlainObjectBase<Derived>& v) {
  return {v.data(), static_cast<std::size_t>(v.size())};
}
template <class Derived>
std::span<typename Derived::Scalar> view(Eigen::PlainObjectBase<Derived>& v) {
  return {v.data(), static_cast<std::size_t>(v.size())};
}

}  // namespace valence
