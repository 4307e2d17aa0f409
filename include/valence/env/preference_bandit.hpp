#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/prompt_bandit.hpp"
#include "valence/mdp/responses.hpp"

/// Worlds for learning from comparisons: `PreferenceBandit`, and the ones that papers' claims are checked in.
namespace valence {

/// How pairs are drawn and judged.
struct PairSampling {
  bool distinct = true;  ///< the second answer is drawn among the others; false: both independently, perhaps the same
  double flip = 0;       ///< each label is turned round with this probability, in [0, 1]
  double scale = 1;      ///< answer i is preferred with probability sigmoid(scale (r_i - r_j)); >= 0
};

/// A `PromptBandit` whose answers have features, whose judge compares, and that knows which answers its logs hold. What
/// `LogLinearPolicy` and `fit` need to learn from comparisons, with everything exact (`value`, `best_policy`,
/// `win_rate`) that they should find.
///
/// `features`: size x (answers * prompts), that of answer k to prompt x in column x * answers + k; no rows: none (a
/// table is the policy). `behaviour`: answers x prompts, the law that answers of a log are drawn from.
class PreferenceBandit : public PromptBandit {
 public:
  /// `rewards`, `reference`: as in `PromptBandit`. `behaviour` empty: uniform. Throws `Error` for another number of
  /// columns of the features, entries that aren't finite, and a behaviour whose columns aren't probabilities.
  explicit PreferenceBandit(Matrix<double> rewards, Matrix<double> features = {}, Matrix<double> reference = {},
                            Matrix<double> behaviour = {})
      : PromptBandit(std::move(rewards), std::move(reference)),
        features_(std::move(features)),
        behaviour_(std::move(behaviour)) {
    constexpr std::string_view where = "PreferenceBandit";
    if (features_.size() > 0)
      check_shape(where, "features", features_.rows(), features_.cols(), features_.rows(), answers() * prompts());
    check_finite(where, "features", view(std::as_const(features_)));
    if (behaviour_.size() == 0) behaviour_.setConstant(answers(), prompts(), 1.0 / answers());
    check_law(where, behaviour_);
  }

  const Matrix<double>& features() const { return features_; }
  const Matrix<double>& behaviour() const { return behaviour_; }

  /// `n` pairs to prompts that are all alike likely, both answers drawn from `law` (answers x prompts, default: the
  /// behaviour), judged and perhaps flipped. Five outputs a pair. Throws `Error` for bad options, a law that isn't one,
  /// and distinct answers of a law that always gives the same.
  ResponsePairs sample_pairs(std::size_t n, Rng& rng, const PairSampling& options = {}) const {
    return sample_pairs(n, behaviour_, rng, options);
  }
  ResponsePairs sample_pairs(std::size_t n, const Matrix<double>& law, Rng& rng,
                             const PairSampling& options = {}) const {
    check(law, options);
    ResponsePairs pairs;
    std::vector<double> others(static_cast<std::size_t>(answers()));
    for (std::size_t i = 0; i < n; ++i) {
      const int x = rng.below(prompts());
      for (std::size_t k = 0; k < others.size(); ++k) others[k] = law(static_cast<Eigen::Index>(k), x);
      const std::size_t a = rng.categorical(others);
      if (options.distinct) others[a] = 0;
      const auto first = static_cast<int>(a), second = static_cast<int>(rng.categorical(others));
      const bool first_wins = rng.bernoulli(judged(x, first, second, options.scale));
      const bool as_judged = !rng.bernoulli(options.flip);
      pairs.push_back(x, first_wins == as_judged ? first : second, first_wins == as_judged ? second : first);
    }
    return pairs;
  }
  /// What `sample_pairs` gives in expectation: every ordered pair with its probability as weight, of mean 1 over the
  /// pairs. Pairs of probability 0 are left out.
  ResponsePairs population_pairs(const PairSampling& options = {}) const {
    return population_pairs(behaviour_, options);
  }
  ResponsePairs population_pairs(const Matrix<double>& law, const PairSampling& options = {}) const {
    check(law, options);
    ResponsePairs pairs;
    for (int x = 0; x < prompts(); ++x)
      for (int i = 0; i < answers(); ++i)
        for (int j = 0; j < answers(); ++j) {
          const double drawn = first_then_second(law, x, i, j, options) + first_then_second(law, x, j, i, options);
          const double wins = judged(x, i, j, options.scale);
          const double p = drawn * (wins + options.flip * (1 - 2 * wins));
          if (p == 0) continue;
          pairs.push_back(x, i, j);
          pairs.weight.push_back(p / prompts());
        }
    for (double& w : pairs.weight) w *= static_cast<double>(pairs.size());
    return pairs;
  }

