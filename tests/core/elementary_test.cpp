// Declared first, as code in the wild does: our calls must not find these (pitfall N9).
extern "C" int abs(int) noexcept;
double pow(int, int);

#include "valence/core/elementary.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/close.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using namespace valence::test;

namespace {

template <class S>
constexpr S inf = std::numeric_limits<S>::infinity();
template <class S>
constexpr S nan_of = std::numeric_limits<S>::quiet_NaN();

/// The distance between `got` and the exact value, in units of the last place of `S` at the exact value.
template <class S>
double ulps(S got, long double exact) {
  if (std::isnan(exact)) return std::isnan(got) ? 0 : 1e30;
  const S nearest = static_cast<S>(exact);
  if (std::isinf(nearest) || std::isinf(got)) return nearest == got ? 0 : 1e30;
  int exponent = 0;
  std::frexp(exact, &exponent);
  const int last = (std::max)(exponent - std::numeric_limits<S>::digits,
                              std::numeric_limits<S>::min_exponent - std::numeric_limits<S>::digits);
  return static_cast<double>(std::abs(static_cast<long double>(got) - exact) / std::ldexp(1.0L, last));
}

/// The largest error over `[low, high]`, and over all magnitudes of both signs where `everywhere`.
template <class S, class F, class R>
double worst_error(F f, R reference, std::initializer_list<std::pair<double, double>> ranges, bool everywhere = true) {
  Rng rng{2};
  double worst = 0;
  const auto look = [&](double x) {
    const S at = static_cast<S>(x);
    const double e = ulps<S>(f(at), reference(static_cast<long double>(at)));
    if (!(e <= worst)) {
      worst = e;
      UNSCOPED_INFO("worst so far: " << e << " ulp at " << x);
    }
  };
  for (const auto& [low, high] : ranges)
    for (int i = 0; i < 30000; ++i) look(low + (high - low) * rng.uniform());
  const double magnitude = std::is_same_v<S, float> ? 88 : 708;
  if (everywhere)
    for (int i = 0; i < 40000; ++i) look((i % 2 ? 1 : -1) * std::exp(magnitude * (2 * rng.uniform() - 1)));
  return worst;
}

template <class S>
void check_accuracy() {
  using L = long double;
  const double most = std::is_same_v<S, float> ? 88.7 : 709.7, least = std::is_same_v<S, float> ? -104 : -746;
  CHECK(worst_error<S>([](S x) { return elementary::exp(x); }, [](L x) { return std::exp(x); },
                       {{-1, 1}, {-20, 20}, {least, most}}) < 1.2);
  CHECK(worst_error<S>([](S x) { return elementary::log(x); }, [](L x) { return std::log(x); },
                       {{0.5, 2}, {0.99, 1.01}, {0, 10}}) < 1.2);
  CHECK(worst_error<S>([](S x) { return elementary::log1p(x); }, [](L x) { return std::log1p(x); },
                       {{-1, 1}, {-0.01, 0.01}, {0, 1}, {1, 100}}) < 1.3);
  CHECK(worst_error<S>([](S x) { return detail::log1p_unit(x); }, [](L x) { return std::log1p(x); },
                       {{0, 1}, {0, 1e-6}}, false) < 1.3);
  CHECK(worst_error<S>([](S x) { return elementary::expm1(x); }, [](L x) { return std::expm1(x); },
                       {{-1, 1}, {-0.01, 0.01}, {-50, 50}, {least, most}}) < 1.5);
  CHECK(worst_error<S>([](S x) { return elementary::tanh(x); }, [](L x) { return std::tanh(x); },
                       {{-1, 1}, {0.6, 0.7}, {-20, 20}}) < 1.5);
  CHECK(worst_error<S>([](S x) { return elementary::erf(x); }, [](L x) { return std::erf(x); }, {{-1, 1}, {-6, 6}}) <
        1.5);
  CHECK(worst_error<S>([](S x) { return elementary::erfc(x); }, [](L x) { return std::erfc(x); },
                       {{-1, 1}, {-6, 6}, {1, std::is_same_v<S, float> ? 10.2 : 27.3}}) < 7);
  CHECK(worst_error<S>([](S x) { return elementary::sqrt(x); }, [](L x) { return std::sqrt(x); }, {{0, 4}}) < 0.51);
  CHECK(worst_error<S>([](S x) { return elementary::floor(x); }, [](L x) { return std::floor(x); },
                       {{-9, 9}, {-1e9, 1e9}}) == 0);
}

template <class S>
void check_limits() {
  const S tiny = std::numeric_limits<S>::denorm_min(), most = (std::numeric_limits<S>::max)();
  CHECK(elementary::exp(inf<S>) == inf<S>);
  CHECK(elementary::exp(-inf<S>) == 0);
  CHECK(elementary::exp(S(1000)) == inf<S>);
  CHECK(elementary::exp(S(-1000)) == 0);
  CHECK(elementary::exp(S(0)) == 1);
  CHECK(elementary::exp(most) == inf<S>);
  // the last argument that gives a finite number, and underflow by degrees
  const S last = std::log(most);
  CHECK(ulps<S>(elementary::exp(std::nextafter(last, S(0))),
                std::exp(static_cast<long double>(std::nextafter(last, S(0))))) < 1.2);
  CHECK(elementary::exp(std::nextafter(last, inf<S>) * S(1.000001)) == inf<S>);
  const S deep = std::is_same_v<S, float> ? S(-100) : S(-740);
  CHECK(elementary::exp(deep) > 0);
  CHECK(elementary::exp(deep) < (std::numeric_limits<S>::min)());

  CHECK(elementary::log(S(0)) == -inf<S>);
  CHECK(elementary::log(S(-0.0)) == -inf<S>);
  CHECK(elementary::log(S(1)) == 0);
  CHECK(elementary::log(inf<S>) == inf<S>);
  CHECK(std::isnan(elementary::log(S(-1))));
  CHECK(std::isnan(elementary::log(-inf<S>)));
  CHECK(std::isnan(elementary::log(-tiny)));
  CHECK(ulps<S>(elementary::log(tiny), std::log(static_cast<long double>(tiny))) < 1);
  CHECK(ulps<S>(elementary::log(3 * tiny), std::log(static_cast<long double>(3 * tiny))) < 1);
  CHECK(ulps<S>(elementary::log(most), std::log(static_cast<long double>(most))) < 1);

  CHECK(elementary::log1p(S(-1)) == -inf<S>);
  CHECK(elementary::log1p(inf<S>) == inf<S>);
  CHECK(std::isnan(elementary::log1p(S(-1.5))));
  CHECK(ulps<S>(elementary::log1p(most), std::log1p(static_cast<long double>(most))) < 1);
  for (const S x : {S(0), tiny, -tiny}) {
    CHECK(elementary::log1p(x) == x);
    CHECK(elementary::expm1(x) == x);
    CHECK(elementary::tanh(x) == x);
  }
  for (const S x : {S(0), S(-0.0)}) {
    CHECK(std::signbit(elementary::log1p(x)) == std::signbit(x));
    CHECK(std::signbit(elementary::expm1(x)) == std::signbit(x));
    CHECK(std::signbit(elementary::tanh(x)) == std::signbit(x));
    CHECK(std::signbit(elementary::erf(x)) == std::signbit(x));
    CHECK(std::signbit(elementary::floor(x)) == std::signbit(x));
  }
  CHECK(elementary::expm1(-inf<S>) == -1);
  CHECK(elementary::expm1(S(-1000)) == -1);
  CHECK(elementary::expm1(inf<S>) == inf<S>);
  CHECK(elementary::expm1(S(1000)) == inf<S>);
  for (const S x : {inf<S>, S(1000), most}) {
    CHECK(elementary::tanh(x) == 1);
    CHECK(elementary::tanh(-x) == -1);
    CHECK(elementary::erf(x) == 1);
    CHECK(elementary::erf(-x) == -1);
    CHECK(elementary::erfc(x) == 0);
    CHECK(elementary::erfc(-x) == 2);
    CHECK(elementary::floor(-x) == -x);
  }
  CHECK(std::isnan(elementary::sqrt(S(-1))));
  CHECK(elementary::sqrt(inf<S>) == inf<S>);
}

/// Numbers that reach every case: magnitudes, limits, thresholds.
template <class S>
std::vector<S> arguments() {
  std::vector<S> x{0,
                   S(-0.0),
                   1,
                   -1,
                   inf<S>,
                   -inf<S>,
                   nan_of<S>,
                   S(0.625),
                   S(0.5),
                   S(-0.5),
                   S(0.7072),
                   S(1000),
                   S(-1000),
                   (std::numeric_limits<S>::max)(),
                   (std::numeric_limits<S>::min)(),
                   std::numeric_limits<S>::denorm_min()};
  Rng rng{7};
  for (int i = 0; i < 3000; ++i) x.push_back(static_cast<S>(rng.normal() * (i % 3 == 0 ? 0.5 : i % 3 == 1 ? 5 : 100)));
  for (int i = 0; i < 1000; ++i) x.push_back(static_cast<S>(rng.uniform()));
  while (x.size() % 16 != 0) x.push_back(1);
  return x;
}

template <class S>
bool same_bits(S a, S b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

/// How often do lanes of type T differ from scalars?
template <class T, class F>
std::size_t differences(F f) {
  using S = scalar_t<T>;
  const auto x = arguments<S>();
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < x.size(); i += lane_count<T>) {
    S y[lane_count<T>];
    store<T>(y, f(load<T>(x.data() + i)));
    for (std::size_t j = 0; j < lane_count<T>; ++j) wrong += !same_bits(y[j], static_cast<S>(f(x[i + j])));
  }
  return wrong;
}

template <class T>
void check_lanes() {
  using S = scalar_t<T>;
  CHECK(differences<T>([](auto x) { return elementary::exp(x); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::log(x); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::log1p(x); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::expm1(x); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::tanh(x); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::erf(x); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::erfc(x); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::floor(x); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::sqrt(x); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::abs(x); }) == 0);
  CHECK(differences<T>([](auto x) { return softplus(x); }) == 0);
  CHECK(differences<T>([](auto x) { return sigmoid(x); }) == 0);
  CHECK(differences<T>([](auto x) { return log_sigmoid(x); }) == 0);
  CHECK(differences<T>([](auto x) { return softplus_and_slope(x).slope; }) == 0);
  CHECK(differences<T>([](auto x) { return logit(x); }) == 0);
  CHECK(differences<T>([](auto x) { return log1mexp(x); }) == 0);
  CHECK(differences<T>([](auto x) { return log_cosh(x); }) == 0);
  CHECK(differences<T>([](auto x) { return huber(x, 2); }) == 0);
  CHECK(differences<T>([](auto x) { return huber_derivative(x, 2); }) == 0);
  CHECK(differences<T>([](auto x) { return xlogy(x, x); }) == 0);
  CHECK(differences<T>([](auto x) { return normal_cdf(x); }) == 0);
  CHECK(differences<T>([](auto x) { return normal_pdf(x); }) == 0);
  CHECK(differences<T>([](auto x) { return normal_log_cdf(x); }) == 0);
  CHECK(differences<T>([](auto x) { return normal_log_pdf(x); }) == 0);
  CHECK(differences<T>([](auto x) { return normal_quantile(x); }) == 0);
  // as part of a larger expression, where a compiler may contract what goes in and what comes out
  CHECK(differences<T>([](auto x) { return softplus(x * S(0.3)) * S(0.7) + x * S(0.1); }) == 0);
  CHECK(differences<T>([](auto x) { return elementary::exp(x * S(0.01)) - elementary::exp(x * S(-0.01)); }) == 0);
}

}  // namespace

