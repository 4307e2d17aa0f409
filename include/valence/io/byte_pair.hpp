#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/append_file.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/json.hpp"
#include "valence/io/text.hpp"

/// Texts as tokens, with a bounded vocabulary: byte-pair encoding.
///
///     PieceCounts counts;
///     for (const std::string& text : texts) counts.add(text);              // streaming: a text is not kept
///     const BytePairTokenizer tokenizer = train_byte_pairs(counts, 1024);
///     std::vector<std::int32_t> tokens = tokenizer.encode("Hello");
///     std::string text = tokenizer.decode(tokens);                          // "Hello", to the byte
namespace valence {

namespace detail {

/// What `decode` of any text's `encode` must give back is the text, so it is cut into pieces without losing a byte: a
/// run of letters (bytes outside of ASCII count as letters), of digits, of blanks, or of anything else, each with one
/// space before it, if there is one. No token crosses a piece's end. A longer run is cut after `longest_piece` bytes.
inline constexpr std::size_t longest_piece = 64;
inline int piece_class(char raw) {
  const auto c = static_cast<unsigned char>(raw);
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80) return 0;
  if (c >= '0' && c <= '9') return 1;
  return c == ' ' || (c >= '\t' && c <= '\r') ? 2 : 3;
}
template <class F>
void for_each_piece(std::string_view text, F&& use) {
  while (!text.empty()) {
    std::size_t end = 1;
    // A space belongs to what follows it, unless that is another blank.
    const bool leads = text[0] == ' ' && text.size() > 1 && piece_class(text[1]) != 2;
    const int kind = piece_class(text[leads ? 1 : 0]);
    while (end < text.size() && end < longest_piece && piece_class(text[end]) == kind) {
      if (kind == 2 && text[end] == ' ' && end + 1 < text.size() && piece_class(text[end + 1]) != 2) break;
      ++end;
    }
    use(text.substr(0, end));
    text.remove_prefix(end);
  }
}

inline void check_utf8(std::string_view where, std::string_view text) {
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos)
    fail(where, "the text is not UTF-8 at byte {}: {}", bad + 1, shown(text.substr(bad, 8)));
}

}  // namespace detail

/// How often each piece (a word with the space before it, a number, a run of signs) occurs: what byte-pair encoding
/// learns from. Texts are counted and forgotten; memory holds at most `most` pieces: when there are more, the rarest
/// are forgotten until half are left, those seen once, then twice, then up to 4, 8, ... times. (Counts that stay are
/// exact or too low.)
class PieceCounts {
 public:
  /// `most`: pieces that are remembered, >= 1 (else `Error`).
  explicit PieceCounts(std::size_t most = std::size_t{1} << 20) : most_(most) {
    if (most < 1) fail("PieceCounts", "most is 0; expected at least 1");
  }

  /// Counts the pieces of a text. Throws `Error` for a text that is not UTF-8.
  void add(std::string_view text) {
    detail::check_utf8("PieceCounts::add", text);
    detail::for_each_piece(text, [&](std::string_view piece) {
      ++counts_[std::string(piece)];
      if (counts_.size() > most_) forget();
    });
  }

  std::size_t size() const { return counts_.size(); }
  std::uint64_t count(std::string_view piece) const {
    const auto found = counts_.find(std::string(piece));
    return found == counts_.end() ? 0 : found->second;
  }
  /// Pieces with their counts, in the order of their bytes.
  std::vector<std::pair<std::string, std::uint64_t>> sorted() const {
    std::vector<std::pair<std::string, std::uint64_t>> out(counts_.begin(), counts_.end());
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  std::size_t most_;
  std::unordered_map<std::string, std::uint64_t> counts_ = {};

  // Down to half, so that it doesn't happen at every word.
  void forget() {
    for (std::uint64_t rare = 1; counts_.size() > most_ / 2; rare *= 2)
      std::erase_if(counts_, [rare](const auto& entry) { return entry.second <= rare; });
  }
};

/// A tokenizer whose tokens are the 256 bytes, an end of text, and pairs of earlier tokens that were found often.
/// `decode(encode(text)) == text` for every UTF-8 text, whatever it was trained on.
/// Source: R. Sennrich, B. Haddow, A. Birch, "Neural machine translation of rare words with subword units" (2016),
/// algorithm 1, on bytes as in GPT-2 (Radford et al. 2019).
class BytePairTokenizer {
 public:
  using Token = std::int32_t;
  static constexpr Token end_of_text = 256;  ///< has no bytes; `encode` never gives it
  static constexpr int smallest_vocabulary = 257;