  /// `n` answers of `law` (answers x prompts) to prompts that are all alike likely. Two outputs an answer.
  Responses sample_responses(std::size_t n, const Matrix<double>& law, Rng& rng) const {
    check_law("PreferenceBandit::sample_responses", law);
    Responses responses;
    for (std::size_t i = 0; i < n; ++i) {
      const int x = rng.below(prompts());
      const std::span<const double> p(law.data() + x * law.rows(), static_cast<std::size_t>(law.rows()));
      responses.prompt.push_back(x);
      responses.answer.push_back(static_cast<int>(rng.categorical(p)));
    }
    return responses;
  }

  template <class A>
  void archive(A& ar) {
    PromptBandit::archive(ar);
    ar(features_, behaviour_);
  }

 private:
  double judged(int prompt, int i, int j, double scale) const {
    return sigmoid(scale * (reward(prompt, i) - reward(prompt, j)));
  }
  static double first_then_second(const Matrix<double>& law, int x, int i, int j, const PairSampling& options) {
    if (!options.distinct) return law(i, x) * law(j, x);
    return i == j || law(i, x) == 0 ? 0 : law(i, x) * law(j, x) / (1 - law(i, x));
  }
  void check_law(std::string_view where, const Matrix<double>& law) const {
    check_shape(where, "the law of answers", law.rows(), law.cols(), answers(), prompts());
    for (int x = 0; x < prompts(); ++x)
      check_probabilities(where, "the law of answers",
                          std::span<const double>(law.data() + x * law.rows(), static_cast<std::size_t>(law.rows())));
  }
  void check(const Matrix<double>& law, const PairSampling& options) const {
    constexpr std::string_view where = "PreferenceBandit::sample_pairs";
    check_law(where, law);
    check_range(where, "flip", options.flip, 0, 1);
    if (!(options.scale >= 0) || !std::isfinite(options.scale))
      fail(where, "scale is {}; expected a finite number of at least 0", options.scale);
    for (int x = 0; options.distinct && x < prompts(); ++x)
      if ((law.col(x).array() > 0).count() < 2)
        fail(where, "the law of answers to prompt {} gives one answer alone; expected two to compare", x);
  }

