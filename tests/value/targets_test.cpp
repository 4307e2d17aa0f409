// The targets' published and hand-computed numbers, and the faults that others shipped.
#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/value/action_returns.hpp"
#include "valence/value/gae.hpp"
#include "valence/value/one_step.hpp"
#include "valence/value/returns.hpp"
#include "valence/value/steps.hpp"
#include "valence/value/vtrace.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

void same(const Numbers& seen, const Numbers& expected, double tolerance = 1e-12) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}

Numbers advantages(const Steps<double>& steps, const GaeOptions& options) {
  Numbers out(steps.reward.size());
  gae(steps, {.advantage = out}, options);
  return out;
}
Numbers lambda_return(const Steps<double>& steps, const LambdaReturnOptions& options) {
  Numbers out(steps.reward.size());
  lambda_returns(steps, out, options);
  return out;
}
Numbers n_step(const Steps<double>& steps, const NStepOptions& options) {
  Numbers out(steps.reward.size());
  n_step_returns(steps, out, options);
  return out;
}

// E4 of the base: states 0, 1, 0, 2, then terminal.
const Numbers e4_reward{1, -1, 0.5, 2}, e4_value{0.2, -0.1, 0.2, 0.4, poison}, e4_ratio{0.5, 2, 1.2, 0.8};
constexpr bool e4_terminated[4] = {false, false, false, true};
Steps<double> e4() { return {.reward = e4_reward, .value = e4_value, .terminated = e4_terminated, .ratio = e4_ratio}; }

// V1 to V5: two episodes of two steps, glued; the first ends in a state worth 7.
const Numbers v_reward{1, 1, 1, 1}, v_value{2, 3, 4, 5}, v_next{3, 7, 5, 6}, v_poisoned{3, poison, 5, 6};
constexpr bool v_end[4] = {false, true, false, false};
constexpr GaeOptions v_options{.discount = 0.9, .lambda = 0.5};

}  // namespace

TEST_CASE("E4: lambda returns, GAE and the two views of TD(lambda)") {
  const Numbers g = lambda_return(e4(), {.discount = 0.9, .lambda = 0.8});
  same(g, {1.3309408, 0.48464, 2.012, 2});
  same(advantages(e4(), {.discount = 0.9, .lambda = 0}), {0.71, -0.72, 0.66, 1.6});
  const Numbers a = advantages(e4(), {.discount = 0.9, .lambda = 0.8});
  same(a, {1.1309408, 0.58464, 1.812, 1.6});
  for (std::size_t t = 0; t < 4; ++t) CHECK(a[t] + e4_value[t] == close(g[t]));

  // Forward view: alpha (G - V) for each visit. Backward view: traces, written here.
  const std::size_t state[4] = {0, 1, 0, 2};
  Numbers forward(3), backward(3), trace(3);
  for (std::size_t t = 0; t < 4; ++t) {
    forward[state[t]] += 0.1 * a[t];
    for (double& z : trace) z *= 0.9 * 0.8;
    trace[state[t]] += 1;
    const double next = e4_terminated[t] ? 0 : e4_value[t + 1];
    for (std::size_t s = 0; s < 3; ++s) backward[s] += 0.1 * (e4_reward[t] + 0.9 * next - e4_value[t]) * trace[s];
  }
  same(forward, {0.29429408, 0.058464, 0.16}, 1e-15);
  same(backward, forward, 1e-15);
}

TEST_CASE("E4: V-trace, and the return where ratios are 1") {
  Numbers target(4), advantage(4);
  vtrace(e4(), {.advantage = advantage, .target = target}, {.discount = 0.9});
  same(target, {0.96486, 0.8108, 2.012, 1.68});
  same(advantage, {0.76486, 0.9108, 1.812, 1.28});
}

