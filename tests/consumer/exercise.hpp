#pragma once

// What both files of the consumer do with valence. In an unnamed namespace on purpose: each file has and runs its own copy, so
// a copy of state per file would show as a difference between the two.

#include <fmt/core.h>

#include <map>
#include <optional>
#include <string>
#include <valence/valence.hpp>
#include <vector>

namespace {

struct Report {
  std::string text;
  void line(const char* name, double value) { text += fmt::format("{} {:.17g}\n", name, value); }
  void line(const char* name, float value) { text += fmt::format("{} {:.9g}f\n", name, value); }
};

void core(Report& report) {
  valence::Rng rng{7};
  valence::Rng child = rng.split(3);
  std::vector<valence::Rng> in_vector{rng, child};
  std::map<int, valence::Rng> in_map;
  in_map.emplace(1, child);
  std::optional<valence::Rng> in_optional{child};
  report.line("uniform", in_vector[0].uniform());
  report.line("normal", in_map.at(1).normal());
  report.line("normal_again", in_optional->normal());

  valence::Vector<double> x = valence::Vector<double>::LinSpaced(9, -2, 2);
  valence::Matrix<float> m = valence::Matrix<float>::Constant(3, 5, 0.25f);
  double sum = 0;
  for (const double v : valence::view(x)) sum += v * v;
  report.line("sum_of_squares", sum);
  report.line("product", float{(m.transpose() * m).sum()});
#if defined(__cpp_exceptions)
  try {
    valence::check_range("consumer", "x", valence::view(x), -1, 1);
  } catch (const valence::Error& error) {
    report.text += fmt::format("{}\n", error.what());
  }
#endif
}

std::string exercise() {
  Report report;
  core(report);
  return report.text;
}

}  // namespace
