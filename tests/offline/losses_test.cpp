// Losses of offline learning: offline.md 00, baseline.md 6, and the faults that others shipped.
#include "valence/offline/losses.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/offline/advantage_weights.hpp"
#include "valence/offline/in_sample.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/gaussian.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();

std::span<const double> in(const Numbers& x) { return x; }

void same(std::span<const double> seen, const Numbers& expected, double tolerance = 1e-13) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}

/// A penalty with its gradients.
struct Pushed {
  double value = 0, d_data = 0;
  Numbers dq;
};
Pushed push(const ConservativePenalty& loss, const PushedDown<double>& what, double q_data, double w = 1) {
  Pushed out{.dq = Numbers(what.q.size())};
  out.value = loss(what, q_data, w, out.dq, out.d_data);
  return out;
}

}  // namespace

static_assert(SampleLoss<BehaviourCloningLoss, LogProbSample> && SampleLoss<WeightedRegression, LogProbSample>);
static_assert(SampleLoss<ExpectileLoss, ValueSample>);

TEST_CASE("Behaviour cloning, categorical and Gaussian") {
  const Numbers z{0.5, -1, 2};
  const Softmax law{3};
  const Numbers l{law.log_prob(in(z), 2)};
  Numbers slope(1), dz(3);
  CHECK(mean_loss(BehaviourCloningLoss{}, LogProbColumns<double>{.log_prob = l}, slope) == close(0.241311296657157));
  law.log_prob(in(z), 2, slope[0], dz);
  same(dz, {0.175290392140, 0.039112573271, -0.214402965411}, 1e-11);

  const Numbers y{0.2, -0.4, -0.5, 0.1}, a{0.5, 0.3};
  const DiagonalGaussian<Numbers> gaussian{2};
  Numbers dy(4);
  const double log_prob = gaussian.log_prob(in(y), a, -1, dy);
  CHECK(BehaviourCloningLoss{}(LogProbSample<double>{log_prob}).value == close(1.760788783194107));
  same(dy, {-0.815484548538, -0.573111527155, 0.755354635439, 0.598821930992}, 1e-11);
}

TEST_CASE("Cloning a table ends at the log's frequencies") {
  const std::vector<int> actions{0, 2, 2, 1, 2, 0, 2, 2};
  const Softmax law{3};
  Numbers z{0.3, -1, 0.2}, p(3);
  for (int step = 0; step < 3000; ++step) {
    Numbers l(8), d(8), dz(3);
    for (std::size_t i = 0; i < 8; ++i) l[i] = law.log_prob(in(z), actions[i]);
    mean_loss(BehaviourCloningLoss{}, LogProbColumns<double>{.log_prob = l}, d);
    for (std::size_t i = 0; i < 8; ++i) law.log_prob(in(z), actions[i], d[i], dz);
    for (std::size_t i = 0; i < 3; ++i) z[i] -= dz[i];
  }
  law.probabilities(in(z), p);
  same(p, {0.25, 0.125, 0.625}, 1e-10);
}

TEST_CASE("AWR: weighted regression on four logged actions") {
  const Numbers z{0.5, -1, 2}, advantage{-1, 0, 0.5, 5};
  const int actions[4] = {0, 1, 2, 2};
  const Softmax law{3};
  Numbers weight(4), l(4), d(4), dz(3);
  ExponentialWeights{.beta = 2, .max_weight = 100}(in(advantage), weight);
  for (std::size_t i = 0; i < 4; ++i) l[i] = law.log_prob(in(z), actions[i]);
  const LogProbColumns<double> columns{.log_prob = l, .weight = weight};
  CHECK(mean_loss(WeightedRegression{}, columns, d) == close(7.066013483153528));
  for (std::size_t i = 0; i < 4; ++i) law.log_prob(in(z), actions[i], d[i], dz);
  same(dz, {4.517301496358, 0.765495552177, -5.282797048535}, 1e-12);
  CHECK(gradient_matches(
      [&](std::span<const double> x) {
        return mean_loss(WeightedRegression{}, LogProbColumns<double>{.log_prob = x, .weight = weight});
      },
      l, d));

  // beta = 0 is cloning.
  Numbers ones(4);
  ExponentialWeights{.beta = 0}(in(advantage), ones);
  CHECK(mean_loss(WeightedRegression{}, LogProbColumns<double>{.log_prob = l, .weight = ones}) ==
        mean_loss(BehaviourCloningLoss{}, LogProbColumns<double>{.log_prob = l}));

  const Numbers negative{1, -0.5, 1, 1};
  CHECK(says(
      message_of([&] { mean_loss(WeightedRegression{}, LogProbColumns<double>{.log_prob = l, .weight = negative}); }),
      "WeightedRegression", "weight[1]"));
  CHECK(says(message_of([&] { mean_loss(WeightedRegression{}, LogProbColumns<double>{.log_prob = l}); }),
             "weight has 0"));
}

