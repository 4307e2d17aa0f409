#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/divergences.hpp"

namespace valence {

/// The categorical law of one of `actions` actions, 0 ... actions - 1, whose outputs are logits: p = softmax(z).
///
///     Softmax law{.actions = 4};
///     int a = law.sample(z, rng, mask);
///     law.log_prob(z, a, -advantage, dz, mask);   // REINFORCE
///     law.entropy(z, -0.01, dz, mask);            // and its entropy bonus, in the same dz
///
/// The last argument of every member may be a mask with an entry an action, true where it is possible. A masked action
/// has probability exactly 0, is never drawn, its logit isn't read and its gradient isn't touched; masks don't
/// accumulate (pitfalls G22, G23). A logit of -infinity means the same. Other logits may be of any size: they count by
/// their differences. Throws `Error` for logits that are NaN or +infinity, where nothing is possible, and for an action
/// out of range. Nothing allocates.
struct Softmax {
  using Action = int;
  int actions = 2;  ///< >= 1

  /// Outputs: a logit an action.
  int size() const { return actions; }

  /// An action with its probability, by the inverse distribution function. One output of the generator.
  template <Scalar S>
  int sample(std::span<const S> z, Rng& rng, ActionMask mask = {}) const {
    return static_cast<int>(law("Softmax::sample", z, mask).at(rng.uniform()));
  }

  /// The most likely action, the first of ties.
  template <Scalar S>
  int mode(std::span<const S> z, ActionMask mask = {}) const {
    return static_cast<int>(law("Softmax::mode", z, mask).mode());
  }

  /// p_i, an entry an action; exactly 0 where masked. `out` may be z.
  template <Scalar S>
  void probabilities(std::span<const S> z, std::span<std::type_identity_t<S>> out, ActionMask mask = {}) const {
    const auto p = law("Softmax::probabilities", z, mask);
    check_size("Softmax::probabilities", "out", out.size(), z.size());
    for (std::size_t i = 0; i < z.size(); ++i) out[i] = p.prob(i);
  }

  /// z_a - log sum exp(z), in [-inf, 0]; -infinity for an action that is masked.
  template <Scalar S>
  S log_prob(std::span<const S> z, int a, ActionMask mask = {}) const {
    const auto p = law("Softmax::log_prob", z, mask);
    check_action(a);
    return p.log_prob(static_cast<std::size_t>(a));
  }
  /// The same, and dz += w (e_a - p). A masked action has no score: throws.
  template <Scalar S>
  S log_prob(std::span<const S> z, int a, std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dz,
             ActionMask mask = {}) const {
    constexpr auto where = "Softmax::log_prob";
    const auto p = law(where, z, mask);
    check_action(a);
    check_size(where, "dz", dz.size(), z.size());
    const auto taken = static_cast<std::size_t>(a);
    const S value = p.log_prob(taken);
    if (value == detail::LogSoftmax<S>::impossible)
      fail(where, "action {} is masked, so it has no gradient; expected a possible action", a);
    for (std::size_t i = 0; i < z.size(); ++i)
      if (p.allowed(i)) dz[i] += w * ((i == taken ? S(1) : S(0)) - p.prob(i));
    return value;
  }

  /// -sum p log p, in [0, log actions].
  template <Scalar S>
  S entropy(std::span<const S> z, ActionMask mask = {}) const {
    return entropy_of(law("Softmax::entropy", z, mask));
  }
  /// The same, and dz -= w p (log p + H).
  template <Scalar S>
  S entropy(std::span<const S> z, std::type_identity_t<S> w, std::span<std::type_identity_t<S>> dz,
            ActionMask mask = {}) const {
    const auto p = law("Softmax::entropy", z, mask);
    check_size("Softmax::entropy", "dz", dz.size(), z.size());
    const S h = entropy_of(p);
    for (std::size_t i = 0; i < z.size(); ++i)
      if (const S x = p.prob(i); x > 0) dz[i] -= w * (x * (p.log_prob(i) + h));
    return h;
  }

  /// sum p log(p / q), p = softmax(z), q = softmax(other): the expectation is under **z**. Infinite where only z can
  /// take an action. Gradients, added where the span isn't empty: dz += w p (log(p / q) - KL), d_other += w (q - p).
  template <Scalar S>
  S kl(std::span<const S> z, std::span<const std::type_identity_t<S>> other, ActionMask mask = {}) const {
    check_size("Softmax::kl", "z", z.size(), static_cast<std::size_t>(actions));
    return logit_divergence(KullbackLeibler{}, z, other, mask);
  }
  template <Scalar S>
  S kl(std::span<const S> z, std::span<const std::type_identity_t<S>> other, std::type_identity_t<S> w,
       std::span<std::type_identity_t<S>> dz, std::span<std::type_identity_t<S>> d_other = {},
       ActionMask mask = {}) const {
    check_size("Softmax::kl", "z", z.size(), static_cast<std::size_t>(actions));
    return logit_divergence(KullbackLeibler{}, z, other, w, dz, d_other, mask);
  }

  /// fv += w (diag(p) - p p') v: the product of the Fisher information of the logits with v. (Kakade 2001.)
  template <Scalar S>
  void fisher_product(std::span<const S> z, std::span<const std::type_identity_t<S>> v, std::type_identity_t<S> w,
                      std::span<std::type_identity_t<S>> fv, ActionMask mask = {}) const {
    constexpr auto where = "Softmax::fisher_product";
    const auto p = law(where, z, mask);
    check_size(where, "v", v.size(), z.size());
    check_size(where, "fv", fv.size(), z.size());
    S mean = 0;
    for (std::size_t i = 0; i < z.size(); ++i)
      if (p.allowed(i)) mean += p.prob(i) * v[i];
    for (std::size_t i = 0; i < z.size(); ++i)
      if (p.allowed(i)) fv[i] += w * (p.prob(i) * (v[i] - mean));
  }

 private:
  template <class S>
  detail::LogSoftmax<S> law(std::string_view where, std::span<const S> z, ActionMask mask) const {
    if (actions < 1) fail(where, "actions is {}; expected at least 1", actions);
    check_size(where, "z", z.size(), static_cast<std::size_t>(actions));
    return {where, "z", z, mask};
  }
  void check_action(int a) const {
    if (a < 0 || a >= actions) fail("Softmax::log_prob", "action is {}; expected a number in [0, {}]", a, actions - 1);
  }
  template <class S>
  static S entropy_of(const detail::LogSoftmax<S>& p) {
    S h = 0;
    for (std::size_t i = 0; i < p.size(); ++i)
      if (const S x = p.prob(i); x > 0) h -= x * p.log_prob(i);
    return h;
  }
};

}  // namespace valence
