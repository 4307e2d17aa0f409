#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"

/// What of a finite model depends on which transitions are possible and not on how likely they are: who is reached
/// surely, who never, where a policy can stay for ever, and so whether discount 1 makes sense. (Baier & Katoen 2008,
/// chapter 10; Forejt, Kwiatkowska, Norman & Parker 2011.) No recursion: models of 1e6 states in a row are fine.
namespace valence {

/// A set of states: entry s is 1 where s belongs to it, else 0.
using StateSet = std::vector<std::uint8_t>;

/// A set of rows of a `TransitionGraph`, in the same way.
using RowSet = std::vector<std::uint8_t>;

/// Over all policies: the largest value of a quantity, or the smallest.
enum class Extreme { largest, smallest };

/// The possible transitions of a model as arrays. State s has the rows row_begin[s] to row_begin[s + 1], one for each
/// available action; row i leads to the states next[next_begin[i]] to next[next_begin[i + 1]]. A state without rows is
/// an end.
struct TransitionGraph {
  int states = 0;
  std::vector<std::uint32_t> row_begin = {0};   ///< states + 1
  std::vector<std::uint32_t> pair = {};         ///< a row: s * actions + a of the model it was made from
  std::vector<std::uint32_t> next_begin = {0};  ///< rows + 1
  std::vector<std::int32_t> next = {};          ///< a transition: the state it leads to

  std::size_t rows() const { return pair.size(); }
  std::size_t first_row(int s) const { return row_begin[static_cast<std::size_t>(s)]; }
  std::size_t last_row(int s) const { return row_begin[static_cast<std::size_t>(s) + 1]; }  ///< one past it
  /// No action: the episode is over here.
  bool end(int s) const { return first_row(s) == last_row(s); }
  std::span<const std::int32_t> successors(std::size_t row) const {
    return {next.data() + next_begin[row], next.data() + next_begin[row + 1]};
  }
};

/// The same transitions by where they lead: state s is entered by the rows row[begin[s]] to row[begin[s + 1]].
struct Predecessors {
  std::vector<std::uint32_t> begin = {};  ///< states + 1
  std::vector<std::uint32_t> row = {};    ///< a transition
  std::vector<std::int32_t> source = {};  ///< a row: whose it is

  std::span<const std::uint32_t> rows(int s) const {
    return {row.data() + begin[static_cast<std::size_t>(s)], row.data() + begin[static_cast<std::size_t>(s) + 1]};
  }
};

/// Strongly connected components. Numbered so that what a component leads to has lower numbers.
struct Components {
  int count = 0;
  std::vector<std::int32_t> of = {};  ///< a state: its component
};

/// End components: sets of states with rows that lead nowhere else and connect them all, where a policy can stay for
/// ever and go round for ever. The maximal ones don't overlap.
struct EndComponents {
  int count = 0;
  std::vector<std::int32_t> of = {};  ///< a state: its component, -1 for none
  RowSet inside = {};                 ///< the rows that stay in their state's component
};

/// The set of `members`. Throws `Error` for a state that isn't in [0, states).
inline StateSet state_set(std::string_view where, int states, std::span<const int> members) {
  StateSet set(static_cast<std::size_t>(states), 0);
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (members[i] < 0 || members[i] >= states)
      fail(where, "goal[{}] is {}; expected a state in [0, {}]", i, members[i], states - 1);
    set[static_cast<std::size_t>(members[i])] = 1;
  }
  return set;
}

