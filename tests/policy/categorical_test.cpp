// The categorical law: the specification's numbers, derivatives, masks, and extreme logits.
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "support/goodness.hpp"
#include "valence/core/random.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/concepts.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::chi_square_test;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;
using Span = std::span<const double>;

namespace {

using valence::test::close;

static_assert(ActionDistribution<Softmax> && HasEntropy<Softmax> && HasKl<Softmax> && !Reparameterised<Softmax>);

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr Softmax four{.actions = 4}, three{.actions = 3};

// A1 of the base.
const Numbers golden_z{0.5, -1, 2, 0};
const Numbers golden_p{0.158444709514980, 0.0353537934087489, 0.710099922886174, 0.0961015741900972};

Span row(const Numbers& z) { return z; }

void same(const Numbers& seen, const Numbers& expected, double tolerance = 1e-13) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}

Numbers probabilities(const Softmax& law, const Numbers& z, ActionMask mask = {}) {
  Numbers p(z.size(), -1);
  law.probabilities(row(z), p, mask);
  return p;
}
Numbers score(const Softmax& law, const Numbers& z, int a, ActionMask mask = {}) {
  Numbers dz(z.size());
  law.log_prob(row(z), a, 1, dz, mask);
  return dz;
}
Numbers entropy_gradient(const Softmax& law, const Numbers& z, ActionMask mask = {}) {
  Numbers dz(z.size());
  law.entropy(row(z), 1, dz, mask);
  return dz;
}

}  // namespace

TEST_CASE("softmax: the specification's numbers") {
  same(probabilities(four, golden_z), golden_p);
  const Numbers lp{-1.84234958238982, -3.34234958238982, -0.342349582389822, -2.34234958238982};
  for (int a = 0; a < 4; ++a) CHECK(four.log_prob(row(golden_z), a) == close(lp[static_cast<std::size_t>(a)], 1e-13));
  CHECK(four.entropy(row(golden_z)) == close(0.878281175268733, 1e-13));
  same(entropy_gradient(four, golden_z),
       {0.152751538718870, 0.0871141654103839, -0.380564982775579, 0.140699278646325});
  CHECK(four.mode(row(golden_z)) == 2);
  // A4: REINFORCE with an entropy bonus, in one gradient: advantage 1.5, action 2, coefficient 0.01.
  Numbers dz(4);
  double loss = -1.5 * four.log_prob(row(golden_z), 2, -1.5, dz);
  loss -= 0.01 * four.entropy(row(golden_z), -0.01, dz);
  CHECK(loss == close(0.504741561832046, 1e-13));
  same(dz, {0.236139548885281, 0.0521595484590195, -0.431044465842983, 0.142745368498683});
}

TEST_CASE("softmax: float agrees with double") {
  const std::vector<float> z{0.5F, -1, 2, 0};
  std::vector<float> dz(4);
  const std::span<const float> y(z);
  CHECK(static_cast<double>(four.log_prob(y, 3, 2.0F, dz)) == close(-2.34234958238982, 1e-6));
  const Numbers expected = score(four, golden_z, 3);
  for (std::size_t i = 0; i < 4; ++i) CHECK(static_cast<double>(dz[i]) == close(2 * expected[i], 1e-6));
  CHECK(static_cast<double>(four.entropy(y)) == close(0.878281175268733, 1e-6));
}

TEST_CASE("softmax: derivatives are those of the values") {
  const Numbers z{0.3, -1.2, 0.9, 2.1}, other{1.1, 0.2, -0.7, 0.4};
  for (int a = 0; a < 4; ++a)
    CHECK(gradient_matches([&](Span x) { return four.log_prob(x, a); }, z, score(four, z, a)));
  CHECK(gradient_matches([&](Span x) { return four.entropy(x); }, z, entropy_gradient(four, z)));
  Numbers dz(4), d_other(4);
  const double kl = four.kl(row(z), row(other), 1, dz, d_other);
  CHECK(kl == close(four.kl(row(z), row(other)), 1e-15));
  CHECK(gradient_matches([&](Span x) { return four.kl(x, other); }, z, dz));
  CHECK(gradient_matches([&](Span x) { return four.kl(row(z), x); }, other, d_other));
  const Numbers p = probabilities(four, z), q = probabilities(four, other);
  for (std::size_t i = 0; i < 4; ++i) CHECK(d_other[i] == close(q[i] - p[i], 1e-14));
}

