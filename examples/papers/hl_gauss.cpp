// HL-Gauss (Farebrother et al. 2024, "Stop Regressing"): a value is learned as a class. The network gives logits over
// bins, its value is the mean of their softmax, the target is a Gaussian round the number, integrated over the bins.
//
// Compared with squared error and two-hot targets, on the two mechanisms that the paper credits: targets with noise,
// and targets that move. Each head learns from the same numbers in the same order; only the head differs. Errors are
// of values, squared, against targets without noise. Expect squared error to fit the noise, and to lose its ability to
// follow once it has moved; it wins where targets stand still, or where large steps let it follow.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/hl_gauss.hpp"
#include "valence/distributional/scalar_head.hpp"
#include "valence/distributional/two_hot.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"

namespace vl = valence;
using Numbers = std::vector<float>;

namespace {

constexpr int batch_size = 64;

/// A network of two hidden layers whose outputs the head reads as a value.
template <vl::ReturnDistribution Head>
class ValueNetwork {
 public:
  ValueNetwork(int inputs, Head head, double step_size, vl::Rng& rng)
      : head_(head),
        net_({inputs, 64, 64, head.size(1)}, vl::relu,
             {.initialization = vl::Initialization::he, .output_gain = 0.1 * std::sqrt(2.0)}),
        theta_(net_.parameter_count()),
        gradient_(net_.parameter_count()),
        adam_(vl::Adam{.step_size = step_size}.start<float>(net_.parameter_count())) {
    net_.initialize(theta_, rng);
  }

  /// Batches drawn with replacement.
  void fit(const vl::Matrix<float>& x, const Numbers& y, int steps, vl::Rng& rng) {
    const auto size = static_cast<std::size_t>(head_.size(1));
    vl::Matrix<float> input(x.rows(), batch_size), target(head_.size(1), batch_size), dy(head_.size(1), batch_size);
    const std::vector<int> only(batch_size, 0);  // a value has one action
    for (int step = 0; step < steps; ++step) {
      for (int j = 0; j < batch_size; ++j) {
        const auto i = rng.below(y.size());
        input.col(j) = x.col(static_cast<Eigen::Index>(i));
        head_.encode(y[i], std::span(target.col(j).data(), size));
      }
      const auto logits = net_.forward(theta_, input, tape_);
      dy.setZero();
      vl::loss_columns(head_, logits, only, vl::Outputs<float>(target.data(), target.rows(), batch_size),
                       vl::OutputsGradient<float>(dy.data(), dy.rows(), batch_size));
      std::fill(gradient_.begin(), gradient_.end(), 0.0F);
      net_.pullback(theta_, input, tape_, {dy.data(), dy.rows(), batch_size}, gradient_);
      adam_.step(theta_, std::span<const float>(gradient_));
    }
  }

  /// The mean of (value - y)^2.
  double error(const vl::Matrix<float>& x, const Numbers& y) {
    const auto outputs = net_.forward(theta_, x, tape_);
    std::vector<double> squares;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const std::span<const float> column(outputs.data() + i * static_cast<std::size_t>(outputs.rows()),
                                          static_cast<std::size_t>(outputs.rows()));
      squares.push_back(std::pow(static_cast<double>(head_.value(column) - y[i]), 2));
    }
    return vl::mean(squares);
  }

 private:
  Head head_;
  vl::Mlp<float> net_;
  typename vl::Mlp<float>::Tape tape_ = {};
  Numbers theta_, gradient_;
  vl::AdamState<float> adam_;
};

vl::Matrix<float> normal_columns(int rows, int columns, vl::Rng& rng) {
  vl::Matrix<float> x(rows, columns);
  for (float& value : x.reshaped()) value = rng.normal<float>();
  return x;
}

/// Calls f(name, head) for the three heads, whose values lie in [min, max].
template <class F>
void each_head(int bins, double min, double max, F f) {
  f("squared error", vl::ScalarHead{});
  f("two-hot", vl::TwoHot{.atoms = bins, .min = min, .max = max});
  f("HL-Gauss", vl::HlGauss{.bins = bins, .min = min, .max = max});
}