namespace detail {

inline void add_row(TransitionGraph& graph, std::uint32_t pair) {
  if (graph.next.size() > (std::numeric_limits<std::uint32_t>::max)())
    fail("transition_graph", "the model has {} transitions or more; expected fewer than 2^32", graph.next.size());
  graph.pair.push_back(pair);
  graph.next_begin.push_back(static_cast<std::uint32_t>(graph.next.size()));
}
inline void add_state(TransitionGraph& graph) {
  ++graph.states;
  graph.row_begin.push_back(static_cast<std::uint32_t>(graph.pair.size()));
}
template <class M>
std::uint32_t pair_index(const M& model, int s, int a) {
  return static_cast<std::uint32_t>(s) * static_cast<std::uint32_t>(model.actions()) + static_cast<std::uint32_t>(a);
}
template <class M>
void check_pairs(const M& model) {
  const auto pairs = static_cast<std::uint64_t>(model.states()) * static_cast<std::uint64_t>(model.actions());
  if (pairs > (std::numeric_limits<std::uint32_t>::max)())
    fail("transition_graph", "{} states x {} actions are too many; expected fewer than 2^32 pairs", model.states(),
         model.actions());
}

}  // namespace detail

/// The graph of a model. Episodes also end in the states of `ends` (empty: none): they get no rows.
template <FiniteModel M>
TransitionGraph transition_graph(const M& model, const StateSet& ends = {}) {
  detail::check_pairs(model);
  if (!ends.empty()) check_size("transition_graph", "ends", ends.size(), static_cast<std::size_t>(model.states()));
  TransitionGraph graph;
  graph.row_begin.reserve(static_cast<std::size_t>(model.states()) + 1);
  for (int s = 0; s < model.states(); ++s) {
    const bool over = model.terminal(s) || (!ends.empty() && ends[static_cast<std::size_t>(s)]);
    for (int a = 0; !over && a < model.actions(); ++a) {
      if (!model.available(s, a)) continue;
      for (const auto& to : model.successors(s, a)) graph.next.push_back(to.next);
      detail::add_row(graph, detail::pair_index(model, s, a));
    }
    detail::add_state(graph);
  }
  return graph;
}

/// The graph of the Markov chain that a policy makes of the model: one row a state, to whatever it may lead to. Throws
/// `Error` for an action that isn't available.
template <FiniteModel M>
TransitionGraph policy_graph(const M& model, std::span<const int> policy) {
  detail::check_pairs(model);
  detail::check_policy("policy_graph", model, policy);
  TransitionGraph graph;
  for (int s = 0; s < model.states(); ++s) {
    const int a = policy[static_cast<std::size_t>(s)];
    if (!model.terminal(s)) {
      for (const auto& to : model.successors(s, a)) graph.next.push_back(to.next);
      detail::add_row(graph, detail::pair_index(model, s, a));
    }
    detail::add_state(graph);
  }
  return graph;
}

/// The same for a stochastic policy, actions x states. A row's pair is that of the state's first action.
template <FiniteModel M>
TransitionGraph policy_graph(const M& model, const Matrix<typename M::Scalar>& policy) {
  detail::check_pairs(model);
  detail::check_policy("policy_graph", model, policy);
  TransitionGraph graph;
  for (int s = 0; s < model.states(); ++s) {
    if (!model.terminal(s)) {
      for (int a = 0; a < model.actions(); ++a)
        if (policy(a, s) > 0)
          for (const auto& to : model.successors(s, a)) graph.next.push_back(to.next);
      detail::add_row(graph, detail::pair_index(model, s, 0));
    }
    detail::add_state(graph);
  }
  return graph;
}

/// Turns a graph round, in linear time.
inline Predecessors predecessors(const TransitionGraph& graph) {
  Predecessors into;
  into.begin.assign(static_cast<std::size_t>(graph.states) + 1, 0);
  into.source.resize(graph.rows());
  into.row.resize(graph.next.size());
  for (const std::int32_t t : graph.next) ++into.begin[static_cast<std::size_t>(t) + 1];
  std::partial_sum(into.begin.begin(), into.begin.end(), into.begin.begin());
  std::vector<std::uint32_t> at(into.begin.begin(), into.begin.end() - 1);
  for (int s = 0; s < graph.states; ++s)
    for (std::size_t i = graph.first_row(s); i < graph.last_row(s); ++i) {
      into.source[i] = s;
      for (const std::int32_t t : graph.successors(i))
        into.row[at[static_cast<std::size_t>(t)]++] = static_cast<std::uint32_t>(i);
    }
  return into;
}

