#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/divergences.hpp"
#include "valence/policy_gradient/pointwise.hpp"

/// Policy-gradient losses: REINFORCE, actor-critic, PPO. Those of one action take log-probabilities, so they serve
/// every law of policy/: `log_prob_columns` gives what they read, and their slopes are the weights of
/// `pullback_log_prob_columns`. `ActorCritic` and `PpoKl` know all actions' logits.
namespace valence {

/// One action that was taken. `log_prob`: of the policy that learns, the number that is differentiated; `advantage`: of
/// that action; `old_log_prob`: of the policy that took it; `ref_log_prob`: of a policy to stay close to. The last two
/// only where the loss uses them.
template <Scalar S>
struct PolicySample {
  S log_prob, advantage;
  S old_log_prob = 0, ref_log_prob = 0;

  /// Throws `Error` for a number that `loss` reads and that isn't finite.
  template <class L>
  void check(const L&) const {
    check_finite(L::name, "log_prob", log_prob);
    check_finite(L::name, "advantage", advantage);
    if (L::uses_old) check_finite(L::name, "old_log_prob", old_log_prob);
    if (L::uses_reference) check_finite(L::name, "ref_log_prob", ref_log_prob);
  }
};

/// Columns of them, an entry a sample; one that the loss doesn't use may be empty.
template <Scalar S>
struct PolicyColumns {
  std::span<const S> log_prob, advantage;
  std::span<const S> old_log_prob = {}, ref_log_prob = {};

  std::size_t size() const { return log_prob.size(); }
  /// Sample i; not checked.
  PolicySample<S> operator[](std::size_t i) const {
    return {log_prob[i], advantage[i], old_log_prob.empty() ? S(0) : old_log_prob[i],
            ref_log_prob.empty() ? S(0) : ref_log_prob[i]};
  }
  /// Throws `Error` for sizes that disagree and for entries that count, are used and aren't finite.
  template <class L>
  void check(const L&, std::span<const bool> mask) const {
    detail::check_samples(L::name, "log_prob", log_prob, size(), mask);
    detail::check_samples(L::name, "advantage", advantage, size(), mask);
    detail::check_samples(L::name, "old_log_prob", old_log_prob, size(), mask, L::uses_old);
    detail::check_samples(L::name, "ref_log_prob", ref_log_prob, size(), mask, L::uses_reference);
  }
};

// ---------------------------------------------------------------- losses of a log-probability

/// -A log pi(a): REINFORCE (Williams 1992), and the actor of A2C (Mnih et al. 2016). Slope -A. What the advantage is
/// (the return, or less a constant, a running mean, a state's value, `rloo`) is the caller's choice: a baseline that
/// doesn't depend on the action leaves the expected gradient as it is, another one doesn't.
struct PolicyGradient {
  static constexpr std::string_view name = "PolicyGradient";
  static constexpr bool uses_old = false, uses_reference = false;
  void check() const {}
  template <Scalar S>
  ValueAndSlope<S> term(const PolicySample<S>& x) const {
    return {-x.advantage * x.log_prob, -x.advantage};
  }
  template <Scalar S>
  ValueAndSlope<S> operator()(const PolicySample<S>& x) const {
    return detail::checked_term(*this, x);
  }
};

/// -rho A with rho = pi(a) / pi_old(a): the surrogate that TRPO and the KL form of PPO maximise (Schulman et al. 2015,
/// equation 14). Slope -rho A; where the policies agree it is that of `PolicyGradient`. With an advantage of 0 nothing is
/// exponentiated; otherwise a log-ratio whose exponential overflows throws.
struct ImportanceWeighted {
  static constexpr std::string_view name = "ImportanceWeighted";
  static constexpr bool uses_old = true, uses_reference = false;
  void check() const {}
  template <Scalar S>
  ValueAndSlope<S> term(const PolicySample<S>& x) const {
    if (x.advantage == S(0)) return {0, 0};
    const S loss = -elementary::exp(x.log_prob - x.old_log_prob) * x.advantage;
    return {loss, loss};
  }
  template <Scalar S>
  ValueAndSlope<S> operator()(const PolicySample<S>& x) const {
    return detail::checked_term(*this, x);
  }
};

/// -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A): PPO (Schulman et al. 2017, equation 7). Slope -rho A where the
/// unclipped product is the minimum, also at a tie; 0 elsewhere. With `dual_clip` c the loss of a negative advantage is
/// at most -c A, slope 0 there (Ye et al. 2020, dual-clip PPO). The branch is chosen before anything is multiplied, so
/// any log-ratio is finite except one that overflows in a branch that isn't clipped: A < 0 without `dual_clip`, which
/// throws.
struct PpoClip {
  double epsilon = 0.2;                                        ///< > 0
  double dual_clip = std::numeric_limits<double>::infinity();  ///< > 1 (the paper's: 3); infinity: none

