#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/wrapper.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/normalizers.hpp"
#include "valence/mdp/spaces.hpp"

/// Environments made of environments. Each satisfies `Environment` itself, is copyable (statistics are copied with it)
/// and lists what it holds in `archive`; they nest: `NormalizeState{TimeLimit{Pendulum{}}}`.
namespace valence {

namespace detail {

/// The numbers of a state or an action that is a number or a vector (contiguous, as Eigen's and std's are).
template <class V>
auto numbers_of(V& v) {
  if constexpr (std::is_arithmetic_v<std::remove_const_t<V>>)
    return std::span<V>(&v, 1);
  else
    return std::span(v.data(), static_cast<std::size_t>(v.size()));
}

/// Low and high of every number of a box; throws unless all are finite and in order.
template <class V>
void check_box(const char* where, const Box<V>& box) {
  const auto low = numbers_of(box.low), high = numbers_of(box.high);
  check_size(where, "the box's high", high.size(), low.size());
  for (std::size_t i = 0; i < low.size(); ++i)
    if (!(low[i] < high[i]) || !std::isfinite(high[i] - low[i]))
      fail(where, "number {} of the box runs from {} to {}; expected finite bounds, low < high", i, low[i], high[i]);
}

/// x from [from.low, from.high] to [to_low, to_high], number by number.
template <class V>
V rescale(V x, const Box<V>& from, const Box<V>& to) {
  const auto out = numbers_of(x);
  const auto a = numbers_of(from.low), b = numbers_of(from.high), c = numbers_of(to.low), d = numbers_of(to.high);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = c[i] + (out[i] - a[i]) / (b[i] - a[i]) * (d[i] - c[i]);
  return x;
}

/// [-1, 1] for each number of `like`.
template <class V>
Box<V> unit_box(const V& like) {
  Box<V> box{like, like};
  for (auto& x : numbers_of(box.low)) x = -1;
  for (auto& x : numbers_of(box.high)) x = 1;
  return box;
}

}  // namespace detail

/// The agent acts in [-1, 1], number by number; the environment gets that scaled to its own box. An action outside of
/// [-1, 1] throws, as the environment's own bounds would be left.
template <Environment E>
struct RescaleAction : Wrapper<E> {
  explicit RescaleAction(E environment) : Wrapper<E>{std::move(environment)} {
    detail::check_box("RescaleAction", this->env.actions());
  }
  auto actions() const { return detail::unit_box(this->env.actions().low); }
  auto step(const typename E::Action& action, Rng& rng) {
    if (!actions().contains(action)) fail("RescaleAction", "the action leaves [-1, 1]; expected every number in it");
    return this->env.step(detail::rescale(action, actions(), this->env.actions()), rng);
  }
};

/// States scaled from the environment's box, whose bounds must be finite, to [-1, 1].
template <Environment E>
struct RescaleState : Wrapper<E> {
  explicit RescaleState(E environment) : Wrapper<E>{std::move(environment)} {
    detail::check_box("RescaleState", this->env.states());
  }
  auto states() const { return detail::unit_box(this->env.states().low); }
  typename E::State reset(Rng& rng) { return scaled(this->env.reset(rng)); }
  auto step(const typename E::Action& action, Rng& rng) {
    auto result = this->env.step(action, rng);
    result.next = scaled(result.next);
    return result;
  }

 private:
  typename E::State scaled(const typename E::State& s) const {
    return detail::rescale(s, this->env.states(), states());
  }
};

/// Rewards through a function: `TransformReward{env, [](double r) { return std::clamp(r, -1.0, 1.0); }}`.
template <SingleReward E, class F>
struct TransformReward : Wrapper<E> {
  F function;

  TransformReward(E environment, F f) : Wrapper<E>{std::move(environment)}, function(std::move(f)) {}
  auto step(const typename E::Action& action, Rng& rng) {
    auto result = this->env.step(action, rng);
    result.reward = function(result.reward);
    return result;
  }
  // The rewards of the model are the inner environment's, so it isn't offered.
  void outcomes(int, int) const = delete;
};

/// States less their running mean over their running deviation (`Normalizer`). Set `normalizer.frozen` to evaluate.
template <Environment E>
struct NormalizeState : Wrapper<E> {
  Normalizer normalizer;

  explicit NormalizeState(E environment, const NormalizerOptions& options = {})
      : Wrapper<E>{std::move(environment)}, normalizer(size_of(this->env), options) {}
  void states() const = delete;  // any number within the clip
  typename E::State reset(Rng& rng) { return normalized(this->env.reset(rng)); }
  auto step(const typename E::Action& action, Rng& rng) {
    auto result = this->env.step(action, rng);
    result.next = normalized(result.next);
    return result;
  }

  template <class A>
  void archive(A& ar)
    requires requires(E e, A& a) { e.archive(a); }
  {
    ar(this->env, normalizer);
  }

 private:
  static std::size_t size_of(const E& environment) {
    const auto box = environment.states();
    return detail::numbers_of(box.low).size();
  }
  typename E::State normalized(typename E::State s) {
    const auto numbers = detail::numbers_of(s);
    normalizer.observe(std::span<const std::remove_reference_t<decltype(numbers[0])>>(numbers));
    normalizer.apply(numbers);
    return s;
  }
};

/// Rewards over the running deviation of the discounted return (`RewardNormalizer`). Set `normalizer.frozen` to
/// evaluate.
template <SingleReward E>
struct NormalizeReward : Wrapper<E> {
  RewardNormalizer normalizer;

  explicit NormalizeReward(E environment, const RewardNormalizerOptions& options = {})
      : Wrapper<E>{std::move(environment)}, normalizer(1, options) {}
  typename E::State reset(Rng& rng) {
    normalizer.reset();
    return this->env.reset(rng);
  }
  auto step(const typename E::Action& action, Rng& rng) {
    auto result = this->env.step(action, rng);
    result.reward = normalizer(static_cast<double>(result.reward), result.done());
    return result;
  }
  void outcomes(int, int) const = delete;

  template <class A>
  void archive(A& ar)
    requires requires(E e, A& a) { e.archive(a); }
  {
    ar(this->env, normalizer);
  }
};

/// A frame of reference for seeds: episode k is played from the generator `Rng{seed}.split(k)`, whatever generator is
/// passed in, and is the same whatever agent plays, whoever else draws, and in whichever order runs are made. For fair
/// comparisons (common random numbers) and for evaluating on a fixed set of episodes.
template <Environment E>
struct SeededEpisodes : Wrapper<E> {
  std::uint64_t seed;
  std::uint64_t episode;  ///< the next reset begins this one

  explicit SeededEpisodes(E environment, std::uint64_t first_seed, std::uint64_t first_episode = 0)
      : Wrapper<E>{std::move(environment)}, seed(first_seed), episode(first_episode), rng_(first_seed) {}
  typename E::State reset(Rng&) {
    rng_ = Rng{seed}.split(episode++);
    return this->env.reset(rng_);
  }
  auto step(const typename E::Action& action, Rng&) { return this->env.step(action, rng_); }

  template <class A>
  void archive(A& ar)
    requires requires(E e, A& a) { e.archive(a); }
  {
    ar(this->env, seed, episode, rng_);
  }

 private:
  Rng rng_;
};

}  // namespace valence
