#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

/// Logits of numbered candidates, offset_i + theta . phi_i: a model (`Approximator`) with one output a candidate, whose
/// batches are candidates' numbers. Without features each candidate has a parameter of its own.
class LogLinear {
 public:
  using Scalar = double;
  using Batch = std::span<const int>;
  struct Tape {
    Vector<double> outputs, tangents;
  };

  /// `offset`: an entry a candidate, finite. `features`: size x candidates, finite; none: a table. Throws `Error`
  /// otherwise.
  explicit LogLinear(Vector<double> offset, Matrix<double> features = {})
      : offset_(std::move(offset)), features_(std::move(features)) {
    constexpr std::string_view where = "LogLinear";
    if (offset_.size() == 0) fail(where, "offset is empty; expected at least one candidate");
    check_finite(where, "offset", view(std::as_const(offset_)));
    if (features_.size() > 0)
      check_shape(where, "features", features_.rows(), features_.cols(), features_.rows(), offset_.size());
    check_finite(where, "features", view(std::as_const(features_)));
  }

  std::size_t candidates() const { return static_cast<std::size_t>(offset_.size()); }
  bool tabular() const { return features_.size() == 0; }
  std::size_t parameter_count() const { return tabular() ? candidates() : static_cast<std::size_t>(features_.rows()); }
  int output_size() const { return 1; }
  /// One tensor, "weight".
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    return {{std::string(prefix) + "weight", 0, {parameter_count()}}};
  }
  const Vector<double>& offset() const { return offset_; }
  const Matrix<double>& features() const { return features_; }

  /// Zeros, where the logits are the offsets; draws nothing.
  void initialize(std::span<double> theta, Rng&) const {
    check_size("LogLinear::initialize", "theta", theta.size(), parameter_count());
    std::fill(theta.begin(), theta.end(), 0.0);
  }
  /// The logits: 1 x batch. Throws `Error` for a candidate that isn't there.
  Outputs<double> forward(std::span<const double> theta, const Batch& x, Tape& tape) const {
    products("LogLinear::forward", theta, x, tape.outputs);
    for (std::size_t j = 0; j < x.size(); ++j) tape.outputs[static_cast<Eigen::Index>(j)] += offset_[x[j]];
    return {tape.outputs.data(), 1, static_cast<Eigen::Index>(x.size())};
  }
  /// J v.
  Outputs<double> pushforward(std::span<const double>, const Batch& x, Tape& tape, std::span<const double> v) const {
    products("LogLinear::pushforward", v, x, tape.tangents);
    return {tape.tangents.data(), 1, static_cast<Eigen::Index>(x.size())};
  }
  /// gradient += sum_j dy_j phi(x_j). theta is not read.
  void pullback(std::span<const double>, const Batch& x, Tape&, const Outputs<double>& dy,
                std::span<double> gradient) const {
    constexpr std::string_view where = "LogLinear::pullback";
    check_size(where, "gradient", gradient.size(), parameter_count());
    check_shape(where, "dy", dy.rows(), dy.cols(), 1, static_cast<std::ptrdiff_t>(x.size()));
    check_candidates(where, x);
    Eigen::Map<Vector<double>> sum(gradient.data(), static_cast<Eigen::Index>(gradient.size()));
    for (std::size_t j = 0; j < x.size(); ++j) {
      const double d = dy(0, static_cast<Eigen::Index>(j));
      if (tabular())
        sum[x[j]] += d;
      else if (d != 0)
        sum += d * features_.col(x[j]);
    }
  }

 private:
  Vector<double> offset_;
  Matrix<double> features_;

  void check_candidates(std::string_view where, const Batch& x) const {
    const auto n = static_cast<int>(candidates());
    for (std::size_t j = 0; j < x.size(); ++j)
      if (x[j] < 0 || x[j] >= n) fail(where, "x[{}] is {}; expected a candidate in [0, {}]", j, x[j], n - 1);
  }
  void products(std::string_view where, std::span<const double> theta, const Batch& x, Vector<double>& y) const {
    check_size(where, "theta", theta.size(), parameter_count());
    check_candidates(where, x);
    if (y.size() < static_cast<Eigen::Index>(x.size())) y.setZero(static_cast<Eigen::Index>(x.size()));
    const Eigen::Map<const Vector<double>> w(theta.data(), static_cast<Eigen::Index>(theta.size()));
    for (std::size_t j = 0; j < x.size(); ++j)
      y[static_cast<Eigen::Index>(j)] = tabular() ? w[x[j]] : features_.col(x[j]).dot(w);
  }
};

