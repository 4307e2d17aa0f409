#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/parallel.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/particles.hpp"
#include "valence/distributional/projection.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/policy_evaluation.hpp"
#include "valence/planning/stock_augmentation.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// The law of the return of every state, on shared atoms.
struct ReturnLaws {
  Support support = {};
  Matrix<double> probability = {};  ///< atoms x states: column s is the law of the return from s
  std::size_t iterations = 0;       ///< sweeps
  double residual = 0;              ///< the last sweep's largest change of a law, in the 1-Wasserstein distance
  /// No law is further than this from the fixed point of the projected operator, in the 1-Wasserstein distance.
  double bound = std::numeric_limits<double>::infinity();
  /// The fixed point is no further than this from the exact laws, where the support contains all returns.
  double projection_bound = std::numeric_limits<double>::infinity();
  double seconds = 0;      ///< wall clock
  bool converged = false;  ///< `bound` is at most the tolerance asked for

  /// The law of the return from s.
  Particles law(int s) const {
    check_range("ReturnLaws::law", "s", s, 0, static_cast<int>(probability.cols()) - 1);
    Particles result;
    for (int k = 0; k < support.atoms; ++k) {
      result.atoms.push_back(support.atom(k));
      result.weights.push_back(probability(k, s));
    }
    return tidy(result);
  }
};

/// `discount` in [0, 1). `atoms` >= 2 at equal distances, from `min_return` to `max_return`; where these are NaN, from
/// the smallest return that the model's rewards allow to the largest. Laws are held in a narrower support that is
/// given. `tolerance` > 0 is the largest error of a law that is asked for, in units of the return (`bound`); `threads`
/// as for `parallel_for`.
struct DistributionalEvaluationOptions {
  double discount = 0.99;
  int atoms = 51;
  double min_return = std::numeric_limits<double>::quiet_NaN(), max_return = min_return;
  double tolerance = 1e-2;
  std::size_t max_iterations = 100'000;
  int threads = 0;
};

namespace detail {

/// From a to b, or a little around them where they are equal.
inline Support support_between(int atoms, double a, double b) {
  const double wider = a < b ? 0 : (std::max)(1.0, std::abs(a)) / 2;
  return {.atoms = atoms, .min = a - wider, .max = b + wider};
}

/// All returns, where r is the range of rewards.
inline Support return_support(std::string_view where, const RewardRange& r,
                              const DistributionalEvaluationOptions& options) {
  Support support = support_between(options.atoms, r.low / (1 - options.discount), r.high / (1 - options.discount));
  if (!std::isnan(options.min_return)) support.min = options.min_return;
  if (!std::isnan(options.max_return)) support.max = options.max_return;
  support.check(where);
  return support;
}

/// out = the projected law of r + discount Z(s') under the action, from the laws of all states; `mixed` and `moved` are
/// scratch. Successors that earn the same are mixed first and moved together: both are linear.
template <class M>
void backup_law(const M& model, int s, int a, const Support& support, double discount, const Matrix<double>& laws,
                std::vector<double>& mixed, std::vector<double>& moved, double* out) {
  const std::size_t m = support.size();
  const auto successors = model.successors(s, a);
  double sum = 0;
  for (const auto& to : successors) sum += static_cast<double>(to.probability);
  std::fill(out, out + m, 0.0);
  const auto last = std::end(successors);
  for (auto i = std::begin(successors); i != last;) {
    const double r = static_cast<double>((*i).reward);
    std::fill(mixed.begin(), mixed.end(), 0.0);
    for (; i != last && static_cast<double>((*i).reward) == r; ++i) {
      const double p = static_cast<double>((*i).probability) / sum;
      const double* const law = laws.col((*i).next).data();
      for (std::size_t k = 0; k < m; ++k) mixed[k] += p * law[k];
    }
    shift_mass<double>(
        support, r, discount, [&]<class T>(std::size_t k) { return load<T>(mixed.data() + k); },
        std::span<double>(moved));
    for (std::size_t k = 0; k < m; ++k) out[k] += moved[k];
  }
  for (std::size_t k = 0; k < m; ++k) out[k] = (std::min)(out[k], 1.0);  // a probability still, whatever the rounding
}

/// The 1-Wasserstein distance of two laws on one support.
inline double support_distance(const Support& support, const double* p, const double* q) {
  double difference = 0, sum = 0;
  for (std::size_t k = 0; k + 1 < support.size(); ++k) {
    difference += p[k] - q[k];
    sum += std::abs(difference);
  }
  return support.step() * sum;
}

}  // namespace detail

