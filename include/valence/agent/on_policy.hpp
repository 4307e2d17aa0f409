#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/action_mask.hpp"
#include "valence/agent/metrics.hpp"
#include "valence/agent/network.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy_gradient/surrogate.hpp"
#include "valence/value/gae.hpp"
#include "valence/value/steps.hpp"

/// What the agents share that learn from their own fresh experience: REINFORCE, A2C, PPO, TRPO.
namespace valence::detail {

/// Experience in columns, time x lanes with the lanes contiguous, as `Steps` reads it.
template <class S, class Action>
class Rollout {
 public:
  using Flags = Eigen::Array<bool, Eigen::Dynamic, 1>;

  Rollout(std::size_t inputs, int outputs, std::size_t action_numbers, int lanes, int rows)
      : lanes_(lanes),
        rows_(rows),
        action(action_numbers, static_cast<std::size_t>(lanes) * static_cast<std::size_t>(rows)) {
    const Eigen::Index n = static_cast<Eigen::Index>(lanes) * rows;
    state.setZero(static_cast<Eigen::Index>(inputs), n);
    output.setZero(outputs, n), arrived.setZero(static_cast<Eigen::Index>(inputs), lanes);
    log_prob.setZero(n), reward.setZero(n), value.setZero(n), next_value.setZero(n);
    advantage.setZero(n), target.setZero(n);
    terminated.setConstant(n, false), truncated.setConstant(n, false);
  }

  int lanes() const { return lanes_; }
  /// Columns in use.
  Eigen::Index size() const { return static_cast<Eigen::Index>(row) * lanes_; }
  /// Room for one row more.
  void make_room() {
    if (row < rows_) return;
    const Eigen::Index before = state.cols(), n = 2 * before;
    rows_ *= 2;
    state.conservativeResize(Eigen::NoChange, n), output.conservativeResize(Eigen::NoChange, n);
    state.rightCols(n - before).setZero(), output.rightCols(n - before).setZero();
    for (Vector<S>* v : {&log_prob, &reward, &value, &next_value, &advantage, &target}) {
      v->conservativeResize(n);
      v->tail(n - before).setZero();
    }
    for (Flags* f : {&terminated, &truncated}) {
      f->conservativeResize(n);
      f->tail(n - before).setConstant(false);
    }
    action.resize(static_cast<std::size_t>(n));
  }
  std::span<S> arrived_at(Eigen::Index k) {
    return {arrived.data() + k * arrived.rows(), static_cast<std::size_t>(arrived.rows())};
  }
  std::span<S> state_at(Eigen::Index i) {
    return {state.data() + i * state.rows(), static_cast<std::size_t>(state.rows())};
  }

  /// GAE over what was recorded: where a transition neither terminated nor was cut off, the next state is the lane's next
  /// row, whose value is already there.
  void find_advantages(double discount, double lambda) {
    const Eigen::Index n = size();
    for (Eigen::Index i = 0; i + lanes_ < n; ++i)
      if (!terminated[i] && !truncated[i]) next_value[i] = value[i + lanes_];
    const auto first = [&](const Vector<S>& v) { return view(v).first(static_cast<std::size_t>(n)); };
    const auto flags = [&](const Flags& f) { return std::span<const bool>(f.data(), static_cast<std::size_t>(n)); };
    gae(Steps<S>{.reward = first(reward),
                 .value = first(value),
                 .next_value = first(next_value),
                 .terminated = flags(terminated),
                 .truncated = flags(truncated),
                 .environments = static_cast<std::size_t>(lanes_)},
        {.advantage = view(advantage).first(static_cast<std::size_t>(n)),
         .target = view(target).first(static_cast<std::size_t>(n))},
        {.discount = discount, .lambda = lambda});
  }

