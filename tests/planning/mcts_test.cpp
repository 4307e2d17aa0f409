// Monte Carlo tree search: the scores' numbers, exact worlds, and games against exhaustive search.
#include "valence/planning/mcts.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/mdp/step.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();

/// One step; action a pays its reward. Counts itself, so that a search that plays in it would show.
struct Arms {
  using State = int;
  using Action = int;
  Numbers reward = {.5, .5};
  bool terminated = true, truncated = false;
  int steps = 0;
  int reset(Rng&) { return steps = 0; }
  Step<int> step(int a, Rng&) {
    ++steps;
    return {.next = 7, .reward = reward[static_cast<std::size_t>(a)], .terminated = terminated, .truncated = truncated};
  }
  Discrete actions() const { return {static_cast<int>(reward.size())}; }
  template <class A>
  void archive(A& ar) {
    ar(reward, terminated, truncated, steps);
  }
};
static_assert(Environment<Arms>);

/// States 0 .. 3 in a row, one action, rewards 1, 2, 8, then the end.
struct Row {
  using State = int;
  using Action = int;
  int x = 0;
  int reset(Rng&) { return x = 0; }
  Step<int> step(int, Rng&) {
    constexpr double reward[3] = {1, 2, 8};
    ++x;
    return {.next = x, .reward = reward[x - 1], .terminated = x == 3};
  }
  Discrete actions() const { return {1}; }
};

/// M1 of the base, which never ends.
struct M1 {
  using State = int;
  using Action = int;
  int s = 0;
  int reset(Rng&) { return s = 0; }
  Step<int> step(int a, Rng& rng) {
    constexpr double to_one[2][2] = {{.3, .8}, {.5, .1}}, reward[2][2] = {{1, 0}, {.5, 2}};
    const double r = reward[s][a];
    s = rng.bernoulli(to_one[s][a]) ? 1 : 0;
    return {.next = s, .reward = r};
  }
  Discrete actions() const { return {2}; }
};

/// A coin falls, then its side has to be named: 1 for the right answer, .25 more for saying 1 rightly.
struct Coin {
  using State = int;
  enum class Action { zero, one };
  int s = 2;
  int reset(Rng&) { return s = 2; }
  Step<int> step(Action a, Rng& rng) {
    if (s == 2) return {.next = s = rng.below(2)};
    return {.next = s, .reward = s == static_cast<int>(a) ? 1 + .25 * s : 0, .terminated = true};
  }
  Discrete actions() const { return {2}; }
};

struct Nim {
  struct State {
    int stones, player;
    bool operator==(const State&) const = default;
  };
  using Action = int;
  int start = 15;
  int players() const { return 2; }
  State initial(Rng&) const { return {start, 0}; }
  int to_move(const State& s) const { return s.player; }
  std::vector<int> actions(const State& s, int) const {
    std::vector<int> take;
    for (int k = 1; k <= 3 && k <= s.stones; ++k) take.push_back(k);
    return take;
  }
  Step<State, std::array<double, 2>> next(const State& s, std::span<const int> joint, Rng&) const {
    const int left = s.stones - joint[static_cast<std::size_t>(s.player)];
    std::array<double, 2> reward{};
    if (left == 0) {  // who takes the last stone wins
      reward = {-1, -1};
      reward[static_cast<std::size_t>(s.player)] = 1;
    }
    return {.next = {left, 1 - s.player}, .reward = reward, .terminated = left == 0};
  }
};
static_assert(TurnGame<Nim>);

/// A random tree of `depth` moves: who moves where, and what a move pays to whom, is drawn, so the same player may
/// move several times in a row. The value by exhaustive search: everyone takes what is best for himself (max^n).
struct RandomTree {
  using State = int;
  using Action = int;
  struct Node {
    int mover = 0, depth = 0;
    std::vector<int> child = {};
    std::vector<Numbers> reward = {};
    Numbers value = {};
    std::size_t best = 0;
  };
  int count, depth;
  double discount;
  bool zero_sum;
  std::vector<Node> nodes = {};

