#include "valence/io/jsonl.hpp"

#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "io/mutations.hpp"
#include "support/close.hpp"

using namespace valence;
using test::message_of, test::says, test::TemporaryFolder;

namespace {

template <class Row>
Row one(std::string_view line, const JsonlOptions& options = {}) {
  const auto data = parse_jsonl<Row>(line, options);
  REQUIRE(data.rows.size() == 1);
  return data.rows[0];
}

Conversation turns(std::initializer_list<std::pair<const char*, const char*>> list) {
  Conversation out;
  for (const auto& [role, content] : list) out.push_back({role, content});
  return out;
}

template <class Row>
void survives(const Row& row) {
  const std::string line = to_json_line(row);
  CAPTURE(line);
  CHECK(one<Row>(line, {.extract_prompt = false}) == row);
}

PreferenceRow extracted(Text chosen, Text rejected) {
  PreferenceRow row{std::nullopt, std::move(chosen), std::move(rejected)};
  extract_prompt(row);
  return row;
}

}  // namespace

TEST_CASE("TRL's six types are read in both shapes") {
  const Conversation ask = turns({{"user", "What color is the sky?"}}), blue = turns({{"assistant", "It is blue."}});
  CHECK(one<LanguageModelingRow>(R"({"text": "The sky is blue."})") == LanguageModelingRow{"The sky is blue."});
  CHECK(one<LanguageModelingRow>(R"({"messages": [{"role": "user", "content": "What color is the sky?"}]})") ==
        LanguageModelingRow{ask});
  CHECK(one<PromptRow>(R"({"prompt": "The sky is"})") == PromptRow{"The sky is"});
  CHECK(one<PromptRow>(R"({"prompt": [{"role": "user", "content": "What color is the sky?"}]})") == PromptRow{ask});
  CHECK(one<PromptCompletionRow>(R"({"prompt": "The sky is", "completion": " blue."})") ==
        PromptCompletionRow{"The sky is", " blue."});
  CHECK(one<PromptCompletionRow>(R"({"prompt": [{"role": "user", "content": "What color is the sky?"}], )"
                                 R"("completion": [{"role": "assistant", "content": "It is blue."}]})") ==
        PromptCompletionRow{ask, blue});
  CHECK(one<PreferenceRow>(R"({"prompt": "The sky is", "chosen": " blue.", "rejected": " green."})") ==
        PreferenceRow{"The sky is", " blue.", " green."});
  CHECK(one<PreferenceRow>(R"({"prompt": [{"role": "user", "content": "What color is the sky?"}], )"
                           R"("chosen": [{"role": "assistant", "content": "It is blue."}], )"
                           R"("rejected": [{"role": "assistant", "content": "It is green."}]})") ==
        PreferenceRow{ask, blue, turns({{"assistant", "It is green."}})});
  CHECK(one<UnpairedPreferenceRow>(R"({"prompt": "The sky is", "completion": " blue.", "label": true})") ==
        UnpairedPreferenceRow{"The sky is", " blue.", true});
  CHECK(one<UnpairedPreferenceRow>(
            R"({"prompt": [{"role": "user", "content": "What color is the sky?"}], )"
            R"("completion": [{"role": "assistant", "content": "It is blue."}], "label": false})") ==
        UnpairedPreferenceRow{ask, blue, false});
  CHECK(one<StepwiseRow>(R"({"prompt": "9.8 or 9.11?", "completions": ["Compare.", "9.11 is larger."], )"
                         R"("labels": [true, false]})") ==
        StepwiseRow{"9.8 or 9.11?", {"Compare.", "9.11 is larger."}, {true, false}});
}

