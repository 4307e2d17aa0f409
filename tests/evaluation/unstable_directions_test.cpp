// Unstable directions: the specification's numbers on a linear model, identities, and models of every kind.
#include "valence/evaluation/unstable_directions.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/adversarial.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

/// Q = s' W with W = [[1, 0, -1], [0, 2, 1], [.5, -.5, 0]], at three states.
struct Toy {
  Linear<Identity> q{Identity{3}, 3};
  Numbers theta{1, 0, -1, 0, 2, 1, 0.5, -0.5, 0};  // an input's weights lie together
  Matrix<double> states{3, 3};
  Toy() { states << 1, 0.1, -1, 0.2, 1, 0.5, -0.4, 0.3, 2; }
};
Matrix<double> normal(Eigen::Index rows, Eigen::Index columns, Rng& rng) {
  Matrix<double> x(rows, columns);
  for (double& v : x.reshaped()) v = rng.normal();
  return x;
}
void same(const Matrix<double>& seen, const Matrix<double>& expected, double tolerance = 1e-11) {
  REQUIRE(seen.rows() == expected.rows());
  REQUIRE(seen.cols() == expected.cols());
  for (Eigen::Index j = 0; j < seen.cols(); ++j)
    for (Eigen::Index i = 0; i < seen.rows(); ++i) {
      CAPTURE(i, j);
      CHECK(seen(i, j) == close(expected(i, j), tolerance, tolerance));
    }
}

}  // namespace

TEST_CASE("Unstable directions: published numbers") {
  const Toy toy;
  const UnstableDirections all = unstable_directions(toy.q, toy.theta, toy.states);
  Matrix<double> v(3, 3), l(3, 3);
  v << -0.60502191897, -0.116354108874, 0.462842318946,  //
      0.910290606527, -0.497617637012, 0,                //
      -0.455145303264, 0.248808818506, 0;
  l << 0.593812813293, -0.492845912867, 0.246422956433,  //
      -0.492845912867, 1.076252300997, -0.538126150499,  //
      0.246422956433, -0.538126150499, 0.269063075249;
  same(all.per_state(), v);
  same(all.matrix(), l);
  CHECK(all.eigenvalue() == close(1.6365051662432326));
  same(all.direction(), (Vector<double>(3) << -0.467228517558, 0.790795807971, -0.395397903985).finished());

  const UnstableDirections equal = unstable_directions(toy.q, toy.theta, toy.states, {.normalise = true});
  CHECK(equal.eigenvalue() == close(1.8096102898413673));
  same(equal.direction(), (Vector<double>(3) << -0.426501331557, 0.808997707873, -0.404498853937).finished());
  CHECK(equal.matrix().trace() == close(3.0));

  const UnstableDirections two = unstable_directions(toy.q, toy.theta, toy.states.leftCols(2));
  CHECK(feature_correlation_quotient(two, all) == close(0.9970162122995302));
  CHECK(feature_correlation_quotient(all, all) == close(1.0));
}

TEST_CASE("Unstable directions: identities") {
  const Toy toy;
  const UnstableDirections all = unstable_directions(toy.q, toy.theta, toy.states);
  const UnstableDirections two = unstable_directions(toy.q, toy.theta, toy.states.leftCols(2));
  CHECK(all.matrix().trace() == close(all.per_state().squaredNorm()));
  CHECK(all.along(all.direction()) == close(all.eigenvalue()));
  same(all.matrix() * all.direction(), all.eigenvalue() * all.direction());

  // An orthogonal rotation of the inputs turns the directions and leaves the quotient.
  const double c = std::cos(0.7), s = std::sin(0.7);
  Matrix<double> rotation(3, 3), spin(3, 3);
  rotation << c, -s, 0, s, c, 0, 0, 0, 1;
  spin << 1, 0, 0, 0, c, -s, 0, s, c;
  rotation = rotation * spin;
  const UnstableDirections turned_all(rotation * all.per_state()), turned_two(rotation * two.per_state());
  CHECK(feature_correlation_quotient(turned_two, turned_all) == close(feature_correlation_quotient(two, all), 1e-12));
  CHECK(std::abs(turned_all.direction().dot(rotation * all.direction())) == close(1.0));

  // Orthogonal sets have nothing in common.
  Matrix<double> first = Matrix<double>::Zero(3, 1), second = first;
  first(0, 0) = -2;
  second(2, 0) = 1;
  CHECK(feature_correlation_quotient(UnstableDirections(first), UnstableDirections(second)) == 0);
  CHECK(UnstableDirections(first).direction() == (Vector<double>(3) << 1, 0, 0).finished());
}

