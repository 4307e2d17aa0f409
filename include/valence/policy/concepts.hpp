#pragma once

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"

/// Laws of an action given a network's outputs y. A law is a small value that holds sizes and options and no numbers,
/// as a loss does: the same law serves every state, thread and copy of the parameters. Everything takes `float` and
/// `double` outputs, and every gradient is with respect to y, is scaled by the caller's w and **added** to dy: a
/// surrogate, an entropy bonus and a penalty go into one dy.
///
/// An action is an `int` or a `Vec`: a number (one dimension), or anything with `size()` and `[]`, such as `Vector<S>`,
/// `std::array`, a span or a column. Members that return actions return `Action`, which may own memory; those that take
/// `out` fill it and allocate nothing.
///
/// Non-finite outputs, actions that the law cannot give and sizes that disagree throw `Error`, before dy is changed.
namespace valence {

namespace detail {

/// The number at i of an action; of a number, itself.
template <class V>
auto entry(const V& a, std::size_t i) {
  if constexpr (std::is_arithmetic_v<V>)
    return a;
  else
    return a[static_cast<decltype(a.size())>(i)];
}
template <class V, class S>
void set_entry(V& a, std::size_t i, S value) {
  if constexpr (std::is_arithmetic_v<V>) {
    a = static_cast<V>(value);
  } else {
    auto& x = a[static_cast<decltype(a.size())>(i)];
    x = static_cast<std::remove_reference_t<decltype(x)>>(value);
  }
}
template <class V>
std::size_t dimensions_of(const V& a) {
  if constexpr (std::is_arithmetic_v<V>)
    return 1;
  else
    return static_cast<std::size_t>(a.size());
}
/// The type of an action's entries.
template <class V>
using EntryOf = std::remove_cvref_t<decltype(entry(std::declval<const V&>(), 0))>;

/// An action of `dimensions` zeros.
template <class A>
A zero_action(std::string_view where, std::size_t dimensions) {
  if constexpr (std::is_arithmetic_v<A>) {
    check_size(where, "an action that is a number", 1, dimensions);
    return A(0);
  } else if constexpr (requires { A::SizeAtCompileTime; }) {
    if (A::SizeAtCompileTime != Eigen::Dynamic)
      check_size(where, "the action", static_cast<std::size_t>(A::SizeAtCompileTime), dimensions);
    return A::Zero(static_cast<Eigen::Index>(dimensions));
  } else {
    A a{};
    if constexpr (requires { a.resize(dimensions); }) a.resize(dimensions);
    check_size(where, "the action", dimensions_of(a), dimensions);
    return a;
  }
}

template <class V>
void check_entries(std::string_view where, std::string_view argument, const V& a, std::size_t dimensions) {
  check_size(where, argument, dimensions_of(a), dimensions);
  for (std::size_t i = 0; i < dimensions; ++i)
    if (!std::isfinite(entry(a, i))) fail(where, "{}[{}] is {}; expected a finite number", argument, i, entry(a, i));
}

}  // namespace detail

/// The law of an action given a model's outputs.
///
/// - `size()`: how many outputs it reads.
/// - `sample(y, rng)`, `mode(y)`: an action.
/// - `log_prob(y, a)`: the log-probability of an action, or its log-density.
/// - `log_prob(y, a, w, dy)`: the same, and dy += w d log_prob / dy, the score.
template <class P>
concept ActionDistribution =
    std::copyable<P> && requires { typename P::Action; } &&
    requires(const P law, std::span<const float> y, std::span<float> dy, std::span<const double> z,
             std::span<double> dz, const typename P::Action& a, Rng& rng) {
      { law.size() } -> std::same_as<int>;
      { law.sample(y, rng) } -> std::same_as<typename P::Action>;
      { law.mode(y) } -> std::same_as<typename P::Action>;
      { law.log_prob(y, a) } -> std::same_as<float>;
      { law.log_prob(y, a, 1.0F, dy) } -> std::same_as<float>;
      { law.log_prob(z, a, 1.0, dz) } -> std::same_as<double>;
    };

/// A law whose entropy (nats) has a closed form: `entropy(y)`, and `entropy(y, w, dy)`, which does dy += w dH / dy. Of
/// others minus the log-probability of a sample is an unbiased estimate.
template <class P>
concept HasEntropy = ActionDistribution<P> && requires(const P law, std::span<const float> y, std::span<float> dy,
                                                       std::span<const double> z, std::span<double> dz) {
  { law.entropy(y) } -> std::same_as<float>;
  { law.entropy(y, 1.0F, dy) } -> std::same_as<float>;
  { law.entropy(z, 1.0, dz) } -> std::same_as<double>;
};

/// A law whose Kullback-Leibler divergence has a closed form: `kl(y, other)` = E log(pi_y / pi_other) **under y**
/// (pitfall P20). `kl(y, other, w, dy, d_other)` also adds its gradients: to both, or to one where the other span is
/// empty. PPO and TRPO penalise `kl(old, y, w, {}, dy)`.
template <class P>
concept HasKl = ActionDistribution<P> && requires(const P law, std::span<const float> y, std::span<float> dy,
                                                  std::span<const double> z, std::span<double> dz) {
  { law.kl(y, y) } -> std::same_as<float>;
  { law.kl(y, y, 1.0F, dy) } -> std::same_as<float>;
  { law.kl(z, z, 1.0, dz, dz) } -> std::same_as<double>;
};

/// An action that is a differentiable function of the outputs and of noise whose law is fixed: a = g(y, noise).
/// `pullback_action(y, noise, da, dy)` does dy += (dg / dy)' da. With da = dQ / da that is the gradient of the
/// deterministic policy (Silver et al. 2014), and of any value of a.
template <class P>
concept Reparameterised =
    std::copyable<P> &&
    requires {
      typename P::Action;
      typename P::Noise;
    } &&
    requires(const P law, std::span<const float> y, std::span<float> dy, std::span<const double> z,
             std::span<double> dz, const typename P::Noise& noise, const typename P::Action& da, Rng& rng) {
      { law.size() } -> std::same_as<int>;
      { law.draw_noise(rng) } -> std::same_as<typename P::Noise>;
      { law.action(y, noise) } -> std::same_as<typename P::Action>;
      law.pullback_action(y, noise, da, dy);
      law.pullback_action(z, noise, da, dz);
    };

/// What soft actor-critic asks. `action_log_prob(y, noise)` is the log-density of `action(y, noise)`, exact also where
/// the action itself is rounded to its bound; the last argument but one of `pullback_action(y, noise, da, d_log_prob,
/// dy)` is the derivative with respect to it, along the path (through the action too). So the actor's loss alpha log pi
/// - Q is `pullback_action(y, noise, -dQ, alpha, dy)` (Haarnoja et al. 2018, equation 13).
template <class P>
concept ReparameterisedDistribution =
    ActionDistribution<P> && Reparameterised<P> &&
    requires(const P law, std::span<const float> y, std::span<float> dy, std::span<const double> z,
             std::span<double> dz, const typename P::Noise& noise, const typename P::Action& da) {
      { law.action_log_prob(y, noise) } -> std::same_as<float>;
      law.pullback_action(y, noise, da, 1.0F, dy);
      law.pullback_action(z, noise, da, 1.0, dz);
    };

// ---------------------------------------------------------------- batches: one sample a column

/// Contiguous columns that are written to.
template <class S>
using OutputsGradient = Eigen::Map<Matrix<S>>;

namespace detail {

template <class S>
std::span<const S> column(const Outputs<S>& y, Eigen::Index j) {
  return {y.data() + j * y.rows(), static_cast<std::size_t>(y.rows())};
}
template <class S>
std::span<S> column(OutputsGradient<S>& y, Eigen::Index j) {
  return {y.data() + j * y.rows(), static_cast<std::size_t>(y.rows())};
}
/// Action j of a batch: an entry of a span, a column of a matrix.
template <class T, std::size_t extent>
T& column(std::span<T, extent> a, Eigen::Index j) {
  return a[static_cast<std::size_t>(j)];
}
template <class T, std::size_t extent>
Eigen::Index columns(std::span<T, extent> a) {
  return static_cast<Eigen::Index>(a.size());
}
template <class M>
  requires requires(const M& m) { m.cols(); }
Eigen::Index columns(const M& m) {
  return m.cols();
}
template <class S, class Actions>
void check_batch(std::string_view where, int size, const Outputs<S>& y, const Actions& actions) {
  check_shape(where, "y", y.rows(), y.cols(), size, y.cols());
  check_size(where, "actions", static_cast<std::size_t>(columns(actions)), static_cast<std::size_t>(y.cols()));
}

}  // namespace detail

/// actions_j ~ the law of column j of y, in order. `actions` is a span with an entry a column (`std::span<int>`, or a
/// span of vectors of the right size), or an `OutputsGradient<S>` with a column each. Allocates nothing.
template <ActionDistribution P, Scalar S, class Actions>
void sample_columns(const P& law, const Outputs<S>& y, Rng& rng, Actions actions) {
  detail::check_batch("sample_columns", law.size(), y, actions);
  for (Eigen::Index j = 0; j < y.cols(); ++j) {
    auto&& a = detail::column(actions, j);
    if constexpr (std::is_arithmetic_v<std::remove_cvref_t<decltype(a)>>)
      a = law.sample(detail::column(y, j), rng);
    else
      law.sample(detail::column(y, j), rng, a);
  }
}

/// out[j] = log-probability of action j under column j of y. `actions` is a span with an entry a column, or an
/// `Outputs<S>`.
template <ActionDistribution P, Scalar S, class Actions>
void log_prob_columns(const P& law, const Outputs<S>& y, const Actions& actions,
                      std::span<std::type_identity_t<S>> out) {
  detail::check_batch("log_prob_columns", law.size(), y, actions);
  check_size("log_prob_columns", "out", out.size(), static_cast<std::size_t>(y.cols()));
  for (Eigen::Index j = 0; j < y.cols(); ++j)
    out[static_cast<std::size_t>(j)] = law.log_prob(detail::column(y, j), detail::column(actions, j));
}

/// dy.col(j) += w[j] times the score of action j: the pullback of `log_prob_columns`. A column whose w is 0 isn't read.
template <ActionDistribution P, Scalar S, class Actions>
void pullback_log_prob_columns(const P& law, const Outputs<S>& y, const Actions& actions,
                               std::span<const std::type_identity_t<S>> w, OutputsGradient<S> dy) {
  constexpr auto where = "pullback_log_prob_columns";
  detail::check_batch(where, law.size(), y, actions);
  check_size(where, "w", w.size(), static_cast<std::size_t>(y.cols()));
  check_shape(where, "dy", dy.rows(), dy.cols(), y.rows(), y.cols());
  for (Eigen::Index j = 0; j < y.cols(); ++j)
    if (const S wj = w[static_cast<std::size_t>(j)]; wj != 0)
      law.log_prob(detail::column(y, j), detail::column(actions, j), wj, detail::column(dy, j));
}

}  // namespace valence
