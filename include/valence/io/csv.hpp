#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/byte_source.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/text.hpp"

namespace valence {

namespace detail {

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
/// Places of texts, found without making a string of what is looked for.
template <class Place>
using TextIndex = std::unordered_map<std::string, Place, TextHash, std::equal_to<>>;

[[noreturn]] inline void fail_no_column(std::string_view where, std::string_view file, std::string_view name,
                                        const std::vector<std::string>& names) {
  std::string all;
  for (const auto& known : names) all += (all.empty() ? "" : ", ") + known;
  fail(where, "{} has no column {}; its columns are {}", file, shown(name), shown(all, 400));
}

}  // namespace detail

/// How a table of text is laid out.
struct CsvOptions {
  char separator = ',';                              ///< between cells; a tabulator for TSV
  std::size_t max_row_bytes = std::size_t{1} << 26;  ///< a longer row is an error (an unclosed quote swallows the file)
};

/// Reads a table of comma-separated values row by row in bounded memory: RFC 4180 and what is met in the wild, that is
/// LF or CRLF, a UTF-8 byte-order mark, quoted cells with separators, doubled quotes and line breaks inside, no newline
/// or several at the end. The first row names the columns. Everything else is an `Error` with the file, the line and,
/// where there is one, the column and the text seen: a row with too few or too many cells, a blank line before further
/// rows, stray quotes, a lone carriage return, bytes that are not UTF-8, repeated column names.
class CsvReader {
 public:
  /// Opens a file and reads its header.
  explicit CsvReader(const std::filesystem::path& path, CsvOptions options = {})
      : CsvReader(detail::ByteSource::of_file("CsvReader", path), options) {}
  /// Reads from a text that outlives the reader; `name` stands for the file in messages.
  static CsvReader from_text(std::string_view text, CsvOptions options = {}, std::string name = "text") {
    return CsvReader(detail::ByteSource::of_text(text, std::move(name)), options);
  }

  /// The columns' names, in the file's order.
  const std::vector<std::string>& names() const { return names_; }
  /// The index of the column `name`; an `Error` that lists the columns there are when it is missing.
  std::size_t column(std::string_view name) const {
    if (const auto index = find_column(name)) return *index;
    detail::fail_no_column("CsvReader", source_.name(), name, names_);
  }
  /// The index of the column `name`, if there is one.
  std::optional<std::size_t> find_column(std::string_view name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? std::nullopt : std::optional(found->second);
  }

  /// Moves to the next row; false at the end of the table.
  bool next() {
    if (!read_record()) return false;
    if (cells_.size() == 1 && !cells_[0].quoted && text_.empty()) {
      // A blank line. At the end of a file it means nothing; before further rows it is a row without its cells.
      const std::size_t blank = line_;
      while (read_record())
        if (cells_.size() > 1 || cells_[0].quoted || !text_.empty())
          fail("CsvReader", "{} line {} is blank; expected {} cells", source_.name(), blank, names_.size());
      return false;
    }
    if (cells_.size() < names_.size())
      fail("CsvReader", "{} line {} has {} cells; expected {}: column {} is missing", source_.name(), line_,
           cells_.size(), names_.size(), shown(names_[cells_.size()]));
    if (cells_.size() > names_.size())
      fail("CsvReader", "{} line {} has {} cells; expected {}: {} is too many", source_.name(), line_, cells_.size(),
           names_.size(), shown(cell(names_.size())));
    return true;
  }

