#include "valence/io/interval_plot.hpp"

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "io/svg_text.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"

using namespace valence;
using test::count, test::message_of, test::says, test::well_formed;

namespace {

/// The attribute of the k-th element of a class.
double attribute(const std::string& svg, const std::string& kind, const std::string& name, std::size_t k) {
  std::size_t at = 0;
  for (std::size_t i = 0; i <= k; ++i) at = svg.find("class=\"" + kind + "\"", at + 1);
  REQUIRE(at != std::string::npos);
  const std::size_t open = svg.rfind('<', at), where = svg.find(" " + name + "=\"", open);
  REQUIRE(where < svg.find('>', open));
  return std::strtod(svg.c_str() + where + name.size() + 3, nullptr);
}

}  // namespace

TEST_CASE("each row is a dot on its interval, on the axis of its group") {
  const IntervalRow rows[] = {{"errors", "a & b", 2, {1, 4}},
                              {"rates", "c", 0.5, {0.25, 0.75}},
                              {"errors", "d", 3, {3, 3}},
                              {"", "alone", 7, {7, 7}}};
  const std::string svg = [&] {
    const test::DecimalComma comma;
    return intervals_svg(rows, {.title = "<T>"});
  }();
  CHECK(well_formed(svg));
  CHECK(count(svg, "class=\"center\"") == 4);
  CHECK(count(svg, "class=\"group\"") == 2);
  CHECK(svg.find(">a &amp; b</text>") != std::string::npos);
  CHECK(svg.find("&lt;T&gt;") != std::string::npos);
  // Order: the group "errors" with both of its rows, then "rates".
  CHECK(svg.find(">d</text>") < svg.find(">rates</text>"));
  // Row 0 spans the axis of its group but for the margins; row 1 (d = 3) is measured on the same axis.
  const double low = attribute(svg, "interval", "x1", 0), high = attribute(svg, "interval", "x2", 0);
  CHECK(attribute(svg, "center", "cx", 0) == test::close(low + (high - low) / 3, 0, 0.02));
  CHECK(attribute(svg, "center", "cx", 1) == test::close(low + (high - low) * 2 / 3, 0, 0.02));
  CHECK(attribute(svg, "interval", "x1", 2) == test::close(low, 0, 0.02));  // other numbers, same place
  CHECK(attribute(svg, "center", "cy", 1) > attribute(svg, "center", "cy", 0));
}

TEST_CASE("rows that can't be drawn are refused") {
  const auto refused = [](IntervalRow row, const IntervalPlotOptions& options = {}) {
    const std::vector<IntervalRow> rows = {row};
    return message_of([&] { intervals_svg(rows, options); });
  };
  CHECK(refused({"", "a", 0, {0, 0}}) == "nothing thrown");
  CHECK(says(message_of([] { intervals_svg({}); }), "rows", "empty"));
  CHECK(says(refused({"", "a", 3, {0, 2}}), "'a'", "3", "[0, 2]"));
  CHECK(says(refused({"", "a", 1, {0, std::nan("")}}), "'a'", "nan"));
  CHECK(says(refused({"", "a\n", 1, {0, 2}}), "SVG"));
  CHECK(says(refused({"", "a", 1, {0, 2}}, {.width = 10}), "width", "10"));
}
