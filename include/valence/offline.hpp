#pragma once

#include "valence/offline/advantage_weights.hpp"
#include "valence/offline/best_of_n.hpp"
#include "valence/offline/in_sample.hpp"
#include "valence/offline/losses.hpp"
