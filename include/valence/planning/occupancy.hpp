#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/policy/divergences.hpp"

/// Occupancy measures: how often a policy is in each state and takes each action. A policy's value is linear in its
/// occupancy, so penalties, constraints and exploration bonuses are functions of it. (Puterman 1994, section 6.9.)
namespace valence {

/// `discount` in [0, 1), or in [0, 1] with a `horizon`, the number of steps counted; 0: all.
struct OccupancyOptions {
  double discount = 0.99;
  std::size_t horizon = 0;
};

namespace detail {

/// Gaussian elimination without exchanging rows, which is stable for the two kinds of matrices here: diagonally
/// dominant ones, I - discount P, and positive definite ones. (Golub & Van Loan 2013, sections 4.1 and 4.2.)
class Elimination {
 public:
  explicit Elimination(Matrix<double> a) : lu_(std::move(a)) {
    for (Eigen::Index k = 0; k + 1 < lu_.rows(); ++k) {
      const Eigen::Index rest = lu_.rows() - k - 1;
      lu_.col(k).tail(rest) /= lu_(k, k);
      lu_.bottomRightCorner(rest, rest).noalias() -= lu_.col(k).tail(rest) * lu_.row(k).tail(rest);
    }
  }
  /// x of A x = b.
  Vector<double> solve(Vector<double> b) const {
    const Eigen::Index n = lu_.rows();
    for (Eigen::Index k = 0; k < n; ++k) b.tail(n - k - 1) -= b[k] * lu_.col(k).tail(n - k - 1);
    for (Eigen::Index k = n - 1; k >= 0; --k) {
      b[k] /= lu_(k, k);
      b.head(k) -= b[k] * lu_.col(k).head(k);
    }
    return b;
  }
  /// x of A' x = b.
  Vector<double> solve_transposed(Vector<double> b) const {
    const Eigen::Index n = lu_.rows();
    for (Eigen::Index k = 0; k < n; ++k) b[k] = (b[k] - lu_.col(k).head(k).dot(b.head(k))) / lu_(k, k);
    for (Eigen::Index k = n - 1; k >= 0; --k) b[k] -= lu_.col(k).tail(n - k - 1).dot(b.tail(n - k - 1));
    return b;
  }

 private:
  Matrix<double> lu_;  ///< the multipliers below the diagonal, the rest on and above it
};

/// f(s, t, P(t | s)) for every transition of the chain that a policy makes, some of them in parts.
template <class M, class F>
void for_transitions(const M& model, const Matrix<typename M::Scalar>& policy, F&& f) {
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; a < model.actions() && !model.terminal(s); ++a)
      if (const double p = static_cast<double>(policy(a, s)); p > 0)
        for (const auto& to : model.successors(s, a)) f(s, to.next, p * static_cast<double>(to.probability));
}

/// One step of a distribution of states: sum_s P(t | s) x(s), for every t.
template <class M>
Vector<double> push_forward(const M& model, const Matrix<typename M::Scalar>& policy, const Vector<double>& x) {
  Vector<double> y = Vector<double>::Zero(x.size());
  for_transitions(model, policy, [&](int s, int t, double p) { y[t] += p * x[s]; });
  return y;
}

/// The chain of a stochastic policy, by whatever is asked of it: (I - discount P_pi')^-1 x and (I - discount P_pi)^-1
/// x. Eliminates where a dense matrix is cheap; else adds the powers up, until what is left of them is below 1e-17.
template <class M>
class PolicyChain {
  using S = typename M::Scalar;

 public:
  static constexpr int dense_states = 512;
  static constexpr std::size_t powers = 1'000'000;

  PolicyChain(std::string_view where, const M& model, const Matrix<S>& policy, double discount)
      : model_(model), policy_(policy), discount_(discount), dense_(Matrix<double>()) {
    if (model.states() <= dense_states) {
      Matrix<double> a = Matrix<double>::Identity(model.states(), model.states());
      for_transitions(model, policy, [&](int s, int t, double p) { a(s, t) -= discount * p; });
      dense_ = Elimination(std::move(a));
      return;
    }
    for (double left = 1; left > 1e-17; left *= discount)
      if (++terms_ > powers)
        fail(where, "discount is {}, too near to 1 for {} states; expected one below {}", discount, model.states(),
             1 - 4e-5);
  }

