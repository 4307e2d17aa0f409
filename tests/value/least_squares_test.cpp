// LSTD, LSTDQ and LSPI: published numbers, and identities with returns, dynamic programming and regression.
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
#include "valence/function/feature_maps.hpp"
#include "valence/mdp/step.hpp"
#include "valence/value/lstd.hpp"
#include "valence/value/returns.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

// M1 of the base: two states, two actions.
constexpr double m1_next[2][2][2] = {{{.7, .3}, {.2, .8}}, {{.5, .5}, {.9, .1}}};
constexpr double m1_reward[2][2] = {{1, 0}, {.5, 2}};
constexpr double m1_policy[2][2] = {{.8, .2}, {.1, .9}}, m1_stationary[2] = {.68253968253968254, .31746031746031746};

/// Adds M1's expectation under its policy; `features[s]` is phi(s).
void add_m1(Lstd& lstd, const std::array<Numbers, 2>& features) {
  for (std::size_t s = 0; s < 2; ++s)
    for (std::size_t a = 0; a < 2; ++a)
      for (std::size_t next = 0; next < 2; ++next)
        lstd.add({.features = features[s], .reward = m1_reward[s][a], .next_features = features[next]},
                 m1_stationary[s] * m1_policy[s][a] * m1_next[s][a][next]);
}

/// Ten transitions of each pair of M1, as often as their probability says: the model itself as data.
std::vector<Transition<int, int>> m1_data() {
  std::vector<Transition<int, int>> data;
  for (int s = 0; s < 2; ++s)
    for (int a = 0; a < 2; ++a)
      for (int next = 0; next < 2; ++next)
        for (int k = 0; k < static_cast<int>(std::lround(10 * m1_next[s][a][next])); ++k)
          data.push_back({s, a, m1_reward[s][a], next, false, false});
  return data;
}

struct Episode {
  std::vector<Numbers> features;  // one more than rewards
  Numbers reward;
};
Episode random_episode(std::size_t length, std::size_t features, Rng& rng) {
  Episode e;
  for (std::size_t t = 0; t <= length; ++t) {
    e.features.emplace_back(features);
    for (double& x : e.features.back()) x = rng.normal();
    if (t < length) e.reward.push_back(rng.normal());
  }
  return e;
}

}  // namespace

TEST_CASE("LSTD on M1: one feature, and a table") {
  Lstd one(1, {.discount = .9});
  add_m1(one, {Numbers{1}, Numbers{2}});
  CHECK(one.matrix()(0, 0) == close(.440952380952, 1e-11));
  CHECK(one.vector()[0] == close(1.720634920635, 1e-12));
  Numbers theta(1);
  one.solve(theta);
  CHECK(theta[0] == close(3.902087832973, 1e-12));
  one.solve(theta, .25);
  CHECK(theta[0] == close(1.720634920634921 / (.440952380952381 + .25), 1e-12));

  Lstd table(2, {.discount = .9});
  add_m1(table, {Numbers{1, 0}, Numbers{0, 1}});
  Numbers v(2);
  table.solve(v);
  CHECK(v[0] == close(11.063209076175, 1e-12));
  CHECK(v[1] == close(11.914100486224, 1e-12));
}

TEST_CASE("LSTD on a random walk that terminates: nothing of the next state is read", "[V1]") {
  Lstd lstd(5, {.discount = 1});
  const Numbers nothing(5, poison);
  for (int s = 0; s < 5; ++s)
    for (const int move : {-1, 1}) {
      Numbers here(5), next(5);
      here[static_cast<std::size_t>(s)] = 1;
      const int to = s + move;
      const bool end = to < 0 || to > 4;
      if (!end) next[static_cast<std::size_t>(to)] = 1;
      lstd.add({.features = here,
                .reward = to == 5 ? 1.0 : 0.0,
                .next_features = end ? std::span<const double>(nothing) : std::span<const double>(next),
                .terminated = end});
    }
  lstd.add({.features = Numbers{0, 0, 0, 0, 1}, .reward = 1, .terminated = true});  // or nothing given at all
  lstd.add({.features = Numbers{0, 0, 0, 0, 1}, .next_features = Numbers{0, 0, 0, 1, 0}});
  Numbers v(5);
  lstd.solve(v);
  for (std::size_t s = 0; s < 5; ++s) CHECK(v[s] == close(static_cast<double>(s + 1) / 6, 1e-13));
}

