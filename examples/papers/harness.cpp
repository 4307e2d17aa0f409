#include "harness.hpp"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <iterator>
#include <nlohmann/json.hpp>
#include <tuple>

#include "valence/core/error.hpp"
#include "valence/core/parallel.hpp"
#include "valence/core/statistics.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/curve.hpp"
#include "valence/io/interval_plot.hpp"

namespace vl = valence;

namespace paper {

namespace {

/// "heading/name": the part before the first slash, empty if there is none, and what follows.
std::pair<std::string, std::string> split_name(const std::string& name) {
  const auto slash = name.find('/');
  if (slash == std::string::npos) return {"", name};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

vl::Interval interval_of(std::span<const double> values) {
  return values.size() < 2 ? vl::Interval{values[0], values[0]} : vl::mean_interval(values);
}

/// A number of a table: four digits.
std::string shown(double value) {
  return value == 0 || (std::abs(value) >= 1e-3 && std::abs(value) < 1e6) ? fmt::format("{:.4g}", value)
                                                                          : fmt::format("{:.3e}", value);
}

}  // namespace

bool Bound::holds(double figure) const {
  switch (kind) {
    case Kind::at_least:
      return figure >= threshold;
    case Kind::at_most:
      return figure <= threshold;
    case Kind::above:
      return figure > threshold;
    case Kind::below:
      return figure < threshold;
  }
  return false;
}

std::string Bound::text() const {
  constexpr std::string_view symbols[] = {">=", "<=", ">", "<"};
  return fmt::format("{} {}", symbols[static_cast<std::size_t>(kind)], threshold);
}

void Seed::measure(std::string name, double value) {
  if (!std::isfinite(value))
    vl::fail("measure", "\"{}\" of seed {} is {}; expected a finite number", name, index, value);
  for (const auto& [known, unused] : measured)
    if (known == name) vl::fail("measure", "seed {} measures \"{}\" twice", index, name);
  measured.emplace_back(std::move(name), value);
}

void Seed::trace(std::string name, std::vector<double> x, std::vector<double> y) {
  traced.emplace_back(std::move(name), std::move(x), std::move(y));
}

Study::Study(About about, bool quick, std::uint64_t seed, int seeds, int threads)
    : about_(std::move(about)), quick_(quick), seed_(seed), seeds_(seeds), threads_(threads) {}

vl::Rng Study::shared_rng() const { return vl::Rng{seed_}.split(0); }

void Study::each_seed(const std::function<void(Seed&)>& body) {
  if (!results_.empty()) vl::fail("each_seed", "the seeds have been measured already");
  const auto n = static_cast<std::size_t>(seeds_);
  const vl::Rng all = vl::Rng{seed_}.split(1);
  for (std::size_t i = 0; i < n; ++i) results_.push_back({.rng = all.split(i), .index = i, .quick = quick_});
  vl::parallel_for(n, [&](std::size_t i) { body(results_[i]); }, {.threads = threads_});

  for (const auto& [name, unused] : results_[0].measured) columns_.emplace_back(name, std::vector<double>(n));
  for (const Seed& seed : results_) {
    const bool same = seed.measured.size() == columns_.size() &&
                      std::equal(columns_.begin(), columns_.end(), seed.measured.begin(),
                                 [](const auto& a, const auto& b) { return a.first == b.first; });
    if (!same) vl::fail("each_seed", "seed {} did not measure what seed 0 did", seed.index);
    for (std::size_t c = 0; c < columns_.size(); ++c) columns_[c].second[seed.index] = seed.measured[c].second;
  }
}

std::span<const double> Study::operator[](std::string_view name) const {
  for (const auto& [known, values] : columns_)
    if (known == name) return values;
  vl::fail("Study", "nothing named \"{}\" was measured", name);
}

double Study::mean(std::string_view name) const { return vl::mean((*this)[name]); }
double Study::median(std::string_view name) const { return vl::median((*this)[name]); }
double Study::minimum(std::string_view name) const { return std::ranges::min((*this)[name]); }
double Study::maximum(std::string_view name) const { return std::ranges::max((*this)[name]); }

std::vector<double> Study::difference(std::string_view a, std::string_view b) const {
  std::vector<double> out;
  std::ranges::transform((*this)[a], (*this)[b], std::back_inserter(out), std::minus<>());
  return out;
}

double Study::share_above(std::string_view a, std::string_view b) const {
  const std::vector<double> d = difference(a, b);
  return static_cast<double>(std::ranges::count_if(d, [](double x) { return x > 0; })) / static_cast<double>(d.size());
}

void Study::require(std::string what, double figure, Bound bound) {
  requirements_.push_back({std::move(what), figure, bound});
}
void Study::note(std::string text) { notes_.push_back(std::move(text)); }
void Study::report(std::string what, double figure) { reports_.emplace_back(std::move(what), figure); }

bool Study::holds() const {
  return !requirements_.empty() &&
         std::ranges::all_of(requirements_, [](const Requirement& r) { return r.bound.holds(r.figure); });
}

std::string Study::table() const {
  std::size_t width = 6;
  for (const auto& [name, unused] : columns_) width = (std::max)(width, split_name(name).second.size() + 2);
  std::string out =
      fmt::format("{:{}}{:>12}{:>26}{:>12}{:>12}{:>12}\n", "", width, "mean", "95 % interval", "median", "min", "max");
  std::string heading;
  for (const auto& [full, values] : columns_) {
    const auto [group, name] = split_name(full);
    if (group != heading) out += fmt::format("{}\n", heading = group);
    const vl::Interval i = interval_of(values);
    out += fmt::format("{:{}}{:>12}{:>26}{:>12}{:>12}{:>12}\n", "  " + name, width, shown(vl::mean(values)),
                       fmt::format("[{}, {}]", shown(i.low), shown(i.high)), shown(vl::median(values)),
                       shown(std::ranges::min(values)), shown(std::ranges::max(values)));
  }
  return out;
}

std::string Study::verdict() const {
  // The headline, or else what failed first.
  const auto failed = std::ranges::find_if(requirements_, [](const auto& r) { return !r.bound.holds(r.figure); });
  const Requirement& r = failed == requirements_.end() ? requirements_.front() : *failed;
  return fmt::format("CLAIM {}: {} {} (needs {})", holds() ? "HOLDS" : "FAILS", r.what, shown(r.figure),
                     r.bound.text());
}

void Study::write_json(const std::string& file, double seconds) const {
  nlohmann::ordered_json out{{"id", about_.id},
                             {"header", about_.header},
                             {"claim", about_.claim},
                             {"seed", seed_},
                             {"seeds", seeds_},
                             {"quick", quick_},
                             {"seconds", std::round(seconds * 10) / 10}};
  out["verdict"] = holds() ? "HOLDS" : "FAILS";
  const Requirement& headline = requirements_.front();
  out["measured"] = fmt::format("{} {} (needs {})", headline.what, shown(headline.figure), headline.bound.text());
  for (const auto& [name, values] : columns_) {
    const vl::Interval i = interval_of(values);
    out["table"].push_back({{"name", name},
                            {"mean", vl::mean(values)},
                            {"low", i.low},
                            {"high", i.high},
                            {"median", vl::median(values)},
                            {"values", values}});
  }
  for (const Requirement& r : requirements_)
    out["requirements"].push_back(
        {{"what", r.what}, {"figure", r.figure}, {"needs", r.bound.text()}, {"holds", r.bound.holds(r.figure)}});
  for (const auto& [what, figure] : reports_) out["reports"].push_back({{"what", what}, {"figure", figure}});
  for (const std::string& text : notes_) out["notes"].push_back(text);
  vl::save_atomically(file, out.dump(1) + "\n");
}

void Study::write_plot(const std::string& file) const {
  if (results_.empty() || results_[0].traced.empty()) {
    std::vector<vl::IntervalRow> rows;
    for (const auto& [full, values] : columns_) {
      auto [group, name] = split_name(full);
      rows.push_back({std::move(group), std::move(name), vl::mean(values), interval_of(values)});
    }
    vl::save_atomically(file, vl::intervals_svg(rows, {.title = about_.id}));
    return;
  }
  const std::string heading = split_name(std::get<0>(results_[0].traced[0])).first;
  std::vector<vl::Curve> curves;
  for (std::size_t t = 0; t < results_[0].traced.size(); ++t) {
    const auto& [full, x, unused] = results_[0].traced[t];
    auto [group, name] = split_name(full);
    if (group != heading) continue;
    vl::Curve curve{.name = std::move(name), .x = x, .y = {}};
    for (const Seed& seed : results_) curve.y.push_back(std::get<2>(seed.traced.at(t)));
    curves.push_back(std::move(curve));
  }
  vl::save_atomically(file, vl::curves_svg(curves, {.title = about_.id, .x_label = "", .y_label = heading}));
}

int run(About about, int count, char** arguments, const std::function<void(Study&)>& body) {
  std::uint64_t seed = 0;
  int seeds = 0, threads = 0;
  bool quick = false;
  std::string json, plot;
  CLI::App app{about.claim, "paper_" + about.id};
  app.add_option("--seed", seed, "shifts every stream of random numbers");
  app.add_option("--seeds", seeds,
                 fmt::format("independent repetitions ({}; quick: {})", about.seeds, about.quick_seeds))
      ->check(CLI::Range(2, 1'000'000));
  app.add_flag("--quick", quick, "a few seconds, with less of everything");
  app.add_option("--threads", threads, "at most so many (0: all)")->check(CLI::Range(0, 1024));
  app.add_option("--json", json, "write the results there");
  app.add_option("--plot", plot, "write a picture there (SVG)");
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) { return app.exit(error) == 0 ? 0 : 2; }
  if (seeds == 0) seeds = quick ? about.quick_seeds : about.seeds;
  try {
    const auto start = std::chrono::steady_clock::now();
    fmt::print("{}: {}\n{} seeds from --seed {}{}\n\n", about.id, about.claim, seeds, seed, quick ? ", quick" : "");
    std::fflush(stdout);
    Study study(std::move(about), quick, seed, seeds, threads);
    body(study);
    if (study.requirements_.empty()) vl::fail("run", "the program requires nothing, so nothing can fail");
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    fmt::print("{}\n", study.table());
    for (const auto& [what, figure] : study.reports_) fmt::print("{}: {}\n", what, shown(figure));
    for (const auto& r : study.requirements_)
      fmt::print("{} {}: {} (needs {})\n", r.bound.holds(r.figure) ? "ok " : "NO ", r.what, shown(r.figure),
                 r.bound.text());
    for (const std::string& text : study.notes_) fmt::print("note: {}\n", text);
    if (!json.empty()) study.write_json(json, seconds);
    if (!plot.empty()) study.write_plot(plot);
    fmt::print("\n{:.1f} s\n{}\n", seconds, study.verdict());
    return study.holds() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 2;
  }
}

}  // namespace paper
