#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/concepts.hpp"

namespace valence {

/// `discount` in [0, 1). After every `target_period` updates >= 1, target = (1 - target_rate) target + target_rate
/// theta, `target_rate` in [0, 1]: rate 1 copies.
struct ProtoValueNetworkOptions {
  double discount = 0.99;
  double target_rate = 0.01;
  std::int64_t target_period = 1;
};

/// Transitions to learn from, a sample a column: `x` and `next` are inputs of the encoder.
template <Approximator Encoder>
struct ProtoValueBatch {
  typename Encoder::Batch x;
  std::span<const int> action;
  typename Encoder::Batch next;
  std::span<const std::uint8_t> terminated;     ///< 1 where nothing follows; empty: nowhere
  Outputs<typename Encoder::Scalar> cumulants;  ///< of x: tasks x samples
};

/// Proto-value networks (Farebrother, Greaves, Agarwal, Le Lan, Goroshin, Castro & Bellemare 2023): features phi(x)
/// from predicting, with a linear head a task and an action and no bias, psi_i(x, a) = w_ia . phi(x), the discounted
/// sum of many cumulants c_i under the policy that draws its actions uniformly:
///
///     y_i = c_i(x) + discount (1 - terminated) mean_a' psi_i(x', a'),     minimise mean 1/2 (psi_i(x, a) - y_i)^2
///
/// over tasks and samples, with y from a target network. Cumulants are of the state where a step begins; usually
/// indicators (value/indicators.hpp). Afterwards `features` serve a linear model of values. With one action it predicts
/// for the process that it is given.
///
///     ProtoValueNetwork pvn{Tabular{104, 32}, {.tasks = 320, .actions = 1}, Adam{.step_size = 0.02}, {},
/// rng.split(0)};     for (int k = 0; k < 4000; ++k) pvn.sweep(process, states, cumulants);
///     Matrix<double> phi = pvn.features(states);                    // 32 x 104
///
/// With Monte-Carlo targets the best d features would span the leading left singular vectors of the successor
/// representation times the cumulants (Eckart & Young 1936). For bootstrapped targets this is not guaranteed.
template <Approximator Encoder, Optimizer O = Adam>
class ProtoValueNetwork {
 public:
  using S = typename Encoder::Scalar;
  using Scalar = S;
  using Inputs = typename Encoder::Batch;

  struct Heads {
    int tasks, actions;
  };

  /// `start` draws the parameters; the target network begins as a copy. Throws `Error` for counts below 1 and options
  /// out of range.
  ProtoValueNetwork(Encoder encoder, Heads heads, O optimizer, const ProtoValueNetworkOptions& options, Rng start)
      : options_(checked(heads, options)),
        heads_(heads),
        network_(encoder, Mlp<S>({encoder.output_size(), heads.tasks * heads.actions}, Activation::identity)),
        theta_(network_.parameter_count()),
        gradient_(theta_.size()),
        state_(optimizer.template start<S>(theta_.size())) {
    network_.initialize(std::span<S>(theta_), start);
    target_ = theta_;
  }

  int tasks() const { return heads_.tasks; }
  int actions() const { return heads_.actions; }
  /// Steps of the optimizer.
  std::int64_t updates() const { return updates_; }
  const Encoder& encoder() const { return network_.first(); }
  /// Of the encoder, then of the heads. Whoever changes them calls `copy_to_target`.
  std::span<S> parameters() { return theta_; }
  std::span<const S> parameters() const { return theta_; }
  /// The encoder's.
  std::span<S> encoder_parameters() { return parameters().first(encoder().parameter_count()); }
  /// The target network becomes the network.
  void copy_to_target() { target_ = theta_; }

  /// phi of inputs: features x samples.
  Matrix<S> features(const Inputs& x) const {
    typename Encoder::Tape tape;
    return encoder().forward(std::span<const S>(theta_).first(encoder().parameter_count()), x, tape);
  }
  /// psi: row a * tasks + i of the result, (tasks * actions) x samples, is task i after action a. Valid until the next
  /// call of anything.
  Outputs<S> predictions(const Inputs& x) { return network_.forward(std::span<const S>(theta_), x, tape_); }

  /// One update on a batch of transitions; `factor` scales the step size. Returns the loss before. Throws `Error`, and
  /// changes nothing, for an empty batch, other sizes, actions that don't exist and cumulants that aren't finite.
  double update(const ProtoValueBatch<Encoder>& batch, double factor = 1) {
    constexpr auto where = "ProtoValueNetwork::update";
    const auto n = static_cast<std::ptrdiff_t>(batch.action.size());
    check_positive(where, "samples", n);
    check_cumulants(where, batch.cumulants, n);
    check_range(where, "action", batch.action, 0, actions() - 1);
    if (!batch.terminated.empty()) check_size(where, "terminated", batch.terminated.size(), batch.action.size());
    bootstrap(where, batch.next, n);
    const auto psi = forward(where, batch.x, n);
    double total = 0;
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const auto at = static_cast<std::size_t>(j);
      next_.setZero();
      if (batch.terminated.empty() || !batch.terminated[at])
        for (int a = 0; a < actions(); ++a) next_ += values_.col(j).segment(a * tasks(), tasks());
      next_ /= static_cast<S>(actions());
      total += regress(psi, j, batch.action[at], batch.cumulants);
    }
    return learn(batch.x, total, n, factor);
  }