TEST_CASE("elementary functions are right to the last bits", "[elementary][N9]") {
  if (std::numeric_limits<long double>::digits >= 64) check_accuracy<double>();  // the reference needs more digits
  check_accuracy<float>();
}

TEST_CASE("elementary functions at their limits", "[elementary]") {
  check_limits<float>();
  check_limits<double>();
}

TEST_CASE("scalars and lanes of every width are equal to the bit", "[elementary][math][P13]") {
  check_lanes<Lanes<float>>();
  check_lanes<Lanes<double>>();
#if VALENCE_VECTOR_EXTENSIONS
#if defined(__AVX512F__)  // narrower lanes than the target's
  check_lanes<detail::LanesOf<float, 32>::type>();
  check_lanes<detail::LanesOf<double, 32>::type>();
#endif
#if defined(__AVX__)
  check_lanes<detail::LanesOf<float, 16>::type>();
  check_lanes<detail::LanesOf<double, 16>::type>();
#endif
#endif
}

TEST_CASE("a NaN stays in its place, in arrays of any length", "[elementary][math][N4]") {
  const auto check = [](auto f) {
    for (std::size_t n = 1; n <= 17; ++n)
      for (std::size_t bad = 0; bad < n; ++bad) {
        std::vector<double> x(n, 0.25), y(n);
        std::vector<float> u(n, 0.25f), v(n);
        x[bad] = nan_of<double>;
        u[bad] = nan_of<float>;
        apply_lanes<double>(x, y, f);
        apply_lanes<float>(u, v, f);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < n; ++i)
          wrong += (std::isnan(y[i]) != (i == bad)) + (std::isnan(v[i]) != (i == bad));
        REQUIRE(wrong == 0);
      }
  };
  check([](auto x) { return elementary::exp(x); });
  check([](auto x) { return elementary::log(x); });
  check([](auto x) { return elementary::log1p(x); });
  check([](auto x) { return elementary::expm1(x); });
  check([](auto x) { return elementary::tanh(x); });
  check([](auto x) { return elementary::erf(x); });
  check([](auto x) { return elementary::erfc(x); });
  check([](auto x) { return elementary::sqrt(x); });
  check([](auto x) { return elementary::floor(x); });
  check([](auto x) { return softplus(x); });
  check([](auto x) { return sigmoid(x); });
  check([](auto x) { return log_sigmoid(x); });
  check([](auto x) { return logit(x); });
  check([](auto x) { return log1mexp(-x); });
  check([](auto x) { return log_cosh(x); });
  check([](auto x) { return huber(x); });
  check([](auto x) { return huber_derivative(x); });
  check([](auto x) { return xlogy(x, x); });
  check([](auto x) { return normal_cdf(x); });
  check([](auto x) { return normal_pdf(x); });
  check([](auto x) { return normal_log_cdf(x); });
  check([](auto x) { return normal_quantile(x); });
}