TEST_CASE("E4: Retrace", "[V16]") {
  const Numbers q{0.3, 0.1, -0.2, 0.4}, next{0.05, -0.1, 0.3, poison}, expected{0.25, 0.05, -0.1, 0.3, poison};
  Numbers out(4);
  retrace(
      Steps<double>{
          .reward = e4_reward, .next_value = next, .terminated = e4_terminated, .ratio = e4_ratio, .action_value = q},
      out, {.discount = 0.9, .lambda = 0.9});
  same(out, {1.39776148, 0.535508, 1.8068, 2});
  retrace(
      Steps<double>{
          .reward = e4_reward, .value = expected, .terminated = e4_terminated, .ratio = e4_ratio, .action_value = q},
      out, {.discount = 0.9, .lambda = 0.9});
  same(out, {1.39776148, 0.535508, 1.8068, 2});
}

TEST_CASE("A3: GAE, value targets and whitening") {
  const Numbers r{1, 0, -0.5, 2, 1}, v{0.5, 0.4, 0.3, 0.2, 0.1, 0.6};
  const bool done[5] = {false, false, true, false, false};
  const Steps<double> steps{.reward = r, .value = v, .terminated = done};
  Numbers a(5), g(5);
  gae(steps, {.advantage = a, .target = g}, {.discount = 0.9, .lambda = 0.8});
  same(a, {0.35168, -0.706, -0.8, 2.9268, 1.44});
  same(g, {0.85168, -0.306, -0.5, 3.1268, 1.54});
  whiten(std::span(a));
  same(a, {-0.207325542747317, -0.961355857630206, -1.02836936795374, 1.62850244346895, 0.568548324862306});
  same(advantages(steps, {.discount = 0.9, .lambda = 0}), {0.86, -0.13, -0.8, 1.89, 1.44});
  same(advantages(steps, {.discount = 0.9, .lambda = 1}), {0.095, -0.85, -0.8, 3.186, 1.44});
}

TEST_CASE("A3: V-trace with bars and lambda, and a discount of 0 inside") {
  const Numbers r{1, 0.5, -0.2, 0.8}, v{0.3, 0.6, 0.1, -0.4, 0.7}, discount{0.9, 0.9, 0, 0.9};
  const Numbers rho{std::exp(0.3), std::exp(-0.4), std::exp(0.9), std::exp(-1.2)}, ones(4, 1);
  Steps<double> steps{.reward = r, .value = v, .discount = discount, .ratio = rho};
  Numbers vs(4), a(4);
  vtrace(steps, {.advantage = a, .target = vs});
  same(vs, {1.37107934839902, 0.412310387110021, -0.2, 0.151185407799330}, 1e-13);
  same(a, {1.07107934839902, -0.187689612889979, -0.3, 0.551185407799330}, 1e-13);
  vtrace(steps, {.advantage = a, .target = vs}, {.lambda = 0.9, .rho_bar = 2, .c_bar = 1.5});
  same(vs, {1.61029744032412, 0.267521257166323, -0.5, 0.151185407799330}, 1e-13);
  same(a, {1.26990549798299, -0.368676025319602, -0.6, 0.551185407799330}, 1e-13);
  steps.ratio = ones;
  vtrace(steps, {.target = vs});
  same(vs, {1.288, 0.32, -0.2, 1.43});
  Numbers returns(4);
  discounted_returns(steps, returns);
  same(vs, returns);
}

