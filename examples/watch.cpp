// Train an agent on one of the classic environments, and watch what it learned.
//
//   watch                                    FrozenLake, in the terminal
//   watch --env taxi --delay 0.2
//   watch --env mountain_car --out car.svg   a film that plays in any browser
//
// Grids are solved by Q-learning on a table and shown as text; classic control by true online Sarsa(lambda) with tile
// coding, and written as an SVG file that plays itself.

#include <fmt/core.h>
#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "valence/agent/evaluate.hpp"
#include "valence/agent/lambda.hpp"
#include "valence/agent/q_learning.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/env/acrobot.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/cliff_walking.hpp"
#include "valence/env/frozen_lake.hpp"
#include "valence/env/mountain_car.hpp"
#include "valence/env/svg.hpp"
#include "valence/env/taxi.hpp"
#include "valence/env/text.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/tabular.hpp"
#include "valence/function/tile_coding.hpp"

namespace vl = valence;

namespace {

struct Options {
  std::string env = "frozen_lake", out;
  std::uint64_t seed = 1;
  std::int64_t episodes = 0;
  double delay = 0.3;
};

bool in_terminal() {
#if defined(_WIN32)
  return _isatty(_fileno(stdout)) != 0;
#else
  return isatty(fileno(stdout)) != 0;
#endif
}

/// Trains, and says what the greedy policy earns. Ends the program's work with 0 if that is at least `enough`.
template <class Agent, class E>
bool train_and_tell(Agent& agent, const E& env, const Options& options, std::int64_t episodes, double enough) {
  vl::Rng rng{options.seed};
  vl::ProgressBar bar;
  const auto log = vl::train(agent, env, {.episodes = options.episodes > 0 ? options.episodes : episodes}, rng, bar);
  const auto result = vl::evaluate(agent, env, {.episodes = 100}, rng);
  fmt::print("{} episodes, {} steps; the greedy policy now earns {:.2f} [{:.2f}, {:.2f}]\n", log.episodes.size(),
             log.steps, result.mean, result.interval.low, result.interval.high);
  return options.episodes > 0 || result.mean >= enough;
}

/// Plays one episode in the terminal, a picture a step.
template <class Agent, class E>
void show_text(Agent& agent, E env, const Options& options) {
  const bool terminal = in_terminal();
  vl::Rng rng = vl::Rng{options.seed}.split(1);
  int state = env.reset(rng);
  double total = 0;
  const auto draw = [&](const std::string& caption) {
    const std::string picture = vl::render(env, {.color = terminal});
    fmt::print("{}{}{}\n", terminal ? "\x1b[2J\x1b[H" : "", picture, caption);
    std::fflush(stdout);
    if (terminal) std::this_thread::sleep_for(std::chrono::duration<double>(options.delay));
  };
  draw("");
  for (bool over = false; !over;) {
    const int action = agent.greedy(state, rng);
    const auto step = env.step(action, rng);
    total += step.reward;
    state = step.next;
    over = step.done();
    draw(fmt::format("return {:g}{}\n", total, step.terminated ? ", over" : step.truncated ? ", out of time" : ""));
  }
}

template <class E>
bool grid(const E& env, const Options& options, double step_size, std::int64_t episodes, double enough) {
  vl::QLearning agent{vl::Tabular{env.states().n, env.actions().n, 0.5},
                      vl::EpsilonGreedy{0.1},
                      {.step_size = step_size, .discount = 0.99}};
  const vl::TimeLimit limited{env, 200};
  const bool good = train_and_tell(agent, limited, options, episodes, enough);
  show_text(agent, limited, options);
  return good;
}

template <class E>
bool control(const E& env, const Options& options, vl::TileCoding tiles, double step_size, std::int64_t episodes,
             double enough, double seconds) {
  const int tilings = tiles.active_count();
  vl::SarsaLambda agent{vl::Linear{std::move(tiles), env.actions().n},
                        vl::EpsilonGreedy{0.01},
                        {.step_size = step_size / tilings, .discount = 1, .lambda = 0.9, .trace = vl::Trace::dutch}};
  const bool good = train_and_tell(agent, env, options, episodes, enough);

  E world = env;
  vl::Rng rng = vl::Rng{options.seed}.split(1);
  vl::SvgAnimation film{seconds};
  auto state = world.reset(rng);
  film.add(vl::svg_picture(world), "step 0");
  double total = 0;
  for (int t = 1;; ++t) {
    const auto step = world.step(agent.greedy(state, rng), rng);
    total += step.reward;
    state = step.next;
    film.add(vl::svg_picture(world), fmt::format("step {}, return {:g}", t, total));
    if (step.done()) break;
  }
  const std::string path = options.out.empty() ? options.env + ".svg" : options.out;
  std::ofstream file(path);
  file << film.text();
  file.close();
  if (!file) {
    fmt::print(stderr, "{} could not be written\n", path);
    return false;
  }
  fmt::print("{}: {} frames, return {:g}; open it in a browser\n", path, film.frames(), total);
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Trains an agent on a classic environment and shows what it learned."};
  app.add_option("--env", options.env, "which")
      ->check(CLI::IsMember({"frozen_lake", "cliff_walking", "taxi", "mountain_car", "cart_pole", "acrobot"}))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of everything that is drawn")->capture_default_str();
  app.add_option("--episodes", options.episodes, "to learn from (0: as many as the environment needs)")
      ->check(CLI::Range(0, 100'000'000))
      ->capture_default_str();
  app.add_option("--delay", options.delay, "seconds between the pictures in a terminal")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  app.add_option("--out", options.out, "the film of classic control (default: ENV.svg)");
  CLI11_PARSE(app, argc, argv);

  bool good = false;
  if (options.env == "frozen_lake")
    good = grid(vl::FrozenLake{}, options, 0.05, 20'000, 0.6);
  else if (options.env == "cliff_walking")
    good = grid(vl::CliffWalking{}, options, 0.5, 1'000, -14);
  else if (options.env == "taxi")
    good = grid(vl::Taxi{}, options, 0.2, 10'000, 7);
  else if (options.env == "mountain_car")
    good = control(vl::TimeLimit{vl::MountainCar{}, 1000}, options, vl::TileCoding{{-1.2, -0.07}, {0.6, 0.07}}, 0.3,
                   500, -160, 0.03);
  else if (options.env == "cart_pole")
    good = control(vl::TimeLimit{vl::CartPole{}}, options,
                   vl::TileCoding{{-2.4, -3, -0.21, -3.5}, {2.4, 3, 0.21, 3.5}, {.tilings = 16, .tiles = 6}}, 0.5,
                   2'000, 150, 0.02);
  else
    good = control(
        vl::TimeLimit{vl::Acrobot{}}, options,
        vl::TileCoding{
            {-1, -1, -1, -1, -12.6, -28.3}, {1, 1, 1, 1, 12.6, 28.3}, {.tilings = 32, .tiles = 5, .memory = 1 << 16}},
        0.3, 500, -150, 0.1);
  if (!good) fmt::print("the policy is worse than it should be by now\n");
  return good ? 0 : 1;
}
