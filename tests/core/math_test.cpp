// Declared first, as code in the wild does: our calls must not find these (pitfall N9).
extern "C" int abs(int) noexcept;
double pow(int, int);

#include "valence/core/math.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "support/close.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using namespace valence::test;

namespace {

const double infinity = std::numeric_limits<double>::infinity();
const double nan_value = std::numeric_limits<double>::quiet_NaN();

double d(float x) { return static_cast<double>(x); }

/// `slope` is the derivative of `f` at x: central differences, extrapolated once.
template <class F, class G>
void check_slope(F f, G slope, std::initializer_list<double> at) {
  for (const double x : at) {
    const auto difference = [&](double h) { return (f(x + h) - f(x - h)) / (2 * h); };
    const double h = 1e-3 * (std::min)(1.0, std::abs(x) + 0.1);
    CAPTURE(x);
    CHECK(slope(x) == close((4 * difference(h / 2) - difference(h)) / 3, 1e-9, 1e-11));
  }
}

}  // namespace

TEST_CASE("softplus and its kin have exact asymptotes", "[math][P13]") {
  CHECK(log_sigmoid(-1000.0) == -1000);
  CHECK(log_sigmoid(1000.0) == 0);
  CHECK(-log_sigmoid(40.0) == close(4.24835425529158899e-18, 1e-15));
  CHECK(softplus_and_slope(-1000.0).slope == 0);
  CHECK(softplus_and_slope(1000.0).slope == 1);
  CHECK(d(log_sigmoid(-1000.0f)) == -1000);
  CHECK(d(softplus(-40.0f)) == close(4.24835425529158899e-18, 2e-7));
  CHECK(softplus(0.0) == close(0.693147180559945309, 2.3e-16));
  CHECK(softplus(1.0) == close(1.31326168751822283, 3e-16));
  CHECK(softplus(-1.0) == close(0.313261687518222834, 3e-16));
  CHECK(softplus(infinity) == infinity);
  CHECK(softplus(-infinity) == 0);
  CHECK(sigmoid(1.0) == close(0.731058578630004879, 3e-16));
  CHECK(sigmoid(-40.0) == close(4.24835425529158898e-18, 5e-16));
  CHECK(sigmoid(infinity) == 1);
  CHECK(sigmoid(-infinity) == 0);
  CHECK(sigmoid(-1000.0) == 0);
  for (const double x : {-1000., -745., -50., -1., 0., 1., 50., 745., 1000.}) {
    CHECK(std::isfinite(softplus(x)));
    CHECK(softplus_and_slope(x).value == softplus(x));
    CHECK(softplus_and_slope(x).slope == sigmoid(x));
    CHECK(std::isfinite(sigmoid(x)));
  }
  check_slope([](double x) { return softplus(x); }, [](double x) { return sigmoid(x); }, {-5, -0.5, 0, 0.5, 3});
  check_slope([](double x) { return log_sigmoid(x); }, [](double x) { return sigmoid(-x); }, {-5, -0.5, 0, 0.5, 3});
  check_slope([](double x) { return sigmoid(x); }, [](double x) { return sigmoid(x) * sigmoid(-x); }, {-5, -0.5, 0, 3});
}

TEST_CASE("log1mexp keeps its digits next to 0", "[math][P10]") {
  CHECK(log1mexp(-1e-8) == close(-18.4206807489523654, 1e-15));
  CHECK(d(log1mexp(-1e-8f)) == close(-18.4206807550298364, 1e-7));  // the naive form gives -inf
  CHECK(log1mexp(-1e-10) == close(-23.0258509299904568, 1e-15));
  CHECK(log1mexp(-1e-17) == close(-39.1439465808987766, 1e-15));
  CHECK(log1mexp(-0.69) == close(-0.696304297144056706, 1e-15));
  CHECK(log1mexp(-0.7) == close(-0.686341002808385153, 1e-15));
  CHECK(log1mexp(-1.0) == close(-0.458675145387081891, 1e-15));
  CHECK(log1mexp(-30.0) == close(-9.35762296884061243e-14, 1e-15));
  CHECK(log1mexp(-800.0) == 0);
  CHECK(log1mexp(-infinity) == 0);
  CHECK(log1mexp(0.0) == -infinity);
  CHECK(std::isnan(log1mexp(0.5)));
  check_slope([](double x) { return log1mexp(x); }, [](double x) { return -1 / std::expm1(-x); }, {-5, -1, -0.6, -0.2});
  const double h = 1e-12;  // the gradient next to certainty, from the ORPO report
  CHECK((log1mexp(-1e-8 + h) - log1mexp(-1e-8 - h)) / (2 * h) == close(-1 / std::expm1(1e-8), 1e-4));
}

