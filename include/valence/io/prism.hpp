#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/model_file.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/text.hpp"
#include "valence/mdp/finite_mdp.hpp"

/// The explicit model files of the model checkers PRISM and Storm: a `.tra` of transitions and, beside it, labels
/// (`.lab`), rewards of states and transitions (`.srew`, `.trew`; older: `.rews`, `.rewt`) and names of states
/// (`.sta`).
///
/// PRISM's `.tra` (prismmodelchecker.org/manual/Appendices/ExplicitModelFiles) begins with counts: `states choices
/// transitions` and rows `state choice next probability [action]` for a Markov decision process, `states transitions`
/// and rows `state next probability [action]` for a Markov chain, which becomes a model of one action. Storm's begins
/// with a word, `mdp` or `dtmc`, and has the same rows; its labels and rewards differ too. Which of them a file is, its
/// first line tells, and each count is held against what follows: nothing is guessed. Rows may come in any order; rows
/// of the same transition add up.
///
/// A state's reward is earned by every action in it, a transition's where that happens; both count as the model
/// checkers' expected rewards do. States labelled "init" share the initial probability.
namespace valence {

/// The texts of the files, for `parse_prism`; an empty one is a file that isn't there.
struct PrismTexts {
  std::string_view transitions;
  std::string_view labels = {}, state_rewards = {}, transition_rewards = {}, states = {};
};

namespace detail {

struct PrismReaders {
  ModelLines transitions;
  std::optional<ModelLines> labels = {}, state_rewards = {}, transition_rewards = {}, states = {};
};

/// What the first line of a `.tra` says.
struct PrismHeader {
  bool storm = false, chain = false;
  std::int64_t states = 0, choices = 0, transitions = 0;  // 0 in Storm's, which doesn't say
};

inline constexpr std::int64_t most_states = (std::numeric_limits<std::int32_t>::max)();

/// The counts of a first line of PRISM's.
inline std::vector<std::int64_t> read_counts(const ModelLines& in) {
  std::vector<std::int64_t> counts;
  std::string_view rest = in.line();
  for (std::string_view word = take_word(rest); !word.empty(); word = take_word(rest)) {
    if (counts.size() == 3)
      in.reject(
          "the first line has more than 3 numbers; expected `mdp` or `dtmc` (Storm), or PRISM's `states "
          "transitions` or `states choices transitions`");
    counts.push_back(in.index(word, "a count", std::int64_t{1} << 40));
  }
  return counts;
}

inline PrismHeader read_prism_header(ModelLines& in) {
  if (!in.next_content("#")) in.reject_end("expected a model");
  std::string_view rest = in.line();
  const std::string_view word = take_word(rest);
  for (const std::string_view type : {"mdp", "dtmc"})
    if (equal_ignoring_case(word, type)) {
      in.end_of_line(rest);
      return {.storm = true, .chain = type == "dtmc"};
    }
  if (!parse_number<std::int64_t>(word))
    in.reject("the model is of type {}; expected `mdp` or `dtmc` (Storm), or PRISM's counts of states and transitions",
              shown(word));
  const std::vector<std::int64_t> counts = read_counts(in);
  if (counts.size() < 2)
    in.reject(
        "the first line has one number; expected `states transitions` (a chain) or `states "
        "choices transitions`");
  PrismHeader header{.chain = counts.size() == 2, .states = counts[0], .transitions = counts.back()};
  header.choices = header.chain ? 0 : counts[1];
  if (header.states < 1 || header.states > most_states)
    in.reject("there are {} states; expected 1 to {}", header.states, most_states);
  return header;
}

/// The first words of a row: state, choice (0 in chains) and successor.
struct PrismRow {
  std::int32_t state, choice, next;
};
inline PrismRow read_prism_row(const ModelLines& in, std::string_view& rest, const PrismHeader& header,
                               std::int64_t states) {
  PrismRow row{};
  row.state = static_cast<std::int32_t>(in.index(take_word(rest), "the state", states));
  if (!header.chain) row.choice = static_cast<std::int32_t>(in.index(take_word(rest), "the choice", most_states));
  const std::string_view next = take_word(rest);
  if (next.find(':') != std::string_view::npos)
    in.reject("{} is of PRISM's row form; expected a transition a line (export without -exportrows)", shown(next));
  row.next = static_cast<std::int32_t>(in.index(next, "the successor", states));
  return row;
}

inline PrismHeader read_prism_transitions(ModelLines& in, ModelTable& table, const ModelFileOptions& options,
                                          std::uintmax_t bytes) {
  const PrismHeader header = read_prism_header(in);
  const std::int64_t limit = header.storm ? most_states : header.states;
  const auto most = static_cast<std::int64_t>((std::min)(options.max_entries, std::size_t{0xFFFFFFFF}));
  if (header.transitions > most)
    in.reject("there are {} transitions; expected at most {} (max_entries)", header.transitions, most);
  if (static_cast<std::uint64_t>(header.states) > options.max_pairs)
    in.reject("there are {} states; expected at most {} (max_pairs)", header.states, options.max_pairs);
  // A row takes six bytes or more: a count that the file can't keep reserves nothing.
  const auto expected = (std::min)(static_cast<std::uintmax_t>(header.transitions), bytes / 6);
  table.next.reserve(static_cast<std::size_t>(expected)), table.probability.reserve(static_cast<std::size_t>(expected));
  std::int32_t highest = -1;
  while (in.next_content("#")) {
    std::string_view rest = in.line();
    const PrismRow row = read_prism_row(in, rest, header, limit);
    const double p = in.probability(take_word(rest));
    const std::string_view name = take_word(rest);
    in.end_of_line(rest);
    const auto read = static_cast<std::int64_t>(table.next.size());
    if (!header.storm && read == header.transitions)
      in.reject("there are more transitions than the {} of the first line", header.transitions);
    if (read >= most) in.reject("there are more than {} transitions (max_entries)", most);
    table.open(row.state, row.choice, in.number());
    if (!name.empty() && !header.chain) {
      ModelTable::Choice& choice = table.choices.back();
      if (choice.name < 0 || table.names.names()[static_cast<std::size_t>(choice.name)] != name) {
        const ModelTable::Choice first = choice;
        choice.name = table.names.add(name);
        if (first.name >= 0) {
          choice.line = static_cast<std::uint32_t>(in.number());
          table.reject_names(choice, first);
        }
      }
    }
    table.add(row.next, p);
    highest = (std::max)({highest, row.state, row.next});
  }
  if (static_cast<std::int64_t>(table.next.size()) < header.transitions)
    in.reject_end("expected {} transitions, of which {} came", header.transitions, table.next.size());
  table.states = header.storm ? highest + 1 : static_cast<int>(header.states);
  table.arrange();
  if (!header.storm && !header.chain && static_cast<std::int64_t>(table.choices.size()) != header.choices)
    in.reject_end("expected {} choices, of which {} came", header.choices, table.choices.size());
  return header;
}

/// Labels in PRISM's form (`0="init" 1="goal"`, then `state: 0 1`) or Storm's (`#DECLARATION`, names, `#END`, then
/// `state name name`).
inline std::vector<ModelLabel> read_labels(ModelLines& in, int states) {
  std::vector<ModelLabel> labels;
  const auto find = [&](std::string_view name) {
    return std::find_if(labels.begin(), labels.end(), [&](const ModelLabel& label) { return label.name == name; });
  };
  const auto declare = [&](std::string_view name) {
    if (find(name) != labels.end()) in.reject("label {} is declared twice", shown(name));
    labels.push_back({std::string(name)});
  };
  std::string_view rest, word;
  do {
    if (!in.next()) in.reject_end("expected labels");
    rest = in.line();
    word = take_word(rest);
  } while (word.empty() || (word.starts_with('#') && word != "#DECLARATION"));
  const bool storm = word == "#DECLARATION";
  std::vector<std::pair<std::int64_t, std::size_t>> places;  // PRISM's numbers
  if (storm) {
    for (bool open = true; open;) {
      for (word = take_word(rest); open && !word.empty(); word = take_word(rest)) {
        if (word == "#END") {
          open = false;
          in.end_of_line(rest);
        } else {
          declare(word);
        }
      }
      if (open) {
        if (!in.next()) in.reject_end("expected #END");
        rest = in.line();
      }
    }
  } else {
    for (; !word.empty(); word = take_word(rest)) {
      const std::size_t equal = word.find('=');
      if (equal == std::string_view::npos || word.size() < equal + 3 || word[equal + 1] != '"' || word.back() != '"')
        in.reject("{} declares no label; expected `0=\"name\"` (PRISM) or #DECLARATION (Storm)", shown(word));
      places.emplace_back(in.index(word.substr(0, equal), "the label's number", most_states), labels.size());
      declare(word.substr(equal + 2, word.size() - equal - 3));
    }
    std::sort(places.begin(), places.end());
    for (std::size_t i = 1; i < places.size(); ++i)
      if (places[i].first == places[i - 1].first) in.reject("two labels have the number {}", places[i].first);
  }
  while (in.next()) {
    rest = in.line();
    word = take_word(rest);
    if (word.empty()) continue;
    if (!storm) {
      if (word.back() != ':') in.reject("the state is {}; expected a number and a colon", shown(word));
      word.remove_suffix(1);
    }
    const auto state = static_cast<int>(in.index(word, "the state", states));
    for (word = take_word(rest); !word.empty(); word = take_word(rest)) {
      auto label = find(word);
      if (!storm) {
        const auto number = in.index(word, "the label", most_states);
        const auto place = std::lower_bound(places.begin(), places.end(), std::pair(number, std::size_t{0}));
        label = place == places.end() || place->first != number
                    ? labels.end()
                    : labels.begin() + static_cast<std::ptrdiff_t>(place->second);
      }
      if (label == labels.end()) in.reject("label {} is not declared", shown(word));
      label->states.push_back(state);
    }
  }
  for (ModelLabel& label : labels) {
    std::sort(label.states.begin(), label.states.end());
    label.states.erase(std::unique(label.states.begin(), label.states.end()), label.states.end());
  }
  return labels;
}

/// Reads PRISM's first line of a reward file and holds its counts against the model's. How many rewards it announces.
inline std::int64_t read_reward_counts(ModelLines& in, const ModelTable& table, const PrismHeader& header,
                                       bool of_states) {
  if (!in.next_content("#")) in.reject_end("expected the counts of states and rewards");
  const std::vector<std::int64_t> counts = read_counts(in);
  const std::size_t expected = of_states || header.chain ? 2 : 3;
  if (counts.size() != expected)
    in.reject("the first line has {} numbers; expected {}", counts.size(),
              expected == 2 ? "`states rewards`" : "`states choices rewards`");
  if (counts[0] != table.states) in.reject("the rewards are of {} states; the model has {}", counts[0], table.states);
  if (expected == 3 && counts[1] != header.choices)
    in.reject("the rewards are of {} choices; the model has {}", counts[1], header.choices);
  return counts.back();
}

inline void read_state_rewards(ModelLines& in, ModelTable& table, const PrismHeader& header) {
  const std::int64_t announced = header.storm ? -1 : read_reward_counts(in, table, header, true);
  constexpr double unset = std::numeric_limits<double>::infinity();
  std::vector<double> reward(static_cast<std::size_t>(table.states), unset);
  std::int64_t count = 0;
  for (; in.next_content("#"); ++count) {
    std::string_view rest = in.line();
    const auto state = in.index(take_word(rest), "the state", table.states);
    double& place = reward[static_cast<std::size_t>(state)];
    if (place != unset) in.reject("the reward of state {} is given twice", state);
    place = in.number(take_word(rest), "the reward");
    in.end_of_line(rest);
    if (count == announced) in.reject("there are more rewards than the {} of the first line", announced);
  }
  if (count < announced) in.reject_end("expected {} rewards, of which {} came", announced, count);
  std::replace(reward.begin(), reward.end(), unset, 0.0);
  table.state_reward = std::move(reward);
}

inline void read_transition_rewards(ModelLines& in, ModelTable& table, const PrismHeader& header) {
  const std::int64_t announced = header.storm ? -1 : read_reward_counts(in, table, header, false);
  constexpr double unset = std::numeric_limits<double>::infinity();
  std::vector<double> reward(table.next.size(), unset);
  std::int64_t count = 0;
  std::size_t open = 0;  // the last row's choice: files are in order, but for rare ones
  while (in.next_content("#")) {
    std::string_view rest = in.line();
    if (header.storm && count == 0) {  // Storm skips a type's name here
      const std::string_view word = take_word(rest);
      if (equal_ignoring_case(word, header.chain ? "dtmc" : "mdp")) continue;
      rest = in.line();
    }
    const PrismRow row = read_prism_row(in, rest, header, table.states);
    const double r = in.number(take_word(rest), "the reward");
    take_word(rest);  // the action's name
    in.end_of_line(rest);
    const auto is_open = [&](std::size_t c) {
      return c < table.choices.size() && table.choices[c].state == row.state && table.choices[c].action == row.choice;
    };
    if (!is_open(open) && !is_open(++open))
      open = static_cast<std::size_t>(std::lower_bound(table.choices.begin(), table.choices.end(), row,
                                                       [](const ModelTable::Choice& c, const PrismRow& x) {
                                                         return c.state != x.state ? c.state < x.state
                                                                                   : c.action < x.choice;
                                                       }) -
                                      table.choices.begin());
    if (is_open(open)) {
      const auto first = table.next.begin() + static_cast<std::ptrdiff_t>(table.choices[open].begin);
      const auto last = table.next.begin() + static_cast<std::ptrdiff_t>(table.end_of(open));
      const auto place = std::lower_bound(first, last, row.next);
      if (place != last && *place == row.next) {
        double& entry = reward[static_cast<std::size_t>(place - table.next.begin())];
        if (entry != unset) in.reject("the reward of this transition is given twice");
        entry = r;
        if (count++ == announced) in.reject("there are more rewards than the {} of the first line", announced);
        continue;
      }
    }
    in.reject("the model has no transition from state {} by choice {} to state {}", row.state, row.choice, row.next);
  }
  if (count < announced) in.reject_end("expected {} rewards, of which {} came", announced, count);
  std::replace(reward.begin(), reward.end(), unset, 0.0);
  if (count > 0) table.entry_reward = std::move(reward);
}

/// `(s,t)`, then `0:(1,false)`: the name of a state is what stands between its parentheses.
inline std::vector<std::string> read_state_names(ModelLines& in, int states) {
  if (!in.next_content("#")) in.reject_end("expected the variables' names in parentheses");
  if (in.line().empty() || in.line().front() != '(' || in.line().back() != ')')
    in.reject("the first line is {}; expected the variables' names in parentheses", shown(in.line()));
  std::vector<std::string> names(static_cast<std::size_t>(states));
  int count = 0;
  for (; in.next_content("#"); ++count) {
    const std::string_view line = in.line();
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || line.size() < colon + 3 || line[colon + 1] != '(' || line.back() != ')')
      in.reject("{} is no state; expected `0:(values)`", shown(line));
    const auto state = in.index(line.substr(0, colon), "the state", states);
    std::string& name = names[static_cast<std::size_t>(state)];
    if (!name.empty()) in.reject("state {} is named twice", state);
    name = line.substr(colon + 2, line.size() - colon - 3);
    if (name.empty()) in.reject("state {} has an empty name", state);
  }
  if (count < states) in.reject_end("expected {} states, of which {} came", states, count);
  return names;
}

inline ModelFile read_prism(PrismReaders readers, const ModelFileOptions& options, std::uintmax_t bytes) {
  ModelTable table{.where = readers.transitions.where(), .file = readers.transitions.name()};
  const PrismHeader header = read_prism_transitions(readers.transitions, table, options, bytes);
  if (readers.labels) table.labels = read_labels(*readers.labels, table.states);
  if (readers.state_rewards) read_state_rewards(*readers.state_rewards, table, header);
  if (readers.transition_rewards) read_transition_rewards(*readers.transition_rewards, table, header);
  if (readers.states) table.state_names = read_state_names(*readers.states, table.states);
  return std::move(table).finish(options);
}

/// The file beside `path`: what was asked for, or the one that is there under one of these endings.
inline std::optional<ModelLines> open_companion(std::string_view where, const std::filesystem::path& path,
                                                const std::filesystem::path& asked,
                                                std::initializer_list<const char*> endings, bool find) {
  if (!asked.empty()) return ModelLines::of_file(where, asked);
  std::filesystem::path found;
  for (const char* const ending : endings) {
    std::filesystem::path candidate = path;
    candidate.replace_extension(ending);
    std::error_code ignored;
    if (!find || !std::filesystem::exists(candidate, ignored)) continue;
    if (!found.empty())
      fail(where, "'{}' and '{}' are both there; expected one, or the option that names it", found.string(),
           candidate.string());
    found = candidate;
  }
  if (found.empty()) return std::nullopt;
  return ModelLines::of_file(where, found);
}

}  // namespace detail

