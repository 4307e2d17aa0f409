// One-step and n-step agents: numbers by hand, identities between agents to the bit, and what the literature measured.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/double_q.hpp"
#include "valence/agent/dyna_q.hpp"
#include "valence/agent/lambda.hpp"
#include "valence/agent/monte_carlo_control.hpp"
#include "valence/agent/n_step.hpp"
#include "valence/agent/q_learning.hpp"
#include "valence/agent/sarsa.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/random.hpp"
#include "valence/env/cliff_walking.hpp"
#include "valence/function/schedules.hpp"
#include "valence/function/tabular.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;
using Move = Transition<int, int>;

namespace {

using valence::test::close;

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();

/// A user's own choice: always action 2, of a policy that says otherwise.
struct Given {
  template <Scalar S>
  int choose(std::span<const S>, Rng&) const {
    return 2;
  }
  template <Scalar S>
  void probabilities(std::span<const S>, std::span<std::type_identity_t<S>> p) const {
    p[0] = S(0.2), p[1] = S(0.5), p[2] = S(0.3);
  }
};
static_assert(ActionChoice<Given>);

const Tabular<double> three{4, 3};

/// Q(0, 1) after one step with step size 1 from state 0 to state 1, whose values are (1, 2, .5): the target.
template <class Agent>
double target_of(Agent agent, const Move& move = {0, 1, 1.0, 1, false, false}) {
  const std::array<double, 12> theta{0, 10, 0, 1, 2, 0.5, nan_value, nan_value, nan_value, 0, 0, 0};
  std::copy(theta.begin(), theta.end(), agent.parameters().begin());
  Rng rng{1};
  agent.learn(move, rng);
  CHECK(agent.parameters()[0] == 0);
  CHECK(agent.parameters()[2] == 0);
  CHECK(agent.steps() == 1);
  return agent.parameters()[1];
}

/// Plays with both and compares all parameters, to the bit.
template <class A, class B>
void same_path(A a, B b, std::int64_t steps = 4000) {
  Rng first{9}, second{9};
  train(a, CliffWalking{}, {.steps = steps, .max_episode_steps = 50}, first);
  train(b, CliffWalking{}, {.steps = steps, .max_episode_steps = 50}, second);
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < a.parameters().size(); ++i) {
    largest = std::max(largest, std::abs(a.parameters()[i]));
    difference = std::max(difference, std::abs(a.parameters()[i] - b.parameters()[i]));
  }
  CAPTURE(largest);
  CHECK(largest > 1);
  CHECK(difference <= 1e-13 * largest);
}

const Tabular<double> cliff{48, 4};
const EpsilonGreedy explore{0.1};
const OnlineOptions half{.step_size = 0.5, .discount = 0.9};

}  // namespace

TEST_CASE("targets: r = 1, values (1, 2, .5), discount .9") {
  const OnlineOptions options{.step_size = 1, .discount = 0.9};
  CHECK(target_of(Sarsa{three, Given{}, options}) == close(1.45));
  CHECK(target_of(ExpectedSarsa{three, Given{}, options}) == close(2.215));
  CHECK(target_of(QLearning{three, Given{}, options}) == close(2.8));
  CHECK(target_of(TreeBackup{three, Given{}, {.steps = 1, .step_size = 1, .discount = 0.9}}) == close(2.215));
  CHECK(target_of(NStepSarsa{three, Given{}, {.steps = 1, .step_size = 1, .discount = 0.9}}) == close(1.45));
  // A step size moves part of the way: 10 + .25 (2.8 - 10).
  CHECK(target_of(QLearning{three, Given{}, {.step_size = 0.25, .discount = 0.9}}) == close(8.2));
}

