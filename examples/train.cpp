// Train an agent on an environment, both by name.
//
//   train --agent ppo --env cart_pole
//   train --agent sac --env pendulum --seeds 5 --out runs/sac    the curve has a band over the seeds
//   train --agent dqn --env acrobot --resume                     goes on with a run that was stopped (Ctrl-C) or killed
//   train --agent qr_dqn --env cart_pole --watch                 and a film of what was learned
//
// Into --out go curve.svg and, for each seed (in seed-N/ where there are several): the log, progress.csv and
// tensorboard/; the greedy policy, policy.safetensors and policy.hpp; the whole run, run.safetensors; film.svg. What is
// measured at the end is the policy as it is read back from its file.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <numbers>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "train_support.hpp"
#include "valence/agent/a2c.hpp"
#include "valence/agent/deploy.hpp"
#include "valence/agent/discrete_sac.hpp"
#include "valence/agent/dqn.hpp"
#include "valence/agent/iqn.hpp"
#include "valence/agent/ppo.hpp"
#include "valence/agent/reinforce.hpp"
#include "valence/agent/sac.hpp"
#include "valence/agent/td3.hpp"
#include "valence/agent/trpo.hpp"
#include "valence/core/parallel.hpp"
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/hl_gauss.hpp"
#include "valence/distributional/implicit_quantile_network.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/constant.hpp"
#include "valence/function/dueling.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/noisy.hpp"
#include "valence/io/learning_curve.hpp"

namespace {

using Net = vl::Mlp<float>;

// ---------------------------------------------------------------- the numbers

/// An agent, an environment, and what of `Settings` isn't as it is. From rl-baselines3-zoo
/// (github.com/DLR-RM/rl-baselines3-zoo, hyperparams/*.yml) where it has the pair, with these differences: its
/// generalised state-dependent exploration and its normalisation of rewards aren't here, its running normalisation of
/// states is a fixed scale, and its networks of 256 to 400 units for continuous control are smaller. It has none for
/// IQN, REINFORCE and for SAC with discrete actions.
constexpr std::string_view zoo = R"(
ppo cart_pole steps=1e5 lr=1e-3 decays=1 discount=0.98 batch=256 lanes=8 horizon=32 epochs=20 lambda=0.8
ppo acrobot steps=1e6 lr=3e-4 scaled=1 lanes=16 horizon=256 epochs=4 lambda=0.94
ppo mountain_car steps=1e6 lr=3e-4 scaled=1 lanes=16 horizon=16 epochs=4 lambda=0.98
ppo pendulum steps=1e5 lr=1e-3 discount=0.9 lanes=4 horizon=1024
ppo mountain_car_continuous steps=1e5 lr=3e-4 discount=0.9999 scaled=1 lanes=4 horizon=256 lambda=0.9 entropy=0.00429
a2c cart_pole steps=5e5 lr=7e-4 lanes=8 horizon=5 lambda=1
a2c acrobot steps=5e5 lr=7e-4 scaled=1 lanes=16 horizon=5 lambda=1
a2c mountain_car steps=1e6 lr=7e-4 scaled=1 lanes=16 horizon=5 lambda=1
a2c pendulum steps=1e6 lr=7e-4 decays=1 discount=0.9 scaled=1 lanes=8 horizon=8 lambda=0.9
a2c mountain_car_continuous steps=1e5 lr=7e-4 scaled=1 lanes=4 horizon=100 lambda=1
trpo cart_pole steps=1e5 batch=512 lanes=2 horizon=512 epochs=20 lambda=0.98 damping=1e-3
trpo acrobot steps=1e5 batch=128 scaled=1 lanes=2 horizon=1024
trpo mountain_car steps=1e5 batch=128 scaled=1 lanes=2 horizon=1024 epochs=20
trpo pendulum steps=1e5 discount=0.9 batch=128 lanes=2 horizon=1024 epochs=15
trpo mountain_car_continuous steps=5e4 batch=128 scaled=1 lanes=2 horizon=2048
reinforce cart_pole steps=2e5 lr=3e-3 episodes=4
reinforce acrobot steps=5e5 lr=3e-3 scaled=1 episodes=4
reinforce mountain_car steps=1e6 lr=3e-3 scaled=1 episodes=4
reinforce pendulum steps=1e6 discount=0.9 episodes=8
reinforce mountain_car_continuous steps=5e5 scaled=1 episodes=4
dqn cart_pole steps=5e4 lr=2.3e-3 hidden=256x256 train_every=256 updates=128 target_every=10 exploration=0.16
    final_epsilon=0.04
dqn acrobot steps=1e5 lr=6.3e-4 hidden=256x256 batch=128 replay=5e4 warm_up=128 train_every=4 updates=4
    target_every=250 exploration=0.12 final_epsilon=0.1
dqn mountain_car steps=1.2e5 lr=4e-3 hidden=256x256 discount=0.98 batch=128 replay=1e4 train_every=16 updates=8
    target_every=600 exploration=0.2 final_epsilon=0.07
iqn cart_pole steps=5e4 lr=2.3e-3 train_every=256 updates=128 target_every=10 exploration=0.16 final_epsilon=0.04
iqn acrobot steps=1e5 lr=6.3e-4 batch=128 replay=5e4 warm_up=128 train_every=4 updates=1 target_every=250
    exploration=0.12 final_epsilon=0.1
iqn mountain_car steps=1.2e5 lr=4e-3 scaled=1 batch=128 replay=1e4 train_every=16 updates=8 target_every=600
    exploration=0.2 final_epsilon=0.07
discrete_sac cart_pole steps=5e4 target_rate=0.05
discrete_sac acrobot steps=5e4 target_rate=0.05
discrete_sac mountain_car steps=1e5 scaled=1 target_rate=0.05
sac pendulum steps=2e4 batch=256 warm_up=100
sac mountain_car_continuous steps=5e4 lr=3e-4 discount=0.9999 batch=512 replay=5e4 warm_up=512 train_every=32
    updates=32 target_rate=0.01 temperature=0.1
td3 pendulum steps=2e4 discount=0.98 batch=256 noise=0.1
td3 mountain_car_continuous steps=1e5 batch=256 noise=0.5 wanders=1
)";

