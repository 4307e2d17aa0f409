#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/csv.hpp"

namespace valence {

/// Who won a comparison.
enum class Winner : std::uint8_t { left, right, tie };

/// One comparison of two items, as indices into `Votes::names`.
struct Vote {
  int left, right;
  Winner winner;
};

/// Comparisons of named items.
struct Votes {
  std::vector<std::string> names;  ///< the items; an item's number is its place here
  std::vector<Vote> votes;         ///< in the order of the file
};

/// How a file of votes is laid out. A column name that is left empty is found: `left` or `left_id`, `right` or
/// `right_id`, `winner`.
struct VotesOptions {
  std::string left = {}, right = {}, winner = {};
  CsvOptions csv = {};
};

namespace detail {

inline std::size_t vote_column(const CsvReader& reader, std::string_view asked, std::string_view first,
                               std::string_view second = {}) {
  if (!asked.empty()) return reader.column(asked);
  if (!second.empty() && !reader.find_column(first))
    if (const auto index = reader.find_column(second)) return *index;
  return reader.column(first);
}

inline Votes read_votes(CsvReader& reader, const VotesOptions& options, std::optional<CsvReader> names) {
  Votes out;
  TextIndex<int> index;
  if (names) {
    if (names->names().size() < 2) fail("load_votes", "{} has one column; expected an id and a name", names->name());
    while (names->next()) {
      if (!index.emplace(names->text(0), static_cast<int>(out.names.size())).second)
        names->reject(0, "an id that no line above has");
      out.names.emplace_back(names->text(1));
    }
  }
  const std::size_t left = vote_column(reader, options.left, "left", "left_id");
  const std::size_t right = vote_column(reader, options.right, "right", "right_id");
  const std::size_t winner = vote_column(reader, options.winner, "winner");
  const auto item = [&](std::size_t column) {
    const std::string_view text = reader.text(column);
    if (const auto known = index.find(text); known != index.end()) return known->second;
    if (names) reader.reject(column, "an id that " + names->name() + " names");
    const int number = static_cast<int>(out.names.size());
    index.emplace(text, number);
    out.names.emplace_back(text);
    return number;
  };
  while (reader.next()) {
    Vote vote{item(left), item(right), Winner::tie};
    if (vote.left == vote.right) reader.reject(right, "another item than on the left");
    const std::string_view who = reader.text(winner);
    if (who == "left")
      vote.winner = Winner::left;
    else if (who == "right")
      vote.winner = Winner::right;
    else if (who != "tie")
      reader.reject(winner, "left, right or tie");
    out.votes.push_back(vote);
  }
  return out;
}

}  // namespace detail

/// Reads votes from a CSV file with columns for the left item, the right item (ids or names, any text) and the winner
/// (`left`, `right` or `tie`); other columns are ignored. Items are numbered as they first appear. An item compared
/// with itself, an unknown winner, a missing cell: an `Error` with line, column and what was seen.
inline Votes load_votes(const std::filesystem::path& path, const VotesOptions& options = {}) {
  CsvReader reader(path, options.csv);
  return detail::read_votes(reader, options, std::nullopt);
}
/// The same with the items' names from a second CSV file: its first column holds ids, its second names, and items are
/// numbered in its order, including those without votes. A vote for an id that it does not hold is an `Error`.
inline Votes load_votes(const std::filesystem::path& path, const std::filesystem::path& names,
                        const VotesOptions& options = {}) {
  CsvReader reader(path, options.csv);
  return detail::read_votes(reader, options, CsvReader(names, options.csv));
}
/// The same from a text.
inline Votes parse_votes(std::string_view text, const VotesOptions& options = {}) {
  CsvReader reader = CsvReader::from_text(text, options.csv);
  return detail::read_votes(reader, options, std::nullopt);
}

}  // namespace valence
