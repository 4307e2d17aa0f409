#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "valence/agent/train.hpp"
#include "valence/core/error.hpp"
#include "valence/io/curve.hpp"

/// Learning curves: several runs of an agent on one grid of steps. `curves_svg` draws them.
///
///     std::vector<TrainingLog> sarsa, q_learning;                       // a run each, of different seeds
///     const Curve curves[] = {learning_curve("Sarsa", sarsa), learning_curve("Q-learning", q_learning)};
///     save_atomically("cliff.svg", curves_svg(curves, {.title = "Cliff walking"}));
namespace valence {

/// How runs become a curve.
struct LearningCurveOptions {
  std::size_t points = 200;  ///< of the grid, >= 2
  std::size_t window = 100;  ///< >= 1: each run is smoothed by the mean over so many episodes, the last
};

/// The runs on one grid of environment steps: at each point, of each run, the mean return of the last `window` episodes
/// that had ended by then (fewer at first). The grid is evenly spaced from where every run has ended its first episode
/// to where the shortest ended its last; nothing is extrapolated. Throws `Error` where there is no run, one without
/// episodes, or no such range.
inline Curve learning_curve(std::string name, std::span<const TrainingLog> runs,
                            const LearningCurveOptions& options = {}) {
  constexpr auto where = "learning_curve";
  check_range(where, "points", options.points, std::size_t{2}, std::size_t{1'000'000});
  check_positive(where, "window", options.window);
  if (runs.empty()) fail(where, "runs is empty; expected at least one");
  double first = 0, last = 0;
  for (std::size_t run = 0; run < runs.size(); ++run) {
    const auto& episodes = runs[run].episodes;
    if (episodes.empty()) fail(where, "run {} has no episode that ended; expected at least one", run);
    double steps = 0;
    for (std::size_t k = 0; k < episodes.size(); ++k) {
      if (episodes[k].length < 1)
        fail(where, "episode {} of run {} has length {}; expected 1 or more", k, run, episodes[k].length);
      if (!std::isfinite(episodes[k].total_reward))
        fail(where, "the return of episode {} of run {} is {}; expected a finite number", k, run,
             episodes[k].total_reward);
      steps += static_cast<double>(episodes[k].length);
    }
    first = (std::max)(first, static_cast<double>(episodes.front().length));
    last = run == 0 ? steps : (std::min)(last, steps);
  }
  if (!(first < last))
    fail(where,
         "not every run has ended an episode before step {}, where the shortest run's last one ends; expected more "
         "episodes",
         last);

  Curve curve{.name = std::move(name), .x = {}, .y = {}};
  for (std::size_t i = 0; i < options.points; ++i)
    curve.x.push_back(std::lerp(first, last, static_cast<double>(i) / static_cast<double>(options.points - 1)));
  for (const TrainingLog& run : runs) {
    const auto& episodes = run.episodes;
    auto& y = curve.y.emplace_back();
    std::size_t ended = 0;  // episodes by now
    double steps = 0;       // of these
    for (const double x : curve.x) {
      for (; ended < episodes.size() && steps + static_cast<double>(episodes[ended].length) <= x; ++ended)
        steps += static_cast<double>(episodes[ended].length);
      // Summed anew at each point: a running sum keeps what rounding left of returns that have gone.
      const std::size_t count = (std::min)(ended, options.window);
      double sum = 0;
      for (std::size_t k = ended - count; k < ended; ++k) sum += episodes[k].total_reward;
      y.push_back(sum / static_cast<double>(count));
    }
  }
  return curve;
}

}  // namespace valence
