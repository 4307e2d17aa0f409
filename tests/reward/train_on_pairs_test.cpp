#include "valence/reward/train_on_pairs.hpp"

#include <cmath>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/standardizer.hpp"
#include "valence/function/tabular.hpp"
#include "valence/preference/losses.hpp"
#include "valence/reward/bootstrap.hpp"
#include "valence/reward/bradley_terry.hpp"
#include "valence/reward/links.hpp"
#include "valence/reward/metrics.hpp"
#include "valence/reward/text_features.hpp"

using valence::Adam;
using valence::BradleyTerry;
using valence::CosineSchedule;
using valence::Dpo;
using valence::HashedNgrams;
using valence::Identity;
using valence::IndexPairs;
using valence::Ipo;
using valence::Linear;
using valence::Matchup;
using valence::Matrix;
using valence::Mlp;
using valence::PairObjective;
using valence::Rng;
using valence::Tabular;
using valence::train_on_pairs;
using valence::Vector;
using namespace valence::test;  // close, message_of, says

namespace {

struct Votes {  // of five items, drawn from a Bradley-Terry model
  std::vector<int> items = {0, 1, 2, 3, 4}, chosen, rejected;
  std::vector<Matchup> matchups;
  IndexPairs<double> pairs() const { return {chosen, rejected}; }
};

Votes draw_votes(int n, std::uint64_t seed) {
  Rng rng{seed};
  Votes v;
  const double truth[] = {1, 0.5, 0, -0.5, -1};
  for (int k = 0; k < n; ++k) {
    int a = rng.below(5), b = (a + 1 + rng.below(4)) % 5;
    if (rng.uniform() > 1 / (1 + std::exp(truth[b] - truth[a]))) std::swap(a, b);
    v.chosen.push_back(a);
    v.rejected.push_back(b);
    v.matchups.push_back({a, b, 1, 0});
  }
  return v;
}

}  // namespace

TEST_CASE("Training on pairs by gradient finds Newton's optimum") {
  const Votes v = draw_votes(400, 11);
  Rng rng{1};
  const valence::PairTrainingOptions options{.steps = 3000, .l2 = 1, .tolerance = 1e-9};
  SECTION("a reward model on a table") {
    PairObjective objective{Tabular{5, 1}, BradleyTerry{}};
    std::vector<double> theta(5);
    const auto training = train_on_pairs(objective, std::span<double>(theta), v.items, v.pairs(),
                                         Adam{.step_size = 0.05}, options, rng, CosineSchedule{.steps = 3000});
    const auto newton = valence::fit_bradley_terry(v.matchups, 5, {.l2 = 1});
    CHECK(training.converged);
    CHECK(training.gradient_norm <= 1e-9);
    CHECK(training.loss == close(newton.objective / 400, 1e-9));
    for (int i = 0; i < 5; ++i) CHECK(theta[std::size_t(i)] == close(newton.weight[i], 0, 1e-6));
  }
  SECTION("a linear reward on feature differences, soft labels and weights") {
    Matrix<double> x(3, 100);
    rng.fill_normal({x.data(), std::size_t(x.size())});
    std::vector<int> a, b;
    std::vector<double> y, w;
    Matrix<double> difference(3, 200);
    for (int k = 0; k < 200; ++k) {
      a.push_back(rng.below(100));
      b.push_back((a.back() + 1 + rng.below(99)) % 100);
      difference.col(k) = x.col(a.back()) - x.col(b.back());
      y.push_back(1 / (1 + std::exp(-difference(0, k) + 2 * difference(1, k) + rng.normal())));
      w.push_back(0.5 + rng.uniform());
    }
    PairObjective objective{Linear{Identity{3}, 1}, BradleyTerry{}};
    std::vector<double> theta(3);
    const auto training = train_on_pairs(objective, std::span<double>(theta), x, {a, b, y, w}, Adam{.step_size = 0.05},
                                         options, rng, CosineSchedule{.steps = 3000});
    const auto newton = valence::fit_linear_reward(difference, y, w, {.l2 = 1});
    CHECK(training.converged);
    for (int i = 0; i < 3; ++i) CHECK(theta[std::size_t(i)] == close(newton.weight[i], 0, 1e-6));
  }
  SECTION("a policy by DPO is Bradley-Terry: log-ratios are rewards over beta") {
    PairObjective objective{Tabular{5, 1}, Dpo{.beta = 0.5}, 5};
    std::vector<double> theta(5);
    const auto training =
        train_on_pairs(objective, std::span<double>(theta), v.items, v.pairs(), Adam{.step_size = 0.05},
                       {.steps = 5000, .tolerance = 1e-9}, rng, CosineSchedule{.steps = 5000});
    const auto newton = valence::fit_bradley_terry(v.matchups, 5);
    CHECK(training.converged);
    for (int i = 1; i < 5; ++i)
      CHECK(0.5 * (theta[std::size_t(i)] - theta[0]) == close(newton.weight[i] - newton.weight[0], 0, 1e-6));
  }
}

