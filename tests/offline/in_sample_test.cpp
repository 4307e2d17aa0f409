// Operators that look at logged actions only, weights of advantages, and the best of N: offline.md 00.
#include "valence/offline/in_sample.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/offline/advantage_weights.hpp"
#include "valence/offline/best_of_n.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

std::span<const double> in(const Numbers& x) { return x; }

void same(std::span<const double> seen, const Numbers& expected, double tolerance = 1e-12) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}

using Operator = std::function<double(std::span<const double> q, std::span<const double> mu)>;

/// The spec's MDP of three states, to the fixed point. `unlogged`: the reward of (s2, a1), which was never logged.
Numbers fixed_point(const Operator& value, double unlogged) {
  const Numbers counts{6, 2, 1, 3, 4, 0};
  Numbers v(3);
  for (int sweep = 0; sweep < 2000; ++sweep) {
    const Numbers q{0.9 * v[1], 0.5 + 0.9 * v[2], 1, 0.9 * v[0], 0, unlogged};
    for (std::size_t s = 0; s < 3; ++s) v[s] = value(in(q).subspan(2 * s, 2), in(counts).subspan(2 * s, 2));
  }
  return v;
}
Operator expectile(double tau) {
  return [tau](auto q, auto mu) { return in_sample_expectile(q, mu, tau); };
}

Numbers best(const Numbers& pi, const Numbers& q, std::size_t n) {
  Numbers out(pi.size(), poison);
  best_of_n(in(pi), q, n, out);
  return out;
}
double dot(const Numbers& a, const Numbers& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
double kl(const Numbers& p, const Numbers& q) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += p[i] * std::log(p[i] / q[i]);
  return sum;
}

}  // namespace

TEST_CASE("In-sample operators on three states never read what wasn't logged") {
  const Operator largest = [](auto q, auto mu) { return in_sample_max(q, mu); };
  const Operator one_step = [](auto q, auto mu) { return one_step_value(q, mu); };
  const Operator soft = [](auto q, auto mu) { return in_sample_soft(q, mu, 0.1); };
  const Operator anchored = [](auto q, auto mu) { return in_sample_kl(q, mu, 0.1); };
  for (const double unlogged : {5.0, -1e9, poison}) {
    CAPTURE(unlogged);
    same(fixed_point(largest, unlogged), {0.9, 1, 0}, 1e-12);
    same(fixed_point(one_step, unlogged), {0.539609644087, 0.614236509759, 0}, 1e-11);
    same(fixed_point(expectile(0.7), unlogged), {0.676887098870, 0.780174093803, 0}, 1e-11);
    same(fixed_point(expectile(0.9), unlogged), {0.831021857317, 0.936979917896, 0}, 1e-11);
    same(fixed_point(expectile(0.999), unlogged), {0.899353204390, 0.999429394862, 0}, 1e-11);
    same(fixed_point(soft, unlogged), {0.915903519912, 1.015921028500, 0}, 1e-11);
    same(fixed_point(anchored, unlogged), {0.759053845930, 0.873255300567, 0}, 1e-11);
  }
}

TEST_CASE("Expectiles: numbers, weights, identities") {
  const Numbers x{0, 1, 2, 10}, ones(4, 1.0);
  const double tau[5] = {0.5, 0.7, 0.9, 0.99, 0.999};
  const double expected[5] = {3.25, 4.9375, 7.75, 9.735294117647058, 9.973053892215570};
  for (int i = 0; i < 5; ++i) CHECK(in_sample_expectile(in(x), ones, tau[i]) == close(expected[i], 1e-14));
  const Numbers y{1, 3, 4}, w{0.2, 0.5, 0.3};
  CHECK(in_sample_expectile(in(y), w, 0.8) == close(3.421052631578947, 1e-14));

  Rng rng{5};
  for (int trial = 0; trial < 200; ++trial) {
    const auto n = static_cast<std::size_t>(1 + trial % 9);
    Numbers q(n), mu(n), moved(n), negated(n);
    for (std::size_t i = 0; i < n; ++i) {
      q[i] = rng.normal() * 3, mu[i] = i > 0 && i % 4 == 0 ? 0 : rng.uniform() + 0.01;
      moved[i] = q[i] + 17, negated[i] = -q[i];
    }
    double last = -1e9;
    for (const double t : {0.001, 0.2, 0.5, 0.8, 0.999}) {
      const double m = in_sample_expectile(in(q), mu, t);
      double balance = 0, scale = 0;
      for (std::size_t i = 0; i < n; ++i) {
        balance += mu[i] * (q[i] < m ? 1 - t : t) * (q[i] - m);
        scale += mu[i] * std::abs(q[i] - m);
      }
      CHECK(balance == close(0.0, 0, 1e-13 * (1 + scale)));
      CHECK(m >= last - 1e-12);
      last = m;
      CHECK(in_sample_expectile(in(moved), mu, t) == close(m + 17, 1e-13));
      CHECK(in_sample_expectile(in(negated), mu, 1 - t) == close(-m, 1e-11, 1e-12));
    }
    CHECK(in_sample_expectile(in(q), mu, 0.5) == close(one_step_value(in(q), mu), 1e-12, 1e-13));
    CHECK(in_sample_expectile(in(q), mu, 1 - 1e-12) == close(in_sample_max(in(q), mu), 1e-9, 1e-9));
    // The order that the header promises.
    CHECK(in_sample_kl(in(q), mu, 0.3) <= in_sample_max(in(q), mu) + 1e-12);
    CHECK(in_sample_soft(in(q), mu, 0.3) >= in_sample_max(in(q), mu));
    CHECK(in_sample_kl(in(q), mu, 1e-6) == close(in_sample_max(in(q), mu), 1e-4, 1e-4));
    CHECK(in_sample_kl(in(q), mu, 1e7) == close(one_step_value(in(q), mu), 1e-6, 1e-5));
  }
}

