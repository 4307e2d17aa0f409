// Eligibility traces: golden numbers, the forward views that they equal, and the models they run over.
#include <Eigen/Core>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/lambda.hpp"
#include "valence/agent/monte_carlo_control.hpp"
#include "valence/agent/q_learning.hpp"
#include "valence/agent/sarsa.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/random.hpp"
#include "valence/env/cliff_walking.hpp"
#include "valence/env/model_environment.hpp"
#include "valence/env/small_models.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/tabular.hpp"
#include "valence/function/tile_coding.hpp"
#include "valence/value/traces.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;
using Move = Transition<int, int>;
using Point = Eigen::Vector2d;

namespace {

using valence::test::close;

/// There is nothing to choose.
struct Stay {
  int sample(const auto&, Rng&) const { return 0; }
};

/// E4: one episode of four steps.
const std::array<Point, 5> e4_features{Point{1, 0}, Point{0.5, 0.5}, Point{1, 0}, Point{0, 1}, Point{7, 7}};
constexpr std::array<double, 4> e4_rewards{1, -1, 0.5, 2};

template <class Agent>
Numbers after_e4(Agent agent) {
  Rng rng{1};
  for (std::size_t t = 0; t < 4; ++t)
    agent.learn(Transition<Point, int>{e4_features[t], 0, e4_rewards[t], e4_features[t + 1], t == 3, false}, rng);
  return {agent.parameters().begin(), agent.parameters().end()};
}

}  // namespace

TEST_CASE("the trace decays by the discount that entered the state", "[V18]") {
  for (const Trace kind : {Trace::accumulating, Trace::replacing, Trace::dutch}) {
    TdLambda agent{Tabular{2, 1}, Stay{}, {.step_size = 0.1, .discount = 0.9, .lambda = 1, .trace = kind}};
    SarsaLambda control{Tabular{2, 1}, Greedy{}, {.step_size = 0.1, .discount = 0.9, .lambda = 1, .trace = kind}};
    Rng rng{1};
    for (const Move& m : {Move{0, 0, 0.0, 1, false, false}, Move{1, 0, 1.0, 99, true, false}}) {
      agent.learn(m, rng);
      control.learn(m, rng);
    }
    CHECK(agent.parameters()[0] == close(0.09));
    CHECK(agent.parameters()[1] == close(0.1));
    CHECK(control.parameters()[0] == close(0.09));
    CHECK(agent.traces().active() == 0);
  }
}

TEST_CASE("E4: the backward view gives the offline increments of the lambda returns") {
  const std::array<int, 4> state{0, 1, 0, 2};
  const std::array<double, 4> value{0.2, -0.1, 0.2, 0.4};
  Traces<double> z{3};
  Numbers increment(3);
  for (std::size_t t = 0; t < 4; ++t) {
    const double delta = e4_rewards[t] + (t < 3 ? 0.9 * value[t + 1] : 0) - value[t];
    z.decay(0.9 * 0.8);
    z.add(static_cast<std::size_t>(state[t]), 1);
    z.apply(std::span<double>(increment), 0.1 * delta);
  }
  const Numbers expected{0.29429408, 0.058464, 0.16};
  for (std::size_t k = 0; k < 3; ++k) CHECK(increment[k] == close(expected[k], 1e-14));
}