/// Reads `path`, a `.tra` of PRISM or Storm, and the files beside it: those that `options` names, or that lie there
/// under the same name. Errors name file and line.
inline ModelFile load_prism(const std::filesystem::path& path, const ModelFileOptions& options = {}) {
  constexpr auto where = "load_prism";
  const auto beside = [&](const std::filesystem::path& asked, std::initializer_list<const char*> endings) {
    return detail::open_companion(where, path, asked, endings, options.find_companions);
  };
  std::error_code no_file;  // a pipe, say: then nothing is reserved
  const std::uintmax_t bytes = std::filesystem::file_size(path, no_file);
  return detail::read_prism({.transitions = detail::ModelLines::of_file(where, path),
                             .labels = beside(options.labels, {".lab"}),
                             .state_rewards = beside(options.state_rewards, {".srew", ".rews"}),
                             .transition_rewards = beside(options.transition_rewards, {".trew", ".rewt"}),
                             .states = beside(options.states, {".sta"})},
                            options, no_file ? 0 : bytes);
}

/// The same from texts.
inline ModelFile parse_prism(const PrismTexts& texts, const ModelFileOptions& options = {}) {
  constexpr auto where = "parse_prism";
  const auto from = [&](std::string_view text, const char* name) -> std::optional<detail::ModelLines> {
    if (text.empty()) return std::nullopt;
    return detail::ModelLines::of_text(where, text, name);
  };
  return detail::read_prism({.transitions = detail::ModelLines::of_text(where, texts.transitions, "transitions"),
                             .labels = from(texts.labels, "labels"),
                             .state_rewards = from(texts.state_rewards, "state_rewards"),
                             .transition_rewards = from(texts.transition_rewards, "transition_rewards"),
                             .states = from(texts.states, "states")},
                            options, texts.transitions.size());
}

