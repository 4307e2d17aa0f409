#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/parameters.hpp"

/// The largest singular value of a weight matrix, an optimizer that holds it below a bound, and what follows for how
/// fast a network can change with its inputs.
namespace valence {

/// Power iteration on W'W: u <- W v / |W v|, v <- W' u / |W' u|, sigma = u' W v (Golub & Van Loan 2013, section 8.2.1;
/// Miyato et al. 2018, algorithm 1). It keeps v from call to call, so a matrix that changes little needs few iterations.
/// sigma is never above the largest singular value, and converges to it with the square of the ratio of the second to
/// the first.
template <Scalar S = double>
class PowerIteration {
 public:
  /// Starts from `v`, an entry a column of W. Throws `Error` where it is zero or not finite.
  explicit PowerIteration(Vector<S> v) : v_(std::move(v)) {
    check_finite("PowerIteration", "v", view(std::as_const(v_)));
    const S norm = v_.norm();
    if (!(norm > 0)) fail("PowerIteration", "v is zero; expected a direction to start from");
    v_ /= norm;
  }
  /// Starts from a direction that is uniform on the sphere.
  PowerIteration(std::size_t columns, Rng& rng) : PowerIteration(normal(columns, rng)) {}

  /// One iteration with W, rows x columns, column by column; returns sigma. A zero matrix gives 0 and moves nothing.
  /// Throws `Error` for another size and weights that aren't finite.
  S step(std::span<const S> weight, std::size_t rows) {
    constexpr auto where = "PowerIteration::step";
    check_size(where, "weight", weight.size(), rows * static_cast<std::size_t>(v_.size()));
    if (u_.size() != static_cast<Eigen::Index>(rows)) u_.resize(static_cast<Eigen::Index>(rows));
    const Eigen::Map<const Matrix<S>> w(weight.data(), u_.size(), v_.size());
    u_.setZero();
    for (Eigen::Index j = 0; j < v_.size(); ++j) u_ += v_[j] * w.col(j);
    const S norm = u_.norm();
    if (!std::isfinite(norm)) {
      check_finite(where, "weight", weight);
      fail(where, "|W v| is {}; expected a finite number", norm);
    }
    if (norm == S(0)) return S(0);
    u_ /= norm;
    S square = 0;
    for (Eigen::Index j = 0; j < v_.size(); ++j) {
      const S along = w.col(j).dot(u_);
      next_[j] = along, square += along * along;
    }
    const S sigma = std::sqrt(square);
    v_ = next_ / sigma;
    return sigma;
  }

  /// The right singular vector, of length 1.
  const Vector<S>& direction() const { return v_; }

  template <class A>
  void archive(A& ar) {
    ar(v_);
  }

 private:
  Vector<S> v_, u_ = {}, next_ = Vector<S>::Zero(v_.size());

  static Vector<S> normal(std::size_t columns, Rng& rng) {
    check_positive("PowerIteration", "columns", columns);
    Vector<S> v(static_cast<Eigen::Index>(columns));
    for (S& x : view(v)) x = static_cast<S>(rng.normal());
    return v;
  }
};

/// Where the spectral norm of a matrix stops: when an iteration changes it by no more than `tolerance` > 0 of itself, or
/// after `max_iterations` >= 1.
struct SpectralNormOptions {
  double tolerance = 1e-12;
  std::size_t max_iterations = 10'000;
};

/// The largest singular value of W (rows x columns, column by column), from a fixed start. Throws `Error` for an empty
/// matrix and for weights that aren't finite.
template <Scalar S>
S spectral_norm(std::span<const S> weight, std::size_t rows, const SpectralNormOptions& options = {}) {
  constexpr auto where = "spectral_norm";
  check_positive(where, "rows", rows);
  check_positive(where, "tolerance", options.tolerance);
  check_positive(where, "max_iterations", options.max_iterations);
  Rng start{0};
  PowerIteration<S> power(weight.size() / rows, start);
  S sigma = 0;
  for (std::size_t k = 0; k < options.max_iterations; ++k) {
    const S before = sigma;
    sigma = power.step(weight, rows);
    if (!(std::abs(sigma - before) > static_cast<S>(options.tolerance) * sigma)) break;
  }
  return sigma;
}
template <Scalar S>
S spectral_norm(const Matrix<S>& weight, const SpectralNormOptions& options = {}) {
  return spectral_norm(view(weight), static_cast<std::size_t>(weight.rows()), options);
}

/// A model that lists its tensors: `Mlp`, and the composites of such.
template <class F>
concept ListsParameters = requires(const F f) {
  { f.parameters() } -> std::convertible_to<std::vector<ParameterBlock>>;
};

namespace detail {

/// The weight matrices among the tensors: those of two dimensions.
inline std::vector<ParameterBlock> weight_blocks(const std::vector<ParameterBlock>& all) {
  std::vector<ParameterBlock> weights;
  for (const ParameterBlock& block : all)
    if (block.shape.size() == 2) weights.push_back(block);
  return weights;
}
/// The largest slope of an activation: gelu's at sqrt(2), silu's at the root of 2 + x (1 - 2 sigmoid(x)) about 2.4.
constexpr double steepest(Activation a) {
  return a == Activation::gelu ? 1.128904145186 : a == Activation::silu ? 1.099839320129 : 1;
}

}  // namespace detail

/// `max_sigma` > 0: the bound of each weight matrix. `iterations` >= 1 of power iteration at each step of the optimizer.
struct SpectralProjectionOptions {
  double max_sigma = 3;
  std::size_t iterations = 3;
};

template <std::floating_point S, class Inner>
class SpectralProjectionState;

/// An optimizer that holds the spectral norm of each weight matrix below a bound: after a step of the inner optimizer,
/// W <- W min(1, max_sigma / sigma) for every tensor of two dimensions (biases are free). A relu network with L layers
/// is then Lipschitz with constant max_sigma^L (`lipschitz_bound`). Weights below the bound are left as they are, to the
/// bit. The power iteration goes on from step to step, from a fixed start, so sigma is an estimate from below that is
/// as good as the weights are slow.
///
///     Mlp<float> q{{4, 64, 64, 5}, relu};
///     SpectralProjection optimizer{Adam{.step_size = 1e-3}, q, {.max_sigma = 3}};
///
/// Zheng et al. (2023, arXiv:2302.01244) constrain the spectral norms of a value network. That the constraint is this
/// projection, with one bound for all layers, is our choice: it composes with every optimizer.
template <Optimizer O>
class SpectralProjection {
 public:
  /// `model`: the one whose parameters are to be trained. Throws `Error` for options out of range and for a model
  /// without weight matrices.
  template <ListsParameters F>
  SpectralProjection(const O& optimizer, const F& model, const SpectralProjectionOptions& options = {})
      : optimizer_(optimizer),
        weights_(detail::weight_blocks(model.parameters())),
        size_(model.parameter_count()),
        options_(options) {
    constexpr auto where = "SpectralProjection";
    check_positive(where, "max_sigma", options.max_sigma);
    check_positive(where, "iterations", options.iterations);
    if (weights_.empty()) fail(where, "the model has no tensor of two dimensions; expected weight matrices");
  }