TEST_CASE("an implicit prompt is extracted as TRL does it") {
  // The space before the first difference belongs to the completions.
  CHECK(extracted("The sky is blue.", "The sky is green.") == PreferenceRow{"The sky is", " blue.", " green."});
  // Only one space does.
  CHECK(extracted("a  b", "a  c") == PreferenceRow{"a ", " b", " c"});
  CHECK(extracted("abcd", "abef") == PreferenceRow{"ab", "cd", "ef"});
  // Other white space stays with the prompt.
  CHECK(extracted("a\nb", "a\nc") == PreferenceRow{"a\n", "b", "c"});
  CHECK(extracted("a\xC2\xA0"
                  "b",
                  "a\xC2\xA0"
                  "c") == PreferenceRow{"a\xC2\xA0", "b", "c"});
  // Where one text begins with the other, and where they are equal, one character stays for each completion.
  CHECK(extracted("abc", "abcd") == PreferenceRow{"ab", "c", "cd"});
  CHECK(extracted("abcd", "abc") == PreferenceRow{"ab", "cd", "c"});
  CHECK(extracted("abc", "abc") == PreferenceRow{"ab", "c", "c"});
  CHECK(extracted("a b", "a bc") == PreferenceRow{"a ", "b", "bc"});  // and TRL's rule of the space does not apply
  CHECK(extracted("x", "x") == PreferenceRow{"", "x", "x"});
  // Different from the start.
  CHECK(extracted("yes", "no") == PreferenceRow{"", "yes", "no"});
  // Our one deviation: TRL reads chosen[-1] here and would give the prompt "yes" and the rejected "o".
  CHECK(extracted("yes ", "no") == PreferenceRow{"", "yes ", "no"});
  // Characters, not bytes: é is C3 A9 and è is C3 A8; the four bytes of two emojis share three.
  CHECK(extracted("caf\u00E9", "caf\u00E8") == PreferenceRow{"caf", "\u00E9", "\u00E8"});
  CHECK(extracted("a \U0001F600", "a \U0001F601") == PreferenceRow{"a", " \U0001F600", " \U0001F601"});
  CHECK(extracted("caf\u00E9", "caf\u00E9!") == PreferenceRow{"caf", "\u00E9", "\u00E9!"});
  CHECK(extracted("\u00E9", "\u00E8") == PreferenceRow{"", "\u00E9", "\u00E8"});
}

TEST_CASE("an implicit prompt of a conversation is its common turns") {
  const Conversation prompt = turns({{"system", "Be brief."}, {"user", "Sky?"}});
  Conversation chosen = prompt, rejected = prompt;
  chosen.push_back({"assistant", "Blue."});
  rejected.push_back({"assistant", "Green."});
  CHECK(extracted(chosen, rejected) ==
        PreferenceRow{prompt, turns({{"assistant", "Blue."}}), turns({{"assistant", "Green."}})});
  // The same words under another role, or with other keys, are another turn.
  CHECK(extracted(turns({{"user", "a"}, {"user", "b"}}), turns({{"user", "a"}, {"assistant", "b"}})) ==
        PreferenceRow{turns({{"user", "a"}}), turns({{"user", "b"}}), turns({{"assistant", "b"}})});
  CHECK(extracted(Conversation{{"user", "a", R"({"name":"x"})"}}, Conversation{{"user", "a", R"({"name":"y"})"}})
            .prompt == Text(Conversation{}));
  CHECK(extracted(turns({{"user", "a"}, {"assistant", "b"}}), turns({{"user", "a"}})) ==
        PreferenceRow{Conversation{}, turns({{"user", "a"}, {"assistant", "b"}}), turns({{"user", "a"}})});
}

TEST_CASE("a prompt that is there stays; one of the other shape is replaced") {
  const PreferenceRow given{"The", "The sky", "The sea"};
  PreferenceRow row = given;
  extract_prompt(row);
  CHECK(row == given);
  // Data sets that name the first question as a string beside full conversations: TRL extracts from the conversations.
  PreferenceRow mixed{"Sky?", turns({{"user", "Sky?"}, {"assistant", "Blue."}}),
                      turns({{"user", "Sky?"}, {"assistant", "Green."}})};
  extract_prompt(mixed);
  CHECK(mixed ==
        PreferenceRow{turns({{"user", "Sky?"}}), turns({{"assistant", "Blue."}}), turns({{"assistant", "Green."}})});
  // Not asked for, an implicit prompt stays implicit.
  const auto raw = one<PreferenceRow>(R"({"chosen": "a b", "rejected": "a c"})", {.extract_prompt = false});
  CHECK(raw == PreferenceRow{std::nullopt, "a b", "a c"});
  CHECK(one<PreferenceRow>(R"({"prompt": null, "chosen": "a b", "rejected": "a c"})") ==
        PreferenceRow{"a", " b", " c"});
  CHECK(says(message_of([] { extracted("", "a"); }), "chosen is empty"));
  CHECK(says(message_of([] { extracted("a", ""); }), "rejected is empty"));
  CHECK(says(message_of([] { extracted("a", Conversation{{"user", "a"}}); }), "one shape"));
}