  /// One synchronous update on all pairs of a model, with exact expectations: y_i(s, a) = c_i(s) + discount sum_s' P(s'
  /// | s, a) mean_a' psi_i(s', a') over the actions available there. `states`: the encoder's inputs of all states, in
  /// their order; `cumulants`: tasks x states. The model's rewards are not read; a model with one action is the process
  /// of a policy (`policy_process`), and then heads need none either. Errors as for `update`.
  template <FiniteModel M>
  double sweep(const M& model, const Inputs& states, const Matrix<S>& cumulants, double factor = 1) {
    constexpr auto where = "ProtoValueNetwork::sweep";
    const std::ptrdiff_t n = model.states();
    check_size(where, "actions", static_cast<std::size_t>(model.actions()), static_cast<std::size_t>(actions()));
    const Outputs<S> c(cumulants.data(), cumulants.rows(), cumulants.cols());
    check_cumulants(where, c, n);
    bootstrap(where, states, n);
    mean_.setZero(tasks(), n);
    for (int s = 0; s < model.states(); ++s) {
      int available = 0;
      for (int a = 0; a < actions(); ++a)
        if (model.available(s, a)) mean_.col(s) += values_.col(s).segment(a * tasks(), tasks()), ++available;
      if (available > 1) mean_.col(s) /= static_cast<S>(available);
    }
    const auto psi = forward(where, states, n);
    double total = 0;
    std::ptrdiff_t pairs = 0;
    for (int s = 0; s < model.states(); ++s)
      for (int a = 0; a < actions(); ++a) {
        if (!model.available(s, a)) continue;
        next_.setZero();
        for (const auto& to : model.successors(s, a))
          next_ += static_cast<S>(to.probability) * mean_.col(to.next);  // a terminal state's are 0
        total += regress(psi, s, a, c);
        ++pairs;
      }
    return learn(states, total, pairs, factor);
  }

  template <class A>
  void archive(A& ar) {
    ar(theta_, target_, updates_, state_);
  }

 private:
  static ProtoValueNetworkOptions checked(Heads heads, const ProtoValueNetworkOptions& options) {
    constexpr auto where = "ProtoValueNetwork";
    check_positive(where, "tasks", heads.tasks);
    check_positive(where, "actions", heads.actions);
    check_range(where, "discount", options.discount, 0, 1);
    if (options.discount == 1) fail(where, "discount is 1; expected a number below it");
    check_range(where, "target_rate", options.target_rate, 0, 1);
    check_positive(where, "target_period", options.target_period);
    return options;
  }
  void check_cumulants(std::string_view where, const Outputs<S>& cumulants, std::ptrdiff_t samples) const {
    check_shape(where, "cumulants", cumulants.rows(), cumulants.cols(), tasks(), samples);
    check_finite(where, "cumulants", std::span<const S>(cumulants.data(), static_cast<std::size_t>(cumulants.size())));
  }
  Outputs<S> forward(std::string_view where, const Inputs& x, std::ptrdiff_t samples) {
    const auto psi = network_.forward(std::span<const S>(theta_), x, tape_);
    check_size(where, "x", static_cast<std::size_t>(psi.cols()), static_cast<std::size_t>(samples));
    d_psi_.setZero(psi.rows(), psi.cols());
    return psi;
  }
  /// The target network's predictions, into `values_`.
  void bootstrap(std::string_view where, const Inputs& x, std::ptrdiff_t samples) {
    const auto psi = network_.forward(std::span<const S>(target_), x, target_tape_);
    check_size(where, "the inputs", static_cast<std::size_t>(psi.cols()), static_cast<std::size_t>(samples));
    values_ = psi;
    next_.resize(tasks());
  }
  /// The errors of sample j after action a, with `next_` for what follows, into `d_psi_`. Half the sum of their
  /// squares.
  double regress(const Outputs<S>& psi, std::ptrdiff_t j, int a, const Outputs<S>& cumulants) {
    auto error = d_psi_.col(j).segment(a * tasks(), tasks());
    error = psi.col(j).segment(a * tasks(), tasks()) - cumulants.col(j) - static_cast<S>(options_.discount) * next_;
    return static_cast<double>(error.squaredNorm()) / 2;
  }
  double learn(const Inputs& x, double total, std::ptrdiff_t samples, double factor) {
    const double count = static_cast<double>(samples) * tasks();
    if (!std::isfinite(total)) fail("ProtoValueNetwork", "the loss is {}; expected a smaller step size", total / count);
    d_psi_ /= static_cast<S>(count);
    std::fill(gradient_.begin(), gradient_.end(), S(0));
    network_.pullback(std::span<const S>(theta_), x, tape_, Outputs<S>(d_psi_.data(), d_psi_.rows(), d_psi_.cols()),
                      std::span<S>(gradient_));
    // Heads are linear: their biases, the last parameters, begin at 0 and stay.
    std::fill(gradient_.end() - d_psi_.rows(), gradient_.end(), S(0));
    state_.step(std::span<S>(theta_), std::span<const S>(gradient_), factor);
    if (++updates_ % options_.target_period == 0)
      polyak_average(std::span<S>(target_), std::span<const S>(theta_), options_.target_rate);
    return total / count;
  }

  using Network = Chain<Encoder, Mlp<S>>;

  ProtoValueNetworkOptions options_;
  Heads heads_;
  Network network_;
  std::vector<S> theta_, target_, gradient_;
  decltype(std::declval<O>().template start<S>(0)) state_;
  std::int64_t updates_ = 0;
  typename Network::Tape tape_, target_tape_;
  Matrix<S> values_, mean_, d_psi_;
  Vector<S> next_;
};

}  // namespace valence
