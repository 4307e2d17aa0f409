// Divergences of probability vectors and of logits, their conjugates, and the sample estimators.
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/policy/divergences.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;
using Span = std::span<const double>;

namespace {

using valence::test::close;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double poison = std::numeric_limits<double>::quiet_NaN();

// A2 of the base: p = softmax(z), q = softmax(w).
const Numbers z{0.5, -1, 2, 0}, w{0, 0, 1, -1};

Span row(const Numbers& x) { return x; }

Numbers soft(const Numbers& x) {
  Numbers p(x.size());
  softmax(row(x), p);
  return p;
}
void same(const Numbers& seen, const Numbers& expected, double tolerance = 1e-13) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}
template <class D>
Numbers first_gradient(const D& d) {
  Numbers dz(4);
  logit_divergence(d, row(z), row(w), 1, dz);
  return dz;
}
template <class F>
void for_each_divergence(F&& f) {
  f("chi-square", ChiSquare{}), f("KL", KullbackLeibler{}), f("reverse KL", ReverseKullbackLeibler{});
  f("TV", TotalVariation{}), f("JS", JensenShannon{}), f("Hellinger", SquaredHellinger{});
}

}  // namespace

TEST_CASE("divergences: the specification's numbers", "[P20]") {
  const Numbers p = soft(z), q = soft(w);
  const auto check = [&](const auto& d, double expected) {
    CHECK(divergence(d, row(p), row(q)) == close(expected, 1e-12));
    CHECK(logit_divergence(d, row(z), row(w)) == close(expected, 1e-12));
  };
  check(KullbackLeibler{}, 0.134243851071636);
  check(ReverseKullbackLeibler{}, 0.207356040457081);
  check(ChiSquare{}, 0.205214593606674);
  check(TotalVariation{}, 0.199425363559235);
  check(JensenShannon{}, 0.0389719341753571);
  check(SquaredHellinger{}, 0.0407110664764003);
  CHECK(renyi_2(row(p), row(q)) == close(0.186657637067834, 1e-12));
  CHECK(logit_renyi_2(row(z), row(w)) == close(0.186657637067834, 1e-12));
  same(first_gradient(KullbackLeibler{}),
       {-0.0554667487170431, -0.0654069946372698, 0.106465239950727, 0.0144085034035856});
  same(first_gradient(ReverseKullbackLeibler{}),
       {-0.0381672237265021, -0.161258139832733, 0.175653277497651, 0.0237720860615839});
  same(first_gradient(ChiSquare{}), {-0.126546382514417, -0.0725035240866060, 0.175322576105951, 0.0237273304950715});
  CHECK(divergence(KullbackLeibler{}, row({0.5, 0.5}), row({0.9, 0.1})) == close(0.510825623765991, 1e-13));
  CHECK(divergence(KullbackLeibler{}, row({0.9, 0.1}), row({0.5, 0.5})) == close(0.368064207168497, 1e-13));
}

TEST_CASE("divergences: every value is the sum of q f(p / q)") {
  const Numbers p = soft(z), q = soft(w);
  for_each_divergence([&](const char* name, const auto& d) {
    CAPTURE(name);
    double sum = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      sum += q[i] * d.value(p[i] / q[i]);
      const auto term = d.term(std::log(p[i]), std::log(q[i]));
      CHECK(term.value == close(q[i] * d.value(p[i] / q[i]), 1e-12, 1e-15));
      CHECK(term.d_log_p == close(p[i] * d.derivative(p[i] / q[i]), 1e-12, 1e-15));
    }
    CHECK(divergence(d, row(p), row(q)) == close(sum, 1e-12));
    CHECK(d.value(1) == close(0, 0, 1e-16));
    CHECK(logit_divergence(d, row(z), row(z)) == close(0, 0, 1e-16));
  });
}

