// Gradient TD, emphatic TD, average-reward TD and Bellman errors: published numbers, and identities in expectation.
#include <Eigen/Dense>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/value/average_reward.hpp"
#include "valence/value/bellman_errors.hpp"
#include "valence/value/emphatic_td.hpp"
#include "valence/value/gradient_td.hpp"
#include "valence/value/lstd.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
constexpr auto gtd2 = [](const auto&... x) { return gtd2_update(x...); };
constexpr auto tdc = [](const auto&... x) { return tdc_update(x...); };

/// A transition and how often it happens.
struct Weighted {
  Numbers features, next;
  double reward, ratio, probability;
  FeatureTransition<double> view() const {
    return {.features = features, .reward = reward, .next_features = next, .ratio = ratio};
  }
};
using Expectation = std::vector<Weighted>;

/// The mean of an update over all transitions, from one (theta, w): both are moved by it.
template <class Update>
void expected_update(const Expectation& all, Numbers& theta, Numbers& w, const GradientTdOptions& options,
                     Update update) {
  const Numbers theta_before = theta, w_before = w;
  for (const Weighted& t : all) {
    Numbers a = theta_before, b = w_before;
    update(t.view(), GradientTdWeights<double>{.theta = a, .correction = b}, options);
    for (std::size_t i = 0; i < a.size(); ++i) {
      theta[i] += t.probability * (a[i] - theta_before[i]);
      w[i] += t.probability * (b[i] - w_before[i]);
    }
  }
}

double norm(const Numbers& x) { return std::sqrt(detail::inner_product<double>(x, x)); }

// w -> 2w: phi 1 and 2, both visited alike, the target policy always moves to the second (ratio 2, else 0).
Expectation two_states() {
  return {{{1}, {1}, 0, 0, .25}, {{1}, {2}, 0, 2, .25}, {{2}, {1}, 0, 0, .25}, {{2}, {2}, 0, 2, .25}};
}
// Baird's star: six states with 2 w_i + w_8 and one with w_7 + 2 w_8, to which the target policy always moves.
Numbers star_features(std::size_t s) {
  Numbers phi(8);
  phi[s] = s < 6 ? 2 : 1;
  phi[7] = s < 6 ? 1 : 2;
  return phi;
}
Expectation star() {
  Expectation all;
  for (std::size_t s = 0; s < 7; ++s) {  // behaviour: to the centre with 1/7, ratio 7; to the others with ratio 0
    all.push_back({star_features(s), star_features(6), 0, 7, 1.0 / 49});
    for (std::size_t to = 0; to < 6; ++to) all.push_back({star_features(s), star_features(to), 0, 0, 1.0 / 49});
  }
  return all;
}
FiniteMdp<double> star_model() {  // the target policy's
  std::vector<ModelEntry> entries;
  for (int s = 0; s < 7; ++s) entries.push_back({s, 0, 6, 1.0, 0});
  return FiniteMdp(7, 1, entries);
}
Matrix<double> star_matrix() {
  Matrix<double> features(8, 7);
  for (int s = 0; s < 7; ++s)
    for (int i = 0; i < 8; ++i)
      features(i, s) = star_features(static_cast<std::size_t>(s))[static_cast<std::size_t>(i)];
  return features;
}

// M1 off policy, with two features; the state distribution is not the stationary one: it need not be.
constexpr double m1_next[2][2][2] = {{{.7, .3}, {.2, .8}}, {{.5, .5}, {.9, .1}}};
constexpr double m1_reward[2][2] = {{1, 0}, {.5, 2}};
constexpr double m1_policy[2][2] = {{.8, .2}, {.1, .9}}, m1_behaviour[2][2] = {{.5, .5}, {.3, .7}}, m1_d[2] = {.6, .4};
Expectation m1_off_policy() {
  const Numbers phi[2] = {{1, .5}, {-.3, 2}};
  Expectation all;
  for (std::size_t s = 0; s < 2; ++s)
    for (std::size_t a = 0; a < 2; ++a)
      for (std::size_t to = 0; to < 2; ++to)
        all.push_back({phi[s], phi[to], m1_reward[s][a], m1_policy[s][a] / m1_behaviour[s][a],
                       m1_d[s] * m1_behaviour[s][a] * m1_next[s][a][to]});
  return all;
}

}  // namespace

