#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/lbfgs.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/game/preference_game.hpp"
#include "valence/mdp/responses.hpp"
#include "valence/offline/fit_preferences.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/concepts.hpp"

/// Learning from preferences by playing against oneself: a policy answers, a judge compares its answers, a preference
/// loss moves it, and it becomes the reference of the next iteration. How pairs are drawn is a value, and so is the
/// loss: `SoftPairs` and `SoftDpo` make DNO, `RankedPairs` and `Dpo` its practical variant, `JudgedPairs` and `Dpo`
/// iterated DPO.
namespace valence {

namespace detail {

inline std::span<const double> answers_to(const Matrix<double>& policy, int prompt) {
  return {policy.col(prompt).data(), static_cast<std::size_t>(policy.rows())};
}

/// `pairs` prompts, each alike, and what `judged(drawn, prompt, answer)` adds of each; `answer()` draws of the policy.
template <PairJudge J, class Judged>
ResponsePairs draw_pairs(std::string_view where, const J& judge, const Matrix<double>& policy, std::size_t pairs,
                         Rng& rng, Judged&& judged) {
  check_positive(where, "pairs", pairs);
  check_judged_policy(where, judge, policy);
  ResponsePairs drawn;
  for (std::size_t i = 0; i < pairs; ++i) {
    const int x = rng.below(judge.prompts());
    judged(drawn, x, [&] { return static_cast<int>(rng.categorical(answers_to(policy, x))); });
  }
  return drawn;
}

}  // namespace detail

/// Two answers of the policy and the probability that the first is the better one, sigmoid(r(y_1) - r(y_2)), where r is
/// the win rate against the policy itself (Rosset et al. 2024, algorithm 1). r is estimated by the judge's probabilities
/// against `opponents` answers of the policy; that both answers meet the same opponents is a choice, which makes their
/// difference less noisy. Random outputs a pair: 3 + opponents.
struct SoftPairs {
  std::size_t pairs = 400;  ///< >= 1
  int opponents = 8;        ///< >= 1

  /// `policy`: answers x prompts. Throws `Error` for bad options and a policy that isn't one.
  template <PairJudge J>
  ResponsePairs operator()(const J& judge, const Matrix<double>& policy, Rng& rng) const {
    constexpr std::string_view where = "SoftPairs";
    check_positive(where, "opponents", opponents);
    return detail::draw_pairs(where, judge, policy, pairs, rng, [&](auto& drawn, int x, auto&& answer) {
      const int first = answer(), second = answer();
      double ahead = 0;
      for (int k = 0; k < opponents; ++k) {
        const int opponent = answer();
        ahead += judge.preference(x, first, opponent) - judge.preference(x, second, opponent);
      }
      drawn.push_back(x, first, second);
      drawn.p_chosen.push_back(sigmoid(ahead / opponents));
    });
  }
};

/// Two answers of the policy, and which of them the judge preferred, once. Four random outputs a pair.
struct JudgedPairs {
  std::size_t pairs = 400;  ///< >= 1

  template <PairJudge J>
  ResponsePairs operator()(const J& judge, const Matrix<double>& policy, Rng& rng) const {
    return detail::draw_pairs("JudgedPairs", judge, policy, pairs, rng, [&](auto& drawn, int x, auto&& answer) {
      const int first = answer(), second = answer();
      const bool first_wins = rng.bernoulli(judge.preference(x, first, second));
      drawn.push_back(x, first_wins ? first : second, first_wins ? second : first);
    });
  }
};

/// The practical variant, DNO-Prct (Rosset et al. 2024, algorithm 2): several answers to a prompt, of the policy and
/// perhaps one of a teacher, are ranked by their mean preference over the others of the group; all pairs are kept whose
/// ranks' margin is larger than `margin`, the better one chosen. That the group itself is what answers are ranked
/// against is a choice: the paper has a judge that scores answers.
struct RankedPairs {
  std::size_t groups = 80;      ///< >= 1
  int responses = 5;            ///< answers of the policy in a group, >= 1; with the teacher's at least 2
  double margin = 0.1;          ///< in [0, 1)
  Matrix<double> teacher = {};  ///< answers x prompts, a law of reference answers; empty: none

