#pragma once

/// Solvers that need a model: dynamic and linear programming with certified bounds, reachability, occupancy measures,
/// tree search.
///
///   const valence::FiniteMdp model{valence::FrozenLake{}};
///   auto solution = valence::value_iteration(model, {.discount = 0.99, .tolerance = 1e-8});

#include "valence/planning/bellman.hpp"
#include "valence/planning/direct_evaluation.hpp"
#include "valence/planning/discount_sweep.hpp"
#include "valence/planning/distributional_iteration.hpp"
#include "valence/planning/finite_horizon.hpp"
#include "valence/planning/gain_bias.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/interval_iteration.hpp"
#include "valence/planning/linear_programming.hpp"
#include "valence/planning/mcts.hpp"
#include "valence/planning/occupancy.hpp"
#include "valence/planning/policy_evaluation.hpp"
#include "valence/planning/policy_iteration.hpp"
#include "valence/planning/prioritized_sweeping.hpp"
#include "valence/planning/reachability.hpp"
#include "valence/planning/relative_value_iteration.hpp"
#include "valence/planning/return_laws.hpp"
#include "valence/planning/shortest_path.hpp"
#include "valence/planning/soft_value_iteration.hpp"
#include "valence/planning/solution.hpp"
#include "valence/planning/span_value_iteration.hpp"
#include "valence/planning/stock_augmentation.hpp"
#include "valence/planning/successor_representation.hpp"
#include "valence/planning/value_iteration.hpp"
