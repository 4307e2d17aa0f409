// Learning from a fixed log of mixed quality: 26 episodes of good, poor and random policies in the offline maze, none of
// which need ever have gone the whole way. The claim (Kostrikov et al. 2022; Kumar et al. 2020): learners that value only
// what was logged put the pieces together; cloning the log, and bootstrapping from actions that were never tried, fail.
//
//     learning_offline [--seed S] [--seeds N] [--quick]
//
// Prints how often each learner reaches the goal from the start: the interquartile mean over N >= 2 seeds (12), and its 95 %
// bootstrap interval. Exit code 0: the claim holds.
#include <fmt/core.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "valence/agent/evaluate.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/env/maze_offline.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/offline/awr.hpp"
#include "valence/offline/behaviour_cloning.hpp"
#include "valence/offline/collect_mixture.hpp"
#include "valence/offline/cql.hpp"
#include "valence/offline/iql.hpp"
#include "valence/offline/train_offline.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/value_iteration.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/rate.hpp"

namespace vl = valence;

namespace {

constexpr double discount = 0.98, never = -1 / (1 - discount);
constexpr std::int64_t episodes = 100;

struct Settings {
  std::uint64_t seed = 0;
  int seeds = 12;
  std::int64_t updates = 3000;
};

/// Actions with probability proportional to exp(Q* / temperature).
struct SoftExpert {
  const vl::Matrix<double>* q;
  double temperature;
  int sample(int state, vl::Rng& rng) const {
    const std::span<const double> values(q->data() + state * q->rows(), static_cast<std::size_t>(q->rows()));
    return vl::Boltzmann{temperature}.choose(values, rng);
  }
};

struct Learner {
  const char* name;
  double least, most;  // what the claim asks of the interquartile mean
  std::vector<double> success = {};
};

/// The share of episodes from the start in which the goal is reached.
template <class Policy>
double success(Policy&& policy, vl::Rng& rng) {
  const auto result = vl::evaluate(policy, vl::maze_offline(), {.episodes = episodes}, rng);
  return 1 - static_cast<double>(result.truncated) / static_cast<double>(episodes);
}

void usage(const char* program) {
  fmt::print(stderr, "usage: {} [--seed S] [--seeds N] [--quick]\n", program);
  std::exit(2);
}

Settings parse(int count, char** arguments) {
  Settings s;
  for (int i = 1; i < count; ++i) {
    const std::string flag = arguments[i];
    if (flag == "--quick") {
      s.seeds = 3;
    } else if ((flag == "--seed" || flag == "--seeds") && i + 1 < count) {
      char* end = nullptr;
      const auto value = std::strtoull(arguments[++i], &end, 10);
      if (end == arguments[i] || *end != '\0') usage(arguments[0]);
      if (flag == "--seed")
        s.seed = value;
      else
        s.seeds = static_cast<int>(value);
    } else {
      usage(arguments[0]);
    }
  }
  if (s.seeds < 2 || s.seeds > 10'000) usage(arguments[0]);
  return s;
}

}  // namespace

int main(int count, char** arguments) {
  const Settings settings = parse(count, arguments);
  const auto logging = vl::maze_offline({.uniform_start = true});
  const vl::FiniteMdp model{logging.env};
  const auto solution = vl::value_iteration(model, {.discount = discount});
  const auto q = vl::action_values(model, vl::view(std::as_const(solution.value)), {.discount = discount});
  const auto any = [](int, vl::Rng& rng) { return rng.below(4); };
  const int states = logging.states().n;

  std::vector<Learner> learners{{"behaviour cloning, sampled", 0, 0.15},
                                {"Q-learning on the log (bootstraps from unseen actions), greedy", 0, 0.1},
                                {"AWR, temperature 2, sampled", 0, 1},
                                {"IQL, tau 0.9, beta 3, sampled", 0.9, 1},
                                {"CQL, alpha 0.1, greedy", 0.7, 1},
                                {"CQL, alpha 1, greedy", 0.7, 1},
                                {"Cal-QL, alpha 0.1, greedy", 0, 1},
                                {"Cal-QL, alpha 1, greedy", 0, 1}};
  std::vector<double> solved;
  const vl::TrainOfflineOptions steps{.updates = settings.updates};
  // One setting for all: enough for every learner to settle (twice the updates change nothing).
  const vl::Adam adam{.step_size = 0.1};
  const vl::Rate factor = vl::LinearSchedule{1, 0.02, settings.updates};
  constexpr double target_rate = 0.05;
  constexpr int batch = 128;
  for (int k = 0; k < settings.seeds; ++k) {
    const vl::Rng run = vl::Rng{settings.seed}.split(k);
    vl::Rng log_rng = run.split(0);
    const auto log = vl::collect_mixture(logging, {}, log_rng, vl::Behaviour{SoftExpert{&q, 0.5}, 8},
                                         vl::Behaviour{SoftExpert{&q, 4}, 10}, vl::Behaviour{any, 8});
    double reached = 0;
    for (const bool ended : log.terminated()) reached += ended ? 1 : 0;
    solved.push_back(reached / static_cast<double>(log.episodes()));

    std::size_t next = 0;
    const auto measure = [&](auto agent, bool sampled) {
      vl::Rng rng = run.split(1 + next);
      vl::train_offline(agent, log, steps, rng);
      learners[next++].success.push_back(sampled ? success([&](int s, vl::Rng& r) { return agent.act(s, r); }, rng)
                                                 : success(agent, rng));
    };
    const vl::Tabular policy{states, 4}, actions{states, 4}, value{states, 1};
    const vl::Softmax law{4};
    measure(vl::BehaviourCloning{policy, law, adam, {.batch = batch, .step_factor = factor}}, true);
    const auto conservative = [&](double alpha, bool calibrated) {
      return vl::Cql{actions,
                     adam,
                     {.discount = discount,
                      .alpha = alpha,
                      .calibrated = calibrated,
                      .truncated_value = never,
                      .target_rate = target_rate,
                      .batch = batch,
                      .step_factor = factor}};
    };
    measure(conservative(0, false), false);
    measure(
        vl::Awr{
            policy,
            law,
            value,
            adam,
            {.discount = discount, .temperature = 2, .truncated_value = never, .batch = batch, .step_factor = factor}},
        true);
    measure(vl::Iql{policy,
                    law,
                    actions,
                    value,
                    adam,
                    {.discount = discount,
                     .tau = 0.9,
                     .beta = 3,
                     .target_rate = target_rate,
                     .batch = batch,
                     .step_factor = factor}},
            true);
    for (const bool calibrated : {false, true})
      for (const double alpha : {0.1, 1.0}) measure(conservative(alpha, calibrated), false);
  }

  fmt::print(
      "{} seeds from {}; 26 episodes a log, of which {:.0f} % reach the goal; {} updates; success from the start\n\n",
      settings.seeds, settings.seed, 100 * vl::mean(solved), settings.updates);
  fmt::print("{:64} {:>6} {:>16} {:>6}   {}\n", "", "IQM", "95 % interval", "mean", "needs");
  bool holds = true;
  vl::Rng rng = vl::Rng{settings.seed}.split(~std::uint64_t{0});
  for (const Learner& l : learners) {
    const double iqm = vl::interquartile_mean(l.success);
    const auto interval = vl::bootstrap_interval(l.success, vl::interquartile_mean, rng);
    const bool ok = iqm >= l.least && iqm <= l.most;
    holds = holds && ok;
    fmt::print("{:64} {:6.3f}   [{:5.3f}, {:5.3f}] {:6.3f}   {}\n", l.name, iqm, interval.low, interval.high,
               vl::mean(l.success),
               l.least > 0  ? fmt::format(">= {}{}", l.least, ok ? "" : " FAILS")
               : l.most < 1 ? fmt::format("<= {}{}", l.most, ok ? "" : " FAILS")
                            : "");
  }
  fmt::print("\nCLAIM {}\n", holds ? "HOLDS" : "FAILS");
  return holds ? 0 : 1;
}
