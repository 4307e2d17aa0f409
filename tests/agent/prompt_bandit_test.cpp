// The prompt bandit, and RLOO and GRPO on it: what they find stands in closed form.
#include <Eigen/Core>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/agent.hpp"
#include "valence/agent/group_policy_gradient.hpp"
#include "valence/agent/train.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/env/prompt_bandit.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/soft_value_iteration.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/gaussian.hpp"
#include "valence/policy_gradient/group_baselines.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

static_assert(EnumerableEnvironment<PromptBandit> && ListsItsFirstStates<PromptBandit> && SingleReward<PromptBandit>);

/// Of the specification, A10: one prompt, four answers, beta = 0.5.
const std::vector<double> golden_reference = {.1, .2, .3, .4};
const std::vector<double> golden_policy = {0.304917162088248, 0.408784172256102, 0.225574939273958, 0.0607237263816907};
constexpr double golden_beta = 0.5;

PromptBandit golden_bandit(int repeats = 1) {
  return PromptBandit{
      Matrix<double>{{1}, {.8}, {.3}, {-.5}}, Matrix<double>{{.1}, {.2}, {.3}, {.4}}, {.repeats = repeats}};
}

/// Two prompts, three answers, nothing alike.
PromptBandit two_prompts(int repeats = 1) {
  return PromptBandit{
      Matrix<double>{{1, -2}, {.25, .5}, {-.5, 3}}, Matrix<double>{{.2, .5}, {.7, .4}, {.1, .1}}, {.repeats = repeats}};
}

template <class Agent>
std::vector<double> policy_of(const Agent& agent, int prompt) {
  const auto n = static_cast<std::size_t>(agent.law().size());
  std::vector<double> p(n);
  agent.law().probabilities(agent.parameters().subspan(static_cast<std::size_t>(prompt) * n, n), p);
  return p;
}

/// Parameters of a table whose policy is the bandit's reference, which becomes the agent's.
template <class Agent>
void start_at_reference(Agent& agent, const PromptBandit& bandit) {
  for (int x = 0, i = 0; x < bandit.prompts(); ++x)
    for (const double q : bandit.reference(x)) agent.parameters()[static_cast<std::size_t>(i++)] = std::log(q);
  agent.set_reference();
}

/// One answer.
template <class Agent>
void tell(Agent& agent, int prompt, int answer, double reward) {
  Rng unused{0};
  agent.learn(Transition<int, int>{prompt, answer, reward, prompt, true, false}, unused);
}

template <class S>
std::vector<S> copy_of(std::span<const S> x) {
  return {x.begin(), x.end()};
}

/// One prompt, whose answer is a number: the closer to 1, the better.
struct Target {
  using State = int;
  using Action = double;
  int reset(Rng&) { return 0; }
  Step<int> step(double a, Rng&) { return {.next = 0, .reward = -(a - 1) * (a - 1), .terminated = true}; }
  Box<double> actions() const { return {-10, 10}; }
};

/// Plays 400 steps; and 157, saved and loaded into another run, which was played before, and 243 more.
template <class Agent>
void resumes(const Agent& agent, const PromptBandit& bandit) {
  Run whole{agent, bandit, Rng{3}};
  whole.advance(400);
  Run half{agent, bandit, Rng{3}};
  half.advance(157);  // within a group
  const auto saved = to_bytes(half);
  Run other{agent, bandit, Rng{99}};
  other.advance(33);
  from_bytes(saved, other);
  CHECK(same_state(half, other));
  other.advance(243);
  CHECK(same_state(whole, other));
  half.advance(242);
  CHECK(!same_state(whole, half));
}

}  // namespace

