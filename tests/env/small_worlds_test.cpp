// The models that papers and tests share, random ones, and what plays them.
#include <array>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "env/worlds.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/env/garnet.hpp"
#include "valence/env/model_environment.hpp"
#include "valence/env/small_models.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/mdp/finite_mdp.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::plays_what_it_lists;
using valence::test::says;
using valence::test::swept_optimum;

using Playing = ModelEnvironment<FiniteMdp<double>>;
static_assert(Environment<Playing> && ListsItsFirstStates<Playing> && SingleReward<Playing>);
static_assert(Environment<ModelEnvironment<DenseMdp<float>>> && ListsItsFirstStates<ModelEnvironment<DenseMdp<float>>>);

namespace {

using valence::test::close;

}  // namespace

TEST_CASE("The two-state model, random walks, chains: values") {
  const auto m1 = two_state_model();
  const Vector<double> v = swept_optimum(m1, .9);
  CHECK(v[0] == close(12.28813559322, 0, 1e-11));
  CHECK(v[1] == close(13.135593220339, 0, 1e-12));
  CHECK(greedy_policy(m1, view(v), {.discount = .9}) == std::vector<int>{0, 1});
  CHECK(m1.initial()[0] == .6);

  const auto five = random_walk();
  REQUIRE(five.states() == 7);
  CHECK((five.terminal(0) && five.terminal(6) && five.initial()[3] == 1));
  const Vector<double> walk = swept_optimum(five, 1);
  for (int s = 1; s <= 5; ++s) CHECK(walk[s] == close(s / 6., 1e-12));
  const Vector<double> nineteen = swept_optimum(random_walk(19, {.left_reward = -1}), 1);
  for (int s = 1; s <= 19; ++s) CHECK(nineteen[s] == close(s / 10. - 1, 0, 1e-11));
  const auto thousand = random_walk(1000, {.reach = 100, .left_reward = -1});
  CHECK(thousand.successors(500, 0).size() == 200);
  CHECK((*thousand.successors(1, 0).begin()).probability == close(.5, 1e-12));  // 100 jumps to the left end
  const Vector<double> wide = swept_optimum(thousand, 1, 3000);
  for (int s = 1; s <= 1000; s += 37) CHECK(wide[s] == close(-wide[1001 - s], 0, 1e-9));
  CHECK(says(message_of([] { random_walk(5, {.reach = 6}); }), "reach is 6", "5"));

  // The chain of the regret preferences: 0-1-2-goal.
  const auto short_chain = chain(4, {.step_reward = -1, .goal_reward = 9});
  const Vector<double> u = swept_optimum(short_chain, .9);
  const Matrix<double> q = action_values(short_chain, view(u), {.discount = .9});
  const double expected[3][2] = {{3.851, 5.39}, {3.851, 7.1}, {5.39, 9}};
  for (int s = 0; s < 3; ++s)
    for (int a = 0; a < 2; ++a) CHECK(q(a, s) == close(expected[s][a], 1e-13));
  // d steps to the goal, each costs 1.
  CHECK(swept_optimum(chain(26, {.step_reward = -1, .goal_reward = -1}), .99)[0] == close(-22.217864060085, 0, 1e-12));
  // With coin flips for steps, the right end is reached with probability s / goal.
  const Vector<double> ruin = swept_optimum(chain(11, {.left_ends = true, .slip = .5}), 1);
  for (int s = 1; s < 10; ++s) CHECK(ruin[s] == close(s / 10., 1e-10));
  const auto ends = chain(25, {.left_reward = .02, .left_ends = true, .slip = .1, .start = 4});
  CHECK((ends.initial()[4] == 1 && ends.terminal(0) && ends.terminal(24)));
  CHECK(ends.reward(1, 0) == close(.9 * .02, 1e-14));
  CHECK(ends.reward(23, 1) == close(.9, 1e-14));
  CHECK(chain(3, {.left_ends = true}).initial()[1] == 1);
  CHECK(says(message_of([] { chain(1); }), "states is 1"));
  CHECK(says(message_of([] { chain(5, {.start = 4}); }), "start is 4", "[0, 3]"));
}

