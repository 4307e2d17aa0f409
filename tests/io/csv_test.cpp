#include "valence/io/csv.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "io/mutations.hpp"
#include "support/close.hpp"
#include "valence/io/feature_pairs.hpp"
#include "valence/io/votes.hpp"

using namespace valence;
using test::message_of, test::says, test::TemporaryFolder;

namespace {

/// Well-mixed bits (splitmix64), so that a million patterns visit every exponent.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

std::string refused(std::string_view csv) {
  return message_of([&] { parse_csv(csv); });
}

}  // namespace

TEST_CASE("numbers survive the way through text bit for bit", "[F9]") {
  std::size_t wrong = 0;
  const auto check = [&](auto value) {
    using S = decltype(value);
    const std::string text = format_number(value);
    const auto back = parse_number<S>(text);
    // The road of standard libraries without from_chars must agree.
    const auto fallback = detail::parse_in_c_locale<S>(text);
    using Bits = std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint64_t>;
    const auto bits = std::bit_cast<Bits>(value);
    if (!back || std::bit_cast<Bits>(*back) != bits || std::bit_cast<Bits>(fallback) != bits) ++wrong;
  };
  for (std::uint64_t i = 0; i < 1'000'000; ++i) {
    const std::uint64_t bits = mix(i);
    if (const auto x = std::bit_cast<double>(bits); std::isfinite(x)) check(x);
    if (const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(bits >> 32)); std::isfinite(x)) check(x);
    check(std::bit_cast<double>(bits & 0x800FFFFFFFFFFFFFU));                             // subnormal
    check(std::bit_cast<float>(static_cast<std::uint32_t>((bits >> 32) & 0x807FFFFFU)));  // subnormal
  }
  for (const double x : {0.0, -0.0, (std::numeric_limits<double>::max)(), std::numeric_limits<double>::lowest(),
                         (std::numeric_limits<double>::min)(), std::numeric_limits<double>::denorm_min(), 0.1, 1e23})
    check(x);
  for (const float x :
       {0.0F, -0.0F, (std::numeric_limits<float>::max)(), std::numeric_limits<float>::lowest(),
        (std::numeric_limits<float>::min)(), std::numeric_limits<float>::denorm_min(), 0.1F, 16777217.0F})
    check(x);
  CHECK(wrong == 0);
}

TEST_CASE("NaN and infinity have one spelling", "[F9]") {
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(format_number(std::numeric_limits<double>::quiet_NaN()) == "nan");
  CHECK(format_number(inf) == "inf");
  CHECK(format_number(-inf) == "-inf");
  for (const char* text : {"inf", "Inf", "INFINITY", "+inf"}) CHECK(parse_number<double>(text) == inf);
  CHECK(parse_number<float>("-Infinity") == -std::numeric_limits<float>::infinity());
  for (const char* text : {"nan", "NaN", "-nan"}) CHECK(std::isnan(parse_number<double>(text).value()));
}

TEST_CASE("parse_number takes decimal numbers and nothing else") {
  CHECK(parse_number<double>("3.14") == 3.14);
  CHECK(parse_number<double>(" \t+3.5e2 ") == 350);
  CHECK(parse_number<double>("-.5") == -0.5);
  CHECK(parse_number<double>("5.") == 5);
  CHECK(parse_number<double>("1e-400") == 0);  // too small: the nearest number is zero
  CHECK(parse_number<double>("-4e-324") == -4.9406564584124654e-324);
  CHECK(parse_number<float>("1e-46") == 0.0F);
  // Rounded once, to the type asked for: through double this would be 16777216.
  CHECK(parse_number<float>("16777217.0000000001") == 16777218.0F);
  CHECK(parse_number<int>("-12") == -12);
  CHECK(parse_number<std::uint64_t>("18446744073709551615") == (std::numeric_limits<std::uint64_t>::max)());
  for (const char* text : {"",
                           " ",
                           "+",
                           "-",
                           ".",
                           "e5",
                           "1e",
                           "1e+",
                           "3,14",
                           "1.234,5",
                           "1 2",
                           "0x10",
                           "1.5x",
                           "+-1",
                           "--1",
                           "1e999",
                           "-1e999",
                           "nan(1)",
                           "infinit",
                           "1_000",
                           "\xC2\xA0"
                           "1"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_number<double>(text).has_value());
  }
  CHECK_FALSE(parse_number<float>("1e39").has_value());
  for (const char* text : {"", "1.0", "2147483648", "1e3", "-", "0x1", "+-1"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_number<int>(text).has_value());
  }
}

