#include "valence/core/piecewise.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"

namespace {

using namespace valence;
using valence::test::close;
using valence::test::message_of;
using valence::test::says;

}  // namespace

TEST_CASE("a step function is evaluated on its pieces, from their starts on") {
  const PiecewiseConstant f{{0, 0.2, 0.6}, {1, 3, 0}, 1.0};
  CHECK(f.size() == 3);
  CHECK(f.low() == 0);
  CHECK(f.high() == 1);
  CHECK(f(0) == 1);
  CHECK(f(std::nextafter(0.2, 0)) == 1);
  CHECK(f(0.2) == 3);
  CHECK(f(0.5) == 3);
  CHECK(f(0.6) == 0);
  CHECK(f(1) == 0);
  CHECK(f.end(0) == 0.2);
  CHECK(f.end(2) == 1);
  CHECK((2 * f)(0.3) == 6);
}

TEST_CASE("three step functions add up on all their breakpoints") {
  const std::vector<PiecewiseConstant> f{
      {{0, 0.2, 0.6}, {1, 3, 0}, 1}, {{0, 0.5}, {2, 1}, 1}, {{0, 0.4, 0.7}, {0, 2, 5}, 1}};
  const PiecewiseConstant total = sum(f);
  const std::vector<double> starts{0, .2, .4, .5, .6, .7}, values{3, 5, 7, 6, 3, 6};
  CHECK(std::vector<double>(total.starts().begin(), total.starts().end()) == starts);
  CHECK(std::vector<double>(total.pieces().begin(), total.pieces().end()) == values);
  const PiecewiseMaximum best = total.argmax();
  CHECK(best.low == 0.4);
  CHECK(best.high == 0.5);
  CHECK(best.value == 7);
  CHECK((f[0] + f[1])(0.55) == 4);
  CHECK(sum(std::vector<PiecewiseConstant>{f[0]})(0.1) == 1);
}

TEST_CASE("the sum of many functions is the sum of their values, and nothing builds up") {
  Rng rng{1};
  std::vector<PiecewiseConstant> many;
  for (int k = 0; k < 57; ++k) {
    std::vector<double> starts{-1}, values{rng.normal()};
    for (int i = 0; i < 4; ++i) {
      starts.push_back(starts.back() + rng.uniform() * 0.4);
      values.push_back(rng.normal() * (rng.bernoulli(0.1) ? 1e12 : 1));  // large ones come and go
    }
    many.push_back({starts, values, 1});
  }
  const PiecewiseConstant total = sum(many);
  CHECK(total.size() == 57 * 4 + 1);
  for (std::size_t i = 0; i < total.size(); ++i) {
    const double x = total.starts()[i];
    long double expected = 0, size = 0;
    for (const auto& f : many)
      expected += static_cast<long double>(f(x)), size += static_cast<long double>(std::abs(f(x)));
    CHECK(total(x) == close(static_cast<double>(expected), 0, 1e-15 * static_cast<double>(size)));
  }
}

TEST_CASE("equal starts are one: the last counts") {
  const PiecewiseConstant f{{0, 0.5, 0.5, 0.5}, {1, 2, 3, 4}, 1};
  CHECK(f.size() == 2);
  CHECK(f(0.5) == 4);
  CHECK(f(0.4) == 1);
}

TEST_CASE("the first of equal pieces is the best") {
  const PiecewiseMaximum best = PiecewiseConstant{{0, 1, 2, 3}, {0, 5, 1, 5}, 4}.argmax();
  CHECK(best.low == 1);
  CHECK(best.high == 2);
}

