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
#include "valence/policy/divergences.hpp"
#include "valence/policy_gradient/pointwise.hpp"
#include "valence/value/one_step.hpp"

/// Soft actor-critic: the critics' target, the actor's losses, the temperature. Critics come as one column or as two,
/// of which the smaller counts (the second is empty where there is one); ties count for the first. Temperatures are
/// alpha itself, > 0, in units of reward a nat.
namespace valence {

/// `temperature` > 0, `discount` in [0, 1].
struct SoftOptions {
  double temperature = 0.2, discount = 0.99;
};

namespace detail {

template <class S>
S check_temperature(std::string_view where, double temperature) {
  check_positive(where, "temperature", temperature);
  return static_cast<S>(temperature);
}

/// The smaller of two columns' entries; the second column may be empty.
template <class S>
S smaller(std::span<const S> q1, std::span<const S> q2, std::size_t i) {
  return q2.empty() || q1[i] <= q2[i] ? q1[i] : q2[i];
}

/// Action values of one state, an entry an action; what is masked isn't read.
template <class S>
void check_critics(std::string_view where, std::span<const S> q1, std::span<const S> q2, std::size_t n,
                   std::span<const bool> mask) {
  check_samples(where, "q1", q1, n, mask);
  if (!q2.empty()) check_samples(where, "q2", q2, n, mask);
}

}  // namespace detail

/// r + discount (min_i Q_i(s', a') - alpha log pi(a' | s')), a' drawn from the policy at s', and r alone where the
/// transition terminated (Haarnoja et al. 2018, arXiv:1812.05905, equations 3 and 5; Fujimoto et al. 2018 for the
/// minimum): what both critics regress on. `next_q`: Q_i(s', a'), an entry a critic. With discrete actions it is
/// `td_target` of `soft_value`. Throws `Error` for numbers that aren't finite; nothing of s' is read where it
/// terminated.
template <Scalar S>
S sac_target(S reward, std::span<const std::type_identity_t<S>> next_q, std::type_identity_t<S> next_log_prob,
             bool terminated, const SoftOptions& options = {}) {
  constexpr auto where = "sac_target";
  const S alpha = detail::check_temperature<S>(where, options.temperature);
  if (terminated) return td_target(reward, S(0), true, {.discount = options.discount});
  if (next_q.empty()) fail(where, "next_q is empty; expected an entry a critic");
  check_finite(where, "next_q", next_q);
  check_finite(where, "next_log_prob", next_log_prob);
  const S least = *std::min_element(next_q.begin(), next_q.end());
  return td_target(reward, least - alpha * next_log_prob, false, {.discount = options.discount});
}

/// sum_a p(a) (min_i Q_i(a) - alpha log p(a)), p = softmax(z): the value of a state under a categorical policy, exactly
/// (Christodoulou 2019, arXiv:1910.07207, equation 10; pitfall G21). `z`, `q1`, `q2`: an entry an action, `q2` or none;
/// what `mask` hides isn't read.
template <Scalar S>
S soft_value(std::span<const S> z, std::span<const std::type_identity_t<S>> q1,
             std::span<const std::type_identity_t<S>> q2, double temperature = 0.2, ActionMask mask = {}) {
  constexpr auto where = "soft_value";
  const S alpha = detail::check_temperature<S>(where, temperature);
  const detail::LogSoftmax<S> p(where, "z", z, mask);
  detail::check_critics<S>(where, q1, q2, z.size(), mask);
  S value = 0;
  for (std::size_t a = 0; a < z.size(); ++a)
    if (const S pa = p.prob(a); pa > 0) value += pa * (detail::smaller<S>(q1, q2, a) - alpha * p.log_prob(a));
  return value;
}

/// The actor's loss and its policy's entropy (nats), which is what the temperature needs.
template <Scalar S>
struct SoftActorLoss {
  S value, entropy;
};

/// sum_a p(a) (alpha log p(a) - min_i Q_i(a)): the actor's loss with discrete actions, exact, and minus the
/// `soft_value` (Christodoulou 2019, equation 12). Its minimum is p = softmax(min_i Q_i / alpha). The critics are
/// values: they get no gradient (pitfall G26).
struct DiscreteSacActor {
  double temperature = 0.2;  ///< > 0

