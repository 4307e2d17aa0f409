#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "valence/core/types.hpp"

namespace valence {

/// What every solver gives back.
template <Scalar S>
struct Solution {
  Vector<S> value = {};          ///< an entry a state; 0 in terminal states
  std::vector<int> policy = {};  ///< an action a state, -1 in terminal states: what the last sweep or improvement chose
  std::size_t iterations = 0;    ///< sweeps, policy improvements, pivots: as the solver says
  double residual = 0;           ///< largest |T v - v| that the last sweep saw
  double bound = std::numeric_limits<double>::infinity();  ///< |value - exact value| is at most this in every state
  double seconds = 0;                                      ///< wall clock
  bool converged = false;  ///< `bound` is at most the tolerance asked for; false where the limit ended it
};

}  // namespace valence
