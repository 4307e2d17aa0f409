#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/policy/divergences.hpp"
#include "valence/policy_gradient/pointwise.hpp"
#include "valence/policy_gradient/surrogate.hpp"

/// Losses of learning from a fixed log. The policy's take log-probabilities of logged actions and serve every law; the
/// critics' take action values of one state.
namespace valence {

// ---------------------------------------------------------------- policies

/// A logged action's log-probability under the policy that learns, and the weight it counts with (only where the loss
/// uses it).
template <Scalar S>
struct LogProbSample {
  S log_prob, weight = 1;

  /// Throws `Error` for a number that `loss` reads and that isn't finite, and for a negative weight.
  template <class L>
  void check(const L&) const {
    check_finite(L::name, "log_prob", log_prob);
    if (L::uses_weight) check_range(L::name, "weight", weight, 0, (std::numeric_limits<S>::max)());
  }
};

/// Columns of them, an entry a sample; `weight` may be empty where the loss doesn't use it.
template <Scalar S>
struct LogProbColumns {
  std::span<const S> log_prob;
  std::span<const S> weight = {};

  std::size_t size() const { return log_prob.size(); }
  /// Sample i; not checked.
  LogProbSample<S> operator[](std::size_t i) const { return {log_prob[i], weight.empty() ? S(1) : weight[i]}; }
  /// Throws `Error` for sizes that disagree, for entries that count, are used and aren't finite, and for negative
  /// weights.
  template <class L>
  void check(const L&, std::span<const bool> mask) const {
    detail::check_samples(L::name, "log_prob", log_prob, size(), mask);
    detail::check_samples(L::name, "weight", weight, size(), mask, L::uses_weight);
    if (!L::uses_weight) return;
    for (std::size_t i = 0; i < size(); ++i)
      if (detail::counts(mask, i) && weight[i] < 0)
        fail(L::name, "weight[{}] is {}; expected a number, at least 0", i, weight[i]);
  }
};

/// -log pi(a): behaviour cloning. Slope -1. On a table its minimum is the log's empirical frequencies.
struct BehaviourCloningLoss {
  static constexpr std::string_view name = "BehaviourCloningLoss";
  static constexpr bool uses_weight = false;
  void check() const {}
  template <Scalar S>
  ValueAndSlope<S> term(const LogProbSample<S>& x) const {
    return {-x.log_prob, -1};
  }
  template <Scalar S>
  ValueAndSlope<S> operator()(const LogProbSample<S>& x) const {
    return detail::checked_term(*this, x);
  }
};

/// -weight log pi(a), slope -weight: the policy extraction of AWR (Peng et al. 2019, algorithm 1) and IQL (Kostrikov et
/// al. 2022, equation 7), with weights >= 0 from advantage_weights.hpp, which are never differentiated.
struct WeightedRegression {
  static constexpr std::string_view name = "WeightedRegression";
  static constexpr bool uses_weight = true;
  void check() const {}
  template <Scalar S>
  ValueAndSlope<S> term(const LogProbSample<S>& x) const {
    return {-x.weight * x.log_prob, -x.weight};
  }
  template <Scalar S>
  ValueAndSlope<S> operator()(const LogProbSample<S>& x) const {
    return detail::checked_term(*this, x);
  }
};

/// -lambda Q(s, pi(s)) + mean_j (pi_j(s) - a_j)^2 with lambda = alpha / mean |Q|: TD3+BC (Fujimoto & Gu 2021,
/// section 5). lambda makes the balance independent of the reward's scale and is never differentiated. alpha = 0 is
/// behaviour cloning of a deterministic policy.
struct Td3BcLoss {
  double alpha = 2.5;  ///< finite, >= 0
  double epsilon = 0;  ///< >= 0, added to mean |Q|; 0: a batch whose values are all 0 throws

  static constexpr std::string_view name = "Td3BcLoss";

  /// lambda of a batch: alpha / (mean |Q(s, pi(s))| + epsilon). `q`: an entry a sample, finite.
  template <Scalar S>
  S lambda(std::span<const S> q) const {
    check();
    if (q.empty()) fail(name, "q is empty; expected an entry a sample");
    check_finite(name, "q", q);
    double sum = 0;
    for (const S x : q) sum += std::abs(static_cast<double>(x)) / static_cast<double>(q.size());
    const S result = static_cast<S>(alpha / (sum + epsilon));
    if (!std::isfinite(result))
      fail(name, "the mean of |q| is {}, and alpha divided by it isn't finite; expected other values, or epsilon > 0",
           sum);
    return result;
  }

