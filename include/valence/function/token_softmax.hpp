#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

class Rng;

/// Sequences of tokens, each with the features of what stands before it: what `TokenSoftmax` reads. Sequence i is the
/// tokens offsets[i] <= k < offsets[i + 1].
template <Scalar S>
class FeaturedTokens {
 public:
  FeaturedTokens() = default;
  /// `states`: features x tokens, h of the token's prefix; `tokens`: >= 0; `offsets`: where sequences begin, and the
  /// number of tokens, increasing. Throws `Error` for sizes that don't fit, negative tokens and empty sequences.
  FeaturedTokens(Matrix<S> states, std::vector<std::int32_t> tokens, std::vector<std::size_t> offsets)
      : states_(std::move(states)), tokens_(std::move(tokens)), offsets_(std::move(offsets)) {
    constexpr std::string_view where = "FeaturedTokens";
    check_size(where, "tokens", tokens_.size(), static_cast<std::size_t>(states_.cols()));
    if (offsets_.empty() || offsets_.front() != 0) fail(where, "offsets begins wrongly; expected a first entry of 0");
    check_size(where, "tokens", tokens_.size(), offsets_.back());
    for (std::size_t i = 0; i + 1 < offsets_.size(); ++i)
      if (offsets_[i + 1] <= offsets_[i]) fail(where, "sequence {} is empty; expected at least one token", i);
    for (std::size_t k = 0; k < tokens_.size(); ++k)
      if (tokens_[k] < 0) fail(where, "tokens[{}] is {}; expected 0 or more", k, tokens_[k]);
  }
  /// Sequences that are all `length` tokens long.
  static FeaturedTokens of_length(int length, Matrix<S> states, std::vector<std::int32_t> tokens) {
    check_positive("FeaturedTokens::of_length", "length", length);
    std::vector<std::size_t> offsets{0};
    while (offsets.back() < tokens.size()) offsets.push_back(offsets.back() + static_cast<std::size_t>(length));
    return FeaturedTokens(std::move(states), std::move(tokens), std::move(offsets));
  }

  const Matrix<S>& states() const { return states_; }
  std::span<const std::int32_t> tokens() const { return tokens_; }
  std::span<const std::size_t> offsets() const { return offsets_; }
  std::size_t size() const { return offsets_.size() - 1; }  ///< sequences

  /// The sequences `columns` of `all`, in `out`: for mini-batches.
  friend void gather(const FeaturedTokens& all, std::span<const int> columns, FeaturedTokens& out) {
    out.tokens_.clear();
    out.offsets_.assign(1, 0);
    for (const int i : columns) {
      const std::size_t begin = all.offsets_[static_cast<std::size_t>(i)],
                        end = all.offsets_[static_cast<std::size_t>(i) + 1];
      for (std::size_t k = begin; k < end; ++k) out.tokens_.push_back(all.tokens_[k]);
      out.offsets_.push_back(out.tokens_.size());
    }
    out.states_.resize(all.states_.rows(), static_cast<Eigen::Index>(out.tokens_.size()));
    Eigen::Index to = 0;
    for (const int i : columns)
      for (std::size_t k = all.offsets_[static_cast<std::size_t>(i)]; k < all.offsets_[static_cast<std::size_t>(i) + 1];
           ++k)
        out.states_.col(to++) = all.states_.col(static_cast<Eigen::Index>(k));
  }

 private:
  Matrix<S> states_ = {};
  std::vector<std::int32_t> tokens_ = {};
  std::vector<std::size_t> offsets_ = {0};
};

namespace detail {

/// out = d (onehot(token) - softmax(logits)), from the logits and their log-sum-exp: the pullback of one token's
/// log-probability to its logits. `out` may be `logits`.
template <class S>
void log_softmax_pullback(const S* logits, S* out, int vocabulary, std::int32_t token, S log_sum, S d) {
  apply_lanes(logits, out, static_cast<std::size_t>(vocabulary),
              [d, log_sum](auto z) { return elementary::exp(z - log_sum) * -d; });
  out[token] += d;
}

}  // namespace detail

/// log pi(y_t | h_t) = log softmax(U h_t)[y_t]: an autoregressive policy over `vocabulary` tokens that is log-linear in
/// frozen features of the prefix, as the last layer of a language model is. theta is U, vocabulary x features,
/// column-major: one row a token, so what is learned about a token says nothing about another with the same meaning.
/// A `SequenceModel`: one output a token; `SequenceLogProb` adds them up.
template <Scalar S = double>
class TokenSoftmax {
 public:
  using Scalar = S;
  using Batch = FeaturedTokens<S>;
  class Tape {
    friend class TokenSoftmax;
    Vector<S> log_prob_, log_sum_, logits_;  // log sum exp of the logits of each token; scratch of one token
  };