  RandomTree(int players, int tree_depth, double tree_discount, bool sums_to_zero, Rng& rng)
      : count(players), depth(tree_depth), discount(tree_discount), zero_sum(sums_to_zero) {
    do {
      nodes.clear();
      grow(0, rng);
      solve();
    } while (smallest_gap() < .1);  // a question of the problem: near ties take long to tell apart
  }
  int players() const { return count; }
  int initial(Rng&) const { return 0; }
  int to_move(int s) const { return nodes[static_cast<std::size_t>(s)].mover; }
  Discrete actions(int s, int) const { return {static_cast<int>(nodes[static_cast<std::size_t>(s)].child.size())}; }
  Step<int, Numbers> next(int s, std::span<const int> joint, Rng&) const {
    const Node& node = nodes[static_cast<std::size_t>(s)];
    const auto a = static_cast<std::size_t>(joint[static_cast<std::size_t>(node.mover)]);
    return {.next = node.child[a],
            .reward = node.reward[a],
            .terminated = nodes[static_cast<std::size_t>(node.child[a])].child.empty()};
  }

  Numbers after(int s, std::size_t a) const {
    const Node& node = nodes[static_cast<std::size_t>(s)];
    Numbers q = node.reward[a];
    for (std::size_t p = 0; p < q.size(); ++p) q[p] += discount * value(node.child[a])[p];
    return q;
  }
  const Numbers& value(int s) const { return nodes[static_cast<std::size_t>(s)].value; }
  std::size_t best(int s) const { return nodes[static_cast<std::size_t>(s)].best; }
  std::vector<int> line() const {
    std::vector<int> moves;
    for (int s = 0; !nodes[static_cast<std::size_t>(s)].child.empty();) {
      moves.push_back(static_cast<int>(best(s)));
      s = nodes[static_cast<std::size_t>(s)].child[best(s)];
    }
    return moves;
  }

 private:
  int grow(int level, Rng& rng) {
    const auto index = nodes.size();
    nodes.push_back({rng.below(count), level});
    if (level == depth) return static_cast<int>(index);
    const int branches = 2 + rng.below(2);
    for (int a = 0; a < branches; ++a) {
      const int to = grow(level + 1, rng);
      nodes[index].child.push_back(to);
      Numbers reward(static_cast<std::size_t>(count));
      for (double& r : reward) r = (level + 1 == depth ? 1 : .2) * rng.uniform();
      if (zero_sum) reward[1] = -reward[0];
      nodes[index].reward.push_back(reward);
    }
    return static_cast<int>(index);
  }
  void solve() {
    for (std::size_t s = nodes.size(); s-- > 0;) {  // children stand behind their parents
      Node& node = nodes[s];
      node.value.assign(static_cast<std::size_t>(count), 0);
      const auto p = static_cast<std::size_t>(node.mover);
      for (std::size_t a = 0; a < node.child.size(); ++a) {
        const Numbers q = after(static_cast<int>(s), a);
        if (a == 0 || q[p] > node.value[p]) node.value = q, node.best = a;
      }
    }
  }
  double smallest_gap() const {
    double gap = 1;
    for (int s = 0; s < static_cast<int>(nodes.size()); ++s)
      for (std::size_t a = 0; a < nodes[static_cast<std::size_t>(s)].child.size(); ++a)
        if (a != best(s)) {
          const auto p = static_cast<std::size_t>(nodes[static_cast<std::size_t>(s)].mover);
          gap = std::min(gap, after(s, best(s))[p] - after(s, a)[p]);
        }
    return gap;
  }
};
static_assert(TurnGame<RandomTree>);

}  // namespace

