#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

class Rng;

/// A network with one hidden layer and the activation weight sigma_1 + (1 - weight) sigma_2, a hyper-parameter that may
/// be tuned (Balcan, Nguyen & Sharma 2025). The last layer is linear, so its outputs are the same mixture of those of
/// two networks with the same parameters, which is how it is computed: at twice the price of one. Parameters, their
/// names and starting values are those of an `Mlp` with the first activation.
///
///     InterpolatedActivation<double> net{{4, 32, 1}, Activation::tanh, relu, 0.3};
template <class S>
class InterpolatedActivation {
 public:
  using Scalar = S;
  using Batch = Matrix<S>;
  /// Of both networks. Belongs to the caller; one a thread.
  class Tape {
    friend class InterpolatedActivation;
    typename Mlp<S>::Tape first_, second_;
    Batch outputs_, tangents_, scaled_, input_;
  };

  /// `sizes`: inputs, hidden, outputs; `weight` in [0, 1]. Throws `Error` for other numbers of layers, for what `Mlp`
  /// refuses, and for an output activation, through which mixtures don't pass.
  InterpolatedActivation(std::vector<int> sizes, Activation first, Activation second, double weight,
                         const MlpOptions& options = {})
      : first_(sizes, first, options), second_(sizes, second, options), weight_(weight) {
    constexpr auto where = "InterpolatedActivation";
    check_size(where, "sizes", sizes.size(), 3);
    check_range(where, "weight", weight, 0, 1);
    if (options.output != Activation::identity)
      fail(where, "the output activation is {}; expected identity", name(options.output));
  }

  std::size_t parameter_count() const { return first_.parameter_count(); }
  int input_size() const { return first_.input_size(); }
  int output_size() const { return first_.output_size(); }
  double weight() const { return weight_; }
  /// The networks with each activation alone: `weight` 1 and 0. What `activation_sweep` compares.
  const Mlp<S>& first() const { return first_; }
  const Mlp<S>& second() const { return second_; }
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const { return first_.parameters(prefix); }
  void initialize(std::span<S> theta, Rng& rng) const { first_.initialize(theta, rng); }

  Outputs<S> forward(std::span<const S> theta, const Batch& x, Tape& tape) const {
    return mix(first_.forward(theta, x, tape.first_), second_.forward(theta, x, tape.second_), tape.outputs_);
  }
  void pullback(std::span<const S> theta, const Batch& x, Tape& tape, const Outputs<S>& dy,
                std::span<S> gradient) const {
    first_.pullback(theta, x, tape.first_, scaled(a(), dy, tape), gradient);
    second_.pullback(theta, x, tape.second_, scaled(b(), dy, tape), gradient);
  }
  void pullback_input(std::span<const S> theta, const Batch& x, Tape& tape, const Outputs<S>& dy, Batch& dx) const {
    first_.pullback_input(theta, x, tape.first_, scaled(a(), dy, tape), tape.input_);
    second_.pullback_input(theta, x, tape.second_, scaled(b(), dy, tape), dx);
    dx += tape.input_;
  }
  Outputs<S> pushforward(std::span<const S> theta, const Batch& x, Tape& tape, std::span<const S> v) const {
    return mix(first_.pushforward(theta, x, tape.first_, v), second_.pushforward(theta, x, tape.second_, v),
               tape.tangents_);
  }

 private:
  S a() const { return S(weight_); }
  S b() const { return S(1 - weight_); }
  Outputs<S> mix(const Outputs<S>& y, const Outputs<S>& z, Batch& out) const {
    out = a() * y + b() * z;
    return {out.data(), out.rows(), out.cols()};
  }
  static Outputs<S> scaled(S factor, const Outputs<S>& dy, Tape& tape) {
    tape.scaled_ = factor * dy;
    return {tape.scaled_.data(), dy.rows(), dy.cols()};
  }

  Mlp<S> first_, second_;
  double weight_;
};

}  // namespace valence
