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
#include "valence/core/types.hpp"

/// What a state is worth to a learner that believes only in actions that the log holds: operators on one state's action
/// values q and its behaviour law mu (probabilities, or counts, or any weights >= 0; only their ratios matter). The
/// support is {a : mu(a) > 0}; what lies outside is never read and may be NaN. They order as
///
///     one_step <= expectile (tau >= 1/2) <= in_sample_max,   in_sample_kl <= in_sample_max <= in_sample_soft.
///
/// All throw `Error` for sizes that disagree, weights that are negative or not finite, values in the support that
/// aren't finite, and a state without a logged action: nothing is never maximised over. No allocation.
namespace valence {

namespace detail {

/// Checks one state and returns its total weight.
template <class S>
double check_in_sample(std::string_view where, std::span<const S> q, std::span<const S> mu) {
  check_size(where, "mu", mu.size(), q.size());
  double total = 0;
  for (std::size_t a = 0; a < q.size(); ++a) {
    if (!(mu[a] >= 0 && mu[a] <= (std::numeric_limits<S>::max)()))
      fail(where, "mu[{}] is {}; expected a finite number, at least 0", a, mu[a]);
    if (mu[a] > 0 && !std::isfinite(q[a])) fail(where, "q[{}] is {}; expected a finite number", a, q[a]);
    total += static_cast<double>(mu[a]);
  }
  if (!(total > 0)) fail(where, "none of the {} actions was logged; expected one with mu greater than 0", q.size());
  return total;
}

/// max over the support.
template <class S>
S largest_in_support(std::span<const S> q, std::span<const S> mu) {
  S top = -std::numeric_limits<S>::infinity();
  for (std::size_t a = 0; a < q.size(); ++a)
    if (mu[a] > 0) top = (std::max)(top, q[a]);
  return top;
}

/// temperature log sum_{support} weight(a) exp(q(a) / temperature).
template <class S, class Weight>
S soft_in_support(std::span<const S> q, std::span<const S> mu, double temperature, Weight&& weight) {
  const S top = largest_in_support(q, mu);
  double sum = 0;
  for (std::size_t a = 0; a < q.size(); ++a)
    if (mu[a] > 0)
      sum += weight(a) * elementary::exp((static_cast<double>(q[a]) - static_cast<double>(top)) / temperature);
  return static_cast<S>(static_cast<double>(top) + temperature * elementary::log(sum));
}

}  // namespace detail

/// max over the support of q.
template <Scalar S>
S in_sample_max(std::span<const S> q, std::span<const std::type_identity_t<S>> mu) {
  detail::check_in_sample<S>("in_sample_max", q, mu);
  return detail::largest_in_support<S>(q, mu);
}

/// sum_a mu(a) q(a) / sum_a mu(a): the value of the behaviour policy itself (Brandfonbrener et al. 2021's one-step).
template <Scalar S>
S one_step_value(std::span<const S> q, std::span<const std::type_identity_t<S>> mu) {
  const double total = detail::check_in_sample<S>("one_step_value", q, mu);
  double sum = 0;
  for (std::size_t a = 0; a < q.size(); ++a)
    if (mu[a] > 0) sum += static_cast<double>(mu[a]) / total * static_cast<double>(q[a]);
  return static_cast<S>(sum);
}

/// T log sum_{a in support} exp(q(a) / T): how often an action was logged doesn't matter (Xiao et al. 2023's in-sample
/// softmax). T > 0; T -> 0 is `in_sample_max`.
template <Scalar S>
S in_sample_soft(std::span<const S> q, std::span<const std::type_identity_t<S>> mu, double temperature) {
  constexpr auto where = "in_sample_soft";
  check_positive(where, "temperature", temperature);
  detail::check_in_sample<S>(where, q, mu);
  return detail::soft_in_support<S>(q, mu, temperature, [](std::size_t) { return 1.0; });
}

/// T log sum_a mu(a) exp(q(a) / T), mu normalised: the best value less T times the divergence from the behaviour,
/// max_pi E_pi q - T KL(pi || mu). T > 0; T -> 0 is `in_sample_max`, T -> infinity `one_step_value`.
template <Scalar S>
S in_sample_kl(std::span<const S> q, std::span<const std::type_identity_t<S>> mu, double temperature) {
  constexpr auto where = "in_sample_kl";
  check_positive(where, "temperature", temperature);
  const double total = detail::check_in_sample<S>(where, q, mu);
  return detail::soft_in_support<S>(q, mu, temperature,
                                    [&](std::size_t a) { return static_cast<double>(mu[a]) / total; });
}

/// The tau-expectile of q under mu: the m with sum_a mu(a) |tau - 1[q(a) < m]| (q(a) - m) = 0, which is what IQL's
/// `ExpectileLoss` fits (Kostrikov et al. 2022, equation 4; Newey & Powell 1987). tau in (0, 1): 1/2 is the mean, tau
/// -> 1 is `in_sample_max`. Exact: the condition is piecewise linear, and Newton's steps from the mean settle on its
/// piece after at most one for each entry, which is also their bound.
template <Scalar S>
S in_sample_expectile(std::span<const S> q, std::span<const std::type_identity_t<S>> mu, double tau) {
  constexpr auto where = "in_sample_expectile";
  if (!(tau > 0 && tau < 1)) fail(where, "tau is {}; expected a number between 0 and 1", tau);
  const double total = detail::check_in_sample<S>(where, q, mu);
  const double origin = static_cast<double>(detail::largest_in_support<S>(q, mu));
  const auto side_weighted = [&](double m, bool all_above) {  // the mean with each entry weighted by its side of m
    double weights = 0, sum = 0;
    for (std::size_t a = 0; a < q.size(); ++a) {
      if (!(mu[a] > 0)) continue;
      const double x = static_cast<double>(q[a]) - origin;
      const double w = static_cast<double>(mu[a]) / total * (!all_above && x < m ? 1 - tau : tau);
      weights += w;
      sum += w * x;
    }
    return sum / weights;
  };
  double m = side_weighted(0, true);
  for (std::size_t k = 0; k <= q.size(); ++k) {
    const double next = side_weighted(m, false);
    if (next == m) break;
    m = next;
  }
  return static_cast<S>(origin + m);
}

}  // namespace valence