TEST_CASE("The expectile loss: numbers, slopes, and 0 at 0") {
  const ExpectileLoss loss{.tau = 0.7};
  const auto at = [&](double u) { return loss(ValueSample<double>{.value = 1, .target = 1 + u}); };
  CHECK(at(-1.5).value == close(0.675));
  CHECK(at(-1.5).slope == close(0.9));
  CHECK((at(0).value == 0 && at(0).slope == 0));
  CHECK(at(2).value == close(2.8));
  CHECK(at(2).slope == close(-2.8));
  // baseline.md: u = (1, -.5, .2).
  CHECK(at(1).value == close(0.7));
  CHECK(at(1).slope == close(-1.4));
  CHECK(at(-0.5).value == close(0.075));
  CHECK(at(-0.5).slope == close(0.3));
  CHECK(at(0.2).value == close(0.028));
  CHECK(at(0.2).slope == close(-0.28));

  // Its minimum over V is the expectile.
  const Numbers target{0, 1, 2, 10}, ones(4, 1.0);
  for (const double tau : {0.3, 0.5, 0.9}) {
    const double m = in_sample_expectile(in(target), ones, tau);
    const Numbers v(4, m);
    Numbers d(4);
    mean_loss(ExpectileLoss{tau}, ValueColumns<double>{.value = v, .target = target}, d);
    CHECK(d[0] + d[1] + d[2] + d[3] == close(0.0, 0, 1e-14));
    CHECK(gradient_matches(
        [&](std::span<const double> x) {
          return mean_loss(ExpectileLoss{tau}, ValueColumns<double>{.value = x, .target = target});
        },
        v, d));
  }
  CHECK(says(message_of([] { ExpectileLoss{1}(ValueSample<double>{0, 1}); }), "ExpectileLoss", "tau is 1"));
  CHECK(says(message_of([] { ExpectileLoss{0}(ValueSample<double>{0, 1}); }), "tau is 0"));
  CHECK(says(message_of([&] { loss(ValueSample<double>{0, poison}); }), "target is nan"));
  CHECK(says(message_of([&] { loss(ValueSample<double>{0, 1e200}); }), "inf"));
}

TEST_CASE("CQL(H): the logged action's value is pushed up", "[V23]") {
  Numbers dq(3);
  const Numbers q{1, 2, 0.5};
  CHECK(CqlLoss{.alpha = 5}(in(q), 0, 1.3, 1, dq) == close(7.366843920539724));
  same(dq, {-4.143880511889, 3.142658596059, 0.701221915830}, 1e-11);
  CHECK(push({.alpha = 1}, {.q = q}, 0).value == close(2.464368784107945));

  const Numbers b{1, 2, 0}, pitfall{1, 2, 3};
  const Pushed penalty = push({.alpha = 1}, {.q = b}, b[0]);
  CHECK(penalty.value == close(1.407605964444, 1e-11));
  same(penalty.dq, {1 - 0.755271528945, 0.665240955775, 0.09003057317}, 1e-11);
  CHECK(penalty.d_data == -1);
  CHECK(push({.alpha = 1}, {.q = pitfall}, pitfall[0]).value == close(2.40760596, 1e-8));

  // alpha = 0 is Q-learning; another action and weight by differences.
  Numbers td(3);
  CHECK(CqlLoss{.alpha = 0}(in(q), 1, 1.3, 1, td) == close(0.7 * 0.7 / 2));
  same(td, {0, 0.7, 0});
  Numbers d(3);
  CqlLoss{.alpha = 0.7}(in(q), 2, -0.4, 1.9, d);
  CHECK(gradient_matches(
      [&](std::span<const double> x) {
        Numbers unused(3);
        return 1.9 * CqlLoss{.alpha = 0.7}(x, 2, -0.4, 1, unused);
      },
      q, d));

  const Numbers hidden{1, poison, 0.5};
  const bool mask[3] = {true, false, true};
  Numbers m{0, 8, 0};
  CHECK(CqlLoss{.alpha = 1}(in(hidden), 0, 1, 1, m, mask) == close(std::log(std::exp(1.0) + std::exp(0.5)) - 1));
  CHECK(m[1] == 8);
  CHECK(says(message_of([&] { CqlLoss{}(in(hidden), 1, 1, 1, m, mask); }), "CqlLoss", "action 1 is masked"));
  CHECK(says(message_of([&] { CqlLoss{}(in(hidden), 0, 1, 1, m); }), "q[1]", "nan"));
  CHECK(says(message_of([&] { CqlLoss{}(in(q), 3, 1, 1, m); }), "action is 3"));
  CHECK(says(message_of([&] { CqlLoss{.alpha = -1}(in(q), 0, 1, 1, m); }), "alpha"));
  const Numbers steep{700, -700, 0};
  Numbers s(3);
  CHECK(CqlLoss{.alpha = 1}(in(steep), 1, 0, 1, s) == close(1400.0 + 700.0 * 700.0 / 2));
  CHECK(s[0] == close(1.0));
}

