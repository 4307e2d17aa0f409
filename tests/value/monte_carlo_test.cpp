// Monte Carlo estimates and eligibility traces: numbers by hand, and the identities between estimators.
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/value/monte_carlo.hpp"
#include "valence/value/traces.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

/// Two episodes: states 0, 1, 0 (rewards 1, 2, 4) and 1, 1 (8, 16), both terminated; ratios as given.
struct Episodes {
  Numbers reward{1, 2, 4, 8, 16};
  std::vector<int> state{0, 1, 0, 1, 1};
  std::array<bool, 5> terminated{false, false, true, false, true};
  Numbers ratio{};
  Steps<double> steps() const { return {.reward = reward, .terminated = terminated, .ratio = ratio}; }
  Numbers values(const MonteCarloOptions& options, double untouched = -7) const {
    Numbers v(3, untouched);
    monte_carlo_values(steps(), std::span<const int>(state), std::span<double>(v), options);
    return v;
  }
};

}  // namespace

TEST_CASE("first-visit and every-visit averages, by hand") {
  const Episodes e;
  // Returns at discount 1: 7, 6, 4 and 24, 16.
  CHECK(e.values({}) == Numbers{7, (6 + 24) / 2.0, -7});
  CHECK(e.values({.visits = Visits::every}) == Numbers{(7 + 4) / 2.0, (6 + 24 + 16) / 3.0, -7});
  // At 0.5: 3, 4, 4 and 16, 16.
  CHECK(e.values({.discount = 0.5}) == Numbers{3, 10, -7});
}

TEST_CASE("off-policy estimates: equal policies give the plain mean, weighted ones stay in range") {
  Episodes e;
  const Numbers plain = e.values({});
  e.ratio = {1, 1, 1, 1, 1};
  CHECK(e.values({}) == plain);
  CHECK(e.values({.importance = Importance::ordinary}) == plain);

  e.ratio = {2, 0.5, 3, 0.25, 1};  // products from each on: 3, 1.5, 3 and 0.25, 1
  Numbers products(5);
  importance_products(e.steps(), std::span<double>(products));
  CHECK(products == Numbers{3, 1.5, 3, 0.25, 1});
  importance_products(e.steps(), std::span<double>(products), true);
  CHECK(products == Numbers{1.5, 3, 1, 1, 1});
  CHECK(e.values({})[1] == close((1.5 * 6 + 0.25 * 24) / 1.75));
  CHECK(e.values({.importance = Importance::ordinary})[1] == close((1.5 * 6 + 0.25 * 24) / 2));
  CHECK(e.values({.visits = Visits::every, .importance = Importance::ordinary})[0] == close((3 * 7 + 3 * 4) / 2.0));
  CHECK(e.values({.of_actions = true})[1] == close((3 * 6 + 1 * 24) / 4.0));

  e.ratio = {0, 0.5, 0, 0.25, 1};  // no weight for state 0: left alone
  CHECK(e.values({})[0] == -7);
  CHECK(e.values({.importance = Importance::ordinary})[0] == 0);

  Rng rng{4};
  for (int k = 0; k < 200; ++k) {
    for (double& r : e.ratio) r = rng.exponential();
    const Numbers v = e.values({.visits = Visits::every});
    CHECK((v[0] >= 4 && v[0] <= 7));
    CHECK((v[1] >= 6 && v[1] <= 24));
  }
}

TEST_CASE("ordinary importance sampling is unbiased: all episodes of a small world, with their probabilities") {
  // Two steps, actions 0 and 1, reward 1 + 2 a_0 + 4 a_1 a_0: mu(1) = 0.3, pi(1) = 0.8, exactly.
  double ordinary = 0, expected = 0;
  for (const int a : {0, 1})
    for (const int b : {0, 1}) {
      const auto p = [](int action, double one) { return action == 1 ? one : 1 - one; };
      Episodes e{.reward = {1.0 + 2 * a, 4.0 * a * b},
                 .state = {0, 1},
                 .ratio = {p(a, 0.8) / p(a, 0.3), p(b, 0.8) / p(b, 0.3)}};
      Numbers v(2);
      const std::array<bool, 2> terminated{false, true};
      monte_carlo_values(Steps<double>{.reward = e.reward, .terminated = terminated, .ratio = e.ratio},
                         std::span<const int>(e.state), std::span<double>(v), {.importance = Importance::ordinary});
      ordinary += p(a, 0.3) * p(b, 0.3) * v[0];
      expected += p(a, 0.8) * p(b, 0.8) * (e.reward[0] + e.reward[1]);
    }
  CHECK(ordinary == close(expected, 1e-14));
}

TEST_CASE("an episode that was truncated goes on with the value of its last state") {
  const Numbers reward{1, 2}, next{std::numeric_limits<double>::max() / 4, 10};
  const std::vector<int> state{0, 1};
  const std::array<bool, 2> truncated{false, true};
  Numbers v(2);
  monte_carlo_values(Steps<double>{.reward = reward, .next_value = next, .truncated = truncated},
                     std::span<const int>(state), std::span<double>(v), {.discount = 0.5});
  CHECK(v == Numbers{1 + 0.5 * 7, 2 + 0.5 * 10});
}

TEST_CASE("Monte Carlo: bad input throws and nothing changes") {
  Episodes e;
  Numbers v(2, 5.0);
  const auto run = [&] {
    return message_of([&] { monte_carlo_values(e.steps(), std::span<const int>(e.state), std::span<double>(v)); });
  };
  e.state[3] = 2;
  CHECK(says(run(), "keys[3] is 2"));
  e.state[3] = -1;
  CHECK(says(run(), "keys[3] is -1"));
  e.state[3] = 1;
  e.ratio = {1, 1, -1, 1, 1};
  CHECK(says(run(), "ratio[2] is -1"));
  e.ratio = {};
  e.terminated[4] = false;
  CHECK(says(run(), "ends no episode"));
  e.terminated[4] = true;
  e.reward[1] = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(run(), "reward[1] is nan"));
  CHECK(v == Numbers{5, 5});
}

TEST_CASE("traces accumulate, are replaced, decay, and are dropped") {
  Traces<double> z{4, 0.1};
  z.add(2, 1.0);
  z.add(2, 0.5);
  z.set(0, 1.0);
  CHECK(z.active() == 2);
  z.decay(0.5);
  CHECK((z[0] == 0.5 && z[1] == 0 && z[2] == 0.75 && z[3] == 0));
  z.set(2, 1.0);
  Numbers theta{1, 1, 1, 1};
  z.apply(std::span<double>(theta), 2.0);
  CHECK(theta == Numbers{2, 1, 3, 1});
  z.decay(0.2);  // 0.1 is dropped, 0.2 stays
  CHECK((z[0] == 0 && z[2] == 0.2 && z.active() == 1));
  z.add(2, -0.2);  // 0, but still listed: added again it must not be walked twice
  z.add(2, 1.0);
  z.decay(0.5);
  CHECK(z[2] == 0.5);
  Traces<double> copy{4, 0.1};
  from_bytes(to_bytes(z), copy);
  copy.clear();
  CHECK((copy.active() == 0 && copy[2] == 0 && z[2] == 0.5));
  CHECK(says(message_of([] { Traces<double>{3, -1.0}; }), "cutoff is -1"));
}