  template <class A>
  void archive(A& ar) {
    const Eigen::Index inputs = state.rows(), outputs = output.rows();
    ar(row, state, output, arrived, action, log_prob, reward, value, next_value, terminated, truncated);
    constexpr auto where = "Rollout::archive";
    const Eigen::Index n = state.cols();
    check_shape(where, "state", state.rows(), n, inputs, n);
    check_shape(where, "output", output.rows(), output.cols(), outputs, n);
    check_shape(where, "arrived", arrived.rows(), arrived.cols(), inputs, lanes_);
    check_size(where, "action", action.size(), static_cast<std::size_t>(n));
    for (const Vector<S>* v : {&log_prob, &reward, &value, &next_value})
      check_size(where, "a column", static_cast<std::size_t>(v->size()), static_cast<std::size_t>(n));
    for (const Flags* f : {&terminated, &truncated})
      check_size(where, "a column", static_cast<std::size_t>(f->size()), static_cast<std::size_t>(n));
    if (n % lanes_ != 0 || row < 0 || size() > n)
      fail(where, "{} rows of {} lanes are in use of {} columns; expected at most as many", row, lanes_, n);
    advantage.setZero(n), target.setZero(n);
    rows_ = static_cast<int>(n / lanes_);
  }

 private:
  int lanes_, rows_;

 public:
  int row = 0;                                                       ///< rows recorded
  Matrix<S> state, output;                                           ///< what the model was given, and what it said
  Matrix<S> arrived;                                                 ///< a column a lane: where the last transition led
  ActionColumns<Action, S> action;                                   ///< taken
  Vector<S> log_prob, reward, value, next_value, advantage, target;  ///< an entry a transition
  Flags terminated, truncated;
};

/// What a step weighs, and when it isn't taken.
struct StepWeights {
  double entropy, value, max_gradient_norm;
  double kl_penalty = 0;                                       // of KL(old || new)
  double target_kl = std::numeric_limits<double>::infinity();  // no step from a policy that is further away
  double clip = 0.2;                                           // for the share of clipped ratios
  bool whiten = false;
};

/// What the options of these agents have in common, each where it is there.
template <class Options>
void check_actor_options(std::string_view where, const Options& options) {
  constexpr double largest = (std::numeric_limits<double>::max)();
  check_range(where, "discount", options.discount, 0, 1);
  if constexpr (requires { options.lambda; }) check_range(where, "lambda", options.lambda, 0, 1);
  check_range(where, "entropy_weight", options.entropy_weight, 0, largest);
  check_range(where, "value_weight", options.value_weight, 0, largest);
  check_range(where, "max_gradient_norm", options.max_gradient_norm, 0, largest);
}

/// What an update tells: means over what it has looked at.
struct UpdateStatistics {
  double policy_loss = 0, value_loss = 0, entropy = 0, kl = 0, clip_fraction = 0, gradient_norm = 0;
  std::int64_t batches = 0;

  void add(const UpdateStatistics& o) {
    policy_loss += o.policy_loss, value_loss += o.value_loss, entropy += o.entropy, kl += o.kl;
    clip_fraction += o.clip_fraction, gradient_norm += o.gradient_norm, batches += 1;
  }
  double mean(double sum) const { return batches > 0 ? sum / static_cast<double>(batches) : 0; }
  template <class A>
  void archive(A& ar) {
    ar(policy_loss, value_loss, entropy, kl, clip_fraction, gradient_norm, batches);
  }
};

/// The share of the targets' variance that the values explain; NaN where all targets are equal.
template <class S>
double explained_variance(const Vector<S>& value, const Vector<S>& target, Eigen::Index n) {
  RunningMoments all, rest;
  for (Eigen::Index i = 0; i < n; ++i) {
    all.add(static_cast<double>(target[i]));
    rest.add(static_cast<double>(target[i]) - static_cast<double>(value[i]));
  }
  return 1 - rest.population_variance() / all.population_variance();
}

/// A model whose outputs are a law's and below them one value (nothing, where it has none), and what it has done since
/// the last update.
template <Approximator F, ActionDistribution L, Optimizer O>
class OnPolicyAgent {
 public:
  using Scalar = typename F::Scalar;
  using Action = typename L::Action;

