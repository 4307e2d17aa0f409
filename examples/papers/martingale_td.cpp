// Martingale TD (Jia and Zhou 2022): J(t, x) is the value of a process in continuous time if and only if J plus the
// reward so far is a martingale. What makes it one finds the value as the mesh shrinks: least squares of the outcome
// (the martingale loss), or orthogonality to test functions (CTD; CLSTD in one solve). Descending the mean-square TD
// error instead finds the J of least quadratic variation, which is not the value.
//
// Brownian motion on [0, 1], with two values in closed form:
//   A: terminal x^2, J = x^2 + (1 - t) (a + b x^2), true at (1, 0);
//   B: reward x^2, J = (1 - t) (a + b x^2 + c (1 - t)), true at (0, 1, 1/2). Its rewards are sums on the grid, so
//      martingale methods have an error there too, of the order of the mesh.
// Expect: in A errors of martingale methods are those of sampling on any mesh, and the squared TD error's are those of
// b near -2; in B the former shrink with the mesh until sampling shows, the latter grow.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "valence/core/types.hpp"
#include "valence/env/diffusion.hpp"
#include "valence/function/feature_function.hpp"
#include "valence/function/linear.hpp"
#include "valence/mdp/sampled_paths.hpp"
#include "valence/value/martingale.hpp"

namespace vl = valence;