namespace detail {

/// Names go into lines of words.
inline void check_words(std::string_view where, std::string_view what, const std::vector<std::string>& names,
                        std::string_view forbidden) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i].empty() || names[i].find_first_of(forbidden) != std::string::npos)
      fail(where, "{}[{}] is {}; expected a name without blanks{}", what, i, shown(names[i]),
           forbidden.find('"') != std::string_view::npos ? " and quotes" : "");
}

/// The four files of a model, a line at a time to `write`.
template <class Write>
void write_prism_transitions(const ModelFile& model, bool rewards, Write&& write) {
  const FiniteMdp<double>& mdp = model.mdp;
  std::size_t choices = 0, entries = 0;
  const auto each = [&](auto&& visit) {
    for (int s = 0; s < mdp.states(); ++s) {
      if (mdp.terminal(s)) visit(s, 0, s, 1.0, 0.0, true);  // a loop: model checkers have no terminal states
      for (int a = 0; a < mdp.actions(); ++a) {
        bool first = true;
        for (const auto& to : mdp.successors(s, a)) {
          visit(s, a, to.next, to.probability, to.reward, first);
          first = false;
        }
      }
    }
  };
  each([&](int, int, int, double, double reward, bool first) {
    choices += first ? 1 : 0;
    entries += !rewards || reward != 0 ? 1 : 0;
  });
  write(fmt::format("{} {} {}\n", mdp.states(), choices, entries));
  std::string line;
  each([&](int s, int a, int next, double probability, double reward, bool) {
    if (rewards && reward == 0) return;
    line = fmt::format("{} {} {} ", s, a, next);
    append_number(line, rewards ? reward : probability);
    if (!rewards && !model.action_names.empty()) line += ' ' + model.action_names[static_cast<std::size_t>(a)];
    line += '\n';
    write(line);
  });
}

