#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/parameters.hpp"
#include "valence/function/token_softmax.hpp"

namespace valence {

/// Replies to prompts, for a model that sees the last `context` tokens: what `NgramLanguageModel` reads. Sequence i is
/// the tokens offsets()[i] <= k < offsets()[i + 1] of a reply; all of them are scored, none of the prompt is. Holds two
/// numbers a token and `context` numbers a sequence.
class TokenWindows {
 public:
  static constexpr std::int32_t nothing = -1;  ///< where a window begins before its text does

  /// Throws `Error` for context < 1.
  explicit TokenWindows(int context = 8) : context_(context) { check_positive("TokenWindows", "context", context); }

  /// Adds a sequence: each token of `reply` given what stands before it in prompt and reply. Throws `Error` for a reply
  /// without tokens, whose log-probability has no mean over tokens (end replies with a token of their own), and for
  /// tokens below 0.
  void add(std::span<const std::int32_t> prompt, std::span<const std::int32_t> reply) {
    if (reply.empty())
      fail("TokenWindows::add", "reply is empty; expected at least one token, such as the end of text");
    for (const auto& [part, name] : {std::pair(prompt, "prompt"), std::pair(reply, "reply")})
      for (std::size_t k = 0; k < part.size(); ++k)
        if (part[k] < 0) fail("TokenWindows::add", "{}[{}] is {}; expected 0 or more", name, k, part[k]);
    const auto width = static_cast<std::size_t>(context_);
    const std::size_t seen = (std::min)(prompt.size(), width);
    stream_.insert(stream_.end(), width - seen, nothing);
    stream_.insert(stream_.end(), prompt.end() - static_cast<std::ptrdiff_t>(seen), prompt.end());
    stream_.insert(stream_.end(), reply.begin(), reply.end());
    tokens_.insert(tokens_.end(), reply.begin(), reply.end());
    offsets_.push_back(tokens_.size());
  }
  void clear() {
    stream_.clear();
    tokens_.clear();
    offsets_.assign(1, 0);
  }

  int context() const { return context_; }
  std::span<const std::int32_t> tokens() const { return tokens_; }                   ///< those that are scored
  std::span<const std::size_t> offsets() const { return offsets_; }                  ///< size() + 1 numbers, from 0
  std::size_t size() const { return offsets_.size() - 1; }                           ///< sequences
  std::size_t length(std::size_t i) const { return offsets_[i + 1] - offsets_[i]; }  ///< tokens of sequence i
  /// The `context()` tokens before token k, which belongs to sequence i, the oldest first.
  std::span<const std::int32_t> window(std::size_t i, std::size_t k) const {
    const auto width = static_cast<std::size_t>(context_);
    return std::span(stream_).subspan(k + i * width, width);
  }

  /// The sequences `columns` of `all`, in `out`: for mini-batches.
  friend void gather(const TokenWindows& all, std::span<const int> columns, TokenWindows& out) {
    out.context_ = all.context_;
    out.clear();
    const auto width = static_cast<std::size_t>(all.context_);
    for (const int column : columns) {
      const auto i = static_cast<std::size_t>(column);
      const auto from = [](const std::vector<std::int32_t>& v, std::size_t at) {
        return v.begin() + static_cast<std::ptrdiff_t>(at);
      };
      const std::size_t begin = all.offsets_[i], end = all.offsets_[i + 1];
      out.stream_.insert(out.stream_.end(), from(all.stream_, begin + i * width),
                         from(all.stream_, end + (i + 1) * width));
      out.tokens_.insert(out.tokens_.end(), from(all.tokens_, begin), from(all.tokens_, end));
      out.offsets_.push_back(out.tokens_.size());
    }
  }

