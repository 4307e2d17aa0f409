#include "valence/evaluation/tuning.hpp"

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/piecewise.hpp"
#include "valence/core/random.hpp"
#include "valence/function/interpolated_activation.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/discount_sweep.hpp"

namespace {

using namespace valence;
using valence::test::close;
using valence::test::message_of;
using valence::test::says;

RidgeDual ridge() {
  Matrix<double> x(3, 2), x_validation(2, 2);
  x << 1, 0, 1, 1, 1, 2;
  x_validation << 1, 3, 1, .5;
  return {x, Vector<double>{{0, 1, 3}}, x_validation, Vector<double>{{4, .2}}};
}

}  // namespace

TEST_CASE("tuning on three step functions") {
  const std::vector<PiecewiseConstant> duals{
      {{0, 0.2, 0.6}, {1, 3, 0}, 1}, {{0, 0.5}, {2, 1}, 1}, {{0, 0.4, 0.7}, {0, 2, 5}, 1}};
  const auto best = tune(duals);
  CHECK(best.low == 0.4);
  CHECK(best.high == 0.5);
  CHECK(best.best() == close(0.45, 1e-15));
  CHECK(best.value == close(7.0 / 3, 1e-15));
  CHECK(best.pieces == 6);
  const std::vector<double> means{1, 5.0 / 3, 7.0 / 3, 2, 1, 2};
  for (std::size_t i = 0; i < 6; ++i) CHECK(best.mean.pieces()[i] == close(means[i], 1e-15));
  CHECK(says(message_of([] { tune(std::vector<PiecewiseConstant>{}); }), "no task"));
  CHECK(says(message_of([&] {
               tune(std::vector<PiecewiseConstant>{duals[0], {{0}, {1}, 2}});
             }),
             "function 1 is on [0, 2]"));
}

TEST_CASE("tuning a smooth hyper-parameter, in polynomial pieces") {
  const auto parabola = [](double top) { return PolynomialPiece{{-top * top, 2 * top, -1}}; };  // -(x - top)^2
  const std::vector<PiecewisePolynomial> duals{{{0}, {parabola(0.2)}, 1}, {{0}, {parabola(0.6)}, 1}};
  const auto best = tune(duals);
  CHECK(best.low == close(0.4, 1e-15));
  CHECK(best.high == best.low);
  CHECK(best.value == close(-0.04, 1e-14));
}

TEST_CASE("the composition that a user writes") {
  std::vector<PiecewiseConstant> duals;
  for (const double late : {2.0, 3.0, 4.0}) {  // waiting pays from a discount of 1 / late on
    const FiniteMdp<double> model(
        3, 2, std::vector<ModelEntry>{{0, 0, 2, 1.0, 1.0}, {0, 1, 1, 1.0, 0.0}, {1, 0, 2, 1.0, late}},
        std::vector<int>{2});
    duals.push_back(discount_dual(model, model, {.evaluation_discount = 0.9}));
  }
  const auto best = tune(duals);
  const double slack = uniform_gap_bound({.range = 4, .pieces = best.pieces, .tasks = duals.size(), .delta = 0.05});
  CHECK(best.pieces == 4);
  CHECK(best.low == close(0.5, 1e-14));  // where all wait
  CHECK(best.high == 0.999);
  CHECK(best.value == close((0.9 + 1) * 3 / 3, 1e-14));  // states 0, 1 and the end: (0.9 + 1) late / 3, on average
  CHECK(slack > 1);
}

TEST_CASE("bounds of the uniform gap") {
  CHECK(massart_bound({.pieces = 31, .tasks = 20}) == close(0.5860023211972071, 1e-14));
  CHECK(uniform_gap_bound({.pieces = 31, .tasks = 20}) == close(2.083046835256872, 1e-14));
  CHECK(massart_bound({.pieces = 240, .tasks = 160}) == close(0.26174030362512934, 1e-14));
  CHECK(uniform_gap_bound({.pieces = 240, .tasks = 160}) == close(0.8455826635103119, 1e-14));
  CHECK(uniform_gap_bound({.range = 3, .pieces = 240, .tasks = 160}) == close(3 * 0.8455826635103119, 1e-14));
  CHECK(massart_bound({.pieces = 1, .tasks = 5}) == 0);
  for (const double delta : {0.0, 1.0, -1.0, std::nan("")})
    CHECK(says(message_of([&] { uniform_gap_bound({.delta = delta}); }), "delta is"));
  CHECK(says(message_of([] { massart_bound({.range = 0}); }), "range is 0"));
  CHECK(says(message_of([] { massart_bound({.pieces = 0}); }), "pieces is 0"));
  CHECK(says(message_of([] { massart_bound({.tasks = 0}); }), "tasks is 0"));
}

