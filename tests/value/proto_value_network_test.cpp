#include "valence/value/proto_value_network.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/env/small_models.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/tabular.hpp"
#include "valence/value/indicators.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;
using valence::test::gradient_matches;

using Network = ProtoValueNetwork<Tabular<double>, Sgd>;

void draw(Network& network, Rng& rng) {
  const std::size_t heads = static_cast<std::size_t>(network.tasks() * network.actions());
  for (double& x : network.parameters().first(network.parameters().size() - heads)) x = rng.normal();
  network.copy_to_target();
}

}  // namespace

TEST_CASE("Indicator proportion: the golden case, its gradient, where it is least") {
  // value.md 27: f = (-.4, .1, .3, 1.2, 2), b = .2, proportion .2.
  const std::array f{-.4, .1, .3, 1.2, 2.};
  const auto loss = [&](std::span<const double> b) {
    double sum = 0;
    for (const double x : f) sum += IndicatorProportion{.2}(x + b[0]).value / 5;
    return sum;
  };
  const double b[] = {.2};
  double gradient = 0;
  for (const double x : f) gradient += IndicatorProportion{.2}(x + b[0]).d_output / 5;
  CHECK(loss(b) == close(.712, 1e-14));
  CHECK(gradient == close(.6, 1e-14));
  CHECK(gradient_matches(loss, b, std::array{gradient}));
  // One of five fires: the mean gradient is 0.
  double at_rate = 0;
  for (const double x : f) at_rate += IndicatorProportion{.2}(x - 1.5).d_output;
  CHECK(at_rate == close(0, 0, 1e-15));
  CHECK(says(message_of([] { IndicatorProportion{1.}(0.); }), "proportion is 1"));
  CHECK(says(message_of([] { IndicatorProportion{}(std::nan("")); }), "output is nan"));
}

TEST_CASE("Random indicators, hashes, random networks: shares, and the same for the same seed") {
  Rng rng{1}, again{1};
  const Matrix<double> sets = random_indicators(200, 300, .1, rng);
  CHECK(sets.mean() == close(.1, 0, .005));
  CHECK(((sets.array() == 0) || (sets.array() == 1)).all());
  CHECK(sets == random_indicators(200, 300, .1, again));

  const HashIndicators hash(2, 400, {.proportion = .05}, rng);
  CHECK(hash.size() == 400);
  Vector<double> c(400), d(400), mean = Vector<double>::Zero(400);
  for (int x = 0; x < 30; ++x)
    for (int y = 0; y < 30; ++y) {
      const int whole[] = {x, y};
      const double number[] = {double(x), double(y)};
      hash(std::span<const int>(whole), view(c));
      hash(std::span<const double>(number), view(d));
      REQUIRE(c == d);
      mean += c / 900;
    }
  CHECK(mean.mean() == close(.05, 0, .003));
  CHECK(mean.maxCoeff() < .2);

  Matrix<double> x(3, 500), cumulants;
  for (double& v : view(x)) v = rng.normal();
  RandomNetIndicators<double> networks({{3, 16, 8}, relu}, .1, rng.split(1));
  const double before = networks.fit(x, .1);
  double after = 0;
  for (int k = 0; k < 3000; ++k) after = networks.fit(x, .02);
  CHECK(after < before);
  networks(x, cumulants);
  for (int i = 0; i < 8; ++i) CHECK(cumulants.row(i).mean() == close(.1, 0, .02));
}

