#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"

namespace valence {

/// How a visit enters an eligibility trace z, with x the derivative of the visited value, d = discount lambda, and
/// alpha the step size (Sutton and Barto 2018, sections 12.2 and 12.5).
enum class Trace {
  accumulating,  ///< z <- d z + x (12.5)
  replacing,     ///< z_i <- 1 where x_i is, else d z_i (12.12): for tables and binary features
  dutch          ///< z <- d z + (1 - alpha d z'x) x (12.11), with the true online correction of the weights
};

/// An eligibility trace over a flat vector of parameters: what was visited, and how long ago. Only entries that are not
/// 0 are walked, so on a table a step costs O(states visited lately). Entries that decay to `cutoff` or below are
/// dropped; 0 drops none but those that underflow.
template <Scalar S>
class Traces {
 public:
  /// `parameters`: how many. Throws `Error` where `cutoff` is negative or not finite.
  explicit Traces(std::size_t parameters, S cutoff = S(1e-12)) : cutoff_(cutoff) {
    check_finite("Traces", "cutoff", cutoff);
    if (cutoff < S(0)) fail("Traces", "cutoff is {}; expected 0 or more", cutoff);
    trace_.assign(parameters, S(0)), listed_.assign(parameters, 0);
  }

  std::size_t size() const { return trace_.size(); }
  /// How many entries are walked.
  std::size_t active() const { return active_.size(); }
  S operator[](std::size_t i) const { return trace_[i]; }

  /// z <- factor z. 0 clears.
  void decay(S factor) {
    std::size_t kept = 0;
    for (const std::size_t i : active_) {
      S& z = trace_[i];
      z *= factor;
      if (z > cutoff_ || z < -cutoff_)
        active_[kept++] = i;
      else
        z = S(0), listed_[i] = 0;
    }
    active_.resize(kept);
  }
  /// z_i <- z_i + amount.
  void add(std::size_t i, S amount) {
    list(i);
    trace_[i] += amount;
  }
  /// z_i <- value.
  void set(std::size_t i, S value) {
    list(i);
    trace_[i] = value;
  }
  /// theta <- theta + amount z.
  void apply(std::span<S> theta, S amount) const {
    for (const std::size_t i : active_) theta[i] += amount * trace_[i];
  }
  /// z <- 0.
  void clear() { decay(S(0)); }

  template <class A>
  void archive(A& ar) {
    ar(trace_, listed_, active_);
  }

 private:
  void list(std::size_t i) {
    if (listed_[i] != 0) return;
    listed_[i] = 1;
    active_.push_back(i);
  }

  S cutoff_;
  std::vector<S> trace_ = {};
  std::vector<std::uint8_t> listed_ = {};  // is it in `active_`?
  std::vector<std::size_t> active_ = {};   // in the order of their first visit
};

}  // namespace valence
