#include "valence/agent/deploy.hpp"

#include <array>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/a2c.hpp"
#include "valence/agent/callbacks.hpp"
#include "valence/agent/mpo.hpp"
#include "valence/agent/ppo.hpp"
#include "valence/agent/sac.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/random.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/pendulum.hpp"
#include "valence/env/time_limit.hpp"

using namespace valence;

namespace {

using valence::test::close;

/// The saved policy acts as the agent does, greedily, in random states.
template <class Agent>
void same_choices(Agent agent, SavedPolicy<float> policy) {
  Rng rng{1};
  int differ = 0;
  for (int k = 0; k < 500; ++k) {
    Vector<float> s(4);
    for (float& x : view(s)) x = rng.normal<float>();
    if (policy.act(view(std::as_const(s))) != agent.greedy(s)) ++differ;
  }
  CHECK(differ <= 1);  // two values may be equal up to rounding
}
template <class Agent>
void same_torques(Agent agent, SavedPolicy<float> policy, bool clips = false) {
  Rng rng{2};
  for (int k = 0; k < 100; ++k) {
    Vector<float> s(3);
    for (float& x : view(s)) x = rng.normal<float>();
    std::array<float, 1> torque;
    policy.act(view(std::as_const(s)), torque);
    double expected = agent.greedy(s);
    if (clips) expected = (std::max)(-2.0, (std::min)(2.0, expected));
    CHECK(double(torque[0]) == close(expected, 1e-4, 1e-5));
  }
}

Mlp<float> net(int in, int out, MlpOptions options = {}) { return {{in, 12, 9, out}, relu, options}; }
/// Far from its start, so that all parts count.
template <class Agent>
Agent stirred(Agent agent) {
  Rng rng{3};
  for (float& x : agent.parameters()) x += 0.2F * rng.normal<float>();
  return agent;
}

}  // namespace

TEST_CASE("an agent's policy without the agent: DQN, its heads and networks", "[deploy]") {
  const auto check = [](auto network, auto head) {
    auto agent = stirred(Dqn{network, head, Adam{}});
    same_choices(agent, saved_policy(agent));
  };
  check(net(4, 3), ScalarHead{});
  check(net(4, 3, {.layer_norm = true}), ScalarHead{});
  check(Dueling{net(4, 4), 3}, ScalarHead{});
  check(Noisy{net(4, 3)}, ScalarHead{});
  const CategoricalReturn c51{.atoms = 5, .min = -1, .max = 3};
  check(net(4, c51.size(3)), c51);
  check(Noisy{Dueling{net(4, 20), 3, 5}}, c51);
  const QuantileReturn qr{.quantiles = 4};
  check(net(4, qr.size(3)), qr);
  const HlGauss hl{.bins = 5, .min = -1, .max = 3};
  check(net(4, hl.size(3)), hl);
  const TwoHot two{.atoms = 5, .min = -1, .max = 3};
  check(net(4, two.size(3)), two);
  check(net(4, 3), RescaledValue{ScalarHead{}});
  check(net(4, two.size(3)), RescaledValue{two});
}

TEST_CASE("IQN without fractions: one plain network gives the mean of the quantiles", "[deploy][iqn]") {
  using Net = ImplicitQuantileNetwork<Mlp<double>, Mlp<double>>;
  const auto start = [](const Net& net, std::uint64_t seed) {
    std::vector<double> theta(net.parameter_count());
    Rng rng{seed};
    net.initialize(theta, rng);
    return theta;
  };
  const MlpOptions ends{.output = Activation::tanh};
  const auto agrees = [&](const Net& net, std::uint64_t seed) {
    const auto theta = start(net, seed);
    const std::vector<double> tau{0.05, 0.4, 0.7, 0.99};
    const auto [plain, weights] = without_fractions(net, std::span<const double>(theta), tau);
    REQUIRE(weights.size() == plain.parameter_count());
    Rng rng{seed + 1};
    Matrix<double> x(2 + 4, 6);
    rng.fill_normal(view(x));
    for (int k = 0; k < 4; ++k) x.row(2 + k).setConstant(tau[std::size_t(k)]);
    Net::Tape tape;
    Mlp<double>::Tape other;
    const auto y = net.forward(theta, x, tape);
    const Matrix<double> states = x.topRows(2);
    const auto mean = plain.forward(weights, states, other);
    for (int j = 0; j < 6; ++j)
      for (int a = 0; a < net.actions(); ++a)
        CHECK(mean(a, j) == close(y.col(j).segment(4 * a, 4).mean(), 1e-13, 1e-13));
  };
  using M = Mlp<double>;
  agrees({M{{2, 4}, relu, ends}, M{{4, 6, 3}, Activation::tanh}, {.fractions = 4}}, 8);
  agrees({M{{2, 3, 4}, Activation::tanh, ends}, M{{4, 5, 3, 2}, Activation::tanh}, {.fractions = 4}}, 9);
  agrees({M{{2, 4}, relu, ends}, M{{4, 2}, relu}, {.fractions = 4}}, 10);
  const std::vector<double> tau{0.5};
  const Net bare{M{{2, 4}, relu}, M{{4, 6, 3}, relu}};  // the trunk ends without an activation
  const Net good{M{{2, 4}, relu, ends}, M{{4, 3}, relu}};
  const auto theta = start(bare, 11), other = start(good, 11);
  CHECK_THROWS_AS(without_fractions(bare, std::span<const double>(theta), tau), Error);
  CHECK_THROWS_AS(without_fractions(good, std::span<const double>(other), {}), Error);
  CHECK_THROWS_AS(without_fractions(good, std::span<const double>(other).first(3), tau), Error);
}

