#include "valence/mdp/finite_mdp.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

using namespace valence;
using test::message_of, test::says;
using Entries = std::vector<ModelEntry>;

namespace {

static_assert(FiniteModel<FiniteMdp<double>> && FiniteModel<FiniteMdp<float>>);

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

template <class S>
std::vector<S> row(const FiniteMdp<S>& mdp, int s, int a) {
  std::vector<S> out(static_cast<std::size_t>(mdp.states()), S(0));
  for (const auto& to : mdp.successors(s, a)) out[static_cast<std::size_t>(to.next)] += to.probability;
  return out;
}
std::string refused(int states, int actions, const Entries& entries, const std::vector<int>& terminal = {},
                    const std::vector<double>& initial = {}) {
  return message_of([&] { FiniteMdp<double>(states, actions, entries, terminal, initial); });
}
/// Two states, one action, and one thing changed.
template <class Change>
std::string refused_columns(Change&& change) {
  ModelColumns<double> c{.states = 2,
                         .actions = 1,
                         .row_begin = {0, 2, 3},
                         .next = {0, 1, 1},
                         .probability = {0.25, 0.75, 1},
                         .reward = {-1.0, 5.0},
                         .entry_reward = {2.0, -2.0, 5.0}};
  FiniteMdp<double>{c};  // as it is, it is good
  change(c);
  return message_of([&] { FiniteMdp<double>{c}; });
}

/// The steps of a corridor that ends on the right; with `loop`, the end is also listed as a state that goes on.
struct Corridor {
  bool comes_back = false;  ///< from the right end one may step back, so it is a state of the game too
  std::vector<double> first = {0.5, 0.5, 0};
  Discrete states() const { return {3}; }
  Discrete actions() const { return {2}; }
  std::vector<Outcome<int>> outcomes(int s, int a) const {
    if (a == 0) return {{.next = s, .probability = 1, .reward = -1}};
    if (s == 0) return {{.next = 1, .probability = 0.8}, {.next = 0, .probability = 0.2, .reward = 2}};
    if (s == 1)
      return {{.next = 2, .probability = 0.75, .reward = 10, .terminated = true},
              {.next = comes_back ? 2 : 1, .probability = 0.25}};
    return {{.next = 0, .probability = 1, .reward = 7}};
  }
  std::vector<double> initial_distribution() const { return first; }
};
static_assert(EnumerableEnvironment<Corridor> && ListsItsFirstStates<Corridor>);

}  // namespace

TEST_CASE("A table in any order becomes rows") {
  const FiniteMdp mdp(
      3, 2, Entries{{1, 0, 2, 0.25, 4}, {0, 1, 2, 1, -3}, {1, 0, 0, 0.75, 4}, {0, 0, 1, 0.5, 8}, {0, 0, 0, 0.5, -2}},
      std::vector{2}, std::vector{0.25, 0.75, 0.0});
  CHECK(mdp.states() == 3);
  CHECK(mdp.actions() == 2);
  CHECK(mdp.transitions() == 5);
  CHECK(row(mdp, 0, 0) == std::vector{0.5, 0.5, 0.0});
  CHECK(row(mdp, 0, 1) == std::vector{0.0, 0.0, 1.0});
  CHECK(row(mdp, 1, 0) == std::vector{0.75, 0.0, 0.25});
  CHECK(mdp.available(1, 0));
  CHECK_FALSE(mdp.available(1, 1));
  CHECK(mdp.successors(1, 1).empty());
  CHECK(mdp.terminal(2));
  CHECK_FALSE(mdp.terminal(1));
  CHECK_FALSE(mdp.available(2, 0));
  CHECK(mdp.reward(0, 0) == 3);
  CHECK(mdp.reward(0, 1) == -3);
  CHECK(mdp.reward(1, 0) == 4);
  CHECK(mdp.has_entry_rewards());
  const auto from = mdp.successors(0, 0);
  CHECK(from.size() == 2);
  auto it = from.begin();
  CHECK((*it).next == 0);
  CHECK((*it++).reward == -2);
  CHECK((*it).reward == 8);
  CHECK(++it == from.end());
  const double v[] = {1, 10, 100};
  CHECK(mdp.expectation(0, 0, v) == 5.5);
  CHECK(mdp.expectation(1, 0, v) == 25.75);
  CHECK(std::vector(mdp.initial().begin(), mdp.initial().end()) == std::vector{0.25, 0.75, 0.0});
  CHECK(mdp.successors_each() == 0);
}

