#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <numbers>
#include <string_view>

#include "valence/core/error.hpp"

/// Schedules: values that are called with the number of steps already done (0 at the first step, 64 bits) and give a
/// number, the `factor` of an optimizer's step, or an exploration rate.
namespace valence {

template <class T>
concept Schedule = std::copyable<T> && requires(const T schedule, std::int64_t step) {
  { schedule(step) } -> std::convertible_to<double>;
};

namespace detail {
/// How far `step` is on its way through `steps`, in [0, 1]; 1 if there are none.
inline double schedule_progress(std::string_view where, std::int64_t step, std::int64_t steps) {
  if (step < 0) fail(where, "step is {}; expected 0 or more", step);
  if (steps < 0) fail(where, "steps is {}; expected 0 or more", steps);
  return step >= steps ? 1 : static_cast<double>(step) / static_cast<double>(steps);
}
}  // namespace detail

/// Always `value`.
struct ConstantSchedule {
  double value = 1;
  double operator()(std::int64_t) const { return value; }
};

/// From `begin` to `end` in a straight line over `steps`, then `end`.
struct LinearSchedule {
  double begin = 1, end = 0;
  std::int64_t steps = 0;
  double operator()(std::int64_t step) const {
    const double p = detail::schedule_progress("LinearSchedule", step, steps);
    return (1 - p) * begin + p * end;
  }
};

/// From `begin` to `end` along half a cosine over `steps`, then `end` (Loshchilov and Hutter 2017, equation 5, without
/// restarts).
struct CosineSchedule {
  double begin = 1, end = 0;
  std::int64_t steps = 0;
  double operator()(std::int64_t step) const {
    const double p = detail::schedule_progress("CosineSchedule", step, steps);
    const double rest = p >= 1 ? 0 : (1 + std::cos(std::numbers::pi * p)) / 2;
    return rest * begin + (1 - rest) * end;
  }
};

/// (step + 1) / steps of `then`'s first value while step < steps, so that the first step already moves; after that
/// `then`, from its beginning.
template <Schedule Then = ConstantSchedule>
struct WarmUp {
  std::int64_t steps = 0;
  Then then = {};
  double operator()(std::int64_t step) const {
    if (step < 0) fail("WarmUp", "step is {}; expected 0 or more", step);
    if (step >= steps) return then(step - steps);
    return static_cast<double>(step + 1) / static_cast<double>(steps) * then(0);
  }
};
template <Schedule Then>
WarmUp(std::int64_t, Then) -> WarmUp<Then>;
template <std::integral Steps, Schedule Then>
WarmUp(Steps, Then) -> WarmUp<Then>;
template <std::integral Steps>
WarmUp(Steps) -> WarmUp<ConstantSchedule>;

}  // namespace valence
