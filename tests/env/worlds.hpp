#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "support/goodness.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/planning/bellman.hpp"

/// What the tests of small worlds share: values by plain sweeps, and whether an environment plays what it lists.
namespace valence::test {

/// The optimal value by sweeps until nothing changes any more (at most `sweeps`).
template <class M>
Vector<double> swept_optimum(const M& model, double discount, int sweeps = 200'000) {
  Vector<double> v = Vector<double>::Zero(model.states()), next = v;
  for (int k = 0; k < sweeps; ++k) {
    const double residual =
        bellman_optimality(model, view(std::as_const(v)), view(next), {}, {.discount = discount}).residual();
    v.swap(next);
    if (residual < 1e-15) break;
  }
  return v;
}

/// The value of `weight` greedy(s) + (1 - weight) uniform; `greedy` empty: of the best policy of that form.
template <class M>
Vector<double> swept_soft(const M& model, double weight, double discount, std::span<const int> greedy = {},
                          int sweeps = 200'000) {
  Vector<double> v = Vector<double>::Zero(model.states());
  for (int k = 0; k < sweeps; ++k) {
    const Matrix<double> q = action_values(model, view(std::as_const(v)), {.discount = discount});
    double residual = 0;
    for (int s = 0; s < model.states(); ++s) {
      if (model.terminal(s)) continue;
      const double best = greedy.empty() ? q.col(s).maxCoeff() : q(greedy[static_cast<std::size_t>(s)], s);
      const double value = (weight > 0 ? weight * best : 0) + (1 - weight) * q.col(s).mean();
      residual = (std::max)(residual, std::abs(value - v[s]));
      v[s] = value;
    }
    if (residual < 1e-15) break;
  }
  return v;
}

/// sum_s p(s) v(s).
template <class M>
double at_start(const M& model, const Vector<double>& v) {
  double sum = 0;
  for (int s = 0; s < model.states(); ++s) sum += model.initial()[static_cast<std::size_t>(s)] * v[s];
  return sum;
}

/// The smallest p-value, times their number (Bonferroni), of: first states against `initial_distribution`, and steps
/// from every `stride`-th pair of state and action against `outcomes`.
template <class E>
double plays_what_it_lists(E env, Rng& rng, int draws = 4000, int stride = 1) {
  double smallest = 1, tests = 1;
  std::vector<double> expected;
  for (const double p : env.initial_distribution()) expected.push_back(p);
  std::vector<double> counts(expected.size(), 0.0);
  for (int k = 0; k < 50 * draws; ++k) ++counts[static_cast<std::size_t>(env.reset(rng))];
  smallest = chi_square_test(counts, expected);
  for (int s = 0; s < env.states().n; ++s)
    for (int a = s % stride; a < env.actions().n; a += stride) {
      if (env.terminal(s)) continue;
      using Key = std::tuple<int, double, bool>;
      std::map<Key, std::pair<double, double>> cells;  // probability, count
      for (const auto& o : env.outcomes(s, a)) cells[{o.next, o.reward, o.terminated}].first += o.probability;
      for (int k = 0; k < draws; ++k) {
        env.set_state(s);
        const auto step = env.step(a, rng);
        if (step.truncated) return 0;
        ++cells[{step.next, step.reward, step.terminated}].second;
      }
      std::vector<double> p, n;
      for (const auto& [key, cell] : cells) p.push_back(cell.first), n.push_back(cell.second);
      smallest = (std::min)(smallest, chi_square_test(n, p));
      ++tests;
    }
  return (std::min)(1.0, smallest * tests);
}

}  // namespace valence::test
