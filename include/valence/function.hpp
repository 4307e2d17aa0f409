#pragma once

/// Approximators (tables, linear models, networks) and the optimizers that move their parameters.

#include "valence/function/activation.hpp"
#include "valence/function/adversarial.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/constant.hpp"
#include "valence/function/dueling.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/initialization.hpp"
#include "valence/function/input_gradient.hpp"
#include "valence/function/kernels.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/noisy.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/parameters.hpp"
#include "valence/function/products.hpp"
#include "valence/function/schedules.hpp"
#include "valence/function/standardizer.hpp"
#include "valence/function/tabular.hpp"
#include "valence/function/tile_coding.hpp"