TEST_CASE("Unstable directions: two actions and a linear model have one direction") {
  Rng rng{3};
  const Linear<Identity> q{Identity{6}, 2};
  Numbers theta(12);
  for (double& w : theta) w = rng.normal();
  const UnstableDirections here = unstable_directions(q, theta, normal(6, 20, rng));
  const UnstableDirections there = unstable_directions(q, theta, normal(6, 4, rng));  // fewer states than inputs
  CHECK(here.eigenvalue() == close(here.matrix().trace()));
  CHECK(there.eigenvalue() == close(there.matrix().trace()));
  CHECK(feature_correlation_quotient(here, there) == close(1.0));
  CHECK(feature_correlation_quotient(there, here) == close(1.0));
  same(here.direction(), there.direction());
}

TEST_CASE("Unstable directions: more inputs than states, or fewer, make no difference") {
  Rng rng{4};
  const Matrix<double> v = normal(9, 5, rng);
  Matrix<double> padded = Matrix<double>::Zero(9, 12);  // the same matrix L, from more states
  padded.leftCols(5) = v;
  const UnstableDirections tall(v), wide(padded);
  CHECK(tall.eigenvalue() == close(wide.eigenvalue(), 1e-13));
  same(tall.direction(), wide.direction());
}

TEST_CASE("Unstable directions: of a network they are the gradient of the greedy action's cross-entropy") {
  Rng rng{6};
  const Mlp<double> net{{5, 16, 16, 4}, Activation::tanh};
  Numbers theta(net.parameter_count());
  net.initialize(theta, rng);
  const Matrix<double> states = normal(5, 7, rng);
  for (const double temperature : {0.5, 1.0}) {
    const Matrix<double> v = direction_per_state(net, theta, states, {.temperature = temperature});
    Mlp<double>::Tape tape;
    for (Eigen::Index j = 0; j < states.cols(); ++j) {
      const auto loss = [&](std::span<const double> x) {
        const auto y = net.forward(theta, Outputs<double>(x.data(), 5, 1), tape);
        Numbers ignored(4);
        return GreedyCrossEntropy{temperature}(std::span<const double>(y.data(), 4), 1, ignored);
      };
      CHECK(gradient_matches(loss, {states.col(j).data(), 5}, {v.col(j).data(), 5},
                             {.relative = 1e-7, .absolute = 1e-10}));
    }
  }
  // A constant on all values changes nothing: the output biases are the last parameters.
  Numbers raised = theta;
  for (std::size_t i = raised.size() - 4; i < raised.size(); ++i) raised[i] += 3;
  same(direction_per_state(net, raised, states), direction_per_state(net, theta, states), 1e-12);
  // Composites, and single precision.
  const Chain chain{Linear<Identity>{Identity{5}, 3}, Mlp<double>{{3, 8, 4}, Activation::tanh}};
  Numbers of_chain(chain.parameter_count());
  for (double& w : of_chain) w = rng.normal();
  CHECK(unstable_directions(chain, of_chain, states).eigenvalue() > 0);
  const Mlp<float> single = net.rebind<float>();
  const std::vector<float> theta32(theta.begin(), theta.end());
  same(direction_per_state(single, theta32, states.cast<float>()), direction_per_state(net, theta, states), 1e-5);
}

TEST_CASE("Unstable directions: a composition that a user would write") {
  Rng rng{7};
  const Mlp<float> q{{4, 16, 3}, relu};
  std::vector<float> theta(q.parameter_count()), other_theta(q.parameter_count());
  q.initialize(theta, rng);
  q.initialize(other_theta, rng);
  const Matrix<float> states = normal(4, 50, rng).cast<float>();

  const auto clean = unstable_directions(q, theta, states), other = unstable_directions(q, other_theta, states);
  const double correlation = feature_correlation_quotient(other, clean);
  const double oscillation = direction_series(q, theta, states).norm_deviation();
  CHECK((correlation > 0 && correlation < 1));
  CHECK(oscillation > 0);

  // A small step up the direction makes the greedy action less certain.
  InputGradientWorkspace<Mlp<float>> workspace;
  const auto attacked = adversarial_perturb(
      states,
      [&](const Matrix<float>& at, Matrix<float>& out) {
        input_gradients(q, std::span<const float>(theta), at, GreedyCrossEntropy{}, workspace, out);
      },
      {.radius = 1e-3, .random_start = false}, rng);
  Mlp<float>::Tape tape;
  const Matrix<float> before = q.forward(theta, states, tape), after = q.forward(theta, attacked, tape);
  std::vector<float> ignored(3);
  float raised = 0;
  for (Eigen::Index j = 0; j < states.cols(); ++j) {
    const auto entropy = [&](const Matrix<float>& y) {
      return GreedyCrossEntropy{}(std::span<const float>(y.col(j).data(), 3), 1, ignored);
    };
    raised += entropy(after) - entropy(before);
  }
  CHECK(raised > 0);
}

