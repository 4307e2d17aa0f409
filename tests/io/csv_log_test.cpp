#include "valence/io/csv_log.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#endif

#include "io/files.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/q_learning.hpp"
#include "valence/function/tabular.hpp"
#include "valence/io/tensorboard.hpp"
#include "valence/mdp/spaces.hpp"

using namespace valence;
using test::content_of, test::message_of, test::says, test::TemporaryFolder;

static_assert(EpisodeCallback<CsvLog> && ProgressCallback<CsvLog>);
static_assert(EpisodeCallback<TensorBoardLog> && ProgressCallback<TensorBoardLog>);

namespace {

double clock_now = 0;
double test_clock() { return clock_now; }
double still_clock() { return 1e9; }

/// To the right end; every third step slips, so that episodes differ in length.
struct Corridor {
  using State = int;
  using Action = int;
  int reset(Rng&) { return x = 2; }
  Step<int> step(int a, Rng& rng) {
    x += (a == 1) != rng.bernoulli(0.3) ? 1 : -1;
    x = (std::max)(x, 0);
    return {.next = x, .reward = x == 6 ? 1.0 : -0.125, .terminated = x == 6};
  }
  Discrete actions() const { return {2}; }
  Discrete states() const { return {7}; }
  template <class A>
  void archive(A& ar) {
    ar(x);
  }
  int x = 0;
};

auto learner() { return QLearning{Tabular{7, 2}, EpsilonGreedy{0.2}, {.step_size = 0.5, .discount = 0.9}}; }

struct Telling : decltype(learner()) {
  std::int64_t updates = 0;
  void learn(const Transition<int, int>& t, Rng& rng) {
    decltype(learner())::learn(t, rng);
    ++updates;
  }
  std::array<Metric, 1> metrics() const { return {{{metric::n_updates, static_cast<double>(updates)}}}; }
};

Episode episode(double total_reward, std::int64_t length) {
  return {.total_reward = total_reward, .length = length, .terminated = true};
}

}  // namespace

TEST_CASE("the names are stable-baselines3's") {
  // docs/common/logger.md of stable-baselines3, "Explanation of logger output".
  CHECK(metric::ep_rew_mean == "rollout/ep_rew_mean");
  CHECK(metric::ep_len_mean == "rollout/ep_len_mean");
  CHECK(metric::exploration_rate == "rollout/exploration_rate");
  CHECK(metric::rollout_success_rate == "rollout/success_rate");
  CHECK(metric::episodes == "time/episodes");
  CHECK(metric::fps == "time/fps");
  CHECK(metric::iterations == "time/iterations");
  CHECK(metric::time_elapsed == "time/time_elapsed");
  CHECK(metric::total_timesteps == "time/total_timesteps");
  CHECK(metric::actor_loss == "train/actor_loss");
  CHECK(metric::approx_kl == "train/approx_kl");
  CHECK(metric::clip_fraction == "train/clip_fraction");
  CHECK(metric::clip_range == "train/clip_range");
  CHECK(metric::critic_loss == "train/critic_loss");
  CHECK(metric::ent_coef == "train/ent_coef");
  CHECK(metric::ent_coef_loss == "train/ent_coef_loss");
  CHECK(metric::entropy_loss == "train/entropy_loss");
  CHECK(metric::explained_variance == "train/explained_variance");
  CHECK(metric::learning_rate == "train/learning_rate");
  CHECK(metric::loss == "train/loss");
  CHECK(metric::n_updates == "train/n_updates");
  CHECK(metric::policy_gradient_loss == "train/policy_gradient_loss");
  CHECK(metric::policy_std == "train/std");
  CHECK(metric::value_loss == "train/value_loss");
  CHECK(metric::mean_ep_length == "eval/mean_ep_length");
  CHECK(metric::mean_reward == "eval/mean_reward");
  CHECK(metric::eval_success_rate == "eval/success_rate");
}

