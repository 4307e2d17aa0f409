#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/statistics.hpp"
#include "valence/io/curve.hpp"

/// Measured figures with their intervals as a picture: what a table of methods shows, to the eye.
///
///     const IntervalRow rows[] = {{"noisy targets", "squared error", 2.26, {2.06, 2.46}}, ...};
///     save_atomically("errors.svg", intervals_svg(rows, {.title = "Error against the clean values"}));
namespace valence {

/// A row of the picture. Rows of one group stand together under its name, with an axis of their own.
struct IntervalRow {
  std::string group, name;  ///< UTF-8 without control characters
  double center;            ///< finite, inside of the interval
  Interval interval;        ///< finite
};

struct IntervalPlotOptions {
  std::string title = {};
  int width = 720;  ///< pixels, 300 to 10000; the height follows from the rows
};

/// A picture of the rows as a whole SVG file: for each a dot at the center and a line over the interval. Groups come in
/// the order of their first rows. Throws `Error` where there is no row, a row is not as `IntervalRow` says, or a text
/// can't stand in XML.
inline std::string intervals_svg(std::span<const IntervalRow> rows, const IntervalPlotOptions& options = {}) {
  constexpr auto where = "intervals_svg";
  if (rows.empty()) fail(where, "rows is empty; expected at least one");
  check_range(where, "width", options.width, 300, 10'000);
  std::vector<std::string_view> groups;
  double longest = 0;
  for (const IntervalRow& row : rows) {
    if (!(std::abs(row.interval.low) < 1e300 && std::abs(row.interval.high) < 1e300 && row.interval.low <= row.center &&
          row.center <= row.interval.high))
      fail(where, "row {} has {} in [{}, {}]; expected numbers below 1e300 in this order", shown(row.name), row.center,
           row.interval.low, row.interval.high);
    if (std::find(groups.begin(), groups.end(), row.group) == groups.end()) groups.push_back(row.group);
    longest = (std::max)(longest, detail::characters(row.name));
  }

  constexpr double line_height = 22, axis_height = 30, font = 12;
  const double width = options.width, left = (std::min)(16 + 6.8 * longest + 12, 0.6 * width), right = width - 28;
  const auto text = [&](double x, double y, std::string_view style, std::string_view content) {
    return fmt::format("<text x=\"{:.2f}\" y=\"{:.2f}\" {}>{}</text>\n", x, y, style, detail::xml_text(where, content));
  };
  const auto line = [](double xa, double ya, double xb, double yb, std::string_view style) {
    return fmt::format("<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" {}/>\n", xa, ya, xb, yb, style);
  };

  std::string body;
  double y = options.title.empty() ? 12 : 44;
  for (const std::string_view group : groups) {
    double low = HUGE_VAL, high = -HUGE_VAL, count = 0;
    for (const IntervalRow& row : rows)
      if (row.group == group)
        low = (std::min)(low, row.interval.low), high = (std::max)(high, row.interval.high), ++count;
    const double size = (std::max)({std::abs(low), std::abs(high), 1e-280});
    const double margin = high - low > 1e-12 * size ? 0.05 * (high - low) : 0.5 * size;
    low -= margin, high += margin;
    const auto px = [&](double x) { return left + (x - low) / (high - low) * (right - left); };

    if (!group.empty()) {
      body += text(16, y + font, "class=\"group\" font-weight=\"bold\"", group);
      y += line_height;
    }
    const double bottom = y + line_height * count;
    for (const detail::Ticks ticks(low, high, 6); const double x : ticks.at) {
      body += line(px(x), y, px(x), bottom, "stroke=\"#e6e6e6\"");
      body += text(px(x), bottom + 16, "text-anchor=\"middle\"", ticks.label(x));
    }
    body += line(left, bottom, right, bottom, "stroke=\"#333\"");
    std::size_t color = 0;
    for (const IntervalRow& row : rows) {
      if (row.group != group) continue;
      const std::string_view stroke = detail::curve_colors[color++ % std::size(detail::curve_colors)];
      const double middle = y + line_height / 2;
      body += text(left - 10, middle + 4, "class=\"row\" text-anchor=\"end\"", row.name);
      body += line(px(row.interval.low), middle, px(row.interval.high), middle,
                   fmt::format("class=\"interval\" stroke=\"{}\" stroke-width=\"3\"", stroke));
      body += fmt::format("<circle class=\"center\" cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"5\" fill=\"{}\"/>\n",
                          px(row.center), middle, stroke);
      y += line_height;
    }
    y = bottom + axis_height;
  }

  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1:.0f}\" viewBox=\"0 0 {0} {1:.0f}\" "
      "role=\"img\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#333\">\n",
      options.width, y);
  if (!options.title.empty()) out += fmt::format("<title>{}</title>\n", detail::xml_text(where, options.title));
  out += fmt::format("<rect width=\"{}\" height=\"{:.0f}\" fill=\"white\"/>\n", options.width, y);
  if (!options.title.empty())
    out += text(width / 2, 26, "text-anchor=\"middle\" font-size=\"15\" font-weight=\"bold\"", options.title);
  return out + body + "</svg>\n";
}

}  // namespace valence