Settings zoo_settings(std::string_view agent, std::string_view env) {
  std::istringstream words{std::string(zoo)};
  std::optional<Settings> settings;
  for (std::string word, place; words >> word;) {
    if (word.find('=') != std::string::npos) {
      if (settings) settings->set(word);
      continue;
    }
    if (settings) break;  // the next pair
    words >> place;
    if (word == agent && place == env) settings.emplace();
  }
  if (!settings) vl::fail("train", "no numbers are known for {} in {}", agent, env);
  return *settings;
}

// ---------------------------------------------------------------- the agents

std::vector<int> sizes(int inputs, const std::vector<int>& hidden, int outputs) {
  std::vector<int> all = {inputs};
  all.insert(all.end(), hidden.begin(), hidden.end());
  all.push_back(outputs);
  return all;
}

vl::SavedPolicy<float> saved(const Net& net, std::span<const float> theta, vl::PolicyHead head, const auto& world,
                             std::vector<double> log_std = {}) {
  return {net,
          theta.first(net.parameter_count()),
          std::move(head),
          {.observations = world.scale(), .log_std = std::move(log_std)}};
}

vl::DqnOptions dqn_options(const Job& job) {
  const Settings& s = job.settings;
  return {.discount = s.discount,
          .double_q = job.agent == "double_dqn" || job.agent == "rainbow",
          .epsilon = vl::LinearSchedule{1, s.final_epsilon, s.share_of_steps(s.exploration)},
          .replay = s.memory(),
          .batch = s.batch,
          .warm_up = s.warm_up,
          .train_every = s.train_every,
          .updates = s.updates,
          .target_every = s.target_every};
}