namespace detail {

/// Adds to `set` every state from which *some* policy that uses the usable rows may get there. `chosen`, if given, gets
/// for each state added the row by which it gets one step nearer.
inline void grow_by_some(const Predecessors& into, const RowSet& usable, StateSet& set,
                         std::vector<std::uint32_t>* chosen = nullptr) {
  std::vector<std::int32_t> queue;
  for (std::size_t s = 0; s < set.size(); ++s)
    if (set[s]) queue.push_back(static_cast<std::int32_t>(s));
  for (std::size_t i = 0; i < queue.size(); ++i)
    for (const std::uint32_t row : into.rows(queue[i])) {
      const std::int32_t s = into.source[row];
      if (!usable[row] || set[static_cast<std::size_t>(s)]) continue;
      set[static_cast<std::size_t>(s)] = 1;
      if (chosen) (*chosen)[static_cast<std::size_t>(s)] = row;
      queue.push_back(s);
    }
}

/// Adds to `set` every state from which *all* policies that use the usable rows may get there, and strikes off the rows
/// that may lead into the set: what stays usable avoids it for sure.
inline void grow_by_all(const TransitionGraph& graph, const Predecessors& into, RowSet& usable, StateSet& set) {
  std::vector<std::int32_t> queue;
  std::vector<std::uint32_t> left(set.size(), 0);
  for (std::size_t i = 0; i < graph.rows(); ++i) left[static_cast<std::size_t>(into.source[i])] += usable[i] != 0;
  for (std::size_t s = 0; s < set.size(); ++s)
    if (set[s]) queue.push_back(static_cast<std::int32_t>(s));
  for (std::size_t i = 0; i < queue.size(); ++i)
    for (const std::uint32_t row : into.rows(queue[i])) {
      if (!usable[row]) continue;
      usable[row] = 0;
      const auto s = static_cast<std::size_t>(into.source[row]);
      if (--left[s] > 0 || set[s]) continue;
      set[s] = 1;
      queue.push_back(static_cast<std::int32_t>(s));
    }
}

inline void complement(StateSet& set) {
  for (std::uint8_t& x : set) x = !x;
}

/// All rows but those of `set`.
inline RowSet rows_outside(const Predecessors& into, const StateSet& set) {
  RowSet usable(into.source.size());
  for (std::size_t i = 0; i < usable.size(); ++i) usable[i] = !set[static_cast<std::size_t>(into.source[i])];
  return usable;
}

/// Tarjan's algorithm (1972) with its stack in memory of its own.
class ComponentSearch {
 public:
  explicit ComponentSearch(const TransitionGraph& graph)
      : graph_(graph), index_(static_cast<std::size_t>(graph.states)), low_(index_.size()) {}

  /// Numbers the components of `roots`, from 0, over the usable rows, which lead to no other states. Returns how many.
  int operator()(const RowSet& usable, std::span<const std::int32_t> roots, std::vector<std::int32_t>& component) {
    for (const std::int32_t s : roots) at(index_, s) = 0, at(component, s) = -1;
    std::int32_t time = 0;
    int count = 0;
    const auto visit = [&](std::int32_t s) {
      at(index_, s) = at(low_, s) = ++time;
      stack_.push_back(s);
      const std::uint32_t row = at(graph_.row_begin, s);
      frames_.push_back({s, row, graph_.next_begin[row]});
    };
    for (const std::int32_t root : roots) {
      if (at(index_, root) != 0) continue;
      visit(root);
      while (!frames_.empty()) {
        Frame& f = frames_.back();
        const std::int32_t s = f.state;
        if (f.row == graph_.last_row(s)) {
          if (at(low_, s) == at(index_, s)) {
            std::int32_t t;
            do {
              t = stack_.back();
              stack_.pop_back();
              at(component, t) = count;
            } while (t != s);
            ++count;
          }
          frames_.pop_back();
          if (!frames_.empty()) lower(frames_.back().state, at(low_, s));
        } else if (!usable[f.row] || f.entry == graph_.next_begin[f.row + 1]) {
          f.entry = graph_.next_begin[++f.row];
        } else {
          const std::int32_t t = graph_.next[f.entry++];
          if (at(index_, t) == 0)
            visit(t);  // f is gone
          else if (at(component, t) < 0)
            lower(s, at(index_, t));
        }
      }
    }
    return count;
  }