TEST_CASE("numbers are read and written alike under a decimal comma", "[F1]") {
  const test::DecimalComma locale;
  // The instrument works: streams (and the C library, where such a locale is to be had) do use commas now.
  std::ostringstream stream;
  stream << 1234.5;
  REQUIRE(stream.str() == "1.234,5");
  if (locale.c_library()) {
    REQUIRE(std::strtod("3.14", nullptr) == 3);
    REQUIRE(fmt::format("{:L}", 0.5) == "0,5");
  } else {
    WARN("no decimal-comma locale for the C library here: only C++ streams were switched");
  }
  CHECK(parse_number<double>("3.14") == 3.14);
  CHECK(detail::parse_in_c_locale<double>("3.14") == 3.14);
  CHECK(detail::parse_in_c_locale<float>("3.14") == 3.14F);
  CHECK_FALSE(parse_number<double>("3,14").has_value());
  CHECK(format_number(3.14) == "3.14");
  CHECK(format_number(1234567.25F) == "1234567.2");
  CHECK(format_number(1234567) == "1234567");
  const auto table = parse_csv("x,n\n3.14,1234567\n");
  CHECK(table.numbers("x") == std::vector<double>{3.14});
  CHECK(table.numbers<int>("n") == std::vector<int>{1234567});
  CsvWriter writer({"x", "n"});
  writer << 3.14 << 1234567;
  writer.end_row();
  CHECK(writer.text() == "x,n\n3.14,1234567\n");
  CHECK(says(refused("x\n1,5\n"), "line 2 has 2 cells; expected 1"));
}

TEST_CASE("a table as met in the wild equals its clean twin", "[F12]") {
  const auto wild = parse_csv(
      "\xEF\xBB\xBF"
      "name,\"score, weighted\",note\r\n"
      "\"Ann \"\"A.\"\" Lee\", 1.5 ,\"two\r\nlines\"\r\n"
      "Bob,-2e3,\"\"\r\n"
      "\"C,D\",+3,x\r\n"
      "\r\n");
  const auto clean = parse_csv("name,\"score, weighted\",note\nAnn,1.5,x\nBob,-2000,x\nC,3,x");
  CHECK(wild.rows() == 3);
  CHECK(wild.names() == clean.names());
  CHECK(wild.numbers("score, weighted") == clean.numbers("score, weighted"));
  CHECK(wild.texts("name") == std::vector<std::string>{"Ann \"A.\" Lee", "Bob", "C,D"});
  CHECK(wild.texts("note") == std::vector<std::string>{"two\r\nlines", "", "x"});
  CHECK(wild.line(0) == 2);
  CHECK(wild.line(1) == 4);  // the first row took two lines
  CHECK(wild.has("note"));
  CHECK_FALSE(wild.has("notes"));
}

