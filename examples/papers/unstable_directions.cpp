// Unstable directions of a policy (Korkmaz 2024, "Understanding and Diagnosing Deep Reinforcement Learning"): for each
// state the input direction to which the greedy action is most sensitive, and over a set of states the principal one.
//
// A network learns action values of a walk in 16 inputs. Inputs 0 and 1 decide the best action and take large changes
// to mislead; inputs 2 to 5 tell the best action too, but so faintly that a small change does; the others are noise. A
// second network also learns to keep its greedy action under attack, as SA-DQN does. Expect that the two have different
// principal directions (feature correlation quotient far below 1), that two ordinary networks share theirs, and that
// the robust network's directions oscillate more over time. A weak regulariser changes no direction.
#include <fmt/core.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/evaluation/unstable_directions.hpp"
#include "valence/function/adversarial.hpp"
#include "valence/function/input_gradient.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/value/action_robustness.hpp"

namespace vl = valence;
using Columns = vl::Matrix<float>;

namespace {

constexpr int inputs = 16, actions = 4, batch_size = 64;

int greedy(const auto& q) {
  Eigen::Index a = 0;
  q.maxCoeff(&a);
  return static_cast<int>(a);
}

/// States along a walk, one a column, and their true action values.
struct Walk {
  Columns states, values;

  Walk(int length, vl::Rng& rng) : states(inputs, length), values(actions, length) {
    vl::Vector<float> z = vl::Vector<float>::NullaryExpr(2, [&] { return rng.normal<float>(); });
    for (int t = 0; t < length; ++t) {
      for (float& zi : z) zi = 0.9F * zi + std::sqrt(0.19F) * rng.normal<float>();
      values.col(t) << z[0], -z[0], z[1], -z[1];
      const int best = greedy(values.col(t));
      states.col(t).head(2) = z;
      for (int a = 0; a < actions; ++a)
        states(2 + a, t) = 0.15F * ((a == best ? 1.0F : 0.0F) - 0.25F) + 0.03F * rng.normal<float>();
      for (int i = 6; i < inputs; ++i) states(i, t) = 0.5F * rng.normal<float>();
    }
  }
};

/// The weight of the hinge on attacked action values, and how far the attack may move an input; 0: none.
struct Regulariser {
  float weight = 0;
  double epsilon = 0;
};

struct QNetwork {
  vl::Mlp<float> net{{inputs, 64, 64, actions}, vl::relu, {.initialization = vl::Initialization::he}};
  std::vector<float> theta = std::vector<float>(net.parameter_count());

  /// Regression on the true values, and max(max_{b != a} Q(s', b) - Q(s', a), -1) at attacked states s'.
  QNetwork(const Walk& data, const Regulariser& robust, vl::Rng rng) {
    net.initialize(theta, rng);
    auto adam = vl::Adam{.step_size = 1e-3}.start<float>(theta.size());
    std::vector<float> gradient(theta.size());
    std::vector<Eigen::Index> picked(batch_size);
    Columns x, target, d(actions, batch_size), v, attacked;
    vl::InputGradientWorkspace<vl::Mlp<float>> clean;
    vl::Mlp<float>::Tape tape;
    std::vector<int> best(batch_size);
    const vl::Outputs<float> dq(d.data(), actions, batch_size);
    for (int step = 0; step < 3000; ++step) {
      for (Eigen::Index& i : picked) i = rng.below(data.states.cols());
      x = data.states(Eigen::all, picked), target = data.values(Eigen::all, picked);
      std::fill(gradient.begin(), gradient.end(), 0.0F);
      const auto q = robust.weight > 0 ? vl::input_gradients(net, std::span<const float>(theta), x,
                                                             vl::GreedyCrossEntropy{}, clean, v)
                                       : net.forward(theta, x, clean.tape);
      for (int j = 0; j < batch_size; ++j) best[static_cast<std::size_t>(j)] = greedy(q.col(j));
      d = (q - target) * (2.0F / (batch_size * actions));
      net.pullback(theta, x, clean.tape, dq, gradient);
      if (robust.weight > 0) {
        attacked = x;
        vl::ascend_in_ball(vl::view(std::as_const(v)), vl::view(attacked), vl::Ball::infinity, robust.epsilon);
        const auto after = net.forward(theta, attacked, tape);
        d.setZero();
        for (int j = 0; j < batch_size; ++j)
          vl::RobustMargin{.margin = 1}(std::span(after.col(j).data(), actions), best[static_cast<std::size_t>(j)],
                                        robust.weight / batch_size, std::span(d.col(j).data(), actions));
        net.pullback(theta, attacked, tape, dq, gradient);
      }
      adam.step(theta, std::span<const float>(gradient));
    }
  }