TEST_CASE("LSTD(lambda): at the solution the lambda returns' errors are orthogonal to the features", "[V18]") {
  // The backward view's z against the forward view's returns, which know nothing of traces.
  Rng rng{11};
  for (const bool terminates : {true, false})
    for (const double lambda : {0.0, .35, 1.0}) {
      CAPTURE(terminates, lambda);
      constexpr double discount = .85;
      Lstd lstd(3, {.discount = discount, .lambda = lambda});
      std::vector<Episode> episodes;
      for (const std::size_t length : {1u, 4u, 7u, 2u}) {
        episodes.push_back(random_episode(length, 3, rng));
        const Episode& e = episodes.back();
        for (std::size_t t = 0; t < length; ++t) {
          const bool last = t + 1 == length;
          lstd.add({.features = e.features[t],
                    .reward = e.reward[t],
                    .next_features = e.features[t + 1],
                    .terminated = last && terminates,
                    .truncated = last && !terminates});
        }
      }
      Numbers theta(3), gradient(3);
      lstd.solve(theta);
      double size = 0;
      for (const Episode& e : episodes) {
        Numbers value, g(e.reward.size());
        for (const Numbers& phi : e.features) value.push_back(detail::inner_product<double>(phi, theta));
        std::array<bool, 7> terminated{};
        terminated[e.reward.size() - 1] = terminates;
        lambda_returns(Steps<double>{.reward = e.reward,
                                     .value = value,
                                     .terminated = std::span<const bool>(terminated.data(), e.reward.size())},
                       g, {.discount = discount, .lambda = lambda});
        for (std::size_t t = 0; t < g.size(); ++t)
          for (std::size_t i = 0; i < 3; ++i) {
            gradient[i] += e.features[t][i] * (g[t] - value[t]);
            size += std::abs(e.features[t][i] * (g[t] - value[t]));
          }
      }
      for (const double d : gradient) CHECK(std::abs(d) < 1e-13 * size);
    }
}

TEST_CASE("LSTD(1) on episodes that terminate is the regression of returns on features") {
  Rng rng{12};
  Lstd lstd(2, {.discount = .9, .lambda = 1});
  Eigen::Matrix2d square = Eigen::Matrix2d::Zero();
  Eigen::Vector2d moment = Eigen::Vector2d::Zero();
  for (const std::size_t length : {3u, 1u, 6u}) {
    const Episode e = random_episode(length, 2, rng);
    for (std::size_t t = 0; t < length; ++t)
      lstd.add({.features = e.features[t],
                .reward = e.reward[t],
                .next_features = e.features[t + 1],
                .terminated = t + 1 == length});
    double g = 0;
    for (std::size_t t = length; t-- > 0;) {
      g = e.reward[t] + .9 * g;
      const Eigen::Vector2d phi(e.features[t][0], e.features[t][1]);
      square += phi * phi.transpose();
      moment += g * phi;
    }
  }
  CHECK((lstd.matrix() - square).norm() < 1e-12);
  const Eigen::Vector2d expected = square.partialPivLu().solve(moment);
  Numbers theta(2);
  lstd.solve(theta);
  CHECK(theta[0] == close(expected[0], 1e-11));
  CHECK(theta[1] == close(expected[1], 1e-11));
}

TEST_CASE("LSTD off policy: z = ratio (discount lambda z + phi), by hand") {
  Lstd lstd(2, {.discount = .9, .lambda = .5});
  lstd.add({.features = Numbers{1, 0}, .reward = 1, .next_features = Numbers{0, 2}, .ratio = .5});
  // z = (.5, 0); phi - .9 phi' = (1, -1.8)
  CHECK((lstd.matrix() - (Matrix<double>(2, 2) << .5, -.9, 0, 0).finished()).norm() < 1e-15);
  lstd.add({.features = Numbers{0, 2}, .reward = -1, .next_features = Numbers{1, 1}, .truncated = true, .ratio = 2}, 3);
  // z = 2 (.45 (.5, 0) + (0, 2)) = (.45, 4); d = (-.9, 1.1); three times
  CHECK((lstd.matrix() - (Matrix<double>(2, 2) << .5 - 1.215, -.9 + 1.485, -10.8, 13.2).finished()).norm() < 1e-14);
  CHECK(lstd.vector()[0] == close(.5 - 1.35, 1e-14));
  CHECK(lstd.vector()[1] == close(-12.0, 1e-14));
  // Truncated: the next transition begins a trace of its own.
  const Matrix<double> before = lstd.matrix();
  lstd.add({.features = Numbers{0, 1}, .reward = 0, .next_features = Numbers{0, 0}});
  CHECK((lstd.matrix() - before - (Matrix<double>(2, 2) << 0, 0, 0, 1).finished()).norm() < 1e-14);
  CHECK(lstd.count() == 3);
}

