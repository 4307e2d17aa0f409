#include "valence/core/error.hpp"

#include <limits>
#include <vector>

#include "support/close.hpp"

using namespace valence;
using test::message_of, test::says;

TEST_CASE("check helpers name the argument, the index, the value and what was expected") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> bad{0.25, nan, 0.5};
  CHECK(says(message_of([&] { check_finite("Dpo", "chosen", std::span(bad)); }), "Dpo: chosen[1] is nan", "finite"));
  CHECK(says(message_of([&] { check_finite("Dpo", "beta", -1 / 0.0); }), "Dpo: beta is -inf", "finite"));
  CHECK(says(message_of([&] { check_range("f", "p", 1.5, 0.0, 1.0); }), "f: p is 1.5", "[0, 1]"));
  CHECK(says(message_of([&] { check_range("f", "p", nan, 0.0, 1.0); }), "f: p is nan"));
  CHECK(says(message_of([&] { check_range("f", "p", std::span(bad), 0, 0.3); }), "p[1] is nan"));
  CHECK(says(message_of([&] { check_positive("f", "beta", 0.0); }), "beta is 0", "greater than 0"));
  CHECK(says(message_of([&] { check_positive("f", "beta", 1 / 0.0); }), "beta is inf"));
  CHECK(says(message_of([&] { check_positive("f", "n", -3); }), "n is -3"));
  CHECK(says(message_of([&] { check_size("f", "gradient", 3, 4); }), "gradient has 3 entries; expected 4"));
  CHECK(says(message_of([&] { check_shape("f", "x", 2, 3, 2, 4); }), "x is 2 x 3; expected 2 x 4"));
}

TEST_CASE("check helpers accept what is right") {
  const std::vector<float> p{0.5F, 0.25F, 0.25F};
  check_finite("f", "p", std::span(p));
  check_finite("f", "x", 1.0F);
  check_range("f", "p", std::span(p), 0, 1);
  check_range("f", "n", 3, 3, 3);
  check_positive("f", "n", std::size_t{1});
  check_size("f", "p", p.size(), 3);
  check_probabilities("f", "p", std::span(p));
  SUCCEED("nothing thrown");
}

TEST_CASE("check_probabilities refuses what is not a distribution") {
  const auto refused = [](std::vector<double> p) {
    return message_of([&] { check_probabilities("f", "p", std::span<const double>(p)); });
  };
  CHECK(says(refused({}), "p is empty"));
  CHECK(says(refused({0.5, 0.6}), "p sums to 1.1"));
  CHECK(says(refused({1.5, -0.5}), "p[0] is 1.5"));
  CHECK(says(refused({0.5, std::numeric_limits<double>::quiet_NaN()}), "p[1] is nan"));
}
