#pragma once

#include <cstddef>
#include <limits>
#include <type_traits>

#include "valence/core/elementary.hpp"  // rounded
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/types.hpp"
#include "valence/value/check.hpp"
#include "valence/value/gae.hpp"
#include "valence/value/steps.hpp"
#include "valence/value/sweep.hpp"

/// Value targets from another policy's experience.
namespace valence {

/// `discount`, `lambda` in [0, 1]. `rho_bar`, `c_bar` > 0 cut importance ratios, infinity doesn't. `rho_bar` says which
/// policy's value is learned (the one proportional to min(rho_bar mu, pi)), `c_bar` how fast; the theory wants `rho_bar
/// >= c_bar`, which isn't enforced.
struct VtraceOptions {
  double discount = 0.99, lambda = 1, rho_bar = 1, c_bar = 1;
};

namespace detail {

/// A bar for ratios. A large one is as good as none.
template <class S>
S check_bar(std::string_view where, std::string_view name, double bar) {
  if (!(bar > 0)) fail(where, "{} is {}; expected a number greater than 0", name, bar);
  return bar < static_cast<double>(largest_finite<S>) ? static_cast<S>(bar) : largest_finite<S>;
}

/// x is vs_t - V(s_t).
template <class S>
struct VtraceKernel {
  StepColumns<S> in;
  S rho_bar, c_bar;
  template <class T, class End>
  [[gnu::always_inline]] Affine<T> step(std::size_t i, const End& end) const {
    const T ratio = load<T>(in.ratio + i), discount = in.template discount_at<T>(i);
    const T c = in.template lambda_at<T>(i) * cut_at(ratio, c_bar);
    return {rounded(delta<T>(i, end, T{})), discount * end.carry(c, T{})};
  }
  template <class T, class End>
  [[gnu::always_inline]] Results<T> results(std::size_t i, const End& end, T x, T later) const {
    return {delta<T>(i, end, end.carry(later, T{})), x + load<T>(in.value + i)};
  }
  /// rho_t (r_t + gamma_t (V(s'_t) + correction) - V(s_t))
  template <class T, class End>
  [[gnu::always_inline]] T delta(std::size_t i, const End& end, T correction) const {
    const T rho = cut_at(load<T>(in.ratio + i), rho_bar);
    const T next = end.bootstrap(load<T>(in.next_value + i)) + correction;
    return rho * (load<T>(in.reward + i) + in.template discount_at<T>(i) * next - load<T>(in.value + i));
  }
};

}  // namespace detail

/// V-trace (Espeholt et al. 2018, equations 1 and 4; lambda as in its section 4.1, remark 2): value targets vs and
/// advantages for the policy gradient,
///
///   rho_t = min(rho_bar, ratio_t),  c_t = lambda_t min(c_bar, ratio_t),  delta_t = rho_t (r_t + discount_t V(s'_t) -
///   V(s_t)) target_t    = V(s_t) + delta_t + discount_t c_t (target_{t+1} - V(s_{t+1}))
///   advantage_t = rho_t (r_t + discount_t target_{t+1} - V(s_t))
///
/// where target_{t+1} is V(s'_t) if the episode was cut off at t or the data end there, and 0 if it terminated. Ratios
/// 1 and lambda 1 give the discounted return. Reads `value`, `ratio`, and `next_value` or T + 1 rows of values.
/// Allocation, errors and memory as for `gae`.
template <Scalar S>
void vtrace(const Steps<S>& steps, const std::type_identity_t<AdvantageOutput<S>>& out,
            const VtraceOptions& options = {}) {
  constexpr auto where = "vtrace";
  const S rho_bar = detail::check_bar<S>(where, "rho_bar", options.rho_bar);
  const S c_bar = detail::check_bar<S>(where, "c_bar", options.c_bar);
  const auto in = detail::check_steps(where, steps, {.value = true, .ratio = true}, options.discount, options.lambda);
  detail::sweep(where, in, detail::VtraceKernel<S>{in, rho_bar, c_bar}, detail::check_advantages(where, out, steps));
}

}  // namespace valence
