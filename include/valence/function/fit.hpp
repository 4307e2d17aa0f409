#pragma once

#include <algorithm>
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
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/schedules.hpp"

/// Supervised fits of any model under any loss of its outputs, of one model or of an ensemble of them.
namespace valence {

/// |y - target|^2 of sample i, whose target is column i of a matrix that must outlive the loss. A loss for
/// `fit_columns`; gradient 2 w (y - target).
template <Scalar S>
struct SquaredErrorTo {
  const Matrix<S>& targets;

  S operator()(std::span<const S> y, std::size_t i, S w, std::span<S> dy) const {
    S sum = 0;
    for (std::size_t d = 0; d < y.size(); ++d) {
      const S e = y[d] - targets(static_cast<Eigen::Index>(d), static_cast<Eigen::Index>(i));
      sum += e * e;
      dy[d] += 2 * w * e;
    }
    return sum;
  }
};
template <class S>
SquaredErrorTo(const Matrix<S>&) -> SquaredErrorTo<S>;

/// `steps` >= 0 of the optimizer, each on `batch_size` samples drawn with replacement; 0: on all of them. The step size
/// goes in a line from the optimizer's own to `final_factor` >= 0 times it at the end.
struct FitOptions {
  std::size_t steps = 1000;
  std::size_t batch_size = 0;
  double final_factor = 1;
};

namespace detail {

inline void check_fit(std::string_view where, const FitOptions& options, Eigen::Index samples) {
  if (samples == 0) fail(where, "x has no columns; expected at least one sample");
  check_range(where, "final_factor", options.final_factor, 0, (std::numeric_limits<double>::max)());
}

}  // namespace detail

/// Moves theta down the mean of `loss(y, i, w, dy)` over samples, where y are the model's outputs at column i of `x`:
/// returns the sample's loss and adds w times its gradient to dy, as the losses of this library do (`Vagram` for one:
/// bind its other arguments). `x`: inputs x samples, finite. `samples`: those that are drawn, which may repeat; empty:
/// each once. Draws `batch_size` numbers from `rng` a step. Returns the mean loss of the last step's samples, before it.
/// Throws `Error` for an empty or wrong `x`, an index outside of it, and where a loss isn't finite: theta is then what
/// the step before left.
template <Approximator F, class Loss, Optimizer O>
  requires std::same_as<typename F::Batch, Matrix<typename F::Scalar>>
double fit_columns(const F& f, std::span<typename F::Scalar> theta, const Matrix<typename F::Scalar>& x, Loss&& loss,
                   const O& optimizer, const FitOptions& options, Rng& rng, std::span<const std::size_t> samples = {}) {
  using S = typename F::Scalar;
  constexpr auto where = "fit_columns";
  detail::check_fit(where, options, x.cols());
  check_size(where, "theta", theta.size(), f.parameter_count());
  check_finite(where, "x", view(x));
  const auto all = static_cast<std::size_t>(x.cols());
  for (std::size_t k = 0; k < samples.size(); ++k)
    if (samples[k] >= all) fail(where, "samples[{}] is {}; expected less than {}", k, samples[k], all);
  const std::size_t count = samples.empty() ? all : samples.size();
  const std::size_t size = options.batch_size > 0 ? options.batch_size : count;
  const auto sample = [&](std::size_t k) { return samples.empty() ? k : samples[k]; };
  std::vector<std::size_t> drawn(size);
  Matrix<S> batch(x.rows(), static_cast<Eigen::Index>(size));
  const auto take = [&](std::size_t k, std::size_t i) {
    drawn[k] = i;
    batch.col(static_cast<Eigen::Index>(k)) = x.col(static_cast<Eigen::Index>(i));
  };
  if (options.batch_size == 0)
    for (std::size_t k = 0; k < size; ++k) take(k, sample(k));
  typename F::Tape tape;
  Matrix<S> dy(f.output_size(), batch.cols());
  std::vector<S> gradient(theta.size());
  auto state = optimizer.template start<S>(theta.size());
  const LinearSchedule factor{.begin = 1,
                              .end = options.final_factor,
                              .steps = (std::max)(std::int64_t{1}, static_cast<std::int64_t>(options.steps) - 1)};
  const auto outputs = static_cast<std::size_t>(f.output_size());
  double mean = 0;
  for (std::size_t step = 0; step < options.steps; ++step) {
    if (options.batch_size > 0)
      for (std::size_t k = 0; k < size; ++k) take(k, sample(rng.below(count)));
    const Outputs<S> y = f.forward(std::span<const S>(theta), batch, tape);
    dy.setZero();
    double sum = 0;
    for (std::size_t k = 0; k < size; ++k)
      sum += static_cast<double>(loss(std::span<const S>(y.data() + k * outputs, outputs), drawn[k],
                                      S(1) / static_cast<S>(size), std::span<S>(dy.data() + k * outputs, outputs)));
    mean = sum / static_cast<double>(size);
    if (!std::isfinite(mean)) fail(where, "the loss is {} at step {}; try a smaller step size", mean, step);
    std::fill(gradient.begin(), gradient.end(), S(0));
    f.pullback(std::span<const S>(theta), batch, tape, detail::outputs_of(dy), std::span<S>(gradient));
    state.step(theta, std::span<const S>(gradient), factor(static_cast<std::int64_t>(step)));
  }
  return mean;
}

/// `members` >= 1, each with its own starting parameters and its own bootstrap sample of the columns (as many, drawn with
/// replacement). One member sees all columns instead: it is the single model to compare with.
struct EnsembleOptions {
  int members = 5;
  FitOptions fit = {};
};

/// Several models of one architecture: a member is another theta.
template <Approximator F>
struct ModelEnsemble {
  using S = typename F::Scalar;
  F model;
  std::vector<std::vector<S>> members = {};  ///< the parameters of each

  std::size_t size() const { return members.size(); }
  /// The member's outputs, as `F::forward` gives them. Throws `Error` for a member that isn't there.
  Outputs<S> forward(std::size_t member, const typename F::Batch& x, typename F::Tape& tape) const {
    if (member >= size()) fail("ModelEnsemble", "member is {}; expected less than {}", member, size());
    return model.forward(std::span<const S>(members[member]), x, tape);
  }
};
template <class F>
ModelEnsemble(F) -> ModelEnsemble<F>;

/// Fits each member with `fit_columns`, on its own stream `rng.split(member)`. Throws `Error` for no members and as
/// `fit_columns` does.
template <Approximator F, class Loss, Optimizer O>
ModelEnsemble<F> fit_ensemble(F f, const Matrix<typename F::Scalar>& x, Loss&& loss, const O& optimizer,
                              const EnsembleOptions& options, const Rng& rng) {
  constexpr auto where = "fit_ensemble";
  check_positive(where, "members", options.members);
  detail::check_fit(where, options.fit, x.cols());
  ModelEnsemble<F> ensemble{std::move(f)};
  std::vector<std::size_t> samples(options.members > 1 ? static_cast<std::size_t>(x.cols()) : 0);
  for (int m = 0; m < options.members; ++m) {
    Rng stream = rng.split(m);
    auto& theta = ensemble.members.emplace_back(ensemble.model.parameter_count());
    ensemble.model.initialize(std::span(theta), stream);
    for (std::size_t& i : samples) i = stream.below(static_cast<std::size_t>(x.cols()));
    fit_columns(ensemble.model, std::span(theta), x, loss, optimizer, options.fit, stream, samples);
  }
  return ensemble;
}

}  // namespace valence
