// Implicit reward of SFT (Bo Wang et al. 2025, arXiv:2507.00018).
//
// SFT is implicit reward learning in the total variation, for which the KL anchor to the base policy cancels: nothing
// restrains the update. A smaller learning rate restrains it, and so do other f-divergences, whose loss keeps the
// reference. Here a log-linear policy with 200 features is fine-tuned on 60 demonstrations, then trained by DPO, with
// the fine-tuned policy as its reference, on 400 comparisons of the base policy's answers. Expected: SFT at the usual
// rate over-fits the demonstrations, and DPO from there ends below DPO from the restrained policies, although these
// score no better after SFT. Where the policy has few features and can't over-fit, that gain should vanish.
#include <string>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "valence/env/preference_bandit.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/offline/fit_preferences.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/f_sft.hpp"
#include "valence/preference/losses.hpp"

namespace vl = valence;
using vl::SftDivergence;

namespace {

struct Stage {
  std::string name;
  SftDivergence divergence;
  double step_size;  ///< 0: no fine-tuning
  bool quick = false, few_features = false;
};
const std::vector<Stage> stages{{"SFT, rate 0.3", SftDivergence::total_variation, 0.3, true, true},
                                {"SFT, rate 0.03", SftDivergence::total_variation, 0.03, true, true},
                                {"SFT, rate 0.01", SftDivergence::total_variation, 0.01},
                                {"SFT, rate 0.003", SftDivergence::total_variation, 0.003},
                                {"Pearson, rate 0.3", SftDivergence::pearson, 0.3, true},
                                {"squared Hellinger, rate 0.3", SftDivergence::squared_hellinger, 0.3},
                                {"Jensen-Shannon, rate 0.3", SftDivergence::jensen_shannon, 0.3, true},
                                {"Pearson, rate 0.03", SftDivergence::pearson, 0.03},
                                {"no SFT", SftDivergence::total_variation, 0}};

void one_seed(paper::Seed& seed) {
  for (const int features : {200, 24}) {
    const bool many = features == 200;
    if (!many && seed.quick) continue;
    vl::Rng world = seed.rng.split(0), data = seed.rng.split(1);
    const auto bandit = vl::demonstration_bandit(world, {.features = features});
    const auto demonstrations = bandit.sample_responses(60, bandit.best_policy(2), data);  // base exp(r / 2)
    const auto pairs = bandit.sample_pairs(400, data, {.scale = 2});
    const std::string where = many ? "" : "24 features, ";
    std::vector<std::pair<std::string, double>> after_dpo;
    for (const Stage& stage : stages) {
      if (seed.quick && !stage.quick) continue;
      if (!many && !stage.few_features) continue;
      vl::LogLinearPolicy pi{bandit};
      if (stage.step_size > 0)
        fit(pi, vl::FSft{.divergence = stage.divergence}, {.base = demonstrations},
            vl::Adam{.step_size = stage.step_size}, {.steps = 200});
      seed.measure(where + "J after SFT/" + stage.name, bandit.value(pi.probabilities()));
      const auto reference = pi.log_probs();
      fit(pi, vl::Dpo{.beta = 0.1}, {.pairs = pairs, .reference = reference}, vl::Adam{.step_size = 0.02},
          {.steps = 60});
      after_dpo.emplace_back(where + "J after SFT and DPO/" + stage.name, bandit.value(pi.probabilities()));
    }
    for (const auto& [name, value] : after_dpo) seed.measure(name, value);
  }
}

void study(paper::Study& study) {
  study.each_seed(one_seed);
  const std::string dpo = "J after SFT and DPO/", usual = stages[0].name, small = stages[1].name;
  const auto gain = [&](const std::string& stage) { return study.mean(dpo + stage) - study.mean(dpo + usual); };
  study.require("J after DPO, SFT rate 0.03 - rate 0.3", gain(small), paper::at_least(0.04));
  study.require("share of seeds where the smaller rate is better", study.share_above(dpo + small, dpo + usual),
                paper::at_least(0.75));
  for (const std::string stage : {"Pearson, rate 0.3", "Jensen-Shannon, rate 0.3"})
    study.require("J after DPO, " + stage + " - SFT at that rate", gain(stage), paper::at_least(0.03));
  study.report("J after SFT alone, rate 0.03 - rate 0.3",
               study.mean("J after SFT/" + small) - study.mean("J after SFT/" + usual));
  if (!study.quick())
    study.report("24 features: J after DPO, rate 0.03 - rate 0.3",
                 study.mean("24 features, " + dpo + small) - study.mean("24 features, " + dpo + usual));
  study.note(
      "The condition: demonstrations that the policy can over-fit. The rows with 24 features show a policy that "
      "can't.");
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run({.id = "implicit_reward_sft",
                     .header = "valence/preference/f_sft.hpp",
                     .claim = "SFT with a smaller learning rate, or in another f-divergence, leaves a policy that DPO "
                              "makes better",
                     .seeds = 60,
                     .quick_seeds = 60},
                    count, arguments, study);
}