TEST_CASE("swapping the fields' order in the file changes nothing", "[P22]") {
  CHECK(one<PreferenceRow>(R"({"rejected": "worse", "prompt": "p", "chosen": "better"})") ==
        PreferenceRow{"p", "better", "worse"});
}

TEST_CASE("reference log-probabilities are read and written to the last bit", "[F9]") {
  const auto row = one<PreferenceRow>(
      R"({"prompt": "p", "chosen": "c", "rejected": "r", "ref_chosen_logps": -12.25, "ref_rejected_logps": -7})");
  CHECK(row.ref_chosen_logps == -12.25);
  CHECK(row.ref_rejected_logps == -7.0);
  const PreferenceRow odd{"p", "c", "r", -0.1 - 1e-17, -123.45678901234567};
  const auto back = one<PreferenceRow>(to_json_line(odd));
  CHECK(std::bit_cast<std::uint64_t>(*back.ref_chosen_logps) == std::bit_cast<std::uint64_t>(*odd.ref_chosen_logps));
  CHECK(std::bit_cast<std::uint64_t>(*back.ref_rejected_logps) ==
        std::bit_cast<std::uint64_t>(*odd.ref_rejected_logps));
  const auto columns = reference_log_probs(std::vector<PreferenceRow>{row, odd});
  CHECK(columns.chosen == std::vector<double>{-12.25, *odd.ref_chosen_logps});
  CHECK(columns.rejected == std::vector<double>{-7, *odd.ref_rejected_logps});
  CHECK(says(message_of([&] {
               reference_log_probs(std::vector<PreferenceRow>{row, {"p", "c", "r"}});
             }),
             "rows[1]", "ref_chosen_logps"));
  CHECK(says(message_of([] {
               to_json_line(PreferenceRow{"p", "c", "r", -1.0, std::numeric_limits<double>::quiet_NaN()});
             }),
             "ref_rejected_logps is nan"));
  CHECK(says(message_of([] { to_json_line(PreferenceRow{"p", "c", "r", -1.0}); }), "both or none"));
}

TEST_CASE("JSON lines are read and written alike under a decimal comma", "[F1]") {
  const test::DecimalComma locale;
  const char* const line =
      R"({"prompt": "p", "chosen": "c", "rejected": "r", "ref_chosen_logps": -3.14, "ref_rejected_logps": -1234.5})";
  const auto row = one<PreferenceRow>(line);
  CHECK(row.ref_chosen_logps == -3.14);
  CHECK(row.ref_rejected_logps == -1234.5);
  CHECK(to_json_line(row) == line);
  const auto extra = one<PromptRow>(R"({"prompt": [{"role": "u", "content": "c", "weight": 0.5}]})");
  CHECK(std::get<Conversation>(extra.prompt).at(0).extra == R"({"weight":0.5})");
  CHECK(to_json_line(extra) == R"({"prompt": [{"role": "u", "content": "c", "weight": 0.5}]})");
}

TEST_CASE("every row written is read back the same") {
  const Text nasty = std::string("quote \" backslash \\ tab \t newline \n return \r zero ") + '\0' +
                     " bell \a del \x7F unit \x1F ü → \U0001F600 \u2028 </script>";
  const Text talk = Conversation{{"user", "a\nb"}, {"assistant", "", R"({"name":"x","tool_calls":[{"id":1}]})"}};
  for (const Text& text : {nasty, talk, Text("")}) {
    survives(LanguageModelingRow{text});
    survives(PromptRow{text});
    survives(PromptCompletionRow{text, text});
    survives(PreferenceRow{text, text, text});
    survives(PreferenceRow{std::nullopt, text, text, -1.5, -2.5e-300});
    survives(UnpairedPreferenceRow{text, text, true});
    survives(UnpairedPreferenceRow{text, text, false});
  }
  survives(StepwiseRow{std::get<std::string>(nasty), {std::get<std::string>(nasty), ""}, {true, false}});
  survives(StepwiseRow{"p", {}, {}});
  // Two conversations without a common turn have an empty prompt; nothing else may be an empty list.
  survives(extracted(turns({{"user", "a"}}), turns({{"user", "b"}})));
  CHECK(says(message_of([] {
               to_json_line(PreferenceRow{"p", Conversation{}, Conversation{}});
             }),
             "chosen is an empty list"));
  CHECK(to_json_line(PreferenceRow{"a\x01\"", "b", "c"}) ==
        R"({"prompt": "a\u0001\"", "chosen": "b", "rejected": "c"})");
  CHECK(says(message_of([] { to_json_line(PromptRow{"\xFF"}); }), "not UTF-8"));
  CHECK(says(message_of([] { to_json_line(PromptRow{Conversation{{"u", "c", R"({"role":"x"})"}}}); }), "extra"));
  CHECK(says(message_of([] { to_json_line(PromptRow{Conversation{{"u", "c", "}"}}}); }), "extra"));
  CHECK(says(message_of([] { to_json_line(StepwiseRow{"p", {"a"}, {}}); }), "labels has 0 entries; expected 1"));
}

