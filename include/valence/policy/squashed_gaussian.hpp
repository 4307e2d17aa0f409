#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/gaussian.hpp"

namespace valence {

namespace detail {

/// tanh, moved and stretched to the open interval (low, high): center + scale tanh(u).
struct SquashedInterval {
  double low, high, center, scale;

  SquashedInterval(std::string_view where, std::size_t i, double low_end, double high_end)
      : low(low_end), high(high_end), center(low_end / 2 + high_end / 2), scale(high_end / 2 - low_end / 2) {
    if (!(std::isfinite(low) && std::isfinite(high) && scale > 0)) [[unlikely]]
      fail(where, "the bounds of action[{}] are {} and {}; expected finite ones in order", i, low, high);
  }

  /// Towards a bound through the distance from it, which is exact where tanh rounds to 1.
  double squash(double u) const {
    const double size = elementary::abs(u);
    if (size < 0.5) return center + scale * elementary::tanh(u);
    const double e = elementary::exp(-2 * size), distance = 2 * scale * e / (1 + e);
    return u < 0 ? low + distance : high - distance;
  }
  /// Its inverse, for x inside: atanh t = log1p(2 |t| / (1 - |t|)) / 2, with 1 - |t| from the bound.
  double unsquash(double x) const {
    const double from_center = x - center, to_bound = from_center < 0 ? x - low : high - x;
    return elementary::copysign(0.5 * elementary::log1p(2 * elementary::abs(from_center) / to_bound), from_center);
  }
  /// d squash / du = scale (1 - tanh^2 u), without cancellation.
  template <class S>
  S slope(S u) const {
    const S e = elementary::exp(-2 * elementary::abs(u));
    return static_cast<S>(scale) * 4 * e / ((1 + e) * (1 + e));
  }
  /// log of `slope`. log(1 - tanh^2 u) = -2 log cosh u (pitfall G17).
  template <class S>
  S log_slope(S u) const {
    return static_cast<S>(elementary::log(scale)) - 2 * log_cosh(u);
  }
  /// x as a T that is strictly inside.
  template <class T>
  T inside(double x) const {
    constexpr T infinity = std::numeric_limits<T>::infinity();
    const auto is_low = [&](T t) { return static_cast<double>(t) <= low; };
    const auto is_high = [&](T t) { return static_cast<double>(t) >= high; };
    T t = static_cast<T>(x);
    if (is_low(t)) {
      t = static_cast<T>(low);
      if (is_low(t)) t = std::nextafter(t, infinity);
    } else if (is_high(t)) {
      t = static_cast<T>(high);
      if (is_high(t)) t = std::nextafter(t, -infinity);
    }
    return t;
  }
};

}  // namespace detail

/// The law of a = center + scale tanh(u), u Gaussian: soft actor-critic's policy on a box of finite size (Haarnoja et
/// al. 2018, appendix C). Outputs as `DiagonalGaussian`: d means of u, then d log-stds.
///
///     SquashedGaussian law{env.actions()};                         // a Box: of numbers or of vectors
///     SquashedGaussian law{Box{-2.0, 2.0}, {.min_log_std = -20, .max_log_std = 2}};
///
/// Densities are those of the scaled action a (pitfall G16: on (-2, 2) exactly log 2 less than on (-1, 1)) and exact for
/// every u, without an epsilon (G17). An action at a bound or beyond has density 0: `log_prob` refuses it and says
/// which one; a logged action that was clipped goes through `clamp` first, explicitly (G18). Drawn actions are always
/// inside. There is no closed form of the entropy: minus `action_log_prob` estimates it.
template <class A>
struct SquashedGaussian {
  using Action = A;
  using Noise = A;  ///< standard normal, of the action's shape
  Box<A> actions;   ///< finite, low < high
  GaussianOptions options = {};

  /// Outputs: a mean and a log-std a dimension.
  int size() const { return 2 * static_cast<int>(count()); }

  /// d standard normals. One output of the generator each.
  Noise draw_noise(Rng& rng) const {
    Noise noise = detail::zero_action<Noise>("SquashedGaussian::draw_noise", count());
    draw_noise(rng, noise);
    return noise;
  }
  template <class V>
  void draw_noise(Rng& rng, V&& noise) const {
    check_size("SquashedGaussian::draw_noise", "noise", detail::dimensions_of(noise), count());
    for (std::size_t i = 0; i < count(); ++i) detail::set_entry(noise, i, rng.normal());
  }

