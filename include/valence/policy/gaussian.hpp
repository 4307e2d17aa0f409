#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/policy/concepts.hpp"

namespace valence {

/// Bounds that the log-standard-deviation is held in; soft actor-critic uses -20 and 2. An output beyond a bound counts
/// as the bound and has gradient 0. By default there are none.
struct GaussianOptions {
  double min_log_std = -std::numeric_limits<double>::infinity();
  double max_log_std = std::numeric_limits<double>::infinity();
};

namespace detail {

inline constexpr double half_log_2_pi = 0.91893853320467274178;

/// One dimension of a Gaussian: its numbers, and the derivative of `log_std` with respect to the output behind it.
template <class S>
struct GaussianEntry {
  S mean, log_std, slope;

  S std_dev() const { return elementary::exp(log_std); }
  S standardized(S x) const { return (x - mean) * elementary::exp(-log_std); }
};

/// The log-density of a standardized z, times the standard deviation.
template <class S>
S log_density(S z, S log_std) {
  return z * z * S(-0.5) - log_std - S(half_log_2_pi);
}

/// Outputs read as d means and below them d log-standard-deviations.
template <class S>
class GaussianOutputs {
 public:
  GaussianOutputs(std::string_view where, std::span<const S> y, int dimensions, const GaussianOptions& options)
      : y_(y), dimensions_(static_cast<std::size_t>(dimensions)), options_(options) {
    if (dimensions < 1) fail(where, "dimensions is {}; expected at least 1", dimensions);
    if (!(options.min_log_std <= options.max_log_std))
      fail(where, "min_log_std is {} and max_log_std {}; expected bounds in order", options.min_log_std,
           options.max_log_std);
    check_size(where, "y", y.size(), 2 * dimensions_);
  }
  std::size_t dimensions() const { return dimensions_; }
  GaussianEntry<S> operator[](std::size_t i) const {
    const S out = y_[dimensions_ + i], low = static_cast<S>(options_.min_log_std),
            high = static_cast<S>(options_.max_log_std);
    if (out < low) return {y_[i], low, 0};
    if (out > high) return {y_[i], high, 0};
    return {y_[i], out, 1};
  }
  /// `value` was computed from y: where it isn't finite, tells why.
  void check_result(std::string_view where, std::string_view result, S value) const {
    if (std::isfinite(value)) [[likely]]
      return;
    check_finite(where, "y", y_);
    fail(where, "{} is {}; expected y[{}..] to be log-standard-deviations whose exponentials are finite", result, value,
         dimensions_);
  }

 private:
  std::span<const S> y_;
  std::size_t dimensions_;
  GaussianOptions options_;
};

}  // namespace detail

/// The Gaussian law of an action of `dimensions` numbers, which are independent of each other. Outputs: d means, then d
/// logarithms of standard deviations ls (s = exp(ls), so the numbers are unbounded). Log-stds that don't depend on the
/// state are the same law: the outputs are then a model's means above a plain vector of parameters.
///
///     DiagonalGaussian law{2};            // Action = Vector<double>
///     DiagonalGaussian<double> one{};     // of one dimension; the action is a number
///
/// Exact for |ls| <= 20 and far beyond; throws `Error` where a result isn't finite. `float` and `double`.
template <class A = Vector<double>>
struct DiagonalGaussian {
  using Action = A;
  using Noise = A;  ///< standard normal, of the action's shape
  int dimensions = 1;
  GaussianOptions options = {};

  /// Outputs: a mean and a log-std a dimension.
  int size() const { return 2 * dimensions; }

  /// d standard normals. One output of the generator each.
  Noise draw_noise(Rng& rng) const {
    Noise noise = detail::zero_action<Noise>("DiagonalGaussian::draw_noise", count());
    draw_noise(rng, noise);
    return noise;
  }
  template <class V>
  void draw_noise(Rng& rng, V&& noise) const {
    check_size("DiagonalGaussian::draw_noise", "noise", detail::dimensions_of(noise), count());
    for (std::size_t i = 0; i < count(); ++i) detail::set_entry(noise, i, rng.normal());
  }

