#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/byte_source.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/text.hpp"
#include "valence/mdp/finite_mdp.hpp"

/// What the readers of model files have in common: what they give, what may be asked of them, and how lines become a
/// checked `FiniteMdp`.
namespace valence {

/// The states that a file marks with a name: "init", "goal", "deadlock".
struct ModelLabel {
  std::string name;
  std::vector<int> states = {};  ///< in increasing order
};

/// A model and what its file says besides.
struct ModelFile {
  FiniteMdp<double> mdp;
  std::vector<std::string> state_names = {};   ///< a name a state; empty where the file has none
  std::vector<std::string> action_names = {};  ///< a name an action; empty where the file has none
  std::vector<ModelLabel> labels = {};
  std::optional<double> discount = {};  ///< in [0, 1]; formats of model checkers have none

  /// The label of that name, or null.
  const ModelLabel* find_label(std::string_view name) const {
    for (const ModelLabel& label : labels)
      if (label.name == name) return &label;
    return nullptr;
  }
};

/// How a model file is to be understood. What a format has no notion of is ignored.
struct ModelFileOptions {
  std::string goal = {};                ///< label whose states become terminal; empty: none does
  double goal_reward = 0;               ///< added to each transition into a goal state; where it is 1 and nothing else
                                        ///< earns, the value at discount 1 is the probability of reaching the goal
  bool deadlocks_are_terminal = false;  ///< states without transitions, and those labelled "deadlock" (where model
                                        ///< checkers add self-loops), become terminal; else the former are an error
  bool absorbing_are_terminal = false;  ///< so do states that every action keeps, with reward 0
  bool costs = false;                   ///< the file's rewards are costs: negate them
  bool actions_by_name = false;         ///< an action is an action name, in order of appearance, and not the index of a
                                        ///< choice in its state; then each choice needs a name of its own
  std::string reward_model = {};        ///< DRN: which of several
  double rounding = 1e-9;               ///< rows of probabilities that miss 1 by more than 1e-9 and by at most this are
                                        ///< scaled to 1: for files written with few digits
  std::filesystem::path labels = {}, state_rewards = {}, transition_rewards = {},
                        states = {};  ///< PRISM and Storm: the files beside the `.tra`; an empty one is looked for
  bool find_companions = true;        ///< ... under the same name (`.lab`, `.srew` or `.rews`, `.trew` or `.rewt`,
                                      ///< `.sta`), unless this is false
  std::size_t max_pairs = std::size_t{1} << 28;    ///< more states x actions are an error: a damaged header
  std::size_t max_entries = std::size_t{1} << 31;  ///< and more transitions, wildcards multiplied out
};

namespace detail {

/// Cuts the first word off.
inline std::string_view take_word(std::string_view& rest) {
  const auto blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  std::size_t first = 0;
  while (first < rest.size() && blank(rest[first])) ++first;
  std::size_t last = first;
  while (last < rest.size() && !blank(rest[last])) ++last;
  const std::string_view word = rest.substr(first, last - first);
  rest.remove_prefix(last);
  return word;
}

/// Lines of a text of any size, in bounded memory, and errors that say which line it is.
class ModelLines {
 public:
  /// `where` names the caller in errors; it is viewed.
  static ModelLines of_file(std::string_view where, const std::filesystem::path& path) {
    return {ByteSource::of_file(where, path), where, std::size_t{1} << 18};
  }
  /// From memory; `name` stands for the file.
  static ModelLines of_text(std::string_view where, std::string_view text, std::string name) {
    return {ByteSource::of_text(text, std::move(name)), where, (std::min)(text.size() + 1, std::size_t{1} << 18)};
  }