 private:
  struct Frame {
    std::int32_t state;
    std::uint32_t row, entry;
  };
  template <class T>
  static T& at(std::vector<T>& v, std::int32_t s) {
    return v[static_cast<std::size_t>(s)];
  }
  template <class T>
  static const T& at(const std::vector<T>& v, std::int32_t s) {
    return v[static_cast<std::size_t>(s)];
  }
  void lower(std::int32_t s, std::int32_t to) { at(low_, s) = (std::min)(at(low_, s), to); }

  const TransitionGraph& graph_;
  std::vector<std::int32_t> index_, low_, stack_;
  std::vector<Frame> frames_;
};

inline std::vector<std::int32_t> all_states(const TransitionGraph& graph) {
  std::vector<std::int32_t> states(static_cast<std::size_t>(graph.states));
  std::iota(states.begin(), states.end(), 0);
  return states;
}

}  // namespace detail

/// The strongly connected components, in linear time. In the order of their numbers, what a state depends on comes
/// first: the order in which a sweep wants them.
inline Components strongly_connected_components(const TransitionGraph& graph) {
  Components result{.of = std::vector<std::int32_t>(static_cast<std::size_t>(graph.states))};
  result.count = detail::ComponentSearch(graph)(RowSet(graph.rows(), 1), detail::all_states(graph), result.of);
  return result;
}

/// The maximal end components that can be made of the rows in `usable` (Baier & Katoen 2008, algorithm 47): strike off
/// what leaves its strongly connected component until nothing does, each time only where something was. Linear for
/// each level at which components fall apart, of which there are rarely more than three.
inline EndComponents maximal_end_components(const TransitionGraph& graph, const Predecessors& into, RowSet usable) {
  check_size("maximal_end_components", "usable", usable.size(), graph.rows());
  const std::size_t n = static_cast<std::size_t>(graph.states);
  EndComponents result{.of = std::vector<std::int32_t>(n, -1)};
  std::vector<std::uint32_t> left(n, 0);
  std::vector<std::int32_t> dead, active;
  const auto strike = [&](std::size_t row) {
    usable[row] = 0;
    const std::int32_t s = into.source[row];
    if (--left[static_cast<std::size_t>(s)] == 0) dead.push_back(s);
  };
  const auto bury = [&] {  // a row into a state without rows can't be in an end component
    while (!dead.empty()) {
      const std::int32_t t = dead.back();
      dead.pop_back();
      for (const std::uint32_t row : into.rows(t))
        if (usable[row]) strike(row);
    }
  };
  for (std::size_t i = 0; i < usable.size(); ++i) left[static_cast<std::size_t>(into.source[i])] += usable[i] != 0;
  for (std::int32_t s = 0; s < graph.states; ++s) (left[static_cast<std::size_t>(s)] ? active : dead).push_back(s);
  bury();

  detail::ComponentSearch search(graph);
  std::vector<std::int32_t> component(n, -1), number;
  std::vector<std::uint8_t> changed;
  for (;;) {
    std::erase_if(active, [&](std::int32_t s) { return left[static_cast<std::size_t>(s)] == 0; });
    if (active.empty()) break;
    const int count = search(usable, active, component);
    changed.assign(static_cast<std::size_t>(count), 0);
    for (const std::int32_t s : active) {
      const std::int32_t own = component[static_cast<std::size_t>(s)];
      for (std::size_t i = graph.first_row(s); i < graph.last_row(s); ++i) {
        if (!usable[i]) continue;
        const auto to = graph.successors(i);
        const bool leaves = std::any_of(to.begin(), to.end(),
                                        [&](std::int32_t t) { return component[static_cast<std::size_t>(t)] != own; });
        if (leaves) strike(i), changed[static_cast<std::size_t>(own)] = 1;
      }
    }
    bury();
    number.assign(static_cast<std::size_t>(count), -1);
    std::erase_if(active, [&](std::int32_t s) {
      const auto own = static_cast<std::size_t>(component[static_cast<std::size_t>(s)]);
      if (changed[own]) return false;
      if (number[own] < 0) number[own] = result.count++;
      result.of[static_cast<std::size_t>(s)] = number[own];
      return true;
    });
  }
  result.inside = std::move(usable);
  return result;
}
inline EndComponents maximal_end_components(const TransitionGraph& graph) {
  return maximal_end_components(graph, predecessors(graph), RowSet(graph.rows(), 1));
}