TEST_CASE("true online TD: E4, and the online lambda-return algorithm on random features") {
  const Numbers w =
      after_e4(TrueOnlineTd{Linear{Identity{2}, 1}, Stay{}, {.step_size = 0.1, .discount = 0.9, .lambda = 0.8}});
  CHECK(w[0] == close(0.325138546826, 1e-11));
  CHECK(w[1] == close(0.215483374611, 1e-11));

  // Sutton and Barto (2018), section 12.4: at every time h all updates are made anew, with returns that end at h.
  Rng rng{3};
  constexpr double alpha = 0.13, discount = 0.9, lambda = 0.7;
  constexpr std::size_t length = 8;
  std::vector<Point> x(length + 1);
  Numbers reward(length);
  for (Point& p : x) p = {rng.normal(), rng.normal()};
  for (double& r : reward) r = rng.normal();
  const Point first{0.4, -0.3};
  std::vector<Point> at{first};  // w_t^t
  TrueOnlineTd agent{Linear{Identity{2}, 1}, Stay{}, {.step_size = alpha, .discount = discount, .lambda = lambda}};
  agent.parameters()[0] = first[0], agent.parameters()[1] = first[1];
  for (std::size_t h = 1; h <= length; ++h) {
    agent.learn(Transition<Point, int>{x[h - 1], 0, reward[h - 1], x[h], h == length, false}, rng);
    Point weights = first;
    for (std::size_t t = 0; t < h; ++t) {
      double total = 0, sum = 0, power = 1, weight = 1;
      for (std::size_t n = 1; t + n <= h; ++n) {
        sum += power * reward[t + n - 1];
        power *= discount;
        const double bootstrap = t + n == length ? 0 : at[t + n - 1].dot(x[t + n]);
        const double n_step = sum + power * bootstrap;
        const bool last = t + n == h;
        total += weight * (last ? 1 : 1 - lambda) * n_step;
        weight *= lambda;
      }
      weights += alpha * (total - weights.dot(x[t])) * x[t];
    }
    at.push_back(weights);
    CHECK(agent.parameters()[0] == close(weights[0], 1e-12, 1e-13));
    CHECK(agent.parameters()[1] == close(weights[1], 1e-12, 1e-13));
  }
}

TEST_CASE("accumulating, replacing and dutch traces of a state that is visited twice") {
  // 0 -> 0 -> end with reward 1 at the end only, zeros: the trace at the end is what is learned, times .1.
  const auto learned = [](Trace kind) {
    SarsaLambda agent{Tabular{1, 1}, Greedy{}, {.step_size = 0.1, .discount = 0.5, .lambda = 0.8, .trace = kind}};
    Rng rng{1};
    agent.learn(Move{0, 0, 0.0, 0, false, false}, rng);
    agent.learn(Move{0, 0, 1.0, 0, true, false}, rng);
    return agent.parameters()[0];
  };
  CHECK(learned(Trace::accumulating) == close(0.1 * 1.4));
  CHECK(learned(Trace::replacing) == close(0.1));
  CHECK(learned(Trace::dutch) == close(0.1 * (0.4 + 1 - 0.1 * 0.4)));
}

TEST_CASE("Watkins's Q(lambda) cuts the trace where an action wasn't greedy") {
  QLambda agent{Tabular{3, 2}, Greedy{}, {.step_size = 0.1, .discount = 0.5, .lambda = 0.8}};
  agent.parameters()[2] = 1;  // in state 1 action 0 is greedy
  Rng rng{1};
  QLambda other = agent;
  agent.learn(Move{0, 0, 0.0, 1, false, false}, rng);  // both: Q(0, 0) = .1 .5 1
  other.learn(Move{0, 0, 0.0, 1, false, false}, rng);
  agent.learn(Move{1, 0, 3.0, 2, false, false}, rng);  // error 2: Q(0, 0) += .1 2 .4
  other.learn(Move{1, 1, 3.0, 2, false, false}, rng);  // not greedy: Q(0, 0) stays
  CHECK(agent.parameters()[0] == close(0.05 + 0.08));
  CHECK(other.parameters()[0] == close(0.05));
  CHECK(other.parameters()[3] == close(0.3));
}

TEST_CASE("a trace doesn't reach over the end of an episode, nor over one that was left") {
  const auto follow = [](bool truncated) {
    TdLambda agent{Tabular{3, 1}, Stay{}, {.step_size = 0.5, .discount = 1, .lambda = 1}};
    Rng rng{1};
    agent.learn(Move{0, 0, 0.0, 1, false, truncated}, rng);
    if (!truncated) agent.begin_episode();
    agent.learn(Move{1, 0, 1.0, 2, true, false}, rng);
    return agent.parameters()[0];
  };
  CHECK(follow(true) == 0);
  CHECK(follow(false) == 0);
}

