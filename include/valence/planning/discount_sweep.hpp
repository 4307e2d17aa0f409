#pragma once

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/piecewise.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"

/// How the optimal policy depends on the discount: exactly, as pieces between breakpoints. It needs Eigen's
/// eigenvalues, so this header costs more to compile than its neighbours.
namespace valence {

/// [low, high] within [0, 1).
struct DiscountSweepOptions {
  double low = 0, high = 0.999;
  std::size_t max_switches = 100'000;  ///< of an action in a state, over the whole range; an `Error` beyond
};

/// Optimal policies of all discounts in [starts[0], high]: policy i, an action a state and -1 in terminal ones, is
/// optimal from starts[i] to the start of the next.
struct DiscountSweep {
  std::vector<double> starts = {};
  std::vector<std::vector<int>> policies = {};
  double high = 0;
  /// How often an action was passed over because it is worth as much as the policy's at every discount.
  std::size_t ties = 0;

  /// The policy for a discount in [starts[0], high].
  std::span<const int> policy(double discount) const {
    check_range("DiscountSweep", "discount", discount, starts.front(), high);
    const auto after = std::upper_bound(starts.begin(), starts.end(), discount);
    return policies[static_cast<std::size_t>(after - starts.begin()) - 1];
  }
};

namespace detail {

/// A policy in a finite model, as functions of the discount.
template <class M>
class DiscountedPolicy {
 public:
  DiscountedPolicy(const M& model, std::span<const int> policy) : model_(model) {
    const std::ptrdiff_t n = model.states();
    transition_ = Matrix<double>::Zero(n, n);
    reward_ = Vector<double>::Zero(n);
    for (int s = 0; s < model.states(); ++s) {
      if (model.terminal(s)) continue;
      const int a = policy[static_cast<std::size_t>(s)];
      for (const auto& to : model.successors(s, a)) transition_(s, to.next) += static_cast<double>(to.probability);
      reward_[s] = static_cast<double>(model.reward(s, a));
    }
  }

  /// V, from (I - discount P) V = r.
  Vector<double> value(double discount) const { return solve(discount, reward_); }
  /// dV / d discount, from (I - discount P) V' = P V.
  Vector<double> slope(double discount, const Vector<double>& v) const { return solve(discount, transition_ * v); }

  /// r(s, a) + discount P_sa V - V(s).
  double advantage(int s, int a, double discount, const Vector<double>& v) const {
    return static_cast<double>(model_.reward(s, a)) + discount * ahead(s, a, v) - v[s];
  }
  /// P_sa v.
  double ahead(int s, int a, const Vector<double>& v) const {
    double sum = 0;
    for (const auto& to : model_.successors(s, a)) sum += static_cast<double>(to.probability) * v[to.next];
    return sum;
  }

  /// The discounts in (low, high), in increasing order, where the advantage of (s, a) may change its sign: the
  /// determinant of A - discount B, with A = [[I, r], [e_s', r(s, a)]] and B = [[P, 0], [P_sa, 0]], is the advantage
  /// times det(I - discount P), so they are the finite real generalised eigenvalues of that pencil. A few more do no
  /// harm: what counts is the sign in between. B is singular, which the QZ algorithm takes badly: with a `shift` where
  /// the advantage isn't 0 they are shift + 1 / mu of the eigenvalues mu of (A - shift B)^-1 B.
  std::vector<double> roots(int s, int a, double shift, double low, double high) const {
    const std::ptrdiff_t n = reward_.size();
    Matrix<double> left = Matrix<double>::Identity(n + 1, n + 1), right = Matrix<double>::Zero(n + 1, n + 1);
    left.col(n).head(n) = reward_;
    left.row(n).setZero();
    left(n, s) = 1;
    left(n, n) = static_cast<double>(model_.reward(s, a));
    right.topLeftCorner(n, n) = transition_;
    for (const auto& to : model_.successors(s, a)) right(n, to.next) += static_cast<double>(to.probability);
    Eigen::EigenSolver<Matrix<double>> solver;
    // Rarely the iteration doesn't converge. The roots are the same from any shift, so then it starts from another.
    for (const double back : {0.0, 0.037, 0.173, 0.411}) {
      const double from = shift - back;
      const Lu lu(Matrix<double>(left - from * right), {}, "discount_sweep");
      Matrix<double> inverted = right;
      for (std::ptrdiff_t j = 0; j < n; ++j) {
        const std::span<double> column(inverted.data() + j * (n + 1), static_cast<std::size_t>(n + 1));
        lu.solve(column, column);
      }
      solver.compute(inverted, false);
      if (solver.info() == Eigen::Success) {
        shift = from;
        break;
      }
    }
    if (solver.info() != Eigen::Success) fail("discount_sweep", "the eigenvalues of a pencil didn't converge");
    std::vector<double> result;
    for (std::ptrdiff_t i = 0; i <= n; ++i) {
      const double re = solver.eigenvalues()[i].real(), im = solver.eigenvalues()[i].imag();
      if (re == 0 || std::abs(im) > 1e-7 * std::abs(re)) continue;  // infinite, or not real but for rounding
      if (const double x = shift + 1 / re; x > low && x < high) result.push_back(x);
    }
    std::sort(result.begin(), result.end());
    return result;
  }

