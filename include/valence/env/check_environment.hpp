#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/archive.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// `episodes` >= 1 are played with random actions, each of `steps` >= 1 at most.
struct CheckEnvironmentOptions {
  int episodes = 20, steps = 1000;
};

/// What `check_environment` found: one sentence a problem, in the order in which they were met, each once.
struct EnvironmentReport {
  std::vector<std::string> problems = {};  ///< what a learner will stumble over
  std::vector<std::string> notes = {};     ///< what is allowed and often not meant
  bool good() const { return problems.empty(); }
};

namespace detail {

/// A number, or a vector of numbers.
template <class V>
concept NumericValue = std::is_arithmetic_v<V> || requires(const V v) {
  v.size();
  requires std::is_arithmetic_v<std::remove_cvref_t<decltype(v[0])>>;
};

/// The value in words: "3", "(0.5, nan)".
template <class V>
std::string in_words(const V& v) {
  if constexpr (std::is_arithmetic_v<V>) {
    return fmt::format("{}", v);
  } else if constexpr (NumericValue<V>) {
    std::string text = "(";
    for (decltype(v.size()) i = 0; i < v.size(); ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", v[i]);
    return text + ")";
  } else {
    return "(a value of the environment's own type)";
  }
}

template <class V>
bool finite_value(const V& v) {
  if constexpr (std::is_floating_point_v<V>) {
    return std::isfinite(v);
  } else if constexpr (NumericValue<V> && !std::is_arithmetic_v<V>) {
    for (decltype(v.size()) i = 0; i < v.size(); ++i)
      if (!std::isfinite(static_cast<double>(v[i]))) return false;
    return true;
  } else {
    return true;
  }
}

/// Equal, to the bit where there are numbers. Types of which nothing is known count as equal.
template <class V>
bool same_value(const V& a, const V& b) {
  if constexpr (NumericValue<V> && !std::is_arithmetic_v<V>) {
    if (a.size() != b.size()) return false;
    for (decltype(a.size()) i = 0; i < a.size(); ++i)
      if (!(a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]))) return false;
    return true;
  } else if constexpr (std::equality_comparable<V>) {
    return a == b || (a != a && b != b);
  } else if constexpr (Archivable<V>) {
    return same_state(a, b);
  } else {
    return true;
  }
}

/// Everything about one environment, piece by piece; each problem is kept once, by its kind.
template <class E>
class EnvironmentChecker {
  using State = typename E::State;
  using Action = typename E::Action;

 public:
  EnvironmentChecker(const E& env, Rng& rng, const CheckEnvironmentOptions& options)
      : env_(env), rng_(rng), options_(options) {}

  EnvironmentReport run() {
    spaces();
    if (playable_) {
      for (int k = 0; k < options_.episodes && playable_; ++k) episode();
      if (playable_ && !ended_)
        report_.notes.push_back(
            fmt::format("no episode ended within {} steps: wrap it in TimeLimit, or a learner that "
                        "counts episodes never sees one",
                        options_.steps));
      if (playable_) determinism();
      if (playable_) snapshot();
      if (playable_) second_life();
      if (playable_ && is_snapshot_) saved();  // a restored copy that shares its state differs for that reason alone
      if (playable_) bounds_of_actions();
    }
    enumeration();
    return std::move(report_);
  }

 private:
  static constexpr bool has_states = requires(const E e) { e.states(); };

