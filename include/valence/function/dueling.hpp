#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

class Rng;

/// The dueling architecture (Wang et al. 2016, equation 9): the model inside gives the value of the state and an
/// advantage an action, and the outputs are
///
///     q_a = v + advantage_a - mean advantage
///
/// where each of these is `atoms` numbers, for return distributions (Hessel et al. 2018, "Rainbow"). The model inside has
/// (1 + actions) atoms outputs, v's first; `Mlp` for layers that are shared to the last, or
/// `Chain{trunk, Parallel{value, advantages}}`.
///
///     Dueling net{Mlp<float>{{4, 64, 64, 1 + 2}, relu}, 2};
template <Approximator F>
class Dueling {
 public:
  using Scalar = typename F::Scalar;
  using Batch = typename F::Batch;
  class Tape {
    friend class Dueling;
    typename F::Tape inner_;
    Matrix<Scalar> y_, d_inner_;
    std::ptrdiff_t samples_ = -1;
  };

  /// `actions` >= 1, `atoms` >= 1; throws `Error` where the model's outputs aren't (1 + actions) atoms.
  Dueling(F inner, int actions, int atoms = 1) : inner_(std::move(inner)), actions_(actions), atoms_(atoms) {
    check_positive("Dueling", "actions", actions);
    check_positive("Dueling", "atoms", atoms);
    if (inner_.output_size() != (1 + actions) * atoms)
      fail("Dueling", "the model has {} outputs; expected (1 + actions) atoms, {}", inner_.output_size(),
           (1 + actions) * atoms);
  }

  const F& inner() const { return inner_; }
  std::size_t parameter_count() const { return inner_.parameter_count(); }
  int input_size() const
    requires requires(const F f) { f.input_size(); }
  {
    return inner_.input_size();
  }
  int output_size() const { return actions_ * atoms_; }
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const { return inner_.parameters(prefix); }
  void initialize(std::span<Scalar> theta, Rng& rng) const { inner_.initialize(theta, rng); }

  Outputs<Scalar> forward(std::span<const Scalar> theta, const Batch& x, Tape& tape) const {
    return combine(inner_.forward(theta, x, tape.inner_), tape);
  }
  Outputs<Scalar> forward(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape) const
    requires std::same_as<Batch, Matrix<Scalar>>
  {
    return combine(inner_.forward(theta, x, tape.inner_), tape);
  }
  void pullback(std::span<const Scalar> theta, const Batch& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient) const {
    inner_.pullback(theta, x, tape.inner_, apart("Dueling::pullback", dy, tape), gradient);
  }
  void pullback(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient) const
    requires std::same_as<Batch, Matrix<Scalar>>
  {
    inner_.pullback(theta, x, tape.inner_, apart("Dueling::pullback", dy, tape), gradient);
  }
  void pullback_input(std::span<const Scalar> theta, const Batch& x, Tape& tape, const Outputs<Scalar>& dy,
                      Batch& dx) const
    requires InputDifferentiable<F>
  {
    inner_.pullback_input(theta, x, tape.inner_, apart("Dueling::pullback_input", dy, tape), dx);
  }

 private:
  F inner_;
  int actions_, atoms_;

  Outputs<Scalar> combine(const Outputs<Scalar>& z, Tape& tape) const {
    tape.samples_ = z.cols();
    tape.y_.resize(output_size(), z.cols());
    for (Eigen::Index j = 0; j < z.cols(); ++j)
      for (int k = 0; k < atoms_; ++k) {
        Scalar mean = 0;
        for (int a = 0; a < actions_; ++a) mean += z((1 + a) * atoms_ + k, j);
        mean /= static_cast<Scalar>(actions_);
        for (int a = 0; a < actions_; ++a) tape.y_(a * atoms_ + k, j) = z(k, j) + (z((1 + a) * atoms_ + k, j) - mean);
      }
    return {tape.y_.data(), tape.y_.rows(), tape.y_.cols()};
  }
  // The transpose: dv is the sum over actions, d advantage_a is dq_a less the mean of dq.
  Outputs<Scalar> apart(std::string_view where, const Outputs<Scalar>& dy, Tape& tape) const {
    if (tape.samples_ < 0) fail(where, "the tape holds no forward; expected the one of x");
    check_shape(where, "dy", dy.rows(), dy.cols(), output_size(), tape.samples_);
    Matrix<Scalar>& dz = tape.d_inner_;
    dz.resize((1 + actions_) * atoms_, dy.cols());
    for (Eigen::Index j = 0; j < dy.cols(); ++j)
      for (int k = 0; k < atoms_; ++k) {
        Scalar sum = 0;
        for (int a = 0; a < actions_; ++a) sum += dy(a * atoms_ + k, j);
        dz(k, j) = sum;
        const Scalar mean = sum / static_cast<Scalar>(actions_);
        for (int a = 0; a < actions_; ++a) dz((1 + a) * atoms_ + k, j) = dy(a * atoms_ + k, j) - mean;
      }
    return {dz.data(), dz.rows(), dz.cols()};
  }
};

}  // namespace valence
