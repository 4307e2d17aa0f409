#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

/// Advantages of several answers to one prompt (or actions in one state), whose baseline is the other answers. Rewards
/// stand group after group; each group is normalised by itself (pitfall G3), in double and from differences to its
/// first reward, so equal rewards give exact zeros, never NaN and no amplified rounding (G1, G4). All throw `Error`
/// before anything is changed for a reward that isn't finite, by its index (G5), and for sizes that aren't whole
/// groups. `advantages` may be `rewards`. No allocation.
namespace valence {

namespace detail {

/// f(first, origin, mean - origin) for each group.
template <class S, class F>
void for_groups(std::string_view where, std::span<const S> rewards, std::size_t group_size, std::size_t least,
                std::span<S> advantages, F&& f) {
  if (group_size < least) fail(where, "group_size is {}; expected at least {}", group_size, least);
  if (rewards.empty()) fail(where, "rewards is empty; expected at least one group of {}", group_size);
  if (rewards.size() % group_size != 0)
    fail(where, "rewards has {} entries; expected a multiple of the {} of a group", rewards.size(), group_size);
  check_size(where, "advantages", advantages.size(), rewards.size());
  // So that neither the advantages nor the sums of squares overflow.
  const S most = static_cast<S>((std::min)(1e140, static_cast<double>((std::numeric_limits<S>::max)()) / 8));
  check_range(where, "rewards", rewards, -most, most);
  for (std::size_t first = 0; first < rewards.size(); first += group_size) {
    const double origin = static_cast<double>(rewards[first]);
    double sum = 0;
    for (std::size_t i = 0; i < group_size; ++i) sum += static_cast<double>(rewards[first + i]) - origin;
    f(first, origin, sum / static_cast<double>(group_size));
  }
}

}  // namespace detail

/// A_i = r_i - mean of the others = k / (k - 1) (r_i - mean r): leave-one-out (Kool et al. 2019; Ahmadian et al. 2024,
/// RLOO). `group_size` k >= 2. The baseline doesn't depend on the answer, so the gradient stays unbiased.
template <Scalar S>
void rloo(std::span<const S> rewards, std::size_t group_size, std::span<std::type_identity_t<S>> advantages) {
  detail::for_groups<S>("rloo", rewards, group_size, 2, advantages, [&](std::size_t first, double origin, double mean) {
    const double k = static_cast<double>(group_size), scale = k / (k - 1);
    for (std::size_t i = first; i < first + group_size; ++i)
      advantages[i] = static_cast<S>(scale * ((static_cast<double>(rewards[i]) - origin) - mean));
  });
}

/// What `grpo` divides by.
enum class GroupDeviation {
  population,  ///< the root of the mean square, divided by k
  sample,      ///< divided by k - 1 (TRL's, with epsilon = 1e-4); of a group of one: 0
  none         ///< nothing: Dr. GRPO (Liu et al. 2025, arXiv:2503.20783)
};

/// `epsilon` > 0 is added to the deviation.
struct GrpoOptions {
  GroupDeviation deviation = GroupDeviation::population;
  double epsilon = 1e-8;
};

/// A_i = (r_i - mean r) / (deviation + epsilon): GRPO (Shao et al. 2024, section 4.1.2). `group_size` >= 1; a group of
/// one has advantage 0. Not unbiased: each prompt is scaled by its own deviation.
template <Scalar S>
void grpo(std::span<const S> rewards, std::size_t group_size, std::span<std::type_identity_t<S>> advantages,
          const GrpoOptions& options = {}) {
  constexpr auto where = "grpo";
  check_positive(where, "epsilon", options.epsilon);
  detail::for_groups<S>(where, rewards, group_size, 1, advantages, [&](std::size_t first, double origin, double mean) {
    double scale = 1;
    if (options.deviation != GroupDeviation::none) {
      double squares = 0;
      for (std::size_t i = first; i < first + group_size; ++i) {
        const double d = (static_cast<double>(rewards[i]) - origin) - mean;
        squares += d * d;
      }
      const std::size_t n = options.deviation == GroupDeviation::sample && group_size > 1 ? group_size - 1 : group_size;
      scale = 1 / (std::sqrt(squares / static_cast<double>(n)) + options.epsilon);
    }
    for (std::size_t i = first; i < first + group_size; ++i)
      advantages[i] = static_cast<S>(scale * ((static_cast<double>(rewards[i]) - origin) - mean));
  });
}

}  // namespace valence
