#include "valence/io/learning_curve.hpp"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"

using namespace valence;
using test::message_of, test::says;

namespace {

TrainingLog log_of(std::vector<std::pair<double, std::int64_t>> episodes) {
  TrainingLog log;
  for (const auto& [reward, length] : episodes) {
    log.episodes.push_back({.total_reward = reward, .length = length, .terminated = true});
    log.steps += length;
  }
  return log;
}

}  // namespace

TEST_CASE("runs of different lengths come to one grid, smoothed over their last episodes") {
  // Ends of episodes: run 0 at 4, 6, 12, 20; run 1 at 2, 10, 14. All have one from 4 on, all have one until 14.
  const TrainingLog runs[] = {log_of({{1, 4}, {3, 2}, {8, 6}, {100, 8}}), log_of({{10, 2}, {20, 8}, {60, 4}})};
  const Curve curve = learning_curve("x", runs, {.points = 6, .window = 2});
  CHECK(curve.name == "x");
  CHECK(curve.x == std::vector<double>{4, 6, 8, 10, 12, 14});
  REQUIRE(curve.y.size() == 2);
  CHECK(curve.y[0] == std::vector<double>{1, 2, 2, 2, 5.5, 5.5});
  CHECK(curve.y[1] == std::vector<double>{10, 10, 10, 15, 15, 40});
  const Curve unsmoothed = learning_curve("x", runs, {.points = 2, .window = 1});
  CHECK(unsmoothed.y[0] == std::vector<double>{1, 8});
  CHECK(unsmoothed.y[1] == std::vector<double>{10, 60});
  // What has left the window leaves no trace.
  const TrainingLog huge[] = {log_of({{1e17, 1}, {0.5, 1}, {0.25, 1}})};
  CHECK(learning_curve("x", huge, {.points = 3, .window = 1}).y[0] == std::vector<double>{1e17, 0.5, 0.25});
}

TEST_CASE("logs that make no curve are refused") {
  const TrainingLog good = log_of({{1, 4}, {3, 2}});
  const auto refused = [&](std::vector<TrainingLog> runs, const LearningCurveOptions& options = {}) {
    return message_of([&] { learning_curve("x", runs, options); });
  };
  CHECK(says(refused({}), "runs", "empty"));
  CHECK(says(refused({good, TrainingLog{}}), "run 1", "no episode"));
  CHECK(says(refused({good, log_of({{1, 1}, {std::nan(""), 9}})}), "episode 1 of run 1", "nan"));
  CHECK(says(refused({log_of({{1, 1}, {1, 0}})}), "episode 1 of run 0", "length 0"));
  CHECK(says(refused({good, log_of({{1, 7}, {1, 9}})}), "step 6", "more episodes"));
  CHECK(says(refused({log_of({{1, 7}})}), "step 7"));
  CHECK(says(refused({good}, {.points = 1}), "points", "1"));
  CHECK(says(refused({good}, {.window = 0}), "window", "0"));
}