TEST_CASE("nothing is read of the state after a termination; after a truncation its value counts", "[V3]") {
  const OnlineOptions options{.step_size = 1, .discount = 0.9};
  // State 2 holds NaN, and 99 isn't a state.
  for (const int next : {2, 99}) {
    const Move end{0, 1, 3.5, next, true, false};
    CHECK(target_of(QLearning{three, Given{}, options}, end) == 3.5);
    CHECK(target_of(Sarsa{three, Given{}, options}, end) == 3.5);
    CHECK(target_of(ExpectedSarsa{three, Given{}, options}, end) == 3.5);
    CHECK(target_of(SarsaLambda{three, Given{}, {.step_size = 1, .discount = 0.9}}, end) == 3.5);
    CHECK(target_of(QLambda{three, Given{}, {.step_size = 1, .discount = 0.9}}, end) == 3.5);
    CHECK(target_of(DynaQ{three, Given{}, {.planning_steps = 2, .step_size = 1, .discount = 0.9}}, end) == 3.5);
    CHECK(target_of(QSigma{three, Given{}, {.step_size = 1, .discount = 0.9}}, end) == 3.5);
    CHECK(target_of(NStepSarsa{three, Given{}, {.step_size = 1, .discount = 0.9}}, end) == 3.5);
    CHECK(target_of(MonteCarloControl{three, Given{}, {.step_size = 1, .discount = 0.9}}, end) == 3.5);
  }
  const Move cut{0, 1, 1.0, 1, false, true};
  CHECK(target_of(QLearning{three, Given{}, options}, cut) == close(2.8));
  CHECK(target_of(Sarsa{three, Given{}, options}, cut) == close(1.45));
  CHECK(target_of(ExpectedSarsa{three, Given{}, options}, cut) == close(2.215));
  CHECK(target_of(NStepSarsa{three, Given{}, {.step_size = 1, .discount = 0.9}}, cut) == close(1.45));
  CHECK(target_of(QSigma{three, Given{}, {.step_size = 1, .discount = 0.9}}, cut) == close(2.215));
  CHECK(target_of(MonteCarloControl{three, Given{}, {.step_size = 1, .discount = 0.9}}, cut) == close(2.215));
}

TEST_CASE("a reward belongs to the transition that earned it", "[V9]") {
  // A chain 0 -> 1 -> 2 -> 3 in which only the action in state 2 pays: one sweep moves Q(2, 0) and nothing else.
  const auto sweep = [](auto agent) {
    Rng rng{1};
    agent.begin_episode();
    for (int s = 0; s < 3; ++s) agent.learn(Move{s, 0, s == 2 ? 1.0 : 0.0, s + 1, s == 2, false}, rng);
    return Numbers(agent.parameters().begin(), agent.parameters().end());
  };
  const Tabular<double> chain{4, 1};
  const Numbers expected{0, 0, 0.5, 0};
  CHECK(sweep(QLearning{chain, Greedy{}, {.step_size = 0.5}}) == expected);
  CHECK(sweep(Sarsa{chain, Greedy{}, {.step_size = 0.5}}) == expected);
  CHECK(sweep(ExpectedSarsa{chain, Greedy{}, {.step_size = 0.5}}) == expected);
  CHECK(sweep(DynaQ{chain, Greedy{}, {.planning_steps = 0, .step_size = 0.5}}) == expected);
}

TEST_CASE("double Q: one estimate chooses, the other says what it's worth", "[V13][V14]") {
  int coins[2] = {};
  for (int seed = 0; seed < 40; ++seed) {
    DoubleQ agent{Tabular{2, 2}, Greedy{}, {.step_size = 1, .discount = 0.9}};
    agent.parameters()[2] = 1, agent.parameters()[3] = 2;
    agent.other_parameters()[2] = 5, agent.other_parameters()[3] = 3;
    Rng rng{seed};
    CHECK(agent.act(1, rng) == 0);  // the mean is (3, 2.5)
    CHECK(agent.values(1)[0] == 3);
    CHECK(agent.values(1)[1] == 2.5);
    agent.learn(Move{0, 1, 0.0, 1, false, false}, rng);
    const double here = agent.parameters()[1], other = agent.other_parameters()[1];
    const bool first = here != 0;
    CHECK((first ? here : other) == close(first ? 2.7 : 0.9));
    CHECK((first ? other : here) == 0);
    ++coins[first ? 1 : 0];
  }
  CHECK((coins[0] > 8 && coins[1] > 8));  // P < 1e-4
}

TEST_CASE("Sarsa takes the action that its target was made of") {
  Sarsa agent{Tabular{2, 3}, Given{}, {}};
  Rng rng{1};
  agent.learn(Move{0, 1, 0.0, 1, false, false}, rng);
  const auto before = rng.position();
  CHECK(agent.act(1, rng) == 2);
  CHECK(rng.position() == before);

  // Where the episode didn't go on, nothing is kept.
  Sarsa greedy{Tabular{3, 2}, FirstGreedy{}, {}};
  greedy.parameters()[3] = 1;  // state 1 prefers action 1, the others 0
  for (const bool truncated : {true, false}) {
    greedy.learn(Move{0, 0, 0.0, 1, false, truncated}, rng);
    if (!truncated) greedy.begin_episode();
    CHECK(greedy.act(2, rng) == 0);
  }
  greedy.learn(Move{0, 0, 0.0, 1, false, false}, rng);
  CHECK(greedy.act(1, rng) == 1);
  CHECK(greedy.act(2, rng) == 0);
}

