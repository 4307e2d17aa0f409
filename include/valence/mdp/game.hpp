#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <span>

#include "valence/core/random.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/spaces.hpp"

/// What a game of several players is. As for environments there is no base class, and each requirement is a concept
/// whose name is a sentence. A game is its rules: states come in and go out, so nothing has to be undone or copied to
/// look ahead.
namespace valence {

template <class G>
concept SaysHowManyPlay = requires(const G game) {
  { game.players() } -> std::convertible_to<int>;
};

template <class G>
concept InitialGivesTheFirstState = requires(const G game, Rng& rng) {
  { game.initial(rng) } -> std::convertible_to<typename G::State>;
};

template <class G>
concept ListsThePlayersActions = requires(const G game, const typename G::State& state, int player) {
  requires std::convertible_to<decltype(game.actions(state, player)), Discrete> ||
               std::convertible_to<decltype(*std::begin(game.actions(state, player))), typename G::Action>;
};

template <class G>
concept NextGivesAStepWithARewardAPlayer =
    requires(const G game, const typename G::State& state, std::span<const typename G::Action> joint, Rng& rng) {
      { game.next(state, joint, rng).next } -> std::convertible_to<typename G::State>;
      { game.next(state, joint, rng).reward[0] } -> std::convertible_to<double>;
      { game.next(state, joint, rng).reward.size() } -> std::convertible_to<std::size_t>;
      { game.next(state, joint, rng).terminated } -> std::convertible_to<bool>;
      { game.next(state, joint, rng).truncated } -> std::convertible_to<bool>;
    };

/// A game of players 0 .. players() - 1. `actions(state, player)` are the player's legal actions: a range of them, or a
/// `Discrete` where all of 0 .. n - 1 are legal; in a state where the game goes on, a player who has to choose has at
/// least one. `next(state, joint, rng)` plays one step: `joint` has an action a player, and the reward of the `Step`
/// (an array, a vector) an entry a player, each from that player's own point of view (a zero-sum game's sum to 0).
/// Random numbers come in. All members are const.
template <class G>
concept Game = std::copyable<G> && NamesItsStateAndAction<G> && SaysHowManyPlay<G> && InitialGivesTheFirstState<G> &&
               ListsThePlayersActions<G> && NextGivesAStepWithARewardAPlayer<G>;

/// The players move one at a time: `to_move(state)` is the one whose turn it is (not asked where the game is over), in
/// any order, the same one several times in a row too. Of `joint` only that player's entry is read.
template <class G>
concept TurnGame = Game<G> && requires(const G game, const typename G::State& state) {
  { game.to_move(state) } -> std::convertible_to<int>;
};

/// Calls `f(action)` for each legal action of the player, in the game's order.
template <Game G, class F>
void for_each_action(const G& game, const typename G::State& state, int player, F&& f) {
  const auto& actions = game.actions(state, player);
  if constexpr (std::convertible_to<decltype(actions), Discrete>) {
    const int n = Discrete(actions).n;
    for (int a = 0; a < n; ++a) f(static_cast<typename G::Action>(a));
  } else {
    for (const auto& action : actions) f(static_cast<typename G::Action>(action));
  }
}

/// Says in words what a game lacks, at compile time; the first line of whatever takes one.
template <class G>
consteval void explain_game() {
  static_assert(std::copyable<G>, "valence: a game can be copied");
  static_assert(NamesItsStateAndAction<G>,
                "valence: a game needs `using State = ...; using Action = ...;`, both copyable");
  static_assert(SaysHowManyPlay<G>, "valence: a game needs `int players() const`");
  if constexpr (NamesItsStateAndAction<G>) {
    static_assert(InitialGivesTheFirstState<G>, "valence: a game needs `State initial(valence::Rng&) const`");
    static_assert(ListsThePlayersActions<G>,
                  "valence: a game needs `actions(const State&, int player) const`: a range of Action, or Discrete");
    static_assert(NextGivesAStepWithARewardAPlayer<G>,
                  "valence: a game needs `valence::Step<State, Rewards> next(const State&, std::span<const Action>, "
                  "valence::Rng&) const` with a reward a player");
  }
}

}  // namespace valence