TEST_CASE("UCB and PUCT scores", "[L9][L10][L11]") {
  CHECK(ucb_score(.4, 30, 7) == close(1.385784297133, 1e-12));
  CHECK(ucb_score(0, 100, 10) == close(.959705182, 1e-9));  // with the child's own count in the logarithm: .678614042
  CHECK(ucb_score(.5, 100, 10, 0) == .5);
  CHECK(ucb_score(-1e300, 100, 0) == std::numeric_limits<double>::infinity());
  CHECK(ucb_score(.3, 1, 1) == .3);
  CHECK(puct_score(.4, .2, 30, 7) == close(.571163299220, 1e-12));
  CHECK(puct_score(0, .9, 0, 0) > puct_score(0, .1, 0, 0));
  // The rules are the functions.
  const ActionStatistics some{.visits = 7, .value = .4, .prior = .2};
  CHECK(Uct{}(some, Uct{}.parent(30)) == ucb_score(.4, 30, 7));
  CHECK(Puct{}(some, Puct{}.parent(30)) == puct_score(.4, .2, 30, 7));
  CHECK(Puct{.exploration = 2, .first_value = -.5}({.visits = 0, .value = 9, .prior = .2}, 3) == close(.7, 1e-15));
}

TEST_CASE("The first visits: priors decide, then counts and means are those of what was seen", "[L10][L11]") {
  Rng rng{1};
  const auto priors = [](int state, std::span<double> p) {
    CHECK(state == 3);
    p[0] = .1, p[1] = .9;
  };
  const auto first = mcts(Arms{}, 3, Puct{}, WithPriors{priors, NoEvaluation{}}, rng, {.simulations = 1});
  CHECK(first.actions[0].visits == 0);
  CHECK(first.actions[1].visits == 1);
  CHECK(first.actions[1].value == .5);
  CHECK(first.actions[1].prior == .9);
  CHECK(first.action() == 1);
  CHECK(first.value == Numbers{.5});
  CHECK(first.principal_variation == std::vector<int>{1});
  CHECK(first.nodes == 1);

  // However good the first seems, every action is tried before one is tried twice.
  const auto all = mcts(Arms{{1e6, -3, .25}}, 0, Uct{}, NoEvaluation{}, rng, {.simulations = 3});
  for (const auto& a : all.actions) CHECK(a.visits == 1);
  CHECK(all.actions[0].value == 1e6);
  CHECK(all.actions[1].value == -3);
  CHECK(all.actions[2].value == .25);
  CHECK(all.action() == 0);  // of equally many visits the best
  CHECK(mcts(Arms{{.1, .7, .7}}, 0, Uct{}, NoEvaluation{}, rng, {.simulations = 3}).best == 1);  // then the first
}

TEST_CASE("Returns are discounted in the tree and in rollouts: each simulation of a fixed row gives 1 + 2/2 + 8/4") {
  Rng rng{2};
  for (const std::size_t n : {1u, 2u, 3u, 10u}) {
    CAPTURE(n);
    const auto found = mcts(Row{}, 0, Uct{}, RandomRollout{}, rng, {.simulations = n, .discount = .5});
    CHECK(found.value == Numbers{4});
    CHECK(found.actions[0].visits == n);
    CHECK(found.actions[0].value == 4);
    CHECK(found.nodes == std::min<std::size_t>(n + 1, 3));
    CHECK(found.cut == 0);
    CHECK(found.principal_variation.size() == std::min<std::size_t>(n, 3));
  }
  // Without rollouts a node sees the rewards up to it: 1, then 2, then 4.
  CHECK(mcts(Row{}, 0, Uct{}, NoEvaluation{}, rng, {.simulations = 2, .discount = .5}).value == Numbers{1.5});
  // A value function stands in for the rest; where the row has ended it isn't asked.
  const auto value = [](int x) { return x == 3 ? poison : x == 1 ? 6.0 : 8.0; };
  CHECK(mcts(Row{}, 0, Uct{}, value, rng, {.simulations = 40, .discount = .5}).value == Numbers{4});
  // From the middle of an episode.
  Row later;
  later.step(0, rng);
  CHECK(mcts(later, 1, Uct{}, RandomRollout{}, rng, {.simulations = 9, .discount = .5}).value == Numbers{6});
}