TEST_CASE("an agent's policy without the agent: IQN", "[deploy][iqn]") {
  const ImplicitQuantileNetwork net{Mlp<float>{{4, 12}, relu, {.output = relu}}, Mlp<float>{{12, 9, 3}, relu}};
  const auto check = [&](ImplicitQuantiles quantiles) {
    const auto agent = stirred(Iqn{net, std::move(quantiles), Adam{}});
    same_choices(agent, saved_policy(agent));
  };
  check({.choices = 8});
  check({.choices = 8, .distortion = CvarDistortion{0.2}});
}

TEST_CASE("an agent's policy without the agent: policy gradients and continuous control", "[deploy]") {
  same_choices(stirred(A2c{net(4, 4), Softmax{3}, Adam{}}), saved_policy(stirred(A2c{net(4, 4), Softmax{3}, Adam{}})));
  const auto apart = stirred(Ppo{Parallel{net(4, 3), net(4, 1)}, Softmax{3}, Adam{}});
  same_choices(apart, saved_policy(apart));
  const Pendulum env;
  const auto constant =
      stirred(Ppo{Parallel{Parallel{net(3, 1), Constant<float>{1}}, net(3, 1)}, DiagonalGaussian<double>{}, Adam{}});
  same_torques(constant, saved_policy(constant, env.actions()), true);
  const auto shared = stirred(Ppo{net(3, 3), DiagonalGaussian<double>{}, Adam{}});
  same_torques(shared, saved_policy(shared, env.actions()), true);
  const auto sac = stirred(Sac{net(3, 2), SquashedGaussian{env.actions()}, net(4, 1), Adam{}});
  same_torques(sac, saved_policy(sac));
  const auto mpo = stirred(Mpo{net(3, 2), SquashedGaussian{env.actions()}, net(4, 1), Adam{}});
  same_torques(mpo, saved_policy(mpo));
  const auto td3 = stirred(Td3{net(3, 1), env.actions(), net(4, 1), Adam{}, GaussianNoise{}});
  same_torques(td3, saved_policy(td3));
}

TEST_CASE("EvaluateEvery: training is the same with it, the best agent is kept, and it ends where it should",
          "[callbacks]") {
  const auto make = [] { return A2c{net(4, 3), Softmax{2}, Adam{.step_size = 3e-3}, {.horizon = 20}}; };
  const TimeLimit env{CartPole{}};
  auto plain = make(), watched = make();
  Rng a{4}, b{4};
  train(plain, env, {.steps = 3000}, a);
  EvaluateEvery evaluation{watched, env, Rng{5}, {.every = 500, .episodes = 5}};
  train(watched, env, {.steps = 3000}, b, evaluation);
  CHECK(std::vector<float>(plain.parameters().begin(), plain.parameters().end()) ==
        std::vector<float>(watched.parameters().begin(), watched.parameters().end()));
  REQUIRE(evaluation.history().size() >= 4);
  double most = 0;
  std::int64_t before = 0;
  for (const auto& point : evaluation.history()) {
    most = (std::max)(most, point.mean);
    CHECK(point.step >= before + 500);
    before = point.step;
  }
  CHECK(evaluation.best_mean() == most);

  auto eager = make();
  Rng c{4};
  EvaluateEvery stops{eager, env, Rng{5}, {.every = 100, .episodes = 2, .stop_at = 1}};
  const auto log = train(eager, env, {.steps = 100'000}, c, stops);
  CHECK(log.stopped);
  CHECK(log.steps < 700);
  auto patient = make();
  EvaluateEvery gives_up{patient, env, Rng{5}, {.every = 1, .episodes = 2, .patience = 3}};
  Rng d{4};
  CHECK(train(patient, env, {.steps = 100'000}, d, gives_up).stopped);
  CHECK_THROWS_AS((EvaluateEvery{patient, env, Rng{5}, {.every = 0}}), Error);
}
