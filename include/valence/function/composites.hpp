#pragma once

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

/// Models made of models. One theta holds the parts' parameters one after the other, in the order of the arguments;
/// each part is handed its slice. Any shape comes from the two: a shared trunk with two heads is `Chain{trunk,
/// Parallel{actor, critic}}`.
namespace valence {

namespace detail {

/// That x is the batch of the tape's forward, so far as its size tells: a part must not throw after another has added.
template <class F, class X>
void check_batch(std::string_view where, const F& f, const X& x, std::ptrdiff_t samples) {
  if constexpr (requires { x.cols(); }) {
    if constexpr (requires { f.input_size(); })
      check_shape(where, "x", x.rows(), x.cols(), f.input_size(), samples);
    else
      check_shape(where, "x", x.rows(), x.cols(), x.rows(), samples);
  } else if constexpr (
      requires { x.size(); } && !requires { x.tokens(); }) {
    check_size(where, "x", x.size(), static_cast<std::size_t>(samples));
  }
}

/// pullback and pullback_input, in one pass where the model has it.
template <class F>
void pullback_both(const F& f, std::span<const typename F::Scalar> theta, const typename F::Batch& x,
                   typename F::Tape& tape, const Outputs<typename F::Scalar>& dy,
                   std::span<typename F::Scalar> gradient, typename F::Batch& dx) {
  using View = Outputs<typename F::Scalar>;
  if constexpr (requires(const View& v) { f.pullback(theta, v, tape, dy, gradient, dx); }) {
    f.pullback(theta, View(x.data(), x.rows(), x.cols()), tape, dy, gradient, dx);
  } else {
    f.pullback(theta, x, tape, dy, gradient);
    f.pullback_input(theta, x, tape, dy, dx);
  }
}

template <class F>
void append_parameters(const F& f, std::string_view prefix, std::size_t offset, std::vector<ParameterBlock>& blocks) {
  for (ParameterBlock& block : f.parameters(prefix)) {
    block.offset += offset;
    blocks.push_back(std::move(block));
  }
}

/// A matrix as a model's outputs.
template <class S>
Outputs<S> outputs_of(const Matrix<S>& m) {
  return {m.data(), m.rows(), m.cols()};
}

/// What every pullback and pushforward of a composite asks of its arguments; `samples` is the tape's, < 0 before a
/// forward.
template <class F>
void check_composite(std::string_view where, const F& f, std::span<const typename F::Scalar> theta,
                     std::ptrdiff_t samples, const Outputs<typename F::Scalar>& dy) {
  check_size(where, "theta", theta.size(), f.parameter_count());
  if (samples < 0) fail(where, "the tape holds no forward; expected the one of x");
  check_shape(where, "dy", dy.rows(), dy.cols(), f.output_size(), samples);
}

}  // namespace detail

/// Can it carry a change of its input forward too? `Mlp` and the composites can.
template <class F>
concept InputLinearisable = Linearisable<F> && requires(const F f, std::span<const typename F::Scalar> theta,
                                                        const Outputs<typename F::Scalar>& x, typename F::Tape& tape) {
  { f.pushforward(theta, x, tape, theta, x) } -> std::same_as<Outputs<typename F::Scalar>>;
};

/// y = second(first(x)). theta = (first's parameters, second's). The first may take any batch (indices, tokens); the
/// second takes matrices, and must be InputDifferentiable, because what stands before it is trained through it.
template <Approximator First, Approximator Second>
  requires InputDifferentiable<Second> && std::same_as<typename Second::Batch, Matrix<typename First::Scalar>>
class Chain {
 public:
  using Scalar = typename First::Scalar;
  using Batch = typename First::Batch;
  class Tape {
    friend class Chain;
    typename First::Tape first_;
    typename Second::Tape second_;
    Matrix<Scalar> between_, d_between_;
    std::ptrdiff_t samples_ = -1;
  };

  /// The first's outputs must be as many as the second's inputs.
  Chain(First first, Second second) : first_(std::move(first)), second_(std::move(second)) {
    if constexpr (requires { second_.input_size(); })
      if (first_.output_size() != second_.input_size())
        fail("Chain", "the first model has {} outputs and the second {} inputs; expected the same number",
             first_.output_size(), second_.input_size());
  }