TEST_CASE("Mini-batches train too, on every kind of batch, from the same seed to the same bits") {
  const Votes v = draw_votes(400, 12);
  const auto newton = valence::fit_bradley_terry(v.matchups, 5);
  const auto distance = [&](const std::vector<double>& theta, double beta) {
    double worst = 0;
    for (int i = 1; i < 5; ++i)
      worst =
          std::max(worst, std::abs(beta * (theta[std::size_t(i)] - theta[0]) - (newton.weight[i] - newton.weight[0])));
    return worst;
  };
  for (const int candidates : {0, 5}) {
    const auto train = [&](std::uint64_t seed) {
      Rng rng{seed};
      std::vector<double> theta(5);
      const auto run = [&](auto loss) {
        PairObjective objective{Tabular{5, 1}, loss, candidates};
        const auto training =
            train_on_pairs(objective, std::span<double>(theta), v.items, v.pairs(), Adam{.step_size = 0.02},
                           {.steps = 2000, .batch_size = 32}, rng, CosineSchedule{.steps = 2000});
        CHECK(training.steps == 2000);
        CHECK_FALSE(training.converged);
      };
      if (candidates == 0)
        run(BradleyTerry{});
      else
        run(Dpo{.beta = 1});
      return theta;
    };
    const std::vector<double> theta = train(7);
    CHECK(distance(theta, 1) < 0.15);
    CHECK(theta == train(7));
    CHECK(theta != train(8));
  }
  // A batch of all pairs is, up to the order of sums, no mini-batch at all; a reference goes along with its samples.
  std::vector<double> reference = {-1, -2, -1.5, -1.2, -3}, a(5), b(5);
  Rng rng{1};
  for (std::vector<double>* theta : {&a, &b}) {
    PairObjective objective{Tabular{5, 1}, Ipo{.beta = 0.5}, 5};
    train_on_pairs(objective, std::span<double>(*theta), v.items, v.pairs(), valence::Sgd{.step_size = 0.1},
                   {.steps = 20, .batch_size = theta == &a ? 400 : 0}, rng, {}, {}, reference);
  }
  for (std::size_t i = 0; i < 5; ++i) CHECK(a[i] == close(b[i], 1e-10, 1e-12));
}

TEST_CASE("A network learns a reward that no linear model holds") {
  Rng rng{5};
  Matrix<double> x(1, 400);
  std::vector<int> chosen, rejected;
  for (int i = 0; i < 400; ++i) x(0, i) = rng.uniform(-1.0, 1.0);
  for (int k = 0; k < 200; ++k) {  // near to 0 is better
    const bool first = std::abs(x(0, 2 * k)) < std::abs(x(0, 2 * k + 1));
    chosen.push_back(2 * k + (first ? 0 : 1));
    rejected.push_back(2 * k + (first ? 1 : 0));
  }
  PairObjective objective{Mlp<double>{{1, 16, 1}, valence::Activation::tanh}, BradleyTerry{}};
  std::vector<double> theta(objective.model().parameter_count());
  objective.model().initialize(theta, rng);
  long told = 0;
  const auto training =
      train_on_pairs(objective, std::span<double>(theta), x, {chosen, rejected}, Adam{.step_size = 0.02},
                     {.steps = 600}, rng, {}, [&](const valence::ProgressEvent& e) {
                       ++told;
                       CHECK(e.total == 600);
                       return e.step < 500;
                     });
  CHECK(training.steps == 500);  // the callback ended it
  CHECK(told == 500);
  const auto scores = objective.scores(theta, x);
  std::vector<double> better, worse;
  for (std::size_t k = 0; k < 200; ++k) {
    better.push_back(scores[std::size_t(chosen[k])]);
    worse.push_back(scores[std::size_t(rejected[k])]);
  }
  CHECK(valence::pairwise_accuracy_of_scores(better, worse) > 0.95);
}

