#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

/// `deviation` >= 0 is sigma_0: standard deviations start at sigma_0 / sqrt(inputs of the layer).
struct NoisyOptions {
  double deviation = 0.5;
};

/// A network whose weights are random, with means and standard deviations that are learned, so that it explores by
/// itself (Fortunato et al. 2018, "Noisy networks for exploration"): theta = (means, deviations), and the model inside
/// works on means + deviations * noise. Noise is factorised (their equations 10, 11): f(e_out) f(e_in) for a weight and
/// f(e_out) for a bias, f(x) = sign(x) sqrt|x|, e standard normal. What isn't a layer's weight or bias (layer
/// normalisation) has no noise.
///
///     Noisy net{Mlp<float>{{4, 64, 64, 2}, relu, {.initialization = Initialization::fan_in}}};
///     Noisy<Mlp<float>>::Tape tape;
///     net.draw_noise(tape, rng);      // one noise for the whole batch, kept until the next is drawn
///     net.quiet(tape);                // the means alone, as at evaluation
///
/// The noise is in the tape, which starts quiet: the model stays sizes without numbers. The paper's means start as
/// `Initialization::fan_in`.
template <Approximator F>
class Noisy {
 public:
  using Scalar = typename F::Scalar;
  using Batch = typename F::Batch;
  class Tape {
    friend class Noisy;
    typename F::Tape inner_;
    std::vector<Scalar> noise_ = {}, weights_ = {}, gradient_ = {}, factors_ = {};
    bool noisy_ = false;
  };

  explicit Noisy(F inner, const NoisyOptions& options = {}) : inner_(std::move(inner)), options_(options) {
    if (!(options.deviation >= 0) || !std::isfinite(options.deviation))
      fail("Noisy", "deviation is {}; expected a finite number of at least 0", options.deviation);
    const auto blocks = inner_.parameters();
    for (std::size_t k = 0; k < blocks.size(); ++k) {
      if (blocks[k].shape.size() != 2) continue;
      Layer layer{blocks[k].offset, blocks[k].shape[0], blocks[k].shape[1], 0, 0};
      if (k + 1 < blocks.size() && blocks[k + 1].shape.size() == 1 && blocks[k + 1].shape[0] == layer.outputs)
        layer.bias = blocks[k + 1].offset, layer.biases = layer.outputs;
      layers_.push_back(layer);
    }
  }