  /// The state frequencies d = x + discount P' d.
  Vector<double> frequencies(const Vector<double>& x) const {
    if (terms_ == 0) return dense_.solve_transposed(x);
    return sum_of_powers(x, [this](const Vector<double>& y) { return push_forward(model_, policy_, y); });
  }
  /// The values v = x + discount P v.
  Vector<double> values(const Vector<double>& x) const {
    if (terms_ == 0) return dense_.solve(x);
    return sum_of_powers(x, [this](const Vector<double>& y) {
      Vector<double> z = Vector<double>::Zero(y.size());
      for_transitions(model_, policy_, [&](int s, int t, double p) { z[s] += p * y[t]; });
      return z;
    });
  }

 private:
  template <class F>
  Vector<double> sum_of_powers(Vector<double> x, F&& step) const {
    Vector<double> sum = x;
    for (std::size_t k = 0; k < terms_; ++k) {
      x = discount_ * step(x);
      sum += x;
    }
    return sum;
  }

  const M& model_;
  const Matrix<S>& policy_;
  double discount_;
  std::size_t terms_ = 0;  ///< 0: eliminated
  Elimination dense_;
};

template <class M>
Vector<double> first_states(std::string_view where, const M& model) {
  const auto initial = model.initial();
  if (initial.empty()) fail(where, "the model says nowhere in which state episodes begin; expected initial()");
  check_size(where, "initial", initial.size(), static_cast<std::size_t>(model.states()));
  Vector<double> first(model.states());
  for (std::size_t s = 0; s < initial.size(); ++s)
    first[static_cast<std::ptrdiff_t>(s)] = static_cast<double>(initial[s]);
  return first;
}

/// Entries not negative and finite, 0 for pairs that aren't available.
template <class M>
void check_occupancy(std::string_view where, std::string_view argument, const M& model,
                     const Matrix<typename M::Scalar>& mu) {
  check_shape(where, argument, mu.rows(), mu.cols(), model.actions(), model.states());
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; a < model.actions(); ++a) {
      const auto x = mu(a, s);
      if (!(x >= 0) || !std::isfinite(x))
        fail(where, "{}({}, {}) is {}; expected a number of at least 0", argument, a, s, x);
      if (x > 0 && (model.terminal(s) || !model.available(s, a)))
        fail(where, "{}({}, {}) is {}, but action {} is not available in state {}; expected 0", argument, a, s, x, a,
             s);
    }
}

}  // namespace detail

/// The occupancy of a policy from the model's first states, actions x states, not negative:
///
///     mu(a, s) = d(s) policy(a, s),   d = (1 - discount) (I - discount P_policy')^-1 initial
///
/// so that J = sum mu r / (1 - discount). With a horizon H, d is the mean of the first H state distributions weighted
/// by discount^t: plainly their average with discount 1. It sums to 1, less what is spent in terminal states. `policy`
/// is actions x states, column s a distribution over the actions available in s; terminal columns aren't read. Throws
/// `Error` for a policy that isn't one, a model without `initial()`, and discount 1 without a horizon.
template <FiniteModel M>
Matrix<typename M::Scalar> occupancy(const M& model, const Matrix<typename M::Scalar>& policy,
                                     const OccupancyOptions& options = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "occupancy";
  check_range(where, "discount", options.discount, 0, 1);
  if (options.discount == 1 && options.horizon == 0)
    fail(where, "discount is 1 and horizon 0; expected a discount below 1, or a horizon of at least 1");
  detail::check_policy(where, model, policy);
  const Vector<double> first = detail::first_states(where, model);
  Vector<double> d;
  if (options.horizon == 0) {
    d = (1 - options.discount) * detail::PolicyChain<M>(where, model, policy, options.discount).frequencies(first);
  } else {
    Vector<double> x = first;
    double weight = 1, total = 1;
    d = x;
    for (std::size_t t = 1; t < options.horizon; ++t) {
      x = detail::push_forward(model, policy, x);
      weight *= options.discount;
      d += weight * x;
      total += weight;
    }
    d /= total;
  }
  Matrix<S> mu = Matrix<S>::Zero(model.actions(), model.states());
  for (int s = 0; s < model.states(); ++s)
    if (!model.terminal(s)) mu.col(s) = static_cast<S>(d[s]) * policy.col(s);
  return mu;
}

