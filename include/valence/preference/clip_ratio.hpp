#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/preference/algebra.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/concepts.hpp"

namespace valence {

/// `clip_ratio(epsilon, loss)`: any loss of a pair, seeing each ratio pi / pi_ref held in [1 - epsilon, 1 + epsilon],
/// with no gradient outside. It keeps the steps of a policy small when the reference is the policy that drew the
/// samples (D3PO, Yang et al. 2023, arXiv:2311.13231, the authors' code, epsilon = 0.1; the clamp of PPO without its
/// minimum). `epsilon` in (0, 1). At a bound itself the gradient passes, as in the authors' framework.
template <PointwiseLoss L>
struct ClipRatio {
  double epsilon;
  L loss;

  static constexpr std::string_view name = "ClipRatio";
  static constexpr Column needs = L::needs | Column::reference;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    using S = scalar_t<T>;
    const T low = splat<T>(S(elementary::log1p(-epsilon))), high = splat<T>(S(elementary::log1p(epsilon)));
    const auto held = [low, high](T q, T r) {
      const T u = q - r;
      return elementary::select(u < low, r + low, elementary::select(u > high, r + high, q));
    };
    const auto passed = [low, high](T q, T r, T d) {
      const T u = q - r;
      return elementary::select((u < low) | (u > high), T{}, d);
    };
    Pair<T> clipped = p;
    clipped.chosen = held(p.chosen, p.ref_chosen);
    clipped.rejected = held(p.rejected, p.ref_rejected);
    const PairLoss<T> result = loss(clipped);
    return {result.value, passed(p.chosen, p.ref_chosen, result.d_chosen),
            passed(p.rejected, p.ref_rejected, result.d_rejected)};
  }
  void check() const {
    if (!(epsilon > 0 && epsilon < 1)) fail(name, "epsilon is {}; expected a number in (0, 1)", epsilon);
    detail::check_loss(loss);
  }
  std::string describe() const { return fmt::format("clip_ratio({}, {})", epsilon, loss_name(loss)); }
  static void fields(auto& self, auto&& f) {
    f("epsilon", self.epsilon);
    detail::visit_fields(self.loss, f);
  }
};
template <PointwiseLoss L>
constexpr ClipRatio<L> clip_ratio(double epsilon, L loss) {
  return {epsilon, loss};
}

}  // namespace valence
