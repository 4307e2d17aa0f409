#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/mdp/finite_mdp.hpp"

/// Finite models estimated from transitions: counts, the model of maximum likelihood, and the Dirichlet posterior of
/// the transition probabilities with its mean and its samples.
namespace valence {

/// How often each action led from each state to each other, and what it earned: all that the estimators read.
/// Transitions that terminated lead to an end of their own, also where their last state is played on from elsewhere;
/// truncated ones count like any other.
///
///     TransitionCounts counts{16, 4};
///     counts.add(data);
///     const FiniteMdp<double> model = maximum_likelihood(counts, {.unvisited = Unvisited::self_loop});
class TransitionCounts {
 public:
  /// One successor of a pair, and how often it came: with the episode going on, or over.
  struct Count {
    std::int32_t next;
    std::uint32_t went_on, ended;
    template <class A>
    void archive(A& ar) {
      ar(next, went_on, ended);
    }
  };

  TransitionCounts() = default;
  /// Both >= 1.
  TransitionCounts(int states, int actions) : states_(states), actions_(actions) {
    check_positive("TransitionCounts", "states", states);
    check_positive("TransitionCounts", "actions", actions);
    rows_.resize(static_cast<std::size_t>(states) * static_cast<std::size_t>(actions));
    total_reward_.resize(rows_.size(), 0.0), visits_.resize(rows_.size(), 0);
    first_.resize(static_cast<std::size_t>(states), 0);
  }

  /// Counts one transition. Throws `Error` for a state or action out of range, or a reward that isn't finite.
  void add(int state, int action, double reward, int next, bool terminated) {
    constexpr auto where = "TransitionCounts::add";
    check_state(where, "state", state);
    if (action < 0 || action >= actions_)
      fail(where, "action is {} (state {}); expected one in [0, {}]", action, state, actions_ - 1);
    check_state(where, "next", next);
    check_finite(where, "reward", reward);
    const std::size_t row = index(state, action);
    std::vector<Count>& counts = rows_[row];
    auto place = std::lower_bound(counts.begin(), counts.end(), next, [](const Count& c, int s) { return c.next < s; });
    if (place == counts.end() || place->next != next) place = counts.insert(place, {next, 0, 0});
    ++(terminated ? place->ended : place->went_on);
    ++visits_[row];
    total_reward_[row] += reward;
  }
  /// Counts an episode that began in `state`.
  void add_first(int state) {
    check_state("TransitionCounts::add_first", "state", state);
    ++first_[static_cast<std::size_t>(state)];
  }
  /// Counts a dataset, and where it knows episodes, their first states.
  template <Dataset D>
  void add(const D& data) {
    for (std::size_t i = 0; i < data.size(); ++i) {
      const auto t = data[i];
      add(static_cast<int>(t.state), static_cast<int>(t.action), static_cast<double>(t.reward),
          static_cast<int>(t.next), static_cast<bool>(t.terminated));
    }
    if constexpr (EpisodicDataset<D>)
      for (std::size_t k = 0; k < data.episodes(); ++k)
        if (data.episode(k).begin < data.episode(k).end) add_first(static_cast<int>(data[data.episode(k).begin].state));
  }

  int states() const { return states_; }
  int actions() const { return actions_; }
  /// How often the action was taken in the state.
  std::uint64_t visits(int state, int action) const { return visits_[index(state, action)]; }
  /// The mean reward of a pair; NaN where it was never tried.
  double mean_reward(int state, int action) const {
    const std::size_t row = index(state, action);
    return total_reward_[row] / static_cast<double>(visits_[row]);
  }
  /// The successors that came, in increasing order.
  std::span<const Count> successors(int state, int action) const { return rows_[index(state, action)]; }
  /// How many episodes began in each state.
  std::span<const std::uint64_t> first() const { return first_; }

  template <class A>
  void archive(A& ar) {
    ar(states_, actions_, rows_, total_reward_, visits_, first_);
  }

 private:
  std::size_t index(int state, int action) const {
    return static_cast<std::size_t>(state) * static_cast<std::size_t>(actions_) + static_cast<std::size_t>(action);
  }
  void check_state(std::string_view where, std::string_view what, int state) const {
    if (state < 0 || state >= states_) fail(where, "{} is {}; expected one in [0, {}]", what, state, states_ - 1);
  }