TEST_CASE("V-trace learns the value of the clipped policy") {
  // M1 of the base, one step from each state in expectation, to the fixed point.
  const double p[2][2][2] = {{{0.7, 0.3}, {0.2, 0.8}}, {{0.5, 0.5}, {0.9, 0.1}}}, reward[2][2] = {{1, 0}, {0.5, 2}};
  const double pi[2][2] = {{0.8, 0.2}, {0.1, 0.9}}, mu[2][2] = {{0.5, 0.5}, {0.3, 0.7}};
  for (const double bar : {0.5, 1.0, 1.2, 10.0}) {
    CAPTURE(bar);
    double policy[2][2], v[2] = {0, 0}, expected[2] = {0, 0};
    for (int s = 0; s < 2; ++s) {
      const double a = std::min(bar * mu[s][0], pi[s][0]), b = std::min(bar * mu[s][1], pi[s][1]);
      policy[s][0] = a / (a + b), policy[s][1] = b / (a + b);
    }
    for (int sweep = 0; sweep < 2'000; ++sweep) {
      double next[2] = {0, 0}, evaluated[2] = {0, 0};
      for (int s = 0; s < 2; ++s)
        for (int a = 0; a < 2; ++a)
          for (int to = 0; to < 2; ++to) {
            double target = 0;
            const double ratio = importance_ratio(std::span<const double>(pi[s]), mu[s], static_cast<std::size_t>(a));
            vtrace(
                Steps<double>{
                    .reward = {&reward[s][a], 1}, .value = {&v[s], 1}, .next_value = {&v[to], 1}, .ratio = {&ratio, 1}},
                {.target = {&target, 1}}, {.discount = 0.9, .rho_bar = bar});
            next[s] += mu[s][a] * p[s][a][to] * target;
            evaluated[s] += policy[s][a] * p[s][a][to] * (reward[s][a] + 0.9 * expected[to]);
          }
      for (int s = 0; s < 2; ++s) v[s] = next[s], expected[s] = evaluated[s];
    }
    CHECK(v[0] == close(expected[0], 1e-9));
    CHECK(v[1] == close(expected[1], 1e-9));
  }
}

TEST_CASE("RW5: one episode of Monte Carlo and of TD(0)") {
  const Numbers r{0, 0, 1};
  const bool end[3] = {false, false, true};
  const Numbers v{0.5, 0.5, 0.5, 0.5};
  const Steps<double> steps{.reward = r, .value = v, .terminated = end};
  Numbers g(3);
  discounted_returns(steps, g, {.discount = 1});
  for (double& x : g) x = 0.5 + 0.1 * (x - 0.5);
  same(g, {0.55, 0.55, 0.55});
  g = lambda_return(steps, {.discount = 1, .lambda = 0});
  for (double& x : g) x = 0.5 + 0.1 * (x - 0.5);
  same(g, {0.5, 0.5, 0.55});
}

TEST_CASE("One-step targets: Sarsa, expected Sarsa, Q-learning") {
  const Numbers q{1, 2, 0.5}, p{0.2, 0.5, 0.3};
  const OneStepOptions options{.discount = 0.9};
  CHECK(sarsa_target(1.0, q, 2, false, options) == close(1.45));
  CHECK(expected_sarsa_target(1.0, q, p, false, options) == close(2.215));
  CHECK(q_learning_target(1.0, q, false, options) == close(2.8));
  CHECK(sarsa_target(1.0f, std::vector<float>{1, 2, 0.5f}, 0, false, options) == 1.9f);
  // Terminated: the next row isn't read, and may be anything.
  CHECK(sarsa_target(1.0, {}, 7, true) == 1);
  CHECK(expected_sarsa_target(1.0, Numbers{poison}, {}, true) == 1);
  CHECK(q_learning_target(1.0, Numbers{poison, poison}, true) == 1);
  CHECK(double_q_target(1.0, {}, Numbers{poison}, true) == 1);
  CHECK(td_target(1.0, poison, true) == 1);
  CHECK(greedy_action(std::span<const double>(Numbers{1, 3, 3, 2})) == 1);

  CHECK(says(message_of([] { td_target(1.0, poison, false); }), "td_target", "next", "nan"));
  CHECK(says(message_of([] { td_target(poison, 1.0, true); }), "reward"));
  CHECK(says(message_of([] { td_target(1.0, 1.0, true, {.discount = 1.5}); }), "discount", "1.5"));
  CHECK(says(message_of([&] { sarsa_target(1.0, q, 3, false); }), "sarsa_target", "3"));
  CHECK(says(message_of([&] { q_learning_target(1.0, {}, false); }), "empty"));
  CHECK(says(message_of([&] { q_learning_target(1.0, Numbers{1, poison}, false); }), "[1]", "nan"));
  CHECK(says(message_of([&] { double_q_target(1.0, q, Numbers{1}, false); }), "next_q_value", "1", "3"));
  CHECK(says(message_of([&] { expected_sarsa_target(1.0, q, Numbers{0.2, 0.2, 0.2}, false); }), "next_policy", "sums"));
}

