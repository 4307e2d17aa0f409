#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/wrapper.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/encode.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// A state and the stock that it was reached with.
template <class State>
struct StockState {
  State state = {};
  double stock = 0;

  template <class A>
  void archive(A& ar) {
    ar(state, stock);
  }
};

/// How it enters a model: the state's numbers, then the stock. (An integer state is one-hot: the column has one entry
/// more than there are states.)
template <class State, class S>
void encode(const StockState<State>& s, std::span<S> column) {
  encode(s.state, column.first(column.size() - 1));
  column.back() = static_cast<S>(s.stock);
}

/// `initial`: the stocks that an episode begins with, drawn alike; `discount` in (0, 1].
struct StockAugmentedOptions {
  std::vector<double> initial = {0.0};
  double discount = 1;
};

/// Shows the stock beside the state: from c_0 it goes on as (stock + reward) / discount (Avila Pires et al. 2025), so
/// that c_0 + G_0 = discount^t (c_t + G_t) at every step. Rewards, ends and random numbers are those of the environment
/// inside, but for one draw a reset where there are several stocks to begin with.
///
///     StockAugmented game{ModelEnvironment{mdp}, {.initial = {best.stock}}};
template <SingleReward E>
struct StockAugmented : Wrapper<E> {
  using State = StockState<typename E::State>;

  std::vector<double> initial;
  double discount, stock = 0;

  /// Throws `Error` for options out of range.
  explicit StockAugmented(E environment, StockAugmentedOptions options = {})
      : Wrapper<E>{std::move(environment)}, initial(std::move(options.initial)), discount(options.discount) {
    constexpr auto where = "StockAugmented";
    if (initial.empty()) fail(where, "initial is empty; expected at least one stock");
    check_finite(where, "initial", std::span<const double>(initial));
    if (!(discount > 0 && discount <= 1)) fail(where, "discount is {}; expected a number in (0, 1]", discount);
  }

  State reset(Rng& rng) {
    auto first = this->env.reset(rng);
    stock = initial.size() == 1 ? initial[0] : initial[rng.below(initial.size())];
    return {std::move(first), stock};
  }
  /// Throws `Error` where the stock overflows.
  Step<State> step(const typename E::Action& action, Rng& rng) {
    auto inner = this->env.step(action, rng);
    const double reward = static_cast<double>(inner.reward);
    stock = (stock + reward) / discount;
    check_finite("StockAugmented::step", "the stock", stock);
    return {.next = {std::move(inner.next), stock},
            .reward = reward,
            .terminated = static_cast<bool>(inner.terminated),
            .truncated = static_cast<bool>(inner.truncated)};
  }
  void states() const = delete;  // no integers any more
  void outcomes(int, int) const = delete;
  void initial_distribution() const = delete;

  template <class A>
  void archive(A& ar)
    requires requires(E e, A& a) { e.archive(a); }
  {
    ar(this->env, initial, discount, stock);
  }
};
template <class E>
StockAugmented(E) -> StockAugmented<E>;
template <class E>
StockAugmented(E, StockAugmentedOptions) -> StockAugmented<E>;

}  // namespace valence
