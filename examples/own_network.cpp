// Your own model with valence's losses, in two ways:
//   1. it keeps its type and its own backward pass: log-probabilities go to the loss, gradients come back;
//   2. it gets the two functions of an `Approximator`, and everything of the library trains it.

#include <fmt/core.h>

#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/preference/evaluate.hpp"
#include "valence/preference/losses.hpp"
#include "valence/reward/train_on_pairs.hpp"

namespace vl = valence;

// A prompt is a point in the plane; there are three possible answers.
constexpr std::size_t inputs = 2, answers = 3;

// What people want, unknown to the models: one answer for each third of the circle.
std::size_t best_answer(double x, double y) {
  const double turn = std::atan2(y, x) / (2 * std::numbers::pi) + 0.5;  // in [0, 1]
  return static_cast<std::size_t>(turn * answers) % answers;
}

struct Judged {  // for each prompt: the preferred answer, and another one
  std::vector<double> x, y;
  std::vector<std::size_t> chosen, rejected;
};

Judged ask_people(int n, vl::Rng& rng) {
  Judged data;
  for (int k = 0; k < n; ++k) {
    data.x.push_back(rng.normal());
    data.y.push_back(rng.normal());
    data.chosen.push_back(best_answer(data.x.back(), data.y.back()));
    data.rejected.push_back((data.chosen.back() + 1 + rng.below(answers - 1)) % answers);
  }
  return data;
}

// ---------------------------------------------------------------- 1. a type of your own

class MyNetwork {  // logits = W (1, x, y): whatever you have; here nine numbers and a softmax
 public:
  std::vector<double> log_probs(double x, double y) const {
    std::vector<double> logits(answers);
    double sum = 0;
    for (std::size_t a = 0; a < answers; ++a) {
      logits[a] = w_[a][0] + w_[a][1] * x + w_[a][2] * y;
      sum += std::exp(logits[a]);
    }
    for (double& z : logits) z -= std::log(sum);
    return logits;
  }
  /// Your own backward pass: adds the gradient of a loss whose derivative with respect to log pi(answer) is d.
  void backward(double x, double y, std::size_t answer, double d) {
    const std::vector<double> log_pi = log_probs(x, y);
    for (std::size_t a = 0; a < answers; ++a) {
      const double d_logit = d * ((a == answer ? 1 : 0) - std::exp(log_pi[a]));
      gradient_[a][0] += d_logit;
      gradient_[a][1] += d_logit * x;
      gradient_[a][2] += d_logit * y;
    }
  }
  void descend(double step_size) {
    for (std::size_t a = 0; a < answers; ++a)
      for (std::size_t i = 0; i < 3; ++i) {
        w_[a][i] -= step_size * gradient_[a][i];
        gradient_[a][i] = 0;
      }
  }

 private:
  double w_[answers][3] = {}, gradient_[answers][3] = {};
};

double train_my_network(const Judged& train, const Judged& test) {
  MyNetwork policy;
  const MyNetwork reference = policy;  // frozen
  const auto loss = vl::Dpo{.beta = 0.3} + 0.05 * vl::Sft{};
  const std::size_t n = train.x.size();
  vl::PairLogProbs<std::vector<double>> batch;
  for (std::size_t k = 0; k < n; ++k) {  // the reference's log-probabilities never change: once is enough
    batch.ref_chosen.push_back(reference.log_probs(train.x[k], train.y[k])[train.chosen[k]]);
    batch.ref_rejected.push_back(reference.log_probs(train.x[k], train.y[k])[train.rejected[k]]);
  }
  batch.chosen.resize(n);
  batch.rejected.resize(n);
  for (int epoch = 0; epoch < 100; ++epoch) {
    for (std::size_t k = 0; k < n; ++k) {
      batch.chosen[k] = policy.log_probs(train.x[k], train.y[k])[train.chosen[k]];
      batch.rejected[k] = policy.log_probs(train.x[k], train.y[k])[train.rejected[k]];
    }
    const auto [value, d_chosen, d_rejected] = vl::evaluate(loss, batch);  // the library's part
    if (epoch % 33 == 0) fmt::print("  epoch {:3}: loss {:.4f}\n", epoch, value);
    for (std::size_t k = 0; k < n; ++k) {
      policy.backward(train.x[k], train.y[k], train.chosen[k], d_chosen[k]);
      policy.backward(train.x[k], train.y[k], train.rejected[k], d_rejected[k]);
    }
    policy.descend(20);
  }
  int right = 0;
  for (std::size_t k = 0; k < test.x.size(); ++k) {
    const std::vector<double> log_pi = policy.log_probs(test.x[k], test.y[k]);
    right += log_pi[test.chosen[k]] > log_pi[test.rejected[k]];
  }
  return right / static_cast<double>(test.x.size());
}

