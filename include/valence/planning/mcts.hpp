#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/core/random/exact.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/game.hpp"
#include "valence/mdp/spaces.hpp"

/// Monte Carlo tree search over whatever can be played from a copy: environments with `Discrete` actions, and games in
/// which any number of players move in turns. One search, put together from a rule that chooses (`Uct`, `Puct`) and an
/// evaluation of new leaves (`RandomRollout`, `NoEvaluation`, a value function of one's own, `WithPriors`).
namespace valence {

/// What is known of an action in a node of the tree.
struct ActionStatistics {
  std::uint64_t visits = 0;  ///< simulations that took it; 0 until one did
  double value = 0;          ///< mean of their returns, to the player whose turn it is; 0 without visits
  double prior = 0;          ///< probability that the evaluation gives it; uniform where it gives none
};

namespace detail {

// The scores, from what all actions of a node share. A node without visits counts as visited once.
inline double log_visits(std::uint64_t visits) { return visits <= 1 ? 0 : exact_log(static_cast<double>(visits)); }
inline double root_of_visits(std::uint64_t visits) { return visits <= 1 ? 1 : std::sqrt(static_cast<double>(visits)); }
inline double ucb(double mean, double log_parent, std::uint64_t visits, double exploration) {
  if (visits == 0) return std::numeric_limits<double>::infinity();
  return mean + exploration * std::sqrt(log_parent / static_cast<double>(visits));
}
inline double puct(double mean, double prior, double root_parent, std::uint64_t visits, double exploration) {
  return mean + exploration * prior * root_parent / (1 + static_cast<double>(visits));
}

}  // namespace detail

/// mean + exploration sqrt(ln(parent_visits) / visits) (UCB1: Auer et al. 2002; UCT: Kocsis & Szepesvari 2006). The
/// logarithm is of the parent's visits, not the action's own. Infinite for 0 visits: untried ranks above all tried.
inline double ucb_score(double mean, std::uint64_t parent_visits, std::uint64_t visits,
                        double exploration = std::numbers::sqrt2) {
  return detail::ucb(mean, detail::log_visits(parent_visits), visits, exploration);
}

/// mean + exploration prior sqrt(max(parent_visits, 1)) / (1 + visits) (PUCT: Silver et al. 2017, where the root is 0
/// at a fresh node; at least 1, so that priors also decide the first visit).
inline double puct_score(double mean, double prior, std::uint64_t parent_visits, std::uint64_t visits,
                         double exploration = 1.25) {
  return detail::puct(mean, prior, detail::root_of_visits(parent_visits), visits, exploration);
}

/// A rule that chooses in the tree. `rule.parent(visits)` is computed once a node, from the sum of its actions' visits;
/// `rule(action, parent)` is an action's score, and the first of the largest is taken.
template <class R>
concept SelectionRule =
    std::copyable<R> && requires(const R rule, const ActionStatistics& action, std::uint64_t visits) {
      { rule(action, rule.parent(visits)) } -> std::convertible_to<double>;
    };

/// UCT: `ucb_score`. The constant is for returns within [0, 1]: multiply it by the width of their range elsewhere.
struct Uct {
  double exploration = std::numbers::sqrt2;  ///< >= 0
  double parent(std::uint64_t visits) const { return detail::log_visits(visits); }
  double operator()(const ActionStatistics& action, double log_parent) const {
    return detail::ucb(action.value, log_parent, action.visits, exploration);
  }
};

/// PUCT: `puct_score`, for evaluations that give priors. An action without visits counts as worth `first_value`.
struct Puct {
  double exploration = 1.25;  ///< >= 0; for returns within [0, 1] or [-1, 1]
  double first_value = 0;     ///< finite
  double parent(std::uint64_t visits) const { return detail::root_of_visits(visits); }
  double operator()(const ActionStatistics& action, double root_parent) const {
    return detail::puct(action.visits == 0 ? first_value : action.value, action.prior, root_parent, action.visits,
                        exploration);
  }
};

/// Plays uniformly random legal actions from a new leaf to the end of the episode, or to the depth limit; the leaf is
/// worth the discounted rewards on the way. Kocsis & Szepesvari (2006).
struct RandomRollout {};
/// A new leaf is worth 0: only rewards inside the tree count.
struct NoEvaluation {};

/// An evaluation with a policy's probabilities: `priors(state, p)` fills p, one for each legal action in order, which
/// sum to 1. Any evaluation of one's own may have such a member: one network may serve both.
///
///     WithPriors{[&](const State& s, std::span<double> p) { ... }, [&](const State& s) { return value(s); }}
template <class Priors, class Evaluation = RandomRollout>
struct WithPriors {
  Priors policy;
  Evaluation evaluation = {};
  template <class State>
  void priors(const State& state, std::span<double> p) const {
    policy(state, p);
  }
};
template <class Priors>
WithPriors(Priors) -> WithPriors<Priors, RandomRollout>;
template <class Priors, class Evaluation>
WithPriors(Priors, Evaluation) -> WithPriors<Priors, Evaluation>;

namespace detail {

template <class T>
inline constexpr bool has_separate_priors = false;
template <class Priors, class Evaluation>
inline constexpr bool has_separate_priors<WithPriors<Priors, Evaluation>> = true;

}  // namespace detail

struct MctsOptions {
  std::size_t simulations = 1000;  ///< at least 1; each adds one node at most
  std::size_t depth = 200;         ///< actions of one simulation, in the tree and in a rollout together; at least 1
  double discount = 1;             ///< in [0, 1], of what follows an action, inside the tree and in rollouts
  bool open_loop = false;          ///< nodes stand for sequences of actions, whatever states these led to
};

/// What a search found out about an action of the root.
template <class Action>
struct SearchedAction : ActionStatistics {
  Action action;
};

/// What a search gives back.
template <class Action>
struct SearchResult {
  std::vector<SearchedAction<Action>> actions = {};  ///< of the root, in the world's order
  std::size_t best = 0;  ///< index of the most visited; of equals the one of highest value; of equals the first
  std::vector<double> value = {};                ///< a player: mean return of all simulations
  std::vector<Action> principal_variation = {};  ///< the best action, the most visited state after it, and so on
  std::size_t nodes = 0;
  std::size_t simulations = 0;  ///< fewer than asked for where `progress` stopped it
  std::size_t cut = 0;          ///< simulations that the depth limit ended