  const F& inner() const { return inner_; }
  /// Twice the model's.
  std::size_t parameter_count() const { return 2 * inner_.parameter_count(); }
  int input_size() const
    requires requires(const F f) { f.input_size(); }
  {
    return inner_.input_size();
  }
  int output_size() const { return inner_.output_size(); }
  /// The model's tensors twice: with "_mu" and, behind them all, with "_sigma" behind their names.
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    std::vector<ParameterBlock> blocks = inner_.parameters(prefix);
    const std::size_t count = blocks.size();
    for (std::size_t k = 0; k < count; ++k) {
      ParameterBlock deviation = blocks[k];
      deviation.offset += inner_.parameter_count();
      deviation.name += "_sigma";
      blocks[k].name += "_mu";
      blocks.push_back(std::move(deviation));
    }
    return blocks;
  }
  void initialize(std::span<Scalar> theta, Rng& rng) const {
    const std::size_t n = inner_.parameter_count();
    check_size("Noisy::initialize", "theta", theta.size(), 2 * n);
    inner_.initialize(theta.first(n), rng);
    const auto deviations = theta.subspan(n);
    for (Scalar& x : deviations) x = Scalar(0);
    for (const Layer& layer : layers_) {
      const auto start = static_cast<Scalar>(options_.deviation / std::sqrt(static_cast<double>(layer.inputs)));
      for (std::size_t i = 0; i < layer.outputs * layer.inputs; ++i) deviations[layer.weight + i] = start;
      for (std::size_t i = 0; i < layer.biases; ++i) deviations[layer.bias + i] = start;
    }
  }

  /// New noise for the forwards of this tape. inputs + outputs numbers of the generator a layer.
  void draw_noise(Tape& tape, Rng& rng) const {
    tape.noise_.resize(inner_.parameter_count(), Scalar(0));
    for (const Layer& layer : layers_) {
      tape.factors_.resize(layer.inputs + layer.outputs);
      for (Scalar& f : tape.factors_) {
        const double e = rng.normal();
        f = static_cast<Scalar>(std::copysign(std::sqrt(std::abs(e)), e));
      }
      const Scalar* const out = tape.factors_.data() + layer.inputs;
      for (std::size_t i = 0; i < layer.inputs; ++i)
        for (std::size_t o = 0; o < layer.outputs; ++o)
          tape.noise_[layer.weight + i * layer.outputs + o] = out[o] * tape.factors_[i];
      for (std::size_t o = 0; o < layer.biases; ++o) tape.noise_[layer.bias + o] = out[o];
    }
    tape.noisy_ = true;
  }
  /// No noise in the forwards to come.
  void quiet(Tape& tape) const { tape.noisy_ = false; }

  Outputs<Scalar> forward(std::span<const Scalar> theta, const Batch& x, Tape& tape) const {
    check_size("Noisy::forward", "theta", theta.size(), parameter_count());
    return inner_.forward(weights(theta, tape), x, tape.inner_);
  }
  Outputs<Scalar> forward(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape) const
    requires std::same_as<Batch, Matrix<Scalar>>
  {
    check_size("Noisy::forward", "theta", theta.size(), parameter_count());
    return inner_.forward(weights(theta, tape), x, tape.inner_);
  }
  void pullback(std::span<const Scalar> theta, const Batch& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient) const {
    pull(theta, x, tape, dy, gradient);
  }
  void pullback(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient) const
    requires std::same_as<Batch, Matrix<Scalar>>
  {
    pull(theta, x, tape, dy, gradient);
  }
  void pullback_input(std::span<const Scalar> theta, const Batch& x, Tape& tape, const Outputs<Scalar>& dy,
                      Batch& dx) const
    requires InputDifferentiable<F>
  {
    const std::size_t n = inner_.parameter_count();
    check_size("Noisy::pullback_input", "theta", theta.size(), 2 * n);
    inner_.pullback_input(tape.noisy_ ? std::span<const Scalar>(tape.weights_) : theta.first(n), x, tape.inner_, dy,
                          dx);
  }

 private:
  struct Layer {
    std::size_t weight, outputs, inputs, bias,
        biases;  // offsets in theta and sizes; `biases` is 0 where there are none
  };
  F inner_;
  NoisyOptions options_;
  std::vector<Layer> layers_ = {};

  template <class X>
  void pull(std::span<const Scalar> theta, const X& x, Tape& tape, const Outputs<Scalar>& dy,
            std::span<Scalar> gradient) const {
    const std::size_t n = inner_.parameter_count();
    check_size("Noisy::pullback", "theta", theta.size(), 2 * n);
    check_size("Noisy::pullback", "gradient", gradient.size(), 2 * n);
    if (!tape.noisy_) return inner_.pullback(theta.first(n), x, tape.inner_, dy, gradient.first(n));
    tape.gradient_.assign(n, Scalar(0));
    inner_.pullback(tape.weights_, x, tape.inner_, dy, tape.gradient_);
    for (std::size_t i = 0; i < n; ++i) {
      gradient[i] += tape.gradient_[i];
      gradient[n + i] += tape.gradient_[i] * tape.noise_[i];
    }
  }
  std::span<const Scalar> weights(std::span<const Scalar> theta, Tape& tape) const {
    const std::size_t n = inner_.parameter_count();
    if (!tape.noisy_) return theta.first(n);
    tape.weights_.resize(n);
    for (std::size_t i = 0; i < n; ++i) tape.weights_[i] = theta[i] + theta[n + i] * tape.noise_[i];
    return tape.weights_;
  }
};

}  // namespace valence
