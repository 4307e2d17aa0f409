#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/bandit.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"

namespace valence {

/// Whatever picks an index from estimated values: the choices of policy/ (`EpsilonGreedy`, `Boltzmann`, `Greedy`), or
/// any struct with `choose(values, rng)`.
template <class C>
concept ChoosesByValue = std::copyable<C> && requires(C choice, std::span<const double> values, Rng& rng) {
  { choice.choose(values, rng) } -> std::convertible_to<int>;
};

/// What `ActionValueBandit` is told.
struct ActionValueOptions {
  double initial =
      0;  ///< where every value starts; above all rewards it is optimistic, and makes greedy choices explore
  std::optional<double> step_size = {};  ///< in (0, 1]; without one, values are sample averages (1 / n)
};

/// Learns a value for each arm and leaves the choice to an exploration rule (Sutton and Barto 2018, sections 2.2 to
/// 2.6):
///
///     ActionValueBandit agent{10, EpsilonGreedy{0.1}};                                      // epsilon-greedy
///     ActionValueBandit agent{10, Boltzmann{0.2}};                                          // softmax
///     ActionValueBandit agent{10, Greedy{}, {.initial = 5, .step_size = 0.1}};              // optimistic
///
/// V_a = (1 - step_size) V_a + step_size r, with 1 / n instead of a step size where none is given; then the first
/// reward replaces the initial value, so that optimism wears off at once.
template <ChoosesByValue Choice>
class ActionValueBandit {
 public:
  /// Throws if `arms` < 1 or an option is out of range.
  ActionValueBandit(int arms, Choice choice, ActionValueOptions options = {})
      : choice_(std::move(choice)), options_(options) {
    check_positive("ActionValueBandit", "arms", arms);
    check_finite("ActionValueBandit", "initial", options.initial);
    if (options.step_size && !(*options.step_size > 0 && *options.step_size <= 1))
      fail("ActionValueBandit", "step_size is {}; expected a number in (0, 1]", *options.step_size);
    values_.assign(static_cast<std::size_t>(arms), options.initial);
    pulls_.resize(values_.size());
  }

  int arms() const { return static_cast<int>(values_.size()); }
  /// An entry an arm.
  std::span<const double> values() const { return values_; }
  std::span<const std::uint64_t> pulls() const { return pulls_; }

  int choose(Rng& rng) { return choice_.choose(std::span<const double>(values_), rng); }
  /// Throws, and changes nothing, if there is no such arm or the reward is not finite.
  void update(int arm, double reward) {
    detail::check_arm("ActionValueBandit::update", arm, arms());
    check_finite("ActionValueBandit::update", "reward", reward);
    const auto a = static_cast<std::size_t>(arm);
    ++pulls_[a];
    const double step = options_.step_size.value_or(1 / static_cast<double>(pulls_[a]));
    values_[a] = (1 - step) * values_[a] + step * reward;
  }

  template <class A>
  void archive(A& ar) {
    if constexpr (Archivable<Choice>) ar(choice_);
    ar(values_, pulls_);
  }

 private:
  Choice choice_;
  ActionValueOptions options_;
  std::vector<double> values_ = {};
  std::vector<std::uint64_t> pulls_ = {};
};

}  // namespace valence
