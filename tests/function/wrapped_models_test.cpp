#include <cmath>
#include <set>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/constant.hpp"
#include "valence/function/dueling.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/noisy.hpp"

using namespace valence;
using namespace valence::test;

using Net = Mlp<double>;
static_assert(InputDifferentiable<Dueling<Net>> && InputDifferentiable<Noisy<Net>> &&
              InputDifferentiable<Constant<double>>);
static_assert(InputDifferentiable<Noisy<Dueling<Net>>> && Approximator<Dueling<Chain<Net, Parallel<Net, Net>>>>);
static_assert(Linearisable<Parallel<Net, Constant<double>>> && InputLinearisable<Parallel<Net, Constant<double>>>);

namespace {

Matrix<double> random_matrix(Eigen::Index rows, Eigen::Index cols, Rng& rng) {
  Matrix<double> m(rows, cols);
  for (double& x : view(m)) x = rng.normal();
  return m;
}
Outputs<double> outputs(const Matrix<double>& m) { return {m.data(), m.rows(), m.cols()}; }
std::vector<double> values(const Outputs<double>& m) { return {m.data(), m.data() + m.size()}; }

/// Gradient and input gradient against differences; the tape carries whatever the model keeps there.
template <class Model>
void check_pullbacks(const Model& model, typename Model::Tape tape, int inputs, Rng& rng) {
  const Vector<double> theta = 0.5 * random_matrix(static_cast<Eigen::Index>(model.parameter_count()), 1, rng);
  const Matrix<double> x = random_matrix(inputs, 4, rng), dy = random_matrix(model.output_size(), 4, rng);
  const auto of_theta = [&](std::span<const double> t) { return values(model.forward(t, x, tape)); };
  const auto of_x = [&](std::span<const double> at) {
    return values(model.forward(view(theta), Outputs<double>(at.data(), x.rows(), x.cols()), tape));
  };
  auto own = tape;
  model.forward(view(theta), x, own);
  Vector<double> gradient = Vector<double>::Zero(theta.size());
  Matrix<double> dx;
  model.pullback(view(theta), x, own, outputs(dy), view(gradient));
  model.pullback_input(view(theta), x, own, outputs(dy), dx);
  const DifferenceOptions options{.relative = 1e-7, .absolute = 1e-8, .step = 1e-4};
  CHECK(pullback_matches(of_theta, view(theta), view(dy), view(gradient), options));
  CHECK(pullback_matches(of_x, view(x), view(dy), view(dx), options));
}

}  // namespace

TEST_CASE("dueling: v + a - mean a, an atom at a time", "[dueling]") {
  const Dueling model{Constant<double>{4}, 3};
  const std::vector<double> theta{1.5, 0.2, -0.1, 0.5};  // the golden number of baseline.md, section 4
  Dueling<Constant<double>>::Tape tape;
  const Matrix<double> x = Matrix<double>::Zero(2, 2);
  const auto y = model.forward(theta, x, tape);
  for (Eigen::Index j = 0; j < 2; ++j) {
    CHECK(y(0, j) == close(1.5));
    CHECK(y(1, j) == close(1.2));
    CHECK(y(2, j) == close(1.8));
  }
  // Two atoms: those of one action lie together, and don't mix.
  const Dueling atoms{Constant<double>{6}, 2, 2};
  const std::vector<double> pairs{1, 10, 0.5, 2, -0.5, 6};
  Dueling<Constant<double>>::Tape other;
  const auto z = atoms.forward(pairs, x, other);
  CHECK(values(z) == std::vector<double>{1.5, 8, 0.5, 12, 1.5, 8, 0.5, 12});
  CHECK_THROWS_AS((Dueling{Constant<double>{4}, 2}), Error);
  CHECK_THROWS_AS((Dueling{Constant<double>{4}, 0}), Error);
}