TEST_CASE("malformed rows are named by line, key and reason") {
  struct Case {
    std::string line;
    const char *key, *reason;
  };
  const std::string chosen = R"("chosen": "a b", )", rejected = R"("rejected": "a c")";
  const std::vector<Case> cases{
      {"{" + rejected + "}", "chosen", "is missing; the row has 'rejected'"},
      {R"({"prompt": "p", "chosen": "c"})", "rejected", "is missing; the row has 'chosen, prompt'"},
      {R"({"prompt": "p", "chosen": 5, "rejected": "r"})", "chosen",
       "is a number; expected a string or a list of messages"},
      {"{" + chosen + R"("rejected": null})", "rejected", "is null"},
      {"{" + chosen + R"("rejected": [{"role": "user", "content": "x"}]})", "rejected",
       "is a list of messages, but chosen is a string; expected one shape"},
      {R"({"chosen": [{"role": "user", "content": "x"}, {"role": "assistant"}], "rejected": []})", "chosen[1].content",
       "is missing"},
      {R"({"chosen": [{"content": "x"}], "rejected": []})", "chosen[0].role", "is missing"},
      {R"({"chosen": [], "rejected": []})", "chosen", "is an empty list"},
      {R"({"chosen": [{"role": "user", "content": [{"type": "image"}]}], "rejected": []})", "chosen[0].content",
       "is an array; expected a string"},
      {R"({"chosen": ["hello"], "rejected": []})", "chosen[0]", "is a string; expected an object"},
      {"{" + chosen + rejected + R"(, "ref_chosen_logps": -1})", "ref_rejected_logps",
       "is missing beside ref_chosen_logps"},
      {"{" + chosen + rejected + R"(, "ref_rejected_logps": -1})", "ref_chosen_logps",
       "is missing beside ref_rejected_logps"},
      {"{" + chosen + rejected + R"(, "ref_chosen_logps": "-1", "ref_rejected_logps": -1})", "ref_chosen_logps",
       "is a string; expected a number"},
      {"{" + chosen + rejected + R"(, "ref_chosen_logps": NaN, "ref_rejected_logps": -1})", "ref_chosen_logps",
       "not valid JSON"},
      {"{" + chosen + rejected + R"(, "ref_chosen_logps": -1e999, "ref_rejected_logps": -1})", "ref_chosen_logps",
       "number overflow"},
      {R"({"chosen": "", "rejected": "x"})", "chosen", "is empty"},
      {R"({"chosen": "a", "rejected": "b", "chosen": "c"})", "chosen", "key 'chosen' comes twice"},
      {R"({"chosen": [{"role": "u", "content": "x", "role": "v"}], "rejected": []})", "chosen",
       "key 'role' comes twice"},
      {R"({"chosen": "a", "rejected": "b")", "rejected", "not valid JSON at byte 32"},
      {R"({"chosen": "a", "rejected": "b"} {})", "", "not valid JSON"},
      {R"(["chosen", "rejected"])", "", "holds an array; expected an object"},
      {"\"text\"", "", "holds a string; expected an object"},
      {"{\"chosen\": \"\xC3\x28\", \"rejected\": \"b\"}", "", "not UTF-8 at byte 13"},
      {"{\"chosen\": \"\xED\xA0\x80\", \"rejected\": \"b\"}", "", "not UTF-8 at byte 13"},
      {R"({"chosen": "\ud800", "rejected": "b"})", "chosen", "not valid JSON"},
      {std::string("{\"chosen\": \"a\0b\", \"rejected\": \"b\"}", 33), "", "not valid JSON at byte 14: a zero byte"},
      {std::string("{\"chosen\": \"a\", \"rejected\": \"b\"}\0}", 34), "", "not valid JSON at byte 33: a zero byte"},
      {"\xEF\xBB\xBF{" + chosen + rejected + "}", "", "byte-order mark"},
      {"{" + chosen + rejected + R"(, "x": )" + std::string(64, '[') + std::string(64, ']') + "}", "x",
       "deeper than 64"},
      {std::string(100'000, '['), "", "deeper than 64"},
      {R"({"chosen": ")" + std::string(2000, 'x') + R"(", "rejected": "y"})", "", "is longer than 1500 bytes"},
  };
  // One good line before and after each: the line number is right, and reading goes on.
  std::string text;
  for (const auto& c : cases) text += "{" + chosen + rejected + "}\n" + c.line + "\r\n";
  text += "{" + chosen + rejected + "}";
  // The tower of brackets is too long here as well; alone, below, it is too deep.
  const auto data = parse_jsonl<PreferenceRow>(text, {.on_fault = OnFault::skip, .max_line_bytes = 1500});
  CHECK(data.rows.size() == cases.size() + 1);
  REQUIRE(data.faults.size() == cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i, cases[i].line.substr(0, 100), data.faults[i].reason);
    CHECK(data.faults[i].line == 2 * i + 2);
    CHECK(data.lines[i] == 2 * i + 1);
    if (cases[i].line.size() < 10'000) {
      CHECK(data.faults[i].key == cases[i].key);
      CHECK(says(data.faults[i].reason, cases[i].reason));
    }
    CHECK(data.faults[i].reason.size() < 400);
    CHECK(find_invalid_utf8(data.faults[i].reason) == std::string::npos);
    // The other policy throws the same words. (A byte-order mark is a fault from the second line on.)
    const bool mark = cases[i].line.starts_with("\xEF");
    const auto message = message_of([&] {
      parse_jsonl<PreferenceRow>(
          (mark ? "\n" : "") + cases[i].line,
          {.on_fault = OnFault::stop, .max_line_bytes = cases[i].line.size() < 10'000 ? std::size_t{1500} : 200'000});
    });
    CHECK(says(message, mark ? "line 2" : "line 1", cases[i].key, cases[i].reason));
  }
}

TEST_CASE("each type of row names what it lacks") {
  const auto why = []<class Row>(std::string_view line, Row*) {
    const auto data = parse_jsonl<Row>(line, {.on_fault = OnFault::skip});
    return data.faults.empty() ? std::string("no fault") : data.faults[0].key + " " + data.faults[0].reason;
  };
  const auto lm = static_cast<LanguageModelingRow*>(nullptr);
  const auto prompt = static_cast<PromptRow*>(nullptr);
  const auto completion = static_cast<PromptCompletionRow*>(nullptr);
  const auto unpaired = static_cast<UnpairedPreferenceRow*>(nullptr);
  const auto stepwise = static_cast<StepwiseRow*>(nullptr);
  CHECK(says(why("{}", lm), "text is missing; the row has no keys"));
  CHECK(says(why(R"({"text": [{"role": "u", "content": "c"}]})", lm), "text is an array; expected a string"));
  CHECK(says(why(R"({"messages": "hi"})", lm), "messages is a string; expected a list of messages"));
  CHECK(says(why(R"({"messages": [], "text": "t"})", lm), "messages stands beside text"));
  CHECK(says(why(R"({"completion": "c"})", prompt), "prompt is missing"));
  CHECK(says(why(R"({"prompt": "c"})", completion), "completion is missing"));
  CHECK(says(why(R"({"prompt": "p", "completion": [{"role": "u", "content": "c"}]})", completion),
             "completion is a list"));
  CHECK(says(why(R"({"prompt": "p", "completion": "c"})", unpaired), "label is missing"));
  CHECK(says(why(R"({"prompt": "p", "completion": "c", "label": 1})", unpaired),
             "label is a number; expected true or false"));
  CHECK(says(why(R"({"prompt": "p", "completions": "c", "labels": []})", stepwise), "completions is a string"));
  CHECK(says(why(R"({"prompt": "p", "completions": ["c"], "labels": []})", stepwise),
             "labels has 0 entries; expected 1"));
  CHECK(says(why(R"({"prompt": "p", "completions": [1], "labels": [true]})", stepwise), "completions[0] is a number"));
  CHECK(says(why(R"({"prompt": "p", "completions": ["c"], "labels": ["x"]})", stepwise), "labels[0] is a string"));
}

TEST_CASE("blank lines, a byte-order mark, CRLF and a missing last newline are allowed", "[F12]") {
  const auto data =
      parse_jsonl<PromptRow>("\xEF\xBB\xBF{\"prompt\": \"a\"}\r\n\r\n  \t\n{\"prompt\": \"b\"}\n\n{\"prompt\": \"c\"}");
  CHECK(data.rows == std::vector<PromptRow>{{"a"}, {"b"}, {"c"}});
  CHECK(data.lines == std::vector<std::size_t>{1, 4, 6});
  CHECK(parse_jsonl<PromptRow>("").rows.empty());
  CHECK(parse_jsonl<PromptRow>("\n\n").rows.empty());
}

TEST_CASE("JSON lines stream from a file and are written to one") {
  const TemporaryFolder folder;
  std::vector<PreferenceRow> rows;
  for (std::size_t i = 0; i < 300; ++i)  // lines up to 100 KB: longer than the reader's chunks
    rows.push_back({"p", std::string(i * 331, 'x'), fmt::format("row {}", i), -0.5 * static_cast<double>(i), -1.0});
  save_jsonl(folder / "rows.jsonl", rows);
  CHECK(load_jsonl<PreferenceRow>(folder / "rows.jsonl").rows == rows);
  std::size_t count = 0;
  const auto faults = for_each_jsonl<PreferenceRow>(
      folder / "rows.jsonl", [&](PreferenceRow&& row, std::size_t line) { count += row == rows[line - 1] ? 1 : 0; });
  CHECK(count == rows.size());
  CHECK(faults.empty());
  CHECK(says(message_of([&] { load_jsonl<PromptRow>(folder / "absent.jsonl"); }), "absent.jsonl", "No such file"));
  CHECK(says(message_of([&] { load_jsonl<PromptRow>(folder.with("bad.jsonl", "{\"prompt\": \"a\"}\nx\n")); }),
             "bad.jsonl line 2"));
  // A write that fails in the middle leaves the old file.
  rows[200].chosen = "\xFF";
  CHECK(message_of([&] { save_jsonl(folder / "rows.jsonl", rows); }) != "nothing thrown");
  CHECK(load_jsonl<PreferenceRow>(folder / "rows.jsonl").rows.size() == 300);
  CHECK(folder.files().size() == 2);
}

TEST_CASE("more faults than may be skipped stop the reading") {
  const std::string text = "x\n{\"chosen\": \"ab\", \"rejected\": \"ac\"}\ny\nz\n";
  CHECK(parse_jsonl<PreferenceRow>(text, {.on_fault = OnFault::skip, .max_faults = 3}).faults.size() == 3);
  CHECK(says(message_of([&] { parse_jsonl<PreferenceRow>(text, {.on_fault = OnFault::skip, .max_faults = 2}); }),
             "line 4", "after 2 faults"));
}

TEST_CASE("a pair becomes two unpaired rows") {
  const auto [good, bad] = unpair({"p", "c", "r"});
  CHECK(good == UnpairedPreferenceRow{"p", "c", true});
  CHECK(bad == UnpairedPreferenceRow{"p", "r", false});
  CHECK(says(message_of([] { unpair({std::nullopt, "c", "r"}); }), "implicit"));
  CHECK(plain_text(Conversation{{"user", "a"}, {"assistant", "b"}}) == "a\nb");
}

TEST_CASE("random damage never crashes the reader of JSON lines") {
  const std::vector<std::string> seeds{
      R"({"prompt": "The sky is", "chosen": " blue.", "rejected": " green.", "ref_chosen_logps": -1.5, "ref_rejected_logps": -2})"
      "\n",
      "{\"chosen\": \"The sky is bl\u00E9.\", \"rejected\": \"The sky is bl\u00E8.\"}\r\n",
      R"({"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "name": "x"}], )"
      R"("rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "\ud83d\ude00"}]})"
      "\n"};
  std::size_t rows = 0;
  test::mutate(seeds, 20'000, [&](const std::string& text) {
    const auto data = parse_jsonl<PreferenceRow>(text, {.on_fault = OnFault::skip});
    for (const auto& fault : data.faults) REQUIRE(find_invalid_utf8(fault.reason) == std::string::npos);
    for (const auto& row : data.rows) REQUIRE(one<PreferenceRow>(to_json_line(row)) == row);
    rows += data.rows.size();
  });
  CHECK(rows > 1000);  // the damage was not so great that nothing was read
}
