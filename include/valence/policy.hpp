#pragma once

/// How an action is chosen.

#include "valence/policy/action_choice.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/ddpm.hpp"
#include "valence/policy/deterministic.hpp"
#include "valence/policy/divergences.hpp"
#include "valence/policy/exploration_noise.hpp"
#include "valence/policy/gaussian.hpp"
#include "valence/policy/gaussian_mixture.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy/rejection_sampling.hpp"
#include "valence/policy/saved_policy.hpp"
#include "valence/policy/squashed_gaussian.hpp"
