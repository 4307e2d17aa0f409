// Natural gradients and trust regions: policy_gradient.md A4 and A6, baseline.md 5.
#include "valence/policy_gradient/natural_gradient.hpp"

#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/tabular.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/gaussian.hpp"
#include "valence/value/gae.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
// A4's bandit.
const Numbers z{0.5, -1, 2, 0},
    bandit_gradient{-0.0764563824684431, -0.0524135182733022, 0.367446189219766, -0.238576288478021};

std::span<const double> in(const Numbers& x) { return x; }

void same(std::span<const double> seen, const Numbers& expected, double tolerance = 1e-12) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}

/// Of a softmax over one state's logits.
auto fisher_of(const Numbers& logits) {
  return [logits](std::span<const double> v, std::span<double> out) {
    std::fill(out.begin(), out.end(), 0.0);
    Softmax{static_cast<int>(logits.size())}.fisher_product(std::span<const double>(logits), v, 1, out);
  };
}

Numbers direction_of(const Numbers& logits, const Numbers& gradient, const TrustRegionOptions& options) {
  Numbers x(gradient.size());
  ConjugateGradientWorkspace<double> workspace;
  natural_gradient<double>(fisher_of(logits), in(gradient), x, options, workspace);
  return x;
}

constexpr auto best_case = [](std::span<const double>) { return TrustRegionPoint{.gain = 1, .kl = 0}; };

}  // namespace

static_assert(HasFisher<Softmax> && HasFisher<DiagonalGaussian<>>);

TEST_CASE("A6: natural gradients of the bandit") {
  // Without damping the solution of least norm, which is r - mean(r).
  same(direction_of(z, bandit_gradient, {.damping = 0}), {0.5, -0.5, 1.5, -1.5}, 1e-9);
  const TrustRegionOptions damped{.max_kl = 0.01, .damping = 0.1};
  same(direction_of(z, bandit_gradient, damped),
       {0.0997917828301441, -0.218679646434861, 1.01923924579424, -0.900351382189519}, 1e-11);
  same(direction_of(z, bandit_gradient, {.damping = 0.1, .cg_iterations = 2}),
       {0.0946309270266204, -0.199751805607978, 1.01468892747233, -0.909568048890973}, 1e-12);

  Numbers theta(4);
  TrustRegionWorkspace<double> workspace;
  const auto r = trust_region_step<double>(theta, in(bandit_gradient), fisher_of(z), best_case, damped, workspace);
  CHECK((r.moved && !r.stationary && r.backtracks == 0));
  same(theta, {0.0183243031753200, -0.0401551312733312, 0.187158184957053, -0.165327356859041}, 1e-12);
  Numbers damped_product(4);
  fisher_of(z)(theta, damped_product);
  double square = 0;
  for (std::size_t i = 0; i < 4; ++i) square += theta[i] * (damped_product[i] + 0.1 * theta[i]);
  CHECK(square / 2 == close(0.01, 1e-12));

  // Stopped early, the step has the same length.
  Numbers early(4);
  trust_region_step<double>(early, in(bandit_gradient), fisher_of(z), best_case,
                            {.max_kl = 0.01, .damping = 0.1, .cg_iterations = 2}, workspace);
  fisher_of(z)(early, damped_product);
  square = 0;
  for (std::size_t i = 0; i < 4; ++i) square += early[i] * (damped_product[i] + 0.1 * early[i]);
  CHECK(square / 2 == close(0.01, 1e-12));
}

TEST_CASE("baseline.md: TRPO on three actions") {
  const Numbers logits{std::log(0.5), std::log(0.3), std::log(0.2)}, g{0.2, -0.1, -0.1};
  same(direction_of(logits, g, {.damping = 0}), {0.544444444444, -0.188888888889, -0.355555555556}, 1e-11);
  Numbers theta(3);
  TrustRegionWorkspace<double> workspace;
  const TrustRegionOptions options{.max_kl = 0.01, .damping = 0};
  trust_region_step<double>(theta, in(g), fisher_of(logits), best_case, options, workspace);
  same(theta, {0.190515868883, -0.066097342266, -0.124418526618}, 1e-11);
  Numbers moved = logits;
  for (std::size_t i = 0; i < 3; ++i) moved[i] += theta[i];
  CHECK(Softmax{3}.kl(in(logits), moved) == close(0.01, 0.1));  // second order: right to the length of the step
}

