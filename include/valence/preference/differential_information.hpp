#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/types.hpp"

/// What preference learning has to learn, as a distribution (Won et al. 2025, "Differential Information",
/// arXiv:2505.23761). Policies are matrices, answers x prompts, with a probability vector without zeros in each column;
/// of one prompt, a vector. All functions throw `Error` for other shapes and numbers.
namespace valence {

namespace detail {

/// The policies proportional to policy^a reference^b, where both have full support. Plain loops: Eigen's expressions
/// would cost everybody who includes this a quarter of a second of compilation.
inline Matrix<double> product_of_powers(std::string_view where, std::string_view argument, const Matrix<double>& policy,
                                        double a, const Matrix<double>& reference, double b) {
  check_shape(where, "reference", reference.rows(), reference.cols(), policy.rows(), policy.cols());
  if (policy.size() == 0) fail(where, "{} is empty; expected at least one answer and one prompt", argument);
  const auto rows = static_cast<std::size_t>(policy.rows());
  const auto check_support = [&](std::string_view name, const Matrix<double>& p) {
    for (Eigen::Index x = 0; x < p.cols(); ++x) {
      check_probabilities(where, name, std::span<const double>(p.data() + x * p.rows(), rows));
      for (Eigen::Index y = 0; y < p.rows(); ++y)
        if (!(p(y, x) > 0)) fail(where, "{}({}, {}) is {}; expected more than 0", name, y, x, p(y, x));
    }
  };
  check_support(argument, policy);
  check_support("reference", reference);
  Matrix<double> out(policy.rows(), policy.cols());
  for (Eigen::Index k = 0; k < out.size(); ++k)
    out.data()[k] = a * elementary::log(policy.data()[k]) + b * elementary::log(reference.data()[k]);
  for (Eigen::Index x = 0; x < out.cols(); ++x) {
    const std::span<double> column(out.data() + x * out.rows(), rows);
    valence::softmax(column, column);
  }
  return out;
}

}  // namespace detail

/// The differential information distribution, q(y) proportional to policy(y) / reference(y): what an update from the
/// reference to the policy learns (theorem 3.2). Uniform where the two are the same; reference q, normalised, is the
/// policy. Answers x prompts.
inline Matrix<double> differential_information(const Matrix<double>& policy, const Matrix<double>& reference) {
  return detail::product_of_powers("differential_information", "policy", policy, 1, reference, -1);
}

/// The entropy of the differential information in nats, mean over prompts; at most log(answers). Low: the update
/// reinforces few answers. High: it smooths, and mass spreads.
inline double did_entropy(const Matrix<double>& policy, const Matrix<double>& reference) {
  const Matrix<double> q = differential_information(policy, reference);
  double sum = 0;
  for (Eigen::Index k = 0; k < q.size(); ++k) sum -= xlogy(q.data()[k], q.data()[k]);
  return sum / static_cast<double>(q.cols());
}

/// The law of rejected answers under which logistic preference learning of beta log(pi / reference), with chosen answers
/// drawn from the reference, has its optimum at `target`: proportional to reference (reference / target)^beta. Of an
/// unordered pair {a, b}, a is then the chosen one with probability sigmoid(beta log q(a) - beta log q(b)), with q the
/// differential information of the target (theorem 3.3 and what follows from it). beta > 0.
///
///     fit(pi, Dpo{.beta = 0.5}, {.pairs = population_pairs(reference, optimal_rejected(target, reference, 0.5))});
inline Matrix<double> optimal_rejected(const Matrix<double>& target, const Matrix<double>& reference, double beta) {
  check_positive("optimal_rejected", "beta", beta);
  return detail::product_of_powers("optimal_rejected", "target", target, -beta, reference, 1 + beta);
}

/// The other way round: the target that logistic preference learning with beta has its optimum at, where chosen answers
/// are drawn from `chosen`, the reference, and rejected ones from `rejected`: proportional to chosen (chosen /
/// rejected)^(1 / beta). beta > 0.
inline Matrix<double> encoded_target(const Matrix<double>& chosen, const Matrix<double>& rejected, double beta) {
  check_positive("encoded_target", "beta", beta);
  return detail::product_of_powers("encoded_target", "rejected", rejected, -1 / beta, chosen, 1 + 1 / beta);
}

}  // namespace valence
