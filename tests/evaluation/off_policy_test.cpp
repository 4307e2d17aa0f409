// Off-policy evaluation of bandits: numbers by hand, the identities that tie the family, and what intervals cover.
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/agent/bandit.hpp"
#include "valence/agent/lin_ucb.hpp"
#include "valence/agent/thompson.hpp"
#include "valence/agent/ucb.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/env/bandits.hpp"
#include "valence/evaluation/bandit_feedback.hpp"
#include "valence/evaluation/off_policy.hpp"
#include "valence/evaluation/replay.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();

/// Five rounds, three actions, positions 1 and 2; weights (1.2, 2.8, 1.5, 1.75, 0.25).
LoggedBandit five_rounds() {
  return {.actions = 3,
          .action = {0, 2, 1, 2, 0},
          .reward = {1, 0, 2, 0.5, -1},
          .propensity = {0.5, 0.25, 0.2, 0.4, 0.8},
          .position = {1, 2, 1, 2, 2}};
}
PositionPolicy five_target() {
  Matrix<double> p(3, 3);
  p << nan_value, 0.6, 0.2, nan_value, 0.3, 0.1, nan_value, 0.1, 0.7;  // nobody is at position 0
  return {p};
}
double five_q(const BanditSituation& s, int action, std::size_t) {
  const double q[2][3] = {{0.5, 1.5, 0.2}, {0.1, 0.4, 0.3}};
  return q[s.position - 1][action];
}

/// The same probabilities everywhere.
struct Fixed {
  Numbers p;
  void operator()(const BanditSituation&, std::span<double> out) const { std::copy(p.begin(), p.end(), out.begin()); }
};

/// A log of n rounds of a bandit under a fixed policy.
LoggedBandit play(const BernoulliBandit& bandit, const Numbers& logging, std::size_t rounds, Rng& rng) {
  LoggedBandit log{.actions = bandit.arms()};
  for (std::size_t i = 0; i < rounds; ++i) {
    const std::size_t a = rng.categorical(std::span<const double>(logging));
    log.action.push_back(static_cast<int>(a));
    log.reward.push_back(bandit.pull(static_cast<int>(a), rng));
    log.propensity.push_back(logging[a]);
  }
  return log;
}

constexpr auto zero_q = [](const BanditSituation&, int, std::size_t) { return 0.0; };

}  // namespace

TEST_CASE("off-policy estimates of five rounds, by hand") {
  // Computed in Python from the definitions.
  const auto all = evaluate(five_rounds(), five_target(), Ips{}, Snips{}, DirectMethod{five_q}, DoublyRobust{five_q},
                            Ips{.clip = 1.3}, Snips{.clip = 1.3});
  const double value[] = {0.965, 0.643333333333333, 0.47, 0.587, 0.84, 0.785046728971963};
  const double error[] = {0.574978260458602, 0.416357543108929, 0.122474487139159, 0.398357879299506};
  REQUIRE(all.size() == 6);
  for (std::size_t k = 0; k < 6; ++k) {
    CAPTURE(all[k].name);
    CHECK(all[k].value == close(value[k], 1e-13));
    if (k < 4) {
      CHECK(all[k].standard_error == close(error[k], 1e-13));
      CHECK(all[k].upper == close(value[k] + 2.7764451051978 * error[k], 1e-11));  // Student, 4 degrees of freedom
      CHECK(all[k].lower == close(value[k] - 2.7764451051978 * error[k], 1e-11));
    }
  }
  CHECK(all[0].name == "IPS");
  CHECK(all[5].name == "SNIPS, clipped at 1.3");
  CHECK(all[1].effective_sample_size == close(3.83828045035824, 1e-13));
  CHECK(all[1].max_weight == close(2.8));
  CHECK(all[1].mean_weight == close(1.5));
  CHECK(all[4].max_weight == 1.3);
  CHECK(all[2].effective_sample_size == 5);  // the direct method weighs nothing
  const Interval ninety = normal_interval(all[3], 0.9);
  CHECK((ninety.low > all[3].lower && ninety.high < all[3].upper));
}