  int states_ = 0, actions_ = 0;
  std::vector<std::vector<Count>> rows_;  // a pair
  std::vector<double> total_reward_;      // a pair
  std::vector<std::uint64_t> visits_;     // a pair
  std::vector<std::uint64_t> first_;      // a state
};

/// What a model says of pairs that were never tried.
enum class Unvisited {
  error,        ///< nothing: `maximum_likelihood` throws an `Error` that names the first
  unavailable,  ///< the action isn't available there; a state none of whose actions was tried is an `Error`
  self_loop,    ///< it stays in its state
  uniform       ///< every state is equally likely to follow
};

/// `unvisited_reward`: what a pair that was never tried earns, where it is in the model at all.
struct MaximumLikelihoodOptions {
  Unvisited unvisited = Unvisited::error;
  double unvisited_reward = 0;
};

/// `concentration` > 0: the prior's pseudo-count of each successor; 1 is uniform over all distributions.
/// `unvisited_reward`: what a pair that was never tried earns.
struct DirichletOptions {
  double concentration = 1, unvisited_reward = 0;
};

namespace detail {

/// Where the ends are. A state that was only entered by transitions that terminated, and never acted or begun in, is
/// itself terminal; transitions that terminated elsewhere lead to one terminal state more, at index `states`.
struct EstimatedEnds {
  std::vector<std::uint8_t> terminal;  // a state, the additional one included
  int end = -1;                        // the additional one, or -1
};

inline EstimatedEnds find_ends(const TransitionCounts& counts) {
  const auto n = static_cast<std::size_t>(counts.states());
  std::vector<std::uint8_t> played(n, 0), ended(n, 0);
  for (int s = 0; s < counts.states(); ++s) {
    if (counts.first()[static_cast<std::size_t>(s)] > 0) played[static_cast<std::size_t>(s)] = 1;
    for (int a = 0; a < counts.actions(); ++a)
      for (const auto& count : counts.successors(s, a)) {
        played[static_cast<std::size_t>(s)] = 1;
        if (count.went_on > 0) played[static_cast<std::size_t>(count.next)] = 1;
        if (count.ended > 0) ended[static_cast<std::size_t>(count.next)] = 1;
      }
  }
  EstimatedEnds ends{.terminal = std::vector<std::uint8_t>(n, 0)};
  bool extra = false;
  for (std::size_t s = 0; s < n; ++s) {
    ends.terminal[s] = ended[s] != 0 && played[s] == 0 ? 1 : 0;
    extra = extra || (ended[s] != 0 && played[s] != 0);
  }
  if (extra) {
    ends.end = counts.states();
    ends.terminal.push_back(1);
  }
  return ends;
}

/// How often each state of the model followed, the ends included.
inline void successor_counts(const TransitionCounts& counts, const EstimatedEnds& ends, int s, int a,
                             std::vector<double>& out) {
  out.assign(ends.terminal.size(), 0.0);
  for (const auto& count : counts.successors(s, a)) {
    const auto next = static_cast<std::size_t>(count.next);
    out[next] += count.went_on;
    out[ends.terminal[next] != 0 ? next : out.size() - 1] += count.ended;
  }
}

/// A model from its rows: `fill(s, a, p)` gives the probabilities of all states, not all 0, or false for an action that
/// isn't available.
template <class Fill>
FiniteMdp<double> estimated_model(const TransitionCounts& counts, const EstimatedEnds& ends, double unvisited_reward,
                                  Fill&& fill) {
  const std::size_t n = ends.terminal.size(), m = static_cast<std::size_t>(counts.actions());
  ModelColumns<double> c{.states = static_cast<int>(n), .actions = counts.actions()};
  c.row_begin.reserve(n * m + 1);
  c.row_begin.push_back(0);
  c.reward.assign(n * m, 0.0);
  std::vector<double> p(n);
  for (int s = 0; s < c.states; ++s)
    for (int a = 0; a < c.actions; ++a) {
      const std::size_t row = static_cast<std::size_t>(s) * m + static_cast<std::size_t>(a);
      if (ends.terminal[static_cast<std::size_t>(s)] == 0 && fill(s, a, p)) {
        double sum = 0;
        for (const double x : p) sum += x;
        for (std::size_t next = 0; next < n; ++next) {
          if (!(p[next] > 0)) continue;
          c.next.push_back(static_cast<std::int32_t>(next));
          c.probability.push_back(p[next] / sum);
        }
        c.reward[row] = counts.visits(s, a) > 0 ? counts.mean_reward(s, a) : unvisited_reward;
      }
      if (c.next.size() > (std::numeric_limits<std::uint32_t>::max)())
        fail("estimated model", "there are more than 2^32 transitions at state {}; expected fewer", s);
      c.row_begin.push_back(static_cast<std::uint32_t>(c.next.size()));
    }
  if (std::find(ends.terminal.begin(), ends.terminal.end(), 1) != ends.terminal.end()) c.terminal = ends.terminal;
  std::uint64_t episodes = 0;
  for (const std::uint64_t count : counts.first()) episodes += count;
  if (episodes > 0) {
    c.initial.assign(n, 0.0);
    for (std::size_t s = 0; s < counts.first().size(); ++s)
      c.initial[s] = static_cast<double>(counts.first()[s]) / static_cast<double>(episodes);
  }
  return FiniteMdp<double>(std::move(c));
}

}  // namespace detail

/// The model under which the transitions were most likely: P(s' | s, a) is how often s' followed, over how often a was
/// taken in s; rewards are the pairs' means, the initial distribution the share of episodes that began in a state (none
/// where no episode was counted). A state that was only ever an end is terminal. Where transitions terminated in a
/// state that was also played on from, they lead to one terminal state more, at index `counts.states()`.
inline FiniteMdp<double> maximum_likelihood(const TransitionCounts& counts,
                                            const MaximumLikelihoodOptions& options = {}) {
  constexpr auto where = "maximum_likelihood";
  check_positive(where, "counts.states()", counts.states());
  check_finite(where, "unvisited_reward", options.unvisited_reward);
  const detail::EstimatedEnds ends = detail::find_ends(counts);
  const auto n = static_cast<std::ptrdiff_t>(counts.states());
  for (int s = 0; s < counts.states(); ++s) {
    if (ends.terminal[static_cast<std::size_t>(s)] != 0) continue;
    bool any = false;
    for (int a = 0; a < counts.actions(); ++a) {
      any = any || counts.visits(s, a) > 0;
      if (options.unvisited == Unvisited::error && counts.visits(s, a) == 0)
        fail(where, "action {} was never taken in state {}; expected some transitions, or the option unvisited", a, s);
    }
    if (!any && options.unvisited == Unvisited::unavailable)
      fail(where, "no action was ever taken in state {}; expected some transitions, or the option unvisited", s);
  }
  return detail::estimated_model(counts, ends, options.unvisited_reward, [&](int s, int a, std::vector<double>& p) {
    if (counts.visits(s, a) > 0) {
      detail::successor_counts(counts, ends, s, a, p);
      return true;
    }
    if (options.unvisited == Unvisited::unavailable) return false;
    std::fill(p.begin(), p.end(), 0.0);
    if (options.unvisited == Unvisited::uniform)
      std::fill(p.begin(), p.begin() + n, 1.0);
    else
      p[static_cast<std::size_t>(s)] = 1;
    return true;
  });
}

/// The posterior of the transition probabilities: each row is Dirichlet with parameters `concentration` + counts, over
/// all states of the model (the end that transitions led to by terminating included), independent of the others.
/// Rewards are the pairs' means; terminal states and the initial distribution are those of `maximum_likelihood`. Rows
/// are full, so this is for models of a few thousand states. (Strens 2000, "A Bayesian framework for reinforcement
/// learning".)
class DirichletPosterior {
 public:
  explicit DirichletPosterior(TransitionCounts counts, const DirichletOptions& options = {})
      : counts_(std::move(counts)), options_(options) {
    check_positive("DirichletPosterior", "counts.states()", counts_.states());
    check_positive("DirichletPosterior", "concentration", options.concentration);
    check_finite("DirichletPosterior", "unvisited_reward", options.unvisited_reward);
    ends_ = detail::find_ends(counts_);
  }

  /// P(s' | s, a) = (concentration + count) / (states x concentration + visits).
  FiniteMdp<double> mean() const {
    return detail::estimated_model(counts_, ends_, options_.unvisited_reward,
                                   [&](int s, int a, std::vector<double>& p) { return parameters(s, a, p); });
  }
  /// A model drawn from the posterior: for Thompson sampling (plan in it, act, draw again) and for scenarios.
  FiniteMdp<double> sample(Rng& rng) const {
    std::vector<double> alpha;
    return detail::estimated_model(counts_, ends_, options_.unvisited_reward,
                                   [&](int s, int a, std::vector<double>& p) {
                                     parameters(s, a, alpha);
                                     rng.dirichlet(alpha, p);
                                     return true;
                                   });
  }

  const TransitionCounts& counts() const { return counts_; }

 private:
  bool parameters(int s, int a, std::vector<double>& alpha) const {
    detail::successor_counts(counts_, ends_, s, a, alpha);
    for (double& x : alpha) x += options_.concentration;
    return true;
  }

  TransitionCounts counts_;
  DirichletOptions options_;
  detail::EstimatedEnds ends_;
};

}  // namespace valence
