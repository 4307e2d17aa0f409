#pragma once

#include <fmt/core.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/agent/lin_ucb.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/core/types.hpp"
#include "valence/evaluation/bandit_feedback.hpp"

/// Off-policy evaluation on logged bandit feedback: what would another policy have earned?
///
/// Every estimator here is a ratio of two means over the rounds, mean(numerator) / mean(denominator), and an estimate
/// keeps both columns. So one formula gives the standard error of all, and one resampling their bootstrap, which
/// redraws rounds and computes the whole ratio anew (pitfall O1).
namespace valence {

/// What each estimator sees, one entry a round.
struct OffPolicyColumns {
  std::span<const double> reward;
  std::span<const double> weight;     ///< target probability of the logged action over its propensity
  std::span<const double> expected;   ///< sum_a target(a) q(a): what the reward model expects of the target policy
  std::span<const double> predicted;  ///< q of the logged action; 0 where its weight is
};

/// (sum w)^2 / sum w^2: so many rounds without weights would say as much (Kish 1965). Between 1 and the number of
/// rounds. Throws if the weights are empty, negative, not finite or all 0.
inline double effective_sample_size(std::span<const double> weights) {
  check_range("effective_sample_size", "weights", weights, 0, (std::numeric_limits<double>::max)());
  double largest = 0;
  for (const double w : weights) largest = (std::max)(largest, w);
  if (!(largest > 0)) fail("effective_sample_size", "weights are empty or all 0; expected one greater than 0");
  double sum = 0, squares = 0;
  for (const double w : weights) {
    const double scaled = w / largest;  // squares of large weights would overflow
    sum += scaled, squares += scaled * scaled;
  }
  return sum * sum / squares;
}

/// What an estimator found.
struct PolicyEstimate {
  std::string name = {};             ///< of the estimator
  double value = 0;                  ///< estimated mean reward a round of the target policy
  double lower = 0, upper = 0;       ///< 95 % interval, by `normal_interval`
  double standard_error = 0;         ///< of `value`; of a ratio by linearisation (the delta method)
  double effective_sample_size = 0;  ///< of the weights; all rounds for the direct method, which has none
  double max_weight = 1,
         mean_weight = 1;  ///< the mean is near 1 if the propensities are right and the log has all that
                           ///< the target policy does
  std::vector<double> numerator = {}, denominator = {};  ///< value = mean(numerator) / mean(denominator); a round each
};

namespace detail {

/// The rounds' shares in an estimate, to first order: their mean is its value, and their standard error its.
inline RunningMoments influence(const PolicyEstimate& estimate) {
  check_size("PolicyEstimate", "denominator", estimate.denominator.size(), estimate.numerator.size());
  const double scale = mean(estimate.denominator);
  RunningMoments moments;
  for (std::size_t i = 0; i < estimate.numerator.size(); ++i)
    moments.add(estimate.value + (estimate.numerator[i] - estimate.value * estimate.denominator[i]) / scale);
  return moments;
}

/// Value, standard error and interval from the two columns.
inline PolicyEstimate completed(PolicyEstimate estimate) {
  estimate.value = mean(estimate.numerator) / mean(estimate.denominator);
  const RunningMoments moments = influence(estimate);
  const Interval interval = mean_interval(moments);
  estimate.standard_error = moments.standard_error();
  estimate.lower = interval.low, estimate.upper = interval.high;
  return estimate;
}

}  // namespace detail

/// The normal interval of an estimate, by linearisation and with Student's quantile. It treats the reward model as
/// fixed. At least two rounds.
inline Interval normal_interval(const PolicyEstimate& estimate, double level = 0.95) {
  return mean_interval(detail::influence(estimate), level);
}

/// The percentile bootstrap interval of an estimate: rounds are drawn with replacement, and numerator and denominator
/// are summed anew in each resample (pitfall O1). It treats the reward model as fixed. Throws if a resample has weights
/// of 0 only, that is, if hardly any round overlaps.
inline Interval bootstrap_interval(const PolicyEstimate& estimate, Rng& rng, const BootstrapOptions& options = {}) {
  detail::check_level("bootstrap_interval", options.level);
  check_size("bootstrap_interval", "denominator", estimate.denominator.size(), estimate.numerator.size());
  const auto replicates = bootstrap(
      estimate.numerator.size(),
      [&](std::span<const std::size_t> index) {
        double top = 0, bottom = 0;
        for (const std::size_t i : index) top += estimate.numerator[i], bottom += estimate.denominator[i];
        if (!(bottom > 0))
          fail("bootstrap_interval", "no overlap in a resample: too few logged actions are possible under the target");
        return top / bottom;
      },
      rng, options.resamples);
  const double levels[] = {(1 - options.level) / 2, (1 + options.level) / 2};
  const auto q = quantiles(replicates, levels);
  return {q[0], q[1]};
}

/// The mean reward of the logging policy itself, as an estimate: what an evaluation of the same policy from another log
/// is to be compared with. At least two rounds.
inline PolicyEstimate on_policy_estimate(const LoggedBandit& log) {
  check_log("on_policy_estimate", log);
  if (log.size() < 2) fail("on_policy_estimate", "the log has 1 round; expected at least 2, for an interval");
  return detail::completed({.name = "on-policy",
                            .effective_sample_size = static_cast<double>(log.size()),
                            .numerator = log.reward,
                            .denominator = std::vector<double>(log.size(), 1.0)});
}

// --- Reward models. ---

/// Predicts the mean reward of an action in a situation. `round` is the row of the log that the situation is of, so
/// that a model can leave out of a prediction what it learnt from that row.
template <class Q>
concept RewardModel = requires(const Q& q, const BanditSituation& situation, int action, std::size_t round) {
  { q(situation, action, round) } -> std::convertible_to<double>;
};

/// What the reward models are fitted with.
struct RewardModelOptions {
  /// Strength of the pull to the overall mean: so many rounds of it for each cell of a table, or the ridge penalty. >
  /// 0.
  double penalty = 1;
  /// 1: one model of all rounds. More: round i belongs to fold i mod folds, and what is predicted for it comes from a
  /// model of the other folds (cross-fitting: Chernozhukov et al. 2018), so that no reward predicts itself. >= 1.
  int folds = 2;
};

namespace detail {

inline void check_model_options(std::string_view where, const LoggedBandit& log, const RewardModelOptions& options) {
  check_log(where, log);
  check_positive(where, "penalty", options.penalty);
  if (options.folds < 1 || static_cast<std::size_t>(options.folds) > log.size())
    fail(where, "folds is {}; expected a number in [1, {}], the number of rounds", options.folds, log.size());
}

/// Calls f(fold, round) for each fold and each round that its model may learn from.
template <class F>
void for_each_training_round(std::size_t rounds, int folds, F&& f) {
  const auto k = static_cast<std::size_t>(folds);
  for (std::size_t fold = 0; fold < k; ++fold)
    for (std::size_t i = 0; i < rounds; ++i)
      if (k == 1 || i % k != fold) f(fold, i);
}

}  // namespace detail

/// A mean reward for each action and position, shrunk towards the mean of all rounds: (sum of rewards + penalty * mean)
/// / (rounds + penalty), which is ridge regression on one indicator a cell about the overall mean.
class RewardTable {
 public:
  /// Throws for a log that is not in order and for options out of range.
  explicit RewardTable(const LoggedBandit& log, const RewardModelOptions& options = {}) {
    detail::check_model_options("RewardTable", log, options);
    const auto folds = static_cast<std::size_t>(options.folds);
    tables_.assign(folds, Matrix<double>::Zero(log.actions, log.positions()));
    std::vector<Matrix<double>> count = tables_;
    std::vector<double> sum(folds), rounds(folds);
    detail::for_each_training_round(log.size(), options.folds, [&](std::size_t fold, std::size_t i) {
      const int a = log.action[i], p = log.situation(i).position;
      tables_[fold](a, p) += log.reward[i];
      count[fold](a, p) += 1;
      sum[fold] += log.reward[i];
      ++rounds[fold];
    });
    for (std::size_t fold = 0; fold < folds; ++fold) {
      const double overall = sum[fold] / rounds[fold];
      tables_[fold] =
          ((tables_[fold].array() + options.penalty * overall) / (count[fold].array() + options.penalty)).matrix();
    }
  }

