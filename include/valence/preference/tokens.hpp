#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/preference/batch.hpp"

/// From log-probabilities of tokens to those of responses. The number of tokens always counts exactly those that were
/// summed (pitfall P2), a mask selects and never multiplies (what it leaves out may be NaN), and masks of another
/// length than the tokens are refused (P18, P19).
namespace valence {

/// A response's log-probability and the number of tokens it is the sum of.
struct ScoredSequence {
  double sum = 0;
  std::size_t length = 0;
  double mean() const { return sum / static_cast<double>(length); }
};

/// The sum over the tokens that `scored` selects (completion tokens: true). Throws if the sizes differ, if no token is
/// scored, or if a scored one is not finite.
template <Scalar S>
ScoredSequence sequence_log_prob(std::span<const S> tokens, std::span<const bool> scored) {
  constexpr std::string_view where = "sequence_log_prob";
  check_size(where, "scored", scored.size(), tokens.size());
  ScoredSequence result;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    if (!scored[t]) continue;
    if (!std::isfinite(tokens[t])) fail(where, "tokens[{}] is {} and scored; expected a finite number", t, tokens[t]);
    result.sum += static_cast<double>(tokens[t]);
    ++result.length;
  }
  if (result.length == 0) fail(where, "none of {} tokens is scored; expected at least one", tokens.size());
  return result;
}

/// The sum over the tokens after the prompt's.
template <Scalar S>
ScoredSequence completion_log_prob(std::span<const S> tokens, std::size_t prompt_length) {
  constexpr std::string_view where = "completion_log_prob";
  if (prompt_length >= tokens.size())
    fail(where, "prompt_length is {} of {} tokens; expected at least one token after it", prompt_length, tokens.size());
  ScoredSequence result;
  for (std::size_t t = prompt_length; t < tokens.size(); ++t) {
    if (!std::isfinite(tokens[t])) fail(where, "tokens[{}] is {} and scored; expected a finite number", t, tokens[t]);
    result.sum += static_cast<double>(tokens[t]);
  }
  result.length = tokens.size() - prompt_length;
  return result;
}

/// The derivative of a loss with respect to a response's log-probability, handed to its tokens: `d_tokens` of the
/// scored ones grows by `d`, the others are not touched.
template <Scalar S>
void add_token_gradient(std::span<const bool> scored, std::type_identity_t<S> d, std::span<S> d_tokens) {
  check_size("add_token_gradient", "d_tokens", d_tokens.size(), scored.size());
  for (std::size_t t = 0; t < scored.size(); ++t)
    if (scored[t]) d_tokens[t] += d;
}

/// Length-desensitised DPO (Liu et al. 2024, arXiv:2409.06411): tokens up to `common` (the shorter length of the pair)
/// count in full, later ones `alpha` in [0, 1]. Use it for policy and reference alike. TRL: `ld_alpha`.
template <Scalar S>
double ld_log_prob(std::span<const S> tokens, std::size_t common, double alpha) {
  constexpr std::string_view where = "ld_log_prob";
  check_range(where, "alpha", alpha, 0, 1);
  if (tokens.empty()) fail(where, "tokens is empty; expected at least one");
  if (common > tokens.size()) fail(where, "common is {}; expected at most the {} tokens", common, tokens.size());
  check_finite(where, "tokens", tokens);
  double head = 0, rest = 0;
  for (std::size_t t = 0; t < tokens.size(); ++t) (t < common ? head : rest) += static_cast<double>(tokens[t]);
  return head + alpha * rest;
}

/// For each of n prompts, whose response it is held against to estimate KTO's KL: the next one's, around the end. A
/// permutation in which nothing is matched with itself (reversing a batch matches the middle one: pitfall P7). n >= 2.
inline std::vector<std::size_t> mismatched_pairing(std::size_t n) {
  if (n < 2) fail("mismatched_pairing", "n is {}; expected at least 2: one prompt has no other's response", n);
  std::vector<std::size_t> other(n);
  for (std::size_t i = 0; i < n; ++i) other[i] = (i + 1) % n;
  return other;
}

}  // namespace valence