/// The labels, with "init" and "terminal" as the model has them.
inline std::vector<ModelLabel> labels_to_write(const ModelFile& model) {
  std::vector<ModelLabel> labels = model.labels;
  const auto set = [&](const char* name, auto&& holds) {
    ModelLabel label{name};
    for (int s = 0; s < model.mdp.states(); ++s)
      if (holds(s)) label.states.push_back(s);
    std::erase_if(labels, [&](const ModelLabel& old) { return old.name == name; });
    labels.insert(labels.begin(), std::move(label));
  };
  set("terminal", [&](int s) { return model.mdp.terminal(s); });
  const auto initial = model.mdp.initial();
  set("init", [&](int s) { return !initial.empty() && initial[static_cast<std::size_t>(s)] > 0; });
  return labels;
}

}  // namespace detail

/// Writes a model in PRISM's form: `path` with the endings `.tra`, `.lab`, `.trew` and, where states have names,
/// `.sta`, each atomically. Choices are numbered like actions, so where an action isn't available a number is left out.
/// A terminal state gets a loop without reward and the label "terminal"; `load_prism(path, {.goal = "terminal"})` gives
/// back the same model to the last bit. All rewards go to `.trew`. Throws `Error` for what the format can't hold: names
/// with blanks, an initial distribution that isn't uniform over some states; and where a `.srew`, `.rews`, `.rewt` or
/// `.sta` of another model lies beside, which would be read with this one.
inline void save_prism(const ModelFile& model, const std::filesystem::path& path) {
  constexpr auto where = "save_prism";
  const FiniteMdp<double>& mdp = model.mdp;
  constexpr std::string_view blanks = " \t\n\v\f\r";
  if (!model.action_names.empty()) {
    check_size(where, "action_names", model.action_names.size(), static_cast<std::size_t>(mdp.actions()));
    detail::check_words(where, "action_names", model.action_names, blanks);
  }
  if (!model.state_names.empty()) {
    check_size(where, "state_names", model.state_names.size(), static_cast<std::size_t>(mdp.states()));
    detail::check_words(where, "state_names", model.state_names, "\n\r");
  }
  bool last_is_used = mdp.actions() == 1;
  for (int s = 0; s < mdp.states(); ++s) last_is_used = last_is_used || mdp.available(s, mdp.actions() - 1);
  if (!last_is_used)
    fail(where, "action {}, the last, is available nowhere; expected it somewhere, or the file won't know of it",
         mdp.actions() - 1);
  const std::vector<ModelLabel> labels = detail::labels_to_write(model);
  for (const ModelLabel& label : labels) {
    detail::check_words(where, "labels", {label.name}, " \t\n\v\f\r\"");
    for (const int s : label.states) check_range(where, "a label's state", s, 0, mdp.states() - 1);
  }
  const auto initial = mdp.initial();
  for (const int s : labels.front().states)
    if (initial[static_cast<std::size_t>(s)] != 1 / static_cast<double>(labels.front().states.size()))
      fail(where, "state {} has the initial probability {}; the format holds only a uniform one over some states", s,
           initial[static_cast<std::size_t>(s)]);
  const auto with = [&](const char* ending) {
    std::filesystem::path out = path;
    return out.replace_extension(ending);
  };
  for (const char* const ending : {".srew", ".rews", ".rewt", ".sta"}) {
    std::error_code ignored;
    if ((model.state_names.empty() || std::string_view(ending) != ".sta") &&
        std::filesystem::exists(with(ending), ignored))
      fail(where, "'{}' is there and would be read with the model; expected it not to be", with(ending).string());
  }

  AtomicFile transitions(with(".tra")), rewards(with(".trew")), lab(with(".lab"));
  detail::write_prism_transitions(model, false, [&](std::string_view text) { transitions.write(text); });
  detail::write_prism_transitions(model, true, [&](std::string_view text) { rewards.write(text); });
  std::vector<std::vector<std::size_t>> marks(static_cast<std::size_t>(mdp.states()));
  for (std::size_t i = 0; i < labels.size(); ++i) {
    lab.write(fmt::format("{}{}=\"{}\"", i == 0 ? "" : " ", i, labels[i].name));
    for (const int s : labels[i].states) marks[static_cast<std::size_t>(s)].push_back(i);
  }
  lab.write("\n");
  for (std::size_t s = 0; s < marks.size(); ++s) {
    if (marks[s].empty()) continue;
    std::string line = fmt::format("{}:", s);
    for (const std::size_t i : marks[s]) line += fmt::format(" {}", i);
    lab.write(line + '\n');
  }
  std::optional<AtomicFile> names;
  if (!model.state_names.empty()) {
    names.emplace(with(".sta"));
    names->write("(state)\n");
    for (std::size_t s = 0; s < model.state_names.size(); ++s)
      names->write(fmt::format("{}:({})\n", s, model.state_names[s]));
    names->commit();
  }
  lab.commit(), rewards.commit(), transitions.commit();
}

}  // namespace valence