TEST_CASE("A6: the mirror step is the natural gradient of a table") {
  const Numbers pi{0.2, 0.3, 0.5}, q{1, 0, -1};
  Numbers out(3);
  mirror_step(in(pi), q, 0.5, out);
  same(out, {0.353420007464059, 0.321540105424229, 0.325039887111712}, 1e-14);
  Numbers logits(3), p(3);
  for (std::size_t i = 0; i < 3; ++i) logits[i] = std::log(pi[i]) + 0.5 * q[i];
  Softmax{3}.probabilities(in(logits), p);
  same(out, p, 1e-15);

  const Numbers huge{1e6, 0, 1e6}, hole{0, 0.5, 0.5}, hidden{poison, 1, 1};
  mirror_step(in(pi), huge, 1, out);
  same(out, {0.2 / 0.7, 0, 0.5 / 0.7}, 1e-15);
  mirror_step(in(hole), hidden, 1, out);
  same(out, {0, 0.5, 0.5}, 1e-15);
  CHECK(says(message_of([&] { mirror_step(in(pi), hidden, 1, out); }), "mirror_step", "q[0]", "nan"));
  CHECK(says(message_of([&] { mirror_step(in(pi), q, -1, out); }), "step_size"));
}

TEST_CASE("Equal advantages: no step, and no failure", "[G2]") {
  Numbers a{5, 5, 5};
  whiten(std::span(a));
  const Tabular table{2, 3};
  Numbers theta{0.1, -0.4, 0.7, 0.3, 0.3, -1};
  const Numbers before = theta;
  const std::vector<int> states{0, 1, 0}, actions{2, 0, 1};
  const auto r =
      trpo_step(table, Softmax{3}, std::span(theta), std::span(states), std::span<const int>(actions), in(a));
  CHECK((r.stationary && !r.moved && r.backtracks == 0 && r.solve.iterations == 0));
  CHECK(theta == before);
}

TEST_CASE("The line search shrinks, refuses, and leaves theta alone") {
  TrustRegionWorkspace<double> workspace;
  Numbers theta(4);
  int calls = 0;
  const auto third = [&](std::span<const double>) { return TrustRegionPoint{.gain = ++calls < 3 ? -1.0 : 2.0}; };
  const auto r = trust_region_step<double>(theta, in(bandit_gradient), fisher_of(z), third, {}, workspace);
  CHECK((r.moved && r.backtracks == 2 && r.point.gain == 2));
  CHECK(theta[2] == close(0.64 * 0.187158184957053, 1e-11));

  const Numbers before = theta;
  for (const TrustRegionPoint point : {TrustRegionPoint{1, 0.0101}, {0, 0}, {poison, 0}, {1, poison}}) {
    calls = 0;
    const auto refused = trust_region_step<double>(
        theta, in(bandit_gradient), fisher_of(z), [&](std::span<const double>) { return ++calls, point; }, {},
        workspace);
    CHECK((!refused.moved && !refused.stationary && refused.backtracks == 10));
    CHECK(calls == 11);
    CHECK(theta == before);
  }
  // A gradient that F doesn't see at all, without damping.
  const Numbers ones(4, 1.0);
  const auto blind =
      trust_region_step<double>(theta, in(ones), fisher_of(Numbers(4, 0.0)), best_case, {.damping = 0}, workspace);
  CHECK((!blind.moved && blind.solve.indefinite));
  const Numbers bad{1, poison, 0, 0};
  const auto step = [&](const Numbers& g, const TrustRegionOptions& o) {
    return message_of([&] { trust_region_step<double>(theta, in(g), fisher_of(z), best_case, o, workspace); });
  };
  CHECK(says(step(bad, {}), "gradient[1]", "nan"));
  CHECK(says(step(ones, {.max_kl = 0}), "max_kl"));
  CHECK(says(step(ones, {.damping = -1}), "damping"));
  CHECK(says(step(ones, {.cg_iterations = 0}), "cg_iterations"));
  CHECK(says(step(ones, {.backtracking = 1}), "backtracking"));
  CHECK(theta == before);
}

