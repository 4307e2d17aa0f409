#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/model_file.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/text.hpp"

/// Storm's DRN: one text file with the whole model (stormchecker.org/documentation/background/drn.html). Read are
/// Markov decision processes and chains (`@type: MDP`, `DTMC`) of plain numbers; parameters, placeholders, intervals,
/// partial observation and continuous time are refused by name. PRISM writes the format too.
namespace valence {

namespace detail {

/// The numbers of "[1, 0.5]" at the front of `rest`, of which one counts; 0 where there is no bracket.
inline double take_rewards(const ModelLines& in, std::string_view& rest, std::size_t models, std::size_t which) {
  const std::size_t first = rest.find_first_not_of(" \t");
  if (first == std::string_view::npos || rest[first] != '[') return 0;
  const std::size_t close = rest.find(']', first);
  if (close == std::string_view::npos) in.reject("the rewards have no closing bracket");
  std::string_view list = rest.substr(first + 1, close - first - 1);
  rest.remove_prefix(close + 1);
  double picked = 0;
  std::size_t count = 0;
  for (bool more = true; more; ++count) {
    const std::size_t comma = list.find(',');
    std::string_view text = list.substr(0, comma);
    const double reward = in.number(take_word(text), "a reward");
    in.end_of_line(text);
    if (count == which) picked = reward;
    more = comma != std::string_view::npos;
    if (more) list.remove_prefix(comma + 1);
  }
  if (count != models) in.reject("there are {} rewards; expected {}, one a reward model", count, models);
  return picked;
}

/// Cuts a comment off: "// ..." at the start of a line or after a blank.
inline std::string_view without_comment(std::string_view line) {
  for (std::size_t at = line.find("//"); at != std::string_view::npos; at = line.find("//", at + 1))
    if (at == 0 || line[at - 1] == ' ' || line[at - 1] == '\t') return line.substr(0, at);
  return line;
}

/// Which of the reward models to read, given their names.
inline std::size_t find_reward_model(const ModelLines& in, const std::vector<std::string>& names,
                                     const std::string& asked) {
  if (asked.empty() && names.size() <= 1) return 0;
  std::string all;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == asked) return i;
    all += (i == 0 ? "" : ", ") + names[i];
  }
  if (asked.empty())
    in.reject("the reward models are {}; expected the option reward_model to name one", shown(all, 400));
  in.reject("there is no reward model {}; there are {}", shown(asked), shown(all, 400));
}