  /// Moves to the next line; false at the end.
  bool next() {
    if (std::exchange(kept_, false)) return true;
    std::size_t scanned = begin_;
    for (;;) {
      const void* const end = std::memchr(buffer_.data() + scanned, '\n', end_ - scanned);
      if (end != nullptr) {
        const auto at = static_cast<std::size_t>(static_cast<const char*>(end) - buffer_.data());
        take(at);
        begin_ = at + 1;
        return true;
      }
      scanned = end_;
      if (begin_ != 0) {  // what is left moves to the front
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_, scanned -= begin_, begin_ = 0;
      }
      if (end_ == buffer_.size()) {
        if (buffer_.size() >= max_line) {
          ++number_;
          reject("the line is longer than {} bytes", max_line);
        }
        buffer_.resize(buffer_.size() * 2);
      }
      const std::size_t count = source_.read({buffer_.data() + end_, buffer_.size() - end_});
      if (count == 0) {
        if (end_ == begin_) return false;
        take(end_);
        begin_ = end_;
        return true;
      }
      end_ += count;
    }
  }
  /// Moves to the next line that has words and is no comment, which begins with `comment`.
  bool next_content(std::string_view comment) {
    while (next()) {
      std::string_view rest = line_;
      const std::string_view word = take_word(rest);
      if (!word.empty() && !word.starts_with(comment)) return true;
    }
    return false;
  }
  /// The next call of `next` gives the current line once more.
  void keep() { kept_ = true; }

  std::string_view line() const { return line_; }
  /// Of the current line, from 1.
  std::size_t number() const { return number_; }
  const std::string& name() const { return source_.name(); }
  std::string_view where() const { return where_; }

  /// "<where>: <file>:<line>: <message>".
  template <class... Args>
  [[noreturn]] void reject(fmt::format_string<Args...> format, Args&&... args) const {
    fail(where_, "{}:{}: {}", name(), number_, fmt::format(format, std::forward<Args>(args)...));
  }
  /// The same about a file that ended too early.
  template <class... Args>
  [[noreturn]] void reject_end(fmt::format_string<Args...> format, Args&&... args) const {
    fail(where_, "{}:{}: the file ends here; {}", name(), number_, fmt::format(format, std::forward<Args>(args)...));
  }

  /// A whole number in [0, limit).
  std::int64_t index(std::string_view word, std::string_view what, std::int64_t limit) const {
    std::int64_t value = 0;  // most of a file is indices: no general parser
    bool good = !word.empty() && word.size() <= 18;
    for (const char c : word) {
      good = good && c >= '0' && c <= '9';
      if (good) value = 10 * value + (c - '0');
    }
    if (!good || value >= limit) reject("{} is {}; expected a whole number in [0, {}]", what, shown(word), limit - 1);
    return value;
  }
  /// A finite number, or a fraction of two.
  double number(std::string_view word, std::string_view what) const {
    std::optional<double> value = parse_number<double>(word);
    if (const std::size_t bar = word.find('/'); !value && bar != std::string_view::npos) {
      const auto above = parse_number<double>(word.substr(0, bar)), below = parse_number<double>(word.substr(bar + 1));
      if (above && below) value = *above / *below;
    }
    if (!value || !std::isfinite(*value)) reject("{} is {}; expected a finite number", what, shown(word));
    return *value;
  }
  /// A number in [0, 1].
  double probability(std::string_view word) const {
    const double p = number(word, "the probability");
    if (!(p >= 0 && p <= 1 + row_tolerance<double>))
      reject("the probability is {}; expected a number in [0, 1]", shown(word));
    return p;
  }
  /// Nothing may follow on the line.
  void end_of_line(std::string_view rest) const {
    const std::string_view word = take_word(rest);
    if (!word.empty()) reject("{} is too many; expected the end of the line", shown(word));
  }

 private:
  static constexpr std::size_t max_line = std::size_t{1} << 28;
  ModelLines(ByteSource source, std::string_view where, std::size_t buffer)
      : source_(std::move(source)), where_(where), buffer_(buffer) {}
  void take(std::size_t end) {
    ++number_;
    line_ = {buffer_.data() + begin_, end - begin_};
    if (number_ == 1 && line_.starts_with("\xEF\xBB\xBF")) line_.remove_prefix(3);
    if (line_.ends_with('\r')) line_.remove_suffix(1);
  }