// ---------------------------------------------------------------- 2. the same as an Approximator

struct Bilinear {  // score(prompt, answer) = theta[answer] . (1, x, y). A batch: columns of (answer, x, y)
  using Scalar = double;
  using Batch = vl::Matrix<double>;
  struct Tape {
    vl::Matrix<double> scores;
  };
  std::size_t parameter_count() const { return answers * (inputs + 1); }
  int output_size() const { return 1; }
  void initialize(std::span<double> theta, vl::Rng&) const {
    for (double& t : theta) t = 0;
  }
  vl::Outputs<double> forward(std::span<const double> theta, const Batch& x, Tape& tape) const {
    tape.scores.resize(1, x.cols());
    for (Eigen::Index k = 0; k < x.cols(); ++k) {
      const double* w = theta.data() + 3 * static_cast<std::ptrdiff_t>(x(0, k));
      tape.scores(k) = w[0] + w[1] * x(1, k) + w[2] * x(2, k);
    }
    return {tape.scores.data(), 1, x.cols()};
  }
  void pullback(std::span<const double>, const Batch& x, Tape&, const vl::Outputs<double>& dy,
                std::span<double> gradient) const {
    for (Eigen::Index k = 0; k < x.cols(); ++k) {
      double* g = gradient.data() + 3 * static_cast<std::ptrdiff_t>(x(0, k));
      g[0] += dy(k);
      g[1] += dy(k) * x(1, k);
      g[2] += dy(k) * x(2, k);
    }
  }
};
static_assert(vl::Approximator<Bilinear>);

vl::Matrix<double> candidates(const Judged& data) {  // all answers to each prompt, side by side
  vl::Matrix<double> x(3, static_cast<Eigen::Index>(answers * data.x.size()));
  for (Eigen::Index column = 0; column < x.cols(); ++column) {
    const std::size_t k = static_cast<std::size_t>(column) / answers, a = static_cast<std::size_t>(column) % answers;
    x.col(column) << static_cast<double>(a), data.x[k], data.y[k];
  }
  return x;
}

double train_approximator(const Judged& train, const Judged& test, vl::Rng& rng) {
  std::vector<int> chosen, rejected;
  for (std::size_t k = 0; k < train.x.size(); ++k) {
    chosen.push_back(static_cast<int>(answers * k + train.chosen[k]));
    rejected.push_back(static_cast<int>(answers * k + train.rejected[k]));
  }
  vl::PairObjective objective{Bilinear{}, vl::Dpo{.beta = 0.3} + 0.05 * vl::Sft{}, static_cast<int>(answers)};
  std::vector<double> theta(objective.model().parameter_count());
  const auto training = vl::train_on_pairs(objective, std::span<double>(theta), candidates(train), {chosen, rejected},
                                           vl::Adam{.step_size = 0.2}, {.steps = 100}, rng);
  fmt::print("  {} steps: loss {:.4f}\n", training.steps, training.loss);
  const auto log_pi = objective.scores(theta, candidates(test));
  int right = 0;
  for (std::size_t k = 0; k < test.x.size(); ++k)
    right += log_pi[answers * k + test.chosen[k]] > log_pi[answers * k + test.rejected[k]];
  return right / static_cast<double>(test.x.size());
}

int main() {
  vl::Rng rng{1};
  const Judged train = ask_people(500, rng), test = ask_people(500, rng);
  fmt::print("your own type and backward pass:\n");
  const double own = train_my_network(train, test);
  fmt::print("  held-out accuracy {:.3f}\nthe same as an Approximator:\n", own);
  const double same = train_approximator(train, test, rng);
  fmt::print("  held-out accuracy {:.3f}\n", same);
  return own > 0.9 && same > 0.9 ? 0 : 1;
}