/// The policy that an occupancy belongs to: mu(a, s) / sum_a' mu(a', s); uniform over the available actions where the
/// sum is 0, and 0 in terminal states. Actions x states.
template <FiniteModel M>
Matrix<typename M::Scalar> policy_from_occupancy(const M& model, const Matrix<typename M::Scalar>& mu) {
  using S = typename M::Scalar;
  detail::check_occupancy("policy_from_occupancy", "mu", model, mu);
  Matrix<S> policy = Matrix<S>::Zero(model.actions(), model.states());
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) continue;
    const S largest = mu.col(s).maxCoeff();
    for (int a = 0; a < model.actions(); ++a)
      // Scaled first, so that the sum of subnormal frequencies still divides.
      policy(a, s) = largest > 0 ? mu(a, s) / largest : model.available(s, a) ? S(1) : S(0);
    policy.col(s) /= policy.col(s).sum();
  }
  return policy;
}

/// The gradient of any utility F(mu) of a softmax policy's occupancy with respect to its logits, one a pair: the
/// ordinary policy gradient with the pseudo-reward w = dF/dmu (actions x states) as its reward,
///
///     dF / dlogit(a, s) = mu(a, s) (Q_w(s, a) - V_w(s)),   V_w = (I - discount P_policy)^-1 sum_a policy w.
///
/// With w the model's rewards F is (1 - discount) J. Entries of w where the policy is 0 aren't read; no horizon.
template <FiniteModel M>
Matrix<typename M::Scalar> occupancy_gradient(const M& model, const Matrix<typename M::Scalar>& policy,
                                              const Matrix<typename M::Scalar>& pseudo_reward,
                                              const OccupancyOptions& options = {}) {
  using S = typename M::Scalar;
  constexpr auto where = "occupancy_gradient";
  check_range(where, "discount", options.discount, 0, 1);
  if (options.discount == 1 || options.horizon != 0)
    fail(where, "discount is {} and horizon {}; expected a discount below 1 and no horizon", options.discount,
         options.horizon);
  detail::check_policy(where, model, policy);
  check_shape(where, "pseudo_reward", pseudo_reward.rows(), pseudo_reward.cols(), model.actions(), model.states());
  Vector<double> mean = Vector<double>::Zero(model.states());
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; a < model.actions() && !model.terminal(s); ++a) {
      if (policy(a, s) == 0) continue;
      if (!std::isfinite(pseudo_reward(a, s)))
        fail(where, "pseudo_reward({}, {}) is {}; expected a finite number", a, s, pseudo_reward(a, s));
      mean[s] += static_cast<double>(policy(a, s)) * static_cast<double>(pseudo_reward(a, s));
    }
  const detail::PolicyChain<M> chain(where, model, policy, options.discount);
  const Vector<double> d = (1 - options.discount) * chain.frequencies(detail::first_states(where, model));
  const Vector<double> v = chain.values(mean);
  Matrix<S> gradient = Matrix<S>::Zero(model.actions(), model.states());
  for (int s = 0; s < model.states(); ++s)
    for (int a = 0; a < model.actions() && !model.terminal(s); ++a) {
      if (policy(a, s) == 0) continue;
      double q = static_cast<double>(pseudo_reward(a, s));
      for (const auto& to : model.successors(s, a))
        q += options.discount * static_cast<double>(to.probability) * v[to.next];
      gradient(a, s) = static_cast<S>(d[s] * static_cast<double>(policy(a, s)) * (q - v[s]));
    }
  return gradient;
}

