#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/archive.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/distributional/particles.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/env/stock_augmented.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/step.hpp"
#include "valence/planning/stock_augmentation.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/policy/rate.hpp"

namespace valence {

/// `step_size` >= 0: a number, or a schedule of the transitions learned from. `discount` in (0, 1]. `stock`: the grid
/// of stocks that are told apart, a stock counting as its nearest point; none for states without one.
struct QuantileAgentOptions {
  Rate step_size = 0.1;
  double discount = 0.99;
  StockGrid stock = StockGrid::none();
};

/// Quantile Q-learning over a table, for any statistic of the return (Dabney et al. 2018, "Distributional Reinforcement
/// Learning with Quantile Regression"; with a stock: the tabular form of the agent of Avila Pires et al. 2025).
/// theta(s, a) are N quantiles of the return. It acts on K(law of theta(s, a)), or with a stock c on K(law of c +
/// theta(s, c, a)), and moves theta down the gradient of the head's loss towards r + discount theta(s', (c + r) /
/// discount, a'), a' the action that is best there.
///
///     QuantileAgent plain{Tabular{16, 4}, QuantileReturn{.quantiles = 16}};                        // K = Mean
///     QuantileAgent agent{Tabular{16, 4}, QuantileReturn{.quantiles = 16, .kappa = 0},
///     ExpectedUtility<NegativePart>{},
///                         EpsilonGreedy{0.3}, {.discount = 1, .stock = StockGrid::integers(-8, 24)}};
///     train(agent, StockAugmented{env, {.initial = {-8}}}, {.episodes = 15'000}, rng);
///
/// `table` has the states and actions of the environment and where every quantile begins; the agent keeps
/// states x stocks x actions x N numbers. States are integers, with a stock `StockState` of one. The statistic must be
/// one that dynamic programming can optimise (`distributional_value_iteration`); without a stock an agent that is
/// greedy for another one learns something, but not that one's best policy.
template <ReturnFunctional F = Mean, ActionChoice Choice = EpsilonGreedy>
class QuantileAgent {
 public:
  explicit QuantileAgent(Tabular<double> table, QuantileReturn head = {}, F statistic = {}, Choice choice = {},
                         QuantileAgentOptions options = {})
      : table_(table),
        head_(head),
        statistic_(std::move(statistic)),
        choice_(std::move(choice)),
        options_(std::move(options)) {
    check_positive(where, "states", table.states);
    check_positive(where, "actions", table.outputs);
    check_finite(where, "initial", table.initial);
    check_positive(where, "quantiles", head.quantiles);
    options_.stock.check(where);
    if (!(options_.discount > 0 && options_.discount <= 1))
      fail(where, "discount is {}; expected a number in (0, 1]", options_.discount);
    static_cast<void>(step_size());
    const auto n = static_cast<std::size_t>(head.quantiles);
    detail::augmented_states(where, table.states, options_.stock.points, static_cast<double>(head_.size(actions())));
    theta_.assign(static_cast<std::size_t>(table.states) * static_cast<std::size_t>(options_.stock.points) *
                      static_cast<std::size_t>(actions()) * n,
                  table.initial);
    atoms_.resize(n), target_.resize(n), slope_.resize(n);
    values_.resize(static_cast<std::size_t>(actions()));
  }

  int actions() const { return table_.outputs; }
  template <class State>
  int act(const State& state, Rng& rng) {
    return choice_.choose(values(state), rng);
  }
  /// The statistic of stock + return of each action: valid until the agent is used again. Throws `Error` for a state
  /// that isn't in the table and a stock beyond the grid, unless that clamps.
  template <class State>
  std::span<const double> values(const State& state) {
    const double c = stock_of(state);
    const std::size_t n = atoms_.size(), first = row(state);
    for (std::size_t a = 0; a < values_.size(); ++a) {
      for (std::size_t i = 0; i < n; ++i) atoms_[i] = c + theta_[first + a * n + i];
      values_[a] = statistic_(LawView{atoms_});
    }
    return values_;
  }
  /// The first of the best actions.
  template <class State>
  int greedy(const State& state) {
    return static_cast<int>(detail::largest_value(where, values(state)).first);
  }
  /// The quantiles of the return of an action, the stock not counted, in no order.
  template <class State>
  std::span<const double> quantiles(const State& state, int action) const {
    check_range(where, "the action", action, 0, actions() - 1);
    return std::span(theta_).subspan(row(state) + static_cast<std::size_t>(action) * atoms_.size(), atoms_.size());
  }

  /// Throws `Error`, and changes nothing, for a reward that isn't finite, and a state, a stock or an action that there
  /// isn't.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    const double reward = static_cast<double>(t.reward);
    check_finite(where, "the reward", reward);
    check_range(where, "the transition's action", static_cast<int>(t.action), 0, actions() - 1);
    const auto theta =
        std::span(theta_).subspan(row(t.state) + static_cast<std::size_t>(t.action) * atoms_.size(), atoms_.size());
    const double step = step_size();
    if (t.terminated)
      head_.encode(reward, std::span(target_));
    else
      head_.bootstrap(quantiles(t.next, greedy(t.next)), reward, options_.discount, std::span(target_));
    std::fill(slope_.begin(), slope_.end(), 0.0);
    head_.loss(std::span<const double>(theta), target_, slope_);
    for (std::size_t i = 0; i < theta.size(); ++i) theta[i] -= step * slope_[i];
    ++steps_;
  }

  /// Transitions learned from.
  std::int64_t steps() const { return steps_; }
  std::span<const double> parameters() const { return theta_; }
  const F& statistic() const { return statistic_; }

  template <class A>
  void archive(A& ar) {
    const std::size_t size = theta_.size();
    ar(theta_, steps_);
    check_size("archive", "the quantiles", theta_.size(), size);
    if constexpr (Archivable<Choice>) ar(choice_);
  }

 private:
  static constexpr auto where = "QuantileAgent";

  double step_size() const {
    return options_.step_size.in(where, "step_size", steps_, 0, (std::numeric_limits<double>::max)());
  }
  double stock_of(int) const { return 0; }
  double stock_of(const StockState<int>& state) const { return options_.stock.is_none() ? 0 : state.stock; }
  /// Where the quantiles of a state begin.
  std::size_t row(int state) const {
    if (!options_.stock.is_none())
      fail(where, "the state has no stock; expected a StockState, as StockAugmented gives");
    return row(StockState<int>{state, 0});
  }
  std::size_t row(const StockState<int>& state) const {
    check_range(where, "the state", state.state, 0, table_.states - 1);
    const StockGrid& grid = options_.stock;
    check_finite(where, "the stock", state.stock);
    if (!grid.clamp && !grid.contains(state.stock))
      fail(where, "the stock is {}; expected one in [{}, {}], or a grid with clamp", state.stock, grid.min, grid.max);
    const auto x = static_cast<std::size_t>(state.state) * static_cast<std::size_t>(grid.points) +
                   static_cast<std::size_t>(grid.nearest(state.stock));
    return x * values_.size() * atoms_.size();
  }

  Tabular<double> table_;
  QuantileReturn head_;
  F statistic_;
  Choice choice_;
  QuantileAgentOptions options_;
  std::vector<double> theta_ = {};
  std::int64_t steps_ = 0;
  std::vector<double> atoms_ = {}, target_ = {}, slope_ = {}, values_ = {};  // scratch
};

}  // namespace valence