TEST_CASE("a missing or bad cell is named by line and column", "[F12]") {
  const auto table = parse_csv("a,b,name\n1,2,x\n3,,y\n5,six,\n7,nan,z\n9,1e999,\"\"\n");
  const auto at = [](std::string cell) { return message_of([&] { parse_csv("a,b\n1," + cell + "\n").numbers("b"); }); };
  CHECK(table.numbers("a") == std::vector<double>{1, 3, 5, 7, 9});
  CHECK(says(message_of([&] { table.numbers("b"); }), "line 3, column 'b' is empty; expected a finite number"));
  CHECK(says(message_of([&] { table.texts("name"); }), "line 4, column 'name' is empty; expected a value"));
  CHECK(says(at("six"), "line 2, column 'b' is 'six'"));
  CHECK(says(at("nan"), "line 2, column 'b' is 'nan'; expected a finite number"));
  CHECK(says(at("1e999"), "line 2, column 'b' is '1e999'"));
  CHECK(says(at("\"1,5\""), "line 2, column 'b' is '1,5'"));
  CHECK(says(message_of([&] { table.numbers("c"); }), "no column 'c'", "'a, b, name'"));
  CHECK(says(message_of([&] { parse_csv("n\n1.5\n").numbers<int>("n"); }), "column 'n' is '1.5'", "whole number"));
  // A long cell is cut and control characters are shown as such: the message stays one line.
  const std::string noisy = at("\"" + std::string(1000, 'x') + "\"") + at("\"a\nb\x01\"");
  CHECK(noisy.size() < 400);
  CHECK(says(noisy, "xxx...'", "a\\x0ab\\x01"));
}

TEST_CASE("rows of the wrong form are refused with their line", "[F12]") {
  CHECK(says(refused("a,b,c\n1,2,3\n4,5\n"), "line 3 has 2 cells; expected 3: column 'c' is missing"));
  CHECK(says(refused("a,b\n1,2,9\n"), "line 2 has 3 cells; expected 2: '9' is too many"));
  CHECK(says(refused("a,b\n1,2\n\n3,4\n"), "line 3 is blank"));
  CHECK(
      says(refused("a\n1\n\n3\n"), "line 3 is blank"));  // where there is one column, a blank line is its missing cell
  CHECK(says(refused("a,b\n1,x\"y\"\n"), "line 2: a quote inside 'x'"));
  CHECK(says(refused("a,b\n1,\"x\"y\n"), "line 2: text after the closing quote of 'x'"));
  CHECK(says(refused("a,b\n1,2\n3,\"x\n5,6\n"), "line 3: a quoted cell is not closed"));
  CHECK(says(refused("a,b\n1,2\r3,4\n"), "line 2: a carriage return without a line feed"));
  CHECK(says(refused("a,b\n1,\xFF\n"), "line 2: '\\xff' is not UTF-8"));
  CHECK(says(refused("a,b,a\n"), "names two columns 'a'"));
  CHECK(says(refused(""), "no header"));
  CHECK(says(refused("\xEF\xBB\xBF"), "no header"));
  CHECK(says(refused("\n1\n"), "no header"));
  CHECK(says(refused("\xFF\xFE"
                     "a"),
             "UTF-16"));
  CHECK(says(message_of([] { parse_csv("a\n" + std::string(100, 'x'), {.max_row_bytes = 50}); }), "line 2",
             "longer than 50"));
  CHECK(says(message_of([] { parse_csv("a", {.separator = '"'}); }), "separator"));
  CHECK(parse_csv("a,b").rows() == 0);
  CHECK(parse_csv("a\tb\n1\t2,5\n", {.separator = '\t'}).texts("b") == std::vector<std::string>{"2,5"});
}

