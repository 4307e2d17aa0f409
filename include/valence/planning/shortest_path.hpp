#pragma once

#include <cstddef>
#include <span>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/interval_iteration.hpp"

namespace valence {

/// `tolerance` > 0 is the largest `bound` that is asked for, `max_iterations` >= 1 the number of sweeps at most.
struct ShortestPathOptions {
  double tolerance = 1e-6;
  std::size_t max_iterations = 1'000'000;
};

/// The stochastic shortest path (Bertsekas & Tsitsiklis 1991): the largest expected total reward until a state of
/// `goal` is reached, over the policies that surely reach it (the proper ones); for costs, rewards are minus costs.
/// `goal` lists states, which are worth 0 and left no more; where it is empty it is the model's terminal states.
/// Certified bounds as those of `interval_iteration`; `policy` is proper, worth at least `lower`, and -1 in goal
/// states.
///
/// Throws `Error` naming a state from which the goal can't be reached with probability 1 (a terminal state that is no
/// goal among them), or from which reward can be gained for ever, in the sense of `check_episodic`. Unlike there, going
/// round for nothing is no end: a policy must reach the goal also where that costs and waiting is free, and Bellman's
/// equation, which then has several solutions, is solved on the model in which each end component of reward 0 is one
/// state.
template <FiniteModel M>
IntervalSolution<typename M::Scalar> shortest_path(const M& model, std::span<const int> goal,
                                                   const ShortestPathOptions& options = {}, Progress progress = {}) {
  constexpr auto where = "shortest_path";
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
  const StateSet chosen = state_set(where, model.states(), goal);
  const TransitionGraph graph = transition_graph(model, chosen);
  return detail::total_reward_bounds(where, model, graph, goal.empty() ? detail::ends_of(graph) : chosen, false,
                                     goal.empty() ? "a terminal state" : "the goal", options.tolerance,
                                     options.max_iterations, progress);
}
template <FiniteModel M>
IntervalSolution<typename M::Scalar> shortest_path(const M& model, const ShortestPathOptions& options = {},
                                                   Progress progress = {}) {
  return shortest_path(model, std::span<const int>{}, options, progress);
}

}  // namespace valence