  /// The prediction of the fold that did not learn from `round`. Throws for an action or position that is not there.
  double operator()(const BanditSituation& situation, int action, std::size_t round) const {
    const Matrix<double>& table = tables_[round % tables_.size()];
    if (action < 0 || action >= table.rows() || situation.position < 0 || situation.position >= table.cols())
      fail("RewardTable", "action {} at position {}; expected them in [0, {}] and [0, {}]", action, situation.position,
           table.rows() - 1, table.cols() - 1);
    return table(action, situation.position);
  }
  /// actions x positions, one a fold.
  std::span<const Matrix<double>> tables() const { return tables_; }

 private:
  std::vector<Matrix<double>> tables_ = {};
};

/// Linear in the context, each action in its own coefficients: ridge regression of the reward minus the overall mean on
/// (1, context), all penalised. Positions are not told apart.
class LinearRewards {
 public:
  /// Throws for a log that is not in order or without context, and for options out of range.
  explicit LinearRewards(const LoggedBandit& log, const RewardModelOptions& options = {}) {
    detail::check_model_options("LinearRewards", log, options);
    if (log.context.rows() == 0) fail("LinearRewards", "the log has no context; expected at least one feature");
    const auto folds = static_cast<std::size_t>(options.folds);
    const auto features = static_cast<int>(log.context.rows()) + 1;
    std::vector<double> rounds(folds);
    means_.resize(folds);
    detail::for_each_training_round(log.size(), options.folds, [&](std::size_t fold, std::size_t i) {
      means_[fold] += log.reward[i];
      ++rounds[fold];
    });
    for (std::size_t fold = 0; fold < folds; ++fold) means_[fold] /= rounds[fold];
    std::vector<OnlineRidge> models(folds * static_cast<std::size_t>(log.actions),
                                    OnlineRidge(features, options.penalty));
    std::vector<double> x(static_cast<std::size_t>(features), 1.0);
    detail::for_each_training_round(log.size(), options.folds, [&](std::size_t fold, std::size_t i) {
      const auto context = log.situation(i).context;
      std::copy(context.begin(), context.end(), x.begin() + 1);
      const auto a = static_cast<std::size_t>(log.action[i]);
      models[fold * static_cast<std::size_t>(log.actions) + a].update(x, log.reward[i] - means_[fold]);
    });
    coefficients_.assign(folds, Matrix<double>(features, log.actions));
    for (std::size_t k = 0; k < models.size(); ++k) {
      const auto theta = models[k].coefficients();
      const auto actions = static_cast<std::size_t>(log.actions);
      std::copy(theta.begin(), theta.end(),
                coefficients_[k / actions].col(static_cast<Eigen::Index>(k % actions)).data());
    }
  }