  /// One sample's loss. `pi`: the policy's action, `a`: the logged one, `dq`: dQ/da at pi, an entry a dimension each;
  /// `q`: Q(s, pi(s)); `lambda`: the batch's. dpi += w (-lambda dQ/da + 2 (pi - a) / dimensions). Throws `Error` before
  /// dpi is changed.
  template <Scalar S>
  S operator()(std::span<const S> pi, std::span<const std::type_identity_t<S>> a, std::type_identity_t<S> q,
               std::span<const std::type_identity_t<S>> dq, std::type_identity_t<S> lambda, std::type_identity_t<S> w,
               std::span<std::type_identity_t<S>> dpi) const {
    if (pi.empty()) fail(name, "pi is empty; expected an entry a dimension");
    for (const auto& [argument, column] : {std::pair{"a", a}, std::pair{"dq", dq}}) {
      check_size(name, argument, column.size(), pi.size());
      check_finite(name, argument, column);
    }
    check_finite(name, "pi", pi);
    check_finite(name, "q", q);
    check_range(name, "lambda", lambda, 0, (std::numeric_limits<S>::max)());
    check_finite(name, "w", w);
    check_size(name, "dpi", dpi.size(), pi.size());
    const S share = S(1) / static_cast<S>(pi.size());
    S distance = 0;
    for (std::size_t j = 0; j < pi.size(); ++j) distance += share * (pi[j] - a[j]) * (pi[j] - a[j]);
    const S loss = distance - lambda * q;
    if (!std::isfinite(loss)) fail(name, "the loss is {}; expected a finite number", loss);
    for (std::size_t j = 0; j < pi.size(); ++j) dpi[j] += w * (2 * share * (pi[j] - a[j]) - lambda * dq[j]);
    return loss;
  }

 private:
  void check() const {
    check_range(name, "alpha", alpha, 0, (std::numeric_limits<double>::max)());
    check_range(name, "epsilon", epsilon, 0, (std::numeric_limits<double>::max)());
  }
};

// ---------------------------------------------------------------- state values

/// |tau - 1[u < 0]| u^2 with u = target - V: expectile regression (Newey & Powell 1987; IQL, Kostrikov et al. 2022,
/// equation 5; without a factor 1/2, as their code). Slope -2 |tau - 1[u < 0]| u; 0 at u = 0. tau = 1/2 fits the mean
/// of the targets, tau -> 1 the largest of those in the log.
struct ExpectileLoss {
  double tau = 0.7;  ///< in (0, 1)

  static constexpr std::string_view name = "ExpectileLoss";
  static constexpr bool uses_old = false;
  void check() const {
    if (!(tau > 0 && tau < 1)) fail(name, "tau is {}; expected a number between 0 and 1", tau);
  }
  template <Scalar S>
  ValueAndSlope<S> term(const ValueSample<S>& x) const {
    const S u = x.target - x.value, weight = static_cast<S>(u < 0 ? 1 - tau : tau);
    return {weight * u * u, -2 * weight * u};
  }
  template <Scalar S>
  ValueAndSlope<S> operator()(const ValueSample<S>& x) const {
    return detail::checked_term(*this, x);
  }
};

// ---------------------------------------------------------------- conservative action values

/// How `ConservativePenalty` sums up the values that it pushes down.
enum class PushDown {
  log_sum_exp,   ///< T log sum exp(x / T): CQL(H)
  log_mean_exp,  ///< the same less T log n: doesn't grow with the number of actions
  mean           ///< the mean: CQL(rho) with rho the law that the actions were drawn from; reads no temperature
};

/// The action values of one state that are pushed down.
template <Scalar S>
struct PushedDown {
  /// Q(s, .): of all actions, or of sampled ones.
  std::span<const S> q;
  /// Log-density of each sampled action under the law that drew it, which is subtracted (importance form); empty: none.
  std::span<const S> log_density = {};
  /// Cal-QL: the entries of q that are bounded from below by `reference`, true for actions that the policy drew and
  /// false for uniform ones; empty: all of them.
  std::span<const bool> bounded = {};
  /// Cal-QL: the value of a reference policy in s, such as the logged return; -infinity: no bound.
  S reference = -std::numeric_limits<S>::infinity();
  /// The entries that exist; what is masked isn't read. Empty: all of them.
  std::span<const bool> mask = {};
};

/// alpha (push-down of Q(s, .) - Q(s, a)), a the **logged** action (pitfall V23: not a mean over actions): conservative
/// Q-learning (Kumar et al. 2020, arXiv:2006.04779, equation 4; appendix F for sampled actions), and with `reference`
/// calibrated Q-learning (Nakamoto et al. 2023, arXiv:2303.05479, equation 5.1), which pushes down max(Q, V_ref)
/// instead of Q, with derivative 1 where Q > V_ref, and 0 at equality.
struct ConservativePenalty {
  double alpha = 5;        ///< finite, >= 0 (the paper's for continuous actions; about 1 for discrete ones)
  double temperature = 1;  ///< T > 0
  PushDown form = PushDown::log_sum_exp;

  static constexpr std::string_view name = "ConservativePenalty";

