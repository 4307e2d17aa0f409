#pragma once

#include <concepts>
#include <cstdint>
#include <utility>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/wrapper.hpp"
#include "valence/mdp/concepts.hpp"

namespace valence {

/// Cuts episodes off after `limit` steps: the last is `truncated`, unless it terminated by itself. Environments state
/// their usual limit as `E::time_limit`; the dynamics themselves have none, so that planning and tests see the bare
/// process. `TimeLimit{CartPole{}}` is Gymnasium's CartPole-v1.
template <Environment E>
struct TimeLimit : Wrapper<E> {
  std::int64_t limit;        ///< >= 1
  std::int64_t elapsed = 0;  ///< steps since the last reset

  /// Throws `Error` for `steps` < 1.
  TimeLimit(E environment, std::int64_t steps) : Wrapper<E>{std::move(environment)}, limit(steps) {
    check_positive("TimeLimit", "limit", steps);
  }
  explicit TimeLimit(E environment)
    requires requires {
      { E::time_limit } -> std::convertible_to<std::int64_t>;
    }
      : TimeLimit(std::move(environment), E::time_limit) {}

  typename E::State reset(Rng& rng) {
    elapsed = 0;
    return this->env.reset(rng);
  }
  auto step(const typename E::Action& action, Rng& rng) {
    auto result = this->env.step(action, rng);
    ++elapsed;
    if (elapsed >= limit && !result.terminated) result.truncated = true;
    return result;
  }

  template <class A>
  void archive(A& ar)
    requires requires(E e, A& a) { e.archive(a); }
  {
    ar(this->env, limit, elapsed);
  }
};

}  // namespace valence