/// The states whose largest (smallest) probability of ever reaching `goal` is 0: no policy can reach it (some policy
/// surely avoids it). Linear. What is possible in goal states doesn't matter.
inline StateSet probability_zero(const TransitionGraph& graph, const Predecessors& into, StateSet goal,
                                 Extreme extreme) {
  check_size("probability_zero", "goal", goal.size(), static_cast<std::size_t>(graph.states));
  RowSet usable = detail::rows_outside(into, goal);
  if (extreme == Extreme::largest)
    detail::grow_by_some(into, usable, goal);
  else
    detail::grow_by_all(graph, into, usable, goal);
  detail::complement(goal);
  return goal;
}

/// The states whose largest (smallest) probability of ever reaching `goal` is 1: some policy surely reaches it (every
/// policy does). Linear for the smallest; for the largest linear a round, of which there are rarely more than three.
inline StateSet probability_one(const TransitionGraph& graph, const Predecessors& into, const StateSet& goal,
                                Extreme extreme) {
  check_size("probability_one", "goal", goal.size(), static_cast<std::size_t>(graph.states));
  RowSet usable = detail::rows_outside(into, goal);
  if (extreme == Extreme::smallest) {  // not if it may get to where the goal can be avoided
    StateSet doubtful = probability_zero(graph, into, goal, Extreme::smallest);
    detail::grow_by_some(into, usable, doubtful);
    detail::complement(doubtful);
    return doubtful;
  }
  // Give up the states from which it can't be reached, and the rows that may lead to them, until there are none.
  StateSet lost(goal.size(), 0);
  for (;;) {
    StateSet reached = goal;
    detail::grow_by_some(into, usable, reached);
    bool more = false;
    for (std::size_t s = 0; s < lost.size(); ++s)
      if (!reached[s] && !lost[s]) lost[s] = 1, more = true;
    if (!more) break;
    detail::grow_by_all(graph, into, usable, lost);
  }
  detail::complement(lost);
  return lost;
}

namespace detail {

/// The first state that isn't in the set; -1 if all are.
inline int first_missing(const StateSet& set) {
  const auto at = std::find(set.begin(), set.end(), std::uint8_t{0});
  return at == set.end() ? -1 : static_cast<int>(at - set.begin());
}

/// The states without rows.
inline StateSet ends_of(const TransitionGraph& graph) {
  StateSet ends(static_cast<std::size_t>(graph.states));
  for (int s = 0; s < graph.states; ++s) ends[static_cast<std::size_t>(s)] = graph.end(s);
  return ends;
}

/// The states of an end component are worth the same where staying in it costs nothing: each component becomes one
/// state, a class, that keeps the rows that lead out of it. Other states are classes of their own.
struct Collapsed {
  EndComponents still;                    ///< what became one
  std::vector<std::int32_t> of = {};      ///< a state: its class
  std::vector<std::uint32_t> begin = {};  ///< classes + 1: class c has the states member[begin[c]] to begin[c + 1]
  std::vector<std::int32_t> member = {};
  TransitionGraph graph = {};  ///< of the classes

