// Bandits as environments of one step, and pulled directly.
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/bandits.hpp"
#include "valence/env/check_environment.hpp"
#include "valence/mdp/concepts.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

static_assert(SingleReward<BernoulliBandit> && ListsItsFirstStates<BernoulliBandit> && Bandit<BernoulliBandit>);
static_assert(SingleReward<GaussianBandit> && Bandit<GaussianBandit> && !ContextualBandit<GaussianBandit>);
static_assert(SingleReward<LinearBandit> && ContextualBandit<LinearBandit>);

}  // namespace

TEST_CASE("bandits are environments in order") {
  Rng rng{1};
  const auto clean = [&](const auto& env) {
    for (const auto& problem : check_environment(env, rng).problems) FAIL_CHECK(problem);
  };
  clean(BernoulliBandit({0.2, 0.7, 1, 0}));
  clean(GaussianBandit({-1, 3}, 2));
  clean(LinearBandit::random(3, 4, rng));
}

TEST_CASE("bandits: rewards have the laws that they say, by step and by pull") {
  Rng rng{2};
  BernoulliBandit coins({0.2, 0.7});
  CHECK(coins.mean(0) == 0.2);
  CHECK(coins.best_mean() == 0.7);
  Numbers counts(2), pulled(2);
  for (int i = 0; i < 20'000; ++i) {
    const Step<int> step = coins.step(1, rng);
    CHECK((step.terminated && !step.truncated && step.next == 0));
    ++counts[static_cast<std::size_t>(step.reward)];
    ++pulled[static_cast<std::size_t>(coins.pull(0, rng))];
  }
  CHECK(test::chi_square_test(counts, Numbers{0.3, 0.7}) > 1e-4);
  CHECK(test::chi_square_test(pulled, Numbers{0.8, 0.2}) > 1e-4);

  const GaussianBandit normal({-1, 3}, 2);
  Numbers draws(10'000);
  for (double& x : draws) x = normal.pull(1, rng);
  CHECK(test::kolmogorov_smirnov_test(draws, [](double x) { return normal_cdf((x - 3) / 2); }) > 1e-4);
  CHECK(GaussianBandit({-1, 3}, 0).pull(0, rng) == -1);

  // Same stream, same reward, whichever way it is asked for.
  Rng a{5}, b{5};
  CHECK(GaussianBandit(normal).step(0, a).reward == normal.pull(0, b));
}

TEST_CASE("bandits: the linear bandit's means are those of its context") {
  Matrix<double> parameters(2, 3);
  parameters << 1, 0, -2, 0.5, 3, 1;
  LinearBandit world(parameters, 0);
  CHECK(says(message_of([&] { world.mean(0); }), "no context"));
  Rng rng{3};
  CHECK(world.context().empty());
  for (int i = 0; i < 20; ++i) {
    const Vector<double> x = world.reset(rng);
    CHECK(x.norm() == close(1.0));
    CHECK(world.context()[1] == x[1]);
    CHECK(world.mean(2) == close(-2 * x[0] + x[1]));
    CHECK(world.best_mean() == (std::max)({world.mean(0), world.mean(1), world.mean(2)}));
    CHECK(world.pull(2, rng) == world.mean(2));
    CHECK(world.step(1, rng).next == x);
  }
  // A copy is a snapshot; and it comes back from its bytes.
  LinearBandit copy(Matrix<double>::Ones(2, 3));
  from_bytes(to_bytes(world), copy);
  CHECK(copy.best_mean() == world.best_mean());
  // In two dimensions the angle is uniform.
  Numbers angles(5000);
  for (double& angle : angles) {
    const auto& x = world.reset(rng);
    angle = std::atan2(x[1], x[0]);
  }
  const double pi = 3.14159265358979323846;
  CHECK(test::kolmogorov_smirnov_test(angles, [=](double t) { return (t + pi) / (2 * pi); }) > 1e-4);
}

TEST_CASE("bandits: bad input is named") {
  const double nan_value = std::numeric_limits<double>::quiet_NaN();
  Rng rng{4};
  CHECK(says(message_of([] { BernoulliBandit({0.5, 1.5}); }), "probabilities[1] is 1.5"));
  CHECK(says(message_of([&] { BernoulliBandit({nan_value}); }), "probabilities[0] is nan"));
  CHECK(says(message_of([] { BernoulliBandit(Numbers{}); }), "empty"));
  CHECK(says(message_of([&] { GaussianBandit({0, nan_value}); }), "means[1] is nan"));
  CHECK(says(message_of([] { GaussianBandit({0}, -1); }), "standard_deviation is -1"));
  CHECK(says(message_of([] { LinearBandit(Matrix<double>(0, 2)); }), "0 x 2"));
  CHECK(says(message_of([&] { BernoulliBandit({0.5, 0.1}).pull(2, rng); }), "arm is 2; expected an arm in [0, 1]"));
  CHECK(says(message_of([&] { GaussianBandit({0.5}).step(-1, rng); }), "arm is -1"));
  CHECK(says(message_of([&] { BernoulliBandit::random(0, rng); }), "arms is 0"));
  CHECK(says(message_of([&] { LinearBandit::random(2, 0, rng); }), "features is 0"));
  CHECK(BernoulliBandit::random(7, rng).arms() == 7);
  CHECK(GaussianBandit::random(7, rng).arms() == 7);
  CHECK(LinearBandit::random(7, 2, rng).features() == 2);
}