  Matrix<double> features_, behaviour_;
};

namespace detail {

/// Standard normal features, and rewards that are linear in features, in the shape that bandits have.
inline Matrix<double> normal_features(int size, int prompts, int answers, Rng& rng) {
  Matrix<double> features(size, prompts * answers);
  rng.fill_normal(view(features));
  return features;
}
inline Matrix<double> answers_by_prompts(const Vector<double>& values, int answers) {
  return values.reshaped(answers, values.size() / answers);
}
inline Vector<double> random_direction(int size, double norm, Rng& rng) {
  Vector<double> w(size);
  rng.fill_normal(view(w));
  return w * (norm / w.norm());
}

}  // namespace detail

/// Logs that leave directions of the reward almost untested, and answers out of their sight that are worse: where a
/// learner that trusts its reward everywhere over-optimises.
struct CoverageGap {
  int prompts = 20, answers = 24;
  int covered = 8;   ///< the first so many answers to a prompt: the logs hold these, alike likely
  int tested = 4;    ///< features that vary among the covered answers as among the others
  int untested = 8;  ///< features that the covered answers have `dimmed`
  double dimmed = 0.15;
  double norm = 1.5;   ///< of the reward's weights, of the tested features and of the untested ones
  double worse = 1.5;  ///< by how much the other answers are worth less, on average
};

/// Features are standard normal, rewards linear in them with weights in two random directions; the untested features of
/// the answers outside of the logs have the mean -(worse / norm^2) w. The reference is uniform.
inline PreferenceBandit coverage_gap_bandit(Rng& rng, const CoverageGap& o = {}) {
  constexpr std::string_view where = "coverage_gap_bandit";
  for (const int size : {o.prompts, o.tested, o.untested}) check_positive(where, "a size", size);
  check_range(where, "covered", o.covered, 2, o.answers);
  check_positive(where, "norm", o.norm);
  Matrix<double> features = detail::normal_features(o.tested + o.untested, o.prompts, o.answers, rng);
  Vector<double> w(o.tested + o.untested);
  w << detail::random_direction(o.tested, o.norm, rng), detail::random_direction(o.untested, o.norm, rng);
  Matrix<double> behaviour = Matrix<double>::Zero(o.answers, o.prompts);
  behaviour.topRows(o.covered).setConstant(1.0 / o.covered);
  for (int i = 0; i < features.cols(); ++i) {
    auto untested = features.col(i).tail(o.untested);
    if (i % o.answers < o.covered)
      untested *= o.dimmed;
    else
      untested -= (o.worse / (o.norm * o.norm)) * w.tail(o.untested);
  }
  Matrix<double> rewards = detail::answers_by_prompts(features.transpose() * w, o.answers);
  return PreferenceBandit(std::move(rewards), std::move(features), {}, std::move(behaviour));
}

/// A world that a log-linear policy can solve exactly.
struct LinearPreferences {
  int prompts = 40, answers = 6, features = 8;
};

/// r = weights . phi with standard normal features, uniform reference and behaviour: pi* of J with this beta is the
/// log-linear policy of theta = weights / beta. Throws `Error` for weights of another number than features.
inline PreferenceBandit linear_bandit(std::span<const double> weights, Rng& rng, const LinearPreferences& o = {}) {
  constexpr std::string_view where = "linear_bandit";
  for (const int size : {o.prompts, o.answers, o.features}) check_positive(where, "a size", size);
  check_size(where, "weights", weights.size(), static_cast<std::size_t>(o.features));
  check_finite(where, "weights", weights);
  Matrix<double> features = detail::normal_features(o.features, o.prompts, o.answers, rng);
  const Eigen::Map<const Vector<double>> w(weights.data(), o.features);
  Matrix<double> rewards = detail::answers_by_prompts(features.transpose() * w, o.answers);
  return PreferenceBandit(std::move(rewards), std::move(features));
}

/// One prompt whose best answer the reference almost never gives.
struct RareArm {
  int answers = 10;
  int common = 4;  ///< answers that share the reference's mass but `rare_mass`; the others share that
  double rare_mass = 0.01;
  double best_reward = 2.5;  ///< of the last answer; the others' are uniform on [0, 1)
};

inline PreferenceBandit rare_arm_bandit(Rng& rng, const RareArm& o = {}) {
  constexpr std::string_view where = "rare_arm_bandit";
  check_range(where, "common", o.common, 1, o.answers - 1);
  check_range(where, "rare_mass", o.rare_mass, 0, 1);
  Matrix<double> rewards(o.answers, 1), reference(o.answers, 1);
  for (int k = 0; k + 1 < o.answers; ++k) rewards(k, 0) = rng.uniform();
  rewards(o.answers - 1, 0) = o.best_reward;
  reference.topRows(o.common).setConstant((1 - o.rare_mass) / o.common);
  reference.bottomRows(o.answers - o.common).setConstant(o.rare_mass / (o.answers - o.common));
  return PreferenceBandit(std::move(rewards), {}, std::move(reference));
}

/// A reward that no log-linear policy on the features represents.
struct MisspecifiedPreferences {
  int prompts = 30, answers = 64, features = 8;
  double norm = 1.2;                      ///< of the linear part's weights
  double quadratic = 0.5, folded = 0.35;  ///< coefficients of q and of -|q|
};

/// r = w . phi + quadratic q - folded |q| with q = phi' Q phi, Q a symmetrised matrix of N(0, 1 / features) entries;
/// then shifted and scaled to mean 0 and variance 1 over all answers. Uniform reference and behaviour.
inline PreferenceBandit misspecified_bandit(Rng& rng, const MisspecifiedPreferences& o = {}) {
  for (const int size : {o.prompts, o.answers, o.features}) check_positive("misspecified_bandit", "a size", size);
  Matrix<double> features = detail::normal_features(o.features, o.prompts, o.answers, rng);
  const Vector<double> w = detail::random_direction(o.features, o.norm, rng);
  Matrix<double> form(o.features, o.features);
  rng.fill_normal(view(form));
  form = ((form + form.transpose()) / (2 * std::sqrt(static_cast<double>(o.features)))).eval();
  const Vector<double> q = (features.array() * (form * features).array()).colwise().sum().matrix().transpose();
  Vector<double> r = features.transpose() * w + o.quadratic * q - o.folded * q.cwiseAbs();
  r.array() -= r.mean();
  r *= std::sqrt(static_cast<double>(r.size())) / r.norm();
  return PreferenceBandit(detail::answers_by_prompts(r, o.answers), std::move(features));
}

/// A world with many features and few demonstrations, where fine-tuning over-fits.
struct Demonstrations {
  int prompts = 30, answers = 20, features = 200;
  double weight = 1.2;       ///< standard deviation of the reward's weights
  double inclination = 0.3;  ///< of the reference towards the reward
};

/// r = w . phi with features N(0, 1 / features) and weights N(0, weight^2). The reference is a base policy with a will
/// of its own, softmax(inclination r + standard normal), and the behaviour too.
inline PreferenceBandit demonstration_bandit(Rng& rng, const Demonstrations& o = {}) {
  for (const int size : {o.prompts, o.answers, o.features}) check_positive("demonstration_bandit", "a size", size);
  Matrix<double> features = detail::normal_features(o.features, o.prompts, o.answers, rng);
  features /= std::sqrt(static_cast<double>(o.features));
  Vector<double> w(o.features);
  rng.fill_normal(view(w));
  Matrix<double> rewards = detail::answers_by_prompts(features.transpose() * (o.weight * w), o.answers);
  Matrix<double> logits(o.answers, o.prompts);
  rng.fill_normal(view(logits));
  logits += o.inclination * rewards;
  const Matrix<double> base = softmax(logits);
  return PreferenceBandit(std::move(rewards), std::move(features), base, base);
}

}  // namespace valence
