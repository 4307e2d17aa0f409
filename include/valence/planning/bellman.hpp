#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/parallel.hpp"
#include "valence/core/prefetch.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"

/// Bellman operators of a finite model, as pure functions of a value: one sweep over the states. The solvers are loops
/// around them. A terminal state is worth 0, and its entry of `v` is not read as anything else. (Puterman 1994, chapter
/// 6.)
namespace valence {

/// The smallest and the largest entry of T v - v over all states: they bound the distance to the fixed point (MacQueen
/// 1966; Puterman 1994, theorem 6.6.3) more tightly than their larger magnitude does.
struct Change {
  double lowest = std::numeric_limits<double>::infinity(), highest = -std::numeric_limits<double>::infinity();
  /// Largest |T v - v|.
  double residual() const { return (std::max)(highest, -lowest); }
  friend Change operator+(const Change& a, const Change& b) {
    return {(std::min)(a.lowest, b.lowest), (std::max)(a.highest, b.highest)};
  }
};

/// r(s, a) + discount sum_s' P(s' | s, a) v(s'), of an action that is available.
template <FiniteModel M>
typename M::Scalar action_value(const M& model, int s, int a, const typename M::Scalar* v,
                                typename M::Scalar discount) {
  return model.reward(s, a) + discount * model.expectation(s, a, v);
}

namespace detail {

/// States of one task of a parallel sweep. A constant: what is summed with what may not depend on the threads.
inline constexpr std::size_t sweep_chunk = 4096;

/// The best action of a state that is not terminal, the first of equals, and its value.
template <class M>
struct Choice {
  typename M::Scalar value;
  int action;
};
template <class M>
Choice<M> best_choice(const M& model, int s, const typename M::Scalar* v, typename M::Scalar discount) {
  Choice<M> best{-std::numeric_limits<typename M::Scalar>::infinity(), -1};
  for (int a = 0; a < model.actions(); ++a) {
    if (!model.available(s, a)) continue;
    const auto q = action_value(model, s, a, v, discount);
    if (q > best.value) best = {q, a};
  }
  return best;
}

/// The sweep over a range of states of any model.
template <class M>
Change optimality_range(const M& model, const typename M::Scalar* v, typename M::Scalar discount,
                        typename M::Scalar* out, int* policy, int first, int last) {
  using S = typename M::Scalar;
  S lowest = std::numeric_limits<S>::infinity(), highest = -lowest;
  for (int s = first; s < last; ++s) {
    const Choice<M> best = model.terminal(s) ? Choice<M>{S(0), -1} : best_choice(model, s, v, discount);
    const S change = best.value - v[s];
    lowest = (std::min)(lowest, change), highest = (std::max)(highest, change);
    out[s] = best.value;
    if (policy) policy[s] = best.action;
  }
  return {static_cast<double>(lowest), static_cast<double>(highest)};
}

/// The same for compressed rows, whose entries lie in the order in which the sweep wants them: one pass over the
/// arrays. `width` is the number of entries of every row, or 0 where rows differ. `ahead`: fetch what the states to
/// come will gather, which pays once the values are larger than the second-level cache.
template <int width, bool ahead, class S>
Change compressed_range(const FiniteMdp<S>& model, const S* v, S discount, S* out, int* policy, int first, int last) {
  const ModelColumns<S>& c = model.columns();
  const auto actions = static_cast<std::size_t>(c.actions);
  const std::uint32_t* const row_begin = c.row_begin.data();
  const std::int32_t* const next = c.next.data();
  const S *const probability = c.probability.data(), *const reward = c.reward.data();
  constexpr std::size_t distance = 96;  // entries, a few states
  const std::size_t entries = c.next.size();
  S lowest = std::numeric_limits<S>::infinity(), highest = -lowest;
  std::size_t row = static_cast<std::size_t>(first) * actions;
  std::size_t k = width > 0 ? row * static_cast<std::size_t>(width) : row_begin[row], fetched = k;
  for (int s = first; s < last; ++s) {
    S best = -std::numeric_limits<S>::infinity();
    int action = -1;
    if constexpr (ahead) {
      const std::size_t until = (std::min)(k + distance, entries);
      for (; fetched < until; ++fetched) prefetch(v + next[fetched]);
    }
    for (std::size_t a = 0; a < actions; ++a, ++row) {
      S sum = 0;
      if constexpr (width > 0) {
        for (int j = 0; j < width; ++j)
          sum += probability[k + static_cast<std::size_t>(j)] * v[next[k + static_cast<std::size_t>(j)]];
        k += static_cast<std::size_t>(width);
      } else {
        const std::size_t end = row_begin[row + 1];
        if (k == end) continue;  // not available
        for (; k < end; ++k) sum += probability[k] * v[next[k]];
      }
      const S q = reward[row] + discount * sum;
      const bool better = q > best;
      action = better ? static_cast<int>(a) : action;
      best = better ? q : best;
    }
    const S value = action < 0 ? S(0) : best;
    const S change = value - v[s];
    lowest = (std::min)(lowest, change), highest = (std::max)(highest, change);
    out[s] = value;
    if (policy) policy[s] = action;
  }
  return {static_cast<double>(lowest), static_cast<double>(highest)};
}

/// Calls f(std::integral_constant<int, width>) for widths that have a kernel of their own, and with 0 for others.
template <class F>
auto with_width(int width, F&& f) {
  switch (width) {
    case 1:
      return f(std::integral_constant<int, 1>{});
    case 2:
      return f(std::integral_constant<int, 2>{});
    case 3:
      return f(std::integral_constant<int, 3>{});
    case 4:
      return f(std::integral_constant<int, 4>{});
    case 5:
      return f(std::integral_constant<int, 5>{});
    case 8:
      return f(std::integral_constant<int, 8>{});
    default:
      return f(std::integral_constant<int, 0>{});
  }
}

template <class S>
Change optimality_range(const FiniteMdp<S>& model, const S* v, S discount, S* out, int* policy, int first, int last) {
  const bool ahead = static_cast<std::size_t>(model.states()) * sizeof(S) > (std::size_t{1} << 21);
  return with_width(model.successors_each(), [&](auto width) {
    return ahead ? compressed_range<width(), true>(model, v, discount, out, policy, first, last)
                 : compressed_range<width(), false>(model, v, discount, out, policy, first, last);
  });
}

/// `range(first, last)` over all states in chunks, over threads.
template <class Range>
Change sweep_states(int states, int threads, Range&& range) {
  return parallel_reduce(
      static_cast<std::size_t>(states), Change{},
      [&](std::size_t first, std::size_t last) { return range(static_cast<int>(first), static_cast<int>(last)); },
      [](const Change& a, const Change& b) { return a + b; }, {.threads = threads, .chunk = sweep_chunk});
}

/// Unchecked; out may not be v.
template <class M>
Change optimality_sweep(const M& model, const typename M::Scalar* v, typename M::Scalar discount,
                        typename M::Scalar* out, int* policy, int threads) {
  return sweep_states(model.states(), threads, [&](int first, int last) {
    return optimality_range(model, v, discount, out, policy, first, last);
  });
}

/// Unchecked; out may not be v. `policy[s]` is an available action where s is not terminal.
template <class M>
Change expectation_sweep(const M& model, const int* policy, const typename M::Scalar* v, typename M::Scalar discount,
                         typename M::Scalar* out, int threads) {
  using S = typename M::Scalar;
  return sweep_states(model.states(), threads, [&](int first, int last) {
    S lowest = std::numeric_limits<S>::infinity(), highest = -lowest;
    for (int s = first; s < last; ++s) {
      const S value = model.terminal(s) ? S(0) : action_value(model, s, policy[s], v, discount);
      const S change = value - v[s];
      lowest = (std::min)(lowest, change), highest = (std::max)(highest, change);
      out[s] = value;
    }
    return Change{static_cast<double>(lowest), static_cast<double>(highest)};
  });
}

template <class M>
void check_value(std::string_view where, const M& model, std::span<const typename M::Scalar> v) {
  check_size(where, "v", v.size(), static_cast<std::size_t>(model.states()));
  check_finite(where, "v", v);
}

/// An action for every state that is not terminal, and one that is available.
template <class M>
void check_policy(std::string_view where, const M& model, std::span<const int> policy) {
  check_size(where, "policy", policy.size(), static_cast<std::size_t>(model.states()));
  for (int s = 0; s < model.states(); ++s) {
    const int a = policy[static_cast<std::size_t>(s)];
    if (!model.terminal(s) && (a < 0 || a >= model.actions() || !model.available(s, a)))
      fail(where, "policy[{}] is {}; expected an action that is available in state {}", s, a, s);
  }
}

/// `policy` is actions x states; column s a distribution over the actions available in s. Terminal states' columns are
/// not read.
template <class M>
void check_policy(std::string_view where, const M& model, const Matrix<typename M::Scalar>& policy) {
  using S = typename M::Scalar;
  check_shape(where, "policy", policy.rows(), policy.cols(), model.actions(), model.states());
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) continue;
    double sum = 0;
    for (int a = 0; a < model.actions(); ++a) {
      const S p = policy(a, s);
      if (!(p >= S(0) && p <= S(1) + S(1e-6))) fail(where, "policy({}, {}) is {}; expected a probability", a, s, p);
      if (p > S(0) && !model.available(s, a))
        fail(where, "policy({}, {}) is {}, but action {} is not available in state {}; expected 0", a, s, p, a, s);
      sum += static_cast<double>(p);
    }
    if (!(std::abs(sum - 1) <= 1e-6))
      fail(where, "the policy of state {} sums to {}; expected 1 (within 1e-6)", s, sum);
  }
}

}  // namespace detail

