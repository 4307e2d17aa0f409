// Any text: its lines are refused with a reason, or rows that can be written and read back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "valence/io/jsonl.hpp"

namespace {

template <class Row>
void check(std::string_view text, bool extract) {
  using namespace valence;
  const auto data = parse_jsonl<Row>(text, {.on_fault = OnFault::skip, .extract_prompt = extract});
  for (const auto& fault : data.faults)
    if (fault.line == 0 || fault.reason.empty() || find_invalid_utf8(fault.reason) != std::string::npos) std::abort();
  for (const auto& row : data.rows) {
    const auto again = parse_jsonl<Row>(to_json_line(row), {.extract_prompt = false});
    if (again.rows.size() != 1 || !(again.rows[0] == row)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 7) {  // the first byte picks the type of row
    case 0:
      check<valence::PreferenceRow>(text, true);
      break;
    case 1:
      check<valence::PreferenceRow>(text, false);
      break;
    case 2:
      check<valence::UnpairedPreferenceRow>(text, false);
      break;
    case 3:
      check<valence::PromptCompletionRow>(text, false);
      break;
    case 4:
      check<valence::LanguageModelingRow>(text, false);
      break;
    case 5:
      check<valence::StepwiseRow>(text, false);
      break;
    default:
      check<valence::PromptRow>(text, false);
  }
  return 0;
}