  static constexpr std::string_view name = "PpoClip";
  static constexpr bool uses_old = true, uses_reference = false;
  void check() const {
    check_positive(name, "epsilon", epsilon);
    if (!(dual_clip > 1))
      fail(name, "dual_clip is {}; expected a number greater than 1, or infinity for none", dual_clip);
  }
  template <Scalar S>
  ValueAndSlope<S> term(const PolicySample<S>& x) const {
    const S a = x.advantage;
    if (a == S(0)) return {0, 0};
    const S ratio = elementary::exp(x.log_prob - x.old_log_prob);
    const S low = static_cast<S>(1 - epsilon), high = static_cast<S>(1 + epsilon), most = static_cast<S>(dual_clip);
    if (a > 0 && ratio > high) return {-high * a, 0};
    if (a < 0 && ratio < low) return {-low * a, 0};
    if (a < 0 && ratio > most) return {-most * a, 0};
    return {-ratio * a, -ratio * a};
  }
  template <Scalar S>
  ValueAndSlope<S> operator()(const PolicySample<S>& x) const {
    return detail::checked_term(*this, x);
  }
};

/// `PpoClip` plus beta k3(log pi_ref - log pi): GRPO's loss of a token or an answer (Shao et al. 2024, equations 3 and
/// 4). The penalty's slope is beta (1 - pi_ref / pi): not the gradient of KL(pi || ref) but of the other direction, see
/// `kl_k3`. It must be given also where
/// beta = 0; `PpoClip` needs none.
struct GrpoLoss {
  double epsilon = 0.2;                                        ///< > 0
  double beta = 0.04;                                          ///< >= 0
  double dual_clip = std::numeric_limits<double>::infinity();  ///< as in `PpoClip`

  static constexpr std::string_view name = "GrpoLoss";
  static constexpr bool uses_old = true, uses_reference = true;
  void check() const {
    PpoClip{epsilon, dual_clip}.check();
    check_range(name, "beta", beta, 0, (std::numeric_limits<double>::max)());
  }
  template <Scalar S>
  ValueAndSlope<S> term(const PolicySample<S>& x) const {
    const ValueAndSlope<S> surrogate = PpoClip{epsilon, dual_clip}.term(x);
    if (beta == 0) return surrogate;
    const S l = x.ref_log_prob - x.log_prob, e = elementary::expm1(l), b = static_cast<S>(beta);
    return {surrogate.value + b * (e - l), surrogate.slope - b * e};
  }
  template <Scalar S>
  ValueAndSlope<S> operator()(const PolicySample<S>& x) const {
    return detail::checked_term(*this, x);
  }
};

// ---------------------------------------------------------------- how far the policy has moved

/// How far a policy has moved from the one that acted, by the actions that were taken.
struct RatioDiagnostics {
  double kl = 0;             ///< mean of rho - 1 - log rho >= 0: estimates KL(old || new), never negative (pitfall G8)
  double clip_fraction = 0;  ///< share of samples with |rho - 1| > epsilon
  double mean_ratio = 0;     ///< 1 in expectation

