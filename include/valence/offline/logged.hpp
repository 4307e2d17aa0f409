#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/agent/network.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/parameters.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/mdp/replay.hpp"
#include "valence/offline/losses.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/value/returns.hpp"
#include "valence/value/steps.hpp"

/// What the agents share that learn from a fixed log.
namespace valence::detail {

// ---------------------------------------------------------------- models

/// A table whose batch is a row of numbers, the states' indices: so that an agent has one kind of input for every model.
template <class S>
struct TableOfColumns {
  using Scalar = S;
  using Batch = Matrix<S>;
  struct Tape {
    typename Tabular<S>::Tape table = {};
    std::vector<int> states = {};
  };
  Tabular<S> table;

  std::size_t parameter_count() const { return table.parameter_count(); }
  int input_size() const { return 1; }
  int output_size() const { return table.output_size(); }
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const { return table.parameters(prefix); }
  void initialize(std::span<S> theta, Rng& rng) const { table.initialize(theta, rng); }

  Outputs<S> forward(std::span<const S> theta, const Batch& x, Tape& tape) const {
    return forward(theta, outputs_of(x), tape);
  }
  Outputs<S> forward(std::span<const S> theta, const Outputs<S>& x, Tape& tape) const {
    check_shape("a table", "the states", x.rows(), x.cols(), 1, x.cols());
    tape.states.resize(static_cast<std::size_t>(x.cols()));
    for (Eigen::Index j = 0; j < x.cols(); ++j) {
      check_input({x.data() + j, 1});
      tape.states[static_cast<std::size_t>(j)] = static_cast<int>(x(0, j));
    }
    return table.forward(theta, std::span<const int>(tape.states), tape.table);
  }
  void pullback(std::span<const S> theta, const Batch& x, Tape& tape, const Outputs<S>& dy, std::span<S> g) const {
    pullback(theta, outputs_of(x), tape, dy, g);
  }
  void pullback(std::span<const S> theta, const Outputs<S>&, Tape& tape, const Outputs<S>& dy, std::span<S> g) const {
    table.pullback(theta, std::span<const int>(tape.states), tape.table, dy, g);
  }
  void check_input(std::span<const S> state) const {
    if (!(state[0] >= 0 && state[0] < static_cast<S>(table.states)))
      fail("the state", "is {}; expected one in [0, {}]", state[0], table.states - 1);
  }
};

template <class F>
struct ByColumnsOf {
  using Type = F;
};
template <class S>
struct ByColumnsOf<Tabular<S>> {
  using Type = TableOfColumns<S>;
};
/// The model itself, a table as `TableOfColumns`.
template <class F>
using ByColumns = typename ByColumnsOf<F>::Type;
template <class F>
ByColumns<F> by_columns(F f) {
  if constexpr (std::same_as<ByColumns<F>, F>)
    return f;
  else
    return {std::move(f)};
}
/// Back to what the user gave.
template <class F>
const F& as_given(const F& f) {
  return f;
}
template <class S>
const Tabular<S>& as_given(const TableOfColumns<S>& f) {
  return f.table;
}

/// Looks at a batch with a loss, which refuses numbers that it can't add up: then the run has diverged.
template <class F>
void unless_diverged(std::string_view where, std::int64_t update, F&& look) {
  try {
    look();
  } catch (const Error& e) { fail(where, "the run has diverged at update {}: {}", update, e.what()); }
}

/// What the options of offline agents have in common.
template <class Options>
void check_offline(std::string_view where, const Options& options) {
  constexpr double largest = (std::numeric_limits<double>::max)();
  check_positive(where, "batch", options.batch);
  check_range(where, "max_gradient_norm", options.max_gradient_norm, 0, largest);
  if constexpr (requires { options.discount; }) check_range(where, "discount", options.discount, 0, 1);
  if constexpr (requires { options.truncated_value; }) check_finite(where, "truncated_value", options.truncated_value);
  if constexpr (requires { options.target_rate; })
    if (!(options.target_rate > 0 && options.target_rate <= 1))
      fail(where, "target_rate is {}; expected a number in (0, 1]", options.target_rate);
}

// ---------------------------------------------------------------- data

/// How much of the log was looked at (pitfall R19).
class SeenTransitions {
 public:
  void reset(std::size_t count) { seen_.assign(count, 0), distinct_ = 0; }
  void mark(std::span<const std::uint64_t> ids) {
    for (const std::uint64_t id : ids) {
      std::uint8_t& flag = seen_[static_cast<std::size_t>(id)];
      distinct_ += flag == 0 ? 1U : 0U;
      flag = 1;
    }
  }
  std::size_t size() const { return seen_.size(); }
  std::size_t distinct() const { return distinct_; }
  template <class A>
  void archive(A& ar) {
    ar(seen_, distinct_);
  }