  ByteSource source_;
  std::string_view where_, line_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0, number_ = 0;
  bool kept_ = false;
};

/// Names in the order in which they were met.
class NameList {
 public:
  int add(std::string_view name) {
    const auto [place, fresh] = index_.try_emplace(std::string(name), static_cast<int>(names_.size()));
    if (fresh) names_.emplace_back(name);
    return place->second;
  }
  int find(std::string_view name) const {
    const auto place = index_.find(std::string(name));
    return place == index_.end() ? -1 : place->second;
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::unordered_map<std::string, int> index_;
  std::vector<std::string> names_;
};

/// A model as the readers gather it, and on its way to a `ModelFile`.
struct ModelTable {
  /// One action of one state; its entries end where those of the next begin.
  struct Choice {
    std::int32_t state, action, name;  // name: place in `names`, -1 for none
    std::uint32_t begin, line;
    double reward;
  };
  std::string_view where;  // the caller, and its file: for messages
  std::string file;
  int states = 0;
  std::vector<Choice> choices = {};
  std::vector<std::int32_t> next = {};  // an entry a transition, as are the next two
  std::vector<double> probability = {};
  std::vector<double> entry_reward = {};  // may be empty
  std::vector<double> state_reward = {};  // a state; may be empty
  std::vector<double> initial = {};       // a state; may be empty
  std::vector<ModelLabel> labels = {};
  std::vector<std::string> state_names = {};
  NameList names = {};  // of actions
  std::optional<double> discount = {};

  std::size_t end_of(std::size_t choice) const {
    return choice + 1 < choices.size() ? choices[choice + 1].begin : next.size();
  }
  /// Opens a choice, unless it is the one that is open. `line` is where it begins.
  void open(int state, int action, std::size_t line) {
    if (!choices.empty() && choices.back().state == state && choices.back().action == action) return;
    choices.push_back({state, action, -1, static_cast<std::uint32_t>(next.size()),
                       static_cast<std::uint32_t>((std::min)(line, std::size_t{0xFFFFFFFF})), 0.0});
  }
  void add(std::int32_t to, double p) {
    next.push_back(to);
    probability.push_back(p);
  }

  template <class... Args>
  [[noreturn]] void reject(std::uint32_t line, fmt::format_string<Args...> format, Args&&... args) const {
    fail(where, "{}:{}: {}", file, line, fmt::format(format, std::forward<Args>(args)...));
  }

