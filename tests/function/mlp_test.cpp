#include "valence/function/mlp.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/concepts.hpp"

using namespace valence;
using namespace valence::test;

static_assert(Approximator<Mlp<float>> && InputDifferentiable<Mlp<float>> && Linearisable<Mlp<float>> &&
              !Local<Mlp<float>>);
static_assert(Approximator<Mlp<double>> && InputDifferentiable<Mlp<double>> && Linearisable<Mlp<double>>);
static_assert(Approximator<StaticMlp<float, 4, 64, 2>> && InputDifferentiable<StaticMlp<float, 4, 64, 2>>);

namespace {

constexpr Activation every_activation[] = {Activation::identity, Activation::relu, Activation::tanh, Activation::gelu,
                                           Activation::silu};

template <class S>
Matrix<S> random_matrix(Eigen::Index rows, Eigen::Index cols, Rng& rng) {
  Matrix<S> m(rows, cols);
  for (Eigen::Index i = 0; i < m.size(); ++i) m.data()[i] = S(rng.normal());
  return m;
}
template <class S>
Outputs<S> outputs(const Matrix<S>& m) {
  return {m.data(), m.rows(), m.cols()};
}
/// Parameters with nothing special about them: biases, scales and shifts too.
template <class Model>
Vector<typename Model::Scalar> random_theta(const Model& model, Rng& rng) {
  using S = typename Model::Scalar;
  Vector<S> theta(static_cast<Eigen::Index>(model.parameter_count()));
  model.initialize(view(theta), rng);
  for (S& x : view(theta)) x += S(0.3 * rng.normal());
  return theta;
}
std::vector<double> to_vector(const Matrix<double>& m) { return {m.data(), m.data() + m.size()}; }

/// All derivatives of one network at one random point against differences, and against each other.
template <class Model>
void check_derivatives(const Model& model, Eigen::Index samples, Rng& rng, const DifferenceOptions& options) {
  const Vector<double> theta = random_theta(model, rng);
  const Matrix<double> x = random_matrix<double>(model.input_size(), samples, rng);
  const Matrix<double> dy = random_matrix<double>(model.output_size(), samples, rng);
  typename Model::Tape tape;
  const auto of_theta = [&](std::span<const double> t) {
    typename Model::Tape own;
    return to_vector(model.forward(t, x, own));
  };
  const auto of_x = [&](std::span<const double> v) {
    typename Model::Tape own;
    return to_vector(model.forward(view(theta), Outputs<double>(v.data(), x.rows(), x.cols()), own));
  };

  model.forward(view(theta), x, tape);
  Vector<double> gradient = Vector<double>::Zero(theta.size());
  model.pullback(view(theta), x, tape, outputs(dy), view(gradient));
  CHECK(pullback_matches(of_theta, view(theta), view(dy), view(gradient), options));

  Matrix<double> dx;
  model.pullback_input(view(theta), x, tape, outputs(dy), dx);
  CHECK(pullback_matches(of_x, view(x), view(dy), view(dx), options));

  // Both at once: the same bits.
  Vector<double> gradient2 = Vector<double>::Zero(theta.size());
  Matrix<double> dx2;
  model.pullback(view(theta), outputs(x), tape, outputs(dy), view(gradient2), dx2);
  CHECK(gradient2 == gradient);
  CHECK(dx2 == dx);

  const Vector<double> v = random_matrix<double>(theta.size(), 1, rng);
  const Matrix<double> u = random_matrix<double>(x.rows(), x.cols(), rng);
  const Matrix<double> jv = model.pushforward(view(theta), x, tape, view(v));
  CHECK(pushforward_matches(of_theta, view(theta), view(v), view(jv), options));
  // <dy, J v> = <J' dy, v>
  CHECK((dy.array() * jv.array()).sum() == close(gradient.dot(v), 1e-11, 1e-11));
  const Matrix<double> both = model.pushforward(view(theta), outputs(x), tape, view(v), outputs(u));
  CHECK((dy.array() * both.array()).sum() == close(gradient.dot(v) + (dx.array() * u.array()).sum(), 1e-11, 1e-11));

  // The tape is as good as new after all that, and pullback adds.
  model.pullback(view(theta), x, tape, outputs(dy), view(gradient2));
  CHECK((gradient2 - 2 * gradient).norm() <= 1e-12 * gradient.norm());
}

}  // namespace