TEST_CASE("Indicators: bad input") {
  Rng rng{2};
  CHECK(says(message_of([&] { random_indicators(0, 3, .1, rng); }), "count is 0"));
  for (const double proportion : {0., 1., -.1, std::nan("")})
    CHECK(says(message_of([&] { random_indicators(2, 3, proportion, rng); }), "proportion is"));
  const auto hash = [&](const HashIndicatorsOptions& options) {
    return message_of([&] { HashIndicators(2, 3, options, rng); });
  };
  CHECK(says(hash({.prime = 8190}), "prime is 8190, which 2 divides"));
  CHECK(says(hash({.prime = 97}), "prime is 97", "101"));
  CHECK(says(hash({.proportion = 1}), "proportion is 1"));
  const HashIndicators good(2, 3, {}, rng);
  Vector<double> c(3), few(2);
  const double half[] = {1, .5}, negative[] = {-1, 0}, large[] = {0, 8191}, nan[] = {0, std::nan("")};
  for (const auto& x : {half, negative, large, nan})
    CHECK(says(message_of([&] { good(std::span<const double>(x, 2), view(c)); }), "expected an integer in [0, 8190]"));
  CHECK(says(message_of([&] { good(std::span<const double>(half, 1), view(c)); }), "x has 1 entries"));
  CHECK(says(message_of([&] { good(std::span<const double>(large, 2), view(few)); }), "cumulants has 2 entries"));
  CHECK(says(message_of([] { RandomNetIndicators<double>({{2, 3}, relu}, 0, Rng{1}); }), "proportion is 0"));
}

TEST_CASE("One task with cumulant 1 is worth 1 / (1 - discount) everywhere") {
  const auto model = two_state_model();
  ProtoValueNetwork network{
      Tabular{2, 2}, {.tasks = 1, .actions = 2}, Adam{.step_size = .05}, {.discount = .9, .target_rate = .2}, Rng{3}};
  for (double& x : network.encoder_parameters()) x = 1;
  const std::vector<int> states{0, 1};
  const Matrix<double> one = Matrix<double>::Ones(1, 2);
  double loss = 1;
  for (int k = 0; k < 4000; ++k) loss = network.sweep(model, states, one, k < 3000 ? 1 : .02);
  CHECK(loss < 1e-6);
  const Matrix<double> psi = network.predictions(states);
  CHECK((psi.array() - 10).abs().maxCoeff() < .02);
  CHECK(network.updates() == 4000);
  CHECK(network.features(states).rows() == 2);
}

TEST_CASE("A batch and a sweep step down the gradient of the loss with the target held") {
  Rng rng{4};
  const auto model = two_state_model();
  const std::vector<int> states{0, 1};
  const Matrix<double> cumulants = random_indicators(3, 2, .5, rng);
  Network network{
      Tabular{2, 2}, {.tasks = 3, .actions = 2}, Sgd{.step_size = 1}, {.discount = .9, .target_rate = 0}, Rng{5}};
  draw(network, rng);
  const std::vector<double> start(network.parameters().begin(), network.parameters().end());
  const Matrix<double> target = network.predictions(states);
  // Independent of the class: theta is phi (2 x 2), then W (6 x 2), then biases.
  const auto psi = [](std::span<const double> theta, int row, int s) {
    return theta[static_cast<std::size_t>(4 + row)] * theta[static_cast<std::size_t>(2 * s)] +
           theta[static_cast<std::size_t>(10 + row)] * theta[static_cast<std::size_t>(2 * s + 1)];
  };
  const auto error = [&](std::span<const double> theta, int i, int s, int a, double following) {
    return psi(theta, 3 * a + i, s) - cumulants(i, s) - .9 * following;
  };
  const auto mean_next = [&](int i, int s) { return (target(i, s) + target(3 + i, s)) / 2; };
  const auto sweep_loss = [&](std::span<const double> theta) {
    double sum = 0;
    for (int s = 0; s < 2; ++s)
      for (int a = 0; a < 2; ++a)
        for (int i = 0; i < 3; ++i) {
          double following = 0;
          for (const auto& to : model.successors(s, a)) following += to.probability * mean_next(i, to.next);
          sum += std::pow(error(theta, i, s, a, following), 2) / 2;
        }
    return sum / 12;
  };
  CHECK(network.sweep(model, states, cumulants) == close(sweep_loss(start), 1e-12));
  std::vector<double> step(16);
  for (std::size_t k = 0; k < 16; ++k) step[k] = start[k] - network.parameters()[k];
  CHECK(gradient_matches(sweep_loss, std::span<const double>(start).first(16), step));

  // Three transitions, one of which terminates.
  std::copy(start.begin(), start.end(), network.parameters().begin());
  const std::vector<int> from{0, 1, 1}, to{1, 0, 1}, actions{1, 0, 1};
  const std::vector<std::uint8_t> ended{0, 0, 1};
  Matrix<double> c(3, 3);
  for (int j = 0; j < 3; ++j) c.col(j) = cumulants.col(from[static_cast<std::size_t>(j)]);
  const auto batch_loss = [&](std::span<const double> theta) {
    double sum = 0;
    for (std::size_t j = 0; j < 3; ++j)
      for (int i = 0; i < 3; ++i)
        sum += std::pow(error(theta, i, from[j], actions[j], ended[j] ? 0 : mean_next(i, to[j])), 2) / 2;
    return sum / 9;
  };
  const ProtoValueBatch<Tabular<double>> batch{from, actions, to, ended, Outputs<double>(c.data(), 3, 3)};
  CHECK(network.update(batch) == close(batch_loss(start), 1e-12));
  for (std::size_t k = 0; k < 16; ++k) step[k] = start[k] - network.parameters()[k];
  CHECK(gradient_matches(batch_loss, std::span<const double>(start).first(16), step));
  for (std::size_t k = 16; k < 22; ++k) CHECK(network.parameters()[k] == 0);  // no biases
}