TEST_CASE("w -> 2w: TD diverges, gradient TD doesn't") {
  // With w = 0, TDC's step is TD's: theta += alpha (b - A theta), so A is read off one step from theta = 1.
  Numbers theta{1}, w{0};
  expected_update(two_states(), theta, w, {.step_size = 1, .correction_step_size = 0, .discount = .9}, tdc);
  CHECK(theta[0] - 1 == close(.2, 1e-14));  // -A theta with A = -.2: away from 0
  for (const bool second : {false, true}) {
    CAPTURE(second);
    theta = {1}, w = {0};
    // The slow eigenvalue is about alpha A^2 / C = .05 * .04 / 2.5: e^-4 after 5000 steps.
    const GradientTdOptions options{.step_size = .05, .correction_step_size = .5, .discount = .9};
    for (int k = 0; k < 5000; ++k)
      second ? expected_update(two_states(), theta, w, options, gtd2)
             : expected_update(two_states(), theta, w, options, tdc);
    CHECK(theta[0] > 0);
    CHECK(theta[0] < .025);
  }
}

TEST_CASE("Baird's star: TD's norm explodes, GTD2 and TDC reach the published errors") {
  const Numbers start{1, 1, 1, 1, 1, 1, 10, 1};
  Numbers theta = start, w(8);
  for (int k = 0; k < 1000; ++k)
    expected_update(star(), theta, w, {.step_size = .01, .correction_step_size = 0, .discount = .99}, tdc);
  CHECK(norm(theta) == close(436.8560236093256, 1e-10));

  const Numbers uniform(7, 1.0 / 7);
  const Matrix<double> policy = Matrix<double>::Ones(1, 7);
  const auto error = [&] {
    const BellmanErrors e = bellman_errors(star_model(), policy, star_matrix(), uniform, theta, {.discount = .99});
    CHECK(e.converged);
    CHECK(e.projected == close(e.bellman, 1e-8));  // eight features of seven states: everything is in their span
    return e.projected;
  };
  theta = start, w.assign(8, 0);
  for (int k = 0; k < 1000; ++k) expected_update(star(), theta, w, {}, gtd2);
  CHECK(error() == close(5.4438853961227445e-05, 1e-7));  // computed apart; the base prints .000054439
  theta = start, w.assign(8, 0);
  for (int k = 0; k < 1000; ++k) expected_update(star(), theta, w, {}, tdc);
  CHECK(error() == close(5.4443144201758065e-05, 1e-7));  // .000054443
}

TEST_CASE("In expectation, off policy: GTD2 is A'w, TDC is b - A theta - (C - A')w, the correction b - A theta - C w") {
  // The matrices by sums over the target policy itself, without ratios.
  Eigen::Matrix2d a = Eigen::Matrix2d::Zero(), c = a;
  Eigen::Vector2d b = Eigen::Vector2d::Zero();
  const Eigen::Vector2d phi[2] = {{1, .5}, {-.3, 2}};
  for (std::size_t s = 0; s < 2; ++s) {
    c += m1_d[s] * phi[s] * phi[s].transpose();
    for (std::size_t u = 0; u < 2; ++u) {
      b += m1_d[s] * m1_policy[s][u] * m1_reward[s][u] * phi[s];
      for (std::size_t to = 0; to < 2; ++to)
        a += m1_d[s] * m1_policy[s][u] * m1_next[s][u][to] * phi[s] * (phi[s] - .9 * phi[to]).transpose();
    }
  }
  const Eigen::Vector2d theta(1.3, -.7), w(.4, 2.1);
  const GradientTdOptions options{.step_size = .03, .correction_step_size = .2, .discount = .9};
  const Eigen::Vector2d correction = w + .2 * (b - a * theta - c * w);
  const auto check = [&](auto update, const Eigen::Vector2d& expected) {
    Numbers t{theta[0], theta[1]}, u{w[0], w[1]};
    expected_update(m1_off_policy(), t, u, options, update);
    for (int i = 0; i < 2; ++i) {
      CHECK(t[static_cast<std::size_t>(i)] == close(expected[i], 1e-13));
      CHECK(u[static_cast<std::size_t>(i)] == close(correction[i], 1e-13));
    }
  };
  check(gtd2, theta + .03 * a.transpose() * w);
  check(tdc, theta + .03 * (b - a * theta - (c - a.transpose()) * w));

  // LSTD's solution with w = 0 is where both stand still.
  Lstd lstd(2, {.discount = .9});
  for (const Weighted& t : m1_off_policy()) lstd.add(t.view(), t.probability);
  CHECK((lstd.matrix() - a).norm() < 1e-14);
  Numbers fixed(2), zero(2);
  lstd.solve(fixed);
  const Numbers solution = fixed;
  expected_update(m1_off_policy(), fixed, zero, options, tdc);
  expected_update(m1_off_policy(), fixed, zero, options, gtd2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(fixed[i] == close(solution[i], 1e-13));
    CHECK(std::abs(zero[i]) < 1e-13);
  }
}