TEST_CASE("Mlp: gradients of parameters and inputs are right for every activation, layer norm and size") {
  const bool layer_norm = GENERATE(false, true);
  const Activation hidden = GENERATE(from_range(std::begin(every_activation), std::end(every_activation)));
  const std::vector<int> sizes =
      GENERATE(std::vector<int>{3, 5, 2}, std::vector<int>{2, 3, 5, 1}, std::vector<int>{5, 16, 7, 19},
               std::vector<int>{4, 2}, std::vector<int>{16, 8, 24});
  CAPTURE(name(hidden), layer_norm, sizes);
  Rng rng{11};
  // Piecewise linear functions need steps that stay on one piece.
  const DifferenceOptions options = hidden == Activation::relu
                                        ? DifferenceOptions{.relative = 1e-7, .absolute = 1e-8, .step = 1e-6}
                                        : DifferenceOptions{.relative = 1e-7, .absolute = 1e-8, .step = 1e-4};
  check_derivatives(Mlp<double>{sizes, hidden, {.layer_norm = layer_norm}}, 3, rng, options);
}

TEST_CASE("Mlp: gradients are right for every activation of the output") {
  const Activation output = GENERATE(from_range(std::begin(every_activation), std::end(every_activation)));
  const std::vector<int> sizes =
      GENERATE(std::vector<int>{3, 5, 2}, std::vector<int>{2, 5, 16}, std::vector<int>{3, 1});
  CAPTURE(name(output), sizes);
  Rng rng{12};
  check_derivatives(Mlp<double>{sizes, Activation::tanh, {.output = output}}, 4, rng,
                    {.relative = 1e-7, .absolute = 1e-8, .step = 1e-5});
}

TEST_CASE("Mlp: gradients are right over several blocks of samples") {
  Rng rng{13};
  check_derivatives(Mlp<double>{{2, 3, 2}, Activation::gelu, {.layer_norm = true}}, 261, rng,
                    {.relative = 1e-7, .absolute = 1e-7, .step = 1e-4});
  check_derivatives(Mlp<double>{{2, 9, 11}, Activation::silu}, 261, rng,
                    {.relative = 1e-7, .absolute = 1e-7, .step = 1e-4});
}

TEST_CASE("Mlp computes what the formula says") {
  // One sample by hand through {2, 2, 1}: theta = W1 (columns), b1, W2, b2.
  const Mlp<double> net{{2, 2, 1}, relu};
  const std::vector<double> theta{1, -2, 0.5, 3, 0.25, -1, 2, -4, 0.125};
  Matrix<double> x(2, 1);
  x << 2, -1;
  Mlp<double>::Tape tape;
  // z = (1*2 + 0.5*-1 + 0.25, -2*2 + 3*-1 - 1) = (1.75, -8) -> relu (1.75, 0); y = 2 * 1.75 + 0.125
  CHECK(net.forward(theta, x, tape)(0, 0) == 3.625);

  const Mlp<double> normed{{2, 2, 1}, Activation::identity, {.layer_norm = true, .output = Activation::tanh}};
  const std::vector<double> phi{1, -2, 0.5, 3, 0.25, -1, /*scale*/ 0.5, 2, /*shift*/ 0.1, -0.1, 0.3, 0.2, 0.125};
  // mean (1.75 - 8)/2, half difference 4.875: z = +-4.875 / sqrt(4.875^2 + 1e-5)
  const double z = 4.875 / std::sqrt(4.875 * 4.875 + 1e-5);
  CHECK(normed.forward(phi, x, tape)(0, 0) ==
        close(std::tanh(0.3 * (0.5 * z + 0.1) + 0.2 * (-2 * z - 0.1) + 0.125), 1e-14));
}

