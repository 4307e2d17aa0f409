#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/byte_source.hpp"
#include "valence/io/json.hpp"
#include "valence/io/json_text.hpp"
#include "valence/io/preference_data.hpp"

/// JSON lines in TRL's formats, read and written. One line is one row; see `valence/io/preference_data.hpp` for the
/// rows.

namespace valence {

/// What to do with a line that does not hold a row.
enum class OnFault {
  stop,  ///< throw `Error` with file, line, key and reason
  skip   ///< leave it out and report it in `faults`
};

/// How JSON lines are read.
struct JsonlOptions {
  OnFault on_fault = OnFault::stop;
  /// Make implicit prompts explicit, as TRL's trainers do (`extract_prompt`). Otherwise such rows keep `prompt` absent.
  bool extract_prompt = true;
  std::size_t max_line_bytes = std::size_t{1} << 26;  ///< a longer line is a fault; it is not held in memory
  std::size_t max_depth = 64;                         ///< deeper nesting is a fault
  /// With `OnFault::skip`: one fault more stops the reading with an `Error`, because faults are kept in memory.
  std::size_t max_faults = (std::numeric_limits<std::size_t>::max)();
};

/// A line that holds no row, and why.
struct JsonlFault {
  std::size_t line;    ///< from 1
  std::string key;     ///< where in the row, such as "chosen[1].content"; empty when it is the line as a whole
  std::string reason;  ///< what was seen and what was expected
};

/// Rows read from JSON lines.
template <class Row>
struct JsonlData {
  std::vector<Row> rows;
  std::vector<std::size_t> lines;  ///< lines[i] is where rows[i] stood, from 1
  std::vector<JsonlFault> faults;  ///< what was left out (`OnFault::skip`)
};

namespace detail {

/// Thrown inside this header only, from a row to its line.
struct RowFault {
  std::string key, reason;
};

/// Splits a source into lines without LF or CRLF, in memory that the longest admitted line bounds.
class LineReader {
 public:
  LineReader(ByteSource source, std::size_t max_bytes)
      : source_(std::move(source)),
        max_bytes_((std::min)(max_bytes, (std::numeric_limits<std::size_t>::max)() / 2)),
        chunk_(std::size_t{1} << 16) {}