/// DQN with any head; `atoms` and `logits` say to the saved policy what an action's outputs mean.
template <class Head>
Outcome dqn_with(const Head& head, const Job& job, std::vector<double> atoms = {}, bool logits = false) {
  const Discrete world(job);
  const int actions = world.actions().n;
  vl::Dqn agent{Net{sizes(world.inputs(), job.settings.hidden, head.size(actions)), vl::Activation::relu}, head,
                vl::Adam{.step_size = job.settings.lr}, dqn_options(job), job.start()};
  return learn(std::move(agent), world, job, [&](const auto& a) {
    return saved(a.model(), a.parameters(), vl::GreedyValues{actions, atoms, logits}, world);
  });
}
std::vector<double> places(const vl::Support& support) {
  std::vector<double> atoms;
  for (int k = 0; k < support.atoms; ++k) atoms.push_back(support.atom(k));
  return atoms;
}
/// Rewards are 1 a step, or -1: discounted returns lie between 0 and the end given here.
vl::CategoricalReturn atoms_of(const Job& job) {
  const double most = 1 / (1 - job.settings.discount);
  return job.env == "cart_pole" ? vl::CategoricalReturn{.atoms = 51, .min = 0, .max = most}
                                : vl::CategoricalReturn{.atoms = 51, .min = -most, .max = 0};
}

Outcome dqn(const Job& job) { return dqn_with(vl::ScalarHead{.huber = 1}, job); }
Outcome c51(const Job& job) {
  const auto head = atoms_of(job);
  return dqn_with(head, job, places(head.support()), true);
}
Outcome hl_gauss(const Job& job) {
  const auto range = atoms_of(job);
  const vl::HlGauss head{.bins = 51, .min = range.min, .max = range.max};
  return dqn_with(head, job, places(head.support()), true);
}
Outcome qr_dqn(const Job& job) {
  const vl::QuantileReturn head{.quantiles = 25};
  return dqn_with(head, job, std::vector<double>(25, 1 / 25.0));
}
/// The last hidden layer stands behind the product with the fraction's embedding, the others before it; one alone
/// stands on both sides.
Outcome iqn(const Job& job) {
  const Discrete world(job);
  std::vector<int> before = job.settings.hidden;
  const int last = before.back();
  if (before.size() > 1) before.pop_back();
  const int joined = before.back();
  before.pop_back();
  const vl::ImplicitQuantileNetwork net{
      Net{sizes(world.inputs(), before, joined), vl::Activation::relu, {.output = vl::Activation::relu}},
      Net{{joined, last, world.actions().n}, vl::Activation::relu}};
  // Few fractions to choose by: the saved policy is a plain network as many times as wide.
  vl::Iqn agent{net, vl::ImplicitQuantiles{.choices = 8}, vl::Adam{.step_size = job.settings.lr}, dqn_options(job),
                job.start()};
  return learn(std::move(agent), world, job, [&](const auto& a) {
    const auto [plain, theta] = vl::without_fractions(a.model(), a.parameters(), a.greedy_fractions());
    return saved(plain, theta, vl::GreedyValues{world.actions().n}, world);
  });
}
Outcome rainbow(const Job& job) {
  const Discrete world(job);
  const Settings& s = job.settings;
  const int actions = world.actions().n;
  const auto head = atoms_of(job);
  const vl::Noisy net{vl::Dueling{Net{sizes(world.inputs(), s.hidden, head.atoms * (1 + actions)),
                                      vl::Activation::relu,
                                      {.initialization = vl::Initialization::fan_in}},
                                  actions, head.atoms}};
  vl::DqnOptions options = dqn_options(job);
  options.n_step = 3;
  options.priorities = vl::PriorityOptions{.alpha = 0.5};
  options.beta = vl::LinearSchedule{0.4, 1, s.steps / s.train_every * s.updates};
  options.epsilon = 0.0;  // the noise explores
  vl::Dqn agent{net, head, vl::Adam{.step_size = s.lr, .epsilon = 1.5e-4}, options, job.start()};
  return learn(std::move(agent), world, job, [&](const auto& a) {
    // Without the noise and with the two streams in one layer.
    const auto means = a.parameters().first(a.model().inner().parameter_count());
    const auto [plain, theta] = vl::without_dueling(a.model().inner(), means);
    return saved(plain, theta, vl::GreedyValues{actions, places(head.support()), true}, world);
  });
}
Outcome discrete_sac(const Job& job) {
  const Discrete world(job);
  const Settings& s = job.settings;
  const Net net{sizes(world.inputs(), s.hidden, world.actions().n), vl::Activation::relu};
  vl::DiscreteSac agent{net,
                        net,
                        vl::Adam{.step_size = s.lr},
                        {.discount = s.discount,
                         .entropy_fraction = 0.3,
                         .replay = s.memory(),
                         .batch = s.batch,
                         .warm_up = s.warm_up,
                         .target_rate = s.target_rate},
                        job.start()};
  return learn(std::move(agent), world, job,
               [&](const auto& a) { return saved(a.model(), a.parameters(), vl::Softmax{world.actions().n}, world); });
}

