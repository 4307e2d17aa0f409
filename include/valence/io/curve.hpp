#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/io/text.hpp"

/// Curves over several runs, with an interval at each point, and the picture of them.
///
///     const Curve curves[] = {{.name = "TD(0)", .x = steps, .y = errors_of_each_seed}, ...};
///     save_atomically("errors.svg", curves_svg(curves, {.title = "Corridor", .y_label = "error"}));
namespace valence {

/// What several runs of one agent measured at the same points.
struct Curve {
  std::string name;                    ///< as the legend shows it: UTF-8 without control characters
  std::vector<double> x;               ///< steps, say: at least two, strictly increasing
  std::vector<std::vector<double>> y;  ///< a row a run (seed), at least one: the value at each x
};

/// A curve over its runs: the middle and an interval at each x, all of the length of `x`.
struct CurveBand {
  std::vector<double> x, center, low, high;
};

namespace detail {

inline void check_curve(std::string_view where, const Curve& curve) {
  const std::string x = fmt::format("the x of curve {}", shown(curve.name));
  if (curve.x.size() < 2) fail(where, "{} has {} entries; expected at least 2", x, curve.x.size());
  check_finite(where, x, std::span(curve.x));
  for (std::size_t i = 1; i < curve.x.size(); ++i)
    if (!(curve.x[i] > curve.x[i - 1]))
      fail(where, "{} goes from {} to {} at [{}]; expected it to increase", x, curve.x[i - 1], curve.x[i], i);
  if (curve.y.empty()) fail(where, "the y of curve {} has no rows; expected at least one run", shown(curve.name));
  for (std::size_t run = 0; run < curve.y.size(); ++run) {
    const std::string y = fmt::format("run {} of curve {}", run, shown(curve.name));
    check_size(where, y, curve.y[run].size(), curve.x.size());
    check_finite(where, y, std::span(curve.y[run]));
  }
}

/// `summary(values of all runs at one point)` gives middle and interval.
template <class Summary>
CurveBand band_of(std::string_view where, const Curve& curve, Summary&& summary) {
  CurveBand band{.x = curve.x, .center = {}, .low = {}, .high = {}};
  std::vector<double> values(curve.y.size());
  for (std::size_t i = 0; i < curve.x.size(); ++i) {
    for (std::size_t run = 0; run < values.size(); ++run) values[run] = curve.y[run][i];
    const auto [center, interval] = summary(std::span<const double>(values));
    if (!std::isfinite(center) || !std::isfinite(interval.low) || !std::isfinite(interval.high))
      fail(where, "curve {} at x[{}] is too large: its interval overflows", shown(curve.name), i);
    band.center.push_back(center);
    band.low.push_back(interval.low);
    band.high.push_back(interval.high);
  }
  return band;
}

}  // namespace detail

/// The mean over the runs, with Student's interval for it of the given level in (0, 1); of a single run no interval is
/// known, and low and high are the run itself. Points are looked at one by one: the level is that of each, not of all.
/// Throws `Error` where the curve is not as `Curve` says: empty, not finite, lengths that differ.
inline CurveBand mean_band(const Curve& curve, double level = 0.95) {
  constexpr auto where = "mean_band";
  detail::check_curve(where, curve);
  detail::check_level(where, level);
  return detail::band_of(where, curve, [&](std::span<const double> values) {
    const double center = mean(values);
    return std::pair(center, values.size() < 2 ? Interval{center, center} : mean_interval(values, level));
  });
}

/// The interquartile mean over the runs with the percentile bootstrap's interval, as Agarwal et al. (2021) recommend
/// for few runs with outliers. Throws as `mean_band` does.
inline CurveBand interquartile_band(const Curve& curve, Rng& rng, const BootstrapOptions& options = {}) {
  constexpr auto where = "interquartile_band";
  detail::check_curve(where, curve);
  return detail::band_of(where, curve, [&](std::span<const double> values) {
    return std::pair(interquartile_mean(values), bootstrap_interval(values, interquartile_mean, rng, options));
  });
}

/// How a picture of curves looks.
struct CurvePlotOptions {
  std::string title = {}, x_label = "steps", y_label = "return";  ///< UTF-8 without control characters
  double level = 0.95;                                            ///< of the bands, in (0, 1)
  std::optional<Interval> y_range = std::nullopt;  ///< of the picture; by default all that there is to see
  int width = 720, height = 420;                   ///< pixels, 200 to 10000; a long legend makes it higher
};

namespace detail {

/// Text as it stands in XML.
inline std::string xml_text(std::string_view where, std::string_view text) {
  if (find_invalid_utf8(text) != std::string_view::npos ||
      std::any_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < 0x20) || c == 0x7F; }))
    fail(where, "the text {} cannot stand in an SVG file; expected UTF-8 without control characters", shown(text));
  std::string out;
  for (const char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  return out;
}