namespace {

const auto zero = [](double, double) { return 0.0; };
const auto square = [](double, double x) { return x * x; };

const vl::FeatureFunction features_a{2, 2, [](auto x, auto phi) {
                                       phi[0] = 1 - x[0];
                                       phi[1] = (1 - x[0]) * x[1] * x[1];
                                     }};
const vl::FeatureFunction features_b{2, 3, [](auto x, auto phi) {
                                       phi[0] = 1 - x[0];
                                       phi[1] = (1 - x[0]) * x[1] * x[1];
                                       phi[2] = (1 - x[0]) * (1 - x[0]);
                                     }};
void pay_a(vl::SampledPaths& paths) {
  paths.pay(zero, square);
  paths.base = paths.evaluate(square);
}
void pay_b(vl::SampledPaths& paths) { paths.pay(square, zero); }
double value_a(double t, double x) { return x * x + 1 - t; }
double value_b(double t, double x) { return (1 - t) * x * x + (1 - t) * (1 - t) / 2; }

auto brownian(int mesh) { return vl::Diffusion{vl::brownian(), {.horizon = 1, .dt = 1.0 / mesh}}; }

/// Root mean square over the nodes of the paths before their end, where J is known.
template <class Model>
double error_of(const Model& model, const vl::Vector<double>& theta, const vl::SampledPaths& paths,
                double (*value)(double, double)) {
  vl::PathGradient J{model};
  const auto given = J.values(paths, vl::view(theta));
  double sum = 0;
  for (std::ptrdiff_t k = 0; k < paths.count; ++k)
    for (std::ptrdiff_t i = 0; i < paths.steps; ++i) {
      const double d =
          given[static_cast<std::size_t>(k * (paths.steps + 1) + i)] - value(paths.time(k, i), paths.state(k, i)[0]);
      sum += d * d;
    }
  return std::sqrt(sum / static_cast<double>(paths.count * paths.steps));
}

constexpr int meshes[] = {5, 20, 100};
constexpr std::string_view methods[] = {"CLSTD(0)", "CLSTD(.5)", "martingale loss", "squared TD error"};

/// All methods on one sample of paths, judged on another.
template <class Model>
void batch(paper::Seed& seed, std::string_view problem, const Model& model, void (*pay)(vl::SampledPaths&),
           double (*value)(double, double), vl::Rng rng) {
  std::vector<double> errors[4], last_b;
  for (const int mesh : meshes) {
    auto process = brownian(mesh);
    vl::SampledPaths paths = process.simulate(2000, rng), fresh = process.simulate(1000, rng);
    pay(paths), pay(fresh);
    const vl::Vector<double> theta[] = {vl::clstd(model, paths), vl::clstd(model, paths, {.lambda = 0.5}),
                                        vl::linear_path_solution(vl::MartingaleLoss{}, model, paths),
                                        vl::linear_path_solution(vl::MeanSquareTdError{}, model, paths)};
    for (std::size_t m = 0; m < 4; ++m) {
      errors[m].push_back(error_of(model, theta[m], fresh, value));
      seed.measure(fmt::format("{}, error, {} steps/{}", problem, mesh, methods[m]), errors[m].back());
    }
    last_b.assign({theta[2][1], theta[3][1]});
  }
  seed.measure(fmt::format("{}, b, {} steps/{}", problem, meshes[2], methods[2]), last_b[0]);
  seed.measure(fmt::format("{}, b, {} steps/{}", problem, meshes[2], methods[3]), last_b[1]);
  for (std::size_t m = 0; m < 4; ++m)
    seed.trace(fmt::format("error in {} over steps/{}", problem, methods[m]), {meshes, meshes + 3}, errors[m]);
}

/// |error of b| in A after 4000 steps of stochastic descent from 0, a path each, of sizes scale / (1 + k / 200).
template <class Rule>
double online(const Rule& rule, int mesh, double scale, vl::Rng rng) {
  auto process = brownian(mesh);
  vl::PathGradient gradient_of{vl::Linear{features_a, 1}};
  vl::SampledPaths path;
  vl::Vector<double> theta = vl::Vector<double>::Zero(2), gradient = theta;
  for (int k = 0; k < 4000; ++k) {
    process.simulate(1, rng, path);
    pay_a(path);
    gradient.setZero();
    gradient_of(rule, path, vl::view(std::as_const(theta)), vl::view(gradient));
    theta -= scale / (1 + k / 200.0) * gradient;
  }
  return std::abs(theta[1]);
}

void measure(paper::Seed& seed) {
  batch(seed, "A", vl::Linear{features_a, 1}, pay_a, value_a, seed.rng.split(0));
  batch(seed, "B", vl::Linear{features_b, 1}, pay_b, value_b, seed.rng.split(1));
  for (const int mesh : {10, 100}) {
    const auto rng = seed.rng.split(1 + static_cast<std::uint64_t>(mesh));  // the same paths for all
    const auto row = [&](std::string_view name, double error) {
      seed.measure(fmt::format("A online, error of b, {} steps/{}", mesh, name), error);
    };
    row("CTD(0)", online(vl::Ctd{}, mesh, 1, rng));
    row("CTD(.5)", online(vl::Ctd{.lambda = 0.5}, mesh, 1, rng));
    row(methods[3], online(vl::MeanSquareTdError{}, mesh, 1.0 / mesh, rng));
  }
}

void judge(paper::Study& study) {
  const auto error = [&](std::string_view problem, int mesh, std::string_view method) {
    return study.mean(fmt::format("{}, error, {} steps/{}", problem, mesh, method));
  };
  double worst = 0;
  for (std::size_t m = 0; m < 3; ++m) worst = (std::max)(worst, error("A", 100, methods[m]));
  study.require("A, 100 steps: error by squared TD errors / the worst martingale method's",
                error("A", 100, methods[3]) / worst, paper::at_least(5));
  study.require("A, 100 steps: b by squared TD errors (0 is true)",
                study.mean(fmt::format("A, b, 100 steps/{}", methods[3])), paper::at_most(-1.7));
  study.require("B: error of the martingale loss with 5 steps / with 20",
                error("B", 5, methods[2]) / error("B", 20, methods[2]), paper::at_least(2));
  double online = 0;
  for (const int mesh : {10, 100})
    for (const auto name : {"CTD(0)", "CTD(.5)"})
      online = (std::max)(online, study.mean(fmt::format("A online, error of b, {} steps/{}", mesh, name)));
  study.require("A online: the larger error of b by CTD", online, paper::below(0.6));
  study.note("The squared TD error grows like 1 / dt; its online step is multiplied by dt, or it would diverge.");
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run({.id = "martingale_td",
                     .header = "valence/value/martingale.hpp",
                     .claim = "martingale conditions find the value of a diffusion, least squared TD errors do not",
                     .quick_seeds = 6},
                    count, arguments, [](paper::Study& study) {
                      study.each_seed(measure);
                      judge(study);
                    });
}
