#pragma once

#include <cmath>
#include <numbers>
#include <string_view>

#include "valence/core/elementary.hpp"
#include "valence/core/lanes.hpp"

namespace valence {

/// What stands between the layers of a network. `gelu` is the exact one, z Phi(z) (Hendrycks and Gimpel 2016),
/// PyTorch's default; `silu` is z sigmoid(z) (Elfwing et al. 2018), also called swish.
enum class Activation { identity, relu, tanh, gelu, silu };

/// Short names for the common ones: `Mlp<float>{{4, 64, 2}, relu}`. `tanh` and `identity` have none: `valence::tanh`
/// would collide with the C library's function wherever both namespaces are open.
inline constexpr Activation relu = Activation::relu;
inline constexpr Activation gelu = Activation::gelu;
inline constexpr Activation silu = Activation::silu;

/// "relu", "tanh", ...
constexpr std::string_view name(Activation a) {
  switch (a) {
    case Activation::identity:
      return "identity";
    case Activation::relu:
      return "relu";
    case Activation::tanh:
      return "tanh";
    case Activation::gelu:
      return "gelu";
    case Activation::silu:
      return "silu";
  }
  return "unknown";
}

namespace detail {

// One spelling for scalars, lanes and duals.
template <class T>
T generic_constant(double x) {
  if constexpr (Lane<T>)
    return splat<T>(static_cast<scalar_t<T>>(x));
  else
    return T(x);
}
template <class T>
T generic_exp(const T& x) {
  if constexpr (Lane<T>) {
    return elementary::exp(x);
  } else {
    using std::exp;
    return exp(x);
  }
}
template <class T>
T generic_tanh(const T& x) {
  if constexpr (Lane<T>) {
    return elementary::tanh(x);
  } else {
    using std::tanh;
    return tanh(x);
  }
}
template <class T>
T generic_sqrt(const T& x) {
  if constexpr (Lane<T>) {
    return elementary::sqrt(x);
  } else {
    using std::sqrt;
    return sqrt(x);
  }
}
/// Phi(x) = erfc(-x / sqrt 2) / 2: without the cancellation of 1 + erf in the lower tail.
template <class T>
T generic_normal_cdf(const T& x) {
  if constexpr (Lane<T>) {
    return elementary::erfc(x * generic_constant<T>(-1 / std::numbers::sqrt2)) * generic_constant<T>(0.5);
  } else {
    using std::erfc;
    return erfc(x * generic_constant<T>(-1 / std::numbers::sqrt2)) * generic_constant<T>(0.5);
  }
}
template <class T>
T generic_sigmoid(const T& x) {
  const T one = generic_constant<T>(1), zero{};
  const T e = generic_exp(x < zero ? x : -x);
  return (x < zero ? e : one) / (one + e);
}

}  // namespace detail

/// The activation of z, and its derivative there, for scalars, lanes and duals. relu'(0) = 0; NaN stays NaN.
template <class T>
T activate(Activation a, const T& z) {
  const T zero{};
  switch (a) {
    case Activation::identity:
      return z;
    case Activation::relu:
      return z < zero ? zero : z;
    case Activation::tanh:
      return detail::generic_tanh(z);
    case Activation::gelu:
      return z * detail::generic_normal_cdf(z);
    case Activation::silu:
      return z * detail::generic_sigmoid(z);
  }
  return z;
}
template <class T>
T activation_slope(Activation a, const T& z) {
  const T zero{}, one = detail::generic_constant<T>(1);
  switch (a) {
    case Activation::identity:
      return one;
    case Activation::relu:
      return z > zero ? one : zero;
    case Activation::tanh: {
      const T t = detail::generic_tanh(z);
      return one - t * t;
    }
    case Activation::gelu: {
      const T density = detail::generic_exp(z * z * detail::generic_constant<T>(-0.5)) *
                        detail::generic_constant<T>(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
      return detail::generic_normal_cdf(z) + z * density;
    }
    case Activation::silu: {
      const T s = detail::generic_sigmoid(z);
      return s * (one + z * (one - s));
    }
  }
  return one;
}

}  // namespace valence