  /// An action of the law. Remembered until `learn` hears what came of it.
  template <class State>
  Action act(const State& state, Rng& rng) {
    need_lanes(1);
    rollout_.make_room();
    Action action{};
    act_in(std::span<const State>(&state, 1), std::span<Action>(&action, 1), rng);
    return action;
  }
  /// An action a lane, in one forward.
  template <class State>
  void act(std::span<const State> states, std::span<Action> actions, Rng& rng) {
    need_lanes(states.size());
    check_size(where_, "actions", actions.size(), states.size());
    rollout_.make_room();
    act_in(states, actions, rng);
  }
  /// The most likely action.
  template <class State>
  Action greedy(const State& state) {
    auto x = single_.resize(static_cast<Eigen::Index>(net_.learned().input_count()), 1);
    net_.learned().write_input(state, column(x, 0));
    const auto y = net_.forward(single_.get(), single_tape_);
    return likeliest(law_, law_outputs(y, 0), mask_(std::span<const S>(single_.column(0))));
  }
  template <class State>
  Action greedy(const State& state, Rng&) {
    return greedy(state);
  }

  /// An episode that is begun before the last one ended: that one was cut off where `learn` saw it last.
  void begin_episode() {
    acted_ = false;
    if (rollout_.row == 0) return;
    for (Eigen::Index k = 0; k < rollout_.lanes(); ++k) {
      const Eigen::Index i = rollout_.size() - rollout_.lanes() + k;
      if (rollout_.terminated[i] || rollout_.truncated[i]) continue;
      rollout_.truncated[i] = true;
      if (has_value())
        rollout_.next_value[i] = value_output(net_.forward(one_column(rollout_.arrived, k), single_tape_), 0);
    }
  }

  const F& model() const { return net_.model(); }
  const L& law() const { return law_; }
  /// theta of the model.
  std::span<const Scalar> parameters() const { return net_.theta(); }
  std::span<Scalar> parameters() { return net_.theta(); }
  int lanes() const { return rollout_.lanes(); }
  /// How many actions it knows.
  int actions() const
    requires std::integral<Action>
  {
    return law_.size();
  }
  /// Transitions learned from.
  std::int64_t steps() const { return steps_; }
  /// Steps of the optimizer.
  std::int64_t updates() const { return net_.updates(); }

  template <class A>
  void archive(A& ar) {
    ar(net_, rollout_, steps_, acted_);
    if (horizon_ > 0 && rollout_.row >= horizon_)
      fail(where_, "the archive is {} rows into a rollout; expected less than the horizon, {}", rollout_.row, horizon_);
  }

 protected:
  using S = Scalar;

  OnPolicyAgent(std::string_view where, F model, L law, const O& optimizer, PossibleActions possible, int lanes,
                int rows, Rng& start, bool fixed_horizon = true)
      : where_(where),
        horizon_(fixed_horizon ? rows : 0),
        net_(std::move(model), optimizer, start),
        law_(std::move(law)),
        mask_(std::move(possible), std::integral<Action> ? law_.size() : 0),
        rollout_(net_.learned().input_count(), net_.model().output_size(), action_dimensions<S>(law_),
                 checked_positive(where, "lanes", lanes), checked_positive(where, "rows", rows)) {
    const int outputs = net_.model().output_size();
    if (outputs != law_.size() && outputs != law_.size() + 1)
      fail(where, "the model has {} outputs; expected the law's {}, and one for the value", outputs, law_.size());
  }

  /// The recorded columns, in order.
  std::span<std::size_t> all_columns() {
    columns_.resize(static_cast<std::size_t>(rollout_.size()));
    std::iota(columns_.begin(), columns_.end(), std::size_t{0});
    return columns_;
  }
  static Outputs<S> one_column(const Matrix<S>& m, Eigen::Index j) { return {m.data() + j * m.rows(), m.rows(), 1}; }
  bool has_value() const { return net_.model().output_size() > law_.size(); }
  std::span<const S> law_outputs(const Outputs<S>& y, Eigen::Index j) const {
    return column(y, j).first(static_cast<std::size_t>(law_.size()));
  }
  S value_output(const Outputs<S>& y, Eigen::Index j) const { return has_value() ? y(law_.size(), j) : S(0); }