  /// The text of a cell of the current row, unquoted. Valid until `next()`.
  std::string_view cell(std::size_t column) const {
    const std::size_t begin = column == 0 ? 0 : cells_[column - 1].end;
    return std::string_view(text_).substr(begin, cells_[column].end - begin);
  }
  /// Whether the cell is missing: empty and without quotes (`""` is a text of no characters, and present).
  bool missing(std::size_t column) const { return cell(column).empty() && !cells_[column].quoted; }
  /// The text of a cell that must not be missing.
  std::string_view text(std::size_t column) const {
    if (missing(column)) reject(column, "a value");
    return cell(column);
  }
  /// The number in a cell. Floating point must be finite: a NaN never passes silently.
  template <TextNumber S>
  S number(std::size_t column) const {
    const auto value = parse_number<S>(cell(column));
    if constexpr (std::floating_point<S>) {
      if (!value || !std::isfinite(*value)) reject(column, "a finite number");
    } else {
      if (!value) reject(column, "a whole number in range");
    }
    return *value;
  }
  /// Throws the error "<file> line <n>, column <name> is <text>; expected <what>" about a cell of the current row.
  [[noreturn]] void reject(std::size_t column, std::string_view expected) const {
    fail("CsvReader", "{} line {}, column {} is {}; expected {}", source_.name(), line_, shown(names_[column]),
         missing(column) ? std::string("empty") : shown(cell(column)), expected);
  }

  /// The line on which the current row begins, from 1.
  std::size_t line() const { return line_; }
  /// The file's name.
  const std::string& name() const { return source_.name(); }

 private:
  struct Cell {
    std::size_t end = 0;
    bool quoted = false;
  };

  CsvReader(detail::ByteSource source, CsvOptions options) : source_(std::move(source)), options_(options) {
    if (options_.separator == '"' || options_.separator == '\n' || options_.separator == '\r')
      fail("CsvReader", "separator is {}; expected a character that is no quote and no line break",
           shown(std::string_view(&options_.separator, 1)));
    chunk_.resize(std::size_t{1} << 16);
    refill();
    // A byte-order mark. UTF-16 is recognised to say so: its cells would be nonsense with zero bytes.
    const std::string_view start(chunk_.data(), size_);
    if (start.starts_with("\xEF\xBB\xBF")) at_ = 3;
    if (start.starts_with("\xFF\xFE") || start.starts_with("\xFE\xFF"))
      fail("CsvReader", "{} is UTF-16; expected UTF-8", source_.name());
    if (!read_record() || (cells_.size() == 1 && text_.empty()))
      fail("CsvReader", "{} has no header: line 1 is empty; expected the names of the columns", source_.name());
    for (std::size_t i = 0; i < cells_.size(); ++i) {
      if (!index_.emplace(cell(i), i).second)
        fail("CsvReader", "{} line 1 names two columns {}; expected different names", source_.name(), shown(cell(i)));
      names_.emplace_back(cell(i));
    }
  }

  bool refill() {
    size_ = source_.read(std::span(chunk_));
    at_ = 0;
    return size_ != 0;
  }
  /// The next byte, or -1 at the end.
  int take() {
    if (at_ == size_ && !refill()) return -1;
    return static_cast<unsigned char>(chunk_[at_++]);
  }

