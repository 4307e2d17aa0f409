#pragma once

#include <concepts>
#include <type_traits>

#include "valence/preference/batch.hpp"

namespace valence {

/// A loss of one pair: a copyable struct of hyper-parameters, called on a `Pair<T>`, that returns value and gradient.
///
/// Pure and const; one body for scalars and lanes (constants are `scalar_t<T>(0.5)`, branches are
/// `elementary::select`); the result's type is the argument's, so nothing is promoted. `static constexpr Column needs`
/// says what it reads. Two members are optional: `void check() const` throws `Error` for bad hyper-parameters and is
/// called once a batch, and `static constexpr std::string_view name` is what error messages call it.
template <class L>
concept PointwiseLoss = std::copyable<L> && requires(const L loss, const Pair<double>& d, const Pair<float>& f) {
  { L::needs } -> std::convertible_to<Column>;
  { loss(d) } -> std::same_as<PairLoss<double>>;
  { loss(f) } -> std::same_as<PairLoss<float>>;
};

/// A loss of a whole batch: it sorts, or takes a KL or a mean over tokens, or reads other parts than pairs.
/// `accumulate(batch, out, factor)` adds factor * gradient to `out` and returns factor * value. Adding is what makes a
/// sum of any losses one expression without temporaries. Running statistics come in as numbers: the loss stays a value.
/// With a `needs` the driver checks the batch first; without one (a user's own loss) that is `accumulate`'s affair.
template <class L>
concept BatchLoss =
    std::copyable<L> && requires(const L loss, const PreferenceBatch<float>& b, PreferenceGradient<float> f,
                                 const PreferenceBatch<double>& c, PreferenceGradient<double> d) {
      { loss.accumulate(b, f, 1.0) } -> std::same_as<double>;
      { loss.accumulate(c, d, 1.0) } -> std::same_as<double>;
    };

template <class L>
concept Loss = std::is_class_v<L> && (PointwiseLoss<L> || BatchLoss<L>);

}  // namespace valence