TEST_CASE("divergences: derivatives of f, of its conjugate, and Fenchel's equality") {
  for_each_divergence([](const char* name, const auto& d) {
    CAPTURE(name);
    for (const double x : {0.3, 0.8, 1.7, 4.0}) {
      const double at[] = {x}, slope[] = {d.derivative(x)};
      CHECK(gradient_matches([&](Span v) { return d.value(v[0]); }, at, slope));
      // The x that attains the conjugate at f'(x) is x itself (not at TV's pieces, where any does).
      const double y = d.derivative(x);
      CHECK(d.conjugate(y) + d.value(x) == close(x * y, 1e-12, 1e-15));
      if (std::abs(y) == 0.5 && d.value(2) == 0.5) continue;
      CHECK(d.conjugate_derivative(y) == close(x, 1e-12));
      const double of[] = {y}, curvature[] = {d.conjugate_curvature(y)};
      CHECK(gradient_matches([&](Span v) { return d.conjugate_derivative(v[0]); }, of, curvature,
                             {.relative = 1e-7, .step = 1e-4}));
    }
    for (const double y : {-3.0, -0.6, -0.1, 0.2})  // the conjugate is at least every x y - f(x)
      for (const double x : {0.01, 0.5, 1.0, 3.0, 20.0}) CHECK(d.conjugate(y) >= x * y - d.value(x) - 1e-14);
  });
  CHECK(TotalVariation{}.conjugate(0.3) == 0.3);
  CHECK(TotalVariation{}.conjugate(-0.7) == -0.5);
  CHECK(TotalVariation{}.conjugate_derivative(0.3) == 1);
  CHECK(TotalVariation{}.conjugate_derivative(-0.7) == 0);
  CHECK(TotalVariation{}.conjugate(0.6) == infinity);
  CHECK(ReverseKullbackLeibler{}.conjugate(0) == infinity);
  CHECK(JensenShannon{}.conjugate(0.4) == infinity);
  CHECK(SquaredHellinger{}.conjugate(0.6) == infinity);
  CHECK(ChiSquare{}.conjugate(-3) == -1);
  CHECK(ChiSquare{}.conjugate_derivative(-3) == 0);
}

TEST_CASE("divergences: gradients with respect to both logits") {
  for_each_divergence([](const char* name, const auto& d) {
    CAPTURE(name);
    Numbers dz{1, 1, 1, 1}, dw(4);
    logit_divergence(d, row(z), row(w), 1, dz, dw);
    for (double& x : dz) x -= 1;  // they were added
    CHECK(gradient_matches([&](Span x) { return logit_divergence(d, x, w); }, z, dz));
    CHECK(gradient_matches([&](Span x) { return logit_divergence(d, row(z), x); }, w, dw));
    Numbers only(4);
    logit_divergence(d, row(z), row(w), -0.5, {}, only);
    for (std::size_t i = 0; i < 4; ++i) CHECK(only[i] == close(-0.5 * dw[i], 1e-14));
  });
  Numbers dz(4), dw(4);
  logit_renyi_2(row(z), row(w), 1, dz, dw);
  CHECK(gradient_matches([&](Span x) { return logit_renyi_2(x, w); }, z, dz));
  CHECK(gradient_matches([&](Span x) { return logit_renyi_2(row(z), x); }, w, dw));
}

TEST_CASE("divergences: shift invariance and inequalities of random laws") {
  Rng rng{3};
  for (int k = 0; k < 200; ++k) {
    Numbers a(5), b(5), moved(5);
    const double scale = rng.uniform(0.01, 4);
    for (std::size_t i = 0; i < 5; ++i) {
      a[i] = scale * rng.normal(), b[i] = scale * rng.normal();
      moved[i] = a[i] + 600;
    }
    const double kl = logit_divergence(KullbackLeibler{}, row(a), row(b));
    const double chi2 = logit_divergence(ChiSquare{}, row(a), row(b));
    const double tv = logit_divergence(TotalVariation{}, row(a), row(b)), renyi = logit_renyi_2(row(a), row(b));
    const double h2 = logit_divergence(SquaredHellinger{}, row(a), row(b));
    const double js = logit_divergence(JensenShannon{}, row(a), row(b));
    CHECK(tv <= std::sqrt(kl / 2));
    CHECK(kl <= renyi);
    CHECK(renyi <= chi2);
    CHECK(2 * tv <= std::sqrt(chi2));
    CHECK((h2 <= tv && tv <= std::sqrt(2 * h2) && js <= std::log(2)));
    CHECK(renyi == close(std::log1p(chi2), 1e-10));
    CHECK(logit_divergence(ReverseKullbackLeibler{}, row(b), row(a)) == close(kl, 1e-10, 1e-14));
    CHECK(logit_divergence(JensenShannon{}, row(b), row(a)) == close(js, 1e-10, 1e-14));
    CHECK(logit_divergence(KullbackLeibler{}, row(moved), row(b)) == close(kl, 1e-9, 1e-12));
  }
}