  vl::UnstableDirections directions(const Columns& states) const {
    return vl::unstable_directions(net, std::span<const float>(theta), states);
  }
  /// The share of states whose greedy actions are those of `reference`, a column a state.
  double agreement(const Columns& states, const Columns& reference) const {
    vl::Mlp<float>::Tape tape;
    const auto q = net.forward(theta, states, tape);
    double same = 0;
    for (Eigen::Index j = 0; j < q.cols(); ++j) same += greedy(q.col(j)) == greedy(reference.col(j)) ? 1 : 0;
    return same / static_cast<double>(q.cols());
  }
  /// The share of greedy actions that a step of 0.3 along `by`, a unit vector a state, changes, and one against it.
  double flips(const Columns& states, const Columns& by) const {
    vl::Mlp<float>::Tape tape;
    const Columns q = net.forward(theta, states, tape);
    return 1 - (agreement(states + 0.3F * by, q) + agreement(states - 0.3F * by, q)) / 2;
  }
};

/// What the paper measures of one kind of training: of a network, and of it against an independent run.
std::vector<std::pair<std::string, double>> diagnose(const QNetwork& own, const QNetwork& independent, const Walk& walk,
                                                     vl::Rng rng) {
  const auto normal = [&rng] { return rng.normal<float>(); };
  const Columns shift = Columns::NullaryExpr(inputs, walk.states.cols(), normal);
  const Columns random = Columns::NullaryExpr(inputs, walk.states.cols(), normal).colwise().normalized();
  const vl::UnstableDirections here = own.directions(walk.states);
  const Columns principal = here.direction().cast<float>().replicate(1, walk.states.cols());
  const vl::DirectionSeries series = vl::direction_series(here.per_state());
  const auto fcq = [&](const vl::UnstableDirections& of) { return vl::feature_correlation_quotient(of, here); };
  return {
      {"FCQ with an independent run of the same kind", fcq(independent.directions(walk.states))},
      {"FCQ with fresh states", fcq(own.directions(Walk(1000, rng).states))},
      {"FCQ with states shifted by N(0, 1)", fcq(own.directions(walk.states + shift))},
      {"standard deviation over time of the direction's norm", series.norm_deviation()},
      {"the same over the mean norm", series.norm_variation()},
      {"mean step of the norm", series.norm_step()},
      {"turning, 1 - cos of consecutive directions", series.turning_mean()},
      {"share of the principal direction on inputs 2 to 5", here.direction().segment(2, actions).squaredNorm()},
      {"greedy actions that are the best", own.agreement(walk.states, walk.values)},
      {"greedy actions changed by a step along the principal direction", own.flips(walk.states, principal)},
      {"greedy actions changed by a random step", own.flips(walk.states, random)},
  };
}

}  // namespace

int main(int count, char** arguments) {
  const paper::About about{.id = "unstable_directions",
                           .header = "valence/evaluation/unstable_directions.hpp",
                           .claim = "robust training gives a policy other unstable directions, which oscillate more",
                           .quick_seeds = 6};
  return paper::run(about, count, arguments, [](paper::Study& study) {
    study.each_seed([](paper::Seed& seed) {
      vl::Rng world = seed.rng.split(0);
      const Walk data(2048, world), walk(1000, world);
      const Regulariser none, binding{.weight = 1, .epsilon = 0.3}, weak{.weight = 0.3F, .epsilon = 0.15};
      const QNetwork standard(data, none, seed.rng.split(1)), robust(data, binding, seed.rng.split(2));
      const vl::UnstableDirections s = standard.directions(walk.states), r = robust.directions(walk.states);
      seed.measure("FCQ across kinds/standard's direction, robust's states", vl::feature_correlation_quotient(s, r));
      seed.measure("FCQ across kinds/robust's direction, standard's states", vl::feature_correlation_quotient(r, s));
      if (!seed.quick) {
        const vl::UnstableDirections w = QNetwork(data, weak, seed.rng.split(5)).directions(walk.states);
        seed.measure("FCQ across kinds/weakly robust's direction, standard's states",
                     vl::feature_correlation_quotient(w, s));
      }
      const auto of_standard = diagnose(standard, QNetwork(data, none, seed.rng.split(3)), walk, seed.rng.split(6));
      const auto of_robust = diagnose(robust, QNetwork(data, binding, seed.rng.split(4)), walk, seed.rng.split(6));
      for (std::size_t i = 0; i < of_standard.size(); ++i) {
        seed.measure(of_standard[i].first + "/standard", of_standard[i].second);
        seed.measure(of_robust[i].first + "/robust", of_robust[i].second);
      }
    });
    const auto ratio = [&](const std::string& a, const std::string& b) { return study.mean(a) / study.mean(b); };
    const auto of_kinds = [&](const std::string& what) { return ratio(what + "/robust", what + "/standard"); };
    for (const std::string which : {"robust's direction, standard's states", "standard's direction, robust's states"})
      study.require("FCQ, " + which, study.mean("FCQ across kinds/" + which), paper::below(0.7));
    study.require("FCQ of two standard runs", study.mean("FCQ with an independent run of the same kind/standard"),
                  paper::above(0.9));
    study.require("standard deviation of the norm, robust / standard",
                  of_kinds("standard deviation over time of the direction's norm"), paper::at_least(1.6));
    study.require("turning, robust / standard", of_kinds("turning, 1 - cos of consecutive directions"),
                  paper::above(1));
    const auto changed = [&](const std::string& kind) {
      return ratio("greedy actions changed by a step along the principal direction/" + kind,
                   "greedy actions changed by a random step/" + kind);
    };
    study.require("actions changed along the principal direction / along a random one, standard", changed("standard"),
                  paper::at_least(2));
    study.require("the same, robust", changed("robust"), paper::above(1));
    study.note(
        "the robust policy's principal direction changes about twice as many actions as a random one, which is "
        "too close to 2 to ask for");
    if (!study.quick())
      study.note(
          fmt::format("of a weak regulariser (weight 0.3, attacks of 0.15) the FCQ is {:.3f}: the effect needs "
                      "one that binds",
                      study.mean("FCQ across kinds/weakly robust's direction, standard's states")));
  });
}
