// Offline agents: one update is the papers' equations to the digit, and what others shipped wrong. offline.md 00,
// baseline.md 6; the claim on the maze is benchmarks/learning_offline.cpp.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/agent/evaluate.hpp"
#include "valence/core/archive.hpp"
#include "valence/env/lq_point_mass.hpp"
#include "valence/env/mixed_bandit.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/function/tabular.hpp"
#include "valence/offline/awr.hpp"
#include "valence/offline/behaviour_cloning.hpp"
#include "valence/offline/collect_mixture.hpp"
#include "valence/offline/cql.hpp"
#include "valence/offline/iql.hpp"
#include "valence/offline/td3_bc.hpp"
#include "valence/offline/train_offline.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/gaussian.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

using Discretes = TransitionDataset<int, int>;
using Continuous = TransitionDataset<Vector<double>, Vector<double>>;

void same(std::span<const double> seen, const Numbers& expected, double tolerance = 1e-11) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}
void set(std::span<double> theta, const Numbers& values) { std::copy(values.begin(), values.end(), theta.begin()); }
Numbers copy_of(std::span<const double> x) { return {x.begin(), x.end()}; }

/// A log of one transition: whatever is drawn from it, the batch is that transition.
Discretes one(int state, int action, double reward, int next, bool terminated, bool truncated = false) {
  Discretes data;
  data.add({state, action, reward, next, terminated, truncated});
  return data;
}

/// 3 states, 2 actions; two episodes, of which one was cut off.
Discretes some() {
  Discretes data;
  data.add({0, 1, 0.5, 1, false, false});
  data.add({1, 0, -1, 2, false, false});
  data.add({2, 1, 2, 0, true, false});
  data.add({1, 1, 0.25, 0, false, false});
  data.add({0, 0, -0.5, 2, false, true});
  return data;
}

/// x' = x + 0.1 u with u = -gain x + noise.
Continuous driven(double gain, double noise, std::size_t episodes, Rng& rng) {
  const auto policy = [=](const Vector<double>& x, Rng& r) {
    return Vector<double>(Vector<double>::Constant(1, -gain * x[0] + noise * r.normal()));
  };
  return collect_mixture(lq_point_mass(), {.max_episode_steps = 20}, rng, Behaviour{policy, episodes});
}

constexpr Sgd unit{.step_size = 1};

/// exp(x_a) / sum.
Numbers softmax_of(const Numbers& x) {
  double sum = 0;
  Numbers p;
  for (const double v : x) sum += std::exp(v);
  for (const double v : x) p.push_back(std::exp(v) / sum);
  return p;
}

}  // namespace

// ---------------------------------------------------------------- one update, to the digit

TEST_CASE("BC: an update moves the logits by the spec's gradient, and the visited state alone", "[offline][bc]") {
  BehaviourCloning agent{Tabular{2, 3}, Softmax{3}, unit, {.batch = 7}};
  agent.load(one(1, 2, 0, 0, true));
  set(agent.parameters(), {9, 8, 7, 0.5, -1, 2});
  Rng rng{1};
  agent.update(rng);
  same(agent.parameters(), {9, 8, 7, 0.5 - 0.175290392140, -1 - 0.039112573271, 2 + 0.214402965411});
  CHECK(agent.metrics()[0].value == close(0.241311296657157));
}

TEST_CASE("BC on a table ends at the log's frequencies", "[offline][bc]") {
  Discretes data;
  for (int i = 0; i < 10; ++i) data.add({0, i < 5 ? 0 : i < 8 ? 1 : 2, 0, 0, true, false});
  BehaviourCloning agent{Tabular{1, 3}, Softmax{3}, unit, {.batch = 500, .step_factor = CosineSchedule{1, 0.01, 1500}}};
  Rng rng{2};
  train_offline(agent, data, {.updates = 1500}, rng);
  const auto p = softmax_of(copy_of(agent.parameters()));
  for (const auto& [a, expected] : {std::pair{0, 0.5}, {1, 0.3}, {2, 0.2}})
    CHECK(p[static_cast<std::size_t>(a)] == close(expected, 0, 0.01));
}

