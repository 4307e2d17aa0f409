// VPO: value-incentivised preference optimisation (Shicong Cen et al. 2024, arXiv:2405.19320).
//
// The maximum-likelihood reward is biased by the value J* of its best policy: towards less offline, towards more
// online. (a) Offline the policy's loss is DPO minus alpha beta times the mean log-likelihood of calibration answers;
// here those are all logged ones, in the bandit of RPO, whose logs leave directions untested. (b) Online the optimistic
// estimate decides what is tried: one prompt with 10 answers, the best of which the reference almost never gives.
// Expected: (a) a small alpha gains over DPO and a large one imitates; (b) the passive learner (alpha 0) seldom meets
// the best answer, the optimist often does and its regret is lower, though not in every run. Where the reference gives
// the best answer often enough, the passive learner meets it too and optimism saves less.
#include <fmt/core.h>

#include <numeric>
#include <string>

#include "harness.hpp"
#include "valence/agent/online_preference.hpp"
#include "valence/env/preference_bandit.hpp"
#include "valence/offline/fit_preferences.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/composites.hpp"
#include "valence/reward/vpo_oracle.hpp"

namespace vl = valence;

namespace {

constexpr double alphas[] = {0, 0.01, 0.05, 0.2, 1};  // 0 is DPO
std::string offline(double alpha) {
  return "offline, value J/" + (alpha == 0 ? "DPO" : fmt::format("VPO, alpha {}", alpha));
}

std::string online(bool rare, double alpha) {
  return fmt::format("online, best answer {}, regret/{}", rare ? "rare" : "not rare",
                     alpha == 0 ? std::string("passive") : fmt::format("VPO, alpha {}", alpha));
}

void one_seed(paper::Seed& seed) {
  vl::Rng world = seed.rng.split(0), judge = seed.rng.split(1);
  const auto bandit = vl::coverage_gap_bandit(world);
  const auto pairs = bandit.sample_pairs(200, judge);
  for (const double alpha : alphas) {
    vl::LogLinearPolicy pi{bandit};
    fit(pi, vl::vpo({.beta = 0.1, .alpha = alpha}), {.pairs = pairs, .base = pairs.all_responses()});
    seed.measure(offline(alpha), bandit.value(pi.probabilities()));
  }

  for (const bool rare : {true, false}) {
    if (!rare && seed.quick) continue;
    vl::Rng arms = seed.rng.split(rare ? 2 : 3);
    const auto one = vl::rare_arm_bandit(arms, {.rare_mass = rare ? 0.01 : 0.12});  // 0.02 for each answer
    for (const double alpha : {0.0, 1.0}) {
      vl::Rng rng = seed.rng.split(4);
      vl::OnlinePreferenceTrainer online_learner{one, vl::VpoOracle{.beta = 0.1, .alpha = alpha, .ridge = 0.3}};
      const auto regret = online_learner.run(150, rng);
      seed.measure(online(rare, alpha), std::accumulate(regret.begin(), regret.end(), 0.0));
      seed.measure(online(rare, alpha) + ", mean of the last 20",
                   std::accumulate(regret.end() - 20, regret.end(), 0.0) / 20);
    }
  }
}

void study(paper::Study& study) {
  study.each_seed(one_seed);
  const auto gain = [&](double alpha) { return study.mean(offline(alpha)) - study.mean(offline(0)); };
  study.require("online: regret saved by optimism", study.mean(online(true, 0)) - study.mean(online(true, 1)),
                paper::at_least(35));
  study.require("online: share of seeds with less regret", study.share_above(online(true, 0), online(true, 1)),
                paper::at_least(0.4));
  study.require("offline: J of VPO (alpha 0.05) - J of DPO", gain(0.05), paper::at_least(0.5));
  study.require("offline: share of seeds with VPO above DPO", study.share_above(offline(0.05), offline(0)),
                paper::at_least(0.8));
  study.require("offline: J of VPO, alpha 0.05 - alpha 1 (too much imitation)", gain(0.05) - gain(1), paper::above(0));
  if (!study.quick())
    study.report("online, best answer not rare: regret saved",
                 study.mean(online(false, 0)) - study.mean(online(false, 1)));
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run(
      {.id = "vpo",
       .header = "valence/reward/vpo_oracle.hpp",
       .claim = "A reward biased by its own value explores online when promising more, and is safe offline "
                "when promising less",
       .seeds = 20,
       .quick_seeds = 20},
      count, arguments, study);
}