TEST_CASE("effective sample size") {
  CHECK(effective_sample_size(Numbers{0.5, 2, 0, 1, 4}) == close(2.6470588235294117, 1e-15));
  CHECK(effective_sample_size(Numbers(7, 0.3)) == close(7.0));
  CHECK(effective_sample_size(Numbers{0, 0, 5}) == 1);
  CHECK(effective_sample_size(Numbers{1e300, 1e300, 0}) == 2);  // squares would overflow
  CHECK(says(message_of([] { effective_sample_size(Numbers{0, 0}); }), "all 0"));
  CHECK(says(message_of([] { effective_sample_size(Numbers{1, -1}); }), "weights[1] is -1"));
}

TEST_CASE("IPS and SNIPS of the weights 3, 1, 1", "[O1]") {
  const LoggedBandit log{.actions = 3, .action = {0, 1, 2}, .reward = {1, 0, 1}, .propensity = {0.2, 0.2, 0.2}};
  const auto e = evaluate(log, Fixed{{0.6, 0.2, 0.2}}, Ips{}, Snips{});
  CHECK(e[0].value == close(4.0 / 3, 1e-15));
  CHECK(e[1].value == close(0.8, 1e-15));
  // The bootstrap draws rounds: numerator and denominator together. All 27 resamples of SNIPS lie in the data's range,
  // and the extremes, three times round 1 and three of the others, are reached.
  Rng rng{1};
  const Interval all = bootstrap_interval(e[1], rng, {.level = 0.9999, .resamples = 20'000});
  CHECK(all.low == 0);
  CHECK(all.high == 1);
  // With the mean weight held at 5/3, the largest resample would be 3 * 3 / 5 = 1.8.
  const Interval ips = bootstrap_interval(e[0], rng, {.level = 0.9999, .resamples = 20'000});
  CHECK(ips.high == close(3.0));
}

TEST_CASE("intervals cover the true value of a known bandit in 95 of 100 logs", "[O1]") {
  const BernoulliBandit bandit({0.85, 0.7, 0.9, 0.6});
  const Numbers logging{0.4, 0.3, 0.2, 0.1}, target{0.1, 0.2, 0.3, 0.4};
  const double truth = 0.085 + 0.14 + 0.27 + 0.24;
  const auto q = [](const BanditSituation&, int a, std::size_t) { return 0.5 + 0.1 * a; };  // wrong, which DR bears
  constexpr int replications = 2000, faulty_replications = 500;
  int ips = 0, snips = 0, robust = 0, snips_bootstrap = 0, held = 0;
  for (int k = 0; k < replications; ++k) {
    Rng rng = Rng{187}.split(k);
    const LoggedBandit log = play(bandit, logging, 500, rng);
    const auto e = evaluate(log, Fixed{target}, Ips{}, Snips{}, DoublyRobust{q});
    const auto covers = [&](double low, double high) { return low <= truth && truth <= high; };
    ips += covers(e[0].lower, e[0].upper);
    snips += covers(e[1].lower, e[1].upper);
    robust += covers(e[2].lower, e[2].upper);
    const BootstrapOptions options{.resamples = 200};
    const Interval b = bootstrap_interval(e[1], rng, options);
    snips_bootstrap += covers(b.low, b.high);
    if (k >= faulty_replications) continue;
    // The fault: weights divided by their mean once, and the rounds then treated as independent.
    PolicyEstimate wrong = e[1];
    for (double& x : wrong.numerator) x /= wrong.mean_weight;
    wrong.denominator.assign(wrong.numerator.size(), 1);
    const Interval h = bootstrap_interval(wrong, rng, options);
    held += covers(h.low, h.high);
  }
  CAPTURE(ips, snips, robust, snips_bootstrap, held);
  for (const int covered : {ips, snips, robust, snips_bootstrap})
    CHECK((covered >= 0.93 * replications && covered <= 0.97 * replications));
  CHECK(held > 0.97 * faulty_replications);
}

TEST_CASE("no overlap is an error that says so, not NaN or 0", "[O3]") {
  LoggedBandit log = five_rounds();
  log.action = {0, 0, 1, 1, 0};
  const Fixed other{{0, 0, 1}};
  const auto q = [](const BanditSituation&, int, std::size_t) { return 0.25; };
  CHECK(says(message_of([&] { evaluate(log, other, Ips{}); }), "no overlap", "5 logged actions"));
  CHECK(says(message_of([&] { evaluate(log, other, Snips{}); }), "no overlap"));
  CHECK(says(message_of([&] { evaluate(log, other, DoublyRobust{q}); }), "no overlap"));
  CHECK(evaluate(log, other, DirectMethod{q})[0].value == 0.25);  // does not need any
  // One round of a hundred overlaps: resamples without it are nothing that SNIPS could be computed from.
  LoggedBandit thin{
      .actions = 3, .action = std::vector<int>(100), .reward = Numbers(100, 1.0), .propensity = Numbers(100, 0.5)};
  thin.action[7] = 2;
  const auto e = evaluate(thin, other, Snips{});
  CHECK(e[0].value == 1);
  CHECK(e[0].effective_sample_size == 1);
  Rng rng{2};
  CHECK(says(message_of([&] { bootstrap_interval(e[0], rng); }), "no overlap"));
}

TEST_CASE("ratios that were estimated elsewhere are used as they are", "[O4]") {
  const LoggedBandit log = five_rounds();
  Numbers ratio;
  for (std::size_t i = 0; i < log.size(); ++i)
    ratio.push_back(five_target().probability(log.action[i], log.position[i]) / log.propensity[i]);
  const DoublyRobust<decltype(&five_q)> robust{&five_q, std::numeric_limits<double>::infinity(), ratio};
  const auto given = evaluate(log, five_target(), Ips{.ratio = ratio}, Snips{.ratio = ratio}, robust);
  const auto computed = evaluate(log, five_target(), Ips{}, Snips{}, DoublyRobust{five_q});
  for (std::size_t k = 0; k < 3; ++k) {  // to the last bit
    CHECK(given[k].value == computed[k].value);
    CHECK(given[k].upper == computed[k].upper);
  }
  CHECK(says(message_of([&] { evaluate(log, five_target(), Ips{.ratio = std::span(ratio).first(4)}); }), "ratio",
             "4 entries; expected 5"));
  ratio[3] = -1;
  CHECK(says(message_of([&] { evaluate(log, five_target(), Ips{.ratio = ratio}); }), "ratio[3] is -1"));
}

TEST_CASE("the identities of the family", "[O6]") {
  const LoggedBandit log = five_rounds();
  const PositionPolicy target = five_target();
  const auto e = evaluate(log, target, Ips{}, DoublyRobust{zero_q}, DirectMethod{five_q});
  CHECK(e[1].value == e[0].value);  // doubly robust with q = 0 is IPS, to the last bit
  CHECK(e[1].standard_error == e[0].standard_error);
  // With ratios near 0 it is the direct method. (All 0 would be no overlap.)
  const Numbers none{0, 0, 1e-300, 0, 0};
  const DoublyRobust<decltype(&five_q)> unweighted{&five_q, std::numeric_limits<double>::infinity(), none};
  CHECK(evaluate(log, target, unweighted)[0].value == e[2].value);

  // The exact q on a bandit with deterministic rewards: no variance at all, whatever was logged.
  const auto pays = [](const BanditSituation&, int a, std::size_t) { return 1.0 + 2 * a; };
  Rng rng{3};
  LoggedBandit certain = play(BernoulliBandit({0, 0, 0}), {0.2, 0.3, 0.5}, 50, rng);
  for (std::size_t i = 0; i < 50; ++i) certain.reward[i] = 1 + 2 * certain.action[i];
  const auto exact = evaluate(certain, Fixed{{0.7, 0.2, 0.1}}, DoublyRobust{pays});
  CHECK(exact[0].value == close(0.7 + 0.2 * 3 + 0.1 * 5, 1e-15));
  CHECK(exact[0].standard_error < 1e-15);

  // On-policy all weights are 1: IPS and SNIPS are the sample mean, and so is DR for a q that knows positions only;
  // for any q if the logging policy was deterministic.
  const Numbers logging{0.2, 0.3, 0.5};
  const LoggedBandit own = play(BernoulliBandit({0.1, 0.5, 0.8}), logging, 200, rng);
  const auto flat = [](const BanditSituation&, int, std::size_t) { return 0.3; };
  for (const auto& x : evaluate(own, Fixed{logging}, Ips{}, Snips{}, DoublyRobust{flat})) {
    CHECK(x.value == close(mean(own.reward), 1e-14));
    CHECK(x.lower == close(mean_interval(own.reward).low, 1e-12));
    CHECK((x.max_weight == 1 && x.effective_sample_size == close(200.0)));
  }
  const LoggedBandit sure = play(BernoulliBandit({0.1, 0.5, 0.8}), {0, 1, 0}, 200, rng);
  CHECK(evaluate(sure, Fixed{{0, 1, 0}}, DoublyRobust{pays})[0].value == close(mean(sure.reward), 1e-12));
}

TEST_CASE("what is wrong with a log or a policy is said with the row", "[O8]") {
  const auto wrong = [](auto change) {
    LoggedBandit log = five_rounds();
    change(log);
    return message_of([&] { evaluate(log, five_target(), Ips{}); });
  };
  for (const double p : {0.0, -0.1, 1.5, nan_value})
    CHECK(says(wrong([&](LoggedBandit& log) { log.propensity[3] = p; }), "propensity[3]", "(0, 1]"));
  CHECK(says(wrong([](LoggedBandit& log) { log.propensity.pop_back(); }), "propensity has 4 entries; expected 5"));
  CHECK(says(wrong([](LoggedBandit& log) { log.action[2] = 3; }), "action[2] is 3"));
  CHECK(says(wrong([](LoggedBandit& log) { log.action[1] = -1; }), "action[1] is -1"));
  CHECK(says(wrong([](LoggedBandit& log) { log.reward[4] = nan_value; }), "reward[4] is nan"));
  CHECK(says(wrong([](LoggedBandit& log) { log.position[0] = -2; }), "position[0] is -2"));
  CHECK(says(wrong([](LoggedBandit& log) { log.position[0] = 3; }), "position is 3"));
  CHECK(says(wrong([](LoggedBandit& log) { log.context = Matrix<double>::Constant(2, 5, nan_value); }), "context[0]"));
  CHECK(says(wrong([](LoggedBandit& log) { log.context = Matrix<double>::Zero(2, 4); }), "2 x 4; expected 2 x 5"));
  CHECK(says(wrong([](LoggedBandit& log) { log = {.actions = 2}; }), "the log is empty"));

  const LoggedBandit log = five_rounds();
  const auto refuses = [&](const Numbers& p, const char* what) {
    CHECK(says(message_of([&] { evaluate(log, Fixed{p}, Ips{}); }), "target policy in round 0", what));
  };
  refuses({0.5, 0.5, 0.1}, "sums to 1.1");
  refuses({1.5, -0.5, 0}, "[0] is 1.5");
  refuses({0.5, 0.5}, "nan");  // one was forgotten
  const auto bad_q = [](const BanditSituation&, int a, std::size_t i) { return a == 1 && i == 2 ? nan_value : 0.5; };
  CHECK(says(message_of([&] { evaluate(log, five_target(), DirectMethod{bad_q}); }), "action 1 in round 2", "nan"));
  // ... but a model is not asked where its answer has no weight.
  CHECK(evaluate(log, Fixed{{0.5, 0, 0.5}}, DoublyRobust{bad_q}, DirectMethod{bad_q})[1].value == 0.5);
  CHECK(says(message_of([&] { evaluate(log, five_target(), Ips{.clip = 0}); }), "clip is 0"));
}

TEST_CASE("reward tables are shrunken means, and a round does not predict itself") {
  const LoggedBandit log = five_rounds();
  const RewardTable one(log, {.penalty = 2, .folds = 1});
  const double overall = 0.5;
  CHECK(one(log.situation(1), 2, 1) == close((0.5 + 2 * overall) / (2 + 2)));
  CHECK(one(log.situation(0), 0, 0) == close((1 + 2 * overall) / (1 + 2)));
  CHECK(one(log.situation(0), 2, 0) == close(overall));  // never seen at position 1
  // Two folds: rounds 0, 2, 4 are predicted from rounds 1 and 3, whose mean is 0.25.
  const RewardTable two(log, {.penalty = 2, .folds = 2});
  CHECK(two(log.situation(1), 2, 2) == close((0.5 + 2 * 0.25) / (2 + 2)));
  CHECK(two(log.situation(1), 2, 1) == close(2.0 / 3));  // from the others, none of them here: their mean
  LoggedBandit poisoned = log;
  poisoned.reward[2] = 1e9;
  const RewardTable leak(poisoned, {.penalty = 2, .folds = 2});
  for (int a = 0; a < 3; ++a) CHECK(leak(log.situation(2), a, 2) == two(log.situation(2), a, 2));
  CHECK(says(message_of([&] { RewardTable(log, {.folds = 6}); }), "folds is 6"));
  CHECK(says(message_of([&] { RewardTable(log, {.penalty = 0}); }), "penalty is 0"));
  CHECK(says(message_of([&] { one(BanditSituation{5, {}}, 0, 0); }), "position 5"));
}

TEST_CASE("linear reward models recover linear rewards, and lower the variance of IPS") {
  Rng rng{5};
  LinearBandit world = LinearBandit::random(3, 2, rng, 0.1);
  LoggedBandit log{.actions = 3, .context = Matrix<double>(2, 4000)};
  double truth = 0;
  // The target takes the arm that a rough guess of its parameters likes.
  const auto target = [&](const BanditSituation& s, std::span<double> p) {
    const int favourite = s.context[0] > 0.3 ? 2 : s.context[1] > 0 ? 0 : 1;
    for (int a = 0; a < 3; ++a) p[static_cast<std::size_t>(a)] = a == favourite ? 0.8 : 0.1;
  };
  for (Eigen::Index i = 0; i < 4000; ++i) {
    log.context.col(i) = world.reset(rng);
    const int a = rng.below(3);
    log.action.push_back(a), log.reward.push_back(world.pull(a, rng)), log.propensity.push_back(1.0 / 3);
    Numbers p(3);
    target(log.situation(static_cast<std::size_t>(i)), p);
    for (int b = 0; b < 3; ++b) truth += p[static_cast<std::size_t>(b)] * world.mean(b) / 4000;
  }
  const LinearRewards q(log, {.penalty = 1e-6});
  world.reset(rng);
  for (int a = 0; a < 3; ++a) CHECK(q({0, world.context()}, a, 0) == close(world.mean(a), 0, 0.02));
  const auto e = evaluate(log, target, Ips{}, Snips{}, DirectMethod{q}, DoublyRobust{q});
  for (const auto& x : e) CHECK(std::abs(x.value - truth) < 4 * x.standard_error);
  CHECK(e[3].standard_error < 0.6 * e[0].standard_error);
  CHECK(e[0].mean_weight == close(1.0, 0.05));
  CHECK(says(message_of([] { LinearRewards{five_rounds()}; }), "no context"));
}

TEST_CASE("the policy of a log: frequencies are unbiased, mean propensities lean to what changed") {
  const LoggedBandit log = five_rounds();
  const Matrix<double> f = action_frequencies(log).probability;
  CHECK(f.col(0).isZero());
  CHECK((f(0, 1) == 0.5 && f(1, 1) == 0.5 && f(0, 2) == close(1.0 / 3) && f(2, 2) == close(2.0 / 3)));
  const Matrix<double> m = mean_propensities(log).probability;
  CHECK((m(0, 1) == close(0.5 / 0.7) && m(2, 2) == close(0.325 / 1.125)));
  // A policy that moved: (0.9, 0.05, 0.05) in half of the rounds, (0.1, 0.05, 0.85) in the others.
  Rng rng{6};
  LoggedBandit moving{.actions = 3};
  for (int i = 0; i < 40'000; ++i) {
    const Numbers p = i % 2 == 0 ? Numbers{0.9, 0.05, 0.05} : Numbers{0.1, 0.05, 0.85};
    const std::size_t a = rng.categorical(std::span<const double>(p));
    moving.action.push_back(static_cast<int>(a)), moving.reward.push_back(0), moving.propensity.push_back(p[a]);
  }
  const Matrix<double> taken = action_frequencies(moving).probability;
  CHECK((taken(0, 0) == close(0.5, 0, 0.01) && taken(1, 0) == close(0.05, 0, 0.01)));
  // Seen from the rounds in which it was taken, an action is E[p^2] / E[p] likely: 0.82, 0.05 and 0.725 / 0.9.
  const Matrix<double> leaning = mean_propensities(moving).probability;
  const double total = 0.82 + 0.05 + 0.725 / 0.9;
  CHECK((leaning(0, 0) == close(0.82 / total, 0, 0.005) && leaning(1, 0) == close(0.05 / total, 0, 0.001)));
}

TEST_CASE("replay keeps the rounds that the agent would have chosen, and is unbiased for learners too") {
  // By hand: an agent that goes 0, 1, 2, 0, ... only moves on when it is told.
  struct Cycle {
    int at = 0;
    Numbers seen = {};
    int choose(Rng&) { return at; }
    void update(int arm, double reward) {
      CHECK(arm == at);
      at = (at + 1) % 3;
      seen.push_back(reward);
    }
  } cycle;
  const LoggedBandit log{.actions = 3,
                         .action = {1, 0, 0, 1, 2, 2, 0},
                         .reward = {nan_value, 2, 3, 4, 5, 6, 7},
                         .propensity = Numbers(7, 0.33333333333)};
  LoggedBandit finite = log;
  finite.reward[0] = 100;
  Rng rng{7};
  const ReplayResult seen = replay(cycle, finite, rng);
  CHECK(seen.rewards == Numbers{2, 4, 5, 7});
  CHECK(cycle.seen == seen.rewards);
  CHECK(seen.reward.mean() == 4.5);
  CHECK(seen.rounds == 7);
  CHECK(says(message_of([&] { replay(cycle, log, rng); }), "reward[0] is nan"));
  finite.propensity[5] = 0.3;
  CHECK(says(message_of([&] { replay(cycle, finite, rng); }), "propensity[5]", "uniform"));

  // UCB1 replayed on uniform logs earns what it earns in the world.
  const BernoulliBandit bandit({0.2, 0.5, 0.35});
  RunningMoments logged, lived;
  for (int k = 0; k < 60; ++k) {
    Rng stream = Rng{8}.split(k);
    Ucb1 one(3), other(3);
    const ReplayResult replayed = replay(one, play(bandit, Numbers(3, 1.0 / 3), 3000, stream), stream);
    REQUIRE(replayed.rewards.size() >= 800);
    logged.add(mean(std::span(replayed.rewards).first(800)));
    lived.add(run_bandit(other, bandit, {.steps = 800}, stream).reward / 800);
  }
  const double error = std::hypot(logged.standard_error(), lived.standard_error());
  CHECK(std::abs(logged.mean() - lived.mean()) < 4 * error);
  CHECK(logged.mean() > 0.4);  // it learns; uniform choices earn 0.35

  // With contexts.
  LinearBandit world = LinearBandit::random(2, 3, rng);
  LoggedBandit linear{.actions = 2, .context = Matrix<double>(3, 2000)};
  for (Eigen::Index i = 0; i < 2000; ++i) {
    linear.context.col(i) = world.reset(rng);
    const int a = rng.below(2);
    linear.action.push_back(a), linear.reward.push_back(world.pull(a, rng)), linear.propensity.push_back(0.5);
  }
  LinUcb agent(2, 3);
  const ReplayResult learnt = replay(agent, linear, rng);
  CHECK(learnt.reward.mean() > mean(linear.reward) + 0.1);
}
