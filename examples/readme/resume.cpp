// The README's run that goes on after any kill as if nothing had been.
#include <fmt/core.h>

#include <valence/io.hpp>
#include <valence/valence.hpp>

namespace vl = valence;

int main() {
  // [resume]
  const vl::TimeLimit env{vl::Pendulum{}};
  const vl::SquashedGaussian law{env.actions(), {.min_log_std = -20, .max_log_std = 2}};
  vl::Sac agent{vl::Mlp<float>{{3, 64, 64, law.size()}, vl::relu},
                law,
                vl::Mlp<float>{{3 + 1, 64, 64, 1}, vl::relu},
                vl::Adam{.step_size = 1e-3},
                {.replay = 20'000, .batch = 64}};
  vl::Run run{agent, env, vl::Rng{7}};  // agent, environment, generators, and where the episode stands
  vl::train_with_checkpoints(run, {.path = "build/readme/run.safetensors", .steps = 3'000, .every = 1'000});
  // [/resume]
  fmt::print("{} steps, {} updates\n", run.steps(), run.agent.updates());
}