  const Action& action() const { return actions[best].action; }
};

namespace detail {

/// A world as the search sees it: a position that begins again at the root. An environment is a game of one player.
template <class E>
class EnvironmentWorld {
 public:
  using State = typename E::State;
  using Action = typename E::Action;
  static_assert(
      requires(const E env) {
        { env.actions() } -> std::convertible_to<Discrete>;
      }, "valence: mcts needs an environment whose actions() are Discrete");
  static_assert(SingleReward<E>, "valence: mcts needs an environment whose reward is one number");

  EnvironmentWorld(const E& env, State state)
      : root_(&env), root_state_(std::move(state)), env_(env), state_(root_state_) {}
  void restart() {
    env_ = *root_;
    state_ = root_state_;
  }
  const State& state() const { return state_; }
  int players() const { return 1; }
  int mover() const { return 0; }
  template <class F>
  void each_action(F&& f) const {
    const int n = Discrete(env_.actions()).n;
    for (int a = 0; a < n; ++a) f(static_cast<Action>(a));
  }
  /// Rewards by player; gives back the flags.
  template <class F>
  std::pair<bool, bool> step(const Action& action, Rng& rng, F&& reward) {
    auto step = env_.step(action, rng);
    state_ = std::move(step.next);
    reward(0, static_cast<double>(step.reward));
    return {static_cast<bool>(step.terminated), static_cast<bool>(step.truncated)};
  }

 private:
  const E* root_;
  State root_state_;
  E env_;
  State state_;
};

template <class G>
class GameWorld {
 public:
  using State = typename G::State;
  using Action = typename G::Action;
  static_assert(TurnGame<G>, "valence: mcts needs a game of turns: `int to_move(const State&) const`");

  GameWorld(const G& game, State state) : game_(&game), root_state_(std::move(state)), state_(root_state_) {
    check_positive("mcts", "players", players());
  }
  void restart() { state_ = root_state_; }
  const State& state() const { return state_; }
  int players() const { return game_->players(); }
  int mover() const {
    const int player = game_->to_move(state_);
    if (player < 0 || player >= players())
      fail("mcts", "player {} is to move; expected one in [0, {}]", player, players() - 1);
    return player;
  }
  template <class F>
  void each_action(F&& f) const {
    for_each_action(*game_, state_, mover(), f);
  }
  template <class F>
  std::pair<bool, bool> step(const Action& action, Rng& rng, F&& reward) {
    joint_.assign(static_cast<std::size_t>(players()), action);  // only the mover's entry is read
    auto step = game_->next(state_, std::span<const Action>(joint_), rng);
    state_ = std::move(step.next);
    using Index = decltype(step.reward.size());
    check_size("mcts", "a step's reward", static_cast<std::size_t>(step.reward.size()), joint_.size());
    for (int p = 0; p < players(); ++p) reward(p, static_cast<double>(step.reward[static_cast<Index>(p)]));
    return {static_cast<bool>(step.terminated), static_cast<bool>(step.truncated)};
  }

