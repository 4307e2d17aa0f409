#include "valence/value/value_gradient.hpp"

#include <cmath>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/statistics.hpp"
#include "valence/distributional/distances.hpp"
#include "valence/function/mlp.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

struct Critic {
  Mlp<double> net;
  std::vector<double> theta = std::vector<double>(net.parameter_count());
  Matrix<double> x;
  explicit Critic(std::vector<int> sizes, Activation hidden, Eigen::Index samples) : net(sizes, hidden) {
    Rng rng{3};
    net.initialize(std::span(theta), rng);
    x.resize(net.input_size(), samples);
    rng.fill_normal(view(x));
  }
};

}  // namespace

TEST_CASE("value gradient: a critic's and the best action's, against finite differences") {
  for (const int outputs : {1, 3}) {
    Critic c({4, 8, outputs}, Activation::tanh, 5);
    const Matrix<double> g = value_gradient(c.net, c.theta, c.x);
    REQUIRE(g.rows() == 4);
    for (Eigen::Index j = 0; j < 5; ++j) {
      Mlp<double>::Tape tape;
      const auto value = [&](std::span<const double> at) {
        return c.net.forward(std::span<const double>(c.theta), Outputs<double>(at.data(), 4, 1), tape).maxCoeff();
      };
      const Vector<double> x = c.x.col(j), analytic = g.col(j);
      CHECK(gradient_matches(value, view(x), view(analytic)));
    }
  }
}

TEST_CASE("value gradient: nothing is allocated once the workspace has seen the batch") {
  Critic c({4, 16, 2}, relu, 70);
  ValueGradientWorkspace<Mlp<double>> workspace;
  Matrix<double> g;
  value_gradient(c.net, c.theta, c.x, g, workspace);
  const Allocations allocations;
  value_gradient(c.net, c.theta, c.x, g, workspace);
  CHECK(allocations.count() == 0);
}

TEST_CASE("lipschitz estimate: the example's bound is above every sampled gradient") {
  // W1 = [[1,-2],[.5,1],[0,3]], W2 = [[1,-1,.5]]: the product of the largest singular values is 5.647274586878918.
  const Mlp<double> net{{2, 3, 1}, relu};
  const std::vector<double> theta{1, 0.5, 0, -2, 1, 3, 0, 0, 0, 1, -1, 0.5, 0};
  Matrix<double> x(2, 1000);
  Rng rng{4};
  rng.fill_normal(view(x));
  const auto estimate = lipschitz_estimate(net, theta, x);
  CHECK(estimate.bound == close(5.647274586878918, 1e-12));
  REQUIRE(estimate.gradient_norms.size() == 1000);
  CHECK(estimate.largest() <= estimate.bound);
  // Where units 0 and 2 are on and 1 is off: (1, -2) + 0.5 (0, 3), the steepest of this network's pieces but one.
  CHECK(estimate.largest() > 1);
}

TEST_CASE("lipschitz estimate: a linear value is as steep everywhere as its bound says") {
  const Mlp<double> net{{3, 1}, relu};
  const std::vector<double> theta{1, -2, 0.5, 7};
  const auto estimate = lipschitz_estimate(net, theta, Matrix<double>(Matrix<double>::Random(3, 9)));
  for (const double norm : estimate.gradient_norms) CHECK(norm == close(std::sqrt(5.25)));
  CHECK(estimate.bound == close(std::sqrt(5.25), 1e-12));
}

TEST_CASE("kantorovich: what a wrong model adds to a backup is at most the Lipschitz constant times W1") {
  const std::vector<double> places{0, 1, 2}, p{0.5, 0.3, 0.2}, model{0.2, 0.3, 0.5};
  const double w1 = wasserstein(LawView{places, p}, LawView{places, model});
  CHECK(w1 == close(0.6));
  const auto gap = [&](std::vector<double> v) {
    double sum = 0;
    for (std::size_t i = 0; i < 3; ++i) sum += (model[i] - p[i]) * v[i];
    return std::abs(sum);
  };
  CHECK(gap({0, 2, 4}) == close(1.2));
  CHECK(gap({0, 2, 4}) == close(2 * w1));  // equality: slope 2
  CHECK(gap({0, 2, 0}) == close(0.0, 0, 1e-15));
  CHECK(gap({1, 3, 2}) == close(0.3));
  CHECK(gap({1, 3, 2}) <= 2 * w1);
}

TEST_CASE("value gradient: bad input is refused") {
  Critic c({4, 8, 2}, relu, 3);
  CHECK(says(message_of([&] { lipschitz_estimate(c.net, c.theta, Matrix<double>(4, 0)); }), "x has no columns"));
  CHECK(says(message_of([&] { value_gradient(c.net, c.theta, Matrix<double>(3, 2)); }), "x is 3 x 2"));
  c.theta[0] = std::nan("");
  CHECK(says(message_of([&] { value_gradient(c.net, c.theta, c.x); }), "nan"));
  CHECK(says(message_of([&] { lipschitz_estimate(c.net, c.theta, c.x); }), "nan"));
}
