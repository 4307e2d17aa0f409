#pragma once

/// The concepts of environments, spaces and data sets.

#include "valence/mdp/concepts.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/mdp/encode.hpp"
#include "valence/mdp/estimate.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/mdp/game.hpp"
#include "valence/mdp/hindsight.hpp"
#include "valence/mdp/normalizers.hpp"
#include "valence/mdp/prioritized_replay.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/mdp/replay_windows.hpp"
#include "valence/mdp/responses.hpp"
#include "valence/mdp/sampled_paths.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"
#include "valence/mdp/sum_tree.hpp"
#include "valence/mdp/trajectory.hpp"