  /// May another step be taken? To be asked **before** each step (pitfall G9): a target of 0 allows none.
  bool within(double target_kl) const { return kl < target_kl; }
};

/// Of the samples that `mask` selects (empty: all). Reads no advantages. Throws `Error` for sizes that disagree,
/// numbers that aren't finite, where nothing is selected, and with its index for a log-ratio whose exponential
/// overflows (pitfall G11). `epsilon` > 0: PPO's.
template <Scalar S>
RatioDiagnostics ratio_diagnostics(std::span<const S> log_prob, std::span<const std::type_identity_t<S>> old_log_prob,
                                   double epsilon = 0.2, std::span<const bool> mask = {}) {
  constexpr auto where = "ratio_diagnostics";
  check_positive(where, "epsilon", epsilon);
  const std::size_t n = log_prob.size();
  const double count = detail::mean_divisor(where, n, {.mask = mask});
  detail::check_samples(where, "log_prob", log_prob, n, mask);
  detail::check_samples<S>(where, "old_log_prob", old_log_prob, n, mask);
  RatioDiagnostics sum;
  for (std::size_t i = 0; i < n; ++i) {
    if (!detail::counts(mask, i)) continue;
    const double l = static_cast<double>(log_prob[i]) - static_cast<double>(old_log_prob[i]);
    const double change = elementary::expm1(l);
    if (!std::isfinite(change)) fail(where, "the log-ratio of sample {} is {}, whose exponential overflows", i, l);
    sum.kl += change - l;
    sum.clip_fraction += std::abs(change) > epsilon ? 1 : 0;
    sum.mean_ratio += change;
  }
  return {sum.kl / count, sum.clip_fraction / count, 1 + sum.mean_ratio / count};
}

/// The penalty's weight in the KL form of PPO, after each iteration (Schulman et al. 2017, section 4): doubled where
/// the divergence came out above 1.5 times `target`, halved where below target / 1.5.
struct AdaptiveKl {
  double target = 0.01;    ///< > 0, nats
  double tolerance = 1.5;  ///< >= 1
  double factor = 2;       ///< > 1
  /// The result stays in [least, most], so that it can neither die nor overflow.
  double least = 1e-8, most = 1e8;

  /// The next beta from this one (> 0) and the measured divergence (>= 0, finite).
  double operator()(double beta, double kl) const {
    constexpr auto where = "AdaptiveKl";
    check_positive(where, "target", target);
    check_range(where, "tolerance", tolerance, 1, (std::numeric_limits<double>::max)());
    if (!(factor > 1)) fail(where, "factor is {}; expected a number greater than 1", factor);
    check_positive(where, "least", least);
    check_range(where, "most", most, least, (std::numeric_limits<double>::max)());
    check_positive(where, "beta", beta);
    check_range(where, "kl", kl, 0, (std::numeric_limits<double>::max)());
    const double next = kl > target * tolerance ? beta * factor : kl < target / tolerance ? beta / factor : beta;
    return (std::min)((std::max)(next, least), most);
  }
};

/// out[t] = reward[t] - coefficient kl[t] where `mask` selects t (empty: everywhere), and reward[t] elsewhere: what is
/// masked is not penalised, so it can't leak into the returns of earlier steps (pitfall G12), and its kl isn't read.
/// `kl` is what the policy pays (log pi - log pi_ref, or an estimate of the divergence); coefficient >= 0. `out` may be
/// one of the inputs.
template <Scalar S>
void penalize_rewards(std::span<const S> reward, std::span<const std::type_identity_t<S>> kl, double coefficient,
                      std::span<std::type_identity_t<S>> out, std::span<const bool> mask = {}) {
  constexpr auto where = "penalize_rewards";
  const std::size_t n = reward.size();
  check_range(where, "coefficient", coefficient, 0, (std::numeric_limits<double>::max)());
  if (!mask.empty()) check_size(where, "mask", mask.size(), n);
  check_size(where, "out", out.size(), n);
  detail::check_samples(where, "reward", reward, n, {});
  detail::check_samples<S>(where, "kl", kl, n, mask);
  for (std::size_t i = 0; i < n; ++i)
    out[i] = detail::counts(mask, i) ? reward[i] - static_cast<S>(coefficient) * kl[i] : reward[i];
}

// ---------------------------------------------------------------- losses of a value

/// One prediction. `value`: the model's, differentiated; `target`: what it should be; `old_value`: what it was when the
/// data were taken, only where the loss uses it.
template <Scalar S>
struct ValueSample {
  S value, target;
  S old_value = 0;

