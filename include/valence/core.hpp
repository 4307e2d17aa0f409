#pragma once

/// Numerically stable functions, random numbers, errors, statistics: what every other floor stands on.

#include "valence/core/archive.hpp"
#include "valence/core/config.hpp"
#include "valence/core/dual.hpp"
#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/lbfgs.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/math.hpp"
#include "valence/core/parallel.hpp"
#include "valence/core/piecewise.hpp"
#include "valence/core/prefetch.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/core/subspace.hpp"
#include "valence/core/symmetric_eigen.hpp"
#include "valence/core/types.hpp"
