#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

/// The policy that draws N actions and takes the best of them: improvement without training.
namespace valence {

namespace detail {

/// log(a / (a + b)), a > 0, b >= 0, without cancellation where b is little.
inline double log_share(double a, double b) {
  return a < b ? elementary::log(a / (a + b)) : elementary::log1p(-b / (a + b));
}

}  // namespace detail

/// Its law, exactly: `out[i]` is the probability that action i is taken when n >= 1 actions are drawn from `pi`
/// (probabilities) and one of the largest `q` is taken. With F the distribution function of pi in the order of q,
///
///     P(q = x) = F(x)^n - F(x-)^n,
///
/// where actions of equal q share in proportion to pi. Relative precision is full also for small probabilities. q isn't
/// read where pi is 0. O(actions^2), no allocation; `out` must be memory of its own. Throws `Error` before anything is
/// changed.
template <Scalar S>
void best_of_n(std::span<const S> pi, std::span<const std::type_identity_t<S>> q, std::size_t n,
               std::span<std::type_identity_t<S>> out) {
  constexpr auto where = "best_of_n";
  check_probabilities(where, "pi", pi);
  check_size(where, "q", q.size(), pi.size());
  check_size(where, "out", out.size(), pi.size());
  check_positive(where, "n", n);
  for (std::size_t i = 0; i < pi.size(); ++i)
    if (pi[i] > 0 && !std::isfinite(q[i])) fail(where, "q[{}] is {}; expected a finite number", i, q[i]);
  for (std::size_t i = 0; i < pi.size(); ++i) {
    out[i] = 0;
    if (!(pi[i] > 0)) continue;
    double below = 0, equal = 0, above = 0;
    for (std::size_t j = 0; j < pi.size(); ++j)
      if (pi[j] > 0) (q[j] < q[i] ? below : q[j] > q[i] ? above : equal) += static_cast<double>(pi[j]);
    // F^n - (F-)^n = F^n (1 - (F- / F)^n), F = below + equal.
    const double draws = static_cast<double>(n);
    const double all = elementary::exp(draws * detail::log_share(below + equal, above));
    const double group = below > 0 ? -all * elementary::expm1(draws * detail::log_share(below, equal)) : all;
    out[i] = static_cast<S>(group * (static_cast<double>(pi[i]) / equal));
  }
}

/// log n - (n - 1) / n: what KL(best of n || pi) is at most, and without ties on a continuous law exactly (Beirami et
/// al. 2024). n >= 1.
inline double best_of_n_kl_bound(std::size_t n) {
  check_positive("best_of_n_kl_bound", "n", n);
  const double draws = static_cast<double>(n);
  return std::log(draws) - (draws - 1) / draws;
}

/// A drawn action and what it is worth.
template <class A>
struct BestAction {
  A action;
  double value;
};

/// By sampling, for any policy: draws n >= 1 actions by `draw()` and returns the one of the largest `value(action)`,
/// the first of ties. A value that is NaN throws `Error` with the draw's number.
///
///     auto best = best_of_n([&] { return law.sample(y, rng); }, [&](const auto& a) { return critic(s, a); }, 16);
template <class Draw, class Value>
  requires std::invocable<Draw&> && std::regular_invocable<Value&, const std::invoke_result_t<Draw&>&>
BestAction<std::invoke_result_t<Draw&>> best_of_n(Draw&& draw, Value&& value, std::size_t n) {
  constexpr auto where = "best_of_n";
  check_positive(where, "n", n);
  const auto worth = [&](const auto& action, std::size_t i) {
    const double v = static_cast<double>(value(action));
    if (std::isnan(v)) fail(where, "the value of draw {} is nan; expected a number", i);
    return v;
  };
  auto first = draw();
  const double v = worth(first, 0);
  BestAction<std::invoke_result_t<Draw&>> best{std::move(first), v};
  for (std::size_t i = 1; i < n; ++i) {
    auto action = draw();
    if (const double next = worth(action, i); next > best.value) best = {std::move(action), next};
  }
  return best;
}

}  // namespace valence