  /// `n`: the number of the model's parameters.
  template <std::floating_point S>
  auto start(std::size_t n) const {
    check_size("SpectralProjection", "theta", n, size_);
    auto inner = optimizer_.template start<S>(n);
    return SpectralProjectionState<S, decltype(inner)>(std::move(inner), weights_, options_);
  }

 private:
  O optimizer_;
  std::vector<ParameterBlock> weights_;
  std::size_t size_;
  SpectralProjectionOptions options_;
};

/// The state of `SpectralProjection`: that of the inner optimizer, and the directions of the power iterations.
template <std::floating_point S, class Inner>
class SpectralProjectionState {
 public:
  SpectralProjectionState(Inner inner, std::vector<ParameterBlock> weights, const SpectralProjectionOptions& options)
      : inner_(std::move(inner)), weights_(std::move(weights)), options_(options) {
    const Rng start{0};
    for (std::size_t k = 0; k < weights_.size(); ++k) {
      Rng stream = start.split(k);
      power_.emplace_back(weights_[k].shape[1], stream);
    }
  }

  void step(std::span<S> theta, std::span<const S> gradient, double factor = 1) {
    inner_.step(theta, gradient, factor);
    const S bound = static_cast<S>(options_.max_sigma);
    for (std::size_t k = 0; k < weights_.size(); ++k) {
      const auto weight = theta.subspan(weights_[k].offset, weights_[k].size());
      S sigma = 0;
      for (std::size_t i = 0; i < options_.iterations; ++i)
        sigma = power_[k].step(std::span<const S>(weight), weights_[k].shape[0]);
      if (!(sigma > bound)) continue;
      const S shrink = bound / sigma;
      for (S& w : weight) w *= shrink;
    }
  }
  std::int64_t steps() const { return inner_.steps(); }
  template <class A>
  void archive(A& ar) {
    ar(inner_);
    for (auto& power : power_) ar(power);
  }

 private:
  Inner inner_;
  std::vector<ParameterBlock> weights_;
  SpectralProjectionOptions options_;
  std::vector<PowerIteration<S>> power_ = {};
};

/// An upper bound of |f(x) - f(y)| / |x - y| (Euclidean norms) of a network: the product of the spectral norms of its
/// weights and of the largest slopes of its activations (1, but 1.129 for gelu and 1.100 for silu). Throws `Error` for a
/// network with layer normalisation, which has no useful bound, and for weights that aren't finite.
template <class F>
  requires ListsParameters<F> && requires(const F f) {
    f.hidden();
    f.options().layer_norm;
  }
double lipschitz_bound(const F& net, std::span<const std::type_identity_t<typename F::Scalar>> theta) {
  constexpr auto where = "lipschitz_bound";
  check_size(where, "theta", theta.size(), net.parameter_count());
  if (net.options().layer_norm) fail(where, "the network has layer normalisation, which has no bound");
  const auto weights = detail::weight_blocks(net.parameters());
  double bound = std::pow(detail::steepest(net.hidden()), static_cast<double>(weights.size() - 1)) *
                 detail::steepest(net.options().output);
  // In double, because a product of sums of floats is no bound.
  Matrix<double> copy;
  for (const ParameterBlock& w : weights) {
    copy.resize(static_cast<Eigen::Index>(w.shape[0]), static_cast<Eigen::Index>(w.shape[1]));
    for (std::size_t i = 0; i < w.size(); ++i) copy.data()[i] = static_cast<double>(theta[w.offset + i]);
    bound *= spectral_norm(copy);
  }
  return bound;
}

}  // namespace valence