TEST_CASE("log-odds of a log-probability have no bias", "[math][P11]") {
  CHECK(-0.01 - log1mexp(-0.01) == close(4.6001660193248969, 1e-15));
  CHECK(logit(std::exp(-0.01)) == close(4.6001660193248969, 1e-13));
}

TEST_CASE("logit", "[math]") {
  CHECK(logit(0.0) == -infinity);
  CHECK(logit(-0.0) == -infinity);
  CHECK(logit(1.0) == infinity);
  CHECK(logit(0.5) == 0);
  CHECK(logit(1e-300) == close(-690.775527898213705, 1e-15));
  CHECK(logit(5e-324) == close(-744.440071921381262, 1e-15));
  CHECK(logit(0.1) == close(-2.19722457733621932, 1e-15));
  CHECK(logit(0.9) == close(2.19722457733621963, 1e-15));
  CHECK(logit(0.5000001) == close(3.99999999789462994e-7, 1e-15));
  CHECK(d(logit(1e-44f)) == close(-101.3330204, 1e-7));
  for (const double x : {-1e-300, -1., 1.0000001, 2., 1e300, infinity, -infinity}) CHECK(std::isnan(logit(x)));
  check_slope([](double x) { return logit(x); }, [](double p) { return 1 / (p * (1 - p)); }, {0.1, 0.5, 0.7});
  for (const double x : {-30., -3., -0.1, 0.2, 5.}) CHECK(logit(sigmoid(x)) == close(x, 1e-13));
}

TEST_CASE("log_cosh, huber, xlogy", "[math]") {
  CHECK(log_cosh(1e-4) == close(4.99999999166666717e-9, 1e-15));
  CHECK(log_cosh(0.5) == close(0.120114506958277525, 2e-15));
  CHECK(log_cosh(-1.0) == close(0.433780830483027187, 2e-15));
  CHECK(log_cosh(20.0) == close(19.3068528194400547, 1e-15));
  CHECK(log_cosh(-1000.0) == close(1000 - 0.693147180559945309, 1e-15));
  CHECK(log_cosh(infinity) == infinity);
  CHECK(log_cosh(-infinity) == infinity);
  CHECK(log_cosh(0.0) == 0);
  check_slope([](double x) { return log_cosh(x); }, [](double x) { return std::tanh(x); }, {-5, -1, -0.2, 0, 0.9, 1.5});

  CHECK(huber(0.5) == 0.125);
  CHECK(huber(-3.0, 2) == 4);
  CHECK(huber(infinity) == infinity);
  CHECK(huber_derivative(-3.0, 2) == -2);
  CHECK(huber_derivative(0.5) == 0.5);
  CHECK(huber_derivative(infinity) == 1);
  check_slope([](double x) { return huber(x, 2); }, [](double x) { return huber_derivative(x, 2); }, {-5, -1, 0, 1, 3});
  CHECK(says(message_of([] { huber(Eigen::ArrayXd(Eigen::ArrayXd::Zero(2)), -1); }), "huber", "delta", "-1"));

  CHECK(xlogy(0.0, 0.0) == 0);
  CHECK(xlogy(0.0, infinity) == 0);
  CHECK(xlogy(2.0, 0.0) == -infinity);
  CHECK(xlogy(2.0, 3.0) == close(2 * std::log(3.0), 1e-15));
  CHECK(std::isnan(xlogy(0.0, nan_value)));
  CHECK(std::isnan(xlogy(nan_value, 1.0)));
  CHECK(std::isnan(xlogy(1.0, -1.0)));
  const Eigen::ArrayXd p = Eigen::ArrayXd::LinSpaced(5, 0, 1), q = Eigen::ArrayXd::Ones(5) * 0.5;
  const Eigen::ArrayXd e = xlogy(p, q);
  for (int i = 0; i < 5; ++i) CHECK(e[i] == xlogy(p[i], q[i]));
  CHECK_THROWS_AS(xlogy(p, Eigen::ArrayXd(Eigen::ArrayXd::Ones(4))), Error);
}