TEST_CASE("episodes become rows: means over a window, a row after so many steps, the rest at the end") {
  TemporaryFolder folder;
  const auto path = folder / "runs" / "1" / "progress.csv";
  clock_now = 100;
  {
    CsvLog log{path, {.steps = 10, .window = 2, .clock = test_clock}};
    log(episode(8, 4));
    log(episode(-1, 5));  // 9 steps: none due
    CHECK(content_of(path).empty());
    clock_now = 102;
    log(episode(4, 3));  // 12: a row, over the last two
    CHECK(content_of(path) ==
          "time/total_timesteps,rollout/ep_rew_mean,rollout/ep_len_mean,time/episodes,time/time_elapsed,time/fps\n"
          "12,1.5,4,3,2,6\n");
    log(episode(1, 9));  // 21: nine since the last row
    clock_now = 104;
    log.record(metric::loss, 7);
    log.record(metric::loss, 0.1);  // the last counts
    log(episode(2, 1));             // 22: ten
    log(episode(3, 2));
    CHECK(log.steps() == 24);
    CHECK(log.episodes() == 6);
  }
  CHECK(content_of(path) ==
        "time/total_timesteps,rollout/ep_rew_mean,rollout/ep_len_mean,time/episodes,time/time_elapsed,time/fps,"
        "train/loss\n"
        "12,1.5,4,3,2,6,\n"
        "22,1.5,5,5,4,5.5,0.1\n"
        "24,2.5,1.5,6,4,6,\n");
}

TEST_CASE("the window is a hundred episodes, and while the clock stands there is no rate") {
  TemporaryFolder folder;
  {
    CsvLog log{folder / "a.csv", {.steps = 150, .clock = still_clock}};
    for (int k = 0; k < 150; ++k) log(episode(k, 1));
    log.finish();
    log.finish();  // nothing new
  }
  CHECK(content_of(folder / "a.csv") ==
        "time/total_timesteps,rollout/ep_rew_mean,rollout/ep_len_mean,time/episodes,time/time_elapsed\n"
        "150,99.5,1,150,0\n");
}

TEST_CASE("by hand: columns are the union of names, numbers read back to the bit in every locale", "[F1][F9]") {
  const test::DecimalComma comma;
  TemporaryFolder folder;
  const auto path = folder / "progress.csv";
  CsvLog log{path};
  const double values[] = {0.1, -0.0, 1e-310, 1.7976931348623157e308, 12345.6789};
  for (std::size_t k = 0; k < 5; ++k) {
    log.record("a", values[k]);
    if (k >= 2) log.record("b,\"c\"", values[4 - k]);
    log.dump(static_cast<std::int64_t>(k) << 40);
    log.dump(7);  // nothing recorded, nothing written
  }
  const auto table = load_csv(path);
  CHECK(table.names() == std::vector<std::string>{"time/total_timesteps", "a", "b,\"c\""});
  const auto a = table.numbers("a");
  REQUIRE(a.size() == 5);
  for (std::size_t k = 0; k < 5; ++k) {
    CHECK(a[k] == values[k]);
    CHECK(std::signbit(a[k]) == std::signbit(values[k]));
    if (k < 2)
      CHECK(table.cell(k, 2).empty());
    else
      CHECK(parse_number<double>(table.cell(k, 2)) == values[4 - k]);
  }
  CHECK(table.numbers<std::int64_t>("time/total_timesteps")[4] == std::int64_t{4} << 40);

  const Metric of_agent[] = {{"a", 3}, {metric::value_loss, std::numeric_limits<double>::quiet_NaN()}};
  log.record(of_agent);
  log.record(metric::loss, std::numeric_limits<double>::infinity());
  log.dump(9);
  CHECK(content_of(path).ends_with("\n9,3,,nan,inf\n"));  // seen, not hidden
  CHECK(folder.files().size() == 1);
}

