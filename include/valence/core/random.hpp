#pragma once

/// Random numbers: `Rng`, its distributions, `AliasTable`, `Reservoir`.
#include "valence/core/random/rng.hpp"