TEST_CASE("the normal distribution", "[math]") {
  struct Row {
    double x, cdf, log_cdf, pdf;
  };
  const Row rows[] = {{-10, 7.61985302416052607e-24, -53.2312851505124706, 7.69459862670641935e-23},
                      {-1, 0.158655253931457051, -1.84102164500926351, 0.24197072451914335},
                      {0.3, 0.617911422188952633, -0.481410161588481205, 0.381387815460524087},
                      {2, 0.977249868051820793, -0.0230129093289634885, 0.053990966513188052},
                      {8, 0.999999999999999378, -6.22096057427178606e-16, 5.05227108353689229e-15}};
  for (const Row& row : rows) {
    CAPTURE(row.x);
    CHECK(normal_cdf(row.x) == close(row.cdf, 2e-15));
    CHECK(normal_log_cdf(row.x) == close(row.log_cdf, 2e-15));
    CHECK(normal_pdf(row.x) == close(row.pdf, 1e-15));
    CHECK(normal_log_pdf(row.x) == close(std::log(row.pdf), 1e-15));
    CHECK(d(normal_cdf(static_cast<float>(row.x))) == close(normal_cdf(d(static_cast<float>(row.x))), 1e-6));
  }
  CHECK(normal_cdf(-38.0) == close(2.88542836006878431e-316, 1e-7));  // subnormal: few digits are left
  CHECK(normal_log_cdf(-38.0) == close(-726.55721601882013, 1e-15));
  CHECK(normal_log_cdf(-1000.0) == close(-500007.826694812184, 1e-15));
  CHECK(normal_log_cdf(-infinity) == -infinity);
  CHECK(normal_log_cdf(infinity) == 0);
  CHECK(normal_cdf(-1000.0) == 0);
  CHECK(normal_cdf(1000.0) == 1);
  CHECK(normal_cdf(infinity) == 1);
  CHECK(normal_cdf(-infinity) == 0);
  CHECK(normal_pdf(infinity) == 0);
  CHECK(normal_log_pdf(infinity) == -infinity);
  CHECK(valence::erf(0.5) == close(0.520499877813046538, 3e-16));
  CHECK(valence::erfc(3.0) == close(0.0000220904969985854414, 1e-15));
  CHECK(valence::erfc(26.5) == close(2.21090766426373428e-307, 2e-15));
  check_slope([](double x) { return normal_cdf(x); }, [](double x) { return normal_pdf(x); }, {-3, -0.71, 0, 0.5, 2});
  check_slope([](double x) { return normal_log_cdf(x); },
              [](double x) { return std::exp(normal_log_pdf(x) - normal_log_cdf(x)); }, {-9, -0.71, 0, 0.5, 2});
}

TEST_CASE("the normal quantile", "[math]") {
  CHECK(normal_quantile(1e-300) == close(-37.0470962993611992, 1e-15));
  CHECK(normal_quantile(1e-20) == close(-9.26234008979840758, 1e-15));
  CHECK(normal_quantile(0.001) == close(-3.09023230616781354, 1e-15));
  CHECK(normal_quantile(0.075) == close(-1.43953147093845593, 1e-15));
  CHECK(normal_quantile(0.1) == close(-1.28155156554460044, 1e-15));
  CHECK(normal_quantile(0.3) == close(-0.524400512708040816, 1e-15));
  CHECK(normal_quantile(0.975) == close(1.95996398454005386, 1e-15));
  CHECK(normal_quantile(0.5) == 0);
  CHECK(normal_quantile(0.0) == -infinity);
  CHECK(normal_quantile(1.0) == infinity);
  for (const double p : {-0.1, 1.1, infinity, -infinity, nan_value}) CHECK(std::isnan(normal_quantile(p)));
  for (int i = 1; i < 1000; ++i) {
    const double p = i * 1e-3;
    REQUIRE(normal_cdf(normal_quantile(p)) == close(p, 3e-15));
    const auto f = static_cast<float>(p);
    REQUIRE(d(normal_quantile(f)) == close(normal_quantile(d(f)), 2e-6, 1e-7));
  }
}