TEST_CASE("real roots of polynomials") {
  const auto roots = [](std::vector<double> c, double low, double high) {
    return real_roots(PolynomialPiece{std::move(c)}, low, high);
  };
  // (x - 1)(x - 2)(x - 3)(x - 4)
  const auto four = roots({24, -50, 35, -10, 1}, 0, 10);
  REQUIRE(four.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(four[i] == close(static_cast<double>(i + 1), 1e-13));
  CHECK(roots({24, -50, 35, -10, 1}, 1.5, 3.5).size() == 2);
  CHECK(roots({1, 0, 1}, -5, 5).empty());
  CHECK(roots({-2, 0, 1}, 0, 2) == std::vector<double>{std::sqrt(2.0)});
  CHECK(roots({1, -2, 1}, 0, 2) == std::vector<double>{1});  // touches 0
  CHECK(roots({0, 1}, 0, 1) == std::vector<double>{0});      // at an end
  CHECK(roots({0, 0, 0}, 0, 1).empty());                     // 0 everywhere
  CHECK(roots({3}, 0, 1).empty());
  CHECK(roots({-0.5, 1, 0, 0}, 0, 1) == std::vector<double>{0.5});  // leading zeros
  CHECK(says(message_of([&] { roots({1, 1}, 1, 0); }), "low is 1 and high is 0"));
  CHECK(says(message_of([&] { roots({1, std::nan("")}, 0, 1); }), "coefficients[1] is nan"));
}

TEST_CASE("piecewise polynomials: values, sums and the largest value") {
  // x^2 up to 1, then 1 - (x - 2)^2 = -3 + 4 x - x^2.
  const PiecewisePolynomial f{{0, 1}, {PolynomialPiece{{0, 0, 1}}, PolynomialPiece{{-3, 4, -1}}}, 4};
  CHECK(f(0.5) == 0.25);
  CHECK(f(1) == 0);
  CHECK(f(2) == 1);
  PiecewiseMaximum best = f.argmax();  // the limit towards the jump at 1 comes first
  CHECK(best.low == 1);
  CHECK(best.high == 1);
  CHECK(best.value == 1);
  const PiecewisePolynomial tilt{{0}, {PolynomialPiece{{0, 1}}}, 4};  // + x: the top of -3 + 5 x - x^2 is at 2.5
  best = (f + tilt).argmax();
  CHECK(best.low == close(2.5, 1e-15));
  CHECK(best.high == best.low);
  CHECK(best.value == close(3.25, 1e-15));
  CHECK((f + tilt).size() == 2);
  const PiecewiseMaximum lowest = (-1.0 * (f + tilt)).argmax();  // its least value is 0, at 0
  CHECK(lowest.low == 0);
  CHECK(lowest.value == 0);
  // A constant one is best all over.
  const PiecewiseMaximum flat = PiecewisePolynomial{{0, 2}, {PolynomialPiece{{7}}, PolynomialPiece{}}, 4}.argmax();
  CHECK(flat.low == 0);
  CHECK(flat.high == 2);
  CHECK(flat.value == 7);
}

TEST_CASE("the maximum of random piecewise cubics is at least that of a grid") {
  Rng rng{2};
  for (int round = 0; round < 50; ++round) {
    std::vector<PiecewisePolynomial> parts;
    for (int k = 0; k < 3; ++k) {
      const auto cubic = [&] { return PolynomialPiece{{rng.normal(), rng.normal(), rng.normal(), rng.normal()}}; };
      parts.push_back({{-1, rng.uniform(-1.0, 1.0)}, {cubic(), cubic()}, 1});
    }
    const PiecewisePolynomial f = sum(parts);
    const PiecewiseMaximum best = f.argmax();
    double grid = -1e300;
    for (int i = 0; i <= 2000; ++i) grid = std::max(grid, f(-1 + i / 1000.0));
    CHECK(best.value >= grid - 1e-12);
    CHECK(best.value <= grid + 0.1);
  }
}

TEST_CASE("what piecewise functions refuse") {
  const auto refused = [](std::vector<double> starts, std::vector<double> values, double high) {
    return message_of([&] { PiecewiseConstant(starts, values, high); });
  };
  CHECK(says(refused({}, {}, 1), "starts is empty"));
  CHECK(says(refused({0, 1}, {1}, 2), "pieces has 1 entries; expected 2"));
  CHECK(says(refused({0, 0.5, 0.4}, {1, 2, 3}, 1), "starts[2] is 0.4, after 0.5"));
  CHECK(says(refused({0, std::nan("")}, {1, 2}, 1), "starts[1] is nan"));
  CHECK(says(refused({0, 0.5}, {1, std::nan("")}, 1), "pieces[1] isn't finite"));
  CHECK(says(refused({0}, {1}, 0), "expected low < high"));
  CHECK(says(refused({0, 2}, {1, 1}, 1), "no start beyond it"));
  CHECK(says(message_of([] {
               PiecewisePolynomial({0}, {PolynomialPiece{{1, std::numeric_limits<double>::infinity()}}}, 1);
             }),
             "pieces[0] isn't finite"));
  const PiecewiseConstant f{{0}, {1}, 1};
  CHECK(says(message_of([&] { f(1.5); }), "x is 1.5"));
  CHECK(says(message_of([&] { f(-0.1); }), "x is -0.1"));
  CHECK(says(message_of([&] { sum(std::vector<PiecewiseConstant>{}); }), "no function"));
  CHECK(says(message_of([&] { f + PiecewiseConstant{{0}, {1}, 2}; }), "function 1 is on [0, 2]; expected [0, 1]"));
}
