#include "valence/function/residual.hpp"

#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::pullback_matches;
using valence::test::says;

static_assert(InputDifferentiable<Residual<Mlp<double>>> && Approximator<Residual<Linear<Identity>>>);

namespace {

struct Example {
  Residual<Mlp<double>> model{Mlp<double>{{4, 7, 3}, Activation::tanh}};
  std::vector<double> theta = std::vector<double>(model.parameter_count());
  Matrix<double> x = Matrix<double>(4, 2), dy = Matrix<double>(3, 2);
  Residual<Mlp<double>>::Tape tape;
  Example() {
    Rng rng{5};
    model.initialize(std::span(theta), rng);
    rng.fill_normal(view(x));
    rng.fill_normal(view(dy));
  }
  std::vector<double> outputs(std::span<const double> at, const Matrix<double>& input) {
    const auto y = model.forward(at, input, tape);
    return {y.data(), y.data() + y.size()};
  }
};

}  // namespace

TEST_CASE("residual: the first entries of the input are added to the model's outputs") {
  Example e;
  Mlp<double>::Tape tape;
  const Matrix<double> change = e.model.change().forward(std::span<const double>(e.theta), e.x, tape);
  const Matrix<double> y = e.model.forward(std::span<const double>(e.theta), e.x, e.tape);
  CHECK(y == Matrix<double>(change + e.x.topRows(3)));
  const std::vector<double> zero(e.theta.size());
  CHECK(Matrix<double>(e.model.forward(std::span<const double>(zero), e.x, e.tape)) == e.x.topRows(3));
  CHECK(e.model.parameters("p.")[0].name == "p.0.weight");
}

TEST_CASE("residual: both pullbacks against finite differences") {
  Example e;
  e.outputs(e.theta, e.x);
  std::vector<double> gradient(e.theta.size());
  e.model.pullback(std::span<const double>(e.theta), e.x, e.tape, Outputs<double>(e.dy.data(), 3, 2),
                   std::span(gradient));
  CHECK(
      pullback_matches([&](std::span<const double> at) { return e.outputs(at, e.x); }, e.theta, view(e.dy), gradient));
  Matrix<double> dx;
  e.outputs(e.theta, e.x);
  e.model.pullback_input(std::span<const double>(e.theta), e.x, e.tape, Outputs<double>(e.dy.data(), 3, 2), dx);
  CHECK(pullback_matches(
      [&](std::span<const double> at) { return e.outputs(e.theta, Eigen::Map<const Matrix<double>>(at.data(), 4, 2)); },
      view(e.x), view(e.dy), view(dx)));
}

TEST_CASE("residual: a model with more outputs than inputs is refused") {
  CHECK(says(message_of([] { Residual{Mlp<double>{{2, 3}, relu}}; }), "3 outputs and 2 inputs"));
  Example e;
  CHECK(says(message_of([&] { e.outputs(e.theta, Matrix<double>(3, 1)); }), "x is 3 x 1; expected 4 x 1"));
}