/// pi(y | x) proportional to reference(y | x) exp(theta . phi(x, y)), over the numbered answers to numbered prompts:
/// the policy of the theory of preference learning, whose implicit reward beta log(pi / reference) is beta theta . phi
/// up to a constant of the prompt. Without features every answer to every prompt has a parameter of its own: a softmax
/// table.
///
///     LogLinearPolicy pi{bandit};                        // bandit.features(), bandit.reference(), answers, prompts
///     auto table = LogLinearPolicy::tabular(bandit.reference());
///     bandit.value(pi.probabilities());
///
/// Starts at theta = 0, the reference.
class LogLinearPolicy {
 public:
  /// `reference`: answers x prompts, a probability vector without zeros in each column. `features`: size x (answers *
  /// prompts), those of answer k to prompt x in column x * answers + k. Throws `Error` for other shapes and numbers.
  LogLinearPolicy(Matrix<double> features, const Matrix<double>& reference)
      : model_(logs(reference), std::move(features)),
        answers_(static_cast<int>(reference.rows())),
        theta_(model_.parameter_count(), 0.0),
        numbers_(model_.candidates()) {
    std::iota(numbers_.begin(), numbers_.end(), 0);
  }
  /// Of a bandit with `features()` and `reference()`, such as `PreferenceBandit`.
  template <class Bandit>
    requires requires(const Bandit b) { b.features(), b.reference(); }
  explicit LogLinearPolicy(const Bandit& bandit) : LogLinearPolicy(bandit.features(), bandit.reference()) {}
  /// A parameter for each answer to each prompt.
  static LogLinearPolicy tabular(const Matrix<double>& reference) { return LogLinearPolicy({}, reference); }

  int prompts() const { return static_cast<int>(numbers_.size()) / answers_; }
  int answers() const { return answers_; }
  const LogLinear& model() const { return model_; }
  std::span<const double> parameters() const { return theta_; }
  std::span<double> parameters() { return theta_; }
  /// The model's batch of everything: all answers to prompt 0, then to prompt 1, ...
  std::span<const int> candidates() const { return numbers_; }

  /// log pi and pi, answers x prompts.
  Matrix<double> log_probs() const {
    LogLinear::Tape tape;
    return log_softmax(Matrix<double>(model_.forward(theta_, numbers_, tape).reshaped(answers_, prompts())));
  }
  Matrix<double> probabilities() const {
    return log_probs().unaryExpr([](double l) { return elementary::exp(l); });
  }
  /// log of the reference, answers x prompts.
  Matrix<double> reference_log_probs() const { return model_.offset().reshaped(answers_, prompts()); }

  /// The answer to a prompt. One output.
  int sample(int prompt, Rng& rng) const {
    if (prompt < 0 || prompt >= prompts())
      fail("LogLinearPolicy::sample", "prompt is {}; expected a number in [0, {}]", prompt, prompts() - 1);
    LogLinear::Tape tape;
    const auto n = static_cast<std::size_t>(answers_);
    const auto z =
        model_.forward(theta_, std::span<const int>(numbers_).subspan(static_cast<std::size_t>(prompt) * n, n), tape);
    Vector<double> p(answers_);
    softmax(std::span<const double>(z.data(), n), view(p));
    return static_cast<int>(rng.categorical(view(std::as_const(p))));
  }

  template <class A>
  void archive(A& ar) {
    ar(theta_);
    check_size("LogLinearPolicy", "theta", theta_.size(), model_.parameter_count());
  }

 private:
  static Vector<double> logs(const Matrix<double>& reference) {
    constexpr std::string_view where = "LogLinearPolicy";
    if (reference.size() == 0)
      fail(where, "reference is {} x {}; expected at least one answer and one prompt", reference.rows(),
           reference.cols());
    for (Eigen::Index x = 0; x < reference.cols(); ++x) {
      const std::span<const double> p(reference.data() + x * reference.rows(),
                                      static_cast<std::size_t>(reference.rows()));
      check_probabilities(where, "reference", p);
      for (std::size_t y = 0; y < p.size(); ++y)
        if (p[y] == 0)
          fail(where, "reference({}, {}) is 0, where a log-linear policy has no logit; expected more than 0", y, x);
    }
    return reference.reshaped().unaryExpr([](double p) { return elementary::log(p); });
  }

  LogLinear model_;
  int answers_;
  std::vector<double> theta_;
  std::vector<int> numbers_;
};

}  // namespace valence