  /// Reads the next line into `line`; false at the end. Of a line that is too long only the beginning is kept.
  bool next(std::string& line) {
    line.clear();
    too_long_ = false;
    bool any = false;
    for (;;) {
      if (at_ == size_) {
        size_ = source_.read(std::span(chunk_));
        at_ = 0;
        if (size_ == 0) break;
      }
      any = true;
      const auto* const begin = chunk_.data() + at_;
      const auto* const feed = static_cast<const char*>(std::memchr(begin, '\n', size_ - at_));
      const std::size_t count = feed ? static_cast<std::size_t>(feed - begin) : size_ - at_;
      const std::size_t room = max_bytes_ + 1 - line.size();  // one more, for the carriage return
      too_long_ = too_long_ || count > room;
      line.append(begin, (std::min)(count, room));
      at_ += count;
      if (feed) {
        ++at_;
        break;
      }
    }
    if (!any) return false;
    ++number_;
    if (!line.empty() && line.back() == '\r' && !too_long_) line.pop_back();
    too_long_ = too_long_ || line.size() > max_bytes_;
    if (number_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    return true;
  }

  std::size_t number() const { return number_; }  ///< of the current line, from 1
  bool too_long() const { return too_long_; }
  const std::string& name() const { return source_.name(); }

 private:
  ByteSource source_;
  std::size_t max_bytes_;
  std::vector<char> chunk_;
  std::size_t at_ = 0, size_ = 0, number_ = 0;
  bool too_long_ = false;
};

/// The value of `key`; null counts as absent, because data sets of several sources fill their missing columns with it.
inline const nlohmann::json* find_key(const nlohmann::json& row, const char* key) {
  const auto found = row.find(key);
  return found == row.end() || found->is_null() ? nullptr : &*found;
}
inline const nlohmann::json& need_key(const nlohmann::json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end()) {
    std::string keys;
    for (const auto& [name, unused] : row.items()) keys += (keys.empty() ? "" : ", ") + name;
    throw RowFault{key, "is missing; the row has " + (keys.empty() ? std::string("no keys") : shown(keys, 200))};
  }
  if (found->is_null()) throw RowFault{key, "is null"};
  return *found;
}

inline std::string read_string(const nlohmann::json& value, const std::string& key) {
  if (!value.is_string()) throw RowFault{key, fmt::format("is {}; expected a string", kind_of(value))};
  return value.get<std::string>();
}
inline bool read_bool(const nlohmann::json& value, const std::string& key) {
  if (!value.is_boolean()) throw RowFault{key, fmt::format("is {}; expected true or false", kind_of(value))};
  return value.get<bool>();
}

inline Message read_message(const nlohmann::json& value, const std::string& key) {
  if (!value.is_object())
    throw RowFault{key, fmt::format("is {}; expected an object with role and content", kind_of(value))};
  Message out;
  nlohmann::json extra = nlohmann::json::object();
  bool role = false, content = false;
  for (const auto& [name, part] : value.items()) {
    if (name == "role") {
      out.role = read_string(part, key + ".role");
      role = true;
    } else if (name == "content") {
      out.content = read_string(part, key + ".content");
      content = true;
    } else {
      extra[name] = part;
    }
  }
  if (!role) throw RowFault{key + ".role", "is missing"};
  if (!content) throw RowFault{key + ".content", "is missing"};
  if (!extra.empty()) out.extra = extra.dump();
  return out;
}

inline Conversation read_conversation(const nlohmann::json& value, const std::string& key) {
  // A prompt may be empty: it is what two conversations without a common turn leave.
  if (value.empty() && key != "prompt") throw RowFault{key, "is an empty list; expected at least one message"};
  Conversation out;
  for (std::size_t i = 0; i < value.size(); ++i) out.push_back(read_message(value[i], fmt::format("{}[{}]", key, i)));
  return out;
}

inline Text read_text(const nlohmann::json& value, const std::string& key) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) return read_conversation(value, key);
  throw RowFault{key, fmt::format("is {}; expected a string or a list of messages", kind_of(value))};
}

/// Texts of one row must have one shape.
inline void same_shape(const Text& first, const char* first_key, const Text& second, const char* second_key) {
  if (is_conversational(first) == is_conversational(second)) return;
  throw RowFault{second_key, fmt::format("is {}, but {} is {}; expected one shape",
                                         is_conversational(second) ? "a list of messages" : "a string", first_key,
                                         is_conversational(first) ? "a list of messages" : "a string")};
}

/// How each type of row is read from a parsed line and written as one.
template <class Row>
struct RowFormat;

template <>
struct RowFormat<LanguageModelingRow> {
  static LanguageModelingRow read(const nlohmann::json& row, const JsonlOptions&) {
    if (const auto* messages = find_key(row, "messages")) {
      if (find_key(row, "text")) throw RowFault{"messages", "stands beside text; expected one of the two"};
      if (!messages->is_array())
        throw RowFault{"messages", fmt::format("is {}; expected a list of messages", kind_of(*messages))};
      return {read_conversation(*messages, "messages")};
    }
    return {read_string(need_key(row, "text"), "text")};
  }
};

template <>
struct RowFormat<PromptRow> {
  static PromptRow read(const nlohmann::json& row, const JsonlOptions&) {
    return {read_text(need_key(row, "prompt"), "prompt")};
  }
};

template <>
struct RowFormat<PromptCompletionRow> {
  static PromptCompletionRow read(const nlohmann::json& row, const JsonlOptions&) {
    PromptCompletionRow out{read_text(need_key(row, "prompt"), "prompt"),
                            read_text(need_key(row, "completion"), "completion")};
    same_shape(out.prompt, "prompt", out.completion, "completion");
    return out;
  }
};