// Outputs, input gradients and a projection of the parameter gradient of torch.nn.Sequential (PyTorch 2.15, float64)
// with the same parameters, placed by the names and shapes that `parameters()` gives. The same numbers hold for
// portable and native builds.
TEST_CASE("Mlp is PyTorch's network: outputs and gradients to 1e-12, in double; to 1e-4 in float") {
  const auto check = [](Activation hidden, MlpOptions options, const std::vector<double>& y, double projection,
                        const std::vector<double>& dx) {
    CAPTURE(name(hidden), name(options.output));
    const auto run = [&]<class S>(S, double tolerance) {
      const Mlp<S> net{{3, 33, 17, 2}, hidden, options};
      Vector<S> theta(Eigen::Index(net.parameter_count())), gradient = Vector<S>::Zero(theta.size());
      for (const ParameterBlock& block : net.parameters())
        for (std::size_t i = block.offset; i < block.offset + block.size(); ++i) {
          const bool scale = options.layer_norm && block.shape.size() == 1 && block.name.ends_with("weight");
          theta[Eigen::Index(i)] = S(0.4 * std::sin(0.7 * double(i)) + (scale ? 1 : 0));
        }
      Matrix<S> x(3, 2), dy(2, 2), got_dx;
      for (Eigen::Index i = 0; i < 6; ++i) x.data()[i] = S(std::cos(1.1 * double(i)));
      dy << S(1), S(0.25), S(-0.5), S(2);
      typename Mlp<S>::Tape tape;
      const Matrix<S> got = net.forward(view(theta), x, tape);
      net.pullback(view(theta), x, tape, outputs(dy), view(gradient));
      net.pullback_input(view(theta), x, tape, outputs(dy), got_dx);
      double got_projection = 0;
      for (Eigen::Index i = 0; i < gradient.size(); ++i)
        got_projection += double(gradient[i]) * std::cos(0.3 * double(i));
      for (Eigen::Index i = 0; i < 4; ++i)
        CHECK(double(got.data()[i]) == close(y[std::size_t(i)], tolerance, tolerance));
      for (Eigen::Index i = 0; i < 6; ++i)
        CHECK(double(got_dx.data()[i]) == close(dx[std::size_t(i)], tolerance, tolerance));
      CHECK(got_projection == close(projection, tolerance, tolerance));
    };
    run(double{}, 1e-12);
    run(float{}, 1e-4);
  };
  check(relu, {.layer_norm = false, .output = Activation::identity},
        {-1.50765018367611, -2.26327725259893, -0.769401561190636, -0.0375276165125305}, -5.46435981657006,
        {0.323702450101446, -0.795624275683231, 0.38550111746412, 2.87142273051863, -2.77779835003073,
         -0.395348834799694});
  check(gelu, {.layer_norm = true, .output = Activation::tanh},
        {0.516955830809791, 0.655843507881604, 0.912613818603216, 0.895795112020651}, -1.44211800809178,
        {-0.128961243098672, 0.413870427927729, -0.239954579315341, -0.199068723326263, 0.139985342896284,
         0.0742885882509727});
  check(silu, {.layer_norm = false, .output = silu},
        {-0.266747430245552, -0.223539479885422, -0.23442391681025, -0.0491443339450599}, 0.50704287193411,
        {-0.0401600568407873, 0.0659747294187553, -0.0186484975271326, 0.962612829380664, -0.736202308095956,
         -0.30637681533585});
  check(Activation::tanh, {.layer_norm = true, .output = gelu},
        {0.279095881837774, 0.454045019203481, 0.0586466677878084, 0.198196040645626}, -9.23209701785529,
        {-0.0417847732661871, 0.134098384948661, -0.0777478452285193, 0.739956232593177, -0.520335279248682,
         -0.27613977091408});
}