namespace detail {

/// f(row, column, mu / base) of every entry where base is positive; elsewhere mu must be 0.
template <class S, class F>
void for_ratios(std::string_view where, const Matrix<S>& mu, const Matrix<S>& base, F&& f) {
  check_shape(where, "base", base.rows(), base.cols(), mu.rows(), mu.cols());
  for (Eigen::Index s = 0; s < mu.cols(); ++s)
    for (Eigen::Index a = 0; a < mu.rows(); ++a) {
      if (!(mu(a, s) >= 0) || !std::isfinite(mu(a, s)))
        fail(where, "mu({}, {}) is {}; expected a number of at least 0", a, s, mu(a, s));
      if (!(base(a, s) >= 0) || !std::isfinite(base(a, s)))
        fail(where, "base({}, {}) is {}; expected a number of at least 0", a, s, base(a, s));
      if (base(a, s) > 0)
        f(a, s, static_cast<double>(mu(a, s)) / static_cast<double>(base(a, s)));
      else if (mu(a, s) > 0)
        fail(where, "base({}, {}) is 0 where mu is {}; expected the base to take action {} in state {} too", a, s,
             mu(a, s), a, s);
    }
}

}  // namespace detail

/// D(mu || base) of two occupancies of one shape, actions x states. Throws `Error` naming a pair that has mu and no
/// base.
template <FDivergence D, Scalar S>
double divergence(const D& d, const Matrix<S>& mu, const Matrix<S>& base) {
  double sum = 0;
  detail::for_ratios("divergence", mu, base, [&](Eigen::Index a, Eigen::Index s, double x) {
    sum += static_cast<double>(base(a, s)) * d.value(x);
  });
  return sum;
}

/// dD / dmu, actions x states: f'(mu / base), and 0 where the base is 0. It is -infinity for the Kullback-Leibler
/// divergence where mu is 0, which `occupancy_gradient` doesn't read. The pseudo-reward of -lambda D is -lambda times
/// this, and of -lambda sqrt(D) it is -lambda / (2 sqrt(D)) times this.
template <FDivergence D, Scalar S>
Matrix<S> pseudo_reward(const D& d, const Matrix<S>& mu, const Matrix<S>& base) {
  Matrix<S> w = Matrix<S>::Zero(mu.rows(), mu.cols());
  detail::for_ratios("pseudo_reward", mu, base,
                     [&](Eigen::Index a, Eigen::Index s, double x) { w(a, s) = static_cast<S>(d.derivative(x)); });
  return w;
}

namespace detail {

/// The dual objective of `occupancy_dual` at one lambda: its value, its gradient (the violation of the flow equations)
/// and Newton's step. Only pairs that the base takes have columns.
template <FDivergence D>
class FlowDual {
 public:
  /// Multipliers v, and what they give.
  struct Point {
    Vector<double> v, mu, weight, gradient;  ///< weight: of a pair in the Hessian
    double dual = 0;
    double stationarity() const { return gradient.cwiseAbs().maxCoeff(); }
  };
  struct Column {
    int state, action;
    std::size_t begin;  ///< its entries of M' = (discount P - I)'
    double base, reward;
  };

  template <class M>
  FlowDual(const M& model, const Matrix<typename M::Scalar>& base, const D& d, double discount, Vector<double> source)
      : d_(d), source_(std::move(source)) {
    for (int s = 0; s < model.states(); ++s)
      for (int a = 0; a < model.actions(); ++a) {
        const double b = static_cast<double>(base(a, s));
        if (b == 0) continue;
        columns_.push_back({s, a, entries_.size(), b, static_cast<double>(model.reward(s, a))});
        entries_.push_back({s, -1});
        for (const auto& to : model.successors(s, a))
          entries_.push_back({to.next, discount * static_cast<double>(to.probability)});
      }
  }

  const std::vector<Column>& columns() const { return columns_; }
  /// Largest reward minus smallest.
  double reward_range() const {
    const auto [low, high] = std::minmax_element(columns_.begin(), columns_.end(),
                                                 [](const Column& x, const Column& y) { return x.reward < y.reward; });
    return high->reward - low->reward;
  }
  Point zero() const {
    const Eigen::Index n = source_.size(), pairs = static_cast<Eigen::Index>(columns_.size());
    return {Vector<double>::Zero(n), Vector<double>::Zero(pairs), Vector<double>::Zero(pairs), Vector<double>::Zero(n)};
  }

