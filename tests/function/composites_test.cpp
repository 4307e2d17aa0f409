#include "valence/function/composites.hpp"

#include <cmath>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/products.hpp"
#include "valence/function/tabular.hpp"

using namespace valence;
using namespace valence::test;

using Net = Mlp<double>;
static_assert(Approximator<Chain<Net, Net>> && InputDifferentiable<Chain<Net, Net>> && Linearisable<Chain<Net, Net>>);
static_assert(InputDifferentiable<Parallel<Net, Net>> && InputLinearisable<Parallel<Net, Net>>);
static_assert(InputDifferentiable<Chain<Net, Parallel<Net, Chain<Net, Net>>>>);
static_assert(Approximator<Chain<Tabular<>, Net>> && !InputDifferentiable<Chain<Tabular<>, Net>>);
static_assert(Approximator<Parallel<Tabular<>, Tabular<>>> && Approximator<Chain<Linear<Fourier>, Net>>);

namespace {

Matrix<double> random_matrix(Eigen::Index rows, Eigen::Index cols, Rng& rng) {
  Matrix<double> m(rows, cols);
  for (double& x : view(m)) x = rng.normal();
  return m;
}
Outputs<double> outputs(const Matrix<double>& m) { return {m.data(), m.rows(), m.cols()}; }

template <class Model>
void check_derivatives(const Model& model, Rng& rng) {
  const Vector<double> theta = 0.7 * random_matrix(Eigen::Index(model.parameter_count()), 1, rng);
  const Matrix<double> x = random_matrix(model.input_size(), 5, rng), dy = random_matrix(model.output_size(), 5, rng);
  typename Model::Tape tape;
  const auto values = [](const Matrix<double>& m) { return std::vector<double>(m.data(), m.data() + m.size()); };
  const auto of_theta = [&](std::span<const double> t) {
    typename Model::Tape own;
    return values(model.forward(t, x, own));
  };
  const auto of_x = [&](std::span<const double> at) {
    typename Model::Tape own;
    return values(model.forward(view(theta), Outputs<double>(at.data(), x.rows(), x.cols()), own));
  };
  const DifferenceOptions options{.relative = 1e-7, .absolute = 1e-8, .step = 1e-4};
  model.forward(view(theta), x, tape);
  Vector<double> gradient = Vector<double>::Zero(theta.size()), gradient2 = gradient;
  Matrix<double> dx, dx2;
  model.pullback(view(theta), x, tape, outputs(dy), view(gradient));
  model.pullback_input(view(theta), x, tape, outputs(dy), dx);
  model.pullback(view(theta), outputs(x), tape, outputs(dy), view(gradient2), dx2);
  CHECK(pullback_matches(of_theta, view(theta), view(dy), view(gradient), options));
  CHECK(pullback_matches(of_x, view(x), view(dy), view(dx), options));
  CHECK(gradient == gradient2);
  CHECK(dx == dx2);
  const Vector<double> v = random_matrix(theta.size(), 1, rng);
  const Matrix<double> u = random_matrix(x.rows(), x.cols(), rng);
  const Matrix<double> jv = model.pushforward(view(theta), x, tape, view(v));
  CHECK(pushforward_matches(of_theta, view(theta), view(v), view(jv), options));
  const Matrix<double> both = model.pushforward(view(theta), outputs(x), tape, view(v), outputs(u));
  CHECK((dy.array() * both.array()).sum() == close(gradient.dot(v) + (dx.array() * u.array()).sum(), 1e-10, 1e-10));
}

/// J, row by row, from one forward and many pullbacks.
template <class Model>
Matrix<double> jacobian(const Model& model, const Vector<double>& theta, const Matrix<double>& x) {
  typename Model::Tape tape;
  const auto y = model.forward(view(theta), x, tape);
  Matrix<double> j(y.size(), theta.size());
  for (Eigen::Index r = 0; r < j.rows(); ++r) {
    Matrix<double> dy = Matrix<double>::Zero(y.rows(), y.cols());
    dy.data()[r] = 1;
    Vector<double> row = Vector<double>::Zero(theta.size());
    model.pullback(view(theta), x, tape, outputs(dy), view(row));
    j.row(r) = row.transpose();
  }
  return j;
}

}  // namespace

TEST_CASE("Chain and Parallel: gradients through both parts and to the input") {
  Rng rng{31};
  const Net trunk{{3, 7, 5}, Activation::tanh, {.output = gelu}}, actor{{5, 4, 2}, silu}, critic{{5, 1}, relu};
  check_derivatives(Chain{trunk, actor}, rng);
  check_derivatives(Parallel{actor, critic}, rng);
  check_derivatives(Chain{trunk, Parallel{actor, critic}}, rng);
  check_derivatives(Chain{Chain{trunk, actor}, Net{{2, 3}, relu, {.output = Activation::tanh}}}, rng);
}