TEST_CASE("A state without logged actions is refused, and other bad input") {
  const Numbers q{1, 2}, none{0, 0}, negative{1, -1}, mu{1, 2}, bad{poison, 2};
  CHECK(says(message_of([&] { in_sample_max(in(q), none); }), "in_sample_max", "none of the 2"));
  CHECK(says(message_of([&] { in_sample_soft(in(q), none, 1); }), "in_sample_soft", "none"));
  CHECK(says(message_of([&] { one_step_value(in(q), negative); }), "mu[1]"));
  CHECK(says(message_of([&] { in_sample_kl(in(bad), mu, 1); }), "q[0]", "nan"));
  CHECK(says(message_of([&] { in_sample_kl(in(q), mu, 0); }), "temperature"));
  CHECK(says(message_of([&] { in_sample_soft(in(q), mu, -1); }), "temperature"));
  CHECK(says(message_of([&] { in_sample_expectile(in(q), mu, 1); }), "tau"));
  CHECK(says(message_of([&] { in_sample_max(in(q), in(mu).first(1)); }), "mu has 1"));
  const std::vector<float> qf{700, -700}, muf{1, 3};
  CHECK(in_sample_soft(std::span(qf), muf, 0.01) == 700);
  CHECK(in_sample_expectile(std::span(qf), muf, 0.5) == -350);
}

TEST_CASE("Weights of advantages: exponential, binary, self-normalised") {
  const Numbers a{-1, 0, 0.5, 5};
  Numbers w(4);
  ExponentialWeights{.beta = 2, .max_weight = 100}(in(a), w);
  same(w, {0.135335283237, 1, 2.718281828459, 100}, 1e-11);
  SelfNormalizedWeights{.beta = 2}(in(a), w);
  same(w, {6.143137587165e-06, 4.539198825501e-05, 1.233882168312e-04, 0.9998250766573}, 1e-12);
  CHECK(w[0] == close(6.143137587165e-06));
  BinaryWeights{}(in(a), w);
  same(w, {0, 0, 1, 1});
  BinaryWeights{.threshold = -0.5}(in(a), w);
  same(w, {0, 1, 1, 1});

  const Numbers b{0.5, -1, 2};  // baseline.md
  Numbers v(3);
  ExponentialWeights{.beta = 1, .max_weight = 20}(in(b), v);
  same(v, {1.6487212707, 0.367879441171, 7.389056098931}, 1e-10);

  const Numbers extreme{-1e5, 1e5, 0};
  ExponentialWeights{}(in(extreme), v);
  same(v, {0, 100, 1});
  SelfNormalizedWeights{}(in(extreme), v);
  same(v, {0, 1, 0});
  constexpr double none = std::numeric_limits<double>::infinity();
  v = {7, 7, 7};
  CHECK(
      says(message_of([&] { ExponentialWeights{.max_weight = none}(in(extreme), v); }), "advantages[1]", "overflows"));
  CHECK(says(message_of([&] { ExponentialWeights{.beta = -1}(in(b), v); }), "beta"));
  CHECK(says(message_of([&] { ExponentialWeights{.max_weight = 0}(in(b), v); }), "max_weight"));
  const Numbers bad{0, poison, 1};
  CHECK(says(message_of([&] { ExponentialWeights{}(in(bad), v); }), "advantages[1]", "nan"));
  CHECK(says(message_of([&] { BinaryWeights{}(in(bad), v); }), "advantages[1]"));
  CHECK(says(message_of([&] { SelfNormalizedWeights{}(in(bad), v); }), "advantages[1]"));
  same(v, {7, 7, 7});
  v = b;
  ExponentialWeights{.beta = 1}(in(v), v);  // in place
  CHECK(v[0] == close(1.6487212707, 1e-10));
}