TEST_CASE("A truncated episode keeps its bootstrap, a terminated one has none", "[V1]") {
  const OneStepOptions options{.discount = 0.99};
  CHECK(td_target(1.0, 10.0, false, options) == close(10.9));
  CHECK(td_target(1.0, 10.0, true, options) == 1);
  const Steps<double> truncated{.reward = v_reward, .value = v_value, .next_value = v_next, .truncated = v_end};
  same(advantages(truncated, v_options), {3.635, 4.3, 2.13, 1.4});
  Steps<double> terminated{.reward = v_reward, .value = v_value, .next_value = v_next, .terminated = v_end};
  same(advantages(terminated, v_options), {0.8, -2, 2.13, 1.4});
  terminated.next_value = v_poisoned;
  same(advantages(terminated, v_options), {0.8, -2, 2.13, 1.4});
  terminated.truncated = v_end;  // both: it terminated
  same(advantages(terminated, v_options), {0.8, -2, 2.13, 1.4});
}

TEST_CASE("A truncation cuts: glued episodes equal episodes apart", "[V2]") {
  const Steps<double> glued{.reward = v_reward, .value = v_value, .next_value = v_next, .truncated = v_end};
  const auto part = [](const Numbers& x, std::size_t begin) { return std::span<const double>(x).subspan(begin, 2); };
  Numbers apart(4);
  for (const std::size_t begin : {std::size_t(0), std::size_t(2)})
    gae(
        Steps<double>{
            .reward = part(v_reward, begin), .value = part(v_value, begin), .next_value = part(v_next, begin)},
        {.advantage = std::span(apart).subspan(begin, 2)}, v_options);
  same(advantages(glued, v_options), apart);
}

TEST_CASE("Values with T + 1 rows can't say where a truncated step arrived", "[V3]") {
  // Neither the state before the action nor the next episode's start stands for it: the call throws.
  const Numbers contiguous{2, 3, 4, 5, 6};
  Steps<double> steps{.reward = v_reward, .value = contiguous, .truncated = v_end};
  CHECK(says(message_of([&] { advantages(steps, v_options); }), "gae", "truncated[1]", "next_value"));
  const bool last[4] = {false, false, false, true};
  steps.truncated = last;  // at the very end they do
  CHECK(advantages(steps, v_options)[3] == close(1.4));
  steps.truncated = v_end, steps.terminated = v_end;  // and a terminated step arrived nowhere
  same(advantages(steps, v_options), {0.8, -2, 2.13, 1.4});
}

TEST_CASE("A flag belongs to its own transition", "[V4]") {
  const Steps<double> steps{.reward = v_reward, .value = v_value, .next_value = v_next, .terminated = v_end};
  const Numbers a = advantages(steps, v_options);
  CHECK(a[0] == close(0.8));
  CHECK(a[1] == close(-2.0));
}

TEST_CASE("V-trace doesn't look over a truncation", "[V5]") {
  const Numbers r(4, 0), v{1, 1, 100, 100}, next{1, 1, 100, 100}, ones(4, 1);
  Numbers a(4), vs(4);
  vtrace(Steps<double>{.reward = r, .value = v, .next_value = next, .truncated = v_end, .ratio = ones},
         {.advantage = a, .target = vs}, {.discount = 1});
  same(a, {0, 0, 0, 0});
  same(vs, v);
}

TEST_CASE("The last state's value enters once", "[V6]") {
  const Numbers r{1, 1}, v{0, 0, 10};
  const Steps<double> steps{.reward = r, .value = v};
  same(advantages(steps, {.discount = 0.5, .lambda = 1}), {4, 6});
  same(advantages(steps, {.discount = 0.5, .lambda = 0}), {1, 6});
  Numbers g(2);
  discounted_returns(steps, g, {.discount = 0.5});
  same(g, {4, 6});
}