TEST_CASE("Activations agree with their definitions, also far out, and keep NaN") {
  const auto phi = [](double z) { return std::erfc(-z / std::sqrt(2.0)) / 2; };
  for (const double z : {-700.0, -30.0, -5.0, -1.0, -1e-3, -0.0, 0.0, 1e-8, 0.3, 1.0, 4.0, 40.0, 700.0}) {
    CAPTURE(z);
    CHECK(activate(Activation::relu, z) == (z > 0 ? z : 0.0));
    CHECK(activate(Activation::identity, z) == z);
    CHECK(activate(Activation::tanh, z) == close(std::tanh(z), 1e-15));
    CHECK(activate(Activation::gelu, z) == close(z * phi(z), 1e-13));
    CHECK(activate(Activation::silu, z) == close(z / (1 + std::exp(-z)), 1e-14));
    for (const Activation a : every_activation) {
      CHECK(std::isnan(activate(a, std::nan(""))));
      const float f = activate(a, static_cast<float>(z));
      CHECK(static_cast<double>(f) == close(activate(a, z), 2e-6, 1e-37));
      CHECK(std::isfinite(activation_slope(a, z)));
    }
  }
  CHECK(activation_slope(relu, 0.0) == 0);
}

TEST_CASE("Mlp: a sample's outputs are the same bits in every batch") {
  const Activation hidden = GENERATE(from_range(std::begin(every_activation), std::end(every_activation)));
  const bool layer_norm = GENERATE(false, true);
  const auto run = [&]<class S>(S) {
    for (const auto& sizes : {std::vector<int>{3, 64, 33, 1}, std::vector<int>{5, 7, 2}, std::vector<int>{4, 32, 20}}) {
      const Mlp<S> net{sizes, hidden, {.layer_norm = layer_norm}};
      Rng rng{5};
      const auto theta = random_theta(net, rng);
      const Matrix<S> x = random_matrix<S>(sizes.front(), 143, rng);
      typename Mlp<S>::Tape tape, single;
      const Matrix<S> all = net.forward(view(theta), x, tape);
      bool same = true;
      for (Eigen::Index j = 0; j < x.cols(); ++j) {
        const Matrix<S> one = x.col(j);
        const Matrix<S> y = net.forward(view(theta), one, single);
        same = same && std::memcmp(y.data(), all.col(j).data(), sizeof(S) * static_cast<std::size_t>(y.size())) == 0;
      }
      CHECK(same);
    }
  };
  run(float{});
  run(double{});
}

TEST_CASE("Mlp: a batch's gradient is the sum over its samples") {
  Rng rng{6};
  const Mlp<double> net{{3, 64, 33, 2}, relu};
  const auto theta = random_theta(net, rng);
  const Matrix<double> x = random_matrix<double>(3, 150, rng), dy = random_matrix<double>(2, 150, rng);
  Mlp<double>::Tape tape;
  Vector<double> together = Vector<double>::Zero(theta.size()), apart = together;
  net.forward(view(theta), x, tape);
  net.pullback(view(theta), x, tape, outputs(dy), view(together));
  for (Eigen::Index j = 0; j < x.cols(); ++j) {
    const Matrix<double> xj = x.col(j), dyj = dy.col(j);
    net.forward(view(theta), xj, tape);
    net.pullback(view(theta), xj, tape, outputs(dyj), view(apart));
  }
  CHECK((together - apart).norm() <= 1e-13 * apart.norm());
}

