#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/deep_q.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/implicit_quantile.hpp"
#include "valence/distributional/implicit_quantile_network.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// How many fractions IQN draws, and how it looks at risk; the defaults are the paper's.
struct ImplicitQuantiles {
  int predictions = 8;  ///< of a state that is learned about, >= 1 (N)
  int targets = 8;      ///< of the state it led to, >= 1 (N')
  int choices = 32;     ///< of a state in which an action is chosen, >= 1 (K)
  double kappa = 1;     ///< of `implicit_quantile_loss`, >= 0
  /// beta: what is maximised is the mean over beta(tau), tau uniform. Any `Distortion`: `CvarDistortion{0.25}`, ...
  std::function<double(double)> distortion = Neutral{};
};

/// Implicit quantile networks (Dabney et al. 2018b, algorithm 1): the network is asked for the return's quantile at any
/// fraction, learns at fractions that are drawn anew for each sample, and acts on the mean over distorted ones.
///
///     Mlp<float> trunk{{4, 64}, relu, {.output = relu}}, head{{64, 64, 2}, relu};
///     Iqn agent{ImplicitQuantileNetwork{trunk, head}, ImplicitQuantiles{.distortion = CvarDistortion{0.25}},
///               Adam{.step_size = 1e-3}, {.target_every = 500}};
///     train(agent, TimeLimit{CartPole{}}, {.steps = 50'000}, rng);
///
/// `DqnOptions` mean what they do for `Dqn`; priorities are the loss of each sample. The next action of a target is the
/// one best under the distortion, by the target network (with `double_q` by the online one). `act` and `update` draw
/// fractions; `greedy` and `values` take the midpoints (2 k + 1) / 2K instead, distorted, so that they are functions of
/// the state (a choice). The number of fractions that the network came with doesn't matter.
template <Approximator Trunk, InputDifferentiable Head, Optimizer O = Adam>
class Iqn : public detail::DeepQ<ImplicitQuantileNetwork<Trunk, Head>, O> {
  using F = ImplicitQuantileNetwork<Trunk, Head>;
  using Base = detail::DeepQ<F, O>;
  using S = typename F::Scalar;

 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges.
  Iqn(const F& network, ImplicitQuantiles quantiles, const O& optimizer, DqnOptions options = {}, Rng start = Rng{})
      : Base("Iqn", network.with_fractions(quantiles.predictions), network.actions(),
             static_cast<std::size_t>(network.state_size()), optimizer, std::move(options), start),
        quantiles_(std::move(quantiles)),
        judge_(network.with_fractions(quantiles_.targets)),
        chooser_(network.with_fractions(quantiles_.choices)),
        midpoints_(static_cast<std::size_t>(quantiles_.choices)) {
    if (!quantiles_.distortion) fail("Iqn", "the distortion is empty; expected one, Neutral for the mean");
    check_range("Iqn", "kappa", quantiles_.kappa, 0, (std::numeric_limits<double>::max)());
    for (std::size_t k = 0; k < midpoints_.size(); ++k) {
      const double tau = quantiles_.distortion(detail::midpoint<double>(k, midpoints_.size()));
      check_range("Iqn", "a distorted fraction", tau, 0, 1);
      midpoints_[k] = static_cast<S>(tau);
    }
  }

  /// epsilon-greedy, on fractions that are drawn.
  template <class State>
  int act(const State& state, Rng& rng) {
    if (this->explores(rng)) return this->any_action(state, rng);
    return best(state, [&](std::span<S> taus) { sample_fractions(rng, taus, quantiles_.distortion); });
  }
  /// The first of the best actions, on the midpoints.
  template <class State>
  int greedy(const State& state) {
    return best(state, at_midpoints());
  }
  template <class State>
  int greedy(const State& state, Rng&) {
    return greedy(state);
  }
  /// What the distortion makes of each action's return, its expectation where that is neutral, on the midpoints: valid
  /// until the agent is used again.
  template <class State>
  std::span<const S> values(const State& state) {
    action_values(chosen_by(), outputs(state, at_midpoints()), std::span<S>(this->values_));
    return this->values_;
  }

  /// Remembers the transition and, where it is time, learns. Throws `Error`, and remembers nothing, for numbers that
  /// aren't finite and an action that doesn't exist.
  template <class State, class Action>
  void learn(const Transition<State, Action>& t, Rng& rng) {
    this->learn_by(t, [&] { update(rng); });
  }

