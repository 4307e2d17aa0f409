#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/value/action_returns.hpp"
#include "valence/value/gae.hpp"
#include "valence/value/returns.hpp"
#include "valence/value/steps.hpp"
#include "valence/value/vtrace.hpp"

namespace valence::test {

/// All columns of time x environments, with numbers of their own.
template <class S>
struct Columns {
  std::size_t rows, environments, count;
  std::array<std::vector<S>, 9> column;  // in the order of `names`
  std::unique_ptr<bool[]> terminated, truncated;

  static constexpr std::array<const char*, 9> names{"reward", "value",        "next_value",  "discount", "lambda",
                                                    "ratio",  "action_value", "probability", "sigma"};

  explicit Columns(std::size_t rows_, std::size_t environments_ = 1)
      : rows(rows_),
        environments(environments_),
        count(rows * environments),
        terminated(new bool[count]()),
        truncated(new bool[count]()) {
    for (auto& c : column) c.resize(count);
  }

  /// Random columns; flags with probability `ends` each. Where a transition terminates the next value is NaN.
  Columns(std::size_t rows_, std::size_t environments_, Rng& rng, double ends = 0.1) : Columns(rows_, environments_) {
    for (std::size_t k = 0; k < 9; ++k)
      for (S& x : column[k])
        x = static_cast<S>(k < 3 || k == 6 ? rng.normal() : k == 5 ? 2 * rng.uniform() : rng.uniform());
    for (std::size_t i = 0; i < count; ++i) {
      terminated[i] = rng.uniform() < ends;
      truncated[i] = rng.uniform() < ends;
      if (terminated[i]) column[2][i] = std::numeric_limits<S>::quiet_NaN();
    }
  }

  /// A view of some rows.
  Steps<S> steps(std::size_t first, std::size_t how_many) const {
    const std::size_t begin = first * environments, size = how_many * environments;
    const auto part = [&](std::size_t k) { return std::span<const S>(column[k]).subspan(begin, size); };
    return {.reward = part(0),
            .value = part(1),
            .next_value = part(2),
            .terminated = {terminated.get() + begin, size},
            .truncated = {truncated.get() + begin, size},
            .discount = part(3),
            .lambda = part(4),
            .ratio = part(5),
            .action_value = part(6),
            .probability = part(7),
            .sigma = part(8),
            .environments = environments};
  }
  Steps<S> steps() const { return steps(0, rows); }

  /// One environment's columns by themselves.
  Columns alone(std::size_t e) const {
    Columns out(rows);
    for (std::size_t t = 0; t < rows; ++t) {
      for (std::size_t k = 0; k < 9; ++k) out.column[k][t] = column[k][t * environments + e];
      out.terminated[t] = terminated[t * environments + e];
      out.truncated[t] = truncated[t * environments + e];
    }
    return out;
  }
};

/// One of the library's targets, with one output.
template <class S>
struct Target {
  std::string name, reads;  // reads: the columns besides reward, discount and flags
  std::function<void(const Steps<S>&, std::span<S>)> run;
};

template <class S>
const std::vector<Target<S>>& all_targets() {
  using In = const Steps<S>&;
  using Out = std::span<S>;
  static const std::vector<Target<S>> targets{
      {"discounted_returns", "next_value", [](In in, Out out) { discounted_returns(in, out); }},
      {"n_step_returns", "next_value", [](In in, Out out) { n_step_returns(in, out, {.steps = 3}); }},
      {"lambda_returns", "next_value lambda", [](In in, Out out) { lambda_returns(in, out); }},
      {"gae", "value next_value lambda", [](In in, Out out) { gae(in, {.advantage = out}); }},
      {"gae", "value next_value lambda", [](In in, Out out) { gae(in, {.target = out}); }},
      {"vtrace", "value next_value lambda ratio", [](In in, Out out) { vtrace(in, {.advantage = out}); }},
      {"vtrace", "value next_value lambda ratio",
       [](In in, Out out) { vtrace(in, {.target = out}, {.rho_bar = 1.5, .c_bar = 1.2}); }},
      {"retrace", "next_value lambda ratio action_value", [](In in, Out out) { retrace(in, out); }},
      {"retrace", "next_value lambda ratio action_value", [](In in, Out out) { retrace(in, out, {.steps = 2}); }},
      {"tree_backup", "next_value lambda action_value probability", [](In in, Out out) { tree_backup(in, out); }},
      {"tree_backup", "next_value lambda action_value probability",
       [](In in, Out out) { tree_backup(in, out, {.steps = 4}); }},
      {"q_sigma", "next_value lambda ratio action_value probability sigma", [](In in, Out out) { q_sigma(in, out); }},
  };
  return targets;
}

}  // namespace valence::test