TEST_CASE("The best of N, exactly") {
  const Numbers pi{0.1, 0.2, 0.3, 0.4}, q{3, 1, 2, 0};
  same(best(pi, q, 1), pi, 1e-15);
  same(best(pi, q, 2), {0.19, 0.20, 0.45, 0.16}, 1e-14);
  same(best(pi, q, 4), {0.3439, 0.104, 0.5265, 0.0256}, 1e-14);
  CHECK(dot(best(pi, q, 2), q) == close(1.67));
  CHECK(dot(best(pi, q, 4), q) == close(2.1887));
  CHECK(dot(best(pi, q, 16), q) == close(2.814415440627));
  const double divergence[3] = {0.157805019922, 0.582539025895, 1.617670136094};
  const double bound[3] = {0.193147180560, 0.636294361120, 1.835088722238};
  const std::size_t n[3] = {2, 4, 16};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(kl(best(pi, q, n[i]), pi) == close(divergence[i], 1e-11));
    CHECK(best_of_n_kl_bound(n[i]) == close(bound[i], 1e-11));
  }
  same(best(pi, {1, 1, 0, 0}, 3), {0.219, 0.438, 0.147, 0.196}, 1e-14);
  CHECK(best(pi, q, 64)[3] == close(std::pow(0.4, 64), 1e-12));  // relative precision of what hardly happens
  same(best({0, 0.5, 0.5}, {poison, 1, 2}, 2), {0, 0.25, 0.75}, 1e-15);
  same(best({1e-12, 1 - 1e-12}, {1, 0}, 3), {3e-12, 1 - 3e-12}, 1e-15);
  CHECK(best({1e-12, 1 - 1e-12}, {1, 0}, 3)[0] == close(3e-12, 1e-11));

  CHECK(says(message_of([&] { best(pi, q, 0); }), "best_of_n", "n is 0"));
  CHECK(says(message_of([&] { best({0.5, 0.4}, {1, 2}, 2); }), "pi sums"));
  CHECK(says(message_of([&] { best({0.5, 0.5}, {1, poison}, 2); }), "q[1]"));
  CHECK_THROWS_AS(best_of_n_kl_bound(0), Error);
}

TEST_CASE("The best of N, sampled: ties to the first, and the exact law") {
  int next = 0;
  const double value[4] = {1, 3, 3, 2};
  const auto chosen = best_of_n([&] { return next++; }, [&](int a) { return value[a]; }, 4);
  CHECK((chosen.action == 1 && chosen.value == 3 && next == 4));
  CHECK(says(message_of([] { best_of_n([] { return 0; }, [](int) { return poison; }, 2); }), "draw 0", "nan"));
  CHECK(says(message_of([] { best_of_n([] { return 0; }, [](int) { return 1.0; }, 0); }), "n is 0"));

  const Numbers pi{0.1, 0.2, 0.3, 0.4}, q{3, 1, 2, 0}, exact = best(pi, q, 4);
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    Rng rng{seed};
    Numbers counts(4);
    const int trials = 20'000;
    for (int t = 0; t < trials; ++t) {
      const auto draw = [&] {
        const double u = rng.uniform();
        return u < 0.1 ? 0 : u < 0.3 ? 1 : u < 0.6 ? 2 : 3;
      };
      ++counts[static_cast<std::size_t>(best_of_n(
                                            draw, [&](int a) { return q[static_cast<std::size_t>(a)]; }, 4)
                                            .action)];
    }
    for (std::size_t a = 0; a < 4; ++a)  // six standard errors
      CHECK(std::abs(counts[a] / trials - exact[a]) < 6 * std::sqrt(exact[a] * (1 - exact[a]) / trials));
  }
}

TEST_CASE("Nothing here allocates") {
  const Numbers q{3, 1, 2, 0}, pi{0.1, 0.2, 0.3, 0.4};
  Numbers out(4);
  const test::Allocations allocations;
  best_of_n(in(pi), q, 5, out);
  const double sum = in_sample_expectile(in(q), pi, 0.9) + in_sample_soft(in(q), pi, 0.1);
  SelfNormalizedWeights{}(in(q), out);
  CHECK(allocations.count() == 0);
  CHECK(std::isfinite(sum));
}