TEST_CASE("a log is continued after its last whole line, wherever it was cut", "[F10]") {
  TemporaryFolder folder;
  const std::string whole = "time/total_timesteps,a,b\n10,1.5,\n20,,-2\n";
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    const auto path = folder.with("progress.csv", whole.substr(0, cut));
    {
      CsvLog log{path};
      log.record("b", 9);
      log.record("a", 8);
      log.dump(30);
    }
    const std::size_t kept = whole.substr(0, cut).rfind('\n') + 1;
    CAPTURE(cut);
    CHECK(content_of(path) == (kept == 0 ? "time/total_timesteps,b,a\n30,9,8\n" : whole.substr(0, kept) + "30,8,9\n"));
  }
  // As a spreadsheet saves it; a new column goes to the end of the cells.
  const auto path = folder.with("crlf.csv", "time/total_timesteps,a\r\n10,1.5\r\n");
  CsvLog log{path};
  log.record("b", 2);
  log.dump(11);
  CHECK(content_of(path) == "time/total_timesteps,a,b\n10,1.5,\n11,,2\n");
}

TEST_CASE("append = false begins anew") {
  TemporaryFolder folder;
  const auto path = folder.with("progress.csv", "time/total_timesteps,a\n10,1.5\n");
  CsvLog log{path, {.append = false}};
  CHECK(content_of(path).empty());
  log.record("b", 2);
  log.dump(0);
  CHECK(content_of(path) == "time/total_timesteps,b\n0,2\n");
}

TEST_CASE("a run that goes on from a checkpoint leaves the log of one that was never cut", "[F2]") {
  TemporaryFolder folder;
  const MetricLogOptions options{.steps = 25, .window = 7, .clock = still_clock};
  const auto tell_loss = [](CsvLog& log) {
    return [&log](const Episode& e) {
      if (log.episodes() > 5) log.record("train/something", e.total_reward / 3);  // a column that comes late
    };
  };
  const std::int64_t total = 1000;
  std::string expected;
  {
    CsvLog log{folder / "whole.csv", options};
    Run run{learner(), Corridor{}, Rng{5}};
    run.advance(total, tell_loss(log), log);
    REQUIRE(run.log().episodes.size() > 20);
    log.finish();
    expected = content_of(folder / "whole.csv");
  }
  for (const std::int64_t saved : {0, 1, 26, 103, 450, 998}) {
    CAPTURE(saved);
    const auto path = folder / "cut.csv";
    std::filesystem::remove(path);
    Run run{learner(), Corridor{}, Rng{5}};
    std::optional<Run<decltype(learner()), Corridor>> checkpoint;
    {
      // As if killed: it has played further than the checkpoint, and the last line is torn.
      CsvLog log{path, options};
      run.advance(saved, tell_loss(log), log);
      checkpoint.emplace(run);
      run.advance(77, tell_loss(log), log);
      std::ofstream(folder / "torn.csv", std::ios::binary) << content_of(path) << "12,3";
    }
    std::filesystem::rename(folder / "torn.csv", path);
    CsvLog log{path, options};
    log.resume(checkpoint->log());
    checkpoint->advance(total - saved, tell_loss(log), log);
    log.finish();
    // All but what was recorded for a row that had not come yet: no episode ends after step 998, so nothing replaces
    // it.
    CHECK(content_of(path) == (saved == 998 ? expected.substr(0, expected.rfind(',') + 1) + "\n" : expected));
  }
}

TEST_CASE("a run over lanes that goes on from a checkpoint leaves the log of one that was never cut", "[F2]") {
  // Four lanes: while an episode ends, others are played, so the run has made more steps than its episodes are long.
  TemporaryFolder folder;
  const MetricLogOptions options{.steps = 10, .window = 3, .clock = still_clock};
  std::vector<Episode> episodes;
  for (int k = 0; k < 12; ++k)
    episodes.push_back({.total_reward = 1.0 * k, .length = 3 + k % 4, .terminated = true, .end = 8 + 4 * k});
  const auto tell = [&](CsvLog& log, std::size_t begin, std::size_t end) {
    for (std::size_t k = begin; k < end; ++k) {
      log(LearningEvent{.step = episodes[k].end});
      log(episodes[k]);
    }
  };
  std::string expected;
  {
    CsvLog log{folder / "whole.csv", options};
    tell(log, 0, episodes.size());
    log.finish();
    expected = content_of(folder / "whole.csv");
  }
  CHECK(says(expected, "\n12,", "\n24,", "\n36,", "\n48,"));
  for (std::size_t saved = 0; saved <= episodes.size(); ++saved) {
    CAPTURE(saved);
    const auto path = folder / "cut.csv";
    std::filesystem::remove(path);
    {
      CsvLog log{path, options};
      tell(log, 0, episodes.size());  // further than the checkpoint, then killed
      std::ofstream(folder / "killed.csv", std::ios::binary) << content_of(path);
    }
    std::filesystem::rename(folder / "killed.csv", path);
    CsvLog log{path, options};
    TrainingLog so_far{.episodes = {episodes.begin(), episodes.begin() + static_cast<std::ptrdiff_t>(saved)}};
    so_far.steps = saved == 0 ? 0 : so_far.episodes.back().end;
    log.resume(so_far);
    tell(log, saved, episodes.size());
    log.finish();
    CHECK(content_of(path) == expected);
  }
}