  template <PairJudge J>
  ResponsePairs operator()(const J& judge, const Matrix<double>& policy, Rng& rng) const {
    constexpr std::string_view where = "RankedPairs";
    const bool taught = teacher.size() > 0;
    check_positive(where, "groups", groups);
    check_range(where, "responses", responses, taught ? 1 : 2, 1'000'000);
    if (!(margin >= 0 && margin < 1)) fail(where, "margin is {}; expected a number in [0, 1)", margin);
    detail::check_judged_policy(where, judge, policy);
    if (taught) detail::check_judged_policy(where, judge, teacher);
    ResponsePairs drawn;
    std::vector<int> group(static_cast<std::size_t>(responses) + (taught ? 1U : 0U));
    std::vector<double> rank(group.size());
    for (std::size_t i = 0; i < groups; ++i) {
      const int x = rng.below(judge.prompts());
      for (int& answer : group) answer = static_cast<int>(rng.categorical(detail::answers_to(policy, x)));
      if (taught) group.back() = static_cast<int>(rng.categorical(detail::answers_to(teacher, x)));
      for (std::size_t a = 0; a < group.size(); ++a) {
        rank[a] = -0.5;  // what it has against itself
        for (const int other : group) rank[a] += judge.preference(x, group[a], other);
        rank[a] /= static_cast<double>(group.size() - 1);
      }
      for (std::size_t a = 0; a < group.size(); ++a)
        for (std::size_t b = 0; b < group.size(); ++b)
          if (rank[a] - rank[b] > margin) drawn.push_back(x, group[a], group[b]);
    }
    return drawn;
  }
};

struct SelfPlayOptions {
  /// Adds (ridge / 2) |theta - theta_t|^2 to the mean loss of iteration t; >= 0. It is no part of the paper: it keeps
  /// answers that few pairs hold near the policy that drew them, and labels that are certain from pushing without end.
  double ridge = 1e-3;
  Lbfgs solver = {};
};

/// Batched on-policy self-play (Rosset et al. 2024, algorithm 1). An iteration draws pairs with the policy, judges them,
/// minimises the loss with the policy as reference, and goes on from there:
///
///     SelfPlay dno{game, SoftDpo{.beta = 1}, SoftPairs{.pairs = 400, .opponents = 8}, LogLinearPolicy::tabular(start)};
///     const Matrix<double> mixture = dno.run(60, rng);
///     exploitability(game, mixture);
///
/// With `SoftPairs` and `SoftDpo` each iteration estimates `soft_policy_update` with eta = beta, whose average iterate
/// approaches an equilibrium; the last one need not. `beta` = 1 there is a choice: the paper's eta was not at hand.
/// `Pairs` is any callable (judge, policy's probabilities, rng) -> `ResponsePairs`.
template <PairJudge J, Loss L, class Pairs>
  requires std::invocable<const Pairs&, const J&, const Matrix<double>&, Rng&>
class SelfPlay {
 public:
  /// `policy` is pi_1. Throws `Error` for a policy that is not of the judge's shape, and a ridge that isn't at least 0.
  SelfPlay(J judge, L loss, Pairs pairs, LogLinearPolicy policy, const SelfPlayOptions& options = {})
      : judge_(std::move(judge)),
        loss_(std::move(loss)),
        pairs_(std::move(pairs)),
        policy_(std::move(policy)),
        options_(options),
        sum_(Matrix<double>::Zero(policy_.answers(), policy_.prompts())) {
    constexpr std::string_view where = "SelfPlay";
    check_shape(where, "the policy", policy_.answers(), policy_.prompts(), judge_.answers(), judge_.prompts());
    if (!(options.ridge >= 0) || !std::isfinite(options.ridge))
      fail(where, "ridge is {}; expected a finite number of at least 0", options.ridge);
  }

  /// So many iterations more, and the mixture after them.
  Matrix<double> run(std::int64_t iterations, Rng& rng) {
    check_positive("SelfPlay::run", "iterations", iterations);
    for (std::int64_t t = 0; t < iterations; ++t) step(rng);
    return mixture();
  }

  /// One iteration. Where no pair is drawn (`RankedPairs` with a large margin) the policy stays. Throws what the pairs
  /// and the loss refuse, before anything is changed.
  void step(Rng& rng) {
    const Matrix<double> reference = policy_.log_probs();
    const Matrix<double> probabilities = policy_.probabilities();
    const ResponsePairs pairs = pairs_(judge_, probabilities, rng);
    if (pairs.size() > 0) learn({.pairs = pairs, .reference = reference});
    sum_ += probabilities;
    ++played_;
  }

  /// The last iterate, pi_{t+1}.
  const LogLinearPolicy& policy() const { return policy_; }
  /// The uniform mixture of pi_1, ..., pi_t, those that have played: for each answer one of them is drawn, and answers.
  /// Answers x prompts. Throws `Error` before the first iteration.
  Matrix<double> mixture() const {
    if (played_ == 0) fail("SelfPlay::mixture", "no iteration was run; expected at least one");
    return sum_ / static_cast<double>(played_);
  }
  std::int64_t iterations() const { return played_; }

  template <class A>
  void archive(A& ar) {
    ar(policy_, sum_, played_);
  }

 private:
  void learn(const PreferenceData& data) {
    const std::vector<double> start(policy_.parameters().begin(), policy_.parameters().end());
    std::vector<double> theta = start;
    PreferenceObjective objective(policy_, loss_, data);
    minimize(
        [&](std::span<const double> at, std::span<double> gradient) {
          double value = objective(at, gradient);
          for (std::size_t i = 0; i < at.size(); ++i) {
            const double moved = at[i] - start[i];
            value += options_.ridge / 2 * moved * moved;
            gradient[i] += options_.ridge * moved;
          }
          return value;
        },
        theta, options_.solver);
    std::copy(theta.begin(), theta.end(), policy_.parameters().begin());
  }

  J judge_;
  L loss_;
  Pairs pairs_;
  LogLinearPolicy policy_;
  SelfPlayOptions options_;
  Matrix<double> sum_;
  std::int64_t played_ = 0;
};

}  // namespace valence
