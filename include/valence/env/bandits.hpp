#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

/// Bandits: environments whose episodes have one step. Each can be played as an `Environment` (`reset`, `step`), or
/// directly: `pull(arm, rng)` draws a reward, and `mean(arm)` is what it is on average, which a learner must not look
/// at and a regret is counted by.
namespace valence {

/// Arms 0 .. arms() - 1 with known means.
template <class B>
concept Bandit = std::copyable<B> && requires(B bandit, const B& known, int arm, Rng& rng) {
  { known.arms() } -> std::convertible_to<int>;
  { bandit.pull(arm, rng) } -> std::convertible_to<double>;
  { known.mean(arm) } -> std::convertible_to<double>;
  { known.best_mean() } -> std::convertible_to<double>;
};

/// A bandit whose means depend on a vector that is seen before the choice: `reset` draws it, `context()` shows it.
template <class B>
concept ContextualBandit = Bandit<B> && requires(B bandit, const B& known, Rng& rng) {
  bandit.reset(rng);
  { known.context() } -> std::convertible_to<std::span<const double>>;
};

namespace detail {

inline void check_arm(std::string_view where, int arm, int arms) {
  if (arm < 0 || arm >= arms) fail(where, "arm is {}; expected an arm in [0, {}]", arm, arms - 1);
}

}  // namespace detail

/// Each arm pays 1 with its own probability and 0 otherwise. It also lists its outcomes, so that `FiniteMdp{bandit}` is
/// its exact model.
class BernoulliBandit {
 public:
  using State = int;   ///< always 0
  using Action = int;  ///< the arm

  /// `probabilities`: of a reward of 1, an entry an arm, in [0, 1]. Throws if there is none, or one is outside.
  explicit BernoulliBandit(std::vector<double> probabilities) : probabilities_(std::move(probabilities)) {
    if (probabilities_.empty()) fail("BernoulliBandit", "probabilities is empty; expected at least one arm");
    check_range("BernoulliBandit", "probabilities", std::span<const double>(probabilities_), 0, 1);
  }
  /// Probabilities uniform on [0, 1). One output an arm. Throws if `arms` < 1.
  static BernoulliBandit random(int arms, Rng& rng) {
    check_positive("BernoulliBandit::random", "arms", arms);
    std::vector<double> probabilities(static_cast<std::size_t>(arms));
    rng.fill_uniform(std::span<double>(probabilities));
    return BernoulliBandit(std::move(probabilities));
  }

  int arms() const { return static_cast<int>(probabilities_.size()); }
  /// The probability of a reward of 1. Throws if there is no such arm, as does `pull`.
  double mean(int arm) const {
    detail::check_arm("BernoulliBandit::mean", arm, arms());
    return probabilities_[static_cast<std::size_t>(arm)];
  }
  double best_mean() const { return *std::max_element(probabilities_.begin(), probabilities_.end()); }
  /// 0 or 1. One output.
  double pull(int arm, Rng& rng) const {
    detail::check_arm("BernoulliBandit::pull", arm, arms());
    return rng.bernoulli(probabilities_[static_cast<std::size_t>(arm)]) ? 1 : 0;
  }

  int reset(Rng&) const { return 0; }
  Step<int> step(int arm, Rng& rng) const { return {.next = 0, .reward = pull(arm, rng), .terminated = true}; }
  Discrete actions() const { return {arms()}; }
  Discrete states() const { return {1}; }
  std::array<Outcome<int>, 2> outcomes(int, int arm) const {
    const double p = mean(arm);
    return {{{.next = 0, .probability = p, .reward = 1, .terminated = true},
             {.next = 0, .probability = 1 - p, .reward = 0, .terminated = true}}};
  }
  std::array<double, 1> initial_distribution() const { return {1}; }

  template <class A>
  void archive(A& ar) {
    ar(probabilities_);
  }

 private:
  std::vector<double> probabilities_;
};

/// Each arm pays a normal reward with its own mean; all have the same standard deviation.
class GaussianBandit {
 public:
  using State = int;   ///< always 0
  using Action = int;  ///< the arm

  /// `means`: an entry an arm, finite. `standard_deviation`: of a reward about its mean, finite and >= 0. Throws
  /// otherwise.
  explicit GaussianBandit(std::vector<double> means, double standard_deviation = 1)
      : means_(std::move(means)), standard_deviation_(standard_deviation) {
    if (means_.empty()) fail("GaussianBandit", "means is empty; expected at least one arm");
    check_finite("GaussianBandit", "means", std::span<const double>(means_));
    check_finite("GaussianBandit", "standard_deviation", standard_deviation);
    if (standard_deviation < 0) fail("GaussianBandit", "standard_deviation is {}; expected >= 0", standard_deviation);
  }
  /// The testbed of Sutton and Barto (2018, section 2.3): means and rewards of unit variance, means around 0. One
  /// output an arm. Throws if `arms` < 1.
  static GaussianBandit random(int arms, Rng& rng) {
    check_positive("GaussianBandit::random", "arms", arms);
    std::vector<double> means(static_cast<std::size_t>(arms));
    rng.fill_normal(std::span<double>(means));
    return GaussianBandit(std::move(means));
  }

