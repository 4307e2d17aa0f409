// Bandit learners: the published numbers, the laws they draw from, and how their regret grows.
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/goodness.hpp"
#include "valence/agent/action_value_bandit.hpp"
#include "valence/agent/bandit.hpp"
#include "valence/agent/best_arm.hpp"
#include "valence/agent/exp3.hpp"
#include "valence/agent/gradient_bandit.hpp"
#include "valence/agent/lin_ucb.hpp"
#include "valence/agent/thompson.hpp"
#include "valence/agent/ucb.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/env/bandits.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();

void same(std::span<const double> seen, const Numbers& expected, double tolerance = 1e-11) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance));
  }
}

/// The exploration rules of the base, in their shortest form: the agent takes any.
struct Explore {
  double epsilon;
  int choose(std::span<const double> values, Rng& rng) const {
    return rng.bernoulli(epsilon) ? rng.below(static_cast<int>(values.size())) : detail::random_argmax(values, rng);
  }
};
struct Softmax {
  double temperature;
  int choose(std::span<const double> values, Rng& rng) const {
    Numbers logits(values.begin(), values.end());
    for (double& x : logits) x /= temperature;
    return static_cast<int>(rng.categorical_logits(std::span<const double>(logits)));
  }
};

template <class Agent>
Numbers choices(Agent agent, int draws, Rng& rng) {
  Numbers counts(static_cast<std::size_t>(agent.arms()));
  for (int i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(agent.choose(rng))];
  return counts;
}

template <class Agent>
void feed(Agent& agent) {
  agent.update(0, 1);
  agent.update(2, 0.5);
  agent.update(0, 0);
}

static_assert(BanditAgent<Ucb1> && BanditAgent<KlUcb> && BanditAgent<Thompson<NormalGammaPosterior>> &&
              BanditAgent<TopTwoThompson<>> && BanditAgent<SuccessiveRejects> && BanditAgent<Exp3> &&
              BanditAgent<GradientBandit> && BanditAgent<ActionValueBandit<Explore>>);
static_assert(ContextualBanditAgent<LinUcb> && !BanditAgent<LinUcb> && !ContextualBanditAgent<Ucb1>);

}  // namespace

TEST_CASE("bandits: the indices of UCB1 and KL-UCB") {
  CHECK(ucb1_index(0.5, 10, 100) == close(1.459705182438, 1e-12));
  CHECK(kl_ucb_index(0.5, 10, 100) == close(0.887908761646, 1e-12));
  CHECK(kl_ucb_index(0.1, 20, 100) == close(0.403162950976, 1e-12));
  CHECK(ucb1_index(-3, 4, 1) == -3);  // ln 1 = 0
  CHECK(kl_ucb_index(0.25, 7, 1) == 0.25);
  // c: the budget becomes ln t + c ln ln t.
  CHECK(kl_ucb_index(0.5, 10, 100, 3) ==
        close(bernoulli_kl_upper_bound(0.5, (std::log(100) + 3 * std::log(std::log(100))) / 10)));
  CHECK(kl_ucb_index(0.5, 10, 2, 3) == kl_ucb_index(0.5, 10, 2, 0));  // ln ln 2 < 0 does not shrink it
}

TEST_CASE("bandits: the KL upper bound solves its equation to the last digits") {
  for (const double p : {0.0, 1e-300, 1e-12, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-12})
    for (const double d : {1e-14, 1e-9, 1e-4, 0.01, 0.3, 1.0, 5.0, 20.0}) {
      CAPTURE(p, d);
      const double q = bernoulli_kl_upper_bound(p, d);
      REQUIRE((q >= p && q <= 1));
      // Between its neighbours the divergence crosses d; a few ulps are what the divergence itself is exact to.
      const double step = 8 * std::numeric_limits<double>::epsilon() * q;
      if (q - step > p) CHECK(bernoulli_kl(p, q - step) < d);
      if (q + step < 1) CHECK(bernoulli_kl(p, q + step) > d);
    }
  CHECK(bernoulli_kl_upper_bound(0, 2) == close(-std::expm1(-2), 1e-15));  // closed form: -ln(1 - q) = d
  CHECK(bernoulli_kl_upper_bound(1, 2) == 1);
  CHECK(bernoulli_kl_upper_bound(0.3, 0) == 0.3);
  CHECK(bernoulli_kl_upper_bound(0.3, 1e6) == 1);
  CHECK(bernoulli_kl(0.2, 0.5) == close(0.2 * std::log(0.4) + 0.8 * std::log(1.6)));
  CHECK(bernoulli_kl(0, 0) == 0);
  CHECK(bernoulli_kl(1, 1) == 0);
  CHECK(bernoulli_kl(0.5, 1) == infinity);
  CHECK(bernoulli_kl(1, 0) == infinity);
  CHECK_THROWS_AS(bernoulli_kl(nan_value, 0.5), Error);
  CHECK_THROWS_AS(bernoulli_kl_upper_bound(0.5, nan_value), Error);
  CHECK(says(message_of([] { kl_ucb_index(1.5, 1, 2); }), "mean", "1.5"));
  CHECK(says(message_of([] { ucb1_index(0.5, 0, 2); }), "pulls", "0"));
}

