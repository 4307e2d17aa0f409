#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/fit.hpp"

/// What learned models of the dynamics say about states: of ensembles whose inputs are a state and, below it, a one-hot
/// action in each column, and whose outputs are the next state (`Residual` for one).
namespace valence {

/// What follows each action in each state: of state j and action a, column (entry) actions * j + a.
template <Scalar S>
struct ActionOutcomes {
  Matrix<S> next_states = {};         ///< coordinates x (states * actions)
  Vector<S> rewards = {};             ///< states * actions
  std::vector<bool> terminated = {};  ///< likewise; empty: nothing ends
};

namespace detail {

template <class F>
void check_dynamics(std::string_view where, const ModelEnsemble<F>& ensemble, Eigen::Index state, int actions) {
  check_positive(where, "the number of models", ensemble.size());
  check_positive(where, "actions", actions);
  check_shape(where, "the model (outputs x inputs)", ensemble.model.output_size(), ensemble.model.input_size(), state,
              state + actions);
}

/// (s; one-hot a) in column k.
template <class S, class State>
void write_state_action(Matrix<S>& x, Eigen::Index k, const State& state, int action) {
  x.col(k).setZero();
  x.col(k).head(state.size()) = state;
  x(state.size() + action, k) = S(1);
}

}  // namespace detail

/// (s; one-hot a) in each column, the input of a model of the dynamics. `states`: coordinates x samples; `taken`: an
/// action in [0, actions) a sample.
template <Scalar S>
Matrix<S> state_action_columns(const Matrix<S>& states, std::span<const int> taken, int actions) {
  constexpr auto where = "state_action_columns";
  check_positive(where, "actions", actions);
  check_size(where, "taken", taken.size(), static_cast<std::size_t>(states.cols()));
  check_range(where, "taken", taken, 0, actions - 1);
  Matrix<S> x(states.rows() + actions, states.cols());
  for (Eigen::Index j = 0; j < states.cols(); ++j)
    detail::write_state_action(x, j, states.col(j), taken[static_cast<std::size_t>(j)]);
  return x;
}

/// What each member says follows every action in every state: an entry a member. `reward(state, action, next)` gets two
/// spans of coordinates and an index, and gives a finite number. Throws `Error` for states that the model doesn't take
/// and for predictions and rewards that aren't finite.
template <Approximator F, class Reward>
  requires std::invocable<Reward&, std::span<const typename F::Scalar>, int, std::span<const typename F::Scalar>>
std::vector<ActionOutcomes<typename F::Scalar>> imagine_outcomes(const ModelEnsemble<F>& ensemble,
                                                                 const Matrix<typename F::Scalar>& states, int actions,
                                                                 Reward&& reward) {
  using S = typename F::Scalar;
  constexpr auto where = "imagine_outcomes";
  detail::check_dynamics(where, ensemble, states.rows(), actions);
  check_finite(where, "states", view(states));
  const auto dimension = static_cast<std::size_t>(states.rows());
  Matrix<S> x(states.rows() + actions, states.cols() * actions);
  for (Eigen::Index k = 0; k < x.cols(); ++k)
    detail::write_state_action(x, k, states.col(k / actions), static_cast<int>(k % actions));
  typename F::Tape tape;
  std::vector<ActionOutcomes<S>> all;
  for (std::size_t m = 0; m < ensemble.size(); ++m) {
    ActionOutcomes<S> outcomes{.next_states = ensemble.forward(m, x, tape), .rewards = Vector<S>(x.cols())};
    check_finite(where, "the predicted states", view(std::as_const(outcomes.next_states)));
    for (Eigen::Index k = 0; k < x.cols(); ++k)
      outcomes.rewards[k] =
          static_cast<S>(reward(std::span<const S>(x.data() + k * x.rows(), dimension), static_cast<int>(k % actions),
                                std::span<const S>(outcomes.next_states.data() + k * states.rows(), dimension)));
    check_finite(where, "the rewards", view(std::as_const(outcomes.rewards)));
    all.push_back(std::move(outcomes));
  }
  return all;
}

/// `count` >= the number of starts: states altogether. `length` >= 1: steps of a rollout before the next begins. `bound`
/// > 0: coordinates are cut to [-bound, bound], because a model that is wrong can run away.
struct ImagineOptions {
  std::size_t count = 1500;
  int length = 10;
  double bound = std::numeric_limits<double>::infinity();
};

/// The starts, and states that the models reach from them: short branched rollouts (Janner et al. 2019, algorithm 2),
/// each from a start drawn at random, with uniform actions and a random member at each step. `starts`: coordinates x
/// samples, finite. Throws `Error` for options out of range and starts that the model doesn't take.
template <Approximator F>
Matrix<typename F::Scalar> imagine_states(const ModelEnsemble<F>& ensemble, const Matrix<typename F::Scalar>& starts,
                                          int actions, const ImagineOptions& options, Rng& rng) {
  using S = typename F::Scalar;
  constexpr auto where = "imagine_states";
  detail::check_dynamics(where, ensemble, starts.rows(), actions);
  check_positive(where, "the number of starts", starts.cols());
  check_finite(where, "starts", view(starts));
  check_positive(where, "length", options.length);
  if (!(options.bound > 0)) fail(where, "bound is {}; expected a number greater than 0", options.bound);
  const auto given = static_cast<std::size_t>(starts.cols());
  if (options.count < given) fail(where, "count is {}; expected at least {}, the starts", options.count, given);
  Matrix<S> states(starts.rows(), static_cast<Eigen::Index>(options.count)), x(starts.rows() + actions, 1);
  states.leftCols(starts.cols()) = starts;
  const S bound = static_cast<S>((std::min)(options.bound, static_cast<double>((std::numeric_limits<S>::max)())));
  typename F::Tape tape;
  Vector<S> state;
  for (Eigen::Index k = starts.cols(), step = 0; k < states.cols(); ++k, ++step) {
    if (step % options.length == 0) state = starts.col(static_cast<Eigen::Index>(rng.below(given)));
    detail::write_state_action(x, 0, state, rng.below(actions));
    state = ensemble.forward(rng.below(ensemble.size()), x, tape).col(0).cwiseMax(-bound).cwiseMin(bound);
    states.col(k) = state;
  }
  check_finite(where, "the predicted states", view(std::as_const(states)));
  return states;
}

}  // namespace valence
