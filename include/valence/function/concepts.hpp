#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "valence/core/archive.hpp"
#include "valence/core/types.hpp"

namespace valence {

class Rng;

/// A model y = f(theta, x): an architecture that owns sizes and activations, and no numbers. The parameters are an
/// argument, so a target network, an ensemble member or a perturbation is another theta, and a composite hands each
/// part its slice of one contiguous vector. Const and thread-safe: all scratch is in the tape, which belongs to the
/// caller (one a thread).
///
/// - `forward(theta, x, tape)`: outputs x batch, one sample a column; a view into the tape, valid until the tape is
/// used for
///   another forward or destroyed.
/// - `pullback(theta, x, tape, dy, gradient)`: gradient += J' dy, with the theta and x of the tape's last forward. It
///   overwrites only scratch of the tape, so one forward serves many dy (rows of a Jacobian).
/// - `initialize(theta, rng)`: starting parameters.
/// Wrong sizes throw `valence::Error` before anything is changed. Values are not searched for NaN: they come out as
/// NaN.
template <class F>
concept Approximator =
    std::copyable<F> &&
    requires {
      typename F::Scalar;
      typename F::Batch;
      typename F::Tape;
    } && std::default_initializable<typename F::Tape> &&
    requires(const F f, std::span<const typename F::Scalar> theta, std::span<typename F::Scalar> gradient,
             const typename F::Batch& x, typename F::Tape& tape, Outputs<typename F::Scalar> dy, Rng& rng) {
      { f.parameter_count() } -> std::convertible_to<std::size_t>;
      { f.output_size() } -> std::convertible_to<int>;
      { f.forward(theta, x, tape) } -> std::same_as<Outputs<typename F::Scalar>>;
      f.pullback(theta, x, tape, dy, gradient);
      f.initialize(gradient, rng);
    };

/// `pullback_input(theta, x, tape, dy, dx)`: dx = J_x' dy (overwritten, and resized if need be; dx may be x itself).
/// Needed by whatever stands after something trainable: composites, dQ/da, adversarial directions.
template <class F>
concept InputDifferentiable =
    Approximator<F> &&
    requires(const F f, std::span<const typename F::Scalar> theta, const typename F::Batch& x, typename F::Tape& tape,
             Outputs<typename F::Scalar> dy, typename F::Batch& dx) { f.pullback_input(theta, x, tape, dy, dx); };

/// `pushforward(theta, x, tape, v)`: J v, the change of the outputs along the parameter direction v, after a forward; a
/// view into the tape. With `pullback` it is the Gauss-Newton and the Fisher product. Exact Hessian products need
/// nothing more: they are `f.rebind<Dual<S>>()`, see function/products.hpp.
template <class F>
concept Linearisable = Approximator<F> && requires(const F f, std::span<const typename F::Scalar> theta,
                                                   const typename F::Batch& x, typename F::Tape& tape) {
  { f.pushforward(theta, x, tape, theta) } -> std::same_as<Outputs<typename F::Scalar>>;
};

/// `pullback` touches only the parameters that x visits, and reads no theta: `gradient` may be theta itself, so a
/// table's or a tile coder's TD step costs O(visited), not O(parameters).
template <class F>
concept Local = Approximator<F> && F::local;

/// A model with a state carried from call to call. `memory` belongs to the rollout (one an environment), so it is
/// checkpointed with it.
template <class F>
concept Recurrent = Approximator<F> && requires { typename F::Memory; } &&
                    requires(const F f, std::span<const typename F::Scalar> theta, const typename F::Batch& x,
                             typename F::Memory& memory, typename F::Tape& tape) {
                      { f.step(theta, x, memory, tape) } -> std::same_as<Outputs<typename F::Scalar>>;
                    };

/// A language model is an Approximator whose Batch is ragged token sequences (`tokens()`, cut at `offsets()`) and whose
/// output is 1 x tokens of log-probabilities, softmax inside (logits of vocabulary x tokens are never stored). Segment
/// sums of them are the columns of a preference batch, and the pullback of such a sum is a broadcast.
template <class F>
concept SequenceModel = Approximator<F> && requires(const typename F::Batch& x) {
  { x.tokens() } -> std::convertible_to<std::span<const std::int32_t>>;
  x.offsets();
};

/// phi(x): fixed features of an input. `map(x, features)` fills `size()` numbers from `input_size()` numbers, for
/// `float` and `double`.
template <class M>
concept FeatureMap = std::copyable<M> && requires(const M map, std::span<const float> xf, std::span<float> f,
                                                  std::span<const double> xd, std::span<double> d) {
  { map.input_size() } -> std::convertible_to<int>;
  { map.size() } -> std::convertible_to<int>;
  map(xf, f);
  map(xd, d);
};

/// Features that are 0 or 1, few of them 1: `active(x, indices)` lists those, always `active_count()` of them (an index
/// may occur twice, and then counts twice).
template <class M>
concept SparseFeatureMap = FeatureMap<M> && requires(const M map, std::span<const float> xf, std::span<const double> xd,
                                                     std::span<int> indices) {
  { map.active_count() } -> std::convertible_to<int>;
  map.active(xf, indices);
  map.active(xd, indices);
};

/// `pullback(x, dphi, dx)`: dx = (d phi / d x)' dphi.
template <class M>
concept DifferentiableFeatureMap =
    FeatureMap<M> && requires(const M map, std::span<const double> x, std::span<double> dx) { map.pullback(x, x, dx); };

/// Hyper-parameters are the value (`Adam{.step_size = 3e-4}`); `start<S>(n)` makes the state for n parameters, itself
/// flat vectors that list themselves in `archive`. `step(theta, gradient, factor)` moves theta down the gradient, in
/// place; `factor` scales the step size, and comes from a schedule.
template <class O>
concept Optimizer = std::copyable<O> && requires(const O o, std::span<float> theta, std::span<const float> gradient) {
  { o.template start<float>(theta.size()) } -> Archivable;
  o.template start<float>(theta.size()).step(theta, gradient, 1.0);
};

}  // namespace valence