TEST_CASE("Baird's star and w -> 2w: expected updates of temporal differences") {
  const auto star = baird_star();
  const Matrix<double> phi = baird_star_features();
  // All states are visited alike.
  Vector<double> after = Vector<double>::Zero(7);
  for (int s = 0; s < 7; ++s)
    for (int a = 0; a < 2; ++a)
      for (const auto& to : star.successors(s, a))
        after[to.next] += 1. / 7 * (a == 0 ? 6. / 7 : 1. / 7) * to.probability;
  for (int s = 0; s < 7; ++s) CHECK(after[s] == close(1. / 7, 1e-14));
  Vector<double> theta = baird_star_weights();
  for (int k = 0; k < 1000; ++k) {
    const Vector<double> value = phi.transpose() * theta;
    Vector<double> step = Vector<double>::Zero(8);
    for (int s = 0; s < 7; ++s)
      step += 1. / 7 * (star.reward(s, 1) + .99 * star.expectation(s, 1, value.data()) - value[s]) * phi.col(s);
    theta += .01 * step;
  }
  CHECK(theta.norm() == close(436.856, 0, 5e-4));

  const auto two = w_to_2w();
  const Matrix<double> x = w_to_2w_features();
  double follow[2] = {0, 0}, td = 0, etd = 0;
  for (int k = 0; k < 2000; ++k) {  // f = d + discount P' f of the target policy, action 1
    double next[2] = {.5, .5};
    for (int s = 0; s < 2; ++s)
      for (const auto& to : two.successors(s, 1)) next[to.next] += .9 * to.probability * follow[s];
    follow[0] = next[0], follow[1] = next[1];
  }
  CHECK(follow[0] == close(.5, 1e-14));
  CHECK(follow[1] == close(9.5, 1e-12));
  for (int s = 0; s < 2; ++s) {
    const double a = x(0, s) * (x(0, s) - .9 * two.expectation(s, 1, x.data()));
    td += .5 * a, etd += follow[s] * a;
  }
  CHECK(td == close(-.2, 1e-13));
  CHECK(etd == close(3.4, 1e-12));
}