  /// mean + s noise.
  template <Scalar S>
  Action action(std::span<const S> y, const Noise& noise) const {
    Action a = detail::zero_action<Action>("DiagonalGaussian::action", count());
    action(y, noise, a);
    return a;
  }
  template <Scalar S, class Z, class V>
  void action(std::span<const S> y, const Z& noise, V&& out) const {
    constexpr auto where = "DiagonalGaussian::action";
    const auto law = outputs(where, y);
    check_size(where, "noise", detail::dimensions_of(noise), count());
    check_size(where, "out", detail::dimensions_of(out), count());
    for (std::size_t i = 0; i < count(); ++i) {
      const auto g = law[i];
      const S a = g.mean + g.std_dev() * static_cast<S>(detail::entry(noise, i));
      law.check_result(where, "the action", a);
      detail::set_entry(out, i, a);
    }
  }
  /// dmean += da, dls += da s noise. `da` may have the shape of any action.
  template <Scalar S, class Z, class V>
  void pullback_action(std::span<const S> y, const Z& noise, const V& da, std::span<std::type_identity_t<S>> dy) const {
    pullback_action(y, noise, da, S(0), dy);
  }

  /// The log-density of `action(y, noise)`: -noise^2 / 2 - ls - log(2 pi) / 2, summed.
  template <Scalar S, class Z>
  S action_log_prob(std::span<const S> y, const Z& noise) const {
    constexpr auto where = "DiagonalGaussian::action_log_prob";
    const auto law = outputs(where, y);
    check_size(where, "noise", detail::dimensions_of(noise), count());
    S sum = 0;
    for (std::size_t i = 0; i < count(); ++i)
      sum += detail::log_density(static_cast<S>(detail::entry(noise, i)), law[i].log_std);
    law.check_result(where, "the log-density", sum);
    return sum;
  }
  /// As above, plus `d_log_prob` times the gradient of `action_log_prob`, which is -1 for each ls.
  template <Scalar S, class Z, class V>
  void pullback_action(std::span<const S> y, const Z& noise, const V& da, std::type_identity_t<S> d_log_prob,
                       std::span<std::type_identity_t<S>> dy) const {
    constexpr auto where = "DiagonalGaussian::pullback_action";
    const auto law = outputs(where, y);
    check_finite(where, "y", y);
    detail::check_entries(where, "noise", noise, count());
    detail::check_entries(where, "da", da, count());
    check_size(where, "dy", dy.size(), y.size());
    for (std::size_t i = 0; i < count(); ++i) {
      const auto g = law[i];
      const S e = static_cast<S>(detail::entry(noise, i)), d = static_cast<S>(detail::entry(da, i));
      dy[i] += d;
      dy[count() + i] += g.slope * (d * g.std_dev() * e - d_log_prob);
    }
  }

  /// An action: `action` of fresh noise.
  template <Scalar S>
  Action sample(std::span<const S> y, Rng& rng) const {
    Action a = detail::zero_action<Action>("DiagonalGaussian::sample", count());
    sample(y, rng, a);
    return a;
  }
  template <Scalar S, class V>
  void sample(std::span<const S> y, Rng& rng, V&& out) const {
    constexpr auto where = "DiagonalGaussian::sample";
    const auto law = outputs(where, y);
    check_size(where, "out", detail::dimensions_of(out), count());
    for (std::size_t i = 0; i < count(); ++i) {
      const auto g = law[i];
      const S a = g.mean + g.std_dev() * rng.normal<S>();
      law.check_result(where, "the action", a);
      detail::set_entry(out, i, a);
    }
  }

  /// The mean.
  template <Scalar S>
  Action mode(std::span<const S> y) const {
    Action a = detail::zero_action<Action>("DiagonalGaussian::mode", count());
    const auto law = outputs("DiagonalGaussian::mode", y);
    for (std::size_t i = 0; i < count(); ++i) {
      check_finite("DiagonalGaussian::mode", "the mean", law[i].mean);
      detail::set_entry(a, i, law[i].mean);
    }
    return a;
  }
  /// Mean and variance of coordinate i.
  template <Scalar S>
  S mean(std::span<const S> y, std::size_t i) const {
    return outputs("DiagonalGaussian::mean", y)[i].mean;
  }
  template <Scalar S>
  S variance(std::span<const S> y, std::size_t i) const {
    return elementary::exp(2 * outputs("DiagonalGaussian::variance", y)[i].log_std);
  }