  /// center + scale tanh(mean + s noise), strictly inside the box also where it rounds to the bound.
  template <Scalar S>
  Action action(std::span<const S> y, const Noise& noise) const {
    Action a = detail::zero_action<Action>("SquashedGaussian::action", count());
    action(y, noise, a);
    return a;
  }
  template <Scalar S, class Z, class V>
  void action(std::span<const S> y, const Z& noise, V&& out) const {
    constexpr auto where = "SquashedGaussian::action";
    const auto law = outputs(where, y);
    check_size(where, "noise", detail::dimensions_of(noise), count());
    check_size(where, "out", detail::dimensions_of(out), count());
    for (std::size_t i = 0; i < count(); ++i)
      squash_into(where, law, out, i, raw(law[i], static_cast<S>(detail::entry(noise, i))));
  }
  /// With da / du = scale (1 - tanh^2 u): dmean += da da/du, dls += da da/du s noise.
  template <Scalar S, class Z, class V>
  void pullback_action(std::span<const S> y, const Z& noise, const V& da, std::span<std::type_identity_t<S>> dy) const {
    pullback_action(y, noise, da, S(0), dy);
  }

  /// The log-density of `action(y, noise)`, from the noise: that of u minus log da/du.
  template <Scalar S, class Z>
  S action_log_prob(std::span<const S> y, const Z& noise) const {
    constexpr auto where = "SquashedGaussian::action_log_prob";
    const auto law = outputs(where, y);
    detail::check_entries(where, "noise", noise, count());
    S sum = 0;
    for (std::size_t i = 0; i < count(); ++i) {
      const auto g = law[i];
      const S e = static_cast<S>(detail::entry(noise, i));
      sum += detail::log_density(e, g.log_std) - interval(where, i).log_slope(raw(g, e));
    }
    law.check_result(where, "the log-density", sum);
    return sum;
  }
  /// As above, plus `d_log_prob` times the gradient of `action_log_prob`: dmean += 2 tanh u, dls += 2 tanh(u) s noise -
  /// 1.
  template <Scalar S, class Z, class V>
  void pullback_action(std::span<const S> y, const Z& noise, const V& da, std::type_identity_t<S> d_log_prob,
                       std::span<std::type_identity_t<S>> dy) const {
    constexpr auto where = "SquashedGaussian::pullback_action";
    const auto law = outputs(where, y);
    detail::check_entries(where, "noise", noise, count());
    detail::check_entries(where, "da", da, count());
    check_size(where, "dy", dy.size(), y.size());
    check_finite(where, "y", y);
    for (std::size_t i = 0; i < count(); ++i) {
      const auto g = law[i];
      const S e = static_cast<S>(detail::entry(noise, i)), u = raw(g, e);
      const S du =
          static_cast<S>(detail::entry(da, i)) * interval(where, i).slope(u) + d_log_prob * 2 * elementary::tanh(u);
      dy[i] += du;
      dy[count() + i] += g.slope * (du * g.std_dev() * e - d_log_prob);
    }
  }

  /// An action: `action` of fresh noise.
  template <Scalar S>
  Action sample(std::span<const S> y, Rng& rng) const {
    Action a = detail::zero_action<Action>("SquashedGaussian::sample", count());
    sample(y, rng, a);
    return a;
  }
  template <Scalar S, class V>
  void sample(std::span<const S> y, Rng& rng, V&& out) const {
    constexpr auto where = "SquashedGaussian::sample";
    const auto law = outputs(where, y);
    check_size(where, "out", detail::dimensions_of(out), count());
    for (std::size_t i = 0; i < count(); ++i) squash_into(where, law, out, i, raw(law[i], rng.normal<S>()));
  }

  /// center + scale tanh(mean): what an evaluation acts with. It is the image of u's mode and the median of each
  /// coordinate; the density of a may have its peaks elsewhere.
  template <Scalar S>
  Action mode(std::span<const S> y) const {
    Action a = detail::zero_action<Action>("SquashedGaussian::mode", count());
    const auto law = outputs("SquashedGaussian::mode", y);
    for (std::size_t i = 0; i < count(); ++i) squash_into("SquashedGaussian::mode", law, a, i, law[i].mean);
    return a;
  }

  /// The nearest action at least `margin` times half the box's width away from its bounds; margin in (0, 1].
  template <class V>
  Action clamp(const V& a, double margin = 1e-6) const {
    constexpr auto where = "SquashedGaussian::clamp";
    if (!(margin > 0 && margin <= 1)) fail(where, "margin is {}; expected a number in (0, 1]", margin);
    detail::check_entries(where, "a", a, count());
    Action inner = detail::zero_action<Action>(where, count());
    for (std::size_t i = 0; i < count(); ++i) {
      const auto range = interval(where, i);
      const double x = static_cast<double>(detail::entry(a, i)), m = margin * range.scale;
      detail::set_entry(inner, i, range.template inside<Entry>(elementary::clamp(x, range.low + m, range.high - m)));
    }
    return inner;
  }

