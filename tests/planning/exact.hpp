#pragma once

#include <Eigen/Dense>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/mdp/finite_mdp.hpp"

/// Answers for small models by enumeration, in long double: independent of everything in planning/.
namespace valence::test {

/// A model with few successors, so that who can reach whom is interesting. Action 0 is always available. With `exits`
/// every action may lead to the last state, which is terminal.
struct SparseShape {
  int states = 6, actions = 2, terminal = 1;
  bool exits = false;
  double reward = 1, missing = 0.2;
};
inline FiniteMdp<double> sparse_model(const SparseShape& shape, Rng& rng) {
  std::vector<ModelEntry> entries;
  std::vector<int> terminal;
  for (int s = 0; s < shape.states; ++s) {
    if (s >= shape.states - shape.terminal) {
      terminal.push_back(s);
      continue;
    }
    for (int a = 0; a < shape.actions; ++a) {
      if (a > 0 && rng.uniform() < shape.missing) continue;
      std::vector<double> p(1 + static_cast<std::size_t>(rng.below(3)));
      std::vector<int> to(p.size());
      double sum = 0;
      for (double& x : p) sum += x = rng.exponential();
      for (int& t : to) t = rng.below(shape.states);
      const double r = rng.uniform(-shape.reward, shape.reward), leave = shape.exits ? 0.2 * rng.uniform() + 0.01 : 0;
      for (std::size_t i = 0; i < p.size(); ++i) entries.push_back({s, a, to[i], (1 - leave) * p[i] / sum, r});
      if (shape.exits) entries.push_back({s, a, shape.states - 1, leave, r});
    }
  }
  return FiniteMdp(shape.states, shape.actions, entries, terminal);
}

using LongMatrix = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;
using LongVector = Eigen::Matrix<long double, Eigen::Dynamic, 1>;

/// The chain that a policy makes: rows divided by their sums. Rows of `ends` and of terminal states are 0.
template <class M>
LongMatrix chain_of(const M& model, const std::vector<int>& policy, const std::vector<std::uint8_t>& ends = {}) {
  const int n = model.states();
  LongMatrix p = LongMatrix::Zero(n, n);
  for (int s = 0; s < n; ++s) {
    if (model.terminal(s) || (!ends.empty() && ends[static_cast<std::size_t>(s)])) continue;
    for (const auto& to : model.successors(s, policy[static_cast<std::size_t>(s)]))
      p(s, to.next) += static_cast<long double>(to.probability);
    p.row(s) /= p.row(s).sum();
  }
  return p;
}

/// Probability that a chain whose rows of `goal` are 0 ever gets there.
inline LongVector reach_probability(const LongMatrix& p, const std::vector<std::uint8_t>& goal) {
  const auto n = p.rows();
  std::vector<std::uint8_t> can = goal;
  for (Eigen::Index round = 0; round < n; ++round)
    for (Eigen::Index s = 0; s < n; ++s)
      for (Eigen::Index t = 0; t < n; ++t)
        if (p(s, t) > 0 && can[static_cast<std::size_t>(t)]) can[static_cast<std::size_t>(s)] = 1;
  LongMatrix a = LongMatrix::Identity(n, n) - p;
  LongVector b = LongVector::Zero(n);
  for (Eigen::Index s = 0; s < n; ++s) {
    const auto k = static_cast<std::size_t>(s);
    if (can[k] && !goal[k]) continue;
    a.row(s).setZero();
    a(s, s) = 1;
    b[s] = goal[k] ? 1 : 0;
  }
  return a.partialPivLu().solve(b);
}

/// Value of a policy: rewards until an end.
template <class M>
LongVector long_value(const M& model, const std::vector<int>& policy, long double discount,
                      const std::vector<std::uint8_t>& ends = {}) {
  const auto n = static_cast<Eigen::Index>(model.states());
  LongVector r = LongVector::Zero(n);
  for (int s = 0; s < model.states(); ++s)
    if (!model.terminal(s) && (ends.empty() || !ends[static_cast<std::size_t>(s)]))
      r[s] = static_cast<long double>(model.reward(s, policy[static_cast<std::size_t>(s)]));
  return (LongMatrix::Identity(n, n) - discount * chain_of(model, policy, ends)).partialPivLu().solve(r);
}

/// f(policy) for every deterministic policy; -1 in terminal states.
template <class M, class F>
void for_policies(const M& model, F&& f) {
  std::vector<int> policy(static_cast<std::size_t>(model.states()), -1);
  const auto descend = [&](const auto& self, int s) -> void {
    if (s == model.states()) return f(policy);
    if (model.terminal(s)) return self(self, s + 1);
    for (int a = 0; a < model.actions(); ++a) {
      if (!model.available(s, a)) continue;
      policy[static_cast<std::size_t>(s)] = a;
      self(self, s + 1);
    }
  };
  descend(descend, 0);
}

/// The optimal value by policy iteration, from a policy that is proper where the discount is 1.
template <class M>
LongVector long_optimum(const M& model, std::vector<int> policy, long double discount) {
  for (;;) {
    const LongVector v = long_value(model, policy, discount);
    bool changed = false;
    for (int s = 0; s < model.states(); ++s) {
      const auto value = [&](int a) {
        long double sum = 0, mass = 0;
        for (const auto& to : model.successors(s, a)) {
          sum += static_cast<long double>(to.probability) * v[to.next];
          mass += static_cast<long double>(to.probability);
        }
        return static_cast<long double>(model.reward(s, a)) + discount * sum / mass;
      };
      for (int a = 0; a < model.actions(); ++a)
        if (model.available(s, a) && value(a) > value(policy[static_cast<std::size_t>(s)]) + 1e-15L)
          policy[static_cast<std::size_t>(s)] = a, changed = true;
    }
    if (!changed) return v;
  }
}

}  // namespace valence::test
