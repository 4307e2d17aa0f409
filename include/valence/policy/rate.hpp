#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include "valence/core/error.hpp"
#include "valence/function/schedules.hpp"

namespace valence {

/// A step size, an exploration rate or a temperature: a number, or a schedule called with how often it was asked
/// before. One type for both, so that options need no template parameter:
///
///     {.step_size = 0.5}
///     {.step_size = LinearSchedule{.begin = 0.5, .end = 0.01, .steps = 100'000}}
///
/// Copies share the schedule, which never changes. The count belongs to whoever asks, and is archived there.
class Rate {
 public:
  Rate(double value) : value_(value) {}  // NOLINT(google-explicit-constructor): `.step_size = 0.5`

  template <class T>
    requires(!std::same_as<std::remove_cvref_t<T>, Rate> && !std::is_arithmetic_v<std::remove_cvref_t<T>> &&
             Schedule<std::remove_cvref_t<T>>)
  Rate(T&& schedule)  // NOLINT(google-explicit-constructor): `.step_size = LinearSchedule{...}`
      : schedule_(std::make_shared<const std::remove_cvref_t<T>>(std::forward<T>(schedule))),
        call_([](const void* object, std::int64_t step) {
          return static_cast<double>((*static_cast<const std::remove_cvref_t<T>*>(object))(step));
        }) {}

  /// The rate after `step` >= 0 uses.
  double operator()(std::int64_t step) const { return call_ == nullptr ? value_ : call_(schedule_.get(), step); }

  /// The same, where it must lie in [low, high]: throws `Error` that names the argument where it doesn't.
  double in(std::string_view where, std::string_view argument, std::int64_t step, double low, double high) const {
    const double rate = (*this)(step);
    if (!(rate >= low && rate <= high)) [[unlikely]]
      refuse(where, argument, step, rate, low, high);
    return rate;
  }

 private:
  [[noreturn, gnu::noinline]] static void refuse(std::string_view where, std::string_view argument, std::int64_t step,
                                                 double rate, double low, double high) {
    fail(where, "{} is {} after {} uses; expected a number in [{}, {}]", argument, rate, step, low, high);
  }

  double value_ = 0;
  std::shared_ptr<const void> schedule_ = {};
  double (*call_)(const void*, std::int64_t) = nullptr;
};

}  // namespace valence