  /// Bytes and the end of text only.
  BytePairTokenizer() : BytePairTokenizer(std::vector<std::pair<Token, Token>>{}) {}
  /// `merges[i]` are the two tokens that token 257 + i consists of. Throws `Error` for a token that isn't there yet,
  /// for the end of text in a pair, and for a pair that comes twice.
  explicit BytePairTokenizer(std::vector<std::pair<Token, Token>> merges) : merges_(std::move(merges)) {
    for (int byte = 0; byte < 256; ++byte) bytes_.emplace_back(1, static_cast<char>(byte));
    bytes_.emplace_back();
    for (std::size_t i = 0; i < merges_.size(); ++i) {
      const auto [left, right] = merges_[i];
      for (const Token part : {left, right})
        if (part < 0 || part == end_of_text || static_cast<std::size_t>(part) >= bytes_.size())
          fail("BytePairTokenizer", "merges[{}] holds {}; expected a byte or an earlier pair, below {}", i, part,
               bytes_.size());
      if (!ranks_.emplace(key(left, right), static_cast<Token>(bytes_.size())).second)
        fail("BytePairTokenizer", "merges[{}] is ({}, {}), which comes twice", i, left, right);
      const std::string joined = bytes_[static_cast<std::size_t>(left)] + bytes_[static_cast<std::size_t>(right)];
      if (joined.size() > detail::longest_piece)
        fail("BytePairTokenizer", "merges[{}] makes a token of {} bytes; expected at most {}", i, joined.size(),
             detail::longest_piece);
      bytes_.push_back(joined);
    }
  }

  int vocabulary() const { return static_cast<int>(bytes_.size()); }  ///< tokens are 0, ..., vocabulary - 1
  std::span<const std::pair<Token, Token>> merges() const { return merges_; }
  /// The bytes of a token, which need not be UTF-8 by themselves. Throws `Error` for one outside of the vocabulary.
  const std::string& bytes(Token token) const {
    if (token < 0 || token >= vocabulary())
      fail("BytePairTokenizer", "a token is {}; expected 0 to {}", token, vocabulary() - 1);
    return bytes_[static_cast<std::size_t>(token)];
  }

  /// The tokens of a text, at most one a byte. Throws `Error` for a text that is not UTF-8.
  std::vector<Token> encode(std::string_view text) const {
    std::vector<Token> out;
    encode(text, out);
    return out;
  }
  /// ... appended to `out`.
  void encode(std::string_view text, std::vector<Token>& out) const {
    detail::check_utf8("BytePairTokenizer::encode", text);
    detail::for_each_piece(text, [&](std::string_view piece) {
      const std::size_t begin = out.size();
      for (const char c : piece) out.push_back(static_cast<unsigned char>(c));
      merge(out, begin);
    });
  }

  /// The text of tokens; the end of text adds nothing. What a model drew need not be UTF-8: `shown` prints anything.
  std::string decode(std::span<const Token> tokens) const {
    std::string out;
    for (const Token token : tokens) out += bytes(token);
    return out;
  }

  /// As JSON: {"format": "valence byte pairs", "merges": [[left, right], ...]}.
  std::string to_json() const {
    std::string out = fmt::format("{{\"format\": \"{}\", \"merges\": [", format_name);
    for (std::size_t i = 0; i < merges_.size(); ++i)
      out += fmt::format("{}[{}, {}]", i == 0 ? "" : ", ", merges_[i].first, merges_[i].second);
    return out + "]}\n";
  }
  /// From it. Throws `Error` for text that is not as `to_json` writes it, and for a vocabulary larger than
  /// `max_vocabulary`: the model that reads the tokens has a row for each.
  static BytePairTokenizer from_json(std::string_view text, int max_vocabulary = (std::numeric_limits<int>::max)()) {
    constexpr std::string_view where = "BytePairTokenizer::from_json";
    const detail::JsonResult parsed = detail::parse_json(text, 8);
    if (!parsed.good()) fail(where, "{}", parsed.error);
    if (!parsed.value.is_object() || !parsed.value.contains("format") || parsed.value["format"] != format_name)
      fail(where, "the text holds no tokenizer; expected an object with the format \"{}\"", format_name);
    if (!parsed.value.contains("merges") || !parsed.value["merges"].is_array())
      fail(where, "merges is missing; expected a list of pairs");
    const auto& list = parsed.value["merges"];
    const std::size_t room = static_cast<std::size_t>((std::max)(0, max_vocabulary - smallest_vocabulary));
    if (max_vocabulary < smallest_vocabulary || list.size() > room)
      fail(where, "the vocabulary has {} tokens; expected at most {}", list.size() + smallest_vocabulary,
           max_vocabulary);
    std::vector<std::pair<Token, Token>> merges;
    const auto token = [&](const nlohmann::json& pair, std::size_t side) {
      if (!pair.is_array() || pair.size() != 2 || !pair[side].is_number_integer())
        fail(where, "merges[{}] is not a pair of tokens", merges.size());
      const auto value = pair[side].get<std::int64_t>();
      if (value < 0 || value >= (std::numeric_limits<Token>::max)())
        fail(where, "merges[{}] holds {}; expected a token", merges.size(), value);
      return static_cast<Token>(value);
    };
    for (const auto& pair : list) merges.emplace_back(token(pair, 0), token(pair, 1));
    return BytePairTokenizer(std::move(merges));
  }
  /// To a file, atomically, and from one.
  void save(const std::filesystem::path& path) const { save_atomically(path, to_json()); }
  static BytePairTokenizer load(const std::filesystem::path& path,
                                int max_vocabulary = (std::numeric_limits<int>::max)()) {
    return from_json(detail::content_of_file("BytePairTokenizer::load", path), max_vocabulary);
  }

