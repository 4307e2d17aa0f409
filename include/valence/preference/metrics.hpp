#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/check.hpp"

/// What to watch while a policy is trained on preferences.
namespace valence {

/// Implicit rewards beta (log pi - log pi_ref) of a batch of pairs, in means over pairs.
struct RewardMetrics {
  double chosen, rejected;  ///< mean rewards; both falling is the displacement that RPO exists to stop
  double margin;            ///< mean of chosen - rejected
  double accuracy;          ///< share of pairs with chosen > rejected; a tie counts 0.5
};

/// The metrics of a batch with a reference. Weights do not enter. An accuracy below 1/2 on training data hints at
/// swapped columns (pitfall P22).
template <Scalar S>
RewardMetrics reward_metrics(const PairBatch<S>& in, double beta) {
  const detail::Where where{nullptr, [](const void*) { return std::string("reward_metrics"); }};
  check_positive("reward_metrics", "beta", beta);
  detail::check_pairs(where, Column::pairs | Column::reference, in);
  RewardMetrics m{};
  const std::size_t n = in.chosen.size();
  for (std::size_t i = 0; i < n; ++i) {
    const S chosen = in.chosen[i] - in.ref_chosen[i], rejected = in.rejected[i] - in.ref_rejected[i];
    m.chosen += static_cast<double>(chosen);
    m.rejected += static_cast<double>(rejected);
    m.accuracy += chosen > rejected ? 1 : chosen == rejected ? 0.5 : 0;
  }
  const double count = static_cast<double>(n);
  m.chosen *= beta / count;
  m.rejected *= beta / count;
  m.accuracy /= count;
  m.margin = m.chosen - m.rejected;
  return m;
}
template <class C>
RewardMetrics reward_metrics(const PairLogProbs<C>& in, double beta) {
  return reward_metrics(in.view(), beta);
}

/// KL(p || q) = sum_i p_i log(p_i / q_i) in nats: samples come from the FIRST argument. What DPO's objective holds down
/// is `kl_sampled_from_first(policy, reference)`, which the field calls "reverse" (pitfall P20: names of direction
/// mislead). Infinite where p puts mass and q has none. Throws unless both are probability vectors of one size.
template <Scalar S>
double kl_sampled_from_first(std::span<const S> p, std::span<const S> q) {
  constexpr std::string_view where = "kl_sampled_from_first";
  check_probabilities(where, "p", p);
  check_probabilities(where, "q", q);
  check_size(where, "q", q.size(), p.size());
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] == S(0)) continue;
    if (q[i] == S(0)) return std::numeric_limits<double>::infinity();
    sum += static_cast<double>(p[i]) * std::log(static_cast<double>(p[i]) / static_cast<double>(q[i]));
  }
  return sum;
}

}  // namespace valence