TEST_CASE("divergences: logits of +-700") {
  const Numbers p{700, -700, 0}, q{-700, 700, 1};  // KL and Renyi are 1400 to 30 digits (mpmath)
  CHECK(logit_divergence(KullbackLeibler{}, row(p), row(q)) == close(1400, 1e-14));
  CHECK(logit_divergence(ReverseKullbackLeibler{}, row(p), row(q)) == close(1400, 1e-14));
  CHECK(logit_renyi_2(row(p), row(q)) == close(1400, 1e-14));
  CHECK(logit_divergence(TotalVariation{}, row(p), row(q)) == 1);
  CHECK(logit_divergence(SquaredHellinger{}, row(p), row(q)) == 1);
  CHECK(logit_divergence(JensenShannon{}, row(p), row(q)) == close(std::log(2), 1e-15));
  CHECK(logit_divergence(ChiSquare{}, row(p), row(q)) == infinity);  // exp(1400) - 1
  for_each_divergence([&](const char* name, const auto& d) {
    CAPTURE(name);
    Numbers dp(3), dq(3);
    if (!std::isfinite(logit_divergence(d, row(p), row(q)))) {
      CHECK(says(message_of([&] { logit_divergence(d, row(p), row(q), 1, dp); }), "no gradient"));
      return;
    }
    logit_divergence(d, row(p), row(q), 1, dp, dq);
    for (std::size_t i = 0; i < 3; ++i) CHECK(std::isfinite(dp[i] + dq[i]));
  });
  // A ratio whose exponential overflows where p / q times p does not.
  CHECK(logit_divergence(ChiSquare{}, row({0, -500}), row({0, -1000})) == close(1, 1e-12));
}

TEST_CASE("divergences: what only one of the two can do") {
  const Numbers p{0.5, 0.5, 0}, q{0.5, 0, 0.5};
  CHECK(divergence(KullbackLeibler{}, row(p), row(q)) == infinity);
  CHECK(divergence(ReverseKullbackLeibler{}, row(p), row(q)) == infinity);
  CHECK(divergence(ChiSquare{}, row(p), row(q)) == infinity);
  CHECK(renyi_2(row(p), row(q)) == infinity);
  CHECK(divergence(TotalVariation{}, row(p), row(q)) == close(0.5, 1e-15));
  CHECK(divergence(SquaredHellinger{}, row(p), row(q)) == close(0.5, 1e-15));
  CHECK(divergence(JensenShannon{}, row(p), row(q)) == close(std::log(2) / 2, 1e-15));
  const Numbers all{0.25, 0.5, 0.25};
  CHECK(divergence(KullbackLeibler{}, row(p), row(all)) == close(0.5 * std::log(2), 1e-14));
  CHECK(divergence(ChiSquare{}, row(p), row(all)) == close(0.5, 1e-14));
  CHECK(divergence(ReverseKullbackLeibler{}, row(all), row(p)) == close(0.5 * std::log(2), 1e-14));
}

TEST_CASE("divergences: masked logits are not read", "[G13][G22]") {
  constexpr bool mask[4] = {true, true, true, false};
  for_each_divergence([&](const char* name, const auto& d) {
    CAPTURE(name);
    const Numbers a{0.5, -1, 2, poison}, b{0, 0.3, 1, infinity};
    Numbers da(4), db(4), da3(3), db3(3);
    const double value = logit_divergence(d, row(a), row(b), 1, da, db, mask);
    CHECK(value == logit_divergence(d, row(a).first(3), row(b).first(3), 1, da3, db3));
    CHECK(value == logit_divergence(d, row(a), row(b), mask));
    da3.push_back(0), db3.push_back(0);
    CHECK(da == da3);
    CHECK(db == db3);
  });
}

TEST_CASE("sample estimators: numbers, and never negative", "[G8]") {
  const Numbers p = soft(z), q = soft(w);
  const Numbers k1{-0.215826207353377, -1.71582620735338, 0.284173792646623, 0.284173792646623};
  const Numbers k2{0.0232904758902713, 1.47202978692034, 0.0403773722135831, 0.0403773722135831};
  const Numbers k3{0.0250604959220884, 2.84544216824411, 0.0368096234129260, 0.0368096234129260};
  double mean1 = 0, mean2 = 0, mean3 = 0, square1 = 0, square3 = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const double l = std::log(q[i]) - std::log(p[i]);
    CHECK(kl_k1(l).value == close(k1[i], 1e-12));
    CHECK(kl_k2(l).value == close(k2[i], 1e-12));
    CHECK(kl_k3(l).value == close(k3[i], 1e-12));
    mean1 += p[i] * kl_k1(l).value, mean2 += p[i] * kl_k2(l).value, mean3 += p[i] * kl_k3(l).value;
    square1 += p[i] * std::pow(kl_k1(l).value, 2), square3 += p[i] * std::pow(kl_k3(l).value, 2);
  }
  CHECK(mean1 == close(0.134243851071636, 1e-12));
  CHECK(mean3 == close(0.134243851071636, 1e-12));
  CHECK(mean2 == close(0.0882843875918024, 1e-12));
  CHECK(square1 - mean1 * mean1 == close(0.158547363633061, 1e-12));
  CHECK(square3 - mean3 * mean3 == close(0.269413900179962, 1e-12));
  CHECK(kl_k3(0.5).value == close(0.148721270700128, 1e-14));
  CHECK(kl_k3(-0.5).value == close(0.106530659712633, 1e-14));
  CHECK(kl_k1(0.5).value == -0.5);
  CHECK(kl_k3(1e-9).value >= 0);
}

