#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "valence/agent/state_values.hpp"
#include "valence/agent/value_agent.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/policy/rate.hpp"
#include "valence/value/one_step.hpp"
#include "valence/value/traces.hpp"

/// Agents with eligibility traces (Sutton and Barto 2018, chapter 12). The trace decays by discount lambda on entering
/// a state, whatever leaves it (pitfall V18), and is forgotten at the end of an episode. On a table, or over tile
/// coding, a step costs O(entries visited lately).
namespace valence {

/// `lambda` in [0, 1]; `trace`: how visits are remembered; `trace_cutoff` >= 0: traces that decay so far are dropped.
/// The others as in `OnlineOptions`.
struct LambdaOptions {
  Rate step_size = 0.1;
  double discount = 0.99, lambda = 0.9;
  Trace trace = Trace::accumulating;
  double trace_cutoff = 1e-12;
};

/// The same without a kind of trace: true online methods have theirs.
struct TrueOnlineOptions {
  Rate step_size = 0.1;
  double discount = 0.99, lambda = 0.9;
  double trace_cutoff = 1e-12;
};

namespace detail {

/// One semi-gradient step with a trace, and for `Trace::dutch` the correction that makes it true online (van Seijen et
/// al. 2016, algorithm 1): the value of a state as it was before the last step, next to the one that it has now.
template <Approximator F>
class TraceLearner {
  using S = typename F::Scalar;

 public:
  TraceLearner(std::string_view where, const Learned<F>& f, const LambdaOptions& options)
      : traces_(f.theta.size(), static_cast<S>(options.trace_cutoff)), kind_(options.trace) {
    check_range(where, "lambda", options.lambda, 0, 1);
  }

  /// `value` is output `o` of the state looked at in `here`, `target` is r + discount `next_value`, `decay` is discount
  /// lambda, `step` the step size.
  void step(Learned<F>& f, StateValues<F>& here, int o, S value, S target, S next_value, S decay, S step) {
    traces_.decay(decay);
    const S error = target - value;
    if (kind_ == Trace::accumulating) {
      here.each(f, o, [&](std::size_t i, S x) { traces_.add(i, x); });
    } else if (kind_ == Trace::replacing) {
      here.each(f, o, [&](std::size_t i, S x) {
        if (x != S(0)) traces_.set(i, x);
      });
    } else {
      S overlap = 0;
      here.each(f, o, [&](std::size_t i, S x) { overlap += traces_[i] * x; });
      here.each(f, o, [&](std::size_t i, S x) {
        if (x != S(0)) traces_.add(i, (S(1) - step * overlap) * x);
      });
      const S change = value - before_;
      traces_.apply(f.theta, step * (error + change));
      here.each(f, o, [&](std::size_t i, S x) { f.theta[i] -= step * change * x; });
      before_ = next_value;
      return;
    }
    traces_.apply(f.theta, step * error);
  }
  void forget() {
    traces_.clear();
    before_ = S(0);
  }
  const Traces<S>& traces() const { return traces_; }

  template <class A>
  void archive(A& ar) {
    const std::size_t size = traces_.size();
    ar(traces_, before_);
    check_size("archive", "the traces", traces_.size(), size);
  }

 private:
  Traces<S> traces_;
  Trace kind_;
  S before_ = 0;
};

}  // namespace detail

/// Sarsa(lambda) (Rummery and Niranjan 1994; Sutton and Barto 2018, section 12.7). With `Trace::dutch` true online
/// Sarsa(lambda) (van Seijen et al. 2016), which is exact for tables and linear models. lambda = 0 is `Sarsa`.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class SarsaLambda : public detail::ValueAgent<F, Choice> {
  using Base = detail::ValueAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random.
  explicit SarsaLambda(F model, Choice choice = {}, LambdaOptions options = {}, Rng start = Rng{})
      : Base("SarsaLambda", std::move(model), std::move(choice), options.step_size, options.discount, start),
        learner_("SarsaLambda", this->q_, options),
        lambda_(options.lambda) {}

