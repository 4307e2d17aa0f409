#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "valence/core/random.hpp"

namespace valence {

/// How the weights of a layer with `in` inputs and `out` outputs begin; `gain` multiplies.
/// - `orthogonal`: rows or columns (the fewer) orthonormal, Haar-distributed (Saxe, McClelland and Ganguli 2014).
/// Biases 0.
/// - `he`: normal with standard deviation gain / sqrt(in) (He et al. 2015: gain sqrt 2 for relu). Biases 0.
/// - `glorot`: uniform on +-gain sqrt(6 / (in + out)) (Glorot and Bengio 2010, equation 16). Biases 0.
/// - `fan_in`: uniform on +-gain / sqrt(in), biases on +-1 / sqrt(in): PyTorch's default for `nn.Linear` (with gain 1).
enum class Initialization { orthogonal, he, glorot, fan_in };

namespace detail {

/// Fills `w` with `vectors` orthonormal vectors of `length` >= vectors numbers, one after the other, Haar-distributed:
/// normal vectors made orthogonal by Gram and Schmidt, twice, which is enough for full precision (Giraud et al. 2005).
inline void orthonormal(std::span<double> w, std::size_t vectors, std::size_t length, Rng& rng) {
  const auto dot = [&](const double* a, const double* b) {
    double sum = 0;
    for (std::size_t i = 0; i < length; ++i) sum += a[i] * b[i];
    return sum;
  };
  for (std::size_t k = 0; k < vectors; ++k) {
    double* v = w.data() + k * length;
    double norm = 0;
    while (!(norm > 1e-3)) {  // a vector that lies (almost) in the span of the earlier ones is drawn again
      for (std::size_t i = 0; i < length; ++i) v[i] = rng.normal();
      const double before = std::sqrt(dot(v, v));
      for (int pass = 0; pass < 2; ++pass)
        for (std::size_t j = 0; j < k; ++j) {
          const double* u = w.data() + j * length;
          const double along = dot(u, v);
          for (std::size_t i = 0; i < length; ++i) v[i] -= along * u[i];
        }
      norm = std::sqrt(dot(v, v));
      if (norm < 1e-3 * before) norm = 0;
    }
    for (std::size_t i = 0; i < length; ++i) v[i] /= norm;
  }
}

}  // namespace detail

/// Fills an out x in weight matrix, column-major, and its `out` biases. Drawn in double, so that float and double
/// networks of one seed are roundings of each other.
template <class S>
void initialize_layer(Initialization how, double gain, std::span<S> weights, std::span<S> biases, std::size_t in,
                      std::size_t out, Rng& rng) {
  for (S& b : biases) b = S(0);
  switch (how) {
    case Initialization::orthogonal: {
      std::vector<double> w(in * out);
      const bool columns = out >= in;  // orthonormal columns of out numbers, or rows of in numbers
      detail::orthonormal(w, columns ? in : out, columns ? out : in, rng);
      for (std::size_t c = 0; c < in; ++c)
        for (std::size_t r = 0; r < out; ++r)
          weights[c * out + r] = S(gain * (columns ? w[c * out + r] : w[r * in + c]));
      return;
    }
    case Initialization::he: {
      const double deviation = gain / std::sqrt(static_cast<double>(in));
      for (S& w : weights) w = S(deviation * rng.normal());
      return;
    }
    case Initialization::glorot: {
      const double bound = gain * std::sqrt(6 / static_cast<double>(in + out));
      for (S& w : weights) w = S(bound * (2 * rng.uniform() - 1));
      return;
    }
    case Initialization::fan_in: {
      const double bound = 1 / std::sqrt(static_cast<double>(in));
      for (S& w : weights) w = S(gain * bound * (2 * rng.uniform() - 1));
      for (S& b : biases) b = S(bound * (2 * rng.uniform() - 1));
      return;
    }
  }
}

}  // namespace valence