  /// Everything of a point from its v.
  void evaluate(Point& x, double lambda) const {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      double e = columns_[i].reward;
      for (const Entry& m : column(i)) e += m.coefficient * x.v[m.state];
      x.mu[index(i)] = e / lambda;
    }
    x.dual = source_.dot(x.v);
    if constexpr (D::normalized) {
      for (std::size_t i = 0; i < columns_.size(); ++i) x.mu[index(i)] += elementary::log(columns_[i].base);
      x.dual += lambda * valence::log_sum_exp(x.mu);
      valence::softmax(std::span<const double>(view(x.mu)), view(x.mu));
      x.weight = x.mu;
    } else {
      double sum = 0;
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        const double y = x.mu[index(i)], b = columns_[i].base;
        sum += b * d_.conjugate(y);
        x.mu[index(i)] = b * d_.conjugate_derivative(y), x.weight[index(i)] = b * d_.conjugate_curvature(y);
      }
      x.dual += lambda * sum;
    }
    x.gradient = source_;
    for (std::size_t i = 0; i < columns_.size(); ++i)
      for (const Entry& m : column(i)) x.gradient[m.state] += m.coefficient * x.mu[index(i)];
  }

  /// Moves along Newton's direction as far as the objective falls by a quarter of what is promised (Armijo), or where
  /// that is below rounding, the gradient. False if nowhere; `trial` is memory for a point.
  bool newton_step(Point& at, Point& trial, double lambda) const {
    const Eigen::Index n = source_.size();
    Matrix<double> hessian = Matrix<double>::Zero(n, n);
    for (std::size_t i = 0; i < columns_.size(); ++i)
      for (const Entry& x : column(i))
        for (const Entry& y : column(i))
          hessian(x.state, y.state) += at.weight[index(i)] * x.coefficient * y.coefficient;
    if constexpr (D::normalized) {
      const Vector<double> flow = at.gradient - source_;  // M' mu
      hessian.noalias() -= flow * flow.transpose();
    }
    hessian /= lambda;
    hessian.diagonal().array() +=
        1e-9 * hessian.trace() / static_cast<double>(n) + (std::numeric_limits<double>::min)();
    const Vector<double> step = -Elimination(std::move(hessian)).solve(at.gradient);
    const double slope = at.gradient.dot(step);
    const double rounding = 4 * std::numeric_limits<double>::epsilon() * (1 + std::abs(at.dual));
    double t = 1;
    for (int halvings = 0; halvings < 60; ++halvings, t /= 2) {
      trial.v = at.v + t * step;
      evaluate(trial, lambda);
      if (std::isfinite(trial.dual) &&
          (trial.dual <= at.dual + 0.25 * t * slope ||
           (std::abs(trial.dual - at.dual) <= rounding && trial.stationarity() < at.stationarity()))) {
        std::swap(at, trial);
        return true;
      }
    }
    return false;
  }

 private:
  struct Entry {
    int state;
    double coefficient;
  };
  static Eigen::Index index(std::size_t i) { return static_cast<Eigen::Index>(i); }
  std::span<const Entry> column(std::size_t i) const {
    const std::size_t end = i + 1 < columns_.size() ? columns_[i + 1].begin : entries_.size();
    return {entries_.data() + columns_[i].begin, end - columns_[i].begin};
  }

  D d_;
  Vector<double> source_;  ///< (1 - discount) initial
  std::vector<Column> columns_;
  std::vector<Entry> entries_;
};

}  // namespace detail

/// `discount` in [0, 1); `tolerance` > 0 is the largest violation of the flow equations, `max_iterations` >= 1 the
/// number of Newton steps at most.
struct OccupancyDualOptions {
  double discount = 0.99, tolerance = 1e-10;
  std::size_t max_iterations = 200;
};

/// The best occupancy, and what certifies it: mu >= 0 satisfies the flow equations up to `stationarity`, so it is
/// (nearly) an occupancy, worth `primal`; and nothing is worth more than `dual`.
struct OccupancyDual {
  Matrix<double> mu = {};     ///< actions x states
  Vector<double> value = {};  ///< the multipliers of the flow equations, an entry a state: a regularised value function
  double primal = 0;          ///< sum mu r - lambda D(mu || base)
  double dual = 0;            ///< the objective that was minimised
  double stationarity = std::numeric_limits<double>::infinity();  ///< largest entry of |(1 - discount) initial + M' mu|
  std::size_t iterations = 0;                                     ///< Newton steps
  bool converged = false;  ///< stationarity is at most the tolerance; false where steps or rounding ended it
};