 private:
  Vector<double> solve(double discount, const Vector<double>& b) const {
    Matrix<double> a = -discount * transition_;
    a.diagonal().array() += 1;
    Vector<double> x(b.size());
    Lu(std::move(a), {}, "discount_sweep").solve(view(b), view(x));
    return x;
  }

  const M& model_;
  Matrix<double> transition_;
  Vector<double> reward_;
};

/// Breakpoints closer than this are one.
inline constexpr double discount_resolution = 1e-10;

/// Where an action becomes better than the policy's.
struct DiscountSwitch {
  double discount;
  int state = -1, action = -1;
};

/// The first switch in [from, high), or none (state -1).
template <class M>
DiscountSwitch next_switch(const M& model, const DiscountedPolicy<M>& process, std::span<const int> policy, double from,
                           double high, std::size_t& ties) {
  DiscountSwitch first{high};
  const double length = high - from;
  const double probe[] = {from + 0.27 * length, from + 0.53 * length, from + 0.81 * length};
  const Vector<double> value[] = {process.value(probe[0]), process.value(probe[1]), process.value(probe[2])};
  const double largest = (std::max)(value[0].cwiseAbs().maxCoeff(), value[2].cwiseAbs().maxCoeff());
  const double epsilon = 16 * static_cast<double>(model.states()) * std::numeric_limits<double>::epsilon();
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; !model.terminal(s) && a < model.actions(); ++a) {
      if (a == policy[static_cast<std::size_t>(s)] || !model.available(s, a)) continue;
      const double rounding = epsilon * (largest + std::abs(static_cast<double>(model.reward(s, a))));
      // A tie for all discounts makes the pencil singular.
      double shift = from, most = rounding;
      for (int k = 0; k < 3; ++k)
        if (const double size = std::abs(process.advantage(s, a, probe[k], value[k])); size > most)
          shift = probe[k], most = size;
      if (!(most > rounding)) {
        ++ties;
        continue;
      }
      std::vector<double> ends = process.roots(s, a, shift, from + discount_resolution, first.discount);
      ends.insert(ends.begin(), from);
      ends.push_back(first.discount);
      for (std::size_t i = 0; i + 1 < ends.size() && ends[i] < first.discount; ++i) {
        const double middle = ends[i] + (ends[i + 1] - ends[i]) / 2;
        if (process.advantage(s, a, middle, process.value(middle)) > rounding) first = {ends[i], s, a};
      }
    }
  return first;
}

/// The root of an advantage near a switch, by Newton's method: eigenvalues lose a few digits.
template <class M>
double polished(const DiscountedPolicy<M>& process, const DiscountSwitch& at, double low, double high) {
  double best = at.discount, error = std::numeric_limits<double>::infinity();
  for (double x = best; x >= low && x <= high && std::abs(x - at.discount) < 1e-6;) {
    const Vector<double> v = process.value(x);
    const double advantage = process.advantage(at.state, at.action, x, v);
    if (!(std::abs(advantage) < error)) break;
    best = x, error = std::abs(advantage);
    const Vector<double> slope = process.slope(x, v);
    x -= advantage /
         (process.ahead(at.state, at.action, v) + x * process.ahead(at.state, at.action, slope) - slope[at.state]);
  }
  return best;
}

}  // namespace detail

