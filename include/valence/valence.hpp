#pragma once

/// The roof: all of valence except io/, which is included by name.

#include "valence/agent.hpp"
#include "valence/core.hpp"
#include "valence/distributional.hpp"
#include "valence/env.hpp"
#include "valence/evaluation.hpp"
#include "valence/function.hpp"
#include "valence/game.hpp"
#include "valence/mdp.hpp"
#include "valence/offline.hpp"
#include "valence/planning.hpp"
#include "valence/policy.hpp"
#include "valence/policy_gradient.hpp"
#include "valence/preference.hpp"
#include "valence/reward.hpp"
#include "valence/value.hpp"