  template <class... Args>
  void problem(std::string kind, fmt::format_string<Args...> format, Args&&... args) {
    if (std::find(kinds_.begin(), kinds_.end(), kind) != kinds_.end()) return;
    kinds_.push_back(std::move(kind));
    report_.problems.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  /// f(), and false with a problem where it throws.
  template <class F>
  bool attempt(const char* what, F&& f) {
#if defined(__cpp_exceptions)
    try {
      f();
    } catch (const std::exception& e) {
      problem(fmt::format("throws in {}", what), "{} throws for legal input: {}", what, e.what());
      return false;
    }
#else
    f();
#endif
    return true;
  }

  /// Is the space itself in order?
  template <class Space>
  bool space(const char* name, const Space& s) {
    if constexpr (std::same_as<Space, Discrete>) {
      if (s.n < 1) {
        problem(name, "{} is Discrete{{{}}}; expected at least 1", name, s.n);
        return false;
      }
    } else if constexpr (requires {
                           s.low;
                           s.high;
                         }) {
      bool good = same_size(s.low, s.high);
      if (!good) problem(name, "{}: low and high have different sizes", name);
      if (good && !ordered(s.low, s.high)) {
        problem(name, "{}: low is {} and high is {}; expected low <= high, no NaN", name, in_words(s.low),
                in_words(s.high));
        good = false;
      }
      return good;
    }
    return true;
  }
  template <class V>
  static bool same_size(const V& a, const V& b) {
    if constexpr (std::is_arithmetic_v<V>)
      return true;
    else
      return a.size() == b.size();
  }
  template <class V>
  static bool ordered(const V& low, const V& high) {
    if constexpr (std::is_arithmetic_v<V>) {
      return low <= high;
    } else {
      for (decltype(low.size()) i = 0; i < low.size(); ++i)
        if (!(low[i] <= high[i])) return false;
      return true;
    }
  }

  void spaces() {
    playable_ = space("actions()", env_.actions());
    if constexpr (has_states) space("states()", env_.states());
    if constexpr (requires(const E e) { e.actions().low; })
      if (playable_ && (!finite_value(env_.actions().low) || !finite_value(env_.actions().high))) {
        problem("infinite actions",
                "actions() has infinite bounds, so no random action can be drawn; expected finite ones");
        playable_ = false;
      }
  }

  Action random_action(const E& env, Rng& rng) { return static_cast<Action>(env.actions().sample(rng)); }

  void state_in_order(const char* from, const E& env, const State& s) {
    if (!finite_value(s)) {
      problem("state not finite", "{} gives the state {}; expected finite numbers", from, in_words(s));
      return;
    }
    if constexpr (has_states) {
      const auto space = env.states();
      if constexpr (requires {
                      { space.contains(s) } -> std::convertible_to<bool>;
                    }) {
        if constexpr (requires {
                        space.low.size();
                        s.size();
                      }) {
          if (s.size() != space.low.size()) {
            problem("size of state", "{} gives a state of {} numbers; states() says {}", from, s.size(),
                    space.low.size());
            return;
          }
        }
        if (!space.contains(s))
          problem("state outside", "{} gives the state {}, which is not in states()", from, in_words(s));
      }
    }
  }

  void episode() {
    E env = env_;
    State state{};
    if (!attempt("reset", [&] { state = env.reset(rng_); })) {
      playable_ = false;
      return;
    }
    state_in_order("reset", env, state);
    const std::size_t size = size_of(state);
    for (int t = 0; t < options_.steps; ++t) {
      const Action action = random_action(env, rng_);
      bool done = false;
      const bool fine = attempt("step", [&] {
        const auto step = env.step(action, rng_);
        state_in_order("step", env, step.next);
        if (size_of(step.next) != size)
          problem("size changes", "step gives a state of {} numbers where reset gave {}", size_of(step.next), size);
        if (!finite_value(step.reward))
          problem("reward not finite", "step gives the reward {}; expected a finite number", in_words(step.reward));
        if (step.terminated && step.truncated)
          problem("both flags",
                  "step sets terminated and truncated at once; expected one: terminated where nothing "
                  "follows, truncated where a limit cut the episode off");
        done = step.terminated || step.truncated;
      });
      if (!fine) {
        playable_ = false;
        return;
      }
      if (done) {
        ended_ = true;
        return;
      }
    }
  }
  static std::size_t size_of(const State& s) {
    if constexpr (requires { s.size(); })
      return static_cast<std::size_t>(s.size());
    else
      return 1;
  }

  /// What is compared of a run: every state, reward and flag.
  struct Trace {
    std::vector<State> states;
    std::vector<double> rewards;
    std::vector<int> flags;
  };
  Trace play(E& env, std::uint64_t seed, int steps, bool begin) {
    Trace trace;
    Rng rng{seed}, actions{seed + 1};
    if (begin) trace.states.push_back(env.reset(rng));
    go_on(env, rng, actions, steps, trace);
    return trace;
  }
  void go_on(E& env, Rng& rng, Rng& actions, int steps, Trace& trace) {
    for (int t = 0; t < steps; ++t) {
      const auto step = env.step(random_action(env, actions), rng);
      trace.states.push_back(step.next);
      if constexpr (std::convertible_to<decltype(step.reward), double>)
        trace.rewards.push_back(static_cast<double>(step.reward));
      trace.flags.push_back(step.terminated + 2 * step.truncated);
      if (step.terminated || step.truncated) trace.states.push_back(env.reset(rng));
    }
  }
  static bool same_trace(const Trace& a, const Trace& b) {
    if (a.states.size() != b.states.size() || a.flags != b.flags || a.rewards != b.rewards) return false;
    for (std::size_t i = 0; i < a.states.size(); ++i)
      if (!same_value(a.states[i], b.states[i])) return false;
    return true;
  }

  int steps() const { return (std::min)(options_.steps, 300); }

  void determinism() {
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
      E first = env_, second = env_;
      if (!same_trace(play(first, seed, steps(), true), play(second, seed, steps(), true))) {
        problem(
            "not reproducible",
            "two copies with the same seed and actions part ways; expected all randomness to come from the generator "
            "that reset and step are given");
        return;
      }
    }
  }

  void snapshot() {
    E original = env_;
    play(original, 5, 3, true);
    const E kept = original;
    bool same = true;
    E first = kept;
    const Trace expected = play(first, 6, 20, false);
    for (const int length : {1, 2, 5, steps()}) {  // a shared state may come back to where it was by chance
      E other = kept;
      play(other, 20, length, false);
      E copy = kept;
      same = same && same_trace(play(copy, 6, 20, false), expected);
    }
    is_snapshot_ = same && same_trace(play(original, 6, 20, false), expected);
    if (!is_snapshot_)
      problem("not a snapshot",
              "stepping a copy changes another one; expected a copy to be a snapshot (is there a pointer "
              "or a reference inside?)");
  }