TEST_CASE("With lambda: TD(lambda) where w is 0, and the exact gradient over an episode", "[V18]") {
  // E4 of the base, offline (theta is held): the sum of TDC's steps is that of TD(.8).
  const std::size_t state[4] = {0, 1, 0, 2};
  const double reward[4] = {1, -1, .5, 2};
  const Numbers value{.2, -.1, .4};
  Numbers trace(3), total(3);
  for (std::size_t t = 0; t < 4; ++t) {
    Numbers phi(3), next(3, poison), theta = value, w(3);
    phi[state[t]] = 1;
    if (t < 3) next = Numbers(3), next[state[t + 1]] = 1;
    tdc_update(
        FeatureTransition<double>{.features = phi, .reward = reward[t], .next_features = next, .terminated = t == 3},
        {.theta = theta, .correction = w, .trace = trace}, {.step_size = .1, .discount = .9, .lambda = .8});
    for (std::size_t i = 0; i < 3; ++i) total[i] += theta[i] - value[i];
  }
  CHECK(total[0] == close(.29429408, 1e-14));
  CHECK(total[1] == close(.058464, 1e-14));
  CHECK(total[2] == close(.16, 1e-14));
  CHECK(trace == Numbers(3, 0.0));  // the next episode's begins at 0

  // GTD2(lambda) writes A'w without the double sum; over a whole episode, on policy, both are one number: also where
  // the episode was cut off.
  Rng rng{21};
  for (const bool terminates : {true, false}) {
    CAPTURE(terminates);
    Numbers phi[6], theta(2, 0.0), w{.7, -1.1};
    for (Numbers& f : phi) f = {rng.normal(), rng.normal()};
    Numbers e(2), sum(2), exact(2), z(2);
    for (std::size_t t = 0; t < 5; ++t) {
      Numbers now = theta, correction = w;
      const bool last = t == 4;
      gtd2_update(FeatureTransition<double>{.features = phi[t],
                                            .next_features = phi[t + 1],
                                            .terminated = last && terminates,
                                            .truncated = last && !terminates},
                  {.theta = now, .correction = correction, .trace = e},
                  {.step_size = 1, .correction_step_size = 0, .discount = .9, .lambda = .6});
      double zw = 0;
      for (std::size_t i = 0; i < 2; ++i) zw += (z[i] = .54 * z[i] + phi[t][i]) * w[i];
      for (std::size_t i = 0; i < 2; ++i) {
        sum[i] += now[i];
        exact[i] += (phi[t][i] - (last && terminates ? 0 : .9 * phi[t + 1][i])) * zw;
      }
    }
    for (std::size_t i = 0; i < 2; ++i) CHECK(sum[i] == close(exact[i], 1e-12, 1e-13));
  }
}

TEST_CASE("Gradient TD by hand, with a ratio and a trace; in float; without allocation") {
  Numbers theta{1, -2}, w{.5, .25}, e{2, 1};
  const double delta = gtd2_update(
      FeatureTransition<double>{.features = Numbers{1, 3}, .reward = 2, .next_features = Numbers{0, 1}, .ratio = .5},
      {.theta = theta, .correction = w, .trace = e},
      {.step_size = .1, .correction_step_size = .2, .discount = .9, .lambda = .5});
  // delta = 2 - 1.8 + 5; e = .5 (.45 (2, 1) + (1, 3)) = (.95, 1.725); e'w = .90625; phi'w = 1.25
  CHECK(delta == close(5.2, 1e-15));
  CHECK(theta[0] == close(1 + .1 * 1.25, 1e-15));
  CHECK(theta[1] == close(-2 + .1 * (3.75 - .9 * .5 * .90625), 1e-15));
  CHECK(w[0] == close(.5 + .2 * (5.2 * .95 - 1.25), 1e-15));
  CHECK(w[1] == close(.25 + .2 * (5.2 * 1.725 - 3.75), 1e-15));
  CHECK(e == Numbers{.95, 1.725});
  CHECK(linear_td_error(FeatureTransition<double>{.features = Numbers{1, 3}, .reward = 2, .terminated = true},
                        Numbers{1, -2}, .9) == 7);

  const std::vector<float> phi{1, 2}, next{0, 1};
  std::vector<float> theta_f{1, 1}, w_f{0, 1};
  const FeatureTransition<float> t{.features = phi, .reward = 1, .next_features = next};
  test::Allocations allocations;
  const float d = tdc_update(t, {.theta = theta_f, .correction = w_f}, {.step_size = .5, .discount = .5});
  CHECK(allocations.count() == 0);
  CHECK(d == -1.5f);
  CHECK(theta_f == std::vector<float>{.25f, -1.0f});
}

