#pragma once

/// Files in the field's own formats: safetensors parameters, JSON-lines preferences in TRL's formats, CSV tables, votes
/// and feature pairs. The one floor that needs a JSON library (nlohmann-json), so the roof header leaves it out;
/// `csv.hpp`, `votes.hpp`, `feature_pairs.hpp` and `atomic_file.hpp` do not need it either, and can be included by
/// themselves.

#include "valence/io/append_file.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/bandit_feedback.hpp"
#include "valence/io/byte_pair.hpp"
#include "valence/io/byte_source.hpp"
#include "valence/io/cassandra.hpp"
#include "valence/io/checkpoint.hpp"
#include "valence/io/checksum.hpp"
#include "valence/io/csv.hpp"
#include "valence/io/csv_log.hpp"
#include "valence/io/curve.hpp"
#include "valence/io/drn.hpp"
#include "valence/io/feature_pairs.hpp"
#include "valence/io/interval_plot.hpp"
#include "valence/io/json.hpp"
#include "valence/io/json_text.hpp"
#include "valence/io/jsonl.hpp"
#include "valence/io/learning_curve.hpp"
#include "valence/io/log_prob_columns.hpp"
#include "valence/io/metric_log.hpp"
#include "valence/io/model_file.hpp"
#include "valence/io/model_files.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/parameters.hpp"
#include "valence/io/policy_file.hpp"
#include "valence/io/policy_source.hpp"
#include "valence/io/preference_data.hpp"
#include "valence/io/prism.hpp"
#include "valence/io/safetensors.hpp"
#include "valence/io/tensorboard.hpp"
#include "valence/io/text.hpp"
#include "valence/io/votes.hpp"