/// How many characters a text shows, about.
inline double characters(std::string_view text) {
  return static_cast<double>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

/// Round numbers inside [low, high], low < high: multiples of 1, 2 or 5 times a power of ten, 3 to about `most`.
struct Ticks {
  double step = 1;
  std::vector<double> at = {};

  Ticks(double low, double high, int most) {
    const double rough = (high - low) / most * (1 - 1e-9);  // so that rounding does not make the next size of 0.005
    const double power = std::pow(10.0, std::floor(std::log10(rough)));
    step = 10 * power;
    for (const double digit : {1.0, 2.0, 5.0})
      if (digit * power >= rough) {
        step = digit * power;
        break;
      }
    const double last = std::floor(high / step + 1e-9);  // 3 * 0.1 is more than 0.3, and still a tick
    for (double k = std::ceil(low / step - 1e-9); k <= last && at.size() < 100; ++k) at.push_back(k * step + 0.0);
  }

  /// "0.5", "20k", "1.5M".
  std::string label(double value) const {
    const double largest = (std::max)(std::abs(at.front()), std::abs(at.back()));
    double unit = 1;
    std::string_view suffix;
    for (const auto& [size, name] : {std::pair(1e3, "k"), std::pair(1e6, "M"), std::pair(1e9, "G")})
      if (largest >= (size == 1e3 ? 1e4 : size)) unit = size, suffix = name;
    if (value == 0) return "0";
    if (largest >= 1e13 || step < 1e-4) return fmt::format("{:.6g}", value);
    const int digits = (std::max)(0, static_cast<int>(-std::floor(std::log10(step / unit) + 1e-9)));
    return fmt::format("{:.{}f}{}", value / unit, digits, suffix);
  }
};

/// Okabe and Ito's colours (2008), which the colour-blind tell apart, without yellow: too light for a line on white.
inline constexpr std::string_view curve_colors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                    "#e69f00", "#56b4e9", "#000000"};
/// From the eighth curve on the colours come again, dashed.
inline constexpr std::string_view curve_dashes[] = {"", "7 3", "2 3", "9 3 2 3"};