TEST_CASE("Terminated ends, truncated asks the evaluation, and the depth limit is reported", "[V1]") {
  Rng rng{3};
  const auto ten = [](int state) {
    CHECK(state == 7);
    return 10.0;
  };
  const auto options = MctsOptions{.simulations = 5, .discount = .5};
  CHECK(mcts(Arms{}, 0, Uct{}, ten, rng, options).value == Numbers{.5});
  CHECK(mcts(Arms{.truncated = true}, 0, Uct{}, ten, rng, options).value == Numbers{.5});
  const Arms cut{.terminated = false, .truncated = true};
  CHECK(mcts(cut, 0, Uct{}, ten, rng, options).value == Numbers{5.5});
  CHECK(mcts(cut, 0, Uct{}, RandomRollout{}, rng, options).value == Numbers{.5});
  CHECK(mcts(cut, 0, Uct{}, RandomRollout{}, rng, options).cut == 0);
  // Never ends: 3 steps of .5 and no more; with a value, what the last state is worth.
  const Arms endless{.terminated = false};
  const auto limited = mcts(endless, 0, Uct{}, RandomRollout{}, rng, {.simulations = 50, .depth = 3});
  CHECK(limited.value == Numbers{1.5});
  CHECK(limited.cut == 50);
  const auto valued = mcts(endless, 7, Uct{}, ten, rng, {.simulations = 200, .depth = 3, .discount = 1});
  CHECK(valued.value[0] == close(11.5, .02));  // leaves at depth 1 and 2, then the limit
  CHECK(valued.cut > 150);
  CHECK(valued.principal_variation.size() == 3);
}

TEST_CASE("The caller's world is not touched, and a seed has one answer", "[L13]") {
  Rng setup{4};
  Arms env{{.3, .8, .1}, false};
  env.step(1, setup);
  const auto bytes = to_bytes(env);
  const auto search = [&](std::uint64_t seed) {
    Rng rng{seed};
    const auto found = mcts(env, 7, Uct{}, RandomRollout{}, rng, {.simulations = 300, .depth = 6, .discount = .9});
    Numbers all = found.value;
    for (const auto& a : found.actions) all.push_back(a.value), all.push_back(static_cast<double>(a.visits));
    for (const int a : found.principal_variation) all.push_back(a);
    all.push_back(static_cast<double>(rng.position()));
    return all;
  };
  const Numbers once = search(11);
  CHECK(to_bytes(env) == bytes);
  CHECK(search(11) == once);
  CHECK(search(12) != once);
  const Nim nim;
  Nim::State state{15, 1};
  Rng rng{5};
  mcts(nim, state, Uct{}, RandomRollout{}, rng);
  CHECK(state == Nim::State{15, 1});
}

TEST_CASE("Chance: M1's three-step values by search are those of three sweeps") {
  const double expected[2] = {3.1744, 4.0268};  // the base's third sweep of value iteration
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    for (int s = 0; s < 2; ++s) {
      CAPTURE(seed, s);
      Rng rng{seed};
      const auto found = mcts(M1{s}, s, Uct{.exploration = 3}, RandomRollout{}, rng,
                              {.simulations = 20000, .depth = 3, .discount = .9});
      CHECK(found.action() == s);
      CHECK(found.actions[static_cast<std::size_t>(s)].value == close(expected[s], .02));
      CHECK(found.actions[static_cast<std::size_t>(1 - s)].visits > 0);
      CHECK(found.nodes > 40);
      CHECK(found.nodes <= 1 + 4 + 16 + 64);  // a node a sequence of actions and states
      CHECK(found.cut == 20000);
    }
}