/// max over occupancies mu of sum mu r - lambda D(mu || base), by its dual (as in DICE: Nachum & Dai 2020), which is
/// convex and has one variable a state:
///
///     min over V of (1 - discount) initial . V + lambda sum base f*(e / lambda),   e = r + discount P V - V,
///
/// and for the Kullback-Leibler divergence lambda log sum base exp(e / lambda) in place of the sum. Then mu = base
/// f*'(e / lambda), exactly 0 where f says so. Damped Newton steps on the Hessian M' diag(base f*'') M / lambda, M =
/// discount P - I, with a ridge of 1e-9 of its mean diagonal, for a lambda that falls to the one asked for; dense, for
/// models of some hundreds of states. `base` is actions x states and sums to 1: the occupancy of some policy, or
/// positive wherever it may be needed. As lambda grows mu goes to the base if that is an occupancy, as it falls to that
/// of an optimal policy (in more steps).
///
/// Throws `Error` for a terminal state (mu wouldn't sum to 1: give it a transition to itself, worth 0), a base that
/// isn't a distribution over available pairs, and lambda not above 0.
template <FiniteModel M, FDivergence D>
OccupancyDual occupancy_dual(const M& model, const Matrix<typename M::Scalar>& base, const D& d, double lambda,
                             const OccupancyDualOptions& options = {}, Progress progress = {}) {
  constexpr auto where = "occupancy_dual";
  check_range(where, "discount", options.discount, 0, 1);
  if (options.discount == 1) fail(where, "discount is 1; expected one below 1");
  check_positive(where, "lambda", lambda);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
  detail::check_occupancy(where, "base", model, base);
  check_probabilities(where, "base", view(base));
  for (int s = 0; s < model.states(); ++s)
    if (model.terminal(s))
      fail(where, "state {} is terminal; expected none (a transition to itself, worth 0, does instead)", s);
  const Vector<double> source = (1 - options.discount) * detail::first_states(where, model);

  const detail::FlowDual<D> flow(model, base, d, options.discount, source);
  auto at = flow.zero(), trial = at;
  OccupancyDual result;
  bool go_on = true;
  // From a lambda at which the objective is nearly quadratic down to the one asked for, each from where the last ended.
  for (double stage = (std::max)(lambda, flow.reward_range());; stage = (std::max)(lambda, stage / 4)) {
    const double enough = stage > lambda ? (std::max)(options.tolerance, 1e-4) : options.tolerance;
    flow.evaluate(at, stage);
    for (bool moves = at.stationarity() > enough; moves && go_on && result.iterations < options.max_iterations;) {
      const double before = at.stationarity();
      if (!flow.newton_step(at, trial, stage)) break;
      ++result.iterations;
      // Where it is there, on as long as it falls fast: the last step costs little and gives many digits.
      moves = at.stationarity() > enough || (stage == lambda && at.stationarity() < before / 4);
      go_on = progress({.step = result.iterations,
                        .total = options.max_iterations,
                        .task = "occupancy dual",
                        .metric = "stationarity",
                        .value = at.stationarity()});
    }
    if (stage == lambda) break;
  }
  result.mu = Matrix<double>::Zero(model.actions(), model.states());
  double penalty = 0;
  for (std::size_t i = 0; i < flow.columns().size(); ++i) {
    const auto& c = flow.columns()[i];
    const double mu = at.mu[static_cast<Eigen::Index>(i)];
    result.mu(c.action, c.state) = mu;
    result.primal += mu * c.reward;
    penalty += c.base * d.value(mu / c.base);
  }
  result.primal -= lambda * penalty;
  result.dual = at.dual;
  result.value = at.v;
  result.stationarity = at.stationarity();
  result.converged = result.stationarity <= options.tolerance;
  return result;
}

}  // namespace valence
