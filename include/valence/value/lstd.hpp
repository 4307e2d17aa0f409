#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/linear_solve.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/mdp/encode.hpp"
#include "valence/value/feature_transition.hpp"

/// Least-squares temporal differences: the fixed point of linear TD from data in one solve, without a step size.
namespace valence {

/// `discount` and `lambda` in [0, 1].
struct LstdOptions {
  double discount = 0.99;
  double lambda = 0;
};

/// LSTD(lambda) (Bradtke & Barto 1996; Boyan 2002; off-policy: Yu 2010): adds up, over transitions in the order in
/// which they happened,
///
///     z = ratio (discount lambda z + phi),    A += z (phi - discount phi')',    b += z r,
///
/// and solves A theta = b. z is 0 where an episode begins: after a transition that terminated or was truncated. Fed
/// with features of pairs it is LSTDQ (Lagoudakis & Parr 2003). An addition costs O(k^2) for k features, less where phi
/// - discount phi' has zeros, and allocates nothing; a solve costs O(k^3).
class Lstd {
 public:
  /// Throws `Error` for features < 1 and options out of range.
  explicit Lstd(int features, const LstdOptions& options = {}) : options_(options) {
    check_positive("Lstd", "features", features);
    check_range("Lstd", "discount", options.discount, 0, 1);
    check_range("Lstd", "lambda", options.lambda, 0, 1);
    a_ = Matrix<double>::Zero(features, features);
    b_ = Vector<double>::Zero(features);
    trace_ = Vector<double>::Zero(features);
  }

  /// One transition. `weight` >= 0 scales what it adds to A and b, not the trace: a probability, where expectations are
  /// added up. Throws `Error` for sizes that differ and numbers that aren't finite.
  void add(const FeatureTransition<double>& t, double weight = 1) {
    constexpr auto where = "Lstd::add";
    detail::check_transition(where, t, static_cast<std::size_t>(b_.size()));
    check_finite(where, "features", t.features);
    if (!t.terminated) check_finite(where, "next_features", t.next_features);
    check_range(where, "weight", weight, 0, (std::numeric_limits<double>::max)());
    trace_ *= options_.discount * options_.lambda;
    for (std::ptrdiff_t i = 0; i < b_.size(); ++i)
      trace_[i] = t.ratio * (trace_[i] + t.features[static_cast<std::size_t>(i)]);
    for (std::ptrdiff_t j = 0; j < b_.size(); ++j) {
      const auto at = static_cast<std::size_t>(j);
      const double d = t.features[at] - (t.terminated ? 0 : options_.discount * t.next_features[at]);
      if (d != 0) a_.col(j) += weight * d * trace_;
    }
    b_ += weight * t.reward * trace_;
    ++count_;
    if (t.terminated || t.truncated) trace_.setZero();
  }

  /// What follows begins an episode: for data that stops without a flag.
  void end_episode() { trace_.setZero(); }

  /// theta with (A + ridge * identity) theta = b. `theta`: an entry a feature; `ridge` >= 0. Throws `Error`, which
  /// names the feature, where that matrix is singular (to 1e-12 of its scaled entries): features that were never seen
  /// or that depend on others, or too few transitions. `where` begins the message.
  void solve(std::span<double> theta, double ridge = 0, std::string_view where = "Lstd::solve") const {
    check_size(where, "theta", theta.size(), static_cast<std::size_t>(b_.size()));
    check_range(where, "ridge", ridge, 0, (std::numeric_limits<double>::max)());
    Matrix<double> regular = a_;
    regular.diagonal().array() += ridge;
    Lu(std::move(regular), {.tolerance = 1e-12},
       fmt::format("{}: A of {} transitions, an entry a feature, ridge {} (a larger ridge makes it regular)", where,
                   count_, ridge))
        .solve(view(b_), theta);
  }

  /// A of k x k.
  const Matrix<double>& matrix() const { return a_; }
  /// b of k.
  const Vector<double>& vector() const { return b_; }
  /// Transitions added.
  std::uint64_t count() const { return count_; }
  int features() const { return static_cast<int>(b_.size()); }

  template <class A>
  void archive(A& ar) {
    ar(options_.discount, options_.lambda, count_, a_, b_, trace_);
  }

 private:
  LstdOptions options_;
  std::uint64_t count_ = 0;
  Matrix<double> a_;
  Vector<double> b_, trace_;
};

/// phi(s, a): features of pairs of a state and one of finitely many actions. `features(state, action, out)` fills
/// `size()` numbers, for actions 0 .. actions() - 1.
template <class F, class State>
concept PairFeatures = requires(const F features, const State& state, std::span<double> out) {
  { features.size() } -> std::convertible_to<int>;
  { features.actions() } -> std::convertible_to<int>;
  features(state, 0, out);
};

/// phi(s, a) = phi(s) in the block of action a, 0 in the others (Lagoudakis & Parr 2003). An integer state enters a map
/// of one input as that number, every other state by `encode`.
///
///     ActionBlocks{OneHot{2}, 3}      // a table of 2 states x 3 actions; entry a * 2 + s
template <FeatureMap Map>
class ActionBlocks {
 public:
  /// Throws `Error` for a count of actions or features below 1.
  ActionBlocks(Map map, int actions) : map_(std::move(map)), actions_(actions) {
    check_positive("ActionBlocks", "actions", actions);
    check_positive("ActionBlocks", "features", static_cast<int>(map_.size()));
  }

  int size() const { return map_.size() * actions_; }
  int actions() const { return actions_; }