TEST_CASE("Closed loop answers the coin, open loop has to guess") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    CAPTURE(seed);
    Rng rng{seed};
    // Closed: (1 + 1.25) / 2. Open: always say one, 1.25 / 2.
    const auto closed = mcts(Coin{}, 2, Uct{}, NoEvaluation{}, rng, {.simulations = 20000});
    const auto open = mcts(Coin{}, 2, Uct{}, NoEvaluation{}, rng, {.simulations = 20000, .open_loop = true});
    CHECK(closed.value[0] == close(1.125, .03));
    CHECK(open.value[0] == close(.625, .06));  // a node tries the arm that is .125 worse in about a tenth of its visits
    CHECK(closed.nodes == 5);
    CHECK(open.nodes == 3);
    CHECK(open.principal_variation.back() == Coin::Action::one);
  }
}

TEST_CASE("Nim: 15 stones are won by taking 3, 16 are lost, whoever is to move", "[L12]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const int player : {0, 1}) {
      CAPTURE(seed, player);
      const auto p = static_cast<std::size_t>(player);
      Rng rng{seed};
      const auto won = mcts(Nim{}, Nim::State{15, player}, Uct{}, RandomRollout{}, rng, {.simulations = 20000});
      CHECK(won.action() == 3);
      CHECK(won.value[p] > 0);
      CHECK(won.value[1 - p] == -won.value[p]);
      CHECK(won.actions[2].value > .5);
      const auto lost = mcts(Nim{}, Nim::State{16, player}, Uct{}, RandomRollout{}, rng, {.simulations = 20000});
      CHECK(lost.value[p] < 0);
      CHECK(lost.actions.size() == 3);
    }
}

TEST_CASE("Depth-4 trees: two players, the search finds the minimax value, move and line", "[L12]") {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    CAPTURE(seed);
    Rng rng{seed};
    const RandomTree tree(2, 4, 1, true, rng);
    const Numbers exact = tree.value(0);
    const auto check = [&](const auto& rule, const auto& evaluation) {
      const auto found = mcts(tree, 0, rule, evaluation, rng, {.simulations = 30000});
      CHECK(found.best == tree.best(0));
      CHECK(found.principal_variation == tree.line());
      CHECK(found.value[0] == close(exact[0], 0, .03));
      CHECK(found.value[1] == -found.value[0]);
    };
    check(Uct{}, NoEvaluation{});
    check(Uct{}, RandomRollout{});
    check(Puct{}, NoEvaluation{});
  }
}

TEST_CASE("Three players, any of whom may move twice in a row, rewards on the way and a discount", "[L12]") {
  for (std::uint64_t seed = 10; seed < 16; ++seed) {
    CAPTURE(seed);
    Rng rng{seed};
    const RandomTree tree(3, 4, .9, false, rng);
    const Numbers exact = tree.value(0);
    const auto found = mcts(tree, 0, Uct{}, RandomRollout{}, rng, {.simulations = 30000, .discount = .9});
    CHECK(found.best == tree.best(0));
    CHECK(found.principal_variation == tree.line());
    // Another player's exploration costs a player up to the range of returns, not only the gap between two moves.
    for (std::size_t p = 0; p < 3; ++p) CHECK(found.value[p] == close(exact[p], 0, .1));
    // The search from each state further down, too.
    const int below = tree.nodes[0].child[0];
    CHECK(mcts(tree, below, Uct{}, NoEvaluation{}, rng, {.simulations = 10000, .discount = .9}).best ==
          tree.best(below));
  }
}

TEST_CASE("An evaluation with an entry a player, exact: one simulation an action gives its value", "[L12]") {
  Rng rng{6};
  const RandomTree tree(3, 4, .9, false, rng);
  const auto exact = [&](int s, std::span<double> out) { std::ranges::copy(tree.value(s), out.begin()); };
  const auto n = tree.nodes[0].child.size();
  const auto found = mcts(tree, 0, Uct{}, exact, rng, {.simulations = n, .discount = .9});
  for (std::size_t a = 0; a < n; ++a)
    CHECK(found.actions[a].value == close(tree.after(0, a)[static_cast<std::size_t>(tree.to_move(0))], 1e-14));
  CHECK(found.best == tree.best(0));
}