TEST_CASE("CQL's bandit: where the minimum lies for each alpha") {
  // Downhill on alpha (lse Q - mu Q) + mu (Q - r)^2 / 2, by weighted samples; an arm that was never logged sinks away.
  const auto minimiser = [](const Numbers& mu, const Numbers& r, double alpha) {
    Numbers q(mu.size());
    const double step = 1 / (alpha + 1);
    for (int k = 0; k < 20'000; ++k) {
      Numbers dq(mu.size());
      for (std::size_t a = 0; a < mu.size(); ++a) CqlLoss{alpha}(in(q), static_cast<int>(a), r[a], mu[a], dq);
      for (std::size_t a = 0; a < mu.size(); ++a) q[a] -= step * dq[a];
    }
    return q;
  };
  const Numbers mu{0.5, 0.3, 0.2}, r{1, 0.6, 0};
  same(minimiser(mu, r, 0.1), {1.001668892025, 0.591279862859, 0.008907975649}, 1e-9);
  same(minimiser(mu, r, 1), {1.008535258726, 0.552596127610, 0.049767661770}, 1e-9);
  const Numbers strong = minimiser(mu, r, 5);
  same(strong, {1.013807350283, 0.521353828443, 0.083450881628}, 1e-9);
  double balance = 0;
  for (std::size_t a = 0; a < 3; ++a) balance += mu[a] * (strong[a] - r[a]);
  CHECK(balance == close(0.0, 0, 1e-10));
  same(minimiser({0.7, 0.3}, {1, 0.6}, 1), {1.068457798637, 0.440265136513}, 1e-9);
}

TEST_CASE("Cal-QL: values below the reference aren't pushed down") {
  const Numbers q{0.2, 1.5, -0.3};
  const PushedDown<double> at{.q = q, .reference = 0.4};
  const Pushed mean = push({.alpha = 1, .form = PushDown::mean}, at, 0.7);
  CHECK(mean.value == close(0.066666666667, 1e-11));
  same(mean.dq, {0, 1.0 / 3, 0});
  const Pushed soft = push({.alpha = 1, .form = PushDown::log_mean_exp}, at, 0.7);
  CHECK(soft.value == close(0.211658481632859));
  same(soft.dq, {0, 0.600333004455, 0}, 1e-11);
  CHECK(push({.alpha = 1}, at, 0.7).value == close(0.211658481632859 + std::log(3.0)));

  // No reference is CQL; one above everything pushes nothing; equality counts as below.
  const Pushed plain = push({}, {.q = q}, 0.7), none = push({}, {.q = q, .reference = -infinity}, 0.7);
  CHECK(plain.value == none.value);
  same(plain.dq, none.dq);
  same(push({}, {.q = q, .reference = 1e300}, 0.7).dq, {0, 0, 0});
  same(push({.alpha = 1}, {.q = q, .reference = 1.5}, 0.7).dq, {0, 0, 0});
  CHECK(says(message_of([&] { push({}, {.q = q, .reference = infinity}, 0.7); }), "reference is inf"));
  CHECK(says(message_of([&] { push({}, {.q = q, .reference = poison}, 0.7); }), "reference is nan"));

  // Only actions that the policy drew are bounded.
  const bool drawn[3] = {false, true, true};
  const PushedDown<double> mixed{.q = q, .bounded = drawn, .reference = 0.4};
  const Pushed some = push({.alpha = 1, .form = PushDown::mean}, mixed, 0.1);
  CHECK(some.value == close((0.2 + 1.5 + 0.4) / 3 - 0.1));
  same(some.dq, {1.0 / 3, 1.0 / 3, 0});

  Numbers row(3);
  CHECK(CqlLoss{.alpha = 1}(in(q), 1, 1.5, 1, row, {}, 0.4) == close(push({.alpha = 1}, at, 1.5).value));
}

