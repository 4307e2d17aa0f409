#pragma once

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

/// Logged answers and logged comparisons where prompts and answers are few enough to be numbered.
namespace valence {

/// Answers to prompts, an entry each: demonstrations, or what a policy said.
struct Responses {
  std::vector<int> prompt = {}, answer = {};
  std::vector<double> weight = {};  ///< >= 0; empty: all 1

  std::size_t size() const { return answer.size(); }
};

/// Comparisons of two answers to one prompt, an entry a pair.
struct ResponsePairs {
  std::vector<int> prompt = {}, chosen = {}, rejected = {};
  std::vector<double> p_chosen = {};  ///< probability that `chosen` is the better one; empty: all 1
  std::vector<double> weight = {};    ///< >= 0; empty: all 1. Losses divide by the number of pairs, not by its sum

  std::size_t size() const { return chosen.size(); }

  void push_back(int at, int better, int worse) {
    prompt.push_back(at), chosen.push_back(better), rejected.push_back(worse);
  }
  /// The answers that were chosen; all of them, chosen and rejected in turn.
  Responses chosen_responses() const { return {prompt, chosen, weight}; }
  Responses all_responses() const {
    Responses all;
    for (std::size_t i = 0; i < size(); ++i)
      for (const int answer : {chosen[i], rejected[i]}) {
        all.prompt.push_back(prompt[i]), all.answer.push_back(answer);
        if (!weight.empty()) all.weight.push_back(weight[i]);
      }
    return all;
  }
};

/// The pairs with each label turned round with probability `rate`: chosen and rejected change places. One output a
/// pair. Throws `Error` for a rate outside of [0, 1].
inline ResponsePairs flip_labels(ResponsePairs pairs, double rate, Rng& rng) {
  check_range("flip_labels", "rate", rate, 0, 1);
  for (std::size_t i = 0; i < pairs.size(); ++i)
    if (rng.bernoulli(rate)) std::swap(pairs.chosen[i], pairs.rejected[i]);
  return pairs;
}

/// Every pair of answers (w, l), also w = l, with its probability as weight where the chosen and the rejected are drawn
/// independently: the data whose mean loss is the population's, without sampling noise. `chosen`, `rejected`: answers x
/// prompts, a probability vector in each column. All prompts count alike. Weights average 1 over the pairs, so that a
/// loss's weighted mean is the expectation. Throws `Error` for shapes that differ and columns that aren't
/// probabilities.
inline ResponsePairs population_pairs(const Matrix<double>& chosen, const Matrix<double>& rejected) {
  constexpr std::string_view where = "population_pairs";
  check_shape(where, "rejected", rejected.rows(), rejected.cols(), chosen.rows(), chosen.cols());
  ResponsePairs pairs;
  const auto answers = static_cast<int>(chosen.rows());
  for (int x = 0; x < chosen.cols(); ++x) {
    const Vector<double> w = chosen.col(x), l = rejected.col(x);
    check_probabilities(where, "chosen", view(w));
    check_probabilities(where, "rejected", view(l));
    for (int i = 0; i < answers; ++i)
      for (int j = 0; j < answers; ++j) {
        pairs.push_back(x, i, j);
        pairs.weight.push_back(w[i] * l[j] * answers * answers);
      }
  }
  return pairs;
}

}  // namespace valence