TEST_CASE("AWR: value to the logged return, policy by exp(advantage / temperature), capped", "[offline][awr]") {
  // Two transitions whose states differ; the batch holds both in unknown numbers, so each is looked at alone.
  const double discount = 0.9, tail = -4;
  SECTION("a return that ends") {
    Awr agent{Tabular{2, 3}, Softmax{3}, Tabular{2, 1, 0.5}, unit, {.discount = discount, .temperature = 2}};
    agent.load(one(0, 1, 1.5, 1, true));
    Rng rng{1};
    agent.update(rng);
    const double weight = std::exp((1.5 - 0.5) / 2);
    same(agent.value_parameters(), {1.5, 0.5});  // a step of 1 down (V - G)^2 / 2
    same(agent.parameters(), {-weight / 3, weight * 2 / 3, -weight / 3, 0, 0, 0});
  }
  SECTION("one that was cut off goes on with truncated_value, and a weight is capped") {
    Awr agent{Tabular{2, 3},
              Softmax{3},
              Tabular{2, 1, -20.0},
              unit,
              {.discount = discount, .temperature = 1, .max_weight = 20, .truncated_value = tail}};
    agent.load(one(0, 1, 1.5, 1, false, true));
    Rng rng{1};
    agent.update(rng);
    same(agent.value_parameters(), {1.5 + discount * tail, -20});
    same(agent.parameters(), {-20.0 / 3, 40.0 / 3, -20.0 / 3, 0, 0, 0});  // exp(17.9) is capped
  }
}

TEST_CASE("AWR's returns follow the episode, and end where a transition doesn't go on from the one before",
          "[offline][awr]") {
  // V settles at the return of each state's only visit.
  Discretes data;
  data.add({0, 0, 1, 1, false, false});
  data.add({1, 0, 2, 2, false, false});
  data.add({2, 0, 3, 0, true, false});
  data.add({3, 0, 5, 4, false, false});  // what follows begins elsewhere: cut off without a word
  data.add({5, 0, 7, 0, true, false});
  Awr agent{Tabular{6, 1},
            Softmax{1},
            Tabular{6, 1},
            Sgd{.step_size = 0.5},
            {.discount = 0.5, .truncated_value = -8, .batch = 64}};
  Rng rng{3};
  train_offline(agent, data, {.updates = 1000}, rng);
  same(agent.value_parameters(), {1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3, 5 - 0.5 * 8, 0, 7}, 1e-10);
}

TEST_CASE("IQL: one update of value, both critics, targets and policy", "[offline][iql][G26]") {
  const double discount = 0.9, tau = 0.8, beta = 2, rate = 0.25, q0 = 2, v0 = 1.5;
  const bool terminated = GENERATE(false, true), truncated = GENERATE(false, true);
  if (terminated && truncated) return;
  Iql agent{
      Tabular{2, 3},     Softmax{3}, Tabular{2, 3, q0},
      Tabular{2, 1, v0}, unit,       {.discount = discount, .tau = tau, .beta = beta, .target_rate = rate, .batch = 5}};
  agent.load(one(0, 1, -3, 1, terminated, truncated));
  Rng rng{1};
  agent.update(rng);
  const double u = q0 - v0, y = -3 + (terminated ? 0 : discount * v0), weight = std::exp(beta * u);
  same(agent.value_parameters(), {v0 + 2 * tau * u, v0});
  const double target = (1 - rate) * q0 + rate * y;
  same(agent.critic_parameters(), {q0, y, q0, q0, q0, q0, q0, y, q0, q0, q0, q0});
  same(agent.target_critic_parameters(), {q0, target, q0, q0, q0, q0, q0, target, q0, q0, q0, q0});
  same(agent.parameters(), {-weight / 3, weight * 2 / 3, -weight / 3, 0, 0, 0});
  CHECK(agent.metrics()[0].value == close(weight * std::log(3)));
  CHECK(agent.metrics()[1].value == close((q0 - y) * (q0 - y)));
  CHECK(agent.metrics()[2].value == close(tau * u * u));

  // Below V the other side's weight counts, and a policy that isn't weighted is a clone.
  Iql below{Tabular{2, 3}, Softmax{3}, Tabular{2, 3, -1.0}, Tabular{2, 1, v0}, unit, {.tau = tau, .beta = 0}};
  below.load(one(0, 1, -3, 1, true));
  below.update(rng);
  same(below.value_parameters(), {v0 + 2 * (1 - tau) * (-1 - v0), v0});
  same(below.parameters(), {-1.0 / 3, 2.0 / 3, -1.0 / 3, 0, 0, 0});
}