TEST_CASE("Duplicates add up, and rows that don't sum to 1 are refused by name", "[E9]") {
  // Frozen lake's corner, action left: two of three thirds stay.
  const FiniteMdp lake(5, 1, Entries{{0, 0, 0, 1.0 / 3}, {0, 0, 4, 1.0 / 3}, {0, 0, 0, 1.0 / 3}},
                       std::vector{1, 2, 3, 4});
  CHECK(row(lake, 0, 0) == std::vector{2.0 / 3, 0.0, 0.0, 0.0, 1.0 / 3});
  CHECK(lake.transitions() == 2);
  // With different rewards they are two entries, whose probabilities still add up.
  const FiniteMdp two(2, 1, Entries{{0, 0, 1, 0.5, 1}, {0, 0, 1, 0.25, 5}, {0, 0, 1, 0.25, 1}}, std::vector{1});
  CHECK(two.transitions() == 2);
  CHECK(row(two, 0, 0) == std::vector{0.0, 1.0});
  CHECK(two.reward(0, 0) == 2);
  CHECK(says(refused(4, 3, {{0, 0, 0, 1}, {1, 0, 0, 1}, {2, 0, 0, 1}, {3, 2, 1, 0.5}, {3, 2, 0, 0.4}}),
             "state 3, action 2 sum to 0.9; expected 1"));
  CHECK(says(refused(1, 1, {{0, 0, 0, 0.5}, {0, 0, 0, 0.5 + 1e-8}}), "state 0, action 0 sum to 1.00000001"));
  CHECK(refused(1, 1, {{0, 0, 0, 0.5}, {0, 0, 0, 0.5 + 1e-10}}) == "nothing thrown");
}

TEST_CASE("Entries of probability 0 are left out, and a row of one reward has exactly that one") {
  const FiniteMdp mdp(2, 1,
                      Entries{{0, 0, 0, 0, 99}, {0, 0, 1, 1, 0.1}, {1, 0, 0, 1.0 / 3, 0.1}, {1, 0, 1, 2.0 / 3, 0.1}});
  CHECK(mdp.transitions() == 3);
  CHECK(mdp.reward(0, 0) == 0.1);
  CHECK(mdp.reward(1, 0) == 0.1);
}

TEST_CASE("Infeasible pairs are left out; a state without any is refused by name", "[L8]") {
  // The reward -infinity is no way to say that an action isn't available.
  CHECK(says(refused(2, 2, {{0, 0, 1, 1, 1}, {0, 1, 0, 1, -infinity}, {1, 0, 1, 1, 0}}),
             "the reward of state 0, action 1 on the way to state 0 is -inf", "leave out"));
  CHECK(says(refused(3, 2, {{0, 0, 1, 1}, {2, 1, 0, 1}}),
             "state 1 has no action that is available, and is not terminal"));
  const FiniteMdp mdp(2, 2, Entries{{0, 1, 1, 1, -5}, {1, 0, 1, 1, 0}});
  CHECK_FALSE(mdp.available(0, 0));
  CHECK(mdp.available(0, 1));
  CHECK(says(refused_columns([](auto& c) { c.reward[0] = -infinity; }), "the reward of state 0, action 0 is -inf",
             "leave out"));
}

