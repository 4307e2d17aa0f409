#pragma once

#include "valence/game/preference_game.hpp"
#include "valence/game/self_play.hpp"