inline std::string draw_curves(std::string_view where, std::span<const Curve> curves, std::span<const CurveBand> bands,
                               const CurvePlotOptions& options) {
  double left = bands[0].x.front(), right = bands[0].x.back(), low = bands[0].low[0], high = bands[0].high[0];
  double longest = 0;
  for (std::size_t c = 0; c < curves.size(); ++c) {
    left = (std::min)(left, bands[c].x.front());
    right = (std::max)(right, bands[c].x.back());
    for (const double y : bands[c].low) low = (std::min)(low, y);
    for (const double y : bands[c].high) high = (std::max)(high, y);
    longest = (std::max)(longest, characters(curves[c].name));
  }
  // Less than that is rounding, and no ticks would fit between.
  const auto flat = [](double a, double b) {
    return !(b - a > 1e-12 * (std::max)(std::abs(a), std::abs(b)) && b - a > 1e-280);
  };
  const double size = (std::max)(std::abs(low), std::abs(high));
  const double margin = !flat(low, high) ? 0.04 * (high - low) : size > 1e-280 ? 0.5 * size : 1.0;
  low -= margin;
  high += margin;
  if (options.y_range) low = options.y_range->low, high = options.y_range->high;
  if (!(std::abs(left) < 1e300 && std::abs(right) < 1e300 && std::abs(low) < 1e300 && std::abs(high) < 1e300) ||
      flat(left, right) || flat(low, high))
    fail(where, "the plane [{}, {}] x [{}, {}] can't be drawn; expected numbers below 1e300 that differ", left, right,
         low, high);

  const Ticks x_ticks(left, right, 7), y_ticks(low, high, 6);
  double y_label_width = 0;
  for (const double y : y_ticks.at) y_label_width = (std::max)(y_label_width, 6.8 * characters(y_ticks.label(y)));
  const double width = options.width;
  const double height = (std::max)(static_cast<double>(options.height), 110 + 20 * static_cast<double>(curves.size()));
  const double legend = longest == 0 ? 0 : (std::min)(46 + 6.8 * longest, 0.4 * width);
  const double x0 = 44 + y_label_width, x1 = width - 22 - legend, y0 = options.title.empty() ? 18 : 44,
               y1 = height - 50;
  const auto px = [&](double x) { return x0 + (x - left) / (right - left) * (x1 - x0); };
  const auto py = [&](double y) { return y1 - (y - low) / (high - low) * (y1 - y0); };
  const auto line = [](double xa, double ya, double xb, double yb, std::string_view style) {
    return fmt::format("<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" {}/>\n", xa, ya, xb, yb, style);
  };
  const auto text = [&](double x, double y, std::string_view style, std::string_view content) {
    return fmt::format("<text x=\"{:.2f}\" y=\"{:.2f}\" {}>{}</text>\n", x, y, style, xml_text(where, content));
  };

  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\" "
      "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#333\">\n",
      options.width, height);
  if (!options.title.empty()) out += fmt::format("<title>{}</title>\n", xml_text(where, options.title));
  out += fmt::format("<rect width=\"{}\" height=\"{}\" fill=\"white\"/>\n", options.width, height);
  for (const double x : x_ticks.at) {
    out += line(px(x), y0, px(x), y1, "stroke=\"#e6e6e6\"");
    out += text(px(x), y1 + 18, "text-anchor=\"middle\"", x_ticks.label(x));
  }
  for (const double y : y_ticks.at) {
    out += line(x0, py(y), x1, py(y), "stroke=\"#e6e6e6\"");
    out += text(x0 - 8, py(y) + 4, "text-anchor=\"end\"", y_ticks.label(y));
  }
  out += line(x0, y1, x1, y1, "stroke=\"#333\"");
  out += line(x0, y0, x0, y1, "stroke=\"#333\"");
  if (!options.title.empty())
    out += text((x0 + x1) / 2, 26, "text-anchor=\"middle\" font-size=\"15\" font-weight=\"bold\"", options.title);
  out += text((x0 + x1) / 2, height - 12, "text-anchor=\"middle\"", options.x_label);
  const double middle = (y0 + y1) / 2;
  out += text(16, middle, fmt::format("text-anchor=\"middle\" transform=\"rotate(-90 16 {:.2f})\"", middle),
              options.y_label);

  // An inner picture cuts off what lies outside of the axes.
  out += fmt::format(
      "<svg x=\"{0:.2f}\" y=\"{1:.2f}\" width=\"{2:.2f}\" height=\"{3:.2f}\" viewBox=\"{0:.2f} {1:.2f} {2:.2f} "
      "{3:.2f}\">\n",
      x0, y0, x1 - x0, y1 - y0);
  constexpr std::size_t colors = std::size(curve_colors), dashes = std::size(curve_dashes);
  const auto path = [&](const CurveBand& band, const std::vector<double>& y) {
    std::string points;
    for (std::size_t i = 0; i < y.size(); ++i)
      points += fmt::format("{}{:.2f} {:.2f}", i == 0 ? "M" : " L", px(band.x[i]), py(y[i]));
    return points;
  };
  for (std::size_t c = 0; c < curves.size(); ++c) {  // all bands lie below all lines
    if (curves[c].y.size() < 2) continue;
    std::string points = path(bands[c], bands[c].high);
    for (std::size_t i = bands[c].x.size(); i-- > 0;)
      points += fmt::format(" L{:.2f} {:.2f}", px(bands[c].x[i]), py(bands[c].low[i]));
    out += fmt::format("<path class=\"band\" d=\"{} Z\" fill=\"{}\" fill-opacity=\"0.18\"/>\n", points,
                       curve_colors[c % colors]);
  }
  const auto stroke = [&](std::size_t c) {
    return fmt::format("stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\"", curve_colors[c % colors],
                       curve_dashes[c / colors % dashes]);
  };
  for (std::size_t c = 0; c < curves.size(); ++c)
    out += fmt::format("<path class=\"curve\" d=\"{}\" fill=\"none\" stroke-linejoin=\"round\" {}/>\n",
                       path(bands[c], bands[c].center), stroke(c));
  out += "</svg>\n";
  for (std::size_t c = 0; c < curves.size(); ++c) {
    if (curves[c].name.empty()) continue;
    const double y = y0 + 10 + 20 * static_cast<double>(c);
    out += line(x1 + 14, y, x1 + 36, y, stroke(c));
    out += text(x1 + 42, y + 4, "class=\"legend\"", curves[c].name);
  }
  return out + "</svg>\n";
}

inline void check_plot(std::string_view where, std::span<const Curve> curves, const CurvePlotOptions& options) {
  if (curves.empty()) fail(where, "curves is empty; expected at least one");
  check_range(where, "width", options.width, 200, 10'000);
  check_range(where, "height", options.height, 200, 10'000);
}

}  // namespace detail

/// A picture of curves as a whole SVG file: for each curve the mean over its runs as a line and the interval
/// around it as a band (`mean_band`), with axes, grid and legend. It needs no script, no font and no other file. Throws
/// `Error` where there is no curve, one is not as `Curve` says, or a text can't stand in XML.
inline std::string curves_svg(std::span<const Curve> curves, const CurvePlotOptions& options = {}) {
  constexpr auto where = "curves_svg";
  detail::check_plot(where, curves, options);
  std::vector<CurveBand> bands;
  for (const Curve& curve : curves) bands.push_back(mean_band(curve, options.level));
  return detail::draw_curves(where, curves, bands, options);
}

/// The same with the interquartile mean and its bootstrap interval (`interquartile_band`).
inline std::string curves_svg(std::span<const Curve> curves, Rng& rng, const CurvePlotOptions& options = {}) {
  constexpr auto where = "curves_svg";
  detail::check_plot(where, curves, options);
  std::vector<CurveBand> bands;
  for (const Curve& curve : curves) bands.push_back(interquartile_band(curve, rng, {.level = options.level}));
  return detail::draw_curves(where, curves, bands, options);
}

}  // namespace valence
