#pragma once

#include <Eigen/Dense>
#include <cstddef>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/mdp/finite_mdp.hpp"

/// Models that the planning tests share.
namespace valence::test {

/// M1 of the base: two states, two actions, everything asymmetric.
inline FiniteMdp<double> m1() {
  return FiniteMdp(2, 2,
                   std::vector<ModelEntry>{{0, 0, 0, .7, 1},
                                           {0, 0, 1, .3, 1},
                                           {0, 1, 0, .2, 0},
                                           {0, 1, 1, .8, 0},
                                           {1, 0, 0, .5, .5},
                                           {1, 0, 1, .5, .5},
                                           {1, 1, 0, .9, 2},
                                           {1, 1, 1, .1, 2}});
}

struct RandomModel {
  int states = 7, actions = 3, branching = 4;
  int terminal = 0;    ///< so many of the last states are terminal
  double missing = 0;  ///< share of actions that are not available (never the first)
  double reward = 1;   ///< rewards are uniform on [-reward, reward]
};

inline FiniteMdp<double> random_model(const RandomModel& shape, Rng& rng) {
  std::vector<ModelEntry> entries;
  std::vector<int> terminal;
  for (int s = 0; s < shape.states; ++s) {
    if (s >= shape.states - shape.terminal) {
      terminal.push_back(s);
      continue;
    }
    for (int a = 0; a < shape.actions; ++a) {
      if (a > 0 && rng.uniform() < shape.missing) continue;
      std::vector<double> p(static_cast<std::size_t>(shape.branching));
      double sum = 0;
      for (double& x : p) sum += x = rng.exponential();
      const double r = rng.uniform(-shape.reward, shape.reward);
      for (const double x : p) entries.push_back({s, a, rng.below(shape.states), x / sum, r});
    }
  }
  return FiniteMdp(shape.states, shape.actions, entries, terminal);
}

/// The value of a policy by a dense solve of (I - discount P) v = r: independent of everything in planning/.
template <class M>
Eigen::VectorXd solved_value(const M& model, const std::vector<int>& policy, double discount) {
  const int n = model.states();
  Eigen::MatrixXd a = Eigen::MatrixXd::Identity(n, n);
  Eigen::VectorXd b = Eigen::VectorXd::Zero(n);
  for (int s = 0; s < n; ++s) {
    if (model.terminal(s)) continue;
    const int act = policy[static_cast<std::size_t>(s)];
    b[s] = static_cast<double>(model.reward(s, act));
    for (const auto& to : model.successors(s, act)) a(s, to.next) -= discount * static_cast<double>(to.probability);
  }
  return a.partialPivLu().solve(b);
}

/// The optimal value by Howard's policy iteration with dense solves.
template <class M>
Eigen::VectorXd solved_optimum(const M& model, double discount) {
  std::vector<int> policy(static_cast<std::size_t>(model.states()), -1);
  for (int s = 0; s < model.states(); ++s)
    for (int a = model.actions() - 1; a >= 0; --a)
      if (model.available(s, a)) policy[static_cast<std::size_t>(s)] = a;
  for (;;) {
    const Eigen::VectorXd v = solved_value(model, policy, discount);
    bool changed = false;
    for (int s = 0; s < model.states(); ++s) {
      const auto value = [&](int a) {
        double q = static_cast<double>(model.reward(s, a));
        for (const auto& to : model.successors(s, a)) q += discount * static_cast<double>(to.probability) * v[to.next];
        return q;
      };
      for (int a = 0; a < model.actions(); ++a)
        if (model.available(s, a) && value(a) > value(policy[static_cast<std::size_t>(s)]) + 1e-10)
          policy[static_cast<std::size_t>(s)] = a, changed = true;
    }
    if (!changed) return v;
  }
}

}  // namespace valence::test