 private:
  const G* game_;
  State root_state_, state_;
  std::vector<Action> joint_;
};

template <class World, class Rule, class Evaluation>
class TreeSearch {
  using State = typename World::State;
  using Action = typename World::Action;
  using Index = std::uint32_t;
  static constexpr Index none = (std::numeric_limits<Index>::max)();
  static constexpr auto where = "mcts";
  /// Can successors of one action be told apart?
  static constexpr bool comparable = std::equality_comparable<State>;

 public:
  TreeSearch(World world, const Rule& rule, const Evaluation& evaluation, Rng& rng, const MctsOptions& options)
      : world_(std::move(world)),
        rule_(rule),
        evaluation_(evaluation),
        rng_(rng),
        options_(options),
        players_(static_cast<std::size_t>(world_.players())),
        value_(players_),
        mean_(players_),
        closed_(comparable && !options.open_loop) {
    add_node();
    expand(0, 0);
  }

  SearchResult<Action> run(Progress progress) {
    SearchResult<Action> result;
    while (result.simulations < options_.simulations) {
      simulate();
      ++result.simulations;
      const double count = static_cast<double>(result.simulations);
      for (std::size_t p = 0; p < players_; ++p) mean_[p] += (value_[p] - mean_[p]) / count;
      if (!progress({.step = result.simulations,
                     .total = options_.simulations,
                     .task = "mcts",
                     .metric = "value",
                     .value = mean_[static_cast<std::size_t>(nodes_[0].mover)]}))
        break;
    }
    const Node& root = nodes_[0];
    for (Index e = root.first_edge; e < root.first_edge + root.edges; ++e)
      result.actions.push_back({edges_[e].statistics, actions_[e]});
    result.best = best_edge(root) - root.first_edge;
    result.value = mean_;
    result.nodes = nodes_.size();
    result.cut = cut_;
    for (Index node = 0; node != none && nodes_[node].visits > 0;) {
      const Index e = best_edge(nodes_[node]);
      result.principal_variation.push_back(actions_[e]);
      node = none;
      for (Index c = edges_[e].first_child; c != none; c = nodes_[c].sibling)
        if (node == none || nodes_[c].visits > nodes_[node].visits) node = c;
    }
    return result;
  }

 private:
  struct Node {
    Index first_edge = none, edges = 0;  // no edges before it is expanded
    Index sibling = none;                // another state after the same action
    int mover = 0;
    std::uint64_t visits = 0;  // simulations that chose here: the sum of the edges'
  };
  struct Edge {
    ActionStatistics statistics = {};
    Index first_child = none;
  };
  struct Visit {
    Index node, edge;
  };

  Index add_node() {
    if (nodes_.size() >= none) fail(where, "the tree has {} nodes; expected fewer simulations", nodes_.size());
    nodes_.emplace_back();
    if constexpr (comparable)
      if (closed_) states_.push_back(world_.state());
    return static_cast<Index>(nodes_.size() - 1);
  }

  /// Lists the actions of the world's position in a node that has none yet.
  void expand(Index index, std::size_t depth) {
    const std::size_t first = edges_.size();
    world_.each_action([&](const Action& action) {
      edges_.emplace_back();
      actions_.push_back(action);
    });
    const std::size_t n = edges_.size() - first;
    if (n == 0)
      fail(where, "no action is legal after {} steps, where nothing terminated; expected at least one", depth);
    if (edges_.size() >= none) fail(where, "the tree has {} actions; expected fewer simulations", edges_.size());
    priors_.assign(n, 1 / static_cast<double>(n));
    if constexpr (requires { evaluation_.priors(world_.state(), std::span<double>(priors_)); }) {
      evaluation_.priors(world_.state(), std::span<double>(priors_));
      check_probabilities(where, "priors", std::span<const double>(priors_));
    }
    for (std::size_t i = 0; i < n; ++i) edges_[first + i].statistics.prior = priors_[i];
    Node& node = nodes_[index];
    node.first_edge = static_cast<Index>(first);
    node.edges = static_cast<Index>(n);
    node.mover = world_.mover();
  }

