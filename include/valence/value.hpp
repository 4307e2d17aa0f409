#pragma once

/// Targets of value learning: pure functions of experience, arrays in, arrays out.
///
///   valence::gae(valence::Steps<double>{.reward = r, .value = v, .terminated = ended}, {.advantage = a, .target = g},
///                {.discount = 0.99, .lambda = 0.95});

#include "valence/value/action_returns.hpp"
#include "valence/value/action_robustness.hpp"
#include "valence/value/average_reward.hpp"
#include "valence/value/bellman_errors.hpp"
#include "valence/value/check.hpp"
#include "valence/value/emphatic_td.hpp"
#include "valence/value/feature_transition.hpp"
#include "valence/value/gae.hpp"
#include "valence/value/gradient_td.hpp"
#include "valence/value/indicators.hpp"
#include "valence/value/lstd.hpp"
#include "valence/value/martingale.hpp"
#include "valence/value/monte_carlo.hpp"
#include "valence/value/one_step.hpp"
#include "valence/value/proto_value_network.hpp"
#include "valence/value/rescaling.hpp"
#include "valence/value/returns.hpp"
#include "valence/value/robust_consistency.hpp"
#include "valence/value/steps.hpp"
#include "valence/value/sweep.hpp"
#include "valence/value/traces.hpp"
#include "valence/value/value_aware.hpp"
#include "valence/value/value_gradient.hpp"
#include "valence/value/vtrace.hpp"
