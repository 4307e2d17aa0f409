#include "io/files.hpp"
#include "support/catch.hpp"

#if defined(_WIN32)

TEST_CASE("a run killed at 100 random points ends with the bits of one that wasn't", "[F2][F10]") {
  WARN("skipped: needs fork and SIGKILL, which Windows doesn't have");
}

#else

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <string>

#include "valence/agent/dqn.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/random.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/io/checkpoint.hpp"

using namespace valence;

namespace {

constexpr std::int64_t steps = 4000;

/// Trains to the end, from the checkpoint if there is one; as a program of its own would.
void train_to_the_end(const std::filesystem::path& path) {
  const DqnOptions options{.n_step = 2,
                           .priorities = PriorityOptions{},
                           .epsilon = LinearSchedule{1, 0.05, 2500},
                           .replay = 500,
                           .batch = 16,
                           .warm_up = 100,
                           .target_every = 150};
  Run run{Dqn{Mlp<float>{{4, 16, 2}, Activation::relu}, ScalarHead{}, Adam{.step_size = 1e-3}, options},
          TimeLimit{CartPole{}}, Rng{7}};
  train_with_checkpoints(run, {.path = path, .steps = steps, .every = 200, .kind = "killed"});
}

/// A child that trains. Nothing of the test's own is run there, not even destructors.
pid_t start(const std::filesystem::path& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 0;
    try {
      train_to_the_end(path);
    } catch (const std::exception&) { code = 1; }
    ::_exit(code);
  }
  return child;
}

}  // namespace

TEST_CASE("a run killed at 100 random points ends with the bits of one that wasn't", "[F2][F10]") {
  const test::TemporaryFolder folder;
  const auto begun = std::chrono::steady_clock::now();
  train_to_the_end(folder / "whole");
  const auto whole_us = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begun);
  const std::string expected = test::content_of(folder / "whole");
  REQUIRE(expected.size() > 1000);

  // A child lives for up to a third of what it would need: some die before their first save, some while they write, and
  // a run takes several lives. Where one ends, the next begins.
  Rng rng{2024};
  const auto longest = std::max<std::int64_t>(whole_us.count() / 3, 2000);
  int kills = 0, runs = 0;
  for (int children = 0; kills < 100 || runs == 0 || std::filesystem::exists(folder / "run"); ++children) {
    REQUIRE(children < 2000);
    const pid_t child = start(folder / "run");
    REQUIRE(child > 0);
    if (kills < 100) {
      ::usleep(static_cast<useconds_t>(rng.below(longest)));
      ::kill(child, SIGKILL);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) {
      REQUIRE(WTERMSIG(status) == SIGKILL);
      ++kills;
      continue;
    }
    REQUIRE(WIFEXITED(status));
    REQUIRE(WEXITSTATUS(status) == 0);  // the checkpoint was whole, whenever the one before it died
    REQUIRE(test::content_of(folder / "run") == expected);
    REQUIRE(folder.files().size() == 2);  // the dead left nothing behind
    std::filesystem::remove(folder / "run");
    ++runs;
  }
  CHECK(kills == 100);
  CHECK(runs >= 1);
}

#endif
