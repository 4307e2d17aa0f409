#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"

/// Losses of the action values of one state that say how firmly its greedy action stands. Both are called as
/// `loss(q, ..., w, dq)`: they return the loss and add w times its gradient to dq.
namespace valence {

/// J(q) = -log softmax(q / T)_a with a the greedy action of q, the first of ties, held fixed: the cross-entropy
/// that an attack on the state raises to change the action (Huang et al. 2017, "Adversarial Attacks on Neural Network
/// Policies", section 3.2; Korkmaz 2024, "Understanding and Diagnosing Deep Reinforcement Learning"). In [0, log n] for
/// n actions. Adding a constant to q changes nothing.
struct GreedyCrossEntropy {
  double temperature = 1;  ///< T > 0

  static constexpr std::string_view name = "GreedyCrossEntropy";

  /// `q`: the values of the n >= 2 actions, finite. dq += w (softmax(q / T) - e_a) / T, which sums to 0 and keeps
  /// its digits where the policy is nearly certain. Throws `Error` before dq is changed.
  template <Scalar S>
  S operator()(std::span<const S> q, std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dq) const {
    check_positive(name, "temperature", temperature);
    if (q.size() < 2) fail(name, "q has {} actions; expected at least 2", q.size());
    check_finite(name, "q", q);
    check_size(name, "dq", dq.size(), q.size());
    check_finite(name, "w", w);
    const S t = static_cast<S>(temperature);
    const std::size_t greedy = argmax(q);
    const auto odds = [&](std::size_t i) { return elementary::exp((q[i] - q[greedy]) / t); };
    S others = 0;
    for (std::size_t i = 0; i < q.size(); ++i)
      if (i != greedy) others += odds(i);
    const S scale = w / ((1 + others) * t);
    for (std::size_t i = 0; i < q.size(); ++i) dq[i] += i == greedy ? -scale * others : scale * odds(i);
    return elementary::log1p(others);
  }
};

/// max(max_{b != a} q_b - q_a, -margin): nothing is gained once action a leads by the margin. With q at a perturbed
/// state and a the greedy action of the unperturbed one it is the regulariser of state-adversarial Q-learning, SA-DQN
/// (Zhang et al. 2020, "Robust Deep Reinforcement Learning against Adversarial Perturbations on State Observations",
/// section 3.4).
struct RobustMargin {
  double margin = 1;  ///< c of the paper, finite, >= 0

  static constexpr std::string_view name = "RobustMargin";

  /// `q`: the values of the n >= 2 actions, finite; `a`: an action. dq[b] += w and dq[a] -= w for the best other action
  /// b, the first of ties, where the loss is above -margin. Throws `Error` before dq is changed.
  template <Scalar S>
  S operator()(std::span<const S> q, int a, std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dq) const {
    check_finite(name, "margin", margin);
    if (margin < 0) fail(name, "margin is {}; expected 0 or more", margin);
    if (q.size() < 2) fail(name, "q has {} actions; expected at least 2", q.size());
    check_range(name, "a", a, 0, static_cast<int>(q.size()) - 1);
    check_finite(name, "q", q);
    check_size(name, "dq", dq.size(), q.size());
    check_finite(name, "w", w);
    const auto own = static_cast<std::size_t>(a);
    std::size_t other = own == 0 ? 1 : 0;
    for (std::size_t i = other + 1; i < q.size(); ++i)
      if (i != own && q[i] > q[other]) other = i;
    const S lead = q[other] - q[own], floor = static_cast<S>(-margin);
    if (!(lead > floor)) return floor;
    dq[other] += w;
    dq[own] -= w;
    return lead;
  }
};

}  // namespace valence
