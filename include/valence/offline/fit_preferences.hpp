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
#include "valence/core/lbfgs.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/responses.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/concepts.hpp"
#include "valence/reward/pair_objective.hpp"

namespace valence {

/// What a log-linear policy learns from.
struct PreferenceData {
  ResponsePairs pairs = {};
  Responses base = {};            ///< for losses that read single responses: baseline, calibration, demonstrations
  Matrix<double> reference = {};  ///< log pi_ref, answers x prompts; empty: the policy's own reference
  Matrix<double> length = {};     ///< tokens of each answer, answers x prompts, >= 1; empty: not known
};

/// A preference loss of a log-linear policy as a function of its parameters: the loss over the data plus (ridge / 2)
/// |theta|^2. Called `objective(theta, gradient) -> value` it is what `minimize` takes. In steady state it allocates
/// nothing.
template <Loss L>
class PreferenceObjective {
 public:
  /// Throws `Error` for a prompt or an answer that isn't there, lengths and shapes that differ, and a ridge that isn't
  /// at least 0; what the loss itself refuses, the first call does.
  PreferenceObjective(const LogLinearPolicy& policy, L loss, const PreferenceData& data, double ridge = 0)
      : objective_(policy.model(), std::move(loss), policy.answers()),
        numbers_(policy.candidates().begin(), policy.candidates().end()),
        ridge_(ridge) {
    if (!(ridge >= 0) || !std::isfinite(ridge))
      fail(where, "ridge is {}; expected a finite number of at least 0", ridge);
    const auto table = [&](std::string_view name, const Matrix<double>& m) {
      if (m.size() > 0) check_shape(where, name, m.rows(), m.cols(), policy.answers(), policy.prompts());
    };
    table("reference", data.reference);
    table("length", data.length);
    const Matrix<double> reference = data.reference.size() > 0 ? data.reference : policy.reference_log_probs();
    reference_.assign(reference.data(), reference.data() + reference.size());

    const auto index = [&](std::string_view name, const std::vector<int>& prompt, const std::vector<int>& answer) {
      check_size(where, name, answer.size(), prompt.size());
      std::vector<int> at(answer.size());
      for (std::size_t i = 0; i < at.size(); ++i) {
        if (prompt[i] < 0 || prompt[i] >= policy.prompts())
          fail(where, "prompt[{}] is {}; expected a number in [0, {}]", i, prompt[i], policy.prompts() - 1);
        if (answer[i] < 0 || answer[i] >= policy.answers())
          fail(where, "{}[{}] is {}; expected an answer in [0, {}]", name, i, answer[i], policy.answers() - 1);
        at[i] = prompt[i] * policy.answers() + answer[i];
      }
      return at;
    };
    const auto lengths = [&](const std::vector<int>& at) {
      std::vector<double> length;
      if (data.length.size() > 0)
        for (const int i : at) length.push_back(data.length.data()[i]);
      return length;
    };
    chosen_ = index("chosen", data.pairs.prompt, data.pairs.chosen);
    rejected_ = index("rejected", data.pairs.prompt, data.pairs.rejected);
    base_ = index("base", data.base.prompt, data.base.answer);
    chosen_length_ = lengths(chosen_), rejected_length_ = lengths(rejected_), base_length_ = lengths(base_);
    p_chosen_ = data.pairs.p_chosen, weight_ = data.pairs.weight, base_weight_ = data.base.weight;
  }

  double operator()(std::span<const double> theta, std::span<double> gradient) {
    double value =
        objective_(theta, numbers_, {chosen_, rejected_, p_chosen_, weight_, chosen_length_, rejected_length_},
                   gradient, reference_, {base_, base_weight_, base_length_});
    for (std::size_t i = 0; i < theta.size(); ++i) {
      value += ridge_ / 2 * theta[i] * theta[i];
      gradient[i] += ridge_ * theta[i];
    }
    return value;
  }

 private:
  static constexpr std::string_view where = "PreferenceObjective";

  PairObjective<LogLinear, L> objective_;
  std::vector<int> numbers_, chosen_, rejected_, base_;
  std::vector<double> reference_, p_chosen_, weight_, chosen_length_, rejected_length_, base_weight_, base_length_;
  double ridge_;
};
template <Loss L>
PreferenceObjective(const LogLinearPolicy&, L, const PreferenceData&, double = 0) -> PreferenceObjective<L>;

struct PreferenceFitOptions {
  double ridge = 0;          ///< adds (ridge / 2) |theta|^2 to the mean loss; >= 0
  std::int64_t steps = 200;  ///< of a first-order optimizer, each over all data; >= 1. L-BFGS has its own limit
};

/// Trains a log-linear policy on preferences, in place and from where it stands, by any loss of the algebra:
///
///     LogLinearPolicy pi{bandit};
///     fit(pi, rpo({.beta = 0.1}), {.pairs = bandit.sample_pairs(200, rng)});
///     fit(pi, RobustDpo{.beta = 0.5, .label_smoothing = 0.3}, {.pairs = noisy}, Lbfgs{.box = 50}, {.ridge = 1e-5});
///     fit(pi, Sft{}, {.pairs = pairs}, Adam{.step_size = 0.1}, {.steps = 60});
///
/// For losses of margins alone the problem is convex where the link is. A loss that is unbounded below on the data
/// needs a box or a ridge; the result's `at_bound` tells that the box holds it. Throws `Error` for what
/// `PreferenceObjective`, `minimize` and the loss refuse, and for a first-order gradient that isn't finite.
template <Loss L>
Minimum fit(LogLinearPolicy& policy, const L& loss, const PreferenceData& data, const Lbfgs& solver = {},
            const PreferenceFitOptions& options = {}) {
  return minimize(PreferenceObjective(policy, loss, data, options.ridge), policy.parameters(), solver);
}

/// The same by steps of a first-order optimizer, started afresh. The result's value and gradient are those before the
/// last step.
template <Loss L, Optimizer O>
Minimum fit(LogLinearPolicy& policy, const L& loss, const PreferenceData& data, const O& optimizer,
            const PreferenceFitOptions& options = {}) {
  constexpr std::string_view where = "fit";
  check_positive(where, "steps", options.steps);
  PreferenceObjective objective(policy, loss, data, options.ridge);
  const std::span<double> theta = policy.parameters();
  auto state = optimizer.template start<double>(theta.size());
  std::vector<double> gradient(theta.size());
  Minimum result;
  for (std::int64_t step = 0; step < options.steps; ++step) {
    result.value = objective(theta, gradient);
    check_finite(where, "gradient", std::span<const double>(gradient));
    state.step(theta, gradient, 1.0);
  }
  for (const double g : gradient) result.gradient = (std::max)(result.gradient, std::abs(g));
  result.iterations = result.evaluations = static_cast<std::size_t>(options.steps);
  return result;
}

}  // namespace valence
