#include "valence/io/curve.hpp"

#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "io/files.hpp"
#include "io/svg_text.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"

using namespace valence;
using test::count, test::message_of, test::says, test::well_formed;

namespace {

Curve two_runs() { return {.name = "a", .x = {0, 10, 40}, .y = {{1, 2, 4}, {2, 6, 4}}}; }

/// The points of the k-th path of a class.
std::vector<std::pair<double, double>> points_of(const std::string& svg, const std::string& kind, std::size_t k = 0) {
  std::size_t at = 0;
  for (std::size_t i = 0; i <= k; ++i) at = svg.find("<path class=\"" + kind + "\" d=\"", at + 1);
  REQUIRE(at != std::string::npos);
  at = svg.find("d=\"", at) + 3;
  std::vector<std::pair<double, double>> out;
  while (svg[at] == 'M' || svg[at] == 'L') {
    char* end = nullptr;
    const double x = std::strtod(svg.c_str() + at + 1, &end), y = std::strtod(end, &end);
    out.emplace_back(x, y);
    at = static_cast<std::size_t>(end - svg.c_str());
    if (svg[at] == ' ') ++at;
  }
  return out;
}

}  // namespace

TEST_CASE("bands: the mean with Student's interval, the interquartile mean with the bootstrap's") {
  const CurveBand band = mean_band(two_runs());
  CHECK(band.x == std::vector<double>{0, 10, 40});
  CHECK(band.center == std::vector<double>{1.5, 4, 4});
  // t(0.975; 1) = tan(0.475 pi) = 12.7062047361747; the standard error of {a, b} is |a - b| / 2.
  CHECK(band.low[0] == test::close(1.5 - 0.5 * 12.7062047361747, 1e-12));
  CHECK(band.high[1] == test::close(4 + 2 * 12.7062047361747, 1e-12));
  CHECK(band.low[2] == 4);
  CHECK(band.high[2] == 4);
  CHECK(mean_band(two_runs(), 0.5).high[1] == test::close(4 + 2 * 1.0, 1e-12));  // t(0.75; 1) = 1

  const CurveBand one = mean_band({.name = "", .x = {0, 1}, .y = {{3, 5}}});
  CHECK(one.low == one.center);
  CHECK(one.high == one.center);

  // The outlier is outside of the middle half.
  const Curve runs{.name = "", .x = {0, 1}, .y = {{1, 0}, {2, 0}, {3, 0}, {4, 0}, {1000, 0}, {-5, 0}, {2, 0}, {3, 0}}};
  Rng rng{4}, again{4};
  const CurveBand iqm = interquartile_band(runs, rng, {.resamples = 500});
  CHECK(iqm.center == std::vector<double>{2.5, 0});
  CHECK(iqm.low[0] < 2.5);
  CHECK(iqm.high[0] > 2.5);
  CHECK(iqm.high[0] < 400);
  CHECK(iqm.high[1] == 0);
  CHECK(interquartile_band(runs, again, {.resamples = 500}).low == iqm.low);
}

TEST_CASE("the picture shows the numbers: one path a curve, one band where there are several runs") {
  const Curve curves[] = {two_runs(), {.name = "b & <c> \"d\"", .x = {5, 25}, .y = {{-1, 3}}}};
  const std::string svg = [&] {
    const test::DecimalComma comma;
    return curves_svg(curves, {.title = "Title <&>", .x_label = "x > y", .y_label = "y\xC3\xA9"});
  }();
  CHECK(well_formed(svg));
  CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"420\""));
  CHECK(count(svg, "class=\"curve\"") == 2);
  CHECK(count(svg, "class=\"band\"") == 1);
  CHECK(count(svg, "class=\"legend\"") == 2);
  CHECK(svg.find(">b &amp; &lt;c&gt; &quot;d&quot;</text>") != std::string::npos);
  CHECK(count(svg, "Title &lt;&amp;&gt;") == 2);  // seen, and for those who do not see
  CHECK(svg.find("x &gt; y") != std::string::npos);
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("inf") == std::string::npos);

  // Affine from the data, y upwards: two points give the map, the others follow it.
  const auto a = points_of(svg, "curve", 0), b = points_of(svg, "curve", 1), band = points_of(svg, "band");
  REQUIRE(a.size() == 3);
  REQUIRE(b.size() == 2);
  REQUIRE(band.size() == 6);
  const double sx = (a[2].first - a[0].first) / 40, sy = (a[1].second - a[0].second) / 2.5;
  CHECK(sx > 0);
  CHECK(sy < 0);
  const auto on = [&](std::pair<double, double> p, double x, double y) {
    CHECK(p.first == test::close(a[0].first + sx * x, 0, 0.02));
    CHECK(p.second == test::close(a[0].second + sy * (y - 1.5), 0, 0.2));
  };
  on(a[1], 10, 4);
  on(a[2], 40, 4);
  on(b[0], 5, -1);
  on(b[1], 25, 3);
  const CurveBand numbers = mean_band(two_runs());
  for (std::size_t i = 0; i < 3; ++i) {
    on(band[i], numbers.x[i], numbers.high[i]);
    on(band[5 - i], numbers.x[i], numbers.low[i]);
    CHECK(band[i].second > 44);  // inside of the axes
    CHECK(band[5 - i].second < 370);
  }
  // With a range asked for, the same numbers at other places.
  const auto zoomed = points_of(curves_svg(curves, {.y_range = Interval{0, 5}}), "curve", 0);
  CHECK(zoomed[0].second == test::close(370 - 1.5 / 5 * (370 - 18), 0, 0.02));
}