TEST_CASE("a table, one-hot features and dense features learn the same") {
  const auto play = [](auto agent) {
    Rng rng{5};
    train(agent, CliffWalking{}, {.steps = 3000, .max_episode_steps = 60}, rng);
    return Numbers(agent.parameters().begin(), agent.parameters().end());
  };
  const EpsilonGreedy choice{0.2};
  const Linear one_hot{OneHot{48}, 4};
  const Linear dense{Identity{48}, 4};  // an integer enters as a unit vector
  const OnlineOptions online{.step_size = 0.5, .discount = 0.9};
  const LambdaOptions traces{.step_size = 0.25, .discount = 0.9, .lambda = 0.8};
  const LambdaOptions dutch{.step_size = 0.25, .discount = 0.9, .lambda = 0.8, .trace = Trace::dutch};
  const Tabular<double> table{48, 4};
  CHECK(play(QLearning{table, choice, online}) == play(QLearning{one_hot, choice, online}));
  CHECK(play(QLearning{table, choice, online}) == play(QLearning{dense, choice, online}));
  CHECK(play(Sarsa{table, choice, online}) == play(Sarsa{dense, choice, online}));
  CHECK(play(SarsaLambda{table, choice, traces}) == play(SarsaLambda{one_hot, choice, traces}));
  CHECK(play(SarsaLambda{table, choice, dutch}) == play(SarsaLambda{one_hot, choice, dutch}));
  CHECK(play(QLambda{table, choice, traces}) == play(QLambda{one_hot, choice, traces}));
}

TEST_CASE("tile coding: a step touches the active tiles alone, and moves their sum by step size x tilings x error") {
  const TileCoding tiles{{0, 0}, {1, 1}, {.tilings = 8, .tiles = 4}};
  QLearning agent{Linear{tiles, 2}, Greedy{}, {.step_size = 0.5 / 8, .discount = 0.9}};
  Rng rng{1};
  const Point here{0.3, 0.6}, next{0.9, 0.1};
  agent.learn(Transition<Point, int>{here, 1, 2.0, next, false, false}, rng);
  CHECK(agent.values(here)[1] == close(1.0));
  CHECK(agent.values(here)[0] == 0);
  CHECK(agent.values(next)[1] == 0);
  int touched = 0;
  for (const double w : agent.parameters()) touched += w != 0 ? 1 : 0;
  CHECK(touched == 8);
  CHECK(agent.greedy(here) == 1);
  SarsaLambda traced{Linear{tiles, 2}, Greedy{}, {.step_size = 0.5 / 8, .trace = Trace::replacing}};
  traced.learn(Transition<Point, int>{here, 1, 2.0, next, false, false}, rng);
  CHECK(traced.traces().active() == 8);
  CHECK(says(message_of([&] { agent.values(Eigen::Vector3d{0, 0, 0}); }), "3", "2"));
}

TEST_CASE("the random walk: TD(0) is nearer to the truth than Monte Carlo after 100 episodes") {
  // Sutton and Barto (2018), example 6.2: mean over 200 runs of the root mean square error over the five states.
  const auto error = [](auto make) {
    double total = 0;
    for (int run = 0; run < 200; ++run) {
      Rng rng = Rng{31}.split(run);
      auto agent = make();
      train(agent, ModelEnvironment{random_walk()}, {.episodes = 100}, rng);
      double square = 0;
      for (int k = 1; k <= 5; ++k) square += std::pow(agent.parameters()[static_cast<std::size_t>(k)] - k / 6.0, 2) / 5;
      total += std::sqrt(square) / 200;
    }
    return total;
  };
  const Tabular<double> start{7, 1, 0.5};
  const double td = error([&] { return TdLambda{start, Stay{}, {.step_size = 0.05, .discount = 1, .lambda = 0}}; });
  const double mc = error([&] { return MonteCarloControl{start, Greedy{}, {.step_size = 0.02, .discount = 1}}; });
  CAPTURE(td, mc);
  CHECK(td == close(0.036, 0, 0.012));
  CHECK(mc == close(0.083, 0, 0.012));
  CHECK(td < mc);
}

TEST_CASE("prediction needs one output, and finite numbers") {
  CHECK(says(message_of([] { TdLambda{Tabular{2, 2}, Stay{}}; }), "2 outputs", "expected 1"));
  CHECK(says(message_of([] { TdLambda{Tabular{2, 1}, Stay{}, {.trace_cutoff = -1}}; }), "cutoff is -1"));
  TdLambda agent{Tabular{2, 1}, [](int s, Rng&) { return 3 + s; }};
  Rng rng{1};
  CHECK(agent.act(1, rng) == 4);
  CHECK(says(message_of([&] {
               agent.learn(Move{0, 0, std::numeric_limits<double>::infinity(), 1, false, false}, rng);
             }),
             "reward is inf"));
  CHECK(says(message_of([&] { agent.learn(Move{2, 0, 1.0, 1, false, false}, rng); }), "[0, 1]"));
  CHECK(agent.traces().active() == 0);
  CHECK(agent.value(0) == 0);
}