TEST_CASE("identities between agents, over the same play") {
  same_path(QLearning{cliff, explore, half},
            TreeBackup{cliff, explore, {.steps = 1, .step_size = 0.5, .discount = 0.9, .greedy_target = true}});
  same_path(QLearning{cliff, explore, half}, QLambda{cliff, explore, {.step_size = 0.5, .discount = 0.9, .lambda = 0}});
  same_path(QLearning{cliff, explore, half},
            DynaQ{cliff, explore, {.planning_steps = 0, .step_size = 0.5, .discount = 0.9}});
  same_path(Sarsa{cliff, explore, half}, NStepSarsa{cliff, explore, {.steps = 1, .step_size = 0.5, .discount = 0.9}});
  same_path(Sarsa{cliff, explore, half}, SarsaLambda{cliff, explore, {.step_size = 0.5, .discount = 0.9, .lambda = 0}});
  same_path(Sarsa{cliff, explore, half},
            SarsaLambda{cliff, explore, {.step_size = 0.5, .discount = 0.9, .lambda = 0, .trace = Trace::replacing}});
  same_path(ExpectedSarsa{cliff, explore, half},
            QSigma{cliff, explore, {.steps = 1, .step_size = 0.5, .discount = 0.9, .sigma = 0.7}});
  same_path(TreeBackup{cliff, explore, {.steps = 3, .step_size = 0.5, .discount = 0.9}},
            QSigma{cliff, explore, {.steps = 3, .step_size = 0.5, .discount = 0.9, .sigma = 0}});
  // As long as an episode, and nothing to go on with after its end: Monte Carlo.
  Rng first{2}, second{2};
  NStepSarsa far{cliff, Boltzmann{1e6}, {.steps = 100'000, .step_size = 0.3, .discount = 0.9}};
  MonteCarloControl whole{cliff, Boltzmann{1e6}, {.step_size = 0.3, .discount = 0.9}};
  // Sarsa draws its actions in `learn`, from the same values in the same order: the two walks are one.
  const auto a = train(far, CliffWalking{}, {.episodes = 3}, first),
             b = train(whole, CliffWalking{}, {.episodes = 3}, second);
  REQUIRE(a.steps == b.steps);
  for (std::size_t i = 0; i < far.parameters().size(); ++i)
    CHECK(far.parameters()[i] == close(whole.parameters()[i], 1e-12, 1e-12));
}

TEST_CASE("n-step targets by hand") {
  // Rewards 1, 2, 4 on 0 -> 1 -> 2 -> 3, action 0 of two; Q(s, .) = (s, 10 s), discount .5, step size 1.
  const auto learned = [](auto agent, bool ends) {
    for (int s = 0; s < 4; ++s)
      agent.parameters()[static_cast<std::size_t>(2 * s)] = s,
                                                      agent.parameters()[static_cast<std::size_t>(2 * s + 1)] = 10 * s;
    Rng rng{1};
    for (int s = 0; s < 3; ++s) agent.learn(Move{s, 0, std::pow(2.0, s), s + 1, ends && s == 2, false}, rng);
    return Numbers{agent.parameters()[0], agent.parameters()[2], agent.parameters()[4]};
  };
  struct Mixed {  // always action 0, of a policy (.75, .25)
    int choose(std::span<const double>, Rng&) const { return 0; }
    void probabilities(std::span<const double>, std::span<double> p) const { p[0] = 0.75, p[1] = 0.25; }
  };
  const Tabular<double> table{4, 2};
  // Two steps: G_0 = 1 + .5 2 + .25 Q(2, 0) = 2.5; G_1 = 2 + .5 4 + .25 Q(3, 0) = 4.75.
  CHECK(learned(NStepSarsa{table, Mixed{}, {.steps = 2, .step_size = 1, .discount = 0.5}}, false) ==
        Numbers{2.5, 4.75, 2});
  // At the end what is left is updated too: G_1 = 2 + .5 4, G_2 = 4.
  CHECK(learned(NStepSarsa{table, Mixed{}, {.steps = 2, .step_size = 1, .discount = 0.5}}, true) == Numbers{2.5, 4, 4});
  // Tree backup: E Q(2) = .75 2 + .25 20 = 6.5, so G_1:2 = 2 + .5 6.5 = 5.25; E Q(1) = 3.25 and
  // G_0:2 = 1 + .5 (3.25 + .75 (5.25 - 1)) = 4.21875. E Q(3) = 9.75, G_2:3 = 8.875, G_1:3 = 2 + .5 (6.5 + .75 (8.875 -
  // 2)).
  const Numbers tree = learned(TreeBackup{table, Mixed{}, {.steps = 2, .step_size = 1, .discount = 0.5}}, false);
  CHECK(tree == Numbers{4.21875, 2 + 0.5 * (6.5 + 0.75 * 6.875), 2});
  // Q(sigma), sigma = .4, ratio 1: the trace is .4 + .6 .75 = .85.
  const Numbers sigma =
      learned(QSigma{table, Mixed{}, {.steps = 2, .step_size = 1, .discount = 0.5, .sigma = 0.4}}, false);
  CHECK(sigma[0] == close(1 + 0.5 * (3.25 + 0.85 * 4.25), 1e-14));
}

TEST_CASE("every-visit Monte Carlo with a step size: the random walk's first episode") {
  // C, D, E, +1 from values of .5, step size .1, discount 1.
  MonteCarloControl agent{Tabular{7, 1, 0.5}, Greedy{}, {.step_size = 0.1, .discount = 1}};
  QLearning td{Tabular{7, 1, 0.5}, Greedy{}, {.step_size = 0.1, .discount = 1}};
  Rng rng{1};
  for (const int s : {3, 4, 5}) {
    const Move move{s, 0, s == 5 ? 1.0 : 0.0, s + 1, s == 5, false};
    agent.learn(move, rng);
    td.learn(move, rng);
  }
  const Numbers mc{0.5, 0.5, 0.55, 0.55, 0.55}, td0{0.5, 0.5, 0.5, 0.5, 0.55};
  for (std::size_t k = 0; k < 5; ++k) {
    CHECK(agent.parameters()[k + 1] == close(mc[k], 1e-14));
    CHECK(td.parameters()[k + 1] == close(td0[k], 1e-14));
  }
  CHECK(agent.episodes() == 1);
}

TEST_CASE("Monte Carlo control averages, first or every visit") {
  const auto play = [](Visits visits) {
    MonteCarloControl agent{Tabular{2, 1, 100.0}, Greedy{}, {.discount = 1, .visits = visits}};
    Rng rng{1};
    // 0, 1, 0 with rewards 1, 2, 4; then 0 with reward 16.
    agent.learn(Move{0, 0, 1.0, 1, false, false}, rng);
    agent.learn(Move{1, 0, 2.0, 0, false, false}, rng);
    agent.learn(Move{0, 0, 4.0, 0, true, false}, rng);
    agent.learn(Move{0, 0, 16.0, 1, true, false}, rng);
    return Numbers{agent.parameters()[0], agent.parameters()[1]};
  };
  CHECK(play(Visits::first) == Numbers{(7 + 16) / 2.0, 6});
  CHECK(play(Visits::every) == Numbers{(7 + 4 + 16) / 3.0, 6});
}

TEST_CASE("a step-size schedule counts the transitions learned from") {
  QLearning agent{
      Tabular{1, 1}, Greedy{}, {.step_size = LinearSchedule{.begin = 1, .end = 0.5, .steps = 2}, .discount = 0}};
  Rng rng{1};
  const Numbers expected{8, 2, 1};  // 0 -> 8; 8 + .75 (0 - 8); 2 + .5 (0 - 2)
  for (std::size_t k = 0; k < 3; ++k) {
    agent.learn(Move{0, 0, k == 0 ? 8.0 : 0.0, 0, false, false}, rng);
    CHECK(agent.parameters()[0] == expected[k]);
  }
}

TEST_CASE("agents refuse what they can't learn from, and name it") {
  QLearning agent{three, EpsilonGreedy{0.1}, {}};
  Rng rng{1};
  const auto refuses = [&](const Move& m) { return message_of([&] { agent.learn(m, rng); }); };
  CHECK(says(refuses({4, 0, 0.0, 1, false, false}), "state", "4", "[0, 3]"));
  CHECK(says(refuses({-1, 0, 0.0, 1, false, false}), "state", "-1"));
  CHECK(says(refuses({0, 3, 0.0, 1, false, false}), "action is 3", "[0, 2]"));
  CHECK(says(refuses({0, -1, 0.0, 1, false, false}), "action is -1"));
  CHECK(says(refuses({0, 0, 0.0, 7, false, false}), "7"));
  CHECK(says(refuses({0, 0, nan_value, 1, false, false}), "reward is nan"));
  CHECK(says(refuses({0, 0, nan_value, 1, true, false}), "reward is nan"));
  for (const double q : agent.parameters()) CHECK(q == 0);
  agent.parameters()[4] = nan_value;
  CHECK(says(refuses({0, 0, 0.0, 1, false, false}), "q[1] is nan"));
  CHECK(says(message_of([&] { agent.greedy(1); }), "q[1] is nan"));
  CHECK(agent.steps() == 0);

  CHECK(says(message_of([] { QLearning{three, Greedy{}, {.discount = 1.5}}; }), "discount is 1.5"));
  CHECK(says(message_of([] { QLearning{three, Greedy{}, {.step_size = -0.1}}; }), "step_size is -0.1"));
  CHECK(says(message_of([] { QLearning{three, Greedy{}, {.step_size = nan_value}}; }), "step_size is nan"));
  CHECK(says(message_of([] { NStepSarsa{three, Greedy{}, {.steps = 0}}; }), "steps is 0"));
  CHECK(says(message_of([] { QSigma{three, Greedy{}, {.sigma = 2}}; }), "sigma is 2"));
  CHECK(says(message_of([] { SarsaLambda{three, Greedy{}, {.lambda = 1.1}}; }), "lambda is 1.1"));
  CHECK(says(message_of([] { QLambda{three, Greedy{}, {.trace = Trace::dutch}}; }), "dutch"));
  CHECK(says(message_of([] { DynaQ{three, Greedy{}, {.planning_steps = -1}}; }), "planning_steps is -1"));
}

TEST_CASE("cliff walking: Sarsa earns more while it explores, and Q-learning finds the path along the edge") {
  // Sutton and Barto (2018), example 6.6; 500 episodes, mean of the last 100, over 10 seeds.
  double q = 0, sarsa = 0, expected = 0;
  const OnlineOptions options{.step_size = 0.5, .discount = 1};
  for (int seed = 0; seed < 10; ++seed) {
    const auto earned = [&](auto agent) {
      Rng rng = Rng{20}.split(seed);
      return train(agent, CliffWalking{}, {.episodes = 500}, rng).mean_return(100) / 10;
    };
    q += earned(QLearning{cliff, explore, options});
    sarsa += earned(Sarsa{cliff, explore, options});
    expected += earned(ExpectedSarsa{cliff, explore, options});
  }
  CAPTURE(q, sarsa, expected);
  CHECK(sarsa - q >= 12);
  CHECK(expected - q >= 12);
  CHECK(expected < -20.707677399 + 3);  // the best that any eps-soft policy earns, in expectation
}

namespace {

/// Sutton and Barto's example 6.7: from state 0 action 0 goes left to state 1 for nothing, action 1 ends for nothing;
/// in state 1 each of ten actions ends and earns N(-.1, 1).
struct Bias {
  using State = int;
  using Action = int;
  int place = 0;
  int reset(Rng&) { return place = 0; }
  Step<int> step(int action, Rng& rng) {
    if (place == 0 && action == 0) return {.next = place = 1};
    const double reward = place == 0 ? 0.0 : rng.normal(-0.1, 1.0);
    return {.next = 2, .reward = reward, .terminated = true};
  }
  Discrete actions() const { return {10}; }
};

}  // namespace

TEST_CASE("maximisation bias: Q-learning believes in noise, double Q-learning doesn't", "[V13]") {
  // 300 runs, share of episodes 31 to 60 that went left. The table has ten actions in state 0 too: all but two are
  // never chosen there.
  const auto left_share = [](auto agent, Rng rng) {
    int left = 0;
    Bias env;
    EpsilonGreedy of_two{0.1};
    for (int episode = 1; episode <= 60; ++episode) {
      int state = env.reset(rng);
      for (bool over = false; !over;) {
        const int action = state == 0 ? of_two.choose(agent.values(0).first(2), rng) : agent.act(state, rng);
        if (episode > 30 && state == 0 && action == 0) ++left;
        const auto step = env.step(action, rng);
        agent.learn(Move{state, action, step.reward, step.next, step.terminated, false}, rng);
        state = step.next;
        over = step.terminated;
      }
    }
    return left / 30.0;
  };
  double q = 0, twice = 0;
  for (int run = 0; run < 300; ++run) {
    const Rng rng = Rng{7}.split(run);
    q += left_share(QLearning{Tabular{3, 10}, explore, {.step_size = 0.1, .discount = 1}}, rng) / 300;
    twice += left_share(DoubleQ{Tabular{3, 10}, explore, {.step_size = 0.1, .discount = 1}}, rng) / 300;
  }
  CAPTURE(q, twice);
  CHECK(q - twice >= 0.4);
}
