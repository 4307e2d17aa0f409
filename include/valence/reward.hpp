#pragma once

/// Reward models fitted to preferences.

#include "valence/reward/bootstrap.hpp"
#include "valence/reward/bradley_terry.hpp"
#include "valence/reward/implicit_reward.hpp"
#include "valence/reward/links.hpp"
#include "valence/reward/metrics.hpp"
#include "valence/reward/pair_objective.hpp"
#include "valence/reward/text_features.hpp"
#include "valence/reward/tie_models.hpp"
#include "valence/reward/train_on_pairs.hpp"
#include "valence/reward/vpo_oracle.hpp"
