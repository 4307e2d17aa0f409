#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// Gymnasium's arguments, with the values of its registration.
struct BlackjackOptions {
  bool sab =
      true;  ///< as in Sutton and Barto: a natural wins, unless the dealer has one too; `natural` isn't read then
  bool natural = false;  ///< without `sab`: a natural that wins pays 1.5
};

namespace detail {

/// Cards count 1 (ace) to 9, and 10 with four times the probability.
inline constexpr double card_probability(int card) { return card == 10 ? 4.0 / 13 : 1.0 / 13; }

/// How the dealer ends: row `card - 1` for the card that shows, columns 17, 18, 19, 20, 21 without a natural, bust,
/// natural.
using DealerEnds = std::array<std::array<double, 7>, 10>;
inline constexpr DealerEnds dealer_ends = [] {
  DealerEnds ends{};
  for (int up = 1; up <= 10; ++up) {
    // reached[sum][ace]: probability of a hand whose cards, aces as 1, have this sum. Sums only grow.
    std::array<std::array<double, 2>, 27> reached{};
    auto& end = ends[static_cast<std::size_t>(up - 1)];
    reached[static_cast<std::size_t>(up)][up == 1] = 1;
    for (int sum = 1; sum <= 26; ++sum)
      for (int ace = 0; ace < 2; ++ace) {
        const double p = reached[static_cast<std::size_t>(sum)][static_cast<std::size_t>(ace)];
        if (p == 0) continue;
        const int value = ace == 1 && sum + 10 <= 21 ? sum + 10 : sum;
        if (value >= 17) {
          end[static_cast<std::size_t>((value > 21 ? 22 : value) - 17)] += p;
          continue;
        }
        for (int card = 1; card <= 10; ++card)
          reached[static_cast<std::size_t>(sum + card)][card == 1 || ace == 1] += p * card_probability(card);
      }
    if (up == 1 || up == 10) {
      end[6] = card_probability(11 - up);
      end[4] -= end[6];
    }
  }
  return ends;
}();

}  // namespace detail

/// One hand of blackjack against a dealer who draws below 17, from an endless deck. Actions: 0 stick, 1 hit. Reward 1
/// for winning, 0 for a draw, -1 for losing. No time limit. Source: Sutton and Barto (2018), example 5.1; Gymnasium's
/// Blackjack-v1.
///
/// A state is what Gymnasium shows (the player's sum, the dealer's card, whether the player has an ace that counts 11),
/// and whether the hand is a natural, which decides what it earns: 291 states, of which the last is the end. `encode`
/// and `decode` translate.
class Blackjack {
 public:
  using State = int;
  using Action = int;
  enum : int { stick, hit };

  static constexpr int over = 290;  ///< the state in which the hand has been played

  /// What the player sees.
  struct Hand {
    int sum = 0;              ///< 4..21 without an ace that counts 11, 12..21 with one
    int dealer = 0;           ///< the card that shows: 1 (ace) to 10
    bool usable_ace = false;  ///< an ace counts 11
    bool natural = false;     ///< 21 with two cards

    friend bool operator==(const Hand&, const Hand&) = default;
  };

  explicit Blackjack(const BlackjackOptions& options = {}) : sab_(options.sab), natural_(options.natural) {}

  /// Deals. Three outputs.
  int reset(Rng& rng) {
    const int dealer = card(rng), first = card(rng), second = card(rng);
    return episode_.begin(encode(dealt(first, second, dealer)));
  }
  /// Throws `Error` for an action that doesn't exist and after the end. One output: the dealer's cards are not drawn
  /// one by one.
  Step<int> step(int action, Rng& rng) { return episode_.step("Blackjack::step", *this, action, rng); }