  /// The prediction of the fold that did not learn from `round`. Throws for an action that is not there and a context
  /// of another size.
  double operator()(const BanditSituation& situation, int action, std::size_t round) const {
    const std::size_t fold = round % means_.size();
    const Matrix<double>& theta = coefficients_[fold];
    if (action < 0 || action >= theta.cols())
      fail("LinearRewards", "action is {}; expected an action in [0, {}]", action, theta.cols() - 1);
    check_size("LinearRewards", "context", situation.context.size(), static_cast<std::size_t>(theta.rows()) - 1);
    double sum = means_[fold] + theta(0, action);
    for (std::size_t i = 0; i < situation.context.size(); ++i)
      sum += theta(static_cast<Eigen::Index>(i) + 1, action) * situation.context[i];
    return sum;
  }

 private:
  std::vector<double> means_ = {};                 // of the rewards, a fold each
  std::vector<Matrix<double>> coefficients_ = {};  // (1 + features) x actions, a fold each
};

// --- Estimators. ---

/// How an estimator weighs rounds. What all estimators with weights share.
struct ImportanceOptions {
  double clip =
      std::numeric_limits<double>::infinity();  ///< larger weights are cut to this; > 0. Less variance, some bias
  /// Weights that were estimated some other way, an entry a round: target over logging probability of the logged
  /// action. They are used as they are: the target's probability is in them already (pitfall O4). Empty: computed.
  std::span<const double> ratio = {};
};

/// Inverse propensity scoring, mean(w r) (Horvitz and Thompson 1952): unbiased if every action that the target policy
/// may take was possible in the log.
struct Ips {
  double clip = std::numeric_limits<double>::infinity();  ///< see `ImportanceOptions`
  std::span<const double> ratio = {};                     ///< see `ImportanceOptions`

