#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/agent/dqn.hpp"
#include "valence/agent/iqn.hpp"
#include "valence/agent/off_policy.hpp"
#include "valence/agent/on_policy.hpp"
#include "valence/agent/td3.hpp"
#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/hl_gauss.hpp"
#include "valence/distributional/implicit_quantile.hpp"
#include "valence/distributional/implicit_quantile_network.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/distributional/rescaled_value.hpp"
#include "valence/distributional/scalar_head.hpp"
#include "valence/distributional/two_hot.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/constant.hpp"
#include "valence/function/dueling.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/noisy.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/policy/saved_policy.hpp"

/// What a trained agent acts with, as a `SavedPolicy`: it copies the weights and leaves the trainer behind.
///
///     auto policy = saved_policy(dqn);                                     // DQN, all its heads and networks; IQN
///     auto policy = saved_policy(ppo, observation_scale(normalizer));      // with what the states were brought to
///     auto policy = saved_policy(gaussian_ppo, env.actions());             // a Gaussian is cut to the box
///     save_policy("policy.safetensors", policy);                           // io/policy_file.hpp
namespace valence {

namespace detail {

/// One network with the first `outputs` outputs, and what stands below them whatever the state.
template <class S>
struct PlainNetwork {
  Mlp<S> network;
  std::vector<S> theta;
  std::vector<double> log_std = {};
};

template <class S, class Shape>
PlainNetwork<S> plain_network(const BasicMlp<S, Shape>& f, std::span<const S> theta, int outputs) {
  std::vector<int> sizes(f.sizes().begin(), f.sizes().end());
  const auto before = static_cast<std::size_t>(f.output_size()), after = static_cast<std::size_t>(outputs);
  const auto inputs = static_cast<std::size_t>(sizes[sizes.size() - 2]);
  if (after > before) fail("saved_policy", "the network has {} outputs; expected at least {}", before, after);
  // The last layer is the last (inputs + 1) columns of `before` numbers: weights, then biases.
  const std::size_t begin = theta.size() - (inputs + 1) * before;
  std::vector<S> kept(theta.begin(), theta.begin() + static_cast<std::ptrdiff_t>(begin));
  for (std::size_t i = 0; i <= inputs; ++i)
    for (std::size_t o = 0; o < after; ++o) kept.push_back(theta[begin + i * before + o]);
  sizes.back() = outputs;
  return {Mlp<S>(std::move(sizes), f.hidden(), f.options()), std::move(kept)};
}
template <class S, class Shape>
PlainNetwork<S> plain_network(const Dueling<BasicMlp<S, Shape>>& f, std::span<const S> theta, int outputs) {
  auto [network, weights] = without_dueling(f, theta);
  return plain_network(network, std::span<const S>(weights), outputs);
}
/// The means of its weights.
template <class F, class S>
PlainNetwork<S> plain_network(const Noisy<F>& f, std::span<const S> theta, int outputs) {
  return plain_network(f.inner(), theta.first(f.inner().parameter_count()), outputs);
}
/// An actor beside a critic, or means beside log-standard-deviations that are constant.
template <class A, class B, class S>
PlainNetwork<S> plain_network(const Parallel<A, B>& f, std::span<const S> theta, int outputs) {
  const auto first = theta.first(f.first().parameter_count());
  if (f.first().output_size() >= outputs) return plain_network(f.first(), first, outputs);
  if constexpr (std::same_as<B, Constant<S>>) {
    PlainNetwork<S> plain = plain_network(f.first(), first, f.first().output_size());
    for (const S x : theta.subspan(first.size())) plain.log_std.push_back(static_cast<double>(x));
    return plain;
  } else {
    fail("saved_policy", "the actor has {} outputs; expected the {} that the law reads", f.first().output_size(),
         outputs);
  }
}

template <class F, class S>
SavedPolicy<S> make_policy(const F& model, std::span<const S> theta, int outputs, PolicyHead head,
                           ObservationScale observations) {
  PlainNetwork<S> plain = plain_network(model, theta, outputs);
  return {plain.network,
          std::span<const S>(plain.theta),
          std::move(head),
          {.observations = std::move(observations), .log_std = std::move(plain.log_std)}};
}

inline std::vector<double> places(const Support& support) {
  std::vector<double> atoms;
  for (int k = 0; k < support.atoms; ++k) atoms.push_back(support.atom(k));
  return atoms;
}
inline GreedyValues greedy_values(const ScalarHead&, int actions) { return {.actions = actions}; }
inline GreedyValues greedy_values(const QuantileReturn& head, int actions) {
  return {.actions = actions,
          .atoms = std::vector<double>(static_cast<std::size_t>(head.quantiles), 1.0 / head.quantiles)};
}
template <class H>
  requires requires(const H head) {
    { head.support() } -> std::same_as<Support>;
  }
GreedyValues greedy_values(const H& head, int actions) {
  return {.actions = actions, .atoms = places(head.support()), .logits = true};
}
/// h is increasing: what is best on its scale is best.
template <class H>
GreedyValues greedy_values(const RescaledValue<H>& head, int actions) {
  return greedy_values(head.head, actions);
}

}  // namespace detail

/// The greedy policy of a DQN: of its `Mlp`, `Dueling` over one, or `Noisy` over either (the means of the weights), and
/// any head of distributional/ whose value is linear in its atoms.
template <Approximator F, ReturnDistribution H, Optimizer O>
SavedPolicy<typename F::Scalar> saved_policy(const Dqn<F, H, O>& agent, ObservationScale observations = {}) {
  return detail::make_policy(agent.model(), agent.parameters(), agent.model().output_size(),
                             detail::greedy_values(agent.head(), agent.actions()), std::move(observations));
}
/// The mean of an IQN's quantiles at fixed fractions, which is a plain network: its layers after the product stand side
/// by side, one copy a fraction, and the last averages them. For acting without fractions; exact, but its width is the
/// number of fractions times the head's. Throws `Error` for layer normalisation, for a
/// trunk whose output activation isn't the activation of all hidden layers, and for a head that ends in an activation.
template <class S, class Shape, class HeadShape>
NetworkWithTheta<S> without_fractions(const ImplicitQuantileNetwork<BasicMlp<S, Shape>, BasicMlp<S, HeadShape>>& net,
                                      std::span<const S> theta, std::span<const std::type_identity_t<S>> fractions) {
  constexpr auto where = "without_fractions";
  check_size(where, "theta", theta.size(), net.parameter_count());
  if (fractions.empty()) fail(where, "there are no fractions; expected at least one");
  const auto &trunk = net.trunk(), &head = net.head();
  const bool deep_trunk = trunk.sizes().size() > 2, deep_head = head.sizes().size() > 2;
  const Activation hidden = trunk.options().output;
  if (trunk.options().layer_norm || head.options().layer_norm || head.options().output != Activation::identity ||
      (deep_trunk && trunk.hidden() != hidden) || (deep_head && head.hidden() != hidden))
    fail(where, "expected one activation, after every layer but the last, and no layer normalisation");

  // What each fraction multiplies the trunk's outputs by.
  const auto n = static_cast<Eigen::Index>(fractions.size()), width = Eigen::Index{trunk.output_size()};
  Matrix<S> cosines(net.options().cosines, n);
  cosine_features_columns<S>(fractions, {cosines.data(), cosines.rows(), cosines.cols()});
  typename Mlp<S>::Tape tape;
  const auto factors = net.embedding().forward(net.embedding_theta(theta), cosines, tape);

  std::vector<int> sizes(trunk.sizes().begin(), trunk.sizes().end());
  const auto before = net.trunk_theta(theta);
  std::vector<S> weights(before.begin(), before.end());
  const S* from = net.head_theta(theta).data();
  const std::size_t layers = head.sizes().size() - 1;
  for (std::size_t l = 0; l < layers; ++l) {
    const bool first = l == 0, last = l + 1 == layers;
    const Eigen::Index in = head.sizes()[l], out = head.sizes()[l + 1];
    const Eigen::Map<const Matrix<S>> w(from, out, in);
    const Eigen::Map<const Vector<S>> b(from + out * in, out);
    Matrix<S> wide = Matrix<S>::Zero(last ? out : n * out, first ? width : n * in);
    for (Eigen::Index k = 0; k < n; ++k) {
      auto block = wide.block(last ? 0 : k * out, first ? 0 : k * in, out, in);
      if (first)
        block += w * factors.col(k).asDiagonal() / (last ? static_cast<S>(n) : S(1));
      else
        block += w / (last ? static_cast<S>(n) : S(1));
    }
    weights.insert(weights.end(), wide.data(), wide.data() + wide.size());
    for (Eigen::Index k = 0; k < (last ? 1 : n); ++k) weights.insert(weights.end(), b.data(), b.data() + b.size());
    sizes.push_back(static_cast<int>(wide.rows()));
    from += out * in + out;
  }
  return {Mlp<S>(std::move(sizes), hidden), std::move(weights)};
}

/// The greedy policy of IQN, with an `Mlp` for trunk and head, as `without_fractions` makes a plain network of them:
/// wide where the agent's `choices` are many.
template <class S, class Shape, class HeadShape, Optimizer O>
SavedPolicy<S> saved_policy(const Iqn<BasicMlp<S, Shape>, BasicMlp<S, HeadShape>, O>& agent,
                            ObservationScale observations = {}) {
  auto [network, theta] = without_fractions(agent.model(), agent.parameters(), agent.greedy_fractions());
  return {std::move(network),
          std::span<const S>(theta),
          GreedyValues{.actions = agent.actions()},
          {.observations = std::move(observations)}};
}
/// The policy of REINFORCE, A2C, PPO or TRPO with discrete actions.
template <Approximator F, Optimizer O>
SavedPolicy<typename F::Scalar> saved_policy(const detail::OnPolicyAgent<F, Softmax, O>& agent,
                                             ObservationScale observations = {}) {
  return detail::make_policy(agent.model(), agent.parameters(), agent.law().size(), agent.law(),
                             std::move(observations));
}
/// The same with a Gaussian, whose actions are cut to `actions`, the environment's.
template <Approximator F, class A, Optimizer O, class B>
SavedPolicy<typename F::Scalar> saved_policy(const detail::OnPolicyAgent<F, DiagonalGaussian<A>, O>& agent,
                                             const Box<B>& actions, ObservationScale observations = {}) {
  return detail::make_policy(agent.model(), agent.parameters(), agent.law().size(),
                             ClippedGaussian{vector_box(actions), agent.law().options}, std::move(observations));
}
/// The policy of SAC and MPO.
template <Approximator F, class A, InputDifferentiable C, Optimizer O>
SavedPolicy<typename F::Scalar> saved_policy(const detail::ActorAndCritics<F, SquashedGaussian<A>, C, O>& agent,
                                             ObservationScale observations = {}) {
  return detail::make_policy(agent.model(), agent.parameters(), agent.law().size(),
                             SquashedGaussian<Vector<double>>{vector_box(agent.law().actions), agent.law().options},
                             std::move(observations));
}
/// The policy of DDPG and TD3.
template <Approximator F, class A, Approximator C, Optimizer O, class Noise>
SavedPolicy<typename F::Scalar> saved_policy(const detail::DeterministicActorCritic<F, A, C, O, Noise>& agent,
                                             ObservationScale observations = {}) {
  return detail::make_policy(agent.model(), agent.parameters(), agent.law().size(),
                             Deterministic<Vector<double>>{vector_box(agent.law().actions)}, std::move(observations));
}

}  // namespace valence