TEST_CASE("Gradient TD refuses bad numbers before anything is changed") {
  const Numbers good{1, 2};
  Numbers theta{1, 1}, w{1, 1}, e{1, 1};
  const GradientTdWeights<double> all{.theta = theta, .correction = w, .trace = e};
  const auto refuses = [&](const FeatureTransition<double>& t, const GradientTdWeights<double>& weights,
                           const GradientTdOptions& options, const char* what) {
    CHECK(says(message_of([&] { tdc_update(t, weights, options); }), "tdc_update", what));
    CHECK(says(message_of([&] { gtd2_update(t, weights, options); }), "gtd2_update", what));
    CHECK(theta == Numbers{1, 1});
    CHECK(e == Numbers{1, 1});
  };
  refuses({.features = Numbers{1, poison}, .next_features = good}, all, {}, "TD error");
  refuses({.features = good, .next_features = Numbers{poison, 0}}, all, {}, "TD error");
  refuses({.features = good, .reward = poison, .next_features = good}, all, {}, "reward");
  refuses({.features = good, .next_features = good, .ratio = -.1}, all, {}, "ratio");
  refuses({.features = good}, all, {}, "next_features");
  refuses({.features = good, .next_features = good}, {.theta = theta, .correction = w}, {.lambda = .5}, "trace");
  refuses({.features = good, .next_features = good}, all, {.step_size = -1}, "step_size");
  refuses({.features = good, .next_features = good}, all, {.discount = 1.5}, "discount");
  Numbers broken{poison, 1};
  refuses({.features = good, .next_features = good}, {.theta = theta, .correction = broken, .trace = e}, {},
          "correction");
}

TEST_CASE("Emphatic TD on w -> 2w: followon (.5, 9.5), and A is positive") {
  // d(s) E[F_t | s_t = s] by `followon` over all transitions, which is linear in F: iterated to its fixed point.
  double f[2] = {0, 0};
  for (int k = 0; k < 500; ++k) {
    double next[2] = {0, 0};
    for (int s = 0; s < 2; ++s)
      for (int to = 0; to < 2; ++to) next[to] += .25 * followon(f[s] / .5, to == 1 ? 2.0 : 0.0, .9, 1.0);
    f[0] = next[0], f[1] = next[1];
  }
  CHECK(f[0] == close(.5, 1e-12));
  CHECK(f[1] == close(9.5, 1e-12));
  // A by the update itself: with no reward, one step from theta = 1 is -A theta.
  double a = 0;
  for (int s = 0; s < 2; ++s)
    for (int to = 0; to < 2; ++to) {
      EmphaticTrace<double> state(1);
      state.followon = (f[s] / .5 - 1) / .9, state.ratio = 1;  // so that F is f(s) / d(s)
      Numbers theta{1};
      emphatic_td_update(
          FeatureTransition<double>{
              .features = Numbers{s + 1.0}, .next_features = Numbers{to + 1.0}, .ratio = to == 1 ? 2.0 : 0.0},
          theta, state, {.step_size = 1, .discount = .9});
      a -= .25 * (theta[0] - 1);
    }
  CHECK(a == close(3.4, 1e-12));
}