TEST_CASE("T values for T rewards are too few", "[V8]") {
  const Numbers r{1, 1, 1}, too_few(3, 0), enough(4, 0), too_many(5, 0);
  CHECK(says(message_of([&] { advantages({.reward = r, .value = too_few}, {}); }), "value has 3", "4", "next_value"));
  CHECK(says(message_of([&] { advantages({.reward = r, .value = too_many}, {}); }), "value has 5", "4"));
  CHECK(says(message_of([&] { lambda_return({.reward = r}, {}); }), "next_value is missing"));
  for (const double a : advantages({.reward = r, .value = enough}, {})) CHECK(a != 0);
}

TEST_CASE("A reward belongs to the state that the action was taken in", "[V9]") {
  // A chain of four states; only the action in state 2 pays.
  Numbers q(5, 0);
  for (std::size_t s = 0; s < 4; ++s) {
    const double target = q_learning_target(s == 2 ? 1.0 : 0.0, std::span<const double>(&q[s + 1], 1), s == 3);
    q[s] += 0.5 * (target - q[s]);
  }
  same(q, {0, 0, 0.5, 0, 0});
  const Numbers r{0, 0, 1, 0};
  same(lambda_return({.reward = r, .value = Numbers(5, 0)}, {.lambda = 0}), {0, 0, 1, 0});
}

TEST_CASE("n steps are discounted to the power of the steps taken", "[V10]") {
  const Numbers r(3, 1), next(3, 5);
  const bool second[3] = {false, true, false};
  const NStepOptions three{.steps = 3, .discount = 0.9};
  CHECK(n_step({.reward = r, .next_value = next}, three)[0] == close(6.355));
  CHECK(n_step({.reward = r, .next_value = next, .truncated = second}, three)[0] == close(5.95));
  CHECK(n_step({.reward = r, .next_value = next, .terminated = second}, three)[0] == close(1.9));
  same(n_step({.reward = r, .next_value = next}, {.steps = 1, .discount = 0.9}), {5.5, 5.5, 5.5});
}

TEST_CASE("n steps stay inside their episode and see its last reward", "[V11]") {
  // Episodes of 3 and 7 steps; discount 1 and next values 0.5, so that each digit of a return is a reward that it saw.
  const Numbers r{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}, next(10, 0.5);
  bool ends[10] = {};
  ends[2] = ends[9] = true;
  const Numbers by_hand{111, 110, 100, 111e3, 111e4, 111e5, 111e6, 111e7, 110e7, 100e7};
  const NStepOptions options{.steps = 3, .discount = 1};
  Numbers bootstrapped(10);
  for (std::size_t t = 0; t < 10; ++t) bootstrapped[t] = by_hand[t] + (t < 3 || t > 6 ? 0 : 0.5);
  same(n_step({.reward = r, .next_value = next, .terminated = ends}, options), bootstrapped);
  for (std::size_t t = 0; t < 10; ++t) bootstrapped[t] = by_hand[t] + 0.5;
  same(n_step({.reward = r, .next_value = next, .truncated = ends}, options), bootstrapped);
}

TEST_CASE("The terminal mask is applied once, by the target", "[V12]") {
  const Numbers r{1, 1, 1}, v{2, 2, 2}, next{2, 2, 2};
  const bool end[3] = {false, false, true};
  const Numbers a =
      advantages({.reward = r, .value = v, .next_value = next, .terminated = end}, {.discount = 0.9, .lambda = 0});
  same(a, {0.8, 0.8, -1});
}

TEST_CASE("Double Q: one estimate chooses, the other values", "[V13]") {
  const Numbers online{1, 2}, target{5, 3};
  const OneStepOptions options{.discount = 0.9};
  CHECK(double_q_target(0.0, online, target, false, options) == close(2.7));
  CHECK(q_learning_target(0.0, target, false, options) == close(4.5));
  CHECK(q_learning_target(0.0, online, false, options) == close(1.8));
}