TEST_CASE("Input gradients: nothing allocates once the workspace is warm") {
  Rng rng{8};
  const Mlp<float> q{{4, 16, 3}, relu};
  std::vector<float> theta(q.parameter_count());
  q.initialize(theta, rng);
  const Matrix<float> states = normal(4, 32, rng).cast<float>();
  InputGradientWorkspace<Mlp<float>> workspace;
  Matrix<float> v;
  input_gradients(q, std::span<const float>(theta), states, GreedyCrossEntropy{}, workspace, v);
  const Matrix<float> once = v;
  valence::test::Allocations allocations;
  input_gradients(q, std::span<const float>(theta), states, GreedyCrossEntropy{}, workspace, v);
  CHECK(allocations.count() == 0);
  CHECK(v == once);
}

TEST_CASE("Direction series: norms and turning angles") {
  Matrix<double> v(2, 4);
  v << 3, 0, 0, -1,  //
      4, 2, 0, 0;
  const DirectionSeries series = direction_series(v);
  CHECK(series.norms == Numbers{5, 2, 0, 1});
  REQUIRE(series.turning.size() == 3);
  CHECK(series.turning[0] == close(0.2));
  CHECK(series.turning[1] == 1);  // next to a direction that is 0
  CHECK(series.turning[2] == 1);
  CHECK(series.norm_mean() == close(2.0));
  CHECK(series.norm_deviation() == close(std::sqrt(14.0 / 3)));
  CHECK(series.norm_variation() == close(std::sqrt(14.0 / 3) / 2));
  CHECK(series.norm_step() == close(2.0));
  CHECK(series.turning_mean() == close(2.2 / 3));
  Matrix<double> back(1, 3);
  back << 1e-200, -1e-200, 1e200;
  CHECK(direction_series(back).turning == Numbers{2, 2});
  CHECK(says(message_of([] { direction_series(Matrix<double>(Matrix<double>::Zero(2, 3))).norm_variation(); }),
             "mean norm is 0"));
}

TEST_CASE("Unstable directions: bad input is refused") {
  const Toy toy;
  const auto run = [&](const Matrix<double>& states, const DirectionOptions& options = {}) {
    return message_of([&] { unstable_directions(toy.q, toy.theta, states, options); });
  };
  CHECK(says(run(Matrix<double>(3, 0)), "at least one state"));
  CHECK(says(run(Matrix<double>::Constant(3, 2, poison)), "states[0] is nan"));
  CHECK(says(run(Matrix<double>::Constant(2, 2, 1.0)), "2 x 2; expected 3 x 2"));
  CHECK(says(run(toy.states, {.temperature = 0}), "temperature is 0"));
  CHECK(says(run(toy.states, {.temperature = -1}), "temperature is -1"));
  const Numbers huge(9, 1e308);
  CHECK(says(message_of([&] { unstable_directions(toy.q, huge, 3 * toy.states); }), "q[0] is", "expected a finite"));
  CHECK(says(run(toy.states, {.temperature = 1e-6}), "all 3 directions are 0: the policy is saturated"));
  const Linear<Identity> one{Identity{3}, 1};
  const Numbers weights(3, 1.0);
  CHECK(says(message_of([&] { unstable_directions(one, weights, toy.states); }), "1 actions; expected at least 2"));
  CHECK(says(message_of([] { UnstableDirections(Matrix<double>(3, 0)); }), "no directions"));
  CHECK(says(message_of([] { UnstableDirections(Matrix<double>::Constant(2, 2, poison)); }), "per_state[0] is nan"));
  const UnstableDirections three(Matrix<double>::Identity(3, 3)), two(Matrix<double>::Identity(2, 2));
  CHECK(says(message_of([&] { feature_correlation_quotient(two, three); }), "2 entries; expected 3"));
  CHECK(says(message_of([] { direction_series(Matrix<double>(Matrix<double>::Zero(2, 1))); }), "at least 2"));
}
