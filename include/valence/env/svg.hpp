#pragma once

#include <fmt/core.h>

#include <cmath>
#include <concepts>
#include <string>
#include <string_view>
#include <utility>

#include "valence/core/error.hpp"
#include "valence/env/acrobot.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/mountain_car.hpp"
#include "valence/env/pendulum.hpp"

/// Pictures of classic control as SVG, and several of them as one file that plays itself in any browser:
///
///     SvgAnimation film{0.02};                       // seconds a frame
///     film.add(svg_picture(env));                    // after every step
///     write_file("run.svg", film.text());
///
/// Any environment can be drawn for which a function `svg_picture(env)` is found beside it.
namespace valence {

/// What stands inside an `<svg>`, and the part of the plane that it shows: x to the right, y down, in units of its own.
struct SvgPicture {
  std::string body;
  double left = 0, top = 0, width = 1, height = 1;
};

namespace detail {

inline std::string svg_line(double x1, double y1, double x2, double y2, std::string_view color, double width) {
  return fmt::format(
      R"(<line x1="{:.4g}" y1="{:.4g}" x2="{:.4g}" y2="{:.4g}" stroke="{}" stroke-width="{:.4g}" stroke-linecap="round"/>)",
      x1, y1, x2, y2, color, width);
}
inline std::string svg_circle(double x, double y, double radius, std::string_view color) {
  return fmt::format(R"(<circle cx="{:.4g}" cy="{:.4g}" r="{:.4g}" fill="{}"/>)", x, y, radius, color);
}
inline std::string svg_rectangle(double x, double y, double width, double height, std::string_view color) {
  return fmt::format(R"(<rect x="{:.4g}" y="{:.4g}" width="{:.4g}" height="{:.4g}" fill="{}"/>)", x, y, width, height,
                     color);
}
inline std::string svg_head(const SvgPicture& p, int pixels) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"{:.4g} {:.4g} {:.4g} {:.4g}\">\n"
      "<rect x=\"{:.4g}\" y=\"{:.4g}\" width=\"{:.4g}\" height=\"{:.4g}\" fill=\"white\"/>\n",
      pixels, static_cast<int>(std::lround(pixels * p.height / p.width)), p.left, p.top, p.width, p.height, p.left,
      p.top, p.width, p.height);
}

