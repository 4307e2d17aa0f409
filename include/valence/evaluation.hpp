#pragma once

/// What a policy would have earned, from what another one logged.

#include "valence/evaluation/bandit_feedback.hpp"
#include "valence/evaluation/off_policy.hpp"
#include "valence/evaluation/replay.hpp"
#include "valence/evaluation/tuning.hpp"
#include "valence/evaluation/unstable_directions.hpp"