TEST_CASE("Emphatic TD by hand: followon, emphasis and trace over an episode, and a new one") {
  EmphaticTrace<double> state(2);
  Numbers theta{0, 0};
  const EmphaticTdOptions options{.step_size = .1, .discount = .9, .lambda = .4, .interest = 2};
  // F = 2, M = .4 * 2 + .6 * 2 = 2, e = .5 (2, 0) = (1, 0), delta = 1.
  CHECK(emphatic_td_update(
            FeatureTransition<double>{
                .features = Numbers{1, 0}, .reward = 1, .next_features = Numbers{0, 1}, .ratio = .5},
            theta, state, options) == 1);
  CHECK(theta[0] == close(.1, 1e-15));
  // F = .5 .9 2 + 2 = 2.9, M = .8 + 1.74 = 2.54, e = 3 (.36 (1, 0) + 2.54 (0, 1)), delta = -1 + .9 .1 = -.91.
  EmphaticTrace<double> copy(7);
  from_bytes(to_bytes(state), copy);
  CHECK(emphatic_td_update(
            FeatureTransition<double>{
                .features = Numbers{0, 1}, .reward = -1, .next_features = Numbers{1, 0}, .ratio = 3},
            theta, copy, options) == close(-.91, 1e-15));
  CHECK(copy.followon == close(2.9, 1e-15));
  CHECK(copy.trace[0] == close(1.08, 1e-15));
  CHECK(copy.trace[1] == close(7.62, 1e-15));
  CHECK(theta[0] == close(.1 - .091 * 1.08, 1e-14));
  CHECK(theta[1] == close(-.091 * 7.62, 1e-14));
  for (const bool truncated : {false, true}) {
    EmphaticTrace<double> end = copy;
    emphatic_td_update(FeatureTransition<double>{.features = Numbers{0, 1},
                                                 .next_features = truncated ? Numbers{1, 0} : Numbers{poison, poison},
                                                 .terminated = !truncated,
                                                 .truncated = truncated},
                       theta, end, options);
    CHECK(same_state(end, EmphaticTrace<double>(2)));
  }
  // lambda 1 and ratio 1: M is the interest, so ETD(1) is TD(1).
  CHECK(emphasis(17.0, 1.0, 2.0) == 2);
  const Numbers before = theta;
  CHECK(says(message_of([&] {
               emphatic_td_update(FeatureTransition<double>{.features = Numbers{poison, 1}, .terminated = true}, theta,
                                  state, options);
             }),
             "TD error"));
  state.followon = 1e308, state.ratio = 1e10;
  CHECK(says(message_of([&] {
               emphatic_td_update(FeatureTransition<double>{.features = Numbers{0, 1}, .terminated = true}, theta,
                                  state, options);
             }),
             "followon"));
  CHECK(theta == before);
}

TEST_CASE("Average reward: M1's gain 1.25 and bias are the fixed point") {
  // h = (0, .8333...), gain 1.25 (the base's relative value iteration); policy (0, 1).
  const double h[2] = {0, 5.0 / 6};
  Numbers q[2];
  for (std::size_t s = 0; s < 2; ++s)
    for (std::size_t a = 0; a < 2; ++a)
      q[s].push_back(m1_reward[s][a] - 1.25 + m1_next[s][a][0] * h[0] + m1_next[s][a][1] * h[1]);
  CHECK(q[0][0] == close(h[0], 0, 1e-14));
  CHECK(q[1][1] == close(h[1], 1e-14));
  CHECK(q[0][1] < q[0][0]);
  CHECK(q[1][0] < q[1][1]);
  for (std::size_t s = 0; s < 2; ++s)
    for (std::size_t a = 0; a < 2; ++a) {
      CAPTURE(s, a);
      double target = 0, expected = 0, average = 0;
      for (std::size_t to = 0; to < 2; ++to) {
        const double p = m1_next[s][a][to];
        target += p * differential_q_target<double>(m1_reward[s][a], q[to], 1.25);
        expected += p * differential_target(m1_reward[s][a], h[to], 1.25);
        average += p * r_learning_average<double>(1.25, m1_reward[s][a], q[s], a, q[to], {.step_size = .5});
      }
      CHECK(target == close(q[s][a], 1e-13, 1e-14));
      CHECK(expected == close(q[s][a], 1e-13, 1e-14));
      CHECK(average == close(1.25, 1e-14));
    }
  CHECK(differential_average(1.0, -.5, {.step_size = .1}) == close(.95, 1e-15));
  // R-learning learns its average from greedy actions alone: here r + max q' - max q - average = 3 + 4 - 2 - 1.
  CHECK(r_learning_average<double>(1, 3, Numbers{2, 1}, 0, Numbers{4, 0}, {.step_size = .1}) == close(1.4, 1e-15));
  CHECK(r_learning_average<double>(1, 3, Numbers{2, 1}, 1, Numbers{4, 0}, {.step_size = .1}) == 1);
  CHECK(says(message_of([] { r_learning_average<double>(1, 3, Numbers{2, 1}, 2, Numbers{4, 0}); }), "action is 2"));
  CHECK(says(message_of([] { differential_q_target<double>(1, Numbers{}, 0); }), "empty"));
  CHECK(says(message_of([] { differential_target(1.0, 2.0, poison); }), "average_reward"));
}

