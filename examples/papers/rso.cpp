// RSO: statistical rejection sampling optimisation (Tianqi Liu et al. 2024, arXiv:2309.06657).
//
// The maximum-likelihood estimate of the optimal policy pi* wants comparisons of answers of pi*. Rejection sampling by a
// reward makes them out of the SFT policy's answers. Here a log-linear policy learns from 1000 comparisons of answers to
// 30 prompts with 64 answers each, and can't represent the reward, so it matters where it fits best. The same two
// losses, DPO's (sigmoid-norm) and the hinge on the same margin (hinge-norm), learn from logged answers of a worse
// policy (direct), from the SFT policy's (sft), and from those that rejection sampling accepts (rso). Expected: rso is
// best with both losses. Where the policy can represent the reward, all sources should lead to the same policy.
#include <fmt/core.h>

#include <Eigen/Core>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "valence/core/lbfgs.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/env/preference_bandit.hpp"
#include "valence/offline/fit_preferences.hpp"
#include "valence/offline/pair_sources.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/losses.hpp"

namespace vl = valence;
using vl::PairSource;

namespace {

constexpr double beta = 0.5;
const std::pair<std::string, PairSource> sources[] = {
    {"direct", PairSource::direct}, {"sft", PairSource::sft_sample_rank}, {"rso", PairSource::rso_sample_rank}};

const std::string representable = "representable reward: ";

double divergence(const vl::Matrix<double>& best, const vl::Matrix<double>& log_probs) {
  return (best.array() * (best.array().log() - log_probs.array())).sum() / static_cast<double>(best.cols());
}

void one_seed(paper::Seed& seed) {
  const auto learn = [&seed](const vl::PreferenceBandit& made, std::size_t count, const std::string& world,
                             const auto& loss_name, const auto& loss) {
    const auto worse = vl::softmax(vl::Matrix<double>(-made.rewards()));
    const vl::PreferenceBandit bandit{made.rewards(), made.features(), made.reference(), worse};
    std::vector<vl::LogLinearPolicy> policies;
    for (const auto& [name, source] : sources) {
      vl::Rng rng = seed.rng.split(1);
      const auto pairs = sample_pairs(source, bandit, bandit, bandit.reference(), count, rng,
                                      {.candidates = 32, .accepted = 2, .beta = beta});
      policies.emplace_back(bandit);
      // The hinge has no gradient of 0 to arrive at: after 50 iterations J changes by less than 0.001.
      fit(policies.back(), loss, {.pairs = pairs}, vl::Lbfgs{.max_iterations = 50}, {.ridge = 1e-4});
      seed.measure(fmt::format("{}J, {}/{}", world, loss_name, name), bandit.value(policies.back().probabilities()));
    }
    const auto best = bandit.best_policy(beta);
    seed.measure(fmt::format("{}J, {}/pi*", world, loss_name), bandit.value(best));
    for (std::size_t i = 0; i < policies.size(); ++i)
      seed.measure(fmt::format("{}KL(pi* || pi), {}/{}", world, loss_name, sources[i].first),
                   divergence(best, policies[i].log_probs()));
  };
  vl::Rng hard = seed.rng.split(0), simple = seed.rng.split(0);
  const auto bandit = vl::misspecified_bandit(hard);
  learn(bandit, 1000, "", "sigmoid-norm", vl::Dpo{.beta = beta});
  learn(bandit, 1000, "", "hinge-norm", vl::HingeDpo{.beta = beta});
  if (!seed.quick)
    learn(vl::misspecified_bandit(simple, {.quadratic = 0, .folded = 0}), 10000, representable, "sigmoid-norm",
          vl::Dpo{.beta = beta});
}

void study(paper::Study& study) {
  study.each_seed(one_seed);
  const auto gain = [&](const std::string& heading, const std::string& over) {
    return study.mean(heading + "/rso") - study.mean(heading + "/" + over);
  };
  for (const std::string loss : {"sigmoid-norm", "hinge-norm"}) {
    study.require(loss + ": J of rso - J of sft", gain("J, " + loss, "sft"), paper::at_least(0.05));
    study.require(loss + ": J of rso - J of direct", gain("J, " + loss, "direct"), paper::at_least(0.2));
  }
  if (!study.quick())
    study.report("representable reward, 10000 pairs: J of rso - J of sft",
                 gain(representable + "J, sigmoid-norm", "sft"));
  study.note("The condition: the policy can't represent the reward. The ranker of sft and rso is the true reward.");
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run({.id = "rso",
                     .header = "valence/offline/pair_sources.hpp",
                     .claim = "Comparisons of answers of the estimated optimal policy teach more than those of the SFT "
                              "policy or of logs",
                     .seeds = 100,
                     .quick_seeds = 100},
                    count, arguments, study);
}