  /// The log-density of a in the box: the Gaussian's at u = atanh((a - center) / scale) minus log da/du. Throws `Error`
  /// with its index where an entry isn't strictly inside.
  template <Scalar S, class V>
  S log_prob(std::span<const S> y, const V& a) const {
    constexpr auto where = "SquashedGaussian::log_prob";
    const auto law = outputs(where, y);
    check_size(where, "a", detail::dimensions_of(a), count());
    S sum = 0;
    for (std::size_t i = 0; i < count(); ++i) {
      const auto range = interval(where, i);
      const S u = static_cast<S>(unsquashed(where, range, i, a));
      const auto g = law[i];
      sum += detail::log_density(g.standardized(u), g.log_std) - range.log_slope(u);
    }
    law.check_result(where, "the log-density", sum);
    return sum;
  }
  /// The same, and with z = (u - mean) / s: dmean += w z / s, dls += w (z^2 - 1). Where a holds still, so does u.
  template <Scalar S, class V>
  S log_prob(std::span<const S> y, const V& a, std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dy) const {
    return score(y, a, w, dy, [](std::size_t, S, S) {});
  }
  /// The same, and da += w (2 tanh u - z / s) / (da/du).
  template <Scalar S, class V, class DA>
  S log_prob(std::span<const S> y, const V& a, std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dy,
             DA&& da) const {
    check_size("SquashedGaussian::log_prob", "da", detail::dimensions_of(da), count());
    return score(y, a, w, dy, [&](std::size_t i, S u, S d_mean) {
      const S slope = interval("SquashedGaussian::log_prob", i).slope(u);
      detail::set_entry(da, i, static_cast<S>(detail::entry(da, i)) + (w * 2 * elementary::tanh(u) - d_mean) / slope);
    });
  }

 private:
  using Entry = detail::EntryOf<A>;

  std::size_t count() const { return detail::dimensions_of(actions.low); }
  detail::SquashedInterval interval(std::string_view where, std::size_t i) const {
    return {where, i, static_cast<double>(detail::entry(actions.low, i)),
            static_cast<double>(detail::entry(actions.high, i))};
  }
  template <class S>
  detail::GaussianOutputs<S> outputs(std::string_view where, std::span<const S> y) const {
    check_size(where, "actions.high", detail::dimensions_of(actions.high), count());
    return {where, y, static_cast<int>(count()), options};
  }
  template <class S>
  static S raw(const detail::GaussianEntry<S>& g, S noise) {
    return g.mean + g.std_dev() * noise;
  }
  template <class S, class V>
  void squash_into(std::string_view where, const detail::GaussianOutputs<S>& law, V& out, std::size_t i, S u) const {
    law.check_result(where, "the action before tanh", u);
    const auto range = interval(where, i);
    detail::set_entry(out, i, range.template inside<detail::EntryOf<V>>(range.squash(static_cast<double>(u))));
  }
  /// u of entry i of a.
  template <class V>
  static double unsquashed(std::string_view where, const detail::SquashedInterval& range, std::size_t i, const V& a) {
    const double x = static_cast<double>(detail::entry(a, i));
    if (!(x > range.low && x < range.high)) [[unlikely]]
      fail(where, "a[{}] is {}; expected a number inside ({}, {}), the bounds excluded (see clamp)", i, x, range.low,
           range.high);
    return range.unsquash(x);
  }
  /// `also(i, u, w z / s)` beside the score.
  template <class S, class V, class F>
  S score(std::span<const S> y, const V& a, S w, std::span<S> dy, F&& also) const {
    constexpr auto where = "SquashedGaussian::log_prob";
    const auto law = outputs(where, y);
    check_size(where, "dy", dy.size(), y.size());
    const S value = log_prob(y, a);
    for (std::size_t i = 0; i < count(); ++i) {
      const auto g = law[i];
      const S u = static_cast<S>(unsquashed(where, interval(where, i), i, a));
      const S z = g.standardized(u), d_mean = w * z * elementary::exp(-g.log_std);
      dy[i] += d_mean;
      dy[count() + i] += w * g.slope * (z * z - 1);
      also(i, u, d_mean);
    }
    return value;
  }
};
template <class A>
SquashedGaussian(Box<A>) -> SquashedGaussian<A>;
template <class A>
SquashedGaussian(Box<A>, GaussianOptions) -> SquashedGaussian<A>;

}  // namespace valence