TEST_CASE("IQL never looks at an action that wasn't logged", "[offline][iql]") {
  // The one pair that the log lacks is made the best by far: nothing that is learned may change.
  const auto data = some();
  const auto train = [&](double elsewhere) {
    Iql agent{Tabular{3, 2}, Softmax{2}, Tabular{3, 2}, Tabular{3, 1}, Sgd{.step_size = 0.1}, {.batch = 16}};
    agent.load(data);
    for (const std::size_t critic : {0U, 6U})
      agent.critic_parameters()[critic + 2 * 2] = elsewhere;  // state 2, action 0
    Rng rng{5};
    for (int k = 0; k < 50; ++k) agent.update(rng);
    return std::array{copy_of(agent.value_parameters()), copy_of(agent.parameters())};
  };
  CHECK(train(0) == train((std::numeric_limits<double>::max)()));
}

TEST_CASE("CQL: the spec's gradient, and the logged action's value, not the mean of all", "[offline][cql][V23]") {
  Rng rng{1};
  Cql agent{Tabular{2, 3}, unit, {.alpha = 5, .target_rate = 0.5}};
  agent.load(one(0, 0, 1.3, 1, true));
  set(agent.parameters(), {1, 2, 0.5, 7, 7, 7});
  agent.update(rng);
  same(agent.parameters(), {1 + 4.143880511889, 2 - 3.142658596059, 0.5 - 0.701221915830, 7, 7, 7});
  CHECK(agent.metrics()[0].value == close(7.366843920539724));
  CHECK(agent.metrics()[1].value == 1);

  Cql logged{Tabular{2, 3}, unit, {.alpha = 1}};
  logged.load(one(0, 0, 1, 1, true));
  set(logged.parameters(), {1, 2, 3, 7, 7, 7});
  logged.update(rng);
  CHECK(logged.metrics()[0].value == close(2.40760596444438));  // the mean of all actions would give 1.4076

  // alpha = 0 is Q-learning; a time limit goes on with the value of where it was.
  for (const bool truncated : {false, true}) {
    Cql plain{Tabular{2, 3, 2.0}, unit, {.discount = 0.9, .alpha = 0}};
    plain.load(one(0, 1, 1, 1, false, truncated));
    plain.update(rng);
    same(plain.parameters(), {2, 1 + 0.9 * 2, 2, 2, 2, 2});
  }
}

TEST_CASE("Cal-QL: what lies below the logged return isn't pushed down", "[offline][cql]") {
  Rng rng{1};
  Cql agent{Tabular{2, 3}, unit, {.alpha = 5, .calibrated = true}};
  agent.load(one(0, 0, 1.3, 1, true));
  set(agent.parameters(), {1, 2, 0.5, 7, 7, 7});
  agent.update(rng);
  const double share = std::exp(2) / (std::exp(2) + 2 * std::exp(1.3));
  same(agent.parameters(), {1 + 5 - (1 - 1.3), 2 - 5 * share, 0.5, 7, 7, 7});

  // The return of a goal that wasn't reached: truncated_value, here so low that nothing is bounded.
  Cql low{Tabular{2, 3}, unit, {.discount = 0.5, .alpha = 5, .calibrated = true, .truncated_value = -1e6}};
  Cql none{Tabular{2, 3}, unit, {.discount = 0.5, .alpha = 5}};
  for (auto* a : {&low, &none}) {
    a->load(one(0, 0, 1.3, 1, false, true));
    set(a->parameters(), {1, 2, 0.5, 7, 7, 7});
    a->update(rng);
  }
  CHECK(copy_of(low.parameters()) == copy_of(none.parameters()));
}