/// Makes an on-policy agent by `make(model, law)`, the model an actor and a critic, and trains it. Of discrete actions
/// the actor gives the logits, of others the means, and log-standard-deviations that don't depend on the state.
template <class World, bool in_lanes = true, class Make>
Outcome actor_critic(const Job& job, Make&& make) {
  const World world(job);
  const auto net = [&](int outputs, double gain) {
    return Net{sizes(world.inputs(), job.settings.hidden, outputs),
               vl::Activation::tanh,
               {.gain = std::numbers::sqrt2, .output_gain = gain}};  // stable-baselines3's
  };
  const auto train = [&](auto agent, auto&& policy) {
    if constexpr (in_lanes)
      return learn(std::move(agent),
                   vl::VectorEnvironment{world, job.settings.lanes, {.autoreset = vl::Autoreset::same_step}}, job,
                   policy);
    else
      return learn(std::move(agent), world, job, policy);
  };
  if constexpr (std::same_as<World, Discrete>) {
    const vl::Softmax law{world.actions().n};
    return train(make(vl::Parallel{net(law.actions, 0.01), net(1, 1)}, law),
                 [&](const auto& a) { return saved(a.model().first(), a.parameters(), law, world); });
  } else {
    const vl::Parallel actor{net(1, 0.01), vl::Constant<float>{1}};
    return train(make(vl::Parallel{actor, net(1, 1)}, vl::DiagonalGaussian<double>{}), [&](const auto& a) {
      const std::size_t means = a.model().first().first().parameter_count();
      return saved(a.model().first().first(), a.parameters(), vl::ClippedGaussian{vl::vector_box(world.actions())},
                   world, {static_cast<double>(a.parameters()[means])});
    });
  }
}

