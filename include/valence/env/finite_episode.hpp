#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/step.hpp"

/// What environments with few states share: they list the outcomes of an action, and play by drawing from that list. So
/// the model that is planned in and the process that is played cannot differ.
namespace valence {

/// At most `capacity` outcomes, without allocation: what `outcomes(state, action)` returns.
template <std::size_t capacity>
class OutcomeList {
 public:
  OutcomeList() = default;

  /// Appends one. Throws `Error` where the list is full.
  void add(const Outcome<int>& outcome) {
    if (size_ == capacity) fail("OutcomeList::add", "there are {} outcomes already; expected fewer", capacity);
    outcomes_[size_++] = outcome;
  }

  std::size_t size() const { return size_; }
  const Outcome<int>& operator[](std::size_t i) const { return outcomes_[i]; }
  const Outcome<int>* begin() const { return outcomes_.data(); }
  const Outcome<int>* end() const { return outcomes_.data() + size_; }

 private:
  std::array<Outcome<int>, capacity> outcomes_{};
  std::size_t size_ = 0;
};

namespace detail {

inline void check_state(std::string_view where, int state, int states) {
  if (state < 0 || state >= states) [[unlikely]]
    fail(where, "state is {}; expected one in [0, {}]", state, states - 1);
}
inline void check_action(std::string_view where, int action, int actions) {
  if (action < 0 || action >= actions) [[unlikely]]
    fail(where, "action is {}; expected one in [0, {}]", action, actions - 1);
}

}  // namespace detail

/// One of the elements, each of which has a `probability`; these sum to 1, and one of probability 0 is never drawn. One
/// output of the generator, also where there is only one element. O(elements). Not for an empty range.
template <class Range>
auto draw_outcome(const Range& outcomes, Rng& rng) {
  const double u = rng.uniform();
  double sum = 0;
  auto chosen = *outcomes.begin();
  for (const auto& outcome : outcomes) {
    const double p = static_cast<double>(outcome.probability);
    if (!(p > 0)) continue;
    chosen = outcome;  // the last, where rounding leaves the sum below u
    sum += p;
    if (u < sum) break;
  }
  return chosen;
}

/// The changing part of such an environment: where the episode stands. Before the first `begin`, and after the end, it
/// is over, and a step throws.
struct FiniteEpisode {
  int state = 0;
  bool over = true;

  /// The first state, which is returned.
  int begin(int first) {
    state = first;
    over = false;
    return first;
  }
  /// Draws from `env.outcomes(state, action)`, which also checks the action. Throws `Error` where the episode is over.
  /// One output.
  template <class E>
  Step<int> step(std::string_view where, const E& env, int action, Rng& rng) {
    if (over) [[unlikely]]
      fail(where, "the episode is over, or has not begun; call reset first");
    const Outcome<int> outcome = draw_outcome(env.outcomes(state, action), rng);
    state = outcome.next;
    over = outcome.terminated;
    return {.next = outcome.next, .reward = outcome.reward, .terminated = outcome.terminated};
  }

  template <class A>
  void archive(A& ar) {
    ar(state, over);
  }
};

}  // namespace valence
