#include <fmt/core.h>

#include <cmath>
#include <limits>

#include <valence/value.hpp>

namespace vl = valence;

int main() {
  // [target]
  // Four steps: an episode that ran out of time after the second, and one that reached its goal.
  const double unread = std::numeric_limits<double>::quiet_NaN();  // nothing follows the goal
  const Eigen::ArrayXd reward{{1, 1, 1, 1}}, value{{2, 3, 4, 5}}, next_value{{3, 7, 5, unread}};
  const Eigen::Array<bool, 4, 1> terminated{{false, false, false, true}}, truncated{{false, true, false, false}};
  Eigen::ArrayXd advantage(4), target(4);

  const vl::Steps<double> steps{.reward = vl::view(reward),
                                .value = vl::view(value),
                                .next_value = vl::view(next_value),
                                .terminated = vl::view(terminated),
                                .truncated = vl::view(truncated)};
  vl::gae(steps, {.advantage = vl::view(advantage), .target = vl::view(target)}, {.discount = 0.9, .lambda = 0.5});
  // [/target]
  for (Eigen::Index t = 0; t < 4; ++t) fmt::print("advantage {:6.3f}, value target {:6.3f}\n", advantage[t], target[t]);
  return std::abs(advantage[0] - 3.635) < 1e-12 ? 0 : 1;
}
