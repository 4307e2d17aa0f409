#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

/// `rate` beta in (0, 1]: of the moving averages; the deviation stays within its bounds, both > 0.
struct PopArtOptions {
  double rate = 3e-4, min_deviation = 1e-4, max_deviation = 1e6;
};

/// The last `rows` outputs of a model, where they come straight out of its last linear layer: where their weights and
/// biases lie in theta. `weight(i, r) = theta[begin + i * stride + r]`, `bias(r) = theta[bias + r]`.
struct LastLayer {
  std::size_t begin, stride, inputs, bias, rows;
};

/// Finds it from the last two tensors of `model.parameters()`, a matrix and its biases. `rows` in [1, outputs of that
/// layer]; throws `Error` for other numbers, and for a model that ends otherwise. It can't see whether an activation
/// follows: there must be none.
template <Approximator F>
LastLayer last_layer(const F& model, std::size_t rows) {
  constexpr auto where = "last_layer";
  const auto blocks = model.parameters();
  const std::size_t n = blocks.size();
  if (n < 2 || blocks[n - 2].shape.size() != 2 || blocks[n - 1].shape.size() != 1 ||
      blocks[n - 1].shape[0] != blocks[n - 2].shape[0])
    fail(where, "the model's last tensors aren't a matrix and its biases");
  const std::size_t outputs = blocks[n - 2].shape[0];
  check_range(where, "rows", rows, std::size_t{1}, outputs);
  const std::size_t first = outputs - rows;
  return {blocks[n - 2].offset + first, outputs, blocks[n - 2].shape[1], blocks[n - 1].offset + first, rows};
}

/// Values that are learned at a scale of about 1, whatever the scale of the returns (van Hasselt et al. 2016, "Learning
/// values across many orders of magnitude", algorithm 1): the model's outputs y stand for deviation * y + mean, with
/// the running mean and deviation of the targets (ART), and whenever these move the last layer is changed so that what
/// the outputs stand for stays (POP):
///
///     w' = w deviation / deviation',   b' = (deviation b + mean - mean') / deviation'
///
///     PopArt scale;
///     const LastLayer layer = last_layer(net, 1);
///     scale.update(targets, layer, theta);                         // first the scale, on targets as they are,
///     ... y - scale.normalized(target) ...                         // then a step on the normalised error
///     double value = scale.value(y);
///
/// All rows of the layer share the scale, so that the best action stays the best. mean and second moment are
/// exponential averages with rate beta / (1 - (1 - beta)^t) at their t-th update, so that the first targets count fully
/// (a choice: beta alone would keep the start, which is arbitrary, for 1 / beta updates). Before the first update
/// outputs stand for themselves. A batch is one update, by its means.
class PopArt {
 public:
  explicit PopArt(const PopArtOptions& options = {}) : options_(options) {
    constexpr auto where = "PopArt";
    if (!(options.rate > 0 && options.rate <= 1)) fail(where, "rate is {}; expected a number in (0, 1]", options.rate);
    check_positive(where, "min_deviation", options.min_deviation);
    check_range(where, "max_deviation", options.max_deviation, options.min_deviation,
                (std::numeric_limits<double>::max)());
  }

  double mean() const { return mean_; }
  double deviation() const { return deviation_; }
  /// How often it was updated.
  std::int64_t updates() const { return updates_; }

  /// deviation * y + mean: what an output stands for.
  template <Scalar S>
  S value(S y) const {
    return static_cast<S>(deviation_ * static_cast<double>(y) + mean_);
  }
  /// (v - mean) / deviation: the output that stands for v.
  template <Scalar S>
  S normalized(S v) const {
    return static_cast<S>((static_cast<double>(v) - mean_) / deviation_);
  }

  /// Takes in targets and changes the layer's rows in theta. Throws `Error` where there are no targets, for ones that
  /// aren't finite and a layer beyond theta, before anything is changed.
  template <Scalar S>
  void update(std::span<const S> targets, const LastLayer& layer, std::span<S> theta) {
    constexpr auto where = "PopArt::update";
    if (targets.empty()) fail(where, "there are no targets; expected at least one");
    check_finite(where, "targets", targets);
    check_range(where, "the layer's end", layer.bias + layer.rows, layer.rows, theta.size());
    check_range(where, "the layer's end", layer.begin + (layer.inputs - 1) * layer.stride + layer.rows, layer.rows,
                theta.size());
    double mean = 0, square = 0;
    for (const S t : targets) {
      mean += static_cast<double>(t);
      square += static_cast<double>(t) * static_cast<double>(t);
    }
    const double n = static_cast<double>(targets.size());
    weight_ += options_.rate * (1 - weight_);  // 1 - (1 - beta)^t
    const double rate = options_.rate / weight_;
    const double old_mean = mean_, old_deviation = deviation_;
    mean_ += rate * (mean / n - mean_);
    square_ += rate * (square / n - square_);
    deviation_ =
        std::clamp(std::sqrt((std::max)(square_ - mean_ * mean_, 0.0)), options_.min_deviation, options_.max_deviation);
    ++updates_;

    const double shrink = old_deviation / deviation_, shift = (old_mean - mean_) / deviation_;
    for (std::size_t i = 0; i < layer.inputs; ++i)
      for (std::size_t r = 0; r < layer.rows; ++r) {
        S& w = theta[layer.begin + i * layer.stride + r];
        w = static_cast<S>(static_cast<double>(w) * shrink);
      }
    for (std::size_t r = 0; r < layer.rows; ++r) {
      S& b = theta[layer.bias + r];
      b = static_cast<S>(static_cast<double>(b) * shrink + shift);
    }
  }

  template <class A>
  void archive(A& ar) {
    ar(mean_, square_, deviation_, weight_, updates_);
  }

 private:
  PopArtOptions options_;
  double mean_ = 0, square_ = 0, deviation_ = 1;
  double weight_ = 0;  // 1 - (1 - beta)^t
  std::int64_t updates_ = 0;
};

}  // namespace valence
