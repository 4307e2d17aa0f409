#pragma once

#include <string_view>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/math.hpp"
#include "valence/preference/batch.hpp"

/// Losses that make a reward model from comparisons: functions of a pair of scores. They are losses of the preference
/// algebra
/// (`PointwiseLoss`), read on scores where that reads log-probabilities, so they add, scale and mix with the rest, and
/// any loss of the algebra that needs no reference trains a reward model too (`MarginLoss{LogProb{},
/// HingeLink{}, 1.0}`).
///
/// `p_chosen` is the probability y that the first of the pair is the better one: 1 a hard label, 0.5 a tie, anything
/// between a soft label. With d = score(chosen) - score(rejected), all are invariant to a shift of both scores.
namespace valence {

/// Bradley-Terry: y softplus(-(d - margin) / temperature) + (1 - y) softplus((d + margin) / temperature). A margin asks
/// the preferred side for a lead, whichever side that is; label smoothing a replaces y by (1 - a) y + a (1 - y), which
/// is to say that a label is wrong with probability a. Source: R. A. Bradley and M. E. Terry (1952); margins as in
/// Llama 2 (2023), eq. 2.
struct BradleyTerry {
  double temperature = 1;      ///< > 0
  double margin = 0;           ///< in units of the score
  double label_smoothing = 0;  ///< in [0, 0.5]

  static constexpr std::string_view name = "BradleyTerry";
  static constexpr Column needs = Column::p_chosen;

  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    using S = scalar_t<T>;
    const T d = p.chosen - p.rejected;
    const T y = S(1 - 2 * label_smoothing) * p.p_chosen + S(label_smoothing), not_y = S(1) - y;
    const S scale = S(1 / temperature);
    const T up = scale * (d - S(margin)), down = scale * (d + S(margin));
    const T slope = scale * (not_y * sigmoid(down) - y * sigmoid(-up));
    return {y * softplus(-up) + not_y * softplus(down), slope, -slope};
  }
  void check() const {
    check_positive(name, "temperature", temperature);
    check_finite(name, "margin", margin);
    check_range(name, "label_smoothing", label_smoothing, 0, 0.5);
  }
  static void fields(auto& self, auto&& f) {
    f("temperature", self.temperature);
    f("margin", self.margin);
    f("label_smoothing", self.label_smoothing);
  }
};

namespace detail {

/// phi(u) / Phi(u), the inverse Mills ratio, for any finite u: it grows like -u to the left.
template <class T>
T normal_hazard(T u) {
  using S = scalar_t<T>;
  // Left of -12 the quotient cancels; there Phi(u) = phi(u) / (t + 1/(t + 2/(t + 3/(t + ...)))) with t = -u converges
  // fast.
  const T t = -(elementary::min)(u, splat<T>(-12));
  T tail = t;
  for (int k = 12; k >= 1; --k) tail = t + S(k) / tail;
  const T inner = (elementary::max)(u, splat<T>(-12));
  const T log_density = S(-0.5) * inner * inner - S(0.91893853320467274178);  // log sqrt(2 pi)
  return elementary::select(u < S(-12), tail, elementary::exp(log_density - normal_log_cdf(inner)));
}

}  // namespace detail

/// Thurstone's case V (probit): P(first preferred) = Phi(d / scale); the loss is -y log Phi(d / scale) - (1 - y) log
/// Phi(-d / scale). Source: L. L. Thurstone, "A law of comparative judgment" (1927).
struct Thurstone {
  double scale = 1;  ///< > 0; sqrt(2) for items whose values have standard deviation 1

  static constexpr std::string_view name = "Thurstone";
  static constexpr Column needs = Column::p_chosen;

  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    using S = scalar_t<T>;
    const S inverse = S(1 / scale);
    const T u = inverse * (p.chosen - p.rejected), not_y = S(1) - p.p_chosen;
    const T slope = inverse * (not_y * detail::normal_hazard(T(-u)) - p.p_chosen * detail::normal_hazard(u));
    return {-(p.p_chosen * normal_log_cdf(u) + not_y * normal_log_cdf(T(-u))), slope, -slope};
  }
  void check() const { check_positive(name, "scale", scale); }
  static void fields(auto& self, auto&& f) { f("scale", self.scale); }
};

}  // namespace valence