  /// Takes in what came of the actions. True where that was row `rows`: then everything is ready for an update, which
  /// ends with `rollout_.row = 0`.
  template <class State, class T>
  bool record(std::span<const Transition<State, T>> transitions, int rows) {
    need_lanes(transitions.size());
    if (!acted_) fail(where_, "learn was called before act; expected the two in turn");
    for (const auto& t : transitions)
      if (!std::isfinite(t.reward))
        fail(where_, "a reward of transition {} is {}; expected a finite number", steps_, t.reward);
    const bool last = rollout_.row + 1 == rows;
    for (std::size_t k = 0; k < transitions.size(); ++k) {
      const auto& t = transitions[k];
      const Eigen::Index i = rollout_.size() + static_cast<Eigen::Index>(k);
      rollout_.reward[i] = static_cast<S>(t.reward);
      rollout_.terminated[i] = t.terminated;
      rollout_.truncated[i] = !t.terminated && t.truncated;
      const bool open = !t.terminated && has_value();
      if (open) net_.learned().write_input(t.next, rollout_.arrived_at(static_cast<Eigen::Index>(k)));
      rollout_.next_value[i] =
          open && (t.truncated || last)
              ? value_output(net_.forward(one_column(rollout_.arrived, static_cast<Eigen::Index>(k)), single_tape_), 0)
              : S(0);
    }
    acted_ = false;
    ++rollout_.row;
    steps_ += static_cast<std::int64_t>(transitions.size());
    return last;
  }
  /// One gradient step on the recorded columns `columns`: the mean of
  ///
  ///     policy_loss(log pi(a), advantage) + value weight * value_loss - entropy weight * H + penalty * KL(old || new).
  ///
  /// No step where the policy is further than `target_kl` from the one that acted, and then false.
  template <class PolicyLoss, class ValueLoss>
  bool descend(std::span<const std::size_t> columns, const PolicyLoss& policy_loss, const ValueLoss& value_loss,
               const StepWeights& weights, double factor, UpdateStatistics& statistics) {
    const auto n = static_cast<Eigen::Index>(columns.size());
    auto x = x_.resize(rollout_.state.rows(), n);
    advantage_.resize(columns.size());
    for (Eigen::Index j = 0; j < n; ++j) {
      const auto i = static_cast<Eigen::Index>(columns[static_cast<std::size_t>(j)]);
      x.col(j) = rollout_.state.col(i);
      advantage_[static_cast<std::size_t>(j)] = rollout_.advantage[i];
    }
    if (weights.whiten) whiten(std::span<S>(advantage_));
    const auto y = net_.forward(x_.get(), tape_);
    auto dy = dy_.zero(y.rows(), n);
    const double share = 1 / static_cast<double>(n);
    UpdateStatistics sums;
    for (Eigen::Index j = 0; j < n; ++j) {
      const auto i = static_cast<Eigen::Index>(columns[static_cast<std::size_t>(j)]);
      const auto action = rollout_.action[static_cast<std::size_t>(i)];
      const auto outputs = law_outputs(y, j);
      const auto d_outputs = dy_.column(j).first(outputs.size());
      const auto mask = mask_(std::span<const S>(x_.column(j)));
      const S log_prob = log_prob_of(law_, outputs, action, mask), old = rollout_.log_prob[i];
      const auto policy = policy_loss.term(PolicySample<S>{
          .log_prob = log_prob, .advantage = advantage_[static_cast<std::size_t>(j)], .old_log_prob = old});
      if (!std::isfinite(policy.value) || !std::isfinite(policy.slope))
        fail(where_, "the run has diverged: the policy's loss is {} at update {} (log-probability {}, before {})",
             policy.value, updates(), log_prob, old);
      if (policy.slope != 0) log_prob_of(law_, outputs, action, policy.slope * static_cast<S>(share), d_outputs, mask);
      const S entropy_weight = static_cast<S>(-weights.entropy * share);
      sums.entropy += static_cast<double>(entropy_of(law_, outputs, action, entropy_weight, d_outputs, mask));
      if (has_value()) {
        const auto value = value_loss.term(
            ValueSample<S>{.value = y(law_.size(), j), .target = rollout_.target[i], .old_value = rollout_.value[i]});
        dy(law_.size(), j) = static_cast<S>(weights.value * share) * value.slope;
        sums.value_loss += static_cast<double>(value.value);
      }
      const double change = static_cast<double>(log_prob) - static_cast<double>(old);
      sums.policy_loss += static_cast<double>(policy.value);
      sums.kl += elementary::expm1(change) - change;
      sums.clip_fraction += std::abs(elementary::expm1(change)) > weights.clip ? 1 : 0;
      if constexpr (HasKl<L>)
        if (weights.kl_penalty > 0) {
          const auto before = std::span<const S>(rollout_.output.data() + i * rollout_.output.rows(), outputs.size());
          const S w = static_cast<S>(weights.kl_penalty * share);
          if constexpr (std::integral<Action>)
            law_.kl(before, outputs, w, std::span<S>(), d_outputs, mask);
          else
            law_.kl(before, outputs, w, std::span<S>(), d_outputs);
        }
    }
    for (double* sum : {&sums.policy_loss, &sums.value_loss, &sums.entropy, &sums.kl, &sums.clip_fraction})
      *sum *= share;
    const bool moves = weights.target_kl == std::numeric_limits<double>::infinity() || sums.kl < weights.target_kl;
    if (moves) {
      net_.pullback(x_.get(), tape_, dy_.get());
      sums.gradient_norm = net_.step(where_, weights.max_gradient_norm, factor);
    }
    statistics.add(sums);
    return moves;
  }