 private:
  int context_;
  std::vector<std::int32_t> stream_ = {}, tokens_ = {};
  std::vector<std::size_t> offsets_ = {0};
};

/// The architecture of an `NgramLanguageModel`.
struct NgramLanguageModelOptions {
  int context = 8;                  ///< tokens that it sees, >= 1
  int embedding = 32;               ///< numbers that stand for a token, >= 1
  std::vector<int> hidden = {128};  ///< units of the hidden layers, each >= 1
  Activation activation = Activation::relu;
};

/// A small language model: the embeddings of the last `context` tokens, side by side, go through an `Mlp` whose outputs
/// are the logits of the next token. With 1024 tokens and the options' defaults it has 197'792 parameters. A
/// `SequenceModel`: `forward` gives one log-probability a token, `SequenceLogProb` adds them up to those of replies,
/// and so it is trained on pairs by any preference loss:
///
///     PairObjective objective{SequenceLogProb{NgramLanguageModel<float>{1024}}, Dpo{.beta = 0.1}};
///
/// Source: Y. Bengio, R. Ducharme, P. Vincent, C. Jauvin, "A neural probabilistic language model" (2003), without the
/// direct connections. Sizes that are multiples of 16 fill whole registers.
template <Scalar S = float>
class NgramLanguageModel {
 public:
  using Scalar = S;
  using Batch = TokenWindows;
  class Tape {
    friend class NgramLanguageModel;
    typename Mlp<S>::Tape network_;
    std::vector<S> x_, dx_, d_logits_, log_prob_, log_sum_;
    std::vector<std::int32_t> columns_;  // the embedding that each piece of x came from
  };

  /// Throws `Error` for a vocabulary or sizes below 1.
  explicit NgramLanguageModel(int vocabulary, NgramLanguageModelOptions options = {})
      : vocabulary_(vocabulary),
        options_(checked(vocabulary, std::move(options))),
        network_(sizes(), options_.activation, {.output_gain = 0.1}) {}

  int vocabulary() const { return vocabulary_; }
  const NgramLanguageModelOptions& options() const { return options_; }
  std::size_t parameter_count() const { return embeddings() + network_.parameter_count(); }
  int output_size() const { return 1; }
  /// "embedding.weight", {embedding, vocabulary + 1}: what a linear layer without bias from one-hot tokens would have;
  /// its last column stands for "nothing yet". Then the network's tensors, "network.0.weight" and so on.
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    std::vector<ParameterBlock> blocks{
        {std::string(prefix) + "embedding.weight",
         0,
         {static_cast<std::size_t>(options_.embedding), static_cast<std::size_t>(vocabulary_) + 1}}};
    for (ParameterBlock& block : network_.parameters(std::string(prefix) + "network.")) {
      block.offset += embeddings();
      blocks.push_back(std::move(block));
    }
    return blocks;
  }
  /// Embeddings are normal with variance 1 / embedding (a choice); the network as `Mlp` has it, its last layer small,
  /// so that it begins near the uniform law.
  void initialize(std::span<S> theta, Rng& rng) const {
    check_size("NgramLanguageModel::initialize", "theta", theta.size(), parameter_count());
    const S deviation = S(1) / std::sqrt(static_cast<S>(options_.embedding));
    for (S& e : theta.first(embeddings())) e = deviation * static_cast<S>(rng.normal());
    network_.initialize(theta.subspan(embeddings()), rng);
  }

  /// vocabulary x tokens: the logits of each place's next token, a view into the tape. Throws `Error` for a batch of
  /// another context and tokens outside of the vocabulary.
  Outputs<S> logits(std::span<const S> theta, const Batch& x, Tape& tape) const {
    constexpr std::string_view where = "NgramLanguageModel";
    check_size(where, "theta", theta.size(), parameter_count());
    if (x.context() != options_.context)
      fail(where, "the batch has a context of {} tokens; expected {}", x.context(), options_.context);
    const std::size_t n = x.tokens().size(), width = static_cast<std::size_t>(options_.context);
    for (std::size_t k = 0; k < n; ++k) check_token(x.tokens()[k]);
    grow(tape.columns_, n * width);
    std::int32_t* column = tape.columns_.data();
    for (std::size_t i = 0; i < x.size(); ++i)
      for (std::size_t k = x.offsets()[i]; k < x.offsets()[i + 1]; ++k)
        for (const std::int32_t token : x.window(i, k)) *column++ = column_of(token);
    return run(theta, n, tape);
  }

