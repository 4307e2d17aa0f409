#include "valence/function/spectral.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::message_of;
using valence::test::says;

static_assert(Optimizer<SpectralProjection<Adam>> && Optimizer<SpectralProjection<SpectralProjection<Sgd>>>);

namespace {

using valence::test::close;

/// Singular values 3.2713242148580175 and 2.0732674408488 (NumPy's SVD).
Matrix<double> example() {
  Matrix<double> w(2, 3);
  w << 1, 2, 0, 0, -1, 3;
  return w;
}

template <class S>
std::vector<S> started(const Mlp<S>& net, int seed) {
  std::vector<S> theta(net.parameter_count());
  Rng rng{seed};
  net.initialize(std::span(theta), rng);
  return theta;
}

Matrix<double> weight_of(const ParameterBlock& block, const std::vector<double>& theta) {
  return Eigen::Map<const Matrix<double>>(theta.data() + block.offset, static_cast<Eigen::Index>(block.shape[0]),
                                          static_cast<Eigen::Index>(block.shape[1]));
}

}  // namespace

TEST_CASE("power iteration: five steps of the example") {
  // Computed with NumPy: u' W v with the u of the step and the updated v, from (1, 1, 1) / sqrt 3.
  PowerIteration<double> power(Vector<double>::Ones(3));
  for (const double expected : {2.1661735138967, 2.4795695159094, 2.9801889147131, 3.2118562959327, 3.2612962186598}) {
    CHECK(power.step(view(example()), 2) == close(expected, 1e-12));
    CHECK(power.direction().norm() == close(1, 1e-14));
  }
}

TEST_CASE("power iteration: it never passes the largest singular value, and knows a zero matrix") {
  PowerIteration<double> power(Vector<double>::Unit(3, 0));
  double before = 0;
  for (int k = 0; k < 60; ++k) {
    const double sigma = power.step(view(example()), 2);
    CHECK(sigma >= before - 1e-14);
    CHECK(sigma <= 3.2713242148580175 + 1e-14);
    before = sigma;
  }
  const Vector<double> direction = power.direction();
  CHECK(power.step(view(Matrix<double>(Matrix<double>::Zero(2, 3))), 2) == 0);
  CHECK(power.direction() == direction);
}

TEST_CASE("spectral norm: the example, its transpose, rank one, a row, and numbers of every size") {
  CHECK(spectral_norm(example()) == close(3.2713242148580175, 1e-12));
  CHECK(spectral_norm(Matrix<double>(example().transpose())) == close(3.2713242148580175, 1e-12));
  CHECK(spectral_norm(Matrix<double>(1e-100 * example())) == close(3.2713242148580175e-100, 1e-12));
  CHECK(spectral_norm(Matrix<double>(Matrix<double>::Identity(5, 5))) == close(1, 1e-14));
  CHECK(spectral_norm(Matrix<double>(Matrix<double>::Zero(2, 2))) == 0);
  Matrix<double> row(1, 3);
  row << 1, -1, 0.5;
  CHECK(spectral_norm(row) == close(1.5, 1e-14));
  CHECK(spectral_norm(Matrix<double>(row.transpose() * row)) == close(2.25, 1e-14));
}

TEST_CASE("spectral projection: a weight above the bound is scaled to it, the rest stays to the bit") {
  // One layer 3 -> 2 whose weight is the example: projected to 1.5 (NumPy).
  const Mlp<double> net{{3, 2}, relu};
  const Matrix<double> w = example();
  std::vector<double> theta(w.data(), w.data() + w.size());
  theta.insert(theta.end(), {0.7, -9});
  const std::vector<double> still(theta.size(), 0.0);
  auto state = SpectralProjection{Sgd{}, net, {.max_sigma = 1.5, .iterations = 60}}.start<double>(theta.size());
  state.step(std::span(theta), std::span(still));
  const std::vector<double> expected{.4585299106665, 0, .917059821333, -.4585299106665, 0, 1.3755897319995, 0.7, -9};
  for (std::size_t i = 0; i < theta.size(); ++i) CHECK(theta[i] == close(expected[i], 1e-12));
  const auto projected = theta;
  auto loose = SpectralProjection{Sgd{}, net, {.max_sigma = 1.51}}.start<double>(theta.size());
  loose.step(std::span(theta), std::span(still));
  CHECK(theta == projected);
}

TEST_CASE("spectral projection: a bound that never binds gives the inner optimizer's run to the bit") {
  const Mlp<float> net{{4, 16, 16, 3}, relu};
  auto a = started(net, 1), b = a;
  auto inner = Adam{}.start<float>(a.size());
  auto wrapped = SpectralProjection{Adam{}, net, {.max_sigma = 1e6}}.start<float>(b.size());
  Rng rng{2};
  std::vector<float> gradient(a.size());
  for (int k = 0; k < 50; ++k) {
    rng.fill_normal(std::span(gradient));
    inner.step(std::span(a), std::span<const float>(gradient), 0.5);
    wrapped.step(std::span(b), std::span<const float>(gradient), 0.5);
  }
  CHECK(a == b);
  CHECK(wrapped.steps() == 50);
}