/// The hill of the mountain cars, sin(3 x), with a flag on the goal and the car on it.
inline SvgPicture hill(double position, double goal) {
  const auto height = [](double x) { return -0.45 * std::sin(3 * x); };  // y points down
  std::string path;
  for (int i = 0; i <= 60; ++i) {
    const double x = -1.2 + 1.8 * i / 60;
    path += fmt::format("{}{:.4g} {:.4g}", i == 0 ? "M" : " L", x, height(x));
  }
  SvgPicture p{fmt::format(R"(<path d="{}" fill="none" stroke="#666" stroke-width="0.01"/>)", path), -1.25, -0.75, 1.9,
               1.3};
  p.body += svg_line(goal, height(goal), goal, height(goal) - 0.18, "#333", 0.01);
  p.body +=
      fmt::format(R"(<path d="M{0:.4g} {1:.4g} l0.1 0.03 l-0.1 0.03 z" fill="#d62728"/>)", goal, height(goal) - 0.18);
  p.body += svg_circle(position, height(position) - 0.04, 0.04, "#1f77b4");
  return p;
}

}  // namespace detail

inline SvgPicture svg_picture(const CartPole& env) {
  const double x = env.state[0], angle = env.state[2], length = 2 * env.constants.half_length;
  SvgPicture p{detail::svg_line(-3, 0.15, 3, 0.15, "#999", 0.02), -3, -1.5, 6, 2};
  p.body += detail::svg_rectangle(x - 0.25, -0.15, 0.5, 0.3, "#1f77b4");
  p.body += detail::svg_line(x, 0, x + length * std::sin(angle), -length * std::cos(angle), "#ff7f0e", 0.08);
  return p;
}
inline SvgPicture svg_picture(const MountainCar& env) { return detail::hill(env.state[0], MountainCar::goal); }
inline SvgPicture svg_picture(const MountainCarContinuous& env) {
  return detail::hill(env.state[0], MountainCarContinuous::goal);
}
inline SvgPicture svg_picture(const Acrobot& env) {
  const double t1 = env.angles[0], t2 = t1 + env.angles[1];
  const double x = std::sin(t1), y = std::cos(t1);
  SvgPicture p{detail::svg_line(-2.3, -1, 2.3, -1, "#d62728", 0.01), -2.3, -2.3, 4.6, 4.6};  // the line to reach
  p.body += detail::svg_line(0, 0, x, y, "#1f77b4", 0.12);
  p.body += detail::svg_line(x, y, x + std::sin(t2), y + std::cos(t2), "#ff7f0e", 0.12);
  p.body += detail::svg_circle(0, 0, 0.06, "#333");
  return p;
}
inline SvgPicture svg_picture(const Pendulum& env) {
  const double length = env.constants.length;
  SvgPicture p{"", -1.3 * length, -1.3 * length, 2.6 * length, 2.6 * length};
  // The angle is counted against the clock, from upright.
  p.body =
      detail::svg_line(0, 0, -length * std::sin(env.angle), -length * std::cos(env.angle), "#d62728", 0.12 * length);
  p.body += detail::svg_circle(0, 0, 0.05 * length, "#333");
  return p;
}
/// A wrapper looks like what it wraps.
template <class E>
  requires requires(const E& e) { svg_picture(e.env); }
SvgPicture svg_picture(const E& env) {
  return svg_picture(env.env);
}

/// One picture as a whole SVG file, `pixels` >= 1 wide.
inline std::string svg_frame(const SvgPicture& picture, int pixels = 600) {
  check_positive("svg_frame", "pixels", pixels);
  return detail::svg_head(picture, pixels) + picture.body + "\n</svg>\n";
}
template <class E>
  requires requires(const E& env) {
    { svg_picture(env) } -> std::same_as<SvgPicture>;
  }
std::string svg_frame(const E& env, int pixels = 600) {
  return svg_frame(svg_picture(env), pixels);
}

/// Pictures that follow each other in one SVG file, which plays them over and over without a script: each is a group that
/// a CSS animation shows for its share of the time.
class SvgAnimation {
 public:
  /// `seconds` > 0 a frame, `pixels` >= 1 wide.
  explicit SvgAnimation(double seconds, int pixels = 600) : seconds_(seconds), pixels_(pixels) {
    check_positive("SvgAnimation", "seconds", seconds);
    check_positive("SvgAnimation", "pixels", pixels);
  }

  /// The next picture; `caption` stands in its corner. All show the part of the plane that the first does.
  void add(const SvgPicture& picture, std::string_view caption = {}) {
    if (frames_ == 0) view_ = picture, view_.body.clear();
    body_ +=
        fmt::format("<g class=\"frame\" style=\"animation-delay:{:.4g}s\">", seconds_ * static_cast<double>(frames_));
    body_ += picture.body;
    if (!caption.empty()) {
      // Browsers round font sizes below a unit, or enlarge them: letters are 16 units high and scaled.
      body_ += fmt::format(
          "<text transform=\"translate({:.4g} {:.4g}) scale({:.4g})\" font-size=\"16\" font-family=\"sans-serif\">",
          view_.left + 0.02 * view_.width, view_.top + 0.07 * view_.width, 0.05 * view_.width / 16);
      for (const char c : caption) {
        if (c == '<')
          body_ += "&lt;";
        else if (c == '&')
          body_ += "&amp;";
        else
          body_ += c;
      }
      body_ += "</text>";
    }
    body_ += "</g>\n";
    ++frames_;
  }
  int frames() const { return frames_; }

  /// The file. Throws `Error` where there is no picture.
  std::string text() const {
    if (frames_ == 0) fail("SvgAnimation::text", "there is no picture; expected at least one");
    const double share = 100.0 / frames_;
    return detail::svg_head(view_, pixels_) +
           fmt::format(
               "<style>.frame{{visibility:hidden;animation:show {:.6g}s step-end infinite}}"
               "@keyframes show{{0%{{visibility:visible}}{:.6g}%{{visibility:hidden}}}}</style>\n",
               seconds_ * frames_, share) +
           body_ + "</svg>\n";
  }

 private:
  double seconds_;
  int pixels_, frames_ = 0;
  SvgPicture view_ = {};
  std::string body_ = {};
};

}  // namespace valence
