#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/squashed_gaussian.hpp"

namespace valence {

/// The action as a function of the outputs, one a dimension: center + scale tanh(y) on a box (DDPG, Lillicrap et al.
/// 2016; TD3, Fujimoto et al. 2018), and y itself in coordinates whose bounds are both infinite. It explores by
/// noise that is added to the action (exploration_noise.hpp); `clip` brings the sum back into the box.
///
///     Deterministic law{env.actions()};
///     auto a = law.action(y);
///     noise.add(a, rng);
///     a = law.clip(a);
template <class A>
struct Deterministic {
  using Action = A;
  struct Noise {};  ///< none: so that code for reparameterised laws takes this one, too
  Box<A> actions;

  /// Outputs: one a dimension.
  int size() const { return static_cast<int>(count()); }

  Noise draw_noise(Rng&) const { return {}; }

  /// In the closed box: at |y| > 19 tanh rounds to the bound.
  template <Scalar S>
  Action action(std::span<const S> y, Noise = {}) const {
    Action a = detail::zero_action<Action>("Deterministic::action", count());
    action(y, Noise{}, a);
    return a;
  }
  template <Scalar S, class V>
  void action(std::span<const S> y, Noise, V&& out) const {
    constexpr auto where = "Deterministic::action";
    check_outputs(where, y);
    check_size(where, "out", detail::dimensions_of(out), count());
    for (std::size_t i = 0; i < count(); ++i) {
      const double u = static_cast<double>(y[i]);
      detail::set_entry(out, i, unbounded(i) ? u : interval(where, i).squash(u));
    }
  }
  /// dy += da scale (1 - tanh^2 y); da itself where there are no bounds.
  template <Scalar S, class V>
  void pullback_action(std::span<const S> y, const V& da, std::span<std::type_identity_t<S>> dy) const {
    constexpr auto where = "Deterministic::pullback_action";
    check_outputs(where, y);
    detail::check_entries(where, "da", da, count());
    check_size(where, "dy", dy.size(), y.size());
    for (std::size_t i = 0; i < count(); ++i)
      dy[i] += static_cast<S>(detail::entry(da, i)) * (unbounded(i) ? S(1) : interval(where, i).slope(y[i]));
  }
  template <Scalar S, class V>
  void pullback_action(std::span<const S> y, Noise, const V& da, std::span<std::type_identity_t<S>> dy) const {
    pullback_action(y, da, dy);
  }

  /// The nearest action in the closed box. Throws `Error` for a NaN.
  template <class V>
  Action clip(const V& a) const {
    constexpr auto where = "Deterministic::clip";
    detail::check_entries(where, "a", a, count());
    Action inner = detail::zero_action<Action>(where, count());
    for (std::size_t i = 0; i < count(); ++i)
      detail::set_entry(inner, i, elementary::clamp(static_cast<double>(detail::entry(a, i)), low(i), high(i)));
    return inner;
  }

 private:
  std::size_t count() const { return detail::dimensions_of(actions.low); }
  double low(std::size_t i) const { return static_cast<double>(detail::entry(actions.low, i)); }
  double high(std::size_t i) const { return static_cast<double>(detail::entry(actions.high, i)); }
  bool unbounded(std::size_t i) const { return std::isinf(low(i)) && std::isinf(high(i)) && low(i) < high(i); }
  detail::SquashedInterval interval(std::string_view where, std::size_t i) const { return {where, i, low(i), high(i)}; }
  template <class S>
  void check_outputs(std::string_view where, std::span<const S> y) const {
    check_size(where, "actions.high", detail::dimensions_of(actions.high), count());
    check_size(where, "y", y.size(), count());
    check_finite(where, "y", y);
    for (std::size_t i = 0; i < count(); ++i)
      if (!unbounded(i)) interval(where, i);
  }
};
template <class A>
Deterministic(Box<A>) -> Deterministic<A>;

}  // namespace valence
