#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/graph.hpp"
#include "valence/planning/solution.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// A solution between two others: lower[s] <= exact value <= upper[s] in every state, rounding included. `value` is
/// their middle, `bound` the largest distance from it to either, `residual` the largest change of either in the last
/// sweep. The policy is worth at least `lower` (where the smallest value is asked for: at most `upper`).
template <Scalar S>
struct IntervalSolution : Solution<S> {
  Vector<double> lower = {}, upper = {};  ///< an entry a state; infinite where `max_iterations` came before any bound
};

/// `discount` in [0, 1]; `tolerance` > 0 is the largest `bound` that is asked for, `max_iterations` >= 1 the number of
/// sweeps at most. `threads` as for `parallel_for`: the sweeps that lead to the first bounds; never changes a result.
struct IntervalIterationOptions {
  double discount = 0.99, tolerance = 1e-6;
  std::size_t max_iterations = 1'000'000;
  int threads = 0;
};

namespace detail {

/// Bounds of one value.
struct Bracket {
  double lower, upper;
};

/// reward + discount sum_s' P(s' | s, a) v(s') for all v between the bounds, widened by what rounding may have done: so
/// it contains the exact result, whatever order and contraction the compiler chose. With n successors and u = 2^-53 the
/// computed number is within (2n + 6) u (|reward| + discount sum P |v|) of it (Higham 2002, lemma 3.1): n products, 2
/// (n
/// - 1) additions, the quotient, the last product and sum, and two for numbers that aren't doubles. Rows count as
/// divided by their sum, which rounding keeps from being 1.
template <class M>
Bracket bounded_backup(const M& model, int s, int a, double reward, double discount, const Bracket* v) {
  double mass = 0, lower = 0, upper = 0, size = 0;
  int n = 0;
  for (const auto& to : model.successors(s, a)) {
    const double p = static_cast<double>(to.probability);
    const Bracket& x = v[to.next];
    mass += p, lower += p * x.lower, upper += p * x.upper;
    size += p * (std::max)(std::abs(x.lower), std::abs(x.upper));
    ++n;
  }
  const double scale = discount / mass, magnitude = std::abs(reward) + scale * size;
  // The second term: products that underflow.
  const double error = magnitude == 0 ? 0.0
                                      : (n + 6) * std::numeric_limits<double>::epsilon() * magnitude +
                                            (std::numeric_limits<double>::min)();
  return {reward + scale * lower - error, reward + scale * upper + error};
}

/// Bracket iteration (Haddad & Monmege 2018; Baier et al. 2017) over the classes of a model, in place, what a class
/// depends on first. It maximises. If the bounds hold before a sweep they hold after it, because each new bound is the
/// Bellman operator of bounds, and rounding is counted; a sweep never widens an interval.
template <class M, class Reward>
class IntervalSweeps {
 public:
  static constexpr std::uint32_t none = 0xffffffff;

  /// `reward(s, a)` as a double. `may_stay`: classes that collapsed may also end, worth 0. `start`: bounds an entry a
  /// state; those of classes without rows are their values.
  IntervalSweeps(const M& model, const Collapsed& collapsed, Reward reward, double discount, bool may_stay,
                 std::vector<Bracket> start)
      : model_(model),
        collapsed_(collapsed),
        reward_(reward),
        discount_(discount),
        may_stay_(may_stay),
        values_(std::move(start)),
        choice_(static_cast<std::size_t>(collapsed.graph.states), none) {
    const Components order = strongly_connected_components(collapsed.graph);
    std::vector<std::uint32_t> at(static_cast<std::size_t>(order.count) + 1, 0);
    for (const std::int32_t c : order.of) ++at[static_cast<std::size_t>(c) + 1];
    for (std::size_t i = 1; i < at.size(); ++i) at[i] += at[i - 1];
    order_.resize(order.of.size());
    for (std::size_t c = 0; c < order.of.size(); ++c)
      order_[at[static_cast<std::size_t>(order.of[c])]++] = static_cast<std::int32_t>(c);
    std::erase_if(order_, [&](std::int32_t c) { return collapsed_.graph.end(c) && !stays(c); });
    for (const std::int32_t c : order_)
      if (!collapsed_.graph.end(c))
        choice_[static_cast<std::size_t>(c)] = collapsed_.graph.row_begin[static_cast<std::size_t>(c)];
  }

  const std::vector<Bracket>& values() const { return values_; }
  /// A class: the row that a policy takes which is worth its lower bound; `none` to stay.
  const std::vector<std::uint32_t>& choice() const { return choice_; }
  double widest() const {
    double width = 0;
    for (const std::int32_t c : order_) width = (std::max)(width, value(c).upper - value(c).lower);
    return width;
  }