TEST_CASE("Average reward: differential Q-learning and R-learning find M1's gain and policy") {
  for (const bool differential : {true, false})
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      CAPTURE(differential, seed);
      Rng rng{seed};
      Numbers q[2] = {{0, 0}, {0, 0}};
      double average = 0;
      std::size_t s = 0;
      for (int t = 0; t < 60000; ++t) {
        const double step = 1 / (10 + .01 * t);
        const std::size_t a =
            rng.bernoulli(.2) ? static_cast<std::size_t>(rng.below(2)) : greedy_action(std::span(q[s]));
        const std::size_t to = rng.bernoulli(m1_next[s][a][1]) ? 1 : 0;
        const double delta = differential_q_target<double>(m1_reward[s][a], q[to], average) - q[s][a];
        q[s][a] += step * delta;
        average = differential
                      ? differential_average(average, delta, {.step_size = step / 2})
                      : r_learning_average<double>(average, m1_reward[s][a], q[s], a, q[to], {.step_size = step / 2});
        s = to;
      }
      CHECK(average == close(1.25, 0, .05));
      CHECK(greedy_action(std::span(q[0])) == 0);
      CHECK(greedy_action(std::span(q[1])) == 1);
    }
}

TEST_CASE("Bellman errors: zero projection at LSTD's solution, with a terminal state and dependent features") {
  // Two states and a terminal one; the third feature is the sum of the others.
  const FiniteMdp model(
      3, 2,
      std::vector<ModelEntry>{
          {0, 0, 1, .6, 1}, {0, 0, 2, .4, 1}, {0, 1, 0, 1, -.5}, {1, 0, 0, .3, 2}, {1, 0, 2, .7, 2}, {1, 1, 1, 1, .25}},
      std::vector<int>{2});
  Matrix<double> policy(2, 3), features(1, 3);
  policy << .3, .9, poison, .7, .1, poison;
  features << 1, 2, poison;
  const Numbers d{.35, .45, .2};
  Lstd lstd(1, {.discount = .9});
  for (int s = 0; s < 2; ++s)
    for (int a = 0; a < 2; ++a)
      for (const auto& to : model.successors(s, a))
        lstd.add({.features = std::span<const double>(&features(0, s), 1),
                  .reward = to.reward,
                  .next_features = std::span<const double>(&features(0, to.next), 1),
                  .terminated = to.next == 2},
                 d[static_cast<std::size_t>(s)] * policy(a, s) * to.probability);
  Numbers theta(1);
  lstd.solve(theta);
  const BellmanErrors at = bellman_errors(model, policy, features, d, theta, {.discount = .9});
  CHECK(at.converged);
  CHECK(at.projected < 1e-25);
  CHECK(at.bellman > 1e-3);
  // Elsewhere: delta by hand at theta = 2: v = (2, 4).
  const BellmanErrors off = bellman_errors(model, policy, features, d, Numbers{2}, {.discount = .9});
  const double delta0 = .3 * (1 + .9 * .6 * 4) + .7 * (-.5 + .9 * 2) - 2,
               delta1 = .9 * (2 + .9 * .3 * 2) + .1 * (.25 + .9 * 4) - 4;
  CHECK(off.bellman == close(.35 * delta0 * delta0 + .45 * delta1 * delta1, 1e-13));
  const double g = .35 * delta0 + .45 * 2 * delta1;
  CHECK(off.projected == close(g * g / (.35 + .45 * 4), 1e-12));

  Matrix<double> three(3, 3);
  three << 1, 0, poison, 0, 1, poison, 1, 1, poison;
  const BellmanErrors all = bellman_errors(model, policy, three, d, Numbers{1, 3, 1}, {.discount = .9});  // v = (2, 4)
  CHECK(all.bellman == close(off.bellman, 1e-13));
  CHECK(all.projected == close(all.bellman, 1e-12));
  CHECK(says(message_of([&] { bellman_errors(model, policy, features, d, Numbers{poison}); }), "Bellman error", "nan"));
  CHECK(says(message_of([&] { bellman_errors(model, features, features, d, theta); }), "policy", "1 x 3", "2 x 3"));
}
