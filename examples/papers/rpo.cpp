// RPO: regularised preference optimisation (Zhihan Liu et al. 2024, arXiv:2405.16436).
//
// The policy that is best against the worst reward that still fits the comparisons is found by DPO plus eta times the
// negative log-likelihood of the chosen answers. Here a log-linear policy learns from 200 comparisons of the 8 answers
// (of 24) to each of 20 prompts that the logs hold. They hardly vary in 8 of the 12 features, and the answers that the
// logs don't hold are worth less on average. Every loss is trained to its optimum. Expected: DPO moves mass to answers
// that nobody judged, and drives the chosen ones' likelihood down; a small eta stops both and has the higher value; a
// large one goes back to imitation, which is no better than DPO.
#include <fmt/core.h>

#include <Eigen/Core>
#include <string>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "valence/env/preference_bandit.hpp"
#include "valence/offline/fit_preferences.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/composites.hpp"

namespace vl = valence;

namespace {

constexpr double etas[] = {0, 0.001, 0.005, 0.02, 0.1};  // 0 is DPO

std::string name(double eta) { return eta == 0 ? "DPO" : fmt::format("RPO, eta {}", eta); }

void one_seed(paper::Seed& seed) {
  for (const bool partial : {true, false}) {
    vl::Rng world = seed.rng.split(0), judge = seed.rng.split(1);
    const auto bandit =
        vl::coverage_gap_bandit(world, partial ? vl::CoverageGap{} : vl::CoverageGap{.covered = 24, .dimmed = 1});
    const auto pairs = bandit.sample_pairs(200, judge);
    std::vector<std::pair<std::string, vl::LogLinearPolicy>> policies{{"reference", vl::LogLinearPolicy{bandit}}};
    for (const double eta : etas) {
      vl::LogLinearPolicy pi{bandit};
      fit(pi, vl::rpo({.beta = 0.1, .eta = eta}), {.pairs = pairs});
      policies.emplace_back(name(eta), pi);
    }
    const auto measure = [&](const std::string& quantity, const auto& of) {
      for (const auto& [method, pi] : policies) seed.measure(quantity + "/" + method, of(pi));
    };
    measure(partial ? "value J" : "logs of all answers, value J",
            [&](const auto& pi) { return bandit.value(pi.probabilities()); });
    if (!partial) continue;
    measure("mass on answers outside the logs", [&](const auto& pi) {
      return (bandit.behaviour().array() == 0).select(pi.probabilities().array(), 0).sum() / bandit.prompts();
    });
    measure("mean log pi(chosen)", [&](const auto& pi) {
      const auto log_probs = pi.log_probs();
      double sum = 0;
      for (std::size_t i = 0; i < pairs.size(); ++i) sum += log_probs(pairs.chosen[i], pairs.prompt[i]);
      return sum / static_cast<double>(pairs.size());
    });
  }
}

void study(paper::Study& study) {
  study.each_seed(one_seed);
  const auto value = [](double eta) { return "value J/" + name(eta); };
  const auto likelihood = [](double eta) { return "mean log pi(chosen)/" + name(eta); };
  study.require("J of RPO (eta 0.005) - J of DPO", study.mean(value(0.005)) - study.mean(value(0)),
                paper::at_least(0.5));
  study.require("share of seeds with RPO above DPO", study.share_above(value(0.005), value(0)), paper::at_least(0.8));
  study.require("share of seeds with a higher log pi(chosen)", study.share_above(likelihood(0.005), likelihood(0)),
                paper::at_least(1));
  study.require("mass outside the logs, RPO / DPO",
                study.mean("mass on answers outside the logs/" + name(0.005)) /
                    study.mean("mass on answers outside the logs/" + name(0)),
                paper::below(1));
  study.require("J of RPO, eta 0.005 - eta 0.1 (too much imitation)", study.mean(value(0.005)) - study.mean(value(0.1)),
                paper::above(0));
  study.note(
      "The condition: the logs must leave directions untested. eta is the coefficient of the SFT term itself; the "
      "authors' code multiplies it by beta.");
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run({.id = "rpo",
                     .header = "valence/preference/composites.hpp",
                     .claim = "An SFT term keeps DPO from answers that the comparisons never tested, and from lowering "
                              "the chosen ones",
                     .seeds = 20,
                     .quick_seeds = 10},
                    count, arguments, study);
}
