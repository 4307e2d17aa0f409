// Leave-one-out and group-normalised advantages: policy_gradient.md A8, and the faults that others shipped.
#include "valence/policy_gradient/group_baselines.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/policy/categorical.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

std::span<const double> in(const Numbers& x) { return x; }

void same(const Numbers& seen, const Numbers& expected, double tolerance = 1e-13) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}

Numbers rloo_of(const Numbers& r, std::size_t k) {
  Numbers a(r.size(), poison);
  rloo(in(r), k, a);
  return a;
}
Numbers grpo_of(const Numbers& r, std::size_t k, const GrpoOptions& options = {}) {
  Numbers a(r.size(), poison);
  grpo(in(r), k, a, options);
  return a;
}

}  // namespace

TEST_CASE("A8: RLOO, GRPO with either deviation, Dr. GRPO") {
  const Numbers r{1, 0, 2, 5};
  same(rloo_of(r, 4), {-4.0 / 3, -8.0 / 3, 0, 4});
  same(grpo_of(r, 4), {-0.534522480967706, -1.06904496193541, 0, 1.60356744290312});
  same(grpo_of(r, 4, {.deviation = GroupDeviation::sample}),
       {-0.462910047743419, -0.925820095486837, 0, 1.38873014323026});
  same(grpo_of(r, 4, {.deviation = GroupDeviation::none}), {-1, -2, 0, 3});
  // TRL's: (r - mean) / (std + 1e-4), divided by k - 1; std^2 = 14 / 3.
  const double trl = std::sqrt(14.0 / 3) + 1e-4;
  same(grpo_of(r, 4, {.deviation = GroupDeviation::sample, .epsilon = 1e-4}), {-1 / trl, -2 / trl, 0, 3 / trl});
}

TEST_CASE("Each group is normalised by itself", "[G3]") {
  const Numbers r{0, 0, 1, 1, 10, 10, 11, 11};
  for (const auto& a : {rloo_of(r, 4), grpo_of(r, 4)}) {
    for (std::size_t i = 0; i < 4; ++i) CHECK(a[i] == a[i + 4]);
    CHECK(a[0] + a[1] + a[2] + a[3] == 0);
    CHECK(a[3] > 0.5);
  }
  CHECK(rloo_of(r, 8)[0] != rloo_of(r, 4)[0]);
}

TEST_CASE("Equal rewards give exact zeros, and rounding isn't amplified", "[G1][G4]") {
  const std::vector<float> equal(7, 0.35F);
  std::vector<float> a(7, 9);
  rloo(std::span(equal), 7, a);
  for (const float x : a) CHECK(x == 0);
  grpo(std::span(equal), 7, a);
  for (const float x : a) CHECK(x == 0);

  std::vector<float> odd(8, 0.35F), b(8);
  odd[7] = 0;
  rloo(std::span<const float>(odd), 8, b);
  CHECK(b[7] == -0.35F);
  CHECK(b[0] == 0.05F);
  same(grpo_of({3}, 1), {0});
  same(grpo_of({3}, 1, {.deviation = GroupDeviation::sample}), {0});
  same(grpo_of({2, 2, 7, 7}, 2), {0, 0, 0, 0});
  same(grpo_of({1e10 + 1, 1e10, 1e10 + 2, 1e10 + 5}, 4), grpo_of({1, 0, 2, 5}, 4));
}

TEST_CASE("A bad reward is named before anything changes", "[G5]") {
  Numbers r(8, poison), a(8, 4.0);
  r[7] = 1;
  CHECK(says(message_of([&] { rloo(in(r), 8, a); }), "rloo", "rewards[0]", "nan"));
  CHECK(says(message_of([&] { grpo(in(r), 8, a); }), "grpo", "rewards[0]", "nan"));
  const Numbers big{1, 1e300, 2, 3};
  CHECK(says(message_of([&] { rloo_of(big, 2); }), "rewards[1]"));
  CHECK(says(message_of([&] { rloo_of({1, 2}, 1); }), "group_size is 1"));
  CHECK(says(message_of([&] { rloo_of({1, 2, 3}, 2); }), "3 entries", "multiple of the 2"));
  CHECK(says(message_of([&] { grpo_of({}, 2); }), "empty"));
  CHECK(says(message_of([&] { grpo_of({1, 2}, 2, {.epsilon = 0}); }), "epsilon"));
  CHECK(says(message_of([&] { rloo(in(big), 2, std::span(a).first(3)); }), "advantages has 3"));
  for (const double x : a) CHECK(x == 4);
}

TEST_CASE("Leave-one-out keeps the expected gradient, a group's own mean shrinks it") {
  // All pairs of answers, enumerated: E sum_i A_i score_i / 2 = dJ for RLOO, and half of it for r - mean.
  const Numbers z{0.5, -1, 2, 0}, r{1, 0, 2, -1};
  const Numbers exact{-0.0764563824684431, -0.0524135182733022, 0.367446189219766, -0.238576288478021};
  const Softmax law{4};
  Numbers p(4), leave_one_out(4), own_mean(4);
  law.probabilities(in(z), p);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const auto s = static_cast<std::size_t>(i), t = static_cast<std::size_t>(j);
      const Numbers pair{r[s], r[t]}, a = rloo_of(pair, 2), b = grpo_of(pair, 2, {.deviation = GroupDeviation::none});
      law.log_prob(in(z), i, p[s] * p[t] * a[0] / 2, leave_one_out);
      law.log_prob(in(z), j, p[s] * p[t] * a[1] / 2, leave_one_out);
      law.log_prob(in(z), i, p[s] * p[t] * b[0] / 2, own_mean);
      law.log_prob(in(z), j, p[s] * p[t] * b[1] / 2, own_mean);
    }
  same(leave_one_out, exact, 1e-14);
  for (std::size_t a = 0; a < 4; ++a) CHECK(own_mean[a] == close(exact[a] / 2));
}

TEST_CASE("In place, without allocation") {
  Numbers x{1, 0, 2, 5};
  const test::Allocations allocations;
  rloo(in(x), 4, x);
  CHECK(allocations.count() == 0);
  same(x, {-4.0 / 3, -8.0 / 3, 0, 4});
}