TEST_CASE("CQL on a bandit's log ends at the spec's minimum", "[offline][cql]") {
  Discretes data;
  for (int i = 0; i < 10; ++i) {
    const int arm = i < 5 ? 0 : i < 8 ? 1 : 2;
    data.add({0, arm, arm == 0 ? 1.0 : arm == 1 ? 0.6 : 0.0, 0, true, false});
  }
  Cql agent{Tabular{1, 3}, unit, {.alpha = 1, .batch = 500, .step_factor = CosineSchedule{0.5, 0.005, 1500}}};
  Rng rng{4};
  train_offline(agent, data, {.updates = 1500}, rng);
  const Numbers expected{1.008535258726, 0.552596127610, 0.049767661770};
  for (std::size_t a = 0; a < 3; ++a) CHECK(agent.parameters()[a] == close(expected[a], 0, 0.01));
}

TEST_CASE("TD3+BC: the actor's step is the gradient of its loss, in the box's units, and moves nothing else",
          "[offline][td3_bc][G26]") {
  Continuous data;
  const auto vec = [](double a, double b) { return Vector<double>{{a, b}}; };
  data.add({vec(0.3, -0.7), vec(1.5, -2), 0.4, vec(0.1, 0.2), false, false});
  data.end_episode();
  const Box<Vector<double>> box{vec(-2, -5), vec(4, 1)};  // centers 1, -2; half-widths 3, 3
  const auto make = [&](double alpha, int delay) {
    return Td3Bc{Mlp<double>{{2, 5, 2}, relu},
                 box,
                 Mlp<double>{{4, 6, 1}, relu},
                 Sgd{.step_size = 0.01},
                 {.alpha = alpha, .policy_delay = delay, .batch = 3},
                 Rng{8}};
  };
  for (const double alpha : {0.0, 2.5}) {
    auto agent = make(alpha, 1), still = make(alpha, 2);
    agent.load(data), still.load(data);
    const Numbers before = copy_of(agent.parameters()), critics = copy_of(agent.critic_parameters());
    Rng a{1}, b{1};
    agent.update(a), still.update(b);
    CHECK(copy_of(still.parameters()) == before);  // the critics' step leaves the actor
    CHECK(copy_of(agent.critic_parameters()) == copy_of(still.critic_parameters()));  // and the reverse
    CHECK(copy_of(agent.critic_parameters()) != critics);

    // The loss as the paper writes it, with the actions brought to [-1, 1]: lambda is a number.
    const auto units = [&](std::span<const double> theta) {
      typename Mlp<double>::Tape tape;
      const auto y = agent.model().forward(theta, data[0].state, tape);
      return Numbers{std::tanh(y(0, 0)), std::tanh(y(1, 0))};
    };
    const auto first_q = [&](const Numbers& u) {
      Matrix<double> x(4, 1);
      x << 0.3, -0.7, u[0], u[1];
      typename Parallel<Mlp<double>, Mlp<double>>::Tape tape;
      return agent.critic_model().forward(agent.critic_parameters(), x, tape)(0, 0);
    };
    const double lambda = alpha / std::abs(first_q(units(before)));
    const auto loss = [&](std::span<const double> theta) {
      const auto u = units(theta);
      const double d0 = u[0] - (1.5 - 1) / 3, d1 = u[1] - (-2.0 + 2) / 3;
      return -lambda * first_q(u) + (d0 * d0 + d1 * d1) / 2;
    };
    Numbers gradient;
    for (std::size_t i = 0; i < before.size(); ++i) gradient.push_back((before[i] - agent.parameters()[i]) / 0.01);
    CHECK(gradient_matches(loss, before, gradient, {.relative = 1e-7, .absolute = 1e-9, .step = 1e-5}));
  }
}

// ---------------------------------------------------------------- what every one of them keeps