  /// Reads one record into `text_` and `cells_`; false at the end of the file.
  bool read_record() {
    enum class In { start, plain, quoted, after_quote };
    text_.clear();
    cells_.clear();
    line_ = next_line_;
    int c = take();
    if (c < 0) return false;
    In in = In::start;
    bool quoted = false;
    const auto finish_cell = [&] {
      cells_.push_back({text_.size(), quoted});
      quoted = false;
      in = In::start;
    };
    for (;; c = take()) {
      if (in == In::quoted) {
        if (c < 0) fail("CsvReader", "{} line {}: a quoted cell is not closed before the end", source_.name(), line_);
        if (c == '"') {
          in = In::after_quote;
        } else {
          if (c == '\n') ++next_line_;
          text_ += static_cast<char>(c);
        }
      } else if (c < 0 || c == '\n') {
        ++next_line_;
        finish_cell();
        break;
      } else if (c == '\r') {
        const int after = take();
        if (after >= 0 && after != '\n')
          fail("CsvReader", "{} line {}: a carriage return without a line feed", source_.name(), next_line_);
        ++next_line_;
        finish_cell();
        break;
      } else if (c == static_cast<unsigned char>(options_.separator)) {
        finish_cell();
      } else if (c == '"') {
        if (in == In::plain)
          fail("CsvReader", "{} line {}: a quote inside {}, which does not begin with one", source_.name(), next_line_,
               shown(open_cell()));
        if (in == In::after_quote) text_ += '"';  // a doubled quote stands for one
        in = In::quoted;
        quoted = true;
      } else {
        if (in == In::after_quote)
          fail("CsvReader", "{} line {}: text after the closing quote of {}", source_.name(), next_line_,
               shown(open_cell()));
        in = In::plain;
        text_ += static_cast<char>(c);
      }
      if (text_.size() > options_.max_row_bytes || cells_.size() > options_.max_row_bytes)
        fail("CsvReader", "{} line {}: the row is longer than {} bytes; is a quote not closed?", source_.name(), line_,
             options_.max_row_bytes);
    }
    if (const std::size_t bad = find_invalid_utf8(text_); bad != std::string::npos)
      fail("CsvReader", "{} line {}: {} is not UTF-8", source_.name(), line_,
           shown(std::string_view(text_).substr(bad, 8)));
    return true;
  }
  /// The part of the current cell that was read so far, for messages.
  std::string_view open_cell() const { return std::string_view(text_).substr(cells_.empty() ? 0 : cells_.back().end); }

  detail::ByteSource source_;
  CsvOptions options_;
  std::vector<std::string> names_;
  detail::TextIndex<std::size_t> index_;  // of the columns
  std::vector<char> chunk_;
  std::size_t at_ = 0, size_ = 0;
  std::string text_;         // the cells of the current row, one after the other
  std::vector<Cell> cells_;  // where each of them ends
  std::size_t line_ = 0, next_line_ = 1;
};

/// A whole table in memory; columns are asked for by name.
class CsvTable {
 public:
  /// Reads all rows that are left.
  explicit CsvTable(CsvReader reader) : file_(reader.name()), names_(reader.names()) {
    while (reader.next()) {
      lines_.push_back(reader.line());
      for (std::size_t i = 0; i < names_.size(); ++i) {
        text_ += reader.cell(i);
        ends_.push_back(text_.size());
        missing_.push_back(reader.missing(i));
      }
    }
  }

  std::size_t rows() const { return lines_.size(); }
  const std::vector<std::string>& names() const { return names_; }
  /// The line of the file on which a row begins, from 1.
  std::size_t line(std::size_t row) const { return lines_[row]; }
  /// Whether there is a column of this name.
  bool has(std::string_view name) const {
    for (const auto& known : names_)
      if (known == name) return true;
    return false;
  }
  /// The text of one cell.
  std::string_view cell(std::size_t row, std::size_t column) const {
    const std::size_t k = row * names_.size() + column;
    const std::size_t begin = k == 0 ? 0 : ends_[k - 1];
    return std::string_view(text_).substr(begin, ends_[k] - begin);
  }

  /// A column of texts. A missing cell (empty, without quotes) is an `Error` with line and column.
  std::vector<std::string> texts(std::string_view name) const {
    const std::size_t column = index(name);
    std::vector<std::string> out;
    out.reserve(rows());
    for (std::size_t row = 0; row < rows(); ++row) {
      if (missing_[row * names_.size() + column]) reject(row, column, "a value");
      out.emplace_back(cell(row, column));
    }
    return out;
  }
  /// A column of numbers. A cell that is missing, no number, out of range or (floating point) not finite is an `Error`
  /// with line, column and the text seen.
  template <TextNumber S = double>
  std::vector<S> numbers(std::string_view name) const {
    const std::size_t column = index(name);
    std::vector<S> out;
    out.reserve(rows());
    for (std::size_t row = 0; row < rows(); ++row) {
      const auto value = parse_number<S>(cell(row, column));
      if constexpr (std::floating_point<S>) {
        if (!value || !std::isfinite(*value)) reject(row, column, "a finite number");
      } else {
        if (!value) reject(row, column, "a whole number in range");
      }
      out.push_back(*value);
    }
    return out;
  }