template <>
struct RowFormat<PreferenceRow> {
  static std::optional<double> log_prob(const nlohmann::json& row, const char* key) {
    const auto* value = find_key(row, key);
    if (!value) return std::nullopt;
    if (!value->is_number()) throw RowFault{key, fmt::format("is {}; expected a number", kind_of(*value))};
    return value->get<double>();
  }
  static PreferenceRow read(const nlohmann::json& row, const JsonlOptions& options) {
    PreferenceRow out;
    if (const auto* prompt = find_key(row, "prompt")) out.prompt = read_text(*prompt, "prompt");
    out.chosen = read_text(need_key(row, "chosen"), "chosen");
    out.rejected = read_text(need_key(row, "rejected"), "rejected");
    same_shape(out.chosen, "chosen", out.rejected, "rejected");
    out.ref_chosen_logps = log_prob(row, "ref_chosen_logps");
    out.ref_rejected_logps = log_prob(row, "ref_rejected_logps");
    if (out.ref_chosen_logps && !out.ref_rejected_logps)
      throw RowFault{"ref_rejected_logps", "is missing beside ref_chosen_logps"};
    if (!out.ref_chosen_logps && out.ref_rejected_logps)
      throw RowFault{"ref_chosen_logps", "is missing beside ref_rejected_logps"};
    if (options.extract_prompt) {
      const bool implicit = !out.prompt || is_conversational(*out.prompt) != is_conversational(out.chosen);
      for (const auto& [text, key] : {std::pair(&out.chosen, "chosen"), std::pair(&out.rejected, "rejected")})
        if (const auto* string = std::get_if<std::string>(text); implicit && string && string->empty())
          throw RowFault{key, "is empty; expected a text that begins with the prompt"};
      extract_prompt(out);
    }
    return out;
  }
};

template <>
struct RowFormat<UnpairedPreferenceRow> {
  static UnpairedPreferenceRow read(const nlohmann::json& row, const JsonlOptions&) {
    UnpairedPreferenceRow out{read_text(need_key(row, "prompt"), "prompt"),
                              read_text(need_key(row, "completion"), "completion"),
                              read_bool(need_key(row, "label"), "label")};
    same_shape(out.prompt, "prompt", out.completion, "completion");
    return out;
  }
};

template <>
struct RowFormat<StepwiseRow> {
  static const nlohmann::json& list(const nlohmann::json& row, const char* key) {
    const auto& value = need_key(row, key);
    if (!value.is_array()) throw RowFault{key, fmt::format("is {}; expected a list", kind_of(value))};
    return value;
  }
  static StepwiseRow read(const nlohmann::json& row, const JsonlOptions&) {
    StepwiseRow out;
    out.prompt = read_string(need_key(row, "prompt"), "prompt");
    const auto &completions = list(row, "completions"), &labels = list(row, "labels");
    for (std::size_t i = 0; i < completions.size(); ++i)
      out.completions.push_back(read_string(completions[i], fmt::format("completions[{}]", i)));
    for (std::size_t i = 0; i < labels.size(); ++i)
      out.labels.push_back(read_bool(labels[i], fmt::format("labels[{}]", i)));
    if (out.labels.size() != out.completions.size())
      throw RowFault{"labels", fmt::format("has {} entries; expected {}, one for each of completions",
                                           out.labels.size(), out.completions.size())};
    return out;
  }
};

