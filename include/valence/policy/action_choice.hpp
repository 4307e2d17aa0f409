#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/policy/rate.hpp"

/// How an action is chosen from the values of all actions of a state. Each is an aggregate with
///
///   int choose(std::span<const S> q, Rng& rng)                     an action, 0 .. q.size() - 1
///   void probabilities(std::span<const S> q, std::span<S> p)       with which the next `choose` takes each
///
/// for `float` and `double`; the two agree in distribution. Values that tie for the largest share it alike (pitfall
/// V22); only `FirstGreedy` takes the first. All throw `Error` where q is empty, a value isn't finite, or sizes differ.
/// Nothing allocates.
namespace valence {

/// What agents act with.
template <class C>
concept ActionChoice =
    std::copyable<C> && requires(C choice, const C constant, std::span<const double> q, std::span<double> p, Rng& rng) {
      { choice.choose(q, rng) } -> std::convertible_to<int>;
      constant.probabilities(q, p);
    };

namespace detail {

/// The largest value, where it is first, and how often it occurs.
template <class S>
struct LargestValue {
  S value;
  std::size_t first;
  int ties;
};

/// Throws `Error` where there are no values, or one isn't finite. Out of line, for it is hardly ever called.
template <class S>
[[gnu::noinline]] void check_values(std::string_view where, std::span<const S> q) {
  if (q.empty()) fail(where, "q is empty; expected an entry an action");
  check_finite(where, "q", q);
}

template <class S, std::size_t count>
[[gnu::always_inline]] inline LargestValue<S> largest_of(std::string_view where, std::span<const S, count> q) {
  LargestValue<S> best{q[0], 0, 1};
  S sum = q[0];  // not finite if an entry isn't; if it is not for its size alone, the entries are looked at in vain
  for (std::size_t a = 1; a < q.size(); ++a) {
    const S x = q[a];
    sum += x;
    if (x > best.value)
      best = {x, a, 1};
    else if (x == best.value)
      ++best.ties;
  }
  if (!(sum - sum == 0)) [[unlikely]]
    check_values(where, std::span<const S>(q));
  return best;
}
/// Throws as `check_values`. Four actions, the usual number on grids, have code of their own.
template <class S>
[[gnu::always_inline]] inline LargestValue<S> largest_value(std::string_view where, std::span<const S> q) {
  if (q.size() == 4) return largest_of(where, q.template first<4>());
  if (q.empty()) [[unlikely]]
    check_values(where, q);
  return largest_of(where, q);
}

/// The entry that is the k-th, from 0, of those that tie.
template <class S>
int tied_action(std::span<const S> q, const LargestValue<S>& best, int k) {
  std::size_t a = best.first;
  while (k > 0)
    if (q[++a] == best.value) --k;
  return static_cast<int>(a);
}

}  // namespace detail

/// One of the largest, each of them with the same probability. One output of the generator.
struct Greedy {
  template <Scalar S>
  int choose(std::span<const S> q, Rng& rng) const {
    const auto best = detail::largest_value("Greedy", q);
    return detail::tied_action(q, best, rng.below(best.ties));
  }
  template <Scalar S>
  void probabilities(std::span<const S> q, std::span<std::type_identity_t<S>> p) const {
    check_size("Greedy::probabilities", "p", p.size(), q.size());
    const auto best = detail::largest_value("Greedy", q);
    for (std::size_t a = 0; a < q.size(); ++a) p[a] = q[a] == best.value ? S(1) / static_cast<S>(best.ties) : S(0);
  }
};

/// The first of the largest. No output: for tests and tables, not for learning, which it keeps from exploring.
struct FirstGreedy {
  template <Scalar S>
  int choose(std::span<const S> q, Rng&) const {
    return static_cast<int>(detail::largest_value("FirstGreedy", q).first);
  }
  template <Scalar S>
  void probabilities(std::span<const S> q, std::span<std::type_identity_t<S>> p) const {
    check_size("FirstGreedy::probabilities", "p", p.size(), q.size());
    const std::size_t first = detail::largest_value("FirstGreedy", q).first;
    for (std::size_t a = 0; a < q.size(); ++a) p[a] = a == first ? S(1) : S(0);
  }
};

/// With probability `epsilon` any action, each alike (a best one too), otherwise a best one, ties alike (Sutton and
/// Barto 2018, section 2.2). `EpsilonGreedy{0.1}`, or decaying: `EpsilonGreedy{LinearSchedule{1, 0.05, 10'000}}`, which
/// counts the choices made. Rates outside [0, 1] throw. Two outputs; a choice that explores doesn't look at the values.
struct EpsilonGreedy {
  Rate epsilon = 0.1;
  std::int64_t choices = 0;  ///< made so far

