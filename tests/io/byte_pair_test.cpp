#include "valence/io/byte_pair.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"

using namespace valence;

namespace {

using test::message_of, test::says, test::TemporaryFolder;
using Tokens = std::vector<std::int32_t>;

std::string with_bytes(std::initializer_list<int> bytes) {
  std::string out;
  for (const int b : bytes) out += static_cast<char>(b);
  return out;
}
/// UTF-8 of a code point.
std::string utf8(std::uint32_t c) {
  const auto rest = [&](int shift) { return static_cast<int>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) return with_bytes({static_cast<int>(c)});
  if (c < 0x800) return with_bytes({static_cast<int>(0xC0 | (c >> 6)), rest(0)});
  if (c < 0x10000) return with_bytes({static_cast<int>(0xE0 | (c >> 12)), rest(6), rest(0)});
  return with_bytes({static_cast<int>(0xF0 | (c >> 18)), rest(12), rest(6), rest(0)});
}
BytePairTokenizer trained(std::string_view text, int vocabulary, std::uint64_t min_count = 2) {
  PieceCounts counts;
  counts.add(text);
  return train_byte_pairs(counts, vocabulary, min_count);
}

}  // namespace

TEST_CASE("pieces are words with the space before them, numbers, signs and blanks, and lose no byte") {
  std::vector<std::string> pieces;
  const auto cut = [&](std::string_view text) {
    pieces.clear();
    detail::for_each_piece(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
    return pieces;
  };
  CHECK(cut("Hello  world, it's 42!\n\n No") ==
        std::vector<std::string>{"Hello", " ", " world", ",", " it", "'", "s", " 42", "!", "\n\n", " No"});
  CHECK(cut("") == std::vector<std::string>{});
  CHECK(cut(" ") == std::vector<std::string>{" "});
  CHECK(cut("a ") == std::vector<std::string>{"a", " "});
  CHECK(cut("na\u00efve caf\u00e9") == std::vector<std::string>{"na\u00efve", " caf\u00e9"});
  CHECK(cut(std::string(130, 'x')) ==
        std::vector<std::string>{std::string(64, 'x'), std::string(64, 'x'), std::string(2, 'x')});
}

TEST_CASE("byte pairs are learned in the order of their counts, ties by the smaller tokens") {
  // By hand: in "aabaab" (one piece, twice) the pairs are aa 4, ab 4, ba 2.
  PieceCounts counts;
  counts.add("aabaab");
  counts.add("aabaab");
  CHECK(counts.count("aabaab") == 2);
  const auto two = train_byte_pairs(counts, 259);
  REQUIRE(two.merges().size() == 2);
  CHECK(two.merges()[0] == std::pair<std::int32_t, std::int32_t>{'a', 'a'});
  CHECK(two.merges()[1] == std::pair<std::int32_t, std::int32_t>{257, 'b'});
  CHECK(two.bytes(258) == "aab");
  CHECK(two.encode("aabaab") == Tokens{258, 258});
  CHECK(two.encode("aaab") == Tokens{257, 'a', 'b'});  // from the left, as training joined them
  // One more joins the two; then no pair is left, whatever was asked for.
  CHECK(train_byte_pairs(counts, 1000).vocabulary() == 260);
  CHECK(train_byte_pairs(counts, 1000, 3).vocabulary() == 259);  // the last pair occurs only twice
}

TEST_CASE("a vocabulary is never larger than asked") {
  std::string text;
  Rng rng{3};
  for (int i = 0; i < 20'000; ++i) text += static_cast<char>(rng.below(6) == 0 ? ' ' : 'a' + rng.below(7));
  for (const int vocabulary : {257, 258, 300, 511}) CHECK(trained(text, vocabulary).vocabulary() == vocabulary);
  CHECK(says(message_of([&] { trained(text, 256); }), "vocabulary is 256", "at least 257"));
  CHECK(says(message_of([&] { trained(text, 300, 0); }), "min_count"));
  TemporaryFolder folder;
  trained(text, 300).save(folder / "tokenizer.json");
  CHECK(BytePairTokenizer::load(folder / "tokenizer.json", 300).vocabulary() == 300);
  CHECK(
      says(message_of([&] { BytePairTokenizer::load(folder / "tokenizer.json", 299); }), "300 tokens", "at most 299"));
}

TEST_CASE("decoding gives back every text to the byte, whatever was learned") {
  std::string learned =
      "The cat sat on the mat; the caf\u00e9's na\u00efve \u4f60\u597d \u4f60\u597d \U0001F600\U0001F600 ";
  const auto tokenizer = trained(learned + learned, 400);
  CHECK(tokenizer.vocabulary() > 280);
  std::vector<std::string> texts{"",
                                 " ",
                                 "  \t\n\r\n  ",
                                 std::string("a\0b", 3),
                                 learned,
                                 std::string(5000, 'a'),
                                 "unseen words \u00df \u0416 \u1F600",
                                 "\xEF\xBB\xBFmark"};
  Rng rng{17};
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (int k = 0; k < 40; ++k) {
      constexpr std::uint32_t last[] = {0x80, 0x800, 0xD800, 0x110000};
      std::uint32_t c = rng.below(last[rng.below(4)]);
      if (c >= 0xD800 && c < 0xE000) c = ' ';  // surrogates are not characters
      text += utf8(c);
    }
    texts.push_back(text);
  }
  for (const std::string& text : texts) {
    const Tokens tokens = tokenizer.encode(text);
    CHECK(tokens.size() <= text.size());
    CHECK(tokenizer.decode(tokens) == text);
    CHECK(BytePairTokenizer{}.decode(BytePairTokenizer{}.encode(text)) == text);
  }
  CHECK(tokenizer.encode(learned).size() < learned.size() / 2);
  Tokens two = tokenizer.encode("the cat");
  tokenizer.encode(" sat", two);
  two.push_back(BytePairTokenizer::end_of_text);
  CHECK(tokenizer.decode(two) == "the cat sat");
}

TEST_CASE("text that is not UTF-8 is refused, with the byte", "[F4]") {
  const auto tokenizer = trained("abab abab", 258);
  PieceCounts counts;
  for (const std::string& bad : {std::string("ab\xFF"), std::string("ab\xC3"), std::string("ab\xED\xA0\x80")}) {
    CHECK(says(message_of([&] { tokenizer.encode(bad); }), "not UTF-8 at byte 3"));
    CHECK(says(message_of([&] { counts.add(bad); }), "not UTF-8 at byte 3"));
  }
  CHECK(counts.size() == 0);
}

TEST_CASE("a tokenizer's file gives the same tokenizer, and a file that is none is refused") {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "so it goes \"and\" goes \u4f60\u597d\\n ";
  const auto tokenizer = trained(text, 320);
  CHECK(BytePairTokenizer::from_json(tokenizer.to_json()) == tokenizer);
  CHECK(BytePairTokenizer::from_json(tokenizer.to_json()).encode(text) == tokenizer.encode(text));
  const auto refused = [](std::string_view json) { return message_of([&] { BytePairTokenizer::from_json(json); }); };
  const std::string head = R"({"format": "valence byte pairs", "merges": )";
  CHECK(BytePairTokenizer::from_json(head + "[]}") == BytePairTokenizer{});
  CHECK(says(refused("{"), "not valid JSON"));
  CHECK(says(refused("[]"), "holds no tokenizer"));
  CHECK(says(refused(R"({"merges": []})"), "holds no tokenizer"));
  CHECK(says(refused(R"({"format": "valence byte pairs"})"), "merges is missing"));
  CHECK(says(refused(head + "[[97]]}"), "merges[0] is not a pair"));
  CHECK(says(refused(head + R"([[97, "b"]]})"), "merges[0] is not a pair"));
  CHECK(says(refused(head + "[[97, 98], [97, 1e3]]}"), "merges[1] is not a pair"));
  CHECK(says(refused(head + "[[97, 300]]}"), "merges[0] holds 300", "below 257"));
  CHECK(says(refused(head + "[[97, 256]]}"), "merges[0] holds 256"));
  CHECK(says(refused(head + "[[97, -1]]}"), "-1"));
  CHECK(says(refused(head + "[[97, 4294967297]]}"), "4294967297"));
  CHECK(says(refused(head + "[[97, 98], [97, 98]]}"), "comes twice"));
  CHECK(says(message_of([&] { tokenizer.decode(Tokens{320}); }), "a token is 320", "expected 0 to"));
  CHECK(says(message_of([&] { tokenizer.bytes(-1); }), "-1"));
  CHECK(says(message_of([] { BytePairTokenizer::load("no/such/file.json"); }), "no/such/file.json"));
}

TEST_CASE("counting forgets the rarest pieces when there are too many") {
  PieceCounts counts{4};
  for (int i = 0; i < 3; ++i) counts.add("often");
  for (const std::string_view rare : {"p", "q", "r", "s", "t", "u", "v"}) {
    counts.add(rare);
    CHECK(counts.size() <= 4);
  }
  CHECK(counts.count("often") == 3);
  CHECK(counts.count("p") == 0);
  CHECK(says(message_of([] { PieceCounts{0}; }), "most is 0"));
}

TEST_CASE("training does not depend on the order in which texts came") {
  PieceCounts forwards, backwards;
  const std::vector<std::string> texts{"low lower lowest", "new newer newest wide", "wider widest low low"};
  for (std::size_t i = 0; i < texts.size(); ++i) {
    forwards.add(texts[i]);
    backwards.add(texts[texts.size() - 1 - i]);
  }
  CHECK(train_byte_pairs(forwards, 280) == train_byte_pairs(backwards, 280));
}
