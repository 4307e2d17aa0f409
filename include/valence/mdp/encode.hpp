#pragma once

#include <Eigen/Core>
#include <cassert>
#include <cstddef>
#include <span>

#include "valence/core/types.hpp"

/// How a state enters a model: `encode(state, column)` fills the numbers of one column of a batch. Integers (one-hot)
/// and Eigen vectors are built in; for a type of your own, write a free function `encode` beside it, in its namespace:
///
///     template <class S> void encode(const CartPoleState& s, std::span<S> column);
///
/// The column's size is the model's number of inputs; that it fits is asserted in debug builds.
namespace valence {

/// The vector's entries.
template <class S, class Derived>
void encode(const Eigen::MatrixBase<Derived>& state, std::span<S> column) {
  assert(static_cast<std::size_t>(state.size()) == column.size());
  for (Eigen::Index i = 0; i < state.size(); ++i) column[static_cast<std::size_t>(i)] = static_cast<S>(state[i]);
}

/// One-hot: 1 at `state`, 0 elsewhere.
template <class S>
void encode(int state, std::span<S> column) {
  assert(state >= 0 && static_cast<std::size_t>(state) < column.size());
  for (S& x : column) x = S(0);
  column[static_cast<std::size_t>(state)] = S(1);
}

/// A state that can enter a model over `S`. Declared after the built-in overloads: int and Eigen's types have no
/// namespace of ours, so an overload further down would not be found.
template <class State, class S>
concept Encodable = requires(const State& state, std::span<S> column) { encode(state, column); };

}  // namespace valence