TEST_CASE("What is wrong with a table is said with its entry") {
  const Entries good{{0, 0, 1, 1}, {1, 0, 0, 1}};
  const auto with = [&](ModelEntry entry) { return refused(2, 1, {good[0], good[1], entry}); };
  CHECK(says(refused(0, 1, good), "states is 0"));
  CHECK(says(refused(2, 0, good), "actions is 0"));
  CHECK(says(refused(-1, 1, good), "states is -1"));
  CHECK(says(with({2, 0, 0, 1}), "entry 2 has state 2; expected one in [0, 1]"));
  CHECK(says(with({0, 1, 0, 1}), "entry 2 (state 0) has action 1; expected one in [0, 0]"));
  CHECK(says(with({0, 0, -1, 1}), "entry 2 (state 0, action 0) leads to state -1"));
  CHECK(says(with({0, 0, 0, 1.5}), "entry 2 (state 0, action 0) has probability 1.5"));
  CHECK(says(with({0, 0, 0, -0.5}), "probability -0.5"));
  CHECK(says(with({0, 0, 0, not_a_number}), "probability nan"));
  CHECK(says(with({1, 0, 0, 0, not_a_number}), "the reward of state 1, action 0", "nan"));
  CHECK(says(with({1, 0, 0, 0, infinity}), "inf"));
  CHECK(says(refused(2, 1, good, {2}), "terminal[0] is 2"));
  CHECK(says(refused(2, 1, good, {1}), "state 1 is terminal and has transitions"));
  CHECK(says(refused(2, 1, good, {}, {1}), "initial has 1 entries; expected 2"));
  CHECK(says(refused(2, 1, good, {}, {0.5, 0.4}), "initial sums to 0.9"));
  CHECK(says(refused(2, 1, good, {}, {1.5, -0.5}), "initial[0] is 1.5"));
  // Many NaN rewards in one row: an order of them would be none.
  Entries many;
  for (int i = 0; i < 100; ++i) many.push_back({0, 0, 0, 0.01, i % 3 == 0 ? not_a_number : i});
  CHECK(says(refused(1, 1, many), "nan"));
}

TEST_CASE("What is wrong with arrays is said with state and action") {
  CHECK(says(refused_columns([](auto& c) { c.states = 0; }), "states is 0"));
  CHECK(says(refused_columns([](auto& c) { c.row_begin.pop_back(); }), "row_begin has 2 entries; expected 3"));
  CHECK(says(refused_columns([](auto& c) { c.probability.pop_back(); }), "probability has 2 entries; expected 3"));
  CHECK(says(refused_columns([](auto& c) { c.reward.push_back(0); }), "reward has 3 entries; expected 2"));
  CHECK(says(refused_columns([](auto& c) { c.entry_reward.pop_back(); }), "entry_reward has 2 entries; expected 3"));
  CHECK(says(refused_columns([](auto& c) { c.terminal = {0}; }), "terminal has 1 entries; expected 2"));
  CHECK(says(refused_columns([](auto& c) { c.row_begin = {0, 2, 2}; }), "row_begin runs from 0 to 2"));
  CHECK(says(refused_columns([](auto& c) { c.row_begin = {0, 4, 3}; }), "row_begin decreases at state 0, action 0"));
  CHECK(says(refused_columns([](auto& c) { c.next[2] = 2; }), "state 1, action 0 leads to state 2"));
  CHECK(says(refused_columns([](auto& c) { c.next[2] = -1; }), "leads to state -1"));
  CHECK(says(refused_columns([](auto& c) {
               c.probability = {1, 0, 1};
             }),
             "state 0, action 0 leads to state 1 with probability 0"));
  CHECK(says(refused_columns([](auto& c) { c.probability[0] = not_a_number; }), "with probability nan"));
  CHECK(says(refused_columns([](auto& c) { c.probability[0] = 0.5; }), "sum to 1.25"));
  CHECK(says(refused_columns([](auto& c) { c.reward[1] = not_a_number; }), "the reward of state 1, action 0 is nan"));
  CHECK(says(refused_columns([](auto& c) { c.entry_reward[1] = infinity; }), "on the way to state 1 is inf"));
  CHECK(says(refused_columns([](auto& c) { c.reward[0] = 1; }), "the reward of state 0, action 0 is 1; expected -1"));
  CHECK(says(refused_columns([](auto& c) { c.terminal = {0, 1}; }), "state 1 is terminal and has transitions"));
  CHECK(says(refused_columns([](auto& c) { c.initial = {1, 1}; }), "initial sums to 2"));
}