namespace {

template <class F>
void with_every_agent(F&& f) {
  const Tabular policy{3, 2}, critic{3, 2}, value{3, 1};
  const Adam adam{.step_size = 0.05};
  const auto discrete = some();
  Rng rng{11};
  const auto continuous = driven(1, 0.5, 3, rng);
  const Box<Vector<double>> box = lq_point_mass().actions();
  f("BehaviourCloning", BehaviourCloning{policy, Softmax{2}, adam, {.batch = 8}}, discrete);
  f("Awr", Awr{policy, Softmax{2}, value, adam, {.batch = 8}}, discrete);
  f("Iql", Iql{policy, Softmax{2}, critic, value, adam, {.batch = 8}}, discrete);
  f("Cql", Cql{critic, adam, {.calibrated = true, .batch = 8}}, discrete);
  f("Cql", Cql{Mlp<float>{{3, 8, 2}, relu}, adam, {.batch = 8}}, discrete);
  const DiagonalGaussian law{1};
  f("BehaviourCloning", BehaviourCloning{Mlp<double>{{1, 4, 2}, relu}, law, adam, {.batch = 8}}, continuous);
  f("Awr", Awr{Mlp<float>{{1, 4, 2}, relu}, law, Mlp<float>{{1, 4, 1}, relu}, adam, {.batch = 8}}, continuous);
  f("Iql",
    Iql{Mlp<double>{{1, 4, 2}, relu},
        law,
        Mlp<double>{{2, 4, 1}, relu},
        Mlp<double>{{1, 4, 1}, relu},
        adam,
        {.batch = 8}},
    continuous);
  f("Td3Bc", Td3Bc{Mlp<double>{{1, 4, 1}, relu}, box, Mlp<double>{{2, 4, 1}, relu}, adam, {.batch = 8}}, continuous);
}

}  // namespace

TEST_CASE("Offline training without data throws, and the log says what was seen", "[offline][R19]") {
  with_every_agent([](const char* name, auto agent, const auto& data) {
    CAPTURE(name);
    Rng rng{1};
    CHECK(says(message_of([&] { agent.update(rng); }), name, "no data", "load"));
    CHECK(says(message_of([&] { train_offline(agent, {.updates = 1}, rng); }), "no data"));
    CHECK(says(message_of([&] { agent.load(std::remove_cvref_t<decltype(data)>{}); }), name, "empty"));
    CHECK(agent.updates() == 0);

    auto log = train_offline(agent, data, {.updates = 1}, rng);
    CHECK(log.updates == 1);
    CHECK(log.transitions == data.size());
    CHECK(log.distinct_transitions >= 1);
    CHECK(log.distinct_transitions <= 8);
    CHECK(log.distinct_transitions == agent.distinct_transitions());
    log = train_offline(agent, {.updates = 200}, rng);
    CHECK(log.distinct_transitions == data.size());
    CHECK(log.metric("train/n_updates") == 201);
    CHECK(says(message_of([&] { static_cast<void>(log.metric("nothing")); }), "nothing"));
    agent.load(data);
    CHECK(agent.distinct_transitions() == 0);
    CHECK(agent.updates() == 201);
  });
}

TEST_CASE("An update allocates nothing once it has run", "[offline]") {
  with_every_agent([](const char* name, auto agent, const auto& data) {
    CAPTURE(name);
    Rng rng{1};
    agent.load(data);
    for (int k = 0; k < 4; ++k) agent.update(rng);
    const Allocations allocations;
    for (int k = 0; k < 6; ++k) agent.update(rng);
    CHECK(allocations.count() == 0);
  });
}

TEST_CASE("A saved agent goes on to the bit, and refuses another's bytes", "[offline]") {
  with_every_agent([](const char* name, auto agent, const auto& data) {
    CAPTURE(name);
    Rng rng{1};
    auto other = agent;
    train_offline(agent, data, {.updates = 5}, rng);
    const auto bytes = to_bytes(agent);
    from_bytes(bytes, other);
    Rng a{2}, b{2};
    for (int k = 0; k < 5; ++k) agent.update(a), other.update(b);
    CHECK(to_bytes(agent) == to_bytes(other));
    CHECK(agent.distinct_transitions() == other.distinct_transitions());
    const std::span<const std::byte> half(bytes.data(), bytes.size() / 2);
    CHECK(says(message_of([&] { from_bytes(half, other); }), "from_bytes"));
    CHECK(to_bytes(agent) == to_bytes(other));
  });
}