TEST_CASE("max, min and clamp keep a NaN on either side", "[elementary][N5]") {
  const double nan = nan_of<double>;
  CHECK(std::isnan((elementary::max)(nan, 1.0)));
  CHECK(std::isnan((elementary::max)(1.0, nan)));
  CHECK(std::isnan((elementary::min)(nan, 1.0)));
  CHECK(std::isnan((elementary::min)(1.0, nan)));
  CHECK(std::isnan(elementary::clamp(nan, -1.0, 1.0)));
  CHECK(std::isnan(elementary::clamp(0.0, nan, 1.0)));
  CHECK((elementary::max)(1.0, 2.0) == 2);
  CHECK((elementary::min)(1.0, 2.0) == 1);
  CHECK(elementary::clamp(5.0f, -1.0f, 1.0f) == 1);
  CHECK(elementary::abs(-0.5) == 0.5);
  CHECK(elementary::copysign(3.0f, -0.0f) == -3);
  CHECK(elementary::floor(-0.5) == -1);
  CHECK(elementary::floor(2.5f) == 2);

  using T = Lanes<double>;
  double x[lane_count<T>], y[lane_count<T>], z[lane_count<T>];
  for (std::size_t bad = 0; bad < lane_count<T>; ++bad) {
    std::fill(std::begin(x), std::end(x), 1.0);
    std::fill(std::begin(y), std::end(y), 2.0);
    x[bad] = nan;
    store<T>(z, (elementary::max)(load<T>(x), load<T>(y)));
    for (std::size_t i = 0; i < lane_count<T>; ++i) CHECK((i == bad ? std::isnan(z[i]) : z[i] == 2));
    store<T>(z, (elementary::max)(load<T>(y), load<T>(x)));
    for (std::size_t i = 0; i < lane_count<T>; ++i) CHECK((i == bad ? std::isnan(z[i]) : z[i] == 2));
  }
}

TEST_CASE("long double goes to the standard library", "[elementary]") {
  CHECK(elementary::exp(1.0L) == std::exp(1.0L));
  CHECK(elementary::tanh(0.3L) == std::tanh(0.3L));
  static_assert(std::is_same_v<decltype(elementary::exp(1.0f)), float>);
  static_assert(std::is_same_v<decltype(softplus(1.0f)), float>);
  static_assert(!Lane<int> && Lane<float> && Lane<Lanes<double>> && !Lane<Eigen::ArrayXd>);
}