  /// One sweep that narrows bounds that hold. Returns the largest change of a bound.
  double narrow() {
    double change = 0;
    for (const std::int32_t c : order_) {
      Bracket x = value(c);
      const Backup q = backup(c, 0);
      if (q.value.lower > x.lower) {
        change = (std::max)(change, q.value.lower - x.lower);
        // Only now: so the lower bounds stay below what this policy makes of them, and it is worth at least them.
        x.lower = q.value.lower, choice_[static_cast<std::size_t>(c)] = q.row;
      }
      if (q.value.upper < x.upper) change = (std::max)(change, x.upper - q.value.upper), x.upper = q.value.upper;
      set(c, x);
    }
    return change;
  }

  /// One sweep of two value iterations, whose rewards are `shift` less and more. Returns the largest change of a value.
  double shifted(double shift) {
    double change = 0;
    for (const std::int32_t c : order_) {
      const Bracket x = value(c), q = backup(c, shift).value;
      change = (std::max)({change, std::abs(q.lower - x.lower), std::abs(q.upper - x.upper)});
      set(c, q);
    }
    return change;
  }

  /// Are the numbers bounds? They are if the Bellman operator raises (or keeps) all lower and lowers all upper ones:
  /// then so does its every power, and those converge to the fixed point.
  bool inductive() {
    for (const std::int32_t c : order_) {
      const Backup q = backup(c, 0);
      if (!(q.value.lower >= value(c).lower && q.value.upper <= value(c).upper)) return false;
      choice_[static_cast<std::size_t>(c)] = q.row;
    }
    return true;
  }

  /// Makes bounds of any start, lower and upper the same, for a discount below 1: if no entry of T v - v is above c
  /// then T (v + c / (1 - discount)) is below v + c / (1 - discount), which is therefore an upper bound; the lower one
  /// in the same way. With terminal states, whose change is 0, c isn't taken to be below 0.
  void bound_by_change(std::string_view where) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const bool all = order_.size() == choice_.size();
    double low = all ? infinity : 0, high = all ? -infinity : 0;
    for (const std::int32_t c : order_) {
      const Backup q = backup(c, 0);
      choice_[static_cast<std::size_t>(c)] = q.row;
      low = (std::min)(low, q.value.lower - value(c).lower), high = (std::max)(high, q.value.upper - value(c).upper);
    }
    low /= 1 - discount_, high /= 1 - discount_;
    for (const std::int32_t c : order_) {
      const Bracket x = value(c);
      // The rounding of these lines themselves.
      const double slack =
          8 * std::numeric_limits<double>::epsilon() * (std::abs(x.lower) + std::abs(low) + std::abs(high));
      set(c, {x.lower + low - slack, x.upper + high + slack});
      if (!std::isfinite(value(c).lower) || !std::isfinite(value(c).upper))
        fail(where, "the value of state {} overflows; expected smaller rewards or a smaller discount",
             collapsed_.members(c).front());
    }
  }

  /// All values 0 but those of classes without rows.
  void restart() {
    for (const std::int32_t c : order_) set(c, {0, 0});
  }

 private:
  struct Backup {
    Bracket value;
    std::uint32_t row;
  };

  const Bracket& value(std::int32_t c) const {
    return values_[static_cast<std::size_t>(collapsed_.members(c).front())];
  }
  void set(std::int32_t c, const Bracket& x) {
    for (const std::int32_t s : collapsed_.members(c)) values_[static_cast<std::size_t>(s)] = x;
  }
  bool stays(std::int32_t c) const { return may_stay_ && collapsed_.still_class(c); }

  Backup backup(std::int32_t c, double shift) const {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    Backup best{{-infinity, -infinity}, none};
    if (stays(c)) best.value = {0, 0};
    for (std::size_t i = collapsed_.graph.first_row(c); i < collapsed_.graph.last_row(c); ++i) {
      const StateAction p = pair_of(model_, collapsed_.graph, i);
      const Bracket q =
          bounded_backup(model_, p.state, p.action, reward_(p.state, p.action), discount_, values_.data());
      if (q.lower - shift > best.value.lower)
        best.value.lower = q.lower - shift, best.row = static_cast<std::uint32_t>(i);
      best.value.upper = (std::max)(best.value.upper, q.upper + shift);
    }
    return best;
  }

  const M& model_;
  const Collapsed& collapsed_;
  Reward reward_;
  double discount_;
  bool may_stay_;
  std::vector<Bracket> values_;
  std::vector<std::int32_t> order_;
  std::vector<std::uint32_t> choice_;
};