  /// One gradient step on a batch of what is remembered. `learn` does this by itself.
  void update(Rng& rng) {
    this->draw_batch(rng);
    find_targets(rng);
    const auto& b = this->batch_;
    const auto n = static_cast<std::size_t>(quantiles_.predictions);
    const auto x = ask(b.state, quantiles_.predictions, [&](std::span<S> taus) { sample_fractions(rng, taus); });
    const auto y = this->net_.forward(x, this->tape_);
    auto dy = this->dy_.zero(y.rows(), y.cols());
    const S share = S(1) / static_cast<S>(y.cols());
    double sum = 0;
    for (Eigen::Index j = 0; j < y.cols(); ++j) {
      const auto action = static_cast<std::size_t>(b.action(0, j));
      const S weight = b.weight.size() == 0 ? S(1) : b.weight[j];
      const S loss =
          implicit_quantile_loss<S>(detail::action_outputs(detail::column(y, j), quantiles_.predictions, action),
                                    detail::column(x, j).last(n), detail::column(this->target_law_.get(), j),
                                    detail::action_outputs(detail::column(dy, j), quantiles_.predictions, action),
                                    weight * share, {.kappa = quantiles_.kappa});
      this->losses_[static_cast<std::size_t>(j)] = loss;
      sum += static_cast<double>(weight) * static_cast<double>(loss);
    }
    this->loss_ = sum * static_cast<double>(share);
    this->descend(x, this->tape_, this->dy_.get());
  }

  const ImplicitQuantiles& quantiles() const { return quantiles_; }
  /// The fractions of `greedy`: the midpoints, distorted.
  std::span<const S> greedy_fractions() const { return midpoints_; }

 private:
  // K quantiles of an action are a law of equal weights, whatever their fractions.
  QuantileReturn chosen_by() const { return {.quantiles = quantiles_.choices}; }
  auto at_midpoints() const {
    return [this](std::span<S> taus) { std::copy(midpoints_.begin(), midpoints_.end(), taus.begin()); };
  }

  // States above n fractions each, which `fractions(taus)` writes: the network's input, in `asked_`.
  template <class States, class Fractions>
  Outputs<S> ask(const States& states, int n, Fractions&& fractions) {
    auto x = asked_.resize(states.rows() + n, states.cols());
    for (Eigen::Index j = 0; j < states.cols(); ++j) {
      x.col(j).head(states.rows()) = states.col(j);
      fractions(asked_.column(j).last(static_cast<std::size_t>(n)));
    }
    return asked_.get();
  }
  template <class State, class Fractions>
  std::span<const S> outputs(const State& state, Fractions&& fractions) {
    auto& s = this->state_;
    this->net_.learned().write_input(state, std::span<S>(s));
    const auto x = ask(Outputs<S>(s.data(), static_cast<Eigen::Index>(s.size()), 1), quantiles_.choices, fractions);
    return detail::column(chooser_.forward(this->parameters(), x, this->act_tape_), 0);
  }
  template <class State, class Fractions>
  int best(const State& state, Fractions&& fractions) {
    const auto y = outputs(state, fractions);
    return static_cast<int>(greedy_action(chosen_by(), y, this->mask_(std::span<const S>(this->state_))));
  }

  // target_law_ = r + discount^m Z_tau'(s', best action of s'): N' samples, a column an entry of the batch.
  void find_targets(Rng& rng) {
    const auto& b = this->batch_;
    const auto z = chooser_.forward(
        this->options_.double_q ? std::span<const S>(this->parameters()) : this->target_parameters(),
        ask(b.next, quantiles_.choices, [&](auto taus) { sample_fractions(rng, taus, quantiles_.distortion); }),
        choice_tape_);
    const auto next =
        judge_.forward(this->target_, ask(b.next, quantiles_.targets, [&](auto taus) { sample_fractions(rng, taus); }),
                       this->target_tape_);
    const QuantileReturn samples{.quantiles = quantiles_.targets};
    auto law = this->target_law_.resize(quantiles_.targets, next.cols());
    for (Eigen::Index j = 0; j < next.cols(); ++j) {
      const S discount = this->next_discount(j);
      const std::size_t best = discount == 0 ? 0 : greedy_action(chosen_by(), detail::column(z, j), this->next_mask(j));
      samples.bootstrap(detail::action_outputs(detail::column(next, j), quantiles_.targets, best), b.reward[j],
                        discount, detail::column(law, j));
    }
  }

  ImplicitQuantiles quantiles_;
  F judge_, chooser_;  // the network, asked for N' and K fractions
  std::vector<S> midpoints_;
  // scratch
  typename F::Tape choice_tape_ = {};
  detail::BatchBuffer<S> asked_ = {};
};

}  // namespace valence