TEST_CASE("A shared trunk with two heads is its parts on slices of one vector") {
  Rng rng{32};
  const Net trunk{{3, 6}, relu, {.output = relu}}, actor{{6, 2}, relu}, critic{{6, 4, 1}, relu};
  const Chain model{trunk, Parallel{actor, critic}};
  CHECK(model.parameter_count() == trunk.parameter_count() + actor.parameter_count() + critic.parameter_count());
  CHECK(model.output_size() == 3);
  Vector<double> theta(Eigen::Index(model.parameter_count()));
  Rng again = rng;
  model.initialize(view(theta), rng);
  Vector<double> parts(theta.size());
  const auto a = trunk.parameter_count(), b = actor.parameter_count();
  trunk.initialize(view(parts).first(a), again);
  actor.initialize(view(parts).subspan(a, b), again);
  critic.initialize(view(parts).subspan(a + b), again);
  CHECK(theta == parts);
  const Matrix<double> x = random_matrix(3, 9, rng);
  Chain<Net, Parallel<Net, Net>>::Tape tape;
  Net::Tape t1, t2, t3;
  const Matrix<double> y = model.forward(view(theta), x, tape);
  const std::span<const double> t = view(std::as_const(theta));
  const Matrix<double> h = trunk.forward(t.first(a), x, t1);
  CHECK(y.topRows(2) == Matrix<double>(actor.forward(t.subspan(a, b), h, t2)));
  CHECK(y.bottomRows(1) == Matrix<double>(critic.forward(t.subspan(a + b), h, t3)));
  const auto blocks = model.parameters("policy.");
  std::size_t offset = 0;
  for (const auto& block : blocks) {
    CHECK(block.offset == offset);
    offset += block.size();
  }
  CHECK(offset == model.parameter_count());
  CHECK(blocks.front().name == "policy.first.0.weight");
  CHECK(blocks.back().name == "policy.second.second.2.bias");
}

TEST_CASE("A table before a network is an embedding: its gradient goes to the visited columns") {
  Rng rng{33};
  const Chain model{Tabular{5, 3}, Net{{3, 4, 2}, Activation::tanh}};
  const Vector<double> theta = random_matrix(Eigen::Index(model.parameter_count()), 1, rng);
  const std::vector<int> states{4, 1, 4};
  const std::span<const int> x(states);
  const Matrix<double> dy = random_matrix(2, 3, rng);
  Chain<Tabular<>, Net>::Tape tape;
  const auto of_theta = [&](std::span<const double> t) {
    Chain<Tabular<>, Net>::Tape own;
    const Matrix<double> y = model.forward(t, x, own);
    return std::vector<double>(y.data(), y.data() + y.size());
  };
  model.forward(view(theta), x, tape);
  Vector<double> gradient = Vector<double>::Zero(theta.size());
  model.pullback(view(theta), x, tape, outputs(dy), view(gradient));
  CHECK(pullback_matches(of_theta, view(theta), view(dy), view(gradient), {.relative = 1e-7, .absolute = 1e-9}));
  CHECK(gradient.head(3).isZero(0));
  const Vector<double> v = random_matrix(theta.size(), 1, rng);
  const Matrix<double> jv = model.pushforward(view(theta), x, tape, view(v));
  CHECK((dy.array() * jv.array()).sum() == close(gradient.dot(v), 1e-12));
}

TEST_CASE("Composites refuse parts that don't fit, and bad sizes, before anything changes") {
  const Net trunk{{3, 6}, relu}, head{{5, 2}, relu}, good{{6, 2}, relu};
  CHECK(says(message_of([&] { Chain{trunk, head}; }), "Chain", "6 outputs", "5 inputs"));
  CHECK(says(message_of([&] { Parallel{trunk, head}; }), "Parallel", "3 and 5 inputs"));
  const Chain model{trunk, good};
  Vector<double> theta = Vector<double>::Zero(Eigen::Index(model.parameter_count())),
                 g = Vector<double>::Ones(theta.size());
  const Matrix<double> x = Matrix<double>::Ones(3, 4), dy = Matrix<double>::Ones(2, 4),
                       wrong = Matrix<double>::Ones(2, 5);
  Chain<Net, Net>::Tape tape;
  CHECK(says(message_of([&] { model.pullback(view(theta), x, tape, outputs(dy), view(g)); }), "no forward"));
  model.forward(view(theta), x, tape);
  CHECK(says(message_of([&] { model.pullback(view(theta), x, tape, outputs(wrong), view(g)); }), "dy is 2 x 5"));
  CHECK(
      says(message_of([&] { model.pullback(view(theta), x, tape, outputs(dy), view(g).first(3)); }), "gradient has 3"));
  CHECK(says(message_of([&] { model.forward(view(theta).first(3), x, tape); }), "theta has 3"));
  CHECK(says(message_of([&] { model.pullback(view(theta), wrong, tape, outputs(dy), view(g)); }), "2 x 5"));
  CHECK((g.array() == 1).all());
}