 private:
  std::size_t index(std::string_view name) const {
    for (std::size_t i = 0; i < names_.size(); ++i)
      if (names_[i] == name) return i;
    detail::fail_no_column("CsvTable", file_, name, names_);
  }
  [[noreturn]] void reject(std::size_t row, std::size_t column, std::string_view expected) const {
    fail("CsvTable", "{} line {}, column {} is {}; expected {}", file_, lines_[row], shown(names_[column]),
         missing_[row * names_.size() + column] ? std::string("empty") : shown(cell(row, column)), expected);
  }

  std::string file_;
  std::vector<std::string> names_;
  std::string text_;  // all cells, one after the other; ends_ says where each of them ends
  std::vector<std::size_t> ends_, lines_;
  std::vector<bool> missing_;
};

/// Reads a whole table from a file.
inline CsvTable load_csv(const std::filesystem::path& path, CsvOptions options = {}) {
  return CsvTable(CsvReader(path, options));
}
/// Reads a whole table from a text.
inline CsvTable parse_csv(std::string_view text, CsvOptions options = {}) {
  return CsvTable(CsvReader::from_text(text, options));
}

/// Builds a table of comma-separated values that `CsvReader` and everybody else's readers take back unchanged: numbers
/// to the last bit and with a decimal dot in every locale, texts quoted where they need it.
class CsvWriter {
 public:
  explicit CsvWriter(std::span<const std::string> names, CsvOptions options = {})
      : columns_(names.size()), options_(options) {
    for (const auto& name : names) *this << std::string_view(name);
    end_row();
  }
  explicit CsvWriter(std::initializer_list<std::string> names, CsvOptions options = {})
      : CsvWriter(std::span(names.begin(), names.size()), options) {}

  /// Appends a cell to the current row.
  CsvWriter& operator<<(std::string_view text) {
    begin_cell();
    if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos)
      fail("CsvWriter", "{} is not UTF-8", shown(text.substr(bad, 8)));
    const char special[] = {'"', '\r', '\n', options_.separator};
    // An empty text is quoted, so that it does not read as a missing cell; and one that begins with a byte-order mark,
    // so that it does not read as the file's.
    if (!text.empty() && !text.starts_with("\xEF\xBB\xBF") &&
        text.find_first_of(std::string_view(special, 4)) == std::string_view::npos) {
      text_ += text;
      return *this;
    }
    text_ += '"';
    for (const char c : text) {
      if (c == '"') text_ += '"';
      text_ += c;
    }
    text_ += '"';
    return *this;
  }
  CsvWriter& operator<<(const char* text) { return *this << std::string_view(text); }
  template <TextNumber S>
  CsvWriter& operator<<(S value) {
    begin_cell();
    append_number(text_, value);
    return *this;
  }

  /// Ends the current row, which must have a cell for each column.
  void end_row() {
    if (cells_ != columns_) fail("CsvWriter", "the row has {} cells; expected {}", cells_, columns_);
    text_ += '\n';
    cells_ = 0;
  }

  /// What was written so far.
  const std::string& text() const { return text_; }
  /// Writes the table to `path`, atomically.
  void save(const std::filesystem::path& path) const {
    if (cells_ != 0)
      fail("CsvWriter", "the last row has {} cells; expected {}: end it with end_row()", cells_, columns_);
    save_atomically(path, text_);
  }

 private:
  void begin_cell() {
    if (cells_ == columns_) fail("CsvWriter", "the row has more than {} cells; end it with end_row()", columns_);
    if (cells_++ != 0) text_ += options_.separator;
  }

  std::size_t columns_, cells_ = 0;
  CsvOptions options_;
  std::string text_;
};

}  // namespace valence