  /// Brings choices into the order of (state, action) and their entries into that of the successors, each once. Files
  /// are in order but for rare ones, and then nothing moves.
  void arrange() {
    bool ordered = true;
    for (std::size_t c = 0; ordered && c < choices.size(); ++c) {
      if (c > 0) ordered = before(choices[c - 1], choices[c]);
      for (std::size_t k = choices[c].begin + 1; ordered && k < end_of(c); ++k) ordered = next[k - 1] < next[k];
    }
    if (ordered) return;
    struct Piece {  // a choice may have come in several
      Choice choice;
      std::uint32_t end;
    };
    std::vector<Piece> pieces;
    pieces.reserve(choices.size());
    for (std::size_t c = 0; c < choices.size(); ++c)
      pieces.push_back({choices[c], static_cast<std::uint32_t>(end_of(c))});
    std::stable_sort(pieces.begin(), pieces.end(),
                     [](const Piece& a, const Piece& b) { return before(a.choice, b.choice); });
    struct Item {
      std::int32_t next;
      double probability, reward;
    };
    std::vector<Choice> new_choices;
    std::vector<std::int32_t> new_next;
    std::vector<double> new_probability, new_reward;
    std::vector<Item> items;
    new_next.reserve(next.size()), new_probability.reserve(next.size()), new_reward.reserve(entry_reward.size());
    for (std::size_t i = 0; i < pieces.size();) {
      Choice choice = pieces[i].choice;
      items.clear();
      for (; i < pieces.size() && !before(choice, pieces[i].choice); ++i) {
        const Choice& other = pieces[i].choice;
        if (choice.name < 0) choice.name = other.name;
        if (other.name >= 0 && other.name != choice.name) reject_names(other, choice);
        for (std::size_t k = other.begin; k < pieces[i].end; ++k)
          items.push_back({next[k], probability[k], entry_reward.empty() ? 0.0 : entry_reward[k]});
      }
      std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.next < b.next; });
      choice.begin = static_cast<std::uint32_t>(new_next.size());
      new_choices.push_back(choice);
      for (const Item& item : items) {
        if (new_next.size() > choice.begin && new_next.back() == item.next) {
          new_probability.back() += item.probability;  // twice in the file: they add up
          continue;
        }
        new_next.push_back(item.next);
        new_probability.push_back(item.probability);
        if (!entry_reward.empty()) new_reward.push_back(item.reward);
      }
    }
    choices = std::move(new_choices);
    next = std::move(new_next);
    probability = std::move(new_probability);
    entry_reward = std::move(new_reward);
  }
  [[noreturn]] void reject_names(const Choice& choice, const Choice& first) const {
    reject(choice.line, "choice {} of state {} is named {}; line {} names it {}", choice.action, choice.state,
           shown(names.names()[static_cast<std::size_t>(choice.name)]), first.line,
           shown(names.names()[static_cast<std::size_t>(first.name)]));
  }

  /// Checks all that a line can be blamed for and makes the model; the table is used up. Choices are arranged.
  ModelFile finish(const ModelFileOptions& options) &&;

