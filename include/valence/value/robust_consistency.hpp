#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/adversarial.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"

namespace valence {

/// weight * |Q(s + d) - Q(s)|^2: what a value changes when its input is perturbed (Zheng et al. 2023, arXiv:2302.01244,
/// regularise a value with its change under adversarial noise; this form is our choice). Gradients
/// 2 weight (Q(s + d) - Q(s)) with respect to Q(s + d), and its negative with respect to Q(s).
struct RobustConsistency {
  double weight = 0.3;  ///< >= 0; 0 switches it off

  static constexpr std::string_view name = "RobustConsistency";
  /// `y`, `perturbed`: outputs of one sample and of its perturbation. Adds w times the gradients to `dy` and
  /// `d_perturbed`. Throws `Error`, and changes nothing, for sizes that disagree, numbers that aren't finite and a
  /// negative weight.
  template <Scalar S>
  S operator()(std::span<const S> y, std::span<const std::type_identity_t<S>> perturbed, std::type_identity_t<S> w,
               std::span<std::type_identity_t<S>> dy, std::span<std::type_identity_t<S>> d_perturbed) const {
    check();
    if (y.empty()) fail(name, "y is empty; expected at least one output");
    check_size(name, "perturbed", perturbed.size(), y.size());
    check_size(name, "dy", dy.size(), y.size());
    check_size(name, "d_perturbed", d_perturbed.size(), y.size());
    check_finite(name, "y", y);
    check_finite(name, "perturbed", perturbed);
    check_finite(name, "w", w);
    const S scale = static_cast<S>(weight);
    S sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const S change = perturbed[i] - y[i], slope = w * (2 * scale * change);
      sum += change * change;
      d_perturbed[i] += slope;
      dy[i] -= slope;
    }
    return scale * sum;
  }
  void check() const { check_range(name, "weight", weight, 0, (std::numeric_limits<double>::max)()); }
};

/// `RobustConsistency` of any model, under the worst perturbation that a few steps find: max over |d| <= radius of
/// |Q(s + d) - Q(s)|^2, as `adversarial_perturb` has it. The step at d = 0 has no gradient, so the start is random.
///
///     RobustRegulariser<Mlp<float>> robust{{.weight = 0.3}, {.radius = 0.1}};
///     const auto y = q.forward(theta, x, tape);            // the loss of y fills dy, then
///     robust(q, theta, x, y, dy, gradient, rng);           // adds its part to dy, and to the gradient
///     q.pullback(theta, x, tape, dy, gradient);            // by way of s + d
template <InputDifferentiable F>
class RobustRegulariser {
  using S = typename F::Scalar;

 public:
  /// Throws `Error` for a negative weight; the adversary's options are checked by `adversarial_perturb`.
  RobustRegulariser(const RobustConsistency& loss, const AdversarialOptions& adversary)
      : loss_(loss), adversary_(adversary) {
    loss.check();
  }

  /// `y`: the outputs at `x`, of a forward with another tape. Adds the gradient of the mean over batch and outputs with
  /// respect to y to `dy`, and that with respect to theta by way of the perturbed states to `gradient`; returns the
  /// mean. With weight 0 nothing is computed or drawn.
  double operator()(const F& f, std::span<const S> theta, const Matrix<S>& x, const Outputs<S>& y, Matrix<S>& dy,
                    std::span<S> gradient, Rng& rng) {
    if (loss_.weight == 0) return 0;
    check_shape("RobustRegulariser", "y", y.rows(), y.cols(), f.output_size(), x.cols());
    check_shape("RobustRegulariser", "dy", dy.rows(), dy.cols(), y.rows(), y.cols());
    d_perturbed_.resize(y.rows(), y.cols());
    const Matrix<S>& perturbed = adversarial_perturb(
        x,
        [&](const Matrix<S>& at, Matrix<S>& out) {
          d_perturbed_ = f.forward(theta, at, tape_) - y;
          f.pullback_input(theta, at, tape_, detail::outputs_of(d_perturbed_), out);
        },
        adversary_, rng, workspace_);
    const Outputs<S> changed = f.forward(theta, perturbed, tape_);
    d_perturbed_.setZero();
    const auto outputs = static_cast<std::size_t>(y.rows());
    double sum = 0;
    for (Eigen::Index j = 0; j < y.cols(); ++j) {
      const auto column = [&](auto* data) { return std::span(data + j * y.rows(), outputs); };
      sum += static_cast<double>(loss_(column(y.data()), column(changed.data()), S(1) / static_cast<S>(y.size()),
                                       column(dy.data()), column(d_perturbed_.data())));
    }
    f.pullback(theta, perturbed, tape_, detail::outputs_of(d_perturbed_), gradient);
    return sum / static_cast<double>(y.size());
  }

 private:
  RobustConsistency loss_;
  AdversarialOptions adversary_;
  typename F::Tape tape_ = {};
  AdversarialWorkspace<S> workspace_ = {};
  Matrix<S> d_perturbed_ = {};
};

}  // namespace valence