template <class World>
Outcome ppo(const Job& job) {
  const Settings& s = job.settings;
  const std::int64_t rollout = std::int64_t{s.horizon} * s.lanes;
  const std::int64_t updates = s.steps / rollout * s.epochs * ((rollout + s.batch - 1) / s.batch);
  return actor_critic<World>(job, [&](auto model, auto law) {
    return vl::Ppo{model,
                   law,
                   vl::Adam{.step_size = s.lr, .epsilon = 1e-5},
                   {.horizon = s.horizon,
                    .lanes = s.lanes,
                    .epochs = s.epochs,
                    .batch = s.batch,
                    .discount = s.discount,
                    .lambda = s.lambda,
                    .entropy_weight = s.entropy,
                    .step_factor = s.factor(updates)},
                   job.start()};
  });
}
template <class World>
Outcome a2c(const Job& job) {
  const Settings& s = job.settings;
  return actor_critic<World>(job, [&](auto model, auto law) {
    return vl::A2c{model,
                   law,
                   vl::RmsProp{.step_size = s.lr, .epsilon = 1e-5, .placement = vl::Epsilon::inside},
                   {.horizon = s.horizon,
                    .lanes = s.lanes,
                    .discount = s.discount,
                    .lambda = s.lambda,
                    .entropy_weight = s.entropy,
                    .step_factor = s.factor(s.steps / (std::int64_t{s.horizon} * s.lanes))},
                   job.start()};
  });
}
template <class World>
Outcome trpo(const Job& job) {
  const Settings& s = job.settings;
  return actor_critic<World>(job, [&](auto model, auto law) {
    return vl::Trpo{model,
                    law,
                    vl::Adam{.step_size = s.lr},
                    {.horizon = s.horizon,
                     .lanes = s.lanes,
                     .discount = s.discount,
                     .lambda = s.lambda,
                     .region = {.damping = s.damping, .cg_iterations = 15},
                     .critic_epochs = s.epochs,
                     .batch = s.batch},
                    job.start()};
  });
}
template <class World>
Outcome reinforce(const Job& job) {
  const Settings& s = job.settings;
  return actor_critic<World, false>(job, [&](auto model, auto law) {
    return vl::Reinforce{model,
                         law,
                         vl::Adam{.step_size = s.lr},
                         {.episodes = s.episodes,
                          .discount = s.discount,
                          .entropy_weight = s.entropy,
                          .max_gradient_norm = 0.5,
                          .whiten = true},
                         job.start()};
  });
}

Outcome sac(const Job& job) {
  const Continuous world(job);
  const Settings& s = job.settings;
  const vl::SquashedGaussian law{world.actions(), {.min_log_std = -20, .max_log_std = 2}};
  vl::Sac agent{Net{sizes(world.inputs(), s.hidden, law.size()), vl::Activation::relu},
                law,
                Net{sizes(world.inputs() + 1, s.hidden, 1), vl::Activation::relu},
                vl::Adam{.step_size = s.lr},
                {.discount = s.discount,
                 .temperature = s.temperature > 0 ? s.temperature : 1,
                 .learn_temperature = s.temperature == 0,
                 .replay = s.memory(),
                 .batch = s.batch,
                 .warm_up = s.warm_up,
                 .train_every = s.train_every,
                 .updates = s.updates,
                 .target_rate = s.target_rate},
                job.start()};
  return learn(std::move(agent), world, job, [&](const auto& a) {
    return saved(a.model(), a.parameters(),
                 vl::SquashedGaussian<vl::Vector<double>>{vl::vector_box(world.actions()), law.options}, world);
  });
}

/// DDPG or TD3.
template <template <class...> class Agent, class Options>
Outcome deterministic(const Job& job) {
  const Continuous world(job);
  const Settings& s = job.settings;
  Agent agent{Net{sizes(world.inputs(), s.hidden, 1), vl::Activation::relu},
              world.actions(),
              Net{sizes(world.inputs() + 1, s.hidden, 1), vl::Activation::relu},
              vl::Adam{.step_size = s.lr},
              Noise(s.noise * world.actions().high, s.wanders),
              Options{.discount = s.discount,
                      .replay = s.memory(),
                      .batch = s.batch,
                      .warm_up = s.warm_up,
                      .train_every = s.train_every,
                      .updates = s.updates,
                      .target_rate = s.target_rate},
              job.start()};
  return learn(std::move(agent), world, job, [&](const auto& a) {
    return saved(a.model(), a.parameters(), vl::Deterministic<vl::Vector<double>>{vl::vector_box(world.actions())},
                 world);
  });
}

