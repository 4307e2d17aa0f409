#pragma once

/// Approximators (tables, linear models, networks) and the optimizers that move their parameters.

#include "valence/function/activation.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/initialization.hpp"
#include "valence/function/kernels.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/parameters.hpp"