TEST_CASE("The prompt bandit's optimum in closed form") {
  const auto bandit = golden_bandit();
  const auto best = bandit.best_policy(0, golden_beta);
  for (int y = 0; y < 4; ++y) CHECK(best[y] == close(golden_policy[static_cast<std::size_t>(y)], 1e-13));
  CHECK(bandit.best_objective(0, golden_beta) == close(0.442565022990611, 1e-13));
  CHECK(bandit.objective(0, view(best), golden_beta) == close(0.442565022990611, 1e-13));

  // It is the maximum: mixing anything in is worse.
  Rng rng{4};
  const auto random = PromptBandit::random(3, 5, rng);
  for (int x = 0; x < 3; ++x) {
    const Vector<double> p = random.best_policy(x, 0.3);
    const double most = random.best_objective(x, 0.3);
    CHECK(random.objective(x, view(p), 0.3) == close(most, 1e-12));
    for (int y = 0; y < 5; ++y) {
      Vector<double> other = 0.99 * p;
      other[y] += 0.01;
      CHECK(random.objective(x, view(std::as_const(other)), 0.3) < most);
    }
  }

  // Small beta: the best answer; large: the reference. No overflow at either end.
  CHECK(bandit.best_policy(0, 1e-4)[0] == close(1.0, 1e-12));
  CHECK(bandit.best_objective(0, 1e-4) == close(1.0, 1e-3));
  CHECK(bandit.best_policy(0, 1e9)[3] == close(.4, 1e-8));

  // An answer that the reference never gives.
  const PromptBandit never{Matrix<double>{{5}, {1}}, Matrix<double>{{0}, {1}}};
  CHECK(never.best_policy(0, 1)[0] == 0);
  CHECK(never.best_objective(0, 2) == close(1.0, 1e-14));
  const std::array<double, 2> even = {.5, .5};
  CHECK(never.objective(0, even, 1) == -std::numeric_limits<double>::infinity());
  CHECK(never.objective(0, even, 0) == 3);
}

TEST_CASE("The prompt bandit as an environment") {
  Rng rng{11};
  CHECK(check_environment(two_prompts(), rng).problems.empty());
  CHECK(check_environment(golden_bandit(), rng).problems.empty());

  // Its model is exact: soft value iteration with the reference as prior finds J* and pi*.
  const auto bandit = two_prompts();
  const FiniteMdp model{bandit};
  Matrix<double> prior = Matrix<double>::Zero(3, model.states());
  for (int x = 0; x < 2; ++x)
    for (int y = 0; y < 3; ++y) prior(y, x) = bandit.reference(x)[static_cast<std::size_t>(y)];
  const auto soft = soft_value_iteration(model, prior, {.discount = 0.5, .temperature = 0.7, .tolerance = 1e-12});
  for (int x = 0; x < 2; ++x) {
    CHECK(soft.value[x] == close(bandit.best_objective(x, 0.7), 1e-10));
    for (int y = 0; y < 3; ++y) CHECK(soft.distribution(y, x) == close(bandit.best_policy(x, 0.7)[y], 1e-10));
  }

  // Each prompt three times, then another one is drawn; both come up.
  auto repeated = two_prompts(3);
  int seen[2] = {0, 0};
  for (int group = 0; group < 200; ++group) {
    const int prompt = repeated.reset(rng);
    ++seen[prompt];
    for (int k = 0; k < 2; ++k) {
      const auto step = repeated.step(k, rng);
      CHECK(step.terminated);
      CHECK(step.reward == two_prompts().reward(prompt, k));
      CHECK(repeated.reset(rng) == prompt);
    }
  }
  CHECK(seen[0] > 60);
  CHECK(seen[1] > 60);

  CHECK(says(message_of([&] { two_prompts().step(0, rng); }), "PromptBandit::step", "over"));
  auto played = two_prompts();
  played.reset(rng);
  CHECK(says(message_of([&] { played.step(3, rng); }), "action is 3", "[0, 2]"));
  played.step(0, rng);
  CHECK(says(message_of([&] { played.step(0, rng); }), "reset"));
}

TEST_CASE("The prompt bandit refuses what it can't use") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto made = [](const Matrix<double>& r, const Matrix<double>& q = {}, int repeats = 1) {
    return message_of([&] { PromptBandit(r, q, {.repeats = repeats}); });
  };
  CHECK(says(made(Matrix<double>(0, 3)), "rewards is 0 x 3"));
  CHECK(says(made(Matrix<double>{{1, 2}, {3, nan}}), "rewards[3]", "nan"));
  CHECK(says(made(Matrix<double>{{1, 2}, {3, 4}}, Matrix<double>{{1}, {0}}), "reference is 2 x 1", "2 x 2"));
  CHECK(says(made(Matrix<double>{{1, 2}, {3, 4}}, Matrix<double>{{.5, .5}, {.5, .6}}), "reference"));
  CHECK(says(made(Matrix<double>{{1, 2}, {3, 4}}, Matrix<double>{{.5, 1.5}, {.5, -.5}}), "reference"));
  CHECK(says(made(Matrix<double>{{1, 2}}, {}, 0), "repeats is 0"));
  const auto bandit = golden_bandit();
  CHECK(says(message_of([&] { bandit.best_policy(1, .5); }), "best_policy", "1", "[0, 0]"));
  CHECK(says(message_of([&] { bandit.best_objective(0, 0); }), "beta is 0"));
  CHECK(says(message_of([&] { bandit.reward(0, -1); }), "-1"));
  const std::array<double, 4> p = {.5, .5, .5, -.5};
  CHECK(says(message_of([&] { bandit.objective(0, p, .5); }), "policy"));
}

