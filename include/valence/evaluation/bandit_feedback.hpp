#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

/// What a bandit's log holds, and policies that could have been followed instead.
namespace valence {

/// What is known before a choice.
struct BanditSituation {
  int position;                     ///< of the place to be filled (a slot on a page); 0 where there is only one
  std::span<const double> context;  ///< an entry a feature; empty where there are none
};

/// Logged bandit feedback: in each round a situation, the action that was taken, what it paid, and with what
/// probability the logging policy took it. One entry a round in every column.
struct LoggedBandit {
  int actions = 0;                         ///< actions are 0 .. actions - 1
  std::vector<int> action = {};            ///< that was taken
  std::vector<double> reward = {};         ///< that it paid
  std::vector<double> propensity = {};     ///< of the logged action under the logging policy, in (0, 1]; of no other
  std::vector<int> position = {};          ///< as the log counts it, >= 0; empty where there is only one (0)
  Matrix<double> context = {};             ///< features x rounds; empty where there are none
  std::vector<std::string> features = {};  ///< names of the context's rows; may be empty

  std::size_t size() const { return action.size(); }
  /// One more than the largest position.
  int positions() const { return position.empty() ? 1 : *std::max_element(position.begin(), position.end()) + 1; }
  /// What was known before round i.
  BanditSituation situation(std::size_t i) const {
    return {position.empty() ? 0 : position[i],
            context.size() == 0
                ? std::span<const double>()
                : std::span<const double>(context.data() + static_cast<std::ptrdiff_t>(i) * context.rows(),
                                          static_cast<std::size_t>(context.rows()))};
  }
};

/// Throws `Error` with the column and the row unless the log is in order: at least one round, columns of one size,
/// actions and positions in range, finite rewards and contexts, propensities in (0, 1].
inline void check_log(std::string_view where, const LoggedBandit& log) {
  const std::size_t n = log.size();
  check_positive(where, "actions", log.actions);
  if (n == 0) fail(where, "the log is empty; expected at least one round");
  check_size(where, "reward", log.reward.size(), n);
  check_size(where, "propensity", log.propensity.size(), n);
  if (!log.position.empty()) check_size(where, "position", log.position.size(), n);
  if (log.context.size() != 0)
    check_shape(where, "context", log.context.rows(), log.context.cols(), log.context.rows(),
                static_cast<std::ptrdiff_t>(n));
  for (std::size_t i = 0; i < n; ++i) {
    if (log.action[i] < 0 || log.action[i] >= log.actions)
      fail(where, "action[{}] is {}; expected an action in [0, {}]", i, log.action[i], log.actions - 1);
    if (!(log.propensity[i] > 0 && log.propensity[i] <= 1))
      fail(where, "propensity[{}] is {}; expected the logged action's probability, in (0, 1]", i, log.propensity[i]);
    if (!log.position.empty() && log.position[i] < 0)
      fail(where, "position[{}] is {}; expected a number >= 0", i, log.position[i]);
  }
  check_finite(where, "reward", std::span<const double>(log.reward));
  check_finite(where, "context", view(log.context));
}

/// A policy whose probabilities can be computed: writes those of all actions in a situation.
template <class P>
concept ActionProbabilities =
    requires(const P& policy, const BanditSituation& situation, std::span<double> out) { policy(situation, out); };

/// The same probabilities in every situation of one position: actions x positions, each column that is used sums to 1.
struct PositionPolicy {
  Matrix<double> probability;

  /// Throws if the table has no column for the position, or `out` another size.
  void operator()(const BanditSituation& situation, std::span<double> out) const {
    if (situation.position < 0 || situation.position >= probability.cols())
      fail("PositionPolicy", "position is {}; expected a position in [0, {}]", situation.position,
           probability.cols() - 1);
    check_size("PositionPolicy", "out", out.size(), static_cast<std::size_t>(probability.rows()));
    for (std::size_t a = 0; a < out.size(); ++a) out[a] = probability(static_cast<Eigen::Index>(a), situation.position);
  }
};

/// The policy that a log shows, position by position: how often each action was taken. It estimates the logging
/// policy's mean over the rounds without bias, also where that policy changed in the course of the log. A position
/// without rounds gets zeros.
inline PositionPolicy action_frequencies(const LoggedBandit& log) {
  check_log("action_frequencies", log);
  Matrix<double> table = Matrix<double>::Zero(log.actions, log.positions());
  for (std::size_t i = 0; i < log.size(); ++i) table(log.action[i], log.situation(i).position) += 1;
  for (auto column : table.colwise())
    if (const double rounds = column.sum(); rounds > 0) column /= rounds;
  return {std::move(table)};
}

/// The mean logged propensity of each action and position, scaled to sum to 1 in each position: smoother than
/// `action_frequencies`, and the same where the logging policy was constant. Where it changed, an action is seen mostly
/// when it was likely, so these means are too large (their sums before scaling, much above 1, tell) and the result
/// leans towards the actions whose probability moved most. Actions that were never taken get 0.
inline PositionPolicy mean_propensities(const LoggedBandit& log) {
  check_log("mean_propensities", log);
  Matrix<double> sum = Matrix<double>::Zero(log.actions, log.positions()), count = sum;
  for (std::size_t i = 0; i < log.size(); ++i) {
    const int p = log.situation(i).position;
    sum(log.action[i], p) += log.propensity[i];
    count(log.action[i], p) += 1;
  }
  for (Eigen::Index j = 0; j < sum.size(); ++j)
    if (count.data()[j] > 0) sum.data()[j] /= count.data()[j];
  for (auto column : sum.colwise())
    if (const double total = column.sum(); total > 0) column /= total;
  return {std::move(sum)};
}

}  // namespace valence