  /// sum -z^2 / 2 - ls - log(2 pi) / 2 with z = (a - mean) / s.
  template <Scalar S, class V>
  S log_prob(std::span<const S> y, const V& a) const {
    constexpr auto where = "DiagonalGaussian::log_prob";
    const auto law = outputs(where, y);
    detail::check_entries(where, "a", a, count());
    S sum = 0;
    for (std::size_t i = 0; i < count(); ++i) {
      const auto g = law[i];
      sum += detail::log_density(g.standardized(static_cast<S>(detail::entry(a, i))), g.log_std);
    }
    law.check_result(where, "the log-density", sum);
    return sum;
  }
  /// The same, and dmean += w z / s, dls += w (z^2 - 1).
  template <Scalar S, class V>
  S log_prob(std::span<const S> y, const V& a, std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dy) const {
    return score(y, a, w, dy, [](std::size_t, S) {});
  }
  /// The same, and da -= w z / s.
  template <Scalar S, class V, class DA>
  S log_prob(std::span<const S> y, const V& a, std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dy,
             DA&& da) const {
    check_size("DiagonalGaussian::log_prob", "da", detail::dimensions_of(da), count());
    return score(y, a, w, dy, [&](std::size_t i, S d_mean) {
      detail::set_entry(da, i, static_cast<S>(detail::entry(da, i)) - d_mean);
    });
  }

  /// sum ls + log(2 pi e) / 2: of a continuous law, so it may be negative.
  template <Scalar S>
  S entropy(std::span<const S> y) const {
    const auto law = outputs("DiagonalGaussian::entropy", y);
    S sum = 0;
    for (std::size_t i = 0; i < count(); ++i) sum += law[i].log_std + S(detail::half_log_2_pi + 0.5);
    law.check_result("DiagonalGaussian::entropy", "the entropy", sum);
    return sum;
  }
  /// The same, and dls += w.
  template <Scalar S>
  S entropy(std::span<const S> y, std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dy) const {
    check_size("DiagonalGaussian::entropy", "dy", dy.size(), y.size());
    const S value = entropy(y);
    const auto law = outputs("DiagonalGaussian::entropy", y);
    for (std::size_t i = 0; i < count(); ++i) dy[count() + i] += w * law[i].slope;
    return value;
  }

  /// KL(N(y) || N(other)), the expectation under **y**: sum over dimensions, with r = s / s', m = (mean - mean') / s',
  /// of (r^2 - 1 + m^2) / 2 - log r.
  template <Scalar S>
  S kl(std::span<const S> y, std::span<const std::type_identity_t<S>> other) const {
    constexpr auto where = "DiagonalGaussian::kl";
    const auto p = outputs(where, y), q = outputs(where, other);
    S sum = 0;
    for (std::size_t i = 0; i < count(); ++i) {
      const auto [log_ratio, shift] = compared(p[i], q[i]);
      sum += (elementary::expm1(2 * log_ratio) + shift * shift) / 2 - log_ratio;
    }
    q.check_result(where, "the divergence from the second law", sum);
    return sum;
  }
  /// The same, and its gradients where the span isn't empty: dmean += w m / s', dls += w (r^2 - 1); d_other: dmean' -=
  /// w m / s', dls' += w (1 - r^2 - m^2).
  template <Scalar S>
  S kl(std::span<const S> y, std::span<const std::type_identity_t<S>> other, std::type_identity_t<S> w,
       std::span<std::type_identity_t<S>> dy, std::span<std::type_identity_t<S>> d_other = {}) const {
    constexpr auto where = "DiagonalGaussian::kl";
    if (!dy.empty()) check_size(where, "dy", dy.size(), y.size());
    if (!d_other.empty()) check_size(where, "d_other", d_other.size(), other.size());
    const S value = kl(y, other);
    const auto p = outputs(where, y), q = outputs(where, other);
    for (std::size_t i = 0; i < count(); ++i) {
      const auto [log_ratio, shift] = compared(p[i], q[i]);
      const S d_mean = w * shift * elementary::exp(-q[i].log_std), excess = elementary::expm1(2 * log_ratio);
      if (!dy.empty()) dy[i] += d_mean, dy[count() + i] += w * p[i].slope * excess;
      if (!d_other.empty()) d_other[i] -= d_mean, d_other[count() + i] -= w * q[i].slope * (excess + shift * shift);
    }
    return value;
  }

