#pragma once

/// The concepts of environments, spaces and data sets.

#include "valence/mdp/concepts.hpp"
#include "valence/mdp/encode.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"
