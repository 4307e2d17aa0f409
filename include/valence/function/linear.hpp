#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

class Rng;

/// y = W phi(x): linear in fixed features. theta is W, outputs x features, column-major: a feature's weights lie
/// together. A batch is raw inputs, `map.input_size()` x batch. With a sparse map (`OneHot`, `TileCoding`) it is Local:
/// forward and pullback cost O(active * outputs), and the gradient may be theta itself. The features of a forward stay
/// in the tape for its pullbacks.
///
///     Linear q{TileCoding{{-1.2, -0.07}, {0.6, 0.07}}, 3};       // mountain car, 3 actions; double
///     Linear<Fourier, float> v{Fourier{{0}, {1}, 5}, 1};
template <FeatureMap Map, std::floating_point S = double>
class Linear {
  static constexpr bool sparse = SparseFeatureMap<Map>;

 public:
  using Scalar = S;
  using Batch = Matrix<S>;
  class Tape {
    friend class Linear;
    Vector<S> features_, outputs_, tangents_;
    std::vector<int> active_;
    std::ptrdiff_t samples_ = -1, each_ = 0;  // of the last forward; numbers a sample
  };
  static constexpr bool local = sparse;

  Linear(Map map, int outputs) : map_(std::move(map)), outputs_(outputs) {
    check_positive("Linear", "outputs", outputs);
    check_positive("Linear", "features", static_cast<int>(map_.size()));
  }