  Discrete states() const { return {over + 1}; }
  Discrete actions() const { return {2}; }
  /// Throws `Error` for a state or an action that doesn't exist.
  OutcomeList<11> outcomes(int state, int action) const {
    detail::check_state("Blackjack", state, over + 1);
    detail::check_action("Blackjack", action, 2);
    OutcomeList<11> list;
    if (state == over) {
      list.add({.next = over, .probability = 1, .reward = 0, .terminated = true});
      return list;
    }
    const Hand hand = decode(state);
    if (action == stick) {
      double win = 0, draw = 0, lose = 0;
      const auto& ends = detail::dealer_ends[static_cast<std::size_t>(hand.dealer - 1)];
      for (int k = 0; k < 7; ++k) {  // a bust counts as 0, a natural as 21
        const int dealer = k < 5 ? 17 + k : k == 5 ? 0 : 21;
        const bool wins = hand.sum > dealer || (sab_ && hand.natural && k != 6);
        (wins ? win : hand.sum == dealer ? draw : lose) += ends[static_cast<std::size_t>(k)];
      }
      const double pay = !sab_ && natural_ && hand.natural ? 1.5 : 1;
      list.add({.next = over, .probability = win, .reward = pay, .terminated = true});
      list.add({.next = over, .probability = draw, .reward = 0, .terminated = true});
      list.add({.next = over, .probability = lose, .reward = -1, .terminated = true});
      return list;
    }
    double bust = 0;
    for (int c = 1; c <= 10; ++c) {
      Hand next = {.sum = hand.sum + c, .dealer = hand.dealer, .usable_ace = hand.usable_ace};
      if (c == 1 && !hand.usable_ace && next.sum + 10 <= 21) next.sum += 10, next.usable_ace = true;
      if (next.sum > 21 && next.usable_ace) next.sum -= 10, next.usable_ace = false;
      if (next.sum > 21)
        bust += detail::card_probability(c);
      else
        list.add({.next = encode(next), .probability = detail::card_probability(c), .reward = 0});
    }
    if (bust > 0) list.add({.next = over, .probability = bust, .reward = -1, .terminated = true});
    return list;
  }
  std::vector<double> initial_distribution() const {
    std::vector<double> p(over + 1, 0.0);
    for (int dealer = 1; dealer <= 10; ++dealer)
      for (int first = 1; first <= 10; ++first)
        for (int second = 1; second <= 10; ++second)
          p[static_cast<std::size_t>(encode(dealt(first, second, dealer)))] +=
              detail::card_probability(dealer) * detail::card_probability(first) * detail::card_probability(second);
    return p;
  }

  /// The number of a hand. Throws `Error` for one that doesn't exist.
  static int encode(const Hand& h) {
    constexpr auto where = "Blackjack::encode";
    check_range(where, "dealer", h.dealer, 1, 10);
    check_range(where, "sum", h.sum, h.natural ? 21 : h.usable_ace ? 12 : 4, 21);
    if (h.natural && !h.usable_ace) fail(where, "natural without a usable ace; expected one that counts 11");
    const int card = h.dealer - 1;
    return h.natural ? 280 + card : h.usable_ace ? 180 + (h.sum - 12) * 10 + card : (h.sum - 4) * 10 + card;
  }
  /// The hand of a state. Throws `Error` for `over`, where there is none.
  static Hand decode(int state) {
    detail::check_state("Blackjack::decode", state, over);
    const int dealer = state % 10 + 1;
    if (state >= 280) return {.sum = 21, .dealer = dealer, .usable_ace = true, .natural = true};
    if (state >= 180) return {.sum = 12 + (state - 180) / 10, .dealer = dealer, .usable_ace = true};
    return {.sum = 4 + state / 10, .dealer = dealer};
  }

  int state() const { return episode_.state; }
  /// Sets the scene; the episode goes on from there. Throws `Error` for a state that doesn't exist.
  void set_state(int state) {
    detail::check_state("Blackjack::set_state", state, over + 1);
    episode_ = {state, terminal(state)};
  }
  bool terminal(int state) const { return state == over; }

  template <class A>
  void archive(A& ar) {
    ar(sab_, natural_, episode_);
  }

 private:
  static int card(Rng& rng) {
    const int rank = rng.below(13) + 1;
    return rank < 10 ? rank : 10;
  }
  static Hand dealt(int first, int second, int dealer) {
    const bool ace = first == 1 || second == 1;
    const int sum = first + second + (ace ? 10 : 0);
    return {.sum = sum, .dealer = dealer, .usable_ace = ace, .natural = sum == 21};
  }

  bool sab_, natural_;
  FiniteEpisode episode_;
};

}  // namespace valence