/// Finds first bounds where there is no discount. If every reward is raised by a little, d, the optimal value V_d is
/// still finite, and T V_d = V_d - d: an upper bound of which rounding can be absorbed by d; lowered by d, a lower one.
/// Both are approached by value iteration; where d was too much, or sweeps too few, less of it and more of them are
/// tried. False where `limit` sweeps were not enough.
template <class Sweeps>
bool find_bounds(std::string_view where, Sweeps& sweeps, double largest_reward, std::size_t& iterations,
                 std::size_t limit, Progress progress) {
  sweeps.restart();
  if (sweeps.inductive()) return true;  // all is 0
  double shift = largest_reward / 8;
  for (std::size_t budget = 64;; budget *= 2, shift /= 4, sweeps.restart()) {
    for (std::size_t k = 0; k < budget; ++k) {
      if (iterations >= limit) return false;
      const double change = sweeps.shifted(shift);
      ++iterations;
      if (!std::isfinite(change)) fail(where, "a value overflowed in sweep {}; expected smaller rewards", iterations);
      if (!progress({.step = iterations, .total = limit, .task = "first bounds", .metric = "change", .value = change}))
        return false;
      if (change <= shift / 2 && sweeps.inductive()) return true;
    }
  }
}

/// The policy of the states, given that of the classes. In a class of several states all go to where the class is left,
/// by rows inside it, which they reach surely; or stay, each by its first row inside.
template <class M>
std::vector<int> expand_policy(const M& model, const TransitionGraph& graph, const Predecessors& into,
                               const Collapsed& collapsed, const std::vector<std::uint32_t>& choice) {
  constexpr std::uint32_t none = 0xffffffff;
  std::vector<int> policy(static_cast<std::size_t>(model.states()), -1);
  StateSet leaves(policy.size(), 0);
  for (const std::uint32_t row : choice) {
    if (row == none) continue;
    const StateAction p = pair_of(model, collapsed.graph, row);
    policy[static_cast<std::size_t>(p.state)] = p.action, leaves[static_cast<std::size_t>(p.state)] = 1;
  }
  if (collapsed.still.count == 0) return policy;
  std::vector<std::uint32_t> chosen(policy.size(), none);
  grow_by_some(into, collapsed.still.inside, leaves, &chosen);
  for (int s = 0; s < model.states(); ++s) {
    const auto k = static_cast<std::size_t>(s);
    if (policy[k] >= 0 || collapsed.still.of[k] < 0) continue;
    std::size_t row = chosen[k];
    if (row == none)
      for (row = graph.first_row(s); !collapsed.still.inside[row];) ++row;
    policy[k] = pair_of(model, graph, row).action;
  }
  return policy;
}

/// Narrows bounds that hold to the tolerance, or as far as rounding lets them.
template <class S, class Sweeps>
void narrow_bounds(Sweeps& sweeps, double tolerance, std::size_t limit, IntervalSolution<S>& result,
                   Progress progress) {
  constexpr double slack = 1 + 8 * std::numeric_limits<double>::epsilon();  // halves are taken, and compared
  for (bool go_on = sweeps.widest() * slack / 2 > tolerance; go_on && result.iterations < limit;) {
    result.residual = sweeps.narrow();
    ++result.iterations;
    const double width = sweeps.widest();
    go_on = width * slack / 2 > tolerance && result.residual > 0;
    go_on = progress({.step = result.iterations,
                      .total = limit,
                      .task = "interval iteration",
                      .metric = "width",
                      .value = width}) &&
            go_on;
  }
}

/// Fills `value`, `lower`, `upper`, `bound` and `converged` in. `sign` -1 turns a maximum of -x into the minimum of x.
template <class S>
void finish_intervals(const std::vector<Bracket>& bounds, bool hold, double tolerance, double sign,
                      IntervalSolution<S>& result) {
  const auto n = static_cast<std::ptrdiff_t>(bounds.size());
  constexpr double infinity = std::numeric_limits<double>::infinity();
  result.value.resize(n), result.lower.resize(n), result.upper.resize(n);
  result.bound = 0;
  for (std::ptrdiff_t s = 0; s < n; ++s) {
    Bracket x = bounds[static_cast<std::size_t>(s)];
    if (sign < 0) x = {-x.upper, -x.lower};
    const S middle = static_cast<S>(x.lower + (x.upper - x.lower) / 2);
    if (!hold) x = {-infinity, infinity};
    result.value[s] = middle + S(0), result.lower[s] = x.lower + 0.0, result.upper[s] = x.upper + 0.0;
    const double distance = (std::max)(x.upper - static_cast<double>(middle), static_cast<double>(middle) - x.lower);
    result.bound = (std::max)(result.bound, distance * (1 + std::numeric_limits<double>::epsilon()));
  }
  if (!hold) result.bound = infinity;
  result.converged = result.bound <= tolerance;
}

