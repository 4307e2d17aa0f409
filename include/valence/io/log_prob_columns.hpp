#pragma once

#if !__has_include(<nlohmann/json.hpp>)
#error "this header of valence/io reads JSON: install nlohmann-json (Debian: nlohmann-json3-dev)"
#endif
#include <fmt/core.h>

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/io/csv.hpp"
#include "valence/io/json.hpp"
#include "valence/io/json_text.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/evaluate.hpp"

/// Batches of log-probabilities from another program, as text, and the gradients back to it: how a training loop in any
/// language uses the preference losses. Numbers keep all their bits in both directions.
///
///   {"chosen": [-12.5, -30], "rejected": [-14, -28.9], "ref_chosen": [-12, -30], "ref_rejected": [-13.5, -29]}
///
/// is a batch of two pairs on one line of JSON; a table of CSV holds one pair a row, with columns of the same names.
namespace valence {

/// The columns of single responses; an absent one is empty.
template <Scalar S>
struct SingleColumns {
  std::vector<S> log_prob, ref_log_prob, length, weight;
  Eigen::Array<bool, Eigen::Dynamic, 1> desirable;  // not std::vector<bool>, which has no memory to view

  /// Views of the columns, valid as long as this object.
  SingleBatch<S> view() const { return {log_prob, ref_log_prob, length, weight, detail::as_span(desirable)}; }
};

/// A batch that owns its columns: what was read of a text. `evaluate(loss, columns.view())` takes it, and checks sizes
/// and ranges.
template <Scalar S>
struct PreferenceColumns {
  PairLogProbs<std::vector<S>> pairs;
  SingleColumns<S> unpaired, base, kl;

  /// Views of the columns, valid as long as this object.
  PreferenceBatch<S> view() const { return {pairs.view(), unpaired.view(), base.view(), kl.view()}; }
};

namespace detail {

/// The columns by the names that they have in texts: `f(name, column)`.
template <class S, class F>
void visit_columns(PairLogProbs<std::vector<S>>& pairs, F&& f) {
  f("chosen", pairs.chosen);
  f("rejected", pairs.rejected);
  f("ref_chosen", pairs.ref_chosen);
  f("ref_rejected", pairs.ref_rejected);
  f("chosen_length", pairs.chosen_length);
  f("rejected_length", pairs.rejected_length);
  f("p_chosen", pairs.p_chosen);
  f("weight", pairs.weight);
}
template <class S, class F>
void visit_columns(SingleColumns<S>& single, F&& f) {
  f("log_prob", single.log_prob);
  f("ref_log_prob", single.ref_log_prob);
  f("length", single.length);
  f("weight", single.weight);
  f("desirable", single.desirable);
}
template <class S, class F>
void visit_columns(PreferenceColumns<S>& all, F&& f) {
  visit_columns(all.pairs, f);
  f("unpaired", all.unpaired);
  f("base", all.base);
  f("kl", all.kl);
}

/// Reads the parts of one JSON object; messages begin with `where` and name the key and the entry.
class ColumnReader {
 public:
  explicit ColumnReader(std::string_view where) : where_(where) {}

  template <class Columns>
  void read(const nlohmann::json& object, const std::string& prefix, Columns& columns) const {
    if (!object.is_object())
      fail(where_, "{} is {}; expected an object", prefix.empty() ? "the line" : shown(prefix), kind_of(object));
    std::size_t found = 0;
    std::string known;
    visit_columns(columns, [&](std::string_view name, auto& column) {
      known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
      const auto at = object.find(name);
      if (at == object.end()) return;
      ++found;
      read_part(*at, prefix.empty() ? std::string(name) : fmt::format("{}.{}", prefix, name), column);
    });
    if (found == object.size()) return;
    for (const auto& [key, value] : object.items()) {  // a key that is misspelt must not read as an absent column
      bool is_known = false;
      visit_columns(columns, [&](std::string_view name, auto&) { is_known = is_known || name == key; });
      if (!is_known)
        fail(where_, "unknown key {}; known are {}", shown(prefix.empty() ? key : prefix + "." + key), known);
    }
  }