TEST_CASE("ticks are round numbers inside the axes") {
  const auto labels = [](double low, double high, int most) {
    const detail::Ticks ticks(low, high, most);
    std::string out;
    for (const double x : ticks.at) out += (out.empty() ? "" : " ") + ticks.label(x);
    return out;
  };
  CHECK(labels(0, 10, 5) == "0 2 4 6 8 10");
  CHECK(labels(-1, 1, 4) == "-1.0 -0.5 0 0.5 1.0");
  CHECK(labels(520, 9980, 7) == "2000 4000 6000 8000");
  CHECK(labels(0, 100000, 5) == "0 20k 40k 60k 80k 100k");
  CHECK(labels(0, 1e6, 4) == "0 0.5M 1.0M");
  CHECK(labels(0, 0.3, 3) == "0 0.1 0.2 0.3");
  CHECK(labels(0, 0.03, 3) == "0 0.01 0.02 0.03");
  CHECK(labels(0.99, 1.01, 4) == "0.990 0.995 1.000 1.005 1.010");
  CHECK(labels(1e6, 1.0001e6, 3) == "1.00000M 1.00005M 1.00010M");
  CHECK(labels(-3e9, 2e9, 5) == "-3G -2G -1G 0 1G 2G");
  CHECK(labels(0, 2e-7, 2) == "0 1e-07 2e-07");
  CHECK(labels(0, 1e20, 2) == "0 5e+19 1e+20");
  for (double low = -7.3; low < 8; low += 1.7)  // many ranges: never none, never a crowd, never outside
    for (double size = 1e-9; size < 1e12; size *= 7.7) {
      const detail::Ticks ticks(low, low + size, 6);
      CHECK(ticks.at.size() >= 2);
      CHECK(ticks.at.size() <= 8);
      for (const double x : ticks.at) CHECK((x >= low - 1e-5 * ticks.step && x <= low + size + 1e-5 * ticks.step));
    }
}

TEST_CASE("flat, single, many and unnamed curves can be drawn") {
  const auto draw = [](std::vector<Curve> curves) {
    const std::string svg = curves_svg(curves);
    CHECK(well_formed(svg));
    CHECK(svg.find("nan") == std::string::npos);
    CHECK(count(svg, "class=\"curve\"") == curves.size());
    return svg;
  };
  for (const double y : {0.0, 500.0, -1e-300, 1e150, 1 / 3.0})
    draw({{.name = "", .x = {0, 1}, .y = {{y, y}, {y, std::nextafter(y, 1)}}}});
  CHECK(count(draw({{.name = "", .x = {0, 1}, .y = {{1, 2}}}}), "class=\"legend\"") == 0);
  std::vector<Curve> many;
  for (int k = 0; k < 30; ++k) many.push_back({.name = "curve " + std::to_string(k), .x = {0, 1}, .y = {{0, 1.0 * k}}});
  const std::string svg = draw(many);
  CHECK(svg.find("height=\"710\"") != std::string::npos);  // the legend fits
  CHECK(count(svg, "stroke-dasharray=\"7 3\"") == 14);     // seven curves and their legend: colours come again, dashed

  Rng rng{1};
  const std::string iqm = curves_svg(std::vector<Curve>{two_runs()}, rng);
  CHECK(well_formed(iqm));
  CHECK(points_of(iqm, "curve").size() == 3);
}

TEST_CASE("curves that can't be drawn are refused, and it is said which") {
  const auto refused = [](const Curve& curve, const CurvePlotOptions& options = {}) {
    const std::vector<Curve> curves = {two_runs(), curve};
    return message_of([&] { curves_svg(curves, options); });
  };
  CHECK(refused(two_runs()) == "nothing thrown");
  CHECK(says(message_of([] { curves_svg({}); }), "curves", "empty"));
  CHECK(says(refused({.name = "c", .x = {1}, .y = {{1}}}), "'c'", "1 entries"));
  CHECK(says(refused({.name = "c", .x = {1, 2, 2}, .y = {{1, 2, 3}}}), "'c'", "increase", "[2]"));
  CHECK(says(refused({.name = "c", .x = {1, std::nan("")}, .y = {{1, 2}}}), "x of curve 'c'", "nan"));
  CHECK(says(refused({.name = "c", .x = {1, 2}, .y = {}}), "'c'", "no rows"));
  CHECK(says(refused({.name = "c", .x = {1, 2}, .y = {{1, 2}, {1, 2, 3}}}), "run 1 of curve 'c'", "3", "2"));
  CHECK(says(refused({.name = "c", .x = {1, 2}, .y = {{1, 2}, {1, std::nan("")}}}), "run 1 of curve 'c'", "nan"));
  CHECK(says(refused({.name = "c", .x = {1, 2}, .y = {{1, 1e301}}}), "can't be drawn"));
  CHECK(says(refused({.name = "c", .x = {1, 2}, .y = {{-1e308, 1}, {1e308, 1}}}), "curve 'c'", "overflows"));
  CHECK(says(refused({.name = "a\nb", .x = {1, 2}, .y = {{1, 2}}}), "\\x0a", "SVG"));
  CHECK(says(refused(two_runs(), {.title = "\xFF"}), "\\xff", "UTF-8"));
  CHECK(says(refused(two_runs(), {.level = 1}), "level", "1"));
  CHECK(says(refused(two_runs(), {.y_range = Interval{2, 2}}), "can't be drawn"));
  CHECK(says(refused(two_runs(), {.y_range = Interval{0, std::nan("")}}), "can't be drawn"));
  CHECK(says(refused(two_runs(), {.width = 10}), "width", "10"));
  CHECK(says(refused(two_runs(), {.height = 100'000}), "height", "100000"));
}