inline ModelFile read_drn(ModelLines in, const ModelFileOptions& options) {
  ModelTable table{.where = in.where(), .file = in.name()};
  std::int64_t states = -1, choices = -1;
  std::vector<std::string> reward_models;
  bool typed = false;
  const auto value_line = [&](std::string_view what) {
    if (!in.next()) in.reject_end("expected {}", what);
    return without_comment(in.line());
  };
  const auto count_line = [&](std::string_view what, std::int64_t limit) {
    std::string_view rest = value_line(what);
    const auto count = in.index(take_word(rest), what, limit);
    in.end_of_line(rest);
    return count;
  };
  for (bool header = true; header;) {
    if (!in.next_content("//")) in.reject_end("expected @model");
    std::string_view rest = without_comment(in.line());
    const std::string_view key = take_word(rest);
    if (key == "@type:") {
      const std::string_view type = take_word(rest);
      if (!equal_ignoring_case(type, "mdp") && !equal_ignoring_case(type, "dtmc"))
        in.reject("the model is of type {}; expected MDP or DTMC", shown(type));
      typed = true;
    } else if (key == "@value_type:") {
      const std::string_view type = take_word(rest);
      if (type != "double" && type != "rational")
        in.reject("the numbers are of type {}; expected double or rational", shown(type));
    } else if (key == "@parameters") {
      std::string_view names = value_line("the parameters' names");
      if (const std::string_view name = take_word(names); !name.empty())
        in.reject("the model has the parameter {}; expected none", shown(name));
    } else if (key == "@reward_models") {
      std::string_view names = value_line("the reward models' names");
      for (std::string_view name = take_word(names); !name.empty(); name = take_word(names))
        reward_models.emplace_back(name);
    } else if (key == "@nr_states") {
      states = count_line("the number of states", std::int64_t{1} << 31);
      if (states < 1) in.reject("there are no states; expected some");
      if (static_cast<std::size_t>(states) > options.max_pairs)
        in.reject("there are {} states; expected at most {} (max_pairs)", states, options.max_pairs);
    } else if (key == "@nr_choices") {
      choices = count_line("the number of choices", std::int64_t{1} << 40);
    } else if (key == "@model") {
      if (!typed) in.reject("the model begins; expected @type: before it");
      if (states < 0) in.reject("the model begins; expected @nr_states before it");
      header = false;
    } else {
      in.reject(
          "{} is no part of a header; expected @type:, @value_type:, @parameters, @reward_models, @nr_states, "
          "@nr_choices or @model",
          shown(key));
    }
    if (key.ends_with(':')) in.end_of_line(rest);
  }
  const std::size_t which = find_reward_model(in, reward_models, options.reward_model);

  NameList label_names;
  std::int32_t state = -1, choice = -1;
  while (in.next_content("//")) {
    std::string_view rest = without_comment(in.line());
    const std::string_view all = rest, word = take_word(rest);
    if (word == "state") {
      if (state + 1 == states) in.reject("there are more states than the {} of the header", states);
      const auto id = in.index(take_word(rest), "the state", states);
      if (id != ++state) in.reject("the state is {}; expected {}: states are numbered in order", id, state);
      choice = -1;
      const double reward = take_rewards(in, rest, reward_models.size(), which);
      if (reward != 0) table.state_reward.resize(static_cast<std::size_t>(state), 0.0);
      if (reward != 0) table.state_reward.push_back(reward);
      for (std::string_view label = take_word(rest); !label.empty(); label = take_word(rest)) {
        if (label.starts_with('{') || label.starts_with('!'))
          in.reject("{} is an observation or a rate; expected labels", shown(label));
        if (label.starts_with('"')) {  // up to the closing quote, blanks included
          const std::size_t at = static_cast<std::size_t>(label.data() - all.data());
          const std::size_t close = all.find('"', at + 1);
          if (close == std::string_view::npos) in.reject("{} has no closing quote", shown(label));
          label = all.substr(at + 1, close - at - 1);
          rest = all.substr(close + 1);
        }
        const auto place = static_cast<std::size_t>(label_names.add(label));
        if (place == table.labels.size()) table.labels.push_back({std::string(label)});
        std::vector<int>& marked = table.labels[place].states;
        if (marked.empty() || marked.back() != state) marked.push_back(state);
      }
    } else if (word == "action") {
      if (state < 0) in.reject("an action comes before the first state");
      table.open(state, ++choice, in.number());
      const std::string_view name = take_word(rest);
      if (name.empty()) in.reject("the action has no name");
      ModelTable::Choice& open = table.choices.back();
      if (name != "__NOLABEL__") open.name = table.names.add(name);
      open.reward = take_rewards(in, rest, reward_models.size(), which);
      in.end_of_line(rest);
    } else {
      if (state < 0) in.reject("a transition comes before the first state");
      const std::size_t colon = all.find(':');
      if (colon == std::string_view::npos)
        in.reject("{} is no line of a model; expected `state`, `action` or `successor : probability`", shown(word));
      if (choice < 0) table.open(state, choice = 0, in.number());
      std::string_view before = all.substr(0, colon), after = all.substr(colon + 1);
      const auto next = static_cast<std::int32_t>(in.index(take_word(before), "the successor", states));
      in.end_of_line(before);
      if (table.next.size() >= options.max_entries)
        in.reject("there are more than {} transitions (max_entries)", options.max_entries);
      table.add(next, in.probability(take_word(after)));
      in.end_of_line(after);
    }
  }
  if (state + 1 != states) in.reject_end("expected {} states, of which {} came", states, state + 1);
  if (choices > 0 && static_cast<std::int64_t>(table.choices.size()) != choices)
    in.reject_end("expected {} choices, of which {} came", choices, table.choices.size());
  table.states = static_cast<int>(states);
  if (!table.state_reward.empty()) table.state_reward.resize(static_cast<std::size_t>(states), 0.0);
  table.arrange();
  return std::move(table).finish(options);
}

}  // namespace detail

/// Reads a DRN file. Actions are the choices of a state in the file's order, unless `options.actions_by_name`. Errors
/// name file and line.
inline ModelFile load_drn(const std::filesystem::path& path, const ModelFileOptions& options = {}) {
  return detail::read_drn(detail::ModelLines::of_file("load_drn", path), options);
}
/// The same from a text.
inline ModelFile parse_drn(std::string_view text, const ModelFileOptions& options = {}) {
  return detail::read_drn(detail::ModelLines::of_text("parse_drn", text, "text"), options);
}

}  // namespace valence
