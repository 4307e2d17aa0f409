#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lbfgs.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"
#include "valence/preference/composites.hpp"

namespace valence {

/// Comparisons of the answers to one prompt, and the laws that its rewards are measured by.
struct AnswerComparisons {
  Matrix<double> wins;              ///< wins(i, j): how often answer i was preferred to j, >= 0; answers x answers
  Vector<double> reference;         ///< pi_ref, a probability vector
  Vector<double> calibration = {};  ///< the law under which a reward has mean 0, 0 where pi_ref is; empty: pi_ref
};

/// The value-incentivised reward of VPO's online objective (Cen et al. 2024, arXiv:2405.19320, algorithm 1), found in
/// the space of rewards:
///
///     r = argmin  sum of -log sigmoid(r_winner - r_loser)  +  ridge / 2 |r|^2  -+  alpha (J*(r) - E_cal r),
///
/// J*(r) = beta log sum_y pi_ref(y) exp(r_y / beta). Its gradient in r is alpha (pi_r - pi_cal), with pi_r proportional
/// to pi_ref exp(r / beta). Pessimism (+) is convex and solved as it stands. Optimism (-) is a difference of convex
/// functions with a local minimum for each answer that might be the best, so from every start (each answer's point
/// mass, and the incumbent) a convex step with pi_r held fixed alternates with pi_r anew, and the best end is kept:
/// each step lowers the objective, as J* lies above its tangents. The search from all starts is ours: the paper leaves
/// the argmin to an oracle.
///
///     VpoOracle oracle{.beta = 0.1, .alpha = 1, .ridge = 0.3};
///     oracle.fit(comparisons, view(reward));                    // reward: in, the incumbent; out, the estimate
struct VpoOracle {
  double beta = 0.1;   ///< > 0
  double alpha = 1;    ///< >= 0, next to the sum over pairs
  double ridge = 0.3;  ///< > 0: keeps the rewards of answers that always won or lost finite
  ValueIncentive incentive = ValueIncentive::optimism;
  int alternations = 2;  ///< >= 1, of the convex step, from each start
  Lbfgs solver = {.tolerance = 1e-6};

  /// The policy of a reward, pi_ref exp(r / beta) normalised, into `policy`. All spans: an entry an answer.
  void policy(const AnswerComparisons& data, std::span<const double> reward, std::span<double> policy) const {
    for (std::size_t y = 0; y < reward.size(); ++y)
      policy[y] = elementary::log(data.reference[static_cast<Eigen::Index>(y)]) + reward[y] / beta;
    softmax(std::span<const double>(policy), policy);
  }
  /// J*(r) - E_cal r: the value of the reward's best policy, the reward shifted to mean 0 under the calibration law.
  double calibrated_value(const AnswerComparisons& data, std::span<const double> reward) const {
    const Eigen::Map<const Vector<double>> r(reward.data(), static_cast<Eigen::Index>(reward.size()));
    const Vector<double> logits = data.reference.array().log().matrix() + r / beta;
    return beta * log_sum_exp(view(logits)) - calibration(data).dot(r);
  }
  /// What the reward minimises, with its gradient.
  double objective(const AnswerComparisons& data, std::span<const double> reward, std::span<double> gradient) const {
    const double value = fit_to(data, reward, gradient);
    Vector<double> pi(data.reference.size());
    policy(data, reward, view(pi));
    push(sign(), pi - calibration(data), gradient);
    return value + sign() * alpha * calibrated_value(data, reward);
  }

