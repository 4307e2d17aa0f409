// Any text: it is refused with an Error, or a table that can be written and reads back the same. Its cells as numbers
// too.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "valence/io/csv.hpp"
#include "valence/io/feature_pairs.hpp"
#include "valence/io/votes.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace valence;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto table = parse_csv(text);
    CsvWriter writer(table.names());
    const std::size_t columns = table.names().size();
    for (std::size_t row = 0; row < table.rows(); ++row) {
      for (std::size_t column = 0; column < columns; ++column) {
        writer << table.cell(row, column);
        if (const auto x = parse_number<double>(table.cell(row, column)); x && std::isfinite(*x))
          if (parse_number<double>(format_number(*x)) != x) std::abort();
      }
      writer.end_row();
    }
    const auto again = parse_csv(writer.text());
    if (again.rows() != table.rows() || again.names() != table.names()) std::abort();
    for (std::size_t row = 0; row < table.rows(); ++row)
      for (std::size_t column = 0; column < columns; ++column)
        if (again.cell(row, column) != table.cell(row, column)) std::abort();
  } catch (const Error&) {}
  try {
    const auto votes = parse_votes(text);
    for (const auto& vote : votes.votes)
      if (vote.left == vote.right || vote.left < 0 || vote.right >= static_cast<int>(votes.names.size())) std::abort();
  } catch (const Error&) {}
  try {
    const auto pairs = parse_feature_pairs(text, {.allow_other_columns = true});
    if (!pairs.chosen.allFinite() || !pairs.rejected.allFinite()) std::abort();
  } catch (const Error&) {}
  return 0;
}