TEST_CASE("Mlp: float and double agree") {
  const Activation hidden = GENERATE(from_range(std::begin(every_activation), std::end(every_activation)));
  const bool layer_norm = GENERATE(false, true);
  CAPTURE(name(hidden), layer_norm);
  const std::vector<int> sizes{3, 40, 24, 2};
  const Mlp<double> exact{sizes, hidden, {.layer_norm = layer_norm}};
  const Mlp<float> net = exact.rebind<float>();
  Rng rng{7};
  const auto theta = random_theta(exact, rng);
  const Matrix<double> x = random_matrix<double>(3, 20, rng), dy = random_matrix<double>(2, 20, rng);
  const Vector<float> theta_f = theta.cast<float>();
  const Matrix<float> x_f = x.cast<float>(), dy_f = dy.cast<float>();
  Mlp<double>::Tape tape;
  Mlp<float>::Tape tape_f;
  const Matrix<double> y = exact.forward(view(theta), x, tape);
  const Matrix<float> y_f = net.forward(view(theta_f), x_f, tape_f);
  CHECK((y_f.cast<double>() - y).norm() <= 1e-5 * y.norm());
  Vector<double> g = Vector<double>::Zero(theta.size());
  Vector<float> g_f = Vector<float>::Zero(theta.size());
  exact.pullback(view(theta), x, tape, outputs(dy), view(g));
  net.pullback(view(theta_f), x_f, tape_f, outputs(dy_f), view(g_f));
  CHECK((g_f.cast<double>() - g).norm() <= 1e-5 * g.norm());
}

TEST_CASE("StaticMlp and Mlp give the same bits") {
  constexpr StaticMlp<float, 4, 64, 33, 2> fixed{silu, {.layer_norm = true, .output = Activation::tanh}};
  static_assert(fixed.parameter_count() == 4 * 64 + 3 * 64 + 64 * 33 + 3 * 33 + 33 * 2 + 2);
  static_assert(fixed.output_size() == 2 && fixed.input_size() == 4);
  const Mlp<float> free{{4, 64, 33, 2}, silu, {.layer_norm = true, .output = Activation::tanh}};
  CHECK(free.parameter_count() == fixed.parameter_count());
  Rng a{3}, b{3};
  const auto theta = random_theta(fixed, a), theta2 = random_theta(free, b);
  CHECK(theta == theta2);
  const Matrix<float> x = random_matrix<float>(4, 37, a), dy = random_matrix<float>(2, 37, a);
  StaticMlp<float, 4, 64, 33, 2>::Tape t1;
  Mlp<float>::Tape t2;
  CHECK(Matrix<float>(fixed.forward(view(theta), x, t1)) == Matrix<float>(free.forward(view(theta), x, t2)));
  Vector<float> g1 = Vector<float>::Zero(theta.size()), g2 = g1;
  fixed.pullback(view(theta), x, t1, outputs(dy), view(g1));
  free.pullback(view(theta), x, t2, outputs(dy), view(g2));
  CHECK(g1 == g2);
}

