// TRPO (Schulman et al. 2015, "Trust Region Policy Optimization") on one page, top to bottom: carts are played side by
// side for a while, then the policy takes one step along the natural gradient, as far as the divergence from what it
// was allows. Compare ppo.cpp. `Trpo` in valence/agent/trpo.hpp is the same as an agent.
//
//   agent_trpo [--seed S] [--steps N] [--quick]

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/evaluate.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/cart_pole.hpp"
#include "valence/env/time_limit.hpp"
#include "valence/env/vector_environment.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy_gradient/natural_gradient.hpp"
#include "valence/value/gae.hpp"

namespace vl = valence;

struct Options {  // rl-baselines3-zoo's for CartPole
  std::uint64_t seed = 0;
  std::int64_t steps = 100'000;  // of all lanes
  int lanes = 2, horizon = 512;
  double discount = 0.99, lambda = 0.98;
  vl::TrustRegionOptions region = {.max_kl = 0.01, .damping = 1e-3, .cg_iterations = 15};
  int critic_epochs = 20, batch = 512;
  double step_size = 1e-3;  // of the critic
  double threshold = 400;
  bool quick = false;
};

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--quick") options.quick = true, options.steps = 5'000;
    if (flag == "--seed" && i + 1 < argc) options.seed = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--steps" && i + 1 < argc) options.steps = std::strtoll(argv[i + 1], nullptr, 10);
  }
  vl::Rng rng = vl::Rng{options.seed}.split(0), env_rng = vl::Rng{options.seed}.split(1);
  const vl::TimeLimit env{vl::CartPole{}};
  vl::VectorEnvironment lanes{env, options.lanes, {.autoreset = vl::Autoreset::same_step}};
  lanes.reset(env_rng);

  // The actor's outputs are the logits of the law, the critic's V(s). They share nothing: the actor's step is measured
  // by how far its law moves, the critic's by Adam.
  constexpr auto tanh = vl::Activation::tanh;
  const vl::Mlp<float> actor{{4, 64, 64, 2}, tanh, {.output_gain = 0.01}}, critic{{4, 64, 64, 1}, tanh};
  const vl::Softmax law{.actions = 2};
  std::vector<float> theta(actor.parameter_count()), phi(critic.parameter_count()), gradient(phi.size());
  actor.initialize(theta, rng), critic.initialize(phi, rng);
  auto optimizer = vl::Adam{.step_size = options.step_size}.start<float>(phi.size());
  vl::Mlp<float>::Tape tape, critic_tape;  // what a forward keeps for its pullback
  const auto logits = [](auto&& y, Eigen::Index j) { return std::span(y.col(j).data(), 2); };

  // The rollout: an entry (lane, row) a transition, and in `state` and `arrived` a column row * lanes + lane.
  const Eigen::Index side = options.lanes, rows = options.horizon, n = side * rows;
  vl::Matrix<float> state(4, n), arrived(4, n), reward(side, rows), value(side, rows);
  vl::Matrix<float> next_value(side, rows), advantage(side, rows), target(side, rows), x, dy;
  vl::Matrix<int> action(side, rows);
  Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> terminated(side, rows), truncated(side, rows);
  vl::Vector<Eigen::Index> order(n);
  vl::TrpoWorkspace<vl::Mlp<float>> workspace;
  std::iota(order.begin(), order.end(), 0);

  for (std::int64_t t = 0; t < options.steps; t += n) {
    // Act in all lanes at once.
    for (Eigen::Index row = 0; row < rows; ++row) {
      Eigen::Index i = row * side;
      for (const auto& s : lanes.states()) state.col(i++) = s.cast<float>();
      const auto y = actor.forward(theta, {&state(0, row * side), 4, side}, tape);
      for (Eigen::Index k = 0; k < side; ++k) action(k, row) = law.sample(logits(y, k), rng);
      lanes.step(std::span(&action(0, row), lanes.states().size()));
      for (int k = 0; k < lanes.size(); ++k) {
        const auto step = lanes.transition(k);  // its `next` is where the action led, never the next episode's start
        reward(k, row) = static_cast<float>(step.reward);
        terminated(k, row) = step.terminated, truncated(k, row) = step.truncated;
        arrived.col(row * side + k) = step.next.cast<float>();
      }
    }

    // Advantages and the critic's targets (Schulman et al. 2016, equation 16): lambda between one step and all of them.
    value.reshaped() = critic.forward(phi, state, critic_tape).transpose();
    next_value.reshaped() = critic.forward(phi, arrived, critic_tape).transpose();
    vl::gae(vl::Steps<float>{.reward = vl::view(reward),
                             .value = vl::view(value),
                             .next_value = vl::view(next_value),
                             .terminated = vl::view(terminated),
                             .truncated = vl::view(truncated),
                             .environments = lanes.states().size()},
            {.advantage = vl::view(advantage), .target = vl::view(target)},
            {.discount = options.discount, .lambda = options.lambda});
    vl::whiten(vl::view(advantage));

    // The actor: up the mean of pi(a) / pi_old(a) A, as long as the mean KL(old || new) stays below max_kl (equation
    // 14). Conjugate gradients solve F x = g with products F v alone, F the Fisher matrix; then a line search along x
    // (appendix C).
    vl::trpo_step(actor, law, std::span(theta), state, vl::view(std::as_const(action)),
                  vl::view(std::as_const(advantage)), options.region, workspace);

    // The critic: several passes over the rollout, each step down the mean of (V(s) - target)^2 / 2 over a batch.
    for (int epoch = 0; epoch < options.critic_epochs; ++epoch) {
      rng.shuffle(vl::view(order));
      for (Eigen::Index begin = 0; begin < n; begin += options.batch) {
        const Eigen::Index m = (std::min)(n - begin, Eigen::Index{options.batch});
        x.resize(4, m), dy.resize(1, m);
        for (Eigen::Index j = 0; j < m; ++j) x.col(j) = state.col(order[begin + j]);
        const auto v = critic.forward(phi, x, critic_tape);
        for (Eigen::Index j = 0; j < m; ++j) dy(j) = (v(j) - target(order[begin + j])) / static_cast<float>(m);
        std::ranges::fill(gradient, 0.0F);
        critic.pullback(phi, x, critic_tape, {dy.data(), 1, m}, gradient);
        optimizer.step(phi, gradient);
      }
    }
  }

  const auto policy = [&](const auto& s, vl::Rng&) {
    return law.mode(logits(actor.forward(theta, vl::Matrix<float>(s.template cast<float>()), tape), 0));
  };
  const double mean = vl::evaluate(policy, env, {.episodes = 20}, env_rng).mean;
  fmt::print("RETURN {:.1f} (needs {:.0f})\n", mean, options.threshold);
  return options.quick || mean >= options.threshold ? 0 : 1;
}