TEST_CASE("what CsvWriter writes, CsvReader reads back") {
  const TemporaryFolder folder;
  const std::vector<std::string> texts{"plain",      "",     "with,comma", "with \"quotes\"",
                                       "two\nlines", "cr\r", "ünï→",       "\xEF\xBB\xBF"};
  CsvWriter writer({"\xEF\xBB\xBFtext", "the, number"});  // a name that begins like a file
  for (std::size_t i = 0; i < texts.size(); ++i) {
    writer << texts[i] << std::bit_cast<double>((mix(i) & 0x7FFFFFFFFFFFFFFFU) % 0x7FF0000000000000U);
    writer.end_row();
  }
  writer.save(folder / "t.csv");
  const auto table = load_csv(folder / "t.csv");
  CHECK(table.texts("\xEF\xBB\xBFtext") == texts);
  const auto numbers = table.numbers("the, number");
  for (std::size_t i = 0; i < texts.size(); ++i)
    CHECK(std::bit_cast<std::uint64_t>(numbers[i]) == (mix(i) & 0x7FFFFFFFFFFFFFFFU) % 0x7FF0000000000000U);
  CHECK(says(message_of([&] { writer.end_row(); }), "0 cells; expected 2"));
  writer << 1;
  CHECK(says(message_of([&] { writer.save(folder / "u.csv"); }), "1 cells; expected 2"));
  writer << 2;
  CHECK(says(message_of([&] { writer << 3; }), "more than 2 cells"));
  CHECK(says(message_of([] { CsvWriter({"x"}) << "\xFF"; }), "not UTF-8"));
  CHECK(folder.files() == std::vector<std::string>{"t.csv"});
}

TEST_CASE("CsvReader streams rows across its buffer's end") {
  // Rows of 1 to 97 bytes: cells, quotes and line ends fall on every place of the 64 KiB chunks.
  std::string text = "i,fill\r\n";
  for (int i = 0; i < 5000; ++i)
    text += fmt::format("{},\"{}\"\"\"\r\n", i, std::string(static_cast<std::size_t>(i % 89), 'x'));
  const TemporaryFolder folder;
  CsvReader reader(folder.with("big.csv", text));
  int wrong = 0, rows = 0;
  for (; reader.next(); ++rows)
    wrong += reader.number<int>(0) != rows ||
             reader.cell(1) != std::string(static_cast<std::size_t>(rows % 89), 'x') + '"' ||
             reader.line() != static_cast<std::size_t>(rows) + 2;
  CHECK(rows == 5000);
  CHECK(wrong == 0);
  CHECK_FALSE(reader.next());
}

TEST_CASE("files that cannot be read are named") {
  const TemporaryFolder folder;
  CHECK(says(message_of([&] { load_csv(folder / "absent.csv"); }), "absent.csv", "No such file"));
  CHECK(message_of([&] { load_csv(folder.path()); }) != "nothing thrown");
}

TEST_CASE("votes are read by column name") {
  const auto votes = parse_votes("winner,prompt,right,left\nleft,1,b,a\ntie,1,c,a\nright,2,a,\"d, e\"\n");
  CHECK(votes.names == std::vector<std::string>{"a", "b", "c", "d, e"});
  REQUIRE(votes.votes.size() == 3);
  CHECK((votes.votes[0].left == 0 && votes.votes[0].right == 1 && votes.votes[0].winner == Winner::left));
  CHECK((votes.votes[1].left == 0 && votes.votes[1].right == 2 && votes.votes[1].winner == Winner::tie));
  CHECK((votes.votes[2].left == 3 && votes.votes[2].right == 0 && votes.votes[2].winner == Winner::right));
  const auto renamed =
      parse_votes("a;b;w\nx;y;tie\n", {.left = "a", .right = "b", .winner = "w", .csv = {.separator = ';'}});
  CHECK(renamed.votes.size() == 1);
  const auto why = [](std::string_view csv) { return message_of([&] { parse_votes(csv); }); };
  CHECK(says(why("left,right,winner\na,b,Left\n"), "line 2, column 'winner' is 'Left'; expected left, right or tie"));
  CHECK(says(why("left,right,winner\na,b,tie\na,,left\n"), "line 3, column 'right' is empty"));
  CHECK(says(why("left,right,winner\na,a,left\n"), "line 2, column 'right' is 'a'; expected another item"));
  CHECK(says(why("left,winner\na,left\n"), "no column 'right'", "'left, winner'"));
}