TEST_CASE("a file that is no log is refused and left alone") {
  TemporaryFolder folder;
  for (const char* content : {"x,y\n1,2\n", "time/total_timesteps,a\n\"1\n2\",3\n", "time/total_timesteps,a\n1\n",
                              "\n\n", "time/total_timesteps,a,a\n"}) {
    CAPTURE(content);
    const auto path = folder.with("other.csv", std::string(content) + "torn");
    CHECK_THROWS_AS(CsvLog{path}, Error);
    CHECK_THROWS_AS((CsvLog{path, {.append = false}}), Error);
    CHECK(content_of(path) == std::string(content) + "torn");
  }
  CHECK(says(message_of([&] { CsvLog log{folder.with("o.csv", "x\n1\n")}; }), "o.csv", "time/total_timesteps"));
}

TEST_CASE("arguments out of range are refused before anything is written") {
  TemporaryFolder folder;
  const auto path = folder / "a.csv";
  const auto make = [&](const MetricLogOptions& options) { return message_of([&] { CsvLog log(path, options); }); };
  CHECK(says(make({.steps = 0}), "steps", "0"));
  CHECK(says(make({.window = 0}), "window", "0"));
  CHECK(says(make({.clock = +[] { return std::numeric_limits<double>::quiet_NaN(); }}), "clock", "nan"));
  CHECK(folder.files().empty());
  CsvLog log{path};
  CHECK(says(message_of([&] { log.record("", 1); }), "name", "empty"));
  CHECK(says(message_of([&] { log.record("a\nb", 1); }), "name", "\\x0a"));
  CHECK(says(message_of([&] { log.record("a\xFF", 1); }), "name", "\\xff"));
  CHECK(says(message_of([&] { log.record("time/total_timesteps", 1); }), "name", "dump"));
  CHECK(says(message_of([&] { log(episode(1, -3)); }), "length", "-3"));
  log.record("a", 1);
  CHECK(says(message_of([&] { log.dump(-1); }), "step", "-1"));
  CHECK(content_of(path).empty());
  log.dump(0);  // what was recorded is still there
  CHECK(content_of(path) == "time/total_timesteps,a\n0,1\n");
  CHECK_THROWS_AS(CsvLog{path / "below" / "a.csv"}, Error);  // a file where a folder should be
  CHECK_THROWS_AS(CsvLog{folder.path()}, Error);
}

TEST_CASE("solvers' progress becomes rows, a training's does not") {
  TemporaryFolder folder;
  const auto path = folder / "a.csv";
  CsvLog log{path, {.clock = still_clock}};
  const Progress progress = log;
  CHECK(progress({.step = 3, .total = 9, .task = "value iteration", .metric = "residual", .value = 0.5}));
  CHECK(progress({.step = 4, .total = 9, .task = "value iteration"}));  // nothing to log
  CHECK(progress({.step = 5, .metric = "x", .value = 2}));
  CHECK(content_of(path) == "time/total_timesteps,value iteration/residual,x\n3,0.5,\n5,,2\n");
  log(episode(5, 2));
  CHECK(progress({.step = 3, .total = 3, .task = "train", .metric = "return", .value = 5}));
  CHECK(content_of(path).ends_with("\n5,,2\n"));
}