  template <class State, class T>
  bool record(const Transition<State, T>& t, int rows) {
    return record(std::span<const Transition<State, T>>(&t, 1), rows);
  }

  std::string_view where_;
  int horizon_;  // rows of a rollout; 0 where it grows
  Network<F, O> net_;
  L law_;
  MaskOf mask_;
  Rollout<S, Action> rollout_;
  std::int64_t steps_ = 0;
  bool acted_ = false;
  typename F::Tape act_tape_ = {}, single_tape_ = {}, tape_ = {};
  BatchBuffer<S> single_ = {}, x_ = {}, dy_ = {};
  std::vector<S> advantage_ = {};
  std::vector<std::size_t> columns_ = {};

 private:
  static int checked_positive(std::string_view where, std::string_view what, int n) {
    check_positive(where, what, n);
    return n;
  }
  void need_lanes(std::size_t n) const {
    if (n != static_cast<std::size_t>(rollout_.lanes()))
      fail(where_, "{} states or transitions at once; expected one a lane, {}", n, rollout_.lanes());
  }
  template <class State>
  void act_in(std::span<const State> states, std::span<Action> actions, Rng& rng) {
    const Eigen::Index begin = rollout_.size(), n = static_cast<Eigen::Index>(states.size());
    for (Eigen::Index k = 0; k < n; ++k)
      net_.learned().write_input(states[static_cast<std::size_t>(k)], rollout_.state_at(begin + k));
    const Outputs<S> x(rollout_.state.data() + begin * rollout_.state.rows(), rollout_.state.rows(), n);
    const auto y = net_.forward(x, act_tape_);
    for (Eigen::Index k = 0; k < n; ++k) {
      const auto outputs = law_outputs(y, k);
      const auto mask = mask_(std::span<const S>(rollout_.state_at(begin + k)));
      const auto i = static_cast<std::size_t>(begin + k);
      actions[static_cast<std::size_t>(k)] = sample_possible(law_, outputs, rng, mask);
      rollout_.action.put(i, actions[static_cast<std::size_t>(k)]);
      // Of the action as it is stored, so that the ratio to it is exactly 1 until the parameters move.
      rollout_.log_prob[begin + k] = log_prob_of(law_, outputs, rollout_.action[i], mask);
      rollout_.value[begin + k] = value_output(y, k);
      rollout_.output.col(begin + k) = y.col(k);
    }
    acted_ = true;
  }
};

}  // namespace valence::detail