TEST_CASE("Bad options of a training are named, and nothing is changed") {
  const Votes v = draw_votes(10, 3);
  Rng rng{1};
  std::vector<double> theta(5, 0.5);
  const auto message = [&](valence::PairTrainingOptions options, IndexPairs<double> pairs, std::size_t size = 5) {
    return message_of([&] {
      PairObjective objective{Tabular{5, 1}, Dpo{}, 5};
      train_on_pairs(objective, std::span<double>(theta).first(size), v.items, pairs, valence::Sgd{}, options, rng);
    });
  };
  CHECK(says(message({.steps = 0}, v.pairs()), "steps is 0"));
  CHECK(says(message({.batch_size = 11}, v.pairs()), "batch_size is 11", "10"));
  CHECK(says(message({.batch_size = -1}, v.pairs()), "batch_size is -1"));
  CHECK(says(message({.l2 = -1}, v.pairs()), "l2 is -1"));
  CHECK(says(message({.tolerance = -1}, v.pairs()), "tolerance is -1"));
  CHECK(says(message({.batch_size = 2, .tolerance = 1e-3}, v.pairs()), "tolerance", "mini-batches"));
  CHECK(says(message({}, {}), "pairs is empty"));
  CHECK(says(message({}, v.pairs(), 4), "theta has 4 entries", "5"));
  std::vector<int> wrong = v.chosen;
  wrong[9] = 7;
  for (const int batch : {0, 2}) CHECK(says(message({.batch_size = batch}, {wrong, v.rejected}), "chosen[9] is 7"));
  CHECK(says(message({}, {v.chosen, std::span(v.rejected).first(9)}), "rejected has 9 entries"));
  const std::vector<double> short_column(9, 1.0);
  for (const int batch : {0, 2})
    CHECK(says(message({.batch_size = batch}, {v.chosen, v.rejected, {}, short_column}), "weight", "9"));
  CHECK(theta == std::vector<double>(5, 0.5));
  CHECK(says(message_of([&] {
               PairObjective objective{Tabular{5, 1}, Dpo{}, 5};
               std::vector<double> broken(5, std::nan(""));
               train_on_pairs(objective, std::span<double>(broken), v.items, v.pairs(), valence::Sgd{}, {}, rng);
             }),
             "Dpo", "nan"));
}

