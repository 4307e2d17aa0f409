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

/// A loss whose type is chosen at run time: it holds any loss, and is one itself (a `BatchLoss`, so it adds and scales like the
/// others). One virtual call a batch. For programs with a `--loss` option: a trainer is compiled once, not once a loss.
class AnyLoss {
 public:
  template <class L>
  requires(!std::same_as<L, AnyLoss> && Loss<L>) explicit AnyLoss(L loss)
      : loss_(std::make_shared<const Holder<L>>(std::move(loss))) {}

  double accumulate(const PreferenceBatch<double>& in, const PreferenceGradient<double>& out, double factor) const {
    return loss_->accumulate(in, out, factor);
  }
  double accumulate(const PreferenceBatch<float>& in, const PreferenceGradient<float>& out, double factor) const {
    return loss_->accumulate(in, out, factor);
  }
  std::string describe() const { return loss_->describe(); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual double accumulate(const PreferenceBatch<double>& in, const PreferenceGradient<double>& out,
                              double factor) const = 0;
    virtual double accumulate(const PreferenceBatch<float>& in, const PreferenceGradient<float>& out,
                              double factor) const = 0;
    virtual std::string describe() const = 0;
  };
  template <class L> struct Holder final : Base {
    explicit Holder(L l) : loss(std::move(l)) {}
    // The driver checks the columns that this loss reads.
    double accumulate(const PreferenceBatch<double>& in, const PreferenceGradient<double>& out,
                      double factor) const override {
      return valence::accumulate(loss, in, out, factor);
    }
    double accumulate(const PreferenceBatch<float>& in, const PreferenceGradient<float>& out,
                      double factor) const override {
      return valence::accumulate(loss, in, out, factor);
    }
    std::string describe() const override { return loss_name(loss); }
    L loss;
  };

  std::shared_ptr<const Base> loss_;  // never written to, so copies may share it
};

/// The loss of that name in `losses` with these options, `any_loss("ipo", {{"beta", 0.05}})`. Throws `Error` as `visit_loss` does.
template <class... Entries>
AnyLoss any_loss(std::string_view name, std::span<const LossOption> options, const NamedLosses<Entries...>& losses) {
  std::optional<AnyLoss> result;
  visit_loss(
      name, options, [&](const auto& loss) { result.emplace(loss); }, losses);
  return *result;
}
/// ... of `pair_losses`. A template, so that a file which does not call it compiles none of the losses.
template <std::same_as<LossOption> O = LossOption> AnyLoss any_loss(std::string_view name, std::span<const O> options) {
  return any_loss(name, options, pair_losses);
}
template <std::same_as<LossOption> O = LossOption>
AnyLoss any_loss(std::string_view name, std::initializer_list<O> options = {}) {
  return any_loss(name, std::span<const LossOption>(options.begin(), options.size()), pair_losses);
}

}  // namespace valence
