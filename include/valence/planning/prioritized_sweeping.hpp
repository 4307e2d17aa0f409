#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/solution.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// `discount` in [0, 1]; `tolerance` > 0 is the largest error of a value that is asked for, `max_backups` the number of
/// backups of single states at most, apart from those of the last sweep.
struct PrioritizedSweepingOptions {
  double discount = 0.99, tolerance = 1e-6;
  std::size_t max_backups = 1'000'000'000;
};

namespace detail {

/// For each state the states from which some available action may lead there, each once and in increasing order, with
/// the largest probability with which one does.
template <class M>
struct ReverseEdges {
  struct Edge {
    std::int32_t from;
    typename M::Scalar probability;
  };
  std::vector<std::size_t> begin;
  std::vector<Edge> edges;

  explicit ReverseEdges(const M& model) : begin(static_cast<std::size_t>(model.states()) + 1, 0) {
    const auto n = static_cast<std::size_t>(model.states());
    std::vector<std::int32_t> last(n, -1);  // the latest state seen to lead here
    std::vector<std::size_t> place;
    const auto each = [&](auto&& visit) {
      std::fill(last.begin(), last.end(), -1);
      for (int s = 0; s < model.states(); ++s)
        for (int a = 0; a < model.actions(); ++a)
          if (!model.terminal(s) && model.available(s, a))
            for (const auto& to : model.successors(s, a))
              if (to.probability > 0) {
                const auto next = static_cast<std::size_t>(to.next);
                visit(s, next, to.probability, last[next] != s);
                last[next] = s;
              }
    };
    each([&](int, std::size_t next, auto, bool fresh) { begin[next + 1] += fresh ? 1 : 0; });
    for (std::size_t i = 0; i < n; ++i) begin[i + 1] += begin[i];
    edges.resize(begin[n]);
    place.assign(begin.begin(), begin.end() - 1);
    each([&](int s, std::size_t next, typename M::Scalar p, bool fresh) {
      if (fresh)
        edges[place[next]++] = {s, p};
      else
        edges[place[next] - 1].probability = (std::max)(edges[place[next] - 1].probability, p);
    });
  }
  std::span<const Edge> into(int s) const {
    const auto i = static_cast<std::size_t>(s);
    return {edges.data() + begin[i], edges.data() + begin[i + 1]};
  }
};

/// States by priority, the largest first and of equals the lowest state: a binary heap that knows where each one is.
template <class S>
class StateQueue {
 public:
  explicit StateQueue(int states) : priority_(static_cast<std::size_t>(states), S(0)), place_(priority_.size()) {
    heap_.resize(priority_.size());
    for (std::size_t i = 0; i < heap_.size(); ++i) heap_[i] = static_cast<std::int32_t>(i), place_[i] = i;
  }
  int top() const { return heap_.front(); }
  S top_priority() const { return priority_[static_cast<std::size_t>(heap_.front())]; }
  /// The priority of s becomes this one.
  void set(int s, S priority) {
    const auto i = static_cast<std::size_t>(s);
    const bool up = priority > priority_[i];
    priority_[i] = priority;
    up ? rise(place_[i]) : sink(place_[i]);
  }
  void add(int s, S more) { set(s, priority_[static_cast<std::size_t>(s)] + more); }

 private:
  bool before(std::size_t i, std::size_t j) const {
    const std::int32_t s = heap_[i], t = heap_[j];
    const S p = priority_[static_cast<std::size_t>(s)], q = priority_[static_cast<std::size_t>(t)];
    return p > q || (p == q && s < t);
  }
  void exchange(std::size_t i, std::size_t j) {
    std::swap(heap_[i], heap_[j]);
    place_[static_cast<std::size_t>(heap_[i])] = i;
    place_[static_cast<std::size_t>(heap_[j])] = j;
  }
  void rise(std::size_t i) {
    for (; i > 0 && before(i, (i - 1) / 2); i = (i - 1) / 2) exchange(i, (i - 1) / 2);
  }
  void sink(std::size_t i) {
    for (;;) {
      std::size_t best = i;
      for (std::size_t child = 2 * i + 1; child <= 2 * i + 2 && child < heap_.size(); ++child)
        if (before(child, best)) best = child;
      if (best == i) return;
      exchange(i, best);
      i = best;
    }
  }

