#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

/// Preferences as a game: two players each choose an answer to a prompt, and the one whose answer the judge prefers has
/// won. No reward needs to be behind the judge: rock, paper and scissors are preferences too. Policies are matrices,
/// answers x prompts, with a probability vector in each column; of one prompt, a vector. All prompts count alike.
namespace valence {

/// What judges pairs of numbered answers to numbered prompts: `preference(prompt, i, j)` is the probability that i is
/// preferred to j, with `preference(x, i, j) + preference(x, j, i) = 1`. `PreferenceGame` is one, and so is a bandit
/// with rewards (`PromptBandit`, `PreferenceBandit`), whose judge is Bradley and Terry's.
template <class J>
concept PairJudge = requires(const J judge, int i) {
  { judge.prompts() } -> std::convertible_to<int>;
  { judge.answers() } -> std::convertible_to<int>;
  { judge.preference(i, i, i) } -> std::convertible_to<double>;
};

/// How `PreferenceGame::random` mixes what a reward explains with what none can.
struct RandomPreferences {
  double skill = 0.5;  ///< standard deviation of s; >= 0
  double cycle = 2;    ///< standard deviation of the entries of C; >= 0
};

/// Any preferences over the answers to one prompt, as a matrix: P(i, j) is the probability that i is preferred to j.
/// Cycles are allowed.
///
///     PreferenceGame game{preferences};
///     exploitability(game, policy);   // by how much some answer beats the policy
class PreferenceGame {
 public:
  /// Throws `Error` for a matrix that is empty or not square, for entries outside of [0, 1], and where P(i, j) + P(j, i)
  /// is not 1 (to within 1e-12), the diagonal included.
  explicit PreferenceGame(Matrix<double> preferences) : preferences_(std::move(preferences)) {
    constexpr std::string_view where = "PreferenceGame";
    const auto n = preferences_.rows();
    if (n == 0) fail(where, "preferences is empty; expected at least one answer");
    check_shape(where, "preferences", n, preferences_.cols(), n, n);
    for (Eigen::Index i = 0; i < n; ++i)
      for (Eigen::Index j = 0; j < n; ++j) {
        const double p = preferences_(i, j), back = preferences_(j, i);
        if (!(p >= 0 && p <= 1)) fail(where, "preferences({}, {}) is {}; expected a number in [0, 1]", i, j, p);
        if (!(std::abs(p + back - 1) <= 1e-12))
          fail(where, "preferences({}, {}) is {} and preferences({}, {}) is {}; expected a sum of 1", i, j, p, j, i,
               back);
      }
  }
  /// P(i, j) = sigmoid(s_i - s_j + C_ij - C_ji) with normal s and C of mean 0: a reward s, and cycles. Throws `Error`
  /// for answers < 1 and negative deviations.
  static PreferenceGame random(int answers, Rng& rng, const RandomPreferences& options = {}) {
    constexpr std::string_view where = "PreferenceGame::random";
    check_positive(where, "answers", answers);
    for (const double deviation : {options.skill, options.cycle})
      if (!(deviation >= 0) || !std::isfinite(deviation))
        fail(where, "a deviation is {}; expected a finite number of at least 0", deviation);
    Vector<double> s(answers);
    Matrix<double> c(answers, answers), p(answers, answers);
    rng.fill_normal(view(s));
    rng.fill_normal(view(c));
    for (int i = 0; i < answers; ++i) {
      p(i, i) = 0.5;
      for (int j = 0; j < i; ++j) {
        p(i, j) = sigmoid(options.skill * (s[i] - s[j]) + options.cycle * (c(i, j) - c(j, i)));
        p(j, i) = 1 - p(i, j);
      }
    }
    return PreferenceGame(std::move(p));
  }

  int prompts() const { return 1; }
  int answers() const { return static_cast<int>(preferences_.rows()); }
  const Matrix<double>& preferences() const { return preferences_; }
  /// Throws `Error` if there is no such prompt (the only one is 0) or answer.
  double preference(int prompt, int i, int j) const {
    constexpr std::string_view where = "PreferenceGame::preference";
    check_range(where, "prompt", prompt, 0, 0);
    check_range(where, "i", i, 0, answers() - 1);
    check_range(where, "j", j, 0, answers() - 1);
    return preferences_(i, j);
  }

 private:
  Matrix<double> preferences_;
};

namespace detail {

template <PairJudge J>
void check_judged_policy(std::string_view where, const J& judge, const Matrix<double>& policy) {
  check_shape(where, "the policy", policy.rows(), policy.cols(), judge.answers(), judge.prompts());
  const auto n = static_cast<std::size_t>(policy.rows());
  for (Eigen::Index x = 0; x < policy.cols(); ++x)
    check_probabilities(where, "the policy", std::span<const double>(policy.col(x).data(), n));
}

}  // namespace detail

/// The probability that each answer is preferred to one of `policy`, answers x prompts: r(y) = E_{y' ~ policy} P(y > y').
/// Throws `Error` for a policy of another shape, or whose columns aren't probabilities; so do the functions below.
template <PairJudge J>
Matrix<double> win_rates(const J& judge, const Matrix<double>& policy) {
  detail::check_judged_policy("win_rates", judge, policy);
  Matrix<double> r = Matrix<double>::Zero(policy.rows(), policy.cols());
  for (int x = 0; x < judge.prompts(); ++x)
    for (int j = 0; j < judge.answers(); ++j) {
      if (policy(j, x) == 0) continue;
      for (int i = 0; i < judge.answers(); ++i) r(i, x) += policy(j, x) * judge.preference(x, i, j);
    }
  return r;
}

/// The probability that an answer of `policy` is preferred to one of `other`, mean over prompts. Of a policy against
/// itself: 1/2.
template <PairJudge J>
double win_rate(const J& judge, const Matrix<double>& policy, const Matrix<double>& other) {
  detail::check_judged_policy("win_rate", judge, policy);
  return policy.cwiseProduct(win_rates(judge, other)).sum() / judge.prompts();
}

/// By how much the best answer beats the policy, mean over prompts: max_i r(i) - 1/2, in [0, 1/2]. It is 0 where the
/// policy is a Nash equilibrium (of two such players; von Neumann's winner), and half of the duality gap.
template <PairJudge J>
double exploitability(const J& judge, const Matrix<double>& policy) {
  return win_rates(judge, policy).colwise().maxCoeff().sum() / judge.prompts() - 0.5;
}

/// One exact step of soft policy iteration against oneself, the ideal update of DNO (Rosset et al. 2024,
/// arXiv:2404.03715): the policy times exp(r / eta), normalised, with its own win rates r. This is Hedge in self-play:
/// the average of the iterates approaches an equilibrium, while the iterates may circle round it. No step loses to the
/// policy before. Throws `Error` for eta that isn't > 0.
template <PairJudge J>
Matrix<double> soft_policy_update(const J& judge, const Matrix<double>& policy, double eta) {
  check_positive("soft_policy_update", "eta", eta);
  const Matrix<double> r = win_rates(judge, policy);
  return softmax(Matrix<double>(policy.unaryExpr([](double p) { return elementary::log(p); }) + r / eta));
}

}  // namespace valence