TEST_CASE("Callbacks hear of progress and stop a run", "[offline]") {
  BehaviourCloning agent{Tabular{3, 2}, Softmax{2}, unit};
  Rng rng{1};
  std::vector<std::uint64_t> steps;
  auto log = train_offline(agent, some(), {.updates = 25, .report_every = 10}, rng, [&](const ProgressEvent& e) {
    steps.push_back(e.step);
    CHECK(e.total == 25);
    CHECK(e.metric == "train/policy_loss");
  });
  CHECK(steps == std::vector<std::uint64_t>{10, 20, 25});
  CHECK_FALSE(log.stopped);
  log = train_offline(agent, some(), {.updates = 25, .report_every = 10}, rng,
                      [](const ProgressEvent& e) { return e.step < 20; });
  CHECK(log.updates == 20);
  CHECK(log.stopped);
  CHECK(says(message_of([&] { train_offline(agent, some(), {.updates = 0}, rng); }), "updates", "0"));
}

TEST_CASE("A run that diverges says which quantity, and when", "[offline]") {
  Rng rng{1};
  const auto diverges = [&](auto agent, const auto& data) {
    return message_of([&] { train_offline(agent, data, {.updates = 1000}, rng); });
  };
  const auto loops = one(0, 0, 1, 0, false, true);
  CHECK(says(diverges(Cql{Tabular{1, 2}, Sgd{.step_size = 1e160}, {.alpha = 0, .target_rate = 1}}, loops), "Cql",
             "diverged", "at update 1"));
  const Sgd wild{.step_size = 1e160};
  CHECK(says(diverges(Iql{Tabular{1, 2}, Softmax{2}, Tabular{1, 2}, Tabular{1, 1}, wild, {.target_rate = 1}}, loops),
             "Iql", "diverged", "at update"));
  const auto data = driven(1, 0.5, 3, rng);
  CHECK(says(diverges(Td3Bc{Mlp<double>{{1, 4, 1}, relu}, lq_point_mass().actions(), Mlp<double>{{2, 4, 1}, relu},
                            Sgd{.step_size = 1e9}},
                      data),
             "Td3Bc", "diverged", "at update"));
}

TEST_CASE("Bad options, sizes and transitions are refused by name, and change nothing", "[offline]") {
  const Tabular policy{3, 2}, critic{3, 2}, value{3, 1};
  const Softmax law{2};
  const auto iql = [&](IqlOptions o) { return message_of([&] { Iql{policy, law, critic, value, unit, o}; }); };
  CHECK(says(iql({.tau = 0}), "tau", "0"));
  CHECK(says(iql({.tau = 1}), "tau", "1"));
  CHECK(says(iql({.beta = -1}), "beta"));
  CHECK(says(iql({.max_weight = 0}), "max_weight"));
  CHECK(says(iql({.discount = 1.5}), "discount"));
  CHECK(says(iql({.target_rate = 0}), "target_rate"));
  CHECK(says(iql({.batch = 0}), "batch"));
  CHECK(says(message_of([&] { Awr{policy, law, value, unit, {.temperature = 0}}; }), "temperature"));
  CHECK(says(message_of([&] { Cql{critic, unit, {.alpha = -1}}; }), "alpha"));
  CHECK(says(message_of([&] { BehaviourCloning{Tabular{3, 3}, law, unit}; }), "policy", "3", "2"));
  CHECK(says(message_of([&] { Iql{policy, law, value, value, unit}; }), "critic"));
  CHECK(says(message_of([&] { Iql{policy, law, critic, critic, unit}; }), "value"));

  Iql agent{policy, law, critic, value, unit};
  agent.load(some());
  const auto before = to_bytes(agent);
  auto data = some();
  data.add({0, 2, 0, 1, true, false});
  CHECK(says(message_of([&] { agent.load(data); }), "transition 5", "action", "2"));
  data = some();
  data.add({0, 1, 0, 3, true, false});
  CHECK(says(message_of([&] { agent.load(data); }), "transition 5", "state", "3"));
  CHECK(to_bytes(agent) == before);
  Td3Bc td3{Mlp<double>{{1, 4, 1}, relu}, lq_point_mass().actions(), Mlp<double>{{2, 4, 1}, relu}, unit};
  Rng rng{1};
  auto good = driven(1, 0.5, 1, rng);
  td3.load(good);
  const auto loaded = to_bytes(td3);
  good.add({Vector<double>::Zero(1), Vector<double>::Zero(2), 0, Vector<double>::Zero(1), true, false});
  CHECK(says(message_of([&] { td3.load(good); }), "transition 20", "action"));
  CHECK(to_bytes(td3) == loaded);
}