TEST_CASE("Sampled actions: densities, temperature, forms and slopes") {
  const Numbers q{0.2, 1.5, -0.3, 0.9}, density{-1.2, 0.4, -0.1, 0.7};
  const bool drawn[4] = {false, true, true, false}, mask[4] = {true, true, true, false};
  const Numbers poisoned{0.2, 1.5, -0.3, poison}, less{-1.2, 0.4, -0.1, poison};
  for (const PushDown form : {PushDown::log_sum_exp, PushDown::log_mean_exp, PushDown::mean}) {
    const ConservativePenalty loss{.alpha = 1.3, .temperature = 0.6, .form = form};
    const auto value = [&](std::span<const double> x) {
      return 0.7 *
             push(loss, {.q = x.first(4), .log_density = density, .bounded = drawn, .reference = -0.1}, x[4]).value;
    };
    const Pushed p = push(loss, {.q = q, .log_density = density, .bounded = drawn, .reference = -0.1}, 0.35, 0.7);
    Numbers at = q, analytic = p.dq;
    at.push_back(0.35), analytic.push_back(p.d_data);
    CHECK(gradient_matches(value, at, analytic));
    // What is masked counts nowhere.
    const Pushed masked = push(loss, {.q = poisoned, .log_density = less, .mask = mask}, 0.35);
    const Numbers q3{0.2, 1.5, -0.3}, density3{-1.2, 0.4, -0.1};
    CHECK(masked.value == close(push(loss, {.q = q3, .log_density = density3}, 0.35).value));
    CHECK(masked.dq[3] == 0);
  }
  CHECK(push({.alpha = 1, .temperature = 0.6}, {.q = q}, 0).value ==
        close(0.6 * std::log(std::exp(0.2 / 0.6) + std::exp(1.5 / 0.6) + std::exp(-0.5) + std::exp(1.5))));
  CHECK(says(message_of([&] { push({.temperature = 0}, {.q = q}, 0); }), "temperature"));
  CHECK(says(message_of([&] { push({}, {.q = {}}, 0); }), "empty"));
  CHECK(says(message_of([&] { push({}, {.q = q, .log_density = in(density).first(2)}, 0); }), "log_density has 2"));
  CHECK(says(message_of([&] { push({}, {.q = q}, poison); }), "q_data"));
}

TEST_CASE("TD3+BC: numbers, invariance to the reward's scale, cloning at alpha = 0") {
  const Td3BcLoss loss{.alpha = 2.5};
  const Numbers pi{0.1, -0.6}, a{0.4, -0.2}, dq{2, -1}, values{-4, 4, 3, -5}, three{1, -3, 2};
  CHECK(loss.lambda(in(three)) == 1.25);
  CHECK(loss.lambda(in(values)) == 0.625);
  Numbers d(2);
  CHECK(loss(in(pi), a, -3, dq, 0.625, 1, d) == close(2.0));
  same(d, {-1.55, 0.225});

  Numbers scaled(2), larger{-40, 40, 30, -50}, steeper{20, -10};
  loss(in(pi), a, -30, steeper, loss.lambda(in(larger)), 1, scaled);
  same(scaled, d);
  Numbers cloned(2);
  const Td3BcLoss clone{.alpha = 0};
  CHECK(clone(in(pi), a, -3, dq, clone.lambda(in(values)), 1, cloned) == close((0.09 + 0.16) / 2));
  same(cloned, {-0.3, -0.4});

  // Along Q(a) = a_0^2 a_1 with lambda held.
  const auto value = [&](std::span<const double> x) {
    Numbers unused(2);
    return 0.8 * loss(x, a, x[0] * x[0] * x[1], Numbers{2 * x[0] * x[1], x[0] * x[0]}, 0.625, 1, unused);
  };
  Numbers analytic(2);
  loss(in(pi), a, pi[0] * pi[0] * pi[1], Numbers{2 * pi[0] * pi[1], pi[0] * pi[0]}, 0.625, 0.8, analytic);
  CHECK(gradient_matches(value, pi, analytic));

  const Numbers zeros(3, 0.0), bad{1, poison};
  CHECK(says(message_of([&] { loss.lambda(in(zeros)); }), "Td3BcLoss", "epsilon"));
  CHECK(Td3BcLoss{.alpha = 2.5, .epsilon = 0.5}.lambda(in(zeros)) == 5);
  CHECK(says(message_of([&] { loss(in(pi), bad, 0, dq, 1, 1, d); }), "a[1]", "nan"));
  CHECK(says(message_of([&] { loss(in(pi), a, 0, bad, 1, 1, d); }), "dq[1]", "nan"));
  same(d, {-1.55, 0.225});
}

TEST_CASE("Offline losses allocate nothing, in float too") {
  const std::vector<float> q{1, 2, 0.5F}, v{0.3F, 0.2F, 0.1F};
  std::vector<float> dq(3);
  const test::Allocations allocations;
  const float cql = CqlLoss{}(std::span(q), 0, 1.3F, 1, dq);
  const double expectile = mean_loss(ExpectileLoss{}, ValueColumns<float>{.value = v, .target = q}, dq);
  CHECK(allocations.count() == 0);
  CHECK(static_cast<double>(cql) == close(7.366843920539724, 1e-6));
  CHECK(std::isfinite(expectile));
}