TEST_CASE("dueling, noisy and constant models: derivatives", "[dueling][noisy]") {
  Rng rng{3};
  check_pullbacks(Dueling{Net{{3, 5, 8}, Activation::tanh}, 3, 2}, {}, 3, rng);
  check_pullbacks(Dueling{Chain{Net{{3, 5}, Activation::tanh},
                                Parallel{Net{{5, 4, 1}, Activation::tanh}, Net{{5, 4, 3}, Activation::tanh}}},
                          3},
                  {}, 3, rng);
  const Noisy noisy{Dueling{Net{{3, 5, 4}, Activation::tanh, {.layer_norm = true}}, 3}};
  Noisy<Dueling<Net>>::Tape tape;
  check_pullbacks(noisy, tape, 3, rng);
  noisy.draw_noise(tape, rng);
  check_pullbacks(noisy, tape, 3, rng);
  check_pullbacks(Parallel{Net{{3, 5, 2}, Activation::tanh}, Constant<double>{2, -0.5}}, {}, 3, rng);
}

TEST_CASE("noisy: zero deviations are the plain network, and the variance is the formula", "[noisy]") {
  Rng rng{11};
  const Net plain{{3, 6, 2}, relu, {.initialization = Initialization::fan_in}};
  const Noisy still{plain, {.deviation = 0}};
  Vector<double> theta(static_cast<Eigen::Index>(still.parameter_count()));
  still.initialize(view(theta), rng);
  const Matrix<double> x = random_matrix(3, 5, rng);
  Noisy<Net>::Tape tape;
  Net::Tape plain_tape;
  still.draw_noise(tape, rng);
  const std::span<const double> means = view(std::as_const(theta)).first(plain.parameter_count());
  CHECK(values(still.forward(view(theta), x, tape)) == values(plain.forward(means, x, plain_tape)));

  // One layer: Var y = sum_i sigma^2 x_i^2 E f^2 E f^2 + sigma_b^2 E f^2 + covariances through the shared f(e_out): given
  // f(e_out) = g, y = g (sum_i sigma x_i f_i + sigma_b); E g^2 = E |e| = sqrt(2 / pi).
  const Noisy layer{Net{{2, 1}, relu}};
  Vector<double> t(6);
  t << 0, 0, 0, 0.5, 0.3, 0.2;  // means, then deviations of two weights and the bias
  Matrix<double> u(2, 1);
  u << 1.0, -2.0;
  const double m = std::sqrt(2 / 3.14159265358979323846);
  const double expected = m * ((0.25 * 1 + 0.09 * 4) * m + 0.04);
  double sum = 0, squares = 0;
  const int draws = 200'000;
  Noisy<Net>::Tape one;
  for (int i = 0; i < draws; ++i) {
    layer.draw_noise(one, rng);
    const double y = layer.forward(view(t), u, one)(0, 0);
    sum += y, squares += y * y;
  }
  CHECK(sum / draws == close(0.0, 0.0, 5 * std::sqrt(expected / draws)));
  CHECK(squares / draws == close(expected, 0.03));
  layer.quiet(one);
  CHECK(layer.forward(view(t), u, one)(0, 0) == 0);
}

TEST_CASE("noisy: factorised noise, deviations by the layer's inputs, names", "[noisy]") {
  const Noisy model{Net{{4, 3, 2}, relu}, {.deviation = 0.5}};
  Rng rng{5};
  std::vector<double> theta(model.parameter_count());
  model.initialize(theta, rng);
  const std::size_t n = model.inner().parameter_count();
  for (std::size_t i = 0; i < 15; ++i) CHECK(theta[n + i] == 0.25);  // 0.5 / sqrt 4
  for (std::size_t i = 15; i < n; ++i) CHECK(theta[n + i] == close(0.5 / std::sqrt(3.0)));
  const auto blocks = model.parameters("q.");
  REQUIRE(blocks.size() == 8);
  CHECK(blocks[0].name == "q.0.weight_mu");
  CHECK(blocks[7].name == "q.2.bias_sigma");
  std::size_t next = 0;
  for (const auto& block : blocks) {
    CHECK(block.offset == next);
    next += block.size();
  }
  CHECK(next == model.parameter_count());
  CHECK_THROWS_AS((Noisy{Net{{1, 1}, relu}, {.deviation = -1}}), Error);
}
