#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/model_file.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/text.hpp"
#include "valence/mdp/finite_mdp.hpp"

/// Cassandra's text format of Markov decision processes (pomdp.org/code/pomdp-file-spec.html, -grammar.html): a
/// preamble of `discount:`, `values:` (reward or cost), `states:` and `actions:` (a number, or names), an optional
/// `start:`, and lines `T: action : state : next p`, `R: action : state : next : * r`, where `*` stands for all and
/// later lines win. A file with observations is partially observable and refused. For models of up to 2^24 states x
/// actions.
namespace valence {

namespace detail {

/// The words of Cassandra's format, over line ends; a colon is a word of its own.
class CassandraWords {
 public:
  explicit CassandraWords(ModelLines in) : in_(std::move(in)) { read(), read(); }

  /// The next word, and the one after it; empty at the end.
  const std::string& word() const { return words_[0].text; }
  const std::string& after() const { return words_[1].text; }
  void advance() {
    std::swap(words_[0], words_[1]);
    read_into(words_[1]);
  }
  std::string take() {
    std::string word = words_[0].text;
    advance();
    return word;
  }
  /// The next word must be this one.
  void expect(std::string_view word) {
    if (words_[0].text != word) reject("{} is here; expected {}", seen(), shown(word));
    advance();
  }
  double number(std::string_view what) {
    const auto value = parse_number<double>(word());
    if (!value || !std::isfinite(*value)) reject("{} is {}; expected a finite number", what, seen());
    advance();
    return *value;
  }
  double probability() {
    const auto value = parse_number<double>(word());
    if (!value || !(*value >= 0 && *value <= 1 + row_tolerance<double>))
      reject("the probability is {}; expected a number in [0, 1]", seen());
    advance();
    return *value;
  }
  std::string seen() const { return words_[0].text.empty() ? "the end of the file" : shown(words_[0].text); }
  std::size_t line() const { return words_[0].line; }
  const ModelLines& lines() const { return in_; }
  template <class... Args>
  [[noreturn]] void reject(fmt::format_string<Args...> format, Args&&... args) const {
    reject_line(line(), format, std::forward<Args>(args)...);
  }
  template <class... Args>
  [[noreturn]] void reject_line(std::size_t line, fmt::format_string<Args...> format, Args&&... args) const {
    fail(in_.where(), "{}:{}: {}", in_.name(), line, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  struct Word {
    std::string text;
    std::size_t line = 0;
  };
  void read() {
    std::swap(words_[0], words_[1]);
    read_into(words_[1]);
  }
  void read_into(Word& out) {
    for (;;) {
      std::string_view rest = rest_;
      const std::string_view word = take_word(rest);
      if (!word.empty() && word.front() != '#') {
        const std::size_t end = word.front() == ':' ? 1 : word.find_first_of(":#");
        out.text = word.substr(0, end);
        out.line = in_.number();
        rest_.remove_prefix(static_cast<std::size_t>(word.data() - rest_.data()) + out.text.size());
        return;
      }
      if (!in_.next()) {
        out.text.clear();
        out.line = in_.number();
        rest_ = {};
        return;
      }
      rest_ = in_.line();
    }
  }

  ModelLines in_;
  std::string_view rest_;
  std::array<Word, 2> words_;
};

/// Rewards by pattern: of all patterns that hold for a transition the one set last counts.
class RewardPatterns {
 public:
  static constexpr int any = -1;

  void set(int action, int state, int next, double reward) {
    const std::size_t kind = (action == any ? 0U : 1U) | (state == any ? 0U : 2U) | (next == any ? 0U : 4U);
    kinds_[kind][{action, state, next}] = {++count_, reward};
  }
  double operator()(int action, int state, int next) const {
    Value best;
    for (std::size_t kind = 0; kind < kinds_.size(); ++kind) {
      if (kinds_[kind].empty()) continue;
      const auto found = kinds_[kind].find(
          {(kind & 1U) != 0 ? action : any, (kind & 2U) != 0 ? state : any, (kind & 4U) != 0 ? next : any});
      if (found != kinds_[kind].end() && found->second.order > best.order) best = found->second;
    }
    return best.reward;
  }
  bool empty() const { return count_ == 0; }

 private:
  using Key = std::array<int, 3>;
  struct Hash {
    std::size_t operator()(const Key& key) const {
      std::uint64_t h = 0;
      for (const int x : key) h = (h ^ static_cast<std::uint32_t>(x)) * 0x9E3779B97F4A7C15U, h ^= h >> 29;
      return static_cast<std::size_t>(h);
    }
  };
  struct Value {
    std::uint64_t order = 0;
    double reward = 0;
  };
  std::array<std::unordered_map<Key, Value, Hash>, 8> kinds_;
  std::uint64_t count_ = 0;
};

inline bool is_cassandra_keyword(std::string_view word) {
  constexpr std::string_view words[] = {"discount", "values", "states", "actions", "observations", "start",
                                        "T",        "O",      "R",      "include", "exclude",      "uniform",
                                        "identity", "reset",  "reward", "cost"};
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

/// A name that the format can hold.
inline bool is_cassandra_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !name.empty() && letter(name.front()) && !is_cassandra_keyword(name) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'; });
}

class CassandraReader {
 public:
  CassandraReader(ModelLines in, const ModelFileOptions& options) : words_(std::move(in)), options_(options) {}

  ModelFile read() {
    preamble();
    for (; !words_.word().empty();) {
      const std::string keyword = words_.word();
      if (keyword == "start") {
        start();
        continue;
      }
      if (keyword == "O" || keyword == "observations") refuse_observations();
      if (keyword != "T" && keyword != "R") words_.reject("{} is here; expected T:, R: or start:", words_.seen());
      line_ = words_.line();
      words_.advance();
      words_.expect(":");
      const Range actions = range(actions_, action_names_, "the action");
      if (keyword == "T")
        transition(actions);
      else
        reward(actions);
    }
    return finish();
  }

 private:
  struct Range {  // one, or all
    int first, last;
    bool all() const { return last - first != 1; }
    int key() const { return all() ? RewardPatterns::any : first; }
  };
  struct Entry {
    std::int32_t next;
    double probability;
  };
  struct Row {
    std::vector<Entry> entries;  // in the order of the lines, later ones win
    std::size_t line = 0, tidied = 0;
  };

  [[noreturn]] void refuse_observations() const {
    words_.reject("the file is of a partially observable process; expected one without observations");
  }

  void preamble() {
    bool any = true;
    while (any) {
      const std::string keyword = words_.word();
      any = keyword == "discount" || keyword == "values" || keyword == "states" || keyword == "actions";
      if (keyword == "observations") refuse_observations();
      if (!any) break;
      words_.advance();
      words_.expect(":");
      if (keyword == "discount") {
        if (discount_) words_.reject("the discount is given twice");
        discount_ = words_.number("the discount");
        if (!(*discount_ >= 0 && *discount_ <= 1))
          words_.reject("the discount is {}; expected a number in [0, 1]", *discount_);
      } else if (keyword == "values") {
        if (words_.word() != "reward" && words_.word() != "cost")
          words_.reject("the values are {}; expected reward or cost", words_.seen());
        if (!values_.empty()) words_.reject("the values are given twice");
        values_ = words_.take();
      } else if (keyword == "states") {
        names(states_, state_names_, "states");
      } else {
        names(actions_, action_names_, "actions");
      }
    }
    if (states_ == 0) words_.reject("{} is here; expected states: before it", words_.seen());
    if (actions_ == 0) words_.reject("{} is here; expected actions: before it", words_.seen());
    if (!discount_) words_.reject("{} is here; expected discount: before it", words_.seen());
    const auto n = static_cast<std::size_t>(states_), m = static_cast<std::size_t>(actions_);
    const std::size_t most = (std::min)(options_.max_pairs, std::size_t{1} << 24);
    if (n > most / m) words_.reject("there are {} states x {} actions; expected at most {}", n, m, most);
    rows_.resize(n * m);
  }

  void names(int& count, NameList& list, std::string_view what) {
    if (count != 0) words_.reject("the {} are given twice", what);
    if (const auto number = parse_number<int>(words_.word()); number) {
      if (*number < 1) words_.reject("there are {} {}; expected at least 1", *number, what);
      count = *number;
      words_.advance();
      return;
    }
    while (!words_.word().empty() && !is_cassandra_keyword(words_.word()) && words_.after() != ":") {
      if (!is_cassandra_name(words_.word()))
        words_.reject("{} is no name; expected a letter, then letters, digits, '_' and '-'", words_.seen());
      if (list.find(words_.word()) >= 0) words_.reject("{} is listed twice", words_.seen());
      list.add(words_.take());
    }
    count = static_cast<int>(list.names().size());
    if (count == 0) words_.reject("there are no {}; expected a number or names", what);
  }

  /// A state or action by number or name, or all of them.
  Range range(int count, const NameList& list, std::string_view what) {
    if (words_.word() == "*") {
      words_.advance();
      return {0, count};
    }
    int place = list.find(words_.word());
    if (place < 0) {
      const auto number = parse_number<int>(words_.word());
      if (!number || *number < 0 || *number >= count)
        words_.reject("{} is {}; expected a name of the list, a number in [0, {}] or *", what, words_.seen(),
                      count - 1);
      place = *number;
    }
    words_.advance();
    return {place, place + 1};
  }
  Range state_range() { return range(states_, state_names_, "the state"); }

  /// Work is counted, so that a short file can't ask for endless work.
  void count_entries(double number) {
    entries_ += number;
    if (entries_ > static_cast<double>(options_.max_entries))
      words_.reject_line(line_, "there are more than {} transitions and rewards so far (max_entries)",
                         options_.max_entries);
  }
  Row& row(int action, int state) {
    return rows_[static_cast<std::size_t>(state) * static_cast<std::size_t>(actions_) +
                 static_cast<std::size_t>(action)];
  }
  void set(Row& row, int next, double p) {
    row.entries.push_back({next, p});
    if (row.entries.size() > 2 * row.tidied + 64) tidy(row);
  }
  /// Sorted by successor, the last of each, those of probability 0 left out.
  void tidy(Row& row) {
    std::vector<Entry>& e = row.entries;
    std::stable_sort(e.begin(), e.end(), [](const Entry& a, const Entry& b) { return a.next < b.next; });
    std::size_t to = 0;
    for (std::size_t i = 0; i < e.size(); ++i)
      if ((i + 1 == e.size() || e[i + 1].next != e[i].next) && e[i].probability != 0) e[to++] = e[i];
    e.resize(to);
    row.tidied = to;
  }

  void transition(Range actions) {
    const double pairs = static_cast<double>(actions.last - actions.first);
    if (words_.word() != ":") {  // a matrix
      matrix(actions, {0, states_}, true);
      return;
    }
    words_.advance();
    const Range states = state_range();
    const double rows = pairs * static_cast<double>(states.last - states.first);
    if (words_.word() != ":") {
      matrix(actions, states, false);
      return;
    }
    words_.advance();
    const Range next = state_range();
    const double p = words_.probability();
    count_entries(rows * static_cast<double>(next.last - next.first));
    for (int a = actions.first; a < actions.last; ++a)
      for (int s = states.first; s < states.last; ++s) {
        Row& to = row(a, s);
        if (to.line == 0) to.line = line_;
        for (int j = next.first; j < next.last; ++j) set(to, j, p);
      }
  }

  /// A row for all of `states`, or with `square` a row for each of them; or the words for such.
  void matrix(Range actions, Range states, bool square) {
    const std::string& word = words_.word();
    const double rows =
        static_cast<double>(actions.last - actions.first) * static_cast<double>(states.last - states.first);
    const bool identity = word == "identity", uniform = word == "uniform", reset = word == "reset";
    count_entries(identity ? rows : rows * static_cast<double>(states_));
    std::vector<double> p(static_cast<std::size_t>(states_), 1 / static_cast<double>(states_));
    if (reset && !initial_.empty()) p = initial_;
    if (reset && initial_.empty()) words_.reject("'reset' is here; expected start: before it");
    if (identity && !square) words_.reject("'identity' is of a whole matrix; expected a row of probabilities");
    const bool numbers = !identity && !uniform && !reset;
    if (!numbers) words_.advance();
    if (numbers && !square)
      for (double& x : p) x = words_.probability();
    for (int s = states.first; s < states.last; ++s) {
      if (numbers && square)
        for (double& x : p) x = words_.probability();
      for (int a = actions.first; a < actions.last; ++a) {
        Row& to = row(a, s);
        to.line = line_;
        to.entries.clear();
        to.tidied = 0;
        if (identity) {
          to.entries.push_back({s, 1.0});
          continue;
        }
        for (int j = 0; j < states_; ++j)
          if (p[static_cast<std::size_t>(j)] != 0) to.entries.push_back({j, p[static_cast<std::size_t>(j)]});
        to.tidied = to.entries.size();
      }
    }
  }

  void reward(Range actions) {
    words_.expect(":");
    const Range states = state_range();
    if (words_.word() != ":") {  // a row: a reward a successor
      count_entries(static_cast<double>(states_));
      for (int j = 0; j < states_; ++j) rewards_.set(actions.key(), states.key(), j, words_.number("the reward"));
      return;
    }
    words_.advance();
    const Range next = state_range();
    if (words_.word() == ":") {
      words_.advance();
      if (words_.word() != "*")
        words_.reject("the observation is {}; expected *, as the process has no observations", words_.seen());
      words_.advance();
    }
    count_entries(1);
    rewards_.set(actions.key(), states.key(), next.key(), words_.number("the reward"));
  }

  void start() {
    if (!initial_.empty()) words_.reject("the start is given twice");
    words_.advance();
    const std::string how = words_.word();
    const auto n = static_cast<std::size_t>(states_);
    std::vector<double> p(n, 0.0);
    if (how == "include" || how == "exclude") {
      words_.advance();
      words_.expect(":");
      std::vector<bool> listed(n, false);
      while (!words_.word().empty() && !is_cassandra_keyword(words_.word())) {
        const Range states = state_range();
        for (int s = states.first; s < states.last; ++s) listed[static_cast<std::size_t>(s)] = true;
      }
      std::size_t count = 0;
      for (const bool here : listed) count += here == (how == "include") ? 1 : 0;
      if (count == 0) words_.reject("the process starts in no state; expected one at least");
      for (std::size_t s = 0; s < n; ++s)
        if (listed[s] == (how == "include")) p[s] = 1 / static_cast<double>(count);
    } else {
      words_.expect(":");
      const bool single = words_.after().empty() || is_cassandra_keyword(words_.after());
      const auto number = parse_number<int>(words_.word());
      if (words_.word() == "uniform") {
        words_.advance();
        p.assign(n, 1 / static_cast<double>(n));
      } else if (state_names_.find(words_.word()) >= 0 || (single && number && *number < states_)) {
        p[static_cast<std::size_t>(state_range().first)] = 1;
      } else {
        double sum = 0;
        for (double& x : p) sum += x = words_.probability();
        if (!(std::abs(sum - 1) <= (std::max)(1e-6, options_.rounding)))
          words_.reject("the probabilities of the start sum to {}; expected 1", sum);
        if (std::abs(sum - 1) > 1e-6)
          for (double& x : p) x /= sum;
      }
    }
    initial_ = std::move(p);
  }

  ModelFile finish() {
    ModelTable table{.where = words_.lines().where(), .file = words_.lines().name(), .states = states_};
    for (const std::string& name : action_names_.names()) table.names.add(name);
    const bool rewarded = !rewards_.empty();
    for (int s = 0; s < states_; ++s)
      for (int a = 0; a < actions_; ++a) {
        Row& from = row(a, s);
        if (from.line == 0)
          words_.reject("the file ends here; expected transitions of state {}, action {}", shown_name(state_names_, s),
                        shown_name(action_names_, a));
        tidy(from);
        table.open(s, a, from.line);
        if (!action_names_.names().empty()) table.choices.back().name = a;
        for (const Entry& e : from.entries) {
          table.add(e.next, e.probability);
          if (rewarded) table.entry_reward.push_back(rewards_(a, s, e.next));
        }
        from.entries = {};
      }
    table.initial = std::move(initial_);
    table.state_names = state_names_.names();
    table.discount = discount_;
    ModelFileOptions options = options_;
    options.costs = options.costs != (values_ == "cost");
    return std::move(table).finish(options);
  }
  static std::string shown_name(const NameList& list, int i) {
    return list.names().empty() ? format_number(i) : list.names()[static_cast<std::size_t>(i)];
  }

  CassandraWords words_;
  ModelFileOptions options_;
  std::size_t line_ = 0;  // of the statement
  int states_ = 0, actions_ = 0;
  NameList state_names_, action_names_;
  std::optional<double> discount_;
  std::string values_;
  std::vector<Row> rows_;
  RewardPatterns rewards_;
  std::vector<double> initial_;
  double entries_ = 0;
};

/// The format wants a digit on both sides of the point.
inline void append_cassandra_number(std::string& out, double x) {
  std::string text = format_number(x);
  if (text.find('.') == std::string::npos) text.insert((std::min)(text.find('e'), text.size()), ".0");
  out += text;
}

}  // namespace detail

/// Reads a file in Cassandra's format. Where its values are costs, rewards are their negatives. Errors name file and
/// line.
inline ModelFile load_cassandra(const std::filesystem::path& path, const ModelFileOptions& options = {}) {
  return detail::CassandraReader(detail::ModelLines::of_file("load_cassandra", path), options).read();
}
/// The same from a text.
inline ModelFile parse_cassandra(std::string_view text, const ModelFileOptions& options = {}) {
  return detail::CassandraReader(detail::ModelLines::of_text("parse_cassandra", text, "text"), options).read();
}

/// Writes a model in Cassandra's format, atomically. The format has no terminal states: they get loops without reward,
/// which `load_cassandra(path, {.absorbing_are_terminal = true})` takes back; the model is then the same to the last
/// bit. Throws `Error` for what the format can't hold: actions that aren't available everywhere, names that aren't
/// letters, digits, '_' and '-', a model without discount. Labels are left out.
inline void save_cassandra(const ModelFile& model, const std::filesystem::path& path) {
  constexpr auto where = "save_cassandra";
  const FiniteMdp<double>& mdp = model.mdp;
  if (!model.discount) fail(where, "the model has no discount; expected one in [0, 1]: the format needs it");
  check_range(where, "discount", *model.discount, 0, 1);
  const auto check_names = [&](std::string_view what, const std::vector<std::string>& names, int count) {
    if (names.empty()) return;
    check_size(where, what, names.size(), static_cast<std::size_t>(count));
    detail::NameList seen;
    for (std::size_t i = 0; i < names.size(); ++i)
      if (!detail::is_cassandra_name(names[i]) || seen.add(names[i]) != static_cast<int>(i))
        fail(where, "{}[{}] is {}; expected a name of its own: a letter, then letters, digits, '_' and '-'", what, i,
             shown(names[i]));
  };
  check_names("state_names", model.state_names, mdp.states());
  check_names("action_names", model.action_names, mdp.actions());
  for (int s = 0; s < mdp.states(); ++s)
    for (int a = 0; a < mdp.actions(); ++a)
      if (!mdp.terminal(s) && !mdp.available(s, a))
        fail(where, "action {} is not available in state {}; the format needs all to be", a, s);

  AtomicFile file(path);
  std::string text = "discount: ";
  detail::append_cassandra_number(text, *model.discount);
  text += "\nvalues: reward\n";
  const auto list = [&](std::string_view what, const std::vector<std::string>& names, int count) {
    text += fmt::format("{}:", what);
    if (names.empty()) text += fmt::format(" {}", count);
    for (const std::string& name : names) text += ' ' + name;
    text += '\n';
  };
  list("states", model.state_names, mdp.states());
  list("actions", model.action_names, mdp.actions());
  if (const auto initial = mdp.initial(); !initial.empty()) {
    text += "start:";
    for (const double p : initial) detail::append_cassandra_number(text += ' ', p);
    text += '\n';
  }
  file.write(text);
  const auto line = [&](char kind, int a, int s, std::string_view next, double x) {
    text = fmt::format("{}: {} : {} : {} ", kind, a, s, next);
    detail::append_cassandra_number(text, x);
    text += '\n';
    file.write(text);
  };
  for (int s = 0; s < mdp.states(); ++s)
    for (int a = 0; a < mdp.actions(); ++a) {
      if (mdp.terminal(s)) {
        line('T', a, s, format_number(s), 1.0);
        continue;
      }
      for (const auto& to : mdp.successors(s, a)) line('T', a, s, format_number(to.next), to.probability);
      if (!mdp.has_entry_rewards()) {
        if (mdp.reward(s, a) != 0) line('R', a, s, "* : *", mdp.reward(s, a));
        continue;
      }
      for (const auto& to : mdp.successors(s, a))
        if (to.reward != 0) line('R', a, s, format_number(to.next) + " : *", to.reward);
    }
  file.commit();
}

}  // namespace valence