TEST_CASE("bandits: EXP3, gradient bandit and LinUCB in numbers") {
  Exp3 exp3(3, {.exploration = 0.1});
  feed(exp3);
  same(exp3.probabilities(), {0.348286975165, 0.31831517341, 0.333397851425});
  const Numbers weights{1.105170918076, 1, 1.052925049579};
  for (std::size_t a = 0; a < 3; ++a) CHECK(std::exp(exp3.log_weights()[a]) == close(weights[a], 1e-11));
  CHECK(exp3_exploration(10, 1000) == close(std::sqrt(10 * std::log(10) / (1.718281828459045 * 1000))));
  CHECK(exp3_exploration(10, 1) == 1);

  GradientBandit gradient(3, {.step_size = 0.1});
  feed(gradient);
  same(gradient.preferences(), {-0.024861694587, 0.025138305413, -0.000276610826}, 1e-9);
  CHECK(gradient.mean_reward() == close(0.5));
  GradientBandit plain(2, {.step_size = 0.1, .baseline = false});
  plain.update(1, 2);  // 0.1 * 2 * (1 - 1/2)
  same(plain.preferences(), {-0.1, 0.1});

  LinUcb lin(2, 2);
  const Numbers x1{1, 0.5}, x2{0, 1}, x{0.3, 0.7};
  lin.update(x1, 1, 2);
  lin.update(x2, 1, -1);
  same(lin.models()[1].coefficients(), {1.058823529412, -0.235294117647});
  CHECK(lin.index(x, 1) == close(0.631296200916, 1e-11));
  CHECK(lin.index(x, 0) == close(std::sqrt(0.3 * 0.3 + 0.7 * 0.7)));  // nothing seen: A = I
  Rng rng{1};
  CHECK(lin.choose(x, rng) == 0);  // .76 > .63
  CHECK(LinUcb(2, 2, {.alpha = 0.5}).index(x, 0) == close(0.5 * std::sqrt(0.58)));
  CHECK(LinUcb(2, 2, {.penalty = 4}).index(x, 0) == close(std::sqrt(0.58 / 4)));
}

TEST_CASE("bandits: ten thousand rank-one updates leave the ridge solution exact") {
  Rng rng{3};
  const int d = 6;
  OnlineRidge ridge(d, 0.25);
  Matrix<double> a = 0.25 * Matrix<double>::Identity(d, d);
  Vector<double> b = Vector<double>::Zero(d), x(d);
  for (int i = 0; i < 10'000; ++i) {
    rng.fill_normal(view(x));
    x[5] *= 1e-3;  // badly scaled
    const double y = x[0] - 2 * x[1] + rng.normal();
    ridge.update(view(std::as_const(x)), y);
    a += x * x.transpose();
    b += y * x;
  }
  const Eigen::Map<const Vector<double>> theta(ridge.coefficients().data(), d);
  CHECK((a * theta - b).norm() < 1e-10 * b.norm());
  CHECK((a * ridge.inverse() - Matrix<double>::Identity(d, d)).norm() < 1e-8);
  CHECK(ridge.inverse() == ridge.inverse().transpose());
}