struct Entry {
  const char* name;
  const char* numbers;  // whose numbers in `zoo` it takes
  Outcome (*discrete)(const Job&);
  Outcome (*continuous)(const Job&);
};
std::span<const Entry> agents() {
  static constexpr Entry all[] = {{"dqn", "dqn", dqn, nullptr},
                                  {"double_dqn", "dqn", dqn, nullptr},
                                  {"c51", "dqn", c51, nullptr},
                                  {"qr_dqn", "dqn", qr_dqn, nullptr},
                                  {"hl_gauss", "dqn", hl_gauss, nullptr},
                                  {"iqn", "iqn", iqn, nullptr},
                                  {"rainbow", "dqn", rainbow, nullptr},
                                  {"discrete_sac", "discrete_sac", discrete_sac, nullptr},
                                  {"ppo", "ppo", ppo<Discrete>, ppo<Continuous>},
                                  {"a2c", "a2c", a2c<Discrete>, a2c<Continuous>},
                                  {"trpo", "trpo", trpo<Discrete>, trpo<Continuous>},
                                  {"reinforce", "reinforce", reinforce<Discrete>, reinforce<Continuous>},
                                  {"sac", "sac", nullptr, sac},
                                  {"td3", "td3", nullptr, deterministic<vl::Td3, vl::Td3Options>},
                                  {"ddpg", "td3", nullptr, deterministic<vl::Ddpg, vl::DdpgOptions>}};
  return all;
}

// ---------------------------------------------------------------- the program

struct Options {
  std::string agent = "ppo", env = "cart_pole";
  std::optional<std::int64_t> steps;
  std::optional<int> lanes;
  std::optional<double> lr;
  std::vector<int> hidden;
  std::vector<std::string> set;
  std::uint64_t seed = 1;
  std::size_t seeds = 1;
  fs::path out;
  bool csv = true, tensorboard = false, watch = false, resume = false, quick = false;
};

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}
std::vector<std::string> names_of_agents(bool discrete, bool continuous) {
  std::vector<std::string> names;
  for (const Entry& agent : agents())
    if ((discrete && agent.discrete) || (continuous && agent.continuous)) names.push_back(agent.name);
  return names;
}
bool knows(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}
const Entry& agent_named(const std::string& name) {
  for (const Entry& agent : agents())
    if (agent.name == name) return agent;
  vl::fail("train", "--agent is '{}'; expected one of {}", name, joined(names_of_agents(true, true)));
}
/// Are its actions discrete?
bool is_discrete(const std::string& env) {
  const bool discrete = knows(Discrete::names(), env);
  if (!discrete && !knows(Continuous::names(), env))
    vl::fail("train", "--env is '{}'; expected one of {}, {}", env, joined(Discrete::names()),
             joined(Continuous::names()));
  return discrete;
}

/// The numbers of this agent in this environment, with what the user changed.
Settings settings_for(const Options& options, const Entry& agent, bool discrete) {
  if ((discrete ? agent.discrete : agent.continuous) == nullptr)
    vl::fail("train", "{} is for {} actions, and those of {} are {}; {} fits {}, and {} fits {}", agent.name,
             discrete ? "continuous" : "discrete", options.env, discrete ? "discrete" : "continuous", agent.name,
             joined(discrete ? Continuous::names() : Discrete::names()), options.env,
             joined(names_of_agents(discrete, !discrete)));
  Settings s = zoo_settings(agent.numbers, options.env);
  if (options.lanes && s.horizon == 0)
    vl::fail("train", "--lanes is {}; expected none: {} learns from one environment", *options.lanes, agent.name);
  if (options.quick) {
    s.steps = 2000;
    s.lanes = (std::min)(s.lanes, 2), s.horizon = (std::min)(s.horizon, 128);
    s.warm_up = (std::min)(s.warm_up, std::int64_t{200});
  }
  for (const std::string& word : options.set) s.set(word);
  s.steps = options.steps.value_or(s.steps);
  s.lanes = options.lanes.value_or(s.lanes);
  s.lr = options.lr.value_or(s.lr);
  if (!options.hidden.empty()) s.hidden = options.hidden;
  return s;
}