  static constexpr std::string_view name = "DiscreteSacActor";
  /// dz += w p (f - sum p f), f = alpha log p - min_i Q_i. Arguments as for `soft_value`. Throws `Error` before dz is
  /// changed.
  template <Scalar S>
  SoftActorLoss<S> operator()(std::span<const S> z, std::span<const std::type_identity_t<S>> q1,
                              std::span<const std::type_identity_t<S>> q2, std::type_identity_t<S> w,
                              std::span<std::type_identity_t<S>> dz, ActionMask mask = {}) const {
    const S alpha = detail::check_temperature<S>(name, temperature);
    check_finite(name, "w", w);
    check_size(name, "dz", dz.size(), z.size());
    const detail::LogSoftmax<S> p(name, "z", z, mask);
    detail::check_critics<S>(name, q1, q2, z.size(), mask);
    SoftActorLoss<S> sum{0, 0};
    const auto f = [&](std::size_t a) { return alpha * p.log_prob(a) - detail::smaller<S>(q1, q2, a); };
    for (std::size_t a = 0; a < z.size(); ++a) {
      const S pa = p.prob(a);
      if (!(pa > 0)) continue;
      sum.value += pa * f(a);
      sum.entropy -= pa * p.log_prob(a);
    }
    for (std::size_t a = 0; a < z.size(); ++a)
      if (const S pa = p.prob(a); pa > 0) dz[a] += w * (pa * (f(a) - sum.value));
    return sum;
  }
};

/// Reparameterised actions of a batch, an entry a sample: `log_prob` of the action, and the critics' values of it.
template <Scalar S>
struct SacColumns {
  std::span<const S> log_prob, q1;
  std::span<const S> q2 = {};
};

/// Where the derivatives with respect to those columns are added; an empty one isn't wanted.
template <Scalar S>
struct SacGradient {
  std::span<S> log_prob = {}, q1 = {}, q2 = {};
};

/// alpha log pi(a) - min_i Q_i(s, a), a = g(y, noise): the actor's loss with continuous actions (Haarnoja et al. 2018,
/// arXiv:1812.05905, equation 9). Derivatives: alpha, and -1 for the critic that is the smaller. To reach the actor's
/// outputs y: the critics' `pullback_input` takes d_q to da, then `law.pullback_action(y, noise, da, d_log_prob, dy)`.
/// The critics' own parameters are left alone (pitfall G26).
struct SacActor {
  double temperature = 0.2;  ///< > 0

  static constexpr std::string_view name = "SacActor";
  /// The mean over the batch; `options` as in `mean_loss`, and errors as there, before anything is changed.
  template <Scalar S>
  double operator()(const SacColumns<S>& in, const std::type_identity_t<SacGradient<S>>& out,
                    const MeanOptions& options = {}) const {
    const S alpha = detail::check_temperature<S>(name, temperature);
    const std::size_t n = in.log_prob.size();
    const double scale = options.factor / detail::mean_divisor(name, n, options);
    detail::check_samples(name, "log_prob", in.log_prob, n, options.mask);
    detail::check_critics<S>(name, in.q1, in.q2, n, options.mask);
    for (const auto d : {out.log_prob, out.q1, out.q2})
      if (!d.empty()) check_size(name, "a gradient", d.size(), n);
    if (in.q2.empty() && !out.q2.empty()) fail(name, "the gradient of q2 is wanted, but q2 is empty");
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i)
      if (detail::counts(options.mask, i))
        sum += static_cast<double>(alpha) * static_cast<double>(in.log_prob[i]) -
               static_cast<double>(detail::smaller(in.q1, in.q2, i));
    const S step = static_cast<S>(scale);
    for (std::size_t i = 0; i < n; ++i) {
      if (!detail::counts(options.mask, i)) continue;
      const bool first = in.q2.empty() || in.q1[i] <= in.q2[i];
      if (!out.log_prob.empty()) out.log_prob[i] += step * alpha;
      if (!out.q1.empty() && first) out.q1[i] -= step;
      if (!out.q2.empty() && !first) out.q2[i] -= step;
    }
    return scale * sum;
  }
};

// ---------------------------------------------------------------- temperatures

