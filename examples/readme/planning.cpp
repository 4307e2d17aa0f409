#include <fmt/core.h>

#include <valence/env.hpp>
#include <valence/planning.hpp>

namespace vl = valence;

int main() {
  // [planning]
  const vl::FrozenLake lake;        // Gymnasium's; or your own, from a table, a callable, a PRISM file, logged data
  const vl::FiniteMdp model{lake};  // an environment that lists its outcomes is a model
  const auto plan = vl::value_iteration(model, {.discount = 0.99, .tolerance = 1e-8});
  fmt::print("{}\n{}", vl::render_values(lake, vl::view(plan.value)), vl::render_policy(lake, plan.policy));
  fmt::print("no value is further than {:.1g} from the optimal one\n", plan.bound);
  // [/planning]
  return plan.converged ? 0 : 1;
}