TEST_CASE("Mlp: bad input throws before anything changes") {
  CHECK(says(message_of([] { Mlp<float>{{4}, relu}; }), "Mlp", "1 entries", "at least 2"));
  CHECK(says(message_of([] { Mlp<float>{{4, 0, 2}, relu}; }), "sizes[1] is 0"));
  const Mlp<double> net{{3, 4, 2}, relu};
  Rng rng{1};
  auto theta = random_theta(net, rng);
  const Matrix<double> x = random_matrix<double>(3, 5, rng), narrow = random_matrix<double>(2, 5, rng);
  Matrix<double> dy = random_matrix<double>(2, 5, rng), wrong = random_matrix<double>(2, 4, rng);
  Mlp<double>::Tape tape;
  Vector<double> g = Vector<double>::Constant(theta.size(), 7), short_g(3);
  const Vector<double> before = g;
  Matrix<double> dx;
  const std::span<const double> few = view(std::as_const(theta)).first(5);
  CHECK(says(message_of([&] { net.pullback(view(theta), x, tape, outputs(dy), view(g)); }), "tape", "-1 samples",
             "5 samples"));
  net.forward(view(theta), x, tape);
  CHECK(says(message_of([&] { net.forward(few, x, tape); }), "theta has 5", "expected 26"));
  CHECK(says(message_of([&] { net.forward(view(theta), narrow, tape); }), "x is 2 x 5", "expected 3 x 5"));
  CHECK(says(message_of([&] { net.pullback(view(theta), x, tape, outputs(wrong), view(g)); }), "dy is 2 x 4"));
  CHECK(says(message_of([&] { net.pullback(few, x, tape, outputs(dy), view(g)); }), "theta has 5"));
  CHECK(says(message_of([&] { net.pullback(view(theta), x, tape, outputs(dy), view(short_g)); }), "gradient has 3"));
  CHECK(says(message_of([&] { net.pullback(view(theta), x, tape, outputs(dy), view(theta)); }),
             "gradient overlaps theta"));
  CHECK(says(message_of([&] { net.pullback_input(view(theta), x, tape, outputs(wrong), dx); }), "dy is 2 x 4"));
  CHECK(says(message_of([&] { net.pushforward(view(theta), x, tape, few); }), "v has 5"));
  CHECK(says(message_of([&] { net.initialize(view(short_g), rng); }), "theta has 3"));
  CHECK(g == before);
  CHECK(dx.size() == 0);
  // The failed forward with a wrong shape left the tape of the good one alone.
  net.pullback(view(theta), x, tape, outputs(dy), view(g));
  CHECK(g != before);
}

TEST_CASE("Mlp: outputs may be the cotangent, dx may be x, and a tape may be reused", "[C7]") {
  const Mlp<double> net{{3, 17, 2}, gelu, {.output = silu}};
  Rng rng{9};
  const auto theta = random_theta(net, rng);
  const Matrix<double> x = random_matrix<double>(3, 140, rng);
  Mlp<double>::Tape tape, fresh;
  const auto y = net.forward(view(theta), x, tape);
  const Matrix<double> dy = y;
  Vector<double> g1 = Vector<double>::Zero(theta.size()), g2 = g1;
  net.pullback(view(theta), x, tape, y, view(g1));  // dy lives in the tape: L = |y|^2 / 2
  CHECK(Matrix<double>(y) == dy);
  net.pullback(view(theta), x, tape, outputs(dy), view(g2));
  CHECK(g1 == g2);
  Matrix<double> apart, in_place = x;
  net.pullback_input(view(theta), x, tape, outputs(dy), apart);
  net.pullback_input(view(theta), in_place, tape, outputs(dy), in_place);
  CHECK(in_place == apart);
  Matrix<double> same = x;
  CHECK(says(message_of([&] { net.pullback(view(theta), outputs(same), tape, outputs(dy), view(g1), same); }),
             "dx is x"));
  // A larger batch, then a smaller one, then another network: as on a fresh tape.
  const Matrix<double> less = x.leftCols(3);
  const Matrix<double> again = net.forward(view(theta), less, tape);
  CHECK(again == Matrix<double>(net.forward(view(theta), less, fresh)));
  const Mlp<double> other{{3, 40, 40, 5}, relu};
  const auto phi = random_theta(other, rng);
  CHECK(Matrix<double>(other.forward(view(phi), x, tape)) == Matrix<double>(other.forward(view(phi), x, fresh)));
  CHECK(says(message_of([&] { net.pullback(view(theta), x, tape, outputs(dy), view(g1)); }),
             "the tape holds the forward of a network"));
  const Matrix<double> none(3, 0);
  CHECK(net.forward(view(theta), none, tape).cols() == 0);
}

TEST_CASE("Mlp is const and may be used by several threads, each with its own tape") {
  const Mlp<float> net{{4, 64, 64, 2}, Activation::tanh};
  Rng rng{4};
  const auto theta = random_theta(net, rng);
  const Matrix<float> x = random_matrix<float>(4, 100, rng), dy = random_matrix<float>(2, 100, rng);
  const auto gradient = [&] {
    Mlp<float>::Tape tape;
    Vector<float> g = Vector<float>::Zero(theta.size());
    net.forward(view(theta), x, tape);
    net.pullback(view(theta), x, tape, outputs(dy), view(g));
    return g;
  };
  const Vector<float> expected = gradient();
  std::array<Vector<float>, 4> results;
  {
    std::vector<std::thread> threads;
    for (auto& r : results) threads.emplace_back([&] { r = gradient(); });
    for (auto& t : threads) t.join();
  }
  for (const auto& r : results) CHECK(r == expected);
}