TEST_CASE("softmax: gradients are scaled, added, and go to one side where asked") {
  const Numbers z{0.3, -1.2, 0.9, 2.1}, other{1.1, 0.2, -0.7, 0.4};
  Numbers dz{1, 2, 3, 4}, only(4), both(4), rest(4);
  four.log_prob(row(z), 1, -0.5, dz);
  const Numbers s = score(four, z, 1);
  for (std::size_t i = 0; i < 4; ++i) CHECK(dz[i] == close(static_cast<double>(i + 1) - 0.5 * s[i], 1e-14));
  four.kl(row(z), row(other), 0.7, {}, only);
  four.kl(row(z), row(other), 0.7, rest, both);
  CHECK(only == both);
}

TEST_CASE("softmax: the score has mean 0, and its covariance is the Fisher information") {
  const Numbers z{0.3, -1.2, 0.9, 2.1}, p = probabilities(four, z), v{0.4, -1, 2, 0.3};
  Numbers mean(4), product(4), fisher(4);
  for (int a = 0; a < 4; ++a) {
    const Numbers s = score(four, z, a);
    double along = 0;
    for (std::size_t i = 0; i < 4; ++i) along += s[i] * v[i];
    for (std::size_t i = 0; i < 4; ++i) {
      mean[i] += p[static_cast<std::size_t>(a)] * s[i];
      product[i] += p[static_cast<std::size_t>(a)] * s[i] * along;
    }
  }
  four.fisher_product(row(z), row(v), 1, fisher);
  same(mean, Numbers(4), 1e-15);
  same(fisher, product, 1e-15);
}

TEST_CASE("softmax: only differences of logits count, and +-700 is fine") {
  const Numbers moved{700.5, 699, 702, 700};
  same(probabilities(four, moved), golden_p, 1e-12);
  CHECK(four.entropy(row(moved)) == close(0.878281175268733, 1e-12));
  const Numbers apart{700, -700, 0, 699};
  CHECK(four.log_prob(row(apart), 1) == close(-1400 - std::log1p(std::exp(-1.0)), 1e-15));
  for (const double x : score(four, apart, 1)) CHECK(std::isfinite(x));
  for (const double x : entropy_gradient(four, apart)) CHECK(std::isfinite(x));
  CHECK(four.kl(row({700, -700, 0, 0}), row({-700, 700, 1, 1})) == close(1400, 1e-14));
  Numbers dz(4), d_other(4);
  four.kl(row({700, -700, 0, 0}), row({-700, 700, 1, 1}), 1, dz, d_other);
  same(d_other, {-1, 1, 0, 0}, 1e-15);
  same(dz, Numbers(4), 1e-15);
}

TEST_CASE("softmax: KL's first argument is the sampling side", "[P20]") {
  const Softmax two{};
  const Numbers p{0, 0}, q{std::log(0.9), std::log(0.1)};
  CHECK(two.kl(row(p), row(q)) == close(0.510825623765991, 1e-14));
  CHECK(two.kl(row(q), row(p)) == close(0.368064207168497, 1e-14));
}

TEST_CASE("softmax: masked actions are impossible, not unlikely", "[G22][G23]") {
  SECTION("entropy and gradients of a masked action") {
    constexpr bool mask[3] = {true, true, false};
    for (const double hidden : {-infinity, 0.0, poison}) {
      const Numbers z{0, 0, hidden};
      const ActionMask m = std::isinf(hidden) ? ActionMask{} : ActionMask{mask};
      CHECK(three.entropy(row(z), m) == close(0.693147180559945, 1e-14));
      CHECK(probabilities(three, z, m) == Numbers{0.5, 0.5, 0});
      CHECK(score(three, z, 0, m) == Numbers{0.5, -0.5, 0});
      same(entropy_gradient(three, z, m), {0, 0, 0}, 1e-16);
      CHECK(entropy_gradient(three, z, m)[2] == 0);
      CHECK(three.log_prob(row(z), 2, m) == -infinity);
      CHECK(says(message_of([&] { score(three, z, 2, m); }), "action 2", "masked"));
      Numbers dz(3), d_other(3);
      CHECK(three.kl(row(z), row({1, 0, hidden}), 1, dz, d_other, m) > 0);
      CHECK((std::isfinite(dz[0]) && dz[2] == 0 && d_other[2] == 0));
    }
  }
  SECTION("a gradient where nothing was masked is not touched at masked places") {
    constexpr bool mask[3] = {false, true, true};
    Numbers dz{poison, 0, 0};
    three.log_prob(row({5, 1, 2}), 1, 1, dz, mask);
    three.entropy(row({5, 1, 2}), 1, dz, mask);
    CHECK(std::isnan(dz[0]));
    CHECK(std::isfinite(dz[1] + dz[2]));
  }
  SECTION("never drawn, however unlikely the others are") {
    constexpr bool mask[3] = {false, true, true};
    const Numbers z{1e8, -1e8, -1e8 + 1};
    Rng rng{11};
    int count[3] = {};
    for (int k = 0; k < 10'000'000; ++k) ++count[three.sample(row(z), rng, mask)];
    CHECK(count[0] == 0);
    CHECK(count[2] / 1e7 == close(1 / (1 + std::exp(-1.0)), 0, 1e-3));
    CHECK(three.mode(row(z), mask) == 2);
  }
  SECTION("masks do not accumulate") {
    constexpr bool first[3] = {true, false, true}, second[3] = {true, true, false};
    const Numbers z{0.4, -1, 2};
    probabilities(three, z, first);
    const Numbers p = probabilities(three, z, second);
    CHECK(p[0] + p[1] == close(1, 1e-15));
    CHECK(p[1] == close(1 / (1 + std::exp(1.4)), 1e-14));
  }
  SECTION("nothing possible, sizes") {
    constexpr bool none[3] = {false, false, false}, two[2] = {true, true};
    CHECK(says(message_of([&] { three.entropy(row({0, 0, 0}), none); }), "Softmax::entropy", "no possible action"));
    CHECK(says(message_of([&] { three.entropy(row({-infinity, -infinity, -infinity})); }), "no possible action"));
    CHECK(says(message_of([&] { three.entropy(row({0, 0, 0}), two); }), "mask has 2", "expected 3"));
  }
}

