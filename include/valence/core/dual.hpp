#pragma once

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <limits>
#include <numbers>
#include <type_traits>

#include "valence/core/types.hpp"

namespace valence {

/// A dual number a + b e with e^2 = 0: arithmetic on it carries a directional derivative along exactly (forward mode).
/// A gradient computed on duals whose tangent is v has the Hessian times v in its tangent: see
/// `hessian_vector_product`. Comparisons look at the value alone. Duals of duals work.
template <class S>
struct Dual {
  S value{}, tangent{};

  constexpr Dual() = default;
  constexpr Dual(S v) : value(v) {}  // implicit, so that constants mix with duals
  template <class T>
    requires(std::is_arithmetic_v<T> && !std::is_same_v<T, S>)
  constexpr Dual(T v) : value(static_cast<S>(v)) {}
  constexpr Dual(S v, S t) : value(v), tangent(t) {}

  constexpr Dual& operator+=(const Dual& o) { return *this = *this + o; }
  constexpr Dual& operator-=(const Dual& o) { return *this = *this - o; }
  constexpr Dual& operator*=(const Dual& o) { return *this = *this * o; }
  constexpr Dual& operator/=(const Dual& o) { return *this = *this / o; }

  friend constexpr Dual operator+(const Dual& a) { return a; }
  friend constexpr Dual operator-(const Dual& a) { return {-a.value, -a.tangent}; }
  friend constexpr Dual operator+(const Dual& a, const Dual& b) { return {a.value + b.value, a.tangent + b.tangent}; }
  friend constexpr Dual operator-(const Dual& a, const Dual& b) { return {a.value - b.value, a.tangent - b.tangent}; }
  friend constexpr Dual operator*(const Dual& a, const Dual& b) {
    return {a.value * b.value, a.value * b.tangent + a.tangent * b.value};
  }
  friend constexpr Dual operator/(const Dual& a, const Dual& b) {
    const S q = a.value / b.value;
    return {q, (a.tangent - q * b.tangent) / b.value};
  }
  friend constexpr bool operator==(const Dual& a, const Dual& b) { return a.value == b.value; }
  friend constexpr bool operator!=(const Dual& a, const Dual& b) { return a.value != b.value; }
  friend constexpr bool operator<(const Dual& a, const Dual& b) { return a.value < b.value; }
  friend constexpr bool operator>(const Dual& a, const Dual& b) { return a.value > b.value; }
  friend constexpr bool operator<=(const Dual& a, const Dual& b) { return a.value <= b.value; }
  friend constexpr bool operator>=(const Dual& a, const Dual& b) { return a.value >= b.value; }
};

/// The elementary functions, found by argument-dependent lookup after `using std::exp;` and so on.
template <class S>
Dual<S> exp(const Dual<S>& x) {
  using std::exp;
  const S e = exp(x.value);
  return {e, x.tangent * e};
}
template <class S>
Dual<S> log(const Dual<S>& x) {
  using std::log;
  return {log(x.value), x.tangent / x.value};
}
template <class S>
Dual<S> log1p(const Dual<S>& x) {
  using std::log1p;
  return {log1p(x.value), x.tangent / (S(1) + x.value)};
}
template <class S>
Dual<S> expm1(const Dual<S>& x) {
  using std::expm1;
  const S e = expm1(x.value);
  return {e, x.tangent * (e + S(1))};
}
template <class S>
Dual<S> sqrt(const Dual<S>& x) {
  using std::sqrt;
  const S r = sqrt(x.value);
  return {r, x.tangent / (S(2) * r)};
}
template <class S>
Dual<S> tanh(const Dual<S>& x) {
  using std::tanh;
  const S t = tanh(x.value);
  return {t, x.tangent * (S(1) - t * t)};
}
template <class S>
Dual<S> sin(const Dual<S>& x) {
  using std::cos;
  using std::sin;
  return {sin(x.value), x.tangent * cos(x.value)};
}
template <class S>
Dual<S> cos(const Dual<S>& x) {
  using std::cos;
  using std::sin;
  return {cos(x.value), -x.tangent * sin(x.value)};
}
template <class S>
Dual<S> erf(const Dual<S>& x) {
  using std::erf;
  using std::exp;
  return {erf(x.value), x.tangent * (S(2 * std::numbers::inv_sqrtpi) * exp(-x.value * x.value))};
}
template <class S>
Dual<S> erfc(const Dual<S>& x) {
  using std::erfc;
  using std::exp;
  return {erfc(x.value), -x.tangent * (S(2 * std::numbers::inv_sqrtpi) * exp(-x.value * x.value))};
}
template <class S>
Dual<S> abs(const Dual<S>& x) {
  return x.value < S(0) ? -x : x;
}

}  // namespace valence

namespace Eigen {
/// Lets Eigen store duals in its matrices.
template <class S>
struct NumTraits<valence::Dual<S>> : NumTraits<S> {
  using Real = valence::Dual<S>;
  using NonInteger = valence::Dual<S>;
  using Nested = valence::Dual<S>;
  using Literal = valence::Dual<S>;
  enum {
    IsComplex = 0,
    IsInteger = 0,
    IsSigned = 1,
    RequireInitialization = 1,
    ReadCost = 2 * NumTraits<S>::ReadCost,
    AddCost = 2 * NumTraits<S>::AddCost,
    MulCost = 3 * NumTraits<S>::MulCost
  };
};
}  // namespace Eigen