  /// Throws `Error` for a reward or a value that isn't finite, and a state or an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng& rng) {
    const int action = this->checked_action("SarsaLambda", t);
    const S step = static_cast<S>(this->next_step_size("SarsaLambda"));
    const auto next = this->next_values(t);
    const int next_action = t.terminated ? -1 : this->choice_.choose(next, rng);
    const S next_value = t.terminated ? S(0) : next[static_cast<std::size_t>(next_action)];
    const S target = td_target(static_cast<S>(t.reward), next_value, t.terminated, {this->discount_});
    const S value = this->here_.look(this->q_, t.state)[static_cast<std::size_t>(action)];
    learner_.step(this->q_, this->here_, action, value, target, next_value, static_cast<S>(this->discount_ * lambda_),
                  step);
    ++this->steps_;
    this->chosen_ = t.truncated ? -1 : next_action;
    if (t.terminated || t.truncated) learner_.forget();
  }
  /// Forgets the trace of an episode that didn't go on.
  void begin_episode() {
    Base::begin_episode();
    learner_.forget();
  }
  const Traces<S>& traces() const { return learner_.traces(); }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(learner_);
  }

 private:
  detail::TraceLearner<F> learner_;
  double lambda_;
};

/// Watkins's Q(lambda) (Watkins 1989; Sutton and Barto 2018, section 12.10): Q-learning whose trace is cut where an
/// action was taken that isn't a greedy one, as what follows then is not the greedy policy's. lambda = 0 is
/// `QLearning`. `Trace::dutch` throws: the correction is for one policy's values.
template <Approximator F, ActionChoice Choice = EpsilonGreedy>
class QLambda : public detail::ValueAgent<F, Choice> {
  using Base = detail::ValueAgent<F, Choice>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters of models that begin at random.
  explicit QLambda(F model, Choice choice = {}, LambdaOptions options = {}, Rng start = Rng{})
      : Base("QLambda", std::move(model), std::move(choice), options.step_size, options.discount, start),
        learner_("QLambda", this->q_, options),
        lambda_(options.lambda) {
    if (options.trace == Trace::dutch) fail("QLambda", "trace is dutch; expected accumulating or replacing");
  }

  /// Throws `Error`, and changes nothing, for a reward or a value that isn't finite, and a state or an action that
  /// doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    const int action = this->checked_action("QLambda", t);
    const S step = static_cast<S>(this->next_step_size("QLambda"));
    const auto next = this->next_values(t);
    const S target = q_learning_target(static_cast<S>(t.reward), next, t.terminated, {this->discount_});
    const auto q = this->here_.look(this->q_, t.state);
    const S value = q[static_cast<std::size_t>(action)];
    const bool greedy = value == detail::largest_value("QLambda", q).value;
    learner_.step(this->q_, this->here_, action, value, target, S(0),
                  greedy ? static_cast<S>(this->discount_ * lambda_) : S(0), step);
    ++this->steps_;
    if (t.terminated || t.truncated) learner_.forget();
  }
  /// Forgets the trace of an episode that didn't go on.
  void begin_episode() {
    Base::begin_episode();
    learner_.forget();
  }
  const Traces<S>& traces() const { return learner_.traces(); }

  template <class A>
  void archive(A& ar) {
    Base::archive(ar);
    ar(learner_);
  }

 private:
  detail::TraceLearner<F> learner_;
  double lambda_;
};

/// TD(lambda) (Sutton 1988; Sutton and Barto 2018, section 12.2): learns the value of the states under a policy that is
/// given, a function `(state, rng) -> action` or whatever has `sample(state, rng)`. The model has one output. lambda =
/// 0 is TD(0) (6.2), 1 with discount 1 is like Monte Carlo.
///
///     TdLambda walker{Tabular{7, 1}, [](int, Rng&) { return 0; }, {.discount = 1, .lambda = 0.8}};
template <Approximator F, class Policy>
class TdLambda {
  using S = typename F::Scalar;

