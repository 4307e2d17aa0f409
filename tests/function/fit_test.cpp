#include "valence/function/fit.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

/// y = (2 x0 - x1, 3) of 30 samples.
struct Data {
  Matrix<double> x = Matrix<double>(3, 30), y = Matrix<double>(2, 30);
  Data() {
    Rng rng{1};
    rng.fill_normal(view(x));
    x.row(2).setOnes();
    y.row(0) = 2 * x.row(0) - x.row(1);
    y.row(1).setConstant(3);
  }
};
const Linear<Identity> linear{Identity{3}, 2};

}  // namespace

TEST_CASE("fit: one step by hand") {
  // y = 0 at the start; the gradient of the mean of |y - target|^2 is -2 target x' / 2.
  const Linear<Identity> f{Identity{1}, 1};
  Matrix<double> x(1, 2), target(1, 2);
  x << 1, 3;
  target << 2, -1;
  std::vector<double> theta(1);
  Rng rng{0};
  const double loss =
      fit_columns(f, std::span(theta), x, SquaredErrorTo{target}, Sgd{.step_size = 0.1}, {.steps = 1}, rng);
  CHECK(loss == close(2.5));
  CHECK(theta[0] == close(0.1 * (2 * 1 - 1 * 3)));
  // Only the second sample, twice.
  theta[0] = 0;
  const std::array<std::size_t, 2> second{1, 1};
  fit_columns(f, std::span(theta), x, SquaredErrorTo{target}, Sgd{.step_size = 0.1}, {.steps = 1}, rng, second);
  CHECK(theta[0] == close(0.1 * 2 * -1 * 3));
}

TEST_CASE("fit: a linear function is found, in full batches and in small ones") {
  const Data data;
  for (const std::size_t batch : {std::size_t{0}, std::size_t{8}}) {
    std::vector<double> theta(linear.parameter_count());
    Rng rng{2};
    const Rng before = rng;
    fit_columns(linear, std::span(theta), data.x, SquaredErrorTo{data.y}, Adam{.step_size = 0.05},
                {.steps = 2000, .batch_size = batch, .final_factor = 0.01}, rng);
    CHECK((rng == before) == (batch == 0));  // all of them: nothing is drawn
    const std::array<double, 6> expected{2, 0, -1, 0, 0, 3};
    for (std::size_t i = 0; i < 6; ++i) CHECK(theta[i] == close(expected[i], 0, 1e-4));
  }
}

TEST_CASE("fit: the step size ends at its final factor") {
  // A loss of constant slope 1 in y = theta: what SGD moves is the sum of its step sizes.
  const Linear<Identity> f{Identity{1}, 1};
  const Matrix<double> x = Matrix<double>::Ones(1, 1);
  const auto slope = [](std::span<const double>, std::size_t, double w, std::span<double> dy) {
    dy[0] += w;
    return 0.0;
  };
  std::vector<double> theta(1);
  Rng rng{0};
  fit_columns(f, std::span(theta), x, slope, Sgd{.step_size = 1}, {.steps = 11, .final_factor = 0.1}, rng);
  CHECK(theta[0] == close(-11 * 0.55));
}

TEST_CASE("fit: the loss sees the sample's own index, and what doesn't fit is refused before anything moves") {
  const Data data;
  std::vector<double> theta(linear.parameter_count());
  Rng rng{3};
  std::set<std::size_t> seen;
  const std::array<std::size_t, 3> some{4, 9, 4};
  fit_columns(
      linear, std::span(theta), data.x,
      [&](std::span<const double>, std::size_t i, double, std::span<double>) { return seen.insert(i), 0.0; }, Sgd{},
      {.steps = 40, .batch_size = 2}, rng, some);
  CHECK(seen == std::set<std::size_t>{4, 9});
  const auto message = [&](const Matrix<double>& x, const FitOptions& options, std::span<const std::size_t> samples) {
    return message_of(
        [&] { fit_columns(linear, std::span(theta), x, SquaredErrorTo{data.y}, Adam{}, options, rng, samples); });
  };
  CHECK(says(message(Matrix<double>(3, 0), {}, {}), "x has no columns"));
  CHECK(says(message(data.x, {.final_factor = -1}, {}), "final_factor"));
  CHECK(says(message(data.x, {}, std::array<std::size_t, 2>{0, 30}), "samples[1] is 30"));
  Matrix<double> bad = data.x;
  bad(0, 0) = std::nan("");
  CHECK(says(message(bad, {}, {}), "x[0] is nan"));
  std::vector<double> wrong(5);
  CHECK(
      says(message_of([&] { fit_columns(linear, std::span(wrong), data.x, SquaredErrorTo{data.y}, Adam{}, {}, rng); }),
           "theta has 5 entries; expected 6"));
  CHECK(theta == std::vector<double>(6));
}