TEST_CASE("log_sum_exp and softmax of large, infinite and no numbers", "[math][N10]") {
  const std::vector<double> lows{-infinity, -infinity}, mixed{-infinity, 3, infinity};
  CHECK(log_sum_exp(std::span(lows)) == -infinity);
  CHECK(log_sum_exp(std::span<const double>()) == -infinity);
  CHECK(log_sum_exp(std::span(mixed)) == infinity);
  CHECK(log_sum_exp(Eigen::Vector2d(1000, 1000)) == close(1000.69314718055994531, 1e-15));
  CHECK(log_sum_exp(Eigen::Vector2d(-1000, -1000)) == close(-1000 + 0.693147180559945309, 1e-15));
  CHECK(log_sum_exp(Eigen::Vector3d(1, 2, 3)) == close(3.4076059644443803, 3e-16));
  CHECK(log_add_exp(1000.0, 1000.0) == close(1000.69314718055994531, 1e-15));
  CHECK(log_add_exp(-infinity, -infinity) == -infinity);
  CHECK(log_add_exp(infinity, infinity) == infinity);
  CHECK(log_add_exp(-infinity, 2.0) == 2);
  CHECK(std::isnan(log_add_exp(nan_value, 2.0)));

  CHECK(softmax(Eigen::Vector3d(1000, 0, -1000)) == Eigen::Vector3d(1, 0, 0));
  CHECK(log_softmax(Eigen::Vector3d(1000, 0, -1000)) == Eigen::Vector3d(0, -1000, -2000));
  CHECK(softmax(Eigen::Vector3d(1000, 0, -1000).cast<float>()) == Eigen::Vector3f(1, 0, 0));
  const Eigen::Vector3d s = softmax(Eigen::Vector3d(1, 2, 3));
  CHECK(s[0] == close(0.090030573170380458, 1e-15));
  CHECK(s[1] == close(0.244728471054797652, 1e-15));
  CHECK(s[2] == close(0.66524095577482189, 1e-15));
  CHECK(softmax(Eigen::Vector3d(1, -infinity, 1)) == Eigen::Vector3d(0.5, 0, 0.5));  // a masked action
  CHECK(log_softmax(Eigen::Vector2d(1, -infinity)) == Eigen::Vector2d(0, -infinity));
  CHECK(softmax(Eigen::Vector3d(1, infinity, 1)) == Eigen::Vector3d(0, 1, 0));
  CHECK(softmax(Eigen::Vector2d(infinity, infinity)) == Eigen::Vector2d(0.5, 0.5));
  CHECK(softmax(Eigen::Vector2d(-infinity, -infinity)).array().isNaN().all());
  CHECK(log_softmax(Eigen::Vector2d(-infinity, -infinity)).array().isNaN().all());
  CHECK(softmax(Eigen::VectorXd()).size() == 0);

  // the gradient of log_sum_exp is softmax, also where exp overflows
  const Eigen::Vector3d x(1000, 999, 998.5), g = softmax(x);
  for (int i = 0; i < 3; ++i) {
    Eigen::Vector3d up = x, down = x;
    up[i] += 1e-4;
    down[i] -= 1e-4;
    CHECK((log_sum_exp(up) - log_sum_exp(down)) / 2e-4 == close(g[i], 1e-6));
  }
}

TEST_CASE("a NaN is the result of every reduction that meets it", "[math][N5]") {
  for (const std::size_t n : {1u, 2u, 3u, 17u, 40u})
    for (std::size_t bad = 0; bad < n; ++bad) {
      std::vector<double> x(n, 1.0), y(n);
      if (n > 1) x[(bad + 1) % n] = infinity;
      x[bad] = nan_value;
      std::size_t wrong = 0;
      wrong += !std::isnan(log_sum_exp(std::span(x)));
      wrong += argmax(std::span(x)) != bad;
      softmax(std::span(x), y);
      for (const double v : y) wrong += !std::isnan(v);
      log_softmax(std::span(x), y);
      for (const double v : y) wrong += !std::isnan(v);
      REQUIRE(wrong == 0);
    }
  CHECK(argmax(Eigen::Vector4d(1, 3, 3, 2)) == 1);
  CHECK(argmax(Eigen::Vector2d(-infinity, -infinity)) == 0);
  CHECK(argmax(Eigen::Vector3d(nan_value, 1, nan_value)) == 0);
  CHECK_THROWS_AS(argmax(std::span<const double>()), Error);
}

