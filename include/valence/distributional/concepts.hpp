#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/divergences.hpp"
#include "valence/value/one_step.hpp"

namespace valence {

/// A head: what a model's outputs say about the return of an action. A number, logits over atoms, quantiles: an agent
/// that calls only these members changes from one to another in one line.
///
/// - `size(actions)`: outputs of a model with so many actions, action after action; an action's are `size(1)` numbers.
/// - `value(y)`: the expected return, from an action's outputs.
/// - `encode(v, out)`: a return that is known to be v, as a target; `size(1)` numbers.
/// - `bootstrap(y, r, g, out)`: r + g Z(y), as a target. Outputs and reward are constants: no gradient. Where g is 0
/// (the
///   transition terminated) that is `encode(r, out)`, and y isn't read: it may be NaN or empty.
/// - `loss(y, target, dy, weight)`: the loss, and dy += weight times its gradient. The weight (1 if it's left out; of a
///   prioritised sample the importance weight) doesn't scale the loss that is returned. The target may be anyone's: of
///   `encode` (lambda returns), of `bootstrap`, or a mixture of such.
///
/// Everything takes `float` and `double`, allocates nothing, and throws `Error` for numbers that aren't finite, sizes
/// that disagree and options out of range, before anything is changed. `out` doesn't overlap y.
template <class H>
concept ReturnDistribution = std::copyable<H> && requires(const H head, std::span<const float> y, std::span<float> out,
                                                          std::span<const double> z, std::span<double> wide) {
  { head.size(2) } -> std::same_as<int>;
  { head.value(y) } -> std::same_as<float>;
  { head.value(z) } -> std::same_as<double>;
  head.encode(1.0F, out);
  head.encode(1.0, wide);
  head.bootstrap(y, 1.0F, 1.0F, out);
  head.bootstrap(z, 1.0, 1.0, wide);
  { head.loss(y, y, out) } -> std::same_as<float>;
  { head.loss(y, y, out, 1.0F) } -> std::same_as<float>;
  { head.loss(z, z, wide, 1.0) } -> std::same_as<double>;
};

/// A head whose outputs describe a law on `size(1)` atoms: `law(y, atoms, weights)` writes where they lie and their
/// probabilities, for statistics of the return other than its mean (distributional/functionals.hpp).
template <class H>
concept GivesLaw = ReturnDistribution<H> && requires(const H head, std::span<const float> y, std::span<const double> z,
                                                     std::span<double> atoms) {
  head.law(y, atoms, atoms);
  head.law(z, atoms, atoms);
};

namespace detail {

/// The outputs of action a.
template <class S, std::size_t extent>
std::span<S> action_outputs(std::span<S, extent> y, int size, std::size_t a) {
  const auto n = static_cast<std::size_t>(size);
  return y.subspan(a * n, n);
}

inline int check_actions(std::string_view where, std::size_t outputs, int size) {
  const auto n = static_cast<std::size_t>(size);
  if (size < 1 || outputs == 0 || outputs % n != 0)
    fail(where, "y has {} outputs; expected a positive multiple of the head's {}", outputs, size);
  return static_cast<int>(outputs / n);
}

}  // namespace detail

/// The expected return of each action, from all outputs of one sample.
template <ReturnDistribution H, Scalar S>
void action_values(const H& head, std::span<const S> y, std::span<std::type_identity_t<S>> out) {
  const int size = head.size(1);
  check_size("action_values", "out", out.size(),
             static_cast<std::size_t>(detail::check_actions("action_values", y.size(), size)));
  for (std::size_t a = 0; a < out.size(); ++a) out[a] = head.value(detail::action_outputs(y, size, a));
}

/// The action with the largest expected return, the first one of ties. With a mask, of those that are possible: the
/// outputs of others aren't read. Throws `Error` where nothing is possible.
template <ReturnDistribution H, Scalar S>
std::size_t greedy_action(const H& head, std::span<const S> y, ActionMask mask = {}) {
  const int size = head.size(1), actions = detail::check_actions("greedy_action", y.size(), size);
  const auto count = static_cast<std::size_t>(actions);
  if (!mask.empty()) check_size("greedy_action", "mask", mask.size(), count);
  std::size_t best = count;
  S most = 0;
  for (std::size_t a = 0; a < count; ++a) {
    if (!mask.empty() && !mask[a]) continue;
    const S v = head.value(detail::action_outputs(y, size, a));
    if (best == count || v > most) best = a, most = v;
  }
  if (best == count) fail("greedy_action", "the mask allows none of {} actions; expected at least one", actions);
  return best;
}

/// The target of Q-learning for any head: r + g Z(s', argmax_a E Z(s', a)). `next_choice` chooses the action and
/// `next_value` gives its law, all outputs at s' each: twice the target network's for the plain variant, the online and
/// the target network's for the double one (van Hasselt et al. 2016; pitfall D11: the law, too, is the target
/// network's). g is 0 where the transition terminated: then neither is read. `mask` as in `greedy_action`.
template <ReturnDistribution H, Scalar S>
void bootstrap_greedy(const H& head, std::span<const S> next_choice,
                      std::span<const std::type_identity_t<S>> next_value, std::type_identity_t<S> r,
                      std::type_identity_t<S> g, std::span<std::type_identity_t<S>> out, ActionMask mask = {}) {
  if (g == 0) return head.encode(r, out);
  check_size("bootstrap_greedy", "next_value", next_value.size(), next_choice.size());
  head.bootstrap(detail::action_outputs(next_value, head.size(1), greedy_action(head, next_choice, mask)), r, g, out);
}

/// The same for a batch: sample j in column j, r[j] and g[j] its reward and discount; `out` is size(1) x batch.
template <ReturnDistribution H, Scalar S>
void bootstrap_greedy_columns(const H& head, const Outputs<S>& next_choice, const Outputs<S>& next_value,
                              std::span<const std::type_identity_t<S>> r, std::span<const std::type_identity_t<S>> g,
                              OutputsGradient<S> out) {
  constexpr auto where = "bootstrap_greedy_columns";
  const auto batch = next_choice.cols();
  check_shape(where, "next_value", next_value.rows(), next_value.cols(), next_choice.rows(), batch);
  check_shape(where, "out", out.rows(), out.cols(), head.size(1), batch);
  check_size(where, "r", r.size(), static_cast<std::size_t>(batch));
  check_size(where, "g", g.size(), static_cast<std::size_t>(batch));
  for (Eigen::Index j = 0; j < batch; ++j)
    bootstrap_greedy(head, detail::column(next_choice, j), detail::column(next_value, j),
                     r[static_cast<std::size_t>(j)], g[static_cast<std::size_t>(j)], detail::column(out, j));
}

/// Batch loss: the mean over samples of weights[j] loss(y_j of actions[j], target_j), and its gradient added to dy; the
/// outputs of other actions aren't read and their gradient isn't touched. y and dy: size(actions) x batch; target:
/// size(1) x batch; `losses` (empty, or an entry a sample) gets each sample's loss without its weight, which are
/// priorities for replay; no weights are weights of 1. Throws `Error`; sizes and actions are checked before anything is
/// changed, numbers sample by sample.
template <ReturnDistribution H, Scalar S>
S loss_columns(const H& head, const Outputs<S>& y, std::span<const int> actions, const Outputs<S>& target,
               OutputsGradient<S> dy, std::span<const std::type_identity_t<S>> weights = {},
               std::span<std::type_identity_t<S>> losses = {}) {
  constexpr auto where = "loss_columns";
  const auto batch = static_cast<std::size_t>(y.cols());
  const int size = head.size(1), count = detail::check_actions(where, static_cast<std::size_t>(y.rows()), size);
  if (batch == 0) fail(where, "the batch is empty; expected at least one sample");
  check_shape(where, "dy", dy.rows(), dy.cols(), y.rows(), y.cols());
  check_shape(where, "target", target.rows(), target.cols(), size, y.cols());
  check_size(where, "actions", actions.size(), batch);
  check_range(where, "actions", actions, 0, count - 1);
  if (!weights.empty()) check_size(where, "weights", weights.size(), batch);
  check_finite(where, "weights", weights);
  if (!losses.empty()) check_size(where, "losses", losses.size(), batch);
  double sum = 0;
  const S share = S(1) / static_cast<S>(batch);
  for (std::size_t j = 0; j < batch; ++j) {
    const auto column = static_cast<Eigen::Index>(j);
    const auto a = static_cast<std::size_t>(actions[j]);
    const S weight = weights.empty() ? S(1) : weights[j];
    const S loss = head.loss(detail::action_outputs(detail::column(y, column), size, a), detail::column(target, column),
                             detail::action_outputs(detail::column(dy, column), size, a), weight * share);
    if (!losses.empty()) losses[j] = loss;
    sum += static_cast<double>(weight) * static_cast<double>(loss);
  }
  return static_cast<S>(sum / static_cast<double>(batch));
}

}  // namespace valence