TEST_CASE("spectral projection: weights stay at their bound while they are trained, in composites too") {
  const Mlp<double> first{{4, 24, 8}, relu}, second{{8, 24, 2}, relu};
  const Chain chain{first, second};
  std::vector<double> theta(chain.parameter_count()), gradient(theta.size());
  Rng rng{3};
  chain.initialize(std::span(theta), rng);
  auto state = SpectralProjection{Adam{.step_size = 1e-2}, chain, {.max_sigma = 1.2}}.start<double>(theta.size());
  for (int k = 0; k < 200; ++k) {
    for (std::size_t i = 0; i < theta.size(); ++i) gradient[i] = -theta[i] + 0.1 * rng.normal();  // grow
    state.step(std::span(theta), std::span<const double>(gradient));
  }
  int weights = 0;
  for (const auto& block : chain.parameters()) {
    if (block.shape.size() != 2) continue;
    ++weights;
    CHECK(spectral_norm(weight_of(block, theta)) == close(1.2, 1e-3));
  }
  CHECK(weights == 4);
}

TEST_CASE("spectral projection: it goes on where it was saved, and allocates nothing") {
  const Mlp<float> net{{4, 16, 3}, relu};
  auto theta = started(net, 4);
  const std::vector<float> gradient(theta.size(), -0.3f);
  const SpectralProjection optimizer{Adam{}, net, {.max_sigma = 0.8, .iterations = 1}};
  auto state = optimizer.start<float>(theta.size()), copy = optimizer.start<float>(theta.size());
  for (int k = 0; k < 5; ++k) state.step(std::span(theta), std::span(gradient));
  copy.step(std::span(theta), std::span(gradient));  // somewhere else, then overwritten
  from_bytes(to_bytes(state), copy);
  CHECK(same_state(copy, state));
  auto again = theta;
  const Allocations allocations;
  state.step(std::span(theta), std::span(gradient));
  CHECK(allocations.count() == 0);
  copy.step(std::span(again), std::span(gradient));
  CHECK(again == theta);
}

TEST_CASE("lipschitz bound: the example, activations, and bad networks") {
  // W1 = [[1,-2],[.5,1],[0,3]], W2 = [[1,-1,.5]]: 5.647274586878918 (NumPy). Column by column, then the biases.
  const std::vector<double> theta{1, 0.5, 0, -2, 1, 3, 0.1, 0.2, 0.3, 1, -1, 0.5, 9};
  CHECK(lipschitz_bound(Mlp<double>{{2, 3, 1}, relu}, theta) == close(5.647274586878918, 1e-12));
  CHECK(lipschitz_bound(Mlp<double>{{2, 3, 1}, Activation::tanh}, theta) == close(5.647274586878918, 1e-12));
  // The steepest slopes of gelu and silu, found by a fine search.
  for (const Activation activation : {gelu, silu}) {
    double steepest = 0;
    for (double x = -10; x < 10; x += 1e-4) {
      const double h = 1e-5, up = activate(activation, x + h), down = activate(activation, x - h);
      steepest = (std::max)(steepest, (up - down) / (2 * h));
    }
    CHECK(detail::steepest(activation) == close(steepest, 1e-7));
    CHECK(lipschitz_bound(Mlp<double>{{2, 3, 1}, activation}, theta) ==
          close(5.647274586878918 * detail::steepest(activation), 1e-12));
  }
  const Mlp<double> normalised{{2, 3, 1}, relu, {.layer_norm = true}};
  CHECK(says(message_of([&] { lipschitz_bound(normalised, std::vector<double>(normalised.parameter_count())); }),
             "layer normalisation"));
  CHECK(says(message_of([&] { lipschitz_bound(Mlp<double>{{2, 3, 1}, relu}, std::vector<double>(5)); }), "theta", "5"));
}

TEST_CASE("spectral: bad input is refused") {
  const Mlp<double> net{{2, 2}, relu};
  CHECK(says(message_of([&] { SpectralProjection{Sgd{}, net, {.max_sigma = 0}}; }), "max_sigma", "0"));
  CHECK(says(message_of([&] { SpectralProjection{Sgd{}, net, {.max_sigma = -1}}; }), "max_sigma", "-1"));
  CHECK(says(message_of([&] { SpectralProjection{Sgd{}, net, {.iterations = 0}}; }), "iterations"));
  CHECK(says(message_of([&] { SpectralProjection{Sgd{}, net}.start<double>(5); }), "theta has 5 entries; expected 6"));
  CHECK(says(message_of([] { PowerIteration<double>(Vector<double>::Zero(3)); }), "v is zero"));
  CHECK(says(message_of([] { PowerIteration<double>(Vector<double>::Constant(1, std::nan(""))); }), "v[0] is nan"));
  PowerIteration<double> power(Vector<double>::Ones(2));
  CHECK(says(message_of([&] { power.step(std::vector<double>{1, 2, 3}, 2); }), "weight has 3 entries; expected 4"));
  CHECK(says(message_of([&] { power.step(std::vector<double>{1, std::nan("")}, 1); }), "weight[1] is nan"));
  CHECK(says(message_of([] { spectral_norm(Matrix<double>(0, 0)); }), "rows"));
  CHECK(says(message_of([] { spectral_norm(Matrix<double>(2, 0)); }), "columns"));
  CHECK(says(message_of([] { spectral_norm(example(), {.tolerance = 0}); }), "tolerance"));
}
