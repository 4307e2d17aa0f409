// Data-driven tuning (Balcan, Nguyen and Sharma 2025): where the utility of a task is a function of few pieces of a
// hyper-parameter, the parameter that is best on N tasks is nearly best on tasks to come, by a margin that shrinks like
// 1 / sqrt(N). Here the hyper-parameter is the discount of a planner that knows the transitions of a random model only
// from three samples of each pair; what counts is the value in the true model at discount 0.99.
//
// Utilities are exact in pieces, so their mean is maximised exactly. Compared: the discount that is best on N tasks,
// planning with the discount that counts, planning with discount 0; and exact tuning with grids of discounts. Judged on
// 2000 tasks that all seeds share; each seed draws its own N tasks. Expect the gap between the mean on N tasks and that
// of the population, at the worst discount, to fall like 1 / sqrt(N), and a tuned discount well below 0.99.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "harness.hpp"
#include "valence/core/piecewise.hpp"
#include "valence/core/types.hpp"
#include "valence/evaluation/tuning.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/discount_sweep.hpp"

namespace vl = valence;
using Duals = std::vector<vl::PiecewiseConstant>;

namespace {

constexpr int states = 6, actions = 3, samples = 3;
constexpr double evaluation_discount = 0.99;

/// A task: rows Dirichlet(0.3), rewards uniform; the planner knows the rewards, and three samples of each row.
vl::PiecewiseConstant draw_task(vl::Rng& rng) {
  vl::Matrix<double> truth(states, states * actions), estimated = vl::Matrix<double>::Zero(states, states * actions);
  vl::Matrix<double> reward(actions, states);
  const std::vector<double> alpha(states, 0.3);
  std::vector<double> row(states);
  for (std::ptrdiff_t j = 0; j < truth.cols(); ++j) {
    rng.dirichlet(alpha, row);
    for (int i = 0; i < samples; ++i) estimated(static_cast<std::ptrdiff_t>(rng.categorical(row)), j) += 1.0 / samples;
    truth.col(j) = Eigen::Map<const vl::Vector<double>>(row.data(), states);
    reward.data()[j] = rng.uniform();
  }
  return vl::discount_dual(vl::DenseMdp{estimated, reward}, vl::DenseMdp{truth, reward},
                           {.evaluation_discount = evaluation_discount, .relative = true});
}
Duals draw_tasks(std::size_t count, vl::Rng rng) {
  Duals duals;
  for (std::size_t i = 0; i < count; ++i) duals.push_back(draw_task(rng));
  return duals;
}

/// The largest |f - g|, over all pieces of both.
double largest_gap(const vl::PiecewiseConstant& f, const vl::PiecewiseConstant& g) {
  const auto difference = f + -1.0 * g;
  return (std::max)(difference.argmax().value, (-1.0 * difference).argmax().value);
}

/// The best of evenly spaced discounts, by its value.
double best_on_grid(const vl::PiecewiseConstant& f, int points) {
  double best = f(f.low());
  for (int i = 1; i < points; ++i) best = (std::max)(best, f(f.low() + (f.high() - f.low()) * i / (points - 1)));
  return best;
}

void measure(paper::Seed& seed, const vl::PiecewiseConstant& population) {
  const Duals all = draw_tasks(160, seed.rng.split(0));
  std::vector<double> sizes, gaps;
  for (const std::size_t n : {5u, 20u, 80u, 160u}) {
    const auto tuned = vl::tune(std::span(all).first(n));
    sizes.push_back(static_cast<double>(n));
    gaps.push_back(largest_gap(tuned.mean, population));
    seed.measure(fmt::format("N = {}/gap at the worst discount", n), gaps.back());
    seed.measure(fmt::format("N = {}/value of the tuned discount", n), population(tuned.best()));
    seed.measure(fmt::format("N = {}/pieces", n), static_cast<double>(tuned.pieces));
    seed.measure(fmt::format("N = {}/bound of the gap", n),
                 vl::uniform_gap_bound({.pieces = tuned.pieces, .tasks = n, .delta = 0.05}));
  }
  const auto tuned = vl::tune(std::span(all).first(80));
  for (const int points : {5, 10, 100})
    seed.measure(fmt::format("exact tuning on 80 tasks/more than a grid of {}", points),
                 tuned.value - best_on_grid(tuned.mean, points));
  seed.trace("gap at the worst discount over tasks/measured", sizes, gaps);
}

void judge(paper::Study& study, const Duals& tasks, const vl::TuningResult<double>& population) {
  const auto gap = [&](int n) { return study.mean(fmt::format("N = {}/gap at the worst discount", n)); };
  study.require("gap at the worst discount with 160 tasks / with 5", gap(160) / gap(5), paper::at_most(0.4));
  study.require("value of the discount tuned on 80 tasks, more than that of 0.99",
                study.mean("N = 80/value of the tuned discount") - population.mean(evaluation_discount),
                paper::at_least(0.005));
  double least = 1;
  for (const int points : {5, 10, 100})
    least = (std::min)(least, study.minimum(fmt::format("exact tuning on 80 tasks/more than a grid of {}", points)));
  study.require("exact tuning, more than the best grid's at the worst seed", least, paper::at_least(0));
  double pieces = 0, most = 0;
  for (const auto& f : tasks) {
    pieces += static_cast<double>(f.size()) / static_cast<double>(tasks.size());
    most = (std::max)(most, static_cast<double>(f.size()));
  }
  study.report("population: value of the best discount", population.value);
  study.report("population: the best discount", population.best());
  study.report("population: value of discount 0.99", population.mean(evaluation_discount));
  study.report("population: value of discount 0", population.mean(0));
  study.report("population: mean pieces of a task", pieces);
  study.report("population: most pieces of a task", most);
  study.note(
      "Values are relative to the optimum of the true model. The bound holds with probability 0.95, and is loose.");
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run({.id = "data_driven_tuning",
                     .header = "valence/evaluation/tuning.hpp",
                     .claim = "a hyper-parameter tuned on N tasks generalises, with an error that shrinks with N",
                     .seeds = 20,
                     .quick_seeds = 16},
                    count, arguments, [](paper::Study& study) {
                      const Duals tasks = draw_tasks(2000, study.shared_rng());
                      const auto population = vl::tune(tasks);
                      study.each_seed([&](paper::Seed& seed) { measure(seed, population.mean); });
                      judge(study, tasks, population);
                    });
}