TEST_CASE("Composites allocate nothing in steady state") {
  Rng rng{34};
  const Chain model{Mlp<float>{{3, 20, 16}, relu, {.output = relu}},
                    Parallel{Mlp<float>{{16, 2}, relu}, Mlp<float>{{16, 1}, relu}}};
  Vector<float> theta(Eigen::Index(model.parameter_count())), g = Vector<float>::Zero(theta.size());
  model.initialize(view(theta), rng);
  const Matrix<float> x = Matrix<float>::Ones(3, 33), dy = Matrix<float>::Ones(3, 33);
  Matrix<float> dx(3, 33);
  decltype(model)::Tape tape;
  const auto step = [&] {
    model.forward(view(theta), x, tape);
    model.pullback(view(theta), x, tape, Outputs<float>(dy.data(), 3, 33), view(g));
    model.pullback_input(view(theta), x, tape, Outputs<float>(dy.data(), 3, 33), dx);
  };
  step();
  Allocations allocations;
  step();
  CHECK(allocations.count() == 0);
}

TEST_CASE("The Gauss-Newton product is J' H J v") {
  Rng rng{35};
  const Net net{{3, 6, 2}, Activation::tanh, {.layer_norm = true}};
  const Vector<double> theta = random_matrix(Eigen::Index(net.parameter_count()), 1, rng),
                       v = random_matrix(theta.size(), 1, rng);
  const Matrix<double> x = random_matrix(3, 4, rng);
  const Matrix<double> j = jacobian(net, theta, x);
  Net::Tape tape;
  Matrix<double> workspace;
  const auto y = net.forward(view(theta), x, tape);
  Vector<double> out = Vector<double>::Ones(theta.size());
  gauss_newton_product(net, view(theta), x, tape, view(v), view(out), workspace);
  const Vector<double> plain = j.transpose() * (j * v);
  CHECK((out - plain - Vector<double>::Ones(theta.size())).norm() <= 1e-12 * plain.norm());
  // H = diag(p) - p p' of a softmax, for each sample.
  const auto softmax = [](const auto& at) {
    const double a = 1 / (1 + std::exp(at[1] - at[0]));
    return Vector<double>((Vector<double>(2) << a, 1 - a).finished());
  };
  Matrix<double> h = Matrix<double>::Zero(8, 8);
  for (int s = 0; s < 4; ++s) {
    const Vector<double> p = softmax(y.col(s));
    h.block(2 * s, 2 * s, 2, 2) = Matrix<double>(p.asDiagonal()) - p * p.transpose();
  }
  out.setZero();
  gauss_newton_product(
      net, view(theta), x, tape, y, view(v), view(out),
      [&](const auto& at, Matrix<double>& u) {
        for (Eigen::Index s = 0; s < u.cols(); ++s) {
          const Vector<double> p = softmax(at.col(s));
          const double mean = p.dot(u.col(s));
          u.col(s) = (p.array() * (u.col(s).array() - mean)).matrix().eval();
        }
      },
      workspace);
  const Vector<double> weighted = j.transpose() * (h * (j * v));
  CHECK((out - weighted).norm() <= 1e-12 * weighted.norm());
}

