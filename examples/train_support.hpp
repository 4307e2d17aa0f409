#pragma once

// What examples/train.cpp does with any agent: the environments behind one type, the loop with its log, its bar and its
// checkpoint, and what becomes of the policy.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "valence/agent/evaluate.hpp"
#include "valence/agent/train.hpp"
#include "valence/agent/train_lanes.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/env/acrobot.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/mountain_car.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/svg.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/vector_environment.hpp"
#include "valence/function/schedules.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/checkpoint.hpp"
#include "valence/io/csv_log.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/policy_file.hpp"
#include "valence/io/policy_source.hpp"
#include "valence/io/tensorboard.hpp"
#include "valence/policy/exploration_noise.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy/saved_policy.hpp"

namespace vl = valence;
namespace fs = std::filesystem;

/// The numbers of a run; each agent takes those that it knows.
struct Settings {
  std::int64_t steps = 100'000;
  double lr = 1e-3;     // the optimizer's step size
  bool decays = false;  // it falls to 0 in a straight line
  std::vector<int> hidden = {64, 64};
  double discount = 0.99;
  int batch = 64;
  bool scaled = false;  // states, from their box to [-1, 1]
  // What learns from rollouts. `epochs` of TRPO are its critic's, `episodes` are REINFORCE's.
  int lanes = 1, horizon = 0, epochs = 10, episodes = 1;
  double lambda = 0.95, entropy = 0, damping = 0.1;
  // What learns from a memory. epsilon falls over a share of the steps, `exploration`; a `temperature` of 0 is learned;
  // `noise` is in units of the actions' bound, and `wanders` or is white.
  std::int64_t replay = 100'000, warm_up = 1000, target_every = 1;
  int train_every = 1, updates = 1;
  double target_rate = 0.005, exploration = 0.1, final_epsilon = 0.05, temperature = 0, noise = 0.1;
  bool wanders = false;

  /// Calls f(name, field) for all of them.
  template <class F>
  void each(F&& f) {
    f("steps", steps), f("lr", lr), f("decays", decays), f("hidden", hidden), f("discount", discount);
    f("batch", batch), f("scaled", scaled), f("lanes", lanes), f("horizon", horizon), f("epochs", epochs);
    f("episodes", episodes), f("lambda", lambda), f("entropy", entropy), f("damping", damping), f("replay", replay);
    f("warm_up", warm_up), f("target_every", target_every), f("train_every", train_every), f("updates", updates);
    f("target_rate", target_rate), f("exploration", exploration), f("final_epsilon", final_epsilon);
    f("temperature", temperature), f("noise", noise), f("wanders", wanders);
  }
  /// Sets a field by a word like "lr=0.001" or "hidden=64x64".
  void set(std::string_view word) {
    const std::size_t sign = (std::min)(word.find('='), word.size());
    const std::string_view name = word.substr(0, sign), value = word.substr((std::min)(sign + 1, word.size()));
    std::string names;
    bool known = false, understood = true;
    const auto read = [&](std::string_view text, auto& field) {
      using T = std::remove_reference_t<decltype(field)>;
      const double x = vl::parse_number<double>(text).value_or(std::numeric_limits<double>::quiet_NaN());
      if constexpr (std::floating_point<T>)
        understood = understood && std::isfinite(x);
      else if constexpr (std::same_as<T, bool>)
        understood = understood && (x == 0 || x == 1);
      else  // what counts, counts from 1
        understood = understood && x == std::floor(x) && x >= 1 && x <= 1e9;
      if (understood) field = static_cast<T>(x);
    };
    each([&](std::string_view field_name, auto& field) {
      names += (names.empty() ? "" : ", ") + std::string(field_name);
      if (field_name != name) return;
      known = true;
      if constexpr (requires { field.clear(); }) {
        field.clear();
        for (std::size_t begin = 0; begin <= value.size(); begin = (std::min)(value.find('x', begin), value.size()) + 1)
          read(value.substr(begin, value.find('x', begin) - begin), field.emplace_back(0));
      } else {
        read(value, field);
      }
    });
    if (!known) vl::fail("train", "'{}' sets none of the numbers {}", word, names);
    if (!understood)
      vl::fail("train", "'{}' gives no number that fits; expected one like lr=0.001 or hidden=64x64", word);
  }
  std::int64_t share_of_steps(double share) const {
    return static_cast<std::int64_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(steps));
  }
  std::size_t memory() const { return static_cast<std::size_t>(replay); }
  vl::Rate factor(std::int64_t all_updates) const {
    return decays ? vl::Rate(vl::LinearSchedule{1, 0, all_updates}) : vl::Rate(1);
  }
};

/// Several seeds on one bar, whichever threads they run in.
class Bar {
 public:
  Bar(std::size_t seeds, std::int64_t steps) : done_(seeds, 0), total_(static_cast<std::uint64_t>(steps) * seeds) {}

