#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "valence/agent/metrics.hpp"
#include "valence/agent/network.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/dataset.hpp"
#include "valence/offline/logged.hpp"
#include "valence/offline/losses.hpp"
#include "valence/policy/action_choice.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/rate.hpp"

namespace valence {

struct CqlOptions {
  double discount = 0.99;   ///< in [0, 1]
  double alpha = 1;         ///< >= 0: how hard actions are pushed down; 0 is Q-learning, which believes in unseen ones
  bool calibrated = false;  ///< Cal-QL: nothing is pushed below the logged return of its transition
  /// Cal-QL's alone: what follows a transition that was cut off is worth, as its logged return counts it. Where each step
  /// costs 1 and the goal wasn't reached, -1 / (1 - discount).
  double truncated_value = 0;
  double target_rate = 0.005;    ///< in (0, 1]: of the target's way to the critic, at every update
  int batch = 256;               ///< >= 1
  double max_gradient_norm = 0;  ///< 0: not cut
  Rate step_factor = 1;          ///< of the optimizer's step size, by updates
};

/// Conservative Q-learning for discrete actions (CQL(H), Kumar et al. 2020, arXiv:2006.04779, equation 4): Q-learning on
/// the log whose loss also pushes all of a state's values down and the logged action's up, so that what was never tried
/// doesn't look good. With `calibrated` it is Cal-QL (Nakamoto et al. 2023, arXiv:2303.05479): values aren't pushed below
/// the logged return, so that learning can go on online without unlearning first. The policy is greedy.
///
///     Cql agent{Tabular{states, 4}, Adam{0.05}, {.discount = 0.98, .alpha = 0.1}};
///     Cql agent{Mlp<float>{{4, 64, 64, 2}, relu}, Adam{3e-4}, {.calibrated = true}};
///     train_offline(agent, data, {.updates = 5000}, rng);
template <Approximator F, Optimizer O>
class Cql {
 public:
  using Scalar = typename F::Scalar;
  using Action = int;

  /// `critic`: an output an action. `start` draws the parameters. Throws `Error` for options out of their ranges.
  Cql(F critic, const O& optimizer, CqlOptions options = {}, Rng start = Rng{})
      : net_(detail::by_columns(std::move(critic)), optimizer, start),
        options_(std::move(options)),
        target_(net_.theta().begin(), net_.theta().end()),
        state_(net_.learned().input_count()),
        data_(state_.size(), 1) {
    detail::check_offline(where, options_);
    check_range(where, "alpha", options_.alpha, 0, (std::numeric_limits<double>::max)());
  }

  /// Learns from these transitions from now on; for `calibrated` they must be in the order in which they were played.
  /// Throws `Error`, and changes nothing, for an empty dataset and for a transition that can't be learned from.
  template <Dataset D>
  void load(const D& data) {
    data_.load("Cql::load", data, actions(), [&](const auto& state, std::span<Scalar> numbers) {
      net_.learned().write_input(state, numbers);
      if constexpr (requires { net_.model().check_input(numbers); }) net_.model().check_input(numbers);
    });
    if (options_.calibrated) data_.find_returns(options_.discount, options_.truncated_value);
  }
  /// A step on a batch. Throws `Error` before `load`, and where the run diverges.
  void update(Rng& rng) {
    data_.draw(where, options_.batch, options_.discount, rng);
    const double factor = options_.step_factor.in(where, "step_factor", updates(), 0, 1e9);
    const auto next_q = net_.forward_with(target_, data_.next_states(), target_tape_);
    const auto q = net_.forward(data_.states(), tape_);
    auto dq = dq_.zero(q.rows(), q.cols());
    const CqlLoss loss{.alpha = options_.alpha};
    double sum = 0, logged = 0;
    detail::unless_diverged(where, updates(), [&] {
      for (Eigen::Index j = 0; j < q.cols(); ++j) {
        const S target = data_.bootstrap(j, next_q.col(j).maxCoeff());
        sum += static_cast<double>(loss(detail::column(q, j), data_.action(j), target, S(1) / static_cast<S>(q.cols()),
                                        detail::column(dq, j), {},
                                        options_.calibrated ? data_.logged_return(j) : -infinity));
        logged += static_cast<double>(q(data_.action(j), j));
      }
    });
    loss_ = detail::check_divergence(where, "the loss", sum / static_cast<double>(q.cols()), updates());
    logged_value_ = logged / static_cast<double>(q.cols());
    net_.pullback(data_.states(), tape_, dq_.get());
    net_.step(where, options_.max_gradient_norm, factor);
    polyak_average(std::span<S>(target_), net_.theta(), options_.target_rate);
  }

  /// One of the best actions, ties at random.
  template <class State>
  int greedy(const State& state, Rng& rng) {
    return Greedy{}.choose(values(state), rng);
  }
  template <class State>
  int act(const State& state, Rng& rng) {
    return greedy(state, rng);
  }
  /// Q(s, .), an entry an action: valid until the agent is used again.
  template <class State>
  std::span<const Scalar> values(const State& state) {
    net_.learned().write_input(state, std::span<S>(state_));
    return detail::column(net_.forward({state_.data(), static_cast<Eigen::Index>(state_.size()), 1}, act_tape_), 0);
  }

  const F& model() const { return detail::as_given(net_.model()); }
  const CqlOptions& options() const { return options_; }
  /// theta of the critic, and of its target.
  std::span<const Scalar> parameters() const { return net_.theta(); }
  std::span<Scalar> parameters() { return net_.theta(); }
  std::span<const Scalar> target_parameters() const { return target_; }
  int actions() const { return net_.model().output_size(); }
  /// Steps so far, transitions loaded, and how many of these were looked at.
  std::int64_t updates() const { return net_.updates(); }
  std::size_t transitions() const { return data_.size(); }
  std::size_t distinct_transitions() const { return data_.distinct(); }
  /// Of the last update; "train/logged_value" is the mean of Q(s, a) over the batch.
  std::array<Metric, 3> metrics() const {
    return {{{"train/loss", loss_},
             {"train/logged_value", logged_value_},
             {"train/n_updates", static_cast<double>(updates())}}};
  }

  template <class A>
  void archive(A& ar) {
    ar(net_, target_, data_, loss_, logged_value_);
    check_size("Cql::archive", "the target network", target_.size(), net_.theta().size());
  }

 private:
  using S = Scalar;
  using Model = detail::ByColumns<F>;
  static constexpr auto where = "Cql";
  static constexpr S infinity = std::numeric_limits<S>::infinity();

  detail::Network<Model, O> net_;
  CqlOptions options_;
  std::vector<S> target_;
  std::vector<S> state_;  // scratch
  detail::Logged<S, int> data_;
  double loss_ = 0, logged_value_ = 0;
  // scratch
  typename Model::Tape act_tape_ = {}, tape_ = {}, target_tape_ = {};
  detail::BatchBuffer<S> dq_ = {};
};

}  // namespace valence