TEST_CASE("RLOO's expected step is the exact gradient", "[G3]") {
  // Every batch that can come up, with its probability: two prompts, two answers each, three answers to choose from.
  const auto bandit = two_prompts();
  const double beta = GENERATE(0.0, 0.3);
  const int group = 2, prompts = 2;
  const auto agent_of = [&](auto model) {
    return Rloo{model, Softmax{3}, Sgd{.step_size = 1}, {.group = group, .prompts = prompts, .beta = beta}};
  };
  const auto check = [&](auto start) {
    const std::vector<double> theta = {.3, -.2, .5, -1, .4, .1};
    start_at_reference(start, bandit);
    std::copy(theta.begin(), theta.end(), start.parameters().begin());
    const std::array<std::vector<double>, 2> p = {policy_of(start, 0), policy_of(start, 1)};

    std::vector<double> expected(6), mean(6);
    for (std::size_t x = 0; x < 2; ++x) {  // dJ / dz = p (f - sum p f), f = r - beta log(p / q); half of it a prompt
      double f[3], average = 0;
      for (std::size_t y = 0; y < 3; ++y) {
        const int prompt = static_cast<int>(x);
        f[y] = bandit.rewards(prompt)[y] - beta * std::log(p[x][y] / bandit.reference(prompt)[y]);
        average += p[x][y] * f[y];
      }
      for (std::size_t y = 0; y < 3; ++y) expected[3 * x + y] = p[x][y] * (f[y] - average) / 2;
    }
    for (int tuple = 0; tuple < 81; ++tuple) {
      auto agent = start;
      double probability = 1;
      for (int i = 0, rest = tuple; i < 4; ++i, rest /= 3) {
        const int prompt = i / 2, answer = rest % 3;
        probability *= p[static_cast<std::size_t>(prompt)][static_cast<std::size_t>(answer)];
        tell(agent, prompt, answer, bandit.reward(prompt, answer));
      }
      REQUIRE(agent.updates() == 1);
      for (std::size_t i = 0; i < 6; ++i) mean[i] += probability * (agent.parameters()[i] - theta[i]);
    }
    for (std::size_t i = 0; i < 6; ++i) CHECK(mean[i] == close(expected[i], 1e-12, 1e-15));
  };
  check(agent_of(Linear{OneHot{2}, 3}));
}

TEST_CASE("GRPO's first epoch is REINFORCE with group advantages, and the next ones are clipped") {
  const auto bandit = two_prompts();
  const int group = 4, prompts = 2, epochs = GENERATE(1, 3);
  const double rate = 4, beta = GENERATE(0.0, 0.2);
  const std::vector<int> answers = {0, 1, 1, 2, 2, 2, 0, 1};
  Grpo agent{Linear{OneHot{2}, 3},
             Softmax{3},
             Sgd{.step_size = rate},
             {.group = group, .prompts = prompts, .epochs = epochs, .beta = beta}};
  start_at_reference(agent, bandit);
  const std::vector<double> theta = {.3, -.2, .5, -1, .4, .1};
  std::copy(theta.begin(), theta.end(), agent.parameters().begin());

  // By hand, from the definitions alone.
  std::vector<double> reward, advantage(8), old(8), ref(8), hand = theta;
  const Softmax law{3};
  const auto logits = [&](std::span<const double> t, std::size_t i) { return t.subspan(i / 4 * 3, 3); };
  for (std::size_t i = 0; i < 8; ++i) {
    reward.push_back(bandit.reward(static_cast<int>(i) / 4, answers[i]));
    old[i] = law.log_prob(logits(theta, i), answers[i]);
    ref[i] = std::log(bandit.reference(static_cast<int>(i) / 4)[static_cast<std::size_t>(answers[i])]);
  }
  for (std::size_t first = 0; first < 8; first += 4) {
    double mean = 0, squares = 0;
    for (std::size_t i = first; i < first + 4; ++i) mean += reward[i] / 4;
    for (std::size_t i = first; i < first + 4; ++i) squares += (reward[i] - mean) * (reward[i] - mean) / 4;
    for (std::size_t i = first; i < first + 4; ++i) advantage[i] = (reward[i] - mean) / (std::sqrt(squares) + 1e-8);
  }
  int clipped = 0;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    std::vector<double> step(6);
    clipped = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      const double now = law.log_prob(logits(std::span<const double>(hand), i), answers[i]);
      const double ratio = std::exp(now - old[i]);
      const bool stops = advantage[i] > 0 ? ratio > 1.2 : ratio < 0.8;
      const double slope = (stops ? 0 : ratio * advantage[i]) + beta * (std::exp(ref[i] - now) - 1);
      if (epoch == 0) CHECK(ratio == 1);
      clipped += std::abs(ratio - 1) > 0.2 ? 1 : 0;
      law.log_prob(logits(std::span<const double>(hand), i), answers[i], slope / 8,
                   std::span<double>(step).subspan(i / 4 * 3, 3));
    }
    for (std::size_t i = 0; i < 6; ++i) hand[i] += rate * step[i];
  }
  for (std::size_t i = 0; i < 8; ++i) tell(agent, static_cast<int>(i) / 4, answers[i], reward[i]);
  CHECK(agent.updates() == epochs);
  for (std::size_t i = 0; i < 6; ++i) CHECK(agent.parameters()[i] == close(hand[i], 1e-13, 1e-14));
  const auto metrics = agent.metrics();
  CHECK(metrics[3].name == "train/clip_fraction");
  CHECK(metrics[3].value == clipped / 8.0);
  if (epochs == 3) CHECK(clipped > 0);

  // And of the mean reward.
  double mean = 0;
  for (const double r : reward) mean += r / 8;
  CHECK(metrics[0].value == close(mean, 1e-14));
}