  /// 1 x tokens: the log-probability of each.
  Outputs<S> forward(std::span<const S> theta, const Batch& x, Tape& tape) const {
    const Outputs<S> z = logits(theta, x, tape);
    const std::size_t n = x.tokens().size();
    grow(tape.log_prob_, n);
    grow(tape.log_sum_, n);
    for (std::size_t k = 0; k < n; ++k) {
      tape.log_sum_[k] = log_sum_exp(logits_of(z, k));
      tape.log_prob_[k] = logits_of(z, k)[static_cast<std::size_t>(x.tokens()[k])] - tape.log_sum_[k];
    }
    return {tape.log_prob_.data(), 1, static_cast<Eigen::Index>(n)};
  }

  /// gradient += J' dy, after `forward`: through each token's log-softmax, the network, and to the embeddings.
  void pullback(std::span<const S> theta, const Batch& x, Tape& tape, const Outputs<S>& dy,
                std::span<S> gradient) const {
    constexpr std::string_view where = "NgramLanguageModel::pullback";
    check_size(where, "theta", theta.size(), parameter_count());
    check_size(where, "gradient", gradient.size(), parameter_count());
    const std::size_t n = x.tokens().size(), wide = static_cast<std::size_t>(vocabulary_);
    check_shape(where, "dy", dy.rows(), dy.cols(), 1, static_cast<std::ptrdiff_t>(n));
    if (tape.log_sum_.size() < n || n * inputs() > tape.x_.size())
      fail(where, "the tape holds no forward of this model on x");
    grow(tape.d_logits_, n * wide);
    grow(tape.dx_, n * inputs());
    const Outputs<S> z = network_.outputs(tape.network_);
    check_shape(where, "x", vocabulary_, static_cast<std::ptrdiff_t>(n), z.rows(), z.cols());
    for (std::size_t k = 0; k < n; ++k)
      detail::log_softmax_pullback(logits_of(z, k).data(), tape.d_logits_.data() + k * wide, vocabulary_, x.tokens()[k],
                                   tape.log_sum_[k], dy.data()[k]);
    network_.pullback(theta.subspan(embeddings()), view_of_x(tape, n), tape.network_,
                      Outputs<S>(tape.d_logits_.data(), vocabulary_, static_cast<Eigen::Index>(n)),
                      gradient.subspan(embeddings()), std::span<S>(tape.dx_).first(n * inputs()));
    const auto size = static_cast<std::size_t>(options_.embedding);
    for (std::size_t p = 0; p < n * static_cast<std::size_t>(options_.context); ++p) {
      S* const to = gradient.data() + static_cast<std::size_t>(tape.columns_[p]) * size;
      for (std::size_t e = 0; e < size; ++e) to[e] += tape.dx_[p * size + e];
    }
  }

  /// A continuation of `prompt`, token by token from softmax(logits / temperature), or the likeliest where temperature
  /// is 0. It ends with the token `end`, or after `longest` tokens (>= 1). Throws `Error` for a temperature that is
  /// negative or not finite, and what `logits` refuses. Uses `vocabulary` outputs of `rng` a token.
  std::vector<std::int32_t> sample(std::span<const S> theta, std::span<const std::int32_t> prompt, std::int32_t end,
                                   int longest, double temperature, Tape& tape, Rng& rng) const {
    constexpr std::string_view where = "NgramLanguageModel::sample";
    check_size(where, "theta", theta.size(), parameter_count());
    check_positive(where, "longest", longest);
    check_finite(where, "temperature", temperature);
    if (temperature < 0) fail(where, "temperature is {}; expected 0 or more", temperature);
    const auto width = static_cast<std::size_t>(options_.context);
    grow(tape.columns_, width);
    std::vector<std::int32_t> all(width, TokenWindows::nothing);
    all.insert(all.end(), prompt.begin(), prompt.end());
    const std::size_t begin = all.size();
    std::vector<S> scaled(static_cast<std::size_t>(vocabulary_));
    while (all.size() - begin < static_cast<std::size_t>(longest) && (all.size() == begin || all.back() != end)) {
      for (std::size_t p = 0; p < width; ++p) tape.columns_[p] = column_of(all[all.size() - width + p]);
      const auto z = logits_of(run(theta, 1, tape), 0);
      if (temperature == 0) {
        all.push_back(static_cast<std::int32_t>(argmax(z)));
        continue;
      }
      for (std::size_t v = 0; v < z.size(); ++v) scaled[v] = z[v] / static_cast<S>(temperature);
      all.push_back(static_cast<std::int32_t>(rng.categorical_logits(std::span<const S>(scaled))));
    }
    return {all.begin() + static_cast<std::ptrdiff_t>(begin), all.end()};
  }