TEST_CASE("Rows and columns are the same numbers", "[V15]") {
  const Eigen::RowVectorXd row = Eigen::RowVectorXd::LinSpaced(3, 1, 3);
  const Eigen::VectorXd column = Eigen::VectorXd::LinSpaced(3, 1, 3);
  Eigen::ArrayXd out(3), too_many(9);
  const Steps<double> steps{.reward = view(row), .value = view(column), .next_value = view(row)};
  gae(steps, {.advantage = view(out)}, {.discount = 1, .lambda = 0});
  CHECK((out == Eigen::ArrayXd::LinSpaced(3, 1, 3)).all());  // r + V' - V = r
  CHECK(says(message_of([&] { gae(steps, {.advantage = view(too_many)}); }), "advantage has 9", "3"));
}

TEST_CASE("Retrace bootstraps with the next state and cuts ratios at 1", "[V16]") {
  const Numbers r{1, 2}, next{0.25 * 3 + 0.75 * 4, poison}, pi{0.25, 0.75}, mu{0.5, 0.5}, q1{3, 4};
  const bool end[2] = {false, true};
  for (const std::size_t action : {std::size_t(0), std::size_t(1)}) {
    const Numbers q{9, q1[action]}, ratio{9, importance_ratio(std::span<const double>(pi), mu, action)};
    Numbers out(2);
    retrace(Steps<double>{.reward = r, .next_value = next, .terminated = end, .ratio = ratio, .action_value = q}, out,
            {.discount = 0.9});
    same(out, {action == 0 ? 3.925 : 2.575, 2});
  }
}

TEST_CASE("Only the taken action's entry makes the ratio", "[V17]") {
  const Numbers pi{0.25, 0.75};
  const auto ratio = [&](const Numbers& mu) { return importance_ratio(std::span<const double>(pi), mu, 0); };
  CHECK(ratio({0.9, 0.1}) == close(0.25 / 0.9));
  CHECK(ratio({0.9, 0.0}) == ratio({0.9, 0.1}));
  CHECK(says(message_of([&] { ratio({0.0, 1.0}); }), "behaviour[0]", "greater than 0"));
  CHECK(says(message_of([&] { ratio({poison, 1.0}); }), "behaviour[0]", "nan"));
  CHECK(says(message_of([&] { ratio({1.0}); }), "behaviour", "1", "2"));
  CHECK(says(message_of([&] { importance_ratio(std::span<const double>(pi), pi, 2); }), "action is 2"));
}

TEST_CASE("The final reward credits every state before it", "[V18]") {
  const Numbers r{0, 1}, v(3, 0);
  const bool end[2] = {false, true};
  Numbers w = lambda_return({.reward = r, .value = v, .terminated = end}, {.discount = 0.9, .lambda = 1});
  for (double& x : w) x *= 0.1;
  same(w, {0.09, 0.1});
}

TEST_CASE("A sequence that ends in a terminal bootstraps before it", "[V19]") {
  const Numbers r{1, 1, 1}, next{10, 20, poison};
  const bool end[3] = {false, false, true};
  same(lambda_return({.reward = r, .next_value = next, .terminated = end}, {.discount = 0.5, .lambda = 0}), {6, 11, 1});
}

TEST_CASE("A target has one number a transition, and says so in its type", "[V24]") {
  static_assert(std::is_same_v<decltype(td_target(1.f, 1.f, false)), float>);
  for (const std::size_t n : {std::size_t(1), std::size_t(2), std::size_t(5)}) {
    const Numbers r(n, 1), v(n + 1, 0);
    Numbers out(n);
    discounted_returns(Steps<double>{.reward = r, .value = v}, out, {.discount = 1});
    double sum = 0;
    for (const double g : out) sum += g;
    CHECK(sum == static_cast<double>(n * (n + 1)) / 2);
  }
}