int run(const Options& options) {
  const Entry& agent = agent_named(options.agent);
  const bool discrete = is_discrete(options.env);
  const Settings settings = settings_for(options, agent, discrete);
  const fs::path out = options.out.empty() ? fs::path("runs") / (options.agent + "-" + options.env) : options.out;

  Bar bar(options.seeds, settings.steps);
  std::vector<Job> jobs(options.seeds, {.agent = options.agent,
                                        .env = options.env,
                                        .settings = settings,
                                        .folder = out,
                                        .resume = options.resume,
                                        .csv = options.csv,
                                        .tensorboard = options.tensorboard,
                                        .bar = &bar});
  for (std::size_t k = 0; k < jobs.size(); ++k) {
    jobs[k].index = k, jobs[k].seed = options.seed + k;
    if (jobs.size() > 1) jobs[k].folder = out / fmt::format("seed-{}", jobs[k].seed);
    fs::create_directories(jobs[k].folder);
  }
  listen_for_interrupts();
  std::vector<Outcome> outcomes(jobs.size());
  vl::parallel_for(jobs.size(), [&](std::size_t k) {
    outcomes[k] = discrete ? agent.discrete(jobs[k]) : agent.continuous(jobs[k]);
  });
  bar.finish();

  std::vector<vl::TrainingLog> logs;
  for (std::size_t k = 0; k < jobs.size(); ++k) {
    const vl::TrainingLog& log = logs.emplace_back(std::move(outcomes[k].log));
    fmt::print("{} on {}, seed {}: {} steps, {} episodes", options.agent, options.env, jobs[k].seed, log.steps,
               log.episodes.size());
    if (!outcomes[k].finished) {
      fmt::print("; stopped, and saved: --resume goes on\n");
      continue;
    }
    const std::int64_t episodes = options.quick ? 10 : 100;
    const vl::Evaluation result = discrete ? look_at<Discrete>(jobs[k], episodes, options.watch)
                                           : look_at<Continuous>(jobs[k], episodes, options.watch);
    fmt::print("; the saved policy earns {:.2f} [{:.2f}, {:.2f}] over {} episodes\n", result.mean, result.interval.low,
               result.interval.high, episodes);
  }
  if (interrupted != 0) return 130;
  try {
    const vl::Curve curves[] = {vl::learning_curve(options.agent, logs)};
    vl::save_atomically(out / "curve.svg", vl::curves_svg(curves, {.title = options.env}));
  } catch (const vl::Error& e) {  // too few episodes for a curve
    fmt::print("no curve: {}\n", e.what());
  }
  fmt::print("{}: the learning curve, and what was learned\n", out.string());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Trains an agent on an environment, both by name."};
  app.add_option("--agent", options.agent, joined(names_of_agents(true, true)))->capture_default_str();
  app.add_option("--env", options.env, joined(Discrete::names()) + ", " + joined(Continuous::names()))
      ->capture_default_str();
  app.add_option("--steps", options.steps, "of the environment, in all (default: as the pair needs; see the source)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000'000'000}));
  app.add_option("--seed", options.seed, "of everything that is drawn")->capture_default_str();
  app.add_option("--seeds", options.seeds, "so many runs, from --seed upwards")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--lanes", options.lanes, "environments side by side: ppo, a2c, trpo")->check(CLI::Range(1, 4096));
  app.add_option("--lr", options.lr, "step size of the optimizer")->check(CLI::PositiveNumber);
  app.add_option("--hidden", options.hidden, "units of the hidden layers: --hidden 64 64")
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--set", options.set, "any other number, by name: --set horizon=64 epochs=4");
  app.add_option("--out", options.out, "folder (default: runs/AGENT-ENV)");
  app.add_flag("--csv,!--no-csv", options.csv, "log to progress.csv (default)");
  app.add_flag("--tensorboard", options.tensorboard, "log for TensorBoard");
  app.add_flag("--watch", options.watch, "film an episode of what was learned, film.svg: open it in a browser");
  app.add_flag("--resume", options.resume, "go on from run.safetensors, where there is one");
  app.add_flag("--quick", options.quick, "2000 steps, to see that all is well");
  try {
    app.parse(argc, argv);
    return run(options);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;  // --help is no error
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 2;
  }
}