TEST_CASE("accuracy as a function of the activation") {
  const std::vector<double> first{1, -1, .5}, second{-1, .5, .2};
  const std::vector<int> labels{1, 1, 1};
  const PiecewiseConstant accuracy = activation_sweep(first, second, labels);
  REQUIRE(accuracy.size() == 3);
  CHECK(accuracy.starts()[1] == close(1.0 / 3, 1e-15));
  CHECK(accuracy.starts()[2] == 0.5);
  CHECK(accuracy.pieces()[0] == close(2.0 / 3, 1e-15));
  CHECK(accuracy.pieces()[1] == close(1.0 / 3, 1e-15));
  CHECK(accuracy.pieces()[2] == close(2.0 / 3, 1e-15));
  // The other labels are wrong where these are right.
  const PiecewiseConstant wrong = activation_sweep(first, second, std::vector<int>{-1, -1, -1});
  for (const double a : {0.1, 0.4, 0.7}) CHECK(wrong(a) == close(1 - accuracy(a), 1e-15));
  // A score of 0 at an end doesn't count inside, one of 0 everywhere is never right; no score overflows.
  CHECK(activation_sweep(std::vector<double>{0, 0}, std::vector<double>{2, 0}, std::vector<int>{1, 1})(0.5) == 0.5);
  CHECK(activation_sweep(std::vector<double>{3}, std::vector<double>{0}, std::vector<int>{1})(0.5) == 1);
  CHECK(activation_sweep(std::vector<double>{1e308}, std::vector<double>{-1e308}, std::vector<int>{1}).starts()[1] ==
        0.5);
  CHECK(says(message_of([&] { activation_sweep(first, second, std::vector<int>{1, 0, 1}); }), "labels[1] is 0"));
  CHECK(says(message_of([&] { activation_sweep(first, std::vector<double>{1}, labels); }), "second has 1 entries"));
  CHECK(says(message_of([] { activation_sweep({}, {}, {}); }), "no example"));
  CHECK(says(message_of([&] {
               activation_sweep(std::vector<double>{std::nan(""), 1, 1}, second, labels);
             }),
             "first[0] is nan"));
}

TEST_CASE("the sweep counts what networks with interpolated activations get right") {
  Rng rng{1};
  const MlpOptions options{.gain = 3};
  const InterpolatedActivation<double> net{{2, 6, 1}, Activation::tanh, relu, 0.5, options};
  Vector<double> theta(static_cast<std::ptrdiff_t>(net.parameter_count()));
  net.initialize(view(theta), rng);
  Matrix<double> x(2, 40);
  std::vector<int> labels;
  for (std::ptrdiff_t j = 0; j < x.cols(); ++j) {
    x.col(j) << rng.normal(), rng.normal();
    labels.push_back(x(0, j) * x(1, j) > 0 ? 1 : -1);
  }
  Mlp<double>::Tape one, two;
  const auto f = net.first().forward(view(theta), x, one), g = net.second().forward(view(theta), x, two);
  const PiecewiseConstant accuracy = activation_sweep({f.data(), 40}, {g.data(), 40}, labels);
  CHECK(accuracy.size() > 3);
  for (const double a : {0.05, 0.31, 0.5, 0.77, 0.96}) {
    const InterpolatedActivation<double> mixed{{2, 6, 1}, Activation::tanh, relu, a, options};
    InterpolatedActivation<double>::Tape tape;
    const auto y = mixed.forward(view(theta), x, tape);
    int right = 0;
    for (std::ptrdiff_t j = 0; j < 40; ++j) right += labels[static_cast<std::size_t>(j)] * y(0, j) > 0 ? 1 : 0;
    CHECK(accuracy(a) == close(right / 40.0, 1e-14));
  }
}

TEST_CASE("the validation loss of ridge regression") {
  const RidgeDual dual = ridge();
  CHECK(dual(0) == close(0.12902777777777769, 1e-13));
  CHECK(dual(0.1) == close(0.10703944488648265, 1e-13));
  CHECK(dual(1) == close(0.3222222222222221, 1e-13));
  CHECK(dual(10) == close(3.1901042027980124, 1e-13));
  for (const double penalty : {0.05, 0.3, 4.0}) {
    const double h = 1e-3 * penalty;
    const double numeric =
        (8 * (dual(penalty + h) - dual(penalty - h)) - (dual(penalty + 2 * h) - dual(penalty - 2 * h))) / (12 * h);
    CHECK(dual.slope(penalty) == close(numeric, 1e-8));
  }
  const RidgeMinimum best = dual.minimise();
  CHECK(dual.slope(best.penalty) == close(0, 0, 1e-12));
  CHECK(best.loss == dual(best.penalty));
  for (int i = 0; i <= 1000; ++i) CHECK(best.loss <= dual(i / 1000.0));
  // The least is at an end of a range without a stationary point.
  CHECK(dual.minimise({.low = 1, .high = 10}).penalty == 1);
  CHECK(dual.minimise({.low = 0, .high = 0.01}).penalty == 0.01);
  CHECK(dual.minimise({.low = 0, .high = 1, .grid = 2}).penalty == close(best.penalty, 1e-9));
}

TEST_CASE("what ridge duals refuse") {
  const RidgeDual dual = ridge();
  CHECK(says(message_of([&] { dual(-1); }), "penalty is -1"));
  CHECK(says(message_of([&] { dual.minimise({.low = 2, .high = 1}); }), "expected low < high"));
  CHECK(says(message_of([&] { dual.minimise({.low = -1}); }), "low is -1"));
  CHECK(says(message_of([&] { dual.minimise({.grid = 1}); }), "grid is 1"));
  const Matrix<double> x = Matrix<double>::Ones(3, 2);
  const Vector<double> y = Vector<double>::Ones(3);
  CHECK(says(message_of([&] { RidgeDual(x, y, x, y)(0); }), "RidgeDual", "not positive definite"));
  CHECK(RidgeDual(x, y, x, y)(1e-6) < 1e-10);
  CHECK(says(message_of([&] { RidgeDual(x, Vector<double>::Ones(2), x, y); }), "y has 2 entries; expected 3"));
  CHECK(says(message_of([&] { RidgeDual(x, y, Matrix<double>::Ones(3, 1), y); }), "x_validation is 3 x 1"));
  CHECK(says(message_of([&] { RidgeDual(x, y, x, Vector<double>::Constant(3, std::nan(""))); }),
             "y_validation[0] is nan"));
}
