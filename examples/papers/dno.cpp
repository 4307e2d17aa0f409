// DNO: direct Nash optimisation (Corby Rosset et al. 2024, arXiv:2404.03715).
//
// Preferences need no reward behind them: where they run in circles, what can be had is a policy that no answer beats by
// much, the equilibrium of the game of the policy against itself. DNO plays that game: its own win rate is the reward,
// and each iteration regresses to the policy times exp(win rate / eta) on pairs that the policy itself drew. Here a
// judge of 8 answers with random cycles; against the best policy for a Bradley-Terry reward, fitted once to the
// reference's pairs or again and again to its own newest, and iterated DPO, whose reference moves. Expected: the mixture
// of DNO's iterates is hard to beat, while its last iterate circles round the equilibrium; some answer beats what the
// others find, and their mixtures. Where a reward is behind the judge there is no need of the game: the reward fitted
// once (beta 0.1) and iterated DPO find the best answer, DNO's last iterate too.
#include <fmt/core.h>

#include <Eigen/Core>
#include <algorithm>
#include <string>
#include <vector>

#include "harness.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/prompt_bandit.hpp"
#include "valence/game/preference_game.hpp"
#include "valence/game/self_play.hpp"
#include "valence/mdp/responses.hpp"
#include "valence/offline/fit_preferences.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/losses.hpp"

namespace vl = valence;

namespace {

constexpr int answers = 8, iterations = 60;
const vl::Matrix<double> uniform = vl::Matrix<double>::Constant(answers, 1, 1.0 / answers);

/// The best policy, with this beta, for the Bradley-Terry reward of the pairs: with beta 1 DPO's implicit reward is it.
vl::Matrix<double> best_for_reward(const vl::ResponsePairs& pairs, double beta) {
  auto model = vl::LogLinearPolicy::tabular(uniform);
  fit(model, vl::Dpo{.beta = 1}, {.pairs = pairs}, vl::Lbfgs{}, {.ridge = 1e-3});
  const auto reward = model.parameters();
  return vl::PromptBandit{Eigen::Map<const vl::Vector<double>>(reward.data(), answers), uniform}.best_policy(beta);
}

/// Every method's policies on one game, handed to `show(method, policy)`; `trace` gets the mixtures' way there.
template <class Show, class Trace>
void compare(const vl::PreferenceGame& game, const vl::Rng& rng, const Show& show, const Trace& trace) {
  show("uniform", uniform);
  {
    vl::SelfPlay dno{game, vl::SoftDpo{.beta = 1}, vl::SoftPairs{.pairs = 400, .opponents = 8},
                     vl::LogLinearPolicy::tabular(uniform)};
    vl::Rng stream = rng.split(0);
    std::vector<double> gap;
    for (int t = 0; t < iterations; ++t) gap.push_back(exploitability(game, dno.run(1, stream)));
    show("DNO, mixture", dno.mixture());
    show("DNO, last iterate", dno.policy().probabilities());
    trace("DNO, mixture", gap);
  }
  for (const double beta : {0.1, 1.0}) {
    const auto name = [&](const char* method) { return fmt::format("{}, beta {}", method, beta); };
    vl::Rng once = rng.split(1), again = rng.split(2), moved = rng.split(3);
    show(name("reward, one shot"), best_for_reward(vl::JudgedPairs{.pairs = 400}(game, uniform, once), beta));

    vl::Matrix<double> pi = uniform, sum = vl::Matrix<double>::Zero(answers, 1);
    std::vector<double> gap;
    for (int t = 0; t < iterations; ++t) {
      sum += pi;
      gap.push_back(exploitability(game, sum / (t + 1)));
      pi = best_for_reward(vl::JudgedPairs{.pairs = 400}(game, pi, again), beta);
    }
    show(name("reward, iterated, last"), pi);
    show(name("reward, iterated, mixture"), sum / iterations);
    trace(name("reward, iterated, mixture"), gap);

    vl::SelfPlay dpo{game, vl::Dpo{.beta = beta}, vl::JudgedPairs{.pairs = 400}, vl::LogLinearPolicy::tabular(uniform)};
    const auto mixture = dpo.run(iterations, moved);
    show(name("iterated DPO, last"), dpo.policy().probabilities());
    show(name("iterated DPO, mixture"), mixture);
  }
}

void one_seed(paper::Seed& seed) {
  vl::Rng world = seed.rng.split(0);
  const auto game = vl::PreferenceGame::random(answers, world, {.skill = 0.5, .cycle = 2});
  const auto transitive = vl::PreferenceGame::random(answers, world, {.skill = 2, .cycle = 0});
  std::vector<double> t(iterations);
  for (int i = 0; i < iterations; ++i) t[static_cast<std::size_t>(i)] = i + 1;
  compare(
      game, seed.rng.split(1),
      [&](const std::string& method, const vl::Matrix<double>& pi) {
        seed.measure("exploitability/" + method, exploitability(game, pi));
      },
      [&](const std::string& method, const std::vector<double>& gap) {
        seed.trace("exploitability over iterations/" + method, t, gap);
      });
  compare(
      transitive, seed.rng.split(2),
      [&](const std::string& method, const vl::Matrix<double>& pi) {
        seed.measure("a reward behind the judge, exploitability/" + method, exploitability(transitive, pi));
      },
      [](auto&&...) {});

  vl::Matrix<double> pi = uniform, sum = vl::Matrix<double>::Zero(answers, 1);
  double least = 1;
  constexpr int steps = 400;
  for (int i = 0; i < steps; ++i) {
    sum += pi;
    const vl::Matrix<double> next = soft_policy_update(game, pi, 1);
    least = (std::min)(least, win_rate(game, next, pi));
    pi = next;
  }
  seed.measure("exact updates, 400/exploitability of the mixture", exploitability(game, sum / steps));
  seed.measure("exact updates, 400/least win rate over the policy before", least);
}

void study(paper::Study& study) {
  study.each_seed(one_seed);
  const std::string dno = "exploitability/DNO, mixture";
  double best = 1, share = 1;
  for (const char* method : {"reward, one shot", "reward, iterated, last", "reward, iterated, mixture",
                             "iterated DPO, last", "iterated DPO, mixture"})
    for (const char* beta : {"0.1", "1"}) {
      const std::string baseline = fmt::format("exploitability/{}, beta {}", method, beta);
      best = (std::min)(best, study.mean(baseline));
      share = (std::min)(share, study.share_above(baseline, dno));
    }
  study.require("exploitability of DNO's mixture / that of the best baseline", study.mean(dno) / best,
                paper::at_most(0.5));
  study.require("exploitability of DNO's mixture", study.mean(dno), paper::at_most(0.05));
  study.require("least win rate of an exact update over the policy before",
                study.minimum("exact updates, 400/least win rate over the policy before"),
                paper::at_least(0.5 - 1e-12));
  study.report("share of seeds with DNO's mixture ahead, of the baseline with the fewest", share);
  study.note(
      "The condition: in some of the games one answer beats all others. There is nothing to mix then, and iterated "
      "DPO, "
      "which goes to that answer at once, is ahead of DNO's mixture, which still holds its first iterates.");
  study.note(
      "The improvement is monotone over the policy before, not over all before: in a cycle the last iterate goes "
      "round, "
      "and what approaches the equilibrium is the mixture.");
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run({.id = "dno",
                     .header = "valence/game/self_play.hpp",
                     .claim = "Self-play on win rates finds a policy that no answer beats by much where preferences "
                              "run in circles; a fitted reward does not",
                     .seeds = 20,
                     .quick_seeds = 10},
                    count, arguments, study);
}
