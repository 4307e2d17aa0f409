#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/parallel.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/finite_mdp.hpp"

namespace valence {

namespace detail {

/// `out.size()` different numbers below `n`, every set of them equally likely, in increasing order: Floyd's algorithm
/// (Bentley and Floyd 1987), by insertion. One output each, and O(size^2) moves, which for a handful is the fastest.
inline void sorted_subset(int n, std::span<std::int32_t> out, Rng& rng) {
  const auto k = static_cast<int>(out.size());
  for (int count = 0; count < k; ++count) {
    const int newest = n - k + count;
    auto x = static_cast<std::int32_t>(rng.below(newest + 1));
    std::ptrdiff_t place = count;
    while (place > 0 && out[static_cast<std::size_t>(place - 1)] > x) --place;
    if (place > 0 && out[static_cast<std::size_t>(place - 1)] == x) {  // taken: the newest, larger than all, instead
      x = newest;
      place = count;
    }
    for (std::ptrdiff_t i = count; i > place; --i)
      out[static_cast<std::size_t>(i)] = out[static_cast<std::size_t>(i - 1)];
    out[static_cast<std::size_t>(place)] = x;
  }
}

}  // namespace detail

/// `threads` as for `parallel_for`: it never changes the model.
struct GarnetOptions {
  int threads = 0;
};

/// A random model that resembles no particular problem. Each action of each state leads to `branching` different
/// states, every set of them equally likely; their probabilities are the lengths into which branching - 1 uniform
/// points cut the unit interval (drawn as exponentials over their sum, which have the same distribution and are never
/// 0); the reward of a pair of state and action is normal with mean 0 and variance 1. Episodes begin anywhere,
/// uniformly, and no state is terminal. Source: Archibald, McKinnon and Thomas (1995), "On the generation of Markov
/// decision processes"; Bhatnagar, Sutton, Ghavamzadeh and Lee (2009), "Natural actor-critic algorithms", section 7:
/// its GARNET(states, actions, branching, 0, 0), stationary and with rewards that are their means.
///
/// Throws `Error` unless 1 <= branching <= states, and where the entries don't fit 32-bit indices. One output of `rng`:
/// state s draws from a stream of its own, so a state's rows don't depend on the threads.
template <Scalar S = double>
FiniteMdp<S> garnet(int states, int actions, int branching, Rng& rng, const GarnetOptions& options = {}) {
  constexpr auto where = "garnet";
  check_positive(where, "states", states);
  check_positive(where, "actions", actions);
  check_range(where, "branching", branching, 1, states);
  const auto n = static_cast<std::size_t>(states), b = static_cast<std::size_t>(branching);
  const auto m = static_cast<std::size_t>(actions);
  if (n > (std::numeric_limits<std::uint32_t>::max)() / m / b)
    fail(where, "{} states x {} actions x {} successors are too many; expected fewer than 2^32", states, actions,
         branching);
  ModelColumns<S> c{.states = states, .actions = actions};
  const std::size_t rows = n * m;
  c.row_begin.resize(rows + 1);
  for (std::size_t i = 0; i <= rows; ++i) c.row_begin[i] = static_cast<std::uint32_t>(i * b);
  c.next.resize(rows * b), c.probability.resize(rows * b), c.reward.resize(rows);
  const Rng family = Rng(rng());
  parallel_for(n,
               [&](std::size_t s) {
                 Rng own = family.split(s);
                 for (std::size_t i = s * m; i < (s + 1) * m; ++i) {
                   detail::sorted_subset(states, std::span(c.next).subspan(i * b, b), own);
                   const auto p = std::span(c.probability).subspan(i * b, b);
                   own.fill_exponential(p);
                   double sum = 0;
                   for (const S x : p) sum += static_cast<double>(x);
                   for (S& x : p) x = static_cast<S>(static_cast<double>(x) / sum);
                   c.reward[i] = static_cast<S>(own.normal());
                 }
               },
               {.threads = options.threads, .chunk = 256});
  c.initial.assign(n, static_cast<S>(1.0 / states));
  return FiniteMdp<S>(std::move(c));
}

}  // namespace valence