  void tell(std::size_t seed, const vl::TrainingLog& log) {
    const std::scoped_lock lock(mutex_);
    done_[seed] = static_cast<std::uint64_t>(log.steps);
    std::uint64_t all = 0;
    for (const std::uint64_t steps : done_) all += steps;
    const bool any = !log.episodes.empty();
    bar_({.step = all,
          .total = total_,
          .task = "train",
          .metric = any ? "return" : "",
          .value = any ? log.mean_return() : 0});
  }

  void finish() { bar_.finish(); }

 private:
  std::mutex mutex_;
  std::vector<std::uint64_t> done_;
  std::uint64_t total_;
  vl::ProgressBar bar_;
};

/// Ctrl-C ends the training, not the program: the run is saved first.
inline volatile std::sig_atomic_t interrupted = 0;
inline void listen_for_interrupts() {
  std::signal(SIGINT, [](int) { interrupted = 1; });
}

/// What to train, where, and how.
struct Job {
  std::string agent, env;
  Settings settings;
  std::uint64_t seed = 1;
  std::size_t index = 0;  // of the seed
  fs::path folder;
  bool resume = false, csv = true, tensorboard = false;
  Bar* bar = nullptr;

  vl::Rng start() const { return vl::Rng{seed}.split(0); }
};

/// What came of it.
struct Outcome {
  vl::TrainingLog log;
  bool finished = false;
};

template <class E>
inline constexpr const char* name_of = "";
template <>
inline constexpr const char* name_of<vl::CartPole> = "cart_pole";
template <>
inline constexpr const char* name_of<vl::Acrobot> = "acrobot";
template <>
inline constexpr const char* name_of<vl::MountainCar> = "mountain_car";
template <>
inline constexpr const char* name_of<vl::Pendulum> = "pendulum";
template <>
inline constexpr const char* name_of<vl::MountainCarContinuous> = "mountain_car_continuous";

/// One of the environments `Es`, with an action of type A: one type, so each agent is compiled once.
template <class A, class... Es>
struct OneOf {
  using State = vl::Vector<double>;
  using Action = A;

  std::variant<vl::TimeLimit<Es>...> env;
  std::optional<vl::Box<State>> box = {};  // where states are scaled from it

  explicit OneOf(const Job& job, bool bare = false) : env(by_name<Es...>(job.env)) {
    if (job.settings.scaled && !bare) box = inner_states();
  }
  State reset(vl::Rng& rng) {
    return std::visit([&](auto& e) { return scaled(e.reset(rng)); }, env);
  }
  vl::Step<State> step(A action, vl::Rng& rng) {
    if constexpr (std::floating_point<A>) action = std::clamp(action, actions().low, actions().high);
    return std::visit(
        [&](auto& e) -> vl::Step<State> {
          const auto s = e.step(action, rng);
          return {.next = scaled(s.next), .reward = s.reward, .terminated = s.terminated, .truncated = s.truncated};
        },
        env);
  }
  static std::vector<std::string> names() { return {name_of<Es>...}; }
  auto actions() const {
    return std::visit([](const auto& e) { return e.actions(); }, env);
  }
  vl::Box<State> states() const {
    if (!box) return inner_states();
    return {State::Constant(inputs(), -1), State::Constant(inputs(), 1)};
  }
  int inputs() const { return static_cast<int>(inner_states().low.size()); }
  /// What `scaled` does, for a policy that sees the states as they are.
  vl::ObservationScale scale() const {
    vl::ObservationScale scale;
    for (int i = 0; box && i < inputs(); ++i) {
      scale.mean.push_back((box->high[i] + box->low[i]) / 2);
      scale.deviation.push_back((box->high[i] - box->low[i]) / 2);
    }
    return scale;
  }

  template <class Archive>
  void archive(Archive& ar) {
    std::visit([&](auto& e) { ar(e); }, env);
  }

 private:
  using Any = std::variant<vl::TimeLimit<Es>...>;
  template <class E, class... Others>
  static Any by_name(const std::string& name) {
    if constexpr (sizeof...(Others) > 0)
      if (name != name_of<E>) return by_name<Others...>(name);
    return vl::TimeLimit{E{}};
  }
  vl::Box<State> inner_states() const {
    return std::visit([](const auto& e) { return vl::Box<State>{e.states().low, e.states().high}; }, env);
  }
  State scaled(const State& s) const {
    if (!box) return s;
    return (2 * s - box->high - box->low).cwiseQuotient(box->high - box->low);
  }
};
using Discrete = OneOf<int, vl::CartPole, vl::Acrobot, vl::MountainCar>;
using Continuous = OneOf<double, vl::Pendulum, vl::MountainCarContinuous>;