TEST_CASE("arrays, expressions, maps and spans give what numbers give", "[math][P13][C6][C7]") {
  Rng rng{4};
  Eigen::ArrayXXd x(7, 5);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = 30 * rng.normal();
  const Eigen::ArrayXXd y = softplus(x), z = softplus(2.0 * x - 1.0), block = sigmoid(x.block(1, 1, 5, 3));
  const Eigen::ArrayXXf single = softplus(x.cast<float>());
  std::vector<double> flat(x.data(), x.data() + x.size());
  apply_lanes<double>(flat, flat, [](auto v) { return softplus(v); });
  const Eigen::Map<const Eigen::ArrayXXd, 0, Eigen::OuterStride<>> every_other(x.data(), 7, 2,
                                                                               Eigen::OuterStride<>(14));
  const Eigen::ArrayXXd mapped = log_sigmoid(every_other);
  for (Eigen::Index j = 0; j < x.cols(); ++j)
    for (Eigen::Index i = 0; i < x.rows(); ++i) {
      CHECK(y(i, j) == softplus(x(i, j)));
      CHECK(z(i, j) == softplus(2.0 * x(i, j) - 1.0));
      CHECK(flat[static_cast<std::size_t>(i + 7 * j)] == y(i, j));
      CHECK(single(i, j) == softplus(static_cast<float>(x(i, j))));
      if (i >= 1 && i < 6 && j >= 1 && j < 4) CHECK(block(i - 1, j - 1) == sigmoid(x(i, j)));
      if (j % 2 == 0 && j < 4) CHECK(mapped(i, j / 2) == log_sigmoid(x(i, j)));
    }
  static_assert(std::is_same_v<decltype(softplus(2.0 * x - 1.0)), Eigen::ArrayXXd>);
  static_assert(std::is_same_v<decltype(softmax(Eigen::Vector3f())), Eigen::Vector3f>);
  Eigen::ArrayXXd in_place = x;
  in_place = softplus(in_place);
  CHECK((in_place == y).all());
  CHECK_THROWS_AS(apply_lanes<double>(flat, std::span(flat).first(2), [](auto v) { return v; }), Error);

  // each column of a matrix is a distribution, whatever the storage order
  const Eigen::MatrixXd columns = softmax(x.matrix());
  const Eigen::Matrix<double, -1, -1, Eigen::RowMajor> rows =
      softmax(Eigen::Matrix<double, -1, -1, Eigen::RowMajor>(x));
  for (Eigen::Index j = 0; j < x.cols(); ++j) {
    const Eigen::VectorXd column = softmax(Eigen::VectorXd(x.col(j)));
    CHECK(columns.col(j) == column);
    CHECK(Eigen::VectorXd(rows.col(j)) == column);
    CHECK(column.sum() == close(1, 1e-14));
    const Eigen::VectorXd log_column = log_softmax(x.col(j));
    for (Eigen::Index i = 0; i < x.rows(); ++i)
      CHECK(log_column[i] == close(x(i, j) - log_sum_exp(x.col(j)), 1e-13, 1e-14));
    std::vector<double> buffer(x.col(j).begin(), x.col(j).end());
    softmax(std::span(buffer), buffer);
    for (Eigen::Index i = 0; i < x.rows(); ++i) CHECK(buffer[static_cast<std::size_t>(i)] == column[i]);
  }
  std::vector<float> too_short(2);
  CHECK(says(message_of([&] { softmax(std::span<const float>(single.data(), 3), too_short); }), "softmax", "2", "3"));
}

TEST_CASE("reductions have the same bits with and without lanes", "[math][T3]") {
  Rng rng{6};
  for (const std::size_t n : {1u, 5u, 8u, 16u, 17u, 100u, 1000u}) {
    std::vector<double> x(n);
    for (double& v : x) v = 5 * rng.normal();
    // the order that core/math.hpp promises: eight partial sums, then halves
    double top = x[0];
    for (const double v : x) top = std::max(top, v);
    double slots[8] = {};
    for (std::size_t i = 0; i < n; ++i) slots[i % 8] += elementary::exp(x[i] - top);
    for (std::size_t half = 4; half > 0; half /= 2)
      for (std::size_t i = 0; i < half; ++i) slots[i] += slots[i + half];
    CHECK(log_sum_exp(std::span(x)) == top + elementary::log(slots[0]));
  }
}