TEST_CASE("Mlp: NaN in an input comes out as NaN, at its sample only", "[N4][N6]") {
  const Activation hidden = GENERATE(from_range(std::begin(every_activation), std::end(every_activation)));
  const bool layer_norm = GENERATE(false, true);
  const Mlp<float> net{{3, 20, 2}, hidden, {.layer_norm = layer_norm}};
  Rng rng{2};
  const auto theta = random_theta(net, rng);
  Matrix<float> x = random_matrix<float>(3, 17, rng);
  x(1, 5) = std::nanf("");
  Mlp<float>::Tape tape;
  const Matrix<float> y = net.forward(view(theta), x, tape);
  for (Eigen::Index j = 0; j < y.cols(); ++j) CHECK(y.col(j).array().isNaN().all() == (j == 5));
  // And a tape that has seen it is clean afterwards: padding and scratch carry nothing over.
  x(1, 5) = 0;
  const Matrix<float> dy = random_matrix<float>(2, 17, rng);
  CHECK(!Matrix<float>(net.forward(view(theta), x, tape)).array().isNaN().any());
  Vector<float> g = Vector<float>::Zero(theta.size());
  net.pullback(view(theta), x, tape, outputs(dy), view(g));
  CHECK(!g.array().isNaN().any());
}

TEST_CASE("Mlp: a training step in steady state allocates nothing") {
  const bool layer_norm = GENERATE(false, true);
  const auto run = [&](const auto& net) {
    using Model = std::remove_cvref_t<decltype(net)>;
    Rng rng{8};
    const auto theta = random_theta(net, rng);
    const Matrix<float> x = random_matrix<float>(4, 300, rng), dy = random_matrix<float>(net.output_size(), 300, rng);
    const Matrix<float> few = x.leftCols(1), dfew = dy.leftCols(1);
    Matrix<float> dx(4, 300);
    Vector<float> g = Vector<float>::Zero(theta.size());
    typename Model::Tape tape;
    const auto step = [&] {
      net.forward(view(theta), few, tape);
      net.pullback(view(theta), few, tape, outputs(dfew), view(g));
      net.forward(view(theta), x, tape);
      net.pullback(view(theta), x, tape, outputs(dy), view(g));
      net.pullback_input(view(theta), x, tape, outputs(dy), dx);
      net.pushforward(view(theta), x, tape, view(theta));
    };
    step();
    Allocations allocations;
    step();
    CHECK(allocations.count() == 0);
  };
  run(Mlp<float>{{4, 64, 50, 2}, gelu, {.layer_norm = layer_norm}});
  run(StaticMlp<float, 4, 64, 64, 19>{relu, {.layer_norm = layer_norm, .output = silu}});
}