  /// Throws `Error` for a number that `loss` reads and that isn't finite.
  template <class L>
  void check(const L&) const {
    check_finite(L::name, "value", value);
    check_finite(L::name, "target", target);
    if (L::uses_old) check_finite(L::name, "old_value", old_value);
  }
};

/// Columns of them, an entry a sample; `old_value` may be empty where the loss doesn't use it.
template <Scalar S>
struct ValueColumns {
  std::span<const S> value, target;
  std::span<const S> old_value = {};

  std::size_t size() const { return value.size(); }
  /// Sample i; not checked.
  ValueSample<S> operator[](std::size_t i) const {
    return {value[i], target[i], old_value.empty() ? S(0) : old_value[i]};
  }
  /// Throws `Error` for sizes that disagree and for entries that count, are used and aren't finite.
  template <class L>
  void check(const L&, std::span<const bool> mask) const {
    detail::check_samples(L::name, "value", value, size(), mask);
    detail::check_samples(L::name, "target", target, size(), mask);
    detail::check_samples(L::name, "old_value", old_value, size(), mask, L::uses_old);
  }
};

/// (value - target)^2 / 2, slope value - target: the critic of A2C, TD errors, and (twice it) IQL's L_Q.
struct SquaredError {
  static constexpr std::string_view name = "SquaredError";
  static constexpr bool uses_old = false;
  void check() const {}
  template <Scalar S>
  ValueAndSlope<S> term(const ValueSample<S>& x) const {
    const S error = x.value - x.target;
    return {error * error / 2, error};
  }
  template <Scalar S>
  ValueAndSlope<S> operator()(const ValueSample<S>& x) const {
    return detail::checked_term(*this, x);
  }
};

/// max((v - R)^2, (v_old + clip(v - v_old, -epsilon, epsilon) - R)^2) / 2: PPO's critic as OpenAI's code has it
/// (Engstrom et al. 2020, section 2). The **larger** of the two squares: with the smaller one a value that has moved
/// away from its target would get no gradient back (pitfall G6). Slope v - R where the unclipped square is the larger,
/// also at a tie; 0 elsewhere.
struct ClippedValue {
  double epsilon = 0.2;  ///< > 0, in units of the value

  static constexpr std::string_view name = "ClippedValue";
  static constexpr bool uses_old = true;
  void check() const { check_positive(name, "epsilon", epsilon); }
  template <Scalar S>
  ValueAndSlope<S> term(const ValueSample<S>& x) const {
    const S e = static_cast<S>(epsilon), error = x.value - x.target, step = x.value - x.old_value;
    if (step >= -e && step <= e) return {error * error / 2, error};
    const S clipped = x.old_value + (step > 0 ? e : -e) - x.target;
    if (error * error >= clipped * clipped) return {error * error / 2, error};
    return {clipped * clipped / 2, 0};
  }
  template <Scalar S>
  ValueAndSlope<S> operator()(const ValueSample<S>& x) const {
    return detail::checked_term(*this, x);
  }
};

// ---------------------------------------------------------------- losses of all actions' logits

/// What `ActorCritic` adds up.
template <Scalar S>
struct ActorCriticLoss {
  S value;    ///< the whole loss
  S entropy;  ///< H of the policy, nats
  S d_value;  ///< derivative with respect to the critic's value, times w
};

/// A2C's loss of one action of a categorical policy (Mnih et al. 2016, section 4; algorithm S3):
///
///     L = -A log p(a) - entropy_coefficient H(p) + value_coefficient (v - R)^2 / 2.
///
/// With another law it is `PolicyGradient` on `log_prob`, plus `law.entropy(y, -c_H, dy)`, plus `SquaredError`.
struct ActorCritic {
  double entropy_coefficient = 0.01;  ///< finite, >= 0
  double value_coefficient = 0.5;     ///< finite, >= 0

