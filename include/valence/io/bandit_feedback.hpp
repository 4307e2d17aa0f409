#pragma once

#include <fmt/core.h>

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/evaluation/bandit_feedback.hpp"
#include "valence/io/csv.hpp"

namespace valence {

/// How a file of bandit feedback is laid out. A column name that is left empty is found: `item_id` or `action`;
/// `position`; `click` or `reward`; `propensity`, or one of the names that Open Bandit has had for it, `action_prob`,
/// `propensity_score` and `pscore`.
struct BanditFeedbackOptions {
  std::string action = {}, position = {}, reward = {}, propensity = {};
  /// Columns that begin so are the context. Others are ignored. Empty: no context.
  std::string context_prefix = "user_";
  /// The context's cells are names, not numbers: a feature (0 or 1) for each that a column holds, "user_0=3". Open
  /// Bandit's user features are of this kind.
  bool categorical = false;
  int actions = 0;  ///< how many there are; 0: one more than the largest in the file
  CsvOptions csv = {};
};

namespace detail {

inline std::optional<std::size_t> feedback_column(const CsvReader& reader, const std::string& asked,
                                                  std::initializer_list<std::string_view> known) {
  if (!asked.empty()) return reader.column(asked);
  for (const std::string_view name : known)
    if (const auto index = reader.find_column(name)) return index;
  return std::nullopt;
}

inline LoggedBandit read_bandit_feedback(CsvReader reader, const BanditFeedbackOptions& options) {
  if (options.actions < 0)
    fail("load_bandit_feedback", "actions is {}; expected a number >= 0 (0: as in the file)", options.actions);
  const auto must = [&](const std::string& asked, std::initializer_list<std::string_view> known) {
    const auto index = feedback_column(reader, asked, known);
    return index ? *index : reader.column(*known.begin());
  };
  const std::size_t action = must(options.action, {"item_id", "action"});
  const std::size_t reward = must(options.reward, {"click", "reward"});
  const std::size_t propensity = must(options.propensity, {"propensity", "action_prob", "propensity_score", "pscore"});
  const auto position = feedback_column(reader, options.position, {"position"});
  std::vector<std::size_t> columns;
  if (!options.context_prefix.empty())
    for (std::size_t i = 0; i < reader.names().size(); ++i)
      if (reader.names()[i].starts_with(options.context_prefix)) columns.push_back(i);

  LoggedBandit out;
  std::vector<double> cells;  // a row of the file after the other: numbers, or features' indices
  std::vector<TextIndex<int>> names(columns.size());  // of categories, in each column
  std::vector<std::vector<std::string>> in_order(columns.size());
  constexpr int most = (std::numeric_limits<int>::max)() - 1;
  while (reader.next()) {
    const int a = reader.number<int>(action);
    if (a < 0 || a > (options.actions > 0 ? options.actions - 1 : most))
      reader.reject(action, options.actions > 0 ? fmt::format("an action in [0, {}]", options.actions - 1)
                                                : std::string("an action >= 0"));
    const double p = reader.number<double>(propensity);
    if (!(p > 0 && p <= 1)) reader.reject(propensity, "the probability of the logged action, in (0, 1]");
    const double r = reader.number<double>(reward);
    if (position) {
      const int place = reader.number<int>(*position);
      if (place < 0 || place > most) reader.reject(*position, "a position >= 0");
      out.position.push_back(place);
    }
    out.actions = (std::max)(out.actions, a + 1);
    out.action.push_back(a), out.propensity.push_back(p), out.reward.push_back(r);
    for (std::size_t k = 0; k < columns.size(); ++k) {
      if (!options.categorical) {
        cells.push_back(reader.number<double>(columns[k]));
        continue;
      }
      const std::string_view text = reader.text(columns[k]);
      const auto known = names[k].find(text);
      const int code = known != names[k].end() ? known->second : static_cast<int>(in_order[k].size());
      if (known == names[k].end()) {
        names[k].emplace(text, code);
        in_order[k].emplace_back(text);
      }
      cells.push_back(code);
    }
  }
  if (options.actions > 0) out.actions = options.actions;
  if (out.size() == 0) fail("load_bandit_feedback", "{} has no rows; expected at least one round", reader.name());

  const auto rounds = static_cast<Eigen::Index>(out.size()), each = static_cast<Eigen::Index>(columns.size());
  const Eigen::Map<const Matrix<double>> read(cells.data(), each, rounds);
  for (std::size_t k = 0; k < columns.size(); ++k) {
    const std::string& name = reader.names()[columns[k]];
    if (!options.categorical) out.features.push_back(name);
    for (const std::string& category : in_order[k]) out.features.push_back(name + "=" + category);
  }
  if (!options.categorical) {
    out.context = read;
    return out;
  }
  out.context = Matrix<double>::Zero(static_cast<Eigen::Index>(out.features.size()), rounds);
  Eigen::Index first = 0;
  for (Eigen::Index k = 0; k < each; ++k) {
    for (Eigen::Index i = 0; i < rounds; ++i) out.context(first + static_cast<Eigen::Index>(read(k, i)), i) = 1;
    first += static_cast<Eigen::Index>(in_order[static_cast<std::size_t>(k)].size());
  }
  return out;
}

}  // namespace detail

/// Reads logged bandit feedback from a CSV file such as Open Bandit's: the action that was taken, its position (if
/// there is the column; kept as the file counts), the reward, the probability with which this action was taken, and the
/// context. A probability outside of (0, 1], a negative or missing action, a cell that is no finite number: an `Error`
/// with line, column and what was seen.
inline LoggedBandit load_bandit_feedback(const std::filesystem::path& path, const BanditFeedbackOptions& options = {}) {
  return detail::read_bandit_feedback(CsvReader(path, options.csv), options);
}
/// The same from a text.
inline LoggedBandit parse_bandit_feedback(std::string_view text, const BanditFeedbackOptions& options = {}) {
  return detail::read_bandit_feedback(CsvReader::from_text(text, options.csv), options);
}

}  // namespace valence
