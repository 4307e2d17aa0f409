#pragma once

/// How an action is chosen.

#include "valence/policy/action_choice.hpp"
#include "valence/policy/rate.hpp"
