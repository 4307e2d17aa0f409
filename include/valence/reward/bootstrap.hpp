#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/core/types.hpp"
#include "valence/reward/bradley_terry.hpp"

namespace valence {

/// Abilities over bootstrap samples of the comparisons.
struct BradleyTerryBootstrap {
  std::vector<Interval> weight;  ///< percentile interval of each item's ability (mean 0 in each sample)
  Matrix<double>
      samples;  ///< items x resamples: the abilities themselves, for statistics of one's own (ranks, differences)
};

/// How sure a ranking is: fits the model to samples of the rows drawn with replacement, as many as there are, and takes
/// the percentile interval of each ability (Efron 1979).
///
/// A row of `matchups` is what is drawn, so it must be one independent vote (or game): rows that were merged before
/// would be drawn together. `options.l2` > 0, because a sample may leave an item without comparisons. Sample i is drawn
/// from `rng.split(i)`: the intervals depend on the generator's seed and position in the tree, and on nothing else.
/// `progress` is told after each, and may not end it early: half an interval is none. Throws `Error` as
/// `fit_bradley_terry` does, and for l2 = 0 or bad bootstrap options.
template <std::same_as<double> S = double>
BradleyTerryBootstrap bootstrap_bradley_terry(std::span<const Matchup> matchups, int items,
                                              const BradleyTerryOptions& options, const BootstrapOptions& bootstrap,
                                              const Rng& rng, Progress progress = {}) {
  const char* where = "bootstrap_bradley_terry";
  detail::check_options(where, options);
  detail::check_matchups(where, matchups, items);
  if (!(options.l2 > 0))
    fail(where, "l2 is 0; expected a penalty, because a sample may leave an item without comparisons");
  if (bootstrap.resamples < 1) fail(where, "resamples is {}; expected at least 1", bootstrap.resamples);
  detail::check_level(where, bootstrap.level);
  // Rows of one pair share a merged row: its counts are all that the fit sees, and a sample is a draw of counts.
  std::vector<std::pair<std::pair<int, int>, std::size_t>> keys(matchups.size());
  for (std::size_t k = 0; k < matchups.size(); ++k) {
    std::pair<int, int> pair{matchups[k].first, matchups[k].second};
    if (!options.order_effect && pair.first > pair.second) std::swap(pair.first, pair.second);
    keys[k] = {pair, k};
  }
  std::sort(keys.begin(), keys.end());
  std::vector<Matchup> merged;
  std::vector<std::size_t> slot(matchups.size());
  for (const auto& [pair, k] : keys) {
    if (merged.empty() || pair != std::pair{merged.back().first, merged.back().second})
      merged.push_back({pair.first, pair.second});
    slot[k] = merged.size() - 1;
  }
  const auto resamples = static_cast<int>(bootstrap.resamples);
  BradleyTerryBootstrap result;
  result.samples.resize(items, resamples);
  for (int r = 0; r < resamples; ++r) {
    Rng stream = rng.split(static_cast<std::uint64_t>(r));
    for (Matchup& m : merged) m.wins = m.losses = m.ties = 0;
    for (std::size_t draw = 0; draw < matchups.size(); ++draw) {
      const auto k = static_cast<std::size_t>(stream.below(static_cast<std::uint64_t>(matchups.size())));
      const Matchup& from = matchups[k];
      Matchup& to = merged[slot[k]];
      const bool same = to.first == from.first;
      to.wins += same ? from.wins : from.losses;
      to.losses += same ? from.losses : from.wins;
      to.ties += from.ties;
    }
    result.samples.col(r) = fit_bradley_terry(merged, items, options).weight;
    progress({.step = static_cast<std::uint64_t>(r) + 1,
              .total = static_cast<std::uint64_t>(resamples),
              .task = "bootstrap"});
  }
  std::vector<double> ability(static_cast<std::size_t>(resamples));
  const double levels[] = {(1 - bootstrap.level) / 2, (1 + bootstrap.level) / 2};
  for (int i = 0; i < items; ++i) {
    for (int r = 0; r < resamples; ++r) ability[static_cast<std::size_t>(r)] = result.samples(i, r);
    const std::vector<double> q = quantiles(ability, levels);
    result.weight.push_back({q[0], q[1]});
  }
  return result;
}

}  // namespace valence