  std::string name() const { return std::isinf(clip) ? "IPS" : fmt::format("IPS, clipped at {}", clip); }
  ImportanceOptions weights() const { return {clip, ratio}; }
  void terms(const OffPolicyColumns& in, std::span<double> numerator, std::span<double> denominator) const {
    for (std::size_t i = 0; i < in.reward.size(); ++i) numerator[i] = in.weight[i] * in.reward[i], denominator[i] = 1;
  }
};

/// Self-normalised inverse propensity scoring, sum(w r) / sum(w) (Swaminathan and Joachims 2015): a little bias, much
/// less variance, and never outside of the range of the rewards.
struct Snips {
  double clip = std::numeric_limits<double>::infinity();  ///< see `ImportanceOptions`
  std::span<const double> ratio = {};                     ///< see `ImportanceOptions`

  std::string name() const { return std::isinf(clip) ? "SNIPS" : fmt::format("SNIPS, clipped at {}", clip); }
  ImportanceOptions weights() const { return {clip, ratio}; }
  void terms(const OffPolicyColumns& in, std::span<double> numerator, std::span<double> denominator) const {
    for (std::size_t i = 0; i < in.reward.size(); ++i)
      numerator[i] = in.weight[i] * in.reward[i], denominator[i] = in.weight[i];
  }
};

/// The direct method, mean(sum_a target(a) q(a)): as good as the reward model. Its intervals are those of the mean over
/// situations alone: they do not know how wrong q is.
template <RewardModel Q>
struct DirectMethod {
  Q q;

  std::string name() const { return "DM"; }
  void terms(const OffPolicyColumns& in, std::span<double> numerator, std::span<double> denominator) const {
    for (std::size_t i = 0; i < in.reward.size(); ++i) numerator[i] = in.expected[i], denominator[i] = 1;
  }
};
template <class Q>
DirectMethod(Q) -> DirectMethod<Q>;

/// Doubly robust, mean(sum_a target(a) q(a) + w (r - q(action))) (Dudik, Langford and Li 2011): unbiased if the
/// propensities are right or the model is, and of less variance than IPS if the model says anything.
template <RewardModel Q>
struct DoublyRobust {
  Q q;
  double clip = std::numeric_limits<double>::infinity();  ///< see `ImportanceOptions`
  std::span<const double> ratio = {};                     ///< see `ImportanceOptions`

