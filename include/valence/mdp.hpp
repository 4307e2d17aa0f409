#pragma once

/// The concepts of environments, spaces and data sets.

#include "valence/mdp/concepts.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/mdp/encode.hpp"
#include "valence/mdp/estimate.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/mdp/game.hpp"
#include "valence/mdp/normalizers.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"
#include "valence/mdp/trajectory.hpp"
