#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/mlp.hpp"

/// Random sets of states, as cumulants that are 0 or 1: auxiliary tasks that need no reward. A set of m of them is m
/// numbers a state, `cumulants` is m x states, a state a column.
namespace valence {

namespace detail {

inline void check_indicators(std::string_view where, int count, double proportion) {
  check_positive(where, "count", count);
  if (!(proportion > 0 && proportion < 1))
    fail(where, "proportion is {}; expected a number between 0 and 1", proportion);
}

}  // namespace detail

/// Independent draws: `count` x `states`, each entry 1 with probability `proportion` in (0, 1), else 0. One output an
/// entry. Throws `Error` for counts below 1 and another proportion.
template <Scalar S = double>
Matrix<S> random_indicators(int count, int states, double proportion, Rng& rng) {
  detail::check_indicators("random_indicators", count, proportion);
  check_positive("random_indicators", "states", states);
  Matrix<S> cumulants(count, states);
  for (S& c : view(cumulants)) c = rng.bernoulli(proportion) ? S(1) : S(0);
  return cumulants;
}

/// `proportion` in (0, 1): the share of inputs on which an indicator fires, 1 / round(1 / proportion) of them in fact.
/// `prime` is a prime above that round(1 / proportion) and above every input.
struct HashIndicatorsOptions {
  double proportion = 0.01;
  std::int64_t prime = 8191;  ///< 2^13 - 1
};

/// Indicators of observations of small integers (pixels), by universal hashing (Carter & Wegman 1979; Farebrother et
/// al. 2023): indicator i fires where ((a_i0 + sum_j a_ij x_j) mod prime) mod round(1 / proportion) = 0, with
/// coefficients drawn below the prime, those of inputs not 0.
class HashIndicators {
 public:
  /// `inputs` numbers an observation, `count` indicators. One output a coefficient, `inputs` + 1 an indicator. Throws
  /// `Error` for sizes below 1 and options out of range.
  HashIndicators(int inputs, int count, const HashIndicatorsOptions& options, Rng& rng)
      : inputs_(inputs), count_(count), prime_(options.prime) {
    constexpr auto where = "HashIndicators";
    check_positive(where, "inputs", inputs);
    detail::check_indicators(where, count, options.proportion);
    bins_ = static_cast<std::int64_t>(std::llround(1 / options.proportion));
    check_range(where, "prime", prime_, (std::max)(bins_ + 1, std::int64_t{3}), std::int64_t{2147483647});
    for (std::int64_t d = 2; d * d <= prime_; ++d)
      if (prime_ % d == 0) fail(where, "prime is {}, which {} divides; expected a prime number", prime_, d);
    coefficients_.reserve(static_cast<std::size_t>(count) * (static_cast<std::size_t>(inputs) + 1));
    for (int i = 0; i < count; ++i) {
      coefficients_.push_back(rng.below(prime_));
      for (int j = 0; j < inputs; ++j) coefficients_.push_back(1 + rng.below(prime_ - 1));
    }
  }

  int input_size() const { return inputs_; }
  int size() const { return count_; }

  /// Fills `cumulants`, an entry an indicator, from `x`: integers in [0, prime), of an integral or a floating type.
  /// Throws `Error` for other sizes and other numbers.
  template <class T, class S>
  void operator()(std::span<const T> x, std::span<S> cumulants) const {
    constexpr auto where = "HashIndicators";
    check_size(where, "x", x.size(), static_cast<std::size_t>(inputs_));
    check_size(where, "cumulants", cumulants.size(), static_cast<std::size_t>(count_));
    for (std::size_t j = 0; j < x.size(); ++j) {
      const bool in_range = x[j] >= T(0) && static_cast<double>(x[j]) < static_cast<double>(prime_);
      bool whole = true;
      if constexpr (std::floating_point<T>) whole = in_range && x[j] == std::floor(x[j]);
      if (!in_range || !whole) fail(where, "x[{}] is {}; expected an integer in [0, {}]", j, x[j], prime_ - 1);
    }
    const std::int64_t* a = coefficients_.data();
    for (S& c : cumulants) {
      std::int64_t sum = *a++;
      for (const T value : x) sum = (sum + *a++ * static_cast<std::int64_t>(value)) % prime_;
      c = sum % bins_ == 0 ? S(1) : S(0);
    }
  }