  /// The estimate. `reward`: an entry an answer; on entry the incumbent, from where one of the searches starts. The
  /// value of the objective. Throws `Error` for bad options, counts below 0, laws that aren't one, a calibration law
  /// with mass where the reference has none, and more than 10,000 answers.
  double fit(const AnswerComparisons& data, std::span<double> reward) const {
    check(data, reward);
    if (incentive == ValueIncentive::pessimism || alpha == 0) {
      const auto whole = [&](std::span<const double> r, std::span<double> g) { return objective(data, r, g); };
      return minimize(whole, reward, solver).value;
    }
    const auto n = data.reference.size();
    const Vector<double> cal = calibration(data);
    Vector<double> incumbent(n), r(n), pi(n), gradient(n);
    for (Eigen::Index y = 0; y < n; ++y) incumbent[y] = reward[static_cast<std::size_t>(y)];
    double best = std::numeric_limits<double>::infinity();
    for (Eigen::Index start = 0; start <= n; ++start) {
      r = incumbent;
      if (start == n)
        policy(data, view(std::as_const(r)), view(pi));
      else
        pi = Vector<double>::Unit(n, start);
      for (int i = 0; i < alternations; ++i) {
        if (i > 0) policy(data, view(std::as_const(r)), view(pi));
        const auto tangent = [&](std::span<const double> at, std::span<double> g) {
          const double value = fit_to(data, at, g);
          push(-1, pi - cal, g);
          return value - alpha * (pi - cal).dot(Eigen::Map<const Vector<double>>(at.data(), n));
        };
        minimize(tangent, view(r), solver);
      }
      const double value = objective(data, view(std::as_const(r)), view(gradient));
      if (value >= best) continue;
      best = value;
      for (Eigen::Index y = 0; y < n; ++y) reward[static_cast<std::size_t>(y)] = r[y];
    }
    return best;
  }

 private:
  double sign() const { return incentive == ValueIncentive::optimism ? -1 : 1; }
  static const Vector<double>& calibration(const AnswerComparisons& data) {
    return data.calibration.size() > 0 ? data.calibration : data.reference;
  }
  /// The likelihood and the ridge, with their gradient.
  double fit_to(const AnswerComparisons& data, std::span<const double> reward, std::span<double> gradient) const {
    double value = 0;
    for (std::size_t i = 0; i < reward.size(); ++i) {
      value += ridge / 2 * reward[i] * reward[i];
      gradient[i] = ridge * reward[i];
    }
    for (std::size_t j = 0; j < reward.size(); ++j)
      for (std::size_t i = 0; i < reward.size(); ++i) {
        const double n = data.wins(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j));
        if (n == 0 || i == j) continue;
        const auto lost = softplus_and_slope(reward[j] - reward[i]);
        value += n * lost.value;
        gradient[i] -= n * lost.slope;
        gradient[j] += n * lost.slope;
      }
    return value;
  }
  /// gradient += factor alpha direction.
  void push(double factor, const Vector<double>& direction, std::span<double> gradient) const {
    for (std::size_t y = 0; y < gradient.size(); ++y)
      gradient[y] += factor * alpha * direction[static_cast<Eigen::Index>(y)];
  }
  void check(const AnswerComparisons& data, std::span<const double> reward) const {
    constexpr std::string_view where = "VpoOracle";
    check_positive(where, "beta", beta);
    check_range(where, "alpha", alpha, 0, (std::numeric_limits<double>::max)());
    check_positive(where, "ridge", ridge);
    check_positive(where, "alternations", alternations);
    const auto n = static_cast<std::ptrdiff_t>(reward.size());
    check_range(where, "the number of answers", n, 1, 10'000);
    check_shape(where, "wins", data.wins.rows(), data.wins.cols(), n, n);
    check_range(where, "wins", view(data.wins), 0, (std::numeric_limits<double>::max)());
    check_size(where, "reference", static_cast<std::size_t>(data.reference.size()), reward.size());
    check_probabilities(where, "reference", view(data.reference));
    check_finite(where, "reward", reward);
    if (data.calibration.size() == 0) return;
    check_size(where, "calibration", static_cast<std::size_t>(data.calibration.size()), reward.size());
    check_probabilities(where, "calibration", view(data.calibration));
    for (Eigen::Index y = 0; y < n; ++y)
      if (data.calibration[y] > 0 && data.reference[y] == 0)
        fail(where, "calibration[{}] is {}, where the reference never answers; expected 0", y, data.calibration[y]);
  }
};

}  // namespace valence