  /// Throws `Error` for vocabulary < 1 or features < 1.
  TokenSoftmax(int vocabulary, int features) : vocabulary_(vocabulary), features_(features) {
    check_positive("TokenSoftmax", "vocabulary", vocabulary);
    check_positive("TokenSoftmax", "features", features);
  }

  std::size_t parameter_count() const {
    return static_cast<std::size_t>(vocabulary_) * static_cast<std::size_t>(features_);
  }
  int output_size() const { return 1; }
  int vocabulary() const { return vocabulary_; }
  int features() const { return features_; }
  /// One tensor, "weight", of shape {vocabulary, features}.
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    return {{std::string(prefix) + "weight",
             0,
             {static_cast<std::size_t>(vocabulary_), static_cast<std::size_t>(features_)}}};
  }
  /// Zeros, the uniform policy; draws nothing.
  void initialize(std::span<S> theta, Rng&) const {
    check_size("TokenSoftmax::initialize", "theta", theta.size(), parameter_count());
    std::fill(theta.begin(), theta.end(), S(0));
  }

  /// 1 x tokens: the log-probability of each. Throws `Error` for tokens outside of the vocabulary.
  Outputs<S> forward(std::span<const S> theta, const Batch& x, Tape& tape) const {
    constexpr std::string_view where = "TokenSoftmax::forward";
    check_size(where, "theta", theta.size(), parameter_count());
    const Eigen::Index n = x.states().cols();
    check_shape(where, "states", x.states().rows(), n, features_, n);
    for (std::size_t k = 0; k < x.tokens().size(); ++k)
      if (x.tokens()[k] >= vocabulary_)
        fail(where, "tokens[{}] is {}; expected less than the vocabulary of {}", k, x.tokens()[k], vocabulary_);
    if (tape.log_prob_.size() < n) {
      tape.log_prob_.resize(n);
      tape.log_sum_.resize(n);
    }
    tape.logits_.resize(vocabulary_);
    for (Eigen::Index k = 0; k < n; ++k) {
      logits(theta, x.states().data() + k * features_, tape.logits_.data());
      tape.log_sum_[k] = log_sum_exp(view(tape.logits_));
      tape.log_prob_[k] = tape.logits_[x.tokens()[static_cast<std::size_t>(k)]] - tape.log_sum_[k];
    }
    return {tape.log_prob_.data(), 1, n};
  }

  /// gradient of U += sum_k dy_k (onehot(y_k) - softmax(U h_k)) h_k'. The softmax is computed again from its
  /// logarithm's shift, the only number a token that is stored.
  void pullback(std::span<const S> theta, const Batch& x, Tape& tape, const Outputs<S>& dy,
                std::span<S> gradient) const {
    constexpr std::string_view where = "TokenSoftmax::pullback";
    check_size(where, "gradient", gradient.size(), parameter_count());
    check_shape(where, "dy", dy.rows(), dy.cols(), 1, x.states().cols());
    if (tape.logits_.size() != vocabulary_ || tape.log_sum_.size() < x.states().cols())
      fail(where, "the tape holds no forward of this model on x");
    for (Eigen::Index k = 0; k < x.states().cols(); ++k) {
      const S d = dy(0, k);
      if (d == S(0)) continue;
      const S* const h = x.states().data() + k * features_;
      S* const p = tape.logits_.data();
      logits(theta, h, p);
      detail::log_softmax_pullback(p, p, vocabulary_, x.tokens()[static_cast<std::size_t>(k)], tape.log_sum_[k], d);
      for (int i = 0; i < features_; ++i) {
        S* const column = gradient.data() + static_cast<std::ptrdiff_t>(i) * vocabulary_;
        for (int v = 0; v < vocabulary_; ++v) column[v] += p[v] * h[i];
      }
    }
  }

 private:
  int vocabulary_, features_;

  void logits(std::span<const S> theta, const S* h, S* out) const {
    std::fill(out, out + vocabulary_, S(0));
    for (int i = 0; i < features_; ++i) {
      const S* const column = theta.data() + static_cast<std::ptrdiff_t>(i) * vocabulary_;
      for (int v = 0; v < vocabulary_; ++v) out[v] += column[v] * h[i];
    }
  }
};

}  // namespace valence
