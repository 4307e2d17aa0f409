#pragma once

#include <fmt/core.h>

#include <concepts>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/preference/concepts.hpp"
#include "valence/preference/margin_loss.hpp"

/// Losses add and scale: `auto rpo = Dpo{.beta = 0.1} + 0.005 * Sft{};`. Sums and multiples of losses of one pair are
/// losses of one pair, computed in one pass; with a loss of a whole batch in it, a sum is a loss of a whole batch.
///
/// A loss type outside `namespace valence` finds the operators with `using valence::operator+;` (and `operator*`, ...).
namespace valence {

/// What error messages call a loss: its `name`, and how it is composed.
template <class L>
std::string loss_name(const L& loss) {
  if constexpr (requires {
                  { loss.describe() } -> std::convertible_to<std::string>;
                })
    return loss.describe();
  else if constexpr (requires {
                       { L::name } -> std::convertible_to<std::string_view>;
                     })
    return std::string(std::string_view(L::name));
  else
    return "loss";
}

namespace detail {

template <class L>
void check_loss(const L& loss) {
  if constexpr (requires { loss.check(); }) loss.check();
}

/// What a loss has to say about a batch beyond its `needs`: an optional `check(batch)`.
template <class L, class S>
void check_data(const L& loss, const PreferenceBatch<S>& in) {
  if constexpr (requires { loss.check(in); }) loss.check(in);
}

/// What a loss reads of a batch: a loss of one pair also reads the pairs, which its own `needs` takes for granted.
template <class L>
consteval Column batch_needs() {
  return PointwiseLoss<L> ? needs_of<L>() | Column::pairs : needs_of<L>();
}

/// A loss's share of a batch that is already checked. Defined with the driver (evaluate.hpp).
template <class L, class S>
double accumulate_unchecked(const L& loss, const PreferenceBatch<S>& in, const PreferenceGradient<S>& out,
                            double factor);

}  // namespace detail

/// a + b: values and gradients add, each with its own mean.
template <Loss A, Loss B>
struct Sum {
  A a;
  B b;

  static constexpr bool pointwise = PointwiseLoss<A> && PointwiseLoss<B>;
  static constexpr Column needs =
      pointwise ? detail::needs_of<A>() | detail::needs_of<B>() : detail::batch_needs<A>() | detail::batch_needs<B>();
  template <class T>
    requires(pointwise)
  PairLoss<T> operator()(const Pair<T>& p) const {
    const PairLoss<T> x = a(p), y = b(p);
    const auto sum = [](T u, T v) { return detail::rounded(u) + detail::rounded(v); };
    return {sum(x.value, y.value), sum(x.d_chosen, y.d_chosen), sum(x.d_rejected, y.d_rejected)};
  }
  template <class S>
    requires(!pointwise)
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    return detail::accumulate_unchecked(a, in, out, factor) + detail::accumulate_unchecked(b, in, out, factor);
  }
  void check() const {
    detail::check_loss(a);
    detail::check_loss(b);
  }
  template <class S>
  void check(const PreferenceBatch<S>& in) const {
    detail::check_data(a, in);
    detail::check_data(b, in);
  }
  std::string describe() const { return fmt::format("{} + {}", loss_name(a), loss_name(b)); }
  static void fields(auto& self, auto&& f) {
    detail::visit_fields(self.a, f);
    detail::visit_fields(self.b, f);
  }
};

/// factor * loss.
template <Loss L>
struct Scaled {
  L loss;
  double factor;

  static constexpr Column needs = detail::needs_of<L>();
  template <class T>
    requires(PointwiseLoss<L>)
  PairLoss<T> operator()(const Pair<T>& p) const {
    const auto c = scalar_t<T>(factor);
    const PairLoss<T> x = loss(p);
    return {c * x.value, c * x.d_chosen, c * x.d_rejected};
  }
  template <class S>
    requires(!PointwiseLoss<L>)
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double scale) const {
    return detail::accumulate_unchecked(loss, in, out, scale * factor);
  }
  void check() const {
    check_finite("Scaled", "factor", factor);
    detail::check_loss(loss);
  }
  template <class S>
  void check(const PreferenceBatch<S>& in) const {
    detail::check_data(loss, in);
  }
  std::string describe() const {
    const std::string inner = loss_name(loss);
    if (inner.find(' ') == std::string::npos) return fmt::format("{} * {}", factor, inner);
    return fmt::format("{} * ({})", factor, inner);
  }
  static void fields(auto& self, auto&& f) {
    detail::visit_fields(self.loss, f);
    f("factor", self.factor);
  }
};

template <Loss A, Loss B>
constexpr Sum<A, B> operator+(A a, B b) {
  return {a, b};
}
template <Loss L>
constexpr Scaled<L> operator*(double factor, L loss) {
  return {loss, factor};
}
template <Loss L>
constexpr Scaled<L> operator*(L loss, double factor) {
  return {loss, factor};
}
template <Loss L>
constexpr Scaled<L> operator/(L loss, double divisor) {
  return {loss, 1 / divisor};
}
template <Loss L>
constexpr Scaled<L> operator-(L loss) {
  return {loss, -1};
}
template <Loss A, Loss B>
constexpr Sum<A, Scaled<B>> operator-(A a, B b) {
  return {a, {b, -1}};
}

/// `weighted(loss, w)`: each pair's value and gradient times its own constant weight w >= 0 (WPO, importance weights),
/// on top of the batch's `weight` column. It refers to `w`, which must outlive it.
template <PointwiseLoss L, Scalar S>
struct Weighted {
  L loss;
  std::span<const S> weights;

  static constexpr Column needs = L::needs | Column::pairs;
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out,
                    double factor) const;  // evaluate.hpp
  // Weights are of one scalar type and the batch is of the same: the other's batch is refused, not converted.
  template <class Other>
    requires(!std::same_as<Other, S>)
  double accumulate(const PreferenceBatch<Other>&, const PreferenceGradient<Other>&, double) const {
    fail("Weighted", "the weights and the batch have different scalar types");
  }
  void check() const { detail::check_loss(loss); }
  void check(const PreferenceBatch<S>& in) const;  // evaluate.hpp
  std::string describe() const { return fmt::format("weighted({})", loss_name(loss)); }
};
template <PointwiseLoss L, class C>
Weighted<L, detail::ElementOf<C>> weighted(L loss, const C& weights) {
  return {loss, detail::as_span(weights)};
}
template <PointwiseLoss L, class C>
void weighted(L loss, const C&& weights) = delete;  // a temporary would be gone before the loss is evaluated
template <PointwiseLoss L, class S>
Weighted<L, std::remove_const_t<S>> weighted(L loss, std::span<S> weights) {
  return {loss, weights};
}

/// The sum over pairs where `loss` has the mean (VPO's online objective is such a sum).
template <PointwiseLoss L>
struct Summed {
  L loss;

  static constexpr Column needs = L::needs | Column::pairs;
  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    return detail::accumulate_unchecked(loss, in, out, factor * static_cast<double>(in.pairs.chosen.size()));
  }
  void check() const { detail::check_loss(loss); }
  std::string describe() const { return fmt::format("summed({})", loss_name(loss)); }
};
template <PointwiseLoss L>
constexpr Summed<L> summed(L loss) {
  return {loss};
}

}  // namespace valence