/// Distributional policy evaluation on fixed atoms (Rowland et al. 2018; Bellemare, Dabney and Rowland 2023): from
/// Diracs at the means, sweeps of eta <- Pi T eta, where (T eta)(s) is the law of R + discount G(S') under the policy
/// and Pi the projection of C51. `policy` has an action a state, those of terminal states not read.
///
/// How near that is. With F a distribution function, the 1-Wasserstein distance of two laws is the integral of
/// |F - F'|. Moving and scaling a law by r + discount x scales it by the discount; a mixture is no further from another
/// than its parts are; and Pi replaces F between two atoms by its mean there, so it doesn't expand it. Hence Pi T
/// contracts the largest distance over the states by the discount, and
///
///     distance(eta_n, fixed point) <= discount / (1 - discount) distance(eta_n, eta_{n-1}),
///
/// which is `bound`, rounding added. (In the Cramer distance, the root of the integral of |F - F'|^2, the same three
/// steps give the root of the discount: a weaker bound.) Pi moves mass at x to the atoms around it, at most half a step
/// in the mean, so the fixed point is within step / 2 / (1 - discount) of the exact laws: `projection_bound`.
/// A statistic's error follows: that of a mean is at most the distance, of a CVaR at most distance / level, of E f at
/// most f's Lipschitz constant times it.
///
/// Time is successors x atoms a state and sweep. Stops early, with `converged` false, at `max_iterations`, where
/// rounding keeps residuals from falling, and where `progress` returns false. Throws `Error` for options out of range
/// and for a policy that doesn't fit.
template <FiniteModel M>
ReturnLaws distributional_policy_evaluation(const M& model, std::span<const int> policy,
                                            const DistributionalEvaluationOptions& options = {},
                                            Progress progress = {}) {
  constexpr auto where = "distributional_policy_evaluation";
  const double g = options.discount;
  if (!(g >= 0 && g < 1)) fail(where, "discount is {}; expected a number in [0, 1)", g);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
  detail::check_policy(where, model, policy);
  const detail::Stopwatch watch;
  ReturnLaws result{.support = detail::return_support(where, detail::reward_range(model), options)};
  const Support& support = result.support;
  const std::size_t m = support.size();
  detail::augmented_states(where, model.states(), 1, static_cast<double>(m));

  // Second moments of the error contract by discount^2: means are solved for, so they are right from the beginning.
  const auto mean = policy_evaluation(model, policy,
                                      {.discount = g, .tolerance = options.tolerance / 10, .threads = options.threads});
  const auto columns = static_cast<Eigen::Index>(model.states());
  result.probability.resize(support.atoms, columns);
  for (int s = 0; s < model.states(); ++s)
    project_value<double>(support, static_cast<double>(mean.value[s]), {result.probability.col(s).data(), m});
  Matrix<double> other = result.probability;

  const double range = support.max - support.min;
  const double rounding = 8 * std::numeric_limits<double>::epsilon() * static_cast<double>(m) * range / (1 - g);
  detail::Stall stalled;
  for (bool go_on = true; go_on;) {
    const Matrix<double>& old = result.probability;
    result.residual = parallel_reduce(
        static_cast<std::size_t>(model.states()), 0.0,
        [&](std::size_t first, std::size_t last) {
          std::vector<double> mixed(m), moved(m);
          double largest = 0;
          for (std::size_t i = first; i < last; ++i) {
            const int s = static_cast<int>(i);
            if (model.terminal(s)) continue;
            double* const out = other.col(s).data();
            detail::backup_law(model, s, policy[i], support, g, old, mixed, moved, out);
            largest = (std::max)(largest, detail::support_distance(support, out, old.col(s).data()));
          }
          return largest;
        },
        [](double a, double b) { return (std::max)(a, b); }, {.threads = options.threads, .chunk = 512});
    result.probability.swap(other);
    ++result.iterations;
    result.bound = g / (1 - g) * result.residual + rounding;
    result.converged = result.bound <= options.tolerance;
    go_on = progress({.step = result.iterations,
                      .total = options.max_iterations,
                      .task = "distributional evaluation",
                      .metric = "residual",
                      .value = result.residual}) &&
            !result.converged && !stalled(result.residual) && result.iterations < options.max_iterations;
  }
  result.projection_bound = support.step() / 2 / (1 - g);
  result.seconds = watch.seconds();
  return result;
}

}  // namespace valence
