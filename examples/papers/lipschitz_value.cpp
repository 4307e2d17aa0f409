// A learned model's error enters a Bellman backup times the Lipschitz constant of the value that is backed up. So Zheng
// et al. (2023, arXiv:2302.01244) ask whether ensembles of models are needed or only smooth the value, and make one
// model do by smoothing the value itself: by a penalty on its change under adversarial noise, or by a bound on its
// layers' spectral norms. MuJoCo is replaced by a point mass between walls, MBPO by fitted Q iteration on models that
// are learned from 150 transitions. Expect: an ensemble makes the value less steep, a regulariser far less; values of
// predicted and of true states then differ half as much; one model with the penalty earns what the ensemble does.

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "harness.hpp"
#include "valence/agent/fitted_q.hpp"
#include "valence/core/statistics.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/residual.hpp"
#include "valence/function/spectral.hpp"
#include "valence/value/robust_consistency.hpp"
#include "valence/value/value_gradient.hpp"

namespace vl = valence;

namespace {

using State = vl::Vector<float>;  // position, then speed, in the plane
using States = vl::Matrix<float>;
constexpr int actions = 5;  // none, right, left, up, down
constexpr double discount = 0.95;

/// The speed keeps 90 % and gets the push; a wall stops the position and turns the speed round, halved.
State step(State s, int action, vl::Rng& rng) {
  s.tail(2) *= 0.9f;
  if (action > 0) s[2 + (action - 1) / 2] += action % 2 == 1 ? 0.25f : -0.25f;
  s.head(2) += 0.25f * s.tail(2);
  for (int d = 0; d < 2; ++d)
    if (std::abs(s[d]) > 1) s[d] = std::clamp(s[d], -1.0f, 1.0f), s[2 + d] *= -0.5f;
  for (float& x : vl::view(s)) x += 0.02f * rng.normal<float>();
  return s;
}
float reward(std::span<const float> s) {
  return std::exp(-6 * (s[0] * s[0] + s[1] * s[1])) - 0.05f * (s[2] * s[2] + s[3] * s[3]);
}
States draw_states(int count, float speed, vl::Rng& rng) {
  States s(4, count);
  for (Eigen::Index j = 0; j < count; ++j)
    s.col(j) << rng.uniform<float>(-1, 1), rng.uniform<float>(-1, 1), speed * rng.normal<float>(),
        speed * rng.normal<float>();
  return s;
}

struct Transitions {
  States states, inputs, next;
};
Transitions draw_transitions(int count, vl::Rng rng) {
  Transitions t{.states = draw_states(count, 0.5f, rng), .inputs = {}, .next = States(4, count)};
  std::vector<int> taken;
  for (Eigen::Index j = 0; j < count; ++j) {
    taken.push_back(rng.below(actions));
    t.next.col(j) = step(t.states.col(j), taken.back(), rng);
  }
  t.inputs = vl::state_action_columns<float>(t.states, taken, actions);
  return t;
}

/// The discounted return of the greedy policy: mean over 64 starts, 60 steps.
template <class Learner>
double evaluate(Learner& learner, vl::Rng rng) {
  States s = draw_states(64, 0.3f, rng);
  double total = 0, weight = 1;
  for (int t = 0; t < 60; ++t, weight *= discount) {
    const States q = learner.values(s);
    for (Eigen::Index j = 0; j < s.cols(); ++j) {
      const int action = static_cast<int>(vl::greedy_action(std::span<const float>(q.col(j).data(), actions)));
      s.col(j) = step(s.col(j), action, rng);
      total += weight * static_cast<double>(reward({s.col(j).data(), 4}));
    }
  }
  return total / 64;
}

using Net = vl::Mlp<float>;
using Models = vl::ModelEnsemble<vl::Residual<Net>>;

constexpr vl::Adam adam{.step_size = 1e-3};

struct Result {
  std::string name;
  std::vector<double> iterations = {}, returns = {};  // the learning curve
  double gap = 0;                                     // mean |V(s' of the model) - V(s')| on 500 unseen transitions
  double gradient = 0;                                // 95 % quantile of |dV/ds| there
};

/// Fitted Q iteration on imagined states: the data, and where the models lead from there under random actions.
template <class Optimizer = vl::Adam, class Regulariser = vl::NoRegulariser>
Result train(const std::string& name, const Models& models, const Transitions& data, const Net& q, const vl::Rng& root,
             const Optimizer& optimizer = adam, Regulariser regulariser = {}) {
  vl::Rng rng = root.split(0);
  const States states =
      vl::imagine_states(models, data.states, actions, {.count = 1500, .length = 60, .bound = 2}, rng);
  const auto outcomes =
      vl::imagine_outcomes(models, states, actions, [](auto, int, auto next) { return reward(next); });
  vl::FittedQ learner{q, optimizer, {.discount = discount, .updates = 60, .batch = 64}, root.split(1)};
  Result result{name};
  for (int k = 1; k <= 40; ++k) {
    learner.iterate(states, outcomes, rng, regulariser);
    if (k % 4 == 0) result.iterations.push_back(k), result.returns.push_back(evaluate(learner, root.split(2)));
  }
  const Transitions unseen = draw_transitions(500, root.split(3));
  vl::Residual<Net>::Tape tape;
  const States predicted = models.forward(0, unseen.inputs, tape);
  const States imagined = learner.values(predicted).colwise().maxCoeff();
  const auto true_values = learner.values(unseen.next).colwise().maxCoeff();
  result.gap = static_cast<double>((imagined - true_values).cwiseAbs().mean());
  const auto lipschitz = vl::lipschitz_estimate(learner.model(), learner.theta(), unseen.states);
  result.gradient = vl::quantile(lipschitz.gradient_norms, 0.95);
  return result;
}

/// Models that are learned, and value networks that start, from weights as PyTorch draws them or from steeper ones.
struct Start {
  vl::MlpOptions options;
  Net q{{4, 64, 64, actions}, vl::relu, options};
  Models fit(int members, const Transitions& data, const vl::Rng& rng) const {
    return vl::fit_ensemble(vl::Residual{Net{{4 + actions, 32, 32, 4}, vl::relu, options}}, data.inputs,
                            vl::SquaredErrorTo{data.next}, vl::Adam{.step_size = 3e-3},
                            {.members = members, .fit = {.steps = 800, .batch_size = 32}}, rng);
  }
};

void measure(paper::Seed& seed) {
  const vl::Rng& rng = seed.rng;
  const Transitions data = draw_transitions(150, rng.split(4));
  const Start usual{{.initialization = vl::Initialization::fan_in}}, steep{{.initialization = vl::Initialization::he}};
  const Models one = usual.fit(1, data, rng.split(5)), five = usual.fit(5, data, rng.split(5));
  const auto bounded = [](const Net& q) { return vl::SpectralProjection{adam, q, {.max_sigma = 3}}; };
  const vl::RobustRegulariser<Net> robust{{.weight = 1}, {.radius = 0.1}};
  std::vector<Result> results{train("one model", one, data, usual.q, rng),
                              train("five models", five, data, usual.q, rng),
                              train("one, robust", one, data, usual.q, rng, adam, robust),
                              train("one, spectral", one, data, usual.q, rng, bounded(usual.q))};
  if (!seed.quick) {
    const Models model = steep.fit(1, data, rng.split(5));
    results.push_back(train("steep start, one", model, data, steep.q, rng));
    results.push_back(train("steep start, spectral", model, data, steep.q, rng, bounded(steep.q)));
  }
  for (const Result& r : results) seed.measure("return/" + r.name, r.returns.back());
  for (const Result& r : results) seed.measure("gap of values/" + r.name, r.gap);
  for (const Result& r : results) seed.measure("value gradient/" + r.name, r.gradient);
  for (const Result& r : results) seed.trace("return/" + r.name, r.iterations, r.returns);
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run(
      {.id = "lipschitz_value",
       .header = "valence/function/spectral.hpp",
       .claim = "one learned model does for a Lipschitz value what an ensemble of models does",
       .seeds = 20,
       .quick_seeds = 4},
      count, arguments, [](paper::Study& study) {
        study.each_seed(measure);
        const auto against = [&](const std::string& what, const char* a, const char* b) {
          return study.median(what + "/" + a) - study.median(what + "/" + b);
        };
        const auto ratio = [&](const std::string& what, const char* a) {
          return study.median(what + "/" + a) / study.median(what + "/one model");
        };
        // A few seeds don't tell returns apart by more than the margin, nor a median ratio near its bound.
        if (!study.quick())
          study.require("median return, robust - single", against("return", "one, robust", "one model"),
                        paper::above(0));
        study.require("median gap, robust / single", ratio("gap of values", "one, robust"), paper::at_most(0.6));
        study.require("median return, robust - ensemble", against("return", "one, robust", "five models"),
                      paper::at_least(-1.5));
        if (study.quick()) return;
        study.require("median gap, spectral / single", ratio("gap of values", "one, spectral"), paper::at_most(0.6));
        study.report("median gradient, ensemble / single", ratio("value gradient", "five models"));
        study.report("least return, spectral", study.minimum("return/one, spectral"));
        study.report("median return, spectral - ensemble", against("return", "one, spectral", "five models"));
        study.report("median return, spectral - single", against("return", "one, spectral", "one model"));
        study.note(
            "Medians, because once in many seeds the one model is itself so wrong that no value saves its return;");
        study.note("the ensemble saves it, and is the more reliable.");
        study.note("Does not reproduce: the spectral bound halves the gap too, and earns less than the single model.");
        const auto collapsed = [&](const char* name) {
          const auto returns = study[name];
          return static_cast<double>(std::count_if(returns.begin(), returns.end(), [](double r) { return r < 3; })) /
                 static_cast<double>(returns.size());
        };
        study.report("share with a return below 3, steep start, one", collapsed("return/steep start, one"));
        study.report("share with a return below 3, steep start, spectral", collapsed("return/steep start, spectral"));
        study.note(
            "From steeper weights some runs diverge on states far from the data, with the bound (3 a layer, 27 in");
        study.note("all) as without: it holds their gradient and doesn't save their returns.");
      });
}
