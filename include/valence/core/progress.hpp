#pragma once

#include <fmt/core.h>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

#include "valence/core/config.hpp"
#include "valence/core/error.hpp"

namespace valence {

/// How far something is. The strings are views: valid during the call.
struct ProgressEvent {
  std::uint64_t step = 0;        ///< steps done
  std::uint64_t total = 0;       ///< of so many; 0 where nobody knows
  std::string_view task = {};    ///< what is being done: "train", "value iteration"
  std::string_view metric = {};  ///< the name of `value` ("loss", "residual"); empty where there is none
  double value = 0;
};

/// Called from time to time by whatever takes long. Returns nothing, or whether to go on: after `false` the caller
/// stops at a state it can return.
template <class C>
concept ProgressCallback = std::invocable<C&, const ProgressEvent&> &&
                           (std::is_void_v<std::invoke_result_t<C&, const ProgressEvent&>> ||
                            std::convertible_to<std::invoke_result_t<C&, const ProgressEvent&>, bool>);

/// What trainers and solvers take as their argument for progress: a reference to any callback, or nothing. Two
/// pointers; the call costs one test when there is no callback. The callback must outlive the call it is passed to, as
/// a temporary does.
///
///     void solve(..., Progress progress = {}) {
///       for (...) if (!progress({.step = k, .total = n, .task = "solve", .metric = "residual", .value = r})) break;
///     }
///     solve(..., [](const ProgressEvent& e) { return e.value > 1e-3; });   // or: ProgressBar bar; solve(..., bar);
class Progress {
 public:
  Progress() = default;

  template <class C>
    requires(!std::same_as<std::remove_cvref_t<C>, Progress> && ProgressCallback<std::remove_reference_t<C>>)
  Progress(C&& callback)  // NOLINT(google-explicit-constructor): an argument, made where it is passed
      : object_(const_cast<void*>(static_cast<const volatile void*>(std::addressof(callback)))),
        call_([](void* object, const ProgressEvent& event) -> bool {
          auto& c = *static_cast<std::remove_reference_t<C>*>(object);
          if constexpr (std::is_void_v<std::invoke_result_t<std::remove_reference_t<C>&, const ProgressEvent&>>) {
            c(event);
            return true;
          } else {
            return static_cast<bool>(c(event));
          }
        }) {
    static_assert(!std::is_function_v<std::remove_reference_t<C>>,
                  "valence: pass a function as a lambda: [](const ProgressEvent& e) { return f(e); }");
  }

  /// Tells the callback; true if the caller is to go on.
  bool operator()(const ProgressEvent& event) const { return call_ == nullptr || call_(object_, event); }

  /// Is anybody listening? Where the event itself is dear to make.
  explicit operator bool() const { return call_ != nullptr; }

 private:
  void* object_ = nullptr;
  bool (*call_)(void*, const ProgressEvent&) = nullptr;
};

struct ProgressBarOptions {
  std::FILE* file = stderr;
  enum class Terminal {
    detect,
    yes,
    no
  } terminal = Terminal::detect;  ///< is `file` a terminal? If not, nothing is written
  double interval = 0.1;          ///< seconds between two drawings, 0 or more
  int width = 24;                 ///< characters of the bar itself, 1 to 200
  double (*clock)() = nullptr;    ///< seconds that never go back; by default the steady clock
};

/// A progress callback that draws a line on the terminal and redraws it:
///
///     train [##########..............]  42% 4200/10000  1.3k/s  0:04 left  loss 0.4312
///
/// Silent where the file is not a terminal, so logs stay clean. The line is finished when the last step is told, when
/// another task begins, and when the bar is destroyed.
class ProgressBar {
 public:
  ProgressBar() : ProgressBar(ProgressBarOptions{}) {}

  explicit ProgressBar(const ProgressBarOptions& options) : options_(options) {
    if (options.file == nullptr) fail("ProgressBar", "file is null; expected an open file");
    check_range("ProgressBar", "interval", options.interval, 0.0, 1e9);
    check_range("ProgressBar", "width", options.width, 1, 200);
    using Terminal = ProgressBarOptions::Terminal;
    visible_ = options.terminal == Terminal::yes || (options.terminal == Terminal::detect && is_terminal(options.file));
  }

  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() {
#if defined(__cpp_exceptions)
    try {
      finish();
    } catch (...) {  // out of memory for a line: nothing to be done, nothing lost
    }
#else
    finish();
#endif
  }

