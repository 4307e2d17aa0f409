// Differential information (Yunjae Won et al. 2025, arXiv:2505.23761).
//
// What an update from a reference to a target has to learn is the distribution q ~ target / reference. If the labels
// encode it, the log-ratio is the one reward form whose logistic loss has its optimum at the target; and they do if the
// rejected answers are drawn from reference (reference / target)^beta. (a) Each loss is minimised over free logits on
// all pairs of 32 answers with their exact probabilities. Expected: DPO returns the target; other scores, other links,
// and rejected answers made for another beta don't. (b) The entropy of q says what becomes of the policy, over random
// updates from sharpening to smoothing: low entropy reinforces, high entropy spreads the mass. It is a correlation, not
// a law: the same q sharpens where it agrees with the reference.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "harness.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/responses.hpp"
#include "valence/offline/fit_preferences.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/divergences.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/differential_information.hpp"
#include "valence/preference/losses.hpp"

namespace vl = valence;
using Policy = vl::Matrix<double>;  // answers x 1

namespace {

constexpr int answers = 32;
constexpr double beta = 0.5;

vl::Vector<double> normal(vl::Rng& rng) {
  vl::Vector<double> x(answers);
  rng.fill_normal(vl::view(x));
  return x;
}

/// Jensen-Shannon divergence between the target and what each loss finds.
void losses(paper::Seed& seed) {
  vl::Rng rng = seed.rng.split(0);
  const vl::Vector<double> log_reference = vl::log_softmax(normal(rng));
  const Policy reference = vl::softmax(log_reference), target = vl::softmax(log_reference + normal(rng));
  Policy length(answers, 1);
  for (int y = 0; y < answers; ++y) length(y) = 1 + rng.below(8);
  const auto learn = [&](const std::string& name, const auto& loss, const Policy& lengths = {}, double encoded = beta) {
    auto pi = vl::LogLinearPolicy::tabular(reference);
    const Policy rejected = vl::optimal_rejected(target, reference, encoded);
    fit(pi, loss, {.pairs = vl::population_pairs(reference, rejected), .length = lengths});
    const Policy learned = pi.probabilities();
    seed.measure("divergence from the target/" + name,
                 divergence(vl::JensenShannon{}, vl::view(target), vl::view(learned)));
  };
  const Policy one = Policy::Ones(answers, 1);
  learn("DPO (log-ratio)", vl::Dpo{.beta = beta});
  learn("log-probability (CPO)", with_score(vl::Dpo{.beta = beta}, vl::LogProb{}));
  learn("mean log-probability (SimPO)", with_score(vl::Dpo{.beta = beta}, vl::MeanLogProb{}), length);
  learn("log-odds (ORPO)", with_score(vl::Dpo{.beta = beta}, vl::LogOdds{}), one);
  learn("hinge on the log-probability (SLiC)", with_score(vl::HingeDpo{.beta = beta}, vl::LogProb{}));
  learn("hinge on the log-ratio", vl::HingeDpo{.beta = beta});
  learn("square on the log-ratio (IPO)", vl::Ipo{.beta = beta});
  learn("DPO, rejected answers for beta 0.25", vl::Dpo{.beta = beta}, {}, 0.25);
  learn("DPO, rejected answers for beta 1", vl::Dpo{.beta = beta}, {}, 1);
}

/// How the policy's entropy changes with the entropy of q, over random updates. Their q points more or less, and with
/// either sign, to where the reference has its mass.
void entropies(paper::Seed& seed) {
  vl::Rng rng = seed.rng.split(1);
  const vl::Softmax law{answers};
  std::vector<double> of_information, change;
  for (int i = 0; i < (seed.quick ? 500 : 2000); ++i) {
    const vl::Vector<double> from = vl::log_softmax(normal(rng));
    const vl::Vector<double> centred = from.array() - from.mean();
    const double rho = rng.uniform(-1, 1), scale = rng.uniform(0.2, 3),
                 deviation = std::sqrt(centred.squaredNorm() / answers);
    const vl::Vector<double> g = rho / deviation * centred + std::sqrt(1 - rho * rho) * normal(rng);
    const vl::Vector<double> to = from + scale * g;
    of_information.push_back(vl::did_entropy(vl::softmax(to), vl::softmax(from)));
    change.push_back(law.entropy(vl::view(to)) - law.entropy(vl::view(from)));
  }
  seed.measure("entropy/correlation of q's with the policy's change", vl::pearson(of_information, change));
  const auto cuts = vl::quantiles(of_information, std::vector<double>{0.25, 0.5, 0.75});
  std::array<std::vector<double>, 4> changes, relative;
  for (std::size_t i = 0; i < change.size(); ++i) {
    const auto quarter = static_cast<std::size_t>(
        std::count_if(cuts.begin(), cuts.end(), [&](double cut) { return of_information[i] > cut; }));
    changes[quarter].push_back(change[i]);
    relative[quarter].push_back(of_information[i] / std::log(answers));
  }
  for (std::size_t k = 0; k < 4; ++k) {
    const auto name = [&](const char* what) { return fmt::format("quarter {} of q's entropy/{}", k + 1, what); };
    const auto smoothing = std::count_if(changes[k].begin(), changes[k].end(), [](double d) { return d > 0; });
    seed.measure(name("entropy of q / log K"), vl::mean(relative[k]));
    seed.measure(name("change of the policy's entropy"), vl::mean(changes[k]));
    seed.measure(name("share of smoothing"), static_cast<double>(smoothing) / static_cast<double>(changes[k].size()));
  }
}

void study(paper::Study& study) {
  study.each_seed([](paper::Seed& seed) { losses(seed), entropies(seed); });
  const auto of = [](const char* loss) { return std::string("divergence from the target/") + loss; };
  double least = 1, ahead = 1;
  for (const char* loss :
       {"log-probability (CPO)", "mean log-probability (SimPO)", "log-odds (ORPO)",
        "hinge on the log-probability (SLiC)", "hinge on the log-ratio", "square on the log-ratio (IPO)",
        "DPO, rejected answers for beta 0.25", "DPO, rejected answers for beta 1"}) {
    least = (std::min)(least, study.mean(of(loss)));
    ahead = (std::min)(ahead, study.share_above(of(loss), of("DPO (log-ratio)")));
  }
  study.require("divergence of DPO from the target", study.mean(of("DPO (log-ratio)")), paper::below(1e-4));
  study.require("divergence of DPO / of the best other", study.mean(of("DPO (log-ratio)")) / least, paper::below(0.1));
  study.require("share of seeds with DPO ahead of each other", ahead, paper::at_least(1));
  study.require("correlation of the entropies", study.mean("entropy/correlation of q's with the policy's change"),
                paper::at_least(0.6));
  double step = 1;
  for (int k = 1; k < 4; ++k) {
    const auto share = [&](int quarter) {
      return study.mean(fmt::format("quarter {} of q's entropy/share of smoothing", quarter));
    };
    step = (std::min)(step, share(k + 1) - share(k));
  }
  study.require("least rise of the share of smoothing from quarter to quarter", step, paper::above(0));
  study.note(
      "High entropy doesn't mean smoothing: in the highest quarter most updates still sharpen, though little. The "
      "paper's claims about language models' downstream skills are out of scope.");
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run({.id = "differential_information",
                     .header = "valence/preference/differential_information.hpp",
                     .claim = "Where labels encode target / reference, DPO's log-ratio alone returns the target; that "
                              "ratio's entropy tells sharpening from smoothing",
                     .seeds = 10,
                     .quick_seeds = 4},
                    count, arguments, study);
}