  Index select(const Node& node) const {
    Index best = none;
    double highest = 0;
    const auto parent = rule_.parent(node.visits);
    for (Index e = node.first_edge; e < node.first_edge + node.edges; ++e) {
      const double score = static_cast<double>(rule_(edges_[e].statistics, parent));
      if (std::isnan(score)) fail(where, "the rule's score is nan; expected a number");
      if (best == none || score > highest) best = e, highest = score;
    }
    return best;
  }

  /// Most visited, then most worth, then first.
  Index best_edge(const Node& node) const {
    Index best = node.first_edge;
    for (Index e = best + 1; e < node.first_edge + node.edges; ++e) {
      const ActionStatistics &a = edges_[e].statistics, &b = edges_[best].statistics;
      if (a.visits > b.visits || (a.visits == b.visits && a.value > b.value)) best = e;
    }
    return best;
  }

  /// The node of the state that the edge led to now; `created` says that it is new.
  Index child(Index edge, bool& created) {
    Index c = edges_[edge].first_child;
    if constexpr (comparable)
      if (closed_)
        while (c != none && !(states_[c] == world_.state())) c = nodes_[c].sibling;
    created = c == none;
    if (created) {
      c = add_node();
      nodes_[c].sibling = edges_[edge].first_child;
      edges_[edge].first_child = c;
    }
    return c;
  }

  /// One step in the world; its rewards go to the end of `rewards_`.
  std::pair<bool, bool> step(const Action& action) {
    const std::size_t first = rewards_.size();
    rewards_.resize(first + players_);
    return world_.step(action, rng_, [&](int player, double reward) {
      if (!std::isfinite(reward))
        fail(where, "the reward of player {} in step {} is {}; expected a finite number", player, first / players_ + 1,
             reward);
      rewards_[first + static_cast<std::size_t>(player)] = reward;
    });
  }

  /// value_ = r + discount value_, for the steps from `last` - 1 down to `first`.
  void discount_rewards(std::size_t first, std::size_t last) {
    for (std::size_t t = last; t-- > first;)
      for (std::size_t p = 0; p < players_; ++p) value_[p] = rewards_[t * players_ + p] + options_.discount * value_[p];
  }

  void simulate() {
    world_.restart();
    path_.clear();
    rewards_.clear();
    std::fill(value_.begin(), value_.end(), 0.0);
    for (Index node = 0;;) {
      if (path_.size() == options_.depth) {
        ++cut_;
        evaluate(evaluation_, false);
        break;
      }
      if (nodes_[node].edges == 0)
        expand(node, path_.size());
      else if (!closed_)
        check_same_actions(nodes_[node]);
      const Index edge = select(nodes_[node]);
      path_.push_back({node, edge});
      const auto [terminated, truncated] = step(actions_[edge]);
      if (terminated) break;
      if (truncated) {
        evaluate(evaluation_, false);
        break;
      }
      bool created = false;
      node = child(edge, created);
      if (created) {
        evaluate(evaluation_, true);
        break;
      }
    }
    for (std::size_t t = path_.size(); t-- > 0;) {
      discount_rewards(t, t + 1);
      Node& node = nodes_[path_[t].node];
      ActionStatistics& action = edges_[path_[t].edge].statistics;
      ++node.visits;
      ++action.visits;
      action.value +=
          (value_[static_cast<std::size_t>(node.mover)] - action.value) / static_cast<double>(action.visits);
    }
  }

  /// value_ = what the world's position is worth to each player. `playable`: the episode goes on here.
  template <class Leaf>
  void evaluate(const Leaf& leaf, bool playable) {
    const std::span<double> out(value_);
    if constexpr (has_separate_priors<Leaf>) {
      evaluate(leaf.evaluation, playable);
    } else if constexpr (std::same_as<Leaf, RandomRollout>) {
      if (playable) rollout();
    } else if constexpr (!std::same_as<Leaf, NoEvaluation>) {
      if constexpr (std::invocable<const Leaf&, const State&, std::span<double>>) {
        leaf(world_.state(), out);
      } else {
        static_assert(
            std::invocable<const Leaf&, const State&>,
            "valence: an evaluation is RandomRollout, NoEvaluation, `double f(const State&)` for one player, or "
            "`void f(const State&, std::span<double> value)` with an entry a player");
        if (players_ != 1)
          fail(where, "the evaluation gives one number for {} players; expected f(state, std::span<double>)", players_);
        out[0] = static_cast<double>(leaf(world_.state()));
      }
      check_finite(where, "a leaf's value", std::span<const double>(value_));
    }
  }