 private:
  template <class S>
  void read_part(const nlohmann::json& value, const std::string& key, SingleColumns<S>& columns) const {
    read(value, key, columns);
  }
  template <class S>
  void read_part(const nlohmann::json& value, const std::string& key, std::vector<S>& column) const {
    check_array(value, key);
    column.reserve(value.size());
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (!value[i].is_number()) fail(where_, "{}[{}] is {}; expected a number", key, i, kind_of(value[i]));
      column.push_back(value[i].template get<S>());
      if (!std::isfinite(column.back()))
        fail(where_, "{}[{}] is {}; expected a finite number", key, i, value[i].dump());
    }
  }
  void read_part(const nlohmann::json& value, const std::string& key,
                 Eigen::Array<bool, Eigen::Dynamic, 1>& column) const {
    check_array(value, key);
    column.resize(static_cast<Eigen::Index>(value.size()));
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (!value[i].is_boolean()) fail(where_, "{}[{}] is {}; expected true or false", key, i, kind_of(value[i]));
      column[static_cast<Eigen::Index>(i)] = value[i].get<bool>();
    }
  }
  void check_array(const nlohmann::json& value, const std::string& key) const {
    if (!value.is_array()) fail(where_, "{} is {}; expected an array", key, kind_of(value));
  }

  std::string_view where_;
};

}  // namespace detail

/// Reads one batch from one line of JSON: an object of arrays, one entry a response. Pairs: `chosen`, `rejected`,
/// `ref_chosen`, `ref_rejected`, `chosen_length`, `rejected_length`, `p_chosen`, `weight`. Other responses, as objects:
/// `unpaired`, `base` and `kl` with `log_prob`, `ref_log_prob`, `length`, `weight`, `desirable` (true or false). Every
/// key is optional here: the loss says what it needs. Throws `Error` for what is no such object, for unknown and
/// repeated keys, and for entries that are no (finite) numbers; the message begins with `where`, which may say file and
/// line. Numbers are read to the last bit (and rounded once for `float`, from double).
template <Scalar S = double>
PreferenceColumns<S> parse_log_probs(std::string_view json, std::string_view where = "parse_log_probs") {
  const detail::JsonResult parsed = detail::parse_json(json, 8);
  if (!parsed.good())
    fail(where, "{}{}", parsed.key.empty() ? "" : fmt::format("key {}: ", shown(parsed.key)), parsed.error);
  PreferenceColumns<S> out;
  detail::ColumnReader(where).read(parsed.value, "", out);
  return out;
}

/// Reads a table of CSV as one batch of pairs: a header with the pairs' names above, in any order, then one pair a row.
/// Throws `Error` with file, line and column for a cell that is no finite number, an unknown column, and everything that
/// `CsvReader` refuses.
template <Scalar S = double>
PairLogProbs<std::vector<S>> read_log_prob_pairs(CsvReader reader) {
  PairLogProbs<std::vector<S>> out;
  std::vector<std::pair<std::size_t, std::vector<S>*>> columns;
  std::string known;
  detail::visit_columns(out, [&](std::string_view name, std::vector<S>& column) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
    if (const auto index = reader.find_column(name)) columns.emplace_back(*index, &column);
  });
  for (std::size_t i = 0; columns.size() < reader.names().size() && i < reader.names().size(); ++i) {
    bool is_known = false;
    for (const auto& [index, column] : columns) is_known = is_known || index == i;
    if (!is_known)
      fail("read_log_prob_pairs", "{} has a column {}; known are {}", reader.name(), shown(reader.names()[i]), known);
  }
  while (reader.next())
    for (const auto& [index, column] : columns) column->push_back(reader.template number<S>(index));
  return out;
}
/// ... from a file.
template <Scalar S = double>
PairLogProbs<std::vector<S>> load_log_prob_pairs(const std::filesystem::path& path) {
  return read_log_prob_pairs<S>(CsvReader(path));
}

/// The answer to a batch as one line of JSON, without line break: `{"loss": v, "d_chosen": [...], "d_rejected": [...],
/// "d_unpaired": [...], "d_base": [...]}`, in the order of the batch; the gradient of a part that is not there is left
/// out. Numbers are the shortest that read back to the same bits. Throws `Error` if one is not finite: JSON has no NaN.
template <Scalar S>
std::string to_json_line(const BatchEvaluation<S>& answer) {
  std::string out = "{\"loss\": ";
  detail::append_json_number(out, "loss", answer.value);
  const auto write = [&](std::string_view name, const Eigen::Array<S, Eigen::Dynamic, 1>& column) {
    if (column.size() == 0) return;
    out += fmt::format(", \"{}\": [", name);
    for (Eigen::Index i = 0; i < column.size(); ++i) {
      if (i != 0) out += ", ";
      detail::append_json_number(out, name, column[i]);
      if (column[i] == S(0) && std::signbit(column[i])) out += ".0";  // readers take "-0" for the integer 0
    }
    out += ']';
  };
  write("d_chosen", answer.d_chosen);
  write("d_rejected", answer.d_rejected);
  write("d_unpaired", answer.d_unpaired);
  write("d_base", answer.d_base);
  return out + '}';
}

}  // namespace valence
