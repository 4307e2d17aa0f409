#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/metrics.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/io/text.hpp"

/// What a training run tells while it runs: rows of named numbers, each at a step. `MetricLog` gathers them; where they
/// go is a sink's matter: `CsvLog` (csv_log.hpp), `TensorBoardLog` (tensorboard.hpp).
namespace valence {

/// The names that stable-baselines3 logs by (its page "Logger"), which the tools round it look for. A log takes any
/// other name too.
namespace metric {

inline constexpr std::string_view ep_rew_mean = "rollout/ep_rew_mean";  ///< mean return of the last 100 episodes
inline constexpr std::string_view ep_len_mean = "rollout/ep_len_mean";  ///< their mean length, in steps
inline constexpr std::string_view exploration_rate = "rollout/exploration_rate";  ///< epsilon of epsilon-greedy
inline constexpr std::string_view rollout_success_rate = "rollout/success_rate";  ///< share of episodes, in [0, 1]

inline constexpr std::string_view episodes = "time/episodes";                ///< episodes that ended
inline constexpr std::string_view fps = "time/fps";                          ///< steps a second
inline constexpr std::string_view iterations = "time/iterations";            ///< rollouts, each with its updates
inline constexpr std::string_view time_elapsed = "time/time_elapsed";        ///< seconds
inline constexpr std::string_view total_timesteps = "time/total_timesteps";  ///< steps in the environment

inline constexpr std::string_view actor_loss = "train/actor_loss";
inline constexpr std::string_view approx_kl = "train/approx_kl";  ///< between the old policy and the new
inline constexpr std::string_view clip_fraction = "train/clip_fraction";
inline constexpr std::string_view clip_range = "train/clip_range";
inline constexpr std::string_view critic_loss = "train/critic_loss";
inline constexpr std::string_view ent_coef = "train/ent_coef";
inline constexpr std::string_view ent_coef_loss = "train/ent_coef_loss";
inline constexpr std::string_view entropy_loss = "train/entropy_loss";  ///< minus the mean entropy
inline constexpr std::string_view explained_variance = "train/explained_variance";
inline constexpr std::string_view learning_rate = "train/learning_rate";
inline constexpr std::string_view loss = "train/loss";
inline constexpr std::string_view n_updates = "train/n_updates";
inline constexpr std::string_view policy_gradient_loss = "train/policy_gradient_loss";
inline constexpr std::string_view policy_std = "train/std";
inline constexpr std::string_view value_loss = "train/value_loss";

inline constexpr std::string_view mean_ep_length = "eval/mean_ep_length";
inline constexpr std::string_view mean_reward = "eval/mean_reward";
inline constexpr std::string_view eval_success_rate = "eval/success_rate";

}  // namespace metric

/// When a `MetricLog` writes, and over what it averages.
struct MetricLogOptions {
  /// 1 to 2^60: a row is due at the end of the first episode after so many steps since the last; 1 for a row an
  /// episode.
  std::int64_t steps = 1000;
  std::size_t window = 100;  ///< >= 1: means are over so many episodes, the last
  /// Whether what stands at the place already stays. If not, a CSV file begins anew, and TensorBoard is told to forget.
  bool append = true;
  double (*clock)() = nullptr;  ///< seconds since 1970; by default the system's clock
};

/// Where rows go: `write` takes one, whole, at a step and a time in seconds since 1970; `drop_after` takes back the
/// rows of all later steps, all of them with -1.
template <class S>
concept MetricSink = requires(S& sink, std::int64_t step, double seconds, std::span<const Metric> row) {
  sink.write(step, seconds, row);
  sink.drop_after(step, seconds);
};

/// A callback for `train` and the solvers, and a place for numbers of one's own:
///
///     train(agent, env, {.steps = 100'000}, rng, CsvLog{"progress.csv"}, TensorBoardLog{"runs/1"});
///
///     CsvLog log{"progress.csv"};                   // or by hand, like stable-baselines3's logger
///     log.record(metric::loss, loss);
///     log.dump(step);                               // the row
///
/// From the episodes of `train` it makes `rollout/ep_rew_mean` and `ep_len_mean` over the last 100, `time/episodes`,
/// `time/time_elapsed` in seconds of this log's life, and `time/fps`, its steps by these seconds (left out while the
/// clock has not moved). What was recorded since the last row joins the next one, and so do the agent's `metrics()`.
/// NaN and infinities are logged, not refused: a log is where a diverged loss is to be seen. Until it is told an
/// episode, a solver's progress gives a row with `<task>/<metric>` at its step.
///
/// The last row, of what came after the last that was due, is written by `finish()`, which the destructor calls. Every
/// row is with the system when the call returns: killing the process loses none. Errors of the file system throw
/// `Error`.
///
/// A run that goes on from a checkpoint tells so with `resume(run.log())`, and the log goes on as if nothing had been.
template <MetricSink Sink>
class MetricLog {
 public:
  /// `path`: the sink's file or folder.
  explicit MetricLog(const std::filesystem::path& path, const MetricLogOptions& options = {})
      : options_(checked(options)), start_(now()), sink_(path, start_) {
    if (!options_.append) sink_.drop_after(-1, start_);
  }
  MetricLog(const MetricLog&) = delete;
  MetricLog& operator=(const MetricLog&) = delete;
  ~MetricLog() {
#if defined(__cpp_exceptions)
    try {
      finish();
    } catch (...) {  // a destructor must not throw; call finish() to hear of a full disk
    }
#else
    finish();
#endif
  }