  /// Throws `Error` for another size or action, and for what the map refuses.
  template <class State>
  void operator()(const State& state, int action, std::span<double> out) const {
    check_size("ActionBlocks", "out", out.size(), static_cast<std::size_t>(size()));
    check_range("ActionBlocks", "action", action, 0, actions_ - 1);
    std::fill(out.begin(), out.end(), 0.0);
    const auto inputs = static_cast<std::size_t>(map_.input_size()), block = static_cast<std::size_t>(map_.size());
    std::array<double, 32> few{};  // no allocation for what a state usually has
    std::vector<double> many(inputs > few.size() ? inputs : 0);
    const std::span<double> input(many.empty() ? few.data() : many.data(), inputs);
    bool number = false;
    if constexpr (std::integral<State>) number = inputs == 1;
    if constexpr (std::integral<State>)
      if (number) input[0] = static_cast<double>(state);
    if (!number) encode(state, input);
    map_(std::span<const double>(input), out.subspan(static_cast<std::size_t>(action) * block, block));
  }

 private:
  Map map_;
  int actions_;
};

/// `discount` in [0, 1]; `ridge` >= 0 as for `Lstd::solve`.
struct LspiOptions {
  double discount = 0.99;
  double ridge = 0;
  double tolerance = 1e-8;          ///< stops where no weight changes by more; >= 0
  std::size_t max_iterations = 20;  ///< solves; at least 1
};

/// What least-squares policy iteration found.
struct LspiResult {
  Vector<double> weights = {};  ///< theta: Q(s, a) = theta' phi(s, a), of the policy before the last improvement
  std::size_t iterations = 0;   ///< policies evaluated
  double change = 0;            ///< largest change of a weight in the last iteration
  bool converged = false;       ///< the policy on the data's states, or the weights, no longer change
};

/// Least-squares policy iteration (Lagoudakis & Parr 2003) from `start` (zeros where it is empty): evaluates the policy
/// that is greedy in the last weights by LSTDQ on all transitions, in each s' with the action that it takes there, the
/// first of equals. `data[i]`, i < data.size(), has `state`, `action` (an integer), `reward`, `next` and `terminated`;
/// `next` isn't read where that is true. Approximate policy iteration may cycle: the limit ends it, and `converged`
/// says so. It stops early where `progress` returns false. Throws `Error` for data or features that are empty or not
/// finite, and where A is singular (see `Lstd::solve`), with the iteration.
template <class Features, class Data>
LspiResult lspi(const Features& features, const Data& data, std::span<const double> start, const LspiOptions& options,
                Progress progress = {}) {
  using State = std::remove_cvref_t<decltype(data[0].state)>;
  static_assert(PairFeatures<Features, State>,
                "valence: lspi needs features with size(), actions() and features(state, action, std::span<double>)");
  constexpr auto where = "lspi";
  check_positive(where, "features", static_cast<int>(features.size()));
  check_positive(where, "actions", static_cast<int>(features.actions()));
  check_positive(where, "max_iterations", options.max_iterations);
  check_range(where, "tolerance", options.tolerance, 0, (std::numeric_limits<double>::max)());
  check_positive(where, "the number of transitions", data.size());
  const auto k = static_cast<std::size_t>(features.size());
  if (!start.empty()) check_size(where, "start", start.size(), k);
  check_finite(where, "start", start);

  LspiResult result;
  result.weights = Vector<double>::Zero(features.size());
  std::copy(start.begin(), start.end(), result.weights.data());
  std::vector<double> here(k), next(k), candidate(k), weights(k);
  std::vector<int> choice(data.size(), -1);
  while (result.iterations < options.max_iterations && !result.converged) {
    Lstd evaluation(features.size(), {.discount = options.discount});
    bool improved = false;
    for (std::size_t i = 0; i < data.size(); ++i) {
      const auto& t = data[i];
      const int action = static_cast<int>(t.action);
      if (action < 0 || action >= features.actions())
        fail(where, "the action of transition {} is {}; expected one in [0, {}]", i, action, features.actions() - 1);
      if (!t.terminated) {
        double best = -std::numeric_limits<double>::infinity();
        int chosen = 0;
        for (int a = 0; a < features.actions(); ++a) {
          features(t.next, a, std::span<double>(candidate));
          const double q = detail::inner_product<double>(candidate, view(std::as_const(result.weights)));
          if (!std::isfinite(q))
            fail(where, "the value of action {} after transition {} is {}; expected a finite number", a, i, q);
          if (q > best) {
            best = q, chosen = a;
            next.swap(candidate);
          }
        }
        improved = improved || chosen != choice[i];
        choice[i] = chosen;
      }
      features(t.state, action, std::span<double>(here));
      evaluation.add({.features = here,
                      .reward = static_cast<double>(t.reward),
                      .next_features = next,
                      .terminated = static_cast<bool>(t.terminated)});
    }
    // The same policy has the same value: its weights are those there already.
    if (result.iterations > 0 && !improved) {
      result.converged = true;
      result.change = 0;
      break;
    }
    evaluation.solve(weights, options.ridge, fmt::format("lspi: iteration {}", result.iterations + 1));
    ++result.iterations;
    result.change = 0;
    for (std::size_t j = 0; j < k; ++j)
      result.change = (std::max)(result.change, std::abs(weights[j] - result.weights[static_cast<std::ptrdiff_t>(j)]));
    std::copy(weights.begin(), weights.end(), result.weights.data());
    result.converged = result.change <= options.tolerance;
    if (!progress({.step = result.iterations,
                   .total = options.max_iterations,
                   .task = "lspi",
                   .metric = "change",
                   .value = result.change}))
      break;
  }
  return result;
}

template <class Features, class Data>
LspiResult lspi(const Features& features, const Data& data, const LspiOptions& options = {}, Progress progress = {}) {
  return lspi(features, data, std::span<const double>{}, options, progress);
}

}  // namespace valence
