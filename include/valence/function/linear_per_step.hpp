#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

class Rng;

/// y = W_t phi(x): linear in fixed features, with weights of its own for each of `steps` times: the noise predictor of
/// a small diffusion model, a value function of a finite horizon. An input is x and below it the time t, a whole number
/// in 1..steps, as one column of `map.input_size()` + 1 numbers; networks take the same columns, so either can stand
/// where the other does. theta is W_1, ..., W_T, each outputs x features and column-major. A gradient touches only the
/// weights of times that were visited.
template <FeatureMap Map, std::floating_point S = double>
class LinearPerStep {
 public:
  using Scalar = S;
  using Batch = Matrix<S>;
  class Tape {
    friend class LinearPerStep;
    Vector<S> features_, outputs_;
    std::vector<std::ptrdiff_t> step_;  // 0-based
    std::ptrdiff_t samples_ = -1;       // of the last forward
  };

  /// Throws `Error` for outputs < 1 or steps < 1.
  LinearPerStep(Map map, int outputs, int steps) : map_(std::move(map)), outputs_(outputs), steps_(steps) {
    check_positive("LinearPerStep", "outputs", outputs);
    check_positive("LinearPerStep", "steps", steps);
  }

  std::size_t parameter_count() const { return static_cast<std::size_t>(steps_ * block()); }
  int output_size() const { return outputs_; }
  int input_size() const { return map_.input_size() + 1; }
  int steps() const { return steps_; }
  const Map& feature_map() const { return map_; }
  /// One tensor a step, "step1.weight", ..., of shape {outputs, features}.
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    std::vector<ParameterBlock> blocks;
    for (int t = 0; t < steps_; ++t)
      blocks.push_back({fmt::format("{}step{}.weight", prefix, t + 1),
                        static_cast<std::size_t>(t * block()),
                        {static_cast<std::size_t>(outputs_), static_cast<std::size_t>(map_.size())}});
    return blocks;
  }
  /// Zeros; draws nothing.
  void initialize(std::span<S> theta, Rng&) const {
    check_size("LinearPerStep::initialize", "theta", theta.size(), parameter_count());
    std::fill(theta.begin(), theta.end(), S(0));
  }

  /// Throws `Error` for a time that is no whole number in 1..steps.
  Outputs<S> forward(std::span<const S> theta, const Batch& x, Tape& tape) const {
    check_size("LinearPerStep::forward", "theta", theta.size(), parameter_count());
    encode("LinearPerStep::forward", x, tape);
    const std::ptrdiff_t n = x.cols(), size = map_.size();
    if (tape.outputs_.size() < n * outputs_) tape.outputs_.resize(n * outputs_);
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const S* const phi = tape.features_.data() + j * size;
      const S* const w = theta.data() + tape.step_[static_cast<std::size_t>(j)] * block();
      S* const to = tape.outputs_.data() + j * outputs_;
      std::fill(to, to + outputs_, S(0));
      for (std::ptrdiff_t i = 0; i < size; ++i)
        for (int o = 0; o < outputs_; ++o) to[o] += w[i * outputs_ + o] * phi[i];
    }
    return {tape.outputs_.data(), outputs_, n};
  }

  /// gradient of W_t += dy phi' of the samples at t. theta is not read.
  void pullback(std::span<const S>, const Batch& x, Tape& tape, const Outputs<S>& dy, std::span<S> gradient) const {
    check_size("LinearPerStep::pullback", "gradient", gradient.size(), parameter_count());
    check_shape("LinearPerStep::pullback", "dy", dy.rows(), dy.cols(), outputs_, x.cols());
    if (tape.samples_ != x.cols())
      fail("LinearPerStep::pullback", "the tape holds a forward of {} samples; expected the one of x ({} samples)",
           tape.samples_, x.cols());
    for (std::ptrdiff_t j = 0; j < x.cols(); ++j) {
      const S* const phi = tape.features_.data() + j * map_.size();
      S* const g = gradient.data() + tape.step_[static_cast<std::size_t>(j)] * block();
      for (std::ptrdiff_t i = 0; i < map_.size(); ++i)
        for (int o = 0; o < outputs_; ++o) g[i * outputs_ + o] += dy(o, j) * phi[i];
    }
  }

  /// Least squares: W_t = argmin sum |y - W phi(x)|^2 + ridge |W|^2 over the samples at t, exactly, for each t in `x`;
  /// the weights of other times stay. `x` as in `forward`, `y`: outputs x samples. `ridge` > 0, or 0 where the features
  /// of each time have full rank; throws `Error` where a system is singular (theta then holds the times before it).
  void fit(std::span<S> theta, const Batch& x, const Matrix<S>& y, double ridge) const {
    constexpr std::string_view where = "LinearPerStep::fit";
    check_size(where, "theta", theta.size(), parameter_count());
    check_shape(where, "y", y.rows(), y.cols(), outputs_, x.cols());
    check_finite(where, "y", view(y));
    if (!(ridge >= 0) || !std::isfinite(ridge)) fail(where, "ridge is {}; expected a finite number, 0 or more", ridge);
    Tape tape;
    encode(where, x, tape);
    const std::ptrdiff_t size = map_.size();
    Matrix<S> square(size, size), cross(size, outputs_);
    for (std::ptrdiff_t t = 0; t < steps_; ++t) {
      square.setZero();
      cross.setZero();
      bool visited = false;
      for (std::ptrdiff_t j = 0; j < x.cols(); ++j) {
        if (tape.step_[static_cast<std::size_t>(j)] != t) continue;
        const Eigen::Map<const Vector<S>> phi(tape.features_.data() + j * size, size);
        for (std::ptrdiff_t i = 0; i < size; ++i) square.col(i).tail(size - i) += phi[i] * phi.tail(size - i);
        for (int o = 0; o < outputs_; ++o) cross.col(o) += y(o, j) * phi;
        visited = true;
      }
      if (!visited) continue;
      square.diagonal().array() += static_cast<S>(ridge);
      const Cholesky<S> factor(square, where);
      for (int o = 0; o < outputs_; ++o) {
        const std::span<S> column(cross.data() + o * size, static_cast<std::size_t>(size));
        factor.solve(column, column);
        for (std::ptrdiff_t i = 0; i < size; ++i)
          theta[static_cast<std::size_t>(t * block() + i * outputs_ + o)] = cross(i, o);
      }
    }
  }

 private:
  Map map_;
  int outputs_, steps_;

  std::ptrdiff_t block() const { return static_cast<std::ptrdiff_t>(map_.size()) * outputs_; }
  void encode(std::string_view where, const Batch& x, Tape& tape) const {
    check_shape(where, "x", x.rows(), x.cols(), input_size(), x.cols());
    const std::ptrdiff_t n = x.cols(), size = map_.size(), inputs = map_.input_size();
    tape.samples_ = -1;
    if (tape.features_.size() < n * size) tape.features_.resize(n * size);
    if (tape.step_.size() < static_cast<std::size_t>(n)) tape.step_.resize(static_cast<std::size_t>(n));
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const S time = x(inputs, j);
      if (!(time >= S(1) && time <= static_cast<S>(steps_) && time == std::floor(time)))
        fail(where, "the time of sample {} is {}; expected a whole number in [1, {}]", j, time, steps_);
      tape.step_[static_cast<std::size_t>(j)] = static_cast<std::ptrdiff_t>(time) - 1;
      map_(std::span<const S>(x.data() + j * x.rows(), static_cast<std::size_t>(inputs)),
           std::span<S>(tape.features_.data() + j * size, static_cast<std::size_t>(size)));
    }
    tape.samples_ = n;
  }
};
template <class Map>
LinearPerStep(Map, int, int) -> LinearPerStep<Map, double>;

}  // namespace valence