/// V(x) = sin(w0'x) + cos(w1'x) / 2 from 256 states, each seen once with noise of the given deviation.
void noisy_targets(paper::Seed& seed, const std::string& heading, double deviation) {
  vl::Rng rng = seed.rng.split(0);
  const vl::Matrix<float> w = normal_columns(4, 2, rng), x = normal_columns(4, 256, rng),
                          fresh = normal_columns(4, 1000, rng);
  const auto values = [&](const vl::Matrix<float>& states) {
    Numbers v;
    for (const auto& s : states.colwise()) v.push_back(std::sin(w.col(0).dot(s)) + 0.5F * std::cos(w.col(1).dot(s)));
    return v;
  };
  Numbers y = values(x);
  for (float& target : y) target += static_cast<float>(deviation) * rng.normal<float>();
  each_head(51, -5, 5, [&](const std::string& name, const auto& head) {
    vl::Rng own = seed.rng.split(1);
    ValueNetwork network(4, head, 1e-3, own);
    network.fit(x, y, 1500, own);
    seed.measure(heading + "/" + name, network.error(fresh, values(fresh)));
  });
}

/// Five phases: sin(5 f(x)) + 8 k with a fresh random network f in each, of standard deviation 1 over the states.
void moving_targets(paper::Seed& seed, const std::string& heading, double step_size) {
  vl::Rng rng = seed.rng.split(2);
  const vl::Matrix<float> x = normal_columns(16, 256, rng);
  std::vector<Numbers> phases(5);
  for (std::size_t k = 0; k < phases.size(); ++k) {
    const vl::Mlp<float> random{{16, 64, 1}, vl::relu, {.initialization = vl::Initialization::he}};
    Numbers theta(random.parameter_count());
    vl::Mlp<float>::Tape tape;
    random.initialize(theta, rng);
    const auto f = random.forward(theta, x, tape);
    const double deviation = vl::standard_deviation(std::vector<double>(f.data(), f.data() + f.size()));
    for (const float v : f.reshaped())
      phases[k].push_back(std::sin(5 * v / static_cast<float>(deviation)) + 8 * static_cast<float>(k));
  }
  std::vector<std::pair<std::string, std::vector<double>>> errors;  // of each head, at the end of each phase
  each_head(101, -2, 34, [&](const std::string& name, const auto& head) {
    if (seed.quick && name == "two-hot") return;
    vl::Rng own = seed.rng.split(3);
    ValueNetwork network(16, head, step_size, own);
    errors.emplace_back(name, std::vector<double>());
    for (const Numbers& y : phases) {
      network.fit(x, y, 400, own);
      errors.back().second.push_back(network.error(x, y));
    }
  });
  for (const auto& [name, e] : errors) seed.measure(heading + ", phase 1/" + name, e[0]);
  for (const auto& [name, e] : errors)
    seed.measure(heading + ", mean of phases 2 to 5/" + name, vl::mean(std::span(e).subspan(1)));
  for (const auto& [name, e] : errors) seed.measure(heading + ", phase 5/" + name, e[4]);
  for (const auto& [name, e] : errors) seed.trace(heading + ", error after each phase/" + name, {1, 2, 3, 4, 5}, e);
}

}  // namespace

// [main]
int main(int count, char** arguments) {
  const paper::About about{.id = "hl_gauss",
                           .header = "valence/distributional/hl_gauss.hpp",
                           .claim =
                               "values learned as classes with smoothed labels survive noisy and moving targets "
                               "better than values learned by squared error"};
  return paper::run(about, count, arguments, [](paper::Study& study) {
    study.each_seed([](paper::Seed& seed) {
      noisy_targets(seed, "noisy targets", 2);
      moving_targets(seed, "moving targets", 1e-3);
      if (seed.quick) return;
      noisy_targets(seed, "exact targets", 0);
      moving_targets(seed, "moving targets, steps of 1e-2", 1e-2);
    });
    const auto ratio = [&](const std::string& heading, const std::string& a, const std::string& b) {
      return study.mean(heading + "/" + a) / study.mean(heading + "/" + b);
    };
    study.require("noisy targets, error of HL-Gauss / squared error",
                  ratio("noisy targets", "HL-Gauss", "squared error"), paper::at_most(0.75));
    study.require("noisy targets, error of HL-Gauss / two-hot", ratio("noisy targets", "HL-Gauss", "two-hot"),
                  paper::below(1));
    study.require("moving targets, phases 2 to 5, error of HL-Gauss / squared error",
                  ratio("moving targets, mean of phases 2 to 5", "HL-Gauss", "squared error"), paper::at_most(0.5));
    const auto compared = [&](const std::string& heading) {
      return fmt::format("{:.2g} by HL-Gauss, {:.2g} by squared error", study.mean(heading + "/HL-Gauss"),
                         study.mean(heading + "/squared error"));
    };
    study.note("before the targets have moved: " + compared("moving targets, phase 1"));
    if (study.quick()) return;
    study.note("targets that are exact and stand still: " + compared("exact targets"));
    study.note("moving targets in steps of 1e-2, last phase: " + compared("moving targets, steps of 1e-2, phase 5") +
               "; the advantage is that of small steps");
  });
}
// [/main]