  void rollout() {
    const std::size_t first = path_.size();
    std::size_t depth = first;
    for (bool over = false; !over; ++depth) {
      if (depth == options_.depth) {
        ++cut_;
        break;
      }
      legal_.clear();
      world_.each_action([&](const Action& action) { legal_.push_back(action); });
      if (legal_.empty())
        fail(where, "no action is legal after {} steps, where nothing terminated; expected at least one", depth);
      const auto [terminated, truncated] = step(legal_[rng_.below(legal_.size())]);
      over = terminated || truncated;
    }
    discount_rewards(first, depth);
  }

  /// A node that stands for several states takes one list of actions and one player to move.
  void check_same_actions(const Node& node) const {
    Index n = 0;
    world_.each_action([&](const Action&) { ++n; });
    if (n != node.edges || world_.mover() != node.mover)
      fail(
          where,
          "one sequence of actions led to states with {} and with {} legal actions, players {} and {} to move; an open "
          "loop needs the same: let states be compared (operator==) and open_loop be false",
          node.edges, n, node.mover, world_.mover());
  }

  World world_;
  const Rule& rule_;
  const Evaluation& evaluation_;
  Rng& rng_;
  const MctsOptions& options_;
  std::size_t players_;
  std::vector<double> value_, mean_;  // of this simulation, of all
  bool closed_;
  std::size_t cut_ = 0;
  std::vector<Node> nodes_;
  std::vector<State> states_;  // of the nodes, where successors are told apart
  std::vector<Edge> edges_;
  std::vector<Action> actions_;  // of the edges
  std::vector<Visit> path_;
  std::vector<double> rewards_, priors_;
  std::vector<Action> legal_;
};

}  // namespace detail

/// Monte Carlo tree search from `state`: for a `TurnGame` any state in which it goes on, for an environment the state
/// that its `reset` or last `step` gave. The caller's world isn't changed; simulations play in copies of it, random
/// numbers come from `rng` alone, so one seed gives one answer.
///
///     auto found = mcts(env, state, Uct{}, RandomRollout{}, rng, {.simulations = 2000, .discount = 0.99});
///     env.step(found.action(), rng);
///
/// Each simulation walks down the tree by `rule`, adds the first new node, has it evaluated, and adds the discounted
/// return from there on to the mean of each action on its way: to each the share of the player who moved there, so
/// players may alternate, or not. A transition that terminated is worth its reward; one that was truncated counts what
/// the evaluation says of its state (a rollout can't go on there, and says 0), as where the depth limit cuts.
///
/// Where states can be compared (`operator==`), each state that follows an action gets a node of its own: exact for
/// worlds with chance and few successors (they are looked up one by one). Elsewhere and with `open_loop` one node
/// stands for a sequence of actions: right where the world is deterministic, plans without feedback where it isn't, and
/// the choice for states that hardly come twice.
///
/// Throws `Error` for options out of range, a root without legal actions, and rewards, values, priors or scores that
/// aren't numbers. Memory is a few vectors that grow, no allocation a node except what a copy of a state allocates.
template <class World, class State, class Rule, class Evaluation>
auto mcts(const World& world, const State& state, const Rule& rule, const Evaluation& evaluation, Rng& rng,
          const MctsOptions& options = {}, Progress progress = {}) {
  constexpr auto where = "mcts";
  constexpr bool game = SaysHowManyPlay<World>;
  if constexpr (game)
    explain_game<World>();
  else
    explain_environment<World>();
  static_assert(std::convertible_to<const State&, typename World::State>, "valence: mcts needs a state of the world");
  static_assert(SelectionRule<Rule>,
                "valence: a rule needs `parent(std::uint64_t visits)` and `double operator()(const ActionStatistics&, "
                "parent)`, both const");
  check_positive(where, "simulations", options.simulations);
  check_positive(where, "depth", options.depth);
  check_range(where, "discount", options.discount, 0, 1);
  if constexpr (requires { rule.exploration; })
    check_range(where, "exploration", static_cast<double>(rule.exploration), 0, (std::numeric_limits<double>::max)());
  if constexpr (game)
    return detail::TreeSearch<detail::GameWorld<World>, Rule, Evaluation>({world, state}, rule, evaluation, rng,
                                                                          options)
        .run(progress);
  else
    return detail::TreeSearch<detail::EnvironmentWorld<World>, Rule, Evaluation>({world, state}, rule, evaluation, rng,
                                                                                 options)
        .run(progress);
}

}  // namespace valence
