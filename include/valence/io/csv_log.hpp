#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/append_file.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/csv.hpp"
#include "valence/io/metric_log.hpp"
#include "valence/io/number_text.hpp"

namespace valence {

/// The sink of `CsvLog`.
class CsvMetrics {
 public:
  /// Opens or makes `path`, with its folders. What it holds must be a log's; a last line without its end, of a process
  /// that was killed while it wrote, is cut off.
  explicit CsvMetrics(const std::filesystem::path& path, double /*seconds*/ = 0) : path_(path) {
    std::error_code error;
    if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path(), error);
    if (!std::filesystem::exists(path_, error)) {
      open();
      return;
    }
    std::string text = detail::content_of_file(where, path_);
    const std::size_t whole = text.rfind('\n') + 1;  // npos + 1 is 0
    const bool torn = whole != text.size();
    text.resize(whole);
    if (!text.empty()) names_ = read(text).names();
    if (torn) std::filesystem::resize_file(path_, whole, error);
    if (torn && error) fail(where, "cannot cut the torn last line off '{}': {}", path_.string(), error.message());
    open();
  }

  /// Appends a row. With a name that is new, the file is replaced, atomically, by one with that column too.
  void write(std::int64_t step, double /*seconds*/, std::span<const Metric> row) {
    std::vector<std::string> names = names_;
    if (names.empty()) names.emplace_back(metric::total_timesteps);
    for (const Metric& m : row)
      if (std::find(names.begin(), names.end(), m.name) == names.end()) names.emplace_back(m.name);
    std::string line;
    for (const std::string& name : names) {
      if (!line.empty()) line += ',';
      if (name == metric::total_timesteps) append_number(line, step);
      for (const Metric& m : row)
        if (m.name == name) append_number(line, m.value);
    }
    line += '\n';
    if (names.size() == names_.size()) {
      file_->write(line);
      return;
    }
    std::string text = CsvWriter(names).text();
    const std::string before = detail::content_of_file(where, path_);
    for_each_row(before, [&](std::string_view old) {
      text += old;
      text.append(names.size() - names_.size(), ',');
      text += '\n';
    });
    replace(text += line);
    names_ = std::move(names);
  }

  /// Replaces the file, atomically, by one without the rows after `step`.
  void drop_after(std::int64_t step, double /*seconds*/ = 0) {
    if (names_.empty()) return;
    if (step < 0) {
      replace("");
      names_.clear();
      return;
    }
    const std::string before = detail::content_of_file(where, path_);
    const auto steps = read(before).numbers<std::int64_t>(metric::total_timesteps);
    if (std::none_of(steps.begin(), steps.end(), [&](std::int64_t s) { return s > step; })) return;
    std::string text = CsvWriter(names_).text();
    std::size_t k = 0;
    for_each_row(before, [&](std::string_view old) {
      if (steps[k++] <= step) (text += old) += '\n';
    });
    replace(text);
  }

 private:
  static constexpr std::string_view where = "CsvLog";

  void open() { file_.emplace(where, path_); }

  void replace(std::string_view text) {
    file_.reset();
    save_atomically(path_, text);
    open();
  }

  /// The table, if it is a log: a row a line, and steps.
  CsvTable read(std::string_view text) const {
    CsvTable table = parse_csv(text);
    std::size_t lines = 0;
    for_each_row(text, [&](std::string_view) { ++lines; });
    if (!table.has(metric::total_timesteps) || table.rows() != lines)
      fail(where, "'{}' is no log: expected a column {} and a row a line; remove the file or name another",
           path_.string(), metric::total_timesteps);
    return table;
  }

  /// The lines after the first, without their ends.
  template <class F>
  static void for_each_row(std::string_view text, F&& use) {
    text.remove_prefix((std::min)(text.find('\n'), text.size() - 1) + 1);
    while (!text.empty()) {
      std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix((std::min)(line.size() + 1, text.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (!line.empty()) use(line);
    }
  }

  std::filesystem::path path_;
  std::vector<std::string> names_;  // of the columns; none while the file is empty
  std::optional<detail::AppendFile> file_;
};

/// A training log as a CSV file, stable-baselines3's `progress.csv`: a row a dump, the first column
/// `time/total_timesteps`, then the names in the order in which they came. A number that a row doesn't have is an empty
/// cell, so `pandas.read_csv` and `load_csv` read it; all others read back to the last bit. When a new name comes, the
/// file is replaced by one with that column too, as stable-baselines3 does, but whole at every moment.
///
///     train(agent, env, {.steps = 100'000}, rng, CsvLog{"progress.csv"});
///
/// An existing file is continued after its last whole line; `{.append = false}` begins anew.
using CsvLog = MetricLog<CsvMetrics>;

}  // namespace valence