  std::span<const std::int32_t> members(int c) const {
    return {member.data() + begin[static_cast<std::size_t>(c)], member.data() + begin[static_cast<std::size_t>(c) + 1]};
  }
  /// Is it an end component that became one?
  bool still_class(int c) const { return still.of[static_cast<std::size_t>(members(c).front())] >= 0; }
};

inline Collapsed collapse(const TransitionGraph& graph, EndComponents still) {
  const std::size_t n = static_cast<std::size_t>(graph.states);
  Collapsed result{.still = std::move(still)};
  std::vector<std::int32_t> number(static_cast<std::size_t>(result.still.count), -1);
  std::int32_t classes = 0;
  result.of.resize(n);
  for (std::size_t s = 0; s < n; ++s) {
    const std::int32_t c = result.still.of[s];
    if (c < 0)
      result.of[s] = classes++;
    else if (std::int32_t& k = number[static_cast<std::size_t>(c)]; k < 0)
      result.of[s] = k = classes++;
    else
      result.of[s] = k;
  }
  result.begin.assign(static_cast<std::size_t>(classes) + 1, 0);
  for (const std::int32_t c : result.of) ++result.begin[static_cast<std::size_t>(c) + 1];
  std::partial_sum(result.begin.begin(), result.begin.end(), result.begin.begin());
  result.member.resize(n);
  std::vector<std::uint32_t> at(result.begin.begin(), result.begin.end() - 1);
  for (std::size_t s = 0; s < n; ++s)
    result.member[at[static_cast<std::size_t>(result.of[s])]++] = static_cast<std::int32_t>(s);
  for (std::int32_t c = 0; c < classes; ++c) {
    for (const std::int32_t s : result.members(c))
      for (std::size_t i = graph.first_row(s); i < graph.last_row(s); ++i) {
        if (result.still.inside[i]) continue;
        for (const std::int32_t t : graph.successors(i))
          result.graph.next.push_back(result.of[static_cast<std::size_t>(t)]);
        add_row(result.graph, graph.pair[i]);
      }
    add_state(result.graph);
  }
  return result;
}

/// State and action that a row stands for.
struct StateAction {
  int state, action;
};
template <class M>
StateAction pair_of(const M& model, const TransitionGraph& graph, std::size_t row) {
  const auto actions = static_cast<std::uint32_t>(model.actions());
  return {static_cast<int>(graph.pair[row] / actions), static_cast<int>(graph.pair[row] % actions)};
}

/// Sweeps that decide whether reward can be gained for ever: enough for components some thousands of steps across.
inline constexpr int gain_sweeps = 10'000;

/// Throws if going round in `classes`, an end component over the rows in `inside`, can earn 0 or more a step, or might.
/// The largest average is between the smallest and the largest entry of T h - h for any h (Puterman 1994, theorem
/// 8.5.5); h comes from relative value iteration, damped so that periodic components converge too (section 8.5.4).
/// `place` is memory for an entry a class.
template <class M>
void check_gain(std::string_view where, const M& model, const Collapsed& collapsed,
                std::span<const std::int32_t> classes, const RowSet& inside, std::vector<std::int32_t>& place) {
  const TransitionGraph& graph = collapsed.graph;
  std::vector<double> h(classes.size(), 0), next(classes.size());
  for (std::size_t i = 0; i < classes.size(); ++i)
    place[static_cast<std::size_t>(classes[i])] = static_cast<std::int32_t>(i);
  double size = 0, most = -std::numeric_limits<double>::infinity();
  std::size_t terms = 0;
  StateAction best{-1, -1};
  const auto for_rows = [&](std::int32_t c, auto&& f) {
    for (std::size_t i = graph.first_row(c); i < graph.last_row(c); ++i)
      if (inside[i]) f(pair_of(model, graph, i));
  };
  for (const std::int32_t c : classes)
    for_rows(c, [&](StateAction p) {
      const double r = static_cast<double>(model.reward(p.state, p.action));
      size = (std::max)(size, std::abs(r));
      if (r > most) most = r, best = p;
      std::size_t k = 0;
      for ([[maybe_unused]] const auto& to : model.successors(p.state, p.action)) ++k;
      terms = (std::max)(terms, k);
    });
  double low = 0, high = 0;
  for (int sweep = 0; sweep < gain_sweeps; ++sweep) {
    low = std::numeric_limits<double>::infinity(), high = -low;
    double largest = 0;
    for (std::size_t i = 0; i < classes.size(); ++i) {
      double value = -std::numeric_limits<double>::infinity();
      for_rows(classes[i], [&](StateAction p) {
        double sum = 0, mass = 0;
        for (const auto& to : model.successors(p.state, p.action)) {
          const std::int32_t c = collapsed.of[static_cast<std::size_t>(to.next)];
          sum += static_cast<double>(to.probability) * h[static_cast<std::size_t>(place[static_cast<std::size_t>(c)])];
          mass += static_cast<double>(to.probability);
        }
        value = (std::max)(value, static_cast<double>(model.reward(p.state, p.action)) + sum / mass);
      });
      const double change = value - h[i];
      low = (std::min)(low, change), high = (std::max)(high, change);
      next[i] = h[i] + change / 2;
      largest = (std::max)(largest, std::abs(h[i]));
    }
    const double rounding =
        std::numeric_limits<double>::epsilon() * static_cast<double>(terms + 8) * (size + 2 * largest);
    low -= rounding, high += rounding;
    if (high < 0) return;
    if (low > 0 || high - low <= 4 * rounding) break;
    const double shift = next.front();
    for (std::size_t i = 0; i < h.size(); ++i) h[i] = next[i] - shift;
  }
  if (low > 0)
    fail(
        where,
        "from state {} on, reward can be gained for ever (action {} earns {}, and going round at least {:.6g} a step): "
        "the total has no bound; expected a discount below 1, or a model in which staying costs",
        best.state, best.action, most, low);
  fail(where,
       "from state {} on, one can go round for ever (action {} earns {}) for an average between {:.3g} and {:.3g} a "
       "step; expected less than 0, or rewards of exactly 0 all the way, or a discount below 1",
       best.state, best.action, most, low, high);
}

/// Checks that the total reward until `ends` (states without rows) makes sense, and collapses the end components in
/// which all rewards are 0. `may_stay`: staying in one of them for ever is a way to end, worth 0.
template <class M>
Collapsed collapse_episodic(std::string_view where, const M& model, const TransitionGraph& graph,
                            const Predecessors& into, StateSet ends, bool may_stay, std::string_view end_name) {
  RowSet free(graph.rows());
  bool any_gain = false;
  for (std::size_t i = 0; i < free.size(); ++i) {
    const StateAction p = pair_of(model, graph, i);
    const auto r = model.reward(p.state, p.action);
    free[i] = r == 0;
    any_gain = any_gain || r > 0;
  }
  Collapsed collapsed = collapse(graph, maximal_end_components(graph, into, std::move(free)));
  if (any_gain) {
    const EndComponents round = maximal_end_components(collapsed.graph);
    std::vector<std::uint8_t> gains(static_cast<std::size_t>(round.count), 0);
    std::vector<std::uint32_t> begin(gains.size() + 1, 0);
    for (std::int32_t c = 0; c < collapsed.graph.states; ++c) {
      const std::int32_t own = round.of[static_cast<std::size_t>(c)];
      if (own < 0) continue;
      ++begin[static_cast<std::size_t>(own) + 1];
      for (std::size_t i = collapsed.graph.first_row(c); i < collapsed.graph.last_row(c); ++i) {
        const StateAction p = pair_of(model, collapsed.graph, i);
        if (round.inside[i] && model.reward(p.state, p.action) > 0) gains[static_cast<std::size_t>(own)] = 1;
      }
    }
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    std::vector<std::uint32_t> at(begin.begin(), begin.end() - 1);
    std::vector<std::int32_t> classes(begin.back());
    for (std::int32_t c = 0; c < collapsed.graph.states; ++c)
      if (const std::int32_t own = round.of[static_cast<std::size_t>(c)]; own >= 0)
        classes[at[static_cast<std::size_t>(own)]++] = c;
    std::vector<std::int32_t> place(static_cast<std::size_t>(collapsed.graph.states));
    for (std::size_t k = 0; k < gains.size(); ++k)
      if (gains[k])
        check_gain(where, model, collapsed,
                   std::span<const std::int32_t>(classes).subspan(begin[k], begin[k + 1] - begin[k]), round.inside,
                   place);
  }
  if (may_stay)
    for (std::size_t s = 0; s < ends.size(); ++s) ends[s] = ends[s] || collapsed.still.of[s] >= 0;
  if (const int s = first_missing(probability_one(graph, into, ends, Extreme::largest)); s >= 0)
    fail(where,
         "from state {} no policy reaches {} with probability 1, so its total reward isn't finite; expected a model in "
         "which each state has one, or a discount below 1",
         s, end_name);
  return collapsed;
}

}  // namespace detail

