#include "valence/distributional/rescaled_value.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"

using namespace valence;

namespace {

using valence::test::close;
using valence::test::gradient_matches;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

}  // namespace

static_assert(ReturnDistribution<RescaledValue<ScalarHead>> && ReturnDistribution<RescaledValue<TwoHot>> &&
              ReturnDistribution<RescaledValue<HlGauss>>);

TEST_CASE("a rescaled head: h(r + g h^-1(y)) by hand", "[heads][rescaling]") {
  const RescaledValue head{ScalarHead{}, ValueRescaling{.epsilon = 0.01}};
  const std::vector<double> y{1.03};  // h(3)
  std::vector<double> out(1);
  CHECK(head.size(4) == 4);
  CHECK(head.value<double>(y) == close(3.0));
  head.encode(8.0, out);
  CHECK(out[0] == close(2.08));  // sqrt 9 - 1 + 0.08
  head.bootstrap<double>(y, 2.0, 2.0 / 3, out);
  CHECK(out[0] == close(std::sqrt(5.0) - 1 + 0.04));  // h(2 + 2/3 * 3)
  const std::vector<double> gone{poison};
  head.bootstrap<double>(gone, 8.0, 0.0, out);  // terminated: the next state isn't looked at
  CHECK(out[0] == close(2.08));
}

TEST_CASE("a rescaled head: classification of h of the return, and its gradient", "[heads][rescaling][gradient]") {
  const TwoHot atoms{.atoms = 5, .min = -2, .max = 2};
  const RescaledValue head{atoms};
  std::vector<double> target(5), plain(5);
  head.encode(3.0, target);
  atoms.encode(head.scale(3.0), plain);
  CHECK(target == plain);
  // As logits, the target's own value is the return again.
  std::vector<double> logits(5);
  for (std::size_t k = 0; k < 5; ++k) logits[k] = std::log((std::max)(target[k], 1e-300));
  CHECK(head.value<double>(logits) == close(3.0, 1e-9));
  const std::vector<double> y{0.1, -0.4, 0.3, 1, -2};
  std::vector<double> dy(5, 0.0);
  head.loss<double>(y, target, dy);
  CHECK(gradient_matches(
      [&](std::span<const double> at) {
        std::vector<double> d(5, 0.0);
        return head.loss<double>(at, target, d);
      },
      y, dy));
}

TEST_CASE("a rescaled head: bad input", "[heads][rescaling][errors]") {
  const RescaledValue head{ScalarHead{}};
  std::vector<double> out(1), two(2);
  CHECK_THROWS_AS(head.encode(poison, out), Error);
  CHECK_THROWS_AS(head.encode(1.0, two), Error);
  const std::vector<double> y{1.0}, bad{poison};
  CHECK_THROWS_AS(head.bootstrap<double>(y, 1.0, 1.5, out), Error);
  CHECK_THROWS_AS(head.bootstrap<double>(bad, 1.0, 0.5, out), Error);
  CHECK_THROWS_AS((RescaledValue{ScalarHead{}, ValueRescaling{.epsilon = 0}}.encode(1.0, out)), Error);
}