TEST_CASE("A group of equal rewards moves nothing", "[G1][G4]") {
  const auto check = [](auto agent) {
    const auto before = copy_of<float>(agent.parameters());
    for (int update = 0; update < 3; ++update)
      for (int i = 0; i < 14; ++i) tell(agent, i / 7, i % 3, i < 7 ? 0.35 : 0.1);
    CHECK(agent.updates() == 3);
    CHECK(copy_of<float>(agent.parameters()) == before);
  };
  // The reference is the policy itself, so the penalties are 0 whatever their weight.
  check(Rloo{
      Linear<OneHot, float>{OneHot{2}, 3}, Softmax{3}, Adam{.step_size = 1}, {.group = 7, .prompts = 2, .beta = 0.3}});
  check(Grpo{
      Linear<OneHot, float>{OneHot{2}, 3}, Softmax{3}, Adam{.step_size = 1}, {.group = 7, .prompts = 2, .beta = 0.3}});
  check(Grpo{Linear<OneHot, float>{OneHot{2}, 3}, Softmax{3}, Adam{.step_size = 1}, {.group = 1, .prompts = 14}});
}

TEST_CASE("The penalty pulls towards the reference", "[G10]") {
  const auto bandit = golden_bandit();
  const auto check = [&](auto agent) {
    start_at_reference(agent, bandit);
    const std::vector<double> theta = {1, 0, -1, .5};
    std::copy(theta.begin(), theta.end(), agent.parameters().begin());
    const auto divergence = [&] {
      const auto p = policy_of(agent, 0);
      return bandit.objective(0, p, 0) - bandit.objective(0, p, 1);
    };
    const double before = divergence();
    for (int i = 0; i < 20; ++i) tell(agent, 0, i % 4, 2);  // no answer is better than another
    CHECK(agent.updates() == 1);
    CHECK(divergence() < before - 1e-3);
  };
  check(Rloo{Linear{OneHot{1}, 4}, Softmax{4}, Sgd{.step_size = 0.1}, {.group = 4, .prompts = 5, .beta = 1}});
  check(Grpo{Linear{OneHot{1}, 4}, Softmax{4}, Sgd{.step_size = 0.1}, {.group = 4, .prompts = 5, .beta = 1}});
}

TEST_CASE("RLOO finds pi*, and there its noise vanishes") {
  for (const int seed : {1, 2, 3, 4, 5}) {
    CAPTURE(seed);
    Rng rng{seed};
    Rloo agent{Linear{OneHot{1}, 4}, Softmax{4}, Sgd{.step_size = 1}, {.group = 4, .prompts = 4, .beta = golden_beta}};
    start_at_reference(agent, golden_bandit());
    train(agent, golden_bandit(4), {.steps = 16 * 1500}, rng);
    CHECK(agent.updates() == 1500);
    const auto p = policy_of(agent, 0);
    for (std::size_t y = 0; y < 4; ++y) CHECK(p[y] == close(golden_policy[y], 0, 1e-7));
  }
}