  void second_life() {
    E fresh = env_, used = env_;
    play(used, 7, steps(), true);
    if (!same_trace(play(fresh, 8, steps(), true), play(used, 8, steps(), true)))
      problem("reset keeps something",
              "an episode after reset differs from the same one in a new environment; expected reset to "
              "clear everything of the episode before (a step counter?)");
  }

  void saved() {
    if constexpr (Archivable<E>) {
      E original = env_;
      play(original, 9, 3, true);
      E restored = env_;
      from_bytes(to_bytes(original), restored);
      if (!same_trace(play(original, 10, steps(), false), play(restored, 10, steps(), false)))
        problem("archive misses",
                "an environment restored from its archive goes on differently; expected archive(ar) to list "
                "every field that changes");
    }
  }

  void bounds_of_actions() {
    if constexpr (requires(const E e) { e.actions().low; }) {
      for (const bool low : {true, false}) {
        E env = env_;
        Rng rng{11};
        env.reset(rng);
        attempt("step at a bound of actions()", [&] { env.step(low ? env.actions().low : env.actions().high, rng); });
      }
    } else if constexpr (requires(const E e) {
                           { e.actions() } -> std::convertible_to<Discrete>;
                         }) {
      const Discrete all = env_.actions();
      for (int a = 0; a < all.n; ++a) {
        E env = env_;
        Rng rng{11};
        env.reset(rng);
        attempt("step", [&] { env.step(static_cast<Action>(a), rng); });
      }
    }
  }

  /// The outcomes that an enumerable environment lists, against each other and against what happens.
  void enumeration() {
    if constexpr (EnumerableEnvironment<E>) {
      const Discrete states = env_.states(), actions = env_.actions();
      for (int s = 0; s < states.n; ++s)
        for (int a = 0; a < actions.n; ++a) {
          double sum = 0;
          for (const auto& o : env_.outcomes(s, a)) {
            const double p = static_cast<double>(o.probability);
            if (!(p >= 0 && p <= 1 + 1e-9))
              problem("probability", "outcomes({}, {}) has the probability {}; expected a number in [0, 1]", s, a, p);
            if (o.next < 0 || o.next >= states.n)
              problem("outcome outside", "outcomes({}, {}) leads to state {}; states() has {}", s, a, o.next, states.n);
            sum += p;
          }
          if (!(std::abs(sum - 1) <= 1e-9))
            problem("sum", "the probabilities of outcomes({}, {}) sum to {}; expected 1", s, a, sum);
        }
      if (!playable_ || !report_.problems.empty()) return;
      E env = env_;
      State state = env.reset(rng_);
      for (int t = 0; t < options_.steps; ++t) {
        const Action action = random_action(env, rng_);
        const auto step = env.step(action, rng_);
        bool listed = false;
        for (const auto& o : env_.outcomes(static_cast<int>(state), static_cast<int>(action)))
          listed = listed ||
                   (o.probability > 0 && o.next == static_cast<int>(step.next) && o.terminated == step.terminated &&
                    std::abs(static_cast<double>(o.reward) - static_cast<double>(step.reward)) <= 1e-12);
        if (!listed)
          problem("not listed",
                  "step({}) in state {} gave state {}, reward {}, terminated {}, which outcomes({}, {}) does not list",
                  action, state, step.next, step.reward, step.terminated, state, action);
        state = step.done() ? env.reset(rng_) : step.next;
      }
    }
  }

  const E& env_;
  Rng& rng_;
  CheckEnvironmentOptions options_;
  EnvironmentReport report_;
  std::vector<std::string> kinds_;
  bool playable_ = true, ended_ = false, is_snapshot_ = true;
};

}  // namespace detail

/// Plays a user's environment with random actions and says in words what is wrong with it: spaces that are empty or out
/// of order; states that are not finite, of another size, or outside of `states()`; rewards that are not finite; both
/// flags at once; legal actions that throw; randomness from elsewhere than the generator; copies that are not
/// snapshots; a reset that keeps something; an archive that misses a field; for enumerable environments, outcomes that
/// don't sum to 1 or don't list what `step` does. A problem that stops play hides those after it. Notes say what is
/// allowed but often not meant, such as episodes that never end. The environment itself isn't changed.
///
///     Rng rng{1};
///     for (const auto& problem : check_environment(MyWorld{}, rng).problems) fmt::print("{}\n", problem);
template <class E>
EnvironmentReport check_environment(const E& env, Rng& rng, const CheckEnvironmentOptions& options = {}) {
  explain_environment<E>();
  check_positive("check_environment", "episodes", options.episodes);
  check_positive("check_environment", "steps", options.steps);
  return detail::EnvironmentChecker<E>(env, rng, options).run();
}

}  // namespace valence
