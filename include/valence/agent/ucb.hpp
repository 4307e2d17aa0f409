#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "valence/agent/bandit.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"

/// Optimism in the face of uncertainty: the indices of UCB1 and KL-UCB as functions, and the agent that pulls the arm
/// of the largest index.
namespace valence {

namespace detail {

inline void check_index(std::string_view where, double mean, double pulls, double time) {
  check_finite(where, "mean", mean);
  check_positive(where, "pulls", pulls);
  if (!(time >= 1 && std::isfinite(time))) fail(where, "time is {}; expected a finite number >= 1", time);
}

}  // namespace detail

/// The relative entropy of two Bernoulli distributions, p log(p / q) + (1 - p) log((1 - p) / (1 - q)), in nats: 0 where
/// they are equal, inf where q makes impossible what p allows. Throws unless both are in [0, 1].
inline double bernoulli_kl(double p, double q) {
  check_range("bernoulli_kl", "p", p, 0, 1);
  check_range("bernoulli_kl", "q", q, 0, 1);
  // By differences: the ratios themselves cancel where q is close to p.
  const double of_one = p > 0 ? -p * std::log1p((q - p) / p) : 0;
  const double of_zero = p < 1 ? -(1 - p) * std::log1p((p - q) / (1 - p)) : 0;
  return (std::max)(of_one + of_zero, 0.0);
}

/// The largest q in [mean, 1] with bernoulli_kl(mean, q) <= `divergence`, to the last digits. Throws unless mean is in
/// [0, 1] and divergence finite and >= 0.
inline double bernoulli_kl_upper_bound(double mean, double divergence) {
  constexpr std::string_view where = "bernoulli_kl_upper_bound";
  check_range(where, "mean", mean, 0, 1);
  check_range(where, "divergence", divergence, 0, (std::numeric_limits<double>::max)());
  if (mean == 1 || divergence == 0) return mean;
  // In u = -log(1 - q) the divergence is convex and nearly straight, so Newton's method from above falls monotonically
  // onto the solution. Above it lie two bounds: from KL = integral_p^q (x - p) / (x (1 - x)) dx, with the largest of
  // the denominators in its place; and, for q close to 1, from log(p / q) >= log p.
  double bound = mean + std::sqrt(2 * divergence * (mean < 0.5 ? 0.25 : mean * (1 - mean)));
  if (bound < 0.5) bound = mean + std::sqrt(2 * divergence * bound * (1 - bound));
  const double log_mean = mean > 0 ? std::log(mean) : 0;
  double u = (divergence - mean * log_mean) / (1 - mean) - std::log1p(-mean);
  if (bound < 1) u = (std::min)(u, -std::log1p(-bound));
  double q = -std::expm1(-u);
  for (int i = 0; i < 60 && q > mean && q < 1; ++i) {
    const double next = u - (bernoulli_kl(mean, q) - divergence) * q / (q - mean);
    if (!(next < u)) break;  // only rounding is left
    u = next;
    q = -std::expm1(-u);
  }
  return (std::max)(q, mean);
}

/// The index of UCB1, mean + sqrt(exploration ln(time) / pulls), for rewards in [0, 1] (Auer, Cesa-Bianchi and Fischer
/// 2002, figure 1, where exploration is 2). `pulls` > 0 of this arm, `time` >= 1 of all arms.
inline double ucb1_index(double mean, double pulls, double time, double exploration = 2) {
  detail::check_index("ucb1_index", mean, pulls, time);
  check_range("ucb1_index", "exploration", exploration, 0, (std::numeric_limits<double>::max)());
  return mean + std::sqrt(exploration * std::log(time) / pulls);
}

/// The index of KL-UCB for rewards in [0, 1]: the largest q with pulls KL(mean, q) <= ln(time) + c ln(ln(time)), KL
/// that of Bernoulli distributions (Garivier and Cappé 2011, algorithm 1; the theorem has c = 3, the authors use 0).
inline double kl_ucb_index(double mean, double pulls, double time, double c = 0) {
  detail::check_index("kl_ucb_index", mean, pulls, time);
  check_range("kl_ucb_index", "c", c, 0, (std::numeric_limits<double>::max)());
  const double log_time = std::log(time);
  return bernoulli_kl_upper_bound(mean, (log_time + (log_time > 1 ? c * std::log(log_time) : 0)) / pulls);
}

/// UCB1's index and hyper-parameter, for `IndexBandit`.
struct Ucb1Index {
  double exploration = 2;  ///< >= 0; 2 is the paper's, for rewards in [0, 1]. For normal rewards, times their variance
  static constexpr double lowest_reward = -(std::numeric_limits<double>::max)();
  static constexpr double highest_reward = (std::numeric_limits<double>::max)();
  double operator()(double mean, double pulls, double time) const { return ucb1_index(mean, pulls, time, exploration); }
};

/// KL-UCB's index and hyper-parameter, for `IndexBandit`.
struct KlUcbIndex {
  double c = 0;  ///< >= 0, of the term ln(ln(time))
  static constexpr double lowest_reward = 0;
  static constexpr double highest_reward = 1;
  double operator()(double mean, double pulls, double time) const { return kl_ucb_index(mean, pulls, time, c); }
};

/// A rule that says how promising an arm is from its mean reward, its number of pulls (>= 1) and that of all arms; and
/// the rewards it is made for.
template <class F>
concept BanditIndex = std::copyable<F> && requires(const F index, double x) {
  { index(x, x, x) } -> std::convertible_to<double>;
  { F::lowest_reward } -> std::convertible_to<double>;
  { F::highest_reward } -> std::convertible_to<double>;
};

/// Pulls each arm once, in random order, and from then on an arm of the largest index; ties at random.
///
///     Ucb1 agent{10};
///     KlUcb agent{10, {.c = 3}};
template <BanditIndex Index>
class IndexBandit {
 public:
  /// Throws if `arms` < 1 or the index refuses its hyper-parameters.
  explicit IndexBandit(int arms, Index index = {}) : index_(index), statistics_(arms) {
    static_cast<void>(index_(0.5, 1, 1));
    scores_.resize(static_cast<std::size_t>(arms));
  }

  int arms() const { return statistics_.arms(); }
  const ArmStatistics& statistics() const { return statistics_; }

  /// One output.
  int choose(Rng& rng) {
    const auto time = static_cast<double>(statistics_.total());
    for (std::size_t a = 0; a < scores_.size(); ++a) {
      const std::uint64_t pulls = statistics_.pulls()[a];
      scores_[a] = pulls == 0 ? std::numeric_limits<double>::infinity()
                              : index_(statistics_.means()[a], static_cast<double>(pulls), time);
    }
    return detail::random_argmax(scores_, rng);
  }
  /// Throws, and changes nothing, if there is no such arm or the reward is outside of what the index is made for.
  void update(int arm, double reward) {
    detail::check_reward("IndexBandit::update", reward, Index::lowest_reward, Index::highest_reward);
    statistics_.add(arm, reward);
  }

  template <class A>
  void archive(A& ar) {
    ar(statistics_);
  }

 private:
  Index index_;
  ArmStatistics statistics_;
  std::vector<double> scores_;
};

/// UCB1 (Auer, Cesa-Bianchi and Fischer 2002).
using Ucb1 = IndexBandit<Ucb1Index>;
/// KL-UCB for rewards in [0, 1] (Garivier and Cappé 2011).
using KlUcb = IndexBandit<KlUcbIndex>;

}  // namespace valence
