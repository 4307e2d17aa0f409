#pragma once

#include <algorithm>
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
#include "valence/policy/divergences.hpp"
#include "valence/policy/gaussian.hpp"

namespace valence {

/// A mixture of `components` laws of one kind: sum w_k pi_k, w = softmax(z). Outputs: k logits z, then the outputs of
/// each component, one after the other. So a mixture of squashed Gaussians is
///
///     Mixture law{SquashedGaussian{env.actions()}, 4};
///
/// and `GaussianMixture<double>{DiagonalGaussian<double>{}, 3}` one of Gaussians on the line (z, then mean and log-std of
/// each). A logit of -infinity switches its component off: its outputs aren't read. A mixture has no closed form of the
/// entropy (`entropy_bounds`) and no reparameterisation; a component of it has: `law.component.action(law.part(y, k),
/// noise)` gives its action, which is how PMOE trains (Ren et al. 2021).
template <ActionDistribution P>
struct Mixture {
  using Action = typename P::Action;
  P component;
  int components = 4;  ///< >= 1

  /// Outputs: a logit and the outputs of a law a component.
  int size() const { return components * (1 + component.size()); }

  /// The outputs of component k, of y or of its gradient.
  template <class T>
  std::span<T> part(std::span<T> y, std::size_t k) const {
    return y.subspan(count() + k * part_size(), part_size());
  }
  /// The weights w, an entry a component, exactly 0 where z is -infinity.
  template <Scalar S>
  void weights(std::span<const S> y, std::span<std::type_identity_t<S>> out) const {
    const auto w = law("Mixture::weights", y);
    check_size("Mixture::weights", "out", out.size(), count());
    for (std::size_t k = 0; k < count(); ++k) out[k] = w.prob(k);
  }

  /// Which component: one output of the generator.
  template <Scalar S>
  std::size_t sample_component(std::span<const S> y, Rng& rng) const {
    return law("Mixture::sample_component", y).at(rng.uniform());
  }
  /// A component, then an action of it.
  template <Scalar S>
  Action sample(std::span<const S> y, Rng& rng) const {
    return component.sample(part(y, sample_component(y, rng)), rng);
  }
  template <Scalar S, class V>
  void sample(std::span<const S> y, Rng& rng, V&& out) const {
    component.sample(part(y, sample_component(y, rng)), rng, out);
  }

  /// The mode of the heaviest component, the first of ties. The mixture's density may be larger elsewhere.
  template <Scalar S>
  Action mode(std::span<const S> y) const {
    return component.mode(part(y, law("Mixture::mode", y).mode()));
  }

  /// log sum w_k pi_k(a).
  template <Scalar S, class V>
  S log_prob(std::span<const S> y, const V& a) const {
    const auto w = law("Mixture::log_prob", y);
    S top = -std::numeric_limits<S>::infinity(), sum = 0;  // of exp(. - top), in one pass
    for (std::size_t k = 0; k < count(); ++k) {
      if (off(y, k)) continue;
      const S joint = w.log_prob(k) + component.log_prob(part(y, k), a);
      if (joint > top) {
        sum = sum * elementary::exp(top - joint) + 1;
        top = joint;
      } else {
        sum += elementary::exp(joint - top);
      }
    }
    return top + elementary::log(sum);
  }
  /// The same, and with the responsibilities g_k = w_k pi_k(a) / sum: dz += weight (g - w), and weight g_k times the
  /// score of component k is added to its part.
  template <Scalar S, class V>
  S log_prob(std::span<const S> y, const V& a, std::type_identity_t<S> weight,
             std::span<std::type_identity_t<S>> dy) const {
    return score(y, a, weight, dy,
                 [&](std::span<const S> yk, S scaled, std::span<S> dyk) { component.log_prob(yk, a, scaled, dyk); });
  }
  /// The same, and da += weight d log_prob / da.
  template <Scalar S, class V, class DA>
  S log_prob(std::span<const S> y, const V& a, std::type_identity_t<S> weight, std::span<std::type_identity_t<S>> dy,
             DA&& da) const {
    return score(y, a, weight, dy, [&](std::span<const S> yk, S scaled, std::span<S> dyk) {
      component.log_prob(yk, a, scaled, dyk, da);
    });
  }

  /// Mean and variance of coordinate i, of components that tell theirs.
  template <Scalar S>
  S mean(std::span<const S> y, std::size_t i) const {
    const auto w = law("Mixture::mean", y);
    S sum = 0;
    for (std::size_t k = 0; k < count(); ++k)
      if (!off(y, k)) sum += w.prob(k) * component.mean(part(y, k), i);
    return sum;
  }
  template <Scalar S>
  S variance(std::span<const S> y, std::size_t i) const {
    const auto w = law("Mixture::variance", y);
    const S center = mean(y, i);
    S sum = 0;
    for (std::size_t k = 0; k < count(); ++k) {
      if (off(y, k)) continue;
      const S shift = component.mean(part(y, k), i) - center;
      sum += w.prob(k) * (component.variance(part(y, k), i) + shift * shift);
    }
    return sum;
  }

  /// Between which the entropy lies: sum w_k H_k <= H <= sum w_k H_k + H(w).
  template <class S>
  struct EntropyBounds {
    S lower, upper;
  };
  template <Scalar S>
    requires HasEntropy<P>
  EntropyBounds<S> entropy_bounds(std::span<const S> y) const {
    const auto w = law("Mixture::entropy_bounds", y);
    S within = 0, between = 0;
    for (std::size_t k = 0; k < count(); ++k)
      if (const S x = w.prob(k); x > 0) {
        within += x * component.entropy(part(y, k));
        between -= x * w.log_prob(k);
      }
    return {within, within + between};
  }

 private:
  std::size_t count() const { return static_cast<std::size_t>(components); }
  std::size_t part_size() const { return static_cast<std::size_t>(component.size()); }
  template <class S>
  static bool off(std::span<const S> y, std::size_t k) {
    return y[k] == -std::numeric_limits<S>::infinity();
  }
  template <class S>
  detail::LogSoftmax<S> law(std::string_view where, std::span<const S> y) const {
    if (components < 1) fail(where, "components is {}; expected at least 1", components);
    check_size(where, "y", y.size(), static_cast<std::size_t>(size()));
    return {where, "y", y.first(count()), {}};
  }
  template <class S, class V, class F>
  S score(std::span<const S> y, const V& a, S weight, std::span<S> dy, F&& add_score) const {
    const auto w = law("Mixture::log_prob", y);
    check_size("Mixture::log_prob", "dy", dy.size(), y.size());
    const S value = log_prob(y, a);
    for (std::size_t k = 0; k < count(); ++k) {
      if (off(y, k)) continue;
      const S g = elementary::exp(w.log_prob(k) + component.log_prob(part(y, k), a) - value);
      dy[k] += weight * (g - w.prob(k));
      if (g > 0) add_score(part(y, k), weight * g, part(dy, k));
    }
    return value;
  }
};
template <ActionDistribution P>
Mixture(P, int) -> Mixture<P>;

/// A mixture of Gaussians with diagonal covariances.
template <class A = Vector<double>>
using GaussianMixture = Mixture<DiagonalGaussian<A>>;

}  // namespace valence