TEST_CASE("RLOO of several prompts, with a network and Adam") {
  const auto bandit = two_prompts(4);
  for (const int seed : {1, 2, 3}) {
    CAPTURE(seed);
    Rng rng{seed};
    Rloo agent{Mlp<double>{{2, 16, 3}, Activation::tanh},
               Softmax{3},
               Adam{.step_size = 0.02},
               {.group = 4, .prompts = 8, .beta = 0.5, .step_factor = LinearSchedule{1, 0, 2000}},
               Rng{seed}};
    // The reference is the network as drawn.
    Mlp<double>::Tape tape;
    const Matrix<double> inputs = Matrix<double>::Identity(2, 2);
    const Matrix<double> y = agent.model().forward(agent.parameters(), inputs, tape);
    const PromptBandit same{Matrix<double>{{1, -2}, {.25, .5}, {-.5, 3}}, softmax(y)};
    train(agent, bandit, {.steps = 32 * 2000}, rng);
    const Matrix<double> found = softmax(Matrix<double>(agent.model().forward(agent.parameters(), inputs, tape)));
    for (int x = 0; x < 2; ++x)
      for (int a = 0; a < 3; ++a) CHECK(found(a, x) == close(same.best_policy(x, 0.5)[a], 0, 1e-3));
  }
}

TEST_CASE("GRPO without the deviation finds the fixed point of its own penalty, which isn't pi*") {
  // The root of (1 - 1/4) p (r - E r) = beta (p - reference), found by bisection in another program.
  const std::array<double, 4> fixed = {0.307007673669064, 0.319629354059589, 0.218066875953658, 0.155296096317689};
  std::array<double, 4> mean = {};
  constexpr int seeds = 8;
  for (int seed = 1; seed <= seeds; ++seed) {
    Rng rng{seed};
    Grpo agent{Linear{OneHot{1}, 4},
               Softmax{4},
               Sgd{.step_size = 1},
               {.group = 4,
                .prompts = 4,
                .advantage = {.deviation = GroupDeviation::none},
                .beta = golden_beta,
                .step_factor = LinearSchedule{1, 0.002, 4000}}};
    start_at_reference(agent, golden_bandit());
    train(agent, golden_bandit(4), {.steps = 16 * 4000}, rng);
    const auto p = policy_of(agent, 0);
    for (std::size_t y = 0; y < 4; ++y) mean[y] += p[y] / seeds;
  }
  for (std::size_t y = 0; y < 4; ++y) CHECK(mean[y] == close(fixed[y], 0, 0.01));
  CHECK(std::abs(mean[3] - golden_policy[3]) > 0.08);
}

TEST_CASE("Groups must be whole, and answers usable") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Rng rng{1};
  Rloo agent{Linear{OneHot{2}, 3}, Softmax{3}, Sgd{}, {.group = 3, .prompts = 2}};
  const auto before = copy_of<double>(agent.parameters());
  tell(agent, 0, 1, 1);
  CHECK(says(message_of([&] { tell(agent, 1, 1, 1); }), "Rloo", "answer 1 of a group", "3 times"));
  CHECK(says(message_of([&] { tell(agent, 0, 3, 1); }), "action of step 1 is 3", "[0, 2]"));
  CHECK(says(message_of([&] { tell(agent, 0, 0, nan); }), "reward of step 1 is nan"));
  CHECK(says(message_of([&] { agent.act(2, rng); }), "the state", "2"));
  CHECK(says(message_of([&] { agent.learn(Transition<int, int>{0, 0, 1, 0, false, true}, rng); }), "one step"));
  CHECK(agent.steps() == 1);
  // The group goes on as if nothing had been said.
  tell(agent, 0, 1, 2), tell(agent, 0, 0, 1);
  tell(agent, 1, 1, 2), tell(agent, 1, 0, 1);
  CHECK(agent.updates() == 0);
  tell(agent, 1, 0, 1);
  CHECK(agent.updates() == 1);
  CHECK(copy_of<double>(agent.parameters()) != before);
  // A run that was stopped within a group, and another one.
  tell(agent, 0, 1, 2);
  agent.forget();
  for (int i = 0; i < 6; ++i) tell(agent, 1, 0, 1);
  CHECK(agent.updates() == 2);

  const auto rloo_of = [](RlooOptions o) {
    return message_of([&] { Rloo(Linear{OneHot{2}, 3}, Softmax{3}, Sgd{}, o); });
  };
  CHECK(says(rloo_of({.group = 1}), "Rloo", "group is 1", "[2"));
  CHECK(says(rloo_of({.prompts = 0}), "prompts is 0"));
  CHECK(says(rloo_of({.beta = -1}), "beta is -1"));
  CHECK(says(rloo_of({.max_gradient_norm = nan}), "max_gradient_norm"));
  const auto grpo_of = [](GrpoAgentOptions o) {
    return message_of([&] { Grpo(Linear{OneHot{2}, 3}, Softmax{3}, Sgd{}, o); });
  };
  CHECK(says(grpo_of({.group = 0}), "Grpo", "group is 0"));
  CHECK(says(grpo_of({.epochs = 0}), "epochs is 0"));
  CHECK(says(grpo_of({.advantage = {.epsilon = 0}}), "epsilon is 0"));
  CHECK(says(grpo_of({.clip = 0}), "clip is 0"));
  CHECK(says(grpo_of({.dual_clip = 1}), "dual_clip is 1"));
  CHECK(says(message_of([] { Rloo(Linear{OneHot{2}, 4}, Softmax{3}, Sgd{}); }), "outputs", "4", "3"));
}

