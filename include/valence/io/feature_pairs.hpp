#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/io/csv.hpp"

namespace valence {

/// Pairs of feature vectors: in each column of the matrices, what was chosen and what was rejected.
struct FeaturePairs {
  std::vector<std::string> names;  ///< of the features, without prefix; names[i] is row i of both matrices
  Matrix<double> chosen;           ///< features x pairs
  Matrix<double> rejected;         ///< features x pairs
};

/// How a file of feature pairs is laid out.
struct FeaturePairsOptions {
  std::string chosen_prefix = "chosen_", rejected_prefix = "rejected_";
  bool allow_other_columns = false;  ///< columns with neither prefix are skipped; otherwise they are an error
  CsvOptions csv = {};
};

namespace detail {

inline FeaturePairs read_feature_pairs(CsvReader reader, const FeaturePairsOptions& options) {
  constexpr std::string_view where = "load_feature_pairs";
  if (options.chosen_prefix == options.rejected_prefix)
    fail(where, "both prefixes are {}; expected different ones", shown(options.chosen_prefix));
  FeaturePairs out;
  std::vector<std::pair<std::size_t, std::size_t>> columns;  // of the chosen and of the rejected reply's feature
  for (std::size_t i = 0; i < reader.names().size(); ++i) {
    const std::string_view name = reader.names()[i];
    const bool chosen = name.starts_with(options.chosen_prefix), rejected = name.starts_with(options.rejected_prefix);
    if (!chosen && !rejected) {
      if (options.allow_other_columns) continue;
      fail(where, "{} has a column {}; expected names that begin with {} or {} (allow_other_columns skips the rest)",
           reader.name(), shown(name), shown(options.chosen_prefix), shown(options.rejected_prefix));
    }
    // Partners are found by name, never by position: a file may list them in any order.
    const auto& own = chosen ? options.chosen_prefix : options.rejected_prefix;
    const auto& other = chosen ? options.rejected_prefix : options.chosen_prefix;
    const std::string feature(name.substr(own.size()));
    const auto partner = reader.find_column(other + feature);
    if (!partner) fail(where, "{} has a column {} but no {}", reader.name(), shown(name), shown(other + feature));
    if (chosen) {
      columns.emplace_back(i, *partner);
      out.names.push_back(feature);
    }
  }
  if (columns.empty()) fail(where, "{} has no column that begins with {}", reader.name(), shown(options.chosen_prefix));
  std::vector<double> chosen, rejected;
  while (reader.next()) {
    for (const auto& [mine, theirs] : columns) {
      chosen.push_back(reader.number<double>(mine));
      rejected.push_back(reader.number<double>(theirs));
    }
  }
  const auto rows = static_cast<Eigen::Index>(columns.size());
  const auto pairs = static_cast<Eigen::Index>(chosen.size()) / rows;
  out.chosen = Eigen::Map<const Matrix<double>>(chosen.data(), rows, pairs);
  out.rejected = Eigen::Map<const Matrix<double>>(rejected.data(), rows, pairs);
  return out;
}

}  // namespace detail

/// Reads pairs of feature vectors from a CSV file: a column `chosen_x` and a column `rejected_x` for each feature x,
/// matched by name, in any order. A feature without partner, a column with neither prefix, a cell that holds no finite
/// number: an `Error` that names it.
inline FeaturePairs load_feature_pairs(const std::filesystem::path& path, const FeaturePairsOptions& options = {}) {
  return detail::read_feature_pairs(CsvReader(path, options.csv), options);
}
/// The same from a text.
inline FeaturePairs parse_feature_pairs(std::string_view text, const FeaturePairsOptions& options = {}) {
  return detail::read_feature_pairs(CsvReader::from_text(text, options.csv), options);
}

}  // namespace valence
