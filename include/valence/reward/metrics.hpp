#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "valence/core/error.hpp"

/// How well predicted probabilities of preference fit what was seen. All functions take columns of one length n >= 1:
/// `probability[k]` in [0, 1], that the first of pair k is preferred; `outcome[k]` in [0, 1], 1 if it was, 0 if the
/// second was, 0.5 for a tie, anything between for a soft label; `weight[k]` >= 0, empty: all 1. Everything else throws
/// `Error` with the argument and the index. Results are weighted means over pairs.
namespace valence {

namespace detail {

/// Checks the columns and returns the total weight.
inline double check_predictions(const char* where, std::span<const double> probability, std::span<const double> outcome,
                                std::span<const double> weight) {
  if (probability.empty()) fail(where, "probability is empty; expected at least one pair");
  check_size(where, "outcome", outcome.size(), probability.size());
  if (!weight.empty()) check_size(where, "weight", weight.size(), probability.size());
  check_range(where, "probability", probability, 0, 1);
  check_range(where, "outcome", outcome, 0, 1);
  double total = 0;
  for (std::size_t k = 0; k < weight.size(); ++k) {
    if (!(weight[k] >= 0 && std::isfinite(weight[k])))
      fail(where, "weight[{}] is {}; expected a finite number of at least 0", k, weight[k]);
    total += weight[k];
  }
  if (weight.empty()) return static_cast<double>(probability.size());
  if (!(total > 0)) fail(where, "weight is 0 everywhere; expected at least one pair that counts");
  return total;
}

inline double weight_of(std::span<const double> weight, std::size_t k) { return weight.empty() ? 1.0 : weight[k]; }

}  // namespace detail

/// Share of decided pairs whose preferred side was predicted, in [0, 1]. A prediction of exactly 0.5 (equal scores)
/// counts half, so a model that says nothing has 0.5. Soft labels count by their larger side; pairs with outcome 0.5
/// are left out, and if no other pair is there, `Error`.
inline double pairwise_accuracy(std::span<const double> probability, std::span<const double> outcome,
                                std::span<const double> weight = {}) {
  detail::check_predictions("pairwise_accuracy", probability, outcome, weight);
  double right = 0, total = 0;
  for (std::size_t k = 0; k < probability.size(); ++k) {
    if (outcome[k] == 0.5) continue;
    const double w = detail::weight_of(weight, k);
    total += w;
    if (probability[k] == 0.5)
      right += w / 2;
    else if ((probability[k] > 0.5) == (outcome[k] > 0.5))
      right += w;
  }
  if (!(total > 0))
    fail("pairwise_accuracy", "every pair is a tie or has weight 0; expected at least one decided pair");
  return right / total;
}

/// Share of pairs whose chosen side has the higher score, in [0, 1]; equal scores count half. For scores and
/// log-probabilities, where the first column is always the preferred one. Throws `Error` for NaN (an infinity is a
/// score like any other).
inline double pairwise_accuracy_of_scores(std::span<const double> chosen, std::span<const double> rejected,
                                          std::span<const double> weight = {}) {
  const char* where = "pairwise_accuracy_of_scores";
  if (chosen.empty()) fail(where, "chosen is empty; expected at least one pair");
  check_size(where, "rejected", rejected.size(), chosen.size());
  if (!weight.empty()) check_size(where, "weight", weight.size(), chosen.size());
  double right = 0, total = 0;
  for (std::size_t k = 0; k < chosen.size(); ++k) {
    if (std::isnan(chosen[k])) fail(where, "chosen[{}] is nan; expected a score", k);
    if (std::isnan(rejected[k])) fail(where, "rejected[{}] is nan; expected a score", k);
    const double w = detail::weight_of(weight, k);
    if (!(w >= 0 && std::isfinite(w))) fail(where, "weight[{}] is {}; expected a finite number of at least 0", k, w);
    total += w;
    right += chosen[k] > rejected[k] ? w : chosen[k] == rejected[k] ? w / 2 : 0.0;
  }
  if (!(total > 0)) fail(where, "weight is 0 everywhere; expected at least one pair that counts");
  return right / total;
}

/// Mean of -y log p - (1 - y) log(1 - p), in nats. Infinite where an impossible outcome was seen.
inline double log_loss(std::span<const double> probability, std::span<const double> outcome,
                       std::span<const double> weight = {}) {
  const double total = detail::check_predictions("log_loss", probability, outcome, weight);
  double sum = 0;
  for (std::size_t k = 0; k < probability.size(); ++k) {
    const double p = probability[k], y = outcome[k], w = detail::weight_of(weight, k);
    if (w == 0) continue;
    // 0 log 0 is 0.
    if (y > 0) sum -= w * y * std::log(p);
    if (y < 1) sum -= w * (1 - y) * std::log1p(-p);
  }
  return sum / total;
}

/// Mean of (p - y)^2, in [0, 1]. Source: G. W. Brier (1950), for two outcomes, one of them counted.
inline double brier_score(std::span<const double> probability, std::span<const double> outcome,
                          std::span<const double> weight = {}) {
  const double total = detail::check_predictions("brier_score", probability, outcome, weight);
  double sum = 0;
  for (std::size_t k = 0; k < probability.size(); ++k) {
    const double error = probability[k] - outcome[k];
    sum += detail::weight_of(weight, k) * error * error;
  }
  return sum / total;
}

/// How the confidences, max(p, 1 - p), are put into bins.
enum class Bins {
  equal_width,  ///< over [0, 1], each closed below and open above, the last closed
  equal_mass    ///< as many pairs in each as the number of pairs allows; needs weights that are all equal
};

/// One row of a reliability table.
struct ReliabilityBin {
  double lower = 0, upper = 0;  ///< of the confidence
  double weight = 0;            ///< total weight of its pairs; 0: an empty bin, whose means are 0
  double confidence = 0;        ///< mean of max(p, 1 - p)
  double accuracy = 0;          ///< mean label of the predicted side
};

/// The reliability table: how often the predicted side was preferred, by how sure the model was. `bins` >= 1.
/// Source: C. Guo et al., "On calibration of modern neural networks" (2017), section 2.
inline std::vector<ReliabilityBin> reliability_table(std::span<const double> probability,
                                                     std::span<const double> outcome, int bins = 10,
                                                     Bins kind = Bins::equal_width,
                                                     std::span<const double> weight = {}) {
  const char* where = "reliability_table";
  detail::check_predictions(where, probability, outcome, weight);
  if (bins < 1) fail(where, "bins is {}; expected at least 1", bins);
  const std::size_t n = probability.size(), count = static_cast<std::size_t>(bins);
  std::vector<ReliabilityBin> table(count);
  const auto add = [&](ReliabilityBin& bin, std::size_t k) {
    const bool first = probability[k] >= 0.5;
    const double w = detail::weight_of(weight, k);
    bin.weight += w;
    bin.confidence += w * (first ? probability[k] : 1 - probability[k]);
    bin.accuracy += w * (first ? outcome[k] : 1 - outcome[k]);
  };
  if (kind == Bins::equal_width) {
    for (std::size_t b = 0; b < count; ++b) {
      table[b].lower = static_cast<double>(b) / static_cast<double>(count);
      table[b].upper = static_cast<double>(b + 1) / static_cast<double>(count);
    }
    for (std::size_t k = 0; k < n; ++k) {
      const double confidence = probability[k] >= 0.5 ? probability[k] : 1 - probability[k];
      auto b = static_cast<std::size_t>(confidence * static_cast<double>(count));
      if (b >= count) b = count - 1;
      // The product may have been rounded across a boundary.
      if (confidence < table[b].lower && b > 0)
        --b;
      else if (confidence >= table[b].upper && b + 1 < count)
        ++b;
      add(table[b], k);
    }
  } else {
    for (std::size_t k = 1; k < weight.size(); ++k)
      if (weight[k] != weight[0]) fail(where, "weight[{}] is {}; equal_mass bins need equal weights", k, weight[k]);
    std::vector<std::size_t> order(n);
    for (std::size_t k = 0; k < n; ++k) order[k] = k;
    const auto confidence = [&](std::size_t k) { return probability[k] >= 0.5 ? probability[k] : 1 - probability[k]; };
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return confidence(a) < confidence(b); });
    for (std::size_t b = 0; b < count; ++b) {
      const std::size_t begin = b * n / count, end = (b + 1) * n / count;
      for (std::size_t k = begin; k < end; ++k) add(table[b], order[k]);
      table[b].lower = begin < n ? confidence(order[begin]) : 1.0;
      table[b].upper = end > begin ? confidence(order[end - 1]) : table[b].lower;
    }
  }
  for (ReliabilityBin& bin : table)
    if (bin.weight > 0) {
      bin.confidence /= bin.weight;
      bin.accuracy /= bin.weight;
    }
  return table;
}

/// Expected calibration error, in [0, 1]: the mean over pairs of |accuracy - confidence| of their bin.
inline double expected_calibration_error(std::span<const double> probability, std::span<const double> outcome,
                                         int bins = 10, Bins kind = Bins::equal_width,
                                         std::span<const double> weight = {}) {
  double sum = 0, total = 0;
  for (const ReliabilityBin& bin : reliability_table(probability, outcome, bins, kind, weight)) {
    sum += bin.weight * std::abs(bin.accuracy - bin.confidence);
    total += bin.weight;
  }
  return sum / total;
}

}  // namespace valence