  const First& first() const { return first_; }
  const Second& second() const { return second_; }
  std::size_t parameter_count() const { return first_.parameter_count() + second_.parameter_count(); }
  int input_size() const
    requires requires(const First f) { f.input_size(); }
  {
    return first_.input_size();
  }
  int output_size() const { return second_.output_size(); }
  /// The parts' tensors under "first." and "second.".
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    std::vector<ParameterBlock> blocks;
    detail::append_parameters(first_, std::string(prefix) + "first.", 0, blocks);
    detail::append_parameters(second_, std::string(prefix) + "second.", first_.parameter_count(), blocks);
    return blocks;
  }
  template <class T>
  auto rebind() const
    requires requires(const First f, const Second s) {
      f.template rebind<T>();
      s.template rebind<T>();
    }
  {
    return valence::Chain(first_.template rebind<T>(), second_.template rebind<T>());
  }
  void initialize(std::span<Scalar> theta, Rng& rng) const {
    check_size("Chain::initialize", "theta", theta.size(), parameter_count());
    first_.initialize(theta.first(first_.parameter_count()), rng);
    second_.initialize(theta.subspan(first_.parameter_count()), rng);
  }

  Outputs<Scalar> forward(std::span<const Scalar> theta, const Batch& x, Tape& tape) const {
    return run(theta, x, tape);
  }
  Outputs<Scalar> forward(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape) const
    requires std::same_as<Batch, Matrix<Scalar>>
  {
    return run(theta, x, tape);
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
    requires InputDifferentiable<First>
  {
    check("Chain::pullback_input", theta, tape, dy);
    detail::check_batch("Chain::pullback_input", first_, x, tape.samples_);
    second_.pullback_input(second_theta(theta), tape.between_, tape.second_, dy, tape.d_between_);
    first_.pullback_input(first_theta(theta), x, tape.first_, detail::outputs_of(tape.d_between_), dx);
  }
  /// Gradient and input gradient in one pass through the second model.
  void pullback(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient, Matrix<Scalar>& dx) const
    requires requires(const First f, typename First::Tape& t) { f.pullback(theta, x, t, dy, gradient, dx); }
  {
    check("Chain::pullback", theta, tape, dy);
    detail::check_batch("Chain::pullback", first_, x, tape.samples_);
    check_size("Chain::pullback", "gradient", gradient.size(), parameter_count());
    detail::pullback_both(second_, second_theta(theta), tape.between_, tape.second_, dy, second_theta(gradient),
                          tape.d_between_);
    first_.pullback(first_theta(theta), x, tape.first_, detail::outputs_of(tape.d_between_), first_theta(gradient), dx);
  }
  Outputs<Scalar> pushforward(std::span<const Scalar> theta, const Batch& x, Tape& tape,
                              std::span<const Scalar> v) const
    requires Linearisable<First> && InputLinearisable<Second>
  {
    check("Chain::pushforward", theta, tape, Outputs<Scalar>(nullptr, output_size(), tape.between_.cols()));
    check_size("Chain::pushforward", "v", v.size(), parameter_count());
    const auto u = first_.pushforward(first_theta(theta), x, tape.first_, first_theta(v));
    return second_.pushforward(second_theta(theta), detail::outputs_of(tape.between_), tape.second_, second_theta(v),
                               u);
  }
  Outputs<Scalar> pushforward(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape,
                              std::span<const Scalar> v, const Outputs<Scalar>& dx) const
    requires InputLinearisable<First> && InputLinearisable<Second>
  {
    check("Chain::pushforward", theta, tape, Outputs<Scalar>(nullptr, output_size(), tape.between_.cols()));
    check_size("Chain::pushforward", "v", v.size(), parameter_count());
    const auto u = first_.pushforward(first_theta(theta), x, tape.first_, first_theta(v), dx);
    return second_.pushforward(second_theta(theta), detail::outputs_of(tape.between_), tape.second_, second_theta(v),
                               u);
  }

 private:
  First first_;
  Second second_;

  template <class T>
  std::span<T> first_theta(std::span<T> theta) const {
    return theta.first(first_.parameter_count());
  }
  template <class T>
  std::span<T> second_theta(std::span<T> theta) const {
    return theta.subspan(first_.parameter_count());
  }
  void check(std::string_view where, std::span<const Scalar> theta, const Tape& tape, const Outputs<Scalar>& dy) const {
    detail::check_composite(where, *this, theta, tape.samples_, dy);
  }
  template <class X>
  void pull(std::span<const Scalar> theta, const X& x, Tape& tape, const Outputs<Scalar>& dy,
            std::span<Scalar> gradient) const {
    check("Chain::pullback", theta, tape, dy);
    detail::check_batch("Chain::pullback", first_, x, tape.samples_);
    check_size("Chain::pullback", "gradient", gradient.size(), parameter_count());
    detail::pullback_both(second_, second_theta(theta), tape.between_, tape.second_, dy, second_theta(gradient),
                          tape.d_between_);
    first_.pullback(first_theta(theta), x, tape.first_, detail::outputs_of(tape.d_between_), first_theta(gradient));
  }
  template <class X>
  Outputs<Scalar> run(std::span<const Scalar> theta, const X& x, Tape& tape) const {
    check_size("Chain::forward", "theta", theta.size(), parameter_count());
    tape.samples_ = -1;
    const auto h = first_.forward(first_theta(theta), x, tape.first_);
    tape.between_ = h;  // the second model's Batch; allocates when the batch's size changes
    tape.samples_ = h.cols();
    return second_.forward(second_theta(theta), tape.between_, tape.second_);
  }
};

/// y = (first(x); second(x)): one input, outputs stacked, first's rows on top. theta = (first's parameters, second's).
template <Approximator First, Approximator Second>
  requires std::same_as<typename First::Batch, typename Second::Batch> &&
           std::same_as<typename First::Scalar, typename Second::Scalar>
class Parallel {
 public:
  using Scalar = typename First::Scalar;
  using Batch = typename First::Batch;
  class Tape {
    friend class Parallel;
    typename First::Tape first_;
    typename Second::Tape second_;
    Matrix<Scalar> y_, d_first_, d_second_, tangents_;
    Batch dx_ = {};
    std::ptrdiff_t samples_ = -1;
  };

