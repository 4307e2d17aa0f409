#pragma once

/// Preference learning: losses of log-probabilities, their algebra, and the driver that runs them over a batch.
///
///   auto loss = valence::Dpo{.beta = 0.1} + 0.005 * valence::Sft{};
///   valence::PairLogProbs<Eigen::ArrayXd> batch{chosen, rejected, ref_chosen, ref_rejected};
///   auto [value, d_chosen, d_rejected] = valence::evaluate(loss, batch);

#include "valence/preference/algebra.hpp"
#include "valence/preference/any_loss.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/batch_losses.hpp"
#include "valence/preference/by_name.hpp"
#include "valence/preference/check.hpp"
#include "valence/preference/clip_ratio.hpp"
#include "valence/preference/composites.hpp"
#include "valence/preference/concepts.hpp"
#include "valence/preference/differential_information.hpp"
#include "valence/preference/evaluate.hpp"
#include "valence/preference/f_sft.hpp"
#include "valence/preference/links.hpp"
#include "valence/preference/logistic.hpp"
#include "valence/preference/losses.hpp"
#include "valence/preference/margin_loss.hpp"
#include "valence/preference/metrics.hpp"
#include "valence/preference/scores.hpp"
#include "valence/preference/segment_pairs.hpp"
#include "valence/preference/seppo.hpp"
#include "valence/preference/tokens.hpp"