/// The entropy that soft actor-critic aims at: minus the number of an action's dimensions, for densities may be above 1
/// (Haarnoja et al. 2018, appendix D).
inline double continuous_target_entropy(int dimensions) {
  check_positive("continuous_target_entropy", "dimensions", dimensions);
  return -static_cast<double>(dimensions);
}

/// The same for discrete actions: `fraction` of the largest entropy, log(actions), so it lies in (0, log actions).
/// (Christodoulou 2019: 0.98.) actions >= 2, fraction in (0, 1).
inline double discrete_target_entropy(int actions, double fraction = 0.98) {
  constexpr auto where = "discrete_target_entropy";
  if (actions < 2) fail(where, "actions is {}; expected at least 2", actions);
  if (!(fraction > 0 && fraction < 1)) fail(where, "fraction is {}; expected a number between 0 and 1", fraction);
  return fraction * std::log(static_cast<double>(actions));
}

/// -alpha mean(log pi + target_entropy), whose variable is log alpha, so that alpha stays positive and the slope equals
/// the value (Haarnoja et al. 2018, equation 18; pitfall G19). Where the policy's entropy -log pi is below the target,
/// the slope is negative and a step downhill raises alpha. With discrete actions give minus the exact entropy of each
/// state (`SoftActorLoss`) as its log-probability.
struct TemperatureLoss {
  double target_entropy = -1;  ///< finite, nats; `continuous_target_entropy`, `discrete_target_entropy`

  static constexpr std::string_view name = "TemperatureLoss";
  /// Over the samples of `log_prob` that `mask` selects (empty: all). Throws `Error` for numbers that aren't finite, an
  /// alpha that overflows, and where nothing is selected.
  template <Scalar S>
  ValueAndSlope<S> operator()(S log_alpha, std::span<const std::type_identity_t<S>> log_prob,
                              std::span<const bool> mask = {}) const {
    check_finite(name, "target_entropy", target_entropy);
    check_finite(name, "log_alpha", log_alpha);
    const double count = detail::mean_divisor(name, log_prob.size(), {.mask = mask});
    detail::check_samples<S>(name, "log_prob", log_prob, log_prob.size(), mask);
    double excess = 0;
    for (std::size_t i = 0; i < log_prob.size(); ++i)
      if (detail::counts(mask, i)) excess += static_cast<double>(log_prob[i]) + target_entropy;
    const S loss = -elementary::exp(log_alpha) * static_cast<S>(excess / count);
    if (!std::isfinite(loss)) fail(name, "the loss is {} at log_alpha {}; expected a smaller one", loss, log_alpha);
    return {loss, loss};
  }
};

/// eta epsilon + eta log((1 / N) sum_i exp(Q_i / eta)): the dual of MPO's E-step for the N sampled actions of one
/// state, convex in eta (Abdolmaleki et al. 2018, arXiv:1806.06920, section 4.1; pitfall G25: the 1 / N is part of it).
/// Minimise its mean over states; the weights of the actions are then softmax(Q / eta), at mean divergence epsilon.
struct MpoTemperature {
  double epsilon = 0.1;  ///< > 0, nats

  static constexpr std::string_view name = "MpoTemperature";
  /// `eta` > 0, `q`: an entry a sample. Value, and slope epsilon + log mean exp(Q / eta) - sum_i softmax(Q / eta)_i Q_i
  /// / eta.
  template <Scalar S>
  ValueAndSlope<S> operator()(S eta, std::span<const std::type_identity_t<S>> q) const {
    check_positive(name, "epsilon", epsilon);
    check_positive(name, "eta", eta);
    if (q.empty()) fail(name, "q is empty; expected an entry a sample");
    check_finite(name, "q", q);
    const S top = *std::max_element(q.begin(), q.end());
    S sum = 0, moment = 0;  // of the exponentials, and of exponentials times (Q - top) / eta <= 0
    for (const S x : q) {
      const S y = (x - top) / eta, e = elementary::exp(y);
      sum += e;
      if (e > 0) moment += e * y;
    }
    const S log_mean = elementary::log(sum / static_cast<S>(q.size())), epsilon_s = static_cast<S>(epsilon);
    return {eta * (epsilon_s + log_mean) + top, epsilon_s + log_mean - moment / sum};
  }
};

}  // namespace valence