  int arms() const { return static_cast<int>(means_.size()); }
  /// Throws if there is no such arm, as does `pull`.
  double mean(int arm) const {
    detail::check_arm("GaussianBandit::mean", arm, arms());
    return means_[static_cast<std::size_t>(arm)];
  }
  double best_mean() const { return *std::max_element(means_.begin(), means_.end()); }
  double standard_deviation() const { return standard_deviation_; }
  /// One output.
  double pull(int arm, Rng& rng) const { return mean(arm) + standard_deviation_ * rng.normal(); }

  int reset(Rng&) const { return 0; }
  Step<int> step(int arm, Rng& rng) const { return {.next = 0, .reward = pull(arm, rng), .terminated = true}; }
  Discrete actions() const { return {arms()}; }
  Discrete states() const { return {1}; }

  template <class A>
  void archive(A& ar) {
    ar(means_, standard_deviation_);
  }

 private:
  std::vector<double> means_;
  double standard_deviation_;
};

/// A contextual bandit that is linear, each arm in its own parameters: the context x is uniform on the unit sphere and
/// arm a pays theta_a . x plus normal noise (the model of Li et al. 2010, section 3.1). `reset` draws the context;
/// `mean`, `best_mean` and `pull` are those of the current one and throw before the first.
class LinearBandit {
 public:
  using State = Vector<double>;  ///< the context: an entry a feature, of length 1
  using Action = int;            ///< the arm

  /// `parameters`: features x arms, finite. `standard_deviation`: of the noise, finite and >= 0. Throws otherwise.
  explicit LinearBandit(Matrix<double> parameters, double standard_deviation = 0.1)
      : parameters_(std::move(parameters)), standard_deviation_(standard_deviation) {
    if (parameters_.size() == 0)
      fail("LinearBandit", "parameters is {} x {}; expected at least one feature and one arm", parameters_.rows(),
           parameters_.cols());
    check_finite("LinearBandit", "parameters", view(std::as_const(parameters_)));
    check_finite("LinearBandit", "standard_deviation", standard_deviation);
    if (standard_deviation < 0) fail("LinearBandit", "standard_deviation is {}; expected >= 0", standard_deviation);
  }
  /// Each arm's parameters uniform on the unit sphere, so that means lie in [-1, 1]. Throws for sizes < 1.
  static LinearBandit random(int arms, int features, Rng& rng, double standard_deviation = 0.1) {
    check_positive("LinearBandit::random", "arms", arms);
    check_positive("LinearBandit::random", "features", features);
    Matrix<double> parameters(features, arms);
    for (int a = 0; a < arms; ++a) on_sphere({parameters.col(a).data(), static_cast<std::size_t>(features)}, rng);
    return LinearBandit(std::move(parameters), standard_deviation);
  }

  int arms() const { return static_cast<int>(parameters_.cols()); }
  int features() const { return static_cast<int>(parameters_.rows()); }
  /// The current context; empty before the first `reset`.
  std::span<const double> context() const { return view(context_); }
  /// theta_arm . context.
  double mean(int arm) const {
    detail::check_arm("LinearBandit::mean", arm, arms());
    if (context_.size() == 0) fail("LinearBandit::mean", "there is no context; call reset first");
    return parameters_.col(arm).dot(context_);
  }
  double best_mean() const {
    double best = mean(0);
    for (int a = 1; a < arms(); ++a) best = (std::max)(best, mean(a));
    return best;
  }
  /// One output.
  double pull(int arm, Rng& rng) const { return mean(arm) + standard_deviation_ * rng.normal(); }

  /// Draws a context. One output a feature.
  const State& reset(Rng& rng) {
    context_.resize(parameters_.rows());
    on_sphere(view(context_), rng);
    return context_;
  }
  /// The episode ends: `next` is the context again, worth 0.
  Step<State> step(int arm, Rng& rng) const { return {.next = context_, .reward = pull(arm, rng), .terminated = true}; }
  Discrete actions() const { return {arms()}; }
  Box<State> states() const {
    return {State::Constant(parameters_.rows(), -1.0), State::Constant(parameters_.rows(), 1.0)};
  }

  template <class A>
  void archive(A& ar) {
    ar(parameters_, standard_deviation_, context_);
  }

 private:
  static void on_sphere(std::span<double> x, Rng& rng) {
    rng.fill_normal(x);
    double squares = 0;
    for (const double v : x) squares += v * v;
    if (squares > 0)
      for (double& v : x) v /= std::sqrt(squares);
    else
      x[0] = 1;  // all draws 0: about once in 2^53 for one feature
  }

  Matrix<double> parameters_;
  double standard_deviation_;
  State context_ = {};
};

}  // namespace valence