TEST_CASE("Tree backup: by hand, one step, greedy") {
  const Numbers r{1, 2}, next{3.75, poison}, q{9, 4}, pi{0.6, 0.75};
  const bool end[2] = {false, true};
  const Steps<double> steps{.reward = r, .next_value = next, .terminated = end, .action_value = q, .probability = pi};
  Numbers out(2);
  tree_backup(steps, out, {.discount = 0.9});
  same(out, {1 + 0.9 * (3.75 + 0.75 * (2 - 4)), 2});
  tree_backup(steps, out, {.discount = 0.9, .steps = 1});  // expected Sarsa
  const Numbers q1{3, 4}, pi1{0.25, 0.75};
  CHECK(out[0] == close(expected_sarsa_target(1.0, q1, pi1, false, {.discount = 0.9})));
  const Numbers greedy_next{4, poison}, greedy{1, 1};  // E_pi Q is the maximum: Q-learning
  Steps<double> as_greedy = steps;
  as_greedy.next_value = greedy_next, as_greedy.probability = greedy;
  tree_backup(as_greedy, out, {.discount = 0.9, .steps = 1});
  CHECK(out[0] == close(q_learning_target(1.0, q1, false, {.discount = 0.9})));
  tree_backup(as_greedy, out, {.discount = 0.9});  // and the greedy action taken: its return
  CHECK(out[0] == close(1 + 0.9 * 2));
}

TEST_CASE("Q(sigma) lies between tree backup and Sarsa") {
  const Numbers r{1, 2, -1}, next{3.75, 2, poison}, q{9, 4, 1}, pi{0.6, 0.75, 0.2}, ratio{1.2, 1.5, 0.4},
      mixed{0.5, 0.3, 1};
  const bool end[3] = {false, false, true};
  Steps<double> steps{
      .reward = r, .next_value = next, .terminated = end, .ratio = ratio, .action_value = q, .probability = pi};
  Numbers out(3), other(3);
  q_sigma(steps, out, {.discount = 0.9, .sigma = 0});
  tree_backup(steps, other, {.discount = 0.9});
  same(out, other);
  const Numbers ones(3, 1);
  Steps<double> on_policy = steps;
  on_policy.ratio = ones;
  q_sigma(on_policy, out, {.discount = 0.9, .sigma = 1});  // Sarsa's n-step return, with E_pi Q as a control variate
  const double g1 = 2 + 0.9 * (2 + (-1.0 - 1)), g0 = 1 + 0.9 * (3.75 + (g1 - 4));
  same(out, {g0, g1, -1});
  steps.sigma = mixed;  // 7.17 by hand: sigma belongs to the action that is corrected
  q_sigma(steps, out, {.discount = 0.9, .lambda = 0.5});
  const double h1 = 2 + 0.9 * (2 + 0.5 * 0.4 * (-1.0 - 1)),
               h0 = 1 + 0.9 * (3.75 + 0.5 * (0.3 * 1.5 + 0.7 * 0.75) * (h1 - 4));
  same(out, {h0, h1, -1});
}

TEST_CASE("Whitening: equal numbers, one number, an offset, errors") {
  std::vector<float> one{3};
  whiten(std::span(one));
  CHECK(one[0] == 0);
  Numbers equal(7, 0.1), offset{1e9 + 1, 1e9 + 2, 1e9 + 3};
  whiten(std::span(equal));
  for (const double x : equal) CHECK(std::abs(x) < 1e-6);
  whiten(std::span(offset));
  same(offset, {-std::sqrt(1.5), 0, std::sqrt(1.5)}, 1e-7);
  Numbers bad{1, poison, 2}, none;
  CHECK(says(message_of([&] { whiten(std::span(bad)); }), "values[1]", "nan"));
  CHECK(bad[0] == 1);
  CHECK(says(message_of([&] { whiten(std::span(none)); }), "empty"));
  CHECK(says(message_of([&] { whiten(std::span(equal), {.epsilon = 0}); }), "epsilon"));
}