  std::vector<S> priority_;
  std::vector<std::int32_t> heap_;
  std::vector<std::size_t> place_;
};

}  // namespace detail

/// Prioritized sweeping (Moore and Atkeson 1993; Peng and Williams 1993) with a known model: back up the state whose
/// Bellman error may be largest. A state that changes by d adds discount P d to the priority of each predecessor (P the
/// largest probability with which an action leads here), so that priorities are never below the errors, up to rounding:
/// when the largest is small enough, so are all errors. That takes far fewer backups than sweeps where rewards are
/// rare.
///
/// `iterations` counts backups of one state, first (one of each state, for its error) and last (one sweep, for residual
/// and policy) included. Below discount 1 no value is further than `bound` = discount / (1 - discount) x `residual`
/// from the optimal one, in exact arithmetic. With discount 1 the model must be episodic (`check_episodic`), it ends
/// when no error is above `tolerance`, which proves nothing, and `bound` is infinite.
///
/// Stops early, with `converged` false, after `max_backups` and where `progress`, called once for as many backups as
/// there are states, returns false. Throws `Error` for options out of range.
template <FiniteModel M>
Solution<typename M::Scalar> prioritized_sweeping(const M& model, const PrioritizedSweepingOptions& options = {},
                                                  Progress progress = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "prioritized_sweeping";
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_backups", options.max_backups);
  const bool discounted = options.discount < 1;
  if (!discounted) check_episodic(where, model);

  const detail::Stopwatch watch;
  const auto n = static_cast<std::size_t>(model.states());
  const S discount = static_cast<S>(options.discount);
  const detail::ReverseEdges<M> reverse(model);
  detail::StateQueue<S> queue(model.states());
  Solution<S> result;
  result.value = Vector<S>::Zero(model.states());
  const auto backup = [&](int s) {
    ++result.iterations;
    return detail::best_choice(model, s, result.value.data(), discount).value;
  };
  for (int s = 0; s < model.states(); ++s)
    if (!model.terminal(s)) queue.set(s, std::abs(backup(s)));  // all values are 0
  const double enough = discounted ? options.tolerance * (1 - options.discount) : options.tolerance;
  std::size_t told = 0;
  while (static_cast<double>(queue.top_priority()) > enough && result.iterations < options.max_backups) {
    const int s = queue.top();
    const S old = result.value[s];
    result.value[s] = backup(s);
    const S change = std::abs(result.value[s] - old);
    if (!std::isfinite(change))
      fail(where, "the value of state {} overflowed; expected smaller rewards or a smaller discount", s);
    queue.set(s, S(0));
    for (const auto& edge : reverse.into(s)) queue.add(edge.from, discount * edge.probability * change);
    if (result.iterations - told >= n) {
      told = result.iterations;
      if (!progress({.step = result.iterations,
                     .total = options.max_backups,
                     .task = "prioritized sweeping",
                     .metric = "largest priority",
                     .value = static_cast<double>(queue.top_priority())}))
        break;
    }
  }
  Vector<S> other(model.states());
  result.policy.assign(n, -1);
  result.residual =
      detail::optimality_sweep(model, result.value.data(), discount, other.data(), result.policy.data(), 1).residual();
  result.value.swap(other);
  result.iterations += n;
  if (discounted) result.bound = options.discount / (1 - options.discount) * result.residual;
  result.converged = (discounted ? result.bound : result.residual) <= options.tolerance;
  result.seconds = watch.seconds();
  return result;
}

}  // namespace valence