  static constexpr std::string_view name = "ActorCritic";
  void check() const {
    check_range(name, "entropy_coefficient", entropy_coefficient, 0, (std::numeric_limits<double>::max)());
    check_range(name, "value_coefficient", value_coefficient, 0, (std::numeric_limits<double>::max)());
  }
  /// `z`: logits, an entry an action (`mask` as in `Softmax`); `v`, `target`: of the state. dz += w (-A (e_a - p) + c_H
  /// p (log p + H)), and the result's `d_value` is w c_v (v - R). Throws `Error` before dz is changed.
  template <Scalar S>
  ActorCriticLoss<S> operator()(std::span<const S> z, int action, std::type_identity_t<S> advantage,
                                std::type_identity_t<S> v, std::type_identity_t<S> target, std::type_identity_t<S> w,
                                std::span<std::type_identity_t<S>> dz, ActionMask mask = {}) const {
    check();
    check_finite(name, "advantage", advantage);
    check_finite(name, "v", v);
    check_finite(name, "target", target);
    check_finite(name, "w", w);
    const Softmax law{static_cast<int>(z.size())};
    const S entropy_weight = static_cast<S>(entropy_coefficient), value_weight = static_cast<S>(value_coefficient);
    const S log_prob = law.log_prob(z, action, -w * advantage, dz, mask);
    const S entropy = law.entropy(z, -w * entropy_weight, dz, mask);
    const S error = v - target;
    return {-advantage * log_prob - entropy_weight * entropy + value_weight * error * error / 2, entropy,
            w * value_weight * error};
  }
};

/// What `PpoKl` adds up.
template <Scalar S>
struct PpoKlLoss {
  S value;  ///< the whole loss
  S ratio;  ///< rho
  S kl;     ///< KL(old || new), what `AdaptiveKl` reads
};

/// -rho A + beta KL(old || new) of one action of a categorical policy: PPO's KL form (Schulman et al. 2017, equation
/// 8). With another law it is `ImportanceWeighted` on `log_prob`, plus `law.kl(old, y, beta, {}, dy)`.
struct PpoKl {
  double beta = 1;  ///< finite, >= 0

  static constexpr std::string_view name = "PpoKl";
  /// `z`, `old`: logits of the policy that learns and of the one that acted. dz += w (-A rho (e_a - p) + beta (p -
  /// p_old)). Throws `Error` before dz is changed.
  template <Scalar S>
  PpoKlLoss<S> operator()(std::span<const S> z, std::span<const std::type_identity_t<S>> old, int action,
                          std::type_identity_t<S> advantage, std::type_identity_t<S> w,
                          std::span<std::type_identity_t<S>> dz, ActionMask mask = {}) const {
    check_range(name, "beta", beta, 0, (std::numeric_limits<double>::max)());
    check_finite(name, "w", w);
    check_size(name, "dz", dz.size(), z.size());
    const Softmax law{static_cast<int>(z.size())};
    const S log_prob = law.log_prob(z, action, mask), old_log_prob = law.log_prob(old, action, mask);
    const S surrogate = ImportanceWeighted{}(PolicySample<S>{log_prob, advantage, old_log_prob}).value;
    const S b = static_cast<S>(beta);
    const S kl = law.kl(old, z, w * b, {}, dz, mask);
    law.log_prob(z, action, w * surrogate, dz, mask);  // its slope is its value
    return {surrogate + b * kl, elementary::exp(log_prob - old_log_prob), kl};
  }
};

}  // namespace valence
