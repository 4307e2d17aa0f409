#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/interval_iteration.hpp"

namespace valence {

/// `extreme`: over all policies, the largest probability or the smallest. `tolerance` > 0 is the largest `bound` that
/// is asked for, `max_iterations` >= 1 the number of sweeps at most.
struct ReachabilityOptions {
  Extreme extreme = Extreme::largest;
  double tolerance = 1e-6;
  std::size_t max_iterations = 1'000'000;
};

/// The probability of ever reaching `goal`, a list of states, from each state, under the policy that makes it largest
/// or smallest (Baier & Katoen 2008, section 10.6), between certified bounds (interval iteration: Haddad & Monmege
/// 2018; rounding included, see `interval_iteration`). Probabilities of 0 and 1 are found from the graph and exact. For
/// the largest, end components are collapsed, without which the upper bounds would not fall; for the smallest there are
/// none left. `policy` attains the bounds: it reaches the goal with probability at least `lower` (at most `upper`), and
/// surely where that is 1. It is -1 in terminal and in goal states. Rewards aren't read.
///
/// Throws `Error` for an empty goal and for states that don't exist.
template <FiniteModel M>
IntervalSolution<typename M::Scalar> reachability(const M& model, std::span<const int> goal,
                                                  const ReachabilityOptions& options = {}, Progress progress = {}) {
  constexpr auto where = "reachability";
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
  if (goal.empty()) fail(where, "goal is empty; expected at least one state");
  const detail::Stopwatch watch;
  const bool largest = options.extreme == Extreme::largest;
  const double sign = largest ? 1 : -1;

  const StateSet target = state_set(where, model.states(), goal);
  const TransitionGraph whole = transition_graph(model, target);
  const Predecessors into_whole = predecessors(whole);
  const StateSet never = probability_zero(whole, into_whole, target, options.extreme);
  const StateSet surely = probability_one(whole, into_whole, target, options.extreme);
  StateSet known(never.size());
  for (std::size_t s = 0; s < known.size(); ++s) known[s] = never[s] || surely[s];

  // Only what is between 0 and 1 is iterated.
  const TransitionGraph graph = transition_graph(model, known);
  const Predecessors into = predecessors(graph);
  const detail::Collapsed collapsed =
      detail::collapse(graph, maximal_end_components(graph, into, RowSet(graph.rows(), largest ? 1 : 0)));
  std::vector<detail::Bracket> start(known.size());
  for (std::size_t s = 0; s < start.size(); ++s) {
    const double value = surely[s] ? sign : 0;
    start[s] = known[s] ? detail::Bracket{value, value} : largest ? detail::Bracket{0, 1} : detail::Bracket{-1, 0};
  }
  IntervalSolution<typename M::Scalar> result;
  detail::IntervalSweeps sweeps(
      model, collapsed, [](int, int) { return 0.0; }, 1, false, std::move(start));
  detail::narrow_bounds(sweeps, options.tolerance, options.max_iterations, result, progress);
  detail::finish_intervals(sweeps.values(), true, options.tolerance, sign, result);

  // The policy where nothing was iterated: towards the goal, staying where it is sure; or staying where it is avoided.
  result.policy = detail::expand_policy(model, graph, into, collapsed, sweeps.choice());
  const StateSet& keep = largest ? surely : never;
  RowSet keeps(whole.rows());
  for (std::size_t i = 0; i < keeps.size(); ++i) {
    const auto to = whole.successors(i);
    keeps[i] =
        std::all_of(to.begin(), to.end(), [&](std::int32_t t) { return keep[static_cast<std::size_t>(t)] != 0; });
  }
  constexpr std::uint32_t none = 0xffffffff;
  std::vector<std::uint32_t> chosen(known.size(), none);
  if (largest) {
    StateSet reached = target;
    detail::grow_by_some(into_whole, keeps, reached, &chosen);
  }
  for (int s = 0; s < whole.states; ++s) {
    const auto k = static_cast<std::size_t>(s);
    if (!known[k] || whole.end(s)) continue;
    std::size_t row = chosen[k];
    if (row == none) {  // the first that keeps, or the first where any will do
      row = whole.first_row(s);
      if (keep[k])
        while (row < whole.last_row(s) && !keeps[row]) ++row;
    }
    result.policy[k] = detail::pair_of(model, whole, row).action;
  }
  result.seconds = watch.seconds();
  return result;
}

}  // namespace valence