TEST_CASE("softmax: an action that only one of two laws can take") {
  CHECK(three.kl(row({0, 0, -infinity}), row({0, 0, 0})) == close(std::log(1.5), 1e-14));
  CHECK(three.kl(row({0, 0, 0}), row({0, 0, -infinity})) == infinity);
  Numbers dz(3);
  CHECK(says(message_of([&] { three.kl(row({0, 0, 0}), row({0, 0, -infinity}), 1, dz); }), "no gradient"));
  CHECK(dz == Numbers(3));
}

TEST_CASE("softmax: draws follow the probabilities, one output each") {
  for (const int seed : {1, 2, 3}) {
    Rng rng{seed};
    Numbers counts(4);
    for (int k = 0; k < 200'000; ++k) ++counts[static_cast<std::size_t>(four.sample(row(golden_z), rng))];
    CHECK(rng.position() == 200'000);
    CHECK(chi_square_test(counts, golden_p) > 1e-6);
  }
}

TEST_CASE("softmax: bad input names what is wrong and changes nothing") {
  Numbers dz(4, 7.0);
  CHECK(says(message_of([&] { four.log_prob(row({0, poison, 0, 0}), 0, 1, dz); }), "z[1] is nan"));
  CHECK(says(message_of([&] { four.log_prob(row({0, 0, infinity, 0}), 0, 1, dz); }), "z[2] is inf"));
  CHECK(says(message_of([&] { four.log_prob(row(golden_z), 4, 1, dz); }), "action is 4", "[0, 3]"));
  CHECK(says(message_of([&] { four.log_prob(row(golden_z), -1, 1, dz); }), "action is -1"));
  CHECK(says(message_of([&] { four.log_prob(row({0, 0}), 0, 1, dz); }), "z has 2", "expected 4"));
  CHECK(says(message_of([&] { four.kl(row(golden_z), row({0, 0}), 1, dz); }), "z_q has 2"));
  CHECK(says(message_of([&] { Softmax{.actions = 0}.entropy(row({})); }), "actions is 0"));
  CHECK(dz == Numbers(4, 7.0));
}

TEST_CASE("softmax: batches are their columns, and nothing allocates") {
  const Numbers z{0.5, -1, 2, 0, 1, 1, -3, 0.25};
  const Outputs<double> y(z.data(), 4, 2);
  std::vector<int> actions(2), expected(2);
  Numbers out(2), grad(8), by_column(8);
  const Numbers w{-1.5, 0.25};
  const OutputsGradient<double> dy(grad.data(), 4, 2);
  Rng rng{5}, again{5};
  Allocations allocations;
  sample_columns(four, y, rng, std::span<int>(actions));
  log_prob_columns(four, y, std::span<const int>(actions), out);
  pullback_log_prob_columns(four, y, std::span<const int>(actions), w, dy);
  four.kl(row(z).first(4), row(z).last(4), 1, std::span(by_column).first(4));
  CHECK(allocations.count() == 0);
  by_column.assign(8, 0);
  for (std::size_t j = 0; j < 2; ++j) {
    expected[j] = four.sample(row(z).subspan(4 * j, 4), again);
    CHECK(out[j] == four.log_prob(row(z).subspan(4 * j, 4), expected[j]));
    four.log_prob(row(z).subspan(4 * j, 4), expected[j], w[j], std::span(by_column).subspan(4 * j, 4));
  }
  CHECK(actions == expected);
  CHECK(grad == by_column);
}