/// White noise, or noise that wanders as stable-baselines3's does.
struct Noise {
  vl::GaussianNoise white;
  std::optional<vl::OrnsteinUhlenbeckNoise> wandering = {};

  Noise(double deviation, bool wanders) : white{.standard_deviation = deviation} {
    if (wanders) wandering.emplace(1, vl::OrnsteinUhlenbeckOptions{.volatility = deviation, .time_step = 0.01});
  }
  void add(double& action, vl::Rng& rng) { wandering ? wandering->add(action, rng) : white.add(action, rng); }
  void reset() {
    if (wandering) wandering->reset();
  }
  template <class Archive>
  void archive(Archive& ar) {
    if (wandering) ar(*wandering);
  }
};

/// What hears of a training.
struct Listener {
  const Job& job;
  const vl::TrainingLog& log;
  std::optional<vl::CsvLog> csv = {};
  std::optional<vl::TensorBoardLog> board = {};

  Listener(const Job& the_job, const vl::TrainingLog& of) : job(the_job), log(of) {
    const vl::MetricLogOptions options{.append = job.resume};
    if (job.csv) csv.emplace(job.folder / "progress.csv", options);
    if (job.tensorboard) board.emplace(job.folder / "tensorboard", options);
    if (!job.resume) return;
    if (csv) csv->resume(log);
    if (board) board->resume(log);
  }
  bool operator()(const vl::Episode& episode) {
    tell(episode);
    return interrupted == 0;
  }
  void operator()(const vl::LearningEvent& event) { tell(event); }
  bool operator()(const vl::ProgressEvent&) {
    job.bar->tell(job.index, log);
    return interrupted == 0;
  }

 private:
  template <class Event>
  void tell(const Event& event) {
    if (csv) (*csv)(event);
    if (board) (*board)(event);
  }
};

/// Trains `agent`, and saves the run and, by `policy_of(agent)`, the policy.
template <class Agent, class Place, class PolicyOf>
Outcome learn(Agent agent, Place place, const Job& job, PolicyOf&& policy_of) {
  vl::Run<Agent, Place> run(std::move(agent), std::move(place), vl::Rng{job.seed}.split(1));
  const fs::path path = job.folder / "run.safetensors";
  const std::string kind = fmt::format("{} on {}, seed {}", job.agent, job.env, job.seed);
  if (!job.resume)
    fs::remove(path);
  else if (fs::exists(path))
    vl::load_checkpoint(path, run, {.kind = kind});  // here already, for the log to know where it goes on
  Listener listener(job, run.log());
  Outcome outcome;
  outcome.finished = interrupted == 0 && vl::train_with_checkpoints(
                                             run, {.path = path, .steps = job.settings.steps, .kind = kind}, listener);
  const vl::SavedPolicy<float> policy = policy_of(std::as_const(run.agent));
  vl::save_policy(job.folder / "policy.safetensors", policy);
  vl::save_policy_source(job.folder / "policy.hpp", policy);
  outcome.log = run.log();
  return outcome;
}

/// A saved policy as a function of a state.
template <class World>
auto acting(vl::SavedPolicy<float>& policy) {
  return [&policy](const typename World::State& state, vl::Rng&) {
    const vl::Vector<float> seen = state.template cast<float>();
    if constexpr (std::integral<typename World::Action>) {
      return policy.act(vl::view(seen));
    } else {
      float action = 0;
      policy.act(vl::view(seen), std::span<float>(&action, 1));
      return static_cast<double>(action);
    }
  };
}

/// What the policy in the folder earns, and, where `film` is true, what it looks like.
template <class World>
vl::Evaluation look_at(const Job& job, std::int64_t episodes, bool film) {
  vl::SavedPolicy<float> policy = vl::load_policy<float>(job.folder / "policy.safetensors");
  const auto act = acting<World>(policy);
  World world(job, true);
  vl::Rng rng = vl::Rng{job.seed}.split(2);
  const vl::Evaluation result = vl::evaluate(act, world, {.episodes = episodes}, rng);
  if (!film) return result;
  const auto picture = [&] { return std::visit([](const auto& e) { return vl::svg_picture(e); }, world.env); };
  vl::SvgAnimation frames{job.env == "acrobot" ? 0.1 : job.env == "pendulum" ? 0.05 : 0.02};
  auto state = world.reset(rng);
  frames.add(picture(), "step 0");
  double total = 0;
  for (int t = 1;; ++t) {  // the time limit ends it
    const auto step = world.step(act(state, rng), rng);
    total += step.reward;
    state = step.next;
    frames.add(picture(), fmt::format("step {}, return {:.4g}", t, total));
    if (step.done()) break;
  }
  vl::save_atomically(job.folder / "film.svg", frames.text());
  return result;
}