TEST_CASE("Garnets: successors, probabilities and rewards have their distributions") {
  Rng rng{7};
  std::map<std::array<int, 3>, double> sets;
  std::vector<double> probabilities, rewards;
  const auto model = garnet(5, 400, 3, rng);
  for (int s = 0; s < 5; ++s)
    for (int a = 0; a < 400; ++a) {
      std::array<int, 3> set{};
      std::size_t k = 0;
      double sum = 0;
      for (const auto& to : model.successors(s, a)) {
        if (k == 1) probabilities.push_back(to.probability);  // one a row: those of a row depend on each other
        sum += to.probability;
        set[k++] = to.next;
      }
      REQUIRE(k == 3);
      CHECK((set[0] < set[1] && set[1] < set[2]));
      CHECK(sum == close(1, 1e-14));
      ++sets[set];
      rewards.push_back(model.reward(s, a));
    }
  std::vector<double> counts;
  for (const auto& [set, count] : sets) counts.push_back(count);
  REQUIRE(counts.size() == 10);
  CHECK(valence::test::chi_square_test(counts, std::vector<double>(10, .1)) > 1e-6);
  // A length of three: P(length <= x) = 1 - (1 - x)^2.
  CHECK(valence::test::kolmogorov_smirnov_test(probabilities, [](double x) { return 1 - (1 - x) * (1 - x); }) > 1e-6);
  CHECK(valence::test::kolmogorov_smirnov_test(rewards, [](double x) { return .5 * std::erfc(-x / std::sqrt(2.)); }) >
        1e-6);
  CHECK(model.initial()[3] == .2);

  // One seed, one model, whatever the number of threads; another draw, another model; one output each.
  Rng first{9}, second{9};
  const auto a = garnet(40, 3, 5, first), b = garnet(40, 3, 5, second, {.threads = 1});
  CHECK(a.columns().next == b.columns().next);
  CHECK(a.columns().probability == b.columns().probability);
  CHECK(first.position() == 1);
  CHECK(a.columns().next != garnet(40, 3, 5, first).columns().next);
  CHECK(a.successors_each() == 5);
  const auto all = garnet<float>(60, 2, 60, first);
  CHECK(all.successors_each() == 60);
  CHECK(garnet(4, 1, 1, first).successors_each() == 1);
  CHECK(says(message_of([&] { garnet(4, 2, 5, first); }), "garnet", "branching is 5", "[1, 4]"));
  CHECK(says(message_of([&] { garnet(4, 2, 0, first); }), "branching is 0"));
  CHECK(says(message_of([&] { garnet(0, 2, 1, first); }), "states is 0"));
  CHECK(says(message_of([&] { garnet(2'000'000'000, 2, 2, first); }), "2^32"));
}

TEST_CASE("A model is played as it is, and listed again as it was", "[E11]") {
  Rng rng{13};
  CHECK(plays_what_it_lists(Playing{two_state_model()}, rng) > 1e-6);
  CHECK(plays_what_it_lists(Playing{chain(5, {.step_reward = -.5, .slip = .3})}, rng) > 1e-6);
  CHECK(plays_what_it_lists(Playing{garnet(12, 3, 4, rng)}, rng) > 1e-6);
  CHECK(plays_what_it_lists(ModelEnvironment{dense(two_state_model())}, rng) > 1e-6);
  CHECK(plays_what_it_lists(Playing{two_state_model(), {.25, .75}}, rng) > 1e-6);
  for (const auto& model :
       {chain(6, {.step_reward = -1, .slip = .2}), random_walk(7, {.reach = 3}), two_state_model()}) {
    const FiniteMdp<double> again{Playing{model}};
    REQUIRE(again.states() == model.states());
    for (int s = 0; s < model.states(); ++s) CHECK(again.terminal(s) == model.terminal(s));
    CHECK(again.columns().next == model.columns().next);
    CHECK(again.columns().probability == model.columns().probability);
    CHECK(again.columns().reward == model.columns().reward);
    CHECK(again.columns().entry_reward == model.columns().entry_reward);
    CHECK(again.columns().initial == model.columns().initial);
    const EnvironmentReport report = check_environment(Playing{model}, rng);
    for (const auto& problem : report.problems) UNSCOPED_INFO(problem);
    CHECK(report.good());
  }

  // Rewards that differ by successor are those of the successor drawn; what isn't available can't be played.
  const FiniteMdp<double> split{3, 2, std::vector<ModelEntry>{{0, 0, 1, .5, 7}, {0, 0, 2, .5, -3}, {1, 1, 0, 1, 4}},
                                std::vector<int>{2}};
  Playing env{split, {1, 0, 0}};
  CHECK(says(message_of([&] { env.step(0, rng); }), "ModelEnvironment::step", "reset"));
  for (int k = 0; k < 50; ++k) {
    env.reset(rng);
    const auto step = env.step(0, rng);
    CHECK(step.reward == (step.next == 1 ? 7 : -3));
    CHECK(step.terminated == (step.next == 2));
    if (step.terminated)
      CHECK(says(message_of([&] { env.step(0, rng); }), "over"));
    else
      CHECK(says(message_of([&] { env.step(0, rng); }), "action 0 is not available in state 1"));
  }
  CHECK(env.outcomes(1, 0).empty());
  CHECK((env.available(1, 1) && !env.available(1, 0)));
  env.reset(rng);
  CHECK(says(message_of([&] { env.step(2, rng); }), "action is 2", "[0, 1]"));
  CHECK(says(message_of([&] { Playing{split}; }), "where episodes begin"));
  CHECK(says(message_of([&] { Playing{split, {0, .5, .5}}; }), "initial[2]", "terminal"));
  CHECK(says(message_of([&] { Playing{split, {1, 0}}; }), "initial", "2", "3"));
  CHECK(says(message_of([&] { Playing{split, {.5, .6, 0}}; }), "initial", "1.1"));

  // A copy is a snapshot, and shares the model.
  Playing original{two_state_model()}, restored{two_state_model()};
  original.reset(rng);
  const Playing copy = original;
  CHECK(&copy.model() == &original.model());
  original.set_state(1 - copy.state());
  CHECK(copy.state() != original.state());
  from_bytes(to_bytes(original), restored);
  CHECK(restored.state() == original.state());
  CHECK_NOTHROW(restored.step(0, rng));
  valence::test::Allocations allocations;
  for (int k = 0; k < 100; ++k) original.step(k % 2, rng);
  CHECK(allocations.count() == 0);
}
