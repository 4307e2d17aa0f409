#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/bandits.hpp"

namespace valence {

/// The law of a log's arms in a `MixedBandit`: with `sample` and `log_prob` it is a policy for `collect`.
struct ArmLaw {
  std::vector<double> probabilities;  ///< an entry an arm; they sum to 1, and some may be 0

  int sample(int, Rng& rng) const {
    double rest = rng.uniform();
    int last = 0;
    for (std::size_t a = 0; a < probabilities.size(); ++a)
      if (probabilities[a] > 0) {
        last = static_cast<int>(a);
        if ((rest -= probabilities[a]) < 0) break;
      }
    return last;
  }
  /// -infinity for an arm that is never pulled.
  double log_prob(int, int arm) const {
    detail::check_arm("ArmLaw::log_prob", arm, static_cast<int>(probabilities.size()));
    return std::log(probabilities[static_cast<std::size_t>(arm)]);
  }
};

/// One policy of those that made a log.
struct ArmMixturePart {
  double weight;                      ///< > 0, of the log's share; only ratios matter
  std::vector<double> probabilities;  ///< an entry an arm, that sum to 1
};

/// A Gaussian bandit and the mixture of policies that logs were made with. An arm, even the best one, may be missing
/// from the log: what a learner that believes only in the log must not choose.
class MixedBandit : public GaussianBandit {
 public:
  /// `means`, `standard_deviation`: as in `GaussianBandit`. Throws `Error` for no part, a weight that isn't positive, and
  /// probabilities that aren't a law of the arms.
  MixedBandit(std::vector<double> means, const std::vector<ArmMixturePart>& parts, double standard_deviation = 1)
      : GaussianBandit(std::move(means), standard_deviation) {
    constexpr auto where = "MixedBandit";
    if (parts.empty()) fail(where, "parts is empty; expected at least one");
    behaviour_.probabilities.assign(static_cast<std::size_t>(arms()), 0.0);
    double total = 0;
    for (const ArmMixturePart& part : parts) {
      check_positive(where, "weight", part.weight);
      check_size(where, "probabilities", part.probabilities.size(), behaviour_.probabilities.size());
      check_probabilities(where, "probabilities", std::span<const double>(part.probabilities));
      total += part.weight;
    }
    for (const ArmMixturePart& part : parts)
      for (std::size_t a = 0; a < part.probabilities.size(); ++a)
        behaviour_.probabilities[a] += part.weight / total * part.probabilities[a];
  }

  /// The law of a logged arm: the mixture's.
  const ArmLaw& behaviour() const { return behaviour_; }
  /// Can the log hold this arm? Throws `Error` if there is no such arm.
  bool logged(int arm) const {
    detail::check_arm("MixedBandit::logged", arm, arms());
    return behaviour_.probabilities[static_cast<std::size_t>(arm)] > 0;
  }
  /// The best mean among the arms that the log can hold: what a learner can know of.
  double best_logged_mean() const {
    double best = 0;
    bool found = false;
    for (int a = 0; a < arms(); ++a)
      if (logged(a) && (!found || mean(a) > best)) best = mean(a), found = true;
    return best;
  }

  template <class A>
  void archive(A& ar) {
    GaussianBandit::archive(ar);
    ar(behaviour_.probabilities);
  }

 private:
  ArmLaw behaviour_ = {};
};

}  // namespace valence