 private:
  int vocabulary_;
  NgramLanguageModelOptions options_;
  Mlp<S> network_;

  static NgramLanguageModelOptions checked(int vocabulary, NgramLanguageModelOptions options) {
    check_positive("NgramLanguageModel", "vocabulary", vocabulary);
    check_positive("NgramLanguageModel", "context", options.context);
    check_positive("NgramLanguageModel", "embedding", options.embedding);
    return options;
  }
  std::vector<int> sizes() const {
    std::vector<int> out{options_.context * options_.embedding};
    out.insert(out.end(), options_.hidden.begin(), options_.hidden.end());
    out.push_back(vocabulary_);
    return out;
  }
  std::size_t inputs() const {
    return static_cast<std::size_t>(options_.context) * static_cast<std::size_t>(options_.embedding);
  }
  std::size_t embeddings() const {
    return static_cast<std::size_t>(options_.embedding) * (static_cast<std::size_t>(vocabulary_) + 1);
  }
  void check_token(std::int32_t token) const {
    if (token >= vocabulary_ || token < TokenWindows::nothing)
      fail("NgramLanguageModel", "a token is {}; expected less than the vocabulary of {}", token, vocabulary_);
  }
  std::int32_t column_of(std::int32_t token) const {
    check_token(token);
    return token == TokenWindows::nothing ? static_cast<std::int32_t>(vocabulary_) : token;
  }
  template <class T>
  static void grow(std::vector<T>& v, std::size_t size) {
    if (v.size() < size) v.resize(size);
  }
  static std::span<const S> logits_of(const Outputs<S>& z, std::size_t k) {
    const auto wide = static_cast<std::size_t>(z.rows());
    return {z.data() + k * wide, wide};
  }
  Outputs<S> view_of_x(const Tape& tape, std::size_t n) const {
    return {tape.x_.data(), static_cast<Eigen::Index>(inputs()), static_cast<Eigen::Index>(n)};
  }
  // The network on the embeddings of tape.columns_.
  Outputs<S> run(std::span<const S> theta, std::size_t n, Tape& tape) const {
    grow(tape.x_, n * inputs());
    const auto size = static_cast<std::size_t>(options_.embedding);
    for (std::size_t p = 0; p < n * static_cast<std::size_t>(options_.context); ++p)
      std::copy_n(theta.data() + static_cast<std::size_t>(tape.columns_[p]) * size, size, tape.x_.data() + p * size);
    return network_.forward(theta.subspan(embeddings()), view_of_x(tape, n), tape.network_);
  }
};

/// KL(pi(. | window) || pi_ref(. | window)) in nats, the mean over the places of `x`: exact in the next token, so on
/// replies that the policy drew it estimates the KL per token to the reference, with less noise than log pi - log
/// pi_ref has. Throws `Error` for a batch without tokens.
template <Scalar S>
double mean_token_kl(const NgramLanguageModel<S>& model, std::span<const S> theta, std::span<const S> reference,
                     const TokenWindows& x) {
  if (x.size() == 0) fail("mean_token_kl", "the batch has no tokens; expected at least one");
  typename NgramLanguageModel<S>::Tape tape, ref_tape;
  const Outputs<S> z = model.logits(theta, x, tape), ref_z = model.logits(reference, x, ref_tape);
  const auto size = static_cast<std::size_t>(z.rows());
  std::vector<S> log_p(size), log_q(size);
  double sum = 0;
  for (Eigen::Index k = 0; k < z.cols(); ++k) {
    log_softmax(std::span<const S>(z.data() + k * z.rows(), size), std::span<S>(log_p));
    log_softmax(std::span<const S>(ref_z.data() + k * z.rows(), size), std::span<S>(log_q));
    for (std::size_t v = 0; v < size; ++v)
      sum += std::exp(static_cast<double>(log_p[v])) * (static_cast<double>(log_p[v]) - static_cast<double>(log_q[v]));
  }
  return sum / static_cast<double>(z.cols());
}

}  // namespace valence
