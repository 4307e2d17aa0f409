#pragma once

#include <cstddef>
#include <iterator>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/responses.hpp"
#include "valence/policy/rejection_sampling.hpp"

/// Where comparisons come from: the three sources that "Statistical Rejection Sampling Improves Preference Optimization"
/// compares (Liu et al. 2024, arXiv:2309.06657, section 3). Laws and rewards are matrices, answers x prompts.
namespace valence {

struct RsoOptions {
  int candidates = 64;  ///< samples of the SFT policy to one prompt
  int accepted = 8;     ///< of the candidates, even: a pair of each two
  double beta = 0.5;    ///< of pi*, > 0; the paper's value
};

/// Pairs from the estimated optimal policy, pi* proportional to sft exp(reward / beta): to a prompt (all are alike
/// likely) `candidates` answers are drawn from `sft`, equal ones count once, `rejection_sample` accepts `accepted` of
/// them, and these, in random order, are compared two by two ("first round ranking"): the ranker prefers i to j with
/// probability sigmoid(reward_i - reward_j). With fewer than `accepted` different answers among the candidates, drawing
/// goes on until there are so many. `n` pairs; the last prompt's surplus is left out.
///
///     const auto pairs = rso_pairs(bandit.rewards(), bandit.reference(), 1000, rng, {.candidates = 32, .accepted = 2});
///     fit(pi, HingeDpo{.beta = 0.5}, {.pairs = pairs});
///
/// The paper's losses are `Dpo` (its sigmoid-norm; not TRL's `sigmoid_norm`, which is normalised by length), `HingeDpo`
/// (hinge-norm) and `SlicCalibration` (hinge); its temperature gamma is their beta, 0.05 there.
///
/// Throws `Error` for shapes that differ, a law that isn't one, rewards that aren't finite, an odd `accepted` or one
/// outside of [2, candidates], beta <= 0, and a prompt to which `sft` gives fewer different answers than `accepted`, or
/// so rarely that 1000 `candidates` draws don't show them.
inline ResponsePairs rso_pairs(const Matrix<double>& reward, const Matrix<double>& sft, std::size_t n, Rng& rng,
                               const RsoOptions& o = {}) {
  constexpr std::string_view where = "rso_pairs";
  const auto column = [](const Matrix<double>& m, int x) {
    return std::span<const double>(m.data() + x * m.rows(), static_cast<std::size_t>(m.rows()));
  };
  check_shape(where, "sft", sft.rows(), sft.cols(), reward.rows(), reward.cols());
  if (reward.size() == 0) fail(where, "reward is empty; expected at least one prompt");
  check_finite(where, "reward", view(reward));
  check_positive(where, "beta", o.beta);
  check_range(where, "accepted", o.accepted, 2, o.candidates);
  if (o.accepted % 2 != 0) fail(where, "accepted is {}; expected an even number, a pair of each two", o.accepted);
  for (int x = 0; x < sft.cols(); ++x) {
    check_probabilities(where, "sft", column(sft, x));
    const auto different = (sft.col(x).array() > 0).count();
    if (different < o.accepted)
      fail(where, "sft gives {} answers to prompt {}; expected at least {}, the accepted", different, x, o.accepted);
  }

  ResponsePairs pairs;
  std::vector<int> answers;
  std::vector<double> rewards;
  std::vector<bool> drawn;
  while (pairs.size() < n) {
    const int x = rng.below(static_cast<int>(reward.cols()));
    answers.clear(), rewards.clear(), drawn.assign(static_cast<std::size_t>(sft.rows()), false);
    for (std::ptrdiff_t i = 0; i < o.candidates || std::ssize(answers) < o.accepted; ++i) {
      if (i >= 1000 * static_cast<std::ptrdiff_t>(o.candidates))
        fail(where, "{} draws of sft gave {} different answers to prompt {}; expected {}", i, answers.size(), x,
             o.accepted);
      const std::size_t y = rng.categorical(column(sft, x));
      if (drawn[y]) continue;
      drawn[y] = true;
      answers.push_back(static_cast<int>(y)), rewards.push_back(column(reward, x)[y]);
    }
    std::vector<int> accepted = rejection_sample(rewards, o.accepted, o.beta, rng);
    rng.shuffle(std::span(accepted));
    for (std::size_t k = 0; k < accepted.size() && pairs.size() < n; k += 2) {
      const auto i = static_cast<std::size_t>(accepted[k]), j = static_cast<std::size_t>(accepted[k + 1]);
      const bool first = rng.bernoulli(sigmoid(rewards[i] - rewards[j]));
      pairs.push_back(x, answers[first ? i : j], answers[first ? j : i]);
    }
  }
  return pairs;
}

enum class PairSource {
  direct,           ///< logged pairs, judged by people
  sft_sample_rank,  ///< answers of the SFT policy, judged by the ranker
  rso_sample_rank   ///< answers of the estimated optimal policy, judged by the ranker: `rso_pairs`
};

/// `n` pairs of a source. `people`: a bandit with the logs' behaviour and true rewards, such as `PreferenceBandit`, of
/// which logged pairs are drawn. `ranker`: one with the reward model's rewards (the same bandit, if that is exact).
/// `sft`: answers x prompts, not read for `direct`. Errors as `sample_pairs` of the bandit and `rso_pairs`.
template <class Bandit>
  requires requires(const Bandit b, const Matrix<double> law, Rng rng) {
    b.rewards();
    b.sample_pairs(std::size_t{}, rng);
    b.sample_pairs(std::size_t{}, law, rng);
  }
ResponsePairs sample_pairs(PairSource source, const Bandit& people, const Bandit& ranker, const Matrix<double>& sft,
                           std::size_t n, Rng& rng, const RsoOptions& o = {}) {
  switch (source) {
    case PairSource::direct:
      return people.sample_pairs(n, rng);
    case PairSource::sft_sample_rank:
      return ranker.sample_pairs(n, sft, rng);
    case PairSource::rso_sample_rank:
      return rso_pairs(ranker.rewards(), sft, n, rng, o);
  }
  fail("sample_pairs", "source is {}; expected one of PairSource", static_cast<int>(source));
}

}  // namespace valence