TEST_CASE("Mlp: initialisations have the statistics that they promise") {
  Rng rng{21};
  const auto weights = [&](const std::vector<int>& sizes, MlpOptions options, Activation hidden) {
    const Mlp<double> net{sizes, hidden, options};
    Vector<double> theta(static_cast<Eigen::Index>(net.parameter_count()));
    net.initialize(view(theta), rng);
    const auto blocks = net.parameters();
    CHECK(blocks.at(1).name == "0.bias");
    return std::pair(Matrix<double>(Eigen::Map<Matrix<double>>(theta.data(), sizes[1], sizes[0])),
                     Vector<double>(theta.segment(static_cast<Eigen::Index>(blocks[1].offset), sizes[1])));
  };
  using M = Matrix<double>;
  for (const auto& sizes : {std::vector<int>{30, 50, 1}, std::vector<int>{50, 30, 1}, std::vector<int>{64, 64, 1}}) {
    const auto [w, b] = weights(sizes, {}, relu);
    const M gram = sizes[0] <= sizes[1] ? M(w.transpose() * w) : M(w * w.transpose());
    CHECK((gram - 2 * M::Identity(gram.rows(), gram.cols())).cwiseAbs().maxCoeff() <= 1e-12);
    CHECK(b.isZero(0));
  }
  {
    const auto [w, b] = weights({20, 20, 1}, {.gain = 3}, Activation::tanh);
    CHECK((w * w.transpose() - 9 * M::Identity(20, 20)).cwiseAbs().maxCoeff() <= 1e-12);
  }
  // 200 x 100 draws; false alarm 1e-6 is 4.9 standard errors: of a normal's mean square sqrt(2/n), of a uniform's
  // sqrt(0.8/n).
  const double z = 4.9, n = 20000;
  {
    const auto [w, b] = weights({100, 200, 1}, {.initialization = Initialization::he}, relu);
    CHECK(w.squaredNorm() / n == close(2.0 / 100, z * std::sqrt(2 / n)));
    CHECK(std::abs(w.mean()) <= z * std::sqrt(0.02 / n));
    CHECK(b.isZero(0));
  }
  {
    const auto [w, b] = weights({100, 200, 1}, {.initialization = Initialization::glorot}, Activation::tanh);
    CHECK(w.squaredNorm() / n == close(2.0 / 300, z * std::sqrt(0.8 / n)));
    CHECK(w.cwiseAbs().maxCoeff() <= std::sqrt(6.0 / 300));
    CHECK(b.isZero(0));
  }
  {
    const auto [w, b] = weights({100, 200, 1}, {.initialization = Initialization::fan_in}, relu);
    CHECK(w.squaredNorm() / n == close(1.0 / 300, z * std::sqrt(0.8 / n)));
    CHECK(w.cwiseAbs().maxCoeff() <= 0.1);
    CHECK(b.cwiseAbs().maxCoeff() <= 0.1);
    CHECK(!b.isZero(0));
  }
}

TEST_CASE(
    "Mlp: one seed gives float and double networks that are roundings of each other; layer norm starts as identity") {
  const MlpOptions options{.layer_norm = true, .output_gain = 0.01};
  const Mlp<double> exact{{3, 8, 2}, relu, options};
  const Mlp<float> net{{3, 8, 2}, relu, options};
  Vector<double> a(static_cast<Eigen::Index>(exact.parameter_count()));
  Vector<float> b(a.size());
  Rng r1{5}, r2{5};
  exact.initialize(view(a), r1);
  net.initialize(view(b), r2);
  CHECK(a.cast<float>() == b);
  const auto blocks = exact.parameters("net.");
  const std::vector<std::string> names{"net.0.weight", "net.0.bias",   "net.1.weight",
                                       "net.1.bias",   "net.3.weight", "net.3.bias"};
  REQUIRE(blocks.size() == names.size());
  std::size_t offset = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    CHECK(blocks[i].name == names[i]);
    CHECK(blocks[i].offset == offset);
    offset += blocks[i].size();
  }
  CHECK(offset == exact.parameter_count());
  CHECK(blocks[0].shape == std::vector<std::size_t>{8, 3});
  CHECK(a.segment(32, 8) == Vector<double>::Ones(8));
  CHECK(a.segment(40, 8).isZero(0));
  CHECK((Eigen::Map<Matrix<double>>(a.data() + 48, 2, 8) * Eigen::Map<Matrix<double>>(a.data() + 48, 2, 8).transpose())(
            0, 0) == close(1e-4, 1e-12));
  const Mlp<double> plain{{3, 8, 8, 2}, relu};
  CHECK(plain.parameters()[4].name == "4.weight");
}