  /// The chi-square divergence E (pi_y / pi_other)^2 - 1 under **other**. With r and m as in `kl` and D = 2 - r^2 it is
  /// prod exp(m^2 / D) / (r sqrt(D)) - 1, and +infinity where a D isn't positive: y's tails are then too heavy.
  template <Scalar S>
  S chi_square(std::span<const S> y, std::span<const std::type_identity_t<S>> other) const {
    constexpr auto where = "DiagonalGaussian::chi_square";
    const auto p = outputs(where, y), q = outputs(where, other);
    check_finite(where, "y", y);
    check_finite(where, "other", other);
    S sum = 0;
    for (std::size_t i = 0; i < count(); ++i) {
      const auto [log_ratio, shift] = compared(p[i], q[i]);
      const S excess = elementary::expm1(2 * log_ratio);  // r^2 - 1 = 1 - D
      if (!(excess < 1)) return std::numeric_limits<S>::infinity();
      sum += shift * shift / (1 - excess) - log_ratio - elementary::log1p(-excess) / 2;
    }
    return elementary::expm1(sum);
  }
  /// The same, and with c = w (1 + chi-square): dmean += 2 c m / (s' D), dls += c (r^2 / D - 1 + 2 r^2 m^2 / D^2).
  /// Throws `Error` where it is infinite.
  template <Scalar S>
  S chi_square(std::span<const S> y, std::span<const std::type_identity_t<S>> other, std::type_identity_t<S> w,
               std::span<std::type_identity_t<S>> dy) const {
    constexpr auto where = "DiagonalGaussian::chi_square";
    check_size(where, "dy", dy.size(), y.size());
    const S value = chi_square(y, other);
    if (!std::isfinite(value))
      fail(where, "the divergence is {}, so it has no gradient; expected variances below twice the other's", value);
    const auto p = outputs(where, y), q = outputs(where, other);
    for (std::size_t i = 0; i < count(); ++i) {
      const auto [log_ratio, shift] = compared(p[i], q[i]);
      const S square = elementary::exp(2 * log_ratio), d = 1 - elementary::expm1(2 * log_ratio);
      const S c = w * (1 + value), relative = shift * shift / d;
      dy[i] += 2 * c * shift * elementary::exp(-q[i].log_std) / d;
      dy[count() + i] += c * p[i].slope * (square / d * (1 + 2 * relative) - 1);
    }
    return value;
  }

  /// fv += w F v with the Fisher information F of the outputs: 1 / s^2 for a mean, 2 for an ls.
  template <Scalar S>
  void fisher_product(std::span<const S> y, std::span<const std::type_identity_t<S>> v, std::type_identity_t<S> w,
                      std::span<std::type_identity_t<S>> fv) const {
    constexpr auto where = "DiagonalGaussian::fisher_product";
    const auto law = outputs(where, y);
    check_finite(where, "y", y);
    check_size(where, "v", v.size(), y.size());
    check_size(where, "fv", fv.size(), y.size());
    for (std::size_t i = 0; i < count(); ++i) {
      const auto g = law[i];
      fv[i] += w * elementary::exp(-2 * g.log_std) * v[i];
      fv[count() + i] += w * 2 * g.slope * v[count() + i];
    }
  }

 private:
  template <class S>
  struct Compared {
    S log_ratio, shift;  ///< log(s / s'), (mean - mean') / s'
  };
  template <class S>
  static Compared<S> compared(const detail::GaussianEntry<S>& p, const detail::GaussianEntry<S>& q) {
    return {p.log_std - q.log_std, q.standardized(p.mean)};
  }

  std::size_t count() const { return static_cast<std::size_t>(dimensions); }
  template <class S>
  detail::GaussianOutputs<S> outputs(std::string_view where, std::span<const S> y) const {
    return {where, y, dimensions, options};
  }
  /// `also(i, w z / s)` beside the score.
  template <class S, class V, class F>
  S score(std::span<const S> y, const V& a, S w, std::span<S> dy, F&& also) const {
    constexpr auto where = "DiagonalGaussian::log_prob";
    const auto law = outputs(where, y);
    check_size(where, "dy", dy.size(), y.size());
    const S value = log_prob(y, a);
    for (std::size_t i = 0; i < count(); ++i) {
      const auto g = law[i];
      const S z = g.standardized(static_cast<S>(detail::entry(a, i)));
      const S d_mean = w * z * elementary::exp(-g.log_std);
      dy[i] += d_mean;
      dy[count() + i] += w * g.slope * (z * z - 1);
      also(i, d_mean);
    }
    return value;
  }
};
DiagonalGaussian(int) -> DiagonalGaussian<>;
DiagonalGaussian(int, GaussianOptions) -> DiagonalGaussian<>;

}  // namespace valence