/// All optimal policies from one discount to another (Balcan, Nguyen & Sharma 2025 call the value of a tuned algorithm
/// as a function of its hyper-parameter a dual; this makes the planner's exact). Between breakpoints the policy stays;
/// a breakpoint is where the advantage of some action, a rational function of the discount, becomes positive, and these
/// points are generalised eigenvalues of a pencil of states + 1 rows. Switches one action at a time, first to the
/// policy that is optimal just above `low`, then at the smallest breakpoint, and so on. Breakpoints closer than 1e-10
/// are one.
///
/// Each piece costs O(pairs x states^3): for models of up to some tens of states. Throws `Error` for a range that isn't
/// in [0, 1) or is empty, and beyond `max_switches`.
///
///     DiscountSweep sweep = discount_sweep(model, {.high = 0.99});
template <FiniteModel M>
DiscountSweep discount_sweep(const M& model, const DiscountSweepOptions& options = {}) {
  constexpr auto where = "discount_sweep";
  check_range(where, "low", options.low, 0, 1);
  check_range(where, "high", options.high, options.low, 1);
  if (!(options.low < options.high && options.high < 1))
    fail(where, "the range is [{}, {}]; expected low < high < 1", options.low, options.high);

  DiscountSweep sweep{.high = options.high};
  const Vector<typename M::Scalar> nothing = Vector<typename M::Scalar>::Zero(model.states());
  std::vector<int> policy = greedy_policy(model, view(nothing), {.threads = 1});
  sweep.starts.push_back(options.low);
  sweep.policies.push_back(policy);
  double from = options.low;
  for (std::size_t switches = 0;; ++switches) {
    if (switches >= options.max_switches) fail(where, "more than {} switches up to discount {}", switches, from);
    const detail::DiscountedPolicy<M> process(model, policy);
    const auto next = detail::next_switch(model, process, std::span<const int>(policy), from, options.high, sweep.ties);
    if (next.state < 0) return sweep;
    policy[static_cast<std::size_t>(next.state)] = next.action;
    if (next.discount > from + detail::discount_resolution) from = detail::polished(process, next, from, options.high);
    if (from - sweep.starts.back() > detail::discount_resolution) {
      sweep.starts.push_back(from);
      sweep.policies.push_back(policy);
    } else {
      sweep.policies.back() = policy;
    }
  }
}

/// The range of discounts to plan with, as for `DiscountSweepOptions`; `evaluation_discount` in [0, 1) is the one that
/// counts.
struct DiscountDualOptions {
  double low = 0, high = 0.999;
  double evaluation_discount = 0.99;
  bool relative = false;  ///< divide by the value of the policy that is optimal in the true model; it must be > 0
};

/// The utility of planning with a discount in an estimated model: the value, in the true model at
/// `evaluation_discount`, of the policy that is optimal in the estimated one, from the true model's first states
/// (uniformly from all states where it gives none). Constant in pieces: those of `discount_sweep`. Throws `Error` for
/// models of other sizes or terminal states and options out of range.
template <FiniteModel Estimated, FiniteModel True>
PiecewiseConstant discount_dual(const Estimated& estimated, const True& truth,
                                const DiscountDualOptions& options = {}) {
  constexpr auto where = "discount_dual";
  check_range(where, "evaluation_discount", options.evaluation_discount, 0, std::nextafter(1.0, 0.0));
  check_size(where, "the estimated model", static_cast<std::size_t>(estimated.states()),
             static_cast<std::size_t>(truth.states()));
  const auto worth = [&](std::span<const int> policy) {
    for (int s = 0; s < truth.states(); ++s)
      if (!truth.terminal(s) && (estimated.terminal(s) || !truth.available(s, policy[static_cast<std::size_t>(s)])))
        fail(where, "the estimated model has no action in state {} that the true one allows", s);
    const Vector<double> v = detail::DiscountedPolicy<True>(truth, policy).value(options.evaluation_discount);
    const auto initial = truth.initial();
    if (initial.empty()) return v.mean();
    double sum = 0;
    for (std::ptrdiff_t s = 0; s < v.size(); ++s)
      sum += static_cast<double>(initial[static_cast<std::size_t>(s)]) * v[s];
    return sum;
  };
  double scale = 1;
  if (options.relative) {
    const double at = options.evaluation_discount;
    scale = worth(discount_sweep(truth, {.low = at, .high = at + (1 - at) / 2}).policies.front());
    if (!(scale > 0)) fail(where, "the true model's optimal value is {}; expected more than 0", scale);
  }
  const DiscountSweep sweep = discount_sweep(estimated, {.low = options.low, .high = options.high});
  std::vector<double> values;
  for (const auto& policy : sweep.policies) values.push_back(worth(policy) / scale);
  return {sweep.starts, std::move(values), sweep.high};
}

}  // namespace valence