 private:
  std::vector<std::uint8_t> seen_ = {};
  std::size_t distinct_ = 0;
};

/// A log in memory, and the batch that was drawn from it last.
template <class S, class Action>
class Logged {
 public:
  static constexpr bool discrete = std::is_integral_v<Action>;
  using Number = std::conditional_t<discrete, int, S>;

  Logged(std::size_t state_size, std::size_t action_size)
      : state_size_(state_size), action_size_(action_size), memory_(memory(1)) {}

  /// Takes the place of what was there. `write(state, numbers)` encodes a state and throws where it can't be one;
  /// `actions`: how many there are, where they are integers. Throws `Error`, and changes nothing, for an empty dataset
  /// and a transition that can't be learned from, which it names.
  template <Dataset D, class Write>
  void load(std::string_view where, const D& data, int actions, Write&& write) {
    if (data.size() == 0) fail(where, "the dataset is empty; expected at least one transition");
    auto memory = this->memory(data.size());
    std::vector<S> state(state_size_), next(state_size_);
    std::vector<Number> action(action_size_);
    for (std::size_t i = 0; i < data.size(); ++i) {
      const auto t = data[i];
      try {
        write(t.state, std::span<S>(state));
        write(t.next, std::span<S>(next));
        if constexpr (discrete) {
          check_range(where, "the action", static_cast<int>(t.action), 0, actions - 1);
          action[0] = static_cast<int>(t.action);
        } else {
          check_size(where, "the action", dimensions_of(t.action), action_size_);
          for (std::size_t d = 0; d < action_size_; ++d) action[d] = static_cast<S>(entry(t.action, d));
        }
        add(memory, state, action, static_cast<S>(t.reward), next, static_cast<bool>(t.terminated),
            static_cast<bool>(t.truncated));
      } catch (const Error& e) { fail(where, "transition {} of the dataset: {}", i, e.what()); }
    }
    memory_ = std::move(memory);
    seen_.reset(memory_.size());
    return_.clear();
  }
  /// Finds the discounted return from each transition on. Where an episode was cut off, or another one begins without a
  /// word, what follows is taken to be worth `tail`.
  void find_returns(double discount, double tail) {
    const std::size_t n = memory_.size();
    std::vector<S> reward(n), next(n, static_cast<S>(tail));
    const auto terminated = std::make_unique<bool[]>(n), truncated = std::make_unique<bool[]>(n);
    for (std::size_t i = 0; i < n; ++i) {
      const auto t = memory_[i];
      reward[i] = t.reward;
      terminated[i] = t.terminated;
      truncated[i] = t.truncated || i + 1 == n || !std::ranges::equal(t.next, memory_[i + 1].state);
    }
    return_.assign(n, S(0));
    discounted_returns(Steps<S>{.reward = reward,
                                .next_value = next,
                                .terminated = {terminated.get(), n},
                                .truncated = {truncated.get(), n}},
                       std::span<S>(return_), {.discount = discount});
  }

