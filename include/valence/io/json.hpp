#pragma once

#if !__has_include(<nlohmann/json.hpp>)
#error "this header of valence/io reads JSON: install nlohmann-json (Debian: nlohmann-json3-dev)"
#endif
#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/json_text.hpp"
#include "valence/io/text.hpp"

namespace valence::detail {

/// What reading a JSON text gave: a value, or why there is none.
struct JsonResult {
  nlohmann::json value;
  std::string error;  ///< empty when all is well
  std::string key;    ///< the key at which the error stands, where it stands at one
  bool good() const { return error.empty(); }
};

/// Builds a value from parser events, and refuses what a plain parse lets pass: nesting deeper than a limit (what walks
/// the value later may recurse) and an object's key that comes twice (a plain parse keeps the last one silently).
class StrictJsonBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  StrictJsonBuilder(JsonResult& result, std::size_t max_depth) : result_(result), max_depth_(max_depth) {}

  bool null() override { return add(nullptr) != nullptr; }
  bool boolean(bool value) override { return add(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return add(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return add(value) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override { return add(value) != nullptr; }
  bool string(string_t& value) override { return add(std::move(value)) != nullptr; }
  bool binary(binary_t&) override { return refuse("holds binary data"); }
  bool start_object(std::size_t) override { return open(nlohmann::json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(nlohmann::json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    key_ = std::move(name);
    const auto [slot, is_new] = open_.back()->emplace(key_, nullptr);
    slot_ = &*slot;
    if (open_.size() == 1) result_.key = key_;
    return is_new || refuse("key " + shown(key_) + " comes twice");
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& e) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ...": the words after the
    // bracket. The end repeats the text that was read last, however long and strange: cut and escaped.
    std::string_view what = e.what();
    if (const auto bracket = what.find("] "); bracket != std::string_view::npos) what.remove_prefix(bracket + 2);
    if (const auto colon = what.find(": "); what.starts_with("parse error") && colon != std::string_view::npos)
      what.remove_prefix(colon + 2);
    std::string words = shown(what, 160);
    result_.error = fmt::format("not valid JSON at byte {}: {}", position, words.substr(1, words.size() - 2));
    return false;
  }

 private:
  bool refuse(std::string why) {
    result_.error = std::move(why);
    return false;
  }
  nlohmann::json* add(nlohmann::json value) {
    if (open_.empty()) {
      result_.value = std::move(value);
      return &result_.value;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *slot_ = std::move(value);
    return slot_;
  }
  bool open(nlohmann::json container) {
    if (open_.size() == max_depth_) return refuse(fmt::format("is nested deeper than {} levels", max_depth_));
    open_.push_back(add(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    if (open_.empty()) result_.key.clear();
    return true;
  }

  JsonResult& result_;
  std::size_t max_depth_;
  std::string key_;
  nlohmann::json* slot_ = nullptr;     // of the key that was read last; std::map's nodes stay where they are
  std::vector<nlohmann::json*> open_;  // objects and arrays around the current value; they do not move while open
};

/// Reads one JSON text, all of it. UTF-8 without byte-order mark; the result is the same in every locale.
inline JsonResult parse_json(std::string_view text, std::size_t max_depth) {
  JsonResult result;
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    result.error = fmt::format("not UTF-8 at byte {}: {}", bad + 1, shown(text.substr(bad, 8)));
  } else if (text.starts_with("\xEF\xBB\xBF")) {
    result.error = "begins with a byte-order mark";
  } else if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    // The parser would take it for the end of the text and never look at what follows.
    result.error = fmt::format("not valid JSON at byte {}: a zero byte", zero + 1);
  } else {
    StrictJsonBuilder builder(result, max_depth);
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder) && result.good())
      result.error = "not valid JSON";
  }
  return result;
}

/// What a value is, for messages: "an array", "a string", "null".
inline std::string_view kind_of(const nlohmann::json& value) {
  switch (value.type()) {
    case nlohmann::json::value_t::null:
      return "null";
    case nlohmann::json::value_t::object:
      return "an object";
    case nlohmann::json::value_t::array:
      return "an array";
    case nlohmann::json::value_t::string:
      return "a string";
    case nlohmann::json::value_t::boolean:
      return "true or false";
    default:
      return "a number";
  }
}

}  // namespace valence::detail
