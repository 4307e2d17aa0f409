#pragma once

#include "valence/policy_gradient/group_baselines.hpp"
#include "valence/policy_gradient/natural_gradient.hpp"
#include "valence/policy_gradient/pointwise.hpp"
#include "valence/policy_gradient/soft_actor.hpp"
#include "valence/policy_gradient/surrogate.hpp"