  /// Draws a batch. Throws `Error` where nothing was loaded (pitfall R19).
  void draw(std::string_view where, int count, double discount, Rng& rng) {
    if (memory_.empty()) fail(where, "there is no data; call load first");
    memory_.sample(static_cast<std::size_t>(count), batch_, rng, {.steps = 1, .discount = discount});
    seen_.mark(batch_.id);
  }
  const ReplayBatch<S, Number>& batch() const { return batch_; }
  Eigen::Index batch_size() const { return static_cast<Eigen::Index>(batch_.size()); }
  Outputs<S> states() const { return outputs_of(batch_.state); }
  Outputs<S> next_states() const { return outputs_of(batch_.next); }
  /// An `int`, or the numbers.
  auto action(Eigen::Index j) const {
    if constexpr (discrete)
      return batch_.action(0, j);
    else
      return std::span<const S>(batch_.action.data() + j * batch_.action.rows(), action_size_);
  }
  /// `ReplayBatch::target`.
  S bootstrap(Eigen::Index j, S next_value) const { return batch_.target(j, next_value); }
  /// What `find_returns` found.
  S logged_return(Eigen::Index j) const {
    return return_[static_cast<std::size_t>(batch_.id[static_cast<std::size_t>(j)])];
  }
  /// The critic's input for logged actions: states, above the actions where these are numbers.
  Outputs<S> critic_input() {
    if constexpr (discrete) {
      return states();
    } else {
      joined_.resize(batch_.state.rows() + batch_.action.rows(), batch_size());
      joined_.topRows(batch_.state.rows()) = batch_.state;
      joined_.bottomRows(batch_.action.rows()) = batch_.action;
      return outputs_of(joined_);
    }
  }

  std::size_t size() const { return memory_.size(); }
  std::size_t distinct() const { return seen_.distinct(); }

  template <class A>
  void archive(A& ar) {
    ar(memory_, return_, seen_);
    constexpr auto where = "archive";
    check_size(where, "the log's states", memory_.state_size(), state_size_);
    check_size(where, "the log's actions", memory_.action_size(), action_size_);
    check_size(where, "the log's marks", seen_.size(), memory_.size());
    if (!return_.empty()) check_size(where, "the log's returns", return_.size(), memory_.size());
  }

 private:
  auto memory(std::size_t capacity) const {
    if constexpr (discrete)
      return Replay<S>(state_size_, {.capacity = capacity});
    else
      return Replay<S, S>(state_size_, action_size_, {.capacity = capacity});
  }
  template <class M>
  static void add(M& memory, const std::vector<S>& state, const std::vector<Number>& action, S reward,
                  const std::vector<S>& next, bool terminated, bool truncated) {
    if constexpr (discrete)
      memory.add({state, action[0], reward, next, terminated, truncated});
    else
      memory.add({state, action, reward, next, terminated, truncated});
  }

  std::size_t state_size_, action_size_;
  Replay<S, Number> memory_;
  std::vector<S> return_ = {};  // empty, or one a transition
  SeenTransitions seen_ = {};
  // scratch
  ReplayBatch<S, Number> batch_ = {};
  Matrix<S> joined_ = {};
};

// ---------------------------------------------------------------- policy, state values and critics

/// A policy that is fitted to logged actions.
template <Approximator Given, ActionDistribution L, Optimizer O>
class LoggedPolicy {
 public:
  using F = ByColumns<Given>;
  using S = typename F::Scalar;
  using Action = typename L::Action;
  using Data = Logged<S, Action>;

  LoggedPolicy(std::string_view where, Given f, L law, const O& optimizer, Rng& start)
      : net_(by_columns(std::move(f)), optimizer, start),
        law_(std::move(law)),
        action_size_(action_dimensions<S>(law_)),
        state_(net_.learned().input_count()) {
    check_size(where, "the policy's outputs", static_cast<std::size_t>(net_.model().output_size()),
               static_cast<std::size_t>(law_.size()));
  }

  const Network<F, O>& net() const { return net_; }
  Network<F, O>& net() { return net_; }
  const L& law() const { return law_; }
  std::size_t action_size() const { return action_size_; }
  Data data() const { return {state_.size(), action_size_}; }