TEST_CASE("sample estimators as losses: k2 gives the gradient of KL(p, q), k3 that of the other direction") {
  const Numbers p = soft(z), q = soft(w);
  Numbers g1(4), g2(4), g3(4);
  for (std::size_t a = 0; a < 4; ++a)
    for (std::size_t i = 0; i < 4; ++i) {
      const double l = std::log(q[a]) - std::log(p[a]), score = (a == i ? 1 : 0) - p[i];
      g1[i] += p[a] * kl_k1(l).slope * score;
      g2[i] += p[a] * kl_k2(l).slope * score;
      g3[i] += p[a] * kl_k3(l).slope * score;
    }
  same(g1, Numbers(4), 1e-15);
  same(g2, first_gradient(KullbackLeibler{}));
  same(g3, first_gradient(ReverseKullbackLeibler{}));
  for (const double l : {-2.0, 0.3, 1.5}) {  // slopes are with respect to log p, and l = log q - log p
    const double at[] = {-l};
    for (const auto k : {kl_k1<double>, kl_k2<double>, kl_k3<double>}) {
      const double slope[] = {k(l).slope};
      CHECK(gradient_matches([&](Span x) { return k(-x[0]).value; }, at, slope));
    }
  }
}

TEST_CASE("sample estimators: a log-ratio whose exponential overflows is an error", "[G11]") {
  CHECK(says(message_of([] { kl_k3(100.0F); }), "kl_k3", "100"));
  CHECK(kl_k3(80.0F).value > 1e34F);
  CHECK(kl_k3(100.0).value == close(std::exp(100) - 101, 1e-14));
  CHECK(says(message_of([] { kl_k3(1000.0); }), "1000"));
  CHECK(says(message_of([] { kl_k1(poison); }), "nan"));
  CHECK(says(message_of([] { kl_k2(infinity); }), "inf"));
  CHECK(kl_k3(-1e6F).value == 1e6F - 1);
}

TEST_CASE("divergences: bad input names what is wrong") {
  CHECK(says(message_of([] { divergence(ChiSquare{}, row({0.5, 0.6}), row({0.5, 0.5})); }), "p sums to"));
  CHECK(says(message_of([] { divergence(ChiSquare{}, row({0.5, 0.5}), row({1.5, -0.5})); }), "q[0] is 1.5"));
  CHECK(says(message_of([] { divergence(ChiSquare{}, row({0.5, 0.5}), row({1})); }), "q has 1"));
  CHECK(says(message_of([] { logit_divergence(ChiSquare{}, row({0, poison}), row({0, 0})); }), "z_p[1] is nan"));
  CHECK(says(message_of([] { logit_divergence(ChiSquare{}, row({0, 0}), row({infinity, 0})); }), "z_q[0] is inf"));
  Numbers short_one(1);
  CHECK(says(message_of([&] { logit_divergence(ChiSquare{}, row({0, 0}), row({0, 0}), 1, short_one); }), "has 1"));
}

TEST_CASE("divergences: float, and no allocation") {
  const std::vector<float> a{0.5F, -1, 2, 0}, b{0, 0, 1, -1};
  std::vector<float> da(4), db(4);
  const std::span<const float> x(a), y(b);
  Allocations allocations;
  const float kl = logit_divergence(KullbackLeibler{}, x, y, 1, da, db), renyi = logit_renyi_2(x, y);
  CHECK(allocations.count() == 0);
  CHECK(static_cast<double>(kl) == close(0.134243851071636, 2e-6));
  CHECK(static_cast<double>(renyi) == close(0.186657637067834, 2e-6));
  CHECK(static_cast<double>(da[2]) == close(0.106465239950727, 1e-5));
  CHECK(static_cast<double>(logit_divergence(JensenShannon{}, x, y)) == close(0.0389719341753571, 1e-5));
}