  /// Draws if it is time to. Always true: the bar stops nobody.
  bool operator()(const ProgressEvent& event) {
    if (!visible_) return true;
    const double now = options_.clock != nullptr ? options_.clock() : steady_seconds();
    if (!started_ || event.task != task_ || event.step < last_step_) {
      finish();
      started_ = true;
      task_ = event.task;
      start_ = now;
      first_step_ = event.step;
      last_drawn_ = -1e300;  // at once
    }
    last_step_ = event.step;
    const bool last = event.total != 0 && event.step >= event.total;
    if (finished_ || (!last && now - last_drawn_ < options_.interval)) return true;
    last_drawn_ = now;
    draw(event, now - start_);
    if (last) {
      end_line();
      finished_ = true;
    }
    return true;
  }

  /// Ends the line, if one is open. What is told next starts a new one.
  void finish() {
    end_line();
    started_ = finished_ = false;
  }

  bool visible() const { return visible_; }

 private:
  static bool is_terminal(std::FILE* file) {
#if defined(_WIN32)
    return _isatty(_fileno(file)) != 0;
#else
    return isatty(fileno(file)) != 0;
#endif
  }

  static double steady_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  static std::string duration(double seconds) {
    if (!(seconds < 3.6e6)) return "ages";
    const auto s = static_cast<long>(seconds + 0.5);  // NOLINT(bugprone-incorrect-roundings): not negative
    if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
    return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  }

  static std::string rate(double per_second) {
    if (per_second >= 1e9) return fmt::format("{:.1f}G/s", per_second / 1e9);
    if (per_second >= 1e6) return fmt::format("{:.1f}M/s", per_second / 1e6);
    if (per_second >= 1e3) return fmt::format("{:.1f}k/s", per_second / 1e3);
    return fmt::format("{:.3g}/s", per_second);
  }

  void draw(const ProgressEvent& event, double elapsed) {
    std::string line = task_;
    if (!line.empty()) line += ' ';
    if (event.total != 0) {
      const double share =
          event.step >= event.total ? 1 : static_cast<double>(event.step) / static_cast<double>(event.total);
      const auto width = static_cast<std::size_t>(options_.width);
      const auto full = static_cast<std::size_t>(share * static_cast<double>(width));
      line += '[' + std::string(full, '#') + std::string(width - full, '.') + ']';
      line += fmt::format(" {:3}% {}/{}", static_cast<int>(share * 100), event.step, event.total);
    } else {
      line += fmt::format("{}", event.step);
    }
    const double done = static_cast<double>(event.step - first_step_);
    if (done > 0 && elapsed > 0) {
      line += "  " + rate(done / elapsed);
      if (event.total > event.step)
        line += fmt::format("  {} left", duration(static_cast<double>(event.total - event.step) * elapsed / done));
      else
        line += fmt::format("  in {}", duration(elapsed));
    }
    if (!event.metric.empty()) line += fmt::format("  {} {:.4g}", event.metric, event.value);
    const std::size_t length = line.size();
    if (length < drawn_) line.append(drawn_ - length, ' ');  // over what a longer line left
    drawn_ = length;
    line.insert(0, 1, '\r');
    std::fwrite(line.data(), 1, line.size(), options_.file);
    std::fflush(options_.file);
    open_ = true;
  }

  void end_line() {
    if (!open_) return;
    std::fputc('\n', options_.file);
    std::fflush(options_.file);
    open_ = false;
    drawn_ = 0;
  }

  ProgressBarOptions options_;
  bool visible_ = false, started_ = false, finished_ = false, open_ = false;
  std::string task_;
  double start_ = 0, last_drawn_ = 0;
  std::uint64_t first_step_ = 0, last_step_ = 0;
  std::size_t drawn_ = 0;
};

}  // namespace valence