namespace {

/// Is F v, as computed, the derivative along v of the gradient of the mean KL(old || new) at new = old?
template <class Law>
void check_fisher(const Law& law, const Mlp<double>& net) {
  Rng rng{11};
  Numbers theta(net.parameter_count()), v(theta.size());
  net.initialize(theta, rng);
  for (double& x : theta) x += 0.1 * rng.normal();
  for (double& x : v) x = rng.normal();
  Matrix<double> x(2, 5);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = rng.normal();
  typename Mlp<double>::Tape tape;
  const Matrix<double> old = net.forward(theta, x, tape);
  const auto gradient_of_kl = [&](std::span<const double> at) {
    typename Mlp<double>::Tape t;
    const auto y = net.forward(at, x, t);
    Matrix<double> dy = Matrix<double>::Zero(y.rows(), y.cols());
    for (Eigen::Index j = 0; j < y.cols(); ++j)
      law.kl(std::span<const double>(old.col(j).data(), static_cast<std::size_t>(y.rows())),
             std::span<const double>(y.data() + j * y.rows(), static_cast<std::size_t>(y.rows())), 0.2, {},
             std::span<double>(dy.col(j).data(), static_cast<std::size_t>(y.rows())));
    Numbers g(theta.size());
    net.pullback(at, x, t, Outputs<double>(dy.data(), dy.rows(), dy.cols()), g);
    return g;
  };
  const auto y = net.forward(theta, x, tape);
  Numbers product(theta.size());
  FisherWorkspace<double> workspace;
  fisher_vector_product(net, law, in(theta), x, tape, y, in(v), product, workspace);
  CHECK(test::pushforward_matches(gradient_of_kl, theta, v, product, {.relative = 1e-7, .absolute = 1e-9}));
}

}  // namespace

TEST_CASE("The Fisher product is the Hessian of the mean divergence") {
  check_fisher(Softmax{3}, Mlp<double>{{2, 4, 3}, Activation::tanh});
  check_fisher(DiagonalGaussian<>{2}, Mlp<double>{{2, 4, 4}, Activation::tanh});
}

TEST_CASE("TRPO raises the surrogate inside of the region, and then allocates nothing") {
  const Mlp<double> net{{2, 8, 3}, Activation::tanh};
  const Softmax law{3};
  Rng rng{3};
  Numbers theta(net.parameter_count());
  net.initialize(theta, rng);
  Matrix<double> x(2, 40);
  std::vector<int> actions(40);
  Numbers a(40);
  for (Eigen::Index j = 0; j < 40; ++j) {
    const auto i = static_cast<std::size_t>(j);
    x(0, j) = rng.normal(), x(1, j) = rng.normal();
    actions[i] = static_cast<int>(i % 3);
    a[i] = actions[i] == (x(0, j) > 0 ? 0 : 2) ? 1 : -0.5;  // the best action depends on the state
  }
  whiten(std::span(a));
  TrpoWorkspace<Mlp<double>> workspace;
  const auto loss = [&](std::span<const double> at) {
    typename Mlp<double>::Tape tape;
    const auto y = net.forward(at, x, tape);
    double sum = 0;
    for (Eigen::Index j = 0; j < 40; ++j)
      sum += a[static_cast<std::size_t>(j)] * law.log_prob(detail::column(y, j), actions[static_cast<std::size_t>(j)]) /
             40;
    return sum;
  };
  const double before = loss(theta);
  Numbers start = theta;
  auto r = trpo_step(net, law, std::span(theta), x, std::span<const int>(actions), in(a), {}, workspace);
  CHECK(r.moved);
  CHECK(r.point.gain > 0);
  CHECK((r.point.kl > 0.002 && r.point.kl <= 0.01));
  CHECK(loss(theta) > before);
  CHECK(gradient_matches(loss, start, Numbers(workspace.gradient.data(), workspace.gradient.data() + start.size()),
                         {.relative = 1e-7}));
  const test::Allocations allocations;
  r = trpo_step(net, law, std::span(theta), x, std::span<const int>(actions), in(a), {}, workspace);
  CHECK(allocations.count() == 0);
  CHECK(r.moved);
  const Numbers kept = theta;
  a[7] = poison;
  CHECK(says(message_of([&] { trpo_step(net, law, std::span(theta), x, std::span<const int>(actions), in(a)); }),
             "trpo_step", "advantage[7]"));
  CHECK(theta == kept);
}

TEST_CASE("TRPO on a table in float") {
  const Tabular<float> table{2, 2};
  std::vector<float> theta(4), a{1, -1, 0.5F, -0.5F};
  const std::vector<int> states{0, 0, 1, 1}, actions{0, 1, 1, 0};
  const auto r = trpo_step(table, Softmax{2}, std::span(theta), std::span(states), std::span<const int>(actions),
                           std::span<const float>(a));
  CHECK(r.moved);
  CHECK((theta[0] > theta[1] && theta[3] > theta[2] && theta[0] > theta[3]));
}
