#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

class Rng;

/// y = theta, whatever the input: learned numbers that don't depend on the state, such as the log-standard-deviations of
/// a Gaussian policy (Schulman et al. 2015, appendix D).
///
///     Parallel actor{Mlp<float>{{3, 64, 64, 1}, tanh}, Constant<float>{1}};   // a mean, and a log-std beside it
///
/// It takes inputs of any size: put it second in `Parallel`.
template <class S>
class Constant {
 public:
  using Scalar = S;
  using Batch = Matrix<S>;
  class Tape {
    friend class Constant;
    Matrix<S> y_, tangents_;
    std::ptrdiff_t samples_ = -1;
  };

  /// `outputs` >= 1 numbers, which start at `value`.
  explicit Constant(int outputs, S value = S(0)) : outputs_(outputs), value_(value) {
    check_positive("Constant", "outputs", outputs);
  }

  std::size_t parameter_count() const { return static_cast<std::size_t>(outputs_); }
  int output_size() const { return outputs_; }
  /// One tensor, "constant".
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    return {{std::string(prefix) + "constant", 0, {parameter_count()}}};
  }
  template <class T>
  Constant<T> rebind() const {
    return Constant<T>(outputs_, T(value_));
  }
  /// Draws nothing.
  void initialize(std::span<S> theta, Rng&) const {
    check_size("Constant::initialize", "theta", theta.size(), parameter_count());
    for (S& x : theta) x = value_;
  }

  Outputs<S> forward(std::span<const S> theta, const Batch& x, Tape& tape) const {
    return forward(theta, Outputs<S>(x.data(), x.rows(), x.cols()), tape);
  }
  Outputs<S> forward(std::span<const S> theta, const Outputs<S>& x, Tape& tape) const {
    check_size("Constant::forward", "theta", theta.size(), parameter_count());
    tape.samples_ = x.cols();
    return repeat(theta, x.cols(), tape.y_);
  }
  /// gradient += the sum of dy's columns.
  void pullback(std::span<const S>, const Batch&, Tape& tape, const Outputs<S>& dy, std::span<S> gradient) const {
    add(tape, dy, gradient);
  }
  void pullback(std::span<const S>, const Outputs<S>&, Tape& tape, const Outputs<S>& dy, std::span<S> gradient) const {
    add(tape, dy, gradient);
  }
  void pullback(std::span<const S>, const Outputs<S>& x, Tape& tape, const Outputs<S>& dy, std::span<S> gradient,
                Matrix<S>& dx) const {
    add(tape, dy, gradient);
    dx.setZero(x.rows(), x.cols());
  }
  void pullback_input(std::span<const S>, const Batch& x, Tape& tape, const Outputs<S>& dy, Batch& dx) const {
    check_shape("Constant::pullback_input", "dy", dy.rows(), dy.cols(), outputs_, tape.samples_);
    dx.setZero(x.rows(), x.cols());
  }
  Outputs<S> pushforward(std::span<const S>, const Batch&, Tape& tape, std::span<const S> v) const {
    return along(tape, v);
  }
  Outputs<S> pushforward(std::span<const S>, const Outputs<S>&, Tape& tape, std::span<const S> v,
                         const Outputs<S>&) const {
    return along(tape, v);
  }

 private:
  int outputs_;
  S value_;

  void add(const Tape& tape, const Outputs<S>& dy, std::span<S> gradient) const {
    check_shape("Constant::pullback", "dy", dy.rows(), dy.cols(), outputs_, tape.samples_);
    check_size("Constant::pullback", "gradient", gradient.size(), parameter_count());
    for (Eigen::Index j = 0; j < dy.cols(); ++j)
      for (int i = 0; i < outputs_; ++i) gradient[static_cast<std::size_t>(i)] += dy(i, j);
  }
  Outputs<S> along(Tape& tape, std::span<const S> v) const {
    check_size("Constant::pushforward", "v", v.size(), parameter_count());
    if (tape.samples_ < 0) fail("Constant::pushforward", "the tape holds no forward; expected the one of x");
    return repeat(v, tape.samples_, tape.tangents_);
  }
  Outputs<S> repeat(std::span<const S> column, std::ptrdiff_t samples, Matrix<S>& to) const {
    to.resize(outputs_, samples);
    for (std::ptrdiff_t j = 0; j < samples; ++j)
      for (int i = 0; i < outputs_; ++i) to(i, j) = column[static_cast<std::size_t>(i)];
    return {to.data(), to.rows(), to.cols()};
  }
};

}  // namespace valence