  template <class State>
  Action act(const State& state, Rng& rng) {
    return law_.sample(outputs(state), rng);
  }
  template <class State>
  Action greedy(const State& state) {
    return law_.mode(outputs(state));
  }
  template <class State>
  std::span<const S> outputs(const State& state) {
    net_.learned().write_input(state, std::span<S>(state_));
    return column(net_.forward({state_.data(), static_cast<Eigen::Index>(state_.size()), 1}, act_tape_), 0);
  }

  template <Dataset D>
  void load(std::string_view where, const D& data, Data& into) const {
    into.load(where, data, discrete_actions(), [&](const auto& state, std::span<S> numbers) {
      net_.learned().write_input(state, numbers);
      if constexpr (requires { net_.model().check_input(numbers); }) net_.model().check_input(numbers);
    });
  }
  /// A step down the mean of `loss` over the batch; `weight` is empty where it isn't read. Returns the mean.
  template <class Loss>
  double fit(std::string_view where, const Loss& loss, const Data& data, std::span<const S> weight, double max_norm,
             double factor) {
    const auto y = net_.forward(data.states(), tape_);
    for (const S output : std::span<const S>(y.data(), static_cast<std::size_t>(y.size())))
      check_divergence(where, "the policy's output", static_cast<double>(output), net_.updates());
    auto dy = dy_.zero(y.rows(), y.cols());
    const S share = S(1) / static_cast<S>(y.cols());
    double sum = 0;
    for (Eigen::Index j = 0; j < y.cols(); ++j) {
      const auto yj = column(y, j);
      const auto [value, slope] = loss(LogProbSample<S>{law_.log_prob(yj, data.action(j)),
                                                        weight.empty() ? S(1) : weight[static_cast<std::size_t>(j)]});
      law_.log_prob(yj, data.action(j), share * slope, column(dy, j));
      sum += static_cast<double>(value);
    }
    const double mean =
        check_divergence(where, "the policy's loss", sum / static_cast<double>(y.cols()), net_.updates());
    net_.pullback(data.states(), tape_, dy_.get());
    net_.step(where, max_norm, factor);
    return mean;
  }

  template <class A>
  void archive(A& ar) {
    ar(net_);
  }

 private:
  int discrete_actions() const {
    if constexpr (Data::discrete)
      return law_.size();
    else
      return 0;
  }
  Network<F, O> net_;
  L law_;
  std::size_t action_size_;
  std::vector<S> state_;
  typename F::Tape act_tape_ = {}, tape_ = {};
  BatchBuffer<S> dy_ = {};
};

/// V(s), fitted to a number a transition.
template <Approximator Given, Optimizer O>
class LoggedValues {
 public:
  using F = ByColumns<Given>;
  using S = typename F::Scalar;

  LoggedValues(std::string_view where, Given f, const O& optimizer, std::size_t state_size, Rng& start)
      : net_(by_columns(std::move(f)), optimizer, start) {
    check_size(where, "the value's outputs", static_cast<std::size_t>(net_.model().output_size()), 1);
    check_size(where, "the value's inputs", net_.learned().input_count(), state_size);
  }
  const Network<F, O>& net() const { return net_; }

  Outputs<S> operator()(const Outputs<S>& states) { return net_.forward(states, look_tape_); }
  /// A step down the mean of `loss(value, target)`. `advantage[j]` = target(j) - V(s_j) before it. Returns the mean.
  template <class Loss, class Target>
  double fit(std::string_view where, const Loss& loss, const Outputs<S>& states, Target&& target, Vector<S>& advantage,
             double max_norm, double factor) {
    const auto v = net_.forward(states, tape_);
    auto dv = dv_.zero(1, v.cols());
    advantage.resize(v.cols());
    const S share = S(1) / static_cast<S>(v.cols());
    double sum = 0;
    unless_diverged(where, net_.updates(), [&] {
      for (Eigen::Index j = 0; j < v.cols(); ++j) {
        const S y = target(j);
        const auto [value, slope] = loss(ValueSample<S>{.value = v(0, j), .target = y});
        advantage[j] = y - v(0, j);
        dv(0, j) = share * slope;
        sum += static_cast<double>(value);
      }
    });
    const double mean =
        check_divergence(where, "the values' loss", sum / static_cast<double>(v.cols()), net_.updates());
    net_.pullback(states, tape_, dv_.get());
    net_.step(where, max_norm, factor);
    return mean;
  }