/// `discount` in [0, 1]; `threads` as for `parallel_for` (0: as OpenMP decides), which never changes a result.
struct BellmanOptions {
  double discount = 0.99;
  int threads = 0;
};

/// One sweep of value iteration: `out(s) = max_a r(s, a) + discount sum_s' P(s' | s, a) v(s')`, all from the old `v`
/// (Jacobi). `policy`, if not empty, gets the maximising action, the first of equals, and -1 in terminal states.
/// Allocates nothing that grows with the states. Throws `Error` for sizes that don't fit, a `v` that isn't finite, and
/// `out` that is `v`.
template <FiniteModel M>
Change bellman_optimality(const M& model, std::span<const typename M::Scalar> v, std::span<typename M::Scalar> out,
                          std::span<int> policy = {}, const BellmanOptions& options = {}) {
  constexpr auto where = "bellman_optimality";
  check_range(where, "discount", options.discount, 0, 1);
  detail::check_value(where, model, v);
  check_size(where, "out", out.size(), v.size());
  if (out.data() == v.data()) fail(where, "out is v; expected other memory (gauss_seidel_sweep works in place)");
  if (!policy.empty()) check_size(where, "policy", policy.size(), v.size());
  return detail::optimality_sweep(model, v.data(), static_cast<typename M::Scalar>(options.discount), out.data(),
                                  policy.empty() ? nullptr : policy.data(), options.threads);
}