 private:
  static bool before(const Choice& a, const Choice& b) {
    return a.state != b.state ? a.state < b.state : a.action < b.action;
  }
  void choose_actions(bool by_name, std::vector<std::string>& action_names);
  std::vector<std::uint8_t> find_terminal(const ModelFileOptions& options, const std::vector<std::uint8_t>& goal) const;
  std::vector<std::uint8_t> marked(const ModelLabel& label) const {
    std::vector<std::uint8_t> out(static_cast<std::size_t>(states), 0);
    for (const int s : label.states) out[static_cast<std::size_t>(s)] = 1;
    return out;
  }
  const ModelLabel* find_label(std::string_view name) const {
    for (const ModelLabel& label : labels)
      if (label.name == name) return &label;
    return nullptr;
  }
};

/// What the actions are, and are called: either the indices of choices, which are named where all choices of an index
/// are named alike, or the names.
inline void ModelTable::choose_actions(bool by_name, std::vector<std::string>& action_names) {
  constexpr int unknown = -1, differ = -2;
  std::vector<int> seen;
  for (Choice& choice : choices) {
    if (by_name) {
      if (choice.name < 0)
        reject(choice.line, "choice {} of state {} has no name; expected one, as actions_by_name is set", choice.action,
               choice.state);
      choice.action = choice.name;
      continue;
    }
    const auto a = static_cast<std::size_t>(choice.action);
    if (seen.size() <= a) {
      if (a >= choices.size() + 1'000'000)
        reject(choice.line, "state {} has a choice of index {}; expected fewer than there are choices", choice.state,
               choice.action);
      seen.resize(a + 1, unknown);
    }
    const int name = choice.name < 0 ? differ : choice.name;
    seen[a] = seen[a] == unknown || seen[a] == name ? name : differ;
  }
  if (by_name) {
    action_names = names.names();
    std::stable_sort(choices.begin(), choices.end(), before);
    for (std::size_t c = 1; c < choices.size(); ++c)
      if (!before(choices[c - 1], choices[c]))
        reject(choices[c].line,
               "state {} has two choices named {}; expected different names, as actions_by_name is set",
               choices[c].state, shown(action_names[static_cast<std::size_t>(choices[c].action)]));
    return;
  }
  if (std::none_of(seen.begin(), seen.end(), [](int name) { return name >= 0; })) return;
  for (std::size_t a = 0; a < seen.size(); ++a)
    action_names.push_back(seen[a] >= 0 ? names.names()[static_cast<std::size_t>(seen[a])] : format_number(a));
}

inline std::vector<std::uint8_t> ModelTable::find_terminal(const ModelFileOptions& options,
                                                           const std::vector<std::uint8_t>& goal) const {
  std::vector<std::uint8_t> terminal =
      goal.empty() ? std::vector<std::uint8_t>(static_cast<std::size_t>(states)) : goal;
  if (const ModelLabel* const deadlock = find_label("deadlock"); options.deadlocks_are_terminal && deadlock != nullptr)
    for (const int s : deadlock->states) terminal[static_cast<std::size_t>(s)] = 1;
  std::size_t c = 0;
  for (int s = 0; s < states; ++s) {
    const auto i = static_cast<std::size_t>(s);
    bool any = false, stays = state_reward.empty() || state_reward[i] == 0;
    for (; c < choices.size() && choices[c].state == s; ++c) {
      any = true;
      stays = stays && choices[c].reward == 0;
      for (std::size_t k = choices[c].begin; k < end_of(c); ++k)
        stays = stays && (probability[k] == 0 || (next[k] == s && (entry_reward.empty() || entry_reward[k] == 0)));
    }
    if (!any ? options.deadlocks_are_terminal : stays && options.absorbing_are_terminal) terminal[i] = 1;
    if (!any && terminal[i] == 0)
      fail(where, "{}: state {} has no transitions; expected some, or the option deadlocks_are_terminal", file, s);
  }
  return terminal;
}

inline ModelFile ModelTable::finish(const ModelFileOptions& options) && {
  check_range(where, "rounding", options.rounding, 0, 1);
  check_finite(where, "goal_reward", options.goal_reward);
  if (choices.empty()) fail(where, "{} has no transitions; expected some", file);
  std::vector<std::string> action_names;
  choose_actions(options.actions_by_name, action_names);
  if (options.actions_by_name) {
    // Choices moved within their states, and entries must follow: as pieces again. (`begin` still says where each
    // begins; ends are found by the order of the begins.)
    std::vector<std::uint32_t> begins;
    for (const Choice& choice : choices) begins.push_back(choice.begin);
    std::sort(begins.begin(), begins.end());
    std::vector<std::int32_t> new_next;
    std::vector<double> new_probability, new_reward;
    new_next.reserve(next.size()), new_probability.reserve(next.size()), new_reward.reserve(entry_reward.size());
    for (Choice& choice : choices) {
      const auto after = std::upper_bound(begins.begin(), begins.end(), choice.begin);
      const auto first = static_cast<std::ptrdiff_t>(choice.begin);
      const auto last = static_cast<std::ptrdiff_t>(after == begins.end() ? next.size() : *after);
      choice.begin = static_cast<std::uint32_t>(new_next.size());
      new_next.insert(new_next.end(), next.begin() + first, next.begin() + last);
      new_probability.insert(new_probability.end(), probability.begin() + first, probability.begin() + last);
      if (!entry_reward.empty())
        new_reward.insert(new_reward.end(), entry_reward.begin() + first, entry_reward.begin() + last);
    }
    next = std::move(new_next), probability = std::move(new_probability), entry_reward = std::move(new_reward);
  }

  int actions = static_cast<int>(action_names.size());
  for (const Choice& choice : choices) actions = (std::max)(actions, choice.action + 1);
  const auto n = static_cast<std::size_t>(states), m = static_cast<std::size_t>(actions);
  if (n > options.max_pairs / m)
    fail(where, "{} has {} states x {} actions; expected at most {} (max_pairs)", file, states, actions,
         options.max_pairs);

  std::vector<std::uint8_t> goal;
  if (!options.goal.empty()) {
    const ModelLabel* const label = find_label(options.goal);
    if (label == nullptr) {
      std::string all;
      for (const ModelLabel& known : labels) all += (all.empty() ? "" : ", ") + known.name;
      fail(where, "{} has no label {}; its labels are {}", file, shown(options.goal), shown(all, 400));
    }
    if (label->states.empty()) fail(where, "{}: no state is labelled {}; expected some", file, shown(options.goal));
    goal = marked(*label);
  }
  std::vector<std::uint8_t> terminal = find_terminal(options, goal);

  // Rows are written over what was read: no entry moves up.
  ModelColumns<double> c{.states = states, .actions = actions};
  c.row_begin.reserve(n * m + 1);
  c.row_begin.push_back(0);
  c.reward.assign(n * m, 0.0);
  const auto earned = [&](double r) { return options.costs ? 0 - r : r; };
  const double bonus = goal.empty() ? 0 : options.goal_reward;
  const bool own = !entry_reward.empty() || bonus != 0;
  if (entry_reward.empty() && own) entry_reward.assign(next.size(), 0.0);
  bool differ = false;
  std::size_t to = 0;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const Choice& choice = choices[i];
    const auto s = static_cast<std::size_t>(choice.state);
    if (terminal[s] != 0) continue;
    const std::size_t row = s * m + static_cast<std::size_t>(choice.action), last = end_of(i);
    c.row_begin.resize(row + 1, static_cast<std::uint32_t>(to));
    double sum = 0;
    for (std::size_t k = choice.begin; k < last; ++k) sum += probability[k];
    if (!(std::abs(sum - 1) <= (std::max)(row_tolerance<double>, options.rounding)))
      reject(choice.line, "the probabilities of state {}, choice {} sum to {}; expected 1 (within {})", choice.state,
             choice.action, sum, (std::max)(row_tolerance<double>, options.rounding));
    const double scale = std::abs(sum - 1) <= row_tolerance<double> ? 1 : 1 / sum;
    const double base = (state_reward.empty() ? 0 : state_reward[s]) + choice.reward;
    double expected = 0, first_reward = earned(base);
    bool single = true;
    const std::size_t first = to;
    for (std::size_t k = choice.begin; k < last; ++k) {
      if (probability[k] == 0) continue;
      const std::int32_t successor = next[k];
      const double p = scale == 1 ? probability[k] : probability[k] * scale;
      next[to] = successor;
      probability[to] = p;
      if (own) {
        const double r =
            earned(base + entry_reward[k]) + (bonus != 0 && goal[static_cast<std::size_t>(successor)] != 0 ? bonus : 0);
        entry_reward[to] = r;
        if (to == first) first_reward = r;
        single = single && r == first_reward;
        expected += p * r;
      }
      ++to;
    }
    c.reward[row] = single ? first_reward : expected;
    if (!std::isfinite(c.reward[row]))
      reject(choice.line, "the reward of state {}, choice {} is {}; expected a finite number", choice.state,
             choice.action, c.reward[row]);
    differ = differ || !single;
  }
  c.row_begin.resize(n * m + 1, static_cast<std::uint32_t>(to));
  choices = {};
  next.resize(to), probability.resize(to);
  c.next = std::move(next), c.probability = std::move(probability);
  if (differ) {
    entry_reward.resize(to);
    c.entry_reward = std::move(entry_reward);
  }
  if (std::find(terminal.begin(), terminal.end(), 1) != terminal.end()) c.terminal = std::move(terminal);
  c.initial = std::move(initial);
  if (const ModelLabel* const init = find_label("init");
      c.initial.empty() && init != nullptr && !init->states.empty()) {
    c.initial.assign(n, 0.0);
    for (const int s : init->states)
      c.initial[static_cast<std::size_t>(s)] = 1 / static_cast<double>(init->states.size());
  }
  return {.mdp = FiniteMdp<double>(std::move(c)),
          .state_names = std::move(state_names),
          .action_names = std::move(action_names),
          .labels = std::move(labels),
          .discount = discount};
}

}  // namespace detail
}  // namespace valence