TEST_CASE("Masked answers are never given, and get no gradient", "[G23]") {
  const PossibleActions possible = [](std::span<const double> x, std::span<bool> p) { p[x[0] == 0 ? 2 : 0] = false; };
  Rng rng{5};
  Grpo agent{Linear{OneHot{2}, 3},
             Softmax{3},
             Sgd{.step_size = 1},
             {.group = 4, .prompts = 4, .epochs = 2, .possible = possible}};
  agent.parameters()[2] = agent.parameters()[3] = 50;  // what would be chosen
  agent.set_reference();
  auto bandit = two_prompts(4);
  const auto log = train(agent, bandit, {.steps = 16 * 50}, rng);
  CHECK(log.steps == 800);
  CHECK(agent.updates() == 100);
  CHECK(agent.parameters()[2] == 50);
  CHECK(agent.parameters()[3] == 50);
  for (int i = 0; i < 200; ++i) {
    CHECK(agent.act(0, rng) != 2);
    CHECK(agent.act(1, rng) != 0);
  }
  CHECK(agent.greedy(0) == 0);
  CHECK(agent.greedy(1) == 2);
}

TEST_CASE("Answers may be numbers: a Gaussian law") {
  Rng rng{2};
  Rloo agent{Linear{OneHot{1}, 2},
             DiagonalGaussian<double>{1},
             Sgd{.step_size = 0.05},
             {.group = 4, .prompts = 16, .beta = 0}};
  train(agent, Target{}, {.steps = 64 * 500}, rng);
  CHECK(agent.greedy(0) == close(1.0, 0, 0.1));
}

TEST_CASE("Group agents allocate nothing once they run") {
  const auto check = [](auto agent) {
    auto bandit = two_prompts(4);
    Rng rng{3};
    const auto play = [&](int steps) {
      for (int i = 0; i < steps; ++i) {
        const int x = bandit.reset(rng);
        const int y = agent.act(x, rng);
        const auto step = bandit.step(y, rng);
        agent.learn(Transition<int, int>{x, y, step.reward, step.next, step.terminated, false}, rng);
      }
    };
    play(64);
    const Allocations allocations;
    play(256);
    CHECK(allocations.count() == 0);
    CHECK(agent.updates() >= 20);
  };
  check(Rloo{Linear{OneHot{2}, 3}, Softmax{3}, Adam{}, {.group = 4, .prompts = 4}});
  check(Rloo{Mlp<float>{{2, 16, 3}, Activation::relu}, Softmax{3}, Adam{}, {.group = 4, .prompts = 4}});
  check(Grpo{Linear{OneHot{2}, 3}, Softmax{3}, Adam{}, {.group = 4, .prompts = 4, .epochs = 3}});
}

TEST_CASE("A saved group agent goes on to the bit") {
  static_assert(Agent<Rloo<Linear<OneHot>, Softmax, Adam>, int, int>);
  resumes(Rloo{Linear{OneHot{2}, 3}, Softmax{3}, Adam{}, {.group = 4, .prompts = 5}}, two_prompts(4));
  resumes(Grpo{Mlp<float>{{2, 8, 3}, Activation::relu}, Softmax{3}, Adam{}, {.group = 4, .prompts = 5, .epochs = 2}},
          two_prompts(4));
}