TEST_CASE("what an agent tells of its learning stands in the rows") {
  TemporaryFolder folder;
  const auto path = folder / "a.csv";
  {
    CsvLog log{path, {.steps = 1, .clock = still_clock}};
    Telling agent{learner()};
    Rng rng{9};
    const auto played = train(agent, Corridor{}, {.steps = 300}, rng, log);
    log.finish();  // nothing, or what was learned in the episode that did not end
    const auto table = load_csv(path);
    const auto steps = table.numbers("time/total_timesteps"), updates = table.numbers("train/n_updates");
    CHECK(updates == steps);
    CHECK(steps.back() == 300);
    CHECK(log.episodes() == static_cast<std::int64_t>(played.episodes.size()));
    CHECK(table.rows() == played.episodes.size() + (log.steps() == 300 ? 0 : 1));
  }
  // Two lanes: when the first episode, of 6 steps, ends, another is 5 steps long.
  CsvLog log{folder / "b.csv", {.steps = 10, .clock = still_clock}};
  log(LearningEvent{.step = 11});
  log(episode(1, 6));
  CHECK(log.steps() == 11);
  CHECK(content_of(folder / "b.csv").ends_with("\n11,1,6,1,0\n"));
}

TEST_CASE("train takes both logs, and they say the same") {
  TemporaryFolder folder;
  auto agent = learner();
  Rng rng{3};
  const auto log = train(agent, Corridor{}, {.steps = 2000}, rng, CsvLog{folder / "progress.csv", {.steps = 100}},
                         TensorBoardLog{folder / "runs", {.steps = 100}});
  const auto table = load_csv(folder / "progress.csv");
  const auto steps = table.numbers<std::int64_t>("time/total_timesteps");
  const auto rewards = table.numbers("rollout/ep_rew_mean");
  CHECK(steps.size() >= 15);
  CHECK(table.numbers<std::size_t>("time/episodes").back() == log.episodes.size());
  CHECK(rewards.back() == test::close(log.mean_return(), 1e-14));
  REQUIRE(std::distance(std::filesystem::directory_iterator(folder / "runs"), {}) == 1);
  const auto events = read_tensorboard_events(std::filesystem::directory_iterator(folder / "runs")->path());
  CHECK_FALSE(events.torn);
  std::size_t k = 0;
  for (const auto& s : events.scalars)
    if (s.tag == "rollout/ep_rew_mean") {
      REQUIRE(k < steps.size());
      CHECK(s.step == steps[k]);
      CHECK(s.value == static_cast<float>(rewards[k]));
      ++k;
    }
  CHECK(k == steps.size());
}

#if !defined(_WIN32)
TEST_CASE("what was dumped outlives a killed process") {
  TemporaryFolder folder;
  const auto csv = folder / "progress.csv", runs = folder / "runs";
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    CsvLog a{csv};
    TensorBoardLog b{runs};
    for (int k = 0; k < 50; ++k) {
      a.record("x", k), b.record("x", k);
      a.dump(k), b.dump(k);
    }
    a.record("x", -1), b.record("x", -1);
    ::raise(SIGKILL);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  const auto x = load_csv(csv).numbers<int>("x");
  const auto events = read_tensorboard_events(std::filesystem::directory_iterator(runs)->path());
  CHECK_FALSE(events.torn);
  REQUIRE(x.size() == 50);
  REQUIRE(events.scalars.size() == 50);
  for (int k = 0; k < 50; ++k) {
    CHECK(x[static_cast<std::size_t>(k)] == k);
    CHECK(events.scalars[static_cast<std::size_t>(k)].step == k);
  }
}

TEST_CASE("a row that does not fit on the disk is taken back and can be written later", "[F10]") {
  TemporaryFolder folder;
  const auto path = folder / "progress.csv";
  CsvLog log{path};
  log.record("x", 1);
  log.dump(1);
  const std::string before = content_of(path);
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit tight = old;
  tight.rlim_cur = before.size() + 3;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &tight) == 0);
  log.record("x", 0.123456789);
  const std::string message = message_of([&] { log.dump(2); });
  REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK(says(message, "CsvLog", "cannot write", "progress.csv"));
  CHECK(content_of(path) == before);
  log.dump(2);
  CHECK(content_of(path) == before + "2,0.123456789\n");
}
#endif