  Parallel(First first, Second second) : first_(std::move(first)), second_(std::move(second)) {
    if constexpr (requires {
                    first_.input_size();
                    second_.input_size();
                  })
      if (first_.input_size() != second_.input_size())
        fail("Parallel", "the models have {} and {} inputs; expected the same number", first_.input_size(),
             second_.input_size());
  }

  const First& first() const { return first_; }
  const Second& second() const { return second_; }
  std::size_t parameter_count() const { return first_.parameter_count() + second_.parameter_count(); }
  int input_size() const
    requires requires(const First f) { f.input_size(); }
  {
    return first_.input_size();
  }
  int output_size() const { return first_.output_size() + second_.output_size(); }
  /// The parts' tensors under "first." and "second.".
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    std::vector<ParameterBlock> blocks;
    detail::append_parameters(first_, std::string(prefix) + "first.", 0, blocks);
    detail::append_parameters(second_, std::string(prefix) + "second.", first_.parameter_count(), blocks);
    return blocks;
  }
  template <class T>
  auto rebind() const
    requires requires(const First f, const Second s) {
      f.template rebind<T>();
      s.template rebind<T>();
    }
  {
    return valence::Parallel(first_.template rebind<T>(), second_.template rebind<T>());
  }
  void initialize(std::span<Scalar> theta, Rng& rng) const {
    check_size("Parallel::initialize", "theta", theta.size(), parameter_count());
    first_.initialize(first_theta(theta), rng);
    second_.initialize(second_theta(theta), rng);
  }