/// Writes one object, key by key.
class RowWriter {
 public:
  void text(std::string_view key, const Text& text) {
    name(key);
    if (const auto* string = std::get_if<std::string>(&text)) {
      append_json_string(out_, *string);
      return;
    }
    const auto& messages = std::get<Conversation>(text);
    if (messages.empty() && key != "prompt")
      fail("to_json_line", "{} is an empty list; expected at least one message", key);
    out_ += '[';
    for (const auto& message : messages) {
      if (out_.back() != '[') out_ += ", ";
      out_ += "{\"role\": ";
      append_json_string(out_, message.role);
      out_ += ", \"content\": ";
      append_json_string(out_, message.content);
      if (!message.extra.empty()) extra(message.extra);
      out_ += '}';
    }
    out_ += ']';
  }
  void boolean(std::string_view key, bool value) {
    name(key);
    out_ += value ? "true" : "false";
  }
  void number(std::string_view key, double value) {
    name(key);
    append_json_number(out_, key, value);
  }
  template <class T, class F>
  void list(std::string_view key, const std::vector<T>& values, F&& write) {
    name(key);
    out_ += '[';
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i != 0) out_ += ", ";
      write(out_, values[i]);
    }
    out_ += ']';
  }
  std::string finish() && { return std::move(out_) + '}'; }

 private:
  void name(std::string_view key) {
    if (out_.size() > 1) out_ += ", ";
    append_json_string(out_, key);
    out_ += ": ";
  }
  /// The caller may have filled `extra`: what is written must read back, so it is checked here.
  void extra(const std::string& text) {
    const JsonResult parsed = parse_json(text, JsonlOptions{}.max_depth);
    if (!parsed.good() || !parsed.value.is_object() || parsed.value.contains("role") ||
        parsed.value.contains("content"))
      fail("to_json_line", "a message's extra is {}; expected a JSON object without role and content", shown(text));
    for (const auto& [key, value] : parsed.value.items()) {
      name(key);
      out_ += value.dump();
    }
  }
  std::string out_ = "{";
};

inline void write_row(RowWriter& out, const LanguageModelingRow& row) {
  out.text(is_conversational(row.text) ? "messages" : "text", row.text);
}
inline void write_row(RowWriter& out, const PromptRow& row) { out.text("prompt", row.prompt); }
inline void write_row(RowWriter& out, const PromptCompletionRow& row) {
  out.text("prompt", row.prompt);
  out.text("completion", row.completion);
}
inline void write_row(RowWriter& out, const PreferenceRow& row) {
  if (row.prompt) out.text("prompt", *row.prompt);
  out.text("chosen", row.chosen);
  out.text("rejected", row.rejected);
  if (row.ref_chosen_logps.has_value() != row.ref_rejected_logps.has_value())
    fail("to_json_line", "one of ref_chosen_logps and ref_rejected_logps is missing; expected both or none");
  if (row.ref_chosen_logps) out.number("ref_chosen_logps", *row.ref_chosen_logps);
  if (row.ref_rejected_logps) out.number("ref_rejected_logps", *row.ref_rejected_logps);
}
inline void write_row(RowWriter& out, const UnpairedPreferenceRow& row) {
  out.text("prompt", row.prompt);
  out.text("completion", row.completion);
  out.boolean("label", row.label);
}
inline void write_row(RowWriter& out, const StepwiseRow& row) {
  if (row.labels.size() != row.completions.size())
    fail("to_json_line", "labels has {} entries; expected {}, one for each of completions", row.labels.size(),
         row.completions.size());
  out.text("prompt", row.prompt);
  out.list("completions", row.completions,
           [](std::string& text, const std::string& s) { append_json_string(text, s); });
  out.list("labels", row.labels, [](std::string& text, bool b) { text += b ? "true" : "false"; });
}

