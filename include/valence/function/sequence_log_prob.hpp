#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"

namespace valence {

class Rng;

/// log pi(y) of whole sequences: a `SequenceModel` whose tokens' log-probabilities are added up, one output a sequence.
/// So a language model is trained on pairs as any model with one output a sample is:
///
///     PairObjective objective{SequenceLogProb{TokenSoftmax{32, 10}}, Dpo{.beta = 0.1}};
template <SequenceModel M>
class SequenceLogProb {
 public:
  using Scalar = typename M::Scalar;
  using Batch = typename M::Batch;
  class Tape {
    friend class SequenceLogProb;
    typename M::Tape tokens_;
    Vector<Scalar> sums_, d_tokens_;
  };

  explicit SequenceLogProb(M tokens) : tokens_(std::move(tokens)) {}

  const M& tokens() const { return tokens_; }
  std::size_t parameter_count() const { return tokens_.parameter_count(); }
  int output_size() const { return 1; }
  auto parameters(std::string_view prefix = "") const
    requires requires(const M m) { m.parameters(prefix); }
  {
    return tokens_.parameters(prefix);
  }
  void initialize(std::span<Scalar> theta, Rng& rng) const { tokens_.initialize(theta, rng); }

  /// 1 x sequences.
  Outputs<Scalar> forward(std::span<const Scalar> theta, const Batch& x, Tape& tape) const {
    const Outputs<Scalar> y = tokens_.forward(theta, x, tape.tokens_);
    const std::size_t n = x.offsets().size() - 1;
    if (static_cast<std::size_t>(tape.sums_.size()) < n) tape.sums_.resize(static_cast<Eigen::Index>(n));
    for (std::size_t i = 0; i < n; ++i) {
      Scalar sum = 0;
      for (std::size_t k = x.offsets()[i]; k < x.offsets()[i + 1]; ++k) sum += y(0, static_cast<Eigen::Index>(k));
      tape.sums_[static_cast<Eigen::Index>(i)] = sum;
    }
    return {tape.sums_.data(), 1, static_cast<Eigen::Index>(n)};
  }
  /// Each token has its sequence's derivative.
  void pullback(std::span<const Scalar> theta, const Batch& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient) const {
    const auto offsets = x.offsets();
    check_shape("SequenceLogProb::pullback", "dy", dy.rows(), dy.cols(), 1,
                static_cast<std::ptrdiff_t>(offsets.size()) - 1);
    const auto total = static_cast<Eigen::Index>(offsets.back());
    if (tape.d_tokens_.size() < total) tape.d_tokens_.resize(total);
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
      for (std::size_t k = offsets[i]; k < offsets[i + 1]; ++k)
        tape.d_tokens_[static_cast<Eigen::Index>(k)] = dy(0, static_cast<Eigen::Index>(i));
    tokens_.pullback(theta, x, tape.tokens_, Outputs<Scalar>(tape.d_tokens_.data(), 1, total), gradient);
  }

 private:
  M tokens_;
};

}  // namespace valence