  template <Scalar S>
  int choose(std::span<const S> q, Rng& rng) {
    if (q.empty()) detail::check_values("EpsilonGreedy", q);
    const bool explores = rng.uniform() < rate();
    ++choices;
    if (explores) return rng.below(static_cast<int>(q.size()));
    const auto best = detail::largest_value("EpsilonGreedy", q);
    return detail::tied_action(q, best, rng.below(best.ties));
  }
  template <Scalar S>
  void probabilities(std::span<const S> q, std::span<std::type_identity_t<S>> p) const {
    check_size("EpsilonGreedy::probabilities", "p", p.size(), q.size());
    const auto best = detail::largest_value("EpsilonGreedy", q);
    const double explores = rate();
    const S any = static_cast<S>(explores) / static_cast<S>(q.size());
    const S more = static_cast<S>(1 - explores) / static_cast<S>(best.ties);
    for (std::size_t a = 0; a < q.size(); ++a) p[a] = q[a] == best.value ? any + more : any;
  }
  template <class A>
  void archive(A& ar) {
    ar(choices);
  }

 private:
  double rate() const { return epsilon.in("EpsilonGreedy", "epsilon", choices, 0, 1); }
};

/// Action a with probability exp(q[a] / temperature) / sum (Sutton and Barto 2018, equation 13.2; "softmax"). The
/// temperature, finite and above 0, has the unit of the values; as it falls to 0 the choice becomes greedy. A schedule
/// counts the choices made. One output; no value can overflow.
struct Boltzmann {
  Rate temperature = 1;
  std::int64_t choices = 0;  ///< made so far

  template <Scalar S>
  int choose(std::span<const S> q, Rng& rng) {
    const Weights<S> weights = weigh(q);
    ++choices;
    double rest = rng.uniform() * weights.total;
    std::size_t last =
        0;  // where rounding leaves some of `rest`: the last that has a weight, as the largest value does
    for (std::size_t a = 0; a < q.size(); ++a) {
      const double w = weights(q[a]);
      if (w > 0) last = a;
      rest -= w;
      if (rest < 0) break;
    }
    return static_cast<int>(last);
  }
  template <Scalar S>
  void probabilities(std::span<const S> q, std::span<std::type_identity_t<S>> p) const {
    check_size("Boltzmann::probabilities", "p", p.size(), q.size());
    const Weights<S> weights = weigh(q);
    for (std::size_t a = 0; a < q.size(); ++a) p[a] = static_cast<S>(weights(q[a]) / weights.total);
  }
  template <class A>
  void archive(A& ar) {
    ar(choices);
  }

 private:
  template <class S>
  struct Weights {  // relative to that of the largest value, which is 1
    double largest, temperature, total = 0;
    double operator()(S q) const { return elementary::exp((static_cast<double>(q) - largest) / temperature); }
  };
  template <class S>
  Weights<S> weigh(std::span<const S> q) const {
    const double t = temperature.in("Boltzmann", "temperature", choices, (std::numeric_limits<double>::denorm_min)(),
                                    (std::numeric_limits<double>::max)());
    Weights<S> weights{static_cast<double>(detail::largest_value("Boltzmann", q).value), t};
    for (const S x : q) weights.total += weights(x);
    return weights;
  }
};

static_assert(ActionChoice<Greedy> && ActionChoice<FirstGreedy> && ActionChoice<EpsilonGreedy> &&
              ActionChoice<Boltzmann>);

}  // namespace valence