  std::string name() const { return std::isinf(clip) ? "DR" : fmt::format("DR, clipped at {}", clip); }
  ImportanceOptions weights() const { return {clip, ratio}; }
  void terms(const OffPolicyColumns& in, std::span<double> numerator, std::span<double> denominator) const {
    for (std::size_t i = 0; i < in.reward.size(); ++i) {
      numerator[i] = in.expected[i] + in.weight[i] * (in.reward[i] - in.predicted[i]);
      denominator[i] = 1;
    }
  }
};
template <class Q>
DoublyRobust(Q) -> DoublyRobust<Q>;
template <class Q>
DoublyRobust(Q, double) -> DoublyRobust<Q>;
template <class Q>
DoublyRobust(Q, double, std::span<const double>) -> DoublyRobust<Q>;

/// What `evaluate` takes: `terms` fills numerator and denominator of each round. It may have `weights()` (then it is
/// given importance weights) and `q` (then what q says).
template <class E>
concept OffPolicyEstimator = requires(const E& e, const OffPolicyColumns& in, std::span<double> out) {
  { e.name() } -> std::convertible_to<std::string>;
  e.terms(in, out, out);
};

namespace detail {

/// The target's probabilities in each round, checked: actions x rounds.
template <ActionProbabilities Policy>
Matrix<double> target_probabilities(std::string_view where, const LoggedBandit& log, const Policy& policy) {
  Matrix<double> out(log.actions, static_cast<Eigen::Index>(log.size()));
  for (std::size_t i = 0; i < log.size(); ++i) {
    const std::span<double> p(out.data() + static_cast<std::ptrdiff_t>(i) * log.actions,
                              static_cast<std::size_t>(log.actions));
    std::fill(p.begin(), p.end(), std::numeric_limits<double>::quiet_NaN());  // what the policy forgets shows
    policy(log.situation(i), p);
    check_probabilities(where, fmt::format("the target policy in round {}", i), p, 1e-8);
  }
  return out;
}

template <OffPolicyEstimator E>
PolicyEstimate off_policy_estimate(const LoggedBandit& log, const Matrix<double>& target, const E& estimator) {
  constexpr std::string_view where = "evaluate";
  const std::size_t n = log.size();
  PolicyEstimate out{.name = estimator.name(), .effective_sample_size = static_cast<double>(n)};
  std::vector<double> weight, expected, predicted;
  if constexpr (requires { estimator.weights(); }) {
    const ImportanceOptions options = estimator.weights();
    if (!(options.clip > 0)) fail(where, "clip is {}; expected a number greater than 0", options.clip);
    if (!options.ratio.empty()) {
      check_size(where, "ratio", options.ratio.size(), n);
      check_range(where, "ratio", options.ratio, 0, (std::numeric_limits<double>::max)());
    }
    weight.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      weight[i] = options.ratio.empty() ? target(log.action[i], static_cast<Eigen::Index>(i)) / log.propensity[i]
                                        : options.ratio[i];
      weight[i] = (std::min)(weight[i], options.clip);
    }
    out.max_weight = *std::max_element(weight.begin(), weight.end());
    if (!(out.max_weight > 0))
      fail(where, "no overlap: the target policy gives every one of the {} logged actions probability 0", n);
    check_finite(where, "the largest weight", out.max_weight);
    out.mean_weight = mean(weight);
    out.effective_sample_size = effective_sample_size(weight);
  }
  if constexpr (requires { estimator.q; }) {
    expected.resize(n), predicted.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      const BanditSituation situation = log.situation(i);
      for (int a = 0; a < log.actions; ++a) {
        const double p = target(a, static_cast<Eigen::Index>(i));
        const bool corrected = a == log.action[i] && !weight.empty() && weight[i] > 0;
        if (p == 0 && !corrected) continue;  // nothing that the model says here is used
        const double q = static_cast<double>(estimator.q(situation, a, i));
        if (!std::isfinite(q)) fail(where, "q of action {} in round {} is {}; expected a finite number", a, i, q);
        if (corrected) predicted[i] = q;
        expected[i] += p * q;
      }
    }
  }
  out.numerator.resize(n), out.denominator.resize(n);
  estimator.terms({log.reward, weight, expected, predicted}, out.numerator, out.denominator);
  check_finite(where, "numerator", std::span<const double>(out.numerator));
  check_finite(where, "denominator", std::span<const double>(out.denominator));
  return completed(std::move(out));
}

}  // namespace detail

/// Estimates the mean reward that `policy` would have had, from the log of another, by each of the estimators. `policy`
/// writes the probabilities of all actions in a situation, `policy(situation, std::span<double> out)`; they must sum to
/// 1 within 1e-8. One entry an estimator, in order.
///
/// Throws `Error`, with the row, for a log that is not in order, fewer than two rounds, probabilities that are none,
/// and a reward model that is not finite; and, for estimators with weights, where no logged action is possible under
/// `policy`: "no overlap" (pitfall O3).
///
///     for (auto& e : evaluate(log, policy, Ips{}, Snips{}, DoublyRobust{RewardTable(log)}))
///       fmt::print("{:10} {:.5f}  [{:.5f}, {:.5f}]\n", e.name, e.value, e.lower, e.upper);
template <ActionProbabilities Policy, OffPolicyEstimator... Estimators>
std::vector<PolicyEstimate> evaluate(const LoggedBandit& log, const Policy& policy, const Estimators&... estimators) {
  static_assert(sizeof...(Estimators) > 0, "valence: evaluate needs at least one estimator: Ips{}, Snips{}, ...");
  check_log("evaluate", log);
  if (log.size() < 2) fail("evaluate", "the log has 1 round; expected at least 2, for an interval");
  const Matrix<double> target = detail::target_probabilities("evaluate", log, policy);
  std::vector<PolicyEstimate> out;
  out.reserve(sizeof...(Estimators));
  (out.push_back(detail::off_policy_estimate(log, target, estimators)), ...);
  return out;
}

}  // namespace valence