TEST_CASE("LSTD goes on in mid-episode from its archive, and adds without allocation") {
  Rng rng{13};
  const Episode e = random_episode(9, 4, rng);
  const auto add = [&](Lstd& lstd, std::size_t t) {
    lstd.add({.features = e.features[t], .reward = e.reward[t], .next_features = e.features[t + 1]});
  };
  Lstd whole(4, {.discount = .8, .lambda = .7}), other(4, {.discount = .1});
  for (std::size_t t = 0; t < 5; ++t) add(whole, t);
  from_bytes(to_bytes(whole), other);
  test::Allocations allocations;
  for (std::size_t t = 5; t < 9; ++t) add(whole, t);
  CHECK(allocations.count() == 0);
  for (std::size_t t = 5; t < 9; ++t) add(other, t);
  CHECK(same_state(whole, other));
  other.end_episode();
  CHECK(!same_state(whole, other));
}

TEST_CASE("LSTD says what it cannot do, and is unchanged") {
  Lstd lstd(3, {.discount = .9});
  Numbers theta(3);
  lstd.add({.features = Numbers{1, 0, 0}, .reward = 1, .next_features = Numbers{0, 1, 0}});
  lstd.add({.features = Numbers{0, 1, 0}, .reward = 1, .terminated = true});
  CHECK(says(message_of([&] { lstd.solve(theta); }), "Lstd::solve", "2 transitions", "singular", "row 2", "ridge"));
  CHECK_NOTHROW(lstd.solve(theta, 1e-6));
  Lstd twins(2, {.discount = .5});
  for (int i = 0; i < 20; ++i) {  // the second feature is three times the first, to rounding
    const double x = .1 * i + .03, y = .7 - .01 * i;
    twins.add({.features = Numbers{x, 3 * x}, .reward = 1, .next_features = Numbers{y, 3 * y}});
  }
  theta.resize(2);
  CHECK(says(message_of([&] { twins.solve(theta); }), "singular", "column 1"));

  const Lstd copy = lstd;
  const Numbers good{1, 2, 3};
  CHECK(says(message_of([&] { lstd.add({.features = Numbers{1, poison, 2}, .next_features = good}); }), "features[1]"));
  CHECK(says(message_of([&] {
               lstd.add({.features = good, .next_features = Numbers{1, 2, poison}});
             }),
             "next_features[2]"));
  CHECK(says(message_of([&] { lstd.add({.features = good}); }), "next_features", "0"));
  CHECK(says(message_of([&] { lstd.add({.features = Numbers{1, 2}, .next_features = good}); }), "features", "2", "3"));
  CHECK(says(message_of([&] { lstd.add({.features = good, .reward = poison, .next_features = good}); }), "reward"));
  CHECK(says(message_of([&] { lstd.add({.features = good, .next_features = good, .ratio = -1}); }), "ratio"));
  CHECK(says(message_of([&] { lstd.add({.features = good, .next_features = good}, -1); }), "weight"));
  CHECK(same_state(lstd, copy));
  CHECK_THROWS_AS(Lstd(0), Error);
  CHECK_THROWS_AS(Lstd(2, {.discount = 1.1}), Error);
  CHECK_THROWS_AS(Lstd(2, {.lambda = poison}), Error);
}

