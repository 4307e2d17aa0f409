#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/value/feature_transition.hpp"

/// Emphatic TD with linear features (Sutton, Mahmood & White 2016): TD whose updates are weighted by how often the
/// target policy, started where one is interested, would be there. Stable off policy with one set of weights.
namespace valence {

/// `discount` and `lambda` in [0, 1]; step size and interest finite and >= 0.
struct EmphaticTdOptions {
  double step_size = 0.001;
  double discount = 0.99;
  double lambda = 0;
  double interest = 1;  ///< i(s) of the transition's state
};

/// F_t = ratio_{t-1} discount F_{t-1} + i(s_t) (equation 20), the interest followed along the trajectory. Begins an
/// episode with F_{-1} = 0. Its expectation is finite, its variance need not be.
template <Scalar S>
S followon(S previous, std::type_identity_t<S> previous_ratio, std::type_identity_t<S> discount,
           std::type_identity_t<S> interest) {
  return previous_ratio * discount * previous + interest;
}

/// M_t = lambda i(s_t) + (1 - lambda) F_t (equation 19), the weight of an update.
template <Scalar S>
S emphasis(S followon, std::type_identity_t<S> lambda, std::type_identity_t<S> interest) {
  return lambda * interest + (S(1) - lambda) * followon;
}

/// What emphatic TD carries from one transition to the next; at 0 where an episode begins.
template <Scalar S = double>
struct EmphaticTrace {
  Vector<S> trace = {};  ///< e, an entry a feature
  S followon = 0;        ///< F of the last transition
  S ratio = 0;           ///< of the last transition
  EmphaticTrace() = default;
  /// Of so many features, >= 1.
  explicit EmphaticTrace(int features) {
    check_positive("EmphaticTrace", "features", features);
    trace = Vector<S>::Zero(features);
  }
  void reset() {
    trace.setZero();
    followon = ratio = S(0);
  }
  template <class A>
  void archive(A& ar) {
    ar(trace, followon, ratio);
  }
};

/// ETD(lambda) (equations 17-20), in place, O(k): with F and M as above,
///
///     e = ratio (discount lambda e + M phi),    theta += alpha delta e.
///
/// Where the transition terminated or was truncated, `state` is reset. Gives back delta. Throws `Error` for sizes that
/// differ, options out of range and numbers that aren't finite, before anything is changed.
template <Scalar S>
S emphatic_td_update(const FeatureTransition<S>& t, std::type_identity_t<std::span<S>> theta, EmphaticTrace<S>& state,
                     const EmphaticTdOptions& options = {}) {
  constexpr auto where = "emphatic_td_update";
  constexpr double most = (std::numeric_limits<double>::max)();
  detail::check_transition(where, t, theta.size());
  check_size(where, "the trace", static_cast<std::size_t>(state.trace.size()), theta.size());
  check_range(where, "discount", options.discount, 0, 1);
  check_range(where, "lambda", options.lambda, 0, 1);
  check_range(where, "step_size", options.step_size, 0, most);
  check_range(where, "interest", options.interest, 0, most);
  const S discount = static_cast<S>(options.discount), lambda = static_cast<S>(options.lambda);
  const S interest = static_cast<S>(options.interest);
  const S delta = detail::checked_td_error<S>(where, t, theta, discount);
  const S f = valence::followon(state.followon, state.ratio, discount, interest);
  check_finite(where, "the followon trace", f);
  const S m = emphasis(f, lambda, interest);
  const S step = static_cast<S>(options.step_size) * delta;
  for (std::size_t i = 0; i < theta.size(); ++i) {
    S& e = state.trace[static_cast<std::ptrdiff_t>(i)];
    e = t.ratio * (discount * lambda * e + m * t.features[i]);
    theta[i] += step * e;
  }
  state.followon = f;
  state.ratio = t.ratio;
  if (t.terminated || t.truncated) state.reset();
  return delta;
}

}  // namespace valence