/// Bounds of the optimal total reward until an end of `graph`, from the analysis of `collapse_episodic`.
template <class M>
IntervalSolution<typename M::Scalar> total_reward_bounds(std::string_view where, const M& model,
                                                         const TransitionGraph& graph, const StateSet& ends,
                                                         bool may_stay, std::string_view end_name, double tolerance,
                                                         std::size_t max_iterations, Progress progress) {
  const Stopwatch watch;
  const Predecessors into = predecessors(graph);
  const Collapsed collapsed = collapse_episodic(where, model, graph, into, ends, may_stay, end_name);
  const auto reward = [&model](int s, int a) { return static_cast<double>(model.reward(s, a)); };
  double largest = 0;
  for (std::size_t i = 0; i < collapsed.graph.rows(); ++i) {
    const StateAction p = pair_of(model, collapsed.graph, i);
    largest = (std::max)(largest, std::abs(reward(p.state, p.action)));
  }
  IntervalSolution<typename M::Scalar> result;
  IntervalSweeps sweeps(model, collapsed, reward, 1, may_stay,
                        std::vector<Bracket>(static_cast<std::size_t>(model.states()), Bracket{0, 0}));
  const bool hold = find_bounds(where, sweeps, largest, result.iterations, max_iterations, progress);
  if (hold) narrow_bounds(sweeps, tolerance, max_iterations, result, progress);
  finish_intervals(sweeps.values(), hold, tolerance, 1, result);
  result.policy = expand_policy(model, graph, into, collapsed, sweeps.choice());
  result.seconds = watch.seconds();
  return result;
}

}  // namespace detail

/// Optimal values between certified bounds (interval iteration: Haddad & Monmege 2018; Baier, Klein, Leuschner, Parker
/// & Wunderlich 2017), so that a tolerance is a guarantee: the exact value of every state is between `lower` and
/// `upper`, the rounding of every operation included (each backup is widened by a bound of its own rounding, see
/// `detail::bounded_backup`), and `policy` is worth at least `lower`. Computed in double whatever the model's scalar
/// is; exact means of the model whose numbers are those stored, each row of probabilities divided by its sum.
///
/// With a discount below 1, value iteration supplies the first bounds, and sweeps with counted rounding narrow them.
/// With discount 1 the model must be episodic (`check_episodic`, which names the state that is in the way); end
/// components of reward 0 are treated as one state that may also stop for ever, worth 0, so the result is the optimum
/// also where Bellman's equation has other solutions. Bounds begin at values that are shown to be bounds, never at a
/// guess. `iterations` counts sweeps of all kinds.
///
/// Stops early, with `converged` false, at `max_iterations`, where rounding keeps the bounds apart (about 1e-15 x size
/// of the values x steps to the end), and where `progress` returns false. What it then returns holds all the same.
template <FiniteModel M>
IntervalSolution<typename M::Scalar> interval_iteration(const M& model, const IntervalIterationOptions& options = {},
                                                        Progress progress = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "interval_iteration";
  check_range(where, "discount", options.discount, 0, 1);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
  const TransitionGraph graph = transition_graph(model);
  if (options.discount == 1)
    return detail::total_reward_bounds(where, model, graph, detail::ends_of(graph), true, "a terminal state",
                                       options.tolerance, options.max_iterations, progress);
  const detail::Stopwatch watch;
  const Solution<S> rough = value_iteration(model,
                                            {.discount = options.discount,
                                             .tolerance = options.tolerance / 2,
                                             .max_iterations = options.max_iterations,
                                             .threads = options.threads},
                                            progress);
  const detail::Collapsed collapsed =
      detail::collapse(graph, {.of = std::vector<std::int32_t>(static_cast<std::size_t>(model.states()), -1),
                               .inside = RowSet(graph.rows(), 0)});
  const auto reward = [&model](int s, int a) { return static_cast<double>(model.reward(s, a)); };
  std::vector<detail::Bracket> start(static_cast<std::size_t>(model.states()));
  for (std::size_t s = 0; s < start.size(); ++s)
    start[s].lower = start[s].upper = static_cast<double>(rough.value[static_cast<std::ptrdiff_t>(s)]);
  detail::IntervalSweeps sweeps(model, collapsed, reward, options.discount, false, std::move(start));
  sweeps.bound_by_change(where);
  IntervalSolution<S> result;
  result.iterations = rough.iterations;
  detail::narrow_bounds(sweeps, options.tolerance, options.max_iterations, result, progress);
  detail::finish_intervals(sweeps.values(), true, options.tolerance, 1, result);
  result.policy = detail::expand_policy(model, graph, {}, collapsed, sweeps.choice());
  result.seconds = watch.seconds();
  return result;
}

}  // namespace valence