TEST_CASE("Bootstrap intervals of abilities cover, order and repeat") {
  const Votes v = draw_votes(600, 21);
  const Rng rng{4};
  const valence::BradleyTerryOptions options{.l2 = 0.1};
  std::uint64_t told = 0;
  const auto boot = valence::bootstrap_bradley_terry(v.matchups, 5, options, {.resamples = 300}, rng,
                                                     [&](const valence::ProgressEvent& e) { told = e.step; });
  CHECK(told == 300);
  CHECK(boot.samples.cols() == 300);
  const auto fit = valence::fit_bradley_terry(v.matchups, 5, options);
  for (int i = 0; i < 5; ++i) {
    const auto& interval = boot.weight[std::size_t(i)];
    CHECK(interval.low < fit.weight[i]);
    CHECK(interval.high > fit.weight[i]);
    // The width is that of the standard error, to within what 300 samples give.
    CHECK((interval.high - interval.low) / (2 * 1.96) == close(fit.standard_error(i), 0.25));
    CHECK(boot.samples.col(i).sum() == close(0, 0, 1e-9));
  }
  const auto again = valence::bootstrap_bradley_terry(v.matchups, 5, options, {.resamples = 300}, rng);
  CHECK((again.samples - boot.samples).isZero(0));
  // Which side a row was written from does not matter.
  std::vector<Matchup> turned = v.matchups;
  for (std::size_t k = 0; k < turned.size(); k += 2) {
    std::swap(turned[k].first, turned[k].second);
    std::swap(turned[k].wins, turned[k].losses);
  }
  const auto same = valence::bootstrap_bradley_terry(turned, 5, options, {.resamples = 5}, rng);
  CHECK((same.samples - boot.samples.leftCols(5)).cwiseAbs().maxCoeff() < 1e-9);
  CHECK(says(message_of([&] { valence::bootstrap_bradley_terry(v.matchups, 5, {}, {}, rng); }), "l2 is 0"));
  CHECK(says(message_of([&] { valence::bootstrap_bradley_terry(v.matchups, 5, options, {.resamples = 0}, rng); }),
             "resamples is 0"));
  CHECK(says(message_of([&] { valence::bootstrap_bradley_terry(v.matchups, 5, options, {.level = 1}, rng); }),
             "level is 1"));
}

TEST_CASE("Texts become hashed features") {
  const auto features = [](std::string_view text, HashedNgrams ngrams = {.size = 64}) {
    std::vector<double> f(std::size_t(ngrams.size));
    ngrams(text, std::span<double>(f));
    return f;
  };
  CHECK(features("") == std::vector<double>(64));
  CHECK(features(" ,.!\n") == std::vector<double>(64));
  CHECK(features("Hello, WORLD!") == features("hello world"));
  CHECK(features("hello world") == features("world hello"));
  CHECK(features("hello world", {64, 2}) != features("world hello", {64, 2}));
  CHECK(features("don't") != features("don t"));
  CHECK(features("caf\xc3\xa9") != features("caf"));
  double sum = 0;
  for (const double x : features("one")) sum += std::abs(x);
  CHECK(sum == close(std::log(2.0), 1e-15));
  sum = 0;
  for (const double x : features("one one one")) sum += std::abs(x);
  CHECK(sum == close(std::log(4.0), 1e-15));
  // Fixed for ever: place and sign as an independent program computes them.
  const auto one = features("one", {1000, 1});
  CHECK(one[855] == close(std::log(2.0), 1e-15));
  CHECK(says(message_of([&] { features("x", {0, 1}); }), "size is 0"));
  CHECK(says(message_of([&] { features("x", {4, 0}); }), "longest is 0"));
  std::vector<double> three(3);
  CHECK(
      says(message_of([&] { HashedNgrams{.size = 4}("x", std::span<double>(three)); }), "features has 3 entries", "4"));
}

TEST_CASE("Features are standardised by the training split") {
  Matrix<double> x(3, 4);
  x << 1, 2, 3, 4,  //
      7, 7, 7, 7,   //
      0.1, 0.1, 0.1, 0.1;
  const valence::Standardizer scale(x);
  const Matrix<double> z = scale(x);
  CHECK(z.row(0).sum() == close(0, 0, 1e-14));
  CHECK(z.row(0).squaredNorm() / 4 == close(1, 1e-14));
  CHECK(z.bottomRows(2).isZero(1e-15));
  CHECK(scale.scale()[2] == 1);
  Matrix<double> other = Matrix<double>::Constant(3, 1, 9);
  CHECK(scale(other)(0, 0) == close((9 - 2.5) / std::sqrt(1.25), 1e-14));
  CHECK(scale(other)(1, 0) == close(2, 1e-14));
  CHECK(says(message_of([&] { valence::Standardizer{Matrix<double>(2, 0)}; }), "2 x 0"));
  CHECK(says(message_of([&] { scale(Matrix<double>::Zero(2, 2)); }), "2", "3"));
  x(1, 2) = std::nan("");
  CHECK(says(message_of([&] { valence::Standardizer{x}; }), "x(1, 2) is nan"));
}
