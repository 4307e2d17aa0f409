// Proto-value networks: features learned by predicting where a random walk goes, as the discounted visits of many
// random sets of states, with a shared encoder and a linear head a set. The more sets, the nearer come the features to
// the smoothest functions of the world (its proto-value functions), and the better they serve a linear value.
//
// Four rooms of 104 cells, 32 features. With each cell as the goal in turn, the optimal value, which the features never
// saw, is projected on them and a constant by least squares; the policy that is greedy in the projection is worth a
// share of the optimum. Compared: 16, 64 and 320 sets, the sets themselves as features, normal noise, and the exact
// proto-value functions.
#include <fmt/core.h>

#include <cmath>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "valence/core/random.hpp"
#include "valence/core/subspace.hpp"
#include "valence/core/types.hpp"
#include "valence/env/four_rooms.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/policy_evaluation.hpp"
#include "valence/planning/successor_representation.hpp"
#include "valence/planning/value_iteration.hpp"
#include "valence/value/indicators.hpp"
#include "valence/value/proto_value_network.hpp"

using namespace valence;

namespace {

constexpr int features = 32;
constexpr double discount = .97, density = .1;

struct World {
  FiniteMdp<double> model{four_rooms(11)};
  Matrix<double> uniform = uniform_policy(model);
  FiniteMdp<double> walk = policy_process(model, uniform);
  Matrix<double> smooth = proto_value_functions(model, uniform, features).functions;
};

/// The world with a goal: reward 1 for entering it, and the end.
FiniteMdp<double> with_goal(const FiniteMdp<double>& world, int goal) {
  return FiniteMdp(world.states(), world.actions(), [&](int s, int a) {
    std::vector<Outcome<int>> list;
    if (s != goal)
      for (const auto& to : world.successors(s, a))
        list.push_back({to.next, to.probability, to.next == goal ? 1. : 0.});
    return list;
  });
}

struct Score {
  double value = 0, error = 0;  // shares of the optimum, of the values' deviation
};

/// Means over all goals of what linear values in these features are worth.
Score score(const World& world, const Matrix<double>& phi) {
  Score mean;
  const int goals = world.model.states();
  for (int goal = 0; goal < goals; ++goal) {
    const auto task = with_goal(world.model, goal);
    const auto best = value_iteration(task, {.discount = discount});
    Vector<double> value = discount * best.value;  // discount^distance, 1 at the goal itself
    value[goal] = 1;
    const Vector<double> projected = project(phi, view(value));
    const std::vector<int> policy = greedy_policy(world.model, view(projected));
    const auto achieved = policy_evaluation(task, std::span<const int>(policy), {.discount = discount});
    mean.value += achieved.value.sum() / best.value.sum() / goals;
    mean.error += (value - projected).norm() / (value.array() - value.mean()).matrix().norm() / goals;
  }
  return mean;
}

/// Expected temporal differences on all states at once, for so many tasks.
Matrix<double> proto_value_network(const World& world, int tasks, int steps, Rng rng) {
  std::vector<int> states(static_cast<std::size_t>(world.model.states()));
  std::iota(states.begin(), states.end(), 0);
  Rng draws = rng.split(0);
  const Matrix<float> cumulants = random_indicators<float>(tasks, world.model.states(), density, draws);
  ProtoValueNetwork pvn{Tabular<float>{world.model.states(), features},
                        {.tasks = tasks, .actions = 1},
                        Adam{.step_size = .02},
                        {.discount = discount, .target_rate = .01},
                        rng.split(1)};
  for (float& x : pvn.encoder_parameters()) x = .1F * static_cast<float>(draws.normal());
  pvn.copy_to_target();
  const LinearSchedule decay{.begin = 1, .end = .05, .steps = steps};
  for (int k = 0; k < steps; ++k) pvn.sweep(world.walk, states, cumulants, decay(k));
  return pvn.features(states).cast<double>();
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run(
      {.id = "proto_value",
       .header = "valence/value/proto_value_network.hpp",
       .claim = "features that predict more random sets of states are better for linear values",
       .seeds = 10,
       .quick_seeds = 5},
      count, arguments, [](paper::Study& study) {
        const World world;
        study.each_seed([&](paper::Seed& seed) {
          Rng draws = seed.rng.split(0);
          Matrix<double> noise(features, world.model.states());
          for (double& x : view(noise)) x = draws.normal();
          std::vector<std::pair<std::string, Matrix<double>>> all{
              {"normal noise", noise},
              {"the sets themselves", random_indicators(features, world.model.states(), density, draws)}};
          for (const int m : {16, 64, 320})
            all.emplace_back(fmt::format("PVN, {} sets", m),
                             proto_value_network(world, m, 4000, seed.rng.split(static_cast<std::uint64_t>(m))));
          all.emplace_back("exact functions", world.smooth);

          std::vector<Score> scores;
          for (const auto& [name, phi] : all) scores.push_back(score(world, phi));
          for (std::size_t k = 0; k < all.size(); ++k)
            seed.measure("share of the optimal value/" + all[k].first, scores[k].value);
          for (std::size_t k = 0; k < all.size(); ++k)
            seed.measure("error of the projection/" + all[k].first, scores[k].error);
          for (const auto& [name, phi] : all)
            seed.measure("distance to the exact functions/" + name, subspace_distance(phi, world.smooth));
        });
        const auto value = [&](const std::string& name) { return study.mean("share of the optimal value/" + name); };
        const double few = value("PVN, 16 sets"), some = value("PVN, 64 sets"), many = value("PVN, 320 sets");
        study.require("share of the optimal value with 320 sets", many, paper::at_least(.65));
        study.require("that with 320 sets / with 16", many / few, paper::at_least(3));
        study.require("gain from 16 to 64 sets", some - few, paper::above(0));
        study.require("gain from 64 to 320 sets", many - some, paper::above(0));
        study.note(
            "Targets bootstrap, so the distance stays above that of the tasks' best 32 features (.27 for 320 sets).");
        study.require("with normal noise", value("normal noise"), paper::at_most(.15));
      });
}
