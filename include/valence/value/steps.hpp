#pragma once

#include <concepts>
#include <cstddef>
#include <span>

#include "valence/core/types.hpp"

/// Experience as the targets read it: columns of consecutive transitions, one entry a transition.
namespace valence {

/// Views of consecutive transitions t = 0 .. T-1 of one environment, or of several, time x environments with the
/// environments contiguous: entry [t * environments + e]. (An Eigen matrix of environments x time is that:
/// `view(matrix)`.) Several episodes may follow each other. A column that a target doesn't read may be empty. There is
/// one convention:
///
/// - Every entry belongs to transition t, (s_t, a_t, r_t, s'_t), flags too: `terminated[t]` and `truncated[t]` say how
///   transition t ended, not how the next one begins. `reward[t]` is what a_t earned.
/// - s'_t is the state that transition t itself arrived in, also where the episode ended there: never the first state
///   of the next episode. `next_value[t]` is its value.
/// - `terminated[t]`: nothing follows. s'_t is worth 0 and its value isn't read: it may be NaN. Give it unmasked: the
///   targets own the mask.
/// - `truncated[t]`: the episode was cut off (a time limit). The value of s'_t is counted, and nothing of the next
///   episode. Where both flags are set, the transition terminated. The end of the data is a truncation of every
///   environment.
/// - The values of s'_t are given in one of two forms. Either `next_value` has T entries, and `value` T or none; or
///   `next_value` is empty and `value` has T + 1 (with environments: T + 1 rows), where s'_t is the next row's state.
///   The second form can't hold the state before a reset, so in it only the last row may be truncated. T values without
///   the last state's are an error.
///
/// `discount` and `lambda` (in [0, 1]) replace the numbers of the same name in a target's options; `discount[t]`
/// multiplies what follows transition t. `S` is `float` or `double`; flags are contiguous `bool`, such as Eigen's
/// `Array<bool, Dynamic, 1>` or a `std::unique_ptr<bool[]>` (a `std::vector<bool>` has no such memory).
///
///   gae(Steps<double>{.reward = r, .value = v, .terminated = view(done)}, {.advantage = a}, {.discount = 0.99});
template <Scalar S>
struct Steps {
  std::span<const S> reward;                      ///< r_t
  std::span<const S> value = {};                  ///< V(s_t); for action values E_pi Q(s_t, .)
  std::span<const S> next_value = {};             ///< V(s'_t); for action values E_pi Q(s'_t, .)
  std::span<const bool> terminated = {};          ///< empty: none did
  std::span<const bool> truncated = {};           ///< empty: none was
  std::span<const S> discount = {}, lambda = {};  ///< per transition, in [0, 1]; empty: the options' number
  std::span<const S> ratio = {};                  ///< pi(a_t | s_t) / mu(a_t | s_t) >= 0, of the action taken
  std::span<const S> action_value = {};           ///< Q(s_t, a_t), of the action taken
  std::span<const S> probability = {};            ///< pi(a_t | s_t) in [0, 1], of the action taken
  std::span<const S> sigma = {};                  ///< Q(sigma)'s degree of sampling at a_t, in [0, 1]
  std::size_t environments = 1;                   ///< entries in a row
};

/// No limit to the number of steps that a target looks ahead.
inline constexpr std::size_t all_steps = static_cast<std::size_t>(-1);

}  // namespace valence
