#pragma once

/// Simulators: classic control, toy text, grid worlds, bandits, small models; wrappers, vectors of environments, and a
/// checker for one's own.
///
///   valence::TimeLimit env{valence::FrozenLake{}};   // Gymnasium's FrozenLake-v1; the bare process without TimeLimit

#include "valence/env/acrobot.hpp"
#include "valence/env/bandits.hpp"
#include "valence/env/batch.hpp"
#include "valence/env/batch_cart_pole.hpp"
#include "valence/env/batch_pendulum.hpp"
#include "valence/env/blackjack.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/env/cliff_walking.hpp"
#include "valence/env/dynamics.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/env/frozen_lake.hpp"
#include "valence/env/garnet.hpp"
#include "valence/env/grid_text.hpp"
#include "valence/env/grid_world.hpp"
#include "valence/env/linear_quadratic.hpp"
#include "valence/env/lq_point_mass.hpp"
#include "valence/env/maze_offline.hpp"
#include "valence/env/mixed_bandit.hpp"
#include "valence/env/model_environment.hpp"
#include "valence/env/mountain_car.hpp"
#include "valence/env/orchard.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/prompt_bandit.hpp"
#include "valence/env/small_models.hpp"
#include "valence/env/svg.hpp"
#include "valence/env/taxi.hpp"
#include "valence/env/text.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/vector_environment.hpp"
#include "valence/env/wrapper.hpp"
#include "valence/env/wrappers.hpp"
