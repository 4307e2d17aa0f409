#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"

namespace valence {

/// r(x, y) = beta (log pi(y | x) - log pi_ref(y | x)): the reward model that a policy trained by `Dpo` is (Rafailov et
/// al. 2023, arXiv:2305.18290, equation 5, without beta log Z(x), which no comparison within a prompt sees). `M` gives
/// one log-probability a sample (`SequenceLogProb`); policy and reference are two parameter vectors of it.
///
///     ImplicitReward reward{SequenceLogProb{model}, theta, reference, 0.1};
///     pairwise_accuracy_of_scores(...)        // of reward(x): how well it ranks
template <Approximator M>
class ImplicitReward {
 public:
  using Scalar = typename M::Scalar;

  /// Copies both parameter vectors. Throws `Error` for beta <= 0, for sizes that aren't the model's (a reference with
  /// another vocabulary) and for a model of several outputs.
  ImplicitReward(M model, std::span<const Scalar> policy, std::span<const Scalar> reference, double beta)
      : model_(std::move(model)),
        policy_(policy.begin(), policy.end()),
        reference_(reference.begin(), reference.end()),
        beta_(beta) {
    constexpr std::string_view where = "ImplicitReward";
    check_positive(where, "beta", beta);
    check_size(where, "policy", policy.size(), model_.parameter_count());
    check_size(where, "reference", reference.size(), model_.parameter_count());
    if (model_.output_size() != 1)
      fail(where, "the model has {} outputs; expected 1, a log-probability", static_cast<int>(model_.output_size()));
  }

  double beta() const { return beta_; }
  /// One reward a sample.
  std::vector<Scalar> operator()(const typename M::Batch& x) const {
    typename M::Tape tape;
    const Outputs<Scalar> before = model_.forward(reference_, x, tape);
    std::vector<Scalar> reward(before.data(), before.data() + before.size());
    const Outputs<Scalar> after = model_.forward(policy_, x, tape);
    for (std::size_t i = 0; i < reward.size(); ++i)
      reward[i] = static_cast<Scalar>(beta_) * (after.data()[i] - reward[i]);
    return reward;
  }

 private:
  M model_;
  std::vector<Scalar> policy_, reference_;
  double beta_;
};

/// The same for tables of log-probabilities of one shape, such as `LogLinearPolicy::log_probs()`: beta (log pi - log
/// pi_ref) of each answer to each prompt. Throws `Error` for beta <= 0, shapes that differ and entries that aren't
/// finite.
inline Matrix<double> implicit_reward(const Matrix<double>& log_probs, const Matrix<double>& reference, double beta) {
  constexpr std::string_view where = "implicit_reward";
  check_positive(where, "beta", beta);
  check_shape(where, "reference", reference.rows(), reference.cols(), log_probs.rows(), log_probs.cols());
  check_finite(where, "log_probs", view(log_probs));
  check_finite(where, "reference", view(reference));
  return beta * (log_probs - reference);
}

/// V(s) = beta log sum_a exp(Q(s, a) / beta), the soft values of states whose logits are Q / beta: in the decision
/// process of tokens, whose transitions are deterministic, the logits of the optimal policy are that, up to a shift of
/// each state (Wang et al. 2025, arXiv:2507.00018; Rafailov et al. 2024, arXiv:2404.12358). `logits`: actions x states,
/// with those of the reference in the reward. One value a state, in units of reward; log pi = logits - V / beta. Throws
/// `Error` for beta <= 0, no actions, and logits that aren't finite.
inline Vector<double> soft_value_from_logits(const Matrix<double>& logits, double beta) {
  constexpr std::string_view where = "soft_value_from_logits";
  check_positive(where, "beta", beta);
  check_finite(where, "logits", view(logits));
  if (logits.rows() == 0) fail(where, "logits has no rows; expected at least one action");
  Vector<double> value(logits.cols());
  for (Eigen::Index s = 0; s < logits.cols(); ++s) value[s] = beta * log_sum_exp(logits.col(s));
  return value;
}

/// r_t = Q(s_t, a_t) - V(s_{t+1}), the rewards of a text's tokens that its logits Q / beta imply; the value after the
/// last token is 0. `logits`: vocabulary x tokens, column t those before token t; `tokens`: the tokens, in [0,
/// vocabulary). Where logits are shifted by c(s) / beta the rewards are shaped by the potential c, and their sum changes
/// by c of the first state alone: with the normalised logits log pi, whose V is 0, they are beta log pi(a_t | s_t).
/// Throws `Error` as `soft_value_from_logits`, for another number of tokens and tokens that aren't in the vocabulary.
inline Vector<double> implicit_token_rewards(const Matrix<double>& logits, std::span<const int> tokens, double beta) {
  constexpr std::string_view where = "implicit_token_rewards";
  check_size(where, "tokens", tokens.size(), static_cast<std::size_t>(logits.cols()));
  for (std::size_t t = 0; t < tokens.size(); ++t)
    if (tokens[t] < 0 || tokens[t] >= logits.rows())
      fail(where, "tokens[{}] is {}; expected a number in [0, {}]", t, tokens[t], logits.rows() - 1);
  const Vector<double> value = soft_value_from_logits(logits, beta);
  Vector<double> reward(logits.cols());
  for (Eigen::Index t = 0; t < reward.size(); ++t)
    reward[t] = beta * logits(tokens[static_cast<std::size_t>(t)], t) - (t + 1 < reward.size() ? value[t + 1] : 0);
  return reward;
}

}  // namespace valence