  template <class A>
  void archive(A& ar) {
    ar(net_);
  }

 private:
  Network<F, O> net_;
  typename F::Tape look_tape_ = {}, tape_ = {};
  BatchBuffer<S> dv_ = {};
};

/// Two critics of logged actions, and their targets. Actions that are integers: an output an action, of a state; others:
/// one output, of the state above the action.
template <Approximator Given, class Action, Optimizer O>
class LoggedCritics {
 public:
  using F = Parallel<ByColumns<Given>, ByColumns<Given>>;
  using S = typename F::Scalar;
  using Data = Logged<S, Action>;

  LoggedCritics(std::string_view where, Given f, const O& optimizer, std::size_t state_size, std::size_t action_size,
                int outputs, Rng& start)
      : net_(F(by_columns(f), by_columns(f)), optimizer, start), target_(net_.theta().begin(), net_.theta().end()) {
    check_size(where, "the critic's outputs", static_cast<std::size_t>(net_.model().first().output_size()),
               static_cast<std::size_t>(Data::discrete ? outputs : 1));
    check_size(where, "the critic's inputs", net_.learned().input_count(),
               Data::discrete ? state_size : state_size + action_size);
  }
  const Network<F, O>& net() const { return net_; }
  Network<F, O>& net() { return net_; }
  std::span<const S> target() const { return target_; }

  /// The smaller of what the target critics say of the logged actions.
  void least_of_targets(Data& data, Vector<S>& out) {
    const auto q = net_.forward_with(target_, data.critic_input(), target_tape_);
    out.resize(q.cols());
    for (Eigen::Index j = 0; j < q.cols(); ++j) out[j] = (std::min)(q(row(data, 0, j), j), q(row(data, 1, j), j));
  }
  /// A step of both towards `target(j)`: the mean over the batch of the sum of their squared errors, halved.
  template <class Target>
  double fit(std::string_view where, Data& data, Target&& target, double max_norm, double factor) {
    const auto x = data.critic_input();
    const auto q = net_.forward(x, tape_);
    auto dq = dq_.zero(q.rows(), q.cols());
    const S share = S(1) / static_cast<S>(q.cols());
    double sum = 0;
    for (Eigen::Index j = 0; j < q.cols(); ++j)
      for (const int k : {0, 1}) {
        const S error = q(row(data, k, j), j) - target(j);
        sum += static_cast<double>(error) * static_cast<double>(error) / 2;
        dq(row(data, k, j), j) = share * error;
      }
    const double mean =
        check_divergence(where, "the critics' loss", sum / static_cast<double>(q.cols()), net_.updates());
    net_.pullback(x, tape_, dq_.get());
    net_.step(where, max_norm, factor);
    return mean;
  }
  void move_targets(double rate) { polyak_average(std::span<S>(target_), net_.theta(), rate); }

  template <class A>
  void archive(A& ar) {
    ar(net_, target_);
    check_size("archive", "the target critics", target_.size(), net_.theta().size());
  }

 private:
  Eigen::Index row(const Data& data, int k, Eigen::Index j) const {
    if constexpr (Data::discrete)
      return k * net_.model().first().output_size() + data.action(j);
    else
      return k;
  }
  Network<F, O> net_;
  std::vector<S> target_;
  typename F::Tape tape_ = {}, target_tape_ = {};
  BatchBuffer<S> dq_ = {};
};

}  // namespace valence::detail
