#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// How data differ from those that a model was trained on.
struct SequenceShift {
  double synonyms = 0;      ///< in [0, 1]: probability that a token is replaced by its synonym
  double prompt_mean = 0;   ///< added to each coordinate of a prompt
  double prompt_scale = 1;  ///< > 0: a prompt's standard deviation
};

/// Pairs of sequences, one prompt a pair: sequence 2 k is the one that was chosen of pair k, 2 k + 1 the rejected one.
struct SequencePairs {
  Matrix<double> prompts = {};                  ///< prompt size x pairs
  std::vector<std::int32_t> tokens = {};        ///< `length` a sequence
  std::vector<int> chosen = {}, rejected = {};  ///< indices of sequences

  int sequences() const { return static_cast<int>(2 * chosen.size()); }
};

struct SynonymSequencesOptions {
  int meanings = 16;            ///< >= 1: each has two tokens, v and v + meanings, which are synonyms
  int embedding = 6;            ///< d >= 1: numbers of an embedding
  int prompt = 3;               ///< >= 1: numbers of a prompt
  int length = 5;               ///< >= 1: tokens of a sequence
  double synonym_noise = 0.15;  ///< >= 0: how far a synonym's embedding is from its word's, relative to its size
  double reward_scale = 1.5;
  double interaction = 0.6;  ///< standard deviation of the entries of A
};

/// A language in miniature, where tokens have synonyms, to compare reward models that see a sequence's embedding with
/// policies that have parameters for each token. A sequence y with embeddings e has m(y) = sqrt(length) mean e, a
/// prompt x is normal, and the true reward is `reward_scale` m . (w + A x), w ~ N(0, 1), A ~ `interaction` N(0, 1); e ~
/// N(0, 1/d). Training data use the first token of each meaning; `SequenceShift` brings in the second, or moves the
/// prompts. Stands for the language models of Lin et al. 2024, arXiv:2409.03650.
class SynonymSequences {
 public:
  /// Draws embeddings, w and A. Throws `Error` for options out of range.
  explicit SynonymSequences(Rng& rng, const SynonymSequencesOptions& options = {}) : options_(options) {
    constexpr std::string_view where = "SynonymSequences";
    check_positive(where, "meanings", options.meanings);
    check_positive(where, "embedding", options.embedding);
    check_positive(where, "prompt", options.prompt);
    check_positive(where, "length", options.length);
    check_range(where, "synonym_noise", options.synonym_noise, 0, (std::numeric_limits<double>::max)());
    check_finite(where, "reward_scale", options.reward_scale);
    check_range(where, "interaction", options.interaction, 0, (std::numeric_limits<double>::max)());
    const double deviation = 1 / std::sqrt(options.embedding);
    embeddings_.resize(options.embedding, vocabulary());
    rng.fill_normal(view(embeddings_), 0, deviation);
    embeddings_.rightCols(options.meanings) *= options.synonym_noise;
    embeddings_.rightCols(options.meanings) += embeddings_.leftCols(options.meanings);
    weight_.resize(options.embedding);
    rng.fill_normal(view(weight_));
    interaction_.resize(options.embedding, options.prompt);
    rng.fill_normal(view(interaction_), 0, options.interaction);
  }

  int vocabulary() const { return 2 * options_.meanings; }
  int length() const { return options_.length; }
  const Matrix<double>& embeddings() const { return embeddings_; }  ///< embedding x vocabulary
  int feature_size() const { return options_.embedding * (1 + options_.prompt); }
  int state_size() const { return 1 + options_.prompt + options_.embedding; }

  /// n pairs, whose labels follow Bradley and Terry's model of the true reward. Throws `Error` for n < 1 or a bad
  /// shift.
  SequencePairs pairs(int n, const SequenceShift& shift, Rng& rng) const {
    constexpr std::string_view where = "SynonymSequences::pairs";
    check_positive(where, "n", n);
    check_range(where, "synonyms", shift.synonyms, 0, 1);
    check_finite(where, "prompt_mean", shift.prompt_mean);
    check_positive(where, "prompt_scale", shift.prompt_scale);
    SequencePairs data;
    data.prompts.resize(options_.prompt, n);
    rng.fill_normal(view(data.prompts), shift.prompt_mean, shift.prompt_scale);
    data.tokens.resize(static_cast<std::size_t>(2 * n) * static_cast<std::size_t>(options_.length));
    for (std::int32_t& token : data.tokens) {
      token = rng.below(options_.meanings);
      if (rng.bernoulli(shift.synonyms)) token += options_.meanings;
    }
    for (int k = 0; k < n; ++k) {
      const int a = 2 * k, b = 2 * k + 1;
      const Vector<double> taste = weight_ + interaction_.lazyProduct(data.prompts.col(k));
      const double gap = options_.reward_scale * (mean(data, a) - mean(data, b)).dot(taste);
      if (!rng.bernoulli(sigmoid(gap))) swap_sequences(data, a, b);
      data.chosen.push_back(a);
      data.rejected.push_back(b);
    }
    return data;
  }

  /// What a reward model with a linear head sees of each sequence: (m, m kron x), `feature_size` x sequences.
  Matrix<double> features(const SequencePairs& data) const {
    const Eigen::Index d = options_.embedding;
    Matrix<double> z(feature_size(), data.sequences());
    for (int i = 0; i < data.sequences(); ++i) {
      z.col(i).head(d) = mean(data, i);
      for (Eigen::Index j = 0; j < options_.prompt; ++j)
        z.col(i).segment(d * (1 + j), d) = data.prompts(j, i / 2) * z.col(i).head(d);
    }
    return z;
  }
  /// What a policy sees before each token: (1, x, embedding of the token before, 0 at the first), `state_size` x
  /// tokens.
  Matrix<double> states(const SequencePairs& data) const {
    const auto n = static_cast<Eigen::Index>(data.tokens.size());
    Matrix<double> h = Matrix<double>::Zero(state_size(), n);
    for (Eigen::Index k = 0; k < n; ++k) {
      h(0, k) = 1;
      h.col(k).segment(1, options_.prompt) = data.prompts.col(k / (2 * options_.length));
      if (k % options_.length > 0)
        h.col(k).tail(options_.embedding) = embeddings_.col(data.tokens[static_cast<std::size_t>(k - 1)]);
    }
    return h;
  }
  /// U_0 of a policy over `states`: vocabulary x state_size, the embeddings in the last block, so that similar tokens
  /// follow each other.
  Matrix<double> reference_weights() const {
    Matrix<double> u = Matrix<double>::Zero(vocabulary(), state_size());
    u.rightCols(options_.embedding) = embeddings_.transpose();
    return u;
  }

 private:
  SynonymSequencesOptions options_;
  Matrix<double> embeddings_, interaction_;
  Vector<double> weight_;

  std::span<const std::int32_t> sequence(const SequencePairs& data, int i) const {
    const auto length = static_cast<std::size_t>(options_.length);
    return std::span(data.tokens).subspan(static_cast<std::size_t>(i) * length, length);
  }
  Vector<double> mean(const SequencePairs& data, int i) const {
    Vector<double> m = Vector<double>::Zero(options_.embedding);
    for (const std::int32_t token : sequence(data, i)) m += embeddings_.col(token);
    return m / std::sqrt(options_.length);
  }
  void swap_sequences(SequencePairs& data, int a, int b) const {
    const auto length = static_cast<std::size_t>(options_.length);
    for (std::size_t t = 0; t < length; ++t)
      std::swap(data.tokens[static_cast<std::size_t>(a) * length + t],
                data.tokens[static_cast<std::size_t>(b) * length + t]);
  }
};

}  // namespace valence
