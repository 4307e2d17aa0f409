#pragma once

/// Random numbers: `Rng` with its distributions, `AliasTable`, `Reservoir`.
#include "valence/core/random/rng.hpp"
#include "valence/core/random/tables.hpp"