TEST_CASE("A callable is asked once for each pair, in order") {
  std::vector<int> asked;
  const FiniteMdp mdp(3, 2, [&](int s, int a) {
    asked.push_back(2 * s + a);
    if (s == 2 || (s == 1 && a == 0)) return std::vector<Outcome<int>>{};
    return std::vector<Outcome<int>>{{.next = 1, .probability = 0.5}, {.next = s + a, .probability = 0.5, .reward = 4}};
  });
  CHECK(asked == std::vector{0, 1, 2, 3, 4, 5});
  CHECK(mdp.terminal(2));
  CHECK_FALSE(mdp.available(1, 0));
  CHECK(row(mdp, 0, 0) == std::vector{0.5, 0.5, 0.0});
  CHECK(mdp.reward(1, 1) == 2);
  CHECK(says(message_of([] { FiniteMdp(1, 1, [](int, int) { return std::vector<Outcome<int>>{{.next = 1}}; }); }),
             "state 0, action 0 leads to state 1; expected one in [0, 0]"));
  CHECK(says(message_of([] {
               FiniteMdp(1, 1, [](int, int) { return std::vector<Outcome<int>>{{.next = 0, .probability = -1}}; });
             }),
             "state 0, action 0 leads to state 0 with probability -1"));
}

TEST_CASE("An environment's ends become terminal states") {
  // Entered only by terminating: it is terminal itself, and what the environment lists for it isn't read.
  const FiniteMdp plain{Corridor{}};
  CHECK(plain.states() == 3);
  CHECK(plain.terminal(2));
  CHECK(plain.successors(2, 1).empty());
  CHECK(row(plain, 1, 1) == std::vector{0.0, 0.25, 0.75});
  CHECK(plain.reward(1, 1) == 7.5);
  CHECK(plain.reward(0, 1) == 0.2 * 2);
  CHECK(plain.reward(0, 0) == -1);
  CHECK(std::vector(plain.initial().begin(), plain.initial().end()) == std::vector{0.5, 0.5, 0.0});

  // Also entered with the episode going on: the outcome that terminates leads to one state more.
  for (const Corridor& env : {Corridor{.comes_back = true}, Corridor{.first = {0, 0, 1}}}) {
    const FiniteMdp more{env};
    CHECK(more.states() == 4);
    CHECK_FALSE(more.terminal(2));
    CHECK(more.terminal(3));
    CHECK(row(more, 2, 1) == std::vector{1.0, 0.0, 0.0, 0.0});
    CHECK(more.reward(2, 1) == 7);
    CHECK(row(more, 1, 1)[3] == 0.75);
    CHECK(row(more, 1, 1)[2] == (env.comes_back ? 0.25 : 0));
    CHECK(more.initial().size() == 4);
    CHECK(more.initial()[3] == 0);
    int last = -1;  // rows stay sorted
    for (const auto& to : more.successors(1, 1)) {
      CHECK(to.next > last);
      last = to.next;
    }
  }
  CHECK(says(message_of([] { FiniteMdp{Corridor{.first = {1, 0}}}; }), "initial has 2 entries; expected 3"));
}

TEST_CASE("Two outcomes that end in the same state add up, also where that is the additional one", "[E9]") {
  const auto outcomes = [](int s, int) {
    return std::vector<Outcome<int>>{{.next = 0, .probability = 0.25, .reward = 1, .terminated = true},
                                     {.next = 1, .probability = 0.25, .reward = 1, .terminated = true},
                                     {.next = 1 - s, .probability = 0.5, .reward = 1}};
  };
  const FiniteMdp mdp(2, 1, outcomes);
  CHECK(mdp.states() == 3);
  CHECK(row(mdp, 0, 0) == std::vector{0.0, 0.5, 0.5});
  CHECK(mdp.successors(0, 0).size() == 2);
  CHECK(mdp.reward(0, 0) == 1);
  CHECK_FALSE(mdp.has_entry_rewards());
}