 private:
  int inputs_, count_;
  std::int64_t prime_, bins_ = 0;
  std::vector<std::int64_t> coefficients_;
};

/// What `IndicatorProportion` is worth at one output.
template <Scalar S>
struct IndicatorProportionLoss {
  S value, d_output;
};

/// Makes an indicator 1{y > 0} of an output y fire on a share of inputs (Farebrother et al. 2023): the quantile loss
/// y ((1 - proportion) - 1{y < 0}), whose mean is least in a bias of y where y >= 0 has that probability. `proportion`
/// in (0, 1).
struct IndicatorProportion {
  double proportion = 0.01;

  /// Throws `Error` for a proportion out of range and an output that isn't finite.
  template <Scalar S>
  IndicatorProportionLoss<S> operator()(S output) const {
    detail::check_indicators("IndicatorProportion", 1, proportion);
    check_finite("IndicatorProportion", "output", output);
    const S slope = static_cast<S>(1 - proportion) - (output < 0 ? S(1) : S(0));
    return {output * slope, slope};
  }
};

/// Indicators of any observation: indicator i fires where f_i(x) + b_i > 0, with a random network f that is never
/// trained and a bias b that is, by `IndicatorProportion`, until each fires on the share of inputs that is wanted
/// (Farebrother et al. 2023). Fit the bias on batches of observations first; then it stays.
template <std::floating_point S>
class RandomNetIndicators {
 public:
  /// One indicator an output of the network, whose parameters `start` draws. Biases begin at 0. `proportion` in (0, 1).
  /// Throws `Error` for another.
  RandomNetIndicators(Mlp<S> network, double proportion, Rng start)
      : network_(std::move(network)),
        loss_{proportion},
        theta_(network_.parameter_count()),
        bias_(Vector<S>::Zero(network_.output_size())),
        slope_(bias_) {
    detail::check_indicators("RandomNetIndicators", network_.output_size(), proportion);
    network_.initialize(std::span<S>(theta_), start);
  }

  int input_size() const { return network_.input_size(); }
  int size() const { return network_.output_size(); }
  /// An entry an indicator.
  const Vector<S>& bias() const { return bias_; }

  /// One gradient step of the biases on the mean loss of a batch, inputs x samples; `step_size` > 0. Returns the loss,
  /// a mean over samples and indicators. Throws `Error` for an empty batch, other sizes and numbers that aren't finite.
  double fit(const Matrix<S>& x, double step_size) {
    check_positive("RandomNetIndicators::fit", "step_size", step_size);
    check_positive("RandomNetIndicators::fit", "samples", x.cols());
    const auto y = network_.forward(std::span<const S>(theta_), x, tape_);
    double total = 0;
    slope_.setZero();
    for (std::ptrdiff_t j = 0; j < y.cols(); ++j)
      for (std::ptrdiff_t i = 0; i < y.rows(); ++i) {
        const auto loss = loss_(S(y(i, j) + bias_[i]));
        total += static_cast<double>(loss.value);
        slope_[i] += loss.d_output;
      }
    bias_ -= static_cast<S>(step_size / static_cast<double>(y.cols())) * slope_;
    return total / static_cast<double>(y.size());
  }

  /// Fills `cumulants`, indicators x samples, from x, inputs x samples. Throws `Error` for other sizes.
  void operator()(const Matrix<S>& x, Matrix<S>& cumulants) {
    const auto y = network_.forward(std::span<const S>(theta_), x, tape_);
    cumulants.resize(y.rows(), y.cols());
    for (std::ptrdiff_t j = 0; j < y.cols(); ++j)
      for (std::ptrdiff_t i = 0; i < y.rows(); ++i) cumulants(i, j) = y(i, j) + bias_[i] > S(0) ? S(1) : S(0);
  }

 private:
  Mlp<S> network_;
  IndicatorProportion loss_;
  std::vector<S> theta_;
  Vector<S> bias_, slope_;
  typename Mlp<S>::Tape tape_;
};

}  // namespace valence