TEST_CASE("Progress sees every simulation and may end the search") {
  Rng rng{7};
  std::size_t calls = 0;
  const auto stop = [&](const ProgressEvent& e) {
    CHECK(e.step == ++calls);
    CHECK(e.total == 1000);
    return calls < 25;
  };
  const auto found = mcts(Nim{}, Nim::State{9, 0}, Uct{}, RandomRollout{}, rng, {}, stop);
  CHECK(found.simulations == 25);
  std::uint64_t visits = 0;
  for (const auto& a : found.actions) visits += a.visits;
  CHECK(visits == 25);
}

TEST_CASE("The tree grows in a few vectors: no allocation a node") {
  if (!test::Allocations::available()) return;
  const auto allocations = [](std::size_t simulations) {
    Rng rng{8};
    test::Allocations counter;
    const auto found =
        mcts(M1{}, 0, Uct{.exploration = 3}, RandomRollout{}, rng, {.simulations = simulations, .depth = 12});
    CHECK(found.nodes > simulations / 2);
    return counter.count();
  };
  const std::size_t few = allocations(500), many = allocations(8000);
  CHECK(few < 100);
  CHECK(many < few + 30);  // four doublings of five vectors
}

TEST_CASE("Search says what is wrong") {
  Rng rng{9};
  const auto run = [&](const auto& world, const auto& state, const auto& rule, const auto& evaluation,
                       const MctsOptions& options = {}) {
    return message_of([&] { mcts(world, state, rule, evaluation, rng, options); });
  };
  CHECK(says(run(Arms{}, 0, Uct{}, NoEvaluation{}, {.simulations = 0}), "mcts", "simulations"));
  CHECK(says(run(Arms{}, 0, Uct{}, NoEvaluation{}, {.depth = 0}), "depth"));
  CHECK(says(run(Arms{}, 0, Uct{}, NoEvaluation{}, {.discount = 1.1}), "discount", "1.1"));
  CHECK(says(run(Arms{}, 0, Uct{poison}, NoEvaluation{}), "exploration", "nan"));
  CHECK(says(run(Arms{}, 0, Puct{.first_value = poison}, NoEvaluation{}), "score"));
  CHECK(says(run(Arms{{1, poison}}, 0, Uct{}, NoEvaluation{}), "reward of player 0", "step 1", "nan"));
  CHECK(says(run(Arms{{}}, 0, Uct{}, NoEvaluation{}), "no action is legal after 0 steps"));
  CHECK(says(run(Arms{.terminated = false}, 0, Uct{}, [](int) { return poison; }), "leaf's value", "nan"));
  CHECK(says(run(Arms{}, 0, Puct{}, WithPriors{[](int, std::span<double> p) { p[0] = .3, p[1] = .3; }}), "priors",
             "0.6"));
  CHECK(says(run(Nim{}, Nim::State{5, 0}, Uct{}, [](const Nim::State&) { return 0.0; }), "2 players"));
  CHECK(says(run(Nim{}, Nim::State{0, 0}, Uct{}, NoEvaluation{}), "no action is legal"));
  CHECK(says(run(Nim{}, Nim::State{5, 2}, Uct{}, NoEvaluation{}), "player 2", "[0, 1]"));

  // Chance between states that can't be compared and have different actions.
  struct Blind {
    struct State {
      int actions;
    };
    using Action = int;
    int players() const { return 1; }
    State initial(Rng&) const { return {1}; }
    int to_move(const State&) const { return 0; }
    Discrete actions(const State& s, int) const { return {s.actions}; }
    Step<State, Numbers> next(const State&, std::span<const int>, Rng& random) const {
      return {.next = {1 + random.below(3)}, .reward = {0}};
    }
  };
  CHECK(says(run(Blind{}, Blind::State{1}, Uct{}, NoEvaluation{}), "open loop", "operator=="));
}