/// Throws `Error`, naming a state, unless the optimal total reward (discount 1) of the model is well defined and finite
/// in every state. Accepted is a model in which
///
/// - from every state some policy reaches, with probability 1, a terminal state or an end component all of whose
///   rewards are 0 (where it can stay for ever, for nothing), and
/// - a policy that goes round in any other end component for ever loses: its average reward a step is below 0. Where no
///   reward in the component is positive that follows from the graph; otherwise it is bounded by up to 10'000 sweeps of
///   relative value iteration over the component, and an average too near to 0 to tell (a cycle that earns 1 and pays
///   it back) is refused.
///
/// This is the stochastic shortest path problem of Bertsekas & Tsitsiklis (1991) once end components of reward 0 are
/// seen as one state each that may also stop. "Reward" is the expected one of the pair. The optimal value is then the
/// limit of value iteration from 0. It is the only solution of Bellman's equation where the result, the end components
/// of reward 0, is empty (`count` 0); otherwise there are others, of which value iteration from another start finds
/// one.
template <FiniteModel M>
EndComponents check_episodic(std::string_view where, const M& model) {
  const TransitionGraph graph = transition_graph(model);
  return detail::collapse_episodic(where, model, graph, predecessors(graph), detail::ends_of(graph), true,
                                   "a terminal state")
      .still;
}

/// The states from which a policy reaches a terminal state with probability 1. Where that is all of them it is proper.
/// `policy` is an action a state (`std::span<const int>`, or a vector), or a matrix of probabilities, actions x states.
template <FiniteModel M, class Policy>
StateSet proper_states(const M& model, const Policy& policy) {
  const TransitionGraph graph = policy_graph(model, policy);
  return probability_one(graph, predecessors(graph), detail::ends_of(graph), Extreme::smallest);
}

/// Throws `Error` naming a state from which the policy may never reach a terminal one: with discount 1 its value is
/// then no solution of one linear system. Terminal is meant strictly: an absorbing state isn't.
template <FiniteModel M, class Policy>
void check_proper_policy(std::string_view where, const M& model, const Policy& policy) {
  const StateSet proper = proper_states(model, policy);
  if (const int s = detail::first_missing(proper); s >= 0)
    fail(
        where,
        "the policy never reaches a terminal state from state {}, or not with probability 1; expected a proper policy, "
        "or a discount below 1",
        s);
}

}  // namespace valence
