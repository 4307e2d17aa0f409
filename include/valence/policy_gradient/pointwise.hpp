#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"

/// Losses of one sample at a time, and the one driver that takes their mean over columns.
///
///     PpoClip loss{.epsilon = 0.2};
///     auto [value, slope] = loss(PolicySample<double>{.log_prob = -0.9, .old_log_prob = -1, .advantage = 1});
///     double mean = mean_loss(loss, PolicyColumns<double>{.log_prob = l, .old_log_prob = old, .advantage = a}, dl);
///
/// A loss is minimised, and its slope is with respect to the **first** number of its sample, the model's output.
/// Everything else in a sample (old log-probabilities, advantages, targets, weights) is a value and never
/// differentiated (pitfall G26).
namespace valence {

/// A loss of one sample, for `float` and `double` samples of the template `Sample`. `term(x)` is the bare formula, for
/// inner loops; `check()` throws for bad hyper-parameters; `name` begins error messages; `uses_...` says which of the
/// sample's optional numbers are read.
template <class L, template <class> class Sample>
concept SampleLoss = std::copyable<L> && requires(const L loss, const Sample<float>& f, const Sample<double>& d) {
  { L::name } -> std::convertible_to<std::string_view>;
  loss.check();
  { loss.term(f) } -> std::same_as<ValueAndSlope<float>>;
  { loss.term(d) } -> std::same_as<ValueAndSlope<double>>;
};

/// What a mean is taken over.
struct MeanOptions {
  /// An entry a sample: only those that are true count, in the sum and in the number that divides it (pitfall G14);
  /// what a false one hides isn't read and may be NaN (G13). Empty: all of them.
  std::span<const bool> mask = {};
  /// What the sum is divided by; 0: the number of samples that count. Mini-batches that add up one gradient are given
  /// the number of the whole batch, so that theirs may differ (G15).
  std::size_t count = 0;
  /// Multiplies value and gradient; finite.
  double factor = 1;
};

namespace detail {

inline bool counts(std::span<const bool> mask, std::size_t i) { return mask.empty() || mask[i]; }

/// Checks a mask and gives what to divide by.
inline double mean_divisor(std::string_view where, std::size_t n, const MeanOptions& options) {
  check_finite(where, "factor", options.factor);
  if (n == 0) fail(where, "the columns are empty; expected at least one sample");
  if (!options.mask.empty()) check_size(where, "mask", options.mask.size(), n);
  if (options.count > 0) return static_cast<double>(options.count);
  std::size_t selected = 0;
  for (std::size_t i = 0; i < n; ++i) selected += counts(options.mask, i) ? 1 : 0;
  if (selected == 0)
    fail(where, "the mask leaves none of {} samples, and count is 0; expected at least one, or the count of all", n);
  return static_cast<double>(selected);
}

/// A column of n entries that are finite where they count. A column that isn't used isn't read.
template <class S>
void check_samples(std::string_view where, std::string_view name, std::span<const S> x, std::size_t n,
                   std::span<const bool> mask, bool used = true) {
  if (!used) return;
  check_size(where, name, x.size(), n);
  for (std::size_t i = 0; i < n; ++i)
    if (counts(mask, i) && !std::isfinite(x[i])) fail(where, "{}[{}] is {}; expected a finite number", name, i, x[i]);
}

/// The checked call of one sample.
template <class L, template <class> class Sample, class S>
ValueAndSlope<S> checked_term(const L& loss, const Sample<S>& x) {
  loss.check();
  x.check(loss);
  const ValueAndSlope<S> result = loss.term(x);
  if (!std::isfinite(result.value) || !std::isfinite(result.slope))
    fail(L::name, "the loss is {} and its derivative {}; expected finite numbers", result.value, result.slope);
  return result;
}

/// factor / divisor times the sum of term(i), and its gradient, added. Two passes: what overflows is refused before the
/// gradient is touched. Sums are kept in double.
template <class S, class Term>
double mean_of_terms(std::string_view where, std::size_t n, std::span<S> gradient, const MeanOptions& options,
                     Term&& term) {
  const double scale = options.factor / mean_divisor(where, n, options);
  if (!gradient.empty()) check_size(where, "gradient", gradient.size(), n);
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!counts(options.mask, i)) continue;
    const ValueAndSlope<S> one = term(i);
    if (!std::isfinite(one.value) || !std::isfinite(one.slope))
      fail(where, "the loss of sample {} is {} and its derivative {}; expected finite numbers", i, one.value,
           one.slope);
    sum += static_cast<double>(one.value);
  }
  if (!gradient.empty())
    for (std::size_t i = 0; i < n; ++i)
      if (counts(options.mask, i)) gradient[i] += static_cast<S>(scale * static_cast<double>(term(i).slope));
  return scale * sum;
}

}  // namespace detail

/// The mean of a loss over the samples of `columns` that count, times the factor; and, where `gradient` isn't empty,
/// gradient[i] += its derivative with respect to the first column's entry i. Throws `Error` with the index, before
/// anything is changed, for sizes that disagree, columns that are missing, numbers that aren't finite, and losses that
/// overflow; and where no sample counts. Allocates nothing.
template <class L, template <class> class Columns, Scalar S>
double mean_loss(const L& loss, const Columns<S>& columns, std::span<std::type_identity_t<S>> gradient = {},
                 const MeanOptions& options = {}) {
  loss.check();
  const std::size_t n = columns.size();
  if (!options.mask.empty()) check_size(L::name, "mask", options.mask.size(), n);
  columns.check(loss, options.mask);
  return detail::mean_of_terms<S>(L::name, n, gradient, options, [&](std::size_t i) { return loss.term(columns[i]); });
}

}  // namespace valence
