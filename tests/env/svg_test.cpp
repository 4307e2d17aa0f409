// Pictures: well-formed, in the right place, one group a frame.
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/env/acrobot.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/mountain_car.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/svg.hpp"
#include "valence/env/time_limit.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

/// Are tags closed in order, attributes quoted, and is there one root? What these files use of XML, not all of it.
bool well_formed(std::string_view text) {
  std::vector<std::string> open;
  int roots = 0;
  while (!text.empty()) {
    const std::size_t at = text.find('<');
    if (at == std::string_view::npos) break;
    if (text.substr(0, at).find('>') != std::string_view::npos) return false;
    const std::size_t end = text.find('>', at);
    if (end == std::string_view::npos) return false;
    std::string_view tag = text.substr(at + 1, end - at - 1);
    text.remove_prefix(end + 1);
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return false;
      open.pop_back();
      continue;
    }
    const bool closed = tag.ends_with('/');
    if (closed) tag.remove_suffix(1);
    std::size_t quotes = 0;
    for (const char c : tag) quotes += c == '"';
    if (quotes % 2 != 0 || tag.find('<') != std::string_view::npos) return false;
    if (open.empty()) ++roots;
    if (!closed) open.emplace_back(tag.substr(0, tag.find(' ')));
  }
  return open.empty() && roots == 1;
}

std::size_t occurrences(const std::string& text, std::string_view what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("every environment of classic control has a picture that is well-formed") {
  REQUIRE(well_formed("<a x=\"1\"><b/></a>"));
  REQUIRE_FALSE(well_formed("<a><b></a>"));
  CHECK(well_formed(svg_frame(CartPole{})));
  CHECK(well_formed(svg_frame(MountainCar{})));
  CHECK(well_formed(svg_frame(MountainCarContinuous{})));
  CHECK(well_formed(svg_frame(Acrobot{})));
  CHECK(well_formed(svg_frame(Pendulum{})));
  CHECK(svg_frame(TimeLimit{CartPole{}}) == svg_frame(CartPole{}));
  CHECK(says(message_of([] { svg_frame(CartPole{}, 0); }), "pixels"));
}

TEST_CASE("pictures show the state") {
  CartPole cart;
  cart.state = {1, 0, 3.14159265358979 / 2, 0};
  CHECK(says(svg_frame(cart), R"(x1="1" y1="0" x2="2")"));  // the pole points right
  Pendulum pendulum;
  CHECK(says(svg_frame(pendulum), R"(y2="-1")"));  // upright
  Acrobot arm;
  CHECK(says(svg_frame(arm), R"(x2="0" y2="1")", R"(x2="0" y2="2")"));  // hangs
  MountainCar car;
  car.state[0] = .25;
  CHECK(says(svg_frame(car), R"(cx="0.25")"));
}

TEST_CASE("an animation has one group a frame, shown for its share of the time") {
  SvgAnimation film{.02};
  CHECK(says(message_of([&] { static_cast<void>(film.text()); }), "no picture"));
  Pendulum env;
  for (int t = 0; t < 5; ++t) {
    env.angle = t;
    film.add(svg_picture(env), t == 0 ? "a < b & c" : "");
  }
  const std::string text = film.text();
  CHECK(well_formed(text));
  CHECK(film.frames() == 5);
  CHECK(occurrences(text, "class=\"frame\"") == 5);
  CHECK(says(text, "animation:show 0.1s", "20%{visibility:hidden}", "animation-delay:0.08s", "a &lt; b &amp; c"));
  // The picture is 2.6 units wide: a font size of 0.13 would be one that browsers don't draw.
  CHECK(says(text, "font-size=\"16\"", "scale(0.008125)"));
  CHECK(says(message_of([] { SvgAnimation{0}; }), "seconds"));
}
