#include "valence/core/progress.hpp"

#include <array>
#include <cstdio>
#include <vector>

#include "support/close.hpp"

using namespace valence;
using namespace valence::test;

namespace {

double test_time = 0;
double test_clock() { return test_time; }

/// A temporary file that a bar writes to, and what it holds.
struct Sheet {
  std::FILE* file = std::tmpfile();
  Sheet() = default;
  Sheet(const Sheet&) = delete;
  Sheet& operator=(const Sheet&) = delete;
  ~Sheet() { std::fclose(file); }
  std::string text() const {
    std::fflush(file);
    std::rewind(file);
    std::array<char, 65536> buffer{};
    return {buffer.data(), std::fread(buffer.data(), 1, buffer.size(), file)};
  }
  ProgressBarOptions options() const {
    return {
        .file = file, .terminal = ProgressBarOptions::Terminal::yes, .interval = 0.1, .width = 10, .clock = test_clock};
  }
};

std::size_t count(const std::string& text, char c) {
  std::size_t n = 0;
  for (const char x : text) n += x == c;
  return n;
}

/// What a solver looks like.
int solve(int steps, Progress progress = {}) {
  for (int i = 1; i <= steps; ++i)
    if (!progress(
            {.step = static_cast<std::uint64_t>(i), .total = static_cast<std::uint64_t>(steps), .value = 1.0 / i}))
      return i;
  return steps;
}

}  // namespace

static_assert(ProgressCallback<ProgressBar> && !ProgressCallback<int>);
static_assert(sizeof(Progress) == 2 * sizeof(void*));
static_assert(std::is_same_v<std::invoke_result_t<Progress&, const ProgressEvent&>, bool>);

TEST_CASE("any callable listens, and may stop what runs", "[progress]") {
  CHECK(solve(10) == 10);
  CHECK(!Progress{});
  std::vector<std::uint64_t> seen;
  CHECK(solve(5, [&](const ProgressEvent& e) { seen.push_back(e.step); }) == 5);
  CHECK(seen == std::vector<std::uint64_t>{1, 2, 3, 4, 5});
  CHECK(solve(10, [](const ProgressEvent& e) { return e.value > 0.3; }) == 4);
  struct Counter {
    int calls = 0;
    bool operator()(const ProgressEvent&) { return ++calls < 7; }
  } counter;
  CHECK(solve(10, counter) == 7);
  CHECK(counter.calls == 7);
  const auto constant = [](const ProgressEvent&) { return true; };
  const Progress progress = constant, copy = progress;
  CHECK(copy({.step = 1}));
  CHECK(static_cast<bool>(copy));
}

TEST_CASE("the bar shows share, rate, time left and the metric", "[progress]") {
  Sheet sheet;
  test_time = 100;
  {
    ProgressBar bar(sheet.options());
    CHECK(bar({.step = 0, .total = 3000, .task = "train"}));
    CHECK(sheet.text() == "\rtrain [..........]   0% 0/3000");
    test_time += 1;
    bar({.step = 1200, .total = 3000, .task = "train", .metric = "loss", .value = 0.43125});
  }
  CHECK(says(sheet.text(), "\rtrain [####......]  40% 1200/3000  1.2k/s  0:02 left  loss 0.4313\n"));
}

TEST_CASE("the bar is throttled, always draws the last step, and ends its line once", "[progress]") {
  Sheet sheet;
  test_time = 0;
  ProgressBar bar(sheet.options());
  for (std::uint64_t i = 0; i <= 1000; ++i) {
    test_time = static_cast<double>(i) * 0.001;  // one second: ten drawings and the last
    bar({.step = i, .total = 1000});
  }
  bar({.step = 1000, .total = 1000});
  bar.finish();
  const std::string text = sheet.text();
  CHECK(count(text, '\r') >= 9);
  CHECK(count(text, '\r') <= 12);
  CHECK(count(text, '\n') == 1);
  CHECK(says(text, "[##########] 100% 1000/1000  1.0k/s  in 0:01"));
  CHECK(text.back() == '\n');
}

TEST_CASE("a shorter line covers a longer one; tasks follow each other", "[progress]") {
  Sheet sheet;
  test_time = 0;
  {
    ProgressBar bar(sheet.options());
    bar({.step = 1, .task = "first", .metric = "a long name", .value = 1});
    test_time = 1;
    bar({.step = 2, .task = "first"});
    bar({.step = 1, .total = 2, .task = "second"});
  }
  const std::string text = sheet.text();
  const auto one = text.find("\rfirst 1  a long name 1"), two = text.find("\rfirst 2  1/s"), end = text.find('\n');
  REQUIRE(one == 0);
  REQUIRE(two != std::string::npos);
  CHECK(end - two == two - one);
  CHECK(says(text, "\n\rsecond [#####.....]  50% 1/2\n"));
  CHECK(count(text, '\n') == 2);
}

TEST_CASE("the bar is silent where there is no terminal", "[progress]") {
  Sheet sheet;
  auto options = sheet.options();
  options.terminal = ProgressBarOptions::Terminal::detect;  // a file is none
  {
    ProgressBar bar(options);
    CHECK(!bar.visible());
    CHECK(solve(100, bar) == 100);
  }
  CHECK(sheet.text().empty());
}

TEST_CASE("long times, unknown totals and steps past the total", "[progress]") {
  Sheet sheet;
  test_time = 0;
  ProgressBar bar(sheet.options());
  bar({.step = 0, .total = 10000, .task = "slow"});
  test_time = 3725;
  bar({.step = 1, .total = 10000, .task = "slow"});
  CHECK(says(sheet.text(), "ages left"));
  test_time = 7450;
  bar({.step = 5000, .total = 10000, .task = "slow"});
  CHECK(says(sheet.text(), "2:04:10 left"));
  bar({.step = 10001, .total = 10000, .task = "slow"});
  CHECK(says(sheet.text(), "[##########] 100% 10001/10000"));
}

TEST_CASE("bar options that make no sense are refused", "[progress]") {
  CHECK(says(message_of([] { ProgressBar bar({.file = nullptr}); }), "file", "null"));
  CHECK(says(message_of([] { ProgressBar bar({.interval = -1}); }), "interval", "-1"));
  CHECK(says(message_of([] { ProgressBar bar({.width = 0}); }), "width", "0"));
}