TEST_CASE("LSPI with a table on M1 is policy iteration, step by step") {
  const auto data = m1_data();
  const ActionBlocks features{OneHot{2}, 2};
  // Q of the policy (0, 0), whose value is (8.353658536585, 7.743902439024): r + .9 P v. Weights: entry 2 a + s.
  const double v[2] = {8.353658536585366, 7.743902439024390};
  std::vector<Numbers> seen;
  const auto each = [&](const ProgressEvent& e) { seen.push_back({static_cast<double>(e.step), e.value}); };
  const LspiResult first = lspi(features, data, {.discount = .9, .max_iterations = 1}, each);
  CHECK(first.iterations == 1);
  CHECK(!first.converged);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0][1] == first.change);
  for (std::size_t s = 0; s < 2; ++s)
    for (std::size_t a = 0; a < 2; ++a) {
      CAPTURE(s, a);
      const double q = m1_reward[s][a] + .9 * (m1_next[s][a][0] * v[0] + m1_next[s][a][1] * v[1]);
      CHECK(first.weights[static_cast<int>(2 * a + s)] == close(q, 1e-12));
    }
  CHECK(first.weights[0] == close(v[0], 1e-12));
  CHECK(first.weights[1] == close(v[1], 1e-12));

  // The second policy, (0, 1), is optimal.
  const double expected[4] = {12.28813559322, 11.940677966102, 11.669491525424, 13.135593220339};
  const LspiResult second = lspi(features, data, {.discount = .9});
  CHECK(second.iterations == 2);
  CHECK(second.converged);
  CHECK(second.change == 0);
  for (int i = 0; i < 4; ++i) CHECK(second.weights[i] == close(expected[i], 1e-12));
  // From there, one evaluation sees that nothing changes.
  const LspiResult again = lspi(features, data, view(second.weights), {.discount = .9});
  CHECK(again.iterations == 1);
  CHECK(again.converged);
  for (int i = 0; i < 4; ++i) CHECK(again.weights[i] == close(expected[i], 1e-12));
}

TEST_CASE("LSPI: a chain with vectors as states that ends, with terminal states full of NaN", "[V1]") {
  // x = 0..3; right costs .1, from 3 it ends with 1; left stays at least 0, free. Value of right from x: by hand.
  using State = Eigen::Vector2d;
  std::vector<Transition<State, int>> data;
  for (int x = 0; x < 4; ++x) {
    const State here(x, x * x);
    const int left = x > 0 ? x - 1 : 0;
    data.push_back({here, 0, 0, State(left, left * left), false, false});
    const bool end = x == 3;
    data.push_back({here, 1, end ? 1 : -.1, end ? State(poison, poison) : State(x + 1, (x + 1) * (x + 1)), end, false});
  }
  // Polynomials of x up to 3 tell four states apart, so the weights give the optimal values exactly.
  struct Cubic {
    int input_size() const { return 2; }
    int size() const { return 4; }
    void operator()(std::span<const double> x, std::span<double> f) const {
      f[0] = 1, f[1] = x[0], f[2] = x[1], f[3] = x[0] * x[1];
    }
    void operator()(std::span<const float> x, std::span<float> f) const {
      f[0] = 1, f[1] = x[0], f[2] = x[1], f[3] = x[0] * x[1];
    }
  };
  const ActionBlocks features{Cubic{}, 2};
  const LspiResult result = lspi(features, data, {.discount = .9});
  CHECK(result.converged);
  const double right[4] = {.458, .62, .8, 1};  // -.1 + .9 v(x + 1)
  Numbers phi(8);
  for (int x = 0; x < 4; ++x) {
    CAPTURE(x);
    const auto q = [&](int a) {
      features(State(x, x * x), a, std::span(phi));
      return detail::inner_product<double>(phi, view(result.weights));
    };
    CHECK(q(1) == close(right[x], 1e-10));
    CHECK(q(0) == close(.9 * right[x > 0 ? x - 1 : 0], 1e-10));
  }
}

TEST_CASE("LSPI says what is wrong with data and features") {
  auto data = m1_data();
  const ActionBlocks features{OneHot{2}, 2};
  CHECK(says(message_of([&] { lspi(features, std::vector<Transition<int, int>>{}); }), "transitions", "0"));
  data[3].action = 2;
  CHECK(says(message_of([&] { lspi(features, data); }), "transition 3", "2", "[0, 1]"));
  data[3] = data[2];
  CHECK(says(message_of([&] { lspi(ActionBlocks{OneHot{3}, 2}, data); }), "lspi: iteration 1", "singular", "row 2"));
  CHECK(lspi(ActionBlocks{OneHot{3}, 2}, data, {.ridge = 1e-9}).iterations > 0);
  data[5].reward = poison;
  CHECK(says(message_of([&] { lspi(features, data); }), "reward", "nan"));
  CHECK_THROWS_AS(lspi(features, data, {.max_iterations = 0}), Error);
  CHECK(says(message_of([&] { ActionBlocks(OneHot{2}, 0); }), "actions"));
}