  std::size_t parameter_count() const {
    return static_cast<std::size_t>(map_.size()) * static_cast<std::size_t>(outputs_);
  }
  int output_size() const { return outputs_; }
  int input_size() const { return map_.input_size(); }
  const Map& feature_map() const { return map_; }
  /// One tensor, "weight", of shape {outputs, features}.
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    return {{std::string(prefix) + "weight",
             0,
             {static_cast<std::size_t>(outputs_), static_cast<std::size_t>(map_.size())}}};
  }
  /// Zeros; draws nothing.
  void initialize(std::span<S> theta, Rng&) const {
    check_size("Linear::initialize", "theta", theta.size(), parameter_count());
    std::fill(theta.begin(), theta.end(), S(0));
  }

  Outputs<S> forward(std::span<const S> theta, const Batch& x, Tape& tape) const {
    return forward(theta, Outputs<S>(x.data(), x.rows(), x.cols()), tape);
  }
  Outputs<S> forward(std::span<const S> theta, const Outputs<S>& x, Tape& tape) const {
    check_size("Linear::forward", "theta", theta.size(), parameter_count());
    check_shape("Linear::forward", "x", x.rows(), x.cols(), map_.input_size(), x.cols());
    const std::ptrdiff_t n = x.cols();
    tape.samples_ = -1;
    const std::ptrdiff_t each = sparse ? active_count() : map_.size();
    if constexpr (sparse) {
      if (tape.active_.size() < static_cast<std::size_t>(n * each))
        tape.active_.resize(static_cast<std::size_t>(n * each));
    } else {
      if (tape.features_.size() < n * each) tape.features_ = Vector<S>::Zero(n * each);
    }
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const std::span<const S> input(x.data() + j * x.rows(), static_cast<std::size_t>(x.rows()));
      if constexpr (sparse)
        map_.active(input, std::span<int>(tape.active_.data() + j * each, static_cast<std::size_t>(each)));
      else
        map_(input, std::span<S>(tape.features_.data() + j * each, static_cast<std::size_t>(each)));
    }
    tape.samples_ = n, tape.each_ = each;
    return apply(theta.data(), tape, n, tape.outputs_);
  }

  /// gradient += dy phi'. theta is not read.
  void pullback(std::span<const S>, const Batch& x, Tape& tape, const Outputs<S>& dy, std::span<S> gradient) const {
    pull(x.cols(), tape, dy, gradient);
  }
  void pullback(std::span<const S>, const Outputs<S>& x, Tape& tape, const Outputs<S>& dy,
                std::span<S> gradient) const {
    pull(x.cols(), tape, dy, gradient);
  }

  /// dx = (d phi / d x)' W' dy, for maps that can be differentiated.
  void pullback_input(std::span<const S> theta, const Batch& x, Tape& tape, const Outputs<S>& dy, Batch& dx) const
    requires DifferentiableFeatureMap<Map>
  {
    check_size("Linear::pullback_input", "theta", theta.size(), parameter_count());
    check_shape("Linear::pullback_input", "x", x.rows(), x.cols(), map_.input_size(), x.cols());
    check_tape("Linear::pullback_input", x.cols(), tape, dy);
    const std::ptrdiff_t n = x.cols(), size = map_.size(), inputs = map_.input_size();
    dx.resize(inputs, n);  // x itself keeps its size, and column j of x is not read after column j of dx is written
    Vector<S> dphi(size), column(inputs);
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      for (std::ptrdiff_t i = 0; i < size; ++i) {
        S sum = S(0);
        for (int o = 0; o < outputs_; ++o) sum += theta[static_cast<std::size_t>(i * outputs_ + o)] * dy(o, j);
        dphi[i] = sum;
      }
      map_.pullback(std::span<const S>(x.data() + j * inputs, static_cast<std::size_t>(inputs)),
                    view(std::as_const(dphi)), view(column));
      dx.col(j) = column;
    }
  }

  /// J v = V phi(x), with the features of the tape's last forward.
  Outputs<S> pushforward(std::span<const S>, const Batch& x, Tape& tape, std::span<const S> v) const {
    check_size("Linear::pushforward", "v", v.size(), parameter_count());
    check_tape("Linear::pushforward", x.cols(), tape, Outputs<S>(nullptr, outputs_, x.cols()));
    return apply(v.data(), tape, x.cols(), tape.tangents_);
  }

  /// gradient(:, i) *= map.step_scale(i): the step size of each feature as its basis wants it (`Fourier`).
  void precondition(std::span<S> gradient) const
    requires requires(const Map m) { m.step_scale(0); }
  {
    check_size("Linear::precondition", "gradient", gradient.size(), parameter_count());
    for (int i = 0; i < map_.size(); ++i) {
      const S scale = static_cast<S>(map_.step_scale(i));
      for (int o = 0; o < outputs_; ++o)
        gradient[static_cast<std::size_t>(i) * static_cast<std::size_t>(outputs_) + static_cast<std::size_t>(o)] *=
            scale;
    }
  }

 private:
  Map map_;
  int outputs_;

  std::ptrdiff_t active_count() const {
    if constexpr (sparse)
      return map_.active_count();
    else
      return 0;
  }
  void check_tape(std::string_view where, std::ptrdiff_t samples, const Tape& tape, const Outputs<S>& dy) const {
    if (tape.samples_ != samples)
      fail(where, "the tape holds a forward of {} samples; expected the one of x ({} samples)", tape.samples_, samples);
    if (tape.each_ != (sparse ? active_count() : map_.size()))
      fail(where, "the tape holds the forward of another model; expected this one's");
    check_shape(where, "dy", dy.rows(), dy.cols(), outputs_, samples);
  }
  Outputs<S> apply(const S* theta, const Tape& tape, std::ptrdiff_t n, Vector<S>& y) const {
    if (y.size() < n * outputs_) y = Vector<S>::Zero(n * outputs_);
    std::fill(y.data(), y.data() + n * outputs_, S(0));
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      S* const to = y.data() + j * outputs_;
      if constexpr (sparse) {
        const int* const active = tape.active_.data() + j * active_count();
        for (std::ptrdiff_t k = 0; k < active_count(); ++k) {
          const S* const column = theta + static_cast<std::ptrdiff_t>(active[k]) * outputs_;
          for (int o = 0; o < outputs_; ++o) to[o] += column[o];
        }
      } else {
        const S* const phi = tape.features_.data() + j * map_.size();
        for (std::ptrdiff_t i = 0; i < map_.size(); ++i)
          for (int o = 0; o < outputs_; ++o) to[o] += theta[i * outputs_ + o] * phi[i];
      }
    }
    return {y.data(), outputs_, n};
  }
  void pull(std::ptrdiff_t n, const Tape& tape, const Outputs<S>& dy, std::span<S> gradient) const {
    check_tape("Linear::pullback", n, tape, dy);
    check_size("Linear::pullback", "gradient", gradient.size(), parameter_count());
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const S* const from = dy.data() + j * outputs_;
      if constexpr (sparse) {
        const int* const active = tape.active_.data() + j * active_count();
        for (std::ptrdiff_t k = 0; k < active_count(); ++k) {
          S* const column = gradient.data() + static_cast<std::ptrdiff_t>(active[k]) * outputs_;
          for (int o = 0; o < outputs_; ++o) column[o] += from[o];
        }
      } else {
        const S* const phi = tape.features_.data() + j * map_.size();
        for (std::ptrdiff_t i = 0; i < map_.size(); ++i)
          for (int o = 0; o < outputs_; ++o) gradient[static_cast<std::size_t>(i * outputs_ + o)] += from[o] * phi[i];
      }
    }
  }
};
template <class Map>
Linear(Map, int) -> Linear<Map, double>;

}  // namespace valence