TEST_CASE("bandits: ties are broken at random", "[V22]") {
  Rng rng{7};
  const Numbers q{1, 1, 0, 1};
  Numbers counts(4);
  for (int i = 0; i < 30'000; ++i) ++counts[static_cast<std::size_t>(detail::random_argmax(q, rng))];
  CHECK(counts[2] == 0);
  for (const std::size_t a : {0U, 1U, 3U}) CHECK(std::abs(counts[a] - 10'000) <= 400);
  const auto uniform = [&](const Numbers& seen) {
    return test::chi_square_test(seen, Numbers(seen.size(), 1.0 / static_cast<double>(seen.size()))) > 1e-4;
  };
  // Fresh agents have no reason to prefer an arm.
  CHECK(uniform(choices(Ucb1(5), 20'000, rng)));
  CHECK(uniform(choices(KlUcb(5), 20'000, rng)));
  CHECK(uniform(choices(Thompson(5, BetaPosterior{}), 20'000, rng)));
  CHECK(uniform(choices(TopTwoThompson(5, BetaPosterior{}), 20'000, rng)));
  CHECK(uniform(choices(Exp3(5), 20'000, rng)));
  CHECK(uniform(choices(GradientBandit(5), 20'000, rng)));
  CHECK(uniform(choices(ActionValueBandit(5, Explore{0}), 20'000, rng)));
  Numbers lin(5);
  LinUcb agent(5, 2);
  for (int i = 0; i < 20'000; ++i) ++lin[static_cast<std::size_t>(agent.choose(Numbers{1, 2}, rng))];
  CHECK(uniform(lin));
  // The arm that a phase drops is a random one of those that tie.
  Numbers dropped(4);
  for (int i = 0; i < 10'000; ++i) {
    SuccessiveRejects rejects(4, 50);
    for (std::uint64_t n = 0; n < rejects.phase_ends()[0]; ++n) rejects.update(static_cast<int>(n % 4), n % 4 == 1);
    rejects.choose(rng);
    for (const int a : rejects.active()) ++dropped[static_cast<std::size_t>(a)];
  }
  CHECK(dropped[1] == 10'000);
  for (const std::size_t a : {0U, 2U, 3U}) CHECK(std::abs(dropped[a] - 20'000.0 / 3) < 300);
}

TEST_CASE("bandits: epsilon-greedy, softmax and optimistic values") {
  Rng rng{11};
  ActionValueBandit greedy(3, Explore{0.3});
  feed(greedy);
  same(greedy.values(), {0.5, 0, 0.5});
  CHECK(test::chi_square_test(choices(greedy, 30'000, rng), Numbers{0.45, 0.1, 0.45}) > 1e-4);
  CHECK(test::chi_square_test(choices(ActionValueBandit(4, Explore{1}), 30'000, rng), Numbers(4, 0.25)) > 1e-4);
  ActionValueBandit soft(2, Softmax{0.5});
  soft.update(1, 1);
  CHECK(test::chi_square_test(choices(soft, 30'000, rng), Numbers{1 / (1 + std::exp(2)), 1 / (1 + std::exp(-2))}) >
        1e-4);
  // Optimism with a constant step decays slowly; every arm is tried.
  ActionValueBandit optimist(4, Explore{0}, {.initial = 5, .step_size = 0.1});
  optimist.update(2, 1);
  same(optimist.values(), {5, 5, 4.6, 5});
  const BanditRun run = run_bandit(optimist, GaussianBandit({0.2, 0.1, 0.3, 1.5}, 0.5), {.steps = 400}, rng);
  for (const auto n : run.pulls) CHECK(n >= 5);
  CHECK(run.pulls[3] > 250);
}

TEST_CASE("bandits: posteriors are the closed forms, and are what is drawn from") {
  Rng rng{5};
  const auto draws = [&](const auto& belief) {
    Numbers out(20'000);
    for (double& x : out) x = belief.sample(rng);
    return out;
  };
  BetaPosterior beta{.alpha = 1, .beta = 1};
  for (const double r : {1.0, 0.0, 1.0, 1.0, 0.0}) beta.update(r);
  CHECK(beta.alpha == 4);
  CHECK(beta.beta == 3);
  CHECK(beta.mean() == close(4.0 / 7));
  CHECK(test::kolmogorov_smirnov_test(draws(beta), [](double x) { return test::beta_lower(4, 3, x); }) > 1e-4);

  const Numbers data{2.5, -1, 0.5, 4};
  NormalPosterior normal{.center = 1, .variance = 3, .noise_variance = 2};
  for (const double r : data) normal.update(r);
  // Precision 1/3 + 4/2, precision-weighted mean (1/3 + 6/2) / (7/3).
  CHECK(normal.variance == close(3.0 / 7));
  CHECK(normal.mean() == close(10.0 / 7));
  CHECK(test::kolmogorov_smirnov_test(draws(normal), [&](double x) {
          return normal_cdf((x - normal.mean()) / std::sqrt(normal.variance));
        }) > 1e-4);

  NormalGammaPosterior unknown{.center = 1, .count = 0.5, .shape = 2, .rate = 3};
  for (const double r : data) unknown.update(r);
  // Murphy (2007), equations 86 to 89, in one batch: mean 1.5, sum of squares about it 14.5.
  CHECK(unknown.count == 4.5);
  CHECK(unknown.shape == 4);
  CHECK(unknown.center == close((0.5 * 1 + 4 * 1.5) / 4.5));
  CHECK(unknown.rate == close(3 + 14.5 / 2 + 0.5 * 4 * 0.25 / (2 * 4.5)));
  CHECK(unknown.degrees() == 8);
  CHECK(test::kolmogorov_smirnov_test(draws(unknown), [&](double x) {
          return student_t_cdf((x - unknown.mean()) / unknown.scale(), unknown.degrees());
        }) > 1e-4);
}

TEST_CASE("bandits: regret on ten Bernoulli arms grows like log t, and KL-UCB's is the smaller bound") {
  const BernoulliBandit bandit({0.45, 0.1, 0.4, 0.9, 0.25, 0.5, 0.35, 0.3, 0.2, 0.15});
  constexpr std::uint64_t steps = 2400;
  constexpr int runs = 50;
  // Mean regret after a quarter, half and all of the steps.
  const auto regret = [&](auto make, int stream) {
    std::array<double, 3> mean{};
    for (int run = 0; run < runs; ++run) {
      Rng rng = Rng{2026}.split(stream).split(run);
      auto agent = make();
      const BanditRun result = run_bandit(agent, bandit, {.steps = steps}, rng);
      for (std::size_t k = 0; k < 3; ++k) mean[k] += result.regret[(steps >> (2 - k)) - 1] / runs;
    }
    return mean;
  };
  const auto ucb1 = regret([] { return Ucb1(10); }, 1);
  const auto kl_ucb = regret([] { return KlUcb(10); }, 2);
  const auto thompson = regret([] { return Thompson(10, BetaPosterior{}); }, 3);
  const auto uniform = regret([] { return ActionValueBandit(10, Explore{1}); }, 4);
  CAPTURE(ucb1, kl_ucb, thompson, uniform);
  CHECK(kl_ucb[2] <= ucb1[2]);
  CHECK(thompson[2] <= ucb1[2]);
  // Four times the time adds a constant under log t, makes twice as much under sqrt(t) and four times under t.
  for (const auto& r : {ucb1, kl_ucb, thompson}) CHECK(r[2] < 1.7 * r[0]);
  CHECK(uniform[2] > 3.9 * uniform[0]);
  CHECK(ucb1[2] < 0.25 * uniform[2]);
}

TEST_CASE("bandits: LinUCB learns a linear bandit; EXP3 and the gradient bandit a stochastic one") {
  Rng rng{13};
  const LinearBandit world = LinearBandit::random(4, 5, rng);
  LinUcb lin(4, 5, {.alpha = 0.5});
  const BanditRun run = run_bandit(lin, world, {.steps = 2000}, rng);
  CHECK(run.regret.back() - run.regret[999] < 0.2 * run.regret[999]);
  CHECK(std::is_sorted(run.regret.begin(), run.regret.end()));

  const BernoulliBandit coins({0.3, 0.5, 0.8});
  const auto last_half = [&](auto agent) {
    const BanditRun seen = run_bandit(agent, coins, {.steps = 4000}, rng);
    return (seen.regret.back() - seen.regret[1999]) / 2000;
  };
  CHECK(last_half(Exp3(3, {.exploration = exp3_exploration(3, 4000)})) < 0.1);  // uniform choices: 0.267
  CHECK(last_half(GradientBandit(3)) < 0.1);
}

TEST_CASE("bandits: successive rejects spends its budget and names the best arm") {
  // log_bar(4) = 1/2 + 1/2 + 1/3 + 1/4; 96 / log_bar over 4, 3, 2, rounded up.
  CHECK(successive_rejects_schedule(4, 100) == std::vector<std::uint64_t>{16, 21, 31});
  for (const int arms : {2, 3, 10, 57})
    for (const std::uint64_t budget : {58ULL, 100ULL, 1234ULL, 99'999ULL}) {
      CAPTURE(arms, budget);
      const auto n = successive_rejects_schedule(arms, budget);
      REQUIRE(n.size() == static_cast<std::size_t>(arms - 1));
      std::uint64_t total = n.back();
      for (const auto k : n) total += k;
      CHECK((total <= budget && total + static_cast<std::uint64_t>(arms) >= budget));
      CHECK(SuccessiveRejects(arms, budget).phase_ends().back() == budget);
    }
  const BernoulliBandit bandit({0.4, 0.5, 0.45, 0.7, 0.3});
  int right = 0;
  for (int run = 0; run < 200; ++run) {
    Rng rng = Rng{99}.split(run);
    SuccessiveRejects agent(5, 600);
    std::uint64_t pulls = 0;
    for (; !agent.done() && pulls < 1000; ++pulls) {
      const int arm = agent.choose(rng);
      agent.update(arm, bandit.pull(arm, rng));
    }
    REQUIRE(pulls == 600);
    REQUIRE(agent.active().size() == 2);
    CHECK(agent.choose(rng) == agent.best());
    right += agent.best() == 3;
  }
  CHECK(right >= 190);
  CHECK(says(message_of([] { SuccessiveRejects(5, 5); }), "budget is 5"));
  CHECK(says(message_of([] { SuccessiveRejects(1, 5); }), "arms is 1"));
}

TEST_CASE("bandits: top-two Thompson sampling plays the leader half of the time and never hangs") {
  Rng rng{17};
  TopTwoThompson agent(5, BetaPosterior{}, {.top_probability = 0.5});
  const BanditRun run = run_bandit(agent, BernoulliBandit({0.4, 0.5, 0.45, 0.7, 0.3}), {.steps = 3000}, rng);
  CHECK(agent.best() == 3);
  CHECK((run.pulls[3] > 1350 && run.pulls[3] < 1750));

  TopTwoThompson sure(3, NormalPosterior{.variance = 1e-6}, {.max_resamples = 50});
  for (int i = 0; i < 3; ++i) sure.update(0, 1e7), sure.update(2, 5e6);
  const Numbers counts = choices(sure, 2000, rng);  // of a copy
  CHECK(counts[1] == 0);
  CHECK(std::abs(counts[2] - 1000) < 150);
  CHECK(sure.exhausted() == 0);
  while (sure.choose(rng) == 0) continue;
  CHECK(sure.exhausted() == 1);
}

TEST_CASE("bandits: a resumed run is the uninterrupted one, and a step allocates nothing") {
  const auto check = [](auto agent) {
    const BernoulliBandit bandit({0.2, 0.6, 0.5});
    Rng rng{23};
    auto fresh = agent;
    run_bandit(agent, bandit, {.steps = 100}, rng);
    from_bytes(to_bytes(agent), fresh);
    CHECK(same_state(agent, fresh));
    Rng other = rng;
    run_bandit(agent, bandit, {.steps = 100}, rng);
    run_bandit(fresh, bandit, {.steps = 100}, other);
    CHECK(same_state(agent, fresh));
    Allocations allocations;
    for (int i = 0; i < 10; ++i) {
      const int arm = agent.choose(rng);
      agent.update(arm, bandit.pull(arm, rng));
    }
    CHECK(allocations.count() == 0);
  };
  check(Ucb1(3));
  check(KlUcb(3));
  check(Thompson(3, BetaPosterior{}));
  check(Thompson(3, NormalPosterior{}));
  check(Thompson(3, NormalGammaPosterior{}));
  check(TopTwoThompson(3, BetaPosterior{}));
  check(SuccessiveRejects(3, 500));
  check(Exp3(3));
  check(GradientBandit(3));
  check(ActionValueBandit(3, Explore{0.1}));

  Rng rng{29};
  LinearBandit world = LinearBandit::random(3, 8, rng);
  LinUcb lin(3, 8), copy = lin;
  run_bandit(lin, world, {.steps = 50}, rng);
  from_bytes(to_bytes(lin), copy);
  CHECK(same_state(lin, copy));
  world.reset(rng);
  Allocations allocations;
  for (int i = 0; i < 10; ++i) {
    world.reset(rng);
    const int arm = lin.choose(world.context(), rng);
    lin.update(world.context(), arm, world.pull(arm, rng));
  }
  CHECK(allocations.count() == 0);
}

TEST_CASE("bandits: bad input is named and changes nothing") {
  const auto refuses = [](auto agent, int arm, double reward, const char* word) {
    const auto before = to_bytes(agent);
    CHECK(says(message_of([&] { agent.update(arm, reward); }), word));
    CHECK(to_bytes(agent) == before);
  };
  const auto both = [&](const auto& agent) {
    refuses(agent, 3, 1, "arm is 3; expected an arm in [0, 2]");
    refuses(agent, -1, 1, "arm is -1");
    refuses(agent, 1, nan_value, "nan");
    refuses(agent, 1, infinity, "inf");
  };
  both(Ucb1(3));
  both(KlUcb(3));
  both(Thompson(3, BetaPosterior{}));
  both(Thompson(3, NormalPosterior{}));
  both(Thompson(3, NormalGammaPosterior{}));
  both(TopTwoThompson(3, BetaPosterior{}));
  both(SuccessiveRejects(3, 500));
  both(Exp3(3));
  both(GradientBandit(3));
  both(ActionValueBandit(3, Explore{0.1}));
  refuses(KlUcb(3), 1, 1.5, "reward is 1.5");
  refuses(Exp3(3), 1, -0.5, "reward is -0.5");
  refuses(Thompson(3, BetaPosterior{}), 1, 0.5, "expected 0 or 1");

  LinUcb lin(2, 2);
  const auto before = to_bytes(lin);
  Rng rng{1};
  CHECK(says(message_of([&] { lin.update(Numbers{1, nan_value}, 0, 1); }), "x[1]"));
  CHECK(says(message_of([&] { lin.update(Numbers{1, 1e200}, 0, 1); }), "x' A^-1 x"));
  CHECK(says(message_of([&] { lin.update(Numbers{1}, 0, 1); }), "1 entries; expected 2"));
  CHECK(says(message_of([&] { lin.choose(Numbers{infinity, 1}, rng); }), "x[0] is inf"));
  CHECK(to_bytes(lin) == before);

  CHECK_THROWS_AS(Ucb1(0), Error);
  CHECK_THROWS_AS(Ucb1(2, {.exploration = -1}), Error);
  CHECK_THROWS_AS(KlUcb(2, {.c = nan_value}), Error);
  CHECK_THROWS_AS(Thompson(2, BetaPosterior{.alpha = 0}), Error);
  CHECK_THROWS_AS(Thompson(2, NormalGammaPosterior{.rate = nan_value}), Error);
  CHECK_THROWS_AS(TopTwoThompson(2, BetaPosterior{}, {.top_probability = 0}), Error);
  CHECK_THROWS_AS(Exp3(2, {.exploration = 0}), Error);
  CHECK_THROWS_AS(GradientBandit(2, {.step_size = nan_value}), Error);
  CHECK_THROWS_AS(ActionValueBandit(2, Explore{0}, {.step_size = 1.5}), Error);
  CHECK_THROWS_AS(LinUcb(2, 2, {.alpha = nan_value}), Error);
  CHECK_THROWS_AS(LinUcb(2, 2, {.penalty = 0}), Error);

  Ucb1 two(2);
  CHECK(says(message_of([&] {
               run_bandit(two, BernoulliBandit({0.1, 0.2, 0.3}), {.steps = 5}, rng);
             }),
             "2 arms", "expected 3"));
  struct Wild {
    int choose(Rng&) { return 7; }
    void update(int, double) {}
  } wild;
  CHECK(says(message_of([&] { run_bandit(wild, BernoulliBandit({0.1, 0.2}), {.steps = 5}, rng); }), "arm is 7"));
  // A listener may stop the run.
  const BanditRun stopped = run_bandit(two, BernoulliBandit({0.1, 0.2}), {.steps = 5000}, rng,
                                       [](const ProgressEvent& e) { return e.step < 2000; });
  CHECK(stopped.regret.size() == 2000);
}
