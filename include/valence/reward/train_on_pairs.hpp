#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/schedules.hpp"
#include "valence/preference/concepts.hpp"
#include "valence/reward/pair_objective.hpp"

namespace valence {

struct PairTrainingOptions {
  std::int64_t steps = 500;  ///< of the optimizer, >= 1
  int batch_size = 0;  ///< pairs a step, drawn without replacement, reshuffled each epoch; 0: all pairs at every step
  double l2 =
      0;  ///< >= 0: adds (l2 / 2) |theta|^2 / n, n the number of pairs: next to a mean loss, a penalty on their sum
  double tolerance =
      0;  ///< stop when no entry of the gradient is larger (all pairs at every step only); 0: run all steps
};

/// How a training on pairs ended.
struct PairTraining {
  std::int64_t steps = 0;    ///< steps done
  double loss = 0;           ///< of the last batch, before its step, penalty included
  double gradient_norm = 0;  ///< largest entry of the gradient, absolute: there and then
  bool converged = false;    ///< gradient_norm <= tolerance
};

namespace detail {

/// The pairs of one step with the samples that they need, renumbered.
template <Approximator F>
struct PairMinibatch {
  using S = typename F::Scalar;
  std::vector<int> columns, chosen, rejected;
  std::vector<S> p_chosen, weight, reference;
  typename GatheredBatch<typename F::Batch>::type x;

  void take(const typename F::Batch& all, const IndexPairs<S>& pairs, std::span<const std::size_t> picked,
            int candidates, std::span<const S> all_reference) {
    columns.clear();
    chosen.clear();
    rejected.clear();
    p_chosen.clear();
    weight.clear();
    reference.clear();
    for (const std::size_t k : picked) {
      const int begin = static_cast<int>(columns.size()), a = pairs.chosen[k], b = pairs.rejected[k];
      if (candidates == 0) {
        columns.push_back(a);
        columns.push_back(b);
        chosen.push_back(begin);
        rejected.push_back(begin + 1);
      } else {  // the policy normalises over the whole set
        const int first = a - a % candidates;
        for (int i = 0; i < candidates; ++i) columns.push_back(first + i);
        chosen.push_back(begin + a - first);
        rejected.push_back(begin + b - first);
      }
      if (!pairs.p_chosen.empty()) p_chosen.push_back(pairs.p_chosen[k]);
      if (!pairs.weight.empty()) weight.push_back(pairs.weight[k]);
    }
    if (!all_reference.empty())
      for (const int i : columns) reference.push_back(all_reference[static_cast<std::size_t>(i)]);
    gather(all, columns, x);
  }
  IndexPairs<S> pairs() const { return {chosen, rejected, p_chosen, weight}; }
};

}  // namespace detail

/// Minimises `objective` over theta, in place, from where theta stands.
///
/// `x`: the samples; `pairs`: indices into them; `reference`: log pi_ref of each sample, or empty, as in
/// `PairObjective`. `schedule` scales the step size by the number of steps done. `progress` is told every step, with
/// the loss, and may end the training.
/// `rng` is drawn from only for mini-batches.
/// Throws `Error` for bad options, for what the objective refuses (before theta is changed), and for a gradient that is
/// not finite (theta is then that of the last good step).
template <Approximator F, Loss L, Optimizer O, Schedule Factor = ConstantSchedule>
PairTraining train_on_pairs(PairObjective<F, L>& objective, std::span<typename F::Scalar> theta,
                            const typename F::Batch& x, const IndexPairs<typename F::Scalar>& pairs, const O& optimizer,
                            const PairTrainingOptions& options, Rng& rng, const Factor& schedule = {},
                            Progress progress = {}, std::span<const typename F::Scalar> reference = {}) {
  using S = typename F::Scalar;
  constexpr std::string_view where = "train_on_pairs";
  const std::size_t n = pairs.chosen.size();
  check_size(where, "theta", theta.size(), objective.model().parameter_count());
  check_size(where, "rejected", pairs.rejected.size(), n);
  if (!pairs.p_chosen.empty()) check_size(where, "p_chosen", pairs.p_chosen.size(), n);
  if (!pairs.weight.empty()) check_size(where, "weight", pairs.weight.size(), n);
  if (n == 0) fail(where, "pairs is empty; expected at least one pair");
  if (options.steps < 1) fail(where, "steps is {}; expected at least 1", options.steps);
  if (options.batch_size < 0 || static_cast<std::size_t>(options.batch_size) > n)
    fail(where, "batch_size is {}; expected 0 (all) to {}, the number of pairs", options.batch_size, n);
  if (!(options.l2 >= 0 && std::isfinite(options.l2)))
    fail(where, "l2 is {}; expected a finite number of at least 0", options.l2);
  if (!(options.tolerance >= 0)) fail(where, "tolerance is {}; expected a number of at least 0", options.tolerance);
  const bool all = options.batch_size == 0;
  if (!all && options.tolerance > 0)
    fail(where, "tolerance is {} with mini-batches, whose gradients don't vanish at the optimum; expected 0",
         options.tolerance);

  auto state = optimizer.template start<S>(theta.size());
  std::vector<S> gradient(theta.size());
  std::vector<std::size_t> order(all ? 0 : n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::size_t next = n;
  detail::PairMinibatch<F> batch;
  const double penalty = options.l2 / static_cast<double>(n);
  PairTraining training;
  while (training.steps < options.steps) {
    if (all) {
      training.loss = objective(theta, x, pairs, gradient, reference);
    } else {
      const auto size = static_cast<std::size_t>(options.batch_size);
      if (next + size > n) {  // the rest of an epoch that fills no batch is left out; the next shuffle brings it back
        rng.shuffle(order);
        next = 0;
      }
      // The objective checks a step's pairs; those of later steps are checked here, before anything is changed.
      if (training.steps == 0) {
        objective.scores(theta, x);
        objective.check(pairs);
        if (!reference.empty()) check_size(where, "reference", reference.size(), objective.samples());
      }
      batch.take(x, pairs, std::span<const std::size_t>(order).subspan(next, size), objective.candidates(), reference);
      next += size;
      training.loss = objective(theta, batch.x, batch.pairs(), gradient, batch.reference);
    }
    if (penalty > 0)
      for (std::size_t i = 0; i < theta.size(); ++i) {
        training.loss += penalty / 2 * static_cast<double>(theta[i]) * static_cast<double>(theta[i]);
        gradient[i] += static_cast<S>(penalty) * theta[i];
      }
    training.gradient_norm = 0;
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      const double g = std::abs(static_cast<double>(gradient[i]));
      if (!std::isfinite(g))
        fail(where, "gradient[{}] is {} at step {}; try a smaller step size", i, gradient[i], training.steps);
      if (g > training.gradient_norm) training.gradient_norm = g;
    }
    training.converged = options.tolerance > 0 && training.gradient_norm <= options.tolerance;
    if (training.converged) break;
    state.step(theta, gradient, schedule(training.steps));
    ++training.steps;
    if (!progress({.step = static_cast<std::uint64_t>(training.steps),
                   .total = static_cast<std::uint64_t>(options.steps),
                   .task = "train",
                   .metric = "loss",
                   .value = training.loss}))
      break;
  }
  return training;
}

}  // namespace valence
