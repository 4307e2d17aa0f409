#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "valence/preference/algebra.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/by_name.hpp"
#include "valence/preference/concepts.hpp"
#include "valence/preference/evaluate.hpp"

namespace valence {

/// A loss of columns of `S` whose type is chosen at run time: it holds any loss, and is one itself (a `BatchLoss`, so
/// it adds and scales like the others). One virtual call a batch. For programs with a `--loss` option: a trainer is
/// compiled once, not once a loss. Columns of another type than `S` are refused with an `Error`.
template <Scalar S = double>
class AnyLoss {
 public:
  template <class L>
    requires(!std::same_as<L, AnyLoss> && Loss<L>)
  explicit AnyLoss(L loss) : loss_(std::make_shared<const Holder<L>>(std::move(loss))) {}

  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    return loss_->accumulate(in, out, factor);
  }
  template <class Other>
    requires(!std::same_as<Other, S>)
  double accumulate(const PreferenceBatch<Other>&, const PreferenceGradient<Other>&, double) const {
    fail("AnyLoss", "it was made for columns of another scalar type");
  }
  void check(const PreferenceBatch<S>& in) const { loss_->check(in); }
  /// What the loss reads of a batch: whether mismatched responses (`Column::kl`) must be there, for one. `none` for a
  /// user's own loss that doesn't say.
  Column reads() const { return loss_->reads(); }
  std::string describe() const { return loss_->describe(); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const = 0;
    virtual void check(const PreferenceBatch<S>& in) const = 0;
    virtual Column reads() const = 0;
    virtual std::string describe() const = 0;
  };
  template <class L>
  struct Holder final : Base {
    explicit Holder(L l) : loss(std::move(l)) {}
    double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const override {
      return detail::accumulate_unchecked(loss, in, out, factor);
    }
    // Apart, so that in a sum of losses all are checked before any changes something.
    void check(const PreferenceBatch<S>& in) const override { detail::check_call(loss, in, PreferenceGradient<S>{}); }
    Column reads() const override { return detail::batch_needs<L>(); }
    std::string describe() const override { return loss_name(loss); }
    L loss;
  };

  std::shared_ptr<const Base> loss_;  // never written to, so copies may share it
};
template <class L>
AnyLoss(L) -> AnyLoss<double>;

/// The loss of that name in `losses` with these options, `any_loss("ipo", {{"beta", 0.05}})`. Throws `Error` as
/// `visit_loss` does.
template <Scalar S = double, class... Entries>
AnyLoss<S> any_loss(std::string_view name, std::span<const LossOption> options, const NamedLosses<Entries...>& losses) {
  std::optional<AnyLoss<S>> result;
  visit_loss(
      name, options, [&](const auto& loss) { result.emplace(loss); }, losses);
  return *result;
}
/// ... of `pair_losses`.
template <Scalar S = double>
AnyLoss<S> any_loss(std::string_view name, std::span<const LossOption> options) {
  return any_loss<S>(name, options, pair_losses);
}
template <Scalar S = double>
AnyLoss<S> any_loss(std::string_view name, std::initializer_list<LossOption> options = {}) {
  return any_loss<S>(name, std::span<const LossOption>(options.begin(), options.size()), pair_losses);
}

}  // namespace valence