TEST_CASE("The target is copied after its period, and the update allocates nothing") {
  const auto model = two_state_model();
  const std::vector<int> states{0, 1};
  Rng rng{6};
  const Matrix<double> cumulants = random_indicators(3, 2, .5, rng);
  Network network{
      Tabular{2, 2}, {.tasks = 3, .actions = 2}, Sgd{.step_size = 0}, {.target_rate = 1, .target_period = 3}, Rng{7}};
  draw(network, rng);
  const double loss = network.sweep(model, states, cumulants);
  for (double& x : network.parameters().first(16)) x *= 2;  // the target doesn't know yet
  const double moved = network.sweep(model, states, cumulants);
  CHECK(moved != loss);
  CHECK(network.sweep(model, states, cumulants) == moved);
  test::Allocations allocations;
  CHECK(network.sweep(model, states, cumulants) != moved);  // after three updates
  CHECK(allocations.count() == 0);
}

TEST_CASE("Proto-value network: bad input") {
  const auto make = [](ProtoValueNetwork<Tabular<double>>::Heads heads, const ProtoValueNetworkOptions& options) {
    return message_of([&] { ProtoValueNetwork(Tabular{2, 2}, heads, Adam{}, options, Rng{1}); });
  };
  CHECK(says(make({0, 1}, {}), "tasks is 0"));
  CHECK(says(make({1, 0}, {}), "actions is 0"));
  CHECK(says(make({1, 1}, {.discount = 1}), "discount is 1"));
  CHECK(says(make({1, 1}, {.target_rate = 2}), "target_rate is 2"));
  CHECK(says(make({1, 1}, {.target_period = 0}), "target_period is 0"));
  const auto model = two_state_model();
  Network network{Tabular{2, 2}, {.tasks = 3, .actions = 2}, Sgd{}, {}, Rng{1}};
  const std::vector<int> states{0, 1}, few{0};
  Matrix<double> c = Matrix<double>::Ones(3, 2);
  CHECK(says(message_of([&] { network.sweep(model, few, c); }), "the inputs has 1 entries; expected 2"));
  CHECK(says(message_of([&] { network.sweep(model, states, Matrix<double>(c.leftCols(1))); }), "cumulants is 3 x 1"));
  CHECK(says(message_of([&] { network.sweep(random_walk(), states, c); }), "actions has 1"));
  c(1, 1) = std::numeric_limits<double>::infinity();
  CHECK(says(message_of([&] { network.sweep(model, states, c); }), "cumulants[4] is inf"));
  CHECK(network.updates() == 0);
}