template <class Row, class F>
std::vector<JsonlFault> for_each_row(LineReader reader, F&& use, const JsonlOptions& options) {
  std::vector<JsonlFault> faults;
  std::string line;
  while (reader.next(line)) {
    std::optional<Row> row;
    try {
      if (reader.too_long()) throw RowFault{"", fmt::format("is longer than {} bytes", options.max_line_bytes)};
      if (line.find_first_not_of(" \t") == std::string::npos) continue;  // a blank line is no row
      const JsonResult parsed = parse_json(line, options.max_depth);
      if (!parsed.good()) throw RowFault{parsed.key, parsed.error};
      if (!parsed.value.is_object())
        throw RowFault{"", fmt::format("holds {}; expected an object", kind_of(parsed.value))};
      row = RowFormat<Row>::read(parsed.value, options);
    } catch (RowFault& fault) {
      const bool too_many = faults.size() >= options.max_faults;
      if (options.on_fault == OnFault::stop || too_many) {
        if (too_many && options.on_fault == OnFault::skip)
          fault.reason += fmt::format(" (after {} faults, as many as may be skipped)", faults.size());
        if (fault.key.empty()) fail("read_jsonl", "{} line {} {}", reader.name(), reader.number(), fault.reason);
        fail("read_jsonl", "{} line {}, key {} {}", reader.name(), reader.number(), shown(fault.key), fault.reason);
      }
      faults.push_back({reader.number(), std::move(fault.key), std::move(fault.reason)});
      continue;
    }
    use(std::move(*row), reader.number());  // outside of the try: the user's exceptions are the user's
  }
  return faults;
}

template <class Row>
JsonlData<Row> collect_rows(LineReader reader, const JsonlOptions& options) {
  JsonlData<Row> out;
  out.faults = for_each_row<Row>(
      std::move(reader),
      [&](Row&& row, std::size_t line) {
        out.rows.push_back(std::move(row));
        out.lines.push_back(line);
      },
      options);
  return out;
}

}  // namespace detail

/// One of the six types of rows.
template <class Row>
concept DataRow = requires(const nlohmann::json& row, const JsonlOptions& options) {
  { detail::RowFormat<Row>::read(row, options) } -> std::same_as<Row>;
};

/// Reads a file of JSON lines: `load_jsonl<PreferenceRow>("pairs.jsonl")`. Blank lines, a byte-order mark and CRLF are
/// allowed; keys that the type of row does not know are ignored (data sets carry their own); null is absent. A line
/// that is no UTF-8, no JSON, too long, too deep, that names a key twice, lacks one or has a value of the wrong kind is
/// a fault: `options.on_fault` says whether it stops the reading with an `Error` or is skipped and reported.
template <DataRow Row>
JsonlData<Row> load_jsonl(const std::filesystem::path& path, const JsonlOptions& options = {}) {
  return detail::collect_rows<Row>({detail::ByteSource::of_file("load_jsonl", path), options.max_line_bytes}, options);
}

/// The same from a text.
template <DataRow Row>
JsonlData<Row> parse_jsonl(std::string_view text, const JsonlOptions& options = {}) {
  return detail::collect_rows<Row>({detail::ByteSource::of_text(text, "text"), options.max_line_bytes}, options);
}

/// Reads a file row by row without holding it in memory: calls `use(Row&&, line)` for each and returns the faults.
template <DataRow Row, class F>
std::vector<JsonlFault> for_each_jsonl(const std::filesystem::path& path, F&& use, const JsonlOptions& options = {}) {
  return detail::for_each_row<Row>({detail::ByteSource::of_file("for_each_jsonl", path), options.max_line_bytes}, use,
                                   options);
}

/// A row as one line of JSON, without line break: UTF-8, keys in TRL's order, numbers that read back to the same bits.
/// Throws `Error` on text that is not UTF-8 and on log-probabilities that are not finite: JSON has neither.
template <DataRow Row>
std::string to_json_line(const Row& row) {
  detail::RowWriter out;
  detail::write_row(out, row);
  return std::move(out).finish();
}

/// Writes rows to a file, one a line, atomically.
template <DataRow Row>
void save_jsonl(const std::filesystem::path& path, std::span<const Row> rows) {
  AtomicFile file(path);
  for (const auto& row : rows) file.write(to_json_line(row) + '\n');
  file.commit();
}
template <DataRow Row>
void save_jsonl(const std::filesystem::path& path, const std::vector<Row>& rows) {
  save_jsonl(path, std::span<const Row>(rows));
}

}  // namespace valence