TEST_CASE("Float models take half the room, and go back") {
  // 0.1 + 0.2 + 0.7 in float miss 1 by more than a double's tolerance.
  Entries entries;
  Rng rng{3};
  for (int s = 0; s < 50; ++s) {
    double p[4], alpha[] = {1, 1, 1, 1};
    rng.dirichlet(alpha, p);
    for (int k = 0; k < 4; ++k) entries.push_back({s, 0, (s + 3 * k) % 50, p[k], s % 2 == 0 ? 0.1 * k : 0.3});
  }
  const FiniteMdp<double> mdp(50, 1, entries);
  const FiniteMdp<float> half = mdp.as<float>();
  CHECK(half.memory() == 4 * (200 + 200 + 200 + 50 + 51));  // successors, numbers, rewards twice, row starts
  CHECK(half.reward(1, 0) == 0.3F);
  const FiniteMdp<double> back = half.as<double>();
  std::vector<double> v(50);
  std::vector<float> w(50);
  for (std::size_t i = 0; i < 50; ++i) v[i] = rng.normal(), w[i] = static_cast<float>(v[i]);
  for (int s = 0; s < 50; ++s) {
    CHECK(static_cast<double>(half.expectation(s, 0, w.data())) ==
          test::close(mdp.expectation(s, 0, v.data()), 0, 1e-6));
    CHECK(back.expectation(s, 0, v.data()) == test::close(mdp.expectation(s, 0, v.data()), 0, 1e-6));
  }
  // What is too small for a float is no entry of it.
  const FiniteMdp<double> rare(2, 1, Entries{{0, 0, 0, 1}, {0, 0, 1, 1e-60}, {1, 0, 0, 1}});
  CHECK(rare.transitions() == 3);
  CHECK(rare.as<float>().transitions() == 2);
  const FiniteMdp<float> direct(50, 1, entries);
  CHECK(direct.columns().probability == half.columns().probability);
}

TEST_CASE("A model with other rewards or another start is the same otherwise") {
  const FiniteMdp mdp(2, 2, Entries{{0, 0, 1, 0.5, 1}, {0, 0, 0, 0.5, 2}, {0, 1, 1, 1}, {1, 0, 0, 1}});
  const FiniteMdp other = mdp.with_rewards({1, 2, 3, 0});
  CHECK(other.reward(1, 0) == 3);
  CHECK_FALSE(other.has_entry_rewards());
  CHECK(other.columns().probability == mdp.columns().probability);
  CHECK(says(message_of([&] { mdp.with_rewards({1, 2, 3}); }), "reward has 3 entries; expected 4"));
  CHECK(mdp.with_initial({0, 1}).initial()[1] == 1);
  CHECK(says(message_of([&] { mdp.with_initial({1, 1}); }), "initial sums to 2"));
}

TEST_CASE("A model takes little more than its raw arrays") {
  // The specification's 1e6 states x 4 actions x 5 successors in float, a fiftieth of it: at most 1.3 times 8 bytes an
  // entry, rewards and row starts included.
  const int states = 20'000;
  const FiniteMdp<float> mdp(states, 4, [&](int s, int a) {
    std::vector<Outcome<int>> out;
    for (int k = 0; k < 5; ++k)
      out.push_back({.next = (7 * s + a + 1001 * k) % states, .probability = 0.2, .reward = 1.5});
    return out;
  });
  CHECK(mdp.transitions() == 400'000);
  CHECK(mdp.successors_each() == 5);
  CHECK(static_cast<double>(mdp.memory()) <= 1.3 * 400'000 * 8);
}
