#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

/// y = the first `output_size()` entries of x, plus f(theta, x): a model that learns by how much its input changes. With
/// a state and an action one below the other in each column, it is the usual model of an environment's dynamics, whose
/// next state is the state and a learned difference (Nagabandi et al. 2018, section IV.A):
///
///     Residual dynamics{Mlp<float>{{state + action, 64, 64, state}, relu}};   // (s; a) -> s'
///
/// theta is f's. What holds for f holds for it: `pullback_input` and the tape.
template <Approximator F>
  requires std::same_as<typename F::Batch, Matrix<typename F::Scalar>>
class Residual {
 public:
  using Scalar = typename F::Scalar;
  using Batch = Matrix<Scalar>;
  class Tape {
    friend class Residual;
    typename F::Tape change_;
    Matrix<Scalar> y_, dy_;
  };

  /// Throws `Error` where f has more outputs than inputs.
  explicit Residual(F change) : change_(std::move(change)) {
    if (change_.output_size() > change_.input_size())
      fail("Residual", "the model has {} outputs and {} inputs; expected at most as many outputs as inputs",
           change_.output_size(), change_.input_size());
  }

  const F& change() const { return change_; }
  std::size_t parameter_count() const { return change_.parameter_count(); }
  int input_size() const { return change_.input_size(); }
  int output_size() const { return change_.output_size(); }
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const { return change_.parameters(prefix); }
  void initialize(std::span<Scalar> theta, Rng& rng) const { change_.initialize(theta, rng); }

  Outputs<Scalar> forward(std::span<const Scalar> theta, const Batch& x, Tape& tape) const {
    return forward(theta, detail::outputs_of(x), tape);
  }
  Outputs<Scalar> forward(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape) const {
    tape.y_ = change_.forward(theta, x, tape.change_);
    tape.y_ += x.topRows(output_size());
    return detail::outputs_of(tape.y_);
  }
  void pullback(std::span<const Scalar> theta, const Batch& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient) const {
    change_.pullback(theta, x, tape.change_, dy, gradient);
  }
  void pullback(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient) const {
    change_.pullback(theta, x, tape.change_, dy, gradient);
  }
  void pullback_input(std::span<const Scalar> theta, const Batch& x, Tape& tape, const Outputs<Scalar>& dy,
                      Batch& dx) const
    requires InputDifferentiable<F>
  {
    tape.dy_ = dy;  // dx may be what dy looks at
    change_.pullback_input(theta, x, tape.change_, dy, dx);
    dx.topRows(output_size()) += tape.dy_;
  }

 private:
  F change_;
};

}  // namespace valence