  /// Keeps a number for the next row; a second one of the same name replaces the first. `name`: UTF-8 without control
  /// characters, not empty, and not `time/total_timesteps`, which is the row's step.
  void record(std::string_view name, double value) {
    constexpr auto where = "MetricLog::record";
    if (name.empty()) fail(where, "name is empty; expected one like '{}'", metric::loss);
    if (find_invalid_utf8(name) != std::string_view::npos ||
        std::any_of(name.begin(), name.end(), [](char c) { return (c >= 0 && c < 0x20) || c == 0x7F; }))
      fail(where, "name is {}; expected UTF-8 without control characters", shown(name));
    if (name == metric::total_timesteps) fail(where, "name is '{}'; expected that to be the argument of dump()", name);
    for (Recorded& known : recorded_)
      if (known.name == name) {
        known.value = value;
        return;
      }
    recorded_.push_back({std::string(name), value});
  }
  /// The same with each of several.
  void record(std::span<const Metric> metrics) {
    for (const Metric& m : metrics) record(m.name, m.value);
  }

  /// Writes what was recorded as the row of `step` >= 0. Nothing where nothing was recorded.
  void dump(std::int64_t step) {
    if (step < 0) fail("MetricLog::dump", "step is {}; expected 0 or more", step);
    if (recorded_.empty()) return;
    std::vector<Metric> row;
    for (const Recorded& r : recorded_) row.push_back({r.name, r.value});
    sink_.write(step, now(), row);
    recorded_.clear();
  }

  /// An episode ended.
  void operator()(const Episode& episode) {
    if (episode.length < 0) fail("MetricLog", "the episode's length is {}; expected 0 or more", episode.length);
    waiting_ = true;
    if (take_in(episode)) write_row();
  }

  /// What an agent tells of its learning.
  void operator()(const LearningEvent& event) {
    record(event.metrics);
    told_ = event.step;
  }

  /// How far a solver is. Not asked of a training, whose episodes say more.
  void operator()(const ProgressEvent& event) {
    if (episodes_ > 0 || event.metric.empty()) return;
    std::string name(event.task);
    if (!name.empty()) name += '/';
    record(name += event.metric, event.value);
    constexpr auto most = static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)());
    dump(static_cast<std::int64_t>((std::min)(event.step, most)));
  }

  /// Writes what waits for a row.
  void finish() {
    if (waiting_)
      write_row();
    else
      dump((std::max)(steps_, told_));
  }

  /// Goes on where a run stood, from its log at the checkpoint: counts and means are as they were, rows of later steps,
  /// of the part that was lost, are dropped, and so the rows that follow are those of a run that was never cut. Only
  /// what had been recorded for a row that was not written yet is lost. To be called before the first episode.
  void resume(const TrainingLog& log) {
    steps_ = ended_ = told_ = episodes_ = 0;
    due_ = options_.steps;
    recent_.clear();
    oldest_ = 0;
    waiting_ = false;
    for (const Episode& episode : log.episodes) {
      waiting_ = !take_in(episode);
      if (!waiting_) due_ = steps_ + options_.steps;
    }
    first_step_ = steps_;
    sink_.drop_after(log.steps, now());
  }

  /// Steps so far: those of the episodes that were told, or as many as the last of them or the agent's `LearningEvent`
  /// says, which know of episodes that are still played in other lanes.
  std::int64_t steps() const { return steps_; }
  /// Episodes that were told.
  std::int64_t episodes() const { return episodes_; }

 private:
  struct Recorded {
    std::string name;
    double value;
  };

  static const MetricLogOptions& checked(const MetricLogOptions& options) {
    check_range("MetricLog", "steps", options.steps, std::int64_t{1}, std::int64_t{1} << 60);
    check_positive("MetricLog", "window", options.window);
    return options;
  }

  double now() const {
    const double seconds =
        options_.clock != nullptr
            ? options_.clock()
            : std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    check_finite("MetricLog", "the clock's time", seconds);
    return seconds;
  }

  /// Is a row due?
  bool take_in(const Episode& episode) {
    if (recent_.size() < options_.window)
      recent_.push_back(episode);
    else
      recent_[oldest_] = episode, oldest_ = (oldest_ + 1) % options_.window;
    ++episodes_;
    ended_ += episode.length;
    steps_ = (std::max)({ended_, told_, episode.end});
    return steps_ >= due_;
  }

  void write_row() {
    double reward = 0, length = 0;
    for (std::size_t k = 0; k < recent_.size(); ++k) {  // oldest first: after a resumption the same to the last bit
      const Episode& episode = recent_[(oldest_ + k) % recent_.size()];
      reward += episode.total_reward;
      length += static_cast<double>(episode.length);
    }
    const auto count = static_cast<double>(recent_.size());
    record(metric::ep_rew_mean, reward / count);
    record(metric::ep_len_mean, length / count);
    record(metric::episodes, static_cast<double>(episodes_));
    const double elapsed = now() - start_;
    record(metric::time_elapsed, elapsed);
    if (elapsed > 0) record(metric::fps, static_cast<double>(steps_ - first_step_) / elapsed);
    dump(steps_);
    due_ = steps_ + options_.steps;
    waiting_ = false;
  }

  MetricLogOptions options_;
  double start_;
  Sink sink_;
  std::vector<Recorded> recorded_;
  std::vector<Episode> recent_;
  std::size_t oldest_ = 0;  // of these, once they are as many as the window
  std::int64_t steps_ = 0, episodes_ = 0, first_step_ = 0, due_ = options_.steps;
  std::int64_t ended_ = 0;  // steps of the episodes that were told
  std::int64_t told_ = 0;   // steps that an agent told of
  bool waiting_ = false;    // episodes for a row
};

}  // namespace valence
