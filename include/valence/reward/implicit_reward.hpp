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

}  // namespace valence