// ---------------------------------------------------------------- models and laws

TEST_CASE("A table and a linear model over one-hot states learn the same", "[offline][iql]") {
  const auto train = [](auto policy, auto critic, auto value) {
    Iql agent{policy, Softmax{2}, critic, value, Adam{.step_size = 0.02}, {.batch = 16}};
    Rng rng{6};
    train_offline(agent, some(), {.updates = 100}, rng);
    return std::array{copy_of(agent.parameters()), copy_of(agent.critic_parameters())};
  };
  const OneHot states{3};
  const auto table = train(Tabular{3, 2}, Tabular{3, 2}, Tabular{3, 1});
  const auto linear = train(Linear{states, 2}, Linear{states, 2}, Linear{states, 1});
  for (const std::size_t k : {0U, 1U}) same(table[k], linear[k], 1e-12);
}

TEST_CASE("Continuous control from a log: clones clone, and IQL and TD3+BC do better", "[offline]") {
  // u = -k x + noise with k = 0.3: the best linear policy has 2.49. The critic is quadratic, hence exact.
  const double discount = 0.95;
  const Linear mean_and_spread{Identity{.inputs = 1, .bias = true}, 2};
  const Linear value{Polynomial{1, 2}, 1}, critic{Polynomial{2, 2, 2}, 1};
  const DiagonalGaussian law{1};
  const Adam adam{.step_size = 0.02};
  const auto gain = [](auto& agent) {
    const auto at = [&](double x) { return agent.greedy(Vector<double>(Vector<double>::Constant(1, x)))[0]; };
    return (at(-0.5) - at(0.5));
  };
  for (const int seed : {0, 1, 2}) {
    CAPTURE(seed);
    Rng rng = Rng{12}.split(seed);
    const auto data = driven(0.3, 1, 100, rng);
    const Rate factor = LinearSchedule{1, 0.05, 3000};
    BehaviourCloning clone{mean_and_spread, law, adam, {.step_factor = factor}};
    train_offline(clone, data, {.updates = 3000}, rng);
    CHECK(gain(clone) == close(0.3, 0, 0.1));
    Iql iql{mean_and_spread, law,  critic,
            value,           adam, {.discount = discount, .tau = 0.9, .target_rate = 0.05, .step_factor = factor}};
    train_offline(iql, data, {.updates = 3000}, rng);
    CHECK(gain(iql) > 0.8);
    CHECK(gain(iql) < 3.5);
    for (const auto& [alpha, expected] : {std::pair{0.0, 0.3}, {2.5, 2.49}}) {
      Td3Bc td3{Linear{Identity{.inputs = 1, .bias = true}, 1},
                lq_point_mass().actions(),
                critic,
                Adam{.step_size = 0.05},
                {.discount = discount, .alpha = alpha, .target_noise = 0, .target_rate = 0.05, .step_factor = factor}};
      train_offline(td3, data, {.updates = 3000}, rng);
      CHECK(gain(td3) == close(expected, 0, 0.15));
    }
  }
}
