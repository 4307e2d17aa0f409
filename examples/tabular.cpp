// Plan and learn on the two classics of the tabular world, FrozenLake and Taxi.
//
//   tabular                         both; a table and a picture each
//   tabular --seed 7 --episodes 50000
//
// Planning knows the model and proves its answer; learning only plays. The last line says whether the learned policies
// come near the planned ones.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "valence/agent/double_q.hpp"
#include "valence/agent/evaluate.hpp"
#include "valence/agent/q_learning.hpp"
#include "valence/agent/sarsa.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/random.hpp"
#include "valence/env/frozen_lake.hpp"
#include "valence/env/taxi.hpp"
#include "valence/env/text.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/function/schedules.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/interval_iteration.hpp"
#include "valence/planning/policy_iteration.hpp"
#include "valence/planning/value_iteration.hpp"

namespace vl = valence;

namespace {

/// Mean value where episodes begin.
template <class M>
double at_start(const M& model, const vl::Vector<double>& value) {
  double sum = 0;
  for (int s = 0; s < model.states(); ++s) sum += model.initial()[static_cast<std::size_t>(s)] * value[s];
  return sum;
}

/// Four ways to the same value; the last also counts rounding.
template <class M>
vl::Solution<double> plan(const M& model, double discount) {
  fmt::print("{:28} {:>10} {:>12} {:>10}   {}\n", "planning", "iterations", "error below", "seconds",
             "value of the start");
  const auto line = [&](const char* name, const auto& s) {
    fmt::print("{:28} {:10} {:12.2g} {:10.2g}   {:.9f}\n", name, s.iterations, s.bound, s.seconds,
               at_start(model, s.value));
  };
  const auto solution = vl::value_iteration(model, {.discount = discount, .tolerance = 1e-9});
  line("value iteration", solution);
  line("policy iteration", vl::policy_iteration(model, {.discount = discount}));
  line("modified policy iteration", vl::modified_policy_iteration(model, {.discount = discount, .tolerance = 1e-9}));
  line("interval iteration", vl::interval_iteration(model, {.discount = discount, .tolerance = 1e-9}));
  return solution;
}

/// The return, not discounted, of what was learned or planned, over fresh episodes.
template <class P, class E>
double report(const char* name, P&& policy, const E& env, vl::Rng rng) {
  const auto result = vl::evaluate(policy, env, {.episodes = 2000}, rng);
  fmt::print("{:28} {:8.3f}  [{:.3f}, {:.3f}]\n", name, result.mean, result.interval.low, result.interval.high);
  return result.mean;
}

/// Trains three agents and says what their greedy policies earn. Returns the best.
template <class E>
double learn(const E& env, int states, int actions, double discount, double initial, std::int64_t episodes,
             const vl::Rng& rng, std::vector<int>& policy) {
  double best = 0;
  const auto one = [&](const char* name, auto agent, std::uint64_t stream) {
    vl::Rng training = rng.split(stream);
    vl::train(agent, env, {.episodes = episodes}, training);
    const double mean = report(name, agent, env, rng.split(100));
    if (stream == 0 || mean > best) {
      best = mean;
      policy.clear();
      for (int s = 0; s < states; ++s) policy.push_back(env.env.terminal(s) ? -1 : agent.greedy(s));
    }
  };
  // Step sizes that fall: the last values are averages of many samples.
  const vl::OnlineOptions options{.step_size = vl::LinearSchedule{.begin = 0.2, .end = 0.005, .steps = episodes * 25},
                                  .discount = discount};
  const vl::Tabular q{states, actions, initial};
  one("Q-learning", vl::QLearning{q, vl::EpsilonGreedy{0.1}, options}, 0);
  one("double Q-learning", vl::DoubleQ{q, vl::EpsilonGreedy{0.1}, options}, 1);
  one("expected Sarsa", vl::ExpectedSarsa{q, vl::EpsilonGreedy{0.1}, options}, 2);
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Plans and learns on FrozenLake and Taxi."};
  std::uint64_t seed = 1;
  std::int64_t episodes = 20'000;
  app.add_option("--seed", seed, "of everything that is drawn")->capture_default_str();
  app.add_option("--episodes", episodes, "that each agent learns from")
      ->check(CLI::Range(100, 10'000'000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const vl::Rng rng{seed};
  bool good = true;

  {
    fmt::print("== FrozenLake, 4x4, slippery: only one step in three goes where it was meant to\n\n");
    const vl::FrozenLake lake;
    const vl::FiniteMdp model{lake};
    const auto solution = plan(model, 0.99);
    fmt::print("\nvalues, and what the optimal policy does:\n{}\n{}\n",
               vl::render_values(lake, vl::view(solution.value)), vl::render_policy(lake, solution.policy));
    const vl::TimeLimit env{lake};
    fmt::print("{:28} {:>8}  95% interval, over 2000 episodes of at most {} steps\n", "share of goals reached", "",
               env.limit);
    const double optimal = report(
        "planned", [&](int s, vl::Rng&) { return solution.policy[static_cast<std::size_t>(s)]; }, env, rng.split(100));
    std::vector<int> learned;
    const double best = learn(env, lake.states().n, 4, 0.99, 1.0, episodes, rng.split(1), learned);
    fmt::print("\nwhat the best of them learned:\n{}\n", vl::render_policy(lake, learned));
    good = good && best >= optimal - 0.05;
  }
  {
    fmt::print("== Taxi: fetch the passenger, bring them to the hotel\n\n");
    vl::Taxi taxi;
    const vl::FiniteMdp model{taxi};
    const auto solution = plan(model, 0.99);
    taxi.set_state(vl::Taxi::encode({.row = 3, .column = 1, .passenger = 2, .destination = 0}));
    fmt::print("\nthe way to a passenger who waits at Y and wants to R:\n{}\n",
               vl::render_policy(taxi, solution.policy));
    const vl::TimeLimit env{taxi};
    fmt::print("{:28} {:>8}  95% interval, over 2000 episodes of at most {} steps\n", "return", "", env.limit);
    const double optimal = report(
        "planned", [&](int s, vl::Rng&) { return solution.policy[static_cast<std::size_t>(s)]; }, env, rng.split(100));
    std::vector<int> learned;
    const double best = learn(env, taxi.states().n, 6, 0.99, 0.0, episodes, rng.split(2), learned);
    good = good && best >= optimal - 0.5;
  }
  fmt::print("\n{}\n", good ? "LEARNED WHAT WAS PLANNED" : "the learned policies stay behind the planned ones");
  return good ? 0 : 1;
}
