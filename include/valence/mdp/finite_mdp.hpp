#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// One line of a model's table: action `action` in state `state` leads to `next` with this probability, and earns
/// `reward` on the way. Lines with the same three indices and the same reward add up.
struct ModelEntry {
  int state, action, next;
  double probability;
  double reward = 0;
};

/// What a model is made of, as arrays: compressed rows, one for each pair (s, a) at s * actions + a. A row without
/// entries is an action that is not available. `FiniteMdp` checks them and takes them over.
template <Scalar S = double>
struct ModelColumns {
  int states = 0, actions = 0;
  std::vector<std::uint32_t> row_begin =
      {};                               ///< states * actions + 1; row i has entries row_begin[i] to row_begin[i + 1]
  std::vector<std::int32_t> next = {};  ///< an entry: the successor
  std::vector<S> probability = {};      ///< an entry: in (0, 1]; each row with entries sums to 1
  std::vector<S> reward = {};           ///< a row: the expected reward, finite
  std::vector<S> entry_reward = {};     ///< an entry: the reward on that transition; empty where it is the row's
  std::vector<std::uint8_t> terminal = {};  ///< a state: 1 where the episode is over; empty where it nowhere is
  std::vector<S> initial = {};              ///< a state: probability that an episode begins there; empty: not given
};

namespace detail {

/// What rows may differ from 1 by: the rounding of their entries, and 1e-9 for what people type.
template <class S>
inline constexpr double row_tolerance = std::is_same_v<S, float> ? 1e-6 : 1e-9;

}  // namespace detail

/// A finite Markov decision process in compressed rows: 32-bit indices, probabilities and rewards in `S`, so a model of
/// 1e6 states x 4 actions x 5 successors takes 193 MB in float. Immutable, and checked when it is made: rows sum to 1
/// (within 1e-9; 1e-6 in float), no probability is negative, everything is finite, every state that is not terminal has
/// an action. Satisfies `FiniteModel`.
///
///     FiniteMdp mdp{FrozenLake{}};                                         // an enumerable environment, listed
///     FiniteMdp mdp{2, 1, std::vector<ModelEntry>{{0, 0, 1, 1.0, 5.0}, {1, 0, 1, 1.0}}};   // a table
///     FiniteMdp<float> mdp{n, 4, [&](int s, int a) { return outcomes; }};  // a callable: a range of Outcome<int>
///     auto mdp = load_mdp("model.tra");                                    // io/model_files.hpp
template <Scalar S = double>
class FiniteMdp {
 public:
  using Scalar = S;

  /// One successor of (s, a).
  struct Successor {
    int next;
    S probability, reward;
  };
  /// The successors of (s, a), in increasing order of state.
  class Successors {
   public:
    class Iterator {
     public:
      using value_type = Successor;
      using difference_type = std::ptrdiff_t;
      using iterator_category = std::input_iterator_tag;
      Iterator() = default;
      Iterator(const std::int32_t* next, const S* probability, const S* reward, std::ptrdiff_t stride)
          : next_(next), probability_(probability), reward_(reward), stride_(stride) {}
      Successor operator*() const { return {*next_, *probability_, *reward_}; }
      Iterator& operator++() {
        ++next_, ++probability_, reward_ += stride_;
        return *this;
      }
      Iterator operator++(int) {
        Iterator old = *this;
        ++*this;
        return old;
      }
      friend bool operator==(const Iterator& a, const Iterator& b) { return a.next_ == b.next_; }

     private:
      const std::int32_t* next_ = nullptr;
      const S *probability_ = nullptr, *reward_ = nullptr;
      std::ptrdiff_t stride_ = 0;
    };
    Successors(Iterator first, Iterator last, std::size_t size) : first_(first), last_(last), size_(size) {}
    Iterator begin() const { return first_; }
    Iterator end() const { return last_; }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }

   private:
    Iterator first_, last_;
    std::size_t size_;
  };

  /// Takes the arrays over. Throws `Error` that names state and action of what is wrong.
  explicit FiniteMdp(ModelColumns<S> columns) : columns_(std::move(columns)) {
    check();
    find_width();
  }

  /// From a table in any order. A state in `terminal` has no entries; any other has an action with entries. `initial`
  /// is empty, or a probability a state.
  FiniteMdp(int states, int actions, std::span<const ModelEntry> entries, std::span<const int> terminal = {},
            std::span<const double> initial = {})
      : FiniteMdp(from_entries(states, actions, entries, terminal, initial)) {}
  FiniteMdp(int states, int actions, const std::vector<ModelEntry>& entries, std::span<const int> terminal = {},
            std::span<const double> initial = {})
      : FiniteMdp(states, actions, std::span<const ModelEntry>(entries), terminal, initial) {}

  /// From a callable: `outcomes(s, a)` is a range of `Outcome<int>`, empty where the action isn't available in s. A
  /// state without any is terminal. Called once for each pair, in order. Outcomes that terminate: see below.
  template <class F>
    requires std::invocable<F&, int, int>
  FiniteMdp(int states, int actions, F&& outcomes, std::span<const double> initial = {})
      : FiniteMdp(from_outcomes(states, actions, outcomes, initial)) {}

  /// From an environment that lists its outcomes. A state that is only entered by outcomes that terminate (and in which
  /// no episode begins) is terminal. Where an outcome terminates in a state that is also played on from, it leads to
  /// one terminal state more instead, at index `env.states().n`.
  template <EnumerableEnvironment E>
  explicit FiniteMdp(const E& env) : FiniteMdp(from_environment(env)) {}

  int states() const { return columns_.states; }
  int actions() const { return columns_.actions; }
  bool terminal(int s) const { return !columns_.terminal.empty() && columns_.terminal[index(s)] != 0; }
  bool available(int s, int a) const { return begin_of(row(s, a)) != end_of(row(s, a)); }
  /// Expected reward of a in s.
  S reward(int s, int a) const { return columns_.reward[row(s, a)]; }
  /// Do transitions of one pair earn different rewards?
  bool has_entry_rewards() const { return !columns_.entry_reward.empty(); }
  /// sum_s' P(s' | s, a) v[s'], in increasing order of s'.
  S expectation(int s, int a, const S* v) const {
    const std::size_t i = row(s, a), last = end_of(i);
    S sum = 0;
    for (std::size_t k = begin_of(i); k < last; ++k) sum += columns_.probability[k] * v[columns_.next[k]];
    return sum;
  }
  Successors successors(int s, int a) const {
    const std::size_t i = row(s, a), first = begin_of(i), last = end_of(i);
    const bool own = has_entry_rewards();
    const S* const rewards = own ? columns_.entry_reward.data() : columns_.reward.data() + i;
    const auto at = [&](std::size_t k) {
      return typename Successors::Iterator(columns_.next.data() + k, columns_.probability.data() + k,
                                           own ? rewards + k : rewards, own ? 1 : 0);
    };
    return {at(first), at(last), last - first};
  }
  /// Probability of the first state, an entry a state; empty where it wasn't given.
  std::span<const S> initial() const { return columns_.initial; }
  /// Entries of all rows.
  std::size_t transitions() const { return columns_.next.size(); }
  /// The number of successors that every pair has, where they all have the same and no state is terminal; else 0.
  int successors_each() const { return width_; }
  /// The arrays, for kernels of one's own.
  const ModelColumns<S>& columns() const { return columns_; }
  /// Bytes of the arrays.
  std::size_t memory() const {
    const auto bytes = [](const auto& v) { return v.capacity() * sizeof(v[0]); };
    return bytes(columns_.row_begin) + bytes(columns_.next) + bytes(columns_.probability) + bytes(columns_.reward) +
           bytes(columns_.entry_reward) + bytes(columns_.terminal) + bytes(columns_.initial);
  }

  /// The same model with other numbers: `mdp.as<float>()` halves its memory. Rows of a float model are divided by their
  /// sum, to add up to 1 in double too; probabilities too small for `T` are left out.
  template <valence::Scalar T>
  FiniteMdp<T> as() const {
    ModelColumns<T> c{.states = columns_.states, .actions = columns_.actions};
    c.row_begin.reserve(columns_.row_begin.size()), c.row_begin.push_back(0);
    c.next.reserve(transitions()), c.probability.reserve(transitions()), c.reward.reserve(columns_.reward.size());
    c.entry_reward.reserve(columns_.entry_reward.size());
    for (std::size_t i = 0; i + 1 < columns_.row_begin.size(); ++i) {
      double sum = 0;
      for (std::size_t k = begin_of(i); k < end_of(i); ++k) sum += static_cast<double>(columns_.probability[k]);
      if (std::abs(sum - 1) <= detail::row_tolerance<double>) sum = 1;
      double earned = 0;
      bool single = true;
      const std::size_t first = c.next.size();
      for (std::size_t k = begin_of(i); k < end_of(i); ++k) {
        const T p = static_cast<T>(static_cast<double>(columns_.probability[k]) / sum);
        if (p == T(0)) continue;
        c.next.push_back(columns_.next[k]), c.probability.push_back(p);
        if (!has_entry_rewards()) continue;
        c.entry_reward.push_back(static_cast<T>(columns_.entry_reward[k]));
        earned += static_cast<double>(p) * static_cast<double>(c.entry_reward.back());
        single = single && c.entry_reward.back() == c.entry_reward[first];
      }
      c.reward.push_back(single ? static_cast<T>(columns_.reward[i]) : static_cast<T>(earned));
      c.row_begin.push_back(static_cast<std::uint32_t>(c.next.size()));
    }
    c.terminal = columns_.terminal;
    c.initial.assign(columns_.initial.begin(), columns_.initial.end());
    return FiniteMdp<T>(std::move(c));
  }
  /// The same model with other rewards, an entry a pair (s * actions + a): for reward design and shaping.
  FiniteMdp with_rewards(std::vector<S> reward) const {
    ModelColumns<S> changed = columns_;
    changed.reward = std::move(reward);
    changed.entry_reward.clear();
    return FiniteMdp(std::move(changed));
  }
  /// The same model that begins elsewhere: a probability a state.
  FiniteMdp with_initial(std::vector<S> initial) const {
    ModelColumns<S> changed = columns_;
    changed.initial = std::move(initial);
    return FiniteMdp(std::move(changed));
  }

 private:
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }
  std::size_t row(int s, int a) const { return index(s) * index(columns_.actions) + index(a); }
  std::size_t begin_of(std::size_t i) const { return columns_.row_begin[i]; }
  std::size_t end_of(std::size_t i) const { return columns_.row_begin[i + 1]; }

  void find_width() {
    const std::size_t rows = index(columns_.states) * index(columns_.actions);
    const std::size_t each = columns_.next.size() / rows;
    width_ = 0;
    if (each * rows != columns_.next.size() || each == 0) return;
    for (std::size_t i = 0; i <= rows; ++i)
      if (columns_.row_begin[i] != i * each) return;
    width_ = static_cast<int>(each);
  }

  static void check_counts(int states, int actions) {
    check_positive("FiniteMdp", "states", states);
    check_positive("FiniteMdp", "actions", actions);
    if (index(states) > (std::numeric_limits<std::size_t>::max)() / 64 / index(actions))
      fail("FiniteMdp", "{} states x {} actions are too many for this machine", states, actions);
  }

  void check() const {
    constexpr auto where = "FiniteMdp";
    const ModelColumns<S>& c = columns_;
    check_counts(c.states, c.actions);
    const std::size_t n = index(c.states), rows = n * index(c.actions), entries = c.next.size();
    check_size(where, "row_begin", c.row_begin.size(), rows + 1);
    check_size(where, "probability", c.probability.size(), entries);
    check_size(where, "reward", c.reward.size(), rows);
    if (!c.entry_reward.empty()) check_size(where, "entry_reward", c.entry_reward.size(), entries);
    if (!c.terminal.empty()) check_size(where, "terminal", c.terminal.size(), n);
    if (c.row_begin.front() != 0 || c.row_begin.back() != entries)
      fail(where, "row_begin runs from {} to {}; expected 0 to {}, the number of entries", c.row_begin.front(),
           c.row_begin.back(), entries);
    for (int s = 0; s < c.states; ++s) {
      bool any = false;
      for (int a = 0; a < c.actions; ++a) {
        const std::size_t i = row(s, a), first = begin_of(i), last = end_of(i);
        if (last < first || last > entries)
          fail(where, "row_begin decreases at state {}, action {}: {} after {}", s, a, last, first);
        if (!std::isfinite(c.reward[i]))
          fail(where, "the reward of state {}, action {} is {}; expected a finite number{}", s, a, c.reward[i],
               c.reward[i] < 0 ? " (leave out the entries of actions that aren't available)" : "");
        if (first == last) continue;
        any = true;
        double sum = 0, earned = 0, size = 0;
        for (std::size_t k = first; k < last; ++k) {
          const double p = static_cast<double>(c.probability[k]);
          if (c.next[k] < 0 || c.next[k] >= c.states)
            fail(where, "state {}, action {} leads to state {}; expected one in [0, {}]", s, a, c.next[k],
                 c.states - 1);
          if (!(p > 0 && p <= 1 + detail::row_tolerance<S>))
            fail(where, "state {}, action {} leads to state {} with probability {}; expected a number in (0, 1]", s, a,
                 c.next[k], p);
          if (!c.entry_reward.empty() && !std::isfinite(c.entry_reward[k]))
            fail(where, "the reward of state {}, action {} on the way to state {} is {}; expected a finite number", s,
                 a, c.next[k], c.entry_reward[k]);
          sum += p;
          if (!c.entry_reward.empty()) {
            const double r = static_cast<double>(c.entry_reward[k]);
            earned += p * r, size += p * std::abs(r);
          }
        }
        if (!(std::abs(sum - 1) <= detail::row_tolerance<S>))
          fail(where, "the probabilities of state {}, action {} sum to {}; expected 1 (within {})", s, a, sum,
               detail::row_tolerance<S>);
        // Rounding, and what the probabilities may miss 1 by.
        if (const double given = static_cast<double>(c.reward[i]);
            !c.entry_reward.empty() && !(std::abs(given - earned) <= 2 * detail::row_tolerance<S> * size))
          fail(where, "the reward of state {}, action {} is {}; expected {}, that of its entries", s, a, given, earned);
      }
      if (any && terminal(s)) fail(where, "state {} is terminal and has transitions; expected none", s);
      if (!any && !terminal(s))
        fail(where, "state {} has no action that is available, and is not terminal; expected at least one", s);
    }
    if (!c.initial.empty()) {
      check_size(where, "initial", c.initial.size(), n);
      check_probabilities(where, "initial", std::span<const S>(c.initial));
    }
  }

  struct Item {  // an entry while its row is sorted
    std::int32_t next;
    double probability, reward;
    std::int32_t state() const { return next < 0 ? ~next : next; }
  };
  static void sort_items(std::vector<Item>& items) {
    std::sort(items.begin(), items.end(),
              [](const Item& x, const Item& y) { return x.next != y.next ? x.next < y.next : x.reward < y.reward; });
  }
  /// The item at k with all that follow it and are equal to it; k moves on to the next.
  static Item take_equal(const std::vector<Item>& items, std::size_t& k) {
    Item item = items[k];
    for (++k; k < items.size() && items[k].next == item.next && items[k].reward == item.reward; ++k)
      item.probability += items[k].probability;
    return item;
  }
  /// Appends a row: sorted by successor, equal entries added up, in double.
  static void append_row(ModelColumns<S>& c, std::vector<Item>& items, int s, int a, std::vector<double>& entry_reward,
                         bool& rewards_differ) {
    for (const Item& item : items) {  // before they are sorted: a NaN has no place in an order
      if (!(item.probability >= 0) || !std::isfinite(item.probability))
        fail("FiniteMdp", "state {}, action {} leads to state {} with probability {}; expected a number in [0, 1]", s,
             a, item.state(), item.probability);
      if (!std::isfinite(item.reward))
        fail("FiniteMdp", "the reward of state {}, action {} on the way to state {} is {}; expected a finite number{}",
             s, a, item.state(), item.reward,
             item.reward < 0 ? " (leave out the entries of actions that aren't available)" : "");
    }
    sort_items(items);
    double expected = 0, sum = 0;
    for (std::size_t k = 0; k < items.size();) {
      const Item item = take_equal(items, k);
      sum += item.probability;
      if (static_cast<S>(item.probability) == S(0)) continue;
      expected += item.probability * item.reward;
      c.next.push_back(item.next);
      c.probability.push_back(static_cast<S>(item.probability));
      entry_reward.push_back(item.reward);
      rewards_differ = rewards_differ || item.reward != items.front().reward;
    }
    if (!items.empty() && !(std::abs(sum - 1) <= detail::row_tolerance<double>))
      fail("FiniteMdp", "the probabilities of state {}, action {} sum to {}; expected 1 (within {})", s, a, sum,
           detail::row_tolerance<double>);
    if (c.next.size() > (std::numeric_limits<std::uint32_t>::max)())
      fail("FiniteMdp", "more than {} entries at state {}; expected fewer (indices have 32 bits)",
           (std::numeric_limits<std::uint32_t>::max)(), s);
    // A row of one reward has just that one, not its sum over rounded probabilities.
    const bool single =
        std::all_of(items.begin(), items.end(), [&](const Item& x) { return x.reward == items.front().reward; });
    c.reward.push_back(static_cast<S>(items.empty() ? 0 : single ? items.front().reward : expected));
    c.row_begin.push_back(static_cast<std::uint32_t>(c.next.size()));
    items.clear();
  }
  static void finish_columns(ModelColumns<S>& c, const std::vector<double>& entry_reward, bool rewards_differ,
                             std::span<const double> initial) {
    if (rewards_differ) c.entry_reward.assign(entry_reward.begin(), entry_reward.end());
    c.initial.assign(initial.begin(), initial.end());
    c.next.shrink_to_fit(), c.probability.shrink_to_fit();
  }
  static ModelColumns<S> start_columns(int states, int actions) {
    check_counts(states, actions);
    ModelColumns<S> c{.states = states, .actions = actions};
    c.row_begin.reserve(index(states) * index(actions) + 1);
    c.row_begin.push_back(0);
    c.reward.reserve(index(states) * index(actions));
    return c;
  }

  static ModelColumns<S> from_entries(int states, int actions, std::span<const ModelEntry> entries,
                                      std::span<const int> terminal, std::span<const double> initial) {
    constexpr auto where = "FiniteMdp";
    ModelColumns<S> c = start_columns(states, actions);
    // Counting sort by row, so that a table of any order takes linear time.
    std::vector<std::size_t> place(index(states) * index(actions) + 1, 0);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const ModelEntry& e = entries[i];
      if (e.state < 0 || e.state >= states)
        fail(where, "entry {} has state {}; expected one in [0, {}]", i, e.state, states - 1);
      if (e.action < 0 || e.action >= actions)
        fail(where, "entry {} (state {}) has action {}; expected one in [0, {}]", i, e.state, e.action, actions - 1);
      if (e.next < 0 || e.next >= states)
        fail(where, "entry {} (state {}, action {}) leads to state {}; expected one in [0, {}]", i, e.state, e.action,
             e.next, states - 1);
      if (!(e.probability >= 0 && e.probability <= 1 + detail::row_tolerance<double>))
        fail(where, "entry {} (state {}, action {}) has probability {}; expected a number in [0, 1]", i, e.state,
             e.action, e.probability);
      ++place[index(e.state) * index(actions) + index(e.action) + 1];
    }
    for (std::size_t i = 1; i < place.size(); ++i) place[i] += place[i - 1];
    std::vector<std::size_t> order(entries.size()), at(place.begin(), place.end() - 1);
    for (std::size_t i = 0; i < entries.size(); ++i)
      order[at[index(entries[i].state) * index(actions) + index(entries[i].action)]++] = i;
    if (!terminal.empty()) c.terminal.assign(index(states), 0);
    for (std::size_t i = 0; i < terminal.size(); ++i) {
      if (terminal[i] < 0 || terminal[i] >= states)
        fail(where, "terminal[{}] is {}; expected a state in [0, {}]", i, terminal[i], states - 1);
      c.terminal[index(terminal[i])] = 1;
    }
    c.next.reserve(entries.size()), c.probability.reserve(entries.size());
    std::vector<double> entry_reward;
    entry_reward.reserve(entries.size());
    bool differ = false;
    std::vector<Item> items;
    for (int s = 0; s < states; ++s)
      for (int a = 0; a < actions; ++a) {
        const std::size_t i = index(s) * index(actions) + index(a);
        for (std::size_t k = place[i]; k < place[i + 1]; ++k)
          items.push_back({entries[order[k]].next, entries[order[k]].probability, entries[order[k]].reward});
        append_row(c, items, s, a, entry_reward, differ);
      }
    finish_columns(c, entry_reward, differ, initial);
    return c;
  }

  template <class F>
  static ModelColumns<S> from_outcomes(int states, int actions, F& outcomes, std::span<const double> initial,
                                       bool environment = false) {
    enum : std::uint8_t { entered = 1, ended = 2 };
    ModelColumns<S> c = start_columns(states, actions);
    std::vector<std::uint8_t> how(index(states), 0);
    for (std::size_t s = 0; s < initial.size() && s < how.size(); ++s)
      if (initial[s] > 0) how[s] |= entered;
    std::vector<double> entry_reward;
    bool differ = false, any_end = false;
    std::vector<Item> items;
    for (int s = 0; s < states; ++s)
      for (int a = 0; a < actions; ++a) {
        for (const auto& o : outcomes(s, a)) {
          const auto next = static_cast<std::int32_t>(o.next);
          if (next < 0 || next >= states)
            fail("FiniteMdp", "state {}, action {} leads to state {}; expected one in [0, {}]", s, a, next, states - 1);
          const bool ends = static_cast<bool>(o.terminated);
          any_end = any_end || ends;
          // A state that only leads to itself may be an end that the environment lists as one that goes on.
          if (static_cast<double>(o.probability) > 0 && (ends || next != s)) how[index(next)] |= ends ? ended : entered;
          // Which ends are states of their own is known when all have been seen: until then an end is ~next.
          items.push_back({ends ? ~next : next, static_cast<double>(o.probability), static_cast<double>(o.reward)});
        }
        append_row(c, items, s, a, entry_reward, differ);
      }
    c.terminal.assign(index(states), 0);
    bool extra = false, terminals = false;
    for (int s = 0; s < states; ++s) {
      const bool empty = c.row_begin[index(s) * index(actions)] == c.row_begin[(index(s) + 1) * index(actions)];
      if (how[index(s)] == ended || (empty && !environment)) c.terminal[index(s)] = 1, terminals = true;
      extra = extra || how[index(s)] == (entered | ended);
    }
    if (any_end) settle_ends(c, entry_reward);
    std::vector<double> first(initial.begin(), initial.end());
    if (extra) {
      ++c.states;
      c.terminal.push_back(1);
      for (int a = 0; a < actions; ++a) append_row(c, items, states, a, entry_reward, differ);
      if (!first.empty()) first.push_back(0);
    }
    if (!terminals && !extra) c.terminal = {};
    finish_columns(c, entry_reward, differ, first);
    return c;
  }

  /// Gives the entries ~next of outcomes that terminate their state: `next` where that is terminal, else the state
  /// after the last; and takes the rows of terminal states away.
  static void settle_ends(ModelColumns<S>& c, std::vector<double>& entry_reward) {
    const std::size_t rows = index(c.states) * index(c.actions);
    std::size_t write = 0, read = 0;
    std::vector<Item> items;
    for (std::size_t i = 0; i < rows; ++i) {
      const std::size_t end = c.row_begin[i + 1];
      items.clear();
      bool moved = false;
      for (; read < end; ++read) {
        std::int32_t next = c.next[read];
        if (next < 0) {
          next = ~next;
          if (!c.terminal[index(next)]) next = c.states;
          moved = true;
        }
        items.push_back({next, static_cast<double>(c.probability[read]), entry_reward[read]});
      }
      if (c.terminal[i / index(c.actions)]) items.clear(), c.reward[i] = 0;
      if (moved) sort_items(items);
      for (std::size_t k = 0; k < items.size();) {
        const Item item = take_equal(items, k);
        c.next[write] = item.next, c.probability[write] = static_cast<S>(item.probability);
        entry_reward[write++] = item.reward;
      }
      c.row_begin[i + 1] = static_cast<std::uint32_t>(write);
    }
    c.next.resize(write), c.probability.resize(write), entry_reward.resize(write);
  }

  template <class E>
  static ModelColumns<S> from_environment(const E& env) {
    const Discrete states = env.states(), actions = env.actions();
    const auto outcomes = [&env](int s, int a) { return env.outcomes(s, a); };
    if constexpr (ListsItsFirstStates<E>) {
      std::vector<double> initial;
      for (const auto p : env.initial_distribution()) initial.push_back(static_cast<double>(p));
      return from_outcomes(states.n, actions.n, outcomes, initial, true);
    } else {
      return from_outcomes(states.n, actions.n, outcomes, {}, true);
    }
  }

  ModelColumns<S> columns_;
  int width_ = 0;
};

template <class F>
  requires std::invocable<F&, int, int>
FiniteMdp(int, int, F&&, std::span<const double> = {}) -> FiniteMdp<double>;
FiniteMdp(int, int, std::span<const ModelEntry>, std::span<const int> = {}, std::span<const double> = {})
    -> FiniteMdp<double>;
FiniteMdp(int, int, const std::vector<ModelEntry>&, std::span<const int> = {}, std::span<const double> = {})
    -> FiniteMdp<double>;
template <EnumerableEnvironment E>
FiniteMdp(const E&) -> FiniteMdp<double>;

}  // namespace valence