 public:
  using Scalar = S;

  /// `start` draws the parameters of models that begin at random.
  explicit TdLambda(F model, Policy policy, LambdaOptions options = {}, Rng start = Rng{})
      : v_(std::move(model), start),
        policy_(std::move(policy)),
        step_size_(std::move(options.step_size)),
        discount_(detail::checked_discount("TdLambda", options.discount)),
        lambda_(options.lambda),
        learner_("TdLambda", v_, options),
        here_(v_),
        next_(v_) {
    if (v_.model.output_size() != 1)
      fail("TdLambda", "the model has {} outputs; expected 1, the value", int{v_.model.output_size()});
    static_cast<void>(next_step_size());
  }

  /// What the policy does.
  template <class State>
  auto act(const State& state, Rng& rng) {
    static_assert(detail::SamplesActions<Policy, State> || detail::IsCalledForActions<Policy, State>,
                  "valence: a policy is a function `(state, rng) -> action`, or has `sample(state, rng)`");
    if constexpr (detail::SamplesActions<Policy, State>)
      return std::as_const(policy_).sample(state, rng);
    else
      return std::as_const(policy_)(state, rng);
  }
  /// V(state).
  template <class State>
  S value(const State& state) {
    return here_.look(v_, state)[0];
  }
  /// Throws `Error`, and changes nothing, for a reward or a value that isn't finite and a state that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng&) {
    const S step = static_cast<S>(next_step_size());
    const S next_value = t.terminated ? S(0) : next_.look(v_, t.next)[0];
    const S target = td_target(static_cast<S>(t.reward), next_value, t.terminated, {discount_});
    const S value = here_.look(v_, t.state)[0];
    check_finite("TdLambda", "the state's value", value);
    learner_.step(v_, here_, 0, value, target, next_value, static_cast<S>(discount_ * lambda_), step);
    ++steps_;
    if (t.terminated || t.truncated) learner_.forget();
  }
  /// Forgets the trace of an episode that didn't go on.
  void begin_episode() { learner_.forget(); }

  const F& model() const { return v_.model; }
  /// theta of the model.
  std::span<const S> parameters() const { return v_.theta; }
  std::span<S> parameters() { return v_.theta; }
  const Traces<S>& traces() const { return learner_.traces(); }
  /// Transitions learned from.
  std::int64_t steps() const { return steps_; }

  template <class A>
  void archive(A& ar) {
    ar(v_, steps_, learner_);
  }

 private:
  double next_step_size() const {
    return step_size_.in("TdLambda", "step_size", steps_, 0, (std::numeric_limits<double>::max)());
  }

  detail::Learned<F> v_;
  Policy policy_;
  Rate step_size_;
  double discount_, lambda_;
  std::int64_t steps_ = 0;
  detail::TraceLearner<F> learner_;
  detail::StateValues<F> here_, next_;  // scratch
};

/// True online TD(lambda) (van Seijen and Sutton 2014; Sutton and Barto 2018, section 12.5): after every step the
/// weights are those of the online lambda-return algorithm, which looks at everything seen so far, at the cost of
/// TD(lambda). Exact for tables and linear models.
template <Approximator F, class Policy>
class TrueOnlineTd : public TdLambda<F, Policy> {
 public:
  /// `start` draws the parameters of models that begin at random.
  explicit TrueOnlineTd(F model, Policy policy, TrueOnlineOptions options = {}, Rng start = Rng{})
      : TdLambda<F, Policy>(std::move(model), std::move(policy),
                            {.step_size = std::move(options.step_size),
                             .discount = options.discount,
                             .lambda = options.lambda,
                             .trace = Trace::dutch,
                             .trace_cutoff = options.trace_cutoff},
                            start) {}
};

}  // namespace valence