  Outputs<Scalar> forward(std::span<const Scalar> theta, const Batch& x, Tape& tape) const {
    return run(theta, x, tape);
  }
  Outputs<Scalar> forward(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape) const
    requires std::same_as<Batch, Matrix<Scalar>>
  {
    return run(theta, x, tape);
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
    requires InputDifferentiable<First> && InputDifferentiable<Second> && std::same_as<Batch, Matrix<Scalar>>
  {
    check("Parallel::pullback_input", theta, tape, dy);
    detail::check_batch("Parallel::pullback_input", first_, x, tape.samples_);
    split(dy, tape);
    first_.pullback_input(first_theta(theta), x, tape.first_, detail::outputs_of(tape.d_first_), tape.dx_);
    second_.pullback_input(second_theta(theta), x, tape.second_, detail::outputs_of(tape.d_second_), dx);
    dx += tape.dx_;
  }
  void pullback(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient, Matrix<Scalar>& dx) const
    requires requires(const First f, const Second s, typename First::Tape& t, typename Second::Tape& u) {
      f.pullback(theta, x, t, dy, gradient, dx);
      s.pullback(theta, x, u, dy, gradient, dx);
    }
  {
    check("Parallel::pullback", theta, tape, dy);
    detail::check_batch("Parallel::pullback", first_, x, tape.samples_);
    check_size("Parallel::pullback", "gradient", gradient.size(), parameter_count());
    split(dy, tape);
    first_.pullback(first_theta(theta), x, tape.first_, detail::outputs_of(tape.d_first_), first_theta(gradient),
                    tape.dx_);
    second_.pullback(second_theta(theta), x, tape.second_, detail::outputs_of(tape.d_second_), second_theta(gradient),
                     dx);
    dx += tape.dx_;
  }
  Outputs<Scalar> pushforward(std::span<const Scalar> theta, const Batch& x, Tape& tape,
                              std::span<const Scalar> v) const
    requires Linearisable<First> && Linearisable<Second>
  {
    check("Parallel::pushforward", theta, tape, Outputs<Scalar>(nullptr, output_size(), tape.samples_));
    check_size("Parallel::pushforward", "v", v.size(), parameter_count());
    return stack(first_.pushforward(first_theta(theta), x, tape.first_, first_theta(v)),
                 second_.pushforward(second_theta(theta), x, tape.second_, second_theta(v)), tape.tangents_);
  }
  Outputs<Scalar> pushforward(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape,
                              std::span<const Scalar> v, const Outputs<Scalar>& dx) const
    requires InputLinearisable<First> && InputLinearisable<Second>
  {
    check("Parallel::pushforward", theta, tape, Outputs<Scalar>(nullptr, output_size(), tape.samples_));
    check_size("Parallel::pushforward", "v", v.size(), parameter_count());
    return stack(first_.pushforward(first_theta(theta), x, tape.first_, first_theta(v), dx),
                 second_.pushforward(second_theta(theta), x, tape.second_, second_theta(v), dx), tape.tangents_);
  }

 private:
  First first_;
  Second second_;

  template <class T>
  std::span<T> first_theta(std::span<T> theta) const {
    return theta.first(first_.parameter_count());
  }
  template <class T>
  std::span<T> second_theta(std::span<T> theta) const {
    return theta.subspan(first_.parameter_count());
  }
  void check(std::string_view where, std::span<const Scalar> theta, const Tape& tape, const Outputs<Scalar>& dy) const {
    detail::check_composite(where, *this, theta, tape.samples_, dy);
  }
  template <class X>
  void pull(std::span<const Scalar> theta, const X& x, Tape& tape, const Outputs<Scalar>& dy,
            std::span<Scalar> gradient) const {
    check("Parallel::pullback", theta, tape, dy);
    detail::check_batch("Parallel::pullback", first_, x, tape.samples_);
    check_size("Parallel::pullback", "gradient", gradient.size(), parameter_count());
    split(dy, tape);
    first_.pullback(first_theta(theta), x, tape.first_, detail::outputs_of(tape.d_first_), first_theta(gradient));
    second_.pullback(second_theta(theta), x, tape.second_, detail::outputs_of(tape.d_second_), second_theta(gradient));
  }
  template <class X>
  Outputs<Scalar> run(std::span<const Scalar> theta, const X& x, Tape& tape) const {
    check_size("Parallel::forward", "theta", theta.size(), parameter_count());
    tape.samples_ = -1;
    const auto a = first_.forward(first_theta(theta), x, tape.first_);
    const auto b = second_.forward(second_theta(theta), x, tape.second_);
    tape.samples_ = a.cols();
    return stack(a, b, tape.y_);
  }
  Outputs<Scalar> stack(const Outputs<Scalar>& a, const Outputs<Scalar>& b, Matrix<Scalar>& y) const {
    y.resize(a.rows() + b.rows(), a.cols());
    y.topRows(a.rows()) = a;
    y.bottomRows(b.rows()) = b;
    return detail::outputs_of(y);
  }
  void split(const Outputs<Scalar>& dy, Tape& tape) const {
    tape.d_first_ = dy.topRows(first_.output_size());
    tape.d_second_ = dy.bottomRows(second_.output_size());
  }
};

}  // namespace valence