TEST_CASE("The Hessian product is the derivative of the gradient, exactly") {
  const Activation hidden = GENERATE(Activation::tanh, Activation::gelu, Activation::silu, Activation::identity);
  const bool layer_norm = GENERATE(false, true);
  CAPTURE(name(hidden), layer_norm);
  Rng rng{36};
  const Net net{{3, 5, 4, 2}, hidden, {.layer_norm = layer_norm, .output = Activation::tanh}};
  const Vector<double> theta = random_matrix(Eigen::Index(net.parameter_count()), 1, rng),
                       v = random_matrix(theta.size(), 1, rng);
  const Matrix<double> x = random_matrix(3, 4, rng);
  // L = sum of y^4 / 4
  const auto loss_gradient = [](const auto& y, auto& dy) {
    for (Eigen::Index i = 0; i < y.size(); ++i) dy.data()[i] = y.data()[i] * y.data()[i] * y.data()[i];
  };
  const auto gradient = [&](std::span<const double> t) {
    Net::Tape tape;
    const auto y = net.forward(t, x, tape);
    Matrix<double> dy(2, 4);
    loss_gradient(y, dy);
    std::vector<double> g(t.size(), 0.0);
    net.pullback(t, x, tape, outputs(dy), g);
    return g;
  };
  Vector<double> product = Vector<double>::Zero(theta.size()), other = product;
  hessian_vector_product(net, view(theta), x, view(v), view(product), loss_gradient);
  CHECK(pushforward_matches(gradient, view(theta), view(v), view(product),
                            {.relative = 1e-6, .absolute = 1e-7, .step = 1e-4}));
  // Symmetry, to rounding: u' H v = v' H u.
  const Vector<double> u = random_matrix(theta.size(), 1, rng);
  hessian_vector_product(net, view(theta), x, view(u), view(other), loss_gradient);
  CHECK(u.dot(product) == close(v.dot(other), 1e-11, 1e-11));
  // The duals' values are the plain network's.
  const auto over = net.rebind<Dual<double>>();
  Vector<Dual<double>> dual(theta.size());
  Matrix<Dual<double>> dual_x(3, 4);
  for (Eigen::Index i = 0; i < theta.size(); ++i) dual[i] = Dual<double>(theta[i], v[i]);
  for (Eigen::Index i = 0; i < x.size(); ++i) dual_x.data()[i] = x.data()[i];
  decltype(over)::Tape tape;
  Net::Tape plain;
  const auto y = over.forward(view(std::as_const(dual)), dual_x, tape);
  const Matrix<double> expected = net.forward(view(theta), x, plain),
                       along = net.pushforward(view(theta), x, plain, view(v));
  for (Eigen::Index i = 0; i < y.size(); ++i) {
    CHECK(y.data()[i].value == close(expected.data()[i], 1e-13, 1e-14));
    CHECK(y.data()[i].tangent == close(along.data()[i], 1e-11, 1e-12));
  }
}

TEST_CASE("Hessian products go through composites too") {
  Rng rng{37};
  const Chain model{Net{{2, 4, 3}, gelu}, Parallel{Net{{3, 2}, relu}, Net{{3, 3, 1}, Activation::tanh}}};
  const Vector<double> theta = random_matrix(Eigen::Index(model.parameter_count()), 1, rng),
                       v = random_matrix(theta.size(), 1, rng);
  const Matrix<double> x = random_matrix(2, 3, rng);
  Vector<double> product = Vector<double>::Zero(theta.size());
  hessian_vector_product(model, view(theta), x, view(v), view(product), [](const auto& y, auto& dy) { dy = y; });
  const auto gradient = [&](std::span<const double> t) {
    decltype(model)::Tape tape;
    const auto y = model.forward(t, x, tape);
    std::vector<double> g(t.size(), 0.0);
    model.pullback(t, x, tape, y, g);
    return g;
  };
  CHECK(pushforward_matches(gradient, view(theta), view(v), view(product),
                            {.relative = 1e-6, .absolute = 1e-7, .step = 1e-4}));
}

TEST_CASE("Dual numbers differentiate the elementary functions") {
  const auto check = [](auto f, double at, double derivative) {
    const Dual<double> y = f(Dual<double>(at, 2.0));
    CHECK(y.value == close(double(f(Dual<double>(at)).value), 0));
    CHECK(y.tangent == close(2 * derivative, 1e-13));
  };
  check([](auto x) { return exp(x); }, 0.3, std::exp(0.3));
  check([](auto x) { return log(x); }, 0.3, 1 / 0.3);
  check([](auto x) { return log1p(x); }, 0.3, 1 / 1.3);
  check([](auto x) { return expm1(x); }, 0.3, std::exp(0.3));
  check([](auto x) { return sqrt(x); }, 0.3, 0.5 / std::sqrt(0.3));
  check([](auto x) { return tanh(x); }, 0.3, 1 - std::tanh(0.3) * std::tanh(0.3));
  check([](auto x) { return sin(x); }, 0.3, std::cos(0.3));
  check([](auto x) { return cos(x); }, 0.3, -std::sin(0.3));
  check([](auto x) { return erf(x); }, 0.3, 2 / std::sqrt(M_PI) * std::exp(-0.09));
  check([](auto x) { return erfc(x); }, 0.3, -2 / std::sqrt(M_PI) * std::exp(-0.09));
  check([](auto x) { return abs(x); }, -0.3, -1);
  check([](auto x) { return x * x / (1 + x) - 3 * x; }, 0.5, (2 * 0.5 * 1.5 - 0.25) / 2.25 - 3);
  // Second derivatives: duals of duals.
  using Twice = Dual<Dual<double>>;
  const Twice x({0.3, 1.0}, {1.0, 0.0});
  CHECK(tanh(x).tangent.tangent == close(-2 * std::tanh(0.3) * (1 - std::tanh(0.3) * std::tanh(0.3)), 1e-14));
}