TEST_CASE("fit: a loss that diverges says so") {
  const Data data;
  std::vector<double> theta(linear.parameter_count());
  Rng rng{4};
  CHECK(says(message_of([&] {
               fit_columns(linear, std::span(theta), data.x, SquaredErrorTo{data.y}, Sgd{.step_size = 1e3}, {}, rng);
             }),
             "the loss is", "at step"));
}

TEST_CASE("fit: steps allocate nothing") {
  const Data data;
  std::vector<double> theta(linear.parameter_count());
  Rng rng{5};
  const auto allocations = [&](std::size_t steps) {
    const Allocations count;
    fit_columns(linear, std::span(theta), data.x, SquaredErrorTo{data.y}, Adam{}, {.steps = steps, .batch_size = 8},
                rng);
    return count.count();
  };
  CHECK(allocations(200) == allocations(2));
}

TEST_CASE("ensemble: members differ, one member is the fit of all samples, and streams are the members' own") {
  const Data data;
  const Mlp<double> net{{3, 4, 2}, relu};
  const FitOptions fit{.steps = 20, .batch_size = 4};
  const auto five = fit_ensemble(net, data.x, SquaredErrorTo{data.y}, Adam{}, {.members = 5, .fit = fit}, Rng{6});
  REQUIRE(five.size() == 5);
  CHECK(five.members[0] != five.members[1]);
  const auto two = fit_ensemble(net, data.x, SquaredErrorTo{data.y}, Adam{}, {.members = 2, .fit = fit}, Rng{6});
  CHECK(two.members[1] == five.members[1]);
  const auto one = fit_ensemble(net, data.x, SquaredErrorTo{data.y}, Adam{}, {.members = 1, .fit = fit}, Rng{6});
  std::vector<double> alone(net.parameter_count());
  Rng stream = Rng{6}.split(0);
  net.initialize(std::span(alone), stream);
  fit_columns(net, std::span(alone), data.x, SquaredErrorTo{data.y}, Adam{}, fit, stream);
  CHECK(one.members[0] == alone);
  CHECK(one.members[0] != two.members[0]);  // which saw its bootstrap sample
  Mlp<double>::Tape tape, again;
  CHECK(Matrix<double>(five.forward(3, data.x, tape)) ==
        Matrix<double>(net.forward(std::span<const double>(five.members[3]), data.x, again)));
}

TEST_CASE("ensemble: bootstrap samples are as large as the data and leave a third of it out") {
  // A bootstrap sample of n has (1 - 1/n)^n of the samples missing: 0.366 of 100.
  const Matrix<double> x = Matrix<double>::Ones(1, 100);
  const Linear<Identity> f{Identity{1}, 1};
  std::vector<std::set<std::size_t>> seen;
  std::size_t calls = 0;
  fit_ensemble(
      f, x,
      [&](std::span<const double>, std::size_t i, double, std::span<double>) {
        if (calls++ % 100 == 0) seen.emplace_back();
        seen.back().insert(i);
        return 0.0;
      },
      Sgd{}, {.members = 50, .fit = {.steps = 1}}, Rng{7});
  REQUIRE(seen.size() == 50);
  double missing = 0;
  for (const auto& s : seen) missing += 1 - static_cast<double>(s.size()) / 100;
  CHECK(std::abs(missing / 50 - 0.366) < 0.02);
}

TEST_CASE("ensemble: no members, no data and a member that isn't there are refused") {
  const Data data;
  const auto message = [&](const EnsembleOptions& options, const Matrix<double>& x) {
    return message_of([&] { fit_ensemble(linear, x, SquaredErrorTo{data.y}, Adam{}, options, Rng{8}); });
  };
  CHECK(says(message({.members = 0}, data.x), "members is 0"));
  CHECK(says(message({}, Matrix<double>(3, 0)), "x has no columns"));
  const ModelEnsemble<Linear<Identity>> none{linear};
  Linear<Identity>::Tape tape;
  CHECK(says(message_of([&] { none.forward(0, data.x, tape); }), "member is 0"));
}