  /// `q_data`: Q(s, a). dq[i] += w d / dq[i], an entry an entry of `in.q`; `d_data`: w times the derivative with
  /// respect to q_data, added. (Discrete actions: `CqlLoss` does both in one row.) Throws `Error` before anything is
  /// changed.
  template <Scalar S>
  S operator()(const PushedDown<S>& in, std::type_identity_t<S> q_data, std::type_identity_t<S> w,
               std::span<std::type_identity_t<S>> dq, std::type_identity_t<S>& d_data) const {
    constexpr S infinity = std::numeric_limits<S>::infinity();
    const std::size_t n = in.q.size();
    check_range(name, "alpha", alpha, 0, (std::numeric_limits<double>::max)());
    check_positive(name, "temperature", temperature);
    const double count = detail::mean_divisor(name, n, {.mask = in.mask});
    detail::check_samples(name, "q", in.q, n, in.mask);
    if (!in.log_density.empty()) detail::check_samples(name, "log_density", in.log_density, n, in.mask);
    if (!in.bounded.empty()) check_size(name, "bounded", in.bounded.size(), n);
    if (!(in.reference < infinity))
      fail(name, "reference is {}; expected a finite number, or -infinity for none", in.reference);
    check_finite(name, "q_data", q_data);
    check_finite(name, "w", w);
    check_size(name, "dq", dq.size(), n);

    const S a = static_cast<S>(alpha), t = static_cast<S>(temperature);
    const auto lifted = [&](std::size_t i) { return in.bounded.empty() || in.bounded[i] ? in.reference : -infinity; };
    const auto x = [&](std::size_t i) {
      const S q = (std::max)(in.q[i], lifted(i));
      return in.log_density.empty() ? q : q - in.log_density[i];
    };
    S top = -infinity, sum = 0, pushed = 0;
    for (std::size_t i = 0; i < n; ++i)
      if (detail::counts(in.mask, i)) top = (std::max)(top, x(i));
    for (std::size_t i = 0; i < n; ++i)
      if (detail::counts(in.mask, i)) sum += form == PushDown::mean ? (x(i) - top) : elementary::exp((x(i) - top) / t);
    const S m = static_cast<S>(count);
    switch (form) {
      case PushDown::mean:
        pushed = top + sum / m;
        break;
      case PushDown::log_mean_exp:
        pushed = top + t * elementary::log(sum / m);
        break;
      case PushDown::log_sum_exp:
        pushed = top + t * elementary::log(sum);
        break;
    }
    const S loss = a * (pushed - q_data);
    if (!std::isfinite(loss)) fail(name, "the loss is {}; expected a finite number", loss);
    for (std::size_t i = 0; i < n; ++i)
      if (detail::counts(in.mask, i) && in.q[i] > lifted(i))
        dq[i] += w * a * (form == PushDown::mean ? 1 / m : elementary::exp((x(i) - top) / t) / sum);
    d_data -= w * a;
    return loss;
  }
};

/// alpha (log sum exp Q(s, .) - Q(s, a)) + (Q(s, a) - y)^2 / 2: CQL(H) with discrete actions (Kumar et al. 2020,
/// equation 4). alpha = 0 is Q-learning. Where the log's law is mu, the minimum has sum_a mu(a) (Q(a) - E y(a)) = 0 for
/// every alpha.
struct CqlLoss {
  double alpha = 5;  ///< finite, >= 0

  static constexpr std::string_view name = "CqlLoss";
  /// `q`: Q(s, .), an entry an action; `action`: the logged one; `target`: y, never differentiated. dq += w (alpha
  /// (softmax(Q) - e_a) + e_a (Q(a) - y)). With a `reference` Cal-QL: see `ConservativePenalty`. What `mask` hides
  /// isn't read. Throws `Error` before dq is changed.
  template <Scalar S>
  S operator()(std::span<const S> q, int action, std::type_identity_t<S> target, std::type_identity_t<S> w,
               std::span<std::type_identity_t<S>> dq, ActionMask mask = {},
               std::type_identity_t<S> reference = -std::numeric_limits<S>::infinity()) const {
    if (action < 0 || static_cast<std::size_t>(action) >= q.size())
      fail(name, "action is {}; expected a number in [0, {})", action, q.size());
    const auto taken = static_cast<std::size_t>(action);
    if (!mask.empty()) check_size(name, "mask", mask.size(), q.size());
    if (!detail::counts(mask, taken)) fail(name, "action {} is masked; expected a possible action", action);
    check_finite(name, "q", q.subspan(taken, 1));
    check_size(name, "dq", dq.size(), q.size());
    const ValueAndSlope<S> td = SquaredError{}(ValueSample<S>{q[taken], target});
    S d_data = w * td.slope;
    const S penalty = ConservativePenalty{.alpha = alpha}(PushedDown<S>{.q = q, .reference = reference, .mask = mask},
                                                          q[taken], w, dq, d_data);
    dq[taken] += d_data;
    return penalty + td.value;
  }
};

}  // namespace valence
