#pragma once

// What both files of the consumer do with valence. In an unnamed namespace on purpose: each file has and runs its own
// copy, so a copy of state per file would show as a difference between the two.

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
  } catch (const valence::Error& error) { report.text += fmt::format("{}\n", error.what()); }
#endif
}

void function(Report& report) {
  const valence::Mlp<float> net{{2, 8, 1}, valence::Activation::tanh};
  valence::Vector<float> theta(net.parameter_count()), gradient(net.parameter_count());
  gradient.setZero();
  valence::Rng rng{1};
  net.initialize(valence::view(theta), rng);
  auto adam = valence::Adam{.step_size = 1e-2}.start<float>(net.parameter_count());
  valence::Mlp<float>::Tape tape;
  const valence::Matrix<float> x = valence::Matrix<float>::Constant(2, 5, 0.5f);
  const valence::Matrix<float> y = net.forward(valence::view(theta), x, tape);
  net.pullback(valence::view(theta), x, tape, {y.data(), 1, 5}, valence::view(gradient));
  adam.step(valence::view(theta), valence::view(gradient));
  report.line("output", y(0, 4));
  report.line("gradient", gradient.norm());
  report.line("theta", theta.sum());
}

void preference(Report& report) {
  const Eigen::ArrayXd chosen{{-10.0, -12.5, -3.25}}, rejected{{-11.0, -9.5, -3.25}};
  const Eigen::ArrayXd ref_chosen{{-10.5, -11.0, -4.0}}, ref_rejected{{-10.75, -10.0, -3.5}};
  const auto loss = valence::Dpo{.beta = 0.1} + 0.005 * valence::Sft{};
  const valence::PairLogProbs<Eigen::ArrayXd> batch{chosen, rejected, ref_chosen, ref_rejected};
  const auto [value, d_chosen, d_rejected] = valence::evaluate(loss, batch);
  report.line("loss", value);
  for (const double d : d_chosen) report.line("d_chosen", d);
  for (const double d : d_rejected) report.line("d_rejected", d);
}

std::string exercise() {
  Report report;
  core(report);
  function(report);
  preference(report);
  return report.text;
}

}  // namespace
