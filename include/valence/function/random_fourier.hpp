#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <numbers>
#include <span>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

namespace valence {

namespace detail {

/// The largest angle that `cos_of` reduces exactly enough.
inline constexpr double largest_angle = 1e5;

/// cos(x) for |x| <= largest_angle, in lanes; absolute error below 5e-16. x = n pi + r with |r| <= pi / 2
/// and pi in three parts, so that n pi is exact; then cos(x) = (-1)^n cos(r), by Taylor's series to r^22.
template <class T>
[[gnu::always_inline]] inline T cos_of(T x) {
  using F = Ieee<double>;
  using U = uint_t<T>;
  const T shifted = x * 0.31830988618379067154 + F::round_magic;
  const T n = shifted - F::round_magic;
  const T r = ((x - n * 3.141592651605606) - n * 1.9841871583270443e-09) - n * 1.034036596358821e-18;
  const T c = polynomial(r * r, 1.0, -0.5, 0.041666666666666664, -0.001388888888888889, 2.48015873015873e-05,
                         -2.755731922398589e-07, 2.08767569878681e-09, -1.1470745597729725e-11, 4.779477332387385e-14,
                         -1.5619206968586225e-16, 4.110317623312165e-19, -8.896791392450574e-22);
  return bits_as<T>(U(bits_as<U>(c) ^ (bits_as<U>(shifted) << 63)));
}

}  // namespace detail

struct RandomFourierOptions {
  int waves = 48;        ///< m >= 1, cosines
  double frequency = 1;  ///< > 0: standard deviation of each entry of a wave vector; 1 / length scale of the kernel
  bool affine = true;    ///< 1 and x stand before the waves, so that a linear model needs no wave for a plane
};

/// phi(x) = [1, x, sqrt(2/m) cos(W' x + b)]: random Fourier features, whose inner products (of the waves) approach the
/// Gaussian kernel exp(-frequency^2 |x - x'|^2 / 2) as m grows (Rahimi and Recht 2007, algorithm 1). Entries of W are
/// normal, b is uniform on [0, 2 pi); both are drawn once, by the constructor.
class RandomFourier {
 public:
  /// m outputs of `rng` for each input, then m more. Throws `Error` for inputs < 1 and for bad options.
  RandomFourier(int inputs, Rng& rng, const RandomFourierOptions& options = {}) : affine_(options.affine) {
    check_positive("RandomFourier", "inputs", inputs);
    check_positive("RandomFourier", "waves", options.waves);
    check_positive("RandomFourier", "frequency", options.frequency);
    waves_.resize(inputs, options.waves);
    rng.fill_normal(view(waves_), 0, options.frequency);
    phase_.resize(options.waves);
    rng.fill_uniform(view(phase_), 0, 2 * std::numbers::pi);
  }

  int input_size() const { return static_cast<int>(waves_.rows()); }
  int size() const { return static_cast<int>(waves_.cols()) + (affine_ ? 1 + input_size() : 0); }
  const Matrix<double>& waves() const { return waves_; }   ///< W: inputs x m
  const Vector<double>& phases() const { return phase_; }  ///< b

  template <std::floating_point S>
  void operator()(std::span<const S> x, std::span<S> features) const {
    check(x.size(), features.size());
    S* out = features.data();
    if (affine_) {
      *out++ = S(1);
      for (const S v : x) *out++ = v;
    }
    const double factor = scale();
    double block[16];
    for (Eigen::Index begin = 0; begin < waves_.cols(); begin += std::ssize(block)) {
      const Eigen::Index count = (std::min)(waves_.cols() - begin, static_cast<Eigen::Index>(std::ssize(block)));
      bool bounded = true;
      for (Eigen::Index k = 0; k < count; ++k) {
        block[k] = angle(x, begin + k);
        bounded = bounded && std::abs(block[k]) <= detail::largest_angle;
      }
      if (bounded)
        detail::apply_lanes(block, block, static_cast<std::size_t>(count), [](auto v) { return detail::cos_of(v); });
      else
        for (Eigen::Index k = 0; k < count; ++k) block[k] = std::cos(block[k]);
      for (Eigen::Index k = 0; k < count; ++k) *out++ = static_cast<S>(factor * block[k]);
    }
  }
  template <std::floating_point S>
  void pullback(std::span<const S> x, std::span<const S> dphi, std::span<S> dx) const {
    check(x.size(), dphi.size());
    check_size("RandomFourier", "dx", dx.size(), x.size());
    const std::size_t first = affine_ ? 1 + x.size() : 0;
    for (std::size_t i = 0; i < dx.size(); ++i) dx[i] = affine_ ? dphi[1 + i] : S(0);
    for (Eigen::Index k = 0; k < waves_.cols(); ++k) {
      const double d =
          -scale() * std::sin(angle(x, k)) * static_cast<double>(dphi[first + static_cast<std::size_t>(k)]);
      for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += static_cast<S>(d * waves_(static_cast<Eigen::Index>(i), k));
    }
  }

 private:
  Matrix<double> waves_;
  Vector<double> phase_;
  bool affine_;

  double scale() const { return std::sqrt(2.0 / static_cast<double>(waves_.cols())); }
  void check(std::size_t inputs, std::size_t features) const {
    check_size("RandomFourier", "x", inputs, static_cast<std::size_t>(waves_.rows()));
    check_size("RandomFourier", "features", features, static_cast<std::size_t>(size()));
  }
  template <std::floating_point S>
  double angle(std::span<const S> x, Eigen::Index k) const {
    const double* const w = waves_.data() + k * waves_.rows();
    double dot = phase_[k];
    for (std::size_t i = 0; i < x.size(); ++i) dot += w[i] * static_cast<double>(x[i]);
    return dot;
  }
};

}  // namespace valence
