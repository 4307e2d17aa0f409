#include <cstdint>
#include <utility>

#include "io/checkpoint_resume.hpp"
#include "support/catch.hpp"
#include "valence/agent/sac.hpp"
#include "valence/agent/td3.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/random.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/wrappers.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/policy/exploration_noise.hpp"
#include "valence/policy/squashed_gaussian.hpp"

using namespace valence;
using test::check_resume;

namespace {

using Net = Mlp<float>;

auto sac_run(std::uint64_t seed) {
  const SquashedGaussian law{Pendulum{}.actions()};
  return Run{Sac{Net{{3, 10, law.size()}, Activation::relu},
                 law,
                 Net{{4, 10, 1}, Activation::relu},
                 Adam{.step_size = 1e-3},
                 {.replay = 200, .batch = 16, .warm_up = 60, .n_step = 2, .step_factor = LinearSchedule{1, 0.1, 500}},
                 Rng{seed}},
             NormalizeState{TimeLimit{Pendulum{}}}, Rng{seed}};
}

auto td3_run(std::uint64_t seed) {
  return Run{Td3{Net{{3, 10, 1}, Activation::relu},
                 Pendulum{}.actions(),
                 Net{{4, 10, 1}, Activation::relu},
                 Adam{.step_size = 1e-3},
                 OrnsteinUhlenbeckNoise{1},
                 {.replay = 200, .batch = 16, .warm_up = 60},
                 Rng{seed}},
             TimeLimit{Pendulum{}, 70}, Rng{seed}};
}

}  // namespace

TEST_CASE("SAC resumes bit for bit: temperature, critics' targets, running scale of the states", "[F2][F3][F4][F6]") {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    auto run = sac_run(seed);
    run.advance(331);  // mid-episode, the ring of 200 wrapped round
    REQUIRE(run.agent.updates() > 200);
    check_resume(run, sac_run(seed + 100), 300);
  }
}

TEST_CASE("random warm-up is not repeated after loading, nor cut short", "[F4]") {
  auto run = sac_run(4);
  run.advance(40);  // before the first update
  const auto loaded = check_resume(run, sac_run(5), 200);
  REQUIRE(loaded.agent.updates() == 0);
}

TEST_CASE("TD3 resumes bit for bit: between two steps of its actor, with noise that remembers", "[F2][F3][F6]") {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    auto run = td3_run(seed);
    run.advance(332);
    while (run.agent.updates() % 2 == 0) run.advance(1);
    check_resume(run, td3_run(seed + 100), 300);
  }
}