TEST_CASE("votes with a table of names follow its numbering") {
  const TemporaryFolder folder;
  const auto names = folder.with("names.csv", "id,model\n7,Seven\n3,Three\n9,Nine\n");
  const auto votes = load_votes(folder.with("v.csv", "left_id,right_id,winner\n3,7,left\n"), names);
  CHECK(votes.names == std::vector<std::string>{"Seven", "Three", "Nine"});
  CHECK((votes.votes.at(0).left == 1 && votes.votes.at(0).right == 0));
  CHECK(says(message_of([&] { load_votes(folder.with("w.csv", "left_id,right_id,winner\n3,8,left\n"), names); }),
             "w.csv", "line 2, column 'right_id' is '8'", "names.csv"));
  CHECK(says(message_of([&] { load_votes(folder / "v.csv", folder.with("n.csv", "id,model\n7,a\n7,b\n")); }),
             "n.csv line 3, column 'id' is '7'"));
}

TEST_CASE("feature pairs are matched by name, not by place", "[P22]") {
  const auto pairs = parse_feature_pairs("rejected_b,chosen_a,rejected_a,chosen_b\n1,2,3,4\n5,6,7,8\n");
  CHECK(pairs.names == std::vector<std::string>{"a", "b"});
  Matrix<double> chosen(2, 2), rejected(2, 2);
  chosen << 2, 6, 4, 8;
  rejected << 3, 7, 1, 5;
  CHECK(pairs.chosen == chosen);
  CHECK(pairs.rejected == rejected);
  // Swapping the fields in the header swaps them in the data.
  const auto swapped = parse_feature_pairs("chosen_b,rejected_a,chosen_a,rejected_b\n1,2,3,4\n5,6,7,8\n");
  CHECK(swapped.names == std::vector<std::string>{"b", "a"});
  CHECK(swapped.chosen.row(0) == rejected.row(1));
  const auto why = [](std::string_view csv) { return message_of([&] { parse_feature_pairs(csv); }); };
  CHECK(says(why("chosen_a,rejected_a,chosen_b\n1,2,3\n"), "column 'chosen_b' but no 'rejected_b'"));
  CHECK(says(why("rejected_a,chosen_a,rejected_c\n1,2,3\n"), "column 'rejected_c' but no 'chosen_c'"));
  CHECK(says(why("chosen_a,rejected_a,id\n1,2,3\n"), "column 'id'", "allow_other_columns"));
  CHECK(says(why("id\n1\n"), "'id'"));
  CHECK(says(why("chosen_a,rejected_a\n1,2\n3,inf\n"), "line 3, column 'rejected_a' is 'inf'"));
  const auto other = parse_feature_pairs("id,chosen_a,rejected_a\nx,1,2\n", {.allow_other_columns = true});
  CHECK(other.chosen(0, 0) == 1);
  CHECK(parse_feature_pairs("chosen_a,rejected_a\n").chosen.cols() == 0);
}

TEST_CASE("random damage never crashes the table reader") {
  const std::vector<std::string> seeds{"left,right,winner\na,b,left\nb,c,tie\n",
                                       "\xEF\xBB\xBF"
                                       "a,\"b \"\"c\"\", d\",e\r\n1.5,\"x\ny\",\r\n\r\n",
                                       "chosen_a,rejected_a\n1,2\n"};
  test::mutate(seeds, 20'000, [](const std::string& text) {
    try {
      const auto table = parse_csv(text);
      CsvWriter writer(table.names());
      for (std::size_t row = 0; row < table.rows(); ++row) {
        for (std::size_t column = 0; column < table.names().size(); ++column) writer << table.cell(row, column);
        writer.end_row();
      }
      const auto again = parse_csv(writer.text());
      REQUIRE(again.names() == table.names());
      REQUIRE(again.rows() == table.rows());
      for (std::size_t row = 0; row < table.rows(); ++row)
        for (std::size_t column = 0; column < table.names().size(); ++column)
          REQUIRE(again.cell(row, column) == table.cell(row, column));
    } catch (const Error&) {}
  });
}