  friend bool operator==(const BytePairTokenizer& a, const BytePairTokenizer& b) { return a.merges_ == b.merges_; }

 private:
  static constexpr std::string_view format_name = "valence byte pairs";

  std::vector<std::pair<Token, Token>> merges_;
  std::vector<std::string> bytes_ = {};                  // of each token
  std::unordered_map<std::uint64_t, Token> ranks_ = {};  // the token of a pair

  static std::uint64_t key(Token left, Token right) {
    return (static_cast<std::uint64_t>(left) << 32) | static_cast<std::uint64_t>(right);
  }
  // Joins the pair that was learned first, as training did, until none is left.
  void merge(std::vector<Token>& out, std::size_t begin) const {
    while (out.size() - begin >= 2) {
      Token best = (std::numeric_limits<Token>::max)();
      for (std::size_t i = begin; i + 1 < out.size(); ++i)
        if (const auto found = ranks_.find(key(out[i], out[i + 1])); found != ranks_.end())
          best = (std::min)(best, found->second);
      if (best == (std::numeric_limits<Token>::max)()) return;
      const auto [left, right] = merges_[static_cast<std::size_t>(best - smallest_vocabulary)];
      std::size_t to = begin;
      for (std::size_t i = begin; i < out.size(); ++to) {
        const bool pair = i + 1 < out.size() && out[i] == left && out[i + 1] == right;
        out[to] = pair ? best : out[i];
        i += pair ? 2 : 1;
      }
      out.resize(to);
    }
  }
};

/// Learns a vocabulary of at most `vocabulary` tokens: again and again the most frequent pair of neighbours becomes a
/// token (of equals, the pair with the smaller left token, then right), until the vocabulary is full or no pair occurs
/// `min_count` times. Takes O(merges x bytes of distinct pieces). Throws `Error` for a vocabulary that does not hold
/// the bytes and the end of text (257), and min_count < 1.
inline BytePairTokenizer train_byte_pairs(const PieceCounts& counts, int vocabulary, std::uint64_t min_count = 2) {
  using Token = BytePairTokenizer::Token;
  constexpr std::string_view where = "train_byte_pairs";
  if (vocabulary < BytePairTokenizer::smallest_vocabulary)
    fail(where, "vocabulary is {}; expected at least {}: the bytes and the end of text", vocabulary,
         BytePairTokenizer::smallest_vocabulary);
  if (min_count < 1) fail(where, "min_count is 0; expected at least 1");
  struct Piece {
    std::vector<Token> tokens;
    std::uint64_t count;
  };
  std::vector<Piece> pieces;
  using Pair = std::pair<Token, Token>;
  struct Hash {
    std::size_t operator()(const Pair& p) const {
      return (static_cast<std::size_t>(p.first) * 0x9E3779B1u) ^ (static_cast<std::size_t>(p.second) * 0x85EBCA77u);
    }
  };
  std::unordered_map<Pair, std::uint64_t, Hash> pairs;
  const auto each_pair = [&](const Piece& piece, auto&& use) {
    for (std::size_t i = 0; i + 1 < piece.tokens.size(); ++i) use(pairs[{piece.tokens[i], piece.tokens[i + 1]}]);
  };
  for (const auto& [text, count] : counts.sorted()) {
    Piece& piece = pieces.emplace_back(Piece{{}, count});
    for (const char c : text) piece.tokens.push_back(static_cast<unsigned char>(c));
    each_pair(piece, [&](std::uint64_t& n) { n += count; });
  }
  std::vector<Pair> merges;
  while (BytePairTokenizer::smallest_vocabulary + static_cast<int>(merges.size()) < vocabulary) {
    Pair best{};
    std::uint64_t most = 0;
    for (const auto& [pair, n] : pairs)
      if (n > most || (n == most && pair < best)) best = pair, most = n;
    if (most < min_count) break;
    const auto token = static_cast<Token>(BytePairTokenizer::smallest_vocabulary + static_cast<int>(merges.size()));
    merges.push_back(best);
    for (Piece& piece : pieces) {
      auto& t = piece.tokens;
      const auto first = std::adjacent_find(
          t.begin(), t.end(), [&](Token left, Token right) { return left == best.first && right == best.second; });
      if (first == t.end()) continue;
      each_pair(piece, [&](std::uint64_t& n) { n -= piece.count; });
      std::size_t to = static_cast<std::size_t>(first - t.begin());
      for (std::size_t i = to; i < t.size(); ++to) {
        const bool pair = i + 1 < t.size() && t[i] == best.first && t[i + 1] == best.second;
        t[to] = pair ? token : t[i];
        i += pair ? 2 : 1;
      }
      t.resize(to);
      each_pair(piece, [&](std::uint64_t& n) { n += piece.count; });
    }
    std::erase_if(pairs, [](const auto& entry) { return entry.second == 0; });
  }
  return BytePairTokenizer(std::move(merges));
}

}  // namespace valence
