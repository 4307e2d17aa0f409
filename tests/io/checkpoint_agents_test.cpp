#include <cstdint>
#include <filesystem>
#include <string>

#include "io/checkpoint_resume.hpp"
#include "io/files.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/a2c.hpp"
#include "valence/agent/dqn.hpp"
#include "valence/agent/ppo.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/wrappers.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/noisy.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/policy/categorical.hpp"

using namespace valence;
using test::check_resume;
using test::state_bytes;

namespace {

using Net = Mlp<float>;

auto rainbow_run(std::uint64_t seed, const DqnOptions& changed = {}) {
  DqnOptions options = changed;
  options.double_q = true;
  options.n_step = 3;
  options.priorities = PriorityOptions{};
  options.beta = LinearSchedule{0.4, 1, 300};      // by updates: its knee lies after the save
  options.epsilon = LinearSchedule{1, 0.05, 900};  // by choices: likewise
  options.step_factor = LinearSchedule{1, 0.1, 250};
  options.replay = 256, options.batch = 16, options.warm_up = 50, options.target_every = 90;
  return Run{Dqn{Noisy{Net{{4, 12, 2}, Activation::relu}}, ScalarHead{}, Adam{.step_size = 1e-3}, options, Rng{seed}},
             NormalizeState{TimeLimit{CartPole{}}}, Rng{seed}};
}

template <class Agent>
auto on_cart_pole(Agent agent, std::uint64_t seed) {
  return Run{std::move(agent), TimeLimit{CartPole{}}, Rng{seed}};
}

}  // namespace

TEST_CASE("DQN with priorities, n-step targets and noise resumes bit for bit", "[F2][F3][F4][F6]") {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    // 700 transitions: the ring of 256 has wrapped round, and an episode is being played.
    auto run = rainbow_run(seed), fresh = rainbow_run(seed + 100);
    run.advance(700);
    while (run.episode().length < 3) run.advance(1);
    REQUIRE(run.agent.updates() > 100);
    const auto loaded = check_resume(run, fresh, 600);
    // F6: what the memory gives is the same, to the bit.
    ReplayBatch<float> a, b;
    Rng left{5}, right{5};
    for (int k = 0; k < 10; ++k) {
      run.agent.memory().sample(100, a, left, {.steps = 3, .discount = 0.9});
      loaded.agent.memory().sample(100, b, right, {.steps = 3, .discount = 0.9});
      REQUIRE(a.id == b.id);
      REQUIRE((a.state.array() == b.state.array()).all());
      REQUIRE((a.next.array() == b.next.array()).all());
      REQUIRE((a.reward.array() == b.reward.array()).all());
      REQUIRE((a.terminated == b.terminated).all());
    }
  }
}

TEST_CASE("a target network is what it was right after loading", "[F3]") {
  auto run = rainbow_run(1), fresh = rainbow_run(2);
  run.advance(520);  // 70 transitions and their updates after the target last moved
  const Eigen::Map<const Eigen::VectorXf> theta(run.agent.parameters().data(),
                                                static_cast<Eigen::Index>(run.agent.parameters().size()));
  const Eigen::Map<const Eigen::VectorXf> target(run.agent.target_parameters().data(), theta.size());
  REQUIRE_FALSE((theta.array() == target.array()).all());
  from_checkpoint(to_checkpoint(run), fresh);
  const Eigen::Map<const Eigen::VectorXf> loaded(fresh.agent.target_parameters().data(), theta.size());
  CHECK((loaded.array() == target.array()).all());
  const Eigen::Map<const Eigen::VectorXf> online(fresh.agent.parameters().data(), theta.size());
  CHECK((online.array() == theta.array()).all());
}

TEST_CASE("PPO and A2C resume bit for bit in the middle of a rollout and of an episode", "[F2][F4]") {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const auto ppo = [](std::uint64_t s) {
      return on_cart_pole(Ppo{Parallel{Net{{4, 12, 2}, Activation::tanh}, Net{{4, 12, 1}, Activation::tanh}},
                              Softmax{.actions = 2},
                              Adam{.step_size = 3e-3},
                              {.horizon = 128, .epochs = 3, .batch = 32, .step_factor = LinearSchedule{1, 0, 60}},
                              Rng{s}},
                          s);
    };
    auto run = ppo(seed), fresh = ppo(seed + 100);
    run.advance(300);  // 44 rows into the third rollout
    while (run.episode().length < 3) run.advance(1);
    REQUIRE(run.agent.updates() == 24);
    check_resume(run, fresh, 500);
  }
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const auto a2c = [](std::uint64_t s) {
      return on_cart_pole(A2c{Net{{4, 12, 3}, Activation::tanh},
                              Softmax{.actions = 2},
                              RmsProp{.step_size = 7e-3},
                              {.horizon = 5, .entropy_weight = 0.01},
                              Rng{s}},
                          s);
    };
    auto run = a2c(seed), fresh = a2c(seed + 100);
    run.advance(203);
    while (run.episode().length < 3 || run.steps() % 5 == 0) run.advance(1);
    check_resume(run, fresh, 300);
  }
}

TEST_CASE("an agent's checkpoint doesn't load into another", "[F5][F8]") {
  auto run = rainbow_run(1);
  run.advance(300);
  const Safetensors file = to_checkpoint(run);
  const auto refusal = [&](auto other) {
    const auto before = state_bytes(other);
    const std::string message = test::message_of([&] { from_checkpoint(file, other); });
    CHECK(state_bytes(other) == before);
    return message;
  };
  // Another network, no priorities, no noise.
  const auto dqn = [](auto net, DqnOptions options) {
    return Run{Dqn{net, ScalarHead{}, Adam{.step_size = 1e-3}, options}, NormalizeState{TimeLimit{CartPole{}}}, Rng{1}};
  };
  CHECK(test::says(
      refusal(dqn(Noisy{Net{{4, 13, 2}, Activation::relu}}, {.priorities = PriorityOptions{}, .replay = 256})),
      "0.0.0.0.0.weight", "[12, 4]", "[13, 4]"));
  CHECK(test::says(refusal(dqn(Noisy{Net{{4, 12, 2}, Activation::relu}}, {.replay = 256})), "is not a field"));
  CHECK(test::says(refusal(dqn(Net{{4, 12, 2}, Activation::relu}, {.priorities = PriorityOptions{}, .replay = 256})),
                   "is not a field"));
}

TEST_CASE("a run trains with checkpoints and callbacks, and goes on from the file", "[F2]") {
  const test::TemporaryFolder folder;
  auto whole = rainbow_run(1);
  whole.advance(500);
  auto first = rainbow_run(1), second = rainbow_run(2);
  int episodes = 0;
  std::uint64_t reports = 0;
  const auto count = [&](const Episode&) { ++episodes; };
  const auto stop = [&](const Episode&) { return episodes < 5; };
  const auto report = [&](const ProgressEvent&) { ++reports; };
  CHECK_FALSE(train_with_checkpoints(first, {.path = folder / "run", .steps = 500, .every = 70}, count, stop, report));
  CHECK(episodes == 5);
  CHECK(first.log().episodes.size() == 5);
  CHECK(first.steps() < 500);
  CHECK(reports >= 1);
  CHECK(train_with_checkpoints(second, {.path = folder / "run", .steps = 500, .every = 70}, report));
  CHECK(state_bytes(second) == state_bytes(whole));
}