/// One sweep of policy evaluation: `out(s) = r(s, policy(s)) + discount sum_s' P(s' | s, policy(s)) v(s')`. Errors as
/// above, and for a policy that takes an action that isn't available.
template <FiniteModel M>
Change bellman_expectation(const M& model, std::span<const int> policy, std::span<const typename M::Scalar> v,
                           std::span<typename M::Scalar> out, const BellmanOptions& options = {}) {
  constexpr auto where = "bellman_expectation";
  check_range(where, "discount", options.discount, 0, 1);
  detail::check_value(where, model, v);
  detail::check_policy(where, model, policy);
  check_size(where, "out", out.size(), v.size());
  if (out.data() == v.data()) fail(where, "out is v; expected other memory");
  return detail::expectation_sweep(model, policy.data(), v.data(), static_cast<typename M::Scalar>(options.discount),
                                   out.data(), options.threads);
}

/// Q(s, a) = r(s, a) + discount sum_s' P(s' | s, a) v(s') for every pair: actions x states. Actions that are not
/// available get -infinity; terminal states 0.
template <FiniteModel M>
Matrix<typename M::Scalar> action_values(const M& model, std::span<const typename M::Scalar> v,
                                         const BellmanOptions& options = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "action_values";
  check_range(where, "discount", options.discount, 0, 1);
  detail::check_value(where, model, v);
  Matrix<S> q(model.actions(), model.states());
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; a < model.actions(); ++a)
      q(a, s) = model.terminal(s)        ? S(0)
                : !model.available(s, a) ? -std::numeric_limits<S>::infinity()
                                         : action_value(model, s, a, v.data(), static_cast<S>(options.discount));
  return q;
}

/// The policy that is greedy with respect to `v`: the first of the best actions, -1 in terminal states.
template <FiniteModel M>
std::vector<int> greedy_policy(const M& model, std::span<const typename M::Scalar> v,
                               const BellmanOptions& options = {}) {
  Vector<typename M::Scalar> out(static_cast<std::ptrdiff_t>(v.size()));
  std::vector<int> policy(v.size());
  bellman_optimality(model, v, view(out), policy, options);
  return policy;
}

}  // namespace valence
