#include "valence/mdp/dense_mdp.hpp"

#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"

using namespace valence;
using test::message_of, test::says;

namespace {

static_assert(FiniteModel<DenseMdp<double>> && FiniteModel<DenseMdp<float>>);

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

/// M1 of the specification: column s * 2 + a of the transitions is P(. | s, a), entry (a, s) of the rewards R(s, a).
Matrix<double> m1_transition() {
  Matrix<double> p(2, 4);
  p << 0.7, 0.2, 0.5, 0.9,  //
      0.3, 0.8, 0.5, 0.1;
  return p;
}
Matrix<double> m1_reward() {
  Matrix<double> r(2, 2);
  r << 1, 0.5,  //
      0, 2;
  return r;
}
template <class Change>
std::string refused(Change&& change) {
  Matrix<double> p = m1_transition(), r = m1_reward();
  std::vector<int> terminal;
  Vector<double> initial;
  change(p, r, terminal, initial);
  return message_of([&] { DenseMdp<double>(p, r, terminal, initial); });
}

}  // namespace

TEST_CASE("A dense model answers from its table") {
  const DenseMdp mdp(m1_transition(), m1_reward());
  CHECK(mdp.states() == 2);
  CHECK(mdp.actions() == 2);
  CHECK(mdp.reward(0, 1) == 0);
  CHECK(mdp.reward(1, 0) == 0.5);
  const double v[] = {10, 100};
  CHECK(mdp.expectation(0, 1, v) == test::close(82));
  CHECK(mdp.expectation(1, 1, v) == test::close(19));
  CHECK(mdp.available(1, 1));
  CHECK(mdp.initial().empty());
  std::vector<int> next;
  for (const auto& to : mdp.successors(0, 1)) {
    next.push_back(to.next);
    CHECK(to.probability == (to.next == 0 ? 0.2 : 0.8));
    CHECK(to.reward == 0);
  }
  CHECK(next == std::vector{0, 1});
}

TEST_CASE("Columns of terminal states are not read") {
  Matrix<double> p = m1_transition(), r = m1_reward();
  p.rightCols(2).setConstant(poison);
  r.col(1).setConstant(poison);
  Vector<double> initial(2);
  initial << 1, 0;
  const DenseMdp<double> mdp(p, r, std::vector{1}, initial);
  CHECK(mdp.terminal(1));
  CHECK_FALSE(mdp.available(1, 0));
  CHECK(mdp.successors(1, 1).begin() == mdp.successors(1, 1).end());
  CHECK(mdp.reward(1, 1) == 0);
  CHECK(mdp.initial()[0] == 1);
}

TEST_CASE("What is wrong with a dense model is said with state and action", "[E9]") {
  using P = Matrix<double>&;
  using T = std::vector<int>&;
  using V = Vector<double>&;
  CHECK(refused([](P, P, T, V) {}) == "nothing thrown");
  CHECK(says(refused([](P, P r, T, V) { r.resize(2, 0); }), "states is 0"));
  CHECK(says(refused([](P, P r, T, V) { r.resize(0, 2); }), "actions is 0"));
  CHECK(says(refused([](P p, P, T, V) { p.resize(2, 3); }), "transition is 2 x 3; expected 2 x 4"));
  CHECK(says(refused([](P p, P, T, V) { p(1, 2) = 0.4; }), "state 1, action 0 sum to 0.9"));
  CHECK(
      says(refused([](P p, P, T, V) { p(0, 1) = -0.2; }), "state 0, action 1 leads to state 0 with probability -0.2"));
  CHECK(
      says(refused([](P p, P, T, V) { p(1, 3) = poison; }), "state 1, action 1 leads to state 1 with probability nan"));
  CHECK(says(refused([](P, P r, T, V) { r(1, 0) = poison; }), "the reward of state 0, action 1 is nan"));
  CHECK(says(refused([](P, P r, T, V) { r(0, 1) = -std::numeric_limits<double>::infinity(); }),
             "the reward of state 1, action 0 is -inf"));
  CHECK(says(refused([](P, P, T terminal, V) { terminal = {0, 2}; }), "terminal[1] is 2"));
  CHECK(says(refused([](P, P, T, V initial) { initial = Vector<double>::Ones(3); }),
             "initial has 3 entries; expected 2"));
  CHECK(says(refused([](P, P, T, V initial) { initial = Vector<double>::Ones(2); }), "initial sums to 2"));
}

TEST_CASE("Dense models and compressed rows are made of each other") {
  Rng rng{17};
  const int n = 6, m = 3;
  Matrix<double> p = Matrix<double>::Zero(n, n * m), r(m, n);
  for (int column = 0; column < n * m; ++column) {
    p((column * 5 + 1) % n, column) = 0.25;
    p((column * 5 + 3) % n, column) += 0.75;
    r(column % m, column / m) = rng.normal();
  }
  Vector<double> initial = Vector<double>::Constant(n, 1.0 / n);
  const DenseMdp<double> table(p, r, std::vector{4}, initial);
  const FiniteMdp<double> rows = sparse(table);
  CHECK(rows.transitions() == 2 * m * (n - 1));
  CHECK(rows.terminal(4));
  CHECK_FALSE(rows.has_entry_rewards());
  std::vector<double> v(n);
  for (double& x : v) x = rng.normal();
  for (int s = 0; s < n; ++s)
    for (int a = 0; a < m; ++a) {
      CHECK(rows.available(s, a) == table.available(s, a));
      CHECK(rows.reward(s, a) == table.reward(s, a));
      if (s != 4)
        CHECK(rows.expectation(s, a, v.data()) == test::close(table.expectation(s, a, v.data()), 1e-14, 1e-14));
    }
  const DenseMdp<double> back = dense(rows);
  CHECK(back.transition() == table.transition());
  CHECK(back.rewards() == table.rewards());
  CHECK(std::vector(back.initial().begin(), back.initial().end()) == std::vector(initial.data(), initial.data() + n));
  CHECK(says(message_of([] {
               dense(FiniteMdp(2, 2, std::vector<ModelEntry>{{0, 1, 1, 1.0}, {1, 0, 1, 1.0}, {1, 1, 1, 1.0}}));
             }),
             "action 0 is not available in state 0"));
}

TEST_CASE("Float tables become float rows, and doubles' tolerance is not asked of them") {
  Matrix<float> p(3, 3), r(1, 3);
  for (int s = 0; s < 3; ++s) {
    p.col(s) << 0.1F, 0.7F, 0.2F;
    r(0, s) = static_cast<float>(s);
  }
  const FiniteMdp<float> rows = sparse(DenseMdp<float>(p, r));
  CHECK(rows.transitions() == 9);
  CHECK(dense(rows).rewards() == r);
  p(0, 1) = 0.2F;
  CHECK(says(message_of([&] { DenseMdp<float>(p, r); }), "state 1, action 0 sum to 1.09"));
}
